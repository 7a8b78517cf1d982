/*
 * json.h - a strict pull parser for model files (RFC 8259): no tree, bounded depth, byte positions in errors.
 *
 * The caller asks for one token after the other. Rejected: bad UTF-8, lone surrogates, \u0000 in keys, control bytes in
 * strings, leading zeros, trailing commas, trailing text, duplicate keys (when `unique_keys` is set), anything deeper
 * than the limit, numbers of more than 1024 bytes. `NaN`, `Infinity` and `-Infinity` are tokens only where
 * `allow_nonfinite` is set.
 *
 * Lifetimes: the text of a token is valid until the next call on the same parser.
 * Threads: one thread per parser.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/mem.h"

#include <stdbool.h>

typedef enum json_kind {
    JSON_OBJECT_BEGIN,
    JSON_OBJECT_END,
    JSON_ARRAY_BEGIN,
    JSON_ARRAY_END,
    JSON_KEY,    /* text: the decoded key */
    JSON_STRING, /* text: the decoded string, UTF-8; may hold U+0000 */
    JSON_NUMBER, /* text: the number as written */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
    JSON_END /* after the top-level value and white space */
} json_kind;

typedef struct json_limits {
    uint32_t depth_max;        /* open objects and arrays; at most JSON_DEPTH_MAX */
    uint64_t string_bytes_max; /* decoded, for keys and strings */
    uint64_t key_count_max;    /* keys of one object; counted only with unique_keys */
    bool unique_keys;
    bool allow_nonfinite;
} json_limits;

enum { JSON_DEPTH_MAX = 64 };

/* 16 deep, strings up to 1 MiB, 4 Mi unique keys, no NaN. */
extern const json_limits json_limits_default;

typedef struct json_token {
    json_kind kind;
    uint64_t offset;  /* of the token's first byte in the document */
    const char *text; /* KEY, STRING, NUMBER; not terminated */
    size_t text_bytes;
} json_token;

typedef struct json json;

/* `name` appears in every error ("NAME: at byte N: ..."). `name` and `text` are borrowed until json_close. */
MUST_CHECK leat_status json_open(mem *ledger, mem_pool pool, const char *name, const char *text, uint64_t text_bytes,
                                 const json_limits *limits, json **out_json, leat_error *error);
void json_close(json **parser);

/* LEAT_MODEL on malformed text. After a failure the parser only closes. */
MUST_CHECK leat_status json_next(json *parser, json_token *out_token, leat_error *error);
/* The byte behind the last token that was read: what lies between a value's offset and this is the value as written.
 * Behind a key its colon has been read, too. */
uint64_t json_position(const json *parser);
/* Reads one whole value (after a key, or an array element) and drops it. */
MUST_CHECK leat_status json_skip(json *parser, leat_error *error);
/* json_skip for a value whose first token has been read. */
MUST_CHECK leat_status json_skip_rest(json *parser, const json_token *first, leat_error *error);

/* Number tokens: false when the text is no such number (fraction, sign, overflow). "3.0" counts as the integer 3. */
bool json_to_u64(const json_token *token, uint64_t *out_value);
bool json_to_i64(const json_token *token, int64_t *out_value);
/* Also NaN and the infinities where the parser let them through. Correctly rounded. */
bool json_to_f64(const json_token *token, double *out_value);
bool json_text_is(const json_token *token, const char *text);

/* Raises LEAT_MODEL with the parser's name and the token's position before the text. */
leat_status json_fail_at(const json *parser, uint64_t offset, leat_error *error, const char *format, ...)
    PRINTF_LIKE(4, 5);

#endif

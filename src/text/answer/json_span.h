/*
 * json_span.h - JSON inside of what a model writes: where a value ends, found byte by byte, and what it says.
 *
 * base/json.h reads whole documents of files. Here the end of the document is not known beforehand, the text grows, and
 * a value must come back in one spelling whatever the model's was: that of Python's json.dumps with ensure_ascii off
 * (", " and ": " between, keys in their order, numbers as written), because that is what templates render.
 *
 * Accepted beyond RFC 8259: control bytes in strings, which models write and which the copy escapes. At most
 * JSON_SPAN_DEPTH_MAX open objects and arrays. Whether strings are UTF-8 is not asked.
 *
 * Threads: no state outside of the arguments.
 */
#ifndef TEXT_ANSWER_JSON_SPAN_H
#define TEXT_ANSWER_JSON_SPAN_H

#include "text/tokenizer.h"

enum { JSON_SPAN_DEPTH_MAX = 64 };

/* Zeroed: a value is expected. */
typedef struct json_scan {
    uint8_t state;
    uint8_t hex_left;
    uint8_t word_at;
    bool in_key;
    const char *word; /* the rest of true, false, null */
    uint32_t depth;
    uint64_t objects; /* bit d: the container at depth d is an object */
} json_scan;

typedef enum json_scan_result { JSON_SCAN_MORE, JSON_SCAN_DONE, JSON_SCAN_BAD } json_scan_result;

/* Goes on at *at, which is moved behind the value (DONE), to the end (MORE) or to the byte that cannot be (BAD). A
 * number that nothing follows is never done. */
json_scan_result json_scan_run(json_scan *scan, const char *text, uint64_t count, uint64_t *at);
/* Whether the text is one value with nothing but white space around it. */
bool json_span_is_value(const char *text, uint64_t count);

/* A piece of text that a scan has found good. */
typedef struct json_span {
    const char *text;
    uint64_t count;
} json_span;

static inline bool json_is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
/* Without white space at both ends. */
json_span json_span_trim(const char *text, uint64_t count);
bool json_span_is(json_span span, char first);

/* Walks the members of an object or the elements of an array (whose keys are empty). Begin with *at = 0; false at the
 * end. The key is with its quotes. */
bool json_span_next(json_span container, uint64_t *at, json_span *out_key, json_span *out_value);
/* The last member of that name. */
bool json_span_member(json_span object, const char *name, json_span *out_value);
/* Whether a string, with its quotes, says `text`. Escapes other than \" are not resolved. */
bool json_span_says(json_span string, const char *text);

/* Appends the value in the one spelling. */
MUST_CHECK leat_status json_span_copy(json_span value, text_buffer *out, leat_error *error);
/* Appends what a string says; lone surrogates become U+FFFD. */
MUST_CHECK leat_status json_span_decode(json_span string, text_buffer *out, leat_error *error);
/* Appends bytes as a JSON string. */
MUST_CHECK leat_status json_span_quote(const char *bytes, uint64_t count, text_buffer *out, leat_error *error);

#endif

/*
 * json.c - a strict pull parser over a text in memory.
 *
 * What may come next is one state; what is open is a stack of at most JSON_DEPTH_MAX levels:
 *
 *     VALUE ---------> scalar, or '{' opens NAME_OR_END, or '[' opens VALUE_OR_END
 *     NAME_OR_END ---> key and ':' then VALUE, or '}'            (NAME: the same without '}', after a comma)
 *     VALUE_OR_END --> as VALUE, or ']'
 *     after a value: at depth 0 END_OF_TEXT, otherwise COMMA_OR_END -> NAME | VALUE | '}' | ']'
 *
 * A string is read in two steps. scan_string finds its end and checks everything there is to check (escapes, UTF-8,
 * length); most strings hold no escape and are then handed out where they lie. decode_string, which can no longer fail,
 * rewrites the others into the scratch buffer.
 *
 * Duplicate keys: each open object owns a table of (hash, position in the document); the keys themselves stay in the
 * document. The hash is seeded per parser from the system, so that a file cannot be made to collide.
 *
 * Invariants: pos <= text_bytes; depth <= limits.depth_max; key tables exist only for open objects.
 */
#include "base/json.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    KEYS_INLINE = 8, /* objects of a model header have a handful of keys: no table for those */
    KEY_SLOTS_MIN = 64,
    KEY_SHOWN_BYTES = 64,    /* of a key quoted in a message */
    NUMBER_BYTES_MAX = 1024, /* the longest number that a double needs to be told apart has 768 digits */
    MESSAGE_BYTES = 1024,
};

const json_limits json_limits_default = {
    .depth_max = 16,
    .string_bytes_max = 1024 * 1024,
    .key_count_max = 4 * 1024 * 1024,
    .unique_keys = true,
    .allow_nonfinite = false,
};

typedef enum parse_state {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END, /* just after '[' */
    EXPECT_NAME,         /* after a comma in an object */
    EXPECT_NAME_OR_END,  /* just after '{' */
    EXPECT_COMMA_OR_END,
    EXPECT_END_OF_TEXT,
    PARSE_FAILED,
} parse_state;

typedef struct key_slot {
    uint64_t hash;
    uint64_t offset; /* of the key's opening quote, plus 1; 0: free */
} key_slot;

/* The keys of one open object: a short list, then a hash table with linear probing, at most three quarters full. */
typedef struct key_set {
    uint64_t key_count;
    uint64_t slot_count; /* a power of two; 0 while the list suffices */
    key_slot *slots;
    key_slot list[KEYS_INLINE];
} key_set;

typedef struct open_value {
    bool is_object;
    key_set keys; /* of an object */
} open_value;

struct json {
    mem *ledger;
    mem_pool pool;
    const char *name;
    const char *text;
    uint64_t text_bytes, pos;
    json_limits limits;
    parse_state state;
    uint32_t depth;
    uint64_t hash_seed;
    char *scratch; /* the decoded form of the last string that held escapes */
    uint64_t scratch_bytes;
    open_value open[]; /* (limits.depth_max) */
};

/* What scan_string found between the quotes. */
typedef struct string_span {
    uint64_t start, raw_bytes;
    uint64_t decoded_bytes;
    bool has_escapes;
} string_span;

uint64_t json_position(const json *parser) { return parser->pos; }

/* ---- errors ---- */

leat_status json_fail_at(const json *parser, uint64_t offset, leat_error *error, const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (wanted < 0) message[0] = '\0';
    return FAIL(error, MODEL, "%s: at byte %llu: %s", parser->name, (unsigned long long)offset, message);
}

#define PARSE_FAIL(parser, offset, error, ...)                                                                         \
    ((parser)->state = PARSE_FAILED, json_fail_at((parser), (offset), (error), __VA_ARGS__), LEAT_MODEL)

static leat_status fail_found(json *parser, const char *expected, leat_error *error)
{
    uint64_t at = parser->pos;
    if (at == parser->text_bytes)
        return PARSE_FAIL(parser, at, error, "expected %s, found the end of the text", expected);
    unsigned char byte = (unsigned char)parser->text[at];
    if (byte > 0x20 && byte < 0x7f) return PARSE_FAIL(parser, at, error, "expected %s, found '%c'", expected, byte);
    return PARSE_FAIL(parser, at, error, "expected %s, found byte 0x%02X", expected, byte);
}

/* ---- strings ---- */

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The value of four hexadecimal digits, or -1. */
static int32_t read_hex4(const char *p, uint64_t left)
{
    if (left < 4) return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit((unsigned char)p[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool is_high_surrogate(int32_t unit) { return unit >= 0xd800 && unit <= 0xdbff; }
static bool is_low_surrogate(int32_t unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

static uint32_t join_surrogates(int32_t high, int32_t low)
{
    return 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

/* The byte that a one-letter escape stands for, or -1. */
static int simple_escape(char letter)
{
    switch (letter) {
    case '"': return '"';
    case '\\': return '\\';
    case '/': return '/';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return -1;
    }
}

static uint64_t scalar_bytes(uint32_t scalar)
{
    return scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4;
}

/* Eight bytes at a time: the high bit of a byte of the result is set when that byte ends a plain run (a quote, a
 * backslash, a control byte or a byte outside ASCII). A borrow can set bits above the first one, never below it. */
static uint64_t special_bytes(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    return ((quote - ones) | (backslash - ones) | (word - ones * 0x20) | word) & highs;
}

/* The bytes from `at` that need no look: printable ASCII other than the quote and the backslash. */
static uint64_t skip_plain(const char *text, uint64_t at, uint64_t end)
{
    while (end - at >= 8) {
        uint64_t special = special_bytes(load_le64(text + at));
        if (special != 0) return at + (uint64_t)__builtin_ctzll(special) / 8;
        at += 8;
    }
    while (at < end && (unsigned char)text[at] >= 0x20 && (unsigned char)text[at] < 0x80 && text[at] != '"' &&
           text[at] != '\\')
        at++;
    return at;
}

/* `*at` is on the backslash; moves it behind the escape. */
static leat_status scan_escape(json *parser, uint64_t *at, bool is_key, uint64_t *decoded_bytes, leat_error *error)
{
    const char *text = parser->text;
    uint64_t start = *at, left = parser->text_bytes - start;
    if (left >= 2 && simple_escape(text[start + 1]) >= 0) {
        *at += 2;
        *decoded_bytes += 1;
        return LEAT_OK;
    }
    if (left < 2 || text[start + 1] != 'u')
        return PARSE_FAIL(parser, start, error,
                          "expected an escape (one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX)");
    int32_t unit = read_hex4(text + start + 2, left - 2);
    if (unit < 0) return PARSE_FAIL(parser, start, error, "expected four hexadecimal digits after \\u");
    if (is_low_surrogate(unit)) return PARSE_FAIL(parser, start, error, "found a low surrogate without a high one");
    if (unit == 0 && is_key) return PARSE_FAIL(parser, start, error, "found U+0000 in a key");
    *at += 6;
    uint32_t scalar = (uint32_t)unit;
    if (is_high_surrogate(unit)) {
        int32_t low = left >= 12 && text[start + 6] == '\\' && text[start + 7] == 'u'
                          ? read_hex4(text + start + 8, left - 8)
                          : -1;
        if (!is_low_surrogate(low)) return PARSE_FAIL(parser, start, error, "found a high surrogate without a low one");
        scalar = join_surrogates(unit, low);
        *at += 6;
    }
    *decoded_bytes += scalar_bytes(scalar);
    return LEAT_OK;
}

/* `pos` is on the opening quote and ends up behind the closing one. */
static leat_status scan_string(json *parser, bool is_key, string_span *out_span, leat_error *error)
{
    const char *text = parser->text;
    const uint64_t end = parser->text_bytes, quote = parser->pos;
    string_span span = {.start = quote + 1};
    uint64_t at = span.start;
    for (;;) {
        uint64_t plain_end = skip_plain(text, at, end);
        span.decoded_bytes += plain_end - at;
        at = plain_end;
        if (span.decoded_bytes > parser->limits.string_bytes_max)
            return PARSE_FAIL(parser, quote, error, "expected a %s of at most %llu bytes, found a longer one",
                              is_key ? "key" : "string", (unsigned long long)parser->limits.string_bytes_max);
        if (at == end) return PARSE_FAIL(parser, quote, error, "found a string without an end");
        unsigned char byte = (unsigned char)text[at];
        if (byte == '"') break;
        if (byte == '\\') {
            span.has_escapes = true;
            TRY(scan_escape(parser, &at, is_key, &span.decoded_bytes, error));
        } else if (byte >= 0x80) {
            uint32_t scalar;
            size_t taken = utf8_decode(text + at, (size_t)min_u64(end - at, 4), &scalar, NULL);
            if (taken == 0) return PARSE_FAIL(parser, at, error, "expected UTF-8, found byte 0x%02X", byte);
            at += taken;
            span.decoded_bytes += taken;
        } else {
            return PARSE_FAIL(parser, at, error, "found control byte 0x%02X in a string", byte);
        }
    }
    span.raw_bytes = at - span.start;
    parser->pos = at + 1;
    *out_span = span;
    return LEAT_OK;
}

/* Decodes the next character of a string that scan_string accepted; returns its bytes. */
static size_t decode_one(const char *text, uint64_t *at, char out[4])
{
    if (text[*at] != '\\') {
        out[0] = text[(*at)++];
        return 1;
    }
    char letter = text[*at + 1];
    if (letter != 'u') {
        out[0] = (char)simple_escape(letter);
        *at += 2;
        return 1;
    }
    int32_t unit = read_hex4(text + *at + 2, 4);
    *at += 6;
    uint32_t scalar = (uint32_t)unit;
    if (is_high_surrogate(unit)) {
        scalar = join_surrogates(unit, read_hex4(text + *at + 2, 4));
        *at += 6;
    }
    return utf8_encode(scalar, out);
}

static leat_status decode_string(json *parser, const string_span *span, leat_error *error)
{
    if (span->decoded_bytes > parser->scratch_bytes || parser->scratch == NULL) {
        uint64_t wanted = min_u64(max_u64(2 * parser->scratch_bytes, max_u64(span->decoded_bytes, 256)),
                                  max_u64(parser->limits.string_bytes_max, span->decoded_bytes));
        leat_status status =
            mem_resize(parser->ledger, parser->pool, (void **)&parser->scratch, wanted, 1, "a decoded string", error);
        if (status != LEAT_OK) {
            parser->state = PARSE_FAILED;
            status_prefix(error, "%s: at byte %llu", parser->name, (unsigned long long)span->start);
            return status;
        }
        parser->scratch_bytes = wanted;
    }
    const uint64_t end = span->start + span->raw_bytes;
    char *out = parser->scratch;
    for (uint64_t at = span->start; at < end;) {
        uint64_t plain_end = skip_plain(parser->text, at, end);
        memcpy(out, parser->text + at, plain_end - at);
        out += plain_end - at;
        at = plain_end;
        if (at == end) break;
        char piece[4];
        size_t piece_bytes = decode_one(parser->text, &at, piece);
        memcpy(out, piece, piece_bytes);
        out += piece_bytes;
    }
    assert((uint64_t)(out - parser->scratch) == span->decoded_bytes);
    return LEAT_OK;
}

static leat_status read_string(json *parser, bool is_key, json_token *out_token, leat_error *error)
{
    uint64_t quote = parser->pos;
    string_span span;
    TRY(scan_string(parser, is_key, &span, error));
    if (span.has_escapes) TRY(decode_string(parser, &span, error));
    *out_token = (json_token){
        .kind = is_key ? JSON_KEY : JSON_STRING,
        .offset = quote,
        .text = span.has_escapes ? parser->scratch : parser->text + span.start,
        .text_bytes = span.decoded_bytes,
    };
    return LEAT_OK;
}

/* ---- keys ---- */

/* Compares with a key read earlier, which is decoded again on the way: only equal hashes come here. */
static bool is_key_at(const json *parser, uint64_t quote, const json_token *key)
{
    uint64_t at = quote + 1;
    size_t same = 0;
    while (parser->text[at] != '"') {
        char piece[4];
        size_t piece_bytes = decode_one(parser->text, &at, piece);
        if (piece_bytes > key->text_bytes - same || memcmp(key->text + same, piece, piece_bytes) != 0) return false;
        same += piece_bytes;
    }
    return same == key->text_bytes;
}

static key_slot *find_free_slot(key_set *keys, uint64_t hash)
{
    uint64_t mask = keys->slot_count - 1, i = hash & mask;
    while (keys->slots[i].offset != 0) i = (i + 1) & mask;
    return &keys->slots[i];
}

static leat_status grow_keys(json *parser, key_set *keys, leat_error *error)
{
    key_set wider = {.key_count = keys->key_count,
                     .slot_count = keys->slot_count == 0 ? KEY_SLOTS_MIN : 2 * keys->slot_count};
    TRY(mem_alloc(parser->ledger, parser->pool, wider.slot_count, sizeof *wider.slots, 0, "a table of keys",
                  (void **)&wider.slots, error));
    const key_slot *from = keys->slot_count == 0 ? keys->list : keys->slots;
    uint64_t from_count = keys->slot_count == 0 ? keys->key_count : keys->slot_count;
    for (uint64_t i = 0; i < from_count; i++) {
        if (from[i].offset != 0) *find_free_slot(&wider, from[i].hash) = from[i];
    }
    mem_free(parser->ledger, keys->slots);
    *keys = wider;
    return LEAT_OK;
}

/* The slot of an equal key, or NULL. */
static const key_slot *find_key(const json *parser, const key_set *keys, uint64_t hash, const json_token *key)
{
    if (keys->slot_count == 0) {
        for (uint64_t i = 0; i < keys->key_count; i++) {
            if (keys->list[i].hash == hash && is_key_at(parser, keys->list[i].offset - 1, key)) return &keys->list[i];
        }
        return NULL;
    }
    uint64_t mask = keys->slot_count - 1;
    for (uint64_t i = hash & mask; keys->slots[i].offset != 0; i = (i + 1) & mask) {
        if (keys->slots[i].hash == hash && is_key_at(parser, keys->slots[i].offset - 1, key)) return &keys->slots[i];
    }
    return NULL;
}

static leat_status add_key(json *parser, const json_token *key, leat_error *error)
{
    key_set *keys = &parser->open[parser->depth - 1].keys;
    uint64_t hash = hash_bytes(key->text, key->text_bytes, parser->hash_seed);
    const key_slot *equal = find_key(parser, keys, hash, key);
    if (equal != NULL) {
        bool is_long = key->text_bytes > KEY_SHOWN_BYTES;
        size_t shown_bytes = is_long ? utf8_valid_bytes(key->text, KEY_SHOWN_BYTES) : key->text_bytes;
        return PARSE_FAIL(parser, key->offset, error, "the key \"%.*s%s\" is there twice (first at byte %llu)",
                          (int)shown_bytes, key->text, is_long ? "..." : "", (unsigned long long)(equal->offset - 1));
    }
    if (keys->key_count == parser->limits.key_count_max)
        return PARSE_FAIL(parser, key->offset, error, "expected at most %llu keys in an object, found more",
                          (unsigned long long)parser->limits.key_count_max);
    bool is_full = keys->slot_count == 0 ? keys->key_count == KEYS_INLINE : keys->key_count >= keys->slot_count / 4 * 3;
    if (is_full) {
        leat_status status = grow_keys(parser, keys, error);
        if (status != LEAT_OK) {
            parser->state = PARSE_FAILED;
            status_prefix(error, "%s: at byte %llu", parser->name, (unsigned long long)key->offset);
            return status;
        }
    }
    key_slot *slot = keys->slot_count == 0 ? &keys->list[keys->key_count] : find_free_slot(keys, hash);
    *slot = (key_slot){.hash = hash, .offset = key->offset + 1};
    keys->key_count++;
    return LEAT_OK;
}

static void drop_keys(json *parser, key_set *keys)
{
    mem_free(parser->ledger, keys->slots);
    keys->slots = NULL;
    keys->slot_count = keys->key_count = 0;
}

/* ---- values ---- */

static void skip_space(json *parser)
{
    uint64_t at = parser->pos;
    while (at < parser->text_bytes && (parser->text[at] == ' ' || parser->text[at] == '\n' ||
                                       parser->text[at] == '\t' || parser->text[at] == '\r'))
        at++;
    parser->pos = at;
}

static bool is_next(const json *parser, char c)
{
    return parser->pos < parser->text_bytes && parser->text[parser->pos] == c;
}

static bool take_word(json *parser, const char *word)
{
    size_t length = strlen(word);
    if (parser->text_bytes - parser->pos < length || memcmp(parser->text + parser->pos, word, length) != 0)
        return false;
    parser->pos += length;
    return true;
}

static uint64_t skip_digits(json *parser)
{
    uint64_t start = parser->pos;
    while (parser->pos < parser->text_bytes && parser->text[parser->pos] >= '0' && parser->text[parser->pos] <= '9')
        parser->pos++;
    return parser->pos - start;
}

static leat_status read_number(json *parser, json_token *out_token, leat_error *error)
{
    uint64_t start = parser->pos;
    if (is_next(parser, '-')) parser->pos++;
    bool starts_with_zero = is_next(parser, '0');
    uint64_t digit_count = skip_digits(parser);
    if (digit_count == 0) return fail_found(parser, "a digit", error);
    if (starts_with_zero && digit_count > 1)
        return PARSE_FAIL(parser, start, error, "found a number with a leading zero");
    if (is_next(parser, '.')) {
        parser->pos++;
        if (skip_digits(parser) == 0) return fail_found(parser, "a digit after the point", error);
    }
    if (is_next(parser, 'e') || is_next(parser, 'E')) {
        parser->pos++;
        if (is_next(parser, '+') || is_next(parser, '-')) parser->pos++;
        if (skip_digits(parser) == 0) return fail_found(parser, "a digit in the exponent", error);
    }
    uint64_t length = parser->pos - start;
    if (length > NUMBER_BYTES_MAX)
        return PARSE_FAIL(parser, start, error, "expected a number of at most %d bytes, found %llu", NUMBER_BYTES_MAX,
                          (unsigned long long)length);
    *out_token = (json_token){.kind = JSON_NUMBER, .offset = start, .text = parser->text + start, .text_bytes = length};
    return LEAT_OK;
}

static void expect_after_value(json *parser)
{
    parser->state = parser->depth == 0 ? EXPECT_END_OF_TEXT : EXPECT_COMMA_OR_END;
}

static leat_status open_nested(json *parser, bool is_object, json_token *out_token, leat_error *error)
{
    if (parser->depth == parser->limits.depth_max)
        return PARSE_FAIL(parser, parser->pos, error, "expected at most %u open objects and arrays, found one more",
                          parser->limits.depth_max);
    open_value *opened = &parser->open[parser->depth++];
    opened->is_object = is_object;
    opened->keys.slots = NULL;
    opened->keys.slot_count = opened->keys.key_count = 0;
    *out_token = (json_token){.kind = is_object ? JSON_OBJECT_BEGIN : JSON_ARRAY_BEGIN, .offset = parser->pos};
    parser->pos++;
    parser->state = is_object ? EXPECT_NAME_OR_END : EXPECT_VALUE_OR_END;
    return LEAT_OK;
}

static leat_status close_nested(json *parser, json_token *out_token)
{
    open_value *closed = &parser->open[--parser->depth];
    *out_token = (json_token){.kind = closed->is_object ? JSON_OBJECT_END : JSON_ARRAY_END, .offset = parser->pos};
    if (closed->is_object) drop_keys(parser, &closed->keys);
    parser->pos++;
    expect_after_value(parser);
    return LEAT_OK;
}

static leat_status read_scalar(json *parser, json_token *out_token, leat_error *error)
{
    uint64_t start = parser->pos;
    if (is_next(parser, '"')) return read_string(parser, false, out_token, error);
    json_kind kind;
    if (take_word(parser, "true")) {
        kind = JSON_TRUE;
    } else if (take_word(parser, "false")) {
        kind = JSON_FALSE;
    } else if (take_word(parser, "null")) {
        kind = JSON_NULL;
    } else if (parser->limits.allow_nonfinite &&
               (take_word(parser, "NaN") || take_word(parser, "Infinity") || take_word(parser, "-Infinity"))) {
        *out_token = (json_token){
            .kind = JSON_NUMBER, .offset = start, .text = parser->text + start, .text_bytes = parser->pos - start};
        return LEAT_OK;
    } else if (is_next(parser, '-') ||
               (start < parser->text_bytes && parser->text[start] >= '0' && parser->text[start] <= '9')) {
        return read_number(parser, out_token, error);
    } else {
        return fail_found(parser, "a value", error);
    }
    *out_token = (json_token){.kind = kind, .offset = start};
    return LEAT_OK;
}

static leat_status read_value(json *parser, json_token *out_token, leat_error *error)
{
    if (is_next(parser, '{')) return open_nested(parser, true, out_token, error);
    if (is_next(parser, '[')) return open_nested(parser, false, out_token, error);
    TRY(read_scalar(parser, out_token, error));
    expect_after_value(parser);
    return LEAT_OK;
}

static leat_status read_name(json *parser, json_token *out_token, leat_error *error)
{
    if (!is_next(parser, '"'))
        return fail_found(parser, parser->state == EXPECT_NAME ? "a key" : "a key or '}'", error);
    TRY(read_string(parser, true, out_token, error));
    if (parser->limits.unique_keys) TRY(add_key(parser, out_token, error));
    skip_space(parser);
    if (!is_next(parser, ':')) return fail_found(parser, "':'", error);
    parser->pos++;
    parser->state = EXPECT_VALUE;
    return LEAT_OK;
}

static leat_status read_comma_or_end(json *parser, json_token *out_token, leat_error *error)
{
    bool in_object = parser->open[parser->depth - 1].is_object;
    if (is_next(parser, in_object ? '}' : ']')) return close_nested(parser, out_token);
    if (!is_next(parser, ',')) return fail_found(parser, in_object ? "',' or '}'" : "',' or ']'", error);
    parser->pos++;
    skip_space(parser);
    parser->state = in_object ? EXPECT_NAME : EXPECT_VALUE;
    return in_object ? read_name(parser, out_token, error) : read_value(parser, out_token, error);
}

static leat_status read_token(json *parser, json_token *out_token, leat_error *error)
{
    skip_space(parser);
    switch (parser->state) {
    case EXPECT_VALUE: return read_value(parser, out_token, error);
    case EXPECT_VALUE_OR_END:
        if (is_next(parser, ']')) return close_nested(parser, out_token);
        return read_value(parser, out_token, error);
    case EXPECT_NAME: return read_name(parser, out_token, error);
    case EXPECT_NAME_OR_END:
        if (is_next(parser, '}')) return close_nested(parser, out_token);
        return read_name(parser, out_token, error);
    case EXPECT_COMMA_OR_END: return read_comma_or_end(parser, out_token, error);
    case EXPECT_END_OF_TEXT:
        if (parser->pos != parser->text_bytes) return fail_found(parser, "the end of the text", error);
        *out_token = (json_token){.kind = JSON_END, .offset = parser->pos};
        return LEAT_OK;
    case PARSE_FAILED: break;
    }
    return json_fail_at(parser, parser->pos, error, "this text has been found faulty before");
}

/* ---- the interface ---- */

static uint64_t draw_hash_seed(const void *some_address)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed) return seed;
    return hash_u64((uint64_t)(uintptr_t)some_address); /* early in boot: what the address layout gives */
}

leat_status json_open(mem *ledger, mem_pool pool, const char *name, const char *text, uint64_t text_bytes,
                      const json_limits *limits, json **out_json, leat_error *error)
{
    assert(limits->depth_max <= JSON_DEPTH_MAX);
    json *parser;
    TRY(mem_alloc(ledger, pool, 1, sizeof *parser + limits->depth_max * sizeof parser->open[0], 0, "a JSON parser",
                  (void **)&parser, error));
    parser->ledger = ledger;
    parser->pool = pool;
    parser->name = name;
    parser->text = text;
    parser->text_bytes = text_bytes;
    parser->limits = *limits;
    parser->state = EXPECT_VALUE;
    parser->hash_seed = draw_hash_seed(parser);
    *out_json = parser;
    return LEAT_OK;
}

void json_close(json **parser)
{
    json *p = *parser;
    if (p == NULL) return;
    for (uint32_t i = 0; i < p->depth; i++) {
        if (p->open[i].is_object) drop_keys(p, &p->open[i].keys);
    }
    mem_free(p->ledger, p->scratch);
    mem_free(p->ledger, p);
    *parser = NULL;
}

leat_status json_next(json *parser, json_token *out_token, leat_error *error)
{
    json_token token;
    TRY(read_token(parser, &token, error));
    *out_token = token;
    return LEAT_OK;
}

leat_status json_skip(json *parser, leat_error *error)
{
    json_token first;
    TRY(json_next(parser, &first, error));
    if (first.kind == JSON_OBJECT_END || first.kind == JSON_ARRAY_END || first.kind == JSON_END ||
        first.kind == JSON_KEY)
        return PARSE_FAIL(parser, first.offset, error, "expected a value, found %s",
                          first.kind == JSON_KEY   ? "a key"
                          : first.kind == JSON_END ? "the end of the text"
                                                   : "the end of its owner");
    return json_skip_rest(parser, &first, error);
}

leat_status json_skip_rest(json *parser, const json_token *first, leat_error *error)
{
    if (first->kind != JSON_OBJECT_BEGIN && first->kind != JSON_ARRAY_BEGIN) return LEAT_OK;
    assert(parser->depth > 0);
    for (uint32_t outer = parser->depth - 1; parser->depth > outer;) {
        json_token token;
        TRY(json_next(parser, &token, error));
    }
    return LEAT_OK;
}

/* ---- numbers ---- */

/* value = magnitude * 10^exponent, negated if so; the magnitude has no trailing zero unless it is 0. */
typedef struct decimal {
    bool is_negative;
    uint64_t magnitude;
    int64_t exponent;
} decimal;

static bool times_ten_plus(uint64_t *value, uint64_t digit)
{
    return size_mul(*value, 10, value) && size_add(*value, digit, value);
}

/* false: not a finite number, or more significant digits than 64 bits hold. */
static bool read_decimal(const json_token *token, decimal *out_decimal)
{
    enum { EXPONENT_MAX = 1000000 }; /* far beyond what NUMBER_BYTES_MAX digits can make up for */
    decimal d = {0};
    const char *p = token->text, *end = p + token->text_bytes;
    if (token->kind != JSON_NUMBER || p == end) return false;
    if (*p == '-') {
        d.is_negative = true;
        p++;
    }
    bool in_fraction = false, any_digit = false;
    int64_t zeros = 0; /* read, but not yet known to be inside the magnitude */
    for (; p < end && ((*p >= '0' && *p <= '9') || (*p == '.' && !in_fraction)); p++) {
        if (*p == '.') {
            in_fraction = true;
            continue;
        }
        any_digit = true;
        if (in_fraction) d.exponent--;
        if (*p == '0') {
            zeros++;
            continue;
        }
        for (; d.magnitude != 0 && zeros > 0; zeros--) {
            if (!times_ten_plus(&d.magnitude, 0)) return false;
        }
        zeros = 0;
        if (!times_ten_plus(&d.magnitude, (uint64_t)(*p - '0'))) return false;
    }
    d.exponent += zeros;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        bool is_negative = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        int64_t exponent = 0;
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            if (exponent < EXPONENT_MAX) exponent = exponent * 10 + (*p - '0');
        }
        d.exponent += is_negative ? -exponent : exponent;
    }
    if (p != end || !any_digit) return false;
    *out_decimal = d;
    return true;
}

static bool read_integer(const json_token *token, bool *out_negative, uint64_t *out_magnitude)
{
    decimal d;
    if (!read_decimal(token, &d)) return false;
    if (d.magnitude == 0) d.exponent = 0;
    if (d.exponent < 0) return false;
    for (; d.exponent > 0; d.exponent--) {
        if (!times_ten_plus(&d.magnitude, 0)) return false;
    }
    *out_negative = d.is_negative && d.magnitude != 0;
    *out_magnitude = d.magnitude;
    return true;
}

bool json_to_u64(const json_token *token, uint64_t *out_value)
{
    bool is_negative;
    uint64_t magnitude;
    if (!read_integer(token, &is_negative, &magnitude) || is_negative) return false;
    *out_value = magnitude;
    return true;
}

bool json_to_i64(const json_token *token, int64_t *out_value)
{
    bool is_negative;
    uint64_t magnitude;
    if (!read_integer(token, &is_negative, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + (is_negative ? 1 : 0)) return false;
    *out_value = is_negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static locale_t c_locale;
static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* strtod reads the decimal point of the program's locale; a file has only one decimal point. */
static bool parse_double(const char *text, double *out_value)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    if (c_locale == (locale_t)0) return false;
    char *end;
    double value = strtod_l(text, &end, c_locale);
    if (*end != '\0' || isinf(value)) return false;
    *out_value = value;
    return true;
}

bool json_to_f64(const json_token *token, double *out_value)
{
    if (token->kind != JSON_NUMBER || token->text_bytes == 0 || token->text_bytes > NUMBER_BYTES_MAX) return false;
    if (json_text_is(token, "NaN")) return *out_value = NAN, true;
    if (json_text_is(token, "Infinity")) return *out_value = INFINITY, true;
    if (json_text_is(token, "-Infinity")) return *out_value = -INFINITY, true;
    char text[NUMBER_BYTES_MAX + 1];
    memcpy(text, token->text, token->text_bytes);
    text[token->text_bytes] = '\0';
    return parse_double(text, out_value);
}

bool json_text_is(const json_token *token, const char *text)
{
    size_t length = strlen(text);
    return token->text_bytes == length && token->text != NULL && memcmp(token->text, text, length) == 0;
}

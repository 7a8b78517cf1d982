/*
 * fuzz_json.c - any bytes through the JSON parser. What must hold: every token is well formed, asking token by token
 * and skipping the whole value agree, the same failure comes twice, and the ledger is empty at the end.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/json.h"
#include "base/utf8.h"

#include <math.h>

const char *const fuzz_words[] = {
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\"\"",
    "null",
    "true",
    "false",
    "NaN",
    "-Infinity",
    "{\"a\":",
    "\"a\":1,",
    "[[[[[[[[[[",
    "\\u0000",
    "\\u0041",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\udc00",
    "\\\\",
    "\\\"",
    "\\n",
    "\\",
    "\xc3\xa4",
    "\xe2\x82\xac",
    "\xf0\x9f\x98\x80",
    "\xed\xa0\x80",
    "\xef\xbb\xbf",
    "1e5",
    "-0.0",
    "0.1e-7",
    "1E+",
    NULL,
};

static void check_number(const json_token *token)
{
    uint64_t u64;
    int64_t i64;
    double f64;
    bool has_f64 = json_to_f64(token, &f64);
    if (json_to_u64(token, &u64)) FUZZ_CHECK(has_f64 && f64 >= 0 && fabs(f64 - (double)u64) <= 0);
    if (json_to_i64(token, &i64)) FUZZ_CHECK(has_f64 && fabs(f64 - (double)i64) <= 0);
}

static void check_token(const json_token *token, const uint8_t *bytes, size_t count, uint64_t *last_offset)
{
    FUZZ_CHECK(token->offset <= count && token->offset >= *last_offset);
    *last_offset = token->offset;
    switch (token->kind) {
    case JSON_KEY:
        FUZZ_CHECK(token->text_bytes == 0 || memchr(token->text, 0, token->text_bytes) == NULL);
        /* fall through */
    case JSON_STRING:
        FUZZ_CHECK(bytes[token->offset] == '"' && token->text_bytes < count);
        FUZZ_CHECK(utf8_valid_bytes(token->text, token->text_bytes) == token->text_bytes);
        break;
    case JSON_NUMBER: check_number(token); break;
    case JSON_OBJECT_BEGIN: FUZZ_CHECK(bytes[token->offset] == '{'); break;
    case JSON_OBJECT_END: FUZZ_CHECK(bytes[token->offset] == '}'); break;
    case JSON_ARRAY_BEGIN: FUZZ_CHECK(bytes[token->offset] == '['); break;
    case JSON_ARRAY_END: FUZZ_CHECK(bytes[token->offset] == ']'); break;
    case JSON_TRUE: FUZZ_CHECK(bytes[token->offset] == 't'); break;
    case JSON_FALSE: FUZZ_CHECK(bytes[token->offset] == 'f'); break;
    case JSON_NULL: FUZZ_CHECK(bytes[token->offset] == 'n'); break;
    case JSON_END: FUZZ_CHECK(token->offset == count); break;
    }
}

static leat_status walk(mem *ledger, const uint8_t *bytes, size_t count, const json_limits *limits, bool by_skipping,
                        leat_error *error)
{
    json *parser = NULL;
    json_token token = {.kind = JSON_NULL};
    uint64_t last_offset = 0, depth = 0;
    leat_status status = json_open(ledger, MEM_META, "fuzz.json", (const char *)bytes, count, limits, &parser, error);
    if (status == LEAT_OK && by_skipping) status = json_skip(parser, error);
    while (status == LEAT_OK && token.kind != JSON_END) {
        status = json_next(parser, &token, error);
        if (status != LEAT_OK) break;
        check_token(&token, bytes, count, &last_offset);
        if (token.kind == JSON_OBJECT_BEGIN || token.kind == JSON_ARRAY_BEGIN) depth++;
        if (token.kind == JSON_OBJECT_END || token.kind == JSON_ARRAY_END) FUZZ_CHECK(depth-- > 0);
        FUZZ_CHECK(depth <= limits->depth_max);
    }
    FUZZ_CHECK(status != LEAT_OK || depth == 0);
    json_close(&parser);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    return status;
}

static void check_both_ways(mem *ledger, const uint8_t *bytes, size_t count, const json_limits *limits)
{
    leat_error walked = {0}, skipped = {0};
    leat_status status = walk(ledger, bytes, count, limits, false, &walked);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL);
    FUZZ_CHECK(walk(ledger, bytes, count, limits, true, &skipped) == status);
    FUZZ_CHECK(strcmp(walked.text, skipped.text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    if (mem_open(0, &ledger, NULL) != LEAT_OK) return 0;
    json_limits narrow = {
        .depth_max = 4, .string_bytes_max = 12, .key_count_max = 10, .unique_keys = true, .allow_nonfinite = true};
    check_both_ways(ledger, bytes, count, &json_limits_default);
    check_both_ways(ledger, bytes, count, &narrow);
    mem_fail_nth(ledger, 1 + count % 4);
    leat_status status = walk(ledger, bytes, count, &json_limits_default, false, NULL);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL || status == LEAT_NO_MEMORY);
    mem_close(&ledger);
    return 0;
}

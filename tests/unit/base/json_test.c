#include "support/unit.h"

#include "base/bytes.h"
#include "base/json.h"

#include <locale.h>
#include <math.h>
#include <time.h>

/* Parses the whole text and writes its tokens in short form: {k:a n:1 s:text} and so on. The text is copied to a block
 * of its exact length first, so that the address sanitizer sees a read behind it. */
static leat_status render(const char *text, size_t text_bytes, const json_limits *limits, char *out, size_t out_bytes,
                          leat_error *error)
{
    mem *ledger = open_ledger(0);
    char *exact = malloc(text_bytes == 0 ? 1 : text_bytes);
    memcpy(exact, text, text_bytes);
    json *parser = NULL;
    leat_status status = json_open(ledger, MEM_META, "test.json", exact, text_bytes, limits, &parser, error);
    size_t at = 0;
    out[0] = '\0';
    json_token token = {.kind = JSON_NULL};
    while (status == LEAT_OK && token.kind != JSON_END) {
        status = json_next(parser, &token, error);
        if (status != LEAT_OK) break;
        assert_true(token.offset <= text_bytes);
        static const char *const marks[] = {"{", "}", "[", "]", "k:", "s:", "n:", "true ", "false ", "null ", "."};
        at += (size_t)snprintf(out + at, out_bytes - at, "%s", marks[token.kind]);
        if (token.kind == JSON_KEY || token.kind == JSON_STRING || token.kind == JSON_NUMBER)
            at += (size_t)snprintf(out + at, out_bytes - at, "%.*s ", (int)token.text_bytes, token.text);
        assert_true(at < out_bytes);
    }
    if (status != LEAT_OK) { /* a failed parser keeps failing and closes */
        assert_int_equal(json_next(parser, &token, NULL), LEAT_MODEL);
        assert_int_equal(json_skip(parser, NULL), LEAT_MODEL);
    }
    json_close(&parser);
    assert_null(parser);
    free(exact);
    close_empty_ledger(ledger);
    return status;
}

static void expect_tokens(const char *text, const char *tokens)
{
    char out[4096];
    leat_error error;
    assert_ok(render(text, strlen(text), &json_limits_default, out, sizeof out, &error), &error);
    assert_string_equal(out, tokens);
}

static void expect_refused_bytes(const char *text, size_t text_bytes, const json_limits *limits, const char *message)
{
    char out[4096];
    leat_error error = {0};
    leat_status status = render(text, text_bytes, limits, out, sizeof out, &error);
    if (status == LEAT_OK) fail_msg("accepted: %s", text);
    assert_int_equal(status, LEAT_MODEL);
    assert_true(strncmp(error.text, "test.json: at byte ", 19) == 0);
    assert_text_has(error.text, message);
}

static void expect_refused(const char *text, const char *message)
{
    expect_refused_bytes(text, strlen(text), &json_limits_default, message);
}

static void gives_the_tokens_in_order(void **state)
{
    (void)state;
    expect_tokens("{}", "{}.");
    expect_tokens(" [ ] \r\n\t", "[].");
    expect_tokens("null", "null .");
    expect_tokens("\"x\"", "s:x .");
    expect_tokens("{\"a\":1,\"b\":[true,false,null,\"c\",-0.5e+3],\"d\":{\"e\":{}}}",
                  "{k:a n:1 k:b [true false null s:c n:-0.5e+3 ]k:d {k:e {}}}.");
    expect_tokens("[[[]],[]]", "[[[]][]].");
    expect_tokens("{\"\":\"\"}", "{k: s: }.");
    expect_tokens("0", "n:0 .");
    expect_tokens("-0", "n:-0 .");
    expect_tokens("[1 , 2\n,3]", "[n:1 n:2 n:3 ].");
    expect_tokens("{\"a\" : 1}", "{k:a n:1 }.");
}

static void decodes_strings(void **state)
{
    (void)state;
    expect_tokens("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s:\"\\/\b\f\n\r\t .");
    expect_tokens("\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"", "s:A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 .");
    expect_tokens("\"long enough for words of eight bytes \\n and on, and on\"",
                  "s:long enough for words of eight bytes \n and on, and on .");
    expect_tokens("\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \x7f\"", "s:\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \x7f .");
    expect_tokens("{\"\\u006bey\":\"v\"}", "{k:key s:v }.");
    expect_tokens("\"\\ud800\\udc00 \\udbff\\udfff\"", "s:\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf .");

    leat_error error;
    mem *ledger = open_ledger(0);
    json *parser;
    json_token token;
    const char *text = "[\"a\\u0000b\", \"plain\"]";
    assert_ok(json_open(ledger, MEM_META, "test.json", text, strlen(text), &json_limits_default, &parser, &error),
              &error);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_int_equal(token.text_bytes, 3);
    assert_memory_equal(token.text, "a\0b", 3);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_ptr_equal(token.text, text + 14); /* no escapes: no copy */
    assert_int_equal(token.offset, 13);
    json_close(&parser);
    close_empty_ledger(ledger);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    expect_refused("", "at byte 0: expected a value, found the end of the text");
    expect_refused("  ", "at byte 2: expected a value, found the end");
    expect_refused("{", "at byte 1: expected a key or '}', found the end");
    expect_refused("[", "at byte 1: expected a value");
    expect_refused("[1", "at byte 2: expected ',' or ']', found the end");
    expect_refused("[1,]", "at byte 3: expected a value, found ']'");
    expect_refused("[,1]", "at byte 1: expected a value, found ','");
    expect_refused("{\"a\":1,}", "at byte 7: expected a key, found '}'");
    expect_refused("{\"a\" 1}", "at byte 5: expected ':', found '1'");
    expect_refused("{\"a\":}", "at byte 5: expected a value, found '}'");
    expect_refused("{a:1}", "at byte 1: expected a key or '}', found 'a'");
    expect_refused("{1:1}", "expected a key");
    expect_refused("[1}", "at byte 2: expected ',' or ']', found '}'");
    expect_refused("{\"a\":1]", "at byte 6: expected ',' or '}', found ']'");
    expect_refused("]", "found ']'");
    expect_refused("[1 2]", "at byte 3: expected ',' or ']', found '2'");
    expect_refused("1 2", "at byte 2: expected the end of the text, found '2'");
    expect_refused("{} x", "expected the end of the text");
    expect_refused("nul", "found 'n'");
    expect_refused("nulll", "expected the end of the text, found 'l'");
    expect_refused("True", "found 'T'");
    expect_refused("'a'", "found '''");
    expect_refused("// comment\n1", "found '/'");
    expect_refused("\xef\xbb\xbf{}", "at byte 0: expected a value, found byte 0xEF");
    expect_refused_bytes("{}\0", 3, &json_limits_default, "found byte 0x00");
    expect_refused_bytes("[1\0]", 4, &json_limits_default, "at byte 2: expected ',' or ']', found byte 0x00");
}

static void refuses_bad_strings(void **state)
{
    (void)state;
    expect_refused("\"abc", "at byte 0: found a string without an end");
    expect_refused("\"abc\\", "at byte 4: expected an escape");
    expect_refused("\"\\x41\"", "expected an escape");
    expect_refused("\"\\u12g4\"", "four hexadecimal digits");
    expect_refused("\"\\u123", "four hexadecimal digits");
    expect_refused("\"\\ud800\"", "high surrogate without a low one");
    expect_refused("\"\\ud800\\u0041\"", "high surrogate without a low one");
    expect_refused("\"\\ud800\\ud800\"", "high surrogate without a low one");
    expect_refused("\"\\ud800xxxxxx\"", "high surrogate without a low one");
    expect_refused("\"\\udc00\"", "low surrogate without a high one");
    expect_refused("{\"a\\u0000\":1}", "at byte 3: found U+0000 in a key");
    expect_refused("\"a\nb\"", "at byte 2: found control byte 0x0A");
    expect_refused("\"eight by\x01\"", "at byte 9: found control byte 0x01");
    expect_refused("\"a\xff\"", "at byte 2: expected UTF-8, found byte 0xFF");
    expect_refused("\"\xc0\xaf\"", "at byte 1: expected UTF-8");
    expect_refused("\"\xed\xa0\x80\"", "expected UTF-8");
    expect_refused("\"\xe2\x82\"", "expected UTF-8");
    expect_refused("\"\xe2\x82", "expected UTF-8");
    expect_refused_bytes("\"a\0\"", 4, &json_limits_default, "control byte 0x00");
}

static void refuses_bad_numbers(void **state)
{
    (void)state;
    expect_refused("01", "leading zero");
    expect_refused("-01", "leading zero");
    expect_refused("-", "expected a digit, found the end");
    expect_refused("-x", "at byte 1: expected a digit, found 'x'");
    expect_refused("+1", "found '+'");
    expect_refused(".5", "found '.'");
    expect_refused("1.", "a digit after the point");
    expect_refused("1.e5", "a digit after the point");
    expect_refused("1e", "a digit in the exponent");
    expect_refused("1e+", "a digit in the exponent");
    expect_refused("0x10", "expected the end of the text, found 'x'");
    expect_refused("NaN", "found 'N'");
    expect_refused("Infinity", "found 'I'");
    expect_refused("-Infinity", "expected a digit, found 'I'");
    char digits[1100];
    memset(digits, '7', sizeof digits);
    expect_refused_bytes(digits, 1025, &json_limits_default, "at most 1024 bytes");
    char out[2048];
    leat_error error;
    assert_ok(render(digits, 1024, &json_limits_default, out, sizeof out, &error), &error);
}

static void keeps_its_limits(void **state)
{
    (void)state;
    json_limits limits = json_limits_default;
    limits.depth_max = 3;
    limits.string_bytes_max = 10;
    limits.key_count_max = 12;
    char out[4096];
    leat_error error;
    assert_ok(render("[{\"a\":[]}]", 10, &limits, out, sizeof out, &error), &error);
    expect_refused_bytes("[[[[]]]]", 8, &limits, "at byte 3: expected at most 3 open");
    expect_refused_bytes("[[{\"a\":{}}]]", 12, &limits, "at byte 7: expected at most 3 open");

    assert_ok(render("\"0123456789\"", 12, &limits, out, sizeof out, &error), &error);
    assert_ok(render("\"\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\"", 22, &limits, out, sizeof out, &error), &error);
    expect_refused_bytes("\"0123456789a\"", 13, &limits, "at byte 0: expected a string of at most 10 bytes");
    expect_refused_bytes("\"01234567\xe2\x82\xac\"", 13, &limits, "at most 10 bytes");
    expect_refused_bytes("\"012345678\\u00e4\"", 17, &limits, "at most 10 bytes");
    expect_refused_bytes("{\"0123456789a\":1}", 17, &limits, "at byte 1: expected a key of at most 10 bytes");

    char many[512] = "{";
    for (int i = 0; i < 12; i++) sprintf(many + strlen(many), "\"%d\":1,", i);
    size_t good_bytes = strlen(many);
    many[good_bytes - 1] = '}';
    assert_ok(render(many, good_bytes, &limits, out, sizeof out, &error), &error);
    strcpy(many + good_bytes - 1, ",\"12\":1}");
    expect_refused_bytes(many, strlen(many), &limits, "at most 12 keys");

    limits.depth_max = 0;
    assert_ok(render("1", 1, &limits, out, sizeof out, &error), &error);
    expect_refused_bytes("[]", 2, &limits, "at most 0 open");
}

static void nonfinite_numbers_only_when_allowed(void **state)
{
    (void)state;
    json_limits limits = json_limits_default;
    limits.allow_nonfinite = true;
    const char *text = "[NaN,Infinity,-Infinity,-1]";
    mem *ledger = open_ledger(0);
    leat_error error;
    json *parser;
    json_token token;
    double value;
    assert_ok(json_open(ledger, MEM_META, "test.json", text, strlen(text), &limits, &parser, &error), &error);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_true(json_to_f64(&token, &value) && isnan(value));
    int64_t integer;
    assert_false(json_to_i64(&token, &integer));
    assert_ok(json_next(parser, &token, &error), &error);
    assert_true(json_to_f64(&token, &value) && isinf(value) && value > 0);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_true(json_to_f64(&token, &value) && isinf(value) && value < 0);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_true(json_to_f64(&token, &value) && value == -1);
    json_close(&parser);
    close_empty_ledger(ledger);
}

static void finds_duplicate_keys(void **state)
{
    (void)state;
    expect_refused("{\"a\":1,\"a\":2}", "at byte 7: the key \"a\" is there twice (first at byte 1)");
    expect_refused("{\"ab\":1,\"\\u0061b\":2}", "at byte 8: the key \"ab\" is there twice");
    expect_refused("{\"\\u0061b\":1,\"ab\":2}", "the key \"ab\" is there twice");
    expect_refused("{\"\":1,\"\":2}", "the key \"\" is there twice");
    expect_refused("{\"x\":{\"a\":1},\"x\":{}}", "the key \"x\" is there twice");
    expect_refused("{\"x\":[{\"a\":1,\"\\ud83d\\ude00\":2,\"\xf0\x9f\x98\x80\":1}]}", "is there twice");
    expect_tokens("{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]},\"b\":1}", "{k:a {k:a [{k:a n:1 }{k:a n:1 }]}k:b n:1 }.");
    expect_tokens("{\"a\":1,\"aa\":1,\"aaa\":1,\"\":1}", "{k:a n:1 k:aa n:1 k:aaa n:1 k: n:1 }.");

    char long_keys[400] = "{\"";
    memset(long_keys + 2, 'k', 100);
    strcpy(long_keys + 102, "\":1,\"");
    memset(long_keys + 107, 'k', 100);
    strcpy(long_keys + 207, "\":2}");
    expect_refused(long_keys, "kkkk...\" is there twice");

    json_limits limits = json_limits_default;
    limits.unique_keys = false;
    char out[128];
    leat_error error;
    assert_ok(render("{\"a\":1,\"a\":2}", 13, &limits, out, sizeof out, &error), &error);
}

/* Around every size at which the table grows, a duplicate of any earlier key is found and nothing else is. */
static void finds_duplicates_among_many_keys(void **state)
{
    (void)state;
    static char text[64 * 1024], out[64 * 1024];
    for (int count = 1; count < 400; count += count < 60 ? 1 : 37) {
        for (int twin = -1; twin < count; twin += 1 + count / 7) {
            size_t at = (size_t)sprintf(text, "{");
            for (int i = 0; i < count; i++) at += (size_t)sprintf(text + at, "%s\"key %d\":%d", i ? "," : "", i, i);
            if (twin >= 0) at += (size_t)sprintf(text + at, ",\"key %d\":0", twin);
            at += (size_t)sprintf(text + at, "}");
            leat_error error;
            leat_status status = render(text, at, &json_limits_default, out, sizeof out, &error);
            assert_int_equal(status, twin >= 0 ? LEAT_MODEL : LEAT_OK);
            char message[64];
            sprintf(message, "\"key %d\" is there twice", twin);
            if (twin >= 0) assert_text_has(error.text, message);
        }
    }
}

/* A vocabulary of 300,000 keys: linear, and its table is given back at the end of the object. */
static void a_large_vocabulary_is_linear(void **state)
{
    (void)state;
    enum { KEYS = 300000 };
    char *text = malloc(KEYS * 32);
    size_t at = (size_t)sprintf(text, "{");
    for (int i = 0; i < KEYS; i++) at += (size_t)sprintf(text + at, "%s\"\\u0120tok%d\":%d", i ? "," : "", i, i);
    at += (size_t)sprintf(text + at, "}");
    leat_error error;
    mem *ledger = open_ledger(64 << 20);
    json *parser;
    assert_ok(json_open(ledger, MEM_TOKENIZER, "vocab.json", text, at, &json_limits_default, &parser, &error), &error);
    uint64_t bytes_before = mem_total_usage(ledger).current_bytes;
    clock_t start = clock();
    assert_ok(json_skip(parser, &error), &error);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_true(seconds < 5); /* some 0.1 s; a quadratic search would take minutes */
    assert_true(mem_total_usage(ledger).peak_bytes > 4 << 20);
    assert_true(mem_total_usage(ledger).current_bytes <= bytes_before + 512); /* the scratch buffer stays */
    json_token token;
    assert_ok(json_next(parser, &token, &error), &error);
    assert_int_equal(token.kind, JSON_END);
    assert_ok(json_next(parser, &token, &error), &error);
    assert_int_equal(token.kind, JSON_END);
    json_close(&parser);
    free(text);
    close_empty_ledger(ledger);
}

static void skips_whole_values(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    json *parser;
    json_token token;
    const char *text = "{\"a\":{\"x\":[1,{\"y\":[]}]},\"b\":[[],[1]],\"c\":\"s\",\"d\":7}";
    assert_ok(json_open(ledger, MEM_META, "test.json", text, strlen(text), &json_limits_default, &parser, &error),
              &error);
    assert_ok(json_next(parser, &token, &error), &error);
    for (const char *key = "abc"; *key != '\0'; key++) {
        assert_ok(json_next(parser, &token, &error), &error);
        assert_int_equal(token.kind, JSON_KEY);
        assert_int_equal(token.text[0], *key);
        if (*key == 'b') {
            assert_ok(json_next(parser, &token, &error), &error);
            assert_int_equal(token.kind, JSON_ARRAY_BEGIN);
            assert_ok(json_skip_rest(parser, &token, &error), &error);
        } else {
            assert_ok(json_skip(parser, &error), &error);
        }
    }
    assert_ok(json_next(parser, &token, &error), &error);
    assert_true(json_text_is(&token, "d"));
    assert_false(json_text_is(&token, "dd"));
    assert_ok(json_next(parser, &token, &error), &error);
    assert_ok(json_skip_rest(parser, &token, &error), &error); /* a scalar has no rest */
    assert_fails(MODEL, json_skip(parser, &error), &error);    /* '}' is no value */
    json_close(&parser);

    assert_ok(json_open(ledger, MEM_META, "test.json", "[[1,2", 5, &json_limits_default, &parser, &error), &error);
    assert_fails(MODEL, json_skip(parser, &error), &error);
    assert_text_has(error.text, "at byte 5");
    json_close(&parser);
    close_empty_ledger(ledger);
}

static json_token number(const char *text)
{
    return (json_token){.kind = JSON_NUMBER, .text = text, .text_bytes = strlen(text)};
}

static void converts_integers_exactly(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool fits_u64, fits_i64;
        uint64_t u64;
        int64_t i64;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"-0", true, true, 0, 0},
        {"0.000e99", true, true, 0, 0},
        {"3", true, true, 3, 3},
        {"3.0", true, true, 3, 3},
        {"-3.000", false, true, 0, -3},
        {"3.5", false, false, 0, 0},
        {"1e3", true, true, 1000, 1000},
        {"1.25E+2", true, true, 125, 125},
        {"1.25e1", false, false, 0, 0},
        {"1200e-2", true, true, 12, 12},
        {"1200e-3", false, false, 0, 0},
        {"10000000000000000000000e-20", true, true, 100, 100},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", true, false, UINT64_C(9223372036854775808), 0},
        {"-9223372036854775808", false, true, 0, INT64_MIN},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", true, false, UINT64_MAX, 0},
        {"18446744073709551615.0", true, false, UINT64_MAX, 0},
        {"18446744073709551616", false, false, 0, 0},
        {"1844674407370955161500000e-5", true, false, UINT64_MAX, 0},
        {"99999999999999999999999999", false, false, 0, 0},
        {"1e20", false, false, 0, 0},
        {"1e99999999999999999999999", false, false, 0, 0},
        {"1e-99999999999999999999999", false, false, 0, 0},
        {"", false, false, 0, 0},
        {"-", false, false, 0, 0},
        {"1x", false, false, 0, 0},
        {"NaN", false, false, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        json_token token = number(cases[i].text);
        uint64_t u64 = 77;
        int64_t i64 = 77;
        if (json_to_u64(&token, &u64) != cases[i].fits_u64) fail_msg("u64 of %s", cases[i].text);
        if (json_to_i64(&token, &i64) != cases[i].fits_i64) fail_msg("i64 of %s", cases[i].text);
        assert_int_equal(u64, cases[i].fits_u64 ? cases[i].u64 : 77);
        assert_int_equal(i64, cases[i].fits_i64 ? cases[i].i64 : 77);
    }
    json_token text = {.kind = JSON_STRING, .text = "3", .text_bytes = 1};
    uint64_t u64;
    double f64;
    assert_false(json_to_u64(&text, &u64));
    assert_false(json_to_f64(&text, &f64));
}

static void converts_doubles_exactly(void **state)
{
    (void)state;
    const struct {
        const char *text;
        double value;
    } cases[] = {
        {"0.1", 0x1.999999999999ap-4},
        {"-2.5e-3", -0x1.47ae147ae147bp-9},
        {"9007199254740993", 0x1p53},                                             /* a tie goes to even */
        {"9007199254740993.00000000000000000000000000001", 0x1.0000000000001p53}, /* and just above it does not */
        {"1.7976931348623157e308", 0x1.fffffffffffffp1023},
        {"5e-324", 0x1p-1074},
        {"1e-400", 0.0},
        {"2.2250738585072011e-308", 0x0.fffffffffffffp-1022},
        {"10000", 10000.0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        json_token token = number(cases[i].text);
        double value = NAN;
        assert_true(json_to_f64(&token, &value));
        if (memcmp(&value, &cases[i].value, sizeof value) != 0) fail_msg("%s became %a", cases[i].text, value);
    }
    json_token token = number("1e999");
    double value;
    assert_false(json_to_f64(&token, &value));
}

/* A locale that writes 0,5: the system's, or one made for this test. */
static bool set_comma_locale(void)
{
    char locales[UNIT_PATH_BYTES], command[2 * UNIT_PATH_BYTES + 128];
    if (setlocale(LC_ALL, "de_DE.UTF-8") || setlocale(LC_ALL, "fr_FR.UTF-8")) return true;
    make_folder(locales);
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >'%s/log' 2>&1", locales, locales);
    int made = system(command); /* 1: with warnings */
    setenv("LOCPATH", locales, 1);
    bool is_set = made != -1 && setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
    unsetenv("LOCPATH");
    remove_folder(locales);
    return is_set;
}

static void the_locale_does_not_matter(void **state)
{
    (void)state;
    if (!set_comma_locale()) skip_because("no locale with a decimal comma here, and localedef could not make one");
    assert_string_equal(localeconv()->decimal_point, ",");
    json_token token = number("0.5");
    double value = 0;
    bool is_good = json_to_f64(&token, &value);
    setlocale(LC_ALL, "C");
    assert_true(is_good);
    assert_true(value == 0.5);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    char text[4096] = "[";
    size_t at = 1;
    for (int object = 0; object < 2; object++) {
        at += (size_t)sprintf(text + at, "{");
        for (int i = 0; i < 80; i++) at += (size_t)sprintf(text + at, "\"\\u0041%d\":\"\\n\",", i);
        at += (size_t)sprintf(text + at, "\"end\":{\"a\":[]}},");
    }
    at += (size_t)sprintf(text + at, "\"%0300d\\n\"]", 1);
    uint64_t nth = 1;
    for (bool went_through = false; !went_through; nth++) {
        leat_error error;
        mem *ledger = open_ledger(0);
        mem_fail_nth(ledger, nth);
        json *parser = NULL;
        leat_status status = json_open(ledger, MEM_META, "test.json", text, at, &json_limits_default, &parser, &error);
        if (status == LEAT_OK) status = json_skip(parser, &error);
        went_through = status == LEAT_OK;
        if (!went_through) {
            assert_int_equal(status, LEAT_NO_MEMORY);
            if (parser != NULL) assert_text_has(error.text, "test.json: at byte ");
        }
        json_close(&parser);
        close_empty_ledger(ledger);
    }
    assert_in_range(nth, 7, 20); /* the parser, two tables that grow twice, the scratch buffer that grows once */
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    const char *text = "{\"a\\u00e4\\ud83d\\ude00\":[1.5e-3,true,null,{\"b\xe2\x82\xac\":\"\\n\"}],\"c\":-0.25}";
    size_t length = strlen(text);
    for (size_t cut = 0; cut < length; cut++) expect_refused_bytes(text, cut, &json_limits_default, "");
    char out[256];
    leat_error error;
    assert_ok(render(text, length, &json_limits_default, out, sizeof out, &error), &error);
}

static void callers_can_point_at_a_token(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    json *parser;
    assert_ok(json_open(ledger, MEM_META, "config.json", "1", 1, &json_limits_default, &parser, &error), &error);
    assert_int_equal(json_fail_at(parser, 12, &error, "key \"%s\": expected %d", "heads", 4), LEAT_MODEL);
    assert_string_equal(error.text, "config.json: at byte 12: key \"heads\": expected 4");
    json_close(&parser);
    json_close(&parser); /* NULL now */
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_tokens_in_order),
        cmocka_unit_test(decodes_strings),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_bad_strings),
        cmocka_unit_test(refuses_bad_numbers),
        cmocka_unit_test(keeps_its_limits),
        cmocka_unit_test(nonfinite_numbers_only_when_allowed),
        cmocka_unit_test(finds_duplicate_keys),
        cmocka_unit_test(finds_duplicates_among_many_keys),
        cmocka_unit_test(a_large_vocabulary_is_linear),
        cmocka_unit_test(skips_whole_values),
        cmocka_unit_test(converts_integers_exactly),
        cmocka_unit_test(converts_doubles_exactly),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(callers_can_point_at_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

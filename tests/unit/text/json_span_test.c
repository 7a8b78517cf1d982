/*
 * json_span_test.c - the end of a value is found where it is, wherever the text is cut; what is no JSON is
 * refused; and every spelling is copied into the one that Python's json.dumps has.
 */
#include "text_support.h"

#include "text/answer/json_span.h"

static const char *const good[][2] = {
    {"{}", "{}"},
    {"[]", "[]"},
    {" { \"a\" : [ 1 , 2.50 , -0 , 1e-07 , 1E+5 , 12345678901234567890 ] } ",
     "{\"a\": [1, 2.50, -0, 1e-07, 1E+5, 12345678901234567890]}"},
    {"[true,false,null,\"\",{\"\":{}}]", "[true, false, null, \"\", {\"\": {}}]"},
    {"\"\\u0041\\ud83d\\ude00\\/\\\"\\\\\\b\\f\\n\\r\\t\\u001f\\u007f\"",
     "\"A\xf0\x9f\x98\x80/\\\"\\\\\\b\\f\\n\\r\\t\\u001f\x7f\""},
    {"\"\\ud800 \\udc00\\ud83d\\ud83d\\ude00\"", "\"\\ud800 \\udc00\\ud83d\xf0\x9f\x98\x80\""},
    {"\"a\nb\tc\"", "\"a\\nb\\tc\""},
    {"\"{[]},:\"", "\"{[]},:\""},
    {"0", "0"},
    {"-1.5e3", "-1.5e3"},
    {"{\"b\":1,\"a\":2,\"b\":3}", "{\"b\": 1, \"a\": 2, \"b\": 3}"},
};

static const char *const bad[] = {
    "",      "{",    "[1",   "[1x",        "[1e-07\xeb}", "[1}", "{\"a\":1]", "{\"a\"}",     "{\"a\":}",
    "{a:1}", "[1,]", "[,1]", "{\"a\":1,}", "01",          "-",   "1.",        "1e",          "1e+",
    "+1",    ".5",   "tru",  "truex",      "nul]",        "\"a", "\"\\x\"",   "\"\\u12g4\"", "[1 2]",
    "{} x",  "]",    "}",    "1 1",        "NaN",         "'a'",
};

static void test_values(void **state)
{
    leat_error error;
    mem *ledger = open_ledger(0);
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        text_buffer copy;
        text_buffer_init(&copy, ledger);
        assert_true(json_span_is_value(good[i][0], strlen(good[i][0])));
        assert_ok(json_span_copy(json_span_trim(good[i][0], strlen(good[i][0])), &copy, &error), &error);
        assert_string_equal(copy.bytes, good[i][1]);
        text_buffer_reset(&copy);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (json_span_is_value(bad[i], strlen(bad[i]))) fail_msg("taken for JSON: %s", bad[i]);
    close_empty_ledger(ledger);
}

/* Behind the value stands an x, which must not be read. */
static void test_cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[256];
        json_span value = json_span_trim(good[i][0], strlen(good[i][0]));
        size_t count = (size_t)snprintf(text, sizeof text, "%.*s x", (int)value.count, value.text);
        for (size_t cut = 0; cut <= count; cut++) {
            json_scan scan = {0};
            uint64_t at = 0;
            json_scan_result result = json_scan_run(&scan, text, cut, &at);
            if (result == JSON_SCAN_MORE) result = json_scan_run(&scan, text, count, &at);
            assert_int_equal(result, JSON_SCAN_DONE);
            assert_int_equal(at, value.count);
        }
    }
}

static void test_depth(void **state)
{
    char text[2 * JSON_SPAN_DEPTH_MAX + 2];
    (void)state;
    memset(text, '[', JSON_SPAN_DEPTH_MAX);
    memset(text + JSON_SPAN_DEPTH_MAX, ']', JSON_SPAN_DEPTH_MAX);
    assert_true(json_span_is_value(text, 2 * JSON_SPAN_DEPTH_MAX));
    memset(text, '[', JSON_SPAN_DEPTH_MAX + 1);
    memset(text + JSON_SPAN_DEPTH_MAX + 1, ']', JSON_SPAN_DEPTH_MAX + 1);
    assert_false(json_span_is_value(text, sizeof text));
}

static void test_members(void **state)
{
    static const char text[] = "{\"a\": {\"b\": \",}\"}, \"c\\\"\": [1, [2, 3]], \"a\": 5}";
    json_span object = {text, sizeof text - 1}, value, key;
    uint64_t at = 0;
    int count = 0;
    (void)state;
    assert_true(json_span_member(object, "a", &value));
    assert_true(value.count == 1 && value.text[0] == '5');
    assert_false(json_span_member(object, "b", &value));
    while (json_span_next(object, &at, &key, &value)) count++;
    assert_int_equal(count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_cuts),
                                       cmocka_unit_test(test_depth), cmocka_unit_test(test_members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a request's JSON may be, and which field an unfit value is blamed on. */
#include "server_support.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static void assert_refused(const char *text, size_t bytes, api_fault fault)
{
    api_error error = {0};
    json_t *document = NULL;
    if (json_value_parse(text, bytes, &document, &error)) fail_msg("accepted: %s", text);
    assert_int_equal(error.fault, fault);
    assert_int_equal(api_error_http_status(&error), 400);
}

static void what_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{",
        "{'a':1",
        "{'a':}",
        "{'a':1}x",
        "{'a':1,}",
        "{'a':01}",
        "{'a':NaN}",
        "{'a':1e400}",
        "{'a':9223372036854775808}",
        "{'a':1,'a':2}",
        "{'a':{'b':1,'b':1}}",
        "{'a':'\\u0000'}",
        "{'a':'\\ud800'}",
        "{'a':'\xff'}",
        "{'a':'\x01'}",
        "{'a\\u0000':1}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        const char *body = quoted(bodies[i]);
        assert_refused(body, strlen(body), API_INVALID_JSON);
    }
    assert_refused("[]", 2, API_INVALID_TYPE);
    assert_refused("\"a\"", 3, API_INVALID_TYPE);
    assert_refused("{\"a\":1}\0", 8, API_INVALID_JSON);
}

static void the_error_says_where(void **state)
{
    (void)state;
    api_error error = {0};
    json_t *document = NULL;
    assert_false(json_value_parse("{\"a\": 1,\n \"b\": ?}", 17, &document, &error));
    assert_non_null(strstr(error.message, "line 2"));
}

static void nesting_ends_at_the_limit(void **state)
{
    (void)state;
    char text[1024] = "{\"a\":\"[[{\\\"[\",\"b\":";
    api_error error = {0};
    json_t *document = NULL;
    for (int depth = 63; depth <= 64; depth++) {
        size_t at = 18; /* brackets inside of the string do not count */
        memset(text + at, '[', (size_t)depth);
        memset(text + at + depth, ']', (size_t)depth);
        strcpy(text + at + 2 * depth, "}");
        bool is_good = json_value_parse(text, strlen(text), &document, &error);
        assert_int_equal(is_good, depth < 64);
        if (is_good) json_decref(document);
    }
    assert_non_null(strstr(error.message, "64 levels at byte 81"));
    static char deep[200001];
    memset(deep, '[', 200000);
    assert_refused(deep, 200000, API_INVALID_JSON);
}

static void there_are_only_so_many_values(void **state)
{
    (void)state;
    static char text[2 * JSON_VALUE_COUNT_MAX + 64];
    api_error error = {0};
    json_t *document = NULL;
    size_t at = (size_t)snprintf(text, sizeof text, "{\"a\":[1");
    /* The document, the list and its first element. */
    for (uint32_t i = 3; i < JSON_VALUE_COUNT_MAX; i++) at += (size_t)snprintf(text + at, 4, ",1");
    memcpy(text + at, "]}", 3);
    assert_true(json_value_parse(text, at + 2, &document, &error));
    json_decref(document);
    assert_true(mem_total_usage(test_ledger).peak_bytes < 64 << 20);
    memcpy(text + at, ",1]}", 5);
    assert_refused(text, at + 4, API_OUT_OF_RANGE);
}

static void values_are_checked(void **state)
{
    (void)state;
    api_error error;
    json_t *document = NULL;
    uint32_t number = 7;
    float single = 0.5f;
    bool flag = true;
    const char *text = "none";
    const char *body =
        quoted("{'three':3.0,'half':0.5,'minus':-1,'word':'x','no':false,'nothing':null,'list':[1,{'k':[2]}]}");
    assert_true(json_value_parse(body, strlen(body), &document, &error));
    json_view v = json_view_of(document), list, element, member;
    assert_true(json_field_u32(&v, "three", 3, 3, &number, &error));
    assert_int_equal(number, 3);
    assert_false(json_field_u32(&v, "half", 0, 9, &number, &error));
    assert_blames(&error, body, "half", "invalid_type");
    assert_false(json_field_u32(&v, "minus", 0, 9, &number, &error));
    assert_blames(&error, body, "minus", "out_of_range");
    assert_false(json_field_single(&v, "word", 0, 1, &single, &error));
    assert_false(json_field_flag(&v, "minus", &flag, &error));
    assert_false(json_field_text(&v, "no", &text, &error));
    assert_true(json_field_flag(&v, "no", &flag, &error));
    assert_false(flag);
    /* Absent and null leave things alone. */
    assert_true(json_field_u32(&v, "nothing", 9, 9, &number, &error) && json_field_text(&v, "other", &text, &error));
    assert_int_equal(number, 3);
    assert_string_equal(text, "none");
    assert_false(json_field_array(&v, "list", 1, &list, &error));
    assert_blames(&error, body, "list", "out_of_range");
    assert_true(json_field_array(&v, "list", 2, &list, &error));
    element = json_view_element(&list, 1);
    member = json_view_member(&element, "k");
    element = json_view_element(&member, 0);
    assert_false(json_view_text(&element, &text, &error));
    assert_blames(&error, body, "list[1].k[0]", "invalid_type");
    json_decref(document);
}

static void a_failing_ledger_is_no_crash(void **state)
{
    (void)state;
    const char *body = quoted("{'a':[1,2,{'b':'text'}],'c':{'d':1.5,'e':'\\u00e4'}}");
    for (uint64_t nth = 1; nth < 40; nth++) {
        api_error error;
        json_t *document = NULL;
        mem_fail_nth(test_ledger, nth);
        if (json_value_parse(body, strlen(body), &document, &error)) json_decref(document);
        mem_fail_nth(test_ledger, 0);
        assert_int_equal(mem_total_usage(test_ledger).current_bytes, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_json_is_refused, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(the_error_says_where, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(nesting_ends_at_the_limit, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(there_are_only_so_many_values, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(values_are_checked, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(a_failing_ledger_is_no_crash, set_up_ledger, tear_down_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

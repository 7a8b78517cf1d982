#include "support/unit.h"

#include "base/status.h"
#include "base/visible.h"

static void records_what_where_and_why(void **state)
{
    (void)state;
    leat_error error;
    memset(&error, 0x5a, sizeof error);
    int line = __LINE__ + 1;
    leat_status status = FAIL_OS(&error, IO, 5, "%s: at byte %d", "model.safetensors", 17);
    assert_int_equal(status, LEAT_IO);
    assert_int_equal(error.status, LEAT_IO);
    assert_int_equal(error.os_errno, 5);
    assert_int_equal(error.line, line);
    assert_string_equal(error.file, __FILE__);
    assert_string_equal(error.text, "model.safetensors: at byte 17");
    assert_string_equal(error.hint, "");
}

static void null_record_is_accepted(void **state)
{
    (void)state;
    assert_int_equal(FAIL(NULL, MODEL, "text"), LEAT_MODEL);
    status_hint(NULL, "hint");
    status_prefix(NULL, "prefix");
}

static void control_bytes_and_broken_utf8_become_visible(void **state)
{
    (void)state;
    leat_error error;
    (void)FAIL(&error, MODEL, "%s",
               "a\tb\x1b[31m\x7f \xc2\x9b \xff \xe2\x82 \xed\xa0\x80 \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_string_equal(error.text, "a\\x09b\\x1B[31m\\x7F \\xC2\\x9B \\xFF \\xE2\\x82 \\xED\\xA0\\x80 "
                                    "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    status_hint(&error, "%s", "line\nfeed");
    assert_string_equal(error.hint, "line\\x0Afeed");
}

static void long_texts_are_cut_with_an_ellipsis(void **state)
{
    (void)state;
    leat_error error;
    char text[5000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)FAIL(&error, MODEL, "%s", text);
    assert_int_equal(strlen(error.text), LEAT_ERROR_TEXT_BYTES - 1);
    assert_string_equal(error.text + LEAT_ERROR_TEXT_BYTES - 5, "x...");
}

static void a_text_that_just_fits_is_whole(void **state)
{
    (void)state;
    char out[16];
    assert_int_equal(visible_text("123456789012345", 15, out, sizeof out), 15);
    assert_string_equal(out, "123456789012345");
    assert_int_equal(visible_text("1234567890123456", 16, out, sizeof out), 15);
    assert_string_equal(out, "123456789012...");
}

static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    for (size_t out_bytes = 8; out_bytes < 40; out_bytes++) {
        char out[64];
        memset(out, 0x55, sizeof out);
        const char *text =
            "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\x01\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xc2\x85\xc2\x85\xe2\x82\xac";
        size_t written = visible_text(text, strlen(text), out, out_bytes);
        assert_true(written < out_bytes);
        assert_int_equal(strlen(out), written);
        assert_int_equal(out[out_bytes], 0x55); /* nothing behind the buffer */
        char again[64];
        visible_text(out, written, again, sizeof again);
        assert_string_equal(out, again); /* whole characters only: nothing is left to escape */
    }
}

static void prefix_goes_in_front(void **state)
{
    (void)state;
    leat_error error;
    (void)FAIL(&error, MODEL, "key \"a\": expected a number");
    status_hint(&error, "check the download");
    status_prefix(&error, "%s", "config.json\n");
    assert_string_equal(error.text, "config.json\\x0A: key \"a\": expected a number");
    assert_string_equal(error.hint, "check the download");
    assert_int_equal(error.status, LEAT_MODEL);
    for (int i = 0; i < 400; i++) status_prefix(&error, "level %d", i); /* full record: cut, never overrun */
    assert_true(strncmp(error.text, "level 399: level 398: ", 22) == 0);
    assert_string_equal(error.text + strlen(error.text) - 3, "...");
}

static void a_record_can_quote_itself(void **state)
{
    (void)state;
    leat_error error;
    (void)FAIL(&error, MODEL, "inner");
    (void)FAIL(&error, IO, "outer: %s", error.text);
    assert_string_equal(error.text, "outer: inner");
}

static void the_list_gives_texts_and_exit_codes(void **state)
{
    (void)state;
    assert_string_equal(status_text(LEAT_OK), "ok");
    assert_string_equal(status_text(LEAT_CANCELLED), "cancelled");
    assert_int_equal(status_exit_code(LEAT_OK), 0);
    assert_int_equal(status_exit_code(LEAT_BUDGET), 4);
    assert_int_equal(status_exit_code(LEAT_NO_MEMORY), 4);
    assert_int_equal(status_exit_code(LEAT_CANCELLED), 130);
    assert_int_equal(status_exit_code((leat_status)99), 1);
    assert_string_equal(status_text((leat_status)99), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_what_where_and_why),
        cmocka_unit_test(null_record_is_accepted),
        cmocka_unit_test(control_bytes_and_broken_utf8_become_visible),
        cmocka_unit_test(long_texts_are_cut_with_an_ellipsis),
        cmocka_unit_test(a_text_that_just_fits_is_whole),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(prefix_goes_in_front),
        cmocka_unit_test(a_record_can_quote_itself),
        cmocka_unit_test(the_list_gives_texts_and_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

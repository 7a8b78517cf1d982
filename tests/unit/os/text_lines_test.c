#include "support/unit.h"

#include "os/text_lines.h"

static char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 8];

static void write_text(const char *text, size_t bytes)
{
    write_file_bytes(folder, "text", text, bytes);
    snprintf(path, sizeof path, "%s/text", folder);
}

static void expect_lines(const char *text, const char *joined)
{
    static text_lines lines;
    char out[256] = "";
    write_text(text, strlen(text));
    assert_true(text_lines_open(&lines, path));
    for (const char *line; (line = text_lines_next(&lines)) != NULL;) strcat(strcat(out, line), "|");
    text_lines_close(&lines);
    text_lines_close(&lines);
    assert_string_equal(out, joined);
}

static void gives_line_after_line(void **state)
{
    (void)state;
    expect_lines("", "");
    expect_lines("a", "a|");
    expect_lines("a\n", "a|");
    expect_lines("a\n\nb", "a||b|");
    expect_lines("\n", "|");
}

static void lines_survive_the_edge_of_the_buffer(void **state)
{
    (void)state;
    enum { LINES = 3000 };
    static char text[LINES * 24];
    static text_lines lines;
    size_t at = 0;
    for (int i = 0; i < LINES; i++) at += (size_t)sprintf(text + at, "line %d of some\n", i * 7919);
    write_text(text, at);
    assert_true(text_lines_open(&lines, path));
    for (int i = 0; i < LINES; i++) {
        char expected[32];
        sprintf(expected, "line %d of some", i * 7919);
        assert_string_equal(text_lines_next(&lines), expected);
    }
    assert_null(text_lines_next(&lines));
    text_lines_close(&lines);
}

static void a_line_longer_than_the_buffer_comes_in_parts(void **state)
{
    (void)state;
    static char text[3 * TEXT_LINE_BYTES];
    static text_lines lines;
    memset(text, 'x', sizeof text);
    write_text(text, sizeof text);
    assert_true(text_lines_open(&lines, path));
    size_t sum = 0;
    for (const char *line; (line = text_lines_next(&lines)) != NULL;) sum += strlen(line);
    assert_int_equal(sum, sizeof text);
    text_lines_close(&lines);
}

static void reads_numbers(void **state)
{
    (void)state;
    uint64_t value = 5;
    write_text("  123 kB\n9", 10);
    assert_true(read_u64_file(path, &value));
    assert_int_equal(value, 123);
    const char *bad[] = {"", "max\n", "-1\n", "18446744073709551616\n", "99999999999999999999999999\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text(bad[i], strlen(bad[i]));
        assert_false(read_u64_file(path, &value));
    }
    write_text("18446744073709551615", 20);
    assert_true(read_u64_file(path, &value));
    assert_int_equal(value, UINT64_MAX);
    assert_false(read_u64_file("/nonexistent/file", &value));
}

static void reads_fields_by_their_whole_key(void **state)
{
    (void)state;
    const char *text = "MemTotalHuge:   1 kB\nTotal 2\nMemTotal:    24000 kB\nfile 7\n";
    write_text(text, strlen(text));
    uint64_t value = 5;
    assert_true(read_u64_field(path, "MemTotal", &value));
    assert_int_equal(value, 24000);
    assert_true(read_u64_field(path, "file", &value));
    assert_int_equal(value, 7);
    assert_false(read_u64_field(path, "Mem", &value));
    assert_false(read_u64_field(path, "absent", &value));
}

static int make_test_folder(void **state)
{
    (void)state;
    make_folder(folder);
    return 0;
}

static int remove_test_folder(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_line_after_line),
        cmocka_unit_test(lines_survive_the_edge_of_the_buffer),
        cmocka_unit_test(a_line_longer_than_the_buffer_comes_in_parts),
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(reads_fields_by_their_whole_key),
    };
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}

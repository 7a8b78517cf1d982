#include "support/unit.h"

#include "base/log.h"

static struct {
    int count;
    log_level level;
    char line[4096];
} heard;

static void hear(void *user, log_level level, const char *line)
{
    assert_ptr_equal(user, &heard);
    heard.count++;
    heard.level = level;
    snprintf(heard.line, sizeof heard.line, "%s", line);
}

static void lines_reach_the_sink_up_to_its_level(void **state)
{
    (void)state;
    log_write(LOG_ERROR, "nobody listens yet");
    log_set_sink(hear, &heard, LOG_INFO);
    log_write(LOG_INFO, "read %d bytes", 12);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.level, LOG_INFO);
    assert_string_equal(heard.line, "read 12 bytes");
    log_write(LOG_DEBUG, "too fine");
    assert_int_equal(heard.count, 1);
    log_set_sink(NULL, NULL, LOG_TRACE);
    log_write(LOG_ERROR, "nobody listens any more");
    assert_int_equal(heard.count, 1);
}

static void a_line_is_one_line(void **state)
{
    (void)state;
    log_set_sink(hear, &heard, LOG_TRACE);
    log_write(LOG_WARN, "%s", "two\nlines\x1b[0m \xfe");
    assert_string_equal(heard.line, "two\\x0Alines\\x1B[0m \\xFE");
    char text[10000];
    memset(text, 'y', sizeof text);
    text[sizeof text - 1] = '\0';
    log_write(LOG_WARN, "%s", text);
    assert_string_equal(heard.line + strlen(heard.line) - 4, "y...");
    log_set_sink(NULL, NULL, LOG_TRACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_reach_the_sink_up_to_its_level),
        cmocka_unit_test(a_line_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "server_support.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

request_limits test_limits = {
    .vocab_size = 4096,
    .sampling =
        {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1, .repeat_last = 64},
};

mem *open_test_ledger(void)
{
    mem *ledger = NULL;
    assert_int_equal(mem_open(64 << 20, &ledger, NULL), LEAT_OK);
    json_value_setup(ledger);
    return ledger;
}

void close_test_ledger(mem **ledger)
{
    json_value_setup(NULL);
    assert_int_equal(mem_total_usage(*ledger).current_bytes, 0);
    mem_close(ledger);
}

mem *test_ledger;

int set_up_ledger(void **state)
{
    (void)state;
    test_ledger = open_test_ledger();
    return 0;
}

int tear_down_ledger(void **state)
{
    (void)state;
    close_test_ledger(&test_ledger);
    return 0;
}

const char *quoted(const char *body)
{
    static char text[16384];
    assert_true(strlen(body) < sizeof text);
    strcpy(text, body);
    for (char *c = text; *c != '\0'; c++)
        if (*c == '\'') *c = '"';
    return text;
}

void assert_blames(const api_error *error, const char *body, const char *param, const char *code)
{
    mem *ledger = NULL;
    json_writer w;
    char part[256];
    assert_int_equal(mem_open(0, &ledger, NULL), LEAT_OK);
    strbuf text = {.ledger = ledger};
    json_writer_init_text(&w, &text);
    json_writer_begin_object(&w, NULL);
    api_error_write(error, &w);
    json_writer_end_object(&w);
    snprintf(part, sizeof part, "\"param\": %s%s%s, \"code\": \"%s\"", param ? "\"" : "", param ? param : "null",
             param ? "\"" : "", code);
    if (!strstr(strbuf_text(&text), part)) fail_msg("%s\nis not blamed with %s:\n%s", body, part, strbuf_text(&text));
    strbuf_reset(&text);
    mem_close(&ledger);
}

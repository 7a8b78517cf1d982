/* What of an answer is shown, how, and that nothing in it reaches a terminal as a command. */
#include "cli/answer_reader.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static mem *ledger;

typedef struct shown_answer {
    output out;
    answer_parts parts;
} shown_answer;

/* As read byte by byte; `tools` as of a request. */
static void read_answer(shown_answer *a, bool is_terminal, thought_display display, const char *tools, const char *text)
{
    answer_source source = {.format = "hermes", .request = {.ledger = ledger}};
    answer_reader r;
    output_init_memory(&a->out, ledger);
    a->out.is_terminal = is_terminal;
    answer_parts_init(&a->parts, ledger);
    assert_int_equal(strbuf_append_text(&source.request, tools, NULL), LEAT_OK);
    assert_int_equal(answer_reader_open(&r, &source, display, &a->parts, &a->out, NULL), LEAT_OK);
    for (; *text; text++) assert_int_equal(answer_reader_push(&r, text, 1, NULL), LEAT_OK);
    assert_int_equal(answer_reader_finish(&r, NULL), LEAT_OK);
    answer_reader_reset(&r);
    strbuf_reset(&source.request);
}

static void forget(shown_answer *a)
{
    answer_parts_reset(&a->parts);
    output_reset(&a->out);
}

static void assert_shown(bool is_terminal, thought_display display, const char *text, const char *expected)
{
    shown_answer a;
    read_answer(&a, is_terminal, display, "", text);
    assert_string_equal(strbuf_text(&a.out.pending), expected);
    forget(&a);
}

static const char answer[] = "<think>Hm</think>Yes.";

static void thoughts_are_told_apart(void **state)
{
    (void)state;
    assert_shown(true, THOUGHT_HIDDEN, answer, "Yes.");
    assert_shown(false, THOUGHT_MARKED, answer, "[thinking]\nHm\n[end of thinking]\n\nYes.");
    assert_shown(true, THOUGHT_DIM, answer, "\033[2mH\033[0m\033[2mm\033[0m\n\nYes.");
    assert_shown(true, THOUGHT_MARKED, "<think>Hm", "[thinking]\nHm\n[end of thinking]\n\n");
    assert_shown(true, THOUGHT_DIM, "Yes.", "Yes.");
}

static void thoughts_are_kept_apart(void **state)
{
    (void)state;
    shown_answer a;
    read_answer(&a, true, THOUGHT_HIDDEN, "", answer);
    assert_string_equal(strbuf_text(&a.parts.reasoning), "Hm");
    assert_string_equal(strbuf_text(&a.parts.content), "Yes.");
    assert_int_equal(a.parts.call_count, 0);
    forget(&a);
}

#define CALL(name, arguments) "<tool_call>\n{\"name\": \"" name "\", \"arguments\": " arguments "}\n</tool_call>"

static void calls_are_lines(void **state)
{
    (void)state;
    static const char tools[] = "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]}";
    shown_answer a;
    read_answer(&a, false, THOUGHT_HIDDEN, tools, "So:\n" CALL("f", "{\"x\": 1}") "\n" CALL("f", "{}"));
    assert_string_equal(strbuf_text(&a.out.pending), "So:\n[call f {\"x\": 1}]\n[call f {}]\n");
    assert_string_equal(
        strbuf_text(&a.parts.calls),
        "{\"id\": \"call00001\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": "
        "{\"x\": 1}}}, "
        "{\"id\": \"call00002\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {}}}");
    assert_int_equal(a.parts.call_count, 2);
    forget(&a);
}

/* Every way for a model to say something, each with the control characters of both sets in it. */
static void nothing_commands_the_terminal(void **state)
{
    (void)state;
    static const char tools[] = "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]}";
    static const char text[] = "<think>a\033]0;title\007\302\233b</think>c\033[2J\302\205\rd\n" CALL(
        "f", "{\"x\": \"\\u001b[31m\", \"y\": \"\302\233\"}");
    shown_answer a;
    read_answer(&a, true, THOUGHT_DIM, tools, text);
    const char *shown = strbuf_text(&a.out.pending);
    for (const char *at = shown; *at; at++) {
        const bool is_own = strncmp(at, "\033[2m", 4) == 0 || strncmp(at, "\033[0m", 4) == 0;
        if (*at == '\033') assert_true(is_own);
        assert_false(*at == '\r' || *at == '\007');
    }
    assert_null(strstr(shown, "\302\233"));
    assert_null(strstr(shown, "\302\205"));
    assert_non_null(strstr(shown, "[call f "));
    assert_non_null(strstr(strbuf_text(&a.parts.reasoning), "\033]0;title\007")); /* what is kept is what was said */
    forget(&a);
}

static int open_ledger(void **state)
{
    (void)state;
    return mem_open(0, &ledger, NULL) == LEAT_OK ? 0 : -1;
}

static int close_ledger(void **state)
{
    (void)state;
    mem_close(&ledger); /* asserts that all of it came back */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(thoughts_are_told_apart, open_ledger, close_ledger),
        cmocka_unit_test_setup_teardown(thoughts_are_kept_apart, open_ledger, close_ledger),
        cmocka_unit_test_setup_teardown(calls_are_lines, open_ledger, close_ledger),
        cmocka_unit_test_setup_teardown(nothing_commands_the_terminal, open_ledger, close_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

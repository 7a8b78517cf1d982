/*
 * jinja_cases_test.c - known answers of Jinja2 in the environment of transformers: 435 small templates with their
 * contexts, in the repository, and again those of the conformance folder where it is at hand. Beside them, what random
 * templates found to differ, with the same answers.
 */
#include "text_support.h"

#include "text/jinja/jinja.h"

enum { VARIABLES_MAX = 32 };

typedef struct jinja_case {
    text_buffer name, template, expected, kind, message;
    bool has_expected;
    text_buffer names[VARIABLES_MAX];
    jinja_variable variables[VARIABLES_MAX];
    uint32_t variable_count;
} jinja_case;

/* The bytes of the value that begins with `first`: up to `end`, without the comma and space in between. */
static void cut_value(const text_buffer *document, const json_token *first, uint64_t end, jinja_variable *out)
{
    while (end > first->offset && strchr(" \n\t\r,", document->bytes[end - 1]) != NULL) end--;
    out->json = document->bytes + first->offset;
    out->json_bytes = end - first->offset;
}

static void read_context(jinja_case *c, const text_buffer *document, json *parser)
{
    leat_error error;
    enter_object(parser);
    json_token key = next_token(parser);
    for (c->variable_count = 0; key.kind != JSON_OBJECT_END; c->variable_count++) {
        assert_in_range(c->variable_count, 0, VARIABLES_MAX - 1);
        text_buffer *name = &c->names[c->variable_count];
        jinja_variable *variable = &c->variables[c->variable_count];
        name->count = 0;
        assert_ok(text_buffer_append(name, key.text, key.text_bytes, &error), &error);
        json_token first = next_token(parser);
        assert_ok(json_skip_rest(parser, &first, &error), &error);
        key = next_token(parser);
        cut_value(document, &first, key.offset, variable);
        variable->name = name->bytes;
        variable->is_data = true;
    }
}

static void read_error(jinja_case *c, json *parser)
{
    enter_object(parser);
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        read_string(parser, json_text_is(&token, "kind") ? &c->kind : &c->message);
    }
}

static void read_case(jinja_case *c, const text_buffer *document, json *parser)
{
    c->has_expected = false;
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "context"))
            read_context(c, document, parser);
        else if (json_text_is(&token, "error"))
            read_error(c, parser);
        else if (json_text_is(&token, "template"))
            read_string(parser, &c->template);
        else if (json_text_is(&token, "name"))
            read_string(parser, &c->name);
        else {
            assert_true(json_text_is(&token, "expected"));
            read_string(parser, &c->expected);
            c->has_expected = true;
        }
    }
}

static bool same_text(const text_buffer *a, const text_buffer *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->bytes, b->bytes, a->count) == 0);
}

static bool run_case(mem *ledger, jinja_case *c)
{
    leat_error error = {0};
    jinja_fault fault = JINJA_NO_FAULT;
    jinja_template *t = NULL;
    jinja_output output;
    jinja_output_init(&output, ledger);
    leat_status status = jinja_open(ledger, "case", c->template.bytes, c->template.count, NULL, &t, &fault, &error);
    if (status == LEAT_OK) /* 2026-03-04T05:06:07 */
        status = jinja_render(t, c->variables, c->variable_count, 1772600767, &output, &fault, &error);
    bool is_right = status == LEAT_OK && c->has_expected && same_text(&output.text, &c->expected);
    if (!c->has_expected) {
        is_right = status != LEAT_OK && strcmp(jinja_fault_label(fault), c->kind.bytes) == 0;
        if (is_right && fault == JINJA_RAISED) is_right = same_text(&output.text, &c->message);
    }
    if (!is_right)
        print_message("%s: %s\n  expected %s\n  got      %s %s\n", c->name.bytes, c->template.bytes,
                      c->has_expected ? c->expected.bytes : c->kind.bytes, jinja_fault_label(fault),
                      status == LEAT_OK ? (output.text.bytes != NULL ? output.text.bytes : "") : error.text);
    jinja_output_reset(&output);
    jinja_close(&t);
    return is_right;
}

static void run_file(const char *path, uint32_t least)
{
    mem *ledger = open_ledger(0);
    text_buffer document;
    jinja_case c = {0};
    uint32_t run = 0, wrong = 0;
    text_buffer *texts[] = {&c.name, &c.template, &c.expected, &c.kind, &c.message};
    for (size_t i = 0; i < 5; i++) text_buffer_init(texts[i], ledger);
    for (size_t i = 0; i < VARIABLES_MAX; i++) text_buffer_init(&c.names[i], ledger);
    read_file(ledger, path, &document);
    json *parser = open_cases(ledger, &document);
    for (;; run++) {
        json_token token = next_token(parser);
        if (token.kind != JSON_OBJECT_BEGIN) break;
        read_case(&c, &document, parser);
        wrong += !run_case(ledger, &c);
    }
    json_close(&parser);
    print_message("[  NOTE    ] %u templates\n", run);
    assert_in_range(run, least, 10000);
    assert_int_equal(wrong, 0);
    for (size_t i = 0; i < 5; i++) text_buffer_reset(texts[i]);
    for (size_t i = 0; i < VARIABLES_MAX; i++) text_buffer_reset(&c.names[i]);
    text_buffer_reset(&document);
    close_empty_ledger(ledger);
}

static void run_cases(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    assert_true(find_data_file("golden/jinja/cases.json", path));
    run_file(path, 435);
}

static void run_found_cases(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    assert_true(find_data_file("golden/jinja/found.json", path));
    run_file(path, 35);
}

static void run_conformance_cases(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    if (!find_data_file("jinja/cases.json", path)) skip_because("the conformance folder is not here");
    run_file(path, 435);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(run_cases), cmocka_unit_test(run_found_cases),
                                       cmocka_unit_test(run_conformance_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * jinja_test.c - what the known answers do not show: where bytes came from, limits, failing memory, what a template
 * mentions, and meanings that real templates rest on.
 */
#include "text_support.h"

#include "text/jinja/jinja.h"

#include "base/bytes.h"

typedef struct rendering {
    mem *ledger;
    jinja_output output;
    jinja_fault fault;
    leat_status status;
    leat_error error;
} rendering;

/* Variables: d = data (a JSON text), p = a plain text of the template's side. */
static rendering render(const char *source, uint64_t bytes, const char *data, const jinja_limits *limits)
{
    rendering r = {.ledger = open_ledger(0)};
    jinja_template *t = NULL;
    jinja_variable variables[] = {{"d", data, strlen(data), true}, {"p", "\"<s>\"", 5, false}};
    jinja_output_init(&r.output, r.ledger);
    r.status = jinja_open(r.ledger, "test", source, bytes, limits, &t, &r.fault, &r.error);
    if (r.status == LEAT_OK)
        r.status = jinja_render(t, variables, ARRAY_COUNT(variables), 0, &r.output, &r.fault, &r.error);
    else
        assert_int_equal(r.status, LEAT_MODEL);
    jinja_close(&t);
    return r;
}

static void end(rendering *r)
{
    jinja_output_reset(&r->output);
    close_empty_ledger(r->ledger);
}

static void check_text(const char *source, const char *data, const char *expected)
{
    rendering r = render(source, strlen(source), data, NULL);
    if (r.status != LEAT_OK) fail_msg("%s: %s", source, r.error.text);
    assert_string_equal(r.output.text.bytes != NULL ? r.output.text.bytes : "", expected);
    end(&r);
}

static void check_fails(const char *source, uint64_t bytes, const jinja_limits *limits, jinja_fault fault)
{
    rendering r = render(source, bytes, "null", limits);
    if (r.status == LEAT_OK || r.fault != fault)
        fail_msg("%.60s: %s, not %s: %s", source, jinja_fault_label(r.fault), jinja_fault_label(fault), r.error.text);
    assert_true(r.error.text[0] != '\0');
    if (fault != JINJA_RAISED) assert_int_equal(r.output.text.count, 0);
    assert_int_equal(r.output.segment_count, 0);
    end(&r);
}

/* The output with its data in square brackets. */
static void check_origin(const char *source, const char *data, const char *expected)
{
    char shown[1024];
    size_t at = 0;
    rendering r = render(source, strlen(source), data, NULL);
    if (r.status != LEAT_OK) fail_msg("%s: %s", source, r.error.text);
    for (uint64_t i = 0; i < r.output.segment_count; i++) {
        const jinja_segment *s = &r.output.segments[i];
        assert_int_equal(s->begin, i == 0 ? 0 : r.output.segments[i - 1].end);
        if (i > 0) assert_true(s->is_data != r.output.segments[i - 1].is_data);
        at += (size_t)snprintf(shown + at, sizeof shown - at, s->is_data ? "[%.*s]" : "%.*s", (int)(s->end - s->begin),
                               r.output.text.bytes + s->begin);
        if (i + 1 == r.output.segment_count) assert_int_equal(s->end, r.output.text.count);
    }
    shown[at] = '\0';
    assert_string_equal(shown, expected);
    end(&r);
}

static void bytes_know_where_they_came_from(void **state)
{
    (void)state;
    const char *hi = "\" Hi <s> \"";
    check_origin("a{{ p }}{{ d }}{{ 'b' }}", hi, "a<s>[ Hi <s> ]b");
    check_origin("{{ p + d + '|' }}", hi, "<s>[ Hi <s> ]|");
    check_origin("{{ '<' ~ d ~ '>' ~ 1 }}", hi, "<[ Hi <s> ]>1");
    check_origin("{{ d | trim }}{{ d.strip()[0:2] }}.{{ d[1] }}", hi, "[Hi <s>Hi].[H]");
    check_origin("{{ ('x' + d + 'y') | trim | upper }}", hi, "X[ HI <S> ]Y");
    check_origin("{{ d.replace('Hi', 'Ho') }}", hi, "[ ]Ho[ <s> ]");
    check_origin("{{ ('a,' + d).split(',') | join('-') }}", hi, "a-[ Hi <s> ]");
    check_origin("{{ ('a' + d)[::-1] }}", "\"bc\"", "[cb]a");
    check_origin("{{ ('a' + d + 'z')[1:-1] }}", "\"bc\"", "[bc]");
    check_origin("{{ {'k': d} | tojson }}", "\"q\\\"\"", "{\"k\": [\"q\\\"\"]}");
    check_origin("{{ [d, 1] }}", "\"q\"", "[[\'q\'], 1]"); /* repr: brackets of the list, then of the data */
    check_origin("{{ '%s|%s' % (d, 'x') }}{{ '{}!'.format(d) }}", "\"q\"", "[q]|x[q]!");
    check_origin("{% set x %}a{{ d }}b{% endset %}{{ x }}", "\"q\"", "a[q]b");
    check_origin("{% macro m(v) %}<{{ v }}>{% endmacro %}{{ m(d) | replace('<', '(') }}", "\"q\"", "([q]>");
    check_origin("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{\"a\": \"b\"}", "[a]=[b];");
    check_origin("{{ d | from_json }}", "\"\\\"in\\\"\"", "[in]");
    check_origin("{{ d | e }}{{ d | indent(1, true) }}", "\"<\\nb\"", "[&lt;\nb] [<]\n [b]");
}

static void strings_that_share_bytes_stay_apart(void **state)
{
    (void)state;
    /* both grow from the same long text: neither may write over the other */
    check_origin("{% set a = 'x' * 300 %}{% set a = a + 'y' %}{% set b = a + d %}{% set c = a + 'C' %}"
                 "{{ b[299:] }} {{ c[299:] }} {{ a[299:] }}",
                 "\"B\"", "xy[B] xyC xy");
}

static void meanings_that_templates_rest_on(void **state)
{
    (void)state;
    check_text("{% set ns = namespace(l=[]) %}{% for i in range(3) %}{% set _ = ns.l.append(i) %}{% endfor %}{{ ns.l }}"
               "{{ ns.l.pop() }}{{ ns.l }}",
               "null", "[0, 1, 2]2[0, 1]");
    check_text("{{ (d | from_json).a[1] }}", "\"{\\\"a\\\": [1, 2]}\"", "2");
    check_text("{{ d | tojson }}", "123456789012345678901234567890", "123456789012345678901234567890");
    check_text("{% for x in [1, 2] %}{% continue %}{% else %}none{% endfor %}", "null", "none");
    check_text(
        "{% set ns = namespace(on=true) %}{% for x in [1, 2, 3] if ns.on %}{{ x }}{% set ns.on = x < 2 %}{% endfor %}",
        "null", "12");
    check_text("{% if false %}{{ 1 | nosuch }}{{ 2 is nosuch }}{% endif %}{{ 'a' if true else (1 | nosuch) }}", "null",
               "a");
    check_text("{{ ['a', none] | map('upper') | first }}", "null", "A");
    check_text("{{ 2 ** 100 }} {{ 9223372036854775807 + 1 }} {{ -9223372036854775808 // -1 }}", "null",
               "1267650600228229401496703205376 9223372036854775808 9223372036854775808");
}

/* Templates may change what they made; what they were given, under any name, they may not. */
static void given_values_stay_as_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *source, *message;
    } refused[] = {
        {"{{ d.append(3) }}", "test: line 1: access to attribute 'append' of 'list' object is unsafe."},
        {"{% set l = d %}{% set _ = l.pop() %}", "'pop' of 'list' object"},
        {"{% set ns = namespace(l=d) %}{{ ns.l.extend([1]) }}", "'extend' of 'list' object"},
        {"{{ (d | default([])).sort() }}", "'sort' of 'list' object"},
        {"{{ d['clear']() }}", "'clear' of 'list' object"},
        {"{{ (d | attr('insert'))(0, 1) }}", "'insert' of 'list' object"},
        {"{{ d[1:][0].update(a=1) }}", "'update' of 'dict' object"},
        {"{% for x in d if x is mapping %}{{ x.setdefault('k', 1) }}{% endfor %}", "'setdefault' of 'dict' object"},
        {"{{ [d][0].remove(1) }}{{ [d][0].reverse() }}", "'remove' of 'list' object"},
        {"{{ (d | list)[1].pop('k') }}", "'pop' of 'dict' object"},
        {"{{ d[1].popitem() }}", "'popitem' of 'dict' object"},
        {"{{ d.__class__() }}", "'__class__' of 'list' object"},
    };
    static const char data[] = "[1, {\"k\": 2}]";
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        rendering r = render(refused[i].source, strlen(refused[i].source), data, NULL);
        if (r.fault != JINJA_SECURITY) fail_msg("%s: %s", refused[i].source, jinja_fault_label(r.fault));
        assert_text_has(r.error.text, refused[i].message);
        end(&r);
    }
    check_text("{{ d.append is defined }}{{ d.append }}|{{ d.copy() == d }}{{ d.count(1) }}{{ d[1].get('k') }}", data,
               "False|True12");
    check_text("{% set l = d | list %}{% set _ = l.append(3) %}{{ l }}{{ d }}", data, "[1, {'k': 2}, 3][1, {'k': 2}]");
    check_text("{% set l = d.copy() %}{{ l.pop() }}{{ l }}{% set t = d[:1] %}{{ t.extend(t) }}{{ t }}{{ d }}", data,
               "{'k': 2}[1]None[1, 1][1, {'k': 2}]");
    check_text("{% set c = dict(d[1], j=3) %}{{ c.pop('k') }}{{ c }}{{ d }}", data, "2{'j': 3}[1, {'k': 2}]");
    check_text("{% set l = (d | tojson | from_json) %}{{ l.pop() }}{{ l }}{% set e = d + [] %}{{ e.clear() }}{{ e }}",
               data, "{'k': 2}[1]None[]");
}

static void raised_messages_are_whole(void **state)
{
    (void)state;
    char source[2200] = "{{ raise_exception('a\\nb", expected[2100];
    memset(source + strlen(source), 'x', 2000);
    strcat(source, "') }}");
    memset(expected, 'x', sizeof expected);
    memcpy(expected, "a\nb", 3);
    rendering r = render(source, strlen(source), "null", NULL);
    assert_int_equal(r.status, LEAT_USAGE);
    assert_int_equal(r.fault, JINJA_RAISED);
    assert_int_equal(r.output.text.count, 2003);
    assert_memory_equal(r.output.text.bytes, expected, 2003);
    end(&r);
}

/* ---- limits ---- */

static char *repeated(const char *part, size_t times)
{
    size_t count = strlen(part);
    char *text = malloc(count * times + 1);
    for (size_t i = 0; i < times; i++) memcpy(text + i * count, part, count);
    text[count * times] = '\0';
    return text;
}

static void check_repeated_fails(const char *begin, const char *part, size_t times)
{
    jinja_limits wide = jinja_limits_default;
    wide.source_bytes_max = 16 << 20;
    char *middle = repeated(part, times), *source = malloc(strlen(begin) + strlen(middle) + 1);
    strcpy(source, begin);
    strcat(source, middle);
    rendering r = render(source, strlen(source), "null", &wide);
    assert_int_not_equal(r.status, LEAT_OK);
    end(&r);
    free(source);
    free(middle);
}

static void deep_sources_are_refused(void **state)
{
    (void)state;
    static const char *const parts[] = {"(",  "[",     "{0:", "-",   "not ", "a.",
                                        "a[", "1 if ", "f(",  "{{ ", "a|b(", "x is eq("};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) check_repeated_fails("{{ ", parts[i], 1000000 / strlen(parts[i]));
    check_repeated_fails("", "{% if a %}", 100000);
    check_repeated_fails("", "{% for a in b %}", 60000);
    check_repeated_fails("", "{% macro a() %}", 60000);
    check_repeated_fails("{{ 1", " + 1", 100000);
    check_repeated_fails("{{ a", " | list", 100000);
    check_repeated_fails("{{ d", "[0:]", 100000);
    check_fails("x", 1, &(jinja_limits){.source_bytes_max = 0}, JINJA_LIMIT);
}

static bool late(void *user) { return ++*(int *)user > 3; }

static void running_away_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        jinja_fault fault;
    } cases[] = {
        {"{{ range(1000000000) }}", JINJA_OVERFLOW},
        {"{{ 'x' * 1000000000 }}", JINJA_LIMIT},
        {"{{ '' * 9223372036854775807 }}{{ [1] * 1000000000 }}", JINJA_LIMIT},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", JINJA_RECURSION},
        {"{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}", JINJA_RECURSION},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", JINJA_RECURSION},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}", JINJA_RECURSION},
        {"{% set a = [] %}{% set b = [] %}{% set _ = a.append(a) %}{% set _ = b.append(b) %}{{ a == b }}",
         JINJA_RECURSION},
        {"{% set l = [1] %}{% for x in l %}{% set _ = l.append(x) %}{% endfor %}", JINJA_LIMIT},
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", JINJA_LIMIT},
        {"{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
         JINJA_LIMIT},
        {"{% set ns = namespace(g=[1]) %}{% for a in range(5000) %}{% set ns.g = ns.g | map('string') %}{% endfor %}"
         "{{ ns.g | list }}",
         JINJA_RECURSION},
        {"{{ '%1000000000d' % 1 }}", JINJA_VALUE},
        {"{{ '%999999999d' % 1 }}", JINJA_LIMIT},
        {"{{ '%.999999999f' % 1.5 }}", JINJA_VALUE},
        {"{{ 'a'.center(999999999999) }}", JINJA_LIMIT},
        {"{{ '{:>999999999}'.format(1) }}", JINJA_LIMIT},
        {"{{ [1] | tojson(indent=999999999) }}", JINJA_LIMIT},
        {"{{ 'a' | indent(999999999) }}", JINJA_LIMIT},
        {"{{ [1] | batch(99999999999, 0) | list }}", JINJA_LIMIT},
        {"{{ [1] | slice(99999999999) | list }}", JINJA_LIMIT},
        {"{{ 2 ** 1000000000 }}", JINJA_OVERFLOW},
        {"{% include 'x' %}", JINJA_TYPE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        check_fails(cases[i].source, strlen(cases[i].source), NULL, cases[i].fault);
    const char *loop = "{% for a in range(99999) %}{{ a }}{% endfor %}";
    jinja_limits limits = jinja_limits_default;
    limits.output_bytes_max = 1000;
    check_fails(loop, strlen(loop), &limits, JINJA_LIMIT);
    limits = jinja_limits_default;
    limits.step_max = 1000;
    check_fails(loop, strlen(loop), &limits, JINJA_LIMIT);
    int polls = 0;
    limits = jinja_limits_default;
    limits.is_late = late;
    limits.late_user = &polls;
    check_fails(loop, strlen(loop), &limits, JINJA_LIMIT);
    assert_int_equal(polls, 4);
}

/* 400 KB piece by piece: copying the whole each time would take 40 GB, and the steps that this costs. */
static void building_text_is_linear(void **state)
{
    (void)state;
    check_text(
        "{% set ns = namespace(s='') %}{% for a in range(40000) %}{% set ns.s = ns.s + '0123456789' %}{% endfor %}"
        "{{ ns.s | length }}",
        "null", "400000");
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    static const char source[] =
        "{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}{% set ns = namespace(x=[]) %}{% for k, v in d | dictsort %}"
        "{{ m(k) }}{% set ns.x = ns.x + [v | tojson(indent=1)] %}{% endfor %}{{ ns.x | join('-') | upper }}"
        "{{ ('x' * 20000) ~ d }}{{ raise_exception('end') if false }}";
    static const char data[] = "{\"a\": [1, 2.5, \"t\"], \"b\": {\"c\": null}}";
    jinja_variable variable = {"d", data, sizeof data - 1, true};
    for (uint64_t nth = 1;; nth++) {
        mem *ledger = open_ledger(0);
        jinja_template *t = NULL;
        jinja_output output;
        leat_error error = {0};
        jinja_fault fault;
        jinja_output_init(&output, ledger);
        mem_fail_nth(ledger, nth);
        leat_status status = jinja_open(ledger, "test", source, sizeof source - 1, NULL, &t, &fault, &error);
        if (status == LEAT_OK) status = jinja_render(t, &variable, 1, 0, &output, &fault, &error);
        jinja_close(&t);
        jinja_output_reset(&output);
        close_empty_ledger(ledger);
        if (status == LEAT_OK) {
            assert_true(nth > 8);
            break;
        }
        assert_int_equal(status, LEAT_NO_MEMORY);
        assert_int_equal(fault, JINJA_LIMIT);
    }
}

static void templates_say_what_they_mention(void **state)
{
    (void)state;
    const char source[] = "<a>{{ '<b>' }}{% if '<c>' in d %}{% endif %}{# <d> #}{{ d['<e>'] }}{{ x.f }}";
    mem *ledger = open_ledger(0);
    jinja_template *t = NULL;
    leat_error error;
    assert_ok(jinja_open(ledger, "test", source, sizeof source - 1, NULL, &t, NULL, &error), &error);
    assert_true(jinja_mentions(t, "<a>") && jinja_mentions(t, "<b>") && jinja_mentions(t, "<c>"));
    assert_true(jinja_mentions(t, "<e>"));
    assert_false(jinja_mentions(t, "<d>") || jinja_mentions(t, "<a><b>"));
    jinja_close(&t);
    jinja_close(&t);
    close_empty_ledger(ledger);
}

static void bad_inputs_are_named(void **state)
{
    (void)state;
    rendering r = render("a\nb\n{% bad %}", 13, "null", NULL);
    assert_int_equal(r.status, LEAT_MODEL);
    assert_int_equal(r.fault, JINJA_SYNTAX);
    assert_text_has(r.error.text, "test: line 3");
    end(&r);
    r = render("{{ d }}", 7, "{\"a\": ", NULL);
    assert_int_equal(r.status, LEAT_MODEL);
    end(&r);
    check_fails("\xff", 1, NULL, JINJA_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_know_where_they_came_from),
        cmocka_unit_test(strings_that_share_bytes_stay_apart),
        cmocka_unit_test(meanings_that_templates_rest_on),
        cmocka_unit_test(given_values_stay_as_they_are),
        cmocka_unit_test(raised_messages_are_whole),
        cmocka_unit_test(deep_sources_are_refused),
        cmocka_unit_test(running_away_is_refused),
        cmocka_unit_test(building_text_is_linear),
        cmocka_unit_test(failing_memory_is_an_error),
        cmocka_unit_test(templates_say_what_they_mention),
        cmocka_unit_test(bad_inputs_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * fuzz_jinja.c - any bytes as a chat template; behind a zero byte may stand JSON for its variable `messages`. What must
 * hold: every outcome is text or an error of its kind, the segments cover the text, and the ledger is empty at the end.
 */
#include "fuzz/fuzz.h"

#include "base/utf8.h"
#include "text/jinja/jinja.h"

#include <string.h>

const char *const fuzz_words[] = {
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{#",
    "#}",
    "{%- ",
    " -%}",
    "{{- ",
    "if ",
    "elif ",
    "else",
    "endif",
    "for x in ",
    "endfor",
    "recursive",
    "loop",
    "loop.index",
    "loop.last",
    "loop.previtem",
    "loop.length",
    "loop(",
    "set x = ",
    "set ns.a = ",
    "endset",
    "macro m(a, b=1)",
    "endmacro",
    "call m()",
    "endcall",
    "caller()",
    "filter upper",
    "endfilter",
    "with x = 1",
    "endwith",
    "raw",
    "endraw",
    "generation",
    "endgeneration",
    "break",
    "continue",
    "namespace(a=1)",
    "range(9)",
    "dict(a=1)",
    "cycler(1, 2)",
    "joiner()",
    "raise_exception('x')",
    "strftime_now('%Y')",
    "messages",
    "message.content",
    "['role']",
    "[::-1]",
    "[1:]",
    "[-1]",
    " | tojson",
    " | tojson(indent=2)",
    " | map('upper')",
    " | selectattr('role')",
    " | list",
    " | join(',')",
    " | length",
    " | sort",
    " | dictsort",
    " | groupby('role')",
    " | unique",
    " | batch(2)",
    " | slice(2)",
    " | items",
    " | default('d', true)",
    " | trim",
    " | replace('a', 'b')",
    " | indent(2, true)",
    " | int",
    " | float",
    " | round(2)",
    " | sum",
    " | max",
    " | reverse",
    " | from_json",
    " | format(1)",
    " | e",
    " | safe",
    " | truncate(3)",
    " is defined",
    " is not none",
    " is mapping",
    " is string",
    " is in ",
    " is divisibleby 3",
    ".split(' ')",
    ".strip()",
    ".items()",
    ".get('a', 1)",
    ".append(1)",
    ".pop()",
    ".update(a=1)",
    ".format(1)",
    ".upper()",
    ".rsplit()",
    ".find('a')",
    ".startswith('a')",
    ".splitlines()",
    " + ",
    " ~ ",
    " * ",
    " ** ",
    " // ",
    " % ",
    " - ",
    " in ",
    " not in ",
    " and ",
    " or ",
    "not ",
    " == ",
    " < ",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "*",
    "**",
    "'%s %d'",
    "'{:>5}'",
    "1e308",
    "0x1f",
    "123456789012345678901234567890",
    "'\\u00e9\\x41'",
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    "\xc3\xa9",
    "\xf0\x9f\x98\x80",
    "\xe2\x80\xa8",
    "varargs",
    "kwargs",
    "none",
    "true",
    NULL,
};

static void check_output(const jinja_output *out)
{
    uint64_t at = 0;
    for (uint64_t i = 0; i < out->segment_count; i++) {
        FUZZ_CHECK(out->segments[i].begin == at && out->segments[i].end > at);
        FUZZ_CHECK(i == 0 || out->segments[i].is_data != out->segments[i - 1].is_data);
        at = out->segments[i].end;
    }
    FUZZ_CHECK(at == out->text.count);
    FUZZ_CHECK(at == 0 || utf8_valid_bytes(out->text.bytes, at) == at);
}

static void render(mem *ledger, const jinja_template *t, const char *json, size_t json_bytes)
{
    static const char own[] =
        "[{\"role\": \"user\", \"content\": \" H\xc3\xa4\\n\"}, {\"role\": \"tool\", \"n\": [1, 2.5]}]";
    jinja_variable variables[] = {
        {"messages", json != NULL ? json : own, json != NULL ? json_bytes : sizeof own - 1, true},
        {"message", "{\"role\": \"user\", \"content\": [1, null]}", 37, false}};
    jinja_output out;
    jinja_fault fault = JINJA_NO_FAULT;
    leat_error error = {0};
    jinja_output_init(&out, ledger);
    leat_status status = jinja_render(t, variables, 2, 1772600767, &out, &fault, &error);
    FUZZ_CHECK((status == LEAT_OK) == (fault == JINJA_NO_FAULT));
    if (status == LEAT_OK)
        check_output(&out);
    else
        FUZZ_CHECK(out.segment_count == 0 && (error.text[0] != '\0' || fault == JINJA_RAISED));
    jinja_output_reset(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    const uint8_t *end = count == 0 ? NULL : memchr(bytes, 0, count);
    size_t source_bytes = end == NULL ? count : (size_t)(end - bytes);
    jinja_limits limits = jinja_limits_default;
    mem *ledger = NULL;
    jinja_template *t = NULL;
    jinja_fault fault = JINJA_NO_FAULT;
    limits.step_max = 20000;
    limits.output_bytes_max = 1 << 16;
    if (mem_open(0, &ledger, NULL) != LEAT_OK) return 0;
    leat_status status = jinja_open(ledger, "fuzz", (const char *)bytes, source_bytes, &limits, &t, &fault, NULL);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL);
    FUZZ_CHECK((status == LEAT_OK) == (fault == JINJA_NO_FAULT));
    if (status == LEAT_OK)
        render(ledger, t, end != NULL ? (const char *)end + 1 : NULL, end != NULL ? count - source_bytes - 1 : 0);
    jinja_close(&t);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}

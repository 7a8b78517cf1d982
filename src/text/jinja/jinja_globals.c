/* jinja_globals.c - the functions every template can call. */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"
#include "text/jinja/jinja_loop.h"

#include <string.h>
#include <time.h>

/* What the sandbox of Jinja2 allows. */
enum { RANGE_MAX = 100000 };

#define RUN(name)                                                                                                      \
    static leat_status name(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,    \
                            jinja_value *out)
#define UNUSED (void)self, (void)given, (void)raw

RUN(run_raise)
{
    UNUSED;
    jinja_value text;
    TRY(jinja_to_string(env, given[0], &text));
    env->message = text.string;
    (void)out;
    if (text.string->count == 0) return RAISE(env, RAISED, "the template raised an error without a message");
    return RAISE(env, RAISED, "%.*s", (int)min_u64(text.string->count, 600), text.string->bytes);
}

RUN(run_range)
{
    UNUSED;
    jinja_range r = {0, 0, 1};
    TRY(jinja_to_index(env, given[0], jinja_is_given(given[1]) ? &r.start : &r.stop));
    if (jinja_is_given(given[1])) TRY(jinja_to_index(env, given[1], &r.stop));
    if (jinja_is_given(given[2])) TRY(jinja_to_index(env, given[2], &r.step));
    if (r.step == 0) return RAISE(env, VALUE, "range() arg 3 must not be zero");
    if (jinja_range_count(&r) > RANGE_MAX)
        return RAISE(env, OVERFLOW, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_MAX);
    *out = (jinja_value){.kind = JV_RANGE};
    TRY(JINJA_NEW(env, 1, &out->range));
    *out->range = r;
    return LEAT_OK;
}

/* dict() and namespace(): a mapping or pairs, then names. */
static leat_status fill_dict(jinja_env *env, const jinja_arguments *raw, jinja_dict *dict)
{
    if (raw->count > 1) return RAISE(env, TYPE, "dict expected at most 1 argument, got %u", raw->count);
    if (raw->count == 1 && raw->values[0].kind == JV_DICT) {
        TRY(jinja_dict_copy(env, raw->values[0].dict, dict));
    } else if (raw->count == 1) {
        jinja_list *pairs, *pair;
        TRY(jinja_to_list(env, raw->values[0], &pairs));
        for (uint64_t i = 0; i < pairs->count; i++) {
            TRY(jinja_to_list(env, pairs->items[i], &pair));
            if (pair->count != 2) return RAISE(env, VALUE, "dictionary update sequence element has not length 2");
            TRY(jinja_dict_set(env, dict, pair->items[0], pair->items[1]));
        }
    }
    for (uint32_t i = 0; i < raw->named_count; i++)
        TRY(jinja_dict_set(env, dict, jinja_of_string(raw->named[i].name), raw->named[i].value));
    return LEAT_OK;
}

RUN(run_dict)
{
    UNUSED;
    *out = (jinja_value){.kind = JV_DICT};
    TRY(jinja_new_dict(env, &out->dict));
    return fill_dict(env, raw, out->dict);
}

RUN(run_namespace)
{
    uint64_t at = 0;
    const jinja_entry *entry;
    TRY(run_dict(env, self, given, raw, out));
    out->kind = JV_NAMESPACE;
    while ((entry = jinja_dict_next(out->dict, &at)) != NULL) {
        if (entry->key.kind == JV_STRING) TRY(jinja_check_member_name(env, entry->key.string));
    }
    return LEAT_OK;
}

/* One directive of strftime: % flags width letter. */
static leat_status append_time(jinja_env *env, jinja_builder *b, const jinja_string *format, uint64_t *at,
                               const struct tm *when)
{
    char directive[12] = "%", text[256];
    uint64_t end = *at + 1;
    while (end < format->count && strchr("-_0^#123456789EO", format->bytes[end]) != NULL && end - *at < 8) end++;
    if (end >= format->count) return jinja_append_part(b, format, *at, format->count);
    char letter = format->bytes[end];
    memcpy(directive, format->bytes + *at, end + 1 - *at);
    *at = end + 1;
    if (letter == 'f') return jinja_append_text(b, "000000");
    if (letter == 'z' || letter == 'Z') return LEAT_OK;
    if (strchr("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY%", letter) == NULL || letter == '\0')
        return jinja_append_text(b, directive);
    if (strspn(directive + 1, "-_^#0EO") + 2 != strlen(directive)) return RAISE(env, VALUE, "strftime: no widths");
    if (strftime(text, sizeof text, directive, when) == 0) return LEAT_OK;
    return jinja_append_text(b, text);
}

RUN(run_strftime_now)
{
    UNUSED;
    time_t now = (time_t)env->now;
    struct tm when;
    if (given[0].kind != JV_STRING) return RAISE(env, TYPE, "strftime_now takes a text");
    if (gmtime_r(&now, &when) == NULL) return RAISE(env, VALUE, "the time is out of range");
    const jinja_string *format = given[0].string;
    jinja_builder b = jinja_build(env);
    for (uint64_t at = 0; at < format->count;) {
        if (format->bytes[at] == '%') {
            TRY(append_time(env, &b, format, &at, &when));
            continue;
        }
        TRY(jinja_append_part(&b, format, at, at + 1));
        at++;
    }
    return jinja_finish(&b, out);
}

RUN(run_cycler)
{
    UNUSED;
    jinja_list *items;
    if (raw->count == 0) return RAISE(env, RUNTIME, "at least one item has to be provided");
    TRY(jinja_new_list(env, 0, &items));
    for (uint32_t i = 0; i < raw->count; i++) TRY(jinja_push(env, items, raw->values[i]));
    *out = (jinja_value){.kind = JV_CYCLER};
    TRY(JINJA_NEW(env, 1, &out->turn));
    out->turn->items = jinja_of_list(items);
    return LEAT_OK;
}

RUN(run_joiner)
{
    UNUSED;
    *out = (jinja_value){.kind = JV_JOINER};
    TRY(JINJA_NEW(env, 1, &out->turn));
    out->turn->items = given[0];
    return jinja_is_given(given[0]) ? LEAT_OK : jinja_literal(env, ", ", &out->turn->items);
}

RUN(run_lipsum)
{
    UNUSED;
    (void)out;
    return RAISE(env, RUNTIME, "lipsum is not supported");
}

const jinja_builtin *jinja_find_global(const char *name, uint64_t bytes)
{
    static const jinja_builtin globals[] = {
        {"raise_exception", "message", 1, run_raise},
        {"range", "start stop step", 1, run_range},
        {"dict", NULL, 0, run_dict},
        {"namespace", NULL, 0, run_namespace},
        {"strftime_now", "format", 1, run_strftime_now},
        {"cycler", NULL, 0, run_cycler},
        {"joiner", "sep", 0, run_joiner},
        {"lipsum", NULL, 0, run_lipsum},
    };
    return jinja_find_in(globals, ARRAY_COUNT(globals), name, bytes);
}

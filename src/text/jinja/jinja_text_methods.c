/* jinja_text_methods.c - the methods of str that templates call. */
#include "text/jinja/jinja_methods.h"

#include "base/bytes.h"
#include "text/unicode_class.h"

#include <string.h>

static leat_status need_text(jinja_env *env, jinja_value v, const char *what)
{
    if (v.kind == JV_STRING) return LEAT_OK;
    return RAISE(env, TYPE, "%s must be str, not %s", what, jinja_type_name(v));
}

static leat_status read_int(jinja_env *env, jinja_value v, int64_t missing, int64_t *out)
{
    *out = missing;
    return jinja_is_given(v) ? jinja_to_index(env, v, out) : LEAT_OK;
}

static leat_status strip(jinja_env *env, jinja_value self, jinja_value chars, unsigned sides, jinja_value *out)
{
    bool is_space = !jinja_is_given(chars) || chars.kind == JV_NONE;
    if (!is_space) TRY(need_text(env, chars, "strip arg"));
    return jinja_strip(env, self.string, is_space ? NULL : chars.string, sides, out);
}

RUN(text_strip) { return (void)raw, strip(env, self, given[0], JINJA_LEFT | JINJA_RIGHT, out); }
RUN(text_lstrip) { return (void)raw, strip(env, self, given[0], JINJA_LEFT, out); }
RUN(text_rstrip) { return (void)raw, strip(env, self, given[0], JINJA_RIGHT, out); }
RUN(text_upper) { return (void)given, (void)raw, jinja_recase(env, self.string, JINJA_ALL_UPPER, out); }
RUN(text_lower) { return (void)given, (void)raw, jinja_recase(env, self.string, JINJA_ALL_LOWER, out); }
RUN(text_title) { return (void)given, (void)raw, jinja_recase(env, self.string, JINJA_WORDS, out); }
RUN(text_capitalize) { return (void)given, (void)raw, jinja_recase(env, self.string, JINJA_CAPITAL, out); }
RUN(text_swapcase) { return (void)given, (void)raw, jinja_recase(env, self.string, JINJA_SWAP, out); }
RUN(text_casefold) { return (void)given, (void)raw, jinja_recase(env, self.string, JINJA_FOLDED, out); }

/* ---- splitting ---- */

static leat_status push_part(jinja_env *env, jinja_list *list, jinja_string *s, uint64_t begin, uint64_t end)
{
    jinja_value part;
    TRY(jinja_substring(env, s, begin, end, &part));
    return jinja_push(env, list, part);
}

static uint64_t skip_space(const jinja_string *s, uint64_t at, bool is_space)
{
    uint64_t next;
    while (at < s->count && unicode_is_python_space(jinja_char_at(s, at, &next)) == is_space) at = next;
    return at;
}

static leat_status split_space(jinja_env *env, jinja_string *s, int64_t limit, jinja_list *list)
{
    TRY(jinja_charge(env, s->count / 64));
    for (uint64_t at = skip_space(s, 0, true); at < s->count;) {
        uint64_t end = limit == 0 ? s->count : skip_space(s, at, false);
        if (limit-- == 0) return push_part(env, list, s, at, s->count); /* the rest, with the space at its end */
        TRY(push_part(env, list, s, at, end));
        at = skip_space(s, end, true);
    }
    return LEAT_OK;
}

static void reverse(jinja_list *list)
{
    for (uint64_t i = 0; i < list->count / 2; i++) {
        jinja_value swap = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = swap;
    }
}

static leat_status rsplit_space(jinja_env *env, jinja_string *s, int64_t limit, jinja_list *list)
{
    jinja_value rest;
    jinja_list *all;
    TRY(jinja_new_list(env, 0, &all));
    TRY(split_space(env, s, -1, all));
    if (limit < 0 || all->count <= (uint64_t)limit) {
        *list = *all;
        return LEAT_OK;
    }
    uint64_t kept = all->count - (uint64_t)limit;
    const jinja_string *last = all->items[kept - 1].string;
    TRY(jinja_substring(env, s, 0, (uint64_t)(last->bytes + last->count - s->bytes), &rest));
    TRY(jinja_push(env, list, rest));
    for (uint64_t i = kept; i < all->count; i++) TRY(jinja_push(env, list, all->items[i]));
    return LEAT_OK;
}

static int64_t find_last(const jinja_string *s, const jinja_string *part, uint64_t end)
{
    if (part->count > end) return -1;
    for (uint64_t at = end - part->count + 1; at-- > 0;) {
        if (memcmp(s->bytes + at, part->bytes, part->count) == 0) return (int64_t)at;
    }
    return -1;
}

static leat_status split(jinja_env *env, jinja_value self, const jinja_value *given, bool from_right, jinja_value *out)
{
    int64_t limit, at;
    jinja_string *s = self.string;
    TRY(read_int(env, given[1], -1, &limit));
    *out = (jinja_value){.kind = JV_LIST};
    TRY(jinja_new_list(env, 0, &out->list));
    if (!jinja_is_given(given[0]) || given[0].kind == JV_NONE)
        return from_right ? rsplit_space(env, s, limit, out->list) : split_space(env, s, limit, out->list);
    TRY(need_text(env, given[0], "the separator"));
    const jinja_string *by = given[0].string;
    if (by->count == 0) return RAISE(env, VALUE, "empty separator");
    TRY(jinja_charge(env, s->count / 64));
    uint64_t begin = 0, end = s->count;
    while (limit-- != 0 && (at = from_right ? find_last(s, by, end) : jinja_find_bytes(s, by, begin)) >= 0) {
        if (from_right) {
            TRY(push_part(env, out->list, s, (uint64_t)at + by->count, end));
            end = (uint64_t)at;
        } else {
            TRY(push_part(env, out->list, s, begin, (uint64_t)at));
            begin = (uint64_t)at + by->count;
        }
    }
    TRY(push_part(env, out->list, s, begin, end));
    if (from_right) reverse(out->list);
    return LEAT_OK;
}

RUN(text_split) { return (void)raw, split(env, self, given, false, out); }
RUN(text_rsplit) { return (void)raw, split(env, self, given, true, out); }

RUN(text_splitlines)
{
    (void)raw;
    bool keeps_ends;
    TRY(jinja_truth(env, given[0], &keeps_ends));
    *out = (jinja_value){.kind = JV_LIST};
    return jinja_split_lines(env, self.string, keeps_ends, &out->list);
}

static leat_status partition(jinja_env *env, jinja_value self, jinja_value by, bool from_right, jinja_value *out)
{
    jinja_string *s = self.string;
    TRY(need_text(env, by, "the separator"));
    if (by.string->count == 0) return RAISE(env, VALUE, "empty separator");
    int64_t found = from_right ? find_last(s, by.string, s->count) : jinja_find_bytes(s, by.string, 0);
    uint64_t begin = found >= 0 ? (uint64_t)found : from_right ? 0 : s->count;
    uint64_t end = found >= 0 ? begin + by.string->count : begin;
    *out = (jinja_value){.kind = JV_TUPLE};
    TRY(jinja_new_list(env, 3, &out->list));
    TRY(push_part(env, out->list, s, 0, begin));
    TRY(push_part(env, out->list, s, begin, end));
    return push_part(env, out->list, s, end, s->count);
}

RUN(text_partition) { return (void)raw, partition(env, self, given[0], false, out); }
RUN(text_rpartition) { return (void)raw, partition(env, self, given[0], true, out); }

/* ---- searching ---- */

/* The bytes that [start, end) in characters mean; false when start is behind the end of the text. */
static leat_status read_range(jinja_env *env, jinja_value self, jinja_value start, jinja_value stop,
                              uint64_t *out_begin, uint64_t *out_end, bool *out_is_in)
{
    int64_t count = (int64_t)jinja_char_count(self.string), from = 0, to = count;
    if (start.kind != JV_NONE) TRY(read_int(env, start, 0, &from));
    if (stop.kind != JV_NONE) TRY(read_int(env, stop, count, &to));
    if (from < 0) from = from + count < 0 ? 0 : from + count;
    if (to < 0) to = to + count < 0 ? 0 : to + count;
    if (to > count) to = count;
    *out_is_in = from <= to && from <= count;
    *out_begin = *out_is_in ? jinja_char_offset(self.string, (uint64_t)from) : 0;
    *out_end = *out_is_in ? jinja_char_offset(self.string, (uint64_t)to) : 0;
    return LEAT_OK;
}

static int64_t chars_before(const jinja_string *s, int64_t at)
{
    jinja_string head = {.bytes = s->bytes, .count = (uint64_t)at};
    return (int64_t)jinja_char_count(&head);
}

static leat_status find(jinja_env *env, jinja_value self, const jinja_value *given, bool from_right, bool must,
                        jinja_value *out)
{
    uint64_t begin, end;
    bool is_in;
    TRY(need_text(env, given[0], "what is looked for"));
    TRY(read_range(env, self, given[1], given[2], &begin, &end, &is_in));
    TRY(jinja_charge(env, self.string->count / 256));
    jinja_string part = {.bytes = self.string->bytes + begin, .count = end - begin};
    int64_t at = !is_in       ? -1
                 : from_right ? find_last(&part, given[0].string, part.count)
                              : jinja_find_bytes(&part, given[0].string, 0);
    if (at < 0 && must) return RAISE(env, VALUE, "substring not found");
    *out = jinja_int(at < 0 ? -1 : chars_before(self.string, at + (int64_t)begin));
    return LEAT_OK;
}

RUN(text_find) { return (void)raw, find(env, self, given, false, false, out); }
RUN(text_rfind) { return (void)raw, find(env, self, given, true, false, out); }
RUN(text_index) { return (void)raw, find(env, self, given, false, true, out); }
RUN(text_rindex) { return (void)raw, find(env, self, given, true, true, out); }

RUN(text_count)
{
    (void)raw;
    uint64_t begin, end;
    bool is_in;
    int64_t count = 0, at;
    TRY(need_text(env, given[0], "what is counted"));
    TRY(read_range(env, self, given[1], given[2], &begin, &end, &is_in));
    TRY(jinja_charge(env, self.string->count / 64));
    jinja_string part = {.bytes = self.string->bytes + begin, .count = end - begin};
    const jinja_string *what = given[0].string;
    if (what->count == 0) count = is_in ? (int64_t)jinja_char_count(&part) + 1 : 0;
    for (uint64_t from = 0; what->count > 0 && (at = jinja_find_bytes(&part, what, from)) >= 0; count++)
        from = (uint64_t)at + what->count;
    *out = jinja_int(count);
    return LEAT_OK;
}

static bool has_edge(const jinja_string *part, const jinja_string *edge, bool at_end)
{
    return edge->count <= part->count &&
           memcmp(part->bytes + (at_end ? part->count - edge->count : 0), edge->bytes, edge->count) == 0;
}

static leat_status edge(jinja_env *env, jinja_value self, const jinja_value *given, bool at_end, jinja_value *out)
{
    uint64_t begin, end;
    bool is_in, truth = false;
    const char *name = at_end ? "endswith" : "startswith";
    TRY(read_range(env, self, given[1], given[2], &begin, &end, &is_in));
    jinja_string part = {.bytes = self.string->bytes + begin, .count = end - begin};
    jinja_list one = {.items = (jinja_value *)given, .count = 1};
    const jinja_list *edges = given[0].kind == JV_TUPLE ? given[0].list : &one;
    for (uint64_t i = 0; i < edges->count && !truth; i++) {
        if (edges->items[i].kind != JV_STRING)
            return RAISE(env, TYPE, "%s first arg must be str or a tuple of str, not %s", name,
                         jinja_type_name(edges->items[i]));
        truth = is_in && has_edge(&part, edges->items[i].string, at_end);
    }
    *out = jinja_bool(truth);
    return LEAT_OK;
}

RUN(text_startswith) { return (void)raw, edge(env, self, given, false, out); }
RUN(text_endswith) { return (void)raw, edge(env, self, given, true, out); }

static leat_status remove_edge(jinja_env *env, jinja_value self, jinja_value what, bool at_end, jinja_value *out)
{
    TRY(need_text(env, what, "what is removed"));
    uint64_t bytes = has_edge(self.string, what.string, at_end) ? what.string->count : 0;
    return jinja_substring(env, self.string, at_end ? 0 : bytes, self.string->count - (at_end ? bytes : 0), out);
}

RUN(text_removeprefix) { return (void)raw, remove_edge(env, self, given[0], false, out); }
RUN(text_removesuffix) { return (void)raw, remove_edge(env, self, given[0], true, out); }

RUN(text_replace)
{
    (void)raw;
    int64_t count;
    jinja_value from = given[0], to = given[1];
    TRY(need_text(env, from, "replace() argument 1"));
    TRY(need_text(env, to, "replace() argument 2"));
    TRY(read_int(env, given[2], -1, &count));
    if (self.string->is_markup) TRY(jinja_escape(env, to, &to));
    TRY(jinja_replace(env, self.string, from.string, to.string, count, out));
    out->string->is_markup = self.string->is_markup;
    return LEAT_OK;
}

/* ---- shape ---- */

static leat_status justify(jinja_env *env, jinja_value self, const jinja_value *given, char align, jinja_value *out)
{
    int64_t width;
    TRY(jinja_to_index(env, given[0], &width));
    bool has_fill = jinja_is_given(given[1]);
    if (has_fill && (given[1].kind != JV_STRING || jinja_char_count(given[1].string) != 1))
        return RAISE(env, TYPE, "The fill character must be exactly one character long");
    return jinja_justify(env, self.string, width, has_fill ? given[1].string : NULL, align, out);
}

RUN(text_ljust) { return (void)raw, justify(env, self, given, '<', out); }
RUN(text_rjust) { return (void)raw, justify(env, self, given, '>', out); }
RUN(text_center) { return (void)raw, justify(env, self, given, '^', out); }

RUN(text_zfill)
{
    (void)raw;
    int64_t width;
    jinja_string zero = {.bytes = "0", .count = 1}, *s = self.string;
    TRY(jinja_to_index(env, given[0], &width));
    uint64_t count = jinja_char_count(s), sign = s->count > 0 && (s->bytes[0] == '-' || s->bytes[0] == '+');
    jinja_builder b = jinja_build(env);
    TRY(jinja_append_part(&b, s, 0, sign));
    if (width > 0 && (uint64_t)width > count) TRY(jinja_append_fill(&b, &zero, (uint64_t)width - count));
    TRY(jinja_append_part(&b, s, sign, s->count));
    return jinja_finish(&b, out);
}

RUN(text_expandtabs)
{
    (void)raw;
    int64_t size;
    uint64_t column = 0, next;
    jinja_string *s = self.string, space = {.bytes = " ", .count = 1};
    TRY(read_int(env, given[0], 8, &size));
    jinja_builder b = jinja_build(env);
    for (uint64_t at = 0; at < s->count; at = next) {
        uint32_t scalar = jinja_char_at(s, at, &next);
        if (scalar == '\t') {
            uint64_t count = size > 0 ? (uint64_t)size - column % (uint64_t)size : 0;
            TRY(jinja_append_fill(&b, &space, count));
            column += count;
            continue;
        }
        TRY(jinja_append_part(&b, s, at, next));
        column = scalar == '\n' || scalar == '\r' ? 0 : column + 1;
    }
    return jinja_finish(&b, out);
}

RUN(text_join)
{
    (void)raw;
    return jinja_join(env, self.string, given[0], true, out);
}

RUN(text_format) { return (void)given, jinja_str_format(env, self.string, raw, out); }

RUN(text_encode)
{
    (void)env, (void)raw;
    if (jinja_is_given(given[0]) && (given[0].kind != JV_STRING || !(jinja_string_is(given[0].string, "utf-8") ||
                                                                     jinja_string_is(given[0].string, "utf8"))))
        return RAISE(env, VALUE, "encode: only utf-8 is supported");
    *out = self;
    out->kind = JV_BYTES;
    return LEAT_OK;
}

/* ---- kinds of characters ---- */

static leat_status all_are(jinja_env *env, jinja_value self, bool (*is)(uint32_t), jinja_value *out)
{
    bool all = self.string->count > 0;
    uint64_t next;
    TRY(jinja_charge(env, self.string->count / 64));
    for (uint64_t at = 0; all && at < self.string->count; at = next) all = is(jinja_char_at(self.string, at, &next));
    *out = jinja_bool(all);
    return LEAT_OK;
}

static bool is_alnum(uint32_t c) { return jinja_is_letter(c) || jinja_is_digit(c) || jinja_is_numeric(c); }
static bool is_ascii(uint32_t c) { return c < 0x80; }

RUN(text_isdigit) { return (void)given, (void)raw, all_are(env, self, jinja_is_digit, out); }
RUN(text_isdecimal) { return (void)given, (void)raw, all_are(env, self, jinja_is_decimal, out); }
RUN(text_isnumeric) { return (void)given, (void)raw, all_are(env, self, jinja_is_numeric, out); }
RUN(text_isalpha) { return (void)given, (void)raw, all_are(env, self, jinja_is_letter, out); }
RUN(text_isalnum) { return (void)given, (void)raw, all_are(env, self, is_alnum, out); }
RUN(text_isspace) { return (void)given, (void)raw, all_are(env, self, unicode_is_python_space, out); }

RUN(text_isascii)
{
    TRY(all_are(env, self, is_ascii, out));
    return (void)given, (void)raw, out->truth = out->truth || self.string->count == 0, LEAT_OK;
}

RUN(text_isprintable)
{
    TRY(all_are(env, self, jinja_is_printable, out));
    return (void)given, (void)raw, out->truth = out->truth || self.string->count == 0, LEAT_OK;
}

RUN(text_isidentifier)
{
    uint64_t next;
    TRY(all_are(env, self, jinja_is_name_part, out));
    out->truth = out->truth && jinja_is_name_start(jinja_char_at(self.string, 0, &next));
    return (void)given, (void)raw, LEAT_OK;
}

RUN(text_isupper)
{
    const jinja_builtin *test = jinja_find_test("upper", 5);
    return test->run(env, self, given, raw, out);
}

RUN(text_islower)
{
    const jinja_builtin *test = jinja_find_test("lower", 5);
    return test->run(env, self, given, raw, out);
}

RUN(text_istitle)
{
    UNUSED_ALL;
    bool is_after_cased = false, fits = true, has_any = false;
    uint64_t next;
    for (uint64_t at = 0; fits && at < self.string->count; at = next) {
        uint32_t c = jinja_char_at(self.string, at, &next);
        bool is_upper = jinja_is_upper(c) || jinja_is_title(c), is_lower = jinja_is_lower(c);
        if (is_upper || is_lower) fits = is_lower == is_after_cased;
        is_after_cased = is_upper || is_lower;
        has_any = has_any || is_after_cased;
    }
    *out = jinja_bool(fits && has_any);
    return LEAT_OK;
}

const jinja_builtin *jinja_find_text_method(const char *name, uint64_t bytes)
{
    static const jinja_builtin methods[] = {
        {"strip", "chars", 0, text_strip},
        {"lstrip", "chars", 0, text_lstrip},
        {"rstrip", "chars", 0, text_rstrip},
        {"split", "sep maxsplit", 0, text_split},
        {"rsplit", "sep maxsplit", 0, text_rsplit},
        {"splitlines", "keepends", 0, text_splitlines},
        {"partition", "sep", 1, text_partition},
        {"rpartition", "sep", 1, text_rpartition},
        {"startswith", "prefix start end", 1, text_startswith},
        {"endswith", "suffix start end", 1, text_endswith},
        {"removeprefix", "prefix", 1, text_removeprefix},
        {"removesuffix", "suffix", 1, text_removesuffix},
        {"replace", "old new count", 2, text_replace},
        {"find", "sub start end", 1, text_find},
        {"rfind", "sub start end", 1, text_rfind},
        {"index", "sub start end", 1, text_index},
        {"rindex", "sub start end", 1, text_rindex},
        {"count", "sub start end", 1, text_count},
        {"upper", "", 0, text_upper},
        {"lower", "", 0, text_lower},
        {"title", "", 0, text_title},
        {"capitalize", "", 0, text_capitalize},
        {"swapcase", "", 0, text_swapcase},
        {"casefold", "", 0, text_casefold},
        {"join", "iterable", 1, text_join},
        {"format", NULL, 0, text_format},
        {"encode", "encoding errors", 0, text_encode},
        {"ljust", "width fillchar", 1, text_ljust},
        {"rjust", "width fillchar", 1, text_rjust},
        {"center", "width fillchar", 1, text_center},
        {"zfill", "width", 1, text_zfill},
        {"expandtabs", "tabsize", 0, text_expandtabs},
        {"isdigit", "", 0, text_isdigit},
        {"isdecimal", "", 0, text_isdecimal},
        {"isnumeric", "", 0, text_isnumeric},
        {"isalpha", "", 0, text_isalpha},
        {"isalnum", "", 0, text_isalnum},
        {"isspace", "", 0, text_isspace},
        {"isascii", "", 0, text_isascii},
        {"isprintable", "", 0, text_isprintable},
        {"isidentifier", "", 0, text_isidentifier},
        {"isupper", "", 0, text_isupper},
        {"islower", "", 0, text_islower},
        {"istitle", "", 0, text_istitle},
    };
    return jinja_find_in(methods, ARRAY_COUNT(methods), name, bytes);
}

/* jinja_text_filters.c - filters that make text. */
#include "text/jinja/jinja_filters.h"

#include "base/bytes.h"
#include "text/unicode_class.h"

#include <stdio.h>
#include <string.h>

static leat_status recase(jinja_env *env, jinja_value v, jinja_casing casing, jinja_value *out)
{
    TRY(jinja_to_string(env, v, &v));
    return jinja_recase(env, v.string, casing, out);
}

RUN(filter_upper) { return (void)given, (void)raw, recase(env, self, JINJA_ALL_UPPER, out); }
RUN(filter_lower) { return (void)given, (void)raw, recase(env, self, JINJA_ALL_LOWER, out); }
RUN(filter_capitalize) { return (void)given, (void)raw, recase(env, self, JINJA_CAPITAL, out); }
RUN(filter_string) { return (void)given, (void)raw, jinja_to_string(env, self, out); }
RUN(filter_tojson) { return jinja_filter_tojson(env, self, given, raw, out); }

static bool starts_word(uint32_t c)
{
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || unicode_is_python_space(c);
}

RUN(filter_title)
{
    (void)given, (void)raw;
    jinja_value text;
    bool is_start = true;
    uint64_t next;
    TRY(jinja_to_string(env, self, &text));
    const jinja_string *s = text.string;
    jinja_builder b = jinja_build(env);
    for (uint64_t at = 0; at < s->count; at = next) {
        uint32_t scalar = jinja_char_at(s, at, &next), changed[4];
        int count = jinja_change_case(scalar, is_start ? JINJA_UPPER : JINJA_LOWER, changed);
        for (int i = 0; i < count; i++)
            TRY(jinja_append_scalar(&b, changed[i], s->mask != NULL ? s->mask[at] != 0 : s->is_data));
        is_start = starts_word(scalar);
    }
    return jinja_finish(&b, out);
}

RUN(filter_trim)
{
    (void)raw;
    jinja_value text;
    bool is_space = !jinja_is_given(given[0]) || given[0].kind == JV_NONE;
    TRY(jinja_to_string(env, self, &text));
    if (!is_space && given[0].kind != JV_STRING) return RAISE(env, TYPE, "strip arg must be None or str");
    return jinja_strip(env, text.string, is_space ? NULL : given[0].string, JINJA_LEFT | JINJA_RIGHT, out);
}

RUN(filter_replace)
{
    (void)raw;
    jinja_value text, from, to;
    int64_t count = -1;
    TRY(jinja_to_string(env, self, &text));
    TRY(jinja_to_string(env, given[0], &from));
    TRY(jinja_to_string(env, given[1], &to));
    if (jinja_is_given(given[2]) && given[2].kind != JV_NONE) TRY(jinja_to_index(env, given[2], &count));
    return jinja_replace(env, text.string, from.string, to.string, count, out);
}

RUN(filter_escape) { return (void)given, (void)raw, jinja_escape(env, self, out); }

RUN(filter_safe)
{
    (void)given, (void)raw;
    jinja_value text;
    TRY(jinja_to_string(env, self, &text));
    TRY(jinja_substring(env, text.string, 0, text.string->count, out));
    out->string->is_markup = true;
    return LEAT_OK;
}

RUN(filter_forceescape)
{
    (void)given, (void)raw;
    jinja_value text;
    TRY(jinja_to_string(env, self, &text));
    TRY(jinja_substring(env, text.string, 0, text.string->count, &text));
    text.string->is_markup = false;
    return jinja_escape(env, text, out);
}

RUN(filter_indent)
{
    (void)raw;
    jinja_value by = given[0], space;
    jinja_list *lines;
    int64_t width = 4;
    bool first, blank;
    TRY(jinja_need_defined(env, self));
    if (self.kind != JV_STRING) return RAISE(env, TYPE, "indent: '%s' is no text", jinja_type_name(self));
    if (by.kind != JV_STRING) {
        if (jinja_is_given(by)) TRY(jinja_to_index(env, by, &width));
        jinja_builder spaces = jinja_build(env);
        TRY(jinja_literal(env, " ", &space));
        TRY(jinja_append_fill(&spaces, space.string, width < 0 ? 0 : (uint64_t)width));
        TRY(jinja_finish(&spaces, &by));
    }
    TRY(jinja_truth(env, given[1], &first));
    TRY(jinja_truth(env, given[2], &blank));
    TRY(jinja_literal(env, "\n", &space));
    TRY(jinja_concat(env, self.string, space.string, &self));
    TRY(jinja_split_lines(env, self.string, false, &lines));
    jinja_builder b = jinja_build(env);
    if (first) TRY(jinja_append(&b, by.string));
    for (uint64_t i = 0; i < lines->count; i++) {
        if (i > 0) TRY(jinja_append_text(&b, "\n"));
        if (i > 0 && (blank || lines->items[i].string->count > 0)) TRY(jinja_append(&b, by.string));
        TRY(jinja_append(&b, lines->items[i].string));
    }
    return jinja_finish(&b, out);
}

RUN(filter_truncate)
{
    (void)raw;
    jinja_value text, end = given[2];
    int64_t length = 255, leeway = 5;
    bool kills_words;
    uint64_t count;
    if (jinja_is_given(given[0])) TRY(jinja_to_index(env, given[0], &length));
    if (jinja_is_given(given[3]) && given[3].kind != JV_NONE) TRY(jinja_to_index(env, given[3], &leeway));
    TRY(jinja_truth(env, given[1], &kills_words));
    if (!jinja_is_given(end)) TRY(jinja_literal(env, "...", &end));
    TRY(jinja_to_string(env, end, &end));
    int64_t end_count = (int64_t)jinja_char_count(end.string);
    if (length < end_count || leeway < 0)
        return RAISE(env, VALUE, "truncate: expected length >= %lld", (long long)end_count);
    *out = self;
    TRY(jinja_length(env, self, &count));
    if ((int64_t)count <= length + leeway) return LEAT_OK;
    if (self.kind != JV_STRING) return RAISE(env, TYPE, "truncate: '%s' is no text", jinja_type_name(self));
    text = self;
    uint64_t cut = jinja_char_offset(text.string, (uint64_t)(length - end_count));
    const char *space = kills_words ? NULL : memrchr(text.string->bytes, ' ', cut);
    if (space != NULL) cut = (uint64_t)(space - text.string->bytes);
    jinja_builder b = jinja_build(env);
    TRY(jinja_append_part(&b, text.string, 0, cut));
    TRY(jinja_append(&b, end.string));
    return jinja_finish(&b, out);
}

RUN(filter_center)
{
    (void)raw;
    jinja_value text;
    int64_t width = 80;
    TRY(jinja_to_string(env, self, &text));
    if (jinja_is_given(given[0])) TRY(jinja_to_index(env, given[0], &width));
    return jinja_justify(env, text.string, width, NULL, '^', out);
}

RUN(filter_wordcount)
{
    (void)given, (void)raw;
    jinja_value text;
    int64_t count = 0;
    bool was_word = false;
    uint64_t next;
    TRY(jinja_to_string(env, self, &text));
    for (uint64_t at = 0; at < text.string->count; at = next) {
        bool is_word = unicode_is_word(jinja_char_at(text.string, at, &next));
        count += is_word && !was_word;
        was_word = is_word;
    }
    *out = jinja_int(count);
    return LEAT_OK;
}

RUN(filter_format)
{
    (void)given;
    jinja_value text, values = {.kind = JV_TUPLE};
    TRY(jinja_to_string(env, self, &text));
    if (raw->count > 0 && raw->named_count > 0)
        return RAISE(env, VALUE, "can't handle positional and keyword arguments at the same time");
    if (raw->named_count > 0) {
        values.kind = JV_DICT;
        TRY(jinja_new_dict(env, &values.dict));
        for (uint32_t i = 0; i < raw->named_count; i++)
            TRY(jinja_dict_set(env, values.dict, jinja_of_string(raw->named[i].name), raw->named[i].value));
    } else {
        TRY(jinja_new_list(env, 0, &values.list));
        for (uint32_t i = 0; i < raw->count; i++) TRY(jinja_push(env, values.list, raw->values[i]));
    }
    return jinja_percent(env, text.string, values, out);
}

RUN(filter_join)
{
    (void)raw;
    jinja_value between = given[0];
    if (!jinja_is_given(between)) TRY(jinja_literal(env, "", &between));
    TRY(jinja_to_string(env, between, &between));
    if (!jinja_is_given(given[1]) || given[1].kind == JV_NONE) return jinja_join(env, between.string, self, false, out);
    jinja_list *items;
    TRY(jinja_to_list(env, self, &items));
    for (uint64_t i = 0; i < items->count; i++)
        TRY(jinja_item_attribute(env, items->items[i], given[1], (jinja_value){0}, &items->items[i]));
    return jinja_join(env, between.string, jinja_of_list(items), false, out);
}

RUN(filter_from_json)
{
    (void)given, (void)raw;
    if (self.kind != JV_STRING) return RAISE(env, TYPE, "from_json takes a text, not %s", jinja_type_name(self));
    return jinja_of_json(env, "from_json", self.string->bytes, self.string->count, jinja_string_has_data(self.string),
                         false, out);
}

/* ---- rarely needed ---- */

RUN(filter_filesizeformat)
{
    (void)raw;
    static const char *const prefixes[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
                                               {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    double bytes, unit;
    bool is_binary;
    char text[400];
    if (!jinja_is_number(self)) return RAISE(env, TYPE, "filesizeformat takes a number");
    TRY(jinja_to_double(env, self, &bytes));
    TRY(jinja_truth(env, given[0], &is_binary));
    double base = is_binary ? 1024 : 1000;
    int i = 0;
    if (bytes == 1)
        snprintf(text, sizeof text, "1 Byte");
    else if (bytes < base)
        snprintf(text, sizeof text, "%.0f Bytes", (double)(int64_t)bytes);
    else {
        for (unit = base * base; i < 7 && bytes >= unit; i++) unit *= base;
        snprintf(text, sizeof text, "%.1f %s", base * bytes / unit, prefixes[is_binary][i]);
    }
    return jinja_new_string(env, text, strlen(text), false, out);
}

static leat_status append_quoted_url(jinja_env *env, jinja_builder *b, jinja_value v, bool is_query)
{
    char text[8];
    TRY(jinja_to_string(env, v, &v));
    for (uint64_t i = 0; i < v.string->count; i++) {
        unsigned char c = (unsigned char)v.string->bytes[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                        (c < 0x80 && strchr("_.-~", c) != NULL && c != '\0') || (c == '/' && !is_query);
        if (is_plain)
            TRY(jinja_append_part(b, v.string, i, i + 1));
        else {
            snprintf(text, sizeof text, c == ' ' && is_query ? "+" : "%%%02X", c);
            TRY(jinja_append_bytes(b, text, strlen(text), jinja_string_has_data(v.string)));
        }
    }
    return LEAT_OK;
}

RUN(filter_urlencode)
{
    (void)given, (void)raw;
    jinja_builder b = jinja_build(env);
    jinja_list *items, *pair;
    bool is_pairs = self.kind == JV_DICT || self.kind == JV_LIST || self.kind == JV_TUPLE || self.kind == JV_VIEW;
    if (!is_pairs) {
        TRY(append_quoted_url(env, &b, self, false));
        return jinja_finish(&b, out);
    }
    if (self.kind == JV_DICT) self = (jinja_value){.kind = JV_VIEW, .aux = JINJA_ITEMS, .dict = self.dict};
    TRY(jinja_to_list(env, self, &items));
    for (uint64_t i = 0; i < items->count; i++) {
        TRY(jinja_to_list(env, items->items[i], &pair));
        if (pair->count != 2) return RAISE(env, VALUE, "urlencode takes pairs");
        if (i > 0) TRY(jinja_append_text(&b, "&"));
        TRY(append_quoted_url(env, &b, pair->items[0], true));
        TRY(jinja_append_text(&b, "="));
        TRY(append_quoted_url(env, &b, pair->items[1], true));
    }
    return jinja_finish(&b, out);
}

/* Tags go, entities are read, white space becomes single blanks. */
RUN(filter_striptags)
{
    (void)given, (void)raw;
    jinja_value text, part;
    jinja_list *words;
    jinja_builder b = jinja_build(env);
    TRY(jinja_to_string(env, self, &text));
    const jinja_string *s = text.string;
    if (memmem(s->bytes, s->count, "&", 1) != NULL || memmem(s->bytes, s->count, "<!--", 4) != NULL)
        return RAISE(env, RUNTIME, "striptags: entities and comments are not supported");
    for (uint64_t at = 0; at < s->count;) {
        const char *open = memchr(s->bytes + at, '<', s->count - at);
        const char *close = open != NULL ? memchr(open, '>', (size_t)(s->bytes + s->count - open)) : NULL;
        uint64_t end = close != NULL ? (uint64_t)(open - s->bytes) : s->count;
        TRY(jinja_append_part(&b, s, at, end));
        at = close != NULL ? (uint64_t)(close - s->bytes) + 1 : s->count;
    }
    TRY(jinja_finish(&b, &part));
    const jinja_builtin *split = jinja_find_text_method("split", 5);
    jinja_value pieces, none[JINJA_PARAMETERS_MAX] = {0}, blank;
    TRY(split->run(env, part, none, NULL, &pieces));
    TRY(jinja_literal(env, " ", &blank));
    (void)words;
    return jinja_join(env, blank.string, pieces, true, out);
}

static leat_status wrap_line(jinja_env *env, jinja_builder *b, jinja_value line, uint64_t width, bool breaks)
{
    const jinja_builtin *split = jinja_find_text_method("split", 5);
    jinja_value words, none[JINJA_PARAMETERS_MAX] = {0};
    uint64_t column = 0;
    if (memmem(line.string->bytes, line.string->count, "-", 1) != NULL ||
        memmem(line.string->bytes, line.string->count, "  ", 2) != NULL)
        return RAISE(env, RUNTIME, "wordwrap: hyphens and runs of blanks are not supported");
    TRY(split->run(env, line, none, NULL, &words));
    for (uint64_t i = 0; i < words.list->count; i++) {
        jinja_string *word = words.list->items[i].string;
        uint64_t count = jinja_char_count(word);
        if (count > width && breaks) return RAISE(env, RUNTIME, "wordwrap: words longer than a line are not supported");
        bool fits = column + 1 + count <= width;
        if (i > 0) TRY(jinja_append_text(b, fits ? " " : "\n"));
        TRY(jinja_append(b, word));
        column = i > 0 && fits ? column + 1 + count : count;
    }
    return LEAT_OK;
}

RUN(filter_wordwrap)
{
    (void)raw;
    jinja_value text;
    jinja_list *lines;
    int64_t width = 79;
    TRY(jinja_need_defined(env, self));
    if (self.kind != JV_STRING) return RAISE(env, TYPE, "wordwrap: '%s' is no text", jinja_type_name(self));
    TRY(jinja_to_string(env, self, &text));
    if (jinja_is_given(given[0])) TRY(jinja_to_index(env, given[0], &width));
    if (width <= 0 || jinja_is_given(given[1]) || jinja_is_given(given[2]))
        return RAISE(env, RUNTIME, "wordwrap: only a positive width is supported");
    TRY(jinja_split_lines(env, text.string, false, &lines));
    jinja_builder b = jinja_build(env);
    for (uint64_t i = 0; i < lines->count; i++) {
        if (i > 0) TRY(jinja_append_text(&b, "\n"));
        TRY(wrap_line(env, &b, lines->items[i], (uint64_t)width, true));
    }
    return jinja_finish(&b, out);
}

RUN(filter_refused)
{
    (void)self, (void)given, (void)raw, (void)out;
    return RAISE(env, RUNTIME, "this filter is not supported");
}

const jinja_builtin *jinja_find_text_filter(const char *name, uint64_t bytes)
{
    static const jinja_builtin filters[] = {
        {"upper", "", 0, filter_upper},
        {"lower", "", 0, filter_lower},
        {"capitalize", "", 0, filter_capitalize},
        {"title", "", 0, filter_title},
        {"string", "", 0, filter_string},
        {"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
        {"from_json", "", 0, filter_from_json},
        {"trim", "chars", 0, filter_trim},
        {"replace", "old new count", 2, filter_replace},
        {"e", "", 0, filter_escape},
        {"escape", "", 0, filter_escape},
        {"forceescape", "", 0, filter_forceescape},
        {"safe", "", 0, filter_safe},
        {"indent", "width first blank", 0, filter_indent},
        {"truncate", "length killwords end leeway", 0, filter_truncate},
        {"center", "width", 0, filter_center},
        {"wordcount", "", 0, filter_wordcount},
        {"format", NULL, 0, filter_format},
        {"join", "d attribute", 0, filter_join},
        {"filesizeformat", "binary", 0, filter_filesizeformat},
        {"urlencode", "", 0, filter_urlencode},
        {"striptags", "", 0, filter_striptags},
        {"wordwrap", "width break_long_words wrapstring", 0, filter_wordwrap},
        {"xmlattr", NULL, 0, filter_refused},
        {"urlize", NULL, 0, filter_refused},
        {"pprint", NULL, 0, filter_refused},
        {"random", NULL, 0, filter_refused},
    };
    return jinja_find_in(filters, ARRAY_COUNT(filters), name, bytes);
}

/* jinja_tojson.c - the filter tojson as transformers defines it: json.dumps without escaping HTML. */
#include "text/jinja/jinja_value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct json_style {
    jinja_value item_separator, key_separator, indent; /* indent: the text of one level, MISSING: all in one line */
    bool is_ascii, is_sorted;
    uint32_t level;
} json_style;

static bool is_data_at(const jinja_string *s, uint64_t at) { return s->mask != NULL ? s->mask[at] != 0 : s->is_data; }

static void escape_text(uint32_t scalar, char out[16])
{
    static const char short_forms[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *form = scalar != 0 && scalar < 0x80 ? strchr(short_forms, (int)scalar) : NULL;
    if (form != NULL)
        snprintf(out, 16, "\\%c", letters[form - short_forms]);
    else if (scalar < 0x10000)
        snprintf(out, 16, "\\u%04x", scalar);
    else
        snprintf(out, 16, "\\u%04x\\u%04x", 0xd800 + ((scalar - 0x10000) >> 10), 0xdc00 + ((scalar - 0x10000) & 0x3ff));
}

static leat_status append_string(jinja_builder *b, const json_style *style, const jinja_string *s)
{
    bool is_data = jinja_string_has_data(s);
    uint64_t plain = 0, next;
    char text[16];
    TRY(jinja_append_bytes(b, "\"", 1, is_data));
    for (uint64_t at = 0; at < s->count; at = next) {
        uint32_t scalar = (uint8_t)s->bytes[at];
        next = at + 1;
        if (scalar >= 0x80 && style->is_ascii) scalar = jinja_char_at(s, at, &next);
        bool is_plain = scalar >= 0x20 && scalar != '"' && scalar != '\\' && (scalar < 0x7f || !style->is_ascii);
        if (is_plain || scalar == 0x7f) continue;
        TRY(jinja_append_part(b, s, plain, at));
        escape_text(scalar, text);
        TRY(jinja_append_bytes(b, text, strlen(text), is_data_at(s, at)));
        plain = next;
    }
    TRY(jinja_append_part(b, s, plain, s->count));
    return jinja_append_bytes(b, "\"", 1, is_data);
}

static leat_status append_number(jinja_builder *b, jinja_value v)
{
    if (v.kind == JV_FLOAT && isnan(v.real)) return jinja_append_text(b, "NaN");
    if (v.kind == JV_FLOAT && isinf(v.real)) return jinja_append_text(b, v.real < 0 ? "-Infinity" : "Infinity");
    return jinja_append_repr(b, v);
}

static leat_status new_line(jinja_builder *b, const json_style *style)
{
    if (!jinja_is_given(style->indent)) return LEAT_OK;
    TRY(jinja_append_text(b, "\n"));
    return jinja_append_fill(b, style->indent.string, style->level);
}

static leat_status append_value(jinja_builder *b, json_style *style, jinja_value v);

static leat_status append_key(jinja_builder *b, const json_style *style, jinja_value key)
{
    if (key.kind == JV_STRING) return append_string(b, style, key.string);
    if (!jinja_is_number(key) && key.kind != JV_NONE)
        return RAISE(b->env, TYPE, "keys must be str, int, float, bool or None, not %s", jinja_type_name(key));
    TRY(jinja_append_text(b, "\""));
    if (key.kind == JV_NONE)
        TRY(jinja_append_text(b, "null"));
    else if (key.kind == JV_BOOL)
        TRY(jinja_append_text(b, key.truth ? "true" : "false"));
    else
        TRY(append_number(b, key));
    return jinja_append_text(b, "\"");
}

static leat_status append_list(jinja_builder *b, json_style *style, const jinja_list *list)
{
    if (list->count == 0) return jinja_append_text(b, "[]");
    TRY(jinja_append_text(b, "["));
    style->level++;
    for (uint64_t i = 0; i < list->count; i++) {
        if (i > 0) TRY(jinja_append(b, style->item_separator.string));
        TRY(new_line(b, style));
        TRY(append_value(b, style, list->items[i]));
    }
    style->level--;
    TRY(new_line(b, style));
    return jinja_append_text(b, "]");
}

static leat_status sorted_entries(jinja_env *env, const jinja_dict *dict, jinja_value *keys, jinja_value *values)
{
    uint64_t at = 0, count = 0;
    const jinja_entry *entry;
    while ((entry = jinja_dict_next(dict, &at)) != NULL) {
        keys[count] = entry->key;
        values[count++] = entry->value;
    }
    return jinja_sort(env, keys, values, count, false);
}

static leat_status append_dict(jinja_builder *b, json_style *style, const jinja_dict *dict)
{
    uint64_t at = 0, count = 0;
    jinja_value *keys = NULL, *values = NULL;
    if (dict->live == 0) return jinja_append_text(b, "{}");
    if (style->is_sorted) {
        TRY(JINJA_NEW(b->env, dict->live, &keys));
        TRY(JINJA_NEW(b->env, dict->live, &values));
        TRY(sorted_entries(b->env, dict, keys, values));
    }
    TRY(jinja_append_text(b, "{"));
    style->level++;
    for (; count < dict->live; count++) {
        const jinja_entry *entry = jinja_dict_next(dict, &at);
        if (count > 0) TRY(jinja_append(b, style->item_separator.string));
        TRY(new_line(b, style));
        TRY(append_key(b, style, keys != NULL ? keys[count] : entry->key));
        TRY(jinja_append(b, style->key_separator.string));
        TRY(append_value(b, style, values != NULL ? values[count] : entry->value));
    }
    style->level--;
    TRY(new_line(b, style));
    return jinja_append_text(b, "}");
}

static leat_status append_value(jinja_builder *b, json_style *style, jinja_value v)
{
    TRY(jinja_charge(b->env, 1));
    TRY(jinja_enter(b->env));
    switch (v.kind) {
    case JV_NONE: TRY(jinja_append_text(b, "null")); break;
    case JV_BOOL: TRY(jinja_append_text(b, v.truth ? "true" : "false")); break;
    case JV_INT:
    case JV_BIG:
    case JV_FLOAT: TRY(append_number(b, v)); break;
    case JV_STRING: TRY(append_string(b, style, v.string)); break;
    case JV_LIST:
    case JV_TUPLE: TRY(append_list(b, style, v.list)); break;
    case JV_DICT: TRY(append_dict(b, style, v.dict)); break;
    default: return RAISE(b->env, TYPE, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
    jinja_leave(b->env);
    return LEAT_OK;
}

/* indent: a count of spaces or a text; None: all in one line. */
static leat_status read_indent(jinja_env *env, jinja_value given, json_style *style)
{
    int64_t width;
    if (!jinja_is_given(given) || given.kind == JV_NONE) return LEAT_OK;
    style->indent = given;
    if (given.kind == JV_STRING) return LEAT_OK;
    TRY(jinja_to_index(env, given, &width));
    jinja_builder b = jinja_build(env);
    jinja_value space;
    TRY(jinja_literal(env, " ", &space));
    TRY(jinja_append_fill(&b, space.string, width < 0 ? 0 : (uint64_t)width));
    return jinja_finish(&b, &style->indent);
}

static leat_status read_separators(jinja_env *env, jinja_value given, json_style *style)
{
    TRY(jinja_literal(env, jinja_is_given(style->indent) ? "," : ", ", &style->item_separator));
    TRY(jinja_literal(env, ": ", &style->key_separator));
    if (!jinja_is_given(given) || given.kind == JV_NONE) return LEAT_OK;
    jinja_list *pair;
    TRY(jinja_to_list(env, given, &pair));
    if (pair->count != 2 || pair->items[0].kind != JV_STRING || pair->items[1].kind != JV_STRING)
        return RAISE(env, VALUE, "tojson: separators must be two texts");
    style->item_separator = pair->items[0];
    style->key_separator = pair->items[1];
    return LEAT_OK;
}

/* tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false) */
leat_status jinja_filter_tojson(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,
                                jinja_value *out)
{
    (void)raw;
    json_style style = {0};
    TRY(jinja_truth(env, given[0], &style.is_ascii));
    TRY(read_indent(env, given[1], &style));
    TRY(read_separators(env, given[2], &style));
    TRY(jinja_truth(env, given[3], &style.is_sorted));
    jinja_builder b = jinja_build(env);
    TRY(append_value(&b, &style, self));
    return jinja_finish(&b, out);
}

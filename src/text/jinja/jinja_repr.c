/* jinja_repr.c - values as text: str() and repr() of Python, and the escaping of HTML. */
#include "text/jinja/jinja_value.h"

#include "base/utf8.h"
#include "text/jinja/jinja_unicode.h"

#include <stdio.h>
#include <string.h>

static leat_status append_escape(jinja_builder *b, uint32_t scalar, char quote, bool is_data)
{
    char text[16];
    if (scalar == '\n' || scalar == '\r' || scalar == '\t')
        snprintf(text, sizeof text, "\\%c", scalar == '\n' ? 'n' : scalar == '\r' ? 'r' : 't');
    else if (scalar == '\\' || scalar == (uint32_t)quote)
        snprintf(text, sizeof text, "\\%c", (char)scalar);
    else
        snprintf(text, sizeof text, scalar < 0x100 ? "\\x%02x" : scalar < 0x10000 ? "\\u%04x" : "\\U%08x", scalar);
    return jinja_append_bytes(b, text, strlen(text), is_data);
}

static bool is_data_at(const jinja_string *s, uint64_t at) { return s->mask != NULL ? s->mask[at] != 0 : s->is_data; }

static leat_status append_quoted(jinja_builder *b, const jinja_string *s)
{
    bool has_single = s->count > 0 && memchr(s->bytes, '\'', s->count) != NULL;
    bool has_double = s->count > 0 && memchr(s->bytes, '"', s->count) != NULL;
    char quote = has_single && !has_double ? '"' : '\'';
    TRY(jinja_append_bytes(b, &quote, 1, jinja_string_has_data(s)));
    uint64_t plain = 0, next;
    for (uint64_t at = 0; at < s->count; at = next) {
        uint32_t scalar = jinja_char_at(s, at, &next);
        const bool is_shown = scalar == ' ' || (jinja_is_printable(scalar) && (scalar < 0x80 || !b->is_ascii));
        if (scalar != (uint32_t)quote && scalar != '\\' && is_shown) continue;
        TRY(jinja_append_part(b, s, plain, at));
        TRY(append_escape(b, scalar, quote, is_data_at(s, at)));
        plain = next;
    }
    TRY(jinja_append_part(b, s, plain, s->count));
    return jinja_append_bytes(b, &quote, 1, jinja_string_has_data(s));
}

static leat_status append_bytes_repr(jinja_builder *b, const jinja_string *s)
{
    bool is_double = memchr(s->bytes, '\'', s->count) != NULL && memchr(s->bytes, '"', s->count) == NULL;
    char quote = is_double ? '"' : '\'';
    TRY(jinja_append_text(b, is_double ? "b\"" : "b'"));
    for (uint64_t i = 0; i < s->count; i++) {
        uint8_t byte = (uint8_t)s->bytes[i];
        if (byte < 0x20 || byte >= 0x7f || byte == '\\' || byte == (uint8_t)quote)
            TRY(append_escape(b, byte, quote, is_data_at(s, i)));
        else
            TRY(jinja_append_part(b, s, i, i + 1));
    }
    return jinja_append_bytes(b, &quote, 1, false);
}

static leat_status append_items(jinja_builder *b, const jinja_list *list, const char *open, const char *close)
{
    TRY(jinja_append_text(b, open));
    for (uint64_t i = 0; i < list->count; i++) {
        if (i > 0) TRY(jinja_append_text(b, ", "));
        TRY(jinja_append_repr(b, list->items[i]));
    }
    return jinja_append_text(b, close);
}

static leat_status append_dict(jinja_builder *b, const jinja_dict *dict)
{
    uint64_t at = 0;
    bool is_first = true;
    const jinja_entry *entry;
    TRY(jinja_append_text(b, "{"));
    while ((entry = jinja_dict_next(dict, &at)) != NULL) {
        if (!is_first) TRY(jinja_append_text(b, ", "));
        is_first = false;
        TRY(jinja_append_repr(b, entry->key));
        TRY(jinja_append_text(b, ": "));
        TRY(jinja_append_repr(b, entry->value));
    }
    return jinja_append_text(b, "}");
}

static leat_status append_view(jinja_builder *b, jinja_value v)
{
    jinja_list *items;
    TRY(jinja_to_list(b->env, v, &items));
    TRY(jinja_append_text(b, jinja_type_name(v)));
    return append_items(b, items, "([", "])");
}

static leat_status append_range(jinja_builder *b, const jinja_range *r)
{
    char text[96];
    int count = snprintf(text, sizeof text, "range(%lld, %lld", (long long)r->start, (long long)r->stop);
    if (r->step != 1) count += snprintf(text + count, sizeof text - (size_t)count, ", %lld", (long long)r->step);
    TRY(jinja_append_bytes(b, text, (uint64_t)count, false));
    return jinja_append_text(b, ")");
}

static leat_status append_loop(jinja_builder *b, jinja_value v)
{
    uint64_t length;
    jinja_value index, name;
    char text[64];
    TRY(jinja_literal(b->env, "index", &name));
    TRY(jinja_loop_attribute(b->env, v.loop, name.string, &index));
    TRY(jinja_loop_length(b->env, v.loop, &length));
    snprintf(text, sizeof text, "<LoopContext %lld/%llu>", (long long)index.integer, (unsigned long long)length);
    return jinja_append_text(b, text);
}

static leat_status append_scalar_value(jinja_builder *b, jinja_value v)
{
    char text[JINJA_FLOAT_TEXT_BYTES + 40];
    switch (v.kind) {
    case JV_NONE: return jinja_append_text(b, "None");
    case JV_BOOL: return jinja_append_text(b, v.truth ? "True" : "False");
    case JV_INT: snprintf(text, sizeof text, "%lld", (long long)v.integer); break;
    case JV_BIG: return jinja_append(b, v.string);
    case JV_FLOAT: jinja_float_text(v.real, text); break;
    case JV_FUNCTION:
        snprintf(text, sizeof text, "<%s %.40s>", v.bound->self.kind == JV_MISSING ? "function" : "built-in method",
                 v.bound->builtin->name);
        break;
    default: snprintf(text, sizeof text, "<%s object>", jinja_type_name(v)); break;
    }
    return jinja_append_text(b, text);
}

static leat_status append_nested(jinja_builder *b, jinja_value v)
{
    switch (v.kind) {
    case JV_LIST: return append_items(b, v.list, "[", "]");
    case JV_TUPLE: return append_items(b, v.list, "(", v.list->count == 1 ? ",)" : ")");
    case JV_DICT: return append_dict(b, v.dict);
    case JV_NAMESPACE:
        TRY(jinja_append_text(b, "<Namespace "));
        TRY(append_dict(b, v.dict));
        return jinja_append_text(b, ">");
    case JV_VIEW: return append_view(b, v);
    case JV_RANGE: return append_range(b, v.range);
    case JV_LOOP: return append_loop(b, v);
    default: return append_scalar_value(b, v);
    }
}

leat_status jinja_append_repr(jinja_builder *b, jinja_value v)
{
    TRY(jinja_charge(b->env, 1));
    if (v.kind == JV_UNDEFINED) return jinja_append_text(b, "Undefined");
    if (v.kind == JV_BYTES) return append_bytes_repr(b, v.string);
    if (v.kind == JV_STRING) {
        if (v.string->is_markup) TRY(jinja_append_text(b, "Markup("));
        TRY(append_quoted(b, v.string));
        return v.string->is_markup ? jinja_append_text(b, ")") : LEAT_OK;
    }
    TRY(jinja_enter(b->env));
    TRY(append_nested(b, v));
    jinja_leave(b->env);
    return LEAT_OK;
}

leat_status jinja_append_str(jinja_builder *b, jinja_value v)
{
    if (v.kind == JV_STRING) return jinja_append(b, v.string);
    return v.kind == JV_UNDEFINED ? LEAT_OK : jinja_append_repr(b, v);
}

leat_status jinja_to_string(jinja_env *env, jinja_value v, jinja_value *out)
{
    *out = v;
    if (v.kind == JV_STRING) return LEAT_OK;
    jinja_builder b = jinja_build(env);
    TRY(jinja_append_str(&b, v));
    return jinja_finish(&b, out);
}

static const char *html_escape(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&#34;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

leat_status jinja_escape(jinja_env *env, jinja_value v, jinja_value *out)
{
    *out = v;
    if (v.kind == JV_STRING && v.string->is_markup) return LEAT_OK;
    jinja_value text;
    TRY(jinja_to_string(env, v, &text));
    const jinja_string *s = text.string;
    jinja_builder b = jinja_build(env);
    uint64_t plain = 0;
    for (uint64_t i = 0; i < s->count; i++) {
        const char *escaped = html_escape(s->bytes[i]);
        if (escaped == NULL) continue;
        TRY(jinja_append_part(&b, s, plain, i));
        TRY(jinja_append_bytes(&b, escaped, strlen(escaped), is_data_at(s, i)));
        plain = i + 1;
    }
    TRY(jinja_append_part(&b, s, plain, s->count));
    TRY(jinja_finish(&b, out));
    out->string->is_markup = true;
    return LEAT_OK;
}

/* jinja_percent.c - the two ways to format text: '%s' % value and '{}'.format(value). */
#include "text/jinja/jinja_value.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits as a number; more than nine of them are a limit of their own. */
static leat_status read_number(jinja_env *env, const jinja_string *s, uint64_t *at, uint64_t *out)
{
    *out = 0;
    for (; *at < s->count && is_digit(s->bytes[*at]); ++*at) {
        *out = *out * 10 + (uint64_t)(s->bytes[*at] - '0');
        if (*out > 999999999) return RAISE(env, VALUE, "Too many decimal digits in format string");
    }
    return LEAT_OK;
}

/* ---- % ---- */

typedef struct percent {
    jinja_env *env;
    jinja_string *format;
    jinja_value values;
    uint64_t at, used;
} percent;

static leat_status next_value(percent *p, jinja_value *out)
{
    if (p->values.kind == JV_TUPLE) {
        if (p->used >= p->values.list->count) return RAISE(p->env, TYPE, "not enough arguments for format string");
        *out = p->values.list->items[p->used++];
        return LEAT_OK;
    }
    if (p->used++ > 0) return RAISE(p->env, TYPE, "not enough arguments for format string");
    *out = p->values;
    return LEAT_OK;
}

static leat_status star_or_number(percent *p, uint64_t *out)
{
    jinja_value v;
    int64_t width;
    if (p->at >= p->format->count || p->format->bytes[p->at] != '*') return read_number(p->env, p->format, &p->at, out);
    p->at++;
    TRY(next_value(p, &v));
    TRY(jinja_to_index(p->env, v, &width));
    *out = width < 0 ? 0 : (uint64_t)width;
    return LEAT_OK;
}

static leat_status percent_flags(percent *p, jinja_spec *spec)
{
    uint64_t number;
    for (; p->at < p->format->count && strchr("-+ #0", p->format->bytes[p->at]) != NULL; p->at++) {
        char c = p->format->bytes[p->at];
        if (c == '-') spec->align = '<', spec->is_default_align = false;
        if (c == '+' || (c == ' ' && spec->sign != '+')) spec->sign = c;
        if (c == '#') spec->is_alternate = true;
        if (c == '0') spec->is_zero = true;
    }
    TRY(star_or_number(p, &spec->width));
    if (p->at < p->format->count && p->format->bytes[p->at] == '.') {
        p->at++;
        TRY(star_or_number(p, &number));
        spec->precision = number > 1000000 ? 1000000 : (int32_t)number;
    }
    while (p->at < p->format->count && strchr("hlL", p->format->bytes[p->at]) != NULL) p->at++;
    return LEAT_OK;
}

static leat_status percent_number(percent *p, jinja_builder *b, jinja_spec *spec, jinja_value v)
{
    TRY(jinja_need_defined(p->env, v));
    if (spec->type == 'c' && v.kind == JV_STRING && jinja_char_count(v.string) == 1) {
        spec->type = 's';
        return jinja_append_spec(b, spec, v);
    }
    if (!jinja_is_number(v))
        return RAISE(p->env, TYPE, "%%%c format: a real number is required, not %s", spec->type, jinja_type_name(v));
    if (strchr("diu", spec->type) != NULL) {
        spec->type = 'd';
        if (v.kind == JV_FLOAT) TRY(jinja_int_of_double(p->env, v.real, &v));
    }
    if (strchr("xXo", spec->type) != NULL && v.kind == JV_FLOAT)
        return RAISE(p->env, TYPE, "%%%c format: an integer is required, not float", spec->type);
    if (spec->is_zero && spec->is_default_align) spec->align = '=', spec->fill = "0", spec->is_default_align = false;
    if (v.kind == JV_BOOL) v = jinja_int(v.truth);
    return jinja_append_spec(b, spec, v);
}

static leat_status percent_key(percent *p, jinja_value *out)
{
    const char *begin = p->format->bytes + p->at + 1, *close = memchr(begin, ')', p->format->count - p->at - 1);
    jinja_value key;
    if (close == NULL) return RAISE(p->env, VALUE, "incomplete format key");
    if (p->values.kind != JV_DICT) return RAISE(p->env, TYPE, "format requires a mapping");
    TRY(jinja_new_string(p->env, begin, (uint64_t)(close - begin), false, &key));
    TRY(jinja_dict_get(p->env, p->values.dict, key, out));
    if (!jinja_is_given(*out)) return RAISE(p->env, VALUE, "the format's key is not in the mapping");
    p->at = (uint64_t)(close + 1 - p->format->bytes);
    p->used = 1;
    return LEAT_OK;
}

static leat_status percent_one(percent *p, jinja_builder *b)
{
    jinja_spec spec = {.fill = " ", .fill_bytes = 1, .precision = -1, .align = '>', .is_default_align = true};
    jinja_value v = {0};
    if (p->at < p->format->count && p->format->bytes[p->at] == '(') TRY(percent_key(p, &v));
    TRY(percent_flags(p, &spec));
    if (p->at >= p->format->count) return RAISE(p->env, VALUE, "incomplete format");
    spec.type = p->format->bytes[p->at++];
    if (spec.type == '%') return jinja_append_text(b, "%");
    if (spec.type == '\0' || strchr("diuxXoeEfFgGcsra", spec.type) == NULL)
        return RAISE(p->env, VALUE, "unsupported format character");
    if (!jinja_is_given(v)) TRY(next_value(p, &v));
    if (strchr("sra", spec.type) == NULL) return percent_number(p, b, &spec, v);
    if (spec.type != 's') {
        jinja_builder repr = jinja_build(p->env);
        repr.is_ascii = spec.type == 'a';
        TRY(jinja_append_repr(&repr, v));
        TRY(jinja_finish(&repr, &v));
    }
    TRY(jinja_to_string(p->env, v, &v));
    if (p->format->is_markup) TRY(jinja_escape(p->env, v, &v));
    spec.type = 's';
    if (spec.is_default_align) spec.is_default_align = false;
    return jinja_append_spec(b, &spec, v);
}

leat_status jinja_percent(jinja_env *env, jinja_string *format, jinja_value values, jinja_value *out)
{
    percent p = {.env = env, .format = format, .values = values};
    jinja_builder b = jinja_build(env);
    while (p.at < format->count) {
        const char *mark = memchr(format->bytes + p.at, '%', format->count - p.at);
        uint64_t end = mark != NULL ? (uint64_t)(mark - format->bytes) : format->count;
        TRY(jinja_append_part(&b, format, p.at, end));
        p.at = end + 1;
        if (mark != NULL) TRY(percent_one(&p, &b));
    }
    bool is_mapping =
        values.kind == JV_DICT || values.kind == JV_LIST || values.kind == JV_UNDEFINED || values.kind == JV_RANGE;
    if (values.kind == JV_TUPLE ? p.used < values.list->count : p.used == 0 && !is_mapping)
        return RAISE(env, TYPE, "not all arguments converted during string formatting");
    TRY(jinja_finish(&b, out));
    out->string->is_markup = format->is_markup;
    return LEAT_OK;
}

/* ---- format() ---- */

typedef struct formatting {
    jinja_env *env;
    jinja_string *format;
    const jinja_arguments *args;
    uint64_t automatic;
    bool has_automatic, has_numbers;
    uint32_t level;
} formatting;

static leat_status find_argument(formatting *f, const jinja_string *name, jinja_value *out)
{
    uint64_t index = 0, at = 0;
    if (name->count == 0 || is_digit(name->bytes[0])) {
        if (name->count == 0) {
            index = f->automatic++;
            f->has_automatic = true;
        } else {
            TRY(read_number(f->env, name, &at, &index));
            f->has_numbers = true;
        }
        if (f->has_automatic && f->has_numbers)
            return RAISE(f->env, VALUE,
                         "cannot switch between manual field specification and automatic field numbering");
        if (at != name->count || index >= f->args->count)
            return RAISE(f->env, VALUE, "Replacement index %llu out of range for positional args tuple",
                         (unsigned long long)index);
        *out = f->args->values[index];
        return LEAT_OK;
    }
    for (uint32_t i = 0; i < f->args->named_count; i++) {
        if (!jinja_same_bytes(f->args->named[i].name, name)) continue;
        *out = f->args->named[i].value;
        return LEAT_OK;
    }
    return RAISE(f->env, VALUE, "format() has no such argument");
}

/* NAME(.attribute | [item])* */
static leat_status read_field(formatting *f, const jinja_string *field, jinja_value *out)
{
    uint64_t at = 0, end, number;
    while (at < field->count && field->bytes[at] != '.' && field->bytes[at] != '[') at++;
    jinja_string name = {.bytes = field->bytes, .count = at};
    TRY(find_argument(f, &name, out));
    while (at < field->count) {
        bool is_item = field->bytes[at] == '[';
        for (end = ++at; end < field->count &&
                         (is_item ? field->bytes[end] != ']' : field->bytes[end] != '.' && field->bytes[end] != '[');
             end++)
            continue;
        if (end == at || (is_item && end == field->count))
            return RAISE(f->env, VALUE, "Empty attribute in format string");
        jinja_value key, object = *out;
        TRY(jinja_new_string(f->env, field->bytes + at, end - at, false, &key));
        if (is_item && is_digit(field->bytes[at])) {
            TRY(read_number(f->env, field, &at, &number));
            key = jinja_int((int64_t)number);
        }
        if (is_item)
            TRY(jinja_get_item(f->env, object, key, out));
        else
            TRY(jinja_get_attribute(f->env, object, key.string, out));
        at = end + is_item;
    }
    return LEAT_OK;
}

static leat_status parse_spec(formatting *f, const jinja_string *s, bool is_number, jinja_spec *spec)
{
    uint64_t at = 0, next = 0, number;
    bool has_fill = false;
    *spec = (jinja_spec){.fill = " ", .fill_bytes = 1, .precision = -1, .is_default_align = true};
    if (s->count > 0) jinja_char_at(s, 0, &next);
    if (next < s->count && next > 0 && strchr("<>^=", s->bytes[next]) != NULL) {
        spec->fill = s->bytes;
        spec->fill_bytes = next;
        has_fill = true;
        spec->align = s->bytes[next];
        spec->is_default_align = false;
        at = next + 1;
    } else if (s->count > 0 && strchr("<>^=", s->bytes[0]) != NULL) {
        spec->align = s->bytes[0];
        spec->is_default_align = false;
        at = 1;
    }
    if (at < s->count && strchr("+- ", s->bytes[at]) != NULL) spec->sign = s->bytes[at++];
    if (at < s->count && s->bytes[at] == '#') spec->is_alternate = true, at++;
    if (at < s->count && s->bytes[at] == '0' && !has_fill) {
        spec->fill = "0", spec->fill_bytes = 1, at++;
        if (spec->is_default_align && is_number) spec->align = '=', spec->is_default_align = false;
    }
    TRY(read_number(f->env, s, &at, &spec->width));
    if (at < s->count && (s->bytes[at] == ',' || s->bytes[at] == '_')) spec->grouping = s->bytes[at++];
    if (at < s->count && s->bytes[at] == '.') {
        at++;
        if (at >= s->count || !is_digit(s->bytes[at]))
            return RAISE(f->env, VALUE, "Format specifier missing precision");
        TRY(read_number(f->env, s, &at, &number));
        spec->precision = number > 1000000 ? 1000000 : (int32_t)number;
    }
    if (at < s->count) spec->type = s->bytes[at++];
    return at == s->count ? LEAT_OK : RAISE(f->env, VALUE, "Invalid format specifier");
}

static leat_status format_text(formatting *f, jinja_string *text, jinja_builder *b);

/* What a specification may say depends on the value. */
static leat_status check_spec(formatting *f, const jinja_spec *spec, jinja_value v)
{
    const bool is_float_type = spec->type != '\0' && strchr("eEfFgG%", spec->type) != NULL;
    if (jinja_is_integral(v) && spec->precision >= 0 && !is_float_type)
        return RAISE(f->env, VALUE, "Precision not allowed in integer format specifier");
    if (jinja_is_number(v)) return LEAT_OK;
    if (spec->sign != '\0') return RAISE(f->env, VALUE, "Sign not allowed in string format specifier");
    if (spec->is_alternate) return RAISE(f->env, VALUE, "Alternate form (#) not allowed in string format specifier");
    if (spec->grouping != '\0') return RAISE(f->env, VALUE, "Cannot specify '%c' with 's'.", spec->grouping);
    if (!spec->is_default_align && spec->align == '=')
        return RAISE(f->env, VALUE, "'=' alignment not allowed in string format specifier");
    return LEAT_OK;
}

/* {field!conversion:spec}, the braces taken off. */
static leat_status format_field(formatting *f, const jinja_string *inner, jinja_builder *b)
{
    uint64_t field_end = 0, spec_begin, depth = 0;
    for (; field_end < inner->count; field_end++) {
        char c = inner->bytes[field_end];
        depth += c == '[';
        if (c == ']' && depth > 0) depth--;
        if (depth == 0 && (c == '!' || c == ':')) break;
    }
    jinja_string field = {.bytes = inner->bytes, .count = field_end};
    jinja_value v, spec_text;
    jinja_spec spec;
    TRY(read_field(f, &field, &v));
    spec_begin = field_end;
    if (field_end < inner->count && inner->bytes[field_end] == '!') {
        char how = field_end + 1 < inner->count ? inner->bytes[field_end + 1] : '\0';
        jinja_builder text = jinja_build(f->env);
        if (how != 's' && how != 'r' && how != 'a') return RAISE(f->env, VALUE, "Unknown conversion specifier");
        text.is_ascii = how == 'a';
        TRY(how == 's' ? jinja_append_str(&text, v) : jinja_append_repr(&text, v));
        TRY(jinja_finish(&text, &v));
        spec_begin += 2;
    }
    if (spec_begin < inner->count && inner->bytes[spec_begin] != ':')
        return RAISE(f->env, VALUE, "expected ':' after conversion specifier");
    jinja_string raw = {.bytes = inner->bytes + spec_begin + 1,
                        .count = spec_begin < inner->count ? inner->count - spec_begin - 1 : 0};
    jinja_builder nested = jinja_build(f->env);
    if (f->level >= 3) return RAISE(f->env, VALUE, "Max string recursion exceeded");
    TRY(format_text(f, &raw, &nested));
    TRY(jinja_finish(&nested, &spec_text));
    TRY(parse_spec(f, spec_text.string, jinja_is_number(v), &spec));
    if (spec_text.string->count > 0 && !jinja_is_number(v) && v.kind != JV_STRING)
        return RAISE(f->env, TYPE, "unsupported format string passed to %s.__format__", jinja_type_name(v));
    if (f->format->is_markup) TRY(jinja_escape(f->env, v, &v));
    if (spec_text.string->count == 0) return jinja_append_str(b, v);
    TRY(check_spec(f, &spec, v));
    if (v.kind == JV_BOOL && spec.type != 's') v = jinja_int(v.truth);
    return jinja_append_spec(b, &spec, v);
}

static leat_status format_text(formatting *f, jinja_string *text, jinja_builder *b)
{
    f->level++;
    for (uint64_t at = 0; at < text->count;) {
        uint64_t end = at;
        while (end < text->count && text->bytes[end] != '{' && text->bytes[end] != '}') end++;
        TRY(jinja_append_part(b, text, at, end));
        if (end == text->count) break;
        at = end + 1;
        if (at < text->count && text->bytes[at] == text->bytes[end]) {
            TRY(jinja_append_part(b, text, at, at + 1));
            at++;
            continue;
        }
        if (text->bytes[end] == '}') return RAISE(f->env, VALUE, "Single '}' encountered in format string");
        uint64_t depth = 1, close = at;
        for (; close < text->count; close++) {
            if (text->bytes[close] == '{') depth++;
            if (text->bytes[close] == '}' && --depth == 0) break;
        }
        if (close == text->count) return RAISE(f->env, VALUE, "expected '}' before end of string");
        jinja_string inner = {.bytes = text->bytes + at, .count = close - at};
        TRY(format_field(f, &inner, b));
        at = close + 1;
    }
    f->level--;
    return LEAT_OK;
}

leat_status jinja_str_format(jinja_env *env, jinja_string *format, const jinja_arguments *args, jinja_value *out)
{
    formatting f = {.env = env, .format = format, .args = args};
    jinja_builder b = jinja_build(env);
    TRY(format_text(&f, format, &b));
    TRY(jinja_finish(&b, out));
    out->string->is_markup = format->is_markup;
    return LEAT_OK;
}

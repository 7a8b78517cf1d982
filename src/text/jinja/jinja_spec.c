/* jinja_spec.c - one value by a format specification: fill, alignment, sign, width, precision, type. */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRECISION_MAX = 400 };

static leat_status pad(jinja_builder *b, const jinja_spec *spec, uint64_t count)
{
    jinja_string fill = {.bytes = spec->fill, .count = spec->fill_bytes};
    return jinja_append_fill(b, &fill, count);
}

/* Prefix (sign, 0x) and body with the filling where the alignment wants it. */
static leat_status append_aligned(jinja_builder *b, const jinja_spec *spec, const char *prefix, jinja_string *body,
                                  char default_align)
{
    uint64_t count = strlen(prefix) + jinja_char_count(body), missing = spec->width > count ? spec->width - count : 0;
    char align = spec->is_default_align ? default_align : spec->align;
    uint64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
    if (align != '=') TRY(pad(b, spec, left));
    TRY(jinja_append_text(b, prefix));
    if (align == '=') TRY(pad(b, spec, missing));
    TRY(jinja_append(b, body));
    return align != '=' ? pad(b, spec, missing - left) : LEAT_OK;
}

/* Separators between groups of digits before the point or exponent. */
static void group(const char *digits, char separator, uint32_t each, char *out)
{
    size_t whole = strspn(digits, "0123456789abcdefABCDEF"), at = 0;
    if (strchr("_,", separator) == NULL || separator == '\0') whole = 0;
    if (each == 3) whole = whole > 0 ? strspn(digits, "0123456789") : 0;
    for (size_t i = 0; i < whole; i++) {
        if (i > 0 && (whole - i) % each == 0) out[at++] = separator;
        out[at++] = digits[i];
    }
    strcpy(out + at, digits + whole);
}

static const char *sign_text(const jinja_spec *spec, bool is_negative)
{
    return is_negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "";
}

static leat_status append_number_text(jinja_builder *b, const jinja_spec *spec, bool is_negative, const char *base,
                                      const char *digits, uint32_t each)
{
    char prefix[8], grouped[1400];
    snprintf(prefix, sizeof prefix, "%s%s", sign_text(spec, is_negative), spec->is_alternate ? base : "");
    group(digits, spec->grouping, each, grouped);
    jinja_string body = {.bytes = grouped, .count = strlen(grouped)};
    return append_aligned(b, spec, prefix, &body, '>');
}

static leat_status append_float(jinja_builder *b, const jinja_spec *spec, double real)
{
    char text[900], pattern[16], type = spec->type;
    bool is_percent = type == '%';
    if (is_percent) real *= 100, type = 'f';
    if (type == '\0' && spec->precision < 0) {
        jinja_float_text(fabs(real), text);
    } else {
        snprintf(pattern, sizeof pattern, "%%%s.*%c", spec->is_alternate ? "#" : "",
                 type == '\0' || type == 'n' ? 'g' : type);
        int precision = spec->precision < 0 ? 6 : spec->precision;
        snprintf(text, sizeof text - 4, pattern, precision, fabs(real));
        if (type == '\0' && strpbrk(text, ".enai") == NULL) strcat(text, ".0");
    }
    if (is_percent) strcat(text, "%");
    return append_number_text(b, spec, signbit(real) && !isnan(real), "", text, 3);
}

static leat_status append_integer(jinja_builder *b, const jinja_spec *spec, jinja_value v)
{
    char digits[400];
    int64_t value = v.kind == JV_BOOL ? v.truth : v.kind == JV_INT ? v.integer : 0;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    bool is_negative = value < 0;
    const char *base = spec->type == 'x' ? "0x" : spec->type == 'X' ? "0X" : spec->type == 'o' ? "0o" : "";
    if (v.kind == JV_BIG) {
        if (strchr("xXob", spec->type) != NULL && spec->type != '\0')
            return RAISE(b->env, OVERFLOW, "integers of more than 64 bits are written in decimal only");
        is_negative = v.string->bytes[0] == '-';
        if (v.string->count > sizeof digits - 10)
            return RAISE(b->env, OVERFLOW, "an integer of %llu digits is too long to be formatted",
                         (unsigned long long)v.string->count);
        snprintf(digits, sizeof digits, "%.*s", (int)v.string->count - is_negative, v.string->bytes + is_negative);
    } else if (spec->type == 'b') {
        size_t at = 0;
        for (int bit = 63; bit >= 0; bit--) {
            if (at > 0 || (rest >> bit & 1) != 0 || bit == 0) digits[at++] = (char)('0' + (rest >> bit & 1));
        }
        digits[at] = '\0';
        base = "0b";
    } else
        snprintf(digits, sizeof digits,
                 spec->type == 'x'   ? "%llx"
                 : spec->type == 'X' ? "%llX"
                 : spec->type == 'o' ? "%llo"
                                     : "%llu",
                 (unsigned long long)rest);
    return append_number_text(b, spec, is_negative, base, digits, base[0] != '\0' ? 4 : 3);
}

static leat_status append_text_spec(jinja_builder *b, const jinja_spec *spec, jinja_value v)
{
    jinja_value text;
    TRY(jinja_to_string(b->env, v, &text));
    if (spec->precision >= 0 && (uint64_t)spec->precision < jinja_char_count(text.string))
        TRY(jinja_substring(b->env, text.string, 0, jinja_char_offset(text.string, (uint64_t)spec->precision), &text));
    return append_aligned(b, spec, "", text.string, '<');
}

leat_status jinja_append_spec(jinja_builder *b, const jinja_spec *spec, jinja_value v)
{
    if (spec->precision > PRECISION_MAX) return RAISE(b->env, VALUE, "a precision of more than %d", PRECISION_MAX);
    bool is_bool_text = v.kind == JV_BOOL && spec->type == '\0';
    if (!jinja_is_number(v) || is_bool_text || spec->type == 's') {
        if (spec->type != '\0' && spec->type != 's')
            return RAISE(b->env, VALUE, "Unknown format code '%c' for object of type '%s'", spec->type,
                         jinja_type_name(v));
        if (jinja_is_number(v) && spec->type == 's' && spec->is_default_align && spec->sign != 's')
            return RAISE(b->env, VALUE, "Unknown format code 's' for object of type '%s'", jinja_type_name(v));
        return append_text_spec(b, spec, v);
    }
    if (spec->type == 'c') {
        if (v.kind != JV_INT || v.integer < 0 || v.integer > 0x10ffff || (v.integer >= 0xd800 && v.integer < 0xe000))
            return RAISE(b->env, OVERFLOW, "%%c: not a character");
        return jinja_append_scalar(b, (uint32_t)v.integer, false);
    }
    bool is_float_type = spec->type != '\0' && strchr("eEfFgG%", spec->type) != NULL;
    if (v.kind == JV_FLOAT || is_float_type) {
        double real;
        if (spec->type != '\0' && spec->type != 'n' && !is_float_type)
            return RAISE(b->env, VALUE, "Unknown format code '%c' for object of type 'float'", spec->type);
        TRY(jinja_to_double(b->env, v, &real));
        return append_float(b, spec, real);
    }
    if (spec->type != '\0' && strchr("bdoxXn", spec->type) == NULL)
        return RAISE(b->env, VALUE, "Unknown format code '%c' for object of type 'int'", spec->type);
    return append_integer(b, spec, v);
}

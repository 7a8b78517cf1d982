/*
 * jinja_number.c - integers and floats as Python computes and prints them.
 *
 * Integers beyond 64 bits keep their digits; arithmetic with them goes through 128 bits and is refused beyond that.
 */
#include "text/jinja/jinja_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef __int128 wide;

/* Python refuses to print integers of more digits. */
enum { DIGITS_MAX = 4300 };

static bool wide_of_digits(const char *text, uint64_t count, uint32_t base, wide *out)
{
    bool is_negative = count > 0 && text[0] == '-';
    wide value = 0;
    for (uint64_t i = is_negative; i < count; i++) {
        int digit = text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10;
        if (__builtin_mul_overflow(value, (wide)base, &value) || __builtin_add_overflow(value, (wide)digit, &value))
            return false;
    }
    *out = is_negative ? -value : value;
    return true;
}

static bool to_wide(jinja_value v, wide *out)
{
    if (v.kind == JV_BIG) return wide_of_digits(v.string->bytes, v.string->count, 10, out);
    *out = v.kind == JV_BOOL ? v.truth : v.integer;
    return true;
}

static leat_status big(jinja_env *env, const char *digits, uint64_t count, jinja_value *out)
{
    TRY(jinja_new_string(env, digits, count, false, out));
    out->kind = JV_BIG;
    return LEAT_OK;
}

static leat_status of_wide(jinja_env *env, wide value, jinja_value *out)
{
    if (value >= INT64_MIN && value <= INT64_MAX) {
        *out = jinja_int((int64_t)value);
        return LEAT_OK;
    }
    char text[48], *at = text + sizeof text;
    unsigned __int128 rest = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
    for (; rest > 0; rest /= 10) *--at = (char)('0' + (int)(rest % 10));
    if (value < 0) *--at = '-';
    return big(env, at, (uint64_t)(text + sizeof text - at), out);
}

leat_status jinja_int_of_digits(jinja_env *env, const char *text, uint64_t count, uint32_t base, jinja_value *out)
{
    wide value;
    bool is_negative = count > 0 && text[0] == '-';
    while (count > 1u + is_negative && text[is_negative] == '0') { /* leading zeros */
        if (is_negative)
            return jinja_int_of_digits(env, text + 1, count - 1, base, out) == LEAT_OK ? jinja_negate(env, *out, out)
                                                                                       : LEAT_USAGE;
        text++, count--;
    }
    if (wide_of_digits(text, count, base, &value)) return of_wide(env, value, out);
    if (base != 10 || count > DIGITS_MAX)
        return RAISE(env, VALUE, "an integer of %llu digits is not supported", (unsigned long long)count);
    return big(env, text, count, out);
}

leat_status jinja_to_double(jinja_env *env, jinja_value v, double *out)
{
    if (v.kind == JV_FLOAT)
        *out = v.real;
    else if (v.kind == JV_BIG) {
        char text[DIGITS_MAX + 2];
        memcpy(text, v.string->bytes, v.string->count);
        text[v.string->count] = '\0';
        *out = strtod(text, NULL);
        if (isinf(*out)) return RAISE(env, OVERFLOW, "int too large to convert to float");
    } else
        *out = v.kind == JV_BOOL ? v.truth : (double)v.integer;
    return LEAT_OK;
}

leat_status jinja_to_index(jinja_env *env, jinja_value v, int64_t *out)
{
    if (v.kind == JV_BIG) return RAISE(env, OVERFLOW, "cannot fit 'int' into an index-sized integer");
    if (v.kind != JV_INT && v.kind != JV_BOOL)
        return RAISE(env, TYPE, "'%s' object cannot be interpreted as an integer", jinja_type_name(v));
    *out = v.kind == JV_BOOL ? v.truth : v.integer;
    return LEAT_OK;
}

leat_status jinja_int_of_double(jinja_env *env, double real, jinja_value *out)
{
    if (isnan(real)) return RAISE(env, VALUE, "cannot convert float NaN to integer");
    if (isinf(real)) return RAISE(env, OVERFLOW, "cannot convert float infinity to integer");
    char digits[400];
    int count = snprintf(digits, sizeof digits, "%.0f", trunc(real));
    if (strcmp(digits, "-0") == 0) count = snprintf(digits, sizeof digits, "0");
    return jinja_int_of_digits(env, digits, (uint64_t)count, 10, out);
}

/* ---- order ---- */

static int order_digits(const jinja_string *a, const jinja_string *b)
{
    bool a_negative = a->bytes[0] == '-', b_negative = b->bytes[0] == '-';
    if (a_negative != b_negative) return a_negative ? -1 : 1;
    int order = a->count != b->count ? (a->count < b->count ? -1 : 1) : memcmp(a->bytes, b->bytes, a->count);
    return a_negative ? -order : order;
}

bool jinja_number_order(jinja_value a, jinja_value b, int *out)
{
    wide x, y;
    if (jinja_is_integral(a) && jinja_is_integral(b)) {
        if (to_wide(a, &x) && to_wide(b, &y))
            *out = x < y ? -1 : x > y;
        else if (a.kind == JV_BIG && b.kind == JV_BIG)
            *out = order_digits(a.string, b.string);
        else
            *out = a.kind == JV_BIG ? (a.string->bytes[0] == '-' ? -1 : 1) : (b.string->bytes[0] == '-' ? 1 : -1);
        return true;
    }
    if (a.kind == JV_FLOAT && b.kind != JV_FLOAT) {
        bool is_ordered = jinja_number_order(b, a, out);
        *out = is_ordered ? -*out : 0;
        return is_ordered;
    }
    double right = b.real;
    if (isnan(right) || (a.kind == JV_FLOAT && isnan(a.real))) return false;
    if (a.kind == JV_FLOAT) {
        *out = a.real < right ? -1 : a.real > right;
        return true;
    }
    if (!to_wide(a, &x) || fabs(right) >= 0x1p126) { /* one of them is beyond anything the other can be compared with */
        long double left = 0;
        char digits[DIGITS_MAX + 2];
        if (a.kind == JV_BIG) {
            memcpy(digits, a.string->bytes, a.string->count);
            digits[a.string->count] = '\0';
            left = strtold(digits, NULL);
        } else
            left = (long double)x;
        *out = left < (long double)right ? -1 : left > (long double)right;
        return true;
    }
    wide whole = (wide)right; /* exact after truncation */
    double rest = right - trunc(right);
    *out = x < whole ? -1 : x > whole ? 1 : rest > 0 ? -1 : rest < 0;
    return true;
}

/* ---- arithmetic ---- */

static leat_status divide_by_zero(jinja_env *env, char op, bool is_float)
{
    if (op == '/') return RAISE(env, ZERO_DIVISION, is_float ? "float division by zero" : "division by zero");
    if (op == '%') return RAISE(env, ZERO_DIVISION, is_float ? "float modulo" : "integer modulo by zero");
    return RAISE(env, ZERO_DIVISION, is_float ? "float floor division by zero" : "integer division or modulo by zero");
}

static double python_modulo(double a, double b)
{
    double rest = fmod(a, b);
    if (rest != 0) return (b < 0) != (rest < 0) ? rest + b : rest;
    return copysign(0.0, b);
}

static double python_floor_division(double a, double b)
{
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
    if (quotient == 0) return copysign(0.0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

static leat_status power(jinja_env *env, double a, double b, jinja_value *out)
{
    if (a == 0 && b < 0) return RAISE(env, ZERO_DIVISION, "0.0 cannot be raised to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
        return RAISE(env, TYPE, "complex numbers are not supported");
    double result = pow(a, b);
    if (isinf(result) && isfinite(a) && isfinite(b)) return RAISE(env, OVERFLOW, "Numerical result out of range");
    *out = jinja_float(result);
    return LEAT_OK;
}

static leat_status float_arithmetic(jinja_env *env, char op, double a, double b, jinja_value *out)
{
    if (b == 0 && (op == '/' || op == '%' || op == 'f')) return divide_by_zero(env, op, true);
    switch (op) {
    case '+': *out = jinja_float(a + b); break;
    case '-': *out = jinja_float(a - b); break;
    case '*': *out = jinja_float(a * b); break;
    case '/': *out = jinja_float(a / b); break;
    case '%': *out = jinja_float(python_modulo(a, b)); break;
    case 'f': *out = jinja_float(python_floor_division(a, b)); break;
    default: return power(env, a, b, out);
    }
    return LEAT_OK;
}

static bool wide_power(wide base, wide exponent, wide *out)
{
    wide result = 1;
    if (exponent > 200 && (base > 1 || base < -1)) return false;
    if (exponent > 200) exponent = 2 + exponent % 2; /* 0, 1 and -1 repeat */
    for (; exponent > 0; exponent--) {
        if (__builtin_mul_overflow(result, base, &result)) return false;
    }
    *out = result;
    return true;
}

static leat_status int_arithmetic(jinja_env *env, char op, wide a, wide b, jinja_value *out)
{
    wide result = 0;
    bool fits = true;
    if (b == 0 && (op == '/' || op == '%' || op == 'f')) return divide_by_zero(env, op, false);
    switch (op) {
    case '+': fits = !__builtin_add_overflow(a, b, &result); break;
    case '-': fits = !__builtin_sub_overflow(a, b, &result); break;
    case '*': fits = !__builtin_mul_overflow(a, b, &result); break;
    case '/': *out = jinja_float((double)((long double)a / (long double)b)); return LEAT_OK;
    case 'p':
        if (b < 0) return power(env, (double)a, (double)b, out);
        fits = wide_power(a, b, &result);
        break;
    default:
        fits = b != -1 || a >= -((wide)1 << 126);
        if (!fits) break;
        result = op == 'f' ? a / b : a % b;
        if (a % b != 0 && (a % b < 0) != (b < 0)) result += op == 'f' ? -1 : b;
    }
    if (!fits) return RAISE(env, OVERFLOW, "integers of more than 128 bits are not computed with");
    return of_wide(env, result, out);
}

leat_status jinja_arithmetic(jinja_env *env, char op, jinja_value a, jinja_value b, jinja_value *out)
{
    double x, y;
    wide m, n;
    if (a.kind == JV_FLOAT || b.kind == JV_FLOAT) {
        TRY(jinja_to_double(env, a, &x));
        TRY(jinja_to_double(env, b, &y));
        return float_arithmetic(env, op, x, y, out);
    }
    if (!to_wide(a, &m) || !to_wide(b, &n))
        return RAISE(env, OVERFLOW, "integers of more than 128 bits are not computed with");
    if (op == '/' && b.kind != JV_BIG && a.kind != JV_BIG && llabs((long long)m) < (1LL << 53) &&
        llabs((long long)n) < (1LL << 53))
        return float_arithmetic(env, n == 0 ? '/' : op, (double)m, (double)n, out);
    return int_arithmetic(env, op, m, n, out);
}

leat_status jinja_negate(jinja_env *env, jinja_value v, jinja_value *out)
{
    if (v.kind == JV_FLOAT) {
        *out = jinja_float(-v.real);
        return LEAT_OK;
    }
    wide value;
    if (to_wide(v, &value)) return of_wide(env, -value, out);
    if (v.string->bytes[0] == '-') return big(env, v.string->bytes + 1, v.string->count - 1, out);
    jinja_builder b = jinja_build(env);
    TRY(jinja_append_text(&b, "-"));
    TRY(jinja_append(&b, v.string));
    TRY(jinja_finish(&b, out));
    out->kind = JV_BIG;
    return LEAT_OK;
}

/* ---- printing and rounding ---- */

void jinja_float_text(double real, char out[JINJA_FLOAT_TEXT_BYTES])
{
    char digits[40];
    int precision = 0;
    if (isnan(real) || isinf(real)) {
        snprintf(out, JINJA_FLOAT_TEXT_BYTES, "%s", isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    do snprintf(digits, sizeof digits, "%.*e", precision, real);
    while (strtod(digits, NULL) != real && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        char *mark = strchr(digits, 'e');
        *mark = '\0';
        snprintf(out, JINJA_FLOAT_TEXT_BYTES, "%.24se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    int decimals = precision - exponent;
    snprintf(out, JINJA_FLOAT_TEXT_BYTES, "%.*f", decimals < 1 ? 1 : decimals, real);
}

/* Rounds an integer to a multiple of 10^digits, halves to even. */
static leat_status round_int(jinja_env *env, jinja_value v, int64_t digits, jinja_value *out)
{
    wide value, unit = 1;
    *out = v;
    if (v.kind == JV_BOOL) *out = jinja_int(v.truth);
    if (digits >= 0) return LEAT_OK;
    if (!to_wide(v, &value)) return RAISE(env, OVERFLOW, "integers of more than 128 bits are not computed with");
    if (digits < -37) return of_wide(env, 0, out);
    for (int64_t i = 0; i > digits; i--) unit *= 10;
    wide rest = value % unit, whole = value - rest, half = rest < 0 ? -rest : rest;
    bool is_odd = (whole / unit) % 2 != 0;
    if (half > unit - half || (half == unit - half && is_odd)) whole += rest < 0 ? -unit : unit;
    return of_wide(env, whole, out);
}

leat_status jinja_round(jinja_env *env, jinja_value v, int64_t digits, jinja_value *out)
{
    if (v.kind != JV_FLOAT) return round_int(env, v, digits, out);
    *out = v;
    if (!isfinite(v.real) || digits > 323) return LEAT_OK;
    if (digits < -308) {
        *out = jinja_float(copysign(0.0, v.real));
        return LEAT_OK;
    }
    char text[800];
    if (digits >= 0) { /* printf rounds the exact value */
        snprintf(text, sizeof text, "%.*f", (int)digits, v.real);
        *out = jinja_float(strtod(text, NULL));
        return LEAT_OK;
    }
    double unit = pow(10, (double)-digits);
    *out = jinja_float(copysign(nearbyint(v.real / unit) * unit, v.real));
    return LEAT_OK;
}

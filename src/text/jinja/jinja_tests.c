/* jinja_tests.c - what may stand behind `is`. */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"
#include "text/jinja/jinja_unicode.h"

#define RUN(name)                                                                                                      \
    static leat_status name(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,    \
                            jinja_value *out)
/* A test that only looks at the value. */
#define LOOK(name, condition)                                                                                          \
    RUN(name)                                                                                                          \
    {                                                                                                                  \
        (void)env, (void)given, (void)raw;                                                                             \
        *out = jinja_bool(condition);                                                                                  \
        return LEAT_OK;                                                                                                \
    }
#define COMPARE(name, sign)                                                                                            \
    RUN(name)                                                                                                          \
    {                                                                                                                  \
        (void)raw;                                                                                                     \
        bool truth;                                                                                                    \
        TRY(jinja_compare(env, sign, self, given[0], &truth));                                                         \
        *out = jinja_bool(truth);                                                                                      \
        return LEAT_OK;                                                                                                \
    }

static bool has_length(jinja_value v)
{
    return v.kind == JV_UNDEFINED || v.kind == JV_STRING || v.kind == JV_LIST || v.kind == JV_TUPLE ||
           v.kind == JV_DICT || v.kind == JV_RANGE || v.kind == JV_BYTES;
}

LOOK(is_defined, self.kind != JV_UNDEFINED)
LOOK(is_undefined, self.kind == JV_UNDEFINED)
LOOK(is_none, self.kind == JV_NONE)
LOOK(is_string, self.kind == JV_STRING)
LOOK(is_mapping, self.kind == JV_DICT)
LOOK(is_sequence, has_length(self))
LOOK(is_iterable, has_length(self) || self.kind == JV_VIEW || self.kind == JV_ITER || self.kind == JV_LOOP)
LOOK(is_number, jinja_is_number(self))
LOOK(is_integer, self.kind == JV_INT || self.kind == JV_BIG)
LOOK(is_float, self.kind == JV_FLOAT)
LOOK(is_boolean, self.kind == JV_BOOL)
LOOK(is_true, self.kind == JV_BOOL && self.truth)
LOOK(is_false, self.kind == JV_BOOL && !self.truth)
LOOK(is_callable, self.kind == JV_UNDEFINED || self.kind == JV_FUNCTION || self.kind == JV_MACRO ||
                      self.kind == JV_LOOP || self.kind == JV_JOINER)
LOOK(is_escaped, self.kind == JV_STRING && self.string->is_markup)
COMPARE(is_equal, "==")
COMPARE(is_unequal, "!=")
COMPARE(is_greater, ">")
COMPARE(is_greater_or_equal, ">=")
COMPARE(is_less, "<")
COMPARE(is_less_or_equal, "<=")
COMPARE(is_in, "in")

RUN(is_sameas)
{
    (void)raw;
    bool truth = self.kind == given[0].kind;
    if (truth && (self.kind == JV_LIST || self.kind == JV_TUPLE || self.kind >= JV_DICT))
        truth = self.list == given[0].list;
    else if (truth)
        TRY(jinja_equal(env, self, given[0], &truth));
    *out = jinja_bool(truth);
    return LEAT_OK;
}

static leat_status remainder_is(jinja_env *env, jinja_value v, jinja_value divisor, int64_t wanted, jinja_value *out)
{
    jinja_value rest;
    bool truth;
    TRY(jinja_need_defined(env, v));
    TRY(jinja_need_defined(env, divisor));
    if (!jinja_is_number(v) || !jinja_is_number(divisor))
        return RAISE(env, TYPE, "unsupported operand type(s) for %%: '%s' and '%s'", jinja_type_name(v),
                     jinja_type_name(divisor));
    TRY(jinja_arithmetic(env, '%', v, divisor, &rest));
    TRY(jinja_equal(env, rest, jinja_int(wanted), &truth));
    *out = jinja_bool(truth);
    return LEAT_OK;
}

RUN(is_odd) { return (void)given, (void)raw, remainder_is(env, self, jinja_int(2), 1, out); }
RUN(is_even) { return (void)given, (void)raw, remainder_is(env, self, jinja_int(2), 0, out); }
RUN(is_divisible) { return (void)raw, remainder_is(env, self, given[0], 0, out); }

static leat_status all_of_case(jinja_env *env, jinja_value v, jinja_case to, jinja_value *out)
{
    jinja_value text;
    uint64_t next;
    bool has_case = false, is_other = false;
    TRY(jinja_to_string(env, v, &text));
    for (uint64_t at = 0; at < text.string->count; at = next) {
        uint32_t scalar = jinja_char_at(text.string, at, &next);
        bool is_upper = jinja_is_upper(scalar), is_lower = jinja_is_lower(scalar);
        has_case = has_case || (to == JINJA_UPPER ? is_upper : is_lower);
        is_other = is_other || jinja_is_title(scalar) || (to == JINJA_UPPER ? is_lower : is_upper);
    }
    *out = jinja_bool(has_case && !is_other);
    return LEAT_OK;
}

RUN(is_upper) { return (void)given, (void)raw, all_of_case(env, self, JINJA_UPPER, out); }
RUN(is_lower) { return (void)given, (void)raw, all_of_case(env, self, JINJA_LOWER, out); }

RUN(is_filter)
{
    (void)given, (void)raw;
    uint64_t hash;
    TRY(jinja_hash(env, self, &hash));
    *out = jinja_bool(self.kind == JV_STRING && jinja_find_filter(self.string->bytes, self.string->count) != NULL);
    return LEAT_OK;
}

RUN(is_test)
{
    (void)given, (void)raw;
    uint64_t hash;
    TRY(jinja_hash(env, self, &hash));
    *out = jinja_bool(self.kind == JV_STRING && jinja_find_test(self.string->bytes, self.string->count) != NULL);
    return LEAT_OK;
}

const jinja_builtin *jinja_find_test(const char *name, uint64_t bytes)
{
    static const jinja_builtin tests[] = {
        {"defined", "", 0, is_defined},
        {"undefined", "", 0, is_undefined},
        {"none", "", 0, is_none},
        {"string", "", 0, is_string},
        {"mapping", "", 0, is_mapping},
        {"sequence", "", 0, is_sequence},
        {"iterable", "", 0, is_iterable},
        {"number", "", 0, is_number},
        {"integer", "", 0, is_integer},
        {"float", "", 0, is_float},
        {"boolean", "", 0, is_boolean},
        {"true", "", 0, is_true},
        {"false", "", 0, is_false},
        {"callable", "", 0, is_callable},
        {"escaped", "", 0, is_escaped},
        {"odd", "", 0, is_odd},
        {"even", "", 0, is_even},
        {"divisibleby", "num", 1, is_divisible},
        {"upper", "", 0, is_upper},
        {"lower", "", 0, is_lower},
        {"filter", "", 0, is_filter},
        {"test", "", 0, is_test},
        {"sameas", "other", 1, is_sameas},
        {"in", "seq", 1, is_in},
        {"eq", "b", 1, is_equal},
        {"equalto", "b", 1, is_equal},
        {"==", "b", 1, is_equal},
        {"ne", "b", 1, is_unequal},
        {"!=", "b", 1, is_unequal},
        {"gt", "b", 1, is_greater},
        {"greaterthan", "b", 1, is_greater},
        {">", "b", 1, is_greater},
        {"ge", "b", 1, is_greater_or_equal},
        {">=", "b", 1, is_greater_or_equal},
        {"lt", "b", 1, is_less},
        {"lessthan", "b", 1, is_less},
        {"<", "b", 1, is_less},
        {"le", "b", 1, is_less_or_equal},
        {"<=", "b", 1, is_less_or_equal},
    };
    return jinja_find_in(tests, ARRAY_COUNT(tests), name, bytes);
}

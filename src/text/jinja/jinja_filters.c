/* jinja_filters.c - filters on numbers, lists and dictionaries. */
#include "text/jinja/jinja_filters.h"

#include "base/bytes.h"
#include "text/unicode_class.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- attributes and keys ---- */

static leat_status step(jinja_env *env, jinja_value item, const jinja_string *part, jinja_value *out)
{
    jinja_value key = jinja_of_string(part);
    bool is_index = part->count > 0 && part->count < 18;
    for (uint64_t i = 0; i < part->count; i++) is_index = is_index && part->bytes[i] >= '0' && part->bytes[i] <= '9';
    if (is_index) TRY(jinja_int_of_digits(env, part->bytes, part->count, 10, &key));
    return jinja_get_item(env, item, key, out);
}

/* Where a step finds nothing, `otherwise` takes its place, and the next step starts from it. */
static void take_default(jinja_value otherwise, jinja_value *v)
{
    if (v->kind == JV_UNDEFINED && jinja_is_given(otherwise) && otherwise.kind != JV_NONE) *v = otherwise;
}

leat_status jinja_item_attribute(jinja_env *env, jinja_value item, jinja_value path, jinja_value otherwise,
                                 jinja_value *out)
{
    jinja_value part;
    *out = item;
    if (!jinja_is_given(path) || path.kind == JV_NONE) return LEAT_OK;
    if (path.kind != JV_STRING) {
        TRY(jinja_get_item(env, item, path, out));
        take_default(otherwise, out);
        return LEAT_OK;
    }
    for (uint64_t begin = 0, end; begin <= path.string->count; begin = end + 1) {
        const char *dot = memchr(path.string->bytes + begin, '.', path.string->count - begin);
        end = dot != NULL ? (uint64_t)(dot - path.string->bytes) : path.string->count;
        TRY(jinja_substring(env, path.string, begin, end, &part));
        TRY(step(env, *out, part.string, out));
        take_default(otherwise, out);
    }
    return LEAT_OK;
}

leat_status jinja_sort_key(jinja_env *env, jinja_value v, bool is_case_sensitive, jinja_value *out)
{
    *out = v;
    if (v.kind != JV_STRING || is_case_sensitive) return LEAT_OK;
    return jinja_recase(env, v.string, JINJA_ALL_LOWER, out);
}

/* The list of what "a,b" names of the item. */
static leat_status multi_key(jinja_env *env, jinja_value item, jinja_value paths, bool is_case_sensitive,
                             jinja_value *out)
{
    jinja_value path = paths, key;
    *out = (jinja_value){.kind = JV_LIST};
    TRY(jinja_new_list(env, 1, &out->list));
    bool is_text = paths.kind == JV_STRING;
    uint64_t count = is_text ? paths.string->count : 0;
    for (uint64_t begin = 0, end; begin <= count; begin = end + 1) {
        const char *comma = is_text ? memchr(paths.string->bytes + begin, ',', count - begin) : NULL;
        end = comma != NULL ? (uint64_t)(comma - paths.string->bytes) : count;
        if (is_text) TRY(jinja_substring(env, paths.string, begin, end, &path));
        TRY(jinja_item_attribute(env, item, path, (jinja_value){0}, &key));
        TRY(jinja_sort_key(env, key, is_case_sensitive, &key));
        TRY(jinja_push(env, out->list, key));
    }
    return LEAT_OK;
}

/* ---- sorting and grouping ---- */

/* A sorted copy; *out_keys (may be NULL) are the keys in the same order. */
static leat_status sorted(jinja_env *env, jinja_value source, jinja_value paths, bool is_case_sensitive,
                          bool is_reverse, jinja_list **out_keys, jinja_list **out)
{
    jinja_list *keys;
    TRY(jinja_to_list(env, source, out));
    TRY(jinja_new_list(env, (*out)->count, &keys));
    for (uint64_t i = 0; i < (*out)->count; i++) {
        jinja_value key;
        TRY(multi_key(env, (*out)->items[i], paths, is_case_sensitive, &key));
        TRY(jinja_push(env, keys, key));
    }
    if (out_keys != NULL) *out_keys = keys;
    return jinja_sort(env, keys->items, (*out)->items, (*out)->count, is_reverse);
}

RUN(filter_sort)
{
    (void)raw;
    bool is_reverse, is_case_sensitive;
    TRY(jinja_truth(env, given[0], &is_reverse));
    TRY(jinja_truth(env, given[1], &is_case_sensitive));
    *out = (jinja_value){.kind = JV_LIST};
    return sorted(env, self, given[2], is_case_sensitive, is_reverse, NULL, &out->list);
}

RUN(filter_dictsort)
{
    (void)raw;
    bool is_case_sensitive, is_reverse, by_value = false;
    TRY(jinja_need_defined(env, self));
    if (self.kind != JV_DICT) return RAISE(env, TYPE, "dictsort takes a mapping, not %s", jinja_type_name(self));
    TRY(jinja_truth(env, given[0], &is_case_sensitive));
    TRY(jinja_truth(env, given[2], &is_reverse));
    if (jinja_is_given(given[1])) {
        by_value = given[1].kind == JV_STRING && jinja_string_is(given[1].string, "value");
        if (!by_value && !(given[1].kind == JV_STRING && jinja_string_is(given[1].string, "key")))
            return RAISE(env, RUNTIME, "You can only sort by either \"key\" or \"value\"");
    }
    jinja_value items = {.kind = JV_VIEW, .aux = JINJA_ITEMS, .dict = self.dict};
    *out = (jinja_value){.kind = JV_LIST};
    return sorted(env, items, jinja_int(by_value), is_case_sensitive, is_reverse, NULL, &out->list);
}

RUN(filter_groupby)
{
    (void)raw;
    bool is_case_sensitive, is_same = false;
    jinja_list *keys, *items, *group = NULL;
    TRY(jinja_truth(env, given[2], &is_case_sensitive));
    TRY(jinja_to_list(env, self, &items));
    TRY(jinja_new_list(env, 0, &keys));
    for (uint64_t i = 0; i < items->count; i++) {
        jinja_value key;
        TRY(jinja_item_attribute(env, items->items[i], given[0], given[1], &key));
        TRY(jinja_sort_key(env, key, is_case_sensitive, &key));
        TRY(jinja_push(env, keys, key));
    }
    TRY(jinja_sort(env, keys->items, items->items, items->count, false));
    *out = (jinja_value){.kind = JV_LIST};
    TRY(jinja_new_list(env, 0, &out->list));
    for (uint64_t i = 0; i < items->count; i++) {
        if (i > 0) TRY(jinja_equal(env, keys->items[i - 1], keys->items[i], &is_same));
        if (!is_same || i == 0) {
            jinja_value key, pair;
            TRY(jinja_new_list(env, 0, &group));
            TRY(jinja_item_attribute(env, items->items[i], given[0], given[1], &key));
            TRY(jinja_new_pair(env, key, jinja_of_list(group), &pair));
            pair.list->is_group = true;
            TRY(jinja_push(env, out->list, pair));
        }
        TRY(jinja_push(env, group, items->items[i]));
    }
    return LEAT_OK;
}

static leat_status extreme(jinja_env *env, jinja_value self, const jinja_value *given, bool is_max, jinja_value *out)
{
    jinja_list *items;
    jinja_value best = {0}, key;
    bool is_case_sensitive, is_better;
    TRY(jinja_truth(env, given[0], &is_case_sensitive));
    TRY(jinja_to_list(env, self, &items));
    *out = jinja_undefined("No aggregated item, sequence was empty.");
    for (uint64_t i = 0; i < items->count; i++) {
        TRY(jinja_item_attribute(env, items->items[i], given[1], (jinja_value){0}, &key));
        TRY(jinja_sort_key(env, key, is_case_sensitive, &key));
        is_better = i == 0;
        if (i > 0) TRY(jinja_less(env, is_max ? best : key, is_max ? key : best, is_max ? ">" : "<", &is_better));
        if (!is_better) continue;
        best = key;
        *out = items->items[i];
    }
    return LEAT_OK;
}

RUN(filter_min) { return (void)raw, extreme(env, self, given, false, out); }
RUN(filter_max) { return (void)raw, extreme(env, self, given, true, out); }

RUN(filter_sum)
{
    (void)raw;
    jinja_list *items;
    TRY(jinja_to_list(env, self, &items));
    *out = jinja_is_given(given[1]) ? given[1] : jinja_int(0);
    if (out->kind == JV_STRING) return RAISE(env, TYPE, "sum() can't sum strings [use ''.join(seq) instead]");
    for (uint64_t i = 0; i < items->count; i++) {
        jinja_value v;
        TRY(jinja_item_attribute(env, items->items[i], given[0], (jinja_value){0}, &v));
        TRY(jinja_binary(env, '+', *out, v, out));
    }
    return LEAT_OK;
}

/* ---- sequences ---- */

RUN(filter_length)
{
    (void)given, (void)raw;
    uint64_t length;
    TRY(jinja_length(env, self, &length));
    *out = jinja_int((int64_t)length);
    return LEAT_OK;
}

RUN(filter_list)
{
    (void)given, (void)raw;
    *out = (jinja_value){.kind = JV_LIST};
    return jinja_to_list(env, self, &out->list);
}

RUN(filter_first)
{
    (void)given, (void)raw;
    jinja_iter *iter;
    bool has;
    TRY(jinja_iterate(env, self, &iter));
    TRY(jinja_next(env, iter, out, &has));
    if (!has) *out = jinja_undefined("No first item, sequence was empty.");
    return LEAT_OK;
}

RUN(filter_last)
{
    (void)given, (void)raw;
    jinja_list *items;
    if (self.kind == JV_ITER) return RAISE(env, TYPE, "'generator' object is not reversible");
    if (self.kind == JV_UNDEFINED) return *out = jinja_undefined("No last item, sequence was empty."), LEAT_OK;
    TRY(jinja_to_list(env, self, &items));
    *out = items->count > 0 ? items->items[items->count - 1] : jinja_undefined("No last item, sequence was empty.");
    return LEAT_OK;
}

RUN(filter_reverse)
{
    (void)given, (void)raw;
    jinja_list *items;
    jinja_iter *iter;
    if (self.kind == JV_STRING) return jinja_slice(env, self, (jinja_value[3]){{0}, {0}, jinja_int(-1)}, out);
    TRY(jinja_to_list(env, self, &items));
    TRY(jinja_slice(env, jinja_of_list(items), (jinja_value[3]){{0}, {0}, jinja_int(-1)}, out));
    if (self.kind == JV_ITER || self.kind == JV_UNDEFINED) return LEAT_OK;
    TRY(jinja_iterate(env, *out, &iter)); /* Python gives an iterator here */
    *out = jinja_of_iter(iter);
    return LEAT_OK;
}

RUN(filter_default)
{
    (void)raw;
    bool by_truth, truth = true;
    TRY(jinja_truth(env, given[1], &by_truth));
    if (by_truth) TRY(jinja_truth(env, self, &truth));
    *out = self;
    if (self.kind != JV_UNDEFINED && truth) return LEAT_OK;
    *out = given[0];
    return jinja_is_given(*out) ? LEAT_OK : jinja_literal(env, "", out);
}

RUN(filter_attr)
{
    (void)raw;
    jinja_value name;
    TRY(jinja_to_string(env, given[0], &name));
    TRY(jinja_need_defined(env, self));
    if (self.kind == JV_DICT && jinja_find_method(self, name.string->bytes, name.string->count) == NULL) {
        *out = (jinja_value){.kind = JV_UNDEFINED,
                             .aux = JINJA_UNDEFINED_OF + JV_DICT,
                             .count = (uint32_t)name.string->count,
                             .name = name.string->bytes};
        return LEAT_OK;
    }
    return jinja_get_attribute(env, self, name.string, out);
}

/* ---- numbers ---- */

/* The text of a number without the white space around it and the underscores in it; false: no such text. */
static bool number_text(const jinja_string *s, char *out, size_t size)
{
    uint64_t begin = 0, end = s->count, count = 0;
    while (begin < end && unicode_is_python_space((uint8_t)s->bytes[begin])) begin++;
    while (end > begin && unicode_is_python_space((uint8_t)s->bytes[end - 1])) end--;
    for (uint64_t i = begin; i < end; i++) {
        bool is_between = i > begin && i + 1 < end && strchr("0123456789abcdefABCDEFxX", s->bytes[i - 1]) != NULL &&
                          strchr("0123456789abcdefABCDEF", s->bytes[i + 1]) != NULL;
        if (s->bytes[i] == '_' && is_between) continue;
        if (count + 1 >= size || s->bytes[i] == '\0') return false;
        out[count++] = s->bytes[i];
    }
    out[count] = '\0';
    return count > 0;
}

static bool float_of_text(const char *text, double *out)
{
    const char *body = text + (text[0] == '-' || text[0] == '+');
    bool is_word = strcasecmp(body, "inf") == 0 || strcasecmp(body, "infinity") == 0 || strcasecmp(body, "nan") == 0;
    char *end;
    if (!is_word && (strspn(body, "0123456789.eE+-") != strlen(body) || strpbrk(body, "0123456789") == NULL))
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

/* int(text, base): *out stays MISSING when the text is no such number. */
static leat_status int_of_text(jinja_env *env, const char *text, uint32_t base, jinja_value *out)
{
    bool is_negative = text[0] == '-';
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    char mark = digits[0] == '0' ? (char)(digits[1] | 0x20) : '\0';
    uint32_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) digits += 2, base = marked;
    if (base == 0) base = 10;
    for (const char *c = digits; *c != '\0'; c++) {
        int digit = *c >= '0' && *c <= '9'                     ? *c - '0'
                    : (*c | 0x20) >= 'a' && (*c | 0x20) <= 'z' ? (*c | 0x20) - 'a' + 10
                                                               : 99;
        if ((uint32_t)digit >= base) return LEAT_OK;
    }
    if (digits[0] == '\0') return LEAT_OK;
    TRY(jinja_int_of_digits(env, digits, strlen(digits), base, out));
    return is_negative ? jinja_negate(env, *out, out) : LEAT_OK;
}

RUN(filter_int)
{
    (void)raw;
    jinja_value otherwise = jinja_is_given(given[0]) ? given[0] : jinja_int(0);
    int64_t base = 10;
    double real = NAN;
    char text[5000];
    TRY(jinja_need_defined(env, self));
    if (jinja_is_given(given[1])) TRY(jinja_to_index(env, given[1], &base));
    if (self.kind == JV_FLOAT)
        real = self.real;
    else if (jinja_is_number(self)) {
        *out = self.kind == JV_BOOL ? jinja_int(self.truth) : self;
        return LEAT_OK;
    } else if (self.kind == JV_STRING && number_text(self.string, text, sizeof text)) {
        if ((base >= 2 && base <= 36) || base == 0) TRY(int_of_text(env, text, (uint32_t)base, out));
        if (jinja_is_given(*out)) return LEAT_OK;
        if (!float_of_text(text, &real)) real = NAN;
    }
    *out = otherwise;
    if (self.kind == JV_FLOAT && isinf(real)) return jinja_int_of_double(env, real, out); /* which refuses it */
    return isfinite(real) ? jinja_int_of_double(env, real, out) : LEAT_OK;
}

RUN(filter_float)
{
    (void)raw;
    double real;
    char text[5000];
    TRY(jinja_need_defined(env, self));
    *out = jinja_is_given(given[0]) ? given[0] : jinja_float(0);
    if (jinja_is_number(self)) {
        TRY(jinja_to_double(env, self, &real));
        *out = jinja_float(real);
    } else if (self.kind == JV_STRING && number_text(self.string, text, sizeof text) && float_of_text(text, &real))
        *out = jinja_float(real);
    return LEAT_OK;
}

RUN(filter_abs)
{
    (void)given, (void)raw;
    int order = 1;
    if (!jinja_is_number(self)) return RAISE(env, TYPE, "bad operand type for abs(): '%s'", jinja_type_name(self));
    *out = self.kind == JV_BOOL ? jinja_int(self.truth) : self;
    if (self.kind == JV_FLOAT) return *out = jinja_float(fabs(self.real)), LEAT_OK;
    return jinja_number_order(*out, jinja_int(0), &order) && order < 0 ? jinja_negate(env, *out, out) : LEAT_OK;
}

RUN(filter_round)
{
    (void)raw;
    int64_t digits = 0;
    double real, scale;
    TRY(jinja_need_defined(env, self));
    if (!jinja_is_number(self))
        return RAISE(env, TYPE, "type %s doesn't define __round__ method", jinja_type_name(self));
    if (jinja_is_given(given[0])) TRY(jinja_to_index(env, given[0], &digits));
    bool is_common =
        !jinja_is_given(given[1]) || (given[1].kind == JV_STRING && jinja_string_is(given[1].string, "common"));
    if (is_common) return jinja_round(env, self, digits, out);
    bool is_ceil = given[1].kind == JV_STRING && jinja_string_is(given[1].string, "ceil");
    if (!is_ceil && !(given[1].kind == JV_STRING && jinja_string_is(given[1].string, "floor")))
        return RAISE(env, RUNTIME, "method must be common, ceil or floor");
    TRY(jinja_to_double(env, self, &real));
    scale = pow(10, (double)digits);
    if (!isfinite(real * scale)) return RAISE(env, OVERFLOW, "cannot convert float to integer");
    *out = jinja_float(((is_ceil ? ceil(real * scale) : floor(real * scale)) + 0.0) / scale); /* an integer has no -0 */
    return LEAT_OK;
}

const jinja_builtin *jinja_find_filter(const char *name, uint64_t bytes)
{
    static const jinja_builtin filters[] = {
        {"length", "", 0, filter_length},
        {"count", "", 0, filter_length},
        {"list", "", 0, filter_list},
        {"first", "", 0, filter_first},
        {"last", "", 0, filter_last},
        {"reverse", "", 0, filter_reverse},
        {"default", "default_value boolean", 0, filter_default},
        {"d", "default_value boolean", 0, filter_default},
        {"attr", "name", 1, filter_attr},
        {"int", "default base", 0, filter_int},
        {"float", "default", 0, filter_float},
        {"abs", "", 0, filter_abs},
        {"round", "precision method", 0, filter_round},
        {"sort", "reverse case_sensitive attribute", 0, filter_sort},
        {"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
        {"groupby", "attribute default case_sensitive", 1, filter_groupby},
        {"min", "case_sensitive attribute", 0, filter_min},
        {"max", "case_sensitive attribute", 0, filter_max},
        {"sum", "attribute start", 0, filter_sum},
    };
    const jinja_builtin *found = jinja_find_in(filters, ARRAY_COUNT(filters), name, bytes);
    if (found == NULL) found = jinja_find_text_filter(name, bytes);
    return found != NULL ? found : jinja_find_lazy_filter(name, bytes);
}

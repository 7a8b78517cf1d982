/* jinja_compare.c - what values mean to each other: truth, length, equality, order, membership, hashes. */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

const char *jinja_type_name(jinja_value v)
{
    static const char *const names[] = {
        [JV_MISSING] = "missing",   [JV_UNDEFINED] = "Undefined",
        [JV_NONE] = "NoneType",     [JV_BOOL] = "bool",
        [JV_INT] = "int",           [JV_BIG] = "int",
        [JV_FLOAT] = "float",       [JV_STRING] = "str",
        [JV_BYTES] = "bytes",       [JV_LIST] = "list",
        [JV_TUPLE] = "tuple",       [JV_DICT] = "dict",
        [JV_VIEW] = "dict_keys",    [JV_RANGE] = "range",
        [JV_ITER] = "generator",    [JV_NAMESPACE] = "Namespace",
        [JV_FUNCTION] = "function", [JV_MACRO] = "Macro",
        [JV_LOOP] = "LoopContext",  [JV_CYCLER] = "Cycler",
        [JV_JOINER] = "Joiner",
    };
    if (v.kind == JV_VIEW && v.aux != JINJA_KEYS) return v.aux == JINJA_VALUES ? "dict_values" : "dict_items";
    if (v.kind == JV_STRING && v.string->is_markup) return "Markup";
    return names[v.kind];
}

/* The type's name where there is no value any more. */
static const char *name_of_kind(int kind)
{
    return kind == JV_STRING ? "str" : jinja_type_name((jinja_value){.kind = (uint8_t)kind});
}

leat_status jinja_raise_undefined(jinja_env *env, jinja_value v)
{
    int count = v.count > 200 ? 200 : (int)v.count;
    if (v.aux == JINJA_UNDEFINED_NAME) return RAISE(env, UNDEFINED, "'%.*s' is undefined", count, v.name);
    if (v.aux >= JINJA_UNDEFINED_UNSAFE)
        return RAISE(env, SECURITY, "access to attribute '%.*s' of '%s' object is unsafe.", count, v.name,
                     name_of_kind(v.aux - JINJA_UNDEFINED_UNSAFE));
    if (v.aux < JINJA_UNDEFINED_OF) return RAISE(env, UNDEFINED, "%.*s", count, v.name);
    if (v.aux == JINJA_UNDEFINED_OF + JV_NONE)
        return RAISE(env, UNDEFINED, "'None' has no attribute '%.*s'", count, v.name);
    const char *type = name_of_kind(v.aux - JINJA_UNDEFINED_OF);
    return RAISE(env, UNDEFINED, "'%s object' has no attribute '%.*s'", type, count, v.name);
}

leat_status jinja_need_defined(jinja_env *env, jinja_value v)
{
    return v.kind == JV_UNDEFINED ? jinja_raise_undefined(env, v) : LEAT_OK;
}

leat_status jinja_truth(jinja_env *env, jinja_value v, bool *out)
{
    uint64_t length;
    *out = true;
    switch (v.kind) {
    case JV_MISSING:
    case JV_UNDEFINED:
    case JV_NONE: *out = false; break;
    case JV_BOOL: *out = v.truth; break;
    case JV_INT: *out = v.integer != 0; break;
    case JV_FLOAT: *out = v.real != 0; break;
    case JV_STRING:
    case JV_BYTES: *out = v.string->count > 0; break;
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_RANGE:
    case JV_LOOP:
        TRY(jinja_length(env, v, &length));
        *out = length > 0;
        break;
    default: break;
    }
    return LEAT_OK;
}

leat_status jinja_length(jinja_env *env, jinja_value v, uint64_t *out)
{
    switch (v.kind) {
    case JV_UNDEFINED: *out = 0; return LEAT_OK;
    case JV_STRING: *out = jinja_char_count(v.string); return LEAT_OK;
    case JV_BYTES: *out = v.string->count; return LEAT_OK;
    case JV_LIST:
    case JV_TUPLE: *out = v.list->count; return LEAT_OK;
    case JV_DICT:
    case JV_VIEW: *out = v.dict->live; return LEAT_OK;
    case JV_RANGE: *out = jinja_range_count(v.range); return LEAT_OK;
    case JV_LOOP: return jinja_loop_length(env, v.loop, out);
    default: return RAISE(env, TYPE, "object of type '%s' has no len()", jinja_type_name(v));
    }
}

/* ---- equality ---- */

static leat_status equal_lists(jinja_env *env, const jinja_list *a, const jinja_list *b, bool *out)
{
    *out = a->count == b->count;
    TRY(jinja_enter(env));
    for (uint64_t i = 0; *out && i < a->count && i < b->count; i++)
        TRY(jinja_equal(env, a->items[i], b->items[i], out));
    jinja_leave(env);
    return LEAT_OK;
}

static leat_status equal_dicts(jinja_env *env, const jinja_dict *a, const jinja_dict *b, bool *out)
{
    uint64_t at = 0;
    const jinja_entry *entry;
    *out = a->live == b->live;
    TRY(jinja_enter(env));
    while (*out && (entry = jinja_dict_next(a, &at)) != NULL) {
        jinja_value other;
        TRY(jinja_dict_get(env, b, entry->key, &other));
        *out = jinja_is_given(other);
        if (*out) TRY(jinja_equal(env, entry->value, other, out));
    }
    jinja_leave(env);
    return LEAT_OK;
}

static bool equal_ranges(const jinja_range *a, const jinja_range *b)
{
    uint64_t count = jinja_range_count(a);
    return count == jinja_range_count(b) &&
           (count == 0 || (a->start == b->start && (count == 1 || a->step == b->step)));
}

leat_status jinja_equal(jinja_env *env, jinja_value a, jinja_value b, bool *out)
{
    TRY(jinja_charge(env, 1));
    if (jinja_is_number(a) && jinja_is_number(b)) {
        int order;
        *out = jinja_number_order(a, b, &order) && order == 0;
        return LEAT_OK;
    }
    *out = a.kind == b.kind;
    if (!*out) return LEAT_OK;
    switch (a.kind) {
    case JV_UNDEFINED:
    case JV_NONE: return LEAT_OK;
    case JV_STRING:
    case JV_BYTES:
        *out = jinja_same_bytes(a.string, b.string);
        return *out ? jinja_charge(env, a.string->count / 256) : LEAT_OK;
    case JV_LIST:
    case JV_TUPLE: return a.list == b.list ? LEAT_OK : equal_lists(env, a.list, b.list, out);
    case JV_DICT: return a.dict == b.dict ? LEAT_OK : equal_dicts(env, a.dict, b.dict, out);
    case JV_RANGE: *out = equal_ranges(a.range, b.range); return LEAT_OK;
    case JV_FUNCTION:
        *out = a.bound == b.bound || (a.bound->builtin == b.bound->builtin && a.bound->self.kind == JV_MISSING &&
                                      b.bound->self.kind == JV_MISSING);
        return LEAT_OK;
    case JV_VIEW: *out = a.dict == b.dict && a.aux == b.aux; return LEAT_OK;
    default: *out = a.iter == b.iter; return LEAT_OK;
    }
}

/* ---- order ---- */

static leat_status order_fails(jinja_env *env, jinja_value a, jinja_value b, const char *sign)
{
    TRY(jinja_need_defined(env, a));
    TRY(jinja_need_defined(env, b));
    return RAISE(env, TYPE, "'%s' not supported between instances of '%s' and '%s'", sign, jinja_type_name(a),
                 jinja_type_name(b));
}

static int order_strings(const jinja_string *a, const jinja_string *b)
{
    uint64_t common = min_u64(a->count, b->count);
    int found = common == 0 ? 0 : memcmp(a->bytes, b->bytes, common); /* any number; 2 means something else here */
    if (found != 0) return found < 0 ? -1 : 1;
    return a->count < b->count ? -1 : a->count > b->count;
}

/* -1, 0, 1, or 2 when the two are not ordered. */
static leat_status order(jinja_env *env, jinja_value a, jinja_value b, const char *sign, int *out)
{
    TRY(jinja_charge(env, 1));
    *out = 0;
    if (jinja_is_number(a) && jinja_is_number(b)) {
        if (!jinja_number_order(a, b, out)) *out = 2;
        return LEAT_OK;
    }
    if (a.kind == JV_STRING && b.kind == JV_STRING) {
        *out = order_strings(a.string, b.string);
        return LEAT_OK;
    }
    if (a.kind != b.kind || (a.kind != JV_LIST && a.kind != JV_TUPLE)) return order_fails(env, a, b, sign);
    TRY(jinja_enter(env));
    for (uint64_t i = 0; i < a.list->count && i < b.list->count; i++) {
        bool is_same;
        TRY(jinja_equal(env, a.list->items[i], b.list->items[i], &is_same));
        if (is_same) continue;
        TRY(order(env, a.list->items[i], b.list->items[i], sign, out));
        jinja_leave(env);
        return LEAT_OK;
    }
    jinja_leave(env);
    *out = a.list->count < b.list->count ? -1 : a.list->count > b.list->count;
    return LEAT_OK;
}

leat_status jinja_less(jinja_env *env, jinja_value a, jinja_value b, const char *sign, bool *out)
{
    int found;
    TRY(order(env, a, b, sign, &found));
    *out = found < 0;
    return LEAT_OK;
}

leat_status jinja_compare(jinja_env *env, const char *sign, jinja_value a, jinja_value b, bool *out)
{
    if (strcmp(sign, "==") == 0) return jinja_equal(env, a, b, out);
    if (strcmp(sign, "!=") == 0) {
        TRY(jinja_equal(env, a, b, out));
        *out = !*out;
        return LEAT_OK;
    }
    if (strcmp(sign, "in") == 0) return jinja_contains(env, a, b, out);
    if (strcmp(sign, "not in") == 0) {
        TRY(jinja_contains(env, a, b, out));
        *out = !*out;
        return LEAT_OK;
    }
    int found;
    TRY(order(env, a, b, sign, &found));
    bool or_equal = sign[1] == '=';
    *out =
        found != 2 && (sign[0] == '<' ? found < 0 || (or_equal && found == 0) : found > 0 || (or_equal && found == 0));
    return LEAT_OK;
}

leat_status jinja_contains(jinja_env *env, jinja_value item, jinja_value container, bool *out)
{
    jinja_iter *iter;
    jinja_value found;
    bool has;
    if (container.kind == JV_STRING) {
        if (item.kind != JV_STRING)
            return RAISE(env, TYPE, "'in <string>' requires string as left operand, not %s", jinja_type_name(item));
        TRY(jinja_charge(env, container.string->count / 256));
        *out = item.string->count == 0 ||
               memmem(container.string->bytes, container.string->count, item.string->bytes, item.string->count) != NULL;
        return LEAT_OK;
    }
    if (container.kind == JV_DICT || (container.kind == JV_VIEW && container.aux == JINJA_KEYS)) {
        TRY(jinja_dict_get(env, container.dict, item, &found));
        *out = jinja_is_given(found);
        return LEAT_OK;
    }
    if (!jinja_is_number(container) && container.kind != JV_NONE && container.kind != JV_NAMESPACE &&
        container.kind != JV_FUNCTION && container.kind != JV_MACRO) {
        TRY(jinja_iterate(env, container, &iter));
        for (*out = false;;) {
            TRY(jinja_next(env, iter, &found, &has));
            if (!has) return LEAT_OK;
            TRY(jinja_equal(env, found, item, out));
            if (*out) return LEAT_OK;
        }
    }
    return RAISE(env, TYPE, "argument of type '%s' is not iterable", jinja_type_name(container));
}

/* ---- hashes: equal values have equal ones ---- */

static uint64_t hash_number(jinja_value v)
{
    if (v.kind == JV_BIG) return hash_bytes(v.string->bytes, v.string->count, 7);
    double real = v.kind == JV_FLOAT ? v.real : 0;
    if (v.kind == JV_FLOAT && real == floor(real) && fabs(real) < 0x1p62) return hash_u64((uint64_t)(int64_t)real);
    if (v.kind == JV_FLOAT) return hash_bytes(&real, sizeof real, 3);
    return hash_u64((uint64_t)(v.kind == JV_BOOL ? v.truth : v.integer));
}

leat_status jinja_hash(jinja_env *env, jinja_value v, uint64_t *out)
{
    *out = v.kind;
    if (jinja_is_number(v))
        *out = hash_number(v);
    else if (v.kind == JV_STRING || v.kind == JV_BYTES)
        *out = hash_bytes(v.string->bytes, v.string->count, 1);
    else if (v.kind == JV_LIST || v.kind == JV_DICT)
        return RAISE(env, TYPE, "unhashable type: '%s'", jinja_type_name(v));
    else if (v.kind == JV_TUPLE) {
        TRY(jinja_enter(env));
        for (uint64_t i = 0; i < v.list->count; i++) {
            uint64_t part;
            TRY(jinja_charge(env, 1));
            TRY(jinja_hash(env, v.list->items[i], &part));
            *out = hash_u64(*out ^ part) + i;
        }
        jinja_leave(env);
    }
    return LEAT_OK;
}

/* ---- sorting ---- */

typedef struct sorting {
    jinja_env *env;
    bool is_reverse;
} sorting;

/* Merges [begin, middle) and [middle, end); the right one goes first only where it must. */
static leat_status merge(const sorting *s, const jinja_value *from[2], jinja_value *into[2], uint64_t begin,
                         uint64_t middle, uint64_t end)
{
    uint64_t left = begin, right = middle;
    for (uint64_t to = begin; to < end; to++) {
        bool takes_right = left == middle;
        if (!takes_right && right < end) {
            jinja_value a = s->is_reverse ? from[0][left] : from[0][right];
            jinja_value b = s->is_reverse ? from[0][right] : from[0][left];
            TRY(jinja_less(s->env, a, b, "<", &takes_right));
        }
        uint64_t taken = takes_right ? right++ : left++;
        into[0][to] = from[0][taken];
        into[1][to] = from[1][taken];
    }
    return LEAT_OK;
}

leat_status jinja_sort(jinja_env *env, jinja_value *keys, jinja_value *items, uint64_t count, bool is_reverse)
{
    sorting s = {env, is_reverse};
    jinja_value *spare;
    TRY(JINJA_NEW(env, 2 * count, &spare));
    jinja_value *from[2] = {keys, items}, *into[2] = {spare, spare + count};
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t begin = 0; begin < count; begin += 2 * width) {
            uint64_t middle = min_u64(begin + width, count), end = min_u64(begin + 2 * width, count);
            TRY(merge(&s, (const jinja_value **)from, into, begin, middle, end));
        }
        for (int i = 0; i < 2; i++) {
            jinja_value *swap = from[i];
            from[i] = into[i];
            into[i] = swap;
        }
    }
    if (from[1] != items && count > 0) {
        memcpy(keys, from[0], count * sizeof *keys);
        memcpy(items, from[1], count * sizeof *items);
    }
    return LEAT_OK;
}

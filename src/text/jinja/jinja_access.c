/* jinja_access.c - a.b, a['b'], a[1], a[1:2]: attributes and methods, items, slices. */
#include "text/jinja/jinja_value.h"

#include <string.h>

static jinja_value lacks(jinja_value object, const char *name, uint64_t count)
{
    return (jinja_value){.kind = JV_UNDEFINED,
                         .aux = (uint8_t)(JINJA_UNDEFINED_OF + object.kind),
                         .count = (uint32_t)count,
                         .name = name};
}

/* What Python's objects all have and templates must not reach. */
static bool is_internal(const jinja_string *name)
{
    static const char *const names[] = {
        "__class__",        "__doc__",        "__init__",          "__dict__",    "__module__", "__subclasshook__",
        "__getattribute__", "__reduce__",     "__init_subclass__", "__new__",     "__eq__",     "__globals__",
        "__code__",         "__call__",       "__len__",           "__getitem__", "__iter__",   "__mro__",
        "__bases__",        "__subclasses__", "__str__",           "__repr__",    "__hash__",   "__add__",
        "__contains__",     "__dir__",        "__format__",        "__sizeof__"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (jinja_string_is(name, names[i])) return true;
    }
    return false;
}

static jinja_value unsafe(jinja_value object, const jinja_string *name)
{
    jinja_value v = lacks(object, name->bytes, name->count);
    v.aux = (uint8_t)(JINJA_UNDEFINED_UNSAFE + object.kind);
    return v;
}

/* A method that would change what the caller gave: the same value may be shown again, and to others. */
static bool changes_given(jinja_value object, const jinja_string *name)
{
    static const char *const of_list[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    const bool is_list = object.kind == JV_LIST && object.list->is_fixed;
    if (!is_list && (object.kind != JV_DICT || !object.dict->is_fixed)) return false;
    const char *const *names = is_list ? of_list : of_dict;
    const size_t count = is_list ? sizeof of_list / sizeof *of_list : sizeof of_dict / sizeof *of_dict;
    for (size_t i = 0; i < count; i++) {
        if (jinja_string_is(name, names[i])) return true;
    }
    return false;
}

/* The attribute proper; MISSING when there is none. */
static leat_status attribute(jinja_env *env, jinja_value object, const jinja_string *name, jinja_value *out)
{
    *out = (jinja_value){0};
    if ((name->count > 2 && name->bytes[0] == '_' && is_internal(name)) || changes_given(object, name)) {
        *out = unsafe(object, name);
        return LEAT_OK;
    }
    switch (object.kind) {
    case JV_NAMESPACE: *out = jinja_dict_find(object.dict, name->bytes, name->count); return LEAT_OK;
    case JV_LOOP: return jinja_loop_attribute(env, object.loop, name, out);
    case JV_MACRO: return jinja_macro_attribute(env, object.macro, name, out);
    case JV_CYCLER:
        if (!jinja_string_is(name, "current")) break;
        *out = object.turn->items.list->items[object.turn->at % object.turn->items.list->count];
        return LEAT_OK;
    case JV_TUPLE:
        if (!object.list->is_group) break;
        if (jinja_string_is(name, "grouper")) *out = object.list->items[0];
        if (jinja_string_is(name, "list")) *out = object.list->items[1];
        if (jinja_is_given(*out)) return LEAT_OK;
        break;
    case JV_RANGE:
        if (jinja_string_is(name, "start")) *out = jinja_int(object.range->start);
        if (jinja_string_is(name, "stop")) *out = jinja_int(object.range->stop);
        if (jinja_string_is(name, "step")) *out = jinja_int(object.range->step);
        return LEAT_OK;
    default: break;
    }
    if (jinja_is_number(object) && jinja_string_is(name, "real"))
        *out = object.kind == JV_BOOL ? jinja_int(object.truth) : object;
    if (jinja_is_number(object) && jinja_string_is(name, "imag"))
        *out = object.kind == JV_FLOAT ? jinja_float(0) : jinja_int(0);
    if (jinja_is_number(object)) return LEAT_OK;
    const jinja_builtin *method = jinja_find_method(object, name->bytes, name->count);
    return method != NULL ? jinja_bind(env, method, object, out) : LEAT_OK;
}

static bool can_be_key(jinja_value v)
{
    if (v.kind == JV_LIST || v.kind == JV_DICT) return false;
    if (v.kind != JV_TUPLE) return true;
    for (uint64_t i = 0; i < v.list->count; i++) {
        if (v.list->items[i].kind == JV_LIST || v.list->items[i].kind == JV_DICT) return false;
    }
    return true;
}

static bool index_of(jinja_value key, uint64_t count, uint64_t *out)
{
    if (key.kind != JV_INT && key.kind != JV_BOOL) return false;
    int64_t at = key.kind == JV_BOOL ? key.truth : key.integer;
    if (at < 0) at += (int64_t)count;
    *out = (uint64_t)at;
    return at >= 0 && (uint64_t)at < count;
}

static leat_status char_of(jinja_env *env, jinja_string *s, uint64_t index, jinja_value *out)
{
    TRY(jinja_charge(env, s->count / 256));
    uint64_t begin = jinja_char_offset(s, index), end;
    jinja_char_at(s, begin, &end);
    return jinja_substring(env, s, begin, end, out);
}

leat_status jinja_subscript(jinja_env *env, jinja_value object, jinja_value key, jinja_value *out)
{
    uint64_t at;
    *out = (jinja_value){0};
    switch (object.kind) {
    case JV_UNDEFINED: return jinja_raise_undefined(env, object);
    case JV_DICT: return can_be_key(key) ? jinja_dict_get(env, object.dict, key, out) : LEAT_OK;
    case JV_LIST:
    case JV_TUPLE:
        if (index_of(key, object.list->count, &at)) *out = object.list->items[at];
        return LEAT_OK;
    case JV_STRING:
        return index_of(key, jinja_char_count(object.string), &at) ? char_of(env, object.string, at, out) : LEAT_OK;
    case JV_BYTES:
        if (index_of(key, object.string->count, &at)) *out = jinja_int((uint8_t)object.string->bytes[at]);
        return LEAT_OK;
    case JV_RANGE:
        if (index_of(key, jinja_range_count(object.range), &at))
            *out = jinja_int(object.range->start + (int64_t)at * object.range->step);
        return LEAT_OK;
    default: return LEAT_OK;
    }
}

leat_status jinja_get_attribute(jinja_env *env, jinja_value object, const jinja_string *name, jinja_value *out)
{
    TRY(jinja_need_defined(env, object));
    TRY(attribute(env, object, name, out));
    if (jinja_is_given(*out)) return LEAT_OK;
    TRY(jinja_subscript(env, object, jinja_of_string(name), out));
    if (!jinja_is_given(*out)) *out = lacks(object, name->bytes, name->count);
    return LEAT_OK;
}

leat_status jinja_get_item(jinja_env *env, jinja_value object, jinja_value key, jinja_value *out)
{
    TRY(jinja_subscript(env, object, key, out));
    if (jinja_is_given(*out)) return LEAT_OK;
    if (key.kind == JV_STRING) {
        TRY(attribute(env, object, key.string, out));
        if (!jinja_is_given(*out)) *out = lacks(object, key.string->bytes, key.string->count);
    } else
        *out = lacks(object, "element", 7);
    return LEAT_OK;
}

/* ---- slices ---- */

static leat_status read_bound(jinja_env *env, jinja_value v, int64_t missing, int64_t *out)
{
    *out = missing;
    if (v.kind == JV_NONE || v.kind == JV_MISSING) return LEAT_OK;
    if (v.kind == JV_BIG) {
        *out = v.string->bytes[0] == '-' ? INT64_MIN / 2 : INT64_MAX / 2;
        return LEAT_OK;
    }
    if (v.kind != JV_INT && v.kind != JV_BOOL) return RAISE(env, TYPE, "slice indices must be integers or None");
    *out = v.kind == JV_BOOL ? v.truth : v.integer;
    if (*out > INT64_MAX / 2) *out = INT64_MAX / 2;
    if (*out < INT64_MIN / 2) *out = INT64_MIN / 2;
    return LEAT_OK;
}

static int64_t clamp_bound(int64_t at, int64_t count, bool is_backward)
{
    if (at < 0) at += count;
    if (at < 0) return is_backward ? -1 : 0;
    if (at >= count) return is_backward ? count - 1 : count;
    return at;
}

/* Start, step and count as Python's slice.indices gives them. */
static leat_status resolve(jinja_env *env, const jinja_value bounds[3], int64_t length, int64_t *out_start,
                           int64_t *out_step, uint64_t *out_count)
{
    int64_t start, stop, step;
    TRY(read_bound(env, bounds[2], 1, &step));
    if (step == 0) return RAISE(env, VALUE, "slice step cannot be zero");
    bool is_backward = step < 0;
    TRY(read_bound(env, bounds[0], is_backward ? INT64_MAX / 2 : 0, &start));
    TRY(read_bound(env, bounds[1], is_backward ? INT64_MIN / 2 : INT64_MAX / 2, &stop));
    start = clamp_bound(start, length, is_backward);
    stop = clamp_bound(stop, length, is_backward);
    jinja_range r = {start, stop, step};
    *out_start = start;
    *out_step = step;
    *out_count = jinja_range_count(&r);
    return LEAT_OK;
}

static leat_status slice_string(jinja_env *env, jinja_string *s, const jinja_value bounds[3], jinja_value *out)
{
    int64_t start, step;
    uint64_t count;
    TRY(resolve(env, bounds, (int64_t)jinja_char_count(s), &start, &step, &count));
    TRY(jinja_charge(env, s->count / 256));
    if (count == 0) return jinja_substring(env, s, 0, 0, out);
    if (step == 1)
        return jinja_substring(env, s, jinja_char_offset(s, (uint64_t)start),
                               jinja_char_offset(s, (uint64_t)start + count), out);
    uint64_t *offsets, at = 0, chars = jinja_char_count(s);
    TRY(JINJA_NEW(env, chars + 1, &offsets));
    for (uint64_t i = 0; i < chars; i++) {
        offsets[i] = at;
        jinja_char_at(s, at, &at);
    }
    offsets[chars] = s->count;
    jinja_builder b = jinja_build(env);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = (uint64_t)(start + (int64_t)i * step);
        TRY(jinja_append_part(&b, s, offsets[index], offsets[index + 1]));
    }
    TRY(jinja_charge(env, count));
    TRY(jinja_finish(&b, out));
    out->string->is_markup = s->is_markup;
    return LEAT_OK;
}

leat_status jinja_slice(jinja_env *env, jinja_value object, const jinja_value bounds[3], jinja_value *out)
{
    int64_t start, step;
    uint64_t count;
    TRY(jinja_need_defined(env, object));
    if (object.kind == JV_STRING) return slice_string(env, object.string, bounds, out);
    if (object.kind == JV_DICT) return RAISE(env, TYPE, "unhashable type: 'slice'");
    if (object.kind == JV_RANGE) {
        jinja_range *r;
        TRY(resolve(env, bounds, (int64_t)jinja_range_count(object.range), &start, &step, &count));
        TRY(JINJA_NEW(env, 1, &r));
        r->start = object.range->start + start * object.range->step;
        r->step = object.range->step * step;
        r->stop = r->start + (int64_t)count * r->step;
        *out = (jinja_value){.kind = JV_RANGE, .range = r};
        return LEAT_OK;
    }
    if (object.kind != JV_LIST && object.kind != JV_TUPLE)
        return RAISE(env, TYPE, "'%s' object is not subscriptable", jinja_type_name(object));
    TRY(resolve(env, bounds, (int64_t)object.list->count, &start, &step, &count));
    *out = object;
    TRY(jinja_new_list(env, count, &out->list));
    TRY(jinja_charge(env, count));
    for (uint64_t i = 0; i < count; i++) out->list->items[i] = object.list->items[start + (int64_t)i * step];
    out->list->count = count;
    return LEAT_OK;
}

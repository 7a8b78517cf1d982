/* jinja_methods.c - the methods of lists, dictionaries, ranges, macros' helpers; those of texts: jinja_text_methods.c.
 */
#include "text/jinja/jinja_methods.h"

#include "base/bytes.h"

#include <string.h>

/* ---- dict ---- */

static leat_status view(jinja_value self, jinja_view what, jinja_value *out)
{
    *out = (jinja_value){.kind = JV_VIEW, .aux = (uint8_t)what, .dict = self.dict};
    return LEAT_OK;
}

RUN(dict_keys) { return UNUSED_ALL, view(self, JINJA_KEYS, out); }
RUN(dict_values) { return UNUSED_ALL, view(self, JINJA_VALUES, out); }
RUN(dict_items) { return UNUSED_ALL, view(self, JINJA_ITEMS, out); }

RUN(dict_get)
{
    (void)raw;
    TRY(jinja_dict_get(env, self.dict, given[0], out));
    if (!jinja_is_given(*out)) *out = jinja_is_given(given[1]) ? given[1] : jinja_none();
    return LEAT_OK;
}

RUN(dict_pop)
{
    (void)raw;
    TRY(jinja_dict_remove(env, self.dict, given[0], out));
    if (!jinja_is_given(*out)) *out = given[1];
    return jinja_is_given(*out) ? LEAT_OK : RAISE(env, VALUE, "pop: there is no such key");
}

RUN(dict_setdefault)
{
    TRY(dict_get(env, self, (jinja_value[2]){given[0]}, raw, out));
    if (out->kind != JV_NONE) return LEAT_OK;
    *out = jinja_is_given(given[1]) ? given[1] : jinja_none();
    return jinja_dict_set(env, self.dict, given[0], *out);
}

RUN(dict_update)
{
    (void)given;
    *out = jinja_none();
    if (raw->count > 1 || (raw->count == 1 && raw->values[0].kind != JV_DICT))
        return RAISE(env, TYPE, "update takes a mapping");
    if (raw->count == 1 && raw->values[0].dict != self.dict) TRY(jinja_dict_copy(env, raw->values[0].dict, self.dict));
    for (uint32_t i = 0; i < raw->named_count; i++)
        TRY(jinja_dict_set(env, self.dict, jinja_of_string(raw->named[i].name), raw->named[i].value));
    return LEAT_OK;
}

RUN(dict_copy)
{
    (void)given, (void)raw;
    *out = (jinja_value){.kind = JV_DICT};
    TRY(jinja_new_dict(env, &out->dict));
    return jinja_dict_copy(env, self.dict, out->dict);
}

RUN(dict_clear)
{
    UNUSED_ALL;
    jinja_dict_clear(self.dict);
    *out = jinja_none();
    return LEAT_OK;
}

/* ---- list ---- */

RUN(list_append)
{
    (void)raw;
    *out = jinja_none();
    return jinja_push(env, self.list, given[0]);
}

RUN(list_extend)
{
    (void)raw;
    jinja_list *more;
    *out = jinja_none();
    TRY(jinja_to_list(env, given[0], &more));
    for (uint64_t i = 0; i < more->count; i++) TRY(jinja_push(env, self.list, more->items[i]));
    return LEAT_OK;
}

static leat_status place_of(jinja_env *env, const jinja_list *list, jinja_value v, uint64_t begin, uint64_t end,
                            uint64_t *out)
{
    bool is_same = false;
    for (*out = begin; *out < end && *out < list->count; ++*out) {
        TRY(jinja_equal(env, list->items[*out], v, &is_same));
        if (is_same) return LEAT_OK;
    }
    return RAISE(env, VALUE, "the value is not in the list");
}

static void take_out(jinja_list *list, uint64_t at)
{
    memmove(list->items + at, list->items + at + 1, (list->count - at - 1) * sizeof *list->items);
    list->count--;
}

RUN(list_pop)
{
    (void)raw;
    int64_t at = -1;
    if (jinja_is_given(given[0])) TRY(jinja_to_index(env, given[0], &at));
    if (at < 0) at += (int64_t)self.list->count;
    if (at < 0 || (uint64_t)at >= self.list->count) return RAISE(env, VALUE, "pop index out of range");
    *out = self.list->items[at];
    TRY(jinja_charge(env, self.list->count / 64));
    take_out(self.list, (uint64_t)at);
    return LEAT_OK;
}

RUN(list_insert)
{
    (void)raw;
    int64_t at;
    *out = jinja_none();
    TRY(jinja_to_index(env, given[0], &at));
    TRY(jinja_push(env, self.list, given[1]));
    int64_t count = (int64_t)self.list->count - 1;
    if (at < 0) at += count;
    at = at < 0 ? 0 : at > count ? count : at;
    TRY(jinja_charge(env, self.list->count / 64));
    memmove(self.list->items + at + 1, self.list->items + at, (size_t)(count - at) * sizeof *self.list->items);
    self.list->items[at] = given[1];
    return LEAT_OK;
}

RUN(list_remove)
{
    (void)raw;
    uint64_t at;
    *out = jinja_none();
    TRY(place_of(env, self.list, given[0], 0, UINT64_MAX, &at));
    take_out(self.list, at);
    return LEAT_OK;
}

RUN(list_clear)
{
    UNUSED_ALL;
    self.list->count = 0;
    *out = jinja_none();
    return LEAT_OK;
}

RUN(list_reverse)
{
    (void)given, (void)raw;
    *out = jinja_none();
    TRY(jinja_charge(env, self.list->count));
    for (uint64_t i = 0; i < self.list->count / 2; i++) {
        jinja_value swap = self.list->items[i];
        self.list->items[i] = self.list->items[self.list->count - 1 - i];
        self.list->items[self.list->count - 1 - i] = swap;
    }
    return LEAT_OK;
}

RUN(list_sort)
{
    (void)raw;
    bool is_reverse;
    jinja_list *keys;
    *out = jinja_none();
    TRY(jinja_truth(env, given[0], &is_reverse));
    TRY(jinja_to_list(env, self, &keys));
    return jinja_sort(env, keys->items, self.list->items, self.list->count, is_reverse);
}

RUN(list_copy)
{
    (void)given, (void)raw;
    *out = (jinja_value){.kind = JV_LIST};
    return jinja_to_list(env, self, &out->list);
}

/* Counted from the end where it is negative. */
static leat_status read_place(jinja_env *env, const jinja_list *list, jinja_value given, uint64_t missing,
                              uint64_t *out)
{
    int64_t at;
    *out = missing;
    if (!jinja_is_given(given)) return LEAT_OK;
    TRY(jinja_to_index(env, given, &at));
    if (at < 0) at += (int64_t)list->count;
    *out = at < 0 ? 0 : (uint64_t)at;
    return LEAT_OK;
}

RUN(list_index)
{
    (void)raw;
    uint64_t at, begin, end;
    TRY(read_place(env, self.list, given[1], 0, &begin));
    TRY(read_place(env, self.list, given[2], UINT64_MAX, &end));
    TRY(place_of(env, self.list, given[0], begin, end, &at));
    *out = jinja_int((int64_t)at);
    return LEAT_OK;
}

RUN(list_count)
{
    (void)raw;
    int64_t count = 0;
    for (uint64_t i = 0; i < self.list->count; i++) {
        bool is_same;
        TRY(jinja_equal(env, self.list->items[i], given[0], &is_same));
        count += is_same;
    }
    *out = jinja_int(count);
    return LEAT_OK;
}

/* ---- cycler ---- */

RUN(cycler_next)
{
    (void)env, (void)given, (void)raw;
    *out = self.turn->items.list->items[self.turn->at++ % self.turn->items.list->count];
    return LEAT_OK;
}

RUN(cycler_reset)
{
    UNUSED_ALL;
    self.turn->at = 0;
    *out = jinja_none();
    return LEAT_OK;
}

const jinja_builtin *jinja_find_method(jinja_value object, const char *name, uint64_t bytes)
{
    static const jinja_builtin of_dict[] = {
        {"items", "", 0, dict_items},
        {"keys", "", 0, dict_keys},
        {"values", "", 0, dict_values},
        {"get", "key default", 1, dict_get},
        {"pop", "key default", 1, dict_pop},
        {"copy", "", 0, dict_copy},
        {"update", NULL, 0, dict_update},
        {"clear", "", 0, dict_clear},
        {"setdefault", "key default", 1, dict_setdefault},
    };
    static const jinja_builtin of_list[] = {
        {"append", "object", 1, list_append}, {"extend", "iterable", 1, list_extend},
        {"pop", "index", 0, list_pop},        {"insert", "index object", 2, list_insert},
        {"remove", "value", 1, list_remove},  {"clear", "", 0, list_clear},
        {"reverse", "", 0, list_reverse},     {"sort", "reverse", 0, list_sort},
        {"copy", "", 0, list_copy},           {"index", "value start stop", 1, list_index},
        {"count", "value", 1, list_count},
    };
    static const jinja_builtin of_tuple[] = {{"index", "value start stop", 1, list_index},
                                             {"count", "value", 1, list_count}};
    static const jinja_builtin of_cycler[] = {{"next", "", 0, cycler_next}, {"reset", "", 0, cycler_reset}};
    switch (object.kind) {
    case JV_DICT: return jinja_find_in(of_dict, ARRAY_COUNT(of_dict), name, bytes);
    case JV_LIST: return jinja_find_in(of_list, ARRAY_COUNT(of_list), name, bytes);
    case JV_TUPLE: return jinja_find_in(of_tuple, ARRAY_COUNT(of_tuple), name, bytes);
    case JV_CYCLER: return jinja_find_in(of_cycler, ARRAY_COUNT(of_cycler), name, bytes);
    case JV_STRING: return jinja_find_text_method(name, bytes);
    default: return NULL;
    }
}

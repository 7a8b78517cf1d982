/* jinja_lazy_filters.c - map, select, reject and their kin: nothing happens before somebody asks for an item. */
#include "text/jinja/jinja_filters.h"

#include "base/bytes.h"

#include <string.h>

typedef struct lazy {
    jinja_value attribute, otherwise; /* MISSING: none */
    const jinja_builtin *builtin;     /* what is applied; NULL: the item's truth, or the attribute alone */
    jinja_arguments args;
    bool keeps; /* select: items for which it is true; reject: the others */
} lazy;

static leat_status start(jinja_env *env, jinja_iter *iter)
{
    return iter->inner != NULL ? LEAT_OK : jinja_iterate(env, iter->source, &iter->inner);
}

static leat_status next_mapped(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    const lazy *l = iter->state;
    TRY(start(env, iter));
    TRY(jinja_next(env, iter->inner, out, out_has));
    if (!*out_has) return LEAT_OK;
    if (l->builtin != NULL) return jinja_run_builtin(env, l->builtin, *out, &l->args, out);
    return jinja_item_attribute(env, *out, l->attribute, l->otherwise, out);
}

static leat_status next_selected(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    const lazy *l = iter->state;
    TRY(start(env, iter));
    for (;;) {
        bool truth;
        jinja_value v;
        TRY(jinja_next(env, iter->inner, out, out_has));
        if (!*out_has) return LEAT_OK;
        TRY(jinja_item_attribute(env, *out, l->attribute, (jinja_value){0}, &v));
        if (l->builtin != NULL) TRY(jinja_run_builtin(env, l->builtin, v, &l->args, &v));
        TRY(jinja_truth(env, v, &truth));
        if (truth == l->keeps) return LEAT_OK;
    }
}

/* Fails when it is asked, as Jinja2 does. */
static leat_status next_unknown(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    (void)out, (void)out_has;
    return RAISE(env, RUNTIME, "No filter or test named '%s'.", (const char *)iter->state);
}

static leat_status unknown(jinja_env *env, jinja_value name, jinja_value *out)
{
    char *text;
    uint64_t count = name.kind == JV_STRING ? min_u64(name.string->count, 100) : 0;
    TRY(jinja_alloc(env, count + 1, 1, &text));
    if (count > 0) memcpy(text, name.string->bytes, count);
    return jinja_new_iter(env, next_unknown, text, jinja_none(), out);
}

static jinja_value named(const jinja_arguments *raw, const char *name)
{
    for (uint32_t i = 0; i < raw->named_count; i++) {
        if (jinja_string_is(raw->named[i].name, name)) return raw->named[i].value;
    }
    return (jinja_value){0};
}

/* Undefined goes through as empty, whatever is asked of it; so does everything that is false. */
static leat_status is_empty(jinja_env *env, jinja_value v, bool *out)
{
    TRY(jinja_truth(env, v, out));
    *out = !*out;
    return LEAT_OK;
}

RUN(filter_map)
{
    (void)given;
    lazy *l;
    bool empty;
    TRY(JINJA_NEW(env, 1, &l));
    TRY(is_empty(env, self, &empty));
    if (empty) self = (jinja_value){.kind = JV_UNDEFINED};
    if (raw->count == 0) {
        l->attribute = named(raw, "attribute");
        l->otherwise = named(raw, "default");
        if (l->otherwise.kind == JV_NONE) l->otherwise = (jinja_value){0};
        if (!empty && (!jinja_is_given(l->attribute) || raw->named_count > 1u + jinja_is_given(named(raw, "default"))))
            return RAISE(env, RUNTIME, "map requires a filter argument");
        return jinja_new_iter(env, next_mapped, l, self, out);
    }
    const jinja_value name = raw->values[0];
    if (name.kind == JV_STRING) l->builtin = jinja_find_filter(name.string->bytes, name.string->count);
    if (l->builtin == NULL && !empty) return unknown(env, name, out);
    l->args = *raw;
    l->args.values++;
    l->args.count--;
    return jinja_new_iter(env, next_mapped, l, self, out);
}

static leat_status select(jinja_env *env, jinja_value self, const jinja_arguments *raw, bool has_attribute, bool keeps,
                          jinja_value *out)
{
    lazy *l;
    bool empty;
    uint32_t used = has_attribute;
    TRY(JINJA_NEW(env, 1, &l));
    l->keeps = keeps;
    TRY(is_empty(env, self, &empty));
    if (empty) return jinja_new_iter(env, next_selected, l, (jinja_value){.kind = JV_UNDEFINED}, out);
    if (raw->count < used) return RAISE(env, RUNTIME, "selectattr and rejectattr require an attribute");
    if (has_attribute) l->attribute = raw->values[0];
    if (raw->count > used) {
        const jinja_value name = raw->values[used++];
        if (name.kind == JV_STRING) l->builtin = jinja_find_test(name.string->bytes, name.string->count);
        if (l->builtin == NULL) return unknown(env, name, out);
    }
    l->args = *raw;
    l->args.values += used;
    l->args.count -= used;
    return jinja_new_iter(env, next_selected, l, self, out);
}

RUN(filter_select) { return (void)given, select(env, self, raw, false, true, out); }
RUN(filter_reject) { return (void)given, select(env, self, raw, false, false, out); }
RUN(filter_selectattr) { return (void)given, select(env, self, raw, true, true, out); }
RUN(filter_rejectattr) { return (void)given, select(env, self, raw, true, false, out); }

/* ---- filters that need everything, once the first item is asked for ---- */

typedef struct whole {
    leat_status (*make)(jinja_env *env, jinja_value source, const jinja_value *given, jinja_list *out);
    jinja_value given[2];
} whole;

static leat_status next_of_whole(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    const whole *w = iter->state;
    if (iter->inner == NULL) {
        jinja_list *list;
        TRY(jinja_new_list(env, 0, &list));
        TRY(w->make(env, iter->source, w->given, list));
        TRY(jinja_iterate(env, jinja_of_list(list), &iter->inner));
    }
    return jinja_next(env, iter->inner, out, out_has);
}

static leat_status later(jinja_env *env, jinja_value self, const jinja_value *given,
                         leat_status (*make)(jinja_env *, jinja_value, const jinja_value *, jinja_list *),
                         jinja_value *out)
{
    whole *w;
    TRY(JINJA_NEW(env, 1, &w));
    *w = (whole){make, {given[0], given[1]}};
    return jinja_new_iter(env, next_of_whole, w, self, out);
}

static leat_status make_unique(jinja_env *env, jinja_value source, const jinja_value *given, jinja_list *out)
{
    jinja_list *items;
    jinja_dict *seen;
    bool is_case_sensitive;
    TRY(jinja_to_list(env, source, &items));
    TRY(jinja_new_dict(env, &seen));
    TRY(jinja_truth(env, given[0], &is_case_sensitive));
    for (uint64_t i = 0; i < items->count; i++) {
        jinja_value key, found;
        TRY(jinja_item_attribute(env, items->items[i], given[1], (jinja_value){0}, &key));
        TRY(jinja_sort_key(env, key, is_case_sensitive, &key));
        TRY(jinja_dict_get(env, seen, key, &found));
        if (jinja_is_given(found)) continue;
        TRY(jinja_dict_set(env, seen, key, jinja_none()));
        TRY(jinja_push(env, out, items->items[i]));
    }
    return LEAT_OK;
}

static leat_status make_batches(jinja_env *env, jinja_value source, const jinja_value *given, jinja_list *out)
{
    jinja_list *items, *batch = NULL;
    int64_t size;
    TRY(jinja_to_list(env, source, &items));
    TRY(jinja_to_index(env, given[0], &size));
    for (uint64_t i = 0; i < items->count; i++) {
        if (batch == NULL || (int64_t)batch->count == size) {
            TRY(jinja_new_list(env, 0, &batch));
            TRY(jinja_push(env, out, jinja_of_list(batch)));
        }
        TRY(jinja_push(env, batch, items->items[i]));
    }
    if (batch == NULL || !jinja_is_given(given[1]) || given[1].kind == JV_NONE) return LEAT_OK;
    while ((int64_t)batch->count < size) TRY(jinja_push(env, batch, given[1]));
    return LEAT_OK;
}

static leat_status make_slices(jinja_env *env, jinja_value source, const jinja_value *given, jinja_list *out)
{
    jinja_list *items, *slice;
    int64_t count;
    TRY(jinja_to_list(env, source, &items));
    TRY(jinja_to_index(env, given[0], &count));
    if (count == 0) return RAISE(env, ZERO_DIVISION, "integer division or modulo by zero");
    int64_t each = (int64_t)items->count / count, longer = (int64_t)items->count % count, at = 0;
    for (int64_t i = 0; i < count; i++) {
        TRY(jinja_new_list(env, 0, &slice));
        TRY(jinja_push(env, out, jinja_of_list(slice)));
        for (int64_t n = 0; n < each + (i < longer); n++) TRY(jinja_push(env, slice, items->items[at++]));
        bool fills = jinja_is_given(given[1]) && given[1].kind != JV_NONE && i >= longer;
        if (fills) TRY(jinja_push(env, slice, given[1]));
    }
    return LEAT_OK;
}

static leat_status make_items(jinja_env *env, jinja_value source, const jinja_value *given, jinja_list *out)
{
    (void)given;
    uint64_t at = 0;
    const jinja_entry *entry;
    if (source.kind == JV_UNDEFINED) return LEAT_OK;
    if (source.kind != JV_DICT) return RAISE(env, TYPE, "Can only get item pairs from a mapping.");
    while ((entry = jinja_dict_next(source.dict, &at)) != NULL) {
        jinja_value pair;
        TRY(jinja_new_pair(env, entry->key, entry->value, &pair));
        TRY(jinja_push(env, out, pair));
    }
    return LEAT_OK;
}

RUN(filter_unique) { return (void)raw, later(env, self, given, make_unique, out); }
RUN(filter_batch) { return (void)raw, later(env, self, given, make_batches, out); }
RUN(filter_slice) { return (void)raw, later(env, self, given, make_slices, out); }
RUN(filter_items) { return (void)raw, later(env, self, given, make_items, out); }

const jinja_builtin *jinja_find_lazy_filter(const char *name, uint64_t bytes)
{
    static const jinja_builtin filters[] = {
        {"map", NULL, 0, filter_map},
        {"select", NULL, 0, filter_select},
        {"reject", NULL, 0, filter_reject},
        {"selectattr", NULL, 0, filter_selectattr},
        {"rejectattr", NULL, 0, filter_rejectattr},
        {"unique", "case_sensitive attribute", 0, filter_unique},
        {"batch", "linecount fill_with", 1, filter_batch},
        {"slice", "slices fill_with", 1, filter_slice},
        {"items", "", 0, filter_items},
    };
    return jinja_find_in(filters, ARRAY_COUNT(filters), name, bytes);
}

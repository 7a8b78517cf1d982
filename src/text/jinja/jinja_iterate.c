/* jinja_iterate.c - going through lists, texts, dictionaries, ranges and what the lazy filters give. */
#include "text/jinja/jinja_value.h"

static leat_status next_of_list(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    (void)env;
    *out_has = iter->at < iter->source.list->count;
    if (*out_has) *out = iter->source.list->items[iter->at++];
    return LEAT_OK;
}

static leat_status next_of_string(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    jinja_string *s = iter->source.string;
    *out_has = iter->at < s->count;
    if (!*out_has) return LEAT_OK;
    uint64_t begin = iter->at;
    jinja_char_at(s, begin, &iter->at);
    TRY(jinja_substring(env, s, begin, iter->at, out));
    out->string->is_markup = false; /* as Python's */
    return LEAT_OK;
}

static leat_status next_of_dict(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    const jinja_entry *entry = jinja_dict_next(iter->source.dict, &iter->at);
    *out_has = entry != NULL;
    if (entry == NULL) return LEAT_OK;
    if (iter->source.kind == JV_VIEW && iter->source.aux == JINJA_ITEMS)
        return jinja_new_pair(env, entry->key, entry->value, out);
    *out = iter->source.kind == JV_VIEW && iter->source.aux == JINJA_VALUES ? entry->value : entry->key;
    return LEAT_OK;
}

uint64_t jinja_range_count(const jinja_range *r)
{
    if (r->step > 0 ? r->start >= r->stop : r->start <= r->stop) return 0;
    uint64_t span = r->step > 0 ? (uint64_t)r->stop - (uint64_t)r->start : (uint64_t)r->start - (uint64_t)r->stop;
    uint64_t step = r->step > 0 ? (uint64_t)r->step : -(uint64_t)r->step;
    return (span - 1) / step + 1;
}

static leat_status next_of_range(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    (void)env;
    const jinja_range *r = iter->source.range;
    *out_has = iter->at < jinja_range_count(r);
    if (*out_has) *out = jinja_int(r->start + (int64_t)iter->at++ * r->step);
    return LEAT_OK;
}

static leat_status next_of_nothing(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    (void)env, (void)iter, (void)out;
    *out_has = false;
    return LEAT_OK;
}

leat_status jinja_new_iter(jinja_env *env, jinja_next_fn *next, void *state, jinja_value source, jinja_value *out)
{
    jinja_iter *iter;
    TRY(JINJA_NEW(env, 1, &iter));
    *iter = (jinja_iter){.next = next, .state = state, .source = source};
    *out = jinja_of_iter(iter);
    return LEAT_OK;
}

leat_status jinja_iterate(jinja_env *env, jinja_value v, jinja_iter **out)
{
    jinja_next_fn *next;
    jinja_value iter;
    switch (v.kind) {
    case JV_ITER: *out = v.iter; return LEAT_OK;
    case JV_LIST:
    case JV_TUPLE: next = next_of_list; break;
    case JV_STRING: next = next_of_string; break;
    case JV_DICT:
    case JV_VIEW: next = next_of_dict; break;
    case JV_RANGE: next = next_of_range; break;
    case JV_UNDEFINED: next = next_of_nothing; break;
    default: return RAISE(env, TYPE, "'%s' object is not iterable", jinja_type_name(v));
    }
    TRY(jinja_new_iter(env, next, NULL, v, &iter));
    *out = iter.iter;
    return LEAT_OK;
}

leat_status jinja_next(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has)
{
    TRY(jinja_charge(env, 1));
    TRY(jinja_enter(env));
    TRY(iter->next(env, iter, out, out_has));
    jinja_leave(env);
    return LEAT_OK;
}

leat_status jinja_to_list(jinja_env *env, jinja_value v, jinja_list **out)
{
    jinja_iter *iter;
    jinja_value item;
    bool has;
    TRY(jinja_iterate(env, v, &iter));
    TRY(jinja_new_list(env, 0, out));
    for (;;) {
        TRY(jinja_next(env, iter, &item, &has));
        if (!has) return LEAT_OK;
        TRY(jinja_push(env, *out, item));
    }
}

/* jinja_container.c - lists that grow, dictionaries that keep the order of insertion. */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"

#include <string.h>

/* Dictionaries up to this size are searched from front to back. */
enum { SEARCHED_ENTRIES = 8 };

leat_status jinja_new_list(jinja_env *env, uint64_t capacity, jinja_list **out)
{
    jinja_list *list;
    TRY(JINJA_NEW(env, 1, &list));
    if (capacity > 0) TRY(JINJA_NEW(env, capacity, &list->items));
    list->capacity = capacity;
    *out = list;
    return LEAT_OK;
}

leat_status jinja_push(jinja_env *env, jinja_list *list, jinja_value item)
{
    TRY(jinja_charge(env, 1));
    if (list->count == list->capacity) {
        uint64_t capacity = max_u64(4, 2 * list->capacity);
        jinja_value *items;
        TRY(JINJA_NEW(env, capacity, &items));
        if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return LEAT_OK;
}

leat_status jinja_new_pair(jinja_env *env, jinja_value a, jinja_value b, jinja_value *out)
{
    jinja_list *pair;
    TRY(jinja_new_list(env, 2, &pair));
    pair->items[0] = a;
    pair->items[1] = b;
    pair->count = 2;
    *out = jinja_of_tuple(pair);
    return LEAT_OK;
}

leat_status jinja_new_dict(jinja_env *env, jinja_dict **out) { return JINJA_NEW(env, 1, out); }

static leat_status find(jinja_env *env, const jinja_dict *dict, jinja_value key, uint64_t hash, uint32_t *out_entry)
{
    bool is_same;
    *out_entry = UINT32_MAX;
    if (dict->table == NULL) {
        for (uint32_t i = 0; i < dict->used; i++) {
            if (dict->entries[i].key.kind == JV_MISSING) continue;
            TRY(jinja_equal(env, dict->entries[i].key, key, &is_same));
            if (is_same) {
                *out_entry = i;
                return LEAT_OK;
            }
        }
        return LEAT_OK;
    }
    for (uint64_t at = hash;; at++) {
        uint32_t slot = dict->table[at & (dict->table_size - 1)];
        if (slot == 0) return LEAT_OK;
        if (dict->entries[slot - 1].key.kind == JV_MISSING) continue;
        TRY(jinja_charge(env, 1));
        TRY(jinja_equal(env, dict->entries[slot - 1].key, key, &is_same));
        if (is_same) {
            *out_entry = slot - 1;
            return LEAT_OK;
        }
    }
}

static leat_status put_in_table(jinja_env *env, jinja_dict *dict, uint32_t entry)
{
    uint64_t hash;
    TRY(jinja_hash(env, dict->entries[entry].key, &hash));
    while (dict->table[hash & (dict->table_size - 1)] != 0) hash++;
    dict->table[hash & (dict->table_size - 1)] = entry + 1;
    return LEAT_OK;
}

/* Makes room for one more entry; removed ones are dropped on the way. */
static leat_status grow(jinja_env *env, jinja_dict *dict)
{
    if (dict->used < dict->capacity) return LEAT_OK;
    uint32_t capacity = dict->live < 4 ? 8 : 2 * dict->live, used = 0;
    jinja_entry *entries;
    if (dict->live > (1u << 28)) return RAISE(env, LIMIT, "a dictionary of more than 2^28 keys");
    TRY(JINJA_NEW(env, capacity, &entries));
    for (uint32_t i = 0; i < dict->used; i++) {
        if (dict->entries[i].key.kind != JV_MISSING) entries[used++] = dict->entries[i];
    }
    dict->entries = entries;
    dict->used = used;
    dict->capacity = capacity;
    dict->table = NULL;
    if (capacity <= SEARCHED_ENTRIES) return LEAT_OK;
    dict->table_size = 1;
    while (dict->table_size < 2 * capacity) dict->table_size *= 2;
    TRY(JINJA_NEW(env, dict->table_size, &dict->table));
    for (uint32_t i = 0; i < used; i++) TRY(put_in_table(env, dict, i));
    return LEAT_OK;
}

leat_status jinja_dict_set(jinja_env *env, jinja_dict *dict, jinja_value key, jinja_value value)
{
    uint64_t hash;
    uint32_t entry;
    TRY(jinja_charge(env, 1));
    TRY(jinja_hash(env, key, &hash));
    TRY(find(env, dict, key, hash, &entry));
    if (entry != UINT32_MAX) {
        dict->entries[entry].value = value;
        return LEAT_OK;
    }
    TRY(grow(env, dict));
    dict->entries[dict->used++] = (jinja_entry){key, value};
    dict->live++;
    return dict->table != NULL ? put_in_table(env, dict, dict->used - 1) : LEAT_OK;
}

leat_status jinja_dict_get(jinja_env *env, const jinja_dict *dict, jinja_value key, jinja_value *out)
{
    uint64_t hash;
    uint32_t entry;
    *out = (jinja_value){0};
    TRY(jinja_hash(env, key, &hash));
    TRY(find(env, dict, key, hash, &entry));
    if (entry != UINT32_MAX) *out = dict->entries[entry].value;
    return LEAT_OK;
}

leat_status jinja_dict_remove(jinja_env *env, jinja_dict *dict, jinja_value key, jinja_value *out)
{
    uint64_t hash;
    uint32_t entry;
    *out = (jinja_value){0};
    TRY(jinja_hash(env, key, &hash));
    TRY(find(env, dict, key, hash, &entry));
    if (entry == UINT32_MAX) return LEAT_OK;
    *out = dict->entries[entry].value;
    dict->entries[entry] = (jinja_entry){0};
    dict->live--;
    return LEAT_OK;
}

void jinja_dict_clear(jinja_dict *dict) { *dict = (jinja_dict){0}; }

leat_status jinja_dict_copy(jinja_env *env, const jinja_dict *from, jinja_dict *into)
{
    uint64_t at = 0;
    const jinja_entry *entry;
    while ((entry = jinja_dict_next(from, &at)) != NULL) TRY(jinja_dict_set(env, into, entry->key, entry->value));
    return LEAT_OK;
}

jinja_value jinja_dict_find(const jinja_dict *dict, const char *key, uint64_t count)
{
    uint64_t at = 0;
    const jinja_entry *entry;
    while ((entry = jinja_dict_next(dict, &at)) != NULL) {
        if (entry->key.kind == JV_STRING && entry->key.string->count == count &&
            memcmp(entry->key.string->bytes, key, count) == 0)
            return entry->value;
    }
    return (jinja_value){0};
}

const jinja_entry *jinja_dict_next(const jinja_dict *dict, uint64_t *at)
{
    while (*at < dict->used) {
        const jinja_entry *entry = &dict->entries[(*at)++];
        if (entry->key.kind != JV_MISSING) return entry;
    }
    return NULL;
}

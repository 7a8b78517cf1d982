#include "cache/expert_replay.h"

#include "base/bytes.h"
#include "io/storage_null.h"

#include <inttypes.h>

static uint32_t set_max_of(const route_trace *t, uint32_t slot_count)
{
    if (t->has_settings && slot_count == t->slot_count) return t->set_max;
    return expert_cache_set_max(t->layer_count, t->expert_count, t->used_count, slot_count);
}

/* ---- through the cache ---- */

static leat_status visit(expert_cache *cache, uint32_t layer, const uint32_t *experts, uint32_t count, expert_set *set,
                         leat_error *error)
{
    leat_status status = LEAT_OK;
    uint32_t ref_idx;
    TRY(expert_cache_acquire(cache, layer, experts, count, set, error));
    while (status == LEAT_OK && set->handed_out_count < set->count)
        status = expert_cache_next(cache, set, &ref_idx, error);
    expert_cache_release(cache, set);
    return status;
}

static leat_status visit_all(expert_cache *cache, const route_trace *t, uint32_t set_max, expert_set *set,
                             leat_error *error)
{
    for (uint64_t i = 0; i < t->list_count; i++) {
        const route_list *list = &t->lists[i];
        for (uint32_t done = 0; done < list->count; done += set_max)
            TRY(visit(cache, list->layer, t->ids + list->begin + done, (uint32_t)min_u64(list->count - done, set_max),
                      set, error));
    }
    return LEAT_OK;
}

leat_status expert_replay(mem *ledger, const route_trace *t, uint32_t slot_count, cache_policy policy,
                          replay_counts *out_counts, leat_error *error)
{
    static const file no_file = {.fd = -1, .offset_align = 1, .memory_align = 1, .bytes = 1};
    static const char *const name = "nothing";
    static const file_set files = {&no_file, &name, 1};
    static const extent part = {0, 0, 1};
    const uint64_t key_count = (uint64_t)t->layer_count * t->expert_count;
    leat_status status;
    expert_record *records = NULL;
    expert_set *set = NULL;
    storage *reads = NULL;
    expert_cache *cache = NULL;

    TRY_OR(done, MEM_NEW(ledger, META, key_count, &records, error));
    TRY_OR(done, MEM_NEW(ledger, META, 1, &set, error));
    for (uint64_t key = 0; key < key_count; key++) records[key] = (expert_record){&part, 1};
    const expert_cache_config config = {.layer_count = t->layer_count,
                                        .expert_count = t->expert_count,
                                        .records = records,
                                        .slot_count = slot_count,
                                        .set_max = set_max_of(t, slot_count),
                                        .policy = policy};
    TRY_OR(done, storage_null_open(ledger, EXPERT_SET_MAX, &reads, error));
    TRY_OR(done, expert_cache_open(ledger, &config, &files, reads, &cache, error));
    TRY_OR(done, visit_all(cache, t, config.set_max, set, error));
    const expert_cache_stats stats = expert_cache_stats_get(cache);
    *out_counts = (replay_counts){stats.hits, stats.misses, stats.evictions};
done:
    expert_cache_close(&cache);
    if (reads) reads->ops->close(&reads);
    mem_free(ledger, set);
    mem_free(ledger, records);
    return status;
}

/* ---- Belady ---- */

#define NEVER UINT64_MAX

/* When a record is wanted next, counted in sets. Entries that are no longer true stay in the heap until they come up.
 */
typedef struct wanted {
    uint64_t next;
    uint32_t key;
} wanted;

typedef struct oracle {
    wanted *heap; /* (id_count), the one wanted last on top */
    uint64_t heap_count;
    uint64_t *next_of_id;  /* (id_count): the set that names the same key again */
    uint64_t *next_of_key; /* (key_count): of keys in the cache; 0 when not in it */
    uint32_t slot_count, used_count;
    replay_counts counts;
} oracle;

static bool comes_before(const wanted *a, const wanted *b)
{
    return a->next != b->next ? a->next > b->next : a->key < b->key;
}

static void heap_push(oracle *o, wanted entry)
{
    uint64_t at = o->heap_count++;
    for (; at > 0 && comes_before(&entry, &o->heap[(at - 1) / 2]); at = (at - 1) / 2)
        o->heap[at] = o->heap[(at - 1) / 2];
    o->heap[at] = entry;
}

static wanted heap_pop(oracle *o)
{
    wanted top = o->heap[0], last = o->heap[--o->heap_count];
    uint64_t at = 0;
    for (;;) {
        uint64_t child = at * 2 + 1;
        if (child >= o->heap_count) break;
        if (child + 1 < o->heap_count && comes_before(&o->heap[child + 1], &o->heap[child])) child++;
        if (!comes_before(&o->heap[child], &last)) break;
        o->heap[at] = o->heap[child];
        at = child;
    }
    o->heap[at] = last;
    return top;
}

/* What the running set names is wanted now, before all others, so it is never the one. */
static void evict_last_wanted(oracle *o)
{
    for (;;) {
        wanted top = heap_pop(o);
        if (o->next_of_key[top.key] != top.next) continue;
        o->next_of_key[top.key] = 0;
        o->used_count--;
        o->counts.evictions++;
        return;
    }
}

static void visit_set(oracle *o, uint32_t first_key, const uint32_t *ids, const uint64_t *next_of_id, uint32_t count)
{
    uint32_t absent_count = 0;
    for (uint32_t i = 0; i < count; i++) absent_count += o->next_of_key[first_key + ids[i]] == 0;
    o->counts.hits += count - absent_count;
    o->counts.misses += absent_count;
    o->used_count += absent_count;
    while (o->used_count > o->slot_count) evict_last_wanted(o);
    for (uint32_t i = 0; i < count; i++) {
        o->next_of_key[first_key + ids[i]] = next_of_id[i];
        heap_push(o, (wanted){next_of_id[i], first_key + ids[i]});
    }
}

/* Walks the sets, backwards to learn the future or forwards to live it. Sets are numbered from 1. */
static void walk(oracle *o, const route_trace *t, uint32_t set_max, uint64_t *last_seen)
{
    uint64_t set_count = 0;
    for (uint64_t i = 0; i < t->list_count; i++) set_count += (t->lists[i].count + set_max - 1) / set_max;
    for (uint64_t i = t->list_count, later = set_count; i-- > 0;) {
        const route_list *list = &t->lists[i];
        uint64_t first = later - (list->count + set_max - 1) / set_max;
        for (uint32_t n = 0; n < list->count; n++) {
            uint64_t *seen = &last_seen[(uint64_t)list->layer * t->expert_count + t->ids[list->begin + n]];
            o->next_of_id[list->begin + n] = *seen ? *seen : NEVER;
            *seen = first + n / set_max + 1;
        }
        later = first;
    }
    for (uint64_t i = 0; i < t->list_count; i++) {
        const route_list *list = &t->lists[i];
        for (uint32_t n = 0; n < list->count; n += set_max)
            visit_set(o, list->layer * t->expert_count, t->ids + list->begin + n, o->next_of_id + list->begin + n,
                      (uint32_t)min_u64(list->count - n, set_max));
    }
}

leat_status expert_replay_belady(mem *ledger, const route_trace *t, uint32_t slot_count, replay_counts *out_counts,
                                 leat_error *error)
{
    const uint64_t key_count = (uint64_t)t->layer_count * t->expert_count;
    const uint32_t set_max = set_max_of(t, slot_count);
    oracle o = {.slot_count = slot_count};
    uint64_t *last_seen = NULL;
    leat_status status;

    if (slot_count < set_max)
        return FAIL(error, BUDGET, "room for %" PRIu32 " experts, but a layer needs %" PRIu32 " at once", slot_count,
                    set_max);
    TRY_OR(done, MEM_NEW(ledger, META, t->id_count, &o.heap, error));
    TRY_OR(done, MEM_NEW(ledger, META, t->id_count, &o.next_of_id, error));
    TRY_OR(done, MEM_NEW(ledger, META, key_count, &o.next_of_key, error));
    TRY_OR(done, MEM_NEW(ledger, META, key_count, &last_seen, error));
    walk(&o, t, set_max, last_seen);
    *out_counts = o.counts;
done:
    mem_free(ledger, last_seen);
    mem_free(ledger, o.next_of_key);
    mem_free(ledger, o.next_of_id);
    mem_free(ledger, o.heap);
    return status;
}

#include "cache/expert_replay.h"

#include "base/bytes.h"
#include "cache/expert_classes.h"
#include "io/storage_null.h"

#include <inttypes.h>

/* A step of one row asks for a set at a time; a trace of another origin may have longer lists. */
static uint32_t set_max_of(const route_trace *t) { return t->has_settings ? t->set_max : t->used_count; }

/* ---- through the cache ---- */

typedef struct visitor {
    expert_cache *cache;
    const route_trace *trace;
    bool with_ahead;
    uint32_t set_max;
    expert_set *set;
} visitor;

/* What was read ahead while list `i` was held, for the list after it. */
static void read_ahead(const visitor *v, uint64_t i)
{
    const route_list *next = &v->trace->lists[i + 1];
    if (!v->with_ahead || i + 1 == v->trace->list_count || next->ahead_count == 0) return;
    (void)expert_cache_read_ahead(v->cache, next->layer, v->trace->ahead + next->ahead_begin, next->ahead_count,
                                  AHEAD_MAX);
}

static leat_status visit_sweep(const visitor *v, uint64_t i, leat_error *error)
{
    const route_list *list = &v->trace->lists[i];
    leat_status status = LEAT_OK;
    const expert_ref *ref;
    expert_sweep sweep;
    expert_cache_sweep_begin(v->cache, list->layer, v->trace->ids + list->begin, v->trace->id_rows + list->begin,
                             list->count, list->row_count, &sweep);
    for (uint32_t done = 0; done < list->count && status == LEAT_OK; done++) {
        status = expert_cache_sweep_next(v->cache, &sweep, &ref, error);
        if (expert_sweep_is_ending(&sweep)) read_ahead(v, i);
    }
    expert_cache_sweep_end(v->cache, &sweep);
    return status;
}

static leat_status visit_set(const visitor *v, uint64_t i, uint32_t begin, uint32_t count, leat_error *error)
{
    const route_list *list = &v->trace->lists[i];
    leat_status status = LEAT_OK;
    uint32_t ref_idx;
    TRY(expert_cache_acquire(v->cache, list->layer, v->trace->ids + list->begin + begin, count, v->set, error));
    while (status == LEAT_OK && v->set->handed_out_count < v->set->count)
        status = expert_cache_next(v->cache, v->set, &ref_idx, error);
    if (begin + count == list->count) read_ahead(v, i);
    expert_cache_release(v->cache, v->set);
    return status;
}

static leat_status visit_all(const visitor *v, leat_error *error)
{
    for (uint64_t i = 0; i < v->trace->list_count; i++) {
        const uint32_t count = v->trace->lists[i].count;
        if (v->trace->lists[i].row_count > 1) {
            TRY(visit_sweep(v, i, error));
            continue;
        }
        for (uint32_t done = 0; done < count; done += v->set_max)
            TRY(visit_set(v, i, done, (uint32_t)min_u64(count - done, v->set_max), error));
    }
    return LEAT_OK;
}

/* Records of one size for all, or of sizes that make the same classes of layers as those that the trace tells of. */
static void make_records(const route_trace *t, expert_record *out)
{
    static const extent parts[EXPERT_CLASSES_MAX] = {{0, 0, 32}, {0, 0, 16}, {0, 0, 8},
                                                     {0, 0, 4},  {0, 0, 2},  {0, 0, 1}};
    for (uint32_t layer = 0; layer < t->layer_count; layer++)
        for (uint32_t e = 0; e < t->expert_count; e++)
            out[(uint64_t)layer * t->expert_count + e] =
                (expert_record){&parts[t->layer_classes ? t->layer_classes[layer] : 0], 1};
}

static expert_cache_config config_of(const route_trace *t, const expert_record *records, uint32_t slot_count,
                                     cache_policy policy)
{
    return (expert_cache_config){.layer_count = t->layer_count,
                                 .expert_count = t->expert_count,
                                 .records = records,
                                 .slot_count = slot_count,
                                 .set_max = set_max_of(t),
                                 .policy = policy};
}

leat_status expert_replay(mem *ledger, const route_trace *t, uint32_t slot_count, cache_policy policy, bool with_ahead,
                          replay_counts *out_counts, leat_error *error)
{
    static const file no_file = {.fd = -1, .offset_align = 1, .memory_align = 1, .bytes = 64};
    static const char *const name = "nothing";
    static const file_set files = {&no_file, &name, 1};
    const uint64_t key_count = (uint64_t)t->layer_count * t->expert_count;
    leat_status status;
    expert_record *records = NULL;
    expert_set *set = NULL;
    storage *reads = NULL;
    expert_cache *cache = NULL;

    TRY_OR(done, MEM_NEW(ledger, META, key_count, &records, error));
    TRY_OR(done, MEM_NEW(ledger, META, 1, &set, error));
    make_records(t, records);
    const expert_cache_config config = config_of(t, records, slot_count, policy);
    TRY_OR(done, storage_null_open(ledger, EXPERT_SET_MAX, &reads, error));
    TRY_OR(done, expert_cache_open(ledger, &config, &files, reads, &cache, error));
    const visitor v = {cache, t, with_ahead, config.set_max, set};
    TRY_OR(done, visit_all(&v, error));
    expert_cache_settle(cache);
    const expert_cache_stats stats = expert_cache_stats_get(cache);
    *out_counts = (replay_counts){stats.hits, stats.misses, stats.evictions, stats.ahead_used, stats.ahead_wasted};
done:
    expert_cache_close(&cache);
    if (reads) reads->ops->close(&reads);
    mem_free(ledger, set);
    mem_free(ledger, records);
    return status;
}

/* Less than that is chance on a few hundred tokens. */
enum { CLEAR_GAIN_OF_1000 = 3 };

leat_status expert_replay_choose(mem *ledger, const route_trace *t, uint32_t slot_count, cache_policy *out_policy,
                                 leat_error *error)
{
    replay_counts usual, other;
    cache_policy best = (cache_policy)CACHE_POLICY_AUTO;

    TRY(expert_replay(ledger, t, slot_count, best, true, &usual, error));
    uint64_t most = usual.hits + (usual.hits + usual.misses) * CLEAR_GAIN_OF_1000 / 1000;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        if (policy == CACHE_POLICY_AUTO) continue;
        TRY(expert_replay(ledger, t, slot_count, (cache_policy)policy, true, &other, error));
        if (other.hits <= most) continue;
        most = other.hits;
        best = (cache_policy)policy;
    }
    *out_policy = best;
    return LEAT_OK;
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
    const expert_cache_config *config;
    const expert_classes *classes;
    uint32_t class_idx; /* whose layers are looked at */
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

static void foresee_set(oracle *o, uint32_t first_key, const uint32_t *ids, const uint64_t *next_of_id, uint32_t count)
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

/* What is asked for at once: a sweep goes one by one. */
static uint32_t piece_max(const route_list *list, uint32_t set_max) { return list->row_count > 1 ? 1 : set_max; }

/* Walks the sets backwards to learn the future. Sets are numbered from 1. */
static void foresee_all(oracle *o, const route_trace *t, uint32_t set_max, uint64_t *last_seen)
{
    uint64_t set_count = 0;
    for (uint64_t i = 0; i < t->list_count; i++)
        set_count += div_up(t->lists[i].count, piece_max(&t->lists[i], set_max));
    for (uint64_t i = t->list_count, later = set_count; i-- > 0;) {
        const route_list *list = &t->lists[i];
        const uint32_t most = piece_max(list, set_max);
        uint64_t first = later - div_up(list->count, most);
        for (uint32_t n = 0; n < list->count; n++) {
            uint64_t *seen = &last_seen[(uint64_t)list->layer * t->expert_count + t->ids[list->begin + n]];
            o->next_of_id[list->begin + n] = *seen ? *seen : NEVER;
            *seen = first + n / most + 1;
        }
        later = first;
    }
}

/* Walks the sets of a class's layers. */
static void live_through(oracle *o, const route_trace *t, uint32_t set_max)
{
    for (uint64_t i = 0; i < t->list_count; i++) {
        const route_list *list = &t->lists[i];
        const uint32_t most = piece_max(list, set_max);
        if (expert_classes_of_layer(o->classes, o->config, list->layer) != o->class_idx) continue;
        for (uint32_t n = 0; n < list->count; n += most)
            foresee_set(o, list->layer * t->expert_count, t->ids + list->begin + n, o->next_of_id + list->begin + n,
                        (uint32_t)min_u64(list->count - n, most));
    }
}

leat_status expert_replay_belady(mem *ledger, const route_trace *t, uint32_t slot_count, replay_counts *out_counts,
                                 leat_error *error)
{
    const uint64_t key_count = (uint64_t)t->layer_count * t->expert_count;
    const uint32_t set_max = set_max_of(t);
    oracle o = {0};
    uint64_t *last_seen = NULL;
    expert_record *records = NULL;
    expert_classes classes;
    uint32_t slot_counts[EXPERT_CLASSES_MAX];
    leat_status status;

    if (slot_count < set_max)
        return FAIL(error, BUDGET, "room for %" PRIu32 " experts, but a layer needs %" PRIu32 " at once", slot_count,
                    set_max);
    TRY_OR(done, MEM_NEW(ledger, META, t->id_count, &o.heap, error));
    TRY_OR(done, MEM_NEW(ledger, META, t->id_count, &o.next_of_id, error));
    TRY_OR(done, MEM_NEW(ledger, META, key_count, &o.next_of_key, error));
    TRY_OR(done, MEM_NEW(ledger, META, key_count, &last_seen, error));
    TRY_OR(done, MEM_NEW(ledger, META, key_count, &records, error));
    make_records(t, records);
    const expert_cache_config config = config_of(t, records, slot_count, CACHE_LRU);
    expert_classes_find(&config, &classes);
    expert_classes_divide(&classes, slot_count, slot_counts);
    o.config = &config;
    o.classes = &classes;
    foresee_all(&o, t, set_max, last_seen);
    for (; o.class_idx < classes.count; o.class_idx++) {
        o.slot_count = slot_counts[o.class_idx];
        o.used_count = 0;
        o.heap_count = 0;
        live_through(&o, t, set_max);
    }
    *out_counts = o.counts;
done:
    mem_free(ledger, records);
    mem_free(ledger, last_seen);
    mem_free(ledger, o.next_of_key);
    mem_free(ledger, o.next_of_id);
    mem_free(ledger, o.heap);
    return status;
}

/*
 * expert_cache.c - sets of records: acquired, handed out, released; opening and closing.
 *
 * What is worth knowing before changing it:
 *
 * The set, not the record, is the unit of pinning. A layer computes with all of its routed experts, so a record taken
 * alone is of no use, and two holders that took records one by one could each wait for the other's last slot. acquire
 * therefore counts first and changes the table only when the whole set will fit.
 *
 * Nothing depends on which slot holds a record nor, as long as sets are handed out completely before they are released,
 * on the order in which reads come back: the same acquires give the same hits, misses and evictions on every machine. A
 * replay can check that.
 *
 * The other files of the cache: see expert_table.h.
 */
#include "cache/expert_cache.h"

#include "base/bytes.h"
#include "cache/expert_table.h"
#include "cache/record_layout.h"

#include <inttypes.h>
#include <string.h>

enum { BLOCK_ALIGN_MIN = 4096, TABLE_ALIGN = 64 };

/* ---- sizes ---- */

static uint64_t block_align(const file_set *files)
{
    uint64_t align = BLOCK_ALIGN_MIN;
    for (uint32_t i = 0; i < files->count; i++) align = max_u64(align, files->files[i].memory_align);
    return align;
}

/* Slots of direct files begin on pages, so that a window is as few pieces as possible for the device. */
static uint64_t slot_align(const file_set *files)
{
    for (uint32_t i = 0; i < files->count; i++)
        if (files->files[i].is_direct) return block_align(files);
    return RECORD_PART_ALIGN;
}

/* The slots of each class. */
typedef struct class_sizes {
    expert_classes division;
    uint32_t slot_counts[EXPERT_CLASSES_MAX];
    uint64_t slot_bytes[EXPERT_CLASSES_MAX]; /* UINT64_MAX when absurd */
} class_sizes;

static void find_sizes(const expert_cache_config *config, const file_set *files, class_sizes *out)
{
    const uint64_t align = slot_align(files);
    *out = (class_sizes){0};
    expert_classes_find(config, &out->division);
    if (config->layer_count > 0) expert_classes_divide(&out->division, config->slot_count, out->slot_counts);
    for (uint32_t layer = 0; layer < config->layer_count; layer++) {
        uint64_t *most_bytes = &out->slot_bytes[expert_classes_of_layer(&out->division, config, layer)];
        for (uint32_t e = 0; e < config->expert_count; e++) {
            record_layout layout;
            record_lay_out(&config->records[(uint64_t)layer * config->expert_count + e], files, &layout);
            *most_bytes = max_u64(*most_bytes, layout.bytes);
        }
    }
    for (uint32_t i = 0; i < out->division.count; i++)
        out->slot_bytes[i] = out->slot_bytes[i] > UINT64_MAX - align ? UINT64_MAX : round_up(out->slot_bytes[i], align);
}

uint64_t expert_cache_slot_bytes(const expert_cache_config *config, const file_set *files)
{
    class_sizes sizes;
    uint64_t most_bytes = 0;
    find_sizes(config, files, &sizes);
    for (uint32_t i = 0; i < sizes.division.count; i++) most_bytes = max_u64(most_bytes, sizes.slot_bytes[i]);
    return most_bytes;
}

/* The table is one allocation: the cache itself, its classes, its slots, the layers' lists, the keys, their history. */
typedef struct table_layout {
    uint64_t classes_offset, slots_offset, layers_offset, keys_offset, history_offset, bytes;
} table_layout;

static table_layout lay_out_table(const expert_cache_config *config, uint32_t class_count)
{
    table_layout t;
    t.classes_offset = round_up(sizeof(expert_cache), 64);
    t.slots_offset = round_up(t.classes_offset + class_count * sizeof(slot_class), 64);
    t.layers_offset = t.slots_offset + (uint64_t)config->slot_count * sizeof(slot);
    t.keys_offset = t.layers_offset + (uint64_t)config->layer_count * sizeof(layer_table);
    uint64_t keys_bytes = (uint64_t)config->layer_count * config->expert_count * sizeof(uint32_t);
    t.history_offset = t.keys_offset + keys_bytes;
    t.bytes = t.history_offset + keys_bytes; /* whatever the policy, so that a floor does not depend on it */
    return t;
}

uint64_t expert_cache_bytes(const expert_cache_config *config, const file_set *files)
{
    class_sizes sizes;
    find_sizes(config, files, &sizes);
    uint64_t sum = mem_block_bytes(lay_out_table(config, sizes.division.count).bytes, TABLE_ALIGN);
    for (uint32_t i = 0; i < sizes.division.count; i++) {
        uint64_t bytes;
        if (!size_mul(sizes.slot_counts[i], sizes.slot_bytes[i], &bytes)) return UINT64_MAX;
        if (!size_add(sum, mem_block_bytes(bytes, block_align(files)), &sum)) return UINT64_MAX;
    }
    return sum;
}

/* ---- open and close ---- */

static leat_status check_config(const expert_cache_config *config, leat_error *error)
{
    uint64_t key_count = (uint64_t)config->layer_count * config->expert_count;
    if ((unsigned)config->policy >= CACHE_POLICY_COUNT)
        return FAIL(error, USAGE, "there is no cache policy %d", (int)config->policy);
    if (config->set_max < 1 || config->set_max > EXPERT_SET_MAX)
        return FAIL(error, USAGE, "an expert cache for sets of %" PRIu32 " experts; 1 to %d are possible",
                    config->set_max, EXPERT_SET_MAX);
    if (config->slot_count < config->set_max)
        return FAIL(error, BUDGET,
                    "the expert cache has room for %" PRIu32 " experts, but a layer needs %" PRIu32 " at once",
                    config->slot_count, config->set_max);
    if (config->slot_count == NONE || key_count == 0 || key_count >= NONE)
        return FAIL(error, USAGE, "an expert cache of %" PRIu32 " slots for %" PRIu32 " layers of %" PRIu32 " experts",
                    config->slot_count, config->layer_count, config->expert_count);
    for (uint32_t key = 0; key < key_count; key++)
        if (config->records[key].part_count < 1 || config->records[key].part_count > EXPERT_PARTS_MAX)
            return FAIL(error, MODEL,
                        "layer %" PRIu32 ", expert %" PRIu32 " has %" PRIu32 " parts; 1 to %d are possible",
                        key / config->expert_count, key % config->expert_count, config->records[key].part_count,
                        EXPERT_PARTS_MAX);
    return LEAT_OK;
}

static void open_slots(expert_cache *cache, const slot_class *c)
{
    const uint32_t end = c->first_slot + c->slot_max;
    for (uint32_t i = c->first_slot; i < end; i++)
        cache->slots[i] = (slot){.key = NONE,
                                 .state = SLOT_EMPTY,
                                 .failed_part = PART_NONE,
                                 .older_idx = NONE,
                                 .younger_idx = i + 1 < end ? i + 1 : NONE};
}

static void open_layers(expert_cache *cache)
{
    const expert_cache_config *config = &cache->config;
    for (uint32_t i = 0; i < config->layer_count; i++)
        cache->layers[i] =
            (layer_table){{{NONE, NONE, 0}, {NONE, NONE, 0}}, 1, expert_classes_of_layer(&cache->division, config, i)};
    for (uint32_t i = 0; i < config->layer_count * config->expert_count; i++) cache->slot_of_key[i] = NONE;
}

/* Each class takes its block. */
static leat_status open_classes(expert_cache *cache, const class_sizes *sizes, leat_error *error)
{
    uint32_t first_slot = 0;
    for (uint32_t i = 0; i < sizes->division.count; i++) {
        slot_class *c = &cache->classes[i];
        *c = (slot_class){.first_slot = first_slot,
                          .slot_max = sizes->slot_counts[i],
                          .slot_count = sizes->slot_counts[i],
                          .layer_count = sizes->division.layer_counts[i],
                          .slot_bytes = sizes->slot_bytes[i],
                          .first_free_idx = first_slot};
        TRY(mem_alloc(cache->ledger, MEM_EXPERTS, c->slot_max, c->slot_bytes, block_align(cache->files),
                      "slots of the expert cache", (void **)&c->block, error));
        policy_set_shares(cache, c, c->slot_count);
        open_slots(cache, c);
        first_slot += c->slot_max;
    }
    return LEAT_OK;
}

static void free_all(expert_cache *cache)
{
    mem *ledger = cache->ledger;
    for (uint32_t i = 0; i < cache->division.count; i++) mem_free(ledger, cache->classes[i].block);
    mem_free(ledger, cache); /* the table */
}

leat_status expert_cache_open(mem *ledger, const expert_cache_config *config, const file_set *files, storage *reads,
                              expert_cache **out_cache, leat_error *error)
{
    class_sizes sizes;
    uint8_t *table = NULL;

    TRY(check_config(config, error));
    find_sizes(config, files, &sizes);
    const table_layout layout = lay_out_table(config, sizes.division.count);
    TRY(mem_alloc(ledger, MEM_EXPERTS, 1, layout.bytes, TABLE_ALIGN, "table of the expert cache", (void **)&table,
                  error)); /* all zero */
    expert_cache *cache = (expert_cache *)(void *)table;
    cache->ledger = ledger;
    cache->reads = reads;
    cache->files = files;
    cache->config = *config;
    cache->division = sizes.division;
    cache->slot_max = config->slot_count;
    cache->classes = (slot_class *)(void *)(table + layout.classes_offset);
    cache->slots = (slot *)(void *)(table + layout.slots_offset);
    cache->layers = (layer_table *)(void *)(table + layout.layers_offset);
    cache->slot_of_key = (uint32_t *)(void *)(table + layout.keys_offset);
    cache->key_history = (uint32_t *)(void *)(table + layout.history_offset);
    cache->stats.slot_count = config->slot_count;
    cache->last_stamp = FIRST_STAMP;
    cache->first_stamp = FIRST_STAMP;
    const leat_status status = open_classes(cache, &sizes, error);
    if (status != LEAT_OK) {
        free_all(cache);
        return status;
    }
    open_layers(cache);
    pthread_mutex_init(&cache->mutex, NULL); /* cannot fail on Linux with default attributes */
    *out_cache = cache;
    return LEAT_OK;
}

void expert_cache_close(expert_cache **cache)
{
    expert_cache *c = *cache;
    if (c == NULL) return;
    expert_cache_settle(c);
    for (uint32_t i = 0; i < c->division.count; i++)
        assert(c->classes[i].pinned_count == 0); /* one release for every acquire */
    pthread_mutex_destroy(&c->mutex);
    free_all(c);
    *cache = NULL;
}

void expert_cache_settle(expert_cache *cache)
{
    ahead_drop(cache);
    while (cache->reading_count > 0) table_reap_one(cache);
}

/* ---- what acquires and sweeps share ---- */

bool cache_claim(expert_cache *cache, uint32_t slot_idx, uint64_t stamp)
{
    slot *s = &cache->slots[slot_idx];
    const uint64_t tag = slot_first_tag(slot_idx);
    if (s->state == SLOT_LOADING) {
        cache->reads->ops->raise(cache->reads, tag, tag + EXPERT_PARTS_MAX, READ_DEMAND);
        table_take_up(cache, slot_idx, READ_DEMAND);
    }
    if (!s->is_guess) {
        policy_touch(cache, slot_idx, stamp);
        return true;
    }
    s->is_guess = 0;
    s->stamp = stamp;
    table_move_to(cache, slot_idx, s->segment);
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ahead_used++;
    cache->stats.ahead_used_bytes += class_of_slot(cache, slot_idx)->slot_bytes;
    pthread_mutex_unlock(&cache->mutex);
    return false;
}

void cache_count_asked(expert_cache *cache, uint32_t hit_count, uint32_t miss_count)
{
    pthread_mutex_lock(&cache->mutex);
    cache->stats.hits += hit_count;
    cache->stats.misses += miss_count;
    pthread_mutex_unlock(&cache->mutex);
}

uint32_t cache_load_key(expert_cache *cache, uint32_t layer, uint32_t key, uint64_t stamp)
{
    if (class_of_layer(cache, layer)->first_free_idx == NONE) policy_evict_for(cache, layer);
    uint32_t slot_idx = table_begin_load(cache, key, policy_entry_segment(cache, key), stamp);
    table_pin(cache, slot_idx);
    return slot_idx;
}

void cache_hand_out(const expert_cache *cache, expert_ref *ref)
{
    const slot *s = &cache->slots[ref->slot_idx];
    assert(s->state == SLOT_READY && s->pins > 0);
    const expert_record *record = &cache->config.records[s->key];
    record_layout layout;
    record_lay_out(record, cache->files, &layout);
    const uint8_t *from = class_slot(class_of_slot(cache, ref->slot_idx), ref->slot_idx);
    for (uint32_t i = 0; i < record->part_count; i++) ref->parts[i] = from + layout.payload_offsets[i];
}

leat_status cache_tell_failure(expert_cache *cache, uint32_t layer, expert_ref *ref, leat_error *error)
{
    const slot *s = &cache->slots[ref->slot_idx];
    record_layout layout;
    record_lay_out(&cache->config.records[s->key], cache->files, &layout);
    const extent *part = NULL; /* what was to be read at once */
    for (uint32_t i = 0; i < layout.run_count; i++)
        if (layout.runs[i].first_part == s->failed_part) part = &layout.runs[i].what;
    assert(part != NULL);
    leat_status status = FAIL_OS(error, IO, s->failed_errno,
                                 "layer %" PRIu32 ", expert %" PRIu32 ": %" PRIu64 " bytes at offset %" PRIu64
                                 " of %s could not be read: %s",
                                 layer, ref->expert, part->bytes, part->offset, cache->files->names[part->file_idx],
                                 s->failed_errno != 0 ? strerrordesc_np(s->failed_errno) : "the file is too short");
    file_hint_device(&cache->files->files[part->file_idx], s->failed_errno, error);
    table_unpin(cache, ref->slot_idx);
    ref->slot_idx = NONE;
    return status;
}

/* ---- acquire, next, release ---- */

leat_status expert_cache_acquire(expert_cache *cache, uint32_t layer, const uint32_t *experts, uint32_t count,
                                 expert_set *out_set, leat_error *error)
{
    assert(layer < cache->config.layer_count && count <= cache->config.set_max);
    uint32_t first_key = layer * cache->config.expert_count;
    const uint32_t *slot_of_expert = &cache->slot_of_key[first_key];
    bool was_ready[EXPERT_SET_MAX], is_absent[EXPERT_SET_MAX];
    uint32_t hit_count = 0, absent_count = 0;

    /* What is there is pinned first, so that it is no victim of the rest. */
    for (uint32_t i = 0; i < count; i++) {
        assert(experts[i] < cache->config.expert_count);
        uint32_t slot_idx = slot_of_expert[experts[i]];
        is_absent[i] = slot_idx == NONE;
        was_ready[i] = !is_absent[i] && cache->slots[slot_idx].state == SLOT_READY;
        if (!is_absent[i]) table_pin(cache, slot_idx);
        absent_count += is_absent[i];
    }
    if (!table_has_room(cache, layer, absent_count)) ahead_drop(cache);
    if (!table_has_room(cache, layer, absent_count)) {
        const slot_class *c = class_of_layer(cache, layer);
        uint32_t pinned_count = c->pinned_count;
        for (uint32_t i = 0; i < count; i++)
            if (!is_absent[i]) table_unpin(cache, slot_of_expert[experts[i]]);
        return FAIL(error, INTERNAL,
                    "layer %" PRIu32 " needs %" PRIu32 " more slots of the expert cache, but %" PRIu32 " of %" PRIu32
                    " are held",
                    layer, absent_count, pinned_count, c->slot_count);
    }

    /* From here on nothing fails. The first named becomes the youngest, for a router names its best expert first; so
     * the table is changed from the last to the first, which keeps the lists sorted by stamp, and the reads go out in
     * order. */
    uint64_t stamp_before = cache->last_stamp;
    out_set->layer = layer;
    out_set->count = count;
    out_set->handed_out_count = 0;
    policy_count_uses(cache, layer, experts, NULL, count, 1);
    for (uint32_t i = count; i-- > 0;) {
        uint32_t slot_idx = slot_of_expert[experts[i]];
        uint64_t stamp = ++cache->last_stamp;
        if (is_absent[i]) {
            assert(slot_idx == NONE); /* else the same expert was named twice */
            slot_idx = cache_load_key(cache, layer, first_key + experts[i], stamp);
        } else {
            assert(cache->slots[slot_idx].stamp <= stamp_before); /* likewise */
            hit_count += cache_claim(cache, slot_idx, stamp);
        }
        out_set->refs[i] = (expert_ref){.expert = experts[i], .slot_idx = slot_idx, .was_hit = was_ready[i]};
    }
    (void)stamp_before;
    cache_count_asked(cache, hit_count, count - hit_count);
    for (uint32_t i = 0; i < count; i++)
        if (is_absent[i]) table_submit(cache, out_set->refs[i].slot_idx, READ_DEMAND);
    if (cache->ahead_layer == layer) ahead_drop(cache);
    return LEAT_OK;
}

leat_status expert_cache_next(expert_cache *cache, expert_set *set, uint32_t *out_ref_idx, leat_error *error)
{
    assert(set->handed_out_count < set->count);
    for (;;) {
        for (uint32_t i = 0; i < set->count; i++) {
            expert_ref *ref = &set->refs[i];
            if (ref->handed_out) continue;
            const slot *s = &cache->slots[ref->slot_idx];
            assert(s->state != SLOT_EMPTY && s->key == set->layer * cache->config.expert_count + ref->expert);
            if (s->state != SLOT_READY && !slot_has_failed(s)) continue;
            ref->handed_out = true;
            set->handed_out_count++;
            if (slot_has_failed(s)) return cache_tell_failure(cache, set->layer, ref, error);
            cache_hand_out(cache, ref);
            *out_ref_idx = i;
            return LEAT_OK;
        }
        table_reap_one(cache);
    }
}

void expert_cache_release(expert_cache *cache, expert_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->refs[i].slot_idx != NONE) table_unpin(cache, set->refs[i].slot_idx);
    set->count = set->handed_out_count = 0;
}

/* ---- looking in ---- */

bool expert_cache_holds(const expert_cache *cache, uint32_t layer, uint32_t expert)
{
    return cache->slot_of_key[layer * cache->config.expert_count + expert] != NONE;
}

uint32_t expert_cache_class_count(const expert_cache *cache) { return cache->division.count; }

uint32_t expert_cache_layer_class(const expert_cache *cache, uint32_t layer) { return cache->layers[layer].class_idx; }

expert_cache_memory expert_cache_memory_get(const expert_cache *cache, uint32_t class_idx)
{
    const slot_class *c = &cache->classes[class_idx];
    return (expert_cache_memory){c->block, c->slot_count * c->slot_bytes, c->used_count * c->slot_bytes};
}

void expert_cache_restart_counts(expert_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    expert_cache_stats *s = &cache->stats;
    s->warmed += s->misses;
    s->hits = s->misses = s->evictions = 0;
    s->ahead_reads = s->ahead_used = s->ahead_used_bytes = s->ahead_wasted = s->ahead_wasted_bytes = 0;
    s->wait_ns = 0;
    pthread_mutex_unlock(&cache->mutex);
}

expert_cache_stats expert_cache_stats_get(const expert_cache *cache)
{
    expert_cache *c = (expert_cache *)cache; /* logically const: the mutex is restored */
    pthread_mutex_lock(&c->mutex);
    expert_cache_stats stats = c->stats;
    pthread_mutex_unlock(&c->mutex);
    return stats;
}

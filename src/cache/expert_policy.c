/*
 * expert_policy.c - what the policies remember, and the choice of a victim.
 *
 * Choosing a victim is a pure function of the lists. It takes a look per layer and, at most, a walk over the slots of
 * one layer (LFU; the others meet an idle slot near the old end, as pinned ones are young); below one set per layer LFU
 * walks over all slots, which are few then. What S3-FIFO moves between its queues on the way to a victim is moved by
 * policy_evict_for, between one choice and the next.
 *
 * LFU's counts are per key and outlive an eviction: what came back often is known when it comes back again. Each
 * acquire of a layer takes a part off all counts of the layer, which keeps their order; integers, so that every machine
 * agrees.
 *
 * Shares are per layer because a decoded token visits the layers in turn: with one list for all of them, recency is
 * nothing but the cyclic order of the layers, and what is evicted is exactly the layer that comes next. A cache smaller
 * than one set per layer therefore evicts the youngest record of all, which is the one that is wanted last (LFU: the
 * least used of all, which is better still); layers that hold a whole set replace their own.
 * docs/measurements/expert-cache.md has the figures.
 *
 * A slot that is LOADING without a pin (its set was released early, or it was a wrong guess) may be chosen as a victim
 * like any other: the choice does not look at what the disk has done so far, so that it is the same on every machine.
 * Whoever evicts it gives up those of its reads that have not begun and waits for the others, because the disk writes
 * into it.
 */
#include "cache/expert_table.h"

#include "base/bytes.h"

/* Counts of LFU: what a use adds, and the part (a power of two) that every acquire of the layer takes off. */
enum { LFU_USE = 1 << 20, LFU_DECAY_SHIFT = 5, LFU_DECAY_UNIT = 1 << LFU_DECAY_SHIFT };

const char *cache_policy_label(cache_policy policy)
{
    static const char *const labels[CACHE_POLICY_COUNT] = {"lru", "lfu", "slru", "s3fifo"};
    return policy < CACHE_POLICY_COUNT ? labels[policy] : "unknown";
}

void policy_set_shares(const expert_cache *cache, slot_class *c, uint32_t slot_count)
{
    const uint32_t set_max = cache->config.set_max;
    const uint32_t slots_of_layer = slot_count / c->layer_count;
    const cache_policy wanted = cache->config.policy;
    c->share = (uint32_t)max_u64(slots_of_layer, set_max);
    c->is_below_sets = slots_of_layer < set_max;
    c->policy = c->is_below_sets && wanted != CACHE_LFU ? CACHE_LRU : wanted;
}

uint32_t policy_uses_max(void) { return (uint32_t)LFU_USE << (LFU_DECAY_SHIFT + 1); }

/* ---- the policies: what they remember ---- */

uint32_t policy_protected_max(const slot_class *c) { return c->share * 4 / 5; }
static uint32_t small_max(const slot_class *c) { return (uint32_t)max_u64(1, c->share / 10); }

static slot_class *class_of_key(const expert_cache *cache, uint32_t key)
{
    return class_of_layer(cache, key_layer(cache, key));
}

/* A record that is in memory was named by an acquire. */
void policy_touch(expert_cache *cache, uint32_t slot_idx, uint64_t stamp)
{
    slot *s = &cache->slots[slot_idx];
    const slot_class *c = class_of_key(cache, s->key);
    s->stamp = stamp;
    if (c->policy == CACHE_S3FIFO) {
        if (s->use_count < S3_USES_MAX) s->use_count++;
        return;
    }
    table_move_to(cache, slot_idx, c->policy == CACHE_SLRU);
    const slot_list *protected = &cache->layers[key_layer(cache, s->key)].lists[1];
    if (c->policy == CACHE_SLRU && protected->slot_count > policy_protected_max(c))
        table_move_to(cache, protected->oldest_idx, 0);
}

/* Which list a record enters. A ghost is one of the last that left the small queue, as many as the main queue holds. */
uint32_t policy_entry_segment(const expert_cache *cache, uint32_t key)
{
    const slot_class *c = class_of_key(cache, key);
    if (c->policy != CACHE_S3FIFO || cache->key_history[key] == 0) return 0;
    uint32_t age = cache->layers[key_layer(cache, key)].ghost_clock - cache->key_history[key];
    return age < c->share - (uint32_t)min_u64(c->share, small_max(c));
}

/* A victim is about to go. */
static void remember_victim(expert_cache *cache, const slot *s)
{
    if (class_of_key(cache, s->key)->policy != CACHE_S3FIFO) return;
    layer_table *layer = &cache->layers[key_layer(cache, s->key)];
    if (s->segment == 0 && layer->ghost_clock < UINT32_MAX) layer->ghost_clock++;
    cache->key_history[s->key] = s->segment == 0 ? layer->ghost_clock : 0;
}

/* What is left of a count after `row_count` rows, as a fraction of 2^32. */
static uint64_t kept_part(uint32_t row_count)
{
    uint64_t kept = UINT64_C(1) << 32;
    for (uint32_t i = 0; i < row_count && kept > 0; i++) kept -= (kept >> LFU_DECAY_SHIFT) + (kept < LFU_DECAY_UNIT);
    return kept;
}

/* One acquire of the layer, or a sweep for many rows: as if each expert's rows were spread evenly over all of them.
 * row_counts: NULL for 1 each. */
void policy_count_uses(expert_cache *cache, uint32_t layer, const uint32_t *experts, const uint32_t *row_counts,
                       uint32_t count, uint32_t row_count)
{
    if (class_of_layer(cache, layer)->policy != CACHE_LFU || count == 0) return;
    uint32_t *uses = &cache->key_history[layer * cache->config.expert_count];
    if (row_count == 1) {
        for (uint32_t e = 0; e < cache->config.expert_count; e++) uses[e] -= uses[e] >> LFU_DECAY_SHIFT;
        for (uint32_t i = 0; i < count; i++) uses[experts[i]] += LFU_USE;
        return;
    }
    const uint64_t one = UINT64_C(1) << 32, kept = kept_part(row_count);
    const uint64_t added = ((uint64_t)LFU_USE << LFU_DECAY_SHIFT) * (one - kept) >> 32; /* by an expert of every row */
    for (uint32_t e = 0; e < cache->config.expert_count; e++) uses[e] = (uint32_t)(uses[e] * kept >> 32);
    for (uint32_t i = 0; i < count; i++)
        uses[experts[i]] += (uint32_t)(added * min_u64(row_counts ? row_counts[i] : 1, row_count) / row_count);
}

/* ---- the choice of a victim: a pure function of the table ---- */

/* The first of the list that may be evicted, from the old end; NONE when there is none. */
static uint32_t oldest_idle(const expert_cache *cache, const slot_list *list)
{
    uint32_t slot_idx = list->oldest_idx;
    while (slot_idx != NONE && !slot_is_idle(&cache->slots[slot_idx])) slot_idx = cache->slots[slot_idx].younger_idx;
    return slot_idx;
}

static uint32_t youngest_idle(const expert_cache *cache, const slot_list *list)
{
    uint32_t slot_idx = list->youngest_idx;
    while (slot_idx != NONE && !slot_is_idle(&cache->slots[slot_idx])) slot_idx = cache->slots[slot_idx].older_idx;
    return slot_idx;
}

/* The least used; among equals the one used longest ago. */
static uint32_t least_used_idle(const expert_cache *cache, const slot_list *list)
{
    uint32_t best_idx = NONE;
    for (uint32_t i = list->oldest_idx; i != NONE; i = cache->slots[i].younger_idx)
        if (slot_is_idle(&cache->slots[i]) && (best_idx == NONE || cache->key_history[cache->slots[i].key] <
                                                                       cache->key_history[cache->slots[best_idx].key]))
            best_idx = i;
    return best_idx;
}

/* The record of this layer that the policy gives up; NONE when all are held. */
static uint32_t choose_in_layer(const expert_cache *cache, uint32_t layer)
{
    const slot_list *lists = cache->layers[layer].lists;
    const slot_class *c = class_of_layer(cache, layer);
    if (c->policy == CACHE_LFU) return least_used_idle(cache, &lists[0]);
    bool main_first = c->policy == CACHE_S3FIFO && lists[0].slot_count < small_max(c);
    uint32_t slot_idx = oldest_idle(cache, &lists[main_first]);
    return slot_idx != NONE ? slot_idx : oldest_idle(cache, &lists[!main_first]);
}

/* Of the layers of a class that hold more than their share the one whose oldest record was used longest ago; NONE when
 * there is none. */
static uint32_t choose_surplus_layer(const expert_cache *cache, const slot_class *c)
{
    uint32_t best_layer = NONE;
    uint64_t best_stamp = UINT64_MAX;
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) {
        if (class_of_layer(cache, layer) != c || table_layer_slots(cache, layer) <= c->share) continue;
        const slot_list *lists = cache->layers[layer].lists;
        uint32_t slot_idx = oldest_idle(cache, &lists[0]);
        if (slot_idx == NONE) slot_idx = oldest_idle(cache, &lists[1]);
        if (slot_idx == NONE || cache->slots[slot_idx].stamp >= best_stamp) continue;
        best_stamp = cache->slots[slot_idx].stamp;
        best_layer = layer;
    }
    return best_layer;
}

/* Whose record makes room for one of `layer`; NONE: of no layer in particular. */
static uint32_t choose_layer(const expert_cache *cache, uint32_t layer)
{
    const slot_class *c = class_of_layer(cache, layer);
    if (table_layer_slots(cache, layer) >= c->share && choose_in_layer(cache, layer) != NONE) return layer;
    return choose_surplus_layer(cache, c);
}

static uint32_t choose_youngest_of_all(const expert_cache *cache, const slot_class *c)
{
    uint32_t best_idx = NONE;
    for (uint32_t i = 0; i < cache->config.layer_count * 2; i++) {
        if (class_of_layer(cache, i / 2) != c) continue;
        uint32_t slot_idx = youngest_idle(cache, &cache->layers[i / 2].lists[i % 2]);
        if (slot_idx != NONE && (best_idx == NONE || cache->slots[slot_idx].stamp > cache->slots[best_idx].stamp))
            best_idx = slot_idx;
    }
    return best_idx;
}

/* The youngest among equals. The slots are few: less than a set per layer. */
static uint32_t choose_least_used_of_all(const expert_cache *cache, const slot_class *c)
{
    uint32_t best_idx = NONE, best_uses = 0;
    for (uint32_t i = c->first_slot; i < c->first_slot + c->slot_count; i++) {
        const slot *s = &cache->slots[i];
        if (!slot_is_idle(s)) continue;
        uint32_t uses = cache->key_history[s->key];
        if (best_idx != NONE && (uses > best_uses || (uses == best_uses && s->stamp < cache->slots[best_idx].stamp)))
            continue;
        best_idx = i;
        best_uses = uses;
    }
    return best_idx;
}

/* Who makes room for a record of `layer` when no slot is free. */
uint32_t policy_choose_victim(const expert_cache *cache, uint32_t layer)
{
    const slot_class *c = class_of_layer(cache, layer);
    bool is_of_all = c->is_below_sets && c->policy == CACHE_LFU;
    uint32_t from_layer = is_of_all ? NONE : choose_layer(cache, layer);
    uint32_t slot_idx = is_of_all            ? choose_least_used_of_all(cache, c)
                        : from_layer != NONE ? choose_in_layer(cache, from_layer)
                                             : choose_youngest_of_all(cache, c);
    assert(slot_idx != NONE); /* acquire has counted */
    return slot_idx;
}

/* Frees a slot for a record of `layer`. In S3-FIFO a record with a use is no victim but moves on: from the small queue
 * to the main one, from the old end of the main one to its young end for one use less. */
void policy_evict_for(expert_cache *cache, uint32_t layer)
{
    uint32_t slot_idx = policy_choose_victim(cache, layer);
    slot *s = &cache->slots[slot_idx];
    while (s->use_count > 0) {
        s->use_count = s->segment == 0 ? 0 : (s->use_count - 1) & 0x3f;
        table_move_to(cache, slot_idx, 1);
        slot_idx = policy_choose_victim(cache, layer);
        s = &cache->slots[slot_idx];
    }
    remember_victim(cache, s);
    table_evict(cache, slot_idx);
}

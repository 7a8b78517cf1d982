/*
 * expert_resize.c - another number of slots.
 *
 * Resizing keeps the slots at work at the front of the block, so that what is given back is one run of whole (huge)
 * pages: records kept from behind are copied into the slots of those that went. That costs a copy, once, where leaving
 * them would cost reading them again; pages given back here and there would stay charged until the system splits them.
 */
#include "cache/expert_table.h"

#include "base/bytes.h"

/* The order of one list by last use, which is LRU's: what was in either list, and no uses counted. */
static void order_by_use(expert_cache *cache, uint32_t layer)
{
    uint64_t done = 0; /* stamps up to this one are in place */
    for (uint32_t left = table_layer_slots(cache, layer); left > 0; left--) {
        uint32_t next_idx = NONE;
        for (int segment = 0; segment < 2; segment++)
            for (uint32_t i = cache->layers[layer].lists[segment].oldest_idx; i != NONE;
                 i = cache->slots[i].younger_idx)
                if (cache->slots[i].stamp > done &&
                    (next_idx == NONE || cache->slots[i].stamp < cache->slots[next_idx].stamp))
                    next_idx = i;
        done = cache->slots[next_idx].stamp;
        cache->slots[next_idx].use_count = 0;
        table_move_to(cache, next_idx, 0);
    }
}

/* Shares and policy for the new size, and lists as that policy wants them. */
static void follow_size(expert_cache *cache, uint32_t slot_count)
{
    const cache_policy before = cache->policy;
    policy_set_shares(cache, slot_count);
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) {
        if (cache->policy != before && cache->policy == CACHE_LRU) order_by_use(cache, layer);
        const slot_list *protected = &cache->layers[layer].lists[1];
        while (cache->policy == CACHE_SLRU && protected->slot_count > policy_protected_max(cache))
            table_move_to(cache, protected->oldest_idx, 0);
    }
}

static uint32_t largest_layer(const expert_cache *cache)
{
    uint32_t best = 0;
    for (uint32_t layer = 1; layer < cache->config.layer_count; layer++)
        if (table_layer_slots(cache, layer) > table_layer_slots(cache, best)) best = layer;
    return best;
}

/* Evicts until no more than `count` slots are in use. The layer that holds most gives. */
static void evict_down_to(expert_cache *cache, uint32_t count)
{
    uint32_t used_count = 0;
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) used_count += table_layer_slots(cache, layer);
    for (; used_count > count; used_count--) policy_evict_for(cache, largest_layer(cache));
}

/* Moves what lies at `count` or behind it to free slots before it. */
static void move_to_front(expert_cache *cache, uint32_t count)
{
    uint32_t to_idx = 0;
    for (uint32_t i = count; i < cache->slot_max; i++) {
        if (cache->slots[i].state == SLOT_EMPTY) continue;
        while (cache->slots[to_idx].state != SLOT_EMPTY) to_idx++;
        assert(to_idx < count);
        table_move_record(cache, i, to_idx);
    }
}

/* All free slots below slot_count, from the front. */
static void list_free_slots(expert_cache *cache)
{
    cache->first_free_idx = NONE;
    for (uint32_t i = cache->config.slot_count; i-- > 0;) {
        if (cache->slots[i].state != SLOT_EMPTY) continue;
        cache->slots[i].younger_idx = cache->first_free_idx;
        cache->first_free_idx = i;
    }
}

/* How many slots from the front have to stay for those that are held. */
static uint32_t held_end(const expert_cache *cache)
{
    uint32_t end = cache->config.slot_count;
    while (end > 0 && (cache->slots[end - 1].state == SLOT_EMPTY || slot_is_idle(&cache->slots[end - 1]))) end--;
    return end;
}

uint32_t expert_cache_resize(expert_cache *cache, uint32_t slot_count)
{
    const uint32_t before = cache->config.slot_count;
    leat_error no_room;
    expert_cache_settle(cache);
    slot_count = (uint32_t)max_u64(max_u64(slot_count, cache->config.set_max), held_end(cache));
    slot_count = (uint32_t)min_u64(slot_count, cache->slot_max);
    if (slot_count > before &&
        mem_keep(cache->ledger, cache->block, slot_count * cache->slot_bytes, &no_room) != LEAT_OK)
        slot_count = before;
    follow_size(cache, slot_count);
    evict_down_to(cache, slot_count);
    move_to_front(cache, slot_count);
    cache->config.slot_count = slot_count;
    list_free_slots(cache);
    if (slot_count < before &&
        mem_keep(cache->ledger, cache->block, slot_count * cache->slot_bytes, &no_room) != LEAT_OK)
        assert(false); /* giving back needs no room */
    pthread_mutex_lock(&cache->mutex);
    cache->stats.slot_count = slot_count;
    cache->stats.resize_count += slot_count != before;
    pthread_mutex_unlock(&cache->mutex);
    return slot_count;
}

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
static void follow_size(expert_cache *cache, slot_class *c, uint32_t slot_count)
{
    const cache_policy before = c->policy;
    policy_set_shares(cache, c, slot_count);
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) {
        if (class_of_layer(cache, layer) != c) continue;
        if (c->policy != before && c->policy == CACHE_LRU) order_by_use(cache, layer);
        const slot_list *protected = &cache->layers[layer].lists[1];
        while (c->policy == CACHE_SLRU && protected->slot_count > policy_protected_max(c))
            table_move_to(cache, protected->oldest_idx, 0);
    }
}

/* Evicts until no more than `count` slots are in use. The layer that holds most gives. */
static void evict_down_to(expert_cache *cache, const slot_class *c, uint32_t count)
{
    for (;;) {
        uint32_t used_count = 0, largest = NONE;
        for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) {
            if (class_of_layer(cache, layer) != c) continue;
            const uint32_t slots = table_layer_slots(cache, layer);
            used_count += slots;
            if (largest == NONE || slots > table_layer_slots(cache, largest)) largest = layer;
        }
        if (used_count <= count) return;
        policy_evict_for(cache, largest);
    }
}

/* Moves what lies at `count` or behind it to free slots before it. */
static void move_to_front(expert_cache *cache, const slot_class *c, uint32_t count)
{
    uint32_t to_idx = c->first_slot;
    for (uint32_t i = c->first_slot + count; i < c->first_slot + c->slot_max; i++) {
        if (cache->slots[i].state == SLOT_EMPTY) continue;
        while (cache->slots[to_idx].state != SLOT_EMPTY) to_idx++;
        assert(to_idx < c->first_slot + count);
        table_move_record(cache, i, to_idx);
    }
}

/* All free slots below slot_count, from the front. */
static void list_free_slots(expert_cache *cache, slot_class *c)
{
    c->first_free_idx = NONE;
    for (uint32_t i = c->first_slot + c->slot_count; i-- > c->first_slot;) {
        if (cache->slots[i].state != SLOT_EMPTY) continue;
        cache->slots[i].younger_idx = c->first_free_idx;
        c->first_free_idx = i;
    }
}

/* How many slots from the front have to stay for those that are held. */
static uint32_t held_end(const expert_cache *cache, const slot_class *c)
{
    const slot *slots = &cache->slots[c->first_slot];
    uint32_t end = c->slot_count;
    while (end > 0 && (slots[end - 1].state == SLOT_EMPTY || slot_is_idle(&slots[end - 1]))) end--;
    return end;
}

static void resize_class(expert_cache *cache, slot_class *c, uint32_t slot_count)
{
    const uint32_t before = c->slot_count;
    leat_error no_room;
    slot_count = (uint32_t)max_u64(slot_count, held_end(cache, c));
    slot_count = (uint32_t)min_u64(slot_count, c->slot_max);
    if (slot_count > before && mem_keep(cache->ledger, c->block, slot_count * c->slot_bytes, &no_room) != LEAT_OK)
        slot_count = before;
    follow_size(cache, c, slot_count);
    evict_down_to(cache, c, slot_count);
    move_to_front(cache, c, slot_count);
    c->slot_count = slot_count;
    list_free_slots(cache, c);
    if (slot_count < before && mem_keep(cache->ledger, c->block, slot_count * c->slot_bytes, &no_room) != LEAT_OK)
        assert(false); /* giving back needs no room */
}

uint32_t expert_cache_resize(expert_cache *cache, uint32_t slot_count)
{
    const uint32_t before = cache->config.slot_count;
    uint32_t wanted[EXPERT_CLASSES_MAX], reached = 0;
    expert_cache_settle(cache);
    /* A read that was given up may still write to an empty slot, so records cannot be moved: another time. */
    if (cache->reads->ops->stats(cache->reads).lost_count > 0) return before;
    expert_classes_divide(&cache->division, slot_count, wanted);
    for (uint32_t i = 0; i < cache->division.count; i++) {
        resize_class(cache, &cache->classes[i], wanted[i]);
        reached += cache->classes[i].slot_count;
    }
    cache->config.slot_count = reached;
    pthread_mutex_lock(&cache->mutex);
    cache->stats.slot_count = reached;
    cache->stats.resize_count += reached != before;
    pthread_mutex_unlock(&cache->mutex);
    return reached;
}

/* expert_check.c - the invariants of expert_cache.h and expert_table.h, in their order. */
#include "cache/expert_table.h"

#include <stdlib.h>

/* Unlike an assertion it also holds in a release build: check() has no other purpose. */
static void require(bool holds)
{
    if (!holds) abort();
}

/* Returns how many slots the list has. */
static uint32_t check_list(const expert_cache *cache, uint32_t layer, uint32_t segment)
{
    const slot_list *list = &cache->layers[layer].lists[segment];
    bool is_by_use = cache->policy == CACHE_LRU || cache->policy == CACHE_LFU;
    uint32_t older_idx = NONE, count = 0;
    for (uint32_t i = list->oldest_idx; i != NONE; older_idx = i, i = cache->slots[i].younger_idx) {
        const slot *s = &cache->slots[i];
        require(s->state != SLOT_EMPTY && key_layer(cache, s->key) == layer && s->older_idx == older_idx);
        require(s->segment == segment && (segment == 0 || !is_by_use));
        require(s->use_count <= (cache->policy == CACHE_S3FIFO ? S3_USES_MAX : 0));
        require(older_idx == NONE || !is_by_use || cache->slots[older_idx].stamp < s->stamp);
        require(++count <= cache->config.slot_count);
    }
    require(list->youngest_idx == older_idx && list->slot_count == count);
    return count;
}

void expert_cache_check(const expert_cache *cache)
{
    const expert_cache_config *config = &cache->config;
    uint32_t key_count = config->layer_count * config->expert_count;
    uint32_t empty_count = 0, ready_count = 0, pinned_count = 0, keyed_count = 0, listed_count = 0;
    uint64_t part_count = 0;

    for (uint32_t i = 0; i < config->slot_count; i++) {
        const slot *s = &cache->slots[i];
        if (s->state == SLOT_EMPTY) {
            require(s->key == NONE && s->pins == 0 && s->reads_left == 0); /* 2: a pinned slot is LOADING or READY */
            empty_count++;
            continue;
        }
        require(s->key < key_count && cache->slot_of_key[s->key] == i); /* 1: a key is in at most one slot */
        require(s->stamp <= cache->last_stamp);
        pinned_count += s->pins > 0;
        part_count += s->reads_left;
        if (s->state == SLOT_READY) {
            require(s->reads_left == 0 && s->failed_part == PART_NONE); /* 2: no read can change its bytes any more */
            ready_count++;
        } else {
            require(s->state == SLOT_LOADING);
            require(s->reads_left > 0 || (s->failed_part != PART_NONE && s->pins > 0));
        }
    }
    for (uint32_t i = config->slot_count; i < cache->slot_max; i++) /* those that resize took away */
        require(cache->slots[i].state == SLOT_EMPTY && cache->slots[i].key == NONE);
    for (uint32_t key = 0; key < key_count; key++) keyed_count += cache->slot_of_key[key] != NONE;
    require(keyed_count == config->slot_count - empty_count); /* 1: and no key points at a slot that is not its own */

    require(config->slot_count >= config->set_max); /* 3 */
    require(pinned_count == cache->pinned_count && cache->ahead_count <= AHEAD_MAX);
    require(part_count == cache->reading_count);
    require(expert_cache_stats_get(cache).ready_count == ready_count);

    for (uint32_t i = cache->first_free_idx; i != NONE; i = cache->slots[i].younger_idx) {
        require(cache->slots[i].state == SLOT_EMPTY && empty_count > 0);
        empty_count--;
    }
    require(empty_count == 0);
    for (uint32_t i = 0; i < config->layer_count * 2; i++) listed_count += check_list(cache, i / 2, i % 2);
    if (cache->policy == CACHE_SLRU)
        for (uint32_t i = 0; i < config->layer_count; i++)
            require(cache->layers[i].lists[1].slot_count <= policy_protected_max(cache));
    if (cache->policy == CACHE_LFU) /* a sum of ever smaller uses stays below 2^DECAY_SHIFT of them */
        for (uint32_t key = 0; key < key_count; key++) require(cache->key_history[key] <= policy_uses_max());
    if (cache->policy == CACHE_S3FIFO)
        for (uint32_t key = 0; key < key_count; key++)
            require(cache->key_history[key] <= cache->layers[key_layer(cache, key)].ghost_clock);
    require(listed_count == keyed_count);
}

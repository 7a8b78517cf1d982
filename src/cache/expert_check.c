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
    const slot_class *c = class_of_layer(cache, layer);
    bool is_by_use = c->policy == CACHE_LRU || c->policy == CACHE_LFU;
    uint32_t older_idx = NONE, count = 0;
    for (uint32_t i = list->oldest_idx; i != NONE; older_idx = i, i = cache->slots[i].younger_idx) {
        const slot *s = &cache->slots[i];
        require(s->state != SLOT_EMPTY && key_layer(cache, s->key) == layer && s->older_idx == older_idx);
        require(class_of_slot(cache, i) == c);
        require(s->segment == segment && (segment == 0 || !is_by_use));
        require(s->use_count <= (c->policy == CACHE_S3FIFO ? S3_USES_MAX : 0));
        require(older_idx == NONE || !is_by_use || cache->slots[older_idx].stamp < s->stamp);
        require(++count <= c->slot_count);
    }
    require(list->youngest_idx == older_idx && list->slot_count == count);
    return count;
}

typedef struct slot_counts {
    uint32_t empty, ready, pinned, keyed;
    uint64_t parts; /* reads that have not come back */
} slot_counts;

static void check_slot(const expert_cache *cache, uint32_t i, slot_counts *counts)
{
    const slot *s = &cache->slots[i];
    if (s->state == SLOT_EMPTY) {
        require(s->key == NONE && s->pins == 0 && s->reads_left == 0 &&
                s->put_off == 0); /* 2: a pinned slot is LOADING or READY */
        counts->empty++;
        return;
    }
    require(s->key < cache->config.layer_count * cache->config.expert_count);
    require(cache->slot_of_key[s->key] == i); /* 1: a key is in at most one slot */
    require(s->stamp <= cache->last_stamp);
    counts->keyed++;
    counts->pinned += s->pins > 0;
    counts->parts += s->reads_left;
    if (s->state == SLOT_READY) {
        require(s->reads_left == 0 && s->failed_part == PART_NONE &&
                s->put_off == 0); /* 2: no read can change its bytes any more */
        counts->ready++;
    } else {
        require(s->state == SLOT_LOADING);
        require(s->reads_left > 0 || s->put_off != 0 || (s->failed_part != PART_NONE && s->pins > 0));
    }
}

/* Adds to *sum. */
static void check_class(const expert_cache *cache, const slot_class *c, slot_counts *sum)
{
    slot_counts own = {0};
    for (uint32_t i = c->first_slot; i < c->first_slot + c->slot_count; i++) check_slot(cache, i, &own);
    for (uint32_t i = c->first_slot + c->slot_count; i < c->first_slot + c->slot_max; i++) /* what resize took away */
        require(cache->slots[i].state == SLOT_EMPTY && cache->slots[i].key == NONE);
    require(c->slot_count >= cache->config.set_max); /* 3 */
    require(own.pinned == c->pinned_count);
    uint32_t free_count = own.empty;
    for (uint32_t i = c->first_free_idx; i != NONE; i = cache->slots[i].younger_idx) {
        require(cache->slots[i].state == SLOT_EMPTY && free_count > 0 && class_of_slot(cache, i) == c);
        free_count--;
    }
    require(free_count == 0);
    sum->empty += own.empty;
    sum->ready += own.ready;
    sum->keyed += own.keyed;
    sum->parts += own.parts;
}

/* What the policy remembers of a layer. */
static void check_memory(const expert_cache *cache, uint32_t layer)
{
    const slot_class *c = class_of_layer(cache, layer);
    const uint32_t *history = &cache->key_history[layer * cache->config.expert_count];
    if (c->policy == CACHE_SLRU) require(cache->layers[layer].lists[1].slot_count <= policy_protected_max(c));
    for (uint32_t e = 0; e < cache->config.expert_count; e++) {
        if (c->policy == CACHE_LFU) require(history[e] <= policy_uses_max());
        if (c->policy == CACHE_S3FIFO) require(history[e] <= cache->layers[layer].ghost_clock);
    }
}

void expert_cache_check(const expert_cache *cache)
{
    const expert_cache_config *config = &cache->config;
    const uint32_t key_count = config->layer_count * config->expert_count;
    uint32_t keyed_count = 0, listed_count = 0, slot_count = 0;
    slot_counts sum = {0};

    for (uint32_t i = 0; i < cache->division.count; i++) {
        check_class(cache, &cache->classes[i], &sum);
        slot_count += cache->classes[i].slot_count;
    }
    require(slot_count == config->slot_count);
    for (uint32_t key = 0; key < key_count; key++) keyed_count += cache->slot_of_key[key] != NONE;
    require(keyed_count == sum.keyed); /* 1: and no key points at a slot that is not its own */
    require(cache->ahead_count <= AHEAD_MAX);
    require(sum.parts == cache->reading_count);
    require(expert_cache_stats_get(cache).ready_count == sum.ready);
    for (uint32_t layer = 0; layer < config->layer_count; layer++) {
        listed_count += check_list(cache, layer, 0) + check_list(cache, layer, 1);
        check_memory(cache, layer);
    }
    require(listed_count == keyed_count);
}

/*
 * expert_world.h - what the tests of the expert cache share: layers of experts whose parts lie unaligned in two files
 * in memory, one of them read as if it were direct, a simulated storage over them, and a comparison of what is handed
 * out with what is in the files.
 */
#ifndef UNIT_CACHE_EXPERT_WORLD_H
#define UNIT_CACHE_EXPERT_WORLD_H

#include "cache/expert_cache.h"
#include "storage_sim.h"

enum { WORLD_FILE_COUNT = 2 };

typedef struct world_shape {
    uint32_t layer_count, expert_count, slot_count, set_max;
    uint32_t part_count; /* 0: varies from 1 to 4 by expert; some parts are empty */
    uint32_t part_bytes; /* about */
} world_shape;

typedef struct expert_world {
    world_shape shape;
    file files[WORLD_FILE_COUNT];
    uint8_t *contents[WORLD_FILE_COUNT];
    file_set set;
    const uint32_t *layer_bytes; /* (layer_count) of every part of the layer's records; NULL: about part_bytes */
    extent *extents;             /* (layer_count * expert_count, EXPERT_PARTS_MAX) */
    expert_record *records;      /* (layer_count, expert_count) */
    expert_cache_config config;
    mem *ledger;
    storage *reads; /* a storage_sim */
    expert_cache *cache;
} expert_world;

/* With CACHE_LRU, or another policy. */
void world_open(expert_world *w, const world_shape *shape, const storage_sim_config *sim);
void world_open_with(expert_world *w, const world_shape *shape, cache_policy policy, const storage_sim_config *sim);
/* Records of several sizes, by layer, so that the cache has slots of several sizes. layer_bytes is borrowed. */
void world_open_mixed(expert_world *w, const world_shape *shape, const uint32_t *layer_bytes, cache_policy policy,
                      const storage_sim_config *sim);
/* Closes the cache, then asserts that every read has come back and every byte of the ledger as well. */
void world_close(expert_world *w);

const expert_record *world_record(const expert_world *w, uint32_t layer, uint32_t expert);
/* Acquires a set, which must succeed, and checks the cache. */
void world_acquire(expert_world *w, expert_set *set, uint32_t layer, const uint32_t *experts, uint32_t count);
/* Takes the next record, which must succeed, compares its bytes with the files, and returns its expert. */
uint32_t world_next(expert_world *w, expert_set *set);
void world_compare(const expert_world *w, const expert_set *set, uint32_t ref_idx);
void world_release(expert_world *w, expert_set *set);
/* acquire, every next, release; returns a bit for each expert of the list that was a hit. */
uint64_t world_visit(expert_world *w, uint32_t layer, const uint32_t *experts, uint32_t count);

#define LIST(...) ((uint32_t[]){__VA_ARGS__}), sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

#endif

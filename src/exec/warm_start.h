/*
 * warm_start.h - fills the expert cache with what earlier runs used most, while nobody computes yet: between the
 * opening of an engine and its first step.
 *
 * One thread visits the layers in order and reads the best of each, as many as a layer's share of the slots, as
 * READ_BACKGROUND. Until stop it alone uses the cache; then the first step takes over. Reads under way at that moment
 * go on and are of use when they are asked for. What it read is not counted among hits and misses.
 *
 * Threads: open and stop from the engine's.
 */
#ifndef EXEC_WARM_START_H
#define EXEC_WARM_START_H

#include "cache/expert_cache.h"

typedef struct warm_start warm_start;

/* What open takes from MEM_META. */
uint64_t warm_start_bytes(uint32_t layer_count, uint32_t expert_count);
/* uses: (layer_count, expert_count) how often each expert was used, by about `token_count` tokens; read only by open.
 * The cache is borrowed until stop. */
MUST_CHECK leat_status warm_start_open(mem *ledger, expert_cache *cache, const double *uses, double token_count,
                                       uint32_t layer_count, uint32_t expert_count, uint32_t slot_count,
                                       warm_start **out_warm, leat_error *error);
/* It has read all that it wanted, or given up. */
bool warm_start_is_over(const warm_start *w);
/* Ends it, finished or not, within about one read, and closes. NULL is accepted. */
void warm_start_stop(warm_start **warm);

#endif

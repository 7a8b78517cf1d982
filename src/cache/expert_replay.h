/*
 * expert_replay.h - recorded routing sent through the expert cache again, without computing and without reading: the
 * hits, misses and evictions of any size and policy; and those of Belady's rule, which knows the future and which no
 * policy can beat.
 *
 * With the settings of the engine that wrote the trace the counts are that engine's, exactly.
 */
#ifndef CACHE_EXPERT_REPLAY_H
#define CACHE_EXPERT_REPLAY_H

#include "cache/routing_trace.h"

typedef struct replay_counts {
    uint64_t hits, misses, evictions;
} replay_counts;

/* The sets of a step are acquired in pieces of at most the set_max that an engine with so many slots has. LEAT_BUDGET:
 * fewer slots than a set. */
MUST_CHECK leat_status expert_replay(mem *ledger, const route_trace *t, uint32_t slot_count, cache_policy policy,
                                     replay_counts *out_counts, leat_error *error);
/* Evicts what is wanted last, of any layer. The pieces of a step are the same. */
MUST_CHECK leat_status expert_replay_belady(mem *ledger, const route_trace *t, uint32_t slot_count,
                                            replay_counts *out_counts, leat_error *error);

#endif

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
    uint64_t ahead_used, ahead_wasted; /* what was read ahead: misses that it served, guesses that nobody named */
} replay_counts;

/* Steps of one row acquire sets, longer lists in pieces of a set; steps of many rows sweep. with_ahead: what the trace
 * says was read ahead is read ahead. LEAT_BUDGET: fewer slots than a set. */
MUST_CHECK leat_status expert_replay(mem *ledger, const route_trace *t, uint32_t slot_count, cache_policy policy,
                                     bool with_ahead, replay_counts *out_counts, leat_error *error);
/* Evicts what is wanted last, of any layer of the same class. Nothing is read ahead; a sweep asks for its experts one
 * by one. */
MUST_CHECK leat_status expert_replay_belady(mem *ledger, const route_trace *t, uint32_t slot_count,
                                            replay_counts *out_counts, leat_error *error);
/* The policy with the most hits on the trace; CACHE_POLICY_AUTO unless another one has at least 3 of 1000 more. */
MUST_CHECK leat_status expert_replay_choose(mem *ledger, const route_trace *t, uint32_t slot_count,
                                            cache_policy *out_policy, leat_error *error);

#endif

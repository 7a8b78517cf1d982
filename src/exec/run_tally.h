/*
 * run_tally.h - what a run learns about its model while it computes: time and bytes of its steps, how often each expert
 * was used, and the routing of the last decoded tokens. model_profile.h keeps it for later runs.
 *
 * Steps of one row count as decoding, others as prefill. Routes of a step become part of the tally when the step has
 * succeeded. Memory is taken at open; a step allocates nothing.
 *
 * Threads: the step's.
 */
#ifndef EXEC_RUN_TALLY_H
#define EXEC_RUN_TALLY_H

#include "base/mem.h"
#include "model/model_desc.h"

enum {
    ROUTE_SAMPLE_TOKENS = 512,
    ROUTE_SAMPLE_EXPERTS = 4096 /* two characters an id in the file; models with more have no sample */
};

/* Of the engine since it was opened. */
typedef struct run_counters {
    uint64_t compute_ns; /* of steps, without what they waited for the disk */
    uint64_t expert_wait_ns, stream_wait_ns, read_busy_ns, read_bytes;
    uint64_t miss_count;
} run_counters;

typedef struct phase_tally {
    uint64_t step_count, token_count;
    run_counters spent;
} phase_tally;

typedef struct run_tally {
    mem *ledger;
    uint32_t layer_count, expert_count, used_count; /* layers with experts; 0: no sample */
    phase_tally decode, prefill;
    run_counters before; /* the running step */
    uint32_t row_count;  /* of it */
    uint32_t *uses;      /* (layer_count, expert_count) */
    uint16_t *sample;    /* (ROUTE_SAMPLE_TOKENS, layer_count, used_count), a ring */
    uint32_t sampled_count;
} run_tally;

/* What open takes from MEM_META. */
uint64_t run_tally_bytes(const model_desc *model);
MUST_CHECK leat_status run_tally_open(mem *ledger, const model_desc *model, run_tally **out_tally, leat_error *error);
/* NULL is accepted. */
void run_tally_close(run_tally **tally);

void run_tally_begin(run_tally *t, uint32_t row_count, const run_counters *now);
void run_tally_route(run_tally *t, uint32_t moe_idx, const uint32_t *experts, uint32_t count);
/* A step that failed is not ended: the next begin forgets it. */
void run_tally_end(run_tally *t, const run_counters *now);

/* The ids of a sampled token, the oldest kept is 0: (layer_count, used_count). */
uint32_t run_tally_kept(const run_tally *t);
const uint16_t *run_tally_token(const run_tally *t, uint32_t idx);

#endif

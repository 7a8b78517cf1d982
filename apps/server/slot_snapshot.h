/*
 * slot_snapshot.h - what the engine is doing, told by its thread and read by others without waiting for each other.
 *
 * Published through a board (publish_board.h) after each layer of a prompt, each token and each idle look.
 */
#ifndef SERVER_SLOT_SNAPSHOT_H
#define SERVER_SLOT_SNAPSHOT_H

#include "server/publish_board.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum slot_state { SLOT_IDLE, SLOT_PREFILL, SLOT_DECODE, SLOT_STATE_COUNT } slot_state;
/* "idle", "prefill", "decode" */
const char *slot_state_label(slot_state state);

typedef enum worker_state {
    WORKER_LOADING,  /* the model is being opened */
    WORKER_READY,    /* takes jobs */
    WORKER_DRAINING, /* finishes what it has */
    WORKER_FAILED    /* the model could not be opened */
} worker_state;
/* "loading", "ok", "stopping", "failed" */
const char *worker_state_label(worker_state state);

typedef struct slot_snapshot {
    worker_state worker;
    bool is_degraded;                 /* a job ended because weights could not be read, and since then none has ended
                                         well, nor have the model's files been read */
    uint64_t load_done, load_total;   /* bytes of weights that stay; total 0: not known yet */
    slot_state slot;                  /* of the only sequence */
    uint64_t job_number;              /* that runs; 0: none */
    uint32_t prompt_count;            /* tokens of its current prompt */
    uint32_t cached_count;            /* of those: found in the session */
    uint32_t prefill_done;            /* of those: computed or found so far */
    uint32_t choice;                  /* the running one */
    uint32_t generated_count;         /* its tokens so far */
    uint32_t max_tokens;              /* its limit: the job's, or what the context has room for */
    uint32_t ctx, kv_tokens;          /* positions that the session can hold, and does */
    uint32_t queue_length, queue_max; /* jobs that wait */
    uint64_t progress_ns;             /* clock_now_ns() of the last layer, token or idle look */
} slot_snapshot;
/* 0 to 1 while loading, then 1. */
double slot_snapshot_load_progress(const slot_snapshot *s);

#endif

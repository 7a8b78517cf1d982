/*
 * engine_seat.h - what the engine's thread works with: the open model, its engine and session, the cancel flag, and the
 * boards on which it publishes what it does.
 *
 * Counters of the engine are published instead of being read by who wants them: reading takes locks of the storage that
 * may be held while the system takes in reads, and a scrape must not wait for a disk.
 *
 * Threads: the engine's, but for engine_seat_set_cancel and the boards.
 */
#ifndef SERVER_ENGINE_SEAT_H
#define SERVER_ENGINE_SEAT_H

#include "server/job_parts.h"
#include "server/metrics.h"
#include "server/slot_snapshot.h"

typedef struct engine_seat {
    mem *ledger;
    metrics *metrics; /* may be NULL */
    leat_model *model;
    leat_engine *engine;
    leat_session *session; /* NULL: to be opened by the next job */
    const leat_model_info *info;
    const leat_plan *plan;
    const leat_tokenizer *tokenizer; /* NULL when the model has none */
    volatile int cancel;             /* leat_options.cancel */
    slot_snapshot now;
    publish_board slot_board, stats_board;
    uint64_t stats_ns; /* when the counters were published last */
    /* Told of the running prompt: positions that are there, and that there will be. May be NULL. */
    void (*on_prefill)(void *user, uint32_t done, uint32_t total);
    void *on_prefill_user;
} engine_seat;

/* A seat that is zeroed but for ledger and metrics. engine_seat_close also after a failure. */
MUST_CHECK leat_status engine_seat_open(engine_seat *seat, const char *model_path, const leat_options *options,
                                        leat_error *error);
void engine_seat_close(engine_seat *seat);
/* A session is there; is_fresh: an empty one. */
MUST_CHECK leat_status engine_seat_prepare(engine_seat *seat, bool is_fresh, leat_error *error);

void engine_seat_set_cancel(engine_seat *seat, bool is_wanted);
/* Publishes `now`, and the engine's counters when they are older than a moment or `with_stats`. */
void engine_seat_publish(engine_seat *seat, bool with_stats);

#endif

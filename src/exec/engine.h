/*
 * engine.h - an open model: its plan, its memory, its threads. Everything is taken here; a step allocates nothing.
 *
 * Order of opening: files in the wanted I/O mode, plan, ledger with the budget, storage, trunk (whose staging is given
 * back), threads, caches, working memory. Closing may start from any half-open state.
 */
#ifndef EXEC_ENGINE_H
#define EXEC_ENGINE_H

#include "cache/kv_cache.h"
#include "exec/io_choice.h"
#include "exec/look_ahead.h"
#include "exec/plan.h"
#include "exec/pressure_watch.h"
#include "exec/rope_table.h"
#include "exec/row_reader.h"
#include "exec/run_tally.h"
#include "exec/scratch.h"
#include "exec/step_clock.h"
#include "exec/trunk.h"
#include "exec/warm_start.h"
#include "exec/weight_ring.h"
#include "kernel/kernel.h"
#include "os/prefault.h"
#include "os/thread_pool.h"

/* Slots of the expert cache are made resident so far ahead of their first use: what two threads do while a layer
 * computes, and little against any budget that has that many slots. */
#define PREFAULT_AHEAD_BYTES (UINT64_C(256) << 20)
enum { PREFAULT_TRUNK, PREFAULT_EXPERTS }; /* the second is the first of EXPERT_CLASSES_MAX */
_Static_assert(PREFAULT_EXPERTS + EXPERT_CLASSES_MAX <= PREFAULT_BLOCKS_MAX, "each class has its block");

typedef struct engine_options {
    uint64_t budget_bytes;                     /* 0: auto */
    uint64_t spare_bytes;                      /* what the machine can give */
    uint32_t ctx, thread_count, prefill_chunk; /* 0: auto; thread_count is given */
    isa level;
    io_choice io;
    cache_policy cache_policy;
    look_ahead_mode look_ahead;
    storage_kind io_engine;
    uint64_t model_bytes;          /* what the description of the model holds */
    uint64_t tokenizer_file_bytes; /* 0: none */
    uint64_t chat_template_bytes;  /* 0: none */
    uint64_t tokenizer_bytes;      /* where it is open already */
    const volatile int *cancel;    /* may be NULL; polled between layers and while loading */
    trunk_progress *progress;      /* may be NULL */
    void *progress_user;
    bool watches_pressure; /* the expert cache follows the machine's memory */
    lease *lease;          /* borrowed; may be NULL */
    /* Called when the trunk is open and no cache is taken: what else uses that part of the budget while an engine opens
     * must be over when it returns. May be NULL. */
    leat_status (*before_caches)(void *user, leat_error *error);
    void *before_caches_user;
    bool learns; /* keeps a tally of what it computes */
    bool warms;  /* room for a warm start is planned */
} engine_options;

typedef struct engine {
    const checkpoint *source;
    const model_desc *model;
    engine_options options;
    plan plan;
    mem *ledger;

    file *files; /* (file_count), in the wanted I/O mode */
    file_set file_set;
    uint32_t direct_file_count; /* the others are buffered */
    uint64_t files_checked_ns;
    expert_records records;

    kernel_table kernels;
    thread_pool *threads;
    prefault *pages;
    uint64_t pages_allowed[EXPERT_CLASSES_MAX]; /* of the expert cache */
    storage *reads;
    trunk *trunk;
    weight_ring *ring;                     /* NULL when the whole trunk stays */
    row_reader embedding_rows, input_rows; /* open only where the table does not stay, or comes late */
    rope_table ropes[ROPES_MAX];
    expert_cache *experts; /* NULL for dense models */
    expert_set held_set;   /* the set that the running block holds */
    look_ahead look_ahead;
    uint32_t ahead_ids[AHEAD_MAX]; /* (ahead_count) read ahead for the next layer with experts */
    uint32_t ahead_count;
    kv_cache *kv;
    scratch scratch;
    step_clock clock;
    pressure_watch watch;
    run_tally *tally;     /* NULL unless it learns */
    warm_start *warm;     /* NULL: none, or the first step has ended it */
    uint64_t file_checks; /* how often engine_check_files was asked */
} engine;

/* The plan alone: opens and closes the files to learn their alignment. */
MUST_CHECK leat_status engine_plan(const checkpoint *source, const model_desc *model, const engine_options *options,
                                   plan *out_plan, leat_error *error);

/* `source` and `model` are borrowed until close. `ledger` is the engine's (opened by engine_plan's caller with the
 * budget less the process term, so that a tokenizer can be charged to it too) and must outlive it. */
MUST_CHECK leat_status engine_open(const checkpoint *source, const model_desc *model, const engine_options *options,
                                   const plan *solved, mem *ledger, engine **out_engine, leat_error *error);
void engine_close(engine **e);

/* Lets the pages be made resident that the expert cache will use next. */
void engine_prefault_ahead(engine *e);
/* Between steps, now and then: what a step would do about the machine's memory before it computes. */
void engine_idle(engine *e);
/* Between steps: reads again what failed last, a block at the end of each file, and one elsewhere, another each time.
 * LEAT_IO: one failed, or somebody wrote to a file. */
MUST_CHECK leat_status engine_check_files(engine *e, leat_error *error);
/* Whether somebody writes to the files: looks once a second, or `now`. LEAT_IO: steps would compute with what is in no
 * model, and no later one may go on. */
MUST_CHECK leat_status engine_check_unchanged(engine *e, bool now, leat_error *error);
MUST_CHECK leat_status engine_check_cancel(const engine *e, leat_error *error);

#endif

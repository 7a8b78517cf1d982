/*
 * engine_worker.h - the thread that owns the engine: opens the model, runs jobs one after the other, looks after the
 * engine while there are none.
 *
 * It opens everything itself, so that a server can listen and say how far loading is. The worker owns model, engine,
 * session and queue; jobs are shared with who submitted them. A job that fails ends alone: the next one finds an engine
 * as good as new.
 *
 * Two threads: `leat-engine` computes and calls sinks; `leat-deadline` sleeps until the next deadline of a job and ends
 * that job. One mutex guards the queue and who runs; nobody holds it while computing or calling a sink. The engine's
 * cancel flag is set under it, only while the job that is meant runs, and cleared before the next one.
 *
 * Threads: open, drain and close from one; all else from any thread.
 */
#ifndef SERVER_ENGINE_WORKER_H
#define SERVER_ENGINE_WORKER_H

#include "server/job.h"
#include "server/metrics.h"
#include "server/slot_snapshot.h"

typedef struct engine_worker engine_worker;

enum { ENGINE_WORKER_QUEUE_DEFAULT = 32 };

typedef struct engine_worker_settings {
    const char *model_path;   /* as leat_model_open; borrowed while open runs */
    leat_options options;     /* cancel and progress are the worker's own and are set by it */
    uint32_t queue_max;       /* jobs that may wait; 0: ENGINE_WORKER_QUEUE_DEFAULT */
    uint64_t queue_bytes_max; /* of all that wait (job_bytes); 0: 64 MiB */
    metrics *metrics;         /* borrowed; may be NULL */
    /* On the engine's thread when the state becomes READY or FAILED; may be NULL. */
    void (*on_state)(void *user, worker_state state);
    void *user;
} engine_worker_settings;

/* Returns at once; loading goes on behind it. */
MUST_CHECK leat_status engine_worker_open(mem *ledger, const engine_worker_settings *settings,
                                          engine_worker **out_worker, leat_error *error);
/* No new jobs from now on. Waits until the queue is empty and the engine idle, at most until `deadline_ns` (of
 * clock_now_ns()); then cancels what is left. Returns whether all were finished in time. */
bool engine_worker_drain(engine_worker *w, uint64_t deadline_ns);
/* Cancels what is there, also loading, ends every job (on_end) and closes the engine. Nobody may call in any more, nor
 * hold pointers to the model's things. NULL is accepted. */
void engine_worker_close(engine_worker **w);

/* Never waits for the engine. */
void engine_worker_snapshot(engine_worker *w, slot_snapshot *out_snapshot);
/* Snapshot, the engine's counters and the plan, for metrics_write. */
void engine_worker_sources(engine_worker *w, metrics_sources *out_sources);
/* The model is there, nothing has moved for so long, and no read is under way that could be waited for: a thread is
 * lost. An engine without jobs moves once a second. Where nothing has moved it looks at the storage's counters, whose
 * lock may be held for a moment: not for the threads of HTTP. */
bool engine_worker_is_stuck(engine_worker *w, uint64_t limit_ns);
/* Why the state is FAILED; LEAT_OK otherwise. */
leat_status engine_worker_load_error(engine_worker *w, leat_error *out_error);

/* NULL until the state is READY; then they live until close. */
const leat_model *engine_worker_model(engine_worker *w);
const leat_plan *engine_worker_plan(engine_worker *w);
/* Also NULL when the model has no tokenizer. */
const leat_tokenizer *engine_worker_tokenizer(engine_worker *w);

typedef enum job_admission {
    JOB_ADMITTED,
    JOB_QUEUE_FULL,   /* 429 */
    JOB_LOADING,      /* 503 */
    JOB_SHUTTING_DOWN /* 503; also when the model could not be opened */
} job_admission;
/* A job is submitted once. Not admitted: it stays the caller's and its sink hears nothing.
 * out_retry_after_s (may be NULL): 0 when admitted; otherwise, from 1 to 120, when trying again is worth while: for a
 * full queue how long the jobs ahead will take, judged by those that have ended. */
job_admission job_submit(engine_worker *w, job *j, uint32_t *out_retry_after_s);

#endif

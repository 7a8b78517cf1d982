#include "engine_worker.h"

#include "base/bytes.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/own_thread.h"
#include "server/engine_seat.h"
#include "server/job_queue.h"
#include "server/job_run.h"
#include "server/service_time.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IDLE_LOOK_NS         UINT64_C(1000000000)
#define QUEUE_BYTES_DEFAULT  (UINT64_C(64) << 20)
#define NS_PER_S             UINT64_C(1000000000)
#define ENGINE_STACK_BYTES   (UINT64_C(1) << 20)
#define DEADLINE_STACK_BYTES (UINT64_C(64) << 10)
enum { RETRY_LOADING_S = 5 };

struct engine_worker {
    mem *ledger;
    engine_worker_settings settings;
    char *model_path;
    engine_seat seat; /* the engine's thread, but for its boards; its flag under the mutex */
    own_thread engine_thread, deadline_thread;
    _Atomic int state; /* worker_state */
    _Atomic uint64_t opened_ns, ready_ns;
    leat_error load_error; /* constant once the state is FAILED */

    pthread_mutex_t mutex;
    pthread_cond_t work, clock, quiet; /* for the engine's thread, for the deadline's, for drain */
    job_queue queue;
    job *running;      /* whose turn it is: the flag means this one */
    bool is_busy;      /* with it, or still telling its end */
    bool is_stopping;  /* close */
    uint64_t begun_ns; /* when `running` began */
    uint64_t number;   /* of the last job admitted */
    service_time service;
    _Atomic uint32_t queue_length; /* queue.count, for those who do not wait */
    atomic_bool is_checking;       /* reads from the model's files to see whether that works */
};

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    const struct timespec at = {(time_t)(deadline_ns / NS_PER_S), (long)(deadline_ns % NS_PER_S)};
    if (deadline_ns == UINT64_MAX)
        pthread_cond_wait(cond, mutex);
    else
        pthread_cond_timedwait(cond, mutex, &at);
}

static void note_length(engine_worker *w)
{
    atomic_store(&w->queue_length, w->queue.count);
    if (w->queue.count == 0) pthread_cond_broadcast(&w->quiet);
}

/* ---- jobs that end without having begun ---- */

/* Under the mutex; the caller then ends it without. */
static void take_from_queue(engine_worker *w, job *j, job_cause cause)
{
    job_queue_remove(&w->queue, j);
    job_set_cause(j, cause);
    j->state = JOB_ENDED;
    note_length(w);
}

static void end_in_queue(engine_worker *w, job *j)
{
    const uint64_t now_ns = clock_now_ns();
    const bool is_late = job_cause_of(j) == JOB_CAUSE_DEADLINE;
    if (w->settings.metrics) {
        metrics_observe(w->settings.metrics, METRICS_QUEUE_WAIT, now_ns - j->submitted_ns);
        metrics_observe(w->settings.metrics, METRICS_REQUEST_DURATION, now_ns - j->submitted_ns);
        metrics_count_finish(w->settings.metrics, is_late ? METRICS_FINISH_TIMEOUT : METRICS_FINISH_CLIENT_CLOSED);
    }
    job_end_unbegun(j, now_ns);
    job_release(&j);
}

void job_cancel(job *j)
{
    job_set_cause(j, JOB_CAUSE_CANCEL);
    engine_worker *w = atomic_load(&j->worker);
    if (!w) return;
    pthread_mutex_lock(&w->mutex);
    const bool is_queued = j->state == JOB_QUEUED;
    if (is_queued) take_from_queue(w, j, JOB_CAUSE_CANCEL);
    if (w->running == j) engine_seat_set_cancel(&w->seat, true);
    pthread_mutex_unlock(&w->mutex);
    if (is_queued) end_in_queue(w, j);
}

uint32_t job_position(const job *j)
{
    engine_worker *w = atomic_load(&j->worker);
    if (!w) return 0;
    pthread_mutex_lock(&w->mutex);
    const uint32_t position = job_queue_position(&w->queue, j);
    pthread_mutex_unlock(&w->mutex);
    return position;
}

static void cancel_all(engine_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    if (w->running) job_set_cause(w->running, JOB_CAUSE_CANCEL);
    if (w->running || w->is_stopping) engine_seat_set_cancel(&w->seat, true);
    while (w->queue.first) {
        job *j = w->queue.first;
        take_from_queue(w, j, JOB_CAUSE_CANCEL);
        pthread_mutex_unlock(&w->mutex);
        end_in_queue(w, j);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
}

/* ---- deadlines ---- */

/* Under the mutex: ends what is late and returns when to look again. */
static uint64_t serve_deadlines(engine_worker *w)
{
    uint64_t next_ns;
    job *late;
    while ((late = job_queue_find_late(&w->queue, clock_now_ns(), &next_ns)) != NULL) {
        take_from_queue(w, late, JOB_CAUSE_DEADLINE);
        pthread_mutex_unlock(&w->mutex);
        end_in_queue(w, late);
        pthread_mutex_lock(&w->mutex);
    }
    if (!w->running || w->running->settings.deadline_ns == 0 || job_cause_of(w->running) != JOB_NO_CAUSE)
        return next_ns;
    if (w->running->settings.deadline_ns > clock_now_ns()) return min_u64(next_ns, w->running->settings.deadline_ns);
    job_set_cause(w->running, JOB_CAUSE_DEADLINE);
    engine_seat_set_cancel(&w->seat, true);
    return next_ns;
}

static void watch_deadlines(void *context)
{
    engine_worker *w = context;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_stopping) wait_until(&w->clock, &w->mutex, serve_deadlines(w));
    pthread_mutex_unlock(&w->mutex);
}

/* ---- the engine's thread ---- */

static bool change_state(engine_worker *w, worker_state from, worker_state to)
{
    int expected = (int)from;
    return atomic_compare_exchange_strong(&w->state, &expected, (int)to);
}

/* $LEAT_SERVE_TEST_LOAD_MS: how long a test wants loading to last at least. */
static void wait_for_test(const engine_worker *w)
{
    const struct timespec tick = {.tv_nsec = 10 * 1000 * 1000};
    const char *text = getenv("LEAT_SERVE_TEST_LOAD_MS");
    for (long waited_ms = 0; text && waited_ms < strtol(text, NULL, 10); waited_ms += 10) {
        if (atomic_load(&w->state) != WORKER_LOADING) return;
        nanosleep(&tick, NULL);
    }
}

static bool load(engine_worker *w)
{
    wait_for_test(w);
    if (engine_seat_open(&w->seat, w->model_path, &w->settings.options, &w->load_error) != LEAT_OK) {
        atomic_store(&w->state, WORKER_FAILED);
        if (w->settings.on_state) w->settings.on_state(w->settings.user, WORKER_FAILED);
        return false;
    }
    atomic_store(&w->ready_ns, clock_now_ns());
    if (change_state(w, WORKER_LOADING, WORKER_READY) && w->settings.on_state)
        w->settings.on_state(w->settings.user, WORKER_READY);
    return true;
}

/* Jobs may stay away for as long as the server says that it is not well, so they cannot be what proves it well. */
static void check_files(engine_worker *w)
{
    leat_error error = {0};
    atomic_store(&w->is_checking, true);
    if (leat_engine_check_files(w->seat.engine, &error) == LEAT_OK) {
        w->seat.now.is_degraded = false;
        log_write(LOG_INFO, "the model's files can be read again");
    }
    atomic_store(&w->is_checking, false);
}

/* Nobody waits: what steps would do about memory is done here. */
static void look_after_engine(engine_worker *w)
{
    pthread_mutex_unlock(&w->mutex);
    leat_engine_poll(w->seat.engine);
    if (w->seat.now.is_degraded) check_files(w);
    engine_seat_publish(&w->seat, true);
    pthread_mutex_lock(&w->mutex);
}

/* NULL: the end. */
static job *take_next(engine_worker *w)
{
    job *j;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_stopping && w->queue.count == 0) {
        const uint64_t look_ns = clock_now_ns() + IDLE_LOOK_NS;
        wait_until(&w->work, &w->mutex, look_ns);
        if (!w->is_stopping && w->queue.count == 0 && clock_now_ns() >= look_ns) look_after_engine(w);
    }
    j = w->is_stopping ? NULL : job_queue_pop(&w->queue);
    if (j) {
        j->state = JOB_RUNNING;
        w->running = j;
        w->is_busy = true;
        w->begun_ns = clock_now_ns();
        note_length(w);
    }
    pthread_mutex_unlock(&w->mutex);
    return j;
}

/* From here on nobody's cancel means the engine. */
static void leave(engine_worker *w, job *j, const job_result *result)
{
    pthread_mutex_lock(&w->mutex);
    j->state = JOB_ENDED;
    w->running = NULL;
    engine_seat_set_cancel(&w->seat, false);
    if (result->end == JOB_STOP || result->end == JOB_LENGTH)
        service_time_add(&w->service, clock_now_ns() - w->begun_ns);
    pthread_mutex_unlock(&w->mutex);
}

/* $LEAT_SERVE_TEST_HANG_MS: how long a test wants the engine to be lost before each job. */
static void hang_for_test(void)
{
    const char *text = getenv("LEAT_SERVE_TEST_HANG_MS");
    const long ms = text ? strtol(text, NULL, 10) : 0;
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    if (ms > 0) nanosleep(&time, NULL);
}

static void run_next(engine_worker *w, job *j)
{
    job_result *result = &j->figures; /* where the sink sees it grow */
    leat_error error = {0};

    hang_for_test();
    job_run(&w->seat, j, result, &error);
    leave(w, j, result);
    const bool has_failed = result->status != LEAT_OK; /* what the owner could not do it has said itself */
    if (has_failed) log_write(LOG_ERROR, "a request failed: %s", error.text);
    j->sink.on_end(j->user, result, has_failed ? &error : NULL);
    job_release(&j);
    pthread_mutex_lock(&w->mutex);
    w->is_busy = false;
    pthread_cond_broadcast(&w->quiet);
    pthread_mutex_unlock(&w->mutex);
}

static void work(void *context)
{
    engine_worker *w = context;
    job *j;
    if (load(w))
        while ((j = take_next(w)) != NULL) run_next(w, j);
    engine_seat_close(&w->seat);
}

/* ---- submission ---- */

static uint32_t retry_when_loaded(engine_worker *w)
{
    slot_snapshot now;
    engine_worker_snapshot(w, &now);
    const double done = slot_snapshot_load_progress(&now);
    const double spent_s = (double)(clock_now_ns() - w->opened_ns) * 1e-9;
    if (done < 0.01 || now.worker != WORKER_LOADING) return RETRY_LOADING_S;
    const double left_s = spent_s * (1 - done) / done + 1;
    return left_s < RETRY_AFTER_MAX_S ? (uint32_t)left_s : RETRY_AFTER_MAX_S;
}

/* Under the mutex. */
static void admit(engine_worker *w, job *j)
{
    j->state = JOB_QUEUED;
    j->submitted_ns = clock_now_ns();
    atomic_store(&j->number, ++w->number);
    atomic_store(&j->worker, w);
    job_keep(j);
    note_length(w);
    pthread_cond_signal(&w->work);
    if (j->settings.deadline_ns > 0) pthread_cond_signal(&w->clock);
}

job_admission job_submit(engine_worker *w, job *j, uint32_t *out_retry_after_s)
{
    uint32_t retry_s = 0;
    bool is_unwanted = false;
    const worker_state state = (worker_state)atomic_load(&w->state);
    job_admission admission = state == WORKER_READY     ? JOB_ADMITTED
                              : state == WORKER_LOADING ? JOB_LOADING
                                                        : JOB_SHUTTING_DOWN;

    assert(j->state == JOB_NEW);
    if (admission != JOB_ADMITTED) {
        retry_s = retry_when_loaded(w);
    } else {
        pthread_mutex_lock(&w->mutex);
        if (w->is_stopping || atomic_load(&w->state) != WORKER_READY)
            admission = JOB_SHUTTING_DOWN;
        else if (!job_queue_push(&w->queue, j))
            admission = JOB_QUEUE_FULL;
        else
            admit(w, j);
        if (admission != JOB_ADMITTED)
            retry_s =
                service_time_retry_after(&w->service, w->queue.count, w->running ? clock_now_ns() - w->begun_ns : 0);
        /* Cancelled before there was a queue to take it from. A job_cancel that runs now either finds the worker, or
         * has set the cause already. */
        is_unwanted = admission == JOB_ADMITTED && job_cause_of(j) != JOB_NO_CAUSE;
        if (is_unwanted) take_from_queue(w, j, JOB_CAUSE_CANCEL);
        pthread_mutex_unlock(&w->mutex);
        if (is_unwanted) end_in_queue(w, j);
    }
    if (out_retry_after_s) *out_retry_after_s = retry_s;
    return admission;
}

/* ---- life ---- */

static void init_locks(engine_worker *w)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic); /* with these attributes none of it can fail on Linux */
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->work, &monotonic);
    pthread_cond_init(&w->clock, &monotonic);
    pthread_cond_init(&w->quiet, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

leat_status engine_worker_open(mem *ledger, const engine_worker_settings *settings, engine_worker **out_worker,
                               leat_error *error)
{
    leat_status status = LEAT_OK;
    engine_worker *w;

    TRY(MEM_NEW(ledger, META, 1, &w, error));
    w->ledger = ledger;
    w->settings = *settings;
    w->seat.ledger = ledger;
    w->seat.metrics = settings->metrics;
    w->queue.count_max = settings->queue_max > 0 ? settings->queue_max : ENGINE_WORKER_QUEUE_DEFAULT;
    w->queue.bytes_max = settings->queue_bytes_max > 0 ? settings->queue_bytes_max : QUEUE_BYTES_DEFAULT;
    atomic_store(&w->opened_ns, clock_now_ns());
    atomic_store(&w->state, WORKER_LOADING);
    init_locks(w);
    TRY_OR(fail, MEM_NEW(ledger, META, strlen(settings->model_path) + 1, &w->model_path, error));
    memcpy(w->model_path, settings->model_path, strlen(settings->model_path) + 1);
    TRY_OR(fail, own_thread_start(ledger, MEM_META, "leat-deadline", DEADLINE_STACK_BYTES, watch_deadlines, w,
                                  &w->deadline_thread, error));
    TRY_OR(fail,
           own_thread_start(ledger, MEM_META, "leat-engine", ENGINE_STACK_BYTES, work, w, &w->engine_thread, error));
    *out_worker = w;
    return LEAT_OK;
fail:
    engine_worker_close(&w);
    return status;
}

bool engine_worker_drain(engine_worker *w, uint64_t deadline_ns)
{
    bool is_quiet;
    if (!change_state(w, WORKER_READY, WORKER_DRAINING)) change_state(w, WORKER_LOADING, WORKER_DRAINING);
    pthread_mutex_lock(&w->mutex);
    while ((w->queue.count > 0 || w->is_busy) && clock_now_ns() < deadline_ns)
        wait_until(&w->quiet, &w->mutex, deadline_ns);
    is_quiet = w->queue.count == 0 && !w->is_busy;
    pthread_mutex_unlock(&w->mutex);
    if (!is_quiet) cancel_all(w);
    return is_quiet;
}

void engine_worker_close(engine_worker **worker)
{
    engine_worker *w = *worker;
    if (!w) return;
    if (!change_state(w, WORKER_READY, WORKER_DRAINING)) change_state(w, WORKER_LOADING, WORKER_DRAINING);
    pthread_mutex_lock(&w->mutex);
    w->is_stopping = true;
    pthread_cond_broadcast(&w->work);
    pthread_cond_broadcast(&w->clock);
    pthread_mutex_unlock(&w->mutex);
    cancel_all(w);
    own_thread_join(&w->engine_thread);
    own_thread_join(&w->deadline_thread);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->clock);
    pthread_cond_destroy(&w->quiet);
    pthread_mutex_destroy(&w->mutex);
    mem_free(w->ledger, w->model_path);
    mem_free(w->ledger, w);
    *worker = NULL;
}

/* ---- what others see ---- */

void engine_worker_snapshot(engine_worker *w, slot_snapshot *out_snapshot)
{
    publish_board_read(&w->seat.slot_board, out_snapshot, sizeof *out_snapshot);
    out_snapshot->worker = (worker_state)atomic_load(&w->state);
    out_snapshot->queue_length = atomic_load(&w->queue_length);
    out_snapshot->queue_max = w->queue.count_max;
}

static bool has_engine(engine_worker *w) { return atomic_load(&w->ready_ns) > 0; }

void engine_worker_sources(engine_worker *w, metrics_sources *out_sources)
{
    *out_sources = (metrics_sources){0};
    engine_worker_snapshot(w, &out_sources->slot);
    if (!has_engine(w)) return;
    out_sources->has_engine = true;
    publish_board_read(&w->seat.stats_board, &out_sources->stats, sizeof out_sources->stats);
    out_sources->plan = *w->seat.plan;
    out_sources->ready_ns = atomic_load(&w->ready_ns) - atomic_load(&w->opened_ns);
}

bool engine_worker_is_stuck(engine_worker *w, uint64_t limit_ns)
{
    slot_snapshot now;
    if (!has_engine(w)) return false;
    engine_worker_snapshot(w, &now);
    const uint64_t now_ns = clock_now_ns();
    if (now_ns < now.progress_ns || now_ns - now.progress_ns < limit_ns) return false;
    return leat_engine_get_stats(w->seat.engine).reads_in_flight == 0 && !atomic_load(&w->is_checking);
}

leat_status engine_worker_load_error(engine_worker *w, leat_error *out_error)
{
    if (atomic_load(&w->state) != WORKER_FAILED) return LEAT_OK;
    *out_error = w->load_error;
    return w->load_error.status;
}

const leat_model *engine_worker_model(engine_worker *w) { return has_engine(w) ? w->seat.model : NULL; }
const leat_plan *engine_worker_plan(engine_worker *w) { return has_engine(w) ? w->seat.plan : NULL; }
const leat_tokenizer *engine_worker_tokenizer(engine_worker *w) { return has_engine(w) ? w->seat.tokenizer : NULL; }

/*
 * storage_threads.c - the storage seam on a pool of threads that call pread.
 *
 * At the sizes of expert records (hundreds of kilobytes and more) a handful of blocking threads keeps a disk as busy as
 * an asynchronous interface does, and it works on every kernel and file system.
 *
 * A reader takes the entry that the scheduler names and owns it while it reads, without the mutex. When it was
 * named because of what else was taken, more may be named: the reader then wakes another.
 */
#include "io/read_queue.h"

#include "base/bytes.h"
#include "os/clock.h"
#include "os/own_thread.h"

#include <assert.h>

enum {
    /* The deepest call is file_read raising an error: a few kilobytes of text formatting; the rest is for a signal
     * frame with vector registers. */
    READER_STACK_BYTES = 128 * 1024,
    READER_COUNT_MAX = 256,
};

typedef struct storage_threads {
    read_queue queue;

    /* Fixed after open. */
    own_thread *readers;   /* (reader_count) */
    uint32_t reader_count; /* threads that run, while open is under way */

    pthread_cond_t queued_some; /* for readers */
    bool is_closing;            /* guarded by the queue's mutex */
} storage_threads;

/* ---- readers ---- */

static leat_status read_window(const read_queue *q, read_entry *e)
{
    const file *f = &q->files->files[e->request.what.file_idx];
    const char *name = q->files->names[e->request.what.file_idx];
    TRY(read_entry_begin(q, e, &e->error));
    return file_read(f, name, e->progress.offset, e->request.buffer, e->progress.bytes, NULL, &e->error);
}

/* Until something is queued, or may be read that could not until now; the mutex is held. */
static void wait_for_queued(storage_threads *t)
{
    uint64_t retry_ns = read_queue_retry_ns(&t->queue);
    if (retry_ns == UINT64_MAX) {
        pthread_cond_wait(&t->queued_some, &t->queue.mutex);
        return;
    }
    struct timespec retry = {(time_t)(retry_ns / 1000000000), (long)(retry_ns % 1000000000)};
    pthread_cond_timedwait(&t->queued_some, &t->queue.mutex, &retry);
}

/* Waits for work; the mutex is held. ENTRY_NONE: the storage is closing. */
static int32_t wait_for_entry(storage_threads *t)
{
    int32_t entry_idx = ENTRY_NONE;
    while (!t->is_closing && (entry_idx = read_queue_take(&t->queue)) == ENTRY_NONE) wait_for_queued(t);
    if (entry_idx != ENTRY_NONE && t->queue.sched.queued_count > 0) pthread_cond_signal(&t->queued_some);
    return entry_idx;
}

static void serve_reads(void *context)
{
    storage_threads *t = context;
    read_queue *q = &t->queue;
    int32_t entry_idx;
    pthread_mutex_lock(&q->mutex);
    while ((entry_idx = wait_for_entry(t)) != ENTRY_NONE) {
        pthread_mutex_unlock(&q->mutex);
        read_entry *e = &q->entries[entry_idx];
        e->status = read_window(q, e);
        pthread_mutex_lock(&q->mutex);
        read_queue_end(q, entry_idx);
    }
    pthread_mutex_unlock(&q->mutex);
}

/* ---- the seam ---- */

static void submit_read(storage *s, const read_request *request)
{
    storage_threads *t = (storage_threads *)s;
    read_queue *q = &t->queue;
    pthread_mutex_lock(&q->mutex);
    while (!read_queue_has_room(q, request->class)) pthread_cond_wait(&q->freed_one, &q->mutex);
    read_queue_enter(q, request);
    pthread_cond_signal(&t->queued_some);
    pthread_mutex_unlock(&q->mutex);
}

static bool try_submit_read(storage *s, const read_request *request)
{
    storage_threads *t = (storage_threads *)s;
    read_queue *q = &t->queue;
    pthread_mutex_lock(&q->mutex);
    bool has_room = read_queue_has_room(q, request->class);
    if (has_room) {
        read_queue_enter(q, request);
        pthread_cond_signal(&t->queued_some);
    }
    pthread_mutex_unlock(&q->mutex);
    return has_room;
}

static bool reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_threads *t = (storage_threads *)s;
    read_queue *q = &t->queue;
    bool is_found;
    read_trace trace = {0};
    const uint64_t since_ns = clock_now_ns();
    int32_t lost_idx;
    pthread_mutex_lock(&q->mutex);
    while (!(is_found = read_queue_reap(q, tag_begin, tag_end, out_result, &trace)) &&
           read_queue_expect(q, tag_begin, tag_end)) {
        pthread_cond_signal(&t->queued_some); /* what was held back may be a demand now */
        is_found = read_queue_give_up(q, tag_begin, tag_end, since_ns, out_result, &lost_idx);
        if (is_found) break;
        read_queue_wait(q, read_queue_look_ns(q));
    }
    pthread_mutex_unlock(&q->mutex);
    if (is_found) read_trace_wipe(&trace);
    return is_found;
}

static bool try_reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    read_queue *q = (read_queue *)s;
    read_trace trace = {0};
    pthread_mutex_lock(&q->mutex);
    bool is_found = read_queue_reap(q, tag_begin, tag_end, out_result, &trace);
    pthread_mutex_unlock(&q->mutex);
    read_trace_wipe(&trace);
    return is_found;
}

static uint32_t cancel_reads(storage *s, uint64_t tag_begin, uint64_t tag_end)
{
    storage_threads *t = (storage_threads *)s;
    pthread_mutex_lock(&t->queue.mutex);
    uint32_t count = read_queue_cancel(&t->queue, tag_begin, tag_end);
    pthread_cond_broadcast(&t->queued_some); /* less urgent ones may be next */
    pthread_mutex_unlock(&t->queue.mutex);
    return count;
}

static void raise_reads(storage *s, uint64_t tag_begin, uint64_t tag_end, read_class class)
{
    storage_threads *t = (storage_threads *)s;
    pthread_mutex_lock(&t->queue.mutex);
    read_queue_raise(&t->queue, tag_begin, tag_end, class);
    pthread_cond_broadcast(&t->queued_some);
    pthread_mutex_unlock(&t->queue.mutex);
}

static void grant_bytes(storage *s, const read_grant *grant)
{
    storage_threads *t = (storage_threads *)s;
    pthread_mutex_lock(&t->queue.mutex);
    read_queue_grant(&t->queue, grant);
    pthread_cond_broadcast(&t->queued_some);
    pthread_mutex_unlock(&t->queue.mutex);
}

/* Readers are fewer than what a ring takes: one of them is kept for demand. */
static void limit_reads(storage *s, const read_limits *limits)
{
    storage_threads *t = (storage_threads *)s;
    read_limits ours = *limits;
    for (uint32_t c = READ_CERTAIN; c < READ_CLASS_COUNT; c++)
        ours.reads[c] = (uint32_t)min_u64(ours.reads[c], max_u64(1, t->reader_count - 1));
    pthread_mutex_lock(&t->queue.mutex);
    io_sched_limit(&t->queue.sched, &ours);
    pthread_cond_broadcast(&t->queued_some);
    pthread_mutex_unlock(&t->queue.mutex);
}

static void watch_reads(storage *s, const read_watch *watch)
{
    read_queue *q = (read_queue *)s;
    pthread_mutex_lock(&q->mutex);
    read_queue_watch(q, watch);
    pthread_cond_broadcast(&q->done_some); /* who waits knows the old one */
    pthread_mutex_unlock(&q->mutex);
}

static void reclaim_places(storage *s)
{
    read_queue *q = (read_queue *)s;
    pthread_mutex_lock(&q->mutex);
    read_queue_watch(q, &(read_watch){NULL, READ_PATIENCE_ENDLESS});
    while (q->lost_count > 0) read_queue_wait(q, UINT64_MAX);
    pthread_mutex_unlock(&q->mutex);
}

/* The readers see to it. */
static void pump_reads(storage *s) { (void)s; }

static storage_stats get_stats(const storage *s)
{
    read_queue *q = (read_queue *)s; /* logically const: the mutex is restored */
    pthread_mutex_lock(&q->mutex);
    storage_stats stats = read_queue_stats(q);
    pthread_mutex_unlock(&q->mutex);
    return stats;
}

/* Also undoes an open that stopped half way. */
static void close_storage(storage **s)
{
    if (*s == NULL) return;
    storage_threads *t = (storage_threads *)*s;
    pthread_mutex_lock(&t->queue.mutex);
    t->is_closing = true; /* reads under way are finished, queued ones are dropped */
    pthread_cond_broadcast(&t->queued_some);
    pthread_mutex_unlock(&t->queue.mutex);
    for (uint32_t i = 0; i < t->reader_count; i++) own_thread_join(&t->readers[i]);
    pthread_cond_destroy(&t->queued_some);
    mem *ledger = t->queue.ledger;
    mem_free(ledger, t->readers);
    read_queue_close(&t->queue);
    mem_free(ledger, t);
    *s = NULL;
}

static const storage_ops threads_ops = {
    .kind = STORAGE_THREADS,
    .name = "threads",
    .submit = submit_read,
    .try_submit = try_submit_read,
    .reap = reap_read,
    .try_reap = try_reap_read,
    .cancel = cancel_reads,
    .raise = raise_reads,
    .grant = grant_bytes,
    .limit = limit_reads,
    .pump = pump_reads,
    .watch = watch_reads,
    .reclaim = reclaim_places,
    .stats = get_stats,
    .close = close_storage,
};

uint64_t storage_threads_bytes(uint32_t thread_count, uint32_t queue_depth)
{
    return mem_block_bytes(sizeof(storage_threads), 0) + read_queue_bytes(queue_depth) +
           mem_block_bytes(thread_count * sizeof(own_thread), 0) + thread_count * own_thread_bytes(READER_STACK_BYTES);
}

leat_status storage_threads_open(mem *ledger, const file_set *files, uint32_t thread_count, uint32_t queue_depth,
                                 storage **out_storage, leat_error *error)
{
    assert(thread_count >= 1 && thread_count <= READER_COUNT_MAX);
    leat_status status;
    storage_threads *t = NULL;
    TRY(MEM_NEW(ledger, IO, 1, &t, error));
    pthread_condattr_t attributes; /* none of this can fail on Linux */
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* that of clock_now_ns */
    pthread_cond_init(&t->queued_some, &attributes);
    pthread_condattr_destroy(&attributes);
    TRY_OR(fail, read_queue_open(&t->queue, &threads_ops, ledger, files, queue_depth, error));
    TRY_OR(fail, MEM_NEW(ledger, IO, thread_count, &t->readers, error));
    for (; t->reader_count < thread_count; t->reader_count++)
        TRY_OR(fail, own_thread_start(ledger, MEM_IO, "leat-reader", READER_STACK_BYTES, serve_reads, t,
                                      &t->readers[t->reader_count], error));
    limit_reads(&t->queue.base, &(read_limits)READ_LIMITS_DEFAULT);
    *out_storage = &t->queue.base;
    return LEAT_OK;

fail:
    close_storage(&(storage *){&t->queue.base});
    return status;
}

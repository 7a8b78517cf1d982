/*
 * storage_uring.c - the storage seam on io_uring: one ring, the files registered, as many requests as the scheduler
 * lets go.
 *
 * Submitting: an entry becomes a request of the ring at once, or with the next one where the caller says that another
 * follows; whoever is about to wait, for room or for a result, submits what is still queued. So nothing waits
 * unsubmitted but the beginning of a batch whose end is on its way, and what the scheduler holds back. That is looked
 * at again by every call, after it took in completions: there is no thread that would do it while nobody calls.
 *
 * Waiting: the first one that has to wait does so in the kernel, without the mutex, and takes in what has come, for
 * all; the others wait for him on the condition variable, and one of them takes his place when he leaves. Only he takes
 * in completions meanwhile: were another to take his, he would wait for ever. Without a waiter completions are taken in
 * by the next call, whichever it is.
 *
 * Buffered files are read by the kernel's own workers (IOSQE_ASYNC): in place, the copy from the page cache would be
 * made by the submitter, one after the other.
 */
#include "io/read_queue.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

enum { BUFFERED_WORKERS = 4 };

#define CANCEL_DATA UINT64_MAX /* what marks a request that is no entry's read */

typedef struct storage_uring {
    read_queue queue;
    struct io_uring ring;
    uint64_t charged_bytes; /* the ring's pages, counted by the ledger; 0: not open */

    /* Guarded by the queue's mutex. */
    uint32_t flying_count; /* requests that the kernel has, or that lie completed in the ring */
    bool has_waiter;       /* somebody waits in the kernel */
} storage_uring;

/* ---- submitting; the mutex is held ---- */

static void prepare_request(storage_uring *u, int32_t entry_idx)
{
    const read_entry *e = &u->queue.entries[entry_idx];
    const file_progress *p = &e->progress;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    assert(sqe != NULL); /* the ring has a place for every entry */
    io_uring_prep_read(sqe, (int)e->request.what.file_idx, e->request.buffer + p->done_bytes,
                       (unsigned)file_progress_next_bytes(p), p->offset + p->done_bytes);
    sqe->flags |= IOSQE_FIXED_FILE;
    if (!u->queue.files->files[e->request.what.file_idx].is_direct) sqe->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data64(sqe, (uint64_t)entry_idx);
}

/* The kernel is asked to let go of a read that was given up. It may not be able to. */
static void ask_to_let_go(storage_uring *u, int32_t entry_idx)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) return; /* then without being asked */
    io_uring_prep_cancel64(sqe, (uint64_t)entry_idx, 0);
    io_uring_sqe_set_data64(sqe, CANCEL_DATA);
}

static void end_entry(storage_uring *u, int32_t entry_idx, leat_status status)
{
    u->queue.entries[entry_idx].status = status;
    read_queue_end(&u->queue, entry_idx);
}

/* Ends the requests that the kernel refused to take and takes them out of the ring. It looks at the ring's tail only
 * when it is called. */
static void fail_unsubmitted(storage_uring *u, int os_errno)
{
    struct io_uring_sq *sq = &u->ring.sq;
    unsigned head = __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE), tail = *sq->ktail;
    for (unsigned i = head; i != tail; i++) {
        if (sq->sqes[i & *sq->kring_mask].user_data == CANCEL_DATA) continue;
        int32_t entry_idx = (int32_t)sq->sqes[i & *sq->kring_mask].user_data;
        read_entry *e = &u->queue.entries[entry_idx];
        int64_t refusal = -(int64_t)os_errno;
        uint32_t file_idx = e->request.what.file_idx;
        end_entry(u, entry_idx,
                  file_progress_take(&u->queue.files->files[file_idx], u->queue.files->names[file_idx], refusal,
                                     &e->progress, &e->error));
    }
    sq->sqe_head = sq->sqe_tail = head;
    __atomic_store_n(sq->ktail, head, __ATOMIC_RELEASE);
}

static void submit_queued(storage_uring *u)
{
    int32_t entry_idx;
    while ((entry_idx = read_queue_take(&u->queue)) != ENTRY_NONE) {
        read_entry *e = &u->queue.entries[entry_idx];
        if (e->progress.bytes == 0) {
            leat_status status = read_entry_begin(&u->queue, e, &e->error);
            if (status != LEAT_OK) {
                end_entry(u, entry_idx, status);
                continue;
            }
        }
        prepare_request(u, entry_idx);
    }
    while (io_uring_sq_ready(&u->ring) > 0) {
        int got = io_uring_submit(&u->ring);
        if (got > 0) u->flying_count += (uint32_t)got;
        if (got > 0 || got == -EINTR) continue;
        if (got == 0 || got == -EAGAIN || got == -EBUSY) return; /* no room just now: who waits tries again */
        fail_unsubmitted(u, -got);
    }
}

/* ---- completions; the mutex is held ---- */

static void take_completion(storage_uring *u, int32_t entry_idx, int64_t got)
{
    read_queue *q = &u->queue;
    read_entry *e = &q->entries[entry_idx];
    uint32_t file_idx = e->request.what.file_idx;
    /* The kernel cancels the reads of a thread that ended before them, and those that were given up. */
    if (got == -ECANCELED) got = -EAGAIN;
    e->status = file_progress_take(&q->files->files[file_idx], q->files->names[file_idx], got, &e->progress, &e->error);
    if (e->status == LEAT_OK && !file_progress_is_done(&e->progress))
        read_queue_ask_again(q, entry_idx);
    else
        read_queue_end(q, entry_idx);
}

/* Not while another waits in the kernel. */
static void take_completions(storage_uring *u)
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        if (cqe->user_data != CANCEL_DATA) take_completion(u, (int32_t)cqe->user_data, cqe->res);
        count++;
    }
    io_uring_cq_advance(&u->ring, count);
    u->flying_count -= count;
}

/* The usual beginning of a call: takes in what has come. */
static void look_around(storage_uring *u)
{
    if (!u->has_waiter) take_completions(u);
}

/* The usual end of one that is not about submitting. */
static void look_around_and_submit(storage_uring *u)
{
    look_around(u);
    submit_queued(u);
}

/* Until something has completed, or `until_ns` if that is not UINT64_MAX; without the mutex. */
static void wait_in_kernel(storage_uring *u, uint64_t until_ns)
{
    uint64_t now_ns = clock_now_ns(), wait_ns = until_ns - min_u64(until_ns, now_ns);
    struct __kernel_timespec timeout = {(int64_t)(wait_ns / 1000000000), (long long)(wait_ns % 1000000000)};
    struct io_uring_getevents_arg how = {.ts = until_ns == UINT64_MAX ? 0 : (uint64_t)(uintptr_t)&timeout};
    int got = io_uring_enter2((unsigned)u->ring.ring_fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                              (sigset_t *)&how, sizeof how);
    if (got < 0 && got != -EINTR && got != -ETIME) sched_yield();
}

/* Waits until something has come or is to be asked again, or patience may have ended; the caller's own read is among
 * those that are under way. */
static void wait_for_some(storage_uring *u)
{
    read_queue *q = &u->queue;
    if (u->has_waiter) {
        read_queue_wait(q, read_queue_look_ns(q));
        return;
    }
    uint64_t again_ns = read_queue_again_ns(q), until_ns = min_u64(again_ns, read_queue_look_ns(q));
    bool is_refused = u->flying_count == 0 && again_ns == UINT64_MAX; /* nothing will come before it is submitted */
    u->has_waiter = true;
    pthread_mutex_unlock(&q->mutex);
    if (is_refused)
        sched_yield();
    else
        wait_in_kernel(u, until_ns);
    pthread_mutex_lock(&q->mutex);
    u->has_waiter = false;
    take_completions(u);
    pthread_cond_broadcast(&q->done_some); /* another has to wait here, even when nothing ended */
}

/* ---- the seam ---- */

static void enter_request(storage_uring *u, const read_request *request)
{
    read_queue_enter(&u->queue, request);
    if (!request->is_followed) submit_queued(u);
}

static void submit_read(storage *s, const read_request *request)
{
    storage_uring *u = (storage_uring *)s;
    read_queue *q = &u->queue;
    pthread_mutex_lock(&q->mutex);
    look_around(u);
    while (!read_queue_has_room(q, request->class)) {
        submit_queued(u);
        pthread_cond_wait(&q->freed_one, &q->mutex);
    }
    enter_request(u, request);
    pthread_mutex_unlock(&q->mutex);
}

static bool try_submit_read(storage *s, const read_request *request)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    look_around(u);
    bool has_room = read_queue_has_room(&u->queue, request->class);
    if (has_room)
        enter_request(u, request);
    else
        submit_queued(u); /* the batch ends here */
    pthread_mutex_unlock(&u->queue.mutex);
    return has_room;
}

static bool reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_uring *u = (storage_uring *)s;
    read_queue *q = &u->queue;
    bool is_found;
    read_trace trace = {0};
    const uint64_t since_ns = clock_now_ns();
    int32_t lost_idx = ENTRY_NONE;
    pthread_mutex_lock(&q->mutex);
    for (;;) {
        look_around_and_submit(u);
        is_found = read_queue_reap(q, tag_begin, tag_end, out_result, &trace);
        if (is_found || !read_queue_expect(q, tag_begin, tag_end)) break;
        submit_queued(u); /* what was held back may be a demand now */
        is_found = read_queue_give_up(q, tag_begin, tag_end, since_ns, out_result, &lost_idx);
        if (is_found) break;
        wait_for_some(u);
    }
    if (lost_idx != ENTRY_NONE) {
        ask_to_let_go(u, lost_idx);
        submit_queued(u);
    }
    pthread_mutex_unlock(&q->mutex);
    if (is_found) read_trace_wipe(&trace);
    return is_found;
}

static bool try_reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_uring *u = (storage_uring *)s;
    read_trace trace = {0};
    pthread_mutex_lock(&u->queue.mutex);
    look_around_and_submit(u);
    bool is_found = read_queue_reap(&u->queue, tag_begin, tag_end, out_result, &trace);
    pthread_mutex_unlock(&u->queue.mutex);
    read_trace_wipe(&trace);
    return is_found;
}

static uint32_t cancel_reads(storage *s, uint64_t tag_begin, uint64_t tag_end)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    uint32_t count = read_queue_cancel(&u->queue, tag_begin, tag_end);
    look_around_and_submit(u);
    pthread_mutex_unlock(&u->queue.mutex);
    return count;
}

static void raise_reads(storage *s, uint64_t tag_begin, uint64_t tag_end, read_class class)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    read_queue_raise(&u->queue, tag_begin, tag_end, class);
    look_around_and_submit(u);
    pthread_mutex_unlock(&u->queue.mutex);
}

static void grant_bytes(storage *s, const read_grant *grant)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    read_queue_grant(&u->queue, grant);
    look_around_and_submit(u);
    pthread_mutex_unlock(&u->queue.mutex);
}

static void limit_reads(storage *s, const read_limits *limits)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    io_sched_limit(&u->queue.sched, limits);
    look_around_and_submit(u);
    pthread_mutex_unlock(&u->queue.mutex);
}

static void watch_reads(storage *s, const read_watch *watch)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    read_queue_watch(&u->queue, watch);
    pthread_mutex_unlock(&u->queue.mutex);
}

static void reclaim_places(storage *s)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    read_queue_watch(&u->queue, &(read_watch){NULL, READ_PATIENCE_ENDLESS});
    for (look_around_and_submit(u); u->queue.lost_count > 0; look_around_and_submit(u)) wait_for_some(u);
    pthread_mutex_unlock(&u->queue.mutex);
}

static void pump_reads(storage *s)
{
    storage_uring *u = (storage_uring *)s;
    pthread_mutex_lock(&u->queue.mutex);
    look_around_and_submit(u);
    pthread_mutex_unlock(&u->queue.mutex);
}

static storage_stats get_stats(const storage *s)
{
    storage_uring *u = (storage_uring *)s; /* logically const: what has come would be taken in by the next call */
    pthread_mutex_lock(&u->queue.mutex);
    look_around(u);
    storage_stats stats = read_queue_stats(&u->queue);
    pthread_mutex_unlock(&u->queue.mutex);
    return stats;
}

/* Also undoes an open that stopped half way. */
static void close_storage(storage **s)
{
    if (*s == NULL) return;
    storage_uring *u = (storage_uring *)*s;
    mem *ledger = u->queue.ledger;
    if (u->charged_bytes > 0) {
        pthread_mutex_lock(&u->queue.mutex);
        while (u->flying_count > 0) wait_for_some(u); /* what is queued is dropped */
        pthread_mutex_unlock(&u->queue.mutex);
        io_uring_queue_exit(&u->ring);
        mem_uncharge(ledger, MEM_IO, u->charged_bytes);
    }
    read_queue_close(&u->queue);
    mem_free(ledger, u);
    *s = NULL;
}

static const storage_ops uring_ops = {
    .kind = STORAGE_URING,
    .name = "uring",
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

/* ---- opening ---- */

static uint64_t next_power_of_two(uint64_t n)
{
    uint64_t power = 1;
    while (power < n) power *= 2;
    return power;
}

/* The pages that the kernel maps: the requests, and the two rings (heads and indices, 16 bytes a completion, twice as
 * many as requests). */
static uint64_t ring_bytes(uint32_t queue_depth)
{
    uint64_t entry_count = next_power_of_two(queue_depth), page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t rings = 128 + 2 * entry_count * sizeof(struct io_uring_cqe) + entry_count * sizeof(uint32_t);
    return round_up(entry_count * sizeof(struct io_uring_sqe), page) + round_up(rings, page);
}

uint64_t storage_uring_bytes(uint32_t queue_depth)
{
    return mem_block_bytes(sizeof(storage_uring), 0) + read_queue_bytes(queue_depth) + ring_bytes(queue_depth);
}

/* 0, or why not. The kernel gives twice as many completions as requests, so that none is ever without a place. */
static int set_up_ring(uint32_t queue_depth, struct io_uring *ring)
{
    struct io_uring_params params = {0};
    int failure = io_uring_queue_init_params(queue_depth, ring, &params);
    if (failure < 0) return -failure;
    const unsigned wanted = IORING_FEAT_NODROP | IORING_FEAT_SINGLE_MMAP | IORING_FEAT_EXT_ARG;
    if ((params.features & wanted) == wanted) return 0;
    io_uring_queue_exit(ring); /* before Linux 5.11 */
    return ENOSYS;
}

static leat_status fail_ring(const char *what, int os_errno, leat_error *error)
{
    return FAIL_OS(error, IO, os_errno, "io_uring: %s: %s", what,
                   strerrordesc_np(os_errno) ? strerrordesc_np(os_errno) : "unknown error");
}

static leat_status register_files(storage_uring *u, leat_error *error)
{
    const file_set *files = u->queue.files;
    int *fds = NULL;
    TRY(MEM_NEW(u->queue.ledger, IO, files->count, &fds, error));
    for (uint32_t i = 0; i < files->count; i++) fds[i] = files->files[i].fd;
    int failure = io_uring_register_files(&u->ring, fds, files->count);
    mem_free(u->queue.ledger, fds);
    return failure < 0 ? fail_ring("the files could not be registered", -failure, error) : LEAT_OK;
}

bool storage_uring_is_usable(uint32_t queue_depth)
{
    struct io_uring ring;
    if (set_up_ring(queue_depth, &ring) != 0) return false;
    io_uring_queue_exit(&ring);
    return true;
}

leat_status storage_uring_open(mem *ledger, const file_set *files, uint32_t queue_depth, storage **out_storage,
                               leat_error *error)
{
    leat_status status;
    storage_uring *u = NULL;
    TRY(MEM_NEW(ledger, IO, 1, &u, error));
    TRY_OR(fail, read_queue_open(&u->queue, &uring_ops, ledger, files, queue_depth, error));
    TRY_OR(fail, mem_charge(ledger, MEM_IO, ring_bytes(queue_depth), "the ring of io_uring", error));
    int failure = set_up_ring(queue_depth, &u->ring);
    if (failure != 0) {
        mem_uncharge(ledger, MEM_IO, ring_bytes(queue_depth));
        status = fail_ring("no ring could be set up", failure, error);
        goto fail;
    }
    u->charged_bytes = ring_bytes(queue_depth);
    TRY_OR(fail, register_files(u, error));
    unsigned workers[2] = {BUFFERED_WORKERS, 0};
    (void)io_uring_register_iowq_max_workers(&u->ring, workers); /* a kernel without this has its own limit */
    *out_storage = &u->queue.base;
    return LEAT_OK;

fail:
    close_storage(&(storage *){&u->queue.base});
    return status;
}

#include "io/read_queue.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "base/log.h"
#include "os/clock.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define LOOK_NS        UINT64_C(50000000)    /* who waits asks the cancel flag so often */
#define RETRY_PAUSE_NS UINT64_C(10000000)    /* before the first retry; ten times as long before each other one */
#define RETRY_TELL_NS  UINT64_C(60000000000) /* the log hears of retries no more often */

/* ---- lists of entries ---- */

static void append_entry(read_queue *q, entry_list *list, int32_t entry_idx)
{
    q->entries[entry_idx].next_idx = ENTRY_NONE;
    if (list->first_idx == ENTRY_NONE)
        list->first_idx = entry_idx;
    else
        q->entries[list->last_idx].next_idx = entry_idx;
    list->last_idx = entry_idx;
}

/* Takes out the entry after `before_idx`; the first one when that is ENTRY_NONE. */
static int32_t take_entry_after(read_queue *q, entry_list *list, int32_t before_idx)
{
    int32_t *link = before_idx == ENTRY_NONE ? &list->first_idx : &q->entries[before_idx].next_idx;
    int32_t entry_idx = *link;
    *link = q->entries[entry_idx].next_idx;
    if (list->last_idx == entry_idx) list->last_idx = before_idx;
    return entry_idx;
}

/* ---- the way of an entry ---- */

static bool is_guess(read_class class) { return class >= READ_LOOK_AHEAD; }

bool read_queue_has_room(const read_queue *q, read_class class)
{
    if (is_guess(class) && q->guess_count >= max_u64(1, q->depth / 2)) return false;
    return q->free.first_idx != ENTRY_NONE;
}

static void finish_entry(read_queue *q, int32_t entry_idx)
{
    q->entries[entry_idx].state = ENTRY_DONE;
    append_entry(q, &q->done, entry_idx);
    pthread_cond_broadcast(&q->done_some);
}

static void queue_entry(read_queue *q, int32_t entry_idx)
{
    read_entry *e = &q->entries[entry_idx];
    e->state = ENTRY_QUEUED;
    io_sched_add(&q->sched, entry_idx, e->request.class, e->request.deadline_ns, e->request.what.bytes);
}

/* Whether the system may still write to the entry's place. */
static bool is_barred(const read_queue *q, const read_entry *e)
{
    const uint8_t *begin = e->request.buffer, *end = begin + storage_window_bytes(q->files, &e->request.what);
    for (uint32_t i = 0; q->lost_count > 0 && i < q->depth; i++) {
        const read_entry *lost = &q->entries[i];
        if (lost->state != ENTRY_LOST) continue;
        const uint8_t *lost_begin = lost->request.buffer;
        if (begin < lost_begin + storage_window_bytes(q->files, &lost->request.what) && lost_begin < end) return true;
    }
    return false;
}

void read_queue_enter(read_queue *q, const read_request *request)
{
    assert(request->what.file_idx < q->files->count);
    assert(request->what.bytes == 0 ||
           (uintptr_t)request->buffer % q->files->files[request->what.file_idx].memory_align == 0);
    int32_t entry_idx = take_entry_after(q, &q->free, ENTRY_NONE);
    read_entry *e = &q->entries[entry_idx];
    assert(e->state == ENTRY_FREE);
    e->request = *request;
    e->progress = (file_progress){0};
    e->enter_ns = clock_now_ns();
    e->begin_ns = e->again_ns = 0;
    e->retry_count = 0;
    e->status = LEAT_OK;
    q->guess_count += is_guess(request->class);
    if (request->what.bytes == 0) {
        finish_entry(q, entry_idx); /* no read, and not counted as one */
        return;
    }
    if (is_barred(q, e))
        e->state = ENTRY_BARRED;
    else
        queue_entry(q, entry_idx);
}

/* The first that may be asked again. */
static int32_t take_again(read_queue *q, uint64_t now_ns)
{
    int32_t before_idx = ENTRY_NONE, entry_idx = q->again.first_idx;
    while (entry_idx != ENTRY_NONE && q->entries[entry_idx].again_ns > now_ns) {
        before_idx = entry_idx;
        entry_idx = q->entries[entry_idx].next_idx;
    }
    return entry_idx == ENTRY_NONE ? ENTRY_NONE : take_entry_after(q, &q->again, before_idx);
}

int32_t read_queue_take(read_queue *q)
{
    if (q->again.first_idx == ENTRY_NONE && q->sched.queued_count == 0) return ENTRY_NONE;
    uint64_t now_ns = clock_now_ns();
    int32_t entry_idx = take_again(q, now_ns);
    if (entry_idx == ENTRY_NONE) {
        bool was_idle = q->sched.started_count == 0;
        entry_idx = io_sched_take(&q->sched, now_ns);
        if (entry_idx == SCHED_NONE) return ENTRY_NONE;
        q->entries[entry_idx].begin_ns = now_ns;
        if (was_idle) q->busy_since_ns = now_ns;
    }
    q->entries[entry_idx].state = ENTRY_READING;
    return entry_idx;
}

uint64_t read_queue_again_ns(const read_queue *q)
{
    uint64_t again_ns = UINT64_MAX;
    for (int32_t i = q->again.first_idx; i != ENTRY_NONE; i = q->entries[i].next_idx)
        again_ns = min_u64(again_ns, q->entries[i].again_ns);
    return again_ns;
}

uint64_t read_queue_retry_ns(const read_queue *q)
{
    uint64_t now_ns = clock_now_ns(), wait_ns = io_sched_wait_ns(&q->sched, now_ns);
    return min_u64(read_queue_again_ns(q), wait_ns == UINT64_MAX ? UINT64_MAX : now_ns + wait_ns);
}

static void free_entry(read_queue *q, int32_t entry_idx)
{
    read_entry *e = &q->entries[entry_idx];
    e->state = ENTRY_FREE;
    q->guess_count -= is_guess(e->request.class);
    append_entry(q, &q->free, entry_idx);
    pthread_cond_broadcast(&q->freed_one);
}

/* The system is done with it. */
static void count_end(read_queue *q, int32_t entry_idx, uint64_t now_ns)
{
    const read_entry *e = &q->entries[entry_idx];
    q->stats.read_count++;
    q->stats.window_bytes += e->progress.bytes;
    q->stats.class_bytes[e->request.class] += e->progress.bytes;
    q->stats.read_ns += now_ns - e->begin_ns;
    q->stalled_ns = 0;
    io_sched_end(&q->sched, entry_idx, now_ns);
    if (q->sched.started_count == 0) q->stats.busy_ns += now_ns - q->busy_since_ns;
}

static void count_payload(read_queue *q, const extent *what)
{
    q->stats.payload_bytes += what->bytes;
    if (!q->files->files[what->file_idx].is_direct) q->stats.copied_bytes += what->bytes;
}

/* LOST -> FREE: others may have its place. */
static void free_lost(read_queue *q, int32_t entry_idx)
{
    count_end(q, entry_idx, clock_now_ns());
    q->lost_count--;
    free_entry(q, entry_idx);
    for (uint32_t i = 0; i < q->depth; i++)
        if (q->entries[i].state == ENTRY_BARRED && !is_barred(q, &q->entries[i])) queue_entry(q, (int32_t)i);
    pthread_cond_broadcast(&q->done_some); /* for reclaim */
}

void read_queue_ask_again(read_queue *q, int32_t entry_idx)
{
    if (q->entries[entry_idx].state == ENTRY_LOST) {
        free_lost(q, entry_idx); /* the rest is nobody's */
        return;
    }
    assert(q->entries[entry_idx].state == ENTRY_READING);
    q->entries[entry_idx].state = ENTRY_AGAIN;
    append_entry(q, &q->again, entry_idx);
}

static bool may_pass(const read_entry *e)
{
    return e->status == LEAT_IO && (e->error.os_errno == EIO || e->error.os_errno == ETIMEDOUT);
}

static void tell_retry(read_queue *q, const read_entry *e, uint64_t now_ns)
{
    q->stats.retry_count++;
    if (q->retry_told_ns != 0 && now_ns - q->retry_told_ns < RETRY_TELL_NS) return;
    q->retry_told_ns = now_ns;
    log_write(LOG_WARN, "%s; such reads are tried again, up to %d times", e->error.text, READ_RETRIES_MAX);
}

/* What was read of it before the failure stays. */
static void retry_entry(read_queue *q, int32_t entry_idx, uint64_t now_ns)
{
    read_entry *e = &q->entries[entry_idx];
    uint64_t pause_ns = RETRY_PAUSE_NS;
    for (uint32_t i = 0; i < e->retry_count; i++) pause_ns *= 10;
    tell_retry(q, e, now_ns);
    e->retry_count++;
    e->again_ns = now_ns + pause_ns;
    e->status = LEAT_OK;
    read_queue_ask_again(q, entry_idx);
}

void read_queue_end(read_queue *q, int32_t entry_idx)
{
    read_entry *e = &q->entries[entry_idx];
    uint64_t now_ns = clock_now_ns();
    if (e->state == ENTRY_LOST) {
        free_lost(q, entry_idx);
        return;
    }
    assert(e->state == ENTRY_READING);
    if (may_pass(e) && e->retry_count < READ_RETRIES_MAX) {
        retry_entry(q, entry_idx, now_ns);
        return;
    }
    if (e->status == LEAT_OK) count_payload(q, &e->request.what);
    if (e->status == LEAT_IO) q->stats.last_failed = e->request.what;
    count_end(q, entry_idx, now_ns);
    finish_entry(q, entry_idx);
}

static bool tag_is_in(const read_entry *e, uint64_t tag_begin, uint64_t tag_end)
{
    return e->request.tag >= tag_begin && e->request.tag < tag_end;
}

bool read_queue_reap(read_queue *q, uint64_t tag_begin, uint64_t tag_end, read_result *out_result,
                     read_trace *out_trace)
{
    int32_t before_idx = ENTRY_NONE, entry_idx = q->done.first_idx;
    while (entry_idx != ENTRY_NONE && !tag_is_in(&q->entries[entry_idx], tag_begin, tag_end)) {
        before_idx = entry_idx;
        entry_idx = q->entries[entry_idx].next_idx;
    }
    if (entry_idx == ENTRY_NONE) return false;
    take_entry_after(q, &q->done, before_idx);
    read_entry *e = &q->entries[entry_idx];
    assert(e->state == ENTRY_DONE);
    out_result->tag = e->request.tag;
    out_result->status = e->status;
    if (e->status != LEAT_OK) out_result->error = e->error;
    *out_trace =
        (read_trace){&q->files->files[e->request.what.file_idx], e->request.what.offset, e->request.what.bytes};
    free_entry(q, entry_idx);
    return true;
}

/* Here rather than when the read ends: with io_uring that is seen under the mutex. */
void read_trace_wipe(const read_trace *trace)
{
    if (trace->file != NULL && trace->file->drops_behind) file_drop_behind(trace->file, trace->offset, trace->bytes);
}

/* ---- queued entries ---- */

static void raise_entry(read_queue *q, int32_t entry_idx, read_class class)
{
    read_entry *e = &q->entries[entry_idx];
    if (e->request.class <= class) return;
    io_sched_raise(&q->sched, entry_idx, class);
    if (is_guess(e->request.class) && !is_guess(class)) {
        q->guess_count--;
        pthread_cond_broadcast(&q->freed_one);
    }
    e->request.class = class;
}

/* The first that the scheduler would start. */
static int32_t first_queued(const read_queue *q, uint64_t tag_begin, uint64_t tag_end)
{
    for (uint32_t c = 0; c < READ_CLASS_COUNT; c++)
        for (int32_t i = q->sched.classes[c].first_idx; i != SCHED_NONE; i = q->items[i].after_idx)
            if (tag_is_in(&q->entries[i], tag_begin, tag_end)) return i;
    return ENTRY_NONE;
}

/* It will be done without anybody's help. */
static bool is_on_its_way(const read_entry *e)
{
    return e->state == ENTRY_READING || e->state == ENTRY_AGAIN || e->state == ENTRY_BARRED;
}

bool read_queue_expect(read_queue *q, uint64_t tag_begin, uint64_t tag_end)
{
    for (uint32_t i = 0; i < q->depth; i++) {
        const read_entry *e = &q->entries[i];
        if (is_on_its_way(e) && tag_is_in(e, tag_begin, tag_end)) return true;
    }
    int32_t entry_idx = first_queued(q, tag_begin, tag_end);
    if (entry_idx == ENTRY_NONE) return false;
    raise_entry(q, entry_idx, READ_DEMAND);
    return true;
}

/* ---- patience ---- */

void read_queue_watch(read_queue *q, const read_watch *watch) { q->watch = *watch; }

uint64_t read_queue_look_ns(const read_queue *q)
{
    const bool may_end = q->watch.cancel != NULL || q->watch.patience_ns != READ_PATIENCE_ENDLESS;
    return may_end ? clock_now_ns() + LOOK_NS : UINT64_MAX;
}

void read_queue_wait(read_queue *q, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) {
        pthread_cond_wait(&q->done_some, &q->mutex);
        return;
    }
    struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    pthread_cond_timedwait(&q->done_some, &q->mutex, &until);
}

/* What had not begun when patience ended with another read is not waited for in its turn. */
static bool is_overdue(const read_queue *q, const read_entry *e, uint64_t since_ns, uint64_t now_ns)
{
    const bool is_cancelled = cancel_is_wanted(q->watch.cancel);
    const uint64_t patience_ns = q->watch.patience_ns;
    switch (e->state) {
    case ENTRY_BARRED:
    case ENTRY_QUEUED: return is_cancelled || e->enter_ns < q->stalled_ns || now_ns - since_ns >= patience_ns;
    case ENTRY_READING:
    case ENTRY_AGAIN:
        return now_ns - e->begin_ns >= (is_cancelled ? min_u64(patience_ns, READ_CANCEL_NS) : patience_ns);
    case ENTRY_FREE:
    case ENTRY_LOST:
    case ENTRY_DONE: break;
    }
    return false;
}

static leat_status fail_overdue(const read_queue *q, const read_entry *e, leat_error *error)
{
    const extent *what = &e->request.what;
    const char *name = q->files->names[what->file_idx];
    if (cancel_is_wanted(q->watch.cancel))
        return FAIL_OS(error, IO, ECANCELED, "%s: at byte %" PRIu64 ": reading %" PRIu64 " bytes: cancelled", name,
                       what->offset, what->bytes);
    (void)FAIL_OS(error, IO, ETIME,
                  "%s: at byte %" PRIu64 ": reading %" PRIu64 " bytes: the disk did not answer for %.0f s", name,
                  what->offset, what->bytes, (double)q->watch.patience_ns * 1e-9);
    file_hint_device(&q->files->files[what->file_idx], ETIME, error);
    return LEAT_IO;
}

/* Takes an entry that is not DONE away from whoever has it. */
static void drop_entry(read_queue *q, int32_t entry_idx)
{
    read_entry *e = &q->entries[entry_idx];
    if (e->state == ENTRY_READING) {
        e->state = ENTRY_LOST;
        q->lost_count++;
        return;
    }
    if (e->state == ENTRY_QUEUED) io_sched_remove(&q->sched, entry_idx);
    if (e->state == ENTRY_AGAIN) {
        int32_t before_idx = ENTRY_NONE;
        for (int32_t i = q->again.first_idx; i != entry_idx; i = q->entries[i].next_idx) before_idx = i;
        take_entry_after(q, &q->again, before_idx);
        count_end(q, entry_idx, clock_now_ns());
    }
    free_entry(q, entry_idx);
}

bool read_queue_give_up(read_queue *q, uint64_t tag_begin, uint64_t tag_end, uint64_t since_ns, read_result *out_result,
                        int32_t *out_lost_idx)
{
    const uint64_t now_ns = clock_now_ns();
    *out_lost_idx = ENTRY_NONE;
    for (uint32_t i = 0; i < q->depth; i++) {
        read_entry *e = &q->entries[i];
        if (!tag_is_in(e, tag_begin, tag_end) || !is_overdue(q, e, since_ns, now_ns)) continue;
        out_result->tag = e->request.tag;
        out_result->status = fail_overdue(q, e, &out_result->error);
        drop_entry(q, (int32_t)i);
        if (e->state == ENTRY_LOST) *out_lost_idx = (int32_t)i;
        if (!cancel_is_wanted(q->watch.cancel)) q->stalled_ns = now_ns;
        return true;
    }
    return false;
}

/* ---- requests about queued entries ---- */

uint32_t read_queue_cancel(read_queue *q, uint64_t tag_begin, uint64_t tag_end)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < q->depth; i++) {
        read_entry *e = &q->entries[i];
        if ((e->state != ENTRY_QUEUED && e->state != ENTRY_BARRED) || !tag_is_in(e, tag_begin, tag_end)) continue;
        if (e->state == ENTRY_QUEUED) io_sched_remove(&q->sched, (int32_t)i);
        e->status = FAIL(&e->error, CANCELLED, "%s: a read was given up", q->files->names[e->request.what.file_idx]);
        finish_entry(q, (int32_t)i);
        count++;
    }
    q->stats.cancelled_count += count;
    return count;
}

void read_queue_raise(read_queue *q, uint64_t tag_begin, uint64_t tag_end, read_class class)
{
    for (uint32_t i = 0; i < q->depth; i++)
        if ((q->entries[i].state == ENTRY_QUEUED || q->entries[i].state == ENTRY_BARRED) &&
            tag_is_in(&q->entries[i], tag_begin, tag_end))
            raise_entry(q, (int32_t)i, class);
}

void read_queue_grant(read_queue *q, const read_grant *grant) { io_sched_grant(&q->sched, grant, clock_now_ns()); }

storage_stats read_queue_stats(const read_queue *q)
{
    storage_stats stats = q->stats;
    stats.flying_count = q->sched.started_count;
    stats.lost_count = q->lost_count;
    if (q->sched.started_count > 0) stats.busy_ns += clock_now_ns() - q->busy_since_ns;
    return stats;
}

leat_status read_entry_begin(const read_queue *q, read_entry *e, leat_error *error)
{
    const extent *what = &e->request.what;
    const file *f = &q->files->files[what->file_idx];
    const char *name = q->files->names[what->file_idx];
    uint64_t end;
    if (!size_add(what->offset, what->bytes, &end) || end > f->bytes)
        return FAIL(error, IO, "%s: %" PRIu64 " bytes wanted at offset %" PRIu64 ", but the file has %" PRIu64 " bytes",
                    name, what->bytes, what->offset, f->bytes);

    uint64_t payload_offset = storage_payload_offset(q->files, what);
    uint64_t used_bytes = payload_offset + what->bytes;
    /* The window may pass the end of the file. */
    return file_progress_begin(f, name, what->offset - payload_offset, round_up(used_bytes, f->offset_align),
                               &e->progress, error);
}

/* ---- open and close ---- */

uint64_t read_queue_bytes(uint32_t depth)
{
    return mem_block_bytes(depth * sizeof(read_entry), 0) + mem_block_bytes(depth * sizeof(sched_item), 0);
}

leat_status read_queue_open(read_queue *q, const storage_ops *ops, mem *ledger, const file_set *files, uint32_t depth,
                            leat_error *error)
{
    assert(depth >= 1 && depth <= QUEUE_DEPTH_MAX);
    q->base.ops = ops;
    q->ledger = ledger;
    q->files = files;
    q->depth = depth;
    q->free = q->again = q->done = (entry_list){ENTRY_NONE, ENTRY_NONE};
    pthread_mutex_init(&q->mutex, NULL); /* with default attributes these cannot fail on Linux */
    pthread_cond_init(&q->freed_one, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* that of clock_now_ns */
    pthread_cond_init(&q->done_some, &attributes);
    pthread_condattr_destroy(&attributes);
    q->watch.patience_ns = READ_PATIENCE_ENDLESS;
    TRY(MEM_NEW(ledger, IO, depth, &q->entries, error));
    TRY(MEM_NEW(ledger, IO, depth, &q->items, error));
    for (uint32_t i = 0; i < depth; i++) append_entry(q, &q->free, (int32_t)i);
    io_sched_init(&q->sched, q->items, depth, clock_now_ns());
    return LEAT_OK;
}

void read_queue_close(read_queue *q)
{
    pthread_cond_destroy(&q->done_some);
    pthread_cond_destroy(&q->freed_one);
    pthread_mutex_destroy(&q->mutex);
    mem_free(q->ledger, q->items);
    mem_free(q->ledger, q->entries);
}

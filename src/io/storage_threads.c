/*
 * storage_threads.c - the storage seam on a pool of threads that call pread.
 *
 * At the sizes of expert records (hundreds of kilobytes and more) a handful of blocking threads keeps a disk as busy as
 * an asynchronous interface does, and it works on every kernel and file system.
 *
 * A fixed number of entries (queue_depth) goes round:
 *
 *           submit           a reader takes it          read done            reap
 *     FREE ---------> QUEUED -----------------> READING ----------> DONE ---------> FREE
 *       |                                                             ^
 *       +---------------- submit of an extent of zero bytes ----------+
 *
 * The entries of a state, READING excepted, form a list in order of arrival. A reader owns its READING entry, so it
 * fills in the status without the mutex; everything else is guarded by it. The mutex is never held during a read.
 */
#include "io/storage.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define HAS_THREAD_SANITIZER 1
#elif defined(__has_feature)
#define HAS_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define HAS_THREAD_SANITIZER 0
#endif

enum {
    /* The deepest call is file_read raising an error: a few kilobytes of text formatting; the rest is for a signal
     * frame with vector registers. The thread sanitizer keeps nearly 1 MiB of its own there. */
    READER_STACK_BYTES = HAS_THREAD_SANITIZER ? 2 * 1024 * 1024 : 128 * 1024,
    READER_COUNT_MAX = 256,
    QUEUE_DEPTH_MAX = 65536,
    ENTRY_NONE = -1
};

typedef enum entry_state { ENTRY_FREE, ENTRY_QUEUED, ENTRY_READING, ENTRY_DONE } entry_state;

typedef struct entry {
    entry_state state;
    int32_t next_idx; /* the next entry of the same list */
    read_request request;
    leat_status status;
    leat_error error;
} entry;

typedef struct entry_list {
    int32_t first_idx, last_idx;
} entry_list;

typedef struct storage_threads {
    storage base;

    /* Fixed after open. */
    mem *ledger;
    const file_set *files;
    pthread_t *readers; /* (reader_count) */
    uint8_t *stacks; /* (reader_count, READER_STACK_BYTES); the lowest page of each is a guard: to overrun it faults */
    size_t guard_bytes;
    uint32_t reader_count; /* threads that run, while open is under way */
    uint32_t queue_depth;

    pthread_mutex_t mutex;
    pthread_cond_t queued_some; /* for readers */
    pthread_cond_t freed_one;   /* for submit */
    pthread_cond_t done_some;   /* for reap; broadcast, because each waits for tags of its own */

    /* Guarded by mutex. */
    entry *entries; /* (queue_depth) */
    entry_list free, queued, done;
    uint32_t active_count;  /* QUEUED and READING */
    uint64_t busy_since_ns; /* valid while active_count > 0 */
    storage_stats stats;
    bool is_closing;
} storage_threads;

/* ---- lists of entries ---- */

static void append_entry(storage_threads *t, entry_list *list, int32_t entry_idx)
{
    t->entries[entry_idx].next_idx = ENTRY_NONE;
    if (list->first_idx == ENTRY_NONE)
        list->first_idx = entry_idx;
    else
        t->entries[list->last_idx].next_idx = entry_idx;
    list->last_idx = entry_idx;
}

/* Takes out the entry after `before_idx`; the first one when that is ENTRY_NONE. */
static int32_t take_entry_after(storage_threads *t, entry_list *list, int32_t before_idx)
{
    int32_t *link = before_idx == ENTRY_NONE ? &list->first_idx : &t->entries[before_idx].next_idx;
    int32_t entry_idx = *link;
    *link = t->entries[entry_idx].next_idx;
    if (list->last_idx == entry_idx) list->last_idx = before_idx;
    return entry_idx;
}

/* ---- one read ---- */

static leat_status read_window(const file_set *files, const read_request *request, uint64_t *out_window_bytes,
                               leat_error *error)
{
    const extent *what = &request->what;
    const file *f = &files->files[what->file_idx];
    const char *name = files->names[what->file_idx];
    uint64_t end;
    if (!size_add(what->offset, what->bytes, &end) || end > f->bytes)
        return FAIL(error, IO, "%s: %" PRIu64 " bytes wanted at offset %" PRIu64 ", but the file has %" PRIu64 " bytes",
                    name, what->bytes, what->offset, f->bytes);

    uint64_t payload_offset = storage_payload_offset(files, what);
    uint64_t used_bytes = payload_offset + what->bytes;
    uint64_t read_bytes = round_up(used_bytes, f->offset_align); /* file_read lets it pass the end of the file */
    uint64_t there_bytes = 0;
    *out_window_bytes = read_bytes;
    TRY(file_read(f, name, what->offset - payload_offset, request->buffer, read_bytes, &there_bytes, error));
    assert(there_bytes >= used_bytes); /* file_read fails when the file has become shorter than it was at open */
    (void)there_bytes;
    return LEAT_OK;
}

/* Waits for work; the mutex is held. ENTRY_NONE: the storage is closing. */
static int32_t begin_read(storage_threads *t)
{
    while (t->queued.first_idx == ENTRY_NONE && !t->is_closing) pthread_cond_wait(&t->queued_some, &t->mutex);
    if (t->is_closing) return ENTRY_NONE;
    int32_t entry_idx = take_entry_after(t, &t->queued, ENTRY_NONE);
    assert(t->entries[entry_idx].state == ENTRY_QUEUED);
    t->entries[entry_idx].state = ENTRY_READING;
    return entry_idx;
}

/* The mutex is held. */
static void end_read(storage_threads *t, int32_t entry_idx, uint64_t window_bytes, uint64_t read_ns)
{
    entry *e = &t->entries[entry_idx];
    assert(e->state == ENTRY_READING);
    t->stats.read_count++;
    t->stats.window_bytes += window_bytes;
    if (e->status == LEAT_OK) t->stats.payload_bytes += e->request.what.bytes;
    t->stats.read_ns += read_ns;
    if (--t->active_count == 0) t->stats.busy_ns += clock_now_ns() - t->busy_since_ns;
    e->state = ENTRY_DONE;
    append_entry(t, &t->done, entry_idx);
}

static void *serve_reads(void *context)
{
    storage_threads *t = context;
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        int32_t entry_idx = begin_read(t);
        if (entry_idx == ENTRY_NONE) break;
        pthread_mutex_unlock(&t->mutex);

        entry *e = &t->entries[entry_idx];
        uint64_t window_bytes = 0, begin_ns = clock_now_ns();
        e->status = read_window(t->files, &e->request, &window_bytes, &e->error);
        uint64_t read_ns = clock_now_ns() - begin_ns;

        pthread_mutex_lock(&t->mutex);
        end_read(t, entry_idx, window_bytes, read_ns);
        pthread_cond_broadcast(&t->done_some);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

/* ---- the seam ---- */

/* The mutex is held and an entry is free. */
static void enter_request(storage_threads *t, const read_request *request)
{
    int32_t entry_idx = take_entry_after(t, &t->free, ENTRY_NONE);
    entry *e = &t->entries[entry_idx];
    assert(e->state == ENTRY_FREE);
    e->request = *request;
    e->status = LEAT_OK;
    if (request->what.bytes == 0) {
        e->state = ENTRY_DONE; /* no read, and not counted as one */
        append_entry(t, &t->done, entry_idx);
        pthread_cond_broadcast(&t->done_some);
        return;
    }
    e->state = ENTRY_QUEUED;
    append_entry(t, &t->queued, entry_idx);
    if (t->active_count++ == 0) t->busy_since_ns = clock_now_ns();
    pthread_cond_signal(&t->queued_some);
}

static void assert_request(const storage_threads *t, const read_request *request)
{
    assert(request->what.file_idx < t->files->count);
    assert(request->what.bytes == 0 ||
           (uintptr_t)request->buffer % t->files->files[request->what.file_idx].memory_align == 0);
    (void)t;
    (void)request;
}

static void submit_read(storage *s, const read_request *request)
{
    storage_threads *t = (storage_threads *)s;
    assert_request(t, request);
    pthread_mutex_lock(&t->mutex);
    while (t->free.first_idx == ENTRY_NONE) pthread_cond_wait(&t->freed_one, &t->mutex);
    enter_request(t, request);
    pthread_mutex_unlock(&t->mutex);
}

static bool try_submit_read(storage *s, const read_request *request)
{
    storage_threads *t = (storage_threads *)s;
    assert_request(t, request);
    pthread_mutex_lock(&t->mutex);
    bool has_room = t->free.first_idx != ENTRY_NONE;
    if (has_room) enter_request(t, request);
    pthread_mutex_unlock(&t->mutex);
    return has_room;
}

static bool tag_is_in(const entry *e, uint64_t tag_begin, uint64_t tag_end)
{
    return e->request.tag >= tag_begin && e->request.tag < tag_end;
}

/* Takes the longest finished entry with such a tag off the list; ENTRY_NONE when there is none. */
static int32_t take_done_entry(storage_threads *t, uint64_t tag_begin, uint64_t tag_end)
{
    int32_t before_idx = ENTRY_NONE;
    for (int32_t i = t->done.first_idx; i != ENTRY_NONE; before_idx = i, i = t->entries[i].next_idx)
        if (tag_is_in(&t->entries[i], tag_begin, tag_end)) return take_entry_after(t, &t->done, before_idx);
    return ENTRY_NONE;
}

static bool is_any_active(const storage_threads *t, uint64_t tag_begin, uint64_t tag_end)
{
    for (uint32_t i = 0; i < t->queue_depth; i++) {
        const entry *e = &t->entries[i];
        if ((e->state == ENTRY_QUEUED || e->state == ENTRY_READING) && tag_is_in(e, tag_begin, tag_end)) return true;
    }
    return false;
}

static bool reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_threads *t = (storage_threads *)s;
    pthread_mutex_lock(&t->mutex);
    int32_t entry_idx;
    while ((entry_idx = take_done_entry(t, tag_begin, tag_end)) == ENTRY_NONE && is_any_active(t, tag_begin, tag_end))
        pthread_cond_wait(&t->done_some, &t->mutex);
    if (entry_idx != ENTRY_NONE) {
        entry *e = &t->entries[entry_idx];
        assert(e->state == ENTRY_DONE);
        out_result->tag = e->request.tag;
        out_result->status = e->status;
        if (e->status != LEAT_OK) out_result->error = e->error;
        e->state = ENTRY_FREE;
        append_entry(t, &t->free, entry_idx);
        pthread_cond_signal(&t->freed_one);
    }
    pthread_mutex_unlock(&t->mutex);
    return entry_idx != ENTRY_NONE;
}

static storage_stats get_stats(const storage *s)
{
    storage_threads *t = (storage_threads *)s; /* logically const: the mutex is restored */
    pthread_mutex_lock(&t->mutex);
    storage_stats stats = t->stats;
    if (t->active_count > 0) stats.busy_ns += clock_now_ns() - t->busy_since_ns;
    pthread_mutex_unlock(&t->mutex);
    return stats;
}

static uint8_t *stack_of(const storage_threads *t, uint32_t reader_idx)
{
    return t->stacks + (size_t)reader_idx * READER_STACK_BYTES;
}

/* Also undoes an open that stopped half way. */
static void close_storage(storage **s)
{
    if (*s == NULL) return;
    storage_threads *t = (storage_threads *)*s;
    pthread_mutex_lock(&t->mutex);
    t->is_closing = true; /* reads under way are finished, queued ones are dropped */
    pthread_cond_broadcast(&t->queued_some);
    pthread_mutex_unlock(&t->mutex);
    for (uint32_t i = 0; i < t->reader_count; i++) {
        pthread_join(t->readers[i], NULL);
        mprotect(stack_of(t, i), t->guard_bytes, PROT_READ | PROT_WRITE); /* the block may be heap memory, used again */
    }
    pthread_cond_destroy(&t->done_some);
    pthread_cond_destroy(&t->freed_one);
    pthread_cond_destroy(&t->queued_some);
    pthread_mutex_destroy(&t->mutex);
    mem *ledger = t->ledger;
    mem_free(ledger, t->stacks);
    mem_free(ledger, t->readers);
    mem_free(ledger, t->entries);
    mem_free(ledger, t);
    *s = NULL;
}

static const storage_ops threads_ops = {
    .name = "threads",
    .submit = submit_read,
    .try_submit = try_submit_read,
    .reap = reap_read,
    .stats = get_stats,
    .close = close_storage,
};

static leat_status start_reader(storage_threads *t, uint32_t thread_count, leat_error *error)
{
    uint8_t *stack = stack_of(t, t->reader_count);
    pthread_attr_t attributes;
    sigset_t every_signal;
    sigfillset(&every_signal); /* signals belong to the program's own threads */
    int failure = pthread_attr_init(&attributes);
    if (failure == 0) {
        failure = pthread_attr_setstack(&attributes, stack, READER_STACK_BYTES);
        if (failure == 0) failure = pthread_attr_setsigmask_np(&attributes, &every_signal);
        if (failure == 0 && mprotect(stack, t->guard_bytes, PROT_NONE) != 0) failure = errno;
        if (failure == 0) {
            failure = pthread_create(&t->readers[t->reader_count], &attributes, serve_reads, t);
            if (failure != 0) mprotect(stack, t->guard_bytes, PROT_READ | PROT_WRITE);
        }
        pthread_attr_destroy(&attributes);
    }
    if (failure != 0)
        return FAIL_OS(error, NO_MEMORY, failure, "reader thread %" PRIu32 " of %" PRIu32 " could not be started",
                       t->reader_count + 1, thread_count);
    t->reader_count++;
    return LEAT_OK;
}

uint64_t storage_threads_bytes(uint32_t thread_count, uint32_t queue_depth)
{
    return mem_block_bytes(sizeof(storage_threads), 0) + mem_block_bytes(queue_depth * sizeof(entry), 0) +
           mem_block_bytes(thread_count * sizeof(pthread_t), 0) +
           mem_block_bytes(thread_count * (uint64_t)READER_STACK_BYTES, (size_t)sysconf(_SC_PAGESIZE));
}

leat_status storage_threads_open(mem *ledger, const file_set *files, uint32_t thread_count, uint32_t queue_depth,
                                 storage **out_storage, leat_error *error)
{
    assert(thread_count >= 1 && thread_count <= READER_COUNT_MAX);
    assert(queue_depth >= 1 && queue_depth <= QUEUE_DEPTH_MAX);
    leat_status status;
    storage_threads *t = NULL;
    TRY(MEM_NEW(ledger, IO, 1, &t, error));
    t->base.ops = &threads_ops;
    t->ledger = ledger;
    t->files = files;
    t->queue_depth = queue_depth;
    t->guard_bytes = (size_t)sysconf(_SC_PAGESIZE);
    t->free = t->queued = t->done = (entry_list){ENTRY_NONE, ENTRY_NONE};
    pthread_mutex_init(&t->mutex, NULL); /* with default attributes these cannot fail on Linux */
    pthread_cond_init(&t->queued_some, NULL);
    pthread_cond_init(&t->freed_one, NULL);
    pthread_cond_init(&t->done_some, NULL);

    TRY_OR(fail, MEM_NEW(ledger, IO, queue_depth, &t->entries, error));
    TRY_OR(fail, MEM_NEW(ledger, IO, thread_count, &t->readers, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_IO, thread_count, READER_STACK_BYTES, t->guard_bytes,
                           "stacks of the reader threads", (void **)&t->stacks, error));
    for (uint32_t i = 0; i < queue_depth; i++) append_entry(t, &t->free, (int32_t)i);
    for (uint32_t i = 0; i < thread_count; i++) TRY_OR(fail, start_reader(t, thread_count, error));
    *out_storage = &t->base;
    return LEAT_OK;

fail:
    close_storage(&(storage *){&t->base});
    return status;
}

#include "io/read_queue.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>
#include <inttypes.h>

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

bool read_queue_has_room(const read_queue *q) { return q->free.first_idx != ENTRY_NONE; }

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
    e->begin_ns = 0;
    e->status = LEAT_OK;
    if (request->what.bytes == 0) {
        e->state = ENTRY_DONE; /* no read, and not counted as one */
        append_entry(q, &q->done, entry_idx);
        pthread_cond_broadcast(&q->done_some);
        return;
    }
    e->state = ENTRY_QUEUED;
    append_entry(q, &q->queued, entry_idx);
    if (q->active_count++ == 0) q->busy_since_ns = clock_now_ns();
}

int32_t read_queue_take(read_queue *q)
{
    if (q->queued.first_idx == ENTRY_NONE) return ENTRY_NONE;
    int32_t entry_idx = take_entry_after(q, &q->queued, ENTRY_NONE);
    read_entry *e = &q->entries[entry_idx];
    assert(e->state == ENTRY_QUEUED);
    e->state = ENTRY_READING;
    if (e->begin_ns == 0) e->begin_ns = clock_now_ns();
    return entry_idx;
}

void read_queue_ask_again(read_queue *q, int32_t entry_idx)
{
    assert(q->entries[entry_idx].state == ENTRY_READING);
    q->entries[entry_idx].state = ENTRY_QUEUED;
    append_entry(q, &q->queued, entry_idx);
}

void read_queue_end(read_queue *q, int32_t entry_idx)
{
    read_entry *e = &q->entries[entry_idx];
    uint64_t now_ns = clock_now_ns();
    assert(e->state == ENTRY_READING);
    q->stats.read_count++;
    q->stats.window_bytes += e->progress.bytes;
    if (e->status == LEAT_OK) q->stats.payload_bytes += e->request.what.bytes;
    q->stats.read_ns += now_ns - e->begin_ns;
    if (--q->active_count == 0) q->stats.busy_ns += now_ns - q->busy_since_ns;
    e->state = ENTRY_DONE;
    append_entry(q, &q->done, entry_idx);
    pthread_cond_broadcast(&q->done_some);
}

static bool tag_is_in(const read_entry *e, uint64_t tag_begin, uint64_t tag_end)
{
    return e->request.tag >= tag_begin && e->request.tag < tag_end;
}

bool read_queue_reap(read_queue *q, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
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
    e->state = ENTRY_FREE;
    append_entry(q, &q->free, entry_idx);
    pthread_cond_signal(&q->freed_one);
    return true;
}

bool read_queue_is_active(const read_queue *q, uint64_t tag_begin, uint64_t tag_end)
{
    for (uint32_t i = 0; i < q->depth; i++) {
        const read_entry *e = &q->entries[i];
        if ((e->state == ENTRY_QUEUED || e->state == ENTRY_READING) && tag_is_in(e, tag_begin, tag_end)) return true;
    }
    return false;
}

storage_stats read_queue_stats(const read_queue *q)
{
    storage_stats stats = q->stats;
    if (q->active_count > 0) stats.busy_ns += clock_now_ns() - q->busy_since_ns;
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

uint64_t read_queue_bytes(uint32_t depth) { return mem_block_bytes(depth * sizeof(read_entry), 0); }

leat_status read_queue_open(read_queue *q, const storage_ops *ops, mem *ledger, const file_set *files, uint32_t depth,
                            leat_error *error)
{
    assert(depth >= 1 && depth <= QUEUE_DEPTH_MAX);
    q->base.ops = ops;
    q->ledger = ledger;
    q->files = files;
    q->depth = depth;
    q->free = q->queued = q->done = (entry_list){ENTRY_NONE, ENTRY_NONE};
    pthread_mutex_init(&q->mutex, NULL); /* with default attributes these cannot fail on Linux */
    pthread_cond_init(&q->freed_one, NULL);
    pthread_cond_init(&q->done_some, NULL);
    TRY(MEM_NEW(ledger, IO, depth, &q->entries, error));
    for (uint32_t i = 0; i < depth; i++) append_entry(q, &q->free, (int32_t)i);
    return LEAT_OK;
}

void read_queue_close(read_queue *q)
{
    pthread_cond_destroy(&q->done_some);
    pthread_cond_destroy(&q->freed_one);
    pthread_mutex_destroy(&q->mutex);
    mem_free(q->ledger, q->entries);
}

#include "exec/trunk_reader.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "os/clock.h"
#include "os/own_thread.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

enum { STACK_BYTES = 128 * 1024 }; /* the deepest call is a storage raising an error */

/* One of the reads under way. One that failed keeps its place until all are back, so that its unit stays unready. */
typedef struct piece_read {
    enum { PIECE_FREE, PIECE_READING, PIECE_FAILED } state;
    uint32_t unit;
    uint64_t bytes;
} piece_read;

struct trunk_reader {
    trunk_reader_config config;
    own_thread thread;

    /* The waiting thread's. */
    trunk_make_room *make_room;
    void *make_room_user;
    bool has_made_room; /* since it was last woken */
    uint64_t reported_bytes;

    /* The thread's. */
    piece_read pieces[TRUNK_READS_MAX];
    uint32_t busy_count;
    uint32_t next_part; /* the first part that is not asked for as a whole */
    uint64_t next_at;   /* in that part */

    pthread_mutex_t mutex;
    pthread_cond_t moved; /* a read is back, or stuck: for wait */
    pthread_cond_t go_on; /* for the thread, when it has stopped */

    /* Guarded by mutex. */
    uint64_t done_bytes;
    bool is_closing, is_stuck, has_stopped, was_told;
    leat_status status; /* why it has stopped */
    leat_error error;

    _Atomic uint32_t ready_count; /* leading units that are ready; written with the mutex */
    _Atomic uint64_t wait_ns;
};

uint32_t trunk_largest_align(const file_set *files)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < files->count; i++) {
        if (files->files[i].offset_align > most) most = files->files[i].offset_align;
        if (files->files[i].memory_align > most) most = files->files[i].memory_align;
    }
    return most;
}

/* ---- the thread: reads ---- */

/* The first unit that something is missing of. */
static uint32_t first_unready(const trunk_reader *r)
{
    const trunk_reader_config *c = &r->config;
    uint32_t unit = r->next_part < c->part_count ? c->parts[r->next_part].unit : c->unit_count;

    for (uint32_t i = 0; i < TRUNK_READS_MAX; i++)
        if (r->pieces[i].state != PIECE_FREE && r->pieces[i].unit < unit) unit = r->pieces[i].unit;
    return unit;
}

static void reap_one(trunk_reader *r)
{
    storage *reads = r->config.reads;
    read_result result;
    const bool found = reads->ops->reap(reads, TRUNK_TAG_BEGIN, TRUNK_TAG_END, &result);

    assert(found);
    (void)found;
    piece_read *piece = &r->pieces[result.tag - TRUNK_TAG_BEGIN];
    piece->state = result.status == LEAT_OK ? PIECE_FREE : PIECE_FAILED;
    r->busy_count--;
    pthread_mutex_lock(&r->mutex);
    if (result.status == LEAT_OK) {
        r->done_bytes += piece->bytes;
        atomic_store(&r->ready_count, first_unready(r));
    } else if (r->status == LEAT_OK) {
        r->status = result.status;
        r->error = result.error;
        r->was_told = result.error.os_errno == ECANCELED; /* by whoever set the flag */
    }
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->mutex);
}

/* Pieces end at multiples of every alignment, so each one's window begins where the last one's ended. */
static read_request next_piece(const trunk_reader *r, uint64_t *out_end)
{
    const trunk_reader_config *c = &r->config;
    const trunk_part *p = &c->parts[r->next_part];
    const uint64_t unit = c->files->files[p->what.file_idx].offset_align, align = trunk_largest_align(c->files);
    const uint64_t begin = p->what.offset + r->next_at, end = p->what.offset + p->what.bytes;
    const uint64_t next = min_u64(end, round_down(begin + TRUNK_PIECE_BYTES, align));

    *out_end = next - p->what.offset;
    return (read_request){.what = {p->what.file_idx, begin, next - begin},
                          .buffer = p->place + (round_down(begin, unit) - round_down(p->what.offset, unit)),
                          .class = READ_CERTAIN};
}

static void set_stuck(trunk_reader *r, bool is_stuck)
{
    pthread_mutex_lock(&r->mutex);
    r->is_stuck = is_stuck;
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->mutex);
}

/* What fills the queue may be reads that only the step takes back, and the step may be waiting for us: it is told. */
static void submit(trunk_reader *r, const read_request *request)
{
    const storage_ops *ops = r->config.reads->ops;

    for (;;) {
        if (ops->try_submit(r->config.reads, request)) return;
        if (!r->busy_count) break;
        reap_one(r);
    }
    set_stuck(r, true);
    ops->submit(r->config.reads, request);
    set_stuck(r, false);
}

static uint32_t free_piece(const trunk_reader *r)
{
    uint32_t idx = 0;
    while (r->pieces[idx].state != PIECE_FREE) idx++;
    return idx;
}

static void submit_next(trunk_reader *r)
{
    const trunk_part *p = &r->config.parts[r->next_part];
    uint64_t end;
    read_request request = next_piece(r, &end);
    const uint32_t idx = free_piece(r);

    request.tag = TRUNK_TAG_BEGIN + idx;
    submit(r, &request);
    r->pieces[idx] = (piece_read){PIECE_READING, p->unit, request.what.bytes};
    r->busy_count++;
    r->next_at = end;
    if (end < p->what.bytes) return;
    r->next_part++;
    r->next_at = 0;
}

static bool may_go_on(trunk_reader *r)
{
    pthread_mutex_lock(&r->mutex);
    const bool may = !r->is_closing && r->status == LEAT_OK;
    pthread_mutex_unlock(&r->mutex);
    return may;
}

/* From the first unit that is not ready until nothing is left, a read has failed, or the reader is being closed. */
static void read_parts(trunk_reader *r)
{
    while (r->next_part < r->config.part_count && may_go_on(r)) {
        if (r->busy_count == TRUNK_READS_MAX)
            reap_one(r);
        else
            submit_next(r);
    }
    while (r->busy_count) reap_one(r);
}

/* Back to the first unit that is not ready. */
static void rewind_parts(trunk_reader *r)
{
    const uint32_t ready = atomic_load(&r->ready_count);
    uint64_t done = r->config.done_bytes;

    for (uint32_t i = 0; i < TRUNK_READS_MAX; i++) r->pieces[i] = (piece_read){PIECE_FREE, 0, 0};
    for (r->next_part = 0; r->config.parts[r->next_part].unit < ready; r->next_part++)
        done += r->config.parts[r->next_part].what.bytes;
    r->next_at = 0;
    r->done_bytes = done;
}

static void serve(void *context)
{
    trunk_reader *r = context;

    pthread_mutex_lock(&r->mutex);
    while (!r->is_closing && atomic_load(&r->ready_count) < r->config.unit_count) {
        if (r->has_stopped) {
            pthread_cond_wait(&r->go_on, &r->mutex);
            continue;
        }
        pthread_mutex_unlock(&r->mutex);
        read_parts(r);
        pthread_mutex_lock(&r->mutex);
        r->has_stopped = r->status != LEAT_OK;
        pthread_cond_broadcast(&r->moved);
    }
    pthread_mutex_unlock(&r->mutex);
}

/* ---- who waits ---- */

/* What stands in the way of going on to wait, if anything; the mutex is held. */
static leat_status check_wait(trunk_reader *r, leat_error *error)
{
    if (cancel_is_wanted(r->config.cancel)) return FAIL(error, CANCELLED, "the step was cancelled");
    if (!r->has_stopped) return LEAT_OK;
    if (!r->was_told) {
        r->was_told = true;
        if (error) *error = r->error;
        return r->status;
    }
    rewind_parts(r); /* the thread sleeps */
    r->has_stopped = r->was_told = false;
    r->status = LEAT_OK;
    pthread_cond_signal(&r->go_on);
    return LEAT_OK;
}

/* Calls others, without the mutex: they may take their time. false: there was nothing to tell them. */
static bool tell_others(trunk_reader *r)
{
    const trunk_reader_config *c = &r->config;
    const uint64_t done = r->done_bytes;
    const bool makes_room = r->is_stuck && r->make_room && !r->has_made_room;
    const bool reports = c->progress && done != r->reported_bytes;

    if (!makes_room && !reports) return false;
    pthread_mutex_unlock(&r->mutex);
    if (makes_room) r->make_room(r->make_room_user);
    if (reports) c->progress(c->progress_user, "load", done, c->total_bytes);
    pthread_mutex_lock(&r->mutex);
    r->has_made_room |= makes_room;
    r->reported_bytes = done;
    return true;
}

bool trunk_reader_is_ready(const trunk_reader *r, uint32_t unit) { return atomic_load(&r->ready_count) > unit; }

leat_status trunk_reader_wait(trunk_reader *r, uint32_t unit, leat_error *error)
{
    leat_status status = LEAT_OK;

    if (trunk_reader_is_ready(r, unit) && (!r->config.progress || r->reported_bytes == r->config.total_bytes))
        return LEAT_OK;
    const uint64_t begin_ns = clock_now_ns();
    pthread_mutex_lock(&r->mutex);
    while (!trunk_reader_is_ready(r, unit)) {
        status = check_wait(r, error);
        if (status != LEAT_OK) break;
        if (tell_others(r)) continue; /* much may have changed meanwhile */
        pthread_cond_wait(&r->moved, &r->mutex);
        r->has_made_room = false;
    }
    (void)tell_others(r); /* of the last read that it took */
    pthread_mutex_unlock(&r->mutex);
    atomic_fetch_add(&r->wait_ns, clock_now_ns() - begin_ns);
    return status;
}

void trunk_reader_set_make_room(trunk_reader *r, trunk_make_room *fn, void *user)
{
    r->make_room = fn;
    r->make_room_user = user;
}

uint64_t trunk_reader_wait_ns(const trunk_reader *r) { return atomic_load(&r->wait_ns); }

/* ---- open and close ---- */

uint64_t trunk_reader_bytes(void) { return mem_block_bytes(sizeof(trunk_reader), 0) + own_thread_bytes(STACK_BYTES); }

leat_status trunk_reader_open(const trunk_reader_config *config, trunk_reader **out_reader, leat_error *error)
{
    trunk_reader *r;

    TRY(mem_alloc(config->ledger, MEM_TRUNK, 1, sizeof *r, 0, "reader of the trunk", (void **)&r, error));
    r->config = *config;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->moved, NULL);
    pthread_cond_init(&r->go_on, NULL);
    assert(config->part_count > 0);
    atomic_store(&r->ready_count, config->parts[0].unit);
    rewind_parts(r);
    r->reported_bytes = config->done_bytes;
    const leat_status status =
        own_thread_start(config->ledger, MEM_TRUNK, "leat-trunk", STACK_BYTES, serve, r, &r->thread, error);
    if (status != LEAT_OK)
        trunk_reader_close(&r);
    else
        *out_reader = r;
    return status;
}

void trunk_reader_close(trunk_reader **reader)
{
    trunk_reader *r = *reader;

    if (!r) return;
    pthread_mutex_lock(&r->mutex);
    r->is_closing = true;
    pthread_cond_signal(&r->go_on);
    pthread_mutex_unlock(&r->mutex);
    own_thread_join(&r->thread);
    pthread_cond_destroy(&r->go_on);
    pthread_cond_destroy(&r->moved);
    pthread_mutex_destroy(&r->mutex);
    mem_free(r->config.ledger, r);
    *reader = NULL;
}

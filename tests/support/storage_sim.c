/* storage_sim.c - see the header. Memory comes from the C library, so that the ledger shows only what is under test. */
#include "storage_sim.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "io/io_sched.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_DEPTH_DEFAULT = 4096, LOG_COUNT = 1024 };

typedef enum read_state { READ_NONE, READ_QUEUED, READ_FLYING, READ_BACK, READ_GIVEN_UP } read_state;

typedef struct pending_read {
    read_state state; /* without a drive: flying or given up */
    read_request request;
    uint64_t nth, submit_ns, latency_ns, due_ns;
    bool fails;
} pending_read;

typedef struct storage_sim {
    storage base;
    const file_set *files;
    const uint8_t *const *contents;
    storage_sim_config config;
    prng dice, cancel_dice;
    uint64_t now_ns, busy_since_ns, drive_free_ns;
    uint64_t submitted_count, fail_at; /* fail_at: the number of the read that fails, counted from 1; 0 none */
    pending_read *pending;             /* (queue_depth), those before used_end have been used */
    uint32_t *free_slots;              /* (queue_depth), free_count of them, the last is given out first */
    uint32_t used_end, free_count, pending_count;
    io_sched sched; /* drive: of the same indices */
    sched_item *items;
    storage_stats stats;
    uint64_t tags[LOG_COUNT];
    read_class classes[LOG_COUNT];
} storage_sim;

static void require(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "storage_sim: %s\n", what);
    abort();
}

static bool has_drive(const storage_sim *sim) { return sim->config.bytes_per_s > 0; }

/* ---- the drive ---- */

static bool is_busy(const storage_sim *sim)
{
    return has_drive(sim) ? sim->sched.started_count > 0 : sim->pending_count > 0;
}

static void start_reads(storage_sim *sim)
{
    int32_t idx;
    for (bool was_busy = is_busy(sim); (idx = io_sched_take(&sim->sched, sim->now_ns)) != SCHED_NONE; was_busy = true) {
        pending_read *p = &sim->pending[idx];
        if (!was_busy) sim->busy_since_ns = sim->now_ns;
        p->state = READ_FLYING;
        sim->drive_free_ns = max_u64(sim->drive_free_ns, sim->now_ns) +
                             (uint64_t)((double)p->request.what.bytes * 1e9 / (double)sim->config.bytes_per_s);
        p->due_ns = sim->drive_free_ns + p->latency_ns;
    }
}

static pending_read *first_due(storage_sim *sim)
{
    pending_read *first = NULL;
    for (uint32_t i = 0; i < sim->used_end; i++) {
        pending_read *p = &sim->pending[i];
        if (p->state == READ_FLYING && (first == NULL || p->due_ns < first->due_ns)) first = p;
    }
    return first;
}

/* The next thing that happens, at end_ns at the latest. false: nothing did before. */
static bool run_drive(storage_sim *sim, uint64_t end_ns)
{
    start_reads(sim);
    pending_read *p = first_due(sim);
    uint64_t wait_ns = io_sched_wait_ns(&sim->sched, sim->now_ns), next_ns = UINT64_MAX;
    if (wait_ns != UINT64_MAX) next_ns = sim->now_ns + wait_ns;
    bool is_back = p != NULL && p->due_ns <= next_ns;
    if (is_back) next_ns = p->due_ns;
    if (next_ns > end_ns) {
        if (end_ns != UINT64_MAX) sim->now_ns = end_ns;
        return false;
    }
    sim->now_ns = max_u64(sim->now_ns, next_ns);
    if (!is_back) return true;
    p->state = READ_BACK;
    io_sched_end(&sim->sched, (int32_t)(p - sim->pending), sim->now_ns);
    if (!is_busy(sim)) sim->stats.busy_ns += sim->now_ns - sim->busy_since_ns;
    start_reads(sim);
    return true;
}

/* ---- the seam ---- */

static uint64_t draw_latency(storage_sim *sim)
{
    const storage_sim_config *config = &sim->config;
    uint64_t latency_ns = config->latency_ns_min;
    if (config->latency_ns_max > config->latency_ns_min)
        latency_ns += prng_below(&sim->dice, config->latency_ns_max - config->latency_ns_min + 1);
    return latency_ns;
}

static void check_request(const storage_sim *sim, const read_request *request)
{
    const extent *what = &request->what;
    const file *f = &sim->files->files[what->file_idx];
    require(what->file_idx < sim->files->count, "no such file");
    require(request->class < READ_CLASS_COUNT, "no such class");
    if (sim->config.has_no_bytes) return;
    require(what->bytes == 0 || (uintptr_t)request->buffer % f->memory_align == 0, "a misaligned buffer");
    memset(request->buffer, STORAGE_SIM_POISON, storage_window_bytes(sim->files, what));
}

static bool try_submit_read(storage *s, const read_request *request)
{
    storage_sim *sim = (storage_sim *)s;
    if (sim->pending_count == sim->config.queue_depth) return false;
    check_request(sim, request);
    uint64_t latency_ns = draw_latency(sim);
    sim->classes[sim->submitted_count % LOG_COUNT] = request->class;
    sim->tags[sim->submitted_count++ % LOG_COUNT] = request->tag;
    bool fails = sim->submitted_count == sim->fail_at;
    if (sim->config.failures_per_1000 > 0 && prng_below(&sim->dice, 1000) < sim->config.failures_per_1000) fails = true;
    if (!has_drive(sim) && sim->pending_count == 0) sim->busy_since_ns = sim->now_ns;
    uint32_t idx = sim->free_count > 0 ? sim->free_slots[--sim->free_count] : sim->used_end++;
    sim->pending_count++;
    sim->pending[idx] = (pending_read){.state = READ_FLYING,
                                       .request = *request,
                                       .nth = sim->submitted_count,
                                       .submit_ns = sim->now_ns,
                                       .latency_ns = latency_ns,
                                       .due_ns = sim->now_ns + latency_ns,
                                       .fails = fails};
    if (!has_drive(sim)) return true;
    sim->pending[idx].state = READ_QUEUED;
    io_sched_add(&sim->sched, (int32_t)idx, request->class, request->deadline_ns, request->what.bytes);
    if (!request->is_followed) start_reads(sim);
    return true;
}

static void submit_read(storage *s, const read_request *request)
{
    require(try_submit_read(s, request), "submit to a full queue would wait for ever");
}

static void deliver(storage_sim *sim, const pending_read *p, read_result *out_result)
{
    const extent *what = &p->request.what;
    const file *f = &sim->files->files[what->file_idx];
    out_result->tag = p->request.tag;
    out_result->status = LEAT_OK;
    if (p->state == READ_GIVEN_UP) {
        out_result->status = FAIL(&out_result->error, CANCELLED, "a simulated read was given up");
        return;
    }
    uint64_t payload_offset = storage_payload_offset(sim->files, what);
    uint64_t read_bytes = what->bytes == 0 ? 0 : round_up(payload_offset + what->bytes, f->offset_align);
    uint64_t begin = what->offset - payload_offset, end;
    if (!size_add(what->offset, what->bytes, &end) || end > f->bytes) {
        out_result->status =
            FAIL(&out_result->error, IO, "%s: simulated read past the end", sim->files->names[what->file_idx]);
        return;
    }
    uint64_t there_bytes = min_u64(read_bytes, f->bytes - begin);
    if (p->fails) {
        there_bytes /= 2;
        out_result->status =
            FAIL_OS(&out_result->error, IO, EIO, "%s: simulated failure", sim->files->names[what->file_idx]);
    } else {
        sim->stats.payload_bytes += what->bytes;
    }
    if (there_bytes > 0 && !sim->config.has_no_bytes)
        memcpy(p->request.buffer, sim->contents[what->file_idx] + begin, there_bytes);
    sim->stats.window_bytes += read_bytes;
    sim->stats.class_bytes[p->request.class] += read_bytes;
}

static bool is_in(const pending_read *p, uint64_t tag_begin, uint64_t tag_end)
{
    return p->state != READ_NONE && p->request.tag >= tag_begin && p->request.tag < tag_end;
}

/* What reap hands out next: what was given up, then what is back first. NULL: none is pending. */
static pending_read *next_of(storage_sim *sim, uint64_t tag_begin, uint64_t tag_end)
{
    pending_read *best = NULL;
    for (uint32_t i = 0; i < sim->used_end; i++) {
        pending_read *p = &sim->pending[i];
        if (!is_in(p, tag_begin, tag_end)) continue;
        if (best == NULL || p->state > best->state ||
            (p->state == best->state &&
             (p->due_ns < best->due_ns || (p->due_ns == best->due_ns && p->nth < best->nth))))
            best = p;
    }
    return best;
}

static void raise_read(storage_sim *sim, pending_read *p, read_class class)
{
    if (p->request.class <= class) return;
    p->request.class = class;
    if (has_drive(sim)) io_sched_raise(&sim->sched, (int32_t)(p - sim->pending), class);
}

static void take_back(storage_sim *sim, pending_read *p, read_result *out_result)
{
    if (!has_drive(sim) && p->state == READ_FLYING) sim->now_ns = max_u64(sim->now_ns, p->due_ns);
    deliver(sim, p, out_result);
    if (p->state != READ_GIVEN_UP) {
        sim->stats.read_count++;
        sim->stats.read_ns += p->due_ns - p->submit_ns;
    }
    p->state = READ_NONE;
    sim->free_slots[sim->free_count++] = (uint32_t)(p - sim->pending);
    if (--sim->pending_count == 0 && !has_drive(sim)) sim->stats.busy_ns += sim->now_ns - sim->busy_since_ns;
}

static bool reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_sim *sim = (storage_sim *)s;
    pending_read *p;
    while ((p = next_of(sim, tag_begin, tag_end)) != NULL && has_drive(sim) && p->state < READ_BACK) {
        if (p->state == READ_QUEUED) raise_read(sim, p, READ_DEMAND); /* somebody waits for it */
        require(run_drive(sim, UINT64_MAX), "nothing is under way that could be waited for");
    }
    if (p == NULL) return false;
    take_back(sim, p, out_result);
    return true;
}

static bool try_reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_sim *sim = (storage_sim *)s;
    pending_read *p = next_of(sim, tag_begin, tag_end);
    const bool is_back = p != NULL && (p->state > READ_FLYING || (!has_drive(sim) && p->due_ns <= sim->now_ns));
    if (is_back) take_back(sim, p, out_result);
    return is_back;
}

static uint32_t cancel_reads(storage *s, uint64_t tag_begin, uint64_t tag_end)
{
    storage_sim *sim = (storage_sim *)s;
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->used_end; i++) {
        pending_read *p = &sim->pending[i];
        if (!is_in(p, tag_begin, tag_end)) continue;
        bool is_queued = has_drive(sim) ? p->state == READ_QUEUED
                                        : p->state == READ_FLYING && p->request.what.bytes > 0 &&
                                              prng_below(&sim->cancel_dice, 1000) >= sim->config.begun_per_1000;
        if (!is_queued) continue;
        if (has_drive(sim)) io_sched_remove(&sim->sched, (int32_t)i);
        p->state = READ_GIVEN_UP;
        count++;
    }
    sim->stats.cancelled_count += count;
    if (has_drive(sim)) start_reads(sim);
    return count;
}

static void raise_reads(storage *s, uint64_t tag_begin, uint64_t tag_end, read_class class)
{
    storage_sim *sim = (storage_sim *)s;
    for (uint32_t i = 0; i < sim->used_end; i++)
        if (is_in(&sim->pending[i], tag_begin, tag_end) && sim->pending[i].state <= READ_FLYING &&
            (!has_drive(sim) || sim->pending[i].state == READ_QUEUED))
            raise_read(sim, &sim->pending[i], class);
    if (has_drive(sim)) start_reads(sim);
}

static void grant_bytes(storage *s, const read_grant *grant)
{
    storage_sim *sim = (storage_sim *)s;
    if (!has_drive(sim)) return;
    io_sched_grant(&sim->sched, grant, sim->now_ns);
    start_reads(sim);
}

static void limit_reads(storage *s, const read_limits *limits)
{
    storage_sim *sim = (storage_sim *)s;
    if (!has_drive(sim)) return;
    io_sched_limit(&sim->sched, limits);
    start_reads(sim);
}

static void pump_reads(storage *s)
{
    if (has_drive((storage_sim *)s)) start_reads((storage_sim *)s);
}

/* A simulated disk answers. */
static void watch_reads(storage *s, const read_watch *watch)
{
    (void)s;
    (void)watch;
}

static void reclaim_places(storage *s) { (void)s; }

static storage_stats get_stats(const storage *s)
{
    const storage_sim *sim = (const storage_sim *)s;
    storage_stats stats = sim->stats;
    if (is_busy(sim)) stats.busy_ns += sim->now_ns - sim->busy_since_ns;
    return stats;
}

static void close_storage(storage **s)
{
    if (*s == NULL) return;
    free(((storage_sim *)*s)->items);
    free(((storage_sim *)*s)->free_slots);
    free(((storage_sim *)*s)->pending);
    free(*s);
    *s = NULL;
}

static const storage_ops sim_ops = {
    .name = "sim",
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

storage *storage_sim_open(const file_set *files, const uint8_t *const *contents, const storage_sim_config *config)
{
    storage_sim *sim = calloc(1, sizeof *sim);
    require(sim != NULL, "no memory");
    sim->base.ops = &sim_ops;
    sim->files = files;
    sim->contents = contents;
    sim->config = *config;
    if (sim->config.queue_depth == 0) sim->config.queue_depth = QUEUE_DEPTH_DEFAULT;
    sim->pending = calloc(sim->config.queue_depth, sizeof *sim->pending);
    sim->free_slots = calloc(sim->config.queue_depth, sizeof *sim->free_slots);
    sim->items = calloc(sim->config.queue_depth, sizeof *sim->items);
    require(sim->pending != NULL && sim->free_slots != NULL && sim->items != NULL, "no memory");
    io_sched_init(&sim->sched, sim->items, sim->config.queue_depth, 0);
    prng_init(&sim->dice, config->seed);
    prng_init(&sim->cancel_dice, config->seed);
    return &sim->base;
}

void storage_sim_fail_nth(storage *s, uint64_t nth)
{
    storage_sim *sim = (storage_sim *)s;
    sim->fail_at = nth == 0 ? 0 : sim->submitted_count + nth;
}

void storage_sim_set_failures(storage *s, uint32_t failures_per_1000)
{
    ((storage_sim *)s)->config.failures_per_1000 = failures_per_1000;
}

void storage_sim_advance(storage *s, uint64_t ns)
{
    storage_sim *sim = (storage_sim *)s;
    uint64_t end_ns = sim->now_ns + ns;
    if (!has_drive(sim)) sim->now_ns = end_ns;
    while (has_drive(sim) && run_drive(sim, end_ns)) {
    }
}

uint32_t storage_sim_guesses_flying(const storage *s)
{
    const io_sched *sched = &((const storage_sim *)s)->sched;
    return sched->classes[READ_LOOK_AHEAD].started_count + sched->classes[READ_BACKGROUND].started_count;
}

read_class storage_sim_class_of(const storage *s, uint64_t tag)
{
    const storage_sim *sim = (const storage_sim *)s;
    for (uint32_t i = 0; i < sim->used_end; i++)
        if (is_in(&sim->pending[i], tag, tag + 1)) return sim->pending[i].request.class;
    return READ_CLASS_COUNT;
}

uint64_t storage_sim_now_ns(const storage *s) { return ((const storage_sim *)s)->now_ns; }
uint32_t storage_sim_pending_count(const storage *s) { return ((const storage_sim *)s)->pending_count; }
uint64_t storage_sim_submitted_count(const storage *s) { return ((const storage_sim *)s)->submitted_count; }

uint64_t storage_sim_submitted_tag(const storage *s, uint64_t idx)
{
    const storage_sim *sim = (const storage_sim *)s;
    require(idx < sim->submitted_count && idx + LOG_COUNT >= sim->submitted_count, "that tag is not kept");
    return sim->tags[idx % LOG_COUNT];
}

read_class storage_sim_submitted_class(const storage *s, uint64_t idx)
{
    const storage_sim *sim = (const storage_sim *)s;
    require(idx < sim->submitted_count && idx + LOG_COUNT >= sim->submitted_count, "that class is not kept");
    return sim->classes[idx % LOG_COUNT];
}

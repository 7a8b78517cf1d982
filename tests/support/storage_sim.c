/* storage_sim.c - see the header. Memory comes from the C library, so that the ledger shows only what is under test. */
#include "storage_sim.h"

#include "base/bytes.h"
#include "base/prng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_DEPTH_DEFAULT = 4096, LOG_COUNT = 1024 };

typedef struct pending_read {
    read_request request;
    uint64_t submit_ns, due_ns;
    bool fails;
} pending_read;

typedef struct storage_sim {
    storage base;
    const file_set *files;
    const uint8_t *const *contents;
    storage_sim_config config;
    prng dice;
    uint64_t now_ns, busy_since_ns;
    uint64_t submitted_count, fail_at; /* fail_at: the number of the read that fails, counted from 1; 0 none */
    pending_read *pending;             /* (queue_depth), the first pending_count are in use, in order of submission */
    uint32_t pending_count;
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

static bool try_submit_read(storage *s, const read_request *request)
{
    storage_sim *sim = (storage_sim *)s;
    if (sim->pending_count == sim->config.queue_depth) return false;
    const extent *what = &request->what;
    const file *f = &sim->files->files[what->file_idx];
    require(what->file_idx < sim->files->count, "no such file");
    require(what->bytes == 0 || (uintptr_t)request->buffer % f->memory_align == 0, "a misaligned buffer");
    memset(request->buffer, STORAGE_SIM_POISON, storage_window_bytes(sim->files, what));

    const storage_sim_config *config = &sim->config;
    uint64_t latency_ns = config->latency_ns_min;
    if (config->latency_ns_max > config->latency_ns_min)
        latency_ns += prng_below(&sim->dice, config->latency_ns_max - config->latency_ns_min + 1);
    sim->classes[sim->submitted_count % LOG_COUNT] = request->class;
    sim->tags[sim->submitted_count++ % LOG_COUNT] = request->tag;
    bool fails = sim->submitted_count == sim->fail_at;
    if (config->failures_per_1000 > 0 && prng_below(&sim->dice, 1000) < config->failures_per_1000) fails = true;
    if (sim->pending_count == 0) sim->busy_since_ns = sim->now_ns;
    sim->pending[sim->pending_count++] = (pending_read){*request, sim->now_ns, sim->now_ns + latency_ns, fails};
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
    if (there_bytes > 0) memcpy(p->request.buffer, sim->contents[what->file_idx] + begin, there_bytes);
    sim->stats.window_bytes += read_bytes;
}

static bool reap_read(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_sim *sim = (storage_sim *)s;
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < sim->pending_count; i++) {
        uint64_t tag = sim->pending[i].request.tag;
        if (tag < tag_begin || tag >= tag_end) continue;
        if (first == UINT32_MAX || sim->pending[i].due_ns < sim->pending[first].due_ns) first = i;
    }
    if (first == UINT32_MAX) return false;
    pending_read p = sim->pending[first];
    sim->now_ns = max_u64(sim->now_ns, p.due_ns);
    deliver(sim, &p, out_result);
    sim->stats.read_count++;
    sim->stats.read_ns += p.due_ns - p.submit_ns;
    sim->pending_count--;
    memmove(&sim->pending[first], &sim->pending[first + 1], (sim->pending_count - first) * sizeof *sim->pending);
    if (sim->pending_count == 0) sim->stats.busy_ns += sim->now_ns - sim->busy_since_ns;
    return true;
}

static storage_stats get_stats(const storage *s)
{
    const storage_sim *sim = (const storage_sim *)s;
    storage_stats stats = sim->stats;
    if (sim->pending_count > 0) stats.busy_ns += sim->now_ns - sim->busy_since_ns;
    return stats;
}

static void close_storage(storage **s)
{
    if (*s == NULL) return;
    free(((storage_sim *)*s)->pending);
    free(*s);
    *s = NULL;
}

static const storage_ops sim_ops = {
    .name = "sim",
    .submit = submit_read,
    .try_submit = try_submit_read,
    .reap = reap_read,
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
    require(sim->pending != NULL, "no memory");
    prng_init(&sim->dice, config->seed);
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

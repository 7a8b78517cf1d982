#include "exec/session.h"

#include "base/bytes.h"

#include <string.h>

uint64_t session_bytes(uint32_t ctx, uint32_t chunk)
{
    return mem_block_bytes(sizeof(session), 0) + mem_block_bytes(ctx * sizeof(uint32_t), 0) +
           mem_block_bytes(chunk * sizeof(step_row), 0);
}

leat_status session_open(engine *e, session **out_session, leat_error *error)
{
    leat_status status = LEAT_OK;
    session *s;

    TRY(mem_alloc(e->ledger, MEM_KV, 1, sizeof *s, 0, "session", (void **)&s, error));
    s->engine = e;
    TRY_OR(fail, mem_alloc(e->ledger, MEM_KV, e->plan.ctx, sizeof *s->tokens, 0, "tokens of a session",
                           (void **)&s->tokens, error));
    TRY_OR(fail, mem_alloc(e->ledger, MEM_KV, e->plan.prefill_chunk, sizeof *s->rows, 0, "rows of a step",
                           (void **)&s->rows, error));
    kv_cache_rewind(e->kv, 0);
    *out_session = s;
    return LEAT_OK;
fail:
    session_close(&s);
    return status;
}

void session_close(session **session_ptr)
{
    session *s = *session_ptr;

    if (!s) return;
    mem_free(s->engine->ledger, s->tokens);
    mem_free(s->engine->ledger, s->rows);
    mem_free(s->engine->ledger, s);
    *session_ptr = NULL;
}

static leat_status check_request(const session *s, const uint32_t *ids, uint64_t count, uint64_t total,
                                 leat_error *error)
{
    const model_desc *m = s->engine->model;

    if (!count) return FAIL(error, USAGE, "no tokens were given");
    if (total > s->engine->plan.ctx)
        return FAIL(error, CONTEXT, "%llu tokens do not fit the context of %u (--ctx)", (unsigned long long)total,
                    s->engine->plan.ctx);
    for (uint64_t i = 0; i < count; i++)
        if (ids[i] >= m->vocab_size)
            return FAIL(error, USAGE, "token %llu has the id %u, the vocabulary ends at %u", (unsigned long long)i,
                        ids[i], m->vocab_size - 1);
    return LEAT_OK;
}

static void report_progress(const session *s, uint64_t done, uint64_t total)
{
    if (s->engine->options.progress)
        s->engine->options.progress(s->engine->options.progress_user, "prefill", done, total);
}

/* A chunk's place in the whole. One may take a minute from a slow disk: its layers count as parts of it. */
typedef struct chunk_progress {
    const session *session;
    uint64_t done, total; /* tokens, without the chunk */
    uint32_t count;       /* of the chunk */
} chunk_progress;

static void report_layers(void *user, uint32_t layers_done)
{
    const chunk_progress *p = user;
    const uint32_t layer_count = p->session->engine->model->layer_count;
    if (layers_done < layer_count) /* the whole chunk is reported when it is part of the timeline */
        report_progress(p->session, p->done + (uint64_t)p->count * layers_done / layer_count, p->total);
}

typedef enum chunk_logits { NO_LOGITS, LAST_LOGITS, LOGITS_LATER } chunk_logits; /* LATER: the caller asks for them */

/* Nothing of a step that ended early may stay under way: others need the queue. */
static void settle_reads(engine *e)
{
    if (e->experts) expert_cache_settle(e->experts);
    e->ahead_count = 0;
    e->look_ahead.idle_since_ns = 0;
    (void)look_ahead_unpaced(&e->look_ahead); /* the next layer that asks is granted anew */
    if (e->ring) weight_ring_settle(e->ring);
}

/* ---- what a run learns ---- */

static run_counters read_counters(const engine *e)
{
    const storage_stats reads = e->reads->ops->stats(e->reads);
    run_counters c = {.stream_wait_ns = weight_ring_stats_get(e->ring).wait_ns,
                      .read_busy_ns = reads.busy_ns,
                      .read_bytes = reads.window_bytes};
    for (int part = 0; part < STEP_PART_COUNT; part++)
        if (part != STEP_DISK_WAIT) c.compute_ns += step_clock_read(&e->clock, (step_part)part);
    if (e->experts) {
        const expert_cache_stats cache = expert_cache_stats_get(e->experts);
        c.expert_wait_ns = cache.wait_ns;
        c.miss_count = cache.misses;
    }
    return c;
}

static void begin_tally(const engine *e, uint32_t row_count)
{
    if (!e->tally) return;
    const run_counters now = read_counters(e);
    run_tally_begin(e->tally, row_count, &now);
}

static void end_tally(const engine *e)
{
    if (!e->tally) return;
    const run_counters now = read_counters(e);
    run_tally_end(e->tally, &now);
}

static void take_route(void *user, uint32_t moe_idx, size_t position, const uint32_t *experts, const float *weights,
                       uint32_t count)
{
    const session *s = user;
    run_tally_route(s->engine->tally, moe_idx, experts, count);
    if (s->route_sink) s->route_sink(s->route_user, moe_idx, position, experts, weights, count);
}

/* Computes ids as the next positions, at most a chunk of them. On failure the timeline is as before. progress: NULL
 * for none. */
static leat_status run_chunk(session *s, const uint32_t *ids, uint32_t count, chunk_logits logits,
                             chunk_progress *progress, step *out_step, leat_error *error)
{
    for (uint32_t i = 0; i < count; i++) s->rows[i] = (step_row){s->length + i, ids[i]};
    *out_step = (step){.engine = s->engine,
                       .rows = s->rows,
                       .row_count = count,
                       .route_sink = s->engine->tally ? take_route : s->route_sink,
                       .route_user = s->engine->tally ? s : s->route_user,
                       .asked_sink = s->asked_sink,
                       .asked_user = s->asked_user,
                       .layer_sink = progress ? report_layers : NULL,
                       .layer_user = progress};
    s->logits = NULL;
    warm_start_stop(&s->engine->warm);
    weight_ring_expect_head(s->engine->ring, logits != NO_LOGITS);
    kv_cache_extend(s->engine->kv, count);
    begin_tally(s->engine, count);
    leat_status status = step_forward(out_step, error);
    if (status == LEAT_OK && logits == LAST_LOGITS) status = step_logits(out_step, count - 1, 1, error);
    if (status != LEAT_OK) {
        settle_reads(s->engine);
        kv_cache_rewind(s->engine->kv, s->length);
        return status;
    }
    if (logits != LOGITS_LATER) end_tally(s->engine);
    if (logits == LAST_LOGITS) s->logits = s->engine->scratch.logits;
    memcpy(s->tokens + s->length, ids, count * sizeof *ids);
    s->length += count;
    return LEAT_OK;
}

static leat_status tell_token(session *s, uint32_t position, const float *logits, leat_error *error)
{
    if (!s->token_sink) return LEAT_OK;
    return s->token_sink(s->token_user, position, s->tokens[position], logits, error);
}

static void cut_to(session *s, uint32_t length)
{
    s->length = kv_cache_rewindable(s->engine->kv, length);
    kv_cache_rewind(s->engine->kv, s->length);
    s->logits = NULL;
}

leat_status session_sync(session *s, const uint32_t *ids, uint64_t count, uint64_t *out_reused, leat_error *error)
{
    uint32_t common = 0;
    step done;

    TRY(check_request(s, ids, count, count, error));
    while (common < s->length && common < count && s->tokens[common] == ids[common]) common++;
    if (common == count && common == s->length && s->logits) {
        if (out_reused) *out_reused = count;
        return LEAT_OK;
    }
    if (common == count) common--; /* the last token is computed again for its logits */
    cut_to(s, common);
    if (out_reused) *out_reused = s->length;

    const uint64_t begin = s->length;
    report_progress(s, 0, count - begin);
    while (s->length < count) {
        const uint32_t chunk = (uint32_t)min_u64(count - s->length, s->engine->plan.prefill_chunk);
        chunk_progress progress = {s, s->length - begin, count - begin, chunk};
        const chunk_logits logits = s->length + chunk == count ? LAST_LOGITS : NO_LOGITS;
        TRY(run_chunk(s, ids + s->length, chunk, logits, &progress, &done, error));
        for (uint32_t at = s->length - chunk; at < s->length && at + 1 < count; at++)
            TRY(tell_token(s, at, NULL, error));
        report_progress(s, s->length - begin, count - begin);
    }
    return tell_token(s, s->length - 1, s->logits, error);
}

leat_status session_append(session *s, uint32_t id, leat_error *error)
{
    step only;

    TRY(check_request(s, &id, 1, (uint64_t)s->length + 1, error));
    TRY(run_chunk(s, &id, 1, LAST_LOGITS, NULL, &only, error));
    return tell_token(s, s->length - 1, s->logits, error);
}

static leat_status score_chunk(session *s, const step *done, session_score_fn *fn, void *user, leat_error *error)
{
    const uint32_t vocab = s->engine->model->vocab_size, first = s->length - done->row_count;

    for (uint32_t row = 0; row < done->row_count; row += LOGIT_ROWS) {
        const uint32_t count = (uint32_t)min_u64(LOGIT_ROWS, done->row_count - row);
        TRY(engine_check_cancel(s->engine, error));
        const leat_status status = step_logits(done, row, count, error);
        if (status != LEAT_OK) {
            settle_reads(s->engine);
            return status;
        }
        for (uint32_t i = 0; i < count; i++) {
            const float *logits = s->engine->scratch.logits + (size_t)i * vocab;
            TRY(tell_token(s, first + row + i, logits, error));
            TRY(fn(user, first + row + i, logits, error));
        }
        /* Who stops before the chunk's last row leaves a timeline without logits: these would be an earlier token's. */
        if (row + count == done->row_count) s->logits = s->engine->scratch.logits + (size_t)(count - 1) * vocab;
    }
    return LEAT_OK;
}

leat_status session_score(session *s, const uint32_t *ids, uint64_t count, session_score_fn *fn, void *user,
                          leat_error *error)
{
    TRY(check_request(s, ids, count, count, error));
    cut_to(s, 0);
    report_progress(s, 0, count);
    while (s->length < count) {
        const uint32_t chunk = (uint32_t)min_u64(count - s->length, s->engine->plan.prefill_chunk);
        step done;
        chunk_progress progress = {s, s->length, count, chunk};
        TRY(run_chunk(s, ids + s->length, chunk, LOGITS_LATER, &progress, &done, error));
        TRY(score_chunk(s, &done, fn, user, error));
        report_progress(s, s->length, count);
    }
    return LEAT_OK;
}

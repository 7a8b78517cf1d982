#include "job_run.h"

#include "base/bytes.h"
#include "cli/continuation.h"
#include "os/clock.h"
#include "server/logprobs.h"

#include <string.h>

typedef struct runner {
    engine_seat *seat;
    job *j;
    const job_settings *settings;
    job_result *result;
    u32_list timeline;
    strbuf text;   /* of the running choice: what may be shown and was not yet */
    float *biased; /* (vocab_size), NULL without biases */
    uint32_t choice;
    uint64_t shown_count; /* characters of the running choice that the sink has */
    uint64_t token_ns;    /* when the choice's last token came; 0: none yet */
} runner;

/* ---- ending early ---- */

/* What the sink said. The flag is cleared before the next job. */
static void heed(const runner *r, bool goes_on)
{
    if (goes_on) return;
    job_set_cause(r->j, JOB_CAUSE_CANCEL);
    engine_seat_set_cancel(r->seat, true);
}

static bool is_to_end(const runner *r)
{
    const uint64_t deadline_ns = r->settings->deadline_ns;
    if (deadline_ns > 0 && clock_now_ns() >= deadline_ns) job_set_cause(r->j, JOB_CAUSE_DEADLINE);
    return job_cause_of(r->j) != JOB_NO_CAUSE;
}

static job_end early_end(const job *j)
{
    switch (job_cause_of(j)) {
    case JOB_CAUSE_DEADLINE: return JOB_TIMEOUT;
    case JOB_CAUSE_FAILURE: return JOB_FAILED;
    default: return JOB_CANCELLED;
    }
}

static job_end end_of(const job *j, stop_reason reason)
{
    switch (reason) {
    case STOP_END:
    case STOP_STRING: return JOB_STOP;
    case STOP_LENGTH:
    case STOP_CONTEXT: return JOB_LENGTH;
    case STOP_CANCELLED: return early_end(j);
    case STOP_NONE: break;
    }
    return JOB_FAILED;
}

/* ---- what the sink is told ---- */

static void tell_prefill(void *user, uint32_t done, uint32_t total)
{
    const runner *r = user;
    if (r->j->sink.on_prefill) heed(r, r->j->sink.on_prefill(r->j->user, done, total));
}

/* Adds to `token` what logprobs ask for. logits: those that the token was chosen from, or NULL. out_piece is freed by
 * the caller. */
static leat_status describe(const runner *r, const float *logits, job_token *token, logprob_list *top,
                            leat_text *out_piece, leat_error *error)
{
    if (!r->settings->logprobs && !r->settings->echo_logprobs) return LEAT_OK;
    if (r->seat->tokenizer) TRY(leat_token_bytes(r->seat->tokenizer, token->id, out_piece, error));
    token->piece = out_piece->bytes ? out_piece->bytes : "";
    token->piece_bytes = out_piece->count;
    if (!logits) return LEAT_OK;
    token->has_logprob = true;
    token->logprob = logprobs_of(logits, r->seat->info->vocab_size, token->id, r->settings->top_logprobs, top);
    token->top_ids = top->ids;
    token->top_logprobs = top->logprobs;
    token->top_count = top->count;
    return LEAT_OK;
}

static leat_status tell_token(runner *r, job_token *token, const float *logits, leat_error *error)
{
    logprob_list top;
    leat_text piece = {0};
    if (!r->j->sink.on_token) return LEAT_OK;
    leat_status status = describe(r, logits, token, &top, &piece, error);
    if (status == LEAT_OK) heed(r, r->j->sink.on_token(r->j->user, r->choice, token));
    leat_text_free(&piece);
    return status;
}

/* ---- a prompt that is told token by token ---- */

typedef struct echo {
    runner *r;
    uint32_t prompt_idx;
    leat_stream *stream;
} echo;

static leat_status tell_prompt_token(echo *e, size_t at, const float *logits, leat_error *error)
{
    const runner *r = e->r;
    job_token token = {.id = r->timeline.items[at], .text = "", .piece = ""};
    logprob_list top;
    leat_text piece = {0};
    if (!r->j->sink.on_prompt_token) return LEAT_OK;
    if (e->stream) TRY(leat_stream_push(e->stream, token.id, &token.text, &token.text_bytes, error));
    leat_status status = describe(r, logits, &token, &top, &piece, error);
    if (status == LEAT_OK) heed(r, r->j->sink.on_prompt_token(r->j->user, e->prompt_idx, &token));
    leat_text_free(&piece);
    return status;
}

/* The logits after a position say how probable the next token was. */
static leat_status take_score(void *user, size_t position, const float *logits, leat_error *error)
{
    echo *e = user;
    if (position == 0) TRY(tell_prompt_token(e, 0, NULL, error));
    if (position + 1 < e->r->timeline.count) TRY(tell_prompt_token(e, position + 1, logits, error));
    if (is_to_end(e->r)) return FAIL(error, CANCELLED, "the job is to end");
    return LEAT_OK;
}

static leat_status score_prompt(runner *r, uint32_t prompt_idx, leat_error *error)
{
    leat_status status = LEAT_OK;
    echo e = {.r = r, .prompt_idx = prompt_idx};
    if (r->seat->tokenizer) TRY(leat_stream_open(r->seat->tokenizer, r->settings->hides_control, &e.stream, error));
    status = leat_session_score(r->seat->session, r->timeline.items, r->timeline.count, take_score, &e, error);
    leat_stream_close(&e.stream);
    return status;
}

/* ---- the parts of a choice ---- */

static void begin_choice(runner *r, uint32_t prompt_idx, uint32_t choice_idx)
{
    slot_snapshot *now = &r->seat->now;
    const uint32_t count = (uint32_t)r->j->prompts[prompt_idx].count;
    r->choice = prompt_idx * r->settings->n + choice_idx;
    r->shown_count = 0;
    r->token_ns = 0;
    now->slot = SLOT_PREFILL;
    now->choice = r->choice;
    now->prompt_count = count;
    now->prefill_done = now->cached_count = now->generated_count = 0;
    now->max_tokens = (uint32_t)min_u64(r->settings->max_tokens, now->ctx + 1 - min_u64(count, now->ctx));
    engine_seat_publish(r->seat, false);
}

/* is_first: of its prompt. Whether the job wants it or not, its later choices find its own prompt computed. */
static leat_status read_prompt(runner *r, continuation *c, uint32_t prompt_idx, bool is_first, leat_error *error)
{
    const uint64_t begin_ns = clock_now_ns();
    leat_status status = LEAT_OK;
    size_t reused = 0;

    if (is_first && r->settings->echo_logprobs) status = score_prompt(r, prompt_idx, error);
    if (status == LEAT_OK) status = continuation_read_prompt(c, &reused, error);
    if (status == LEAT_CANCELLED) {
        c->reason = STOP_CANCELLED;
        status = LEAT_OK;
    }
    r->result->prefill_ns += clock_now_ns() - begin_ns;
    TRY(status);
    if (is_first && !r->settings->echo_logprobs) r->result->cached_count += (uint32_t)reused;
    r->seat->now.slot = SLOT_DECODE;
    r->seat->now.prefill_done = r->seat->now.prompt_count;
    engine_seat_publish(r->seat, false);
    return LEAT_OK;
}

static const float *bias_logits(const runner *r, const float *logits)
{
    const uint32_t vocab_size = r->seat->info->vocab_size;
    if (!r->biased) return logits;
    memcpy(r->biased, logits, vocab_size * sizeof *logits);
    for (uint32_t i = 0; i < r->settings->bias_count; i++)
        if (r->settings->biases[i].id < vocab_size) r->biased[r->settings->biases[i].id] += r->settings->biases[i].bias;
    return r->biased;
}

static void count_token(runner *r)
{
    const uint64_t now_ns = clock_now_ns();
    if (r->result->generated_count++ == 0) {
        r->result->first_token_ns = now_ns - r->j->submitted_ns;
        if (r->seat->metrics) metrics_observe(r->seat->metrics, METRICS_FIRST_TOKEN, r->result->first_token_ns);
    }
    if (r->token_ns > 0 && r->seat->metrics)
        metrics_observe(r->seat->metrics, METRICS_INTER_TOKEN, now_ns - r->token_ns);
    r->token_ns = now_ns;
    r->seat->now.generated_count++;
}

static uint64_t count_characters(const strbuf *text)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < text->count; i++) count += ((uint8_t)text->bytes[i] & 0xc0) != 0x80;
    return count;
}

static leat_status take_token(runner *r, continuation *c, leat_error *error)
{
    const float *logits = leat_session_logits(r->seat->session);
    uint32_t id;
    TRY(continuation_pick(c, bias_logits(r, logits), &id, error));
    count_token(r);
    /* An end token is not part of the text. */
    if (c->reason != STOP_NONE && !r->settings->tells_end) return LEAT_OK;
    const uint64_t offset = r->shown_count + count_characters(&c->match.held);
    TRY(continuation_show(c, error));
    job_token token = {
        .id = id, .offset = offset, .text = strbuf_text(&r->text), .text_bytes = r->text.count, .piece = ""};
    TRY(tell_token(r, &token, logits, error));
    r->shown_count += count_characters(&r->text);
    strbuf_cut(&r->text, 0);
    if (c->reason == STOP_NONE && is_to_end(r)) c->reason = STOP_CANCELLED;
    engine_seat_publish(r->seat, false);
    return LEAT_OK;
}

static leat_status compute(runner *r, continuation *c, leat_error *error)
{
    const uint64_t begin_ns = clock_now_ns();
    leat_status status = continuation_compute(c, error);
    r->result->decode_ns += clock_now_ns() - begin_ns;
    return status;
}

static metrics_finish finish_of(const job *j, job_end end)
{
    switch (end) {
    case JOB_STOP: return j->has_tool_calls ? METRICS_FINISH_TOOL_CALLS : METRICS_FINISH_STOP;
    case JOB_LENGTH: return j->has_tool_calls ? METRICS_FINISH_TOOL_CALLS : METRICS_FINISH_LENGTH;
    case JOB_CANCELLED: return METRICS_FINISH_CLIENT_CLOSED;
    case JOB_TIMEOUT: return METRICS_FINISH_TIMEOUT;
    case JOB_FAILED: break;
    }
    return METRICS_FINISH_ERROR;
}

static void end_choice(runner *r, continuation *c)
{
    const job *j = r->j;
    r->result->end = end_of(j, c->reason);
    r->j->has_tool_calls = false;
    if (j->sink.on_choice_end)
        heed(r, j->sink.on_choice_end(j->user, r->choice, r->result->end, strbuf_text(&r->text), r->text.count));
    if (job_cause_of(j) == JOB_CAUSE_FAILURE) r->result->end = JOB_FAILED;
    if (r->seat->metrics) metrics_count_finish(r->seat->metrics, finish_of(j, r->result->end));
}

static leat_status continue_prompt(runner *r, continuation *c, uint32_t prompt_idx, bool is_first, leat_error *error)
{
    TRY(read_prompt(r, c, prompt_idx, is_first, error));
    while (c->reason == STOP_NONE) {
        TRY(take_token(r, c, error));
        if (c->reason == STOP_NONE) TRY(compute(r, c, error));
    }
    TRY(continuation_finish(c, error));
    end_choice(r, c);
    return LEAT_OK;
}

static leat_status run_choice(runner *r, uint32_t prompt_idx, uint32_t choice_idx, leat_error *error)
{
    const job_settings *s = r->settings;
    const leat_tokens *prompt = &r->j->prompts[prompt_idx];
    const continuation_rules rules = {.info = r->seat->info,
                                      .tokenizer = r->seat->tokenizer,
                                      .max_tokens = s->max_tokens,
                                      .ctx = r->seat->plan->ctx,
                                      .ignore_eos = s->ignore_eos,
                                      .shows_control = !s->hides_control,
                                      .stops = {(const char *const *)s->stops, s->stop_count}};
    leat_sampler_options sampling = s->sampling;
    leat_sampler *sampler = NULL;
    continuation c = {0};
    leat_status status = LEAT_OK;

    sampling.seed = r->result->seed + choice_idx;
    begin_choice(r, prompt_idx, choice_idx);
    r->timeline.count = 0;
    strbuf_cut(&r->text, 0);
    TRY_OR(done, u32_list_append(&r->timeline, prompt->ids, prompt->count, error));
    TRY_OR(done, leat_sampler_open(&sampling, r->seat->info->vocab_size, &sampler, error));
    TRY_OR(done, continuation_init(&c, &rules, r->seat->session, sampler, &r->timeline, &r->text, error));
    status = continue_prompt(r, &c, prompt_idx, choice_idx == 0, error);
done:
    continuation_reset(&c);
    leat_sampler_close(&sampler);
    return status;
}

/* ---- the whole ---- */

static leat_status run_choices(runner *r, leat_error *error)
{
    const job *j = r->j;
    for (uint32_t p = 0; p < j->prompt_count; p++) {
        TRY(engine_seat_prepare(r->seat, !r->settings->cache_prompt, error));
        for (uint32_t i = 0; i < r->settings->n; i++) {
            TRY(run_choice(r, p, i, error));
            if (r->result->end != JOB_STOP && r->result->end != JOB_LENGTH) return LEAT_OK;
            const bool is_last = p + 1 == j->prompt_count && i + 1 == r->settings->n;
            if (!is_last && is_to_end(r)) {
                r->result->end = early_end(j);
                return LEAT_OK;
            }
        }
    }
    return LEAT_OK;
}

static leat_status run_all(runner *r, leat_error *error)
{
    if (r->settings->bias_count > 0)
        TRY(MEM_NEW(r->seat->ledger, SCRATCH, r->seat->info->vocab_size, &r->biased, error));
    if (r->j->sink.on_begin) heed(r, r->j->sink.on_begin(r->j->user));
    if (is_to_end(r)) {
        r->result->end = early_end(r->j);
        return LEAT_OK;
    }
    return run_choices(r, error);
}

static void add_counters(job_result *result, const leat_stats *before, const leat_stats *after)
{
    result->expert_hits = after->expert_hits - before->expert_hits;
    result->expert_misses = after->expert_misses - before->expert_misses;
    result->read_bytes = after->read_bytes - before->read_bytes;
    result->read_ns = after->read_busy_ns - before->read_busy_ns;
    result->wait_ns = after->disk_wait_ns - before->disk_wait_ns;
}

static void count_job(const engine_seat *seat, const job_result *result, const leat_error *error)
{
    metrics *m = seat->metrics;
    if (!m) return;
    metrics_observe(m, METRICS_QUEUE_WAIT, result->queue_ns);
    metrics_observe(m, METRICS_REQUEST_DURATION, result->total_ns);
    metrics_observe(m, METRICS_STORAGE_READ, result->read_ns);
    metrics_count_tokens(m, result->prompt_count, result->cached_count, result->generated_count);
    if (result->status != LEAT_OK) metrics_count_finish(m, METRICS_FINISH_ERROR); /* end_choice was not reached */
    if (result->status == LEAT_IO) metrics_count_read_error(m, error->os_errno == 0);
}

void job_run(engine_seat *seat, job *j, job_result *out_result, leat_error *error)
{
    runner r = {.seat = seat,
                .j = j,
                .settings = &j->settings,
                .result = out_result,
                .timeline = {.ledger = seat->ledger},
                .text = {.ledger = seat->ledger}};
    const leat_stats before = leat_engine_get_stats(seat->engine);

    *out_result = (job_result){.end = JOB_STOP, .queue_ns = clock_now_ns() - j->submitted_ns};
    out_result->seed = j->settings.has_seed ? j->settings.sampling.seed : continuation_draw_seed();
    for (uint32_t p = 0; p < j->prompt_count; p++) out_result->prompt_count += (uint32_t)j->prompts[p].count;
    seat->now.job_number = job_number(j);
    seat->on_prefill = tell_prefill;
    seat->on_prefill_user = &r;
    out_result->status = run_all(&r, error);
    if (out_result->status != LEAT_OK) out_result->end = JOB_FAILED;
    seat->on_prefill = NULL;
    mem_free(seat->ledger, r.biased);
    u32_list_reset(&r.timeline);
    strbuf_reset(&r.text);

    const leat_stats after = leat_engine_get_stats(seat->engine);
    add_counters(out_result, &before, &after);
    out_result->total_ns = clock_now_ns() - j->submitted_ns;
    count_job(seat, out_result, error);
    /* A job that was ended early, or failed otherwise, says nothing of the disk. */
    if (out_result->status == LEAT_IO) seat->now.is_degraded = true;
    if (out_result->end == JOB_STOP || out_result->end == JOB_LENGTH) seat->now.is_degraded = false;
    seat->now.slot = SLOT_IDLE;
    seat->now.job_number = 0;
    engine_seat_publish(seat, true);
}

#include "continuation.h"

#include "base/status.h"
#include "os/clock.h"

#include <string.h>
#include <sys/random.h>

uint64_t continuation_draw_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint32_t)clock_now_ns();
    return seed;
}

leat_status continuation_init(continuation *c, const continuation_rules *rules, leat_session *session,
                              leat_sampler *sampler, u32_list *timeline, strbuf *text, leat_error *error)
{
    *c = (continuation){
        .rules = *rules, .session = session, .sampler = sampler, .timeline = timeline, .text = text, .stream = NULL};
    c->match = (stop_match){.held = {.ledger = timeline->ledger}};
    if (!rules->tokenizer) return LEAT_OK;
    return leat_stream_open(rules->tokenizer, !rules->shows_control, &c->stream, error);
}

void continuation_reset(continuation *c)
{
    leat_stream_close(&c->stream);
    if (c->match.held.ledger) strbuf_reset(&c->match.held);
}

leat_status continuation_read_prompt(continuation *c, size_t *out_reused, leat_error *error)
{
    leat_status status = leat_session_sync(c->session, c->timeline->items, c->timeline->count, out_reused, error);
    if (status == LEAT_CANCELLED) {
        c->reason = STOP_CANCELLED;
        return LEAT_OK;
    }
    TRY(status);
    if (c->rules.max_tokens == 0) c->reason = STOP_LENGTH;
    return LEAT_OK;
}

static bool is_end_token(const leat_model_info *info, uint32_t id)
{
    for (uint32_t i = 0; i < info->stop_id_count; i++)
        if (info->stop_ids[i] == id) return true;
    return false;
}

/* A sampler passes over what is no number; a model whose arithmetic broke must not go on talking. Bits instead of
 * comparisons, so that the loop becomes a maximum of integers. */
static bool holds_nan(const float *logits, uint32_t count)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, logits + i, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest > 0x7f800000u;
}

leat_status continuation_pick(continuation *c, const float *logits, uint32_t *out_id, leat_error *error)
{
    const continuation_rules *r = &c->rules;
    uint32_t id;
    if (holds_nan(logits, r->info->vocab_size))
        return FAIL(error, INTERNAL, "numerical: a logit after %zu tokens is not a number", c->timeline->count);
    TRY(leat_sampler_pick(c->sampler, logits, c->timeline->items, c->timeline->count, &id, error));
    TRY(u32_list_append(c->timeline, &id, 1, error));
    c->generated_count++;
    if (!r->ignore_eos && is_end_token(r->info, id)) c->reason = STOP_END;
    *out_id = id;
    return LEAT_OK;
}

static leat_status add_text(continuation *c, bool *out_is_stopped, leat_error *error)
{
    const char *text;
    size_t bytes;
    const uint32_t id = c->timeline->items[c->timeline->count - 1];
    *out_is_stopped = false;
    if (!c->stream || (c->rules.hides_end && is_end_token(c->rules.info, id))) return LEAT_OK;
    TRY(leat_stream_push(c->stream, id, &text, &bytes, error));
    return stop_match_push(&c->match, &c->rules.stops, text, bytes, c->text, out_is_stopped, error);
}

leat_status continuation_show(continuation *c, leat_error *error)
{
    bool is_stopped;
    if (c->reason != STOP_NONE) return LEAT_OK;
    TRY(add_text(c, &is_stopped, error));
    if (is_stopped)
        c->reason = STOP_STRING;
    else if (c->generated_count >= c->rules.max_tokens)
        c->reason = STOP_LENGTH;
    else if (leat_session_length(c->session) >= c->rules.ctx)
        c->reason = STOP_CONTEXT;
    return LEAT_OK;
}

leat_status continuation_compute(continuation *c, leat_error *error)
{
    leat_status status = leat_session_append(c->session, c->timeline->items[c->timeline->count - 1], error);
    if (status == LEAT_CANCELLED) {
        c->reason = STOP_CANCELLED;
        return LEAT_OK;
    }
    return status;
}

leat_status continuation_finish(continuation *c, leat_error *error)
{
    const char *text;
    size_t bytes;
    bool is_stopped;
    if (!c->stream || c->reason == STOP_STRING) return LEAT_OK;
    TRY(leat_stream_flush(c->stream, &text, &bytes, error));
    TRY(stop_match_push(&c->match, &c->rules.stops, text, bytes, c->text, &is_stopped, error));
    if (is_stopped) return LEAT_OK;
    return stop_match_finish(&c->match, c->text, error);
}

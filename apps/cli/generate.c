#include "generate.h"

#include "report.h"
#include "signals.h"
#include "stop_match.h"

#include "os/clock.h"

#include <sys/random.h>

void generation_init(generation *g, mem *ledger)
{
    *g = (generation){.tokens = {.ledger = ledger}, .step_us = {.ledger = ledger}, .text = {.ledger = ledger}};
}

void generation_reset(generation *g)
{
    u32_list_reset(&g->tokens);
    u32_list_reset(&g->step_us);
    strbuf_reset(&g->text);
}

const char *stop_reason_label(stop_reason reason)
{
    static const char *const labels[] = {
        [STOP_NONE] = "error",    [STOP_END] = "stop",        [STOP_STRING] = "stop_string",
        [STOP_LENGTH] = "length", [STOP_CONTEXT] = "context", [STOP_CANCELLED] = "cancelled",
    };
    return labels[reason];
}

/* 32 bits are plenty to be different, and short enough to type again. */
static uint64_t draw_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint32_t)clock_now_ns();
    return seed;
}

leat_sampler_options generate_sampler_options(const leat_model *model, const cli_options *options)
{
    leat_sampler_options s = leat_model_sampler_options(model);
    if (options->is_set[OPTION_temp]) s.temperature = (float)options->temp;
    if (options->is_set[OPTION_top_k]) s.top_k = options->top_k;
    if (options->is_set[OPTION_top_p]) s.top_p = (float)options->top_p;
    if (options->is_set[OPTION_min_p]) s.min_p = (float)options->min_p;
    if (options->is_set[OPTION_repeat_penalty]) s.repeat_penalty = (float)options->repeat_penalty;
    if (options->is_set[OPTION_presence_penalty]) s.presence_penalty = (float)options->presence_penalty;
    if (options->is_set[OPTION_frequency_penalty]) s.frequency_penalty = (float)options->frequency_penalty;
    s.seed = options->is_set[OPTION_seed] ? options->seed : draw_seed();
    return s;
}

/* The answer while it grows. */
typedef struct answer {
    const generate_request *request;
    u32_list *timeline;
    generation *g;
    leat_stream *stream;
    stop_match match;
    uint64_t begin_ns;
} answer;

static bool is_end_token(const leat_model_info *info, uint32_t id)
{
    for (uint32_t i = 0; i < info->stop_id_count; i++)
        if (info->stop_ids[i] == id) return true;
    return false;
}

/* Shows what was added to the text since `shown` bytes. */
static leat_status show_text(answer *a, size_t shown, leat_error *error)
{
    output *out = a->request->out;
    if (!out || a->g->text.count == shown) return LEAT_OK;
    output_write(out, a->g->text.bytes + shown, a->g->text.count - shown);
    return output_flush(out, error);
}

static leat_status add_text(answer *a, uint32_t id, bool *out_is_stopped, leat_error *error)
{
    const char *text;
    size_t bytes, shown = a->g->text.count;
    TRY(leat_stream_push(a->stream, id, &text, &bytes, error));
    TRY(stop_match_push(&a->match, text, bytes, &a->g->text, out_is_stopped, error));
    return show_text(a, shown, error);
}

static leat_status finish_text(answer *a, leat_error *error)
{
    const char *text;
    size_t bytes, shown = a->g->text.count;
    bool is_stopped;
    if (!a->stream || a->g->reason == STOP_STRING) return LEAT_OK;
    TRY(leat_stream_flush(a->stream, &text, &bytes, error));
    TRY(stop_match_push(&a->match, text, bytes, &a->g->text, &is_stopped, error));
    TRY(stop_match_finish(&a->match, &a->g->text, error));
    return show_text(a, shown, error);
}

/* Whether the answer ends after the token that was just taken. */
static leat_status take_token(answer *a, leat_error *error)
{
    const generate_request *r = a->request;
    generation *g = a->g;
    uint32_t id;
    bool is_stopped = false;
    const phase before = phase_clock_switch(r->phases, PHASE_SAMPLING);
    leat_status status = leat_sampler_pick(r->sampler, leat_session_logits(r->session), a->timeline->items,
                                           a->timeline->count, &id, error);
    phase_clock_switch(r->phases, before);
    TRY(status);
    TRY(u32_list_append(&g->tokens, &id, 1, error));
    TRY(u32_list_append(a->timeline, &id, 1, error));
    if (g->tokens.count == 1) g->first_token_ns = clock_now_ns() - a->begin_ns;
    phase_clock_mark(r->phases, &r->phases->first_token_ns);
    if (is_end_token(r->info, id) && !r->options->ignore_eos) {
        g->reason = STOP_END;
        return LEAT_OK;
    }
    phase_clock_switch(r->phases, PHASE_TEXT);
    if (a->stream) status = add_text(a, id, &is_stopped, error);
    phase_clock_switch(r->phases, before);
    TRY(status);
    if (is_stopped)
        g->reason = STOP_STRING;
    else if (g->tokens.count >= r->options->max_tokens)
        g->reason = STOP_LENGTH;
    else if (leat_session_length(r->session) >= r->ctx)
        g->reason = STOP_CONTEXT;
    else if (signals_cancel || (r->out && r->out->is_closed))
        g->reason = STOP_CANCELLED;
    return LEAT_OK;
}

static leat_status append_token(answer *a, leat_error *error)
{
    uint64_t begin_ns = clock_now_ns();
    const phase before = phase_clock_switch(a->request->phases, PHASE_STEP);
    leat_status status = leat_session_append(a->request->session, a->g->tokens.items[a->g->tokens.count - 1], error);
    phase_clock_switch(a->request->phases, before);
    if (status == LEAT_CANCELLED) {
        a->g->reason = STOP_CANCELLED;
        return LEAT_OK;
    }
    TRY(status);
    uint64_t step_ns = clock_now_ns() - begin_ns;
    uint32_t step_us = step_ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(step_ns / 1000);
    a->g->decode_ns += step_ns;
    return u32_list_append(&a->g->step_us, &step_us, 1, error);
}

static leat_status take_prompt(answer *a, leat_error *error)
{
    size_t reused = 0;
    a->g->prompt_count = a->timeline->count;
    const phase before = phase_clock_switch(a->request->phases, PHASE_STEP);
    leat_status status = leat_session_sync(a->request->session, a->timeline->items, a->timeline->count, &reused, error);
    phase_clock_switch(a->request->phases, before);
    report_progress_end();
    if (status == LEAT_CANCELLED) {
        a->g->reason = STOP_CANCELLED;
        return LEAT_OK;
    }
    TRY(status);
    a->g->reused_count = reused;
    a->g->prefill_ns = clock_now_ns() - a->begin_ns;
    if (a->request->options->max_tokens == 0) a->g->reason = STOP_LENGTH;
    return LEAT_OK;
}

static leat_status answer_prompt(answer *a, leat_error *error)
{
    TRY(take_prompt(a, error));
    while (a->g->reason == STOP_NONE) {
        TRY(take_token(a, error));
        if (a->g->reason == STOP_NONE) TRY(append_token(a, error));
    }
    return finish_text(a, error);
}

leat_status generate(const generate_request *request, u32_list *timeline, generation *g, leat_error *error)
{
    answer a = {.request = request, .timeline = timeline, .g = g, .begin_ns = clock_now_ns()};
    a.match = (stop_match){.stops = &request->options->stop, .held = {.ledger = timeline->ledger}};
    leat_status status = LEAT_OK;
    if (request->tokenizer) status = leat_stream_open(request->tokenizer, true, &a.stream, error);
    if (status == LEAT_OK) status = answer_prompt(&a, error);
    leat_stream_close(&a.stream);
    strbuf_reset(&a.match.held);
    return status;
}

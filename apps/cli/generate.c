#include "generate.h"

#include "report.h"
#include "signals.h"

#include "os/clock.h"

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
    s.seed = options->is_set[OPTION_seed] ? options->seed : continuation_draw_seed();
    return s;
}

/* The answer while it grows. */
typedef struct answer {
    const generate_request *request;
    generation *g;
    continuation text;
    uint64_t begin_ns;
} answer;

/* Shows what was added to the text since `shown` bytes. */
static leat_status show_text(answer *a, size_t shown, leat_error *error)
{
    output *out = a->request->out;
    if (!out || a->g->text.count == shown) return LEAT_OK;
    output_write(out, a->g->text.bytes + shown, a->g->text.count - shown);
    return output_flush(out, error);
}

static leat_status pick_token(answer *a, leat_error *error)
{
    const generate_request *r = a->request;
    uint32_t id;
    const phase before = phase_clock_switch(r->phases, PHASE_SAMPLING);
    leat_status status = continuation_pick(&a->text, leat_session_logits(r->session), &id, error);
    phase_clock_switch(r->phases, before);
    TRY(status);
    TRY(u32_list_append(&a->g->tokens, &id, 1, error));
    if (a->g->tokens.count == 1) a->g->first_token_ns = clock_now_ns() - a->begin_ns;
    phase_clock_mark(r->phases, &r->phases->first_token_ns);
    return LEAT_OK;
}

static leat_status show_token(answer *a, leat_error *error)
{
    const generate_request *r = a->request;
    const size_t shown = a->g->text.count;
    const phase before = phase_clock_switch(r->phases, PHASE_TEXT);
    leat_status status = continuation_show(&a->text, error);
    if (status == LEAT_OK) status = show_text(a, shown, error);
    phase_clock_switch(r->phases, before);
    TRY(status);
    if (a->text.reason == STOP_NONE && (signals_cancel || (r->out && r->out->is_closed)))
        a->text.reason = STOP_CANCELLED;
    return LEAT_OK;
}

static leat_status compute_token(answer *a, leat_error *error)
{
    uint64_t begin_ns = clock_now_ns();
    const phase before = phase_clock_switch(a->request->phases, PHASE_STEP);
    leat_status status = continuation_compute(&a->text, error);
    phase_clock_switch(a->request->phases, before);
    TRY(status);
    if (a->text.reason != STOP_NONE) return LEAT_OK;
    uint64_t step_ns = clock_now_ns() - begin_ns;
    uint32_t step_us = step_ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(step_ns / 1000);
    a->g->decode_ns += step_ns;
    return u32_list_append(&a->g->step_us, &step_us, 1, error);
}

static leat_status take_prompt(answer *a, leat_error *error)
{
    size_t reused = 0;
    a->g->prompt_count = a->text.timeline->count;
    const phase before = phase_clock_switch(a->request->phases, PHASE_STEP);
    leat_status status = continuation_read_prompt(&a->text, &reused, error);
    phase_clock_switch(a->request->phases, before);
    report_progress_end();
    TRY(status);
    if (a->text.reason == STOP_CANCELLED) return LEAT_OK;
    a->g->reused_count = reused;
    a->g->prefill_ns = clock_now_ns() - a->begin_ns;
    return LEAT_OK;
}

static leat_status answer_prompt(answer *a, leat_error *error)
{
    TRY(take_prompt(a, error));
    while (a->text.reason == STOP_NONE) {
        TRY(pick_token(a, error));
        if (a->text.reason == STOP_NONE) TRY(show_token(a, error));
        if (a->text.reason == STOP_NONE) TRY(compute_token(a, error));
    }
    const size_t shown = a->g->text.count;
    TRY(continuation_finish(&a->text, error));
    return show_text(a, shown, error);
}

leat_status generate(const generate_request *request, u32_list *timeline, generation *g, leat_error *error)
{
    const cli_options *o = request->options;
    const continuation_rules rules = {.info = request->info,
                                      .tokenizer = request->tokenizer,
                                      .max_tokens = o->max_tokens,
                                      .ctx = request->ctx,
                                      .ignore_eos = o->ignore_eos,
                                      .stops = {o->stop.items, o->stop.count}};
    answer a = {.request = request, .g = g, .begin_ns = clock_now_ns()};
    leat_status status =
        continuation_init(&a.text, &rules, request->session, request->sampler, timeline, &g->text, error);
    if (status == LEAT_OK) status = answer_prompt(&a, error);
    g->reason = status == LEAT_OK ? a.text.reason : STOP_NONE;
    continuation_reset(&a.text);
    return status;
}

#include "generate.h"

#include "report.h"
#include "signals.h"

#include "os/clock.h"

void generation_init(generation *g, mem *ledger)
{
    *g = (generation){.tokens = {.ledger = ledger}, .step_us = {.ledger = ledger}};
    answer_parts_init(&g->parts, ledger);
}

void generation_reset(generation *g)
{
    u32_list_reset(&g->tokens);
    u32_list_reset(&g->step_us);
    answer_parts_reset(&g->parts);
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
    strbuf written; /* by the model, and not read yet */
    answer_reader reader;
    uint64_t begin_ns;
} answer;

static leat_status read_text(answer *a, leat_error *error)
{
    if (a->written.count == 0) return LEAT_OK;
    TRY(answer_reader_push(&a->reader, a->written.bytes, a->written.count, error));
    strbuf_cut(&a->written, 0);
    return a->request->out ? output_flush(a->request->out, error) : LEAT_OK;
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
    const phase before = phase_clock_switch(r->phases, PHASE_TEXT);
    leat_status status = continuation_show(&a->text, error);
    if (status == LEAT_OK) status = read_text(a, error);
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
    TRY(continuation_finish(&a->text, error));
    TRY(read_text(a, error));
    TRY(answer_reader_finish(&a->reader, error));
    return a->request->out ? output_flush(a->request->out, error) : LEAT_OK;
}

/* Opens what reads the answer, then what writes it; both are closed by the caller. */
static leat_status open_answer(answer *a, u32_list *timeline, leat_error *error)
{
    const generate_request *r = a->request;
    const cli_options *o = r->options;
    const bool is_read = r->source && r->source->format;
    const continuation_rules rules = {.info = r->info,
                                      .tokenizer = r->tokenizer,
                                      .max_tokens = o->max_tokens,
                                      .ctx = r->ctx,
                                      .ignore_eos = o->ignore_eos,
                                      .shows_control = is_read,
                                      .hides_end = is_read,
                                      .stops = {o->stop.items, o->stop.count}};
    const thought_display display = r->out ? answer_thought_display(o, r->out) : THOUGHT_HIDDEN;
    TRY(answer_reader_open(&a->reader, r->source, display, &a->g->parts, r->out, error));
    return continuation_init(&a->text, &rules, r->session, r->sampler, timeline, &a->written, error);
}

leat_status generate(const generate_request *request, u32_list *timeline, generation *g, leat_error *error)
{
    answer a = {.request = request, .g = g, .written = {.ledger = timeline->ledger}, .begin_ns = clock_now_ns()};
    leat_status status = open_answer(&a, timeline, error);
    if (status == LEAT_OK) status = answer_prompt(&a, error);
    g->reason = status == LEAT_OK ? a.text.reason : STOP_NONE;
    continuation_reset(&a.text);
    answer_reader_reset(&a.reader);
    strbuf_reset(&a.written);
    return status;
}

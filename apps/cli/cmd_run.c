/* cmd_run.c - one prompt, one answer. */
#include "account.h"
#include "audit_writer.h"
#include "chat_open.h"
#include "generate.h"
#include "input.h"
#include "model_list.h"
#include "report.h"

#include "base/bytes.h"

#include <string.h>

typedef struct run_work {
    cli *c;
    const char *model_path;
    strbuf prompt;        /* as the user gave it; unused with --tokens */
    u32_list timeline;    /* the prompt's ids, then the answer's */
    answer_source source; /* how the answer is read */
    engine_setup setup;
    leat_sampler *sampler;
    leat_sampler_options sampling;
    generation answer;
    audit_writer audit;
    whole_file stats;
} run_work;

/* Without a template where the text is to be continued as it is: --raw, or a model that has none. */
static leat_status open_frame(const cli *c, const leat_tokenizer *tokenizer, chat_frame *frame, leat_error *error)
{
    bool is_missing = false;
    *frame = (chat_frame){.c = c};
    if (c->options.raw) return LEAT_OK;
    leat_status status = chat_frame_open(c, tokenizer, frame, &is_missing, error);
    return is_missing ? LEAT_OK : status;
}

static leat_status render_chat(const chat_frame *frame, strbuf *prompt, leat_tokens *out_ids, leat_text *out_shown,
                               answer_source *out_source, leat_error *error)
{
    const cli *c = frame->c;
    conversation talk;
    /* Shells and editors end text with a newline that nobody means. */
    if (prompt->count > 0 && prompt->bytes[prompt->count - 1] == '\n') strbuf_cut(prompt, prompt->count - 1);
    if (c->options.think != 0 && !chat_frame_can_think(frame))
        report_warning("--think: this model's template knows nothing of thinking");
    conversation_init(&talk, c->ledger);
    leat_status status = conversation_set_system(&talk, c->options.system, error);
    if (status == LEAT_OK) status = conversation_add(&talk, "user", strbuf_text(prompt), prompt->count, error);
    if (status == LEAT_OK) status = chat_frame_render(frame, &talk, out_ids, out_shown, out_source, error);
    conversation_reset(&talk);
    return status;
}

/* The model has no template, which nobody asked for: what would be lost is said, wherever it was set. */
static leat_status refuse_without_template(const cli *c, leat_error *error)
{
    static const char why[] = "the text is continued as it is: the model has no chat template";
    if (c->options.system) return FAIL(error, USAGE, "--system: %s", why);
    if (c->options.tools) return FAIL(error, USAGE, "--tools: %s", why);
    if (c->options.think != 0) report_warning("--think: %s", why);
    return LEAT_OK;
}

static leat_status render_raw(const cli *c, const leat_tokenizer *tokenizer, const strbuf *prompt, leat_tokens *out_ids,
                              leat_error *error)
{
    if (!c->options.raw) TRY(refuse_without_template(c, error));
    return leat_tokenize_prompt(tokenizer, strbuf_text(prompt), prompt->count, out_ids, error);
}

/* From text to ids: as a conversation of one message where the model has a chat template, else as a text to be
 * continued. out_shown: what the model sees; out_source: how its answer is read; both may be NULL. */
static leat_status render_prompt(const cli *c, const leat_tokenizer *tokenizer, strbuf *prompt, leat_tokens *out_ids,
                                 leat_text *out_shown, answer_source *out_source, leat_error *error)
{
    chat_frame frame;
    leat_status status = open_frame(c, tokenizer, &frame, error);
    if (status == LEAT_OK && frame.chat)
        status = render_chat(&frame, prompt, out_ids, out_shown, out_source, error);
    else if (status == LEAT_OK)
        status = render_raw(c, tokenizer, prompt, out_ids, error);
    chat_frame_close(&frame);
    return status;
}

/* What is part of a conversation has no place in an input that is continued as it is. Only what was typed is refused:
 * settings in files are meant for conversations. */
static leat_status refuse_conversation(const cli *c, const char *input, leat_error *error)
{
    static const option_id parts[] = {OPTION_system, OPTION_tools, OPTION_chat_template, OPTION_think};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (c->options.is_on_command_line[parts[i]])
            return FAIL(error, USAGE, "--%s: %s is continued as it is, without the model's chat format",
                        option_specs[parts[i]].name, input);
    return LEAT_OK;
}

static leat_status read_input(run_work *work, leat_error *error)
{
    cli *c = work->c;
    TRY(model_argument(c, &work->model_path, error));
    const char *word = cli_take_word(c);
    TRY(cli_refuse_rest(c, error));
    if (c->options.tokens || c->options.raw)
        TRY(refuse_conversation(c, c->options.tokens ? "what --tokens gives" : "the text of --raw", error));
    if (!c->options.tokens) {
        input_rules rules = {.word = word, .appends_stdin = true, .refuses_empty = true, .expected = "a prompt"};
        TRY(input_read(c, &rules, &work->prompt, error));
        if (c->options.system) TRY(input_check_text("--system", c->options.system, strlen(c->options.system), error));
        return input_check_text("the prompt", strbuf_text(&work->prompt), work->prompt.count, error);
    }
    if (word || c->options.is_on_command_line[OPTION_prompt] || c->options.is_on_command_line[OPTION_file])
        return FAIL(error, USAGE, "--tokens stands in place of a prompt; give one of them");
    return input_read_tokens(c, &work->timeline, error);
}

static void print_prompt(cli *c, const leat_tokens *ids, const leat_text *shown, const strbuf *prompt)
{
    if (shown->bytes)
        output_write(&c->out, shown->bytes, shown->count);
    else
        output_write(&c->out, strbuf_text(prompt), prompt->count);
    if (!c->out.ends_line) output_write(&c->out, "\n", 1);
    report_note("%zu tokens", ids->count);
}

static void print_prompt_json(cli *c, const leat_tokens *ids, const leat_text *shown, const strbuf *prompt)
{
    json_writer w;
    json_writer_init(&w, &c->out);
    json_writer_begin_document(&w, "leat.prompt/1");
    if (shown->bytes)
        json_writer_bytes(&w, "prompt", shown->bytes, shown->count);
    else
        json_writer_bytes(&w, "prompt", strbuf_text(prompt), prompt->count);
    json_writer_u64(&w, "token_count", ids->count);
    json_writer_ids(&w, "tokens", ids->ids, ids->count);
    json_writer_end_document(&w);
}

/* --show-prompt: needs the tokenizer, not the weights. */
static leat_status show_prompt(run_work *work, leat_error *error)
{
    cli *c = work->c;
    leat_tokenizer *tokenizer = NULL;
    leat_tokens ids = {0};
    leat_text shown = {0};
    leat_status status = LEAT_OK;
    if (c->options.tokens) return FAIL(error, USAGE, "--show-prompt: --tokens are shown as they were given");
    TRY_OR(done, leat_tokenizer_open(work->model_path, &tokenizer, error));
    TRY_OR(done, render_prompt(c, tokenizer, &work->prompt, &ids, &shown, NULL, error));
    if (c->options.json)
        print_prompt_json(c, &ids, &shown, &work->prompt);
    else
        print_prompt(c, &ids, &shown, &work->prompt);
done:
    leat_text_free(&shown);
    leat_tokens_free(&ids);
    leat_tokenizer_close(&tokenizer);
    return status;
}

static leat_status take_ids(run_work *work, const leat_tokenizer *tokenizer, leat_error *error)
{
    leat_tokens ids = {0};
    const phase before = phase_clock_switch(&work->c->phases, PHASE_TEXT);
    leat_status status = render_prompt(work->c, tokenizer, &work->prompt, &ids, NULL, &work->source, error);
    phase_clock_switch(&work->c->phases, before);
    TRY(status);
    status = u32_list_append(&work->timeline, ids.ids, ids.count, error);
    leat_tokens_free(&ids);
    return status;
}

/* What can be known about the prompt without the weights. A long one becomes tokens here, with a tokenizer of its own
 * that is closed again: the budget has no room for that beside the weights, and one that does not fit the context is
 * refused before they are read. */
static leat_status check_prompt(run_work *work, leat_error *error)
{
    if (work->c->options.tokens) return input_check_tokens(&work->timeline, work->setup.info->vocab_size, error);
    if (!work->setup.info->has_tokenizer) {
        leat_status status =
            FAIL(error, MODEL, "%s: has no tokenizer, so that text cannot be read", work->setup.info->path);
        status_hint(error, "--tokens takes token ids in place of text");
        return status;
    }
    if (work->prompt.count <= INPUT_SHORT_BYTES) return LEAT_OK;
    leat_tokenizer *tokenizer = NULL;
    TRY(leat_tokenizer_open(work->model_path, &tokenizer, error));
    leat_status status = take_ids(work, tokenizer, error);
    leat_tokenizer_close(&tokenizer);
    TRY(status);
    uint32_t ctx = engine_setup_ctx(work->c, &work->setup);
    if (ctx == 0 || work->timeline.count <= ctx) return LEAT_OK;
    return input_refuse_length(work->timeline.count, ctx, work->setup.info, error);
}

static leat_status prepare_timeline(run_work *work, leat_error *error)
{
    if (work->timeline.count > 0) return LEAT_OK;
    return take_ids(work, work->setup.tokenizer, error);
}

static void write_sampling(json_writer *w, const leat_sampler_options *s)
{
    json_writer_begin_object(w, "sampling");
    json_writer_single(w, "temperature", s->temperature);
    json_writer_u64(w, "top_k", s->top_k);
    json_writer_single(w, "top_p", s->top_p);
    json_writer_single(w, "min_p", s->min_p);
    json_writer_single(w, "repeat_penalty", s->repeat_penalty);
    json_writer_single(w, "presence_penalty", s->presence_penalty);
    json_writer_single(w, "frequency_penalty", s->frequency_penalty);
    json_writer_end_object(w);
}

static void write_parts(json_writer *w, const answer_parts *parts)
{
    json_writer_bytes(w, "text", strbuf_text(&parts->content), parts->content.count);
    if (parts->reasoning.count > 0)
        json_writer_bytes(w, "reasoning_content", strbuf_text(&parts->reasoning), parts->reasoning.count);
    if (parts->call_count == 0) return;
    json_writer_begin_array(w, "tool_calls");
    json_writer_raw(w, NULL, strbuf_text(&parts->calls), parts->calls.count);
    json_writer_end_array(w);
}

static void print_json(run_work *work)
{
    const generation *g = &work->answer;
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_document(&w, "leat.run/1");
    json_writer_text(&w, "model", work->setup.info->path);
    write_parts(&w, &g->parts);
    json_writer_ids(&w, "tokens", g->tokens.items, g->tokens.count);
    json_writer_text(&w, "stop_reason", stop_reason_label(g->reason));
    json_writer_u64(&w, "prompt_token_count", g->prompt_count);
    json_writer_u64(&w, "seed", work->sampling.seed);
    write_sampling(&w, &work->sampling);
    account_write_json(&w, work->c, &work->setup, g);
    json_writer_end_document(&w);
}

static leat_status conclude(run_work *work, leat_error *error)
{
    cli *c = work->c;
    switch (work->answer.reason) {
    case STOP_CANCELLED:
        if (!c->out.is_closed) report_note("[stopped]");
        return FAIL(error, CANCELLED, "cancelled");
    case STOP_CONTEXT:
        if (c->options.strict)
            return FAIL(error, CONTEXT, "the context of %u tokens ended the answer", work->setup.plan->ctx);
        report_note("[the context of %u tokens is full; --ctx makes it larger]", work->setup.plan->ctx);
        return LEAT_OK;
    default: return LEAT_OK;
    }
}

static leat_status answer_prompt(run_work *work, leat_error *error)
{
    cli *c = work->c;
    generate_request request = {
        .session = work->setup.session,
        .tokenizer = work->setup.tokenizer,
        .info = work->setup.info,
        .sampler = work->sampler,
        .options = &c->options,
        .ctx = work->setup.plan->ctx,
        .phases = &c->phases,
        .source = &work->source,
        .out = c->options.json ? NULL : &c->out,
    };
    if (work->sampling.temperature > 0 && !c->options.is_set[OPTION_seed])
        report_note("seed: %llu", (unsigned long long)work->sampling.seed);
    leat_stats before = leat_engine_get_stats(work->setup.engine);
    TRY(audit_writer_attach(&work->audit, &work->setup, &work->sampling, &c->phases, error));
    TRY(generate(&request, &work->timeline, &work->answer, error));
    TRY(audit_writer_finish(&work->audit, stop_reason_label(work->answer.reason), error));
    if (c->options.json)
        print_json(work);
    else if (c->out.is_terminal && !c->out.ends_line)
        output_write(&c->out, "\n", 1);
    TRY(output_flush(&c->out, error));
    account_report(&work->setup, &work->answer, &before);
    TRY(account_report_times(c, &work->setup, &work->stats, error));
    return conclude(work, error);
}

static leat_status run(run_work *work, leat_error *error)
{
    TRY(read_input(work, error));
    if (work->c->options.show_prompt) return show_prompt(work, error);
    TRY(account_open_stats(work->c, &work->stats, error));
    TRY(engine_setup_open_model(work->model_path, &work->setup, error));
    TRY(check_prompt(work, error));
    if (work->c->options.audit) TRY(audit_writer_open(&work->audit, work->c->ledger, work->c->options.audit, error));
    TRY(engine_setup_open_engine(work->c, 0, &work->setup, error));
    TRY(prepare_timeline(work, error));
    work->sampling = generate_sampler_options(work->setup.model, &work->c->options);
    TRY(leat_sampler_open(&work->sampling, work->setup.info->vocab_size, &work->sampler, error));
    return answer_prompt(work, error);
}

leat_status cmd_run(cli *c, leat_error *error)
{
    run_work work = {.c = c, .prompt = {.ledger = c->ledger}, .timeline = {.ledger = c->ledger}};
    work.source.request.ledger = c->ledger;
    generation_init(&work.answer, c->ledger);
    leat_status status = run(&work, error);
    generation_reset(&work.answer);
    leat_sampler_close(&work.sampler);
    audit_writer_close(&work.audit);
    whole_file_close(&work.stats);
    engine_setup_close(&work.setup);
    u32_list_reset(&work.timeline);
    strbuf_reset(&work.source.request);
    strbuf_reset(&work.prompt);
    return status;
}

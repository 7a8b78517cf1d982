/*
 * cmd_chat.c - a conversation: on a terminal with an editor and commands, in a pipe a question a line.
 *
 * The conversation is kept as messages. Each turn renders all of them and hands the ids to the session, which keeps
 * what it already has: nothing here knows what is cached.
 */
#include "account.h"
#include "chat.h"
#include "chat_open.h"
#include "input.h"
#include "line_editor.h"
#include "model_list.h"
#include "report.h"
#include "signals.h"
#include "terminal.h"

#include "os/clock.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HURRY_NS = 1000000000 }; /* two Ctrl-C within this time at the prompt end the program */

void chat_say(chat *t, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (t->is_interactive)
        output_print(&t->c->out, "%s\n", line);
    else
        report_note("%s", line);
}

void chat_take_options(chat *t, bool renews_seed)
{
    const uint64_t seed = t->sampling.seed;
    t->sampling = generate_sampler_options(t->setup.model, &t->c->options);
    if (!renews_seed) t->sampling.seed = seed;
}

leat_status chat_count_tokens(chat *t, size_t *out_count, leat_error *error)
{
    leat_tokens ids = {0};
    *out_count = 0;
    if (t->talk.count == 0) return LEAT_OK;
    TRY(chat_frame_render(&t->frame, &t->talk, &ids, NULL, NULL, error));
    *out_count = ids.count;
    leat_tokens_free(&ids);
    return LEAT_OK;
}

/* ---- one turn ------------------------------------------------------------------------------------------------- */

static leat_status render(chat *t, leat_error *error)
{
    leat_tokens ids = {0};
    t->timeline.count = 0;
    TRY(chat_frame_render(&t->frame, &t->talk, &ids, NULL, &t->source, error));
    leat_status status = u32_list_append(&t->timeline, ids.ids, ids.count, error);
    leat_tokens_free(&ids);
    return status;
}

/* Stopped before the model said anything, as while the prompt is computed. */
static bool is_nothing(const generation *g)
{
    const answer_parts *parts = &g->parts;
    return g->reason == STOP_CANCELLED && parts->content.count == 0 && parts->reasoning.count == 0 &&
           parts->calls.count == 0;
}

static leat_status answer(chat *t, leat_sampler *sampler, leat_error *error)
{
    cli *c = t->c;
    generate_request request = {
        .session = t->setup.session,
        .tokenizer = t->setup.tokenizer,
        .info = t->setup.info,
        .sampler = sampler,
        .options = &c->options,
        .ctx = t->setup.plan->ctx,
        .phases = &c->phases,
        .source = &t->source,
        .out = &c->out,
    };
    generation_reset(&t->last);
    generation_init(&t->last, c->ledger);
    t->before = leat_engine_get_stats(t->setup.engine);
    TRY(generate(&request, &t->timeline, &t->last, error));
    if (is_nothing(&t->last)) return LEAT_OK;
    const answer_parts *parts = &t->last.parts;
    TRY(conversation_add_answer(&t->talk, &parts->content, &parts->reasoning, &parts->calls, error));
    if (!c->out.ends_line) output_write(&c->out, "\n", 1);
    if (!t->is_interactive) output_write(&c->out, "\n", 1);
    return output_flush(&c->out, error);
}

/* With a sampler of its own, so that it depends on what it is an answer to and on its seed, and on nothing else that
 * was said or regenerated before: a conversation that was saved goes on as this one would. */
static leat_status answer_with_seed(chat *t, leat_error *error)
{
    leat_sampler *sampler = NULL;
    TRY(render(t, error));
    TRY(leat_sampler_open(&t->sampling, t->setup.info->vocab_size, &sampler, error));
    leat_status status = answer(t, sampler, error);
    leat_sampler_close(&sampler);
    t->sampling.seed++;
    return status;
}

/* What is left to say when an answer was stopped; LEAT_CANCELLED when that was meant for the program. */
static leat_status end_stopped(chat *t, leat_error *error)
{
    if (!t->c->out.is_closed) chat_say(t, "[stopped]");
    if (!t->is_interactive || signals_want_end()) return FAIL(error, CANCELLED, "cancelled");
    t->stopped_ns = clock_now_ns();
    return LEAT_OK;
}

leat_status chat_answer(chat *t, bool *out_is_answered, leat_error *error)
{
    *out_is_answered = false;
    leat_status status = answer_with_seed(t, error);
    /* This question cannot be asked; others can. LEAT_BUDGET: turning it into tokens takes more than was planned. */
    if (status == LEAT_CONTEXT || status == LEAT_USAGE || status == LEAT_BUDGET) {
        report_error(error);
        if (status == LEAT_CONTEXT)
            chat_say(t, "The conversation is full: /clear begins a new one, --ctx N gives it more room.");
        return LEAT_OK;
    }
    TRY(status);
    *out_is_answered = !is_nothing(&t->last);
    if (t->last.reason == STOP_CANCELLED) TRY(end_stopped(t, error));
    signals_forget();
    if (t->last.reason == STOP_CONTEXT) chat_say(t, "[the context of %u tokens is full]", t->setup.plan->ctx);
    account_report(&t->setup, &t->last, &t->before);
    return LEAT_OK;
}

leat_status chat_ask(chat *t, const char *question, leat_error *error)
{
    TRY(conversation_add(&t->talk, "user", question, strlen(question), error));
    bool is_answered;
    TRY(chat_answer(t, &is_answered, error));
    if (!is_answered) conversation_drop_last(&t->talk);
    return LEAT_OK;
}

/* A line that is not empty: a command, or a question. Spaces before a command keep it out of the history, no more. */
static leat_status take_line(chat *t, const char *line, leat_error *error)
{
    const char *word = line + strspn(line, " ");
    if (*word == '/') line = word;
    if (line[0] == '/' && line[1] == '/') return chat_ask(t, line + 1, error);
    if (line[0] == '/') {
        TRY(chat_command(t, line, error));
        signals_forget(); /* a Ctrl-C that a command has dealt with is not for the next answer */
        return LEAT_OK;
    }
    return chat_ask(t, line, error);
}

/* ---- at a terminal -------------------------------------------------------------------------------------------- */

static const char fence[] = "\"\"\"";

enum { FENCE_BYTES = sizeof fence - 1 };

static bool begins_with_fence(const strbuf *text) { return strncmp(strbuf_text(text), fence, FENCE_BYTES) == 0; }

/* Whether the question goes on with another line: between """ and """, or behind a backslash at the end. What follows
 * the closing """ belongs to it. */
static bool goes_on(strbuf *text)
{
    const char *bytes = strbuf_text(text);
    if (begins_with_fence(text)) {
        const char *end = strstr(bytes + FENCE_BYTES, fence);
        if (!end) return true;
        const size_t at = (size_t)(end - bytes), behind = at + FENCE_BYTES;
        memmove(text->bytes + at, text->bytes + behind, text->count - behind);
        strbuf_cut(text, text->count - FENCE_BYTES);
        strbuf_drop_front(text, FENCE_BYTES);
        return false;
    }
    if (text->count == 0 || bytes[text->count - 1] != '\\') return false;
    strbuf_cut(text, text->count - 1);
    return true;
}

/* A whole question, of several lines perhaps. Ctrl-D on a later line ends the question, not the chat. */
static leat_status edit_question(line_editor *e, strbuf *question, edit_end *out_end, leat_error *error)
{
    strbuf line = {.ledger = question->ledger};
    leat_status status = line_editor_read(e, ">>> ", "... ", question, out_end, error);
    while (status == LEAT_OK && *out_end == EDIT_LINE && goes_on(question)) {
        status = line_editor_read(e, "... ", "... ", &line, out_end, error);
        if (status == LEAT_OK && *out_end == EDIT_EOF) {
            *out_end = EDIT_LINE;
            if (begins_with_fence(question)) strbuf_drop_front(question, FENCE_BYTES);
            break;
        }
        if (status != LEAT_OK || *out_end != EDIT_LINE) break;
        status = strbuf_append_text(question, "\n", error);
        if (status == LEAT_OK) status = strbuf_append(question, strbuf_text(&line), line.count, error);
    }
    strbuf_reset(&line);
    return status;
}

/* Ctrl-C with nothing to drop: a hint, or the end when it is the second in a second. */
static leat_status refuse_interrupt(chat *t, leat_error *error)
{
    uint64_t now = clock_now_ns();
    if (t->stopped_ns != 0 && now - t->stopped_ns < HURRY_NS) return FAIL(error, CANCELLED, "cancelled");
    t->stopped_ns = now;
    chat_say(t, "Use Ctrl-D or /exit to end.");
    return LEAT_OK;
}

static leat_status talk_at_terminal(chat *t, line_editor *e, strbuf *question, leat_error *error)
{
    while (!t->is_over) {
        edit_end end;
        TRY(output_flush(&t->c->out, error));
        TRY(edit_question(e, question, &end, error));
        if (end == EDIT_EOF) break;
        if (end == EDIT_REFUSED) TRY(refuse_interrupt(t, error));
        if (end != EDIT_LINE || question->count == 0) continue;
        TRY(history_add(e->past, question->bytes, error));
        TRY(take_line(t, question->bytes, error));
    }
    return LEAT_OK;
}

/* Memory that others need is given back also while nobody asks anything. */
static void poll_engine(void *user)
{
    const chat *t = user;
    leat_engine_poll(t->setup.engine);
}

static leat_status open_terminal(chat *t, leat_error *error)
{
    history *past = NULL;
    line_editor editor;
    strbuf question = {.ledger = t->c->ledger};
    TRY(history_open(t->c->ledger, &past, error));
    line_editor_init(&editor, t->c->ledger, past,
                     (line_editor_hooks){.complete = chat_complete, .idle = poll_engine, .user = t});
    chat_say(t, "%s. /help lists the commands.", t->setup.info->path);
    leat_status status = talk_at_terminal(t, &editor, &question, error);
    line_editor_reset(&editor);
    history_close(&past);
    strbuf_reset(&question);
    return status;
}

/* ---- in a pipe ------------------------------------------------------------------------------------------------ */

static leat_status talk_in_pipe(chat *t, leat_error *error)
{
    strbuf line = {.ledger = t->c->ledger};
    line_reader reader = {.fd = STDIN_FILENO,
                          .name = "standard input",
                          .pending = {.ledger = t->c->ledger},
                          .idle = poll_engine,
                          .idle_user = t};
    leat_status status = LEAT_OK;
    while (status == LEAT_OK && !t->is_over && !t->c->out.is_closed) {
        bool has_line;
        status = line_reader_next(&reader, t->c->options.max_prompt_bytes, &line, &has_line, error);
        if (status != LEAT_OK || !has_line) break;
        if (line.count > 0) status = take_line(t, line.bytes, error);
    }
    strbuf_reset(&reader.pending);
    strbuf_reset(&line);
    return status;
}

static leat_status open_chat(chat *t, leat_error *error)
{
    cli *c = t->c;
    const char *path;
    TRY(model_argument(c, &path, error));
    TRY(cli_refuse_rest(c, error));
    if (c->options.system) TRY(input_check_text("--system", c->options.system, strlen(c->options.system), error));
    TRY(engine_setup_open_model(path, &t->setup, error));
    TRY(engine_setup_open_engine(c, 0, &t->setup, error));
    if (!t->setup.tokenizer) return FAIL(error, MODEL, "%s: has no tokenizer, so that text cannot be read", path);
    bool is_missing;
    leat_status status = chat_frame_open(c, t->setup.tokenizer, &t->frame, &is_missing, error);
    if (is_missing) {
        status = FAIL(error, USAGE, "%s: the model has no chat template", path);
        status_hint(error, "leat run %s continues a text; --template FILE gives a template", path);
    }
    TRY(status);
    if (c->options.think != 0 && !chat_frame_can_think(&t->frame))
        report_warning("--think: this model's template knows nothing of thinking");
    chat_take_options(t, true);
    TRY(conversation_set_system(&t->talk, c->options.system, error));
    if (c->options.load) TRY(chat_load(t, c->options.load, true, error));
    if (t->sampling.temperature > 0 && !c->options.is_set[OPTION_seed])
        report_note("seed: %llu", (unsigned long long)t->sampling.seed);
    return LEAT_OK;
}

leat_status cmd_chat(cli *c, leat_error *error)
{
    chat t = {.c = c,
              .is_interactive = terminal_is_interactive(),
              .timeline = {.ledger = c->ledger},
              .source = {.request = {.ledger = c->ledger}}};
    conversation_init(&t.talk, c->ledger);
    generation_init(&t.last, c->ledger);
    leat_status status = open_chat(&t, error);
    if (status == LEAT_OK) status = t.is_interactive ? open_terminal(&t, error) : talk_in_pipe(&t, error);
    generation_reset(&t.last);
    chat_frame_close(&t.frame);
    engine_setup_close(&t.setup);
    u32_list_reset(&t.timeline);
    strbuf_reset(&t.source.request);
    conversation_reset(&t.talk);
    return status;
}

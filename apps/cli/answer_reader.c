#include "answer_reader.h"

#include "json_writer.h"
#include "report.h"
#include "terminal.h"

#include <stdio.h>
#include <string.h>

void answer_parts_init(answer_parts *parts, mem *ledger)
{
    *parts =
        (answer_parts){.content = {.ledger = ledger}, .reasoning = {.ledger = ledger}, .calls = {.ledger = ledger}};
}

void answer_parts_reset(answer_parts *parts)
{
    strbuf_reset(&parts->content);
    strbuf_reset(&parts->reasoning);
    strbuf_reset(&parts->calls);
    parts->call_count = 0;
}

thought_display answer_thought_display(const cli_options *options, const output *out)
{
    if (options->hide_thinking) return THOUGHT_HIDDEN;
    if (out->is_terminal && terminal_is_capable()) return report_wants_color_on(true) ? THOUGHT_DIM : THOUGHT_MARKED;
    return options->is_set[OPTION_hide_thinking] ? THOUGHT_MARKED : THOUGHT_HIDDEN; /* --no-hide-thinking */
}

leat_status answer_reader_open(answer_reader *r, const answer_source *source, thought_display display,
                               answer_parts *parts, output *out, leat_error *error)
{
    *r = (answer_reader){.parts = parts, .out = out, .display = display};
    if (!source || !source->format) return LEAT_OK;
    const char *request = source->request.count > 0 ? source->request.bytes : NULL;
    return leat_answer_open(source->format, request, source->request.count, source->prompt_end,
                            source->prompt_end_bytes, &r->parser, error);
}

void answer_reader_reset(answer_reader *r) { leat_answer_close(&r->parser); }

/* ---- showing -------------------------------------------------------------------------------------------------- */

static void show_line(output *out, const char *line)
{
    if (!out->ends_line) output_write(out, "\n", 1);
    output_write(out, line, strlen(line));
}

/* Each piece goes out with its own switching on and off: whatever ends the program in between leaves no dim terminal.
 */
static void show_thought(answer_reader *r, const char *text, size_t bytes)
{
    if (!r->out || r->display == THOUGHT_HIDDEN) return;
    if (!r->is_thinking && r->display == THOUGHT_MARKED) show_line(r->out, "[thinking]\n");
    if (r->display == THOUGHT_DIM) output_control(r->out, "\033[2m");
    output_write(r->out, text, bytes);
    if (r->display == THOUGHT_DIM) output_control(r->out, "\033[0m");
    r->is_thinking = true;
}

static void end_thought(answer_reader *r)
{
    if (!r->is_thinking) return;
    r->is_thinking = false;
    show_line(r->out, r->display == THOUGHT_MARKED ? "[end of thinking]\n\n" : "\n");
}

static void show_call(answer_reader *r, const leat_answer_event *event)
{
    if (!r->out) return;
    end_thought(r);
    show_line(r->out, "[call ");
    output_write(r->out, event->call_name, strlen(event->call_name));
    output_write(r->out, " ", 1);
    output_write(r->out, event->text, event->text_bytes);
    output_write(r->out, "]\n", 2);
}

/* ---- keeping -------------------------------------------------------------------------------------------------- */

/* A model that names none gets a name of nine letters and digits, which is what the strictest template accepts. */
static leat_status keep_call(answer_parts *parts, const leat_answer_event *event, leat_error *error)
{
    char own_id[24];
    json_writer w;
    bool has_id = event->call_id && *event->call_id;
    snprintf(own_id, sizeof own_id, "call%05u", parts->call_count + 1);
    if (parts->calls.count > 0) TRY(strbuf_append_text(&parts->calls, ", ", error));
    json_writer_init_text(&w, &parts->calls);
    json_writer_begin_object(&w, NULL);
    json_writer_text(&w, "id", has_id ? event->call_id : own_id);
    json_writer_text(&w, "type", "function");
    json_writer_begin_object(&w, "function");
    json_writer_text(&w, "name", event->call_name);
    json_writer_raw(&w, "arguments", event->text, event->text_bytes);
    json_writer_end_object(&w);
    json_writer_end_object(&w);
    parts->call_count++;
    return w.status == LEAT_OK ? LEAT_OK : FAIL(error, NO_MEMORY, "no memory for a call");
}

static leat_status take_text(answer_reader *r, const char *text, size_t bytes, leat_error *error)
{
    if (r->out) {
        end_thought(r);
        output_write(r->out, text, bytes);
    }
    return strbuf_append(&r->parts->content, text, bytes, error);
}

static leat_status take_event(void *user, const leat_answer_event *event, leat_error *error)
{
    answer_reader *r = user;
    switch (event->kind) {
    case LEAT_ANSWER_REASONING:
        show_thought(r, event->text, event->text_bytes);
        return strbuf_append(&r->parts->reasoning, event->text, event->text_bytes, error);
    case LEAT_ANSWER_CALL: show_call(r, event); return keep_call(r->parts, event, error);
    case LEAT_ANSWER_TEXT: break;
    }
    return take_text(r, event->text, event->text_bytes, error);
}

leat_status answer_reader_push(answer_reader *r, const char *text, size_t bytes, leat_error *error)
{
    if (bytes == 0) return LEAT_OK;
    if (!r->parser) return take_text(r, text, bytes, error);
    return leat_answer_push(r->parser, text, bytes, take_event, r, error);
}

leat_status answer_reader_finish(answer_reader *r, leat_error *error)
{
    if (r->parser) TRY(leat_answer_finish(r->parser, take_event, r, error));
    end_thought(r);
    return LEAT_OK;
}

/*
 * cmd_parse.c - what models write, read as messages: a line of JSON for a line of JSON, for tests and for comparisons
 * with other programs.
 */
#include "cli.h"
#include "input.h"
#include "json_writer.h"
#include "strbuf.h"

#include "base/json.h"

#include <string.h>

enum { CUTS_MAX = 4096 };

/* What a line asks for. */
typedef struct parse_row {
    strbuf template_text, format, text, prompt;
    bool has_template, has_text, has_prompt, wants_events;
    uint64_t cuts[CUTS_MAX];
    uint32_t cut_count;
} parse_row;

/* What was read. Names, arguments and identifiers of calls follow each other in `calls`, each with its terminator. */
typedef struct parse_result {
    strbuf content, reasoning, calls;
    uint32_t call_count;
    json_writer *events; /* NULL: they are not shown */
} parse_result;

typedef struct parse_work {
    cli *c;
    parse_row row;
    parse_result result;
} parse_work;

static void for_each_buffer(parse_work *work, void (*fn)(strbuf *))
{
    strbuf *buffers[] = {&work->row.template_text, &work->row.format,       &work->row.text,    &work->row.prompt,
                         &work->result.content,    &work->result.reasoning, &work->result.calls};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        buffers[i]->ledger = work->c->ledger;
        fn(buffers[i]);
    }
}

static void empty(strbuf *s) { strbuf_cut(s, 0); }

/* ---- reading a line ------------------------------------------------------------------------------------------- */

static leat_status read_cuts(json *parser, parse_row *row, leat_error *error)
{
    json_token token;
    for (;;) {
        uint64_t at;
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &at) || row->cut_count == CUTS_MAX ||
            (row->cut_count > 0 && at < row->cuts[row->cut_count - 1]))
            return json_fail_at(parser, token.offset, error, "\"cuts\" must be rising positions, at most %d", CUTS_MAX);
        row->cuts[row->cut_count++] = at;
    }
}

static leat_status read_text(const json_token *value, strbuf *out, bool *out_has, leat_error *error)
{
    strbuf_cut(out, 0);
    *out_has = true;
    return strbuf_append(out, value->text, value->text_bytes, error);
}

static leat_status read_template_file(parse_work *work, const json_token *value, leat_error *error)
{
    bool has_path;
    strbuf path = {.ledger = work->c->ledger};
    leat_status status = read_text(value, &path, &has_path, error);
    strbuf_cut(&work->row.template_text, 0);
    if (status == LEAT_OK) status = input_read_file(work->c, strbuf_text(&path), &work->row.template_text, error);
    work->row.has_template = true;
    strbuf_reset(&path);
    return status;
}

/* Members that are not known, and "tools", which is read from the line as a whole, are passed over. */
static leat_status read_member(parse_work *work, json *parser, const json_token *key, leat_error *error)
{
    static const char *const texts[] = {"text", "template", "template_file", "format", "prompt"};
    parse_row *row = &work->row;
    size_t member = 0;
    bool has_format;
    json_token value;
    if (json_text_is(key, "tools")) return json_skip(parser, error);
    while (member < 5 && !json_text_is(key, texts[member])) member++;
    bool is_events = json_text_is(key, "events"), is_cuts = json_text_is(key, "cuts");
    if (member == 5 && !is_events && !is_cuts) return json_skip(parser, error);
    TRY(json_next(parser, &value, error));
    if (is_cuts && value.kind == JSON_ARRAY_BEGIN) return read_cuts(parser, row, error);
    if (is_events && (value.kind == JSON_TRUE || value.kind == JSON_FALSE)) {
        row->wants_events = value.kind == JSON_TRUE;
        return LEAT_OK;
    }
    if (member == 5 || value.kind != JSON_STRING)
        return json_fail_at(parser, value.offset, error, "a member has a value of the wrong kind");
    switch (member) {
    case 0: return read_text(&value, &row->text, &row->has_text, error);
    case 1: return read_text(&value, &row->template_text, &row->has_template, error);
    case 2: return read_template_file(work, &value, error);
    case 3: return read_text(&value, &row->format, &has_format, error);
    default: return read_text(&value, &row->prompt, &row->has_prompt, error);
    }
}

static leat_status read_members(parse_work *work, json *parser, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(parser, token.offset, error, "expected an object");
    for (;;) {
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_member(work, parser, &token, error));
    }
    TRY(json_next(parser, &token, error)); /* JSON_END, or an error about what follows */
    if (!work->row.has_text) return FAIL(error, USAGE, "the line has no \"text\"");
    if (work->row.format.count == 0 && !work->row.has_template)
        return FAIL(error, USAGE, "the line has no \"format\", \"template\" or \"template_file\"");
    return LEAT_OK;
}

static leat_status read_row(parse_work *work, const strbuf *line, leat_error *error)
{
    json_limits limits = json_limits_default;
    limits.string_bytes_max = work->c->options.max_prompt_bytes;
    limits.depth_max = JSON_DEPTH_MAX;
    json *parser = NULL;
    work->row.has_template = work->row.has_text = work->row.has_prompt = work->row.wants_events = false;
    work->row.cut_count = 0;
    for_each_buffer(work, empty);
    TRY(json_open(work->c->ledger, MEM_META, "line", strbuf_text(line), line->count, &limits, &parser, error));
    leat_status status = read_members(work, parser, error);
    json_close(&parser);
    return status;
}

/* ---- the answer ----------------------------------------------------------------------------------------------- */

static leat_status keep_call(parse_result *r, const leat_answer_event *event, leat_error *error)
{
    const char *id = event->call_id ? event->call_id : "";
    r->call_count++;
    TRY(strbuf_append(&r->calls, event->call_name, strlen(event->call_name) + 1, error));
    TRY(strbuf_append(&r->calls, event->text, event->text_bytes + 1, error));
    return strbuf_append(&r->calls, id, strlen(id) + 1, error);
}

static leat_status take_event(void *user, const leat_answer_event *event, leat_error *error)
{
    static const char *const names[] = {[LEAT_ANSWER_TEXT] = "content",
                                        [LEAT_ANSWER_REASONING] = "reasoning_content",
                                        [LEAT_ANSWER_CALL] = "arguments"};
    parse_result *r = user;
    if (r->events) {
        json_writer_begin_object(r->events, NULL);
        if (event->kind == LEAT_ANSWER_CALL) json_writer_text(r->events, "name", event->call_name);
        json_writer_bytes(r->events, names[event->kind], event->text, event->text_bytes);
        json_writer_end_object(r->events);
    }
    if (event->kind == LEAT_ANSWER_CALL) return keep_call(r, event, error);
    return strbuf_append(event->kind == LEAT_ANSWER_TEXT ? &r->content : &r->reasoning, event->text, event->text_bytes,
                         error);
}

static leat_status push_pieces(parse_work *work, leat_answer *answer, leat_error *error)
{
    const parse_row *row = &work->row;
    const char *text = strbuf_text(&row->text);
    size_t at = 0;
    for (uint32_t i = 0; i <= row->cut_count; i++) {
        size_t end = i < row->cut_count && row->cuts[i] < row->text.count ? (size_t)row->cuts[i] : row->text.count;
        if (end > at) TRY(leat_answer_push(answer, text + at, end - at, take_event, &work->result, error));
        at = end;
    }
    return leat_answer_finish(answer, take_event, &work->result, error);
}

static const char *row_format(const parse_row *row)
{
    if (row->format.count > 0) return strbuf_text(&row->format);
    return leat_answer_format(strbuf_text(&row->template_text), row->template_text.count);
}

static leat_status read_answer(parse_work *work, const strbuf *line, json_writer *events, leat_error *error)
{
    leat_answer *answer = NULL;
    const parse_row *row = &work->row;
    work->result.call_count = 0;
    work->result.events = events;
    TRY(leat_answer_open(row_format(row), strbuf_text(line), line->count,
                         row->has_prompt ? strbuf_text(&row->prompt) : NULL, row->prompt.count, &answer, error));
    leat_status status = push_pieces(work, answer, error);
    leat_answer_close(&answer);
    return status;
}

static void write_calls(const parse_result *r, json_writer *w)
{
    const char *at = strbuf_text(&r->calls);
    if (r->call_count > 0) json_writer_begin_array(w, "tool_calls");
    for (uint32_t i = 0; i < r->call_count; i++) {
        const char *name = at, *arguments = name + strlen(name) + 1, *id = arguments + strlen(arguments) + 1;
        at = id + strlen(id) + 1;
        json_writer_begin_object(w, NULL);
        if (*id) json_writer_text(w, "id", id);
        json_writer_text(w, "type", "function");
        json_writer_begin_object(w, "function");
        json_writer_text(w, "name", name);
        json_writer_text(w, "arguments", arguments);
        json_writer_end_object(w);
        json_writer_end_object(w);
    }
    if (r->call_count > 0) json_writer_end_array(w);
}

static void write_message(const parse_result *r, json_writer *w)
{
    json_writer_begin_object(w, "message");
    json_writer_text(w, "role", "assistant");
    json_writer_bytes(w, "content", strbuf_text(&r->content), r->content.count);
    if (r->reasoning.count > 0)
        json_writer_bytes(w, "reasoning_content", strbuf_text(&r->reasoning), r->reasoning.count);
    write_calls(r, w);
    json_writer_end_object(w);
}

static void write_error(json_writer *w, const leat_error *error)
{
    json_writer_begin_object(w, "error");
    json_writer_text(w, "message", error->text);
    json_writer_end_object(w);
}

/* Opening fails before anything is written; reading cannot fail on account of the text. */
static void answer_row(parse_work *work, const strbuf *line, leat_status status, leat_error *error)
{
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_object(&w, NULL);
    if (status == LEAT_OK && work->row.wants_events) {
        json_writer_begin_array(&w, "events");
        status = read_answer(work, line, &w, error);
        json_writer_end_array(&w);
    } else if (status == LEAT_OK)
        status = read_answer(work, line, NULL, error);
    if (status == LEAT_OK) {
        json_writer_text(&w, "format", row_format(&work->row));
        write_message(&work->result, &w);
    } else
        write_error(&w, error);
    json_writer_end_document(&w);
}

static leat_status answer_lines(parse_work *work, line_reader *reader, strbuf *line, leat_error *error)
{
    for (;;) {
        bool has_line;
        leat_error row_error = {0};
        TRY(line_reader_next(reader, work->c->options.max_prompt_bytes, line, &has_line, error));
        if (!has_line) return LEAT_OK;
        if (line->count == 0) continue;
        answer_row(work, line, read_row(work, line, &row_error), &row_error);
        TRY(output_flush(&work->c->out, error));
        if (work->c->out.is_closed) return LEAT_OK;
    }
}

leat_status cmd_parse(cli *c, leat_error *error)
{
    const char *path = cli_take_word(c);
    line_reader reader;
    TRY(cli_refuse_rest(c, error));
    if (!c->options.batch) {
        leat_status status = FAIL(error, USAGE, "leat parse reads lines of JSON");
        status_hint(error, "leat parse --batch FILE, or lines on standard input");
        return status;
    }
    TRY(line_reader_open(c, path, &reader, error));
    parse_work work = {.c = c};
    strbuf line = {.ledger = c->ledger};
    leat_status status = answer_lines(&work, &reader, &line, error);
    for_each_buffer(&work, strbuf_reset);
    line_reader_close(&reader);
    strbuf_reset(&line);
    return status;
}

/*
 * cmd_tokenize.c - text to token ids and back; with --batch a line of JSON for a line of JSON, for comparisons with
 * other tokenizers.
 */
#include "cli.h"
#include "input.h"
#include "json_writer.h"
#include "model_list.h"
#include "report.h"

#include "base/json.h"

#include <inttypes.h>
#include <string.h>

typedef struct tokenize_work {
    cli *c;
    leat_tokenizer *tokenizer;
    strbuf text;
    u32_list ids;
    u32_list step_ends; /* of the text that a stream gives after each id, and at the end */
} tokenize_work;

/* MODEL here is any folder with a tokenizer: weights are not needed. *out_word is what follows it. */
static leat_status open_tokenizer(tokenize_work *work, const char **out_word, leat_error *error)
{
    const char *path;
    TRY(model_argument(work->c, &path, error));
    *out_word = cli_take_word(work->c);
    TRY(cli_refuse_rest(work->c, error));
    return leat_tokenizer_open(path, &work->tokenizer, error);
}

/* ---- one text ------------------------------------------------------------------------------------------------- */

static void print_ids_json(tokenize_work *work, const leat_tokens *ids)
{
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_document(&w, "leat.tokenize/1");
    json_writer_ids(&w, "ids", ids->ids, ids->count);
    json_writer_begin_array(&w, "tokens");
    for (size_t i = 0; i < ids->count; i++) json_writer_text(&w, NULL, leat_token_text(work->tokenizer, ids->ids[i]));
    json_writer_end_array(&w);
    json_writer_end_document(&w);
}

/* One line that --tokens takes; with -v a token a line. */
static void print_ids(tokenize_work *work, const leat_tokens *ids)
{
    output *out = &work->c->out;
    for (size_t i = 0; i < ids->count; i++) {
        const char *text = leat_token_text(work->tokenizer, ids->ids[i]);
        if (report_verbosity() == 0) {
            output_print(out, "%s%" PRIu32, i > 0 ? "," : "", ids->ids[i]);
            continue;
        }
        output_print(out, "%8" PRIu32 "  ", ids->ids[i]);
        if (text) output_write(out, text, strlen(text));
        output_write(out, "\n", 1);
    }
    if (report_verbosity() == 0) output_write(out, "\n", 1);
}

static leat_status tokenize_text(tokenize_work *work, const char *word, leat_error *error)
{
    cli *c = work->c;
    input_rules rules = {.word = word, .expected = "a text"};
    leat_tokens ids = {0};
    TRY(input_read(c, &rules, &work->text, error));
    TRY(leat_tokenize(work->tokenizer, strbuf_text(&work->text), work->text.count, c->options.special,
                      c->options.post_process, &ids, error));
    if (c->options.json)
        print_ids_json(work, &ids);
    else
        print_ids(work, &ids);
    leat_tokens_free(&ids);
    return LEAT_OK;
}

static leat_status read_ids(tokenize_work *work, const char *word, leat_error *error)
{
    cli *c = work->c;
    if (c->options.tokens) {
        if (word) return FAIL(error, USAGE, "--tokens: '%s' is already the input", word);
        return input_read_tokens(c, &work->ids, error);
    }
    input_rules rules = {.word = word, .expected = "token ids"};
    TRY(input_read(c, &rules, &work->text, error));
    return u32_list_read(&work->ids, "token ids", strbuf_text(&work->text), work->text.count, error);
}

static leat_status check_ids(const tokenize_work *work, leat_error *error)
{
    for (size_t i = 0; i < work->ids.count; i++)
        if (!leat_token_text(work->tokenizer, work->ids.items[i]))
            return FAIL(error, USAGE, "token ids: token %zu has the id %" PRIu32 ", which the tokenizer does not know",
                        i, work->ids.items[i]);
    return LEAT_OK;
}

static leat_status detokenize_ids(tokenize_work *work, const char *word, leat_error *error)
{
    cli *c = work->c;
    leat_text text = {0};
    TRY(read_ids(work, word, error));
    TRY(check_ids(work, error));
    TRY(leat_detokenize(work->tokenizer, work->ids.items, work->ids.count, !c->options.special, &text, error));
    if (c->options.json) {
        json_writer w;
        json_writer_init(&w, &c->out);
        json_writer_begin_document(&w, "leat.detokenize/1");
        json_writer_bytes(&w, "text", text.bytes, text.count);
        json_writer_end_document(&w);
    } else {
        output_write(&c->out, text.bytes, text.count);
        if (c->out.is_terminal && !c->out.ends_line) output_write(&c->out, "\n", 1);
    }
    leat_text_free(&text);
    return LEAT_OK;
}

/* ---- a line for a line ---------------------------------------------------------------------------------------- */

/* What a line asks for. */
typedef struct batch_row {
    bool has_text, has_ids;
    bool special;      /* what the post-processor puts around the text */
    bool plain;        /* no added token is recognised */
    bool skip_special; /* special tokens are left out */
    bool stream;       /* decoded id by id */
} batch_row;

static leat_status read_row_ids(json *parser, u32_list *ids, leat_error *error)
{
    json_token token;
    for (;;) {
        uint64_t id;
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &id) || id > UINT32_MAX)
            return json_fail_at(parser, token.offset, error, "\"ids\" holds something that is no token id");
        uint32_t narrow = (uint32_t)id;
        TRY(u32_list_append(ids, &narrow, 1, error));
    }
}

static bool *find_flag(batch_row *row, const json_token *key)
{
    if (json_text_is(key, "special")) return &row->special;
    if (json_text_is(key, "plain")) return &row->plain;
    if (json_text_is(key, "skip_special")) return &row->skip_special;
    return json_text_is(key, "stream") ? &row->stream : NULL;
}

static leat_status read_row_member(tokenize_work *work, json *parser, const json_token *key, batch_row *row,
                                   leat_error *error)
{
    bool is_text = json_text_is(key, "text"), is_ids = json_text_is(key, "ids");
    bool *flag = find_flag(row, key);
    json_token value;
    if (!is_text && !is_ids && !flag) return json_skip(parser, error);
    TRY(json_next(parser, &value, error));
    if (is_text && value.kind == JSON_STRING) {
        row->has_text = true;
        return strbuf_append(&work->text, value.text, value.text_bytes, error);
    }
    if (is_ids && value.kind == JSON_ARRAY_BEGIN) {
        row->has_ids = true;
        return read_row_ids(parser, &work->ids, error);
    }
    if (flag && (value.kind == JSON_TRUE || value.kind == JSON_FALSE)) {
        *flag = value.kind == JSON_TRUE;
        return LEAT_OK;
    }
    return json_fail_at(parser, value.offset, error, "a member has a value of the wrong kind");
}

static leat_status read_row_members(tokenize_work *work, json *parser, batch_row *row, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(parser, token.offset, error, "expected an object");
    for (;;) {
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_row_member(work, parser, &token, row, error));
    }
    return json_next(parser, &token, error); /* JSON_END, or an error about what follows */
}

static leat_status read_row(tokenize_work *work, const strbuf *line, batch_row *row, leat_error *error)
{
    json_limits limits = json_limits_default;
    limits.string_bytes_max = work->c->options.max_prompt_bytes;
    json *parser = NULL;
    strbuf_cut(&work->text, 0);
    work->ids.count = 0;
    TRY(json_open(work->c->ledger, MEM_META, "line", strbuf_text(line), line->count, &limits, &parser, error));
    leat_status status = read_row_members(work, parser, row, error);
    json_close(&parser);
    return status;
}

static leat_status answer_text(tokenize_work *work, const batch_row *row, json_writer *w, leat_error *error)
{
    leat_tokens ids = {0};
    if (!row->has_text) return FAIL(error, USAGE, "the line has no \"text\"");
    TRY(leat_tokenize(work->tokenizer, strbuf_text(&work->text), work->text.count, !row->plain, row->special, &ids,
                      error));
    json_writer_begin_object(w, NULL);
    json_writer_ids(w, "ids", ids.ids, ids.count);
    json_writer_end_document(w);
    leat_tokens_free(&ids);
    return LEAT_OK;
}

static leat_status answer_ids(tokenize_work *work, const batch_row *row, json_writer *w, leat_error *error)
{
    leat_text text = {0};
    TRY(leat_detokenize(work->tokenizer, work->ids.items, work->ids.count, row->skip_special, &text, error));
    json_writer_begin_object(w, NULL);
    json_writer_bytes(w, "text", text.bytes, text.count);
    json_writer_end_document(w);
    leat_text_free(&text);
    return LEAT_OK;
}

/* A line is written once all of it is known: an error must not follow half an answer. */
static leat_status collect_steps(tokenize_work *work, leat_stream *stream, leat_error *error)
{
    const char *text;
    size_t bytes;
    strbuf_cut(&work->text, 0);
    work->step_ends.count = 0;
    for (size_t i = 0; i <= work->ids.count; i++) {
        if (i < work->ids.count)
            TRY(leat_stream_push(stream, work->ids.items[i], &text, &bytes, error));
        else
            TRY(leat_stream_flush(stream, &text, &bytes, error));
        TRY(strbuf_append(&work->text, text, bytes, error));
        uint32_t end = (uint32_t)work->text.count;
        if (work->text.count > UINT32_MAX) return FAIL(error, USAGE, "the text of a line grows beyond 4 GiB");
        TRY(u32_list_append(&work->step_ends, &end, 1, error));
    }
    return LEAT_OK;
}

static leat_status answer_stream(tokenize_work *work, const batch_row *row, json_writer *w, leat_error *error)
{
    leat_stream *stream;
    TRY(leat_stream_open(work->tokenizer, row->skip_special, &stream, error));
    leat_status status = collect_steps(work, stream, error);
    leat_stream_close(&stream);
    TRY(status);
    const char *text = strbuf_text(&work->text);
    size_t start = 0, step_count = work->step_ends.count - 1;
    json_writer_begin_object(w, NULL);
    json_writer_begin_array(w, "steps");
    for (size_t i = 0; i < step_count; start = work->step_ends.items[i++])
        json_writer_bytes(w, NULL, text + start, work->step_ends.items[i] - start);
    json_writer_end_array(w);
    json_writer_bytes(w, "flush", text + start, work->step_ends.items[step_count] - start);
    json_writer_end_document(w);
    return LEAT_OK;
}

static leat_status answer_row(tokenize_work *work, const batch_row *row, json_writer *w, leat_error *error)
{
    if (work->c->verb == VERB_TOKENIZE) return answer_text(work, row, w, error);
    if (!row->has_ids) return FAIL(error, USAGE, "the line has no \"ids\"");
    TRY(check_ids(work, error));
    return row->stream ? answer_stream(work, row, w, error) : answer_ids(work, row, w, error);
}

/* A line that cannot be done is answered with {"error": ...}: the others still count. */
static leat_status answer_lines(tokenize_work *work, line_reader *reader, strbuf *line, leat_error *error)
{
    for (;;) {
        bool has_line;
        batch_row row = {0};
        leat_error row_error = {0};
        TRY(line_reader_next(reader, work->c->options.max_prompt_bytes, line, &has_line, error));
        if (!has_line) return LEAT_OK;
        if (line->count == 0) continue;
        json_writer w;
        json_writer_init(&w, &work->c->out);
        leat_status status = read_row(work, line, &row, &row_error);
        if (status == LEAT_OK) status = answer_row(work, &row, &w, &row_error);
        if (status != LEAT_OK) {
            json_writer_begin_object(&w, NULL);
            json_writer_begin_object(&w, "error");
            json_writer_text(&w, "message", row_error.text);
            json_writer_end_object(&w);
            json_writer_end_document(&w);
        }
        TRY(output_flush(&work->c->out, error));
        if (work->c->out.is_closed) return LEAT_OK;
    }
}

static leat_status answer_batch(tokenize_work *work, const char *word, leat_error *error)
{
    strbuf line = {.ledger = work->c->ledger};
    line_reader reader;
    TRY(line_reader_open(work->c, word, &reader, error));
    leat_status status = answer_lines(work, &reader, &line, error);
    line_reader_close(&reader);
    strbuf_reset(&line);
    return status;
}

typedef leat_status tokenize_fn(tokenize_work *work, const char *word, leat_error *error);

static leat_status with_tokenizer(cli *c, tokenize_fn *fn, leat_error *error)
{
    tokenize_work work = {
        .c = c, .text = {.ledger = c->ledger}, .ids = {.ledger = c->ledger}, .step_ends = {.ledger = c->ledger}};
    const char *word;
    leat_status status = open_tokenizer(&work, &word, error);
    if (status == LEAT_OK) status = c->options.batch ? answer_batch(&work, word, error) : fn(&work, word, error);
    leat_tokenizer_close(&work.tokenizer);
    u32_list_reset(&work.step_ends);
    u32_list_reset(&work.ids);
    strbuf_reset(&work.text);
    return status;
}

leat_status cmd_tokenize(cli *c, leat_error *error) { return with_tokenizer(c, tokenize_text, error); }
leat_status cmd_detokenize(cli *c, leat_error *error) { return with_tokenizer(c, detokenize_ids, error); }

/*
 * cmd_template.c - what a chat template makes of a conversation: of a model, of a file, or line by line for tools and
 * tests.
 */
#include "chat_open.h"
#include "input.h"
#include "json_writer.h"
#include "model_list.h"
#include "report.h"

#include "base/json.h"

#include <string.h>
#include <sys/stat.h>

typedef struct template_work {
    cli *c;
    strbuf text;    /* the template, where it does not come from a model */
    strbuf request; /* the conversation, or a line of the batch */
} template_work;

/* ---- for people ----------------------------------------------------------------------------------------------- */

static void print_text(template_work *work, const char *bytes, size_t count, const leat_tokens *ids)
{
    output *out = &work->c->out;
    if (work->c->options.json) {
        json_writer w;
        json_writer_init(&w, out);
        json_writer_begin_document(&w, "leat.template/1");
        json_writer_bytes(&w, ids ? "rendered" : "template", bytes, count);
        if (ids && ids->ids) json_writer_ids(&w, "tokens", ids->ids, ids->count);
        json_writer_end_document(&w);
        return;
    }
    output_write(out, bytes, count);
    if (out->is_terminal && !out->ends_line) output_write(out, "\n", 1);
}

static leat_status read_request(template_work *work, leat_error *error)
{
    return input_read_file(work->c, work->c->options.chat, &work->request, error);
}

static leat_status render_with_chat(template_work *work, const leat_chat *chat, leat_error *error)
{
    leat_tokens ids = {0};
    leat_text shown = {0};
    const leat_chat_info info = leat_chat_get_info(chat);
    if (!work->c->options.chat) {
        report_note("%s", info.source);
        print_text(work, info.template_text, info.template_bytes, NULL);
        return LEAT_OK;
    }
    TRY(read_request(work, error));
    TRY(leat_chat_render(chat, strbuf_text(&work->request), work->request.count, &ids, &shown, error));
    print_text(work, shown.bytes, shown.count, &ids);
    report_note("%zu tokens", ids.count);
    leat_text_free(&shown);
    leat_tokens_free(&ids);
    return LEAT_OK;
}

static leat_status render_of_model(template_work *work, leat_error *error)
{
    cli *c = work->c;
    const char *path;
    leat_tokenizer *tokenizer = NULL;
    leat_chat *chat = NULL;
    TRY(model_argument(c, &path, error));
    TRY(cli_refuse_rest(c, error));
    leat_status status = leat_tokenizer_open(path, &tokenizer, error);
    if (status == LEAT_OK) status = chat_open_template(c, tokenizer, &chat, error);
    if (status == LEAT_OK) status = render_with_chat(work, chat, error);
    leat_chat_close(&chat);
    leat_tokenizer_close(&tokenizer);
    return status;
}

/* {"chat": REQUEST}, as leat_template_render takes it; a request with "context" goes as it is. */
static leat_status render_of_file(template_work *work, const char *path, leat_error *error)
{
    cli *c = work->c;
    leat_text shown = {0};
    const char *fault;
    if (c->options.chat_template) return FAIL(error, USAGE, "--template: '%s' is already the template", path);
    if (!c->options.chat) return FAIL(error, USAGE, "%s: --chat FILE names the conversation", path);
    TRY(cli_refuse_rest(c, error));
    TRY(input_read_file(c, path, &work->text, error));
    TRY(read_request(work, error));
    leat_status status = leat_template_render(strbuf_text(&work->text), work->text.count, strbuf_text(&work->request),
                                              work->request.count, &shown, &fault, error);
    if (status == LEAT_OK) print_text(work, shown.bytes, shown.count, &(leat_tokens){0});
    leat_text_free(&shown);
    return status;
}

/* A template rather than a model: a file that holds no weights. */
static bool is_template_file(const char *word)
{
    static const char weights[] = ".safetensors";
    struct stat facts;
    size_t length = strlen(word), end = sizeof weights - 1;
    if (length >= end && strcmp(word + length - end, weights) == 0) return false;
    return stat(word, &facts) == 0 && S_ISREG(facts.st_mode);
}

/* ---- a line for a line ---------------------------------------------------------------------------------------- */

/* Puts the line's template into work->text. */
static leat_status read_row_member(template_work *work, json *parser, bool *has_template, leat_error *error)
{
    json_token value;
    TRY(json_next(parser, &value, error));
    if (value.kind != JSON_STRING)
        return json_fail_at(parser, value.offset, error, "\"template\" and \"template_file\" are texts");
    *has_template = true;
    strbuf_cut(&work->text, 0);
    return strbuf_append(&work->text, value.text, value.text_bytes, error);
}

static leat_status read_row_members(template_work *work, json *parser, leat_error *error)
{
    bool has_text = false, has_file = false;
    strbuf path = {.ledger = work->c->ledger};
    json_token key;
    TRY(json_next(parser, &key, error));
    if (key.kind != JSON_OBJECT_BEGIN) return json_fail_at(parser, key.offset, error, "expected an object");
    for (;;) {
        TRY(json_next(parser, &key, error));
        if (key.kind == JSON_OBJECT_END) break;
        if (json_text_is(&key, "template"))
            TRY(read_row_member(work, parser, &has_text, error));
        else if (json_text_is(&key, "template_file"))
            TRY(read_row_member(work, parser, &has_file, error));
        else
            TRY(json_skip(parser, error));
    }
    TRY(json_next(parser, &key, error)); /* JSON_END, or an error about what follows */
    if (has_text == has_file) return FAIL(error, USAGE, "the line needs one of \"template\" and \"template_file\"");
    if (has_text) return LEAT_OK;
    if (strlen(strbuf_text(&work->text)) != work->text.count || strcmp(strbuf_text(&work->text), "-") == 0)
        return FAIL(error, USAGE, "\"template_file\" is no path");
    path = work->text;
    work->text = (strbuf){.ledger = work->c->ledger};
    leat_status status = input_read_file(work->c, path.bytes, &work->text, error);
    strbuf_reset(&path);
    return status;
}

static leat_status read_row(template_work *work, leat_error *error)
{
    json_limits limits = json_limits_default;
    json *parser = NULL;
    limits.depth_max = JSON_DEPTH_MAX;
    limits.allow_nonfinite = true;
    limits.string_bytes_max = work->c->options.max_prompt_bytes;
    strbuf_cut(&work->text, 0);
    TRY(json_open(work->c->ledger, MEM_META, "line", strbuf_text(&work->request), work->request.count, &limits, &parser,
                  error));
    leat_status status = read_row_members(work, parser, error);
    json_close(&parser);
    return status;
}

static void answer_row(template_work *work)
{
    leat_text shown = {0};
    leat_error row_error = {0};
    const char *fault = "request";
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_object(&w, NULL);
    leat_status status = read_row(work, &row_error);
    if (status == LEAT_OK)
        status = leat_template_render(strbuf_text(&work->text), work->text.count, strbuf_text(&work->request),
                                      work->request.count, &shown, &fault, &row_error);
    if (status == LEAT_OK) {
        json_writer_bytes(&w, "rendered", shown.bytes, shown.count);
    } else {
        json_writer_begin_object(&w, "error");
        json_writer_text(&w, "kind", fault);
        if (shown.bytes) /* what the template raised, byte for byte */
            json_writer_bytes(&w, "message", shown.bytes, shown.count);
        else
            json_writer_text(&w, "message", row_error.text);
        json_writer_end_object(&w);
    }
    json_writer_end_document(&w);
    leat_text_free(&shown);
}

static leat_status answer_lines(template_work *work, line_reader *reader, leat_error *error)
{
    leat_status status = LEAT_OK;
    while (status == LEAT_OK && !work->c->out.is_closed) {
        bool has_line;
        status = line_reader_next(reader, work->c->options.max_prompt_bytes, &work->request, &has_line, error);
        if (status != LEAT_OK || !has_line) break;
        if (work->request.count == 0) continue;
        answer_row(work);
        status = output_flush(&work->c->out, error);
    }
    return status;
}

static leat_status answer_batch(template_work *work, leat_error *error)
{
    cli *c = work->c;
    const char *path = cli_take_word(c);
    TRY(cli_refuse_rest(c, error));
    if (c->options.chat || c->options.chat_template)
        return FAIL(error, USAGE, "--batch: each line has its own template and conversation");
    line_reader reader;
    TRY(line_reader_open(c, path, &reader, error));
    leat_status status = answer_lines(work, &reader, error);
    line_reader_close(&reader);
    return status;
}

static leat_status run(template_work *work, leat_error *error)
{
    cli *c = work->c;
    if (c->options.batch) return answer_batch(work, error);
    if (c->next_word < c->word_count && !c->options.is_on_command_line[OPTION_model] &&
        is_template_file(c->words[c->next_word]))
        return render_of_file(work, cli_take_word(c), error);
    return render_of_model(work, error);
}

leat_status cmd_template(cli *c, leat_error *error)
{
    template_work work = {.c = c, .text = {.ledger = c->ledger}, .request = {.ledger = c->ledger}};
    leat_status status = run(&work, error);
    strbuf_reset(&work.text);
    strbuf_reset(&work.request);
    return status;
}

/*
 * answer.c - the answer part of leat.h: formats by their labels, the request's tools, and a ledger of its own for each
 * answer, since an answer may be read where no engine is open.
 */
#include <leat/leat.h>

#include "api/given.h"
#include "base/mem.h"
#include "text/answer/json_span.h"
#include "text/answer_parser.h"

#include <stdlib.h>
#include <string.h>

/* Holds a call of the greatest length, its arguments with every byte escaped, and the index of a request's tools. */
enum { ANSWER_BUDGET_BYTES = 64 << 20 };

struct leat_answer {
    mem *ledger;
    answer_parser *parser;
};

/* ---- formats ---- */

static bool text_mentions(void *user, const char *word)
{
    const json_span *text = user;
    return text->count > 0 && memmem(text->text, text->count, word, strlen(word)) != NULL;
}

const char *leat_answer_format(const char *template_text, size_t template_bytes)
{
    json_span text = {template_text, template_bytes};
    return answer_format_label(answer_format_find(text_mentions, &text));
}

static leat_status find_format(const char *label, const answer_format **out_format, leat_error *error)
{
    *out_format = label ? answer_format_by_label(label) : NULL;
    if (!*out_format) return FAIL(error, USAGE, "there is no answer format '%s'", label ? label : "");
    return LEAT_OK;
}

typedef leat_status text_maker(const answer_format *format, const void *user, text_buffer *out, leat_error *error);

/* What `make` writes for a format, as the caller's own. */
static leat_status make_text(const char *format, text_maker *make, const void *user, leat_text *out_text,
                             leat_error *error)
{
    const answer_format *found;
    mem *ledger = NULL;
    text_buffer text = {0};
    TRY(find_format(format, &found, error));
    TRY(mem_open(0, &ledger, error));
    text_buffer_init(&text, ledger);
    leat_status status = make(found, user, &text, error);
    if (status == LEAT_OK) status = give_text(&text, out_text, error);
    text_buffer_reset(&text);
    mem_close(&ledger);
    return status;
}

static leat_status make_prefix(const answer_format *format, const void *user, text_buffer *out, leat_error *error)
{
    return answer_format_call_prefix(format, user, out, error);
}

leat_status leat_answer_call_prefix(const char *format, const char *name, leat_text *out_text, leat_error *error)
{
    return make_text(format, make_prefix, name, out_text, error);
}

static leat_status make_close(const answer_format *format, const void *user, text_buffer *out, leat_error *error)
{
    const json_span *prompt = user;
    return answer_format_thought_close(format, prompt->text, prompt->count, out, error);
}

leat_status leat_answer_thought_close(const char *format, const char *prompt, size_t prompt_bytes, leat_text *out_text,
                                      leat_error *error)
{
    const json_span span = {prompt, prompt_bytes};
    return make_text(format, make_close, &span, out_text, error);
}

/* ---- one answer ---- */

static leat_status find_tools(const char *request, size_t bytes, answer_options *options, leat_error *error)
{
    if (!request) return LEAT_OK;
    json_span object = json_span_trim(request, bytes), tools;
    if (!json_span_is(object, '{') || !json_span_is_value(object.text, object.count))
        return FAIL(error, USAGE, "the request is not a JSON object");
    if (!json_span_member(object, "tools", &tools)) return LEAT_OK;
    options->tools = tools.text;
    options->tools_bytes = tools.count;
    return LEAT_OK;
}

leat_status leat_answer_open(const char *format, const char *request, size_t request_bytes, const char *prompt,
                             size_t prompt_bytes, leat_answer **out_answer, leat_error *error)
{
    const answer_format *found;
    answer_options options = {.prompt = prompt, .prompt_bytes = prompt_bytes};
    TRY(find_format(format, &found, error));
    TRY(find_tools(request, request_bytes, &options, error));
    leat_answer *a = calloc(1, sizeof *a);
    if (!a) return FAIL(error, NO_MEMORY, "an answer");
    leat_status status = mem_open(ANSWER_BUDGET_BYTES, &a->ledger, error);
    if (status == LEAT_OK) status = answer_parser_open(a->ledger, found, &options, &a->parser, error);
    if (status == LEAT_OK)
        *out_answer = a;
    else
        leat_answer_close(&a);
    return status;
}

void leat_answer_close(leat_answer **answer)
{
    leat_answer *a = *answer;
    if (!a) return;
    answer_parser_close(&a->parser);
    mem_close(&a->ledger);
    free(a);
    *answer = NULL;
}

typedef struct caller {
    leat_answer_fn *fn;
    void *user;
} caller;

static leat_status tell_caller(void *user, const answer_event *event, leat_error *error)
{
    static const leat_answer_kind kinds[] = {
        [ANSWER_TEXT] = LEAT_ANSWER_TEXT, [ANSWER_REASONING] = LEAT_ANSWER_REASONING, [ANSWER_CALL] = LEAT_ANSWER_CALL};
    const caller *to = user;
    leat_answer_event told = {.kind = kinds[event->kind],
                              .text = event->text,
                              .text_bytes = event->text_bytes,
                              .call_name = event->call_name,
                              .call_id = event->call_id};
    return to->fn(to->user, &told, error);
}

leat_status leat_answer_push(leat_answer *answer, const char *text, size_t text_bytes, leat_answer_fn *fn, void *user,
                             leat_error *error)
{
    caller to = {fn, user};
    return answer_parser_push(answer->parser, text, text_bytes, tell_caller, &to, error);
}

leat_status leat_answer_finish(leat_answer *answer, leat_answer_fn *fn, void *user, leat_error *error)
{
    caller to = {fn, user};
    return answer_parser_finish(answer->parser, tell_caller, &to, error);
}

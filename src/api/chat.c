/*
 * chat.c - the chat part of leat.h: a template and its control tokens tied to a tokenizer, with the clock and the
 * limits that the text room does not know.
 */
#include <leat/leat.h>

#include "api/given.h"
#include "api/handles.h"
#include "base/bytes.h"
#include "os/clock.h"
#include "text/answer_parser.h"
#include "text/chat_prompt.h"
#include "text/chat_input.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    RENDER_NS = 250 * 1000 * 1000,
    RENDER_BYTES_EXTRA = 1 << 20, /* of output, beyond RENDER_GROWTH times the request */
    RENDER_GROWTH = 4,
    LONE_BUDGET_BYTES = 512 << 20, /* of memory for a template apart from a model */
};

struct leat_chat {
    mem *ledger;
    const leat_tokenizer *tokenizer;
    const char *source;
    text_buffer given; /* a template of the caller's */
    text_slice plain_text, tools_text;
    jinja_template *plain, *with_tools; /* with_tools NULL: the same */
    const answer_format *answers;
    chat_controls *controls;
};

/* ---- time ---- */

/* Compiled templates are shared by threads, so the end of a rendering's time is its thread's. */
static _Thread_local uint64_t render_end_ns;

static bool is_late(void *user)
{
    (void)user;
    return clock_now_ns() > render_end_ns;
}

static int64_t local_now_s(void)
{
    struct tm parts;
    time_t now = time(NULL);
    return localtime_r(&now, &parts) ? timegm(&parts) : now;
}

static uint64_t output_limit(size_t request_bytes)
{
    return RENDER_GROWTH * (uint64_t)request_bytes + RENDER_BYTES_EXTRA;
}

/* ---- a model's chat ---- */

static leat_status choose_template(leat_chat *c, const char *text, size_t bytes, leat_error *error)
{
    const chat_source *own = &c->tokenizer->chat;

    if (text) {
        c->source = "given";
        TRY(text_buffer_append(&c->given, text, bytes, error));
        c->plain_text = (text_slice){c->given.bytes, c->given.count};
        return LEAT_OK;
    }
    if (!own->origin) {
        const leat_status status = FAIL(error, USAGE, "the model has no chat template");
        status_hint(error, "a raw prompt needs none; --template FILE gives one");
        return status;
    }
    c->source = own->origin;
    c->plain_text = (text_slice){own->plain.bytes, own->plain.count};
    if (own->with_tools.count > 0) c->tools_text = (text_slice){own->with_tools.bytes, own->with_tools.count};
    return LEAT_OK;
}

static leat_status compile(const leat_chat *c, text_slice text, jinja_template **out, leat_error *error)
{
    jinja_limits limits = jinja_limits_default;

    limits.is_late = is_late;
    return jinja_open(c->ledger, c->source, text.bytes, text.count, &limits, out, NULL, error);
}

static bool writes(void *user, const char *text) { return jinja_mentions(user, text); }

leat_status leat_chat_open(const leat_tokenizer *t, const char *template_text, size_t template_bytes,
                           leat_chat **out_chat, leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_chat *c = NULL;

    TRY(mem_alloc(t->ledger, MEM_TOKENIZER, 1, sizeof *c, 0, "chat", (void **)&c, error));
    c->ledger = t->ledger;
    c->tokenizer = t;
    text_buffer_init(&c->given, c->ledger);
    TRY_OR(fail, choose_template(c, template_text, template_bytes, error));
    TRY_OR(fail, compile(c, c->plain_text, &c->plain, error));
    if (c->tools_text.bytes) TRY_OR(fail, compile(c, c->tools_text, &c->with_tools, error));
    c->answers = answer_format_find(writes, c->with_tools ? c->with_tools : c->plain);
    TRY_OR(fail, chat_controls_open(c->ledger, t->inner, c->plain, c->with_tools, &c->controls, error));
    *out_chat = c;
    return LEAT_OK;
fail:
    leat_chat_close(&c);
    return status;
}

void leat_chat_close(leat_chat **chat)
{
    leat_chat *c = *chat;

    if (!c) return;
    chat_controls_close(&c->controls);
    jinja_close(&c->with_tools);
    jinja_close(&c->plain);
    text_buffer_reset(&c->given);
    mem_free(c->ledger, c);
    *chat = NULL;
}

static bool holds(text_slice text, const char *word)
{
    return text.count > 0 && memmem(text.bytes, text.count, word, strlen(word)) != NULL;
}

leat_chat_info leat_chat_get_info(const leat_chat *c)
{
    return (leat_chat_info){.source = c->source,
                            .template_text = c->plain_text.bytes,
                            .template_bytes = c->plain_text.count,
                            .answer_format = answer_format_label(c->answers),
                            .takes_tools =
                                c->with_tools || (holds(c->plain_text, "tools") && strcmp(c->source, "built in")),
                            .can_think = holds(c->plain_text, "thinking") || holds(c->plain_text, "<think>") ||
                                         holds(c->plain_text, "reasoning_effort")};
}

/* ---- rendering ---- */

static leat_status render_within(const chat_input *request, const jinja_template *t, text_slice text,
                                 text_slice specials, jinja_output *out, jinja_fault *fault, leat_error *error)
{
    const uint64_t most = output_limit(request->bytes);

    render_end_ns = clock_now_ns() + RENDER_NS;
    TRY(chat_input_render(request, t, text, specials, local_now_s(), out, fault, error));
    if (out->text.count <= most) return LEAT_OK;
    *fault = JINJA_LIMIT;
    return FAIL(error, USAGE, "the template wrote %llu bytes from a request of %llu; at most %llu are allowed",
                (unsigned long long)out->text.count, (unsigned long long)request->bytes, (unsigned long long)most);
}

/* The prompt as the model sees it: a BOS that was put in front of the ids is shown, too. */
static leat_status give_shown(const leat_chat *c, const jinja_output *prompt, bool adds_bos, leat_text *out,
                              leat_error *error)
{
    const char *bos = adds_bos ? tokenizer_token_text(c->tokenizer->inner, c->tokenizer->bos_id, NULL) : NULL;
    text_buffer shown;

    if (!bos) return give_text(&prompt->text, out, error);
    text_buffer_init(&shown, c->ledger);
    leat_status status = text_buffer_append(&shown, bos, strlen(bos), error);
    if (status == LEAT_OK) status = text_buffer_append(&shown, prompt->text.bytes, prompt->text.count, error);
    if (status == LEAT_OK) status = give_text(&shown, out, error);
    text_buffer_reset(&shown);
    return status;
}

static leat_status give_prompt(const leat_chat *c, const jinja_output *prompt, leat_tokens *out_tokens,
                               leat_text *out_text, leat_error *error)
{
    leat_status status = LEAT_OK;
    token_list ids;
    leat_tokens tokens = {0};
    bool adds;
    uint64_t dropped;

    token_list_init(&ids, c->ledger);
    TRY_OR(done, chat_prompt_encode(c->controls, prompt, &ids, error));
    find_bos_change(c->tokenizer, &ids, &adds, &dropped); /* the template may have left it out, or added a second */
    if (out_tokens)
        TRY_OR(done, give_tokens(ids.ids ? ids.ids + dropped : NULL, ids.count - dropped, adds, c->tokenizer->bos_id,
                                 &tokens, error));
    if (out_text) TRY_OR(done, give_shown(c, prompt, adds, out_text, error));
    if (out_tokens) *out_tokens = tokens;
done:
    if (status != LEAT_OK) leat_tokens_free(&tokens);
    token_list_reset(&ids);
    return status;
}

leat_status leat_chat_render(const leat_chat *c, const char *request, size_t request_bytes, leat_tokens *out_tokens,
                             leat_text *out_text, leat_error *error)
{
    leat_status status = LEAT_OK;
    chat_input read = {.ledger = c->ledger};
    jinja_output prompt;
    jinja_fault fault;

    jinja_output_init(&prompt, c->ledger);
    TRY_OR(done, chat_input_read(c->ledger, request, request_bytes, &read, error));
    const bool has_tools = read.tools.bytes && c->with_tools;
    const text_buffer *own = &c->tokenizer->chat.specials;
    TRY_OR(done, render_within(&read, has_tools ? c->with_tools : c->plain, has_tools ? c->tools_text : c->plain_text,
                               (text_slice){own->bytes, own->count}, &prompt, &fault, error));
    chat_input_reset(&read); /* the ids need room too */
    TRY_OR(done, give_prompt(c, &prompt, out_tokens, out_text, error));
done:
    chat_input_reset(&read);
    jinja_output_reset(&prompt);
    return status;
}

/* ---- a template alone ---- */

static leat_status render_alone(mem *ledger, text_slice text, const chat_input *request, jinja_output *out,
                                jinja_fault *fault, leat_error *error)
{
    jinja_limits limits = jinja_limits_default;
    jinja_template *t = NULL;

    limits.is_late = is_late;
    limits.output_bytes_max = output_limit(request->bytes);
    TRY(jinja_open(ledger, "template", text.bytes, text.count, &limits, &t, fault, error));
    const leat_status status = render_within(request, t, text, (text_slice){0}, out, fault, error);
    jinja_close(&t);
    return status;
}

leat_status leat_template_render(const char *template_text, size_t template_bytes, const char *request,
                                 size_t request_bytes, leat_text *out_text, const char **out_fault, leat_error *error)
{
    leat_status status = LEAT_OK;
    mem *ledger = NULL;
    chat_input read = {0};
    jinja_output out;
    jinja_fault fault = JINJA_NO_FAULT;

    *out_fault = "request";
    TRY(mem_open(LONE_BUDGET_BYTES, &ledger, error));
    jinja_output_init(&out, ledger);
    TRY_OR(done, chat_context_read(ledger, request, request_bytes, &read, error));
    TRY_OR(done, render_alone(ledger, (text_slice){template_text, template_bytes}, &read, &out, &fault, error));
    TRY_OR(done, give_text(&out.text, out_text, error));
done:
    if (fault == JINJA_RAISED) { /* the output is the message */
        const leat_status given = give_text(&out.text, out_text, NULL);
        if (given != LEAT_OK) {
            status = FAIL(error, NO_MEMORY, "%llu bytes of a message", (unsigned long long)out.text.count);
            fault = JINJA_LIMIT;
        }
    }
    if (read.ledger) chat_input_reset(&read);
    jinja_output_reset(&out);
    mem_close(&ledger);
    if (status == LEAT_OK || fault != JINJA_NO_FAULT) *out_fault = jinja_fault_label(fault);
    return status;
}

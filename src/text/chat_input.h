/*
 * chat_input.h - a conversation as a caller states it, a JSON object, and what a template makes of it.
 *
 *   {"messages": [{"role": "user", "content": "Hi"}, ...], "tools": [...], "documents": [...],
 *    "add_generation_prompt": true, "continue_final_message": false, "kwargs": {...}, "special_tokens": {...},
 *    "now": "2026-03-04T05:06:07"}
 *
 * Before a template sees the messages they are brought into the form that transformers gives them: members that are
 * null are dropped, the names of a reasoning text are made to agree, and a final message that is to be continued gets a
 * mark behind its text, at which the rendered prompt is cut. Values go to the template as they were written.
 *
 * Owner: slices point into the request's text, which the caller keeps until chat_input_reset.
 */
#ifndef TEXT_CHAT_INPUT_H
#define TEXT_CHAT_INPUT_H

#include "text/jinja/jinja.h"
#include "text/normalize.h"

enum { CHAT_INPUT_BYTES_MAX = 256 * 1024 * 1024, CHAT_VARIABLES_MAX = 256 };

typedef struct chat_input {
    mem *ledger;
    uint64_t bytes;         /* of the request */
    text_buffer messages;   /* as the template gets them */
    text_buffer final_text; /* what is to be continued */
    /* JSON as written; bytes NULL where there is none, or null. */
    text_slice given_messages, tools, documents, kwargs, special_tokens;
    text_slice context; /* chat_context_read: the template's variables themselves */
    bool add_generation_prompt, continues;
    bool has_now;
    int64_t now_s; /* local time as if it were UTC */
} chat_input;

/* LEAT_USAGE: not JSON, members of the wrong kind, no message. Members that are not known are passed over. */
MUST_CHECK leat_status chat_input_read(mem *ledger, const char *text, uint64_t bytes, chat_input *request,
                                       leat_error *error);
/* For a template apart from a conversation: {"context": {...}, "now": ...}, or {"chat": {a request}}, or a request. */
MUST_CHECK leat_status chat_context_read(mem *ledger, const char *text, uint64_t bytes, chat_input *request,
                                         leat_error *error);
void chat_input_reset(chat_input *request);

/* Renders into `out` (empty after a failure). `template_text`: the source of `t`. `specials`: a JSON object of special
 * tokens for requests that bring none; bytes may be NULL. `now_s` counts where the request does not say it. LEAT_USAGE
 * with the fault: what the template raised, a limit, a final message that cannot be continued. */
MUST_CHECK leat_status chat_input_render(const chat_input *request, const jinja_template *t, text_slice template_text,
                                         text_slice specials, int64_t now_s, jinja_output *out, jinja_fault *out_fault,
                                         leat_error *error);

#endif

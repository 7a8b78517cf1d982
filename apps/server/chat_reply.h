/*
 * chat_reply.h - what the model writes, as a chat completion: text, reasoning and tool calls told apart by a
 * leat_answer, whole or as chunks of an event stream.
 *
 * Owns the request, the rendered prompt and everything a reply owns.
 */
#ifndef SERVER_CHAT_REPLY_H
#define SERVER_CHAT_REPLY_H

#include "server/chat_request.h"
#include "server/reply.h"

typedef struct chat_reply {
    reply base; /* first: a reply * is a chat_reply * */
    chat_request request;
    const char *format; /* of answers: how this model marks thoughts and calls; static */
    leat_text prompt;   /* as rendered */
    leat_text opening;  /* of the call that is demanded, behind the prompt; the answer begins with it */
    leat_answer *answer;
    bool has_choice, is_reasoning;
    uint32_t choice, call_count;
    strbuf content, reasoning, calls; /* of the choice of a whole reply; calls: JSON objects with commas */
    strbuf logprobs;                  /* JSON objects with commas: not sent yet, or all of the choice */
} chat_reply;

/* Takes the request, the prompt and the opening over, also when it fails. */
MUST_CHECK leat_status chat_reply_open(api *owner, http_exchange *x, const char *format, chat_request *request,
                                       leat_text *prompt, leat_text *opening, chat_reply **out_reply,
                                       leat_error *error);
extern const job_sink chat_reply_sink;

#endif

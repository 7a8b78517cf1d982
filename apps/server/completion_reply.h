/*
 * completion_reply.h - what the model writes behind a prompt, as a text completion, whole or as chunks of an event
 * stream; with `echo` the prompt comes first.
 *
 * Owns the request and everything a reply owns.
 */
#ifndef SERVER_COMPLETION_REPLY_H
#define SERVER_COMPLETION_REPLY_H

#include "server/completion_request.h"
#include "server/reply.h"

/* Of a run of tokens, as the four parallel lists that the API has for them; JSON values with commas. */
typedef struct logprob_lists {
    strbuf tokens, token_logprobs, top_logprobs, text_offsets;
} logprob_lists;

typedef struct completion_reply {
    reply base; /* first: a reply * is a completion_reply * */
    completion_request request;
    bool has_choice;
    uint32_t choice;
    uint32_t echo_prompt_idx; /* whose lists `echoed` holds */
    bool has_echo;
    logprob_lists echoed, made; /* of the prompt, where they are needed again; of the choice, or not sent yet */
    uint64_t echo_offset;       /* characters of the prompt so far */
    uint64_t offset;            /* characters of the prompt that the choice's text begins with */
    strbuf text;                /* of the choice of a whole reply */
} completion_reply;

/* Takes the request over, also when it fails. */
MUST_CHECK leat_status completion_reply_open(api *owner, http_exchange *x, completion_request *request,
                                             completion_reply **out_reply, leat_error *error);
extern const job_sink completion_reply_sink;

#endif

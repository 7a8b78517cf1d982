/*
 * chat_request.h - a request to /v1/chat/completions, checked completely before anything is done for it.
 *
 * Pure: from bytes to a struct. The conversation comes out as the JSON that leat_chat_render and leat_answer_open take.
 */
#ifndef SERVER_CHAT_REQUEST_H
#define SERVER_CHAT_REQUEST_H

#include "server/chat_tools.h"
#include "server/generation_request.h"

enum { CHAT_KWARGS_BYTES_MAX = 4096, CHAT_MODALITIES_MAX = 8 };

typedef struct chat_request {
    mem *ledger;
    json_t *document; /* owns the texts */
    generation_request generation;
    chat_tools tools;
    bool logprobs;
    uint32_t top_logprobs;
    strbuf conversation;
} chat_request;

/* knows_developer: the model's template has that role. The struct need not be initialised; on failure there is nothing
 * to reset. */
bool chat_request_open(mem *ledger, const char *body, size_t bytes, const request_limits *limits, bool knows_developer,
                       chat_request *out, api_error *error);
/* A zeroed struct is accepted. */
void chat_request_reset(chat_request *r);
/* For /apply-template and /tokenize: only what the conversation is made of. */
bool chat_request_open_conversation(mem *ledger, json_t *document, bool knows_developer, strbuf *out_conversation,
                                    api_error *error);

#endif

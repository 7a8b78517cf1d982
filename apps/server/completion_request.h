/*
 * completion_request.h - a request to /v1/completions, checked. Pure, but for the tokens of its texts.
 *
 * A prompt is a text or a list of token ids; up to 16 of one kind may come in one request.
 */
#ifndef SERVER_COMPLETION_REQUEST_H
#define SERVER_COMPLETION_REQUEST_H

#include "server/generation_request.h"

enum { COMPLETION_PROMPTS_MAX = 16, COMPLETION_TOKENS_DEFAULT = 16, COMPLETION_LOGPROBS_MAX = 5 };

typedef struct completion_prompt {
    const char *text; /* NULL: ids */
    size_t text_bytes;
    uint32_t *ids; /* (id_count) */
    uint32_t id_count;
} completion_prompt;

typedef struct completion_request {
    mem *ledger;
    json_t *document; /* owns the texts */
    generation_request generation;
    completion_prompt prompts[COMPLETION_PROMPTS_MAX];
    uint32_t prompt_count;
    bool echo, logprobs;
    uint32_t top_logprobs;
} completion_request;

/* The struct need not be initialised; on failure there is nothing to reset. */
bool completion_request_open(mem *ledger, const char *body, size_t bytes, const request_limits *limits,
                             completion_request *out, api_error *error);
/* A zeroed struct is accepted. */
void completion_request_reset(completion_request *r);
/* An array of token ids below vocab_size; *out_ids is the caller's to mem_free. */
bool completion_read_ids(mem *ledger, const json_view *array, uint32_t vocab_size, uint32_t **out_ids,
                         uint32_t *out_count, api_error *error);

#endif

/*
 * generation_request.h - what /v1/chat/completions and /v1/completions have in common: how long, how to draw, where to
 * stop, whether to stream. Turned into a job's settings.
 *
 * Texts point into the request's document.
 */
#ifndef SERVER_GENERATION_REQUEST_H
#define SERVER_GENERATION_REQUEST_H

#include "server/job.h"
#include "server/json_value.h"

enum {
    REQUEST_STOPS_MAX = 16,
    REQUEST_STOP_BYTES_MAX = 256,
    REQUEST_CHOICES_MAX = 8,
    REQUEST_BIASES_MAX = 1024,
    REQUEST_PING_SECONDS = 5
};

/* What a request is measured against. */
typedef struct request_limits {
    uint32_t vocab_size;
    leat_sampler_options sampling; /* what holds where the request says nothing */
} request_limits;

typedef struct generation_request {
    const char *model;   /* NULL: not said */
    uint32_t max_tokens; /* JOB_TOKENS_UNLIMITED: as many as fit */
    leat_sampler_options sampling;
    bool has_seed;
    uint32_t n;
    const char *stops[REQUEST_STOPS_MAX];
    uint32_t stop_count;
    job_bias *biases; /* (bias_count) */
    uint32_t bias_count;
    bool stream, include_usage, cache_prompt, ignore_eos, timings_per_token, return_progress;
    uint32_t ping_seconds; /* a stream is never silent for longer */
} generation_request;

/* The members of a body that are read here, or known to be of no consequence; ends with NULL. */
extern const char *const generation_request_fields[];

/* max_tokens_default holds where the request says nothing. On failure the request is empty again. */
bool generation_request_read(mem *ledger, const json_view *body, const request_limits *limits,
                             uint32_t max_tokens_default, generation_request *out, api_error *error);
void generation_request_reset(mem *ledger, generation_request *r);
/* The settings point into the request. */
job_settings generation_request_settings(const generation_request *r);

#endif

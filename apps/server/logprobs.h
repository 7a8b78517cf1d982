/*
 * logprobs.h - natural logarithms of the softmax of a row of logits: of one token, and the most probable ones.
 *
 * Sums are made in double, in the order of ids; among equals the lower id comes first, so that the same logits always
 * give the same answer. What cannot be said in JSON is JOB_IMPOSSIBLE_LOGPROB.
 *
 * Threads: any, each with its own list.
 */
#ifndef SERVER_LOGPROBS_H
#define SERVER_LOGPROBS_H

#include "server/job.h"

typedef struct logprob_list {
    uint32_t count;
    uint32_t ids[JOB_TOP_LOGPROBS_MAX];
    float logprobs[JOB_TOP_LOGPROBS_MAX];
} logprob_list;

/* Returns the logprob of `id`; top_count at most JOB_TOP_LOGPROBS_MAX, cut to vocab_size. */
float logprobs_of(const float *logits, uint32_t vocab_size, uint32_t id, uint32_t top_count, logprob_list *out_top);

#endif

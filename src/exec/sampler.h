/*
 * sampler.h - from logits to the next token. Same logits, options and seed give the same token on every machine:
 * comparisons break ties by the lower id, exp is ours (kernel/math_exact.h), sums run in descending order of
 * probability.
 */
#ifndef EXEC_SAMPLER_H
#define EXEC_SAMPLER_H

#include "base/mem.h"
#include "base/prng.h"

typedef struct sampler_options {
    float temperature;                                         /* 0: greedy */
    uint32_t top_k;                                            /* 0: off */
    float top_p, min_p;                                        /* 1 and 0: off */
    float repeat_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0: off */
    uint32_t repeat_last;
    uint64_t seed;
} sampler_options;

typedef struct sampler sampler;

/* The most that open takes, whatever the options. */
uint64_t sampler_bytes_max(uint32_t vocab_count);
/* LEAT_USAGE for a value out of range, naming it. */
MUST_CHECK leat_status sampler_open(mem *ledger, const sampler_options *options, uint32_t vocab_count,
                                    sampler **out_sampler, leat_error *error);
void sampler_close(sampler **s);
/* Order: penalties over the last `repeat_last` of `recent`, top_k, temperature, top_p, min_p, draw. NaN logits are
 * never picked; LEAT_INTERNAL when no logit is a number or +infinity stands among them. Allocates nothing. */
MUST_CHECK leat_status sampler_pick(sampler *s, const float *logits, const uint32_t *recent, uint64_t recent_count,
                                    uint32_t *out_id, leat_error *error);

#endif

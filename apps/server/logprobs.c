#include "logprobs.h"

#include <math.h>

typedef struct softmax {
    double largest, log_sum; /* of exp(logit - largest) */
} softmax;

static softmax measure(const float *logits, uint32_t count)
{
    softmax s = {.largest = -INFINITY};
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        if (logits[i] > s.largest) s.largest = logits[i];
    for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i] - s.largest);
    s.log_sum = log(sum);
    return s;
}

static float logprob(const softmax *s, float logit)
{
    const double value = (double)logit - s->largest - s->log_sum;
    return value > (double)JOB_IMPOSSIBLE_LOGPROB ? (float)value : JOB_IMPOSSIBLE_LOGPROB; /* also NaN */
}

/* Ids come in rising order: one that is only equal stays behind. */
static void enter(const float *logits, uint32_t id, uint32_t top_count, logprob_list *top)
{
    uint32_t at = top->count;
    while (at > 0 && logits[id] > logits[top->ids[at - 1]]) at--;
    if (at == top_count) return;
    if (top->count < top_count) top->count++;
    for (uint32_t i = top->count - 1; i > at; i--) top->ids[i] = top->ids[i - 1];
    top->ids[at] = id;
}

float logprobs_of(const float *logits, uint32_t vocab_size, uint32_t id, uint32_t top_count, logprob_list *out_top)
{
    const softmax s = measure(logits, vocab_size);
    out_top->count = 0;
    for (uint32_t i = 0; i < vocab_size && top_count > 0; i++) enter(logits, i, top_count, out_top);
    for (uint32_t i = 0; i < out_top->count; i++) out_top->logprobs[i] = logprob(&s, logits[out_top->ids[i]]);
    return logprob(&s, logits[id]);
}

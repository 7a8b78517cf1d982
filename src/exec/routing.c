#include "exec/routing.h"

#include <string.h>

/* ---- this layer ---- */

/* What the router sees: the block's input, or the stream under its own norm and scale. */
static const float *router_input(const step *s, const moe_block *moe, const float *stream, const float *x)
{
    const kernel_table *k = &s->engine->kernels;
    const uint32_t hidden = s->engine->model->hidden_size;
    float *in = s->engine->scratch.router_in;

    if (!moe->router_reads_stream) return x;
    run_norm(s, NO_ID, stream, in, s->row_count, hidden);
    for (uint32_t i = 0; i < s->row_count; i++) {
        float *row = in + (size_t)i * hidden;
        if (moe->router_scale != NO_ID) k->mul_f32(row, step_vector(s, moe->router_scale), hidden);
        k->scale_f32(row, moe->router_factor, hidden);
    }
    return in;
}

/* The `used` largest logits of one row, by falling value, the lower id first among equals. */
static void choose_largest(const float *logits, uint32_t count, uint32_t used, uint32_t *chosen)
{
    uint32_t held = 0;

    for (uint32_t e = 0; e < count; e++) {
        uint32_t at = held < used ? held : used;
        while (at > 0 && logits[e] > logits[chosen[at - 1]]) at--;
        if (at == used) continue;
        if (held < used) held++;
        memmove(chosen + at + 1, chosen + at, (held - at - 1) * sizeof *chosen);
        chosen[at] = e;
    }
}

static void route_row(const step *s, const moe_block *moe, float *logits, uint32_t *chosen, float *weights)
{
    const kernel_table *k = &s->engine->kernels;
    const float *expert_scale = step_vector(s, moe->expert_scale);

    choose_largest(logits, moe->expert_count, moe->used_count, chosen);
    float sum =
        k->exp_sum_f32(logits, k->max_f32(logits, moe->expert_count), moe->expert_count); /* now softmax times sum */
    if (moe->renormalise) {
        sum = 0;
        for (uint32_t i = 0; i < moe->used_count; i++) sum += logits[chosen[i]];
    }
    for (uint32_t i = 0; i < moe->used_count; i++) {
        weights[i] = logits[chosen[i]] / sum;
        if (expert_scale) weights[i] *= expert_scale[chosen[i]];
    }
}

void route_rows(const step *s, const moe_block *moe, const float *stream, const float *x)
{
    const scratch *m = &s->engine->scratch;

    run_product(s, step_matrix(s, moe->router), router_input(s, moe, stream, x), m->router_logits);
    for (uint32_t i = 0; i < s->row_count; i++) {
        uint32_t *chosen = m->chosen + (size_t)i * moe->used_count;
        float *weights = m->chosen_weights + (size_t)i * moe->used_count;
        route_row(s, moe, m->router_logits + (size_t)i * moe->expert_count, chosen, weights);
        if (s->route_sink)
            s->route_sink(s->route_user, moe->moe_idx, s->rows[i].position, chosen, weights, moe->used_count);
    }
}

/* ---- the next layer ---- */

const branch *routing_next(const step *s, const moe_block *moe)
{
    const model_desc *m = s->engine->model;

    for (uint32_t l = 0; l < m->layer_count; l++)
        for (uint32_t r = 0; r < m->layers[l].residual_count; r++)
            for (uint32_t i = 0; i < m->layers[l].residuals[r].branch_count; i++) {
                const branch *b = &m->layers[l].residuals[r].branches[i];
                if (b->block.kind == BLOCK_MOE && b->block.moe.moe_idx == moe->moe_idx + 1)
                    return step_matrix(s, b->block.moe.router)->data ? b : NULL;
            }
    return NULL;
}

/* How many rows chose each expert; one row: its best has the most. */
static void count_votes(const step *s, const moe_block *moe)
{
    const scratch *m = &s->engine->scratch;
    uint32_t chosen[EXPERT_SET_MAX];

    memset(m->expert_votes, 0, moe->expert_count * sizeof *m->expert_votes);
    for (uint32_t i = 0; i < s->row_count; i++) {
        choose_largest(m->router_logits + (size_t)i * moe->expert_count, moe->expert_count, moe->used_count, chosen);
        for (uint32_t k = 0; k < moe->used_count; k++)
            m->expert_votes[chosen[k]] += s->row_count == 1 ? moe->used_count - k : 1;
    }
}

uint32_t routing_predict(const step *s, const branch *next, uint32_t *out_ids)
{
    const scratch *m = &s->engine->scratch;
    const moe_block *moe = &next->block.moe;
    const float *x = m->stream;
    uint32_t count = 0;

    if (!moe->router_reads_stream && next->pre_norm != NO_ID) {
        run_norm(s, next->pre_norm, m->stream, m->router_in, s->row_count, s->engine->model->hidden_size);
        x = m->router_in;
    }
    run_product(s, step_matrix(s, moe->router), router_input(s, moe, m->stream, x), m->router_logits);
    count_votes(s, moe);
    for (uint32_t e = 0; e < moe->expert_count; e++) {
        uint32_t at = count;
        if (!m->expert_votes[e]) continue;
        while (at > 0 && m->expert_votes[e] > m->expert_votes[out_ids[at - 1]]) at--;
        if (at == AHEAD_MAX) continue;
        if (count < AHEAD_MAX) count++;
        memmove(out_ids + at + 1, out_ids + at, (count - at - 1) * sizeof *out_ids);
        out_ids[at] = e;
    }
    return count;
}

/*
 * run_attention.c - grouped-query attention over the stored keys and values.
 *
 * A query walks the blocks of KV_BLOCK positions, anchored at absolute multiples of it. Each block gives its largest
 * score m, the sum l of exp(score - m) and the weighted values o; they are merged in the order of the blocks (the
 * running form of softmax: Milakov, Gimelshein 2018). Neither chunks nor threads nor the ring's length show in the
 * result.
 */
#include "exec/step.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

/* ---- projections ---- */

typedef struct head_loop {
    const step *s;
    uint32_t layer_idx;
    const attention_block *a;
} head_loop;

static void finish_head(const step *s, const attention_block *a, uint32_t row, vector_id norm, float *head)
{
    const kernel_table *k = &s->engine->kernels;
    const rope_table *rope = &s->engine->ropes[a->rope_idx];
    const scratch *m = &s->engine->scratch;
    const size_t at = ((size_t)a->rope_idx * s->row_count + row) * m->rope_stride;

    if (norm != NO_ID) k->rms_norm_f32(head, step_vector(s, norm), s->engine->model->norm_eps, head, a->head_dim);
    if (rope->pair_count) k->rope_half_f32(head, m->cosines + at, m->sines + at, rope->pair_count, rope->half);
}

/* Norms and turns one row's queries and keys, and stores keys and values. */
static void finish_row_task(void *context, uint32_t row, uint32_t thread_idx)
{
    const head_loop *l = context;
    const step *s = l->s;
    const attention_block *a = l->a;
    const scratch *m = &s->engine->scratch;
    const uint32_t position = s->rows[row].position, dim = a->head_dim;

    (void)thread_idx;
    for (uint32_t h = 0; h < a->head_count; h++)
        finish_head(s, a, row, a->q_norm, m->queries + ((size_t)row * a->head_count + h) * dim);
    for (uint32_t h = 0; a->owns_kv && h < a->kv_head_count; h++) {
        const size_t at = ((size_t)row * a->kv_head_count + h) * dim;
        float *key = kv_cache_key(s->engine->kv, l->layer_idx, h, position);
        float *value = kv_cache_value(s->engine->kv, l->layer_idx, h, position);
        const float *raw_value = (a->v_is_raw_k ? m->keys : m->values) + at;
        memcpy(value, raw_value, dim * sizeof *value);
        if (a->v_has_norm) s->engine->kernels.rms_norm_f32(value, NULL, s->engine->model->norm_eps, value, dim);
        memcpy(key, m->keys + at, dim * sizeof *key);
        finish_head(s, a, row, a->k_norm, key);
    }
}

static void project(const step *s, uint32_t layer_idx, const attention_block *a, const float *x)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = s->engine->model->hidden_size, q_width = a->head_count * a->head_dim,
                   kv_width = a->kv_head_count * a->head_dim;
    product products[3] = {{.w = step_matrix(s, a->q),
                            .x = x,
                            .x_stride = hidden,
                            .token_count = s->row_count,
                            .y = m->queries,
                            .y_stride = q_width}};
    uint32_t count = 1;

    if (a->owns_kv)
        products[count++] = (product){.w = step_matrix(s, a->k),
                                      .x = x,
                                      .x_stride = hidden,
                                      .token_count = s->row_count,
                                      .y = m->keys,
                                      .y_stride = kv_width};
    if (a->owns_kv && !a->v_is_raw_k)
        products[count++] = (product){.w = step_matrix(s, a->v),
                                      .x = x,
                                      .x_stride = hidden,
                                      .token_count = s->row_count,
                                      .y = m->values,
                                      .y_stride = kv_width};
    run_products(s, products, count);
    run_bias(s, a->q_bias, m->queries, s->row_count, q_width);
    if (a->owns_kv) {
        run_bias(s, a->k_bias, m->keys, s->row_count, kv_width);
        if (!a->v_is_raw_k) run_bias(s, a->v_bias, m->values, s->row_count, kv_width);
    }
    head_loop l = {s, layer_idx, a};
    thread_pool_run(s->engine->threads, finish_row_task, &l, s->row_count);
}

/* ---- attending ---- */

typedef struct attend_loop {
    const step *s;
    const attention_block *a;
    uint32_t heads_per_task; /* of one kv head's group */
    uint32_t tasks_per_row;
} attend_loop;

typedef struct running_softmax {
    float max, sum;
} running_softmax;

/* Merges one block into the running result of one head: scores (count) become weights. */
static void merge_block(const kernel_table *k, const attention_block *a, float *scores, uint32_t count,
                        const float *values, float *partial, running_softmax *run, float *out)
{
    const uint32_t dim = a->head_dim;

    if (a->score_scale != 1) k->scale_f32(scores, a->score_scale, count);
    const float max = k->max_f32(scores, count);
    const float sum = k->exp_sum_f32(scores, max, count);

    if (run->sum == 0) { /* the first block: nothing to merge with */
        k->weighted_rows_f32(values, dim, scores, count, out, dim);
        *run = (running_softmax){max, sum};
        return;
    }
    k->weighted_rows_f32(values, dim, scores, count, partial, dim);
    const float new_max = max > run->max ? max : run->max;
    float factors[2] = {run->max, max};
    k->exp_sum_f32(factors, new_max, 2);
    k->blend_f32(out, factors[0], partial, factors[1], dim);
    run->sum = fmaf(sum, factors[1], run->sum * factors[0]);
    run->max = new_max;
}

/* All heads of `count` queries that share a kv head, for one row. */
static void attend_heads(const attend_loop *l, uint32_t row, uint32_t first_head, uint32_t count, uint32_t thread_idx)
{
    const step *s = l->s;
    const attention_block *a = l->a;
    const kernel_table *k = &s->engine->kernels;
    const scratch *m = &s->engine->scratch;
    const uint32_t dim = a->head_dim, kv_head = first_head / (a->head_count / a->kv_head_count);
    const uint32_t position = s->rows[row].position;
    const uint32_t begin = a->window && position + 1 > a->window ? position + 1 - a->window : 0;
    const size_t at = ((size_t)row * a->head_count + first_head) * dim;
    float *scores = m->scores + (size_t)thread_idx * HEADS_PER_TASK_MAX * KV_BLOCK;
    float *partial = m->partial + (size_t)thread_idx * m->partial_stride;
    running_softmax run[HEADS_PER_TASK_MAX] = {{0}};

    for (uint32_t p = begin; p <= position;) {
        const uint32_t next = (uint32_t)min_u64(position + 1, round_down(p, KV_BLOCK) + KV_BLOCK), n = next - p;
        const matrix keys = {.shape = {.type = QUANT_F32, .rows = n, .cols = dim},
                             .data = (const uint8_t *)kv_cache_key(s->engine->kv, a->kv_layer, kv_head, p)};
        const float *values = kv_cache_value(s->engine->kv, a->kv_layer, kv_head, p);
        k->matmul[QUANT_F32](&keys, 0, n, m->queries + at, dim, count, scores, KV_BLOCK);
        for (uint32_t h = 0; h < count; h++)
            merge_block(k, a, scores + h * KV_BLOCK, n, values, partial, &run[h], m->attended + at + (size_t)h * dim);
        p = next;
    }
    for (uint32_t h = 0; h < count; h++) k->scale_f32(m->attended + at + (size_t)h * dim, 1 / run[h].sum, dim);
}

static void attend_task(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    const attend_loop *l = context;
    const uint32_t row = task_idx / l->tasks_per_row, part = task_idx % l->tasks_per_row;

    attend_heads(l, row, part * l->heads_per_task, l->heads_per_task, thread_idx);
}

/* Heads of one group are taken together, so that keys are read once for all of them, unless that leaves threads without
 * work. */
static uint32_t choose_heads_per_task(const step *s, const attention_block *a)
{
    uint32_t heads = a->head_count / a->kv_head_count;
    const uint32_t wanted_tasks = 2 * thread_pool_thread_count(s->engine->threads);

    while (heads > HEADS_PER_TASK_MAX || (heads > 1 && s->row_count * (a->head_count / heads) < wanted_tasks)) {
        uint32_t fewer = heads - 1;
        while (heads % fewer) fewer--;
        heads = fewer;
    }
    return heads;
}

void run_attention(const step *s, uint32_t layer_idx, const attention_block *a, const float *x, float *y)
{
    const scratch *m = &s->engine->scratch;

    project(s, layer_idx, a, x);
    attend_loop l = {.s = s, .a = a, .heads_per_task = choose_heads_per_task(s, a)};
    l.tasks_per_row = a->head_count / l.heads_per_task;
    thread_pool_run(s->engine->threads, attend_task, &l, s->row_count * l.tasks_per_row);
    run_product(s, step_matrix(s, a->o), m->attended, y);
    run_bias(s, a->o_bias, y, s->row_count, s->engine->model->hidden_size);
}

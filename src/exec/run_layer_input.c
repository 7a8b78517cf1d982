/*
 * run_layer_input.c - Gemma's per-layer inputs (docs/models.md): a second embedding gives every layer a vector of its
 * own, mixed with a projection of the first embedding.
 */
#include "exec/step.h"

/* The table's row of every token, read from disk. */
static leat_status read_table_rows(const step *s, float *out, leat_error *error)
{
    const layer_inputs *in = &s->engine->model->inputs;
    const uint64_t width = (uint64_t)s->engine->model->layer_count * in->width;
    uint32_t tokens[ROW_READS_MAX];

    for (uint32_t begin = 0; begin < s->row_count; begin += ROW_READS_MAX) {
        const uint32_t count = s->row_count - begin < ROW_READS_MAX ? s->row_count - begin : ROW_READS_MAX;
        for (uint32_t i = 0; i < count; i++) tokens[i] = s->rows[begin + i].token;
        TRY(step_read_rows(s, &s->engine->input_rows, tokens, count, out + begin * width, error));
    }
    return LEAT_OK;
}

/* One layer's share of one row: norm(projection) + table, over sqrt(2). */
static void mix_one(const step *s, float *projected, const float *table)
{
    const layer_inputs *in = &s->engine->model->inputs;
    const kernel_table *k = &s->engine->kernels;

    k->scale_f32(projected, in->projection_scale, in->width);
    k->rms_norm_f32(projected, step_vector(s, in->norm), s->engine->model->norm_eps, projected, in->width);
    k->add_scaled_f32(projected, table, in->table_scale, in->width);
    k->scale_f32(projected, in->sum_scale, in->width);
}

leat_status prepare_layer_inputs(const step *s, const float *embedded, leat_error *error)
{
    const model_desc *model = s->engine->model;
    const scratch *m = &s->engine->scratch;
    const uint64_t width = (uint64_t)model->layer_count * model->inputs.width;

    TRY(read_table_rows(s, m->layer_table, error));
    run_product(s, step_matrix(s, model->inputs.projection), embedded, m->layer_input);
    for (uint64_t i = 0; i < s->row_count * width; i += model->inputs.width)
        mix_one(s, m->layer_input + i, m->layer_table + i);
    return LEAT_OK;
}

void run_layer_input(const step *s, uint32_t layer_idx, const layer_input_block *b, const float *x, float *y)
{
    const model_desc *model = s->engine->model;
    const scratch *m = &s->engine->scratch;
    const uint32_t width = model->inputs.width;

    run_product(s, step_matrix(s, b->gate), x, m->layer_gate);
    for (uint32_t i = 0; i < s->row_count; i++) {
        float *gate = m->layer_gate + (size_t)i * width;
        const float *input = m->layer_input + ((size_t)i * model->layer_count + layer_idx) * width;
        s->engine->kernels.gelu_mul_f32(gate, input, gate, width);
    }
    run_product(s, step_matrix(s, b->projection), m->layer_gate, y);
}

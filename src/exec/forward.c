/*
 * forward.c - the one loop over layers. Each layer is a list of residual steps (model_desc.h); nothing here knows a
 * family.
 */
#include "exec/step.h"

/* ---- into the model ---- */

leat_status step_read_rows(const step *s, row_reader *r, const uint32_t *rows, uint32_t count, float *out,
                           leat_error *error)
{
    const uint64_t wait_ns = r->wait_ns;
    const leat_status status = row_reader_read(r, rows, count, out, error);

    step_clock_move(&s->engine->clock, r->wait_ns - wait_ns);
    return status;
}

/* What is waited for the trunk is not the running part's time. */
static leat_status wait_for_trunk(const step *s, uint32_t unit, leat_error *error)
{
    trunk *t = s->engine->trunk;
    const uint64_t waited_ns = trunk_wait_ns(t);
    const leat_status status = trunk_wait(t, unit, error);

    step_clock_move(&s->engine->clock, trunk_wait_ns(t) - waited_ns);
    return status;
}

static void decode_embedding(const step *s, float *out)
{
    const model_desc *m = s->engine->model;

    for (uint32_t i = 0; i < s->row_count; i++)
        quant_decode(step_matrix(s, m->embedding), s->rows[i].token, 0, m->hidden_size,
                     out + (size_t)i * m->hidden_size);
}

static leat_status read_embedding(const step *s, float *out, leat_error *error)
{
    const model_desc *m = s->engine->model;
    uint32_t tokens[ROW_READS_MAX];

    if (step_matrix(s, m->embedding)->data) {
        const bool can_read_rows = s->engine->embedding_rows.buffer;
        if (!can_read_rows) TRY(wait_for_trunk(s, TRUNK_ALL, error));
        if (trunk_is_complete(s->engine->trunk)) {
            decode_embedding(s, out);
            return LEAT_OK;
        }
    }
    for (uint32_t begin = 0; begin < s->row_count; begin += ROW_READS_MAX) {
        const uint32_t count = s->row_count - begin < ROW_READS_MAX ? s->row_count - begin : ROW_READS_MAX;
        for (uint32_t i = 0; i < count; i++) tokens[i] = s->rows[begin + i].token;
        TRY(step_read_rows(s, &s->engine->embedding_rows, tokens, count, out + (size_t)begin * m->hidden_size, error));
    }
    return LEAT_OK;
}

static leat_status embed(const step *s, leat_error *error)
{
    const model_desc *m = s->engine->model;
    float *stream = s->engine->scratch.stream;

    TRY(read_embedding(s, stream, error));
    if (m->embedding_scale != 1)
        s->engine->kernels.scale_f32(stream, m->embedding_scale, (size_t)s->row_count * m->hidden_size);
    if (!m->inputs.width) return LEAT_OK;
    TRY(wait_for_trunk(s, TRUNK_INPUTS, error));
    return prepare_layer_inputs(s, stream, error);
}

static void prepare_angles(const step *s)
{
    const scratch *m = &s->engine->scratch;

    for (uint32_t r = 0; r < s->engine->model->rope_count; r++)
        for (uint32_t i = 0; i < s->row_count; i++) {
            const size_t at = ((size_t)r * s->row_count + i) * m->rope_stride;
            rope_table_angles(&s->engine->ropes[r], s->rows[i].position, m->cosines + at, m->sines + at);
        }
}

/* ---- layers ---- */

static leat_status run_block(const step *s, uint32_t layer_idx, const block *b, const float *x, float *y,
                             leat_error *error)
{
    switch (b->kind) {
    case BLOCK_ATTENTION: run_attention(s, layer_idx, &b->attention, x, y); return LEAT_OK;
    case BLOCK_FFN: run_ffn(s, &b->ffn, x, y); return LEAT_OK;
    case BLOCK_LAYER_INPUT: run_layer_input(s, layer_idx, &b->layer_input, x, y); return LEAT_OK;
    case BLOCK_MOE: return run_moe(s, &b->moe, s->engine->scratch.stream, x, y, error);
    }
    return FAIL(error, INTERNAL, "a block of unknown kind %d", (int)b->kind);
}

/* Whose time a block's is. */
static step_part part_of(block_kind kind)
{
    switch (kind) {
    case BLOCK_ATTENTION: return STEP_ATTENTION;
    case BLOCK_FFN: return STEP_FFN;
    case BLOCK_MOE: return STEP_MOE;
    case BLOCK_LAYER_INPUT: break;
    }
    return STEP_OTHER;
}

/* Runs one branch into `out`. */
static leat_status run_branch(const step *s, uint32_t layer_idx, const branch *b, float *out, leat_error *error)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = s->engine->model->hidden_size;
    const float *x = m->stream;

    if (b->pre_norm != NO_ID) {
        run_norm(s, b->pre_norm, m->stream, m->normed, s->row_count, hidden);
        x = m->normed;
    }
    step_clock_switch(&s->engine->clock, part_of(b->block.kind));
    TRY(run_block(s, layer_idx, &b->block, x, out, error));
    weight_ring_pump(s->engine->ring);
    s->engine->reads->ops->pump(s->engine->reads); /* what was held back behind other reads goes on meanwhile */
    step_clock_switch(&s->engine->clock, STEP_OTHER);
    if (b->post_norm != NO_ID) run_norm(s, b->post_norm, out, out, s->row_count, hidden);
    return LEAT_OK;
}

static leat_status run_residual(const step *s, uint32_t layer_idx, const residual *r, leat_error *error)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = s->engine->model->hidden_size;
    const size_t count = (size_t)s->row_count * hidden;

    TRY(run_branch(s, layer_idx, &r->branches[0], m->branch_sum, error));
    for (uint32_t i = 1; i < r->branch_count; i++) {
        TRY(run_branch(s, layer_idx, &r->branches[i], m->block_out, error));
        s->engine->kernels.add_f32(m->branch_sum, m->block_out, count);
    }
    if (r->post_norm != NO_ID) run_norm(s, r->post_norm, m->branch_sum, m->branch_sum, s->row_count, hidden);
    s->engine->kernels.add_f32(m->stream, m->branch_sum, count);
    return LEAT_OK;
}

/* What the ring waited for since `waited_ns` was not the running part's time. */
static void count_ring_wait(const step *s, uint64_t waited_ns)
{
    step_clock_move(&s->engine->clock, weight_ring_stats_get(s->engine->ring).wait_ns - waited_ns);
}

/* Until weight_ring_release the layer's weights are there. */
static leat_status acquire_layer(const step *s, uint32_t layer_idx, leat_error *error)
{
    TRY(wait_for_trunk(s, TRUNK_FIRST_LAYER + layer_idx, error));
    const uint64_t waited_ns = weight_ring_stats_get(s->engine->ring).wait_ns;
    const leat_status status = weight_ring_acquire_layer(s->engine->ring, layer_idx, error);
    count_ring_wait(s, waited_ns);
    return status;
}

static leat_status run_layer(const step *s, uint32_t layer_idx, leat_error *error)
{
    const layer *l = &s->engine->model->layers[layer_idx];

    TRY(acquire_layer(s, layer_idx, error));
    for (uint32_t i = 0; i < l->residual_count; i++) TRY(run_residual(s, layer_idx, &l->residuals[i], error));
    if (l->output_scale != NO_ID)
        s->engine->kernels.scale_f32(s->engine->scratch.stream, step_vector(s, l->output_scale)[0],
                                     (size_t)s->row_count * s->engine->model->hidden_size);
    weight_ring_release(s->engine->ring);
    return LEAT_OK;
}

static leat_status run_layers(const step *s, leat_error *error)
{
    TRY(engine_check_unchanged(s->engine, false, error));
    TRY(embed(s, error));
    prepare_angles(s);
    for (uint32_t i = 0; i < s->engine->model->layer_count; i++) {
        TRY(engine_check_cancel(s->engine, error));
        pressure_watch_poll(s->engine);
        engine_prefault_ahead(s->engine);
        TRY(run_layer(s, i, error));
        if (s->layer_sink) s->layer_sink(s->layer_user, i + 1);
    }
    return LEAT_OK;
}

/* A read that was given up because of the cancel flag is no failure of the disk, and one of a file that somebody writes
 * to is his. */
static leat_status end_step(const step *s, leat_status status, leat_error *error)
{
    step_clock_stop(&s->engine->clock);
    if (status != LEAT_IO) return status;
    TRY(engine_check_cancel(s->engine, error));
    TRY(engine_check_unchanged(s->engine, true, error));
    return status;
}

leat_status step_forward(const step *s, leat_error *error)
{
    step_clock_start(&s->engine->clock, STEP_OTHER);
    return end_step(s, run_layers(s, error), error);
}

/* ---- out of the model ---- */

static void multiply_head(const step *s, const matrix *rows, uint64_t row_begin, uint32_t count)
{
    const model_desc *model = s->engine->model;
    const scratch *m = &s->engine->scratch;
    const product head = {.w = rows,
                          .x = m->final_normed,
                          .x_stride = model->hidden_size,
                          .token_count = count,
                          .y = m->logits + row_begin,
                          .y_stride = model->vocab_size};
    run_products(s, &head, 1);
}

/* A head that does not stay comes in slices; an output row is the same sum in either. */
static leat_status run_head(const step *s, uint32_t count, leat_error *error)
{
    const model_desc *model = s->engine->model;
    const matrix *whole = step_matrix(s, model->head);
    matrix slice;

    if (whole->data) {
        TRY(wait_for_trunk(s, TRUNK_ALL, error));
        multiply_head(s, whole, 0, count);
        return LEAT_OK;
    }
    for (uint64_t row = 0; row < whole->shape.rows; row += slice.shape.rows) {
        const uint64_t waited_ns = weight_ring_stats_get(s->engine->ring).wait_ns;
        const leat_status status = weight_ring_acquire_head(s->engine->ring, row, &slice, error);
        count_ring_wait(s, waited_ns);
        TRY(status);
        multiply_head(s, &slice, row, count);
        weight_ring_release(s->engine->ring);
    }
    return LEAT_OK;
}

static leat_status compute_logits(const step *s, uint32_t row_begin, uint32_t count, leat_error *error)
{
    const model_desc *model = s->engine->model;
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = model->hidden_size;

    run_norm(s, model->final_norm, m->stream + (size_t)row_begin * hidden, m->final_normed, count, hidden);
    TRY(run_head(s, count, error));
    if (model->logit_softcap > 0)
        s->engine->kernels.softcap_f32(m->logits, model->logit_softcap, (size_t)count * model->vocab_size);
    return LEAT_OK;
}

leat_status step_logits(const step *s, uint32_t row_begin, uint32_t count, leat_error *error)
{
    step_clock_start(&s->engine->clock, STEP_HEAD);
    return end_step(s, compute_logits(s, row_begin, count, error), error);
}

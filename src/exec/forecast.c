#include "exec/forecast.h"

#include "base/bytes.h"
#include "os/clock.h"
#include "os/thread_pool.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Estimates for where nothing was learned yet, fitted to nothing: experts are mostly read while nothing is computed,
 * parts of a layer's few experts do not fill the drive's queue, and a token of a prompt shares each weight with others.
 * docs/forecast.md says what a forecast rests on, and docs/measurements/forecast.md how far off they were. */
static const double default_exposed = 0.85, default_expert_rate = 0.6, default_prefill_share = 0.4,
                    default_prefill_overlap = 0.5;
/* Attention, norms and waking threads, over the products alone. */
static const double calibration_overhead = 1.35;

/* ---- arithmetic ---- */

typedef struct weight_sum {
    const model_desc *model;
    uint64_t active_bytes, most_bytes;
    matrix_shape most; /* the shape of the weight with the most bytes at work */
} weight_sum;

static void add_weight(void *user, const weight *w, bool is_expert_stack, weight_place place)
{
    weight_sum *sum = user;
    uint64_t bytes = weight_bytes(w);

    if (place == WEIGHT_ROWS && !is_expert_stack) return;
    if (is_expert_stack) bytes = bytes / w->stack_count * sum->model->expert_used_count;
    sum->active_bytes += bytes;
    if (bytes <= sum->most_bytes) return;
    sum->most_bytes = bytes;
    sum->most = w->shape;
}

static weight_sum sum_weights(const model_desc *model)
{
    weight_sum sum = {.model = model};
    model_each_weight(model, add_weight, &sum);
    return sum;
}

uint64_t forecast_active_bytes(const model_desc *model) { return sum_weights(model).active_bytes; }

enum { CALIBRATION_BYTES = 64 << 20, CALIBRATION_ROUNDS = 3, TASKS = 64 };

typedef struct calibration {
    matmul_fn *multiply;
    matrix w;
    const float *x;
    float *y;
} calibration;

static void multiply_part(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    const calibration *c = context;
    const uint64_t rows = div_up(c->w.shape.rows, TASKS), begin = min_u64(rows * task_idx, c->w.shape.rows);

    (void)thread_idx;
    if (begin < c->w.shape.rows)
        c->multiply(&c->w, begin, min_u64(begin + rows, c->w.shape.rows), c->x, c->w.shape.cols, 1, c->y,
                    c->w.shape.rows);
}

/* The best of a few rounds: what is slower was somebody else's doing. */
static uint64_t time_rounds(thread_pool *threads, calibration *c)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < CALIBRATION_ROUNDS; i++) {
        const uint64_t begin_ns = clock_now_ns();
        thread_pool_run(threads, multiply_part, c, TASKS);
        best = min_u64(best, clock_now_ns() - begin_ns);
    }
    return best;
}

leat_status forecast_calibrate(mem *ledger, const model_desc *model, isa level, uint32_t thread_count,
                               double *out_compute_s, leat_error *error)
{
    leat_status status = LEAT_OK;
    weight_sum sum = sum_weights(model);
    matrix_shape shape = sum.most;
    thread_pool *threads = NULL;
    uint8_t *bytes = NULL;
    float *x = NULL, *y = NULL;
    kernel_table kernels;

    if (sum.most_bytes == 0) return FAIL(error, MODEL, "the model has no matrix");
    const uint64_t data_row = quant_data_row_bytes(&shape), scale_row = quant_scale_row_bytes(&shape);
    shape.rows = max_u64(TASKS, CALIBRATION_BYTES / (data_row + 2 * scale_row));
    const uint64_t total = shape.rows * (data_row + 2 * scale_row);
    kernel_init(&kernels, level);
    TRY_OR(done, thread_pool_open(ledger, thread_count, &threads, error));
    TRY_OR(done, mem_alloc(ledger, MEM_SCRATCH, total, 1, 64, "matrix of a calibration", (void **)&bytes, error));
    TRY_OR(done, MEM_NEW(ledger, SCRATCH, shape.cols, &x, error));
    TRY_OR(done, MEM_NEW(ledger, SCRATCH, shape.rows, &y, error));
    memset(bytes, 1, total); /* pages that nobody wrote to are all the same one */
    calibration c = {.multiply = kernels.matmul[shape.type], .x = x, .y = y};
    c.w = (matrix){.shape = shape,
                   .data = bytes,
                   .scales = bytes + shape.rows * data_row,
                   .offsets = bytes + shape.rows * (data_row + scale_row),
                   .global_scale = 1};
    const double seconds = (double)time_rounds(threads, &c) * 1e-9;
    *out_compute_s = seconds * (double)sum.active_bytes / (double)total * calibration_overhead;
done:
    mem_free(ledger, y);
    mem_free(ledger, x);
    mem_free(ledger, bytes);
    thread_pool_close(&threads);
    return status;
}

/* ---- what is known ---- */

static uint64_t record_bytes(const model_desc *m)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        const block *b = layer_block(&m->layers[i], BLOCK_MOE);
        if (b)
            sum += (weight_bytes(&b->moe.gate) + weight_bytes(&b->moe.up) + weight_bytes(&b->moe.down)) /
                   b->moe.expert_count;
    }
    return m->moe_layer_count ? sum / m->moe_layer_count : 0;
}

/* A run that had to wait for streamed layers was as fast as the disk: bytes over all of its time. */
static double reached_rate(const profile_phase *d)
{
    const double all_s = d->compute_s + d->expert_wait_s + d->stream_wait_s;
    return d->stream_wait_s > 0.1 * all_s ? d->read_bytes / all_s : 0;
}

static void take_waiting(forecast_basis *b, const model_profile *p)
{
    const double rate = reached_rate(&p->decode), tokens = p->decode.token_count;
    /* A few late reads say nothing about many. */
    if (p->decode.expert_bytes > tokens * (double)b->record_bytes) {
        b->wait_per_byte = p->decode.expert_wait_s / p->decode.expert_bytes;
        b->io = SOURCE_PROFILE;
    }
    if (p->prefill.expert_bytes > 0) b->prefill_wait_per_byte = p->prefill.expert_wait_s / p->prefill.expert_bytes;
    if (!(rate > 0)) return;
    b->rate = rate;
    b->io = SOURCE_PROFILE;
}

forecast_basis forecast_basis_make(const model_desc *model, const model_profile *p, const profile_place *place,
                                   const drive_rates *drive, double calibrated_s)
{
    forecast_basis b = {.model = model,
                        .profile = p,
                        .record_bytes = record_bytes(model),
                        .rate = drive->record,
                        .compute_s = calibrated_s,
                        .prefill_compute_s = calibrated_s * default_prefill_share,
                        .io = drive->record > 0 ? SOURCE_CALIBRATION : SOURCE_NONE,
                        .compute = calibrated_s > 0 ? SOURCE_CALIBRATION : SOURCE_NONE,
                        .hit = p->sample_count >= PROFILE_TOKENS_MIN ? SOURCE_PROFILE : SOURCE_DEFAULT};
    if (drive->part > 0) b.wait_per_byte = default_exposed / (drive->part * default_expert_rate);
    if (p->decode.token_count >= 1 && model_profile_knows_place(p, place, false)) {
        b.compute_s = p->decode.compute_s / p->decode.token_count;
        b.prefill_compute_s = b.compute_s * default_prefill_share;
        b.compute = SOURCE_PROFILE;
        /* Short prompts share little. */
        if (p->prefill.token_count >= 64 * p->prefill.step_count && p->prefill.step_count > 0)
            b.prefill_compute_s = p->prefill.compute_s / p->prefill.token_count;
        if (model_profile_knows_place(p, place, true)) take_waiting(&b, p);
    }
    return b;
}

/* ---- hits ---- */

double forecast_default_hit_rate(double resident)
{
    static const double curve[][2] = {{0, 0},        {0.03125, 0.24}, {0.0625, 0.37}, {0.125, 0.52}, {0.25, 0.68},
                                      {0.375, 0.78}, {0.5, 0.846},    {0.75, 0.94},   {1, 1}};
    for (size_t i = 1; i < ARRAY_COUNT(curve); i++) {
        if (resident > curve[i][0]) continue;
        const double part = (resident - curve[i - 1][0]) / (curve[i][0] - curve[i - 1][0]);
        return curve[i - 1][1] + part * (curve[i][1] - curve[i - 1][1]);
    }
    return 1;
}

static leat_status find_hit_rate(const forecast_basis *b, const plan *p, cache_policy policy, uint32_t warm_count,
                                 uint32_t count, double *out_rate, leat_error *error)
{
    const bool is_long = warm_count == 0 && count == 0;

    *out_rate = 1;
    if (b->model->moe_layer_count == 0) return LEAT_OK;
    if (is_long && p->expert_slot_count >= p->expert_slot_max) return LEAT_OK;
    if (b->hit != SOURCE_PROFILE) {
        *out_rate = forecast_default_hit_rate((double)p->expert_slot_count / (double)p->expert_slot_max);
        return LEAT_OK;
    }
    const uint32_t half = b->profile->sample_count / 2;
    return model_profile_hit_rate(b->profile, p->expert_slot_count, policy, is_long ? half : warm_count,
                                  is_long ? half : count, out_rate, error);
}

/* ---- forecasts ---- */

/* Experts that a chunk uses: with even use where nothing is known. */
static double touched(const forecast_basis *b, uint32_t token_count)
{
    const model_desc *m = b->model;
    if (m->moe_layer_count == 0) return 0;
    const double known = model_profile_touched(b->profile, token_count);
    if (known > 0) return known;
    const double one = (double)m->expert_used_count / m->expert_count;
    return (double)m->moe_layer_count * m->expert_count * (1 - pow(1 - one, token_count));
}

/* From an empty expert cache. A later chunk finds what has a place. */
static void forecast_prompt(const forecast_basis *b, const plan *p, forecast *f)
{
    const uint32_t tokens = (uint32_t)min_u64(FORECAST_PROMPT_TOKENS, p->ctx);
    const uint32_t chunk = (uint32_t)min_u64(tokens, p->prefill_chunk), chunks = (uint32_t)div_up(tokens, chunk);
    const double absent = p->expert_slot_max ? 1 - (double)p->expert_slot_count / p->expert_slot_max : 0;
    const double experts = touched(b, chunk) * (1 + (chunks - 1) * absent) * (double)b->record_bytes;
    const double compute_s = tokens * b->prefill_compute_s;

    f->prompt_bytes = (double)chunks * (double)p->streamed_bytes + experts;
    const double io_s = b->rate > 0 ? f->prompt_bytes / b->rate : 0;
    if (b->prefill_wait_per_byte > 0)
        f->prompt_s = fmax(io_s, compute_s + experts * b->prefill_wait_per_byte);
    else
        f->prompt_s = fmax(io_s, compute_s) + (1 - default_prefill_overlap) * fmin(io_s, compute_s);
}

leat_status forecast_make(const forecast_basis *b, const plan *p, cache_policy policy, uint32_t warm_count,
                          uint32_t count, forecast *out, leat_error *error)
{
    forecast f = {.compute_s = b->compute_s};
    const double used = (double)b->model->moe_layer_count * b->model->expert_used_count;

    TRY(find_hit_rate(b, p, policy, warm_count, count, &f.hit_rate, error));
    const double missed = used * (1 - f.hit_rate) * (double)b->record_bytes;
    f.token_bytes = missed + (double)p->streamed_bytes;
    f.io_s = b->rate > 0 ? f.token_bytes / b->rate : 0;
    f.wait_s = missed * b->wait_per_byte;
    const bool is_known = b->compute_s > 0 && (f.token_bytes < 1 || b->rate > 0 || b->wait_per_byte > 0);
    if (is_known) {
        f.token_s = fmax(f.io_s, f.compute_s + f.wait_s);
        forecast_prompt(b, p, &f);
    }
    *out = f;
    return LEAT_OK;
}

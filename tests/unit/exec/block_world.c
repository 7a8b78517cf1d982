#include "block_world.h"

#include "support/unit.h"

#include <math.h>

/* ---- the world ---- */

void world_init(block_world *w, uint32_t hidden, uint64_t seed)
{
    *w = (block_world){.file_name = "experts.bin"};
    prng_init(&w->dice, seed);
    w->ledger = open_ledger(0);
    w->model.hidden_size = hidden;
    w->model.vocab_size = 1;
    w->model.norm_eps = 1e-6f;
    w->model.layer_count = 1;
    w->model.layers = w->layers;
    w->model.weights = w->weights;
    w->model.embedding = w->model.head = NO_ID;
    w->layers[0] = (layer){.residual_count = 1, .output_scale = NO_ID};
    w->layers[0].residuals[0].branch_count = 1;
}

void world_random(block_world *w, float *out, uint64_t count, float scale)
{
    for (uint64_t i = 0; i < count; i++) out[i] = ((float)prng_below(&w->dice, 1 << 20) / (float)(1 << 19) - 1) * scale;
}

weight_id world_weight(block_world *w, uint64_t rows, uint64_t cols)
{
    const weight_id id = w->model.weight_count++;
    assert_in_range(id, 0, WORLD_WEIGHTS_MAX - 1);
    float *floats = malloc(rows * cols * sizeof *floats);
    assert_non_null(floats);
    world_random(w, floats, rows * cols, 1.0f / sqrtf((float)cols) * 1.7f);
    const matrix_shape shape = {.type = QUANT_F32, .rows = rows, .cols = cols};
    w->weights[id] = (weight){.name = "weight", .shape = shape, .stack_count = 1};
    w->matrices[id] = (matrix){.shape = shape, .data = (const uint8_t *)floats};
    return id;
}

float *world_weight_floats(block_world *w, weight_id id) { return (float *)(uintptr_t)w->matrices[id].data; }

vector_id world_vector(block_world *w, uint64_t count)
{
    const vector_id id = w->model.vector_count++;
    assert_in_range(id, 0, WORLD_VECTORS_MAX - 1);
    w->vectors[id] = malloc(count * sizeof(float));
    assert_non_null(w->vectors[id]);
    world_random(w, w->vectors[id], count, 1);
    w->vector_counts[id] = count;
    return id;
}

moe_block *world_add_experts(block_world *w, uint32_t expert_count, uint32_t used_count, uint32_t width)
{
    const uint32_t hidden = w->model.hidden_size;
    const uint64_t floats = (uint64_t)width * hidden;
    block *b = &w->layers[0].residuals[0].branches[0].block;
    moe_block *moe = &b->moe;

    *b = (block){.kind = BLOCK_MOE};
    moe->expert_count = expert_count;
    moe->used_count = used_count;
    moe->width = width;
    moe->router_scale = moe->expert_scale = NO_ID;
    moe->router_factor = 1;
    moe->renormalise = true;
    moe->router = world_weight(w, expert_count, hidden);
    w->model.moe_layer_count = 1;
    w->model.expert_count = expert_count;
    w->model.expert_used_count = used_count;
    w->expert_floats = 3 * floats;
    w->experts = malloc(expert_count * w->expert_floats * sizeof(float));
    w->parts = calloc(3 * (size_t)expert_count, sizeof *w->parts);
    assert_non_null(w->experts);
    assert_non_null(w->parts);
    world_random(w, w->experts, expert_count * w->expert_floats, 0.4f);
    weight *stacks[3] = {&moe->gate, &moe->up, &moe->down};
    for (uint32_t which = 0; which < 3; which++) {
        *stacks[which] =
            (weight){.name = "experts", .stack_count = expert_count, .parts = w->parts + which * expert_count};
        stacks[which]->shape =
            (matrix_shape){.type = QUANT_F32, .rows = which < 2 ? width : hidden, .cols = which < 2 ? hidden : width};
        for (uint32_t e = 0; e < expert_count; e++)
            stacks[which]->parts[e][PART_DATA] =
                (weight_part){0, (e * w->expert_floats + which * floats) * sizeof(float), floats * sizeof(float)};
    }
    return moe;
}

const float *world_expert(const block_world *w, uint32_t expert, uint32_t which)
{
    return w->experts + expert * w->expert_floats + which * (w->expert_floats / 3);
}

static void start_experts(block_world *w, uint32_t slot_count)
{
    engine *e = &w->engine;
    leat_error error = {0};

    w->file = (file){.fd = -1,
                     .offset_align = WORLD_FILE_ALIGN,
                     .memory_align = WORLD_FILE_ALIGN,
                     .bytes = w->model.expert_count * w->expert_floats * sizeof(float)};
    w->contents[0] = (const uint8_t *)w->experts;
    e->file_set = (file_set){&w->file, &w->file_name, 1};
    const storage_sim_config sim = {.seed = 7, .latency_ns_min = 1000, .latency_ns_max = 90000};
    e->reads = storage_sim_open(&e->file_set, w->contents, &sim);
    assert_ok(expert_records_open(w->ledger, &w->model, &e->records, &error), &error);
    const plan_request request = {.model = &w->model, .files = &e->file_set, .experts = &e->records};
    const expert_cache_config config = plan_cache_config(&request, slot_count);
    e->plan.expert_set_max = config.set_max;
    assert_ok(expert_cache_open(w->ledger, &config, &e->file_set, e->reads, &e->experts, &error), &error);
}

void world_start(block_world *w, uint32_t thread_count, uint32_t row_max, uint32_t ctx, uint32_t slot_count)
{
    engine *e = &w->engine;
    kv_layer_shape shapes[LAYERS_MAX];
    leat_error error = {0};

    w->trunk = (trunk){.matrices = w->matrices, .vectors = w->vectors, .global_scales = (float **)w->global_scales};
    *e = (engine){.model = &w->model, .ledger = w->ledger, .trunk = &w->trunk};
    e->plan.ctx = ctx;
    e->plan.prefill_chunk = row_max;
    e->plan.thread_count = thread_count;
    kernel_init(&e->kernels, kernel_isa_best());
    assert_ok(thread_pool_open(w->ledger, thread_count, &e->threads, &error), &error);
    for (uint32_t i = 0; i < w->model.rope_count; i++)
        assert_ok(rope_table_open(w->ledger, &w->model.ropes[i], &e->ropes[i], &error), &error);
    plan_kv_shapes(&w->model, shapes);
    assert_ok(kv_cache_open(w->ledger, shapes, w->model.layer_count, ctx, row_max, &e->kv, &error), &error);
    assert_ok(scratch_open(w->ledger, &w->model, row_max, thread_count, &e->scratch, &error), &error);
    if (slot_count) start_experts(w, slot_count);
    w->rows = calloc(row_max, sizeof *w->rows);
    assert_non_null(w->rows);
}

step world_step(block_world *w, uint32_t begin, uint32_t count)
{
    const scratch *m = &w->engine.scratch;

    for (uint32_t i = 0; i < count; i++) w->rows[i] = (step_row){begin + i, 0};
    for (uint32_t r = 0; r < w->model.rope_count; r++)
        for (uint32_t i = 0; i < count; i++) {
            const size_t at = ((size_t)r * count + i) * m->rope_stride;
            rope_table_angles(&w->engine.ropes[r], begin + i, m->cosines + at, m->sines + at);
        }
    return (step){.engine = &w->engine, .rows = w->rows, .row_count = count};
}

void world_stop(block_world *w)
{
    engine *e = &w->engine;

    scratch_close(&e->scratch);
    kv_cache_close(&e->kv);
    expert_cache_close(&e->experts);
    expert_records_close(&e->records);
    if (e->reads) {
        assert_int_equal(storage_sim_pending_count(e->reads), 0);
        e->reads->ops->close(&e->reads);
    }
    for (uint32_t i = 0; i < ROPES_MAX; i++) rope_table_close(&e->ropes[i]);
    thread_pool_close(&e->threads);
    free(w->rows);
    w->rows = NULL;
}

void world_close(block_world *w)
{
    world_stop(w);
    for (uint32_t i = 0; i < w->model.weight_count; i++) free(world_weight_floats(w, i));
    for (uint32_t i = 0; i < w->model.vector_count; i++) free(w->vectors[i]);
    free(w->experts);
    free(w->parts);
    close_empty_ledger(w->ledger);
}

/* ---- plain arithmetic ---- */

void plain_product(const float *w, uint64_t rows, uint64_t cols, const double *x, double *y)
{
    for (uint64_t r = 0; r < rows; r++) {
        y[r] = 0;
        for (uint64_t c = 0; c < cols; c++) y[r] += (double)w[r * cols + c] * x[c];
    }
}

void plain_norm(double *x, uint64_t count, const float *weights, double eps)
{
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += x[i] * x[i];
    const double factor = 1 / sqrt(sum / (double)count + eps);
    for (uint64_t i = 0; i < count; i++) x[i] *= factor * (weights ? (double)weights[i] : 1);
}

double plain_silu(double x) { return x / (1 + exp(-x)); }

double plain_gelu_tanh(double x) { return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))); }

void plain_add(double *y, const float *bias, uint64_t count)
{
    for (uint64_t i = 0; bias && i < count; i++) y[i] += (double)bias[i];
}

double *to_double(const float *x, uint64_t count)
{
    double *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (uint64_t i = 0; i < count; i++) out[i] = (double)x[i];
    return out;
}

void assert_close(const float *got, const double *expected, uint64_t count, double tolerance, const char *what)
{
    double largest = 0;
    for (uint64_t i = 0; i < count; i++) largest = fmax(largest, fabs(expected[i]));
    for (uint64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - expected[i]) <= tolerance * largest))
            fail_msg("%s: number %llu is %.9g, expected %.9g (largest %.3g)", what, (unsigned long long)i,
                     (double)got[i], expected[i], largest);
}

void assert_same_bits(const float *a, const float *b, uint64_t count, const char *what)
{
    for (uint64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: number %llu is %.9g in one and %.9g in the other", what, (unsigned long long)i, (double)a[i],
                     (double)b[i]);
}

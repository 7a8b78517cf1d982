/*
 * Grouped-query attention against its formula in double precision: heads of every grouping, windows at the edges of a
 * block of keys, and the same bits for every chunk size and thread count.
 */
#include "block_world.h"
#include "support/unit.h"

#include <math.h>

enum { HIDDEN = 21 };

typedef struct shape {
    uint32_t head_count, kv_head_count, head_dim, window;
    bool v_is_raw_k, v_has_norm, biases, head_norms, rope;
    float score_scale;
} shape;

/* ---- the block under test ---- */

static attention_block *build(block_world *w, const shape *s, uint64_t seed)
{
    const uint32_t q_width = s->head_count * s->head_dim, kv_width = s->kv_head_count * s->head_dim;

    world_init(w, HIDDEN, seed);
    block *b = &w->layers[0].residuals[0].branches[0].block;
    *b = (block){.kind = BLOCK_ATTENTION};
    attention_block *a = &b->attention;
    *a = (attention_block){.head_count = s->head_count,
                           .kv_head_count = s->kv_head_count,
                           .head_dim = s->head_dim,
                           .window = s->window,
                           .score_scale = s->score_scale,
                           .owns_kv = true,
                           .v_is_raw_k = s->v_is_raw_k,
                           .v_has_norm = s->v_has_norm,
                           .q_bias = NO_ID,
                           .k_bias = NO_ID,
                           .v_bias = NO_ID,
                           .o_bias = NO_ID,
                           .q_norm = NO_ID,
                           .k_norm = NO_ID,
                           .v = NO_ID};
    a->q = world_weight(w, q_width, HIDDEN);
    a->k = world_weight(w, kv_width, HIDDEN);
    if (!s->v_is_raw_k) a->v = world_weight(w, kv_width, HIDDEN);
    a->o = world_weight(w, HIDDEN, q_width);
    if (s->biases) {
        a->q_bias = world_vector(w, q_width);
        a->k_bias = world_vector(w, kv_width);
        if (!s->v_is_raw_k) a->v_bias = world_vector(w, kv_width);
        a->o_bias = world_vector(w, HIDDEN);
    }
    if (s->head_norms) {
        a->q_norm = world_vector(w, s->head_dim);
        a->k_norm = world_vector(w, s->head_dim);
    }
    w->model.rope_count = 1;
    w->model.ropes[0] = (rope_desc){.kind = ROPE_DEFAULT,
                                    .head_dim = s->head_dim,
                                    .theta = 100,
                                    .factor = 1,
                                    .rotated_dims = s->rope ? s->head_dim : 0};
    return a;
}

/* All tokens in chunks; y: (token_count, HIDDEN). */
static void run_in_chunks(block_world *w, const attention_block *a, const float *x, uint32_t token_count,
                          uint32_t chunk, float *y)
{
    for (uint32_t begin = 0; begin < token_count;) {
        const uint32_t count = begin + chunk > token_count ? token_count - begin : chunk;
        kv_cache_extend(w->engine.kv, count);
        const step s = world_step(w, begin, count);
        run_attention(&s, 0, a, x + (size_t)begin * HIDDEN, y + (size_t)begin * HIDDEN);
        begin += count;
    }
}

/* ---- the formula ---- */

static void turn(double *head, uint32_t dim, uint32_t position)
{
    const uint32_t half = dim / 2;

    for (uint32_t i = 0; i < half; i++) {
        const double angle = position * pow(100, -2.0 * i / dim), c = cos(angle), s = sin(angle);
        const double low = head[i], high = head[i + half];
        head[i] = low * c - high * s;
        head[i + half] = high * c + low * s;
    }
}

static void finish(const block_world *w, const shape *s, vector_id norm, double *heads, uint32_t count,
                   uint32_t position)
{
    for (uint32_t h = 0; h < count; h++) {
        if (norm != NO_ID) plain_norm(heads + h * s->head_dim, s->head_dim, w->vectors[norm], 1e-6);
        if (s->rope) turn(heads + h * s->head_dim, s->head_dim, position);
    }
}

static void project_plain(const block_world *w, weight_id id, vector_id bias, const double *x, double *y)
{
    const matrix *m = &w->matrices[id];
    plain_product((const float *)m->data, m->shape.rows, m->shape.cols, x, y);
    if (bias != NO_ID) plain_add(y, w->vectors[bias], m->shape.rows);
}

static void attend_plain(const shape *s, const double *q, const double *keys, const double *values, uint32_t position,
                         uint32_t head, double *out)
{
    const uint32_t dim = s->head_dim, kv_width = s->kv_head_count * dim,
                   kv_head = head * s->kv_head_count / s->head_count;
    const uint32_t begin = s->window && position + 1 > s->window ? position + 1 - s->window : 0;
    double *weights = malloc((position + 1) * sizeof *weights), most = -1e300, sum = 0;

    for (uint32_t p = begin; p <= position; p++) {
        weights[p] = 0;
        for (uint32_t d = 0; d < dim; d++) weights[p] += q[d] * keys[(size_t)p * kv_width + kv_head * dim + d];
        weights[p] *= (double)s->score_scale;
        most = fmax(most, weights[p]);
    }
    memset(out, 0, dim * sizeof *out);
    for (uint32_t p = begin; p <= position; p++) {
        const double e = exp(weights[p] - most);
        sum += e;
        for (uint32_t d = 0; d < dim; d++) out[d] += e * values[(size_t)p * kv_width + kv_head * dim + d];
    }
    for (uint32_t d = 0; d < dim; d++) out[d] /= sum;
    free(weights);
}

/* y: (token_count, HIDDEN). */
static void run_plain(const block_world *w, const attention_block *a, const shape *s, const float *x,
                      uint32_t token_count, double *y)
{
    const uint32_t dim = s->head_dim, q_width = s->head_count * dim, kv_width = s->kv_head_count * dim;
    double *keys = malloc(token_count * kv_width * sizeof *keys),
           *values = malloc(token_count * kv_width * sizeof *values);
    double *q = malloc(q_width * sizeof *q), *attended = malloc(q_width * sizeof *attended);

    for (uint32_t t = 0; t < token_count; t++) {
        double *in = to_double(x + (size_t)t * HIDDEN, HIDDEN), *k = keys + t * kv_width, *v = values + t * kv_width;
        project_plain(w, a->k, a->k_bias, in, k);
        if (s->v_is_raw_k)
            memcpy(v, k, kv_width * sizeof *v);
        else
            project_plain(w, a->v, a->v_bias, in, v);
        for (uint32_t h = 0; s->v_has_norm && h < s->kv_head_count; h++) plain_norm(v + h * dim, dim, NULL, 1e-6);
        finish(w, s, a->k_norm, k, s->kv_head_count, t);
        project_plain(w, a->q, a->q_bias, in, q);
        finish(w, s, a->q_norm, q, s->head_count, t);
        for (uint32_t h = 0; h < s->head_count; h++)
            attend_plain(s, q + h * dim, keys, values, t, h, attended + h * dim);
        project_plain(w, a->o, a->o_bias, attended, y + (size_t)t * HIDDEN);
        free(in);
    }
    free(keys);
    free(values);
    free(q);
    free(attended);
}

/* ---- comparing ---- */

/* Every chunk size and thread count gives the bits of the first, and those are close to the formula. */
static void check_shape_within(const shape *s, uint32_t token_count, double tolerance)
{
    static const struct {
        uint32_t chunk, threads;
    } ways[] = {{1, 1}, {200, 1}, {3, 2}, {7, 3}, {64, 4}, {65, 2}, {1, 4}};
    block_world w;
    const attention_block *a = build(&w, s, 11);
    float *x = malloc(token_count * HIDDEN * sizeof *x), *y = malloc(token_count * HIDDEN * sizeof *y),
          *first = malloc(token_count * HIDDEN * sizeof *first);
    double *expected = malloc(token_count * HIDDEN * sizeof *expected);

    world_random(&w, x, token_count * HIDDEN, 1);
    run_plain(&w, a, s, x, token_count, expected);
    for (uint32_t i = 0; i < ARRAY_COUNT(ways); i++) {
        world_start(&w, ways[i].threads, ways[i].chunk, token_count, 0);
        run_in_chunks(&w, a, x, token_count, ways[i].chunk, i ? y : first);
        if (i) assert_same_bits(y, first, token_count * HIDDEN, "attention in other chunks");
        world_stop(&w);
    }
    assert_close(first, expected, token_count * HIDDEN, tolerance, "attention");
    free(x);
    free(y);
    free(first);
    free(expected);
    world_close(&w);
}

static void check_shape(const shape *s, uint32_t token_count) { check_shape_within(s, token_count, 2e-5); }

static void test_groups_of_heads(void **state)
{
    static const struct {
        uint32_t heads, kv_heads, dim;
    } groups[] = {{1, 1, 2}, {6, 2, 10}, {9, 3, 6}, {12, 1, 8}, {11, 1, 4}, {5, 5, 34}, {16, 1, 12}, {18, 2, 4}};

    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(groups); i++) {
        const shape s = {.head_count = groups[i].heads,
                         .kv_head_count = groups[i].kv_heads,
                         .head_dim = groups[i].dim,
                         .rope = true,
                         .score_scale = 0.7f};
        check_shape(&s, 70);
    }
}

static void test_windows_at_the_edges_of_a_block(void **state)
{
    static const uint32_t windows[] = {1, 2, 63, 64, 65, 127, 128, 129, 200, 201, UINT32_MAX};

    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(windows); i++) {
        const shape s = {
            .head_count = 2, .kv_head_count = 1, .head_dim = 6, .window = windows[i], .rope = true, .score_scale = 1};
        check_shape(&s, 200);
    }
}

static void test_one_token(void **state)
{
    const shape s = {.head_count = 3, .kv_head_count = 3, .head_dim = 4, .rope = true, .score_scale = 1};
    const shape narrow = {.head_count = 3, .kv_head_count = 1, .head_dim = 4, .window = 1, .score_scale = 1};

    (void)state;
    check_shape(&s, 1);
    check_shape(&narrow, 1);
}

static void test_norms_biases_and_raw_values(void **state)
{
    const shape norms = {.head_count = 4,
                         .kv_head_count = 2,
                         .head_dim = 8,
                         .head_norms = true,
                         .v_has_norm = true,
                         .rope = true,
                         .score_scale = 1};
    const shape raw = {.head_count = 4,
                       .kv_head_count = 2,
                       .head_dim = 8,
                       .v_is_raw_k = true,
                       .v_has_norm = true,
                       .head_norms = true,
                       .biases = true,
                       .rope = true,
                       .score_scale = 0.35f};
    const shape biased = {
        .head_count = 4, .kv_head_count = 4, .head_dim = 6, .biases = true, .window = 9, .score_scale = 0.4f};

    (void)state;
    check_shape(&norms, 80);
    check_shape(&raw, 80);
    check_shape(&biased, 80);
}

/* Scores so far apart that all weights but one vanish must not become NaN, in whichever block the largest is. A score
 * of some thousands has an error of some 1e-4 in single precision, and so have the weights. */
static void test_extreme_scores(void **state)
{
    const shape s = {.head_count = 2, .kv_head_count = 1, .head_dim = 4, .score_scale = 3000};

    (void)state;
    check_shape_within(&s, 150, 1e-3);
}

/* A layer that owns no keys reads another's. */
static void test_shared_keys(void **state)
{
    enum { TOKENS = 70 };
    const shape s = {
        .head_count = 4, .kv_head_count = 2, .head_dim = 6, .window = 65, .rope = true, .score_scale = 0.5f};
    float x[TOKENS * HIDDEN], y[TOKENS * HIDDEN], shared_y[TOKENS * HIDDEN];
    block_world w;

    (void)state;
    const attention_block *a = build(&w, &s, 12);
    w.model.layer_count = 2;
    w.layers[1] = w.layers[0];
    attention_block *sharing = &w.layers[1].residuals[0].branches[0].block.attention;
    sharing->owns_kv = false;
    sharing->kv_layer = 0;
    sharing->k = sharing->v = NO_ID;
    world_start(&w, 2, TOKENS, TOKENS, 0);
    world_random(&w, x, TOKENS * HIDDEN, 1);
    kv_cache_extend(w.engine.kv, TOKENS);
    const step both = world_step(&w, 0, TOKENS);
    run_attention(&both, 0, a, x, y);
    run_attention(&both, 1, sharing, x, shared_y);
    assert_same_bits(y, shared_y, TOKENS * HIDDEN, "the same queries over shared keys");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_of_heads), cmocka_unit_test(test_windows_at_the_edges_of_a_block),
        cmocka_unit_test(test_one_token),       cmocka_unit_test(test_norms_biases_and_raw_values),
        cmocka_unit_test(test_extreme_scores),  cmocka_unit_test(test_shared_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

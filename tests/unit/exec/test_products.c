/*
 * The loops that blocks share, and the feed-forward block: every split of the work gives the bits of the whole, and the
 * block is what its formula says in double precision.
 */
#include "block_world.h"
#include "support/unit.h"

enum { HIDDEN = 37, TOKENS = 5, GUARD = 3 };

static const float GUARD_VALUE = -12345;

/* ---- products ---- */

/* y of every product is followed by floats that must not change. */
static float *guarded(uint64_t count)
{
    float *y = malloc((count + GUARD) * sizeof *y);
    assert_non_null(y);
    for (uint64_t i = 0; i < count + GUARD; i++) y[i] = GUARD_VALUE;
    return y;
}

static void check_guard(const float *y, uint64_t count)
{
    for (uint64_t i = 0; i < GUARD; i++) assert_true(y[count + i] == GUARD_VALUE);
}

/* The widths and heights of a call, smallest and largest apart, so that tasks of one and of many rows meet. */
static void run_uneven_products(uint32_t thread_count, uint32_t token_count)
{
    static const uint64_t rows[] = {1, 15, 16, 17, 4099, 3, 640, 1, 33};
    static const uint64_t cols[] = {1, 64, 37, 500, 21, 4097, 130, 1000, 32};
    enum { COUNT = ARRAY_COUNT(rows) };
    product products[COUNT];
    float *x[COUNT];
    block_world w;

    world_init(&w, HIDDEN, 3);
    for (uint32_t i = 0; i < COUNT; i++) world_weight(&w, rows[i], cols[i]);
    world_start(&w, thread_count, TOKENS, 64, 0);
    const step s = world_step(&w, 0, 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        const size_t stride = cols[i] + 2;
        x[i] = malloc(token_count * stride * sizeof(float));
        world_random(&w, x[i], token_count * stride, 1);
        products[i] = (product){.w = step_matrix(&s, i),
                                .x = x[i],
                                .x_stride = stride,
                                .token_count = token_count,
                                .y = guarded(token_count * (rows[i] + 1)),
                                .y_stride = rows[i] + 1};
    }
    run_products(&s, products, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint64_t y_count = token_count * (rows[i] + 1);
        float *whole = guarded(y_count);
        double *expected = malloc(rows[i] * sizeof *expected);
        w.engine.kernels.matmul[QUANT_F32](products[i].w, 0, rows[i], x[i], cols[i] + 2, token_count, whole,
                                           rows[i] + 1);
        assert_same_bits(products[i].y, whole, y_count + GUARD, "a product split into tasks");
        check_guard(products[i].y, y_count);
        for (uint32_t t = 0; t < token_count; t++) {
            double *row = to_double(x[i] + t * (cols[i] + 2), cols[i]);
            plain_product(world_weight_floats(&w, i), rows[i], cols[i], row, expected);
            assert_close(products[i].y + t * (rows[i] + 1), expected, rows[i], 2e-5, "a product");
            assert_true(products[i].y[t * (rows[i] + 1) + rows[i]] == GUARD_VALUE); /* between tokens */
            free(row);
        }
        free(expected);
        free(whole);
        free(products[i].y);
        free(x[i]);
    }
    world_close(&w);
}

static void test_products_of_uneven_sizes_side_by_side(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        run_uneven_products(threads, 1);
        run_uneven_products(threads, TOKENS);
    }
}

/* As many as a call may name, each small enough to be one task. */
static void test_the_most_products_of_one_call(void **state)
{
    product products[PRODUCTS_MAX];
    float y[PRODUCTS_MAX][2], x[HIDDEN];
    block_world w;

    (void)state;
    world_init(&w, HIDDEN, 4);
    for (uint32_t i = 0; i < 16; i++) world_weight(&w, 2, HIDDEN);
    world_start(&w, 3, 1, 64, 0);
    const step s = world_step(&w, 0, 1);
    world_random(&w, x, HIDDEN, 1);
    double *wide = to_double(x, HIDDEN);
    for (uint32_t i = 0; i < PRODUCTS_MAX; i++)
        products[i] = (product){
            .w = step_matrix(&s, i % 16), .x = x, .x_stride = HIDDEN, .token_count = 1, .y = y[i], .y_stride = 2};
    run_products(&s, products, PRODUCTS_MAX);
    for (uint32_t i = 0; i < PRODUCTS_MAX; i++) {
        double expected[2];
        plain_product(world_weight_floats(&w, i % 16), 2, HIDDEN, wide, expected);
        assert_close(y[i], expected, 2, 1e-5, "one of the most products");
    }
    free(wide);
    world_close(&w);
}

/* ---- norms, biases, activations ---- */

static void test_norm_of_rows(void **state)
{
    enum { WIDTH = 67, ROWS = 9 };
    float x[ROWS * WIDTH], y[ROWS * WIDTH];
    block_world w;

    (void)state;
    world_init(&w, HIDDEN, 5);
    const vector_id weights = world_vector(&w, WIDTH);
    world_start(&w, 3, 1, 64, 0);
    const step s = world_step(&w, 0, 1);
    for (int with_weights = 0; with_weights < 2; with_weights++) {
        world_random(&w, x, ROWS * WIDTH, 3);
        memset(x + 2 * WIDTH, 0, WIDTH * sizeof *x); /* only epsilon stands between this row and a division by zero */
        run_norm(&s, with_weights ? weights : NO_ID, x, y, ROWS, WIDTH);
        for (uint32_t r = 0; r < ROWS; r++) {
            double *expected = to_double(x + r * WIDTH, WIDTH);
            plain_norm(expected, WIDTH, with_weights ? w.vectors[weights] : NULL, 1e-6);
            assert_close(y + r * WIDTH, expected, WIDTH, 1e-5, "a norm");
            free(expected);
        }
        run_norm(&s, with_weights ? weights : NO_ID, x, x, ROWS, WIDTH);
        assert_same_bits(x, y, ROWS * WIDTH, "a norm in place");
    }
    world_close(&w);
}

static void test_bias_of_rows(void **state)
{
    enum { WIDTH = 19, ROWS = 4 };
    float y[ROWS * WIDTH], before[ROWS * WIDTH];
    block_world w;

    (void)state;
    world_init(&w, HIDDEN, 6);
    const vector_id bias = world_vector(&w, WIDTH);
    world_start(&w, 2, 1, 64, 0);
    const step s = world_step(&w, 0, 1);
    world_random(&w, y, ROWS * WIDTH, 1);
    memcpy(before, y, sizeof y);
    run_bias(&s, NO_ID, y, ROWS, WIDTH);
    assert_memory_equal(y, before, sizeof y);
    run_bias(&s, bias, y, ROWS, WIDTH);
    for (uint32_t i = 0; i < ROWS * WIDTH; i++) assert_true(y[i] == before[i] + w.vectors[bias][i % WIDTH]);
    world_close(&w);
}

static void test_activations_longer_than_a_task(void **state)
{
    enum { MOST = 4096 * 3 + 5 };
    static const uint64_t counts[] = {1, 4095, 4096, 4097, MOST};
    block_world w;

    (void)state;
    world_init(&w, HIDDEN, 7);
    world_start(&w, 3, 1, 64, 0);
    const step s = world_step(&w, 0, 1);
    float *gate = guarded(MOST), *up = guarded(MOST), *before = guarded(MOST);
    double *expected = malloc(MOST * sizeof *expected);
    for (uint32_t i = 0; i < 2 * ARRAY_COUNT(counts); i++) {
        const uint64_t count = counts[i / 2];
        const activation act = i % 2 ? ACTIVATION_SILU : ACTIVATION_GELU_TANH;
        world_random(&w, gate, count, 9);
        world_random(&w, up, count, 2);
        gate[count] = GUARD_VALUE;
        memcpy(before, gate, count * sizeof *gate);
        run_activation(&s, act, gate, up, count);
        for (uint64_t k = 0; k < count; k++)
            expected[k] = (i % 2 ? plain_silu : plain_gelu_tanh)((double)before[k]) * (double)up[k];
        assert_close(gate, expected, count, 1e-6, "an activation");
        assert_true(gate[count] == GUARD_VALUE);
    }
    free(expected);
    free(gate);
    free(up);
    free(before);
    world_close(&w);
}

/* ---- the feed-forward block ---- */

static void plain_ffn(const block_world *w, const ffn_block *f, const float *x, double *y)
{
    const uint64_t hidden = w->model.hidden_size;
    double *in = to_double(x, hidden), *gate = malloc(f->width * sizeof *gate), *up = malloc(f->width * sizeof *up);

    plain_product((const float *)w->matrices[f->gate].data, f->width, hidden, in, gate);
    plain_product((const float *)w->matrices[f->up].data, f->width, hidden, in, up);
    if (f->gate_bias != NO_ID) plain_add(gate, w->vectors[f->gate_bias], f->width);
    if (f->up_bias != NO_ID) plain_add(up, w->vectors[f->up_bias], f->width);
    for (uint32_t i = 0; i < f->width; i++)
        gate[i] = (f->act == ACTIVATION_SILU ? plain_silu(gate[i]) : plain_gelu_tanh(gate[i])) * up[i];
    plain_product((const float *)w->matrices[f->down].data, hidden, f->width, gate, y);
    if (f->down_bias != NO_ID) plain_add(y, w->vectors[f->down_bias], hidden);
    free(in);
    free(gate);
    free(up);
}

static void check_ffn(uint32_t width, activation act, bool biases, uint32_t thread_count)
{
    float x[TOKENS * HIDDEN], y[TOKENS * HIDDEN], one[HIDDEN];
    double expected[HIDDEN];
    block_world w;

    world_init(&w, HIDDEN, width);
    block *b = &w.layers[0].residuals[0].branches[0].block;
    *b = (block){.kind = BLOCK_FFN};
    b->ffn = (ffn_block){.width = width,
                         .act = act,
                         .gate = world_weight(&w, width, HIDDEN),
                         .up = world_weight(&w, width, HIDDEN),
                         .down = world_weight(&w, HIDDEN, width),
                         .gate_bias = NO_ID,
                         .up_bias = NO_ID,
                         .down_bias = NO_ID};
    if (biases) {
        b->ffn.gate_bias = world_vector(&w, width);
        b->ffn.up_bias = world_vector(&w, width);
        b->ffn.down_bias = world_vector(&w, HIDDEN);
    }
    world_start(&w, thread_count, TOKENS, 64, 0);
    world_random(&w, x, TOKENS * HIDDEN, 1);
    const step all = world_step(&w, 0, TOKENS);
    run_ffn(&all, &b->ffn, x, y);
    for (uint32_t t = 0; t < TOKENS; t++) {
        plain_ffn(&w, &b->ffn, x + t * HIDDEN, expected);
        assert_close(y + t * HIDDEN, expected, HIDDEN, 1e-5, "a feed-forward block");
        const step single = world_step(&w, t, 1);
        run_ffn(&single, &b->ffn, x + t * HIDDEN, one);
        assert_same_bits(one, y + t * HIDDEN, HIDDEN, "a row alone and among others");
    }
    world_close(&w);
}

static void test_feed_forward(void **state)
{
    static const uint32_t widths[] = {1, 15, 33, 1100};

    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(widths); i++)
        for (uint32_t threads = 1; threads <= 4; threads += 3) {
            check_ffn(widths[i], ACTIVATION_SILU, false, threads);
            check_ffn(widths[i], ACTIVATION_GELU_TANH, true, threads);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_of_uneven_sizes_side_by_side),
        cmocka_unit_test(test_the_most_products_of_one_call),
        cmocka_unit_test(test_norm_of_rows),
        cmocka_unit_test(test_bias_of_rows),
        cmocka_unit_test(test_activations_longer_than_a_task),
        cmocka_unit_test(test_feed_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

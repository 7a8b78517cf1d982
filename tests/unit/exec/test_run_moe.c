/*
 * Routed experts against their formula in double precision, with a cache that holds just one set and one that holds
 * all; the rule for equal scores; what a failed read leaves behind.
 */
#include "block_world.h"
#include "support/unit.h"

#include <math.h>
#include <time.h>

enum { HIDDEN = 19, WIDTH = 13, TOKENS = 23, EXPERTS_HERE_MAX = 48 };

/* ---- the formula ---- */

static bool ranks_before(const double *logits, uint32_t a, uint32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void choose_plain(const double *logits, uint32_t count, uint32_t used, uint32_t *chosen)
{
    for (uint32_t e = 0; e < count; e++) {
        uint32_t rank = 0;
        for (uint32_t other = 0; other < count; other++) rank += other != e && ranks_before(logits, other, e);
        if (rank < used) chosen[rank] = e;
    }
}

static void expert_plain(const block_world *w, const moe_block *moe, uint32_t e, const double *x, double *y)
{
    double gate[WIDTH], up[WIDTH];

    plain_product(world_expert(w, e, 0), WIDTH, HIDDEN, x, gate);
    plain_product(world_expert(w, e, 1), WIDTH, HIDDEN, x, up);
    for (uint32_t i = 0; i < WIDTH; i++)
        gate[i] = (moe->act == ACTIVATION_SILU ? plain_silu(gate[i]) : plain_gelu_tanh(gate[i])) * up[i];
    plain_product(world_expert(w, e, 2), HIDDEN, WIDTH, gate, y);
}

/* One row. chosen, weights: (used). */
static void moe_plain(const block_world *w, const moe_block *moe, const float *stream, const float *x, uint32_t *chosen,
                      double *weights, double *y)
{
    double logits[EXPERTS_HERE_MAX], part[HIDDEN], sum = 0;
    double *in = to_double(moe->router_reads_stream ? stream : x, HIDDEN), *row = to_double(x, HIDDEN);

    if (moe->router_reads_stream) {
        plain_norm(in, HIDDEN, NULL, 1e-6);
        for (uint32_t i = 0; i < HIDDEN; i++)
            in[i] *= (moe->router_scale == NO_ID ? 1 : (double)w->vectors[moe->router_scale][i]) *
                     (double)moe->router_factor;
    }
    plain_product((const float *)w->matrices[moe->router].data, moe->expert_count, HIDDEN, in, logits);
    choose_plain(logits, moe->expert_count, moe->used_count, chosen);
    for (uint32_t e = 0; e < moe->expert_count; e++) sum += exp(logits[e]);
    if (moe->renormalise) {
        sum = 0;
        for (uint32_t i = 0; i < moe->used_count; i++) sum += exp(logits[chosen[i]]);
    }
    memset(y, 0, HIDDEN * sizeof *y);
    for (uint32_t i = 0; i < moe->used_count; i++) {
        weights[i] = exp(logits[chosen[i]]) / sum;
        if (moe->expert_scale != NO_ID) weights[i] *= (double)w->vectors[moe->expert_scale][chosen[i]];
        expert_plain(w, moe, chosen[i], row, part);
        for (uint32_t k = 0; k < HIDDEN; k++) y[k] += weights[i] * part[k];
    }
    free(in);
    free(row);
}

/* ---- what the sink sees ---- */

typedef struct seen_routes {
    uint32_t count, used;
    size_t positions[TOKENS];
    uint32_t experts[TOKENS][EXPERTS_HERE_MAX];
    float weights[TOKENS][EXPERTS_HERE_MAX];
} seen_routes;

static void take_route(void *user, uint32_t moe_idx, size_t position, const uint32_t *experts, const float *weights,
                       uint32_t count)
{
    seen_routes *seen = user;

    assert_int_equal(moe_idx, 0);
    assert_int_equal(count, seen->used);
    assert_in_range(seen->count, 0, TOKENS - 1);
    seen->positions[seen->count] = position;
    memcpy(seen->experts[seen->count], experts, count * sizeof *experts);
    memcpy(seen->weights[seen->count], weights, count * sizeof *weights);
    seen->count++;
}

/* ---- comparing ---- */

typedef struct data {
    float stream[TOKENS * HIDDEN], x[TOKENS * HIDDEN], y[TOKENS * HIDDEN], again[TOKENS * HIDDEN];
} data;

static void run_rows(block_world *w, const moe_block *moe, data *d, uint32_t chunk, seen_routes *seen, float *y)
{
    leat_error error = {0};

    for (uint32_t begin = 0; begin < TOKENS;) {
        const uint32_t count = begin + chunk > TOKENS ? TOKENS - begin : chunk;
        step s = world_step(w, begin, count);
        s.route_sink = seen ? take_route : NULL;
        s.route_user = seen;
        assert_ok(run_moe(&s, moe, d->stream + begin * HIDDEN, d->x + begin * HIDDEN, y + begin * HIDDEN, &error),
                  &error);
        expert_cache_check(w->engine.experts);
        begin += count;
    }
}

static void compare_with_plain(const block_world *w, const moe_block *moe, const data *d, const seen_routes *seen)
{
    assert_int_equal(seen->count, TOKENS);
    for (uint32_t t = 0; t < TOKENS; t++) {
        uint32_t chosen[EXPERTS_HERE_MAX];
        double weights[EXPERTS_HERE_MAX], y[HIDDEN];
        moe_plain(w, moe, d->stream + t * HIDDEN, d->x + t * HIDDEN, chosen, weights, y);
        assert_int_equal(seen->positions[t], t);
        assert_memory_equal(seen->experts[t], chosen, moe->used_count * sizeof *chosen);
        assert_close(seen->weights[t], weights, moe->used_count, 1e-5, "weights of experts");
        assert_close(d->y + t * HIDDEN, y, HIDDEN, 2e-5, "routed experts");
    }
}

/* One row at a time, in chunks, all at once; a cache of one set, of one more, and of all: the same bits. */
static void check_block(block_world *w, moe_block *moe)
{
    const uint32_t slot_counts[] = {moe->used_count, moe->used_count + 1, moe->expert_count};
    data *d = malloc(sizeof *d);
    seen_routes *seen = calloc(1, sizeof *seen);
    bool is_first = true;

    seen->used = moe->used_count;
    world_random(w, d->stream, TOKENS * HIDDEN, 2);
    world_random(w, d->x, TOKENS * HIDDEN, 1);
    for (uint32_t i = 0; i < ARRAY_COUNT(slot_counts); i++)
        for (uint32_t chunk = 1; chunk <= TOKENS; chunk += chunk == 1 ? 6 : 16) {
            world_start(w, 1 + (i + chunk) % 4, chunk, TOKENS, slot_counts[i]);
            run_rows(w, moe, d, chunk, is_first ? seen : NULL, is_first ? d->y : d->again);
            if (!is_first)
                assert_same_bits(d->again, d->y, TOKENS * HIDDEN, "experts in other chunks or another cache");
            is_first = false;
            world_stop(w);
        }
    compare_with_plain(w, moe, d, seen);
    free(d);
    free(seen);
}

static void test_numbers_of_experts(void **state)
{
    static const struct {
        uint32_t experts, used;
    } cases[] = {{1, 1}, {7, 1}, {7, 2}, {7, 6}, {7, 7}, {48, 33}, {48, 48}};

    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(cases); i++) {
        block_world w;
        world_init(&w, HIDDEN, 20 + i);
        moe_block *moe = world_add_experts(&w, cases[i].experts, cases[i].used, WIDTH);
        moe->act = i % 2 ? ACTIVATION_SILU : ACTIVATION_GELU_TANH;
        check_block(&w, moe);
        world_close(&w);
    }
}

static void test_routers_of_every_kind(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 16; bits++) {
        block_world w;
        world_init(&w, HIDDEN, 40 + bits);
        moe_block *moe = world_add_experts(&w, 9, 3, WIDTH);
        moe->renormalise = bits & 1;
        moe->router_reads_stream = bits & 2;
        if (bits & 4) moe->router_scale = world_vector(&w, HIDDEN);
        if (bits & 8) moe->expert_scale = world_vector(&w, 9);
        moe->router_factor = bits & 2 ? 0.6f : 1;
        check_block(&w, moe);
        world_close(&w);
    }
}

/* ---- equal scores ---- */

static void route_one(block_world *w, const moe_block *moe, seen_routes *seen)
{
    data *d = malloc(sizeof *d);

    *seen = (seen_routes){.used = moe->used_count};
    world_random(w, d->stream, TOKENS * HIDDEN, 2);
    world_random(w, d->x, TOKENS * HIDDEN, 1);
    world_start(w, 2, TOKENS, TOKENS, moe->expert_count);
    run_rows(w, moe, d, TOKENS, seen, d->y);
    free(d);
}

static void test_equal_scores_choose_the_lower_expert_first(void **state)
{
    static seen_routes seen;
    block_world w;

    (void)state;
    world_init(&w, HIDDEN, 60);
    moe_block *moe = world_add_experts(&w, 8, 3, WIDTH);
    memset(world_weight_floats(&w, moe->router), 0, 8 * HIDDEN * sizeof(float));
    route_one(&w, moe, &seen);
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(seen.experts[t][i], i);
            assert_true(seen.weights[t][i] == 1.0f / 3);
        }
    world_close(&w);
}

/* Pairs of equal experts: of a pair the lower one comes first, wherever the pair ranks. */
static void test_equal_pairs(void **state)
{
    static seen_routes seen;
    block_world w;

    (void)state;
    world_init(&w, HIDDEN, 61);
    moe_block *moe = world_add_experts(&w, 8, 5, WIDTH);
    float *router = world_weight_floats(&w, moe->router);
    for (uint32_t e = 0; e < 4; e++) memcpy(router + (7 - e) * HIDDEN, router + e * HIDDEN, HIDDEN * sizeof *router);
    route_one(&w, moe, &seen);
    for (uint32_t t = 0; t < TOKENS; t++) {
        assert_int_equal(seen.experts[t][1], 7 - seen.experts[t][0]);
        assert_true(seen.experts[t][0] < 4);
        assert_int_equal(seen.experts[t][3], 7 - seen.experts[t][2]);
        assert_true(seen.experts[t][2] < 4);
        assert_true(seen.experts[t][4] < 4);
    }
    world_close(&w);
}

/* ---- failing reads ---- */

/* Fails the n-th read for n from 1 until none fails: always LEAT_IO with the place, and the same rows can be run again.
 */
static void check_every_failure(uint32_t row_count, uint32_t slot_count)
{
    block_world w;
    leat_error error = {0};
    data *d = malloc(sizeof *d);
    uint64_t failures = 0;

    world_init(&w, HIDDEN, 70);
    moe_block *moe = world_add_experts(&w, 9, 4, WIDTH);
    world_random(&w, d->stream, TOKENS * HIDDEN, 2);
    world_random(&w, d->x, TOKENS * HIDDEN, 1);
    world_start(&w, 2, row_count, TOKENS, slot_count);
    step s = world_step(&w, 0, row_count);
    assert_ok(run_moe(&s, moe, d->stream, d->x, d->y, &error), &error);
    world_stop(&w);
    for (uint64_t nth = 1;; nth++) {
        world_start(&w, 2, row_count, TOKENS, slot_count);
        s = world_step(&w, 0, row_count);
        storage_sim_fail_nth(w.engine.reads, nth);
        const leat_status status = run_moe(&s, moe, d->stream, d->x, d->again, &error);
        const bool has_failed = storage_sim_submitted_count(w.engine.reads) >= nth;
        expert_cache_check(w.engine.experts);
        if (has_failed) {
            assert_fails(IO, status, &error);
            assert_text_has(error.text, "layer 0, expert ");
            assert_text_has(error.text, " of experts.bin");
            assert_text_has(error.text, "bytes at offset ");
            assert_text_has(error.text, "Input/output error");
            failures++;
        }
        storage_sim_fail_nth(w.engine.reads, 0);
        assert_ok(run_moe(&s, moe, d->stream, d->x, d->again, &error), &error);
        assert_same_bits(d->again, d->y, row_count * HIDDEN, "after a failed read");
        world_stop(&w);
        if (!has_failed) break;
    }
    assert_in_range(failures, 4, 1000); /* at least every one of a row's experts, each of which is one read here */
    free(d);
    world_close(&w);
}

static void test_a_failed_read_names_its_place_and_leaves_nothing_behind(void **state)
{
    (void)state;
    check_every_failure(1, 4);
    check_every_failure(1, 9);
    check_every_failure(TOKENS, 4);
    check_every_failure(TOKENS, 9);
}

/* A cancel flag that is set stops a step between experts, without an error of the cache. */
static void test_cancel_between_experts(void **state)
{
    block_world w;
    leat_error error = {0};
    volatile int cancel = 1;
    data *d = malloc(sizeof *d);

    (void)state;
    world_init(&w, HIDDEN, 80);
    moe_block *moe = world_add_experts(&w, 9, 4, WIDTH);
    world_random(&w, d->stream, TOKENS * HIDDEN, 2);
    world_random(&w, d->x, TOKENS * HIDDEN, 1);
    for (uint32_t rows = 1; rows <= TOKENS; rows += TOKENS - 1) {
        world_start(&w, 2, TOKENS, TOKENS, 4);
        const step s = world_step(&w, 0, rows);
        w.engine.options.cancel = &cancel;
        cancel = 1;
        assert_fails(CANCELLED, run_moe(&s, moe, d->stream, d->x, d->y, &error), &error);
        expert_cache_check(w.engine.experts);
        const uint64_t read_count = storage_sim_submitted_count(w.engine.reads);
        assert_in_range(read_count, 1, 4 * EXPERT_PARTS_MAX); /* one set, not all */
        cancel = 0;
        assert_ok(run_moe(&s, moe, d->stream, d->x, d->again, &error), &error);
        world_stop(&w);
        world_start(&w, 1, TOKENS, TOKENS, 9);
        const step fresh = world_step(&w, 0, rows);
        assert_ok(run_moe(&fresh, moe, d->stream, d->x, d->y, &error), &error);
        assert_same_bits(d->again, d->y, rows * HIDDEN, "after a cancelled step");
        world_stop(&w);
    }
    free(d);
    world_close(&w);
}

/* ---- looking ahead ---- */

/* Two layers with the same experts and router. */
static moe_block *add_second_layer(block_world *w)
{
    w->layers[1] = w->layers[0];
    branch *b = &w->layers[1].residuals[0].branches[0];
    b->pre_norm = NO_ID;
    b->block.moe.moe_idx = 1;
    w->model.layer_count = w->model.moe_layer_count = 2;
    return &b->block.moe;
}

typedef struct spied_reads {
    const storage_ops *inner;
    uint64_t grant_count, unlimited_count, granted_bytes;
} spied_reads;
static spied_reads spied;

static void spy_on_grant(storage *s, const read_grant *grant)
{
    spied.grant_count++;
    if (grant->bytes == READ_GRANT_UNLIMITED)
        spied.unlimited_count++;
    else
        spied.granted_bytes += grant->bytes;
    spied.inner->grant(s, grant);
}

/* A disk that is waited for, by the clock that the step looks at. */
static bool reap_slowly(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    return spied.inner->reap(s, tag_begin, tag_end, out_result);
}

/* One token through both layers; the second sees `x`, and the guess is made from the stream. */
static void run_token(block_world *w, moe_block *const *layers, const float *stream, const float *x, float *y)
{
    leat_error error = {0};
    const step s = world_step(w, 0, 1);
    memcpy(w->engine.scratch.stream, stream, HIDDEN * sizeof *stream);
    for (int l = 0; l < 2; l++) {
        assert_ok(run_moe(&s, layers[l], stream, l ? x : stream, y, &error), &error);
        expert_cache_check(w->engine.experts);
    }
}

static void test_guesses_are_read_behind_what_is_waited_for(void **state)
{
    enum { USED = 3 };
    block_world w;
    data *d = malloc(sizeof *d);

    (void)state;
    assert_non_null(d);
    world_init(&w, HIDDEN, 81);
    moe_block *const layers[] = {world_add_experts(&w, 24, USED, WIDTH), add_second_layer(&w)};
    world_random(&w, d->stream, TOKENS * HIDDEN, 2);
    world_random(&w, d->x, TOKENS * HIDDEN, 2);
    world_start(&w, 1, 1, 1, 30);
    engine *e = &w.engine;
    e->look_ahead.mode = LOOK_AHEAD_ON;
    run_token(&w, layers, d->stream, d->stream, d->y); /* the guess is right */
    const storage *reads = e->reads;
    const uint64_t count = storage_sim_submitted_count(reads);
    assert_int_equal(count % (2 * USED), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(storage_sim_submitted_class(reads, i), i < count / 2 ? READ_DEMAND : READ_LOOK_AHEAD);
    assert_int_equal(expert_cache_stats_get(e->experts).ahead_used, USED);
    for (uint32_t t = 1; t < TOKENS; t++) /* these are not, or in part */
        run_token(&w, layers, d->stream + t * HIDDEN, d->x + t * HIDDEN, d->y);
    assert_true(reads->ops->stats(reads).cancelled_count > 0);
    assert_true(expert_cache_stats_get(e->experts).ahead_wasted > 0);
    world_stop(&w);

    world_start(&w, 1, 1, 1, 30); /* the same without guesses */
    w.engine.look_ahead.mode = LOOK_AHEAD_OFF;
    run_token(&w, layers, d->stream + (TOKENS - 1) * HIDDEN, d->x + (TOKENS - 1) * HIDDEN, d->again);
    assert_same_bits(d->again, d->y, HIDDEN, "with guesses");
    assert_int_equal(expert_cache_stats_get(w.engine.experts).ahead_reads, 0);
    free(d);
    world_close(&w);
}

/* The controller hears of every layer and what it grants reaches the disk; steps of many rows are not paced. */
static void test_guesses_are_paced(void **state)
{
    block_world w;
    leat_error error = {0};
    data *d = malloc(sizeof *d);

    (void)state;
    assert_non_null(d);
    world_init(&w, HIDDEN, 82);
    moe_block *const layers[] = {world_add_experts(&w, 24, 3, WIDTH), add_second_layer(&w)};
    world_random(&w, d->stream, TOKENS * HIDDEN, 2);
    world_start(&w, 1, TOKENS, TOKENS, 12);
    engine *e = &w.engine;
    spied = (spied_reads){.inner = e->reads->ops};
    storage_ops ops = *e->reads->ops;
    ops.grant = spy_on_grant;
    ops.reap = reap_slowly;
    e->reads->ops = &ops;
    assert_ok(pacing_open(w.ledger, 2, 0, &e->look_ahead.pacing, &error), &error);
    for (uint32_t t = 0; t < 3 * TOKENS; t++)
        run_token(&w, layers, d->stream + t % TOKENS * HIDDEN, d->stream + t % TOKENS * HIDDEN, d->y);
    assert_int_equal(spied.grant_count, 2 * 3 * TOKENS);
    assert_int_equal(spied.unlimited_count, 0);
    assert_true(spied.granted_bytes > 0);
    assert_true(expert_cache_stats_get(e->experts).ahead_reads > 0);
    const step many = world_step(&w, 0, TOKENS);
    assert_ok(run_moe(&many, layers[0], d->stream, d->stream, d->y, &error), &error);
    assert_int_equal(spied.unlimited_count, 1);
    e->reads->ops = spied.inner;
    pacing_close(&e->look_ahead.pacing);
    free(d);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_of_experts),
        cmocka_unit_test(test_routers_of_every_kind),
        cmocka_unit_test(test_equal_scores_choose_the_lower_expert_first),
        cmocka_unit_test(test_equal_pairs),
        cmocka_unit_test(test_a_failed_read_names_its_place_and_leaves_nothing_behind),
        cmocka_unit_test(test_cancel_between_experts),
        cmocka_unit_test(test_guesses_are_read_behind_what_is_waited_for),
        cmocka_unit_test(test_guesses_are_paced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

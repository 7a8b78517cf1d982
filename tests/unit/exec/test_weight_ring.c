/*
 * Residency and the ring over a simulated disk: whatever stays, every layer and every slice of the head has its bytes
 * while it is held, is read once a step and ahead of its use, and a read that fails is told and can be tried again.
 */
#include "exec/weight_ring.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "storage_sim.h"
#include "support/unit.h"

enum {
    LAYERS = 7,
    WEIGHTS_EACH = 5,
    WEIGHTS = LAYERS * WEIGHTS_EACH + 1,
    HIDDEN = 128,
    VOCAB = 1000,
    FILE_BYTES = 24 << 20
};

typedef struct world {
    mem *ledger;
    file files[2];
    const char *names[2];
    const uint8_t *contents[2];
    uint64_t used[2];
    file_set set;
    prng dice;
    model_desc model;
    layer layers[LAYERS];
    weight weights[WEIGHTS];
    weight_place places[WEIGHTS];
    weight_part parts[WEIGHTS][1][PART_COUNT];
    uint32_t layers_of[WEIGHTS];
} world;

static weight_part put_part(world *w, uint32_t file_idx, uint64_t bytes)
{
    const weight_part part = {file_idx, w->used[file_idx], bytes};
    w->used[file_idx] += bytes + 1 + prng_below(&w->dice, 700);
    assert_true(part.offset + bytes <= FILE_BYTES);
    return part;
}

static weight_id add_weight(world *w, quant_type type, uint64_t rows, uint64_t cols, uint32_t layer_idx)
{
    const weight_id id = w->model.weight_count++;
    weight *it = &w->weights[id];

    it->name = "weight";
    it->shape = (matrix_shape){
        .type = type, .rows = rows, .cols = cols, .scale_type = FLOAT_BF16, .group = type == QUANT_F32 ? 0 : 64};
    it->stack_count = 1;
    it->parts = w->parts[id];
    w->layers_of[id] = layer_idx;
    it->parts[0][PART_DATA] = put_part(w, id % 2, rows * quant_data_row_bytes(&it->shape));
    if (type == QUANT_F32) return id;
    it->parts[0][PART_SCALES] = put_part(w, (id + 1) % 2, rows * quant_scale_row_bytes(&it->shape));
    it->parts[0][PART_OFFSETS] = put_part(w, id % 2, rows * quant_scale_row_bytes(&it->shape));
    return id;
}

/* Layers of different sizes; the fourth is larger than a piece of a read. */
static void add_layer(world *w, uint32_t l)
{
    block *attention = &w->layers[l].residuals[0].branches[0].block,
          *ffn = &w->layers[l].residuals[1].branches[0].block;
    const uint64_t rows = l == 3 ? 9000 : 40 + 16 * l;

    w->layers[l].residual_count = 2;
    w->layers[l].residuals[0].branch_count = w->layers[l].residuals[1].branch_count = 1;
    attention->kind = BLOCK_ATTENTION;
    attention->attention =
        (attention_block){.q = add_weight(w, QUANT_AFFINE4, rows, HIDDEN, l), .k = NO_ID, .v = NO_ID};
    attention->attention.o = add_weight(w, QUANT_AFFINE8, HIDDEN, 64, l);
    ffn->kind = BLOCK_FFN;
    ffn->ffn.gate = add_weight(w, QUANT_F32, rows, HIDDEN, l);
    ffn->ffn.up = add_weight(w, QUANT_AFFINE4, rows, HIDDEN, l);
    ffn->ffn.down = add_weight(w, QUANT_AFFINE4, HIDDEN, 192, l);
}

static void open_world(world *w, uint32_t align)
{
    *w = (world){.names = {"a.safetensors", "b.safetensors"}, .used = {8, 11}};
    prng_init(&w->dice, align);
    w->ledger = open_ledger(0);
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t *words = malloc(FILE_BYTES);
        assert_non_null(words);
        for (size_t k = 0; k < FILE_BYTES / sizeof *words; k++) words[k] = prng_next(&w->dice);
        w->contents[i] = (const uint8_t *)words;
        w->files[i] = (file){
            .fd = -1, .offset_align = i ? 1 : align, .memory_align = i ? 1 : align, .is_direct = !i && align > 1};
    }
    w->set = (file_set){w->files, w->names, 2};
    w->model = (model_desc){.hidden_size = HIDDEN,
                            .vocab_size = VOCAB,
                            .layer_count = LAYERS,
                            .layers = w->layers,
                            .weights = w->weights,
                            .places = w->places,
                            .layers_of = w->layers_of};
    for (uint32_t l = 0; l < LAYERS; l++) add_layer(w, l);
    w->model.head = w->model.embedding = add_weight(w, QUANT_AFFINE8, VOCAB, 8192, NO_ID);
    assert_int_equal(w->model.weight_count, WEIGHTS);
    for (uint32_t i = 0; i < 2; i++) w->files[i].bytes = w->used[i]; /* the last part's window passes the end */
}

static void close_world(world *w)
{
    for (uint32_t i = 0; i < 2; i++) free((void *)(uintptr_t)w->contents[i]);
    close_empty_ledger(w->ledger);
}

/* ---- what stays ---- */

static void test_levels(void **state)
{
    static world w;

    (void)state;
    open_world(&w, 512);
    for (uint32_t level = 0; level <= residency_level_max(&w.model); level++) {
        uint32_t kept = 0, run = 0, longest = 0;
        for (uint32_t l = 0; l < LAYERS; l++) {
            const bool keeps = residency_keeps_layer(&w.model, level, l);
            kept += keeps;
            run = keeps ? 0 : run + 1;
            if (run > longest) longest = run;
            for (uint32_t i = l * WEIGHTS_EACH; i < (l + 1) * WEIGHTS_EACH; i++)
                assert_int_equal(residency_keeps_weight(&w.model, level, i), keeps);
        }
        assert_int_equal(kept, level ? level - 1 : 0);
        assert_int_equal(residency_streamed_layers(&w.model, level), LAYERS - kept);
        assert_int_equal(longest, kept ? div_up(LAYERS, kept) - 1 : LAYERS); /* evenly spread */
        assert_int_equal(residency_keeps_head(&w.model, level), level > 0);
        const uint64_t streamed = residency_streamed_bytes(&w.model, level);
        uint64_t expected = level ? 0 : weight_bytes(&w.weights[w.model.head]);
        for (uint32_t i = 0; i < LAYERS * WEIGHTS_EACH; i++)
            if (!residency_keeps_layer(&w.model, level, i / WEIGHTS_EACH)) expected += weight_bytes(&w.weights[i]);
        assert_int_equal(streamed, expected);
    }
    assert_int_equal(weight_ring_bytes(&w.model, &w.set, LAYERS + 1), 0);
    /* A head with a global scale cannot come in rows; a model that does not say whose its weights are stays whole. */
    w.weights[w.model.head].global_scale_part = &w.parts[0][0][0];
    assert_true(residency_keeps_head(&w.model, 0));
    w.model.layers_of = NULL;
    assert_true(residency_keeps_weight(&w.model, 0, 0));
    close_world(&w);
}

/* ---- steps ---- */

typedef struct streaming {
    storage *reads;
    trunk *t;
    weight_ring *ring;
} streaming;

static void open_streaming(world *w, streaming *s, uint32_t level, const storage_sim_config *config)
{
    leat_error error = {0};
    *s = (streaming){.reads = storage_sim_open(&w->set, w->contents, config)};
    const trunk_load load = {.model = &w->model, .files = &w->set, .reads = s->reads, .level = level};
    assert_ok(trunk_open(w->ledger, &load, &s->t, &error), &error);
    assert_ok(trunk_wait(s->t, TRUNK_ALL, &error), &error); /* the simulator is one thread's at a time */
    assert_ok(weight_ring_open(w->ledger, &w->model, &w->set, s->reads, s->t, level, &s->ring, &error), &error);
}

static void close_streaming(world *w, streaming *s)
{
    weight_ring_close(&s->ring);
    trunk_close(&s->t);
    assert_int_equal(storage_sim_pending_count(s->reads), 0);
    s->reads->ops->close(&s->reads);
    assert_int_equal(mem_total_usage(w->ledger).current_bytes, 0);
}

static void compare_part(const world *w, const uint8_t *found, const weight_part *p, uint64_t skipped, uint64_t bytes)
{
    if (!p->bytes)
        assert_null(found);
    else
        assert_memory_equal(found, w->contents[p->file_idx] + p->offset + skipped, bytes);
}

static void compare_matrix(const world *w, const matrix *m, weight_id id, uint64_t row_begin)
{
    const weight_part *parts = w->weights[id].parts[0];
    const uint64_t data = quant_data_row_bytes(&m->shape),
                   scales = parts[PART_SCALES].bytes ? quant_scale_row_bytes(&m->shape) : 0;

    compare_part(w, m->data, &parts[PART_DATA], row_begin * data, m->shape.rows * data);
    compare_part(w, m->scales, &parts[PART_SCALES], row_begin * scales, m->shape.rows * scales);
    compare_part(w, m->offsets, &parts[PART_OFFSETS], row_begin * scales, m->shape.rows * scales);
}

static leat_status visit_head(world *w, streaming *s, leat_error *error)
{
    matrix slice;

    if (s->t->matrices[w->model.head].data) {
        compare_matrix(w, &s->t->matrices[w->model.head], w->model.head, 0);
        return LEAT_OK;
    }
    for (uint64_t row = 0; row < VOCAB; row += slice.shape.rows) {
        const leat_status status = weight_ring_acquire_head(s->ring, row, &slice, error);
        if (status != LEAT_OK) return status;
        assert_in_range(slice.shape.rows, 1, VOCAB - row);
        compare_matrix(w, &slice, w->model.head, row);
        weight_ring_release(s->ring);
    }
    return LEAT_OK;
}

/* A step as the forward pass makes it; everything is compared while it is held. */
static leat_status visit(world *w, streaming *s, bool has_head, leat_error *error)
{
    weight_ring_expect_head(s->ring, has_head);
    for (uint32_t l = 0; l < LAYERS; l++) {
        const leat_status status = weight_ring_acquire_layer(s->ring, l, error);
        if (status != LEAT_OK) return status;
        for (uint32_t i = l * WEIGHTS_EACH; i < (l + 1) * WEIGHTS_EACH; i++)
            compare_matrix(w, &s->t->matrices[i], i, 0);
        weight_ring_release(s->ring);
    }
    return has_head ? visit_head(w, s, error) : LEAT_OK;
}

static void check_steps(uint32_t align, const storage_sim_config *config)
{
    static world w;
    leat_error error = {0};

    open_world(&w, align);
    for (uint32_t level = 0; level <= residency_level_max(&w.model); level++) {
        streaming s;
        open_streaming(&w, &s, level, config);
        assert_int_equal(mem_pool_usage(w.ledger, MEM_TRUNK).current_bytes,
                         trunk_bytes(&w.model, &w.set, level) + weight_ring_bytes(&w.model, &w.set, level));
        for (uint32_t step = 0; step < 6; step++) assert_ok(visit(&w, &s, step % 3 == 2, &error), &error);
        close_streaming(&w, &s);
    }
    close_world(&w);
}

static void test_everything_has_its_bytes_while_it_is_held(void **state)
{
    (void)state;
    check_steps(1, &(storage_sim_config){.seed = 1, .queue_depth = 64, .latency_ns_min = 1, .latency_ns_max = 90000});
    check_steps(512, &(storage_sim_config){.seed = 2, .queue_depth = 64, .latency_ns_min = 1, .latency_ns_max = 90000});
    check_steps(4096, &(storage_sim_config){.seed = 3, .queue_depth = 16, .latency_ns_min = 1, .latency_ns_max = 9000});
}

/* Every record once a step, and the next one is under way while one is held. */
static void test_reads_once_and_ahead(void **state)
{
    static world w;
    leat_error error = {0};
    streaming s;

    (void)state;
    open_world(&w, 512);
    open_streaming(&w, &s, 0, &(storage_sim_config){.seed = 5, .latency_ns_min = 1000, .latency_ns_max = 90000});
    const uint64_t slices = div_up(VOCAB, residency_slice_rows(&w.model, &w.set));
    assert_in_range(slices, 2, 100);
    for (uint64_t step = 1; step <= 4; step++) {
        assert_ok(visit(&w, &s, true, &error), &error);
        /* The next step's first record is read ahead of it. */
        assert_int_equal(weight_ring_stats_get(s.ring).record_count, step * (LAYERS + slices) + 1);
    }
    for (uint32_t l = 0; l < LAYERS; l++) {
        assert_ok(weight_ring_acquire_layer(s.ring, l, &error), &error);
        assert_true(storage_sim_pending_count(s.reads) > 0);
        const read_class first = storage_sim_class_of(s.reads, RING_TAG_BEGIN);
        assert_int_equal(first == READ_CLASS_COUNT ? storage_sim_class_of(s.reads, RING_TAG_BEGIN + 1) : first,
                         READ_CERTAIN);
        weight_ring_release(s.ring);
    }
    /* All that is back was waited for. */
    assert_int_equal(s.reads->ops->stats(s.reads).class_bytes[READ_CERTAIN], 0);
    assert_true(s.reads->ops->stats(s.reads).class_bytes[READ_DEMAND] > 0);
    close_streaming(&w, &s);

    /* Without the head the first layer comes after the last. */
    open_streaming(&w, &s, 0, &(storage_sim_config){.seed = 7, .latency_ns_min = 1, .latency_ns_max = 90});
    for (uint64_t step = 1; step <= 4; step++) {
        assert_ok(visit(&w, &s, false, &error), &error);
        assert_int_equal(weight_ring_stats_get(s.ring).record_count, step * LAYERS + 1);
    }
    close_streaming(&w, &s);

    /* Two records fit the ring: they are read once and stay. */
    open_streaming(&w, &s, LAYERS - 1, &(storage_sim_config){.seed = 6, .latency_ns_min = 1, .latency_ns_max = 90});
    for (uint32_t step = 0; step < 5; step++) assert_ok(visit(&w, &s, true, &error), &error);
    assert_int_equal(weight_ring_stats_get(s.ring).record_count, 2);
    close_streaming(&w, &s);
    close_world(&w);
}

enum { NOTED_MAX = 4096 };
static read_request noted[NOTED_MAX];
static uint32_t noted_count;
static bool (*real_try_submit)(storage *s, const read_request *request);

static bool note_request(storage *s, const read_request *request)
{
    assert_true(noted_count < NOTED_MAX);
    noted[noted_count++] = *request;
    return real_try_submit(s, request);
}

/* Some read brought the first byte of the part to just this address. */
static void assert_was_read_to(const world *w, const uint8_t *found, const weight_part *p)
{
    for (uint32_t i = 0; i < noted_count && p->bytes; i++) {
        const extent *what = &noted[i].what;
        if (what->file_idx == p->file_idx && what->offset == p->offset &&
            found == noted[i].buffer + storage_payload_offset(&w->set, what))
            return;
    }
    if (p->bytes) fail_msg("a part was not read to where it is used");
}

static void test_computes_from_where_the_read_wrote(void **state)
{
    static world w;
    leat_error error = {0};
    streaming s;

    (void)state;
    open_world(&w, 512);
    open_streaming(&w, &s, 0, &(storage_sim_config){.seed = 9, .latency_ns_min = 1, .latency_ns_max = 9000});
    storage_ops spy = *s.reads->ops;
    const storage_ops *const kept = s.reads->ops;
    real_try_submit = spy.try_submit;
    spy.try_submit = note_request;
    s.reads->ops = &spy;
    noted_count = 0;
    for (uint32_t l = 0; l < LAYERS; l++) {
        assert_ok(weight_ring_acquire_layer(s.ring, l, &error), &error);
        for (uint32_t i = l * WEIGHTS_EACH; i < (l + 1) * WEIGHTS_EACH; i++) {
            assert_was_read_to(&w, s.t->matrices[i].data, &w.weights[i].parts[0][PART_DATA]);
            assert_was_read_to(&w, s.t->matrices[i].scales, &w.weights[i].parts[0][PART_SCALES]);
        }
        weight_ring_release(s.ring);
    }
    assert_true(noted_count > LAYERS * WEIGHTS_EACH);
    s.reads->ops = kept;
    close_streaming(&w, &s);
    close_world(&w);
}

/* A record of more pieces than are asked for at a time: the rest is asked for while the one before it is held. */
static void test_goes_on_reading_while_a_record_is_held(void **state)
{
    static world w;
    leat_error error = {0};

    (void)state;
    open_world(&w, 512);
    for (int is_pumped = 0; is_pumped <= 1; is_pumped++) {
        /* Small queues cut a record as large ones cut a large record. */
        const storage_sim_config config = {.seed = 8, .queue_depth = 3, .latency_ns_min = 1000, .latency_ns_max = 9000};
        streaming s;
        open_streaming(&w, &s, 0, &config);
        assert_ok(weight_ring_acquire_layer(s.ring, 0, &error), &error);
        const uint64_t before = storage_sim_submitted_count(s.reads);
        for (int i = 0; i < 20; i++) { /* arithmetic */
            storage_sim_advance(s.reads, 10000);
            if (is_pumped) weight_ring_pump(s.ring);
        }
        const uint64_t during = storage_sim_submitted_count(s.reads) - before;
        weight_ring_release(s.ring);
        assert_ok(weight_ring_acquire_layer(s.ring, 1, &error), &error);
        for (uint32_t i = WEIGHTS_EACH; i < 2 * WEIGHTS_EACH; i++) compare_matrix(&w, &s.t->matrices[i], i, 0);
        assert_true(is_pumped ? during >= 8 : during == 0); /* of thirteen parts, three were asked for at first */
        weight_ring_release(s.ring);
        close_streaming(&w, &s);
    }
    close_world(&w);
}

static void test_a_failed_read_is_told_and_tried_again(void **state)
{
    static world w;
    uint32_t failures = 0, quiet = 0;

    (void)state;
    open_world(&w, 512);
    for (uint64_t n = 1; n <= 150; n += 3) {
        leat_error error = {0};
        streaming s;
        open_streaming(&w, &s, n % 2, &(storage_sim_config){.seed = n, .latency_ns_min = 1, .latency_ns_max = 9000});
        assert_ok(visit(&w, &s, true, &error), &error);
        storage_sim_fail_nth(s.reads, n);
        leat_status status = LEAT_OK;
        for (uint32_t step = 0; step < 2 && status == LEAT_OK; step++) status = visit(&w, &s, true, &error);
        if (status != LEAT_OK) {
            assert_fails(IO, status, &error);
            assert_text_has(error.text, ".safetensors");
            failures++;
            if (n % 4 == 1) {
                weight_ring_settle(s.ring);
                assert_int_equal(storage_sim_pending_count(s.reads), 0);
            }
            weight_ring_release(s.ring);
        } else {
            quiet++;
        }
        for (uint32_t step = 0; step < 2; step++) assert_ok(visit(&w, &s, step == 1, &error), &error);
        close_streaming(&w, &s);
    }
    assert_in_range(failures, 40, 50);
    assert_int_equal(failures + quiet, 50);
    close_world(&w);
}

static void test_no_memory(void **state)
{
    static world w;
    leat_status status;
    uint64_t nth = 0;

    (void)state;
    open_world(&w, 512);
    storage *reads = storage_sim_open(&w.set, w.contents, &(storage_sim_config){.seed = 1});
    do {
        weight_ring *ring = NULL;
        leat_error error = {0};
        mem_fail_nth(w.ledger, ++nth);
        status = weight_ring_open(w.ledger, &w.model, &w.set, reads, NULL, 0, &ring, &error);
        mem_fail_nth(w.ledger, 0);
        if (status != LEAT_OK) {
            assert_fails(NO_MEMORY, status, &error);
            assert_null(ring);
        }
        weight_ring_close(&ring);
        assert_int_equal(mem_total_usage(w.ledger).current_bytes, 0);
    } while (status != LEAT_OK);
    assert_int_equal(nth, 3);
    reads->ops->close(&reads);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_everything_has_its_bytes_while_it_is_held),
        cmocka_unit_test(test_reads_once_and_ahead),
        cmocka_unit_test(test_computes_from_where_the_read_wrote),
        cmocka_unit_test(test_goes_on_reading_while_a_record_is_held),
        cmocka_unit_test(test_a_failed_read_is_told_and_tried_again),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

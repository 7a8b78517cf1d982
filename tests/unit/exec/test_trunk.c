/*
 * The trunk and the reader of rows over a simulated disk: every part arrives byte for byte wherever it lies in its
 * file, memory is what was announced, and a failed or cancelled opening leaves nothing. Over a disk that obeys the
 * test: what is waited for is what is needed next, and nothing else.
 */
#include "exec/row_reader.h"
#include "exec/trunk.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "storage_sim.h"
#include "support/unit.h"

#include <pthread.h>
#include <unistd.h>

enum { FILES = 2, WEIGHTS = 24, VECTORS = 8, FILE_BYTES = 14 << 20 };

typedef struct disk {
    mem *ledger;
    file files[FILES];
    const char *names[FILES];
    const uint8_t *contents[FILES];
    uint64_t used[FILES];
    file_set set;
    storage *reads;
    prng dice;
} disk;

static void open_disk(disk *d, uint32_t align)
{
    *d = (disk){.names = {"a.safetensors", "b.safetensors"}};
    prng_init(&d->dice, align);
    d->ledger = open_ledger(0);
    for (uint32_t i = 0; i < FILES; i++) {
        uint64_t *words = malloc(FILE_BYTES);
        assert_non_null(words);
        for (size_t k = 0; k < FILE_BYTES / sizeof *words; k++) words[k] = prng_next(&d->dice);
        d->contents[i] = (const uint8_t *)words;
        d->files[i] = (file){
            .fd = -1, .offset_align = i ? 1 : align, .memory_align = i ? 1 : align, .is_direct = !i && align > 1};
        d->used[i] = 8 + 3 * i;
    }
    d->set = (file_set){d->files, d->names, FILES};
}

/* A part behind the last one, with a gap so that it is not aligned. */
static weight_part put_part(disk *d, uint32_t file_idx, uint64_t bytes)
{
    const weight_part part = {file_idx, d->used[file_idx], bytes};
    d->used[file_idx] += bytes + 1 + prng_below(&d->dice, 700);
    assert_true(part.offset + bytes <= FILE_BYTES);
    return part;
}

/* The files end where their last part ends, so that its window passes the end. */
static void start_disk(disk *d, uint64_t seed)
{
    const storage_sim_config config = {.seed = seed, .queue_depth = 64, .latency_ns_min = 1, .latency_ns_max = 90000};
    d->reads = storage_sim_open(&d->set, d->contents, &config);
}

static void stop_disk(disk *d)
{
    assert_int_equal(storage_sim_pending_count(d->reads), 0);
    d->reads->ops->close(&d->reads);
}

static void close_disk(disk *d)
{
    for (uint32_t i = 0; i < FILES; i++) free((void *)(uintptr_t)d->contents[i]);
    close_empty_ledger(d->ledger);
}

/* ---- a model that is nothing but sizes ---- */

typedef struct sizes {
    model_desc model;
    layer layers[2];
    weight weights[WEIGHTS];
    weight_place places[WEIGHTS];
    weight_part parts[WEIGHTS][1][PART_COUNT];
    vector vectors[VECTORS];
    weight_part global_parts[3];
} sizes;

static void add_weight(sizes *s, disk *d, quant_type type, uint64_t rows, uint64_t cols, weight_place place)
{
    const uint32_t i = s->model.weight_count++;
    weight *w = &s->weights[i];

    assert_true(i < WEIGHTS);
    w->name = "weight";
    w->shape = (matrix_shape){
        .type = type, .rows = rows, .cols = cols, .scale_type = FLOAT_BF16, .group = type == QUANT_F32 ? 0 : 64};
    w->stack_count = 1;
    w->parts = s->parts[i];
    s->places[i] = place;
    w->parts[0][PART_DATA] = put_part(d, i % FILES, rows * quant_data_row_bytes(&w->shape));
    if (type == QUANT_F32) return;
    w->parts[0][PART_SCALES] = put_part(d, (i + 1) % FILES, rows * quant_scale_row_bytes(&w->shape));
    w->parts[0][PART_OFFSETS] = put_part(d, i % FILES, rows * quant_scale_row_bytes(&w->shape));
}

static void add_vector(sizes *s, disk *d, float_type type, uint64_t count)
{
    s->vectors[s->model.vector_count++] =
        (vector){"vector", type, count, put_part(d, s->model.vector_count % FILES, count * float_type_bytes(type))};
    assert_true(s->model.vector_count <= VECTORS);
}

static void make_sizes(sizes *s, disk *d)
{
    static const uint64_t byte_counts[] = {4,
                                           60,
                                           TRUNK_DIRECT_BYTES - 4,
                                           TRUNK_DIRECT_BYTES,
                                           TRUNK_DIRECT_BYTES + 4,
                                           TRUNK_PIECE_BYTES - 4,
                                           TRUNK_PIECE_BYTES,
                                           TRUNK_PIECE_BYTES + 516};

    *s = (sizes){
        .model = {
            .layer_count = 2, .layers = s->layers, .weights = s->weights, .places = s->places, .vectors = s->vectors}};
    for (uint32_t i = 0; i < ARRAY_COUNT(byte_counts); i++)
        add_weight(s, d, QUANT_F32, byte_counts[i] / 4, 1, WEIGHT_RESIDENT);
    add_weight(s, d, QUANT_AFFINE4, 77, 192, WEIGHT_RESIDENT);
    add_weight(s, d, QUANT_AFFINE4, 1, 64, WEIGHT_ROWS); /* not the trunk's */
    add_weight(s, d, QUANT_AFFINE8, 513, 1024, WEIGHT_RESIDENT);
    for (uint32_t i = 0; i < 9; i++)
        add_weight(s, d, QUANT_F32, 3 + i, 5, WEIGHT_RESIDENT); /* more than reads at once */
    add_vector(s, d, FLOAT_F32, 1);
    add_vector(s, d, FLOAT_BF16, 333);
    add_vector(s, d, FLOAT_F16, 77);
    add_vector(s, d, FLOAT_F32, TRUNK_DIRECT_BYTES / 4 + 1); /* in two pieces */
    add_vector(s, d, FLOAT_BF16, TRUNK_DIRECT_BYTES + 7);    /* in three */
    /* A layer with experts whose middle stack has global scales. */
    s->model.moe_layer_count = 1;
    s->layers[1].residual_count = 1;
    s->layers[1].residuals[0].branch_count = 1;
    block *b = &s->layers[1].residuals[0].branches[0].block;
    b->kind = BLOCK_MOE;
    s->global_parts[1] = put_part(d, 0, 6 * sizeof(float));
    b->moe.up = (weight){.name = "experts", .stack_count = 6, .global_scale_part = &s->global_parts[1]};
    s->layers[0].residual_count = 0;
    for (uint32_t i = 0; i < FILES; i++) d->files[i].bytes = d->used[i];
}

static void compare_trunk(const trunk *t, const sizes *s, const disk *d)
{
    for (uint32_t i = 0; i < s->model.weight_count; i++) {
        const uint8_t *const got[PART_COUNT] = {t->matrices[i].data, t->matrices[i].scales, t->matrices[i].offsets};
        for (int k = 0; k < PART_COUNT; k++) {
            const weight_part *p = &s->weights[i].parts[0][k];
            if (s->places[i] != WEIGHT_RESIDENT || !p->bytes) {
                assert_null(got[k]);
                continue;
            }
            if (memcmp(got[k], d->contents[p->file_idx] + p->offset, p->bytes) != 0)
                fail_msg("part %d of weight %u (%llu bytes) differs", k, i, (unsigned long long)p->bytes);
        }
        if (s->places[i] == WEIGHT_RESIDENT) assert_int_equal(t->matrices[i].shape.rows, s->weights[i].shape.rows);
    }
    for (uint32_t i = 0; i < s->model.vector_count; i++) {
        const vector *v = &s->vectors[i];
        const uint8_t *stored = d->contents[v->part.file_idx] + v->part.offset;
        for (uint64_t k = 0; k < v->count; k++) {
            const float expected = quant_float_at(v->type, stored, k);
            if (memcmp(&t->vectors[i][k], &expected, sizeof expected) != 0 && expected == expected)
                fail_msg("number %llu of vector %u differs", (unsigned long long)k, i);
        }
    }
    assert_null(t->global_scales[0]);
    assert_memory_equal(t->global_scales[1], d->contents[0] + s->global_parts[1].offset, 6 * sizeof(float));
    assert_null(t->global_scales[2]);
}

/* ---- progress and cancelling ---- */

typedef struct watcher {
    volatile int cancel;
    uint64_t calls, cancel_at, done, total;
} watcher;

static void watch(void *user, const char *phase, uint64_t done, uint64_t total)
{
    watcher *w = user;

    assert_string_equal(phase, "load");
    assert_true(done >= w->done && done <= total);
    if (w->calls) assert_int_equal(total, w->total);
    w->done = done;
    w->total = total;
    if (++w->calls == w->cancel_at) w->cancel = 1;
}

static uint64_t payload_of_trunk(const sizes *s)
{
    uint64_t sum = s->global_parts[1].bytes;

    for (uint32_t i = 0; i < s->model.weight_count; i++)
        for (int k = 0; k < PART_COUNT && s->places[i] == WEIGHT_RESIDENT; k++) sum += s->weights[i].parts[0][k].bytes;
    for (uint32_t i = 0; i < s->model.vector_count; i++) sum += s->vectors[i].part.bytes;
    return sum;
}

static void check_trunk(uint32_t align)
{
    static sizes s;
    disk d;
    leat_error error = {0};

    open_disk(&d, align);
    make_sizes(&s, &d);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        trunk *t = NULL;
        watcher w = {0};
        start_disk(&d, seed);
        const trunk_load load = {.model = &s.model,
                                 .files = &d.set,
                                 .reads = d.reads,
                                 .cancel = &w.cancel,
                                 .progress = watch,
                                 .progress_user = &w};
        assert_ok(trunk_open(d.ledger, &load, &t, &error), &error);
        assert_ok(trunk_wait(t, TRUNK_ALL, &error), &error);
        compare_trunk(t, &s, &d);
        assert_int_equal(w.done, w.total);
        assert_int_equal(w.total, payload_of_trunk(&s));
        assert_int_equal(mem_pool_usage(d.ledger, MEM_TRUNK).peak_bytes,
                         trunk_bytes(&s.model, &d.set, residency_level_max(&s.model)));
        assert_int_equal(mem_pool_usage(d.ledger, MEM_IO).peak_bytes, trunk_staging_bytes(&d.set));
        assert_int_equal(mem_pool_usage(d.ledger, MEM_IO).current_bytes, 0);
        trunk_close(&t);
        trunk_close(&t);
        stop_disk(&d);
    }
    close_disk(&d);
}

static void test_every_part_arrives(void **state)
{
    (void)state;
    check_trunk(1);
    check_trunk(512);
    check_trunk(4096);
}

/* The step's part of the load, and once more after it failed or was cancelled: then everything is there. */
static leat_status wait_twice(trunk *t, watcher *w, const sizes *s, const disk *d, leat_error *error)
{
    leat_error ignored = {0};
    const leat_status status = trunk_wait(t, TRUNK_ALL, error);

    w->cancel = 0;
    w->cancel_at = 0;
    w->done = 0; /* what is read again counts again */
    assert_ok(trunk_wait(t, TRUNK_ALL, &ignored), &ignored);
    assert_true(trunk_is_complete(t));
    compare_trunk(t, s, d);
    return status;
}

/* Opens with the n-th read failing, or with a cancel at the n-th report. */
static leat_status load_once(disk *d, const sizes *s, watcher *w, uint64_t fail_nth, leat_error *error)
{
    trunk *t = NULL;
    const trunk_load load = {.model = &s->model,
                             .files = &d->set,
                             .reads = d->reads,
                             .cancel = &w->cancel,
                             .progress = watch,
                             .progress_user = w};

    storage_sim_fail_nth(d->reads, fail_nth);
    leat_status status = trunk_open(d->ledger, &load, &t, error);
    if (status != LEAT_OK)
        assert_null(t);
    else
        status = wait_twice(t, w, s, d, error);
    trunk_close(&t);
    assert_int_equal(mem_total_usage(d->ledger).current_bytes, 0);
    return status;
}

static void test_failures_and_cancels_leave_nothing(void **state)
{
    static sizes s;
    disk d;
    uint64_t failures = 0, cancels = 0;

    (void)state;
    open_disk(&d, 512);
    make_sizes(&s, &d);
    for (uint64_t n = 1;; n++) {
        watcher w = {0};
        leat_error error = {0};
        start_disk(&d, n);
        const leat_status failed = load_once(&d, &s, &w, n, &error);
        const bool was_hit = storage_sim_submitted_count(d.reads) >= n;
        if (was_hit) {
            assert_fails(IO, failed, &error);
            assert_text_has(error.text, ".safetensors");
            failures++;
        }
        stop_disk(&d);

        w = (watcher){.cancel_at = n};
        start_disk(&d, n);
        const leat_status cancelled = load_once(&d, &s, &w, 0, &error);
        if (cancelled != LEAT_OK) {
            assert_fails(CANCELLED, cancelled, &error);
            cancels++;
        }
        stop_disk(&d);
        if (!was_hit) break;
    }
    assert_in_range(failures, WEIGHTS, 200);
    assert_in_range(cancels, 10, failures);
    close_disk(&d);
}

static void test_no_memory_for_the_trunk(void **state)
{
    static sizes s;
    disk d;
    leat_status status;
    uint64_t nth = 0;

    (void)state;
    open_disk(&d, 512);
    make_sizes(&s, &d);
    start_disk(&d, 1);
    do {
        trunk *t = NULL;
        leat_error error = {0};
        const trunk_load load = {.model = &s.model, .files = &d.set, .reads = d.reads};
        mem_fail_nth(d.ledger, ++nth);
        status = trunk_open(d.ledger, &load, &t, &error);
        mem_fail_nth(d.ledger, 0);
        if (status != LEAT_OK) {
            assert_fails(NO_MEMORY, status, &error);
            assert_null(t);
        }
        trunk_close(&t);
        assert_int_equal(mem_total_usage(d.ledger).current_bytes, 0);
    } while (status != LEAT_OK);
    assert_in_range(nth, 5, 12);
    stop_disk(&d);
    close_disk(&d);
}

/* ---- a storage whose reads come back when the test says so ---- */

enum { GATE_DEPTH = 8, GATED_LAYERS = 4, LAYER_BYTES = TRUNK_DIRECT_BYTES + 4096, FOREIGN_TAG = 5 };

typedef struct gate {
    storage base;
    const uint8_t *content;
    uint32_t depth; /* at most GATE_DEPTH */
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    read_request pending[GATE_DEPTH];
    uint32_t pending_count, submitted_count, reaped_count;
    uint32_t allowed_count; /* of the trunk's reads may come back */
} gate;

static bool is_trunk_read(uint64_t tag) { return tag >= TRUNK_TAG_BEGIN && tag < TRUNK_TAG_END; }

static bool gate_try_submit(storage *s, const read_request *request)
{
    gate *g = (gate *)s;
    pthread_mutex_lock(&g->mutex);
    const bool has_room = g->pending_count < g->depth;
    if (has_room) {
        g->pending[g->pending_count++] = *request;
        if (is_trunk_read(request->tag)) g->submitted_count++;
        pthread_cond_broadcast(&g->moved);
    }
    pthread_mutex_unlock(&g->mutex);
    return has_room;
}

static void gate_submit(storage *s, const read_request *request)
{
    gate *g = (gate *)s;
    while (!gate_try_submit(s, request)) {
        pthread_mutex_lock(&g->mutex);
        if (g->pending_count == g->depth) pthread_cond_wait(&g->moved, &g->mutex);
        pthread_mutex_unlock(&g->mutex);
    }
}

/* The first of them that may come back. */
static uint32_t find_allowed(const gate *g, uint64_t tag_begin, uint64_t tag_end)
{
    for (uint32_t i = 0; i < g->pending_count; i++) {
        const uint64_t tag = g->pending[i].tag;
        const bool is_allowed = !is_trunk_read(tag) || g->reaped_count < g->allowed_count;
        if (tag >= tag_begin && tag < tag_end && is_allowed) return i;
    }
    return GATE_DEPTH;
}

static bool gate_reap(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    gate *g = (gate *)s;
    uint32_t idx;

    pthread_mutex_lock(&g->mutex);
    while ((idx = find_allowed(g, tag_begin, tag_end)) == GATE_DEPTH) pthread_cond_wait(&g->moved, &g->mutex);
    const read_request request = g->pending[idx];
    g->pending_count--;
    for (uint32_t i = idx; i < g->pending_count; i++) g->pending[i] = g->pending[i + 1];
    if (is_trunk_read(request.tag)) {
        memcpy(request.buffer, g->content + request.what.offset, request.what.bytes);
        g->reaped_count++;
    }
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->mutex);
    *out_result = (read_result){.tag = request.tag};
    return true;
}

static const storage_ops gate_ops = {
    .name = "gate", .submit = gate_submit, .try_submit = gate_try_submit, .reap = gate_reap};

static void allow(gate *g, uint32_t count)
{
    pthread_mutex_lock(&g->mutex);
    g->allowed_count = count;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->mutex);
}

static uint32_t reaped(gate *g)
{
    pthread_mutex_lock(&g->mutex);
    const uint32_t count = g->reaped_count;
    pthread_mutex_unlock(&g->mutex);
    return count;
}

/* Layers of one weight each, one read large, stored in the opposite order of their use. */
typedef struct layered {
    sizes s;
    uint32_t layers_of[GATED_LAYERS];
    disk d;
    gate g;
    trunk *t;
} layered;

static void open_layered(layered *l, uint32_t depth, uint32_t foreign_count)
{
    const trunk_load load = {.model = &l->s.model, .files = &l->d.set, .reads = &l->g.base, .level = UINT32_MAX};
    leat_error error = {0};

    *l = (layered){.g = {.base = {&gate_ops}, .depth = depth}};
    open_disk(&l->d, 1);
    l->s.model = (model_desc){.layer_count = GATED_LAYERS,
                              .weights = l->s.weights,
                              .places = l->s.places,
                              .layers_of = l->layers_of,
                              .layers = calloc(GATED_LAYERS, sizeof(layer)),
                              .head = NO_ID};
    for (uint32_t i = 0; i < GATED_LAYERS; i++) {
        l->layers_of[i] = GATED_LAYERS - 1 - i;
        add_weight(&l->s, &l->d, QUANT_F32, LAYER_BYTES / 4, 1, WEIGHT_RESIDENT);
        l->s.parts[i][0][PART_DATA].file_idx = 0;
        l->s.parts[i][0][PART_DATA].offset = i * (uint64_t)LAYER_BYTES;
    }
    for (uint32_t i = 0; i < FILES; i++) l->d.files[i].bytes = FILE_BYTES;
    l->g.content = l->d.contents[0];
    pthread_mutex_init(&l->g.mutex, NULL);
    pthread_cond_init(&l->g.moved, NULL);
    for (uint32_t i = 0; i < foreign_count; i++)
        assert_true(gate_try_submit(&l->g.base, &(read_request){.tag = FOREIGN_TAG}));
    alarm(120); /* what is waited for in vain must not hang the tests */
    assert_ok(trunk_open(l->d.ledger, &load, &l->t, &error), &error);
}

static void close_layered(layered *l)
{
    alarm(0);
    trunk_close(&l->t);
    assert_int_equal(l->g.pending_count, 0);
    pthread_cond_destroy(&l->g.moved);
    pthread_mutex_destroy(&l->g.mutex);
    free(l->s.model.layers);
    close_disk(&l->d);
}

/* Each layer can be used when it is there and nothing behind it has come. */
static void test_a_layer_is_waited_for_alone(void **state)
{
    static layered l;
    leat_error error = {0};

    (void)state;
    open_layered(&l, GATE_DEPTH, 0);
    for (uint32_t layer_idx = 0; layer_idx < GATED_LAYERS; layer_idx++) {
        const uint32_t id = GATED_LAYERS - 1 - layer_idx;
        assert_false(trunk_is_complete(l.t));
        allow(&l.g, layer_idx + 1);
        assert_ok(trunk_wait(l.t, TRUNK_FIRST_LAYER + layer_idx, &error), &error);
        assert_int_equal(reaped(&l.g), layer_idx + 1);
        assert_memory_equal(l.t->matrices[id].data, l.d.contents[0] + id * (uint64_t)LAYER_BYTES, LAYER_BYTES);
    }
    assert_ok(trunk_wait(l.t, TRUNK_ALL, &error), &error);
    assert_true(trunk_is_complete(l.t));
    assert_true(trunk_wait_ns(l.t) > 0);
    close_layered(&l);
}

static void *allow_all(void *context)
{
    allow(context, UINT32_MAX);
    return NULL;
}

/* Reads that are under way are waited for; the others are not asked for. */
static void test_closing_while_reads_are_under_way(void **state)
{
    static layered l;
    pthread_t opener;

    (void)state;
    open_layered(&l, GATE_DEPTH, 0);
    assert_int_equal(pthread_create(&opener, NULL, allow_all, &l.g), 0);
    trunk_close(&l.t);
    assert_int_equal(l.g.reaped_count, l.g.submitted_count);
    pthread_join(opener, NULL);
    close_layered(&l);
}

static void take_one_back(void *user)
{
    read_result result;
    assert_true(gate_reap(user, FOREIGN_TAG, FOREIGN_TAG + 1, &result));
}

/* A queue full of reads that only the waiting thread takes back is no deadlock. */
static void test_room_is_made_in_a_full_queue(void **state)
{
    static layered l;
    leat_error error = {0};

    (void)state;
    open_layered(&l, 1, 1);
    trunk_reader_set_make_room(l.t->reader, take_one_back, &l.g);
    allow(&l.g, UINT32_MAX);
    assert_ok(trunk_wait(l.t, TRUNK_ALL, &error), &error);
    assert_int_equal(reaped(&l.g), GATED_LAYERS);
    close_layered(&l);
}

/* ---- single rows ---- */

static void check_rows(uint32_t align, quant_type type)
{
    enum { ROWS = 300, COLS = 192, MOST = 3 * ROW_READS_MAX + 1 };
    static const uint32_t counts[] = {1, 2, ROW_READS_MAX - 1, ROW_READS_MAX, ROW_READS_MAX + 1, MOST};
    static sizes s;
    static float out[(MOST + 1) * COLS];
    float expected[COLS];
    uint32_t rows[MOST];
    row_reader r = {0};
    disk d;
    leat_error error = {0};

    open_disk(&d, align);
    s = (sizes){.model = {.weights = s.weights, .places = s.places}};
    add_weight(&s, &d, type, ROWS, COLS, WEIGHT_ROWS);
    for (uint32_t i = 0; i < FILES; i++) { /* the file ends with the table's last row */
        const uint64_t last = s.weights[0]
                                  .parts[0][type == QUANT_F32 ? PART_DATA
                                            : i               ? PART_SCALES
                                                              : PART_OFFSETS]
                                  .offset;
        d.files[i].bytes = i && type == QUANT_F32
                               ? FILE_BYTES
                               : last + (type == QUANT_F32 ? s.weights[0].parts[0][PART_DATA].bytes
                                                           : s.weights[0].parts[0][PART_SCALES].bytes);
    }
    start_disk(&d, 5);
    assert_ok(row_reader_open(d.ledger, &s.weights[0], &d.set, d.reads, &r, &error), &error);
    assert_int_equal(mem_pool_usage(d.ledger, MEM_IO).current_bytes, row_reader_bytes(&s.weights[0], &d.set));
    matrix whole = {.shape = s.weights[0].shape};
    const uint8_t **parts[PART_COUNT] = {&whole.data, &whole.scales, &whole.offsets};
    for (int k = 0; k < PART_COUNT; k++) {
        const weight_part *p = &s.weights[0].parts[0][k];
        if (p->bytes) *parts[k] = d.contents[p->file_idx] + p->offset;
    }
    for (uint32_t i = 0; i < 2 * ARRAY_COUNT(counts); i++) {
        const uint32_t count = counts[i / 2];
        for (uint32_t k = 0; k < count; k++)
            rows[k] = i % 2 ? (uint32_t)prng_below(&d.dice, ROWS) : k % 3 ? ROWS - 1 : 0;
        out[count * COLS] = 4711;
        assert_ok(row_reader_read(&r, rows, count, out, &error), &error);
        for (uint32_t k = 0; k < count; k++) {
            quant_decode(&whole, rows[k], 0, COLS, expected);
            for (uint32_t c = 0; c < COLS; c++)
                if (memcmp(&out[k * COLS + c], &expected[c], sizeof *expected) != 0 && expected[c] == expected[c])
                    fail_msg("row %u, the %uth of %u, differs", rows[k], k, count);
        }
        assert_true(out[count * COLS] == 4711);
    }
    for (uint64_t n = 1; n <= MOST * (type == QUANT_F32 ? 1 : 3); n += 5) {
        storage_sim_fail_nth(d.reads, n);
        assert_fails(IO, row_reader_read(&r, rows, MOST, out, &error), &error);
        assert_text_has(error.text, ".safetensors");
        assert_int_equal(storage_sim_pending_count(d.reads), 0);
        storage_sim_fail_nth(d.reads, 0);
        assert_ok(row_reader_read(&r, rows, MOST, out, &error), &error);
    }
    row_reader_close(&r);
    row_reader_close(&r);
    stop_disk(&d);
    close_disk(&d);
}

static void test_rows(void **state)
{
    (void)state;
    static const uint32_t aligns[] = {1, 512, 4096};
    for (uint32_t i = 0; i < ARRAY_COUNT(aligns); i++) {
        check_rows(aligns[i], QUANT_F32);
        check_rows(aligns[i], QUANT_AFFINE4);
        check_rows(aligns[i], QUANT_AFFINE6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_arrives),
        cmocka_unit_test(test_failures_and_cancels_leave_nothing),
        cmocka_unit_test(test_no_memory_for_the_trunk),
        cmocka_unit_test(test_a_layer_is_waited_for_alone),
        cmocka_unit_test(test_closing_while_reads_are_under_way),
        cmocka_unit_test(test_room_is_made_in_a_full_queue),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

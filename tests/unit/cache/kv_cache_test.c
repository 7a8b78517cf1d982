/* Full and sliding layers: what is stored where, what a ring forgets, and how far back a timeline can be cut. */
#include "unit.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "cache/kv_cache.h"

enum { LAYERS = 4 };

/* A full layer, two rings, and a layer that reads another's keys. */
static const kv_layer_shape shapes[LAYERS] = {{2, 6, 0}, {3, 4, 100}, {0, 0, 0}, {1, 8, 5}};

typedef struct world {
    mem *ledger;
    kv_cache *cache;
    uint32_t ctx, chunk;
} world;

static world open_world(uint32_t ctx, uint32_t chunk)
{
    world w = {.ledger = open_ledger(0), .ctx = ctx, .chunk = chunk};
    leat_error error = {0};
    assert_ok(kv_cache_open(w.ledger, shapes, LAYERS, ctx, chunk, &w.cache, &error), &error);
    return w;
}

static void close_world(world *w)
{
    kv_cache_close(&w->cache);
    assert_null(w->cache);
    kv_cache_close(&w->cache);
    close_empty_ledger(w->ledger);
}

/* ---- contents: every number of a row says whose it is ---- */

static float mark(uint32_t layer, uint32_t head, uint32_t position, uint32_t dim, bool is_value)
{
    return (float)(position * 512 + layer * 128 + head * 32 + dim * 2 + is_value); /* exact below 2^24 */
}

static void write_rows(world *w, uint32_t begin, uint32_t end)
{
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t head = 0; head < shapes[l].kv_head_count; head++)
            for (uint32_t p = begin; p < end; p++)
                for (uint32_t d = 0; d < shapes[l].head_dim; d++) {
                    kv_cache_key(w->cache, l, head, p)[d] = mark(l, head, p, d, false);
                    kv_cache_value(w->cache, l, head, p)[d] = mark(l, head, p, d, true);
                }
}

/* Everything below `end` that a query at `query` sees is there. */
static void check_seen_below(world *w, uint32_t query, uint32_t end)
{
    for (uint32_t l = 0; l < LAYERS; l++) {
        const kv_layer_shape *s = &shapes[l];
        const uint32_t begin = s->window && query + 1 > s->window ? query + 1 - s->window : 0;
        for (uint32_t head = 0; head < s->kv_head_count; head++)
            for (uint32_t p = begin; p < end; p++)
                for (uint32_t d = 0; d < s->head_dim; d++) {
                    assert_true(kv_cache_key(w->cache, l, head, p)[d] == mark(l, head, p, d, false));
                    assert_true(kv_cache_value(w->cache, l, head, p)[d] == mark(l, head, p, d, true));
                }
    }
}

static void check_seen(world *w, uint32_t query) { check_seen_below(w, query, query + 1); }

static void append(world *w, uint32_t count)
{
    const uint32_t begin = kv_cache_length(w->cache);
    kv_cache_extend(w->cache, count);
    assert_int_equal(kv_cache_length(w->cache), begin + count);
    write_rows(w, begin, begin + count);
    /* All rows of a chunk are written before the first of its queries looks. */
    for (uint32_t q = begin; q < begin + count; q++) check_seen(w, q);
}

static void every_query_sees_its_window(void **state)
{
    (void)state;
    static const uint32_t chunks[] = {1, 2, 7, 29, 64, 65, 128, 400};
    for (size_t i = 0; i < ARRAY_COUNT(chunks); i++) {
        world w = open_world(400, chunks[i]);
        assert_int_equal(kv_cache_length(w.cache), 0);
        for (uint32_t left = 400; left > 0;) {
            const uint32_t count = (uint32_t)min_u64(left, chunks[i]);
            append(&w, count);
            left -= count;
        }
        check_seen(&w, 399);
        close_world(&w);
    }
}

static void chunks_of_changing_size(void **state)
{
    (void)state;
    prng random;
    prng_init(&random, 3);
    world w = open_world(1000, 50);
    for (uint32_t length = 0; length < 1000;) {
        const uint32_t count = (uint32_t)min_u64(1 + prng_below(&random, 50), 1000 - length);
        append(&w, count);
        length += count;
    }
    close_world(&w);
}

/* ---- order: attention walks blocks of KV_BLOCK positions ---- */

static void blocks_lie_in_one_piece(void **state)
{
    (void)state;
    world w = open_world(1000, 10);
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t head = 0; head < shapes[l].kv_head_count; head++)
            for (uint32_t p = 0; p < 1000; p++) {
                const size_t step = (size_t)(p % KV_BLOCK) * shapes[l].head_dim;
                const uint32_t first = p - p % KV_BLOCK;
                assert_ptr_equal(kv_cache_key(w.cache, l, head, p), kv_cache_key(w.cache, l, head, first) + step);
                assert_ptr_equal(kv_cache_value(w.cache, l, head, p), kv_cache_value(w.cache, l, head, first) + step);
            }
    close_world(&w);
}

/* Layer 1 has room for 100 - 1 + 10 positions, rounded up to two blocks. */
static void a_ring_wraps_and_a_full_layer_does_not(void **state)
{
    (void)state;
    world w = open_world(1000, 10);
    assert_ptr_equal(kv_cache_key(w.cache, 1, 2, 5), kv_cache_key(w.cache, 1, 2, 5 + 128));
    assert_ptr_not_equal(kv_cache_key(w.cache, 1, 2, 5), kv_cache_key(w.cache, 1, 2, 5 + 64));
    assert_ptr_equal(kv_cache_value(w.cache, 3, 0, 0), kv_cache_value(w.cache, 3, 0, 64));
    for (uint32_t p = 1; p < 1000; p++)
        assert_ptr_not_equal(kv_cache_key(w.cache, 0, 0, 0), kv_cache_key(w.cache, 0, 0, p));
    assert_ptr_equal(kv_cache_key(w.cache, 0, 1, 0), kv_cache_key(w.cache, 0, 0, 1000 / 64 * 64) + 64 * 6);
    close_world(&w);
}

/* ---- cutting ---- */

static void cutting_within_what_the_rings_hold(void **state)
{
    (void)state;
    world w = open_world(1000, 10);
    for (int i = 0; i < 30; i++) append(&w, 10);
    /* Rings hold 172..299 of layer 1 and 236..299 of layer 3: a query at 271 sees 172.., one at 240 sees 236... */
    assert_int_equal(kv_cache_rewindable(w.cache, 300), 300);
    assert_int_equal(kv_cache_rewindable(w.cache, 5000), 300);
    assert_int_equal(kv_cache_rewindable(w.cache, 271), 271);
    assert_int_equal(kv_cache_rewindable(w.cache, 270), 0);
    assert_int_equal(kv_cache_rewindable(w.cache, 1), 0);
    assert_int_equal(kv_cache_rewindable(w.cache, 0), 0);
    kv_cache_rewind(w.cache, 271);
    assert_int_equal(kv_cache_length(w.cache), 271);
    append(&w, 1);
    append(&w, 10);
    /* What 282..299 had overwritten is still gone. */
    assert_int_equal(kv_cache_rewindable(w.cache, 271), 271);
    assert_int_equal(kv_cache_rewindable(w.cache, 270), 0);
    close_world(&w);
}

static void an_empty_timeline_begins_anew(void **state)
{
    (void)state;
    world w = open_world(1000, 10);
    for (int i = 0; i < 30; i++) append(&w, 10);
    kv_cache_rewind(w.cache, kv_cache_rewindable(w.cache, 100));
    assert_int_equal(kv_cache_length(w.cache), 0);
    for (int i = 0; i < 12; i++) append(&w, 10);
    /* Nothing has been overwritten in this timeline: 120 positions fit the larger ring, and the smaller one holds 56...
     */
    assert_int_equal(kv_cache_rewindable(w.cache, 60), 60);
    assert_int_equal(kv_cache_rewindable(w.cache, 59), 0);
    close_world(&w);
}

static void a_short_context_never_forgets(void **state)
{
    (void)state;
    world w = open_world(64, 64);
    append(&w, 64);
    for (uint32_t length = 0; length <= 64; length++) assert_int_equal(kv_cache_rewindable(w.cache, length), length);
    close_world(&w);
}

/* Appending and cutting at random against a plain record of which position each place last held. */
static void cutting_against_a_model(void **state)
{
    (void)state;
    enum { CTX = 700, STEPS = 3000 };
    static const uint32_t windows[2] = {100, 5}, capacities[2] = {192, 64};
    uint32_t held[2][192];
    prng random;
    prng_init(&random, 17);
    world w = open_world(CTX, 40);
    uint32_t length = 0, cut_count = 0, refused_count = 0;
    memset(held, 0xff, sizeof held);

    for (int step = 0; step < STEPS; step++) {
        if (length < CTX && prng_below(&random, 3)) {
            const uint32_t count = (uint32_t)min_u64(1 + prng_below(&random, 40), CTX - length);
            append(&w, count);
            for (uint32_t p = length; p < length + count; p++)
                for (int r = 0; r < 2; r++) held[r][p % capacities[r]] = p;
            length += count;
            continue;
        }
        const uint32_t back = (uint32_t)prng_below(&random, prng_below(&random, 8) ? 110 : CTX);
        const uint32_t wanted = length > back ? length - back : 0, kept = kv_cache_rewindable(w.cache, wanted);
        bool all_there = true;
        for (int r = 0; r < 2; r++)
            for (uint32_t p = wanted + 1 > windows[r] ? wanted + 1 - windows[r] : 0; p < wanted; p++)
                all_there &= held[r][p % capacities[r]] == p;
        assert_int_equal(kept, all_there ? wanted : 0);
        kv_cache_rewind(w.cache, kept);
        length = kept;
        cut_count += all_there && wanted > 0;
        refused_count += !all_there;
        check_seen_below(&w, length, length); /* by the next query, which stores its own position first */
    }
    assert_true(cut_count > 100 && refused_count > 20);
    close_world(&w);
}

/* ---- memory ---- */

/* What the planner is told is what is taken, up to the ledger's headers. */
static void bytes_are_what_open_takes(void **state)
{
    (void)state;
    static const struct {
        uint32_t ctx, chunk;
        uint64_t floats; /* positions of each ring rounded up to blocks, heads, dimensions; keys and values */
    } cases[] = {
        {1000, 10, 2 * (1024 * 12 + 128 * 12 + 64 * 8)},
        {1, 1, 2 * (64 * 12 + 64 * 12 + 64 * 8)},
        {64, 64, 2 * (64 * 12 + 64 * 12 + 64 * 8)},
        {65, 1, 2 * (128 * 12 + 128 * 12 + 64 * 8)},
        {5000, 29, 2 * (5056 * 12 + 128 * 12 + 64 * 8)}, /* 100 - 1 + 29 = 128, the ring's two blocks */
        {5000, 30, 2 * (5056 * 12 + 192 * 12 + 64 * 8)}, /* one more */
        {131072, 512, 2 * (131072 * 12 + 640 * 12 + 576 * 8)},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        world w = open_world(cases[i].ctx, cases[i].chunk);
        const uint64_t taken = mem_pool_usage(w.ledger, MEM_KV).current_bytes;
        const uint64_t told = kv_cache_bytes(shapes, LAYERS, cases[i].ctx, cases[i].chunk);
        assert_int_equal(mem_total_usage(w.ledger).current_bytes, taken);
        assert_in_range(taken, cases[i].floats * 4, told);
        assert_in_range(told, taken, cases[i].floats * 4 + 7 * 8192 + 1024);
        close_world(&w);
    }
}

/* It fits a budget of exactly what was told, and of nothing much less. */
static void a_budget_of_the_told_bytes_is_enough(void **state)
{
    (void)state;
    const uint64_t told = kv_cache_bytes(shapes, LAYERS, 20000, 64);
    leat_error error = {0};
    kv_cache *cache = NULL;
    mem *ledger = open_ledger(told);
    assert_ok(kv_cache_open(ledger, shapes, LAYERS, 20000, 64, &cache, &error), &error);
    kv_cache_close(&cache);
    close_empty_ledger(ledger);
    ledger = open_ledger(told - 7 * 8192 - 1024);
    assert_fails(BUDGET, kv_cache_open(ledger, shapes, LAYERS, 20000, 64, &cache, &error), &error);
    close_empty_ledger(ledger);
}

static void shared_layers_take_nothing(void **state)
{
    (void)state;
    static const kv_layer_shape none[3] = {{0, 0, 0}, {0, 16, 8}, {0, 0, 0}};
    assert_true(kv_cache_bytes(none, 3, 100000, 512) < 16384);
    assert_true(kv_cache_bytes(shapes, 1, 100000, 512) > 100000 * 12 * 8);
}

static void a_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    leat_error error = {0};
    mem *ledger = open_ledger(0);
    for (uint64_t nth = 1; nth <= 7; nth++) {
        kv_cache *cache = NULL;
        mem_fail_nth(ledger, nth);
        assert_fails(NO_MEMORY, kv_cache_open(ledger, shapes, LAYERS, 500, 5, &cache, &error), &error);
        assert_null(cache);
        assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    }
    /* The table, and keys and values of three layers: the fourth has none. */
    kv_cache *cache = NULL;
    mem_fail_nth(ledger, 8);
    assert_ok(kv_cache_open(ledger, shapes, LAYERS, 500, 5, &cache, &error), &error);
    kv_cache_close(&cache);
    mem_fail_nth(ledger, 0);
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_query_sees_its_window),
        cmocka_unit_test(chunks_of_changing_size),
        cmocka_unit_test(blocks_lie_in_one_piece),
        cmocka_unit_test(a_ring_wraps_and_a_full_layer_does_not),
        cmocka_unit_test(cutting_within_what_the_rings_hold),
        cmocka_unit_test(an_empty_timeline_begins_anew),
        cmocka_unit_test(a_short_context_never_forgets),
        cmocka_unit_test(cutting_against_a_model),
        cmocka_unit_test(bytes_are_what_open_takes),
        cmocka_unit_test(a_budget_of_the_told_bytes_is_enough),
        cmocka_unit_test(shared_layers_take_nothing),
        cmocka_unit_test(a_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * pacing_test.c - decoding with routed experts on a simulated drive: look-ahead through scheduler and pacing beside
 * none, over drives and layers of different speed; and the same with the controller's eyes shut, which must be worse
 * than it may be. Then what the controller makes of single measurements.
 */
#include "io/pacing.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "storage_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
    LAYERS = 10,
    TOKENS = 160,
    PLACES = 8, /* experts of a row */
    TAGS_EACH = 2 * PLACES,
    RECORD_BYTES = 3300000,
    MISS_PERCENT = 50,
};

/* Two ways to cut the loop. DEAF: the controller is told of nothing. MISLED: it is told of always the same layer,
 * another machine's, with a drive that has time. */
typedef enum way { NO_LOOK_AHEAD, PACED, DEAF, MISLED } way;

typedef struct cell {
    double gb_per_s, layer_ms;
    uint32_t recall_percent;
    double slowing; /* of arithmetic while a guess is being read */
} cell;

typedef struct run {
    const cell *what;
    way how;
    storage *s;
    pacing *p;
    prng needs;
    uint64_t stall_ns, useful_bytes;
    /* Of this layer and the next one: which places miss, and what was read ahead for them. */
    bool misses[2][PLACES], is_guessed[2][PLACES], is_wasted[2][PLACES];
} run;

typedef struct outcome {
    double ns, stall, busy; /* whole time; shares of it */
    double ahead_bytes;
    pacing_stats pace;
} outcome;

static const file files[] = {{.fd = -1, .offset_align = 1, .memory_align = 1, .bytes = UINT64_MAX / 2}};
static const char *const names[] = {"drive"};
static const file_set set = {files, names, 1};

static bool happens(prng *dice, uint32_t percent) { return prng_below(dice, 100) < percent; }

/* The arithmetic shares memory with what is read: a guess under way slows it. */
static void compute(run *r, double ns)
{
    const double slice_ns = 20000;
    while (ns > 0) {
        double factor = storage_sim_guesses_flying(r->s) > 0 ? 1 + r->what->slowing : 1;
        double now_ns = ns < slice_ns ? ns : slice_ns;
        storage_sim_advance(r->s, (uint64_t)(now_ns * factor));
        ns -= now_ns;
    }
}

static uint64_t tag_of(uint64_t layer, uint32_t place) { return layer * TAGS_EACH + place; }

static void ask(run *r, uint64_t tag, read_class class)
{
    r->s->ops->submit(r->s, &(read_request){.what = {0, tag * RECORD_BYTES, RECORD_BYTES}, .tag = tag, .class = class});
}

/* Whichever is there first. */
static void await(run *r, uint64_t layer)
{
    read_result result;
    uint64_t begin_ns = storage_sim_now_ns(r->s);
    assert_true(r->s->ops->reap(r->s, tag_of(layer, 0), tag_of(layer, PLACES), &result));
    r->stall_ns += storage_sim_now_ns(r->s) - begin_ns;
}

/* Which experts of a layer are missing, and what the prediction makes of it: the same in every run of a cell. */
static void draw_layer(run *r, uint64_t layer)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        bool is_right = happens(&r->needs, r->what->recall_percent);
        bool is_missing = happens(&r->needs, MISS_PERCENT), other_is_missing = happens(&r->needs, MISS_PERCENT);
        r->misses[layer & 1][i] = is_missing;
        r->is_guessed[layer & 1][i] = is_right && is_missing;
        r->is_wasted[layer & 1][i] = !is_right && other_is_missing;
    }
}

static void guess_layer(run *r, uint64_t layer)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        if (r->is_guessed[layer & 1][i]) ask(r, tag_of(layer, i), READ_LOOK_AHEAD);
        if (r->is_wasted[layer & 1][i]) ask(r, tag_of(layer, PLACES + i), READ_LOOK_AHEAD);
    }
}

/* The router has spoken. What has not begun for nothing is given up. */
static void demand_layer(run *r, uint64_t layer)
{
    if (r->how != NO_LOOK_AHEAD) {
        r->s->ops->cancel(r->s, tag_of(layer, PLACES), tag_of(layer + 1, 0));
        r->s->ops->raise(r->s, tag_of(layer, 0), tag_of(layer, PLACES), READ_DEMAND);
    }
    for (uint32_t i = 0; i < PLACES; i++)
        if (storage_sim_class_of(r->s, tag_of(layer, i)) == READ_LOOK_AHEAD) r->useful_bytes += RECORD_BYTES;
    for (uint32_t i = 0; i < PLACES; i++)
        if (r->misses[layer & 1][i] && (r->how == NO_LOOK_AHEAD || layer == 0 || !r->is_guessed[layer & 1][i]))
            ask(r, tag_of(layer, i), READ_DEMAND);
}

static void run_layer(run *r, uint64_t layer)
{
    double ns = r->what->layer_ms * 1e6;
    uint32_t miss_count = 0;
    compute(r, 0.4 * ns);
    demand_layer(r, layer);
    if (r->how != NO_LOOK_AHEAD && layer > 0) { /* what was begun for nothing is long back */
        read_result result;
        while (r->s->ops->reap(r->s, tag_of(layer - 1, PLACES), tag_of(layer, 0), &result)) {
        }
    }
    draw_layer(r, layer + 1);
    if (r->how != NO_LOOK_AHEAD) guess_layer(r, layer + 1);
    for (uint32_t i = 0; i < PLACES; i++) miss_count += r->misses[layer & 1][i];
    compute(r, 0.6 * ns * (PLACES - miss_count) / PLACES);
    for (uint32_t i = 0; i < PLACES; i++) {
        if (!r->misses[layer & 1][i]) continue;
        await(r, layer);
        compute(r, 0.6 * ns / PLACES);
    }
}

static pacing_sample sample_since(const run *r, const storage_stats *before, uint64_t stall_ns, uint64_t useful_bytes)
{
    const storage_stats now = r->s->ops->stats(r->s);
    return (pacing_sample){
        .stall_ns = r->stall_ns - stall_ns,
        .demand_bytes = now.class_bytes[READ_DEMAND] - before->class_bytes[READ_DEMAND],
        .ahead_bytes = now.class_bytes[READ_LOOK_AHEAD] - before->class_bytes[READ_LOOK_AHEAD],
        .useful_bytes = r->useful_bytes - useful_bytes,
        .busy_ns = now.busy_ns - before->busy_ns,
    };
}

static void run_paced_layer(run *r, uint64_t layer)
{
    static const pacing_sample elsewhere = {.stall_ns = 5000000,
                                            .demand_bytes = 1000000,
                                            .ahead_bytes = 1000000,
                                            .useful_bytes = 1000000,
                                            .busy_ns = 2000000};
    uint32_t idx = layer % LAYERS;
    storage_stats before = r->s->ops->stats(r->s);
    uint64_t stall_ns = r->stall_ns, useful_bytes = r->useful_bytes, begin_ns = storage_sim_now_ns(r->s);
    pacing_layer_begin(r->p, idx, begin_ns);
    r->s->ops->grant(r->s, &(read_grant){.bytes = pacing_grant_bytes(r->p, idx)});
    run_layer(r, layer);
    pacing_sample sample = sample_since(r, &before, stall_ns, useful_bytes);
    if (r->how == PACED) pacing_layer_end(r->p, idx, storage_sim_now_ns(r->s), &sample);
    if (r->how == MISLED) pacing_layer_end(r->p, idx, begin_ns + 15000000, &elsewhere);
}

static outcome decode(const cell *what, way how)
{
    leat_error error;
    mem *ledger = NULL;
    storage_sim_config config = {.seed = 1,
                                 .latency_ns_min = 80000,
                                 .latency_ns_max = 80000,
                                 .bytes_per_s = (uint64_t)(what->gb_per_s * 1e9),
                                 .has_no_bytes = true};
    run r = {.what = what, .how = how, .s = storage_sim_open(&set, NULL, &config)};
    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
    assert_int_equal(pacing_open(ledger, LAYERS, 0, &r.p, &error), LEAT_OK);
    prng_init(&r.needs, 7);
    draw_layer(&r, 0);
    for (uint64_t layer = 0; layer < LAYERS * TOKENS; layer++)
        if (how == NO_LOOK_AHEAD)
            run_layer(&r, layer);
        else
            run_paced_layer(&r, layer);
    storage_stats stats = r.s->ops->stats(r.s);
    double ns = (double)storage_sim_now_ns(r.s);
    outcome found = {ns, (double)r.stall_ns / ns, (double)stats.busy_ns / ns,
                     (double)stats.class_bytes[READ_LOOK_AHEAD], pacing_stats_get(r.p)};
    pacing_close(&r.p);
    assert_int_equal(mem_pool_usage(ledger, MEM_IO).current_bytes, 0);
    mem_close(&ledger);
    r.s->ops->close(&r.s);
    return found;
}

/* ---- the table ---- */

static const double rates[] = {0.5, 1, 3, 7}, layer_times[] = {1, 10, 50};
static const struct {
    uint32_t recall_percent;
    double slowing;
} worlds[] = {{75, 0}, {75, 0.04}, {30, 0.04}};

/* Whether guesses have something to win: the step waits, and the drive has time. */
static bool has_something_to_win(const cell *what, const outcome *none)
{
    return what->recall_percent >= 50 && none->stall > 0.02 && none->busy < 0.75;
}

/* How many cells are worse than they may be, and how many win nothing that could. */
static void run_table(way how, uint32_t *out_worse, uint32_t *out_missed)
{
    *out_worse = *out_missed = 0;
    for (size_t w = 0; w < ARRAY_COUNT(worlds); w++)
        for (size_t i = 0; i < ARRAY_COUNT(rates); i++)
            for (size_t k = 0; k < ARRAY_COUNT(layer_times); k++) {
                cell what = {rates[i], layer_times[k], worlds[w].recall_percent, worlds[w].slowing};
                outcome none = decode(&what, NO_LOOK_AHEAD), with = decode(&what, how);
                bool is_worse = with.ns > 1.01 * none.ns;
                bool is_missed = has_something_to_win(&what, &none) && with.ns > 0.995 * none.ns;
                print_message("recall %2u, slowing %.2f, %3.1f GB/s, %2.0f ms: %8.2f ms a token, drive %3.0f %%, "
                              "stall %3.0f %% -> %8.2f ms, %5.3f%s%s\n",
                              what.recall_percent, what.slowing, what.gb_per_s, what.layer_ms, none.ns / TOKENS / 1e6,
                              100 * none.busy, 100 * none.stall, with.ns / TOKENS / 1e6, with.ns / none.ns,
                              is_worse ? " WORSE" : "", is_missed ? " MISSED" : "");
                *out_worse += is_worse;
                *out_missed += is_missed;
            }
}

static void is_never_worse_and_better_where_there_is_time(void **state)
{
    (void)state;
    uint32_t worse, missed;
    run_table(PACED, &worse, &missed);
    assert_int_equal(worse, 0);
    assert_int_equal(missed, 0);
}

static void is_found_out_when_the_loop_is_cut(void **state)
{
    (void)state;
    uint32_t worse, missed;
    run_table(DEAF, &worse, &missed);
    assert_int_equal(worse, 0);
    assert_true(missed > 0);
    run_table(MISLED, &worse, &missed);
    assert_true(worse > 0);
}

static void slows_the_arithmetic_by_less_than_it_may(void **state)
{
    (void)state;
    const cell what = {0.5, 50, 75, 0.30};
    outcome none = decode(&what, NO_LOOK_AHEAD), with = decode(&what, PACED), cut = decode(&what, MISLED);
    double nominal_ns = (1 - none.stall) * none.ns;
    print_message("arithmetic: %.3f of its time alone, %.3f with the loop cut; share %.2f\n",
                  (1 - with.stall) * with.ns / nominal_ns, (1 - cut.stall) * cut.ns / nominal_ns, with.pace.share);
    assert_true((1 - with.stall) * with.ns < (1 + PACING_SLOWDOWN_MAX) * nominal_ns);
    assert_true((1 - cut.stall) * cut.ns > (1 + PACING_SLOWDOWN_MAX) * nominal_ns);
    assert_true(with.pace.share < 1);
}

/* ---- single measurements ---- */

typedef struct bench {
    mem *ledger;
    pacing *p;
    uint64_t now_ns;
} bench;

static void open_bench(bench *b, uint64_t bytes_per_s)
{
    leat_error error;
    *b = (bench){0};
    assert_int_equal(mem_open(0, &b->ledger, &error), LEAT_OK);
    assert_int_equal(pacing_open(b->ledger, 2, bytes_per_s, &b->p, &error), LEAT_OK);
    assert_int_equal(mem_pool_usage(b->ledger, MEM_IO).current_bytes, pacing_bytes(2));
}

static void close_bench(bench *b)
{
    pacing_close(&b->p);
    pacing_close(&b->p);
    mem_close(&b->ledger);
}

/* Passes of two layers that compute and stall for so many ms and demand so many MB, at 1 GB/s. */
static void pass(bench *b, uint32_t count, double compute_ms, double stall_ms, double demand_mb, double ahead_mb)
{
    for (uint32_t i = 0; i < 2 * count; i++) {
        pacing_sample sample = {.stall_ns = (uint64_t)(stall_ms * 1e6),
                                .demand_bytes = (uint64_t)(demand_mb * 1e6),
                                .ahead_bytes = (uint64_t)(ahead_mb * 1e6),
                                .useful_bytes = (uint64_t)(ahead_mb * 1e6),
                                .busy_ns = (uint64_t)((demand_mb + ahead_mb) * 1e6)};
        pacing_layer_begin(b->p, i % 2, b->now_ns);
        b->now_ns += (uint64_t)((compute_ms + stall_ms) * 1e6);
        pacing_layer_end(b->p, i % 2, b->now_ns, &sample);
    }
}

static double granted_mb(const bench *b) { return (double)pacing_grant_bytes(b->p, 1) * 1e-6; }

static void grants_the_idle_time_and_follows_it(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 1000000000);
    assert_int_equal(pacing_grant_bytes(b.p, 0), 0); /* nothing is known */
    pass(&b, 1, 10, 4, 4, 0);
    assert_in_range(granted_mb(&b) * 10, 99, 101); /* 14 ms less the 4 that demand takes */
    pass(&b, 8, 20, 4, 4, 0);
    double longer_mb = granted_mb(&b);
    assert_true(longer_mb > 15);
    pass(&b, 40, 20, 4, 12, 0);
    assert_true(granted_mb(&b) < longer_mb - 5);
    close_bench(&b);
}

static void grants_nothing_to_a_busy_drive_or_without_a_stall(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 0);
    pass(&b, 3, 2, 38, 39.5, 0);
    assert_int_equal(pacing_grant_bytes(b.p, 1), 0);
    assert_true(pacing_stats_get(b.p).busy > PACING_BUSY_MAX);
    close_bench(&b);
    open_bench(&b, 0);
    pass(&b, 3, 10, 0.1, 4, 0);
    assert_int_equal(pacing_grant_bytes(b.p, 1), 0);
    close_bench(&b);
}

static void overlooks_outliers(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 0);
    pass(&b, 3, 10, 4, 4, 0);
    double before_mb = granted_mb(&b);
    pass(&b, 1, 500, 4, 4, 0);
    assert_true(granted_mb(&b) < 1.01 * before_mb && granted_mb(&b) > 0.99 * before_mb);
    pass(&b, 400, 100, 40, 4, 0); /* for good: this is the machine now */
    assert_true(granted_mb(&b) > 5 * before_mb);
    close_bench(&b);
}

static void gives_up_guesses_that_do_not_pay(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 0);
    for (uint32_t i = 0; i < 80 && !pacing_stats_get(b.p).is_resting; i++) {
        bool is_granted = granted_mb(&b) > 0;
        pass(&b, 1, 10, is_granted ? 5 + i % 2 : 4 + i % 2, 4, is_granted ? 2 : 0);
    }
    assert_true(pacing_stats_get(b.p).is_resting);
    assert_int_equal(pacing_grant_bytes(b.p, 1), 0);
    pass(&b, 65, 10, 4, 4, 0);
    assert_false(pacing_stats_get(b.p).is_resting); /* they get another chance */
    pass(&b, 1, 10, 4, 4, 0);
    assert_true(granted_mb(&b) > 0);
    close_bench(&b);
}

static void fails_cleanly_without_memory(void **state)
{
    (void)state;
    mem *ledger = NULL;
    leat_error error;
    pacing *p = NULL;
    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
    mem_fail_nth(ledger, 1);
    assert_int_equal(pacing_open(ledger, 2, 0, &p, &error), LEAT_NO_MEMORY);
    assert_null(p);
    mem_close(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_never_worse_and_better_where_there_is_time),
        cmocka_unit_test(is_found_out_when_the_loop_is_cut),
        cmocka_unit_test(slows_the_arithmetic_by_less_than_it_may),
        cmocka_unit_test(grants_the_idle_time_and_follows_it),
        cmocka_unit_test(grants_nothing_to_a_busy_drive_or_without_a_stall),
        cmocka_unit_test(overlooks_outliers),
        cmocka_unit_test(gives_up_guesses_that_do_not_pay),
        cmocka_unit_test(fails_cleanly_without_memory),
    };
    return cmocka_run_group_tests_name("pacing", tests, NULL, NULL);
}

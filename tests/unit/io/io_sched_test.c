/*
 * io_sched_test.c - the scheduler alone: its rules one by one, and many random operations beside a model that looks at
 * everything each time. Then demand under a flood of background reads on the simulated drive.
 */
#include "io/io_sched.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "storage_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 24 };
static const read_limits wide = {.reads = {9, 9, 9, 9}, .bytes = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

typedef struct world {
    sched_item items[COUNT];
    io_sched s;
} world;

static void open_world(world *w, const read_limits *limits)
{
    io_sched_init(&w->s, w->items, COUNT, 0);
    if (limits) io_sched_limit(&w->s, limits);
}

static void goes_by_class_deadline_and_arrival(void **state)
{
    (void)state;
    world w;
    open_world(&w, &wide);
    io_sched_add(&w.s, 0, READ_BACKGROUND, 0, 10);
    io_sched_add(&w.s, 1, READ_CERTAIN, 0, 10);
    io_sched_add(&w.s, 2, READ_CERTAIN, 700, 10);
    io_sched_add(&w.s, 3, READ_CERTAIN, 600, 10);
    io_sched_add(&w.s, 4, READ_CERTAIN, 600, 10);
    io_sched_add(&w.s, 5, READ_CERTAIN, 0, 10);
    io_sched_add(&w.s, 6, READ_DEMAND, 0, 10);
    static const int32_t order[] = {6, 3, 4, 2, 1, 5, 0, SCHED_NONE};
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) assert_int_equal(io_sched_take(&w.s, 0), order[i]);
}

static void lets_few_guesses_go_at_a_time(void **state)
{
    (void)state;
    static const read_limits limits = {.reads = {4, 3, 2, 2}, .bytes = {UINT64_MAX, UINT64_MAX, 100, 50}};
    world w;
    open_world(&w, &limits);
    for (int32_t i = 0; i < 3; i++) io_sched_add(&w.s, i, READ_BACKGROUND, 0, 200);
    assert_int_equal(io_sched_take(&w.s, 0), 0); /* larger than what may be under way, but the only one */
    assert_int_equal(io_sched_take(&w.s, 0), SCHED_NONE);
    assert_int_equal(io_sched_wait_ns(&w.s, 0), UINT64_MAX);
    io_sched_add(&w.s, 3, READ_LOOK_AHEAD, 0, 10);
    assert_int_equal(io_sched_take(&w.s, 0), SCHED_NONE); /* 200 bytes of the less urgent count */
    for (int32_t i = 4; i < 8; i++) io_sched_add(&w.s, i, READ_DEMAND, 0, 1000);
    for (int32_t i = 4; i < 7; i++) assert_int_equal(io_sched_take(&w.s, 0), i);
    assert_int_equal(io_sched_take(&w.s, 0), SCHED_NONE); /* four */
    io_sched_end(&w.s, 0, 5);
    assert_int_equal(io_sched_take(&w.s, 5), 7);
    assert_int_equal(io_sched_take(&w.s, 5), SCHED_NONE); /* the others together have all there are */
    io_sched_end(&w.s, 4, 6);
    assert_int_equal(io_sched_take(&w.s, 6), 3);
}

/* Behind what somebody waits for: a guess would only share the drive with it. */
static void lets_urgent_reads_nearly_end_before_guesses(void **state)
{
    (void)state;
    world w;
    open_world(&w, &wide);
    io_sched_add(&w.s, 0, READ_DEMAND, 0, SCHED_URGENT_BYTES);
    io_sched_add(&w.s, 1, READ_CERTAIN, 0, 1);
    io_sched_add(&w.s, 2, READ_LOOK_AHEAD, 0, 10);
    assert_int_equal(io_sched_take(&w.s, 0), 0);
    assert_int_equal(io_sched_take(&w.s, 0), 1);
    assert_int_equal(io_sched_take(&w.s, 0), SCHED_NONE);
    assert_int_equal(io_sched_wait_ns(&w.s, 0), UINT64_MAX); /* until one of them ends */
    io_sched_end(&w.s, 1, 5);
    assert_int_equal(io_sched_take(&w.s, 5), 2);
}

static void pays_guesses_out_of_the_bucket(void **state)
{
    (void)state;
    world w;
    open_world(&w, &wide);
    for (int32_t i = 0; i < 9; i++) io_sched_add(&w.s, i, READ_LOOK_AHEAD, 0, 100);
    io_sched_grant(&w.s, &(read_grant){150, 0}, 0);
    assert_int_equal(io_sched_take(&w.s, 0), 0);
    assert_int_equal(io_sched_take(&w.s, 0), 1); /* overdrawn by 50 */
    assert_int_equal(io_sched_take(&w.s, 1000000000), SCHED_NONE);
    assert_int_equal(io_sched_wait_ns(&w.s, 1000000000), UINT64_MAX); /* something is under way: not idle */
    io_sched_grant(&w.s, &(read_grant){50, 0}, 0);
    assert_int_equal(io_sched_take(&w.s, 0), SCHED_NONE); /* the debt is paid, no more */
    io_sched_grant(&w.s, &(read_grant){100, 1000}, 0);    /* a byte each ms */
    assert_int_equal(io_sched_take(&w.s, 0), 2);
    assert_int_equal(io_sched_take(&w.s, 0), SCHED_NONE);
    uint64_t wait_ns = io_sched_wait_ns(&w.s, 0);
    assert_in_range(wait_ns, 1000000, 1000100);
    for (uint64_t t = 0; t < 1000000; t += 1000) assert_int_equal(io_sched_take(&w.s, t), SCHED_NONE);
    assert_int_equal(io_sched_take(&w.s, wait_ns), 3);
    io_sched_add(&w.s, 10, READ_DEMAND, 0, 100);
    io_sched_add(&w.s, 11, READ_CERTAIN, 0, 100);
    assert_int_equal(io_sched_take(&w.s, wait_ns), 10); /* these are free */
    assert_int_equal(io_sched_take(&w.s, wait_ns), 11);
    io_sched_grant(&w.s, &(read_grant){READ_GRANT_UNLIMITED, 0}, wait_ns);
    assert_int_equal(io_sched_take(&w.s, wait_ns), 4);
    assert_int_equal(io_sched_take(&w.s, wait_ns), 5);
}

static void starves_nobody_while_the_disk_is_idle(void **state)
{
    (void)state;
    world w;
    uint64_t now_ns = 0;
    open_world(&w, &wide);
    io_sched_grant(&w.s, &(read_grant){0, 0}, 0);
    for (int32_t i = 0; i < COUNT; i++) io_sched_add(&w.s, i, i % 2 ? READ_BACKGROUND : READ_LOOK_AHEAD, 0, 1u << 20);
    for (int32_t i = 0; i < COUNT; i++) {
        assert_int_equal(io_sched_take(&w.s, now_ns), SCHED_NONE);
        uint64_t wait_ns = io_sched_wait_ns(&w.s, now_ns);
        assert_int_equal(wait_ns, SCHED_IDLE_NS);
        int32_t idx = io_sched_take(&w.s, now_ns += wait_ns);
        assert_int_not_equal(idx, SCHED_NONE);
        io_sched_end(&w.s, idx, now_ns += 1000);
    }
    assert_int_equal(io_sched_take(&w.s, now_ns), SCHED_NONE);
    assert_int_equal(w.s.queued_count, 0);
}

/* ---- beside a model ---- */

/* The first by the rules' own words, among all that are queued. */
static int32_t best_of(const world *w)
{
    int32_t best = SCHED_NONE;
    for (int32_t i = 0; i < COUNT; i++) {
        const sched_item *a = &w->items[i], *b = best == SCHED_NONE ? NULL : &w->items[best];
        if (a->state != SCHED_QUEUED) continue;
        uint64_t a_due = a->deadline_ns ? a->deadline_ns : UINT64_MAX;
        uint64_t b_due = b && b->deadline_ns ? b->deadline_ns : UINT64_MAX;
        if (!b || a->class < b->class || (a->class == b->class && a_due < b_due) ||
            (a->class == b->class && a_due == b_due && a->arrival < b->arrival))
            best = i;
    }
    return best;
}

static bool model_allows(const world *w, const read_limits *limits, int32_t idx, int64_t tokens)
{
    uint32_t all = 0, count = 0;
    uint64_t bytes = 0;
    for (int32_t i = 0; i < COUNT; i++) {
        if (w->items[i].state != SCHED_STARTED) continue;
        all++;
        if (w->items[i].class < w->items[idx].class) continue;
        count++;
        bytes += w->items[i].bytes;
    }
    read_class class = w->items[idx].class;
    if (all >= limits->reads[READ_DEMAND]) return false;
    if (count > 0 && (count >= limits->reads[class] || bytes + w->items[idx].bytes > limits->bytes[class]))
        return false;
    return class <= READ_CERTAIN || tokens > 0;
}

static int32_t any_in(const world *w, prng *dice, sched_state state)
{
    uint32_t begin = (uint32_t)prng_below(dice, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        if (w->items[(begin + i) % COUNT].state == state) return (int32_t)((begin + i) % COUNT);
    return SCHED_NONE;
}

static void does_what_the_model_does(void **state)
{
    (void)state;
    static const read_limits limits = {.reads = {6, 4, 3, 2}, .bytes = {UINT64_MAX, 4000, 2000, 900}};
    uint32_t taken = 0, refused = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        world w;
        prng dice;
        int64_t tokens = 0;
        open_world(&w, &limits);
        prng_init(&dice, seed);
        io_sched_grant(&w.s, &(read_grant){0, 0}, 0);
        for (uint32_t n = 0; n < 3000; n++) {
            /* No time passes, so the idle rule and the rate have no say here. */
            int32_t idle = any_in(&w, &dice, SCHED_IDLE), queued = any_in(&w, &dice, SCHED_QUEUED);
            int32_t started = any_in(&w, &dice, SCHED_STARTED), best = best_of(&w);
            read_class class = (read_class)prng_below(&dice, READ_CLASS_COUNT);
            switch (prng_below(&dice, 8)) {
            case 0:
            case 1:
                if (idle != SCHED_NONE)
                    io_sched_add(&w.s, idle, class, prng_below(&dice, 4), 1 + prng_below(&dice, 1000));
                break;
            case 2:
                if (queued != SCHED_NONE && prng_below(&dice, 3) == 0) io_sched_remove(&w.s, queued);
                break;
            case 3:
                if (queued != SCHED_NONE) io_sched_raise(&w.s, queued, class);
                break;
            case 4:
                if (started != SCHED_NONE) io_sched_end(&w.s, started, 0);
                break;
            case 5: {
                uint64_t bytes = prng_below(&dice, 1500);
                io_sched_grant(&w.s, &(read_grant){bytes, 0}, 0);
                tokens = (tokens < 0 ? tokens : 0) + (int64_t)bytes;
                break;
            }
            default: {
                bool is_allowed = best != SCHED_NONE && model_allows(&w, &limits, best, tokens);
                assert_int_equal(io_sched_wait_ns(&w.s, 0) == 0, is_allowed);
                assert_int_equal(io_sched_take(&w.s, 0), is_allowed ? best : SCHED_NONE);
                taken += is_allowed;
                refused += best != SCHED_NONE && !is_allowed;
                if (is_allowed && w.items[best].class >= READ_LOOK_AHEAD) tokens -= (int64_t)w.items[best].bytes;
            }
            }
        }
    }
    assert_true(taken > 5000);
    assert_true(refused > 5000);
}

/* ---- on a drive ---- */

enum { READ_BYTES = 1000000 };
static const file files[] = {{.fd = -1, .offset_align = 1, .memory_align = 1, .bytes = 1u << 30}};
static const char *const names[] = {"drive"};
static const file_set set = {files, names, 1};

static uint64_t demand_latency(storage *s, uint64_t tag)
{
    read_result result;
    uint64_t begin_ns = storage_sim_now_ns(s);
    s->ops->submit(s, &(read_request){.what = {0, 0, READ_BYTES}, .tag = tag, .class = READ_DEMAND});
    assert_true(s->ops->reap(s, tag, tag + 1, &result));
    return storage_sim_now_ns(s) - begin_ns;
}

static void answers_demand_under_a_flood(void **state)
{
    (void)state;
    const storage_sim_config config = {
        .seed = 1, .latency_ns_min = 50000, .latency_ns_max = 50000, .bytes_per_s = 1000000000, .has_no_bytes = true};
    storage *s = storage_sim_open(&set, NULL, &config);
    const uint64_t read_ns = READ_BYTES, flood = 1000;
    uint64_t unloaded_ns = demand_latency(s, 0);
    assert_int_equal(unloaded_ns, read_ns + 50000);
    for (uint64_t i = 0; i < flood; i++)
        s->ops->submit(s, &(read_request){.what = {0, 0, READ_BYTES}, .tag = 1000 + i, .class = READ_BACKGROUND});
    for (uint64_t i = 0; i < 200; i++) {
        storage_sim_advance(s, 377777);
        assert_true(demand_latency(s, i) <= unloaded_ns + read_ns);
    }
    assert_true(s->ops->cancel(s, 1000, 1000 + flood / 2) > 0);
    read_result result;
    uint64_t back = 0, cancelled = 0;
    for (; s->ops->reap(s, 1000, 1000 + flood, &result); back++) cancelled += result.status == LEAT_CANCELLED;
    assert_int_equal(back, flood); /* none is lost, and none starved */
    assert_int_equal(cancelled, s->ops->stats(s).cancelled_count);
    s->ops->close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_by_class_deadline_and_arrival),
        cmocka_unit_test(lets_few_guesses_go_at_a_time),
        cmocka_unit_test(lets_urgent_reads_nearly_end_before_guesses),
        cmocka_unit_test(pays_guesses_out_of_the_bucket),
        cmocka_unit_test(starves_nobody_while_the_disk_is_idle),
        cmocka_unit_test(does_what_the_model_does),
        cmocka_unit_test(answers_demand_under_a_flood),
    };
    return cmocka_run_group_tests_name("io_sched", tests, NULL, NULL);
}

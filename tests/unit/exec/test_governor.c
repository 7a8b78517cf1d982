/* How the governor answers readings, with a clock that the test turns. */
#include "base/bytes.h"
#include "base/prng.h"
#include "exec/governor.h"
#include "support/unit.h"

static const uint64_t MIB = 1 << 20, SECOND = 1000000000;

/* 10 working sets of 24 slots of 1 MiB. */
static const governor_config config = {.slots_min = 4,
                                       .slots_unit = 24,
                                       .slots_max = 245,
                                       .slot_bytes = 1 << 20,
                                       .reserve_bytes = 64 << 20,
                                       .margin_bytes = 8 << 20};

typedef struct world {
    governor g;
    governor_reading r;
    uint32_t slots, shrinks, growths;
} world;

static world start(uint32_t slots)
{
    world w = {.slots = slots,
               .r = {.now_ns = 5 * SECOND,
                     .available_bytes = 4096 * MIB,
                     .group_free_bytes = UINT64_MAX,
                     .share_slots = config.slots_unit}};
    governor_init(&w.g, &config);
    return w;
}

static void poll_once(world *w)
{
    w->r.now_ns += GOVERNOR_POLL_NS;
    const uint32_t wanted = governor_decide(&w->g, &w->r, w->slots);
    assert_in_range(wanted, config.slots_min, config.slots_max);
    w->shrinks += wanted < w->slots;
    w->growths += wanted > w->slots;
    w->slots = wanted;
}

/* Memory answers: what the cache gives back is available again. */
static void poll_with_feedback(world *w)
{
    const uint32_t before = w->slots;
    poll_once(w);
    w->r.available_bytes += before * MIB - w->slots * MIB;
    if (w->r.group_free_bytes != UINT64_MAX) w->r.group_free_bytes += before * MIB - w->slots * MIB;
}

static void run_seconds(world *w, uint32_t seconds, void poll(world *w))
{
    for (uint32_t i = 0; i < seconds * SECOND / GOVERNOR_POLL_NS; i++) poll(w);
}

static void nothing_happens_while_there_is_room(void **state)
{
    (void)state;
    world w = start(config.slots_max);
    run_seconds(&w, 100, poll_once);
    assert_int_equal(w.slots, config.slots_max);
    w.r.available_bytes = UINT64_MAX; /* not known */
    run_seconds(&w, 100, poll_once);
    assert_int_equal(w.shrinks + w.growths, 0);
}

/* 30 MiB are lacking: the least number of whole working sets that gives them, at the next poll; then enough. */
static void scarce_memory_shrinks_by_whole_working_sets(void **state)
{
    (void)state;
    world w = start(config.slots_max);
    w.r.available_bytes = 34 * MIB;
    run_seconds(&w, 2, poll_with_feedback);
    assert_int_equal(w.slots, 8 * config.slots_unit);
    assert_int_equal(w.shrinks, 1);

    world in_group = start(240);
    in_group.r.group_free_bytes = 7 * MIB;
    run_seconds(&in_group, 2, poll_with_feedback);
    assert_int_equal(in_group.slots, 9 * config.slots_unit);
}

/* What is not touched yet will be: a cache that is half filled gives its empty half back first. */
static void what_is_not_touched_counts_as_gone(void **state)
{
    (void)state;
    world w = start(240);
    w.r.available_bytes = 164 * MIB;
    w.r.untouched_bytes = 100 * MIB;
    run_seconds(&w, 2, poll_once);
    assert_int_equal(w.slots, 240);
    w.r.group_free_bytes = 20 * MIB;
    poll_once(&w);
    assert_int_equal(w.slots, 240 - 4 * 24); /* 88 are lacking */
}

static void it_takes_less_than_two_seconds(void **state)
{
    (void)state;
    for (uint64_t lacking = 1; lacking < 400; lacking += 7) {
        world w = start(config.slots_max);
        run_seconds(&w, 30, poll_with_feedback);
        w.r.available_bytes = 64 * MIB - min_u64(lacking, 64) * MIB;
        w.r.untouched_bytes = (lacking - min_u64(lacking, 64)) * MIB;
        run_seconds(&w, 2, poll_with_feedback);
        assert_in_range(w.slots, 0, max_u64(config.slots_min, config.slots_max - min_u64(config.slots_max, lacking)));
        assert_true(w.slots % config.slots_unit == 0 || w.slots < config.slots_unit);
    }
}

/* Below one working set by sets, never below one set. */
static void the_last_set_stays(void **state)
{
    (void)state;
    world w = start(30);
    w.r.available_bytes = 50 * MIB;
    poll_once(&w);
    assert_int_equal(w.slots, 16);
    w.r.available_bytes = 0;
    run_seconds(&w, 2, poll_once);
    assert_int_equal(w.slots, config.slots_min);
    const uint32_t shrinks = w.shrinks;
    run_seconds(&w, 100, poll_once);
    assert_int_equal(w.shrinks, shrinks);
}

/* Stalls alone may be anybody's: they count while little is left and others take more, and never below one working
 * set. */
static void stalls_count_while_memory_falls(void **state)
{
    (void)state;
    world w = start(config.slots_max);
    w.r.stall_percent = 60;
    for (uint32_t i = 0; i < 40; i++) { /* much is left */
        w.r.available_bytes -= 80 * MIB;
        poll_once(&w);
    }
    assert_int_equal(w.slots, config.slots_max);
    w.r.available_bytes = 500 * MIB;
    run_seconds(&w, 60, poll_once); /* not falling */
    const uint32_t steady = w.slots;
    run_seconds(&w, 60, poll_once);
    assert_int_equal(w.slots, steady);

    w = start(config.slots_max);
    w.r.stall_percent = 60;
    w.r.available_bytes = 500 * MIB;
    w.r.untouched_bytes = 240 * MIB;
    for (uint32_t i = 0; i < 40; i++) { /* falling because the own process fills its slots */
        w.r.available_bytes -= 5 * MIB;
        w.r.untouched_bytes -= 5 * MIB;
        poll_once(&w);
    }
    assert_int_equal(w.slots, config.slots_max);
    for (uint32_t i = 0; i < 40; i++) {
        w.r.available_bytes -= 3 * MIB;
        poll_once(&w);
    }
    assert_int_equal(w.slots, config.slots_unit);

    w = start(config.slots_max);
    w.r.stall_percent = 9;
    w.r.available_bytes = 500 * MIB;
    for (uint32_t i = 0; i < 40; i++) {
        w.r.available_bytes -= 5 * MIB;
        poll_once(&w);
    }
    assert_int_equal(w.slots, config.slots_max);
}

static void it_grows_back_slowly(void **state)
{
    (void)state;
    world w = start(24);
    run_seconds(&w, 4, poll_with_feedback);
    assert_int_equal(w.slots, 24);
    run_seconds(&w, 2, poll_with_feedback);
    assert_int_equal(w.slots, 48);
    run_seconds(&w, 6, poll_with_feedback);
    assert_in_range(w.slots, 96, 120);
    run_seconds(&w, 60, poll_with_feedback);
    assert_int_equal(w.slots, config.slots_max);
    assert_int_equal(w.shrinks, 0);
}

/* Room for one working set but not for the rest that must stay: nothing. */
static void growing_needs_more_room_than_it_takes(void **state)
{
    (void)state;
    world w = start(24);
    w.r.available_bytes = (64 + 24 + 10) * MIB;
    run_seconds(&w, 100, poll_with_feedback);
    assert_int_equal(w.slots, 24);
    w.r.available_bytes = (64 + 24 + 20) * MIB;
    run_seconds(&w, 100, poll_with_feedback);
    assert_int_equal(w.slots, 48);
    w.r.available_bytes = 4096 * MIB;
    w.r.group_free_bytes = 30 * MIB;
    run_seconds(&w, 100, poll_with_feedback);
    assert_int_equal(w.slots, 48);
    assert_int_equal(w.shrinks, 0);
}

/* A group that was made for the budget and 24 MiB: all of it comes back, and stays, though tasks stall there. */
static void a_group_made_for_the_budget_is_enough(void **state)
{
    (void)state;
    world w = start(24);
    w.r.group_free_bytes = (config.slots_max - 24 + 24) * MIB;
    run_seconds(&w, 200, poll_with_feedback);
    assert_int_equal(w.slots, config.slots_max);
    w.r.stall_percent = 50;
    for (uint32_t i = 0; i < 40; i++) {
        w.r.available_bytes -= 20 * MIB;
        poll_with_feedback(&w);
    }
    assert_int_equal(w.slots, config.slots_max);
    assert_int_equal(w.shrinks, 0);
}

static void claims_of_others_push_to_the_share(void **state)
{
    (void)state;
    world w = start(240);
    w.r.available_bytes = 300 * MIB;
    w.r.claimed_bytes = 3000 * MIB;
    w.r.share_slots = 130;
    run_seconds(&w, 2, poll_with_feedback);
    assert_in_range(w.slots, 120, 144);
    run_seconds(&w, 100, poll_with_feedback);
    assert_in_range(w.slots, 120, 144);
    assert_int_equal(w.growths, 0); /* what is free is spoken for */
    w.r.claimed_bytes = 0;
    run_seconds(&w, 100, poll_with_feedback);
    assert_int_equal(w.slots, config.slots_max);
}

/* A group that runs into its limit with little left gives a working set at a time; with more left it was page cache. */
static void hits_of_the_limit_count_where_little_is_left(void **state)
{
    (void)state;
    world w = start(240);
    w.r.group_free_bytes = 17 * MIB;
    w.r.group_hit_count = 1000; /* from before the first look */
    run_seconds(&w, 2, poll_once);
    for (uint32_t i = 0; i < 40; i++) {
        w.r.group_hit_count++;
        poll_once(&w);
    }
    assert_int_equal(w.slots, 240);
    w.r.group_free_bytes = 15 * MIB;
    run_seconds(&w, 2, poll_once);
    assert_int_equal(w.slots, 240); /* the count stands still */
    w.r.group_hit_count++;
    run_seconds(&w, 2, poll_once);
    assert_int_equal(w.slots, 240 - config.slots_unit);
}

/* The same in a control group, while the machine has plenty; and a machine that is spoken for says nothing of it. */
static void claims_in_the_group_push_to_its_share(void **state)
{
    (void)state;
    world w = start(240);
    w.r.group_free_bytes = 300 * MIB;
    w.r.group_claimed_bytes = 3000 * MIB;
    w.r.group_share_slots = 130;
    run_seconds(&w, 2, poll_with_feedback);
    assert_in_range(w.slots, 120, 144);
    run_seconds(&w, 100, poll_with_feedback);
    assert_in_range(w.slots, 120, 144);
    assert_int_equal(w.growths, 0); /* what is free is spoken for */
    w.r.group_claimed_bytes = 0;
    run_seconds(&w, 100, poll_with_feedback);
    assert_int_equal(w.slots, config.slots_max);
}

/* Somebody needs 300 MiB for 10 s in every 40: each time that growing was wrong the next growth waits longer. */
static void it_does_not_flap(void **state)
{
    (void)state;
    world w = start(240);
    uint32_t late_growths = 0;
    w.r.available_bytes = 200 * MIB;
    for (uint32_t second = 0; second < 1200; second++) {
        if (second % 40 == 0) w.r.available_bytes -= min_u64(w.r.available_bytes, 150 * MIB);
        if (second % 40 == 10) w.r.available_bytes += 150 * MIB;
        const uint32_t before = w.growths;
        run_seconds(&w, 1, poll_with_feedback);
        if (second >= 600) late_growths += w.growths - before;
    }
    assert_in_range(w.shrinks, 1, 12);
    assert_in_range(late_growths, 0, 16);
}

/* Whatever memory does: within bounds, never two changes in half a second, enough within two seconds, and of changes of
 * direction only few. */
static void random_walks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        world w = start(240);
        prng dice;
        uint32_t turns = 0, short_polls = 0;
        int direction = -1;
        uint64_t changed_ns = 0;
        prng_init(&dice, seed);
        w.r.available_bytes = 500 * MIB;
        for (uint32_t i = 0; i < 4 * 600; i++) {
            const uint32_t before = w.slots;
            const uint64_t step = prng_below(&dice, 30) * MIB;
            if (prng_below(&dice, 2))
                w.r.available_bytes += step;
            else
                w.r.available_bytes -= min_u64(step, w.r.available_bytes);
            w.r.available_bytes = min_u64(w.r.available_bytes, 1000 * MIB);
            w.r.stall_percent = (double)prng_below(&dice, 12);
            poll_with_feedback(&w);
            if (w.slots != before) {
                assert_true(w.r.now_ns - changed_ns >= SECOND / 2);
                changed_ns = w.r.now_ns;
                const int now = w.slots > before ? 1 : -1;
                turns += now != direction;
                direction = now;
            }
            short_polls =
                w.r.available_bytes < config.reserve_bytes && w.slots > config.slots_min ? short_polls + 1 : 0;
            assert_in_range(short_polls, 0, 2 * SECOND / GOVERNOR_POLL_NS);
        }
        assert_in_range(turns, 0, 60); /* of 2400 polls, in ten minutes */
    }
}

static void reserve_and_margin(void **state)
{
    (void)state;
    assert_int_equal(governor_reserve_bytes(1024 * MIB), 64 * MIB);
    assert_int_equal(governor_reserve_bytes(16384 * MIB), 256 * MIB);
    assert_int_equal(governor_reserve_bytes(1024 * 1024 * MIB), 512 * MIB);
    assert_int_equal(governor_margin_bytes(128 * MIB), 2 * MIB);
    assert_int_equal(governor_margin_bytes(8192 * MIB), 8 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happens_while_there_is_room),
        cmocka_unit_test(scarce_memory_shrinks_by_whole_working_sets),
        cmocka_unit_test(what_is_not_touched_counts_as_gone),
        cmocka_unit_test(it_takes_less_than_two_seconds),
        cmocka_unit_test(the_last_set_stays),
        cmocka_unit_test(stalls_count_while_memory_falls),
        cmocka_unit_test(it_grows_back_slowly),
        cmocka_unit_test(growing_needs_more_room_than_it_takes),
        cmocka_unit_test(a_group_made_for_the_budget_is_enough),
        cmocka_unit_test(claims_of_others_push_to_the_share),
        cmocka_unit_test(hits_of_the_limit_count_where_little_is_left),
        cmocka_unit_test(claims_in_the_group_push_to_its_share),
        cmocka_unit_test(it_does_not_flap),
        cmocka_unit_test(random_walks),
        cmocka_unit_test(reserve_and_margin),
    };
    return cmocka_run_group_tests_name("governor", tests, NULL, NULL);
}

/*
 * expert_ahead_test.c - what is read ahead and what is swept: who keeps a slot until when, what is counted, and that
 * none of it depends on the disk.
 */
#include "base/bytes.h"
#include "base/prng.h"
#include "expert_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const storage_sim_config prompt_disk = {.seed = 1, .latency_ns_min = 100, .latency_ns_max = 100};

/* Every read begins at once: none can be given up. */
static const storage_sim_config busy_disk = {
    .seed = 1, .latency_ns_min = 100, .latency_ns_max = 100, .begun_per_1000 = 1000};

static expert_cache_stats stats_of(const expert_world *w) { return expert_cache_stats_get(w->cache); }

static uint32_t read_ahead(expert_world *w, uint32_t layer, uint32_t *experts, uint32_t count, uint32_t read_max)
{
    const uint32_t done = expert_cache_read_ahead(w->cache, layer, experts, count, read_max);
    expert_cache_check(w->cache);
    return done;
}

/* ---- guesses ---- */

static void a_right_guess_is_a_miss_that_is_not_read_again(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){2, 8, 8, 2, 2, 300}, &prompt_disk);
    assert_int_equal(read_ahead(&w, 1, LIST(5, 3), 8), 2);
    assert_int_equal(storage_sim_pending_count(w.reads), 4);
    world_visit(&w, 1, LIST(3, 5));
    assert_int_equal(storage_sim_submitted_count(w.reads), 4);
    assert_int_equal(stats_of(&w).misses, 2);
    assert_int_equal(stats_of(&w).ahead_reads, 2);
    assert_int_equal(stats_of(&w).ahead_used, 2);
    assert_int_equal(stats_of(&w).ahead_wasted, 0);
    assert_int_equal(world_visit(&w, 1, LIST(3, 5)), 3);
    assert_int_equal(stats_of(&w).hits, 2);
    world_close(&w);
}

static void reads_are_asked_for_with_their_class(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){2, 8, 8, 2, 1, 300}, &prompt_disk);
    read_ahead(&w, 1, LIST(5), 8);
    assert_int_equal(storage_sim_submitted_class(w.reads, 0), READ_LOOK_AHEAD);
    world_visit(&w, 0, LIST(1, 2));
    assert_int_equal(storage_sim_submitted_class(w.reads, 1), READ_DEMAND);
    world_close(&w);
}

/* The layer keeps two records. A wrong guess leaves before what was asked for, however old that is. */
static void a_wrong_guess_is_the_first_to_go(void **state)
{
    (void)state;
    expert_world w;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        world_open_with(&w, &(world_shape){1, 8, 3, 2, 1, 300}, (cache_policy)policy, &prompt_disk);
        world_visit(&w, 0, LIST(0, 1));
        read_ahead(&w, 0, LIST(7), 8);
        world_visit(&w, 0, LIST(0, 1)); /* given up */
        assert_int_equal(stats_of(&w).ahead_wasted, 1);
        assert_true(expert_cache_holds(w.cache, 0, 7));
        world_visit(&w, 0, LIST(2));
        assert_false(expert_cache_holds(w.cache, 0, 7));
        assert_true(expert_cache_holds(w.cache, 0, 0) && expert_cache_holds(w.cache, 0, 1));
        world_close(&w);
    }
}

/* What the running layer holds and what the next one will probably want stay, whoever needs room. */
static void a_guess_takes_no_slot_that_is_wanted(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    world_open(&w, &(world_shape){2, 8, 5, 2, 1, 300}, &prompt_disk);
    world_visit(&w, 1, LIST(4, 6));
    world_acquire(&w, &set, 0, LIST(0, 1));
    while (set.handed_out_count < 2) world_next(&w, &set);
    /* one slot is free; 4 and 6 are among the guesses, and 0 and 1 are held */
    assert_int_equal(read_ahead(&w, 1, LIST(4, 2, 6, 3), 8), 3); /* the limit: all slots are held */
    assert_true(expert_cache_holds(w.cache, 1, 4) && expert_cache_holds(w.cache, 1, 2));
    world_release(&w, &set);
    world_visit(&w, 0, LIST(2, 3)); /* takes the slots of 0 and 1 */
    assert_true(expert_cache_holds(w.cache, 1, 4) && expert_cache_holds(w.cache, 1, 6));
    world_close(&w);
}

/* What is there is kept before anything is read, or a likely guess would take the slot of a less likely one. */
static void a_guess_takes_no_slot_of_another(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){1, 8, 3, 2, 1, 300}, &prompt_disk);
    world_visit(&w, 0, LIST(1, 2));
    world_visit(&w, 0, LIST(3)); /* full: 2 is the oldest */
    assert_int_equal(read_ahead(&w, 0, LIST(6, 3, 2), 1), 3);
    static const uint32_t first[] = {6, 3, 2}, second[] = {7, 3, 2};
    for (uint32_t i = 0; i < 3; i++) assert_true(expert_cache_holds(w.cache, 0, first[i]));
    uint32_t list[] = {7, 3, 5, 2}; /* 7 is read, 5 would be another read */
    assert_int_equal(read_ahead(&w, 0, list, 4, 1), 3);
    assert_memory_equal(list, second, sizeof second);
    world_close(&w);
}

/* What has not begun of a wrong guess is given back to the disk. For the cache the record is there like any other: who
 * names it later has a hit, and its bytes. */
static void what_is_left_of_a_wrong_guess_is_not_read_now(void **state)
{
    (void)state;
    for (uint32_t begun_per_1000 = 0; begun_per_1000 <= 1000; begun_per_1000 += 250) {
        const storage_sim_config disk = {
            .seed = begun_per_1000, .latency_ns_min = 100, .latency_ns_max = 900, .begun_per_1000 = begun_per_1000};
        expert_world w;
        world_open(&w, &(world_shape){1, 16, 10, 2, 3, 700}, &disk);
        read_ahead(&w, 0, LIST(4, 5, 6), 8);
        assert_int_equal(storage_sim_pending_count(w.reads), 9);
        world_visit(&w, 0, LIST(1, 2));
        assert_int_equal(stats_of(&w).ahead_wasted, 3);
        const uint64_t given_up = w.reads->ops->stats(w.reads).cancelled_count;
        if (begun_per_1000 % 1000 == 0) assert_int_equal(given_up, begun_per_1000 ? 0 : 9);
        const uint64_t slots_bytes = 3 * expert_cache_slot_bytes(&w.config, &w.set);
        assert_int_equal(stats_of(&w).ahead_wasted_bytes == slots_bytes, given_up == 0);
        assert_true(stats_of(&w).ahead_wasted_bytes <= slots_bytes);
        const uint64_t submitted = storage_sim_submitted_count(w.reads);
        world_visit(&w, 0, LIST(6, 4)); /* compares the bytes */
        assert_int_equal(stats_of(&w).hits, 2);
        read_ahead(&w, 0, LIST(5), 8); /* the same guess again: the rest of it is read */
        assert_int_equal(storage_sim_submitted_count(w.reads), submitted + given_up);
        world_visit(&w, 0, LIST(5, 1));
        read_ahead(&w, 0, LIST(8, 9, 10, 11), 8);
        world_visit(&w, 0, LIST(1, 2));   /* wrong again */
        world_visit(&w, 0, LIST(12, 13)); /* takes slots of wrong guesses */
        world_visit(&w, 0, LIST(14, 15));
        world_close(&w);
    }
}

static void reads_ahead_end_at_the_limit(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){1, 16, 12, 2, 1, 300}, &prompt_disk);
    world_visit(&w, 0, LIST(1, 2));
    assert_int_equal(read_ahead(&w, 0, LIST(1, 5, 2, 6, 7), 2), 4); /* 7 would be the third read */
    assert_int_equal(stats_of(&w).ahead_reads, 2);
    assert_int_equal(read_ahead(&w, 0, LIST(8, 9), 0), 0);
    assert_int_equal(stats_of(&w).ahead_wasted, 2); /* another guess gives the last one up */
    world_close(&w);
}

/* Guesses never keep an acquire from its room. */
static void an_acquire_goes_before_guesses(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){2, 8, 3, 3, 1, 300}, &prompt_disk);
    read_ahead(&w, 1, LIST(1, 2, 3), 8);
    world_visit(&w, 0, LIST(4, 5, 6));
    assert_int_equal(stats_of(&w).ahead_wasted, 3);
    world_close(&w);
}

static void a_guess_that_fails_is_told_to_who_asks_for_it(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    leat_error error = {0};
    uint32_t ref_idx;
    world_open(&w, &(world_shape){1, 8, 4, 2, 1, 300}, &busy_disk);
    storage_sim_fail_nth(w.reads, 1);
    read_ahead(&w, 0, LIST(1, 2), 8);
    world_acquire(&w, &set, 0, LIST(1, 3));
    leat_status failed = expert_cache_next(w.cache, &set, &ref_idx, &error);
    if (failed == LEAT_OK) failed = expert_cache_next(w.cache, &set, &ref_idx, &error);
    assert_int_equal(failed, LEAT_IO);
    world_release(&w, &set);
    world_visit(&w, 0, LIST(1, 3));
    /* nobody asks for 5: nobody hears of it */
    storage_sim_fail_nth(w.reads, 1);
    read_ahead(&w, 0, LIST(5), 8);
    expert_cache_settle(w.cache);
    expert_cache_check(w.cache);
    assert_false(expert_cache_holds(w.cache, 0, 5));
    world_close(&w);
}

/* ---- sweeps ---- */

static void sweep(expert_world *w, uint32_t layer, const uint32_t *experts, uint32_t count, uint32_t stop_at)
{
    expert_sweep s;
    const expert_ref *ref;
    leat_error error;
    uint32_t ending_count = 0;
    expert_cache_sweep_begin(w->cache, layer, experts, NULL, count, 2, &s);
    for (uint32_t i = 0; i < count && i < stop_at; i++) {
        if (expert_cache_sweep_next(w->cache, &s, &ref, &error) != LEAT_OK) fail_msg("%s", error.text);
        expert_cache_check(w->cache);
        assert_int_equal(ref->expert, experts[i]); /* in order, whatever the disk does */
        const expert_record *record = world_record(w, layer, ref->expert);
        for (uint32_t p = 0; p < record->part_count; p++)
            assert_memory_equal(ref->parts[p], w->contents[record->parts[p].file_idx] + record->parts[p].offset,
                                record->parts[p].bytes);
        ending_count += expert_sweep_is_ending(&s);
    }
    if (stop_at >= count) assert_int_equal(ending_count, 1);
    expert_cache_sweep_end(w->cache, &s);
    expert_cache_check(w->cache);
}

static void a_sweep_reads_each_once_and_a_window_ahead(void **state)
{
    (void)state;
    expert_world w;
    expert_sweep s;
    const expert_ref *ref;
    leat_error error;
    static const uint32_t order[] = {9, 3, 4, 1, 0, 7, 8, 2};
    world_open(&w, &(world_shape){1, 12, 4, 2, 1, 300}, &prompt_disk);
    expert_cache_sweep_begin(w.cache, 0, order, NULL, 8, 2, &s);
    assert_int_equal(storage_sim_submitted_count(w.reads), 0);
    assert_int_equal(expert_cache_sweep_next(w.cache, &s, &ref, &error), LEAT_OK);
    assert_int_equal(storage_sim_submitted_count(w.reads), 4); /* the window is the whole cache here */
    assert_int_equal(expert_cache_sweep_next(w.cache, &s, &ref, &error), LEAT_OK);
    assert_int_equal(storage_sim_submitted_count(w.reads), 5); /* the slot of the first is used again */
    expert_cache_sweep_end(w.cache, &s);
    sweep(&w, 0, order, 8, 8);
    assert_int_equal(stats_of(&w).hits + stats_of(&w).misses, 5 + 8);
    for (uint32_t i = 4; i < 8; i++) assert_true(expert_cache_holds(w.cache, 0, order[i])); /* the last stay */
    for (uint32_t n = 1; n < 8; n++) sweep(&w, 0, order, n, n);
    sweep(&w, 0, order, 8, 3); /* given up half way */
    world_close(&w);
}

/* A failed read is told once, and the rest goes on. */
static void a_sweep_goes_on_after_a_failure(void **state)
{
    (void)state;
    expert_world w;
    expert_sweep s;
    const expert_ref *ref;
    leat_error error = {0};
    static const uint32_t order[] = {1, 2, 3};
    world_open(&w, &(world_shape){1, 12, 4, 2, 1, 300}, &prompt_disk);
    storage_sim_fail_nth(w.reads, 2);
    expert_cache_sweep_begin(w.cache, 0, order, NULL, 3, 2, &s);
    assert_int_equal(expert_cache_sweep_next(w.cache, &s, &ref, &error), LEAT_OK);
    assert_int_equal(expert_cache_sweep_next(w.cache, &s, &ref, &error), LEAT_IO);
    assert_non_null(strstr(error.text, "layer 0, expert 2"));
    assert_int_equal(expert_cache_sweep_next(w.cache, &s, &ref, &error), LEAT_OK);
    assert_int_equal(ref->expert, 3);
    expert_cache_sweep_end(w.cache, &s);
    expert_cache_check(w.cache);
    assert_false(expert_cache_holds(w.cache, 0, 2));
    world_close(&w);
}

/* Under LFU a prompt's rows count as what they are: what most of them used outlives what one of them used last. */
static void the_rows_of_a_sweep_are_counted(void **state)
{
    (void)state;
    static const uint32_t experts[] = {0, 1, 2, 3}, rows[] = {40, 1, 1, 1};
    expert_world w;
    expert_sweep s;
    const expert_ref *ref;
    leat_error error;
    world_open_with(&w, &(world_shape){1, 12, 4, 1, 1, 300}, CACHE_LFU, &prompt_disk);
    expert_cache_sweep_begin(w.cache, 0, experts, rows, 4, 43, &s);
    for (int i = 0; i < 4; i++) assert_int_equal(expert_cache_sweep_next(w.cache, &s, &ref, &error), LEAT_OK);
    expert_cache_sweep_end(w.cache, &s);
    for (uint32_t e = 4; e < 10; e++) world_visit(&w, 0, &e, 1);
    assert_true(expert_cache_holds(w.cache, 0, 0));
    assert_false(expert_cache_holds(w.cache, 0, 3));
    expert_cache_check(w.cache);
    world_close(&w);
}

/* ---- the same on every disk ---- */

enum { LAYERS = 3, EXPERTS = 16, USED = 3, STEPS = 150 };

static void draw_distinct(prng *dice, uint32_t *out, uint32_t count)
{
    for (uint32_t n = 0; n < count;) {
        /* two draws, the lower: some are more popular */
        const uint32_t a = (uint32_t)prng_below(dice, EXPERTS), b = (uint32_t)prng_below(dice, EXPERTS);
        const uint32_t drawn = a < b ? a : b;
        bool is_new = true;
        for (uint32_t i = 0; i < n; i++) is_new &= out[i] != drawn;
        if (is_new) out[n++] = drawn;
    }
}

static expert_cache_stats live_through(cache_policy policy, uint32_t slots, const storage_sim_config *disk)
{
    expert_world w;
    expert_set set;
    prng dice;
    prng_init(&dice, slots);
    world_open_with(&w, &(world_shape){LAYERS, EXPERTS, slots, USED, 0, 200}, policy, disk);
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t wanted[EXPERTS], guesses[EXPERTS];
        const uint32_t layer = i % LAYERS, guess_count = 1 + (uint32_t)prng_below(&dice, 6);
        const bool is_sweep = i / LAYERS % 10 == 0;
        const uint32_t count = is_sweep ? 5 + (uint32_t)prng_below(&dice, 9) : USED;
        draw_distinct(&dice, wanted, count);
        draw_distinct(&dice, guesses, guess_count);
        if (is_sweep)
            sweep(&w, layer, wanted, count, prng_below(&dice, 4) ? count : 2);
        else {
            world_acquire(&w, &set, layer, wanted, count);
            while (set.handed_out_count < set.count) world_next(&w, &set);
        }
        (void)read_ahead(&w, (layer + 1) % LAYERS, guesses, guess_count, 1 + i % 3);
        if (!is_sweep) world_release(&w, &set);
    }
    expert_cache_settle(w.cache);
    const expert_cache_stats stats = stats_of(&w);
    world_close(&w);
    return stats;
}

static void what_happens_does_not_depend_on_the_disk(void **state)
{
    (void)state;
    static const storage_sim_config disks[] = {
        {.seed = 2, .latency_ns_min = 1, .latency_ns_max = 1},
        {.seed = 3, .latency_ns_min = 100, .latency_ns_max = 100000},
        {.seed = 4, .latency_ns_min = 100, .latency_ns_max = 100000, .begun_per_1000 = 500},
        {.seed = 5, .latency_ns_min = 1, .latency_ns_max = 1000000000, .begun_per_1000 = 1000}};
    uint64_t used_count = 0, wasted_count = 0;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++)
        for (uint32_t slots = USED; slots <= LAYERS * EXPERTS; slots += 5) {
            const expert_cache_stats first = live_through((cache_policy)policy, slots, &disks[0]);
            for (size_t d = 1; d < ARRAY_COUNT(disks); d++) {
                const expert_cache_stats other = live_through((cache_policy)policy, slots, &disks[d]);
                assert_int_equal(other.hits, first.hits);
                assert_int_equal(other.misses, first.misses);
                assert_int_equal(other.evictions, first.evictions);
                assert_int_equal(other.ahead_reads, first.ahead_reads);
                assert_int_equal(other.ahead_used, first.ahead_used);
                assert_int_equal(other.ahead_wasted, first.ahead_wasted);
            }
            assert_int_equal(first.ahead_reads, first.ahead_used + first.ahead_wasted);
            used_count += first.ahead_used;
            wasted_count += first.ahead_wasted;
        }
    assert_true(used_count > 500 && wasted_count > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_guess_is_a_miss_that_is_not_read_again),
        cmocka_unit_test(reads_are_asked_for_with_their_class),
        cmocka_unit_test(a_wrong_guess_is_the_first_to_go),
        cmocka_unit_test(a_guess_takes_no_slot_that_is_wanted),
        cmocka_unit_test(a_guess_takes_no_slot_of_another),
        cmocka_unit_test(what_is_left_of_a_wrong_guess_is_not_read_now),
        cmocka_unit_test(reads_ahead_end_at_the_limit),
        cmocka_unit_test(an_acquire_goes_before_guesses),
        cmocka_unit_test(a_guess_that_fails_is_told_to_who_asks_for_it),
        cmocka_unit_test(a_sweep_reads_each_once_and_a_window_ahead),
        cmocka_unit_test(a_sweep_goes_on_after_a_failure),
        cmocka_unit_test(the_rows_of_a_sweep_are_counted),
        cmocka_unit_test(what_happens_does_not_depend_on_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

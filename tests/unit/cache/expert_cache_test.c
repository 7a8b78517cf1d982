/*
 * expert_cache_test.c - one test for each arrow of the header's diagram, for each invariant, and for each rule of the
 * policy and of the hand-out; then a comparison with a small reference over random visits, and a torture with failing,
 * late and abandoned reads.
 */
#include "cache/expert_cache.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/prng.h"
#include "expert_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const storage_sim_config prompt_disk = {.seed = 1, .latency_ns_min = 100, .latency_ns_max = 100};
static const storage_sim_config shuffling_disk = {.seed = 2, .latency_ns_min = 100, .latency_ns_max = 100000};

static expert_cache_stats stats_of(const expert_world *w) { return expert_cache_stats_get(w->cache); }

/* ---- the arrows ---- */

static void acquire_starts_the_missing_reads_in_order(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    world_open(&w, &(world_shape){1, 8, 4, 4, 3, 700}, &prompt_disk);
    world_acquire(&w, &set, 0, LIST(5, 2));
    assert_int_equal(storage_sim_pending_count(w.reads), 6);
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t tag = storage_sim_submitted_tag(w.reads, i);
        assert_int_equal(tag / EXPERT_PARTS_MAX, set.refs[i / 3].slot_idx);
        assert_int_equal(tag % EXPERT_PARTS_MAX, i % 3);
    }
    assert_int_equal(stats_of(&w).ready_count, 0);
    world_release(&w, &set);
    world_close(&w);
}

static void a_record_is_ready_when_all_its_parts_are_read(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    world_open(&w, &(world_shape){1, 8, 4, 4, 3, 700}, &shuffling_disk);
    world_acquire(&w, &set, 0, LIST(7));
    assert_int_equal(world_next(&w, &set), 7); /* compares the bytes of all parts */
    assert_int_equal(storage_sim_pending_count(w.reads), 0);
    assert_int_equal(stats_of(&w).ready_count, 1);
    world_release(&w, &set);
    assert_int_equal(world_visit(&w, 0, LIST(7)), 1); /* a hit: no further read */
    assert_int_equal(storage_sim_submitted_count(w.reads), 3);
    world_close(&w);
}

static void a_failed_read_empties_the_slot_and_is_told_once(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    leat_error error;
    uint32_t ref_idx = 77;
    world_open(&w, &(world_shape){2, 8, 4, 4, 3, 700}, &prompt_disk);
    storage_sim_fail_nth(w.reads, 5); /* the second part of the second record */
    world_acquire(&w, &set, 1, LIST(3, 6, 1));
    assert_int_equal(world_next(&w, &set), 3);
    assert_int_equal(expert_cache_next(w.cache, &set, &ref_idx, &error), LEAT_IO);
    expert_cache_check(w.cache);
    assert_int_equal(ref_idx, 77); /* outputs only on success */
    const extent *part = &world_record(&w, 1, 6)->parts[1];
    char offset_text[32];
    snprintf(offset_text, sizeof offset_text, "offset %llu ", (unsigned long long)part->offset);
    assert_non_null(strstr(error.text, "layer 1, expert 6"));
    assert_non_null(strstr(error.text, offset_text));
    assert_non_null(strstr(error.text, w.set.names[part->file_idx]));
    assert_int_equal(error.os_errno, EIO);
    /* its third part was awaited, the last record's were not */
    assert_int_equal(storage_sim_pending_count(w.reads), 3);
    assert_int_equal(world_next(&w, &set), 1);
    assert_int_equal(set.handed_out_count, set.count);
    assert_int_equal(stats_of(&w).ready_count, 2);
    world_release(&w, &set);
    assert_int_equal(world_visit(&w, 1, LIST(6, 3, 1)), 6); /* the failed one is read again, and is whole */
    world_close(&w);
}

static void an_idle_record_is_evicted_when_room_is_needed(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){1, 8, 2, 2, 2, 700}, &prompt_disk);
    world_visit(&w, 0, LIST(0, 1));
    assert_int_equal(stats_of(&w).evictions, 0);
    world_visit(&w, 0, LIST(2));
    assert_int_equal(stats_of(&w).evictions, 1);
    assert_int_equal(stats_of(&w).ready_count, 2);
    /* 1 was the older one: the first named counts as the most recent */
    assert_int_equal(world_visit(&w, 0, LIST(0)), 1);
    assert_int_equal(world_visit(&w, 0, LIST(1)), 0);
    world_close(&w);
}

/* ---- the invariants ---- */

static void two_holders_share_the_slot_of_a_key(void **state)
{
    (void)state;
    expert_world w;
    static expert_set a, b;
    world_open(&w, &(world_shape){1, 8, 4, 2, 3, 700}, &shuffling_disk);
    world_acquire(&w, &a, 0, LIST(4, 5));
    world_acquire(&w, &b, 0, LIST(5, 4)); /* both still LOADING */
    assert_int_equal(storage_sim_submitted_count(w.reads), 6);
    assert_int_equal(a.refs[0].slot_idx, b.refs[1].slot_idx);
    assert_int_equal(a.refs[1].slot_idx, b.refs[0].slot_idx);
    world_next(&w, &b);
    world_next(&w, &b);
    world_release(&w, &b);
    world_next(&w, &a);
    world_next(&w, &a);
    world_release(&w, &a);
    world_close(&w);
}

static void a_held_record_stays_and_its_bytes_do_not_change(void **state)
{
    (void)state;
    expert_world w;
    static expert_set held;
    world_open(&w, &(world_shape){2, 16, 6, 2, 3, 700}, &shuffling_disk);
    world_acquire(&w, &held, 0, LIST(1, 2));
    world_next(&w, &held);
    world_next(&w, &held);
    for (uint32_t i = 0; i < 100; i++) world_visit(&w, i % 2, LIST(3 + i % 12, 4 + i % 12));
    world_compare(&w, &held, 0);
    world_compare(&w, &held, 1);
    assert_int_equal(world_visit(&w, 0, LIST(2, 1)), 3);
    world_release(&w, &held);
    world_close(&w);
}

static void acquire_pins_all_or_nothing(void **state)
{
    (void)state;
    expert_world w;
    static expert_set a, b, refused;
    leat_error error;
    world_open(&w, &(world_shape){1, 16, 5, 3, 2, 700}, &prompt_disk);
    world_visit(&w, 0, LIST(9));
    world_acquire(&w, &a, 0, LIST(0, 1, 2));
    world_acquire(&w, &b, 0, LIST(9));
    memset(&refused, 0x5a, sizeof refused);
    /* one slot is left */
    assert_int_equal(expert_cache_acquire(w.cache, 0, LIST(9, 3, 4), &refused, &error), LEAT_INTERNAL);
    assert_non_null(strstr(error.text, "layer 0 needs 2 more slots"));
    assert_int_equal(refused.count, 0x5a5a5a5a); /* outputs only on success */
    expert_cache_check(w.cache);
    assert_int_equal(stats_of(&w).hits + stats_of(&w).misses, 5);
    world_release(&w, &b); /* had the refused call left a pin on 9, the next could not evict it */
    while (a.handed_out_count < a.count) world_next(&w, &a);
    world_visit(&w, 0, LIST(5, 6));
    assert_int_equal(world_visit(&w, 0, LIST(9)), 0);
    world_release(&w, &a);
    world_close(&w);
}

static void makes_progress_with_as_many_slots_as_a_set_needs(void **state)
{
    (void)state;
    expert_world w;
    prng dice;
    prng_init(&dice, 3);
    world_open(&w, &(world_shape){4, 9, 3, 3, 0, 600}, &shuffling_disk);
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t first = (uint32_t)prng_below(&dice, 9);
        world_visit(&w, i % 4, LIST(first, (first + 1) % 9, (first + 5) % 9));
    }
    world_close(&w);
}

static void allocates_nothing_after_open(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){2, 16, 5, 3, 3, 700}, &shuffling_disk);
    uint64_t bytes = mem_total_usage(w.ledger).current_bytes;
    mem_fail_nth(w.ledger, 1); /* would fail at once */
    storage_sim_set_failures(w.reads, 100);
    for (uint32_t i = 0; i < 200; i++) {
        expert_set set;
        leat_error error;
        uint32_t ref_idx;
        world_acquire(&w, &set, i % 2, LIST(i % 16, (i + 1) % 16, (i + 7) % 16));
        while (set.handed_out_count < set.count) (void)!expert_cache_next(w.cache, &set, &ref_idx, &error);
        world_release(&w, &set);
    }
    assert_int_equal(mem_total_usage(w.ledger).peak_bytes, bytes);
    mem_fail_nth(w.ledger, 0);
    world_close(&w);
}

/* ---- the hand-out ---- */

static void hands_out_hits_first_and_the_others_as_they_arrive(void **state)
{
    (void)state;
    expert_world w;
    static expert_set set;
    bool was_reordered = false;
    world_open(&w, &(world_shape){1, 64, 40, 12, 2, 700}, &shuffling_disk);
    world_visit(&w, 0, LIST(1, 2, 3));
    world_acquire(&w, &set, 0, LIST(40, 3, 41, 1, 42, 43, 2, 44, 45, 46));
    uint64_t begin_ns = storage_sim_now_ns(w.reads);
    assert_int_equal(world_next(&w, &set), 3);
    assert_int_equal(world_next(&w, &set), 1);
    assert_int_equal(world_next(&w, &set), 2);
    assert_int_equal(storage_sim_now_ns(w.reads), begin_ns); /* without waiting */
    for (uint32_t last = 0, i = 0; i < 7; i++) {
        uint64_t before_ns = storage_sim_now_ns(w.reads);
        uint32_t expert = world_next(&w, &set);
        assert_true(storage_sim_now_ns(w.reads) > before_ns); /* handed out as soon as it was complete, not later */
        was_reordered |= expert < last;
        last = expert;
    }
    assert_true(was_reordered);
    world_release(&w, &set);
    world_close(&w);
}

static void a_failure_waits_for_the_other_parts_of_its_record(void **state)
{
    (void)state;
    for (uint64_t failing = 1; failing <= 4; failing++) {
        expert_world w;
        expert_set set;
        leat_error error;
        uint32_t ref_idx;
        world_open(&w, &(world_shape){1, 8, 1, 1, 4, 700}, &shuffling_disk);
        storage_sim_fail_nth(w.reads, failing);
        world_acquire(&w, &set, 0, LIST(2));
        assert_int_equal(expert_cache_next(w.cache, &set, &ref_idx, &error), LEAT_IO);
        assert_int_equal(storage_sim_pending_count(w.reads), 0); /* else a late part would land in the next record */
        world_release(&w, &set);
        assert_int_equal(world_visit(&w, 0, LIST(3)), 0);
        world_close(&w);
    }
}

static void every_holder_learns_of_a_failure(void **state)
{
    (void)state;
    expert_world w;
    static expert_set a, b;
    leat_error error;
    uint32_t ref_idx;
    world_open(&w, &(world_shape){1, 8, 4, 2, 2, 700}, &prompt_disk);
    storage_sim_fail_nth(w.reads, 2);
    world_acquire(&w, &a, 0, LIST(0));
    world_acquire(&w, &b, 0, LIST(0));
    assert_int_equal(expert_cache_next(w.cache, &a, &ref_idx, &error), LEAT_IO);
    world_release(&w, &a);
    assert_int_equal(expert_cache_next(w.cache, &b, &ref_idx, &error), LEAT_IO);
    assert_non_null(strstr(error.text, "layer 0, expert 0"));
    expert_cache_check(w.cache);
    assert_int_equal(world_visit(&w, 0, LIST(0)), 0); /* EMPTY again even before the last set is released */
    world_release(&w, &b);
    world_close(&w);
}

static void an_abandoned_set_completes_later(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    world_open(&w, &(world_shape){1, 16, 6, 3, 2, 700}, &prompt_disk);
    world_acquire(&w, &set, 0, LIST(0, 1, 2));
    world_next(&w, &set);
    world_release(&w, &set);
    assert_int_equal(set.count, 0);
    assert_int_equal(storage_sim_pending_count(w.reads), 4);
    world_acquire(&w, &set, 0, LIST(1, 0, 3)); /* 1 is still on its way: not read twice */
    assert_int_equal(storage_sim_submitted_count(w.reads), 8);
    assert_false(set.refs[0].was_hit);
    assert_true(set.refs[1].was_hit);
    assert_int_equal(stats_of(&w).hits, 2); /* whether the disk was quick enough is not counted */
    assert_int_equal(stats_of(&w).misses, 4);
    for (int i = 0; i < 3; i++) world_next(&w, &set);
    world_release(&w, &set);
    assert_int_equal(world_visit(&w, 0, LIST(2, 1)), 3); /* 2 arrived while others were awaited */
    world_close(&w);
}

static void acquire_waits_for_abandoned_reads_when_it_needs_their_slots(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const bool fails = i & 1, have_begun = i & 2;
        storage_sim_config disk = shuffling_disk;
        expert_world w;
        expert_set set;
        if (have_begun) disk.begun_per_1000 = 1000;
        world_open(&w, &(world_shape){1, 16, 3, 3, 2, 700}, &disk);
        if (fails) storage_sim_fail_nth(w.reads, 3);
        world_acquire(&w, &set, 0, LIST(0, 1, 2));
        world_release(&w, &set);
        assert_int_equal(storage_sim_pending_count(w.reads), 6);
        assert_int_equal(world_visit(&w, 0, LIST(3, 4, 5)), 0);
        assert_int_equal(stats_of(&w).evictions, 3); /* whatever became of their reads */
        world_close(&w);
    }
}

static void closes_with_reads_under_way(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    world_open(&w, &(world_shape){1, 16, 6, 3, 2, 700}, &shuffling_disk);
    world_acquire(&w, &set, 0, LIST(0, 1, 2));
    world_release(&w, &set);
    world_close(&w); /* asserts that nothing is pending */
    expert_cache *none = NULL;
    expert_cache_close(&none);
}

static void gets_along_with_a_queue_shorter_than_a_set(void **state)
{
    (void)state;
    for (uint32_t depth = 1; depth < 8; depth++) {
        expert_world w;
        world_open(
            &w, &(world_shape){2, 16, 8, 8, 3, 700},
            &(storage_sim_config){.seed = depth, .queue_depth = depth, .latency_ns_min = 1, .latency_ns_max = 1000});
        world_visit(&w, 0, LIST(0, 1, 2, 3, 4, 5, 6, 7));
        assert_int_equal(world_visit(&w, 0, LIST(7, 8, 1, 9, 2)), 1 + 4 + 16);
        storage_sim_fail_nth(w.reads, 4);
        expert_set set;
        leat_error error;
        uint32_t ref_idx, failed_count = 0;
        world_acquire(&w, &set, 1, LIST(0, 1, 2, 3, 4, 5, 6, 7));
        while (set.handed_out_count < set.count)
            failed_count += expert_cache_next(w.cache, &set, &ref_idx, &error) == LEAT_IO;
        assert_int_equal(failed_count, 1);
        world_release(&w, &set);
        world_close(&w);
    }
}

static void an_empty_set_is_a_set(void **state)
{
    (void)state;
    expert_world w;
    expert_set set;
    world_open(&w, &(world_shape){1, 4, 2, 2, 1, 100}, &prompt_disk);
    world_acquire(&w, &set, 0, NULL, 0);
    world_release(&w, &set);
    world_close(&w);
}

/* ---- the policy ---- */

static void a_layer_beyond_its_share_replaces_its_own(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){3, 32, 9, 2, 1, 500}, &prompt_disk); /* a share is 3 */
    world_visit(&w, 0, LIST(0, 1));
    world_visit(&w, 0, LIST(2));
    world_visit(&w, 1, LIST(0, 1));
    world_visit(&w, 1, LIST(2));
    world_visit(&w, 2, LIST(0, 1));
    for (uint32_t i = 2; i < 32; i += 2) world_visit(&w, 2, LIST(i, i + 1)); /* a flood in one layer */
    assert_int_equal(world_visit(&w, 0, LIST(0, 1)), 3);
    assert_int_equal(world_visit(&w, 0, LIST(2)), 1);
    assert_int_equal(world_visit(&w, 1, LIST(2, 0)), 3);
    world_close(&w);
}

static void free_slots_are_taken_first_and_given_back_to_those_below_their_share(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){3, 32, 9, 3, 1, 500}, &prompt_disk); /* a share is 3 */
    for (uint32_t i = 0; i < 9; i += 3) world_visit(&w, 0, LIST(i + 2, i + 1, i));
    assert_int_equal(stats_of(&w).evictions, 0); /* layer 0 holds all nine */
    world_visit(&w, 1, LIST(0));
    world_visit(&w, 2, LIST(0));
    assert_int_equal(world_visit(&w, 1, LIST(1)), 0);       /* from layer 0 again: layer 2 has less than its share */
    assert_int_equal(world_visit(&w, 0, LIST(3, 4, 5)), 7); /* 0, 1 and 2, the oldest, had to go */
    assert_int_equal(world_visit(&w, 0, LIST(6, 7, 8)), 7);
    assert_int_equal(world_visit(&w, 1, LIST(0, 1)), 3);
    assert_int_equal(world_visit(&w, 2, LIST(0)), 1);
    assert_int_equal(stats_of(&w).evictions, 3);
    world_close(&w);
}

static void a_hit_makes_a_record_young_again(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){1, 32, 4, 2, 1, 500}, &prompt_disk);
    world_visit(&w, 0, LIST(0, 1));
    world_visit(&w, 0, LIST(2, 3));
    world_visit(&w, 0, LIST(1, 0));
    world_visit(&w, 0, LIST(4, 5)); /* 2 and 3 are the oldest now */
    assert_int_equal(world_visit(&w, 0, LIST(0, 1)), 3);
    assert_int_equal(world_visit(&w, 0, LIST(2, 3)), 0);
    world_close(&w);
}

static void a_cache_below_one_set_per_layer_takes_the_youngest_of_all(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){4, 32, 6, 3, 1, 500}, &prompt_disk); /* a share is 3, but there are only 6 slots */
    world_visit(&w, 0, LIST(0, 1, 2));
    world_visit(&w, 1, LIST(0, 1, 2));
    world_visit(&w, 2, LIST(0)); /* no layer is beyond its share: the youngest of all, expert 0 of layer 1 */
    assert_int_equal(world_visit(&w, 0, LIST(0, 1, 2)), 7);
    assert_int_equal(world_visit(&w, 1, LIST(1, 2)), 3);
    assert_int_equal(world_visit(&w, 2, LIST(0)), 1);
    world_close(&w);
}

/* Every layer wants the same three experts each time round. The oldest of all would always be what is wanted next. */
static void a_cache_below_one_set_per_layer_has_hits(void **state)
{
    (void)state;
    expert_world w;
    world_open(&w, &(world_shape){4, 32, 6, 3, 1, 500}, &prompt_disk);
    for (uint32_t visit = 0; visit < 40; visit++) world_visit(&w, visit % 4, LIST(0, 1, 2));
    assert_int_equal(stats_of(&w).hits, 36); /* of 120; least recently used of all would have none */
    world_close(&w);
}

static void a_full_layer_whose_records_are_held_takes_from_another(void **state)
{
    (void)state;
    expert_world w;
    static expert_set held;
    world_open(&w, &(world_shape){2, 32, 4, 2, 1, 500}, &prompt_disk); /* a share is 2 */
    world_visit(&w, 1, LIST(0, 1));
    world_acquire(&w, &held, 0, LIST(0, 1));
    world_next(&w, &held);
    world_next(&w, &held);
    world_visit(&w, 0, LIST(2)); /* expert 0 of layer 1 goes */
    assert_int_equal(world_visit(&w, 1, LIST(1)), 1);
    world_release(&w, &held);
    assert_int_equal(world_visit(&w, 0, LIST(0, 1)), 3);
    world_close(&w);
}

/* ---- memory and configuration ---- */

static void takes_the_memory_that_the_planner_was_told(void **state)
{
    (void)state;
    static const world_shape shapes[] = {{2, 32, 40, 4, 3, 20000},
                                         {24, 64, 300, 8, 9, 3000},
                                         {1, 4, 2, 2, 1, 400000},
                                         {3, 200, 500, 8, 0, 1500},
                                         {2, 4, 100, 2, 12, 300}};
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        expert_world w;
        world_open(&w, &shapes[i], &prompt_disk);
        uint64_t told_bytes = expert_cache_bytes(&w.config, &w.set);
        uint64_t taken_bytes = mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes;
        assert_int_equal(taken_bytes, told_bytes);
        assert_int_equal(mem_total_usage(w.ledger).current_bytes, taken_bytes); /* and from no other pool */
        assert_true(taken_bytes > shapes[i].slot_count * expert_cache_slot_bytes(&w.config, &w.set));
        world_close(&w);
    }
}

static void a_slot_holds_every_record_with_aligned_parts(void **state)
{
    (void)state;
    const file files[] = {{.is_direct = true, .offset_align = 4096, .memory_align = 512},
                          {.offset_align = 1, .memory_align = 1}};
    const char *const names[] = {"a", "b"};
    const file_set set = {files, names, 2};
    const extent small[] = {{0, 0, 1}};
    const extent large[] = {{0, 4095, 2}, {1, 7, 3}, {0, 0, 4096}, {1, 0, 100}}; /* 8192, 3 -> 512, 4096, 100 */
    const expert_record records[] = {{small, 1}, {large, 4}};
    expert_cache_config config = {
        .layer_count = 1, .expert_count = 2, .records = records, .slot_count = 3, .set_max = 1};
    assert_int_equal(expert_cache_slot_bytes(&config, &set), 16384);
    config.expert_count = 1;
    assert_int_equal(expert_cache_slot_bytes(&config, &set), 4096);
    config.expert_count = 0;
    assert_int_equal(expert_cache_slot_bytes(&config, &set), 0);
    const extent buffered[] = {{0, 7, 65}, {0, 3, 1}};
    const expert_record buffered_record = {buffered, 2};
    config = (expert_cache_config){
        .layer_count = 1, .expert_count = 1, .records = &buffered_record, .slot_count = 3, .set_max = 1};
    assert_int_equal(expert_cache_slot_bytes(&config, &(file_set){files + 1, names + 1, 1}), 192); /* cache lines */
    const extent absurd[] = {{0, 1, UINT64_MAX / 2}, {0, 1, UINT64_MAX / 2}, {0, 1, UINT64_MAX / 2}};
    const expert_record absurd_record = {absurd, 3};
    config.records = &absurd_record;
    assert_int_equal(expert_cache_slot_bytes(&config, &set), UINT64_MAX);
    assert_int_equal(expert_cache_bytes(&config, &set), UINT64_MAX);
}

/* Parts that follow each other in a file come with one read, whose window is laid out and addressed as a whole. */
static void adjacent_parts_are_one_read(void **state)
{
    (void)state;
    enum { DIRECT, BUFFERED };
    static const struct {
        extent parts[4];
        uint32_t read_count;
        uint64_t slot_bytes;
    } cases[] = {
        {{{DIRECT, 100, 500}, {DIRECT, 600, 0}, {DIRECT, 600, 700}, {DIRECT, 1300, 1}}, 1, 4096}, /* 0 .. 1536 */
        {{{DIRECT, 512, 512}, {DIRECT, 0, 0}, {BUFFERED, 9, 0}, {DIRECT, 1024, 512}}, 1, 4096},
        {{{DIRECT, 100, 500}, {DIRECT, 601, 100}, {DIRECT, 701, 3000}, {DIRECT, 90, 9}}, 3, 8192}, /* 1024, 3584, 512 */
        {{{DIRECT, 100, 500}, {BUFFERED, 600, 700}, {DIRECT, 600, 1}, {DIRECT, 601, 100}}, 3, 4096},
        {{{BUFFERED, 3, 50}, {BUFFERED, 53, 50}, {BUFFERED, 2, 1}, {BUFFERED, 3, 5}}, 2, 4096},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        expert_world w;
        expert_set set;
        world_open(&w, &(world_shape){1, 8, 4, 4, 4, 1200}, &prompt_disk);
        memcpy(w.extents, cases[i].parts, sizeof cases[i].parts);
        expert_cache_config config = w.config;
        config.expert_count = 1;
        assert_int_equal(expert_cache_slot_bytes(&config, &w.set), cases[i].slot_bytes);
        world_acquire(&w, &set, 0, LIST(0));
        assert_int_equal(storage_sim_pending_count(w.reads), cases[i].read_count);
        assert_int_equal(world_next(&w, &set), 0); /* compares the bytes of all parts */
        for (uint32_t p = 1; p < 4 && cases[i].read_count == 1; p++) {
            if (cases[i].parts[p].bytes == 0) continue;
            assert_ptr_equal(set.refs[0].parts[p],
                             set.refs[0].parts[0] + (cases[i].parts[p].offset - cases[i].parts[0].offset));
        }
        world_release(&w, &set);
        world_close(&w);
    }
}

static void open_refuses_what_cannot_work(void **state)
{
    (void)state;
    expert_world w;
    leat_error error;
    world_open(&w, &(world_shape){2, 8, 4, 4, 3, 700}, &prompt_disk);
    expert_cache *cache = NULL;
    expert_cache_config config = w.config;

    config.slot_count = 3; /* invariant 3 */
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_BUDGET);
    assert_non_null(strstr(error.text, "3"));
    config = w.config;
    config.set_max = 0;
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_USAGE);
    config.set_max = config.slot_count = EXPERT_SET_MAX + 1;
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_USAGE);
    config = w.config;
    config.layer_count = 0;
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_USAGE);
    config = w.config;
    uint32_t part_count = w.records[11].part_count;
    w.records[11].part_count = EXPERT_PARTS_MAX + 1;
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_MODEL);
    assert_non_null(strstr(error.text, "layer 1, expert 3"));
    w.records[11].part_count = 0;
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_MODEL);
    w.records[11].part_count = part_count;

    uint64_t bytes = mem_total_usage(w.ledger).current_bytes;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_nth(w.ledger, nth);
        assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_NO_MEMORY);
        assert_int_equal(mem_total_usage(w.ledger).current_bytes, bytes);
    }
    mem_fail_nth(w.ledger, 0);
    assert_null(cache);
    world_close(&w);
}

/* ---- against a reference ---- */

enum { REFERENCE_SLOTS_MAX = 64 };

/* The policy again, as plainly as it can be said: an array and linear scans. */
typedef struct reference {
    struct {
        bool used;
        uint32_t layer, expert, pins;
        uint64_t stamp;
    } slots[REFERENCE_SLOTS_MAX];
    uint32_t slot_count, share;
    uint64_t stamp, hits, misses, evictions;
} reference;

static uint32_t count_layer(const reference *r, uint32_t layer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->slot_count; i++) count += r->slots[i].used && r->slots[i].layer == layer;
    return count;
}

/* Rule 0: a free slot; 1: its own oldest, if it has its share; 2: the oldest of layers beyond theirs; 3: the youngest.
 */
static bool is_candidate(const reference *r, uint32_t i, int rule, uint32_t layer)
{
    if (rule == 0 || !r->slots[i].used) return rule == 0 && !r->slots[i].used;
    if (r->slots[i].pins > 0) return false;
    uint32_t count = count_layer(r, r->slots[i].layer);
    return rule == 3 || (rule == 2 ? count > r->share : r->slots[i].layer == layer && count >= r->share);
}

static uint32_t reference_room(const reference *r, uint32_t layer)
{
    for (int rule = 0; rule < 4; rule++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < r->slot_count; i++)
            if (is_candidate(r, i, rule, layer) &&
                (best == UINT32_MAX || (r->slots[i].stamp < r->slots[best].stamp) != (rule == 3)))
                best = i;
        if (best != UINT32_MAX) return best;
    }
    return UINT32_MAX;
}

static uint32_t reference_find(const reference *r, uint32_t layer, uint32_t expert)
{
    for (uint32_t i = 0; i < r->slot_count; i++)
        if (r->slots[i].used && r->slots[i].layer == layer && r->slots[i].expert == expert) return i;
    return UINT32_MAX;
}

/* false, and nothing changes, when the set does not fit. hits: a bit for each expert of the list. */
static bool reference_acquire(reference *r, uint32_t layer, const uint32_t *experts, uint32_t count, uint64_t *out_hits)
{
    uint32_t absent_count = 0, held_count = 0;
    *out_hits = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot_idx = reference_find(r, layer, experts[i]);
        if (slot_idx == UINT32_MAX)
            absent_count++;
        else
            r->slots[slot_idx].pins++, *out_hits |= 1ull << i;
    }
    for (uint32_t i = 0; i < r->slot_count; i++) held_count += r->slots[i].pins > 0;
    bool fits = absent_count <= r->slot_count - held_count;
    for (uint32_t i = count; i-- > 0;) {
        uint32_t slot_idx = reference_find(r, layer, experts[i]);
        if (!fits) {
            if (slot_idx != UINT32_MAX) r->slots[slot_idx].pins--;
            continue;
        }
        if (slot_idx == UINT32_MAX) {
            slot_idx = reference_room(r, layer);
            r->evictions += r->slots[slot_idx].used;
            r->slots[slot_idx].used = true;
            r->slots[slot_idx].layer = layer;
            r->slots[slot_idx].expert = experts[i];
            r->slots[slot_idx].pins = 1;
        }
        r->slots[slot_idx].stamp = ++r->stamp;
    }
    if (!fits) return false;
    r->misses += absent_count;
    r->hits += count - absent_count;
    return true;
}

/* `count` distinct experts, the low ones more often. */
static void draw_experts(prng *dice, uint32_t expert_count, uint32_t *experts, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t expert = (uint32_t)(prng_below(dice, expert_count) * prng_below(dice, expert_count) / expert_count);
        bool is_new = true;
        for (uint32_t j = 0; j < i; j++) is_new &= experts[j] != expert;
        if (is_new) experts[i++] = expert;
    }
}

static void compare_with_reference(const world_shape *shape, uint64_t seed, uint32_t visit_count)
{
    enum { HELD_MAX = 3 };
    static expert_set sets[HELD_MAX];
    expert_world w;
    prng dice;
    leat_error error;
    uint32_t refused_count = 0;
    reference r = {.slot_count = shape->slot_count,
                   .share = (uint32_t)max_u64(shape->slot_count / shape->layer_count, shape->set_max)};
    prng_init(&dice, seed);
    memset(sets, 0, sizeof sets);
    world_open(&w, shape, &shuffling_disk);
    for (uint32_t visit = 0; visit < visit_count; visit++) {
        expert_set *set = &sets[prng_below(&dice, HELD_MAX)];
        if (set->count > 0) {
            for (uint32_t i = 0; i < set->count; i++) {
                world_compare(&w, set, i); /* unchanged since it was handed out */
                r.slots[reference_find(&r, set->layer, set->refs[i].expert)].pins--;
            }
            world_release(&w, set);
            continue;
        }
        uint32_t experts[EXPERT_SET_MAX], layer = (uint32_t)prng_below(&dice, shape->layer_count);
        uint32_t count = 1 + (uint32_t)prng_below(&dice, shape->set_max);
        uint64_t hits;
        draw_experts(&dice, shape->expert_count, experts, count);
        if (!reference_acquire(&r, layer, experts, count, &hits)) {
            assert_int_equal(expert_cache_acquire(w.cache, layer, experts, count, set, &error), LEAT_INTERNAL);
            expert_cache_check(w.cache);
            refused_count++;
            continue;
        }
        world_acquire(&w, set, layer, experts, count);
        for (uint32_t i = 0; i < count; i++) assert_int_equal(set->refs[i].was_hit, hits >> i & 1);
        while (set->handed_out_count < set->count) world_next(&w, set);
        expert_cache_stats stats = stats_of(&w);
        assert_int_equal(stats.hits, r.hits);
        assert_int_equal(stats.misses, r.misses);
        assert_int_equal(stats.evictions, r.evictions);
        assert_int_equal(stats.ready_count, stats.misses - stats.evictions);
    }
    for (uint32_t i = 0; i < HELD_MAX; i++) world_release(&w, &sets[i]);
    assert_true(r.hits > 100 && r.misses > 100);
    assert_true(refused_count > 0 || shape->slot_count >= HELD_MAX * shape->set_max);
    world_close(&w);
}

static void equals_a_reference_over_random_visits(void **state)
{
    (void)state;
    compare_with_reference(&(world_shape){3, 20, 24, 6, 0, 300}, 11, 4000); /* a share of 8 */
    compare_with_reference(&(world_shape){3, 20, 8, 4, 2, 300}, 12, 3000);  /* fewer slots than a set per layer */
    compare_with_reference(&(world_shape){1, 40, 16, 8, 1, 300}, 13, 2000); /* one layer */
    compare_with_reference(&(world_shape){7, 16, 64, 3, 1, 300}, 14, 3000); /* many layers, slots left over */
}

/* ---- torture ---- */

/* Reads fail, arrive in any order, and are abandoned at any moment, with up to three sets held and a queue that is
 * always too short. What is handed out is right, what fails is told, and nothing is lost. */
static void survives_failing_late_and_abandoned_reads(void **state)
{
    (void)state;
    enum { HELD_MAX = 3 };
    static expert_set sets[HELD_MAX];
    for (uint64_t seed = 1; seed <= 8; seed++) {
        expert_world w;
        prng dice;
        leat_error error;
        uint32_t failed_count = 0, handed_out_count = 0, refused_count = 0;
        prng_init(&dice, seed);
        memset(sets, 0, sizeof sets);
        world_open(&w, &(world_shape){3, 12, 5 + (uint32_t)seed, 5, 0, 200},
                   &(storage_sim_config){.seed = seed,
                                         .queue_depth = 1 + (uint32_t)seed * 2 % 11,
                                         .latency_ns_max = 1000000,
                                         .failures_per_1000 = 60});
        for (int i = 0; i < 3000; i++) {
            expert_set *set = &sets[prng_below(&dice, HELD_MAX)];
            if (set->count == 0) {
                uint32_t experts[5], count = 1 + (uint32_t)prng_below(&dice, 5);
                draw_experts(&dice, 12, experts, count);
                leat_status status =
                    expert_cache_acquire(w.cache, (uint32_t)prng_below(&dice, 3), experts, count, set, &error);
                assert_true(status == LEAT_OK || status == LEAT_INTERNAL);
                refused_count += status != LEAT_OK;
            } else if (set->handed_out_count == set->count || prng_below(&dice, 6) == 0) {
                for (uint32_t n = 0; n < set->count; n++)
                    if (set->refs[n].handed_out && set->refs[n].parts[0] != NULL) world_compare(&w, set, n);
                expert_cache_release(w.cache, set);
            } else {
                uint32_t ref_idx, before = set->handed_out_count;
                leat_status status = expert_cache_next(w.cache, set, &ref_idx, &error);
                assert_true(status == LEAT_OK || status == LEAT_IO);
                assert_int_equal(set->handed_out_count, before + 1);
                if (status == LEAT_OK) world_compare(&w, set, ref_idx);
                failed_count += status == LEAT_IO;
                handed_out_count += status == LEAT_OK;
            }
            expert_cache_check(w.cache);
        }
        assert_true(failed_count > 20 && handed_out_count > 200 && refused_count > 0);
        storage_sim_set_failures(w.reads, 0);
        for (uint32_t i = 0; i < HELD_MAX; i++) world_release(&w, &sets[i]);
        expert_cache_settle(w.cache); /* reads on their way may have failed already */
        for (uint32_t layer = 0; layer < 3; layer++) world_visit(&w, layer, LIST(0, 3, 6, 9, 11)); /* and works on */
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acquire_starts_the_missing_reads_in_order),
        cmocka_unit_test(a_record_is_ready_when_all_its_parts_are_read),
        cmocka_unit_test(a_failed_read_empties_the_slot_and_is_told_once),
        cmocka_unit_test(an_idle_record_is_evicted_when_room_is_needed),
        cmocka_unit_test(two_holders_share_the_slot_of_a_key),
        cmocka_unit_test(a_held_record_stays_and_its_bytes_do_not_change),
        cmocka_unit_test(acquire_pins_all_or_nothing),
        cmocka_unit_test(makes_progress_with_as_many_slots_as_a_set_needs),
        cmocka_unit_test(allocates_nothing_after_open),
        cmocka_unit_test(hands_out_hits_first_and_the_others_as_they_arrive),
        cmocka_unit_test(a_failure_waits_for_the_other_parts_of_its_record),
        cmocka_unit_test(every_holder_learns_of_a_failure),
        cmocka_unit_test(an_abandoned_set_completes_later),
        cmocka_unit_test(acquire_waits_for_abandoned_reads_when_it_needs_their_slots),
        cmocka_unit_test(closes_with_reads_under_way),
        cmocka_unit_test(gets_along_with_a_queue_shorter_than_a_set),
        cmocka_unit_test(an_empty_set_is_a_set),
        cmocka_unit_test(a_layer_beyond_its_share_replaces_its_own),
        cmocka_unit_test(free_slots_are_taken_first_and_given_back_to_those_below_their_share),
        cmocka_unit_test(a_hit_makes_a_record_young_again),
        cmocka_unit_test(a_cache_below_one_set_per_layer_takes_the_youngest_of_all),
        cmocka_unit_test(a_cache_below_one_set_per_layer_has_hits),
        cmocka_unit_test(a_full_layer_whose_records_are_held_takes_from_another),
        cmocka_unit_test(takes_the_memory_that_the_planner_was_told),
        cmocka_unit_test(a_slot_holds_every_record_with_aligned_parts),
        cmocka_unit_test(adjacent_parts_are_one_read),
        cmocka_unit_test(open_refuses_what_cannot_work),
        cmocka_unit_test(equals_a_reference_over_random_visits),
        cmocka_unit_test(survives_failing_late_and_abandoned_reads),
    };
    return cmocka_run_group_tests_name("expert_cache", tests, NULL, NULL);
}

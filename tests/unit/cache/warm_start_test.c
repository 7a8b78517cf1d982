/*
 * warm_start_test.c - what the warm start reads, how it ends, and what it leaves behind. The simulated storage knows
 * one thread at a time: until stop that is the warm start's.
 */
#include "exec/warm_start.h"

#include "expert_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LAYERS = 3, EXPERTS = 8, SLOTS = 9 }; /* three a layer */

static const storage_sim_config disk = {.seed = 1, .latency_ns_min = 10, .latency_ns_max = 1000};

/* The best of layer l are l, l + 2 and l + 4, in that order. */
static void fill_uses(double *uses)
{
    memset(uses, 0, LAYERS * EXPERTS * sizeof *uses);
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t i = 0; i < 4; i++) uses[layer * EXPERTS + (layer + 2 * i) % EXPERTS] = 40 - 10 * i;
}

static warm_start *begin(expert_world *w, cache_policy policy)
{
    double uses[LAYERS * EXPERTS];
    warm_start *warm = NULL;
    leat_error error;

    world_open_with(w, &(world_shape){LAYERS, EXPERTS, SLOTS, 2, 2, 300}, policy, &disk);
    fill_uses(uses);
    if (warm_start_open(w->ledger, w->cache, uses, 100, LAYERS, EXPERTS, SLOTS, &warm, &error) != LEAT_OK)
        fail_msg("%s", error.text);
    assert_int_equal(mem_pool_usage(w->ledger, MEM_META).current_bytes, warm_start_bytes(LAYERS, EXPERTS));
    return warm;
}

static void wait_for(const expert_world *w, uint32_t ready_count)
{
    alarm(120); /* what never comes must not hang the tests */
    while (expert_cache_stats_get(w->cache).ready_count < ready_count) usleep(200);
    alarm(0);
}

static void reads_what_was_used_most(void **state)
{
    (void)state;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        expert_world w;
        warm_start *warm = begin(&w, (cache_policy)policy);
        wait_for(&w, SLOTS);
        alarm(120);
        while (!warm_start_is_over(warm)) usleep(200);
        alarm(0);
        warm_start_stop(&warm);
        assert_null(warm);
        expert_cache_check(w.cache);
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t e = 0; e < EXPERTS; e++)
                assert_int_equal(expert_cache_holds(w.cache, layer, e),
                                 e == layer || e == (layer + 2) % EXPERTS || e == (layer + 4) % EXPERTS);
        const expert_cache_stats stats = expert_cache_stats_get(w.cache);
        assert_int_equal(stats.warmed, SLOTS);
        assert_int_equal(stats.hits + stats.misses + stats.evictions, 0);
        for (uint64_t i = 0; i < storage_sim_submitted_count(w.reads); i++)
            assert_int_equal(storage_sim_submitted_class(w.reads, i), READ_BACKGROUND);
        assert_int_equal(world_visit(&w, 1, LIST(3, 1)), 3); /* hits, with the right bytes */
        world_close(&w);
    }
}

/* Under LFU what was warmed has the uses that made it so: one newcomer does not take the place of the best. */
static void counts_the_uses(void **state)
{
    (void)state;
    expert_world w;
    warm_start *warm = begin(&w, CACHE_LFU);
    wait_for(&w, SLOTS);
    warm_start_stop(&warm);
    world_visit(&w, 0, LIST(7));
    assert_true(expert_cache_holds(w.cache, 0, 0) && expert_cache_holds(w.cache, 0, 2));
    assert_false(expert_cache_holds(w.cache, 0, 4));
    world_close(&w);
}

static void may_be_ended_at_any_time(void **state)
{
    (void)state;
    for (uint32_t wanted = 0; wanted <= SLOTS; wanted++) {
        expert_world w;
        warm_start *warm = begin(&w, CACHE_LFU);
        wait_for(&w, wanted);
        warm_start_stop(&warm);
        warm_start_stop(&warm);
        assert_int_equal(mem_pool_usage(w.ledger, MEM_META).current_bytes, 0);
        expert_cache_check(w.cache);
        for (uint32_t layer = 0; layer < LAYERS; layer++) world_visit(&w, layer, LIST(5, 6));
        world_close(&w);
    }
}

static void ends_at_a_failed_read(void **state)
{
    (void)state;
    expert_world w;
    double uses[LAYERS * EXPERTS];
    warm_start *warm = NULL;
    leat_error error;

    world_open(&w, &(world_shape){LAYERS, EXPERTS, SLOTS, 2, 2, 300}, &disk);
    fill_uses(uses);
    storage_sim_fail_nth(w.reads, 5);
    assert_int_equal(warm_start_open(w.ledger, w.cache, uses, 100, LAYERS, EXPERTS, SLOTS, &warm, &error), LEAT_OK);
    wait_for(&w, 2);
    warm_start_stop(&warm);
    expert_cache_check(w.cache);
    assert_int_equal(world_visit(&w, 0, LIST(0, 2)), 3);
    world_visit(&w, 0, LIST(4, 7)); /* the one that failed can be had now */
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_used_most),
        cmocka_unit_test(counts_the_uses),
        cmocka_unit_test(may_be_ended_at_any_time),
        cmocka_unit_test(ends_at_a_failed_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

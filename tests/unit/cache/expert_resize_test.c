/*
 * expert_resize_test.c - expert_cache_resize on the simulated storage: random sets between random sizes, with
 * expert_cache_check after each; what is handed out is always what is in the files; the ledger and the system's account
 * follow.
 */
#include "base/bytes.h"
#include "base/prng.h"
#include "expert_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { LAYERS = 4, EXPERTS = 16, SLOTS = 48, SET = 3 };

static const storage_sim_config disk = {.seed = 7, .latency_ns_min = 5, .latency_ns_max = 500};
static const world_shape shape = {LAYERS, EXPERTS, SLOTS, SET, 0, 900};

static uint32_t resize(expert_world *w, uint32_t slot_count)
{
    const uint32_t reached = expert_cache_resize(w->cache, slot_count);
    expert_cache_check(w->cache);
    assert_int_equal(expert_cache_stats_get(w->cache).slot_count, reached);
    return reached;
}

/* `count` distinct experts. */
static void draw_set(prng *dice, uint32_t count, uint32_t *out)
{
    for (uint32_t i = 0; i < count;) {
        out[i] = (uint32_t)prng_below(dice, EXPERTS);
        uint32_t same = 0;
        while (out[same] != out[i]) same++;
        if (same == i) i++;
    }
}

static void random_sets_between_random_sizes(void **state)
{
    (void)state;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        expert_world w;
        prng dice;
        uint32_t changes = 0;
        prng_init(&dice, 100 + (uint64_t)policy);
        world_open_with(&w, &shape, (cache_policy)policy, &disk);
        for (uint32_t round = 0; round < 400; round++) {
            uint32_t experts[EXPERTS];
            if (prng_below(&dice, 4) == 0) {
                const uint32_t wanted = (uint32_t)prng_below(&dice, SLOTS + 8), before = w.config.slot_count;
                const uint32_t reached = resize(&w, wanted);
                assert_int_equal(reached, min_u64(max_u64(wanted, SET), SLOTS));
                changes += reached != before;
                w.config.slot_count = reached;
            }
            const uint32_t count = 1 + (uint32_t)prng_below(&dice, SET);
            draw_set(&dice, count, experts);
            world_visit(&w, round % LAYERS, experts, count);
            assert_true(expert_cache_stats_get(w.cache).ready_count <= w.config.slot_count);
        }
        assert_true(changes > 50);
        assert_int_equal(expert_cache_stats_get(w.cache).resize_count, changes);
        world_close(&w); /* asserts that the ledger is empty: what is away is not counted twice */
    }
}

/* What the policy would keep is still there, wherever it lay: no read but of what went. */
static void what_is_kept_is_kept(void **state)
{
    (void)state;
    expert_world w;
    world_open_with(&w, &shape, CACHE_LRU, &disk);
    for (uint32_t e = 0; e < 12; e++)
        for (uint32_t layer = 0; layer < LAYERS; layer++) world_visit(&w, layer, &e, 1);
    assert_int_equal(expert_cache_stats_get(w.cache).ready_count, SLOTS);
    assert_int_equal(resize(&w, 5 * LAYERS), 5 * LAYERS);
    assert_int_equal(expert_cache_stats_get(w.cache).evictions, SLOTS - 5 * LAYERS);
    const uint64_t misses = expert_cache_stats_get(w.cache).misses;
    for (uint32_t e = 7; e < 12; e++)
        for (uint32_t layer = 0; layer < LAYERS; layer++) assert_int_equal(world_visit(&w, layer, &e, 1), 1);
    assert_int_equal(expert_cache_stats_get(w.cache).misses, misses);
    world_close(&w);
}

static void held_records_stay_where_they_are(void **state)
{
    (void)state;
    expert_world w;
    expert_set held;
    world_open(&w, &shape, &disk);
    for (uint32_t e = 0; e < 10; e++) world_visit(&w, 0, &e, 1);
    world_acquire(&w, &held, 1, LIST(4, 9));
    world_next(&w, &held);
    world_next(&w, &held);
    const uint8_t *part = held.refs[0].parts[0];
    assert_int_equal(resize(&w, SET), 12); /* ten records, and the two that are held behind them */
    assert_ptr_equal(held.refs[0].parts[0], part);
    world_compare(&w, &held, 0);
    world_compare(&w, &held, 1);
    world_release(&w, &held);
    assert_int_equal(resize(&w, SET), SET);
    world_close(&w);
}

static uint32_t resident_pages(const uint8_t *begin, uint64_t bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    unsigned char *in = calloc(bytes / page + 1, 1);
    uint32_t count = 0;
    assert_int_equal(mincore((void *)(uintptr_t)begin, bytes, in), 0);
    for (uint64_t i = 0; i < bytes / page; i++) count += in[i] & 1;
    free(in);
    return count;
}

/* The pages are really gone, and the ledger says so to the byte. */
static void pages_go_back_and_come_again(void **state)
{
    (void)state;
    static const world_shape large = {2, 16, 32, 2, 1, 40000};
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    expert_world w;
    expert_set set;
    world_open(&w, &large, &disk);
    const uint64_t slot_bytes = expert_cache_slot_bytes(&w.config, &w.set);
    const uint64_t full = mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes;
    for (uint32_t e = 0; e < 16; e++) {
        world_visit(&w, 0, &e, 1);
        world_visit(&w, 1, &e, 1);
    }
    world_acquire(&w, &set, 0, LIST(0)); /* the first slot: where the block begins */
    world_next(&w, &set);
    const uint8_t *block = (const uint8_t *)(uintptr_t)round_down((uint64_t)(uintptr_t)set.refs[0].parts[0], page);
    world_release(&w, &set);
    const uint64_t rest = round_up(8 * slot_bytes, page) + page;
    const uint64_t end = round_down(32 * slot_bytes, page) - page;
    assert_int_equal(resident_pages(block + rest, end - rest), (end - rest) / page);

    assert_int_equal(resize(&w, 8), 8);
    const uint64_t less = full - mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes;
    assert_int_equal(less % page, 0);
    assert_in_range(less, 24 * slot_bytes - 2 * page, 24 * slot_bytes + page);
    assert_int_equal(resident_pages(block + rest, end - rest), 0);
    for (uint32_t e = 0; e < 16; e++) world_visit(&w, e % 2, &e, 1);

    assert_int_equal(resize(&w, 1000), 32);
    assert_int_equal(mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes, full);
    for (uint32_t e = 0; e < 16; e++) world_visit(&w, 0, &e, 1);
    world_close(&w);
}

static void growing_needs_room_in_the_ledger(void **state)
{
    (void)state;
    static const world_shape large = {2, 16, 32, 2, 1, 40000};
    expert_world w;
    leat_error error;
    world_open(&w, &large, &disk);
    assert_int_equal(resize(&w, 8), 8);
    const uint64_t taken = mem_total_usage(w.ledger).current_bytes;
    assert_int_equal(mem_set_budget(w.ledger, taken + 100, &error), LEAT_OK);
    assert_int_equal(resize(&w, 32), 8);
    assert_int_equal(mem_total_usage(w.ledger).current_bytes, taken);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sets_between_random_sizes), cmocka_unit_test(what_is_kept_is_kept),
        cmocka_unit_test(held_records_stay_where_they_are), cmocka_unit_test(pages_go_back_and_come_again),
        cmocka_unit_test(growing_needs_room_in_the_ledger),
    };
    return cmocka_run_group_tests_name("expert_resize", tests, NULL, NULL);
}

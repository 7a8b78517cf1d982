/*
 * expert_classes_test.c - layers of different record sizes: which of them share slots, how slots are divided, and that
 * each class lives as a cache of its own would, to the last hit.
 */
#include "cache/expert_classes.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "cache/expert_replay.h"
#include "expert_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 5, EXPERTS = 12, USED = 3, PARTS = 2, STEPS = 150 };

/* Layers 0, 2 and 3 have large records, 1 and 4 small ones. */
static const uint32_t layer_bytes[LAYERS] = {3000, 700, 3000, 2900, 700};
static const uint32_t class_of[LAYERS] = {0, 1, 0, 0, 1};
static const storage_sim_config disk = {.seed = 11, .latency_ns_max = 3000};

/* ---- which layers go together ---- */

typedef struct sizes {
    uint64_t bytes[8]; /* of the records of each layer */
    uint32_t layer_count, slot_count;
    uint32_t classes[8], class_count; /* expected */
} sizes;

static void layers_of_one_size_share_slots(void **state)
{
    (void)state;
    static const sizes cases[] = {
        {{100, 100, 100}, 3, 12, {0}, 1},
        {{100, 90, 88}, 3, 12, {0}, 1}, /* within an eighth */
        {{100, 50, 100, 51}, 4, 16, {0, 1, 0, 1}, 2},
        {{50, 100, 51, 200}, 4, 16, {2, 1, 2, 0}, 3}, /* the largest is class 0 */
        {{100, 50, 100, 51}, 4, 7, {0}, 1},           /* fewer slots than a set of each layer */
        {{1 << 20, 1 << 18, 1 << 16, 1 << 14, 1 << 12, 1 << 10, 1 << 8, 1}, 8, 32, {0, 1, 2, 3, 4, 5, 5, 5}, 6},
        {{100}, 1, 4, {0}, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const sizes *c = &cases[i];
        extent parts[8][2];
        expert_record records[16];
        for (uint32_t layer = 0; layer < c->layer_count; layer++) {
            parts[layer][0] = (extent){0, 0, c->bytes[layer] - 1};
            parts[layer][1] = (extent){0, 0, 1};
            records[layer * 2] = records[layer * 2 + 1] = (expert_record){parts[layer], 2};
        }
        const expert_cache_config config = {.layer_count = c->layer_count,
                                            .expert_count = 2,
                                            .records = records,
                                            .slot_count = c->slot_count,
                                            .set_max = 2};
        expert_classes found;
        expert_classes_find(&config, &found);
        assert_int_equal(found.count, c->class_count);
        uint32_t counts[EXPERT_CLASSES_MAX] = {0};
        for (uint32_t layer = 0; layer < c->layer_count; layer++) {
            assert_int_equal(expert_classes_of_layer(&found, &config, layer), c->classes[layer]);
            counts[c->classes[layer]]++;
        }
        assert_memory_equal(found.layer_counts, counts, sizeof counts);
        /* A layer whose own records differ: what is the largest of them says nothing about the rest. */
        records[1].part_count = 1;
        expert_classes_find(&config, &found);
        assert_int_equal(found.count, 1);
    }
}

static void slots_are_divided_equally_among_layers(void **state)
{
    (void)state;
    const expert_classes c = {.count = 3, .layer_counts = {1, 7, 3}, .layer_count = 11, .set_max = 4};
    uint32_t before[EXPERT_CLASSES_MAX] = {0}, counts[EXPERT_CLASSES_MAX];
    for (uint32_t slots = 44; slots < 400; slots++) {
        uint32_t sum = 0;
        expert_classes_divide(&c, slots, counts);
        for (uint32_t i = 0; i < c.count; i++) {
            assert_in_range(counts[i], slots / 11 * c.layer_counts[i], (slots / 11 + 1) * c.layer_counts[i]);
            assert_true(counts[i] >= before[i]); /* so that more slots never need less memory */
            before[i] = counts[i];
            sum += counts[i];
        }
        assert_int_equal(sum, slots);
    }
    for (uint32_t slots = 0; slots < 44; slots++) { /* a cache that was resized */
        uint32_t sum = 0;
        expert_classes_divide(&c, slots, counts);
        for (uint32_t i = 0; i < c.count; i++) {
            assert_true(counts[i] >= 4);
            sum += counts[i];
        }
        assert_int_equal(sum, max_u64(slots, 12));
    }
}

/* ---- a cache of several classes ---- */

typedef struct step {
    uint32_t layer, ids[USED];
} step;

static void draw_step(prng *dice, uint64_t nth, step *out)
{
    uint64_t used = 0;
    out->layer = (uint32_t)(nth % LAYERS);
    for (uint32_t i = 0; i < USED;) {
        const uint32_t id = (uint32_t)(prng_below(dice, EXPERTS) * prng_below(dice, EXPERTS) / EXPERTS);
        if (used >> id & 1) continue;
        used |= 1ull << id;
        out->ids[i++] = id;
    }
}

static world_shape shape_of(uint32_t layers, uint32_t slots)
{
    return (world_shape){layers, EXPERTS, slots, USED, PARTS, 0};
}

/* The same sets, to a cache of one class's layers alone. */
static expert_cache_stats live_alone(uint32_t class_idx, uint32_t slots, cache_policy policy)
{
    uint32_t bytes[LAYERS], local[LAYERS], layers = 0;
    expert_world w;
    prng dice;
    step s;
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        if (class_of[layer] != class_idx) continue;
        bytes[layers] = layer_bytes[layer];
        local[layer] = layers++;
    }
    const world_shape shape = shape_of(layers, slots);
    world_open_mixed(&w, &shape, bytes, policy, &disk);
    assert_int_equal(expert_cache_class_count(w.cache), 1);
    prng_init(&dice, 7);
    for (uint64_t nth = 0; nth < STEPS * LAYERS; nth++) {
        draw_step(&dice, nth, &s);
        if (class_of[s.layer] == class_idx) world_visit(&w, local[s.layer], s.ids, USED);
    }
    const expert_cache_stats stats = expert_cache_stats_get(w.cache);
    world_close(&w);
    return stats;
}

/* "classes" makes the trace of a run replay to the same counts; without it other slots would be shared. */
static void check_replay(const expert_cache_stats *stats, uint32_t slots, cache_policy policy, mem *ledger)
{
    static char text[STEPS * LAYERS * 16 + 400];
    size_t length = 0;
    replay_counts counts, bound;
    route_trace t = {0};
    leat_error error;
    prng dice;
    step s;
    length += (size_t)snprintf(text, sizeof text,
                               "{\"leat_route_trace\":2,\"layer_count\":%d,\"expert_count\":%d,\"used_count\":%d,"
                               "\"slot_count\":%u,\"set_max\":%d,\"policy\":\"%s\",\"classes\":[0,1,0,0,1]}\n",
                               LAYERS, EXPERTS, USED, slots, USED, cache_policy_label(policy));
    prng_init(&dice, 7);
    for (uint64_t nth = 0; nth < STEPS * LAYERS; nth++) {
        draw_step(&dice, nth, &s);
        length += (size_t)snprintf(text + length, sizeof text - length, "%s[%u,%u,%u]%s",
                                   s.layer == 0 ? "{\"layers\":[" : ",", s.ids[0], s.ids[1], s.ids[2],
                                   s.layer + 1 == LAYERS ? "]}\n" : "");
    }
    if (route_trace_parse(ledger, "t", text, &t, &error) != LEAT_OK) fail_msg("%s", error.text);
    assert_int_equal(expert_replay(ledger, &t, slots, policy, true, &counts, &error), LEAT_OK);
    assert_int_equal(counts.hits, stats->hits);
    assert_int_equal(counts.misses, stats->misses);
    assert_int_equal(counts.evictions, stats->evictions);
    assert_int_equal(expert_replay_belady(ledger, &t, slots, &bound, &error), LEAT_OK);
    assert_true(bound.hits >= counts.hits && bound.hits + bound.misses == counts.hits + counts.misses);
    route_trace_close(&t);
}

static void each_class_is_a_cache_of_its_own(void **state)
{
    (void)state;
    static const uint32_t slot_counts[] = {LAYERS * USED, 22, 37, LAYERS * EXPERTS};
    mem *ledger = NULL;
    leat_error error;
    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++)
        for (size_t n = 0; n < ARRAY_COUNT(slot_counts); n++) {
            expert_world w;
            expert_cache_stats sum = {0};
            expert_classes classes;
            uint32_t counts[EXPERT_CLASSES_MAX];
            prng dice;
            step s;
            const world_shape shape = shape_of(LAYERS, slot_counts[n]);
            world_open_mixed(&w, &shape, layer_bytes, (cache_policy)policy, &disk);
            assert_int_equal(expert_cache_class_count(w.cache), 2);
            for (uint32_t i = 0; i < LAYERS; i++) assert_int_equal(expert_cache_layer_class(w.cache, i), class_of[i]);
            prng_init(&dice, 7);
            for (uint64_t nth = 0; nth < STEPS * LAYERS; nth++) {
                draw_step(&dice, nth, &s);
                world_visit(&w, s.layer, s.ids, USED);
            }
            const expert_cache_stats stats = expert_cache_stats_get(w.cache);
            expert_classes_find(&w.config, &classes);
            expert_classes_divide(&classes, slot_counts[n], counts);
            for (uint32_t i = 0; i < classes.count; i++) {
                const expert_cache_stats alone = live_alone(i, counts[i], (cache_policy)policy);
                sum.hits += alone.hits;
                sum.misses += alone.misses;
                sum.evictions += alone.evictions;
            }
            assert_int_equal(stats.hits, sum.hits);
            assert_int_equal(stats.misses, sum.misses);
            assert_int_equal(stats.evictions, sum.evictions);
            check_replay(&stats, slot_counts[n], (cache_policy)policy, ledger);
            world_close(&w);
        }
    mem_close(&ledger);
}

/* ---- memory ---- */

static void small_layers_take_small_slots(void **state)
{
    (void)state;
    for (uint32_t slots = USED; slots <= LAYERS * EXPERTS; slots++) {
        expert_world w;
        const world_shape shape = shape_of(LAYERS, slots);
        world_open_mixed(&w, &shape, layer_bytes, CACHE_LFU, &disk);
        assert_int_equal(mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes, expert_cache_bytes(&w.config, &w.set));
        const uint64_t equal_bytes = slots * expert_cache_slot_bytes(&w.config, &w.set);
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < expert_cache_class_count(w.cache); i++)
            bytes += expert_cache_memory_get(w.cache, i).bytes;
        if (slots < LAYERS * USED)
            assert_int_equal(bytes, equal_bytes);
        else
            assert_in_range(bytes, equal_bytes / 2, equal_bytes * 9 / 10);
        world_close(&w);
    }
}

static void resizes_all_classes(void **state)
{
    (void)state;
    enum { MOST = 50 };
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        expert_world w;
        prng dice;
        step s;
        const world_shape shape = shape_of(LAYERS, MOST);
        world_open_mixed(&w, &shape, layer_bytes, (cache_policy)policy, &disk);
        const uint64_t whole = mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes;
        prng_init(&dice, 21);
        for (uint64_t nth = 0; nth < 600; nth++) {
            draw_step(&dice, nth, &s);
            world_visit(&w, s.layer, s.ids, USED); /* compares what is handed out */
            if (nth % 7 != 0) continue;
            const uint32_t wanted = (uint32_t)prng_below(&dice, MOST + 10);
            const uint32_t reached = expert_cache_resize(w.cache, wanted);
            expert_cache_check(w.cache);
            assert_int_equal(reached, max_u64(2 * USED, min_u64(wanted, MOST)));
            assert_true(expert_cache_stats_get(w.cache).ready_count <= reached);
        }
        assert_int_equal(expert_cache_resize(w.cache, MOST), MOST);
        assert_int_equal(mem_pool_usage(w.ledger, MEM_EXPERTS).current_bytes, whole);
        world_close(&w);
    }
}

/* A guess for a layer of one class is given up by a guess for a layer of the other, and costs it no slot. */
static void guesses_cross_classes(void **state)
{
    (void)state;
    expert_world w;
    const world_shape shape = shape_of(LAYERS, LAYERS * USED);
    world_open_mixed(&w, &shape, layer_bytes, CACHE_LRU, &disk);
    assert_int_equal(expert_cache_read_ahead(w.cache, 1, LIST(1, 2, 3), AHEAD_MAX), 3);
    assert_int_equal(expert_cache_read_ahead(w.cache, 2, LIST(4, 5), AHEAD_MAX), 2);
    expert_cache_check(w.cache);
    assert_int_equal(expert_cache_stats_get(w.cache).ahead_wasted, 3);
    assert_int_equal(world_visit(&w, 2, LIST(4, 5, 6)), 0);
    const expert_cache_stats stats = expert_cache_stats_get(w.cache);
    assert_int_equal(stats.ahead_used, 2);
    assert_int_equal(stats.ahead_used_bytes, 2 * expert_cache_slot_bytes(&w.config, &w.set));
    world_visit(&w, 1, LIST(1, 2, 3));
    assert_int_equal(expert_cache_stats_get(w.cache).hits, 3); /* what was given up was still there */
    assert_int_equal(expert_cache_read_ahead(w.cache, 4, LIST(7), AHEAD_MAX), 1);
    world_visit(&w, 4, LIST(7, 8, 9));
    assert_true(expert_cache_stats_get(w.cache).ahead_used_bytes < 3 * expert_cache_slot_bytes(&w.config, &w.set));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_of_one_size_share_slots),
        cmocka_unit_test(slots_are_divided_equally_among_layers),
        cmocka_unit_test(each_class_is_a_cache_of_its_own),
        cmocka_unit_test(small_layers_take_small_slots),
        cmocka_unit_test(resizes_all_classes),
        cmocka_unit_test(guesses_cross_classes),
    };
    return cmocka_run_group_tests_name("expert_classes", tests, NULL, NULL);
}

/*
 * expert_replay_test.c - recorded routing: what is read and what is refused, the replay against the cache itself, and
 * Belady's rule against the best of all choices.
 */
#include "cache/expert_replay.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "expert_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SETTINGS                                                                                                       \
    "{\"leat_route_trace\":2,\"layer_count\":2,\"expert_count\":8,\"used_count\":2,\"slot_count\":8,\"set_max\":4,"    \
    "\"policy\":\"slru\",\"more\":[1]}\n"

static mem *ledger;

static void open_ledger(void)
{
    leat_error error;
    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
}

static void close_ledger(void)
{
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    mem_close(&ledger);
}

static route_trace parse(const char *text)
{
    route_trace t = {0};
    leat_error error;
    if (route_trace_parse(ledger, "t", text, &t, &error) != LEAT_OK) fail_msg("%s", error.text);
    return t;
}

static void reads_both_kinds(void **state)
{
    (void)state;
    open_ledger();
    route_trace t = parse("{\"tok\":0,\"layers\":[[3,1],[0,2]]}\n\n{\"layers\":[[1,0],[7,6]],\"tok\":1,\"x\":{}}");
    assert_false(t.has_settings);
    assert_int_equal(t.layer_count, 2);
    assert_int_equal(t.expert_count, 8);
    assert_int_equal(t.used_count, 2);
    assert_int_equal(t.step_count, 2);
    assert_int_equal(t.list_count, 4);
    assert_int_equal(t.lists[3].layer, 1);
    assert_int_equal(t.ids[t.lists[3].begin], 7);
    route_trace_close(&t);
    t = parse(SETTINGS "{\"tok\":0,\"rows\":3,\"layers\":[[0,1,2],[4,5,6,7]]}\n{\"tok\":3,\"layers\":[[0,1],[2]]}\n");
    assert_true(t.has_settings);
    assert_int_equal(t.expert_count, 8);
    assert_int_equal(t.used_count, 2);
    assert_int_equal(t.slot_count, 8);
    assert_int_equal(t.set_max, 4);
    assert_int_equal(t.policy, CACHE_SLRU);
    assert_int_equal(t.token_count, 4);
    assert_int_equal(t.step_count, 2);
    route_trace_close(&t);
    t = parse(SETTINGS); /* a run that was over before it began */
    route_trace_close(&t);
    close_ledger();
}

static void a_line_that_was_cut_off_is_left_out(void **state)
{
    (void)state;
    static const char whole[] = SETTINGS "{\"tok\":0,\"layers\":[[0,1],[2,3]]}\n{\"tok\":1,\"layers\":[[4,5],[6,7]]}\n";
    const size_t first = strlen(SETTINGS), second = first + 33;
    open_ledger();
    for (size_t length = first; length < sizeof whole; length++) {
        char text[sizeof whole] = {0};
        memcpy(text, whole, length);
        route_trace t = parse(text);
        uint64_t steps = (length >= second - 1) + (length >= sizeof whole - 2);
        assert_int_equal(t.step_count, steps);
        assert_int_equal(t.list_count, steps * 2);
        assert_int_equal(t.id_count, steps * 4);
        route_trace_close(&t);
    }
    close_ledger();
}

static void refuses_what_is_no_trace(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "no step"},
        {"\n\n", "no step"},
        {"[]\n", "t, line 1: at byte 0: expected an object"},
        {"{\"tok\":0}\n", "without \"layers\""},
        {"{\"layers\":[[1],[2]]}\n{\"layers\":7}\n", "t, line 2"},
        {"{\"layers\":[[1,1]]}\n", "layer 0 names expert 1 twice"},
        {"{\"layers\":[[65536]]}\n", "below 65536"},
        {"{\"layers\":[[-1]]}\n", "expected an expert"},
        {"{\"layers\":[[1]]", "t, line 1"}, /* cut off, with nothing before it */
        {"{\"layers\":[[1]]} x\n", "t, line 1"},
        {"{\"leat_route_trace\":1}\n", "version 1"},
        {"{\"leat_route_trace\":3}\n", "version 3"},
        {"{\"leat_route_trace\":2}\n", "need layer_count"},
        {SETTINGS SETTINGS, "t, line 2: at byte 0: settings in the middle"},
        {SETTINGS "{\"layers\":[[8]]}\n", "below 8"},
        {SETTINGS "{\"layers\":[[1],[2],[3]]}\n", "more than 2 layers"},
        {"{\"leat_route_trace\":2,\"policy\":\"fifo\"}\n", "none of lru"},
        {"{\"leat_route_trace\":2,\"classes\":3}\n", "an array of classes"},
        {"{\"leat_route_trace\":2,\"classes\":[0,6]}\n", "a class below 6"},
        {"{\"leat_route_trace\":2,\"layer_count\":2,\"expert_count\":8,\"used_count\":2,\"slot_count\":4,\"set_max\":2,"
         "\"policy\":\"lru\",\"classes\":[0,1,0]}\n",
         "not one number for each layer"},
    };
    open_ledger();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        route_trace t = {0};
        leat_error error;
        assert_int_equal(route_trace_parse(ledger, "t", cases[i].text, &t, &error), LEAT_MODEL);
        if (!strstr(error.text, cases[i].error)) fail_msg("%s\nlacks: %s", error.text, cases[i].error);
        route_trace_close(&t);
    }
    route_trace t = {0};
    leat_error error;
    assert_int_equal(route_trace_open(ledger, "/nonexistent", &t, &error), LEAT_MODEL);
    route_trace_close(&t);
    for (uint64_t nth = 1; nth <= 5; nth++) {
        mem_fail_nth(ledger, nth);
        leat_status status = route_trace_parse(ledger, "t", SETTINGS "{\"layers\":[[1]]}\n", &t, &error);
        assert_true(status == LEAT_NO_MEMORY);
        route_trace_close(&t);
    }
    mem_fail_nth(ledger, 0);
    close_ledger();
}

/* A text of random routing: `layers` lists of `count` ids a line. */
static char *draw_trace(uint64_t seed, uint32_t steps, uint32_t layers, uint32_t experts, uint32_t count)
{
    prng dice;
    prng_init(&dice, seed);
    const size_t bytes = steps * (layers * (count * 4 + 4) + 40);
    char *text = malloc(bytes);
    size_t length = 0;
    if (text == NULL) abort();
    for (uint32_t step = 0; step < steps; step++) {
        length += (size_t)snprintf(text + length, bytes - length, "{\"tok\":%u,\"layers\":[", step);
        for (uint32_t layer = 0; layer < layers; layer++) {
            uint64_t used = 0;
            length += (size_t)snprintf(text + length, bytes - length, layer > 0 ? ",[" : "[");
            for (uint32_t i = 0; i < count;) {
                uint64_t id = prng_below(&dice, experts) * prng_below(&dice, experts) / experts;
                if (used >> id & 1) continue;
                used |= 1ull << id;
                length += (size_t)snprintf(text + length, bytes - length, i++ > 0 ? ",%u" : "%u", (uint32_t)id);
            }
            length += (size_t)snprintf(text + length, bytes - length, "]");
        }
        length += (size_t)snprintf(text + length, bytes - length, "]}\n");
    }
    return text;
}

static void a_replay_does_what_the_cache_does(void **state)
{
    (void)state;
    enum { STEPS = 200, LAYERS = 3, EXPERTS = 16, USED = 3 };
    static const storage_sim_config disk = {.seed = 3, .latency_ns_max = 1000};
    open_ledger();
    char *text = draw_trace(5, STEPS, LAYERS, EXPERTS, USED);
    route_trace t = parse(text);
    leat_error error;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++)
        for (uint32_t slots = USED; slots <= LAYERS * EXPERTS; slots += 4) {
            expert_world w;
            replay_counts counts;
            world_open_with(&w, &(world_shape){LAYERS, t.expert_count, slots, USED, 1, 50}, (cache_policy)policy,
                            &disk);
            for (uint64_t i = 0; i < t.list_count; i++)
                world_visit(&w, t.lists[i].layer, t.ids + t.lists[i].begin, t.lists[i].count);
            expert_cache_stats stats = expert_cache_stats_get(w.cache);
            assert_int_equal(expert_replay(ledger, &t, slots, (cache_policy)policy, true, &counts, &error), LEAT_OK);
            assert_int_equal(counts.hits, stats.hits);
            assert_int_equal(counts.misses, stats.misses);
            assert_int_equal(counts.evictions, stats.evictions);
            world_close(&w);
            replay_counts bound;
            assert_int_equal(expert_replay_belady(ledger, &t, slots, &bound, &error), LEAT_OK);
            assert_true(bound.hits >= counts.hits && bound.hits + bound.misses == counts.hits + counts.misses);
        }
    replay_counts counts;
    assert_int_equal(expert_replay(ledger, &t, USED - 1, CACHE_LRU, true, &counts, &error), LEAT_BUDGET);
    assert_int_equal(expert_replay_belady(ledger, &t, USED - 1, &counts, &error), LEAT_BUDGET);
    route_trace_close(&t);
    free(text);
    close_ledger();
}

/* A chunk of a prompt asks for its experts one after the other; a single row whose list is longer than a set, as traces
 * of other origin have it, asks for it in pieces. */
static void long_lists_are_swept_or_come_in_pieces(void **state)
{
    (void)state;
    static const char settings[] = "{\"leat_route_trace\":2,\"layer_count\":1,\"expert_count\":8,\"used_count\":2,"
                                   "\"slot_count\":4,\"set_max\":2,\"policy\":\"lru\"}\n";
    open_ledger();
    char text[400];
    replay_counts counts;
    leat_error error;
    snprintf(text, sizeof text, "%s%s", settings,
             "{\"tok\":0,\"rows\":9,\"layers\":[[0,1,2,3,4,5]],\"expert_rows\":[[1,1,1,2,3,1]]}\n"
             "{\"tok\":9,\"layers\":[[2,3]]}\n");
    route_trace t = parse(text);
    assert_int_equal(t.id_rows[4], 3);
    assert_int_equal(expert_replay(ledger, &t, 4, CACHE_LRU, true, &counts, &error), LEAT_OK);
    assert_int_equal(counts.hits, 2); /* 0 and 1 had to go for 4 and 5 */
    assert_int_equal(counts.evictions, 2);
    route_trace_close(&t);
    snprintf(text, sizeof text, "%s%s", settings,
             "{\"tok\":0,\"layers\":[[0,1,2,3]]}\n{\"tok\":1,\"layers\":[[1,3]]}\n");
    t = parse(text);
    assert_int_equal(expert_replay(ledger, &t, 2, CACHE_LRU, true, &counts, &error), LEAT_OK);
    assert_int_equal(counts.hits, 1); /* two pieces */
    route_trace_close(&t);
    close_ledger();
}

/* Two layers; what is read ahead for the second one takes a slot of its own while the first is held. */
static void what_was_read_ahead_is_read_ahead_again(void **state)
{
    (void)state;
    open_ledger();
    route_trace t = parse("{\"leat_route_trace\":2,\"layer_count\":2,\"expert_count\":8,\"used_count\":2,"
                          "\"slot_count\":6,\"set_max\":2,\"policy\":\"lru\"}\n"
                          "{\"tok\":0,\"layers\":[[0,1],[2,3]],\"ahead\":[[],[3,5]]}\n"
                          "{\"tok\":1,\"layers\":[[0,1],[2,5]]}\n");
    replay_counts counts;
    leat_error error;
    assert_int_equal(expert_replay(ledger, &t, 6, CACHE_LRU, true, &counts, &error), LEAT_OK);
    assert_int_equal(counts.ahead_used, 1);
    assert_int_equal(counts.ahead_wasted, 1);
    assert_int_equal(counts.misses, 4); /* a guess that was named is a miss; 5 stayed, and is a hit a step later */
    assert_int_equal(counts.hits, 4);
    assert_int_equal(expert_replay(ledger, &t, 6, CACHE_LRU, false, &counts, &error), LEAT_OK);
    assert_int_equal(counts.ahead_used + counts.ahead_wasted, 0);
    assert_int_equal(counts.hits, 3);
    route_trace_close(&t);
    close_ledger();
}

/* ---- Belady against all choices ---- */

/* The most hits from list `i` on with `held` in the cache, by trying every set of victims. */
static uint32_t most_hits(const route_trace *t, uint64_t i, uint32_t held, uint32_t slots)
{
    if (i == t->list_count) return 0;
    uint32_t wanted = 0, best = 0;
    for (uint32_t n = 0; n < t->lists[i].count; n++) wanted |= 1u << t->ids[t->lists[i].begin + n];
    uint32_t hits = (uint32_t)__builtin_popcount(held & wanted), others = held & ~wanted;
    for (uint32_t kept = others;; kept = (kept - 1) & others) {
        uint32_t count = (uint32_t)__builtin_popcount(kept | wanted);
        /* no more is evicted than must be: what is kept in vain does no harm */
        if (count == slots || (count < slots && kept == others))
            best = (uint32_t)max_u64(best, most_hits(t, i + 1, kept | wanted, slots));
        if (kept == 0) break;
    }
    return hits + best;
}

static void belady_is_the_best_of_all_choices(void **state)
{
    (void)state;
    open_ledger();
    for (uint64_t seed = 1; seed <= 30; seed++) {
        char *text = draw_trace(seed, 9, 1, 7, 2);
        route_trace t = parse(text);
        for (uint32_t slots = 2; slots <= 4; slots++) {
            replay_counts counts;
            leat_error error;
            t.has_settings = true; /* sets of two, whatever the size */
            t.slot_count = slots;
            t.set_max = 2;
            assert_int_equal(expert_replay_belady(ledger, &t, slots, &counts, &error), LEAT_OK);
            assert_int_equal(counts.hits, most_hits(&t, 0, 0, slots));
            assert_int_equal(counts.hits + counts.misses, 18);
        }
        route_trace_close(&t);
        free(text);
    }
    close_ledger();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_kinds),
        cmocka_unit_test(a_line_that_was_cut_off_is_left_out),
        cmocka_unit_test(refuses_what_is_no_trace),
        cmocka_unit_test(a_replay_does_what_the_cache_does),
        cmocka_unit_test(long_lists_are_swept_or_come_in_pieces),
        cmocka_unit_test(what_was_read_ahead_is_read_ahead_again),
        cmocka_unit_test(belady_is_the_best_of_all_choices),
    };
    return cmocka_run_group_tests_name("expert_replay", tests, NULL, NULL);
}

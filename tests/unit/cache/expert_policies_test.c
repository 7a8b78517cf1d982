/*
 * expert_policies_test.c - the policies of the expert cache: each against a plain reference over random visits, and the
 * property that it is there for.
 */
#include "cache/expert_cache.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "expert_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const storage_sim_config disk = {.seed = 2, .latency_ns_min = 100, .latency_ns_max = 100000};

enum { SLOTS_MAX = 64, LAYERS_MAX = 8, EXPERTS_MAX = 64 };

/* ---- a reference: arrays and linear scans ---- */

typedef struct reference_slot {
    bool used;
    uint32_t layer, expert, pins, segment, uses;
    uint64_t stamp; /* of the last acquire */
    uint64_t place; /* in its list: larger is nearer to the young end */
} reference_slot;

typedef struct reference {
    cache_policy policy;
    reference_slot slots[SLOTS_MAX];
    uint32_t slot_count, layer_count, expert_count, share;
    bool is_below_sets;
    uint32_t counts[LAYERS_MAX][EXPERTS_MAX];                          /* LFU */
    uint32_t left_at[LAYERS_MAX][EXPERTS_MAX], left_count[LAYERS_MAX]; /* S3FIFO: when it left the small queue, or 0 */
    uint64_t stamp, place, hits, misses, evictions;
} reference;

static uint32_t count_slots(const reference *r, uint32_t layer, uint32_t segment_begin, uint32_t segment_end)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->slot_count; i++)
        count += r->slots[i].used && r->slots[i].layer == layer && r->slots[i].segment >= segment_begin &&
                 r->slots[i].segment < segment_end;
    return count;
}

static bool is_idle(const reference_slot *s) { return s->used && s->pins == 0; }

static uint32_t find_end(const reference *r, uint32_t layer, uint32_t segment, bool young)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < r->slot_count; i++) {
        const reference_slot *s = &r->slots[i];
        if (is_idle(s) && s->layer == layer && s->segment == segment &&
            (best == UINT32_MAX || (s->place > r->slots[best].place) == young))
            best = i;
    }
    return best;
}

static uint32_t find_in_layer(const reference *r, uint32_t layer)
{
    uint32_t first = r->policy == CACHE_S3FIFO && count_slots(r, layer, 0, 1) < max_u64(1, r->share / 10);
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; r->policy == CACHE_LFU && i < r->slot_count; i++) {
        const reference_slot *s = &r->slots[i], *b = &r->slots[best == UINT32_MAX ? 0 : best];
        uint32_t count = r->counts[s->layer][s->expert];
        if (!is_idle(s) || s->layer != layer) continue;
        if (best == UINT32_MAX || count < r->counts[layer][b->expert] ||
            (count == r->counts[layer][b->expert] && s->stamp < b->stamp))
            best = i;
    }
    if (r->policy == CACHE_LFU) return best;
    best = find_end(r, layer, first, false);
    return best != UINT32_MAX ? best : find_end(r, layer, !first, false);
}

static uint32_t find_least_used(const reference *r)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < r->slot_count; i++) {
        const reference_slot *s = &r->slots[i], *b = &r->slots[best == UINT32_MAX ? i : best];
        uint32_t count = r->counts[s->layer][s->expert], least = r->counts[b->layer][b->expert];
        if (is_idle(s) && (best == UINT32_MAX || count < least || (count == least && s->stamp > b->stamp))) best = i;
    }
    return best;
}

static uint32_t find_victim(const reference *r, uint32_t layer)
{
    if (r->is_below_sets && r->policy == CACHE_LFU) return find_least_used(r);
    uint32_t best = count_slots(r, layer, 0, 2) >= r->share ? find_in_layer(r, layer) : UINT32_MAX;
    uint64_t best_stamp = UINT64_MAX;
    if (best != UINT32_MAX) return best;
    for (uint32_t other = 0; other < r->layer_count; other++) {
        uint32_t oldest = find_end(r, other, 0, false);
        if (oldest == UINT32_MAX) oldest = find_end(r, other, 1, false);
        if (oldest == UINT32_MAX || count_slots(r, other, 0, 2) <= r->share) continue;
        if (r->slots[oldest].stamp >= best_stamp) continue;
        best_stamp = r->slots[oldest].stamp;
        best = find_in_layer(r, other);
    }
    if (best != UINT32_MAX) return best;
    for (uint32_t i = 0; i < r->layer_count * 2; i++) {
        uint32_t youngest = find_end(r, i / 2, i % 2, true);
        if (youngest != UINT32_MAX && (best == UINT32_MAX || r->slots[youngest].stamp > r->slots[best].stamp))
            best = youngest;
    }
    return best;
}

static uint32_t take_slot(reference *r, uint32_t layer)
{
    for (uint32_t i = 0; i < r->slot_count; i++)
        if (!r->slots[i].used) return i;
    for (;;) {
        uint32_t victim = find_victim(r, layer);
        reference_slot *s = &r->slots[victim];
        if (s->uses == 0) {
            if (s->segment == 0) r->left_count[s->layer]++;
            r->left_at[s->layer][s->expert] = s->segment == 0 ? r->left_count[s->layer] : 0;
            r->evictions++;
            return victim;
        }
        s->uses = s->segment == 0 ? 0 : s->uses - 1;
        s->segment = 1;
        s->place = ++r->place;
    }
}

static uint32_t find_key(const reference *r, uint32_t layer, uint32_t expert)
{
    for (uint32_t i = 0; i < r->slot_count; i++)
        if (r->slots[i].used && r->slots[i].layer == layer && r->slots[i].expert == expert) return i;
    return UINT32_MAX;
}

static void use_again(reference *r, reference_slot *s)
{
    if (r->policy == CACHE_S3FIFO) {
        if (s->uses < 3) s->uses++;
        return;
    }
    s->place = ++r->place;
    if (r->policy != CACHE_SLRU) return;
    s->segment = 1;
    if (count_slots(r, s->layer, 1, 2) <= r->share * 4 / 5) return;
    reference_slot *oldest = NULL; /* held or not */
    for (uint32_t i = 0; i < r->slot_count; i++)
        if (r->slots[i].used && r->slots[i].layer == s->layer && r->slots[i].segment == 1 &&
            (oldest == NULL || r->slots[i].place < oldest->place))
            oldest = &r->slots[i];
    oldest->segment = 0;
    oldest->place = ++r->place;
}

static bool is_ghost(const reference *r, uint32_t layer, uint32_t expert)
{
    uint32_t left_at = r->left_at[layer][expert];
    return r->policy == CACHE_S3FIFO && left_at > 0 &&
           r->left_count[layer] - left_at < r->share - max_u64(1, r->share / 10);
}

static bool reference_acquire(reference *r, uint32_t layer, const uint32_t *experts, uint32_t count, uint64_t *out_hits)
{
    uint32_t absent_count = 0, held_count = 0;
    *out_hits = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = find_key(r, layer, experts[i]);
        if (at == UINT32_MAX)
            absent_count++;
        else
            r->slots[at].pins++, *out_hits |= 1ull << i;
    }
    for (uint32_t i = 0; i < r->slot_count; i++) held_count += r->slots[i].pins > 0;
    if (absent_count > r->slot_count - held_count) {
        for (uint32_t i = 0; i < count; i++)
            if (*out_hits >> i & 1) r->slots[find_key(r, layer, experts[i])].pins--;
        return false;
    }
    for (uint32_t e = 0; e < r->expert_count; e++) r->counts[layer][e] -= r->counts[layer][e] / 32;
    for (uint32_t i = 0; i < count; i++) r->counts[layer][experts[i]] += 1 << 20;
    for (uint32_t i = count; i-- > 0;) {
        uint32_t at = find_key(r, layer, experts[i]);
        if (at == UINT32_MAX) {
            at = take_slot(r, layer);
            r->slots[at] = (reference_slot){.used = true,
                                            .layer = layer,
                                            .expert = experts[i],
                                            .pins = 1,
                                            .segment = is_ghost(r, layer, experts[i]),
                                            .place = ++r->place};
        } else {
            use_again(r, &r->slots[at]);
        }
        r->slots[at].stamp = ++r->stamp;
    }
    r->misses += absent_count;
    r->hits += count - absent_count;
    return true;
}

static void draw_experts(prng *dice, uint32_t expert_count, uint32_t *experts, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t expert = (uint32_t)(prng_below(dice, expert_count) * prng_below(dice, expert_count) / expert_count);
        bool is_new = true;
        for (uint32_t j = 0; j < i; j++) is_new &= experts[j] != expert;
        if (is_new) experts[i++] = expert;
    }
}

/* Up to two sets are held at a time. */
static void compare_with_reference(const world_shape *shape, cache_policy policy, uint64_t seed, uint32_t visit_count)
{
    static expert_set sets[2];
    static reference r;
    expert_world w;
    prng dice;
    leat_error error;
    bool is_below_sets = shape->slot_count / shape->layer_count < shape->set_max;
    r = (reference){.policy = is_below_sets && policy != CACHE_LFU ? CACHE_LRU : policy,
                    .is_below_sets = is_below_sets,
                    .slot_count = shape->slot_count,
                    .layer_count = shape->layer_count,
                    .expert_count = shape->expert_count,
                    .share = (uint32_t)max_u64(shape->slot_count / shape->layer_count, shape->set_max)};
    prng_init(&dice, seed);
    memset(sets, 0, sizeof sets);
    world_open_with(&w, shape, policy, &disk);
    for (uint32_t visit = 0; visit < visit_count; visit++) {
        expert_set *set = &sets[prng_below(&dice, 2)];
        if (set->count > 0) {
            for (uint32_t i = 0; i < set->count; i++) {
                world_compare(&w, set, i); /* unchanged since it was handed out */
                r.slots[find_key(&r, set->layer, set->refs[i].expert)].pins--;
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
            continue;
        }
        world_acquire(&w, set, layer, experts, count);
        for (uint32_t i = 0; i < count; i++) assert_int_equal(set->refs[i].was_hit, hits >> i & 1);
        while (set->handed_out_count < set->count) world_next(&w, set);
        expert_cache_stats stats = expert_cache_stats_get(w.cache);
        assert_int_equal(stats.hits, r.hits);
        assert_int_equal(stats.misses, r.misses);
        assert_int_equal(stats.evictions, r.evictions);
    }
    for (uint32_t i = 0; i < 2; i++) world_release(&w, &sets[i]);
    assert_true(r.hits > 100 && r.evictions > 100);
    world_close(&w);
}

static void every_policy_equals_its_reference(void **state)
{
    (void)state;
    for (int i = 0; i < CACHE_POLICY_COUNT; i++) {
        cache_policy policy = (cache_policy)i;
        compare_with_reference(&(world_shape){3, 20, 24, 6, 0, 300}, policy, 11, 4000); /* a share of 8 */
        compare_with_reference(&(world_shape){3, 20, 8, 4, 2, 300}, policy, 12, 2000);  /* below a set per layer */
        compare_with_reference(&(world_shape){1, 60, 40, 8, 1, 300}, policy, 13, 4000); /* one layer */
        compare_with_reference(&(world_shape){4, 60, 63, 5, 1, 300}, policy, 14, 5000); /* slots left over */
    }
}

static void every_policy_takes_the_memory_that_the_planner_was_told(void **state)
{
    (void)state;
    uint64_t told[CACHE_POLICY_COUNT];
    for (int i = 0; i < CACHE_POLICY_COUNT; i++) {
        expert_world w;
        world_open_with(&w, &(world_shape){5, 200, 40, 4, 3, 2000}, (cache_policy)i, &disk);
        told[i] = expert_cache_bytes(&w.config, &w.set);
        assert_int_equal(mem_total_usage(w.ledger).current_bytes, told[i]);
        uint64_t bytes = mem_total_usage(w.ledger).current_bytes;
        mem_fail_nth(w.ledger, 1); /* would fail at once */
        for (uint32_t visit = 0; visit < 300; visit++) world_visit(&w, visit % 5, LIST(visit * 7 % 199, 199));
        mem_fail_nth(w.ledger, 0);
        assert_int_equal(mem_total_usage(w.ledger).peak_bytes, bytes);
        world_close(&w);
    }
    for (int i = 1; i < CACHE_POLICY_COUNT; i++) /* else a floor would depend on the policy that AUTO comes to mean */
        assert_int_equal(told[i], told[0]);
}

/* ---- what each is there for ---- */

/* One layer of 8 slots; two records used again and again, then a flood of others. */
static uint64_t hits_after_a_flood(cache_policy policy)
{
    expert_world w;
    world_open_with(&w, &(world_shape){1, 40, 8, 2, 1, 500}, policy, &disk);
    for (int i = 0; i < 6; i++) world_visit(&w, 0, LIST(0, 1));
    for (uint32_t i = 2; i < 14; i += 2) world_visit(&w, 0, LIST(i, i + 1));
    uint64_t hits = world_visit(&w, 0, LIST(0, 1));
    world_close(&w);
    return hits;
}

static void all_but_lru_stand_a_flood(void **state)
{
    (void)state;
    assert_int_equal(hits_after_a_flood(CACHE_LRU), 0);
    assert_int_equal(hits_after_a_flood(CACHE_LFU), 3);
    assert_int_equal(hits_after_a_flood(CACHE_SLRU), 3);
    assert_int_equal(hits_after_a_flood(CACHE_S3FIFO), 3);
}

/* What was used often in the past, evicted, and comes back is not the next victim. */
static void lfu_remembers_what_it_evicted(void **state)
{
    (void)state;
    expert_world w;
    world_open_with(&w, &(world_shape){1, 40, 2, 2, 1, 500}, CACHE_LFU, &disk);
    for (int i = 0; i < 8; i++) world_visit(&w, 0, LIST(0));
    world_visit(&w, 0, LIST(1, 2)); /* 0 has to go, for a set is taken as a whole */
    assert_int_equal(world_visit(&w, 0, LIST(0)), 0);
    world_visit(&w, 0, LIST(3)); /* takes the place of 1 or 2 */
    assert_int_equal(world_visit(&w, 0, LIST(0)), 1);
    world_close(&w);
}

/* A use counts less and less: what was popular long ago gives way to what is used now. */
static void lfu_forgets(void **state)
{
    (void)state;
    expert_world w;
    world_open_with(&w, &(world_shape){1, 40, 3, 1, 1, 500}, CACHE_LFU, &disk);
    for (int i = 0; i < 30; i++) world_visit(&w, 0, LIST(0));
    for (int i = 0; i < 100; i++) world_visit(&w, 0, LIST(1 + (uint32_t)i % 2));
    world_visit(&w, 0, LIST(9));
    assert_int_equal(world_visit(&w, 0, LIST(1)), 1);
    assert_int_equal(world_visit(&w, 0, LIST(2)), 1);
    assert_int_equal(world_visit(&w, 0, LIST(0)), 0);
    world_close(&w);
}

/* A newcomer that left the small queue unused and comes back soon enters the main queue. */
static void s3fifo_takes_ghosts_into_the_main_queue(void **state)
{
    (void)state;
    for (int comes_back = 0; comes_back < 2; comes_back++) {
        expert_world w;
        world_open_with(&w, &(world_shape){1, 60, 10, 1, 1, 500}, CACHE_S3FIFO, &disk);
        for (uint32_t i = 0; i < 11; i++) world_visit(&w, 0, LIST(i)); /* 0 is a ghost now */
        if (comes_back) world_visit(&w, 0, LIST(0));
        for (uint32_t i = 20; i < 40; i++) world_visit(&w, 0, LIST(i)); /* newcomers replace newcomers */
        assert_int_equal(world_visit(&w, 0, LIST(0)), comes_back);
        world_close(&w);
    }
}

/* Every layer wants two records each time round, and one that changes. There is room for the two of half of them. */
static void lfu_keeps_the_most_used_of_all_below_a_set_per_layer(void **state)
{
    (void)state;
    uint64_t hits[2];
    for (int i = 0; i < 2; i++) {
        expert_world w;
        world_open_with(&w, &(world_shape){8, 32, 12, 3, 1, 500}, i ? CACHE_LFU : CACHE_LRU, &disk);
        for (uint32_t visit = 0; visit < 160; visit++) world_visit(&w, visit % 8, LIST(2 + visit / 8, 0, 1));
        hits[i] = expert_cache_stats_get(w.cache).hits;
        world_close(&w);
    }
    assert_true(hits[0] < hits[1] &&
                hits[1] >= 18 * 9); /* 12 slots less a set of three, each time round but the first */
}

static void open_refuses_an_unknown_policy(void **state)
{
    (void)state;
    expert_world w;
    leat_error error;
    expert_cache *cache = NULL;
    world_open(&w, &(world_shape){2, 8, 4, 4, 3, 700}, &disk);
    expert_cache_config config = w.config;
    config.policy = CACHE_POLICY_COUNT;
    assert_int_equal(expert_cache_open(w.ledger, &config, &w.set, w.reads, &cache, &error), LEAT_USAGE);
    assert_non_null(strstr(error.text, "policy 4"));
    assert_string_equal(cache_policy_label(CACHE_S3FIFO), "s3fifo");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_policy_equals_its_reference),
        cmocka_unit_test(every_policy_takes_the_memory_that_the_planner_was_told),
        cmocka_unit_test(all_but_lru_stand_a_flood),
        cmocka_unit_test(lfu_remembers_what_it_evicted),
        cmocka_unit_test(lfu_forgets),
        cmocka_unit_test(s3fifo_takes_ghosts_into_the_main_queue),
        cmocka_unit_test(lfu_keeps_the_most_used_of_all_below_a_set_per_layer),
        cmocka_unit_test(open_refuses_an_unknown_policy),
    };
    return cmocka_run_group_tests_name("expert_policies", tests, NULL, NULL);
}

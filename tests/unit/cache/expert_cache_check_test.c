/*
 * expert_cache_check_test.c - expert_cache_check() aborts on every kind of damage, so that the other tests may rely on
 * it. Its table is damaged from within (expert_table.h); each damage is done in a child process.
 */
#include "cache/expert_table.h"

#include "base/bytes.h"

#include "expert_world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A cache with one record of each kind: READY and idle, READY and held, LOADING and held, an orphan; and free slots. */
typedef struct scene {
    expert_world w;
    expert_set held, loading;
    uint32_t idle_idx, held_idx, loading_idx, orphan_idx;
} scene;

static void open_scene(scene *s, cache_policy policy)
{
    static const storage_sim_config disk = {.seed = 1, .latency_ns_min = 5, .latency_ns_max = 5};
    expert_set set;
    world_open_with(&s->w, &(world_shape){2, 8, 8, 2, 2, 100}, policy, &disk);
    world_visit(&s->w, 0, LIST(1, 2));
    world_acquire(&s->w, &s->held, 0, LIST(2));
    world_next(&s->w, &s->held);
    world_acquire(&s->w, &set, 1, LIST(4));
    world_release(&s->w, &set);
    world_acquire(&s->w, &s->loading, 1, LIST(5));
    s->idle_idx = s->w.cache->slot_of_key[1];
    s->held_idx = s->held.refs[0].slot_idx;
    s->orphan_idx = s->w.cache->slot_of_key[8 + 4];
    s->loading_idx = s->loading.refs[0].slot_idx;
}

static void close_scene(scene *s)
{
    world_release(&s->w, &s->held);
    world_release(&s->w, &s->loading);
    world_close(&s->w);
}

typedef void damage(scene *s, expert_cache *c);

static bool check_aborts(cache_policy policy, damage *harm)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        scene s;
        open_scene(&s, policy);
        harm(&s, s.w.cache);
        expert_cache_check(s.w.cache);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#define DAMAGE(name, statement)                                                                                        \
    static void name(scene *s, expert_cache *c)                                                                        \
    {                                                                                                                  \
        (void)s;                                                                                                       \
        statement;                                                                                                     \
    }
DAMAGE(do_no_harm, (void)c)
DAMAGE(put_a_key_into_two_slots, c->slots[s->held_idx].key = c->slots[s->idle_idx].key)
DAMAGE(forget_a_key, c->slot_of_key[1] = NONE)
DAMAGE(point_a_key_at_a_strange_slot, c->slot_of_key[7] = s->idle_idx)
DAMAGE(leave_the_range_of_keys, c->slots[s->idle_idx].key = 16)
DAMAGE(pin_an_empty_slot, c->slots[c->classes[0].first_free_idx].pins = 1)
DAMAGE(empty_a_held_slot, c->slots[s->held_idx].state = SLOT_EMPTY)
DAMAGE(invent_a_state, c->slots[s->orphan_idx].state = 7)
DAMAGE(call_a_loading_slot_ready, c->slots[s->loading_idx].state = SLOT_READY)
DAMAGE(lose_a_read, c->slots[s->loading_idx].reads_left--)
DAMAGE(leave_a_failure_on_a_ready_slot, c->slots[s->idle_idx].failed_part = 0)
DAMAGE(keep_a_failed_orphan, c->slots[s->orphan_idx].reads_left = 0; c->reading_count -= 2;
       c->slots[s->orphan_idx].failed_part = 0)
DAMAGE(have_too_few_slots, c->config.set_max = c->config.slot_count + 1)
DAMAGE(lose_a_pin, c->slots[s->held_idx].pins = 0)
DAMAGE(miscount_pins, c->classes[0].pinned_count++)
DAMAGE(miscount_guesses, c->ahead_count = AHEAD_MAX + 1)
DAMAGE(miscount_reads, c->reading_count++)
DAMAGE(miscount_ready_slots, c->stats.ready_count++)
DAMAGE(put_a_used_slot_on_the_free_list, c->classes[0].first_free_idx = s->idle_idx)
DAMAGE(lose_free_slots, c->classes[0].first_free_idx = NONE)
DAMAGE(break_a_list_forwards, c->slots[c->layers[0].lists[0].oldest_idx].younger_idx = NONE)
DAMAGE(break_a_list_backwards, c->slots[c->layers[0].lists[0].youngest_idx].older_idx = NONE)
DAMAGE(lose_the_youngest, c->layers[0].lists[0].youngest_idx = c->layers[0].lists[0].oldest_idx)
DAMAGE(miscount_a_layer, c->layers[0].lists[0].slot_count++)
DAMAGE(swap_two_layers, layer_table l = c->layers[0]; c->layers[0] = c->layers[1]; c->layers[1] = l)
DAMAGE(unsort_a_list, c->slots[c->layers[0].lists[0].oldest_idx].stamp = c->last_stamp)
DAMAGE(leave_the_only_list, c->slots[s->idle_idx].segment = 1)
DAMAGE(count_what_is_not_counted, c->slots[s->idle_idx].use_count = 1)
DAMAGE(live_in_the_future, c->slots[s->loading_idx].stamp = c->last_stamp + 1)

DAMAGE(use_a_slot_that_is_away, c->classes[0].slot_count--; c->config.slot_count--)
DAMAGE(miscount_slots, c->config.slot_count--)

DAMAGE(protect_too_many,
       for (uint32_t i = 0; i < c->config.slot_count; i++) if (c->slots[i].state != SLOT_EMPTY) table_move_to(c, i, 1);
       c->classes[0].share = 1)
DAMAGE(use_too_often, c->key_history[3] = UINT32_MAX)
DAMAGE(be_a_ghost_of_the_future, c->key_history[3] = c->layers[0].ghost_clock + 1)
DAMAGE(count_beyond_the_most, c->slots[s->idle_idx].use_count = S3_USES_MAX + 1)

static void check_finds_every_damage(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        damage *harm;
        cache_policy policy;
    } damages[] = {
#define ROW(name) {#name, name, CACHE_LRU}
#define ROW_OF(policy, name)                                                                                           \
    {                                                                                                                  \
#name, name, policy                                                                                            \
    }
        ROW(put_a_key_into_two_slots),
        ROW(forget_a_key),
        ROW(point_a_key_at_a_strange_slot),
        ROW(leave_the_range_of_keys),
        ROW(pin_an_empty_slot),
        ROW(empty_a_held_slot),
        ROW(invent_a_state),
        ROW(call_a_loading_slot_ready),
        ROW(lose_a_read),
        ROW(leave_a_failure_on_a_ready_slot),
        ROW(keep_a_failed_orphan),
        ROW(have_too_few_slots),
        ROW(lose_a_pin),
        ROW(miscount_pins),
        ROW(miscount_guesses),
        ROW(miscount_reads),
        ROW(miscount_ready_slots),
        ROW(put_a_used_slot_on_the_free_list),
        ROW(lose_free_slots),
        ROW(break_a_list_forwards),
        ROW(break_a_list_backwards),
        ROW(lose_the_youngest),
        ROW(miscount_a_layer),
        ROW(swap_two_layers),
        ROW(unsort_a_list),
        ROW(leave_the_only_list),
        ROW(count_what_is_not_counted),
        ROW(live_in_the_future),
        ROW(use_a_slot_that_is_away),
        ROW(miscount_slots),
        ROW_OF(CACHE_LFU, unsort_a_list),
        ROW_OF(CACHE_LFU, use_too_often),
        ROW_OF(CACHE_SLRU, protect_too_many),
        ROW_OF(CACHE_S3FIFO, be_a_ghost_of_the_future),
        ROW_OF(CACHE_S3FIFO, count_beyond_the_most),
    };
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++)
        assert_false(check_aborts((cache_policy)policy, do_no_harm));
    for (size_t i = 0; i < ARRAY_COUNT(damages); i++)
        if (!check_aborts(damages[i].policy, damages[i].harm)) fail_msg("not noticed: %s", damages[i].name);
}

/* The policy depends on the table alone and leaves it as it is. */
static void choosing_a_victim_changes_nothing(void **state)
{
    (void)state;
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        scene s;
        open_scene(&s, (cache_policy)policy);
        expert_cache *c = s.w.cache;
        slot before[8];
        memcpy(before, c->slots, sizeof before);
        for (uint32_t layer = 0; layer < 2; layer++) { /* not held; what the disk has done makes no difference */
            const uint32_t victim_idx = policy_choose_victim(c, layer);
            assert_true(victim_idx == s.idle_idx || victim_idx == s.orphan_idx);
            assert_int_equal(policy_choose_victim(c, layer), victim_idx);
        }
        assert_memory_equal(before, c->slots, sizeof before);
        close_scene(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_finds_every_damage),
        cmocka_unit_test(choosing_a_victim_changes_nothing),
    };
    return cmocka_run_group_tests_name("expert_cache_check", tests, NULL, NULL);
}

/*
 * test_model_profile.c - what is kept of runs: what comes back from the file, what is not believed, the sample as a
 * trace, and the policy that is chosen by it.
 */
#include "exec/model_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LAYERS = 2, EXPERTS = 80, USED = 2 };

static const char print_of_model[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const profile_place here = {"drive-a", "avx2", 4};
static mem *ledger;
static char folder[64], path[256];
static model_desc desc;

static int set_up(void **state)
{
    (void)state;
    leat_error error;
    desc = (model_desc){.moe_layer_count = LAYERS, .expert_count = EXPERTS, .expert_used_count = USED};
    snprintf(folder, sizeof folder, "/tmp/profile_XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/profile-%s.json", folder, print_of_model);
    return mem_open(0, &ledger, &error) == LEAT_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    mem_close(&ledger);
    return rmdir(folder);
}

static model_profile open_profile(void)
{
    model_profile p;
    leat_error error;
    assert_int_equal(model_profile_open(ledger, &desc, print_of_model, &p, &error), LEAT_OK);
    return p;
}

static uint32_t expert_of(uint32_t token, uint32_t moe_idx, uint32_t i)
{
    return (token * 7 + moe_idx * 3 + i) % EXPERTS;
}

/* Tokens [begin, begin + count) decoded in a run of its own, a chunk of three before them. */
static void add_run(model_profile *p, uint32_t begin, uint32_t count, const profile_place *place)
{
    run_tally *t;
    leat_error error;
    run_counters now = {0};
    const uint64_t before = mem_pool_usage(ledger, MEM_META).current_bytes;
    assert_int_equal(run_tally_open(ledger, &desc, &t, &error), LEAT_OK);
    run_tally_begin(t, 3, &now);
    now.compute_ns = 600;
    run_tally_end(t, &now);
    for (uint32_t token = begin; token < begin + count; token++) {
        run_tally_begin(t, 1, &now);
        for (uint32_t l = 0; l < LAYERS; l++)
            run_tally_route(t, l, (uint32_t[]){expert_of(token, l, 0), expert_of(token, l, 1)}, USED);
        now.compute_ns += 1000000;
        now.expert_wait_ns += 500000;
        now.miss_count += 2;
        run_tally_end(t, &now);
    }
    assert_int_equal(mem_pool_usage(ledger, MEM_META).current_bytes - before, run_tally_bytes(&desc));
    assert_int_equal(model_profile_add(p, t, place, 100, &error), LEAT_OK);
    run_tally_close(&t);
}

/* From the token `from` on. */
static void check_sample(const model_profile *p, uint32_t from, uint32_t first_token, uint32_t count)
{
    assert_int_equal(p->sample_count, count);
    for (uint32_t t = from; t < count; t++)
        for (uint32_t k = 0; k < LAYERS * USED; k++)
            assert_int_equal(p->sample[t * LAYERS * USED + k], expert_of(first_token + t, k / USED, k % USED));
}

static void comes_back_as_it_was(void **state)
{
    (void)state;
    model_profile p = open_profile(), q = open_profile();
    leat_error error;

    assert_false(model_profile_load(&q, folder));
    add_run(&p, 0, 100, &here);
    check_sample(&p, 0, 0, 100);
    assert_true(p.decode.token_count == 100 && p.prefill.token_count == 3 && p.prefill.step_count == 1);
    assert_true(p.decode.expert_bytes == 100 * 2 * 100);
    assert_int_equal(model_profile_save(&p, folder, &error), LEAT_OK);
    assert_true(model_profile_load(&q, folder));
    check_sample(&q, 0, 0, 100);
    assert_memory_equal(&q.decode, &p.decode, sizeof p.decode);
    assert_true(q.uses_token_count == 103);
    assert_true(model_profile_uses(&q, 1, 3) == model_profile_uses(&p, 1, 3) && model_profile_uses(&q, 1, 3) > 0);
    assert_int_equal(q.choice_count, p.choice_count);
    assert_memory_equal(q.choices, p.choices, p.choice_count * sizeof *p.choices);
    assert_true(model_profile_knows_place(&q, &here, true));
    model_profile_close(&p);
    model_profile_close(&q);
}

static void keeps_the_newest_of_several_runs(void **state)
{
    (void)state;
    model_profile p = open_profile();
    const profile_place elsewhere = {"drive-b", "avx2", 4};

    add_run(&p, 0, 300, &here);
    add_run(&p, 300, 300, &here);
    check_sample(&p, 0, 600 - ROUTE_SAMPLE_TOKENS, ROUTE_SAMPLE_TOKENS);
    assert_true(p.decode.token_count > 300 && p.decode.token_count < 600); /* the first run counts less */
    add_run(&p, 600, ROUTE_SAMPLE_TOKENS + 50, &elsewhere);                /* the tally is a ring, too */
    check_sample(&p, 1, 600 + 50, ROUTE_SAMPLE_TOKENS);                    /* which may lack one place */
    assert_true(p.decode.token_count == ROUTE_SAMPLE_TOKENS + 50);         /* what another drive taught is forgotten */
    assert_false(model_profile_knows_place(&p, &here, true));
    assert_true(model_profile_knows_place(&p, &here, false));
    model_profile_close(&p);
}

static void write_text(const char *text, size_t count)
{
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, count, out), count);
    assert_int_equal(fclose(out), 0);
}

static void ignores_damage(void **state)
{
    (void)state;
    static char text[1 << 20];
    model_profile p = open_profile(), q = open_profile();
    leat_error error;

    add_run(&p, 0, 70, &here);
    assert_int_equal(model_profile_save(&p, folder, &error), LEAT_OK);
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    const size_t count = fread(text, 1, sizeof text, in);
    fclose(in);
    for (size_t cut = 0; cut + 1 < count; cut += cut < 2000 ? 1 : 97) {
        write_text(text, cut);
        assert_false(model_profile_load(&q, folder));
        assert_int_equal(q.sample_count, 0);
        assert_true(q.decode.token_count == 0);
    }
    char *id = strstr(text, "\"sample\":[\n\"") + 12;
    memcpy(id + 2, id, 2); /* the same expert twice */
    write_text(text, count);
    assert_false(model_profile_load(&q, folder));
    memcpy(strstr(text, "001122"), "991122", 6);
    write_text(text, count);
    assert_false(model_profile_load(&q, folder));
    model_profile_close(&p);
    model_profile_close(&q);
}

/* Which layer has slots of which size is a fact of the model: a file that is worth nothing does not take it away (nor
 * its memory, which tear_down counts), and the sample of the next run is replayed with it. */
static void damage_leaves_the_classes_of_slots(void **state)
{
    (void)state;
    model_profile p = open_profile();
    leat_error error;

    assert_int_equal(MEM_NEW(ledger, META, LAYERS, &p.layer_classes, &error), LEAT_OK);
    p.layer_classes[1] = 1;
    write_text("{", 1);
    assert_false(model_profile_load(&p, folder));
    assert_non_null(p.layer_classes);
    assert_int_equal(p.layer_classes[1], 1);
    add_run(&p, 0, 70, &here);
    assert_true(p.choice_count > 0);
    model_profile_close(&p);
}

static void finds_hit_rates_by_replay(void **state)
{
    (void)state;
    model_profile p = open_profile();
    leat_error error;
    double rate = -1;

    add_run(&p, 0, 200, &here);
    /* Every record is used once in 80 tokens, so all of them are there for the second half. */
    assert_int_equal(model_profile_hit_rate(&p, LAYERS * EXPERTS, CACHE_LFU, 100, 100, &rate, &error), LEAT_OK);
    assert_true(rate == 1);
    assert_int_equal(model_profile_hit_rate(&p, LAYERS * EXPERTS, CACHE_LFU, 0, 10, &rate, &error), LEAT_OK);
    assert_true(rate < 0.1);
    assert_int_equal(model_profile_hit_rate(&p, 1, CACHE_LFU, 0, 10, &rate, &error), LEAT_BUDGET);
    assert_true(model_profile_touched(&p, 1) > 3.5 && model_profile_touched(&p, 1) < 4.5);
    assert_true(model_profile_touched(&p, 100000) > 159);
    model_profile_close(&p);
}

/* Chosen on the first half of a trace, judged on the second: at most a point below the best policy. */
static void check_choice_on(const route_trace *t, uint32_t slots)
{
    const uint64_t half = t->list_count / 2 / t->layer_count * t->layer_count;
    route_trace first = *t, second = *t;
    replay_counts counts;
    cache_policy chosen;
    leat_error error;
    uint64_t best = 0, ours = 0;

    first.list_count = half;
    second.lists += half;
    second.list_count -= half;
    assert_int_equal(expert_replay_choose(ledger, &first, slots, &chosen, &error), LEAT_OK);
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        assert_int_equal(expert_replay(ledger, &second, slots, (cache_policy)policy, false, &counts, &error), LEAT_OK);
        if (counts.hits > best) best = counts.hits;
        if (policy == (int)chosen) ours = counts.hits;
    }
    print_message("%u of %u slots: %s, %.2f points below the best\n", slots, t->layer_count * t->expert_count,
                  cache_policy_label(chosen), 100.0 * (double)(best - ours) / (double)(counts.hits + counts.misses));
    assert_true((best - ours) * 100 <= counts.hits + counts.misses);
}

static void chooses_within_a_point_on_real_routing(void **state)
{
    (void)state;
    static const char *const names[] = {"trace_olmoe_299.jsonl", "trace_kimi_300.jsonl"};
    const char *traces = getenv("LEAT_TEST_TRACES");
    if (!traces || access(traces, R_OK) != 0) {
        print_message("LEAT_TEST_TRACES names no folder of recorded routing\n");
        skip();
    }
    for (int i = 0; i < 2; i++) {
        char name[512];
        route_trace t = {0};
        leat_error error;
        snprintf(name, sizeof name, "%s/%s", traces, names[i]);
        if (route_trace_open(ledger, name, &t, &error) != LEAT_OK) fail_msg("%s", error.text);
        const uint32_t all = t.layer_count * t.expert_count;
        const uint32_t sizes[5] = {all / 16, all / 8, all / 4, all / 2, all / 4 * 3};
        for (int size = 0; size < 5; size++) check_choice_on(&t, sizes[size]);
        route_trace_close(&t);
    }
}

/* The choice that was made for the nearest size. */
static void takes_the_choice_of_the_nearest_size(void **state)
{
    (void)state;
    model_profile p = open_profile();
    policy_choice few[] = {{10, CACHE_S3FIFO}, {100, CACHE_SLRU}};

    assert_int_equal(model_profile_policy(&p, 50), CACHE_POLICY_AUTO);
    memcpy(p.choices, few, sizeof few);
    p.choice_count = 2;
    assert_int_equal(model_profile_policy(&p, 1), CACHE_S3FIFO);
    assert_int_equal(model_profile_policy(&p, 30), CACHE_S3FIFO);
    assert_int_equal(model_profile_policy(&p, 33), CACHE_SLRU);
    assert_int_equal(model_profile_policy(&p, 0), CACHE_POLICY_AUTO);
    model_profile_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_back_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_the_newest_of_several_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ignores_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_leaves_the_classes_of_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finds_hit_rates_by_replay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_choice_of_the_nearest_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chooses_within_a_point_on_real_routing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The sampler against hand-made logits, against a plain model of itself written here, and against picks recorded from a
 * model in another language (Python: the same rules, its own xoshiro256** and exp).
 */
#include "exec/sampler.h"

#include "base/bytes.h"
#include "kernel/math_exact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sampler_options plain = {
    .temperature = 1.0f, .top_p = 1.0f, .repeat_penalty = 1.0f, .repeat_last = 64, .seed = 1};
static const sampler_options greedy = {.top_p = 1.0f, .repeat_penalty = 1.0f, .repeat_last = 64};

static int set_up(void **state)
{
    mem *ledger = NULL;
    if (mem_open(0, &ledger, NULL) != LEAT_OK) return 1;
    *state = ledger;
    return 0;
}

static int tear_down(void **state)
{
    mem *ledger = *state;
    mem_close(&ledger); /* asserts that nothing is left */
    return 0;
}

static sampler *open_sampler(mem *ledger, sampler_options options, uint32_t vocab_count)
{
    sampler *s = NULL;
    leat_error error = {0};
    if (sampler_open(ledger, &options, vocab_count, &s, &error) != LEAT_OK) fail_msg("%s", error.text);
    return s;
}

static uint32_t pick_after(sampler *s, const float *logits, const uint32_t *recent, uint64_t recent_count)
{
    uint32_t id = UINT32_MAX;
    leat_error error = {0};
    if (sampler_pick(s, logits, recent, recent_count, &id, &error) != LEAT_OK) fail_msg("%s", error.text);
    return id;
}

static uint32_t pick(sampler *s, const float *logits) { return pick_after(s, logits, NULL, 0); }

static uint32_t pick_once(mem *ledger, sampler_options options, const float *logits, uint32_t vocab_count,
                          const uint32_t *recent, uint64_t recent_count)
{
    sampler *s = open_sampler(ledger, options, vocab_count);
    uint32_t id = pick_after(s, logits, recent, recent_count);
    sampler_close(&s);
    assert_null(s);
    return id;
}

/* ---- greedy ---- */

static void test_greedy_takes_the_lowest_of_the_largest(void **state)
{
    const float ties[] = {1.0f, 3.0f, 2.0f, 3.0f, 3.0f};
    assert_int_equal(pick_once(*state, greedy, ties, 5, NULL, 0), 1);
    const float zeros[] = {-1.0f, -0.0f, 0.0f, -0.0f}; /* -0 equals +0 */
    assert_int_equal(pick_once(*state, greedy, zeros, 4, NULL, 0), 1);
    const float zeros_turned[] = {-1.0f, 0.0f, -0.0f};
    assert_int_equal(pick_once(*state, greedy, zeros_turned, 3, NULL, 0), 1);
    const float negative[] = {-5.0f, -4.0f, -FLT_MAX};
    assert_int_equal(pick_once(*state, greedy, negative, 3, NULL, 0), 1);
    const float one[] = {-7.0f};
    assert_int_equal(pick_once(*state, greedy, one, 1, NULL, 0), 0);
}

static void test_greedy_ignores_seed_and_filters(void **state)
{
    const float logits[] = {1.0f, 3.0f, 2.0f};
    sampler_options o = greedy;
    o.top_k = 2;
    o.top_p = 0.1f;
    o.min_p = 0.9f;
    for (o.seed = 0; o.seed < 8; o.seed++) assert_int_equal(pick_once(*state, o, logits, 3, NULL, 0), 1);
}

/* ---- what is no number ---- */

static void test_nan_and_minus_infinity_are_never_picked(void **state)
{
    float logits[] = {NAN, -INFINITY, 0.5f, -NAN, 0.25f};
    assert_int_equal(pick_once(*state, greedy, logits, 5, NULL, 0), 2);
    sampler_options o = plain;
    o.temperature = 100.0f;
    sampler *s = open_sampler(*state, o, 5);
    uint32_t counts[5] = {0};
    for (int i = 0; i < 2000; i++) counts[pick(s, logits)]++;
    sampler_close(&s);
    assert_int_equal(counts[0] + counts[1] + counts[3], 0);
    assert_true(counts[2] > 900 && counts[4] > 900);
}

static void test_no_number_at_all(void **state)
{
    const float all_low[] = {-INFINITY, -INFINITY, -INFINITY}, all_nan[] = {NAN, NAN, NAN};
    const float mixed[] = {NAN, -INFINITY, NAN}, high[] = {0.0f, INFINITY, 1.0f};
    const float *const bad[] = {all_low, all_nan, mixed, high};
    const uint32_t recent[] = {0, 1, 2, 1};
    sampler_options penalised = plain;
    penalised.presence_penalty = 1.0f;
    const sampler_options options[] = {plain, greedy, penalised};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(options); j++) {
            sampler *s = open_sampler(*state, options[j], 3);
            uint32_t id = 77;
            leat_error error = {0};
            assert_int_equal(sampler_pick(s, bad[i], recent, 4, &id, &error), LEAT_INTERNAL);
            assert_int_equal(error.status, LEAT_INTERNAL);
            assert_int_equal(id, 77);
            /* The failure leaves nothing behind: the next pick equals a fresh sampler's. */
            const float good[] = {0.3f, 0.2f, 0.1f};
            assert_int_equal(pick_after(s, good, recent, 1), pick_once(*state, options[j], good, 3, recent, 1));
            sampler_close(&s);
        }
    }
}

static void test_extreme_numbers(void **state)
{
    const float logits[] = {-FLT_MAX, FLT_MAX, 0.0f};
    sampler_options o = plain;
    o.temperature = FLT_MIN;
    assert_int_equal(pick_once(*state, o, logits, 3, NULL, 0), 1);
    o.temperature = 1.0f;
    assert_int_equal(pick_once(*state, o, logits, 3, NULL, 0), 1);
    /* A penalty does not turn numbers into infinities. */
    o = greedy;
    o.repeat_penalty = 0.01f;
    const uint32_t recent[] = {1, 0};
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 2), 1);
    o = plain;
    o.repeat_penalty = 0.01f;
    /* Equal before and after, though the first is favoured past the largest float. */
    const float high[] = {FLT_MAX, FLT_MAX};
    sampler *s = open_sampler(*state, o, 2);
    uint32_t second_count = 0;
    for (int i = 0; i < 100; i++) second_count += pick_after(s, high, recent + 1, 1);
    sampler_close(&s);
    assert_true(second_count > 20 && second_count < 80);
    o = greedy;
    o.repeat_penalty = 100.0f;
    const float low[] = {-FLT_MAX, -INFINITY};
    assert_int_equal(pick_once(*state, o, low, 2, recent + 1, 1), 0);
}

/* ---- filters ---- */

/* Bit i is set when token i came up in many draws; every token of at least 2 % does. */
static uint32_t drawn_set(mem *ledger, sampler_options o, const float *logits, uint32_t vocab_count)
{
    sampler *s = open_sampler(ledger, o, vocab_count);
    uint32_t set = 0;
    for (int i = 0; i < 2000; i++) set |= 1u << pick(s, logits);
    sampler_close(&s);
    return set;
}

/* Probabilities 0.4, 0.3, 0.2, 0.06, 0.04 for the tokens 2, 0, 3, 1, 4. */
static const float fives[] = {-1.2039728f, -2.8134107f, -0.91629073f, -1.6094379f, -3.2188758f};
enum { T40 = 1 << 2, T30 = 1 << 0, T20 = 1 << 3, T6 = 1 << 1, T4 = 1 << 4 };

static void test_each_filter_keeps_its_set(void **state)
{
    sampler_options o = plain;
    assert_int_equal(drawn_set(*state, o, fives, 5), T40 | T30 | T20 | T6 | T4);

    static const uint32_t by_k[] = {
        T40, T40 | T30, T40 | T30 | T20, T40 | T30 | T20 | T6, T40 | T30 | T20 | T6 | T4, T40 | T30 | T20 | T6 | T4};
    for (uint32_t k = 1; k <= 6; k++) {
        o.top_k = k;
        assert_int_equal(drawn_set(*state, o, fives, 5), by_k[k - 1]);
    }
    o = plain;
    static const struct {
        float value;
        uint32_t set;
    } by_top_p[] = {{0.0f, T40},
                    {0.39f, T40},
                    {0.41f, T40 | T30},
                    {0.69f, T40 | T30},
                    {0.71f, T40 | T30 | T20},
                    {0.95f, T40 | T30 | T20 | T6},
                    {0.97f, T40 | T30 | T20 | T6 | T4}},
      by_min_p[] = {{1.0f, T40},
                    {0.76f, T40},
                    {0.74f, T40 | T30},
                    {0.51f, T40 | T30},
                    {0.49f, T40 | T30 | T20},
                    {0.16f, T40 | T30 | T20},
                    {0.14f, T40 | T30 | T20 | T6},
                    {0.09f, T40 | T30 | T20 | T6 | T4}};
    for (size_t i = 0; i < ARRAY_COUNT(by_top_p); i++) {
        o.top_p = by_top_p[i].value;
        assert_int_equal(drawn_set(*state, o, fives, 5), by_top_p[i].set);
    }
    o = plain;
    for (size_t i = 0; i < ARRAY_COUNT(by_min_p); i++) {
        o.min_p = by_min_p[i].value;
        assert_int_equal(drawn_set(*state, o, fives, 5), by_min_p[i].set);
    }
}

static void test_order_of_filters(void **state)
{
    /* top_k first: two tokens are left with 0.571 and 0.429, so half of the whole is reached by one. Of all five it
     * takes two. */
    sampler_options o = plain;
    o.top_p = 0.5f;
    assert_int_equal(drawn_set(*state, o, fives, 5), T40 | T30);
    o.top_k = 2;
    assert_int_equal(drawn_set(*state, o, fives, 5), T40);
    /* Temperature before top_p and min_p: at 100 the five are nearly equal, at 0.2 one stands out. */
    o = plain;
    o.temperature = 100.0f;
    o.top_p = 0.7f;
    o.min_p = 0.9f;
    assert_int_equal(drawn_set(*state, o, fives, 5), T40 | T30 | T20 | T6);
    o.temperature = 0.2f;
    assert_int_equal(drawn_set(*state, o, fives, 5), T40);
    /* The penalty before top_k. */
    o = greedy;
    o.presence_penalty = 2.0f;
    const uint32_t recent[] = {2};
    assert_int_equal(pick_once(*state, o, fives, 5, recent, 1), 0);
}

static void test_equal_logits_at_the_edge_of_top_k(void **state)
{
    const float logits[] = {1.0f, 2.0f, 1.0f, 1.0f, 2.0f, 1.0f};
    sampler_options o = plain;
    o.top_k = 4;
    assert_int_equal(drawn_set(*state, o, logits, 6), 1 << 1 | 1 << 4 | 1 << 0 | 1 << 2);
}

/* ---- penalties ---- */

static void test_penalties(void **state)
{
    const float logits[] = {2.0f, 1.5f, -1.0f, -1.25f};
    sampler_options o = greedy;
    const uint32_t zero[] = {0}, two[] = {2}, all_positive[] = {0, 1}, many[] = {0, 0, 0},
                   foreign[] = {4, UINT32_MAX, 1000};

    o.repeat_penalty = 1.3f; /* 2 / 1.3 = 1.538 */
    assert_int_equal(pick_once(*state, o, logits, 4, zero, 1), 0);
    o.repeat_penalty = 1.4f; /* 2 / 1.4 = 1.428; once, however often the token stands there */
    assert_int_equal(pick_once(*state, o, logits, 4, zero, 1), 1);
    o.repeat_penalty = 1.3f;
    assert_int_equal(pick_once(*state, o, logits, 4, many, 3), 0);
    o.repeat_penalty = 0.5f; /* favours */
    assert_int_equal(pick_once(*state, o, logits, 4, all_positive + 1, 1), 1);
    assert_int_equal(pick_once(*state, o, logits, 4, foreign, 3), 0);

    const float negative[] = {-FLT_MAX, -FLT_MAX, -1.0f, -1.25f};
    o.repeat_penalty = 1.2f; /* -1.2 */
    assert_int_equal(pick_once(*state, o, negative, 4, two, 1), 2);
    o.repeat_penalty = 1.3f; /* -1.3 */
    assert_int_equal(pick_once(*state, o, negative, 4, two, 1), 3);

    o = greedy;
    o.presence_penalty = 0.4f; /* once */
    assert_int_equal(pick_once(*state, o, logits, 4, many, 3), 0);
    o.presence_penalty = 0.6f;
    assert_int_equal(pick_once(*state, o, logits, 4, zero, 1), 1);
    o = greedy;
    o.frequency_penalty = 0.2f; /* each time */
    assert_int_equal(pick_once(*state, o, logits, 4, many, 2), 0);
    assert_int_equal(pick_once(*state, o, logits, 4, many, 3), 1);
    o.frequency_penalty = -1.0f;
    assert_int_equal(pick_once(*state, o, logits, 4, all_positive + 1, 1), 1);
}

static void test_penalties_see_the_last_tokens_only(void **state)
{
    const float logits[] = {2.0f, 1.5f, 1.0f};
    const uint32_t recent[] = {0, 1, 2, 2};
    sampler_options o = greedy;
    o.presence_penalty = 5.0f;
    o.repeat_last = 2;
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 4), 0);
    o.repeat_last = 3;
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 4), 0);
    o.repeat_last = 4;
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 4), 0); /* all are lowered alike */
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 1), 1);
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 2), 2);
    o.repeat_last = 1;
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 2), 0);
    o.repeat_last = 0;
    assert_int_equal(pick_once(*state, o, logits, 3, recent, 1), 0);

    /* Nothing is remembered from one pick to the next. */
    o.repeat_last = 64;
    sampler *s = open_sampler(*state, o, 3);
    assert_int_equal(pick_after(s, logits, recent, 2), 2);
    assert_int_equal(pick_after(s, logits, recent, 1), 1);
    assert_int_equal(pick_after(s, logits, NULL, 0), 0);
    sampler_close(&s);
}

/* ---- recorded picks ---- */

static void test_recorded_picks(void **state)
{
    static const float logits[] = {0.5f, 2.0f, -1.0f, 1.25f, 2.0f, 0.0f, -3.5f, 1.75f, 0.875f, -0.25f};
    static const struct {
        sampler_options options;
        const char *picks; /* a digit each */
    } cases[] = {
        {{1.0f, 0, 1.0f, 0.0f, 1.0f, 0, 0, 64, 1}, "377431148755577017114774"},
        {{1.0f, 0, 1.0f, 0.0f, 1.0f, 0, 0, 64, 2}, "131331717334352173441417"},
        {{1.0f, 0, 1.0f, 0.0f, 1.0f, 0, 0, 64, 3}, "371744135103733111037771"},
        {{0.7f, 5, 0.9f, 0.05f, 1.0f, 0, 0, 64, 1}, "744471147433374314114444"},
        {{0.7f, 5, 0.9f, 0.05f, 1.0f, 0, 0, 64, 2}, "171771414774733177441417"},
        {{0.7f, 5, 0.9f, 0.05f, 1.0f, 0, 0, 64, 3}, "741444173137477111374441"},
        {{2.0f, 0, 0.8f, 0.0f, 1.0f, 0, 0, 64, 1}, "377431148700037817117774"},
        {{2.0f, 0, 0.8f, 0.0f, 1.0f, 0, 0, 64, 2}, "131334347334300133441713"},
        {{2.0f, 0, 0.8f, 0.0f, 1.0f, 0, 0, 64, 3}, "334744130103333111837771"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        sampler *s = open_sampler(*state, cases[i].options, 10);
        char picks[25] = "";
        for (int j = 0; j < 24; j++) picks[j] = (char)('0' + pick(s, logits));
        sampler_close(&s);
        assert_string_equal(picks, cases[i].picks);
    }
}

static void test_recorded_picks_of_a_large_vocabulary(void **state)
{
    enum { VOCAB = 4000 };
    static const uint32_t expected[3][12] = {
        {3485, 3943, 2689, 2880, 2731, 2838, 2029, 2126, 108, 2401, 802, 200},
        {953, 3307, 2139, 1532, 2210, 597, 3464, 3037, 1901, 922, 1155, 618},
        {3574, 2710, 3037, 893, 961, 1660, 76, 202, 2653, 1906, 3276, 3053},
    };
    float logits[VOCAB];
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = (float)(i * 2654435761u >> 20) / 512.0f;
    for (uint32_t seed = 1; seed <= 3; seed++) {
        sampler_options o = plain;
        o.seed = seed;
        sampler *s = open_sampler(*state, o, VOCAB);
        for (int j = 0; j < 12; j++) assert_int_equal(pick(s, logits), expected[seed - 1][j]);
        sampler_close(&s);
    }
}

/* A greedy pick and a single survivor: the first takes no number from the generator, the second one like any other. */
static void test_one_number_a_pick(void **state)
{
    const float flat[] = {0, 0, 0, 0, 0, 0, 0, 0}, sharp[] = {-INFINITY, 0, NAN, NAN, NAN, NAN, NAN, NAN};
    sampler *a = open_sampler(*state, plain, 8), *b = open_sampler(*state, plain, 8);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pick(a, flat), pick(b, flat));
        (void)pick(a, sharp);
        (void)pick(b, flat);
    }
    sampler_close(&a);
    sampler_close(&b);
}

/* ---- against a plain model ---- */

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

static int compare_candidates(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static uint32_t pick_by_definition(const sampler_options *o, prng *generator, const float *logits, uint32_t vocab_count,
                                   const uint32_t *recent, uint32_t recent_count)
{
    candidate *all = calloc(vocab_count, sizeof *all);
    float *weights = calloc(vocab_count, sizeof *weights);
    assert_non_null(all);
    assert_non_null(weights);
    uint32_t count = 0;
    for (uint32_t id = 0; id < vocab_count; id++) {
        if (isnan(logits[id]) || isinf(logits[id])) continue;
        uint32_t occurrences = 0;
        for (uint32_t i = recent_count > o->repeat_last ? recent_count - o->repeat_last : 0; i < recent_count; i++) {
            occurrences += recent[i] == id;
        }
        float logit = logits[id];
        if (occurrences > 0) {
            logit = logit > 0 ? logit / o->repeat_penalty : logit * o->repeat_penalty;
            logit -= o->presence_penalty;
            logit -= o->frequency_penalty * (float)occurrences;
        }
        all[count++] = (candidate){logit, id};
    }
    qsort(all, count, sizeof *all, compare_candidates);
    if (o->top_k > 0 && o->top_k < count) count = o->top_k;
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        total += weights[i] = exact_expf((all[i].logit - all[0].logit) / o->temperature);
    if (o->top_p < 1.0f) {
        uint32_t kept = 0;
        while (kept < count) {
            sum += weights[kept++];
            if (sum >= (double)o->top_p * total) break;
        }
        count = kept;
    }
    uint32_t kept = 1;
    while (kept < count && weights[kept] >= o->min_p) kept++;
    total = 0;
    for (uint32_t i = 0; i < kept; i++) total += weights[i];
    double target = prng_unit(generator) * total;
    sum = 0;
    uint32_t i = 0;
    while (i + 1 < kept && !(target < (sum += weights[i]))) i++;
    uint32_t id = all[i].id;
    free(all);
    free(weights);
    return id;
}

static void test_against_the_definition(void **state)
{
    static const uint32_t vocabs[] = {1, 2, 7, 1023, 1024, 1025, 3001};
    static const uint32_t top_ks[] = {0, 1, 3, 40, 1024, 1025, 2000};
    prng random;
    prng_init(&random, 99);
    for (size_t v = 0; v < ARRAY_COUNT(vocabs); v++) {
        uint32_t vocab = vocabs[v];
        float logits[3001];
        for (size_t k = 0; k < ARRAY_COUNT(top_ks); k++) {
            for (int repeat = 0; repeat < 6; repeat++) {
                uint32_t recent[50], recent_count = (uint32_t)prng_below(&random, 50);
                for (uint32_t i = 0; i < recent_count; i++) recent[i] = (uint32_t)prng_below(&random, vocab + 1);
                /* Few distinct values, so that there are many ties; some that are no numbers, but never the first. */
                for (uint32_t i = 0; i < vocab; i++) {
                    logits[i] = (float)((int)prng_below(&random, 64) - 32) / 4.0f;
                    if (i > 0 && prng_below(&random, 50) == 0) logits[i] = prng_below(&random, 2) ? NAN : -INFINITY;
                }
                sampler_options o = {
                    .temperature = 0.25f + (float)prng_unit(&random) * 3.0f,
                    .top_k = top_ks[k],
                    .top_p = repeat % 2 ? (float)prng_unit(&random) : 1.0f,
                    .min_p = repeat % 3 ? (float)prng_unit(&random) * 0.3f : 0.0f,
                    .repeat_penalty = repeat % 2 ? 1.2f : 1.0f,
                    .presence_penalty = repeat % 3 ? 0.5f : 0.0f,
                    .frequency_penalty = repeat > 3 ? 0.25f : 0.0f,
                    .repeat_last = (uint32_t)prng_below(&random, 60),
                    .seed = prng_next(&random),
                };
                prng generator;
                prng_init(&generator, o.seed);
                sampler *s = open_sampler(*state, o, vocab);
                for (int i = 0; i < 4; i++) {
                    uint32_t expected = pick_by_definition(&o, &generator, logits, vocab, recent, recent_count);
                    assert_int_equal(pick_after(s, logits, recent, recent_count), expected);
                }
                sampler_close(&s);
            }
        }
    }
}

/* Where the tokens stand does not matter: with distinct logits, permuted logits give the permuted pick. */
static void test_permuted_vocabulary(void **state)
{
    enum { VOCAB = 2000 };
    float logits[VOCAB], permuted[VOCAB];
    uint32_t new_id[VOCAB];
    prng random;
    prng_init(&random, 5);
    for (uint32_t i = 0; i < VOCAB; i++) {
        logits[i] = (float)i * 0.004f;
        new_id[i] = i;
    }
    for (uint32_t i = VOCAB - 1; i > 0; i--) {
        uint32_t j = (uint32_t)prng_below(&random, i + 1), swapped = new_id[i];
        new_id[i] = new_id[j];
        new_id[j] = swapped;
    }
    for (uint32_t i = 0; i < VOCAB; i++) permuted[new_id[i]] = logits[i];
    sampler_options o = plain;
    for (uint32_t k = 0; k <= 50; k += 50) {
        o.top_k = k;
        sampler *a = open_sampler(*state, o, VOCAB), *b = open_sampler(*state, o, VOCAB);
        for (int i = 0; i < 50; i++) assert_int_equal(new_id[pick(a, logits)], pick(b, permuted));
        sampler_close(&a);
        sampler_close(&b);
    }
}

/* ---- life ---- */

static void test_options_out_of_range(void **state)
{
    static const struct {
        size_t offset;
        const char *name;
        float low, high; /* the ends are allowed */
    } fields[] = {
        {offsetof(sampler_options, temperature), "temperature", 0.0f, 100.0f},
        {offsetof(sampler_options, top_p), "top_p", 0.0f, 1.0f},
        {offsetof(sampler_options, min_p), "min_p", 0.0f, 1.0f},
        {offsetof(sampler_options, repeat_penalty), "repeat_penalty", 0.01f, 100.0f},
        {offsetof(sampler_options, presence_penalty), "presence_penalty", -100.0f, 100.0f},
        {offsetof(sampler_options, frequency_penalty), "frequency_penalty", -100.0f, 100.0f},
    };
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        const float good[] = {fields[i].low, fields[i].high};
        const float bad[] = {
            NAN,       -INFINITY, INFINITY, nextafterf(fields[i].low, -INFINITY), nextafterf(fields[i].high, INFINITY),
            -1000000.f};
        sampler *s = NULL;
        for (size_t j = 0; j < ARRAY_COUNT(good); j++) {
            sampler_options o = plain;
            memcpy((char *)&o + fields[i].offset, &good[j], sizeof(float));
            assert_int_equal(sampler_open(*state, &o, 10, &s, NULL), LEAT_OK);
            sampler_close(&s);
        }
        for (size_t j = 0; j < ARRAY_COUNT(bad); j++) {
            sampler_options o = plain;
            memcpy((char *)&o + fields[i].offset, &bad[j], sizeof(float));
            leat_error error = {0};
            assert_int_equal(sampler_open(*state, &o, 10, &s, &error), LEAT_USAGE);
            assert_non_null(strstr(error.text, fields[i].name));
            assert_null(s);
        }
    }
    sampler *s = NULL;
    assert_int_equal(sampler_open(*state, &plain, 0, &s, NULL), LEAT_USAGE);
    sampler_close(&s);
    sampler_close(NULL);
}

static void test_no_memory(void **state)
{
    mem *ledger = *state;
    sampler_options o = plain;
    o.presence_penalty = 1.0f;
    for (uint64_t nth = 1;; nth++) {
        sampler *s = NULL;
        mem_fail_nth(ledger, nth);
        leat_status status = sampler_open(ledger, &o, 5000, &s, NULL);
        mem_fail_nth(ledger, 0);
        if (status == LEAT_OK) {
            assert_true(nth == 6); /* itself, ranks, scratch, weights, counts */
            sampler_close(&s);
            break;
        }
        assert_int_equal(status, LEAT_NO_MEMORY);
        assert_null(s);
        assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    }
}

static void test_picking_allocates_nothing(void **state)
{
    mem *ledger = *state;
    float logits[5000];
    for (int i = 0; i < 5000; i++) logits[i] = (float)(i % 77) * 0.1f;
    const uint32_t recent[] = {4, 5, 4};
    sampler_options o = plain;
    o.presence_penalty = 1.0f;
    o.top_p = 0.9f;
    for (uint32_t k = 0; k <= 40; k += 40) {
        o.top_k = k;
        sampler *s = open_sampler(ledger, o, 5000);
        uint64_t before = mem_total_usage(ledger).current_bytes;
        mem_fail_nth(ledger, 1);
        for (int i = 0; i < 10; i++) (void)pick_after(s, logits, recent, 3);
        mem_fail_nth(ledger, 0);
        assert_int_equal(mem_total_usage(ledger).current_bytes, before);
        sampler_close(&s);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_greedy_takes_the_lowest_of_the_largest),
        TEST(test_greedy_ignores_seed_and_filters),
        TEST(test_nan_and_minus_infinity_are_never_picked),
        TEST(test_no_number_at_all),
        TEST(test_extreme_numbers),
        TEST(test_each_filter_keeps_its_set),
        TEST(test_order_of_filters),
        TEST(test_equal_logits_at_the_edge_of_top_k),
        TEST(test_penalties),
        TEST(test_penalties_see_the_last_tokens_only),
        TEST(test_recorded_picks),
        TEST(test_recorded_picks_of_a_large_vocabulary),
        TEST(test_one_number_a_pick),
        TEST(test_against_the_definition),
        TEST(test_permuted_vocabulary),
        TEST(test_options_out_of_range),
        TEST(test_no_memory),
        TEST(test_picking_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

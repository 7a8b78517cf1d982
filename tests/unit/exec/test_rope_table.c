/* Frequencies and angles against golden numbers, and against the formulas written down once more. */
#include "unit.h"

#include "base/bytes.h"
#include "exec/rope_table.h"

#include <math.h>

static mem *ledger;

static int open_once(void **state)
{
    (void)state;
    ledger = open_ledger(0);
    return 0;
}

static int close_once(void **state)
{
    (void)state;
    close_empty_ledger(ledger);
    return 0;
}

static rope_table open_table(rope_desc desc)
{
    leat_error error = {0};
    rope_table table;
    assert_ok(rope_table_open(ledger, &desc, &table, &error), &error);
    return table;
}

/* The expected numbers have the digits that are written; `digits` of them count. */
static void assert_close(double found, double expected, int digits)
{
    if (fabs(found - expected) > fabs(expected) * pow(10, 1 - digits) / 2)
        fail_msg("%.17g, expected %.17g", found, expected);
}

typedef struct golden {
    uint32_t pair;
    double frequency;
    int digits;
} golden;

static void check(rope_desc desc, const golden *expected, size_t count)
{
    rope_table table = open_table(desc);
    for (size_t i = 0; i < count; i++)
        assert_close(table.frequencies[expected[i].pair], expected[i].frequency, expected[i].digits);
    rope_table_close(&table);
    assert_null(table.frequencies);
    rope_table_close(&table);
}

/* ---- golden numbers ---- */

static const rope_desc gemma4_full = {
    .kind = ROPE_PROPORTIONAL, .head_dim = 512, .rotated_dims = 128, .theta = 1e6, .factor = 1};
static const rope_desc gemma4_sliding = {
    .kind = ROPE_DEFAULT, .head_dim = 256, .rotated_dims = 256, .theta = 1e4, .factor = 1};
static const rope_desc llama3 = {.kind = ROPE_LLAMA3,
                                 .head_dim = 128,
                                 .rotated_dims = 128,
                                 .theta = 5e5,
                                 .factor = 8,
                                 .low_freq_factor = 1,
                                 .high_freq_factor = 4,
                                 .original_context = 8192};
static const rope_desc gpt_oss = {.kind = ROPE_YARN,
                                  .head_dim = 64,
                                  .rotated_dims = 64,
                                  .theta = 150000,
                                  .factor = 32,
                                  .original_context = 4096,
                                  .beta_fast = 32,
                                  .beta_slow = 1,
                                  .mscale = 1};

static void proportional(void **state)
{
    (void)state;
    static const golden expected[] = {
        {0, 1, 17}, {1, 0.9474635256553754, 15}, {31, 0.18768842935762187, 15}, {63, 0.033376246942920386, 15}};
    check(gemma4_full, expected, ARRAY_COUNT(expected));
    rope_table table = open_table(gemma4_full);
    assert_int_equal(table.pair_count, 64); /* the other 192 pairs do not turn */
    assert_int_equal(table.half, 256);      /* pairs are (i, i + 256) */
    assert_true(table.factor == 1);
    rope_table_close(&table);
    rope_desc slower = gemma4_full;
    slower.factor = 4;
    check(slower, (const golden[]){{0, 0.25, 17}, {1, 0.9474635256553754 / 4, 15}}, 2);
}

static void plain(void **state)
{
    (void)state;
    static const golden expected[] = {{0, 1, 17}, {1, 0.930572040929699, 14}, {64, 0.01, 15}, {127, 1.0746078e-4, 8}};
    check(gemma4_sliding, expected, ARRAY_COUNT(expected));
    rope_table table = open_table(gemma4_sliding);
    assert_int_equal(table.pair_count, 128);
    assert_int_equal(table.half, 128);
    rope_table_close(&table);
}

static void linear(void **state)
{
    (void)state;
    rope_desc desc = gemma4_sliding;
    desc.kind = ROPE_LINEAR;
    desc.factor = 8;
    check(desc, (const golden[]){{0, 0.125, 17}, {1, 0.930572040929699 / 8, 14}, {64, 0.00125, 15}}, 3);
}

static void rescaled_as_llama3(void **state)
{
    (void)state;
    static const golden expected[] = {{28, 3.211445994752591e-3, 15}, /* as it is */
                                      {29, 2.1665707635e-3, 10},      /* the first that is blended */
                                      {30, 1.3718935678e-3, 10},      {32, 5.2484616099e-4, 10},
                                      {34, 1.7850781277e-4, 10},      {35, 9.5562123540e-5, 10}, /* an eighth */
                                      {63, 3.0689259890e-7, 10}};
    check(llama3, expected, ARRAY_COUNT(expected));
}

static void yarn_of_gpt_oss(void **state)
{
    (void)state;
    static const golden as_they_are[] = {{8, 0.0508132748, 9},  {9, 0.0317056962, 9},  {13, 3.8603593e-3, 8},
                                         {17, 1.2931870e-4, 8}, {18, 3.8308812e-5, 8}, {31, 3.0235114e-7, 8}};
    static const golden rounded[] = {{8, 0.0508132748, 9},  {9, 0.0316207523, 9},  {13, 4.0695547e-3, 8},
                                     {17, 2.2794780e-4, 8}, {18, 3.8308812e-5, 8}, {31, 3.0235114e-7, 8}};
    rope_desc desc = gpt_oss;
    check(desc, as_they_are, ARRAY_COUNT(as_they_are));
    desc.truncate = true;
    check(desc, rounded, ARRAY_COUNT(rounded));
    rope_table table = open_table(desc);
    assert_true(table.factor == (float)1.3465735902799727);
    rope_table_close(&table);
}

/* theta 1e4, factor 40: pairs up to 10 as they are, from 23 on a fortieth. */
static void yarn_of_deepseek(void **state)
{
    (void)state;
    const rope_desc desc = {.kind = ROPE_YARN,
                            .head_dim = 64,
                            .rotated_dims = 64,
                            .theta = 1e4,
                            .factor = 40,
                            .original_context = 4096,
                            .beta_fast = 32,
                            .beta_slow = 1,
                            .truncate = true,
                            .mscale = 1,
                            .mscale_all_dim = 1};
    rope_table table = open_table(desc);
    for (uint32_t i = 0; i < 32; i++) {
        const double frequency = pow(1e4, -2.0 * i / 64), ramp = fmin(1, fmax(0, (i - 10.0) / 13));
        assert_close(table.frequencies[i], frequency / 40 * ramp + frequency * (1 - ramp), 14);
    }
    assert_true(table.factor == 1); /* the mscales divide each other */
    rope_table_close(&table);
}

static void yarn_factors(void **state)
{
    (void)state;
    static const struct {
        double factor, attention_factor, mscale, mscale_all_dim, expected;
    } cases[] = {
        {40, 0, 1, 0, 1.3688879454113936},
        {40, 0, 0.707, 0.707, 1},
        {40, 0, 1, 0.5, 1.3688879454113936 / 1.1844439727056968},
        {40, 1.25, 1, 1, 1.25},
        {0.5, 0, 1, 0, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        rope_desc desc = gpt_oss;
        desc.factor = cases[i].factor;
        desc.attention_factor = cases[i].attention_factor;
        desc.mscale = cases[i].mscale;
        desc.mscale_all_dim = cases[i].mscale_all_dim;
        rope_table table = open_table(desc);
        assert_close(table.factor, cases[i].expected, 7);
        rope_table_close(&table);
    }
}

/* beta_fast = beta_slow: floor and ceil keep the ends of the ramp apart, or else 0.001 does. */
static void yarn_with_equal_betas(void **state)
{
    (void)state;
    rope_desc desc = gpt_oss;
    desc.beta_fast = desc.beta_slow = 1; /* the ends are at 17.398 */
    for (int truncate = 0; truncate < 2; truncate++) {
        desc.truncate = truncate;
        rope_table table = open_table(desc);
        for (uint32_t i = 0; i < 32; i++) {
            const double frequency = pow(150000, -2.0 * i / 64);
            assert_close(table.frequencies[i], i <= 17 ? frequency : frequency / 32, 13);
        }
        rope_table_close(&table);
    }
}

/* The ramp's ends are kept within the dims. */
static void yarn_with_far_betas(void **state)
{
    (void)state;
    rope_desc desc = gpt_oss;
    desc.truncate = true;
    desc.beta_fast = 1000; /* -1.1, which counts as 0 */
    desc.beta_slow = 652;  /* -0.0004, whose ceiling is 0 as well */
    rope_table table = open_table(desc);
    assert_close(table.frequencies[0], 1, 15);
    assert_close(table.frequencies[1], pow(150000, -2.0 / 64) / 32, 14);
    rope_table_close(&table);

    desc.theta = 10;
    desc.beta_fast = 600; /* 1.15: 1 */
    desc.beta_slow = 1;   /* 90, which counts as 63 */
    table = open_table(desc);
    for (uint32_t i = 0; i < 32; i++) {
        const double frequency = pow(10, -2.0 * i / 64), ramp = fmax(0, (i - 1.0) / 62);
        assert_close(table.frequencies[i], frequency / 32 * ramp + frequency * (1 - ramp), 14);
    }
    rope_table_close(&table);
}

/* ---- angles ---- */

static void angles_of_far_positions(void **state)
{
    (void)state;
    static const uint32_t positions[] = {0, 1, 2, 1000, 131071, 10000000};
    float cosines[128], sines[128];
    rope_table table = open_table(gemma4_sliding);
    for (size_t i = 0; i < ARRAY_COUNT(positions); i++) {
        rope_table_angles(&table, positions[i], cosines, sines);
        for (uint32_t pair = 0; pair < 128; pair++) {
            const double angle = positions[i] * table.frequencies[pair];
            assert_true(fabs(cosines[pair] - cos(angle)) < 1e-7);
            assert_true(fabs(sines[pair] - sin(angle)) < 1e-7);
        }
    }
    rope_table_close(&table);
}

static void angles_carry_the_factor(void **state)
{
    (void)state;
    float cosines[32], sines[32];
    rope_table table = open_table(gpt_oss);
    rope_table_angles(&table, 0, cosines, sines);
    assert_true(cosines[5] == (float)1.3465735902799727 && sines[5] == 0);
    rope_table_angles(&table, 7, cosines, sines);
    const double length = hypot(cosines[3], sines[3]);
    assert_close(length, 1.3465735902799727, 7);
    rope_table_close(&table);
}

static void partial(void **state)
{
    (void)state;
    rope_desc desc = gemma4_sliding;
    desc.rotated_dims = 64; /* of 256: the first 64, in halves of 32 */
    rope_table table = open_table(desc);
    assert_int_equal(table.pair_count, 32);
    assert_int_equal(table.half, 32);
    assert_close(table.frequencies[16], 0.01, 14); /* exponents over the rotated dims */
    rope_table_close(&table);
    desc.rotated_dims = 0;
    table = open_table(desc);
    assert_int_equal(table.pair_count, 0);
    rope_table_angles(&table, 5, NULL, NULL);
    rope_table_close(&table);
}

static void a_failed_allocation(void **state)
{
    (void)state;
    leat_error error = {0};
    rope_table table;
    mem_fail_nth(ledger, 1);
    assert_fails(NO_MEMORY, rope_table_open(ledger, &llama3, &table, &error), &error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proportional),
        cmocka_unit_test(plain),
        cmocka_unit_test(linear),
        cmocka_unit_test(rescaled_as_llama3),
        cmocka_unit_test(yarn_of_gpt_oss),
        cmocka_unit_test(yarn_of_deepseek),
        cmocka_unit_test(yarn_factors),
        cmocka_unit_test(yarn_with_equal_betas),
        cmocka_unit_test(yarn_with_far_betas),
        cmocka_unit_test(angles_of_far_positions),
        cmocka_unit_test(angles_carry_the_factor),
        cmocka_unit_test(partial),
        cmocka_unit_test(a_failed_allocation),
    };
    return cmocka_run_group_tests(tests, open_once, close_once);
}

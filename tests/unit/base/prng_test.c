#include "support/unit.h"

#include "base/bytes.h"
#include "base/prng.h"

/* The first outputs for the state {1, 2, 3, 4}, worked out by hand from the definition:
 * rotl(2 * 5, 7) * 9 = 11520; then s1 = 2 ^ (3 ^ 1) = 0 gives 0; and so on. */
static void xoshiro_gives_its_known_numbers(void **state)
{
    (void)state;
    prng generator = {{1, 2, 3, 4}};
    assert_int_equal(prng_next(&generator), 11520);
    assert_int_equal(prng_next(&generator), 0);
    assert_int_equal(prng_next(&generator), 1509978240);
    assert_int_equal(prng_next(&generator), UINT64_C(1215971899390074240));
}

/* splitmix64 from seed 0: a published first output, then the definition written out again. */
static void seeding_is_splitmix64(void **state)
{
    (void)state;
    prng generator;
    prng_init(&generator, 0);
    assert_int_equal(generator.state[0], UINT64_C(0xe220a8397b1dcdaf));
    uint64_t seed = 0x0123456789abcdef;
    prng_init(&generator, seed);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t z = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        z ^= z >> 30;
        z *= UINT64_C(0xbf58476d1ce4e5b9);
        z ^= z >> 27;
        z *= UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        assert_int_equal(generator.state[i], z);
    }
}

static void unit_numbers_are_the_top_53_bits(void **state)
{
    (void)state;
    prng a, b;
    prng_init(&a, 7);
    prng_init(&b, 7);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double unit = prng_unit(&a);
        assert_true(unit >= 0 && unit < 1);
        assert_true(unit == (double)(prng_next(&b) >> 11) / 9007199254740992.0);
        sum += unit;
    }
    assert_true(sum > 49000 && sum < 51000);
}

static void bounded_numbers_are_even(void **state)
{
    (void)state;
    prng generator;
    prng_init(&generator, 3);
    uint32_t counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t n = prng_below(&generator, 7);
        assert_true(n < 7);
        counts[n]++;
    }
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) assert_in_range(counts[i], 9500, 10500);
    for (int i = 0; i < 100; i++) assert_int_equal(prng_below(&generator, 1), 0);
    /* At this bound a third of the draws would repeat the lower numbers if none were thrown away. */
    uint64_t bound = (UINT64_C(1) << 63) + (UINT64_C(1) << 62);
    int low_count = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t n = prng_below(&generator, bound);
        assert_true(n < bound);
        low_count += n % 3 == 0;
    }
    assert_in_range(low_count, 3100, 3570);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xoshiro_gives_its_known_numbers),
        cmocka_unit_test(seeding_is_splitmix64),
        cmocka_unit_test(unit_numbers_are_the_top_53_bits),
        cmocka_unit_test(bounded_numbers_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

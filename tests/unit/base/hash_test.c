#include "support/unit.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/prng.h"

static void depends_on_every_byte_the_length_and_the_seed(void **state)
{
    (void)state;
    unsigned char text[100];
    prng generator;
    prng_init(&generator, 1);
    for (size_t i = 0; i < sizeof text; i++) text[i] = (unsigned char)prng_next(&generator);
    for (size_t length = 0; length <= sizeof text; length++) {
        uint64_t hash = hash_bytes(text, length, 5);
        assert_true(hash == hash_bytes(text, length, 5));
        assert_true(hash != hash_bytes(text, length, 6));
        if (length > 0) assert_true(hash != hash_bytes(text, length - 1, 5));
        for (size_t i = 0; i < length; i++) {
            for (int bit = 0; bit < 8; bit++) {
                text[i] ^= (unsigned char)(1 << bit);
                assert_true(hash != hash_bytes(text, length, 5));
                text[i] ^= (unsigned char)(1 << bit);
            }
        }
    }
}

static void zero_bytes_of_different_lengths_differ(void **state)
{
    (void)state;
    unsigned char zeros[64] = {0};
    for (size_t a = 0; a <= sizeof zeros; a++) {
        for (size_t b = a + 1; b <= sizeof zeros; b++) assert_true(hash_bytes(zeros, a, 0) != hash_bytes(zeros, b, 0));
    }
}

/* It is used with a mask: the low bits alone must spread the numbered names of tensors evenly. */
static void low_bits_spread(void **state)
{
    (void)state;
    enum { BUCKETS = 1024, NAMES = 64 * BUCKETS };
    static uint32_t counts[BUCKETS];
    for (int i = 0; i < NAMES; i++) {
        char name[64];
        int length = snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.up_proj.weight", i / 256, i % 256);
        counts[hash_bytes(name, (size_t)length, 42) % BUCKETS]++;
    }
    for (int i = 0; i < BUCKETS; i++) assert_in_range(counts[i], 20, 120); /* 64 expected, deviation 8 */
}

static void u64_is_a_bijection_on_a_sample(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        for (uint64_t j = i + 1; j < 1000; j++) assert_true(hash_u64(i) != hash_u64(j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depends_on_every_byte_the_length_and_the_seed),
        cmocka_unit_test(zero_bytes_of_different_lengths_differ),
        cmocka_unit_test(low_bits_spread),
        cmocka_unit_test(u64_is_a_bijection_on_a_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/prng.h"

#include <assert.h>

static uint64_t rotate_left(uint64_t value, int count) { return value << count | value >> (64 - count); }

/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014), with the constants of mix 13. */
static uint64_t next_splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void prng_init(prng *generator, uint64_t seed)
{
    for (int i = 0; i < 4; i++) generator->state[i] = next_splitmix64(&seed);
}

uint64_t prng_next(prng *generator)
{
    uint64_t *s = generator->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double prng_unit(prng *generator) { return (double)(prng_next(generator) >> 11) * 0x1p-53; }

/* The high word of draw * bound is uniform once the draws whose low word lies below 2^64 mod bound are thrown away
 * (Lemire, "Fast random integer generation in an interval", 2019). */
uint64_t prng_below(prng *generator, uint64_t bound)
{
    assert(bound >= 1);
    uint64_t surplus = (0 - bound) % bound;
    for (;;) {
        unsigned __int128 product = (unsigned __int128)prng_next(generator) * bound;
        if ((uint64_t)product >= surplus) return (uint64_t)(product >> 64);
    }
}

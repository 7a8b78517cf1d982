/*
 * prng.h - the generator behind sampling and tests: xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64.
 * The same seed gives the same numbers on every machine; the stream is part of the product's behaviour.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

typedef struct prng {
    uint64_t state[4];
} prng;

void prng_init(prng *generator, uint64_t seed);
uint64_t prng_next(prng *generator);
/* Uniform in [0, 1): the top 53 bits times 2^-53. */
double prng_unit(prng *generator);
/* Uniform in [0, bound), bound >= 1, without bias. */
uint64_t prng_below(prng *generator, uint64_t bound);

#endif

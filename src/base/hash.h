/* hash.h - a 64-bit hash for tables in memory (not for files, not against an adversary who sees the seed). */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);

static inline uint64_t hash_u64(uint64_t value)
{
    value ^= value >> 32; /* the finaliser of MurmurHash3 with Stafford's constants (mix 13) */
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

#endif

/*
 * hash.c - folded 64 x 64 -> 128 bit multiplications over 16 bytes at a time.
 *
 * Both factors of every multiplication are masked by words that depend on the seed: a text cannot be built that makes a
 * factor zero, which would wipe out all that was read before it, without knowing the seed.
 */
#include "base/hash.h"

#include "base/bytes.h"

static uint64_t multiply_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* 1..16 bytes as two words; which bytes are read twice depends only on the length, and the length is hashed too. */
static void load_tail(const unsigned char *p, size_t length, uint64_t *a, uint64_t *b)
{
    if (length >= 8) {
        *a = load_le64(p);
        *b = load_le64(p + length - 8);
    } else if (length >= 4) {
        *a = load_le32(p);
        *b = load_le32(p + length - 4);
    } else {
        *a = (uint64_t)p[0] << 16 | (uint64_t)p[length >> 1] << 8 | p[length - 1];
        *b = 0;
    }
}

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed)
{
    const unsigned char *p = bytes;
    uint64_t mask = hash_u64(seed ^ 0x2545f4914f6cdd1du);
    uint64_t state = hash_u64(mask + length);
    size_t left = length;
    for (; left > 16; left -= 16, p += 16) state = multiply_fold(load_le64(p) ^ state, load_le64(p + 8) ^ mask) + mask;
    uint64_t a = 0, b = 0;
    if (left > 0) load_tail(p, left, &a, &b);
    return hash_u64(multiply_fold(a ^ state, b ^ mask) + state);
}

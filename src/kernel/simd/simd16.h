/*
 * simd16.h - what both instruction sets share below their v16: macros, and where the bits of a code lie.
 *
 * A kernel body (vector_body.inc, matmul_common.inc, matmul_type.inc) is written once over `v16`, 16 floats, which is
 * the set of virtual lanes of kernel.h: one AVX-512 register or two AVX2 registers. simd16_avx2.h and simd16_avx512.h
 * define it and the decoders of codes. Every operation is the IEEE one, lane by lane, so equal code gives equal bits.
 */
#ifndef KERNEL_SIMD_SIMD16_H
#define KERNEL_SIMD_SIMD16_H

#include "base/bytes.h"
#include "kernel/kernel.h"

#include <immintrin.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
/* The loops over rows and registers must disappear, or the accumulators would live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Codes of 3, 5 and 6 bits: a byte shuffle brings the two bytes that hold element e into dword e, where a shift by e *
 * bits % 8 moves the code to the bottom. 0x80 makes a zero byte. */
#define CODE_BYTES(bits, e) ((uint32_t)(((e) * (bits) / 8) | ((e) * (bits) / 8 + 1) << 8) | 0x80800000u)
#define CODE_SHIFT(bits, e) ((uint32_t)((e) * (bits) % 8))
#define PER_ELEMENT(macro, bits)                                                                                       \
    {                                                                                                                  \
        macro(bits, 0), macro(bits, 1), macro(bits, 2), macro(bits, 3), macro(bits, 4), macro(bits, 5),                \
            macro(bits, 6), macro(bits, 7), macro(bits, 8), macro(bits, 9), macro(bits, 10), macro(bits, 11),          \
            macro(bits, 12), macro(bits, 13), macro(bits, 14), macro(bits, 15)                                         \
    }
#define BIT_OFFSET(bits, e) ((uint32_t)((e) * (bits) % 32))

typedef struct code_layout {
    _Alignas(64) uint32_t bytes[16];
    uint32_t shifts[16];
} code_layout;

static const code_layout LAYOUT3 = {PER_ELEMENT(CODE_BYTES, 3), PER_ELEMENT(CODE_SHIFT, 3)};
static const code_layout LAYOUT5 = {PER_ELEMENT(CODE_BYTES, 5), PER_ELEMENT(CODE_SHIFT, 5)};
static const code_layout LAYOUT6 = {PER_ELEMENT(CODE_BYTES, 6), PER_ELEMENT(CODE_SHIFT, 6)};

/* Codes of 1, 2 and 4 bits never straddle a dword. */
_Alignas(64) static const uint32_t SHIFTS1[16] = PER_ELEMENT(BIT_OFFSET, 1);
_Alignas(64) static const uint32_t SHIFTS2[16] = PER_ELEMENT(BIT_OFFSET, 2);
_Alignas(64) static const uint32_t SHIFTS4[16] = PER_ELEMENT(BIT_OFFSET, 4);

/* Tables for permutes, whose index is the low 3 (AVX2), 4 or 5 (AVX-512) bits of a dword: what stands above a narrower
 * code in the dword selects a copy, so codes need no mask. */
_Alignas(64) static const float CODES1[16] = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
_Alignas(64) static const float CODES2[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
_Alignas(64) static const float CODES3[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
_Alignas(64) static const
    float E2M1_VALUES[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* 16 E4M3 codes as float16 of 1/256 of their value: the same fields, two bits lower. */
static ALWAYS_INLINE __m256i e4m3_as_f16(const uint8_t *codes)
{
    __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes));
    /* The sign comes from the sign extension; bit 14 holds a copy of it that must go. */
    __m256i shifted = _mm256_slli_epi16(wide, 7);
    __m256i magnitude_max = _mm256_set1_epi16(0x3f80);
    __m256i is_nan = _mm256_cmpeq_epi16(_mm256_and_si256(shifted, magnitude_max), magnitude_max);
    return _mm256_or_si256(_mm256_and_si256(shifted, _mm256_set1_epi16((short)0xbfff)), is_nan);
}

#endif

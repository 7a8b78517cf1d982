/*
 * emulated_avx512.h - the AVX-512 intrinsics that simd16_avx512.h uses, by way of SIMDe, for CPUs that have none: so
 * that the kernels' results can be checked there. Slow, and never part of a normal build. What SIMDe 0.7.4 lacks is
 * made here of two AVX2 halves, or of single lanes.
 */
#ifndef KERNEL_SIMD_EMULATED_AVX512_H
#define KERNEL_SIMD_EMULATED_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

static ALWAYS_INLINE __m512i join_halves(__m256i low, __m256i high)
{
    __m256i halves[2] = {low, high};
    return simde_mm512_loadu_si512(halves);
}
static ALWAYS_INLINE __m256i half_of(__m512i a, int idx)
{
    __m256i halves[2];
    simde_mm512_storeu_si512(halves, a);
    return halves[idx];
}
static ALWAYS_INLINE __m512 join_float_halves(__m256 low, __m256 high)
{
    return simde_mm512_castsi512_ps(join_halves(_mm256_castps_si256(low), _mm256_castps_si256(high)));
}

static ALWAYS_INLINE __m512 emulated_maskz_loadu_ps(simde__mmask16 lanes, const float *p)
{
    float values[16] = {0};
    for (int l = 0; l < 16; l++)
        if (lanes >> l & 1) values[l] = p[l];
    return simde_mm512_loadu_ps(values);
}
static ALWAYS_INLINE void emulated_mask_storeu_ps(float *p, simde__mmask16 lanes, __m512 a)
{
    float values[16];
    simde_mm512_storeu_ps(values, a);
    for (int l = 0; l < 16; l++)
        if (lanes >> l & 1) p[l] = values[l];
}
static ALWAYS_INLINE __m512i emulated_srai_epi32(__m512i a, unsigned count)
{
    return join_halves(_mm256_srai_epi32(half_of(a, 0), (int)count), _mm256_srai_epi32(half_of(a, 1), (int)count));
}
static ALWAYS_INLINE __m512 emulated_cvtepi32_ps(__m512i a)
{
    return join_float_halves(_mm256_cvtepi32_ps(half_of(a, 0)), _mm256_cvtepi32_ps(half_of(a, 1)));
}
static ALWAYS_INLINE __m512i emulated_cvtepu8_epi32(__m128i a)
{
    return join_halves(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)));
}
static ALWAYS_INLINE __m512i emulated_cvtepu16_epi32(__m256i a)
{
    return join_halves(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                       _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)));
}
static ALWAYS_INLINE __m512 emulated_cvtph_ps(__m256i a)
{
    return join_float_halves(_mm256_cvtph_ps(_mm256_castsi256_si128(a)),
                             _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
}

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_srai_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtph_ps
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#define _mm512_srai_epi32     emulated_srai_epi32
#define _mm512_cvtepi32_ps    emulated_cvtepi32_ps
#define _mm512_cvtepu8_epi32  emulated_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtph_ps       emulated_cvtph_ps

#endif

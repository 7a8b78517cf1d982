/*
 * simd16_avx512.h - v16 as one 512-bit register, and the decoders of stored codes, for AVX-512 F + BW + DQ + VL (with
 * AVX2, FMA, F16C).
 *
 * Up to 4 bits a group's 2^bits values are computed once and looked up with one permute; 5 bits take a permute of two
 * registers. Cost of 16 weights of affine4, one token, per row: a broadcast load and a merging broadcast load (p05),
 * vpsrlvd (p0), vpermps (p5), vfmadd with the activations from memory (p05): 4 operations on the two vector ports of
 * Intel's servers, so 2 cycles, plus 2 or 3 loads on p23.
 */
#ifndef KERNEL_SIMD_SIMD16_AVX512_H
#define KERNEL_SIMD_SIMD16_AVX512_H

#include "kernel/simd/simd16.h"

#ifdef KERNEL_AVX512_EMULATED
#include "kernel/simd/emulated_avx512.h"
#endif

typedef __m512 v16;

#define v16_set1        _mm512_set1_ps
#define v16_load(p)     _mm512_loadu_ps(p)
#define v16_store(p, a) _mm512_storeu_ps(p, a)
#define v16_add         _mm512_add_ps
#define v16_sub         _mm512_sub_ps
#define v16_mul         _mm512_mul_ps
#define v16_div         _mm512_div_ps
#define v16_fma         _mm512_fmadd_ps  /* a * b + c, rounded once */
#define v16_fnma        _mm512_fnmadd_ps /* -a * b + c */
#define v16_max         _mm512_max_ps    /* a > b ? a : b, so b where one of them is NaN */
#define v16_min         _mm512_min_ps    /* a < b ? a : b */

static ALWAYS_INLINE __mmask16 lanes_below(int count) { return (__mmask16)((1u << count) - 1); }

/* Masked moves touch only the bytes of their lanes, and no fault arises from the others. */
static ALWAYS_INLINE v16 v16_load_part(const float *p, int count)
{
    return _mm512_maskz_loadu_ps(lanes_below(count), p);
}
static ALWAYS_INLINE void v16_store_part(float *p, v16 a, int count)
{
    _mm512_mask_storeu_ps(p, lanes_below(count), a);
}
static ALWAYS_INLINE v16 v16_keep_first(int count, v16 first, v16 rest)
{
    return _mm512_mask_mov_ps(rest, lanes_below(count), first);
}
/* a < b ? x : y */
static ALWAYS_INLINE v16 v16_if_less(v16 a, v16 b, v16 x, v16 y)
{
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
}
/* test is NaN ? x : y */
static ALWAYS_INLINE v16 v16_if_nan(v16 test, v16 x, v16 y)
{
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(test, test, _CMP_UNORD_Q), x);
}
static ALWAYS_INLINE v16 v16_abs(v16 a)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MAX)));
}
/* `magnitude` has no sign bit set */
static ALWAYS_INLINE v16 v16_copysign(v16 magnitude, v16 a)
{
    __m512i sign = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude), sign));
}

static ALWAYS_INLINE __m256 upper_half(v16 a)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}
static ALWAYS_INLINE float v16_fold(v16 a)
{
    __m256 by8 = _mm256_add_ps(_mm512_castps512_ps256(a), upper_half(a));
    __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_shuffle_ps(by2, by2, 1)));
}

/* value * 2^n in the two steps of exact_expf, where shifted = n + 1.5 * 2^23 */
static ALWAYS_INLINE v16 v16_scale_by_shifted(v16 value, v16 shifted)
{
    __m512i exponent = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(0x4b400000));
    __m512i half = _mm512_srai_epi32(exponent, 1), bias = _mm512_set1_epi32(127);
    __m512i factor_a = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
    __m512i factor_b = _mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(exponent, half), bias), 23);
    return _mm512_mul_ps(_mm512_mul_ps(value, _mm512_castsi512_ps(factor_a)), _mm512_castsi512_ps(factor_b));
}

/* ---- stored floats ---- */

static ALWAYS_INLINE __m128i load_16_bytes(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
static ALWAYS_INLINE __m256i load_32_bytes(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }

static ALWAYS_INLINE v16 v16_from_f32(const uint8_t *p) { return _mm512_loadu_ps((const void *)p); }
static ALWAYS_INLINE v16 v16_from_f16(const uint8_t *p) { return _mm512_cvtph_ps(load_32_bytes(p)); }
static ALWAYS_INLINE v16 v16_from_bf16(const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_32_bytes(p)), 16));
}
static ALWAYS_INLINE v16 v16_from_e8m0(const uint8_t *p)
{
    /* Code 0 is 2^-127, which is subnormal: 0x00400000, below every other shifted code. */
    __m512i exponents = _mm512_slli_epi32(_mm512_cvtepu8_epi32(load_16_bytes(p)), 23);
    return _mm512_castsi512_ps(_mm512_max_epi32(exponents, _mm512_set1_epi32(0x00400000)));
}
static ALWAYS_INLINE v16 v16_from_e4m3(const uint8_t *p)
{
    return v16_mul(_mm512_cvtph_ps(e4m3_as_f16(p)), v16_set1(256));
}

/* ---- codes: a form is what the decoder needs of one group ---- */

typedef struct scale_form {
    v16 scale;
} scale_form;
typedef struct linear_form {
    v16 scale, offset;
} linear_form;
typedef struct table_form {
    v16 values;
} table_form;
typedef struct wide_table_form {
    v16 low, high;
} wide_table_form;

typedef table_form affine1_form, affine2_form, affine3_form, affine4_form, e2m1_form;
typedef wide_table_form affine5_form;
typedef linear_form affine6_form, affine8_form;

_Alignas(64) static const float CODES4[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
_Alignas(64) static const float CODES4_HIGH[16] = {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static ALWAYS_INLINE scale_form form_scale(const float *scale, const float *offset, bool rounds_twice)
{
    (void)offset, (void)rounds_twice;
    return (scale_form){v16_set1(*scale)};
}
static ALWAYS_INLINE linear_form form_linear(const float *scale, const float *offset, bool rounds_twice)
{
    (void)rounds_twice;
    return (linear_form){v16_set1(*scale), v16_set1(*offset)};
}
static ALWAYS_INLINE v16 scale_and_offset(linear_form form, v16 codes, bool rounds_twice)
{
    return rounds_twice ? v16_add(v16_mul(form.scale, codes), form.offset) : v16_fma(form.scale, codes, form.offset);
}
static ALWAYS_INLINE table_form form_affine_table(const float *codes, const float *scale, const float *offset,
                                                  bool rounds_twice)
{
    return (table_form){scale_and_offset(form_linear(scale, offset, rounds_twice), v16_load(codes), rounds_twice)};
}
#define form_affine1(scale, offset, rounds_twice) form_affine_table(CODES1, scale, offset, rounds_twice)
#define form_affine2(scale, offset, rounds_twice) form_affine_table(CODES2, scale, offset, rounds_twice)
#define form_affine3(scale, offset, rounds_twice) form_affine_table(CODES3, scale, offset, rounds_twice)
#define form_affine4(scale, offset, rounds_twice) form_affine_table(CODES4, scale, offset, rounds_twice)
static ALWAYS_INLINE wide_table_form form_affine5(const float *scale, const float *offset, bool rounds_twice)
{
    linear_form form = form_linear(scale, offset, rounds_twice);
    return (wide_table_form){scale_and_offset(form, v16_load(CODES4), rounds_twice),
                             scale_and_offset(form, v16_load(CODES4_HIGH), rounds_twice)};
}
#define form_affine6 form_linear
#define form_affine8 form_linear
static ALWAYS_INLINE table_form form_e2m1(const float *scale, const float *offset, bool rounds_twice)
{
    (void)offset, (void)rounds_twice;
    return (table_form){v16_mul(v16_set1(*scale), v16_load(E2M1_VALUES))};
}

static ALWAYS_INLINE __m512i load_u32s(const uint32_t *p) { return _mm512_loadu_si512((const void *)p); }
/* The index is the low 4 bits of each dword. */
static ALWAYS_INLINE v16 look_up(table_form form, __m512i codes) { return _mm512_permutexvar_ps(codes, form.values); }

static ALWAYS_INLINE v16 decode_affine1(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return look_up(form, _mm512_srlv_epi32(_mm512_set1_epi32(load_le16(p)), load_u32s(SHIFTS1)));
}
static ALWAYS_INLINE v16 decode_affine2(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return look_up(form, _mm512_srlv_epi32(_mm512_set1_epi32((int)load_le32(p)), load_u32s(SHIFTS2)));
}
/* 16 codes, not yet masked */
static ALWAYS_INLINE __m512i spread_codes(const uint8_t *p, const code_layout *layout)
{
    __m512i bytes = _mm512_broadcast_i32x4(load_16_bytes(p));
    return _mm512_srlv_epi32(_mm512_shuffle_epi8(bytes, load_u32s(layout->bytes)), load_u32s(layout->shifts));
}
static ALWAYS_INLINE v16 decode_affine3(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return look_up(form, spread_codes(p, &LAYOUT3));
}
/* The first dword's nibbles in lanes 0..7, the second's in 8..15: a broadcast load, and one that merges, spare the
 * shuffle port. */
static ALWAYS_INLINE __m512i spread_nibbles(const uint8_t *p)
{
    __m512i words = _mm512_set1_epi32((int)load_le32(p));
    words = _mm512_mask_set1_epi32(words, 0xff00, (int)load_le32(p + 4));
    return _mm512_srlv_epi32(words, load_u32s(SHIFTS4));
}
static ALWAYS_INLINE v16 decode_affine4(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return look_up(form, spread_nibbles(p));
}
#define dot_decode_affine4 decode_affine4
#define dot_decode_e2m1    decode_e2m1
#define NIBBLES_DOT_ORDER  0
static ALWAYS_INLINE v16 decode_e2m1(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return look_up(form, spread_nibbles(p));
}
static ALWAYS_INLINE v16 decode_affine5(const uint8_t *p, wide_table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return _mm512_permutex2var_ps(form.low, spread_codes(p, &LAYOUT5), form.high);
}
static ALWAYS_INLINE v16 decode_affine6(const uint8_t *p, linear_form form, bool rounds_twice)
{
    __m512i codes = _mm512_and_si512(spread_codes(p, &LAYOUT6), _mm512_set1_epi32(63));
    return scale_and_offset(form, _mm512_cvtepi32_ps(codes), rounds_twice);
}
static ALWAYS_INLINE v16 decode_affine8(const uint8_t *p, linear_form form, bool rounds_twice)
{
    return scale_and_offset(form, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_16_bytes(p))), rounds_twice);
}
static ALWAYS_INLINE v16 decode_e4m3(const uint8_t *p, scale_form form, bool rounds_twice)
{
    (void)rounds_twice;
    return v16_mul(form.scale, v16_from_e4m3(p));
}

/* Bytes that a decoder reads past the 16 codes */
#define OVERREAD3 10
#define OVERREAD5 6
#define OVERREAD6 4

/* ---- the native register, for the tiles of several tokens: 4 x 4 accumulators of 32 registers ---- */

typedef v16 vn;
#define VN_LANES    16
#define TILE_TOKENS 4
#define vn_load     v16_load
#define vn_store    v16_store
#define vn_fma      v16_fma

#endif

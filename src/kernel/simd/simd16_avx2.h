/*
 * simd16_avx2.h - v16 as two 256-bit registers, and the decoders of stored codes, for AVX2 + FMA + F16C.
 */
#ifndef KERNEL_SIMD_SIMD16_AVX2_H
#define KERNEL_SIMD_SIMD16_AVX2_H

#include "kernel/simd/simd16.h"

typedef struct v16 {
    __m256 lo, hi; /* lanes 0..7, 8..15 */
} v16;

static ALWAYS_INLINE v16 v16_of(__m256 lo, __m256 hi) { return (v16){lo, hi}; }
static ALWAYS_INLINE v16 v16_set1(float value) { return v16_of(_mm256_set1_ps(value), _mm256_set1_ps(value)); }
static ALWAYS_INLINE v16 v16_load(const float *p) { return v16_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
static ALWAYS_INLINE void v16_store(float *p, v16 a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}

/* -1 in lanes begin..begin+7 below count */
static ALWAYS_INLINE __m256i lanes_below(int count, int begin)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count - begin), lane);
}

/* Masked moves touch only the bytes of their lanes, and no fault arises from the others. */
static ALWAYS_INLINE v16 v16_load_part(const float *p, int count)
{
    return v16_of(_mm256_maskload_ps(p, lanes_below(count, 0)), _mm256_maskload_ps(p + 8, lanes_below(count, 8)));
}
static ALWAYS_INLINE void v16_store_part(float *p, v16 a, int count)
{
    _mm256_maskstore_ps(p, lanes_below(count, 0), a.lo);
    _mm256_maskstore_ps(p + 8, lanes_below(count, 8), a.hi);
}
static ALWAYS_INLINE v16 v16_keep_first(int count, v16 first, v16 rest)
{
    return v16_of(_mm256_blendv_ps(rest.lo, first.lo, _mm256_castsi256_ps(lanes_below(count, 0))),
                  _mm256_blendv_ps(rest.hi, first.hi, _mm256_castsi256_ps(lanes_below(count, 8))));
}

static ALWAYS_INLINE v16 v16_add(v16 a, v16 b) { return v16_of(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)); }
static ALWAYS_INLINE v16 v16_sub(v16 a, v16 b) { return v16_of(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)); }
static ALWAYS_INLINE v16 v16_mul(v16 a, v16 b) { return v16_of(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)); }
static ALWAYS_INLINE v16 v16_div(v16 a, v16 b) { return v16_of(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)); }
/* a * b + c, rounded once */
static ALWAYS_INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    return v16_of(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
/* -a * b + c */
static ALWAYS_INLINE v16 v16_fnma(v16 a, v16 b, v16 c)
{
    return v16_of(_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi));
}
/* a > b ? a : b, so b where one of them is NaN; a < b ? a : b likewise */
static ALWAYS_INLINE v16 v16_max(v16 a, v16 b) { return v16_of(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)); }
static ALWAYS_INLINE v16 v16_min(v16 a, v16 b) { return v16_of(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)); }
/* a < b ? x : y */
static ALWAYS_INLINE v16 v16_if_less(v16 a, v16 b, v16 x, v16 y)
{
    return v16_of(_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                  _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)));
}
/* test is NaN ? x : y */
static ALWAYS_INLINE v16 v16_if_nan(v16 test, v16 x, v16 y)
{
    return v16_of(_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(test.lo, test.lo, _CMP_UNORD_Q)),
                  _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(test.hi, test.hi, _CMP_UNORD_Q)));
}
static ALWAYS_INLINE v16 v16_abs(v16 a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return v16_of(_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi));
}
/* `magnitude` has no sign bit set */
static ALWAYS_INLINE v16 v16_copysign(v16 magnitude, v16 a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return v16_of(_mm256_or_ps(magnitude.lo, _mm256_and_ps(sign, a.lo)),
                  _mm256_or_ps(magnitude.hi, _mm256_and_ps(sign, a.hi)));
}

static ALWAYS_INLINE float v16_fold(v16 a)
{
    __m256 by8 = _mm256_add_ps(a.lo, a.hi);
    __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_shuffle_ps(by2, by2, 1)));
}

static ALWAYS_INLINE __m256 scale_half(__m256 value, __m256 shifted)
{
    __m256i exponent = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x4b400000));
    __m256i half = _mm256_srai_epi32(exponent, 1), bias = _mm256_set1_epi32(127);
    __m256i factor_a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i factor_b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(exponent, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(value, _mm256_castsi256_ps(factor_a)), _mm256_castsi256_ps(factor_b));
}
/* value * 2^n in the two steps of exact_expf, where shifted = n + 1.5 * 2^23 */
static ALWAYS_INLINE v16 v16_scale_by_shifted(v16 value, v16 shifted)
{
    return v16_of(scale_half(value.lo, shifted.lo), scale_half(value.hi, shifted.hi));
}

/* ---- stored floats ---- */

static ALWAYS_INLINE __m256 f16_half(__m128i halves) { return _mm256_cvtph_ps(halves); }
static ALWAYS_INLINE v16 v16_from_f32(const uint8_t *p) { return v16_load((const float *)(const void *)p); }
static ALWAYS_INLINE v16 v16_from_f16(const uint8_t *p)
{
    return v16_of(f16_half(_mm_loadu_si128((const __m128i *)p)), f16_half(_mm_loadu_si128((const __m128i *)(p + 16))));
}
static ALWAYS_INLINE __m256 bf16_half(const uint8_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static ALWAYS_INLINE v16 v16_from_bf16(const uint8_t *p) { return v16_of(bf16_half(p), bf16_half(p + 16)); }
static ALWAYS_INLINE __m256i bytes_half(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
static ALWAYS_INLINE __m256 e8m0_half(const uint8_t *p)
{
    /* Code 0 is 2^-127, which is subnormal: 0x00400000, below every other shifted code. */
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_slli_epi32(bytes_half(p), 23), _mm256_set1_epi32(0x00400000)));
}
static ALWAYS_INLINE v16 v16_from_e8m0(const uint8_t *p) { return v16_of(e8m0_half(p), e8m0_half(p + 8)); }
static ALWAYS_INLINE v16 v16_from_e4m3(const uint8_t *p)
{
    __m256i halves = e4m3_as_f16(p);
    __m256 back = _mm256_set1_ps(256);
    return v16_of(_mm256_mul_ps(f16_half(_mm256_castsi256_si128(halves)), back),
                  _mm256_mul_ps(f16_half(_mm256_extracti128_si256(halves, 1)), back));
}

/* ---- codes: a form is what the decoder needs of one group ---- */

typedef struct scale_form {
    __m256 scale;
} scale_form;
typedef struct linear_form {
    __m256 scale, offset;
} linear_form;
typedef struct table_form {
    __m256 values;
} table_form;

static ALWAYS_INLINE scale_form form_scale(const float *scale, const float *offset, bool rounds_twice)
{
    (void)offset, (void)rounds_twice;
    return (scale_form){_mm256_broadcast_ss(scale)};
}
static ALWAYS_INLINE linear_form form_linear(const float *scale, const float *offset, bool rounds_twice)
{
    (void)rounds_twice;
    return (linear_form){_mm256_broadcast_ss(scale), _mm256_broadcast_ss(offset)};
}
static ALWAYS_INLINE __m256 scale_and_offset(linear_form form, __m256 codes, bool rounds_twice)
{
    return rounds_twice ? _mm256_add_ps(_mm256_mul_ps(form.scale, codes), form.offset)
                        : _mm256_fmadd_ps(form.scale, codes, form.offset);
}
static ALWAYS_INLINE table_form form_affine_table(const float *codes, const float *scale, const float *offset,
                                                  bool rounds_twice)
{
    return (table_form){
        scale_and_offset(form_linear(scale, offset, rounds_twice), _mm256_load_ps(codes), rounds_twice)};
}
typedef table_form affine1_form, affine2_form, affine3_form, e2m1_form;
typedef linear_form affine4_form, affine5_form, affine6_form, affine8_form;
#define form_affine4                              form_linear
#define form_affine5                              form_linear
#define form_affine6                              form_linear
#define form_affine8                              form_linear
#define form_affine1(scale, offset, rounds_twice) form_affine_table(CODES1, scale, offset, rounds_twice)
#define form_affine2(scale, offset, rounds_twice) form_affine_table(CODES2, scale, offset, rounds_twice)
#define form_affine3(scale, offset, rounds_twice) form_affine_table(CODES3, scale, offset, rounds_twice)
/* Magnitudes only: the index has three bits. */
static ALWAYS_INLINE table_form form_e2m1(const float *scale, const float *offset, bool rounds_twice)
{
    (void)offset, (void)rounds_twice;
    return (table_form){_mm256_mul_ps(_mm256_broadcast_ss(scale), _mm256_load_ps(E2M1_VALUES))};
}

static ALWAYS_INLINE __m256i load_u32s(const uint32_t *p) { return _mm256_load_si256((const __m256i *)p); }
static ALWAYS_INLINE __m256 look_up(table_form form, __m256i codes)
{
    return _mm256_permutevar8x32_ps(form.values, codes);
}

static ALWAYS_INLINE v16 decode_affine1(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    __m256i word = _mm256_set1_epi16((short)load_le16(p)); /* the copy in the upper half is above the code */
    return v16_of(look_up(form, _mm256_srlv_epi32(word, load_u32s(SHIFTS1))),
                  look_up(form, _mm256_srlv_epi32(word, load_u32s(SHIFTS1 + 8))));
}
static ALWAYS_INLINE v16 decode_affine2(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    __m256i word = _mm256_set1_epi32((int)load_le32(p));
    return v16_of(look_up(form, _mm256_srlv_epi32(word, load_u32s(SHIFTS2))),
                  look_up(form, _mm256_srlv_epi32(word, load_u32s(SHIFTS2 + 8))));
}

/* Eight codes, not yet masked; `first` is 0 or 8. */
static ALWAYS_INLINE __m256i spread_codes(__m256i bytes, const code_layout *layout, int first)
{
    return _mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, load_u32s(layout->bytes + first)),
                             load_u32s(layout->shifts + first));
}
static ALWAYS_INLINE __m256i load_bytes(const uint8_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
static ALWAYS_INLINE v16 decode_affine3(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    __m256i bytes = load_bytes(p);
    return v16_of(look_up(form, spread_codes(bytes, &LAYOUT3, 0)), look_up(form, spread_codes(bytes, &LAYOUT3, 8)));
}
static ALWAYS_INLINE __m256 mask_and_scale(__m256i codes, int mask, linear_form form, bool rounds_twice)
{
    __m256i masked = _mm256_and_si256(codes, _mm256_set1_epi32(mask));
    return scale_and_offset(form, _mm256_cvtepi32_ps(masked), rounds_twice);
}
static ALWAYS_INLINE __m256i spread_nibbles(const uint8_t *p)
{
    return _mm256_srlv_epi32(_mm256_set1_epi32((int)load_le32(p)), load_u32s(SHIFTS4));
}
static ALWAYS_INLINE v16 decode_affine4(const uint8_t *p, linear_form form, bool rounds_twice)
{
    return v16_of(mask_and_scale(spread_nibbles(p), 15, form, rounds_twice),
                  mask_and_scale(spread_nibbles(p + 4), 15, form, rounds_twice));
}
/* For dot products the even elements are taken first, then the odd ones: one load brings a byte, which holds one of
 * each, into each lane. */
#define NIBBLES_DOT_ORDER 1
static ALWAYS_INLINE v16 dot_decode_affine4(const uint8_t *p, linear_form form, bool rounds_twice)
{
    __m256i pairs = bytes_half(p);
    return v16_of(mask_and_scale(pairs, 15, form, rounds_twice),
                  scale_and_offset(form, _mm256_cvtepi32_ps(_mm256_srli_epi32(pairs, 4)), rounds_twice));
}
static ALWAYS_INLINE v16 v16_to_dot_order(v16 a)
{
    /* Within 128 bits: 0 2 8 10 | 4 6 12 14, then the middle quarters change places. */
    __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a.lo, a.hi, 0x88)),
            odd = _mm256_castps_pd(_mm256_shuffle_ps(a.lo, a.hi, 0xdd));
    return v16_of(_mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8)),
                  _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8)));
}
static ALWAYS_INLINE v16 v16_from_dot_order(v16 a)
{
    __m256 low = _mm256_unpacklo_ps(a.lo, a.hi),
           high = _mm256_unpackhi_ps(a.lo, a.hi); /* 0 1 2 3 | 8 9 10 11, 4 5 6 7 | 12 13 14 15 */
    return v16_of(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}
static ALWAYS_INLINE v16 decode_affine5(const uint8_t *p, linear_form form, bool rounds_twice)
{
    __m256i bytes = load_bytes(p);
    return v16_of(mask_and_scale(spread_codes(bytes, &LAYOUT5, 0), 31, form, rounds_twice),
                  mask_and_scale(spread_codes(bytes, &LAYOUT5, 8), 31, form, rounds_twice));
}
static ALWAYS_INLINE v16 decode_affine6(const uint8_t *p, linear_form form, bool rounds_twice)
{
    __m256i bytes = load_bytes(p);
    return v16_of(mask_and_scale(spread_codes(bytes, &LAYOUT6, 0), 63, form, rounds_twice),
                  mask_and_scale(spread_codes(bytes, &LAYOUT6, 8), 63, form, rounds_twice));
}
static ALWAYS_INLINE v16 decode_affine8(const uint8_t *p, linear_form form, bool rounds_twice)
{
    return v16_of(scale_and_offset(form, _mm256_cvtepi32_ps(bytes_half(p)), rounds_twice),
                  scale_and_offset(form, _mm256_cvtepi32_ps(bytes_half(p + 8)), rounds_twice));
}
/* `shift` brings the code's sign bit to bit 31; what stands above the magnitude in `codes` does not matter. */
static ALWAYS_INLINE __m256 signed_e2m1(table_form form, __m256i codes, __m256i source, int shift)
{
    __m256i sign = _mm256_and_si256(_mm256_slli_epi32(source, shift), _mm256_set1_epi32(INT32_MIN));
    return _mm256_xor_ps(look_up(form, codes), _mm256_castsi256_ps(sign));
}
static ALWAYS_INLINE v16 decode_e2m1(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    __m256i low = spread_nibbles(p), high = spread_nibbles(p + 4);
    return v16_of(signed_e2m1(form, low, low, 28), signed_e2m1(form, high, high, 28));
}
static ALWAYS_INLINE v16 dot_decode_e2m1(const uint8_t *p, table_form form, bool rounds_twice)
{
    (void)rounds_twice;
    __m256i pairs = bytes_half(p);
    return v16_of(signed_e2m1(form, pairs, pairs, 28), signed_e2m1(form, _mm256_srli_epi32(pairs, 4), pairs, 24));
}
static ALWAYS_INLINE v16 decode_e4m3(const uint8_t *p, scale_form form, bool rounds_twice)
{
    (void)rounds_twice;
    v16 elements = v16_from_e4m3(p);
    return v16_of(_mm256_mul_ps(form.scale, elements.lo), _mm256_mul_ps(form.scale, elements.hi));
}

/* Bytes that a decoder reads past the 16 codes */
#define OVERREAD3 10
#define OVERREAD5 6
#define OVERREAD6 4

/* ---- the native register, for the tiles of several tokens: 4 x 3 accumulators, 3 activations and a weight are 16
 * registers ---- */

typedef __m256 vn;
#define VN_LANES    8
#define TILE_TOKENS 3
#define vn_load     _mm256_loadu_ps
#define vn_store    _mm256_storeu_ps
#define vn_fma      _mm256_fmadd_ps

#endif

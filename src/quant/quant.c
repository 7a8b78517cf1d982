/*
 * quant.c - what stored weights mean, one element at a time.
 *
 * This file is the definition that every kernel is compared with, so it is written for the reader: a row of codes is
 * one little-endian stream of bits, and element j is the `bits` bits from bit j * bits upwards. No byte outside the row
 * is read.
 *
 * Sources: mlx's quantiser and dequantiser (measured; docs/formats/mlx.md); OCP Microscaling Formats v1.0 for E2M1,
 * E4M3 and E8M0.
 *
 * Threads: pure functions.
 */
#include "quant/quant.h"

#include "base/bytes.h"

#include <assert.h>
#include <math.h>

const quant_traits quant_traits_table[QUANT_TYPE_COUNT] = {
#define QUANT_TYPE(name, label, bits, group, scales, has_offsets) {label, bits, group, scales, has_offsets},
#include "quant/quant_types.inc"
#undef QUANT_TYPE
};

/* mlx stores a global scale as the largest magnitude of the matrix; what multiplies is that over 448 (the largest E4M3)
 * times 6 (the largest E2M1). */
static const float NVFP4_GLOBAL_RANGE = 2688.0f;

uint64_t quant_data_row_bytes(const matrix_shape *shape)
{
    return shape->cols / 8 * quant_traits_table[shape->type].bits +
           shape->cols % 8 * quant_traits_table[shape->type].bits / 8;
}

uint64_t quant_scale_row_bytes(const matrix_shape *shape)
{
    switch (quant_traits_table[shape->type].scales) {
    case SCALES_NONE: return 0;
    case SCALES_FLOAT: return shape->cols / shape->group * float_type_bytes(shape->scale_type);
    case SCALES_E8M0:
    case SCALES_E4M3: return shape->cols / shape->group;
    }
    return 0;
}

uint32_t float_type_bytes(float_type type) { return type == FLOAT_F32 ? 4 : 2; }

float quant_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = (bits >> 10) & 31;
    uint32_t mantissa = bits & 1023;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

float quant_bf16_to_f32(uint16_t bits) { return float_of_bits((uint32_t)bits << 16); }

float quant_e4m3_to_f32(uint8_t bits)
{
    uint32_t magnitude = bits & 127;
    uint32_t exponent = magnitude >> 3;
    float value;
    if (magnitude == 127)
        value = NAN;
    else if (exponent == 0)
        value = (float)magnitude * 0x1p-9f;
    else
        value = float_of_bits((exponent + 127 - 7) << 23 | (magnitude & 7) << 20);
    return bits & 128 ? -value : value;
}

/* Code 255 is NaN in the OCP specification; mlx reads it as +inf, and so do we: no encoder writes it. */
float quant_e8m0_to_f32(uint8_t bits) { return bits ? float_of_bits((uint32_t)bits << 23) : 0x1p-127f; }

float quant_e2m1_to_f32(uint8_t code)
{
    static const float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    float magnitude = magnitudes[code & 7];
    return code & 8 ? -magnitude : magnitude;
}

float quant_float_at(float_type type, const uint8_t *values, uint64_t idx)
{
    switch (type) {
    case FLOAT_F32: return load_f32(values + 4 * idx);
    case FLOAT_F16: return quant_f16_to_f32(load_le16(values + 2 * idx));
    case FLOAT_BF16: return quant_bf16_to_f32(load_le16(values + 2 * idx));
    }
    return 0;
}

uint16_t quant_f32_to_bf16(float value)
{
    uint32_t bits = bits_of_float(value);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40); /* stays a NaN whatever bits are cut off */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t quant_f32_to_f16(float value)
{
    uint32_t bits = bits_of_float(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 and more, infinity */
    if (magnitude < 0x38800000) {
        /* Below 2^-14 the step is 2^-24. Adding 0.5, whose step in float32 is 2^-24, makes the hardware round. */
        uint32_t rounded = bits_of_float(float_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (rounded - 0x3f000000));
    }
    uint32_t rebiased = magnitude - ((127 - 15) << 23);
    return (uint16_t)(sign | (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13); /* may carry into infinity, rightly */
}

/* Bits [idx * bits, (idx + 1) * bits) of the stream; bits <= 8. Reads only the one or two bytes that hold them. */
static uint32_t code_at(const uint8_t *stream, uint32_t bits, uint64_t idx)
{
    uint64_t byte = idx / 8 * bits + idx % 8 * bits / 8;
    uint32_t shift = (uint32_t)(idx % 8) * bits % 8;
    uint32_t window = stream[byte];
    if (shift + bits > 8) window |= (uint32_t)stream[byte + 1] << 8;
    return window >> shift & ((1u << bits) - 1);
}

static void put_code(uint8_t *stream, uint32_t bits, uint64_t idx, uint32_t code)
{
    for (uint32_t i = 0; i < bits; i++) {
        uint64_t at = idx * bits + i;
        if (code >> i & 1) stream[at / 8] |= (uint8_t)(1u << at % 8);
    }
}

void quant_group_scale(const matrix *m, uint64_t row, uint64_t group_idx, float *out_scale, float *out_offset)
{
    const matrix_shape *shape = &m->shape;
    const uint8_t *scales = m->scales + row * quant_scale_row_bytes(shape);
    *out_scale = 1;
    *out_offset = 0;
    switch (quant_traits_table[shape->type].scales) {
    case SCALES_NONE: break;
    case SCALES_FLOAT:
        *out_scale = quant_float_at(shape->scale_type, scales, group_idx);
        *out_offset = quant_float_at(shape->scale_type, m->offsets + row * quant_scale_row_bytes(shape), group_idx);
        break;
    case SCALES_E8M0: *out_scale = quant_e8m0_to_f32(scales[group_idx]); break;
    case SCALES_E4M3:
        *out_scale = quant_e4m3_to_f32(scales[group_idx]);
        if (shape->has_global_scale) *out_scale *= m->global_scale / NVFP4_GLOBAL_RANGE;
        break;
    }
}

static void decode_floats(float_type type, const uint8_t *values, uint64_t begin, uint64_t end, float *out)
{
    for (uint64_t col = begin; col < end; col++) *out++ = quant_float_at(type, values, col);
}

void quant_decode(const matrix *m, uint64_t row, uint64_t col_begin, uint64_t col_end, float *out)
{
    const matrix_shape *shape = &m->shape;
    assert(row < shape->rows && col_begin <= col_end && col_end <= shape->cols);
    const uint8_t *codes = m->data + row * quant_data_row_bytes(shape);
    if (shape->type == QUANT_F32) {
        decode_floats(FLOAT_F32, codes, col_begin, col_end, out);
        return;
    }
    if (shape->type == QUANT_F16) {
        decode_floats(FLOAT_F16, codes, col_begin, col_end, out);
        return;
    }
    if (shape->type == QUANT_BF16) {
        decode_floats(FLOAT_BF16, codes, col_begin, col_end, out);
        return;
    }

    const quant_traits *traits = &quant_traits_table[shape->type];
    assert(shape->group > 0 && shape->cols % shape->group == 0);
    for (uint64_t col = col_begin; col < col_end;) {
        float scale, offset;
        quant_group_scale(m, row, col / shape->group, &scale, &offset);
        uint64_t group_end = min_u64(col_end, (col / shape->group + 1) * shape->group);
        for (; col < group_end; col++) {
            uint32_t code = code_at(codes, traits->bits, col);
            switch (traits->scales) {
            case SCALES_NONE: break;
            case SCALES_FLOAT:
                *out++ =
                    shape->scale_type == FLOAT_F32 ? scale * (float)code + offset : fmaf(scale, (float)code, offset);
                break;
            case SCALES_E8M0:
            case SCALES_E4M3:
                *out++ =
                    scale * (traits->bits == 8 ? quant_e4m3_to_f32((uint8_t)code) : quant_e2m1_to_f32((uint8_t)code));
                break;
            }
        }
    }
}

static void store_float(float_type type, uint8_t *values, uint64_t idx, float value)
{
    uint16_t half;
    switch (type) {
    case FLOAT_F32: memcpy(values + 4 * idx, &value, 4); return;
    case FLOAT_F16: half = quant_f32_to_f16(value); break;
    case FLOAT_BF16: half = quant_f32_to_bf16(value); break;
    default: return;
    }
    memcpy(values + 2 * idx, &half, 2);
}

/* Codes are chosen with the scale and offset before these are rounded to their stored type, as mlx does. */
static void encode_group(const float *values, uint64_t count, uint32_t bits, uint8_t *codes, uint64_t first_idx,
                         float *out_scale, float *out_offset)
{
    const float scale_min = 1e-7f;
    float low = values[0], high = values[0];
    for (uint64_t i = 1; i < count; i++) {
        low = fminf(low, values[i]);
        high = fmaxf(high, values[i]);
    }
    if (bits == 1) {
        for (uint64_t i = 0; i < count; i++) put_code(codes, 1, first_idx + i, values[i] > (low + high) / 2);
        *out_scale = fmaxf(high - low, scale_min);
        *out_offset = low;
        return;
    }
    /* The end of larger magnitude is met exactly: it becomes the offset, and zero a multiple of the scale. */
    float code_max = (float)((1u << bits) - 1);
    bool low_is_edge = fabsf(low) > fabsf(high);
    float edge = low_is_edge ? low : high;
    float scale = fmaxf((high - low) / code_max, scale_min);
    if (!low_is_edge) scale = -scale;
    float edge_code = rintf(edge / scale);
    float offset = 0;
    if (edge_code != 0) {
        scale = edge / edge_code;
        offset = edge;
    }
    for (uint64_t i = 0; i < count; i++) {
        float code = fminf(fmaxf(rintf((values[i] - offset) / scale), 0), code_max);
        put_code(codes, bits, first_idx + i, (uint32_t)code);
    }
    *out_scale = scale;
    *out_offset = offset;
}

void quant_encode_affine(const float *values, uint64_t cols, uint32_t bits, uint32_t group, float_type scale_type,
                         uint8_t *codes, uint8_t *scales, uint8_t *offsets)
{
    assert(bits >= 1 && bits <= 8 && group > 0 && cols % group == 0);
    memset(codes, 0, cols / 8 * bits);
    for (uint64_t col = 0; col < cols; col += group) {
        float scale, offset;
        encode_group(values + col, group, bits, codes, col, &scale, &offset);
        store_float(scale_type, scales, col / group, scale);
        store_float(scale_type, offsets, col / group, offset);
    }
}

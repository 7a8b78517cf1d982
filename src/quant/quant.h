/*
 * quant.h - the forms in which weights are stored, and their exact meaning.
 *
 * A matrix has rows (outputs) and columns (inputs); groups run along a row. What a stored element means, in float32
 * (docs/formats/mlx.md has the byte layouts; the source is mlx's own quantiser, measured):
 *
 *   F32, F16, BF16   the number itself.
 *   AFFINEb          scale and offset of the group widened to f32; with F16 or BF16 scales w = fma(scale, q, offset)
 * (the product is exact, so this equals two roundings unless the product overflows), with F32 scales w = f32(scale * q)
 * + offset. MXFP4, MXFP8     2^(scale - 127) * element. NVFP4            s * element with s = e4m3(scale), or with a
 * global scale g: s = f32(e4m3(scale) * f32(g / 2688)).
 *
 * The functions here are the definition: plain, slow, and what every kernel is compared with.
 */
#ifndef QUANT_QUANT_H
#define QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum quant_scales { SCALES_NONE, SCALES_FLOAT, SCALES_E8M0, SCALES_E4M3 } quant_scales;

typedef enum quant_type {
#define QUANT_TYPE(name, label, bits, group, scales, has_offsets) QUANT_##name,
#include "quant/quant_types.inc"
#undef QUANT_TYPE
    QUANT_TYPE_COUNT
} quant_type;

typedef enum float_type { FLOAT_F32, FLOAT_F16, FLOAT_BF16 } float_type;

typedef struct quant_traits {
    const char *label;
    uint32_t bits;        /* of one stored element */
    uint32_t fixed_group; /* 0: read from the shapes */
    quant_scales scales;
    bool has_offsets;
} quant_traits;

extern const quant_traits quant_traits_table[QUANT_TYPE_COUNT];

/* What a matrix is, without its bytes. */
typedef struct matrix_shape {
    quant_type type;
    float_type scale_type; /* of scales and offsets; only SCALES_FLOAT */
    uint32_t group;        /* columns that share a scale; 0 without scales */
    bool has_global_scale; /* NVFP4 only */
    uint64_t rows, cols;
} matrix_shape;

/* A matrix in memory, in its stored bytes. The pointers may have any alignment. Rows follow each other without padding.
 */
typedef struct matrix {
    matrix_shape shape;
    const uint8_t *data;    /* rows * quant_data_row_bytes */
    const uint8_t *scales;  /* rows * quant_scale_row_bytes; NULL without */
    const uint8_t *offsets; /* as scales; MLX calls them biases; NULL without */
    float global_scale;     /* as stored; used only with has_global_scale */
} matrix;

/* Bytes of one row of codes, and of one row of scales (offsets take the same). cols is a multiple of the group. */
uint64_t quant_data_row_bytes(const matrix_shape *shape);
uint64_t quant_scale_row_bytes(const matrix_shape *shape);
uint32_t float_type_bytes(float_type type);

/* Exact widening. */
float quant_f16_to_f32(uint16_t bits);
float quant_bf16_to_f32(uint16_t bits);
float quant_e4m3_to_f32(uint8_t bits);
float quant_e8m0_to_f32(uint8_t bits);
float quant_e2m1_to_f32(uint8_t code);
float quant_float_at(float_type type, const uint8_t *values, uint64_t idx);
/* Round to nearest, ties to even. */
uint16_t quant_f32_to_bf16(float value);
uint16_t quant_f32_to_f16(float value);

/* The float32 values of columns [col_begin, col_end) of one row. out: (col_end - col_begin) floats. */
void quant_decode(const matrix *m, uint64_t row, uint64_t col_begin, uint64_t col_end, float *out);

/* The factor that multiplies an NVFP4 group's elements, and so on for the other types: see the head of this file. */
void quant_group_scale(const matrix *m, uint64_t row, uint64_t group_idx, float *out_scale, float *out_offset);

/* mlx's affine quantiser for one row (for tests and fixtures). codes: quant_data_row_bytes; scales, offsets:
 * cols / group values of `scale_type`. */
void quant_encode_affine(const float *values, uint64_t cols, uint32_t bits, uint32_t group, float_type scale_type,
                         uint8_t *codes, uint8_t *scales, uint8_t *offsets);

#endif

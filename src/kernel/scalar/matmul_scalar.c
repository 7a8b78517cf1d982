/*
 * matmul_scalar.c - the dot product that every fast version repeats: 16 lanes, lane l taking the columns l, l + 16, ...
 * in order.
 *
 * A row is decoded by quant_decode, a segment at a time, so that one function serves every type and the stack stays
 * small.
 */
#include "kernel/scalar/scalar.h"

#include "base/bytes.h"

#include <assert.h>
#include <math.h>

/* A segment begins at a multiple of the 16 lanes. A block of tokens shares the decoding; 2 KB of weights, 1 KB of
 * lanes. */
enum { SEGMENT_COLS = 512, TOKENS_AT_ONCE = 16 };

static void dot_row(const matrix *w, uint64_t row, const float *x, size_t x_stride, uint32_t token_count, float *y,
                    size_t y_stride)
{
    assert(token_count <= TOKENS_AT_ONCE);
    float weights[SEGMENT_COLS];
    float lanes[TOKENS_AT_ONCE][LANES] = {{0}};
    for (uint64_t begin = 0; begin < w->shape.cols; begin += SEGMENT_COLS) {
        uint64_t count = min_u64(SEGMENT_COLS, w->shape.cols - begin);
        quant_decode(w, row, begin, begin + count, weights);
        for (uint32_t t = 0; t < token_count; t++) {
            const float *segment = x + t * x_stride + begin;
            for (uint64_t k = 0; k < count; k++) {
                float *lane = &lanes[t][k % LANES];
                *lane = fmaf(weights[k], segment[k], *lane);
            }
        }
    }
    for (uint32_t t = 0; t < token_count; t++) y[t * y_stride + row] = fold_lanes(lanes[t]);
}

static void matmul_any(const matrix *w, uint64_t row_begin, uint64_t row_end, const float *x, size_t x_stride,
                       uint32_t token_count, float *y, size_t y_stride)
{
    assert(row_begin <= row_end && row_end <= w->shape.rows);
    for (uint32_t first = 0; first < token_count; first += TOKENS_AT_ONCE) {
        uint32_t count = (uint32_t)min_u64(TOKENS_AT_ONCE, token_count - first);
        for (uint64_t row = row_begin; row < row_end; row++)
            dot_row(w, row, x + first * x_stride, x_stride, count, y + first * y_stride, y_stride);
    }
}

#define MATMUL(id, label)                                                                                              \
    void matmul_##label##_f32__scalar(const matrix *w, uint64_t row_begin, uint64_t row_end, const float *x,           \
                                      size_t x_stride, uint32_t token_count, float *y, size_t y_stride)                \
    {                                                                                                                  \
        assert(w->shape.type == QUANT_##id);                                                                           \
        matmul_any(w, row_begin, row_end, x, x_stride, token_count, y, y_stride);                                      \
    }
#define KERNEL(name, result, arguments)
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL

/*
 * scalar.h - the definition of every kernel (see kernel.h for the rules in words): prototypes and the fold of the 16
 * lanes.
 */
#ifndef KERNEL_SCALAR_SCALAR_H
#define KERNEL_SCALAR_SCALAR_H

#include "kernel/kernel.h"

enum { LANES = 16 };

#define MATMUL(type, label)                                                                                            \
    void matmul_##label##_f32__scalar(const matrix *w, uint64_t row_begin, uint64_t row_end, const float *x,           \
                                      size_t x_stride, uint32_t token_count, float *y, size_t y_stride);
#define KERNEL(name, result, arguments) result name##__scalar arguments;
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL

/* Destroys the lanes. */
static inline float fold_lanes(float lanes[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

#endif

/*
 * vector_scalar.c - the definition of the operations on vectors, and the scalar table.
 */
#include "kernel/scalar/scalar.h"

#include "kernel/kernel_levels.h"
#include "kernel/math_exact.h"

#include <math.h>

void rms_norm_f32__scalar(const float *x, const float *w, float eps, float *y, size_t n)
{
    float lanes[LANES] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % LANES] = fmaf(x[i], x[i], lanes[i % LANES]);
    float r = 1.0f / sqrtf(fold_lanes(lanes) / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = w ? x[i] * r * w[i] : x[i] * r;
}

void rope_half_f32__scalar(float *x, const float *cosines, const float *sines, size_t pair_count, size_t half)
{
    for (size_t i = 0; i < pair_count; i++) {
        float a = x[i], b = x[i + half];
        x[i] = fmaf(-b, sines[i], a * cosines[i]);
        x[i + half] = fmaf(a, sines[i], b * cosines[i]);
    }
}

/* A zero result is +0, whatever zeros went in: else it would depend on their order. */
float max_f32__scalar(const float *x, size_t n)
{
    float largest = x[0];
    for (size_t i = 0; i < n; i++) {
        if (x[i] != x[i]) return x[i];
        if (x[i] > largest) largest = x[i];
    }
    return largest + 0.0f;
}

float exp_sum_f32__scalar(float *x, float max, size_t n)
{
    float lanes[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = exact_expf(x[i] - max);
        lanes[i % LANES] += x[i];
    }
    return fold_lanes(lanes);
}

void weighted_rows_f32__scalar(const float *rows, size_t stride, const float *weights, size_t count, float *y, size_t n)
{
    for (size_t d = 0; d < n; d++) {
        float sum = 0;
        for (size_t j = 0; j < count; j++) sum = fmaf(weights[j], rows[j * stride + d], sum);
        y[d] = sum;
    }
}

void blend_f32__scalar(float *y, float y_factor, const float *x, float x_factor, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = fmaf(x[i], x_factor, y[i] * y_factor);
}

void gelu_mul_f32__scalar(const float *gate, const float *up, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = exact_gelu_tanhf(gate[i]) * up[i];
}

void silu_mul_f32__scalar(const float *gate, const float *up, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = exact_siluf(gate[i]) * up[i];
}

void softcap_f32__scalar(float *x, float cap, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = cap * exact_tanhf(x[i] / cap);
}

void add_f32__scalar(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void add_scaled_f32__scalar(float *y, const float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = fmaf(x[i], factor, y[i]);
}

void mul_f32__scalar(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] *= x[i];
}

void scale_f32__scalar(float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

void kernel_fill__scalar(kernel_table *table)
{
#define MATMUL(type, label)             table->matmul[QUANT_##type] = matmul_##label##_f32__scalar;
#define KERNEL(name, result, arguments) table->name = name##__scalar;
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL
}

/*
 * kernel.h - the operations on numbers, one table of functions per instruction set.
 *
 * The scalar functions are the definition, and every other version equals them bit for bit (any NaN equals any NaN);
 * the kernel check tolerates no difference. What makes that cheap:
 *
 *   dot product    16 virtual lanes. Lane l starts at +0 and takes acc = fmaf(w[k], x[k], acc) for k = l, l + 16, l +
 * 32, ...; the lanes fold by halves: l += l + 8, then + 4, + 2, + 1. w[k] is the exact float32 value of quant.h. One
 * accumulator per output, so one token and a batch of 512 give the same bits. reductions     sums over a vector use the
 * same lanes and fold (rms_norm, exp_sum); max is exact in any order (NaN wins). elementwise    exp, tanh and the rest
 * are our own polynomials with fmaf where written, and no other contraction.
 *
 * Operations:
 *   rms_norm_f32       y = (x * r) * w, r = 1 / sqrtf(sum(x*x) / n + eps); w NULL means 1. y may be x.
 *   rope_half_f32      for i < pair_count: (x[i], x[i+half]) turned by the angle of cosines[i], sines[i]:
 *                      x'[i] = fmaf(-x[i+half], sin, x[i] * cos), x'[i+half] = fmaf(x[i], sin, x[i+half] * cos).
 *   max_f32            the largest; n >= 1.
 *   exp_sum_f32        x[i] = exp(x[i] - max), returns the sum of them.
 *   weighted_rows_f32  y[d] = sum over j < count of weights[j] * rows[j * stride + d], an fmaf chain in the order of j
 * from +0. blend_f32          y = fmaf(x, x_factor, y * y_factor). gelu_mul_f32       y = gelu_tanh(gate) * up;
 * silu_mul_f32: y = silu(gate) * up. y may be gate. softcap_f32        x = cap * tanh(x / cap). add_f32 y += x;
 * add_scaled_f32 y = fmaf(x, factor, y); mul_f32 y *= x; scale_f32 x *= factor.
 *
 * Kernels neither allocate, lock, log nor read a clock, and never read outside their arguments. No pointer needs
 * alignment.
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include "quant/quant.h"

#include <stdbool.h>

/* x: (token_count, cols) floats with x_stride >= cols between tokens; y: (token_count, rows) with y_stride between
 * tokens. Only y[.., row_begin..row_end) is written. */
typedef void matmul_fn(const matrix *w, uint64_t row_begin, uint64_t row_end, const float *x, size_t x_stride,
                       uint32_t token_count, float *y, size_t y_stride);

typedef enum isa { ISA_SCALAR, ISA_AVX2, ISA_AVX512, ISA_COUNT } isa;

typedef struct kernel_table {
    isa level;
    matmul_fn *matmul[QUANT_TYPE_COUNT];
#define MATMUL(type, label)
#define KERNEL(name, result, arguments) result(*name) arguments;
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL
} kernel_table;

/* Fills the table: scalar first, then every level up to `level` that was built in. Asserts that no slot is empty. */
void kernel_init(kernel_table *table, isa level);
/* The highest level that was built in and that CPU and system both support (CPUID and XGETBV). */
isa kernel_isa_best(void);
bool kernel_isa_is_usable(isa level);
const char *isa_label(isa level);
/* "scalar", "avx2", "avx512"; false when unknown. */
bool isa_from_label(const char *label, isa *out_level);

#endif

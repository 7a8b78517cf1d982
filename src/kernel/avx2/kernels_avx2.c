/*
 * kernels_avx2.c - every kernel for AVX2 + FMA + F16C. The bodies are in kernel/simd; this file only gives them their
 * names.
 */
#include "kernel/kernel_levels.h"

#include <math.h>

#include "kernel/simd/simd16_avx2.h"

#define SIMD(name)  SIMD_(name)
#define SIMD_(name) name##__avx2

#define MATMUL(type, label)             static matmul_fn matmul_##label##_f32__avx2;
#define KERNEL(name, result, arguments) static result name##__avx2 arguments;
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL

#include "kernel/simd/simd16_math.inc"
#include "kernel/simd/vector_body.inc"
#include "kernel/simd/matmul_common.inc"
#include "kernel/simd/matmul_types.inc"

void kernel_fill__avx2(kernel_table *table)
{
#define MATMUL(type, label)             table->matmul[QUANT_##type] = matmul_##label##_f32__avx2;
#define KERNEL(name, result, arguments) table->name = name##__avx2;
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL
}

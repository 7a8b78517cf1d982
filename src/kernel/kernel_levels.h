/*
 * kernel_levels.h - inside the room only: what the files of one instruction set offer to kernel.c.
 */
#ifndef KERNEL_KERNEL_LEVELS_H
#define KERNEL_KERNEL_LEVELS_H

#include "kernel/kernel.h"

/* Each overwrites the slots that it has a version for. */
void kernel_fill__scalar(kernel_table *table);
void kernel_fill__avx2(kernel_table *table);
void kernel_fill__avx512(kernel_table *table);

/* CPUID and XGETBV: the CPU has the instructions and the system saves the registers. AVX2 means AVX2 + FMA + F16C,
 * AVX-512 means F + BW + DQ + VL and all of AVX2. */
bool cpu_has_avx2(void);
bool cpu_has_avx512(void);

#endif

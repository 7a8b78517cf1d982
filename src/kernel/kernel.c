/*
 * kernel.c - fills the table: scalar first, then each instruction set up to the wanted one, so a slot that a set does
 * not improve keeps the version below it.
 *
 * meson.build defines KERNEL_HAS_AVX2 and KERNEL_HAS_AVX512 for what is built in, and KERNEL_AVX512_EMULATED where the
 * AVX-512 files are compiled against SIMDe and so run wherever AVX2 does.
 */
#include "kernel/kernel.h"

#include "kernel/kernel_levels.h"

#include <assert.h>
#include <string.h>

static const char *const ISA_LABELS[ISA_COUNT] = {"scalar", "avx2", "avx512"};

bool kernel_isa_is_usable(isa level)
{
    switch (level) {
    case ISA_SCALAR: return true;
#ifdef KERNEL_HAS_AVX2
    case ISA_AVX2: return cpu_has_avx2();
#endif
#if defined(KERNEL_HAS_AVX512) && defined(KERNEL_AVX512_EMULATED)
    case ISA_AVX512: return cpu_has_avx2();
#elif defined(KERNEL_HAS_AVX512)
    case ISA_AVX512: return cpu_has_avx512();
#endif
    default: return false;
    }
}

isa kernel_isa_best(void)
{
    isa best = ISA_COUNT - 1;
    while (!kernel_isa_is_usable(best)) best--;
    return best;
}

void kernel_init(kernel_table *table, isa level)
{
    memset(table, 0, sizeof *table);
    table->level = level;
    kernel_fill__scalar(table);
#ifdef KERNEL_HAS_AVX2
    if (level >= ISA_AVX2) kernel_fill__avx2(table);
#endif
#ifdef KERNEL_HAS_AVX512
    if (level >= ISA_AVX512) kernel_fill__avx512(table);
#endif
#define MATMUL(type, label)             assert(table->matmul[QUANT_##type]);
#define KERNEL(name, result, arguments) assert(table->name);
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL
}

const char *isa_label(isa level) { return level < ISA_COUNT ? ISA_LABELS[level] : "unknown"; }

bool isa_from_label(const char *label, isa *out_level)
{
    for (int level = 0; level < ISA_COUNT; level++) {
        if (strcmp(label, ISA_LABELS[level]) != 0) continue;
        *out_level = (isa)level;
        return true;
    }
    return false;
}

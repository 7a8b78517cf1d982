/*
 * cpu_features.c - which vector instructions may be used: the CPU must have them and the system must save their
 * registers.
 *
 * Source: Intel SDM vol. 1, 13.3 and 14.3 (detection of AVX), 15.2 (of AVX-512).
 */
#include "kernel/kernel_levels.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Leaf 1, ECX */
enum { FMA_BIT = 12, OSXSAVE_BIT = 27, AVX_BIT = 28, F16C_BIT = 29 };
/* Leaf 7, subleaf 0, EBX */
enum { AVX2_BIT = 5, AVX512F_BIT = 16, AVX512DQ_BIT = 17, AVX512BW_BIT = 30, AVX512VL_BIT = 31 };
/* XCR0: bit 1 XMM, bit 2 upper YMM; bit 5 masks, bit 6 upper ZMM0-15, bit 7 ZMM16-31 */
enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6 };

static bool has_bit(unsigned bits, int bit) { return bits >> bit & 1; }

static unsigned saved_registers(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_saved_avx(unsigned saved_mask)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
    /* XGETBV exists only where OSXSAVE is set. */
    return has_bit(ecx, OSXSAVE_BIT) && has_bit(ecx, AVX_BIT) && has_bit(ecx, FMA_BIT) && has_bit(ecx, F16C_BIT) &&
           (saved_registers() & saved_mask) == saved_mask;
}

bool cpu_has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    return has_saved_avx(XCR0_AVX) && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && has_bit(ebx, AVX2_BIT);
}

bool cpu_has_avx512(void)
{
    unsigned eax, ebx, ecx, edx;
    return cpu_has_avx2() && has_saved_avx(XCR0_AVX512) && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
           has_bit(ebx, AVX512F_BIT) && has_bit(ebx, AVX512DQ_BIT) && has_bit(ebx, AVX512BW_BIT) &&
           has_bit(ebx, AVX512VL_BIT);
}

#else

bool cpu_has_avx2(void) { return false; }
bool cpu_has_avx512(void) { return false; }

#endif

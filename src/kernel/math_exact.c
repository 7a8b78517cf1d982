/*
 * math_exact.c - elementary functions whose every bit is ours.
 *
 * IEEE 754 fixes the results of + - * / and fma, so a function written with nothing else gives the same bits on every
 * machine. Contraction is off for the whole build, and fma is written where it is meant. Rounding to an integer is done
 * by adding 1.5 * 2^(mantissa bits): the sum's low bits are then the integer, and nothing is converted to an integer
 * type (undefined for NaN and huge values).
 *
 * The float functions are the definition of what the kernels compute: simd16_math.inc repeats them operation by
 * operation on 16 lanes.
 *
 * Coefficients: Taylor series where the interval is small enough for that to cost nothing; tanh near 0 is the
 * polynomial that meets (tanh(x) / x - 1) / x^2 in the Chebyshev nodes of x^2 in [0, 0.625^2] (relative error of tanh
 * below 2^-25).
 *
 * Threads: pure functions.
 */
#include "kernel/math_exact.h"

#include "base/bytes.h"

#include <math.h>

static double double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static const double ROUNDER = 0x1.8p52;
static const float ROUNDER_F32 = 0x1.8p23f;

/* 2^n, -1022 <= n <= 1023 */
static double power_of_two(int64_t n) { return double_of_bits((uint64_t)(n + 1023) << 52); }

double exact_exp(double x)
{
    const double log2_e = 0x1.71547652b82fep+0, ln2_high = 0x1.62e42fefa39efp-1, ln2_low = 0x1.abc9e3b39803fp-56;
    double shifted = fma(x, log2_e, ROUNDER);
    double n = shifted - ROUNDER;
    double r = fma(n, -ln2_low, fma(n, -ln2_high, x)); /* |r| <= ln(2) / 2 */
    /* 1 + r + r^2 (1/2! + r/3! + ... + r^11/13!): the next term is below 2^-57. */
    double tail = 1.0 / 6227020800.0;
    tail = fma(tail, r, 1.0 / 479001600.0);
    tail = fma(tail, r, 1.0 / 39916800.0);
    tail = fma(tail, r, 1.0 / 3628800.0);
    tail = fma(tail, r, 1.0 / 362880.0);
    tail = fma(tail, r, 1.0 / 40320.0);
    tail = fma(tail, r, 1.0 / 5040.0);
    tail = fma(tail, r, 1.0 / 720.0);
    tail = fma(tail, r, 1.0 / 120.0);
    tail = fma(tail, r, 1.0 / 24.0);
    tail = fma(tail, r, 1.0 / 6.0);
    tail = fma(tail, r, 0.5);
    double value = 1.0 + fma(r * r, tail, r);
    int64_t exponent = (int64_t)(bits_of_double(shifted) - bits_of_double(ROUNDER));
    return value * power_of_two(exponent);
}

double exact_log(double x)
{
    /* ln2_high has 11 zero bits at its end, so n * ln2_high is exact. */
    const double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
    /* x = m * 2^n with m in [sqrt(1/2), sqrt(2)) */
    uint64_t offset = bits_of_double(x) - 0x3fe6a09e667f3bcd;
    int64_t exponent = (int64_t)offset >> 52;
    double m = double_of_bits(bits_of_double(x) - ((uint64_t)exponent << 52));
    double n = (double)exponent;
    /* log(1 + f) = 2 atanh(s), s = f / (2 + f); written as f - (f^2/2 - s (f^2/2 + R)), where R is the series from s^2
     * on, so that the rounding errors sit in the small terms. */
    double f = m - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double series = 2.0 / 23.0;
    series = fma(series, z, 2.0 / 21.0);
    series = fma(series, z, 2.0 / 19.0);
    series = fma(series, z, 2.0 / 17.0);
    series = fma(series, z, 2.0 / 15.0);
    series = fma(series, z, 2.0 / 13.0);
    series = fma(series, z, 2.0 / 11.0);
    series = fma(series, z, 2.0 / 9.0);
    series = fma(series, z, 2.0 / 7.0);
    series = fma(series, z, 2.0 / 5.0);
    series = fma(series, z, 2.0 / 3.0);
    double half_square = 0.5 * f * f;
    double correction = fma(s, fma(series, z, half_square), n * ln2_low);
    return n * ln2_high - ((half_square - correction) - f);
}

double exact_pow(double base, double exponent) { return exact_exp(exponent * exact_log(base)); }

void exact_sincos(double x, double *out_sin, double *out_cos)
{
    const double two_over_pi = 0x1.45f306dc9c883p-1;
    const double half_pi_high = 0x1.921fb54442d18p+0, half_pi_mid = 0x1.1a62633145c07p-54,
                 half_pi_low = -0x1.f1976b7ed8fbcp-110;
    double shifted = fma(x, two_over_pi, ROUNDER);
    double n = shifted - ROUNDER;
    uint64_t quadrant = bits_of_double(shifted) & 3;
    /* The first step is exact (the difference has no bit below 2^-53); the second keeps its rounding error in r_low. */
    double r = fma(n, -half_pi_high, x);
    double r_high = fma(n, -half_pi_mid, r);
    double r_low = fma(n, -half_pi_low, fma(n, -half_pi_mid, r - r_high));
    double z = r_high * r_high;

    double sin_series = 1.0 / 355687428096000.0;
    sin_series = fma(sin_series, z, -1.0 / 1307674368000.0);
    sin_series = fma(sin_series, z, 1.0 / 6227020800.0);
    sin_series = fma(sin_series, z, -1.0 / 39916800.0);
    sin_series = fma(sin_series, z, 1.0 / 362880.0);
    sin_series = fma(sin_series, z, -1.0 / 5040.0);
    sin_series = fma(sin_series, z, 1.0 / 120.0);
    sin_series = fma(sin_series, z, -1.0 / 6.0);
    double sine = r_high + fma(r_high * z, sin_series, fma(-0.5 * z, r_low, r_low));

    double cos_series = -1.0 / 6402373705728000.0;
    cos_series = fma(cos_series, z, 1.0 / 20922789888000.0);
    cos_series = fma(cos_series, z, -1.0 / 87178291200.0);
    cos_series = fma(cos_series, z, 1.0 / 479001600.0);
    cos_series = fma(cos_series, z, -1.0 / 3628800.0);
    cos_series = fma(cos_series, z, 1.0 / 40320.0);
    cos_series = fma(cos_series, z, -1.0 / 720.0);
    cos_series = fma(cos_series, z, 1.0 / 24.0);
    double half_z = 0.5 * z;
    double base = 1.0 - half_z;
    double cosine = base + (((1.0 - base) - half_z) + fma(z * z, cos_series, -r_high * r_low));

    switch (quadrant) {
    case 0: *out_sin = sine, *out_cos = cosine; break;
    case 1: *out_sin = cosine, *out_cos = -sine; break;
    case 2: *out_sin = -sine, *out_cos = -cosine; break;
    default: *out_sin = -cosine, *out_cos = sine; break;
    }
}

float exact_expf(float x)
{
    const float log2_e = 0x1.715476p+0f, ln2_high = 0x1.62e43p-1f, ln2_low = -0x1.05c61p-29f;
    /* Beyond these the result is +inf and 0 anyway; NaN passes both tests. */
    x = x > 90.0f ? 90.0f : x;
    x = x < -105.0f ? -105.0f : x;
    float shifted = fmaf(x, log2_e, ROUNDER_F32);
    float n = shifted - ROUNDER_F32;
    float r = fmaf(n, -ln2_low, fmaf(n, -ln2_high, x)); /* |r| <= ln(2) / 2; the inner step is exact */
    float tail = 1.0f / 5040.0f;
    tail = fmaf(tail, r, 1.0f / 720.0f);
    tail = fmaf(tail, r, 1.0f / 120.0f);
    tail = fmaf(tail, r, 1.0f / 24.0f);
    tail = fmaf(tail, r, 1.0f / 6.0f);
    tail = fmaf(tail, r, 0.5f);
    float value = 1.0f + fmaf(r * r, tail, r);
    /* 2^n in two factors, -152 <= n <= 130, so that subnormal results are rounded once and overflow gives infinity. The
     * exponents are taken from the bits of `shifted`; for NaN they are arbitrary, and the product is still NaN. */
    int32_t exponent = (int32_t)(bits_of_float(shifted) - bits_of_float(ROUNDER_F32));
    int32_t half = exponent >> 1;
    float factor_a = float_of_bits(((uint32_t)half + 127) << 23);
    float factor_b = float_of_bits(((uint32_t)exponent - (uint32_t)half + 127) << 23);
    return value * factor_a * factor_b;
}

float exact_tanhf(float x)
{
    float a = fabsf(x);
    float magnitude;
    if (a < 0.625f) {
        float z = a * a;
        float series = -0x1.8f8de4p-8f;
        series = fmaf(series, z, 0x1.58048ep-6f);
        series = fmaf(series, z, -0x1.b9258ap-5f);
        series = fmaf(series, z, 0x1.110e1cp-3f);
        series = fmaf(series, z, -0x1.555552p-2f);
        magnitude = fmaf(a * z, series, a);
    } else {
        magnitude = 1.0f - 2.0f / (exact_expf(a + a) + 1.0f);
    }
    return copysignf(magnitude, x);
}

/* x * sigmoid(v) with exp of -|v| only: neither overflows nor cancels. */
static float times_sigmoid(float x, float v)
{
    float e = exact_expf(-fabsf(v));
    return x * (v < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
float exact_gelu_tanhf(float x)
{
    float cubic = fmaf(x * x, 0x1.2444f2p-4f, 0x1.988454p+0f); /* 2 sqrt(2/pi) (0.044715 x^2 + 1) */
    return times_sigmoid(x, x * cubic);
}

float exact_siluf(float x) { return times_sigmoid(x, x); }

float exact_sigmoidf(float x) { return times_sigmoid(1.0f, x); }

/*
 * math_exact_test.c - our elementary functions against the C library's in higher precision: largest errors over sweeps,
 * special values, and published ones.
 */
#include "kernel/math_exact.h"

#include "base/bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* In units of the last place of the float nearest to `expected`; below the smallest normal, of 2^-149. */
static double ulp_error(float found, double expected)
{
    if (isnan(expected)) return isnan(found) ? 0 : INFINITY;
    if ((float)expected == found) return 0;
    if (isinf((float)expected) || isinf(found)) return INFINITY;
    int exponent;
    frexp(expected, &exponent);
    return fabs((double)found - expected) / ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

/* Uneven steps over [low, high], and the same points scaled towards zero. */
static double largest_error(float (*function)(float), double (*reference)(double), double low, double high)
{
    double largest = 0;
    for (int i = 0; i <= 1000003; i += 7)
        for (int down = 0; down <= 30; down += 10) {
            float x = (float)ldexp(low + (high - low) * i / 1000003, -down);
            double error = ulp_error(function(x), reference((double)x));
            if (error > largest) largest = error;
        }
    return largest;
}

static double silu(double x) { return x / (1 + exp(-x)); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double gelu(double x)
{
    double u = sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
    return x / (1 + exp(-2 * u)); /* = x/2 (1 + tanh(u)), which would cancel */
}

static void float_functions_are_accurate(void **state)
{
    (void)state;
    double worst[] = {largest_error(exact_expf, exp, -110, 95),      largest_error(exact_tanhf, tanh, -12, 12),
                      largest_error(exact_siluf, silu, -87, 95),     largest_error(exact_sigmoidf, sigmoid, -87, 95),
                      largest_error(exact_gelu_tanhf, gelu, -1, 12), largest_error(exact_gelu_tanhf, gelu, -4, 12)};
    printf("largest errors in ulp: exp %.2f, tanh %.2f, silu %.2f, sigmoid %.2f, gelu above -1 %.2f, above -4 %.2f\n",
           worst[0], worst[1], worst[2], worst[3], worst[4], worst[5]);
    assert_true(worst[0] < 1.1);
    assert_true(worst[1] < 1.5);
    assert_true(worst[2] < 4);
    assert_true(worst[3] < 2.5);
    assert_true(worst[4] < 3);
    assert_true(worst[5] < 24);
}

static void double_functions_are_accurate(void **state)
{
    (void)state;
    double exp_worst = 0, log_worst = 0, sincos_worst = 0;
    for (int i = 1; i <= 1000003; i += 7) {
        double unit = i / 1000003.0, x = (2 * unit - 1) * (i & 1 ? 700 : 1);
        long double exact = expl((long double)x);
        exp_worst = fmax(exp_worst, (double)fabsl((exact_exp(x) - exact) / exact));
        double y = i % 2 ? exp(x) : 0.5 + unit; /* around 1 the logarithm cancels */
        exact = logl((long double)y);
        if (exact != 0) log_worst = fmax(log_worst, (double)fabsl((exact_log(y) - exact) / exact));
        double angle = i % 3 == 0   ? (2 * unit - 1) * 0x1p30
                       : i % 3 == 1 ? i * 1.5707963267948966
                                    : 10 * unit,
               sine, cosine;
        exact_sincos(angle, &sine, &cosine);
        sincos_worst = fmax(sincos_worst, (double)fabsl(sine - sinl((long double)angle)));
        sincos_worst = fmax(sincos_worst, (double)fabsl(cosine - cosl((long double)angle)));
    }
    printf("largest errors in 2^-53: exp %.2f, log %.2f relative, sincos %.2f absolute\n", exp_worst * 0x1p53,
           log_worst * 0x1p53, sincos_worst * 0x1p53);
    assert_true(exp_worst < 2 * 0x1p-53 && log_worst < 2 * 0x1p-53 && sincos_worst < 0x1p-53);
    assert_true(exact_exp(0) == 1 && exact_log(1) == 0 && exact_pow(10000, 0) == 1);
    assert_true(fabs(exact_pow(1e6, -1.0 / 256) - 0.9474635256553754) < 1e-15);
    assert_true(fabs(exact_pow(1e4, -1.0 / 128) - 0.930572040929699) < 1e-15);
}

static void special_values_are_met(void **state)
{
    (void)state;
    assert_true(isnan(exact_expf(NAN)) && isnan(exact_tanhf(NAN)) && isnan(exact_gelu_tanhf(NAN)) &&
                isnan(exact_siluf(NAN)));
    assert_true(exact_expf(INFINITY) == INFINITY && exact_expf(-INFINITY) == 0 && exact_expf(0) == 1 &&
                exact_expf(-0.0f) == 1);
    assert_true(exact_expf(88.72f) < INFINITY && exact_expf(88.73f) == INFINITY && exact_expf(-103.98f) == 0);
    assert_int_equal(bits_of_float(exact_expf(-103.9f)), 1);
    assert_true(exact_tanhf(INFINITY) == 1 && exact_tanhf(-INFINITY) == -1 && exact_tanhf(20) == 1);
    assert_int_equal(bits_of_float(exact_tanhf(-0.0f)), 0x80000000);
    assert_int_equal(bits_of_float(exact_tanhf(0x1p-149f)), 1);
    assert_true(exact_siluf(INFINITY) == INFINITY && exact_gelu_tanhf(INFINITY) == INFINITY);
    assert_true(exact_siluf(-1000) == 0 && exact_gelu_tanhf(-1e30f) == 0);
    assert_true(exact_sigmoidf(INFINITY) == 1 && exact_sigmoidf(-INFINITY) == 0 && exact_sigmoidf(0) == 0.5f);
}

static void published_values_are_met(void **state)
{
    (void)state;
    static const float gelu_values[][2] = {
        {-3, -0.00363739f}, {-1, -0.15880801f}, {0.5f, 0.34571401f}, {1, 0.84119199f}, {3, 2.99636261f}};
    for (size_t i = 0; i < ARRAY_COUNT(gelu_values); i++)
        assert_true(fabsf(exact_gelu_tanhf(gelu_values[i][0]) - gelu_values[i][1]) <
                    1e-8f * fmaxf(1, fabsf(gelu_values[i][1]) * 12));
    static const float caps[][2] = {{15, 13.863514718f}, {30, 22.847824679f}, {100, 29.923739024f}};
    for (size_t i = 0; i < ARRAY_COUNT(caps); i++)
        assert_true(fabsf(30 * exact_tanhf(caps[i][0] / 30) - caps[i][1]) < 4e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_functions_are_accurate),
        cmocka_unit_test(double_functions_are_accurate),
        cmocka_unit_test(special_values_are_met),
        cmocka_unit_test(published_values_are_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

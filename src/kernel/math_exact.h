/*
 * math_exact.h - elementary functions whose every bit is ours, so that an answer can be reproduced on another machine:
 * the C library's differ between versions and between CPUs. Written with + - * / and explicit fma() only, compiled
 * with contraction off. Errors of the doubles are below 2 units in the last place in the stated ranges.
 */
#ifndef KERNEL_MATH_EXACT_H
#define KERNEL_MATH_EXACT_H

/* Doubles: for tables computed once (rope frequencies, angles). */
double exact_exp(double x);                                    /* |x| <= 700 */
double exact_log(double x);                                    /* normal x > 0 */
double exact_pow(double base, double exponent);                /* base > 0: exp(exponent * log(base)) */
void exact_sincos(double x, double *out_sin, double *out_cos); /* |x| <= 2^30 */

/* Floats: the definition of what the kernels compute. Errors in units of the last place, measured: exp and tanh
 * below 1.5, sigmoid and silu below 4; gelu below 3 above -1, but below 24 only at -4, where the rounded exponent
 * counts many times. */
float exact_expf(float x); /* overflows to +inf above 88.72, is 0 below -103.97; NaN stays NaN */
float exact_tanhf(float x);
float exact_gelu_tanhf(float x);
float exact_siluf(float x);
float exact_sigmoidf(float x);

#endif

/*
 * mlx_products_test.c - the matrix products of every usable instruction set, scalar included, against products worked
 * out in float64 (tests/golden/mlx_vectors). The kernel check shows that all kernels agree; this shows that what they
 * agree on is right.
 */
#include "kernel/kernel.h"

#include "base/bytes.h"
#include "mlx_vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOKENS = 4 };

static void compare_products(const mlx_vector *vector, void *context)
{
    const kernel_table *kernels = context;
    const matrix *w = &vector->weights;
    float *x = malloc(TOKENS * w->shape.cols * sizeof *x), *y = malloc(TOKENS * w->shape.rows * sizeof *y);
    assert_true(x && y);
    memcpy(x, vector->x, TOKENS * w->shape.cols * sizeof *x);
    kernels->matmul[w->shape.type](w, 0, w->shape.rows, x, w->shape.cols, TOKENS, y, w->shape.rows);
    for (uint64_t i = 0; i < TOKENS * w->shape.rows; i++) {
        float expected = load_f32(vector->y + 4 * i), bound = load_f32(vector->y_abs + 4 * i);
        if (fabsf(y[i] - expected) <= 1e-5f * bound) continue;
        fail_msg("%s, %s, matrix %llu, token %llu, row %llu: expected %g +- %g, found %g", isa_label(kernels->level),
                 vector->name, (unsigned long long)vector->stack_idx, (unsigned long long)(i / w->shape.rows),
                 (unsigned long long)(i % w->shape.rows), (double)expected, 1e-5 * (double)bound, (double)y[i]);
    }
    free(x);
    free(y);
}

static void products_equal_float64(void **state)
{
    (void)state;
    for (isa level = ISA_SCALAR; level < ISA_COUNT; level++) {
        if (!kernel_isa_is_usable(level)) continue;
        kernel_table kernels;
        kernel_init(&kernels, level);
        printf("%s: %d matrices of mlx compared\n", isa_label(level), mlx_vectors_each(compare_products, &kernels));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_equal_float64)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * mlx_vectors.h - for tests: the matrices that mlx quantised (tests/golden/mlx_vectors/README.md), one file after the
 * other.
 *
 * Where the full set is (LEAT_CONFORMANCE, or ../shared/conformance beside the source) it is read too.
 */
#ifndef TESTS_SUPPORT_MLX_VECTORS_H
#define TESTS_SUPPORT_MLX_VECTORS_H

#include "quant/quant.h"

typedef struct mlx_vector {
    const char *name;   /* of the file */
    uint64_t stack_idx; /* files may hold a stack of matrices; each is handed over on its own */
    matrix weights;
    const uint8_t *dequantized; /* (rows, cols) F32, at any address, as all of these */
    const uint8_t *x;           /* (4, cols) F32 */
    const uint8_t *y;           /* (4, rows) F32 */
    const uint8_t *y_abs;
} mlx_vector;

typedef void mlx_vector_visit(const mlx_vector *vector, void *context);

/* Calls `visit` for every matrix; returns how many there were. Says on stdout when only the small set was found. */
int mlx_vectors_each(mlx_vector_visit *visit, void *context);

#endif

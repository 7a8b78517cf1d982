/*
 * tiny_model.h - small checkpoints of random numbers: written as safetensors, and kept as the doubles that the stored
 * bytes mean, so that a reference can compute with exactly what the engine reads.
 */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include "support/unit.h"

#include "base/prng.h"

enum { TINY_TENSORS_MAX = 512, TINY_NAME_BYTES = 96 };

typedef enum tiny_form { TINY_F32, TINY_BF16, TINY_AFFINE4, TINY_AFFINE8 } tiny_form; /* affine: groups of 32, BF16 */

typedef struct tiny_tensor {
    char name[TINY_NAME_BYTES]; /* below the prefix, without ".weight" */
    uint64_t stack, rows, cols; /* stack 0: a matrix; cols 0: a vector */
    double *values;             /* (stack, rows, cols), what the stored bytes mean */
    double *misread;            /* AFFINE8 only: the same bytes read as 4 bits */
} tiny_tensor;

typedef struct tiny_model {
    prng random;
    const char *prefix;
    tiny_tensor tensors[TINY_TENSORS_MAX];
    uint32_t count;
    char *header; /* JSON, open at the end */
    size_t header_bytes, header_room;
    uint8_t *data;
    size_t data_bytes, data_room;
    char folder[UNIT_PATH_BYTES];
} tiny_model;

void tiny_open(tiny_model *m, uint64_t seed, const char *prefix);
void tiny_close(tiny_model *m);
/* Vectors: mean + spread * uniform(-1, 1), stored as F32 under the name itself. */
void tiny_vector(tiny_model *m, uint64_t count, double mean, double spread, const char *name_format, ...)
    PRINTF_LIKE(5, 6);
/* Matrices: spread * uniform(-1, 1) / sqrt(cols). The tensors are NAME.weight, or NAME where the name ends in '!'. */
void tiny_matrix(tiny_model *m, tiny_form form, uint64_t stack, uint64_t rows, uint64_t cols, double spread,
                 const char *name_format, ...) PRINTF_LIKE(7, 8);
/* Makes the folder: config.json and model.safetensors. */
void tiny_write(tiny_model *m, const char *config_text);
/* NULL when there is none. */
const tiny_tensor *tiny_find(const tiny_model *m, const char *name_format, ...) PRINTF_LIKE(2, 3);

/* Logits of every position (count, vocab) as the engine computes them, in chunks, at the floor of the budget when
 * `at_floor`, else with everything in memory. */
typedef struct tiny_run {
    uint32_t chunk, thread_count;
    bool at_floor;
} tiny_run;
void tiny_logits(const tiny_model *m, tiny_run how, const uint32_t *tokens, uint32_t count, float *logits);

#endif

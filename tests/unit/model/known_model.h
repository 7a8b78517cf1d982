/*
 * known_model.h - small checkpoints of random numbers: written as safetensors, and kept as the doubles that the stored
 * bytes mean, so that a reference can compute with exactly what the engine reads.
 */
#ifndef UNIT_KNOWN_MODEL_H
#define UNIT_KNOWN_MODEL_H

#include "support/unit.h"

#include "base/prng.h"

enum { KNOWN_TENSORS_MAX = 512, KNOWN_NAME_BYTES = 96 };

typedef enum known_form {
    KNOWN_F32,
    KNOWN_BF16,
    KNOWN_AFFINE4,
    KNOWN_AFFINE8
} known_form; /* affine: groups of 32, BF16 */

typedef struct known_tensor {
    char name[KNOWN_NAME_BYTES]; /* below the prefix, without ".weight" */
    uint64_t stack, rows, cols;  /* stack 0: a matrix; cols 0: a vector */
    double *values;              /* (stack, rows, cols), what the stored bytes mean */
    double *misread;             /* AFFINE8 only: the same bytes read as 4 bits */
} known_tensor;

typedef struct known_model {
    prng random;
    const char *prefix;
    known_tensor tensors[KNOWN_TENSORS_MAX];
    uint32_t count;
    char *header; /* JSON, open at the end */
    size_t header_bytes, header_room;
    uint8_t *data;
    size_t data_bytes, data_room;
    char folder[UNIT_PATH_BYTES];
} known_model;

void known_open(known_model *m, uint64_t seed, const char *prefix);
void known_close(known_model *m);
/* Vectors: mean + spread * uniform(-1, 1), stored as F32 under the name itself. */
void known_vector(known_model *m, uint64_t count, double mean, double spread, const char *name_format, ...)
    PRINTF_LIKE(5, 6);
/* Matrices: spread * uniform(-1, 1) / sqrt(cols). The tensors are NAME.weight, or NAME where the name ends in '!'. */
void known_matrix(known_model *m, known_form form, uint64_t stack, uint64_t rows, uint64_t cols, double spread,
                  const char *name_format, ...) PRINTF_LIKE(7, 8);
/* Makes the folder: config.json and model.safetensors. */
void known_write(known_model *m, const char *config_text);
/* NULL when there is none. */
const known_tensor *known_find(const known_model *m, const char *name_format, ...) PRINTF_LIKE(2, 3);

/* Logits of every position (count, vocab) as the engine computes them, in chunks, at the floor of the budget when
 * `at_floor`, else with everything in memory. */
typedef struct known_run {
    uint32_t chunk, thread_count;
    bool at_floor;
} known_run;
void known_logits(const known_model *m, known_run how, const uint32_t *tokens, uint32_t count, float *logits);

#endif

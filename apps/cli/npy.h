/*
 * npy.h - a float32 matrix as a NumPy file (format 1.0), written row by row.
 *
 * The rows go to a temporary file beside the wanted one, which is put in its place by npy_finish: under the name there
 * is the old file or the whole new one, never half of it. npy_close without npy_finish removes what was written. A link
 * keeps being one: the file behind it is replaced. A device or a pipe is never replaced: the rows are written into it.
 */
#ifndef CLI_NPY_H
#define CLI_NPY_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct npy_writer {
    FILE *stream;
    uint64_t row_count, col_count, written;
    char path[4096], temporary[4096 + 32]; /* temporary is "" when the rows go straight to path */
} npy_writer;

MUST_CHECK leat_status npy_open(npy_writer *writer, const char *path, uint64_t row_count, uint64_t col_count,
                                leat_error *error);
MUST_CHECK leat_status npy_write_row(npy_writer *writer, const float *row, leat_error *error);
MUST_CHECK leat_status npy_finish(npy_writer *writer, leat_error *error);
void npy_close(npy_writer *writer);

#endif

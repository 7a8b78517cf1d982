/*
 * npy.h - a float32 matrix as a NumPy file (format 1.0), written row by row.
 *
 * It is whole or not there (whole_file.h): npy_finish puts it in its place, npy_close without that removes it.
 */
#ifndef CLI_NPY_H
#define CLI_NPY_H

#include "whole_file.h"

#include <stdint.h>
#include <stdio.h>

typedef struct npy_writer {
    FILE *stream;
    uint64_t row_count, col_count, written;
    whole_file file;
} npy_writer;

MUST_CHECK leat_status npy_open(npy_writer *writer, const char *path, uint64_t row_count, uint64_t col_count,
                                leat_error *error);
MUST_CHECK leat_status npy_write_row(npy_writer *writer, const float *row, leat_error *error);
MUST_CHECK leat_status npy_finish(npy_writer *writer, leat_error *error);
void npy_close(npy_writer *writer);

#endif

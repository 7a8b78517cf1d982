/*
 * row_reader.h - single rows of a matrix that stays on disk: embedding tables of models whose head is not tied, and
 * Gemma's per-layer inputs.
 */
#ifndef EXEC_ROW_READER_H
#define EXEC_ROW_READER_H

#include "io/storage.h"
#include "model/weights.h"

enum { ROW_READS_MAX = 16 }; /* rows in flight */

#define ROW_TAG_BEGIN (UINT64_C(1) << 41)
#define ROW_TAG_END   (ROW_TAG_BEGIN + ROW_READS_MAX * PART_COUNT)

typedef struct row_reader {
    mem *ledger;
    const weight *table;
    const file_set *files;
    storage *reads;
    uint8_t *buffer;                 /* (ROW_READS_MAX, row_bytes) */
    uint64_t row_bytes;              /* windows of all parts of one row */
    uint64_t part_begin[PART_COUNT]; /* in a row's bytes */
    uint64_t wait_ns;                /* spent by row_reader_read waiting for the disk */
} row_reader;

uint64_t row_reader_bytes(const weight *table, const file_set *files);
/* Memory from MEM_IO. Everything is borrowed until close. */
MUST_CHECK leat_status row_reader_open(mem *ledger, const weight *table, const file_set *files, storage *reads,
                                       row_reader *out_reader, leat_error *error);
void row_reader_close(row_reader *r);
/* out[i * cols ...] = row rows[i], as float32 values. */
MUST_CHECK leat_status row_reader_read(row_reader *r, const uint32_t *rows, uint32_t count, float *out,
                                       leat_error *error);

#endif

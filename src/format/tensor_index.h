/*
 * tensor_index.h - the tensors of a checkpoint: name, type, shape and where the bytes lie. No bytes, no files.
 */
#ifndef FORMAT_TENSOR_INDEX_H
#define FORMAT_TENSOR_INDEX_H

#include "base/arena.h"

#include <stdbool.h>

enum { TENSOR_RANK_MAX = 8, TENSOR_NAME_BYTES_MAX = 512, TENSOR_COUNT_MAX = 1000000 };

/* As the safetensors format names them. bits of one element; F4, F6_.. are bit-packed. */
#define DTYPE_MAP(X)                                                                                                   \
    X(F64, 64)                                                                                                         \
    X(F32, 32)                                                                                                         \
    X(F16, 16)                                                                                                         \
    X(BF16, 16)                                                                                                        \
    X(I64, 64)                                                                                                         \
    X(I32, 32)                                                                                                         \
    X(I16, 16) X(I8, 8) X(U64, 64) X(U32, 32) X(U16, 16) X(U8, 8) X(BOOL, 8) X(C64, 64) X(F8_E4M3, 8) X(F8_E5M2, 8)    \
        X(F8_E8M0, 8) X(F6_E2M3, 6) X(F6_E3M2, 6) X(F4, 4)

typedef enum dtype {
#define X(name, bits) DTYPE_##name,
    DTYPE_MAP(X)
#undef X
        DTYPE_COUNT
} dtype;

typedef struct tensor {
    const char *name;
    dtype type;
    uint32_t rank;
    uint64_t dims[TENSOR_RANK_MAX];
    uint32_t file_idx;
    uint64_t offset, bytes; /* offset from the start of the file */
} tensor;

typedef struct tensor_index {
    arena memory;    /* owns the names; the table is a block of the same ledger */
    tensor *tensors; /* (count), sorted by name after tensor_index_finish */
    uint64_t count, capacity;
} tensor_index;

void tensor_index_init(tensor_index *index, mem *ledger);
void tensor_index_reset(tensor_index *index);
/* Copies the name. */
MUST_CHECK leat_status tensor_index_add(tensor_index *index, const tensor *added, leat_error *error);
/* Sorts; a name that occurs in two files is LEAT_MODEL and named together with both files. */
MUST_CHECK leat_status tensor_index_finish(tensor_index *index, const char *const *file_names, leat_error *error);
/* NULL when absent. */
const tensor *tensor_index_find(const tensor_index *index, const char *name);
/* The place of the first tensor whose name is not below `name` (strcmp order); index->count when there is none. */
uint64_t tensor_index_lower_bound(const tensor_index *index, const char *name);

const char *dtype_label(dtype type);
uint32_t dtype_bits(dtype type);
/* "[2816, 704]" into `out`, cut when longer. */
void tensor_shape_text(const tensor *t, char *out, size_t out_bytes);

#endif

/*
 * weights.h - finds a weight by name in a checkpoint and derives what it is from its tensors' shapes.
 *
 * A weight is one matrix, or a stack of equal matrices (experts). It may be stored as one float tensor (NAME.weight or
 * NAME), as MLX triples (NAME.weight, NAME.scales, NAME.biases), or, for stacks, as one tensor per expert. Bits and
 * group size come from the shapes, tensor by tensor; the configuration's overrides are checked against them (an
 * override that contradicts is refused), and a top-level hint that differs is only noted.
 */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "format/hf_config.h"
#include "format/tensor_index.h"
#include "quant/quant.h"

/* Where a matrix lies on disk. bytes of parts that do not exist are 0. */
typedef struct weight_part {
    uint32_t file_idx;
    uint64_t offset, bytes;
} weight_part;

typedef enum weight_part_kind { PART_DATA, PART_SCALES, PART_OFFSETS, PART_COUNT } weight_part_kind;

typedef struct weight {
    const char *name;                 /* the module path as found, for reports */
    matrix_shape shape;               /* of one matrix */
    uint32_t stack_count;             /* 1, or the number of experts */
    weight_part (*parts)[PART_COUNT]; /* (stack_count) */
    const float *global_scales;       /* (stack_count) or NULL; filled when the weights are read: weight_part of each in
                                         global_scale_parts */
    const weight_part *global_scale_part; /* one extent of stack_count floats, or NULL */
    bool differs_from_hint;               /* the configuration's top level says other bits or group */
} weight;

/* A vector of floats (norms, scalars, biases, router scales). */
typedef struct vector {
    const char *name;
    float_type type;
    uint64_t count;
    weight_part part;
} vector;

typedef struct weight_source {
    const tensor_index *index;
    const hf_config *config;
    const char *prefix; /* the text root as found, e.g. "language_model.model." */
    arena *memory;      /* for what is found */
    quant_hint hint;
} weight_source;

/* `path` is relative to the prefix ("layers.0.self_attn.q_proj"). LEAT_MODEL, naming the full path with expected and
 * found, when absent or of another shape. */
MUST_CHECK leat_status weights_find(const weight_source *source, const char *path, uint64_t rows, uint64_t cols,
                                    weight *out_weight, leat_error *error);
/* A stack of `count` matrices. Tried in order: PATH.{weight,scales,biases} or PATH with a leading dimension; rows_begin
 * and rows_total pick rows [rows_begin, rows_begin + rows) of matrices that hold rows_total (fused gate_up); then one
 * tensor per expert: `per_expert_format` ("layers.3.mlp.experts.%u.gate_proj"), NULL when there is no such form. */
MUST_CHECK leat_status weights_find_stack(const weight_source *source, const char *path, const char *per_expert_format,
                                          uint32_t count, uint64_t rows_begin, uint64_t rows, uint64_t rows_total,
                                          uint64_t cols, weight *out_weight, leat_error *error);
/* Whether any tensor of the module exists. */
bool weights_exist(const weight_source *source, const char *path);
/* A float tensor of `count` elements; `path` is the full tensor name below the prefix, ".weight" included where it has
 * one. */
MUST_CHECK leat_status weights_find_vector(const weight_source *source, const char *path, uint64_t count,
                                           vector *out_vector, leat_error *error);
bool weights_vector_exists(const weight_source *source, const char *path);

#endif

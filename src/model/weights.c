/*
 * weights.c - from names to weights.
 *
 * Every form a weight may be stored in becomes a `stored`: the tensors of one module, their shapes checked against what
 * the architecture expects, and what follows from them. With known columns nothing is ambiguous:
 *
 *     bits = 32 * words a row / columns        group = columns / scales a row        (docs/formats/mlx.md)
 *
 * From a `stored` come the extents of each matrix, or of some of its rows. Nothing here reads a byte of the weights.
 * Shapes and offsets come from files: products are checked even where the safetensors reader has checked them, because
 * an index may have other sources.
 *
 * Threads: one thread per arena.
 */
#include "model/weights.h"

#include "base/bytes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = TENSOR_NAME_BYTES_MAX + 1, SHAPE_TEXT_BYTES = 96 };

/* What the caller asks for. */
typedef struct wanted {
    uint64_t stack;      /* leading dimension; 0 for a plain matrix */
    uint64_t rows, cols; /* of one matrix as stored */
} wanted;

typedef struct stored {
    const char *module; /* full path */
    matrix_shape shape; /* rows as stored */
    const tensor *part[PART_COUNT];
    const tensor *global_scale;
    bool differs_from_hint;
} stored;

/* ---- names ---- */

/* Joins up to three pieces; false when the result is longer than any tensor's name. */
static bool join_name(char out[NAME_BYTES], const char *a, const char *b, const char *c)
{
    int written = snprintf(out, NAME_BYTES, "%s%s%s", a, b, c);
    return written >= 0 && written < NAME_BYTES;
}

static const tensor *find_tensor(const weight_source *source, const char *module, const char *suffix)
{
    char name[NAME_BYTES];
    return join_name(name, module, suffix, "") ? tensor_index_find(source->index, name) : NULL;
}

bool weights_exist(const weight_source *source, const char *path)
{
    char module[NAME_BYTES], below[NAME_BYTES];
    if (!join_name(module, source->prefix, path, "")) return false;
    if (tensor_index_find(source->index, module) != NULL) return true;
    if (!join_name(below, module, ".", "")) return false;
    uint64_t at = tensor_index_lower_bound(source->index, below);
    return at < source->index->count && strncmp(source->index->tensors[at].name, below, strlen(below)) == 0;
}

bool weights_vector_exists(const weight_source *source, const char *path)
{
    return find_tensor(source, source->prefix, path) != NULL;
}

/* ---- shapes ---- */

static bool float_type_of(dtype type, float_type *out_type)
{
    switch (type) {
    case DTYPE_F32: *out_type = FLOAT_F32; return true;
    case DTYPE_F16: *out_type = FLOAT_F16; return true;
    case DTYPE_BF16: *out_type = FLOAT_BF16; return true;
    default: return false;
    }
}

static quant_type float_quant_type(float_type type)
{
    return type == FLOAT_F32 ? QUANT_F32 : type == FLOAT_F16 ? QUANT_F16 : QUANT_BF16;
}

/* The tensor's shape must be [rows, last], or [stack, rows, last] for a stack; `last` 0 stands for any. Gives the last
 * dimension. */
static leat_status check_shape(const tensor *t, const wanted *w, uint64_t last, uint64_t *out_last, leat_error *error)
{
    uint32_t rank = w->stack == 0 ? 2 : 3;
    bool leads = t->rank == rank && t->dims[rank - 2] == w->rows && (w->stack == 0 || t->dims[0] == w->stack);
    if (leads && (last == 0 || t->dims[rank - 1] == last)) {
        *out_last = t->dims[rank - 1];
        return LEAT_OK;
    }
    char found[SHAPE_TEXT_BYTES], stack_text[32] = "", last_text[32] = "any";
    tensor_shape_text(t, found, sizeof found);
    if (w->stack != 0) snprintf(stack_text, sizeof stack_text, "%" PRIu64 ", ", w->stack);
    if (last != 0) snprintf(last_text, sizeof last_text, "%" PRIu64, last);
    return FAIL(error, MODEL, "tensor %s has shape %s, expected [%s%" PRIu64 ", %s]", t->name, found, stack_text,
                w->rows, last_text);
}

/* The extent is as long as the rows need. The safetensors reader guarantees it; other makers of indices may not. */
static leat_status check_extent(const tensor *t, const wanted *w, uint64_t row_bytes, leat_error *error)
{
    uint64_t rows, bytes, end;
    uint64_t stack = w->stack == 0 ? 1 : w->stack;
    if (size_mul(stack, w->rows, &rows) && size_mul(rows, row_bytes, &bytes) && bytes == t->bytes &&
        size_add(t->offset, bytes, &end))
        return LEAT_OK;
    return FAIL(error, MODEL,
                "tensor %s has %" PRIu64 " bytes, expected %" PRIu64 " x %" PRIu64 " rows of %" PRIu64 " bytes",
                t->name, t->bytes, stack, w->rows, row_bytes);
}

/* ---- one module ---- */

static leat_status inspect_float(const tensor *t, const wanted *w, stored *out, leat_error *error)
{
    float_type type;
    uint64_t cols;
    if (!float_type_of(t->type, &type))
        return FAIL(error, MODEL, "tensor %s has type %s, expected F32, F16 or BF16 (or U32 beside scales)", t->name,
                    dtype_label(t->type));
    TRY(check_shape(t, w, w->cols, &cols, error));
    out->shape = (matrix_shape){.type = float_quant_type(type), .rows = w->rows, .cols = w->cols};
    out->part[PART_DATA] = t;
    return check_extent(t, w, quant_data_row_bytes(&out->shape), error);
}

/* Bits of one element from the width of a packed row; the words are 32 bits wide. */
static leat_status derive_bits(const tensor *data, const wanted *w, uint32_t *out_bits, leat_error *error)
{
    uint64_t words, row_bits;
    TRY(check_shape(data, w, 0, &words, error));
    if (!size_mul(words, 32, &row_bits) || row_bits % w->cols != 0)
        return FAIL(error, MODEL,
                    "tensor %s: %" PRIu64 " words of 32 bits for %" PRIu64 " columns are no whole number of bits each",
                    data->name, words, w->cols);
    uint64_t bits = row_bits / w->cols;
    if (bits == 0 || bits == 7 || bits > 8)
        return FAIL(error, MODEL,
                    "tensor %s: %" PRIu64 " words of 32 bits for %" PRIu64 " columns mean %" PRIu64
                    " bits each, expected 1, 2, 3, 4, 5, 6 or 8",
                    data->name, words, w->cols, bits);
    *out_bits = (uint32_t)bits;
    return LEAT_OK;
}

static leat_status derive_group(const tensor *scales, const wanted *w, uint32_t *out_group, leat_error *error)
{
    uint64_t groups;
    TRY(check_shape(scales, w, 0, &groups, error));
    if (groups == 0 || w->cols % groups != 0)
        return FAIL(error, MODEL, "tensor %s: %" PRIu64 " scales a row do not divide %" PRIu64 " columns", scales->name,
                    groups, w->cols);
    uint64_t group = w->cols / groups;
    if (group != 16 && group != 32 && group != 64 && group != 128)
        return FAIL(error, MODEL,
                    "tensor %s: %" PRIu64 " scales a row for %" PRIu64 " columns mean groups of %" PRIu64
                    ", expected 16, 32, 64 or 128",
                    scales->name, groups, w->cols, group);
    *out_group = (uint32_t)group;
    return LEAT_OK;
}

static const struct {
    quant_type type;
    quant_mode mode;
    uint32_t bits, group; /* group 0: 32, 64 or 128 */
} packed_types[] = {
    {QUANT_AFFINE1, QUANT_MODE_AFFINE, 1, 0}, {QUANT_AFFINE2, QUANT_MODE_AFFINE, 2, 0},
    {QUANT_AFFINE3, QUANT_MODE_AFFINE, 3, 0}, {QUANT_AFFINE4, QUANT_MODE_AFFINE, 4, 0},
    {QUANT_AFFINE5, QUANT_MODE_AFFINE, 5, 0}, {QUANT_AFFINE6, QUANT_MODE_AFFINE, 6, 0},
    {QUANT_AFFINE8, QUANT_MODE_AFFINE, 8, 0}, {QUANT_MXFP4, QUANT_MODE_MXFP4, 4, 32},
    {QUANT_NVFP4, QUANT_MODE_NVFP4, 4, 16},   {QUANT_MXFP8, QUANT_MODE_MXFP8, 8, 32},
};

/* Of a packed type. */
static quant_mode mode_of(quant_type type)
{
    size_t row = 0;
    while (packed_types[row].type != type) {
        row++;
        assert(row < ARRAY_COUNT(packed_types));
    }
    return packed_types[row].mode;
}

/* Float scales mean affine, byte scales one of the floating-point modes. */
static leat_status derive_type(const tensor *scales, uint32_t bits, uint32_t group, quant_type *out_type,
                               leat_error *error)
{
    float_type scale_type;
    bool is_affine = float_type_of(scales->type, &scale_type);
    if (!is_affine && scales->type != DTYPE_U8)
        return FAIL(error, MODEL, "tensor %s has type %s, expected F32, F16, BF16 or U8", scales->name,
                    dtype_label(scales->type));
    for (size_t i = 0; i < ARRAY_COUNT(packed_types); i++) {
        if ((packed_types[i].mode == QUANT_MODE_AFFINE) != is_affine || packed_types[i].bits != bits) continue;
        if (packed_types[i].group == 0 ? group == 16 : group != packed_types[i].group) continue;
        *out_type = packed_types[i].type;
        return LEAT_OK;
    }
    return FAIL(error, MODEL, "tensor %s: %u bits in groups of %u with %s scales is no known quantisation",
                scales->name, bits, group, dtype_label(scales->type));
}

/* MLX calls the zero offsets `biases`; a linear layer's bias is `bias`. */
static leat_status find_offsets(const weight_source *source, const wanted *w, stored *out, leat_error *error)
{
    const tensor *scales = out->part[PART_SCALES], *offsets = find_tensor(source, out->module, ".biases");
    bool has_offsets = quant_traits_table[out->shape.type].has_offsets;
    if (!has_offsets && offsets == NULL) return LEAT_OK;
    if (!has_offsets)
        return FAIL(error, MODEL, "tensor %s stands beside %s scales, which have no biases", offsets->name,
                    dtype_label(scales->type));
    if (offsets == NULL)
        return FAIL(error, MODEL, "tensor %s.biases is missing; %s is quantised and has no meaning without it",
                    out->module, out->module);
    if (offsets->type != scales->type)
        return FAIL(error, MODEL, "tensor %s has type %s, expected %s as %s.scales", offsets->name,
                    dtype_label(offsets->type), dtype_label(scales->type), out->module);
    uint64_t groups;
    TRY(check_shape(offsets, w, w->cols / out->shape.group, &groups, error));
    out->part[PART_OFFSETS] = offsets;
    return LEAT_OK;
}

/* One float for each matrix of the stack, stored as [stack], or as a scalar for a single matrix. */
static leat_status find_global_scale(const weight_source *source, const wanted *w, stored *out, leat_error *error)
{
    const tensor *t = find_tensor(source, out->module, ".global_scale");
    uint64_t count = w->stack == 0 ? 1 : w->stack, bytes;
    if (t == NULL) return LEAT_OK;
    if (out->shape.type != QUANT_NVFP4)
        return FAIL(error, MODEL, "tensor %s stands beside a weight of type %s, expected nvfp4", t->name,
                    quant_traits_table[out->shape.type].label);
    bool is_list = t->rank == 1 && t->dims[0] == count;
    if (t->type != DTYPE_F32 || !(is_list || (count == 1 && t->rank == 0)) || !size_mul(count, 4, &bytes) ||
        t->bytes != bytes) {
        char found[SHAPE_TEXT_BYTES];
        tensor_shape_text(t, found, sizeof found);
        return FAIL(error, MODEL, "tensor %s is %s %s, expected F32 [%" PRIu64 "]", t->name, dtype_label(t->type),
                    found, count);
    }
    out->global_scale = t;
    out->shape.has_global_scale = true;
    return LEAT_OK;
}

static leat_status inspect_packed(const weight_source *source, const tensor *data, const wanted *w, stored *out,
                                  leat_error *error)
{
    const tensor *scales = find_tensor(source, out->module, ".scales");
    uint32_t bits = 0, group = 0;
    if (scales == NULL)
        return FAIL(error, MODEL, "tensor %s.scales is missing; %s has type U32, which means packed weights",
                    out->module, data->name);
    if (data->type != DTYPE_U32)
        return FAIL(error, MODEL, "tensor %s has type %s, expected U32 beside %s", data->name, dtype_label(data->type),
                    scales->name);
    TRY(derive_bits(data, w, &bits, error));
    TRY(derive_group(scales, w, &group, error));
    out->shape = (matrix_shape){.group = group, .rows = w->rows, .cols = w->cols};
    TRY(derive_type(scales, bits, group, &out->shape.type, error));
    (void)float_type_of(scales->type, &out->shape.scale_type);
    out->part[PART_DATA] = data;
    out->part[PART_SCALES] = scales;
    TRY(check_extent(data, w, quant_data_row_bytes(&out->shape), error));
    TRY(check_extent(scales, w, quant_scale_row_bytes(&out->shape), error));
    TRY(find_offsets(source, w, out, error));
    if (out->part[PART_OFFSETS] != NULL)
        TRY(check_extent(out->part[PART_OFFSETS], w, quant_scale_row_bytes(&out->shape), error));
    return find_global_scale(source, w, out, error);
}

/* ---- what the configuration says ---- */

/* An override is a statement about this very module, so it must be true; the top level is a habit of the whole file and
 * may be wrong. */
static leat_status compare_with_config(const weight_source *source, stored *found, leat_error *error)
{
    quant_hint hint = {0};
    const char *file = source->config == NULL ? "" : hf_config_name(source->config);
    bool is_packed = found->shape.group != 0;
    if (source->config != NULL) TRY(hf_config_quant_override(source->config, found->module, &hint, error));
    if (!hint.is_present) {
        const quant_hint *top = &source->hint;
        found->differs_from_hint =
            is_packed && top->is_present &&
            ((top->has_bits && top->bits != quant_traits_table[found->shape.type].bits) ||
             (top->has_group && top->group != found->shape.group) || top->mode != mode_of(found->shape.type));
        return LEAT_OK;
    }
    if (hint.is_off && is_packed)
        return FAIL(error, MODEL, "%s: %s says the weight is not quantised, but it is stored as %s with scales",
                    found->module, file, quant_traits_table[found->shape.type].label);
    if (hint.is_off) return LEAT_OK;
    if (!is_packed)
        return FAIL(error, MODEL, "%s: %s says the weight is quantised with %u bits, but it is stored as %s",
                    found->module, file, hint.bits, quant_traits_table[found->shape.type].label);
    quant_mode mode = mode_of(found->shape.type);
    uint32_t bits = quant_traits_table[found->shape.type].bits;
    if (hint.mode != mode)
        return FAIL(error, MODEL, "%s: %s says mode %s%s, the tensors mean %s", found->module, file,
                    quant_mode_label(hint.mode), hint.has_mode ? "" : " (by giving none)", quant_mode_label(mode));
    if (hint.has_bits && hint.bits != bits)
        return FAIL(error, MODEL, "%s: %s says bits %u, the tensors' shapes mean %u", found->module, file, hint.bits,
                    bits);
    if (hint.has_group && hint.group != found->shape.group)
        return FAIL(error, MODEL, "%s: %s says group_size %u, the tensors' shapes mean %u", found->module, file,
                    hint.group, found->shape.group);
    if (hint.has_global_scale && found->global_scale == NULL)
        return FAIL(error, MODEL, "%s: %s says there is a global scale, but tensor %s.global_scale is missing",
                    found->module, file, found->module);
    return LEAT_OK;
}

/* `module` is borrowed by *out. */
static leat_status inspect_module(const weight_source *source, const char *module, const wanted *w, stored *out,
                                  leat_error *error)
{
    stored found = {.module = module};
    const tensor *data = find_tensor(source, module, ".weight");
    if (data == NULL) data = find_tensor(source, module, "");
    if (data == NULL)
        return FAIL(error, MODEL, "tensor %s.weight is missing, expected %" PRIu64 " rows and %" PRIu64 " columns",
                    module, w->rows, w->cols);
    if (data->type == DTYPE_U32 || find_tensor(source, module, ".scales") != NULL)
        TRY(inspect_packed(source, data, w, &found, error));
    else
        TRY(inspect_float(data, w, &found, error));
    TRY(compare_with_config(source, &found, error));
    *out = found;
    return LEAT_OK;
}

/* ---- extents ---- */

/* Rows [rows_begin, rows_begin + rows) of matrix `idx` of the stack. The products stay below the tensors' sizes, which
 * check_extent saw. */
static void cut_parts(const stored *from, uint64_t idx, uint64_t rows_begin, uint64_t rows, weight_part out[PART_COUNT])
{
    const uint64_t row_bytes[PART_COUNT] = {
        [PART_DATA] = quant_data_row_bytes(&from->shape),
        [PART_SCALES] = from->part[PART_SCALES] == NULL ? 0 : quant_scale_row_bytes(&from->shape),
        [PART_OFFSETS] = from->part[PART_OFFSETS] == NULL ? 0 : quant_scale_row_bytes(&from->shape)};
    for (size_t part = 0; part < PART_COUNT; part++) {
        const tensor *t = from->part[part];
        if (t == NULL) continue;
        out[part] = (weight_part){.file_idx = t->file_idx,
                                  .offset = t->offset + (idx * from->shape.rows + rows_begin) * row_bytes[part],
                                  .bytes = rows * row_bytes[part]};
        assert(out[part].offset + out[part].bytes <= t->offset + t->bytes);
    }
}

static leat_status start_weight(const weight_source *source, const stored *found, uint32_t count, uint64_t rows,
                                weight *out, leat_error *error)
{
    *out = (weight){.shape = found->shape, .stack_count = count, .differs_from_hint = found->differs_from_hint};
    out->shape.rows = rows;
    TRY(arena_copy_text(source->memory, found->module, strlen(found->module), &out->name, error));
    TRY(ARENA_NEW(source->memory, count, &out->parts, error));
    if (found->global_scale == NULL) return LEAT_OK;
    weight_part *global = NULL;
    TRY(ARENA_NEW(source->memory, 1, &global, error));
    *global = (weight_part){.file_idx = found->global_scale->file_idx,
                            .offset = found->global_scale->offset,
                            .bytes = found->global_scale->bytes};
    out->global_scale_part = global;
    return LEAT_OK;
}

static leat_status fail_long_name(const char *prefix, const char *path, leat_error *error)
{
    return FAIL(error, MODEL, "tensor %.100s%.200s... is missing: such a name has more than %d bytes", prefix, path,
                TENSOR_NAME_BYTES_MAX);
}

leat_status weights_find(const weight_source *source, const char *path, uint64_t rows, uint64_t cols,
                         weight *out_weight, leat_error *error)
{
    assert(rows > 0 && cols > 0);
    char module[NAME_BYTES];
    stored found;
    weight result;
    const wanted w = {.rows = rows, .cols = cols};
    if (!join_name(module, source->prefix, path, "")) return fail_long_name(source->prefix, path, error);
    TRY(inspect_module(source, module, &w, &found, error));
    TRY(start_weight(source, &found, 1, rows, &result, error));
    cut_parts(&found, 0, 0, rows, result.parts[0]);
    *out_weight = result;
    return LEAT_OK;
}

/* ---- stacks ---- */

typedef struct row_slice {
    uint64_t begin, count;
} row_slice;

static leat_status find_stacked(const weight_source *source, const char *module, uint32_t count, const wanted *w,
                                const row_slice *rows, weight *out_weight, leat_error *error)
{
    stored found;
    weight result;
    TRY(inspect_module(source, module, w, &found, error));
    TRY(start_weight(source, &found, count, rows->count, &result, error));
    for (uint32_t i = 0; i < count; i++) cut_parts(&found, i, rows->begin, rows->count, result.parts[i]);
    *out_weight = result;
    return LEAT_OK;
}

/* The format's "%u" replaced by `text`. Not given to printf: it is data to this function. */
static bool expert_name(char out[NAME_BYTES], const char *prefix, const char *format, const char *text)
{
    const char *mark = strstr(format, "%u");
    assert(mark != NULL);
    char head[NAME_BYTES];
    if ((size_t)(mark - format) >= sizeof head) return false;
    memcpy(head, format, (size_t)(mark - format));
    head[mark - format] = '\0';
    int written = snprintf(out, NAME_BYTES, "%s%s%s%s", prefix, head, text, mark + 2);
    return written >= 0 && written < NAME_BYTES;
}

static bool is_same_shape(const matrix_shape *a, const matrix_shape *b)
{
    return a->type == b->type && a->scale_type == b->scale_type && a->group == b->group &&
           a->has_global_scale == b->has_global_scale && a->rows == b->rows && a->cols == b->cols;
}

static leat_status inspect_expert(const weight_source *source, const char *format, uint32_t idx, const wanted *w,
                                  char module[NAME_BYTES], stored *out, leat_error *error)
{
    char number[16];
    snprintf(number, sizeof number, "%u", idx);
    if (!expert_name(module, source->prefix, format, number)) return fail_long_name(source->prefix, format, error);
    TRY(inspect_module(source, module, w, out, error));
    if (out->global_scale != NULL)
        return FAIL(
            error, MODEL,
            "tensor %s: a global scale for each expert's own tensor is not supported, expected one stacked tensor",
            out->global_scale->name);
    return LEAT_OK;
}

static leat_status find_per_expert(const weight_source *source, const char *format, uint32_t count, const wanted *w,
                                   const row_slice *rows, weight *out_weight, leat_error *error)
{
    char module[NAME_BYTES], first_module[NAME_BYTES], pattern[NAME_BYTES];
    stored first, found;
    weight result;
    TRY(inspect_expert(source, format, 0, w, first_module, &first, error));
    if (!expert_name(pattern, source->prefix, format, "*")) return fail_long_name(source->prefix, format, error);
    stored named = first;
    named.module = pattern;
    TRY(start_weight(source, &named, count, rows->count, &result, error));
    cut_parts(&first, 0, rows->begin, rows->count, result.parts[0]);
    for (uint32_t i = 1; i < count; i++) {
        TRY(inspect_expert(source, format, i, w, module, &found, error));
        if (!is_same_shape(&found.shape, &first.shape))
            return FAIL(
                error, MODEL,
                "the experts of a layer must be stored alike: %s is %s in groups of %u, %s is %s in groups of %u",
                first_module, quant_traits_table[first.shape.type].label, first.shape.group, module,
                quant_traits_table[found.shape.type].label, found.shape.group);
        result.differs_from_hint |= found.differs_from_hint;
        cut_parts(&found, 0, rows->begin, rows->count, result.parts[i]);
    }
    *out_weight = result;
    return LEAT_OK;
}

leat_status weights_find_stack(const weight_source *source, const char *path, const char *per_expert_format,
                               uint32_t count, uint64_t rows_begin, uint64_t rows, uint64_t rows_total, uint64_t cols,
                               weight *out_weight, leat_error *error)
{
    assert(count > 0 && rows > 0 && cols > 0 && rows_begin <= rows_total && rows <= rows_total - rows_begin);
    char module[NAME_BYTES];
    const wanted stacked = {.stack = count, .rows = rows_total, .cols = cols},
                 single = {.rows = rows_total, .cols = cols};
    const row_slice slice = {.begin = rows_begin, .count = rows};
    bool has_name = join_name(module, source->prefix, path, "");
    if (per_expert_format == NULL && !has_name) return fail_long_name(source->prefix, path, error);
    /* Not weights_exist: "experts" also lies above "experts.0". */
    bool is_stacked =
        has_name && (find_tensor(source, module, ".weight") != NULL || find_tensor(source, module, "") != NULL ||
                     find_tensor(source, module, ".scales") != NULL);
    if (per_expert_format == NULL || is_stacked)
        return find_stacked(source, module, count, &stacked, &slice, out_weight, error);
    char first[NAME_BYTES];
    if (has_name && expert_name(first, source->prefix, per_expert_format, "0") &&
        !find_tensor(source, first, ".weight") && !find_tensor(source, first, ""))
        return FAIL(error, MODEL,
                    "tensor %.200s.weight (%u matrices) is missing, and so is %.200s.weight, the first of them", module,
                    count, first);
    return find_per_expert(source, per_expert_format, count, &single, &slice, out_weight, error);
}

/* ---- vectors ---- */

leat_status weights_find_vector(const weight_source *source, const char *path, uint64_t count, vector *out_vector,
                                leat_error *error)
{
    assert(count > 0);
    const tensor *t = find_tensor(source, source->prefix, path);
    vector found = {.count = count};
    if (t == NULL)
        return FAIL(error, MODEL, "tensor %s%s is missing, expected %" PRIu64 " floats", source->prefix, path, count);
    if (!float_type_of(t->type, &found.type))
        return FAIL(error, MODEL, "tensor %s has type %s, expected F32, F16 or BF16", t->name, dtype_label(t->type));
    uint64_t bytes;
    if (!size_mul(count, float_type_bytes(found.type), &bytes) || bytes != t->bytes) {
        char shape[SHAPE_TEXT_BYTES];
        tensor_shape_text(t, shape, sizeof shape);
        return FAIL(error, MODEL, "tensor %s has shape %s, expected %" PRIu64 " elements", t->name, shape, count);
    }
    found.name = t->name;
    found.part = (weight_part){.file_idx = t->file_idx, .offset = t->offset, .bytes = t->bytes};
    *out_vector = found;
    return LEAT_OK;
}

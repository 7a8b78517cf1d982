#include "mlx_vectors.h"

#include "base/bytes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct file_bytes {
    uint8_t *bytes;
    const char *header; /* terminated */
    const uint8_t *data;
    const char *name;
} file_bytes;

static void give_up(const char *name, const char *why)
{
    fprintf(stderr, "%s: %s\n", name, why);
    abort();
}

static file_bytes read_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) give_up(path, "cannot be opened");
    long size = ftell(file);
    rewind(file);
    /* The header is copied behind the file to be terminated. */
    uint8_t *bytes = calloc(2, (size_t)size + 1);
    if (!bytes || size < 8 || fread(bytes, 1, (size_t)size, file) != (size_t)size) give_up(path, "cannot be read");
    fclose(file);
    uint64_t header_bytes = load_le64(bytes);
    if (header_bytes > (uint64_t)size - 8) give_up(path, "bad header length");
    char *header = (char *)bytes + size + 1;
    memcpy(header, bytes + 8, header_bytes);
    return (file_bytes){bytes, header, bytes + 8 + header_bytes, name};
}

typedef struct entry {
    bool exists;
    char dtype[8];
    uint64_t dims[3];
    int rank;
    const uint8_t *bytes;
} entry;

/* The headers are mlx's own: no white space, the keys in the order data_offsets, dtype, shape. */
static entry find_entry(const file_bytes *file, const char *tensor)
{
    entry found = {0};
    char key[64];
    snprintf(key, sizeof key, "\"%s\":{\"data_offsets\":[", tensor);
    const char *at = strstr(file->header, key);
    if (!at) return found;
    unsigned long long begin;
    if (sscanf(at + strlen(key), "%llu", &begin) != 1) give_up(file->name, "no offset");
    found.exists = true;
    found.bytes = file->data + begin;
    at = strstr(at, "\"dtype\":\"");
    if (!at || sscanf(at + 9, "%7[^\"]", found.dtype) != 1) give_up(file->name, "no dtype");
    at = strstr(at, "\"shape\":[");
    if (!at) give_up(file->name, "no shape");
    for (at += 9; *at != ']' && found.rank < 3;) {
        char *end;
        found.dims[found.rank++] = strtoull(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    return found;
}

static quant_type type_of(const file_bytes *file)
{
    for (int type = 0; type < QUANT_TYPE_COUNT; type++) {
        const quant_traits *traits = &quant_traits_table[type];
        char prefix[32];
        if (traits->scales == SCALES_FLOAT)
            snprintf(prefix, sizeof prefix, "affine-b%u-", traits->bits);
        else
            snprintf(prefix, sizeof prefix, "%s-", traits->label);
        if (strncmp(file->name, prefix, strlen(prefix)) == 0) return (quant_type)type;
    }
    give_up(file->name, "unknown mode");
    return QUANT_F32;
}

static int visit_file(const char *folder, const char *name, mlx_vector_visit *visit, void *context)
{
    file_bytes file = read_file(folder, name);
    entry values = find_entry(&file, "dequantized"), weight = find_entry(&file, "weight");
    entry scales = find_entry(&file, "scales"), offsets = find_entry(&file, "biases");
    entry x = find_entry(&file, "x"), y = find_entry(&file, "y"), y_abs = find_entry(&file, "y_abs");
    entry global = find_entry(&file, "global_scale");
    if (!values.exists || !weight.exists || !scales.exists || !x.exists || !y.exists || !y_abs.exists ||
        values.rank < 2)
        give_up(name, "a tensor is missing");

    uint64_t stack = values.rank == 3 ? values.dims[0] : 1;
    matrix_shape shape = {
        .type = type_of(&file), .rows = values.dims[values.rank - 2], .cols = values.dims[values.rank - 1]};
    shape.group = (uint32_t)(shape.cols / scales.dims[scales.rank - 1]);
    shape.scale_type = strcmp(scales.dtype, "F32") == 0   ? FLOAT_F32
                       : strcmp(scales.dtype, "F16") == 0 ? FLOAT_F16
                                                          : FLOAT_BF16;
    shape.has_global_scale = global.exists;
    uint64_t data_bytes = shape.rows * quant_data_row_bytes(&shape),
             scale_bytes = shape.rows * quant_scale_row_bytes(&shape);
    for (uint64_t i = 0; i < stack; i++) {
        mlx_vector vector = {
            .name = name,
            .stack_idx = i,
            .weights = {.shape = shape,
                        .data = weight.bytes + i * data_bytes,
                        .scales = scales.bytes + i * scale_bytes,
                        .offsets = offsets.exists ? offsets.bytes + i * scale_bytes : NULL,
                        .global_scale = global.exists ? load_f32(global.bytes) : 0},
            .dequantized = values.bytes + i * shape.rows * shape.cols * 4,
            .x = x.bytes + i * 4 * shape.cols * 4,
            .y = y.bytes + i * 4 * shape.rows * 4,
            .y_abs = y_abs.bytes + i * 4 * shape.rows * 4,
        };
        visit(&vector, context);
    }
    free(file.bytes);
    return (int)stack;
}

/* -1: no such folder. */
static int visit_folder(const char *folder, mlx_vector_visit *visit, void *context)
{
    struct dirent **names;
    int file_count = scandir(folder, &names, NULL, alphasort), matrix_count = 0;
    if (file_count < 0) return -1;
    for (int i = 0; i < file_count; i++) {
        if (strstr(names[i]->d_name, ".safetensors"))
            matrix_count += visit_file(folder, names[i]->d_name, visit, context);
        free(names[i]);
    }
    free(names);
    return matrix_count;
}

int mlx_vectors_each(mlx_vector_visit *visit, void *context)
{
    const char *root = getenv("LEAT_SOURCE_ROOT"), *conformance = getenv("LEAT_CONFORMANCE");
    if (!root) root = ".";
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/tests/golden/mlx_vectors", root);
    int small_count = visit_folder(folder, visit, context);
    if (small_count <= 0) give_up(folder, "no matrices");
    if (conformance && conformance[0])
        snprintf(folder, sizeof folder, "%s/mlx/vectors", conformance);
    else
        snprintf(folder, sizeof folder, "%s/../shared/conformance/mlx/vectors", root);
    int full_count = visit_folder(folder, visit, context);
    if (full_count < 0)
        printf("NOTE: the full set of mlx vectors was not found (LEAT_CONFORMANCE); only the small one was read\n");
    return small_count + (full_count > 0 ? full_count : 0);
}

/*
 * safetensors.c - the header of one shard, checked against every rule of docs/formats/safetensors.md (the numbers below
 * are its numbers).
 *
 *   file:  | length of the header, u64 LE | header: {"NAME": {"dtype", "shape", "data_offsets"}, ...}, spaces | data |
 *            8 bytes                        header_bytes data_bytes
 *
 * Works on bytes in memory: opening and reading the file is the caller's business. A name is shown in full up to
 * EXCERPT_BYTES and cut beyond, so a message stays short whatever the file holds.
 *
 * Threads: one thread per index.
 */
#include "format/safetensors.h"

#include "base/bytes.h"
#include "base/json.h"
#include "format/excerpt.h"
#include "format/tensor_sort.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { LENGTH_BYTES = 8, HEADER_BYTES_MIN = 2, HEADER_DEPTH_MAX = 4 };

static const uint64_t dim_max = (uint64_t)1 << 40;
static const char metadata_name[] = "__metadata__";
static const char unfinished_hint[] = "the file may be an unfinished or damaged download: fetch it again";

typedef struct shard {
    json *parser;
    const char *file_name;
    uint32_t file_idx;
    uint64_t data_begin, data_bytes; /* of the data section in the file */
    tensor_index *index;
} shard;

/* One entry of the header while it is read. */
typedef struct entry {
    char name[TENSOR_NAME_BYTES_MAX + 1];
    char shown[EXCERPT_BYTES]; /* the name as messages show it */
    bool has_type, has_shape, has_offsets;
    uint64_t begin, end; /* data_offsets */
    tensor found;
} entry;

#define FAIL_TENSOR(error, shard, shown, format, ...)                                                                  \
    FAIL(error, MODEL, "%s: tensor %s: " format, (shard)->file_name, (shown), ##__VA_ARGS__)

static const char *kind_text(json_kind kind)
{
    switch (kind) {
    case JSON_OBJECT_BEGIN: return "an object";
    case JSON_ARRAY_BEGIN: return "an array";
    case JSON_STRING: return "a string";
    case JSON_NUMBER: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    default: return "something else";
    }
}

leat_status safetensors_header_bytes(const char *file_name, uint64_t file_bytes, const uint8_t first[8],
                                     uint64_t *out_header_bytes, leat_error *error)
{
    if (file_bytes < LENGTH_BYTES + HEADER_BYTES_MIN) {
        leat_status status =
            FAIL(error, MODEL, "%s: the file has %" PRIu64 " bytes, a safetensors file has at least %d", file_name,
                 file_bytes, LENGTH_BYTES + HEADER_BYTES_MIN);
        status_hint(error, unfinished_hint);
        return status;
    }
    uint64_t header_bytes = load_le64(first), room = file_bytes - LENGTH_BYTES;
    if (header_bytes < HEADER_BYTES_MIN || header_bytes > SAFETENSORS_HEADER_BYTES_MAX)
        return FAIL(error, MODEL,
                    "%s: the header's length is %" PRIu64 " bytes, expected %d to %d: not a safetensors file?",
                    file_name, header_bytes, HEADER_BYTES_MIN, SAFETENSORS_HEADER_BYTES_MAX);
    if (header_bytes > room) {
        leat_status status = FAIL(
            error, MODEL, "%s: the header's length is %" PRIu64 " bytes, but only %" PRIu64 " bytes follow in the file",
            file_name, header_bytes, room);
        status_hint(error, unfinished_hint);
        return status;
    }
    *out_header_bytes = header_bytes;
    return LEAT_OK;
}

/* Rule 4. The bytes after the closing brace belong to nobody, so only padding may stand there. */
static leat_status check_frame(const char *file_name, const char *header, uint64_t header_bytes, leat_error *error)
{
    if (header_bytes == 0 || header[0] != '{')
        return FAIL(error, MODEL, "%s: the header begins with byte 0x%02x, expected 0x7b ({)", file_name,
                    header_bytes == 0 ? 0u : (unsigned char)header[0]);
    uint64_t end = header_bytes;
    while (header[end - 1] == ' ') end--;
    if (header[end - 1] != '}')
        return FAIL(error, MODEL,
                    "%s: the header ends with byte 0x%02x at %" PRIu64 ", expected } and then only spaces", file_name,
                    (unsigned char)header[end - 1], end - 1);
    return LEAT_OK;
}

/* Whether the text holds a control character: C0, DEL or C1 (two bytes in UTF-8). */
static bool has_control(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7f) return true;
        if (byte == 0xc2 && i + 1 < length && (unsigned char)text[i + 1] < 0xa0) return true;
    }
    return false;
}

/* Rule 5, the part about names. */
static leat_status take_name(const shard *s, const json_token *key, entry *e, leat_error *error)
{
    excerpt_text(key->text, key->text_bytes, e->shown, key->text_bytes > TENSOR_NAME_BYTES_MAX ? 64 : sizeof e->shown);
    if (key->text_bytes > TENSOR_NAME_BYTES_MAX)
        return FAIL_TENSOR(error, s, e->shown, "the name has %zu bytes, expected at most %d", key->text_bytes,
                           TENSOR_NAME_BYTES_MAX);
    if (has_control(key->text, key->text_bytes))
        return FAIL_TENSOR(error, s, e->shown, "the name holds a control byte");
    memcpy(e->name, key->text, key->text_bytes);
    e->name[key->text_bytes] = '\0';
    return LEAT_OK;
}

/* Digits only: a shape or an offset written as 3.0 or 3e0 comes from no known writer. */
static bool read_count(const json_token *token, uint64_t *out_value)
{
    if (token->kind != JSON_NUMBER) return false;
    for (size_t i = 0; i < token->text_bytes; i++)
        if (token->text[i] < '0' || token->text[i] > '9') return false;
    return json_to_u64(token, out_value);
}

static const char *show_token(const json_token *token, char out[EXCERPT_BYTES])
{
    if (token->kind == JSON_NUMBER || token->kind == JSON_STRING)
        excerpt_text(token->text, token->text_bytes, out, 48);
    else
        excerpt_text(kind_text(token->kind), strlen(kind_text(token->kind)), out, EXCERPT_BYTES);
    return out;
}

/* Rule 6. */
static leat_status read_dtype(const shard *s, entry *e, leat_error *error)
{
    json_token token;
    char shown[EXCERPT_BYTES];
    TRY(json_next(s->parser, &token, error));
    for (uint32_t type = 0; token.kind == JSON_STRING && type < DTYPE_COUNT; type++) {
        if (!json_text_is(&token, dtype_label((dtype)type))) continue;
        e->found.type = (dtype)type;
        e->has_type = true;
        return LEAT_OK;
    }
    return FAIL_TENSOR(error, s, e->shown, "dtype is %s, which is not one of the format's types",
                       show_token(&token, shown));
}

/* Rule 7, the part about single dimensions. */
static leat_status read_shape(const shard *s, entry *e, leat_error *error)
{
    json_token token;
    char shown[EXCERPT_BYTES];
    TRY(json_next(s->parser, &token, error));
    if (token.kind != JSON_ARRAY_BEGIN)
        return FAIL_TENSOR(error, s, e->shown, "shape is %s, expected an array", show_token(&token, shown));
    uint32_t rank = 0;
    for (;;) {
        TRY(json_next(s->parser, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (rank == TENSOR_RANK_MAX)
            return FAIL_TENSOR(error, s, e->shown, "shape has more than %d dimensions", TENSOR_RANK_MAX);
        uint64_t dim = 0;
        if (!read_count(&token, &dim) || dim > dim_max)
            return FAIL_TENSOR(error, s, e->shown,
                               "dimension %u of the shape is %s, expected an integer from 0 to %" PRIu64, rank,
                               show_token(&token, shown), dim_max);
        e->found.dims[rank++] = dim;
    }
    e->found.rank = rank;
    e->has_shape = true;
    return LEAT_OK;
}

static leat_status read_offsets(const shard *s, entry *e, leat_error *error)
{
    json_token token;
    char shown[EXCERPT_BYTES];
    uint64_t *ends[2] = {&e->begin, &e->end};
    TRY(json_next(s->parser, &token, error));
    if (token.kind != JSON_ARRAY_BEGIN)
        return FAIL_TENSOR(error, s, e->shown, "data_offsets is %s, expected an array", show_token(&token, shown));
    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        TRY(json_next(s->parser, &token, error));
        if (!read_count(&token, ends[i]))
            return FAIL_TENSOR(error, s, e->shown, "data_offsets holds %s, expected two integers, not negative",
                               token.kind == JSON_ARRAY_END ? "too little" : show_token(&token, shown));
    }
    TRY(json_next(s->parser, &token, error));
    if (token.kind != JSON_ARRAY_END)
        return FAIL_TENSOR(error, s, e->shown, "data_offsets holds more than two integers");
    e->has_offsets = true;
    return LEAT_OK;
}

/* The bytes that type and shape ask for; false when they do not fit 64 bits. *out_bits is 0..7 bits beyond whole bytes.
 */
static bool shape_bytes(const tensor *t, uint64_t *out_bytes, uint64_t *out_bits)
{
    uint64_t elements = 1, bits;
    for (uint32_t i = 0; i < t->rank; i++)
        if (!size_mul(elements, t->dims[i], &elements)) return false;
    if (!size_mul(elements, dtype_bits(t->type), &bits)) return false;
    *out_bytes = bits / 8;
    *out_bits = bits % 8;
    return true;
}

/* Rules 7, 8 and 9: what one entry says must agree with itself and lie inside the file. */
static leat_status check_entry(const shard *s, const entry *e, leat_error *error)
{
    char shape[128];
    uint64_t bytes, bits;
    const tensor *t = &e->found;
    if (!e->has_type || !e->has_shape || !e->has_offsets)
        return FAIL_TENSOR(error, s, e->shown, "has no %s",
                           !e->has_type    ? "dtype"
                           : !e->has_shape ? "shape"
                                           : "data_offsets");
    tensor_shape_text(t, shape, sizeof shape);
    if (!shape_bytes(t, &bytes, &bits))
        return FAIL_TENSOR(error, s, e->shown, "shape %s of %s is larger than any file", shape, dtype_label(t->type));
    if (bits != 0)
        return FAIL_TENSOR(error, s, e->shown, "shape %s of %s ends inside a byte", shape, dtype_label(t->type));
    if (e->begin > e->end)
        return FAIL_TENSOR(error, s, e->shown, "data_offsets [%" PRIu64 ", %" PRIu64 "] are reversed", e->begin,
                           e->end);
    if (e->end - e->begin != bytes)
        return FAIL_TENSOR(error, s, e->shown, "shape %s of %s takes %" PRIu64 " bytes, data_offsets give %" PRIu64,
                           shape, dtype_label(t->type), bytes, e->end - e->begin);
    if (e->end > s->data_bytes) {
        leat_status status = FAIL_TENSOR(error, s, e->shown,
                                         "data_offsets end at %" PRIu64 ", but the file has %" PRIu64 " bytes of data",
                                         e->end, s->data_bytes);
        status_hint(error, unfinished_hint);
        return status;
    }
    return LEAT_OK;
}

static leat_status read_tensor(const shard *s, const json_token *key, leat_error *error)
{
    entry e = {.found.file_idx = s->file_idx};
    json_token token;
    char shown[EXCERPT_BYTES];
    TRY(take_name(s, key, &e, error));
    TRY(json_next(s->parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN)
        return FAIL_TENSOR(error, s, e.shown, "the entry is %s, expected an object", show_token(&token, shown));
    for (;;) {
        TRY(json_next(s->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "dtype"))
            TRY(read_dtype(s, &e, error));
        else if (json_text_is(&token, "shape"))
            TRY(read_shape(s, &e, error));
        else if (json_text_is(&token, "data_offsets"))
            TRY(read_offsets(s, &e, error));
        else
            TRY(json_skip(s->parser, error)); /* as the reference library does; it can change nothing we read */
    }
    TRY(check_entry(s, &e, error));
    e.found.name = e.name;
    e.found.bytes = e.end - e.begin;
    e.found.offset = s->data_begin + e.begin; /* at most the file's size */
    return tensor_index_add(s->index, &e.found, error);
}

/* Rule 11. */
static leat_status check_metadata(const shard *s, leat_error *error)
{
    json_token token;
    char key[EXCERPT_BYTES];
    TRY(json_next(s->parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN)
        return FAIL(error, MODEL, "%s: %s is %s, expected an object of strings", s->file_name, metadata_name,
                    kind_text(token.kind));
    for (;;) {
        TRY(json_next(s->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        excerpt_text(token.text, token.text_bytes, key, sizeof key);
        TRY(json_next(s->parser, &token, error));
        if (token.kind != JSON_STRING)
            return FAIL(error, MODEL, "%s: %s: %s is %s, expected a string", s->file_name, metadata_name, key,
                        kind_text(token.kind));
    }
}

/* Rule 10: every byte of the data belongs to exactly one tensor. Sorts the shard's part of the table, which begins at
 * `first`. */
static leat_status check_extents(const shard *s, uint64_t first, leat_error *error)
{
    uint64_t count = s->index->count - first;
    tensor *tensors = count == 0 ? NULL : s->index->tensors + first;
    tensor_sort(tensors, count, tensor_order_by_place);
    uint64_t expected = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begin = tensors[i].offset - s->data_begin;
        const char *before = i == 0 ? "the header" : tensors[i - 1].name;
        if (begin > expected)
            return FAIL(error, MODEL,
                        "%s: %" PRIu64 " bytes of data between %.*s (ends at %" PRIu64 ") and %.*s (begins at %" PRIu64
                        ") belong to no tensor",
                        s->file_name, begin - expected, EXCERPT_BYTES, before, expected, EXCERPT_BYTES, tensors[i].name,
                        begin);
        if (begin < expected)
            return FAIL(error, MODEL, "%s: tensors %.*s (ends at %" PRIu64 ") and %.*s (begins at %" PRIu64 ") overlap",
                        s->file_name, EXCERPT_BYTES, before, expected, EXCERPT_BYTES, tensors[i].name, begin);
        expected = begin + tensors[i].bytes;
    }
    if (expected != s->data_bytes)
        return FAIL(error, MODEL,
                    "%s: %" PRIu64 " bytes after the last tensor %.*s (ends at %" PRIu64 ") belong to no tensor",
                    s->file_name, s->data_bytes - expected, EXCERPT_BYTES,
                    count == 0 ? "(none)" : tensors[count - 1].name, expected);
    return LEAT_OK;
}

static leat_status read_entries(const shard *s, leat_error *error)
{
    json_token token;
    TRY(json_next(s->parser, &token, error)); /* the brace that check_frame saw */
    for (;;) {
        TRY(json_next(s->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, metadata_name))
            TRY(check_metadata(s, error));
        else
            TRY(read_tensor(s, &token, error));
    }
    return json_next(s->parser, &token, error); /* JSON_END, or text that trails the object */
}

leat_status safetensors_parse(mem *ledger, const char *file_name, uint32_t file_idx, uint64_t file_bytes,
                              const char *header, uint64_t header_bytes, tensor_index *index, leat_error *error)
{
    assert(header_bytes <= file_bytes && file_bytes - header_bytes >= LENGTH_BYTES);
    TRY(check_frame(file_name, header, header_bytes, error));
    /* A value of __metadata__ may be long; what bounds it is the header. */
    const json_limits limits = {.depth_max = HEADER_DEPTH_MAX,
                                .string_bytes_max = header_bytes,
                                .key_count_max = TENSOR_COUNT_MAX + 1,
                                .unique_keys = true};
    shard s = {.file_name = file_name, .file_idx = file_idx, .data_begin = LENGTH_BYTES + header_bytes, .index = index};
    s.data_bytes = file_bytes - s.data_begin;
    uint64_t count_before = index->count;
    leat_status status;
    TRY_OR(done, json_open(ledger, MEM_META, file_name, header, header_bytes, &limits, &s.parser, error));
    TRY_OR(done, read_entries(&s, error));
    TRY_OR(done, check_extents(&s, count_before, error));
done:
    if (status != LEAT_OK) index->count = count_before;
    json_close(&s.parser);
    return status;
}

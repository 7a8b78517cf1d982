/*
 * protobuf.h - the wire format of protocol buffers, field by field; strict: sizes are checked, groups are refused.
 *
 * Threads: a reader belongs to one thread. The bytes are borrowed.
 */
#ifndef TEXT_PROTOBUF_H
#define TEXT_PROTOBUF_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum protobuf_kind {
    PROTOBUF_VARINT = 0,
    PROTOBUF_FIXED64 = 1,
    PROTOBUF_BYTES = 2,
    PROTOBUF_FIXED32 = 5
} protobuf_kind;

typedef struct protobuf_field {
    uint32_t number;
    protobuf_kind kind;
    uint64_t offset;   /* of its first byte in the file */
    uint64_t value;    /* VARINT, FIXED32, FIXED64 */
    const char *bytes; /* BYTES: (count) */
    uint64_t count;
} protobuf_field;

typedef struct protobuf {
    const char *name; /* for errors */
    const char *bytes;
    uint64_t count, at;
    uint64_t start; /* of `bytes` in the file */
} protobuf;

/* The fields of a message inside a field. */
static inline protobuf protobuf_inside(const protobuf *outer, const protobuf_field *field)
{
    return (protobuf){.name = outer->name,
                      .bytes = field->bytes,
                      .count = field->count,
                      .start = outer->start + (uint64_t)(field->bytes - outer->bytes)};
}

/* *out_has is false at the end. LEAT_MODEL, with name and byte, where the bytes are no message. */
MUST_CHECK leat_status protobuf_next(protobuf *p, bool *out_has, protobuf_field *out_field, leat_error *error);

#endif

/* protobuf.c - see the header. */
#include "text/protobuf.h"

#include "base/bytes.h"

static leat_status fail_at(const protobuf *p, const char *reason, leat_error *error)
{
    return FAIL(error, MODEL, "%s: at byte %llu: %s", p->name, (unsigned long long)(p->start + p->at), reason);
}

static leat_status read_varint(protobuf *p, uint64_t *out_value, leat_error *error)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (p->at == p->count) return fail_at(p, "the file ends inside a number", error);
        uint8_t byte = (uint8_t)p->bytes[p->at++];
        if (shift == 63 && byte > 1) return fail_at(p, "a number of more than 64 bits", error);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out_value = value;
            return LEAT_OK;
        }
    }
    return fail_at(p, "a number of more than ten bytes", error);
}

static leat_status read_fixed(protobuf *p, uint64_t bytes, uint64_t *out_value, leat_error *error)
{
    if (p->count - p->at < bytes) return fail_at(p, "the file ends inside a number", error);
    *out_value = bytes == 4 ? load_le32(p->bytes + p->at) : load_le64(p->bytes + p->at);
    p->at += bytes;
    return LEAT_OK;
}

leat_status protobuf_next(protobuf *p, bool *out_has, protobuf_field *out_field, leat_error *error)
{
    uint64_t tag;
    *out_has = p->at < p->count;
    if (!*out_has) return LEAT_OK;
    *out_field = (protobuf_field){.offset = p->start + p->at};
    TRY(read_varint(p, &tag, error));
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return fail_at(p, "a field with an impossible number", error);
    out_field->number = (uint32_t)(tag >> 3);
    out_field->kind = (protobuf_kind)(tag & 7);
    switch (out_field->kind) {
    case PROTOBUF_VARINT: return read_varint(p, &out_field->value, error);
    case PROTOBUF_FIXED32: return read_fixed(p, 4, &out_field->value, error);
    case PROTOBUF_FIXED64: return read_fixed(p, 8, &out_field->value, error);
    case PROTOBUF_BYTES:
        TRY(read_varint(p, &out_field->count, error));
        if (out_field->count > p->count - p->at) return fail_at(p, "a field is longer than what is left", error);
        out_field->bytes = p->bytes + p->at;
        p->at += out_field->count;
        return LEAT_OK;
    }
    return fail_at(p, "a field of a kind that is not known", error);
}

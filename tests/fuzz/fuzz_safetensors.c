/*
 * fuzz_safetensors.c - any bytes as a shard. What must hold of a shard that is accepted: its tensors cover the data
 * exactly once, each is as long as its shape says, names are short and plain, every name is found again. A refused
 * shard leaves the table as it was, and the message names the file.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "format/safetensors.h"

const char *const fuzz_words[] = {
    "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}",
    "\"a\":",
    "\"b\":",
    ",",
    "\"dtype\":",
    "\"shape\":",
    "\"data_offsets\":",
    "\"__metadata__\":{\"format\":\"pt\"},",
    "\"F32\"",
    "\"BF16\"",
    "\"U8\"",
    "\"F4\"",
    "\"F6_E2M3\"",
    "[0,0]",
    "[4,8]",
    "[8,4]",
    "[]",
    "[0]",
    "[1099511627776]",
    "[1099511627777]",
    "[4294967296,4294967296]",
    "[1,1,1,1,1,1,1,1]",
    "\\u0007",
    "\\u009b",
    "    ",
    "}",
    "{",
    NULL,
};

static void check_accepted(tensor_index *index, uint64_t data_begin, uint64_t file_bytes)
{
    uint64_t covered = 0;
    for (uint64_t i = 0; i < index->count; i++) {
        const tensor *t = &index->tensors[i];
        uint64_t bits = dtype_bits(t->type);
        FUZZ_CHECK(t->rank <= TENSOR_RANK_MAX && strlen(t->name) <= TENSOR_NAME_BYTES_MAX);
        for (uint32_t d = 0; d < t->rank; d++) FUZZ_CHECK(size_mul(bits, t->dims[d], &bits));
        FUZZ_CHECK(bits % 8 == 0 && bits / 8 == t->bytes);
        FUZZ_CHECK(t->offset >= data_begin && t->offset <= file_bytes && t->bytes <= file_bytes - t->offset);
        covered += t->bytes;
        for (uint64_t k = 0; k < i; k++) { /* no byte twice; inputs are small */
            const tensor *other = &index->tensors[k];
            FUZZ_CHECK(t->offset >= other->offset + other->bytes || other->offset >= t->offset + t->bytes);
        }
        for (const char *at = t->name; *at != '\0'; at++) FUZZ_CHECK((unsigned char)*at >= 0x20 && *at != 0x7f);
    }
    FUZZ_CHECK(covered == file_bytes - data_begin);
    FUZZ_CHECK(tensor_index_finish(index, (const char *const[]){"fuzz.safetensors"}, NULL) == LEAT_OK);
    for (uint64_t i = 0; i < index->count; i++)
        FUZZ_CHECK(tensor_index_find(index, index->tensors[i].name) == &index->tensors[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    tensor_index index;
    leat_error error = {0};
    uint64_t header_bytes = 0;
    if (mem_open(64 << 20, &ledger, NULL) != LEAT_OK) return 0;
    tensor_index_init(&index, ledger);
    leat_status status = safetensors_header_bytes("fuzz.safetensors", count, bytes, &header_bytes, &error);
    if (status == LEAT_OK) {
        FUZZ_CHECK(header_bytes + 8 <= count);
        status = safetensors_parse(ledger, "fuzz.safetensors", 0, count, (const char *)bytes + 8, header_bytes, &index,
                                   &error);
    }
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL);
    if (status == LEAT_OK)
        check_accepted(&index, 8 + header_bytes, count);
    else
        FUZZ_CHECK(index.count == 0 && strstr(error.text, "fuzz.safetensors") != NULL);
    tensor_index_reset(&index);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}

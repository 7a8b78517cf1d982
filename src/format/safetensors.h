/*
 * safetensors.h - the header of one shard: bytes -> tensors. Source: the safetensors format specification; the rules
 * are those of docs/formats/safetensors.md, each with a damaged file under tests/.
 */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include "format/tensor_index.h"

enum { SAFETENSORS_HEADER_BYTES_MAX = 100000000 };

/* Rules 2 and 3: the length of the header from the file's first 8 bytes, checked against the file's size before
 * anything is allocated. */
MUST_CHECK leat_status safetensors_header_bytes(const char *file_name, uint64_t file_bytes, const uint8_t first[8],
                                                uint64_t *out_header_bytes, leat_error *error);

/* Adds every tensor of the header to `index`. `header` is the text after the first 8 bytes. */
MUST_CHECK leat_status safetensors_parse(mem *ledger, const char *file_name, uint32_t file_idx, uint64_t file_bytes,
                                         const char *header, uint64_t header_bytes, tensor_index *index,
                                         leat_error *error);

#endif

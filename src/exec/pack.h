/*
 * pack.h - writes a checkpoint anew so that every expert is one read: a folder of safetensors files that any reader of
 * one tensor per expert opens, the parts of each expert side by side (docs/formats/pack.md).
 *
 * Work goes on in FOLDER.unfinished, which is renamed to FOLDER when every byte has been compared with the source. A
 * pack that was stopped goes on at the file it was writing.
 */
#ifndef EXEC_PACK_H
#define EXEC_PACK_H

#include "exec/checkpoint.h"
#include "model/model_desc.h"

typedef struct pack_result {
    uint64_t bytes;         /* of the weight files */
    uint64_t kept_bytes;    /* of that: found from an earlier try */
    uint64_t padding_bytes; /* of that: between records */
    uint64_t record_count;
    uint32_t file_count;
} pack_result;

typedef struct pack_request {
    const checkpoint *source;
    const model_desc *model; /* built from it */
    const char *folder;
    uint64_t file_bytes; /* about the most a weight file has; 0: 2 GiB */
    checkpoint_progress *progress;
    void *user;
    const volatile int *cancel; /* may be NULL */
} pack_request;

/* LEAT_USAGE: the folder exists, or another pack's unfinished one does; LEAT_MODEL: nothing to pack, or damage found;
 * LEAT_IO: writing failed, what is finished is kept. */
MUST_CHECK leat_status pack_write(const pack_request *request, pack_result *out_result, leat_error *error);

#endif

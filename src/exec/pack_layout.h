/*
 * pack_layout.h - what a pack's weight files hold: every tensor in order, with the place in the source that it comes
 * from, and the files' headers. Known before a byte is written; the same source gives the same layout.
 *
 * Lifetimes: borrows the source and its model, owns the rest. Threads: one at a time; constant after
 * pack_layout_make.
 */
#ifndef EXEC_PACK_LAYOUT_H
#define EXEC_PACK_LAYOUT_H

#include "exec/checkpoint.h"
#include "exec/pack_manifest.h"
#include "model/model_desc.h"

enum {
    PACK_NAME_BYTES = 64,       /* of a weight file's name */
    PACK_BLOCK_BYTES = 4 << 20, /* what is copied or compared at once */
};

typedef struct pack_item {
    tensor what;          /* name, type and shape as written; place in the source */
    bool is_padding;      /* zeros */
    bool begins_span;     /* a checksum of its own begins: every tensor, every record as a whole */
    uint64_t data_offset; /* in the data of its file */
} pack_item;

typedef struct pack_shard {
    uint64_t first_item, end_item;
    char *header; /* with its length before it; the data begins at a multiple of PACK_ALIGN */
    uint64_t header_bytes, data_bytes;
} pack_shard;

typedef struct pack_layout {
    const checkpoint *source;
    const model_desc *model;
    mem *ledger;
    arena memory;
    tensor *by_place; /* (source's tensor count) sorted by file and offset */
    bool *is_expert;  /* beside it: a stack, or one expert's tensor */
    pack_item *items;
    uint64_t item_count, item_capacity;
    pack_shard *shards;
    uint32_t shard_count;
    uint64_t bytes; /* of all files */
    uint64_t padding_bytes, record_count;
} pack_layout;

void pack_layout_init(pack_layout *p, mem *ledger, const checkpoint *source, const model_desc *model);
void pack_layout_reset(pack_layout *p);
/* `file_bytes` as in pack_request. LEAT_MODEL: the model cannot be packed. To be reset also after a failure. */
MUST_CHECK leat_status pack_layout_make(pack_layout *p, uint64_t file_bytes, leat_error *error);
/* A digest of the source's files with their times, of where in them each item comes from, and of the headers. */
MUST_CHECK leat_status pack_layout_identify(const pack_layout *p, char out_text[PACK_DIGEST_TEXT], leat_error *error);
/* Whether by_place[idx] is neither an expert's nor the padding of an earlier pack. */
bool pack_layout_is_rest(const pack_layout *p, uint64_t idx);

void pack_shard_name(const pack_layout *p, uint32_t idx, char out[PACK_NAME_BYTES]);
static inline uint64_t pack_shard_bytes(const pack_shard *s) { return s->header_bytes + s->data_bytes; }

#endif

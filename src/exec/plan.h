/*
 * plan.h - how a budget is spent on a model: solved before any weight is read, from sizes alone.
 *
 *   budget = process + tokenizer + trunk + kv(ctx) + scratch(chunk) + io + expert cache + unspent
 *
 * process: code, C library, the open checkpoint, the sampler, thread stacks and small tables. The expert cache gets
 * what is left, at most every record; the floor gives it one set of experts. The trunk stays as far as the budget goes,
 * before any more experts do: all of it is needed for every token, an expert for few. What does not stay is read for
 * each step. Everything else is taken whole, so a budget below the floor is refused.
 *
 * Every term is the sum of mem_block_bytes over the blocks that its owner takes, as its owner says (kv_cache_bytes,
 * trunk_bytes, ..): what the ledger will count, to the byte. Only the tokenizer is an estimate, from the size of its
 * file. Two things are needed for a while only, before the caches are taken: the tokenizer's parser and the staging of
 * the trunk. The floor covers them where they need more than the caches do after them.
 */
#ifndef EXEC_PLAN_H
#define EXEC_PLAN_H

#include "cache/expert_cache.h"
#include "cache/kv_cache.h"
#include "exec/expert_records.h"
#include "model/model_desc.h"

enum {
    CTX_AUTO = 4096,
    CHUNK_AUTO_MAX = 512,
    CHUNK_AUTO_MIN = 16,
    READ_THREADS = 4,
    TOKENIZER_STACK_BYTES = 512 * 1024, /* of the thread that opens it; parsers keep their own stacks in the ledger */
    READ_QUEUE_DEPTH = 256, /* the weight ring's, a table's rows and some of the expert cache's, all at once */
};

/* Code, C library, allocator slack and the program's own tables of the command line on Debian 12
 * (docs/measurements/memory.md). */
#define PROCESS_BASE_BYTES (UINT64_C(6) << 20)

typedef struct plan_request {
    const model_desc *model;
    const file_set *files; /* opened in the mode that will be used: alignment costs memory */
    const expert_records *experts;
    storage_kind io_engine;                    /* resolved */
    uint64_t checkpoint_bytes;                 /* what the open checkpoint and the model's description hold */
    uint64_t tables_bytes;                     /* what the engine takes from MEM_META */
    uint64_t tokenizer_file_bytes;             /* 0: no tokenizer */
    uint64_t chat_template_bytes;              /* of source; 0: none */
    uint64_t tokenizer_bytes;                  /* what it takes, where it is open already; 0: estimate it */
    uint64_t budget_bytes;                     /* 0: auto */
    uint64_t spare_bytes;                      /* what the machine can give; bounds an automatic budget */
    uint32_t ctx, thread_count, prefill_chunk; /* 0: auto (thread_count is given) */
    cache_policy cache_policy;
    bool paces_look_ahead;
} plan_request;

typedef struct plan {
    uint64_t budget_bytes, floor_bytes, everything_bytes;
    uint64_t process_bytes, tokenizer_bytes, trunk_bytes, kv_bytes, scratch_bytes, io_bytes, expert_cache_bytes,
        unspent_bytes;
    uint32_t trunk_level;    /* what of the trunk stays (residency.h); the ring of the rest is part of trunk_bytes */
    uint64_t streamed_bytes; /* of the trunk: read for each step */
    uint32_t streamed_layer_count;
    bool head_is_streamed;
    bool tokenizer_fits_beside; /* there is room to parse it while the trunk is opened, before the caches are taken */
    uint64_t outside_bytes;     /* the part of process_bytes that is not in the engine's ledger */
    uint32_t ctx, thread_count, prefill_chunk;
    uint32_t expert_slot_count, expert_slot_max, expert_set_max;
    uint64_t expert_slot_bytes;  /* of the largest */
    uint32_t expert_class_count; /* sizes of slots */
    uint32_t direct_file_count;  /* of the files that it was made for; nothing depends on it (engine_plan fills it) */
} plan;

/* LEAT_BUDGET below the floor: the text names budget, floor and its parts, the hint the largest ctx that fits.
 * *out_plan is filled in that case too. */
MUST_CHECK leat_status plan_make(const plan_request *request, plan *out_plan, leat_error *error);

/* The shapes that plan and engine both open caches with. */
expert_cache_config plan_cache_config(const plan_request *request, uint32_t slot_count);
/* Fills (layer_count) shapes. */
void plan_kv_shapes(const model_desc *model, kv_layer_shape *out_shapes);

#endif

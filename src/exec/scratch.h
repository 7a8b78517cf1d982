/*
 * scratch.h - the working memory of a step: every buffer that the forward pass writes, cut once at open for the largest
 * step.
 *
 * T is the largest number of rows of a step, H the hidden size. Nothing here survives a step but `stream` and `logits`.
 */
#ifndef EXEC_SCRATCH_H
#define EXEC_SCRATCH_H

#include "cache/kv_cache.h"
#include "model/model_desc.h"

/* Query heads of one kv head that a task takes together: bounds its scores; 8 covers every released model's groups. */
enum { LOGIT_ROWS = 4, HEADS_PER_TASK_MAX = 8 };

typedef struct scratch {
    mem *ledger;
    void *block;
    uint32_t row_max;                                     /* T */
    float *stream;                                        /* (T, H) the residual stream */
    float *normed;                                        /* (T, H) a block's input */
    float *block_out;                                     /* (T, H) */
    float *branch_sum;                                    /* (T, H) */
    float *queries;                                       /* (T, heads * head_dim), the widest layer */
    float *keys, *values;                                 /* (T, kv_heads * head_dim) before they enter the cache */
    float *attended;                                      /* (T, heads * head_dim) */
    float *scores;                                        /* (threads, HEADS_PER_TASK_MAX, KV_BLOCK) */
    float *partial;                                       /* (threads, partial_stride) one block's weighted values */
    uint32_t partial_stride;                              /* the largest head_dim */
    float *cosines, *sines;                               /* (ropes, rows of the step, rope_stride) */
    uint32_t rope_stride;                                 /* the most pairs that turn in one rope */
    float *gate, *up;                                     /* (T, width) of the widest dense feed-forward */
    float *layer_input;                                   /* (T, layers * width) Gemma's per-layer inputs */
    float *layer_table;                                   /* (T, layers * width) rows of their embedding table */
    float *layer_gate;                                    /* (T, width) */
    float *router_in;                                     /* (T, H) */
    float *router_logits;                                 /* (T, experts) */
    uint32_t *chosen;                                     /* (T, used) expert ids by falling weight */
    float *chosen_weights;                                /* (T, used) */
    uint32_t *sweep_experts, *sweep_rows, *sweep_is_held; /* (experts) the order in which a step's are visited */
    uint32_t *expert_votes;         /* (experts) how many rows will probably choose each in the next layer */
    float *expert_in;               /* (T, H) rows gathered for one expert */
    float *expert_gate, *expert_up; /* (used, width) for one row; (T, width) for many: max(T, used) rows */
    float *expert_down;             /* (T, H) */
    float *expert_out;              /* (T, used, H) */
    uint32_t *expert_rows;          /* (experts + 1) then (T * used): rows sorted by expert */
    float *final_normed;            /* (LOGIT_ROWS, H) */
    float *logits;                  /* (LOGIT_ROWS, vocab) */
} scratch;

uint64_t scratch_bytes(const model_desc *model, uint32_t row_max, uint32_t thread_count);
MUST_CHECK leat_status scratch_open(mem *ledger, const model_desc *model, uint32_t row_max, uint32_t thread_count,
                                    scratch *out_scratch, leat_error *error);
void scratch_close(scratch *s);

#endif

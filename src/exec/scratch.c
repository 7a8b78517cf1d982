#include "exec/scratch.h"

#include "base/bytes.h"

#include <assert.h>

/* The widest that any layer needs. */
enum { BLOCK_ALIGN = 64 };

typedef struct extremes {
    uint64_t q_width, kv_width, head_dim, ffn_width, moe_width, rope_pairs;
} extremes;

static void raise_to(uint64_t *most, uint64_t value)
{
    if (value > *most) *most = value;
}

static extremes find_extremes(const model_desc *m)
{
    extremes x = {0};

    for (uint32_t i = 0; i < m->layer_count; i++) {
        const block *a = layer_block(&m->layers[i], BLOCK_ATTENTION), *f = layer_block(&m->layers[i], BLOCK_FFN),
                    *e = layer_block(&m->layers[i], BLOCK_MOE);
        if (a) {
            raise_to(&x.q_width, (uint64_t)a->attention.head_count * a->attention.head_dim);
            raise_to(&x.kv_width, (uint64_t)a->attention.kv_head_count * a->attention.head_dim);
            raise_to(&x.head_dim, a->attention.head_dim);
        }
        if (f) raise_to(&x.ffn_width, f->ffn.width);
        if (e) raise_to(&x.moe_width, e->moe.width);
    }
    for (uint32_t i = 0; i < m->rope_count; i++) raise_to(&x.rope_pairs, m->ropes[i].rotated_dims / 2);
    return x;
}

/* Run once with base NULL to measure and once to cut: the same lines do both, so that they cannot disagree. */
typedef struct cutter {
    uint8_t *base;
    uint64_t used;
} cutter;

static void *cut(cutter *c, uint64_t count)
{
    void *here = c->base ? c->base + c->used : NULL;
    c->used += round_up(count * 4, BLOCK_ALIGN); /* every buffer holds 4-byte elements */
    return here;
}

static void cut_all(cutter *c, const model_desc *m, uint32_t rows, uint32_t thread_count, scratch *s)
{
    const extremes x = find_extremes(m);
    const uint64_t t = rows, h = m->hidden_size, used = m->expert_used_count, experts = m->expert_count;
    const uint64_t expert_rows = max_u64(t, used);

    s->stream = cut(c, t * h);
    s->normed = cut(c, t * h);
    s->block_out = cut(c, t * h);
    s->branch_sum = cut(c, t * h);
    s->queries = cut(c, t * x.q_width);
    s->keys = cut(c, t * x.kv_width);
    s->values = cut(c, t * x.kv_width);
    s->attended = cut(c, t * x.q_width);
    s->scores = cut(c, (uint64_t)thread_count * HEADS_PER_TASK_MAX * KV_BLOCK);
    s->partial_stride = (uint32_t)x.head_dim;
    s->rope_stride = (uint32_t)x.rope_pairs;
    s->partial = cut(c, thread_count * x.head_dim);
    s->cosines = cut(c, m->rope_count * t * x.rope_pairs);
    s->sines = cut(c, m->rope_count * t * x.rope_pairs);
    s->gate = cut(c, t * x.ffn_width);
    s->up = cut(c, t * x.ffn_width);
    s->layer_input = cut(c, t * m->layer_count * m->inputs.width);
    s->layer_table = cut(c, t * m->layer_count * m->inputs.width);
    s->layer_gate = cut(c, t * m->inputs.width);
    s->final_normed = cut(c, LOGIT_ROWS * h);
    s->logits = cut(c, (uint64_t)LOGIT_ROWS * m->vocab_size);
    if (!experts) return;

    s->router_in = cut(c, t * h);
    s->router_logits = cut(c, t * experts);
    s->chosen = cut(c, t * used);
    s->chosen_weights = cut(c, t * used);
    s->sweep_experts = cut(c, experts);
    s->sweep_rows = cut(c, experts);
    s->sweep_is_held = cut(c, experts);
    s->expert_votes = cut(c, experts);
    s->expert_in = cut(c, t * h);
    s->expert_gate = cut(c, expert_rows * x.moe_width);
    s->expert_up = cut(c, expert_rows * x.moe_width);
    s->expert_down = cut(c, t * h);
    s->expert_out = cut(c, t * used * h);
    s->expert_rows = cut(c, experts + 1 + t * used);
}

static uint64_t block_bytes(const model_desc *model, uint32_t row_max, uint32_t thread_count)
{
    cutter measure = {0};
    scratch unused = {0};

    cut_all(&measure, model, row_max, thread_count, &unused);
    return measure.used;
}

uint64_t scratch_bytes(const model_desc *model, uint32_t row_max, uint32_t thread_count)
{
    return mem_block_bytes(block_bytes(model, row_max, thread_count), BLOCK_ALIGN);
}

leat_status scratch_open(mem *ledger, const model_desc *model, uint32_t row_max, uint32_t thread_count,
                         scratch *out_scratch, leat_error *error)
{
    const uint64_t bytes = block_bytes(model, row_max, thread_count);
    scratch s = {.ledger = ledger, .row_max = row_max};

    TRY(mem_alloc(ledger, MEM_SCRATCH, bytes, 1, BLOCK_ALIGN, "working memory of a step", &s.block, error));
    cutter c = {.base = s.block};
    cut_all(&c, model, row_max, thread_count, &s);
    assert(c.used == bytes);
    *out_scratch = s;
    return LEAT_OK;
}

void scratch_close(scratch *s)
{
    if (s->block) mem_free(s->ledger, s->block);
    *s = (scratch){0};
}

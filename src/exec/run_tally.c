#include "exec/run_tally.h"

#include "base/bytes.h"

#include <assert.h>

static uint64_t sample_ids(const model_desc *m)
{
    return (uint64_t)ROUTE_SAMPLE_TOKENS * m->moe_layer_count * m->expert_used_count;
}

static bool has_sample(const model_desc *m)
{
    return m->moe_layer_count > 0 && m->expert_count <= ROUTE_SAMPLE_EXPERTS;
}

uint64_t run_tally_bytes(const model_desc *m)
{
    uint64_t sum = mem_block_bytes(sizeof(run_tally), 0);
    if (has_sample(m))
        sum += mem_block_bytes((uint64_t)m->moe_layer_count * m->expert_count * sizeof(uint32_t), 0) +
               mem_block_bytes(sample_ids(m) * sizeof(uint16_t), 0);
    return sum;
}

leat_status run_tally_open(mem *ledger, const model_desc *m, run_tally **out_tally, leat_error *error)
{
    leat_status status = LEAT_OK;
    run_tally *t;

    TRY(mem_alloc(ledger, MEM_META, 1, sizeof *t, 0, "tally of a run", (void **)&t, error));
    t->ledger = ledger;
    if (has_sample(m)) {
        t->layer_count = m->moe_layer_count;
        t->expert_count = m->expert_count;
        t->used_count = m->expert_used_count;
        TRY_OR(fail, mem_alloc(ledger, MEM_META, (uint64_t)t->layer_count * t->expert_count, sizeof *t->uses, 0,
                               "uses of experts", (void **)&t->uses, error));
        TRY_OR(fail, mem_alloc(ledger, MEM_META, sample_ids(m), sizeof *t->sample, 0, "sample of the routing",
                               (void **)&t->sample, error));
    }
    *out_tally = t;
    return LEAT_OK;
fail:
    run_tally_close(&t);
    return status;
}

void run_tally_close(run_tally **tally)
{
    run_tally *t = *tally;

    if (!t) return;
    mem_free(t->ledger, t->sample);
    mem_free(t->ledger, t->uses);
    mem_free(t->ledger, t);
    *tally = NULL;
}

void run_tally_begin(run_tally *t, uint32_t row_count, const run_counters *now)
{
    t->before = *now;
    t->row_count = row_count;
}

static uint16_t *place_of(const run_tally *t, uint32_t token_idx)
{
    return t->sample + (uint64_t)(token_idx % ROUTE_SAMPLE_TOKENS) * t->layer_count * t->used_count;
}

/* The row of the running token is written where the oldest lies; it counts when the step ends. */
void run_tally_route(run_tally *t, uint32_t moe_idx, const uint32_t *experts, uint32_t count)
{
    if (moe_idx >= t->layer_count || count != t->used_count) return;
    uint16_t *row = place_of(t, t->sampled_count) + (uint64_t)moe_idx * t->used_count;
    for (uint32_t i = 0; i < count; i++) {
        t->uses[moe_idx * t->expert_count + experts[i]]++;
        if (t->row_count == 1) row[i] = (uint16_t)experts[i];
    }
}

void run_tally_end(run_tally *t, const run_counters *now)
{
    phase_tally *p = t->row_count == 1 ? &t->decode : &t->prefill;
    const run_counters *was = &t->before;

    p->step_count++;
    p->token_count += t->row_count;
    p->spent.compute_ns += now->compute_ns - was->compute_ns;
    p->spent.expert_wait_ns += now->expert_wait_ns - was->expert_wait_ns;
    p->spent.stream_wait_ns += now->stream_wait_ns - was->stream_wait_ns;
    p->spent.read_busy_ns += now->read_busy_ns - was->read_busy_ns;
    p->spent.read_bytes += now->read_bytes - was->read_bytes;
    p->spent.miss_count += now->miss_count - was->miss_count;
    if (t->layer_count && t->row_count == 1) t->sampled_count++;
}

/* One place of the ring belongs to the running token, which may have failed half way. */
uint32_t run_tally_kept(const run_tally *t) { return (uint32_t)min_u64(t->sampled_count, ROUTE_SAMPLE_TOKENS - 1); }

const uint16_t *run_tally_token(const run_tally *t, uint32_t idx)
{
    assert(idx < run_tally_kept(t));
    return place_of(t, t->sampled_count - run_tally_kept(t) + idx);
}

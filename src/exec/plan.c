#include "exec/plan.h"

#include "base/bytes.h"
#include "exec/row_reader.h"
#include "exec/sampler.h"
#include "exec/scratch.h"
#include "exec/session.h"
#include "exec/trunk.h"

#include <stdio.h>

/* What a tokenizer keeps, and needs while it is parsed. Measured 0.63 and 1.86 times tokenizer.json at Gemma's size,
 * about 0.4 and 0.5 MiB more for small ones (docs/measurements/memory.md). */
static uint64_t tokenizer_kept(uint64_t file_bytes) { return file_bytes ? file_bytes / 4 * 3 + 512 * 1024 : 0; }
static uint64_t tokenizer_peak(uint64_t file_bytes) { return file_bytes ? file_bytes / 4 * 9 + 640 * 1024 : 0; }

/* While a text of about ctx tokens is encoded: tables of fixed size, and 12 bytes a token for most texts, up to 200 for
 * long runs of one character. */
static uint64_t encoding_bytes(uint32_t ctx) { return 256 * 1024 + ctx * UINT64_C(96); }

static uint64_t io_bytes(const plan_request *r)
{
    uint64_t sum = storage_threads_bytes(READ_THREADS, READ_QUEUE_DEPTH);

    for (uint32_t i = 0; i < r->model->weight_count; i++)
        if (r->model->places[i] == WEIGHT_ROWS) sum += row_reader_bytes(&r->model->weights[i], r->files);
    return sum;
}

void plan_kv_shapes(const model_desc *model, kv_layer_shape *out_shapes)
{
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const block *b = layer_block(&model->layers[i], BLOCK_ATTENTION);
        out_shapes[i] = (kv_layer_shape){0};
        if (b && b->attention.owns_kv)
            out_shapes[i] = (kv_layer_shape){b->attention.kv_head_count, b->attention.head_dim, b->attention.window};
    }
}

static uint64_t kv_bytes(const plan_request *r, uint32_t ctx, uint32_t chunk)
{
    kv_layer_shape shapes[LAYERS_MAX];

    plan_kv_shapes(r->model, shapes);
    return kv_cache_bytes(shapes, r->model->layer_count, ctx, chunk) + session_bytes(ctx, chunk);
}

expert_cache_config plan_cache_config(const plan_request *r, uint32_t slot_count)
{
    const expert_records *e = r->experts;
    expert_cache_config config = {.layer_count = e->layer_count,
                                  .expert_count = e->expert_count,
                                  .records = e->records,
                                  .slot_count = slot_count,
                                  .set_max = e->set_count};
    /* A prefill chunk asks for as many experts at once as a layer's share of the slots holds. */
    if (e->layer_count && slot_count / e->layer_count > config.set_max)
        config.set_max = (uint32_t)min_u64(min_u64(slot_count / e->layer_count, e->expert_count), EXPERT_SET_MAX);
    return config;
}

static uint64_t cache_bytes(const plan_request *r, uint32_t slot_count)
{
    const expert_cache_config config = plan_cache_config(r, slot_count);
    return slot_count ? expert_cache_bytes(&config, r->files) : 0;
}

static uint32_t most_slots(const plan_request *r) { return r->experts->layer_count * r->experts->expert_count; }

/* The most slots whose cache fits `bytes`. */
static uint32_t slots_within(const plan_request *r, uint64_t bytes, uint32_t most)
{
    uint32_t low = 0, high = most;

    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (cache_bytes(r, middle) <= bytes)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Everything but the expert cache, for one ctx and chunk. */
static uint64_t fixed_bytes(const plan_request *r, uint32_t ctx, uint32_t chunk, plan *p)
{
    p->outside_bytes = PROCESS_BASE_BYTES + r->checkpoint_bytes + sampler_bytes_max(r->model->vocab_size);
    p->process_bytes = p->outside_bytes + r->tables_bytes;
    p->tokenizer_bytes = max_u64(tokenizer_kept(r->tokenizer_file_bytes), r->tokenizer_bytes);
    if (p->tokenizer_bytes) p->tokenizer_bytes += encoding_bytes(ctx);
    p->trunk_bytes = trunk_bytes(r->model, r->files);
    p->kv_bytes = kv_bytes(r, ctx, chunk);
    p->scratch_bytes = scratch_bytes(r->model, chunk, r->thread_count);
    p->io_bytes = io_bytes(r);
    return p->process_bytes + p->tokenizer_bytes + p->trunk_bytes + p->kv_bytes + p->scratch_bytes + p->io_bytes;
}

/* The most that is taken at once before the caches are: while the tokenizer is parsed, while the trunk is read. */
static uint64_t opening_bytes(const plan_request *r, const plan *p)
{
    return max_u64(p->process_bytes + tokenizer_peak(r->tokenizer_file_bytes), p->process_bytes + p->tokenizer_bytes +
                                                                                   p->trunk_bytes + p->io_bytes +
                                                                                   trunk_staging_bytes(r->files));
}

/* The least budget that opens with so many slots. */
static uint64_t needed_bytes(const plan_request *r, uint32_t ctx, uint32_t chunk, uint32_t slot_count)
{
    plan p;
    const uint64_t running = fixed_bytes(r, ctx, chunk, &p) + cache_bytes(r, slot_count);

    return max_u64(running, opening_bytes(r, &p));
}

static uint64_t floor_for(const plan_request *r, uint32_t ctx, uint32_t chunk)
{
    return needed_bytes(r, ctx, chunk, r->experts->set_count);
}

/* The largest chunk whose working memory takes at most an eighth of the budget, or leaves room for all experts; its
 * size never changes a result. */
static uint32_t choose_chunk(const plan_request *r, uint32_t ctx, uint64_t budget)
{
    for (uint32_t chunk = CHUNK_AUTO_MAX; chunk > CHUNK_AUTO_MIN; chunk /= 2) {
        if (needed_bytes(r, ctx, chunk, most_slots(r)) <= budget) return chunk;
        if (floor_for(r, ctx, chunk) <= budget && scratch_bytes(r->model, chunk, r->thread_count) <= budget / 8)
            return chunk;
    }
    return CHUNK_AUTO_MIN;
}

static uint32_t largest_ctx(const plan_request *r, uint32_t chunk, uint64_t budget)
{
    uint32_t low = 0, high = r->model->context_max;

    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (floor_for(r, middle, chunk) <= budget)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static leat_status fail_below_floor(const plan_request *r, const plan *p, leat_error *error)
{
    const double mib = 1048576.0;
    const uint32_t fits = largest_ctx(r, p->prefill_chunk, p->budget_bytes);
    const leat_status status =
        FAIL(error, BUDGET,
             "the budget is %.1f MiB, the model's floor is %.1f MiB (%llu bytes) = trunk %.1f + kv %.1f (ctx %u) + "
             "scratch %.1f "
             "(chunk %u) + io %.1f + tokenizer %.1f + process %.1f + one set of experts %.1f MiB",
             p->budget_bytes / mib, p->floor_bytes / mib, (unsigned long long)p->floor_bytes, p->trunk_bytes / mib,
             p->kv_bytes / mib, p->ctx, p->scratch_bytes / mib, p->prefill_chunk, p->io_bytes / mib,
             p->tokenizer_bytes / mib, p->process_bytes / mib, cache_bytes(r, r->experts->set_count) / mib);

    if (fits)
        status_hint(error, "the largest context that fits this budget is --ctx %u", fits);
    else
        status_hint(error, "no context fits this budget; give at least --ram %llu",
                    (unsigned long long)floor_for(r, 1, p->prefill_chunk));
    return status;
}

static void spend_rest_on_experts(const plan_request *r, uint64_t left, plan *p)
{
    p->expert_slot_count = slots_within(r, left, p->expert_slot_max);
    const expert_cache_config config = plan_cache_config(r, p->expert_slot_count);
    p->expert_set_max = config.set_max;
    p->expert_slot_bytes = expert_cache_slot_bytes(&config, r->files);
    p->expert_cache_bytes = cache_bytes(r, p->expert_slot_count);
    p->unspent_bytes = left - p->expert_cache_bytes;
}

leat_status plan_make(const plan_request *r, plan *out_plan, leat_error *error)
{
    plan p = {.thread_count = r->thread_count};

    p.ctx = r->ctx ? r->ctx : (uint32_t)min_u64(CTX_AUTO, r->model->context_max);
    const uint32_t largest_chunk = (uint32_t)min_u64(p.ctx, r->prefill_chunk ? r->prefill_chunk : CHUNK_AUTO_MAX);
    p.expert_slot_max = most_slots(r);
    p.everything_bytes = needed_bytes(r, p.ctx, largest_chunk, p.expert_slot_max);
    p.budget_bytes = r->budget_bytes ? r->budget_bytes : min_u64(p.everything_bytes, r->spare_bytes);
    p.prefill_chunk =
        (uint32_t)min_u64(p.ctx, r->prefill_chunk ? r->prefill_chunk : choose_chunk(r, p.ctx, p.budget_bytes));

    const uint64_t fixed = fixed_bytes(r, p.ctx, p.prefill_chunk, &p);
    p.floor_bytes = floor_for(r, p.ctx, r->prefill_chunk ? p.prefill_chunk : (uint32_t)min_u64(p.ctx, CHUNK_AUTO_MIN));
    *out_plan = p;
    if (p.budget_bytes < p.floor_bytes) return fail_below_floor(r, &p, error);
    spend_rest_on_experts(r, p.budget_bytes - fixed, &p);
    *out_plan = p;
    return LEAT_OK;
}

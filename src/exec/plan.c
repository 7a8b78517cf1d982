#include "exec/plan.h"

#include "base/bytes.h"
#include "cache/expert_classes.h"
#include "exec/row_reader.h"
#include "exec/sampler.h"
#include "exec/scratch.h"
#include "exec/session.h"
#include "exec/weight_ring.h"
#include "os/own_thread.h"
#include "text/jinja/jinja.h"

#include <stdio.h>

/* What a tokenizer keeps, and needs while it is parsed. Measured 0.63 and 1.86 times tokenizer.json at Gemma's size,
 * about 0.4 and 0.5 MiB more for small ones (docs/measurements/memory.md). */
static uint64_t tokenizer_kept(uint64_t file_bytes) { return file_bytes ? file_bytes / 4 * 3 + 512 * 1024 : 0; }
static uint64_t tokenizer_peak(uint64_t file_bytes) { return file_bytes ? file_bytes / 4 * 9 + 640 * 1024 : 0; }

/* While a text of about ctx tokens is encoded: tables of at most 400 KiB (of pairs and of words), and 12 bytes a token
 * for most texts, up to 200 for long runs of one character. */
static uint64_t encoding_bytes(uint32_t ctx) { return 512 * 1024 + ctx * UINT64_C(96); }

/* A chat template, its text and compiled, and the control tokens beside it; then what a rendering takes whatever its
 * length. */
static uint64_t chat_bytes(uint64_t template_bytes)
{
    return template_bytes + jinja_open_bytes(template_bytes) + 64 * 1024;
}

/* What does not depend on context, chunk and slots, for each level of the trunk. */
typedef struct trunk_choice {
    uint64_t stays, ring; /* bytes of the block, of the ring beside it */
    uint64_t rows;        /* of the readers of single rows */
} trunk_choice;

typedef struct solver {
    const plan_request *r;
    uint32_t level_max;
    trunk_choice trunk[LAYERS_MAX + 2]; /* (level_max + 1) */
} solver;

static uint64_t row_readers_bytes(const plan_request *r, uint32_t level)
{
    const model_desc *m = r->model;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < m->weight_count; i++)
        if (m->places[i] == WEIGHT_ROWS || (i == m->embedding && trunk_reads_embedding_rows(m, level)))
            sum += row_reader_bytes(&m->weights[i], r->files);
    return sum;
}

static void solver_init(solver *v, const plan_request *r)
{
    v->r = r;
    v->level_max = residency_level_max(r->model);
    for (uint32_t level = 0; level <= v->level_max; level++)
        v->trunk[level] = (trunk_choice){trunk_bytes(r->model, r->files, level),
                                         weight_ring_bytes(r->model, r->files, level), row_readers_bytes(r, level)};
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
    const expert_cache_config config = {.layer_count = e->layer_count,
                                        .expert_count = e->expert_count,
                                        .records = e->records,
                                        .slot_count = slot_count,
                                        .set_max = e->set_count,
                                        .policy = r->cache_policy};
    return config;
}

static uint64_t cache_bytes(const plan_request *r, uint32_t slot_count)
{
    const expert_cache_config config = plan_cache_config(r, slot_count);
    return slot_count ? expert_cache_bytes(&config, r->files) : 0;
}

static uint32_t most_slots(const plan_request *r) { return r->experts->layer_count * r->experts->expert_count; }

/* The most slots whose cache fits `bytes`, of `low` and more, which fit, up to `high`. */
static uint32_t slots_between(const plan_request *r, uint64_t bytes, uint32_t low, uint32_t high)
{
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (cache_bytes(r, middle) <= bytes)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* From a set for every layer on, slots may have the sizes of their layers, and more of them need less. */
static uint32_t slots_within(const plan_request *r, uint64_t bytes, uint32_t most)
{
    const uint32_t sets = r->experts->layer_count * r->experts->set_count;

    if (sets > 0 && sets <= most && cache_bytes(r, sets) <= bytes) return slots_between(r, bytes, sets, most);
    return slots_between(r, bytes, 0, most < sets || sets == 0 ? most : sets - 1);
}

/* Everything but the expert cache, for one ctx, chunk and level. */
static uint64_t fixed_bytes(const solver *v, uint32_t ctx, uint32_t chunk, uint32_t level, plan *p)
{
    const plan_request *r = v->r;

    p->trunk_level = level;
    p->outside_bytes = PROCESS_BASE_BYTES + r->checkpoint_bytes + sampler_bytes_max(r->model->vocab_size);
    p->process_bytes = p->outside_bytes + r->tables_bytes;
    p->tokenizer_bytes = max_u64(tokenizer_kept(r->tokenizer_file_bytes), r->tokenizer_bytes);
    if (p->tokenizer_bytes) p->tokenizer_bytes += encoding_bytes(ctx) + chat_bytes(r->chat_template_bytes);
    p->trunk_bytes = v->trunk[level].stays + v->trunk[level].ring;
    p->kv_bytes = kv_bytes(r, ctx, chunk);
    p->scratch_bytes = scratch_bytes(r->model, chunk, r->thread_count);
    p->io_bytes = storage_bytes(r->io_engine, READ_THREADS, READ_QUEUE_DEPTH) + v->trunk[level].rows;
    if (r->paces_look_ahead && r->experts->layer_count) p->io_bytes += pacing_bytes(r->experts->layer_count);
    return p->process_bytes + p->tokenizer_bytes + p->trunk_bytes + p->kv_bytes + p->scratch_bytes + p->io_bytes;
}

/* The most that is taken at once before the caches are: while the tokenizer is parsed, while the trunk is read. */
static uint64_t opening_bytes(const solver *v, const plan *p)
{
    const plan_request *r = v->r;
    const uint64_t loading = p->process_bytes + p->tokenizer_bytes + v->trunk[p->trunk_level].stays + p->io_bytes +
                             trunk_staging_bytes(r->files);

    return max_u64(p->process_bytes + tokenizer_peak(r->tokenizer_file_bytes), loading);
}

/* Both of them at once. */
static uint64_t opening_beside_bytes(const solver *v, const plan *p)
{
    const plan_request *r = v->r;

    return p->process_bytes + own_thread_bytes(TOKENIZER_STACK_BYTES) + tokenizer_peak(r->tokenizer_file_bytes) +
           p->trunk_bytes + p->io_bytes + trunk_staging_bytes(r->files);
}

/* The least budget that opens with this level and so many slots. */
static uint64_t needed_bytes(const solver *v, uint32_t ctx, uint32_t chunk, uint32_t level, uint32_t slot_count)
{
    plan p;
    const uint64_t running = fixed_bytes(v, ctx, chunk, level, &p) + cache_bytes(v->r, slot_count);

    return max_u64(running, opening_bytes(v, &p));
}

/* The level that needs least is not always 0: a ring costs two layers. The terms of ctx and chunk are the same for all.
 */
static uint32_t least_level(const solver *v)
{
    uint32_t best = v->level_max;
    uint64_t least = UINT64_MAX;

    for (uint32_t level = v->level_max + 1; level-- > 0;) {
        const uint64_t bytes = v->trunk[level].stays + v->trunk[level].ring + v->trunk[level].rows;
        if (bytes >= least) continue;
        least = bytes;
        best = level;
    }
    return best;
}

static uint64_t floor_for(const solver *v, uint32_t ctx, uint32_t chunk)
{
    return needed_bytes(v, ctx, chunk, least_level(v), v->r->experts->set_count);
}

/* The largest chunk whose working memory takes at most an eighth of the budget, or leaves room for all experts; its
 * size never changes a result. */
static uint32_t choose_chunk(const solver *v, uint32_t ctx, uint64_t budget)
{
    for (uint32_t chunk = CHUNK_AUTO_MAX; chunk > CHUNK_AUTO_MIN; chunk /= 2) {
        if (needed_bytes(v, ctx, chunk, v->level_max, most_slots(v->r)) <= budget) return chunk;
        if (floor_for(v, ctx, chunk) <= budget && scratch_bytes(v->r->model, chunk, v->r->thread_count) <= budget / 8)
            return chunk;
    }
    return CHUNK_AUTO_MIN;
}

/* As much of the trunk as the budget keeps beside one set of experts. */
static uint32_t choose_level(const solver *v, uint32_t ctx, uint32_t chunk, uint64_t budget)
{
    uint32_t level = v->level_max;
    while (level > 0 && needed_bytes(v, ctx, chunk, level, v->r->experts->set_count) > budget) level--;
    return needed_bytes(v, ctx, chunk, level, v->r->experts->set_count) > budget ? least_level(v) : level;
}

static uint32_t largest_ctx(const solver *v, uint32_t chunk, uint64_t budget)
{
    uint32_t low = 0, high = v->r->model->context_max;

    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (floor_for(v, middle, chunk) <= budget)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static leat_status fail_below_floor(const solver *v, const plan *p, leat_error *error)
{
    const double mib = 1048576.0;
    const uint32_t fits = largest_ctx(v, p->prefill_chunk, p->budget_bytes);
    const leat_status status =
        FAIL(error, BUDGET,
             "the budget is %.1f MiB, the model's floor is %.1f MiB (%llu bytes) = trunk %.1f + kv %.1f (ctx %u) + "
             "scratch %.1f "
             "(chunk %u) + io %.1f + tokenizer %.1f + process %.1f + one set of experts %.1f MiB",
             p->budget_bytes / mib, p->floor_bytes / mib, (unsigned long long)p->floor_bytes, p->trunk_bytes / mib,
             p->kv_bytes / mib, p->ctx, p->scratch_bytes / mib, p->prefill_chunk, p->io_bytes / mib,
             p->tokenizer_bytes / mib, p->process_bytes / mib, cache_bytes(v->r, v->r->experts->set_count) / mib);

    if (fits)
        status_hint(error, "the largest context that fits this budget is --ctx %u", fits);
    else
        status_hint(error, "no context fits this budget; give at least --ram %llu",
                    (unsigned long long)floor_for(v, 1, p->prefill_chunk));
    return status;
}

static uint32_t count_classes(const expert_cache_config *config)
{
    expert_classes classes;
    if (config->layer_count == 0) return 0;
    expert_classes_find(config, &classes);
    return classes.count;
}

static void spend_rest_on_experts(const plan_request *r, uint64_t left, plan *p)
{
    p->expert_slot_count = slots_within(r, left, p->expert_slot_max);
    const expert_cache_config config = plan_cache_config(r, p->expert_slot_count);
    p->expert_set_max = config.set_max;
    p->expert_slot_bytes = expert_cache_slot_bytes(&config, r->files);
    p->expert_class_count = count_classes(&config);
    p->expert_cache_bytes = cache_bytes(r, p->expert_slot_count);
    p->unspent_bytes = left - p->expert_cache_bytes;
}

leat_status plan_make(const plan_request *r, plan *out_plan, leat_error *error)
{
    plan p = {.thread_count = r->thread_count};
    solver v;

    solver_init(&v, r);
    p.ctx = r->ctx ? r->ctx : (uint32_t)min_u64(CTX_AUTO, r->model->context_max);
    const uint32_t largest_chunk = (uint32_t)min_u64(p.ctx, r->prefill_chunk ? r->prefill_chunk : CHUNK_AUTO_MAX);
    p.expert_slot_max = most_slots(r);
    p.everything_bytes = needed_bytes(&v, p.ctx, largest_chunk, v.level_max, p.expert_slot_max);
    p.budget_bytes = r->budget_bytes ? r->budget_bytes : min_u64(p.everything_bytes, r->spare_bytes);
    p.prefill_chunk =
        (uint32_t)min_u64(p.ctx, r->prefill_chunk ? r->prefill_chunk : choose_chunk(&v, p.ctx, p.budget_bytes));
    p.floor_bytes = floor_for(&v, p.ctx, r->prefill_chunk ? p.prefill_chunk : (uint32_t)min_u64(p.ctx, CHUNK_AUTO_MIN));

    const uint32_t level = choose_level(&v, p.ctx, p.prefill_chunk, p.budget_bytes);
    const uint64_t fixed = fixed_bytes(&v, p.ctx, p.prefill_chunk, level, &p);
    p.streamed_bytes = residency_streamed_bytes(r->model, level);
    p.streamed_layer_count = residency_streamed_layers(r->model, level);
    p.head_is_streamed = !residency_keeps_head(r->model, level);
    p.tokenizer_fits_beside = opening_beside_bytes(&v, &p) <= p.budget_bytes;
    *out_plan = p;
    if (p.budget_bytes < p.floor_bytes) return fail_below_floor(&v, &p, error);
    spend_rest_on_experts(r, p.budget_bytes - fixed, &p);
    *out_plan = p;
    return LEAT_OK;
}

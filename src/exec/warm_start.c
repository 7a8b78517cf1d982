#include "exec/warm_start.h"

#include "base/bytes.h"
#include "base/log.h"
#include "os/own_thread.h"

#include <stdatomic.h>

enum { STACK_BYTES = 64 * 1024, WINDOW = 4, TOKENS_MAX = 4096 };

struct warm_start {
    mem *ledger;
    expert_cache *cache;
    own_thread thread;
    atomic_bool is_stopping, is_over;
    uint32_t layer_count, expert_count, token_count;
    uint32_t *experts, *rows; /* (layer_count, expert_count) of each layer the counts[layer] best, the best first */
    uint32_t *counts;         /* (layer_count) */
};

uint64_t warm_start_bytes(uint32_t layer_count, uint32_t expert_count)
{
    const uint64_t lists = (uint64_t)layer_count * expert_count;
    return mem_block_bytes(sizeof(warm_start), 0) + mem_block_bytes((2 * lists + layer_count) * sizeof(uint32_t), 0) +
           own_thread_bytes(STACK_BYTES);
}

/* The `most` experts of a layer that were used most, among equals the lower id first. */
static uint32_t choose_best(const double *uses, uint32_t expert_count, uint32_t most, uint32_t *out_experts)
{
    uint32_t count = 0;

    for (uint32_t e = 0; e < expert_count; e++) {
        if (uses[e] <= 0) continue;
        uint32_t at = count;
        for (; at > 0 && uses[e] > uses[out_experts[at - 1]]; at--)
            if (at < most) out_experts[at] = out_experts[at - 1];
        if (at == most) continue;
        out_experts[at] = e;
        if (count < most) count++;
    }
    return count;
}

static void choose_all(warm_start *w, const double *uses, uint32_t slot_count)
{
    const uint32_t share = (uint32_t)min_u64(slot_count / w->layer_count, w->expert_count);

    for (uint32_t layer = 0; layer < w->layer_count; layer++) {
        const uint64_t begin = (uint64_t)layer * w->expert_count;
        w->counts[layer] = choose_best(uses + begin, w->expert_count, share, w->experts + begin);
        for (uint32_t i = 0; i < w->counts[layer]; i++)
            w->rows[begin + i] = (uint32_t)(uses[begin + w->experts[begin + i]] + 0.5);
    }
}

/* One layer; what fails is left to who needs it. */
static bool fill_layer(warm_start *w, uint32_t layer)
{
    const uint64_t begin = (uint64_t)layer * w->expert_count;
    leat_status status = LEAT_OK;
    leat_error error;
    const expert_ref *ref;
    expert_sweep sweep;

    expert_cache_sweep_begin(w->cache, layer, w->experts + begin, w->rows + begin, w->counts[layer], w->token_count,
                             &sweep);
    sweep.class = READ_BACKGROUND;
    sweep.window = (uint32_t)min_u64(sweep.window, WINDOW);
    for (uint32_t i = 0; i < w->counts[layer] && status == LEAT_OK && !atomic_load(&w->is_stopping); i++)
        status = expert_cache_sweep_next(w->cache, &sweep, &ref, &error);
    expert_cache_sweep_end(w->cache, &sweep);
    if (status != LEAT_OK) log_write(LOG_DEBUG, "the warm start ends: %s", error.text);
    return status == LEAT_OK;
}

static void fill(void *context)
{
    warm_start *w = context;
    for (uint32_t layer = 0; layer < w->layer_count && !atomic_load(&w->is_stopping); layer++)
        if (!fill_layer(w, layer)) break;
    atomic_store(&w->is_over, true);
}

leat_status warm_start_open(mem *ledger, expert_cache *cache, const double *uses, double token_count,
                            uint32_t layer_count, uint32_t expert_count, uint32_t slot_count, warm_start **out_warm,
                            leat_error *error)
{
    const uint64_t lists = (uint64_t)layer_count * expert_count;
    leat_status status = LEAT_OK;
    warm_start *w;

    TRY(mem_alloc(ledger, MEM_META, 1, sizeof *w, 0, "warm start", (void **)&w, error));
    *w = (warm_start){.ledger = ledger,
                      .cache = cache,
                      .layer_count = layer_count,
                      .expert_count = expert_count,
                      .token_count =
                          token_count < TOKENS_MAX ? (uint32_t)max_u64(2, (uint64_t)token_count) : TOKENS_MAX};
    TRY_OR(fail, mem_alloc(ledger, MEM_META, 2 * lists + layer_count, sizeof(uint32_t), 0, "lists of the warm start",
                           (void **)&w->experts, error));
    w->rows = w->experts + lists;
    w->counts = w->rows + lists;
    choose_all(w, uses, slot_count);
    TRY_OR(fail, own_thread_start(ledger, MEM_META, "leat-warm", STACK_BYTES, fill, w, &w->thread, error));
    *out_warm = w;
    return LEAT_OK;
fail:
    warm_start_stop(&w);
    return status;
}

bool warm_start_is_over(const warm_start *w) { return atomic_load(&w->is_over); }

void warm_start_stop(warm_start **warm_ptr)
{
    warm_start *w = *warm_ptr;

    if (!w) return;
    atomic_store(&w->is_stopping, true);
    own_thread_join(&w->thread);
    expert_cache_restart_counts(w->cache);
    mem_free(w->ledger, w->experts);
    mem_free(w->ledger, w);
    *warm_ptr = NULL;
}

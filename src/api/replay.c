/*
 * replay.c - the public face of the replay of recorded routing.
 */
#include "cache/expert_replay.h"

#include <leat/leat.h>

#include <inttypes.h>

struct leat_replay {
    mem *ledger;
    route_trace trace;
};

const char *leat_cache_policy_label(leat_cache_policy policy)
{
    return policy == LEAT_CACHE_AUTO ? "auto" : cache_policy_label((cache_policy)(policy - 1));
}

leat_status leat_replay_open(const char *path, leat_replay **out_replay, leat_error *error)
{
    mem *ledger = NULL;
    leat_replay *r = NULL;
    if (!path || !*path) return FAIL(error, USAGE, "no file was named");
    TRY(mem_open(0, &ledger, error));
    leat_status status = MEM_NEW(ledger, META, 1, &r, error);
    if (status != LEAT_OK) {
        mem_close(&ledger);
        return status;
    }
    r->ledger = ledger;
    status = route_trace_open(ledger, path, &r->trace, error);
    if (status == LEAT_OK)
        *out_replay = r;
    else
        leat_replay_close(&r);
    return status;
}

void leat_replay_close(leat_replay **replay)
{
    leat_replay *r = *replay;
    if (!r) return;
    mem *ledger = r->ledger;
    route_trace_close(&r->trace);
    mem_free(ledger, r);
    mem_close(&ledger);
    *replay = NULL;
}

leat_replay_info leat_replay_get_info(const leat_replay *replay)
{
    const route_trace *t = &replay->trace;
    return (leat_replay_info){.step_count = t->step_count,
                              .token_count = t->token_count,
                              .layer_count = t->layer_count,
                              .expert_count = t->expert_count,
                              .used_count = t->used_count,
                              .has_settings = t->has_settings,
                              .slot_count = t->slot_count,
                              .cache_policy = t->has_settings ? (leat_cache_policy)(t->policy + 1) : LEAT_CACHE_AUTO,
                              .resize_count = t->resize_count};
}

static leat_replay_counts public_counts(const replay_counts *c)
{
    return (leat_replay_counts){c->hits, c->misses, c->evictions, c->ahead_used, c->ahead_wasted};
}

leat_status leat_replay_run(const leat_replay *replay, uint32_t slot_count, leat_cache_policy policy,
                            bool with_look_ahead, leat_replay_counts *out_counts, leat_error *error)
{
    replay_counts counts;
    if ((unsigned)policy > LEAT_CACHE_S3FIFO) return FAIL(error, USAGE, "there is no cache policy %d", (int)policy);
    cache_policy inner = policy == LEAT_CACHE_AUTO ? (cache_policy)CACHE_POLICY_AUTO : (cache_policy)(policy - 1);
    TRY(expert_replay(replay->ledger, &replay->trace, slot_count, inner, with_look_ahead, &counts, error));
    *out_counts = public_counts(&counts);
    return LEAT_OK;
}

leat_status leat_replay_run_belady(const leat_replay *replay, uint32_t slot_count, leat_replay_counts *out_counts,
                                   leat_error *error)
{
    replay_counts counts;
    TRY(expert_replay_belady(replay->ledger, &replay->trace, slot_count, &counts, error));
    *out_counts = public_counts(&counts);
    return LEAT_OK;
}

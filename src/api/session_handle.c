/*
 * session_handle.c - leat_session: the one timeline of an engine, and the sinks that watch its steps.
 */
#include "api/handles.h"

#include "exec/session.h"

struct leat_session {
    leat_engine *engine;
    session *inner;
    leat_acquire_fn *acquire_sink;
    void *acquire_user;
};

leat_status leat_session_open(leat_engine *engine_handle, leat_session **out_session, leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_session *s;

    if (engine_handle->has_session) return FAIL(error, USAGE, "the engine has a session already");
    TRY(mem_alloc(engine_handle->ledger, MEM_KV, 1, sizeof *s, 0, "session", (void **)&s, error));
    s->engine = engine_handle;
    TRY_OR(fail, session_open(engine_handle->inner, &s->inner, error));
    engine_handle->has_session = true;
    *out_session = s;
    return LEAT_OK;
fail:
    mem_free(engine_handle->ledger, s);
    return status;
}

void leat_session_close(leat_session **handle)
{
    leat_session *s = *handle;

    if (!s) return;
    leat_session_set_resize_sink(s, NULL, NULL);
    session_close(&s->inner);
    s->engine->has_session = false;
    mem_free(s->engine->ledger, s);
    *handle = NULL;
}

leat_status leat_session_sync(leat_session *s, const uint32_t *ids, size_t count, size_t *out_reused, leat_error *error)
{
    uint64_t reused;

    TRY(session_sync(s->inner, ids, count, &reused, error));
    if (out_reused) *out_reused = reused;
    return LEAT_OK;
}

leat_status leat_session_append(leat_session *s, uint32_t id, leat_error *error)
{
    return session_append(s->inner, id, error);
}
size_t leat_session_length(const leat_session *s) { return s->inner->length; }
const float *leat_session_logits(const leat_session *s) { return s->inner->logits; }

leat_status leat_session_score(leat_session *s, const uint32_t *ids, size_t count, leat_score_fn *fn, void *user,
                               leat_error *error)
{
    return session_score(s->inner, ids, count, fn, user, error);
}

void leat_session_set_route_sink(leat_session *s, leat_route_fn *fn, void *user)
{
    s->inner->route_sink = fn;
    s->inner->route_user = user;
}

void leat_session_set_token_sink(leat_session *s, leat_token_fn *fn, void *user)
{
    s->inner->token_sink = fn;
    s->inner->token_user = user;
}

static void tell_acquire(void *user, const step_asked *asked)
{
    leat_session *s = user;
    const leat_acquire acquire = {.layer_idx = asked->moe_idx,
                                  .position = asked->position,
                                  .row_count = asked->row_count,
                                  .experts = asked->experts,
                                  .expert_rows = asked->expert_rows,
                                  .count = asked->count,
                                  .ahead = asked->ahead,
                                  .ahead_count = asked->ahead_count};
    s->acquire_sink(s->acquire_user, &acquire);
}

void leat_session_set_acquire_sink(leat_session *s, leat_acquire_fn *fn, void *user)
{
    s->acquire_sink = fn;
    s->acquire_user = user;
    s->inner->asked_sink = fn ? tell_acquire : NULL;
    s->inner->asked_user = s;
}

void leat_session_set_resize_sink(leat_session *s, leat_resize_fn *fn, void *user)
{
    s->inner->engine->watch.resize_sink = fn;
    s->inner->engine->watch.resize_user = user;
}

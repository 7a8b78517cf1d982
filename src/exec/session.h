/*
 * session.h - one timeline of tokens with its keys and values.
 *
 *     sync(ids)   keep the longest usable common prefix, compute the rest in chunks
 *     append(id)  one more token
 *     score(ids)  sync from an empty timeline that hands out every position's logits
 *
 * Invariant: tokens[0..length) are exactly those whose keys the cache holds; a failed or cancelled step leaves the
 * timeline as it was before that step. Threads: one at a time.
 */
#ifndef EXEC_SESSION_H
#define EXEC_SESSION_H

#include "exec/step.h"

typedef leat_status session_score_fn(void *user, size_t position, const float *logits, leat_error *error);

/* Every row that became part of the timeline, in the order of positions; `logits` are NULL where none were computed. */
typedef leat_status session_token_sink(void *user, size_t position, uint32_t id, const float *logits,
                                       leat_error *error);

typedef struct session {
    engine *engine;
    uint32_t *tokens; /* (ctx) */
    uint32_t length;
    const float *logits; /* after the last token; NULL when there are none */
    step_row *rows;      /* (chunk) */
    step_route_sink *route_sink;
    void *route_user;
    session_token_sink *token_sink; /* may be NULL */
    void *token_user;
    step_asked_sink *asked_sink;
    void *asked_user;
} session;

/* What open takes from MEM_KV. */
uint64_t session_bytes(uint32_t ctx, uint32_t chunk);

MUST_CHECK leat_status session_open(engine *e, session **out_session, leat_error *error);
void session_close(session **s);

MUST_CHECK leat_status session_sync(session *s, const uint32_t *ids, uint64_t count, uint64_t *out_reused,
                                    leat_error *error);
MUST_CHECK leat_status session_append(session *s, uint32_t id, leat_error *error);
MUST_CHECK leat_status session_score(session *s, const uint32_t *ids, uint64_t count, session_score_fn *fn, void *user,
                                     leat_error *error);

#endif

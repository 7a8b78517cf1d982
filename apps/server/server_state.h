/*
 * server_state.h - what /health says: loading, ready, failed or stopping. Readable at any time without waiting.
 *
 * Threads: set by whoever loads, serves or stops; read by all.
 */
#ifndef SERVER_SERVER_STATE_H
#define SERVER_SERVER_STATE_H

#include "http.h"

#include <stdatomic.h>

typedef enum server_phase { SERVER_LOADING, SERVER_READY, SERVER_DEGRADED, SERVER_STOPPING } server_phase;

typedef struct server_state {
    atomic_int phase;
    atomic_uint progress_thousandths; /* while loading */
} server_state;

void server_state_set(server_state *s, server_phase phase);
void server_state_set_progress(server_state *s, uint64_t done, uint64_t total);

/* Answers of the routes that need no engine. */
void server_state_reply_health(const server_state *s, http_exchange *x); /* /health */
void server_state_reply_live(http_exchange *x);                          /* /livez */
void server_state_reply_version(http_exchange *x);                       /* /version */
/* For routes that need the engine: false when it is there; else the exchange has its 503. */
bool server_state_refuses(const server_state *s, http_exchange *x);

#endif

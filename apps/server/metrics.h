/*
 * metrics.h - counters and histograms of the server, and the text that Prometheus reads (format 0.0.4).
 *
 * What is counted is atomic; writing the text reads atomics, the engine's counters (metrics_sources) and two files of
 * /proc that were opened beforehand, so that it needs no file system and waits for nothing that computes.
 *
 * Threads: metrics_open and metrics_close from one, everything else from any.
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "cli/strbuf.h"
#include "server/slot_snapshot.h"

#include <leat/leat.h>

typedef struct metrics metrics;

/* Before a sandbox forbids to open /proc. `model`: the label of every series, its public name (copied). */
MUST_CHECK leat_status metrics_open(mem *ledger, const char *model, metrics **out_metrics, leat_error *error);
void metrics_close(metrics **m);

/* ---- HTTP ---- */

/* `route` is the pattern, never what a client wrote; static text. Count once a request, when its status is known;
 * begin and end bracket the time in which it is answered. */
void metrics_begin_request(metrics *m);
void metrics_end_request(metrics *m);
void metrics_count_request(metrics *m, const char *route, int status);
/* Bytes that connections hold; the pool "http". */
void metrics_set_http_bytes(metrics *m, uint64_t bytes);

/* ---- jobs: told by the engine's worker ---- */

typedef enum metrics_finish {
    METRICS_FINISH_STOP,
    METRICS_FINISH_LENGTH,
    METRICS_FINISH_TOOL_CALLS,
    METRICS_FINISH_CLIENT_CLOSED,
    METRICS_FINISH_ERROR,
    METRICS_FINISH_TIMEOUT,
    METRICS_FINISH_COUNT
} metrics_finish;
void metrics_count_finish(metrics *m, metrics_finish reason);
void metrics_count_tokens(metrics *m, uint64_t prompt, uint64_t cached, uint64_t generated);

typedef enum metrics_time {
    METRICS_QUEUE_WAIT,
    METRICS_FIRST_TOKEN,
    METRICS_INTER_TOKEN,
    METRICS_REQUEST_DURATION,
    METRICS_STORAGE_READ,
    METRICS_TIME_COUNT
} metrics_time;
void metrics_observe(metrics *m, metrics_time which, uint64_t ns);
/* A job that failed because weights could not be read: what the system said, or a file that ended early. */
void metrics_count_read_error(metrics *m, bool is_short);

/* ---- the text ---- */

typedef struct metrics_sources {
    slot_snapshot slot;
    bool has_engine; /* the next two are there */
    leat_stats stats;
    leat_plan plan;
    uint64_t ready_ns; /* from start until jobs were taken; 0: not yet */
} metrics_sources;
MUST_CHECK leat_status metrics_write(metrics *m, const metrics_sources *sources, strbuf *out, leat_error *error);
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#endif

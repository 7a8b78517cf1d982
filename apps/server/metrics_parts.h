/* metrics_parts.h - what is counted, for metrics.c, which counts, and metrics_text.c, which writes. Private to them. */
#ifndef SERVER_METRICS_PARTS_H
#define SERVER_METRICS_PARTS_H

#include "server/metrics.h"
#include "server/process_probe.h"

#include <pthread.h>
#include <stdatomic.h>

enum { METRICS_BUCKETS_MAX = 20, METRICS_ROUTES_MAX = 256, METRICS_MODEL_BYTES = 256 };

typedef struct histogram_kind {
    const char *name, *help;
    uint32_t bound_count;
    double bounds_s[METRICS_BUCKETS_MAX]; /* rising; the last bucket has none */
} histogram_kind;
extern const histogram_kind metrics_histograms[METRICS_TIME_COUNT];

/* counts[i]: values up to bounds_s[i] and above the one before. */
typedef struct histogram {
    _Atomic uint64_t counts[METRICS_BUCKETS_MAX + 1];
    _Atomic uint64_t sum_ns;
} histogram;

typedef struct route_count {
    const char *route;
    int status;
    uint64_t count;
} route_count;

struct metrics {
    mem *ledger;
    char model[METRICS_MODEL_BYTES]; /* as a label's value: escaped */
    process_probe process;
    pthread_mutex_t routes_mutex; /* held for a look at the table only */
    route_count routes[METRICS_ROUTES_MAX];
    uint32_t route_count;
    _Atomic uint64_t in_flight, http_bytes;
    _Atomic uint64_t finished[METRICS_FINISH_COUNT];
    _Atomic uint64_t prompt_tokens, cached_tokens, generated_tokens;
    _Atomic uint64_t read_errors, short_reads;
    histogram times[METRICS_TIME_COUNT];
};

#endif

#include "metrics.h"

#include "server/metrics_parts.h"

#include <string.h>

/* Queue waits and first tokens may take minutes where weights come from a disk; tokens follow each other faster. */
#define LONG_BOUNDS                                                                                                    \
    19, { 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240 }
#define FIRST_BOUNDS                                                                                                   \
    16, { 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 1280, 2560 }
#define TOKEN_BOUNDS                                                                                                   \
    13, { 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.75, 1, 2, 3, 5, 10 }

const histogram_kind metrics_histograms[METRICS_TIME_COUNT] = {
    [METRICS_QUEUE_WAIT] = {"leat_queue_wait_seconds", "From a request's admission until the engine began it.",
                            LONG_BOUNDS},
    [METRICS_FIRST_TOKEN] = {"leat_time_to_first_token_seconds",
                             "From a request's admission to its first generated token.", FIRST_BOUNDS},
    [METRICS_INTER_TOKEN] = {"leat_inter_token_seconds", "Between two generated tokens of a choice.", TOKEN_BOUNDS},
    [METRICS_REQUEST_DURATION] = {"leat_request_duration_seconds", "From a request's admission to its end.",
                                  LONG_BOUNDS},
    [METRICS_STORAGE_READ] = {"leat_storage_read_seconds",
                              "Time of a request with at least one read of weights under way.", LONG_BOUNDS},
};

/* A label's value: backslash, quote and newline are escaped; what does not fit is cut. */
static void escape_label(const char *text, char out[METRICS_MODEL_BYTES])
{
    size_t used = 0;
    for (; *text && used + 3 < METRICS_MODEL_BYTES; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n') out[used++] = '\\';
        out[used++] = *text == '\n' ? 'n' : *text;
    }
    while (used > 0 && *text && ((unsigned char)out[used - 1] & 0xc0) == 0x80) used--; /* no half character */
    if (used > 0 && *text && ((unsigned char)out[used - 1] & 0x80)) used--;
    out[used] = '\0';
}

leat_status metrics_open(mem *ledger, const char *model, metrics **out_metrics, leat_error *error)
{
    metrics *m;
    TRY(MEM_NEW(ledger, META, 1, &m, error));
    m->ledger = ledger;
    escape_label(model, m->model);
    process_probe_open(&m->process);
    pthread_mutex_init(&m->routes_mutex, NULL);
    *out_metrics = m;
    return LEAT_OK;
}

void metrics_close(metrics **metrics_ptr)
{
    metrics *m = *metrics_ptr;
    *metrics_ptr = NULL;
    if (!m) return;
    process_probe_close(&m->process);
    pthread_mutex_destroy(&m->routes_mutex);
    mem_free(m->ledger, m);
}

static void add(_Atomic uint64_t *counter, uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

void metrics_begin_request(metrics *m) { add(&m->in_flight, 1); }
void metrics_end_request(metrics *m) { add(&m->in_flight, UINT64_MAX); }
void metrics_set_http_bytes(metrics *m, uint64_t bytes) { atomic_store(&m->http_bytes, bytes); }

void metrics_count_request(metrics *m, const char *route, int status)
{
    uint32_t i = 0;
    pthread_mutex_lock(&m->routes_mutex);
    while (i < m->route_count && (m->routes[i].status != status || strcmp(m->routes[i].route, route) != 0)) i++;
    if (i == m->route_count && m->route_count < METRICS_ROUTES_MAX)
        m->routes[m->route_count++] = (route_count){.route = route, .status = status};
    if (i < m->route_count) m->routes[i].count++;
    pthread_mutex_unlock(&m->routes_mutex);
}

void metrics_count_finish(metrics *m, metrics_finish reason) { add(&m->finished[reason], 1); }

void metrics_count_tokens(metrics *m, uint64_t prompt, uint64_t cached, uint64_t generated)
{
    add(&m->prompt_tokens, prompt);
    add(&m->cached_tokens, cached);
    add(&m->generated_tokens, generated);
}

void metrics_observe(metrics *m, metrics_time which, uint64_t ns)
{
    const histogram_kind *kind = &metrics_histograms[which];
    uint32_t bucket = 0;
    while (bucket < kind->bound_count && (double)ns * 1e-9 > kind->bounds_s[bucket]) bucket++;
    add(&m->times[which].counts[bucket], 1);
    add(&m->times[which].sum_ns, ns);
}

void metrics_count_read_error(metrics *m, bool is_short) { add(is_short ? &m->short_reads : &m->read_errors, 1); }

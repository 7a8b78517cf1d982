/*
 * metrics_text.c - the exposition text. One function writes one series, and every name is written once: HELP and TYPE,
 * then its series.
 */
#include "server/metrics_parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An error stays; what follows writes nothing. */
typedef struct writer {
    metrics *m;
    const metrics_sources *from;
    strbuf *out;
    leat_status status;
    leat_error *error;
} writer;

static void put(writer *w, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(writer *w, const char *format, ...)
{
    char line[1024];
    va_list values;
    va_start(values, format);
    const int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (w->status != LEAT_OK || length < 0) return;
    const size_t count = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    w->status = strbuf_append(w->out, line, count, w->error);
}

static void head(writer *w, const char *name, const char *type, const char *help)
{
    put(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* label NULL: none but the model's. */
static void series(writer *w, const char *name, const char *label, const char *value, double number)
{
    if (label)
        put(w, "%s{model=\"%s\",%s=\"%s\"} %.17g\n", name, w->m->model, label, value, number);
    else
        put(w, "%s{model=\"%s\"} %.17g\n", name, w->m->model, number);
}

static void counter(writer *w, const char *name, const char *help, double number)
{
    head(w, name, "counter", help);
    series(w, name, NULL, NULL, number);
}

static void gauge(writer *w, const char *name, const char *help, double number)
{
    head(w, name, "gauge", help);
    series(w, name, NULL, NULL, number);
}

static double read_count(_Atomic uint64_t *counter_ptr)
{
    return (double)atomic_load_explicit(counter_ptr, memory_order_relaxed);
}

/* ---- groups ---- */

static void write_process(writer *w)
{
    process_usage usage;
    process_probe_read(&w->m->process, &usage);
    head(w, "process_start_time_seconds", "gauge", "Unix time at which the server started.");
    put(w, "process_start_time_seconds %.3f\n", w->m->process.start_time_s);
    head(w, "process_cpu_seconds_total", "counter", "CPU time of all threads.");
    put(w, "process_cpu_seconds_total %.6f\n", usage.cpu_s);
    if (usage.resident_bytes > 0) {
        head(w, "process_resident_memory_bytes", "gauge", "Memory in use.");
        put(w, "process_resident_memory_bytes %" PRIu64 "\n", usage.resident_bytes);
        head(w, "process_virtual_memory_bytes", "gauge", "Address space in use.");
        put(w, "process_virtual_memory_bytes %" PRIu64 "\n", usage.virtual_bytes);
    }
    if (usage.descriptor_count > 0) {
        head(w, "process_open_fds", "gauge", "Open file descriptors.");
        put(w, "process_open_fds %" PRIu64 "\n", usage.descriptor_count);
    }
}

static void write_routes(writer *w)
{
    static const char name[] = "leat_requests_total";
    head(w, name, "counter", "HTTP requests answered, by route and status.");
    pthread_mutex_lock(&w->m->routes_mutex);
    for (uint32_t i = 0; i < w->m->route_count; i++)
        put(w, "%s{model=\"%s\",route=\"%s\",code=\"%d\"} %" PRIu64 "\n", name, w->m->model, w->m->routes[i].route,
            w->m->routes[i].status, w->m->routes[i].count);
    pthread_mutex_unlock(&w->m->routes_mutex);
    gauge(w, "leat_requests_in_flight", "HTTP requests being answered.", read_count(&w->m->in_flight));
}

static void write_histogram(writer *w, metrics_time which)
{
    const histogram_kind *kind = &metrics_histograms[which];
    histogram *h = &w->m->times[which];
    uint64_t sum = 0;
    head(w, kind->name, "histogram", kind->help);
    for (uint32_t i = 0; i <= kind->bound_count; i++) {
        char bound[32] = "+Inf";
        if (i < kind->bound_count) snprintf(bound, sizeof bound, "%g", kind->bounds_s[i]);
        sum += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        put(w, "%s_bucket{model=\"%s\",le=\"%s\"} %" PRIu64 "\n", kind->name, w->m->model, bound, sum);
    }
    put(w, "%s_sum{model=\"%s\"} %.9f\n", kind->name, w->m->model, read_count(&h->sum_ns) * 1e-9);
    put(w, "%s_count{model=\"%s\"} %" PRIu64 "\n", kind->name, w->m->model, sum);
}

static void write_jobs(writer *w)
{
    static const char *const reasons[METRICS_FINISH_COUNT] = {"stop",          "length", "tool_calls",
                                                              "client_closed", "error",  "timeout"};
    static const char name[] = "leat_request_finished_total";
    counter(w, "leat_prompt_tokens_total", "Tokens of prompts.", read_count(&w->m->prompt_tokens));
    counter(w, "leat_cached_prompt_tokens_total", "Tokens of prompts whose keys and values were still there.",
            read_count(&w->m->cached_tokens));
    counter(w, "leat_generated_tokens_total", "Tokens generated, end tokens included.",
            read_count(&w->m->generated_tokens));
    head(w, name, "counter", "Choices that ended, by reason; a request that failed or never began counts as one.");
    for (int i = 0; i < METRICS_FINISH_COUNT; i++)
        series(w, name, "reason", reasons[i], read_count(&w->m->finished[i]));
    for (int i = 0; i < METRICS_TIME_COUNT; i++) write_histogram(w, (metrics_time)i);
}

static void write_slots(writer *w)
{
    const slot_snapshot *s = &w->from->slot;
    gauge(w, "leat_queue_length", "Requests that wait for the engine.", s->queue_length);
    head(w, "leat_slots", "gauge", "Sequences by what they do.");
    for (int i = 0; i < SLOT_STATE_COUNT; i++)
        series(w, "leat_slots", "state", slot_state_label((slot_state)i), s->slot == (slot_state)i);
    gauge(w, "leat_kv_tokens", "Positions whose keys and values are kept.", s->kv_tokens);
    counter(w, "leat_kv_spill_bytes_total", "Keys and values written to disk; this version keeps them in memory.", 0);
}

static const char *pool_label(const leat_pool *pool)
{
    return strcmp(pool->name, "experts") == 0 ? "cache" : pool->name;
}

static void write_memory(writer *w)
{
    const leat_stats *stats = &w->from->stats;
    double cache_bytes = 0;
    gauge(w, "leat_ram_budget_bytes", "The engine's budget.", (double)w->from->plan.budget_bytes);
    head(w, "leat_ram_used_bytes", "gauge", "Memory taken, by what for.");
    for (uint32_t i = 0; i < stats->pool_count; i++) {
        series(w, "leat_ram_used_bytes", "pool", pool_label(&stats->pools[i]), (double)stats->pools[i].current_bytes);
        if (strcmp(stats->pools[i].name, "experts") == 0) cache_bytes = (double)stats->pools[i].current_bytes;
    }
    series(w, "leat_ram_used_bytes", "pool", "http", read_count(&w->m->http_bytes));
    gauge(w, "leat_weight_cache_bytes", "Memory of the expert cache.", cache_bytes);
    counter(w, "leat_weight_cache_hits_total", "Experts that were in memory when a layer asked.",
            (double)stats->expert_hits);
    counter(w, "leat_weight_cache_misses_total", "Experts that were not.", (double)stats->expert_misses);
    counter(w, "leat_weight_cache_evictions_total", "Experts that made room.", (double)stats->expert_evictions);
}

static void write_storage(writer *w)
{
    const leat_stats *stats = &w->from->stats;
    static const char bytes[] = "leat_storage_read_bytes_total", errors[] = "leat_storage_errors_total";
    head(w, bytes, "counter", "Bytes of weights asked of the system, past the page cache or through it.");
    series(w, bytes, "path", stats->io_is_direct ? "direct" : "buffered", (double)stats->read_bytes);
    gauge(w, "leat_storage_inflight_reads", "Reads under way.", stats->reads_in_flight);
    counter(w, "leat_prefetch_useful_bytes_total", "Experts read ahead that were asked for.",
            (double)stats->ahead_used_bytes);
    counter(w, "leat_prefetch_wasted_bytes_total", "Experts read ahead that were not.",
            (double)stats->ahead_wasted_bytes);
    head(w, "leat_stall_seconds_total", "counter", "Time of steps: waiting for the disk, and computing.");
    series(w, "leat_stall_seconds_total", "cause", "io", (double)stats->disk_wait_ns * 1e-9);
    series(w, "leat_stall_seconds_total", "cause", "compute",
           (double)(stats->attention_ns + stats->ffn_ns + stats->router_ns + stats->moe_ns + stats->head_ns +
                    stats->step_other_ns) *
               1e-9);
    head(w, errors, "counter", "Requests that failed because weights could not be read.");
    series(w, errors, "kind", "eio", read_count(&w->m->read_errors));
    series(w, errors, "kind", "short", read_count(&w->m->short_reads));
}

leat_status metrics_write(metrics *m, const metrics_sources *sources, strbuf *out, leat_error *error)
{
    writer w = {.m = m, .from = sources, .out = out, .error = error};
    const leat_isa isa = sources->has_engine ? sources->stats.isa : LEAT_ISA_AUTO;
    head(&w, "leat_build_info", "gauge", "The program's version and commit, and the instruction set in use.");
    put(&w, "leat_build_info{model=\"%s\",version=\"%s\",commit=\"%s\",simd=\"%s\"} 1\n", m->model, leat_version(),
        leat_commit(), leat_isa_label(isa));
    write_process(&w);
    write_routes(&w);
    write_slots(&w);
    write_jobs(&w);
    if (sources->has_engine) {
        write_memory(&w);
        write_storage(&w);
        gauge(&w, "leat_model_load_seconds", "From the start until requests were taken.",
              (double)sources->ready_ns * 1e-9);
    }
    return w.status;
}

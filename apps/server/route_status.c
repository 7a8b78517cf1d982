/* route_status.c - how the server is: /health, /livez, /version, /metrics, /slots. All of it is read from snapshots: no
 * answer here waits for a layer, nor for the disk. */
#include "server/api_routes.h"

#include <string.h>

void route_live(http_exchange *x, void *user)
{
    static const char body[] = "{\"status\": \"alive\"}";
    (void)user;
    http_reply(x, 200, "application/json", body, sizeof body - 1);
}

void route_version(http_exchange *x, void *user)
{
    api *a = user;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    json_writer_init_text(&w, &text);
    json_writer_begin_object(&w, NULL);
    json_writer_text(&w, "version", leat_version());
    json_writer_text(&w, "build", leat_commit());
    json_writer_text(&w, "engine", "leat");
    json_writer_end_object(&w);
    api_reply_json(a, x, &w, &text);
    strbuf_reset(&text);
}

/* llama.cpp's body, for whose clients it waits, with our own members behind it. */
static void write_unhealthy(json_writer *w, const slot_snapshot *now)
{
    static const char *const messages[] = {"Loading model", "The model can no longer be read",
                                           "The server is shutting down", "The model could not be opened"};
    json_writer_begin_object(w, NULL);
    json_writer_begin_object(w, "error");
    json_writer_u64(w, "code", 503);
    json_writer_text(w, "message", messages[now->worker]);
    json_writer_text(w, "type", "unavailable_error");
    json_writer_end_object(w);
    json_writer_text(w, "status", now->worker == WORKER_READY ? "degraded" : worker_state_label(now->worker));
    json_writer_number(w, "progress", slot_snapshot_load_progress(now));
    json_writer_end_object(w);
}

void route_health(http_exchange *x, void *user)
{
    static const char well[] = "{\"status\": \"ok\"}";
    api *a = user;
    slot_snapshot now;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    engine_worker_snapshot(a->worker, &now);
    if (atomic_load(&a->is_stopping)) now.worker = WORKER_DRAINING;
    if (now.worker == WORKER_READY && !now.is_degraded) {
        http_reply(x, 200, "application/json", well, sizeof well - 1);
        return;
    }
    json_writer_init_text(&w, &text);
    write_unhealthy(&w, &now);
    http_set_header(x, "Retry-After", "5");
    http_reply(x, 503, "application/json", strbuf_text(&text), w.status == LEAT_OK ? text.count : 0);
    strbuf_reset(&text);
}

void route_metrics(http_exchange *x, void *user)
{
    api *a = user;
    api_error error;
    leat_error failure = {0};
    metrics_sources sources;
    strbuf text = {.ledger = a->settings.ledger};
    if (!a->counts) {
        route_unsupported(x, user);
        return;
    }
    engine_worker_sources(a->worker, &sources);
    uint64_t bytes = mem_total_usage(a->settings.ledger).current_bytes;
    if (a->settings.connections) bytes += mem_total_usage(a->settings.connections).current_bytes;
    metrics_set_http_bytes(a->counts, bytes);
    if (metrics_write(a->counts, &sources, &text, &failure) == LEAT_OK) {
        http_reply(x, 200, METRICS_CONTENT_TYPE, strbuf_text(&text), text.count);
    } else {
        api_fail_status(&error, &failure, NULL);
        api_reply_error(a, x, &error);
    }
    strbuf_reset(&text);
}

/* ---- /slots ------------------------------------------------------------------------------------------------------ */

static void write_slot(json_writer *w, const slot_snapshot *now)
{
    bool is_busy = now->slot != SLOT_IDLE;
    json_writer_begin_object(w, NULL);
    json_writer_u64(w, "id", 0);
    json_writer_u64(w, "id_task", now->job_number);
    json_writer_u64(w, "n_ctx", now->ctx);
    json_writer_flag(w, "is_processing", is_busy);
    json_writer_begin_object(w, "params");
    json_writer_u64(w, "max_tokens", now->max_tokens);
    json_writer_end_object(w);
    json_writer_begin_object(w, "next_token");
    json_writer_u64(w, "n_decoded", now->generated_count);
    json_writer_u64(w, "n_remain", now->max_tokens > now->generated_count ? now->max_tokens - now->generated_count : 0);
    json_writer_end_object(w);
    json_writer_begin_object(w, "progress");
    json_writer_text(w, "phase", slot_state_label(now->slot));
    json_writer_u64(w, "done", now->prefill_done);
    json_writer_u64(w, "total", now->prompt_count);
    json_writer_end_object(w);
    json_writer_u64(w, "queued", now->queue_length);
    json_writer_end_object(w);
}

void route_slots(http_exchange *x, void *user)
{
    api *a = user;
    slot_snapshot now;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    const char *must_be_idle = http_query(x, "fail_on_no_slot");
    engine_worker_snapshot(a->worker, &now);
    if (must_be_idle && strcmp(must_be_idle, "1") == 0 && now.slot != SLOT_IDLE) {
        http_set_header(x, "Retry-After", "1");
        http_fail(x, 503, "unavailable_error", "no_slot", NULL, "No slot is free.");
        return;
    }
    json_writer_init_text(&w, &text);
    json_writer_begin_array(&w, NULL);
    write_slot(&w, &now);
    json_writer_end_array(&w);
    api_reply_json(a, x, &w, &text);
    strbuf_reset(&text);
}

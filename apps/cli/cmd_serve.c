/*
 * cmd_serve.c - leat serve: an HTTP server around one model.
 *
 * The main thread checks what was asked for, opens the socket, reads the model's headers, enters the sandbox, starts
 * the threads of the server and the engine's, which loads the model, and then waits for signals. What is wrong with
 * options or model is found before anybody listens to it.
 */
#include "cli.h"
#include "engine_setup.h"
#include "input.h"
#include "model_list.h"
#include "report.h"

#include "base/bytes.h"
#include "os/clock.h"
#include "server/api.h"
#include "server/engine_worker.h"
#include "server/http.h"
#include "server/http_auth.h"
#include "server/http_library.h"
#include "server/http_listening.h"
#include "server/sandbox.h"
#include "server/sd_notify.h"
#include "server/serve_config.h"
#include "server/serve_limits.h"
#include "server/serve_sandbox.h"
#include "server/server_signals.h"
#include "server/unknown_fields.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct serve {
    api routes; /* first: handlers get the whole as an api */
    cli *c;
    engine_setup setup; /* the model's headers */
    metrics *counts;
    engine_worker *worker;
    http_listening listening;
    http_auth *auth;
    http_server *http;
    sd_notifier systemd;
    mem *connections, *requests; /* what clients can make the process take */
    strbuf template_text;        /* --template */
    bool is_ready;
    bool is_stuck; /* and it was said */
    uint64_t stuck_ns, watchdog_ns;
} serve;

/*
 * What clients can make the process take is bounded, connections apart from what requests become: where requests have
 * taken all of theirs, /health still answers. In bytes, and in bodies of the greatest size: as many lie with
 * connections as http.h allows, and one for replies; what a body becomes, and leaves behind while it waits, is some
 * times its size.
 */
enum { CONNECTIONS_BYTES = 32 << 20, CONNECTIONS_BODIES = 5, REQUESTS_BYTES = 32 << 20, REQUESTS_BODIES = 6 };

/* ---- opening ---- */

static leat_status open_auth(serve *s, leat_error *error)
{
    cli_options *o = &s->c->options;
    /* The texts lie in the arguments, the environment or our own memory: all of them may be wiped. */
    char *keys[OPTION_TEXTS_MAX];
    for (uint32_t i = 0; i < o->api_key.count; i++) keys[i] = (char *)(uintptr_t)o->api_key.items[i];
    TRY(http_auth_open(s->c->ledger, keys, o->api_key.count, o->api_key_file, &s->auth, error));
    for (uint32_t i = 0; i < o->cors_origin.count; i++)
        if (strcmp(o->cors_origin.items[i], "*") == 0)
            return FAIL(error, USAGE, "--cors-origin *: every page of the web could use the server; name origins");
    return LEAT_OK;
}

static leat_status open_listening(serve *s, leat_error *error)
{
    const cli_options *o = &s->c->options;
    TRY(http_listening_open(o->host, (uint16_t)o->port, &s->listening, error));
    if (s->listening.is_loopback || s->listening.is_local || s->auth || o->insecure_no_auth) return LEAT_OK;
    leat_status status =
        FAIL(error, USAGE, "%s can be reached by other machines, and there is no API key", s->listening.url);
    status_hint(error, "--api-key-file FILE, or --insecure-no-auth");
    return status;
}

/* The API with its counters, whose files the sandbox would close. */
static leat_status open_api(serve *s, const char *model_path, leat_error *error)
{
    cli_options *o = &s->c->options;
    api_settings settings = {.ledger = s->requests,
                             .template_text = o->chat_template ? strbuf_text(&s->template_text) : NULL,
                             .template_bytes = s->template_text.count,
                             .model_path = model_path,
                             .connections = s->connections,
                             .aliases = o->alias.items,
                             .alias_count = o->alias.count,
                             .request_timeout_ns = (uint64_t)o->request_timeout * 1000000000};
    TRY(api_open(&s->routes, &settings, error));
    return metrics_open(s->c->ledger, s->routes.name, &s->counts, error);
}

/* The engine's thread, which loads the model. */
static leat_status open_worker(serve *s, leat_error *error)
{
    cli_options *o = &s->c->options;
    engine_worker_settings worker = {.model_path = s->setup.info->path,
                                     .options = engine_options(o),
                                     .queue_max = o->max_queue,
                                     .metrics = s->counts};
    TRY(engine_worker_open(s->c->ledger, &worker, &s->worker, error));
    api_set_worker(&s->routes, s->worker, s->counts);
    return LEAT_OK;
}

static void begin_request(void *user) { metrics_begin_request(((serve *)user)->counts); }

static void count_request(void *user, const char *route, int status, uint64_t duration_ns)
{
    (void)duration_ns; /* of jobs the worker counts it */
    metrics_count_request(((serve *)user)->counts, route, status);
    metrics_end_request(((serve *)user)->counts);
}

static leat_status open_http(serve *s, leat_error *error)
{
    cli_options *o = &s->c->options;
    http_settings settings = {.ledger = s->connections,
                              .listen_fd = s->listening.fd,
                              .is_shared = s->listening.is_inherited,
                              .is_loopback = s->listening.is_loopback,
                              .is_local = s->listening.is_local,
                              .routes = api_routes,
                              .route_count = api_route_count,
                              .user = s,
                              .auth = s->auth,
                              .allowed_hosts = o->allowed_host.items,
                              .allowed_host_count = o->allowed_host.count,
                              .cors_origins = o->cors_origin.items,
                              .cors_origin_count = o->cors_origin.count,
                              .log_access = true,
                              .on_begun = begin_request,
                              .on_finished = count_request};
    TRY(serve_limits_read(o, &settings.limits, error));
    TRY(http_server_open(&settings, &s->http, error));
    s->listening.fd = -1; /* the server's now */
    return LEAT_OK;
}

static void say_where(const serve *s)
{
    report_note("listening on %s (model %s%s)", s->listening.url, s->routes.name, s->auth ? ", with API key" : "");
}

/* ---- serving ---- */

static void reload(serve *s)
{
    leat_error error = {0};
    if (report_reopen_log(&error) != LEAT_OK) report_error(&error);
    if (!s->auth) return;
    if (http_auth_reload(s->auth, &error) == LEAT_OK)
        report_note("leat: API keys read again");
    else
        report_error(&error);
}

static void log_state(serve *s)
{
    slot_snapshot now;
    engine_worker_snapshot(s->worker, &now);
    const uint64_t now_ns = clock_now_ns(), since_ns = now_ns > now.progress_ns ? now_ns - now.progress_ns : 0;
    const mem_usage requests = mem_total_usage(s->requests), connections = mem_total_usage(s->connections);
    report_note("state: model %s%s, engine %s, request %llu: prompt %u/%u, tokens %u; %u waiting; last progress %.1f s "
                "ago; %u requests open; requests take %llu bytes (at most %llu so far), connections %llu (%llu)",
                worker_state_label(now.worker), now.is_degraded ? " (degraded)" : "", slot_state_label(now.slot),
                (unsigned long long)now.job_number, now.prefill_done, now.prompt_count, now.generated_count,
                now.queue_length, now.progress_ns > 0 ? (double)since_ns * 1e-9 : 0.0, http_server_busy_count(s->http),
                (unsigned long long)requests.current_bytes, (unsigned long long)requests.peak_bytes,
                (unsigned long long)connections.current_bytes, (unsigned long long)connections.peak_bytes);
}

/* Tells systemd that all is well, as long as it is. A disk that does not answer is no reason to be restarted. */
static void feed_watchdog(serve *s)
{
    const uint64_t now_ns = clock_now_ns();
    if (s->systemd.watchdog_ns == 0 || now_ns - s->watchdog_ns < s->systemd.watchdog_ns) return;
    s->watchdog_ns = now_ns;
    const bool is_stuck = engine_worker_is_stuck(s->worker, s->stuck_ns);
    if (!is_stuck) sd_notify_send(&s->systemd, "WATCHDOG=1");
    if (is_stuck && !s->is_stuck) {
        report_warning("the engine makes no progress and waits for no read: the watchdog is not fed any more");
        log_state(s);
    }
    s->is_stuck = is_stuck;
}

/* What happens a few times a second. LEAT_OK: go on. */
static leat_status tick(serve *s, leat_error *error)
{
    slot_snapshot now;
    leat_error failure = {0};
    feed_watchdog(s);
    engine_worker_snapshot(s->worker, &now);
    if (s->is_ready || now.worker == WORKER_LOADING) return LEAT_OK;
    s->is_ready = true;
    TRY(engine_worker_load_error(s->worker, error));
    if (api_prepare(&s->routes, &failure) != LEAT_OK)
        return FAIL(error, MODEL, "--template %s: %s", s->c->options.chat_template, failure.text);
    plan_report(engine_worker_plan(s->worker));
    report_note("ready");
    sd_notify_send(&s->systemd, "READY=1\nSTATUS=ready");
    return LEAT_OK;
}

/* Until a signal ends it: *out_signal. */
static leat_status serve_on(serve *s, int *out_signal, leat_error *error)
{
    enum { TICK_MS = 200 };
    for (;;) {
        int number = server_signals_wait(TICK_MS);
        if (number == SIGHUP) reload(s);
        if (number == SIGQUIT) log_state(s);
        if (number == SIGTERM || number == SIGINT) {
            *out_signal = number;
            return LEAT_OK;
        }
        TRY(tick(s, error));
    }
}

/* Running requests go on until --drain is over; a second signal ends all at once. */
static void drain(serve *s)
{
    enum { TICK_MS = 50 };
    uint64_t end_ns = clock_now_ns() + (uint64_t)s->c->options.drain * 1000000000;
    sd_notify_send(&s->systemd, "STOPPING=1\nSTATUS=finishing requests");
    api_set_stopping(&s->routes);
    http_server_drain(s->http);
    uint32_t count = http_server_busy_count(s->http);
    report_note("stopping: %u requests to finish", count);
    while (http_server_busy_count(s->http) > 0 && clock_now_ns() < end_ns) {
        int number = server_signals_wait(TICK_MS);
        if (number == SIGTERM || number == SIGINT) _exit(128 + number);
        if (number == SIGQUIT) log_state(s);
        feed_watchdog(s);
    }
}

/* 0, none, for bodies of a size that no machine has. */
static uint64_t bound(const cli_options *o, uint64_t bytes, uint64_t bodies)
{
    return o->max_body < UINT64_C(1) << 50 ? bytes + bodies * o->max_body : 0;
}

/* What is read before the sandbox closes. */
static leat_status read_files(serve *s, leat_error *error)
{
    const cli_options *o = &s->c->options;
    const char *stuck_ms = getenv("LEAT_SERVE_TEST_STUCK_MS");
    TRY(mem_open(bound(o, CONNECTIONS_BYTES, CONNECTIONS_BODIES), &s->connections, error));
    TRY(mem_open(bound(o, REQUESTS_BYTES, REQUESTS_BODIES), &s->requests, error));
    s->template_text = (strbuf){.ledger = s->c->ledger};
    s->stuck_ns = (stuck_ms ? strtoull(stuck_ms, NULL, 10) : 120000) * 1000000;
    s->watchdog_ns = clock_now_ns();
    return o->chat_template ? input_read_file(s->c, o->chat_template, &s->template_text, error) : LEAT_OK;
}

static leat_status open_all(serve *s, const char *model_path, leat_error *error)
{
    cli *c = s->c;
    server_signals_open();
    TRY(http_library_open(error)); /* the sandbox may forbid to map code */
    TRY(read_files(s, error));
    unknown_fields_tell(c->options.verbose > 0);
    TRY(open_auth(s, error));
    TRY(open_listening(s, error));
    TRY(engine_setup_open_model(model_path, &s->setup, error));
    TRY(open_api(s, model_path, error));
    s->systemd = sd_notify_open();
    TRY(serve_sandbox_enter(&c->options, s->setup.info->path, s->listening.unlink_path, error));
    TRY(open_worker(s, error));
    TRY(open_http(s, error));
    say_where(s);
    sd_notify_send(&s->systemd, "STATUS=loading the model");
    return LEAT_OK;
}

static void close_all(serve *s)
{
    server_signals_make_deadly();
    if (s->http) http_server_cut(s->http);
    if (s->worker) engine_worker_drain(s->worker, 0);          /* cancels what still runs */
    if (s->http) http_server_stop(s->http);                    /* nobody asks any more */
    if (s->worker) engine_worker_drain(s->worker, UINT64_MAX); /* all jobs have ended: nobody keeps an exchange */
    http_server_close(&s->http);
    api_close(&s->routes); /* whose template lies in the engine's memory */
    engine_worker_close(&s->worker);
    metrics_close(&s->counts);
    if (s->listening.fd >= 0) close(s->listening.fd);
    http_listening_forget(&s->listening);
    http_auth_close(&s->auth);
    engine_setup_close(&s->setup);
    sd_notify_close(&s->systemd);
    strbuf_reset(&s->template_text);
    mem_close(&s->requests);
    mem_close(&s->connections);
}

leat_status cmd_serve(cli *c, leat_error *error)
{
    serve s = {.c = c, .listening.fd = -1, .systemd.fd = -1};
    const char *model_path;
    int signal_number = 0;
    if (c->options.print_config) {
        serve_config_print(c);
        return LEAT_OK;
    }
    TRY(model_argument(c, &model_path, error));
    TRY(cli_refuse_rest(c, error));
    if (c->options.print_client_config)
        return serve_config_print_client(c, c->options.print_client_config, model_path, error);
    if (!report_is_quiet()) report_say_more();
    leat_status status = open_all(&s, model_path, error);
    if (status == LEAT_OK) status = serve_on(&s, &signal_number, error);
    if (status == LEAT_OK) drain(&s);
    close_all(&s);
    return status;
}

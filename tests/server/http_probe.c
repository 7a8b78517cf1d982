/*
 * http_probe.c - the HTTP server without a model, with routes that do what tests need to see. Prints its port, then
 * serves until SIGTERM, and ends as leat serve does, with a drain of --drain milliseconds.
 *
 *     http_probe [KEY]         $LEAT_SERVE_LIMITS as for leat serve, $PROBE_DRAIN_MS
 *
 *     POST /echo               the body
 *     POST /hold               kept for ever
 *     POST /sleep?ms=N         the body, after its handler has slept
 *     POST /drop               forgotten by its handler
 *     POST /stream?count=N&bytes=B&pause_ms=P&idle_s=S&end=no
 *     GET  /counts             {"held", "closed", "refused"}: exchanges held, on_close calls, writes that were refused
 */
#include "server/http.h"
#include "server/http_auth.h"
#include "server/http_listening.h"
#include "server/serve_limits.h"
#include "server/server_signals.h"

#include "base/bytes.h"
#include "base/log.h"
#include "os/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HELD_MAX = 512 };

static struct {
    atomic_uint closed, refused, streams;
    pthread_mutex_t lock; /* guards held */
    http_exchange *held[HELD_MAX];
    uint32_t held_count;
} probe = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void count_close(void *user)
{
    (void)user;
    atomic_fetch_add(&probe.closed, 1);
}

static void handle_echo(http_exchange *x, void *user)
{
    (void)user;
    size_t bytes;
    const char *body = http_body(x, &bytes);
    http_set_header(x, "x-rest", http_path_rest(x));
    http_reply(x, 200, "application/json", body, bytes);
}

static void sleep_ms(uint32_t ms);
static uint32_t query_number(const http_exchange *x, const char *name, uint32_t otherwise);

static void handle_sleep(http_exchange *x, void *user)
{
    sleep_ms(query_number(x, "ms", 0));
    handle_echo(x, user);
}

static void handle_hold(http_exchange *x, void *user)
{
    (void)user;
    pthread_mutex_lock(&probe.lock);
    if (probe.held_count < HELD_MAX) probe.held[probe.held_count++] = http_keep(x);
    pthread_mutex_unlock(&probe.lock);
    http_on_close(x, count_close, NULL);
}

static void handle_drop(http_exchange *x, void *user)
{
    (void)x;
    (void)user;
}

static void handle_counts(http_exchange *x, void *user)
{
    (void)user;
    char body[128];
    pthread_mutex_lock(&probe.lock);
    uint32_t held = probe.held_count;
    pthread_mutex_unlock(&probe.lock);
    int bytes = snprintf(body, sizeof body, "{\"held\":%u,\"closed\":%u,\"refused\":%u}", held,
                         atomic_load(&probe.closed), atomic_load(&probe.refused));
    http_reply(x, 200, "application/json", body, (size_t)bytes);
}

/* ---- streams ---- */

static uint32_t query_number(const http_exchange *x, const char *name, uint32_t otherwise)
{
    const char *text = http_query(x, name);
    return text ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static void sleep_ms(uint32_t ms)
{
    const struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static size_t fill_silence(void *user, char *buffer, size_t size)
{
    (void)user;
    return (size_t)snprintf(buffer, size, ": waiting\n\n");
}

static void *write_stream(void *context)
{
    static char bytes[1 << 20];
    http_exchange *x = context;
    uint32_t count = query_number(x, "count", 3), pause_ms = query_number(x, "pause_ms", 10);
    uint32_t event_bytes = (uint32_t)min_u64(query_number(x, "bytes", 16), sizeof bytes);
    bool is_open = true;
    for (uint32_t i = 0; i < count && is_open; i++) {
        is_open = http_stream_write(x, bytes, event_bytes);
        sleep_ms(pause_ms);
    }
    if (!is_open) atomic_fetch_add(&probe.refused, 1);
    while (http_query(x, "end") && !http_is_closed(x)) sleep_ms(10); /* somebody else ends it */
    http_stream_end(x);
    http_release(&x);
    atomic_fetch_sub(&probe.streams, 1);
    return NULL;
}

static void handle_stream(http_exchange *x, void *user)
{
    (void)user;
    pthread_t thread;
    http_on_close(x, count_close, NULL);
    http_log_tokens(x, &(http_tokens){.prompt_count = 3, .generated_count = 5, .first_token_ns = 1000000});
    http_stream_begin(x, "text/event-stream; charset=utf-8");
    http_stream_set_idle(x, query_number(x, "idle_s", 0), fill_silence, NULL);
    atomic_fetch_add(&probe.streams, 1);
    if (pthread_create(&thread, NULL, write_stream, http_keep(x)) == 0) pthread_detach(thread);
}

static const http_route routes[] = {
    {"POST", "/echo", handle_echo, 0},
    {"POST", "/echo/*", handle_echo, 0},
    {"POST", "/sleep", handle_sleep, 0},
    {"POST", "/hold", handle_hold, 0},
    {"POST", "/drop", handle_drop, 0},
    {"POST", "/stream", handle_stream, 0},
    {"GET", "/counts", handle_counts, HTTP_NO_BODY},
    {"GET", "/health", handle_counts, HTTP_NO_BODY | HTTP_WITHOUT_KEY},
};

/* ---- the program ---- */

static void print_line(void *user, log_level level, const char *line)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static void end(http_server *server)
{
    const char *drain = getenv("PROBE_DRAIN_MS");
    uint64_t end_ns = clock_now_ns() + strtoull(drain ? drain : "0", NULL, 10) * 1000000;
    http_server_drain(server);
    while (http_server_busy_count(server) > 0 && clock_now_ns() < end_ns) sleep_ms(10);
    http_server_cut(server);
    for (uint32_t i = 0; i < probe.held_count; i++) http_release(&probe.held[i]);
    while (atomic_load(&probe.streams) > 0) sleep_ms(10);
    http_server_close(&server);
    fprintf(stderr, "closed: %u\n", atomic_load(&probe.closed));
}

static leat_status serve(mem *ledger, char *key, leat_error *error)
{
    http_listening listening;
    http_server *server;
    http_auth *auth = NULL;
    cli_options options = {.max_body = 1 << 20};
    static const char *const origins[] = {"https://page.example"}, *const hosts[] = {"other.example"};
    TRY(http_listening_open("127.0.0.1", 0, &listening, error));
    if (key) TRY(http_auth_open(ledger, &key, 1, NULL, &auth, error));
    http_settings settings = {.ledger = ledger,
                              .listen_fd = listening.fd,
                              .is_loopback = true,
                              .routes = routes,
                              .route_count = ARRAY_COUNT(routes),
                              .auth = auth,
                              .allowed_hosts = hosts,
                              .allowed_host_count = 1,
                              .cors_origins = origins,
                              .cors_origin_count = 1,
                              .log_access = true};
    TRY(serve_limits_read(&options, &settings.limits, error));
    server_signals_open();
    TRY(http_server_open(&settings, &server, error));
    printf("%s\n", listening.url);
    fflush(stdout);
    while (server_signals_wait(1000) != SIGTERM) {
    }
    end(server);
    http_auth_close(&auth);
    return LEAT_OK;
}

int main(int argument_count, char **arguments)
{
    leat_error error = {0};
    mem *ledger;
    log_set_sink(print_line, NULL, LOG_DEBUG);
    leat_status status = mem_open(0, &ledger, &error);
    if (status == LEAT_OK) status = serve(ledger, argument_count > 1 ? arguments[1] : NULL, &error);
    if (status != LEAT_OK)
        fprintf(stderr, "http_probe: %s\n", error.text);
    else
        mem_close(&ledger); /* which finds what was not given back */
    return status == LEAT_OK ? 0 : 1;
}

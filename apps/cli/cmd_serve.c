/*
 * cmd_serve.c - leat serve: an HTTP server around one model.
 *
 * The main thread opens the socket, starts the threads of the server and then waits for signals. The model is loaded by
 * a thread of its own meanwhile, so that /health can tell how far it is.
 */
#include "cli.h"
#include "engine_setup.h"
#include "report.h"

#include "os/own_thread.h"
#include "server/http.h"
#include "server/http_listening.h"
#include "server/server_state.h"

#include <signal.h>
#include <unistd.h>

typedef struct serve {
    cli *c;
    server_state state;
    engine_setup setup;
    http_listening listening;
    http_server *http;
    leat_status load_status;
    leat_error load_error;
} serve;

static void handle_health(http_exchange *x, void *user) { server_state_reply_health(&((serve *)user)->state, x); }

static void handle_live(http_exchange *x, void *user)
{
    (void)user;
    server_state_reply_live(x);
}

static void handle_version(http_exchange *x, void *user)
{
    (void)user;
    server_state_reply_version(x);
}

static const http_route routes[] = {
    {"GET", "/health", handle_health, HTTP_WITHOUT_KEY | HTTP_NO_BODY},
    {"GET", "/livez", handle_live, HTTP_WITHOUT_KEY | HTTP_NO_BODY},
    {"GET", "/version", handle_version, HTTP_NO_BODY},
};

static leat_status open_http(serve *s, leat_error *error)
{
    cli *c = s->c;
    TRY(http_listening_open(c->options.host, (uint16_t)c->options.port, &s->listening, error));
    http_settings settings = {.ledger = c->ledger,
                              .listen_fd = s->listening.fd,
                              .is_loopback = s->listening.is_loopback,
                              .is_local = s->listening.is_local,
                              .limits = http_limits_default,
                              .routes = routes,
                              .route_count = sizeof routes / sizeof *routes,
                              .user = s,
                              .log_access = true};
    TRY(http_server_open(&settings, &s->http, error));
    report_note("listening on %s", s->listening.url);
    return LEAT_OK;
}

static int wait_for_end(const sigset_t *signals)
{
    int number = 0;
    while (sigwait(signals, &number) != 0 || number == SIGHUP) {
    }
    return number;
}

static leat_status run_server(serve *s, const char *model_path, leat_error *error)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    TRY(open_http(s, error));
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    TRY(engine_setup_open_model(model_path, &s->setup, error));
    TRY(engine_setup_open_engine(s->c, 0, &s->setup, error));
    server_state_set(&s->state, SERVER_READY);
    wait_for_end(&signals);
    server_state_set(&s->state, SERVER_STOPPING);
    return LEAT_OK;
}

leat_status cmd_serve(cli *c, leat_error *error)
{
    serve s = {.c = c};
    const char *model_path = c->options.model ? c->options.model : cli_take_word(c);
    if (!model_path) return FAIL(error, USAGE, "leat serve: which model?");
    TRY(cli_refuse_rest(c, error));
    leat_status status = run_server(&s, model_path, error);
    http_server_close(&s.http);
    http_listening_forget(&s.listening);
    engine_setup_close(&s.setup);
    return status;
}

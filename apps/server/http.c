#include "http.h"

#include "http_auth.h"
#include "http_exchange.h"
#include "http_guard.h"
#include "http_server.h"

#include "base/hash.h"
#include "base/log.h"
#include "os/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTION_MEMORY_BYTES = 128 * 1024, /* holds a head that is too large, so that it can be refused in our words */
    SPARE_CONNECTIONS = 64,               /* above the limit: for those that drive out idle ones, and for /health */
    SEND_MS = 60 * 1000,                  /* a whole reply may take that long, and longer if it is large: */
    SEND_BYTES_PER_MS = 4,
    CUT_WAIT_MS = 2000,
};

const http_limits http_limits_default = {
    .body_bytes = 16 << 20,
    .line_bytes = 8 << 10,
    .header_bytes = 32 << 10,
    .header_count = 100,
    .header_ms = 10 * 1000,
    .body_ms = 60 * 1000,
    .idle_ms = 75 * 1000,
    .stall_ms = 30 * 1000,
    .stall_bytes = 64 << 10,
    .stream_bytes = 4 << 20,
    .connections = 256,
    .address_connections = 32,
};

const http_settings *server_settings(const http_server *server) { return &server->settings; }

void server_make_request_id(http_server *server, char *out)
{
    uint64_t number = atomic_fetch_add(&server->id_count, 1);
    snprintf(out, REQUEST_ID_BYTES, "req_%016llx", (unsigned long long)hash_u64(server->id_seed + number));
}

bool server_take_body_bytes(http_server *server, uint64_t bytes)
{
    const uint64_t most = server->settings.limits.body_bytes * 4;
    if (atomic_fetch_add(&server->body_bytes, bytes) + bytes <= most) return true;
    atomic_fetch_sub(&server->body_bytes, bytes);
    return false;
}

void server_give_body_bytes(http_server *server, uint64_t bytes) { atomic_fetch_sub(&server->body_bytes, bytes); }

/* ---- routes ---- */

static bool route_matches(const http_route *route, const char *path, const char **out_rest)
{
    size_t length = strlen(route->path);
    *out_rest = "";
    if (route->path[length - 1] != '*') return strcmp(route->path, path) == 0;
    *out_rest = path + length - 1;
    return strncmp(route->path, path, length - 1) == 0 && **out_rest;
}

/* Puts the route into the exchange, or says what is wrong: 404, or 405 with the methods that are right. */
static int find_route(http_exchange *x, char *out_allow, size_t size)
{
    const http_settings *s = server_settings(x->server);
    const char *method = strcmp(x->request.method, "HEAD") == 0 ? "GET" : x->request.method;
    size_t used = 0;
    *out_allow = '\0';
    for (uint32_t i = 0; i < s->route_count; i++) {
        const char *rest;
        if (!route_matches(&s->routes[i], x->request.path, &rest)) continue;
        if (strcmp(s->routes[i].method, method) == 0) {
            x->route = &s->routes[i];
            x->request.path_rest = rest;
            return 0;
        }
        if (used < size)
            used += (size_t)snprintf(out_allow + used, size - used, "%s%s", used ? ", " : "", s->routes[i].method);
    }
    return used > 0 ? 405 : 404;
}

/* The path is named: a client that was given a wrong base URL shows where it went. */
static void refuse_route(http_exchange *x, int status, const char *allow)
{
    char message[256];
    if (status == 405) {
        http_set_header(x, "Allow", allow);
        snprintf(message, sizeof message, "%.100s takes %s, not %.20s.", x->request.path, allow, x->request.method);
        http_fail(x, 405, "invalid_request_error", "method_not_allowed", NULL, message);
    } else {
        snprintf(message, sizeof message, "This server has no path %.100s.", x->request.path);
        http_fail(x, 404, "not_found_error", "not_found", NULL, message);
    }
}

/* ---- libmicrohttpd's calls ---- */

/* Everything but /health and the like needs a key where there are keys, also paths that do not exist. */
static bool check_key(http_exchange *x)
{
    http_auth *auth = server_settings(x->server)->auth;
    bool is_open = x->route && (x->route->flags & HTTP_WITHOUT_KEY);
    if (!auth) return true;
    if (is_open || http_auth_check(auth, http_header(x, "Authorization"), http_header(x, "x-api-key"))) return true;
    http_set_header(x, "WWW-Authenticate", "Bearer");
    http_fail(x, 401, "authentication_error", "invalid_api_key", NULL, "A valid API key is needed.");
    return false;
}

/* What must work at all times is not refused for want of room. */
static bool check_room(http_exchange *x, const http_connection *c)
{
    bool is_stopping = atomic_load(&x->server->is_draining);
    if ((x->route->flags & HTTP_WITHOUT_KEY) || (!is_stopping && connection_has_room(x->server, c))) return true;
    http_set_header(x, "Retry-After", is_stopping ? "5" : "1");
    http_fail(x, 503, "unavailable_error", is_stopping ? "shutting_down" : "too_many_connections", NULL,
              is_stopping ? "The server is shutting down." : "Too many connections are open.");
    return false;
}

/* The head is complete. False: the exchange has a reply already. */
static bool accept_head(http_exchange *x, const http_connection *c, const char *method, const char *url,
                        const char *version)
{
    char allow[128];
    if (request_read_head(x, method, url, NULL) != LEAT_OK) {
        http_set_header(x, "Retry-After", "1");
        http_fail(x, 503, "unavailable_error", "out_of_memory", NULL, "out of memory");
        return false;
    }
    x->is_framed = guard_check_form(x, c, method, version);
    if (!x->is_framed || !guard_check_source(x)) return false;
    int wrong = find_route(x, allow, sizeof allow);
    if (!check_key(x)) return false;
    if (wrong != 0) {
        refuse_route(x, wrong, allow);
        return false;
    }
    return check_room(x, c) && guard_check_body(x);
}

static void take_body(http_exchange *x, const char *bytes, size_t count)
{
    if (http_has_reply(x)) return; /* refused: what still comes is thrown away */
    if (x->request.body_bytes + count > server_settings(x->server)->limits.body_bytes) {
        x->must_close = true;
        http_fail(x, 413, "invalid_request_error", "body_too_large", NULL, "The body is too large.");
    } else if (request_append_body(x, bytes, count, NULL) != LEAT_OK) {
        x->must_close = true;
        http_set_header(x, "Retry-After", "1");
        http_fail(x, 503, "unavailable_error", "out_of_memory", NULL, "Too many large requests at once.");
    }
}

static void dispatch(http_server *server, http_connection *c, http_exchange *x)
{
    connection_set_phase(server, c, CONNECTION_ANSWER, 0);
    if (x->is_dispatched || http_has_reply(x)) return;
    x->is_dispatched = true;
    if (x->route->flags & HTTP_NO_BODY) {
        http_exchange *kept = http_keep(x);
        x->route->handler(x, server->settings.user);
        http_release(&kept);
    } else {
        workers_put(server, x);
    }
}

static enum MHD_Result answer(http_server *server, http_connection *c, http_exchange *x)
{
    uint64_t bytes;
    enum MHD_Result result = exchange_answer(x, &bytes);
    if (bytes > 0) connection_set_phase(server, c, CONNECTION_SENDING, SEND_MS + (uint32_t)(bytes / SEND_BYTES_PER_MS));
    return result;
}

static void refuse_upload(http_server *server, http_connection *c, http_exchange *x)
{
    exchange_send_past(x, c->fd);
    pthread_mutex_lock(&server->connections_lock);
    c->is_refused = true;
    pthread_mutex_unlock(&server->connections_lock);
}

/* A refusal without a body behind it is sent when the request is complete, and the connection stays. */
static enum MHD_Result refuse_head(http_server *server, http_connection *c, http_exchange *x)
{
    bool has_body = guard_has_body(x);
    if (!has_body && !x->must_close) return MHD_YES;
    if (!has_body || !x->is_framed || http_header(x, "Expect")) return answer(server, c, x);
    refuse_upload(server, c, x);
    return MHD_YES;
}

static http_connection *record_of(struct MHD_Connection *mhd)
{
    return microhttpd.get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static enum MHD_Result handle_access(void *user, struct MHD_Connection *mhd, const char *url, const char *method,
                                     const char *version, const char *upload, size_t *upload_bytes, void **slot)
{
    http_server *server = user;
    http_connection *c = record_of(mhd);
    http_exchange *x = *slot;
    if (!c) return MHD_NO;
    if (!x) {
        if (exchange_open(server, server->ledger, mhd, &x, NULL) != LEAT_OK) return MHD_NO;
        *slot = x;
        if (server->settings.on_begun) server->settings.on_begun(server->settings.user);
        connection_set_exchange(server, c, x);
        connection_set_phase(server, c, CONNECTION_BODY, server->settings.limits.body_ms);
        if (accept_head(x, c, method, url, version)) return MHD_YES;
        return refuse_head(server, c, x);
    }
    if (*upload_bytes > 0) {
        take_body(x, upload, *upload_bytes);
        if (http_has_reply(x)) refuse_upload(server, c, x);
        *upload_bytes = 0;
        return MHD_YES;
    }
    dispatch(server, c, x);
    return answer(server, c, x);
}

/* Called with the target of the request line before it is taken apart. */
static void *handle_target(void *user, const char *target, struct MHD_Connection *mhd)
{
    (void)user;
    http_connection *c = record_of(mhd);
    if (c) {
        c->target = target;
        c->target_bytes = (uint32_t)strlen(target);
        c->is_target_bad = !guard_target_is_good(target);
    }
    return NULL;
}

static void handle_completed(void *user, struct MHD_Connection *mhd, void **slot, enum MHD_RequestTerminationCode why)
{
    http_server *server = user;
    http_exchange *x = *slot;
    http_connection *c = record_of(mhd);
    *slot = NULL;
    if (!x) return;
    if (c) {
        connection_set_exchange(server, c, NULL);
        connection_set_phase(server, c, CONNECTION_HEAD, server->settings.limits.idle_ms);
    }
    exchange_finish(x, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

static void handle_connection(void *user, struct MHD_Connection *mhd, void **socket_context,
                              enum MHD_ConnectionNotificationCode code)
{
    http_server *server = user;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = connection_add(server, mhd);
    } else if (*socket_context) {
        connection_remove(server, *socket_context);
        *socket_context = NULL;
    }
}

static enum MHD_Result handle_accept(void *user, const struct sockaddr *address, socklen_t length)
{
    (void)length;
    return connection_is_welcome(user, address) ? MHD_YES : MHD_NO;
}

static void log_library(void *user, const char *format, va_list arguments)
{
    char text[512];
    (void)user;
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_write(LOG_DEBUG, "libmicrohttpd: %s", text);
}

static void panic(void *user, const char *file, unsigned line, const char *why)
{
    (void)user;
    log_write(LOG_ERROR, "libmicrohttpd gives up: %s:%u: %s", file, line, why ? why : "");
    abort();
}

/* ---- opening and closing ---- */

static leat_status start_daemon(http_server *server, leat_error *error)
{
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    const unsigned connections = server->settings.limits.connections + SPARE_CONNECTIONS;
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    microhttpd.set_panic_func(panic, NULL);
    server->daemon = microhttpd.start_daemon(
        flags, 0, handle_accept, server, handle_access, server, MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL,
        MHD_OPTION_LISTEN_SOCKET, server->settings.listen_fd, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_URI_LOG_CALLBACK, handle_target, server,
        MHD_OPTION_NOTIFY_COMPLETED, handle_completed, server, MHD_OPTION_NOTIFY_CONNECTION, handle_connection, server,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)1 << 20, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!server->daemon) return FAIL(error, INTERNAL, "the HTTP server could not be started: %s", strerror(errno));
    return LEAT_OK;
}

leat_status http_server_open(const http_settings *settings, http_server **out_server, leat_error *error)
{
    leat_status status;
    http_server *server;
    TRY(http_library_open(error));
    TRY(MEM_NEW(settings->ledger, META, 1, &server, error));
    server->settings = *settings;
    server->ledger = settings->ledger;
    server->watch_event = server->quiet_fd = -1;
    if (getrandom(&server->id_seed, sizeof server->id_seed, 0) < 0) server->id_seed = clock_now_ns();
    pthread_mutex_init(&server->connections_lock, NULL);
    pthread_mutex_init(&server->queue_lock, NULL);
    pthread_cond_init(&server->queue_filled, NULL);
    TRY_OR(failed, workers_open(server, error));
    TRY_OR(failed, watch_open(server, error));
    TRY_OR(failed, start_daemon(server, error));
    *out_server = server;
    return LEAT_OK;
failed:
    http_server_close(&server);
    return status;
}

void http_server_drain(http_server *server)
{
    if (!server->daemon || atomic_exchange(&server->is_draining, true)) return;
    /* The descriptor comes back open: clients would wait in its queue for ever. Their thread may be about to accept
     * on it, so its number must stay what it is until that thread has ended. */
    server->quiet_fd = microhttpd.quiesce_daemon(server->daemon);
    if (server->quiet_fd >= 0 && !server->settings.is_shared) shutdown(server->quiet_fd, SHUT_RDWR);
}

uint32_t http_server_busy_count(http_server *server)
{
    uint32_t count = 0;
    pthread_mutex_lock(&server->connections_lock);
    for (const http_connection *c = server->connections; c; c = c->next) count += c->exchange && !c->is_refused;
    pthread_mutex_unlock(&server->connections_lock);
    return count;
}

/* One exchange that has not been cut yet, with a reference. */
static http_exchange *next_to_cut(http_server *server)
{
    http_exchange *found = NULL;
    pthread_mutex_lock(&server->connections_lock);
    for (http_connection *c = server->connections; c && !found; c = c->next) {
        if (!c->exchange || c->exchange->is_cut) continue;
        found = c->exchange;
        found->is_cut = true;
        atomic_fetch_add_explicit(&found->references, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&server->connections_lock);
    return found;
}

void http_server_cut(http_server *server)
{
    const struct timespec tick = {.tv_nsec = 10 * 1000 * 1000};
    http_exchange *x;
    while ((x = next_to_cut(server))) {
        exchange_cut(x);
        exchange_drop(x);
    }
    for (int waited_ms = 0; waited_ms < CUT_WAIT_MS && http_server_busy_count(server) > 0; waited_ms += 10)
        nanosleep(&tick, NULL);
}

void http_server_stop(http_server *server)
{
    if (server->is_stopped) return;
    server->is_stopped = true;
    http_server_drain(server);
    workers_close(server);
    if (server->daemon) http_server_cut(server);
    watch_close(server);
    if (server->daemon) microhttpd.stop_daemon(server->daemon);
    server->daemon = NULL;
    if (server->quiet_fd >= 0) close(server->quiet_fd);
    server->quiet_fd = -1;
}

void http_server_close(http_server **server_slot)
{
    http_server *server = *server_slot;
    *server_slot = NULL;
    if (!server) return;
    http_server_stop(server);
    pthread_cond_destroy(&server->queue_filled);
    pthread_mutex_destroy(&server->queue_lock);
    pthread_mutex_destroy(&server->connections_lock);
    mem_free(server->ledger, server);
}

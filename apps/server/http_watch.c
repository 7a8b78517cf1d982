/*
 * http_watch.c - four times a second: who hung up, who is too slow, which stream has been silent.
 *
 * libmicrohttpd notices a hang-up only when it reads or writes, and its own timeout begins anew with every byte. So the
 * sockets of requests that are being received or answered are asked here, and every phase of a connection has an end on
 * the clock. What is found leads to shutdown() of the socket; all else then happens on the thread of the sockets as
 * with any client that goes.
 */
#include "http_exchange.h"
#include "http_server.h"

#include "base/log.h"
#include "os/clock.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TICK_MS = 250 };

/* The list's lock is held. */
static void cut(http_connection *c, const char *why)
{
    if (c->is_cut) return;
    c->is_cut = true;
    log_write(LOG_DEBUG, "http: a connection is cut: %s", why);
    shutdown(c->fd, SHUT_RDWR);
}

static bool has_hung_up(const http_connection *c)
{
    struct pollfd socket = {.fd = c->fd, .events = POLLRDHUP};
    return poll(&socket, 1, 0) > 0 && (socket.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* All that came was read, so the rest of the body never will. libmicrohttpd, which asks the socket for edges only,
 * misses such an end now and then. */
static bool has_left_in_body(const http_connection *c)
{
    char byte;
    return c->phase == CONNECTION_BODY && has_hung_up(c) && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* The exchange, with a reference, when its owner has to hear of it or be asked for text; the list's lock is held. */
static http_exchange *look_at(http_connection *c, uint64_t now_ns, bool *out_has_gone)
{
    *out_has_gone = false;
    if (c->deadline_ns != 0 && now_ns > c->deadline_ns) cut(c, "its time is over");
    if (has_left_in_body(c)) cut(c, "its client left within the body");
    if (!c->exchange || c->phase != CONNECTION_ANSWER) return NULL;
    bool is_stalled = !c->is_cut && stream_is_stalled(c->exchange, now_ns);
    if (is_stalled) cut(c, "nothing was taken of its stream");
    *out_has_gone = c->is_cut || has_hung_up(c);
    atomic_fetch_add_explicit(&c->exchange->references, 1, memory_order_relaxed);
    return c->exchange;
}

/* Hooks run without the list's lock: what they wake may take it. The list can change meanwhile, so the walk begins
 * anew behind each; a record that was seen in this round carries its mark. */
static void look_at_all(http_server *server)
{
    enum { BATCH = 64 };
    uint64_t now_ns = clock_now_ns();
    uint32_t skipped = 0;
    for (;;) {
        http_exchange *found[BATCH];
        bool have_gone[BATCH];
        uint32_t count = 0, position = 0;
        pthread_mutex_lock(&server->connections_lock);
        for (http_connection *c = server->connections; c && count < BATCH; c = c->next, position++) {
            if (position < skipped) continue;
            found[count] = look_at(c, now_ns, &have_gone[count]);
            if (found[count]) count++;
        }
        bool is_last = count < BATCH;
        pthread_mutex_unlock(&server->connections_lock);
        for (uint32_t i = 0; i < count; i++) {
            if (have_gone[i])
                exchange_close(found[i]);
            else
                stream_fill_silence(found[i], now_ns);
            exchange_drop(found[i]);
        }
        if (is_last) return;
        skipped = position; /* the list may have changed: someone may wait for the next tick */
    }
}

static void watch(void *context)
{
    http_server *server = context;
    struct pollfd event = {.fd = server->watch_event, .events = POLLIN};
    while (poll(&event, 1, TICK_MS) <= 0) look_at_all(server);
}

leat_status watch_open(http_server *server, leat_error *error)
{
    enum { STACK_BYTES = 256 * 1024 };
    server->watch_event = eventfd(0, EFD_CLOEXEC);
    if (server->watch_event < 0) return FAIL(error, IO, "http: no descriptor for the watch");
    return own_thread_start(server->ledger, MEM_META, "http-watch", STACK_BYTES, watch, server, &server->watch, error);
}

void watch_close(http_server *server)
{
    if (server->watch_event < 0) return;
    const uint64_t one = 1;
    ssize_t ignored = write(server->watch_event, &one, sizeof one);
    (void)ignored;
    own_thread_join(&server->watch);
    close(server->watch_event);
    server->watch_event = -1;
}

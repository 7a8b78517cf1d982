/*
 * http_workers.c - two threads that run the handlers of requests with bodies: first come, first served, but for large
 * bodies, of which only one is handled at a time. Ten megabytes become tokens in seconds; two such requests would
 * otherwise stand before everybody.
 */
#include "http_exchange.h"
#include "http_server.h"

enum { LARGE_BYTES = 512 * 1024 };

/* A body that may take seconds to be understood. */
static bool is_large(const http_exchange *x) { return x->request.body_bytes > LARGE_BYTES; }

/* Under the lock: the first that may be handled now. While a handler has a large body the other large ones wait. */
static http_exchange *find(const http_server *server, http_exchange **out_previous)
{
    *out_previous = NULL;
    for (http_exchange *x = server->queue_first; x; *out_previous = x, x = x->next_waiting)
        if (!server->has_large || !is_large(x)) return x;
    return NULL;
}

static http_exchange *take(http_server *server)
{
    http_exchange *x, *previous;
    pthread_mutex_lock(&server->queue_lock);
    while (!(x = find(server, &previous)) && !(server->queue_is_closed && !server->queue_first))
        pthread_cond_wait(&server->queue_filled, &server->queue_lock);
    if (x && previous) previous->next_waiting = x->next_waiting;
    if (x && !previous) server->queue_first = x->next_waiting;
    if (x && server->queue_last == x) server->queue_last = previous;
    if (x && is_large(x)) server->has_large = true;
    pthread_mutex_unlock(&server->queue_lock);
    return x;
}

static void leave_large(http_server *server)
{
    pthread_mutex_lock(&server->queue_lock);
    server->has_large = false;
    pthread_cond_broadcast(&server->queue_filled);
    pthread_mutex_unlock(&server->queue_lock);
}

static void run_handlers(void *context)
{
    http_server *server = context;
    http_exchange *x;
    while ((x = take(server))) {
        const bool was_large = is_large(x);
        if (!http_is_closed(x)) x->route->handler(x, server->settings.user);
        http_release(&x);
        if (was_large) leave_large(server);
    }
}

leat_status workers_open(http_server *server, leat_error *error)
{
    enum { STACK_BYTES = 1 << 20 };
    for (int i = 0; i < HANDLER_THREADS; i++)
        TRY(own_thread_start(server->ledger, MEM_META, "http-work", STACK_BYTES, run_handlers, server,
                             &server->handlers[i], error));
    return LEAT_OK;
}

void workers_put(http_server *server, http_exchange *x)
{
    http_keep(x);
    pthread_mutex_lock(&server->queue_lock);
    x->next_waiting = NULL;
    if (server->queue_last)
        server->queue_last->next_waiting = x;
    else
        server->queue_first = x;
    server->queue_last = x;
    pthread_cond_signal(&server->queue_filled);
    pthread_mutex_unlock(&server->queue_lock);
}

void workers_close(http_server *server)
{
    pthread_mutex_lock(&server->queue_lock);
    server->queue_is_closed = true;
    pthread_cond_broadcast(&server->queue_filled);
    pthread_mutex_unlock(&server->queue_lock);
    for (int i = 0; i < HANDLER_THREADS; i++) own_thread_join(&server->handlers[i]);
}

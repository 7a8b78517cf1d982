/* http_workers.c - two threads that run the handlers of requests with bodies, first come, first served. */
#include "http_exchange.h"
#include "http_server.h"

static http_exchange *take(http_server *server)
{
    pthread_mutex_lock(&server->queue_lock);
    while (!server->queue_first && !server->queue_is_closed)
        pthread_cond_wait(&server->queue_filled, &server->queue_lock);
    http_exchange *x = server->queue_first;
    if (x) server->queue_first = x->next_waiting;
    if (!server->queue_first) server->queue_last = NULL;
    pthread_mutex_unlock(&server->queue_lock);
    return x;
}

static void run_handlers(void *context)
{
    http_server *server = context;
    http_exchange *x;
    while ((x = take(server))) {
        if (!http_is_closed(x)) x->route->handler(x, server->settings.user);
        http_release(&x);
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

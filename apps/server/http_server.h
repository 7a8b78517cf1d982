/*
 * http_server.h - the server from the inside: its settings, its connections, its threads. For the files of the HTTP
 * server alone.
 *
 * A *connection* is a record beside libmicrohttpd's own: what it is waited for, until when. Records come and go on the
 * thread of the sockets; the list's lock lets the watch read them, and shut a socket down, while it is certainly open.
 */
#ifndef SERVER_HTTP_SERVER_H
#define SERVER_HTTP_SERVER_H

#include "http.h"
#include "http_library.h"

#include "os/own_thread.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

typedef enum connection_phase {
    CONNECTION_HEAD,    /* no request yet, or not all of its head */
    CONNECTION_BODY,    /* its body */
    CONNECTION_ANSWER,  /* handler and stream: as long as it takes */
    CONNECTION_SENDING, /* a whole reply is on its way */
} connection_phase;

typedef struct http_connection http_connection;
struct http_connection {
    http_connection *next, *previous;
    int fd;
    struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d, IPv6 as its /64; zero for Unix sockets */
    bool is_counted;         /* against the limit of its address */
    bool is_cut;
    bool is_refused; /* its request has its reply, only its body is still coming */
    connection_phase phase;
    uint64_t since_ns, deadline_ns; /* of the phase; deadline 0: none */
    uint64_t request_count;
    const char *target;      /* where it lay: to be compared, not read */
    uint32_t target_bytes;   /* of the request line that came last */
    bool is_target_bad;      /* it was no path, or holds what no path may */
    http_exchange *exchange; /* while libmicrohttpd has one */
};

enum { HANDLER_THREADS = 2 };

struct http_server {
    http_settings settings;
    mem *ledger;
    struct MHD_Daemon *daemon;
    uint64_t id_seed;
    atomic_uint_fast64_t id_count;
    atomic_uint_fast64_t body_bytes; /* held by all requests */
    atomic_bool is_draining;
    bool is_stopped;
    int quiet_fd; /* where it listened, until the end; -1: not yet, or no more */

    pthread_mutex_t connections_lock; /* guards the list and its records */
    http_connection *connections;
    uint32_t connection_count;

    pthread_mutex_t queue_lock; /* guards the queue of exchanges for the handler threads */
    pthread_cond_t queue_filled;
    http_exchange *queue_first, *queue_last;
    bool queue_is_closed;
    bool has_large; /* a handler has a large body */
    own_thread handlers[HANDLER_THREADS];

    own_thread watch;
    int watch_event; /* eventfd: the watch shall end */
};

const http_settings *server_settings(const http_server *server);
void server_make_request_id(http_server *server, char *out);
/* Memory for bodies; false: as much as all may have together is taken. */
bool server_take_body_bytes(http_server *server, uint64_t bytes);
void server_give_body_bytes(http_server *server, uint64_t bytes);

/* http_connection.c */
/* Whether one more connection from this address is allowed. */
bool connection_is_welcome(http_server *server, const struct sockaddr *address);
/* A record for a new one; drives out the one that has been idle longest when there are too many. NULL: no memory. */
http_connection *connection_add(http_server *server, struct MHD_Connection *mhd);
void connection_remove(http_server *server, http_connection *connection);
void connection_set_phase(http_server *server, http_connection *connection, connection_phase phase, uint32_t limit_ms);
void connection_set_exchange(http_server *server, http_connection *connection, http_exchange *x);
/* False: as many as may be were open before it, so that on this one only what needs no engine is answered. */
bool connection_has_room(http_server *server, const http_connection *connection);

/* http_workers.c: the threads that run handlers. */
MUST_CHECK leat_status workers_open(http_server *server, leat_error *error);
void workers_put(http_server *server, http_exchange *x);
/* Handles what waits, then ends the threads. */
void workers_close(http_server *server);

/* http_watch.c: hang-ups, deadlines, silence. */
MUST_CHECK leat_status watch_open(http_server *server, leat_error *error);
void watch_close(http_server *server);

#endif

/*
 * http_exchange.h - an exchange from the inside: for the files of the HTTP server alone. What it means is in http.h.
 *
 *     RECEIVING -> HANDLED -> (reply == REPLY_WHOLE | REPLY_STREAM) -> finished
 *
 * Two references at least exist while a client waits: libmicrohttpd's (dropped by exchange_finish) and those of owners
 * outside. `connection` is NULL from exchange_finish on: then nothing can be sent any more.
 *
 * A connection without anything to send is *suspended*: libmicrohttpd forgets it until it is resumed. `is_suspended` is
 * set by the thread of the sockets under `lock`; whoever clears it resumes. libmicrohttpd ends the process when it is
 * stopped with suspended connections, so exchange_cut resumes.
 *
 * Locks: hook_lock before lock; the server's connection list before both. hook_lock is held while a hook of the
 * exchange's owner runs, `lock` never is.
 */
#ifndef SERVER_HTTP_EXCHANGE_H
#define SERVER_HTTP_EXCHANGE_H

#include "http.h"
#include "http_library.h"

#include <pthread.h>
#include <stdatomic.h>

enum { REQUEST_ID_BYTES = 24, REPLY_HEADER_MAX = 16 };

typedef struct http_field {
    const char *name, *value;
} http_field;

/* What was asked: copied, because libmicrohttpd's own copy goes with the client. */
typedef struct http_request {
    void *block; /* all texts */
    const char *method, *path, *path_rest;
    http_field *headers, *queries;
    uint32_t header_count, query_count;
    char *body;
    uint64_t body_bytes, body_capacity;
} http_request;

typedef enum reply_kind { REPLY_NONE, REPLY_WHOLE, REPLY_STREAM } reply_kind;

typedef struct http_out_stream {
    char *bytes;
    uint64_t begin, end, capacity; /* what waits lies in [begin, end) */
    bool is_ended, is_aborted;
    uint64_t written_ns, taken_ns;
} http_out_stream;

struct http_exchange {
    http_server *server;
    mem *ledger;
    atomic_uint references;
    http_exchange *next_waiting; /* in the queue of the handler threads */
    char id[REQUEST_ID_BYTES];
    http_request request;
    const http_route *route; /* NULL: none */
    bool is_cut;             /* guarded by the list of connections */
    bool is_framed;          /* it is certain where its body ends */
    uint64_t begin_ns;
    char origin[256]; /* to be allowed in the reply; "" for none */

    atomic_bool is_closed;

    pthread_mutex_t hook_lock; /* recursive: guards the hooks, and waits for one that runs */
    void (*on_close)(void *user);
    void *on_close_user;
    size_t (*fill)(void *user, char *buffer, size_t size);
    void *fill_user;
    uint32_t fill_seconds;

    pthread_mutex_t lock; /* guards all below */
    struct MHD_Connection *connection;
    uint32_t owners;
    bool is_suspended, is_dispatched, is_queued; /* handed to the handler; its reply to libmicrohttpd */
    reply_kind reply;
    int status;
    bool must_close;   /* the connection, behind the reply */
    bool is_sent_past; /* the reply went to the socket past libmicrohttpd; see exchange_send_past */
    http_field reply_headers[REPLY_HEADER_MAX];
    uint32_t reply_header_count;
    char *reply_body;
    uint64_t reply_bytes, sent_bytes;
    struct MHD_Response *response;
    http_out_stream stream;
    http_tokens tokens;
    bool has_tokens;
};

MUST_CHECK leat_status exchange_open(http_server *server, mem *ledger, struct MHD_Connection *connection,
                                     http_exchange **out_exchange, leat_error *error);
/* Drops a reference; the last one frees. */
void exchange_drop(http_exchange *x);
/* The client has gone: calls on_close. */
void exchange_close(http_exchange *x);
/* libmicrohttpd is done with it, well or not. */
void exchange_finish(http_exchange *x, bool is_complete);
/* On the thread of the sockets: hands a reply that is there to libmicrohttpd, or suspends the connection.
 * *out_whole_bytes: one more than the bytes of a whole reply that is on its way now, else 0. */
enum MHD_Result exchange_answer(http_exchange *x, uint64_t *out_whole_bytes);
/*
 * Sends the reply, which is there, while the body is still coming. libmicrohttpd sends before the first byte of a body
 * or behind the last one; a client that sends for a minute shall not learn only then that nobody wants it. What still
 * comes is thrown away, because closing a socket with unread bytes would take the reply back.
 */
void exchange_send_past(http_exchange *x, int fd);
/* Ends what is not finished: an error event for a stream, 503 for what has no reply. */
void exchange_cut(http_exchange *x);
/* Lets the thread of the sockets look at it again. The lock is held. */
void exchange_wake(http_exchange *x);

/* http_request.c: copies the head. `path` is decoded. */
MUST_CHECK leat_status request_read_head(http_exchange *x, const char *method, const char *path, leat_error *error);
MUST_CHECK leat_status request_append_body(http_exchange *x, const char *bytes, size_t count, leat_error *error);
void request_free(http_exchange *x);

/* http_stream.c: what libmicrohttpd asks for the next bytes of a stream. */
ssize_t stream_read(void *user, uint64_t position, char *buffer, size_t size);
/* Appends an error as an event; the lock is held. False: no memory. */
bool stream_append_error(http_exchange *x, const char *type, const char *code, const char *message);
/* Asks `fill` when it is time. */
void stream_fill_silence(http_exchange *x, uint64_t now_ns);
/* Nothing was taken for too long. */
bool stream_is_stalled(http_exchange *x, uint64_t now_ns);

#endif

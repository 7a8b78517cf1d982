/*
 * http.h - the HTTP server: connections, requests, replies, streams. It knows nothing of models.
 *
 * A request becomes an *exchange*. When its head and body are complete and within the limits, and its sender may ask
 * for it (http_guard.h, http_auth.h), the route's handler is called. The handler replies at once, or keeps the exchange
 * (http_keep) and lets another thread reply later. A reply is whole (http_reply, http_fail) or a stream
 * (http_stream_begin, http_stream_write ..., http_stream_end).
 *
 * Who owns what: the server owns the exchange while a client waits for it; each http_keep is one more owner, who calls
 * http_release once. What http_body, http_path and the like give lives as long as the exchange. All exchanges must have
 * been released before http_server_close.
 *
 * Threads: one thread does the sockets ("http"), one looks for hang-ups, deadlines and silence ("http-watch"), two run
 * handlers of requests that have a body ("http-work"), so that turning a long prompt into tokens holds nobody up; of
 * bodies over half a mebibyte one is handled at a time, and the other thread is left to the small ones.
 * Handlers of routes with HTTP_NO_BODY run on the first and must be quick. Every function on an exchange may be called
 * from any thread. None of them waits for the client. After the client has gone all of them are harmless.
 *
 * A client has gone when it closed its connection, or only its sending side (a half-close counts as hanging up), when
 * it was too slow, or when the server stops. That is noticed within a second.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct http_server http_server;
typedef struct http_exchange http_exchange;
typedef struct http_auth http_auth;

typedef void http_handler(http_exchange *x, void *user);

typedef enum http_route_flag {
    HTTP_WITHOUT_KEY = 1, /* may be asked for without the API key */
    HTTP_NO_BODY = 2,     /* what comes as a body is refused; the handler runs on the thread of the sockets */
    HTTP_ANY_TYPE = 4,    /* the body need not be declared as JSON; for handlers that change nothing */
} http_route_flag;

typedef struct http_route {
    const char *method; /* "GET" is also asked for with HEAD */
    const char *path;   /* a '*' at the end stands for the rest of the path, which may not be empty */
    http_handler *handler;
    unsigned flags;
} http_route;

/* Limits, with their defaults from http_limits_default. Times are wall clock and not restarted by a trickle of bytes.
 */
typedef struct http_limits {
    uint64_t body_bytes;                       /* 16 MiB; of all requests together: four times as many */
    uint32_t line_bytes;                       /* 8 KiB: method, path, version */
    uint32_t header_bytes;                     /* 32 KiB: all fields together */
    uint32_t header_count;                     /* 100 */
    uint32_t header_ms, body_ms, idle_ms;      /* 10 s, 60 s, 75 s (between the requests of one connection) */
    uint32_t stall_ms;                         /* 30 s: nothing taken of a stream while stall_bytes are waiting */
    uint32_t stall_bytes, stream_bytes;        /* 64 KiB; 4 MiB: never more than that waits in a stream */
    uint32_t connections, address_connections; /* 256; 32 from one address (a /64 of IPv6) but loopback */
    bool loopback_counts;                      /* for tests: the latter also for loopback */
} http_limits;

extern const http_limits http_limits_default;

typedef struct http_settings {
    mem *ledger;
    int listen_fd;    /* listening; the server closes it */
    bool is_shared;   /* the socket is also another's (systemd's), which goes on to listen when this server stops */
    bool is_loopback; /* reachable from this machine only: then Host and Origin must be this machine's */
    bool is_local;    /* a Unix socket: no addresses, any Host */
    http_limits limits;
    const http_route *routes; /* live as long as the server */
    uint32_t route_count;
    void *user;      /* what handlers get */
    http_auth *auth; /* NULL: no key is asked for */
    const char *const *allowed_hosts;
    uint32_t allowed_host_count;
    const char *const *cors_origins;
    uint32_t cors_origin_count;
    bool log_access; /* one line a request through log_write at LOG_INFO */
    /* Called on the thread of the sockets for every request whose head is complete; on_finished follows. May be NULL.
     */
    void (*on_begun)(void *user);
    /* Called for every request when its reply is complete or its client has gone, on the thread of the sockets.
     * `route` is the path of the route, "" for none; status 499: the client has gone first. May be NULL. */
    void (*on_finished)(void *user, const char *route, int status, uint64_t duration_ns);
} http_settings;

MUST_CHECK leat_status http_server_open(const http_settings *settings, http_server **out_server, leat_error *error);
/* Accepts no more connections; requests on open ones are refused with 503. What runs goes on. */
void http_server_drain(http_server *server);
/* Requests that are received, handled or replied to. */
uint32_t http_server_busy_count(http_server *server);
/* Ends streams with an error event and fails what has no reply yet; waits up to two seconds for clients to take it. */
void http_server_cut(http_server *server);
/* Drains, cuts, ends the threads: no handler and no hook runs any more, and no client is there. Exchanges that are
 * still kept may be used as those of clients that have gone. */
void http_server_stop(http_server *server);
/* Stops, and forgets the server, when nobody keeps an exchange. NULL is accepted. */
void http_server_close(http_server **server);

/* The request. http_header ignores case; http_query decodes %XX; both NULL when it is not there. */
const char *http_method(const http_exchange *x);
const char *http_path(const http_exchange *x);      /* decoded, without the query */
const char *http_path_rest(const http_exchange *x); /* what the route's '*' stands for; "" without one */
const char *http_query(const http_exchange *x, const char *name);
const char *http_header(const http_exchange *x, const char *name);
const char *http_body(const http_exchange *x, size_t *out_bytes); /* terminated; "" without a body */
const char *http_request_id(const http_exchange *x);              /* "req_..." also sent as x-request-id */
uint64_t http_begin_ns(const http_exchange *x);                   /* when its head was complete; clock_now_ns */

/* A header of the reply, before it; the texts are copied. Control bytes in `value` become spaces. */
void http_set_header(http_exchange *x, const char *name, const char *value);
/* Once, whole. The body is copied. Content-Length, Date and x-request-id are added. */
void http_reply(http_exchange *x, int status, const char *content_type, const char *body, size_t bytes);
/* {"error":{"message","type","param","code"},"request_id"} with the given status; param and code may be NULL. Statuses
 * 500 and 501 also get x-should-retry: false. */
void http_fail(http_exchange *x, int status, const char *type, const char *code, const char *param,
               const char *message);
bool http_has_reply(const http_exchange *x); /* http_reply, http_fail or http_stream_begin was called */

/* 200 and a body in chunks. An event stream also gets the headers that keep proxies from collecting it. */
void http_stream_begin(http_exchange *x, const char *content_type);
/* Appends to the exchange's buffer. False: the client has gone, is too slow or over the limit; nothing more will reach
 * it, but for an error event where it was the limit. */
bool http_stream_write(http_exchange *x, const char *bytes, size_t count);
void http_stream_end(http_exchange *x);
/* Cuts the connection behind what was written, so that the client sees that the stream is not whole. */
void http_stream_abort(http_exchange *x);
/* After `seconds` in which nothing was written `fill` gives what is sent then (up to `size` bytes, 0: nothing), on an
 * HTTP thread: text that keeps the connection alive. It must not call functions on an exchange, nor wait. NULL: no
 * more. Not called after http_stream_end, nor after this function returned with another `fill`. */
void http_stream_set_idle(http_exchange *x, uint32_t seconds, size_t (*fill)(void *user, char *buffer, size_t size),
                          void *user);

/* `fn` is called once, on an HTTP thread, when the client has gone before the reply was complete; at once when it has
 * already. It may not reply and must not wait; it may call http_is_closed. It is not called after http_reply,
 * http_fail, http_stream_end or another http_on_close (NULL: no more) has returned: these wait while it runs, so hold
 * no lock that `fn` takes while calling them. */
void http_on_close(http_exchange *x, void (*fn)(void *user), void *user);
bool http_is_closed(const http_exchange *x);
http_exchange *http_keep(http_exchange *x);
/* Sets *x to NULL; NULL is accepted. The last owner of an exchange without a reply makes it a 500. */
void http_release(http_exchange **x);

/* Figures for the line of the access log. */
typedef struct http_tokens {
    uint32_t prompt_count, cached_count, generated_count;
    uint64_t first_token_ns; /* from the request's begin; 0: none came */
    uint32_t slot;
} http_tokens;
void http_log_tokens(http_exchange *x, const http_tokens *tokens);

#endif

#include "http_exchange.h"

#include "http_server.h"

#include "base/bytes.h"
#include "base/log.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SHOWN_BYTES = 256 };

static void init_locks(http_exchange *x)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE); /* on_close may run below http_on_close */
    pthread_mutex_init(&x->hook_lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    pthread_mutex_init(&x->lock, NULL);
}

leat_status exchange_open(http_server *server, mem *ledger, struct MHD_Connection *connection,
                          http_exchange **out_exchange, leat_error *error)
{
    http_exchange *x;
    TRY(MEM_NEW(ledger, META, 1, &x, error));
    x->server = server;
    x->ledger = ledger;
    x->connection = connection;
    x->begin_ns = clock_now_ns();
    atomic_init(&x->references, 1);
    init_locks(x);
    server_make_request_id(server, x->id);
    *out_exchange = x;
    return LEAT_OK;
}

static void free_reply(http_exchange *x)
{
    for (uint32_t i = 0; i < x->reply_header_count; i++) mem_free(x->ledger, (void *)x->reply_headers[i].name);
    if (x->response) microhttpd.destroy_response(x->response);
    mem_free(x->ledger, x->reply_body);
    mem_free(x->ledger, x->stream.bytes);
}

void exchange_drop(http_exchange *x)
{
    if (atomic_fetch_sub_explicit(&x->references, 1, memory_order_acq_rel) > 1) return;
    free_reply(x);
    request_free(x);
    pthread_mutex_destroy(&x->lock);
    pthread_mutex_destroy(&x->hook_lock);
    mem_free(x->ledger, x);
}

/* ---- owners ---- */

http_exchange *http_keep(http_exchange *x)
{
    atomic_fetch_add_explicit(&x->references, 1, memory_order_relaxed);
    pthread_mutex_lock(&x->lock);
    x->owners++;
    pthread_mutex_unlock(&x->lock);
    return x;
}

void http_release(http_exchange **x_slot)
{
    http_exchange *x = *x_slot;
    *x_slot = NULL;
    if (!x) return;
    pthread_mutex_lock(&x->lock);
    x->owners--;
    bool is_orphan = x->owners == 0 && x->connection && x->reply == REPLY_NONE;
    bool is_left_open = x->owners == 0 && x->connection && x->reply == REPLY_STREAM && !x->stream.is_ended;
    pthread_mutex_unlock(&x->lock);
    if (is_orphan) http_fail(x, 500, "server_error", "internal", NULL, "The request was not answered.");
    if (is_left_open) http_stream_abort(x);
    exchange_drop(x);
}

/* ---- the client goes ---- */

static void call_on_close(http_exchange *x)
{
    pthread_mutex_lock(&x->hook_lock);
    void (*fn)(void *user) = x->on_close;
    x->on_close = NULL;
    x->fill = NULL;
    if (fn) fn(x->on_close_user);
    pthread_mutex_unlock(&x->hook_lock);
}

void exchange_close(http_exchange *x)
{
    if (atomic_exchange(&x->is_closed, true)) return;
    call_on_close(x);
    pthread_mutex_lock(&x->lock);
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
}

bool http_is_closed(const http_exchange *x) { return atomic_load(&x->is_closed); }

void http_on_close(http_exchange *x, void (*fn)(void *user), void *user)
{
    pthread_mutex_lock(&x->hook_lock);
    x->on_close = fn;
    x->on_close_user = user;
    if (fn && atomic_load(&x->is_closed)) {
        x->on_close = NULL;
        fn(user);
    }
    pthread_mutex_unlock(&x->hook_lock);
}

/* The decoded path, with everything that could be taken for the line's next fields as %XX again; cut where it is long.
 */
static void write_path(const char *path, char out[PATH_SHOWN_BYTES])
{
    size_t used = 0;
    for (; *path && used + 4 < PATH_SHOWN_BYTES; path++) {
        const uint8_t byte = (uint8_t)*path;
        const bool is_plain = byte > ' ' && byte < 127 && byte != '%';
        used += (size_t)snprintf(out + used, PATH_SHOWN_BYTES - used, is_plain ? "%c" : "%%%02X", byte);
    }
    out[used] = '\0';
}

/* The engine may say its figures just now, where the client went before the answer was complete. */
static bool take_tokens(http_exchange *x, http_tokens *out_tokens)
{
    pthread_mutex_lock(&x->lock);
    bool has_tokens = x->has_tokens;
    *out_tokens = x->tokens;
    pthread_mutex_unlock(&x->lock);
    return has_tokens;
}

static void write_access_line(http_exchange *x, int status)
{
    char tokens[160] = "", first[32] = "-", path[PATH_SHOWN_BYTES];
    http_tokens t;
    bool has_tokens = take_tokens(x, &t);
    if (has_tokens && t.first_token_ns > 0) snprintf(first, sizeof first, "%.3f", (double)t.first_token_ns * 1e-9);
    if (has_tokens)
        snprintf(tokens, sizeof tokens, " prompt=%u cached=%u tokens=%u ttft=%s slot=%u", t.prompt_count,
                 t.cached_count, t.generated_count, first, t.slot);
    write_path(x->request.path ? x->request.path : "-", path);
    log_write(LOG_INFO, "%s %s %d in=%llu out=%llu%s total=%.3f id=%s", x->request.method ? x->request.method : "-",
              path, status, (unsigned long long)x->request.body_bytes, (unsigned long long)x->sent_bytes, tokens,
              (double)(clock_now_ns() - x->begin_ns) * 1e-9, x->id);
}

void exchange_finish(http_exchange *x, bool is_complete)
{
    enum { CLIENT_CLOSED_REQUEST = 499 };
    pthread_mutex_lock(&x->lock);
    x->connection = NULL;
    x->is_suspended = false;
    bool is_whole = is_complete && x->is_queued;
    int status = is_whole || x->is_sent_past ? x->status : CLIENT_CLOSED_REQUEST;
    if (x->reply == REPLY_WHOLE && is_whole) x->sent_bytes = x->reply_bytes;
    pthread_mutex_unlock(&x->lock);
    const http_settings *s = server_settings(x->server);
    if (s->log_access) write_access_line(x, status);
    if (s->on_finished) s->on_finished(s->user, x->route ? x->route->path : "", status, clock_now_ns() - x->begin_ns);
    exchange_close(x); /* after a whole reply its hooks have been taken away: nobody is told */
    exchange_drop(x);
}

void exchange_wake(http_exchange *x)
{
    if (!x->is_suspended || !x->connection) return;
    x->is_suspended = false;
    microhttpd.resume_connection(x->connection);
}

/* Under the lock: what is to be queued, or NULL; *out_result when there is nothing more to do. */
static struct MHD_Response *take_response(http_exchange *x, enum MHD_Result *out_result)
{
    *out_result = MHD_YES;
    if (x->is_sent_past) {
        *out_result = MHD_NO;
    } else if (x->is_queued) {
        /* Called again by chance: the reply is on its way. */
    } else if (x->response) {
        x->is_queued = true;
        return x->response;
    } else if (atomic_load(&x->is_closed)) {
        *out_result = MHD_NO;
    } else {
        x->is_suspended = true;
        microhttpd.suspend_connection(x->connection);
    }
    return NULL;
}

enum MHD_Result exchange_answer(http_exchange *x, uint64_t *out_whole_bytes)
{
    enum MHD_Result result;
    pthread_mutex_lock(&x->lock);
    struct MHD_Response *response = take_response(x, &result);
    struct MHD_Connection *connection = x->connection;
    unsigned status = (unsigned)x->status;
    *out_whole_bytes = response && x->reply == REPLY_WHOLE ? x->reply_bytes + 1 : 0;
    pthread_mutex_unlock(&x->lock);
    /* libmicrohttpd locks the response here, and also while it calls stream_read, which takes our lock. */
    return response ? microhttpd.queue_response(connection, status, response) : result;
}

void exchange_cut(http_exchange *x)
{
    if (!http_has_reply(x)) {
        call_on_close(x); /* before the reply takes the hook away */
        http_set_header(x, "Retry-After", "5");
        http_fail(x, 503, "unavailable_error", "shutting_down", NULL, "The server is shutting down.");
        exchange_close(x);
        return;
    }
    pthread_mutex_lock(&x->lock);
    bool is_open = x->reply == REPLY_STREAM && !x->stream.is_ended && !x->stream.is_aborted;
    if (is_open) {
        stream_append_error(x, "unavailable_error", "shutting_down", "The server is shutting down.");
        x->stream.is_ended = true;
    }
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
    if (is_open) exchange_close(x);
}

void http_log_tokens(http_exchange *x, const http_tokens *tokens)
{
    pthread_mutex_lock(&x->lock);
    x->tokens = *tokens;
    x->has_tokens = true;
    pthread_mutex_unlock(&x->lock);
}

/* http_stream.c - the bytes of a stream between the thread that makes them and the thread of the sockets. */
#include "http_exchange.h"
#include "http_server.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { NS_PER_MS = 1000000, FIRST_BYTES = 4096 };

/* Room behind `end`: what was taken goes, then the buffer grows. */
static bool make_room(http_exchange *x, uint64_t count)
{
    http_out_stream *s = &x->stream;
    if (s->begin > 0) {
        memmove(s->bytes, s->bytes + s->begin, s->end - s->begin);
        s->end -= s->begin;
        s->begin = 0;
    }
    if (s->end + count <= s->capacity) return true;
    uint64_t capacity = max_u64(FIRST_BYTES, max_u64(s->capacity * 2, s->end + count));
    if (mem_resize(x->ledger, MEM_META, (void **)&s->bytes, capacity, 1, "stream", NULL) != LEAT_OK) return false;
    s->capacity = capacity;
    return true;
}

static bool append(http_exchange *x, const char *bytes, size_t count)
{
    http_out_stream *s = &x->stream;
    if (s->end + count > s->capacity && !make_room(x, count)) return false;
    s->written_ns = clock_now_ns();
    if (s->begin == s->end) s->taken_ns = s->written_ns; /* only now there is something to take */
    if (count > 0) memcpy(s->bytes + s->end, bytes, count);
    s->end += count;
    return true;
}

/* Beyond the limit: it is the last that the client gets. */
bool stream_append_error(http_exchange *x, const char *type, const char *code, const char *message)
{
    char event[512];
    int bytes = snprintf(
        event, sizeof event,
        "data: "
        "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"},\"request_id\":\"%s\"}\n\n",
        message, type, code, x->id);
    return append(x, event, (size_t)bytes);
}

static bool is_over_limit(const http_exchange *x, size_t count)
{
    return x->stream.end - x->stream.begin + count > server_settings(x->server)->limits.stream_bytes;
}

bool http_stream_write(http_exchange *x, const char *bytes, size_t count)
{
    pthread_mutex_lock(&x->lock);
    bool is_open = x->connection && x->reply == REPLY_STREAM && !x->stream.is_ended && !x->stream.is_aborted &&
                   !atomic_load(&x->is_closed);
    bool is_written = is_open && !is_over_limit(x, count) && append(x, bytes, count);
    if (is_open && !is_written)
        stream_append_error(x, "unavailable_error", "stream_too_slow",
                            "More of the stream waits than the server keeps.");
    if (is_written) exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
    if (is_open && !is_written) http_stream_abort(x); /* a gap in a stream is worse than its end */
    return is_written;
}

static void end_stream(http_exchange *x, bool is_aborted)
{
    pthread_mutex_lock(&x->hook_lock);
    x->on_close = NULL;
    x->fill = NULL;
    pthread_mutex_unlock(&x->hook_lock);
    pthread_mutex_lock(&x->lock);
    if (x->reply == REPLY_STREAM && !x->stream.is_ended) {
        x->stream.is_ended = true;
        x->stream.is_aborted |= is_aborted;
        exchange_wake(x);
    }
    pthread_mutex_unlock(&x->lock);
}

void http_stream_end(http_exchange *x) { end_stream(x, false); }
void http_stream_abort(http_exchange *x) { end_stream(x, true); }

ssize_t stream_read(void *user, uint64_t position, char *buffer, size_t size)
{
    (void)position;
    http_exchange *x = user;
    http_out_stream *s = &x->stream;
    ssize_t result = 0;
    pthread_mutex_lock(&x->lock);
    uint64_t count = min_u64(s->end - s->begin, size);
    if (count > 0) {
        memcpy(buffer, s->bytes + s->begin, count);
        s->begin += count;
        s->taken_ns = clock_now_ns();
        x->sent_bytes += count;
        result = (ssize_t)count;
    } else if (s->is_aborted || (atomic_load(&x->is_closed) && !s->is_ended)) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (s->is_ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->is_suspended = true;
        microhttpd.suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->lock);
    return result;
}

/* ---- silence ---- */

void http_stream_set_idle(http_exchange *x, uint32_t seconds, size_t (*fill)(void *user, char *buffer, size_t size),
                          void *user)
{
    pthread_mutex_lock(&x->hook_lock);
    x->fill = seconds > 0 ? fill : NULL;
    x->fill_user = user;
    x->fill_seconds = seconds;
    pthread_mutex_unlock(&x->hook_lock);
}

void stream_fill_silence(http_exchange *x, uint64_t now_ns)
{
    char text[512];
    size_t count = 0;
    pthread_mutex_lock(&x->lock);
    uint64_t written_ns = x->stream.written_ns ? x->stream.written_ns : x->begin_ns;
    bool is_open = x->reply == REPLY_STREAM && !x->stream.is_ended;
    pthread_mutex_unlock(&x->lock);
    if (!is_open) return;
    pthread_mutex_lock(&x->hook_lock);
    if (x->fill && now_ns > written_ns && now_ns - written_ns >= (uint64_t)x->fill_seconds * 1000 * NS_PER_MS)
        count = x->fill(x->fill_user, text, sizeof text);
    pthread_mutex_unlock(&x->hook_lock);
    if (count > 0) http_stream_write(x, text, min_u64(count, sizeof text));
}

bool stream_is_stalled(http_exchange *x, uint64_t now_ns)
{
    const http_limits *limits = &server_settings(x->server)->limits;
    pthread_mutex_lock(&x->lock);
    bool is_stalled = x->reply == REPLY_STREAM && x->stream.end - x->stream.begin >= limits->stall_bytes &&
                      now_ns > x->stream.taken_ns &&
                      now_ns - x->stream.taken_ns > (uint64_t)limits->stall_ms * NS_PER_MS;
    pthread_mutex_unlock(&x->lock);
    return is_stalled;
}

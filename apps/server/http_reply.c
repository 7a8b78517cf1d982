/* http_reply.c - whole replies: headers, bodies, errors. */
#include "http_exchange.h"
#include "http_server.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool http_has_reply(const http_exchange *x)
{
    http_exchange *own = (http_exchange *)x; /* the lock is no part of its value */
    pthread_mutex_lock(&own->lock);
    bool has = own->reply != REPLY_NONE;
    pthread_mutex_unlock(&own->lock);
    return has;
}

void http_set_header(http_exchange *x, const char *name, const char *value)
{
    size_t name_bytes = strlen(name) + 1, value_bytes = strlen(value) + 1;
    void *block = NULL;
    pthread_mutex_lock(&x->lock);
    if (x->reply == REPLY_NONE && x->reply_header_count < REPLY_HEADER_MAX &&
        mem_alloc(x->ledger, MEM_META, name_bytes + value_bytes, 1, 0, "header", &block, NULL) == LEAT_OK) {
        char *copy = (char *)block + name_bytes;
        memcpy(block, name, name_bytes);
        memcpy(copy, value, value_bytes);
        for (char *c = copy; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
        x->reply_headers[x->reply_header_count++] = (http_field){block, copy};
    }
    pthread_mutex_unlock(&x->lock);
}

/* The lock is held. */
static void add_headers(http_exchange *x, struct MHD_Response *response, const char *content_type)
{
    if (content_type) microhttpd.add_response_header(response, "Content-Type", content_type);
    microhttpd.add_response_header(response, "x-request-id", x->id);
    microhttpd.add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (x->origin[0]) {
        microhttpd.add_response_header(response, "Access-Control-Allow-Origin", x->origin);
        microhttpd.add_response_header(response, "Vary", "Origin");
        microhttpd.add_response_header(response, "Access-Control-Expose-Headers", "x-request-id, retry-after");
    }
    if (x->must_close) microhttpd.add_response_header(response, "Connection", "close");
    for (uint32_t i = 0; i < x->reply_header_count; i++)
        microhttpd.add_response_header(response, x->reply_headers[i].name, x->reply_headers[i].value);
}

/* No hook runs, nor will: the reply is there. */
static void forget_hooks(http_exchange *x)
{
    pthread_mutex_lock(&x->hook_lock);
    x->on_close = NULL;
    x->fill = NULL;
    pthread_mutex_unlock(&x->hook_lock);
}

/* The lock is held. */
static void set_response(http_exchange *x, int status, const char *content_type, struct MHD_Response *response)
{
    x->status = status;
    x->response = response;
    if (response) add_headers(x, response, content_type);
    exchange_wake(x);
}

void http_reply(http_exchange *x, int status, const char *content_type, const char *body, size_t bytes)
{
    static char none[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"unavailable_error\",\"param\":null,"
                         "\"code\":\"out_of_memory\"}}";
    void *copy = NULL;
    bool has_memory = mem_alloc(x->ledger, MEM_META, bytes, 1, 0, "reply", &copy, NULL) == LEAT_OK;
    if (has_memory && bytes > 0) memcpy(copy, body, bytes);
    forget_hooks(x);
    pthread_mutex_lock(&x->lock);
    if (x->reply != REPLY_NONE) {
        mem_free(x->ledger, copy);
    } else {
        x->reply = REPLY_WHOLE;
        x->reply_body = copy;
        x->reply_bytes = has_memory ? bytes : sizeof none - 1;
        set_response(
            x, has_memory ? status : 503, has_memory ? content_type : "application/json",
            microhttpd.create_response_from_buffer(x->reply_bytes, has_memory ? copy : none, MHD_RESPMEM_PERSISTENT));
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- errors ---- */

enum { ERROR_TEXT_MAX = 2048 };

/* `text` as a JSON string, or null. What does not fit is cut. */
static size_t write_json_text(char *out, size_t size, const char *text)
{
    size_t used = 0;
    if (!text) return (size_t)snprintf(out, size, "null");
    out[used++] = '"';
    const char *end = text + strlen(text);
    while (text < end && used + 8 < size) {
        unsigned char c = (unsigned char)*text;
        uint32_t scalar;
        size_t length = utf8_decode(text, (size_t)(end - text), &scalar, NULL);
        if (length == 0) {
            used += (size_t)snprintf(out + used, size - used, "\\ufffd");
            text++;
        } else if (c < ' ' || c == 127) {
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", c);
            text++;
        } else {
            if (c == '"' || c == '\\') out[used++] = '\\';
            memcpy(out + used, text, length);
            used += length;
            text += length;
        }
    }
    out[used++] = '"';
    out[used] = '\0';
    return used;
}

void http_fail(http_exchange *x, int status, const char *type, const char *code, const char *param, const char *message)
{
    char texts[4][ERROR_TEXT_MAX], body[4 * ERROR_TEXT_MAX + 128];
    const char *const fields[] = {message, type, param, code};
    for (int i = 0; i < 4; i++) write_json_text(texts[i], sizeof texts[i], fields[i]);
    int bytes = snprintf(body, sizeof body,
                         "{\"error\":{\"message\":%s,\"type\":%s,\"param\":%s,\"code\":%s},\"request_id\":\"%s\"}",
                         texts[0], texts[1], texts[2], texts[3], x->id);
    if (status == 500 || status == 501) http_set_header(x, "x-should-retry", "false");
    http_reply(x, status, "application/json", body, (size_t)bytes);
}

static size_t write_head(const http_exchange *x, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size,
                                   "HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %llu\r\n"
                                   "Connection: close\r\nx-request-id: %s\r\n",
                                   x->status, (unsigned long long)x->reply_bytes, x->id);
    for (uint32_t i = 0; i < x->reply_header_count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s: %s\r\n", x->reply_headers[i].name,
                                 x->reply_headers[i].value);
    if (used < size) used += (size_t)snprintf(out + used, size - used, "\r\n");
    return used < size ? used : 0;
}

void exchange_send_past(http_exchange *x, int fd)
{
    char head[1024];
    pthread_mutex_lock(&x->lock);
    bool is_first = !x->is_sent_past && x->reply == REPLY_WHOLE && x->reply_body;
    x->is_sent_past = true;
    struct iovec parts[] = {{head, is_first ? write_head(x, head, sizeof head) : 0}, {x->reply_body, x->reply_bytes}};
    pthread_mutex_unlock(&x->lock);
    if (!is_first || parts[0].iov_len == 0) return;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t ignored = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT); /* nothing was sent before: it fits */
    (void)ignored;
    shutdown(fd, SHUT_WR);
}

/* ---- streams: their head ---- */

void http_stream_begin(http_exchange *x, const char *content_type)
{
    enum { CHUNK_BYTES = 16 * 1024 };
    if (strncmp(content_type, "text/event-stream", 17) == 0) {
        http_set_header(x, "Cache-Control", "no-store");
        http_set_header(x, "X-Accel-Buffering", "no");
    }
    pthread_mutex_lock(&x->lock);
    if (x->reply == REPLY_NONE) {
        x->reply = REPLY_STREAM;
        /* libmicrohttpd keeps the pointer as long as the connection asks for bytes: that is before exchange_finish. */
        set_response(x, 200, content_type,
                     microhttpd.create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK_BYTES, stream_read, x, NULL));
    }
    pthread_mutex_unlock(&x->lock);
}

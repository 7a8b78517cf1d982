#include "http_guard.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char usage_error[] = "invalid_request_error";

/* What was sent cannot be trusted to end where we think: nothing more is read from the connection. */
static bool refuse(http_exchange *x, int status, const char *code, const char *message)
{
    x->must_close = true;
    http_fail(x, status, usage_error, code, NULL, message);
    return false;
}

/* ---- form ---- */

bool guard_target_is_good(const char *target)
{
    if (*target != '/') return false; /* absolute forms and "*" too: we are no proxy */
    for (const unsigned char *p = (const unsigned char *)target; *p; p++) {
        if (*p <= ' ' || *p >= 127) return false;
        if (*p == '%' && p[1] == '0' && p[2] == '0') return false;
    }
    return true;
}

static bool is_token(const char *text, size_t bytes)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_plain && (c == '\0' || !strchr(marks, c))) return false;
    }
    return bytes > 0;
}

typedef struct head_walk {
    const char *expected; /* where the next field begins when lines end as they must; NULL: not known */
    uint32_t count;
    uint64_t bytes;
    bool is_bad;
} head_walk;

/*
 * libmicrohttpd 0.9 takes a bare line feed, or a bare carriage return, for the end of a line, glues continued lines,
 * and ends a value at a zero byte. It parses in place and hands out pointers into what was received, where the two
 * bytes behind a value are the line's end. So the next name must begin exactly there. (Later versions refuse such heads
 * themselves.)
 */
static enum MHD_Result visit(void *user, enum MHD_ValueKind kind, const char *name, size_t name_bytes,
                             const char *value, size_t value_bytes)
{
    (void)kind;
    head_walk *walk = user;
    if (walk->expected && name != walk->expected) walk->is_bad = true;
    if (!is_token(name, name_bytes) || !value) walk->is_bad = true;
    for (size_t i = 0; value && i < value_bytes; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < ' ' && c != '\t') || c == 127) walk->is_bad = true;
    }
    walk->expected = value && walk->expected ? value + value_bytes + 2 : NULL;
    walk->count++;
    walk->bytes += name_bytes + value_bytes + 4;
    return MHD_YES;
}

/* Of libmicrohttpd 0.9; see visit. */
static bool is_in_place(void) { return microhttpd.get_version()[0] == '0'; }

static bool check_line(http_exchange *x, const http_connection *c, const char *method, const char *version)
{
    const http_limits *limits = &server_settings(x->server)->limits;
    if (!version || (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0))
        return refuse(x, 400, "bad_request_line", "Only HTTP/1.0 and HTTP/1.1 are understood.");
    if (strlen(method) + c->target_bytes + strlen(version) + 2 > limits->line_bytes)
        return refuse(x, 414, "uri_too_long", "The request line is too long.");
    /* Method, target and version stand where they came: one space lies between them, and no zero byte. */
    bool is_apart = method + strlen(method) + 1 != c->target || c->target + c->target_bytes + 1 != version;
    if (c->is_target_bad || (is_in_place() && is_apart) || !is_token(method, strlen(method)))
        return refuse(x, 400, "bad_request_line", "The request line is malformed.");
    return true;
}

static uint32_t count_headers(const http_exchange *x, const char *name)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < x->request.header_count; i++) count += strcasecmp(x->request.headers[i].name, name) == 0;
    return count;
}

/* Where the body ends must be said once and in one way: two opinions about it let one request hide inside another. */
static bool check_framing(http_exchange *x, const char *version)
{
    static const char *const only_once[] = {"Content-Length", "Transfer-Encoding", "Host",   "Content-Type",
                                            "Authorization",  "x-api-key",         "Origin", "Expect"};
    for (size_t i = 0; i < ARRAY_COUNT(only_once); i++)
        if (count_headers(x, only_once[i]) > 1)
            return refuse(x, 400, "duplicate_header", "A header that may occur once occurs twice.");
    const char *length = http_header(x, "Content-Length"), *encoding = http_header(x, "Transfer-Encoding");
    if (length && encoding) return refuse(x, 400, "bad_framing", "Content-Length and Transfer-Encoding contradict.");
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return refuse(x, 400, "bad_framing", "The only Transfer-Encoding is chunked.");
    if (encoding && strcmp(version, "HTTP/1.0") == 0)
        return refuse(x, 400, "bad_framing", "HTTP/1.0 has no Transfer-Encoding.");
    if (length && (strspn(length, "0123456789") != strlen(length) || *length == '\0' || strlen(length) > 18))
        return refuse(x, 400, "bad_framing", "Content-Length is not a number.");
    if (!http_header(x, "Host") && strcmp(version, "HTTP/1.1") == 0)
        return refuse(x, 400, "no_host", "HTTP/1.1 needs a Host header.");
    const char *expectation = http_header(x, "Expect");
    if (expectation && strcasecmp(expectation, "100-continue") != 0)
        return refuse(x, 417, "bad_expectation", "The only expectation is 100-continue.");
    return true;
}

bool guard_check_form(http_exchange *x, const http_connection *c, const char *method, const char *version)
{
    const http_limits *limits = &server_settings(x->server)->limits;
    if (!check_line(x, c, method, version)) return false;
    head_walk walk = {.expected = is_in_place() ? version + strlen(version) + 2 : NULL};
    microhttpd.get_connection_values_n(x->connection, MHD_HEADER_KIND, visit, &walk);
    if (walk.bytes > limits->header_bytes || walk.count > limits->header_count)
        return refuse(x, 431, "headers_too_large", "The headers are too large.");
    /* Behind the last value comes the line's end, not what a zero byte has hidden. */
    if (walk.expected && walk.count > 0 && walk.expected[-1] != '\0') walk.is_bad = true;
    if (walk.is_bad) return refuse(x, 400, "bad_header", "A header is malformed.");
    return check_framing(x, version);
}

/* ---- where it comes from ---- */

/* `host` without a port; as lower case. False when it is no host. */
static bool read_host(const char *host, char *out, size_t size)
{
    size_t bytes = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (bytes > strlen(host) || bytes == 0 || bytes >= size) return false;
    const char *port = host + bytes;
    if (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1))) return false;
    if (host[bytes - 1] == '.') bytes--; /* "localhost." is the same host */
    for (size_t i = 0; i < bytes; i++) out[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] + 32) : host[i];
    out[bytes] = '\0';
    return true;
}

/*
 * A page in a browser on this machine can reach a loopback server under a name of its own that it lets point to
 * 127.0.0.1. Its requests then carry that name.
 */
static bool host_is_allowed(const http_settings *s, const char *header)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};
    char host[256], name[256];
    if (!s->is_loopback) return true;
    if (!header) return true; /* HTTP/1.0: no browser */
    if (!read_host(header, host, sizeof host)) return false;
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        if (strcmp(host, own[i]) == 0) return true;
    if (gethostname(name, sizeof name) == 0 && strcasecmp(host, name) == 0) return true;
    for (uint32_t i = 0; i < s->allowed_host_count; i++)
        if (strcasecmp(host, s->allowed_hosts[i]) == 0) return true;
    return false;
}

static bool origin_is_allowed(const http_settings *s, const char *origin)
{
    for (uint32_t i = 0; i < s->cors_origin_count; i++)
        if (strcmp(origin, s->cors_origins[i]) == 0) return true;
    return false;
}

/* A page of ours: its origin is the host that it asks. */
static bool origin_is_own(const http_exchange *x, const char *origin)
{
    const char *host = http_header(x, "Host"), *rest = NULL;
    if (strncmp(origin, "http://", 7) == 0) rest = origin + 7;
    if (strncmp(origin, "https://", 8) == 0) rest = origin + 8; /* a proxy in front may do TLS */
    return host && rest && strcasecmp(rest, host) == 0;
}

static bool refuse_source(http_exchange *x, const char *code, const char *message)
{
    http_fail(x, 403, "permission_error", code, NULL, message);
    return false;
}

static void answer_preflight(http_exchange *x)
{
    const char *wanted = http_header(x, "Access-Control-Request-Headers");
    bool is_plain = wanted && strlen(wanted) < 1024;
    http_set_header(x, "Access-Control-Allow-Methods", "GET, POST");
    http_set_header(x, "Access-Control-Allow-Headers", is_plain ? wanted : "authorization, content-type, x-api-key");
    http_set_header(x, "Access-Control-Max-Age", "600");
    http_reply(x, 204, NULL, "", 0);
}

bool guard_check_source(http_exchange *x)
{
    const http_settings *s = server_settings(x->server);
    const char *origin = http_header(x, "Origin"), *method = http_method(x);
    if (!host_is_allowed(s, http_header(x, "Host")))
        return refuse_source(x, "host_not_allowed", "This Host is not served; see --allowed-host.");
    if (!origin) return true;
    bool is_allowed = origin_is_allowed(s, origin) && strlen(origin) < sizeof x->origin;
    if (is_allowed) snprintf(x->origin, sizeof x->origin, "%s", origin);
    bool is_preflight = strcmp(method, "OPTIONS") == 0 && http_header(x, "Access-Control-Request-Method");
    bool is_reading = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (is_allowed && is_preflight) {
        answer_preflight(x);
        return false;
    }
    /* A browser lets a page read a reply only with the headers above; what must not happen at all is refused. */
    if (is_allowed || is_reading || origin_is_own(x, origin)) return true;
    return refuse_source(x, "origin_not_allowed", "This Origin may not ask; see --cors-origin.");
}

/* ---- the body ---- */

bool guard_has_body(const http_exchange *x)
{
    const char *length = http_header(x, "Content-Length");
    return http_header(x, "Transfer-Encoding") || (length && strspn(length, "0") != strlen(length));
}

static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    const size_t bytes = sizeof json - 1;
    return type && strncasecmp(type, json, bytes) == 0 && (type[bytes] == '\0' || strchr("; \t", type[bytes]));
}

bool guard_check_body(http_exchange *x)
{
    const http_limits *limits = &server_settings(x->server)->limits;
    const char *length = http_header(x, "Content-Length"), *coding = http_header(x, "Content-Encoding");
    unsigned long long declared = 0;
    if (x->route->flags & HTTP_NO_BODY)
        return guard_has_body(x) ? refuse(x, 400, "body_not_allowed", "This request takes no body.") : true;
    if (!length && !http_header(x, "Transfer-Encoding"))
        return refuse(x, 411, "length_required", "The request needs a body with Content-Length.");
    if (coding && strcasecmp(coding, "identity") != 0)
        return refuse(x, 415, "encoding_not_supported", "Compressed bodies are not accepted.");
    if (!(x->route->flags & HTTP_ANY_TYPE) && !is_json(http_header(x, "Content-Type")))
        return refuse(x, 415, "content_type_not_supported", "The body must be sent as application/json.");
    if (length && (sscanf(length, "%llu", &declared) != 1 || declared > limits->body_bytes))
        return refuse(x, 413, "body_too_large", "The body is too large.");
    return true;
}

/* http_request.c - the request as handlers see it: a copy of its head, and its body. */
#include "http_exchange.h"
#include "http_server.h"

#include "base/bytes.h"

#include <string.h>
#include <strings.h>

/* Walks the fields of one kind twice: to measure, then to copy. */
typedef struct field_walk {
    uint32_t count;
    uint64_t bytes;
    http_field *fields; /* NULL: measuring */
    char *cursor;
} field_walk;

static char *copy_text(char **cursor, const char *text, size_t bytes)
{
    char *copy = *cursor;
    if (bytes > 0) memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    *cursor += bytes + 1;
    return copy;
}

static enum MHD_Result visit(void *user, enum MHD_ValueKind kind, const char *name, size_t name_bytes,
                             const char *value, size_t value_bytes)
{
    (void)kind;
    field_walk *walk = user;
    if (walk->fields) {
        http_field *field = &walk->fields[walk->count];
        field->name = copy_text(&walk->cursor, name, name_bytes);
        while (value && value_bytes > 0 && (value[value_bytes - 1] == ' ' || value[value_bytes - 1] == '\t'))
            value_bytes--; /* white space behind a value is not part of it */
        field->value = copy_text(&walk->cursor, value, value ? value_bytes : 0);
    }
    walk->count++;
    walk->bytes += name_bytes + 1 + (value ? value_bytes : 0) + 1;
    return MHD_YES;
}

leat_status request_read_head(http_exchange *x, const char *method, const char *path, leat_error *error)
{
    http_request *r = &x->request;
    field_walk headers = {0}, queries = {0};
    microhttpd.get_connection_values_n(x->connection, MHD_HEADER_KIND, visit, &headers);
    microhttpd.get_connection_values_n(x->connection, MHD_GET_ARGUMENT_KIND, visit, &queries);
    uint64_t fields = (uint64_t)headers.count + queries.count;
    uint64_t bytes = fields * sizeof(http_field) + headers.bytes + queries.bytes + strlen(method) + strlen(path) + 2;
    TRY(mem_alloc(x->ledger, MEM_META, bytes, 1, 0, "request", &r->block, error));
    headers = (field_walk){.fields = r->block, .cursor = (char *)r->block + fields * sizeof(http_field)};
    r->headers = headers.fields;
    r->queries = r->headers + microhttpd.get_connection_values_n(x->connection, MHD_HEADER_KIND, visit, &headers);
    r->header_count = headers.count;
    queries = (field_walk){.fields = r->queries, .cursor = headers.cursor};
    microhttpd.get_connection_values_n(x->connection, MHD_GET_ARGUMENT_KIND, visit, &queries);
    r->query_count = queries.count;
    r->method = copy_text(&queries.cursor, method, strlen(method));
    r->path = copy_text(&queries.cursor, path, strlen(path));
    r->path_rest = "";
    return LEAT_OK;
}

leat_status request_append_body(http_exchange *x, const char *bytes, size_t count, leat_error *error)
{
    enum { FIRST_BYTES = 4096 };
    http_request *r = &x->request;
    uint64_t needed = r->body_bytes + count + 1;
    if (needed > r->body_capacity) {
        uint64_t most = server_settings(x->server)->limits.body_bytes + 1; /* which `needed` keeps to */
        uint64_t capacity = max_u64(needed, min_u64(most, max_u64(FIRST_BYTES, r->body_capacity * 2)));
        uint64_t grown = capacity - r->body_capacity;
        if (!server_take_body_bytes(x->server, grown))
            return FAIL(error, NO_MEMORY, "bodies of requests: more than fits at once");
        r->body_capacity = capacity; /* given back with the exchange, also when the next line fails */
        TRY(mem_resize(x->ledger, MEM_META, (void **)&r->body, capacity, 1, "body", error));
    }
    memcpy(r->body + r->body_bytes, bytes, count);
    r->body_bytes += count;
    r->body[r->body_bytes] = '\0';
    return LEAT_OK;
}

void request_free(http_exchange *x)
{
    if (x->request.body_capacity > 0) server_give_body_bytes(x->server, x->request.body_capacity);
    mem_free(x->ledger, x->request.body);
    mem_free(x->ledger, x->request.block);
}

const char *http_method(const http_exchange *x) { return x->request.method; }
const char *http_path(const http_exchange *x) { return x->request.path; }
const char *http_path_rest(const http_exchange *x) { return x->request.path_rest; }
const char *http_request_id(const http_exchange *x) { return x->id; }
uint64_t http_begin_ns(const http_exchange *x) { return x->begin_ns; }

const char *http_query(const http_exchange *x, const char *name)
{
    for (uint32_t i = 0; i < x->request.query_count; i++)
        if (strcmp(x->request.queries[i].name, name) == 0) return x->request.queries[i].value;
    return NULL;
}

const char *http_header(const http_exchange *x, const char *name)
{
    for (uint32_t i = 0; i < x->request.header_count; i++)
        if (strcasecmp(x->request.headers[i].name, name) == 0) return x->request.headers[i].value;
    return NULL;
}

const char *http_body(const http_exchange *x, size_t *out_bytes)
{
    if (out_bytes) *out_bytes = x->request.body_bytes;
    return x->request.body ? x->request.body : "";
}

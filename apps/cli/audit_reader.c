#include "audit_reader.h"

#include "base/json.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 * 1024, LINE_BYTES_MAX = 64 << 20 };

static leat_status damaged(const audit_reader *r, const char *what, leat_error *error)
{
    return FAIL(error, IO, "%s: line %" PRIu64 ": %s", r->path, r->line_number, what);
}

/* ---- lines ---- */

static leat_status read_more(audit_reader *r, bool *out_at_end, leat_error *error)
{
    ssize_t count;
    TRY(strbuf_reserve(&r->bytes, BLOCK_BYTES, error));
    do count = read(r->fd, r->bytes.bytes + r->bytes.count, BLOCK_BYTES);
    while (count < 0 && errno == EINTR);
    if (count < 0) return FAIL_OS(error, IO, errno, "%s: read failed: %s", r->path, strerror(errno));
    strbuf_extend(&r->bytes, (size_t)count);
    *out_at_end = count == 0;
    return LEAT_OK;
}

/* Drops the current line and finds the next. false: the file has ended; what it ended with has no newline. */
static leat_status find_line(audit_reader *r, bool *out_found, leat_error *error)
{
    size_t searched = 0;
    bool at_end = false;
    strbuf_drop_front(&r->bytes, r->line_next);
    r->line_begin = r->line_next = 0;
    r->line_number++;
    for (;;) {
        const char *end =
            r->bytes.count > searched ? memchr(r->bytes.bytes + searched, '\n', r->bytes.count - searched) : NULL;
        if (end) {
            r->line_next = (size_t)(end - r->bytes.bytes) + 1;
            *out_found = true;
            return LEAT_OK;
        }
        if (at_end) break;
        searched = r->bytes.count;
        if (searched > LINE_BYTES_MAX) return damaged(r, "is longer than 64 MiB", error);
        TRY(read_more(r, &at_end, error));
    }
    *out_found = false;
    return LEAT_OK;
}

/* ---- what a line says ---- */

static bool span_is(text_span s, const char *text)
{
    return s.bytes && s.count == strlen(text) && memcmp(s.bytes, text, s.count) == 0;
}

static text_span *find_member(audit_line *line, text_span *schema, const json_token *key)
{
    const struct {
        const char *name;
        text_span *value;
    } members[] = {{"schema", schema},
                   {"model", &line->model},
                   {"sampling", &line->sampling},
                   {"position", &line->position},
                   {"token", &line->token},
                   {"routes", &line->routes},
                   {"experts", &line->experts},
                   {"weights", &line->weights},
                   {"logits", &line->logits},
                   {"end", &line->end},
                   {"tokens", &line->tokens}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_text_is(key, members[i].name)) return members[i].value;
    return NULL;
}

/* A value reaches to the comma or bracket after it. */
static text_span span_between(const char *text, uint64_t begin, uint64_t end)
{
    while (end > begin && strchr(", \t\r\n", text[end - 1])) end--;
    return (text_span){text + begin, end - begin};
}

static leat_status read_members(json *parser, const char *text, audit_line *line, text_span *schema, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(parser, token.offset, error, "expected an object");
    TRY(json_next(parser, &token, error));
    while (token.kind == JSON_KEY) {
        text_span *member = find_member(line, schema, &token);
        TRY(json_next(parser, &token, error));
        uint64_t begin = token.offset;
        TRY(json_skip_rest(parser, &token, error));
        TRY(json_next(parser, &token, error));
        if (member) *member = span_between(text, begin, token.offset);
    }
    return json_next(parser, &token, error); /* nothing comes after it */
}

static leat_status read_line(audit_reader *r, audit_line *out_line, leat_error *error)
{
    const char *text = r->bytes.bytes + r->line_begin;
    json_limits limits = json_limits_default;
    text_span schema = {0};
    audit_line line = {0};
    json *parser = NULL;
    limits.unique_keys = true;
    TRY(json_open(r->ledger, MEM_META, r->path, text, r->line_next - r->line_begin, &limits, &parser, error));
    leat_status status = read_members(parser, text, &line, &schema, error);
    json_close(&parser);
    if (status != LEAT_OK) return status == LEAT_MODEL ? damaged(r, "is no JSON object", error) : status;
    bool is_header = schema.bytes != NULL;
    if (is_header && !span_is(schema, "\"leat.audit/1\""))
        return FAIL(error, USAGE, "%s: is of the format %.*s, expected \"leat.audit/1\"", r->path,
                    (int)(schema.count < 80 ? schema.count : 80), schema.bytes);
    line.kind = is_header ? AUDIT_HEADER : line.end.bytes ? AUDIT_END : AUDIT_TOKEN;
    bool is_whole = is_header                ? line.model.bytes && line.sampling.bytes
                    : line.kind == AUDIT_END ? line.tokens.bytes != NULL
                                             : line.position.bytes && line.token.bytes && line.logits.bytes;
    if (!is_whole) return damaged(r, "lacks a member", error);
    *out_line = line;
    return LEAT_OK;
}

/* ---- the chain ---- */

/* The line must end with the chain of everything up to it. */
static leat_status verify_line(audit_reader *r, leat_error *error)
{
    const char *line = r->bytes.bytes + r->line_begin;
    const size_t key_bytes = sizeof AUDIT_CHAIN_KEY - 1, tail_bytes = key_bytes + DIGEST_HEX_BYTES - 1 + 3; /* "} \n */
    char expected[DIGEST_HEX_BYTES];
    size_t bytes = r->line_next - r->line_begin;
    if (bytes < tail_bytes || memcmp(line + bytes - tail_bytes, AUDIT_CHAIN_KEY, key_bytes) != 0 ||
        memcmp(line + bytes - 3, "\"}\n", 3) != 0)
        return damaged(r, "does not end with a chain value", error);
    TRY(audit_chain_add(&r->chain, line, bytes - tail_bytes, error));
    audit_hex(r->chain.last, DIGEST_BYTES, expected);
    if (memcmp(line + bytes - tail_bytes + key_bytes, expected, DIGEST_HEX_BYTES - 1) != 0)
        return damaged(r,
                       "the chain is broken: this line was changed, or lines before it were changed, moved or taken "
                       "out",
                       error);
    return LEAT_OK;
}

leat_status audit_reader_open(audit_reader *r, mem *ledger, const char *path, audit_line *out_header, leat_error *error)
{
    bool found;
    *r = (audit_reader){.ledger = ledger, .path = path, .fd = -1, .bytes = {.ledger = ledger}};
    TRY(audit_chain_open(&r->chain, error));
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0) return FAIL_OS(error, USAGE, errno, "%s: cannot be opened: %s", path, strerror(errno));
    TRY(find_line(r, &found, error));
    static const char head[] = "{\"schema\":\"leat.audit";
    if (!found || r->line_next < sizeof head || memcmp(r->bytes.bytes, head, sizeof head - 1) != 0)
        return FAIL(error, USAGE, "%s: is not an audit, as leat run --audit writes it", path);
    TRY(verify_line(r, error));
    return read_line(r, out_header, error);
}

void audit_reader_close(audit_reader *r)
{
    if (!r->path) return;
    if (r->fd >= 0) close(r->fd);
    audit_chain_close(&r->chain);
    strbuf_reset(&r->bytes);
    *r = (audit_reader){0};
}

/* Nothing may stand behind the last line: it would not be covered by the chain value that people compare. */
static leat_status check_end(audit_reader *r, const audit_line *line, leat_error *error)
{
    json_token count = {.kind = JSON_NUMBER, .text = line->tokens.bytes, .text_bytes = line->tokens.count};
    uint64_t value;
    if (!json_to_u64(&count, &value) || value != r->token_count)
        return FAIL(error, IO, "%s: line %" PRIu64 ": counts %.*s tokens, the file has %" PRIu64, r->path,
                    r->line_number, (int)(line->tokens.count < 40 ? line->tokens.count : 40), line->tokens.bytes,
                    r->token_count);
    char more; /* the buffer must not move under the line's spans */
    if (r->line_next == r->bytes.count && read(r->fd, &more, sizeof more) == 0) return LEAT_OK;
    r->line_number++;
    return damaged(r, "there is something after the end line", error);
}

leat_status audit_reader_next(audit_reader *r, audit_line *out_line, leat_error *error)
{
    bool found;
    assert(!r->is_ended);
    TRY(find_line(r, &found, error));
    if (!found) return damaged(r, "the file is cut off: an audit closes with an end line", error);
    TRY(verify_line(r, error));
    TRY(read_line(r, out_line, error));
    if (out_line->kind == AUDIT_HEADER) return damaged(r, "a second first line", error);
    r->is_ended = out_line->kind == AUDIT_END;
    r->token_count += !r->is_ended;
    return r->is_ended ? check_end(r, out_line, error) : LEAT_OK;
}

#include "exec/pack_manifest.h"

#include "base/bytes.h"
#include "base/json.h"
#include "os/file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES_MAX = 255, FILES_MAX = 8192, PIECE_BYTES = 1024 };

/* ---- texts ---- */

static leat_status make_room(text_out *t, uint64_t more, leat_error *error)
{
    uint64_t wanted = t->bytes + more;
    if (wanted <= t->capacity) return LEAT_OK;
    uint64_t capacity = max_u64(max_u64(2 * t->capacity, wanted), 4096);
    TRY(mem_resize(t->ledger, MEM_META, (void **)&t->text, capacity, 1, "text of a pack", error));
    t->capacity = capacity;
    return LEAT_OK;
}

leat_status text_out_add(text_out *t, leat_error *error, const char *format, ...)
{
    char piece[PIECE_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    assert(length >= 0 && length < PIECE_BYTES);
    TRY(make_room(t, (uint64_t)length + 1, error));
    memcpy(t->text + t->bytes, piece, (size_t)length + 1);
    t->bytes += (uint64_t)length;
    return LEAT_OK;
}

leat_status text_out_add_string(text_out *t, const char *text, leat_error *error)
{
    const size_t length = strlen(text);
    TRY(make_room(t, 6 * length + 3, error));
    char *to = t->text + t->bytes;
    *to++ = '"';
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20) {
            to += snprintf(to, 7, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\') *to++ = '\\';
        *to++ = (char)c;
    }
    *to++ = '"';
    *to = '\0';
    t->bytes = (uint64_t)(to - t->text);
    return LEAT_OK;
}

/* ---- digests ---- */

void pack_digest_text(const uint8_t digest[PACK_DIGEST_BYTES], char out[PACK_DIGEST_TEXT])
{
    for (int i = 0; i < PACK_DIGEST_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static int hex_value(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool read_digest(const json_token *token, uint8_t out[PACK_DIGEST_BYTES])
{
    if (token->kind != JSON_STRING || token->text_bytes != 2 * PACK_DIGEST_BYTES) return false;
    for (int i = 0; i < PACK_DIGEST_BYTES; i++) {
        const int high = hex_value(token->text[2 * i]), low = hex_value(token->text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* ---- the table ---- */

void pack_manifest_init(pack_manifest *m, mem *ledger)
{
    *m = (pack_manifest){.ledger = ledger};
    arena_init(&m->names, ledger, MEM_META, 4096);
}

void pack_manifest_reset(pack_manifest *m)
{
    if (!m->ledger) return;
    for (uint32_t i = 0; i < m->file_count; i++) mem_free(m->ledger, m->files[i].spans);
    mem_free(m->ledger, m->files);
    arena_reset(&m->names);
    *m = (pack_manifest){0};
}

leat_status pack_manifest_add(pack_manifest *m, const char *name, pack_file **out_file, leat_error *error)
{
    pack_file added = {0};
    if (m->file_count == FILES_MAX) return FAIL(error, MODEL, PACK_MANIFEST_NAME ": more than %d files", FILES_MAX);
    TRY(arena_copy_text(&m->names, name, strlen(name), &added.name, error));
    TRY(mem_resize(m->ledger, MEM_META, (void **)&m->files, (uint64_t)m->file_count + 1, sizeof *m->files,
                   "files of a pack", error));
    m->files[m->file_count] = added;
    *out_file = &m->files[m->file_count++];
    return LEAT_OK;
}

leat_status pack_file_add_span(pack_manifest *m, pack_file *listed, uint64_t bytes,
                               const uint8_t digest[PACK_DIGEST_BYTES], leat_error *error)
{
    if (!size_add(listed->bytes, bytes, &(uint64_t){0}))
        return FAIL(error, MODEL, PACK_MANIFEST_NAME ": %s: the spans are longer than any file", listed->name);
    if (listed->span_count == listed->span_capacity) {
        const uint64_t capacity = max_u64(16, 2 * listed->span_capacity);
        TRY(mem_resize(m->ledger, MEM_META, (void **)&listed->spans, capacity, sizeof *listed->spans,
                       "checksums of a pack", error));
        listed->span_capacity = capacity;
    }
    pack_span *span = &listed->spans[listed->span_count++];
    span->bytes = bytes;
    memcpy(span->digest, digest, PACK_DIGEST_BYTES);
    listed->bytes += bytes;
    return LEAT_OK;
}

const pack_file *pack_manifest_find(const pack_manifest *m, const char *name)
{
    for (uint32_t i = 0; i < m->file_count; i++)
        if (strcmp(m->files[i].name, name) == 0) return &m->files[i];
    return NULL;
}

/* ---- reading ---- */

static leat_status expect(json *parser, json_kind kind, const char *what, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    return token.kind == kind ? LEAT_OK : json_fail_at(parser, token.offset, error, "expected %s", what);
}

/* [[bytes, "digest"], ...] */
static leat_status parse_spans(pack_manifest *m, json *parser, pack_file *listed, leat_error *error)
{
    TRY(expect(parser, JSON_ARRAY_BEGIN, "the list of spans", error));
    for (;;) {
        json_token token;
        uint64_t bytes;
        uint8_t digest[PACK_DIGEST_BYTES];
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_ARRAY_BEGIN) return json_fail_at(parser, token.offset, error, "expected a span");
        TRY(json_next(parser, &token, error));
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &bytes) || bytes == 0)
            return json_fail_at(parser, token.offset, error, "expected a span's bytes, at least 1");
        TRY(json_next(parser, &token, error));
        if (!read_digest(&token, digest))
            return json_fail_at(parser, token.offset, error, "expected a SHA-256 of %d small hexadecimal digits",
                                2 * PACK_DIGEST_BYTES);
        TRY(expect(parser, JSON_ARRAY_END, "the end of the span", error));
        TRY(pack_file_add_span(m, listed, bytes, digest, error));
    }
}

/* A plain name: what is opened by it lies in the folder. */
static bool is_plain_name(const char *text, size_t length)
{
    return length > 0 && length <= NAME_BYTES_MAX && text[0] != '.' && !memchr(text, '/', length) &&
           !memchr(text, 0, length);
}

/* {"name": .., "spans": ..} */
static leat_status parse_file(pack_manifest *m, json *parser, leat_error *error)
{
    json_token token;
    pack_file *listed = NULL;
    char name[NAME_BYTES_MAX + 1];
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_KEY || !json_text_is(&token, "name"))
        return json_fail_at(parser, token.offset, error, "expected \"name\"");
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_STRING || !is_plain_name(token.text, token.text_bytes))
        return json_fail_at(parser, token.offset, error, "expected the plain name of a file");
    memcpy(name, token.text, token.text_bytes);
    name[token.text_bytes] = '\0';
    if (pack_manifest_find(m, name)) return json_fail_at(parser, token.offset, error, "%s is listed twice", name);
    TRY(pack_manifest_add(m, name, &listed, error));
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_KEY || !json_text_is(&token, "spans"))
        return json_fail_at(parser, token.offset, error, "expected \"spans\"");
    TRY(parse_spans(m, parser, listed, error));
    return expect(parser, JSON_OBJECT_END, "the end of the file's entry", error);
}

static leat_status parse_files(pack_manifest *m, json *parser, leat_error *error)
{
    TRY(expect(parser, JSON_ARRAY_BEGIN, "the list of files", error));
    for (;;) {
        json_token token;
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(parser, token.offset, error, "expected a file");
        TRY(parse_file(m, parser, error));
    }
}

static leat_status parse_members(pack_manifest *m, json *parser, leat_error *error)
{
    bool has_version = false, has_files = false, has_source = false;
    TRY(expect(parser, JSON_OBJECT_BEGIN, "an object", error));
    for (;;) {
        json_token key, token;
        uint64_t version;
        uint8_t digest[PACK_DIGEST_BYTES];
        TRY(json_next(parser, &key, error));
        if (key.kind == JSON_OBJECT_END) break;
        if (json_text_is(&key, "version")) {
            TRY(json_next(parser, &token, error));
            if (token.kind != JSON_NUMBER || !json_to_u64(&token, &version) || version != PACK_VERSION)
                return json_fail_at(parser, token.offset, error, "expected version %d, found %.*s", PACK_VERSION,
                                    token.kind == JSON_NUMBER ? (int)min_u64(token.text_bytes, 20) : 4,
                                    token.kind == JSON_NUMBER ? token.text : "none");
            has_version = true;
        } else if (json_text_is(&key, "source")) {
            TRY(json_next(parser, &token, error));
            if (!read_digest(&token, digest)) return json_fail_at(parser, token.offset, error, "expected a SHA-256");
            pack_digest_text(digest, m->source);
            has_source = true;
        } else if (json_text_is(&key, "files")) {
            TRY(parse_files(m, parser, error));
            has_files = true;
        } else {
            TRY(json_skip(parser, error));
        }
    }
    if (!has_version || !has_source || !has_files)
        return FAIL(error, MODEL, PACK_MANIFEST_NAME ": no \"%s\"",
                    !has_version  ? "version"
                    : !has_source ? "source"
                                  : "files");
    return expect(parser, JSON_END, "the end", error);
}

leat_status pack_manifest_parse(pack_manifest *m, const char *text, uint64_t bytes, leat_error *error)
{
    static const json_limits limits = {
        .depth_max = 8, .string_bytes_max = 4096, .key_count_max = 64, .unique_keys = true};
    json *parser = NULL;
    assert(m->file_count == 0);
    TRY(json_open(m->ledger, MEM_META, PACK_MANIFEST_NAME, text, bytes, &limits, &parser, error));
    leat_status status = parse_members(m, parser, error);
    json_close(&parser);
    return status;
}

/* ---- writing ---- */

static leat_status write_file_entry(const pack_file *listed, text_out *t, leat_error *error)
{
    TRY(text_out_add(t, error, "  {\"name\": "));
    TRY(text_out_add_string(t, listed->name, error));
    TRY(text_out_add(t, error, ", \"spans\": ["));
    for (uint64_t i = 0; i < listed->span_count; i++) {
        char digest[PACK_DIGEST_TEXT];
        pack_digest_text(listed->spans[i].digest, digest);
        TRY(text_out_add(t, error, "%s\n    [%" PRIu64 ", \"%s\"]", i ? "," : "", listed->spans[i].bytes, digest));
    }
    return text_out_add(t, error, "]}");
}

leat_status pack_manifest_save(const pack_manifest *m, const char *path, leat_error *error)
{
    leat_status status;
    text_out t = {.ledger = m->ledger};
    TRY_OR(done, text_out_add(&t, error,
                              "{\"format\": \"leat-pack\", \"version\": %d, \"record_align\": %d,\n \"source\": "
                              "\"%s\",\n \"files\": [",
                              PACK_VERSION, PACK_ALIGN, m->source));
    for (uint32_t i = 0; i < m->file_count; i++) {
        TRY_OR(done, text_out_add(&t, error, "%s\n", i ? "," : ""));
        TRY_OR(done, write_file_entry(&m->files[i], &t, error));
    }
    TRY_OR(done, text_out_add(&t, error, "]}\n"));
    status = file_replace(path, t.text, t.bytes, 0644, error);
done:
    mem_free(m->ledger, t.text);
    return status;
}

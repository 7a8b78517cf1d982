#include "json_writer.h"

#include "base/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_writer_init(json_writer *w, output *out) { *w = (json_writer){.out = out}; }

void json_writer_init_text(json_writer *w, strbuf *text) { *w = (json_writer){.text = text}; }

static void put(json_writer *w, const char *bytes, size_t count)
{
    if (w->out)
        output_write(w->out, bytes, count);
    else if (w->status == LEAT_OK)
        w->status = strbuf_append(w->text, bytes, count, NULL);
}

static void put_text(json_writer *w, const char *text) { put(w, text, strlen(text)); }

static void put_print(json_writer *w, const char *format, ...) PRINTF_LIKE(2, 3);
static void put_print(json_writer *w, const char *format, ...)
{
    char text[48]; /* numbers and escapes */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put_text(w, text);
}

static void write_string(json_writer *w, const char *bytes, size_t count)
{
    size_t begin = 0, at = 0;
    put(w, "\"", 1);
    while (at < count) {
        uint32_t scalar = 0xfffd;
        size_t invalid = 0, length = utf8_decode(bytes + at, count - at, &scalar, &invalid);
        bool is_control = scalar < 0x20 || (scalar >= 0x7f && scalar < 0xa0);
        is_control = is_control || scalar == 0x2028 || scalar == 0x2029; /* line ends to many readers of JSON Lines */
        if (length > 0 && !is_control && scalar != '"' && scalar != '\\') {
            at += length;
            continue;
        }
        put(w, bytes + begin, at - begin);
        if (length == 0)
            put_text(w, "\\ufffd");
        else if (scalar == '\n')
            put_text(w, "\\n");
        else if (scalar == '\t')
            put_text(w, "\\t");
        else if (is_control)
            put_print(w, "\\u%04x", scalar);
        else
            put_print(w, "\\%c", (char)scalar);
        at += length > 0 ? length : invalid > 0 ? invalid : count - at;
        begin = at;
    }
    put(w, bytes + begin, count - begin);
    put(w, "\"", 1);
}

static void begin_value(json_writer *w, const char *key)
{
    if (w->has_value[w->depth]) put(w, ", ", 2);
    w->has_value[w->depth] = true;
    if (!key) return;
    write_string(w, key, strlen(key));
    put(w, ": ", 2);
}

static void begin_group(json_writer *w, const char *key, const char *bracket)
{
    assert(w->depth < JSON_WRITER_DEPTH_MAX);
    begin_value(w, key);
    put(w, bracket, 1);
    w->has_value[++w->depth] = false;
}

static void end_group(json_writer *w, const char *bracket)
{
    assert(w->depth > 0);
    w->depth--;
    put(w, bracket, 1);
}

void json_writer_begin_object(json_writer *w, const char *key) { begin_group(w, key, "{"); }
void json_writer_end_object(json_writer *w) { end_group(w, "}"); }
void json_writer_begin_array(json_writer *w, const char *key) { begin_group(w, key, "["); }
void json_writer_end_array(json_writer *w) { end_group(w, "]"); }

void json_writer_begin_document(json_writer *w, const char *schema)
{
    json_writer_begin_object(w, NULL);
    json_writer_text(w, "schema", schema);
}

void json_writer_end_document(json_writer *w)
{
    json_writer_end_object(w);
    put(w, "\n", 1);
    w->has_value[0] = false;
}

void json_writer_u64(json_writer *w, const char *key, uint64_t value)
{
    begin_value(w, key);
    put_print(w, "%" PRIu64, value);
}

void json_writer_i64(json_writer *w, const char *key, int64_t value)
{
    begin_value(w, key);
    put_print(w, "%" PRId64, value);
}

/* The shortest text that reads back as the same number. */
static void write_number(json_writer *w, const char *key, double value, bool is_single)
{
    begin_value(w, key);
    char text[32];
    if (!isfinite(value)) {
        put_text(w, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (back == value || (is_single && (float)back == (float)value)) break;
    }
    put_text(w, text);
}

void json_writer_number(json_writer *w, const char *key, double value) { write_number(w, key, value, false); }
void json_writer_single(json_writer *w, const char *key, float value) { write_number(w, key, (double)value, true); }

void json_writer_seconds(json_writer *w, const char *key, uint64_t ns) { json_writer_number(w, key, (double)ns / 1e9); }

void json_writer_flag(json_writer *w, const char *key, bool value)
{
    begin_value(w, key);
    put_text(w, value ? "true" : "false");
}

void json_writer_text(json_writer *w, const char *key, const char *text)
{
    if (text) {
        json_writer_bytes(w, key, text, strlen(text));
        return;
    }
    begin_value(w, key);
    put_text(w, "null");
}

void json_writer_bytes(json_writer *w, const char *key, const char *bytes, size_t count)
{
    begin_value(w, key);
    write_string(w, bytes, count);
}

void json_writer_raw(json_writer *w, const char *key, const char *json, size_t count)
{
    begin_value(w, key);
    put(w, json, count);
}

void json_writer_ids(json_writer *w, const char *key, const uint32_t *ids, size_t count)
{
    json_writer_begin_array(w, key);
    for (size_t i = 0; i < count; i++) json_writer_u64(w, NULL, ids[i]);
    json_writer_end_array(w);
}

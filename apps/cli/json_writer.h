/*
 * json_writer.h - JSON documents for --json and for the server's replies, one line each, so that they are JSON Lines
 * too. Commas are put in by the writer: the caller only says what comes.
 *
 * Strings are lossless for valid UTF-8; bytes that are not become U+FFFD. Control characters (C0, DEL, C1) and
 * Unicode's line ends are escaped, so a document is one line for everyone and shown on a terminal holds no control.
 * Numbers that JSON has no word for (NaN, infinities) are null.
 *
 * Threads: one thread per writer.
 */
#ifndef CLI_JSON_WRITER_H
#define CLI_JSON_WRITER_H

#include "output.h"

enum { JSON_WRITER_DEPTH_MAX = 12 };

typedef struct json_writer {
    output *out; /* one of the two is set */
    strbuf *text;
    leat_status status; /* of memory for `text`; what follows a failure is dropped */
    uint32_t depth;
    bool has_value[JSON_WRITER_DEPTH_MAX + 1]; /* the open object or array at this depth is not empty */
} json_writer;

/* Keys are NULL for the elements of arrays and for the document itself. */
void json_writer_init(json_writer *w, output *out);
/* Appends to `text`; the caller looks at w->status in the end. */
void json_writer_init_text(json_writer *w, strbuf *text);
/* The document's object with its "schema" member, and its end. */
void json_writer_begin_document(json_writer *w, const char *schema);
void json_writer_end_document(json_writer *w);
void json_writer_begin_object(json_writer *w, const char *key);
void json_writer_end_object(json_writer *w);
void json_writer_begin_array(json_writer *w, const char *key);
void json_writer_end_array(json_writer *w);
void json_writer_u64(json_writer *w, const char *key, uint64_t value);
void json_writer_number(json_writer *w, const char *key, double value);
void json_writer_single(json_writer *w, const char *key, float value);
void json_writer_seconds(json_writer *w, const char *key, uint64_t ns);
void json_writer_i64(json_writer *w, const char *key, int64_t value);
void json_writer_flag(json_writer *w, const char *key, bool value);
/* NULL text is null. */
void json_writer_text(json_writer *w, const char *key, const char *text);
void json_writer_bytes(json_writer *w, const char *key, const char *bytes, size_t count);
/* A value that is JSON already. */
void json_writer_raw(json_writer *w, const char *key, const char *json, size_t count);
void json_writer_ids(json_writer *w, const char *key, const uint32_t *ids, size_t count);

#endif

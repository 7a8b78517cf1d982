/* strbuf.h - a growing, terminated byte string from the program's ledger. A zeroed one with its ledger set is empty and
 * valid. */
#ifndef CLI_STRBUF_H
#define CLI_STRBUF_H

#include "base/mem.h"

#include <stdbool.h>

typedef struct strbuf {
    mem *ledger;
    char *bytes; /* NULL before the first append */
    size_t count, capacity;
} strbuf;

void strbuf_reset(strbuf *s);
/* Drops bytes from the front or from behind. */
void strbuf_drop_front(strbuf *s, size_t count);
void strbuf_cut(strbuf *s, size_t count);
/* The bytes, "" when there are none. */
const char *strbuf_text(const strbuf *s);
/* Room for `extra` more bytes and the terminator. */
MUST_CHECK leat_status strbuf_reserve(strbuf *s, size_t extra, leat_error *error);
/* `count` bytes were written into the reserved room. */
void strbuf_extend(strbuf *s, size_t count);
MUST_CHECK leat_status strbuf_append(strbuf *s, const char *bytes, size_t count, leat_error *error);
MUST_CHECK leat_status strbuf_append_text(strbuf *s, const char *text, leat_error *error);
MUST_CHECK leat_status strbuf_insert(strbuf *s, size_t at, const char *bytes, size_t count, leat_error *error);

#endif

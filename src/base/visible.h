/*
 * visible.h - text from anywhere made fit for one line on a terminal: control bytes and broken UTF-8 become \xHH.
 */
#ifndef BASE_VISIBLE_H
#define BASE_VISIBLE_H

#include <stddef.h>

/* Writes raw[0..length) to `out`, terminated; a text that does not fit in `out_bytes` (>= 8) is cut between characters
 * and ends in "...". Returns the bytes written without the terminator. */
size_t visible_text(const char *raw, size_t length, char *out, size_t out_bytes);

#endif

/*
 * excerpt.h - text from a file, cut to what a message can carry. Private to this room.
 */
#ifndef FORMAT_EXCERPT_H
#define FORMAT_EXCERPT_H

#include <stddef.h>

/* What a message shows of a name or value that may be of any length; with room for the terminator. */
enum { EXCERPT_BYTES = 132 };

/* Copies text[0..length) into out[0..out_bytes), terminated. Longer text is cut between characters and ends in "...". U+0000 becomes
 * "\x00"; other control bytes stay and are escaped by status_fail. out_bytes is at least 8. */
void excerpt_text(const char *text, size_t length, char *out, size_t out_bytes);

#endif

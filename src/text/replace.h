/*
 * replace.h - every occurrence of a text, or match of a pattern, becomes another text: for normalizers and decoders.
 *
 * Threads: functions of their arguments.
 */
#ifndef TEXT_REPLACE_H
#define TEXT_REPLACE_H

#include "text/regex.h"

/* Both append to out. `front`, unless NULL, is a number of bytes at the beginning of the text, and then of those of the
 * result that came of them: what replaces a match comes of the last character of it.
 *
 * An empty pattern occurs before every character and at the end. */
MUST_CHECK leat_status replace_text(text_slice text, text_slice pattern, text_slice content, uint64_t *front,
                                    text_buffer *out, leat_error *error);
/* An empty match counts, but not right behind another match; nothing matches in a text without characters. */
MUST_CHECK leat_status replace_matches(const regex *expression, regex_scratch *matches, text_slice text,
                                       text_slice content, uint64_t *front, text_buffer *out, leat_error *error);

#endif

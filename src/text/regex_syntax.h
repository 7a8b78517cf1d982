/*
 * regex_syntax.h - rewrites a tokenizer's pattern (Oniguruma's Ruby syntax) into one that means the same to PCRE2.
 *
 * What is not known to mean the same is refused, so a pattern is never taken for another one.
 */
#ifndef TEXT_REGEX_SYNTAX_H
#define TEXT_REGEX_SYNTAX_H

#include "text/tokenizer.h"

enum { REGEX_PATTERN_BYTES_MAX = 16 * 1024, REGEX_DEPTH_MAX = 64, REGEX_REPEAT_MAX = 1000 };

/* Appends to out_pattern. `name` is the file's. */
MUST_CHECK leat_status regex_translate(const char *name, const char *pattern, uint64_t bytes, text_buffer *out_pattern,
                                       leat_error *error);

#endif

/*
 * regex.h - the patterns of pre-tokenizers and normalizers, matched by PCRE2 (JIT-compiled where the system allows it).
 *
 * Patterns come from model files and are hostile until shown otherwise: their length, nesting and repeat counts are
 * limited, and so are the steps and the memory of a match.
 *
 * Threads: a compiled pattern is constant; every thread matches with a scratch of its own.
 */
#ifndef TEXT_REGEX_H
#define TEXT_REGEX_H

#include "text/tokenizer.h"

typedef struct regex regex;

/* `name` is borrowed: it appears in the errors of the match too. */
MUST_CHECK leat_status regex_open(mem *ledger, const char *name, const char *pattern, uint64_t bytes, regex **out_regex,
                                  leat_error *error);
void regex_close(regex **r);

typedef struct regex_scratch {
    void *match_data;
} regex_scratch;

void regex_scratch_reset(regex_scratch *scratch);

/* The first match at or after `from` in valid UTF-8; *out_start is UINT64_MAX when there is none. `from` lies on a
 * character. */
MUST_CHECK leat_status regex_find(const regex *r, regex_scratch *scratch, const char *text, uint64_t bytes,
                                  uint64_t from, uint64_t *out_start, uint64_t *out_end, leat_error *error);

#endif

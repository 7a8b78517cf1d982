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

/* Zeroed at first. The matches of a text may take REGEX_STEPS_FREE steps and REGEX_STEPS_PER_BYTE for each byte
 * announced, which bounds their time whatever the pattern does. A step is an item of a pattern that is tried, or a byte
 * that one runs over. Known patterns (regex_known.h) are not counted. */
enum { REGEX_STEPS_FREE = 16 * 1024 * 1024, REGEX_STEPS_PER_BYTE = 128 };

typedef struct regex_scratch {
    void *match_data, *context;
    uint64_t steps, announced_bytes;
    uint64_t position; /* of the last step */
} regex_scratch;

void regex_scratch_reset(regex_scratch *scratch);
/* A text of so many bytes is going to be searched from its begin to its end. */
static inline void regex_announce(regex_scratch *scratch, uint64_t bytes) { scratch->announced_bytes += bytes; }

/* The first match at or after `from` in valid UTF-8; *out_start is UINT64_MAX when there is none. `from` lies on a
 * character. */
MUST_CHECK leat_status regex_find(const regex *r, regex_scratch *scratch, const char *text, uint64_t bytes,
                                  uint64_t from, uint64_t *out_start, uint64_t *out_end, leat_error *error);

#endif

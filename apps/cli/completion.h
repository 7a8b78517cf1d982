/*
 * completion.h - what Tab may make of the word before the cursor: the words that begin with it.
 *
 * Threads: one at a time.
 */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

#include "strbuf.h"

enum { COMPLETION_WORDS_MAX = 4096 };

typedef struct completion {
    strbuf words; /* (count) each terminated, one behind the other */
    uint32_t count;
    size_t begin;     /* where in the line the word begins that they complete */
    bool adds_space;  /* behind a word that is the only one */
    size_t name_from; /* bytes that all words begin with and that a list of them leaves out */
} completion;

void completion_reset(completion *c);
/* Adds `word` if it begins with `typed`; more than COMPLETION_WORDS_MAX are dropped. */
MUST_CHECK leat_status completion_offer(completion *c, const char *typed, const char *word, leat_error *error);
/* The files and folders (with a slash behind) whose path begins with `typed`, "~/" at its beginning being the home
 * folder. Hidden ones only when they are asked for by their dot; names that a terminal cannot show never. */
MUST_CHECK leat_status completion_offer_files(completion *c, const char *typed, leat_error *error);
/* How many bytes all words have in common; 0 when there are none. */
size_t completion_common(const completion *c);
/* Appends the words, sorted, in columns of `columns` characters, each line ended by \r\n. */
MUST_CHECK leat_status completion_list(const completion *c, uint32_t columns, strbuf *out, leat_error *error);

#endif

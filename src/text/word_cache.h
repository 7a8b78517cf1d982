/*
 * word_cache.h - the ids of words that a text has had before. A word's ids depend on the word alone, so an answer from
 * here is the answer of the model; most words of a text are among a few thousand.
 *
 * One entry for each hash, a cache line long; a later word takes the place of an earlier one. Words that are too long
 * or have too many ids are not kept. The table is as large as the text makes worthwhile, at most
 * WORD_CACHE_BYTES_MAX.
 *
 * Threads: belongs to one encoder, whose texts may share it.
 */
#ifndef TEXT_WORD_CACHE_H
#define TEXT_WORD_CACHE_H

#include "text/tokenizer.h"

enum {
    WORD_CACHE_TEXT_MAX = 29, /* bytes of a word */
    WORD_CACHE_IDS_MAX = 8,
    WORD_CACHE_COUNT_MAX = 4096,
    WORD_CACHE_BYTES_MAX = WORD_CACHE_COUNT_MAX * 64,
};

/* The same text may have other ids as a part of a longer word: a word that is a token can be that token. */
typedef enum word_kind { WORD_WHOLE, WORD_PART } word_kind;

typedef struct word_entry {
    uint8_t bytes; /* 0: free */
    uint8_t kind, count;
    char text[WORD_CACHE_TEXT_MAX];
    uint32_t ids[WORD_CACHE_IDS_MAX];
} word_entry;

typedef struct word_cache {
    mem *ledger;
    uint64_t seed;
    word_entry *entries; /* (mask + 1), NULL: nothing is kept */
    uint64_t mask;
} word_cache;

/* What a cache takes for a text of so many bytes. */
uint64_t word_cache_bytes(uint64_t text_bytes);
void word_cache_init(word_cache *cache, mem *ledger, uint64_t seed);
/* Makes room for the words of a text of so many bytes. What is large enough stays, with the words that it has. */
MUST_CHECK leat_status word_cache_fit(word_cache *cache, uint64_t text_bytes, leat_error *error);
void word_cache_reset(word_cache *cache);

/* Whether words of this length are kept at all. */
static inline bool word_cache_takes(const word_cache *cache, uint64_t bytes)
{
    return cache->entries != NULL && bytes <= WORD_CACHE_TEXT_MAX;
}

/* Where a word that is taken is, or is to be. */
word_entry *word_cache_place(const word_cache *cache, word_kind kind, const char *text, uint64_t bytes);
bool word_entry_is(const word_entry *entry, word_kind kind, const char *text, uint64_t bytes);
void word_entry_set(word_entry *entry, word_kind kind, const char *text, uint64_t bytes, const uint32_t *ids,
                    uint64_t count);

#endif

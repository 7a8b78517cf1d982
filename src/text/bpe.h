/*
 * bpe.h - byte-pair encoding of one word: start from its characters, and merge the adjacent pair of lowest rank (the
 * leftmost of equals) until no pair can be merged.
 *
 * A word may be megabytes long (Gemma has no pre-tokenizer that cuts), so pairs wait in a queue: O(n log n). The word
 * is first cut where no merge of the whole table can ever cross, which keeps the queue short for most texts.
 *
 * Threads: a model is constant after bpe_finish; each thread encodes with a scratch of its own.
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "text/merge_queue.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

enum {
    BPE_MERGE_LIMIT = 4 * 1024 * 1024,
    BPE_DIRECT_COUNT = 0x10000,
    BPE_SHORT_COUNT =
        48, /* symbols of a word whose pairs are looked through for the lowest rank, in place of a queue */
    BPE_RECENT_COUNT = 8192, /* 128 KiB: most pairs of a text are among its common ones, and the merge table is far
                                larger than a cache */
};

typedef struct bpe_merge {
    uint32_t left, right, merged;
} bpe_merge;

typedef struct bpe_slot {
    uint32_t left, right; /* left is VOCABULARY_NO_ID where the slot is free */
    uint32_t rank, merged;
} bpe_slot;

enum { BPE_AFFIX_BYTES_MAX = 32 };

/* What the first symbols of a word, its characters, are looked up with: a prefix on all characters but the first, a
 * suffix on the last. Terminated; "" where there is none. */
typedef struct bpe_affixes {
    char prefix[BPE_AFFIX_BYTES_MAX + 1], suffix[BPE_AFFIX_BYTES_MAX + 1];
    size_t prefix_bytes, suffix_bytes;
} bpe_affixes;

typedef struct bpe_model {
    mem *ledger;
    const vocabulary *vocab;
    bool byte_fallback, fuse_unk, ignore_merges;
    bpe_affixes affixes;
    uint32_t unk_id;         /* VOCABULARY_NO_ID: characters without a token are dropped */
    const char *missing_unk; /* or an error, where the file names an unknown token that there is not; else NULL */

    bpe_merge *merges; /* (merge_capacity) in rank order, until bpe_finish */
    uint64_t merge_count, merge_capacity;

    bpe_slot *slots; /* (slot_count) open addressing, at most two thirds full */
    uint64_t slot_count;
    uint64_t *crossings; /* (crossing_mask + 1) / 64 words: bit of hash(last character, first character) of every
                            merge's halves */
    uint64_t crossing_mask;
    bool may_cut;           /* no merge has a byte token or the unknown token as a half */
    uint32_t *direct_ids;   /* (BPE_DIRECT_COUNT) the token of each character of the basic plane */
    uint32_t byte_ids[256]; /* <0xHH> */
} bpe_model;

void bpe_init(bpe_model *b, mem *ledger, const vocabulary *vocab);
void bpe_reset(bpe_model *b);
/* Appends the merge of the next rank; both halves and their concatenation are tokens. At most BPE_MERGE_LIMIT. */
MUST_CHECK leat_status bpe_add_merge(bpe_model *b, uint32_t left, uint32_t right, uint32_t merged, leat_error *error);
/* Builds the tables; the options above are set before. */
MUST_CHECK leat_status bpe_finish(bpe_model *b, leat_error *error);

/* In place of merges: two neighbours that together are the text of a token become that token, the lowest of `ranks`
 * (vocab->id_count, each below BPE_MERGE_LIMIT) first, the leftmost of equals; BPE_NONE: no merge makes the token.
 * byte_ids is set by the caller. LEAT_MODEL: more ways to cut the tokens in two than BPE_MERGE_LIMIT, or tokens too
 * long to look for them. */
MUST_CHECK leat_status bpe_finish_by_rank(bpe_model *b, const uint32_t *ranks, leat_error *error);

typedef struct bpe_symbol {
    uint32_t id;
    uint32_t previous, next; /* BPE_NONE at the ends */
    uint32_t rank,
        merged; /* of the pair (this, next); rank is BPE_NONE where it cannot be merged or the symbol is gone */
} bpe_symbol;

#define BPE_NONE UINT32_MAX

/* Belongs to one model. */
typedef struct bpe_scratch {
    mem *ledger;
    bpe_symbol *symbols; /* (symbol_capacity) */
    uint64_t symbol_count, symbol_capacity;
    merge_queue queue;       /* rank << 32 | symbol */
    bpe_slot *recent;        /* (BPE_RECENT_COUNT) answers of the merge table, at the hash of their pair */
    const word_cache *parts; /* keeps parts of words that are too long for it; borrowed, or NULL */
    uint64_t steps;          /* symbols and ranks looked at; the queue counts its own */
} bpe_scratch;

void bpe_scratch_init(bpe_scratch *scratch, mem *ledger);
void bpe_scratch_reset(bpe_scratch *scratch);

/* Appends the ids of one word of valid UTF-8, fewer than 2^32 - 1 bytes. LEAT_MODEL: missing_unk is needed. */
MUST_CHECK leat_status bpe_encode(const bpe_model *b, bpe_scratch *scratch, const char *word, uint64_t bytes,
                                  token_list *out_ids, leat_error *error);

#endif

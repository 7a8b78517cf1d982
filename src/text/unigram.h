/*
 * unigram.h - the unigram model: of all ways to cut a word into tokens, the one whose scores have the largest sum
 * (Viterbi), the earliest found of equals. A character that no token covers costs the lowest score and a penalty more;
 * neighbours of that kind are one unknown token, or their bytes.
 *
 * Time is the length of the text by the length of the longest token.
 *
 * Threads: a model is constant after unigram_finish; each thread encodes with a scratch of its own.
 */
#ifndef TEXT_UNIGRAM_H
#define TEXT_UNIGRAM_H

#include "text/piece_trie.h"
#include "text/tokenizer.h"

typedef struct unigram_model {
    mem *ledger;
    const vocabulary *vocab;
    double *scores;  /* (vocab->id_count) */
    piece_trie trie; /* of the tokens with VOCABULARY_MODEL */
    uint32_t unk_id; /* VOCABULARY_NO_ID: a text that needs it is refused */
    double unk_score;
    bool byte_fallback; /* and all byte tokens exist that a character needs */
    bool is_single; /* sums are rounded to float, as SentencePiece does; else they are double, as `tokenizers` does */
    uint32_t byte_ids[256];
} unigram_model;

/* The best way to reach a place. */
typedef struct unigram_node {
    double score;
    uint32_t start; /* of the last token; UINT32_MAX: not reached */
    uint32_t id;
    uint32_t end; /* of the token that begins here, on the way chosen */
} unigram_node;

typedef struct unigram_scratch {
    mem *ledger;
    unigram_node *nodes; /* (capacity) one for each byte of a word, and one more */
    uint64_t capacity;
    uint64_t steps; /* bytes walked in the tree */
} unigram_scratch;

/* `scores` becomes the model's; byte_ids, byte_fallback, unk_id, unk_score and is_single are set by the caller. */
MUST_CHECK leat_status unigram_finish(unigram_model *u, leat_error *error);
void unigram_reset(unigram_model *u);

void unigram_scratch_init(unigram_scratch *scratch, mem *ledger);
void unigram_scratch_reset(unigram_scratch *scratch);

/* Appends the ids of a word (valid UTF-8, below 4 GiB). */
MUST_CHECK leat_status unigram_encode(const unigram_model *u, unigram_scratch *scratch, const char *word,
                                      uint64_t bytes, token_list *out_ids, leat_error *error);

#endif

/*
 * wordpiece.h - greedy cutting of a word: the longest token that it begins with, then the longest continuation, to its
 * end. A word that cannot be cut so, or is too long, is the unknown token.
 *
 * Threads: constant after wordpiece_finish.
 */
#ifndef TEXT_WORDPIECE_H
#define TEXT_WORDPIECE_H

#include "text/piece_trie.h"
#include "text/tokenizer.h"

typedef struct wordpiece_model {
    const vocabulary *vocab;
    piece_trie trie;
    const char *prefix;   /* of continuations; terminated, borrowed */
    uint32_t prefix_node; /* where continuations begin; PIECE_TRIE_NONE: there is none */
    uint32_t unk_id;
    const char *missing_unk; /* of a file that names an unknown token that there is not: an error when it is needed */
    uint32_t characters_max; /* of a word */
} wordpiece_model;

/* vocab, prefix, unk_id and characters_max are set by the caller. */
MUST_CHECK leat_status wordpiece_finish(wordpiece_model *w, leat_error *error);
void wordpiece_reset(wordpiece_model *w);

/* Appends the ids of a word (valid UTF-8). *steps grows by the bytes walked in the tree. */
MUST_CHECK leat_status wordpiece_encode(const wordpiece_model *w, const char *word, uint64_t bytes, token_list *out_ids,
                                        uint64_t *steps, leat_error *error);
/* The word as one token, or the unknown token; vocab and unk_id are enough for it. */
MUST_CHECK leat_status wordpiece_encode_whole(const wordpiece_model *w, const char *word, uint64_t bytes,
                                              token_list *out_ids, leat_error *error);

#endif

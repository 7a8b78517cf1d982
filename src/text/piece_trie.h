/*
 * piece_trie.h - the tokens of a vocabulary as a tree of bytes: all tokens that begin at a place of a text are found in
 * one walk. Nine bytes a node; the children of a node stand together, sorted.
 *
 * Threads: constant after piece_trie_open.
 */
#ifndef TEXT_PIECE_TRIE_H
#define TEXT_PIECE_TRIE_H

#include "text/vocabulary.h"

enum {
    PIECE_TRIE_ROOT = 0,
    PIECE_TRIE_NONE = 0,         /* no child: nothing leads to the root */
    PIECE_TRIE_BYTES_MAX = 1024, /* of a token: what one character of a text may cost */
};

typedef struct piece_trie {
    mem *ledger;
    uint32_t *first; /* (node_count + 1) the first child of each node; its last is before the next node's first */
    uint32_t *ids;   /* (node_count) the token that ends here, VOCABULARY_NO_ID: none */
    uint8_t *labels; /* (node_count) the byte that leads here */
    uint32_t node_count;
    uint32_t roots[256]; /* the children of the root by their bytes */
} piece_trie;

/* The tokens that have any of `flags`. LEAT_MODEL: one is longer than PIECE_TRIE_BYTES_MAX. */
MUST_CHECK leat_status piece_trie_open(piece_trie *trie, const vocabulary *v, uint8_t flags, leat_error *error);
/* Also for one that is zeroed. */
void piece_trie_reset(piece_trie *trie);

/* The child of a node, or PIECE_TRIE_NONE. */
uint32_t piece_trie_step(const piece_trie *trie, uint32_t node, uint8_t byte);
/* The longest token that `text` begins with, or VOCABULARY_NO_ID. */
uint32_t piece_trie_longest(const piece_trie *trie, const char *text, uint64_t bytes, uint64_t *out_bytes);

#endif

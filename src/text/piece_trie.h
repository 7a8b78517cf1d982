/*
 * piece_trie.h - the tokens of a vocabulary as a tree of bytes: all tokens that begin at a place of a text are found in
 * one walk. A double array (Aoe 1989), about twelve bytes a node: a step is one addition and one comparison.
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

/* Of a node: its child by a byte lies at base + byte, where that node's parent is this one. */
typedef struct piece_trie_link {
    uint32_t base, parent;
} piece_trie_link;

typedef struct piece_trie {
    mem *ledger;
    piece_trie_link *links; /* (place_count) a node is its place */
    uint32_t *ids;          /* (place_count) the token that ends here, VOCABULARY_NO_ID: none */
    uint32_t place_count;   /* 256 past the largest base */
} piece_trie;

/* The tokens that have any of `flags`. LEAT_MODEL: one is longer than PIECE_TRIE_BYTES_MAX. */
MUST_CHECK leat_status piece_trie_open(piece_trie *trie, const vocabulary *v, uint8_t flags, leat_error *error);
/* Also for one that is zeroed. */
void piece_trie_reset(piece_trie *trie);

/* The child of a node, or PIECE_TRIE_NONE. */
static inline uint32_t piece_trie_step(const piece_trie *trie, uint32_t node, uint8_t byte)
{
    uint32_t child = trie->links[node].base + byte;
    return trie->links[child].parent == node ? child : PIECE_TRIE_NONE;
}

/* The longest token that `text` begins with, or VOCABULARY_NO_ID. */
uint32_t piece_trie_longest(const piece_trie *trie, const char *text, uint64_t bytes, uint64_t *out_bytes);

#endif

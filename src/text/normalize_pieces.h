/*
 * normalize_pieces.h - the steps that work with a character map: `Precompiled` of a tokenizer.json, and what
 * SentencePiece itself does to a text before it looks for pieces. The two use the same table in different ways.
 */
#ifndef TEXT_NORMALIZE_PIECES_H
#define TEXT_NORMALIZE_PIECES_H

#include "text/charsmap.h"
#include "text/piece_trie.h"

typedef struct sentencepiece_rules {
    charsmap map;
    bool has_map;
    piece_trie kept; /* pieces that are taken as they stand; zeroed: none */
    bool has_kept;
    bool adds_space;      /* one at the beginning (or the end) of each stretch of text */
    bool adds_space_once; /* only at the beginning of the whole text */
    bool space_is_suffix;
    bool drops_spaces; /* at both ends, and all but one of a run */
    bool marks_spaces; /* a space becomes U+2581 */
} sentencepiece_rules;

/* Both append to out. */
MUST_CHECK leat_status normalize_precompiled(const charsmap *map, text_slice text, text_buffer *out, leat_error *error);
MUST_CHECK leat_status normalize_sentencepiece(const sentencepiece_rules *rules, text_slice text, bool is_first,
                                               text_buffer *out, leat_error *error);

#endif

/*
 * charsmap.h - the table of replacements that SentencePiece compiles into its models ("precompiled_charsmap"): a
 * double-array trie of byte strings, and for each the offset of its replacement.
 *
 *     u32 bytes of the trie | trie: u32 units | replacements, each terminated
 *
 * Every step is checked against the sizes, so that a damaged table can only give other replacements. All little-endian.
 *
 * Threads: constant; the bytes are borrowed.
 */
#ifndef TEXT_CHARSMAP_H
#define TEXT_CHARSMAP_H

#include "text/normalize.h"

typedef struct charsmap {
    const uint8_t *units; /* (unit_count) of four bytes each */
    uint32_t unit_count;
    const char *texts; /* (text_bytes) the last byte is a terminator */
    uint32_t text_bytes;
} charsmap;

/* False when the sizes do not fit, or the replacements are not terminated. */
bool charsmap_open(charsmap *map, const char *bytes, uint64_t count);

/* The replacement of the longest (or the shortest) entry that `text` begins with; false when there is none. */
bool charsmap_find(const charsmap *map, const char *text, uint64_t bytes, bool longest, uint64_t *out_bytes,
                   text_slice *out_replacement);

#endif

/*
 * character_map.h - normalizer steps that look at one character at a time: each becomes up to three characters.
 *
 * Threads: pure functions.
 */
#ifndef TEXT_CHARACTER_MAP_H
#define TEXT_CHARACTER_MAP_H

#include <stdint.h>

enum { CHARACTER_MAP_MAX = 3 };

/* Writes what the character becomes and returns how many characters that is. */
typedef uint32_t character_map(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);

/* Lower case, without regard to neighbours. */
uint32_t character_to_lower(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);
/* Marks vanish; of the second kind only those without a width of their own. */
uint32_t character_without_marks(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);
uint32_t character_without_bert_marks(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);
/* BERT: control characters vanish, white space becomes a space. */
uint32_t character_clean(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);
/* BERT: spaces around each Chinese character. */
uint32_t character_set_apart(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);
/* Nmt: control characters vanish, what separates or has no width becomes a space. */
uint32_t character_nmt(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX]);

#endif

/*
 * byte_level.h - the byte alphabet of byte-level vocabularies: every byte is one printable character.
 *
 * 0x21..0x7E, 0xA1..0xAC and 0xAE..0xFF stand for themselves; the other 68 bytes, in increasing order, are U+0100
 * and on.
 */
#ifndef TEXT_BYTE_LEVEL_H
#define TEXT_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool byte_level_is_itself(uint32_t value)
{
    return (value >= 0x21 && value <= 0x7e) || (value >= 0xa1 && value <= 0xac) || (value >= 0xae && value <= 0xff);
}

/* The character that stands for a byte. */
uint32_t byte_level_scalar(uint8_t byte);
/* false when the character stands for no byte. */
bool byte_level_byte(uint32_t scalar, uint8_t *out_byte);
/* Writes the characters of `count` bytes as UTF-8 (at most 2 * count bytes) and returns how many bytes were written. */
size_t byte_level_expand(const char *bytes, size_t count, char *out);

#endif

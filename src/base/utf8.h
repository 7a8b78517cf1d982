/* utf8.h - decoding and checking UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms). */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads one scalar value at text[0..length). Returns its bytes (1..4), or 0 when the bytes are not valid UTF-8; then
 * *out_invalid_bytes (may be NULL) is the length of the maximal subpart to be replaced by one U+FFFD (1..3), or 0
 * when the bytes are a valid but incomplete prefix. length >= 1. */
size_t utf8_decode(const char *text, size_t length, uint32_t *out_scalar, size_t *out_invalid_bytes);
/* Writes 1..4 bytes. */
size_t utf8_encode(uint32_t scalar, char out[4]);
/* The offset of the first byte that is not valid UTF-8, or `length`. */
size_t utf8_valid_bytes(const char *text, size_t length);

#endif

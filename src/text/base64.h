/* base64.h - strict decoding of base64 (RFC 4648, with padding, no white space). */
#ifndef TEXT_BASE64_H
#define TEXT_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* Writes at most bytes / 4 * 3 bytes and their count; false when the text is not base64. */
bool base64_decode(const char *text, size_t bytes, char *out, size_t *out_bytes);

#endif

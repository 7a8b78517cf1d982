#include "base/utf8.h"

#include "base/bytes.h"

#include <assert.h>

/* What the first byte says: how many bytes there are, and the range of the second (table 3-7 of the standard; the
 * narrowed ranges shut out overlong forms, surrogates and everything past U+10FFFF). */
typedef struct lead {
    unsigned bytes; /* 0: cannot begin a character */
    unsigned char second_min, second_max;
} lead;

static lead read_lead(unsigned char byte)
{
    if (byte < 0x80) return (lead){1, 0, 0};
    if (byte < 0xc2) return (lead){0, 0, 0};
    if (byte < 0xe0) return (lead){2, 0x80, 0xbf};
    if (byte == 0xe0) return (lead){3, 0xa0, 0xbf};
    if (byte == 0xed) return (lead){3, 0x80, 0x9f};
    if (byte < 0xf0) return (lead){3, 0x80, 0xbf};
    if (byte == 0xf0) return (lead){4, 0x90, 0xbf};
    if (byte < 0xf4) return (lead){4, 0x80, 0xbf};
    if (byte == 0xf4) return (lead){4, 0x80, 0x8f};
    return (lead){0, 0, 0};
}

size_t utf8_decode(const char *text, size_t length, uint32_t *out_scalar, size_t *out_invalid_bytes)
{
    assert(length >= 1);
    const unsigned char *p = (const unsigned char *)text;
    lead first = read_lead(p[0]);
    if (first.bytes == 1) {
        *out_scalar = p[0];
        return 1;
    }
    uint32_t scalar = first.bytes == 0 ? 0 : p[0] & (0x7fu >> first.bytes);
    unsigned good = first.bytes == 0 ? 0 : 1;
    bool broken = first.bytes == 0;
    while (!broken && good < first.bytes && good < length) {
        unsigned char low = good == 1 ? first.second_min : 0x80;
        unsigned char high = good == 1 ? first.second_max : 0xbf;
        if (p[good] < low || p[good] > high) {
            broken = true;
        } else {
            scalar = scalar << 6 | (p[good] & 0x3fu);
            good++;
        }
    }
    if (!broken && good == first.bytes) {
        *out_scalar = scalar;
        return good;
    }
    if (out_invalid_bytes != NULL) *out_invalid_bytes = !broken ? 0 : good == 0 ? 1 : good;
    return 0;
}

size_t utf8_encode(uint32_t scalar, char out[4])
{
    assert(scalar <= 0x10ffff && (scalar < 0xd800 || scalar > 0xdfff));
    unsigned char *p = (unsigned char *)out;
    if (scalar < 0x80) {
        p[0] = (unsigned char)scalar;
        return 1;
    }
    if (scalar < 0x800) {
        p[0] = (unsigned char)(0xc0 | scalar >> 6);
        p[1] = (unsigned char)(0x80 | (scalar & 0x3f));
        return 2;
    }
    if (scalar < 0x10000) {
        p[0] = (unsigned char)(0xe0 | scalar >> 12);
        p[1] = (unsigned char)(0x80 | (scalar >> 6 & 0x3f));
        p[2] = (unsigned char)(0x80 | (scalar & 0x3f));
        return 3;
    }
    p[0] = (unsigned char)(0xf0 | scalar >> 18);
    p[1] = (unsigned char)(0x80 | (scalar >> 12 & 0x3f));
    p[2] = (unsigned char)(0x80 | (scalar >> 6 & 0x3f));
    p[3] = (unsigned char)(0x80 | (scalar & 0x3f));
    return 4;
}

size_t utf8_valid_bytes(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        if (length - at >= 8 && (load_le64(text + at) & 0x8080808080808080u) == 0) { /* eight ASCII bytes */
            at += 8;
            continue;
        }
        uint32_t scalar;
        size_t taken = utf8_decode(text + at, length - at, &scalar, NULL);
        if (taken == 0) break;
        at += taken;
    }
    return at;
}

#include "base/visible.h"

#include "base/utf8.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char ellipsis[] = "...";
enum { ELLIPSIS_BYTES = sizeof ellipsis - 1, PIECE_BYTES_MAX = 8 };

/* C0, DEL and C1: a terminal may obey any of them. */
static bool is_control(uint32_t scalar) { return scalar < 0x20 || (scalar >= 0x7f && scalar < 0xa0); }

static size_t put_hex(char *out, unsigned char byte)
{
    static const char digits[] = "0123456789ABCDEF";
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 15];
    return 4;
}

size_t visible_text(const char *raw, size_t length, char *out, size_t out_bytes)
{
    assert(out_bytes >= PIECE_BYTES_MAX);
    size_t room = out_bytes - 1;
    size_t at = 0, cut = 0; /* cut: the last place where the ellipsis would still fit */
    for (size_t i = 0; i < length;) {
        char piece[PIECE_BYTES_MAX];
        size_t piece_bytes;
        uint32_t scalar = 0;
        size_t taken = utf8_decode(raw + i, length - i, &scalar, NULL);
        if (taken != 0 && !is_control(scalar)) {
            piece_bytes = taken;
            memcpy(piece, raw + i, taken);
        } else if (taken == 2) { /* a C1 control: both bytes, so that none of it is left alone */
            piece_bytes = put_hex(piece, (unsigned char)raw[i]);
            piece_bytes += put_hex(piece + piece_bytes, (unsigned char)raw[i + 1]);
        } else {
            taken = 1;
            piece_bytes = put_hex(piece, (unsigned char)raw[i]);
        }
        if (at + piece_bytes > room) {
            memcpy(out + cut, ellipsis, ELLIPSIS_BYTES);
            at = cut + ELLIPSIS_BYTES;
            break;
        }
        memcpy(out + at, piece, piece_bytes);
        at += piece_bytes;
        i += taken;
        if (at + ELLIPSIS_BYTES <= room) cut = at;
    }
    out[at] = '\0';
    return at;
}

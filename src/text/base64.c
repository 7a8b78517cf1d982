/* base64.c - see the header. */
#include "text/base64.h"

#include <stdint.h>

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(const char *text, size_t bytes, char *out, size_t *out_bytes)
{
    size_t written = 0;
    if (bytes % 4 != 0) return false;
    for (size_t at = 0; at < bytes; at += 4) {
        size_t padding = 0;
        uint32_t group = 0;
        if (at + 4 == bytes) padding = text[at + 3] != '=' ? 0 : text[at + 2] != '=' ? 1 : 2;
        for (size_t i = 0; i < 4; i++) {
            int value = i >= 4 - padding ? 0 : value_of(text[at + i]);
            if (value < 0) return false;
            group = group << 6 | (uint32_t)value;
        }
        if ((padding == 1 && (group & 0xff) != 0) || (padding == 2 && (group & 0xffff) != 0)) return false;
        for (size_t i = 0; i < 3 - padding; i++) out[written++] = (char)(group >> (16 - 8 * i));
    }
    *out_bytes = written;
    return true;
}

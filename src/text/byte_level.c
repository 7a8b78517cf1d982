/* byte_level.c - the 68 bytes that do not stand for themselves lie in three ranges, so both directions are arithmetic.
 */
#include "text/byte_level.h"

/* Ranges of bytes that are mapped away, and the character that the first of each becomes. */
static const struct {
    uint8_t first, last;
    uint16_t scalar;
} moved[] = {{0x00, 0x20, 0x100}, {0x7f, 0xa0, 0x121}, {0xad, 0xad, 0x143}};

uint32_t byte_level_scalar(uint8_t byte)
{
    for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++)
        if (byte >= moved[i].first && byte <= moved[i].last) return moved[i].scalar + (uint32_t)(byte - moved[i].first);
    return byte;
}

bool byte_level_byte(uint32_t scalar, uint8_t *out_byte)
{
    if (byte_level_is_itself(scalar)) {
        *out_byte = (uint8_t)scalar;
        return true;
    }
    for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++) {
        uint32_t count = (uint32_t)(moved[i].last - moved[i].first) + 1;
        if (scalar >= moved[i].scalar && scalar < moved[i].scalar + count) {
            *out_byte = (uint8_t)(moved[i].first + (scalar - moved[i].scalar));
            return true;
        }
    }
    return false;
}

size_t byte_level_expand(const char *bytes, size_t count, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = (uint8_t)bytes[i];
        if (byte < 0x7f && byte > 0x20) {
            out[written++] = (char)byte;
        } else { /* every other character of the alphabet lies below U+0800 */
            uint32_t scalar = byte_level_is_itself(byte) ? byte : byte_level_scalar(byte);
            out[written++] = (char)(0xc0 | (scalar >> 6));
            out[written++] = (char)(0x80 | (scalar & 0x3f));
        }
    }
    return written;
}

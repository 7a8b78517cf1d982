/* charsmap.c - see the header. A unit of the trie: 8 bits of label and the top bit; bit 8: a value hangs below; bit 9
 * and above: the distance to the children, in steps of 256 where bit 9 is set. */
#include "text/charsmap.h"

#include "base/bytes.h"

#include <string.h>

bool charsmap_open(charsmap *map, const char *bytes, uint64_t count)
{
    if (count < 4) return false;
    uint32_t trie_bytes = load_le32(bytes);
    if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes >= count - 4) return false;
    uint64_t text_bytes = count - 4 - trie_bytes;
    if (text_bytes > UINT32_MAX || bytes[count - 1] != 0) return false;
    *map = (charsmap){.units = (const uint8_t *)bytes + 4,
                      .unit_count = trie_bytes / 4,
                      .texts = bytes + 4 + trie_bytes,
                      .text_bytes = (uint32_t)text_bytes};
    return true;
}

static uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

static bool unit_at(const charsmap *map, uint32_t position, uint32_t *out_unit)
{
    if (position >= map->unit_count) return false;
    *out_unit = load_le32(map->units + 4 * (uint64_t)position);
    return true;
}

bool charsmap_find(const charsmap *map, const char *text, uint64_t bytes, bool longest, uint64_t *out_bytes,
                   text_slice *out_replacement)
{
    uint32_t position = 0, unit, leaf, value = UINT32_MAX;
    if (!unit_at(map, 0, &unit)) return false;
    position = unit_offset(unit);
    for (uint64_t i = 0; i < bytes && text[i] != 0; i++) {
        uint8_t byte = (uint8_t)text[i];
        position ^= byte;
        if (!unit_at(map, position, &unit) || (unit & 0x800000ff) != byte) break;
        position ^= unit_offset(unit);
        if ((unit >> 8 & 1) == 0) continue;
        if (!unit_at(map, position, &leaf) || (leaf & 0x7fffffff) >= map->text_bytes) break;
        value = leaf & 0x7fffffff;
        *out_bytes = i + 1;
        if (!longest) break;
    }
    if (value == UINT32_MAX) return false;
    *out_replacement = (text_slice){map->texts + value, strlen(map->texts + value)};
    return true;
}

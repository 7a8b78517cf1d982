/* character_map.c - see the header. */
#include "text/character_map.h"

#include "base/bytes.h"
#include "text/unicode_class.h"

#include <utf8proc.h>

static uint32_t keep(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    out[0] = scalar;
    return 1;
}

typedef struct character_range {
    uint32_t first, last;
} character_range;

#define RANGE(first, last) {first, last},
#define BERT_MARK          RANGE
static const character_range bert_marks[] = {
#include "text/character_map.inc"
};
#undef BERT_MARK
#define MARK RANGE
static const character_range marks[] = {
#include "text/character_map.inc"
};
#undef MARK
#define BERT_OTHER RANGE
static const character_range bert_others[] = {
#include "text/character_map.inc"
};
#undef BERT_OTHER

static bool is_in(const character_range *ranges, size_t count, uint32_t scalar)
{
    size_t low = 0, high = count;
    while (low < high) { /* the first range that does not end before the character */
        size_t middle = (low + high) / 2;
        if (ranges[middle].last < scalar)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].first <= scalar;
}

/* Capitals that are newer than utf8proc: Unicode 15 to 17. */
static uint32_t newer_to_lower(uint32_t scalar)
{
    switch (scalar) {
    case 0x1c89:
    case 0xa7cc:
    case 0xa7ce:
    case 0xa7d2:
    case 0xa7d4:
    case 0xa7da: return scalar + 1;
    case 0xa7cb: return 0x264;
    case 0xa7dc: return 0x19b;
    default: break;
    }
    if (scalar >= 0x10d50 && scalar <= 0x10d65) return scalar + 0x20;
    return scalar >= 0x16ea0 && scalar <= 0x16eb8 ? scalar + 0x1b : scalar;
}

uint32_t character_to_lower(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    if (scalar < 0x80) return keep(scalar >= 'A' && scalar <= 'Z' ? scalar + 32 : scalar, out);
    if (scalar == 0x130) { /* the one capital that becomes two characters: i and the dot above */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)scalar);
    return keep(lower != scalar ? lower : newer_to_lower(scalar), out);
}

uint32_t character_without_marks(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    return scalar >= 0x300 && is_in(marks, ARRAY_COUNT(marks), scalar) ? 0 : keep(scalar, out);
}

uint32_t character_without_bert_marks(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    return scalar >= 0x300 && is_in(bert_marks, ARRAY_COUNT(bert_marks), scalar) ? 0 : keep(scalar, out);
}

uint32_t character_clean(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    if (scalar == '\t' || scalar == '\n' || scalar == '\r') return keep(' ', out);
    if (scalar >= 0x20 && scalar < 0x7f) return keep(scalar, out);
    if (scalar == 0xfffd || is_in(bert_others, ARRAY_COUNT(bert_others), scalar)) return 0;
    return keep(unicode_is_space(scalar) ? ' ' : scalar, out);
}

static bool is_chinese(uint32_t scalar)
{
    static const character_range ranges[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},
                                             {0x20000, 0x2a6df}, {0x2a700, 0x2b81f}, {0x2b920, 0x2ceaf},
                                             {0x2f800, 0x2fa1f}};
    return is_in(ranges, ARRAY_COUNT(ranges), scalar);
}

uint32_t character_set_apart(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    if (scalar < 0x3400 || !is_chinese(scalar)) return keep(scalar, out);
    out[0] = out[2] = ' ';
    out[1] = scalar;
    return 3;
}

uint32_t character_nmt(uint32_t scalar, uint32_t out[CHARACTER_MAP_MAX])
{
    static const character_range gone[] = {{0x01, 0x08}, {0x0b, 0x0b}, {0x0e, 0x1f},
                                           {0x7f, 0x7f}, {0x8f, 0x8f}, {0x9f, 0x9f}};
    static const character_range spaces[] = {{0x09, 0x0a},     {0x0c, 0x0d},     {0x1680, 0x1680}, {0x200b, 0x200f},
                                             {0x2028, 0x2029}, {0x2581, 0x2581}, {0xfeff, 0xfeff}, {0xfffd, 0xfffd}};
    if (scalar >= 0x20 && scalar < 0x7f) return keep(scalar, out);
    if (is_in(gone, ARRAY_COUNT(gone), scalar)) return 0;
    return keep(is_in(spaces, ARRAY_COUNT(spaces), scalar) ? ' ' : scalar, out);
}

/*
 * unicode_class.c - general categories come from utf8proc and, for characters newer than it, from a table; the
 * properties that it lacks are short lists and stand here.
 */
#include "text/unicode_class.h"

#include <stddef.h>
#include <utf8proc.h>

static const struct {
    uint32_t first, last;
    utf8proc_category_t category;
} additions[] = {
#define X(first, last, category) {first, last, UTF8PROC_CATEGORY_##category},
#include "text/unicode_additions.inc"
#undef X
};

static utf8proc_category_t category_of(uint32_t scalar)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)scalar);
    if (category != UTF8PROC_CATEGORY_CN) return category;
    size_t low = 0, high = sizeof additions / sizeof additions[0];
    while (low < high) { /* the first range that does not end before the character */
        size_t middle = (low + high) / 2;
        if (additions[middle].last < scalar)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_in = low < sizeof additions / sizeof additions[0] && additions[low].first <= scalar;
    return is_in ? additions[low].category : category;
}

bool unicode_is_space(uint32_t scalar)
{
    if (scalar < 0x80) return scalar == ' ' || (scalar >= 0x09 && scalar <= 0x0d);
    return scalar == 0x85 || scalar == 0xa0 || scalar == 0x1680 || (scalar >= 0x2000 && scalar <= 0x200a) ||
           scalar == 0x2028 || scalar == 0x2029 || scalar == 0x202f || scalar == 0x205f || scalar == 0x3000;
}

bool unicode_is_python_space(uint32_t scalar) { return unicode_is_space(scalar) || (scalar >= 0x1c && scalar <= 0x1f); }

bool unicode_is_word(uint32_t scalar)
{
    switch (category_of(scalar)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    /* the joiners, and the symbols that are Alphabetic: circled and squared Latin letters */
    return scalar == 0x200c || scalar == 0x200d || (scalar >= 0x24b6 && scalar <= 0x24e9) ||
           (scalar >= 0x1f130 && scalar <= 0x1f149) || (scalar >= 0x1f150 && scalar <= 0x1f169) ||
           (scalar >= 0x1f170 && scalar <= 0x1f189);
}

bool unicode_is_mark(uint32_t scalar)
{
    utf8proc_category_t category = category_of(scalar);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

bool unicode_is_number(uint32_t scalar)
{
    if (scalar < 0x80) return scalar >= '0' && scalar <= '9';
    utf8proc_category_t category = category_of(scalar);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool unicode_is_punctuation(uint32_t scalar)
{
    if (scalar < 0x80)
        return (scalar >= '!' && scalar <= '/') || (scalar >= ':' && scalar <= '@') ||
               (scalar >= '[' && scalar <= '`') || (scalar >= '{' && scalar <= '~');
    switch (category_of(scalar)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return true;
    default: return false;
    }
}

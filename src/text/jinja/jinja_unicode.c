/* jinja_unicode.c - categories and simple mappings come from utf8proc; the mappings to several characters are a table.
 */
#include "text/jinja/jinja_unicode.h"

#include "base/bytes.h"
#include "text/unicode_class.h"

#include <utf8proc.h>

static const struct {
    uint32_t first, last;
    utf8proc_category_t category;
} additions[] = {
#define X(first, last, category) {first, last, UTF8PROC_CATEGORY_##category},
#include "text/unicode_additions.inc"
#undef X
};

static const struct {
    uint32_t scalar, upper[3], title[3];
} special_cases[] = {
#define X(scalar, u1, u2, u3, t1, t2, t3) {scalar, {u1, u2, u3}, {t1, t2, t3}},
#include "text/jinja/jinja_special_case.inc"
#undef X
};

static utf8proc_category_t category_of(uint32_t scalar)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)scalar);
    if (category != UTF8PROC_CATEGORY_CN) return category;
    for (size_t i = 0; i < ARRAY_COUNT(additions); i++) {
        if (scalar >= additions[i].first && scalar <= additions[i].last) return additions[i].category;
    }
    return category;
}

bool jinja_is_printable(uint32_t scalar)
{
    if (scalar < 0x7f) return scalar >= 0x20;
    switch (category_of(scalar)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

bool jinja_is_letter(uint32_t scalar)
{
    utf8proc_category_t c = category_of(scalar);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

bool jinja_is_decimal(uint32_t scalar) { return category_of(scalar) == UTF8PROC_CATEGORY_ND; }

bool jinja_is_digit(uint32_t scalar)
{
    return jinja_is_decimal(scalar) || scalar == 0xb2 || scalar == 0xb3 || scalar == 0xb9 || scalar == 0x2070 ||
           (scalar >= 0x2074 && scalar <= 0x2079) || (scalar >= 0x2080 && scalar <= 0x2089) ||
           (scalar >= 0x2460 && scalar <= 0x2468);
}

bool jinja_is_numeric(uint32_t scalar) { return unicode_is_number(scalar); }

bool jinja_is_upper(uint32_t scalar)
{
    return category_of(scalar) == UTF8PROC_CATEGORY_LU || (scalar >= 0x2160 && scalar <= 0x216f) ||
           (scalar >= 0x24b6 && scalar <= 0x24cf);
}

bool jinja_is_lower(uint32_t scalar)
{
    return category_of(scalar) == UTF8PROC_CATEGORY_LL || scalar == 0xaa || scalar == 0xba ||
           (scalar >= 0x2170 && scalar <= 0x217f) || (scalar >= 0x24d0 && scalar <= 0x24e9) ||
           (scalar >= 0x2b0 && scalar <= 0x2b8) || (scalar >= 0x1d2c && scalar <= 0x1d6a);
}

bool jinja_is_title(uint32_t scalar) { return category_of(scalar) == UTF8PROC_CATEGORY_LT; }

bool jinja_is_name_start(uint32_t scalar)
{
    if (scalar < 0x80) return scalar == '_' || (scalar >= 'a' && scalar <= 'z') || (scalar >= 'A' && scalar <= 'Z');
    return jinja_is_letter(scalar) || category_of(scalar) == UTF8PROC_CATEGORY_NL;
}

bool jinja_is_name_part(uint32_t scalar)
{
    if (scalar < 0x80) return jinja_is_name_start(scalar) || (scalar >= '0' && scalar <= '9');
    return unicode_is_word(scalar);
}

int jinja_change_case(uint32_t scalar, jinja_case to, uint32_t out[4])
{
    if (scalar < 0x80) {
        bool is_upper = scalar >= 'A' && scalar <= 'Z', is_lower = scalar >= 'a' && scalar <= 'z';
        bool goes_up = to == JINJA_UPPER || to == JINJA_TITLE;
        out[0] = (goes_up && is_lower) || (!goes_up && is_upper) ? scalar ^ 0x20 : scalar;
        return 1;
    }
    if (to == JINJA_FOLD) {
        int boundary = 0;
        utf8proc_int32_t folded[4];
        utf8proc_ssize_t count =
            utf8proc_decompose_char((utf8proc_int32_t)scalar, folded, 4, UTF8PROC_CASEFOLD, &boundary);
        for (int i = 0; i < count && i < 4; i++) out[i] = (uint32_t)folded[i];
        if (count >= 1 && count <= 4) return (int)count;
    }
    if (to == JINJA_LOWER || to == JINJA_FOLD) {
        out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)scalar);
        out[1] = 0x307;
        if (scalar == 0x130) out[0] = 'i';
        return scalar == 0x130 ? 2 : 1;
    }
    for (size_t i = 0; i < ARRAY_COUNT(special_cases); i++) {
        if (special_cases[i].scalar != scalar) continue;
        const uint32_t *from = to == JINJA_UPPER ? special_cases[i].upper : special_cases[i].title;
        for (int n = 0; n < 3; n++) out[n] = from[n];
        return from[1] == 0 ? 1 : from[2] == 0 ? 2 : 3;
    }
    out[0] = (uint32_t)(to == JINJA_UPPER ? utf8proc_toupper((utf8proc_int32_t)scalar)
                                          : utf8proc_totitle((utf8proc_int32_t)scalar));
    return 1;
}

uint32_t jinja_named_character(const char *name, uint64_t bytes)
{
    static const struct {
        const char *name;
        uint32_t scalar;
    } known[] = {
        {"BULLET", 0x2022},
        {"EM DASH", 0x2014},
        {"EN DASH", 0x2013},
        {"HORIZONTAL ELLIPSIS", 0x2026},
        {"NO-BREAK SPACE", 0xa0},
        {"ZERO WIDTH SPACE", 0x200b},
        {"ZERO WIDTH JOINER", 0x200d},
        {"ZERO WIDTH NON-JOINER", 0x200c},
        {"WORD JOINER", 0x2060},
        {"SPACE", 0x20},
        {"LINE FEED", 0x0a},
        {"NEW LINE", 0x0a},
        {"NULL", 0},
        {"TAB", 9},
        {"CHARACTER TABULATION", 9},
        {"CARRIAGE RETURN", 0x0d},
        {"LEFT SINGLE QUOTATION MARK", 0x2018},
        {"RIGHT SINGLE QUOTATION MARK", 0x2019},
        {"LEFT DOUBLE QUOTATION MARK", 0x201c},
        {"RIGHT DOUBLE QUOTATION MARK", 0x201d},
        {"QUOTATION MARK", 0x22},
        {"APOSTROPHE", 0x27},
        {"REVERSE SOLIDUS", 0x5c},
        {"SOLIDUS", 0x2f},
        {"RIGHTWARDS ARROW", 0x2192},
        {"LEFTWARDS ARROW", 0x2190},
        {"MIDDLE DOT", 0xb7},
        {"DEGREE SIGN", 0xb0},
        {"EURO SIGN", 0x20ac},
        {"COPYRIGHT SIGN", 0xa9},
        {"REPLACEMENT CHARACTER", 0xfffd},
        {"ZERO WIDTH NO-BREAK SPACE", 0xfeff},
        {"SNOWMAN", 0x2603},
        {"CHECK MARK", 0x2713},
        {"GREEK SMALL LETTER ALPHA", 0x3b1},
        {"LATIN SMALL LETTER E WITH ACUTE", 0xe9},
        {"LATIN SMALL LETTER SHARP S", 0xdf},
    };
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (strlen(known[i].name) == bytes && strncasecmp(known[i].name, name, bytes) == 0) return known[i].scalar;
    }
    return 0;
}

/*
 * regex_syntax.c - a one-pass reader of patterns.
 *
 * Where the two syntaxes differ, and what is written instead:
 *
 *   \s \S \w \W \h   Oniguruma means the Unicode properties (and hexadecimal digits); PCRE2's \s also holds U+180E and
 *                   its \w no marks: classes are spelled out. Outside of brackets \w holds six signs of Latin-1 more
 *   \b \B           the borders of that \w
 *   \p{Han}         PCRE2 reads a script name as script extensions: \p{sc:Han}
 *   X{n,m}+         repeats the interval, it is not possessive: (?:X{n,m})+, or X+ and X* where n is 1 or 0
 *   X{,m}           X{0,m}
 *   [A[B]]          a union: [AB]; what is negated inside of brackets stands beside them: (?:[A]|[^B])
 *   [A&&B]          (?:(?![^A])[B])
 *   (?i)            to the end of its group, over alternatives: a(?i)b|c is a(?i:b|c)
 *   ^ $             match at every line: the pattern is compiled with PCRE2_MULTILINE
 *   \p{L}           with the characters that Unicode 16.0 has and an older PCRE2 lacks
 */
#include "text/regex_syntax.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* The parts of one pair of brackets. */
typedef struct bracket_set {
    text_buffer items, beside; /* of a class; what is no item, each behind a "|" */
    uint32_t beside_count;
    text_buffer others; /* the sets before the last "&&", each as a condition */
    bool negated;
} bracket_set;

typedef struct reader {
    const char *name, *text;
    uint64_t bytes, at;
    text_buffer *out; /* inside of brackets: the items */
    bracket_set *set; /* inside of brackets, or NULL */
    leat_error *error;
    uint64_t group_starts[REGEX_DEPTH_MAX]; /* where the open groups begin in out */
    bool is_implied[REGEX_DEPTH_MAX];       /* the group was opened by (?i) and ends with the one around it */
    uint32_t depth;
} reader;

#define SPACE_RANGES                                                                                                   \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE_RANGES                                                                                               \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"                    \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Symbols that are Alphabetic, and so belong to words: circled and squared Latin letters. */
#define WORD_SYMBOL_RANGES "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

/* What \w holds outside of brackets only, where a table of Latin-1 answers: superscripts and fractions. */
#define WORD_SIGN_RANGES "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
/* The properties of Unicode 16.0, where they do not follow from a category. */
#define ALPHABETIC_ITEMS                                                                                               \
    "\\p{Alphabetic}\\x{363}-\\x{36f}\\x{897}\\x{c04}\\x{cf3}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{10d69}\\x{10efc}"  \
    "\\x{11080}\\x{11081}\\x{11241}\\x{113b8}-\\x{113c0}\\x{113c2}\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}\\x{113cd}" \
    "\\x{11f00}\\x{11f01}\\x{11f03}\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f40}\\x{1611e}-\\x{1612e}\\x{1e08f}"
#define LOWERCASE_ITEMS "\\p{Lowercase}\\x{10fc}\\x{a7f2}-\\x{a7f4}\\x{ab69}\\x{1e030}-\\x{1e06d}"
#define ANY_CHARACTER   "[\\x{0}-\\x{10ffff}]"

static const struct {
    uint32_t first, last;
    const char category[3];
} additions[] = {
#define X(first, last, category) {first, last, #category},
#include "text/unicode_additions.inc"
#undef X
};

static leat_status refuse(const reader *r, const char *what)
{
    return FAIL(r->error, MODEL, "%s: regular expression: %s at byte %llu of the pattern", r->name, what,
                (unsigned long long)r->at);
}

static leat_status put(reader *r, const char *text) { return text_buffer_append(r->out, text, strlen(text), r->error); }

static leat_status put_scalar(reader *r, uint32_t scalar)
{
    char text[16];
    snprintf(text, sizeof text, "\\x{%x}", scalar);
    return put(r, text);
}

static bool has_more(const reader *r) { return r->at < r->bytes; }
static char peek(const reader *r) { return r->at < r->bytes ? r->text[r->at] : 0; }

static bool starts_with(const reader *r, const char *text)
{
    uint64_t length = strlen(text);
    return length <= r->bytes - r->at && memcmp(r->text + r->at, text, length) == 0;
}

static bool take(reader *r, const char *text)
{
    if (!starts_with(r, text)) return false;
    r->at += strlen(text);
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Up to `most` hexadecimal digits; false when there is none or the value is no Unicode scalar. */
static bool read_hex(reader *r, unsigned most, uint32_t *out_scalar)
{
    uint32_t value = 0;
    unsigned count = 0;
    for (; count < most && has_more(r); count++, r->at++) {
        char c = r->text[r->at];
        if (is_digit(c))
            value = value * 16 + (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (uint32_t)(c - 'A') + 10;
        else
            break;
    }
    *out_scalar = value;
    return count > 0 && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
}

/* A category as items of a class, with the characters that the installed PCRE2 may not know yet. */
static leat_status put_category(reader *r, const char *name)
{
    TRY(put(r, "\\p{"));
    TRY(put(r, name));
    TRY(put(r, "}"));
    for (size_t i = 0; i < ARRAY_COUNT(additions); i++) {
        char range[40];
        bool is_in =
            name[0] == additions[i].category[0] && (name[1] == 0 || (name[1] ^ additions[i].category[1]) == 0x20);
        if (!is_in) continue;
        snprintf(range, sizeof range, "\\x{%x}-\\x{%x}", additions[i].first, additions[i].last);
        TRY(put(r, range));
    }
    return LEAT_OK;
}

static leat_status put_word_items(reader *r)
{
    static const char *const categories[] = {"L", "M", "Nd", "Nl", "Pc"};
    for (size_t i = 0; i < ARRAY_COUNT(categories); i++) TRY(put_category(r, categories[i]));
    return put(r, WORD_SYMBOL_RANGES);
}

/* A character of a word, or none, by itself. */
static leat_status put_word(reader *r, bool negated)
{
    TRY(put(r, negated ? "[^" : "["));
    TRY(put_word_items(r));
    return put(r, WORD_SIGN_RANGES "]");
}

/* The border of a word, or a place that is none. */
static leat_status put_word_border(reader *r, bool is_border)
{
    TRY(put(r, "(?:(?<="));
    TRY(put_word(r, false));
    TRY(put(r, is_border ? ")(?!" : ")(?="));
    TRY(put_word(r, false));
    TRY(put(r, ")|(?<!"));
    TRY(put_word(r, false));
    TRY(put(r, is_border ? ")(?=" : ")(?!"));
    TRY(put_word(r, false));
    return put(r, "))");
}

/* A set that stands for itself outside of brackets, is items inside of them, and beside them where it is negated. */
typedef struct placed_set {
    text_buffer *items;
    bool is_items;
} placed_set;

static leat_status begin_set(reader *r, bool negated, placed_set *out_place)
{
    *out_place = (placed_set){r->out, r->set != NULL && !negated};
    if (out_place->is_items) return LEAT_OK;
    if (r->set != NULL) {
        r->set->beside_count++;
        r->out = &r->set->beside;
        TRY(put(r, "|"));
    }
    return put(r, negated ? "[^" : "[");
}

static leat_status end_set(reader *r, const placed_set *place)
{
    if (!place->is_items) TRY(put(r, "]"));
    r->out = place->items;
    return LEAT_OK;
}

/* After "\p" or "\P". */
static leat_status translate_property(reader *r, bool negated)
{
    static const char *const categories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
                                             "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
                                             "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf"};
    static const char *const scripts[] = {"Han",      "Hiragana", "Katakana", "Hangul", "Latin",   "Cyrillic",
                                          "Greek",    "Arabic",   "Hebrew",   "Thai",   "Lao",     "Devanagari",
                                          "Bengali",  "Tamil",    "Telugu",   "Khmer",  "Myanmar", "Tibetan",
                                          "Ethiopic", "Georgian", "Armenian"};
    if (!take(r, "{")) return refuse(r, "a property without braces");
    if (take(r, "^")) negated = !negated;
    char name[16];
    size_t length = 0;
    while (is_letter(peek(r)) && length + 1 < sizeof name) name[length++] = r->text[r->at++];
    name[length] = 0;
    if (!take(r, "}")) return refuse(r, "a property that is not known");

    bool is_category = false, is_script = false;
    for (size_t i = 0; i < ARRAY_COUNT(categories); i++) is_category |= strcmp(name, categories[i]) == 0;
    for (size_t i = 0; i < ARRAY_COUNT(scripts); i++) is_script |= strcmp(name, scripts[i]) == 0;
    if (!is_category && !is_script) return refuse(r, "a property that is not known");
    placed_set place;
    TRY(begin_set(r, negated, &place));
    if (is_category) {
        TRY(put_category(r, name));
    } else {
        TRY(put(r, "\\p{sc:"));
        TRY(put(r, name));
        TRY(put(r, "}"));
        if (strcmp(name, "Han") == 0)
            TRY(put(r, "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}")); /* since Unicode 14.0 */
    }
    return end_set(r, &place);
}

/* \d, \w and \h. */
static leat_status translate_shorthand(reader *r, char letter)
{
    placed_set place;
    bool negated = letter == 'D' || letter == 'W' || letter == 'H';
    if (r->set == NULL && (letter == 'w' || letter == 'W')) return put_word(r, negated);
    TRY(begin_set(r, negated, &place));
    if (letter == 'd' || letter == 'D')
        TRY(put_category(r, "Nd"));
    else if (letter == 'w' || letter == 'W')
        TRY(put_word_items(r));
    else
        TRY(put(r, "0-9A-Fa-f"));
    return end_set(r, &place);
}

/* After a backslash; `in_class` inside brackets. *out_is_set: it stands for more than one character. */
static leat_status translate_escape(reader *r, bool in_class, bool *out_is_set)
{
    *out_is_set = true;
    if (!has_more(r)) return refuse(r, "a backslash at the end");
    char c = r->text[r->at++];
    uint32_t scalar = 0;
    switch (c) {
    case 'p': return translate_property(r, false);
    case 'P': return translate_property(r, true);
    case 's': return put(r, in_class ? SPACE_RANGES : "[" SPACE_RANGES "]");
    case 'S': return put(r, in_class ? NOT_SPACE_RANGES : "[" NOT_SPACE_RANGES "]");
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 'h':
    case 'H': return translate_shorthand(r, c);
    default: break;
    }
    *out_is_set = false;
    switch (c) {
    case 't': return put_scalar(r, '\t');
    case 'n': return put_scalar(r, '\n');
    case 'r': return put_scalar(r, '\r');
    case 'f': return put_scalar(r, '\f');
    case 'v': return put_scalar(r, '\v');
    case 'a': return put_scalar(r, '\a');
    case 'e': return put_scalar(r, 0x1b);
    case 'u': {
        uint64_t start = r->at;
        if (!read_hex(r, 4, &scalar) || r->at != start + 4) return refuse(r, "\\u without four hexadecimal digits");
        return put_scalar(r, scalar);
    }
    case 'x': {
        bool braced = take(r, "{");
        if (!read_hex(r, braced ? 6 : 2, &scalar) || (braced && !take(r, "}")) || (!braced && scalar > 0x7f))
            return refuse(r, "\\x without a character's number");
        return put_scalar(r, scalar);
    }
    case 'b':
    case 'B':
        if (!in_class) return put_word_border(r, c == 'b');
        if (c == 'b') return put_scalar(r, '\b');
        break;
    case 'A':
    case 'z':
    case 'Z':
        if (!in_class) return put(r, c == 'A' ? "\\A" : c == 'z' ? "\\z" : "\\Z");
        break;
    case 'R':
        if (!in_class) return put(r, "(?>\\x{d}\\x{a}|[\\x{a}-\\x{d}\\x{85}\\x{2028}\\x{2029}])");
        break;
    default: break;
    }
    if (is_letter(c) || is_digit(c)) {
        char what[48];
        snprintf(what, sizeof what, "\\%c is not supported", c);
        return refuse(r, what);
    }
    r->at--;
    size_t length = utf8_decode(r->text + r->at, r->bytes - r->at, &scalar, NULL);
    if (length == 0) return refuse(r, "bytes that are not UTF-8");
    r->at += length;
    return put_scalar(r, scalar);
}

/* [:alpha:], of which "[" is next. */
static leat_status translate_posix(reader *r)
{
    static const struct {
        const char *name, *categories[4], *more;
    } sets[] = {{"alpha:]", {"L", "Nl"}, ALPHABETIC_ITEMS},
                {"alnum:]", {"L", "Nl", "Nd"}, ALPHABETIC_ITEMS},
                {"digit:]", {"Nd"}, ""},
                {"punct:]", {"P", "S"}, ""},
                {"space:]", {NULL}, SPACE_RANGES},
                {"cntrl:]", {"Cc"}, ""},
                {"blank:]", {"Zs"}, "\\x{9}"},
                {"upper:]", {"Lu"}, "\\p{Uppercase}"},
                {"lower:]", {"Ll"}, LOWERCASE_ITEMS},
                {"xdigit:]", {NULL}, "0-9A-Fa-f"}};
    placed_set place;
    r->at += 2;
    TRY(begin_set(r, take(r, "^"), &place));
    if (take(r, "word:]")) {
        TRY(put_word_items(r));
        return end_set(r, &place);
    }
    for (size_t i = 0; i < ARRAY_COUNT(sets); i++) {
        if (!take(r, sets[i].name)) continue;
        for (const char *const *category = sets[i].categories; *category != NULL; category++)
            TRY(put_category(r, *category));
        TRY(put(r, sets[i].more));
        return end_set(r, &place);
    }
    return refuse(r, "a class between colons that is not known");
}

static leat_status translate_brackets(reader *r, uint32_t depth);

/* Items up to "]" or "&&", which are not taken. */
static leat_status translate_class_items(reader *r, uint32_t depth)
{
    bool after_set = false;
    for (bool is_first = true;; is_first = false) {
        if (!has_more(r)) return refuse(r, "brackets that are not closed");
        if (starts_with(r, "&&") || (peek(r) == ']' && !is_first)) return LEAT_OK;
        if (peek(r) == '[') {
            TRY(starts_with(r, "[:") ? translate_posix(r) : translate_brackets(r, depth + 1));
            after_set = true;
            continue;
        }
        if (take(r, "\\")) {
            TRY(translate_escape(r, true, &after_set));
            continue;
        }
        if (peek(r) == '-' && !is_first && !after_set && r->at + 1 < r->bytes && r->text[r->at + 1] != ']') {
            r->at++; /* between two characters: a range */
            TRY(put(r, "-"));
            if (take(r, "\\")) {
                TRY(translate_escape(r, true, &after_set));
                if (after_set) return refuse(r, "a range that ends in a class");
                after_set = true; /* a range cannot begin at the end of another */
                continue;
            }
            if (peek(r) == '[') return refuse(r, "a range that ends in a class");
            after_set = true;
        } else {
            after_set = false;
        }
        uint32_t scalar;
        size_t length = utf8_decode(r->text + r->at, r->bytes - r->at, &scalar, NULL);
        if (length == 0) return refuse(r, "bytes that are not UTF-8");
        r->at += length;
        TRY(put_scalar(r, scalar));
    }
}

static leat_status put_buffer(reader *r, const text_buffer *text, uint64_t from)
{
    return text_buffer_append(r->out, text->bytes + from, text->count - from, r->error);
}

/* One character of the items and what is beside them. */
static leat_status put_union(reader *r, const bracket_set *set)
{
    if (set->items.count == 0 && set->beside.count == 0) return refuse(r, "an empty set");
    const bool has_choice = set->beside_count + (set->items.count > 0) > 1;
    if (has_choice) TRY(put(r, "(?:"));
    if (set->items.count > 0) {
        TRY(put(r, "["));
        TRY(put_buffer(r, &set->items, 0));
        TRY(put(r, "]"));
    }
    if (set->beside.count == 0) return LEAT_OK;
    TRY(put_buffer(r, &set->beside, set->items.count > 0 ? 0 : 1)); /* begins with "|" */
    return has_choice ? put(r, ")") : LEAT_OK;
}

/* One character of the whole. */
static leat_status put_bracket_set(reader *r, const bracket_set *set)
{
    if (set->negated && set->beside.count == 0 && set->others.count == 0) {
        TRY(put(r, "[^"));
        TRY(put_buffer(r, &set->items, 0));
        return put(r, "]");
    }
    if (set->negated) TRY(put(r, "(?:(?!"));
    if (set->others.count > 0) {
        TRY(put(r, "(?:"));
        TRY(put_buffer(r, &set->others, 0));
    }
    TRY(put_union(r, set));
    if (set->others.count > 0) TRY(put(r, ")"));
    return set->negated ? put(r, ")" ANY_CHARACTER ")") : LEAT_OK;
}

/* The next character belongs to the items and what is beside them. Where it may be said by a negative assertion it is:
 * in a repeat those need less of the matcher's stack. */
static leat_status put_condition(reader *r, const bracket_set *set)
{
    if (set->beside_count > 0 || set->items.count == 0) {
        TRY(put(r, "(?="));
        TRY(put_union(r, set));
        return put(r, ")");
    }
    TRY(put(r, "(?![^"));
    TRY(put_buffer(r, &set->items, 0));
    return put(r, "])");
}

static leat_status read_bracket_set(reader *r, bracket_set *set, uint32_t depth)
{
    r->at++;
    set->negated = take(r, "^");
    for (;;) {
        r->out = &set->items;
        r->set = set;
        TRY(translate_class_items(r, depth));
        if (take(r, "]")) return LEAT_OK;
        r->at += 2; /* && */
        if (peek(r) == ']') return refuse(r, "an empty set");
        r->out = &set->others;
        TRY(put_condition(r, set));
        set->items.count = set->beside.count = set->beside_count = 0;
    }
}

/* At "[". Inside of other brackets a plain union joins theirs. */
static leat_status translate_brackets(reader *r, uint32_t depth)
{
    enum { DEPTH_MAX = 8 };
    text_buffer *const out = r->out;
    bracket_set *const outer = r->set;
    bracket_set set = {0};
    leat_status status;
    if (depth > DEPTH_MAX) return refuse(r, "brackets deeper than 8");
    text_buffer_init(&set.items, out->ledger);
    text_buffer_init(&set.beside, out->ledger);
    text_buffer_init(&set.others, out->ledger);
    TRY_OR(done, read_bracket_set(r, &set, depth));
    r->out = out;
    r->set = outer;
    if (outer == NULL) {
        TRY_OR(done, put_bracket_set(r, &set));
    } else if (!set.negated && set.others.count == 0) {
        TRY_OR(done, put_buffer(r, &set.items, 0));
        outer->beside_count += set.beside_count;
        TRY_OR(done, text_buffer_append(&outer->beside, set.beside.bytes, set.beside.count, r->error));
    } else {
        outer->beside_count++;
        r->out = &outer->beside;
        TRY_OR(done, put(r, "|"));
        TRY_OR(done, put_bracket_set(r, &set));
        r->out = out;
    }
done:
    text_buffer_reset(&set.items);
    text_buffer_reset(&set.beside);
    text_buffer_reset(&set.others);
    return status;
}

/* After "(". */
static leat_status open_group(reader *r)
{
    static const char *const openings[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"};
    if (r->depth == REGEX_DEPTH_MAX) return refuse(r, "groups deeper than 64");
    r->is_implied[r->depth] = starts_with(r, "?i)") || starts_with(r, "?-i)");
    r->group_starts[r->depth++] = r->out->count;
    if (take(r, "?i)")) return put(r, "(?i:");
    if (take(r, "?-i)")) return put(r, "(?-i:");
    if (peek(r) != '?') return put(r, "(?:");
    for (size_t i = 0; i < ARRAY_COUNT(openings); i++)
        if (take(r, openings[i])) {
            TRY(put(r, "("));
            return put(r, openings[i]);
        }
    return refuse(r, "this kind of group is not supported");
}

/* Ends the groups that (?i) opened; the one around them is next. */
static leat_status close_implied(reader *r)
{
    for (; r->depth > 0 && r->is_implied[r->depth - 1]; r->depth--) TRY(put(r, ")"));
    return LEAT_OK;
}

static bool read_count(reader *r, uint32_t *out_count)
{
    uint32_t value = 0;
    uint64_t start = r->at;
    for (; is_digit(peek(r)) && value <= REGEX_REPEAT_MAX; r->at++) value = value * 10 + (uint32_t)(peek(r) - '0');
    *out_count = value;
    return r->at > start;
}

/* At "{": reads {n}, {n,}, {n,m} or {,m}; false (and nothing taken) when it is none of them. */
static bool read_interval(reader *r, uint32_t *out_least, uint32_t *out_most, bool *out_is_exact)
{
    uint64_t start = r->at++;
    bool has_least = read_count(r, out_least), has_most = false;
    *out_most = *out_least;
    *out_is_exact = true;
    if (take(r, ",")) {
        *out_is_exact = false;
        has_most = read_count(r, out_most);
        if (!has_most) *out_most = UINT32_MAX;
    }
    if ((has_least || has_most) && take(r, "}")) return true;
    r->at = start;
    return false;
}

static leat_status insert(reader *r, uint64_t at, const char *text)
{
    uint64_t length = strlen(text), tail = r->out->count - at;
    TRY(put(r, text));
    memmove(r->out->bytes + at + length, r->out->bytes + at, tail);
    memcpy(r->out->bytes + at, text, length);
    return LEAT_OK;
}

/* What follows an element that begins at atom_start of the output. */
static leat_status translate_quantifier(reader *r, uint64_t atom_start)
{
    char c = peek(r);
    if (c == '*' || c == '+' || c == '?') {
        char text[3] = {c, 0, 0};
        r->at++;
        if (peek(r) == '?' || peek(r) == '+') text[1] = r->text[r->at++];
        TRY(put(r, text));
    } else {
        uint32_t least, most;
        bool is_exact;
        if (c != '{' || !read_interval(r, &least, &most, &is_exact)) return LEAT_OK;
        if (least > REGEX_REPEAT_MAX || (most > REGEX_REPEAT_MAX && most != UINT32_MAX) || least > most)
            return refuse(r, "a repeat count that is not between 0 and 1000");
        if (take(r, "+")) { /* the interval itself repeats; from one or none on that is any number */
            if (least <= 1 && most >= 1) {
                TRY(put(r, least == 1 ? "+" : "*"));
            } else {
                char text[32];
                if (most == UINT32_MAX)
                    snprintf(text, sizeof text, "{%u,})+", least);
                else
                    snprintf(text, sizeof text, "{%u,%u})+", least, most);
                TRY(insert(r, atom_start, "(?:"));
                TRY(put(r, text));
            }
        } else {
            char text[32];
            bool is_lazy = take(r, "?");
            if (is_lazy && is_exact) return refuse(r, "{n}? is not supported");
            if (most == UINT32_MAX)
                snprintf(text, sizeof text, "{%u,}%s", least, is_lazy ? "?" : "");
            else
                snprintf(text, sizeof text, "{%u,%u}%s", least, most, is_lazy ? "?" : "");
            TRY(put(r, text));
        }
    }
    c = peek(r);
    uint32_t ignored[2];
    bool ignored_exact;
    uint64_t here = r->at;
    if (c == '*' || c == '+' || c == '?' || (c == '{' && read_interval(r, &ignored[0], &ignored[1], &ignored_exact))) {
        r->at = here;
        return refuse(r, "a repeat of a repeat is not supported");
    }
    return LEAT_OK;
}

leat_status regex_translate(const char *name, const char *pattern, uint64_t bytes, text_buffer *out_pattern,
                            leat_error *error)
{
    if (bytes > REGEX_PATTERN_BYTES_MAX)
        return FAIL(error, MODEL, "%s: a regular expression is %llu bytes long, at most %d are supported", name,
                    (unsigned long long)bytes, REGEX_PATTERN_BYTES_MAX);
    reader r = {.name = name, .text = pattern, .bytes = bytes, .out = out_pattern, .error = error};
    while (has_more(&r)) {
        uint64_t atom_start = r.out->count;
        char c = r.text[r.at++];
        bool is_set;
        switch (c) {
        case '\\': TRY(translate_escape(&r, false, &is_set)); break;
        case '[':
            r.at--;
            TRY(translate_brackets(&r, 0));
            break;
        case '(': TRY(open_group(&r)); continue;
        case ')':
            TRY(close_implied(&r));
            if (r.depth == 0) return refuse(&r, "a parenthesis that was not opened");
            atom_start = r.group_starts[--r.depth];
            TRY(put(&r, ")"));
            break;
        case '|': TRY(put(&r, "|")); continue;
        case '^': TRY(put(&r, "^")); continue;
        case '$': TRY(put(&r, "$")); continue;
        case '.': TRY(put(&r, ".")); break;
        case '*':
        case '+':
        case '?': r.at--; return refuse(&r, "nothing to repeat");
        default: {
            uint32_t scalar;
            r.at--;
            size_t length = utf8_decode(r.text + r.at, r.bytes - r.at, &scalar, NULL);
            if (length == 0) return refuse(&r, "bytes that are not UTF-8");
            r.at += length;
            TRY(put_scalar(&r, scalar));
        }
        }
        TRY(translate_quantifier(&r, atom_start));
    }
    TRY(close_implied(&r));
    if (r.depth > 0) return refuse(&r, "a group that is not closed");
    return LEAT_OK;
}

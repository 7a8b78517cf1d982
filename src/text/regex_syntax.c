/*
 * regex_syntax.c - a one-pass reader of patterns.
 *
 * Where the two syntaxes differ, and what is written instead:
 *   \s \S \w \W    Oniguruma means the Unicode properties; PCRE2's \s also holds U+180E and its \w no marks: classes
 * are spelled out \p{Han}        PCRE2 reads a script name as script extensions: \p{sc:Han} X{n,m}+        repeats the
 * interval, it is not possessive: (?:X{n,m})+, or X+ and X* where n is 1 or 0 X{,m}          X{0,m} [A&&[^B]]
 * (?:(?![B])[A]); other set operations are refused ^ $            match at every line: the pattern is compiled with
 * PCRE2_MULTILINE \p{L}          with the characters that Unicode 16.0 has and an older PCRE2 lacks
 */
#include "text/regex_syntax.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    const char *name, *text;
    uint64_t bytes, at;
    text_buffer *out;
    leat_error *error;
    uint64_t group_starts[REGEX_DEPTH_MAX]; /* where the open groups begin in out */
    uint32_t depth;
} reader;

#define SPACE_RANGES                                                                                                   \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE_RANGES                                                                                               \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"                    \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Symbols that are Alphabetic, and so belong to words: circled and squared Latin letters. */
#define WORD_SYMBOL_RANGES "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

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

/* After "\p" or "\P". */
static leat_status translate_property(reader *r, bool in_class, bool negated)
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
    if (negated && in_class) return refuse(r, "a negated property inside brackets is not supported");
    if (!in_class) TRY(put(r, negated ? "[^" : "["));
    if (is_category) {
        TRY(put_category(r, name));
    } else {
        TRY(put(r, "\\p{sc:"));
        TRY(put(r, name));
        TRY(put(r, "}"));
        if (strcmp(name, "Han") == 0)
            TRY(put(r, "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}")); /* since Unicode 14.0 */
    }
    return in_class ? LEAT_OK : put(r, "]");
}

/* \d and \w. */
static leat_status translate_shorthand(reader *r, bool in_class, char letter)
{
    bool negated = letter == 'D' || letter == 'W';
    if (negated && in_class) return refuse(r, "\\D and \\W inside brackets are not supported");
    if (!in_class) TRY(put(r, negated ? "[^" : "["));
    TRY(letter == 'd' || letter == 'D' ? put_category(r, "Nd") : put_word_items(r));
    return in_class ? LEAT_OK : put(r, "]");
}

/* After a backslash; `in_class` inside brackets. *out_is_set: it stands for more than one character. */
static leat_status translate_escape(reader *r, bool in_class, bool *out_is_set)
{
    *out_is_set = true;
    if (!has_more(r)) return refuse(r, "a backslash at the end");
    char c = r->text[r->at++];
    uint32_t scalar = 0;
    switch (c) {
    case 'p': return translate_property(r, in_class, false);
    case 'P': return translate_property(r, in_class, true);
    case 's': return put(r, in_class ? SPACE_RANGES : "[" SPACE_RANGES "]");
    case 'S': return put(r, in_class ? NOT_SPACE_RANGES : "[" NOT_SPACE_RANGES "]");
    case 'd':
    case 'D':
    case 'w':
    case 'W': return translate_shorthand(r, in_class, c);
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
    case 'A':
    case 'z':
        if (!in_class) return put(r, c == 'A' ? "\\A" : "\\z");
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

/* The items of a class up to its "]" or "&&", which are not taken. */
static leat_status translate_class_items(reader *r)
{
    bool after_set = false;
    for (bool is_first = true;; is_first = false) {
        if (!has_more(r)) return refuse(r, "brackets that are not closed");
        if (starts_with(r, "&&") || (peek(r) == ']' && !is_first)) return LEAT_OK;
        if (peek(r) == '[') return refuse(r, "brackets inside brackets are not supported");
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
            if (peek(r) == '[') return refuse(r, "brackets inside brackets are not supported");
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

/* After "[". */
static leat_status translate_class(reader *r)
{
    uint64_t start = r->out->count;
    bool negated = take(r, "^");
    TRY(put(r, negated ? "[^" : "["));
    TRY(translate_class_items(r));
    TRY(put(r, "]"));
    if (take(r, "]")) return LEAT_OK;

    if (negated || !take(r, "&&[")) return refuse(r, "this set operation is not supported");
    text_buffer left;
    text_buffer_init(&left, r->out->ledger);
    leat_status status = text_buffer_append(&left, r->out->bytes + start, r->out->count - start, r->error);
    if (status != LEAT_OK) goto out;
    r->out->count = start;
    TRY_OR(out, put(r, take(r, "^") ? "(?:(?![" : "(?:(?=["));
    TRY_OR(out, translate_class_items(r));
    if (!take(r, "]]")) {
        status = refuse(r, "this set operation is not supported");
        goto out;
    }
    TRY_OR(out, put(r, "])"));
    TRY_OR(out, text_buffer_append(r->out, left.bytes, left.count, r->error));
    status = put(r, ")");
out:
    text_buffer_reset(&left);
    return status;
}

/* After "(". */
static leat_status open_group(reader *r)
{
    static const char *const openings[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"};
    if (r->depth == REGEX_DEPTH_MAX) return refuse(r, "groups deeper than 64");
    r->group_starts[r->depth++] = r->out->count;
    if (peek(r) != '?') return put(r, "(?:");
    for (size_t i = 0; i < ARRAY_COUNT(openings); i++)
        if (take(r, openings[i])) {
            TRY(put(r, "("));
            return put(r, openings[i]);
        }
    return refuse(r, "this kind of group is not supported");
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
        case '[': TRY(translate_class(&r)); break;
        case '(': TRY(open_group(&r)); continue;
        case ')':
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
    if (r.depth > 0) return refuse(&r, "a group that is not closed");
    return LEAT_OK;
}

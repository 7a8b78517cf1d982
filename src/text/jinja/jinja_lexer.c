/*
 * jinja_lexer.c - text between tags, and the tokens inside them.
 *
 * White space: trim_blocks drops the newline behind a block's or comment's end, lstrip_blocks the blanks between the
 * start of a line and a block or comment; a '-' at a tag's edge drops all white space there, a '+' keeps it.
 */
#include "text/jinja/jinja_lexer.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/jinja/jinja_unicode.h"
#include "text/unicode_class.h"

#include <string.h>

enum { BRACKETS_MAX = 512 };

typedef struct lexer {
    jinja_env *env;
    const char *source;
    uint64_t at, end;
    uint32_t line;
    bool is_line_start; /* the last token ended with a newline */
    jinja_token *tokens;
    uint64_t count, capacity;
    char brackets[BRACKETS_MAX];
    uint32_t bracket_count;
} lexer;

static leat_status push(lexer *x, jinja_token_kind kind, const char *text, uint64_t count)
{
    if (x->count == x->capacity) {
        uint64_t capacity = max_u64(256, 2 * x->capacity);
        jinja_token *tokens;
        TRY(JINJA_NEW(x->env, capacity, &tokens));
        if (x->count > 0) memcpy(tokens, x->tokens, x->count * sizeof *tokens);
        x->tokens = tokens;
        x->capacity = capacity;
    }
    x->tokens[x->count++] = (jinja_token){.kind = (uint8_t)kind, .line = x->line, .text = text, .count = count};
    return LEAT_OK;
}

#define SYNTAX(x, ...) ((x)->env->line = (x)->line, RAISE((x)->env, SYNTAX, __VA_ARGS__))

/* Moves on, counting lines. */
static void advance(lexer *x, uint64_t to)
{
    for (; x->at < to; x->at++) x->line += x->source[x->at] == '\n';
}

static bool looking_at(const lexer *x, uint64_t at, const char *text)
{
    uint64_t count = strlen(text);
    return at + count <= x->end && memcmp(x->source + at, text, count) == 0;
}

static uint64_t skip_space(const lexer *x, uint64_t at)
{
    while (at < x->end) {
        uint32_t scalar;
        size_t bytes = utf8_decode(x->source + at, x->end - at, &scalar, NULL);
        if (bytes == 0 || !unicode_is_python_space(scalar)) break;
        at += bytes;
    }
    return at;
}

/* Where the white space before `end` begins, not before `begin`. */
static uint64_t before_space(const lexer *x, uint64_t begin, uint64_t end)
{
    while (end > begin) {
        uint64_t at = end - 1;
        while (at > begin && ((uint8_t)x->source[at] & 0xc0) == 0x80) at--;
        uint32_t scalar;
        if (utf8_decode(x->source + at, end - at, &scalar, NULL) == 0 || !unicode_is_python_space(scalar)) break;
        end = at;
    }
    return end;
}

/* The end of the text [begin, end) before a tag with `sign` (0, '-', '+'); is_print: the tag is {{. */
static uint64_t end_of_text(const lexer *x, uint64_t begin, uint64_t end, char sign, bool is_print)
{
    if (sign == '-') return before_space(x, begin, end);
    if (sign == '+' || is_print) return end;
    const char *newline = end > begin ? memrchr(x->source + begin, '\n', end - begin) : NULL;
    if (newline == NULL && !x->is_line_start) return end;
    uint64_t line_begin = newline == NULL ? begin : (uint64_t)(newline - x->source) + 1;
    return before_space(x, line_begin, end) == line_begin ? line_begin : end;
}

static leat_status push_text(lexer *x, uint64_t begin, uint64_t end)
{
    return end > begin ? push(x, JT_DATA, x->source + begin, end - begin) : LEAT_OK;
}

static char sign_at(const lexer *x, uint64_t at)
{
    return at < x->end && (x->source[at] == '-' || x->source[at] == '+') ? x->source[at] : '\0';
}

static void end_tag(lexer *x, uint64_t to)
{
    x->is_line_start = to > 0 && x->source[to - 1] == '\n';
    advance(x, to);
}

/* The length of a block's (or comment's, with '#') end at `at`, 0 when there is none. */
static uint64_t block_end_bytes(const lexer *x, uint64_t at, char mark)
{
    char plain[] = {mark, '}', '\0'}, minus[] = {'-', mark, '}', '\0'}, plus[] = {'+', mark, '}', '\0'};
    if (looking_at(x, at, plus)) return 3;
    if (looking_at(x, at, minus)) return skip_space(x, at + 3) - at;
    if (looking_at(x, at, plain)) return looking_at(x, at + 2, "\n") ? 3 : 2;
    return 0;
}

static leat_status lex_comment(lexer *x, uint64_t at)
{
    at += 2;
    if (at == x->end) { /* a template may end right behind the opening sign */
        end_tag(x, x->end);
        return LEAT_OK;
    }
    for (; at < x->end; at++) {
        /* the sign belongs to the end only where it directly precedes it */
        uint64_t bytes = block_end_bytes(x, at, '#');
        if (bytes > 0) {
            end_tag(x, at + bytes);
            return LEAT_OK;
        }
    }
    return SYNTAX(x, "Missing end of comment tag");
}

/* The end of "{% raw %}" whose "{%" is at `at`, 0 when this is no such tag. */
static uint64_t raw_begin_end(const lexer *x, uint64_t at)
{
    at += 2 + (sign_at(x, at + 2) != '\0');
    at = skip_space(x, at);
    if (!looking_at(x, at, "raw")) return 0;
    at = skip_space(x, at + 3);
    if (looking_at(x, at, "-%}")) return skip_space(x, at + 3);
    return looking_at(x, at, "%}") ? at + 2 : 0;
}

static leat_status lex_raw(lexer *x, uint64_t begin)
{
    end_tag(x, begin);
    for (uint64_t at = begin; at < x->end; at++) {
        if (!looking_at(x, at, "{%")) continue;
        char sign = sign_at(x, at + 2);
        uint64_t word = skip_space(x, at + 2 + (sign != '\0'));
        if (!looking_at(x, word, "endraw")) continue;
        uint64_t mark = skip_space(x, word + 6), bytes = block_end_bytes(x, mark, '%');
        if (bytes == 0) continue;
        TRY(push_text(x, begin, end_of_text(x, begin, at, sign, false)));
        end_tag(x, mark + bytes);
        return LEAT_OK;
    }
    return SYNTAX(x, "Missing end of raw directive");
}

/* ---- inside a tag ---- */

static bool is_digit_of(char c, uint32_t base)
{
    int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 99;
    return (uint32_t)digit < base;
}

/* The end of digits with single underscores between them; `at` itself when there are none. */
static uint64_t skip_digits(const lexer *x, uint64_t at, uint32_t base)
{
    uint64_t end = at;
    while (at < x->end) {
        if (is_digit_of(x->source[at], base))
            end = ++at;
        else if (x->source[at] == '_' && end == at && at + 1 < x->end && is_digit_of(x->source[at + 1], base))
            at++;
        else
            break;
    }
    return end;
}

static leat_status push_number(lexer *x, jinja_token_kind kind, uint64_t end)
{
    char *copy;
    uint64_t count = 0;
    TRY(jinja_alloc(x->env, end - x->at, 1, &copy));
    for (uint64_t i = x->at; i < end; i++) {
        if (x->source[i] != '_') copy[count++] = x->source[i];
    }
    TRY(push(x, kind, copy, count));
    x->at = end;
    return LEAT_OK;
}

static uint64_t float_end(const lexer *x)
{
    uint64_t at = skip_digits(x, x->at, 10), end = 0;
    if (x->at > 0 && x->source[x->at - 1] == '.') return 0;
    if (looking_at(x, at, ".")) {
        uint64_t fraction = skip_digits(x, at + 1, 10);
        if (fraction > at + 1) at = end = fraction;
    }
    if (at < x->end && (x->source[at] | 0x20) == 'e') {
        uint64_t digits = at + 1 + (sign_at(x, at + 1) != '\0'), power = skip_digits(x, digits, 10);
        if (power > digits) end = power;
    }
    return end;
}

static leat_status lex_number(lexer *x)
{
    uint64_t end = float_end(x);
    if (end > 0) return push_number(x, JT_FLOAT, end);
    char mark = x->at + 1 < x->end ? (char)(x->source[x->at + 1] | 0x20) : '\0';
    uint32_t base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    if (x->source[x->at] == '0' && base != 10) {
        uint64_t digits = x->at + 2 + looking_at(x, x->at + 2, "_");
        end = skip_digits(x, digits, base);
        if (end > digits) return push_number(x, JT_INTEGER, end);
    }
    end = skip_digits(x, x->at, 10);
    if (x->source[x->at] == '0') { /* only zeros may follow a zero */
        end = x->at + 1;
        while (looking_at(x, end, "0") || looking_at(x, end, "_0")) end += x->source[end] == '_' ? 2 : 1;
    }
    return push_number(x, JT_INTEGER, end);
}

static leat_status lex_name(lexer *x)
{
    uint64_t end = x->at;
    while (end < x->end) {
        uint32_t scalar;
        size_t bytes = utf8_decode(x->source + end, x->end - end, &scalar, NULL);
        if (bytes == 0 || !jinja_is_name_part(scalar)) break;
        end += bytes;
    }
    TRY(push(x, JT_NAME, x->source + x->at, end - x->at));
    x->at = end;
    return LEAT_OK;
}

/* ---- string literals ---- */

static bool read_hex(const char *text, uint64_t count, uint64_t digits, uint32_t *out)
{
    *out = 0;
    if (count < digits) return false;
    for (uint64_t i = 0; i < digits; i++) {
        if (!is_digit_of(text[i], 16)) return false;
        *out = *out * 16 + (uint32_t)(text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10);
    }
    return true;
}

/* Reads the escape behind a backslash; *out_used are its bytes, 0: an unknown one, the backslash stays. */
static leat_status read_escape(lexer *x, const char *text, uint64_t count, uint32_t *out, uint64_t *out_used)
{
    static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
    const char *letter = text[0] != '\0' ? strchr(letters, text[0]) : NULL;
    *out_used = 1;
    if (letter != NULL) {
        *out = (uint8_t)meanings[letter - letters];
        return LEAT_OK;
    }
    uint64_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
    if (digits > 0) {
        if (!read_hex(text + 1, count - 1, digits, out) || *out > 0x10ffff || (*out >= 0xd800 && *out < 0xe000))
            return SYNTAX(x, "a broken \\%c escape in a string", text[0]);
        *out_used = 1 + digits;
        return LEAT_OK;
    }
    if (is_digit_of(text[0], 8)) {
        uint64_t used = 0;
        for (*out = 0; used < 3 && used < count && is_digit_of(text[used], 8); used++)
            *out = *out * 8 + (uint32_t)(text[used] - '0');
        *out_used = used;
        return LEAT_OK;
    }
    if (text[0] == 'N') {
        const char *close = memchr(text, '}', count);
        *out = close != NULL && count > 1 && text[1] == '{'
                   ? jinja_named_character(text + 2, (uint64_t)(close - text) - 2)
                   : 0;
        if (*out == 0) return SYNTAX(x, "an unknown character name in a string");
        *out_used = (uint64_t)(close - text) + 1;
        return LEAT_OK;
    }
    *out_used = 0;
    return LEAT_OK;
}

static leat_status decode_string(lexer *x, const char *text, uint64_t count)
{
    char *copy;
    uint64_t written = 0, used;
    uint32_t scalar;
    TRY(jinja_alloc(x->env, count, 1, &copy));
    for (uint64_t i = 0; i < count; i++) {
        if (text[i] != '\\' || i + 1 == count) {
            copy[written++] = text[i];
            continue;
        }
        if (text[i + 1] == '\n') { /* a continued line */
            i++;
            continue;
        }
        TRY(read_escape(x, text + i + 1, count - i - 1, &scalar, &used));
        if (used == 0)
            copy[written++] = '\\';
        else /* no escape is shorter than the character it stands for */
            written += utf8_encode(scalar, copy + written);
        i += used;
    }
    return push(x, JT_STRING, copy, written);
}

static leat_status lex_string(lexer *x)
{
    char quote = x->source[x->at];
    uint64_t end = x->at + 1;
    while (end < x->end && x->source[end] != quote) end += x->source[end] == '\\' ? 2 : 1;
    if (end >= x->end) return SYNTAX(x, "unexpected char '%c': a string without end", quote);
    TRY(decode_string(x, x->source + x->at + 1, end - x->at - 1));
    advance(x, end + 1);
    return LEAT_OK;
}

/* ---- signs ---- */

static leat_status check_bracket(lexer *x, char c)
{
    if (c == '(' || c == '[' || c == '{') {
        if (x->bracket_count == BRACKETS_MAX) return SYNTAX(x, "more than %d open brackets", BRACKETS_MAX);
        x->brackets[x->bracket_count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (x->bracket_count == 0) return SYNTAX(x, "unexpected '%c'", c);
        char expected = x->brackets[--x->bracket_count];
        if (c != expected) return SYNTAX(x, "unexpected '%c', expected '%c'", c, expected);
    }
    return LEAT_OK;
}

static leat_status lex_sign(lexer *x)
{
    static const char *const signs[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (size_t i = 0; i < ARRAY_COUNT(signs); i++) {
        if (!looking_at(x, x->at, signs[i])) continue;
        TRY(check_bracket(x, signs[i][0]));
        TRY(push(x, JT_SIGN, signs[i], strlen(signs[i])));
        x->at += strlen(signs[i]);
        return LEAT_OK;
    }
    return SYNTAX(x, "unexpected char '%c'", x->source[x->at]);
}

/* The bytes of the tag's end here, 0 when it goes on. Inside brackets "}}" closes them. */
static uint64_t tag_end_bytes(const lexer *x, bool is_print)
{
    if (x->bracket_count > 0) return 0;
    if (!is_print) return block_end_bytes(x, x->at, '%');
    if (looking_at(x, x->at, "-}}")) return skip_space(x, x->at + 3) - x->at;
    return looking_at(x, x->at, "}}") ? 2 : 0;
}

static leat_status lex_tag(lexer *x, uint64_t at, bool is_print)
{
    uint64_t end_bytes;
    advance(x, at + 2 + (sign_at(x, at + 2) != '\0'));
    TRY(push(x, is_print ? JT_PRINT_BEGIN : JT_BLOCK_BEGIN, "", 0));
    for (x->bracket_count = 0;;) {
        if ((end_bytes = tag_end_bytes(x, is_print)) > 0) {
            TRY(push(x, is_print ? JT_PRINT_END : JT_BLOCK_END, "", 0));
            end_tag(x, x->at + end_bytes);
            return LEAT_OK;
        }
        uint64_t next = skip_space(x, x->at);
        if (next > x->at) {
            advance(x, next);
            continue;
        }
        if (x->at == x->end) return push(x, JT_END, "", 0);
        uint8_t c = (uint8_t)x->source[x->at];
        if (c >= '0' && c <= '9')
            TRY(lex_number(x));
        else if (c == '\'' || c == '"')
            TRY(lex_string(x));
        else {
            uint32_t scalar;
            size_t bytes = utf8_decode(x->source + x->at, x->end - x->at, &scalar, NULL);
            if (bytes > 0 && jinja_is_name_start(scalar))
                TRY(lex_name(x));
            else
                TRY(lex_sign(x));
        }
    }
}

/* Text up to the next tag, and the tag. */
static leat_status lex_piece(lexer *x)
{
    uint64_t begin = x->at, at = begin;
    while (at < x->end && !(looking_at(x, at, "{%") || looking_at(x, at, "{{") || looking_at(x, at, "{#"))) at++;
    if (at == x->end) {
        TRY(push_text(x, begin, at));
        advance(x, at);
        return LEAT_OK;
    }
    char kind = x->source[at + 1], sign = sign_at(x, at + 2);
    TRY(push_text(x, begin, end_of_text(x, begin, at, sign, kind == '{')));
    advance(x, at);
    x->is_line_start = false;
    if (kind == '#') return lex_comment(x, at + (sign != '\0'));
    uint64_t raw = kind == '%' ? raw_begin_end(x, at) : 0;
    return raw > 0 ? lex_raw(x, raw) : lex_tag(x, at, kind == '{');
}

leat_status jinja_lex(jinja_env *env, const char *source, uint64_t bytes, jinja_token **out, uint64_t *out_count)
{
    lexer x = {.env = env, .source = source, .end = bytes, .line = 1, .is_line_start = true};
    while (x.at < x.end) TRY(lex_piece(&x));
    TRY(push(&x, JT_END, "", 0));
    *out = x.tokens;
    *out_count = x.count;
    return LEAT_OK;
}

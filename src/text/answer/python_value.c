/* python_value.c - one pass over text that is all there; where a string ends is asked by looking behind each quote. */
#include "text/answer/python_value.h"

#include "base/utf8.h"

#include <string.h>

bool python_ends_string(char next) { return next != 0 && strchr(",:)]}", next) != NULL; }

void python_skip_space(python_text *p)
{
    while (p->at < p->end && json_is_space(p->text[p->at])) p->at++;
}

bool python_take(python_text *p, char c)
{
    python_skip_space(p);
    if (p->at == p->end || p->text[p->at] != c) return false;
    p->at++;
    return true;
}

/* ---- strings -------------------------------------------------------------------------------------------------- */

static bool ends_string(const python_text *p)
{
    uint64_t at = p->at + 1;
    while (at < p->end && json_is_space(p->text[at])) at++;
    return at == p->end || python_ends_string(p->text[at]);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

/* Up to `digits_max` digits at `at`; false when fewer than `digits_min` are there. */
static bool take_digits(python_text *p, uint32_t base, uint32_t digits_min, uint32_t digits_max, uint32_t *out_value)
{
    uint32_t count = 0, value = 0;
    while (count < digits_max && p->at + count < p->end) {
        uint32_t digit = (uint32_t)digit_of(p->text[p->at + count]);
        if (digit >= base) break;
        value = value * base + digit;
        count++;
    }
    if (count < digits_min) return false;
    p->at += count;
    *out_value = value;
    return true;
}

/* \uD83D\uDE00, as JSON writes it, is one character. */
static uint32_t join_surrogates(python_text *p, uint32_t high)
{
    uint64_t begin = p->at;
    uint32_t low = 0;
    if (high < 0xd800 || high > 0xdbff) return high;
    if (p->end - p->at < 6 || p->text[p->at] != '\\' || p->text[p->at + 1] != 'u') return high;
    p->at += 2;
    if (take_digits(p, 16, 4, 4, &low) && low >= 0xdc00 && low <= 0xdfff)
        return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    p->at = begin;
    return high;
}

/* What the escape whose code is at `at` stands for. false: nothing that Python knows; nothing is moved then. */
static bool take_escape(python_text *p, char quote, uint32_t *out_scalar)
{
    static const char *const codes = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    uint64_t begin = p->at;
    char code = p->text[p->at++];
    for (const char *pair = codes; *pair; pair += 2)
        if (*pair == code) return *out_scalar = (unsigned char)pair[1], true;
    if (code == '/' && quote == '"') return *out_scalar = '/', true; /* JSON's, which dicts are written as */
    if (code == 'x' && take_digits(p, 16, 2, 2, out_scalar)) return true;
    if (code == 'U' && take_digits(p, 16, 8, 8, out_scalar)) return true;
    if (code == 'u' && take_digits(p, 16, 4, 4, out_scalar)) {
        *out_scalar = join_surrogates(p, *out_scalar);
        return true;
    }
    p->at = begin;
    return take_digits(p, 8, 1, 3, out_scalar);
}

static leat_status append_scalar(python_text *p, uint32_t scalar, leat_error *error)
{
    char bytes[4];
    if (scalar > 0x10ffff || (scalar >= 0xd800 && scalar <= 0xdfff)) scalar = 0xfffd;
    return text_buffer_append(p->scratch, bytes, utf8_encode(scalar, bytes), error);
}

/* The backslash is at `at`. One that begins no escape stands for itself, as in Python. */
static leat_status decode_escape(python_text *p, char quote, leat_error *error)
{
    uint32_t scalar = 0;
    p->at++;
    if (p->at < p->end && p->text[p->at] == '\n') { /* the line goes on */
        p->at++;
        return LEAT_OK;
    }
    if (p->at < p->end && take_escape(p, quote, &scalar)) return append_scalar(p, scalar, error);
    return text_buffer_append(p->scratch, "\\", 1, error);
}

static leat_status copy_string(python_text *p, bool *out_is_good, leat_error *error)
{
    char quote = p->text[p->at++];
    p->scratch->count = 0;
    *out_is_good = false;
    while (p->at < p->end && !(p->text[p->at] == quote && ends_string(p))) {
        if (p->text[p->at] == '\\') {
            TRY(decode_escape(p, quote, error));
            continue;
        }
        TRY(text_buffer_append(p->scratch, p->text + p->at, 1, error));
        p->at++;
    }
    if (p->at == p->end) return LEAT_OK;
    p->at++;
    *out_is_good = true;
    return json_span_quote(p->scratch->bytes, p->scratch->count, p->out, error);
}

/* ---- values --------------------------------------------------------------------------------------------------- */

static const char *word_value(json_span word)
{
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                                           {"true", "true"}, {"false", "false"}, {"null", "null"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (word.count == strlen(words[i][0]) && memcmp(word.text, words[i][0], word.count) == 0) return words[i][1];
    return NULL;
}

static leat_status copy_word(python_text *p, bool *out_is_good, leat_error *error)
{
    uint64_t begin = p->at;
    while (p->at < p->end && !json_is_space(p->text[p->at]) && !python_ends_string(p->text[p->at])) p->at++;
    json_span word = {p->text + begin, p->at - begin};
    const char *value = word_value(word);
    *out_is_good = true;
    if (value) return text_buffer_append(p->out, value, strlen(value), error);
    *out_is_good = word.count > 0 && (json_span_is(word, '-') || digit_of(word.text[0]) < 10) &&
                   json_span_is_value(word.text, word.count);
    return *out_is_good ? text_buffer_append(p->out, word.text, word.count, error) : LEAT_OK;
}

static bool is_quote(const python_text *p)
{
    return p->at < p->end && (p->text[p->at] == '"' || p->text[p->at] == '\'');
}

static leat_status copy_key(python_text *p, bool *out_is_good, leat_error *error)
{
    python_skip_space(p);
    *out_is_good = is_quote(p);
    if (*out_is_good) TRY(copy_string(p, out_is_good, error));
    *out_is_good = *out_is_good && python_take(p, ':');
    return text_buffer_append(p->out, ": ", 2, error);
}

static leat_status copy_container(python_text *p, uint32_t depth, bool *out_is_good, leat_error *error)
{
    char open = p->text[p->at++], close = open == '{' ? '}' : ']';
    *out_is_good = depth < JSON_SPAN_DEPTH_MAX;
    TRY(text_buffer_append(p->out, &open, 1, error));
    for (bool is_first = true; *out_is_good && !python_take(p, close); is_first = false) {
        *out_is_good = is_first || python_take(p, ',');
        if (!*out_is_good) return LEAT_OK;
        if (!is_first && python_take(p, close)) break; /* a comma may be last */
        if (!is_first) TRY(text_buffer_append(p->out, ", ", 2, error));
        if (open == '{') TRY(copy_key(p, out_is_good, error));
        if (*out_is_good) TRY(python_value_copy(p, depth + 1, out_is_good, error));
    }
    return text_buffer_append(p->out, &close, 1, error);
}

leat_status python_value_copy(python_text *p, uint32_t depth, bool *out_is_good, leat_error *error)
{
    python_skip_space(p);
    *out_is_good = p->at < p->end;
    if (!*out_is_good) return LEAT_OK;
    if (is_quote(p)) return copy_string(p, out_is_good, error);
    if (p->text[p->at] == '{' || p->text[p->at] == '[') return copy_container(p, depth, out_is_good, error);
    return copy_word(p, out_is_good, error);
}

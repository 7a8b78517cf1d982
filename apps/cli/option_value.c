#include "option_value.h"

#include "base/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool value_read_u64(const char *text, uint64_t *out_value)
{
    uint64_t value = 0;
    if (*text == '\0') return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9') return false;
        if (!size_mul(value, 10, &value) || !size_add(value, (uint64_t)(*p - '0'), &value)) return false;
    }
    *out_value = value;
    return true;
}

/* strtod would also take "inf", "nan", hexadecimal and leading white space. */
static bool read_decimal(const char *text, double *out_value, const char **out_end)
{
    if (*text == '\0' || !strchr("0123456789+-.", *text)) return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) return false;
    char *end;
    double value = strtod(text, &end);
    if (end == text || !isfinite(value)) return false;
    *out_value = value;
    *out_end = end;
    return true;
}

bool value_read_number(const char *text, double *out_value)
{
    const char *end;
    double value;
    if (!read_decimal(text, &value, &end) || *end || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    *out_value = value;
    return true;
}

bool value_read_flag(const char *text, bool *out_value)
{
    static const char *const words[2][5] = {{"off", "false", "no", "disabled", "0"},
                                            {"on", "true", "yes", "enabled", "1"}};
    for (int value = 0; value < 2; value++)
        for (size_t i = 0; i < ARRAY_COUNT(words[value]); i++)
            if (strcasecmp(text, words[value][i]) == 0) {
                *out_value = value;
                return true;
            }
    return false;
}

static bool read_unit(const char *text, uint64_t *out_unit)
{
    static const char letters[] = "kmgt";
    *out_unit = 1;
    if (*text == '\0' || strcasecmp(text, "b") == 0) return true;
    const char *letter = strchr(letters, *text | 0x20);
    if (!letter) return false;
    bool is_decimal = strcasecmp(text + 1, "b") == 0;
    if (text[1] && !is_decimal && strcasecmp(text + 1, "ib") != 0) return false;
    for (const char *p = letters; p <= letter; p++) *out_unit *= is_decimal ? 1000 : 1024;
    return true;
}

bool value_read_size(const char *text, uint64_t *out_bytes)
{
    /* Whole numbers stay exact; a fraction ("1.5G") goes through a double. */
    char digits[24];
    size_t count = strspn(text, "0123456789");
    uint64_t whole, unit;
    if (count > 0 && count < sizeof digits && text[count] != '.') {
        memcpy(digits, text, count);
        digits[count] = '\0';
        if (!value_read_u64(digits, &whole) || !read_unit(text + count, &unit)) return false;
        return size_mul(whole, unit, out_bytes);
    }
    const char *end = text + strspn(text, "0123456789.");
    double value;
    const char *value_end;
    if (!read_decimal(text, &value, &value_end) || value_end != end || value < 0 || !read_unit(end, &unit))
        return false;
    double bytes = value * (double)unit;
    if (bytes >= 0x1p63) return false;
    *out_bytes = (uint64_t)bytes;
    return true;
}

bool value_read_seconds(const char *text, uint32_t *out_seconds)
{
    static const char units[] = "smh";
    char digits[16];
    uint64_t number, each = 1;
    const size_t count = strspn(text, "0123456789");
    const char *unit = text[count] ? strchr(units, text[count]) : NULL;
    if (count == 0 || count >= sizeof digits || (text[count] && (!unit || text[count + 1]))) return false;
    memcpy(digits, text, count);
    digits[count] = '\0';
    for (const char *u = units; unit && u < unit; u++) each *= 60;
    if (!value_read_u64(digits, &number) || number > UINT32_MAX / each) return false;
    *out_seconds = (uint32_t)(number * each);
    return true;
}

bool value_read_percent(const char *text, double *out_fraction)
{
    const char *end;
    double value;
    if (!read_decimal(text, &value, &end) || strcmp(end, "%") != 0 || !(value > 0) || value > 100) return false;
    *out_fraction = value / 100;
    return true;
}

bool value_read_choice(const char *words, const char *text, uint32_t *out_idx)
{
    size_t length = strlen(text);
    uint32_t idx = 0;
    for (const char *word = words;; idx++) {
        size_t word_length = strcspn(word, "|");
        if (word_length == length && strncmp(word, text, length) == 0) {
            *out_idx = idx;
            return true;
        }
        if (word[word_length] == '\0') return false;
        word += word_length + 1;
    }
}

uint32_t edit_distance(const char *a, const char *b, uint32_t limit)
{
    enum { LENGTH_MAX = 40 };
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > LENGTH_MAX || b_length > LENGTH_MAX) return limit + 1;
    /* rows[i % 3][j]: distance from a's first i characters to b's first j; a swap looks two rows back. */
    uint32_t rows[3][LENGTH_MAX + 1];
    for (size_t j = 0; j <= b_length; j++) rows[0][j] = (uint32_t)j;
    for (size_t i = 1; i <= a_length; i++) {
        uint32_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= b_length; j++) {
            uint32_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (is_swap && two_above[j - 2] + 1 < best) best = two_above[j - 2] + 1;
            row[j] = best;
        }
    }
    uint32_t distance = rows[a_length % 3][b_length];
    return distance <= limit ? distance : limit + 1;
}

/*
 * json_span.c - the scanner is a table of states over single bytes, so that it can stop anywhere; walking and copying
 * run on text that the scanner has passed and check nothing again.
 */
#include "text/answer/json_span.h"

#include "base/utf8.h"

#include <string.h>

typedef enum scan_state {
    AT_VALUE,        /* zero: the beginning */
    AT_VALUE_OR_END, /* behind [ */
    AT_KEY_OR_END,   /* behind { */
    AT_KEY,
    AT_COLON,
    AT_COMMA, /* or the end of the container */
    IN_STRING,
    IN_ESCAPE,
    IN_HEX,
    IN_WORD,
    AT_DIGIT, /* behind - */
    IN_ZERO,
    IN_INTEGER,
    AT_FRACTION,
    IN_FRACTION,
    AT_EXPONENT, /* behind e */
    AT_EXPONENT_DIGIT,
    IN_EXPONENT,
    SCAN_DONE
} scan_state;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void end_value(json_scan *scan) { scan->state = scan->depth == 0 ? SCAN_DONE : AT_COMMA; }

static bool open_container(json_scan *scan, bool is_object)
{
    if (scan->depth == JSON_SPAN_DEPTH_MAX) return false;
    uint64_t bit = (uint64_t)1 << scan->depth++;
    scan->objects = is_object ? scan->objects | bit : scan->objects & ~bit;
    scan->state = is_object ? AT_KEY_OR_END : AT_VALUE_OR_END;
    return true;
}

static bool in_object(const json_scan *scan)
{
    return scan->depth > 0 && (scan->objects >> (scan->depth - 1) & 1) != 0;
}

static bool close_container(json_scan *scan, char c)
{
    if (scan->depth == 0 || c != (in_object(scan) ? '}' : ']')) return false;
    scan->depth--;
    end_value(scan);
    return true;
}

static bool begin_word(json_scan *scan, const char *word)
{
    scan->word = word;
    scan->word_at = 1;
    scan->state = IN_WORD;
    return true;
}

static bool begin_value(json_scan *scan, char c)
{
    switch (c) {
    case '{': return open_container(scan, true);
    case '[': return open_container(scan, false);
    case '"':
        scan->in_key = false;
        scan->state = IN_STRING;
        return true;
    case 't': return begin_word(scan, "true");
    case 'f': return begin_word(scan, "false");
    case 'n': return begin_word(scan, "null");
    case '-': scan->state = AT_DIGIT; return true;
    case '0': scan->state = IN_ZERO; return true;
    default: scan->state = IN_INTEGER; return is_digit(c);
    }
}

/* Between tokens. */
static bool step_outside(json_scan *scan, char c)
{
    if (json_is_space(c)) return true;
    switch ((scan_state)scan->state) {
    case AT_VALUE: return begin_value(scan, c);
    case AT_VALUE_OR_END: return c == ']' ? close_container(scan, c) : begin_value(scan, c);
    case AT_KEY_OR_END:
        if (c == '}') return close_container(scan, c);
        /* fall through */
    case AT_KEY:
        scan->in_key = true;
        scan->state = IN_STRING;
        return c == '"';
    case AT_COLON: scan->state = AT_VALUE; return c == ':';
    default: /* AT_COMMA */
        if (c != ',') return close_container(scan, c);
        scan->state = in_object(scan) ? AT_KEY : AT_VALUE;
        return true;
    }
}

static bool step_string(json_scan *scan, char c)
{
    if (scan->state == IN_ESCAPE) {
        scan->state = c == 'u' ? IN_HEX : IN_STRING;
        scan->hex_left = 4;
        return c != 0 && strchr("\"\\/bfnrtu", c) != NULL;
    }
    if (scan->state == IN_HEX) {
        if (--scan->hex_left == 0) scan->state = IN_STRING;
        return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    }
    if (c == '\\') scan->state = IN_ESCAPE;
    if (c == '"') {
        if (scan->in_key)
            scan->state = AT_COLON;
        else
            end_value(scan);
    }
    return true;
}

static bool step_word(json_scan *scan, char c)
{
    if (scan->word[scan->word_at] != c) return false;
    if (scan->word[++scan->word_at] == 0) end_value(scan);
    return true;
}

/* Numbers end before a byte that is looked at again: *out_again. */
static bool step_number(json_scan *scan, char c, bool *out_again)
{
    bool digit = is_digit(c), may_end = true;
    scan_state next = (scan_state)scan->state;
    switch (next) {
    case AT_DIGIT:
        next = c == '0' ? IN_ZERO : IN_INTEGER;
        may_end = false;
        break;
    case IN_ZERO: digit = false; break;
    case AT_FRACTION:
        next = IN_FRACTION;
        may_end = false;
        break;
    case AT_EXPONENT:
        may_end = false;
        next = digit ? IN_EXPONENT : AT_EXPONENT_DIGIT;
        digit = digit || c == '+' || c == '-';
        break;
    case AT_EXPONENT_DIGIT:
        next = IN_EXPONENT;
        may_end = false;
        break;
    default: break;
    }
    bool has_fraction = scan->state == IN_FRACTION || scan->state == IN_EXPONENT;
    if (may_end && !digit) {
        digit = (c == '.' && !has_fraction) || ((c == 'e' || c == 'E') && scan->state != IN_EXPONENT);
        next = c == '.' ? AT_FRACTION : AT_EXPONENT;
        *out_again = !digit;
    }
    scan->state = (uint8_t)next;
    if (*out_again) end_value(scan);
    return digit || *out_again;
}

static bool step_byte(json_scan *scan, char c, bool *out_again)
{
    if (scan->state >= AT_DIGIT) return step_number(scan, c, out_again);
    if (scan->state == IN_WORD) return step_word(scan, c);
    if (scan->state >= IN_STRING) return step_string(scan, c);
    return step_outside(scan, c);
}

json_scan_result json_scan_run(json_scan *scan, const char *text, uint64_t count, uint64_t *at)
{
    while (scan->state != SCAN_DONE) {
        bool again = false;
        if (*at >= count) return JSON_SCAN_MORE;
        if (!step_byte(scan, text[*at], &again)) return JSON_SCAN_BAD;
        if (!again) (*at)++;
    }
    return JSON_SCAN_DONE;
}

bool json_span_is_value(const char *text, uint64_t count)
{
    json_scan scan = {0};
    uint64_t at = 0;
    json_scan_result result = json_scan_run(&scan, text, count, &at);
    if (result == JSON_SCAN_MORE) /* a number may end here: a space shows it */
        return json_scan_run(&scan, " ", 1, &(uint64_t){0}) == JSON_SCAN_DONE;
    while (at < count && json_is_space(text[at])) at++;
    return result == JSON_SCAN_DONE && at == count;
}

/* ---- walking -------------------------------------------------------------------------------------------------- */

json_span json_span_trim(const char *text, uint64_t count)
{
    while (count > 0 && json_is_space(text[count - 1])) count--;
    while (count > 0 && json_is_space(*text)) {
        text++;
        count--;
    }
    return (json_span){text, count};
}

bool json_span_is(json_span span, char first) { return span.count > 0 && span.text[0] == first; }

static uint64_t skip_string(json_span s, uint64_t at)
{
    for (at++; at < s.count && s.text[at] != '"'; at++)
        if (s.text[at] == '\\') at++;
    return at + 1;
}

/* The end of the value at `at`: the next comma or closing bracket outside of strings and brackets. */
static uint64_t skip_value(json_span s, uint64_t at)
{
    uint32_t depth = 0;
    while (at < s.count) {
        char c = s.text[at];
        if (c == '"') {
            at = skip_string(s, at);
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}' || c == ':')) break;
        if (c == '[' || c == '{') depth++;
        if (c == ']' || c == '}') depth--;
        at++;
    }
    return at;
}

bool json_span_next(json_span container, uint64_t *at, json_span *out_key, json_span *out_value)
{
    uint64_t begin = *at + 1, end = skip_value(container, begin);
    *out_key = (json_span){0};
    if (begin >= container.count) return false;
    if (end < container.count && container.text[end] == ':') {
        *out_key = json_span_trim(container.text + begin, end - begin);
        begin = end + 1;
        end = skip_value(container, begin);
    }
    *out_value = json_span_trim(container.text + begin, end - begin);
    *at = end;
    return out_value->count > 0;
}

bool json_span_says(json_span string, const char *text)
{
    size_t length = strlen(text);
    return string.count == length + 2 && string.text[0] == '"' && memcmp(string.text + 1, text, length) == 0;
}

bool json_span_member(json_span object, const char *name, json_span *out_value)
{
    json_span key, value;
    bool found = false;
    if (!json_span_is(object, '{')) return false;
    for (uint64_t at = 0; json_span_next(object, &at, &key, &value);)
        if (json_span_says(key, name)) {
            *out_value = value;
            found = true;
        }
    return found;
}

/* ---- copying -------------------------------------------------------------------------------------------------- */

static leat_status quote_byte(unsigned char byte, text_buffer *out, leat_error *error)
{
    static const char *const hex = "0123456789abcdef";
    static const char *const short_codes = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *pair = short_codes; *pair; pair += 2)
        if ((unsigned char)*pair == byte) return text_buffer_append(out, (char[]){'\\', pair[1]}, 2, error);
    if (byte >= 0x20) return text_buffer_append(out, (const char *)&byte, 1, error);
    return text_buffer_append(out, (char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6, error);
}

leat_status json_span_quote(const char *bytes, uint64_t count, text_buffer *out, leat_error *error)
{
    TRY(text_buffer_append(out, "\"", 1, error));
    for (uint64_t i = 0; i < count; i++) TRY(quote_byte((unsigned char)bytes[i], out, error));
    return text_buffer_append(out, "\"", 1, error);
}

static uint32_t read_hex(const char *text)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        value = value * 16 + (uint32_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* One character of a string at *at: its scalar value, or UINT32_MAX for a byte that stands for itself. */
static uint32_t read_character(json_span s, uint64_t *at)
{
    static const char *const codes = "b\bf\fn\nr\rt\t";
    uint64_t i = *at;
    *at = i + 1;
    if (s.text[i] != '\\') return UINT32_MAX;
    char code = s.text[i + 1];
    *at = i + 2;
    if (code != 'u') {
        for (const char *pair = codes; *pair; pair += 2)
            if (*pair == code) return (unsigned char)pair[1];
        return (unsigned char)code;
    }
    uint32_t scalar = read_hex(s.text + i + 2);
    *at = i + 6;
    bool has_pair =
        scalar >= 0xd800 && scalar < 0xdc00 && i + 12 < s.count && s.text[i + 6] == '\\' && s.text[i + 7] == 'u';
    uint32_t low = has_pair ? read_hex(s.text + i + 8) : 0;
    if (low < 0xdc00 || low > 0xdfff) return scalar;
    *at = i + 12;
    return 0x10000 + ((scalar - 0xd800) << 10) + (low - 0xdc00);
}

static bool is_surrogate(uint32_t scalar) { return scalar >= 0xd800 && scalar <= 0xdfff; }

static leat_status append_scalar(uint32_t scalar, text_buffer *out, leat_error *error)
{
    char bytes[4];
    return text_buffer_append(out, bytes, utf8_encode(scalar, bytes), error);
}

leat_status json_span_decode(json_span string, text_buffer *out, leat_error *error)
{
    for (uint64_t at = 1; at + 1 < string.count;) {
        const char *byte = string.text + at;
        uint32_t scalar = read_character(string, &at);
        if (scalar == UINT32_MAX)
            TRY(text_buffer_append(out, byte, 1, error));
        else
            TRY(append_scalar(is_surrogate(scalar) ? 0xfffd : scalar, out, error));
    }
    return LEAT_OK;
}

/* Half of a pair has no UTF-8: it stays an escape. */
static leat_status copy_string(json_span s, uint64_t *at, text_buffer *out, leat_error *error)
{
    uint64_t end = skip_string(s, *at) - 1;
    TRY(text_buffer_append(out, "\"", 1, error));
    for (++*at; *at < end;) {
        const char *begin = s.text + *at;
        uint32_t scalar = read_character(s, at);
        if (scalar == UINT32_MAX)
            TRY(quote_byte((unsigned char)*begin, out, error));
        else if (is_surrogate(scalar))
            TRY(text_buffer_append(out, begin, 6, error));
        else if (scalar < 0x80)
            TRY(quote_byte((unsigned char)scalar, out, error));
        else
            TRY(append_scalar(scalar, out, error));
    }
    *at = end + 1;
    return text_buffer_append(out, "\"", 1, error);
}

leat_status json_span_copy(json_span value, text_buffer *out, leat_error *error)
{
    for (uint64_t at = 0; at < value.count;) {
        char c = value.text[at];
        if (c == '"') {
            TRY(copy_string(value, &at, out, error));
            continue;
        }
        at++;
        if (json_is_space(c)) continue;
        TRY(text_buffer_append(out, &c, 1, error));
        if (c == ',' || c == ':') TRY(text_buffer_append(out, " ", 1, error));
    }
    return LEAT_OK;
}

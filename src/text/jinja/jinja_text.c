/* jinja_text.c - stripping, replacing, casing, joining. */
#include "text/jinja/jinja_text.h"

#include "base/utf8.h"
#include "text/unicode_class.h"

#include <string.h>

static bool is_data_at(const jinja_string *s, uint64_t at) { return s->mask != NULL ? s->mask[at] != 0 : s->is_data; }

static bool is_among(const jinja_string *chars, const char *bytes, uint64_t count, uint32_t scalar)
{
    return chars == NULL ? unicode_is_python_space(scalar) : memmem(chars->bytes, chars->count, bytes, count) != NULL;
}

leat_status jinja_strip(jinja_env *env, jinja_string *s, const jinja_string *chars, unsigned sides, jinja_value *out)
{
    uint64_t begin = 0, end = s->count, next;
    TRY(jinja_charge(env, s->count / 256));
    while ((sides & JINJA_LEFT) != 0 && begin < end) {
        uint32_t scalar = jinja_char_at(s, begin, &next);
        if (!is_among(chars, s->bytes + begin, next - begin, scalar)) break;
        begin = next;
    }
    while ((sides & JINJA_RIGHT) != 0 && end > begin) {
        uint64_t at = end - 1;
        while (at > begin && ((uint8_t)s->bytes[at] & 0xc0) == 0x80) at--;
        if (!is_among(chars, s->bytes + at, end - at, jinja_char_at(s, at, &next))) break;
        end = at;
    }
    return jinja_substring(env, s, begin, end, out);
}

int64_t jinja_find_bytes(const jinja_string *s, const jinja_string *part, uint64_t from)
{
    if (from > s->count) return -1;
    if (part->count == 0) return (int64_t)from;
    const char *found = memmem(s->bytes + from, s->count - from, part->bytes, part->count);
    return found != NULL ? found - s->bytes : -1;
}

/* An empty `from` stands before every character and at the end. */
static leat_status replace_empty(jinja_builder *b, const jinja_string *s, const jinja_string *to, int64_t count)
{
    uint64_t at = 0, next;
    for (; at < s->count; at = next) {
        if (count != 0) TRY(jinja_append(b, to));
        if (count > 0) count--;
        jinja_char_at(s, at, &next);
        TRY(jinja_append_part(b, s, at, next));
    }
    return count != 0 ? jinja_append(b, to) : LEAT_OK;
}

leat_status jinja_replace(jinja_env *env, jinja_string *s, const jinja_string *from, const jinja_string *to,
                          int64_t count, jinja_value *out)
{
    jinja_builder b = jinja_build(env);
    if (from->count == 0) {
        TRY(replace_empty(&b, s, to, count));
        return jinja_finish(&b, out);
    }
    uint64_t begin = 0;
    int64_t at;
    while (count != 0 && (at = jinja_find_bytes(s, from, begin)) >= 0) {
        TRY(jinja_charge(env, 1));
        TRY(jinja_append_part(&b, s, begin, (uint64_t)at));
        TRY(jinja_append(&b, to));
        begin = (uint64_t)at + from->count;
        if (count > 0) count--;
    }
    TRY(jinja_append_part(&b, s, begin, s->count));
    return jinja_finish(&b, out);
}

static bool is_cased(uint32_t scalar)
{
    return jinja_is_upper(scalar) || jinja_is_lower(scalar) || jinja_is_title(scalar);
}

/* Whether the sigma at `at` ends a word: the Greek small letter has a form of its own there. */
static bool is_final_sigma(const jinja_string *s, uint64_t at, bool is_after_cased)
{
    uint64_t next;
    jinja_char_at(s, at, &next);
    if (!is_after_cased) return false;
    return next >= s->count || !is_cased(jinja_char_at(s, next, &next));
}

leat_status jinja_recase(jinja_env *env, jinja_string *s, jinja_casing casing, jinja_value *out)
{
    jinja_builder b = jinja_build(env);
    bool is_after_cased = false;
    uint64_t next;
    for (uint64_t at = 0; at < s->count; at = next) {
        uint32_t scalar = jinja_char_at(s, at, &next), changed[4];
        jinja_case to = casing == JINJA_ALL_UPPER ? JINJA_UPPER : casing == JINJA_FOLDED ? JINJA_FOLD : JINJA_LOWER;
        if (casing == JINJA_SWAP && jinja_is_lower(scalar)) to = JINJA_UPPER;
        if ((casing == JINJA_CAPITAL && at == 0) || (casing == JINJA_WORDS && !is_after_cased)) to = JINJA_TITLE;
        int count = jinja_change_case(scalar, to, changed);
        if (scalar == 0x3a3 && to == JINJA_LOWER && is_final_sigma(s, at, is_after_cased)) changed[0] = 0x3c2;
        if (casing == JINJA_SWAP && !is_cased(scalar)) changed[0] = scalar, count = 1;
        for (int i = 0; i < count; i++) TRY(jinja_append_scalar(&b, changed[i], is_data_at(s, at)));
        is_after_cased = is_cased(scalar);
        TRY(jinja_charge(env, (at & 15) == 0));
    }
    TRY(jinja_finish(&b, out));
    out->string->is_markup = s->is_markup;
    return LEAT_OK;
}

static bool ends_line(uint32_t scalar)
{
    return (scalar >= 0x0a && scalar <= 0x0d) || (scalar >= 0x1c && scalar <= 0x1e) || scalar == 0x85 ||
           scalar == 0x2028 || scalar == 0x2029;
}

leat_status jinja_split_lines(jinja_env *env, jinja_string *s, bool keeps_ends, jinja_list **out)
{
    jinja_value line;
    uint64_t begin = 0, next;
    TRY(jinja_new_list(env, 0, out));
    TRY(jinja_charge(env, s->count / 64));
    for (uint64_t at = 0; at < s->count; at = next) {
        uint32_t scalar = jinja_char_at(s, at, &next);
        if (!ends_line(scalar)) continue;
        if (scalar == '\r' && next < s->count && s->bytes[next] == '\n') next++;
        TRY(jinja_substring(env, s, begin, keeps_ends ? next : at, &line));
        TRY(jinja_push(env, *out, line));
        begin = next;
    }
    if (begin == s->count) return LEAT_OK;
    TRY(jinja_substring(env, s, begin, s->count, &line));
    return jinja_push(env, *out, line);
}

leat_status jinja_justify(jinja_env *env, jinja_string *s, int64_t width, const jinja_string *fill, char align,
                          jinja_value *out)
{
    uint64_t count = jinja_char_count(s), missing = width > 0 && (uint64_t)width > count ? (uint64_t)width - count : 0;
    uint64_t left = align == '>' ? missing : align == '^' ? missing / 2 + (missing & (uint64_t)width & 1) : 0;
    jinja_string space = {.bytes = " ", .count = 1};
    jinja_builder b = jinja_build(env);
    TRY(jinja_append_fill(&b, fill != NULL ? fill : &space, left));
    TRY(jinja_append(&b, s));
    TRY(jinja_append_fill(&b, fill != NULL ? fill : &space, missing - left));
    return jinja_finish(&b, out);
}

leat_status jinja_join(jinja_env *env, const jinja_string *between, jinja_value v, bool is_strict, jinja_value *out)
{
    jinja_builder b = jinja_build(env);
    jinja_iter *iter;
    jinja_value item;
    TRY(jinja_iterate(env, v, &iter));
    for (uint64_t i = 0;; i++) {
        bool has;
        TRY(jinja_next(env, iter, &item, &has));
        if (!has) break;
        if (is_strict && item.kind != JV_STRING)
            return RAISE(env, TYPE, "sequence item %llu: expected str instance, %s found", (unsigned long long)i,
                         jinja_type_name(item));
        if (i > 0) TRY(jinja_append(&b, between));
        TRY(jinja_append_str(&b, item));
    }
    return jinja_finish(&b, out);
}

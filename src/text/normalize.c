/*
 * normalize.c - the steps, and Unicode normalisation that stays linear.
 *
 * utf8proc has the data and composes, but orders combining marks by exchanging neighbours, which is quadratic in a run
 * of marks; a text of marks only would take hours. So decomposition is asked for character by character and runs of
 * marks are sorted here. A stretch to be normalised ends before a character that never joins what is before it (all
 * below U+0300; for the compatible forms only ASCII is known to stay as it is), and stretches of nothing but such
 * characters are copied.
 */
#include "text/normalize.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/normalize_pieces.h"
#include "text/replace.h"
#include "text/unicode_class.h"

#include <assert.h>
#include <string.h>
#include <utf8proc.h>

void normalize_scratch_init(normalize_scratch *scratch, mem *ledger, regex_scratch *matches)
{
    *scratch = (normalize_scratch){.ledger = ledger, .matches = matches};
    text_buffer_init(&scratch->buffers[0], ledger);
    text_buffer_init(&scratch->buffers[1], ledger);
    text_buffer_init(&scratch->front, ledger);
}

void normalize_scratch_reset(normalize_scratch *scratch)
{
    text_buffer_reset(&scratch->buffers[0]);
    text_buffer_reset(&scratch->buffers[1]);
    text_buffer_reset(&scratch->front);
    mem_free(scratch->ledger, scratch->scalars);
    *scratch = (normalize_scratch){.ledger = scratch->ledger, .matches = scratch->matches};
}

static leat_status append(text_buffer *out, text_slice text, leat_error *error)
{
    return text_buffer_append(out, text.bytes, text.count, error);
}

static leat_status strip(const normalize_step *step, text_slice text, uint64_t *front, text_buffer *out,
                         leat_error *error)
{
    uint64_t start = 0, end = text.count;
    uint32_t scalar;
    while (step->strip_left && start < end) {
        size_t length = utf8_decode(text.bytes + start, end - start, &scalar, NULL);
        if (!unicode_is_space(scalar)) break;
        start += length;
    }
    while (step->strip_right && end > start) {
        uint64_t last = end - 1;
        while (((unsigned char)text.bytes[last] & 0xc0) == 0x80) last--;
        utf8_decode(text.bytes + last, end - last, &scalar, NULL);
        if (!unicode_is_space(scalar)) break;
        end = last;
    }
    *front = *front > start ? *front - start : 0;
    return text_buffer_append(out, text.bytes + start, end - start, error);
}

static utf8proc_propval_t combining_class(int32_t scalar) { return utf8proc_get_property(scalar)->combining_class; }

static leat_status decompose(normalize_scratch *scratch, uint32_t scalar, bool compatible, leat_error *error)
{
    enum { DECOMPOSED_MAX = 32 }; /* the longest of Unicode is 18 */
    if (scratch->scalar_count + DECOMPOSED_MAX > scratch->scalar_capacity) {
        uint64_t capacity = max_u64(1024, scratch->scalar_capacity + scratch->scalar_capacity / 2);
        void *block = scratch->scalars;
        TRY(mem_resize(scratch->ledger, MEM_TOKENIZER, &block, capacity, sizeof *scratch->scalars, "characters",
                       error));
        scratch->scalars = block;
        scratch->scalar_capacity = capacity;
    }
    int boundary = UTF8PROC_BOUNDCLASS_START;
    utf8proc_option_t options = UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)scalar, scratch->scalars + scratch->scalar_count,
                                                     DECOMPOSED_MAX, options, &boundary);
    assert(count >= 0 && count <= DECOMPOSED_MAX);
    scratch->scalar_count += (uint64_t)count;
    return LEAT_OK;
}

/* Sorts a run of marks by combining class and keeps the order of equals: short runs by insertion, long ones by
 * counting. */
static leat_status sort_marks(mem *ledger, int32_t *marks, uint64_t count, leat_error *error)
{
    if (count <= 32) {
        for (uint64_t i = 1; i < count; i++) {
            int32_t mark = marks[i];
            uint64_t at = i;
            for (; at > 0 && combining_class(marks[at - 1]) > combining_class(mark); at--) marks[at] = marks[at - 1];
            marks[at] = mark;
        }
        return LEAT_OK;
    }
    uint64_t starts[257] = {0};
    int32_t *sorted;
    TRY(MEM_NEW(ledger, TOKENIZER, count, &sorted, error));
    for (uint64_t i = 0; i < count; i++) starts[(uint8_t)combining_class(marks[i]) + 1]++;
    for (size_t class = 0; class < 256; class ++) starts[class + 1] += starts[class];
    for (uint64_t i = 0; i < count; i++) sorted[starts[(uint8_t)combining_class(marks[i])]++] = marks[i];
    memcpy(marks, sorted, count * sizeof *marks);
    mem_free(ledger, sorted);
    return LEAT_OK;
}

static leat_status normalize_stretch(const normalize_step *step, normalize_scratch *scratch, text_slice text,
                                     text_buffer *out, leat_error *error)
{
    uint32_t scalar;
    scratch->scalar_count = 0;
    for (uint64_t at = 0; at < text.count;) {
        at += utf8_decode(text.bytes + at, text.count - at, &scalar, NULL);
        TRY(decompose(scratch, scalar, step->compatible, error));
    }
    for (uint64_t at = 0; at < scratch->scalar_count;) {
        uint64_t end = at;
        while (end < scratch->scalar_count && combining_class(scratch->scalars[end]) != 0) end++;
        if (end - at > 1) TRY(sort_marks(scratch->ledger, scratch->scalars + at, end - at, error));
        at = end + 1;
    }
    utf8proc_ssize_t count = (utf8proc_ssize_t)scratch->scalar_count;
    scratch->steps += scratch->scalar_count;
    if (step->compose) count = utf8proc_normalize_utf32(scratch->scalars, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    assert(count >= 0);
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        char encoded[4];
        TRY(text_buffer_append(out, encoded, utf8_encode((uint32_t)scratch->scalars[i], encoded), error));
    }
    return LEAT_OK;
}

static leat_status normalize_unicode(const normalize_step *step, normalize_scratch *scratch, text_slice text,
                                     text_buffer *out, leat_error *error)
{
    uint32_t stable_below = step->compose && !step->compatible ? 0x300 : 0x80;
    uint64_t start = 0, last = 0; /* of the stretch not yet written, and of its last character */
    bool is_stable = true;        /* the stretch has stable characters only */
    for (uint64_t at = 0; at < text.count;) {
        uint32_t scalar;
        size_t length = utf8_decode(text.bytes + at, text.count - at, &scalar, NULL);
        bool stable = scalar < stable_below;
        if (stable && !is_stable) { /* a stretch to normalise ends here */
            TRY(normalize_stretch(step, scratch, (text_slice){text.bytes + start, at - start}, out, error));
            start = at;
            is_stable = true;
        } else if (!stable && is_stable) { /* the last stable character may join what comes now */
            if (at > start) {
                TRY(text_buffer_append(out, text.bytes + start, last - start, error));
                start = last;
            }
            is_stable = false;
        }
        last = at;
        at += length;
    }
    text_slice rest = {text.bytes + start, text.count - start};
    return is_stable ? append(out, rest, error) : normalize_stretch(step, scratch, rest, out, error);
}

static leat_status map_characters(character_map *map, text_slice text, text_buffer *out, leat_error *error)
{
    for (uint64_t at = 0; at < text.count;) {
        uint32_t scalar, mapped[CHARACTER_MAP_MAX];
        at += utf8_decode(text.bytes + at, text.count - at, &scalar, NULL);
        uint32_t count = map(scalar, mapped);
        for (uint32_t i = 0; i < count; i++) {
            char encoded[4];
            TRY(text_buffer_append(out, encoded, utf8_encode(mapped[i], encoded), error));
        }
    }
    return LEAT_OK;
}

static leat_status spell_bytes(text_slice text, text_buffer *out, leat_error *error)
{
    TRY(text_buffer_reserve(out, 2 * text.count, error));
    out->count = byte_level_expand(text.bytes, text.count, out->bytes);
    return LEAT_OK;
}

/* Steps that make something of each character by itself, or nearly so. */
static leat_status run_plain_step(const normalize_step *step, normalize_scratch *scratch, text_slice text,
                                  text_buffer *out, leat_error *error)
{
    switch (step->kind) {
    case NORMALIZE_UNICODE: return normalize_unicode(step, scratch, text, out, error);
    case NORMALIZE_BYTE_LEVEL: return spell_bytes(text, out, error);
    case NORMALIZE_MAP: return map_characters(step->map, text, out, error);
    case NORMALIZE_PRECOMPILED: return normalize_precompiled(step->characters, text, out, error);
    default: return FAIL(error, INTERNAL, "a normalizer step of kind %d", (int)step->kind);
    }
}

/* The front, up to the end of its last character: composition may have moved that. */
static text_slice whole_front(text_slice text, uint64_t front)
{
    uint64_t end = min_u64(front, text.count);
    while (end < text.count && ((unsigned char)text.bytes[end] & 0xc0) == 0x80) end++;
    return (text_slice){text.bytes, end};
}

static leat_status run_step(const normalize_step *step, normalize_scratch *scratch, text_slice text, uint64_t *front,
                            text_buffer *out, leat_error *error)
{
    switch (step->kind) {
    case NORMALIZE_REPLACE:
        return step->expression != NULL
                   ? replace_matches(step->expression, scratch->matches, text, step->content, front, out, error)
                   : replace_text(text, step->pattern, step->content, front, out, error);
    case NORMALIZE_PREPEND:
        if (text.count > 0) TRY(append(out, step->content, error));
        if (*front > 0) *front += out->count;
        return append(out, text, error);
    case NORMALIZE_STRIP: return strip(step, text, front, out, error);
    case NORMALIZE_SENTENCEPIECE: return normalize_sentencepiece(step->rules, text, *front > 0, out, error);
    default: break;
    }
    TRY(run_plain_step(step, scratch, text, out, error));
    if (*front == 0) return LEAT_OK;
    scratch->front.count = 0;
    TRY(run_plain_step(step, scratch, whole_front(text, *front), &scratch->front, error));
    *front = scratch->front.count;
    return LEAT_OK;
}

leat_status normalize_run(const normalize_step *steps, uint32_t count, normalize_scratch *scratch, text_slice text,
                          uint64_t *front, text_slice *out_text, leat_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        text_buffer *out = &scratch->buffers[i % 2];
        scratch->steps += text.count;
        out->count = 0;
        TRY(run_step(&steps[i], scratch, text, front, out, error));
        text = (text_slice){out->count > 0 ? out->bytes : "", out->count};
    }
    *out_text = text;
    return LEAT_OK;
}

/*
 * normalize_pieces.c - see the header.
 *
 * `Precompiled` asks the table about each grapheme cluster of less than six bytes, then about each of its characters,
 * and takes the shortest entry that the asked text begins with for all of it. SentencePiece takes the longest entry at
 * each place. Models are trained with the one and run with the other; both are kept as they are.
 */
#include "text/normalize_pieces.h"

#include "base/utf8.h"
#include "text/unicode_class.h"

#include <string.h>
#include <utf8proc.h>

#define MARK "\xe2\x96\x81"

static bool begins_cluster(uint32_t before, uint32_t scalar, utf8proc_int32_t *state)
{
    bool begins = utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)scalar, state);
    bool is_newer = utf8proc_category((utf8proc_int32_t)scalar) == UTF8PROC_CATEGORY_CN;
    return begins && !(is_newer && unicode_is_mark(scalar));
}

static uint64_t cluster_end(text_slice text, uint64_t start)
{
    uint32_t before, scalar;
    utf8proc_int32_t state = 0;
    uint64_t at = start + utf8_decode(text.bytes + start, text.count - start, &before, NULL);
    while (at < text.count) {
        size_t length = utf8_decode(text.bytes + at, text.count - at, &scalar, NULL);
        if (begins_cluster(before, scalar, &state)) break;
        before = scalar;
        at += length;
    }
    return at;
}

static leat_status put_replaced(const charsmap *map, text_slice part, text_buffer *out, leat_error *error)
{
    uint64_t ignored;
    text_slice replacement;
    if (charsmap_find(map, part.bytes, part.count, false, &ignored, &replacement)) part = replacement;
    return text_buffer_append(out, part.bytes, part.count, error);
}

leat_status normalize_precompiled(const charsmap *map, text_slice text, text_buffer *out, leat_error *error)
{
    enum { CLUSTER_BYTES_MAX = 5 };
    for (uint64_t at = 0, end; at < text.count; at = end) {
        uint64_t ignored;
        text_slice replacement;
        end = cluster_end(text, at);
        if (end - at <= CLUSTER_BYTES_MAX &&
            charsmap_find(map, text.bytes + at, end - at, false, &ignored, &replacement)) {
            TRY(text_buffer_append(out, replacement.bytes, replacement.count, error));
            continue;
        }
        while (at < end) {
            uint32_t scalar;
            size_t length = utf8_decode(text.bytes + at, end - at, &scalar, NULL);
            TRY(put_replaced(map, (text_slice){text.bytes + at, length}, out, error));
            at += length;
        }
    }
    return LEAT_OK;
}

/* What stands at the beginning of `text`, replaced, and how much of the text it is. */
static text_slice next_part(const sentencepiece_rules *rules, text_slice text, uint64_t *out_bytes)
{
    uint32_t scalar;
    text_slice replacement;
    if (rules->has_kept && piece_trie_longest(&rules->kept, text.bytes, text.count, out_bytes) != VOCABULARY_NO_ID)
        return (text_slice){text.bytes, *out_bytes};
    if (rules->has_map && charsmap_find(&rules->map, text.bytes, text.count, true, out_bytes, &replacement))
        return replacement;
    *out_bytes = utf8_decode(text.bytes, text.count, &scalar, NULL);
    return (text_slice){text.bytes, *out_bytes};
}

static text_slice rest_of(text_slice text, uint64_t bytes)
{
    return (text_slice){text.bytes + bytes, text.count - bytes};
}

static leat_status put_space(const sentencepiece_rules *rules, text_buffer *out, leat_error *error)
{
    return rules->marks_spaces ? text_buffer_append(out, MARK, 3, error) : text_buffer_append(out, " ", 1, error);
}

static leat_status put_part(const sentencepiece_rules *rules, text_slice part, text_buffer *out, leat_error *error)
{
    while (part.count > 0) {
        const char *space = memchr(part.bytes, ' ', part.count);
        uint64_t before = space == NULL ? part.count : (uint64_t)(space - part.bytes);
        TRY(text_buffer_append(out, part.bytes, before, error));
        if (space == NULL) break;
        TRY(put_space(rules, out, error));
        part = rest_of(part, before + 1);
    }
    return LEAT_OK;
}

static void drop_last_spaces(const sentencepiece_rules *rules, text_buffer *out)
{
    const char *space = rules->marks_spaces ? MARK : " ";
    uint64_t bytes = strlen(space);
    while (out->count >= bytes && memcmp(out->bytes + out->count - bytes, space, bytes) == 0) out->count -= bytes;
}

leat_status normalize_sentencepiece(const sentencepiece_rules *rules, text_slice text, bool is_first, text_buffer *out,
                                    leat_error *error)
{
    uint64_t bytes;
    bool adds_space = rules->adds_space && (is_first || !rules->adds_space_once);
    while (rules->drops_spaces && text.count > 0) {
        text_slice part = next_part(rules, text, &bytes);
        if (part.count != 1 || part.bytes[0] != ' ') break;
        text = rest_of(text, bytes);
    }
    if (text.count == 0) return LEAT_OK;
    if (adds_space && !rules->space_is_suffix) TRY(put_space(rules, out, error));
    for (bool follows_space = rules->drops_spaces; text.count > 0; text = rest_of(text, bytes)) {
        text_slice part = next_part(rules, text, &bytes);
        while (follows_space && part.count > 0 && part.bytes[0] == ' ') part = rest_of(part, 1);
        TRY(put_part(rules, part, out, error));
        if (part.count > 0) follows_space = rules->drops_spaces && part.bytes[part.count - 1] == ' ';
    }
    if (rules->drops_spaces) drop_last_spaces(rules, out);
    return adds_space && rules->space_is_suffix ? put_space(rules, out, error) : LEAT_OK;
}

/*
 * detokenizer.c - ids back to text, all at once or one by one.
 *
 * Both run the same machine. It holds back what may still change:
 *
 * - byte-level: the bytes of a character that is not complete;
 * - byte tokens: the bytes of a character that is not complete; when all ids are at hand, the whole run of byte tokens,
 *   because one invalid byte turns a run into U+FFFD as a whole;
 * - ends of words: what follows the mark of one, which is no space at the end of the text;
 * - strip: as many trailing characters as may be cut off at the end.
 *
 * A stream cannot take back a character that it has shown. So a run that proves invalid shows U+FFFD for every byte
 * that is still held and for each that follows in the run.
 */
#include "text/tokenizer_parts.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/byte_level.h"

#include <string.h>

struct detokenizer {
    const tokenizer *t;
    bool skip_special;
    bool whole_runs; /* hold a run of byte tokens to its end */
    bool has_output; /* a token has been seen */
    bool has_text;   /* and one that spaces are not dropped from any more */
    bool run_is_invalid;
    uint32_t strip_start_left;
    uint32_t held_strips; /* characters that the strip at the end may take */
    text_buffer held_bytes;
    text_buffer scratch[2];
};

#define REPLACEMENT "\xef\xbf\xbd"

static void init(detokenizer *d, const tokenizer *t, bool skip_special, bool whole_runs)
{
    *d = (detokenizer){
        .t = t, .skip_special = skip_special, .whole_runs = whole_runs, .strip_start_left = t->decode.strip_start};
    text_buffer_init(&d->held_bytes, t->ledger);
    text_buffer_init(&d->scratch[0], t->ledger);
    text_buffer_init(&d->scratch[1], t->ledger);
}

static void reset(detokenizer *d)
{
    text_buffer_reset(&d->held_bytes);
    text_buffer_reset(&d->scratch[0]);
    text_buffer_reset(&d->scratch[1]);
}

static bool begins_with(text_slice text, text_slice start)
{
    return text.count >= start.count && memcmp(text.bytes, start.bytes, start.count) == 0;
}

static bool ends_with(text_slice text, text_slice end)
{
    return text.count >= end.count && memcmp(text.bytes + text.count - end.count, end.bytes, end.count) == 0;
}

/* The last stage: the strip of the whole output. */
static leat_status emit(detokenizer *d, text_slice text, text_buffer *out, leat_error *error)
{
    const decode_plan *plan = &d->t->decode;
    text_slice stripped = plan->strip_content;
    while (d->strip_start_left > 0 && text.count > 0) {
        if (begins_with(text, stripped)) {
            text.bytes += stripped.count;
            text.count -= stripped.count;
            d->strip_start_left--;
        } else {
            d->strip_start_left = 0;
        }
    }
    if (plan->strip_stop == 0) return text_buffer_append(out, text.bytes, text.count, error);

    uint64_t end = text.count, trailing = 0;
    while (ends_with((text_slice){text.bytes, end}, stripped)) {
        end -= stripped.count;
        trailing++;
    }
    uint64_t kept = trailing; /* of all that is trailing now, `strip_stop` at most are held */
    if (end > 0) {
        for (; d->held_strips > 0; d->held_strips--)
            TRY(text_buffer_append(out, stripped.bytes, stripped.count, error));
        TRY(text_buffer_append(out, text.bytes, end, error));
    }
    kept += d->held_strips;
    for (; kept > plan->strip_stop; kept--) TRY(text_buffer_append(out, stripped.bytes, stripped.count, error));
    d->held_strips = (uint32_t)kept;
    return LEAT_OK;
}

static leat_status emit_replacements(detokenizer *d, uint64_t count, text_buffer *out, leat_error *error)
{
    for (uint64_t i = 0; i < count; i++) TRY(emit(d, (text_slice){REPLACEMENT, 3}, out, error));
    return LEAT_OK;
}

static void drop_held(detokenizer *d, uint64_t count)
{
    d->held_bytes.count -= count;
    if (count > 0) memmove(d->held_bytes.bytes, d->held_bytes.bytes + count, d->held_bytes.count);
}

/* The reference stream takes ED A0..BF for a character that is not complete, until its third byte. */
static bool begins_surrogate(const char *bytes, uint64_t count)
{
    return count == 2 && (unsigned char)bytes[0] == 0xed && (unsigned char)bytes[1] >= 0xa0 &&
           (unsigned char)bytes[1] <= 0xbf;
}

/* Byte-level: emits what is complete, and U+FFFD for every part that cannot become a character. */
static leat_status release_bytes(detokenizer *d, bool at_end, text_buffer *out, leat_error *error)
{
    const char *bytes = d->held_bytes.bytes;
    uint64_t count = d->held_bytes.count, done = 0;
    while (done < count) {
        uint64_t valid = utf8_valid_bytes(bytes + done, count - done);
        TRY(emit(d, (text_slice){bytes + done, valid}, out, error));
        done += valid;
        if (done == count) break;
        if (!at_end && begins_surrogate(bytes + done, count - done)) break;
        uint32_t scalar;
        size_t invalid = 0;
        if (utf8_decode(bytes + done, count - done, &scalar, &invalid) != 0) continue;
        if (invalid == 0) { /* incomplete */
            if (!at_end) break;
            invalid = count - done;
        }
        TRY(emit_replacements(d, 1, out, error));
        done += invalid;
    }
    drop_held(d, done);
    return LEAT_OK;
}

/* A character outside the alphabet: the token is taken as it is. is_raw: its characters are its bytes. */
static leat_status append_byte_level(text_slice token, bool is_raw, text_buffer *out, leat_error *error)
{
    const uint64_t start = out->count;
    if (is_raw) return text_buffer_append(out, token.bytes, token.count, error);
    for (uint64_t at = 0; at < token.count;) {
        uint32_t scalar;
        uint8_t byte;
        at += utf8_decode(token.bytes + at, token.count - at, &scalar, NULL);
        if (!byte_level_byte(scalar, &byte)) {
            out->count = start;
            return text_buffer_append(out, token.bytes, token.count, error);
        }
        TRY(text_buffer_append(out, (const char *)&byte, 1, error));
    }
    return LEAT_OK;
}

static leat_status push_byte_level(detokenizer *d, text_slice token, bool is_raw, text_buffer *out, leat_error *error)
{
    TRY(append_byte_level(token, is_raw, &d->held_bytes, error));
    return release_bytes(d, false, out, error);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_byte_token(text_slice token, char *out_byte)
{
    if (token.count != 6 || memcmp(token.bytes, "<0x", 3) != 0 || token.bytes[5] != '>') return false;
    int high = hex_value(token.bytes[3]), low = hex_value(token.bytes[4]);
    if (high < 0 || low < 0) return false;
    *out_byte = (char)(high * 16 + low);
    return true;
}

static leat_status push_run_byte(detokenizer *d, char byte, text_buffer *out, leat_error *error)
{
    if (d->run_is_invalid) return emit_replacements(d, 1, out, error);
    TRY(text_buffer_append(&d->held_bytes, &byte, 1, error));
    if (d->whole_runs) return LEAT_OK;
    uint32_t scalar;
    size_t invalid = 0, length = utf8_decode(d->held_bytes.bytes, d->held_bytes.count, &scalar, &invalid);
    if (length > 0) {
        d->held_bytes.count = 0;
        return emit(d, (text_slice){d->held_bytes.bytes, length}, out, error);
    }
    if (begins_surrogate(d->held_bytes.bytes, d->held_bytes.count)) return LEAT_OK;
    if (invalid > 0) {
        uint64_t count = d->held_bytes.count;
        d->held_bytes.count = 0;
        d->run_is_invalid = true;
        return emit_replacements(d, count, out, error);
    }
    return LEAT_OK;
}

static leat_status end_run(detokenizer *d, text_buffer *out, leat_error *error)
{
    uint64_t count = d->held_bytes.count;
    d->run_is_invalid = false;
    d->held_bytes.count = 0;
    if (count == 0) return LEAT_OK;
    if (utf8_valid_bytes(d->held_bytes.bytes, count) < count) return emit_replacements(d, count, out, error);
    return emit(d, (text_slice){d->held_bytes.bytes, count}, out, error);
}

/* Every `pattern` in the text becomes `content`, in `buffer`. */
static leat_status replace_in(text_slice *text, text_slice pattern, text_slice content, text_buffer *buffer,
                              leat_error *error)
{
    uint64_t done = 0;
    const char *found = memmem(text->bytes, text->count, pattern.bytes, pattern.count);
    if (found == NULL) return LEAT_OK;
    buffer->count = 0;
    while (found != NULL) {
        uint64_t start = (uint64_t)(found - text->bytes);
        TRY(text_buffer_append(buffer, text->bytes + done, start - done, error));
        TRY(text_buffer_append(buffer, content.bytes, content.count, error));
        done = start + pattern.count;
        found = memmem(text->bytes + done, text->count - done, pattern.bytes, pattern.count);
    }
    TRY(text_buffer_append(buffer, text->bytes + done, text->count - done, error));
    *text = (text_slice){buffer->bytes, buffer->count};
    return LEAT_OK;
}

static leat_status push_chain(detokenizer *d, text_slice token, text_buffer *out, leat_error *error)
{
    const decode_plan *plan = &d->t->decode;
    char byte;
    for (uint32_t i = 0; i < plan->replacement_count; i++)
        TRY(replace_in(&token, plan->replacements[i].pattern, plan->replacements[i].content, &d->scratch[i % 2],
                       error));
    if (plan->byte_fallback && is_byte_token(token, &byte)) return push_run_byte(d, byte, out, error);
    TRY(end_run(d, out, error));
    return emit(d, token, out, error);
}

static leat_status push_metaspace(detokenizer *d, text_slice token, bool is_first, text_buffer *out, leat_error *error)
{
    const decode_plan *plan = &d->t->decode;
    if (is_first && plan->drops_first_mark && begins_with(token, plan->mark))
        token = (text_slice){token.bytes + plan->mark.count, token.count - plan->mark.count};
    TRY(replace_in(&token, plan->mark, (text_slice){" ", 1}, &d->scratch[0], error));
    return emit(d, token, out, error);
}

/* A token that begins with the mark joins what is before it, every other one is set off by a space. */
static leat_status push_wordpiece(detokenizer *d, text_slice token, bool is_first, text_buffer *out, leat_error *error)
{
    static const char *const tidied[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                            {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                            {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    const decode_plan *plan = &d->t->decode;
    text_buffer *spaced = &d->scratch[0];
    spaced->count = 0;
    if (!is_first && plan->mark.count > 0 && begins_with(token, plan->mark))
        token = (text_slice){token.bytes + plan->mark.count, token.count - plan->mark.count};
    else if (!is_first && plan->mark.count > 0)
        TRY(text_buffer_append(spaced, " ", 1, error));
    TRY(text_buffer_append(spaced, token.bytes, token.count, error));
    text_slice text = {spaced->bytes, spaced->count};
    for (size_t i = 0; plan->tidies && i < ARRAY_COUNT(tidied); i++) {
        text_slice from = {tidied[i][0], strlen(tidied[i][0])}, to = {tidied[i][1], strlen(tidied[i][1])};
        text_buffer *next = text.bytes == d->scratch[1].bytes ? &d->scratch[0] : &d->scratch[1];
        TRY(replace_in(&text, from, to, next, error));
    }
    return emit(d, text, out, error);
}

/* What is held begins with the mark: it was a space, now that something follows it, or nothing. */
static leat_status release_marked(detokenizer *d, const char *replacement, text_buffer *out, leat_error *error)
{
    text_slice held = {d->held_bytes.bytes, d->held_bytes.count};
    if (held.count == 0) return LEAT_OK;
    TRY(replace_in(&held, d->t->decode.mark, (text_slice){replacement, strlen(replacement)}, &d->scratch[0], error));
    d->held_bytes.count = 0;
    return emit(d, held, out, error);
}

static leat_status push_bpe(detokenizer *d, text_slice token, text_buffer *out, leat_error *error)
{
    const text_slice mark = d->t->decode.mark;
    TRY(release_marked(d, " ", out, error));
    const char *found = memmem(token.bytes, token.count, mark.bytes, mark.count);
    const uint64_t free_bytes = found == NULL ? token.count : (uint64_t)(found - token.bytes);
    TRY(emit(d, (text_slice){token.bytes, free_bytes}, out, error));
    return text_buffer_append(&d->held_bytes, token.bytes + free_bytes, token.count - free_bytes, error);
}

/* SentencePiece: characters out of byte pieces, and U+FFFD for every byte that belongs to none. */
static leat_status release_piece_bytes(detokenizer *d, bool at_end, text_buffer *out, leat_error *error)
{
    const char *bytes = d->held_bytes.bytes;
    uint64_t count = d->held_bytes.count, done = 0;
    while (done < count) {
        uint32_t scalar;
        size_t invalid = 0, length = utf8_decode(bytes + done, count - done, &scalar, &invalid);
        if (length == 0 && invalid == 0 && !at_end) break; /* incomplete */
        if (length > 0)
            TRY(emit(d, (text_slice){bytes + done, length}, out, error));
        else
            TRY(emit_replacements(d, 1, out, error));
        done += length > 0 ? length : 1;
    }
    drop_held(d, done);
    return LEAT_OK;
}

/* A piece that is no byte. Spaces before the first text are those that encoding put there. */
static leat_status push_text_piece(detokenizer *d, text_slice piece, unsigned flags, text_buffer *out,
                                   leat_error *error)
{
    const decode_plan *plan = &d->t->decode;
    if (d->held_bytes.count > 0) d->has_text = true;
    TRY(release_piece_bytes(d, true, out, error));
    bool may_drop = !d->has_text;
    if ((flags & VOCABULARY_ADDED) == 0 && (flags & VOCABULARY_CONTROL) != 0) return LEAT_OK;
    if ((flags & VOCABULARY_ADDED) == 0 && (flags & VOCABULARY_UNKNOWN) != 0) {
        d->has_text = true;
        return emit(d, plan->unk_surface, out, error);
    }
    if (may_drop && (plan->drops_first_space || plan->drops_first_spaces) && begins_with(piece, plan->mark)) {
        piece = (text_slice){piece.bytes + plan->mark.count, piece.count - plan->mark.count};
        if (!plan->drops_first_spaces) d->has_text = true;
    }
    if (piece.count > 0) d->has_text = true;
    TRY(replace_in(&piece, plan->mark, (text_slice){" ", 1}, &d->scratch[0], error));
    return emit(d, piece, out, error);
}

static leat_status push_piece(detokenizer *d, uint32_t id, text_slice piece, text_buffer *out, leat_error *error)
{
    unsigned flags = d->t->vocab.flags[id];
    char byte;
    if ((flags & VOCABULARY_BYTE) == 0 || !is_byte_token(piece, &byte))
        return push_text_piece(d, piece, flags, out, error);
    TRY(text_buffer_append(&d->held_bytes, &byte, 1, error));
    uint64_t before = out->count;
    TRY(release_piece_bytes(d, false, out, error));
    if (out->count > before) d->has_text = true;
    return LEAT_OK;
}

/* An added token of a list of ranks: its text is not spelled in the byte alphabet. */
static bool is_raw(const tokenizer *t, uint32_t id)
{
    return t->decode.added_are_raw && (t->vocab.flags[id] & VOCABULARY_ADDED) != 0;
}

/* What a token decodes to, before the decoder. */
static const char *shown_text(const tokenizer *t, uint32_t id)
{
    if ((t->vocab.flags[id] & VOCABULARY_SHOWN_OTHERWISE) != 0)
        for (uint32_t i = 0; i < t->added_count; i++)
            if (t->added[i].id == id) return t->added[i].shown;
    return vocabulary_text(&t->vocab, id);
}

leat_status detokenizer_push(detokenizer *d, uint32_t id, text_buffer *out_text, leat_error *error)
{
    const vocabulary *vocab = &d->t->vocab;
    if (!vocabulary_has(vocab, id)) return LEAT_OK;
    /* the library asks whether the shown text is a special token's, so one that is shown otherwise is not left out */
    unsigned kind = vocab->flags[id] & (VOCABULARY_SPECIAL | VOCABULARY_SHOWN_OTHERWISE);
    if (d->skip_special && kind == VOCABULARY_SPECIAL) return LEAT_OK;
    const char *text = shown_text(d->t, id);
    text_slice token = {text, strlen(text)};
    bool is_first = !d->has_output;
    d->has_output = true;
    switch (d->t->decode.kind) {
    case DECODE_SPACED:
        if (!is_first) TRY(emit(d, (text_slice){" ", 1}, out_text, error));
        return emit(d, token, out_text, error);
    case DECODE_BYTE_LEVEL: return push_byte_level(d, token, is_raw(d->t, id), out_text, error);
    case DECODE_WORDPIECE: return push_wordpiece(d, token, is_first, out_text, error);
    case DECODE_BPE: return push_bpe(d, token, out_text, error);
    case DECODE_PIECES: return push_piece(d, id, token, out_text, error);
    case DECODE_METASPACE: return push_metaspace(d, token, is_first, out_text, error);
    case DECODE_CHAIN: return push_chain(d, token, out_text, error);
    }
    return FAIL(error, INTERNAL, "a decoder of kind %d", (int)d->t->decode.kind);
}

leat_status detokenizer_flush(detokenizer *d, text_buffer *out_text, leat_error *error)
{
    if (d->t->decode.kind == DECODE_BYTE_LEVEL) TRY(release_bytes(d, true, out_text, error));
    if (d->t->decode.kind == DECODE_CHAIN) TRY(end_run(d, out_text, error));
    if (d->t->decode.kind == DECODE_BPE) TRY(release_marked(d, "", out_text, error));
    d->held_strips = 0;
    d->strip_start_left = d->t->decode.strip_start;
    if (d->t->decode.kind == DECODE_PIECES) TRY(release_piece_bytes(d, true, out_text, error));
    d->has_output = d->has_text = false;
    return LEAT_OK;
}

leat_status detokenizer_open(const tokenizer *t, bool skip_special, detokenizer **out_detokenizer, leat_error *error)
{
    detokenizer *d;
    TRY(MEM_NEW(t->ledger, TOKENIZER, 1, &d, error));
    init(d, t, skip_special, false);
    *out_detokenizer = d;
    return LEAT_OK;
}

void detokenizer_close(detokenizer **d)
{
    if (*d == NULL) return;
    reset(*d);
    mem_free((*d)->t->ledger, *d);
    *d = NULL;
}

leat_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, uint64_t count, bool skip_special,
                             text_buffer *out_text, leat_error *error)
{
    detokenizer d;
    leat_status status = LEAT_OK;
    uint64_t start = out_text->count;
    init(&d, t, skip_special, true);
    for (uint64_t i = 0; i < count; i++) TRY_OR(out, detokenizer_push(&d, ids[i], out_text, error));
    TRY_OR(out, detokenizer_flush(&d, out_text, error));
    status = text_buffer_append(out_text, "", 0, error); /* terminated also when nothing came */
out:
    reset(&d);
    if (status != LEAT_OK) out_text->count = start;
    return status;
}

/* ---- one token by itself ---- */

static leat_status append_replaced(const decode_plan *plan, text_slice token, bool is_byte, text_buffer scratch[2],
                                   text_buffer *out, leat_error *error)
{
    char byte;
    for (uint32_t i = 0; plan->kind == DECODE_CHAIN && i < plan->replacement_count; i++)
        TRY(replace_in(&token, plan->replacements[i].pattern, plan->replacements[i].content, &scratch[i % 2], error));
    if (is_byte && is_byte_token(token, &byte)) return text_buffer_append(out, &byte, 1, error);
    if (plan->kind != DECODE_CHAIN) TRY(replace_in(&token, plan->mark, (text_slice){" ", 1}, &scratch[0], error));
    return text_buffer_append(out, token.bytes, token.count, error);
}

/* A word's first part brings the space before the word. */
static leat_status append_wordpiece(const decode_plan *plan, text_slice token, text_buffer *out, leat_error *error)
{
    if (plan->mark.count > 0 && begins_with(token, plan->mark))
        token = (text_slice){token.bytes + plan->mark.count, token.count - plan->mark.count};
    else if (plan->mark.count > 0)
        TRY(text_buffer_append(out, " ", 1, error));
    return text_buffer_append(out, token.bytes, token.count, error);
}

leat_status tokenizer_token_bytes(const tokenizer *t, uint32_t id, text_buffer *out_bytes, leat_error *error)
{
    text_buffer scratch[2];
    if (!vocabulary_has(&t->vocab, id)) return text_buffer_append(out_bytes, "", 0, error);
    const char *text = shown_text(t, id);
    const text_slice token = {text, strlen(text)};
    if (t->decode.kind == DECODE_SPACED) return text_buffer_append(out_bytes, token.bytes, token.count, error);
    if (t->decode.kind == DECODE_BYTE_LEVEL) return append_byte_level(token, is_raw(t, id), out_bytes, error);
    if (t->decode.kind == DECODE_WORDPIECE) return append_wordpiece(&t->decode, token, out_bytes, error);
    const bool is_byte = t->decode.kind == DECODE_PIECES ? (t->vocab.flags[id] & VOCABULARY_BYTE) != 0
                                                         : t->decode.kind == DECODE_CHAIN && t->decode.byte_fallback;
    text_buffer_init(&scratch[0], t->ledger);
    text_buffer_init(&scratch[1], t->ledger);
    const leat_status status = append_replaced(&t->decode, token, is_byte, scratch, out_bytes, error);
    text_buffer_reset(&scratch[0]);
    text_buffer_reset(&scratch[1]);
    return status;
}

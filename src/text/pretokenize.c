/*
 * pretokenize.c - one `cut` for each step that splits: it is told of matches and gaps from left to right, joins them as
 * the behaviour says, and passes each piece on to the next step once nothing more can join it.
 */
#include "text/pretokenize.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/unicode_class.h"
#include "text/unicode_script.h"

#include <string.h>

typedef struct run {
    const pretokenize_step *steps;
    uint32_t count;
    pretokenize_scratch *scratch;
    word_sink *sink;
    void *user;
    leat_error *error;
} run;

static leat_status run_step(const run *r, uint32_t idx, text_slice text, uint64_t front);

void pretokenize_scratch_init(pretokenize_scratch *scratch, mem *ledger, regex_scratch *matches)
{
    scratch->matches = matches;
    scratch->steps = 0;
    for (int i = 0; i < TEXT_STEPS_MAX; i++)
        for (int k = 0; k < 2; k++) text_buffer_init(&scratch->buffers[i][k], ledger);
}

void pretokenize_scratch_reset(pretokenize_scratch *scratch)
{
    for (int i = 0; i < TEXT_STEPS_MAX; i++)
        for (int k = 0; k < 2; k++) text_buffer_reset(&scratch->buffers[i][k]);
}

/* What a step does with a finished piece. */
typedef leat_status piece_taker(const run *r, uint32_t idx, text_slice piece, uint64_t front);

static leat_status pass_on(const run *r, uint32_t idx, text_slice piece, uint64_t front)
{
    return run_step(r, idx + 1, piece, front);
}

typedef struct cut {
    const run *r;
    uint32_t idx;
    text_slice text;
    uint64_t front;
    split_behaviour behaviour;
    bool invert;
    piece_taker *take;
    bool is_held; /* [held_start, held_end) waits for what follows */
    bool held_is_match;
    uint64_t held_start, held_end;
} cut;

static leat_status finish_piece(const cut *c, uint64_t start, uint64_t end)
{
    if (start == end) return LEAT_OK;
    return c->take(c->r, c->idx, (text_slice){c->text.bytes + start, end - start},
                   c->front > start ? c->front - start : 0);
}

static leat_status release_held(cut *c)
{
    if (!c->is_held) return LEAT_OK;
    c->is_held = false;
    return finish_piece(c, c->held_start, c->held_end);
}

static void hold(cut *c, uint64_t start, uint64_t end, bool is_match)
{
    c->is_held = true;
    c->held_is_match = is_match;
    c->held_start = start;
    c->held_end = end;
}

static leat_status add_part(cut *c, uint64_t start, uint64_t end, bool is_match)
{
    is_match = is_match != c->invert;
    switch (c->behaviour) {
    case SPLIT_ISOLATED: return finish_piece(c, start, end);
    case SPLIT_REMOVED: return is_match ? LEAT_OK : finish_piece(c, start, end);
    case SPLIT_CONTIGUOUS:
        if (c->is_held && c->held_is_match == is_match) {
            c->held_end = end;
            return LEAT_OK;
        }
        break;
    case SPLIT_MERGED_WITH_PREVIOUS:
        if (is_match && c->is_held && !c->held_is_match) {
            c->held_end = end;
            c->held_is_match = true; /* a second match does not join */
            return LEAT_OK;
        }
        break;
    case SPLIT_MERGED_WITH_NEXT:
        if (!is_match && c->is_held && c->held_is_match) {
            c->held_end = end;
            c->held_is_match = false;
            return LEAT_OK;
        }
        break;
    }
    TRY(release_held(c));
    hold(c, start, end, is_match);
    return LEAT_OK;
}

static leat_status cut_by_text(cut *c, text_slice pattern)
{
    uint64_t done = 0;
    while (pattern.count > 0 && done < c->text.count) {
        const char *found = memmem(c->text.bytes + done, c->text.count - done, pattern.bytes, pattern.count);
        if (found == NULL) break;
        uint64_t start = (uint64_t)(found - c->text.bytes);
        if (start > done) TRY(add_part(c, done, start, false));
        TRY(add_part(c, start, start + pattern.count, true));
        done = start + pattern.count;
    }
    if (done < c->text.count) TRY(add_part(c, done, c->text.count, false));
    return release_held(c);
}

static uint64_t next_character(text_slice text, uint64_t at)
{
    do at++;
    while (at < text.count && ((unsigned char)text.bytes[at] & 0xc0) == 0x80);
    return at;
}

/* The next match of \s+$: white space up to the end of the text, or up to the last newline of its run. */
static bool find_space_at_end(text_slice text, uint64_t from, uint64_t *out_start, uint64_t *out_end, uint64_t *steps)
{
    for (uint64_t at = from; at < text.count;) {
        uint64_t start = at, newline = 0;
        uint32_t scalar;
        while (at < text.count) {
            size_t length = utf8_decode(text.bytes + at, text.count - at, &scalar, NULL);
            ++*steps;
            if (!unicode_is_space(scalar)) break;
            if (scalar == '\n') newline = at;
            at += length;
        }
        *out_start = start;
        *out_end = at == text.count ? at : newline;
        if (at > start && *out_end > start) return true;
        if (at < text.count) at = next_character(text, at);
    }
    return false;
}

static leat_status cut_at_space_ends(cut *c)
{
    uint64_t done = 0, start, end;
    while (find_space_at_end(c->text, done, &start, &end, &c->r->scratch->steps)) {
        if (start > done) TRY(add_part(c, done, start, false));
        TRY(add_part(c, start, end, true));
        done = end;
    }
    if (done < c->text.count) TRY(add_part(c, done, c->text.count, false));
    return release_held(c);
}

static leat_status cut_by_expression(cut *c, const regex *expression)
{
    uint64_t done = 0, from = 0, start, end;
    regex_announce(c->r->scratch->matches, c->text.count);
    while (from <= c->text.count) {
        TRY(regex_find(expression, c->r->scratch->matches, c->text.bytes, c->text.count, from, &start, &end,
                       c->r->error));
        if (start == UINT64_MAX) break;
        if (start == end)
            from = end + 1; /* an empty match cuts, but not right behind another match */
        else
            from = end;
        while (from < c->text.count && ((unsigned char)c->text.bytes[from] & 0xc0) == 0x80) from++;
        if (start == end && start == done) continue;
        if (start > done) TRY(add_part(c, done, start, false));
        TRY(add_part(c, start, end, true));
        done = end;
    }
    if (done < c->text.count) TRY(add_part(c, done, c->text.count, false));
    return release_held(c);
}

static leat_status cut_by_class(cut *c, bool (*is_cut)(uint32_t scalar))
{
    uint64_t done = 0;
    for (uint64_t at = 0; at < c->text.count;) {
        uint32_t scalar;
        size_t length = utf8_decode(c->text.bytes + at, c->text.count - at, &scalar, NULL);
        if (is_cut(scalar)) {
            if (at > done) TRY(add_part(c, done, at, false));
            TRY(add_part(c, at, at + length, true));
            done = at + length;
        }
        at += length;
    }
    if (done < c->text.count) TRY(add_part(c, done, c->text.count, false));
    return release_held(c);
}

static leat_status cut_into_words(cut *c)
{
    enum { SPACE, WORD, OTHER } before = SPACE;
    uint64_t start = 0;
    for (uint64_t at = 0; at < c->text.count;) {
        uint32_t scalar;
        const size_t length = utf8_decode(c->text.bytes + at, c->text.count - at, &scalar, NULL);
        const int kind = unicode_is_space(scalar) ? SPACE : unicode_is_word(scalar) ? WORD : OTHER;
        if (kind != (int)before) {
            if (before != SPACE) TRY(finish_piece(c, start, at));
            start = at;
            before = kind;
        }
        at += length;
    }
    return before == SPACE ? LEAT_OK : finish_piece(c, start, c->text.count);
}

static leat_status cut_by_script(cut *c)
{
    uint32_t before = SCRIPT_ANY;
    uint64_t start = 0;
    for (uint64_t at = 0; at < c->text.count;) {
        uint32_t scalar;
        const size_t length = utf8_decode(c->text.bytes + at, c->text.count - at, &scalar, NULL);
        const uint32_t script = unicode_script(scalar);
        if (script != SCRIPT_ANY && script != before) {
            if (before != SCRIPT_ANY) TRY(finish_piece(c, start, at));
            start = at;
            before = script;
        }
        at += length;
    }
    return before == SCRIPT_ANY ? LEAT_OK : finish_piece(c, start, c->text.count);
}

static leat_status cut_by_length(cut *c, uint32_t length)
{
    uint64_t start = 0;
    uint32_t count = 0;
    for (uint64_t at = 0; at < c->text.count;) {
        at = next_character(c->text, at);
        if (++count < length && at < c->text.count) continue;
        TRY(finish_piece(c, start, at));
        start = at;
        count = 0;
    }
    return LEAT_OK;
}

static leat_status expand_bytes(const run *r, uint32_t idx, text_slice piece, uint64_t front)
{
    text_buffer *out = &r->scratch->buffers[idx][1];
    out->count = 0;
    if (piece.count >= out->capacity / 2) TRY(text_buffer_reserve(out, 2 * piece.count, r->error));
    front = byte_level_expand(piece.bytes, min_u64(front, piece.count), out->bytes);
    out->count = byte_level_expand(piece.bytes, piece.count, out->bytes);
    return pass_on(r, idx, (text_slice){out->bytes, out->count}, front);
}

static leat_status run_byte_level(const run *r, uint32_t idx, text_slice text, uint64_t front)
{
    const pretokenize_step *step = &r->steps[idx];
    if (step->prefix_space && text.bytes[0] != ' ') {
        text_buffer *spaced = &r->scratch->buffers[idx][0];
        spaced->count = 0;
        TRY(text_buffer_append(spaced, " ", 1, r->error));
        TRY(text_buffer_append(spaced, text.bytes, text.count, r->error));
        text = (text_slice){spaced->bytes, spaced->count};
        if (front > 0) front++;
    }
    if (step->expression == NULL) return expand_bytes(r, idx, text, front);
    cut c = {.r = r, .idx = idx, .text = text, .front = front, .behaviour = SPLIT_ISOLATED, .take = expand_bytes};
    return cut_by_expression(&c, step->expression);
}

static leat_status run_metaspace(const run *r, uint32_t idx, text_slice text, uint64_t front)
{
    const pretokenize_step *step = &r->steps[idx];
    text_buffer *out = &r->scratch->buffers[idx][0];
    text_slice mark = step->pattern;
    bool has_mark =
        text.bytes[0] == ' ' || (text.count >= mark.count && memcmp(text.bytes, mark.bytes, mark.count) == 0);
    out->count = 0;
    const uint64_t front_before = min_u64(front, text.count);
    if (!has_mark && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && front > 0))) {
        TRY(text_buffer_append(out, mark.bytes, mark.count, r->error));
        if (front > 0) front += mark.count;
    }
    for (uint64_t i = 0; i < front_before; i++)
        if (text.bytes[i] == ' ') front += mark.count - 1;
    for (uint64_t done = 0; done < text.count;) {
        const char *space = memchr(text.bytes + done, ' ', text.count - done);
        uint64_t end = space == NULL ? text.count : (uint64_t)(space - text.bytes);
        TRY(text_buffer_append(out, text.bytes + done, end - done, r->error));
        if (space != NULL) TRY(text_buffer_append(out, mark.bytes, mark.count, r->error));
        done = end + 1;
    }
    cut c = {.r = r,
             .idx = idx,
             .text = {out->bytes, out->count},
             .front = front,
             .behaviour = SPLIT_MERGED_WITH_NEXT,
             .take = pass_on};
    return step->split ? cut_by_text(&c, mark) : pass_on(r, idx, c.text, front);
}

static leat_status run_step(const run *r, uint32_t idx, text_slice text, uint64_t front)
{
    if (text.count == 0) return LEAT_OK;
    if (idx == r->count) return r->sink(r->user, text.bytes, text.count, r->error);
    const pretokenize_step *step = &r->steps[idx];
    r->scratch->steps += text.count;
    cut c = {.r = r,
             .idx = idx,
             .text = text,
             .front = front,
             .behaviour = step->behaviour,
             .invert = step->invert,
             .take = pass_on};
    switch (step->kind) {
    case PRETOKENIZE_SPLIT:
        if (step->is_space_at_end) return cut_at_space_ends(&c);
        return step->expression != NULL ? cut_by_expression(&c, step->expression) : cut_by_text(&c, step->pattern);
    case PRETOKENIZE_SPLIT_CLASS: return cut_by_class(&c, step->is_cut);
    case PRETOKENIZE_WORDS: return cut_into_words(&c);
    case PRETOKENIZE_SCRIPTS: return cut_by_script(&c);
    case PRETOKENIZE_FIXED_LENGTH: return cut_by_length(&c, step->length);
    case PRETOKENIZE_BYTE_LEVEL: return run_byte_level(r, idx, text, front);
    case PRETOKENIZE_METASPACE: return run_metaspace(r, idx, text, front);
    }
    return FAIL(r->error, INTERNAL, "a pre-tokenizer step of kind %d", (int)step->kind);
}

leat_status pretokenize_run(const pretokenize_step *steps, uint32_t count, pretokenize_scratch *scratch,
                            text_slice text, uint64_t front, word_sink *sink, void *user, leat_error *error)
{
    run r = {steps, count, scratch, sink, user, error};
    return run_step(&r, 0, text, front);
}

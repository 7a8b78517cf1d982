/*
 * decode.c - the steps, for whole token lists and for streams; the two differ in runs of byte tokens only.
 *
 * What is held back: the bytes of a character that is not complete; of a token what its end or the next token decides.
 * A stream cannot take back a character that it has shown. So a run of byte tokens that proves invalid shows U+FFFD for
 * every byte that is still held and for each that follows in the run.
 */
#include "text/decode.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/replace.h"
#include "text/vocabulary.h"

#include <string.h>

/* A token or a part of it, which a step changes or, when it passes on other parts itself, takes. The flags are those of
 * the vocabulary, for the first step. */
typedef struct part {
    text_slice text;
    unsigned flags;
    bool begins, ends;
    bool is_taken;
} part;

/* The step that works. */
typedef struct place {
    decode_flow *flow;
    uint32_t idx;
    const decode_step *step;
    decode_state *state;
    text_buffer *out;
    leat_error *error;
} place;

#define REPLACEMENT "\xef\xbf\xbd"

static leat_status push_part(decode_flow *flow, uint32_t idx, part *p, text_buffer *out, leat_error *error);

/* To the next step; part of a token, or with `ends` its end. */
static leat_status pass(const place *at, text_slice text, bool ends)
{
    if (at->idx + 1 == at->flow->plan->count) return text_buffer_append(at->out, text.bytes, text.count, at->error);
    part p = {.text = text, .ends = ends};
    return push_part(at->flow, at->idx + 1, &p, at->out, at->error);
}

static leat_status pass_replacements(const place *at, uint64_t count, bool end)
{
    for (uint64_t i = 0; i < count; i++) TRY(pass(at, (text_slice){REPLACEMENT, 3}, end));
    return LEAT_OK;
}

static text_slice slice_of(const text_buffer *buffer)
{
    return (text_slice){buffer->count > 0 ? buffer->bytes : "", buffer->count};
}

static text_slice slice_from(text_slice text, uint64_t start)
{
    return (text_slice){text.bytes + start, text.count - start};
}

static bool begins_with(text_slice text, text_slice start)
{
    return text.count >= start.count && memcmp(text.bytes, start.bytes, start.count) == 0;
}

static bool ends_with(text_slice text, text_slice end)
{
    return text.count >= end.count && memcmp(text.bytes + text.count - end.count, end.bytes, end.count) == 0;
}

static void drop_front(text_buffer *buffer, uint64_t count)
{
    buffer->count -= count;
    if (count > 0) memmove(buffer->bytes, buffer->bytes + count, buffer->count);
}

/* That one of two buffers, emptied, in which the text does not lie. */
static text_buffer *other_buffer(text_slice text, text_buffer scratch[2])
{
    const uintptr_t first = (uintptr_t)scratch[0].bytes, at = (uintptr_t)text.bytes;
    text_buffer *into = &scratch[at >= first && at - first < scratch[0].capacity ? 1 : 0];
    into->count = 0;
    return into;
}

/* Every mark in the text becomes `content`. */
static leat_status replace_in(text_slice *text, text_slice mark, text_slice content, text_buffer scratch[2],
                              leat_error *error)
{
    if (text->count < mark.count) return LEAT_OK;
    const char *first = memmem(text->bytes, text->count, mark.bytes, mark.count);
    if (first == NULL) return LEAT_OK;
    text_buffer *into = other_buffer(*text, scratch);
    const uint64_t before = (uint64_t)(first - text->bytes);
    TRY(text_buffer_append(into, text->bytes, before, error));
    TRY(replace_text(slice_from(*text, before), mark, content, NULL, into, error));
    *text = slice_of(into);
    return LEAT_OK;
}

/* The spacing of English. */
static leat_status tidy(text_slice *text, text_buffer scratch[2], leat_error *error)
{
    static const char *const spaced[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                            {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                            {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < ARRAY_COUNT(spaced); i++)
        TRY(replace_in(text, (text_slice){spaced[i][0], strlen(spaced[i][0])},
                       (text_slice){spaced[i][1], strlen(spaced[i][1])}, scratch, error));
    return LEAT_OK;
}

/* ---- bytes ---- */

/* The reference stream takes ED A0..BF for a character that is not complete, until its third byte. */
static bool begins_surrogate(const char *bytes, uint64_t count)
{
    return count == 2 && (unsigned char)bytes[0] == 0xed && (unsigned char)bytes[1] >= 0xa0 &&
           (unsigned char)bytes[1] <= 0xbf;
}

/* Byte-level: passes what is complete, and U+FFFD for every part that cannot become a character. */
static leat_status release_bytes(const place *at, bool at_end)
{
    text_buffer *held = &at->state->held;
    const char *bytes = held->bytes;
    uint64_t count = held->count, done = 0;
    while (done < count) {
        uint64_t valid = utf8_valid_bytes(bytes + done, count - done);
        TRY(pass(at, (text_slice){bytes + done, valid}, false));
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
        TRY(pass_replacements(at, 1, false));
        done += invalid;
    }
    drop_front(held, done);
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

/* An added token of a list of ranks: its text is not spelled in the byte alphabet. */
static bool is_raw(const decode_step *step, unsigned flags)
{
    return step->added_are_raw && (flags & VOCABULARY_ADDED) != 0;
}

static leat_status push_byte_level(const place *at, part *p)
{
    p->is_taken = true;
    TRY(append_byte_level(p->text, is_raw(at->step, p->flags), &at->state->held, at->error));
    return release_bytes(at, false);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* <0xHH>; the library takes a plus sign for the first digit, too. */
static bool is_byte_token(text_slice token, char *out_byte)
{
    if (token.count != 6 || memcmp(token.bytes, "<0x", 3) != 0 || token.bytes[5] != '>') return false;
    int high = token.bytes[3] == '+' ? 0 : hex_value(token.bytes[3]), low = hex_value(token.bytes[4]);
    if (high < 0 || low < 0) return false;
    *out_byte = (char)(high * 16 + low);
    return true;
}

static leat_status end_run(const place *at)
{
    decode_state *s = at->state;
    const uint64_t count = s->held.count;
    const bool was_out = s->run_is_out;
    if (count == 0 && !was_out && !s->run_is_bad) return LEAT_OK;
    s->run_is_bad = s->run_is_out = false;
    s->held.count = 0;
    if (count > 0 && utf8_valid_bytes(s->held.bytes, count) == count)
        return pass(at, (text_slice){s->held.bytes, count}, true);
    if (was_out) TRY(pass(at, (text_slice){"", 0}, true));
    return pass_replacements(at, count, true);
}

/* A stream shows what has become a character. */
static leat_status push_run_byte(const place *at, char byte)
{
    decode_state *s = at->state;
    uint32_t scalar;
    size_t invalid = 0;
    if (s->run_is_bad) return pass_replacements(at, 1, true);
    TRY(text_buffer_append(&s->held, &byte, 1, at->error));
    if (at->flow->whole_runs) return LEAT_OK;
    const size_t length = utf8_decode(s->held.bytes, s->held.count, &scalar, &invalid);
    if (length > 0) {
        s->held.count = 0;
        s->run_is_out = true;
        return pass(at, (text_slice){s->held.bytes, length}, false);
    }
    if (begins_surrogate(s->held.bytes, s->held.count) || invalid == 0) return LEAT_OK;
    TRY(end_run(at));
    s->run_is_bad = true;
    return LEAT_OK;
}

static leat_status push_byte_fallback(const place *at, part *p)
{
    char byte;
    p->is_taken = is_byte_token(p->text, &byte);
    return p->is_taken ? push_run_byte(at, byte) : end_run(at);
}

/* ---- marks and spaces ---- */

static leat_status push_spaced(const place *at, const part *p)
{
    return p->begins && at->state->has_token ? pass(at, (text_slice){" ", 1}, false) : LEAT_OK;
}

static leat_status push_metaspace(const place *at, part *p)
{
    const bool drops = at->step->drops_first && !at->state->has_token;
    return replace_in(&p->text, at->step->mark, (text_slice){" ", drops ? 0 : 1}, at->state->scratch, at->error);
}

/* A token that begins with the mark joins what is before it, every other one is set off by a space. */
static leat_status space_word(const decode_step *step, text_slice *token, text_buffer scratch[2], leat_error *error)
{
    if (begins_with(*token, step->mark)) {
        *token = slice_from(*token, step->mark.count);
        return LEAT_OK;
    }
    text_buffer *into = other_buffer(*token, scratch);
    TRY(text_buffer_append(into, " ", 1, error));
    TRY(text_buffer_append(into, token->bytes, token->count, error));
    *token = slice_of(into);
    return LEAT_OK;
}

static leat_status push_wordpiece(const place *at, part *p)
{
    decode_state *s = at->state;
    if (s->has_token) TRY(space_word(at->step, &p->text, s->scratch, at->error));
    return at->step->tidies ? tidy(&p->text, s->scratch, at->error) : LEAT_OK;
}

/* What is held begins with the mark: it was a space, now that something follows it, or nothing. */
static leat_status release_marked(const place *at, text_slice content)
{
    decode_state *s = at->state;
    text_slice held = slice_of(&s->held);
    TRY(replace_in(&held, at->step->mark, content, s->scratch, at->error));
    s->held.count = 0;
    return pass(at, held, true);
}

static leat_status push_bpe(const place *at, part *p)
{
    const text_slice mark = at->step->mark, text = p->text;
    p->is_taken = true;
    if (at->state->has_token) TRY(release_marked(at, (text_slice){" ", 1}));
    const char *found = memmem(text.bytes, text.count, mark.bytes, mark.count);
    const uint64_t free_bytes = found == NULL ? text.count : (uint64_t)(found - text.bytes);
    const text_slice rest = slice_from(text, free_bytes);
    TRY(pass(at, (text_slice){text.bytes, free_bytes}, false));
    return text_buffer_append(&at->state->held, rest.bytes, rest.count, at->error);
}

static leat_status clean_ctc(const decode_step *step, text_slice *token, text_buffer scratch[2], leat_error *error)
{
    TRY(replace_in(token, step->mark, (text_slice){"", 0}, scratch, error));
    if (!step->tidies) return LEAT_OK;
    TRY(tidy(token, scratch, error));
    return replace_in(token, step->content, (text_slice){" ", 1}, scratch, error);
}

static leat_status push_ctc(const place *at, part *p)
{
    decode_state *s = at->state;
    p->is_taken = s->has_token && p->text.count == s->held.count && begins_with(p->text, slice_of(&s->held));
    if (p->is_taken) return LEAT_OK;
    s->held.count = 0;
    TRY(text_buffer_append(&s->held, p->text.bytes, p->text.count, at->error));
    TRY(clean_ctc(at->step, &p->text, s->scratch, at->error));
    p->is_taken = p->text.count == 0;
    return LEAT_OK;
}

/* ---- replacing ---- */

/* How much of the end may be the beginning of the mark. */
static uint64_t open_bytes(text_slice text, text_slice mark)
{
    uint64_t count = min_u64(text.count, mark.count - 1);
    while (count > 0 && memcmp(text.bytes + text.count - count, mark.bytes, count) != 0) count--;
    return count;
}

/* Part of a long token: all but what may become the mark is replaced and passed on. */
static leat_status push_replaced_part(const place *at, part *p)
{
    const text_slice mark = at->step->mark;
    decode_state *s = at->state;
    uint64_t kept = 0;
    p->is_taken = true;
    TRY(text_buffer_append(&s->held, p->text.bytes, p->text.count, at->error));
    text_slice text = slice_of(&s->held);
    if (!p->ends) { /* an occurrence at the end is not open, though it may end as the mark begins */
        const char *bytes = text.bytes, *found;
        uint64_t done = 0;
        while ((found = memmem(bytes + done, text.count - done, mark.bytes, mark.count)) != NULL)
            done = (uint64_t)(found - bytes) + mark.count;
        kept = open_bytes(slice_from(text, done), mark);
    }
    text.count -= kept;
    TRY(replace_in(&text, mark, at->step->content, s->scratch, at->error));
    TRY(pass(at, text, p->ends));
    drop_front(&s->held, s->held.count - kept);
    return LEAT_OK;
}

static leat_status replace_matches_in(const decode_step *step, text_slice *text, regex_scratch *matches,
                                      text_buffer scratch[2], leat_error *error)
{
    text_buffer *into = other_buffer(*text, scratch);
    TRY(replace_matches(step->expression, matches, *text, step->content, NULL, into, error));
    *text = slice_of(into);
    return LEAT_OK;
}

static leat_status push_replaced(const place *at, part *p)
{
    const decode_step *step = at->step;
    if (step->expression != NULL)
        return replace_matches_in(step, &p->text, &at->flow->matches, at->state->scratch, at->error);
    if (!p->begins || !p->ends) return push_replaced_part(at, p);
    return replace_in(&p->text, step->mark, step->content, at->state->scratch, at->error);
}

/* ---- strip ---- */

static leat_status pass_held_marks(const place *at, uint64_t kept)
{
    decode_state *s = at->state;
    for (; s->held_marks > kept; s->held_marks--) TRY(pass(at, at->step->mark, false));
    return LEAT_OK;
}

static leat_status push_stripped(const place *at, part *p)
{
    const decode_step *step = at->step;
    decode_state *s = at->state;
    text_slice text = p->text;
    uint64_t end, trailing = 0;
    if (p->begins) {
        s->start_left = step->start;
        s->held_marks = 0;
    }
    for (; s->start_left > 0 && begins_with(text, step->mark); s->start_left--)
        text = slice_from(text, step->mark.count);
    if (text.count > 0) s->start_left = 0;
    p->text = text;
    if (step->stop == 0) return LEAT_OK;
    p->is_taken = true;
    for (end = text.count; ends_with((text_slice){text.bytes, end}, step->mark); trailing++) end -= step->mark.count;
    if (end > 0) TRY(pass_held_marks(at, 0));
    if (end > 0) TRY(pass(at, (text_slice){text.bytes, end}, false));
    s->held_marks += trailing;
    TRY(pass_held_marks(at, step->stop));
    return p->ends ? pass(at, (text_slice){"", 0}, true) : LEAT_OK;
}

/* ---- pieces of SentencePiece ---- */

/* Characters out of byte pieces, and U+FFFD for every byte that belongs to none. */
static leat_status release_piece_bytes(const place *at, bool at_end)
{
    text_buffer *held = &at->state->held;
    const char *bytes = held->bytes;
    uint64_t count = held->count, done = 0;
    while (done < count) {
        uint32_t scalar;
        size_t invalid = 0, length = utf8_decode(bytes + done, count - done, &scalar, &invalid);
        if (length == 0 && invalid == 0 && !at_end) break; /* incomplete */
        if (length > 0)
            TRY(pass(at, (text_slice){bytes + done, length}, false));
        else
            TRY(pass_replacements(at, 1, false));
        done += length > 0 ? length : 1;
    }
    if (done > 0) at->state->has_text = true;
    drop_front(held, done);
    return LEAT_OK;
}

/* A piece that is no byte. Spaces before the first text are those that encoding put there. */
static leat_status push_text_piece(const place *at, part *p)
{
    const decode_step *step = at->step;
    decode_state *s = at->state;
    const bool is_own = (p->flags & VOCABULARY_ADDED) == 0;
    TRY(release_piece_bytes(at, true));
    p->is_taken = is_own && (p->flags & VOCABULARY_CONTROL) != 0;
    if (p->is_taken) return LEAT_OK;
    if (is_own && (p->flags & VOCABULARY_UNKNOWN) != 0) {
        s->has_text = true;
        p->text = step->content;
        return LEAT_OK;
    }
    if (!s->has_text && (step->drops_first || step->drops_every_first) && begins_with(p->text, step->mark)) {
        p->text = slice_from(p->text, step->mark.count);
        if (!step->drops_every_first) s->has_text = true;
    }
    if (p->text.count > 0) s->has_text = true;
    return replace_in(&p->text, step->mark, (text_slice){" ", 1}, s->scratch, at->error);
}

static leat_status push_piece(const place *at, part *p)
{
    char byte;
    if ((p->flags & VOCABULARY_BYTE) == 0 || !is_byte_token(p->text, &byte)) return push_text_piece(at, p);
    p->is_taken = true;
    TRY(text_buffer_append(&at->state->held, &byte, 1, at->error));
    return release_piece_bytes(at, false);
}

/* ---- the flow ---- */

/* Steps that look at a token as a whole. */
static bool wants_whole(const decode_step *step)
{
    switch (step->kind) {
    case DECODE_SPACED:
    case DECODE_METASPACE:
    case DECODE_FUSE:
    case DECODE_STRIP: return false;
    case DECODE_REPLACE: return step->expression != NULL;
    default: return true;
    }
}

static leat_status run_step(const place *at, part *p)
{
    switch (at->step->kind) {
    case DECODE_SPACED: return push_spaced(at, p);
    case DECODE_BYTE_LEVEL: return push_byte_level(at, p);
    case DECODE_METASPACE: return push_metaspace(at, p);
    case DECODE_WORDPIECE: return push_wordpiece(at, p);
    case DECODE_BPE: return push_bpe(at, p);
    case DECODE_CTC: return push_ctc(at, p);
    case DECODE_REPLACE: return push_replaced(at, p);
    case DECODE_BYTE_FALLBACK: return push_byte_fallback(at, p);
    case DECODE_FUSE: p->ends = false; return LEAT_OK;
    case DECODE_STRIP: return push_stripped(at, p);
    case DECODE_PIECES: return push_piece(at, p);
    }
    return FAIL(at->error, INTERNAL, "a decoder step of kind %d", (int)at->step->kind);
}

/* For a step that wants a token whole. */
static leat_status gather(decode_state *s, part *p, leat_error *error)
{
    TRY(text_buffer_append(&s->gathered, p->text.bytes, p->text.count, error));
    p->is_taken = !p->ends;
    if (p->is_taken) return LEAT_OK;
    p->text = slice_of(&s->gathered);
    s->gathered.count = 0;
    return LEAT_OK;
}

static leat_status push_part(decode_flow *flow, uint32_t idx, part *p, text_buffer *out, leat_error *error)
{
    for (; idx < flow->plan->count; idx++) {
        const decode_step *step = &flow->plan->steps[idx];
        decode_state *s = &flow->states[idx];
        const place at = {flow, idx, step, s, out, error};
        const bool ends = p->ends;
        p->begins = !s->is_within;
        s->is_within = !ends;
        if ((!p->begins || !ends) && wants_whole(step)) TRY(gather(s, p, error));
        if (!p->is_taken) TRY(run_step(&at, p));
        if (ends) s->has_token = true;
        if (p->is_taken) return LEAT_OK;
    }
    return text_buffer_append(out, p->text.bytes, p->text.count, error);
}

static leat_status end_step(const place *at)
{
    const text_slice nothing = {"", 0};
    switch (at->step->kind) {
    case DECODE_BYTE_LEVEL: TRY(release_bytes(at, true)); return pass(at, nothing, true);
    case DECODE_FUSE: return pass(at, nothing, true);
    case DECODE_BYTE_FALLBACK: return end_run(at);
    case DECODE_BPE: return at->state->has_token ? release_marked(at, nothing) : LEAT_OK;
    case DECODE_PIECES: return release_piece_bytes(at, true);
    default: return LEAT_OK;
    }
}

static void renew(decode_state *s)
{
    s->has_token = s->is_within = s->has_text = s->run_is_bad = s->run_is_out = false;
    s->gathered.count = s->held.count = s->held_marks = 0;
}

leat_status decode_flow_push(decode_flow *flow, text_slice token, unsigned flags, text_buffer *out, leat_error *error)
{
    part p = {.text = token, .flags = flags, .ends = true};
    return push_part(flow, 0, &p, out, error);
}

leat_status decode_flow_flush(decode_flow *flow, text_buffer *out, leat_error *error)
{
    for (uint32_t i = 0; i < flow->plan->count; i++) {
        const place at = {flow, i, &flow->plan->steps[i], &flow->states[i], out, error};
        TRY(end_step(&at));
    }
    for (uint32_t i = 0; i < flow->plan->count; i++) renew(&flow->states[i]);
    return LEAT_OK;
}

void decode_flow_init(decode_flow *flow, const decode_plan *plan, mem *ledger, bool whole_runs)
{
    *flow = (decode_flow){.plan = plan, .ledger = ledger, .whole_runs = whole_runs};
    for (uint32_t i = 0; i < plan->count; i++) {
        decode_state *s = &flow->states[i];
        text_buffer_init(&s->gathered, ledger);
        text_buffer_init(&s->held, ledger);
        for (int k = 0; k < 2; k++) text_buffer_init(&s->scratch[k], ledger);
    }
}

void decode_flow_reset(decode_flow *flow)
{
    for (uint32_t i = 0; i < flow->plan->count; i++) {
        decode_state *s = &flow->states[i];
        text_buffer_reset(&s->gathered);
        text_buffer_reset(&s->held);
        for (int k = 0; k < 2; k++) text_buffer_reset(&s->scratch[k]);
    }
    regex_scratch_reset(&flow->matches);
}

/* ---- one token by itself ---- */

typedef struct lone_token {
    text_slice text;
    unsigned flags;
    bool is_fused; /* a step before has made one token of all: what is done at the ends of tokens is not done here */
    bool is_bytes; /* no characters any more */
    text_buffer scratch[2];
    text_buffer bytes;
    regex_scratch matches;
} lone_token;

static void strip_lone(const decode_step *step, lone_token *l)
{
    for (uint32_t i = 0; i < step->start && begins_with(l->text, step->mark); i++)
        l->text = slice_from(l->text, step->mark.count);
    for (uint32_t i = 0; i < step->stop && ends_with(l->text, step->mark); i++) l->text.count -= step->mark.count;
}

static leat_status take_byte(lone_token *l, leat_error *error)
{
    char byte;
    if (!is_byte_token(l->text, &byte)) return LEAT_OK;
    TRY(text_buffer_append(&l->bytes, &byte, 1, error));
    l->text = slice_of(&l->bytes);
    l->is_bytes = true;
    return LEAT_OK;
}

static leat_status run_lone_step(const decode_step *step, lone_token *l, leat_error *error)
{
    const text_slice space = {" ", 1};
    switch (step->kind) {
    case DECODE_SPACED: return LEAT_OK;
    case DECODE_FUSE: l->is_fused = true; return LEAT_OK;
    case DECODE_STRIP:
        if (!l->is_fused) strip_lone(step, l);
        return LEAT_OK;
    case DECODE_BYTE_LEVEL:
        TRY(append_byte_level(l->text, is_raw(step, l->flags), &l->bytes, error));
        l->text = slice_of(&l->bytes);
        l->is_bytes = true;
        return LEAT_OK;
    case DECODE_BYTE_FALLBACK: return take_byte(l, error);
    case DECODE_PIECES:
        if ((l->flags & VOCABULARY_BYTE) != 0) TRY(take_byte(l, error));
        return l->is_bytes ? LEAT_OK : replace_in(&l->text, step->mark, space, l->scratch, error);
    case DECODE_METASPACE:
    case DECODE_BPE: return replace_in(&l->text, step->mark, space, l->scratch, error);
    case DECODE_WORDPIECE: return l->is_fused ? LEAT_OK : space_word(step, &l->text, l->scratch, error);
    case DECODE_CTC: return clean_ctc(step, &l->text, l->scratch, error);
    case DECODE_REPLACE:
        return step->expression != NULL ? replace_matches_in(step, &l->text, &l->matches, l->scratch, error)
                                        : replace_in(&l->text, step->mark, step->content, l->scratch, error);
    }
    return FAIL(error, INTERNAL, "a decoder step of kind %d", (int)step->kind);
}

leat_status decode_alone(const decode_plan *plan, mem *ledger, text_slice token, unsigned flags, text_buffer *out,
                         leat_error *error)
{
    lone_token l = {.text = token, .flags = flags};
    leat_status status = LEAT_OK;
    text_buffer_init(&l.bytes, ledger);
    for (int i = 0; i < 2; i++) text_buffer_init(&l.scratch[i], ledger);
    for (uint32_t i = 0; i < plan->count && !l.is_bytes; i++) TRY_OR(out, run_lone_step(&plan->steps[i], &l, error));
    status = text_buffer_append(out, l.text.bytes, l.text.count, error);
out:
    for (int i = 0; i < 2; i++) text_buffer_reset(&l.scratch[i]);
    text_buffer_reset(&l.bytes);
    regex_scratch_reset(&l.matches);
    return status;
}

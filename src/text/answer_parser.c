/*
 * answer_parser.c - the state machine of answer_parser.h.
 *
 * What has been pushed and not handed on lies in `raw` from `begin`. A turn looks at it from the front and either hands
 * something on, changes the state, or waits for more. What waits is short: a possible beginning of a marker, newlines
 * that may belong to one, at most FRESH_SPACE_MAX of white space where nothing was said yet, an unfinished character;
 * and in CALL the call. Every decision depends on the bytes alone, never on where a push ended.
 *
 * Calls that begin in a thought are on trial: models forget to close a thought, and they write about calls in it. When
 * nothing but calls follows up to the answer's end, the thought ended before them, and they are read once more to be
 * handed on; else all of it is reasoning.
 */
#include "text/answer_parser.h"

#include "text/answer/answer_format.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <assert.h>
#include <string.h>

enum { FRESH_SPACE_MAX = 64, TAIL_BYTES_MAX = 64 };

typedef enum parser_state { IN_TEXT, IN_REASONING, IN_CALL } parser_state;

typedef struct sink_ref {
    answer_sink *fn;
    void *user;
} sink_ref;

struct answer_parser {
    mem *ledger;
    const answer_format *format;
    tool_types types;
    bool has_tools;
    text_buffer raw;
    uint64_t begin;
    parser_state state;
    bool is_fresh;   /* nothing but white space since the beginning, a thought or a call */
    bool is_first;   /* ... since the beginning */
    bool after_call; /* the white space is behind a call */
    bool has_text;   /* text was handed on */
    bool is_ended;
    bool skips_space; /* a space at `begin` is the prompt's */
    bool in_thought;  /* the call began inside of a thought */
    bool on_trial;    /* ... and counts only if the thought never goes on; IN_REASONING: what is left is behind it */
    uint64_t trial_begin, trial_call; /* what is reasoning then, and the first mark of a call in it */
    bool is_wrapped;                  /* the mark that closes the text may come */
    uint32_t strip;                   /* newlines at `begin` that belong to the markup before them */
    bool begins_mark[256];
    call_cursor cursor;
};

typedef enum turn_result { TURN_AGAIN, TURN_WAIT } turn_result;

/* ---- handing on ----------------------------------------------------------------------------------------------- */

static leat_status hand_on(answer_parser *p, answer_kind kind, uint64_t end, sink_ref sink, leat_error *error)
{
    answer_event event = {.kind = kind, .text = p->raw.bytes + p->begin, .text_bytes = end - p->begin};
    if (event.text_bytes == 0) return LEAT_OK;
    if (kind == ANSWER_TEXT) p->has_text = true;
    p->begin = end;
    return sink.fn(sink.user, &event, error);
}

static leat_status hand_on_call(call_cursor *c, sink_ref sink, leat_error *error)
{
    answer_event event = {.kind = ANSWER_CALL,
                          .text = c->arguments.bytes,
                          .text_bytes = c->arguments.count,
                          .call_name = c->name.bytes,
                          .call_id = c->id.count > 0 ? c->id.bytes : NULL};
    return sink.fn(sink.user, &event, error);
}

/* The last place up to `end` where no character is cut in two. Bytes that are no UTF-8 are cut anywhere. */
static uint64_t whole_characters(const answer_parser *p, uint64_t end)
{
    for (uint64_t back = 1; back <= 3 && back <= end - p->begin; back++) {
        unsigned char c = (unsigned char)p->raw.bytes[end - back];
        if (c < 0x80) return end;
        if (c < 0xc0) continue;
        uint64_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        return length > back ? end - back : end;
    }
    return end;
}

static uint64_t without_newlines(const answer_parser *p, uint64_t end, uint32_t count)
{
    while (count-- > 0 && end > p->begin && p->raw.bytes[end - 1] == '\n') end--;
    return end;
}

/* ---- markers -------------------------------------------------------------------------------------------------- */

typedef enum marker_kind {
    NO_MARKER, /* the text ends, or a marker may begin here */
    THINK_OPEN,
    THINK_CLOSE,
    CALL_OPEN,
    WRAP_OPEN,
    DROPPED,
    ANSWER_END
} marker_kind;

typedef struct marker {
    marker_kind kind;
    uint64_t at, length;
    const answer_opener *opener;
} marker;

typedef enum match { MATCH_NO, MATCH_PART, MATCH_FULL } match;

static match match_at(const answer_parser *p, uint64_t at, const char *text)
{
    size_t length = strlen(text);
    uint64_t there = min_u64(length, p->raw.count - at);
    if (memcmp(p->raw.bytes + at, text, there) != 0) return MATCH_NO;
    if (there == length) return MATCH_FULL;
    return p->is_ended ? MATCH_NO : MATCH_PART;
}

/* The longest of the marks that end a turn. */
static match match_end(const answer_parser *p, uint64_t at, uint64_t *out_length)
{
    const answer_format *f = p->format;
    match best = MATCH_NO;
    *out_length = 0;
    for (size_t i = 0; i <= ANSWER_WORDS_MAX; i++) {
        const char *mark = i < ANSWER_WORDS_MAX ? f->ends[i] : p->is_wrapped ? f->wrap_close : NULL;
        match found = mark ? match_at(p, at, mark) : MATCH_NO;
        if (found == MATCH_FULL && strlen(mark) > *out_length) *out_length = strlen(mark);
        if (found > best) best = found;
    }
    return best;
}

/* Whether all that is left are marks that end a turn, with white space behind them. */
static match match_tail(const answer_parser *p, uint64_t at)
{
    uint64_t length;
    if (p->raw.count - at > TAIL_BYTES_MAX) return MATCH_NO;
    for (uint64_t i = at; i < p->raw.count; i += length) {
        length = 1;
        if (i > at && json_is_space(p->raw.bytes[i])) continue;
        match found = match_end(p, i, &length);
        if (found != MATCH_FULL) return found;
    }
    return MATCH_FULL;
}

/* Takes a match into the marker found at `at`: a whole one wins over a part. */
static void note(marker *m, match found, marker_kind kind, uint64_t length)
{
    if (found == MATCH_NO || m->kind != NO_MARKER) return;
    m->length = found == MATCH_FULL ? length : 0;
    m->kind = found == MATCH_FULL ? kind : NO_MARKER;
}

/* Families whose thoughts end with a message know no other end. */
static bool may_be_tried(const answer_format *format, const answer_opener *opener)
{
    return !format->header && !opener->is_structure && !opener->only_first;
}

static bool is_active(const answer_parser *p, const answer_opener *opener, bool at_front)
{
    if (!opener->text || !(p->has_tools || opener->is_structure)) return false;
    if (p->state == IN_REASONING && !opener->ends_thought && !may_be_tried(p->format, opener)) return false;
    return !opener->only_first || (p->is_first && at_front);
}

/* Whether a marker, or what may become one, stands at `at`. `at_front`: only white space lies between. */
static bool find_at(const answer_parser *p, uint64_t at, bool at_front, marker *m)
{
    const answer_format *f = p->format;
    bool any = false;
#define NOTE(marker_text, marker_kind)                                                                                 \
    do {                                                                                                               \
        match found = match_at(p, at, (marker_text));                                                                  \
        any = any || found != MATCH_NO;                                                                                \
        note(m, found, (marker_kind), strlen(marker_text));                                                            \
    } while (0)
    match tail = match_tail(p, at);
    any = tail != MATCH_NO;
    note(m, tail, ANSWER_END, p->raw.count - at);
    if (p->state == IN_REASONING) {
        NOTE(f->think_close, THINK_CLOSE);
        if (f->think_next && !f->header) NOTE(f->think_next, THINK_CLOSE);
        for (size_t i = 0; f->is_harmony && f->drops[i]; i++) NOTE(f->drops[i], THINK_CLOSE);
    }
    if (p->state == IN_TEXT && at_front) {
        if (f->think_open) NOTE(f->think_open, THINK_OPEN);
        if (f->think_open && p->is_first) NOTE(f->think_close, THINK_CLOSE);
        if (f->wrap_open && !p->is_first) NOTE(f->wrap_open, WRAP_OPEN);
    }
    for (size_t i = 0; i < ANSWER_OPENERS_MAX; i++)
        if (is_active(p, &f->openers[i], at_front)) {
            NOTE(f->openers[i].text, CALL_OPEN);
            if (m->kind == CALL_OPEN && !m->opener) m->opener = &f->openers[i];
        }
    for (size_t i = 0; p->state == IN_TEXT && i < ANSWER_WORDS_MAX && f->drops[i]; i++) NOTE(f->drops[i], DROPPED);
#undef NOTE
    return any;
}

static uint64_t end_of_space(const answer_parser *p)
{
    uint64_t at = p->begin;
    while (at < p->raw.count && json_is_space(p->raw.bytes[at])) at++;
    return at;
}

/* The next marker; without one, `at` is where the text ends or where a marker may begin. */
static marker find_marker(const answer_parser *p, uint64_t front)
{
    for (uint64_t at = p->begin; at < p->raw.count; at++) {
        marker m = {.at = at};
        if (p->begins_mark[(unsigned char)p->raw.bytes[at]] && find_at(p, at, at == front, &m)) return m;
    }
    return (marker){.at = p->raw.count};
}

/* ---- text and reasoning --------------------------------------------------------------------------------------- */

static void enter_text(answer_parser *p, uint32_t strip)
{
    p->state = IN_TEXT;
    p->is_fresh = true;
    p->is_first = false;
    p->after_call = false;
    p->strip = strip;
}

static void enter_reasoning(answer_parser *p)
{
    p->state = IN_REASONING;
    p->is_first = false;
    p->strip = p->format->lead;
}

static void enter_call(answer_parser *p, const marker *m)
{
    call_cursor *c = &p->cursor;
    text_buffer name = c->name, arguments = c->arguments, id = c->id, key = c->key;
    *c = (call_cursor){.ledger = p->ledger,
                       .types = &p->types,
                       .shape = m->opener->shape,
                       .reader = m->opener->reader,
                       .has_tools = p->has_tools,
                       .at_front = p->is_fresh,
                       .at = m->at - p->begin + (m->opener->is_kept ? 0 : m->length),
                       .name = name,
                       .arguments = arguments,
                       .id = id,
                       .key = key};
    c->mark = c->at;
    call_begin(c);
    p->in_thought = p->state == IN_REASONING;
    p->state = IN_CALL;
}

static void enter_trial(answer_parser *p, const marker *m)
{
    p->on_trial = true;
    p->trial_begin = p->begin;
    p->trial_call = m->at;
}

/* Newlines that an earlier marker wants dropped, and the space that the prompt ends without. */
static turn_result strip_newlines(answer_parser *p)
{
    if (p->skips_space && p->begin < p->raw.count) {
        if (p->raw.bytes[p->begin] == ' ') p->begin++;
        p->skips_space = false;
    }
    while (p->strip > 0 && p->begin < p->raw.count && p->raw.bytes[p->begin] == '\n') {
        p->begin++;
        p->strip--;
    }
    if (p->begin == p->raw.count) return TURN_WAIT;
    p->strip = 0;
    return TURN_AGAIN;
}

static void act_on(answer_parser *p, const marker *m)
{
    switch (m->kind) {
    case THINK_OPEN:
        p->begin = m->at + m->length;
        enter_reasoning(p);
        break;
    case THINK_CLOSE:
        p->begin = m->at + m->length;
        enter_text(p, p->format->after);
        p->is_wrapped = !p->format->wrap_open;
        break;
    case CALL_OPEN: enter_call(p, m); break;
    case WRAP_OPEN:
        p->begin = m->at + m->length;
        p->is_wrapped = true;
        break;
    default: p->begin = m->at + m->length; break;
    }
}

/* How far text may be handed on before what was found. */
static uint64_t text_end(const answer_parser *p, const marker *m)
{
    uint64_t end = m->at;
    bool may_end = m->kind == NO_MARKER || m->kind == ANSWER_END;
    bool may_be_call = m->kind == CALL_OPEN || (may_end && !p->is_ended);
    uint32_t newlines = may_be_call && p->has_tools ? p->format->before_call : 0;
    if (may_end && newlines < p->format->before_end) newlines = p->format->before_end;
    if (m->kind == NO_MARKER && end == p->raw.count && !p->is_ended) end = whole_characters(p, end);
    return without_newlines(p, end, newlines);
}

/* White space where nothing was said yet: markup if a marker follows or the answer ends, text if text does. False: it
 * must wait for what follows. */
static bool settle_space(answer_parser *p, const marker *m, uint64_t front)
{
    bool is_certain = m->kind != NO_MARKER && (m->kind != ANSWER_END || p->is_ended);
    bool is_over = p->is_ended && front == p->raw.count;
    if (m->at == front && !is_certain && !is_over) return false;
    bool is_markup = m->at == front && (is_certain || p->after_call);
    if (is_markup ? m->kind != CALL_OPEN : p->after_call && !p->has_text) p->begin = front;
    if (!is_markup) p->is_fresh = p->is_first = false;
    return true;
}

static leat_status turn_text(answer_parser *p, sink_ref sink, turn_result *out, leat_error *error)
{
    uint64_t front = end_of_space(p);
    if (front - p->begin > FRESH_SPACE_MAX) p->is_fresh = p->is_first = false;
    marker m = find_marker(p, p->is_fresh ? front : UINT64_MAX);
    *out = TURN_WAIT;
    if (p->is_fresh && !settle_space(p, &m, front)) return LEAT_OK;
    bool drops_space = m.kind == CALL_OPEN && p->is_fresh;
    if (!drops_space) TRY(hand_on(p, ANSWER_TEXT, text_end(p, &m), sink, error));
    if (m.kind == NO_MARKER || (m.kind == ANSWER_END && !p->is_ended)) return LEAT_OK;
    act_on(p, &m);
    *out = TURN_AGAIN;
    return LEAT_OK;
}

/* Newlines before what was found in a thought that belong to it, or may. */
static uint32_t thought_newlines(const answer_parser *p, const marker *m)
{
    const answer_format *f = p->format;
    bool may_be_call = m->kind == CALL_OPEN ? !m->opener->ends_thought : m->kind != THINK_CLOSE && !f->header;
    return p->has_tools && may_be_call && f->before_call > f->trail ? f->before_call : f->trail;
}

static leat_status turn_reasoning(answer_parser *p, sink_ref sink, turn_result *out, leat_error *error)
{
    marker m = find_marker(p, UINT64_MAX);
    bool is_cut_off = p->is_ended && (m.kind == NO_MARKER || m.kind == ANSWER_END);
    uint64_t end = m.at;
    if (m.kind == NO_MARKER && end == p->raw.count && !p->is_ended) end = whole_characters(p, end);
    if (!is_cut_off) end = without_newlines(p, end, thought_newlines(p, &m));
    TRY(hand_on(p, ANSWER_REASONING, end, sink, error));
    *out = TURN_WAIT;
    if (m.kind == NO_MARKER || (m.kind == ANSWER_END && !p->is_ended)) return LEAT_OK;
    if (m.kind == CALL_OPEN && !m.opener->ends_thought) enter_trial(p, &m);
    act_on(p, &m);
    *out = TURN_AGAIN;
    return LEAT_OK;
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

/* What the reader has passed and nobody was given comes out as what it stood in. */
static leat_status give_back(answer_parser *p, uint64_t count, sink_ref sink, leat_error *error)
{
    uint64_t end = p->begin + count;
    if (end < p->raw.count || !p->is_ended) end = max_u64(whole_characters(p, end), p->begin);
    if (p->on_trial) p->begin = p->trial_begin;
    p->on_trial = false;
    TRY(hand_on(p, p->in_thought ? ANSWER_REASONING : ANSWER_TEXT, end, sink, error));
    p->state = p->in_thought ? IN_REASONING : IN_TEXT;
    p->is_fresh = p->is_first = false;
    return LEAT_OK;
}

static leat_status end_call(answer_parser *p, sink_ref sink, leat_error *error)
{
    if (!p->on_trial) TRY(hand_on_call(&p->cursor, sink, error));
    if (p->cursor.keeps_text) return LEAT_OK;
    p->begin += p->cursor.at;
    p->cursor.at = p->cursor.mark = 0;
    return LEAT_OK;
}

static void leave_call(answer_parser *p, call_step step)
{
    p->begin += p->cursor.at;
    if (p->on_trial) {
        p->state = IN_REASONING;
        return;
    }
    if (step == CALL_IS_REASONING) {
        enter_reasoning(p);
        return;
    }
    enter_text(p, 0);
    p->after_call = step == CALL_END;
    if (step == CALL_IS_TEXT) p->is_fresh = false; /* white space is the message's own */
}

static leat_status turn_call(answer_parser *p, sink_ref sink, turn_result *out, leat_error *error)
{
    call_cursor *c = &p->cursor;
    call_step step;
    uint64_t there = p->raw.count - p->begin, tried = p->on_trial ? p->begin - p->trial_begin : 0;
    c->text = p->raw.bytes + p->begin;
    c->count = min_u64(there, ANSWER_CALL_BYTES_MAX - min_u64(tried, ANSWER_CALL_BYTES_MAX));
    c->at_end = p->is_ended && there == c->count;
    TRY(c->reader(c, &step, error));
    *out = TURN_AGAIN;
    switch (step) {
    case CALL_READY: return end_call(p, sink, error);
    case CALL_BAD: return give_back(p, p->is_ended && c->at_end ? c->count : c->at, sink, error);
    case CALL_MORE:
        if (c->count < there || there == ANSWER_CALL_BYTES_MAX) return give_back(p, c->count, sink, error);
        *out = TURN_WAIT;
        return LEAT_OK;
    default: leave_call(p, step); return LEAT_OK;
    }
}

/* Behind calls on trial: a further one, or the answer's end, or the thought goes on. */
static leat_status turn_trial(answer_parser *p, sink_ref sink, turn_result *out, leat_error *error)
{
    uint64_t front = end_of_space(p);
    marker m = {.kind = ANSWER_END, .at = front};
    bool may_be_mark = front == p->raw.count;
    if (!may_be_mark) {
        m.kind = NO_MARKER;
        may_be_mark = find_at(p, front, true, &m);
    }
    bool is_over = m.kind == ANSWER_END && p->is_ended;
    bool is_long = front - p->begin > FRESH_SPACE_MAX;
    *out = TURN_AGAIN;
    if (!is_long && m.kind == CALL_OPEN && may_be_tried(p->format, m.opener))
        enter_call(p, &m);
    else if (is_over) {
        p->on_trial = false;
        p->begin = p->trial_call;
        enter_text(p, 0);
    } else if (is_long || !may_be_mark || m.kind == THINK_CLOSE || m.kind == CALL_OPEN)
        return give_back(p, 0, sink, error);
    else
        *out = TURN_WAIT;
    return LEAT_OK;
}

/* ---- the loop ------------------------------------------------------------------------------------------------- */

static leat_status turn(answer_parser *p, sink_ref sink, turn_result *out, leat_error *error)
{
    *out = TURN_WAIT;
    if (p->state == IN_CALL) return turn_call(p, sink, out, error);
    if (p->on_trial) return turn_trial(p, sink, out, error);
    if (strip_newlines(p) == TURN_WAIT) return LEAT_OK;
    return p->state == IN_TEXT ? turn_text(p, sink, out, error) : turn_reasoning(p, sink, out, error);
}

/* Moves what waits to the front once that is cheap. */
static void drop_handed_on(answer_parser *p)
{
    if (p->on_trial || (p->begin < p->raw.count && p->begin < 4096)) return;
    if (p->begin < p->raw.count - p->begin) return;
    memmove(p->raw.bytes, p->raw.bytes + p->begin, p->raw.count - p->begin);
    p->raw.count -= p->begin;
    p->begin = 0;
}

static leat_status run(answer_parser *p, sink_ref sink, leat_error *error)
{
    turn_result result = TURN_AGAIN;
    while (result == TURN_AGAIN) TRY(turn(p, sink, &result, error));
    return LEAT_OK;
}

leat_status answer_parser_push(answer_parser *p, const char *text, uint64_t text_bytes, answer_sink *sink, void *user,
                               leat_error *error)
{
    enum { SLICE = 64 * 1024 };
    assert(!p->is_ended);
    for (uint64_t at = 0; at < text_bytes;) {
        uint64_t count = min_u64(SLICE, text_bytes - at); /* so that one long push is not kept twice */
        drop_handed_on(p);
        TRY(text_buffer_append(&p->raw, text + at, count, error));
        TRY(run(p, (sink_ref){sink, user}, error));
        at += count;
    }
    return LEAT_OK;
}

leat_status answer_parser_finish(answer_parser *p, answer_sink *sink, void *user, leat_error *error)
{
    assert(!p->is_ended);
    p->is_ended = true;
    return run(p, (sink_ref){sink, user}, error);
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* An opening mark at the prompt's end begins a thought, a closing one has ended it; newlines behind it are counted. */
static void begin_by_tags(answer_parser *p, const char *prompt, uint64_t count)
{
    uint32_t newlines;
    if (answer_format_leaves_thought(p->format, prompt, count, &newlines)) {
        enter_reasoning(p);
        p->strip -= (uint32_t)min_u64(newlines, p->strip);
    } else if (answer_ends_with(prompt, count - newlines, p->format->think_close)) {
        uint32_t after = p->format->after;
        enter_text(p, after - (uint32_t)min_u64(newlines, after));
        p->is_first = true;
        p->is_wrapped = !p->format->wrap_open;
    } else
        p->skips_space = p->format->begins_with_space && !answer_ends_with(prompt, count, " ");
}

/* The header that the prompt leaves open, or none. */
static void begin_by_header(answer_parser *p, const char *prompt, uint64_t count)
{
    marker m = {.kind = CALL_OPEN, .opener = &p->format->openers[0]};
    uint32_t newlines;
    if (count == 0 || answer_ends_with(prompt, count, p->format->header)) enter_call(p, &m);
    if (answer_format_leaves_thought(p->format, prompt, count, &newlines)) enter_reasoning(p);
}

static void note_first(answer_parser *p, const char *mark)
{
    if (mark) p->begins_mark[(unsigned char)mark[0]] = true;
}

/* The first bytes of all marks: most of a text is passed over by them alone. */
static void note_marks(answer_parser *p)
{
    const answer_format *f = p->format;
    const char *const alone[] = {f->think_open, f->think_close, f->wrap_open, f->wrap_close};
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) note_first(p, alone[i]);
    for (size_t i = 0; i < ANSWER_OPENERS_MAX; i++) note_first(p, f->openers[i].text);
    for (size_t i = 0; i < ANSWER_WORDS_MAX; i++) {
        note_first(p, f->drops[i]);
        note_first(p, f->ends[i]);
    }
}

static leat_status open_buffers(answer_parser *p, leat_error *error)
{
    text_buffer *buffers[] = {&p->raw, &p->cursor.name, &p->cursor.arguments, &p->cursor.id, &p->cursor.key};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        text_buffer_init(buffers[i], p->ledger);
        TRY(text_buffer_append(buffers[i], "", 0, error)); /* so that there is a text */
    }
    return LEAT_OK;
}

leat_status answer_parser_open(mem *ledger, const answer_format *format, const answer_options *options,
                               answer_parser **out_parser, leat_error *error)
{
    answer_parser *p = NULL;
    leat_status status;
    TRY(MEM_NEW(ledger, TOKENIZER, 1, &p, error));
    *p =
        (answer_parser){.ledger = ledger, .format = format, .types.ledger = ledger, .is_fresh = true, .is_first = true};
    TRY_OR(fail, open_buffers(p, error));
    if (options->tools) TRY_OR(fail, tool_types_read(&p->types, options->tools, options->tools_bytes, error));
    p->has_tools = p->types.tool_count > 0;
    note_marks(p);
    if (format->header)
        begin_by_header(p, options->prompt, options->prompt ? options->prompt_bytes : 0);
    else if (options->prompt)
        begin_by_tags(p, options->prompt, options->prompt_bytes);
    *out_parser = p;
    return LEAT_OK;
fail:
    answer_parser_close(&p);
    return status;
}

void answer_parser_close(answer_parser **parser)
{
    answer_parser *p = *parser;
    if (!p) return;
    text_buffer *buffers[] = {&p->raw, &p->cursor.name, &p->cursor.arguments, &p->cursor.id, &p->cursor.key};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i]->ledger) text_buffer_reset(buffers[i]);
    tool_types_reset(&p->types);
    mem_free(p->ledger, p);
    *parser = NULL;
}

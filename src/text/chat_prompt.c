/*
 * chat_prompt.c - the prompt is cut into pieces: the texts of control tokens within data, and what lies between them.
 *
 * A piece between is encoded in one go, and then compared: its control tokens have to be those that the template wrote
 * in it, in that order. If they are not - data and template met in the middle of a token, a normalizer made one, a
 * longer token swallowed one of the template's - the piece is encoded again, cut at every border between template and
 * data, with no added token recognised in data. So every byte is encoded at most twice.
 */
#include "text/chat_prompt.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_class.h"

#include <string.h>

struct chat_controls {
    mem *ledger;
    const tokenizer *t;
    token_matcher *matcher; /* NULL where there is no control token */
    uint32_t *ids;          /* (count) of the matcher's patterns */
    uint32_t count;
    uint64_t *is_control; /* (id_count / 64 + 1) a bit an id */
    uint32_t id_count;
    token_list newline; /* the ids of "\n" */
};

/* ---- which tokens ---- */

static bool is_space_only(const char *text, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes;) {
        uint32_t scalar;
        size_t length = utf8_decode(text + at, bytes - at, &scalar, NULL);
        if (length == 0 || !unicode_is_python_space(scalar)) return false;
        at += length;
    }
    return true;
}

static bool is_control(const added_token *token, const jinja_template *first, const jinja_template *second)
{
    if ((token->flags & ADDED_TOKEN_SPECIAL) != 0) return true;
    if (is_space_only(token->content, token->content_bytes)) return false;
    return jinja_mentions(first, token->content) || (second != NULL && jinja_mentions(second, token->content));
}

/* The added tokens and, behind them, a SentencePiece model's control pieces. */
static const added_token *listed_tokens(const tokenizer *t, uint32_t *out_count)
{
    *out_count = t->control_matcher != NULL ? t->control_count : t->added_count;
    return t->control_matcher != NULL ? t->controls : t->added;
}

/* A piece that a SentencePiece model takes wherever its text stands, and that the template writes, such as [INST]. A
 * single character has no other form. */
static bool is_control_piece(const tokenizer *t, uint32_t id, const jinja_template *first, const jinja_template *second)
{
    if ((t->vocab.flags[id] & (VOCABULARY_KEPT | VOCABULARY_ADDED)) != VOCABULARY_KEPT) return false;
    const char *text = vocabulary_text(&t->vocab, id);
    const uint64_t bytes = strlen(text);
    const added_token as_added = {.content = text, .content_bytes = (uint32_t)bytes};
    return utf8_decode(text, bytes, &(uint32_t){0}, NULL) != bytes && is_control(&as_added, first, second);
}

static void add_control(chat_controls *c, token_pattern *patterns, uint32_t id, const char *text, uint64_t bytes)
{
    c->ids[c->count] = id;
    patterns[c->count++] = (token_pattern){text, (uint32_t)bytes};
    c->is_control[id / 64] |= UINT64_C(1) << id % 64;
}

static uint32_t controls_max(const tokenizer *t)
{
    uint32_t count;
    listed_tokens(t, &count);
    for (uint32_t id = 0; t->rules.has_kept && id < t->vocab.id_count; id++)
        count += (t->vocab.flags[id] & VOCABULARY_KEPT) != 0;
    return count;
}

static leat_status collect_controls(chat_controls *c, const jinja_template *first, const jinja_template *second,
                                    token_pattern *patterns, leat_error *error)
{
    const tokenizer *t = c->t;
    uint32_t count;
    const added_token *tokens = listed_tokens(t, &count);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i].id < c->id_count && (i >= t->added_count || is_control(&tokens[i], first, second)))
            add_control(c, patterns, tokens[i].id, tokens[i].content, tokens[i].content_bytes);
    for (uint32_t id = 0; t->rules.has_kept && id < t->vocab.id_count; id++) {
        const char *text = vocabulary_has(&t->vocab, id) ? vocabulary_text(&t->vocab, id) : NULL;
        if (text != NULL && is_control_piece(t, id, first, second)) add_control(c, patterns, id, text, strlen(text));
    }
    if (c->count == 0) return LEAT_OK;
    if (c->count > ADDED_TOKEN_LIMIT)
        return FAIL(error, MODEL, "%s: %u control tokens, at most %d are supported", t->name, c->count,
                    ADDED_TOKEN_LIMIT);
    return token_matcher_open(c->ledger, t->vocab.seed, patterns, c->count, &c->matcher, error);
}

leat_status chat_controls_open(mem *ledger, const tokenizer *t, const jinja_template *first,
                               const jinja_template *second, chat_controls **out, leat_error *error)
{
    chat_controls *c;
    token_pattern *patterns = NULL;
    leat_status status = LEAT_OK;
    TRY(MEM_NEW(ledger, TOKENIZER, 1, &c, error));
    c->ledger = ledger;
    c->t = t;
    c->id_count = tokenizer_id_count(t);
    token_list_init(&c->newline, ledger);
    TRY_OR(done, MEM_NEW(ledger, TOKENIZER, c->id_count / 64 + 1, &c->is_control, error));
    TRY_OR(done, MEM_NEW(ledger, TOKENIZER, controls_max(t), &c->ids, error));
    TRY_OR(done, MEM_NEW(ledger, TOKENIZER, controls_max(t), &patterns, error));
    TRY_OR(done, collect_controls(c, first, second, patterns, error));
    TRY_OR(done, tokenizer_encode(t, "\n", 1, 0, &c->newline, error));
done:
    mem_free(ledger, patterns);
    if (status == LEAT_OK)
        *out = c;
    else
        chat_controls_close(&c);
    return status;
}

void chat_controls_close(chat_controls **controls)
{
    chat_controls *c = *controls;
    if (c == NULL) return;
    token_matcher_close(&c->matcher);
    token_list_reset(&c->newline);
    mem_free(c->ledger, c->is_control);
    mem_free(c->ledger, c->ids);
    mem_free(c->ledger, c);
    *controls = NULL;
}

bool chat_controls_has(const chat_controls *c, uint32_t id)
{
    return id < c->id_count && (c->is_control[id / 64] >> id % 64 & 1) != 0;
}

/* ---- encoding ---- */

/* A run of the prompt that is all data or all template. */
typedef struct prompt_run {
    uint64_t begin, end;
    bool is_data;
} prompt_run;

/* The plain ids of control tokens that messages held before: a message full of one must not cost an encoding each. */
enum { REMEMBERED_COUNT = 16 };
/* How often a prompt's data may be cut apart, each time at the price of encoding the halves. */
enum { CUTS_MAX = 1 << 12 };
typedef struct remembered_ids {
    uint64_t begin, count; /* in prompt_encoder.remembered; 0: none */
    uint32_t pattern;
} remembered_ids;

typedef struct prompt_encoder {
    const chat_controls *controls;
    tokenizer_encoder *words;
    const char *text;
    token_list *out_ids;
    token_list ids;      /* of one piece */
    token_list expected; /* control tokens that the template wrote in the piece */
    text_buffer lead;    /* a newline and a piece */
    token_search search;
    uint32_t cut_count;
    token_list remembered;
    remembered_ids places[REMEMBERED_COUNT];
    prompt_run *runs; /* (run_count) of the piece */
    uint64_t run_count, run_capacity;
} prompt_encoder;

/* Templates write "<|" ~ message.role ~ "|>". A role is one of few words, which forge nothing by themselves. */
static bool is_role(const char *text, uint64_t bytes)
{
    static const char *const roles[] = {"user", "assistant", "system", "tool", "developer", "model", "ipython"};
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++)
        if (strlen(roles[i]) == bytes && memcmp(roles[i], text, bytes) == 0) return true;
    return false;
}

/* In the middle of a prompt: encoded behind a newline that is taken away again, so that no space is put in front of it
 * as at the beginning of a text. */
static leat_status encode_piece(prompt_encoder *e, uint64_t begin, uint64_t end, bool is_plain, leat_error *error)
{
    const token_list *newline = &e->controls->newline;
    const unsigned flags = is_plain ? TOKENIZER_PLAIN : TOKENIZER_CONTROLS;
    e->ids.count = 0;
    if (begin == 0 && !is_plain) return tokenizer_encoder_run(e->words, e->text, end, flags, &e->ids, error);
    e->lead.count = 0;
    TRY(text_buffer_append(&e->lead, "\n", 1, error));
    TRY(text_buffer_append(&e->lead, e->text + begin, end - begin, error));
    TRY(tokenizer_encoder_run(e->words, e->lead.bytes, e->lead.count, flags, &e->ids, error));
    if (e->ids.count >= newline->count && newline->count > 0 &&
        memcmp(e->ids.ids, newline->ids, newline->count * sizeof *newline->ids) == 0) {
        e->ids.count -= newline->count;
        memmove(e->ids.ids, e->ids.ids + newline->count, e->ids.count * sizeof *e->ids.ids);
        return LEAT_OK;
    }
    e->ids.count = 0;
    return tokenizer_encoder_run(e->words, e->text + begin, end - begin, flags, &e->ids, error);
}

static leat_status take_ids(prompt_encoder *e, leat_error *error)
{
    for (uint64_t i = 0; i < e->ids.count; i++) TRY(token_list_push(e->out_ids, e->ids.ids[i], error));
    return LEAT_OK;
}

/* The control token among the ids of a piece, or VOCABULARY_NO_ID. */
static uint32_t first_control(const prompt_encoder *e)
{
    for (uint64_t i = 0; i < e->ids.count; i++)
        if (chat_controls_has(e->controls, e->ids.ids[i])) return e->ids.ids[i];
    return VOCABULARY_NO_ID;
}

/* The border between characters that is nearest behind the middle, `end` where there is none. */
static uint64_t middle_of(const char *text, uint64_t begin, uint64_t end)
{
    uint64_t middle = begin + (end - begin) / 2;
    if (middle == begin) middle++;
    while (middle < end && ((unsigned char)text[middle] & 0xc0) == 0x80) middle++;
    return middle;
}

/* Data with no added token recognised. Where the vocabulary makes a control token even so - a piece of SentencePiece
 * that is taken wherever it stands, a normalizer - the text is cut in the middle until it does not. */
static leat_status encode_plain(prompt_encoder *e, uint64_t begin, uint64_t end, leat_error *error)
{
    TRY(encode_piece(e, begin, end, true, error));
    const uint32_t control = first_control(e);
    if (control == VOCABULARY_NO_ID) return take_ids(e, error);
    const uint64_t middle = middle_of(e->text, begin, end);
    if (middle >= end || e->cut_count == CUTS_MAX)
        return FAIL(error, USAGE, "a message holds text that the vocabulary turns into the control token %s",
                    tokenizer_token_text(e->controls->t, control, NULL));
    e->cut_count++;
    TRY(encode_plain(e, begin, middle, error)); /* as deep as a text can be halved */
    return encode_plain(e, middle, end, error);
}

/* The text of a control token within data. */
static leat_status encode_control_text(prompt_encoder *e, uint32_t pattern, uint64_t begin, uint64_t end,
                                       leat_error *error)
{
    remembered_ids *place = &e->places[pattern % REMEMBERED_COUNT];
    if (place->count == 0 || place->pattern != pattern) {
        const uint64_t first = e->out_ids->count;
        TRY(encode_plain(e, begin, end, error));
        *place = (remembered_ids){e->remembered.count, e->out_ids->count - first, pattern};
        for (uint64_t i = first; i < e->out_ids->count; i++)
            TRY(token_list_push(&e->remembered, e->out_ids->ids[i], error));
        return LEAT_OK;
    }
    for (uint64_t i = 0; i < place->count; i++)
        TRY(token_list_push(e->out_ids, e->remembered.ids[place->begin + i], error));
    return LEAT_OK;
}

static leat_status split_at_controls(prompt_encoder *e, uint64_t begin, uint64_t end, leat_error *error)
{
    const chat_controls *c = e->controls;
    e->search.parts.count = 0;
    if (c->matcher == NULL || begin == end) return LEAT_OK;
    return token_matcher_split(c->matcher, NULL, e->text + begin, end - begin, &e->search, error);
}

static leat_status expect_controls(prompt_encoder *e, uint64_t begin, uint64_t end, leat_error *error)
{
    TRY(split_at_controls(e, begin, end, error));
    for (uint64_t i = 0; i < e->search.parts.count; i++) {
        const token_span part = e->search.parts.spans[i];
        if (part.token != TOKEN_SPAN_TEXT) TRY(token_list_push(&e->expected, e->controls->ids[part.token], error));
    }
    return LEAT_OK;
}

static bool has_expected_controls(const prompt_encoder *e)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < e->ids.count; i++) {
        if (!chat_controls_has(e->controls, e->ids.ids[i])) continue;
        if (found == e->expected.count || e->expected.ids[found] != e->ids.ids[i]) return false;
        found++;
    }
    return found == e->expected.count;
}

static leat_status encode_runs_apart(prompt_encoder *e, leat_error *error)
{
    for (uint64_t i = 0; i < e->run_count; i++) {
        const prompt_run *run = &e->runs[i];
        if (run->is_data) {
            TRY(encode_plain(e, run->begin, run->end, error));
        } else {
            TRY(encode_piece(e, run->begin, run->end, false, error));
            TRY(take_ids(e, error));
        }
    }
    return LEAT_OK;
}

/* The runs collected so far are one piece. */
static leat_status end_piece(prompt_encoder *e, leat_error *error)
{
    leat_status status = LEAT_OK;
    if (e->run_count == 0) return LEAT_OK;
    e->expected.count = 0;
    for (uint64_t i = 0; i < e->run_count; i++)
        if (!e->runs[i].is_data) TRY(expect_controls(e, e->runs[i].begin, e->runs[i].end, error));
    TRY(encode_piece(e, e->runs[0].begin, e->runs[e->run_count - 1].end, false, error));
    status = has_expected_controls(e) ? take_ids(e, error) : encode_runs_apart(e, error);
    e->run_count = 0;
    return status;
}

static leat_status add_run(prompt_encoder *e, uint64_t begin, uint64_t end, bool is_data, leat_error *error)
{
    if (begin == end) return LEAT_OK;
    if (e->run_count > 0 && e->runs[e->run_count - 1].is_data == is_data) {
        e->runs[e->run_count - 1].end = end;
        return LEAT_OK;
    }
    if (e->run_count == e->run_capacity) {
        const uint64_t capacity = max_u64(64, 2 * e->run_capacity);
        void *block = e->runs;
        TRY(mem_resize(e->controls->ledger, MEM_TOKENIZER, &block, capacity, sizeof *e->runs, "prompt runs", error));
        e->runs = block;
        e->run_capacity = capacity;
    }
    e->runs[e->run_count++] = (prompt_run){begin, end, is_data};
    return LEAT_OK;
}

/* Data: the texts of control tokens in it are pieces of their own. The spans are copied first, because ending a piece
 * searches too. */
static leat_status add_data(prompt_encoder *e, uint64_t begin, uint64_t end, leat_error *error)
{
    token_search found;
    leat_status status = LEAT_OK;
    TRY(split_at_controls(e, begin, end, error));
    if (e->search.parts.count <= 1 && (e->search.parts.count == 0 || e->search.parts.spans[0].token == TOKEN_SPAN_TEXT))
        return add_run(e, begin, end, true, error);
    found = e->search;
    token_search_init(&e->search, e->controls->ledger);
    for (uint64_t i = 0; i < found.parts.count; i++) {
        const token_span part = found.parts.spans[i];
        if (part.token == TOKEN_SPAN_TEXT) {
            TRY_OR(done, add_run(e, begin + part.start, begin + part.end, true, error));
        } else {
            TRY_OR(done, end_piece(e, error));
            TRY_OR(done, encode_control_text(e, part.token, begin + part.start, begin + part.end, error));
        }
    }
done:
    token_search_reset(&found);
    return status;
}

static leat_status encode_segments(prompt_encoder *e, const jinja_output *prompt, leat_error *error)
{
    for (uint64_t i = 0; i < prompt->segment_count; i++) {
        const jinja_segment *s = &prompt->segments[i];
        if (s->is_data && !is_role(e->text + s->begin, s->end - s->begin))
            TRY(add_data(e, s->begin, s->end, error));
        else
            TRY(add_run(e, s->begin, s->end, false, error));
    }
    return end_piece(e, error);
}

leat_status chat_prompt_encode(const chat_controls *controls, const jinja_output *prompt, token_list *out_ids,
                               leat_error *error)
{
    mem *ledger = controls->ledger;
    prompt_encoder e = {.controls = controls, .text = prompt->text.bytes, .out_ids = out_ids};
    const uint64_t before = out_ids->count;
    token_list_init(&e.ids, ledger);
    token_list_init(&e.expected, ledger);
    token_list_init(&e.remembered, ledger);
    text_buffer_init(&e.lead, ledger);
    token_search_init(&e.search, ledger);
    leat_status status = tokenizer_encoder_open(controls->t, &e.words, error);
    if (status == LEAT_OK) status = encode_segments(&e, prompt, error);
    if (status != LEAT_OK) out_ids->count = before;
    tokenizer_encoder_close(&e.words);
    token_list_reset(&e.ids);
    token_list_reset(&e.expected);
    token_list_reset(&e.remembered);
    text_buffer_reset(&e.lead);
    token_search_reset(&e.search);
    mem_free(ledger, e.runs);
    return status;
}

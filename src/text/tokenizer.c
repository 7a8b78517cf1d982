/*
 * tokenizer.c - the public calls, and the way of a text through the stages (tokenizer_parts.h).
 */
#include "text/tokenizer.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <assert.h>
#include <string.h>

/* The buffers of one call. */
typedef struct encoder {
    const tokenizer *t;
    token_list *out_ids;
    regex_scratch matches;
    normalize_scratch normalize;
    pretokenize_scratch pretokenize;
    bpe_scratch bpe;
    unigram_scratch unigram;
    word_cache words;
    uint64_t steps; /* what the other parts do not count */
    token_search raw_search, normalized_search;
} encoder;

static leat_status load(tokenizer *t, const tokenizer_files *files, leat_error *error)
{
    switch (files->kind) {
    case TOKENIZER_SENTENCEPIECE: return tokenizer_load_sentencepiece(t, files, error);
    case TOKENIZER_TIKTOKEN: return tokenizer_load_tiktoken(t, files, error);
    default: return tokenizer_load(t, files->bytes, files->count, files->vocab_count, error);
    }
}

leat_status tokenizer_open_files(mem *ledger, const tokenizer_files *files, tokenizer **out_tokenizer,
                                 leat_error *error)
{
    tokenizer *t;
    TRY(MEM_NEW(ledger, TOKENIZER, 1, &t, error));
    t->ledger = ledger;
    arena_init(&t->storage, ledger, MEM_TOKENIZER, 16 * 1024);
    vocabulary_init(&t->vocab, ledger);
    bpe_init(&t->bpe, ledger, &t->vocab);
    t->unigram = (unigram_model){.ledger = ledger, .vocab = &t->vocab, .unk_id = VOCABULARY_NO_ID};
    t->wordpiece = (wordpiece_model){.vocab = &t->vocab, .unk_id = VOCABULARY_NO_ID};
    leat_status status;
    TRY_OR(out, arena_copy_text(&t->storage, files->name, strlen(files->name), &t->name, error));
    TRY_OR(out, load(t, files, error));
    *out_tokenizer = t;
    t = NULL;
out:
    tokenizer_close(&t);
    return status;
}

leat_status tokenizer_open(mem *ledger, const char *name, const char *json_text, uint64_t json_bytes,
                           uint32_t vocab_count, tokenizer **out_tokenizer, leat_error *error)
{
    const tokenizer_files files = {
        .kind = TOKENIZER_JSON, .name = name, .bytes = json_text, .count = json_bytes, .vocab_count = vocab_count};
    return tokenizer_open_files(ledger, &files, out_tokenizer, error);
}

void tokenizer_close(tokenizer **handle)
{
    tokenizer *t = *handle;
    if (t == NULL) return;
    token_matcher_close(&t->raw_matcher);
    token_matcher_close(&t->normalized_matcher);
    token_matcher_close(&t->control_matcher);
    for (uint32_t i = 0; i < t->expression_count; i++) regex_close(&t->expressions[i]);
    bpe_reset(&t->bpe);
    unigram_reset(&t->unigram);
    wordpiece_reset(&t->wordpiece);
    piece_trie_reset(&t->rules.kept);
    vocabulary_reset(&t->vocab);
    mem_free(t->ledger, t->added);
    mem_free(t->ledger, t->controls);
    arena_reset(&t->storage);
    mem_free(t->ledger, t);
    *handle = NULL;
}

leat_status tokenizer_open_expression(tokenizer *t, text_slice pattern, regex **out_expression, leat_error *error)
{
    assert(t->expression_count < ARRAY_COUNT(t->expressions));
    regex **slot = &t->expressions[t->expression_count];
    TRY(regex_open(t->ledger, t->name, pattern.bytes, pattern.count, slot, error));
    t->expression_count++;
    *out_expression = *slot;
    return LEAT_OK;
}

static void encoder_init(encoder *e, const tokenizer *t, token_list *out_ids)
{
    e->steps = 0;
    word_cache_init(&e->words, t->ledger, t->vocab.seed);
    e->t = t;
    e->out_ids = out_ids;
    e->matches = (regex_scratch){0};
    normalize_scratch_init(&e->normalize, t->ledger, &e->matches);
    pretokenize_scratch_init(&e->pretokenize, t->ledger, &e->matches);
    bpe_scratch_init(&e->bpe, t->ledger);
    e->bpe.parts = &e->words;
    unigram_scratch_init(&e->unigram, t->ledger);
    token_search_init(&e->raw_search, t->ledger);
    token_search_init(&e->normalized_search, t->ledger);
}

static void encoder_reset(encoder *e)
{
    token_search_reset(&e->raw_search);
    token_search_reset(&e->normalized_search);
    unigram_scratch_reset(&e->unigram);
    bpe_scratch_reset(&e->bpe);
    word_cache_reset(&e->words);
    pretokenize_scratch_reset(&e->pretokenize);
    normalize_scratch_reset(&e->normalize);
    regex_scratch_reset(&e->matches);
}

static leat_status ask_model(encoder *e, const char *word, uint64_t bytes, leat_error *error)
{
    const tokenizer *t = e->t;
    switch (t->model) {
    case MODEL_UNIGRAM: return unigram_encode(&t->unigram, &e->unigram, word, bytes, e->out_ids, error);
    case MODEL_WORDPIECE: return wordpiece_encode(&t->wordpiece, word, bytes, e->out_ids, &e->steps, error);
    case MODEL_WORD_LEVEL: return wordpiece_encode_whole(&t->wordpiece, word, bytes, e->out_ids, error);
    default: return bpe_encode(&t->bpe, &e->bpe, word, bytes, e->out_ids, error);
    }
}

static leat_status encode_by_model(encoder *e, const char *word, uint64_t bytes, leat_error *error)
{
    if (bytes == 0) return LEAT_OK;
    e->steps++;
    if (!word_cache_takes(&e->words, bytes)) return ask_model(e, word, bytes, error);
    word_entry *entry = word_cache_place(&e->words, WORD_WHOLE, word, bytes);
    if (word_entry_is(entry, WORD_WHOLE, word, bytes))
        return token_list_append(e->out_ids, entry->ids, entry->count, error);
    uint64_t before = e->out_ids->count;
    TRY(ask_model(e, word, bytes, error));
    word_entry_set(entry, WORD_WHOLE, word, bytes, e->out_ids->ids + before, e->out_ids->count - before);
    return LEAT_OK;
}

/* The pieces that are taken wherever they occur, and what lies between them. */
static leat_status encode_around_kept(encoder *e, const char *word, uint64_t bytes, leat_error *error)
{
    uint64_t done = 0, length = 0;
    for (uint64_t at = 0; at < bytes; at += length) {
        uint32_t id = piece_trie_longest(&e->t->rules.kept, word + at, bytes - at, &length);
        if (id == VOCABULARY_NO_ID) {
            for (length = 1; at + length < bytes && ((unsigned char)word[at + length] & 0xc0) == 0x80;) length++;
            continue;
        }
        TRY(encode_by_model(e, word + done, at - done, error));
        TRY(token_list_push(e->out_ids, id, error));
        done = at + length;
    }
    return encode_by_model(e, word + done, bytes - done, error);
}

static leat_status encode_word(void *user, const char *word, uint64_t bytes, leat_error *error)
{
    encoder *e = user;
    if (bytes >= UINT32_MAX)
        return FAIL(error, USAGE, "%s: a word grew to %llu bytes, at most 2^32 - 2 are supported", e->t->name,
                    (unsigned long long)bytes);
    if (e->t->takes_kept) return encode_around_kept(e, word, bytes, error);
    return encode_by_model(e, word, bytes, error);
}

/* A stretch of the text without a raw added token. */
static leat_status encode_stretch(encoder *e, text_slice text, bool is_first, bool is_plain, leat_error *error)
{
    const tokenizer *t = e->t;
    uint32_t scalar;
    uint64_t front = is_first && text.count > 0 ? utf8_decode(text.bytes, text.count, &scalar, NULL) : 0;
    TRY(normalize_run(t->normalize, t->normalize_count, &e->normalize, text, &front, &text, error));
    if (is_plain || t->normalized_matcher == NULL)
        return pretokenize_run(t->pretokenize, t->pretokenize_count, &e->pretokenize, text, front, encode_word, e,
                               error);
    token_search *search = &e->normalized_search;
    e->steps += text.count;
    TRY(token_matcher_split(t->normalized_matcher, t->added, text.bytes, text.count, search, error));
    for (uint64_t i = 0; i < search->parts.count; i++) {
        token_span part = search->parts.spans[i];
        if (part.token != TOKEN_SPAN_TEXT)
            TRY(token_list_push(e->out_ids, t->added[part.token].id, error));
        else
            TRY(pretokenize_run(t->pretokenize, t->pretokenize_count, &e->pretokenize,
                                (text_slice){text.bytes + part.start, part.end - part.start},
                                front > part.start ? front - part.start : 0, encode_word, e, error));
    }
    return LEAT_OK;
}

/* How the added tokens in a text are taken. */
typedef enum added_use {
    ADDED_AS_TOKENS,
    ADDED_AND_CONTROLS_AS_TOKENS,
    ADDED_AS_TEXT,       /* not looked for */
    ADDED_AS_TEXT_APART, /* their text is encoded, cut off from what surrounds it */
} added_use;

static leat_status encode_parts(encoder *e, text_slice text, added_use use, leat_error *error)
{
    const tokenizer *t = e->t;
    const bool with_controls = use == ADDED_AND_CONTROLS_AS_TOKENS && t->control_matcher != NULL;
    const bool as_tokens = with_controls || use == ADDED_AS_TOKENS || use == ADDED_AND_CONTROLS_AS_TOKENS;
    const token_matcher *matcher = with_controls ? t->control_matcher : t->raw_matcher;
    const added_token *tokens = with_controls ? t->controls : t->added;
    if (use == ADDED_AS_TEXT || matcher == NULL) return encode_stretch(e, text, true, !as_tokens, error);
    token_search *search = &e->raw_search;
    e->steps += text.count;
    TRY(token_matcher_split(matcher, as_tokens ? tokens : NULL, text.bytes, text.count, search, error));
    for (uint64_t i = 0; i < search->parts.count; i++) {
        token_span part = search->parts.spans[i];
        if (part.token != TOKEN_SPAN_TEXT && as_tokens)
            TRY(token_list_push(e->out_ids, tokens[part.token].id, error));
        else
            TRY(encode_stretch(e, (text_slice){text.bytes + part.start, part.end - part.start}, part.start == 0,
                               !as_tokens, error));
    }
    return LEAT_OK;
}

static uint64_t steps_of(const encoder *e)
{
    return e->steps + e->matches.steps + e->normalize.steps + e->pretokenize.steps + e->bpe.steps + e->bpe.queue.steps +
           e->unigram.steps;
}

static leat_status encode_with(encoder *e, text_slice text, added_use use, bool post_process, token_list *out_ids,
                               leat_error *error)
{
    const tokenizer *t = e->t;
    if (text.count > ENCODE_BYTES_MAX)
        return FAIL(error, USAGE, "a text of %llu bytes is too long to be tokenized, at most %d are supported",
                    (unsigned long long)text.count, ENCODE_BYTES_MAX);
    uint64_t valid = utf8_valid_bytes(text.bytes, text.count);
    if (valid < text.count)
        return FAIL(error, USAGE, "the text is not valid UTF-8 at byte %llu", (unsigned long long)valid);

    leat_status status = LEAT_OK;
    uint64_t count_before = out_ids->count;
    e->out_ids = out_ids;
    TRY_OR(out, word_cache_fit(&e->words, text.count, error));
    for (uint32_t i = 0; post_process && i < t->prefix_count; i++)
        TRY_OR(out, token_list_push(out_ids, t->prefix_ids[i], error));
    if (text.count > 0) TRY_OR(out, encode_parts(e, text, use, error));
    for (uint32_t i = 0; post_process && i < t->suffix_count; i++)
        TRY_OR(out, token_list_push(out_ids, t->suffix_ids[i], error));
out:
    if (status != LEAT_OK) out_ids->count = count_before;
    return status;
}

/* out_steps may be NULL. */
static leat_status encode(const tokenizer *t, text_slice text, added_use use, bool post_process, token_list *out_ids,
                          uint64_t *out_steps, leat_error *error)
{
    encoder e;
    encoder_init(&e, t, out_ids);
    leat_status status = encode_with(&e, text, use, post_process, out_ids, error);
    if (out_steps != NULL) *out_steps = steps_of(&e);
    encoder_reset(&e);
    return status;
}

static added_use use_of(unsigned flags)
{
    return (flags & TOKENIZER_PLAIN) != 0      ? ADDED_AS_TEXT
           : (flags & TOKENIZER_CONTROLS) != 0 ? ADDED_AND_CONTROLS_AS_TOKENS
                                               : ADDED_AS_TOKENS;
}

leat_status tokenizer_encode(const tokenizer *t, const char *text, uint64_t text_bytes, unsigned flags,
                             token_list *out_ids, leat_error *error)
{
    return tokenizer_encode_counted(t, text, text_bytes, flags, out_ids, NULL, error);
}

leat_status tokenizer_encode_counted(const tokenizer *t, const char *text, uint64_t bytes, unsigned flags,
                                     token_list *out_ids, uint64_t *out_steps, leat_error *error)
{
    return encode(t, (text_slice){text, bytes}, use_of(flags), (flags & TOKENIZER_POST_PROCESS) != 0, out_ids,
                  out_steps, error);
}

struct tokenizer_encoder {
    encoder inner;
};

leat_status tokenizer_encoder_open(const tokenizer *t, tokenizer_encoder **out_encoder, leat_error *error)
{
    tokenizer_encoder *e;
    TRY(MEM_NEW(t->ledger, TOKENIZER, 1, &e, error));
    encoder_init(&e->inner, t, NULL);
    *out_encoder = e;
    return LEAT_OK;
}

void tokenizer_encoder_close(tokenizer_encoder **e)
{
    if (*e == NULL) return;
    encoder_reset(&(*e)->inner);
    mem_free((*e)->inner.t->ledger, *e);
    *e = NULL;
}

leat_status tokenizer_encoder_run(tokenizer_encoder *e, const char *text, uint64_t text_bytes, unsigned flags,
                                  token_list *out_ids, leat_error *error)
{
    return encode_with(&e->inner, (text_slice){text, text_bytes}, use_of(flags), (flags & TOKENIZER_POST_PROCESS) != 0,
                       out_ids, error);
}

leat_status tokenizer_encode_message(const tokenizer *t, const char *text, uint64_t bytes, token_list *out_ids,
                                     leat_error *error)
{
    return encode(t, (text_slice){text, bytes}, ADDED_AS_TEXT_APART, false, out_ids, NULL, error);
}

bool tokenizer_id_of(const tokenizer *t, const char *token, uint32_t *out_id)
{
    uint32_t id = vocabulary_find(&t->vocab, token, strlen(token), 0);
    if (id == VOCABULARY_NO_ID) return false;
    *out_id = id;
    return true;
}

const char *tokenizer_token_text(const tokenizer *t, uint32_t id, bool *out_is_special)
{
    if (!vocabulary_has(&t->vocab, id)) return NULL;
    if (out_is_special != NULL) *out_is_special = (t->vocab.flags[id] & VOCABULARY_SPECIAL) != 0;
    return vocabulary_text(&t->vocab, id);
}

bool tokenizer_begins_with(const tokenizer *t, uint32_t id) { return t->prefix_count > 0 && t->prefix_ids[0] == id; }

uint32_t tokenizer_id_count(const tokenizer *t) { return t->vocab.id_count; }

/* load_model.c - vocabulary, merges and scores of a model. */
#include "text/loader.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <string.h>

static leat_status add_token(loader *l, const json_token *at, uint32_t offset, size_t bytes, uint32_t id)
{
    vocabulary *vocab = &l->t->vocab;
    const char *text = vocab->texts + offset;
    if (vocabulary_has(vocab, id)) {
        const char *other = vocabulary_text(vocab, id);
        return FAIL_AT(l, at, "id %" PRIu32 " is given to both \"%s\" and \"%s\"", id,
                       vocabulary_cut(other, strlen(other)).text, vocabulary_cut(text, bytes).text);
    }
    return vocabulary_add(vocab, offset, id, VOCABULARY_MODEL, l->error);
}

static leat_status push_score(loader *l, uint32_t id, double score)
{
    unigram_model *u = &l->t->unigram;
    if (id >= l->score_capacity) {
        uint64_t capacity = max_u64(1024, l->score_capacity + l->score_capacity / 2);
        void *block = u->scores;
        TRY(mem_resize(l->t->ledger, MEM_TOKENIZER, &block, capacity, sizeof *u->scores, "scores", l->error));
        u->scores = block;
        l->score_capacity = capacity;
    }
    u->scores[id] = score;
    return LEAT_OK;
}

/* ["piece", score], of which the bracket has been read */
static leat_status read_scored_piece(loader *l, uint32_t id)
{
    vocabulary *vocab = &l->t->vocab;
    uint32_t offset;
    json_token token;
    double score;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_STRING, "vocab", "a piece"));
    size_t bytes = token.text_bytes;
    vocabulary_quote shown = loader_quote(&token);
    if (bytes == 0) return FAIL_AT(l, &token, "vocab: a token with an empty text");
    if (memchr(token.text, 0, bytes) != NULL) return FAIL_AT(l, &token, "vocab: a token holds U+0000");
    if (vocabulary_find(vocab, token.text, bytes, 0) != VOCABULARY_NO_ID)
        return FAIL_AT(l, &token, "vocab: the token \"%s\" is listed twice", shown.text);
    if (id >= VOCABULARY_ID_LIMIT || (l->vocab_count != 0 && id >= l->vocab_count))
        return FAIL_AT(l, &token, "token \"%s\" has id %" PRIu32 ", at most %" PRIu32 " tokens are possible",
                       shown.text, id, l->vocab_count != 0 ? l->vocab_count : VOCABULARY_ID_LIMIT);
    TRY(loader_named(l, vocabulary_store(vocab, token.text, bytes, &offset, l->error)));
    TRY(loader_next(l, &token));
    if (token.kind != JSON_NUMBER || !json_to_f64(&token, &score))
        return FAIL_AT(l, &token, "the score of token \"%s\" is not a number", shown.text);
    TRY(push_score(l, id, score));
    TRY(add_token(l, &token, offset, bytes, id));
    TRY(loader_next(l, &token));
    return loader_expect(l, &token, JSON_ARRAY_END, "vocab", "a piece and a score");
}

static leat_status read_scored_pieces(loader *l)
{
    l->vocab_is_list = true;
    for (uint32_t id = 0;; id++) {
        json_token token;
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) break;
        TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "vocab", "a piece and a score"));
        TRY(read_scored_piece(l, id));
    }
    l->has_vocab = true;
    return LEAT_OK;
}

static leat_status read_vocab(loader *l)
{
    vocabulary *vocab = &l->t->vocab;
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_ARRAY_BEGIN) return read_scored_pieces(l);
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "vocab", "an object"));
    for (;;) {
        uint32_t offset, id;
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (token.text_bytes == 0) return FAIL_AT(l, &token, "vocab: a token with an empty text");
        size_t bytes = token.text_bytes;
        TRY(loader_named(l, vocabulary_store(vocab, token.text, bytes, &offset, l->error)));
        TRY(loader_next(l, &token));
        TRY(loader_read_id(l, &token, vocabulary_cut(vocab->texts + offset, bytes), &id));
        TRY(add_token(l, &token, offset, bytes, id));
    }
    l->has_vocab = true;
    return LEAT_OK;
}

static leat_status find_piece(loader *l, const json_token *token, text_slice piece, uint32_t *out_id)
{
    uint64_t idx = l->t->bpe.merge_count;
    if (piece.count == 0) return FAIL_AT(l, token, "merge %" PRIu64 " has an empty half", idx);
    *out_id = vocabulary_find(&l->t->vocab, piece.bytes, piece.count, VOCABULARY_MODEL);
    if (*out_id == VOCABULARY_NO_ID)
        return FAIL_AT(l, token, "merge %" PRIu64 " names \"%s\", which is not in the vocabulary", idx,
                       vocabulary_cut(piece.bytes, piece.count).text);
    return LEAT_OK;
}

static leat_status add_merge(loader *l, const json_token *token, uint32_t left, uint32_t right, text_buffer *joined)
{
    const vocabulary *vocab = &l->t->vocab;
    const char *texts[2] = {vocabulary_text(vocab, left), vocabulary_text(vocab, right)};
    uint32_t merged;
    joined->count = 0;
    const uint64_t prefix = l->continuing_prefix.count;
    if (prefix > 0) {
        if (strlen(texts[1]) < prefix || memcmp(texts[1], l->continuing_prefix.bytes, prefix) != 0)
            return FAIL_AT(l, token, "merge %" PRIu64 ": \"%s\" does not begin with continuing_subword_prefix",
                           l->t->bpe.merge_count, vocabulary_cut(texts[1], strlen(texts[1])).text);
        texts[1] += prefix;
    }
    for (int i = 0; i < 2; i++) TRY(text_buffer_append(joined, texts[i], strlen(texts[i]), l->error));
    TRY(find_piece(l, token, (text_slice){joined->bytes, joined->count}, &merged));
    return bpe_add_merge(&l->t->bpe, left, right, merged, l->error);
}

/* "left right", one space */
static leat_status read_spaced_merge(loader *l, const json_token *token, uint32_t *out_left, uint32_t *out_right)
{
    const char *space = memchr(token->text, ' ', token->text_bytes);
    size_t left_bytes = space == NULL ? 0 : (size_t)(space - token->text);
    size_t right_bytes = space == NULL ? 0 : token->text_bytes - left_bytes - 1;
    if (space == NULL || memchr(space + 1, ' ', right_bytes) != NULL)
        return FAIL_AT(l, token, "merge %" PRIu64 " is not two pieces with a space between them: \"%s\"",
                       l->t->bpe.merge_count, loader_quote(token).text);
    TRY(find_piece(l, token, (text_slice){token->text, left_bytes}, out_left));
    return find_piece(l, token, (text_slice){space + 1, right_bytes}, out_right);
}

/* ["left", "right"], of which the bracket has been read */
static leat_status read_merge_pair(loader *l, uint32_t *out_left, uint32_t *out_right)
{
    json_token token;
    uint32_t *halves[2] = {out_left, out_right};
    for (int i = 0; i < 2; i++) {
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_STRING, "merges", "a pair of strings"));
        TRY(find_piece(l, &token, (text_slice){token.text, token.text_bytes}, halves[i]));
    }
    TRY(loader_next(l, &token));
    return loader_expect(l, &token, JSON_ARRAY_END, "merges", "a pair of strings");
}

static leat_status read_merge_list(loader *l, text_buffer *joined)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "merges", "a list"));
    for (;;) {
        uint32_t left, right;
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (l->t->bpe.merge_count == BPE_MERGE_LIMIT)
            return FAIL_AT(l, &token, "there are more than %d merges", BPE_MERGE_LIMIT);
        if (token.kind == JSON_STRING) {
            TRY(read_spaced_merge(l, &token, &left, &right));
        } else {
            TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "merges", "a string or a pair of strings"));
            TRY(read_merge_pair(l, &left, &right));
        }
        TRY(add_merge(l, &token, left, right, joined));
    }
}

static leat_status read_merges(loader *l)
{
    l->has_merges = true;
    if (!l->has_vocab) {
        l->merges_are_pending = true;
        return json_skip(l->parser, l->error);
    }
    l->merges_are_pending = false;
    text_buffer joined;
    text_buffer_init(&joined, l->t->ledger);
    leat_status status = read_merge_list(l, &joined);
    text_buffer_reset(&joined);
    return status;
}

/* A field that must be absent, null, or say nothing ("" or 0). */
static leat_status read_unused(loader *l, const json_token *key)
{
    json_token value;
    vocabulary_quote name = loader_quote(key);
    double number;
    TRY(loader_next(l, &value));
    if (value.kind == JSON_NULL || (value.kind == JSON_STRING && value.text_bytes == 0)) return LEAT_OK;
    if (value.kind == JSON_NUMBER && json_to_f64(&value, &number) && number == 0) return LEAT_OK;
    return FAIL_AT(l, &value, "model: %s is not supported", name.text);
}

static leat_status read_model_type(loader *l)
{
    static const struct {
        const char *name;
        model_kind kind;
    } types[] = {{"BPE", MODEL_BPE},
                 {"Unigram", MODEL_UNIGRAM},
                 {"WordPiece", MODEL_WORDPIECE},
                 {"WordLevel", MODEL_WORD_LEVEL}};
    json_token value;
    TRY(loader_next(l, &value));
    TRY(loader_expect(l, &value, JSON_STRING, "model", "a type"));
    vocabulary_quote type = loader_quote(&value);
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        if (!json_text_is(&value, types[i].name)) continue;
        l->type = types[i].kind;
        l->has_type = true;
        return LEAT_OK;
    }
    return FAIL_AT(l, &value, "model type %s is not supported; supported: BPE, Unigram, WordPiece, WordLevel",
                   type.text);
}

static leat_status read_maybe_text(loader *l, const char *what, text_slice *out_text)
{
    json_token value;
    TRY(loader_next(l, &value));
    if (value.kind == JSON_NULL) return LEAT_OK;
    TRY(loader_expect(l, &value, JSON_STRING, what, "a string or null"));
    return loader_copy_text(l, &value, out_text);
}

static leat_status read_unk_id(loader *l)
{
    json_token value;
    TRY(loader_next(l, &value));
    if (value.kind == JSON_NULL) return LEAT_OK;
    return loader_read_id(l, &value, vocabulary_cut("unk_id", 6), &l->t->unigram.unk_id);
}

static leat_status read_characters_max(loader *l)
{
    json_token value;
    uint64_t count;
    TRY(loader_next(l, &value));
    if (value.kind != JSON_NUMBER || !json_to_u64(&value, &count) || count > UINT32_MAX)
        return FAIL_AT(l, &value, "max_input_chars_per_word is not a count");
    l->t->wordpiece.characters_max = (uint32_t)count;
    l->has_characters_max = true;
    return LEAT_OK;
}

static leat_status read_continuing_prefix(loader *l, const json_token *key)
{
    const uint64_t offset = key->offset;
    TRY(read_maybe_text(l, "continuing_subword_prefix", &l->continuing_prefix));
    if (l->continuing_prefix.count == 0 || !l->has_merges || l->merges_are_pending) return LEAT_OK;
    return json_fail_at(l->parser, offset, l->error, "model: continuing_subword_prefix behind the merges");
}

static leat_status read_model_field(loader *l, const json_token *key)
{
    bpe_model *bpe = &l->t->bpe;
    if (json_text_is(key, "type")) return read_model_type(l);
    if (json_text_is(key, "vocab")) return read_vocab(l);
    if (json_text_is(key, "merges")) return read_merges(l);
    if (json_text_is(key, "byte_fallback")) return loader_read_bool(l, "byte_fallback", &bpe->byte_fallback);
    if (json_text_is(key, "fuse_unk")) return loader_read_bool(l, "fuse_unk", &bpe->fuse_unk);
    if (json_text_is(key, "ignore_merges")) return loader_read_bool(l, "ignore_merges", &bpe->ignore_merges);
    if (json_text_is(key, "dropout")) return read_unused(l, key);
    if (json_text_is(key, "end_of_word_suffix"))
        return read_maybe_text(l, "end_of_word_suffix", &l->end_of_word_suffix);
    if (json_text_is(key, "continuing_subword_prefix")) return read_continuing_prefix(l, key);
    if (json_text_is(key, "unk_token")) return read_maybe_text(l, "unk_token", &l->unk_token);
    if (json_text_is(key, "unk_id")) return read_unk_id(l);
    if (json_text_is(key, "max_input_chars_per_word")) return read_characters_max(l);
    return FAIL_AT(l, key, "model: the field \"%s\" is not supported", loader_quote(key).text);
}

leat_status loader_read_model(loader *l)
{
    json_token token;
    l->has_model = true;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "model", "an object"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        TRY(read_model_field(l, &token));
    }
}

leat_status loader_read_merges_alone(loader *l)
{
    json_token token;
    TRY(loader_next(l, &token));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (json_text_is(&token, "merges"))
            TRY(read_merges(l));
        else
            TRY(json_skip(l->parser, l->error));
    }
}

/* One that the vocabulary lacks is missed only when a text needs it. */
static void find_unk_token(const loader *l, uint32_t *out_id, const char **out_missing)
{
    *out_id = VOCABULARY_NO_ID;
    if (l->unk_token.bytes == NULL) return;
    *out_id = vocabulary_find(&l->t->vocab, l->unk_token.bytes, l->unk_token.count, VOCABULARY_MODEL);
    if (*out_id == VOCABULARY_NO_ID) *out_missing = l->unk_token.bytes;
}

static leat_status set_affix(loader *l, text_slice text, char out[BPE_AFFIX_BYTES_MAX + 1], size_t *out_bytes)
{
    if (text.count > BPE_AFFIX_BYTES_MAX)
        return FAIL(l->error, MODEL, "%s: model: an affix of %llu bytes, at most %d are supported", l->t->name,
                    (unsigned long long)text.count, BPE_AFFIX_BYTES_MAX);
    *out_bytes = text.count;
    if (text.count > 0) memcpy(out, text.bytes, text.count);
    return LEAT_OK;
}

static leat_status finish_bpe(loader *l)
{
    tokenizer *t = l->t;
    bpe_affixes *affixes = &t->bpe.affixes;
    TRY(set_affix(l, l->continuing_prefix, affixes->prefix, &affixes->prefix_bytes));
    TRY(set_affix(l, l->end_of_word_suffix, affixes->suffix, &affixes->suffix_bytes));
    if (!l->has_merges) return FAIL(l->error, MODEL, "%s: the model has no merges", t->name);
    find_unk_token(l, &t->bpe.unk_id, &t->bpe.missing_unk);
    return bpe_finish(&t->bpe, l->error);
}

static leat_status finish_unigram(loader *l)
{
    enum { UNK_PENALTY = 10 };
    tokenizer *t = l->t;
    unigram_model *u = &t->unigram;
    if (u->unk_id != VOCABULARY_NO_ID && !vocabulary_has(&t->vocab, u->unk_id))
        return FAIL(l->error, MODEL, "%s: unk_id is %" PRIu32 ", which no token has", t->name, u->unk_id);
    u->byte_fallback = t->bpe.byte_fallback;
    u->unk_score = 0;
    for (uint32_t id = 0; id < t->vocab.token_count; id++)
        if (id == 0 || u->scores[id] < u->unk_score) u->unk_score = u->scores[id];
    u->unk_score -= UNK_PENALTY;
    vocabulary_find_bytes(&t->vocab, VOCABULARY_MODEL, u->byte_ids);
    return loader_named(l, unigram_finish(u, l->error));
}

static leat_status finish_wordpiece(loader *l)
{
    enum { CHARACTERS_MAX = 100 };
    tokenizer *t = l->t;
    wordpiece_model *w = &t->wordpiece;
    w->prefix = l->continuing_prefix.bytes == NULL ? "##" : l->continuing_prefix.bytes;
    if (!l->has_characters_max) w->characters_max = CHARACTERS_MAX;
    find_unk_token(l, &w->unk_id, &w->missing_unk);
    if (l->unk_token.bytes == NULL) return FAIL(l->error, MODEL, "%s: WordPiece without an unk_token", t->name);
    return loader_named(l, wordpiece_finish(w, l->error));
}

static leat_status finish_word_level(loader *l)
{
    tokenizer *t = l->t;
    if (l->unk_token.bytes == NULL) return FAIL(l->error, MODEL, "%s: WordLevel without an unk_token", t->name);
    find_unk_token(l, &t->wordpiece.unk_id, &t->wordpiece.missing_unk);
    return LEAT_OK;
}

leat_status loader_finish_model(loader *l)
{
    tokenizer *t = l->t;
    if (!l->has_model) return FAIL(l->error, MODEL, "%s: no model", t->name);
    if (!l->has_vocab) return FAIL(l->error, MODEL, "%s: the model has no vocab", t->name);
    t->model = l->has_type ? l->type : l->vocab_is_list ? MODEL_UNIGRAM : MODEL_BPE;
    if (l->vocab_is_list != (t->model == MODEL_UNIGRAM))
        return FAIL(l->error, MODEL, "%s: the vocabulary is %s, but the model's type is %s", t->name,
                    l->vocab_is_list ? "a list" : "an object", l->vocab_is_list ? "not Unigram" : "Unigram");
    if (l->has_merges && t->model != MODEL_BPE)
        return FAIL(l->error, MODEL, "%s: a model with merges whose type is not BPE", t->name);
    switch (t->model) {
    case MODEL_UNIGRAM: return finish_unigram(l);
    case MODEL_WORDPIECE: return finish_wordpiece(l);
    case MODEL_WORD_LEVEL: return finish_word_level(l);
    default: return finish_bpe(l);
    }
}

/*
 * load_sentencepiece.c - a model of SentencePiece (tokenizer.model): a protocol buffer with the pieces, their scores
 * and kinds, how it was trained, and how a text is normalised.
 *
 * Kinds of pieces: normal ones; the one unknown; control ones, which no text becomes; user-defined ones, which are
 * taken wherever their text occurs; byte pieces; unused ones. Both models are encoded exactly: byte-pair encoding
 * merges the neighbours whose joined text is the piece of highest score, unigram takes the path of highest sum.
 *
 * Refused: word and character models, a denormalizer, byte-pair models in which a merge begins with a character that is
 * no piece or makes an unused piece (what SentencePiece does then depends on what else stands in the text).
 */
#include "base/bytes.h"
#include "base/utf8.h"
#include "text/load_config.h"
#include "text/protobuf.h"

#include <inttypes.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81"

typedef enum piece_kind {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER_DEFINED,
    PIECE_UNUSED,
    PIECE_BYTE
} piece_kind;

typedef enum model_type { TYPE_UNIGRAM = 1, TYPE_BPE, TYPE_WORD, TYPE_CHARACTER } model_type;

typedef struct piece {
    float score;
    uint8_t kind; /* piece_kind */
} piece;

typedef struct model {
    tokenizer *t;
    const tokenizer_files *files;
    leat_error *error;
    piece *pieces; /* (piece_count) by id */
    uint64_t piece_count, piece_capacity;
    uint32_t unk_id;

    uint64_t type;
    bool byte_fallback, space_is_suffix;
    text_slice unk_surface, bos, eos; /* in the file */
    text_slice charsmap, denormalizer;
    bool adds_space, drops_spaces, marks_spaces;
} model;

static leat_status fail_at(const model *m, const protobuf_field *at, const char *reason)
{
    return FAIL(m->error, MODEL, "%s: at byte %" PRIu64 ": %s", m->t->name, at->offset, reason);
}

static leat_status expect(const model *m, const protobuf_field *field, protobuf_kind kind)
{
    return field->kind == kind ? LEAT_OK : fail_at(m, field, "a field is not of the kind that it has in a model");
}

static leat_status take_bytes(const model *m, const protobuf_field *field, text_slice *out)
{
    TRY(expect(m, field, PROTOBUF_BYTES));
    *out = (text_slice){field->bytes, field->count};
    return LEAT_OK;
}

static leat_status take_flag(const model *m, const protobuf_field *field, bool *out)
{
    TRY(expect(m, field, PROTOBUF_VARINT));
    *out = field->value != 0;
    return LEAT_OK;
}

/* ---- pieces ---- */

static leat_status make_room(model *m)
{
    if (m->piece_count < m->piece_capacity) return LEAT_OK;
    uint64_t capacity = max_u64(1024, m->piece_capacity + m->piece_capacity / 2);
    void *block = m->pieces;
    TRY(mem_resize(m->t->ledger, MEM_TOKENIZER, &block, capacity, sizeof *m->pieces, "pieces", m->error));
    m->pieces = block;
    m->piece_capacity = capacity;
    return LEAT_OK;
}

static leat_status check_piece(const model *m, const protobuf_field *at, text_slice text, const piece *p)
{
    if (text.count == 0) return fail_at(m, at, "a piece without a text");
    if (utf8_valid_bytes(text.bytes, text.count) < text.count) return fail_at(m, at, "a piece that is not UTF-8");
    if (memchr(text.bytes, 0, text.count) != NULL) return fail_at(m, at, "a piece that holds U+0000");
    if (p->kind < PIECE_NORMAL || p->kind > PIECE_BYTE) return fail_at(m, at, "a piece of a kind that is not known");
    if (!isfinite(p->score)) return fail_at(m, at, "a piece whose score is no number");
    if (p->kind == PIECE_UNKNOWN && m->unk_id != VOCABULARY_NO_ID) return fail_at(m, at, "a second unknown piece");
    if (m->piece_count >= VOCABULARY_ID_LIMIT ||
        (m->files->vocab_count != 0 && m->piece_count >= m->files->vocab_count))
        return fail_at(m, at, "more pieces than the model has tokens");
    if (vocabulary_find(&m->t->vocab, text.bytes, text.count, 0) != VOCABULARY_NO_ID)
        return fail_at(m, at, "a piece that is listed twice");
    return LEAT_OK;
}

static uint8_t flags_of(const model *m, piece_kind kind)
{
    switch (kind) {
    case PIECE_NORMAL: return VOCABULARY_MODEL;
    case PIECE_USER_DEFINED: return VOCABULARY_MODEL | VOCABULARY_KEPT;
    case PIECE_UNKNOWN: return VOCABULARY_UNKNOWN | VOCABULARY_SPECIAL;
    case PIECE_CONTROL: return VOCABULARY_CONTROL | VOCABULARY_SPECIAL;
    case PIECE_BYTE: return VOCABULARY_BYTE;
    default: return m->type == TYPE_BPE ? VOCABULARY_MODEL : 0;
    }
}

static leat_status read_piece(model *m, protobuf *outer, const protobuf_field *field)
{
    protobuf inner = protobuf_inside(outer, field);
    protobuf_field part;
    text_slice text = {0};
    piece p = {.kind = PIECE_NORMAL};
    bool has;
    for (;;) {
        TRY(protobuf_next(&inner, &has, &part, m->error));
        if (!has) break;
        if (part.number == 1) TRY(take_bytes(m, &part, &text));
        if (part.number == 2) {
            TRY(expect(m, &part, PROTOBUF_FIXED32));
            p.score = float_of_bits((uint32_t)part.value);
        }
        if (part.number == 3) {
            TRY(expect(m, &part, PROTOBUF_VARINT));
            p.kind = part.value > UINT8_MAX ? 0 : (uint8_t)part.value;
        }
    }
    TRY(check_piece(m, field, text, &p));
    TRY(make_room(m));
    uint32_t offset, id = (uint32_t)m->piece_count;
    if (p.kind == PIECE_UNKNOWN) m->unk_id = id;
    TRY(vocabulary_store(&m->t->vocab, text.bytes, text.count, &offset, m->error));
    TRY(vocabulary_add(&m->t->vocab, offset, id, 0, m->error)); /* flags: once the type is known */
    m->pieces[m->piece_count++] = p;
    return LEAT_OK;
}

/* ---- how it was trained, how a text is normalised ---- */

static leat_status read_trainer(model *m, protobuf *outer, const protobuf_field *field)
{
    protobuf inner = protobuf_inside(outer, field);
    protobuf_field part;
    for (bool has;;) {
        TRY(protobuf_next(&inner, &has, &part, m->error));
        if (!has) return LEAT_OK;
        switch (part.number) {
        case 3:
            TRY(expect(m, &part, PROTOBUF_VARINT));
            m->type = part.value;
            break;
        case 24: TRY(take_flag(m, &part, &m->space_is_suffix)); break;
        case 35: TRY(take_flag(m, &part, &m->byte_fallback)); break;
        case 44: TRY(take_bytes(m, &part, &m->unk_surface)); break;
        case 46: TRY(take_bytes(m, &part, &m->bos)); break;
        case 47: TRY(take_bytes(m, &part, &m->eos)); break;
        default: break;
        }
    }
}

static leat_status read_normalizer(model *m, protobuf *outer, const protobuf_field *field)
{
    protobuf inner = protobuf_inside(outer, field);
    protobuf_field part;
    for (bool has;;) {
        TRY(protobuf_next(&inner, &has, &part, m->error));
        if (!has) return LEAT_OK;
        switch (part.number) {
        case 2: TRY(take_bytes(m, &part, &m->charsmap)); break;
        case 3: TRY(take_flag(m, &part, &m->adds_space)); break;
        case 4: TRY(take_flag(m, &part, &m->drops_spaces)); break;
        case 5: TRY(take_flag(m, &part, &m->marks_spaces)); break;
        default: break;
        }
    }
}

/* A model made for decoding another way is told by a rule table in its denormalizer. */
static leat_status read_denormalizer(model *m, protobuf *outer, const protobuf_field *field)
{
    protobuf inner = protobuf_inside(outer, field);
    protobuf_field part;
    for (bool has;;) {
        TRY(protobuf_next(&inner, &has, &part, m->error));
        if (!has) return LEAT_OK;
        if (part.number == 2) TRY(take_bytes(m, &part, &m->denormalizer));
        if (m->denormalizer.count > 0) return fail_at(m, &part, "a denormalizer is not supported");
    }
}

static leat_status read_fields(model *m)
{
    protobuf outer = {.name = m->t->name, .bytes = m->files->bytes, .count = m->files->count};
    protobuf_field field;
    for (bool has;;) {
        TRY(protobuf_next(&outer, &has, &field, m->error));
        if (!has) return LEAT_OK;
        if (field.number == 0 || field.number > 5) continue; /* extensions */
        TRY(expect(m, &field, PROTOBUF_BYTES));
        switch (field.number) {
        case 1: TRY(read_piece(m, &outer, &field)); break;
        case 2: TRY(read_trainer(m, &outer, &field)); break;
        case 3: TRY(read_normalizer(m, &outer, &field)); break;
        case 5: TRY(read_denormalizer(m, &outer, &field)); break;
        default: break; /* what the model says of itself */
        }
    }
}

static leat_status check_whole(const model *m)
{
    static const char *const refused[] = {[TYPE_WORD] = "word", [TYPE_CHARACTER] = "character"};
    if (m->piece_count == 0) return FAIL(m->error, MODEL, "%s: a model without pieces", m->t->name);
    if (m->type == TYPE_WORD || m->type == TYPE_CHARACTER)
        return FAIL(m->error, MODEL, "%s: a %s model is not supported; supported: unigram, byte-pair encoding",
                    m->t->name, refused[m->type]);
    if (m->type != TYPE_UNIGRAM && m->type != TYPE_BPE)
        return FAIL(m->error, MODEL, "%s: a model of type %" PRIu64 " is not known", m->t->name, m->type);
    if (m->unk_id == VOCABULARY_NO_ID) return FAIL(m->error, MODEL, "%s: no piece is the unknown one", m->t->name);
    return LEAT_OK;
}

/* ---- tables ---- */

static leat_status find_bytes(model *m, uint32_t out_ids[256])
{
    for (unsigned i = 0; i < 256; i++) out_ids[i] = VOCABULARY_NO_ID;
    if (!m->byte_fallback) return LEAT_OK;
    vocabulary_find_bytes(&m->t->vocab, VOCABULARY_BYTE, out_ids);
    for (unsigned i = 0; i < 256; i++)
        if (out_ids[i] == VOCABULARY_NO_ID)
            return FAIL(m->error, MODEL, "%s: byte fallback is on, but <0x%02X> is no byte piece", m->t->name, i);
    return LEAT_OK;
}

static int by_score(const void *a, const void *b, void *pieces)
{
    float x = ((const piece *)pieces)[*(const uint32_t *)a].score;
    float y = ((const piece *)pieces)[*(const uint32_t *)b].score;
    return x > y ? -1 : x < y ? 1 : 0;
}

/* Pieces of equal score have one rank: of two such pairs the left one is merged first. */
static leat_status rank_pieces(const model *m, uint32_t *ranks)
{
    uint32_t *order, count = 0, rank = 0;
    TRY(MEM_NEW(m->t->ledger, TOKENIZER, m->piece_count, &order, m->error));
    for (uint32_t id = 0; id < m->piece_count; id++) {
        ranks[id] = BPE_NONE;
        if (m->pieces[id].kind == PIECE_NORMAL) order[count++] = id;
    }
    qsort_r(order, count, sizeof *order, by_score, m->pieces);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && m->pieces[order[i]].score < m->pieces[order[i - 1]].score) rank++;
        ranks[order[i]] = rank;
    }
    mem_free(m->t->ledger, order);
    return LEAT_OK;
}

static uint64_t character_bytes(const char *text)
{
    uint64_t bytes = 1;
    while (((unsigned char)text[bytes] & 0xc0) == 0x80) bytes++;
    return bytes;
}

static bool can_be_merged(const vocabulary *v, const char *text)
{
    uint64_t bytes = strlen(text);
    for (uint64_t cut = character_bytes(text); cut < bytes; cut += character_bytes(text + cut))
        if (vocabulary_find(v, text, cut, VOCABULARY_MODEL) != VOCABULARY_NO_ID &&
            vocabulary_find(v, text + cut, bytes - cut, VOCABULARY_MODEL) != VOCABULARY_NO_ID)
            return true;
    return false;
}

static leat_status check_merges(const model *m)
{
    const vocabulary *v = &m->t->vocab;
    for (uint32_t id = 0; id < m->piece_count; id++) {
        const char *text = vocabulary_text(v, id);
        vocabulary_quote shown = vocabulary_cut(text, strlen(text));
        bool is_character = text[character_bytes(text)] == 0;
        piece_kind kind = m->pieces[id].kind;
        if (is_character && (kind == PIECE_CONTROL || kind == PIECE_UNKNOWN))
            return FAIL(m->error, MODEL, "%s: the control piece \"%s\" is one character, which is not supported",
                        m->t->name, shown.text);
        if (kind == PIECE_UNUSED && strlen(text) <= PIECE_TRIE_BYTES_MAX && can_be_merged(v, text))
            return FAIL(m->error, MODEL, "%s: merges make \"%s\", which is unused; that is not supported", m->t->name,
                        shown.text);
        if (kind != PIECE_NORMAL || is_character) continue;
        for (const char *at = text; *at != 0; at += character_bytes(at))
            if (vocabulary_find(v, at, character_bytes(at), VOCABULARY_MODEL) == VOCABULARY_NO_ID)
                return FAIL(m->error, MODEL,
                            "%s: piece \"%s\" has the character \"%.*s\", which is no piece itself; "
                            "that is not supported",
                            m->t->name, shown.text, (int)character_bytes(at), at);
    }
    return LEAT_OK;
}

static leat_status finish_bpe(model *m)
{
    tokenizer *t = m->t;
    uint32_t *ranks;
    t->model = MODEL_BPE;
    t->bpe.byte_fallback = m->byte_fallback;
    t->bpe.fuse_unk = true;
    t->bpe.unk_id = m->unk_id;
    TRY(find_bytes(m, t->bpe.byte_ids));
    TRY(check_merges(m));
    TRY(MEM_NEW(t->ledger, TOKENIZER, max_u64(m->piece_count, t->vocab.id_count), &ranks, m->error));
    leat_status status = rank_pieces(m, ranks);
    if (status == LEAT_OK) status = bpe_finish_by_rank(&t->bpe, ranks, m->error);
    status = tokenizer_named(t, status, m->error);
    mem_free(t->ledger, ranks);
    return status;
}

/* A user-defined piece is worth a tenth for each of its bytes but the first, which is more than anything that could
 * stand in its place; so it is in SentencePiece 0.2.3. */
static leat_status finish_unigram(model *m)
{
    const float penalty = 10.0F;
    tokenizer *t = m->t;
    unigram_model *u = &t->unigram;
    float least = FLT_MAX;
    t->model = MODEL_UNIGRAM;
    for (uint64_t id = 0; id < m->piece_count; id++) {
        if (m->pieces[id].kind != PIECE_NORMAL) continue;
        least = fminf(least, m->pieces[id].score);
    }
    TRY(MEM_NEW(t->ledger, TOKENIZER, m->piece_count, &u->scores, m->error));
    for (uint32_t id = 0; id < m->piece_count; id++) {
        double length = (double)strlen(vocabulary_text(&t->vocab, id));
        u->scores[id] = m->pieces[id].kind == PIECE_USER_DEFINED ? length * 0.1 - 0.1 : (double)m->pieces[id].score;
    }
    u->is_single = true;
    u->unk_id = m->unk_id;
    u->unk_score = (double)(least - penalty);
    u->byte_fallback = m->byte_fallback;
    TRY(find_bytes(m, u->byte_ids));
    return tokenizer_named(t, unigram_finish(u, m->error), m->error);
}

static void set_flags(model *m)
{
    vocabulary *v = &m->t->vocab;
    for (uint32_t id = 0; id < m->piece_count; id++) v->flags[id] = flags_of(m, m->pieces[id].kind);
    for (uint32_t i = 0; i < m->t->added_count; i++) { /* tokens that are looked for as such are nothing else */
        const added_token *added = &m->t->added[i];
        uint32_t id = vocabulary_find(v, added->content, added->content_bytes, 0);
        bool is_character = added->content[character_bytes(added->content)] == 0;
        if (id == VOCABULARY_NO_ID || (v->flags[id] & VOCABULARY_KEPT) == 0) continue;
        v->flags[id] &= (uint8_t)~VOCABULARY_KEPT;
        if (!is_character) v->flags[id] &= (uint8_t)~VOCABULARY_MODEL;
    }
}

static leat_status copy_bytes(model *m, text_slice *bytes)
{
    const char *copy;
    TRY(arena_copy_text(&m->t->storage, bytes->bytes, bytes->count, &copy, m->error));
    bytes->bytes = copy;
    return LEAT_OK;
}

static leat_status finish_rules(model *m, const tokenizer_config *config)
{
    tokenizer *t = m->t;
    sentencepiece_rules *rules = &t->rules;
    *rules = (sentencepiece_rules){.adds_space = m->adds_space,
                                   .adds_space_once = !config->is_legacy,
                                   .space_is_suffix = m->space_is_suffix,
                                   .drops_spaces = m->drops_spaces,
                                   .marks_spaces = m->marks_spaces,
                                   .has_map = m->charsmap.count > 0};
    if (rules->has_map) {
        TRY(copy_bytes(m, &m->charsmap));
        if (!charsmap_open(&rules->map, m->charsmap.bytes, m->charsmap.count))
            return FAIL(m->error, MODEL, "%s: the precompiled_charsmap is damaged, its sizes do not fit", t->name);
    }
    for (uint32_t id = 0; id < m->piece_count; id++)
        if ((t->vocab.flags[id] & VOCABULARY_KEPT) != 0) rules->has_kept = true;
    leat_status status =
        rules->has_kept ? piece_trie_open(&rules->kept, &t->vocab, VOCABULARY_KEPT, m->error) : LEAT_OK;
    status = tokenizer_named(t, status, m->error);
    t->takes_kept = rules->has_kept && t->model == MODEL_BPE;
    t->normalize[t->normalize_count++] = (normalize_step){.kind = NORMALIZE_SENTENCEPIECE, .rules = rules};
    return status;
}

static leat_status finish_decoder(model *m)
{
    decode_plan *plan = &m->t->decode;
    if (m->unk_surface.bytes == NULL) m->unk_surface = (text_slice){" \xe2\x81\x87 ", 5};
    if (utf8_valid_bytes(m->unk_surface.bytes, m->unk_surface.count) < m->unk_surface.count)
        return FAIL(m->error, MODEL, "%s: what stands for unknown text is not UTF-8", m->t->name);
    TRY(copy_bytes(m, &m->unk_surface));
    plan->steps[plan->count++] = (decode_step){.kind = DECODE_PIECES,
                                               .mark = {MARK, 3},
                                               .content = m->unk_surface,
                                               .drops_first = m->adds_space,
                                               .drops_every_first = m->drops_spaces};
    return LEAT_OK;
}

/* The classes that put the token of the beginning before a text, or that of the end behind it, without being told. */
static void assume_frame(tokenizer_config *config)
{
    static const char *const with_bos[] = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"};
    static const char *const with_eos[] = {"T5Tokenizer"};
    text_slice name = config->tokenizer_class;
    bool bos = name.bytes == NULL, eos = false;
    for (size_t i = 0; i < ARRAY_COUNT(with_bos); i++)
        bos = bos || (name.count == strlen(with_bos[i]) && memcmp(name.bytes, with_bos[i], name.count) == 0);
    for (size_t i = 0; i < ARRAY_COUNT(with_eos); i++)
        eos = eos || (name.count == strlen(with_eos[i]) && memcmp(name.bytes, with_eos[i], name.count) == 0);
    if (!config->says_bos) config->adds_bos = bos;
    if (!config->says_eos) config->adds_eos = eos;
}

static leat_status finish_frame(model *m, tokenizer_config *config)
{
    if (m->bos.bytes == NULL) m->bos = (text_slice){"<s>", 3};
    if (m->eos.bytes == NULL) m->eos = (text_slice){"</s>", 4};
    TRY(copy_bytes(m, &m->bos)); /* terminated */
    TRY(copy_bytes(m, &m->eos));
    assume_frame(config);
    return tokenizer_config_frame(m->t, config, m->bos.bytes, m->eos.bytes, m->error);
}

/* What finds control pieces beside the added tokens, for text that a template wrote. */
static leat_status open_control_matcher(model *m)
{
    tokenizer *t = m->t;
    token_pattern *patterns;
    uint32_t count = t->added_count;
    for (uint32_t id = 0; id < m->piece_count; id++)
        count += m->pieces[id].kind == PIECE_CONTROL && (t->vocab.flags[id] & VOCABULARY_ADDED) == 0;
    if (count == t->added_count) return LEAT_OK;
    if (count > ADDED_TOKEN_LIMIT)
        return FAIL(m->error, MODEL, "%s: there are more than %d control pieces", t->name, ADDED_TOKEN_LIMIT);
    TRY(MEM_NEW(t->ledger, TOKENIZER, count, &t->controls, m->error));
    if (t->added_count > 0) memcpy(t->controls, t->added, t->added_count * sizeof *t->added);
    t->control_count = t->added_count;
    for (uint32_t id = 0; id < m->piece_count; id++) {
        if (m->pieces[id].kind != PIECE_CONTROL || (t->vocab.flags[id] & VOCABULARY_ADDED) != 0) continue;
        const char *text = vocabulary_text(&t->vocab, id);
        t->controls[t->control_count++] =
            (added_token){.id = id, .content = text, .content_bytes = (uint32_t)strlen(text)};
    }
    TRY(MEM_NEW(t->ledger, TOKENIZER, count, &patterns, m->error));
    for (uint32_t i = 0; i < count; i++)
        patterns[i] = (token_pattern){t->controls[i].content, t->controls[i].content_bytes};
    leat_status status = token_matcher_open(t->ledger, t->vocab.seed, patterns, count, &t->control_matcher, m->error);
    status = tokenizer_named(t, status, m->error);
    mem_free(t->ledger, patterns);
    return status;
}

/* Some folders have a list of ranks under this name. */
static leat_status refuse_ranks(const model *m)
{
    const char *text = m->files->bytes, *newline = memchr(text, '\n', m->files->count);
    uint64_t at = newline == NULL ? 0 : (uint64_t)(newline - text);
    while (at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9') at--;
    if (at < 5 || text[at] == '\n' || text[at - 1] != ' ' || text[0] < '+') return LEAT_OK;
    return FAIL(m->error, MODEL, "%s: at byte 0: a list of ranks, as tiktoken has it, not a model of SentencePiece",
                m->t->name);
}

static leat_status load(model *m)
{
    tokenizer_config config;
    TRY(refuse_ranks(m));
    TRY(read_fields(m));
    TRY(check_whole(m));
    TRY(tokenizer_config_load(m->t, m->files, &config, m->error));
    set_flags(m);
    TRY(m->type == TYPE_BPE ? finish_bpe(m) : finish_unigram(m));
    TRY(finish_rules(m, &config));
    TRY(finish_decoder(m));
    TRY(finish_frame(m, &config));
    TRY(tokenizer_join(m->t, m->error));
    return open_control_matcher(m);
}

leat_status tokenizer_load_sentencepiece(tokenizer *t, const tokenizer_files *files, leat_error *error)
{
    model m = {.t = t,
               .files = files,
               .error = error,
               .unk_id = VOCABULARY_NO_ID,
               .type = TYPE_UNIGRAM,
               .adds_space = true,
               .drops_spaces = true,
               .marks_spaces = true};
    leat_status status = load(&m);
    mem_free(t->ledger, m.pieces);
    return status;
}

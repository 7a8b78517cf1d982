/* load_post_processor.c - the ids that are put around a text. */
#include "text/loader.h"

#include <string.h>

enum { TEMPLATE_NAMES_MAX = 64 };

typedef struct template_piece {
    bool is_text;
    const char *name;
} template_piece;

typedef struct post_template {
    template_piece pieces[TEMPLATE_NAMES_MAX];
    uint32_t piece_count;
    struct {
        const char *name;
        uint32_t ids[TEMPLATE_NAMES_MAX];
        uint32_t id_count;
    } tokens[TEMPLATE_NAMES_MAX];
    uint32_t token_count;
    uint32_t ends[2]; /* of RobertaProcessing and BertProcessing: before and behind the text */
    bool has_ends[2];
} post_template;

/* {"SpecialToken": {"id": NAME, "type_id": N}} or {"Sequence": {"id": "A", "type_id": N}}, of which the brace has been
 * read */
static leat_status read_template_piece(loader *l, template_piece *out_piece)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind != JSON_KEY || (!json_text_is(&token, "SpecialToken") && !json_text_is(&token, "Sequence")))
        return FAIL_AT(l, &token, "post_processor: a piece is a SpecialToken or a Sequence");
    out_piece->is_text = json_text_is(&token, "Sequence");
    out_piece->name = NULL;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "post_processor", "an object"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (!json_text_is(&token, "id")) {
            TRY(json_skip(l->parser, l->error));
            continue;
        }
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_STRING, "post_processor", "an id"));
        if (out_piece->is_text && !json_text_is(&token, "A"))
            return FAIL_AT(l, &token, "post_processor: the template of one text names another sequence than A");
        TRY(arena_copy_text(&l->t->storage, token.text, token.text_bytes, &out_piece->name, l->error));
    }
    if (out_piece->name == NULL) return FAIL_AT(l, &token, "post_processor: a piece without an id");
    TRY(loader_next(l, &token));
    return loader_expect(l, &token, JSON_OBJECT_END, "post_processor", "the end of a piece");
}

static leat_status read_template_pieces(loader *l, post_template *p)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a list of pieces"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "post_processor", "a piece"));
        if (p->piece_count == TEMPLATE_NAMES_MAX)
            return FAIL_AT(l, &token, "post_processor: more than %d pieces are not supported", TEMPLATE_NAMES_MAX);
        TRY(read_template_piece(l, &p->pieces[p->piece_count]));
        p->piece_count++;
    }
}

/* {NAME: {"id": NAME, "ids": [...], "tokens": [...]}, ...} */
static leat_status read_template_tokens(loader *l, post_template *p)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "special_tokens", "an object"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (p->token_count == TEMPLATE_NAMES_MAX)
            return FAIL_AT(l, &token, "post_processor: more than %d special tokens are not supported",
                           TEMPLATE_NAMES_MAX);
        vocabulary_quote name = loader_quote(&token);
        TRY(arena_copy_text(&l->t->storage, token.text, token.text_bytes, &p->tokens[p->token_count].name, l->error));
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "special_tokens", "an object"));
        for (;;) {
            TRY(loader_next(l, &token));
            if (token.kind == JSON_OBJECT_END) break;
            if (!json_text_is(&token, "ids")) {
                TRY(json_skip(l->parser, l->error));
                continue;
            }
            TRY(loader_next(l, &token));
            TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "special_tokens", "a list of ids"));
            for (;;) {
                TRY(loader_next(l, &token));
                if (token.kind == JSON_ARRAY_END) break;
                uint32_t *count = &p->tokens[p->token_count].id_count;
                if (*count == TEMPLATE_NAMES_MAX)
                    return FAIL_AT(l, &token, "post_processor: more than %d ids are not supported", TEMPLATE_NAMES_MAX);
                TRY(loader_read_id(l, &token, name, &p->tokens[p->token_count].ids[*count]));
                ++*count;
            }
        }
        p->token_count++;
    }
}

/* ["<s>", 0] */
static leat_status read_end(loader *l, post_template *p, int side)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a token and its id"));
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_STRING, "post_processor", "a token and its id"));
    const vocabulary_quote name = loader_quote(&token);
    TRY(loader_next(l, &token));
    TRY(loader_read_id(l, &token, name, &p->ends[side]));
    p->has_ends[side] = true;
    TRY(loader_next(l, &token));
    return loader_expect(l, &token, JSON_ARRAY_END, "post_processor", "a token and its id");
}

/* Puts both ends around what earlier processors have put there. */
static leat_status apply_ends(loader *l, const json_token *at, const post_template *p)
{
    tokenizer *t = l->t;
    if (!p->has_ends[0] || !p->has_ends[1]) return FAIL_AT(l, at, "post_processor: cls and sep are needed");
    if (t->prefix_count == TEMPLATE_IDS_MAX || t->suffix_count == TEMPLATE_IDS_MAX)
        return FAIL_AT(l, at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
    memmove(t->prefix_ids + 1, t->prefix_ids, t->prefix_count * sizeof *t->prefix_ids);
    t->prefix_ids[0] = p->ends[0];
    t->suffix_ids[t->suffix_count++] = p->ends[1];
    t->prefix_count++;
    return LEAT_OK;
}

/* Puts the template around what earlier processors have put there. */
static leat_status apply_template(loader *l, const json_token *at, const post_template *p)
{
    tokenizer *t = l->t;
    uint32_t prefix[TEMPLATE_IDS_MAX], suffix[TEMPLATE_IDS_MAX], prefix_count = 0, suffix_count = 0;
    bool seen_text = false;
    memcpy(suffix, t->suffix_ids, sizeof suffix);
    suffix_count = t->suffix_count;
    for (uint32_t i = 0; i < p->piece_count; i++) {
        if (p->pieces[i].is_text) {
            if (seen_text) return FAIL_AT(l, at, "post_processor: a template that repeats the text is not supported");
            seen_text = true;
            continue;
        }
        uint32_t idx = 0;
        while (idx < p->token_count && strcmp(p->tokens[idx].name, p->pieces[i].name) != 0) idx++;
        if (idx == p->token_count)
            return FAIL_AT(l, at, "post_processor: \"%s\" is not among its special_tokens",
                           vocabulary_cut(p->pieces[i].name, strlen(p->pieces[i].name)).text);
        for (uint32_t k = 0; k < p->tokens[idx].id_count; k++) {
            if ((seen_text ? suffix_count : prefix_count) == TEMPLATE_IDS_MAX)
                return FAIL_AT(l, at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
            if (seen_text)
                suffix[suffix_count++] = p->tokens[idx].ids[k];
            else
                prefix[prefix_count++] = p->tokens[idx].ids[k];
        }
    }
    if (!seen_text) return FAIL_AT(l, at, "post_processor: the template has no place for the text");
    if (prefix_count + t->prefix_count > TEMPLATE_IDS_MAX)
        return FAIL_AT(l, at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
    memmove(t->prefix_ids + prefix_count, t->prefix_ids, t->prefix_count * sizeof *prefix);
    memcpy(t->prefix_ids, prefix, prefix_count * sizeof *prefix);
    memcpy(t->suffix_ids, suffix, suffix_count * sizeof *suffix);
    t->prefix_count += prefix_count;
    t->suffix_count = suffix_count;
    return LEAT_OK;
}

typedef enum post_type { POST_UNKNOWN, POST_TEMPLATE, POST_ENDS, POST_BYTE_LEVEL, POST_SEQUENCE } post_type;

static leat_status read_post_type(loader *l, post_type *out_type)
{
    json_token value;
    TRY(loader_next(l, &value));
    TRY(loader_expect(l, &value, JSON_STRING, "post_processor", "a type"));
    if (json_text_is(&value, "TemplateProcessing"))
        *out_type = POST_TEMPLATE;
    else if (json_text_is(&value, "RobertaProcessing") || json_text_is(&value, "BertProcessing"))
        *out_type = POST_ENDS;
    else if (json_text_is(&value, "ByteLevel"))
        *out_type = POST_BYTE_LEVEL;
    else if (json_text_is(&value, "Sequence"))
        *out_type = POST_SEQUENCE;
    else
        return FAIL_AT(l, &value, "post_processor \"%s\" is not supported", loader_quote(&value).text);
    return LEAT_OK;
}

static leat_status read_post_field(loader *l, const json_token *key, post_template *p, uint32_t depth)
{
    bool ignored;
    json_token token;
    if (json_text_is(key, "single")) return read_template_pieces(l, p);
    if (json_text_is(key, "special_tokens")) return read_template_tokens(l, p);
    if (json_text_is(key, "cls")) return read_end(l, p, 0);
    if (json_text_is(key, "sep")) return read_end(l, p, 1);
    if (json_text_is(key, "pair")) return json_skip(l->parser, l->error); /* two texts are never encoded together */
    if (json_text_is(key, "add_prefix_space") || json_text_is(key, "trim_offsets") || json_text_is(key, "use_regex"))
        return loader_read_bool(l, "post_processor", &ignored); /* these change offsets, which we do not give */
    if (!json_text_is(key, "processors"))
        return FAIL_AT(l, key, "post_processor: the field \"%s\" is not supported", loader_quote(key).text);
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a list of processors"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(loader_read_post_processor(l, &token, depth + 1));
    }
}

static leat_status read_post_fields(loader *l, const json_token *first, post_template *p, uint32_t depth)
{
    post_type type = POST_UNKNOWN;
    for (;;) {
        json_token token;
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "type"))
            TRY(read_post_type(l, &type));
        else
            TRY(read_post_field(l, &token, p, depth));
    }
    if (type == POST_UNKNOWN) return FAIL_AT(l, first, "post_processor: no type");
    if (type == POST_ENDS) return apply_ends(l, first, p);
    return type == POST_TEMPLATE ? apply_template(l, first, p) : LEAT_OK;
}

leat_status loader_read_post_processor(loader *l, const json_token *first, uint32_t depth)
{
    enum { DEPTH_MAX = 4 };
    TRY(loader_expect(l, first, JSON_OBJECT_BEGIN, "post_processor", "an object"));
    if (depth > DEPTH_MAX)
        return FAIL_AT(l, first, "post_processor: sequences deeper than %d are not supported", DEPTH_MAX);
    post_template *p;
    json_token at = *first;
    TRY(MEM_NEW(l->t->ledger, TOKENIZER, 1, &p, l->error));
    leat_status status = read_post_fields(l, &at, p, depth);
    mem_free(l->t->ledger, p);
    return status;
}

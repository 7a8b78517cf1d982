/* load_post_processor.c - the ids that are put around a text. */
#include "text/loader.h"

#include <string.h>

enum {
    TEMPLATE_NAMES_MAX = 64,
    POST_IDS_MAX = 2 * TEMPLATE_IDS_MAX + 1, /* the text counts as one */
    POST_TEXT = UINT32_MAX,                  /* in the place of an id: the text */
};

/* What processors make of a text, one after the other: parts, of which a template makes one for each of its pieces.
 * Later processors of a sequence look at the parts. */
typedef struct post_list {
    uint32_t ids[POST_IDS_MAX], ends[TEMPLATE_NAMES_MAX]; /* of parts, in ids */
    uint32_t id_count, part_count;
} post_list;

typedef struct template_piece {
    bool is_text;
    const char *name; /* of the token, or "A" or "B" */
} template_piece;

typedef struct template_pieces {
    template_piece items[TEMPLATE_NAMES_MAX];
    uint32_t count;
} template_pieces;

typedef struct post_template {
    template_pieces single, pair; /* pair: for two parts */
    struct {
        const char *name;
        uint32_t ids[TEMPLATE_NAMES_MAX];
        uint32_t id_count;
    } tokens[TEMPLATE_NAMES_MAX];
    uint32_t token_count;
    uint32_t ends[2]; /* of RobertaProcessing and BertProcessing: before and behind the text */
    bool has_ends[2];
} post_template;

/* {"SpecialToken": {"id": NAME, "type_id": N}} or {"Sequence": {"id": "A" or "B", "type_id": N}}, of which the brace
 * has been read */
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
        if (out_piece->is_text && !json_text_is(&token, "A") && !json_text_is(&token, "B"))
            return FAIL_AT(l, &token, "post_processor: a template names another sequence than A and B");
        TRY(arena_copy_text(&l->t->storage, token.text, token.text_bytes, &out_piece->name, l->error));
    }
    if (out_piece->name == NULL) return FAIL_AT(l, &token, "post_processor: a piece without an id");
    TRY(loader_next(l, &token));
    return loader_expect(l, &token, JSON_OBJECT_END, "post_processor", "the end of a piece");
}

static leat_status read_template_pieces(loader *l, template_pieces *pieces)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a list of pieces"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "post_processor", "a piece"));
        if (pieces->count == TEMPLATE_NAMES_MAX)
            return FAIL_AT(l, &token, "post_processor: more than %d pieces are not supported", TEMPLATE_NAMES_MAX);
        TRY(read_template_piece(l, &pieces->items[pieces->count]));
        pieces->count++;
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

static leat_status append_ids(loader *l, const json_token *at, post_list *list, const uint32_t *ids, uint32_t count)
{
    if (count > POST_IDS_MAX - list->id_count)
        return FAIL_AT(l, at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
    if (count > 0) memcpy(list->ids + list->id_count, ids, count * sizeof *ids);
    list->id_count += count;
    return LEAT_OK;
}

static leat_status append_part(loader *l, const json_token *at, post_list *list, const post_list *from, uint32_t part)
{
    const uint32_t start = part == 0 ? 0 : from->ends[part - 1];
    return append_ids(l, at, list, from->ids + start, from->ends[part] - start);
}

/* Both ends around the first part, one behind every other; RobertaProcessing puts that one before it, too. */
static leat_status apply_ends(loader *l, const json_token *at, const post_template *p, bool on_both_sides,
                              post_list *list)
{
    const post_list before = *list;
    if (!p->has_ends[0] || !p->has_ends[1]) return FAIL_AT(l, at, "post_processor: cls and sep are needed");
    list->id_count = 0;
    for (uint32_t i = 0; i < before.part_count; i++) {
        if (i == 0) TRY(append_ids(l, at, list, &p->ends[0], 1));
        if (i > 0 && on_both_sides) TRY(append_ids(l, at, list, &p->ends[1], 1));
        TRY(append_part(l, at, list, &before, i));
        TRY(append_ids(l, at, list, &p->ends[1], 1));
        list->ends[i] = list->id_count;
    }
    return LEAT_OK;
}

static leat_status append_token(loader *l, const json_token *at, const post_template *p, const char *name,
                                post_list *list)
{
    for (uint32_t i = 0; i < p->token_count; i++)
        if (strcmp(p->tokens[i].name, name) == 0)
            return append_ids(l, at, list, p->tokens[i].ids, p->tokens[i].id_count);
    return FAIL_AT(l, at, "post_processor: \"%s\" is not among its special_tokens",
                   vocabulary_cut(name, strlen(name)).text);
}

/* Without special tokens a text is what the templates for one text leave of it, which has to be the text. */
static leat_status check_single(loader *l, const json_token *at, const template_pieces *single)
{
    uint32_t texts = 0;
    for (uint32_t i = 0; i < single->count; i++) {
        if (!single->items[i].is_text) continue;
        if (strcmp(single->items[i].name, "A") != 0)
            return FAIL_AT(l, at, "post_processor: the template of one text names another sequence than A");
        texts++;
    }
    if (texts > 1) return FAIL_AT(l, at, "post_processor: a template that repeats the text is not supported");
    return texts == 1 ? LEAT_OK : FAIL_AT(l, at, "post_processor: the template has no place for the text");
}

/* The template of as many texts as there are parts. */
static leat_status apply_template(loader *l, const json_token *at, const post_template *p, post_list *list)
{
    const post_list before = *list;
    TRY(check_single(l, at, &p->single));
    if (before.part_count > 2)
        return FAIL_AT(l, at, "post_processor: a template for %u parts, which those before it make, is not supported",
                       (unsigned)before.part_count);
    const template_pieces *pieces = before.part_count == 1 ? &p->single : &p->pair;
    list->id_count = list->part_count = 0;
    for (uint32_t i = 0; i < pieces->count; i++) {
        const template_piece *piece = &pieces->items[i];
        if (piece->is_text)
            TRY(append_part(l, at, list, &before, strcmp(piece->name, "B") == 0 ? 1 : 0));
        else
            TRY(append_token(l, at, p, piece->name, list));
        list->ends[list->part_count++] = list->id_count;
    }
    return LEAT_OK;
}

typedef enum post_type {
    POST_UNKNOWN,
    POST_TEMPLATE,
    POST_BERT,
    POST_ROBERTA,
    POST_BYTE_LEVEL,
    POST_SEQUENCE
} post_type;

static leat_status read_post_type(loader *l, post_type *out_type)
{
    json_token value;
    TRY(loader_next(l, &value));
    TRY(loader_expect(l, &value, JSON_STRING, "post_processor", "a type"));
    if (json_text_is(&value, "TemplateProcessing"))
        *out_type = POST_TEMPLATE;
    else if (json_text_is(&value, "BertProcessing"))
        *out_type = POST_BERT;
    else if (json_text_is(&value, "RobertaProcessing"))
        *out_type = POST_ROBERTA;
    else if (json_text_is(&value, "ByteLevel"))
        *out_type = POST_BYTE_LEVEL;
    else if (json_text_is(&value, "Sequence"))
        *out_type = POST_SEQUENCE;
    else
        return FAIL_AT(l, &value, "post_processor \"%s\" is not supported", loader_quote(&value).text);
    return LEAT_OK;
}

static leat_status read_processor(loader *l, const json_token *first, post_list *list, uint32_t depth);

static leat_status read_post_field(loader *l, const json_token *key, post_template *p, post_list *list, uint32_t depth)
{
    bool ignored;
    json_token token;
    if (json_text_is(key, "single")) return read_template_pieces(l, &p->single);
    if (json_text_is(key, "pair")) return read_template_pieces(l, &p->pair);
    if (json_text_is(key, "special_tokens")) return read_template_tokens(l, p);
    if (json_text_is(key, "cls")) return read_end(l, p, 0);
    if (json_text_is(key, "sep")) return read_end(l, p, 1);
    if (json_text_is(key, "add_prefix_space") || json_text_is(key, "trim_offsets") || json_text_is(key, "use_regex"))
        return loader_read_bool(l, "post_processor", &ignored); /* these change offsets, which we do not give */
    if (!json_text_is(key, "processors"))
        return FAIL_AT(l, key, "post_processor: the field \"%s\" is not supported", loader_quote(key).text);
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a list of processors"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(read_processor(l, &token, list, depth + 1));
    }
}

static leat_status read_post_fields(loader *l, const json_token *first, post_template *p, post_list *list,
                                    uint32_t depth)
{
    post_type type = POST_UNKNOWN;
    for (;;) {
        json_token token;
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "type"))
            TRY(read_post_type(l, &type));
        else
            TRY(read_post_field(l, &token, p, list, depth));
    }
    switch (type) {
    case POST_UNKNOWN: return FAIL_AT(l, first, "post_processor: no type");
    case POST_TEMPLATE: return apply_template(l, first, p, list);
    case POST_BERT:
    case POST_ROBERTA: return apply_ends(l, first, p, type == POST_ROBERTA, list);
    default: return LEAT_OK; /* a sequence has done its work */
    }
}

/* One whose first token has been read. */
static leat_status read_processor(loader *l, const json_token *first, post_list *list, uint32_t depth)
{
    enum { DEPTH_MAX = 4 };
    TRY(loader_expect(l, first, JSON_OBJECT_BEGIN, "post_processor", "an object"));
    if (depth > DEPTH_MAX)
        return FAIL_AT(l, first, "post_processor: sequences deeper than %d are not supported", DEPTH_MAX);
    post_template *p;
    json_token at = *first;
    TRY(MEM_NEW(l->t->ledger, TOKENIZER, 1, &p, l->error));
    leat_status status = read_post_fields(l, &at, p, list, depth);
    mem_free(l->t->ledger, p);
    return status;
}

leat_status loader_read_post_processor(loader *l, const json_token *first)
{
    tokenizer *t = l->t;
    const json_token at = *first;
    post_list list = {.ids = {POST_TEXT}, .ends = {1}, .id_count = 1, .part_count = 1};
    uint32_t texts = 0;
    TRY(read_processor(l, first, &list, 0));
    for (uint32_t i = 0; i < list.id_count; i++) {
        if (list.ids[i] == POST_TEXT) {
            texts++;
            continue;
        }
        uint32_t *count = texts == 0 ? &t->prefix_count : &t->suffix_count;
        if (*count == TEMPLATE_IDS_MAX)
            return FAIL_AT(l, &at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
        (texts == 0 ? t->prefix_ids : t->suffix_ids)[(*count)++] = list.ids[i];
    }
    if (texts != 1) return FAIL_AT(l, &at, "post_processor: the text comes %u times", (unsigned)texts);
    return LEAT_OK;
}

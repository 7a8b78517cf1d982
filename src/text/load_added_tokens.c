/* load_added_tokens.c - the tokens that a file adds to its vocabulary. */
#include "text/loader.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <string.h>

static leat_status read_added_field(loader *l, const json_token *key, added_token *token, bool *has_id)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } flags[] = {{"special", ADDED_TOKEN_SPECIAL},
                 {"lstrip", ADDED_TOKEN_LSTRIP},
                 {"rstrip", ADDED_TOKEN_RSTRIP},
                 {"single_word", ADDED_TOKEN_SINGLE_WORD},
                 {"normalized", ADDED_TOKEN_NORMALIZED}};
    json_token value;
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
        if (json_text_is(key, flags[i].name)) {
            bool is_set;
            TRY(loader_read_bool(l, flags[i].name, &is_set));
            token->flags = is_set ? token->flags | flags[i].flag : token->flags & ~flags[i].flag;
            return LEAT_OK;
        }
    if (json_text_is(key, "id")) {
        TRY(loader_next(l, &value));
        *has_id = true;
        const char *text = token->content == NULL ? "" : token->content;
        return loader_read_id(l, &value, vocabulary_cut(text, strlen(text)), &token->id);
    }
    if (json_text_is(key, "content")) {
        TRY(loader_next(l, &value));
        TRY(loader_expect(l, &value, JSON_STRING, "added_tokens", "a token's content"));
        if (value.text_bytes > ADDED_TOKEN_BYTES_MAX)
            return FAIL_AT(l, &value, "an added token is %zu bytes long, at most %d are supported", value.text_bytes,
                           ADDED_TOKEN_BYTES_MAX);
        if (memchr(value.text, 0, value.text_bytes) != NULL) return FAIL_AT(l, &value, "an added token holds U+0000");
        token->content_bytes = (uint32_t)value.text_bytes;
        return arena_copy_text(&l->t->storage, value.text, value.text_bytes, &token->content, l->error);
    }
    return FAIL_AT(l, key, "added_tokens: the field \"%s\" is not supported", loader_quote(key).text);
}

static leat_status push_added(loader *l, const added_token *token)
{
    tokenizer *t = l->t;
    if (t->added_count == l->added_capacity) {
        uint64_t capacity = max_u64(64, l->added_capacity + l->added_capacity / 2);
        void *block = t->added;
        TRY(mem_resize(t->ledger, MEM_TOKENIZER, &block, capacity, sizeof *t->added, "added tokens", l->error));
        t->added = block;
        l->added_capacity = capacity;
    }
    t->added[t->added_count++] = *token;
    return LEAT_OK;
}

/* One token, of which the brace has been read. */
static leat_status read_added(loader *l, const json_token *first, added_token added, bool has_id)
{
    json_token token, at = *first;
    if (l->t->added_count == ADDED_TOKEN_LIMIT)
        return FAIL_AT(l, first, "there are more than %d added tokens", ADDED_TOKEN_LIMIT);
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_added_field(l, &token, &added, &has_id));
    }
    if (!has_id) return FAIL_AT(l, &at, "an added token has no id");
    if (added.content_bytes == 0) return FAIL_AT(l, &at, "the added token with id %" PRIu32 " is empty", added.id);
    return push_added(l, &added);
}

leat_status loader_read_added_tokens(loader *l)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_NULL) return LEAT_OK;
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, "added_tokens", "a list"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "added_tokens", "an object"));
        TRY(read_added(l, &token, (added_token){0}, false));
    }
}

leat_status loader_read_added_decoder(loader *l)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_NULL) return LEAT_OK;
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "added_tokens_decoder", "an object"));
    for (;;) {
        added_token added = {0};
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        json_token number = token; /* the key is the id in decimal digits */
        number.kind = JSON_NUMBER;
        TRY(loader_read_id(l, &number, loader_quote(&token), &added.id));
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "added_tokens_decoder", "an object"));
        TRY(read_added(l, &token, added, true));
        l->t->added[l->t->added_count - 1].flags &= ~(uint32_t)ADDED_TOKEN_NORMALIZED;
    }
}

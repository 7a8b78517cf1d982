/* loader.c - see the header. */
#include "text/loader.h"

#include <inttypes.h>

leat_status loader_next(loader *l, json_token *out_token) { return json_next(l->parser, out_token, l->error); }

leat_status loader_expect(loader *l, const json_token *token, json_kind kind, const char *what, const char *wanted)
{
    if (token->kind == kind) return LEAT_OK;
    return FAIL_AT(l, token, "%s: expected %s", what, wanted);
}

leat_status loader_named(loader *l, leat_status status) { return tokenizer_named(l->t, status, l->error); }

vocabulary_quote loader_quote(const json_token *token) { return vocabulary_cut(token->text, token->text_bytes); }

leat_status loader_copy_text(loader *l, const json_token *token, text_slice *out_text)
{
    const char *copy;
    TRY(arena_copy_text(&l->t->storage, token->text, token->text_bytes, &copy, l->error));
    *out_text = (text_slice){copy, token->text_bytes};
    return LEAT_OK;
}

leat_status loader_read_bool(loader *l, const char *what, bool *out_value)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind != JSON_TRUE && token.kind != JSON_FALSE)
        return FAIL_AT(l, &token, "%s: expected true or false", what);
    *out_value = token.kind == JSON_TRUE;
    return LEAT_OK;
}

/* A token id, checked against the limits. `text` is the token's, for the message. */
leat_status loader_read_id(loader *l, const json_token *token, vocabulary_quote text, uint32_t *out_id)
{
    uint64_t id;
    if (token->kind != JSON_NUMBER || !json_to_u64(token, &id))
        return FAIL_AT(l, token, "the id of token \"%s\" is not a whole number", text.text);
    if (l->vocab_count != 0 && id >= l->vocab_count)
        return FAIL_AT(l, token, "token \"%s\" has id %" PRIu64 ", but the model has %" PRIu32 " tokens", text.text, id,
                       l->vocab_count);
    if (id >= VOCABULARY_ID_LIMIT)
        return FAIL_AT(l, token, "token \"%s\" has id %" PRIu64 "; ids up to %d are supported", text.text, id,
                       VOCABULARY_ID_LIMIT - 1);
    *out_id = (uint32_t)id;
    return LEAT_OK;
}

leat_status loader_run_pass(loader *l, const char *text, uint64_t bytes, const json_limits *limits,
                            leat_status (*pass)(loader *l))
{
    TRY(json_open(l->t->ledger, MEM_TOKENIZER, l->t->name, text, bytes, limits, &l->parser, l->error));
    leat_status status = pass(l);
    json_close(&l->parser);
    return status;
}

/*
 * tokenizer_load.c - from the bytes of a tokenizer.json to a tokenizer.
 *
 * The file of a large model has a quarter of a million tokens and half a million merges; it is read as a stream of
 * events and never held as a tree. The order of its fields is free: merges that come before the vocabulary are skipped
 * and read in a second pass, everything else is stored until the end and joined there.
 */
#include "text/loader.h"

/* Names of tokens by what they are for ("bos_token": "<s>"): nothing that a text or ids are made of. */
static leat_status read_roles(loader *l)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_NULL) return LEAT_OK;
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "role_to_token", "an object or null"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_STRING, "role_to_token", "a token's text"));
    }
}

/* A field of a later release may be there as long as it says nothing. */
static leat_status read_unknown(loader *l, const json_token *key)
{
    json_token token;
    const vocabulary_quote name = loader_quote(key);
    const uint64_t offset = key->offset;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_NULL) return LEAT_OK;
    return json_fail_at(l->parser, offset, l->error, "the field \"%s\" is not supported", name.text);
}

static leat_status read_top_field(loader *l, const json_token *key)
{
    json_token token;
    if (json_text_is(key, "model")) return loader_read_model(l);
    if (json_text_is(key, "added_tokens")) return loader_read_added_tokens(l);
    if (json_text_is(key, "normalizer")) return loader_read_section(l, SECTION_NORMALIZER);
    if (json_text_is(key, "pre_tokenizer")) return loader_read_section(l, SECTION_PRE_TOKENIZER);
    if (json_text_is(key, "decoder")) return loader_read_section(l, SECTION_DECODER);
    if (json_text_is(key, "post_processor")) {
        TRY(loader_next(l, &token));
        return token.kind == JSON_NULL ? LEAT_OK : loader_read_post_processor(l, &token);
    }
    /* The ids of a text are wanted whole: programs that cut and fill up texts say so at each call. */
    if (json_text_is(key, "version") || json_text_is(key, "truncation") || json_text_is(key, "padding"))
        return json_skip(l->parser, l->error);
    if (json_text_is(key, "role_to_token")) return read_roles(l);
    return read_unknown(l, key);
}

static leat_status read_first_pass(loader *l)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "tokenizer", "an object"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_top_field(l, &token));
    }
    return loader_next(l, &token);
}

/* Only the merges; the document is known to be well-formed. */
static leat_status read_second_pass(loader *l)
{
    json_token token;
    TRY(loader_next(l, &token));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (json_text_is(&token, "model"))
            TRY(loader_read_merges_alone(l));
        else
            TRY(json_skip(l->parser, l->error));
    }
}

leat_status tokenizer_load(tokenizer *t, const char *json_text, uint64_t json_bytes, uint32_t vocab_count,
                           leat_error *error)
{
    loader l = {.t = t, .error = error, .vocab_count = vocab_count};
    TRY(loader_run_pass(&l, json_text, json_bytes, &json_limits_default, read_first_pass));
    if (l.merges_are_pending && l.has_vocab) {
        json_limits limits = json_limits_default; /* the keys have been found unique */
        limits.unique_keys = false;
        TRY(loader_run_pass(&l, json_text, json_bytes, &limits, read_second_pass));
    }
    TRY(loader_finish_model(&l));
    while (t->decode.count > 0 && t->decode.steps[t->decode.count - 1].kind == DECODE_FUSE)
        t->decode.count--; /* idle */
    if (!l.has_decoder) t->decode.steps[t->decode.count++] = (decode_step){.kind = DECODE_SPACED};
    return tokenizer_join(t, error);
}

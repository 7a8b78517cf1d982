/* load_config.c - see the header. */
#include "text/load_config.h"

#include "text/loader.h"

#include <inttypes.h>
#include <string.h>

/* "<s>" or {"content": "<s>", ...} or null */
static leat_status read_token_name(loader *l, text_slice *out_text)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_STRING) return loader_copy_text(l, &token, out_text);
    if (token.kind != JSON_OBJECT_BEGIN) return json_skip_rest(l->parser, &token, l->error);
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (!json_text_is(&token, "content")) {
            TRY(json_skip(l->parser, l->error));
            continue;
        }
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_STRING, "content", "a string"));
        TRY(loader_copy_text(l, &token, out_text));
    }
}

/* Says nothing where it is null. */
static leat_status read_choice(loader *l, bool *out_says, bool *out_value)
{
    json_token token;
    TRY(loader_next(l, &token));
    *out_says = token.kind == JSON_TRUE || token.kind == JSON_FALSE;
    if (*out_says)
        *out_value = token.kind == JSON_TRUE;
    else if (token.kind != JSON_NULL)
        return FAIL_AT(l, &token, "expected true, false or null");
    return LEAT_OK;
}

static leat_status read_field(loader *l, const json_token *key, tokenizer_config *config)
{
    bool says_legacy, is_legacy;
    if (json_text_is(key, "added_tokens_decoder")) return loader_read_added_decoder(l);
    if (json_text_is(key, "tokenizer_class")) return read_token_name(l, &config->tokenizer_class);
    if (json_text_is(key, "bos_token")) return read_token_name(l, &config->bos_token);
    if (json_text_is(key, "eos_token")) return read_token_name(l, &config->eos_token);
    if (json_text_is(key, "add_bos_token")) return read_choice(l, &config->says_bos, &config->adds_bos);
    if (json_text_is(key, "add_eos_token")) return read_choice(l, &config->says_eos, &config->adds_eos);
    if (json_text_is(key, "legacy")) {
        TRY(read_choice(l, &says_legacy, &is_legacy));
        if (says_legacy) config->is_legacy = is_legacy;
        return LEAT_OK;
    }
    return json_skip(l->parser, l->error);
}

static leat_status read_fields(loader *l, tokenizer_config *config)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, "tokenizer_config", "an object"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_field(l, &token, config));
    }
    return loader_next(l, &token);
}

leat_status tokenizer_config_load(tokenizer *t, const tokenizer_files *files, tokenizer_config *out_config,
                                  leat_error *error)
{
    *out_config = (tokenizer_config){.is_legacy = true};
    if (files->config == NULL) return LEAT_OK;
    loader l = {.t = t, .error = error, .vocab_count = files->vocab_count};
    TRY(json_open(t->ledger, MEM_TOKENIZER, files->config_name, files->config, files->config_count,
                  &json_limits_default, &l.parser, error));
    leat_status status = read_fields(&l, out_config);
    json_close(&l.parser);
    return status;
}

static leat_status find_token(const tokenizer *t, text_slice named, const char *otherwise, bool *out_has,
                              uint32_t *out_id, leat_error *error)
{
    text_slice text = named.bytes != NULL ? named : (text_slice){otherwise, strlen(otherwise)};
    *out_id = vocabulary_find(&t->vocab, text.bytes, text.count, 0);
    for (uint32_t i = 0; i < t->added_count && *out_id == VOCABULARY_NO_ID; i++)
        if (strlen(t->added[i].content) == text.count && memcmp(t->added[i].content, text.bytes, text.count) == 0)
            *out_id = t->added[i].id;
    *out_has = *out_id != VOCABULARY_NO_ID;
    if (*out_has || named.bytes == NULL) return LEAT_OK;
    return FAIL(error, MODEL, "%s: the configuration puts \"%s\" beside a text, which no token has", t->name,
                vocabulary_cut(text.bytes, text.count).text);
}

leat_status tokenizer_config_frame(tokenizer *t, const tokenizer_config *config, const char *bos, const char *eos,
                                   leat_error *error)
{
    bool has;
    if (config->adds_bos) {
        TRY(find_token(t, config->bos_token, bos, &has, &t->prefix_ids[0], error));
        t->prefix_count = has ? 1 : 0;
    }
    if (config->adds_eos) {
        TRY(find_token(t, config->eos_token, eos, &has, &t->suffix_ids[0], error));
        t->suffix_count = has ? 1 : 0;
    }
    return LEAT_OK;
}

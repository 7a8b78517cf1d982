/*
 * tokenizer_handle.c - leat_tokenizer: opened alone or in an engine's ledger, text to ids and back, and the BOS with
 * which prompts begin.
 */
#include "api/handles.h"

#include "api/chat_files.h"
#include "api/given.h"
#include "api/tokenizer_files.h"
#include "base/bytes.h"

static leat_status find_bos(leat_tokenizer *t, const checkpoint *folder, leat_error *error)
{
    static const char *const names[] = {"<bos>", "<s>", "<|begin_of_text|>"};
    uint32_t ids[1], count = 0;

    t->bos_id = NO_ID;
    if (folder->config && hf_config_has(folder->config, "bos_token_id"))
        TRY(hf_config_token_ids(folder->config, "bos_token_id", tokenizer_id_count(t->inner), ids, 1, &count, error));
    if (count) t->bos_id = ids[0];
    for (size_t i = 0; i < ARRAY_COUNT(names) && t->bos_id == NO_ID; i++)
        tokenizer_id_of(t->inner, names[i], &t->bos_id);
    const chat_builtin *family = chat_builtin_find(t->inner);
    t->adds_bos = t->bos_id != NO_ID && (tokenizer_begins_with(t->inner, t->bos_id) || (family && family->bos));
    return LEAT_OK;
}

void find_bos_change(const leat_tokenizer *t, const token_list *ids, bool *out_adds, uint64_t *out_dropped)
{
    *out_dropped = 0;
    *out_adds = t->adds_bos && (ids->count == 0 || ids->ids[0] != t->bos_id);
    if (!t->adds_bos) return;
    while (*out_dropped + 1 < ids->count && ids->ids[*out_dropped] == t->bos_id &&
           ids->ids[*out_dropped + 1] == t->bos_id)
        ++*out_dropped;
}

leat_status tokenizer_handle_open(const checkpoint *folder, mem *ledger, uint32_t vocab_count, leat_tokenizer **out,
                                  leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_tokenizer *t = NULL;

    TRY(mem_alloc(ledger, MEM_TOKENIZER, 1, sizeof *t, 0, "tokenizer", (void **)&t, error));
    t->ledger = ledger;
    chat_source_init(&t->chat, ledger);
    TRY_OR(done, tokenizer_place_open(folder, ledger, vocab_count, &t->inner, error));
    TRY_OR(done, find_bos(t, folder, error));
    TRY_OR(done, chat_files_find(folder, ledger, MEM_TOKENIZER, t->inner, &t->chat, error));
    t->peak_bytes = mem_pool_usage(ledger, MEM_TOKENIZER).peak_bytes;
done:
    if (status == LEAT_OK)
        *out = t;
    else
        leat_tokenizer_close(&t);
    return status;
}

leat_status leat_tokenizer_open(const char *path, leat_tokenizer **out_tokenizer, leat_error *error)
{
    leat_status status = LEAT_OK;
    checkpoint *folder = NULL;
    mem *ledger = NULL;
    leat_tokenizer *t = NULL;

    if (!path || !*path) return FAIL(error, USAGE, "no tokenizer was named");
    TRY(checkpoint_open_texts(path, &folder, error));
    TRY_OR(done, mem_open(0, &ledger, error));
    TRY_OR(done, tokenizer_handle_open(folder, ledger, 0, &t, error));
    t->owns_ledger = true;
done:
    checkpoint_close(&folder);
    if (status == LEAT_OK)
        *out_tokenizer = t;
    else
        mem_close(&ledger);
    return status;
}

void leat_tokenizer_close(leat_tokenizer **handle)
{
    leat_tokenizer *t = *handle;

    if (!t) return;
    mem *ledger = t->ledger;
    const bool owns_ledger = t->owns_ledger;
    chat_source_reset(&t->chat);
    tokenizer_close(&t->inner);
    mem_free(ledger, t);
    if (owns_ledger) mem_close(&ledger);
    *handle = NULL;
}

void leat_tokenizer_memory(const leat_tokenizer *t, uint64_t *out_current, uint64_t *out_peak)
{
    *out_current = mem_pool_usage(t->ledger, MEM_TOKENIZER).current_bytes;
    *out_peak = t->peak_bytes;
}

static leat_status encode(const leat_tokenizer *t, const char *text, size_t text_bytes, unsigned flags, bool bos_once,
                          leat_tokens *out_tokens, leat_error *error)
{
    leat_status status = LEAT_OK;
    token_list ids;
    bool prepend = false;
    uint64_t dropped = 0;

    token_list_init(&ids, t->ledger);
    TRY_OR(done, tokenizer_encode(t->inner, text, text_bytes, flags, &ids, error));
    if (bos_once) find_bos_change(t, &ids, &prepend, &dropped);
    TRY_OR(done,
           give_tokens(ids.ids ? ids.ids + dropped : NULL, ids.count - dropped, prepend, t->bos_id, out_tokens, error));
done:
    token_list_reset(&ids);
    return status;
}

leat_status leat_tokenize(const leat_tokenizer *t, const char *text, size_t text_bytes, bool special, bool post_process,
                          leat_tokens *out_tokens, leat_error *error)
{
    const unsigned flags = (special ? 0 : TOKENIZER_PLAIN) | (post_process ? TOKENIZER_POST_PROCESS : 0);
    return encode(t, text, text_bytes, flags, false, out_tokens, error);
}

leat_status leat_tokenize_prompt(const leat_tokenizer *t, const char *text, size_t text_bytes, leat_tokens *out_tokens,
                                 leat_error *error)
{
    return encode(t, text, text_bytes, TOKENIZER_POST_PROCESS, true, out_tokens, error);
}

leat_status leat_detokenize(const leat_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                            leat_text *out_text, leat_error *error)
{
    leat_status status = LEAT_OK;
    text_buffer buffer;

    text_buffer_init(&buffer, t->ledger);
    TRY_OR(done, tokenizer_decode(t->inner, ids, count, skip_special, &buffer, error));
    TRY_OR(done, give_text(&buffer, out_text, error));
done:
    text_buffer_reset(&buffer);
    return status;
}

const char *leat_token_text(const leat_tokenizer *t, uint32_t id) { return tokenizer_token_text(t->inner, id, NULL); }

leat_status leat_token_bytes(const leat_tokenizer *t, uint32_t id, leat_text *out_text, leat_error *error)
{
    leat_status status = LEAT_OK;
    text_buffer buffer;

    text_buffer_init(&buffer, t->ledger);
    TRY_OR(done, tokenizer_token_bytes(t->inner, id, &buffer, error));
    TRY_OR(done, give_text(&buffer, out_text, error));
done:
    text_buffer_reset(&buffer);
    return status;
}

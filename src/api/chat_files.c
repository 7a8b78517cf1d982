/*
 * chat_files.c - reads the files, lets the text room take them apart, and forgets them.
 */
#include "api/chat_files.h"

#include "base/bytes.h"

/* The files as far as they exist. */
typedef struct chat_texts {
    char *texts[4];
    chat_files files;
} chat_texts;

static void free_chat_texts(chat_texts *c, mem *ledger)
{
    for (size_t i = 0; i < ARRAY_COUNT(c->texts); i++) mem_free(ledger, c->texts[i]);
}

static leat_status load_chat_texts(const checkpoint *folder, mem *ledger, mem_pool pool, chat_texts *c,
                                   leat_error *error)
{
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json", "chat_template.json",
                                        "special_tokens_map.json"};
    chat_file *const files[] = {&c->files.template_jinja, &c->files.tokenizer_config, &c->files.template_json,
                                &c->files.special_tokens_map};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        uint64_t bytes;
        TRY(checkpoint_load_text(folder, names[i], ledger, pool, &c->texts[i], &bytes, error));
        *files[i] = (chat_file){c->texts[i], bytes};
    }
    return LEAT_OK;
}

leat_status chat_files_find(const checkpoint *folder, mem *ledger, mem_pool pool, const tokenizer *t,
                            chat_source *source, leat_error *error)
{
    chat_texts texts = {0};

    leat_status status = load_chat_texts(folder, ledger, pool, &texts, error);
    if (status == LEAT_OK) status = chat_source_find(&texts.files, t, source, error);
    free_chat_texts(&texts, ledger);
    return status;
}

/* tokenizer_files.c - see the header. */
#include "api/tokenizer_files.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

/* A tokenizer.json writes every merge out and quotes every token: times the size of the other kinds, as measured
 * (docs/measurements/memory.md). */
static const struct {
    const char *name;
    tokenizer_file_kind kind;
    uint64_t json_ratio;
} known[] = {{"tokenizer.json", TOKENIZER_JSON, 1},
             {"tokenizer.model", TOKENIZER_SENTENCEPIECE, 6},
             {"tiktoken.model", TOKENIZER_TIKTOKEN, 6}};

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);
    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

/* The first by name, so that the choice does not depend on the order of the folder. */
static void find_tiktoken(const checkpoint *folder, char out_name[TOKENIZER_NAME_BYTES])
{
    DIR *list = file_list(folder->folder_fd, ".");
    out_name[0] = 0;
    if (list == NULL) return;
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        const char *name = entry->d_name;
        if (name[0] == '.' || !ends_with(name, ".tiktoken") || strlen(name) >= TOKENIZER_NAME_BYTES) continue;
        if (out_name[0] == 0 || strcmp(name, out_name) < 0) snprintf(out_name, TOKENIZER_NAME_BYTES, "%s", name);
    }
    closedir(list);
}

leat_status tokenizer_place_find(const checkpoint *folder, tokenizer_place *out_place, leat_error *error)
{
    uint64_t bytes;
    *out_place = (tokenizer_place){0};
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        TRY(checkpoint_text_bytes(folder, known[i].name, &bytes, error));
        if (bytes == 0) continue;
        snprintf(out_place->name, sizeof out_place->name, "%s", known[i].name);
        out_place->kind = known[i].kind;
        out_place->json_bytes = bytes * known[i].json_ratio;
        return LEAT_OK;
    }
    find_tiktoken(folder, out_place->name);
    if (out_place->name[0] == 0) return LEAT_OK;
    TRY(checkpoint_text_bytes(folder, out_place->name, &bytes, error));
    out_place->kind = TOKENIZER_TIKTOKEN;
    out_place->json_bytes = bytes * known[2].json_ratio;
    return LEAT_OK;
}

leat_status tokenizer_place_open(const checkpoint *folder, mem *ledger, uint32_t vocab_count, tokenizer **out_tokenizer,
                                 leat_error *error)
{
    static const char config_name[] = "tokenizer_config.json";
    leat_status status;
    tokenizer_place place;
    char *text = NULL, *config = NULL;
    uint64_t config_bytes = 0, bytes = 0;
    TRY(tokenizer_place_find(folder, &place, error));
    if (place.name[0] == 0)
        return FAIL(error, MODEL,
                    "the folder has no tokenizer: none of tokenizer.json, tokenizer.model, tiktoken.model");
    TRY_OR(out, checkpoint_load_text(folder, place.name, ledger, MEM_TOKENIZER, &text, &bytes, error));
    if (place.kind != TOKENIZER_JSON)
        TRY_OR(out, checkpoint_load_text(folder, config_name, ledger, MEM_TOKENIZER, &config, &config_bytes, error));
    const tokenizer_files files = {.kind = place.kind,
                                   .name = place.name,
                                   .bytes = text,
                                   .count = bytes,
                                   .config_name = config_name,
                                   .config = config,
                                   .config_count = config_bytes,
                                   .vocab_count = vocab_count};
    status = tokenizer_open_files(ledger, &files, out_tokenizer, error);
out:
    mem_free(ledger, text);
    mem_free(ledger, config);
    return status;
}

/*
 * pack_texts.c - what is copied, and the index that is made.
 */
#include "exec/pack_texts.h"

#include "base/bytes.h"
#include "exec/pack_digest.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static const char index_name[] = "model.safetensors.index.json";

static leat_status write_text(pack_folder *f, const char *name, const char *text, uint64_t bytes, leat_error *error)
{
    char path[PACK_PATH_BYTES];
    uint8_t digest[PACK_DIGEST_BYTES];
    pack_file *listed = NULL;
    TRY(pack_folder_name(f, name, path, error));
    TRY(pack_digest_of(text, bytes, digest, error));
    TRY(file_replace(path, text, bytes, 0644, error));
    TRY(pack_folder_list(f, name, &listed, error));
    return bytes ? pack_file_add_span(&f->manifest, listed, bytes, digest, error) : LEAT_OK;
}

static leat_status write_index(pack_folder *f, const pack_layout *p, leat_error *error)
{
    leat_status status;
    text_out t = {.ledger = p->ledger};
    uint64_t total = 0;
    const char *separator = "";
    for (uint64_t i = 0; i < p->item_count; i++) total += p->items[i].what.bytes;
    TRY_OR(done, text_out_add(&t, error, "{\"metadata\": {\"total_size\": %" PRIu64 "}, \"weight_map\": {", total));
    for (uint32_t s = 0; s < p->shard_count; s++) {
        char name[PACK_NAME_BYTES];
        pack_shard_name(p, s, name);
        for (uint64_t i = p->shards[s].first_item; i < p->shards[s].end_item; i++, separator = ",") {
            TRY_OR(done, text_out_add(&t, error, "%s\n", separator));
            TRY_OR(done, text_out_add_string(&t, p->items[i].what.name, error));
            TRY_OR(done, text_out_add(&t, error, ": \"%s\"", name));
        }
    }
    TRY_OR(done, text_out_add(&t, error, "\n}}\n"));
    status = write_text(f, index_name, t.text, t.bytes, error);
done:
    mem_free(p->ledger, t.text);
    return status;
}

static bool ends_with(const char *text, const char *suffix)
{
    const size_t length = strlen(text), suffix_length = strlen(suffix);
    return length >= suffix_length && strcmp(text + length - suffix_length, suffix) == 0;
}

/* Configuration, tokenizer, template, licence: every file that holds no weights. */
static bool is_copied(const checkpoint *c, const char *name)
{
    static const char *const weights[] = {
        ".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf", ".onnx", ".part",
        ".tmp"};
    struct stat info;
    if (name[0] == '.' || strcmp(name, PACK_MANIFEST_NAME) == 0) return false;
    for (size_t i = 0; i < ARRAY_COUNT(weights); i++)
        if (ends_with(name, weights[i])) return false;
    return fstatat(c->folder_fd, name, &info, 0) == 0 && S_ISREG(info.st_mode);
}

static leat_status copy_texts(pack_folder *f, const checkpoint *c, leat_error *error)
{
    leat_status status = LEAT_OK;
    DIR *listing = file_list(c->folder_fd, ".");
    if (!listing) return FAIL_OS(error, IO, errno, "%s: cannot be listed", c->path);
    for (const struct dirent *entry; status == LEAT_OK && (entry = readdir(listing));) {
        char *text = NULL;
        uint64_t bytes = 0;
        if (!is_copied(c, entry->d_name)) continue;
        status = checkpoint_load_text(c, entry->d_name, f->ledger, MEM_META, &text, &bytes, error);
        if (status == LEAT_OK) status = write_text(f, entry->d_name, text, bytes, error);
        mem_free(f->ledger, text);
    }
    closedir(listing);
    return status;
}

leat_status pack_texts_write(pack_folder *f, const pack_layout *layout, leat_error *error)
{
    TRY(copy_texts(f, layout->source, error));
    return write_index(f, layout, error);
}

/*
 * checkpoint.c - opens a checkpoint's folder: configuration, weight files, their headers.
 *
 * Which weight files there are is said by the index file, or by their names when there is no index. What is in them is
 * said by their own headers alone: an index that disagrees is stale, which is common among converted checkpoints, and
 * gives a warning. Names from the index are checked before anything is opened, and every file is opened beneath the
 * root, so that neither a name nor a link leads outside.
 *
 * Order of opening: path -> config.json -> names of the weight files -> their headers -> the index compared with the
 * headers.
 *
 * Threads: opened and closed by one thread; after that the functions that take a const checkpoint may be called from
 * any thread.
 */
#include "exec/checkpoint.h"

#include "base/bytes.h"
#include "base/visible.h"
#include "exec/model_path.h"
#include "format/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    INDEX_BYTES_MAX = 64 << 20,
    SHARD_COUNT_MAX = 4096, /* the largest published checkpoints have a few hundred */
    NAME_BYTES_MAX = 255,   /* what Linux file systems allow */
    PATH_BYTES = MODEL_PATH_BYTES + NAME_BYTES_MAX + 2,
    SHOWN_BYTES_MAX = 200, /* of a name from a file, in a message */
    WARNING_BYTES = 1024,
};

static const char index_name[] = "model.safetensors.index.json";
static const char single_name[] = "model.safetensors";
static const char shard_suffix[] = ".safetensors";

/* ---- files of the folder ---- */

/* `name` relative to root_fd. */
static void join_below_root(const checkpoint *c, const char *name, char out_path[PATH_BYTES])
{
    if (strcmp(c->below_root, ".") == 0) {
        snprintf(out_path, PATH_BYTES, "%s", name);
    } else {
        snprintf(out_path, PATH_BYTES, "%s/%s", c->below_root, name);
    }
}

/* A link counts as existing even when it leads nowhere: opening it then says so. */
static bool name_exists(const checkpoint *c, const char *name)
{
    struct stat info;
    return fstatat(c->folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static leat_status open_below_root(const checkpoint *c, const char *name, file_mode mode, file *out_file,
                                   leat_error *error)
{
    char path[PATH_BYTES];
    join_below_root(c, name, path);
    return file_open(c->root_fd, path, true, mode, out_file, error);
}

static leat_status load_text(const checkpoint *c, const char *name, mem *ledger, mem_pool pool, uint64_t bytes_max,
                             char **out_text, uint64_t *out_bytes, leat_error *error)
{
    char path[PATH_BYTES];
    join_below_root(c, name, path);
    return file_load(ledger, pool, c->root_fd, path, true, bytes_max, out_text, out_bytes, error);
}

leat_status checkpoint_load_text(const checkpoint *c, const char *name, mem *ledger, mem_pool pool, char **out_text,
                                 uint64_t *out_bytes, leat_error *error)
{
    if (!name_exists(c, name)) {
        *out_text = NULL;
        *out_bytes = 0;
        return LEAT_OK;
    }
    return load_text(c, name, ledger, pool, CHECKPOINT_TEXT_BYTES_MAX, out_text, out_bytes, error);
}

static leat_status load_config(checkpoint *c, const char *name, hf_config **out_config, leat_error *error)
{
    char *text = NULL;
    uint64_t bytes = 0;
    TRY(load_text(c, name, c->ledger, MEM_META, HF_CONFIG_BYTES_MAX, &text, &bytes, error));
    leat_status status = hf_config_open(c->ledger, name, text, bytes, out_config, error);
    mem_free(c->ledger, text);
    return status;
}

/* ---- names of the weight files ---- */

/* A plain name, hence inside the folder, and one that says safetensors: nothing else is ever opened as weights. */
static bool is_shard_name(const char *text, size_t length)
{
    size_t suffix_length = sizeof shard_suffix - 1;
    if (length <= suffix_length || length > NAME_BYTES_MAX || text[0] == '.') return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        bool is_allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                          c == '_' || c == '-';
        if (!is_allowed) return false;
    }
    return memcmp(text + length - suffix_length, shard_suffix, suffix_length) == 0;
}

/* The place of `name` among the sorted file names, or where it belongs. */
static uint32_t find_shard(const checkpoint *c, const char *name, bool *out_is_present)
{
    uint32_t low = 0, high = c->file_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(c->file_names[middle], name);
        if (order == 0) {
            *out_is_present = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out_is_present = false;
    return low;
}

static leat_status add_shard(checkpoint *c, const char *name, leat_error *error)
{
    bool is_present;
    uint32_t place = find_shard(c, name, &is_present);
    if (is_present) return LEAT_OK;
    if (c->file_count == SHARD_COUNT_MAX) {
        return FAIL(error, MODEL, "%s: more than %d weight files", name, SHARD_COUNT_MAX);
    }
    if ((c->file_count & (c->file_count - 1)) == 0) { /* full at powers of two */
        uint64_t capacity = c->file_count == 0 ? 1 : (uint64_t)c->file_count * 2;
        TRY(mem_resize(c->ledger, MEM_META, (void **)&c->file_names, capacity, sizeof *c->file_names,
                       "names of weight files", error));
    }
    char *copy = NULL;
    TRY(mem_alloc(c->ledger, MEM_META, strlen(name) + 1, 1, 0, "name of a weight file", (void **)&copy, error));
    strcpy(copy, name);
    memmove(c->file_names + place + 1, c->file_names + place, (c->file_count - place) * sizeof *c->file_names);
    c->file_names[place] = copy;
    c->file_count++;
    return LEAT_OK;
}

/* What the index says: this tensor lies in that file. Both names have been checked. */
typedef leat_status index_visitor(void *user, const char *tensor_name, const char *shard_name, leat_error *error);

static leat_status walk_weight_map(json *parser, index_visitor *visit, void *user, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN)
        return json_fail_at(parser, token.offset, error, "weight_map is not an object");
    for (;;) {
        char tensor_name[TENSOR_NAME_BYTES_MAX + 1], shard_name[NAME_BYTES_MAX + 1];
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (token.text_bytes > TENSOR_NAME_BYTES_MAX) {
            return json_fail_at(parser, token.offset, error, "a tensor's name has %zu bytes; at most %d are allowed",
                                token.text_bytes, TENSOR_NAME_BYTES_MAX);
        }
        memcpy(tensor_name, token.text, token.text_bytes);
        tensor_name[token.text_bytes] = 0;

        TRY(json_next(parser, &token, error));
        if (token.kind != JSON_STRING) {
            return json_fail_at(parser, token.offset, error, "the file of tensor %.*s is not a string", SHOWN_BYTES_MAX,
                                tensor_name);
        }
        if (!is_shard_name(token.text, token.text_bytes)) {
            return json_fail_at(parser, token.offset, error,
                                "tensor %.*s lies in '%.*s', which is not the plain name of a safetensors file",
                                SHOWN_BYTES_MAX, tensor_name, (int)min_u64(token.text_bytes, SHOWN_BYTES_MAX),
                                token.text);
        }
        memcpy(shard_name, token.text, token.text_bytes);
        shard_name[token.text_bytes] = 0;
        TRY(visit(user, tensor_name, shard_name, error));
    }
}

/* Visits every entry of weight_map in the file's order. Everything else in the file (metadata.total_size) is only
 * advisory. */
static leat_status walk_index(const checkpoint *c, const char *text, uint64_t bytes, index_visitor *visit, void *user,
                              leat_error *error)
{
    static const json_limits limits = {
        .depth_max = 8, .string_bytes_max = 64 << 10, .key_count_max = 2 * TENSOR_COUNT_MAX, .unique_keys = true};
    leat_status status = LEAT_OK;
    bool has_map = false;
    json *parser = NULL;
    json_token token;
    TRY(json_open(c->ledger, MEM_META, index_name, text, bytes, &limits, &parser, error));
    TRY_OR(done, json_next(parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN) {
        status = json_fail_at(parser, token.offset, error, "the index is not an object");
        goto done;
    }
    for (;;) {
        TRY_OR(done, json_next(parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "weight_map")) {
            has_map = true;
            TRY_OR(done, walk_weight_map(parser, visit, user, error));
        } else {
            TRY_OR(done, json_skip(parser, error));
        }
    }
    TRY_OR(done, json_next(parser, &token, error)); /* JSON_END; anything else has failed */
    if (!has_map) status = FAIL(error, MODEL, "%s: no weight_map", index_name);

done:
    json_close(&parser);
    return status;
}

static leat_status add_indexed_shard(void *user, const char *tensor_name, const char *shard_name, leat_error *error)
{
    (void)tensor_name;
    return add_shard(user, shard_name, error);
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), suffix_length = strlen(suffix);
    return length >= suffix_length && strcmp(text + length - suffix_length, suffix) == 0;
}

static leat_status fail_without_weights(bool has_gguf, bool has_pickle, leat_error *error)
{
    leat_status status =
        FAIL(error, MODEL, "no weights: the folder has neither %s nor model*%s", index_name, shard_suffix);
    if (has_gguf) {
        status_hint(error, "GGUF files are not supported yet; use the model's safetensors or MLX version");
    } else if (has_pickle) {
        status_hint(error, "PyTorch pickle files are never opened; use the model's safetensors version");
    }
    return status;
}

/* model*.safetensors */
static leat_status list_shards(checkpoint *c, leat_error *error)
{
    DIR *listing = file_list(c->folder_fd, ".");
    if (!listing) return FAIL_OS(error, IO, errno, "%s: cannot be listed", c->path);
    leat_status status = LEAT_OK;
    bool has_gguf = false, has_pickle = false;
    for (const struct dirent *entry; status == LEAT_OK && (entry = readdir(listing));) {
        const char *name = entry->d_name;
        has_gguf |= ends_with(name, ".gguf");
        has_pickle |= ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth");
        if (strncmp(name, "model", strlen("model")) == 0 && is_shard_name(name, strlen(name)))
            status = add_shard(c, name, error);
    }
    closedir(listing);
    if (status == LEAT_OK && c->file_count == 0) status = fail_without_weights(has_gguf, has_pickle, error);
    return status;
}

/* ---- headers ---- */

static leat_status read_header(checkpoint *c, uint32_t file_idx, leat_error *error)
{
    const file *f = &c->files[file_idx];
    const char *name = c->file_names[file_idx];
    uint8_t first[8] = {0}; /* a shorter file is refused by its size */
    uint64_t header_bytes = 0;
    if (f->bytes >= sizeof first) TRY(file_read(f, name, 0, first, sizeof first, NULL, error));
    TRY(safetensors_header_bytes(name, f->bytes, first, &header_bytes, error));

    char *header = NULL;
    TRY(mem_alloc(c->ledger, MEM_META, header_bytes, 1, 0, "header of a weight file", (void **)&header, error));
    leat_status status = file_read(f, name, sizeof first, header, header_bytes, NULL, error);
    if (status == LEAT_OK) {
        status = safetensors_parse(c->ledger, name, file_idx, f->bytes, header, header_bytes, &c->index, error);
    }
    mem_free(c->ledger, header);
    return status;
}

static leat_status open_shards(checkpoint *c, bool has_index, leat_error *error)
{
    TRY(MEM_NEW(c->ledger, META, c->file_count, &c->files, error));
    for (uint32_t i = 0; i < c->file_count; i++) c->files[i].fd = -1;
    for (uint32_t i = 0; i < c->file_count; i++) {
        if (has_index && !name_exists(c, c->file_names[i])) {
            return FAIL(error, MODEL, "%s: this weight file, named by %s, is missing", c->file_names[i], index_name);
        }
        TRY(open_below_root(c, c->file_names[i], FILE_BUFFERED, &c->files[i], error));
        TRY(read_header(c, i, error));
    }
    return tensor_index_finish(&c->index, c->file_names, error);
}

/* ---- the index against the headers ---- */

typedef struct index_difference {
    checkpoint *c;
    uint8_t *is_listed;                          /* (tensor count) where the index says it is */
    uint64_t misplaced_count;                    /* index entries without such a tensor in that file */
    char tensor_name[TENSOR_NAME_BYTES_MAX + 1]; /* the first of them */
    char shard_name[NAME_BYTES_MAX + 1];
} index_difference;

static leat_status compare_entry(void *user, const char *tensor_name, const char *shard_name, leat_error *error)
{
    (void)error;
    index_difference *d = user;
    const tensor *found = tensor_index_find(&d->c->index, tensor_name);
    if (found && strcmp(d->c->file_names[found->file_idx], shard_name) == 0) {
        d->is_listed[found - d->c->index.tensors] = 1;
        return LEAT_OK;
    }
    if (d->misplaced_count++ == 0) {
        snprintf(d->tensor_name, sizeof d->tensor_name, "%s", tensor_name);
        snprintf(d->shard_name, sizeof d->shard_name, "%s", shard_name);
    }
    return LEAT_OK;
}

static leat_status compare_index(checkpoint *c, const char *text, uint64_t bytes, leat_error *error)
{
    index_difference d = {.c = c};
    TRY(MEM_NEW(c->ledger, META, c->index.count, &d.is_listed, error));
    leat_status status = walk_index(c, text, bytes, compare_entry, &d, error);

    const tensor *unlisted = NULL;
    uint64_t unlisted_count = 0;
    for (uint64_t i = 0; i < c->index.count; i++) {
        if (d.is_listed[i]) continue;
        if (unlisted_count++ == 0) unlisted = &c->index.tensors[i];
    }
    mem_free(c->ledger, d.is_listed);
    TRY(status);

    unsigned long long difference_count = d.misplaced_count + unlisted_count;
    if (d.misplaced_count > 0) {
        checkpoint_warn(c, "%s lists %.*s in %s, which does not hold it; the shards' headers win (%llu difference%s)",
                        index_name, SHOWN_BYTES_MAX, d.tensor_name, d.shard_name, difference_count,
                        difference_count == 1 ? "" : "s");
    } else if (unlisted) {
        checkpoint_warn(c, "%s does not list %.*s, which is in %s; the shards' headers win (%llu difference%s)",
                        index_name, SHOWN_BYTES_MAX, unlisted->name, c->file_names[unlisted->file_idx],
                        difference_count, difference_count == 1 ? "" : "s");
    }
    return LEAT_OK;
}

static leat_status open_indexed_weights(checkpoint *c, leat_error *error)
{
    char *text = NULL;
    uint64_t bytes = 0;
    leat_status status = LEAT_OK;
    TRY(load_text(c, index_name, c->ledger, MEM_META, INDEX_BYTES_MAX, &text, &bytes, error));
    TRY_OR(done, walk_index(c, text, bytes, add_indexed_shard, c, error));
    if (c->file_count == 0) {
        status = FAIL(error, MODEL, "%s: weight_map is empty", index_name);
        goto done;
    }
    TRY_OR(done, open_shards(c, true, error));
    TRY_OR(done, compare_index(c, text, bytes, error));
done:
    mem_free(c->ledger, text);
    return status;
}

static leat_status open_weights(checkpoint *c, leat_error *error)
{
    if (name_exists(c, index_name)) return open_indexed_weights(c, error);
    if (name_exists(c, single_name)) {
        TRY(add_shard(c, single_name, error));
    } else {
        TRY(list_shards(c, error));
    }
    return open_shards(c, false, error);
}

/* ---- life ---- */

static leat_status copy_text(mem *ledger, const char *text, char **out_copy, leat_error *error)
{
    TRY(mem_alloc(ledger, MEM_META, strlen(text) + 1, 1, 0, "path of the checkpoint", (void **)out_copy, error));
    strcpy(*out_copy, text);
    return LEAT_OK;
}

static leat_status open_folder(checkpoint *c, const model_path *where, leat_error *error)
{
    char path[2 * MODEL_PATH_BYTES];
    bool is_root = strcmp(where->below, ".") == 0;
    snprintf(path, sizeof path, "%s%s%s", where->root, is_root ? "" : "/", is_root ? "" : where->below);
    TRY(copy_text(c->ledger, path, &c->path, error));
    TRY(copy_text(c->ledger, where->below, &c->below_root, error));

    c->root_fd = open(where->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* folder_fd serves to list names and to read links. What they name is opened beneath root_fd. */
    if (c->root_fd >= 0)
        c->folder_fd = openat(c->root_fd, where->below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->root_fd >= 0 && c->folder_fd >= 0) return LEAT_OK;
    int os_errno = errno;
    if (os_errno == EACCES || os_errno == EPERM)
        return FAIL_OS(error, PERMISSION, os_errno, "%s: may not be opened", path);
    return FAIL_OS(error, MODEL, os_errno, "%s: the folder cannot be opened", path);
}

/* `texts_only`: a folder that need not hold a model. */
static leat_status open_checkpoint(const char *path, bool texts_only, checkpoint **out_checkpoint, leat_error *error)
{
    assert(path && out_checkpoint);
    leat_status status = LEAT_OK;
    model_path where;
    TRY(model_path_resolve(path, &where, error));

    mem *ledger = NULL;
    checkpoint *c = NULL;
    TRY(mem_open(0, &ledger, error));
    status = MEM_NEW(ledger, META, 1, &c, error);
    if (status != LEAT_OK) {
        mem_close(&ledger);
        return status;
    }
    c->ledger = ledger;
    c->root_fd = c->folder_fd = -1;
    tensor_index_init(&c->index, ledger);

    TRY_OR(failed, open_folder(c, &where, error));
    if (!texts_only && !name_exists(c, "config.json")) {
        status = FAIL(error, MODEL, "the folder has no config.json");
        goto failed;
    }
    if (name_exists(c, "config.json")) TRY_OR(failed, load_config(c, "config.json", &c->config, error));
    if (name_exists(c, "generation_config.json")) {
        TRY_OR(failed, load_config(c, "generation_config.json", &c->generation, error));
    }
    if (!texts_only) TRY_OR(failed, open_weights(c, error));
    *out_checkpoint = c;
    return LEAT_OK;

failed:
    if (error && !error->hint[0] && c->path) status_hint(error, "the folder is %s", c->path);
    checkpoint_close(&c);
    return status;
}

leat_status checkpoint_open(const char *path, checkpoint **out_checkpoint, leat_error *error)
{
    return open_checkpoint(path, false, out_checkpoint, error);
}

leat_status checkpoint_open_texts(const char *path, checkpoint **out_checkpoint, leat_error *error)
{
    return open_checkpoint(path, true, out_checkpoint, error);
}

void checkpoint_close(checkpoint **checkpoint_pointer)
{
    if (!checkpoint_pointer || !*checkpoint_pointer) return;
    checkpoint *c = *checkpoint_pointer;
    mem *ledger = c->ledger;
    hf_config_close(&c->generation);
    hf_config_close(&c->config);
    tensor_index_reset(&c->index);
    for (uint32_t i = 0; i < c->file_count; i++) {
        if (c->files) file_close(&c->files[i]);
        mem_free(ledger, (void *)c->file_names[i]);
    }
    for (uint32_t i = 0; i < c->warning_count; i++) mem_free(ledger, c->warnings[i]);
    mem_free(ledger, c->files);
    mem_free(ledger, c->file_names);
    mem_free(ledger, c->below_root);
    mem_free(ledger, c->path);
    if (c->folder_fd >= 0) close(c->folder_fd);
    if (c->root_fd >= 0) close(c->root_fd);
    mem_free(ledger, c);
    mem_close(&ledger);
    *checkpoint_pointer = NULL;
}

void checkpoint_warn(checkpoint *c, const char *format, ...)
{
    if (c->warning_count == CHECKPOINT_WARNINGS_MAX) return;
    char raw[WARNING_BYTES], shown[WARNING_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    visible_text(raw, strlen(raw), shown, sizeof shown); /* names come from files */
    if (copy_text(c->ledger, shown, &c->warnings[c->warning_count], NULL) == LEAT_OK) c->warning_count++;
}

leat_status checkpoint_reopen(const checkpoint *c, file_mode mode, file *out_files, leat_error *error)
{
    leat_status status = LEAT_OK;
    uint32_t opened = 0;
    for (; opened < c->file_count; opened++) {
        file *again = &out_files[opened];
        TRY_OR(failed, open_below_root(c, c->file_names[opened], mode, again, error));
        /* By name: the file may have been replaced since its header was read. */
        struct stat first, second;
        bool is_same = fstat(c->files[opened].fd, &first) == 0 && fstat(again->fd, &second) == 0 &&
                       first.st_dev == second.st_dev && first.st_ino == second.st_ino &&
                       again->bytes == c->files[opened].bytes && again->modified_ns == c->files[opened].modified_ns;
        if (!is_same) {
            file_close(again);
            status = FAIL(error, MODEL, "%s: the file was replaced or written to while the model was open",
                          c->file_names[opened]);
            goto failed;
        }
    }
    return LEAT_OK;

failed:
    while (opened > 0) file_close(&out_files[--opened]);
    return status;
}

leat_status checkpoint_text_bytes(const checkpoint *c, const char *name, uint64_t *out_bytes, leat_error *error)
{
    file text;

    *out_bytes = 0;
    if (!name_exists(c, name)) return LEAT_OK;
    TRY(open_below_root(c, name, FILE_BUFFERED, &text, error));
    *out_bytes = text.bytes;
    file_close(&text);
    return LEAT_OK;
}

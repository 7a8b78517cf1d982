/*
 * pack.c - from a checkpoint to one whose experts lie in one piece each.
 *
 *   items    every tensor of the new files in order, with the place in the source it comes from: first all that are not
 *            experts, then record after record (gate, up, down; each with its scales and offsets), and zeros between
 *   files    runs of items, cut where one would become too long; each is written as NAME.part and renamed when it is
 *            whole and on the disk
 *   compare  the folder is opened as any checkpoint, and every tensor and part that its model names is compared with
 *            the source's: what is published is what the reader sees
 *
 * The checksums of what was read are written into the manifest (pack_manifest.h) as each file is finished; an
 * interrupted pack goes on from there, if its source and layout are the same (`source` of the manifest is a digest of
 * both).
 *
 * Threads: one; the source is only read.
 */
#include "exec/pack.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "exec/expert_records.h"
#include "exec/pack_manifest.h"
#include "model/model_build.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <openssl/evp.h>

enum { BLOCK_BYTES = 4 << 20, NAME_BYTES = TENSOR_NAME_BYTES_MAX + 1, FILE_NAME_BYTES = 64, PATH_BYTES = 4096 };

static const uint64_t file_bytes_default = (uint64_t)2 << 30;
static const char padding_prefix[] = "leat.padding.";
static const char index_name[] = "model.safetensors.index.json";
static const char *const part_suffixes[PART_COUNT] = {".weight", ".scales", ".biases"};
static const char *const matrix_names[EXPERT_MATRICES] = {"gate_proj", "up_proj", "down_proj"};

typedef struct item {
    tensor what;          /* name, type and shape as written; place in the source */
    bool is_padding;      /* zeros */
    bool begins_span;     /* a checksum of its own begins: every tensor, every record as a whole */
    uint64_t data_offset; /* in the data of its file */
} item;

typedef struct pack_shard {
    uint64_t first_item, end_item;
    char *header; /* with its length before it; the data begins at a multiple of PACK_ALIGN */
    uint64_t header_bytes, data_bytes;
} pack_shard;

typedef struct packer {
    const pack_request *request;
    mem *ledger;
    arena memory;
    tensor *by_place; /* (source's tensor count) sorted by file and offset */
    bool *is_expert;  /* beside it: a stack, or one expert's tensor */
    item *items;
    uint64_t item_count, item_capacity;
    pack_shard *shards;
    uint32_t shard_count;
    pack_manifest manifest;
    char work[PATH_BYTES]; /* FOLDER.unfinished */
    int work_fd;
    uint8_t *block, *other_block; /* (BLOCK_BYTES) */
    uint64_t done_bytes;
    pack_result result;
} packer;

/* ---- items ---- */

static bool lies_before(const tensor *a, const tensor *b)
{
    if (a->file_idx != b->file_idx) return a->file_idx < b->file_idx;
    if (a->offset != b->offset) return a->offset < b->offset;
    return a->bytes < b->bytes;
}

/* A heap sort: in place, where qsort may take memory behind the ledger's back. */
static void sink(tensor *heap, uint64_t count, uint64_t idx)
{
    const tensor moved = heap[idx];
    for (uint64_t child; (child = 2 * idx + 1) < count; idx = child) {
        if (child + 1 < count && lies_before(&heap[child], &heap[child + 1])) child++;
        if (!lies_before(&moved, &heap[child])) break;
        heap[idx] = heap[child];
    }
    heap[idx] = moved;
}

static leat_status sort_source(packer *p, leat_error *error)
{
    const tensor_index *index = &p->request->source->index;
    TRY(MEM_NEW(p->ledger, META, index->count, &p->by_place, error));
    TRY(MEM_NEW(p->ledger, META, index->count, &p->is_expert, error));
    memcpy(p->by_place, index->tensors, index->count * sizeof *p->by_place);
    for (uint64_t i = index->count / 2; i-- > 0;) sink(p->by_place, index->count, i);
    for (uint64_t left = index->count; left > 1; left--) {
        const tensor last = p->by_place[0];
        p->by_place[0] = p->by_place[left - 1];
        p->by_place[left - 1] = last;
        sink(p->by_place, left - 1, 0);
    }
    return LEAT_OK;
}

/* The tensor in which a part lies: the last that begins at or before it. */
static uint64_t tensor_of_part(const packer *p, const weight_part *part)
{
    const tensor wanted = {.file_idx = part->file_idx, .offset = part->offset, .bytes = UINT64_MAX};
    uint64_t low = 0, high = p->request->source->index.count;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (lies_before(&p->by_place[middle], &wanted))
            low = middle + 1;
        else
            high = middle;
    }
    assert(low > 0);
    assert(p->by_place[low - 1].offset + p->by_place[low - 1].bytes >= part->offset + part->bytes);
    return low - 1;
}

static leat_status add_item(packer *p, const item *added, leat_error *error)
{
    if (p->item_count == TENSOR_COUNT_MAX)
        return FAIL(error, MODEL, "the pack would have more than %d tensors", TENSOR_COUNT_MAX);
    if (p->item_count == p->item_capacity) {
        const uint64_t capacity = max_u64(256, 2 * p->item_capacity);
        TRY(mem_resize(p->ledger, MEM_META, (void **)&p->items, capacity, sizeof *p->items, "tensors of a pack",
                       error));
        p->item_capacity = capacity;
    }
    item *to = &p->items[p->item_count];
    *to = *added;
    TRY(arena_copy_text(&p->memory, added->what.name, strlen(added->what.name), &to->what.name, error));
    p->item_count++;
    return LEAT_OK;
}

static const weight *stack_of(const moe_block *moe, uint32_t which)
{
    return which == 0 ? &moe->gate : which == 1 ? &moe->up : &moe->down;
}

static leat_status mark_experts(packer *p, leat_error *error)
{
    const model_desc *m = p->request->model;
    for (uint32_t l = 0; l < m->layer_count; l++) {
        const block *b = layer_block(&m->layers[l], BLOCK_MOE);
        for (uint32_t which = 0; b && which < EXPERT_MATRICES; which++) {
            const weight *w = stack_of(&b->moe, which);
            if (w->global_scale_part)
                return FAIL(error, MODEL,
                            "%s has global scales, and experts with tensors of their own have no place "
                            "for them: such a model cannot be packed",
                            w->name);
            for (uint32_t e = 0; e < w->stack_count; e++)
                for (int part = 0; part < PART_COUNT; part++)
                    if (w->parts[e][part].bytes) p->is_expert[tensor_of_part(p, &w->parts[e][part])] = true;
        }
    }
    return LEAT_OK;
}

static leat_status add_rest(packer *p, leat_error *error)
{
    for (uint64_t i = 0; i < p->request->source->index.count; i++) {
        const tensor *t = &p->by_place[i];
        const bool is_padding =
            strncmp(t->name, padding_prefix, sizeof padding_prefix - 1) == 0; /* an earlier pack's */
        if (p->is_expert[i] || is_padding) continue;
        TRY(add_item(p, &(item){.what = *t, .begins_span = true}, error));
    }
    return LEAT_OK;
}

static leat_status add_record(packer *p, const moe_block *moe, uint32_t expert, leat_error *error)
{
    bool is_first = true;
    for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
        for (int part = 0; part < PART_COUNT; part++) {
            const weight_part *from = &stack_of(moe, which)->parts[expert][part];
            char name[NAME_BYTES];
            if (!from->bytes) continue;
            const tensor *stored = &p->by_place[tensor_of_part(p, from)];
            const int length = snprintf(name, sizeof name, "%s.%u.%s%s", moe->experts_path, expert, matrix_names[which],
                                        part_suffixes[part]);
            if (length >= (int)sizeof name)
                return FAIL(error, MODEL, "%.64s...: the names of its experts would be too long", moe->experts_path);
            const tensor what = {.name = name,
                                 .type = stored->type,
                                 .rank = 2,
                                 .dims = {stack_of(moe, which)->shape.rows, stored->dims[stored->rank - 1]},
                                 .file_idx = from->file_idx,
                                 .offset = from->offset,
                                 .bytes = from->bytes};
            TRY(add_item(p, &(item){.what = what, .begins_span = is_first}, error));
            is_first = false;
        }
    p->result.record_count++;
    return LEAT_OK;
}

static leat_status add_padding(packer *p, uint64_t bytes, leat_error *error)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%" PRIu64, padding_prefix, p->item_count);
    p->result.padding_bytes += bytes;
    const tensor what = {.name = name, .type = DTYPE_U8, .rank = 1, .dims = {bytes}, .bytes = bytes};
    return add_item(p, &(item){.what = what, .is_padding = true, .begins_span = true}, error);
}

/* ---- files ---- */

static leat_status begin_shard(packer *p, leat_error *error)
{
    TRY(mem_resize(p->ledger, MEM_META, (void **)&p->shards, (uint64_t)p->shard_count + 1, sizeof *p->shards,
                   "files of a pack", error));
    p->shards[p->shard_count++] = (pack_shard){.first_item = p->item_count, .end_item = p->item_count};
    return LEAT_OK;
}

/* Gives the items added since the shard's end their places. */
static void close_items(packer *p)
{
    pack_shard *s = &p->shards[p->shard_count - 1];
    for (; s->end_item < p->item_count; s->end_item++) {
        p->items[s->end_item].data_offset = s->data_bytes;
        s->data_bytes += p->items[s->end_item].what.bytes;
    }
}

/* The items that are not experts, cut into files. */
static leat_status lay_out_rest(packer *p, uint64_t file_bytes, leat_error *error)
{
    TRY(begin_shard(p, error));
    TRY(add_rest(p, error));
    const uint64_t count = p->item_count;
    p->item_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t used = p->shards[p->shard_count - 1].data_bytes;
        if (used > 0 && used + p->items[i].what.bytes > file_bytes) TRY(begin_shard(p, error));
        p->item_count = i + 1;
        close_items(p);
    }
    return LEAT_OK;
}

static leat_status lay_out_layer(packer *p, const moe_block *moe, uint64_t file_bytes, leat_error *error)
{
    for (uint32_t e = 0; e < moe->expert_count; e++) {
        const uint64_t used = p->shards[p->shard_count - 1].data_bytes, gap = round_up(used, PACK_ALIGN) - used;
        uint64_t bytes = 0;
        for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
            for (int part = 0; part < PART_COUNT; part++) bytes += stack_of(moe, which)->parts[e][part].bytes;
        if (used > 0 && used + gap + bytes > file_bytes)
            TRY(begin_shard(p, error));
        else if (gap > 0)
            TRY(add_padding(p, gap, error));
        TRY(add_record(p, moe, e, error));
        close_items(p);
    }
    return LEAT_OK;
}

static leat_status add_header_entry(const item *it, text_out *t, leat_error *error)
{
    TRY(text_out_add_string(t, it->what.name, error));
    TRY(text_out_add(t, error, ":{\"dtype\":\"%s\",\"shape\":[", dtype_label(it->what.type)));
    for (uint32_t d = 0; d < it->what.rank; d++)
        TRY(text_out_add(t, error, "%s%" PRIu64, d ? "," : "", it->what.dims[d]));
    return text_out_add(t, error, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", it->data_offset,
                        it->data_offset + it->what.bytes);
}

static leat_status make_header(packer *p, pack_shard *s, leat_error *error)
{
    leat_status status;
    text_out t = {.ledger = p->ledger};
    TRY_OR(fail, text_out_add(&t, error, "12345678{\"__metadata__\":{\"format\":\"%s\"}",
                              hf_config_has(p->request->source->config, "quantization") ? "mlx" : "pt"));
    for (uint64_t i = s->first_item; i < s->end_item; i++) {
        TRY_OR(fail, text_out_add(&t, error, ","));
        TRY_OR(fail, add_header_entry(&p->items[i], &t, error));
    }
    TRY_OR(fail, text_out_add(&t, error, "}"));
    while (t.bytes % PACK_ALIGN) TRY_OR(fail, text_out_add(&t, error, " "));
    store_le64(t.text, t.bytes - 8);
    s->header = t.text;
    s->header_bytes = t.bytes;
    return LEAT_OK;
fail:
    mem_free(p->ledger, t.text);
    return status;
}

static leat_status lay_out(packer *p, leat_error *error)
{
    const model_desc *m = p->request->model;
    const uint64_t file_bytes = p->request->file_bytes ? p->request->file_bytes : file_bytes_default;
    TRY(sort_source(p, error));
    TRY(mark_experts(p, error));
    TRY(lay_out_rest(p, file_bytes, error));
    for (uint32_t l = 0; l < m->layer_count; l++) {
        const block *b = layer_block(&m->layers[l], BLOCK_MOE);
        if (b) TRY(lay_out_layer(p, &b->moe, file_bytes, error));
    }
    for (uint32_t i = 0; i < p->shard_count; i++) {
        TRY(make_header(p, &p->shards[i], error));
        p->result.bytes += p->shards[i].header_bytes + p->shards[i].data_bytes;
    }
    p->result.file_count = p->shard_count;
    return LEAT_OK;
}

static void shard_name(const packer *p, uint32_t idx, char out[FILE_NAME_BYTES])
{
    snprintf(out, FILE_NAME_BYTES, "model-%05u-of-%05u.safetensors", idx + 1, p->shard_count);
}

/* ---- checksums ---- */

static leat_status fail_crypto(leat_error *error) { return FAIL(error, INTERNAL, "the cryptographic library failed"); }

static leat_status open_digest(EVP_MD_CTX **out_context, leat_error *error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1) {
        *out_context = context;
        return LEAT_OK;
    }
    EVP_MD_CTX_free(context);
    return fail_crypto(error);
}

static leat_status digest_of(const void *bytes, uint64_t count, uint8_t out[PACK_DIGEST_BYTES], leat_error *error)
{
    return EVP_Digest(bytes, count, out, NULL, EVP_sha256(), NULL) == 1 ? LEAT_OK : fail_crypto(error);
}

/* The source's files with their times, where in them each item comes from, and the headers. */
static leat_status identify(packer *p, leat_error *error)
{
    const checkpoint *c = p->request->source;
    EVP_MD_CTX *context = NULL;
    leat_status status = LEAT_OK;
    uint8_t digest[PACK_DIGEST_BYTES];
    bool is_good = true;
    TRY(open_digest(&context, error));
    for (uint32_t i = 0; i < c->file_count; i++) {
        struct stat info;
        if (fstat(c->files[i].fd, &info) != 0) {
            status = FAIL_OS(error, IO, errno, "%s: fstat", c->file_names[i]);
            goto done;
        }
        const int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
        is_good = is_good && EVP_DigestUpdate(context, c->file_names[i], strlen(c->file_names[i]) + 1) == 1 &&
                  EVP_DigestUpdate(context, facts, sizeof facts) == 1;
    }
    for (uint64_t i = 0; i < p->item_count; i++) {
        const uint64_t place[] = {p->items[i].what.file_idx, p->items[i].what.offset};
        is_good = is_good && EVP_DigestUpdate(context, place, sizeof place) == 1;
    }
    for (uint32_t i = 0; i < p->shard_count; i++)
        is_good = is_good && EVP_DigestUpdate(context, p->shards[i].header, p->shards[i].header_bytes) == 1;
    is_good = is_good && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    if (is_good)
        pack_digest_text(digest, p->manifest.source);
    else
        status = fail_crypto(error);
done:
    EVP_MD_CTX_free(context);
    return status;
}

/* ---- the unfinished folder ---- */

static leat_status path_in_work(const packer *p, const char *name, char out[PATH_BYTES], leat_error *error)
{
    const int length = snprintf(out, PATH_BYTES, "%s/%s", p->work, name);
    return length < PATH_BYTES ? LEAT_OK : FAIL(error, USAGE, "%.64s...: the name is too long", p->work);
}

static leat_status fail_write(const packer *p, const char *name, int os_errno, leat_error *error)
{
    leat_status status = FAIL_OS(error, IO, os_errno, "%s/%s: writing: %s", p->work, name, strerrordesc_np(os_errno));
    status_hint(error, "%sthe same command goes on where this one stopped; remove %s to give up",
                os_errno == ENOSPC || os_errno == EDQUOT ? "make room; " : "", p->work);
    return status;
}

/* Stopped before it had written its manifest. */
static bool is_barely_begun(const packer *p)
{
    bool is_empty = true;
    int fd = openat(p->work_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (!listing) {
        if (fd >= 0) close(fd);
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(listing));)
        is_empty = is_empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                                strncmp(entry->d_name, PACK_MANIFEST_NAME ".", sizeof PACK_MANIFEST_NAME) == 0);
    closedir(listing);
    return is_empty;
}

/* What an earlier try has finished. */
static leat_status read_manifest(packer *p, leat_error *error)
{
    leat_status status = LEAT_OK;
    char *text = NULL;
    uint64_t bytes = 0;
    pack_manifest found;
    if (faccessat(p->work_fd, PACK_MANIFEST_NAME, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        status = FAIL(error, USAGE, "%s: exists and is not an unfinished pack", p->work);
        status_hint(error, "remove it, or give another folder");
        return status;
    }
    pack_manifest_init(&found, p->ledger);
    TRY_OR(fail, file_load(p->ledger, MEM_META, p->work_fd, PACK_MANIFEST_NAME, true, PACK_MANIFEST_BYTES_MAX, &text,
                           &bytes, error));
    TRY_OR(fail, pack_manifest_parse(&found, text, bytes, error));
    if (strcmp(found.source, p->manifest.source) != 0) {
        status =
            FAIL(error, USAGE, "%s: an unfinished pack of another model, or of one that has changed since", p->work);
        status_hint(error, "remove it, or give another folder");
        goto fail;
    }
    mem_free(p->ledger, text);
    pack_manifest_reset(&p->manifest);
    p->manifest = found;
    return LEAT_OK;
fail:
    mem_free(p->ledger, text);
    pack_manifest_reset(&found);
    return status;
}

/* Left by a process that was killed while it replaced a file. */
static void remove_leftovers(const packer *p)
{
    int fd = openat(p->work_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (!listing) {
        if (fd >= 0) close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(listing));) {
        const size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0) (void)unlinkat(p->work_fd, entry->d_name, 0);
    }
    closedir(listing);
}

static leat_status open_work(packer *p, leat_error *error)
{
    struct stat info;
    char manifest_path[PATH_BYTES];
    const char *folder = p->request->folder;
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    if (length == 0 || length + 64 >= PATH_BYTES) return FAIL(error, USAGE, "%.64s: no name for a folder", folder);
    snprintf(p->work, sizeof p->work, "%.*s.unfinished", (int)length, folder);
    if (lstat(folder, &info) == 0) {
        leat_status status = FAIL(error, USAGE, "%s: exists already; a pack never overwrites", folder);
        status_hint(error, "remove it, or give another folder");
        return status;
    }
    const bool is_new = mkdir(p->work, 0777) == 0;
    if (!is_new && errno != EEXIST)
        return errno == EACCES || errno == EPERM
                   ? FAIL_OS(error, PERMISSION, errno, "%s: not permitted to write there", p->work)
                   : FAIL_OS(error, IO, errno, "%s: cannot be made: %s", p->work, strerrordesc_np(errno));
    p->work_fd = open(p->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (p->work_fd < 0) return FAIL_OS(error, USAGE, errno, "%s: exists and is not an unfinished pack", p->work);
    if (flock(p->work_fd, LOCK_EX | LOCK_NB) != 0)
        return FAIL(error, USAGE, "%s: another process is writing this pack", p->work);
    TRY(path_in_work(p, PACK_MANIFEST_NAME, manifest_path, error));
    const bool has_manifest = faccessat(p->work_fd, PACK_MANIFEST_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_new || (!has_manifest && is_barely_begun(p))) return pack_manifest_save(&p->manifest, manifest_path, error);
    TRY(read_manifest(p, error));
    remove_leftovers(p);
    return LEAT_OK;
}

/* Whether an earlier try has finished the file. */
static bool is_finished(const packer *p, uint32_t idx)
{
    char name[FILE_NAME_BYTES];
    struct stat info;
    shard_name(p, idx, name);
    const uint64_t bytes = p->shards[idx].header_bytes + p->shards[idx].data_bytes;
    const pack_file *listed = pack_manifest_find(&p->manifest, name);
    return listed && listed->bytes == bytes && fstatat(p->work_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(info.st_mode) && (uint64_t)info.st_size == bytes;
}

static leat_status check_room(packer *p, leat_error *error)
{
    struct statvfs fs;
    char name[FILE_NAME_BYTES + 8];
    uint64_t missing = 0;
    for (uint32_t i = 0; i < p->shard_count; i++) {
        const uint64_t bytes = p->shards[i].header_bytes + p->shards[i].data_bytes;
        struct stat info;
        if (is_finished(p, i)) {
            p->result.kept_bytes += bytes;
            continue;
        }
        shard_name(p, i, name);
        strcat(name, ".part"); /* its blocks will be used again */
        const bool has_part = fstatat(p->work_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
        missing += bytes - (has_part ? min_u64(bytes, (uint64_t)info.st_blocks * 512) : 0);
    }
    if (fstatvfs(p->work_fd, &fs) != 0) return LEAT_OK; /* writing will tell */
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= missing) return LEAT_OK;
    leat_status status = FAIL_OS(error, IO, ENOSPC,
                                 "%s: %" PRIu64 " bytes are still to be written, the file system has room for %" PRIu64,
                                 p->work, missing, room);
    status_hint(error, "make room and give the same command again; remove %s to give up", p->work);
    return status;
}

/* ---- writing ---- */

typedef struct shard_writer {
    packer *p;
    const char *name;
    int fd;
    uint64_t at;
    EVP_MD_CTX *span;
    uint64_t span_bytes;
    pack_file *listed;
} shard_writer;

static leat_status end_span(shard_writer *w, leat_error *error)
{
    uint8_t digest[PACK_DIGEST_BYTES];
    if (w->span_bytes == 0) return LEAT_OK;
    if (EVP_DigestFinal_ex(w->span, digest, NULL) != 1 || EVP_DigestInit_ex(w->span, EVP_sha256(), NULL) != 1)
        return fail_crypto(error);
    TRY(pack_file_add_span(&w->p->manifest, w->listed, w->span_bytes, digest, error));
    w->span_bytes = 0;
    return LEAT_OK;
}

static leat_status put(shard_writer *w, const void *bytes, uint64_t count, leat_error *error)
{
    const pack_request *r = w->p->request;
    if (EVP_DigestUpdate(w->span, bytes, count) != 1) return fail_crypto(error);
    for (uint64_t done = 0; done < count;) {
        ssize_t got = pwrite(w->fd, (const char *)bytes + done, count - done, (off_t)(w->at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_write(w->p, w->name, errno, error);
        done += (uint64_t)got;
    }
    w->at += count;
    w->span_bytes += count;
    w->p->done_bytes += count;
    if (r->progress) r->progress(r->user, "pack", w->p->done_bytes, w->p->result.bytes);
    if (cancel_is_wanted(r->cancel)) {
        leat_status status = FAIL(error, CANCELLED, "the pack was cancelled in %s", w->name);
        status_hint(error, "the same command goes on with that file; remove %s to give up", w->p->work);
        return status;
    }
    return LEAT_OK;
}

static leat_status put_item(shard_writer *w, const item *it, leat_error *error)
{
    const checkpoint *c = w->p->request->source;
    if (it->begins_span) TRY(end_span(w, error));
    for (uint64_t done = 0; done < it->what.bytes;) {
        const uint64_t count = min_u64(BLOCK_BYTES, it->what.bytes - done);
        if (it->is_padding)
            memset(w->p->block, 0, count);
        else
            TRY(file_read(&c->files[it->what.file_idx], c->file_names[it->what.file_idx], it->what.offset + done,
                          w->p->block, count, NULL, error));
        TRY(put(w, w->p->block, count, error));
        done += count;
    }
    return LEAT_OK;
}

static leat_status put_shard(shard_writer *w, const pack_shard *s, leat_error *error)
{
    TRY(put(w, s->header, s->header_bytes, error));
    for (uint64_t i = s->first_item; i < s->end_item; i++) TRY(put_item(w, &w->p->items[i], error));
    TRY(end_span(w, error));
    assert(w->at == s->header_bytes + s->data_bytes);
    if (fsync(w->fd) != 0) return fail_write(w->p, w->name, errno, error);
    (void)posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED); /* what is compared later comes from the disk */
    return LEAT_OK;
}

static void drop_listed(packer *p, const char *name)
{
    for (uint32_t i = 0; i < p->manifest.file_count; i++)
        if (strcmp(p->manifest.files[i].name, name) == 0) {
            mem_free(p->ledger, p->manifest.files[i].spans);
            p->manifest.files[i] = p->manifest.files[--p->manifest.file_count];
            return;
        }
}

/* NAME.part, and when it is whole NAME; then it is listed. */
static leat_status write_shard(packer *p, uint32_t idx, leat_error *error)
{
    const pack_shard *s = &p->shards[idx];
    char name[FILE_NAME_BYTES], part_name[FILE_NAME_BYTES + 8], manifest_path[PATH_BYTES];
    leat_status status = LEAT_OK;
    shard_writer w = {.p = p, .name = part_name, .fd = -1};
    shard_name(p, idx, name);
    snprintf(part_name, sizeof part_name, "%s.part", name);
    TRY(path_in_work(p, PACK_MANIFEST_NAME, manifest_path, error));
    drop_listed(p, name);
    TRY(pack_manifest_add(&p->manifest, name, &w.listed, error));
    TRY_OR(done, open_digest(&w.span, error));
    w.fd = openat(p->work_fd, part_name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (w.fd < 0) {
        status = fail_write(p, part_name, errno, error);
        goto done;
    }
    /* A full disk is met before the work is done, where the file system can say so. */
    if (fallocate(w.fd, 0, 0, (off_t)(s->header_bytes + s->data_bytes)) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS && errno != EINTR) {
        status = fail_write(p, part_name, errno, error);
        goto done;
    }
    TRY_OR(done, put_shard(&w, s, error));
    if (renameat(p->work_fd, part_name, p->work_fd, name) != 0 || fsync(p->work_fd) != 0) {
        status = fail_write(p, name, errno, error);
        goto done;
    }
    status = pack_manifest_save(&p->manifest, manifest_path, error);
done:
    EVP_MD_CTX_free(w.span);
    if (w.fd >= 0) close(w.fd);
    return status;
}

/* ---- the other files ---- */

static leat_status write_text(packer *p, const char *name, const char *text, uint64_t bytes, leat_error *error)
{
    char path[PATH_BYTES];
    uint8_t digest[PACK_DIGEST_BYTES];
    pack_file *listed = NULL;
    TRY(path_in_work(p, name, path, error));
    TRY(digest_of(text, bytes, digest, error));
    TRY(file_replace(path, text, bytes, 0644, error));
    drop_listed(p, name);
    TRY(pack_manifest_add(&p->manifest, name, &listed, error));
    return bytes ? pack_file_add_span(&p->manifest, listed, bytes, digest, error) : LEAT_OK;
}

static leat_status write_index(packer *p, leat_error *error)
{
    leat_status status;
    text_out t = {.ledger = p->ledger};
    uint64_t total = 0;
    const char *separator = "";
    for (uint64_t i = 0; i < p->item_count; i++) total += p->items[i].what.bytes;
    TRY_OR(done, text_out_add(&t, error, "{\"metadata\": {\"total_size\": %" PRIu64 "}, \"weight_map\": {", total));
    for (uint32_t s = 0; s < p->shard_count; s++) {
        char name[FILE_NAME_BYTES];
        shard_name(p, s, name);
        for (uint64_t i = p->shards[s].first_item; i < p->shards[s].end_item; i++, separator = ",") {
            TRY_OR(done, text_out_add(&t, error, "%s\n", separator));
            TRY_OR(done, text_out_add_string(&t, p->items[i].what.name, error));
            TRY_OR(done, text_out_add(&t, error, ": \"%s\"", name));
        }
    }
    TRY_OR(done, text_out_add(&t, error, "\n}}\n"));
    status = write_text(p, index_name, t.text, t.bytes, error);
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

static leat_status copy_texts(packer *p, leat_error *error)
{
    const checkpoint *c = p->request->source;
    leat_status status = LEAT_OK;
    int fd = openat(c->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a position of its own */
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (!listing) {
        const int os_errno = errno;
        if (fd >= 0) close(fd);
        return FAIL_OS(error, IO, os_errno, "%s: cannot be listed", c->path);
    }
    for (const struct dirent *entry; status == LEAT_OK && (entry = readdir(listing));) {
        char *text = NULL;
        uint64_t bytes = 0;
        if (!is_copied(c, entry->d_name)) continue;
        status = checkpoint_load_text(c, entry->d_name, p->ledger, MEM_META, &text, &bytes, error);
        if (status == LEAT_OK) status = write_text(p, entry->d_name, text, bytes, error);
        mem_free(p->ledger, text);
    }
    closedir(listing);
    return status;
}

/* ---- comparing ---- */

typedef struct comparison {
    packer *p;
    const checkpoint *packed;
    uint64_t done_bytes, total_bytes;
} comparison;

static leat_status compare_bytes(comparison *k, const char *name, const weight_part *from, const weight_part *to,
                                 leat_error *error)
{
    const pack_request *r = k->p->request;
    const checkpoint *a = r->source, *b = k->packed;
    if (from->bytes != to->bytes)
        return FAIL(error, MODEL, "%s: has %" PRIu64 " bytes in the pack, expected %" PRIu64, name, to->bytes,
                    from->bytes);
    for (uint64_t done = 0; done < from->bytes;) {
        const uint64_t count = min_u64(BLOCK_BYTES, from->bytes - done);
        TRY(file_read(&a->files[from->file_idx], a->file_names[from->file_idx], from->offset + done, k->p->block, count,
                      NULL, error));
        TRY(file_read(&b->files[to->file_idx], b->file_names[to->file_idx], to->offset + done, k->p->other_block, count,
                      NULL, error));
        if (memcmp(k->p->block, k->p->other_block, count) != 0) {
            leat_status status = FAIL(error, MODEL, "%s: %s in %s differs from the source's", k->p->work, name,
                                      b->file_names[to->file_idx]);
            status_hint(error, "the disk gave other bytes than were written: remove %s", k->p->work);
            return status;
        }
        done += count;
    }
    k->done_bytes += from->bytes;
    if (r->progress) r->progress(r->user, "compare", k->done_bytes, k->total_bytes);
    if (cancel_is_wanted(r->cancel)) return FAIL(error, CANCELLED, "the pack was cancelled while it was compared");
    return LEAT_OK;
}

static weight_part part_of_tensor(const tensor *t) { return (weight_part){t->file_idx, t->offset, t->bytes}; }

/* What is no expert's: the same name, type, shape and bytes. */
static leat_status compare_rest(comparison *k, leat_error *error)
{
    for (uint64_t i = 0; i < k->p->request->source->index.count; i++) {
        const tensor *a = &k->p->by_place[i], *b = tensor_index_find(&k->packed->index, a->name);
        if (k->p->is_expert[i] || strncmp(a->name, padding_prefix, sizeof padding_prefix - 1) == 0) continue;
        if (!b || b->type != a->type || b->rank != a->rank || memcmp(b->dims, a->dims, sizeof a->dims) != 0)
            return FAIL(error, MODEL, "%s: is missing in the pack, or of another shape", a->name);
        const weight_part from = part_of_tensor(a), to = part_of_tensor(b);
        TRY(compare_bytes(k, a->name, &from, &to, error));
    }
    return LEAT_OK;
}

static leat_status compare_layer(comparison *k, const moe_block *a, const moe_block *b, leat_error *error)
{
    for (uint32_t e = 0; e < a->expert_count; e++) {
        const weight_part *before = NULL;
        for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
            for (int part = 0; part < PART_COUNT; part++) {
                const weight *from = stack_of(a, which), *to = stack_of(b, which);
                const weight_part *there = &to->parts[e][part];
                TRY(compare_bytes(k, from->name, &from->parts[e][part], there, error));
                if (!there->bytes) continue;
                const bool is_in_place =
                    before ? there->file_idx == before->file_idx && there->offset == before->offset + before->bytes
                           : there->offset % PACK_ALIGN == 0;
                if (!is_in_place || from->shape.type != to->shape.type || from->shape.group != to->shape.group)
                    return FAIL(error, INTERNAL, "%s: expert %u is not stored as it should be", to->name, e);
                before = there;
            }
    }
    return LEAT_OK;
}

static leat_status compare_model(comparison *k, const model_desc *packed, leat_error *error)
{
    const model_desc *source = k->p->request->model;
    if (packed->layer_count != source->layer_count || packed->expert_count != source->expert_count ||
        packed->moe_layer_count != source->moe_layer_count)
        return FAIL(error, INTERNAL, "%s: the pack is read as another model", k->p->work);
    TRY(compare_rest(k, error));
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const block *a = layer_block(&source->layers[l], BLOCK_MOE), *b = layer_block(&packed->layers[l], BLOCK_MOE);
        if (!a != !b) return FAIL(error, INTERNAL, "%s: the pack is read as another model", k->p->work);
        if (a) TRY(compare_layer(k, &a->moe, &b->moe, error));
    }
    return LEAT_OK;
}

static leat_status compare_with_source(packer *p, leat_error *error)
{
    leat_status status;
    checkpoint *packed = NULL;
    arena memory;
    model_desc model;
    comparison k = {.p = p};
    for (uint64_t i = 0; i < p->item_count; i++)
        if (!p->items[i].is_padding) k.total_bytes += p->items[i].what.bytes;
    arena_init(&memory, p->ledger, MEM_META, 64 * 1024);
    TRY_OR(done, checkpoint_open(p->work, &packed, error));
    k.packed = packed;
    TRY_OR(done, model_build(&packed->index, packed->config, packed->generation, &memory, &model, error));
    status = compare_model(&k, &model, error);
done:
    arena_reset(&memory);
    checkpoint_close(&packed);
    return status;
}

/* ---- the whole ---- */

static void sync_parent(const char *path)
{
    char parent[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    const int length = !slash ? 1 : slash == path ? 1 : (int)(slash - path);
    snprintf(parent, sizeof parent, "%.*s", length, slash ? path : ".");
    const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd); /* not every file system can */
    close(fd);
}

static leat_status publish(packer *p, leat_error *error)
{
    char path[PATH_BYTES], folder[PATH_BYTES];
    TRY(path_in_work(p, PACK_MANIFEST_NAME, path, error));
    TRY(pack_manifest_save(&p->manifest, path, error));
    TRY(compare_with_source(p, error));
    if (fsync(p->work_fd) != 0) return fail_write(p, ".", errno, error);
    snprintf(folder, sizeof folder, "%.*s", (int)(strlen(p->work) - strlen(".unfinished")), p->work);
    int result = renameat2(AT_FDCWD, p->work, AT_FDCWD, folder, RENAME_NOREPLACE);
    if (result != 0 && errno == EINVAL && access(folder, F_OK) != 0)
        result = rename(p->work, folder); /* no such flag */
    if (result != 0)
        return FAIL_OS(error, IO, errno, "%s: cannot be renamed to %s: %s", p->work, folder, strerrordesc_np(errno));
    sync_parent(folder);
    return LEAT_OK;
}

static leat_status write_all(packer *p, leat_error *error)
{
    TRY(check_room(p, error));
    for (uint32_t i = 0; i < p->shard_count; i++) {
        if (is_finished(p, i))
            p->done_bytes += p->shards[i].header_bytes + p->shards[i].data_bytes;
        else
            TRY(write_shard(p, i, error));
    }
    TRY(copy_texts(p, error));
    TRY(write_index(p, error));
    return publish(p, error);
}

static void close_packer(packer *p)
{
    if (p->work_fd >= 0) close(p->work_fd);
    pack_manifest_reset(&p->manifest);
    for (uint32_t i = 0; i < p->shard_count; i++) mem_free(p->ledger, p->shards[i].header);
    mem_free(p->ledger, p->shards);
    mem_free(p->ledger, p->items);
    mem_free(p->ledger, p->by_place);
    mem_free(p->ledger, p->is_expert);
    mem_free(p->ledger, p->block);
    mem_free(p->ledger, p->other_block);
    arena_reset(&p->memory);
    mem_close(&p->ledger);
}

leat_status pack_write(const pack_request *request, pack_result *out_result, leat_error *error)
{
    leat_status status;
    packer p = {.request = request, .work_fd = -1};
    if (!request->model->moe_layer_count)
        return FAIL(error, MODEL, "the model has no experts: there is nothing that a pack would make faster");
    TRY(mem_open(0, &p.ledger, error));
    arena_init(&p.memory, p.ledger, MEM_META, 64 * 1024);
    pack_manifest_init(&p.manifest, p.ledger);
    TRY_OR(done, mem_alloc(p.ledger, MEM_IO, BLOCK_BYTES, 1, 4096, "buffer of a pack", (void **)&p.block, error));
    TRY_OR(done, mem_alloc(p.ledger, MEM_IO, BLOCK_BYTES, 1, 4096, "buffer of a pack", (void **)&p.other_block, error));
    TRY_OR(done, lay_out(&p, error));
    TRY_OR(done, identify(&p, error));
    TRY_OR(done, open_work(&p, error));
    TRY_OR(done, write_all(&p, error));
    *out_result = p.result;
done:
    close_packer(&p);
    return status;
}

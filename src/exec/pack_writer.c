/*
 * pack_writer.c - room, files, spans.
 */
#include "exec/pack_writer.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "exec/pack_digest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Whether an earlier try has finished the file. */
static bool is_finished(const pack_writer *p, uint32_t idx)
{
    char name[PACK_NAME_BYTES];
    pack_shard_name(p->layout, idx, name);
    return pack_folder_has(p->folder, name, pack_shard_bytes(&p->layout->shards[idx]));
}

static leat_status check_room(pack_writer *p, leat_error *error)
{
    struct statvfs fs;
    char name[PACK_NAME_BYTES + 8];
    uint64_t missing = 0;
    for (uint32_t i = 0; i < p->layout->shard_count; i++) {
        const uint64_t bytes = pack_shard_bytes(&p->layout->shards[i]);
        struct stat info;
        if (is_finished(p, i)) {
            p->kept_bytes += bytes;
            continue;
        }
        pack_shard_name(p->layout, i, name);
        strcat(name, ".part"); /* its blocks will be used again */
        const bool has_part = fstatat(p->folder->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
        missing += bytes - (has_part ? min_u64(bytes, (uint64_t)info.st_blocks * 512) : 0);
    }
    if (fstatvfs(p->folder->fd, &fs) != 0) return LEAT_OK; /* writing will tell */
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= missing) return LEAT_OK;
    leat_status status = FAIL_OS(error, IO, ENOSPC,
                                 "%s: %" PRIu64 " bytes are still to be written, the file system has room for %" PRIu64,
                                 p->folder->path, missing, room);
    status_hint(error, "make room and give the same command again; remove %s to give up", p->folder->path);
    return status;
}

typedef struct shard_writer {
    pack_writer *p;
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
        return pack_digest_fail(error);
    TRY(pack_file_add_span(&w->p->folder->manifest, w->listed, w->span_bytes, digest, error));
    w->span_bytes = 0;
    return LEAT_OK;
}

static leat_status put(shard_writer *w, const void *bytes, uint64_t count, leat_error *error)
{
    const pack_request *r = w->p->request;
    if (EVP_DigestUpdate(w->span, bytes, count) != 1) return pack_digest_fail(error);
    for (uint64_t done = 0; done < count;) {
        ssize_t got = pwrite(w->fd, (const char *)bytes + done, count - done, (off_t)(w->at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return pack_folder_fail(w->p->folder, w->name, errno, error);
        done += (uint64_t)got;
    }
    w->at += count;
    w->span_bytes += count;
    w->p->done_bytes += count;
    if (r->progress) r->progress(r->user, "pack", w->p->done_bytes, w->p->layout->bytes);
    if (cancel_is_wanted(r->cancel)) {
        leat_status status = FAIL(error, CANCELLED, "the pack was cancelled in %s", w->name);
        status_hint(error, "the same command goes on with that file; remove %s to give up", w->p->folder->path);
        return status;
    }
    return LEAT_OK;
}

static leat_status put_item(shard_writer *w, const pack_item *it, leat_error *error)
{
    const checkpoint *c = w->p->layout->source;
    if (it->begins_span) TRY(end_span(w, error));
    for (uint64_t done = 0; done < it->what.bytes;) {
        const uint64_t count = min_u64(PACK_BLOCK_BYTES, it->what.bytes - done);
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
    for (uint64_t i = s->first_item; i < s->end_item; i++) TRY(put_item(w, &w->p->layout->items[i], error));
    TRY(end_span(w, error));
    assert(w->at == pack_shard_bytes(s));
    if (fsync(w->fd) != 0) return pack_folder_fail(w->p->folder, w->name, errno, error);
    (void)posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED); /* what is compared later comes from the disk */
    return LEAT_OK;
}

/* NAME.part, and when it is whole NAME; then it is listed. */
static leat_status write_shard(pack_writer *p, uint32_t idx, leat_error *error)
{
    const pack_shard *s = &p->layout->shards[idx];
    char name[PACK_NAME_BYTES], part_name[PACK_NAME_BYTES + 8];
    leat_status status = LEAT_OK;
    shard_writer w = {.p = p, .name = part_name, .fd = -1};
    pack_shard_name(p->layout, idx, name);
    snprintf(part_name, sizeof part_name, "%s.part", name);
    TRY(pack_folder_list(p->folder, name, &w.listed, error));
    TRY_OR(done, pack_digest_open(&w.span, error));
    w.fd = openat(p->folder->fd, part_name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (w.fd < 0) {
        status = pack_folder_fail(p->folder, part_name, errno, error);
        goto done;
    }
    /* A full disk is met before the work is done, where the file system can say so. */
    if (fallocate(w.fd, 0, 0, (off_t)pack_shard_bytes(s)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS &&
        errno != EINTR) {
        status = pack_folder_fail(p->folder, part_name, errno, error);
        goto done;
    }
    TRY_OR(done, put_shard(&w, s, error));
    if (renameat(p->folder->fd, part_name, p->folder->fd, name) != 0 || fsync(p->folder->fd) != 0) {
        status = pack_folder_fail(p->folder, name, errno, error);
        goto done;
    }
    status = pack_folder_save(p->folder, error);
done:
    EVP_MD_CTX_free(w.span);
    if (w.fd >= 0) close(w.fd);
    return status;
}

leat_status pack_writer_write(pack_writer *p, leat_error *error)
{
    TRY(check_room(p, error));
    for (uint32_t i = 0; i < p->layout->shard_count; i++) {
        if (is_finished(p, i))
            p->done_bytes += pack_shard_bytes(&p->layout->shards[i]);
        else
            TRY(write_shard(p, i, error));
    }
    return LEAT_OK;
}

/*
 * pack_folder.c - opening, going on, listing, publishing.
 */
#include "exec/pack_folder.h"

#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNFINISHED ".unfinished"

void pack_folder_init(pack_folder *f, mem *ledger)
{
    *f = (pack_folder){.ledger = ledger, .fd = -1};
    pack_manifest_init(&f->manifest, ledger);
}

void pack_folder_close(pack_folder *f)
{
    if (f->fd >= 0) close(f->fd);
    pack_manifest_reset(&f->manifest);
}

leat_status pack_folder_name(const pack_folder *f, const char *name, char out[PACK_PATH_BYTES], leat_error *error)
{
    const int length = snprintf(out, PACK_PATH_BYTES, "%s/%s", f->path, name);
    return length < PACK_PATH_BYTES ? LEAT_OK : FAIL(error, USAGE, "%.64s...: the name is too long", f->path);
}

leat_status pack_folder_fail(const pack_folder *f, const char *name, int os_errno, leat_error *error)
{
    leat_status status = FAIL_OS(error, IO, os_errno, "%s/%s: writing: %s", f->path, name, strerrordesc_np(os_errno));
    status_hint(error, "%sthe same command goes on where this one stopped; remove %s to give up",
                os_errno == ENOSPC || os_errno == EDQUOT ? "make room; " : "", f->path);
    return status;
}

leat_status pack_folder_save(const pack_folder *f, leat_error *error)
{
    char path[PACK_PATH_BYTES];
    TRY(pack_folder_name(f, PACK_MANIFEST_NAME, path, error));
    return pack_manifest_save(&f->manifest, path, error);
}

/* Stopped before it had written its manifest. */
static bool is_barely_begun(const pack_folder *f)
{
    bool is_empty = true;
    DIR *listing = file_list(f->fd, ".");
    if (!listing) return false;
    for (const struct dirent *entry; (entry = readdir(listing));)
        is_empty = is_empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                                strncmp(entry->d_name, PACK_MANIFEST_NAME ".", sizeof PACK_MANIFEST_NAME) == 0);
    closedir(listing);
    return is_empty;
}

/* What an earlier try has finished. */
static leat_status read_manifest(pack_folder *f, leat_error *error)
{
    leat_status status = LEAT_OK;
    char *text = NULL;
    uint64_t bytes = 0;
    pack_manifest found;
    if (faccessat(f->fd, PACK_MANIFEST_NAME, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        status = FAIL(error, USAGE, "%s: exists and is not an unfinished pack", f->path);
        status_hint(error, "remove it, or give another folder");
        return status;
    }
    pack_manifest_init(&found, f->ledger);
    TRY_OR(fail, file_load(f->ledger, MEM_META, f->fd, PACK_MANIFEST_NAME, true, PACK_MANIFEST_BYTES_MAX, &text, &bytes,
                           error));
    TRY_OR(fail, pack_manifest_parse(&found, text, bytes, error));
    if (strcmp(found.source, f->manifest.source) != 0) {
        status =
            FAIL(error, USAGE, "%s: an unfinished pack of another model, or of one that has changed since", f->path);
        status_hint(error, "remove it, or give another folder");
        goto fail;
    }
    mem_free(f->ledger, text);
    pack_manifest_reset(&f->manifest);
    f->manifest = found;
    return LEAT_OK;
fail:
    mem_free(f->ledger, text);
    pack_manifest_reset(&found);
    return status;
}

/* Left by a process that was killed while it replaced a file. */
static void remove_leftovers(const pack_folder *f)
{
    DIR *listing = file_list(f->fd, ".");
    if (!listing) return;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        const size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0) (void)unlinkat(f->fd, entry->d_name, 0);
    }
    closedir(listing);
}

leat_status pack_folder_open(pack_folder *f, const char *folder, leat_error *error)
{
    struct stat info;
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    if (length == 0 || length + 64 >= PACK_PATH_BYTES) return FAIL(error, USAGE, "%.64s: no name for a folder", folder);
    snprintf(f->path, sizeof f->path, "%.*s" UNFINISHED, (int)length, folder);
    if (lstat(folder, &info) == 0) {
        leat_status status = FAIL(error, USAGE, "%s: exists already; a pack never overwrites", folder);
        status_hint(error, "remove it, or give another folder");
        return status;
    }
    const bool is_new = mkdir(f->path, 0777) == 0;
    if (!is_new && errno != EEXIST)
        return errno == EACCES || errno == EPERM
                   ? FAIL_OS(error, PERMISSION, errno, "%s: not permitted to write there", f->path)
                   : FAIL_OS(error, IO, errno, "%s: cannot be made: %s", f->path, strerrordesc_np(errno));
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->fd < 0) return FAIL_OS(error, USAGE, errno, "%s: exists and is not an unfinished pack", f->path);
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0)
        return FAIL(error, USAGE, "%s: another process is writing this pack", f->path);
    const bool has_manifest = faccessat(f->fd, PACK_MANIFEST_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_new || (!has_manifest && is_barely_begun(f))) return pack_folder_save(f, error);
    TRY(read_manifest(f, error));
    remove_leftovers(f);
    return LEAT_OK;
}

bool pack_folder_has(const pack_folder *f, const char *name, uint64_t bytes)
{
    struct stat info;
    const pack_file *listed = pack_manifest_find(&f->manifest, name);
    return listed && listed->bytes == bytes && fstatat(f->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(info.st_mode) && (uint64_t)info.st_size == bytes;
}

static void drop_listed(pack_folder *f, const char *name)
{
    for (uint32_t i = 0; i < f->manifest.file_count; i++)
        if (strcmp(f->manifest.files[i].name, name) == 0) {
            mem_free(f->ledger, f->manifest.files[i].spans);
            f->manifest.files[i] = f->manifest.files[--f->manifest.file_count];
            return;
        }
}

leat_status pack_folder_list(pack_folder *f, const char *name, pack_file **out_file, leat_error *error)
{
    drop_listed(f, name);
    return pack_manifest_add(&f->manifest, name, out_file, error);
}

leat_status pack_folder_publish(const pack_folder *f, leat_error *error)
{
    char folder[PACK_PATH_BYTES];
    if (fsync(f->fd) != 0) return pack_folder_fail(f, ".", errno, error);
    snprintf(folder, sizeof folder, "%.*s", (int)(strlen(f->path) - strlen(UNFINISHED)), f->path);
    int result = renameat2(AT_FDCWD, f->path, AT_FDCWD, folder, RENAME_NOREPLACE);
    if (result != 0 && errno == EINVAL && access(folder, F_OK) != 0)
        result = rename(f->path, folder); /* no such flag */
    if (result != 0)
        return FAIL_OS(error, IO, errno, "%s: cannot be renamed to %s: %s", f->path, folder, strerrordesc_np(errno));
    file_sync_folder_of(folder);
    return LEAT_OK;
}

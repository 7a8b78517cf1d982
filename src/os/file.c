/*
 * file.c - regular files, opened so that nothing hostile in a model folder can stop or leave us.
 *
 * A file is opened twice: first as a bare path (O_PATH), which touches no device and waits for no FIFO, to see what it
 * is; then for reading. Only a regular file gets to the second step, and the second descriptor is looked at again,
 * because the name may have changed its meaning in between.
 *
 * Whether direct I/O works is known only after a read: some file systems accept the flag and refuse the reads. So a
 * direct file is probed with one block.
 */
#include "os/file.h"

#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef STATX_DIOALIGN /* Linux 6.1; the fields lie in what was spare room before */
#define STATX_DIOALIGN 0x2000u
#endif

enum {
    DIRECT_ALIGN_DEFAULT = 4096,
    DIRECT_ALIGN_MIN = 512,
    DIRECT_ALIGN_MAX = 65536,
    PROBE_BYTES = 4096,
    READ_BYTES_MAX = 1 << 30, /* one call; Linux stops at 2^31 - 4096, which is no multiple of 64 KiB */
    NAME_BYTES_MAX = 4096,
    OPEN_TRIES = 16,
};

static const char *strerror_text(int os_errno)
{
    return strerrordesc_np(os_errno) ? strerrordesc_np(os_errno) : "unknown error";
}

/* ---- opening ---- */

static bool names_parent(const char *name)
{
    for (const char *p = name; *p != '\0';) {
        size_t length = strcspn(p, "/");
        if (length == 2 && p[0] == '.' && p[1] == '.') return true;
        p += length + (p[length] == '/');
    }
    return false;
}

/* Without openat2: component by component, following no symbolic link at all, which is stricter than asked. */
static int open_by_components(int root_fd, const char *name, int flags)
{
    if (name[0] == '/' || names_parent(name)) {
        errno = EXDEV;
        return -1;
    }
    char part[NAME_BYTES_MAX];
    int dir_fd = root_fd;
    for (;;) {
        while (*name == '/') name++;
        size_t length = strcspn(name, "/");
        if (length == 0 || length >= sizeof part) {
            errno = length == 0 ? ENOENT : ENAMETOOLONG;
            break;
        }
        memcpy(part, name, length);
        part[length] = '\0';
        name += length;
        bool is_last = *name == '\0';
        int fd = openat(dir_fd, part, is_last ? flags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int open_errno = errno;
        if (dir_fd != root_fd) close(dir_fd);
        errno = open_errno;
        if (fd < 0 || is_last) return fd;
        dir_fd = fd;
    }
    int saved_errno = errno;
    if (dir_fd != root_fd) close(dir_fd);
    errno = saved_errno;
    return -1;
}

static int open_beneath(int root_fd, const char *name, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        long fd = syscall(SYS_openat2, root_fd, name, &how, sizeof how);
        if (fd >= 0) return (int)fd;
        /* EPERM is how older container sandboxes say that they do not know the call. */
        if (errno == ENOSYS || errno == EPERM) return open_by_components(root_fd, name, flags);
        if (errno != EAGAIN && errno != EINTR) return -1; /* EAGAIN: a rename somewhere in the path's way */
    }
    return -1;
}

static int open_name(int root_fd, const char *name, bool beneath, int flags)
{
    if (beneath) return open_beneath(root_fd, name, flags);
    int fd;
    do {
        fd = openat(root_fd, name, flags);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static leat_status fail_open(const char *name, int os_errno, leat_error *error)
{
    switch (os_errno) {
    case ENOENT: return FAIL_OS(error, MODEL, os_errno, "%s: no such file", name);
    case ENOTDIR: return FAIL_OS(error, MODEL, os_errno, "%s: a part of the path is not a directory", name);
    case EXDEV: return FAIL_OS(error, MODEL, os_errno, "%s: leads out of the folder it was looked up in", name);
    case ELOOP: return FAIL_OS(error, MODEL, os_errno, "%s: a symbolic link that is not followed", name);
    case ENAMETOOLONG: return FAIL_OS(error, MODEL, os_errno, "%.64s...: the name is too long", name);
    case EACCES:
    case EPERM: return FAIL_OS(error, PERMISSION, os_errno, "%s: not permitted to read it", name);
    default: return FAIL_OS(error, IO, os_errno, "%s: cannot open: %s", name, strerror_text(os_errno));
    }
}

static leat_status check_regular(int fd, const char *name, struct stat *out_stat, leat_error *error)
{
    if (fstat(fd, out_stat) != 0) return FAIL_OS(error, IO, errno, "%s: fstat: %s", name, strerror_text(errno));
    const char *found;
    switch (out_stat->st_mode & S_IFMT) {
    case S_IFREG: return LEAT_OK;
    case S_IFDIR: found = "a directory"; break;
    case S_IFIFO: found = "a FIFO"; break;
    case S_IFSOCK: found = "a socket"; break;
    case S_IFCHR: found = "a character device"; break;
    case S_IFBLK: found = "a block device"; break;
    case S_IFLNK: found = "a symbolic link that is not followed"; break;
    default: found = "something else"; break;
    }
    return FAIL(error, MODEL, "%s: expected a regular file, found %s", name, found);
}

static leat_status look_at_path(int root_fd, const char *name, bool beneath, leat_error *error)
{
    int fd = open_name(root_fd, name, beneath, O_PATH | O_CLOEXEC);
    if (fd < 0) return fail_open(name, errno, error);
    struct stat unused;
    leat_status status = check_regular(fd, name, &unused, error);
    close(fd);
    return status;
}

/* ---- direct I/O ---- */

static bool is_direct_align(uint64_t align)
{
    return align >= 1 && align <= DIRECT_ALIGN_MAX && (align & (align - 1)) == 0;
}

/* What the file system says; the default where it says nothing. false: it says that direct I/O does not work. */
static bool read_direct_align(int fd, uint32_t *out_offset_align, uint32_t *out_memory_align)
{
    /* struct statx with the fields of Linux 6.1, whatever the C library's headers know */
    struct {
        uint32_t mask;
        char up_to_mount_id[140];
        uint64_t mount_id;
        uint32_t memory_align, offset_align;
        uint64_t spare[12];
    } info = {0};
    _Static_assert(sizeof info == 256 && sizeof(struct statx) == 256, "the kernel's layout of struct statx");
    *out_offset_align = *out_memory_align = DIRECT_ALIGN_DEFAULT;
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0 || !(info.mask & STATX_DIOALIGN))
        return true;
    if (!is_direct_align(info.offset_align) || !is_direct_align(info.memory_align)) return false;
    *out_offset_align = (uint32_t)max_u64(info.offset_align, DIRECT_ALIGN_MIN);
    *out_memory_align = info.memory_align;
    return true;
}

/* One block at the start of the file. An alignment beyond PROBE_BYTES is the file system's own word and is believed. */
static bool probe_direct_read(const file *f)
{
    _Alignas(PROBE_BYTES) char block[PROBE_BYTES];
    if (f->bytes == 0 || f->offset_align > PROBE_BYTES || f->memory_align > PROBE_BYTES) return true;
    ssize_t got;
    do {
        got = pread(f->fd, block, f->offset_align, 0);
    } while (got < 0 && errno == EINTR);
    return got >= 0 || errno != EINVAL; /* a true I/O error is for the reader to meet */
}

static bool switch_to_direct(file *f)
{
    file direct = *f;
    direct.is_direct = true;
    int flags = fcntl(f->fd, F_GETFL);
    if (flags < 0 || !read_direct_align(f->fd, &direct.offset_align, &direct.memory_align)) return false;
    if (fcntl(f->fd, F_SETFL, flags | O_DIRECT) != 0) return false;
    if (!probe_direct_read(&direct)) {
        (void)fcntl(f->fd, F_SETFL, flags);
        return false;
    }
    *f = direct;
    return true;
}

/* Read-ahead would bring pages that nobody drops. */
static void start_dropping(file *f)
{
    f->drops_behind = true;
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
}

leat_status file_leave_direct(file *f, const char *name, leat_error *error)
{
    const int flags = fcntl(f->fd, F_GETFL);
    if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_DIRECT) != 0)
        return FAIL_OS(error, IO, errno, "%s: fcntl: %s", name, strerror_text(errno));
    f->is_direct = false;
    f->offset_align = f->memory_align = 1;
    start_dropping(f);
    return LEAT_OK;
}

static int64_t modified_ns(const struct stat *info)
{
    return (int64_t)((uint64_t)info->st_mtim.tv_sec * 1000000000 + (uint64_t)info->st_mtim.tv_nsec);
}

/* Not st_ctim, which the removal of a name changes as well. */
leat_status file_check_unchanged(const file *f, const char *name, leat_error *error)
{
    struct stat now;
    if (fstat(f->fd, &now) != 0) return FAIL_OS(error, IO, errno, "%s: fstat: %s", name, strerror_text(errno));
    if ((uint64_t)now.st_size == f->bytes && modified_ns(&now) == f->modified_ns) return LEAT_OK;
    (void)FAIL(error, IO, "%s: changed on disk while it was in use: %llu bytes were %llu%s", name,
               (unsigned long long)now.st_size, (unsigned long long)f->bytes,
               (uint64_t)now.st_size == f->bytes ? ", written to since" : "");
    status_hint(error,
                "open the model again; replace its files by renaming new ones over them, never by writing to them");
    return LEAT_IO;
}

leat_status file_open(int root_fd, const char *name, bool beneath, file_mode mode, file *out_file, leat_error *error)
{
    TRY(look_at_path(root_fd, name, beneath, error));
    file f = {.offset_align = 1, .memory_align = 1};
    f.fd = open_name(root_fd, name, beneath, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (f.fd < 0) return fail_open(name, errno, error);
    struct stat info;
    leat_status status = check_regular(f.fd, name, &info, error);
    if (status != LEAT_OK) goto fail;
    f.bytes = (uint64_t)info.st_size;
    f.device = (uint64_t)info.st_dev;
    f.modified_ns = modified_ns(&info);
    int flags = fcntl(f.fd, F_GETFL);
    if (flags < 0 || fcntl(f.fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        status = FAIL_OS(error, IO, errno, "%s: fcntl: %s", name, strerror_text(errno));
        goto fail;
    }
    if (mode != FILE_BUFFERED && !switch_to_direct(&f)) {
        if (mode == FILE_DIRECT) {
            status = FAIL(error, IO, "%s: its file system does not read past the page cache (O_DIRECT)", name);
            goto fail;
        }
        start_dropping(&f);
    }
    *out_file = f;
    return LEAT_OK;
fail:
    close(f.fd);
    return status;
}

void file_close(file *f)
{
    /* Where pages are kept in larger units, what straddled the border of a read is still there. */
    if (f->fd >= 0 && f->drops_behind) (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

/* ---- the page cache ---- */

void file_drop_behind(const file *f, uint64_t offset, uint64_t bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = round_down(offset, page);
    if (!f->drops_behind || bytes == 0) return; /* a length of 0 would mean the rest of the file */
    (void)posix_fadvise(f->fd, (off_t)begin, (off_t)(round_up(offset + bytes, page) - begin), POSIX_FADV_DONTNEED);
}

uint64_t file_cached_bytes(const file *f, uint64_t offset, uint64_t bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = round_down(offset, page);
    const uint64_t end = round_up(min_u64(offset + bytes, f->bytes), page);
    unsigned char pages[256];
    uint64_t cached = 0;

    for (uint64_t at = begin; at < end; at += sizeof pages * page) {
        const uint64_t count = min_u64((end - at) / page, sizeof pages);
        void *mapped = mmap(NULL, count * page, PROT_READ, MAP_SHARED, f->fd, (off_t)at);
        const bool is_told = mapped != MAP_FAILED && mincore(mapped, count * page, pages) == 0;
        for (uint64_t i = 0; i < count; i++) cached += is_told && !(pages[i] & 1) ? 0 : page;
        if (mapped != MAP_FAILED) munmap(mapped, count * page);
    }
    return cached;
}

/* ---- reading ---- */

static leat_status fail_short(const char *name, uint64_t offset, uint64_t wanted, uint64_t got, leat_error *error)
{
    return FAIL(error, IO, "%s: at byte %llu: expected %llu bytes, found %llu and the end of the file", name,
                (unsigned long long)offset, (unsigned long long)wanted, (unsigned long long)got);
}

void file_hint_device(const file *f, int os_errno, leat_error *error)
{
    if (os_errno != EIO && os_errno != ETIMEDOUT && os_errno != ETIME && os_errno != ENODEV) return;
    status_hint(
        error,
        "the file is on device %u:%u; the kernel's log (dmesg) has what its driver said, and `leat check` reads "
        "every byte of a model",
        major(f->device), minor(f->device));
}

static leat_status fail_read(const file *f, const char *name, const file_progress *p, int os_errno, leat_error *error)
{
    (void)FAIL_OS(error, IO, os_errno, "%s: at byte %llu: reading %llu bytes: %s", name,
                  (unsigned long long)(p->offset + p->done_bytes),
                  (unsigned long long)(p->wanted_bytes - p->done_bytes), strerror_text(os_errno));
    file_hint_device(f, os_errno, error);
    return LEAT_IO;
}

leat_status file_progress_begin(const file *f, const char *name, uint64_t offset, uint64_t bytes,
                                file_progress *out_progress, leat_error *error)
{
    uint64_t wanted = bytes; /* what must be there */
    if (f->is_direct) {
        assert(offset % f->offset_align == 0 && bytes % f->offset_align == 0);
        wanted = min_u64(bytes, f->bytes - min_u64(offset, f->bytes));
    }
    uint64_t end;
    if (!size_add(offset, bytes, &end) || end > INT64_MAX) return fail_short(name, offset, wanted, 0, error);
    *out_progress = (file_progress){.offset = offset, .bytes = bytes, .wanted_bytes = wanted};
    return LEAT_OK;
}

bool file_progress_is_done(const file_progress *p) { return p->done_bytes >= p->wanted_bytes; }

/* Direct: asks for whole blocks, past the end of the file if need be. */
uint64_t file_progress_next_bytes(const file_progress *p) { return min_u64(p->bytes - p->done_bytes, READ_BYTES_MAX); }

leat_status file_progress_take(const file *f, const char *name, int64_t got, file_progress *p, leat_error *error)
{
    if (got == -EINTR || got == -EAGAIN) return LEAT_OK;
    if (got < 0) return fail_read(f, name, p, (int)-got, error);
    p->done_bytes += (uint64_t)got;
    if (file_progress_is_done(p)) return LEAT_OK;
    /* Only the end of the file can cut a block; going on from there would read at an unaligned offset. */
    if (got == 0 || p->done_bytes % f->offset_align != 0)
        return fail_short(name, p->offset, p->wanted_bytes, p->done_bytes, error);
    return LEAT_OK;
}

leat_status file_read(const file *f, const char *name, uint64_t offset, void *buffer, uint64_t bytes,
                      uint64_t *out_bytes, leat_error *error)
{
    file_progress p;
    TRY(file_progress_begin(f, name, offset, bytes, &p, error));
    assert((uintptr_t)buffer % f->memory_align == 0);
    while (!file_progress_is_done(&p)) {
        ssize_t got =
            pread(f->fd, (char *)buffer + p.done_bytes, file_progress_next_bytes(&p), (off_t)(offset + p.done_bytes));
        if (got < 0 && errno == EAGAIN) sched_yield();
        TRY(file_progress_take(f, name, got < 0 ? -errno : got, &p, error));
    }
    if (out_bytes != NULL) *out_bytes = p.wanted_bytes;
    return LEAT_OK;
}

leat_status file_load(mem *ledger, mem_pool pool, int root_fd, const char *name, bool beneath, uint64_t bytes_max,
                      char **out_text, uint64_t *out_bytes, leat_error *error)
{
    file f;
    TRY(file_open(root_fd, name, beneath, FILE_BUFFERED, &f, error));
    leat_status status = LEAT_OK;
    char *text = NULL;
    if (f.bytes > bytes_max || f.bytes == UINT64_MAX) {
        status = FAIL(error, MODEL, "%s: expected at most %llu bytes, found %llu", name, (unsigned long long)bytes_max,
                      (unsigned long long)f.bytes);
        goto done;
    }
    TRY_OR(done, mem_alloc(ledger, pool, f.bytes + 1, 1, 0, name, (void **)&text, error));
    TRY_OR(done, file_read(&f, name, 0, text, f.bytes, NULL, error));
    *out_text = text;
    *out_bytes = f.bytes;
    text = NULL;
done:
    mem_free(ledger, text);
    file_close(&f);
    return status;
}

/* ---- writing ---- */

static bool write_all(int fd, const void *bytes, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        ssize_t put = write(fd, (const char *)bytes + done, min_u64(count - done, READ_BYTES_MAX));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        done += (uint64_t)put;
    }
    return true;
}

DIR *file_list(int folder_fd, const char *name)
{
    const int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return NULL;
    DIR *listing = fdopendir(fd);
    if (!listing) {
        const int first_errno = errno;
        close(fd);
        errno = first_errno;
    }
    return listing;
}

void file_sync_folder_of(const char *path)
{
    char folder[NAME_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)length, slash == NULL ? "." : path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

leat_status file_replace(const char *path, const void *bytes, uint64_t count, uint32_t mode, leat_error *error)
{
    static _Atomic unsigned serial; /* two threads may replace the same file */
    char temporary[NAME_BYTES_MAX];
    int wanted =
        snprintf(temporary, sizeof temporary, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&serial, 1));
    if (wanted < 0 || wanted >= (int)sizeof temporary) return FAIL(error, IO, "%.64s...: the name is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
    if (fd < 0) {
        return errno == EACCES || errno == EPERM
                   ? FAIL_OS(error, PERMISSION, errno, "%s: not permitted to write there", path)
                   : FAIL_OS(error, IO, errno, "%s: cannot create: %s", temporary, strerror_text(errno));
    }
    bool is_good = write_all(fd, bytes, count) && fsync(fd) == 0;
    int first_errno = errno;
    if (close(fd) != 0 && is_good) {
        is_good = false;
        first_errno = errno;
    }
    if (is_good && rename(temporary, path) != 0) {
        is_good = false;
        first_errno = errno;
    }
    if (!is_good) {
        (void)unlink(temporary);
        return FAIL_OS(error, IO, first_errno, "%s: writing %llu bytes: %s", path, (unsigned long long)count,
                       strerror_text(first_errno));
    }
    file_sync_folder_of(path);
    return LEAT_OK;
}

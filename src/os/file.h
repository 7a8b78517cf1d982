/*
 * file.h - files as the engine needs them: open inside a root, whole small files, positioned reads that loop.
 *
 * Opening never blocks on a FIFO and never opens a device: anything but a regular file is refused with LEAT_MODEL.
 * Threads: file_read may be called from any thread on the same descriptor.
 */
#ifndef OS_FILE_H
#define OS_FILE_H

#include "base/mem.h"

#include <dirent.h>
#include <stdbool.h>

typedef struct file {
    int fd;                /* -1 when closed */
    bool is_direct;        /* opened with O_DIRECT */
    bool drops_behind;     /* buffered, and who reads it drops from the page cache what he has read */
    uint32_t offset_align; /* direct: file offsets and lengths are multiples of this (512..65536); buffered: 1 */
    uint32_t memory_align; /* direct: addresses are multiples of this; buffered: 1 */
    uint64_t bytes;        /* size at open */
    uint64_t device;       /* st_dev */
    int64_t modified_ns;   /* st_mtim at open */
} file;

/* FILE_DIRECT_IF_POSSIBLE: buffered where it is not, and then nothing read stays in the page cache (drops_behind). */
typedef enum file_mode { FILE_BUFFERED, FILE_DIRECT_IF_POSSIBLE, FILE_DIRECT } file_mode;

/* Opens `root`/`name` for reading. `root_fd` is a directory descriptor (or AT_FDCWD); when `beneath` is set the path,
 * symbolic links included, must stay below root_fd (openat2, RESOLVE_BENEATH). LEAT_MODEL: absent or not a regular
 * file. */
MUST_CHECK leat_status file_open(int root_fd, const char *name, bool beneath, file_mode mode, file *out_file,
                                 leat_error *error);
void file_close(file *f);
/* LEAT_IO when somebody wrote to the file since it was opened: another size, another time of modification. That the
 * name is another file's by now, or nobody's, is no change. */
MUST_CHECK leat_status file_check_unchanged(const file *f, const char *name, leat_error *error);
/* Reads through the page cache from now on, without leaving anything there: drops_behind, and no read-ahead. */
MUST_CHECK leat_status file_leave_direct(file *f, const char *name, leat_error *error);
/* Where the file drops behind: whole pages that hold these bytes leave the page cache, unless somebody maps them or
 * they are still to be written. */
void file_drop_behind(const file *f, uint64_t offset, uint64_t bytes);
/* How many of these bytes the page cache holds, in whole pages. All of them where the system will not tell: of files
 * that the user neither owns nor may write. */
uint64_t file_cached_bytes(const file *f, uint64_t offset, uint64_t bytes);

/* How far a read has come: EINTR, EAGAIN, short reads and the end of the file are handled here and nowhere else, for
 * those who wait for the system (file_read) and those who do not (src/io/storage_uring.c). */
typedef struct file_progress {
    uint64_t offset, bytes; /* of the whole read */
    uint64_t wanted_bytes;  /* direct: without what lies past the end of the file */
    uint64_t done_bytes;
} file_progress;

MUST_CHECK leat_status file_progress_begin(const file *f, const char *name, uint64_t offset, uint64_t bytes,
                                           file_progress *out_progress, leat_error *error);
bool file_progress_is_done(const file_progress *p);
/* What to ask for next, at offset + done_bytes, into the buffer at done_bytes. */
uint64_t file_progress_next_bytes(const file_progress *p);
/* Takes in what the system said: a count of bytes or -errno. LEAT_OK: done, or ask again. */
MUST_CHECK leat_status file_progress_take(const file *f, const char *name, int64_t got, file_progress *p,
                                          leat_error *error);

/* A read of the file failed with this errno, and `error` says so: where the device may be to blame, the hint names it.
 */
void file_hint_device(const file *f, int os_errno, leat_error *error);

/* Reads exactly `bytes` at `offset`. LEAT_IO with offset and errno; a file that ends early is LEAT_IO too. For direct
 * files all three are aligned, except that the read may reach past the end of the file: *out_bytes (may be NULL) then
 * says how much there was. */
MUST_CHECK leat_status file_read(const file *f, const char *name, uint64_t offset, void *buffer, uint64_t bytes,
                                 uint64_t *out_bytes, leat_error *error);

/* The whole of a small file, terminated by a NUL that is not counted. LEAT_MODEL when larger than `bytes_max`. */
MUST_CHECK leat_status file_load(mem *ledger, mem_pool pool, int root_fd, const char *name, bool beneath,
                                 uint64_t bytes_max, char **out_text, uint64_t *out_bytes, leat_error *error);

/* A listing of the folder `name` in folder_fd (".": of that itself) with a position of its own; NULL: errno says why.
 */
DIR *file_list(int folder_fd, const char *name);

/* Makes a new name itself durable. Some file systems cannot sync a folder; the file is whole without it. */
void file_sync_folder_of(const char *path);
/* Writes tmp + fsync + rename: `path` holds the old or the new content, never half of it. */
MUST_CHECK leat_status file_replace(const char *path, const void *bytes, uint64_t count, uint32_t mode,
                                    leat_error *error);

#endif

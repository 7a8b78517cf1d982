/*
 * lease.c - see the header.
 *
 * Making a file is done in three steps: create it under a name that did not exist, lock it, and look whether it still
 * has that name. Between the first two somebody may find it without a lock and take it for a dead process's; then it is
 * made again under another name.
 *
 * A file is one line, written in one call: "leat 1 PID BUDGET DEVICE FIXED CHECK". A reader who meets a half-written
 * line (the file system does not promise that there is none) finds that CHECK does not fit, and tries again.
 */
#include "os/lease.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "os/text_lines.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 160, MAKE_TRIES = 16, READ_TRIES = 4, DIRENT_BYTES = 4096, LOCK_TRIES = 500, LOCK_PAUSE_MS = 10 };

/* ---- the folder ---- */

/* -1: it is not a folder of this user's alone. */
static int open_own_folder(const char *path, bool is_made, leat_error *error)
{
    struct stat info;
    if (is_made && mkdir(path, 0700) != 0 && errno != EEXIST) {
        (void)FAIL_OS(error, IO, errno, "%s: cannot be made: %s", path, strerrordesc_np(errno));
        return -1;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        (void)FAIL_OS(error, PERMISSION, errno, "%s: cannot be opened: %s", path, strerrordesc_np(errno));
        return -1;
    }
    if (fstat(fd, &info) == 0 && info.st_uid == geteuid() && (info.st_mode & 077) == 0) return fd;
    (void)FAIL(error, PERMISSION, "%s: others may write or look there; expected a folder of user %u with mode 0700",
               path, (unsigned)geteuid());
    close(fd);
    return -1;
}

static leat_status open_folder(const char *folder, bool is_made, int *out_fd, leat_error *error)
{
    char paths[3][OS_PATH_BYTES];
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const unsigned user = (unsigned)geteuid();
    int count = 0;
    if (folder != NULL) {
        count += path_format(paths[0], "%s", folder);
    } else {
        if (runtime != NULL && *runtime == '/') count += path_format(paths[count], "%s/leat", runtime);
        count += path_format(paths[count], "/run/user/%u/leat", user);
        count += path_format(paths[count], "/tmp/leat-%u", user);
    }
    leat_error why = {0};
    for (int i = 0; i < count; i++) {
        *out_fd = open_own_folder(paths[i], is_made, &why);
        if (*out_fd >= 0) return LEAT_OK;
    }
    return FAIL(error, IO, "no folder for leases: %s", why.text);
}

leat_status lease_open_folder(int *out_fd, leat_error *error) { return open_folder(NULL, true, out_fd, error); }

/* ---- one file ---- */

static int format_line(char out[LINE_BYTES], long pid, const lease_terms *t)
{
    int length = snprintf(out, LINE_BYTES, "leat 1 %ld %" PRIu64 " %" PRIu64 " %d", pid, t->budget_bytes, t->device,
                          (int)t->is_fixed);
    const uint64_t check = hash_bytes(out, (size_t)length, 0);
    return length + snprintf(out + length, LINE_BYTES - (size_t)length, " %016" PRIx64 "\n", check);
}

static bool parse_line(const char *text, long *out_pid, lease_terms *out)
{
    char again[LINE_BYTES];
    int is_fixed;
    if (sscanf(text, "leat 1 %ld %" SCNu64 " %" SCNu64 " %d", out_pid, &out->budget_bytes, &out->device, &is_fixed) !=
        4)
        return false;
    out->is_fixed = is_fixed != 0;
    format_line(again, *out_pid, out);
    return strcmp(again, text) == 0;
}

static bool read_terms(int fd, long *out_pid, lease_terms *out)
{
    for (int i = 0; i < READ_TRIES; i++) {
        char text[LINE_BYTES];
        ssize_t got = pread(fd, text, sizeof text - 1, 0);
        if (got <= 0) continue;
        text[got] = '\0';
        if (parse_line(text, out_pid, out)) return true;
    }
    return false;
}

void lease_change(lease *l, const lease_terms *terms)
{
    char line[LINE_BYTES];
    l->terms = *terms;
    if (l->fd < 0) return;
    const int length = format_line(line, (long)getpid(), terms);
    if (pwrite(l->fd, line, (size_t)length, 0) == length && ftruncate(l->fd, length) == 0) return;
    /* A full file system: others see the old terms, or none that they understand. */
}

void lease_lock(const lease *l)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    for (int i = 0; l->folder_fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(l->folder_fd, LOCK_EX | LOCK_NB) == 0) return;
        nanosleep(&pause, NULL);
    }
}

void lease_unlock(const lease *l)
{
    if (l->folder_fd >= 0) flock(l->folder_fd, LOCK_UN);
}

/* false: taken, or taken for void before it was locked. */
static bool make_file(lease *l, uint32_t number)
{
    struct stat info;
    if (snprintf(l->name, sizeof l->name, "%ld.%" PRIu32, (long)getpid(), number) >= (int)sizeof l->name) return false;
    l->fd = openat(l->folder_fd, l->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (l->fd < 0) return false;
    if (flock(l->fd, LOCK_EX) == 0 && fstat(l->fd, &info) == 0 && info.st_nlink > 0) return true;
    close(l->fd);
    l->fd = -1;
    return false;
}

/* ---- opening ---- */

leat_status lease_look(const char *folder, lease *out_lease, leat_error *error)
{
    *out_lease = (lease)LEASE_NONE;
    return open_folder(folder, false, &out_lease->folder_fd, error);
}

leat_status lease_open(const char *folder, const lease_terms *terms, lease *out_lease, leat_error *error)
{
    static _Atomic uint32_t last_number; /* one process may run several models */
    *out_lease = (lease)LEASE_NONE;
    TRY(open_folder(folder, true, &out_lease->folder_fd, error));
    for (int i = 0; i < MAKE_TRIES; i++)
        if (make_file(out_lease, atomic_fetch_add(&last_number, 1))) {
            lease_change(out_lease, terms);
            return LEAT_OK;
        }
    const int os_errno = errno;
    lease_close(out_lease);
    return FAIL_OS(error, IO, os_errno, "a lease cannot be made: %s", strerrordesc_np(os_errno));
}

void lease_close(lease *l)
{
    if (l->fd >= 0) {
        unlinkat(l->folder_fd, l->name, 0);
        close(l->fd);
    }
    if (l->folder_fd >= 0) close(l->folder_fd);
    *l = (lease)LEASE_NONE;
}

/* ---- the others ---- */

/* Pages of files (code, above all) are page cache and count as free, for the machine and mostly for groups. false:
 * there is no such process, or none that can be seen from here. */
static bool read_touched(long pid, uint64_t *out_bytes)
{
    char path[OS_PATH_BYTES];
    if (!path_format(path, "/proc/%ld/status", pid)) return false;
    if (!read_u64_field(path, "RssAnon", out_bytes) && !read_u64_field(path, "VmRSS", out_bytes)) return false;
    return size_mul(*out_bytes, 1024, out_bytes);
}

static void add_claim(lease_claims *c, const lease_terms *terms, uint64_t touched)
{
    const uint64_t claimed = terms->budget_bytes - min_u64(terms->budget_bytes, touched);
    if (!size_add(c->claimed, claimed, &c->claimed)) c->claimed = UINT64_MAX;
    if (terms->is_fixed) {
        if (!size_add(c->claimed_fixed, claimed, &c->claimed_fixed)) c->claimed_fixed = UINT64_MAX;
    } else {
        c->flexible++;
        c->held_flexible += touched;
    }
}

/* The outermost group with a limit that the own process is in, "" where there is none. What is not known may be
 * everything. */
static void find_limited_group(const lease *l, char out_group[OS_PATH_BYTES])
{
    out_group[0] = '\0';
    if (l->group_up == CGROUP_NONE) return;
    if (!cgroup_membership("", 0, "memory", out_group)) memcpy(out_group, "/", 2);
    cgroup_cut_membership(out_group, l->group_up);
}

static bool is_in_group(long pid, const char *group)
{
    char member[OS_PATH_BYTES];
    if (*group == '\0') return false;
    return !cgroup_membership("", pid, "memory", member) || cgroup_contains(group, member);
}

static void add_terms(long pid, const lease_terms *terms, uint64_t device, const char *group, lease_view *view)
{
    uint64_t touched;
    if (!read_touched(pid, &touched)) return;
    view->count++;
    view->on_device += terms->device == device;
    add_claim(&view->machine, terms, touched);
    if (is_in_group(pid, group)) add_claim(&view->in_group, terms, touched);
}

/* Its lock can be had: its owner has ended. As long as the lock is held and the file has a name, the name is its own:
 * only who holds the lock takes it away. */
static void look_at_file(const lease *l, const char *name, uint64_t device, const char *group, lease_view *view)
{
    lease_terms terms;
    long pid;
    int fd = openat(l->folder_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        struct stat info;
        if (fstat(fd, &info) == 0 && info.st_nlink > 0) unlinkat(l->folder_fd, name, 0);
    } else if (read_terms(fd, &pid, &terms))
        add_terms(pid, &terms, device, group, view);
    close(fd);
}

/* Without opendir, which allocates. */
void lease_survey(lease *l, uint64_t device, lease_view *out_view)
{
    _Alignas(struct dirent64) char buffer[DIRENT_BYTES];
    char group[OS_PATH_BYTES];
    lease_view view = {0};
    ssize_t got;
    find_limited_group(l, group);
    if (l->folder_fd >= 0 && lseek(l->folder_fd, 0, SEEK_SET) == 0)
        while ((got = getdents64(l->folder_fd, buffer, sizeof buffer)) > 0)
            for (ssize_t at = 0; at < got;) {
                const struct dirent64 *entry = (const struct dirent64 *)(const void *)(buffer + at);
                at += entry->d_reclen;
                if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
                if (l->fd >= 0 && strcmp(entry->d_name, l->name) == 0) continue;
                look_at_file(l, entry->d_name, device, group, &view);
            }
    atomic_store(&l->share_count, view.on_device + 1);
    *out_view = view;
}

uint32_t lease_share_count(const lease *l)
{
    const uint32_t count = atomic_load(&l->share_count);
    return count > 0 ? count : 1;
}

uint64_t lease_equal_part(const lease_claims *c, uint64_t free_bytes, uint64_t own_held_bytes)
{
    if (free_bytes == UINT64_MAX) return UINT64_MAX;
    const uint64_t left = free_bytes - min_u64(free_bytes, c->claimed_fixed);
    return (left + c->held_flexible + own_held_bytes) / (c->flexible + 1);
}

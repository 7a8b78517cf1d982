/*
 * world_shim.c - stands between a server under test and the system (LD_PRELOAD), so that a test can have a disk that
 * does not answer and a calendar that jumps. What it does is told by files in the folder $LEAT_SHIM: while `hold` is
 * there, reads of weights do not come back; while `fail` is, they fail; the calendar is off by as many seconds as
 * `clock` says. Clocks that only go forward are left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What the program calls in place of the C library. */
#define INSTEAD __attribute__((visibility("default")))

enum { PATH_MAX_BYTES = 4096 };

static bool path_of(const char *name, char *out, size_t size)
{
    const char *folder = getenv("LEAT_SHIM");
    return folder && snprintf(out, size, "%s/%s", folder, name) < (int)size;
}

/* Whether `fd` is a file of weights and the test has put a file of this name there. */
static bool is_told(const char *name, int fd)
{
    static const char suffix[] = ".safetensors";
    char path[PATH_MAX_BYTES], link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes < (ssize_t)sizeof suffix) return false;
    path[bytes] = '\0';
    return strcmp(path + bytes - (sizeof suffix - 1), suffix) == 0 && path_of(name, path, sizeof path) &&
           access(path, F_OK) == 0;
}

static time_t shift(void)
{
    char path[PATH_MAX_BYTES], text[32] = "";
    int fd = path_of("clock", path, sizeof path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    return bytes > 0 ? (time_t)strtol(text, NULL, 10) : 0;
}

INSTEAD ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    while (is_told("hold", fd)) nanosleep(&pause, NULL);
    if (is_told("fail", fd)) {
        errno = ENODEV; /* which is not tried again */
        return -1;
    }
    return syscall(SYS_pread64, fd, buffer, bytes, offset);
}

INSTEAD int clock_gettime(clockid_t id, struct timespec *out)
{
    if (syscall(SYS_clock_gettime, id, out) != 0) return -1;
    if (id == CLOCK_REALTIME) out->tv_sec += shift();
    return 0;
}

INSTEAD time_t time(time_t *out)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

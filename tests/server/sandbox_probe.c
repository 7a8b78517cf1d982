/*
 * sandbox_probe.c - what can still be done in the sandbox: one line "NAME errno" for each attempt, 0 for success.
 *
 *     sandbox_probe READABLE WRITABLE      two folders; READABLE holds a file "file"
 */
#include "server/sandbox.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void try_open(const char *name, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    printf("%s %d\n", name, fd < 0 ? errno : 0);
    if (fd >= 0) close(fd);
}

static void try_paths(const char *readable, const char *writable)
{
    char path[4096];
    try_open("passwd", "/etc/passwd", O_RDONLY);
    snprintf(path, sizeof path, "%s/file", readable);
    try_open("read", path, O_RDONLY);
    try_open("change", path, O_WRONLY);
    snprintf(path, sizeof path, "%s/new", readable);
    try_open("create", path, O_WRONLY | O_CREAT);
    snprintf(path, sizeof path, "%s/new", writable);
    try_open("write", path, O_WRONLY | O_CREAT);
}

static void *do_nothing(void *user) { return user; }

static void try_calls(void)
{
    pthread_t thread;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    printf("socket %d\n", fd < 0 ? errno : 0);
    pid_t child = fork();
    if (child == 0) _exit(0);
    printf("fork %d\n", child < 0 ? errno : 0);
    printf("exec %d\n", execl("/bin/true", "true", (char *)NULL) < 0 ? errno : 0);
    int wrong = pthread_create(&thread, NULL, do_nothing, NULL);
    if (wrong == 0) pthread_join(thread, NULL);
    printf("thread %d\n", wrong);
}

int main(int argument_count, char **arguments)
{
    leat_error error = {0};
    sandbox_report report;
    if (argument_count != 3) return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    const sandbox_path paths[] = {{open(arguments[1], O_PATH | O_CLOEXEC), false},
                                  {open(arguments[2], O_PATH | O_CLOEXEC), true}};
    if (sandbox_enter(SANDBOX_AUTO, paths, ARRAY_COUNT(paths), &report, &error) != LEAT_OK) return 1;
    printf("landlock %d\nseccomp %d\n", report.landlock_version, report.has_seccomp);
    if (report.landlock_version > 0) try_paths(arguments[1], arguments[2]);
    if (report.has_seccomp) try_calls();
    return 0;
}

/*
 * sandbox_probe.c - what can still be done in the sandbox: one line "NAME errno" for each attempt, 0 for success.
 *
 *     sandbox_probe READABLE WRITABLE LOGS SOCKETS      four folders; all but WRITABLE hold a file "file"
 */
#include "server/sandbox.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void try_open(const char *name, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    printf("%s %d\n", name, fd < 0 ? errno : 0);
    if (fd >= 0) close(fd);
}

static void try_paths(const char *readable, const char *writable, const char *logs, const char *sockets)
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
    snprintf(path, sizeof path, "%s/file", logs);
    try_open("read_log", path, O_RDONLY);
    try_open("append", path, O_WRONLY | O_APPEND);
    printf("remove_log %d\n", unlink(path) != 0 ? errno : 0);
    snprintf(path, sizeof path, "%s/new", logs);
    try_open("new_log", path, O_WRONLY | O_CREAT | O_APPEND);
    snprintf(path, sizeof path, "%s/file", sockets);
    try_open("read_socket", path, O_RDONLY);
    try_open("write_socket", path, O_WRONLY);
    printf("remove_socket %d\n", unlink(path) != 0 ? errno : 0);
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
    printf("signal_own %d\n", syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) != 0 ? errno : 0);
    printf("signal %d\n", syscall(SYS_tgkill, getppid(), getppid(), 0) != 0 ? errno : 0);
    struct rlimit limit;
    printf("limit_own %d\n", prlimit(0, RLIMIT_NOFILE, NULL, &limit) != 0 ? errno : 0);
    printf("limit %d\n", prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit) != 0 ? errno : 0);
    printf("priority %d\n", setpriority(PRIO_PROCESS, (id_t)getppid(), 5) != 0 ? errno : 0);
}

int main(int argument_count, char **arguments)
{
    leat_error error = {0};
    sandbox_report report;
    if (argument_count != 5) return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    const sandbox_path paths[] = {{open(arguments[1], O_PATH | O_CLOEXEC), SANDBOX_READ},
                                  {open(arguments[2], O_PATH | O_CLOEXEC), SANDBOX_WRITE},
                                  {open(arguments[3], O_PATH | O_CLOEXEC), SANDBOX_APPEND},
                                  {open(arguments[4], O_PATH | O_CLOEXEC), SANDBOX_REMOVE}};
    if (sandbox_enter(SANDBOX_AUTO, paths, ARRAY_COUNT(paths), &report, &error) != LEAT_OK) return 1;
    printf("landlock %d\nseccomp %d\n", report.landlock_version, report.has_seccomp);
    if (report.landlock_version > 0) try_paths(arguments[1], arguments[2], arguments[3], arguments[4]);
    if (report.has_seccomp) try_calls();
    return 0;
}

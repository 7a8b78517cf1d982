/*
 * measure_peak.c - runs a program and reports the most memory that it held.
 *
 *     measure_peak REPORT GROUP|- PROGRAM [ARGUMENT...]
 *
 * The peak is the kernel's ru_maxrss of the program, which is its VmHWM. A process inherits that figure from the one it
 * was forked from, so it has to be started by something small: that is why this program exists. With GROUP, a folder of
 * the cgroup file system, the program becomes a member before its first instruction; this one stays outside and lives
 * to tell. REPORT receives "exit CODE PEAK_KIB FAULTS BLOCKS" or "signal NUMBER ...": FAULTS are the major page faults,
 * BLOCKS the 512-byte blocks that were read from a device. Exits with 0 when the program ran, whatever came of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(const char *group, char **command)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* who stops the measuring stops the measured */
    if (strcmp(group, "-") != 0) {
        char path[4096];
        snprintf(path, sizeof path, "%s/cgroup.procs", group);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            fprintf(stderr, "measure_peak: %s: %s\n", path, strerror(errno));
            _exit(127);
        }
        close(fd);
    }
    execv(command[0], command);
    fprintf(stderr, "measure_peak: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

int main(int argc, char **argv)
{
    int status;
    struct rusage usage;

    if (argc < 4) {
        fprintf(stderr, "usage: measure_peak REPORT GROUP|- PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    pid_t child = fork();
    if (child == 0) become(argv[2], argv + 3);
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        fprintf(stderr, "measure_peak: %s\n", strerror(errno));
        return 1;
    }
    FILE *report = fopen(argv[1], "w");
    if (!report) {
        fprintf(stderr, "measure_peak: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    if (WIFSIGNALED(status))
        fprintf(report, "signal %d", WTERMSIG(status));
    else
        fprintf(report, "exit %d", WEXITSTATUS(status));
    fprintf(report, " %ld %ld %ld\n", usage.ru_maxrss, usage.ru_majflt, usage.ru_inblock);
    return fclose(report) == 0 ? 0 : 1;
}

#include "process_probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void process_probe_open(process_probe *p)
{
    p->memory_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    p->descriptors_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p->start_time_s = seconds_of(CLOCK_REALTIME);
}

void process_probe_close(process_probe *p)
{
    if (p->memory_fd >= 0) close(p->memory_fd);
    if (p->descriptors_fd >= 0) close(p->descriptors_fd);
    *p = (process_probe){-1, -1, 0};
}

void process_probe_read(const process_probe *p, process_usage *out_usage)
{
    unsigned long long size = 0, resident = 0;
    char text[128];
    struct stat folder;
    const uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

    *out_usage = (process_usage){.cpu_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
    const ssize_t got = p->memory_fd >= 0 ? pread(p->memory_fd, text, sizeof text - 1, 0) : 0;
    text[got > 0 ? got : 0] = '\0';
    if (sscanf(text, "%llu %llu", &size, &resident) == 2) {
        out_usage->virtual_bytes = size * page_bytes;
        out_usage->resident_bytes = resident * page_bytes;
    }
    /* Since Linux 6.2 the size of that folder is the number of its entries; before, it is 0. */
    if (p->descriptors_fd >= 0 && fstat(p->descriptors_fd, &folder) == 0)
        out_usage->descriptor_count = (uint64_t)folder.st_size;
}

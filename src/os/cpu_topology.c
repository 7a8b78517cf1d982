#include "os/cpu_topology.h"

#include "base/bytes.h"
#include "os/cgroup.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CPU_NAME_BYTES = 128, CPU_SETS = 16 }; /* 16 * 1024 CPUs: more than Linux can be built for */

static uint32_t count_affine_cpus(void)
{
    cpu_set_t sets[CPU_SETS];
    if (sched_getaffinity(0, sizeof sets, sets) == 0) {
        int count = CPU_COUNT_S(sizeof sets, sets);
        if (count > 0) return (uint32_t)count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* The group's quota as a count of CPUs, rounded up; UINT32_MAX when it has none. */
static uint32_t read_group_quota(const cgroup_dir *dir)
{
    uint64_t quota_us = 0, period_us = 0;
    if (dir->is_v2) { /* "max 100000" or "150000 100000" */
        char path[OS_PATH_BYTES];
        text_lines lines;
        if (!path_format(path, "%s/cpu.max", dir->path) || !text_lines_open(&lines, path)) return UINT32_MAX;
        const char *line = text_lines_next(&lines);
        const char *space = line == NULL ? NULL : strchr(line, ' ');
        bool has_quota = space != NULL && parse_u64(line, &quota_us) && parse_u64(space, &period_us);
        text_lines_close(&lines);
        if (!has_quota) return UINT32_MAX;
    } else { /* no quota is -1, which is no unsigned number */
        if (!cgroup_read_u64(dir, "cpu.cfs_quota_us", &quota_us) ||
            !cgroup_read_u64(dir, "cpu.cfs_period_us", &period_us))
            return UINT32_MAX;
    }
    if (quota_us == 0 || period_us == 0) return UINT32_MAX;
    return (uint32_t)min_u64(div_up(quota_us, period_us), UINT32_MAX);
}

uint32_t cpu_quota_count(const char *root)
{
    uint32_t least = UINT32_MAX;
    cgroup_dir dir;
    if (!cgroup_find(root, "cpu", &dir)) return least;
    do {
        uint32_t quota = read_group_quota(&dir);
        if (quota < least) least = quota;
    } while (cgroup_to_parent(&dir));
    return least;
}

uint32_t cpu_usable_count(void)
{
    uint32_t affine = count_affine_cpus(), quota = cpu_quota_count("");
    return affine < quota ? affine : quota;
}

static char cpu_name[CPU_NAME_BYTES];

static void read_cpu_name(void)
{
    strcpy(cpu_name, "unknown CPU");
    text_lines lines;
    if (!text_lines_open(&lines, "/proc/cpuinfo")) return;
    for (const char *line; (line = text_lines_next(&lines)) != NULL;) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        const char *name = colon + 1 + strspn(colon + 1, " ");
        if (*name != '\0') snprintf(cpu_name, sizeof cpu_name, "%s", name);
        break;
    }
    text_lines_close(&lines);
}

const char *cpu_model_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_cpu_name);
    return cpu_name;
}

/*
 * memory_limit.c - the machine's memory and the least limit of all enclosing control groups.
 *
 * A group's limit binds everything below it, so every group on the way to the root counts. Pages of files that nobody
 * uses are given back before a process is killed: they count as free.
 */
#include "os/memory_limit.h"

#include "base/bytes.h"
#include "os/cgroup.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

/* v1 writes "no limit" as the largest multiple of the page size below 2^63. */
static const uint64_t LIMIT_NONE_MIN = UINT64_C(1) << 60;

static uint64_t read_meminfo(const char *root, const char *key)
{
    char path[OS_PATH_BYTES];
    uint64_t kib, bytes;
    if (!path_format(path, "%s/proc/meminfo", root) || !read_u64_field(path, key, &kib)) return 0;
    return size_mul(kib, 1024, &bytes) ? bytes : 0;
}

/* UINT64_MAX: none. */
static uint64_t read_limit_file(const cgroup_dir *dir, const char *name)
{
    uint64_t value;
    return cgroup_read_u64(dir, name, &value) && value < LIMIT_NONE_MIN ? value : UINT64_MAX;
}

/* Groups above the mount's root cannot be walked to, but v1 reports the least of their limits in the statistics. */
static uint64_t read_inherited_limit(const cgroup_dir *dir)
{
    uint64_t value;
    bool found = cgroup_read_field(dir, "memory.stat", "hierarchical_memory_limit", &value);
    return found && value < LIMIT_NONE_MIN ? value : UINT64_MAX;
}

/* Above memory.high a group is not killed, but slowed down until it is of no use. */
static uint64_t read_group_limit(const cgroup_dir *dir)
{
    if (dir->is_v2) return min_u64(read_limit_file(dir, "memory.max"), read_limit_file(dir, "memory.high"));
    return min_u64(read_limit_file(dir, "memory.limit_in_bytes"), read_inherited_limit(dir));
}

/* v1 has the sum over the groups below as total_NAME. */
static uint64_t read_group_stat(const cgroup_dir *dir, const char *total_name)
{
    uint64_t value;
    if (!dir->is_v2 && cgroup_read_field(dir, "memory.stat", total_name, &value)) return value;
    return cgroup_read_field(dir, "memory.stat", total_name + strlen("total_"), &value) ? value : 0;
}

static uint64_t read_group_usage(const cgroup_dir *dir, bool cache_is_free)
{
    uint64_t usage = 0;
    if (!cgroup_read_u64(dir, dir->is_v2 ? "memory.current" : "memory.usage_in_bytes", &usage)) return 0;
    uint64_t cache = read_group_stat(dir, "total_inactive_file");
    if (cache_is_free && !size_add(cache, read_group_stat(dir, "total_active_file"), &cache)) cache = usage;
    return usage - min_u64(usage, cache);
}

/* Free memory without what the page cache could give back: less than there is, never more. */
static void read_sysinfo(memory_limit *limit)
{
    struct sysinfo facts;
    if (sysinfo(&facts) != 0) return;
    limit->physical_bytes = (uint64_t)facts.totalram * facts.mem_unit;
    limit->available_bytes = (uint64_t)(facts.freeram + facts.bufferram) * facts.mem_unit;
}

void memory_limit_read_machine(const char *root, memory_limit *limit)
{
    limit->physical_bytes = read_meminfo(root, "MemTotal");
    if (limit->physical_bytes == 0 && *root == '\0') read_sysinfo(limit);
    uint64_t available_bytes = read_meminfo(root, "MemAvailable");
    if (available_bytes == 0) available_bytes = read_meminfo(root, "MemFree"); /* before Linux 3.14 */
    if (available_bytes > 0) limit->available_bytes = available_bytes;
}

void memory_limit_read_groups(const cgroup_dir *group, bool cache_is_free, memory_limit *limit)
{
    cgroup_dir dir = *group;
    uint32_t up = 0;
    do {
        uint64_t group_limit = read_group_limit(&dir);
        if (group_limit == UINT64_MAX) continue;
        limit->cgroup_up = up;
        uint64_t used = read_group_usage(&dir, cache_is_free);
        limit->cgroup_limit_bytes = min_u64(limit->cgroup_limit_bytes, group_limit);
        limit->cgroup_free_bytes = min_u64(limit->cgroup_free_bytes, group_limit - min_u64(used, group_limit));
    } while (up++, cgroup_to_parent(&dir));
}

leat_status memory_limit_read(const char *root, memory_limit *out_limit, leat_error *error)
{
    memory_limit limit = MEMORY_LIMIT_UNREAD;
    memory_limit_read_machine(root, &limit);
    if (limit.physical_bytes == 0)
        return FAIL(error, IO, "%s/proc/meminfo: expected a line \"MemTotal: N kB\", found none", root);
    cgroup_dir dir;
    if (cgroup_find(root, "memory", &dir)) memory_limit_read_groups(&dir, false, &limit);
    *out_limit = limit;
    return LEAT_OK;
}

uint64_t memory_limit_ceiling(const memory_limit *limit)
{
    return min_u64(limit->physical_bytes, limit->cgroup_limit_bytes);
}

static uint64_t read_own_status(const char *key)
{
    uint64_t kib;
    return read_u64_field("/proc/self/status", key, &kib) ? kib * 1024 : 0;
}

uint64_t process_rss_peak_bytes(void)
{
    uint64_t bytes = read_own_status("VmHWM");
    struct rusage usage;
    return bytes > 0 || getrusage(RUSAGE_SELF, &usage) != 0 ? bytes : (uint64_t)usage.ru_maxrss * 1024;
}

uint64_t process_rss_bytes(void) { return read_own_status("VmRSS"); }

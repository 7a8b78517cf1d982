/*
 * memory_limit.h - how much memory this process may use: /proc/meminfo (or sysinfo(2), where /proc is not mounted or
 * hides it) and every enclosing cgroup, v1 and v2.
 */
#ifndef OS_MEMORY_LIMIT_H
#define OS_MEMORY_LIMIT_H

#include "base/status.h"
#include "os/cgroup.h"

#include <stdint.h>

typedef struct memory_limit {
    uint64_t physical_bytes;     /* MemTotal */
    uint64_t available_bytes;    /* MemAvailable */
    uint64_t cgroup_limit_bytes; /* the least limit on the way to the root; UINT64_MAX when there is none */
    uint64_t cgroup_free_bytes;  /* what is left below that limit; UINT64_MAX when there is none */
    uint32_t cgroup_up;          /* groups from the own one up to the outermost with a limit; or CGROUP_NONE */
} memory_limit;

#define MEMORY_LIMIT_UNREAD                                                                                            \
    {                                                                                                                  \
        .cgroup_limit_bytes = UINT64_MAX, .cgroup_free_bytes = UINT64_MAX, .cgroup_up = CGROUP_NONE                    \
    }

/* `root` is "" in production; tests give a folder that holds proc/ and sys/. */
MUST_CHECK leat_status memory_limit_read(const char *root, memory_limit *out_limit, leat_error *error);

/* Parts of it, for those who ask again and again, into a MEMORY_LIMIT_UNREAD: the machine's two numbers (0: not known),
 * and those of `group` and the groups around it. `cache_is_free`: page cache in active use counts as free too. */
void memory_limit_read_machine(const char *root, memory_limit *limit);
void memory_limit_read_groups(const cgroup_dir *group, bool cache_is_free, memory_limit *limit);

/* The most that a budget may be: min(physical, cgroup limit). */
uint64_t memory_limit_ceiling(const memory_limit *limit);

/* VmHWM and VmRSS of this process in bytes. Where /proc does not say: what getrusage(2) says, and 0. */
uint64_t process_rss_peak_bytes(void);
uint64_t process_rss_bytes(void);

#endif

/*
 * memory_pressure.h - how scarce memory is at the moment: what the machine and the process's control groups have left,
 * how long tasks wait for memory (PSI), and how often a group ran into its limit.
 *
 * The reader finds its group once; every reading opens and reads about a dozen small files, more where groups enclose
 * each other. That takes 0.11 to 0.15 ms (docs/memory.md), so it may be done every 250 ms, and allocates nothing.
 *
 * Threads: one at a time a reader.
 */
#ifndef OS_MEMORY_PRESSURE_H
#define OS_MEMORY_PRESSURE_H

#include "os/cgroup.h"

typedef struct memory_pressure {
    uint64_t physical_bytes;
    uint64_t available_bytes; /* MemAvailable; UINT64_MAX where the system does not say */
    /* Of the enclosing groups the one with least left: its limit (memory.max, memory.high), and what is left below it
     * when all page cache is taken for free, for the kernel drops that before anything else. UINT64_MAX: no limit. */
    uint64_t group_limit_bytes, group_free_bytes;
    uint32_t group_up;        /* as memory_limit.cgroup_up */
    double some_avg10;        /* percent of the last 10 s in which a task waited for memory: the larger of machine's and
                                 group's; 0 where there is no PSI */
    uint64_t group_hit_count; /* how often the process's own group was at its limit, since it was made */
} memory_pressure;

typedef struct memory_pressure_reader {
    const char *root; /* borrowed */
    bool has_group;
    cgroup_dir group;
} memory_pressure_reader;

/* `root` is "" in production; tests give a folder that holds proc/ and sys/. */
void memory_pressure_init(memory_pressure_reader *reader, const char *root);
void memory_pressure_read(const memory_pressure_reader *reader, memory_pressure *out);

#endif

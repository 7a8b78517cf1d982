/* cpu_topology.h - how many CPUs this process may use: the affinity mask and the cgroup's CPU quota (v1 and v2),
 * rounded up. */
#ifndef OS_CPU_TOPOLOGY_H
#define OS_CPU_TOPOLOGY_H

#include <stdint.h>

uint32_t cpu_usable_count(void);
/* The least CPU quota of the enclosing cgroups, rounded up; UINT32_MAX when there is none. `root` is "" in production;
 * tests give a folder that holds proc/ and sys/. */
uint32_t cpu_quota_count(const char *root);
/* "AMD EPYC ..." or "unknown CPU". The text lives as long as the process. */
const char *cpu_model_name(void);

#endif

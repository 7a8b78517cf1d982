/*
 * process_probe.h - what the process itself uses, from files of /proc that are opened once, so that a sandbox may
 * forbid to open any later.
 *
 * Threads: read from any.
 */
#ifndef SERVER_PROCESS_PROBE_H
#define SERVER_PROCESS_PROBE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct process_probe {
    int memory_fd, descriptors_fd; /* -1: not there */
    double start_time_s;           /* Unix time at which it was opened */
} process_probe;

typedef struct process_usage {
    double cpu_s;
    uint64_t resident_bytes, virtual_bytes; /* 0: not known */
    uint64_t descriptor_count;              /* 0: not known */
} process_usage;

void process_probe_open(process_probe *p);
void process_probe_close(process_probe *p);
void process_probe_read(const process_probe *p, process_usage *out_usage);

#endif

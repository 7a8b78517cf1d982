/*
 * storage_sim.h - a storage for tests: files in memory, a clock that nobody waits for, and all the misfortune a disk
 * can offer.
 *
 * Reads complete in the order of their random latencies, so they are reordered; the same seed gives the same run. From
 * submit until reap the window in the caller's buffer is filled with STORAGE_SIM_POISON and only reap delivers the
 * bytes, so who looks too early, or into a read that failed, sees it. A submit that would wait for ever (the queue is
 * full and this thread is the only one) aborts the test.
 *
 * With bytes_per_s there is a drive: it reads one after the other at that rate, in the order in which the scheduler of
 * the engine (src/io/io_sched.h) lets them go, and each read is there a latency later. Time passes in reap, and in
 * storage_sim_advance, which is where the caller computes.
 *
 * Threads: one thread.
 */
#ifndef SUPPORT_STORAGE_SIM_H
#define SUPPORT_STORAGE_SIM_H

#include "io/storage.h"

enum { STORAGE_SIM_POISON = 0xee };

typedef struct storage_sim_config {
    uint64_t seed;
    uint32_t queue_depth;                    /* 0: 4096 */
    uint64_t latency_ns_min, latency_ns_max; /* of the virtual clock */
    uint32_t failures_per_1000;              /* of the reads: EIO after half of the window was written */
    uint32_t begun_per_1000; /* of the reads that a cancel finds: it comes too late. Without bytes_per_s; else the drive
                                knows */
    uint64_t bytes_per_s;    /* 0: no drive, every read is under way at once */
    bool has_no_bytes;       /* buffers are left alone, contents may be NULL */
} storage_sim_config;

/* `contents[i]` are the bytes of file i, whose descriptor is not used. Both are borrowed until close. */
storage *storage_sim_open(const file_set *files, const uint8_t *const *contents, const storage_sim_config *config);

/* The n-th read from now (1 = the next one submitted) fails with EIO; 0 switches it off. */
void storage_sim_fail_nth(storage *s, uint64_t nth);
void storage_sim_set_failures(storage *s, uint32_t failures_per_1000);
uint64_t storage_sim_now_ns(const storage *s);
/* The caller does something else for so long. */
void storage_sim_advance(storage *s, uint64_t ns);
/* Drive: reads under way that are guesses. */
uint32_t storage_sim_guesses_flying(const storage *s);
/* The class that a read has by now; READ_CLASS_COUNT: no such tag is pending. */
read_class storage_sim_class_of(const storage *s, uint64_t tag);
/* Reads submitted and not reaped. */
uint32_t storage_sim_pending_count(const storage *s);
/* The tags in the order of submission, from the beginning; the last 1024 are kept. */
uint64_t storage_sim_submitted_count(const storage *s);
uint64_t storage_sim_submitted_tag(const storage *s, uint64_t idx);
read_class storage_sim_submitted_class(const storage *s, uint64_t idx);

#endif

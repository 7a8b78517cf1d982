/*
 * job_queue.h - jobs that wait, first in, first out, with a bound on their number and on their bytes.
 *
 * The queue keeps no references of its own: what is in it holds the one that the worker took.
 *
 * Threads: under the worker's mutex.
 */
#ifndef SERVER_JOB_QUEUE_H
#define SERVER_JOB_QUEUE_H

#include "server/job_parts.h"

typedef struct job_queue {
    job *first, *last;
    uint32_t count, count_max;
    uint64_t bytes, bytes_max;
} job_queue;

/* false: no room. */
bool job_queue_push(job_queue *q, job *j);
/* NULL when it is empty. */
job *job_queue_pop(job_queue *q);
/* The job is in it. */
void job_queue_remove(job_queue *q, job *j);
/* 1 for the first, 0 for one that is not in it. */
uint32_t job_queue_position(const job_queue *q, const job *j);
/* A job whose deadline is not after now_ns, or NULL; the earliest deadline of the others, UINT64_MAX without any. */
job *job_queue_find_late(const job_queue *q, uint64_t now_ns, uint64_t *out_next_ns);

#endif

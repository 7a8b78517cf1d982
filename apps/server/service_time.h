/*
 * service_time.h - how long a queue will take, judged by the jobs that have ended: what Retry-After tells a client that
 * finds the queue full. A pure function of what it is told.
 */
#ifndef SERVER_SERVICE_TIME_H
#define SERVER_SERVICE_TIME_H

#include <stdint.h>

enum { RETRY_AFTER_MIN_S = 1, RETRY_AFTER_MAX_S = 120 };

typedef struct service_time {
    double mean_s; /* of the last jobs, the newest weighs a quarter */
    uint32_t count;
} service_time;

void service_time_add(service_time *t, uint64_t ns);
/* Seconds until `queue_length` jobs and the one that has run for running_ns are done, in whole seconds, rounded up.
 * Before the first job has ended, the running one stands for all. */
uint32_t service_time_retry_after(const service_time *t, uint32_t queue_length, uint64_t running_ns);

#endif

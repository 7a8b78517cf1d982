/* clock.h - time for measurements: CLOCK_MONOTONIC in nanoseconds. */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

uint64_t clock_now_ns(void);

#endif

/*
 * step_clock.h - where the time of steps goes: one clock that is switched from part to part at the borders of blocks,
 * so that the parts sum to the time between start and stop.
 *
 * Waiting for the disk happens deep inside of parts; who waited says for how long with step_clock_move.
 *
 * Threads: the step's; step_clock_read from any.
 */
#ifndef EXEC_STEP_CLOCK_H
#define EXEC_STEP_CLOCK_H

#include "os/clock.h"

#include <stdatomic.h>

typedef enum step_part {
    STEP_OTHER, /* embedding, norms, sums, per-layer inputs */
    STEP_ATTENTION,
    STEP_FFN,
    STEP_ROUTER,
    STEP_MOE, /* experts, without their router */
    STEP_HEAD,
    STEP_DISK_WAIT,
    STEP_PART_COUNT
} step_part;

typedef struct step_clock {
    uint64_t begin_ns; /* of the current part */
    step_part part;
    _Atomic uint64_t spent_ns[STEP_PART_COUNT];
} step_clock;

static inline void step_clock_add(step_clock *c, step_part part, uint64_t ns)
{
    atomic_fetch_add_explicit(&c->spent_ns[part], ns, memory_order_relaxed);
}

/* The clock stands still until the first start, and between stop and start. */
static inline void step_clock_start(step_clock *c, step_part part)
{
    c->begin_ns = clock_now_ns();
    c->part = part;
}

/* From here on time belongs to `part`; what it belonged to before is returned, to be switched back to. */
static inline step_part step_clock_switch(step_clock *c, step_part part)
{
    const step_part before = c->part;
    const uint64_t now_ns = clock_now_ns();

    step_clock_add(c, before, now_ns - c->begin_ns);
    c->begin_ns = now_ns;
    c->part = part;
    return before;
}

static inline void step_clock_stop(step_clock *c) { step_clock_switch(c, STEP_OTHER); }

/* The last `ns` of the running part were spent waiting for the disk. */
static inline void step_clock_move(step_clock *c, uint64_t ns)
{
    step_clock_add(c, STEP_DISK_WAIT, ns);
    c->begin_ns += ns;
}

static inline uint64_t step_clock_read(const step_clock *c, step_part part)
{
    return atomic_load_explicit(&c->spent_ns[part], memory_order_relaxed);
}

#endif

/*
 * phase_clock.h - what the program itself spends its time on: one clock that is switched from phase to phase, so that
 * the phases sum to the time since the start. What happens inside of steps the engine counts (leat_stats).
 *
 * Threads: the main thread.
 */
#ifndef CLI_PHASE_CLOCK_H
#define CLI_PHASE_CLOCK_H

#include "os/clock.h"

typedef enum phase {
    PHASE_OTHER,
    PHASE_LOAD,     /* opening the engine */
    PHASE_STEP,     /* in the engine */
    PHASE_SAMPLING, /* choosing tokens */
    PHASE_TEXT,     /* text to ids and back, and writing it */
    PHASE_COUNT
} phase;

typedef struct phase_clock {
    uint64_t start_ns, begin_ns; /* of the program, of the current phase */
    phase current;
    uint64_t spent_ns[PHASE_COUNT];
    uint64_t ready_ns,
        first_token_ns; /* since the start: the engine was open, the first token was chosen; 0: not yet */
} phase_clock;

static inline void phase_clock_start(phase_clock *c)
{
    *c = (phase_clock){0};
    c->start_ns = c->begin_ns = clock_now_ns();
}

/* Notes in `*mark` when something happened first. */
static inline void phase_clock_mark(const phase_clock *c, uint64_t *mark)
{
    if (!*mark) *mark = clock_now_ns() - c->start_ns;
}

/* Returns the phase before, to be switched back to. */
static inline phase phase_clock_switch(phase_clock *c, phase next)
{
    const phase before = c->current;
    const uint64_t now_ns = clock_now_ns();

    c->spent_ns[before] += now_ns - c->begin_ns;
    c->begin_ns = now_ns;
    c->current = next;
    return before;
}

#endif

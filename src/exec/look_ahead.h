/*
 * look_ahead.h - how many records of the next layer are worth reading before its router has chosen.
 *
 * Steps of one row guess as soon as a layer has asked: what the next one will probably want is read behind what this
 * one waits for (src/io/io_sched.h), for as long as the layer takes, and what has not begun when the next one asks
 * and does not name it is given up. So the number does not matter, only how many bytes the disk may start, which the
 * pacing controller says (io/pacing.h): it is told of every layer with experts, and what it grants goes to the storage.
 *
 * Steps of many rows guess when their sweep ends: the disk has nothing to do while they compute attention and router
 * of the next layer. A guess that is right saves what it has read by then; one that is wrong delays those that turn
 * out to be needed by what it has not read yet. So the k-th guess is worth its read when
 *
 *     right * overlap > (1 - right) * (record - overlap)      overlap = the part of its read that falls into the gap
 *
 * which is overlap / record > 1 - right. All three are measured all the time: the gap between the last record of one
 * layer and the first read of the next; what a record costs when the step does wait for it (the further ones of a set
 * cost less than the first, for they are read side by side); and how many of the last guesses were named. Where
 * guessing does not pay, the rule stops it; a single guess now and then finds out when that changes.
 *
 * Nothing here knows a clock or a disk: times are arguments.
 *
 * Threads: the step's.
 */
#ifndef EXEC_LOOK_AHEAD_H
#define EXEC_LOOK_AHEAD_H

#include "io/pacing.h"

typedef enum look_ahead_mode { LOOK_AHEAD_AUTO, LOOK_AHEAD_OFF, LOOK_AHEAD_ON } look_ahead_mode;

/* Of steps of many rows. */
typedef struct look_ahead_pace {
    double gap_ns;       /* filtered; 0: not known yet */
    double used, wasted; /* guesses, the last ones weigh most */
    uint64_t used_seen, wasted_seen;
    uint32_t asked_count; /* for the guess now and then */
} look_ahead_pace;

/* What storage and cache have counted so far. */
typedef struct look_ahead_totals {
    uint64_t wait_ns, busy_ns, urgent_bytes, ahead_bytes, useful_bytes;
    uint64_t used_count, wasted_count; /* guesses */
} look_ahead_totals;

typedef struct look_ahead {
    look_ahead_mode mode;
    double first_ns;        /* what a record takes that comes alone, filtered; 0: not known yet */
    double record_ns;       /* what each further one of a set adds, filtered; 0: not known yet */
    uint64_t idle_since_ns; /* the last record of a sweep was there; 0: the gap is over */
    look_ahead_pace of_rows;

    pacing *pacing;         /* NULL: guesses are not paced */
    uint64_t granted_bytes; /* to the layer that asked last */
    bool has_layer;         /* pacing was told that paced_layer began, */
    uint32_t paced_layer;
    look_ahead_totals at_begin; /* and what had been read until then */
} look_ahead;

/* `count` records were waited for and came in `ns`, with little else under way. */
void look_ahead_records_came(look_ahead *la, uint32_t count, uint64_t ns);
/* The gap begins; it ends when the next layer asks the cache. */
void look_ahead_gap_begin(look_ahead *la, uint64_t now_ns);
void look_ahead_gap_end(look_ahead *la, uint64_t now_ns);
/* The cache's totals. */
void look_ahead_judge(look_ahead *la, uint64_t used_total, uint64_t wasted_total);
/* A layer of a step of one row asks its experts. Returns what guesses may read until the next one does. */
read_grant look_ahead_paced_layer(look_ahead *la, uint32_t layer, uint64_t now_ns, const look_ahead_totals *totals);
/* A step of many rows, or one that ended early: guesses are not paced there. */
read_grant look_ahead_unpaced(look_ahead *la);
/* How many reads may be begun now, at most `most`: when a step of one row has asked, */
uint32_t look_ahead_reads(const look_ahead *la, uint32_t most);
/* and at the end of a sweep. */
uint32_t look_ahead_sweep_reads(look_ahead *la, uint32_t most);

#endif

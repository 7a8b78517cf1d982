/*
 * look_ahead.h - how many records of the next layer are worth reading before its router has chosen.
 *
 * While the step computes attention and router of the next layer the disk has nothing to do. A guess that is right
 * saves what it has read by then; one that is wrong delays those that turn out to be needed by what it has not read
 * yet. So the k-th guess is worth its read when
 *
 *     right * overlap > (1 - right) * (record - overlap)      overlap = the part of its read that falls into the gap
 *
 * which is overlap / record > 1 - right. All three are measured all the time: the gap between the last record of one
 * layer and the first read of the next; what a record costs when the step does wait for it (the further ones of a set
 * cost less than the first, for they are read side by side); and how many of the last guesses were named. Where
 * guessing does not pay, the rule stops it; a single guess now and then finds out when that changes.
 *
 * How many bytes of guesses the disk may start between two layers is another question, and the pacing controller's
 * (io/pacing.h): steps of one row tell it of every layer with experts, and what it grants goes to the storage.
 *
 * Nothing here knows a clock or a disk: times are arguments.
 *
 * Threads: the step's.
 */
#ifndef EXEC_LOOK_AHEAD_H
#define EXEC_LOOK_AHEAD_H

#include "io/pacing.h"

typedef enum look_ahead_mode { LOOK_AHEAD_AUTO, LOOK_AHEAD_OFF, LOOK_AHEAD_ON } look_ahead_mode;

/* One for steps of one row, one for those of many: their gaps and guesses have nothing in common. */
typedef struct look_ahead_pace {
    double gap_ns;       /* filtered; 0: not known yet */
    double used, wasted; /* guesses, the last ones weigh most */
    uint64_t used_seen, wasted_seen;
    uint32_t asked_count; /* for the guess now and then */
} look_ahead_pace;

/* What storage and cache have counted so far. */
typedef struct look_ahead_totals {
    uint64_t wait_ns, busy_ns, urgent_bytes, ahead_bytes, useful_bytes;
} look_ahead_totals;

typedef struct look_ahead {
    look_ahead_mode mode;
    double first_ns;                  /* what a record takes that comes alone, filtered; 0: not known yet */
    double record_ns;                 /* what each further one of a set adds, filtered; 0: not known yet */
    uint64_t idle_since_ns;           /* the last record of a layer was there; 0: the gap is over */
    look_ahead_pace one_row, of_rows; /* rows: a sweep */

    pacing *pacing; /* NULL: guesses are not paced */
    bool has_layer; /* pacing was told that paced_layer began, */
    uint32_t paced_layer;
    look_ahead_totals at_begin; /* and what had been read until then */
} look_ahead;

static inline look_ahead_pace *look_ahead_pace_of(look_ahead *la, uint32_t row_count)
{
    return row_count == 1 ? &la->one_row : &la->of_rows;
}

/* `count` records were waited for and came in `ns`, with nothing else under way. */
void look_ahead_records_came(look_ahead *la, uint32_t count, uint64_t ns);
/* The gap begins; it ends when the next layer asks the cache. */
void look_ahead_gap_begin(look_ahead *la, uint64_t now_ns);
void look_ahead_gap_end(look_ahead *la, look_ahead_pace *pace, uint64_t now_ns);
/* The cache's totals. */
void look_ahead_judge(look_ahead_pace *pace, uint64_t used_total, uint64_t wasted_total);
/* A layer of a step of one row asks its experts. Returns what guesses may read until the next one does. */
read_grant look_ahead_paced_layer(look_ahead *la, uint32_t layer, uint64_t now_ns, const look_ahead_totals *totals);
/* A step of many rows, or one that ended early: guesses are not paced there. */
read_grant look_ahead_unpaced(look_ahead *la);
/* How many reads may be begun now, at most `most`. */
uint32_t look_ahead_reads(look_ahead *la, look_ahead_pace *pace, uint32_t most);

#endif

/*
 * io_sched.h - which of the queued reads is started next, and whether one may be started now at all.
 *
 *              add                  take                  end
 *     IDLE ---------> QUEUED --------------> STARTED ---------> IDLE
 *       ^                |
 *       +---- remove ----+
 *
 * 1. A more urgent class goes first; within a class the earlier deadline (a read without one comes after those that
 *    have one), then the earlier arrival.
 * 2. While reads of a class are queued, none of a less urgent class is started.
 * 3. Of a class and those less urgent than it, a limited number of reads and bytes is under way at a time, but always
 *    at least one read; altogether no more reads than of demand. So what is urgent never waits behind a deep queue of
 * what is not.
 * 4. Guesses (look-ahead, background) are paid out of a bucket of bytes, which the pacing controller fills
 *    (src/io/pacing.h). The last one may overdraw it; the debt is kept. Without a grant they are free.
 * 5. A guess begins when what is urgent and under way has fallen to SCHED_URGENT_BYTES: enough to keep the disk busy to
 *    its end, and what is waited for comes first.
 * 6. Nothing starves for ever while the disk is idle: when nothing has been under way for SCHED_IDLE_NS, the bucket is
 *    not asked.
 *
 * A pure data structure: no threads, no clock (time is an argument), no memory of its own. Reads are known by their
 * index in the owner's array.
 */
#ifndef IO_IO_SCHED_H
#define IO_IO_SCHED_H

#include "io/storage.h"

enum { SCHED_NONE = -1 };
#define SCHED_URGENT_BYTES (UINT64_C(1) << 20)
#define SCHED_IDLE_NS      UINT64_C(100000000) /* longer than a layer computes */

typedef enum sched_state { SCHED_IDLE, SCHED_QUEUED, SCHED_STARTED } sched_state;

typedef struct sched_item {
    sched_state state;
    read_class class;
    int32_t before_idx, after_idx; /* in the list of the class; SCHED_NONE at its ends */
    uint64_t deadline_ns;          /* 0: none */
    uint64_t arrival;
    uint64_t bytes;
} sched_item;

typedef struct sched_list {
    int32_t first_idx, last_idx;
    uint32_t started_count; /* under way, which are in no list */
    uint64_t started_bytes;
} sched_list;

typedef struct io_sched {
    sched_item *items; /* (item_count), borrowed */
    uint32_t item_count;
    read_limits limits;
    sched_list classes[READ_CLASS_COUNT];
    uint64_t arrival_count;
    uint32_t queued_count, started_count;
    uint64_t idle_since_ns; /* valid while started_count == 0 */

    /* The bucket. */
    bool is_paced;
    int64_t tokens;
    uint64_t capacity_bytes, bytes_per_s, filled_ns;
} io_sched;

/* `items` are overwritten. Nothing is paced at first. */
void io_sched_init(io_sched *s, sched_item *items, uint32_t item_count, uint64_t now_ns);
/* Every limit is at least 1. */
void io_sched_limit(io_sched *s, const read_limits *limits);
/* What was granted before and not spent lapses. */
void io_sched_grant(io_sched *s, const read_grant *grant, uint64_t now_ns);

/* IDLE -> QUEUED */
void io_sched_add(io_sched *s, int32_t idx, read_class class, uint64_t deadline_ns, uint64_t bytes);
/* QUEUED -> STARTED: the read to be started now; SCHED_NONE: none is queued, or none may be. */
int32_t io_sched_take(io_sched *s, uint64_t now_ns);
/* After a take that gave none: for how long it will give none if nothing ends, is added or is granted. UINT64_MAX: for
 * ever. */
uint64_t io_sched_wait_ns(const io_sched *s, uint64_t now_ns);
/* STARTED -> IDLE */
void io_sched_end(io_sched *s, int32_t idx, uint64_t now_ns);
/* QUEUED -> IDLE */
void io_sched_remove(io_sched *s, int32_t idx);
/* A queued read gets a more urgent class and keeps its arrival; one that has that urgency, or is not queued, stays as
 * it is. */
void io_sched_raise(io_sched *s, int32_t idx, read_class class);

#endif

/*
 * governor.h - how many slots the expert cache should have, judged from readings of memory.
 *
 * A pure function of its readings: no clock, no files. Memory is scarce when less is left than there should be,
 * counting what the process has been given and not yet touched as gone: below the reserve of the machine, within the
 * margin of a control group's limit or within twice of it while the group runs into that limit, or when tasks stall
 * (PSI) while little is left and others take more. Then the cache shrinks at
 * once, by whole working sets (one set of experts for every layer) as long as it holds more than one, below that by
 * sets. It grows back by a working set at a time, after there has been room for a while: 5 s, and twice as long as
 * before each time that growing turned out to be wrong.
 *
 * What other processes have leased (os/lease.h) and not touched counts as gone too, of the machine's memory and, where
 * they are in the same control group, of the group's, but pushes no further than to an equal share of it.
 */
#ifndef EXEC_GOVERNOR_H
#define EXEC_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#define GOVERNOR_POLL_NS UINT64_C(250000000)

typedef struct governor_config {
    uint32_t slots_min;  /* one set, for each class of layers */
    uint32_t slots_unit; /* a working set: one set for every layer */
    uint32_t slots_max;  /* what the cache was opened with */
    uint64_t slot_bytes;
    uint64_t reserve_bytes; /* MemAvailable should not fall below it */
    uint64_t margin_bytes;  /* a group should have so much left */
} governor_config;

typedef struct governor_reading {
    uint64_t now_ns;
    uint64_t available_bytes;     /* UINT64_MAX: not known */
    uint64_t group_free_bytes;    /* UINT64_MAX: no limit */
    double stall_percent;         /* PSI some avg10 */
    uint64_t group_hit_count;     /* how often the group was at its limit; only that it rises is looked at */
    uint64_t untouched_bytes;     /* of the own process: taken from the ledger, not resident */
    uint64_t claimed_bytes;       /* of others: leased, not touched; 0 where the budget was a promise */
    uint32_t share_slots;         /* an equal share: claims push no further */
    uint64_t group_claimed_bytes; /* both again, of the groups' memory; 0 and anything without a limit */
    uint32_t group_share_slots;
} governor_reading;

typedef struct governor {
    governor_config config;
    uint64_t changed_ns; /* the last change; 0: none */
    uint64_t grown_ns;   /* the last growth; 0: none */
    uint64_t calm_ns;    /* since when there has been room; 0: there is none */
    uint64_t patience_ns;
    uint64_t usual_left_bytes;   /* follows what is left slowly */
    uint64_t read_ns, hit_count; /* of the last reading */
} governor;

void governor_init(governor *g, const governor_config *config);
/* The count wanted, `slots` where it should stay as it is. */
uint32_t governor_decide(governor *g, const governor_reading *r, uint32_t slots);

/* Reserve of a machine, margin of a group's limit. */
uint64_t governor_reserve_bytes(uint64_t physical_bytes);
uint64_t governor_margin_bytes(uint64_t limit_bytes);

#endif

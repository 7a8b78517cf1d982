/*
 * pressure_watch.h - follows the machine's memory while an engine computes, and lets the expert cache shrink and grow.
 *
 * The step asks before every layer, and an engine without steps when it is told that it waits (engine_idle). At most
 * every GOVERNOR_POLL_NS memory is read (os/memory_pressure.h) and the leases of other processes are looked at
 * (os/lease.h); else asking costs a look at the clock. What to do is the governor's decision. Only the expert cache
 * changes its size: trunk, keys and working memory stay. What is computed does not depend on it.
 *
 * Threads: the step's.
 */
#ifndef EXEC_PRESSURE_WATCH_H
#define EXEC_PRESSURE_WATCH_H

#include "exec/governor.h"
#include "os/lease.h"
#include "os/memory_pressure.h"

struct engine;

/* The expert cache has another size now. */
typedef void cache_resize_sink(void *user, uint32_t slot_count);

typedef struct pressure_watch {
    bool is_on;   /* somebody wants to know */
    bool resizes; /* there is a cache that may change */
    uint64_t next_ns;
    uint32_t disk_shares;   /* processes that read from the device; 0: not asked yet */
    uint64_t outside_bytes; /* of the budget: not in the ledger */
    memory_pressure_reader reader;
    governor governor;
    cache_resize_sink *resize_sink; /* may be NULL */
    void *resize_user;
} pressure_watch;

/* Behind the expert cache. `root`: as memory_pressure_init. */
void pressure_watch_start(struct engine *e, const char *root);
void pressure_watch_poll(struct engine *e);
/* For who must free the cache first: whether a poll would let it shrink. Then the poll that follows is due; else the
 * look counts as one. */
bool pressure_watch_is_scarce(struct engine *e);
/* Sets the cache's size as a poll would: the largest sets that the size allows, lease and sink told. */
void pressure_watch_resize(struct engine *e, uint32_t slot_count);

#endif

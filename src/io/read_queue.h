/*
 * read_queue.h - what the implementers of the storage seam share: the entries, who waits for them, the statistics.
 *
 * A fixed number of entries (depth) goes round:
 *
 *           submit           taken to be read           read done            reap
 *     FREE ---------> QUEUED -----------------> READING ----------> DONE ---------> FREE
 *       |               |                        |   ^                ^
 *       |               |      to be asked again v   | taken          |
 *       |               |                        AGAIN                |
 *       |               +------------------ cancel -------------------+
 *       +---------------- submit of an extent of zero bytes ----------+
 *
 *           submit                   the place is free             reap gives up          read done
 *     FREE ---------> BARRED (place) ----------------> QUEUED      READING ------> LOST -----------> FREE
 *
 * A LOST entry has been handed out as failed, but the system has not let go of its place. A read to a place that
 * overlaps with that of a LOST one is BARRED as long. Both are rare: a disk that does not answer.
 *
 * An entry is asked again when it came back short, and when it failed in a way that may pass (EIO, ETIMEDOUT): then
 * READ_RETRIES_MAX times, a little later each time.
 *
 * Which QUEUED entry is taken, and when, the scheduler says (src/io/io_sched.h); for it READING and AGAIN are under
 * way. The entries of the states FREE, AGAIN and DONE form lists, the oldest first. Everything is guarded by the mutex,
 * but for a READING entry, which belongs to whoever took it. Functions want the mutex held unless they say otherwise.
 */
#ifndef IO_READ_QUEUE_H
#define IO_READ_QUEUE_H

#include "io/io_sched.h"

#include <pthread.h>

enum { ENTRY_NONE = -1, QUEUE_DEPTH_MAX = 4096, READ_RETRIES_MAX = 3 };

typedef enum entry_state {
    ENTRY_FREE,
    ENTRY_BARRED,
    ENTRY_QUEUED,
    ENTRY_READING,
    ENTRY_AGAIN,
    ENTRY_LOST,
    ENTRY_DONE
} entry_state;

typedef struct read_entry {
    entry_state state;
    int32_t next_idx; /* the next entry of the same list */
    read_request request;
    file_progress progress; /* of the window */
    uint64_t enter_ns;
    uint64_t begin_ns;    /* it was taken to be read, for the first time */
    uint64_t again_ns;    /* AGAIN: not before */
    uint32_t retry_count; /* after failures */
    leat_status status;
    leat_error error;
} read_entry;

typedef struct entry_list {
    int32_t first_idx, last_idx;
} entry_list;

typedef struct read_queue {
    storage base; /* first: a storage is its queue */

    /* Fixed after open. */
    mem *ledger;
    const file_set *files;
    uint32_t depth;

    pthread_mutex_t mutex;
    pthread_cond_t freed_one; /* for submit; broadcast, because not every class may have what was freed */
    pthread_cond_t done_some; /* for reap; broadcast, because each waits for tags of its own; CLOCK_MONOTONIC */

    read_entry *entries; /* (depth) */
    entry_list free, again, done;
    io_sched sched;         /* of the same indices */
    sched_item *items;      /* (depth), the scheduler's */
    uint32_t guess_count;   /* entries that are not FREE and whose class is look-ahead or background */
    uint64_t busy_since_ns; /* valid while something is under way */
    read_watch watch;
    uint32_t lost_count;
    uint64_t stalled_ns;    /* when patience last ended with a read; 0: one has come back since */
    uint64_t retry_told_ns; /* when the log was told of a read that was tried again; 0: never */
    storage_stats stats;
} read_queue;

/* What open takes from MEM_IO; the queue itself is a part of its owner. */
uint64_t read_queue_bytes(uint32_t depth);
/* `q` is zeroed; without the mutex. Close accepts a queue whose open failed. */
MUST_CHECK leat_status read_queue_open(read_queue *q, const storage_ops *ops, mem *ledger, const file_set *files,
                                       uint32_t depth, leat_error *error);
void read_queue_close(read_queue *q);

bool read_queue_has_room(const read_queue *q, read_class class);
/* FREE -> QUEUED, or DONE where there is nothing to read; there must be room. */
void read_queue_enter(read_queue *q, const read_request *request);
/* AGAIN or QUEUED -> READING; ENTRY_NONE when none may be read now. */
int32_t read_queue_take(read_queue *q);
/* After a take that gave none: when to try again if nothing happens until then. UINT64_MAX: never. */
uint64_t read_queue_retry_ns(const read_queue *q);
/* When the first entry that failed is to be asked again; UINT64_MAX: none did. */
uint64_t read_queue_again_ns(const read_queue *q);
/* READING -> AGAIN: it came back short */
void read_queue_ask_again(read_queue *q, int32_t entry_idx);
/* READING -> DONE, with the entry's status; -> AGAIN where that may pass */
void read_queue_end(read_queue *q, int32_t entry_idx);
/* What a read may have left in the page cache. */
typedef struct read_trace {
    const file *file;
    uint64_t offset, bytes;
} read_trace;
/* DONE -> FREE: the longest finished one with such a tag. false: there is none. Who takes it wipes its trace when he
 * has given the mutex back. */
bool read_queue_reap(read_queue *q, uint64_t tag_begin, uint64_t tag_end, read_result *out_result,
                     read_trace *out_trace);
void read_trace_wipe(const read_trace *trace);
/* For who would wait for such a tag: whether one will come. Where all of them are QUEUED, the first is made a demand,
 * so that none waits for a read that is held back. */
bool read_queue_expect(read_queue *q, uint64_t tag_begin, uint64_t tag_end);
/* For who has waited for such a tag since `since_ns`: hands out the first read that is not worth waiting for any
 * longer. READING -> LOST (*out_lost_idx, else ENTRY_NONE), others -> FREE. */
bool read_queue_give_up(read_queue *q, uint64_t tag_begin, uint64_t tag_end, uint64_t since_ns, read_result *out_result,
                        int32_t *out_lost_idx);
/* When who waits should look at that again; UINT64_MAX: never. */
uint64_t read_queue_look_ns(const read_queue *q);
/* Waits for done_some until then. */
void read_queue_wait(read_queue *q, uint64_t until_ns);
void read_queue_watch(read_queue *q, const read_watch *watch);
/* QUEUED -> DONE; how many. */
uint32_t read_queue_cancel(read_queue *q, uint64_t tag_begin, uint64_t tag_end);
void read_queue_raise(read_queue *q, uint64_t tag_begin, uint64_t tag_end, read_class class);
void read_queue_grant(read_queue *q, const read_grant *grant);
storage_stats read_queue_stats(const read_queue *q);

/* Sets up the progress of an entry's window, or says why its extent cannot be read. Without the mutex too. */
MUST_CHECK leat_status read_entry_begin(const read_queue *q, read_entry *e, leat_error *error);

#endif

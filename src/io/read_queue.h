/*
 * read_queue.h - what the implementers of the storage seam share: the entries, who waits for them, the statistics.
 *
 * A fixed number of entries (depth) goes round:
 *
 *           submit           taken to be read           read done            reap
 *     FREE ---------> QUEUED -----------------> READING ----------> DONE ---------> FREE
 *       |               ^                          |                  ^
 *       |               +------ to be asked again -+                  |
 *       +---------------- submit of an extent of zero bytes ----------+
 *
 * The entries of a state, READING excepted, form a list in order of arrival. Everything is guarded by the mutex, but
 * for a READING entry, which belongs to whoever took it. Functions want the mutex held unless they say otherwise.
 */
#ifndef IO_READ_QUEUE_H
#define IO_READ_QUEUE_H

#include "io/storage.h"

#include <pthread.h>

enum { ENTRY_NONE = -1, QUEUE_DEPTH_MAX = 4096 };

typedef enum entry_state { ENTRY_FREE, ENTRY_QUEUED, ENTRY_READING, ENTRY_DONE } entry_state;

typedef struct read_entry {
    entry_state state;
    int32_t next_idx; /* the next entry of the same list */
    read_request request;
    file_progress progress; /* of the window */
    uint64_t begin_ns;      /* it was taken to be read */
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
    pthread_cond_t freed_one; /* for submit */
    pthread_cond_t done_some; /* for reap; broadcast, because each waits for tags of its own */

    read_entry *entries; /* (depth) */
    entry_list free, queued, done;
    uint32_t active_count;  /* QUEUED and READING */
    uint64_t busy_since_ns; /* valid while active_count > 0 */
    storage_stats stats;
} read_queue;

/* What open takes from MEM_IO; the queue itself is a part of its owner. */
uint64_t read_queue_bytes(uint32_t depth);
/* `q` is zeroed; without the mutex. Close accepts a queue whose open failed. */
MUST_CHECK leat_status read_queue_open(read_queue *q, const storage_ops *ops, mem *ledger, const file_set *files,
                                       uint32_t depth, leat_error *error);
void read_queue_close(read_queue *q);

bool read_queue_has_room(const read_queue *q);
/* FREE -> QUEUED, or DONE where there is nothing to read; there must be room. */
void read_queue_enter(read_queue *q, const read_request *request);
/* QUEUED -> READING, the longest queued first; ENTRY_NONE when none is. */
int32_t read_queue_take(read_queue *q);
/* READING -> QUEUED */
void read_queue_ask_again(read_queue *q, int32_t entry_idx);
/* READING -> DONE, with the entry's status */
void read_queue_end(read_queue *q, int32_t entry_idx);
/* DONE -> FREE: the longest finished one with such a tag. false: there is none. */
bool read_queue_reap(read_queue *q, uint64_t tag_begin, uint64_t tag_end, read_result *out_result);
bool read_queue_is_active(const read_queue *q, uint64_t tag_begin, uint64_t tag_end);
storage_stats read_queue_stats(const read_queue *q);

/* Sets up the progress of an entry's window, or says why its extent cannot be read. Without the mutex too. */
MUST_CHECK leat_status read_entry_begin(const read_queue *q, read_entry *e, leat_error *error);

#endif

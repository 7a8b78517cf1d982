/*
 * expert_cache.h - keeps the expert records that are worth keeping in memory.
 *
 * The cache owns one block of memory, cut into equal slots at open; several, each with slots of its own size, where
 * layers have records of different sizes (expert_classes.h). It knows keys (layer, expert), slots and records (lists of
 * extents); it knows nothing of tensors or models.
 *
 *             acquire                read done
 *     EMPTY ------------> LOADING ---------------> READY
 *       ^                    |                       |
 *       +---- read failed ---+---- evict, only when pins == 0
 *
 * Invariants, verified by expert_cache_check():
 *   1. A key is in at most one slot.
 *   2. A pinned slot is LOADING or READY; it is not evicted, and once READY its bytes do not change.
 *   3. slot_count >= set_max, in each class, so that an acquire can always make progress when no other set is held.
 *   4. No memory is allocated after open; resize gives pages back and takes them again.
 *
 * Use: acquire pins a whole set, or nothing, and starts the missing reads; next hands out one record after the other,
 * those already READY first and the others as they arrive; one release for every acquire.
 *
 * Shares: a layer may hold slot_count / layer_count slots (at least set_max); beyond that it replaces its own. Free
 * slots are taken first; then a record of the layer beyond its share whose oldest was used longest ago; then the
 * youngest of all (a cache below one set per layer: the layers come round in turn, so the youngest is needed last).
 * All of that within a class: slots of one are of no use to layers of another.
 *
 * Policies: which record of a layer goes (docs/expert-cache.md). Below one set per layer CACHE_LFU knows no shares: the
 * least used of all goes, the youngest among equals; the others are CACHE_LRU there.
 *
 * Threads: acquire, next and release from one thread at a time (the step's); stats from any. The mutex is never held
 * across a read.
 */
#ifndef CACHE_EXPERT_CACHE_H
#define CACHE_EXPERT_CACHE_H

#include "io/storage.h"

enum {
    EXPERT_PARTS_MAX = 12,
    EXPERT_SET_MAX = 256,
    EXPERT_CLASSES_MAX = 6,
    AHEAD_MAX = 32,        /* records that a guess keeps pinned */
    SWEEP_WINDOW_MAX = 32, /* records of a sweep that are read or held at a time */
    SWEEP_TAIL = 4,        /* before so many of a sweep are left, the next layer is not read ahead */
};

typedef struct expert_cache expert_cache;

typedef enum cache_policy {
    CACHE_LRU,    /* the least recently used */
    CACHE_LFU,    /* the least often used; a use counts half after 22 sets of its layer, and evicted records keep
                     their count */
    CACHE_SLRU,   /* segmented LRU: a second use moves a record to a protected list of four fifths */
    CACHE_S3FIFO, /* three queues: a small one of a tenth for newcomers, the main one, and a list of ghosts */
    CACHE_POLICY_COUNT
} cache_policy;
/* "lru", "lfu", "slru", "s3fifo" */
const char *cache_policy_label(cache_policy policy);
/* What is best on recorded routing (docs/measurements/expert-cache.md). */
enum { CACHE_POLICY_AUTO = CACHE_LFU };

/* The extents that must be in memory together to compute one expert. */
typedef struct expert_record {
    const extent *parts; /* (part_count), borrowed until close */
    uint32_t part_count;
} expert_record;

typedef struct expert_cache_config {
    uint32_t layer_count;         /* layers with experts, counted from 0 */
    uint32_t expert_count;        /* of every such layer */
    const expert_record *records; /* (layer_count, expert_count), borrowed until close */
    uint32_t slot_count;
    uint32_t set_max; /* most experts one acquire may name; at most EXPERT_SET_MAX */
    cache_policy policy;
} expert_cache_config;

/* One record of a held set. parts[i] points at the payload of part i; valid until release, and only after next handed
 * it out. */
typedef struct expert_ref {
    uint32_t expert;
    uint32_t slot_idx;
    bool was_hit;    /* it was READY when acquired */
    bool handed_out; /* next returned it, or the error of its read (then parts are NULL) */
    const uint8_t *parts[EXPERT_PARTS_MAX];
} expert_ref;

typedef struct expert_set {
    uint32_t layer, count, handed_out_count;
    expert_ref refs[EXPERT_SET_MAX]; /* in the order of the ids given */
} expert_set;

/* Many records of one layer, one after the other. */
typedef struct expert_sweep {
    uint32_t layer, count, window;
    read_class class; /* of its reads: demand unless the caller says otherwise after begin */
    uint32_t asked_count, handed_out_count;
    const uint32_t *experts;          /* (count) */
    uint32_t slots[SWEEP_WINDOW_MAX]; /* of those asked for and not yet handed out, by index modulo the window */
    expert_ref current;               /* what was handed out last */
} expert_sweep;

typedef struct expert_cache_stats {
    uint64_t hits, misses, evictions;               /* counted per acquired key */
    uint64_t ahead_used_bytes, ahead_wasted_bytes;  /* of slots that ahead_used came to; read for ahead_wasted */
    uint64_t ahead_reads, ahead_used, ahead_wasted; /* records read ahead; misses that found theirs under way or there;
                                                       guesses that nobody named */
    uint64_t wait_ns;                               /* time spent waiting for the disk, nearly all of it by next */
    uint64_t warmed;                                /* records read before counting was begun anew */
    uint32_t slot_count, ready_count;
    uint32_t resize_count; /* calls of resize that changed slot_count */
} expert_cache_stats;

/* Bytes of one slot, of the largest: the largest record's windows, each rounded up so that every part is aligned. 0
 * when there is no record. */
uint64_t expert_cache_slot_bytes(const expert_cache_config *config, const file_set *files);
/* All memory that open takes, for the planner: slots, table and slack. More slots take more, but for one step: from a
 * set for every layer on each class has slots of its own size. */
uint64_t expert_cache_bytes(const expert_cache_config *config, const file_set *files);

/* Takes its memory from MEM_EXPERTS. `reads` is borrowed; the cache uses tags 0 .. slot_count * EXPERT_PARTS_MAX - 1.
 */
MUST_CHECK leat_status expert_cache_open(mem *ledger, const expert_cache_config *config, const file_set *files,
                                         storage *reads, expert_cache **out_cache, leat_error *error);
/* Waits for its reads in flight. Sets *cache to NULL; NULL is accepted. */
void expert_cache_close(expert_cache **cache);

/* Pins `experts[0..count)` (distinct ids) of `layer`. On failure nothing is pinned. */
MUST_CHECK leat_status expert_cache_acquire(expert_cache *cache, uint32_t layer, const uint32_t *experts,
                                            uint32_t count, expert_set *out_set, leat_error *error);
/* The index in set->refs of a record that is READY and has not been handed out; waits for the disk when there is none.
 * LEAT_IO: a read failed (once every holder of the record knows, its key is EMPTY again); the record counts as handed
 * out, the others can still be had, and the set must still be released. Asserts that one is left. */
MUST_CHECK leat_status expert_cache_next(expert_cache *cache, expert_set *set, uint32_t *out_ref_idx,
                                         leat_error *error);
/* Also after a partial hand-out: reads under way go on and complete in a later call. Leaves the set empty. */
void expert_cache_release(expert_cache *cache, expert_set *set);

/* A sweep visits `count` distinct records of a layer, each once, in the order given: those in memory are best named
 * first. Ahead of the one that is handed out others are being read, a window of them. row_counts: (count) how many of
 * the step's row_count rows use each (NULL: one each). Both arrays are borrowed until the end. Nothing else may be held
 * meanwhile, and every begin has an end. */
void expert_cache_sweep_begin(expert_cache *cache, uint32_t layer, const uint32_t *experts, const uint32_t *row_counts,
                              uint32_t count, uint32_t row_count, expert_sweep *out_sweep);
/* Lets go of the record before and hands out the next, valid until the next call; waits for the disk. LEAT_IO as
 * expert_cache_next: the others can still be had. Asserts that one is left. */
MUST_CHECK leat_status expert_cache_sweep_next(expert_cache *cache, expert_sweep *sweep, const expert_ref **out_ref,
                                               leat_error *error);
/* True after one of the calls of sweep_next, when nothing is left to ask the disk for but the tail: the time to read
 * ahead. */
bool expert_sweep_is_ending(const expert_sweep *sweep);
void expert_cache_sweep_end(expert_cache *cache, expert_sweep *sweep);

/* Begins to read what the next acquire or sweep of `layer` will probably name: experts in falling likelihood, distinct.
 * Those in memory are kept there until then. At most read_max reads, and none where all slots are held; what is neither
 * there nor read is taken out of the list, whose new length is returned: a replay gives exactly these. Guesses for
 * another layer are given up. */
uint32_t expert_cache_read_ahead(expert_cache *cache, uint32_t layer, uint32_t *experts, uint32_t count,
                                 uint32_t read_max);
/* In memory, or on its way there. */
bool expert_cache_holds(const expert_cache *cache, uint32_t layer, uint32_t expert);

/* Gives up what was read ahead and waits until no read is under way, so that the queue of `reads` is free for others.
 * Call it after a step that ended early. */
void expert_cache_settle(expert_cache *cache);

/* Works with the first `slot_count` slots from now on (divided among the classes), at least set_max in each class and
 * at most as many as open took. Fewer: the policy says which records go, those kept move to the front, and the pages of
 * the slots behind them leave memory and the ledger. More: they are there again, empty. Shares and policy follow. Waits
 * for the reads under way. Returns the count reached: more than asked for where held slots are in the way, the old one
 * where the ledger has no room. Records move, so nothing may be between next and release but what stays held. */
uint32_t expert_cache_resize(expert_cache *cache, uint32_t slot_count);

/* A class's block of slots. Slots are used for the first time in ascending order: those behind the first `used` never
 * were.
 */
typedef struct expert_cache_memory {
    void *block;
    uint64_t bytes, used_bytes;
} expert_cache_memory;
/* From the step's thread. */
uint32_t expert_cache_class_count(const expert_cache *cache);
uint32_t expert_cache_layer_class(const expert_cache *cache, uint32_t layer);
expert_cache_memory expert_cache_memory_get(const expert_cache *cache, uint32_t class_idx);

/* Hits, misses, evictions and what concerns guesses from 0 again; misses until now become `warmed`. */
void expert_cache_restart_counts(expert_cache *cache);

expert_cache_stats expert_cache_stats_get(const expert_cache *cache);
/* Walks the whole table and aborts on a broken invariant. */
void expert_cache_check(const expert_cache *cache);

#endif

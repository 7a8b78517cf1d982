/*
 * expert_table.h - the inside of the expert cache: its slots, the lists of its layers, and the changes of a slot's
 * state. For the files that make up the cache, and for tests that damage it; everybody else uses expert_cache.h.
 *
 * Every slot in use is in one of the two lists of its layer. LRU and LFU use the first alone, oldest acquire first: a
 * hit moves to the young end. SLRU keeps in the second what was used again, each list by last use. S3-FIFO has the
 * small queue first and the main queue second, each by entry; hits only count.
 *
 * A failed read. The other parts of the record may still be on their way into the slot, so it stays LOADING until all
 * of them are back. Then every holder learns of it through next, which drops that holder's pin; with the last pin the
 * slot is EMPTY.
 *
 * A guess that was wrong. Those of its reads that have not begun are given back to the disk, and the slot stays LOADING
 * with these parts put off: for the table it is a slot like any other, so that what is in the cache does not depend on
 * how far the disk had come. Whoever names it submits them again.
 *
 * expert_table.c writes slot.state and the lists, and nobody else does; expert_policy.c chooses what goes;
 * expert_ahead.c reads ahead (guesses, sweeps); expert_resize.c changes the number of slots; expert_cache.c is what
 * remains: sets, and opening and closing.
 */
#ifndef CACHE_EXPERT_TABLE_H
#define CACHE_EXPERT_TABLE_H

#include "cache/expert_classes.h"

#include <assert.h>
#include <pthread.h>

#define NONE        UINT32_MAX          /* no slot, no key */
#define FIRST_STAMP (UINT64_C(1) << 32) /* below it: wrong guesses, which are older than all that were asked for */
enum {
    PART_NONE = 0xff,
};

typedef enum slot_state { SLOT_EMPTY, SLOT_LOADING, SLOT_READY } slot_state;

typedef struct slot {
    uint64_t stamp; /* of the last acquire that named it; unique, larger is younger */
    uint32_t key;   /* layer * expert_count + expert; NONE when EMPTY */
    uint16_t pins;
    uint16_t put_off;   /* LOADING: bit i: the read whose first part is i was given up and has to be submitted again */
    uint32_t older_idx; /* neighbours in the list of its layer; when EMPTY, younger_idx is the next free slot */
    uint32_t younger_idx;
    int32_t failed_errno;  /* of failed_part; 0 when the system was not involved */
    uint8_t state;         /* slot_state; written by expert_table.c and nowhere else */
    uint8_t reads_left;    /* LOADING: reads that have not come back */
    uint8_t failed_part;   /* LOADING: the first part of the read that failed first, or PART_NONE */
    uint8_t segment : 1;   /* which list of its layer */
    uint8_t is_guess : 1;  /* read ahead, and no acquire has named it yet */
    uint8_t use_count : 6; /* S3FIFO: hits since it entered its queue, at most S3_USES_MAX */
} slot;
static_assert(sizeof(slot) == 32, "two slots to a cache line");

typedef struct slot_list {
    uint32_t oldest_idx, youngest_idx, slot_count;
} slot_list;

typedef struct layer_table {
    slot_list lists[2];   /* LRU, LFU: all, none; SLRU: on probation, protected; S3FIFO: small, main */
    uint32_t ghost_clock; /* S3FIFO: records that left the small queue for good, plus 1 */
    uint32_t class_idx;   /* whose slots it uses */
} layer_table;

/* Slots of one size, and the layers that use them: a cache of its own but for the figures and for what is read ahead.
 */
typedef struct slot_class {
    /* Fixed after open. */
    uint32_t first_slot, slot_max; /* its slots in the table */
    uint32_t layer_count;
    uint64_t slot_bytes;
    uint8_t *block; /* (slot_max, slot_bytes) */

    uint32_t slot_count; /* at work, the first ones (expert_cache_resize) */
    uint32_t share;      /* slots that a layer may hold while others want more */
    cache_policy policy; /* at work */
    bool is_below_sets;  /* fewer slots than one set per layer */
    uint32_t first_free_idx;
    uint32_t used_count;   /* leading slots that have held something */
    uint32_t pinned_count; /* slots with pins > 0 */
} slot_class;

struct expert_cache {
    /* Fixed after open. */
    mem *ledger;
    storage *reads;
    const file_set *files;
    expert_cache_config config; /* slot_count: those at work, of all classes */
    uint32_t slot_max;          /* of all classes */
    expert_classes division;

    /* The step's thread only. */
    slot_class *classes;   /* (division.count) */
    slot *slots;           /* (slot_max), class by class */
    layer_table *layers;   /* (layer_count) */
    uint32_t *slot_of_key; /* (layer_count, expert_count); NONE when not in the cache */
    uint32_t *key_history; /* (layer_count, expert_count); LFU: counts of uses; S3FIFO: the ghost clock when it left the
                              small queue, or 0; else of no use */
    uint32_t reading_count; /* reads submitted and not reaped */
    uint64_t last_stamp;
    uint64_t first_stamp;              /* below all that were given; the next one for a wrong guess */
    uint32_t ahead_layer, ahead_count; /* slots that a guess keeps pinned, and for an acquire of which layer */
    uint32_t ahead_slots[AHEAD_MAX];

    /* Guarded by mutex, so that any thread gets figures that belong together. */
    pthread_mutex_t mutex;
    expert_cache_stats stats;
};

static inline uint32_t key_layer(const expert_cache *cache, uint32_t key) { return key / cache->config.expert_count; }
static inline bool slot_has_failed(const slot *s)
{
    return s->state == SLOT_LOADING && s->reads_left == 0 && s->put_off == 0;
}
static inline bool slot_is_idle(const slot *s) { return s->pins == 0 && s->state != SLOT_EMPTY; }
/* Its reads have the tags from here to EXPERT_PARTS_MAX further on. */
static inline uint64_t slot_first_tag(uint32_t slot_idx) { return (uint64_t)slot_idx * EXPERT_PARTS_MAX; }
static inline slot_class *class_of_layer(const expert_cache *cache, uint32_t layer)
{
    return &cache->classes[cache->layers[layer].class_idx];
}
static inline slot_class *class_of_slot(const expert_cache *cache, uint32_t slot_idx)
{
    uint32_t idx = 0;
    while (slot_idx - cache->classes[idx].first_slot >= cache->classes[idx].slot_max) idx++;
    return &cache->classes[idx];
}
static inline uint8_t *class_slot(const slot_class *c, uint32_t slot_idx)
{
    return c->block + (slot_idx - c->first_slot) * c->slot_bytes;
}
static inline bool table_has_room(const expert_cache *cache, uint32_t layer, uint32_t count)
{
    const slot_class *c = class_of_layer(cache, layer);
    return c->slot_count - c->pinned_count >= count;
}

/* ---- expert_table.c ---- */

uint32_t table_layer_slots(const expert_cache *cache, uint32_t layer);
/* To the young end of a list of its layer. */
void table_move_to(expert_cache *cache, uint32_t slot_idx, uint32_t segment);
/* To the old end of its list, with a stamp older than all. */
void table_make_oldest(expert_cache *cache, uint32_t slot_idx);

/* EMPTY -> LOADING: takes the first free slot for a key that is in none. Its reads are still to be submitted. */
uint32_t table_begin_load(expert_cache *cache, uint32_t key, uint32_t segment, uint64_t stamp);
void table_submit(expert_cache *cache, uint32_t slot_idx, read_class class);
/* LOADING: gives up the reads that have not begun, and returns how many bytes that saves; and submits those again. */
uint64_t table_put_off(expert_cache *cache, uint32_t slot_idx);
void table_take_up(expert_cache *cache, uint32_t slot_idx, read_class class);
/* READY or LOADING -> EMPTY: what has not begun is given up, what has is waited for. */
void table_evict(expert_cache *cache, uint32_t slot_idx);
/* READY and not held -> another slot of its class, which is EMPTY. */
void table_move_record(expert_cache *cache, uint32_t from_idx, uint32_t to_idx);
void table_pin(expert_cache *cache, uint32_t slot_idx);
/* A slot whose read has failed is EMPTY with the last pin. */
void table_unpin(expert_cache *cache, uint32_t slot_idx);
/* Waits for one of the cache's own reads; there must be one in flight. */
void table_reap_one(expert_cache *cache);

/* ---- expert_policy.c ---- */

/* S3-FIFO counts uses up to this. */
enum { S3_USES_MAX = 3 };

/* Shares and policy of a class for so many slots. */
void policy_set_shares(const expert_cache *cache, slot_class *c, uint32_t slot_count);
uint32_t policy_protected_max(const slot_class *c);
/* A record that is in memory was named by an acquire. */
void policy_touch(expert_cache *cache, uint32_t slot_idx, uint64_t stamp);
/* Which list a record enters. */
uint32_t policy_entry_segment(const expert_cache *cache, uint32_t key);
/* One acquire of the layer, or a sweep for many rows. row_counts: NULL for 1 each. */
void policy_count_uses(expert_cache *cache, uint32_t layer, const uint32_t *experts, const uint32_t *row_counts,
                       uint32_t count, uint32_t row_count);
/* Who makes room for a record of `layer` when no slot is free; one of them may be evicted. A pure function. */
uint32_t policy_choose_victim(const expert_cache *cache, uint32_t layer);
/* Frees a slot for a record of `layer`; one of them may be evicted. */
void policy_evict_for(expert_cache *cache, uint32_t layer);
/* A count of LFU never passes it. */
uint32_t policy_uses_max(void);

/* ---- expert_ahead.c ---- */

/* Gives up what was read ahead. */
void ahead_drop(expert_cache *cache);

/* ---- expert_cache.c ---- */

/* A slot for a key that is in none; one is free or may be evicted. */
uint32_t cache_load_key(expert_cache *cache, uint32_t layer, uint32_t key, uint64_t stamp);
/* A record that is in the table is asked for. true: the policy has kept it, no guess brought it. */
bool cache_claim(expert_cache *cache, uint32_t slot_idx, uint64_t stamp);
void cache_count_asked(expert_cache *cache, uint32_t hit_count, uint32_t miss_count);
/* Fills in where the parts of a READY record lie. */
void cache_hand_out(const expert_cache *cache, expert_ref *ref);
/* The error of a read that failed; the holder's pin is dropped. */
leat_status cache_tell_failure(expert_cache *cache, uint32_t layer, expert_ref *ref, leat_error *error);

#endif

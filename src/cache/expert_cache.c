/*
 * expert_cache.c - the table of slots, its state changes, and the choice of a victim.
 *
 * What is worth knowing before changing it:
 *
 * The set, not the record, is the unit of pinning. A layer computes with all of its routed experts, so a record taken
 * alone is of no use, and two holders that took records one by one could each wait for the other's last slot. acquire
 * therefore counts first and changes the table only when the whole set will fit.
 *
 * Every slot in use is in one of the two lists of its layer. LRU and LFU use the first alone, oldest acquire first: a
 * hit moves to the young end. SLRU keeps in the second what was used again, each list by last use. S3-FIFO has the
 * small queue first and the main queue second, each by entry; hits only count.
 *
 * Choosing a victim is a pure function of these lists. It takes a look per layer and, at most, a walk over the slots of
 * one layer (LFU; the others meet an idle slot near the old end, as pinned ones are young); below one set per layer LFU
 * walks over all slots, which are few then. What S3-FIFO moves between
 * its queues on the way to a victim is moved by evict_for, between one choice and the next.
 *
 * LFU's counts are per key and outlive an eviction: what came back often is known when it comes back again. Each
 * acquire of a layer takes a part off all counts of the layer, which keeps their order; integers, so that every machine
 * agrees.
 *
 * Shares are per layer because a decoded token visits the layers in turn: with one list for all of them, recency is
 * nothing but the cyclic order of the layers, and what is evicted is exactly the layer that comes next. A cache smaller
 * than one set per layer therefore evicts the youngest record of all, which is the one that is wanted last (LFU: the
 * least used of all, which is better still); layers that hold a whole set replace their own.
 * docs/measurements/expert-cache.md has the figures.
 *
 * Nothing depends on which slot holds a record nor, as long as sets are handed out completely before they are released,
 * on the order in which reads come back: the same acquires give the same hits, misses and evictions on every machine. A
 * replay can check that.
 *
 * Parts of a record that follow each other in a file are read as one (a packed checkpoint: the whole record), and empty
 * parts not at all. The runs are derived from the record wherever they are needed: it costs less than to keep them.
 *
 * A failed read. The other parts of the record may still be on their way into the slot, so it stays LOADING until all
 * of them are back. Then every holder learns of it through next, which drops that holder's pin; with the last pin the
 * slot is EMPTY.
 *
 * A slot that is LOADING without a pin (its set was released early, or it was a wrong guess) may be chosen as a victim
 * like any other: the choice does not look at what the disk has done so far, so that it is the same on every machine.
 * Whoever evicts it waits for its reads first, because the disk writes into it.
 *
 * Guesses. What is read ahead is pinned until the next acquire of its layer, or the end of its sweep, so that neither
 * another guess nor a miss of the layer before takes its slot. It counts as a miss when an acquire names it: hits are
 * what the policy has kept. A guess that nobody names goes to the old end of its list, where it is the first to go.
 *
 * Sweeps. A prefill chunk wants many records of one layer, each once. They are pinned in the order given, a window of
 * them at a time, and handed out in that order: were they handed out as they arrive, then what is pinned at a choice of
 * a victim, and so the choice, would depend on the disk.
 *
 * Resizing keeps the slots at work at the front of the block, so that what is given back is one run of whole (huge)
 * pages: records kept from behind are copied into the slots of those that went. That costs a copy, once, where leaving
 * them would cost reading them again; pages given back here and there would stay charged until the system splits them.
 */
#include "cache/expert_cache.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NONE        UINT32_MAX          /* no slot, no key */
#define FIRST_STAMP (UINT64_C(1) << 32) /* below it: wrong guesses, which are older than all that were asked for */
enum {
    PART_NONE = 0xff,
    BLOCK_ALIGN_MIN = 4096,
    PART_ALIGN_MIN = 64, /* a cache line, also where the disk does not care */
    TABLE_ALIGN = 64,
};

/* Counts of LFU: what a use adds, and the part (a power of two) that every acquire of the layer takes off. */
enum { LFU_USE = 1 << 20, LFU_DECAY_SHIFT = 5, LFU_DECAY_UNIT = 1 << LFU_DECAY_SHIFT };
/* S3-FIFO counts uses up to this. */
enum { S3_USES_MAX = 3 };

typedef enum slot_state { SLOT_EMPTY, SLOT_LOADING, SLOT_READY } slot_state;

typedef struct slot {
    uint64_t stamp; /* of the last acquire that named it; unique, larger is younger */
    uint32_t key;   /* layer * expert_count + expert; NONE when EMPTY */
    uint32_t pins;
    uint32_t older_idx; /* neighbours in the list of its layer; when EMPTY, younger_idx is the next free slot */
    uint32_t younger_idx;
    int32_t failed_errno;  /* of failed_part; 0 when the system was not involved */
    uint8_t state;         /* slot_state; written by the state changes below and nowhere else */
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
} layer_table;

struct expert_cache {
    /* Fixed after open. */
    mem *ledger;
    storage *reads;
    const file_set *files;
    expert_cache_config config; /* slot_count: those at work (expert_cache_resize) */
    uint32_t slot_max;          /* slots of the block */
    uint64_t slot_bytes;
    uint32_t share;      /* slots that a layer may hold while others want more */
    cache_policy policy; /* at work */
    bool is_below_sets;  /* fewer slots than one set per layer */
    uint8_t *block;      /* (slot_max, slot_bytes) */

    /* The step's thread only. */
    slot *slots;           /* (slot_max), of which config.slot_count are at work */
    layer_table *layers;   /* (layer_count) */
    uint32_t *slot_of_key; /* (layer_count, expert_count); NONE when not in the cache */
    uint32_t *key_history; /* (layer_count, expert_count); LFU: counts of uses; S3FIFO: the ghost clock when it left the
                              small queue, or 0; else of no use */
    uint32_t first_free_idx;
    uint32_t used_count;    /* leading slots that have held something */
    uint32_t pinned_count;  /* slots with pins > 0 */
    uint32_t reading_count; /* reads submitted and not reaped */
    uint64_t last_stamp;
    uint64_t first_stamp;              /* below all that were given; the next one for a wrong guess */
    uint32_t ahead_layer, ahead_count; /* slots that a guess keeps pinned, and for an acquire of which layer */
    uint32_t ahead_slots[AHEAD_MAX];

    /* Guarded by mutex, so that any thread gets figures that belong together. */
    pthread_mutex_t mutex;
    expert_cache_stats stats;
};

/* ---- records and where their parts lie ---- */

static uint32_t key_layer(const expert_cache *cache, uint32_t key) { return key / cache->config.expert_count; }

/* Parts that follow each other in a file are one read: its window, and where in the slot it begins. */
typedef struct part_run {
    extent what;
    uint64_t offset;
    uint32_t first_part;
} part_run;

typedef struct record_layout {
    part_run runs[EXPERT_PARTS_MAX];
    uint64_t payload_offsets[EXPERT_PARTS_MAX]; /* of each part in the slot */
    uint64_t bytes;                             /* of the windows; UINT64_MAX when absurd */
    uint32_t run_count;
} record_layout;

static bool continues_run(const extent *run, const extent *part)
{
    if (part->bytes == 0) return true;
    return part->file_idx == run->file_idx && part->offset - run->offset == run->bytes &&
           run->bytes <= UINT64_MAX - part->bytes;
}

/* The runs of a record, in the order of its parts. */
static void find_runs(const expert_record *record, record_layout *out)
{
    out->run_count = 0;
    for (uint32_t i = 0; i < record->part_count; i++) {
        const extent *part = &record->parts[i];
        if (out->run_count > 0 && continues_run(&out->runs[out->run_count - 1].what, part))
            out->runs[out->run_count - 1].what.bytes += part->bytes;
        else
            out->runs[out->run_count++] = (part_run){.what = *part, .first_part = i};
    }
}

/* Where everything lies in the slot. */
static void lay_out_record(const expert_record *record, const file_set *files, record_layout *out)
{
    find_runs(record, out);
    out->bytes = 0;
    for (uint32_t r = 0; r < out->run_count; r++) {
        part_run *run = &out->runs[r];
        assert(run->what.file_idx < files->count);
        uint64_t align = max_u64(PART_ALIGN_MIN, files->files[run->what.file_idx].memory_align);
        uint64_t window_bytes = storage_window_bytes(files, &run->what);
        if (out->bytes > UINT64_MAX - align) out->bytes = UINT64_MAX;
        if (out->bytes == UINT64_MAX) return;
        run->offset = round_up(out->bytes, align);
        uint64_t at = run->offset + storage_payload_offset(files, &run->what);
        const uint32_t end = r + 1 < out->run_count ? out->runs[r + 1].first_part : record->part_count;
        for (uint32_t i = run->first_part; i < end; at += record->parts[i++].bytes) out->payload_offsets[i] = at;
        if (!size_add(run->offset, window_bytes, &out->bytes)) out->bytes = UINT64_MAX;
    }
}

static uint64_t block_align(const file_set *files)
{
    uint64_t align = BLOCK_ALIGN_MIN;
    for (uint32_t i = 0; i < files->count; i++) align = max_u64(align, files->files[i].memory_align);
    return align;
}

/* Slots of direct files begin on pages, so that a window is as few pieces as possible for the device. */
static uint64_t slot_align(const file_set *files)
{
    for (uint32_t i = 0; i < files->count; i++)
        if (files->files[i].is_direct) return block_align(files);
    return PART_ALIGN_MIN;
}

uint64_t expert_cache_slot_bytes(const expert_cache_config *config, const file_set *files)
{
    uint64_t key_count = (uint64_t)config->layer_count * config->expert_count;
    uint64_t most_bytes = 0, align = slot_align(files);
    for (uint64_t key = 0; key < key_count; key++) {
        record_layout layout;
        lay_out_record(&config->records[key], files, &layout);
        most_bytes = max_u64(most_bytes, layout.bytes);
    }
    return most_bytes > UINT64_MAX - align ? UINT64_MAX : round_up(most_bytes, align);
}

/* The table is one allocation: the cache itself, its slots, the layers' lists, the keys, their history. */
typedef struct table_layout {
    uint64_t slots_offset, layers_offset, keys_offset, history_offset, bytes;
} table_layout;

static table_layout lay_out_table(const expert_cache_config *config)
{
    table_layout t;
    t.slots_offset = round_up(sizeof(expert_cache), 64);
    t.layers_offset = t.slots_offset + (uint64_t)config->slot_count * sizeof(slot);
    t.keys_offset = t.layers_offset + (uint64_t)config->layer_count * sizeof(layer_table);
    uint64_t keys_bytes = (uint64_t)config->layer_count * config->expert_count * sizeof(uint32_t);
    t.history_offset = t.keys_offset + keys_bytes;
    t.bytes = t.history_offset + keys_bytes; /* whatever the policy, so that a floor does not depend on it */
    return t;
}

uint64_t expert_cache_bytes(const expert_cache_config *config, const file_set *files)
{
    uint64_t bytes;
    if (!size_mul(config->slot_count, expert_cache_slot_bytes(config, files), &bytes)) return UINT64_MAX;
    bytes = mem_block_bytes(bytes, block_align(files));
    if (!size_add(bytes, mem_block_bytes(lay_out_table(config).bytes, TABLE_ALIGN), &bytes)) return UINT64_MAX;
    return bytes;
}

const char *cache_policy_label(cache_policy policy)
{
    static const char *const labels[CACHE_POLICY_COUNT] = {"lru", "lfu", "slru", "s3fifo"};
    return policy < CACHE_POLICY_COUNT ? labels[policy] : "unknown";
}

/* ---- the lists of the layers ---- */

static slot_list *list_of(expert_cache *cache, const slot *s)
{
    return &cache->layers[key_layer(cache, s->key)].lists[s->segment];
}

static uint32_t layer_slots(const expert_cache *cache, uint32_t layer)
{
    return cache->layers[layer].lists[0].slot_count + cache->layers[layer].lists[1].slot_count;
}

static void append_youngest(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    slot_list *list = list_of(cache, s);
    s->older_idx = list->youngest_idx;
    s->younger_idx = NONE;
    if (list->youngest_idx == NONE)
        list->oldest_idx = slot_idx;
    else
        cache->slots[list->youngest_idx].younger_idx = slot_idx;
    list->youngest_idx = slot_idx;
    list->slot_count++;
}

/* With a stamp older than all, for lists are sorted by stamp where the policy goes by use. */
static void append_oldest(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    slot_list *list = list_of(cache, s);
    s->stamp = cache->first_stamp--;
    s->older_idx = NONE;
    s->younger_idx = list->oldest_idx;
    if (list->oldest_idx == NONE)
        list->youngest_idx = slot_idx;
    else
        cache->slots[list->oldest_idx].older_idx = slot_idx;
    list->oldest_idx = slot_idx;
    list->slot_count++;
}

static void unlink_slot(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    slot_list *list = list_of(cache, s);
    if (s->older_idx == NONE)
        list->oldest_idx = s->younger_idx;
    else
        cache->slots[s->older_idx].younger_idx = s->younger_idx;
    if (s->younger_idx == NONE)
        list->youngest_idx = s->older_idx;
    else
        cache->slots[s->younger_idx].older_idx = s->older_idx;
    list->slot_count--;
}

/* ---- state changes: one function for each arrow of the diagram, and nothing else writes slot.state ---- */

/* READY or LOADING -> EMPTY: what eviction and failure have in common. */
static void empty_slot(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    assert(s->pins == 0 && s->reads_left == 0);
    assert(cache->slot_of_key[s->key] == slot_idx);
    unlink_slot(cache, slot_idx);
    cache->slot_of_key[s->key] = NONE;
    s->state = SLOT_EMPTY;
    s->key = NONE;
    s->failed_part = PART_NONE;
    s->younger_idx = cache->first_free_idx;
    cache->first_free_idx = slot_idx;
}

/* EMPTY -> LOADING: takes the first free slot for a key that is in none. Its reads are still to be submitted. */
static uint32_t begin_load(expert_cache *cache, uint32_t key, uint32_t segment, uint64_t stamp)
{
    uint32_t slot_idx = cache->first_free_idx;
    assert(slot_idx != NONE && cache->slot_of_key[key] == NONE);
    slot *s = &cache->slots[slot_idx];
    assert(s->state == SLOT_EMPTY && s->pins == 0);
    cache->first_free_idx = s->younger_idx;
    if (slot_idx >= cache->used_count) cache->used_count = slot_idx + 1;
    record_layout layout;
    find_runs(&cache->config.records[key], &layout);
    *s = (slot){.stamp = stamp,
                .key = key,
                .state = SLOT_LOADING,
                .failed_part = PART_NONE,
                .segment = segment & 1,
                .reads_left = (uint8_t)layout.run_count};
    cache->slot_of_key[key] = slot_idx;
    append_youngest(cache, slot_idx);
    return slot_idx;
}

/* LOADING -> READY: every part has come back in order. */
static void finish_load(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    assert(s->state == SLOT_LOADING && s->reads_left == 0 && s->failed_part == PART_NONE);
    s->state = SLOT_READY;
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ready_count++;
    pthread_mutex_unlock(&cache->mutex);
}

/* LOADING -> EMPTY: every part has come back, one of them with an error, and nobody is left who has not heard of it. */
static void fail_load(expert_cache *cache, uint32_t slot_idx)
{
    assert(cache->slots[slot_idx].state == SLOT_LOADING && cache->slots[slot_idx].failed_part != PART_NONE);
    empty_slot(cache, slot_idx);
}

/* READY -> EMPTY. */
static void evict(expert_cache *cache, uint32_t slot_idx)
{
    assert(cache->slots[slot_idx].state == SLOT_READY);
    empty_slot(cache, slot_idx);
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ready_count--;
    cache->stats.evictions++;
    pthread_mutex_unlock(&cache->mutex);
}

/* ---- pins and parts: what happens to a slot between its state changes ---- */

static bool has_failed(const slot *s) { return s->state == SLOT_LOADING && s->reads_left == 0; }

static void pin(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    assert(s->state != SLOT_EMPTY);
    if (s->pins++ == 0) cache->pinned_count++;
}

static void unpin(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    assert(s->pins > 0);
    if (--s->pins > 0) return;
    cache->pinned_count--;
    if (has_failed(s)) fail_load(cache, slot_idx);
}

static void take_back_read(expert_cache *cache, const read_result *result)
{
    uint32_t slot_idx = (uint32_t)(result->tag / EXPERT_PARTS_MAX);
    slot *s = &cache->slots[slot_idx];
    assert(s->state == SLOT_LOADING && s->reads_left > 0);
    if (result->status != LEAT_OK && s->failed_part == PART_NONE) {
        s->failed_part = (uint8_t)(result->tag % EXPERT_PARTS_MAX);
        s->failed_errno = result->error.os_errno;
    }
    if (--s->reads_left > 0) return;
    if (s->failed_part == PART_NONE)
        finish_load(cache, slot_idx);
    else if (s->pins == 0)
        fail_load(cache, slot_idx);
}

/* Waits for one of the cache's own reads; there must be one in flight. */
static void reap_one(expert_cache *cache)
{
    read_result result;
    assert(cache->reading_count > 0);
    uint64_t begin_ns = clock_now_ns();
    uint64_t tag_end = (uint64_t)cache->config.slot_count * EXPERT_PARTS_MAX;
    bool found = cache->reads->ops->reap(cache->reads, 0, tag_end, &result);
    uint64_t wait_ns = clock_now_ns() - begin_ns;
    assert(found); /* a submitted read is never lost */
    (void)found;
    cache->reading_count--;
    take_back_read(cache, &result);
    pthread_mutex_lock(&cache->mutex);
    cache->stats.wait_ns += wait_ns;
    pthread_mutex_unlock(&cache->mutex);
}

static void submit_read(expert_cache *cache, const read_request *request)
{
    const storage_ops *ops = cache->reads->ops;
    bool is_in = false;
    while (cache->reading_count > 0 && !(is_in = ops->try_submit(cache->reads, request))) reap_one(cache);
    if (!is_in) ops->submit(cache->reads, request); /* what fills the queue is not ours: others will reap it */
    cache->reading_count++;
}

static void submit_record(expert_cache *cache, uint32_t slot_idx, read_class class)
{
    const expert_record *record = &cache->config.records[cache->slots[slot_idx].key];
    record_layout layout;
    lay_out_record(record, cache->files, &layout);
    for (uint32_t i = 0; i < layout.run_count; i++) {
        read_request request = {.what = layout.runs[i].what,
                                .buffer = cache->block + slot_idx * cache->slot_bytes + layout.runs[i].offset,
                                .tag = (uint64_t)slot_idx * EXPERT_PARTS_MAX + layout.runs[i].first_part,
                                .is_followed = i + 1 < layout.run_count,
                                .class = class};
        submit_read(cache, &request);
    }
}

/* ---- the policies: what they remember ---- */

static uint32_t protected_max(const expert_cache *cache) { return cache->share * 4 / 5; }
static uint32_t small_max(const expert_cache *cache) { return (uint32_t)max_u64(1, cache->share / 10); }

/* To the young end of a list of its layer. */
static void move_to(expert_cache *cache, uint32_t slot_idx, uint32_t segment)
{
    unlink_slot(cache, slot_idx);
    cache->slots[slot_idx].segment = segment & 1;
    append_youngest(cache, slot_idx);
}

/* A record that is in memory was named by an acquire. */
static void touch(expert_cache *cache, uint32_t slot_idx, uint64_t stamp)
{
    slot *s = &cache->slots[slot_idx];
    s->stamp = stamp;
    if (cache->policy == CACHE_S3FIFO) {
        if (s->use_count < S3_USES_MAX) s->use_count++;
        return;
    }
    move_to(cache, slot_idx, cache->policy == CACHE_SLRU);
    const slot_list *protected = &cache->layers[key_layer(cache, s->key)].lists[1];
    if (cache->policy == CACHE_SLRU && protected->slot_count > protected_max(cache))
        move_to(cache, protected->oldest_idx, 0);
}

/* Which list a record enters. A ghost is one of the last that left the small queue, as many as the main queue holds. */
static uint32_t entry_segment(const expert_cache *cache, uint32_t key)
{
    if (cache->policy != CACHE_S3FIFO || cache->key_history[key] == 0) return 0;
    uint32_t age = cache->layers[key_layer(cache, key)].ghost_clock - cache->key_history[key];
    return age < cache->share - (uint32_t)min_u64(cache->share, small_max(cache));
}

/* A victim is about to go. */
static void remember_victim(expert_cache *cache, const slot *s)
{
    if (cache->policy != CACHE_S3FIFO) return;
    layer_table *layer = &cache->layers[key_layer(cache, s->key)];
    if (s->segment == 0 && layer->ghost_clock < UINT32_MAX) layer->ghost_clock++;
    cache->key_history[s->key] = s->segment == 0 ? layer->ghost_clock : 0;
}

/* What is left of a count after `row_count` rows, as a fraction of 2^32. */
static uint64_t kept_part(uint32_t row_count)
{
    uint64_t kept = UINT64_C(1) << 32;
    for (uint32_t i = 0; i < row_count && kept > 0; i++) kept -= (kept >> LFU_DECAY_SHIFT) + (kept < LFU_DECAY_UNIT);
    return kept;
}

/* One acquire of the layer, or a sweep for many rows: as if each expert's rows were spread evenly over all of them.
 * row_counts: NULL for 1 each. */
static void count_uses(expert_cache *cache, uint32_t layer, const uint32_t *experts, const uint32_t *row_counts,
                       uint32_t count, uint32_t row_count)
{
    if (cache->policy != CACHE_LFU || count == 0) return;
    uint32_t *uses = &cache->key_history[layer * cache->config.expert_count];
    if (row_count == 1) {
        for (uint32_t e = 0; e < cache->config.expert_count; e++) uses[e] -= uses[e] >> LFU_DECAY_SHIFT;
        for (uint32_t i = 0; i < count; i++) uses[experts[i]] += LFU_USE;
        return;
    }
    const uint64_t one = UINT64_C(1) << 32, kept = kept_part(row_count);
    const uint64_t added = ((uint64_t)LFU_USE << LFU_DECAY_SHIFT) * (one - kept) >> 32; /* by an expert of every row */
    for (uint32_t e = 0; e < cache->config.expert_count; e++) uses[e] = (uint32_t)(uses[e] * kept >> 32);
    for (uint32_t i = 0; i < count; i++)
        uses[experts[i]] += (uint32_t)(added * min_u64(row_counts ? row_counts[i] : 1, row_count) / row_count);
}

/* ---- the choice of a victim: a pure function of the table ---- */

static bool is_idle(const slot *s) { return s->pins == 0 && s->state != SLOT_EMPTY; }

/* The first of the list that may be evicted, from the old end; NONE when there is none. */
static uint32_t oldest_idle(const expert_cache *cache, const slot_list *list)
{
    uint32_t slot_idx = list->oldest_idx;
    while (slot_idx != NONE && !is_idle(&cache->slots[slot_idx])) slot_idx = cache->slots[slot_idx].younger_idx;
    return slot_idx;
}

static uint32_t youngest_idle(const expert_cache *cache, const slot_list *list)
{
    uint32_t slot_idx = list->youngest_idx;
    while (slot_idx != NONE && !is_idle(&cache->slots[slot_idx])) slot_idx = cache->slots[slot_idx].older_idx;
    return slot_idx;
}

/* The least used; among equals the one used longest ago. */
static uint32_t least_used_idle(const expert_cache *cache, const slot_list *list)
{
    uint32_t best_idx = NONE;
    for (uint32_t i = list->oldest_idx; i != NONE; i = cache->slots[i].younger_idx)
        if (is_idle(&cache->slots[i]) && (best_idx == NONE || cache->key_history[cache->slots[i].key] <
                                                                  cache->key_history[cache->slots[best_idx].key]))
            best_idx = i;
    return best_idx;
}

/* The record of this layer that the policy gives up; NONE when all are held. */
static uint32_t choose_in_layer(const expert_cache *cache, uint32_t layer)
{
    const slot_list *lists = cache->layers[layer].lists;
    if (cache->policy == CACHE_LFU) return least_used_idle(cache, &lists[0]);
    bool main_first = cache->policy == CACHE_S3FIFO && lists[0].slot_count < small_max(cache);
    uint32_t slot_idx = oldest_idle(cache, &lists[main_first]);
    return slot_idx != NONE ? slot_idx : oldest_idle(cache, &lists[!main_first]);
}

/* Of the layers that hold more than their share the one whose oldest record was used longest ago; NONE when there is
 * none. */
static uint32_t choose_surplus_layer(const expert_cache *cache)
{
    uint32_t best_layer = NONE;
    uint64_t best_stamp = UINT64_MAX;
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) {
        if (layer_slots(cache, layer) <= cache->share) continue;
        const slot_list *lists = cache->layers[layer].lists;
        uint32_t slot_idx = oldest_idle(cache, &lists[0]);
        if (slot_idx == NONE) slot_idx = oldest_idle(cache, &lists[1]);
        if (slot_idx == NONE || cache->slots[slot_idx].stamp >= best_stamp) continue;
        best_stamp = cache->slots[slot_idx].stamp;
        best_layer = layer;
    }
    return best_layer;
}

/* Whose record makes room for one of `layer`; NONE: of no layer in particular. */
static uint32_t choose_layer(const expert_cache *cache, uint32_t layer)
{
    if (layer_slots(cache, layer) >= cache->share && choose_in_layer(cache, layer) != NONE) return layer;
    return choose_surplus_layer(cache);
}

static uint32_t choose_youngest_of_all(const expert_cache *cache)
{
    uint32_t best_idx = NONE;
    for (uint32_t i = 0; i < cache->config.layer_count * 2; i++) {
        uint32_t slot_idx = youngest_idle(cache, &cache->layers[i / 2].lists[i % 2]);
        if (slot_idx != NONE && (best_idx == NONE || cache->slots[slot_idx].stamp > cache->slots[best_idx].stamp))
            best_idx = slot_idx;
    }
    return best_idx;
}

/* The youngest among equals. The slots are few: less than a set per layer. */
static uint32_t choose_least_used_of_all(const expert_cache *cache)
{
    uint32_t best_idx = NONE, best_uses = 0;
    for (uint32_t i = 0; i < cache->config.slot_count; i++) {
        const slot *s = &cache->slots[i];
        if (!is_idle(s)) continue;
        uint32_t uses = cache->key_history[s->key];
        if (best_idx != NONE && (uses > best_uses || (uses == best_uses && s->stamp < cache->slots[best_idx].stamp)))
            continue;
        best_idx = i;
        best_uses = uses;
    }
    return best_idx;
}

/* Who makes room for a record of `layer` when no slot is free. */
static uint32_t choose_victim(const expert_cache *cache, uint32_t layer)
{
    bool is_of_all = cache->is_below_sets && cache->policy == CACHE_LFU;
    uint32_t from_layer = is_of_all ? NONE : choose_layer(cache, layer);
    uint32_t slot_idx = is_of_all            ? choose_least_used_of_all(cache)
                        : from_layer != NONE ? choose_in_layer(cache, from_layer)
                                             : choose_youngest_of_all(cache);
    assert(slot_idx != NONE); /* acquire has counted */
    return slot_idx;
}

/* Frees a slot for a record of `layer`. In S3-FIFO a record with a use is no victim but moves on: from the small queue
 * to the main one, from the old end of the main one to its young end for one use less. */
static void evict_for(expert_cache *cache, uint32_t layer)
{
    uint32_t slot_idx = choose_victim(cache, layer);
    slot *s = &cache->slots[slot_idx];
    while (s->use_count > 0) {
        s->use_count = s->segment == 0 ? 0 : (s->use_count - 1) & 0x3f;
        move_to(cache, slot_idx, 1);
        slot_idx = choose_victim(cache, layer);
        s = &cache->slots[slot_idx];
    }
    while (s->state == SLOT_LOADING) reap_one(cache); /* a slot is free also where its read fails meanwhile */
    if (s->state == SLOT_EMPTY) return;
    remember_victim(cache, s);
    evict(cache, slot_idx);
}

/* ---- what is read ahead ---- */

static bool has_room(const expert_cache *cache, uint32_t count)
{
    return cache->config.slot_count - cache->pinned_count >= count;
}

/* Nobody named it: its slot is the next of its list to go. */
static void give_up_guess(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    s->is_guess = 0;
    unlink_slot(cache, slot_idx);
    append_oldest(cache, slot_idx);
    cache->stats.ahead_wasted++; /* under the mutex */
}

static void drop_ahead(expert_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    for (uint32_t i = 0; i < cache->ahead_count; i++)
        if (cache->slots[cache->ahead_slots[i]].is_guess) give_up_guess(cache, cache->ahead_slots[i]);
    pthread_mutex_unlock(&cache->mutex);
    for (uint32_t i = 0; i < cache->ahead_count; i++) unpin(cache, cache->ahead_slots[i]);
    cache->ahead_count = 0;
}

/* A slot for a key that is in none; one is free or may be evicted. */
static uint32_t load_key(expert_cache *cache, uint32_t layer, uint32_t key, uint64_t stamp)
{
    if (cache->first_free_idx == NONE) evict_for(cache, layer);
    uint32_t slot_idx = begin_load(cache, key, entry_segment(cache, key), stamp);
    pin(cache, slot_idx);
    return slot_idx;
}

uint32_t expert_cache_read_ahead(expert_cache *cache, uint32_t layer, const uint32_t *experts, uint32_t count,
                                 uint32_t read_max)
{
    assert(layer < cache->config.layer_count);
    uint32_t first_key = layer * cache->config.expert_count, begun_count = 0, done = 0;
    drop_ahead(cache);
    cache->ahead_layer = layer;
    for (; done < count && cache->ahead_count < AHEAD_MAX; done++) {
        uint32_t slot_idx = cache->slot_of_key[first_key + experts[done]];
        if (slot_idx == NONE) {
            if (begun_count == read_max || !has_room(cache, 1)) break;
            slot_idx = load_key(cache, layer, first_key + experts[done], ++cache->last_stamp);
            cache->slots[slot_idx].is_guess = 1;
            submit_record(cache, slot_idx, READ_LOOK_AHEAD);
            begun_count++;
        } else
            pin(cache, slot_idx);
        cache->ahead_slots[cache->ahead_count++] = slot_idx;
    }
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ahead_reads += begun_count;
    pthread_mutex_unlock(&cache->mutex);
    return done;
}

/* ---- open and close ---- */

static leat_status check_config(const expert_cache_config *config, leat_error *error)
{
    uint64_t key_count = (uint64_t)config->layer_count * config->expert_count;
    if ((unsigned)config->policy >= CACHE_POLICY_COUNT)
        return FAIL(error, USAGE, "there is no cache policy %d", (int)config->policy);
    if (config->set_max < 1 || config->set_max > EXPERT_SET_MAX)
        return FAIL(error, USAGE, "an expert cache for sets of %" PRIu32 " experts; 1 to %d are possible",
                    config->set_max, EXPERT_SET_MAX);
    if (config->slot_count < config->set_max)
        return FAIL(error, BUDGET,
                    "the expert cache has room for %" PRIu32 " experts, but a layer needs %" PRIu32 " at once",
                    config->slot_count, config->set_max);
    if (config->slot_count == NONE || key_count == 0 || key_count >= NONE)
        return FAIL(error, USAGE, "an expert cache of %" PRIu32 " slots for %" PRIu32 " layers of %" PRIu32 " experts",
                    config->slot_count, config->layer_count, config->expert_count);
    for (uint32_t key = 0; key < key_count; key++)
        if (config->records[key].part_count < 1 || config->records[key].part_count > EXPERT_PARTS_MAX)
            return FAIL(error, MODEL,
                        "layer %" PRIu32 ", expert %" PRIu32 " has %" PRIu32 " parts; 1 to %d are possible",
                        key / config->expert_count, key % config->expert_count, config->records[key].part_count,
                        EXPERT_PARTS_MAX);
    return LEAT_OK;
}

static void set_shares(expert_cache *cache, uint32_t slot_count)
{
    const uint32_t set_max = cache->config.set_max;
    const uint32_t slots_of_layer = slot_count / cache->config.layer_count;
    const cache_policy wanted = cache->config.policy;
    cache->share = (uint32_t)max_u64(slots_of_layer, set_max);
    cache->is_below_sets = slots_of_layer < set_max;
    cache->policy = cache->is_below_sets && wanted != CACHE_LFU ? CACHE_LRU : wanted;
}

leat_status expert_cache_open(mem *ledger, const expert_cache_config *config, const file_set *files, storage *reads,
                              expert_cache **out_cache, leat_error *error)
{
    TRY(check_config(config, error));
    leat_status status;
    uint8_t *table = NULL, *block = NULL;
    table_layout layout = lay_out_table(config);
    uint64_t slot_bytes = expert_cache_slot_bytes(config, files);
    TRY_OR(fail, mem_alloc(ledger, MEM_EXPERTS, 1, layout.bytes, TABLE_ALIGN, "table of the expert cache",
                           (void **)&table, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_EXPERTS, config->slot_count, slot_bytes, block_align(files),
                           "slots of the expert cache", (void **)&block, error));

    expert_cache *cache = (expert_cache *)(void *)table;
    cache->ledger = ledger;
    cache->reads = reads;
    cache->files = files;
    cache->config = *config;
    cache->slot_bytes = slot_bytes;
    cache->slot_max = config->slot_count;
    set_shares(cache, config->slot_count);
    cache->block = block;
    cache->slots = (slot *)(void *)(table + layout.slots_offset);
    cache->layers = (layer_table *)(void *)(table + layout.layers_offset);
    cache->slot_of_key = (uint32_t *)(void *)(table + layout.keys_offset);
    cache->key_history = (uint32_t *)(void *)(table + layout.history_offset); /* all zero */
    cache->stats.slot_count = config->slot_count;
    cache->last_stamp = FIRST_STAMP;
    cache->first_stamp = FIRST_STAMP;
    for (uint32_t i = 0; i < config->slot_count; i++)
        cache->slots[i] = (slot){.key = NONE,
                                 .state = SLOT_EMPTY,
                                 .failed_part = PART_NONE,
                                 .older_idx = NONE,
                                 .younger_idx = i + 1 < config->slot_count ? i + 1 : NONE};
    for (uint32_t i = 0; i < config->layer_count; i++)
        cache->layers[i] = (layer_table){{{NONE, NONE, 0}, {NONE, NONE, 0}}, 1};
    for (uint32_t i = 0; i < config->layer_count * config->expert_count; i++) cache->slot_of_key[i] = NONE;
    pthread_mutex_init(&cache->mutex, NULL); /* cannot fail on Linux with default attributes */
    *out_cache = cache;
    return LEAT_OK;

fail:
    mem_free(ledger, block);
    mem_free(ledger, table);
    return status;
}

void expert_cache_settle(expert_cache *cache)
{
    drop_ahead(cache);
    while (cache->reading_count > 0) reap_one(cache);
}

void expert_cache_close(expert_cache **cache)
{
    expert_cache *c = *cache;
    if (c == NULL) return;
    expert_cache_settle(c);
    assert(c->pinned_count == 0); /* one release for every acquire */
    pthread_mutex_destroy(&c->mutex);
    mem *ledger = c->ledger;
    mem_free(ledger, c->block);
    mem_free(ledger, c); /* the table */
    *cache = NULL;
}

/* ---- resizing ---- */

/* The order of one list by last use, which is LRU's: what was in either list, and no uses counted. */
static void order_by_use(expert_cache *cache, uint32_t layer)
{
    uint64_t done = 0; /* stamps up to this one are in place */
    for (uint32_t left = layer_slots(cache, layer); left > 0; left--) {
        uint32_t next_idx = NONE;
        for (int segment = 0; segment < 2; segment++)
            for (uint32_t i = cache->layers[layer].lists[segment].oldest_idx; i != NONE;
                 i = cache->slots[i].younger_idx)
                if (cache->slots[i].stamp > done &&
                    (next_idx == NONE || cache->slots[i].stamp < cache->slots[next_idx].stamp))
                    next_idx = i;
        done = cache->slots[next_idx].stamp;
        cache->slots[next_idx].use_count = 0;
        move_to(cache, next_idx, 0);
    }
}

/* Shares and policy for the new size, and lists as that policy wants them. */
static void follow_size(expert_cache *cache, uint32_t slot_count)
{
    const cache_policy before = cache->policy;
    set_shares(cache, slot_count);
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) {
        if (cache->policy != before && cache->policy == CACHE_LRU) order_by_use(cache, layer);
        const slot_list *protected = &cache->layers[layer].lists[1];
        while (cache->policy == CACHE_SLRU && protected->slot_count > protected_max(cache))
            move_to(cache, protected->oldest_idx, 0);
    }
}

static uint32_t largest_layer(const expert_cache *cache)
{
    uint32_t best = 0;
    for (uint32_t layer = 1; layer < cache->config.layer_count; layer++)
        if (layer_slots(cache, layer) > layer_slots(cache, best)) best = layer;
    return best;
}

/* Evicts until no more than `count` slots are in use. The layer that holds most gives. */
static void evict_down_to(expert_cache *cache, uint32_t count)
{
    uint32_t used_count = 0;
    for (uint32_t layer = 0; layer < cache->config.layer_count; layer++) used_count += layer_slots(cache, layer);
    for (; used_count > count; used_count--) evict_for(cache, largest_layer(cache));
}

/* READY and not held -> another slot, which is EMPTY. */
static void move_record(expert_cache *cache, uint32_t from_idx, uint32_t to_idx)
{
    slot *from = &cache->slots[from_idx], *to = &cache->slots[to_idx];
    assert(is_idle(from) && to->state == SLOT_EMPTY);
    slot_list *list = list_of(cache, from);
    memcpy(cache->block + to_idx * cache->slot_bytes, cache->block + from_idx * cache->slot_bytes, cache->slot_bytes);
    *to = *from;
    *(to->older_idx == NONE ? &list->oldest_idx : &cache->slots[to->older_idx].younger_idx) = to_idx;
    *(to->younger_idx == NONE ? &list->youngest_idx : &cache->slots[to->younger_idx].older_idx) = to_idx;
    cache->slot_of_key[to->key] = to_idx;
    *from = (slot){.key = NONE, .state = SLOT_EMPTY, .failed_part = PART_NONE, .older_idx = NONE};
}

/* Moves what lies at `count` or behind it to free slots before it. */
static void move_to_front(expert_cache *cache, uint32_t count)
{
    uint32_t to_idx = 0;
    for (uint32_t i = count; i < cache->slot_max; i++) {
        if (cache->slots[i].state == SLOT_EMPTY) continue;
        while (cache->slots[to_idx].state != SLOT_EMPTY) to_idx++;
        assert(to_idx < count);
        move_record(cache, i, to_idx);
    }
}

/* All free slots below slot_count, from the front. */
static void list_free_slots(expert_cache *cache)
{
    cache->first_free_idx = NONE;
    for (uint32_t i = cache->config.slot_count; i-- > 0;) {
        if (cache->slots[i].state != SLOT_EMPTY) continue;
        cache->slots[i].younger_idx = cache->first_free_idx;
        cache->first_free_idx = i;
    }
}

/* How many slots from the front have to stay for those that are held. */
static uint32_t held_end(const expert_cache *cache)
{
    uint32_t end = cache->config.slot_count;
    while (end > 0 && (cache->slots[end - 1].state == SLOT_EMPTY || is_idle(&cache->slots[end - 1]))) end--;
    return end;
}

uint32_t expert_cache_resize(expert_cache *cache, uint32_t slot_count)
{
    const uint32_t before = cache->config.slot_count;
    leat_error no_room;
    expert_cache_settle(cache);
    slot_count = (uint32_t)max_u64(max_u64(slot_count, cache->config.set_max), held_end(cache));
    slot_count = (uint32_t)min_u64(slot_count, cache->slot_max);
    if (slot_count > before &&
        mem_keep(cache->ledger, cache->block, slot_count * cache->slot_bytes, &no_room) != LEAT_OK)
        slot_count = before;
    follow_size(cache, slot_count);
    evict_down_to(cache, slot_count);
    move_to_front(cache, slot_count);
    cache->config.slot_count = slot_count;
    list_free_slots(cache);
    if (slot_count < before &&
        mem_keep(cache->ledger, cache->block, slot_count * cache->slot_bytes, &no_room) != LEAT_OK)
        assert(false); /* giving back needs no room */
    pthread_mutex_lock(&cache->mutex);
    cache->stats.slot_count = slot_count;
    cache->stats.resize_count += slot_count != before;
    pthread_mutex_unlock(&cache->mutex);
    return slot_count;
}

/* ---- what acquires and sweeps share ---- */

/* A record that is in the table is asked for. true: the policy has kept it, no guess brought it. */
static bool claim(expert_cache *cache, uint32_t slot_idx, uint64_t stamp)
{
    slot *s = &cache->slots[slot_idx];
    const uint64_t tag = (uint64_t)slot_idx * EXPERT_PARTS_MAX;
    if (s->state == SLOT_LOADING) cache->reads->ops->raise(cache->reads, tag, tag + EXPERT_PARTS_MAX, READ_DEMAND);
    if (!s->is_guess) {
        touch(cache, slot_idx, stamp);
        return true;
    }
    s->is_guess = 0;
    s->stamp = stamp;
    move_to(cache, slot_idx, s->segment);
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ahead_used++;
    pthread_mutex_unlock(&cache->mutex);
    return false;
}

static void count_asked(expert_cache *cache, uint32_t hit_count, uint32_t miss_count)
{
    pthread_mutex_lock(&cache->mutex);
    cache->stats.hits += hit_count;
    cache->stats.misses += miss_count;
    pthread_mutex_unlock(&cache->mutex);
}

/* ---- acquire, next, release ---- */

leat_status expert_cache_acquire(expert_cache *cache, uint32_t layer, const uint32_t *experts, uint32_t count,
                                 expert_set *out_set, leat_error *error)
{
    assert(layer < cache->config.layer_count && count <= cache->config.set_max);
    uint32_t first_key = layer * cache->config.expert_count;
    const uint32_t *slot_of_expert = &cache->slot_of_key[first_key];
    bool was_ready[EXPERT_SET_MAX], is_absent[EXPERT_SET_MAX];
    uint32_t hit_count = 0, absent_count = 0;

    /* What is there is pinned first, so that it is no victim of the rest. */
    for (uint32_t i = 0; i < count; i++) {
        assert(experts[i] < cache->config.expert_count);
        uint32_t slot_idx = slot_of_expert[experts[i]];
        is_absent[i] = slot_idx == NONE;
        was_ready[i] = !is_absent[i] && cache->slots[slot_idx].state == SLOT_READY;
        if (!is_absent[i]) pin(cache, slot_idx);
        absent_count += is_absent[i];
    }
    if (!has_room(cache, absent_count)) drop_ahead(cache);
    if (!has_room(cache, absent_count)) {
        uint32_t pinned_count = cache->pinned_count;
        for (uint32_t i = 0; i < count; i++)
            if (!is_absent[i]) unpin(cache, slot_of_expert[experts[i]]);
        return FAIL(error, INTERNAL,
                    "layer %" PRIu32 " needs %" PRIu32 " more slots of the expert cache, but %" PRIu32 " of %" PRIu32
                    " are held",
                    layer, absent_count, pinned_count, cache->config.slot_count);
    }

    /* From here on nothing fails. The first named becomes the youngest, for a router names its best expert first; so
     * the table is changed from the last to the first, which keeps the lists sorted by stamp, and the reads go out in
     * order. */
    uint64_t stamp_before = cache->last_stamp;
    out_set->layer = layer;
    out_set->count = count;
    out_set->handed_out_count = 0;
    count_uses(cache, layer, experts, NULL, count, 1);
    for (uint32_t i = count; i-- > 0;) {
        uint32_t slot_idx = slot_of_expert[experts[i]];
        uint64_t stamp = ++cache->last_stamp;
        if (is_absent[i]) {
            assert(slot_idx == NONE); /* else the same expert was named twice */
            slot_idx = load_key(cache, layer, first_key + experts[i], stamp);
        } else {
            assert(cache->slots[slot_idx].stamp <= stamp_before); /* likewise */
            hit_count += claim(cache, slot_idx, stamp);
        }
        out_set->refs[i] = (expert_ref){.expert = experts[i], .slot_idx = slot_idx, .was_hit = was_ready[i]};
    }
    (void)stamp_before;
    count_asked(cache, hit_count, count - hit_count);
    for (uint32_t i = 0; i < count; i++)
        if (is_absent[i]) submit_record(cache, out_set->refs[i].slot_idx, READ_DEMAND);
    if (cache->ahead_layer == layer) drop_ahead(cache);
    return LEAT_OK;
}

static void hand_out(const expert_cache *cache, expert_ref *ref)
{
    const slot *s = &cache->slots[ref->slot_idx];
    assert(s->state == SLOT_READY && s->pins > 0);
    const expert_record *record = &cache->config.records[s->key];
    record_layout layout;
    lay_out_record(record, cache->files, &layout);
    for (uint32_t i = 0; i < record->part_count; i++)
        ref->parts[i] = cache->block + ref->slot_idx * cache->slot_bytes + layout.payload_offsets[i];
}

static leat_status tell_failure(expert_cache *cache, uint32_t layer, expert_ref *ref, leat_error *error)
{
    const slot *s = &cache->slots[ref->slot_idx];
    record_layout layout;
    lay_out_record(&cache->config.records[s->key], cache->files, &layout);
    const extent *part = NULL; /* what was to be read at once */
    for (uint32_t i = 0; i < layout.run_count; i++)
        if (layout.runs[i].first_part == s->failed_part) part = &layout.runs[i].what;
    assert(part != NULL);
    leat_status status = FAIL_OS(error, IO, s->failed_errno,
                                 "layer %" PRIu32 ", expert %" PRIu32 ": %" PRIu64 " bytes at offset %" PRIu64
                                 " of %s could not be read: %s",
                                 layer, ref->expert, part->bytes, part->offset, cache->files->names[part->file_idx],
                                 s->failed_errno != 0 ? strerrordesc_np(s->failed_errno) : "the file is too short");
    unpin(cache, ref->slot_idx);
    ref->slot_idx = NONE;
    return status;
}

leat_status expert_cache_next(expert_cache *cache, expert_set *set, uint32_t *out_ref_idx, leat_error *error)
{
    assert(set->handed_out_count < set->count);
    for (;;) {
        for (uint32_t i = 0; i < set->count; i++) {
            expert_ref *ref = &set->refs[i];
            if (ref->handed_out) continue;
            const slot *s = &cache->slots[ref->slot_idx];
            assert(s->state != SLOT_EMPTY && s->key == set->layer * cache->config.expert_count + ref->expert);
            if (s->state != SLOT_READY && !has_failed(s)) continue;
            ref->handed_out = true;
            set->handed_out_count++;
            if (has_failed(s)) return tell_failure(cache, set->layer, ref, error);
            hand_out(cache, ref);
            *out_ref_idx = i;
            return LEAT_OK;
        }
        reap_one(cache);
    }
}

void expert_cache_release(expert_cache *cache, expert_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->refs[i].slot_idx != NONE) unpin(cache, set->refs[i].slot_idx);
    set->count = set->handed_out_count = 0;
}

/* ---- sweeps ---- */

void expert_cache_sweep_begin(expert_cache *cache, uint32_t layer, const uint32_t *experts, const uint32_t *row_counts,
                              uint32_t count, uint32_t row_count, expert_sweep *out_sweep)
{
    assert(layer < cache->config.layer_count);
    *out_sweep =
        (expert_sweep){.layer = layer,
                       .experts = experts,
                       .count = count,
                       .window = (uint32_t)min_u64(min_u64(cache->share, SWEEP_WINDOW_MAX), cache->config.slot_count)};
    count_uses(cache, layer, experts, row_counts, count, row_count);
}

/* Pins the next record of the list; there is room. */
static void ask_next(expert_cache *cache, expert_sweep *sweep)
{
    uint32_t key = sweep->layer * cache->config.expert_count + sweep->experts[sweep->asked_count];
    uint32_t slot_idx = cache->slot_of_key[key];
    uint64_t stamp = ++cache->last_stamp;
    bool is_hit = false;
    if (slot_idx == NONE) {
        slot_idx = load_key(cache, sweep->layer, key, stamp);
        submit_record(cache, slot_idx, sweep->class);
    } else {
        pin(cache, slot_idx);
        is_hit = claim(cache, slot_idx, stamp);
    }
    count_asked(cache, is_hit, !is_hit);
    sweep->slots[sweep->asked_count++ % SWEEP_WINDOW_MAX] = slot_idx;
}

static void fill_window(expert_cache *cache, expert_sweep *sweep)
{
    while (sweep->asked_count < sweep->count && sweep->asked_count - sweep->handed_out_count < sweep->window) {
        if (!has_room(cache, 1)) {
            if (sweep->asked_count > sweep->handed_out_count) return;
            drop_ahead(cache); /* the only others that hold slots */
        }
        ask_next(cache, sweep);
    }
}

static void release_current(expert_cache *cache, expert_sweep *sweep)
{
    if (sweep->handed_out_count > 0 && sweep->current.slot_idx != NONE) unpin(cache, sweep->current.slot_idx);
    sweep->current.slot_idx = NONE;
}

leat_status expert_cache_sweep_next(expert_cache *cache, expert_sweep *sweep, const expert_ref **out_ref,
                                    leat_error *error)
{
    assert(sweep->handed_out_count < sweep->count);
    release_current(cache, sweep);
    fill_window(cache, sweep);
    expert_ref *ref = &sweep->current;
    const uint32_t nth = sweep->handed_out_count++, slot_idx = sweep->slots[nth % SWEEP_WINDOW_MAX];
    const slot *s = &cache->slots[slot_idx];
    *ref = (expert_ref){.expert = sweep->experts[nth], .slot_idx = slot_idx, .was_hit = s->state == SLOT_READY};
    while (s->state == SLOT_LOADING && !has_failed(s)) reap_one(cache);
    ref->handed_out = true;
    if (has_failed(s)) return tell_failure(cache, sweep->layer, ref, error);
    hand_out(cache, ref);
    *out_ref = ref;
    return LEAT_OK;
}

bool expert_sweep_is_ending(const expert_sweep *sweep)
{
    return sweep->handed_out_count == (sweep->count > SWEEP_TAIL ? sweep->count - SWEEP_TAIL : 1);
}

void expert_cache_sweep_end(expert_cache *cache, expert_sweep *sweep)
{
    release_current(cache, sweep);
    for (; sweep->handed_out_count < sweep->asked_count; sweep->handed_out_count++)
        unpin(cache, sweep->slots[sweep->handed_out_count % SWEEP_WINDOW_MAX]);
    if (cache->ahead_layer == sweep->layer) drop_ahead(cache);
    sweep->count = sweep->asked_count = sweep->handed_out_count = 0;
}

/* ---- looking in ---- */

bool expert_cache_holds(const expert_cache *cache, uint32_t layer, uint32_t expert)
{
    return cache->slot_of_key[layer * cache->config.expert_count + expert] != NONE;
}

expert_cache_memory expert_cache_memory_get(const expert_cache *cache)
{
    return (expert_cache_memory){cache->block, cache->config.slot_count * cache->slot_bytes,
                                 cache->used_count * cache->slot_bytes};
}

void expert_cache_restart_counts(expert_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    expert_cache_stats *s = &cache->stats;
    s->warmed += s->misses;
    s->hits = s->misses = s->evictions = 0;
    s->ahead_reads = s->ahead_used = s->ahead_wasted = 0;
    s->wait_ns = 0;
    pthread_mutex_unlock(&cache->mutex);
}

expert_cache_stats expert_cache_stats_get(const expert_cache *cache)
{
    expert_cache *c = (expert_cache *)cache; /* logically const: the mutex is restored */
    pthread_mutex_lock(&c->mutex);
    expert_cache_stats stats = c->stats;
    pthread_mutex_unlock(&c->mutex);
    return stats;
}

/* Unlike an assertion it also holds in a release build: check() has no other purpose. */
static void require(bool holds)
{
    if (!holds) abort();
}

/* Returns how many slots the list has. */
static uint32_t check_list(const expert_cache *cache, uint32_t layer, uint32_t segment)
{
    const slot_list *list = &cache->layers[layer].lists[segment];
    bool is_by_use = cache->policy == CACHE_LRU || cache->policy == CACHE_LFU;
    uint32_t older_idx = NONE, count = 0;
    for (uint32_t i = list->oldest_idx; i != NONE; older_idx = i, i = cache->slots[i].younger_idx) {
        const slot *s = &cache->slots[i];
        require(s->state != SLOT_EMPTY && key_layer(cache, s->key) == layer && s->older_idx == older_idx);
        require(s->segment == segment && (segment == 0 || !is_by_use));
        require(s->use_count <= (cache->policy == CACHE_S3FIFO ? S3_USES_MAX : 0));
        require(older_idx == NONE || !is_by_use || cache->slots[older_idx].stamp < s->stamp);
        require(++count <= cache->config.slot_count);
    }
    require(list->youngest_idx == older_idx && list->slot_count == count);
    return count;
}

void expert_cache_check(const expert_cache *cache)
{
    const expert_cache_config *config = &cache->config;
    uint32_t key_count = config->layer_count * config->expert_count;
    uint32_t empty_count = 0, ready_count = 0, pinned_count = 0, keyed_count = 0, listed_count = 0;
    uint64_t part_count = 0;

    for (uint32_t i = 0; i < config->slot_count; i++) {
        const slot *s = &cache->slots[i];
        if (s->state == SLOT_EMPTY) {
            require(s->key == NONE && s->pins == 0 && s->reads_left == 0); /* 2: a pinned slot is LOADING or READY */
            empty_count++;
            continue;
        }
        require(s->key < key_count && cache->slot_of_key[s->key] == i); /* 1: a key is in at most one slot */
        require(s->stamp <= cache->last_stamp);
        pinned_count += s->pins > 0;
        part_count += s->reads_left;
        if (s->state == SLOT_READY) {
            require(s->reads_left == 0 && s->failed_part == PART_NONE); /* 2: no read can change its bytes any more */
            ready_count++;
        } else {
            require(s->state == SLOT_LOADING);
            require(s->reads_left > 0 || (s->failed_part != PART_NONE && s->pins > 0));
        }
    }
    for (uint32_t i = config->slot_count; i < cache->slot_max; i++) /* those that resize took away */
        require(cache->slots[i].state == SLOT_EMPTY && cache->slots[i].key == NONE);
    for (uint32_t key = 0; key < key_count; key++) keyed_count += cache->slot_of_key[key] != NONE;
    require(keyed_count == config->slot_count - empty_count); /* 1: and no key points at a slot that is not its own */

    require(config->slot_count >= config->set_max); /* 3 */
    require(pinned_count == cache->pinned_count && cache->ahead_count <= AHEAD_MAX);
    require(part_count == cache->reading_count);
    require(expert_cache_stats_get(cache).ready_count == ready_count);

    for (uint32_t i = cache->first_free_idx; i != NONE; i = cache->slots[i].younger_idx) {
        require(cache->slots[i].state == SLOT_EMPTY && empty_count > 0);
        empty_count--;
    }
    require(empty_count == 0);
    for (uint32_t i = 0; i < config->layer_count * 2; i++) listed_count += check_list(cache, i / 2, i % 2);
    if (cache->policy == CACHE_SLRU)
        for (uint32_t i = 0; i < config->layer_count; i++)
            require(cache->layers[i].lists[1].slot_count <= protected_max(cache));
    if (cache->policy == CACHE_LFU) /* a sum of ever smaller uses stays below 2^DECAY_SHIFT of them */
        for (uint32_t key = 0; key < key_count; key++)
            require(cache->key_history[key] <= (uint32_t)LFU_USE << (LFU_DECAY_SHIFT + 1));
    if (cache->policy == CACHE_S3FIFO)
        for (uint32_t key = 0; key < key_count; key++)
            require(cache->key_history[key] <= cache->layers[key_layer(cache, key)].ghost_clock);
    require(listed_count == keyed_count);
}

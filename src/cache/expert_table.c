#include "cache/expert_table.h"

#include "base/bytes.h"
#include "cache/record_layout.h"
#include "os/clock.h"

#include <string.h>

/* ---- the lists of the layers ---- */

static slot_list *list_of(expert_cache *cache, const slot *s)
{
    return &cache->layers[key_layer(cache, s->key)].lists[s->segment];
}

uint32_t table_layer_slots(const expert_cache *cache, uint32_t layer)
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

void table_move_to(expert_cache *cache, uint32_t slot_idx, uint32_t segment)
{
    unlink_slot(cache, slot_idx);
    cache->slots[slot_idx].segment = segment & 1;
    append_youngest(cache, slot_idx);
}

void table_make_oldest(expert_cache *cache, uint32_t slot_idx)
{
    unlink_slot(cache, slot_idx);
    append_oldest(cache, slot_idx);
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
    s->put_off = 0;
    slot_class *c = class_of_slot(cache, slot_idx);
    s->younger_idx = c->first_free_idx;
    c->first_free_idx = slot_idx;
}

uint32_t table_begin_load(expert_cache *cache, uint32_t key, uint32_t segment, uint64_t stamp)
{
    slot_class *c = class_of_layer(cache, key_layer(cache, key));
    uint32_t slot_idx = c->first_free_idx;
    assert(slot_idx != NONE && cache->slot_of_key[key] == NONE);
    slot *s = &cache->slots[slot_idx];
    assert(s->state == SLOT_EMPTY && s->pins == 0);
    c->first_free_idx = s->younger_idx;
    c->used_count = (uint32_t)max_u64(c->used_count, slot_idx - c->first_slot + 1);
    record_layout layout;
    record_find_runs(&cache->config.records[key], &layout);
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

/* LOADING -> EMPTY where a part was put off, which nobody will miss. */
void table_evict(expert_cache *cache, uint32_t slot_idx)
{
    const slot *s = &cache->slots[slot_idx];
    assert(s->pins == 0);
    if (s->state == SLOT_LOADING) (void)table_put_off(cache, slot_idx);
    while (s->state == SLOT_LOADING && s->reads_left > 0) table_reap_one(cache);
    const bool was_ready = s->state == SLOT_READY;
    if (s->state != SLOT_EMPTY) empty_slot(cache, slot_idx); /* EMPTY: one of its reads failed */
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ready_count -= was_ready;
    cache->stats.evictions++;
    pthread_mutex_unlock(&cache->mutex);
}

void table_move_record(expert_cache *cache, uint32_t from_idx, uint32_t to_idx)
{
    slot *from = &cache->slots[from_idx], *to = &cache->slots[to_idx];
    assert(slot_is_idle(from) && to->state == SLOT_EMPTY);
    slot_list *list = list_of(cache, from);
    const slot_class *c = class_of_slot(cache, from_idx);
    assert(c == class_of_slot(cache, to_idx));
    memcpy(class_slot(c, to_idx), class_slot(c, from_idx), c->slot_bytes);
    *to = *from;
    *(to->older_idx == NONE ? &list->oldest_idx : &cache->slots[to->older_idx].younger_idx) = to_idx;
    *(to->younger_idx == NONE ? &list->youngest_idx : &cache->slots[to->younger_idx].older_idx) = to_idx;
    cache->slot_of_key[to->key] = to_idx;
    *from = (slot){.key = NONE, .state = SLOT_EMPTY, .failed_part = PART_NONE, .older_idx = NONE};
}

/* ---- pins and parts: what happens to a slot between its state changes ---- */

void table_pin(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    assert(s->state != SLOT_EMPTY);
    if (s->pins++ == 0) class_of_slot(cache, slot_idx)->pinned_count++;
}

void table_unpin(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    assert(s->pins > 0);
    s->pins--;
    if (s->pins > 0) return;
    class_of_slot(cache, slot_idx)->pinned_count--;
    if (slot_has_failed(s)) fail_load(cache, slot_idx);
}

static void take_back_read(expert_cache *cache, const read_result *result)
{
    uint32_t slot_idx = (uint32_t)(result->tag / EXPERT_PARTS_MAX), part = (uint32_t)(result->tag % EXPERT_PARTS_MAX);
    slot *s = &cache->slots[slot_idx];
    assert(s->state == SLOT_LOADING && s->reads_left > 0);
    cache->reading_count--;
    if (result->status == LEAT_CANCELLED) {
        s->put_off |= (uint16_t)(1u << part);
    } else if (result->status != LEAT_OK && s->failed_part == PART_NONE) {
        s->failed_part = (uint8_t)part;
        s->failed_errno = result->error.os_errno;
    }
    if (--s->reads_left > 0 || s->put_off) return;
    if (s->failed_part == PART_NONE)
        finish_load(cache, slot_idx);
    else if (s->pins == 0)
        fail_load(cache, slot_idx);
}

void table_reap_one(expert_cache *cache)
{
    read_result result;
    assert(cache->reading_count > 0);
    uint64_t begin_ns = clock_now_ns();
    uint64_t tag_end = (uint64_t)cache->slot_max * EXPERT_PARTS_MAX;
    bool found = cache->reads->ops->reap(cache->reads, 0, tag_end, &result);
    uint64_t wait_ns = clock_now_ns() - begin_ns;
    assert(found); /* a submitted read is never lost */
    (void)found;
    take_back_read(cache, &result);
    pthread_mutex_lock(&cache->mutex);
    cache->stats.wait_ns += wait_ns;
    pthread_mutex_unlock(&cache->mutex);
}

static void submit_read(expert_cache *cache, const read_request *request)
{
    const storage_ops *ops = cache->reads->ops;
    bool is_in = false;
    while (cache->reading_count > 0 && !(is_in = ops->try_submit(cache->reads, request))) table_reap_one(cache);
    if (!is_in) ops->submit(cache->reads, request); /* what fills the queue is not ours: others will reap it */
    cache->reading_count++;
}

/* Of the reads of the record those whose bit, that of their first part, is set. */
static void submit_reads(expert_cache *cache, uint32_t slot_idx, uint32_t first_parts, read_class class)
{
    const expert_record *record = &cache->config.records[cache->slots[slot_idx].key];
    record_layout layout;
    record_lay_out(record, cache->files, &layout);
    uint8_t *to = class_slot(class_of_slot(cache, slot_idx), slot_idx);
    for (uint32_t i = 0; i < layout.run_count; i++) {
        const uint32_t bit = 1u << layout.runs[i].first_part;
        if (!(first_parts & bit)) continue;
        first_parts &= ~bit;
        read_request request = {.what = layout.runs[i].what,
                                .buffer = to + layout.runs[i].offset,
                                .tag = slot_first_tag(slot_idx) + layout.runs[i].first_part,
                                .is_followed = i + 1 < layout.run_count && first_parts != 0,
                                .class = class};
        submit_read(cache, &request);
    }
}

void table_submit(expert_cache *cache, uint32_t slot_idx, read_class class)
{
    submit_reads(cache, slot_idx, UINT32_MAX, class);
}

static uint64_t put_off_bytes(const expert_cache *cache, const slot *s)
{
    uint64_t bytes = 0;
    record_layout layout;
    if (!s->put_off) return 0;
    record_lay_out(&cache->config.records[s->key], cache->files, &layout);
    for (uint32_t i = 0; i < layout.run_count; i++)
        if (s->put_off >> layout.runs[i].first_part & 1) bytes += layout.runs[i].what.bytes;
    return bytes;
}

uint64_t table_put_off(expert_cache *cache, uint32_t slot_idx)
{
    const storage_ops *ops = cache->reads->ops;
    const uint64_t tag = slot_first_tag(slot_idx);
    read_result result;
    assert(cache->slots[slot_idx].state == SLOT_LOADING);
    /* What was given up is back at once, but what had ended may come before it. */
    for (uint32_t left = ops->cancel(cache->reads, tag, tag + EXPERT_PARTS_MAX); left > 0;) {
        bool found = ops->reap(cache->reads, tag, tag + EXPERT_PARTS_MAX, &result);
        assert(found);
        (void)found;
        left -= result.status == LEAT_CANCELLED;
        take_back_read(cache, &result);
    }
    return put_off_bytes(cache, &cache->slots[slot_idx]);
}

void table_take_up(expert_cache *cache, uint32_t slot_idx, read_class class)
{
    slot *s = &cache->slots[slot_idx];
    const uint32_t put_off = s->put_off;
    if (!put_off) return;
    s->put_off = 0;
    s->reads_left += (uint8_t)__builtin_popcount(put_off);
    submit_reads(cache, slot_idx, put_off, class);
}

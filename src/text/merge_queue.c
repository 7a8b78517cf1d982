/* merge_queue.c - a four-way heap, and the lists of the radix heap. */
#include "text/merge_queue.h"

#include "base/bytes.h"

#include <assert.h>

enum { HEAP_ARITY = 4, LIST_KEPT_KEYS = 64 * 1024, SHORT_COUNT = 64, FETCH_AHEAD = 16 };

void merge_queue_init(merge_queue *q, mem *ledger)
{
    *q = (merge_queue){.ledger = ledger, .large_count = MERGE_QUEUE_LARGE_COUNT};
}

void merge_queue_reset(merge_queue *q)
{
    mem_free(q->ledger, q->heap.keys);
    mem_free(q->ledger, q->ready.keys);
    for (int i = 0; i <= MERGE_QUEUE_KEY_BITS; i++) mem_free(q->ledger, q->lists[i].keys);
    merge_queue_init(q, q->ledger);
}

void merge_queue_start(merge_queue *q, const void *symbols, uint64_t symbol_count, size_t item_bytes)
{
    q->items = symbols;
    q->item_bytes = item_bytes;
    q->heap.count = q->ready.count = q->ready_taken = 0;
    q->last = 0;
    if (q->is_large)
        for (int i = 0; i <= MERGE_QUEUE_KEY_BITS; i++) q->lists[i].count = 0;
    q->is_large = symbol_count >= q->large_count;
}

static leat_status grow(merge_queue *q, merge_key_list *list, leat_error *error)
{
    uint64_t capacity = max_u64(256, list->capacity + list->capacity / 2);
    void *block = list->keys;
    TRY(mem_resize(q->ledger, MEM_TOKENIZER, &block, capacity, sizeof *list->keys, "merge queue", error));
    list->keys = block;
    list->capacity = capacity;
    return LEAT_OK;
}

static leat_status append(merge_queue *q, merge_key_list *list, uint64_t key, leat_error *error)
{
    if (list->count == list->capacity) TRY(grow(q, list, error));
    list->keys[list->count++] = key;
    q->steps++;
    return LEAT_OK;
}

static leat_status push_heap(merge_queue *q, uint64_t key, leat_error *error)
{
    TRY(append(q, &q->heap, key, error));
    uint64_t *heap = q->heap.keys, at = q->heap.count - 1;
    while (at > 0 && heap[(at - 1) / HEAP_ARITY] > key) {
        q->steps++;
        heap[at] = heap[(at - 1) / HEAP_ARITY];
        at = (at - 1) / HEAP_ARITY;
    }
    heap[at] = key;
    return LEAT_OK;
}

static uint64_t pop_heap(merge_queue *q)
{
    uint64_t *heap = q->heap.keys, lowest = heap[0], count = --q->heap.count, key = heap[count], at = 0;
    for (;;) {
        uint64_t child = at * HEAP_ARITY + 1, end = min_u64(child + HEAP_ARITY, count), best = child;
        if (child >= count) break;
        q->steps += end - child;
        for (uint64_t i = child + 1; i < end; i++)
            if (heap[i] < heap[best]) best = i;
        if (heap[best] >= key) break;
        heap[at] = heap[best];
        at = best;
    }
    heap[at] = key;
    return lowest;
}

static int list_of(const merge_queue *q, uint64_t key)
{
    return key == q->last ? 0 : 64 - __builtin_clzll(key ^ q->last);
}

leat_status merge_queue_push(merge_queue *q, uint64_t key, leat_error *error)
{
    assert(key >> MERGE_QUEUE_KEY_BITS == 0);
    if (!q->is_large || key < q->last) return push_heap(q, key, error);
    return append(q, &q->lists[list_of(q, key)], key, error);
}

/* Makes the lowest key of a list the last one taken, and deals its keys out to the lists below it. */
static leat_status deal_out(merge_queue *q, merge_key_list *list, leat_error *error)
{
    uint64_t lowest = list->keys[0];
    q->steps += list->count;
    for (uint64_t i = 1; i < list->count; i++) lowest = min_u64(lowest, list->keys[i]);
    q->last = lowest;
    for (uint64_t i = 0; i < list->count; i++)
        TRY(append(q, &q->lists[list_of(q, list->keys[i])], list->keys[i], error));
    list->count = 0;
    if (list->capacity > LIST_KEPT_KEYS) {
        mem_free(q->ledger, list->keys);
        *list = (merge_key_list){0};
    }
    return LEAT_OK;
}

static void sort_short(merge_key_list *list)
{
    for (uint64_t i = 1; i < list->count; i++) {
        uint64_t key = list->keys[i], at = i;
        for (; at > 0 && list->keys[at - 1] > key; at--) list->keys[at] = list->keys[at - 1];
        list->keys[at] = key;
    }
}

/* Ascending and of one rank. Keys are mostly appended in the order of their positions, so this is common. */
static bool is_in_order(const merge_key_list *list)
{
    if (list->keys[0] >> 32 != list->keys[list->count - 1] >> 32) return false;
    for (uint64_t i = 1; i < list->count; i++)
        if (list->keys[i] < list->keys[i - 1]) return false;
    return true;
}

static void fetch(const merge_queue *q, uint64_t key)
{
    __builtin_prefetch(q->items + (size_t)(uint32_t)key * q->item_bytes, 1);
}

/* Makes the keys of the lowest list that can be put in order the ready ones; there are none when the lists are empty.
 */
static leat_status make_ready(merge_queue *q, leat_error *error)
{
    q->ready.count = q->ready_taken = 0;
    for (int i = 0; i <= MERGE_QUEUE_KEY_BITS;) {
        merge_key_list *list = &q->lists[i];
        if (list->count == 0) {
            i++;
            continue;
        }
        if (i == 0 || list->count <= SHORT_COUNT || is_in_order(list)) {
            q->steps += list->count;
            if (list->count <= SHORT_COUNT) sort_short(list);
            merge_key_list taken = *list;
            *list = q->ready;
            q->ready = taken;
            q->last = taken.keys[taken.count - 1];
            for (uint64_t k = 0; k < min_u64(taken.count, FETCH_AHEAD); k++) fetch(q, taken.keys[k]);
            return LEAT_OK;
        }
        TRY(deal_out(q, list, error));
        i = 0;
    }
    return LEAT_OK;
}

leat_status merge_queue_pop(merge_queue *q, bool *out_has, uint64_t *out_key, leat_error *error)
{
    if (q->is_large && q->ready_taken == q->ready.count && q->heap.count == 0) TRY(make_ready(q, error));
    bool has_ready = q->ready_taken < q->ready.count;
    *out_has = has_ready || q->heap.count > 0;
    if (!*out_has) return LEAT_OK;
    if (q->heap.count > 0 && (!has_ready || q->heap.keys[0] < q->ready.keys[q->ready_taken])) {
        *out_key = pop_heap(q);
        return LEAT_OK;
    }
    if (q->ready_taken + FETCH_AHEAD < q->ready.count) fetch(q, q->ready.keys[q->ready_taken + FETCH_AHEAD]);
    *out_key = q->ready.keys[q->ready_taken++];
    return LEAT_OK;
}

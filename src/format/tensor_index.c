/*
 * tensor_index.c - the table of a checkpoint's tensors.
 *
 * Filled shard by shard, sorted once, then read by binary search. The names live in the index's arena; the table itself
 * is one block of the same ledger, because it grows and an arena cannot give back what was outgrown.
 *
 * Threads: one thread while it is filled; any number may search after tensor_index_finish.
 */
#include "format/tensor_index.h"

#include "base/bytes.h"
#include "format/tensor_sort.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { NAME_CHUNK_BYTES = 64 * 1024, FIRST_CAPACITY = 64 };

static const struct {
    const char *label;
    uint32_t bits;
} dtype_table[DTYPE_COUNT] = {
#define X(name, bits) {#name, bits},
    DTYPE_MAP(X)
#undef X
};

const char *dtype_label(dtype type)
{
    assert(type < DTYPE_COUNT);
    return dtype_table[type].label;
}

uint32_t dtype_bits(dtype type)
{
    assert(type < DTYPE_COUNT);
    return dtype_table[type].bits;
}

void tensor_index_init(tensor_index *index, mem *ledger)
{
    *index = (tensor_index){0};
    arena_init(&index->memory, ledger, MEM_META, NAME_CHUNK_BYTES);
}

void tensor_index_reset(tensor_index *index)
{
    if (index->memory.ledger == NULL) return; /* zeroed, never initialised */
    mem *ledger = index->memory.ledger;
    mem_free(ledger, index->tensors);
    arena_reset(&index->memory);
    index->tensors = NULL;
    index->count = index->capacity = 0;
}

static leat_status grow_table(tensor_index *index, leat_error *error)
{
    uint64_t wanted = index->capacity == 0 ? FIRST_CAPACITY : index->capacity * 2;
    void *block = index->tensors;
    TRY(mem_resize(index->memory.ledger, MEM_META, &block, wanted, sizeof *index->tensors, "tensor index", error));
    index->tensors = block;
    index->capacity = wanted;
    return LEAT_OK;
}

leat_status tensor_index_add(tensor_index *index, const tensor *added, leat_error *error)
{
    assert(added->name != NULL && added->type < DTYPE_COUNT && added->rank <= TENSOR_RANK_MAX);
    if (index->count >= TENSOR_COUNT_MAX)
        return FAIL(error, MODEL, "the checkpoint has more than %d tensors", TENSOR_COUNT_MAX);
    if (index->count == index->capacity) TRY(grow_table(index, error));
    const char *name = NULL;
    TRY(arena_copy_text(&index->memory, added->name, strlen(added->name), &name, error));
    index->tensors[index->count] = *added;
    index->tensors[index->count].name = name;
    index->count++;
    return LEAT_OK;
}

/* Puts `moving` into the heap tensors[0..count), whose place `hole` is free and whose greatest element is on top. */
static void sift_down(tensor *tensors, uint64_t hole, uint64_t count, tensor moving, tensor_order *order)
{
    for (;;) {
        uint64_t child = 2 * hole + 1;
        if (child >= count) break;
        if (child + 1 < count && order(&tensors[child], &tensors[child + 1]) < 0) child++;
        if (order(&moving, &tensors[child]) >= 0) break;
        tensors[hole] = tensors[child];
        hole = child;
    }
    tensors[hole] = moving;
}

void tensor_sort(tensor *tensors, uint64_t count, tensor_order *order)
{
    bool is_sorted = true; /* writers that sort by name are common */
    for (uint64_t i = 1; i < count && is_sorted; i++) is_sorted = order(&tensors[i - 1], &tensors[i]) <= 0;
    if (is_sorted) return;
    for (uint64_t i = count / 2; i-- > 0;) sift_down(tensors, i, count, tensors[i], order);
    for (uint64_t last = count - 1; last > 0; last--) {
        tensor moving = tensors[last];
        tensors[last] = tensors[0];
        sift_down(tensors, 0, last, moving, order);
    }
}

int tensor_order_by_place(const tensor *a, const tensor *b)
{
    if (a->file_idx != b->file_idx) return a->file_idx < b->file_idx ? -1 : 1;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* The file settles ties, so that a message about duplicates does not depend on the order of loading. */
static int order_by_name(const tensor *a, const tensor *b)
{
    int names = strcmp(a->name, b->name);
    return names != 0 ? names : (a->file_idx > b->file_idx) - (a->file_idx < b->file_idx);
}

leat_status tensor_index_finish(tensor_index *index, const char *const *file_names, leat_error *error)
{
    tensor_sort(index->tensors, index->count, order_by_name);
    for (uint64_t i = 1; i < index->count; i++) {
        const tensor *a = &index->tensors[i - 1], *b = &index->tensors[i];
        if (strcmp(a->name, b->name) != 0) continue;
        return FAIL(error, MODEL, "tensor %.200s occurs twice: in %.120s and in %.120s, expected one place", a->name,
                    file_names[a->file_idx], file_names[b->file_idx]);
    }
    return LEAT_OK;
}

uint64_t tensor_index_lower_bound(const tensor_index *index, const char *name)
{
    uint64_t low = 0, high = index->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (strcmp(index->tensors[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const tensor *tensor_index_find(const tensor_index *index, const char *name)
{
    uint64_t at = tensor_index_lower_bound(index, name);
    if (at == index->count || strcmp(index->tensors[at].name, name) != 0) return NULL;
    return &index->tensors[at];
}

void tensor_shape_text(const tensor *t, char *out, size_t out_bytes)
{
    assert(out_bytes >= 1);
    size_t used = 0;
    for (uint32_t i = 0; i <= t->rank && used < out_bytes; i++) {
        int written = i == t->rank ? snprintf(out + used, out_bytes - used, "%s", t->rank == 0 ? "[]" : "]")
                                   : snprintf(out + used, out_bytes - used, "%s%llu", i == 0 ? "[" : ", ",
                                              (unsigned long long)t->dims[i]);
        used += (size_t)written;
    }
}

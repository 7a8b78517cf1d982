#include "cache/kv_cache.h"

#include "base/bytes.h"

#include <assert.h>

enum { ROW_ALIGN = 64 };

typedef struct layer_store {
    float *keys, *values; /* (kv_head_count, capacity, head_dim) */
    uint32_t kv_head_count, head_dim, window;
    uint32_t capacity; /* positions; a multiple of KV_BLOCK */
} layer_store;

struct kv_cache {
    mem *ledger;
    uint32_t length, ctx, chunk, layer_count;
    uint32_t highest_length; /* since the timeline was last empty: what rings have been overwritten up to */
    layer_store layers[];    /* (layer_count) */
};

/* A query at the end of a chunk sees window - 1 positions before the chunk's first, and the chunk itself. */
static uint32_t layer_capacity(const kv_layer_shape *shape, uint32_t ctx, uint32_t chunk)
{
    uint64_t needed = ctx;
    if (shape->window) needed = min_u64(ctx, (uint64_t)shape->window - 1 + chunk);
    return (uint32_t)round_up(needed, KV_BLOCK);
}

static uint64_t layer_floats(const kv_layer_shape *shape, uint32_t ctx, uint32_t chunk)
{
    return (uint64_t)shape->kv_head_count * layer_capacity(shape, ctx, chunk) * shape->head_dim;
}

uint64_t kv_cache_bytes(const kv_layer_shape *layers, uint32_t layer_count, uint32_t ctx, uint32_t chunk)
{
    uint64_t sum = mem_block_bytes(sizeof(kv_cache) + layer_count * sizeof(layer_store), 0);

    for (uint32_t i = 0; i < layer_count; i++)
        if (layers[i].kv_head_count)
            sum += 2 * mem_block_bytes(layer_floats(&layers[i], ctx, chunk) * sizeof(float), ROW_ALIGN);
    return sum;
}

static leat_status open_layer(kv_cache *c, uint32_t idx, const kv_layer_shape *shape, leat_error *error)
{
    layer_store *l = &c->layers[idx];
    const uint64_t floats = layer_floats(shape, c->ctx, c->chunk);

    if (!shape->kv_head_count) return LEAT_OK;
    l->kv_head_count = shape->kv_head_count;
    l->head_dim = shape->head_dim;
    l->window = shape->window;
    l->capacity = layer_capacity(shape, c->ctx, c->chunk);
    TRY(mem_alloc(c->ledger, MEM_KV, floats, sizeof(float), ROW_ALIGN, "keys of a layer", (void **)&l->keys, error));
    return mem_alloc(c->ledger, MEM_KV, floats, sizeof(float), ROW_ALIGN, "values of a layer", (void **)&l->values,
                     error);
}

leat_status kv_cache_open(mem *ledger, const kv_layer_shape *layers, uint32_t layer_count, uint32_t ctx, uint32_t chunk,
                          kv_cache **out_cache, leat_error *error)
{
    leat_status status = LEAT_OK;
    kv_cache *c;

    TRY(mem_alloc(ledger, MEM_KV, 1, sizeof *c + layer_count * sizeof(layer_store), 0, "kv cache", (void **)&c, error));
    c->ledger = ledger;
    c->ctx = ctx;
    c->chunk = chunk;
    c->layer_count = layer_count;
    for (uint32_t i = 0; i < layer_count; i++) TRY_OR(fail, open_layer(c, i, &layers[i], error));
    *out_cache = c;
    return LEAT_OK;
fail:
    kv_cache_close(&c);
    return status;
}

void kv_cache_close(kv_cache **cache)
{
    kv_cache *c = *cache;

    if (!c) return;
    for (uint32_t i = 0; i < c->layer_count; i++) {
        mem_free(c->ledger, c->layers[i].keys);
        mem_free(c->ledger, c->layers[i].values);
    }
    mem_free(c->ledger, c);
    *cache = NULL;
}

uint32_t kv_cache_length(const kv_cache *cache) { return cache->length; }

void kv_cache_extend(kv_cache *cache, uint32_t count)
{
    assert(count <= cache->chunk && count <= cache->ctx - cache->length);
    cache->length += count;
    if (cache->length > cache->highest_length) cache->highest_length = cache->length;
}

/* A ring holds the `capacity` positions before the highest length; the query at `length` sees back to length - window
 * + 1. */
static bool layer_can_rewind(const layer_store *l, uint32_t highest, uint32_t length)
{
    if (!l->window) return true;
    const uint32_t oldest_stored = highest > l->capacity ? highest - l->capacity : 0;
    const uint32_t oldest_seen = length + 1 > l->window ? length + 1 - l->window : 0;
    return oldest_stored <= oldest_seen;
}

uint32_t kv_cache_rewindable(const kv_cache *cache, uint32_t wanted)
{
    if (wanted >= cache->length) return cache->length;
    for (uint32_t i = 0; i < cache->layer_count; i++)
        if (!layer_can_rewind(&cache->layers[i], cache->highest_length, wanted)) return 0;
    return wanted;
}

void kv_cache_rewind(kv_cache *cache, uint32_t length)
{
    assert(kv_cache_rewindable(cache, length) == length);
    cache->length = length;
    if (!length) cache->highest_length = 0;
}

static float *row_of(const layer_store *l, float *base, uint32_t kv_head, uint32_t position)
{
    assert(kv_head < l->kv_head_count);
    return base + ((size_t)kv_head * l->capacity + position % l->capacity) * l->head_dim;
}

float *kv_cache_key(kv_cache *cache, uint32_t layer, uint32_t kv_head, uint32_t position)
{
    return row_of(&cache->layers[layer], cache->layers[layer].keys, kv_head, position);
}

float *kv_cache_value(kv_cache *cache, uint32_t layer, uint32_t kv_head, uint32_t position)
{
    return row_of(&cache->layers[layer], cache->layers[layer].values, kv_head, position);
}

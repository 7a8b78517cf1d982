/*
 * kv_cache.h - keys and values of one timeline, layer by layer, as float32.
 *
 * A layer stores, for each of its kv heads, rows of head_dim floats: the row of position p is at p modulo the layer's
 * capacity. Capacities are multiples of KV_BLOCK, so that the KV_BLOCK positions of a block anchored at an absolute
 * multiple of KV_BLOCK lie one after the other and attention may walk blocks. A layer with a window keeps a ring that
 * is just long enough for the window and one chunk; the others keep every position.
 *
 *     position      0 ......................... length
 *     full layer    [############################.....]
 *     ring layer                     [############]        the last `capacity` positions
 *
 * Invariants: 1. length <= ctx. 2. After kv_cache_extend(n), n <= chunk, every position that a query among the new ones
 * may see is stored. Threads: writes of distinct positions or heads may run side by side; extend and rewind alone.
 */
#ifndef CACHE_KV_CACHE_H
#define CACHE_KV_CACHE_H

#include "base/mem.h"

#include <stdbool.h>

enum { KV_BLOCK = 64 };

typedef struct kv_layer_shape {
    uint32_t kv_head_count, head_dim;
    uint32_t window; /* 0: keeps everything */
} kv_layer_shape;    /* kv_head_count 0: the layer has no keys of its own */

typedef struct kv_cache kv_cache;

/* Bytes that open takes from MEM_KV. */
uint64_t kv_cache_bytes(const kv_layer_shape *layers, uint32_t layer_count, uint32_t ctx, uint32_t chunk);

MUST_CHECK leat_status kv_cache_open(mem *ledger, const kv_layer_shape *layers, uint32_t layer_count, uint32_t ctx,
                                     uint32_t chunk, kv_cache **out_cache, leat_error *error);
void kv_cache_close(kv_cache **cache);

uint32_t kv_cache_length(const kv_cache *cache);
/* Makes room for `count` positions after the last; their rows are then written by the caller. Asserts length + count <=
 * ctx, count <= chunk. */
void kv_cache_extend(kv_cache *cache, uint32_t count);
/* The largest length <= `wanted` that the timeline can be cut to without losing what its next query must see. */
uint32_t kv_cache_rewindable(const kv_cache *cache, uint32_t wanted);
/* Cuts to a length that kv_cache_rewindable gave. */
void kv_cache_rewind(kv_cache *cache, uint32_t length);

/* The row of one position: head_dim floats. Rows up to the end of the position's block follow. */
float *kv_cache_key(kv_cache *cache, uint32_t layer, uint32_t kv_head, uint32_t position);
float *kv_cache_value(kv_cache *cache, uint32_t layer, uint32_t kv_head, uint32_t position);

#endif

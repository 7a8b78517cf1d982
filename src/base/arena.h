/*
 * arena.h - many small objects that die together: bump allocation from chunks of one memory pool.
 *
 * Threads: one thread at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/mem.h"

typedef struct arena_chunk arena_chunk;

typedef struct arena {
    mem *ledger;
    mem_pool pool;
    size_t chunk_bytes;  /* smallest chunk taken from the ledger */
    arena_chunk *chunks; /* newest first */
} arena;

void arena_init(arena *a, mem *ledger, mem_pool pool, size_t chunk_bytes);
/* Frees every chunk; the arena may be used again. */
void arena_reset(arena *a);

/* Zeroed bytes at a multiple of `align` (power of two, at most 64). */
MUST_CHECK leat_status arena_alloc(arena *a, uint64_t count, uint64_t each_bytes, size_t align, void **out_block,
                                   leat_error *error);
/* A terminated copy of `length` bytes. */
MUST_CHECK leat_status arena_copy_text(arena *a, const char *text, size_t length, const char **out_text,
                                       leat_error *error);

#define ARENA_NEW(a, count, out_pointer, error)                                                                        \
    arena_alloc((a), (count), sizeof **(out_pointer), _Alignof(__typeof__(**(out_pointer))), (void **)(out_pointer),   \
                (error))

#endif

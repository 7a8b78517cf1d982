/*
 * arena.c - a chain of chunks, the newest in front; only the first is filled further.
 *
 * An object that is large next to a chunk gets a chunk of its own behind the first one, so that the room left in the
 * first stays in use. A chunk comes zeroed from the ledger and its bytes are handed out once, so objects are zero too.
 */
#include "base/arena.h"

#include "base/bytes.h"

#include <assert.h>

struct arena_chunk {
    arena_chunk *next;
    uint64_t used_bytes, capacity_bytes; /* both count from the start of the chunk, this header included */
};

enum { ARENA_ALIGN_MAX = 64 };

void arena_init(arena *a, mem *ledger, mem_pool pool, size_t chunk_bytes)
{
    *a = (arena){.ledger = ledger, .pool = pool, .chunk_bytes = chunk_bytes};
}

void arena_reset(arena *a)
{
    while (a->chunks != NULL) {
        arena_chunk *chunk = a->chunks;
        a->chunks = chunk->next;
        mem_free(a->ledger, chunk);
    }
}

/* NULL when the chunk has no room. */
static void *take_from_chunk(arena_chunk *chunk, uint64_t bytes, size_t align)
{
    uint64_t start = round_up(chunk->used_bytes, align), end;
    if (!size_add(start, bytes, &end) || end > chunk->capacity_bytes) return NULL;
    chunk->used_bytes = end;
    return (char *)chunk + start;
}

static leat_status add_chunk(arena *a, uint64_t capacity_bytes, bool in_front, arena_chunk **out_chunk,
                             leat_error *error)
{
    arena_chunk *chunk;
    TRY(mem_alloc(a->ledger, a->pool, 1, capacity_bytes, ARENA_ALIGN_MAX, "an arena chunk", (void **)&chunk, error));
    chunk->used_bytes = sizeof *chunk;
    chunk->capacity_bytes = capacity_bytes;
    arena_chunk **place = in_front || a->chunks == NULL ? &a->chunks : &a->chunks->next;
    chunk->next = *place;
    *place = chunk;
    *out_chunk = chunk;
    return LEAT_OK;
}

leat_status arena_alloc(arena *a, uint64_t count, uint64_t each_bytes, size_t align, void **out_block,
                        leat_error *error)
{
    assert(align >= 1 && align <= ARENA_ALIGN_MAX && (align & (align - 1)) == 0);
    uint64_t bytes, alone_bytes;
    if (!size_mul(count, each_bytes, &bytes) || !size_add(bytes, sizeof(arena_chunk) + ARENA_ALIGN_MAX, &alone_bytes))
        return FAIL(error, NO_MEMORY, "%llu items of %llu bytes are more than an address can count",
                    (unsigned long long)count, (unsigned long long)each_bytes);
    if (bytes == 0) bytes = 1; /* two objects never share an address */

    void *block = a->chunks == NULL ? NULL : take_from_chunk(a->chunks, bytes, align);
    if (block == NULL) {
        bool is_large = alone_bytes > a->chunk_bytes / 2;
        arena_chunk *chunk;
        TRY(add_chunk(a, is_large ? alone_bytes : a->chunk_bytes, !is_large, &chunk, error));
        block = take_from_chunk(chunk, bytes, align);
        assert(block != NULL);
    }
    *out_block = block;
    return LEAT_OK;
}

leat_status arena_copy_text(arena *a, const char *text, size_t length, const char **out_text, leat_error *error)
{
    uint64_t bytes;
    void *copy;
    if (!size_add(length, 1, &bytes)) return FAIL(error, NO_MEMORY, "a text of %zu bytes", length);
    TRY(arena_alloc(a, bytes, 1, 1, &copy, error));
    if (length != 0) memcpy(copy, text, length);
    *out_text = copy;
    return LEAT_OK;
}

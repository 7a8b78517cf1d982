#include "os/prefault.h"

#include "base/bytes.h"
#include "os/own_thread.h"

#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* As many as keep up with a disk where the first use of a page is dear (docs/measurements/streaming.md); a piece is
 * what close may have to wait for. */
enum { PREFAULT_THREADS = 4, STACK_BYTES = 64 * 1024, PIECE_BYTES = 4 << 20 };

typedef struct touched_block {
    uint8_t *begin;
    uint64_t taken_bytes, allowed_bytes, bytes; /* taken <= allowed <= bytes */
    uint32_t touching_count;                    /* threads that touch a piece of it */
} touched_block;

struct prefault {
    mem *ledger;
    own_thread threads[PREFAULT_THREADS];
    pthread_mutex_t mutex;
    pthread_cond_t go_on, touched;
    /* Guarded by mutex. */
    touched_block blocks[PREFAULT_BLOCKS_MAX];
    bool is_closing;
};

/* The next piece that may be touched and whose it is; the mutex is held. NULL: there is none. */
static uint8_t *take_piece(prefault *p, touched_block **out_block, uint64_t *out_bytes)
{
    for (uint32_t i = 0; i < PREFAULT_BLOCKS_MAX; i++) {
        touched_block *b = &p->blocks[i];
        if (b->taken_bytes == b->allowed_bytes) continue;
        uint8_t *piece = b->begin + b->taken_bytes;
        *out_bytes = min_u64(PIECE_BYTES, b->allowed_bytes - b->taken_bytes);
        b->taken_bytes += *out_bytes;
        b->touching_count++;
        *out_block = b;
        return piece;
    }
    return NULL;
}

/* Whole pages alone: what lies beside the block is not ours. */
static void touch(uint8_t *piece, uint64_t bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), address = (uint64_t)(uintptr_t)piece;
    const uint64_t skipped = round_up(address, page) - address;

    if (skipped < bytes && round_down(bytes - skipped, page))
        (void)madvise(piece + skipped, round_down(bytes - skipped, page), MADV_POPULATE_WRITE);
}

static void serve(void *context)
{
    prefault *p = context;

    pthread_mutex_lock(&p->mutex);
    while (!p->is_closing) {
        touched_block *block;
        uint64_t bytes;
        uint8_t *piece = take_piece(p, &block, &bytes);
        if (!piece) {
            pthread_cond_wait(&p->go_on, &p->mutex);
            continue;
        }
        pthread_mutex_unlock(&p->mutex);
        touch(piece, bytes);
        pthread_mutex_lock(&p->mutex);
        if (--block->touching_count == 0) pthread_cond_broadcast(&p->touched);
    }
    pthread_mutex_unlock(&p->mutex);
}

uint64_t prefault_bytes(void)
{
    return mem_block_bytes(sizeof(prefault), 0) + PREFAULT_THREADS * own_thread_bytes(STACK_BYTES);
}

leat_status prefault_open(mem *ledger, prefault **out_prefault, leat_error *error)
{
    leat_status status = LEAT_OK;
    prefault *p;

    TRY(mem_alloc(ledger, MEM_META, 1, sizeof *p, 0, "threads that touch pages", (void **)&p, error));
    p->ledger = ledger;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->go_on, NULL);
    pthread_cond_init(&p->touched, NULL);
    for (int i = 0; i < PREFAULT_THREADS; i++)
        TRY_OR(fail, own_thread_start(ledger, MEM_META, "leat-pages", STACK_BYTES, serve, p, &p->threads[i], error));
    *out_prefault = p;
    return LEAT_OK;
fail:
    prefault_close(&p);
    return status;
}

void prefault_add(prefault *p, uint32_t idx, void *block, uint64_t bytes)
{
    pthread_mutex_lock(&p->mutex);
    p->blocks[idx] = (touched_block){.begin = block, .bytes = bytes};
    pthread_mutex_unlock(&p->mutex);
}

void prefault_allow(prefault *p, uint32_t idx, uint64_t bytes)
{
    touched_block *b = &p->blocks[idx];

    pthread_mutex_lock(&p->mutex);
    b->allowed_bytes = max_u64(b->allowed_bytes, min_u64(bytes, b->bytes));
    pthread_cond_broadcast(&p->go_on);
    pthread_mutex_unlock(&p->mutex);
}

void prefault_stop(prefault *p, uint32_t idx)
{
    touched_block *b = &p->blocks[idx];

    pthread_mutex_lock(&p->mutex);
    b->bytes = b->allowed_bytes = b->taken_bytes;
    while (b->touching_count) pthread_cond_wait(&p->touched, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

void prefault_close(prefault **prefault_ptr)
{
    prefault *p = *prefault_ptr;

    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    p->is_closing = true;
    pthread_cond_broadcast(&p->go_on);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < PREFAULT_THREADS; i++) own_thread_join(&p->threads[i]);
    pthread_cond_destroy(&p->go_on);
    pthread_cond_destroy(&p->touched);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p->ledger, p);
    *prefault_ptr = NULL;
}

/*
 * mem.h - the memory ledger: the only allocator.
 *
 * Every byte belongs to a pool, and the sum over all pools never exceeds the budget: a request that would pass it is
 * refused with LEAT_BUDGET before the system is asked. Memory is zeroed. Blocks of MEM_MAP_BYTES and more are mapped
 * on their own, so that freeing them gives the pages back to the system; from MEM_HUGE_BYTES on they ask for huge
 * pages, but for MEM_KV.
 *
 * Threads: every function may be called from any thread.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/*    name       label in reports           */
#define MEM_POOL_MAP(X)                                                                                                \
    X(TRUNK, "trunk")                                                                                                  \
    X(EXPERTS, "experts")                                                                                              \
    X(KV, "kv")                                                                                                        \
    X(SCRATCH, "scratch")                                                                                              \
    X(TOKENIZER, "tokenizer")                                                                                          \
    X(IO, "io")                                                                                                        \
    X(META, "meta")

typedef enum mem_pool {
#define X(name, label) MEM_##name,
    MEM_POOL_MAP(X)
#undef X
        MEM_POOL_COUNT
} mem_pool;

enum { MEM_MAP_BYTES = 256 * 1024, MEM_HUGE_BYTES = 4 << 20 };

typedef struct mem mem;

typedef struct mem_usage {
    uint64_t current_bytes, peak_bytes;
} mem_usage;

/* `budget_bytes` 0 means unlimited. */
MUST_CHECK leat_status mem_open(uint64_t budget_bytes, mem **out_mem, leat_error *error);
/* Asserts that nothing is still allocated. Sets *ledger to NULL; NULL is accepted. */
void mem_close(mem **ledger);

/* Lowers or raises the budget; LEAT_BUDGET when more than that is already taken. 0 = unlimited. */
MUST_CHECK leat_status mem_set_budget(mem *ledger, uint64_t budget_bytes, leat_error *error);

/* count * each_bytes zeroed bytes at a multiple of `align` (a power of two, 1..65536; 0 = 16). `what` names the
 * object in the error. A request of zero bytes gives a valid unique pointer. */
MUST_CHECK leat_status mem_alloc(mem *ledger, mem_pool pool, uint64_t count, uint64_t each_bytes, size_t align,
                                 const char *what, void **out_block, leat_error *error);
/* Grows or shrinks a block taken with align 0; *block may be NULL. New bytes are zeroed. On failure *block is kept. */
MUST_CHECK leat_status mem_resize(mem *ledger, mem_pool pool, void **block, uint64_t count, uint64_t each_bytes,
                                  const char *what, leat_error *error);
/* What a block of `bytes` taken with `align` costs the budget, header and rounding included: the unit that plans add
 * up. */
uint64_t mem_block_bytes(uint64_t bytes, size_t align);
/* Keeps the first `kept_bytes` of a block: the whole pages behind them go back to the system and out of the account,
 * and read as zero when they are touched again. A larger number takes pages into the account again; LEAT_BUDGET when
 * they have no room there, and nothing has changed. Locked memory stays where it is. Not for blocks that are resized.
 */
MUST_CHECK leat_status mem_keep(mem *ledger, void *block, uint64_t kept_bytes, leat_error *error);
/* NULL is accepted. */
void mem_free(mem *ledger, void *block);

/* Counts memory that is not the ledger's to give, such as what the kernel maps for a ring; LEAT_BUDGET as mem_alloc.
 * Taken back with mem_uncharge, to the byte. */
MUST_CHECK leat_status mem_charge(mem *ledger, mem_pool pool, uint64_t bytes, const char *what, leat_error *error);
void mem_uncharge(mem *ledger, mem_pool pool, uint64_t bytes);

mem_usage mem_pool_usage(const mem *ledger, mem_pool pool);
mem_usage mem_total_usage(const mem *ledger);
uint64_t mem_budget(const mem *ledger);
const char *mem_pool_label(mem_pool pool);

/* Test hook: the n-th allocation from now (1 = the next) fails with LEAT_NO_MEMORY; 0 switches it off. */
void mem_fail_nth(mem *ledger, uint64_t nth);

/* Typed form: MEM_NEW(ledger, POOL, count, &pointer, error). */
#define MEM_NEW(ledger, pool, count, out_pointer, error)                                                               \
    mem_alloc((ledger), MEM_##pool, (count), sizeof **(out_pointer),                                                   \
              _Alignof(__typeof__(**(out_pointer))) < 16 ? 16 : _Alignof(__typeof__(**(out_pointer))), #out_pointer,   \
              (void **)(out_pointer), (error))

#endif

/*
 * mem.c - the memory ledger.
 *
 * Every block has a header directly in front of the bytes that the caller sees:
 *
 *     start                       user                          start + taken
 *       | padding | block_header  | the caller's bytes | rounding |
 *
 * A heap block starts where calloc or aligned_alloc says; a mapped block starts on a page. The ledger counts what is
 * really taken (header, padding and rounding included), because that is what the budget has to bound.
 *
 * Invariants: (1) total = sum over the pools; (2) total never passes the budget: room is reserved before the system is
 * asked, and given back when the system refuses; (3) `peak` never falls.
 *
 * Threads: every function from any thread. The counters are atomics; there is no lock.
 */
#include "base/mem.h"

#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ALIGN_DEFAULT = 16,
    ALIGN_MAX = 65536,
    HEAP_CHUNK_BYTES_MIN = 32, /* glibc: 8 bytes of its own in front, multiples of 16, at least 32 */
    HEAP_OWN_BYTES = 8,
};

static const uint32_t MAGIC_ALIVE = 0x6c656174, MAGIC_FREED = 0x64656164;

typedef enum block_kind { BLOCK_HEAP, BLOCK_MAPPED } block_kind;

typedef struct block_header {
    uint32_t magic;
    uint8_t pool;
    uint8_t kind;
    uint32_t user_offset; /* user - start */
    uint32_t away_pages;  /* at the end of the user's bytes: given back by mem_keep and not counted */
    uint64_t user_bytes;
    uint64_t taken_bytes; /* mapped: the length of the mapping */
} block_header;
_Static_assert(sizeof(block_header) == 32 && sizeof(block_header) % ALIGN_DEFAULT == 0, "user bytes stay aligned");

typedef struct counter {
    _Atomic uint64_t current_bytes, peak_bytes;
} counter;

struct mem {
    _Atomic uint64_t budget_bytes; /* UINT64_MAX: unlimited */
    counter total;
    counter pools[MEM_POOL_COUNT];
    _Atomic uint64_t fail_countdown; /* 0: off */
};

/* What a block of `user_bytes` at `align` would be made of. */
typedef struct block_plan {
    block_kind kind;
    size_t align;
    uint64_t user_offset, user_bytes, taken_bytes;
} block_plan;

static const char *const pool_labels[] = {
#define X(name, label) label,
    MEM_POOL_MAP(X)
#undef X
};

static uint64_t page_bytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

static block_header *header_of(void *user)
{
    block_header *header = (block_header *)user - 1;
    assert(header->magic == MAGIC_ALIVE); /* not ours, freed twice, or written in front of */
    return header;
}

static uint64_t budget_to_store(uint64_t budget_bytes) { return budget_bytes == 0 ? UINT64_MAX : budget_bytes; }

static void raise_peak(counter *c, uint64_t reached)
{
    uint64_t peak = atomic_load(&c->peak_bytes);
    while (peak < reached && !atomic_compare_exchange_weak(&c->peak_bytes, &peak, reached)) {
    }
}

/* false: the budget has no room; *out_taken is then what stood in the way. */
static bool reserve(mem *ledger, uint64_t bytes, uint64_t *out_reached)
{
    uint64_t taken = atomic_load(&ledger->total.current_bytes);
    uint64_t reached;
    do {
        if (!size_add(taken, bytes, &reached) || reached > atomic_load(&ledger->budget_bytes)) {
            *out_reached = taken;
            return false;
        }
    } while (!atomic_compare_exchange_weak(&ledger->total.current_bytes, &taken, reached));
    /* mem_set_budget stores first and looks at the total afterwards; looking again here means that at least one of two
     * callers that meet sees the other. */
    if (reached > atomic_load(&ledger->budget_bytes)) {
        *out_reached = atomic_fetch_sub(&ledger->total.current_bytes, bytes) - bytes;
        return false;
    }
    *out_reached = reached;
    return true;
}

static void unreserve(mem *ledger, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub(&ledger->total.current_bytes, bytes);
    assert(before >= bytes);
    (void)before;
}

static void count_in(mem *ledger, mem_pool pool, uint64_t bytes, uint64_t total_reached)
{
    uint64_t reached = atomic_fetch_add(&ledger->pools[pool].current_bytes, bytes) + bytes;
    raise_peak(&ledger->pools[pool], reached);
    raise_peak(&ledger->total, total_reached);
}

static void count_out(mem *ledger, mem_pool pool, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub(&ledger->pools[pool].current_bytes, bytes);
    assert(before >= bytes);
    (void)before;
    unreserve(ledger, bytes);
}

/* `what` comes from MEM_NEW as the text of an expression: "&slots" reads better as "slots". */
static const char *shown_name(const char *what)
{
    if (what == NULL) return "a block";
    return what[0] == '&' ? what + 1 : what;
}

static leat_status fail_budget(const mem *ledger, mem_pool pool, const char *what, uint64_t asked_bytes,
                               uint64_t taken_bytes, leat_error *error)
{
    return FAIL(error, BUDGET,
                "%s: %llu bytes asked in pool '%s', %llu bytes are taken (%llu of them in this pool), the budget is "
                "%llu bytes",
                shown_name(what), (unsigned long long)asked_bytes, pool_labels[pool], (unsigned long long)taken_bytes,
                (unsigned long long)atomic_load(&ledger->pools[pool].current_bytes),
                (unsigned long long)atomic_load(&ledger->budget_bytes));
}

static leat_status fail_system(const mem *ledger, mem_pool pool, const char *what, uint64_t asked_bytes, int os_errno,
                               leat_error *error)
{
    return FAIL_OS(error, NO_MEMORY, os_errno,
                   "%s: the system gave no %llu bytes for pool '%s' (%llu bytes are taken in all)", shown_name(what),
                   (unsigned long long)asked_bytes, pool_labels[pool],
                   (unsigned long long)atomic_load(&ledger->total.current_bytes));
}

/* true for the one allocation that mem_fail_nth named. */
static bool must_fail_now(mem *ledger)
{
    uint64_t left = atomic_load(&ledger->fail_countdown);
    while (left != 0) {
        if (atomic_compare_exchange_weak(&ledger->fail_countdown, &left, left - 1)) return left == 1;
    }
    return false;
}

static bool plan_block(uint64_t user_bytes, size_t align, block_plan *out_plan)
{
    block_plan plan = {.kind = BLOCK_HEAP, .align = align, .user_bytes = user_bytes};
    if (user_bytes > PTRDIFF_MAX - 4 * (uint64_t)ALIGN_MAX) return false;
    uint64_t page = page_bytes();
    /* In a mapping the header needs no more than one page in front, however large the alignment. */
    plan.user_offset = round_up(sizeof(block_header), align);
    if (user_bytes >= MEM_MAP_BYTES) {
        plan.kind = BLOCK_MAPPED;
        plan.user_offset = min_u64(plan.user_offset, page);
        plan.taken_bytes = round_up(plan.user_offset + user_bytes, page);
    } else {
        plan.taken_bytes =
            max_u64(HEAP_CHUNK_BYTES_MIN, round_up(plan.user_offset + user_bytes + HEAP_OWN_BYTES, ALIGN_DEFAULT));
    }
    *out_plan = plan;
    return true;
}

uint64_t mem_block_bytes(uint64_t bytes, size_t align)
{
    block_plan plan;
    return plan_block(bytes, align == 0 ? ALIGN_DEFAULT : align, &plan) ? plan.taken_bytes : UINT64_MAX;
}

/* Large blocks are filled once and kept: with huge pages that takes one fault where it would take 512, which the disk
 * would have to wait for. The kernel may refuse. Nothing beyond the block becomes resident. Keys and values are written
 * a little at many places: huge pages would make nearly all of them resident, and be cleared, for the first token. */
static void ask_for_huge_pages(char *start, uint64_t bytes, mem_pool pool)
{
    if (bytes >= MEM_HUGE_BYTES && pool != MEM_KV) (void)madvise(start, bytes, MADV_HUGEPAGE);
}

/* Maps so that start + user_offset is a multiple of the alignment: more than needed, then both ends are given back. */
static char *map_block(const block_plan *plan, mem_pool pool)
{
    uint64_t spare = plan->align > page_bytes() ? plan->align : 0;
    char *start = mmap(NULL, plan->taken_bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    if (spare == 0) {
        ask_for_huge_pages(start, plan->taken_bytes, pool);
        return start;
    }
    uint64_t address = (uint64_t)(uintptr_t)start;
    uint64_t head = round_up(address + plan->user_offset, plan->align) - plan->user_offset - address;
    if (head != 0) munmap(start, head);
    if (spare != head) munmap(start + head + plan->taken_bytes, spare - head);
    ask_for_huge_pages(start + head, plan->taken_bytes, pool);
    return start + head;
}

static char *take_from_heap(const block_plan *plan)
{
    uint64_t bytes = plan->user_offset + plan->user_bytes;
    if (plan->align <= ALIGN_DEFAULT) return calloc(1, bytes);
    void *start = NULL;
    if (posix_memalign(&start, plan->align, bytes) != 0) return NULL;
    return memset(start, 0, bytes);
}

static void *place_block(const block_plan *plan, mem_pool pool)
{
    char *start = plan->kind == BLOCK_MAPPED ? map_block(plan, pool) : take_from_heap(plan);
    if (start == NULL) return NULL;
    void *user = start + plan->user_offset;
    block_header *header = (block_header *)user - 1;
    *header = (block_header){
        .magic = MAGIC_ALIVE,
        .pool = (uint8_t)pool,
        .kind = (uint8_t)plan->kind,
        .user_offset = (uint32_t)plan->user_offset,
        .user_bytes = plan->user_bytes,
        .taken_bytes = plan->taken_bytes,
    };
    return user;
}

static leat_status multiply_sizes(uint64_t count, uint64_t each_bytes, const char *what, uint64_t *out_bytes,
                                  leat_error *error)
{
    if (size_mul(count, each_bytes, out_bytes)) return LEAT_OK;
    return FAIL(error, NO_MEMORY, "%s: %llu items of %llu bytes are more than an address can count", shown_name(what),
                (unsigned long long)count, (unsigned long long)each_bytes);
}

leat_status mem_open(uint64_t budget_bytes, mem **out_mem, leat_error *error)
{
    mem *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL) return FAIL_OS(error, NO_MEMORY, ENOMEM, "the memory ledger: the system gave no memory");
    atomic_init(&ledger->budget_bytes, budget_to_store(budget_bytes));
    *out_mem = ledger;
    return LEAT_OK;
}

void mem_close(mem **ledger)
{
    if (*ledger == NULL) return;
    for (int i = 0; i < MEM_POOL_COUNT; i++) assert(atomic_load(&(*ledger)->pools[i].current_bytes) == 0);
    assert(atomic_load(&(*ledger)->total.current_bytes) == 0);
    free(*ledger);
    *ledger = NULL;
}

leat_status mem_set_budget(mem *ledger, uint64_t budget_bytes, leat_error *error)
{
    uint64_t before = atomic_exchange(&ledger->budget_bytes, budget_to_store(budget_bytes));
    uint64_t taken = atomic_load(&ledger->total.current_bytes);
    if (taken > budget_to_store(budget_bytes)) {
        atomic_store(&ledger->budget_bytes, before);
        return FAIL(error, BUDGET, "a budget of %llu bytes: %llu bytes are already taken",
                    (unsigned long long)budget_bytes, (unsigned long long)taken);
    }
    return LEAT_OK;
}

leat_status mem_alloc(mem *ledger, mem_pool pool, uint64_t count, uint64_t each_bytes, size_t align, const char *what,
                      void **out_block, leat_error *error)
{
    assert((unsigned)pool < MEM_POOL_COUNT);
    if (align < ALIGN_DEFAULT) {
        assert((align & (align - 1)) == 0);
        align = ALIGN_DEFAULT;
    }
    assert((align & (align - 1)) == 0 && align <= ALIGN_MAX);

    uint64_t bytes, reached;
    TRY(multiply_sizes(count, each_bytes, what, &bytes, error));
    if (must_fail_now(ledger)) return fail_system(ledger, pool, what, bytes, ENOMEM, error);
    block_plan plan;
    if (!plan_block(bytes, align, &plan)) return fail_system(ledger, pool, what, bytes, ENOMEM, error);
    if (!reserve(ledger, plan.taken_bytes, &reached))
        return fail_budget(ledger, pool, what, plan.taken_bytes, reached, error);
    void *user = place_block(&plan, pool);
    if (user == NULL) {
        unreserve(ledger, plan.taken_bytes);
        return fail_system(ledger, pool, what, plan.taken_bytes, ENOMEM, error);
    }
    count_in(ledger, pool, plan.taken_bytes, reached);
    *out_block = user;
    return LEAT_OK;
}

leat_status mem_charge(mem *ledger, mem_pool pool, uint64_t bytes, const char *what, leat_error *error)
{
    uint64_t reached;
    if (!reserve(ledger, bytes, &reached)) return fail_budget(ledger, pool, what, bytes, reached, error);
    count_in(ledger, pool, bytes, reached);
    return LEAT_OK;
}

void mem_uncharge(mem *ledger, mem_pool pool, uint64_t bytes) { count_out(ledger, pool, bytes); }

/* Moves the block to the size of `plan`, which is of the block's own kind. The old block is gone on success only. */
static void *move_block(void *user, const block_plan *plan)
{
    block_header before = *header_of(user);
    char *start = (char *)user - before.user_offset;
    char *moved = before.kind == BLOCK_MAPPED ? mremap(start, before.taken_bytes, plan->taken_bytes, MREMAP_MAYMOVE)
                                              : realloc(start, plan->user_offset + plan->user_bytes);
    if (moved == NULL || moved == MAP_FAILED) return NULL;
    char *moved_user = moved + plan->user_offset;
    if (plan->user_bytes > before.user_bytes) {
        /* Pages added to a mapping are zero; what the old mapping held behind the block may not be. */
        uint64_t dirty_end = before.kind == BLOCK_MAPPED
                                 ? min_u64(plan->user_bytes, before.taken_bytes - before.user_offset)
                                 : plan->user_bytes;
        if (dirty_end > before.user_bytes) memset(moved_user + before.user_bytes, 0, dirty_end - before.user_bytes);
    }
    block_header *header = (block_header *)moved_user - 1;
    header->user_bytes = plan->user_bytes;
    header->taken_bytes = plan->taken_bytes;
    return moved_user;
}

static leat_status move_to_other_kind(mem *ledger, void **block, uint64_t bytes, const char *what, leat_error *error)
{
    const block_header *header = header_of(*block);
    void *fresh;
    TRY(mem_alloc(ledger, (mem_pool)header->pool, 1, bytes, 0, what, &fresh, error));
    memcpy(fresh, *block, min_u64(bytes, header->user_bytes));
    mem_free(ledger, *block);
    *block = fresh;
    return LEAT_OK;
}

leat_status mem_resize(mem *ledger, mem_pool pool, void **block, uint64_t count, uint64_t each_bytes, const char *what,
                       leat_error *error)
{
    if (*block == NULL) return mem_alloc(ledger, pool, count, each_bytes, 0, what, block, error);
    block_header before = *header_of(*block);
    assert(before.pool == (uint8_t)pool && before.user_offset == sizeof(block_header) && before.away_pages == 0);

    uint64_t bytes, reached = 0;
    TRY(multiply_sizes(count, each_bytes, what, &bytes, error));
    block_plan plan;
    if (!plan_block(bytes, ALIGN_DEFAULT, &plan)) return fail_system(ledger, pool, what, bytes, ENOMEM, error);
    if (plan.kind != (block_kind)before.kind) return move_to_other_kind(ledger, block, bytes, what, error);

    if (must_fail_now(ledger)) return fail_system(ledger, pool, what, bytes, ENOMEM, error);
    uint64_t more = plan.taken_bytes > before.taken_bytes ? plan.taken_bytes - before.taken_bytes : 0;
    if (more != 0 && !reserve(ledger, more, &reached)) return fail_budget(ledger, pool, what, more, reached, error);
    void *moved = move_block(*block, &plan);
    if (moved == NULL) {
        unreserve(ledger, more);
        return fail_system(ledger, pool, what, plan.taken_bytes, ENOMEM, error);
    }
    if (more != 0) count_in(ledger, pool, more, reached);
    if (plan.taken_bytes < before.taken_bytes) count_out(ledger, pool, before.taken_bytes - plan.taken_bytes);
    *block = moved;
    return LEAT_OK;
}

leat_status mem_keep(mem *ledger, void *block, uint64_t kept_bytes, leat_error *error)
{
    block_header *header = header_of(block);
    const uint64_t page = page_bytes(), begin = (uint64_t)(uintptr_t)block;
    const uint64_t end = round_down(begin + header->user_bytes, page);
    const uint64_t kept_end = min_u64(end, round_up(begin + min_u64(kept_bytes, header->user_bytes), page));
    const uint64_t away_pages = (end - kept_end) / page;
    assert(away_pages <= UINT32_MAX);
    if (away_pages < header->away_pages) {
        const uint64_t bytes = (header->away_pages - away_pages) * page;
        TRY(mem_charge(ledger, (mem_pool)header->pool, bytes, "pages that were given back", error));
    } else if (away_pages > header->away_pages) {
        const uint64_t bytes = (away_pages - header->away_pages) * page;
        char *first = (char *)block + (kept_end - begin);
        if (madvise(first, bytes, MADV_DONTNEED) != 0) return LEAT_OK; /* locked: it stays resident, and counted */
        count_out(ledger, (mem_pool)header->pool, bytes);
    }
    header->away_pages = (uint32_t)away_pages;
    return LEAT_OK;
}

void mem_free(mem *ledger, void *block)
{
    if (block == NULL) return;
    block_header *header = header_of(block);
    block_header before = *header;
    char *start = (char *)block - before.user_offset;
    header->magic = MAGIC_FREED;
    if (before.kind == BLOCK_MAPPED) {
        int failed = munmap(start, before.taken_bytes);
        assert(failed == 0);
        (void)failed;
    } else {
        free(start);
    }
    count_out(ledger, (mem_pool)before.pool, before.taken_bytes - before.away_pages * page_bytes());
}

static mem_usage read_counter(const counter *c)
{
    return (mem_usage){
        .current_bytes = atomic_load(&c->current_bytes),
        .peak_bytes = atomic_load(&c->peak_bytes),
    };
}

mem_usage mem_pool_usage(const mem *ledger, mem_pool pool) { return read_counter(&ledger->pools[pool]); }

mem_usage mem_total_usage(const mem *ledger) { return read_counter(&ledger->total); }

uint64_t mem_budget(const mem *ledger)
{
    uint64_t budget = atomic_load(&ledger->budget_bytes);
    return budget == UINT64_MAX ? 0 : budget;
}

const char *mem_pool_label(mem_pool pool) { return (unsigned)pool < MEM_POOL_COUNT ? pool_labels[pool] : "unknown"; }

void mem_fail_nth(mem *ledger, uint64_t nth) { atomic_store(&ledger->fail_countdown, nth); }

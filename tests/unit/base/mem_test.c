#include "support/unit.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/prng.h"

#include <pthread.h>
#include <sys/wait.h>

static bool is_zero(const void *block, size_t bytes)
{
    const unsigned char *p = block;
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] != 0) return false;
    }
    return true;
}

static void blocks_are_zero_and_aligned_at_every_size(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    const uint64_t sizes[] = {
        0, 1, 15, 16, 17, 4095, 4096, 70000, MEM_MAP_BYTES - 1, MEM_MAP_BYTES, MEM_MAP_BYTES + 1, 3 << 20};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (size_t align = 1; align <= 65536; align *= 2) {
            void *block = NULL;
            for (int round = 0; round < 2; round++) { /* the second may get the first one's dirty memory */
                assert_ok(mem_alloc(ledger, MEM_TRUNK, sizes[i], 1, align, "block", &block, &error), &error);
                assert_non_null(block);
                assert_int_equal((uintptr_t)block % max_u64(align, 16), 0);
                assert_true(is_zero(block, sizes[i]));
                memset(block, 0xa5, sizes[i]);
                uint64_t taken = mem_pool_usage(ledger, MEM_TRUNK).current_bytes;
                assert_true(taken > sizes[i]);
                assert_true(taken <= sizes[i] + max_u64(align, 4096) + 8192);
                mem_free(ledger, block);
                assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
            }
        }
    }
    mem_free(ledger, NULL);
    close_empty_ledger(ledger);
}

static void usage_is_counted_per_pool(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    assert_int_equal(mem_budget(ledger), 0);
    uint64_t *io = NULL, *kv = NULL;
    assert_ok(MEM_NEW(ledger, IO, 1000, &io, &error), &error);
    uint64_t io_bytes = mem_pool_usage(ledger, MEM_IO).current_bytes;
    assert_in_range(io_bytes, 8000, 8200);
    assert_ok(MEM_NEW(ledger, KV, 1000000, &kv, &error), &error);
    uint64_t kv_bytes = mem_pool_usage(ledger, MEM_KV).current_bytes;
    assert_in_range(kv_bytes, 8000000, 8010000);
    assert_int_equal(mem_total_usage(ledger).current_bytes, io_bytes + kv_bytes);
    mem_free(ledger, kv);
    assert_int_equal(mem_pool_usage(ledger, MEM_KV).current_bytes, 0);
    assert_int_equal(mem_pool_usage(ledger, MEM_KV).peak_bytes, kv_bytes);
    assert_int_equal(mem_total_usage(ledger).current_bytes, io_bytes);
    assert_int_equal(mem_total_usage(ledger).peak_bytes, io_bytes + kv_bytes);
    mem_free(ledger, io);
    assert_string_equal(mem_pool_label(MEM_KV), "kv");
    close_empty_ledger(ledger);
}

static void the_budget_is_never_passed(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(1 << 20);
    assert_int_equal(mem_budget(ledger), 1 << 20);
    void *first = NULL, *second = NULL;
    assert_ok(mem_alloc(ledger, MEM_EXPERTS, 600, 1024, 0, "slots", &first, &error), &error);
    assert_fails(BUDGET, mem_alloc(ledger, MEM_KV, 500, 1024, 0, "&blocks", &second, &error), &error);
    assert_null(second);
    assert_text_has(error.text, "blocks: ");
    assert_true(strchr(error.text, '&') == NULL);
    assert_text_has(error.text, "'kv'");
    assert_text_has(error.text, "1048576");
    char taken[32];
    snprintf(taken, sizeof taken, "%llu bytes are taken", (unsigned long long)mem_total_usage(ledger).current_bytes);
    assert_text_has(error.text, taken);
    assert_int_equal(mem_pool_usage(ledger, MEM_KV).peak_bytes, 0); /* what was refused was never counted */

    assert_fails(BUDGET, mem_resize(ledger, MEM_EXPERTS, &first, 1100, 1024, "slots", &error), &error);
    assert_ok(mem_alloc(ledger, MEM_KV, 300, 1024, 0, "blocks", &second, &error), &error);
    assert_fails(BUDGET, mem_set_budget(ledger, 900 * 1024, &error), &error);
    assert_int_equal(mem_budget(ledger), 1 << 20);
    mem_free(ledger, second);
    assert_ok(mem_set_budget(ledger, 900 * 1024, &error), &error);
    assert_fails(BUDGET, mem_alloc(ledger, MEM_KV, 300, 1024, 0, "blocks", &second, &error), &error);
    assert_ok(mem_set_budget(ledger, 0, &error), &error);
    assert_ok(mem_alloc(ledger, MEM_KV, 300, 1024, 0, "blocks", &second, &error), &error);
    mem_free(ledger, first);
    mem_free(ledger, second);
    close_empty_ledger(ledger);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    void *block = &error;
    assert_fails(NO_MEMORY, mem_alloc(ledger, MEM_META, UINT64_MAX / 2, 3, 0, "names", &block, &error), &error);
    assert_text_has(error.text, "names");
    assert_fails(NO_MEMORY, mem_alloc(ledger, MEM_META, UINT64_MAX, 1, 65536, "names", &block, &error), &error);
    assert_fails(NO_MEMORY, mem_alloc(ledger, MEM_META, INT64_MAX, 1, 0, "names", &block, &error), &error);
    assert_fails(NO_MEMORY, mem_alloc(ledger, MEM_META, UINT64_C(1) << 60, 1, 0, "names", &block, &error), &error);
    assert_ptr_equal(block, &error);
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    for (uint64_t bytes = 100; bytes <= MEM_MAP_BYTES;
         bytes += MEM_MAP_BYTES - 100) { /* a heap block, a mapped block */
        unsigned char *kept = NULL;
        assert_ok(mem_resize(ledger, MEM_META, (void **)&kept, bytes, 1, "names", &error), &error);
        memset(kept, 9, bytes);
        mem_usage before = mem_total_usage(ledger);
        assert_fails(NO_MEMORY, mem_resize(ledger, MEM_META, (void **)&kept, UINT64_C(1) << 60, 1, "names", &error),
                     &error);
        assert_fails(NO_MEMORY, mem_resize(ledger, MEM_META, (void **)&kept, UINT64_MAX, 2, "names", &error), &error);
        assert_int_equal(mem_total_usage(ledger).current_bytes, before.current_bytes);
        assert_int_equal(mem_total_usage(ledger).peak_bytes, before.peak_bytes);
        for (uint64_t i = 0; i < bytes; i += 50) assert_int_equal(kept[i], 9);
        mem_free(ledger, kept);
    }
    close_empty_ledger(ledger);
}

static uint64_t read_address_space_bytes(void)
{
    unsigned long long pages = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%llu", &pages), 1);
    fclose(in);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What the ledger counts for mapped blocks is what the system gave, also where the alignment costs a detour. */
static void the_ledger_agrees_with_the_system(void **state)
{
    (void)state;
    if (!has_proc()) skip_because("/proc is not mounted");
    enum { BLOCKS = 256 };
    static void *blocks[BLOCKS];
    leat_error error;
    mem *ledger = open_ledger(0);
    for (size_t align = 16; align <= 65536; align *= 16) {
        uint64_t before = read_address_space_bytes();
        for (int i = 0; i < BLOCKS; i++)
            assert_ok(
                mem_alloc(ledger, MEM_EXPERTS, MEM_MAP_BYTES + 4096 * (i % 7), 1, align, "slot", &blocks[i], &error),
                &error);
        uint64_t given = read_address_space_bytes() - before, counted = mem_total_usage(ledger).current_bytes;
        assert_in_range(given, counted, counted + (1 << 20));
        for (int i = 0; i < BLOCKS; i++) mem_free(ledger, blocks[i]);
        assert_in_range(read_address_space_bytes(), 0, before + (1 << 20)); /* and freeing gave it back */
    }
    close_empty_ledger(ledger);
}

/* Through all the borders between heap and mapping, against a plain model of what the bytes should be. */
static void resizing_keeps_the_bytes_and_zeroes_new_ones(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    prng generator;
    prng_init(&generator, 5);
    enum { BYTES_MAX = 1 << 20 };
    unsigned char *model = calloc(1, BYTES_MAX);
    unsigned char *block = NULL;
    uint64_t bytes = 0;
    for (int i = 0; i < 300; i++) {
        uint64_t wanted = prng_below(&generator, UINT64_C(1) << prng_below(&generator, 21));
        assert_ok(mem_resize(ledger, MEM_META, (void **)&block, wanted, 1, "text", &error), &error);
        if (wanted < bytes) memset(model + wanted, 0, bytes - wanted);
        bytes = wanted;
        assert_memory_equal(block, model, bytes);
        for (uint64_t k = 0; k < bytes; k += 97) block[k] = model[k] = (unsigned char)prng_next(&generator);
        if (bytes != 0) block[bytes - 1] = model[bytes - 1] = 0xee;
        assert_in_range(mem_pool_usage(ledger, MEM_META).current_bytes, bytes + 32, bytes + 32 + 4096 + 32);
    }
    mem_free(ledger, block);
    free(model);
    close_empty_ledger(ledger);
}

static void the_nth_allocation_fails(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    void *a = NULL, *b = NULL, *c = NULL;
    mem_fail_nth(ledger, 2);
    assert_ok(mem_alloc(ledger, MEM_META, 10, 1, 0, "a", &a, &error), &error);
    assert_fails(NO_MEMORY, mem_alloc(ledger, MEM_META, 10, 1, 0, "b", &b, &error), &error);
    assert_null(b);
    assert_ok(mem_alloc(ledger, MEM_META, 10, 1, 0, "c", &c, &error), &error);
    memset(c, 7, 10);
    mem_fail_nth(ledger, 1);
    void *before = c;
    assert_fails(NO_MEMORY, mem_resize(ledger, MEM_META, &c, 20, 1, "c", &error), &error);
    assert_ptr_equal(c, before);
    mem_fail_nth(ledger, 1);
    assert_fails(NO_MEMORY, mem_resize(ledger, MEM_META, &c, MEM_MAP_BYTES, 2, "c", &error), &error);
    assert_int_equal(((char *)c)[9], 7);
    mem_fail_nth(ledger, 1);
    mem_fail_nth(ledger, 0);
    assert_ok(mem_resize(ledger, MEM_META, &c, 20, 1, "c", &error), &error);
    mem_free(ledger, a);
    mem_free(ledger, c);
    close_empty_ledger(ledger);
}

/* Runs in a child, because the ledger's answer is an assertion. */
static bool survives(void (*misuse)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)freopen("/dev/null", "w", stderr);
        misuse();
        _exit(0);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFEXITED(result) && WEXITSTATUS(result) == 0;
}

static mem *fresh_ledger(void)
{
    mem *ledger = NULL;
    if (mem_open(0, &ledger, NULL) != LEAT_OK) _exit(1);
    return ledger;
}

static void *fresh_block(mem *ledger)
{
    void *block = NULL;
    if (mem_alloc(ledger, MEM_META, 100, 1, 0, "block", &block, NULL) != LEAT_OK) _exit(1);
    return block;
}

static void do_right(void)
{
    mem *ledger = fresh_ledger();
    mem_free(ledger, fresh_block(ledger));
    mem_close(&ledger);
}

static void write_in_front(void)
{
    mem *ledger = fresh_ledger();
    uint32_t *block = fresh_block(ledger);
    memset(block - 8, 0, 32);
    mem_free(ledger, block);
}

static void forget_a_block(void)
{
    mem *ledger = fresh_ledger();
    (void)fresh_block(ledger);
    mem_close(&ledger);
}

static void misuse_is_caught(void **state)
{
    (void)state;
#ifdef NDEBUG
    skip_because("built without assertions");
#endif
    assert_true(survives(do_right));
    assert_false(survives(write_in_front));
    assert_false(survives(forget_a_block));
}

enum { STORM_THREADS = 4, STORM_ROUNDS = 3000, STORM_BUDGET = 512 * 1024 };

static void *allocate_in_a_storm(void *argument)
{
    mem *ledger = argument;
    prng generator;
    prng_init(&generator, (uint64_t)(uintptr_t)&generator);
    void *blocks[8] = {0};
    for (int i = 0; i < STORM_ROUNDS; i++) {
        size_t which = prng_below(&generator, 8);
        mem_free(ledger, blocks[which]);
        blocks[which] = NULL;
        leat_error error;
        uint64_t bytes = prng_below(&generator, i % 100 == 0 ? 300000 : 40000);
        leat_status status =
            mem_alloc(ledger, (mem_pool)(which % MEM_POOL_COUNT), bytes, 1, 0, "b", &blocks[which], &error);
        if (status != LEAT_OK && status != LEAT_BUDGET) return "an unexpected status";
        if (mem_total_usage(ledger).current_bytes > STORM_BUDGET + 1200000) return "far over the budget";
    }
    for (size_t i = 0; i < 8; i++) mem_free(ledger, blocks[i]);
    return NULL;
}

static void many_threads_share_the_budget(void **state)
{
    (void)state;
    mem *ledger = open_ledger(STORM_BUDGET);
    pthread_t threads[STORM_THREADS];
    for (int i = 0; i < STORM_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_in_a_storm, ledger), 0);
    for (int i = 0; i < STORM_THREADS; i++) {
        void *complaint;
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        assert_null(complaint);
    }
    mem_usage total = mem_total_usage(ledger);
    assert_in_range(total.peak_bytes, STORM_BUDGET / 4, STORM_BUDGET);
    for (int i = 0; i < MEM_POOL_COUNT; i++) assert_int_equal(mem_pool_usage(ledger, (mem_pool)i).current_bytes, 0);
    close_empty_ledger(ledger);
}

/* Pages behind what is kept leave the account and memory; taking them back needs room; free counts what is left. */
static void what_is_not_kept_is_not_counted(void **state)
{
    (void)state;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = 200 * page + 100;
    const size_t aligns[] = {0, 4096, 65536};
    for (size_t i = 0; i < ARRAY_COUNT(aligns); i++) {
        mem *ledger = open_ledger(300 * page);
        leat_error error;
        void *block, *other;
        assert_ok(mem_alloc(ledger, MEM_EXPERTS, 1, bytes, aligns[i], "block", &block, &error), &error);
        const uint64_t full = mem_total_usage(ledger).current_bytes;
        memset(block, 1, bytes);
        assert_ok(mem_keep(ledger, block, 10 * page + 1, &error), &error);
        const uint64_t away = full - mem_pool_usage(ledger, MEM_EXPERTS).current_bytes;
        assert_in_range(away, 188 * page, 190 * page);
        assert_int_equal(away % page, 0);
        assert_int_equal(((uint8_t *)block)[10 * page], 1);
        assert_int_equal(((uint8_t *)block)[100 * page], 0); /* new */
        assert_ok(mem_keep(ledger, block, 50 * page, &error), &error);
        assert_in_range(full - mem_total_usage(ledger).current_bytes, 149 * page, 150 * page);
        assert_ok(mem_alloc(ledger, MEM_KV, 1, 200 * page, 0, "other", &other, &error), &error);
        const uint64_t taken = mem_total_usage(ledger).current_bytes;
        assert_fails(BUDGET, mem_keep(ledger, block, bytes, &error), &error);
        assert_int_equal(mem_total_usage(ledger).current_bytes, taken);
        mem_free(ledger, other);
        assert_ok(mem_keep(ledger, block, UINT64_MAX, &error), &error);
        assert_int_equal(mem_total_usage(ledger).current_bytes, full);
        assert_ok(mem_keep(ledger, block, 0, &error), &error);
        mem_free(ledger, block);
        close_empty_ledger(ledger);
    }
}

static void close_accepts_null(void **state)
{
    (void)state;
    mem *ledger = NULL;
    mem_close(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_zero_and_aligned_at_every_size),
        cmocka_unit_test(usage_is_counted_per_pool),
        cmocka_unit_test(the_budget_is_never_passed),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(the_ledger_agrees_with_the_system),
        cmocka_unit_test(resizing_keeps_the_bytes_and_zeroes_new_ones),
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(what_is_not_kept_is_not_counted),
        cmocka_unit_test(misuse_is_caught),
        cmocka_unit_test(many_threads_share_the_budget),
        cmocka_unit_test(close_accepts_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

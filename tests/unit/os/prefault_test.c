/*
 * Pages that are allowed become resident, the others do not, and contents stay. The system says what is resident.
 */
#include "os/prefault.h"

#include "support/unit.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK_BYTES = 32 << 20, ALLOWED_BYTES = 10 << 20 };

static uint8_t *map_block(void)
{
    uint8_t *block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(block != MAP_FAILED);
    assert_true(madvise(block, BLOCK_BYTES, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    return block;
}

static size_t resident_pages(uint8_t *begin, size_t bytes)
{
    static unsigned char pages[BLOCK_BYTES / 4096];
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t count = 0;

    assert_int_equal(mincore(begin, bytes, pages), 0);
    for (size_t i = 0; i < bytes / page; i++) count += pages[i] & 1;
    return count;
}

static void skip_where_the_system_cannot(void)
{
    uint8_t *block = map_block();
    const bool can = madvise(block, 4096, 23 /* MADV_POPULATE_WRITE */) == 0;

    munmap(block, BLOCK_BYTES);
    if (can) return;
    print_message("SKIPPED: the system has no MADV_POPULATE_WRITE\n");
    skip();
}

static void test_what_is_allowed_becomes_resident(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    prefault *p = NULL;
    leat_error error = {0};

    (void)state;
    skip_where_the_system_cannot();
    mem *ledger = open_ledger(0);
    uint8_t *block = map_block(), *other = map_block();
    assert_ok(prefault_open(ledger, &p, &error), &error);
    assert_int_equal(mem_total_usage(ledger).current_bytes, prefault_bytes());
    block[5] = 77;
    block[ALLOWED_BYTES - 1] = 78;
    prefault_add(p, 0, block, BLOCK_BYTES);
    prefault_add(p, 1, other + 100, BLOCK_BYTES - 200); /* only whole pages of it are touched */
    prefault_allow(p, 0, ALLOWED_BYTES);
    alarm(120); /* what never becomes resident must not hang the tests */
    while (resident_pages(block, ALLOWED_BYTES) < ALLOWED_BYTES / page) usleep(1000);
    prefault_allow(p, 0, 1); /* less than before: nothing */
    prefault_allow(p, 1, UINT64_MAX);
    while (resident_pages(other + page, BLOCK_BYTES - 2 * page) == 0) usleep(1000);
    prefault_close(&p);
    prefault_close(&p);
    alarm(0);
    assert_int_equal(resident_pages(block + ALLOWED_BYTES, BLOCK_BYTES - ALLOWED_BYTES), 0);
    assert_int_equal(resident_pages(other, page) + resident_pages(other + BLOCK_BYTES - page, page), 0);
    assert_int_equal(block[5] + block[ALLOWED_BYTES - 1], 77 + 78);
    munmap(block, BLOCK_BYTES);
    munmap(other, BLOCK_BYTES);
    close_empty_ledger(ledger);
}

/* Whatever was under way: what is given back after stop stays away. */
static void test_nothing_is_touched_after_stop(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    prefault *p = NULL;
    leat_error error = {0};

    (void)state;
    skip_where_the_system_cannot();
    mem *ledger = open_ledger(0);
    uint8_t *block = map_block();
    assert_ok(prefault_open(ledger, &p, &error), &error);
    for (int i = 0; i < 50; i++) {
        prefault_add(p, 0, block, BLOCK_BYTES);
        prefault_allow(p, 0, BLOCK_BYTES);
        while (i % 2 && resident_pages(block, BLOCK_BYTES) == 0) usleep(10);
        prefault_stop(p, 0);
        assert_int_equal(madvise(block, BLOCK_BYTES, MADV_DONTNEED), 0);
        prefault_allow(p, 0, BLOCK_BYTES);
        usleep(100);
        assert_int_equal(resident_pages(block + page, BLOCK_BYTES - page), 0);
    }
    prefault_close(&p);
    munmap(block, BLOCK_BYTES);
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_allowed_becomes_resident),
                                       cmocka_unit_test(test_nothing_is_touched_after_stop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

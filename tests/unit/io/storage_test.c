/* storage_test.c - where an extent's payload lies in its window: pure arithmetic over made-up alignments. */
#include "io/storage.h"

#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const file files[] = {
    {.fd = -1, .offset_align = 1, .memory_align = 1},                      /* buffered */
    {.fd = -1, .is_direct = true, .offset_align = 512, .memory_align = 4}, /* a modern NVMe drive */
    {.fd = -1, .is_direct = true, .offset_align = 4096, .memory_align = 512},
    {.fd = -1, .is_direct = true, .offset_align = 512, .memory_align = 65536}, /* memory stricter than the file */
};
static const char *const names[] = {"a", "b", "c", "d"};
static const file_set set = {files, names, 4};

static void check_window(uint32_t file_idx, uint64_t offset, uint64_t bytes, uint64_t window_bytes,
                         uint64_t payload_offset)
{
    extent what = {file_idx, offset, bytes};
    assert_int_equal(storage_window_bytes(&set, &what), window_bytes);
    assert_int_equal(storage_payload_offset(&set, &what), payload_offset);
}

static void encloses_the_extent(void **state)
{
    (void)state;
    check_window(0, 12345, 77, 77, 0);
    check_window(1, 1024, 512, 512, 0);
    check_window(1, 1023, 1, 512, 511);
    check_window(1, 1023, 2, 1024, 511);
    check_window(2, 4095, 4098, 3 * 4096, 4095);
    check_window(2, 1ull << 62, 4096, 4096, 0);
    check_window(3, 1025, 600, 65536, 1); /* padded, so that the next window begins aligned too */
}

static void is_nothing_for_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) check_window(i, 1000001, 0, 0, 0);
}

static void says_so_when_the_end_does_not_fit(void **state)
{
    (void)state;
    check_window(1, 5, UINT64_MAX, UINT64_MAX, 5);
    check_window(1, 0, UINT64_MAX - 1, UINT64_MAX, 0);
    check_window(3, 0, UINT64_MAX - 65000, UINT64_MAX, 0);
}

/* The promise to whoever packs windows of one file one after the other. */
static void is_packable(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        for (uint64_t offset = 0; offset < 9000; offset += 37)
            for (uint64_t bytes = 1; bytes < 9000; bytes += 411) {
                extent what = {i, offset, bytes};
                uint64_t window_bytes = storage_window_bytes(&set, &what), begin = storage_payload_offset(&set, &what);
                assert_int_equal(window_bytes % files[i].memory_align, 0);
                assert_int_equal(window_bytes % files[i].offset_align, 0);
                assert_int_equal((offset - begin) % files[i].offset_align, 0);
                assert_true(begin + bytes <= window_bytes);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encloses_the_extent),
        cmocka_unit_test(is_nothing_for_nothing),
        cmocka_unit_test(says_so_when_the_end_does_not_fit),
        cmocka_unit_test(is_packable),
    };
    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}

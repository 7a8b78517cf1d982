#include "support/unit.h"

#include "base/arena.h"
#include "base/prng.h"

static void objects_are_zero_aligned_and_apart(void **state)
{
    (void)state;
    enum { OBJECTS = 2000 };
    static unsigned char *objects[OBJECTS];
    static size_t sizes[OBJECTS];
    leat_error error;
    mem *ledger = open_ledger(0);
    arena a;
    arena_init(&a, ledger, MEM_META, 1024);
    prng generator;
    prng_init(&generator, 11);
    for (int i = 0; i < OBJECTS; i++) {
        size_t align = (size_t)1 << prng_below(&generator, 7);
        sizes[i] = prng_below(&generator, prng_below(&generator, 50) == 0 ? 5000 : 60);
        void *block;
        assert_ok(arena_alloc(&a, sizes[i], 1, align, &block, &error), &error);
        objects[i] = block;
        assert_int_equal((uintptr_t)block % align, 0);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(objects[i][k], 0);
        memset(block, i & 255, sizes[i]);
    }
    for (int i = 0; i < OBJECTS; i++) { /* nobody wrote into a neighbour */
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(objects[i][k], i & 255);
    }
    assert_true(mem_pool_usage(ledger, MEM_META).current_bytes > 0);
    arena_reset(&a);
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);

    uint64_t *numbers; /* usable again, and zero again */
    assert_ok(ARENA_NEW(&a, 10, &numbers, &error), &error);
    for (int i = 0; i < 10; i++) assert_int_equal(numbers[i], 0);
    void *empty, *another; /* nothing is also a thing of its own */
    assert_ok(arena_alloc(&a, 0, 8, 1, &empty, &error), &error);
    assert_ok(arena_alloc(&a, 8, 0, 1, &another, &error), &error);
    assert_ptr_not_equal(empty, another);
    arena_reset(&a);
    close_empty_ledger(ledger);
}

static void a_large_object_leaves_the_open_chunk_open(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    arena a;
    arena_init(&a, ledger, MEM_META, 4096);
    void *small, *large, *next;
    assert_ok(arena_alloc(&a, 1, 16, 16, &small, &error), &error);
    assert_ok(arena_alloc(&a, 1, 100000, 16, &large, &error), &error);
    assert_ok(arena_alloc(&a, 1, 16, 16, &next, &error), &error);
    assert_ptr_equal((char *)small + 16, next);
    arena_reset(&a);
    close_empty_ledger(ledger);
}

static void texts_are_copied_and_terminated(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    arena a;
    arena_init(&a, ledger, MEM_META, 256);
    const char *copy, *empty;
    assert_ok(arena_copy_text(&a, "a tensor's name", 8, &copy, &error), &error);
    assert_string_equal(copy, "a tensor");
    assert_ok(arena_copy_text(&a, NULL, 0, &empty, &error), &error);
    assert_string_equal(empty, "");
    assert_true(empty != copy);
    arena_reset(&a);
    close_empty_ledger(ledger);
}

static void failures_leave_the_arena_whole(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    arena a;
    arena_init(&a, ledger, MEM_META, 256);
    void *block = &a;
    assert_fails(NO_MEMORY, arena_alloc(&a, UINT64_MAX / 2, 3, 8, &block, &error), &error);
    assert_fails(NO_MEMORY, arena_alloc(&a, UINT64_MAX, 1, 8, &block, &error), &error);
    assert_fails(NO_MEMORY, arena_alloc(&a, UINT64_MAX - 90, 1, 8, &block, &error), &error);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        mem_fail_nth(ledger, nth);
        leat_status status = LEAT_OK;
        int done = 0;
        for (; done < 100 && status == LEAT_OK; done++) status = arena_alloc(&a, 1, 90, 8, &block, &error);
        assert_int_equal(status, LEAT_NO_MEMORY);
        assert_ok(arena_alloc(&a, 1, 90, 8, &block, &error), &error); /* goes on afterwards */
        arena_reset(&a);
    }
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zero_aligned_and_apart),
        cmocka_unit_test(a_large_object_leaves_the_open_chunk_open),
        cmocka_unit_test(texts_are_copied_and_terminated),
        cmocka_unit_test(failures_leave_the_arena_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The table of tensors: order, search, duplicates, the growth of the table, and what happens when memory ends. */
#include "format/tensor_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static mem *ledger;

static int open_ledger(void **state)
{
    (void)state;
    return mem_open(0, &ledger, NULL) != LEAT_OK;
}

static int close_ledger(void **state)
{
    (void)state;
    mem_close(&ledger); /* asserts that nothing is left */
    return 0;
}

static const char *const files[] = {"a.safetensors", "b.safetensors"};

static leat_status add(tensor_index *index, const char *name, uint32_t file_idx, leat_error *error)
{
    tensor t = {
        .name = name, .type = DTYPE_F32, .rank = 1, .dims = {7}, .file_idx = file_idx, .offset = 10, .bytes = 28};
    return tensor_index_add(index, &t, error);
}

/* Every order of arrival gives the same table, and every name is found, none beside. */
static void finds_what_was_added(void **state)
{
    (void)state;
    for (unsigned count = 0; count < 300; count = count * 2 + 1) {
        tensor_index index;
        char name[32];
        tensor_index_init(&index, ledger);
        for (unsigned i = 0; i < count; i++) {
            snprintf(name, sizeof name, "t.%u", i * 167 % count);
            assert_int_equal(add(&index, name, 0, NULL), LEAT_OK);
        }
        assert_int_equal(tensor_index_finish(&index, files, NULL), LEAT_OK);
        for (unsigned i = 1; i < index.count; i++)
            assert_true(strcmp(index.tensors[i - 1].name, index.tensors[i].name) < 0);
        for (unsigned i = 0; i < count; i++) {
            snprintf(name, sizeof name, "t.%u", i);
            const tensor *found = tensor_index_find(&index, name);
            assert_non_null(found);
            assert_string_equal(found->name, name);
            assert_int_equal(found->bytes, 28);
        }
        assert_null(tensor_index_find(&index, "t."));
        assert_null(tensor_index_find(&index, "t.00"));
        assert_null(tensor_index_find(&index, "zzz"));
        assert_int_equal(tensor_index_lower_bound(&index, ""), 0);
        assert_int_equal(tensor_index_lower_bound(&index, "u"), count);
        tensor_index_reset(&index);
        tensor_index_reset(&index);
    }
}

static void names_the_duplicate_and_both_files(void **state)
{
    (void)state;
    tensor_index index;
    leat_error error = {0};
    tensor_index_init(&index, ledger);
    assert_int_equal(add(&index, "norm.weight", 1, NULL), LEAT_OK);
    assert_int_equal(add(&index, "embed", 0, NULL), LEAT_OK);
    assert_int_equal(add(&index, "norm.weight", 0, NULL), LEAT_OK);
    assert_int_equal(tensor_index_finish(&index, files, &error), LEAT_MODEL);
    assert_non_null(strstr(error.text, "norm.weight"));
    assert_non_null(strstr(error.text, "a.safetensors"));
    assert_non_null(strstr(error.text, "b.safetensors"));
    tensor_index_reset(&index);
}

static void resets_a_zeroed_index(void **state)
{
    (void)state;
    tensor_index index = {0};
    tensor_index_reset(&index);
}

static void shows_shapes(void **state)
{
    (void)state;
    char text[64];
    tensor t = {.rank = 2, .dims = {2816, 704}};
    tensor_shape_text(&t, text, sizeof text);
    assert_string_equal(text, "[2816, 704]");
    t.rank = 0;
    tensor_shape_text(&t, text, sizeof text);
    assert_string_equal(text, "[]");
    t = (tensor){.rank = 8, .dims = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    memset(text, 'x', sizeof text);
    tensor_shape_text(&t, text, 9);
    assert_string_equal(text, "[1844674");
    assert_int_equal(text[9], 'x');
}

static void knows_the_types(void **state)
{
    (void)state;
    assert_string_equal(dtype_label(DTYPE_BF16), "BF16");
    assert_int_equal(dtype_bits(DTYPE_BF16), 16);
    assert_string_equal(dtype_label(DTYPE_F4), "F4");
    assert_int_equal(dtype_bits(DTYPE_F4), 4);
    assert_int_equal(dtype_bits(DTYPE_C64), 64);
}

/* Whatever allocation fails, what is there stays usable and nothing leaks. */
static void survives_the_end_of_memory(void **state)
{
    (void)state;
    bool has_failed = true;
    for (uint64_t nth = 1; has_failed; nth++) {
        tensor_index index;
        char name[32];
        has_failed = false;
        tensor_index_init(&index, ledger);
        mem_fail_nth(ledger, nth);
        for (unsigned i = 0; i < 200 && !has_failed; i++) {
            leat_error error = {0};
            snprintf(name, sizeof name, "t.%03u", i);
            leat_status status = add(&index, name, 0, &error);
            has_failed = status != LEAT_OK;
            assert_int_equal(index.count, i + !has_failed);
            if (has_failed) assert_int_equal(status, LEAT_NO_MEMORY);
        }
        mem_fail_nth(ledger, 0);
        assert_int_equal(tensor_index_finish(&index, files, NULL), LEAT_OK);
        tensor_index_reset(&index);
        assert_true(nth < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),  cmocka_unit_test(names_the_duplicate_and_both_files),
        cmocka_unit_test(resets_a_zeroed_index), cmocka_unit_test(shows_shapes),
        cmocka_unit_test(knows_the_types),       cmocka_unit_test(survives_the_end_of_memory),
    };
    return cmocka_run_group_tests(tests, open_ledger, close_ledger);
}

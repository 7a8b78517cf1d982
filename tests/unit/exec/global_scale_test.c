/*
 * global_scale_test.c - an NVFP4 matrix with a global scale that is no expert: resident it has its scale, by rows it is
 * refused.
 */
#include "unit.h"

#include "exec/row_reader.h"
#include "exec/trunk.h"

/* Codes of 16 columns, one group scale (1.0 as E4M3), the global scale 1344: half of what stands for a factor of 1. */
static const uint8_t stored[16] = {0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
                                   0x38, 0,    0,    0,    0x00, 0x00, 0xa8, 0x44};

typedef struct world {
    char folder[UNIT_PATH_BYTES];
    mem *ledger;
    file shard;
    const char *name;
    file_set files;
    storage *reads;
    weight_part parts[1][PART_COUNT], scale_part;
    weight table;
    weight_place place;
} world;

static void open_world(world *w)
{
    leat_error error;
    char path[2 * UNIT_PATH_BYTES];
    make_folder(w->folder);
    w->ledger = open_ledger(0);
    snprintf(path, sizeof path, "%s/shard", w->folder);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(stored, 1, sizeof stored, out), sizeof stored);
    assert_int_equal(fclose(out), 0);
    assert_ok(file_open(AT_FDCWD, path, false, FILE_BUFFERED, &w->shard, &error), &error);
    w->name = "shard";
    w->files = (file_set){&w->shard, &w->name, 1};
    assert_ok(storage_threads_open(w->ledger, &w->files, 1, 8, &w->reads, &error), &error);
    w->parts[0][PART_DATA] = (weight_part){0, 0, 8};
    w->parts[0][PART_SCALES] = (weight_part){0, 8, 1};
    w->scale_part = (weight_part){0, 12, 4};
    w->table = (weight){.name = "x",
                        .stack_count = 1,
                        .parts = w->parts,
                        .global_scale_part = &w->scale_part,
                        .shape = {.type = QUANT_NVFP4, .group = 16, .has_global_scale = true, .rows = 1, .cols = 16}};
    w->place = WEIGHT_RESIDENT;
}

static void close_world(world *w)
{
    char path[2 * UNIT_PATH_BYTES];
    w->reads->ops->close(&w->reads);
    file_close(&w->shard);
    close_empty_ledger(w->ledger);
    snprintf(path, sizeof path, "%s/shard", w->folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(w->folder), 0);
}

static void a_resident_matrix_has_its_global_scale(void **state)
{
    (void)state;
    world w = {0};
    leat_error error;
    trunk *t = NULL;
    float values[16];
    open_world(&w);
    const model_desc model = {.weights = &w.table, .places = &w.place, .weight_count = 1};
    const trunk_load load = {.model = &model, .files = &w.files, .reads = w.reads};
    assert_ok(trunk_open(w.ledger, &load, &t, &error), &error);
    quant_decode(&t->matrices[0], 0, 0, 16, values);
    for (int i = 0; i < 16; i++) assert_true(values[i] == 0.5f); /* code 2 is 1 */
    trunk_close(&t);
    close_world(&w);
}

static void a_table_read_by_rows_is_refused(void **state)
{
    (void)state;
    world w = {0};
    leat_error error;
    row_reader reader = {0};
    open_world(&w);
    assert_fails(MODEL, row_reader_open(w.ledger, &w.table, &w.files, w.reads, &reader, &error), &error);
    assert_text_has(error.text, "x has a global scale");
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resident_matrix_has_its_global_scale),
        cmocka_unit_test(a_table_read_by_rows_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which files are read past the page cache: by kept figures of their drive, by the wish, and never without figures. */
#include "exec/io_choice.h"

#include "temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FILE_COUNT = 2 };

static int set_up(void **state)
{
    static temp_folder folder;
    temp_folder_open(&folder);
    *state = &folder;
    return 0;
}

static int tear_down(void **state)
{
    temp_folder_close(*state);
    return 0;
}

static checkpoint *open_two_files(const temp_folder *t)
{
    static const char *const names[FILE_COUNT] = {"model-1.safetensors", "model-2.safetensors"};
    const float value = 1.0f;
    checkpoint *c = NULL;
    leat_error error = {0};
    char header[200];

    temp_folder_write_text(t, "config.json", "{}");
    for (int i = 0; i < FILE_COUNT; i++) {
        snprintf(header, sizeof header, "{\"%c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 'a' + i);
        temp_folder_write_shard(t, names[i], header, 0, &value, sizeof value);
    }
    if (checkpoint_open(t->path, &c, &error) != LEAT_OK) fail_msg("%s", error.text);
    assert_int_equal(c->file_count, FILE_COUNT);
    return c;
}

static void keep(const temp_folder *t, const checkpoint *c, double buffered_factor)
{
    const drive_figures figures = {
        {2e9, 1e9}, {2e9 * buffered_factor, 1e9 * buffered_factor}, (int64_t)time(NULL) - 60};
    char id[DRIVE_ID_BYTES];
    leat_error error;

    drive_id(&c->files[0], id);
    assert_int_equal(drive_figures_save(t->path, id, &figures, &error), LEAT_OK);
}

static uint32_t reopened_direct(const checkpoint *c, const io_choice *choice)
{
    file files[FILE_COUNT];
    leat_error error = {0};
    uint32_t direct_count = 0;

    if (io_choice_reopen(c, choice, files, &error) != LEAT_OK) fail_msg("%s", error.text);
    for (int i = 0; i < FILE_COUNT; i++) {
        /* Asked for, the page cache keeps what it likes; otherwise nothing stays in it. */
        assert_int_equal(files[i].drops_behind, !files[i].is_direct && choice->wanted != FILE_BUFFERED);
        assert_true(files[i].is_direct || files[i].offset_align == 1);
        direct_count += files[i].is_direct;
        file_close(&files[i]);
    }
    return direct_count;
}

static uint32_t direct_of(const checkpoint *c, file_mode wanted, const char *folder, bool expected_measured)
{
    io_choice choice;
    leat_error error;

    assert_int_equal(io_choice_make(c, wanted, folder, &choice, &error), LEAT_OK);
    assert_int_equal(choice.is_measured, expected_measured);
    return reopened_direct(c, &choice);
}

static void goes_by_kept_figures(void **state)
{
    const temp_folder *t = *state;
    checkpoint *c = open_two_files(t);
    const uint32_t possible = direct_of(c, FILE_DIRECT_IF_POSSIBLE, NULL, false);

    if (possible == 0) print_message("no O_DIRECT here: every file is buffered\n");
    assert_int_equal(direct_of(c, FILE_DIRECT_IF_POSSIBLE, t->path, false), possible); /* an empty folder */
    keep(t, c, 1.2);
    assert_int_equal(direct_of(c, FILE_DIRECT_IF_POSSIBLE, t->path, true), possible);
    keep(t, c, 1.5);
    assert_int_equal(direct_of(c, FILE_DIRECT_IF_POSSIBLE, t->path, true), 0);
    assert_int_equal(direct_of(c, FILE_DIRECT_IF_POSSIBLE, NULL, false), possible);
    assert_int_equal(direct_of(c, FILE_BUFFERED, t->path, false), 0);
    if (possible) assert_int_equal(direct_of(c, FILE_DIRECT, t->path, false), FILE_COUNT); /* the wish comes first */
    keep(t, c, 0); /* what the page cache would not let go of */
    assert_int_equal(direct_of(c, FILE_DIRECT_IF_POSSIBLE, t->path, false), possible);
    checkpoint_close(&c);
}

static void chooses_for_each_drive(void **state)
{
    checkpoint *c = open_two_files(*state);
    io_choice choice = {.wanted = FILE_DIRECT_IF_POSSIBLE};
    const uint32_t possible = reopened_direct(c, &choice);

    choice.buffered_count = 1;
    choice.buffered_devices[0] = c->files[0].device + 1;
    assert_int_equal(reopened_direct(c, &choice), possible);
    choice.buffered_devices[choice.buffered_count++] = c->files[0].device;
    assert_int_equal(reopened_direct(c, &choice), 0);
    checkpoint_close(&c);
}

/* Only what is not known is measured; tiny files teach nothing, and nothing is kept of them. */
static void measures_what_is_not_known(void **state)
{
    const temp_folder *t = *state;
    checkpoint *c = open_two_files(t);
    drive_figures found = {.measured_s = 1};
    mem *ledger = NULL;
    leat_error error;
    char id[DRIVE_ID_BYTES];

    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
    assert_int_equal(io_choice_measure(c, ledger, STORAGE_THREADS, t->path, false, &found, &error), LEAT_OK);
    assert_true(found.direct.record == 0 && found.buffered.record == 0 && found.measured_s > 1);
    drive_id(&c->files[0], id);
    assert_false(drive_figures_load(ledger, t->path, id, &found));
    keep(t, c, 1.5);
    assert_int_equal(io_choice_measure(c, ledger, STORAGE_THREADS, t->path, false, &found, &error), LEAT_OK);
    assert_true(found.buffered.record == 3e9);
    assert_int_equal(io_choice_measure(c, ledger, STORAGE_THREADS, t->path, true, &found, &error), LEAT_OK);
    assert_true(found.buffered.record == 0);
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    mem_close(&ledger);
    checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_by_kept_figures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chooses_for_each_drive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(measures_what_is_not_known, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("io_choice", tests, NULL, NULL);
}

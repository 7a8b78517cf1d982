/*
 * drive_probe_test.c - what is measured of a drive, and which kept figures are believed.
 */
#include "io/drive_probe.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_BYTES = 8 << 20 };

static mem *ledger;
static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    leat_error error;
    snprintf(folder, sizeof folder, "/tmp/drive_probe_XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/drive-d.json", folder);
    return mem_open(0, &ledger, &error) == LEAT_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char weights[96];
    snprintf(weights, sizeof weights, "%s/w", folder);
    unlink(weights);
    unlink(path);
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    mem_close(&ledger);
    return rmdir(folder);
}

static void write_text(const char *to, const char *text, size_t count)
{
    FILE *out = fopen(to, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, count, out), count);
    assert_int_equal(fclose(out), 0);
}

static file open_weights(size_t count, file_mode mode)
{
    char name[96];
    char *bytes = calloc(1, count);
    file f;
    leat_error error;
    snprintf(name, sizeof name, "%s/w", folder);
    write_text(name, bytes, count);
    free(bytes);
    assert_int_equal(file_open(AT_FDCWD, name, false, mode, &f, &error), LEAT_OK);
    fsync(f.fd); /* what is still to be written cannot leave the page cache */
    return f;
}

static void measures_both_sizes(void **state)
{
    (void)state;
    file f = open_weights(FILE_BYTES, FILE_BUFFERED);
    const char *name = "w";
    drive_figures found = {0};
    leat_error error;
    char id[DRIVE_ID_BYTES], again[DRIVE_ID_BYTES];

    assert_int_equal(drive_probe(ledger, &f, &name, 1, STORAGE_THREADS, &found, &error), LEAT_OK);
    assert_true(found.buffered.record > 0 && found.buffered.part > 0);
    assert_true(found.direct.record == 0 && found.direct.part == 0 && !drive_is_known(&found));
    assert_true(found.measured_s > 1600000000);
    drive_id(&f, id);
    drive_id(&f, again);
    assert_string_equal(id, again);
    assert_true(strlen(id) > 3 && !strpbrk(id, "/ \"\\"));
    file_close(&f);
}

/* The page cache is empty before and after: the figures are the drive's, and a probe leaves nothing behind. */
static void measures_both_ways(void **state)
{
    (void)state;
    file f = open_weights(FILE_BYTES, FILE_DIRECT_IF_POSSIBLE);
    const char *name = "w";
    drive_figures found = {0};
    leat_error error;

    if (!f.is_direct) {
        print_message("no O_DIRECT in /tmp: nothing is compared\n");
        file_close(&f);
        skip();
    }
    assert_int_equal(drive_probe(ledger, &f, &name, 1, STORAGE_AUTO, &found, &error), LEAT_OK);
    assert_true(found.direct.record > 0 && found.direct.part > 0);
    assert_false(f.is_direct);
    assert_int_equal(drive_is_known(&found), found.buffered.record > 0);
    if (drive_is_known(&found)) assert_int_equal(file_cached_bytes(&f, 0, FILE_BYTES), 0);
    file_close(&f);
}

static void prefers_what_is_clearly_faster(void **state)
{
    (void)state;
    const struct {
        drive_figures figures;
        bool is_known, is_buffered;
    } cases[] = {
        {{{2e9, 1e9}, {2e9, 1e9}, 0}, true, false},
        {{{2e9, 1e9}, {2.4e9, 1.2e9}, 0}, true, false}, /* faster, not clearly */
        {{{2e9, 1e9}, {2.6e9, 1.2e9}, 0}, true, false}, /* clearly at one size only */
        {{{2e9, 1e9}, {2.4e9, 1.3e9}, 0}, true, false}, /* at the other */
        {{{2e9, 1e9}, {2.6e9, 1.3e9}, 0}, true, true},
        {{{2e9, 1e9}, {0, 0}, 0}, false, false}, /* the page cache would not let go */
        {{{0, 0}, {2e9, 1e9}, 0}, false, false}, /* O_DIRECT is refused: nothing to choose */
        {{{0, 0}, {0, 0}, 0}, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(drive_is_known(&cases[i].figures), cases[i].is_known);
        assert_int_equal(drive_prefers_buffered(&cases[i].figures), cases[i].is_buffered);
    }
}

static void says_nothing_of_tiny_files(void **state)
{
    (void)state;
    file f = open_weights(1000, FILE_BUFFERED);
    const char *name = "w";
    drive_figures found = {.direct = {1, 1}};
    leat_error error;

    assert_int_equal(drive_probe(ledger, &f, &name, 1, STORAGE_THREADS, &found, &error), LEAT_OK);
    assert_true(found.direct.record == 0 && found.buffered.part == 0);
    file_close(&f);
}

static void keeps_figures_of_one_drive(void **state)
{
    (void)state;
    const drive_figures kept = {{2.5e9, 1.25e9}, {2e9, 1e9}, time(NULL) - 86400};
    drive_figures found;
    leat_error error;

    assert_false(drive_figures_load(ledger, folder, "d", &found));
    assert_int_equal(drive_figures_save(folder, "d", &kept, &error), LEAT_OK);
    assert_true(drive_figures_load(ledger, folder, "d", &found));
    assert_true(found.direct.record == kept.direct.record && found.direct.part == kept.direct.part);
    assert_true(found.buffered.record == kept.buffered.record && found.buffered.part == kept.buffered.part);
    assert_int_equal(found.measured_s, kept.measured_s);
    assert_false(drive_figures_load(ledger, folder, "e", &found));
    assert_int_equal(drive_figures_save("/nowhere/at/all", "d", &kept, &error), LEAT_IO);
}

static void ignores_what_is_old_damaged_or_foreign(void **state)
{
    (void)state;
    drive_figures found, old = {{1e9, 1e9}, {1e9, 1e9}, time(NULL) - 31 * 86400},
                         kept = {{1e9, 1e9}, {1e9, 1e9}, time(NULL)};
    leat_error error;
    char text[512] = "";

    assert_int_equal(drive_figures_save(folder, "d", &old, &error), LEAT_OK);
    assert_false(drive_figures_load(ledger, folder, "d", &found));
    assert_int_equal(drive_figures_save(folder, "d", &kept, &error), LEAT_OK);
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    const size_t count = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    for (size_t cut = 0; cut + 1 < count; cut++) { /* but for the newline nothing can be missing */
        write_text(path, text, cut);
        assert_false(drive_figures_load(ledger, folder, "d", &found));
    }
    static const char other_drive[] = "{\"leat_drive\":2,\"drive\":\"x\",\"measured_s\":4000000000}";
    write_text(path, other_drive, sizeof other_drive - 1);
    assert_false(drive_figures_load(ledger, folder, "d", &found));
    memcpy(strstr(text, "_drive\":2"), "_drive\":1", 9);
    write_text(path, text, count);
    assert_false(drive_figures_load(ledger, folder, "d", &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(measures_both_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(measures_both_ways, set_up, tear_down),
        cmocka_unit_test(prefers_what_is_clearly_faster),
        cmocka_unit_test_setup_teardown(says_nothing_of_tiny_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_figures_of_one_drive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ignores_what_is_old_damaged_or_foreign, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * unit.h - what every unit test includes first: cmocka in the order it wants, checks for statuses, a ledger that must
 * be empty at the end, and a folder that goes away.
 */
#ifndef TESTS_SUPPORT_UNIT_H
#define TESTS_SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define assert_ok(call, error)                                                                                         \
    do {                                                                                                               \
        leat_status got_status = (call);                                                                               \
        if (got_status != LEAT_OK) fail_msg("%s: %s", status_text(got_status), (error)->text);                         \
    } while (0)

/* The call must fail with LEAT_`name`, and say so in the record. */
#define assert_fails(name, call, error)                                                                                \
    do {                                                                                                               \
        assert_string_equal(status_text(call), status_text(LEAT_##name));                                              \
        assert_int_equal((error)->status, LEAT_##name);                                                                \
        assert_true((error)->text[0] != '\0');                                                                         \
    } while (0)

#define assert_text_has(text, part)                                                                                    \
    do {                                                                                                               \
        if (strstr((text), (part)) == NULL) fail_msg("expected \"%s\" in \"%s\"", (part), (text));                     \
    } while (0)

/* cmocka's skip() with the reason, which the runner shows. */
#define skip_because(why)                                                                                              \
    do {                                                                                                               \
        print_message("[  NOTE    ] %s\n", (why));                                                                     \
        skip();                                                                                                        \
    } while (0)

/* Systems without a mounted /proc are rare, and still systems. */
static inline bool has_proc(void) { return access("/proc/self/status", R_OK) == 0; }

static inline mem *open_ledger(uint64_t budget_bytes)
{
    leat_error error;
    mem *ledger = NULL;
    assert_ok(mem_open(budget_bytes, &ledger, &error), &error);
    return ledger;
}

static inline void close_empty_ledger(mem *ledger)
{
    assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    mem_close(&ledger);
    assert_null(ledger);
}

/* ---- a folder for one test ---- */

enum { UNIT_PATH_BYTES = 512 };

static inline void make_folder(char out_path[UNIT_PATH_BYTES])
{
    const char *base = getenv("TMPDIR");
    int length = snprintf(out_path, UNIT_PATH_BYTES, "%s/leat-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_in_range(length, 1, UNIT_PATH_BYTES - 1);
    assert_non_null(mkdtemp(out_path));
}

static inline int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static inline void remove_folder(const char *path)
{
    assert_int_equal(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Writes FOLDER/NAME and the folders on the way to it. */
static inline void write_file_bytes(const char *folder, const char *name, const void *bytes, size_t count)
{
    char path[UNIT_PATH_BYTES];
    assert_in_range(snprintf(path, sizeof path, "%s/%s", folder, name), 1, (int)sizeof path - 1);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, count, out), count);
    assert_int_equal(fclose(out), 0);
}

static inline void write_file_text(const char *folder, const char *name, const char *text)
{
    write_file_bytes(folder, name, text, strlen(text));
}

#endif

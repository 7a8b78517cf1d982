#include "support/unit.h"

#include "base/bytes.h"
#include "os/file.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static char folder[UNIT_PATH_BYTES];
static int folder_fd = -1;
static leat_error error;

static int set_up_folder(void **state)
{
    (void)state;
    make_folder(folder);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder_fd >= 0);
    return 0;
}

static int remove_test_folder(void **state)
{
    (void)state;
    close(folder_fd);
    remove_folder(folder);
    return 0;
}

#define with_folder(test) cmocka_unit_test_setup_teardown(test, set_up_folder, remove_test_folder)

static leat_status try_open(const char *name, bool beneath, file_mode mode)
{
    file f = {.fd = -77};
    leat_status status = file_open(folder_fd, name, beneath, mode, &f, &error);
    if (status == LEAT_OK)
        file_close(&f);
    else
        assert_int_equal(f.fd, -77);
    return status;
}

static void opens_regular_files(void **state)
{
    (void)state;
    write_file_text(folder, "sub/data", "0123456789");
    file f;
    assert_ok(file_open(folder_fd, "sub/data", true, FILE_BUFFERED, &f, &error), &error);
    assert_int_equal(f.bytes, 10);
    assert_false(f.is_direct);
    assert_int_equal(f.offset_align, 1);
    assert_int_equal(f.memory_align, 1);
    int flags = fcntl(f.fd, F_GETFL);
    assert_int_equal(flags & (O_NONBLOCK | O_DIRECT), 0);
    assert_true(fcntl(f.fd, F_GETFD) & FD_CLOEXEC);
    char text[5] = "";
    uint64_t got = 0;
    assert_ok(file_read(&f, "sub/data", 3, text, 4, &got, &error), &error);
    assert_int_equal(got, 4);
    assert_string_equal(text, "3456");
    assert_ok(file_read(&f, "sub/data", 10, text, 0, NULL, &error), &error);
    file_close(&f);
    assert_int_equal(f.fd, -1);
    file_close(&f);

    char path[UNIT_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/sub/data", folder);
    assert_ok(file_open(AT_FDCWD, path, false, FILE_BUFFERED, &f, &error), &error);
    file_close(&f);
}

static void refuses_what_is_no_regular_file(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES + 16];
    assert_int_equal(mkdirat(folder_fd, "folder", 0700), 0);
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/sock", folder);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof address), 0);

    const struct {
        const char *name, *found;
    } cases[] = {
        {"folder", "a directory"},
        {"fifo", "a FIFO"},
        {"sock", "a socket"},
        {"absent", "no such file"},
        {"fifo/below", "a part of the path is not a directory"},
    };
    for (int beneath = 0; beneath < 2; beneath++) {
        for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
            assert_fails(MODEL, try_open(cases[i].name, beneath, FILE_DIRECT_IF_POSSIBLE), &error);
            assert_text_has(error.text, cases[i].name);
            assert_text_has(error.text, cases[i].found);
        }
    }
    assert_fails(MODEL, try_open("/dev/null", false, FILE_BUFFERED), &error);
    assert_text_has(error.text, "a character device");
    char long_name[5000];
    memset(long_name, 'n', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_fails(MODEL, try_open(long_name, false, FILE_BUFFERED), &error);
    close(sock);
}

enum { NOBODY = 65534 };

static void refuses_what_may_not_be_read(void **state)
{
    (void)state;
    write_file_text(folder, "secret", "x");
    write_file_text(folder, "open", "x");
    assert_int_equal(fchmodat(folder_fd, "secret", 0, 0), 0);
    assert_int_equal(fchmodat(folder_fd, "open", 0644, 0), 0);
    assert_int_equal(fchmod(folder_fd, 0755), 0);
    bool is_root = geteuid() == 0; /* whom no mode keeps out */
    if (is_root) assert_int_equal(seteuid(NOBODY), 0);
    leat_status of_open = try_open("open", true, FILE_BUFFERED), of_secret = try_open("secret", true, FILE_BUFFERED);
    if (is_root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(of_open, LEAT_OK);
    assert_fails(PERMISSION, of_secret, &error);
}

static void stays_beneath_the_root(void **state)
{
    (void)state;
    write_file_text(folder, "model/weights", "w");
    write_file_text(folder, "outside", "o");
    assert_int_equal(symlinkat("../outside", folder_fd, "model/escape"), 0);
    assert_int_equal(symlinkat("/etc/passwd", folder_fd, "model/rooted"), 0);
    assert_int_equal(symlinkat("weights", folder_fd, "model/inside"), 0);
    assert_int_equal(symlinkat("loop", folder_fd, "model/loop"), 0);
    assert_int_equal(symlinkat("..", folder_fd, "model/up"), 0);
    int outer_fd = folder_fd;
    folder_fd = openat(outer_fd, "model", O_RDONLY | O_DIRECTORY);

    const char *const escapes[] = {"../outside", "escape",          "rooted",        "/etc/passwd",
                                   "up/outside", "x/../../outside", "/proc/self/exe"};
    for (size_t i = 0; i < ARRAY_COUNT(escapes); i++)
        assert_fails(MODEL, try_open(escapes[i], true, FILE_BUFFERED), &error);
    assert_fails(MODEL, try_open("../outside", true, FILE_BUFFERED), &error);
    assert_text_has(error.text, "leads out of the folder");
    assert_fails(MODEL, try_open("loop", true, FILE_BUFFERED), &error);
    assert_ok(try_open("inside", true, FILE_BUFFERED), &error);
    assert_ok(try_open("escape", false, FILE_BUFFERED), &error); /* only when asked for */

    close(folder_fd);
    folder_fd = outer_fd;
}

/* Makes openat2 answer `os_errno` in this process, as an old kernel or an old container sandbox does. */
static bool take_openat2_away(uint32_t os_errno)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | os_errno),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_COUNT(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* 0: all is well; otherwise the number of the case that went wrong. */
static int check_without_openat2(uint32_t os_errno)
{
    if (!take_openat2_away(os_errno)) return 99;
    const struct {
        const char *name;
        leat_status status;
    } cases[] = {
        {"model/weights", LEAT_OK},
        {"model//weights", LEAT_OK},
        {"./model/weights", LEAT_OK},
        {"absent", LEAT_MODEL},
        {"../x", LEAT_MODEL},
        {"model/../model/weights", LEAT_MODEL},
        {"/etc/passwd", LEAT_MODEL},
        {"model/escape", LEAT_MODEL},
        {"link/weights", LEAT_MODEL},
        {"model", LEAT_MODEL},
        {"model/weights/x", LEAT_MODEL},
        {"", LEAT_MODEL},
        {"model/..weights", LEAT_OK},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (try_open(cases[i].name, true, FILE_BUFFERED) != cases[i].status) return (int)i + 1;
    }
    return 0;
}

static void works_without_openat2(void **state)
{
    (void)state;
    write_file_text(folder, "model/weights", "w");
    write_file_text(folder, "model/..weights", "w");
    assert_int_equal(symlinkat("/etc/passwd", folder_fd, "model/escape"), 0);
    assert_int_equal(symlinkat("model", folder_fd, "link"), 0);
    const uint32_t answers[] = {ENOSYS, EPERM};
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) _exit(check_without_openat2(answers[i]));
        int result = 0;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFEXITED(result));
        if (WEXITSTATUS(result) == 99) skip_because("no seccomp filters here");
        assert_int_equal(WEXITSTATUS(result), 0);
    }
}

static void a_file_that_ends_early_is_an_error(void **state)
{
    (void)state;
    write_file_text(folder, "short", "0123456789");
    char text[64] = "untouched";
    file f;
    assert_ok(file_open(folder_fd, "short", true, FILE_BUFFERED, &f, &error), &error);
    uint64_t got = 777;
    assert_fails(IO, file_read(&f, "short", 4, text, 20, &got, &error), &error);
    assert_int_equal(got, 777);
    assert_string_equal(error.text, "short: at byte 4: expected 20 bytes, found 6 and the end of the file");
    assert_fails(IO, file_read(&f, "short", 11, text, 1, NULL, &error), &error);
    assert_fails(IO, file_read(&f, "short", UINT64_MAX - 3, text, 10, NULL, &error), &error);
    assert_fails(IO, file_read(&f, "short", (uint64_t)INT64_MAX, text, 10, NULL, &error), &error);
    file_close(&f);
}

static void a_failed_read_names_the_place(void **state)
{
    (void)state;
    file f = {.fd = folder_fd, .offset_align = 1, .memory_align = 1, .bytes = 100};
    char text[8];
    assert_fails(IO, file_read(&f, "the folder", 12, text, 8, NULL, &error), &error); /* EISDIR */
    assert_int_equal(error.os_errno, EISDIR);
    assert_text_has(error.text, "the folder: at byte 12: reading 8 bytes: ");
}

static unsigned char byte_at(uint64_t offset) { return (unsigned char)(offset * 131 + offset / 256); }

static void direct_reads_give_the_same_bytes(void **state)
{
    (void)state;
    enum { BYTES = 300001, ROOM = 512 * 1024 };
    unsigned char *content = malloc(BYTES);
    for (uint64_t i = 0; i < BYTES; i++) content[i] = byte_at(i);
    write_file_bytes(folder, "data", content, BYTES);
    free(content);

    file f;
    assert_ok(file_open(folder_fd, "data", true, FILE_DIRECT_IF_POSSIBLE, &f, &error), &error);
    if (!f.is_direct) {
        file_close(&f);
        assert_fails(IO, try_open("data", true, FILE_DIRECT), &error);
        skip_because("the file system of the temporary folder refuses O_DIRECT");
    }
    assert_ok(try_open("data", true, FILE_DIRECT), &error);
    assert_in_range(f.offset_align, 512, 65536);
    assert_int_equal(f.offset_align & (f.offset_align - 1), 0);
    assert_true(fcntl(f.fd, F_GETFL) & O_DIRECT);
    unsigned char *buffer = aligned_alloc(65536, ROOM);
    const uint64_t blocks = BYTES / f.offset_align;
    for (uint64_t first = 0; first <= blocks; first += 37) {
        uint64_t offset = first * f.offset_align;
        for (uint64_t count = 0; count <= 80; count += 16) {
            uint64_t got = 0, expected = min_u64(count * f.offset_align, BYTES - offset);
            memset(buffer, 0xee, count * f.offset_align + 1);
            assert_ok(file_read(&f, "data", offset, buffer, count * f.offset_align, &got, &error), &error);
            assert_int_equal(got, expected);
            for (uint64_t i = 0; i < got; i += 61) assert_int_equal(buffer[i], byte_at(offset + i));
            if (got > 0) assert_int_equal(buffer[got - 1], byte_at(offset + got - 1));
        }
    }
    /* Wholly behind the end there is nothing, and that is no error: the window of an extent may lie so. */
    uint64_t got = 7;
    assert_ok(
        file_read(&f, "data", round_up(BYTES, f.offset_align) + f.offset_align, buffer, f.offset_align, &got, &error),
        &error);
    assert_int_equal(got, 0);

    /* A file that has lost its end since it was opened is an error, also when the cut lies inside a block. */
    const uint64_t cuts[] = {f.offset_align * 3, f.offset_align * 3 + 7, 0};
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        char path[UNIT_PATH_BYTES + 8];
        snprintf(path, sizeof path, "%s/data", folder);
        assert_int_equal(truncate(path, (off_t)cuts[i]), 0);
        assert_fails(IO, file_read(&f, "data", 0, buffer, f.offset_align * 16, NULL, &error), &error);
        char found[64];
        snprintf(found, sizeof found, "found %llu and the end", (unsigned long long)cuts[i]);
        assert_text_has(error.text, found);
    }
    free(buffer);
    file_close(&f);
}

static void direct_opens_of_small_files_work(void **state)
{
    (void)state;
    write_file_text(folder, "empty", "");
    write_file_text(folder, "one", "1");
    assert_ok(try_open("empty", true, FILE_DIRECT_IF_POSSIBLE), &error);
    assert_ok(try_open("one", true, FILE_DIRECT_IF_POSSIBLE), &error);
}

static void falls_back_where_direct_reads_do_not_work(void **state)
{
    (void)state;
    /* procfs holds regular files that refuse the flag */
    if (!has_proc()) skip_because("/proc is not mounted");
    file f;
    assert_ok(file_open(AT_FDCWD, "/proc/self/status", false, FILE_DIRECT_IF_POSSIBLE, &f, &error), &error);
    assert_false(f.is_direct);
    assert_int_equal(f.offset_align, 1);
    assert_int_equal(fcntl(f.fd, F_GETFL) & O_DIRECT, 0);
    file_close(&f);
    assert_fails(IO, file_open(AT_FDCWD, "/proc/self/status", false, FILE_DIRECT, &f, &error), &error);
    assert_text_has(error.text, "O_DIRECT");
}

static void loads_whole_files(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    write_file_text(folder, "config.json", "{\"a\":1}");
    write_file_text(folder, "empty", "");
    char *text = NULL;
    uint64_t bytes = 0;
    assert_ok(file_load(ledger, MEM_META, folder_fd, "config.json", true, 7, &text, &bytes, &error), &error);
    assert_int_equal(bytes, 7);
    assert_string_equal(text, "{\"a\":1}");
    mem_free(ledger, text);
    assert_ok(file_load(ledger, MEM_META, folder_fd, "empty", true, 7, &text, &bytes, &error), &error);
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    mem_free(ledger, text);

    text = folder;
    assert_fails(MODEL, file_load(ledger, MEM_META, folder_fd, "config.json", true, 6, &text, &bytes, &error), &error);
    assert_text_has(error.text, "config.json: expected at most 6 bytes, found 7");
    assert_fails(MODEL, file_load(ledger, MEM_META, folder_fd, "absent", true, 6, &text, &bytes, &error), &error);
    mem_fail_nth(ledger, 1);
    assert_fails(NO_MEMORY, file_load(ledger, MEM_META, folder_fd, "config.json", true, 7, &text, &bytes, &error),
                 &error);
    assert_ptr_equal(text, folder);
    close_empty_ledger(ledger);
}

static int count_open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void no_descriptor_is_left_behind(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    write_file_text(folder, "sub/data", "0123456789");
    int before = count_open_descriptors();
    char *text;
    uint64_t bytes;
    (void)try_open("sub", true, FILE_BUFFERED);
    (void)try_open("sub/data", true, FILE_DIRECT_IF_POSSIBLE);
    (void)try_open("/proc/self/status", false, FILE_DIRECT);
    assert_fails(MODEL, file_load(ledger, MEM_META, folder_fd, "sub/data", true, 3, &text, &bytes, &error), &error);
    mem_fail_nth(ledger, 1);
    assert_fails(NO_MEMORY, file_load(ledger, MEM_META, folder_fd, "sub/data", true, 30, &text, &bytes, &error),
                 &error);
    assert_int_equal(count_open_descriptors(), before);
    close_empty_ledger(ledger);
}

static void replaces_a_file_as_a_whole(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    char path[UNIT_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/stats.json", folder);
    const char *const contents[] = {"first", "second, and longer", ""};
    for (size_t i = 0; i < ARRAY_COUNT(contents); i++) {
        assert_ok(file_replace(path, contents[i], strlen(contents[i]), 0600, &error), &error);
        char *text;
        uint64_t bytes;
        assert_ok(file_load(ledger, MEM_META, folder_fd, "stats.json", true, 100, &text, &bytes, &error), &error);
        assert_string_equal(text, contents[i]);
        mem_free(ledger, text);
    }
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(unlink(path), 0); /* no temporary file is left: the folder is empty now */
    assert_int_equal(rmdir(folder), 0);
    assert_fails(IO, file_replace(path, "x", 1, 0600, &error), &error);
    assert_int_equal(mkdir(folder, 0700), 0);
    close_empty_ledger(ledger);
}

static void a_failed_replacement_leaves_the_old_file(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES + 16];
    write_file_text(folder, "target/old", "old"); /* a folder in the way: the rename fails */
    snprintf(path, sizeof path, "%s/target", folder);
    assert_fails(IO, file_replace(path, "new", 3, 0600, &error), &error);
    assert_text_has(error.text, "target");
    assert_ok(try_open("target/old", true, FILE_BUFFERED), &error);
    assert_int_equal(unlinkat(folder_fd, "target/old", 0), 0);
    assert_int_equal(unlinkat(folder_fd, "target", AT_REMOVEDIR), 0);
    assert_int_equal(rmdir(folder), 0); /* the temporary file is gone */
    assert_int_equal(mkdir(folder, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_folder(opens_regular_files),
        with_folder(refuses_what_is_no_regular_file),
        with_folder(refuses_what_may_not_be_read),
        with_folder(stays_beneath_the_root),
        with_folder(works_without_openat2),
        with_folder(a_file_that_ends_early_is_an_error),
        with_folder(a_failed_read_names_the_place),
        with_folder(direct_reads_give_the_same_bytes),
        with_folder(direct_opens_of_small_files_work),
        with_folder(falls_back_where_direct_reads_do_not_work),
        with_folder(loads_whole_files),
        with_folder(no_descriptor_is_left_behind),
        with_folder(replaces_a_file_as_a_whole),
        with_folder(a_failed_replacement_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

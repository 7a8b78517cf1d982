/*
 * storage_kinds_test.c - extents read from real files by each implementer of the seam, directly and through the page
 * cache: the right bytes at every alignment and at the end of a file, errors that name what was missing, several users
 * of one queue, classes, reads that are given up, cut short or fail. The linker puts hooks between the storage and the
 * system.
 */
#include "io/read_queue.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

enum {
    LONG_BYTES = 40 * 4096 + 1234, /* ends inside a block */
    SHORT_BYTES = 100,             /* shorter than one block */
    FILE_COUNT = 2,
    BUFFER_BYTES = 256 * 1024,
    GUARD = 0xa5,
    LOG_COUNT = 32
};

static storage_kind kind; /* under test */

/* ---- what the system does to our reads ---- */

static struct {
    _Atomic uint32_t short_every; /* each such read gets half of what it asks for; 0: none */
    _Atomic uint32_t fail_every;  /* fails with EBADF */
    _Atomic uint32_t eio_left;    /* so many reads fail with EIO */
    _Atomic uint32_t stall_left;  /* so many begin and do not end before end_stalls */
    _Atomic bool ends_stalls;
    _Atomic uint32_t retry_every; /* threads: EINTR or EAGAIN; io_uring: a call that is refused for now */
    _Atomic uint32_t count, short_count, fail_count, retry_count;
    _Atomic uint32_t wait_delay_us;        /* before the system is asked to wait */
    _Atomic int setup_errno, submit_errno; /* of io_uring */
    _Atomic bool is_shut;                  /* reads begin and do not end */
    _Atomic uint32_t begun_count;
    _Atomic uint64_t begun_offsets[LOG_COUNT]; /* of the file, the first ones in their order */
} hook;

static void note_begin(uint64_t offset)
{
    uint32_t nth = atomic_fetch_add(&hook.begun_count, 1);
    if (nth < LOG_COUNT) hook.begun_offsets[nth] = offset;
}

static bool takes_one(_Atomic uint32_t *left_of)
{
    uint32_t left = *left_of;
    while (left > 0 && !atomic_compare_exchange_weak(left_of, &left, left - 1)) {
    }
    return left > 0;
}

static bool is_turn(uint32_t nth, uint32_t every) { return every != 0 && nth % every == every - 1; }

ssize_t __real_pread64(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off_t offset)
{
    uint32_t nth = atomic_fetch_add(&hook.count, 1);
    note_begin((uint64_t)offset);
    while (hook.is_shut) usleep(100);
    if (is_turn(nth, hook.retry_every)) {
        hook.retry_count++;
        errno = nth % 2 ? EINTR : EAGAIN;
        return -1;
    }
    if (takes_one(&hook.stall_left))
        while (!hook.ends_stalls) usleep(100);
    if (takes_one(&hook.eio_left)) {
        errno = EIO;
        return -1;
    }
    if (is_turn(nth, hook.fail_every)) {
        hook.fail_count++;
        errno = EBADF;
        return -1;
    }
    if (is_turn(nth, hook.short_every) && bytes > 4096) {
        hook.short_count++;
        bytes = round_up(bytes / 2, 4096);
    }
    return __real_pread64(fd, buffer, bytes, offset);
}

#ifdef HAVE_LIBURING
int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    return hook.setup_errno ? -hook.setup_errno : __real_io_uring_queue_init_params(entries, ring, params);
}

static int stalled_pipe[2] = {-1, -1}; /* nothing comes out of it, and the kernel can be asked to stop waiting */

static void spoil_request(struct io_uring_sqe *sqe)
{
    uint32_t nth = atomic_fetch_add(&hook.count, 1);
    note_begin(sqe->off);
    if (takes_one(&hook.stall_left)) {
        sqe->fd = stalled_pipe[0];
        sqe->flags &= (uint8_t)~IOSQE_FIXED_FILE;
        sqe->off = 0;
    } else if (takes_one(&hook.eio_left)) {
        static int own_memory = -1; /* where nothing is mapped, reading it is such an error */
        if (own_memory < 0) own_memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        sqe->fd = own_memory;
        sqe->flags &= (uint8_t)~IOSQE_FIXED_FILE;
        sqe->off = 0;
    } else if (is_turn(nth, hook.fail_every)) {
        hook.fail_count++;
        sqe->fd = 1 << 20; /* not registered */
    } else if (is_turn(nth, hook.short_every) && sqe->len > 4096) {
        hook.short_count++;
        sqe->len = (uint32_t)round_up(sqe->len / 2, 4096);
    }
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
    static _Atomic uint32_t call_count;
    uint32_t nth = atomic_fetch_add(&call_count, 1);
    bool is_shut = hook.is_shut, is_refused = is_turn(nth, hook.retry_every);
    /* As the library does before it calls the system: the requests are in the ring then. */
    if (hook.submit_errno || is_refused || is_shut) {
        for (; ring->sq.sqe_head != ring->sq.sqe_tail; ring->sq.sqe_head++)
            spoil_request(&ring->sq.sqes[ring->sq.sqe_head & *ring->sq.kring_mask]),
                ring->sq.array[ring->sq.sqe_head & *ring->sq.kring_mask] = ring->sq.sqe_head & *ring->sq.kring_mask;
        __atomic_store_n(ring->sq.ktail, ring->sq.sqe_tail, __ATOMIC_RELEASE);
        if (is_shut) return -EAGAIN;
        if (is_refused) hook.retry_count++;
        return is_refused ? (nth / hook.retry_every % 2 ? -EAGAIN : -EINTR) : -hook.submit_errno;
    }
    for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++)
        spoil_request(&ring->sq.sqes[i & *ring->sq.kring_mask]);
    return __real_io_uring_submit(ring);
}

int __real_io_uring_enter2(unsigned fd, unsigned count, unsigned least, unsigned flags, sigset_t *mask, size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned count, unsigned least, unsigned flags, sigset_t *mask, size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned count, unsigned least, unsigned flags, sigset_t *mask, size_t bytes)
{
    static _Atomic uint32_t call_count;
    if (is_turn(atomic_fetch_add(&call_count, 1), hook.retry_every)) return -EINTR;
    if (hook.wait_delay_us) usleep(hook.wait_delay_us);
    return __real_io_uring_enter2(fd, count, least, flags, mask, bytes);
}
#endif

static void reset_hook(void) { memset(&hook, 0, sizeof hook); }

static void await_begun(uint32_t count)
{
    while (hook.begun_count < count) sched_yield();
}

/* What every test starts from: two files with known bytes, opened in one mode, and a ledger. */
typedef struct fixture {
    char folder[32];
    file files[FILE_COUNT];
    file_set set;
    mem *ledger;
    uint8_t *buffer; /* (BUFFER_BYTES), aligned to 64 KiB */
} fixture;

static const char *const names[FILE_COUNT] = {"long.bin", "short.bin"};
static const uint64_t sizes[FILE_COUNT] = {LONG_BYTES, SHORT_BYTES};

static uint8_t byte_at(uint32_t file_idx, uint64_t offset)
{
    return (uint8_t)(hash_u64(offset / 8 + ((uint64_t)(file_idx + 1) << 40)) >> offset % 8 * 8);
}

static void write_file(const char *folder, uint32_t file_idx)
{
    char path[64];
    uint8_t *bytes = malloc(sizes[file_idx]);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < sizes[file_idx]; i++) bytes[i] = byte_at(file_idx, i);
    snprintf(path, sizeof path, "%s/%s", folder, names[file_idx]);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, sizes[file_idx], out), sizes[file_idx]);
    assert_int_equal(fclose(out), 0);
    free(bytes);
}

/* The folder is made in the working directory (the build), because /tmp may be a file system without O_DIRECT. */
static void open_fixture(fixture *f, file_mode mode)
{
    *f = (fixture){.folder = "storage-test-XXXXXX"};
    assert_non_null(mkdtemp(f->folder));
    leat_error error;
    assert_int_equal(mem_open(0, &f->ledger, &error), LEAT_OK);
    int folder_fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder_fd >= 0);
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        write_file(f->folder, i);
        assert_int_equal(file_open(folder_fd, names[i], true, mode, &f->files[i], &error), LEAT_OK);
    }
    close(folder_fd);
    f->set = (file_set){f->files, names, FILE_COUNT};
    f->buffer = aligned_alloc(65536, BUFFER_BYTES);
    assert_non_null(f->buffer);
}

static void close_fixture(fixture *f)
{
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        char path[64];
        file_close(&f->files[i]);
        snprintf(path, sizeof path, "%s/%s", f->folder, names[i]);
        unlink(path);
    }
    rmdir(f->folder);
    free(f->buffer);
    mem_close(&f->ledger); /* asserts that the storage gave everything back */
}

static storage *open_storage(fixture *f, uint32_t thread_count, uint32_t queue_depth)
{
    storage *s = NULL;
    leat_error error;
    assert_int_equal(storage_open(kind, f->ledger, &f->set, thread_count, queue_depth, &s, &error), LEAT_OK);
    assert_int_equal(s->ops->kind, kind);
    return s;
}

/* Reads one extent and compares payload and what lies behind the window. */
static void check_extent(fixture *f, storage *s, uint32_t file_idx, uint64_t offset, uint64_t bytes)
{
    static uint64_t tag = 1;
    extent what = {file_idx, offset, bytes};
    uint64_t window_bytes = storage_window_bytes(&f->set, &what);
    uint64_t payload_offset = storage_payload_offset(&f->set, &what);
    assert_true(window_bytes + 64 <= BUFFER_BYTES);
    memset(f->buffer, GUARD, window_bytes + 64);
    s->ops->submit(s, &(read_request){what, f->buffer, ++tag, false, READ_DEMAND, 0});
    read_result result;
    assert_true(s->ops->reap(s, tag, tag + 1, &result));
    assert_int_equal(result.status, LEAT_OK);
    assert_int_equal(result.tag, tag);
    for (uint64_t i = 0; i < bytes; i++)
        if (f->buffer[payload_offset + i] != byte_at(file_idx, offset + i))
            fail_msg("file %u, offset %llu, %llu bytes: byte %llu is wrong", file_idx, (unsigned long long)offset,
                     (unsigned long long)bytes, (unsigned long long)i);
    for (uint64_t i = 0; i < 64; i++) assert_int_equal(f->buffer[window_bytes + i], GUARD);
}

static const file_mode modes[] = {FILE_BUFFERED, FILE_DIRECT_IF_POSSIBLE};

static void reads_extents_at_every_alignment(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {1, 511, 4096, 9001};
    for (size_t m = 0; m < ARRAY_COUNT(modes); m++) {
        fixture f;
        open_fixture(&f, modes[m]);
        if (modes[m] != FILE_BUFFERED && !f.files[0].is_direct) print_message("no O_DIRECT here: buffered twice\n");
        storage *s = open_storage(&f, 2, 4);
        for (uint64_t offset = 0; offset <= 4097; offset += offset % 4096 < 3 ? 1 : 7)
            for (size_t l = 0; l < ARRAY_COUNT(lengths); l++) check_extent(&f, s, 0, offset, lengths[l]);
        s->ops->close(&s);
        close_fixture(&f);
    }
}

/* The page cache holds nothing of what was read, and of the same reads without the flag it does. */
static void leaves_nothing_in_the_page_cache(void **state)
{
    (void)state;
    for (int drops = 0; drops <= 1; drops++) {
        fixture f;
        leat_error error;
        open_fixture(&f, FILE_BUFFERED);
        file *long_one = &f.files[0];
        if (drops) assert_int_equal(file_leave_direct(long_one, names[0], &error), LEAT_OK);
        assert_int_equal(long_one->drops_behind, drops);
        fsync(long_one->fd); /* what is still to be written cannot be dropped */
        (void)posix_fadvise(long_one->fd, 0, 0, POSIX_FADV_DONTNEED);
        if (file_cached_bytes(long_one, 0, LONG_BYTES) != 0) {
            print_message("this file system lives in the page cache, or does not say what it keeps there\n");
            close_fixture(&f);
            skip();
        }
        storage *s = open_storage(&f, 2, 4);
        for (uint64_t offset = 5; offset + 9001 < LONG_BYTES; offset += 12345) check_extent(&f, s, 0, offset, 9001);
        assert_int_equal(file_cached_bytes(long_one, 0, LONG_BYTES) == 0, drops);
        s->ops->close(&s);
        close_fixture(&f);
    }
}

static void reads_windows_that_reach_past_the_end_of_the_file(void **state)
{
    (void)state;
    for (size_t m = 0; m < ARRAY_COUNT(modes); m++) {
        fixture f;
        open_fixture(&f, modes[m]);
        storage *s = open_storage(&f, 2, 4);
        for (uint64_t bytes = 1; bytes < 9000; bytes += 333) check_extent(&f, s, 0, LONG_BYTES - bytes, bytes);
        check_extent(&f, s, 0, 0, LONG_BYTES);
        check_extent(&f, s, 1, 0, SHORT_BYTES);
        check_extent(&f, s, 1, SHORT_BYTES - 1, 1);
        s->ops->close(&s);
        close_fixture(&f);
    }
}

/* The error of a read that must fail with LEAT_IO and name the file and the offset. */
static void check_missing(fixture *f, storage *s, extent what, const char *offset_text)
{
    read_result result;
    s->ops->submit(s, &(read_request){what, f->buffer, 5, false, READ_DEMAND, 0});
    assert_true(s->ops->reap(s, 5, 6, &result));
    assert_int_equal(result.status, LEAT_IO);
    assert_int_equal(result.error.status, LEAT_IO);
    assert_non_null(strstr(result.error.text, names[what.file_idx]));
    assert_non_null(strstr(result.error.text, offset_text));
}

static void names_file_and_offset_when_data_is_missing(void **state)
{
    (void)state;
    for (size_t m = 0; m < ARRAY_COUNT(modes); m++) {
        fixture f;
        open_fixture(&f, modes[m]);
        storage *s = open_storage(&f, 2, 4);
        check_missing(&f, s, (extent){1, 90, 11}, " 90");
        check_missing(&f, s, (extent){0, LONG_BYTES, 1}, "165074"); /* LONG_BYTES */
        check_missing(&f, s, (extent){0, UINT64_MAX - 2, 3}, "18446744073709551613");
        check_missing(&f, s, (extent){0, UINT64_MAX - 2, 4}, "18446744073709551613"); /* the end wraps */

        char path[64]; /* the file is cut while it is open: its size is then only known by reading */
        snprintf(path, sizeof path, "%s/%s", f.folder, names[0]);
        assert_int_equal(truncate(path, 8192 + 10), 0);
        check_missing(&f, s, (extent){0, 8192, 11}, "8192");
        check_missing(&f, s, (extent){0, 40960, 11}, "40960");
        check_extent(&f, s, 0, 4000, 4000); /* and the storage still works */
        s->ops->close(&s);
        close_fixture(&f);
    }
}

static void hands_on_what_the_system_says(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_BUFFERED);
    char path[64];
    snprintf(path, sizeof path, "%s/%s", f.folder, names[0]);
    int read_fd = f.files[0].fd;
    f.files[0].fd = open(path, O_WRONLY | O_CLOEXEC);
    storage *s = open_storage(&f, 1, 1);
    read_result result;
    s->ops->submit(s, &(read_request){{0, 7, 8}, f.buffer, 5, false, READ_DEMAND, 0});
    assert_true(s->ops->reap(s, 0, UINT64_MAX, &result));
    assert_int_equal(result.status, LEAT_IO);
    assert_int_equal(result.error.os_errno, EBADF);
    assert_non_null(strstr(result.error.text, "long.bin: at byte 7: reading 8 bytes: Bad file descriptor"));
    check_extent(&f, s, 1, 7, 8);
    s->ops->close(&s);
    close(f.files[0].fd);
    f.files[0].fd = read_fd;
    close_fixture(&f);
}

static void completes_empty_extents_at_once(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 1, 2);
    read_result result;
    extent nothing = {0, 12345678, 0}; /* not even inside the file */
    assert_int_equal(storage_window_bytes(&f.set, &nothing), 0);
    assert_int_equal(storage_payload_offset(&f.set, &nothing), 0);
    s->ops->submit(s, &(read_request){nothing, NULL, 9, false, READ_DEMAND, 0});
    assert_true(s->ops->reap(s, 9, 10, &result));
    assert_int_equal(result.status, LEAT_OK);
    assert_int_equal(s->ops->stats(s).read_count, 0); /* the system was not asked */
    assert_int_equal(s->ops->stats(s).window_bytes, 0);
    s->ops->close(&s);
    close_fixture(&f);
}

static void reaps_only_tags_of_the_range(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_BUFFERED);
    storage *s = open_storage(&f, 2, 8);
    read_result result;
    assert_false(s->ops->reap(s, 0, UINT64_MAX, &result));
    assert_false(s->ops->try_reap(s, 0, UINT64_MAX, &result));
    for (uint64_t tag = 10; tag < 16; tag++)
        s->ops->submit(s, &(read_request){{0, tag, 100}, f.buffer + tag * 4096, tag, false, READ_DEMAND, 0});
    assert_false(s->ops->reap(s, 0, 10, &result));
    assert_false(s->ops->reap(s, 16, UINT64_MAX, &result));
    assert_true(s->ops->reap(s, 14, 15, &result));
    assert_int_equal(result.tag, 14);
    assert_false(s->ops->reap(s, 14, 15, &result)); /* once */
    uint32_t seen = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(s->ops->reap(s, 10, 13, &result));
        assert_in_range(result.tag, 10, 12);
        seen |= 1u << (result.tag - 10);
    }
    assert_int_equal(seen, 7);
    assert_false(s->ops->reap(s, 10, 13, &result));
    assert_true(s->ops->reap(s, 0, UINT64_MAX, &result));
    assert_true(s->ops->reap(s, 0, UINT64_MAX, &result));
    assert_false(s->ops->reap(s, 0, UINT64_MAX, &result));
    s->ops->close(&s);
    close_fixture(&f);
}

static void says_when_the_queue_is_full(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_BUFFERED);
    storage *s = open_storage(&f, 2, 3);
    read_result result;
    for (int round = 0; round < 3; round++) {
        for (uint64_t tag = 0; tag < 3; tag++)
            assert_true(s->ops->try_submit(
                s, &(read_request){{0, tag, 100}, f.buffer + tag * 4096, tag, false, READ_DEMAND, 0}));
        assert_false(s->ops->try_submit(s, &(read_request){{0, 0, 100}, f.buffer, 3, false, READ_DEMAND, 0}));
        assert_true(s->ops->reap(s, 0, 100, &result));
        assert_true(s->ops->try_submit(s, &(read_request){{0, 0, 100}, f.buffer + 3 * 4096, 3, false, READ_DEMAND, 0}));
        assert_false(s->ops->try_submit(s, &(read_request){{0, 0, 100}, f.buffer, 4, false, READ_DEMAND, 0}));
        while (s->ops->reap(s, 0, 100, &result)) assert_true(result.tag != 4);
    }
    s->ops->close(&s);
    close_fixture(&f);
}

/* ---- several users of one storage ---- */

enum { USER_COUNT = 3, READS_PER_USER = 400, IN_FLIGHT = 5 };

typedef struct user {
    fixture *f;
    storage *s;
    uint64_t first_tag;
    bool blocks; /* submits with submit, else with try_submit */
    uint32_t wrong_count;
    uint8_t seen[READS_PER_USER];
} user;

static extent user_extent(uint64_t tag)
{
    return (extent){0, hash_u64(tag) % (LONG_BYTES - 6000), 1 + hash_u64(tag * 7) % 6000};
}

static bool reap_and_compare(user *u, uint8_t *const *buffers)
{
    read_result result;
    if (!u->s->ops->reap(u->s, u->first_tag, u->first_tag + READS_PER_USER, &result)) return false;
    uint64_t nth = result.tag - u->first_tag;
    extent what = user_extent(result.tag);
    const uint8_t *payload = buffers[nth % IN_FLIGHT] + storage_payload_offset(&u->f->set, &what);
    if (result.status != LEAT_OK || nth >= READS_PER_USER) {
        u->wrong_count++;
        return true;
    }
    u->seen[nth]++;
    for (uint64_t i = 0; i < what.bytes; i++) u->wrong_count += payload[i] != byte_at(0, what.offset + i);
    return true;
}

/* Keeps up to IN_FLIGHT reads going in rounds, so that buffer nth % IN_FLIGHT is free when read nth is submitted. */
static void *use_storage(void *context)
{
    user *u = context;
    uint8_t *buffers[IN_FLIGHT];
    for (int i = 0; i < IN_FLIGHT; i++) buffers[i] = aligned_alloc(65536, 65536);
    for (uint64_t nth = 0; nth < READS_PER_USER;) {
        for (int i = 0; i < IN_FLIGHT && nth < READS_PER_USER; i++, nth++) {
            read_request request = {user_extent(u->first_tag + nth),
                                    buffers[nth % IN_FLIGHT],
                                    u->first_tag + nth,
                                    i + 1 < IN_FLIGHT,
                                    u->blocks ? READ_DEMAND : nth % READ_CLASS_COUNT,
                                    0};
            if (u->blocks) {
                u->s->ops->submit(u->s, &request);
                continue;
            }
            while (!u->s->ops->try_submit(u->s, &request)) reap_and_compare(u, buffers);
        }
        while (reap_and_compare(u, buffers)) {
        }
    }
    for (int i = 0; i < IN_FLIGHT; i++) free(buffers[i]);
    return NULL;
}

static void serves_several_users_at_once(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    /* One user may wait in submit, for the others reap; the depth is too small for all, and enough for that one. */
    storage *s = open_storage(&f, 4, 7);
    static user users[USER_COUNT];
    pthread_t threads[USER_COUNT];
    for (uint32_t i = 0; i < USER_COUNT; i++) {
        users[i] = (user){.f = &f, .s = s, .first_tag = 1000 * (i + 1), .blocks = i == 0};
        assert_int_equal(pthread_create(&threads[i], NULL, use_storage, &users[i]), 0);
    }
    uint64_t payload_bytes = 0;
    for (uint32_t i = 0; i < USER_COUNT; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(users[i].wrong_count, 0);
        for (uint64_t nth = 0; nth < READS_PER_USER; nth++) {
            assert_int_equal(users[i].seen[nth], 1);
            payload_bytes += user_extent(users[i].first_tag + nth).bytes;
        }
    }
    assert_int_equal(s->ops->stats(s).read_count, USER_COUNT * READS_PER_USER);
    assert_int_equal(s->ops->stats(s).payload_bytes, payload_bytes);
    s->ops->close(&s);
    close_fixture(&f);
}

/* Two threads wait at the same time, each for a tag of its own; half of the time the other's read finishes first. */
typedef struct waiter {
    storage *s;
    pthread_barrier_t *start;
    bool was_found;
} waiter;

static void *wait_for_first_tag(void *context)
{
    waiter *w = context;
    read_result result;
    pthread_barrier_wait(w->start);
    w->was_found = w->s->ops->reap(w->s, 1, 2, &result);
    return NULL;
}

static void wakes_the_one_whose_read_is_done(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 1, 2);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);
    alarm(60); /* a lost wake-up is a wait for ever */
    for (int round = 0; round < 300; round++) {
        waiter w = {s, &start, false};
        pthread_t thread;
        read_result result;
        assert_int_equal(pthread_create(&thread, NULL, wait_for_first_tag, &w), 0);
        for (uint64_t tag = 1; tag <= 2; tag++)
            s->ops->submit(s, &(read_request){{0, 0, 65536}, f.buffer + tag * 65536, tag, false, READ_DEMAND, 0});
        pthread_barrier_wait(&start);
        assert_true(s->ops->reap(s, 2, 3, &result));
        pthread_join(thread, NULL);
        assert_true(w.was_found);
    }
    alarm(0);
    pthread_barrier_destroy(&start);
    s->ops->close(&s);
    close_fixture(&f);
}

static void counts_what_it_did(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 2, 4);
    uint64_t begin_ns = clock_now_ns();
    uint64_t window_bytes = 0;
    for (uint64_t i = 0; i < 20; i++) {
        extent what = {0, 1000 * i + 1, 5000};
        uint64_t unit = f.files[0].offset_align;
        window_bytes += round_up(what.offset + what.bytes, unit) - round_down(what.offset, unit);
        check_extent(&f, s, 0, what.offset, what.bytes);
    }
    storage_stats stats = s->ops->stats(s);
    uint64_t wall_ns = clock_now_ns() - begin_ns;
    assert_int_equal(stats.read_count, 20);
    assert_int_equal(stats.payload_bytes, 20 * 5000);
    assert_int_equal(stats.window_bytes, window_bytes);
    /* one at a time: busy includes the wait for a reader */
    assert_true(stats.read_ns > 0 && stats.read_ns <= stats.busy_ns);
    assert_true(stats.busy_ns <= wall_ns);
    usleep(2000);
    assert_int_equal(s->ops->stats(s).busy_ns, stats.busy_ns); /* idle time is not busy */
    check_missing(&f, s, (extent){0, 0, LONG_BYTES + 1}, " 0");
    assert_int_equal(s->ops->stats(s).read_count, 21);
    assert_int_equal(s->ops->stats(s).payload_bytes, 20 * 5000); /* nothing was got */
    s->ops->close(&s);
    close_fixture(&f);
}

static void closes_with_reads_under_way(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    for (int round = 0; round < 20; round++) {
        storage *s = open_storage(&f, 2, 16);
        for (uint64_t tag = 0; tag < 16; tag++)
            s->ops->submit(s,
                           &(read_request){{0, tag * 8192, 8192}, f.buffer + tag * 8192, tag, false, READ_DEMAND, 0});
        s->ops->close(&s);
        assert_null(s);
        memset(f.buffer, round, BUFFER_BYTES);
        usleep(1000);
        for (size_t i = 0; i < BUFFER_BYTES; i++)
            assert_int_equal(f.buffer[i], round); /* nobody writes here any more */
    }
    storage *none = NULL;
    storage *s = open_storage(&f, 1, 1);
    s->ops->close(&none);
    s->ops->close(&s);
    close_fixture(&f);
}

static void takes_its_memory_from_the_ledger_or_fails_cleanly(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_BUFFERED);
    leat_error error;
    storage *s = NULL;
    uint64_t nth = 1;
    for (;; nth++) {
        assert_true(nth < 20);
        mem_fail_nth(f.ledger, nth);
        leat_status status = storage_open(kind, f.ledger, &f.set, 3, 8, &s, &error);
        if (status == LEAT_OK) break;
        assert_int_equal(status, LEAT_NO_MEMORY);
        assert_null(s);
        assert_int_equal(mem_pool_usage(f.ledger, MEM_IO).current_bytes, 0);
    }
    assert_true(nth > 2);
    assert_int_equal(mem_pool_usage(f.ledger, MEM_IO).current_bytes, storage_bytes(kind, 3, 8));
    assert_true(storage_bytes(kind, 3, 8) >= (kind == STORAGE_URING ? 8192 : 3 * 128 * 1024) + 8 * sizeof(leat_error));
    mem_fail_nth(f.ledger, 1);
    for (uint64_t offset = 0; offset < 1000; offset += 10) check_extent(&f, s, 0, offset, 3000); /* allocates nothing */
    mem_fail_nth(f.ledger, 0);
    s->ops->close(&s);
    close_fixture(&f);
}

/* ---- classes ---- */

static const read_limits one_at_a_time = {.reads = {1, 1, 1, 1}, .bytes = {UINT64_MAX, UINT64_MAX, 1, 1}};
static const read_grant no_guesses = {0};

static void submit_block(fixture *f, storage *s, uint64_t tag, read_class class, uint64_t deadline_ns)
{
    s->ops->submit(s, &(read_request){{0, tag * 8192, 8192}, f->buffer + tag * 8192, tag, false, class, deadline_ns});
}

static void check_block(fixture *f, storage *s, uint64_t tag)
{
    read_result result;
    assert_true(s->ops->reap(s, tag, tag + 1, &result));
    assert_int_equal(result.status, LEAT_OK);
    for (uint64_t i = 0; i < 8192; i++) assert_int_equal(f->buffer[tag * 8192 + i], byte_at(0, tag * 8192 + i));
}

/* A storage in which nothing but the read with tag 0 has begun, and that one does not end while the hook is shut. */
static storage *open_shut_storage(fixture *f, uint32_t queue_depth)
{
    open_fixture(f, FILE_DIRECT_IF_POSSIBLE);
    memset(f->buffer, GUARD, BUFFER_BYTES);
    storage *s = open_storage(f, 3, queue_depth);
    s->ops->limit(s, &one_at_a_time);
    reset_hook();
    alarm(20);
    hook.is_shut = true;
    submit_block(f, s, 0, READ_DEMAND, 0);
    if (kind == STORAGE_THREADS) await_begun(1);
    return s;
}

static void close_shut_storage(fixture *f, storage *s)
{
    alarm(0);
    reset_hook();
    s->ops->close(&s);
    close_fixture(f);
}

static void gives_up_what_has_not_begun(void **state)
{
    (void)state;
    fixture f;
    read_result result;
    storage *s = open_shut_storage(&f, 16);
    for (uint64_t tag = 1; tag < 9; tag++) submit_block(&f, s, tag, tag % READ_CLASS_COUNT, 0);
    assert_false(s->ops->try_reap(s, 0, 9, &result)); /* without waiting for it */
    assert_int_equal(s->ops->cancel(s, 0, 1), 0);     /* it has */
    assert_int_equal(s->ops->cancel(s, 2, 6), 4);
    assert_int_equal(s->ops->cancel(s, 2, 6), 0);
    uint32_t seen = 0;
    for (int i = 0; i < 4; i++) { /* at once: the disk is still at the first one */
        assert_true(s->ops->reap(s, 2, 6, &result));
        assert_int_equal(result.status, LEAT_CANCELLED);
        assert_non_null(strstr(result.error.text, names[0]));
        seen |= 1u << result.tag;
    }
    assert_int_equal(seen, 0x3c);
    assert_false(s->ops->reap(s, 2, 6, &result));
    hook.is_shut = false;
    for (uint64_t tag = 0; tag < 9; tag++)
        if (!(seen >> tag & 1)) check_block(&f, s, tag);
    for (uint64_t i = 2 * 8192; i < 6 * 8192; i++) assert_int_equal(f.buffer[i], GUARD);
    assert_int_equal(s->ops->stats(s).read_count, 5);
    assert_int_equal(s->ops->stats(s).cancelled_count, 4);
    submit_block(&f, s, 3, READ_BACKGROUND, 0);
    while (!s->ops->try_reap(s, 3, 4, &result)) usleep(100);
    assert_int_equal(result.status, LEAT_OK);
    submit_block(&f, s, 3, READ_BACKGROUND, 0);
    check_block(&f, s, 3);
    close_shut_storage(&f, s);
}

static void begins_the_urgent_first(void **state)
{
    (void)state;
    static const struct {
        read_class class;
        uint64_t deadline_ns;
    } reads[] = {{READ_DEMAND, 0},     {READ_BACKGROUND, 0}, {READ_BACKGROUND, 0}, {READ_LOOK_AHEAD, 0},
                 {READ_LOOK_AHEAD, 9}, {READ_LOOK_AHEAD, 8}, {READ_CERTAIN, 0},    {READ_DEMAND, 0},
                 {READ_DEMAND, 0},     {READ_BACKGROUND, 0}};
    static const uint64_t order[] = {0, 2, 7, 8, 6, 5, 4, 3, 9, 1};
    fixture f;
    storage *s = open_shut_storage(&f, 20);
    for (uint64_t tag = 1; tag < ARRAY_COUNT(reads); tag++)
        submit_block(&f, s, tag, reads[tag].class, reads[tag].deadline_ns);
    s->ops->raise(s, 2, 3, READ_DEMAND);      /* and it was there first */
    s->ops->raise(s, 9, 10, READ_LOOK_AHEAD); /* and it was there last */
    s->ops->raise(s, 6, 9, READ_BACKGROUND);  /* never less urgent */
    s->ops->raise(s, 0, 1, READ_CERTAIN);
    hook.is_shut = false;
    for (uint64_t i = 0; i < ARRAY_COUNT(reads); i++) check_block(&f, s, order[i]);
    for (uint64_t i = 0; i < ARRAY_COUNT(reads); i++) assert_int_equal(hook.begun_offsets[i], order[i] * 8192);
    close_shut_storage(&f, s);
}

/* A guess without a grant is read when somebody waits for it, and when the disk has nothing else to do. */
static void holds_guesses_back_but_not_for_ever(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 3, 16);
    alarm(60);
    s->ops->grant(s, &no_guesses);
    submit_block(&f, s, 0, READ_BACKGROUND, 0);
    submit_block(&f, s, 1, READ_LOOK_AHEAD, 0);
    while (s->ops->stats(s).read_count < 2) {
        s->ops->pump(s);
        usleep(1000);
    }
    assert_int_equal(s->ops->stats(s).class_bytes[READ_DEMAND], 0);
    assert_int_equal(s->ops->stats(s).class_bytes[READ_LOOK_AHEAD], 8192);
    check_block(&f, s, 0);
    check_block(&f, s, 1);
    for (uint64_t tag = 2; tag < 8; tag++) submit_block(&f, s, tag, READ_BACKGROUND, 0);
    for (uint64_t tag = 7; tag >= 2; tag--) check_block(&f, s, tag);
    assert_true(s->ops->stats(s).class_bytes[READ_DEMAND] > 0);
    s->ops->grant(s, &(read_grant){1, 1});
    s->ops->grant(s, &(read_grant){READ_GRANT_UNLIMITED, 0});
    for (uint64_t tag = 8; tag < 16; tag++) submit_block(&f, s, tag, READ_LOOK_AHEAD, 0);
    for (uint64_t tag = 8; tag < 16; tag++) check_block(&f, s, tag);
    s->ops->close(&s);
    alarm(0);
    close_fixture(&f);
}

static void leaves_half_of_the_queue_to_others(void **state)
{
    (void)state;
    fixture f;
    storage *s = open_shut_storage(&f, 8);
    read_request guess = {{0, 0, 100}, f.buffer + 65536, 1, false, READ_LOOK_AHEAD, 0};
    for (; guess.tag <= 4; guess.tag++) assert_true(s->ops->try_submit(s, &guess));
    assert_false(s->ops->try_submit(s, &guess));
    s->ops->raise(s, 1, 2, READ_CERTAIN); /* not a guess any more */
    assert_true(s->ops->try_submit(s, &guess));
    assert_false(s->ops->try_submit(s, &guess));
    for (uint64_t tag = 6; tag < 8; tag++) {
        read_request sure = {{0, 0, 100}, f.buffer + 65536, tag, false, READ_CERTAIN, 0};
        assert_true(s->ops->try_submit(s, &sure));
    }
    hook.is_shut = false;
    read_result result;
    for (int i = 0; i < 8; i++) assert_true(s->ops->reap(s, 0, 8, &result));
    for (int i = 0; i < 4; i++) assert_true(s->ops->try_submit(s, &guess));
    assert_false(s->ops->try_submit(s, &guess));
    close_shut_storage(&f, s);
}

/* ---- a system that is not kind ---- */

/* Several users, direct and buffered, while reads are cut short, put off and refused. */
static void goes_on_where_the_system_stopped(void **state)
{
    (void)state;
    for (size_t m = 0; m < ARRAY_COUNT(modes); m++) {
        fixture f;
        open_fixture(&f, modes[m]);
        storage *s = open_storage(&f, 3, 4);
        alarm(120);
        hook.short_every = 3;
        hook.retry_every = 5;
        for (uint64_t i = 0; i < 300; i++) check_extent(&f, s, 0, i * 97, 20000 + i * 331 % 90000);
        assert_true(hook.short_count > 50);
        assert_true(hook.retry_count > 20);
        assert_int_equal(s->ops->stats(s).read_count, 300);
        reset_hook();
        alarm(0);
        s->ops->close(&s);
        close_fixture(&f);
    }
}

static uint32_t warning_count;
static char warning[1024];

static void keep_warning(void *unused, log_level level, const char *line)
{
    (void)unused;
    if (level != LOG_WARN) return;
    warning_count++;
    snprintf(warning, sizeof warning, "%s", line);
}

/* Errors of the disk that pass are not the reader's; those that stay name the place and the device. */
static void tries_again_what_the_disk_refused(void **state)
{
    (void)state;
    fixture f;
    read_result result;
    char device[64];
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 3, 4);
    alarm(120);
    warning_count = 0;
    log_set_sink(keep_warning, NULL, LOG_WARN);
    hook.eio_left = READ_RETRIES_MAX - 1;
    check_extent(&f, s, 0, 12345, 20000);
    assert_int_equal(hook.eio_left, 0);
    assert_int_equal(s->ops->stats(s).retry_count, READ_RETRIES_MAX - 1);
    assert_int_equal(s->ops->stats(s).read_count, 1);
    assert_int_equal(warning_count, 1); /* not of each */
    assert_non_null(strstr(warning, "long.bin: at byte "));

    hook.eio_left = UINT32_MAX;
    s->ops->submit(s, &(read_request){{0, 8192, 4096}, f.buffer, 5, false, READ_DEMAND, 0});
    assert_true(s->ops->reap(s, 5, 6, &result));
    assert_int_equal(UINT32_MAX - hook.eio_left, 1 + READ_RETRIES_MAX);
    assert_int_equal(result.status, LEAT_IO);
    assert_int_equal(result.error.os_errno, EIO);
    assert_non_null(strstr(result.error.text, "long.bin: at byte 8192: reading 4096 bytes: Input/output error"));
    snprintf(device, sizeof device, "device %u:%u;", major(f.files[0].device), minor(f.files[0].device));
    assert_non_null(strstr(result.error.hint, device));
    reset_hook();
    log_set_sink(NULL, NULL, LOG_WARN);
    check_extent(&f, s, 0, 12345, 20000);
    s->ops->close(&s);
    alarm(0);
    close_fixture(&f);
}

/* A disk that does not answer: who waits is told when his patience is over, or when he does not want to wait any more;
 * where the system still has the read, its place is nobody else's. */
static void gives_up_a_read_that_does_not_end(void **state)
{
    (void)state;
    fixture f;
    read_result result;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
#ifdef HAVE_LIBURING
    assert_int_equal(pipe2(stalled_pipe, O_CLOEXEC), 0);
#endif
    for (int is_cancelled = 0; is_cancelled <= 1; is_cancelled++) {
        volatile int cancel = 0;
        storage *s = open_storage(&f, 2, 8);
        alarm(60);
        s->ops->watch(s, &(read_watch){&cancel, is_cancelled ? READ_PATIENCE_NS : 30000000});
        hook.stall_left = 1;
        s->ops->submit(s, &(read_request){{0, 8192, 8192}, f.buffer + 8192, 1, false, READ_DEMAND, 0});
        while (hook.stall_left > 0) usleep(100);
        s->ops->submit(s, &(read_request){{0, 4096, 4096}, f.buffer, 2, false, READ_DEMAND, 0});
        assert_true(s->ops->reap(s, 2, 3, &result)); /* others are not concerned */
        assert_int_equal(result.status, LEAT_OK);
        cancel = is_cancelled;
        assert_true(s->ops->reap(s, 0, UINT64_MAX, &result));
        assert_int_equal(result.tag, 1);
        assert_int_equal(result.status, LEAT_IO);
        assert_int_equal(result.error.os_errno, is_cancelled ? ECANCELED : ETIME);
        assert_non_null(strstr(result.error.text, "long.bin: at byte 8192: reading 8192 bytes"));
        assert_false(s->ops->reap(s, 0, UINT64_MAX, &result)); /* once */

        /* The same tag and a part of the place: held back as long as the pread thread has it. */
        cancel = 0;
        s->ops->watch(s, &(read_watch){&cancel, READ_PATIENCE_NS});
        s->ops->submit(s, &(read_request){{0, 0, 8192}, f.buffer + 12288, 1, false, READ_DEMAND, 0});
        if (kind == STORAGE_THREADS) {
            assert_int_equal(s->ops->stats(s).lost_count, 1);
            assert_int_equal(s->ops->stats(s).flying_count, 1);
            assert_int_equal(s->ops->cancel(s, 1, 2), 1);
            assert_true(s->ops->reap(s, 1, 2, &result));
            assert_int_equal(result.status, LEAT_CANCELLED);
            s->ops->submit(s, &(read_request){{0, 0, 8192}, f.buffer + 12288, 1, false, READ_DEMAND, 0});
            hook.ends_stalls = true;
        } /* io_uring: the kernel was asked and let go */
        assert_true(s->ops->reap(s, 1, 2, &result));
        assert_int_equal(result.status, LEAT_OK);
        for (uint64_t i = 0; i < 8192; i++) assert_int_equal(f.buffer[12288 + i], byte_at(0, i));
        s->ops->reclaim(s);
        assert_int_equal(s->ops->stats(s).lost_count, 0);
        reset_hook();
        s->ops->close(&s);
        alarm(0);
    }
#ifdef HAVE_LIBURING
    close(stalled_pipe[0]);
    close(stalled_pipe[1]);
#endif
    close_fixture(&f);
}

static void hands_out_every_failure_once(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 3, 16);
    uint32_t failed_count = 0, seen_count = 0;
    read_result result;
    alarm(120);
    hook.fail_every = 4;
    hook.short_every = 3;
    for (int round = 0; round < 30; round++) {
        for (uint64_t tag = 0; tag < 16; tag++)
            s->ops->submit(
                s, &(read_request){{0, tag * 8192, 8192}, f.buffer + tag * 8192, tag, tag % 5 != 4, READ_DEMAND, 0});
        uint32_t seen = 0;
        while (s->ops->reap(s, 0, 16, &result)) {
            assert_false(seen >> result.tag & 1);
            seen |= 1u << result.tag;
            seen_count++;
            if (result.status == LEAT_OK) continue;
            assert_int_equal(result.error.os_errno, EBADF);
            assert_non_null(strstr(result.error.text, "long.bin: at byte "));
            failed_count++;
        }
    }
    assert_int_equal(seen_count, 30 * 16);
    assert_int_equal(failed_count, hook.fail_count);
    assert_true(failed_count > 60);
    assert_int_equal(s->ops->stats(s).payload_bytes, (30 * 16 - failed_count) * 8192);
    reset_hook();
    alarm(0);
    check_extent(&f, s, 0, 1, 40000);
    s->ops->close(&s);
    close_fixture(&f);
}

/* Nobody reaps, and the reads are done all the same. */
static void begins_without_being_waited_for(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 2, 8);
    read_result result;
    alarm(60);
    for (uint64_t tag = 0; tag < 4; tag++)
        s->ops->submit(s, &(read_request){{0, 0, 8192}, f.buffer + tag * 8192, tag, tag != 3, READ_DEMAND, 0});
    while (s->ops->stats(s).read_count < 4) sched_yield();
    while (s->ops->reap(s, 0, 4, &result)) assert_int_equal(result.status, LEAT_OK);
    /* A batch whose end does not come is begun by who waits. */
    s->ops->submit(s, &(read_request){{0, 0, 8192}, f.buffer, 7, true, READ_DEMAND, 0});
    assert_true(s->ops->reap(s, 7, 8, &result));
    s->ops->submit(s, &(read_request){{0, 0, 8192}, f.buffer, 7, true, READ_DEMAND, 0});
    s->ops->close(&s); /* and dropped by who closes */
    alarm(0);
    close_fixture(&f);
}

typedef struct short_life {
    fixture *f;
    storage *s;
} short_life;

static void *submit_and_end(void *context)
{
    short_life *l = context;
    for (uint64_t tag = 0; tag < 16; tag++)
        l->s->ops->submit(
            l->s, &(read_request){{0, tag * 8192, 8192}, l->f->buffer + tag * 8192, tag, tag < 15, READ_DEMAND, 0});
    return NULL;
}

/* The kernel cancels what a thread leaves behind that ends. */
static void reads_on_after_its_submitter_ended(void **state)
{
    (void)state;
    for (size_t m = 0; m < ARRAY_COUNT(modes); m++) {
        fixture f;
        open_fixture(&f, modes[m]);
        storage *s = open_storage(&f, 2, 16);
        alarm(60);
        for (int round = 0; round < 50; round++) {
            short_life life = {&f, s};
            pthread_t thread;
            read_result result;
            memset(f.buffer, GUARD, BUFFER_BYTES);
            assert_int_equal(pthread_create(&thread, NULL, submit_and_end, &life), 0);
            pthread_join(thread, NULL);
            for (int i = 0; i < 16; i++) {
                assert_true(s->ops->reap(s, 0, 16, &result));
                assert_int_equal(result.status, LEAT_OK);
            }
            for (uint64_t i = 0; i < 16 * 8192; i += 509) assert_int_equal(f.buffer[i], byte_at(0, i));
        }
        alarm(0);
        s->ops->close(&s);
        close_fixture(&f);
    }
}

static void falls_back_to_threads(void **state)
{
    (void)state;
    static const int refusals[] = {EPERM, ENOSYS, EINVAL, ENOMEM};
    fixture f;
    leat_error error;
    storage *s = NULL;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    log_set_sink(keep_warning, NULL, LOG_WARN);
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        hook.setup_errno = refusals[i];
        warning_count = 0;
        assert_int_equal(storage_resolve(STORAGE_URING, 8), STORAGE_THREADS);
        assert_int_equal(warning_count, 0); /* a plan says nothing */
        assert_int_equal(storage_open(STORAGE_URING, f.ledger, &f.set, 2, 8, &s, &error), LEAT_OK);
        assert_int_equal(s->ops->kind, STORAGE_THREADS);
        assert_int_equal(warning_count, 1);
        assert_non_null(strstr(warning, strerrordesc_np(refusals[i])));
        assert_int_equal(mem_pool_usage(f.ledger, MEM_IO).current_bytes, storage_bytes(STORAGE_THREADS, 2, 8));
        check_extent(&f, s, 0, 3, 20000);
        s->ops->close(&s);
    }
    reset_hook();
    log_set_sink(NULL, NULL, LOG_WARN);
    assert_int_equal(storage_resolve(STORAGE_URING, 8), STORAGE_URING);
    close_fixture(&f);
}

/* Who is on his way to wait in the kernel finds there what he waits for: nobody takes it in before him. */
static void leaves_completions_to_the_waiter(void **state)
{
    (void)state;
    fixture f;
    pthread_barrier_t start;
    pthread_t thread;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 1, 2);
    waiter w = {s, &start, false};
    pthread_barrier_init(&start, NULL, 2);
    alarm(60);
    hook.wait_delay_us = 50000;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_first_tag, &w), 0);
    s->ops->submit(s, &(read_request){{0, 0, 65536}, f.buffer, 1, false, READ_DEMAND, 0});
    pthread_barrier_wait(&start);
    for (int i = 0; i < 40; i++) {
        usleep(1000);
        (void)s->ops->stats(s);
    }
    pthread_join(thread, NULL);
    assert_true(w.was_found);
    reset_hook();
    alarm(0);
    pthread_barrier_destroy(&start);
    s->ops->close(&s);
    close_fixture(&f);
}

/* The ring is forbidden after it was set up: the reads that it did not take fail, and none is lost. */
static void fails_what_the_ring_refuses(void **state)
{
    (void)state;
    fixture f;
    read_result result;
    open_fixture(&f, FILE_DIRECT_IF_POSSIBLE);
    storage *s = open_storage(&f, 2, 8);
    hook.submit_errno = EPERM;
    for (uint64_t tag = 0; tag < 5; tag++)
        s->ops->submit(s, &(read_request){{0, tag * 512, 512}, f.buffer + tag * 4096, tag, tag < 4, READ_DEMAND, 0});
    for (int i = 0; i < 5; i++) {
        assert_true(s->ops->reap(s, 0, 8, &result));
        assert_int_equal(result.status, LEAT_IO);
        assert_int_equal(result.error.os_errno, EPERM);
    }
    assert_false(s->ops->reap(s, 0, 8, &result));
    reset_hook();
    check_extent(&f, s, 0, 512, 9000); /* where it is allowed again */
    s->ops->close(&s);
    close_fixture(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_extents_at_every_alignment),
        cmocka_unit_test(leaves_nothing_in_the_page_cache),
        cmocka_unit_test(reads_windows_that_reach_past_the_end_of_the_file),
        cmocka_unit_test(names_file_and_offset_when_data_is_missing),
        cmocka_unit_test(hands_on_what_the_system_says),
        cmocka_unit_test(completes_empty_extents_at_once),
        cmocka_unit_test(reaps_only_tags_of_the_range),
        cmocka_unit_test(says_when_the_queue_is_full),
        cmocka_unit_test(serves_several_users_at_once),
        cmocka_unit_test(wakes_the_one_whose_read_is_done),
        cmocka_unit_test(counts_what_it_did),
        cmocka_unit_test(gives_up_what_has_not_begun),
        cmocka_unit_test(begins_the_urgent_first),
        cmocka_unit_test(holds_guesses_back_but_not_for_ever),
        cmocka_unit_test(leaves_half_of_the_queue_to_others),
        cmocka_unit_test(closes_with_reads_under_way),
        cmocka_unit_test(takes_its_memory_from_the_ledger_or_fails_cleanly),
        cmocka_unit_test(goes_on_where_the_system_stopped),
        cmocka_unit_test(tries_again_what_the_disk_refused),
        cmocka_unit_test(gives_up_a_read_that_does_not_end),
        cmocka_unit_test(hands_out_every_failure_once),
        cmocka_unit_test(begins_without_being_waited_for),
        cmocka_unit_test(reads_on_after_its_submitter_ended),
    };
    const struct CMUnitTest uring_tests[] = {
        cmocka_unit_test(falls_back_to_threads),
        cmocka_unit_test(fails_what_the_ring_refuses),
        cmocka_unit_test(leaves_completions_to_the_waiter),
    };
    kind = argc > 1 && strcmp(argv[1], "uring") == 0 ? STORAGE_URING : STORAGE_THREADS;
    if (storage_resolve(kind, 64) != kind) {
        printf("no io_uring here\n");
        return 77;
    }
    if (kind == STORAGE_THREADS) return cmocka_run_group_tests_name("storage_threads", tests, NULL, NULL);
    return cmocka_run_group_tests_name("storage_uring", tests, NULL, NULL) +
           cmocka_run_group_tests_name("storage_uring alone", uring_tests, NULL, NULL);
}

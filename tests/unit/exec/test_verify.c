/* The check of a checkpoint's content: blob names against bytes, and numbers that are none at every awkward place. */
#include "exec/checkpoint.h"

#include "base/bytes.h"
#include "temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

/* Made with sha256sum and git hash-object. */
#define CONFIG_TEXT  "{}\n"
#define CONFIG_SHA1  "0967ef424bce6791893e9a57bb952f80fd536e93"
#define SHARD_HEADER "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
#define SHARD_SHA256 "938a1286932d19c8c3799f0861ecdee467405712d99a11a69e79dd47387d40de"
#define SHARD_SHA1   "dd1b77be5cf47fca1950a7f87aca6e1789346d03"
enum { SHARD_BYTES = 66 };

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

static checkpoint *open_good(const char *path)
{
    checkpoint *c = NULL;
    leat_error error = {0};
    if (checkpoint_open(path, &c, &error) != LEAT_OK) fail_msg("%s: %s (%s)", path, error.text, error.hint);
    return c;
}

static leat_status verify(const char *path, uint64_t *out_bytes, leat_error *error)
{
    checkpoint *c = open_good(path);
    leat_status status = checkpoint_verify(c, NULL, NULL, NULL, out_bytes, error);
    checkpoint_close(&c);
    return status;
}

static void expect_success(const char *path, uint64_t bytes)
{
    uint64_t found = 0;
    leat_error error = {0};
    if (verify(path, &found, &error) != LEAT_OK) fail_msg("%s", error.text);
    assert_int_equal(found, bytes);
}

static void expect_damage(const char *path, const char *words)
{
    uint64_t bytes = 77;
    leat_error error = {0};
    assert_int_equal(verify(path, &bytes, &error), LEAT_MODEL);
    if (!strstr(error.text, words)) fail_msg("\"%s\" is not in: %s", words, error.text);
    assert_int_equal(bytes, 77);
}

/* ---- checksums ---- */

static const float one = 1.0f;

static void make_cached_model(const temp_folder *t, const char *shard_blob)
{
    char name[200];
    snprintf(name, sizeof name, "hub/models--org--repo/blobs/%s", shard_blob);
    temp_folder_write_shard(t, name, SHARD_HEADER, 0, &one, sizeof one);
    snprintf(name, sizeof name, "../../blobs/%s", shard_blob);
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/model.safetensors", name);
    temp_folder_write_text(t, "hub/models--org--repo/refs/main", COMMIT);
    temp_folder_write_text(t, "hub/models--org--repo/blobs/" CONFIG_SHA1, CONFIG_TEXT);
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/config.json", "../../blobs/" CONFIG_SHA1);
    setenv("HF_HUB_CACHE", temp_folder_path(t, "hub"), 1);
}

static void flip_byte(const char *path, long offset)
{
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(stream);
    assert_int_equal(fseek(stream, -1, SEEK_CUR), 0);
    fputc(byte ^ 1, stream);
    assert_int_equal(fclose(stream), 0);
}

static void test_sha256_blob(void **state)
{
    const temp_folder *t = *state;
    make_cached_model(t, SHARD_SHA256);
    expect_success("org/repo", SHARD_BYTES + strlen(CONFIG_TEXT));
    flip_byte(temp_folder_path(t, "hub/models--org--repo/blobs/" SHARD_SHA256), -4);
    expect_damage("org/repo", "model.safetensors: damaged");
    expect_damage("org/repo", SHARD_SHA256);
}

static void test_git_blob(void **state)
{
    const temp_folder *t = *state;
    make_cached_model(t, SHARD_SHA1);
    expect_success("org/repo", SHARD_BYTES + strlen(CONFIG_TEXT));
    flip_byte(temp_folder_path(t, "hub/models--org--repo/blobs/" SHARD_SHA1), -4);
    expect_damage("org/repo", "git SHA-1");
}

static void test_other_files_are_read_too(void **state)
{
    const temp_folder *t = *state;
    make_cached_model(t, SHARD_SHA256);
    temp_folder_write_text(t, "hub/models--org--repo/snapshots/" COMMIT "/notes.txt",
                           "no link, nothing to compare with");
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/same.json", "../../blobs/" CONFIG_SHA1);
    expect_success("org/repo", SHARD_BYTES + 2 * strlen(CONFIG_TEXT));
    temp_folder_write_text(t, "hub/models--org--repo/blobs/" CONFIG_SHA1, "{} ");
    expect_damage("org/repo", "json: damaged");
}

/* A file's own rot is reported as such, not as the NaN that it made. */
static void test_checksum_before_nan(void **state)
{
    const temp_folder *t = *state;
    make_cached_model(t, SHARD_SHA256);
    static const uint8_t nan_bytes[] = {0, 0, 0xc0, 0x7f};
    temp_folder_write_shard(t, "hub/models--org--repo/blobs/" SHARD_SHA256, SHARD_HEADER, 0, nan_bytes,
                            sizeof nan_bytes);
    expect_damage("org/repo", "damaged");
}

/* Only the cache's own links promise anything. */
static void test_names_that_promise_nothing(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "config.json", CONFIG_TEXT);
    temp_folder_write_shard(t, "files/" SHARD_SHA256, SHARD_HEADER, 60, &one, sizeof one);
    temp_folder_link(t, "model.safetensors", "files/" SHARD_SHA256);
    expect_success(t->path, 72);
    temp_folder_remove(t, "model.safetensors");
    temp_folder_write_shard(t, "blobs/0123", SHARD_HEADER, 60, &one, sizeof one);
    temp_folder_link(t, "model.safetensors", "blobs/0123");
    expect_success(t->path, 72);
}

/* ---- numbers ---- */

typedef struct bad_number {
    const char *dtype;
    uint8_t element_bytes;
    uint64_t value;
    int is_bad;
} bad_number;

static const bad_number numbers[] = {
    {"F32", 4, 0x7f800000, 1},
    {"F32", 4, 0xff800000, 1},
    {"F32", 4, 0x7f800001, 1},
    {"F32", 4, 0xffc00000, 1},
    {"F32", 4, 0x7f7fffff, 0},
    {"F32", 4, 0xff7fffff, 0},
    {"F32", 4, 0x00000001, 0},
    {"BF16", 2, 0x7f80, 1},
    {"BF16", 2, 0xff80, 1},
    {"BF16", 2, 0x7fc0, 1},
    {"BF16", 2, 0x7f7f, 0},
    {"BF16", 2, 0xff7f, 0},
    {"F16", 2, 0x7c00, 1},
    {"F16", 2, 0xfc00, 1},
    {"F16", 2, 0x7e00, 1},
    {"F16", 2, 0x7bff, 0},
    {"F16", 2, 0x3c00, 0},
    {"F64", 8, 0x7ff0000000000000, 1},
    {"F64", 8, 0xfff8000000000000, 1},
    {"F64", 8, 0x7fefffffffffffff, 0},
    {"F8_E8M0", 1, 0xff, 1},
    {"F8_E8M0", 1, 0xfe, 0},
    {"F8_E8M0", 1, 0x7f, 0},
    {"F8_E4M3", 1, 0x7f, 1},
    {"F8_E4M3", 1, 0xff, 1},
    {"F8_E4M3", 1, 0x7e, 0},
    {"F8_E4M3", 1, 0xfe, 0},
    {"F8_E5M2", 1, 0x7c, 1},
    {"F8_E5M2", 1, 0xfd, 1},
    {"F8_E5M2", 1, 0x7b, 0},
    {"U32", 4, 0x7fc00000, 0},
    {"I16", 2, 0x7f80, 0},
    {"U8", 1, 0xff, 0},
};

/* One tensor "t" of `count` elements, all zero but number `place`. The header's length says at which address the data
 * begins. */
static void write_number(const temp_folder *t, const bad_number *n, uint64_t count, uint64_t place, size_t header_bytes)
{
    char header[200];
    uint64_t bytes = count * n->element_bytes;
    uint8_t *data = calloc(bytes, 1);
    assert_non_null(data);
    memcpy(data + place * n->element_bytes, &n->value, n->element_bytes);
    snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[%llu],\"data_offsets\":[0,%llu]}}", n->dtype,
             (unsigned long long)count, (unsigned long long)bytes);
    temp_folder_write_shard(t, "model.safetensors", header, header_bytes, data, bytes);
    free(data);
}

static void test_every_kind_of_number(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "config.json", CONFIG_TEXT);
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        const bad_number *n = &numbers[i];
        static const uint64_t places[] = {0, 5, 99};
        for (size_t j = 0; j < ARRAY_COUNT(places); j++) {
            write_number(t, n, 100, places[j], 101);
            if (n->is_bad) {
                char words[100];
                snprintf(words, sizeof words, "at byte %llu of the file, element %llu",
                         (unsigned long long)(109 + places[j] * n->element_bytes), (unsigned long long)places[j]);
                expect_damage(t->path, words);
                expect_damage(t->path, "model.safetensors: tensor t holds");
            } else {
                expect_success(t->path, 109 + 100 * n->element_bytes);
            }
        }
    }
}

/* Blocks are 4 MiB. The header's length puts the last byte, the first byte, or the middle of an element at the border.
 */
static void test_numbers_at_the_border_of_blocks(void **state)
{
    const temp_folder *t = *state;
    static const bad_number wide[] = {
        {"F64", 8, 0x7ff8000000000000, 1}, {"F32", 4, 0x7fc00000, 1}, {"BF16", 2, 0x7fc0, 1}};
    enum { BLOCK = 4 << 20 };
    temp_folder_write_text(t, "config.json", CONFIG_TEXT);
    for (size_t i = 0; i < ARRAY_COUNT(wide); i++) {
        const bad_number *n = &wide[i];
        for (size_t header_bytes = 100; header_bytes < 100u + n->element_bytes; header_bytes++) {
            uint64_t data_begin = 8 + header_bytes, count = (2 * BLOCK) / n->element_bytes + 10;
            for (uint64_t border = BLOCK; border <= 2 * BLOCK; border += BLOCK) {
                uint64_t place = (border - data_begin) / n->element_bytes; /* holds the border or begins there */
                for (uint64_t p = place - 1; p <= place + 1; p++) {
                    char words[100];
                    write_number(t, n, count, p, header_bytes);
                    snprintf(words, sizeof words, "at byte %llu of the file, element %llu",
                             (unsigned long long)(data_begin + p * n->element_bytes), (unsigned long long)p);
                    expect_damage(t->path, words);
                }
            }
        }
    }
}

/* The tensors stand in the header in another order than in the file, and in two files. */
static void test_the_right_tensor_is_named(void **state)
{
    const temp_folder *t = *state;
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[20,32]},"
                                 "\"empty\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]},"
                                 "\"m\":{\"dtype\":\"U32\",\"shape\":[3],\"data_offsets\":[8,20]},"
                                 "\"z\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    static const char second_header[] = "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    static const char *const owners[] = {"tensor z", "tensor z", NULL, NULL, NULL, "tensor a", "tensor a", "tensor a"};
    temp_folder_write_text(t, "config.json", CONFIG_TEXT);
    temp_folder_write_shard(t, "model-2.safetensors", second_header, 0, &one, sizeof one);
    for (size_t i = 0; i < ARRAY_COUNT(owners); i++) {
        uint32_t words[8] = {0};
        words[i] = 0x7fc00000;
        temp_folder_write_shard(t, "model-1.safetensors", header, 0, words, sizeof words);
        if (owners[i]) {
            expect_damage(t->path, owners[i]);
            expect_damage(t->path, "model-1.safetensors");
        } else {
            expect_success(t->path, 8 + strlen(header) + 32 + 8 + strlen(second_header) + 4);
        }
    }
    uint32_t fine[8] = {0}, bad = 0x7fc00000;
    temp_folder_write_shard(t, "model-1.safetensors", header, 0, fine, sizeof fine);
    temp_folder_write_shard(t, "model-2.safetensors", second_header, 0, &bad, sizeof bad);
    expect_damage(t->path, "model-2.safetensors: tensor b");
}

/* U8 scales: of nvfp4 (16 four-bit elements a scale) they are E4M3, of mxfp4 and mxfp8 E8M0, where 0x7f is the number
 * 1. */
static void test_byte_scales(void **state)
{
    const temp_folder *t = *state;
    static const struct {
        int words; /* of 32 bits, that share a scale */
        uint8_t scale;
        int is_bad;
    } cases[] = {{2, 0x7f, 1}, {2, 0xff, 1}, {2, 0x7e, 0}, {4, 0x7f, 0},
                 {4, 0xff, 1}, {8, 0x7f, 0}, {8, 0xff, 1}, {8, 0xfe, 0}};
    temp_folder_write_text(t, "config.json", CONFIG_TEXT);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char header[400];
        uint8_t data[2 * 2 * 8 * 4 + 4 + 4];
        int weight_bytes = 2 * 2 * cases[i].words * 4;
        memset(data, 0xff, sizeof data); /* the weights may hold anything */
        memset(data + weight_bytes, 0x70, 4);
        data[weight_bytes + 2] = cases[i].scale;
        snprintf(header, sizeof header,
                 "{\"p.weight\":{\"dtype\":\"U32\",\"shape\":[2,%d],\"data_offsets\":[0,%d]},"
                 "\"p.scales\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[%d,%d]},"
                 "\"p.other\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[%d,%d]}}",
                 2 * cases[i].words, weight_bytes, weight_bytes, weight_bytes + 4, weight_bytes + 4, weight_bytes + 8);
        temp_folder_write_shard(t, "model.safetensors", header, 0, data, (size_t)weight_bytes + 8);
        if (cases[i].is_bad) {
            char words[100];
            snprintf(words, sizeof words, "at byte %zu of the file, element 2",
                     8 + strlen(header) + (size_t)weight_bytes + 2);
            expect_damage(t->path, "tensor p.scales");
            expect_damage(t->path, words);
        } else {
            expect_success(t->path, 8 + strlen(header) + (uint64_t)weight_bytes + 8);
        }
    }
}

/* ---- progress, cancelling, trouble ---- */

typedef struct watcher {
    uint64_t done, total;
    int calls, cancel_at;
    volatile int cancel;
} watcher;

static void watch(void *user, const char *phase, uint64_t done, uint64_t total)
{
    watcher *w = user;
    assert_string_equal(phase, "check");
    assert_true(done > w->done && done <= total && (w->total == 0 || w->total == total));
    w->done = done;
    w->total = total;
    if (++w->calls == w->cancel_at) w->cancel = 1;
}

static void test_progress_and_cancelling(void **state)
{
    const temp_folder *t = *state;
    static const bad_number fine = {"U8", 1, 1, 0};
    temp_folder_write_text(t, "config.json", CONFIG_TEXT);
    write_number(t, &fine, 9 << 20, 0, 120);
    checkpoint *c = open_good(t->path);
    uint64_t bytes = 0, held = mem_total_usage(c->ledger).current_bytes;
    watcher w = {0};
    leat_error error = {0};
    assert_int_equal(checkpoint_verify(c, watch, &w, &w.cancel, &bytes, &error), LEAT_OK);
    assert_int_equal(w.calls, 3);
    assert_int_equal(w.done, (9 << 20) + 128);
    assert_int_equal(w.total, w.done);
    assert_int_equal(bytes, w.done);

    w = (watcher){.cancel_at = 2};
    bytes = 77;
    assert_int_equal(checkpoint_verify(c, watch, &w, &w.cancel, &bytes, &error), LEAT_CANCELLED);
    assert_int_equal(w.calls, 2);
    assert_int_equal(bytes, 77);
    assert_int_equal(checkpoint_verify(c, NULL, NULL, NULL, NULL, NULL), LEAT_OK);

    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_nth(c->ledger, nth);
        assert_int_equal(checkpoint_verify(c, NULL, NULL, NULL, NULL, &error), LEAT_NO_MEMORY);
    }
    mem_fail_nth(c->ledger, 0);

    /* Cut off while it is open: a failed read, not a crash. */
    assert_int_equal(truncate(temp_folder_path(t, "model.safetensors"), 5 << 20), 0);
    assert_int_equal(checkpoint_verify(c, NULL, NULL, NULL, NULL, &error), LEAT_IO);
    assert_int_equal(mem_total_usage(c->ledger).current_bytes, held);
    checkpoint_close(&c);
}

static void test_good_checkpoint(void **state)
{
    (void)state;
    const char *conformance = find_conformance(LEAT_SOURCE_ROOT);
    if (!conformance) skip();
    char path[TEMP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/bad/good", conformance);
    expect_success(path, 25407);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_sha256_blob),
        TEST(test_git_blob),
        TEST(test_other_files_are_read_too),
        TEST(test_checksum_before_nan),
        TEST(test_names_that_promise_nothing),
        TEST(test_every_kind_of_number),
        TEST(test_numbers_at_the_border_of_blocks),
        TEST(test_the_right_tensor_is_named),
        TEST(test_byte_scales),
        TEST(test_progress_and_cancelling),
        TEST(test_good_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

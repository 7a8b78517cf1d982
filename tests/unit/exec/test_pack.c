/*
 * Packing: every expert in one piece, the same bytes; what is stopped, killed, full or changed meanwhile; and the check
 * of the checksums.
 */
#include "unit.h"
#include "temp_folder.h"

#include "base/bytes.h"
#include "exec/expert_records.h"
#include "exec/pack.h"
#include "exec/pack_manifest.h"
#include "model/model_build.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/time.h>

#define GOLDEN(name) LEAT_SOURCE_ROOT "/tests/golden/" name

typedef struct opened {
    mem *ledger;
    arena memory;
    checkpoint *source;
    model_desc model;
} opened;

static opened open_model(const char *path)
{
    opened o = {.ledger = open_ledger(0)};
    leat_error error = {0};
    arena_init(&o.memory, o.ledger, MEM_META, 4096);
    assert_ok(checkpoint_open(path, &o.source, &error), &error);
    assert_ok(model_build(&o.source->index, o.source->config, o.source->generation, &o.memory, &o.model, &error),
              &error);
    return o;
}

static void close_model(opened *o)
{
    checkpoint_close(&o->source);
    arena_reset(&o->memory);
    close_empty_ledger(o->ledger);
}

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

static pack_request request_for(const opened *o, const char *folder, uint64_t file_bytes)
{
    return (pack_request){.source = o->source, .model = &o->model, .folder = folder, .file_bytes = file_bytes};
}

static void pack_well(const pack_request *request, pack_result *result)
{
    leat_error error = {0};
    assert_ok(pack_write(request, result, &error), &error);
}

static leat_status verify(const char *path, leat_error *error)
{
    checkpoint *c = NULL;
    assert_ok(checkpoint_open(path, &c, error), error);
    leat_status status = checkpoint_verify(c, NULL, NULL, NULL, NULL, error);
    checkpoint_close(&c);
    return status;
}

/* ---- the same model, in one piece an expert ---- */

static void compare_extent(const opened *a, const extent *from, const opened *b, const extent *to)
{
    static uint8_t first[1 << 20], second[1 << 20];
    leat_error error = {0};
    assert_int_equal(from->bytes, to->bytes);
    assert_true(from->bytes <= sizeof first);
    assert_ok(file_read(&a->source->files[from->file_idx], "source", from->offset, first, from->bytes, NULL, &error),
              &error);
    assert_ok(file_read(&b->source->files[to->file_idx], "pack", to->offset, second, to->bytes, NULL, &error), &error);
    assert_memory_equal(first, second, from->bytes);
}

/* How many reads the cache makes of a record. */
static uint32_t count_reads(const expert_record *record)
{
    uint32_t count = 0;
    const extent *before = NULL;
    for (uint32_t i = 0; i < record->part_count; i++) {
        const extent *part = &record->parts[i];
        if (!part->bytes) continue;
        count += !before || before->file_idx != part->file_idx || before->offset + before->bytes != part->offset;
        before = part;
    }
    return count;
}

static void compare_experts(const opened *a, const opened *b)
{
    leat_error error = {0};
    expert_records from, to;
    assert_ok(expert_records_open(a->ledger, &a->model, &from, &error), &error);
    assert_ok(expert_records_open(b->ledger, &b->model, &to, &error), &error);
    assert_int_equal(from.layer_count, to.layer_count);
    assert_int_equal(from.expert_count, to.expert_count);
    for (uint32_t i = 0; i < from.layer_count * from.expert_count; i++) {
        assert_int_equal(to.records[i].parts[0].offset % PACK_ALIGN, 0);
        assert_int_equal(count_reads(&to.records[i]), 1);
        for (uint32_t p = 0; p < from.records[i].part_count; p++)
            compare_extent(a, &from.records[i].parts[p], b, &to.records[i].parts[p]);
    }
    expert_records_close(&from);
    expert_records_close(&to);
}

/* Vectors and matrices that are no experts; their names are the same. */
static void compare_others(const opened *a, const opened *b)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < a->source->index.count; i++) {
        const tensor *from = &a->source->index.tensors[i], *to = tensor_index_find(&b->source->index, from->name);
        if (strstr(from->name, "experts") || strstr(from->name, "switch_")) continue;
        assert_non_null(to);
        assert_int_equal(from->type, to->type);
        assert_int_equal(from->rank, to->rank);
        const extent x = {from->file_idx, from->offset, from->bytes}, y = {to->file_idx, to->offset, to->bytes};
        compare_extent(a, &x, b, &y);
        found++;
    }
    assert_true(found > 10);
}

static void every_form_becomes_one_piece_an_expert(void **state)
{
    static const struct {
        const char *path;
        uint64_t file_bytes;
        bool has_many_files;
    } cases[] = {
        {GOLDEN("mlx/gemma4-moe-mixed"), 0, false},      {GOLDEN("mlx/gemma4-moe-mixed"), 100000, true},
        {GOLDEN("mlx/gemma4-moe-sharded"), 0, false},    {GOLDEN("mlx/qwen3_moe-4bit"), 1, true},
        {GOLDEN("models/gemma4-26b-a4b"), 200000, true}, {GOLDEN("models/qwen3-moe"), 50000, true},
        {GOLDEN("mlx/gemma4-moe-mxfp4"), 0, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        leat_error error = {0};
        pack_result result = {0};
        const char *folder = temp_folder_path(*state, i % 2 ? "odd" : "even");
        opened a = open_model(cases[i].path);
        const pack_request request = request_for(&a, folder, cases[i].file_bytes);
        pack_well(&request, &result);
        assert_true(access(temp_folder_path(*state, i % 2 ? "odd.unfinished" : "even.unfinished"), F_OK) != 0);
        assert_int_equal(result.record_count, (uint64_t)a.model.moe_layer_count * a.model.expert_count);
        assert_int_equal(result.kept_bytes, 0);
        assert_true(cases[i].has_many_files ? result.file_count > 2 : result.file_count == 1);
        assert_ok(verify(folder, &error), &error);

        opened b = open_model(folder);
        assert_int_equal(b.source->file_count, result.file_count);
        assert_int_equal(b.source->warning_count, 0);
        uint64_t bytes = 0;
        for (uint32_t f = 0; f < b.source->file_count; f++) bytes += b.source->files[f].bytes;
        assert_int_equal(bytes, result.bytes);
        compare_experts(&a, &b);
        compare_others(&a, &b);
        if (i < 2) { /* and a pack of a pack is the same pack */
            pack_result again = {0};
            const char *second = temp_folder_path(*state, i ? "second" : "first");
            const pack_request repeat = request_for(&b, second, cases[i].file_bytes);
            pack_well(&repeat, &again);
            assert_int_equal(again.bytes, result.bytes);
            assert_int_equal(again.padding_bytes, result.padding_bytes);
        }
        close_model(&b);
        close_model(&a);
        remove_folder(folder);
    }
}

/* ---- stopped and begun again ---- */

typedef struct stopper {
    uint64_t stop_at;
    const char *phase;
    volatile int cancel;
} stopper;

static void stop_at(void *user, const char *phase, uint64_t done, uint64_t total)
{
    stopper *s = user;
    assert_true(done <= total);
    if (strcmp(phase, s->phase) == 0 && done >= s->stop_at) s->cancel = 1;
}

static void a_stopped_pack_goes_on_where_it_was(void **state)
{
    leat_error error = {0};
    pack_result whole = {0}, result = {0};
    const char *folder = temp_folder_path(*state, "pack");
    opened a = open_model(GOLDEN("mlx/gemma4-moe-mixed"));
    pack_request request = request_for(&a, temp_folder_path(*state, "whole"), 100000);
    pack_well(&request, &whole);
    request.folder = folder;
    uint64_t kept = 0;
    for (int round = 1; round <= 3; round++) { /* farther each time, then while comparing */
        stopper s = {.stop_at = round < 3 ? whole.bytes * (uint64_t)round / 3 : 1,
                     .phase = round < 3 ? "pack" : "compare"};
        request.progress = stop_at;
        request.user = &s;
        request.cancel = &s.cancel;
        assert_fails(CANCELLED, pack_write(&request, &result, &error), &error);
        assert_true(access(folder, F_OK) != 0);
        assert_int_equal(access(temp_folder_path(*state, "pack.unfinished"), F_OK), 0);
    }
    /* Half a file of a process that was killed while it wrote. */
    temp_folder_write_text(*state, "pack.unfinished/model-00001-of-00009.safetensors.part", "half");
    temp_folder_write_text(*state, "pack.unfinished/leat-pack.json.1-1.tmp", "half");
    request.cancel = NULL;
    request.progress = NULL;
    pack_well(&request, &result);
    kept = result.kept_bytes;
    assert_int_equal(kept, whole.bytes); /* only the comparison was left */
    assert_true(access(temp_folder_path(*state, "pack/leat-pack.json.1-1.tmp"), F_OK) != 0);
    assert_ok(verify(folder, &error), &error);
    opened b = open_model(folder);
    compare_experts(&a, &b);
    close_model(&b);
    close_model(&a);
}

/* The limit on a file's size stands for a full disk: both are errors of a write. */
static void a_failed_write_loses_nothing(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    struct rlimit before, small;
    opened a = open_model(GOLDEN("mlx/gemma4-moe-mixed"));
    const pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 200000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    leat_status status = pack_write(&request, &result, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, LEAT_IO);
    assert_text_has(error.text, "model-00001-of-00001.safetensors.part: writing: ");
    assert_text_has(error.hint, "the same command goes on");
    assert_true(access(request.folder, F_OK) != 0);
    pack_well(&request, &result);
    assert_ok(verify(request.folder, &error), &error);
    close_model(&a);
}

static void nothing_is_overwritten(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    opened a = open_model(GOLDEN("mlx/gemma4-moe-mixed")), other = open_model(GOLDEN("mlx/qwen3_moe-4bit"));
    pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);

    temp_folder_make(*state, "pack"); /* even when it is empty */
    assert_fails(USAGE, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "exists already");
    assert_int_equal(rmdir(request.folder), 0);
    temp_folder_make(*state, "pack.unfinished"); /* as a process leaves it that was killed at once */
    temp_folder_write_text(*state, "pack.unfinished/leat-pack.json.12-0.tmp", "{");
    stopper s = {.stop_at = 1, .phase = "pack"};
    request.progress = stop_at;
    request.user = &s;
    request.cancel = &s.cancel;
    assert_fails(CANCELLED, pack_write(&request, &result, &error), &error);
    request.cancel = NULL;

    pack_request stranger = request_for(&other, request.folder, 0);
    assert_fails(USAGE, pack_write(&stranger, &result, &error), &error);
    assert_text_has(error.text, "another model");
    pack_request otherwise = request;
    otherwise.file_bytes = 1;
    assert_fails(USAGE, pack_write(&otherwise, &result, &error), &error);
    int fd = open(temp_folder_path(*state, "pack.unfinished"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_fails(USAGE, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "another process");
    close(fd);
    temp_folder_write_text(*state, "pack.unfinished/leat-pack.json", "{}");
    assert_fails(MODEL, pack_write(&request, &result, &error), &error);
    temp_folder_remove(*state, "pack.unfinished/leat-pack.json");
    temp_folder_write_text(*state, "pack.unfinished/notes.txt", "mine");
    assert_fails(USAGE, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "not an unfinished pack");
    assert_int_equal(access(temp_folder_path(*state, "pack.unfinished/notes.txt"), F_OK), 0);
    close_model(&other);
    close_model(&a);
}

static void make_the_folder(void *user, const char *phase, uint64_t done, uint64_t total)
{
    if (strcmp(phase, "compare") == 0 && done == total) assert_int_equal(mkdir(user, 0700), 0);
}

/* Somebody makes the folder while the pack is written: it stays theirs. */
static void a_folder_made_meanwhile_stays(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    struct stat before, after;
    opened a = open_model(GOLDEN("mlx/gemma4-moe-mixed"));
    pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);
    request.progress = make_the_folder;
    request.user = (void *)request.folder;
    assert_fails(IO, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "cannot be renamed");
    assert_int_equal(stat(request.folder, &before), 0);
    assert_int_equal(rmdir(request.folder), 0); /* it was left empty */
    request.progress = NULL;
    pack_well(&request, &result);
    assert_int_equal(stat(request.folder, &after), 0);
    assert_int_equal(result.kept_bytes, result.bytes);
    assert_true(before.st_ino != after.st_ino);
    close_model(&a);
}

/* A source whose files were touched since is another one. */
static void a_changed_source_is_another(void **state)
{
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors"};
    leat_error error = {0};
    pack_result result = {0};
    temp_folder_make(*state, "source");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char from[512], to[64];
        snprintf(from, sizeof from, "%s/%s", GOLDEN("mlx/gemma4-moe-mixed"), names[i]);
        snprintf(to, sizeof to, "source/%s", names[i]);
        temp_folder_copy(*state, to, from);
    }
    opened a = open_model(temp_folder_path(*state, "source"));
    pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);
    stopper s = {.stop_at = 1, .phase = "pack"};
    request.progress = stop_at;
    request.user = &s;
    request.cancel = &s.cancel;
    assert_fails(CANCELLED, pack_write(&request, &result, &error), &error);
    const struct timespec times[2] = {{1000000000, 0}, {1000000000, 7}};
    assert_int_equal(utimensat(AT_FDCWD, temp_folder_path(*state, "source/model.safetensors"), times, 0), 0);
    request.cancel = NULL;
    assert_fails(USAGE, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "changed since");
    close_model(&a);
}

static void what_cannot_be_packed_says_why(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    opened dense = open_model(GOLDEN("mlx/llama-4bit")), scaled = open_model(GOLDEN("mlx/gemma4-moe-nvfp4-global"));
    pack_request request = request_for(&dense, temp_folder_path(*state, "pack"), 0);
    assert_fails(MODEL, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "no experts");
    request = request_for(&scaled, request.folder, 0);
    assert_fails(MODEL, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "global scales");
    assert_true(access(temp_folder_path(*state, "pack.unfinished"), F_OK) != 0);
    close_model(&dense);
    opened good = open_model(GOLDEN("mlx/qwen3_moe-4bit"));
    request = request_for(&good, temp_folder_path(*state, "no/such/parent"), 0);
    assert_fails(IO, pack_write(&request, &result, &error), &error);
    close_model(&good);
    close_model(&scaled);
}

/* Bytes that an earlier try has written and the disk has changed are found by the comparison. */
static void damage_before_publishing_is_found(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    opened a = open_model(GOLDEN("mlx/gemma4-moe-mixed"));
    pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);
    stopper s = {.stop_at = 1, .phase = "compare"};
    request.progress = stop_at;
    request.user = &s;
    request.cancel = &s.cancel;
    assert_fails(CANCELLED, pack_write(&request, &result, &error), &error);
    int fd = open(temp_folder_path(*state, "pack.unfinished/model-00001-of-00001.safetensors"), O_RDWR);
    uint8_t byte;
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    assert_int_equal(pread(fd, &byte, 1, info.st_size - 1), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, info.st_size - 1), 1);
    close(fd);
    request.cancel = NULL;
    assert_fails(MODEL, pack_write(&request, &result, &error), &error);
    assert_text_has(error.text, "differs from the source's");
    assert_true(access(request.folder, F_OK) != 0);
    close_model(&a);
}

/* ---- the check ---- */

static void the_check_finds_every_changed_byte(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    opened a = open_model(GOLDEN("mlx/qwen3_moe-4bit"));
    const pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);
    pack_well(&request, &result);
    close_model(&a);
    const char *weights = temp_folder_path(*state, "pack/model-00001-of-00001.safetensors");
    int fd = open(weights, O_RDWR);
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    uint32_t found = 0;
    for (off_t at = 65536; at < info.st_size; at += 30011) { /* behind the header */
        uint8_t byte, changed;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        changed = byte ^ 1;
        assert_int_equal(pwrite(fd, &changed, 1, at), 1);
        assert_fails(MODEL, verify(request.folder, &error), &error);
        assert_text_has(error.text, "damaged: the ");
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        found++;
    }
    assert_true(found > 5);
    assert_ok(verify(request.folder, &error), &error);
    assert_int_equal(pwrite(fd, " ", 1, 65536), 1);
    close(fd);
    temp_folder_remove(*state, "pack/leat-pack.json"); /* a plain checkpoint then */
    assert_ok(verify(request.folder, &error), &error);
}

static void the_check_covers_the_other_files(void **state)
{
    leat_error error = {0};
    pack_result result = {0};
    opened a = open_model(GOLDEN("mlx/gemma4-moe-mixed"));
    const pack_request request = request_for(&a, temp_folder_path(*state, "pack"), 0);
    pack_well(&request, &result);
    close_model(&a);
    temp_folder_write_text(*state, "pack/generation_config.json", "{}");
    assert_fails(MODEL, verify(request.folder, &error), &error);
    assert_text_has(error.text, "generation_config.json: damaged");
    temp_folder_remove(*state, "pack/generation_config.json");
    assert_fails(MODEL, verify(request.folder, &error), &error);
    assert_text_has(error.text, "generation_config.json: missing");
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "leat-pack.json"},
        {"{\"version\": 2}", "expected version 1, found 2"},
        {"{\"version\": 1, \"source\": \"00\"}", "SHA-256"},
        {"{\"version\": 1}", "no \"source\""},
        {"{\"version\": 1, \"source\": \""
         "0000000000000000000000000000000000000000000000000000000000000000"
         "\", \"files\": []}",
         "not one of the files"},
        {"{\"files\": [{\"name\": \"../x\", \"spans\": []}]}", "plain name"},
        {"{\"files\": [{\"name\": \"x\", \"spans\": [[0, \"\"]]}]}", "at least 1"},
        {"{\"files\": [{\"name\": \"x\", \"spans\": [[1, \"zz\"]]}]}", "SHA-256"},
        {"{\"files\": [{\"name\": \"x\", \"spans\": []}, {\"name\": \"x\", \"spans\": []}]}", "twice"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        temp_folder_write_text(*state, "pack/leat-pack.json", bad[i].text);
        assert_fails(MODEL, verify(request.folder, &error), &error);
        assert_text_has(error.text, bad[i].words);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_form_becomes_one_piece_an_expert), TEST(a_stopped_pack_goes_on_where_it_was),
        TEST(a_failed_write_loses_nothing),           TEST(nothing_is_overwritten),
        TEST(a_folder_made_meanwhile_stays),          TEST(a_changed_source_is_another),
        TEST(what_cannot_be_packed_says_why),         TEST(damage_before_publishing_is_found),
        TEST(the_check_finds_every_changed_byte),     TEST(the_check_covers_the_other_files),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}

/* What a user types, against folders, files and caches made for the purpose. */
#include "exec/model_path.h"

#include "temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMIT_A "0123456789abcdef0123456789abcdef01234567"
#define COMMIT_B "fedcba9876543210fedcba9876543210fedcba98"

static const char *const variables[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};

/* Each test has an empty folder and no cache variable but HF_HUB_CACHE = FOLDER/hub. */
static int set_up(void **state)
{
    static temp_folder folder;
    temp_folder_open(&folder);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) unsetenv(variables[i]);
    setenv("HF_HUB_CACHE", temp_folder_path(&folder, "hub"), 1);
    *state = &folder;
    return 0;
}

static int tear_down(void **state)
{
    temp_folder_close(*state);
    return 0;
}

static void expect_path(const char *given, const char *root, const char *below)
{
    model_path found;
    leat_error error = {0};
    if (model_path_resolve(given, &found, &error) != LEAT_OK) fail_msg("%s: %s (%s)", given, error.text, error.hint);
    assert_string_equal(found.root, root);
    assert_string_equal(found.below, below);
}

/* The message and the hint together hold `words`. */
static void expect_failure(const char *given, leat_status status, const char *words)
{
    model_path found;
    memset(&found, 0x5a, sizeof found);
    leat_error error = {0};
    assert_int_equal(model_path_resolve(given, &found, &error), status);
    assert_int_equal(error.status, status);
    char all[LEAT_ERROR_TEXT_BYTES + LEAT_ERROR_HINT_BYTES + 2];
    snprintf(all, sizeof all, "%s\n%s", error.text, error.hint);
    if (!strstr(all, words)) fail_msg("\"%s\" is not in: %s", words, all);
    assert_int_equal(found.root[0], 0x5a);
    assert_int_equal(model_path_resolve(given, &found, NULL), status);
}

/* models--org--repo with refs/main and a snapshot of one file. */
static void make_repo(const temp_folder *t, const char *hub, const char *ref_text)
{
    char name[TEMP_PATH_BYTES];
    snprintf(name, sizeof name, "%s/models--org--Repo-1.5/refs/main", hub);
    temp_folder_write_text(t, name, ref_text);
    snprintf(name, sizeof name, "%s/models--org--Repo-1.5/blobs/aaaa", hub);
    temp_folder_write_text(t, name, "{}");
    snprintf(name, sizeof name, "%s/models--org--Repo-1.5/snapshots/" COMMIT_A "/config.json", hub);
    temp_folder_link(t, name, "../../blobs/aaaa");
    snprintf(name, sizeof name, "%s/models--org--Repo-1.5/snapshots/" COMMIT_A "/model.safetensors", hub);
    temp_folder_link(t, name, "../../blobs/aaaa");
}

static void test_folders_and_files(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "model folder/model.safetensors", "x");
    temp_folder_write_text(t, "model folder/MODEL.GGUF", "x");
    temp_folder_write_text(t, "model folder/pytorch_model.bin", "x");
    temp_folder_write_text(t, "model folder/weights.pt", "x");
    temp_folder_write_text(t, "model folder/notes.txt", "x");
    temp_folder_fifo(t, "model folder/pipe.safetensors");
    temp_folder_make(t, "odd.gguf");
    temp_folder_link(t, "short", "model folder");

    const char *folder = temp_folder_path(t, "model folder");
    expect_path(folder, folder, ".");
    expect_path(temp_folder_path(t, "model folder/"), folder, ".");
    expect_path(temp_folder_path(t, "short"), folder, ".");
    expect_path(temp_folder_path(t, "model folder/model.safetensors"), folder, ".");
    expect_path(temp_folder_path(t, "odd.gguf"), temp_folder_path(t, "odd.gguf"), ".");
    expect_failure(temp_folder_path(t, "model folder/MODEL.GGUF"), LEAT_MODEL, "not supported yet");
    expect_failure(temp_folder_path(t, "model folder/pytorch_model.bin"), LEAT_MODEL, "pickle");
    expect_failure(temp_folder_path(t, "model folder/weights.pt"), LEAT_MODEL, "pickle");
    expect_failure(temp_folder_path(t, "model folder/notes.txt"), LEAT_MODEL,
                   "neither a folder nor a *.safetensors file");
    expect_failure(temp_folder_path(t, "model folder/pipe.safetensors"), LEAT_MODEL, "regular file");

    char before[TEMP_PATH_BYTES];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    expect_path("model.safetensors", folder, ".");
    expect_path(".", folder, ".");
    expect_path("./model.safetensors", folder, ".");
    assert_int_equal(chdir(before), 0);
}

static void test_paths_that_do_not_exist(void **state)
{
    const temp_folder *t = *state;
    expect_failure("", LEAT_MODEL, "empty");
    expect_failure(temp_folder_path(t, "nothing"), LEAT_MODEL, "no such file or folder");
    expect_failure("./org/repo", LEAT_MODEL, "no such file or folder");
    expect_failure("../repo", LEAT_MODEL, "no such file or folder");
    expect_failure("../../repo", LEAT_MODEL, "no such file or folder");
    expect_failure("word", LEAT_MODEL, "no such file or folder");
    expect_failure("org/repo.gguf", LEAT_MODEL, "no such file or folder");
    expect_failure("org/model.safetensors", LEAT_MODEL, "no such file or folder");
    expect_failure("one/two/three", LEAT_MODEL, "no such file or folder");
    expect_failure("org/re po", LEAT_MODEL, "no such file or folder");
    expect_failure("org/..", LEAT_MODEL, "no such file or folder");
    expect_failure("org/a--b", LEAT_MODEL, "no such file or folder");
}

static void test_long_path(void **state)
{
    (void)state;
    char *given = malloc(100000);
    assert_non_null(given);
    memset(given, 'a', 100000);
    given[99999] = 0;
    expect_failure(given, LEAT_MODEL, "at most");
    given[4000] = 0; /* short enough for us, too long a name for the file system */
    expect_failure(given, LEAT_MODEL, "aaaa");
    free(given);
}

static void test_cached_repository(void **state)
{
    const temp_folder *t = *state;
    make_repo(t, "hub", COMMIT_A "\n");
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/refs/pr/7", COMMIT_A);
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/v1.0", COMMIT_A);
    const char *root = temp_folder_path(t, "hub/models--org--Repo-1.5");
    expect_path("org/Repo-1.5", root, "snapshots/" COMMIT_A);
    expect_path("org/Repo-1.5@main", root, "snapshots/" COMMIT_A);
    expect_path("org/Repo-1.5@v1.0", root, "snapshots/" COMMIT_A);
    expect_path("org/Repo-1.5@refs/pr/7", root, "snapshots/" COMMIT_A);
    expect_path("org/Repo-1.5@" COMMIT_A, root, "snapshots/" COMMIT_A);

    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/main", COMMIT_A); /* without a newline */
    expect_path("org/Repo-1.5", root, "snapshots/" COMMIT_A);
}

static void test_snapshot_folder_given_as_path(void **state)
{
    const temp_folder *t = *state;
    make_repo(t, "hub", COMMIT_A);
    const char *root = temp_folder_path(t, "hub/models--org--Repo-1.5");
    const char *snapshot = temp_folder_path(t, "hub/models--org--Repo-1.5/snapshots/" COMMIT_A);
    expect_path(snapshot, root, "snapshots/" COMMIT_A);
    expect_path(temp_folder_path(t, "hub/models--org--Repo-1.5/snapshots/" COMMIT_A "/model.safetensors"), root,
                "snapshots/" COMMIT_A);
    /* Only the cache's own layout widens the root. */
    temp_folder_make(t, "elsewhere/snapshots/" COMMIT_A);
    const char *plain = temp_folder_path(t, "elsewhere/snapshots/" COMMIT_A);
    expect_path(plain, plain, ".");
}

static void test_repository_that_is_not_cached(void **state)
{
    const temp_folder *t = *state;
    expect_failure("org/Repo-1.5", LEAT_MODEL, "hf download org/Repo-1.5");
    make_repo(t, "hub", COMMIT_A);
    expect_failure("org/repo-1.5", LEAT_MODEL, "hf download org/repo-1.5"); /* case is kept */
    expect_failure("org/Repo-1.5@dev", LEAT_MODEL, "hf download org/Repo-1.5 --revision dev");
    expect_failure("org/Repo-1.5@" COMMIT_B, LEAT_MODEL, "--revision " COMMIT_B);
    expect_failure("org/Repo-1.5@v1/none", LEAT_MODEL, "--revision v1/none");
}

static void test_revisions_are_checked(void **state)
{
    const temp_folder *t = *state;
    make_repo(t, "hub", COMMIT_A);
    temp_folder_write_text(t, "hub/outside", COMMIT_A);
    static const char *const bad[] = {"",   "..", "../../outside", "a/../b",  "/etc/passwd", "a//b",
                                      "a/", "-x", "a b",           ".hidden", "a\x1b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char given[200];
        snprintf(given, sizeof given, "org/Repo-1.5@%s", bad[i]);
        expect_failure(given, LEAT_MODEL, "cannot be a revision");
    }
}

static void test_damaged_references(void **state)
{
    const temp_folder *t = *state;
    make_repo(t, "hub", "../../../../etc");
    expect_failure("org/Repo-1.5", LEAT_MODEL, "does not hold a commit");
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/main", "");
    expect_failure("org/Repo-1.5", LEAT_MODEL, "does not hold a commit");
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/main", COMMIT_A COMMIT_A COMMIT_A);
    expect_failure("org/Repo-1.5", LEAT_MODEL, "does not hold a commit");

    /* A planted link to a file outside that would resolve is not followed. */
    temp_folder_remove(t, "hub/models--org--Repo-1.5/refs/main");
    temp_folder_write_text(t, "outside", COMMIT_A);
    temp_folder_link(t, "hub/models--org--Repo-1.5/refs/main", temp_folder_path(t, "outside"));
    expect_failure("org/Repo-1.5", LEAT_MODEL, "refs/main");
    temp_folder_remove(t, "hub/models--org--Repo-1.5/refs/main");
    temp_folder_fifo(t, "hub/models--org--Repo-1.5/refs/main");
    expect_failure("org/Repo-1.5", LEAT_MODEL, "refs/main");
}

static void test_planted_snapshot_link(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/main", COMMIT_A);
    temp_folder_make(t, "outside");
    temp_folder_link(t, "hub/models--org--Repo-1.5/snapshots/" COMMIT_A, temp_folder_path(t, "outside"));
    expect_failure("org/Repo-1.5", LEAT_MODEL, "no folder");
}

static void test_unfinished_download(void **state)
{
    const temp_folder *t = *state;
    const char *root = temp_folder_path(t, "hub/models--org--Repo-1.5");

    /* No reference yet, only the beginning of a file. */
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/blobs/bbbb.incomplete", "x");
    expect_failure("org/Repo-1.5", LEAT_MODEL, "download not finished");
    expect_failure("org/Repo-1.5", LEAT_MODEL, "hf download org/Repo-1.5");

    /* A reference whose snapshot is not there. */
    temp_folder_remove(t, "hub/models--org--Repo-1.5/blobs/bbbb.incomplete");
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/refs/main", COMMIT_B);
    expect_failure("org/Repo-1.5", LEAT_MODEL, "download not finished");

    /* A snapshot that lacks its second shard. */
    make_repo(t, "hub", COMMIT_A);
    temp_folder_remove(t, "hub/models--org--Repo-1.5/snapshots/" COMMIT_A "/model.safetensors");
    temp_folder_link(t, "hub/models--org--Repo-1.5/snapshots/" COMMIT_A "/model-00001-of-00002.safetensors",
                     "../../blobs/aaaa");
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/blobs/bbbb.1a2b.incomplete", "x");
    expect_failure("org/Repo-1.5", LEAT_MODEL, "download not finished");
    expect_failure("org/Repo-1.5@" COMMIT_A, LEAT_MODEL, "download not finished");

    /* What is left of an attempt that was finished later does not matter, ... */
    temp_folder_write_text(t, "hub/models--org--Repo-1.5/blobs/bbbb", "x");
    expect_path("org/Repo-1.5", root, "snapshots/" COMMIT_A);
    temp_folder_remove(t, "hub/models--org--Repo-1.5/blobs/bbbb");
    /* ... nor does another file's beginning once this snapshot has all its shards. */
    temp_folder_link(t, "hub/models--org--Repo-1.5/snapshots/" COMMIT_A "/model-00002-of-00002.safetensors",
                     "../../blobs/aaaa");
    expect_path("org/Repo-1.5", root, "snapshots/" COMMIT_A);
}

static void test_order_of_cache_variables(void **state)
{
    const temp_folder *t = *state;
    static const char *const hubs[] = {"a", "b", "c/hub", "d/huggingface/hub", "e/.cache/huggingface/hub"};
    static const char *const values[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++) {
        make_repo(t, hubs[i], COMMIT_A);
        setenv(variables[i], temp_folder_path(t, values[i]), 1);
    }
    for (size_t i = 0; i < 5; i++) {
        char root[TEMP_PATH_BYTES];
        snprintf(root, sizeof root, "%s/models--org--Repo-1.5", temp_folder_path(t, hubs[i]));
        expect_path("org/Repo-1.5", root, "snapshots/" COMMIT_A);
        if (i % 2 == 0) {
            setenv(variables[i], "", 1); /* empty counts as unset */
        } else {
            unsetenv(variables[i]);
        }
    }
    expect_failure("org/Repo-1.5", LEAT_MODEL, "no Hugging Face cache");

    setenv("HOME", t->path, 1);
    setenv("HF_HOME", "~/c", 1);
    expect_path("org/Repo-1.5", temp_folder_path(t, "c/hub/models--org--Repo-1.5"), "snapshots/" COMMIT_A);
}

static void test_local_folder_wins(void **state)
{
    const temp_folder *t = *state;
    make_repo(t, "hub", COMMIT_A);
    temp_folder_make(t, "org/Repo-1.5");
    char before[TEMP_PATH_BYTES];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(t->path), 0);
    expect_path("org/Repo-1.5", temp_folder_path(t, "org/Repo-1.5"), ".");
    assert_int_equal(chdir(before), 0);
}

int main(void)
{
    alarm(60); /* a FIFO that blocks must not hang the suite */
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_folders_and_files),
        TEST(test_paths_that_do_not_exist),
        TEST(test_long_path),
        TEST(test_cached_repository),
        TEST(test_snapshot_folder_given_as_path),
        TEST(test_repository_that_is_not_cached),
        TEST(test_revisions_are_checked),
        TEST(test_damaged_references),
        TEST(test_planted_snapshot_link),
        TEST(test_unfinished_download),
        TEST(test_order_of_cache_variables),
        TEST(test_local_folder_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

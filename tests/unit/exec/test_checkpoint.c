/* Opening checkpoints: the damaged ones of the known answers, and layouts that cannot be stored there (FIFOs, links,
 * caches). */
#include "exec/checkpoint.h"

#include "base/bytes.h"
#include "temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static const char index_file[] = "model.safetensors.index.json";

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

static void expect_words(const leat_error *error, const char *words)
{
    char all[LEAT_ERROR_TEXT_BYTES + LEAT_ERROR_HINT_BYTES + 2];
    snprintf(all, sizeof all, "%s\n%s", error->text, error->hint);
    if (!strstr(all, words)) fail_msg("\"%s\" is not in: %s", words, all);
}

static void expect_refusal(const char *path, leat_status status, const char *words)
{
    checkpoint *c = NULL;
    leat_error error = {0};
    if (checkpoint_open(path, &c, &error) != status) fail_msg("%s: status %d: %s", path, error.status, error.text);
    assert_null(c);
    assert_int_equal(error.status, status);
    expect_words(&error, words);
    assert_int_equal(checkpoint_open(path, &c, NULL), status);
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* One F32 tensor of one element. */
static void write_shard(const temp_folder *t, const char *name, const char *tensor_name, float value)
{
    char header[1000];
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", tensor_name);
    temp_folder_write_shard(t, name, header, 0, &value, sizeof value);
}

static void write_small_model(const temp_folder *t, const char *shard_name)
{
    temp_folder_write_text(t, "config.json", "{\"model_type\": \"llama\"}");
    write_shard(t, shard_name, "a", 1.0f);
}

/* ---- the known answers ---- */

typedef struct expectation {
    char name[100];
    int exit_code;
    char must_mention[4][200];
    char must_not_print[4][1000];
    uint32_t mention_count, ban_count;
} expectation;

static void read_strings(json *parser, char *out, size_t each_bytes, uint32_t *count)
{
    json_token token;
    assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
    for (*count = 0;; ++*count) {
        assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
        if (token.kind == JSON_ARRAY_END) return;
        assert_true(*count < 4);
        snprintf(out + *count * each_bytes, each_bytes, "%.*s", (int)min_u64(token.text_bytes, 900), token.text);
    }
}

/* false at the end */
static bool read_expectation(json *parser, expectation *out)
{
    json_token token;
    *out = (expectation){.exit_code = 3};
    assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
    if (token.kind == JSON_OBJECT_END) return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)token.text_bytes, token.text);
    assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
    for (;;) {
        assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
        if (token.kind == JSON_OBJECT_END) return true;
        if (json_text_is(&token, "exit")) {
            uint64_t value;
            assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
            assert_true(json_to_u64(&token, &value));
            out->exit_code = (int)value;
        } else if (json_text_is(&token, "must_mention")) {
            read_strings(parser, out->must_mention[0], sizeof out->must_mention[0], &out->mention_count);
        } else if (json_text_is(&token, "must_not_print")) {
            read_strings(parser, out->must_not_print[0], sizeof out->must_not_print[0], &out->ban_count);
        } else {
            assert_int_equal(json_skip(parser, NULL), LEAT_OK);
        }
    }
}

/* Rules about configuration values, the architecture's tensors and the tokenizer are other rooms'. */
static bool is_for_others(const char *name)
{
    static const char *const prefixes[] = {"config-", "tensor-", "quant-", "tokenizer-"};
    if (strcmp(name, "config-truncated") == 0) return false;
    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) return true;
    }
    return false;
}

static void check_message(const expectation *e, const char *message)
{
    for (uint32_t i = 0; i < e->mention_count; i++) {
        if (!strcasestr(message, e->must_mention[i]))
            fail_msg("%s: \"%s\" is not in: %s", e->name, e->must_mention[i], message);
    }
    for (uint32_t i = 0; i < e->ban_count; i++) {
        if (strstr(message, e->must_not_print[i])) fail_msg("%s: forbidden text in: %s", e->name, message);
    }
}

static void check_damaged(const expectation *e, const char *folder)
{
    checkpoint *c = NULL;
    leat_error error = {0};
    int descriptors = count_descriptors();
    leat_status status = checkpoint_open(folder, &c, &error);
    if (is_for_others(e->name)) {
        if (status != LEAT_OK) fail_msg("%s: %s", e->name, error.text);
    } else if (e->exit_code == 0) {
        if (status != LEAT_OK) fail_msg("%s: %s", e->name, error.text);
        assert_int_equal(c->warning_count, 1);
        check_message(e, c->warnings[0]);
    } else {
        if (status != LEAT_MODEL) fail_msg("%s: status %d: %s", e->name, status, error.text);
        check_message(e, error.text);
    }
    checkpoint_close(&c);
    assert_null(c);
    assert_int_equal(count_descriptors(), descriptors);
}

static void test_damaged_checkpoints(void **state)
{
    (void)state;
    const char *conformance = find_conformance(LEAT_SOURCE_ROOT);
    if (!conformance) skip();
    char path[TEMP_PATH_BYTES];
    mem *ledger = NULL;
    json *parser = NULL;
    json_token token;
    char *text = NULL;
    uint64_t bytes = 0;
    expectation e;
    int count = 0, own_count = 0;
    assert_int_equal(mem_open(0, &ledger, NULL), LEAT_OK);
    snprintf(path, sizeof path, "%s/bad/manifest.json", conformance);
    assert_int_equal(file_load(ledger, MEM_META, AT_FDCWD, path, false, 1 << 20, &text, &bytes, NULL), LEAT_OK);
    assert_int_equal(json_open(ledger, MEM_META, "manifest.json", text, bytes, &json_limits_default, &parser, NULL),
                     LEAT_OK);
    assert_int_equal(json_next(parser, &token, NULL), LEAT_OK);
    while (read_expectation(parser, &e)) {
        snprintf(path, sizeof path, "%s/bad/%s", conformance, e.name);
        check_damaged(&e, path);
        count++;
        own_count += !is_for_others(e.name);
    }
    assert_true(count >= 60 && own_count >= 35);
    json_close(&parser);
    mem_free(ledger, text);
    mem_close(&ledger);
}

static void test_good_checkpoint(void **state)
{
    (void)state;
    const char *conformance = find_conformance(LEAT_SOURCE_ROOT);
    if (!conformance) skip();
    char path[TEMP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/bad/good", conformance);
    checkpoint *c = open_good(path);
    assert_int_equal(c->file_count, 1);
    assert_string_equal(c->file_names[0], "model.safetensors");
    assert_string_equal(c->below_root, ".");
    assert_int_equal(c->files[0].bytes, 25407);
    assert_int_equal(c->warning_count, 0);
    assert_non_null(c->config);
    assert_non_null(c->generation);
    uint32_t vocab = 0;
    assert_int_equal(hf_config_u32(c->config, "vocab_size", 1, 1000, &vocab, NULL), LEAT_OK);
    assert_int_equal(vocab, 320);
    const tensor *t = tensor_index_find(&c->index, "language_model.model.norm.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[0], 32);
    checkpoint_close(&c);
    checkpoint_close(&c);
    checkpoint_close(NULL);
}

/* ---- which files ---- */

static void test_shards_by_name(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "config.json", "{}");
    write_shard(t, "model-00002-of-00002.safetensors", "b", 2.0f);
    write_shard(t, "model-00001-of-00002.safetensors", "a", 1.0f);
    temp_folder_write_text(t, "consolidated.safetensors", "not looked at");
    temp_folder_write_text(t, "model.safetensors.old", "not looked at");
    temp_folder_write_text(t, "model strange name.safetensors", "not looked at");
    checkpoint *c = open_good(t->path);
    assert_string_equal(c->path, t->path);
    assert_int_equal(c->file_count, 2);
    assert_string_equal(c->file_names[0], "model-00001-of-00002.safetensors");
    assert_string_equal(c->file_names[1], "model-00002-of-00002.safetensors");
    assert_int_equal(c->index.count, 2);
    const tensor *b = tensor_index_find(&c->index, "b");
    assert_non_null(b);
    float value = 0.0f;
    assert_int_equal(file_read(&c->files[b->file_idx], "b", b->offset, &value, 4, NULL, NULL), LEAT_OK);
    assert_true(value == 2.0f);
    assert_null(c->generation);
    checkpoint_close(&c);

    /* A single file wins over the others, and an index over that. */
    write_shard(t, "model.safetensors", "single", 3.0f);
    c = open_good(t->path);
    assert_int_equal(c->file_count, 1);
    assert_non_null(tensor_index_find(&c->index, "single"));
    checkpoint_close(&c);
    temp_folder_write_text(t, index_file, "{\"weight_map\": {\"b\": \"model-00002-of-00002.safetensors\"}}");
    c = open_good(temp_folder_path(t, "model-00001-of-00002.safetensors"));
    assert_int_equal(c->file_count, 1);
    assert_string_equal(c->file_names[0], "model-00002-of-00002.safetensors");
    assert_int_equal(c->warning_count, 0);
    checkpoint_close(&c);
}

static void test_many_shards_are_sorted(void **state)
{
    const temp_folder *t = *state;
    enum { COUNT = 100 };
    char map[20000] = "{\"metadata\": {\"total_size\": 5}, \"weight_map\": {";
    temp_folder_write_text(t, "config.json", "{}");
    for (int i = 0; i < COUNT; i++) {
        int shuffled = i * 37 % COUNT;
        char name[50], tensor_name[20];
        snprintf(name, sizeof name, "s-%03d.safetensors", shuffled);
        snprintf(tensor_name, sizeof tensor_name, "t%d", shuffled);
        write_shard(t, name, tensor_name, (float)shuffled);
        snprintf(map + strlen(map), sizeof map - strlen(map), "%s\"%s\": \"%s\"", i ? ", " : "", tensor_name, name);
    }
    strcat(map, "}}");
    temp_folder_write_text(t, index_file, map);
    checkpoint *c = open_good(t->path);
    assert_int_equal(c->file_count, COUNT);
    assert_int_equal(c->index.count, COUNT);
    assert_int_equal(c->warning_count, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        char name[50], tensor_name[20];
        snprintf(name, sizeof name, "s-%03u.safetensors", i);
        snprintf(tensor_name, sizeof tensor_name, "t%u", i);
        assert_string_equal(c->file_names[i], name);
        const tensor *found = tensor_index_find(&c->index, tensor_name);
        assert_non_null(found);
        assert_int_equal(found->file_idx, i);
    }
    checkpoint_close(&c);
}

static void test_folders_without_weights(void **state)
{
    const temp_folder *t = *state;
    expect_refusal(t->path, LEAT_MODEL, "config.json");
    expect_refusal(t->path, LEAT_MODEL, t->path); /* the hint says which folder */
    temp_folder_write_text(t, "config.json", "{}");
    expect_refusal(t->path, LEAT_MODEL, "no weights");
    temp_folder_write_text(t, "pytorch_model.bin", "x");
    expect_refusal(t->path, LEAT_MODEL, "pickle");
    temp_folder_write_text(t, "weights.Q4.gguf", "x");
    expect_refusal(t->path, LEAT_MODEL, "GGUF files are not supported yet");
}

/* ---- configurations ---- */

static void test_configurations(void **state)
{
    const temp_folder *t = *state;
    write_small_model(t, "model.safetensors");
    temp_folder_write_text(t, "generation_config.json", "{\"temperature\": 0.6,");
    expect_refusal(t->path, LEAT_MODEL, "generation_config.json");
    temp_folder_write_text(t, "generation_config.json", "{\"top_k\": 20}");
    checkpoint *c = open_good(t->path);
    uint32_t top_k = 0;
    assert_int_equal(hf_config_u32(c->generation, "top_k", 0, 100, &top_k, NULL), LEAT_OK);
    assert_int_equal(top_k, 20);
    checkpoint_close(&c);

    temp_folder_write_text(t, "config.json", "[]");
    expect_refusal(t->path, LEAT_MODEL, "config.json");
    assert_int_equal(truncate(temp_folder_path(t, "config.json"), HF_CONFIG_BYTES_MAX + 1), 0);
    expect_refusal(t->path, LEAT_MODEL, "config.json");
    temp_folder_remove(t, "config.json");
    temp_folder_link(t, "config.json", "nowhere");
    expect_refusal(t->path, LEAT_MODEL, "config.json");
}

/* ---- what must not be opened ---- */

static void test_fifos_do_not_block(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "config.json", "{}");
    temp_folder_fifo(t, "model.safetensors");
    expect_refusal(t->path, LEAT_MODEL, "model.safetensors");
    temp_folder_fifo(t, index_file);
    expect_refusal(t->path, LEAT_MODEL, index_file);
    temp_folder_remove(t, index_file);
    temp_folder_remove(t, "config.json");
    temp_folder_fifo(t, "config.json");
    expect_refusal(t->path, LEAT_MODEL, "config.json");
}

static void test_links_that_lead_outside(void **state)
{
    const temp_folder *t = *state;
    write_shard(t, "secret.safetensors", "a", 1.0f);
    temp_folder_write_text(t, "secret.json", "{}");
    temp_folder_write_text(t, "m/config.json", "{}");
    temp_folder_link(t, "m/model.safetensors", "../secret.safetensors");
    const char *folder = temp_folder_path(t, "m");
    expect_refusal(folder, LEAT_MODEL, "model.safetensors");
    temp_folder_remove(t, "m/model.safetensors");
    temp_folder_link(t, "m/model.safetensors", temp_folder_path(t, "secret.safetensors"));
    expect_refusal(folder, LEAT_MODEL, "model.safetensors");
    temp_folder_remove(t, "m/model.safetensors");

    write_shard(t, "m/real.safetensors", "a", 1.0f); /* inside, a link is followed */
    temp_folder_link(t, "m/model.safetensors", "real.safetensors");
    checkpoint *c = open_good(folder);
    char *text = NULL;
    uint64_t bytes = 0;
    leat_error error = {0};
    temp_folder_link(t, "m/tokenizer.json", "../secret.json");
    assert_int_equal(checkpoint_load_text(c, "tokenizer.json", c->ledger, MEM_META, &text, &bytes, &error), LEAT_MODEL);
    expect_words(&error, "tokenizer.json");
    assert_null(text);
    checkpoint_close(&c);
}

static void test_names_in_the_index(void **state)
{
    const temp_folder *t = *state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "'../x.safetensors'"},
        {"{\"weight_map\": {\"a\": \"/x.safetensors\"}}", "'/x.safetensors'"},
        {"{\"weight_map\": {\"a\": \"sub/x.safetensors\"}}", "'sub/x.safetensors'"},
        {"{\"weight_map\": {\"a\": \"..\"}}", "'..'"},
        {"{\"weight_map\": {\"a\": \".x.safetensors\"}}", "'.x.safetensors'"},
        {"{\"weight_map\": {\"a\": \"\"}}", "''"},
        {"{\"weight_map\": {\"a\": \".safetensors\"}}", "'.safetensors'"},
        {"{\"weight_map\": {\"a\": \"x.bin\"}}", "'x.bin'"},
        {"{\"weight_map\": {\"a\": \"a b.safetensors\"}}", "'a b.safetensors'"},
        {"{\"weight_map\": {\"a\": \"x.safetensors\\u0000.safetensors\"}}", "plain name"},
        {"{\"weight_map\": {\"a\": \"x\\u001b.safetensors\"}}", "'x\\x1B.safetensors'"},
        {"{\"weight_map\": {\"a\": \"xx.safetensors\", \"a\": \"x.safetensors\"}}", index_file},
        {"{\"weight_map\": {\"a\": 7}}", "not a string"},
        {"{\"weight_map\": {\"a\": [\"x.safetensors\"]}}", "not a string"},
        {"{\"weight_map\": []}", "not an object"},
        {"{\"weight_map\": {}}", "empty"},
        {"{\"metadata\": {}}", "no weight_map"},
        {"[]", "not an object"},
        {"", index_file},
        {"{\"weight_map\": {\"a\": \"x.safetensors\"}", index_file},
        {"{\"weight_map\": {\"a\": \"x.safetensors\"}} {}", index_file},
        {"{\"weight_map\": {\"a\": \"x.safetensors\"}, \"weight_map\": {\"a\": \"x.safetensors\"}}", index_file},
        {"{\"deep\": [[[[[[[[[[[[1]]]]]]]]]]]], \"weight_map\": {\"a\": \"x.safetensors\"}}", index_file},
        {"{\"weight_map\": {\"a\": \"y.safetensors\"}}", "y.safetensors: this weight file"},
    };
    temp_folder_write_text(t, "m/config.json", "{}");
    write_shard(t, "m/x.safetensors", "a", 1.0f);
    temp_folder_fifo(t, "x.safetensors"); /* what ../x.safetensors names: even looking at it would show */
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char name[100];
        snprintf(name, sizeof name, "m/%s", index_file);
        temp_folder_write_text(t, name, cases[i].text);
        expect_refusal(temp_folder_path(t, "m"), LEAT_MODEL, cases[i].words);
        expect_refusal(temp_folder_path(t, "m"), LEAT_MODEL, index_file);
    }
}

static void test_long_names_in_the_index(void **state)
{
    const temp_folder *t = *state;
    write_small_model(t, "x.safetensors");
    char text[3000], name[1000];
    memset(name, 'n', sizeof name - 1);
    name[TENSOR_NAME_BYTES_MAX + 1] = 0;
    snprintf(text, sizeof text, "{\"weight_map\": {\"%s\": \"x.safetensors\"}}", name);
    temp_folder_write_text(t, index_file, text);
    expect_refusal(t->path, LEAT_MODEL, "at most 512");
    memset(name, 'n', sizeof name - 1);
    name[256] = 0;
    snprintf(text, sizeof text, "{\"weight_map\": {\"a\": \"%s.safetensors\"}}", name);
    temp_folder_write_text(t, index_file, text);
    expect_refusal(t->path, LEAT_MODEL, "plain name");
    assert_int_equal(truncate(temp_folder_path(t, index_file), (64 << 20) + 1), 0);
    expect_refusal(t->path, LEAT_MODEL, index_file);
}

/* ---- warnings ---- */

static void test_stale_index(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "config.json", "{}");
    write_shard(t, "x.safetensors", "a", 1.0f);
    write_shard(t, "y.safetensors", "b", 2.0f);

    temp_folder_write_text(
        t, index_file,
        "{\"weight_map\": {\"a\": \"x.safetensors\", \"esc\\u001b\": \"y.safetensors\", \"b\": \"x.safetensors\"}}");
    checkpoint *c = open_good(t->path);
    assert_int_equal(c->warning_count, 1);
    assert_string_equal(c->warnings[0],
                        "model.safetensors.index.json lists esc\\x1B in y.safetensors, which does not hold it; "
                        "the shards' headers win (3 differences)");
    assert_int_equal(tensor_index_find(&c->index, "b")->file_idx, 1);
    checkpoint_close(&c);

    temp_folder_write_text(t, "y.safetensors", ""); /* not named, not opened */
    temp_folder_write_text(t, index_file, "{\"weight_map\": {\"a\": \"x.safetensors\"}}");
    c = open_good(t->path);
    assert_int_equal(c->warning_count, 0);
    checkpoint_close(&c);

    write_shard(t, "y.safetensors", "b", 2.0f);
    temp_folder_write_text(t, index_file, "{\"weight_map\": {\"b\": \"y.safetensors\", \"c\": \"x.safetensors\"}}");
    c = open_good(t->path);
    assert_string_equal(c->warnings[0],
                        "model.safetensors.index.json lists c in x.safetensors, which does not hold it; "
                        "the shards' headers win (2 differences)");
    checkpoint_close(&c);

    float two[2] = {1.0f, 2.0f};
    temp_folder_write_shard(t, "x.safetensors",
                            "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                            "\"z\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                            0, two, sizeof two);
    temp_folder_write_text(t, index_file, "{\"weight_map\": {\"b\": \"y.safetensors\", \"a\": \"x.safetensors\"}}");
    c = open_good(t->path);
    assert_string_equal(c->warnings[0], "model.safetensors.index.json does not list z, which is in x.safetensors; "
                                        "the shards' headers win (1 difference)");
    checkpoint_close(&c);
}

static void test_warnings_have_room_for_some(void **state)
{
    const temp_folder *t = *state;
    write_small_model(t, "model.safetensors");
    checkpoint *c = open_good(t->path);
    for (int i = 0; i < CHECKPOINT_WARNINGS_MAX + 5; i++) checkpoint_warn(c, "line %d\n", i);
    assert_int_equal(c->warning_count, CHECKPOINT_WARNINGS_MAX);
    assert_string_equal(c->warnings[0], "line 0\\x0A");
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    checkpoint_close(&c);
    c = open_good(t->path);
    checkpoint_warn(c, "%s", longer);
    assert_true(c->warning_count == 1 && strlen(c->warnings[0]) > 500 && strlen(c->warnings[0]) < 2000);
    checkpoint_close(&c);
}

/* ---- a Hugging Face cache ---- */

static void make_cached_model(const temp_folder *t)
{
    temp_folder_write_text(t, "hub/models--org--repo/refs/main", COMMIT);
    temp_folder_write_text(t, "hub/models--org--repo/blobs/c0", "{}");
    write_shard(t, "hub/models--org--repo/blobs/b0", "a", 4.0f);
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/config.json", "../../blobs/c0");
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/model.safetensors", "../../blobs/b0");
    setenv("HF_HUB_CACHE", temp_folder_path(t, "hub"), 1);
}

static void test_cached_model(void **state)
{
    const temp_folder *t = *state;
    make_cached_model(t);
    const char *given[] = {"org/repo", temp_folder_path(t, "hub/models--org--repo/snapshots/" COMMIT)};
    for (size_t i = 0; i < ARRAY_COUNT(given); i++) {
        checkpoint *c = open_good(given[i]);
        assert_string_equal(c->below_root, "snapshots/" COMMIT);
        assert_string_equal(c->path, temp_folder_path(t, "hub/models--org--repo/snapshots/" COMMIT));
        assert_string_equal(c->file_names[0], "model.safetensors");
        assert_non_null(tensor_index_find(&c->index, "a"));
        char *text = NULL;
        uint64_t bytes = 0;
        assert_int_equal(checkpoint_load_text(c, "config.json", c->ledger, MEM_META, &text, &bytes, NULL), LEAT_OK);
        assert_string_equal(text, "{}");
        assert_int_equal(bytes, 2);
        mem_free(c->ledger, text);
        checkpoint_close(&c);
    }
    /* A link out of the repository's folder is refused, though the folder above is reached by ".." like the blobs. */
    write_shard(t, "hub/outside", "a", 4.0f);
    temp_folder_remove(t, "hub/models--org--repo/snapshots/" COMMIT "/model.safetensors");
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/model.safetensors", "../../../outside");
    expect_refusal("org/repo", LEAT_MODEL, "model.safetensors");
    /* A blob that was removed. */
    temp_folder_remove(t, "hub/models--org--repo/snapshots/" COMMIT "/model.safetensors");
    temp_folder_link(t, "hub/models--org--repo/snapshots/" COMMIT "/model.safetensors", "../../blobs/gone");
    expect_refusal("org/repo", LEAT_MODEL, "model.safetensors");
}

/* ---- texts and descriptors ---- */

static void test_texts(void **state)
{
    const temp_folder *t = *state;
    write_small_model(t, "model.safetensors");
    checkpoint *c = open_good(t->path);
    mem *ledger = NULL;
    assert_int_equal(mem_open(0, &ledger, NULL), LEAT_OK);
    char *text = (char *)"something";
    uint64_t bytes = 77;
    assert_int_equal(checkpoint_load_text(c, "tokenizer.json", ledger, MEM_TOKENIZER, &text, &bytes, NULL), LEAT_OK);
    assert_null(text);
    assert_int_equal(bytes, 0);
    temp_folder_write_text(t, "tokenizer.json", "{ }\n");
    assert_int_equal(checkpoint_load_text(c, "tokenizer.json", ledger, MEM_TOKENIZER, &text, &bytes, NULL), LEAT_OK);
    assert_string_equal(text, "{ }\n");
    assert_int_equal(bytes, 4);
    assert_true(mem_pool_usage(ledger, MEM_TOKENIZER).current_bytes >= 5);
    mem_free(ledger, text);
    assert_int_equal(truncate(temp_folder_path(t, "tokenizer.json"), CHECKPOINT_TEXT_BYTES_MAX + 1L), 0);
    assert_int_equal(checkpoint_load_text(c, "tokenizer.json", ledger, MEM_TOKENIZER, &text, &bytes, NULL), LEAT_MODEL);
    mem_close(&ledger);
    checkpoint_close(&c);
}

static void test_reopening(void **state)
{
    const temp_folder *t = *state;
    temp_folder_write_text(t, "config.json", "{}");
    write_shard(t, "model-1.safetensors", "a", 1.0f);
    write_shard(t, "model-2.safetensors", "b", 2.0f);
    checkpoint *c = open_good(t->path);
    static const file_mode modes[] = {FILE_BUFFERED, FILE_DIRECT_IF_POSSIBLE};
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        file again[2];
        leat_error error = {0};
        if (checkpoint_reopen(c, modes[i], again, &error) != LEAT_OK) fail_msg("%s", error.text);
        for (uint32_t j = 0; j < 2; j++) {
            assert_true(again[j].fd >= 0 && again[j].fd != c->files[j].fd);
            assert_int_equal(again[j].bytes, c->files[j].bytes);
            assert_true(modes[i] != FILE_BUFFERED || !again[j].is_direct);
            file_close(&again[j]);
        }
    }

    /* A file put in the place of another: the open descriptor still reads the old one, and the new one is not taken for
     * it. */
    write_shard(t, "new", "b", 5.0f);
    assert_int_equal(rename(temp_folder_path(t, "new"), temp_folder_path(t, "model-2.safetensors")), 0);
    int descriptors = count_descriptors();
    file again[2];
    leat_error error = {0};
    assert_int_equal(checkpoint_reopen(c, FILE_BUFFERED, again, &error), LEAT_MODEL);
    expect_words(&error, "model-2.safetensors");
    assert_int_equal(count_descriptors(), descriptors);
    float value = 0.0f;
    const tensor *b = tensor_index_find(&c->index, "b");
    assert_int_equal(file_read(&c->files[1], "b", b->offset, &value, 4, NULL, NULL), LEAT_OK);
    assert_true(value == 2.0f);
    const struct timespec other_times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, temp_folder_path(t, "model-1.safetensors"), other_times, 0), 0);
    assert_int_equal(checkpoint_reopen(c, FILE_BUFFERED, again, &error), LEAT_MODEL);
    expect_words(&error, "model-1.safetensors");
    temp_folder_remove(t, "model-2.safetensors");
    assert_int_equal(checkpoint_reopen(c, FILE_BUFFERED, again, &error), LEAT_MODEL);
    assert_int_equal(count_descriptors(), descriptors);
    checkpoint_close(&c);
}

int main(void)
{
    alarm(120); /* a FIFO that blocks must not hang the suite */
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_damaged_checkpoints),
        TEST(test_good_checkpoint),
        TEST(test_shards_by_name),
        TEST(test_many_shards_are_sorted),
        TEST(test_folders_without_weights),
        TEST(test_configurations),
        TEST(test_fifos_do_not_block),
        TEST(test_links_that_lead_outside),
        TEST(test_names_in_the_index),
        TEST(test_long_names_in_the_index),
        TEST(test_stale_index),
        TEST(test_warnings_have_room_for_some),
        TEST(test_cached_model),
        TEST(test_texts),
        TEST(test_reopening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

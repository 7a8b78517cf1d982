/*
 * tokenizer_cases_test.c - known answers: what the `tokenizers` library makes of some 300 texts in every family's
 * settings, and how its streams come out. The Gemma 4 set and parts of those of the other kinds of files lie in the
 * repository; all are tested where the conformance folder is at hand.
 */
#include "text_support.h"

typedef struct cases_state {
    mem *ledger;
    text_buffer text, decoded, decoded_plain, got_text;
    token_list ids, ids_special, ids_plain, got;
    uint32_t run, wrong;
} cases_state;

static void check_ids(cases_state *s, const tokenizer *t, unsigned flags, const token_list *wanted, const char *what)
{
    leat_error error;
    s->got.count = 0;
    assert_ok(tokenizer_encode(t, s->text.bytes, s->text.count, flags, &s->got, &error), &error);
    if (same_ids(&s->got, wanted)) return;
    s->wrong++;
    if (s->wrong > 10) return;
    fprintf(stderr, "%s of \"%.200s\"\n", what, s->text.bytes);
    print_ids("expected", wanted);
    print_ids("got", &s->got);
}

static void check_decode(cases_state *s, const tokenizer *t, bool skip_special, const text_buffer *wanted)
{
    leat_error error;
    s->got_text.count = 0;
    assert_ok(tokenizer_decode(t, s->ids.ids, s->ids.count, skip_special, &s->got_text, &error), &error);
    if (s->got_text.count == wanted->count && memcmp(s->got_text.bytes, wanted->bytes, wanted->count) == 0) return;
    s->wrong++;
    if (s->wrong > 10) return;
    fprintf(stderr, "decode (skip_special %d)\n  expected \"%.200s\"\n  got      \"%.200s\"\n", skip_special,
            wanted->bytes, s->got_text.bytes);
}

static void run_case(cases_state *s, const tokenizer *t, json *parser)
{
    bool has_plain = false;
    leat_error error;
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "text"))
            read_string(parser, &s->text);
        else if (json_text_is(&token, "ids"))
            read_ids(parser, &s->ids);
        else if (json_text_is(&token, "ids_special"))
            read_ids(parser, &s->ids_special);
        else if (json_text_is(&token, "ids_plain"))
            read_ids(parser, &s->ids_plain), has_plain = true;
        else if (json_text_is(&token, "decoded"))
            read_string(parser, &s->decoded);
        else if (json_text_is(&token, "decoded_skip_special"))
            read_string(parser, &s->decoded_plain);
        else
            assert_ok(json_skip(parser, &error), &error);
    }
    s->run++;
    check_ids(s, t, 0, &s->ids, "ids");
    check_ids(s, t, TOKENIZER_POST_PROCESS, &s->ids_special, "ids with the post-processor");
    check_ids(s, t, TOKENIZER_PLAIN, has_plain ? &s->ids_plain : &s->ids, "plain ids");
    check_decode(s, t, false, &s->decoded);
    check_decode(s, t, true, &s->decoded_plain);
}

static void init_state(cases_state *s)
{
    *s = (cases_state){.ledger = open_ledger(0)};
    text_buffer *texts[] = {&s->text, &s->decoded, &s->decoded_plain, &s->got_text};
    token_list *lists[] = {&s->ids, &s->ids_special, &s->ids_plain, &s->got};
    for (int i = 0; i < 4; i++) text_buffer_init(texts[i], s->ledger);
    for (int i = 0; i < 4; i++) token_list_init(lists[i], s->ledger);
}

static void reset_state(cases_state *s)
{
    text_buffer *texts[] = {&s->text, &s->decoded, &s->decoded_plain, &s->got_text};
    token_list *lists[] = {&s->ids, &s->ids_special, &s->ids_plain, &s->got};
    for (int i = 0; i < 4; i++) text_buffer_reset(texts[i]);
    for (int i = 0; i < 4; i++) token_list_reset(lists[i]);
    close_empty_ledger(s->ledger);
}

/* Runs all cases of a folder; false when the folder is not there. */
static bool run_folder(const char *folder, uint32_t case_count_min)
{
    char name[256], path[UNIT_PATH_BYTES];
    cases_state s;
    init_state(&s);
    tokenizer *t = open_tokenizer_folder(s.ledger, folder);
    if (t == NULL) {
        reset_state(&s);
        return false;
    }
    text_buffer document;
    snprintf(name, sizeof name, "%s/cases.json", folder);
    assert_true(find_data_file(name, path));
    read_file(s.ledger, path, &document);
    json *parser = open_cases(s.ledger, &document);
    while (next_token(parser).kind == JSON_OBJECT_BEGIN) run_case(&s, t, parser);
    json_close(&parser);
    text_buffer_reset(&document);
    tokenizer_close(&t);
    if (s.wrong > 0) fprintf(stderr, "%s: %u checks of %u cases are wrong\n", folder, s.wrong, s.run);
    uint32_t run = s.run, wrong = s.wrong;
    reset_state(&s);
    assert_in_range(run, case_count_min, UINT32_MAX);
    assert_int_equal(wrong, 0);
    return true;
}

static void test_golden(void **state)
{
    static const char *const folders[] = {"gemma4", "kimi-tiktoken", "sentencepiece-bpe", "t5-unigram",
                                          "bert-wordpiece"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char folder[64];
        snprintf(folder, sizeof folder, "golden/tokenizers/%s", folders[i]);
        assert_true(run_folder(folder, 60));
    }
}

static const char *const families[] = {
    "gemma4",
    "llama2",
    "phi3",
    "mistral-metaspace",
    "llama3",
    "glm4",
    "qwen2",
    "qwen35",
    "gpt2",
    "gpt2-prefix-space",
    "starcoder",
    "falcon",
    "o200k",
    "minimax",
    "tekken",
    "nemotron",
    "cl100k",
    "kimi",
    "deepseek3",
    "deepseek-coder",
    "unk",
    "unk-unfused",
    "split-behaviours",
    "kimi-tiktoken",
    "sentencepiece-bpe",
    "t5-unigram",
    "bert-wordpiece",
};

static void test_family(void **state)
{
    char folder[128];
    snprintf(folder, sizeof folder, "tokenizers/%s", (const char *)*state);
    if (!run_folder(folder, 190)) skip();
}

/* ---- streams ---- */

enum { STEPS_MAX = 512 };

typedef struct stream_state {
    mem *ledger;
    text_buffer tokenizer_name, flush, decoded, got, sum, steps[STEPS_MAX];
    token_list ids;
    char open_name[64];
    tokenizer *t;
    uint32_t run, wrong;
} stream_state;

static bool same_text(const text_buffer *a, const text_buffer *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->bytes, b->bytes, a->count) == 0);
}

static void open_named(stream_state *s)
{
    char name[128], path[UNIT_PATH_BYTES];
    if (strcmp(s->open_name, s->tokenizer_name.bytes) == 0) return;
    tokenizer_close(&s->t);
    snprintf(s->open_name, sizeof s->open_name, "%s", s->tokenizer_name.bytes);
    snprintf(name, sizeof name, "tokenizers/%s/tokenizer.json", s->open_name);
    assert_true(find_data_file(name, path));
    s->t = open_tokenizer_file(s->ledger, path);
}

static void run_stream(stream_state *s, json *parser)
{
    leat_error error;
    bool skip_special = false, agrees = true;
    uint32_t step_count = 0;
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "tokenizer"))
            read_string(parser, &s->tokenizer_name);
        else if (json_text_is(&token, "ids"))
            read_ids(parser, &s->ids);
        else if (json_text_is(&token, "skip_special_tokens"))
            skip_special = read_flag(parser);
        else if (json_text_is(&token, "agrees"))
            agrees = read_flag(parser);
        else if (json_text_is(&token, "steps"))
            read_strings(parser, s->steps, STEPS_MAX, &step_count, s->ledger);
        else if (json_text_is(&token, "flush"))
            read_string(parser, &s->flush);
        else if (json_text_is(&token, "decoded"))
            read_string(parser, &s->decoded);
        else
            assert_ok(json_skip(parser, &error), &error);
    }
    open_named(s);
    assert_int_equal(step_count, s->ids.count);
    detokenizer *d;
    bool is_wrong = false;
    assert_ok(detokenizer_open(s->t, skip_special, &d, &error), &error);
    s->sum.count = 0;
    for (uint32_t i = 0; i <= step_count; i++) {
        const text_buffer *wanted = i < step_count ? &s->steps[i] : &s->flush;
        s->got.count = 0;
        if (i < step_count)
            assert_ok(detokenizer_push(d, s->ids.ids[i], &s->got, &error), &error);
        else
            assert_ok(detokenizer_flush(d, &s->got, &error), &error);
        if (!same_text(&s->got, wanted)) {
            if (!is_wrong && s->wrong < 10)
                fprintf(stderr, "%s: step %u of \"%s\": expected \"%s\", got \"%.*s\"\n", s->open_name, i,
                        s->decoded.bytes, wanted->bytes, (int)s->got.count, s->got.bytes == NULL ? "" : s->got.bytes);
            is_wrong = true;
        }
        assert_ok(text_buffer_append(&s->sum, s->got.bytes, s->got.count, &error), &error);
    }
    detokenizer_close(&d);
    if (agrees != same_text(&s->sum, &s->decoded)) is_wrong = true;
    s->got.count = 0;
    assert_ok(tokenizer_decode(s->t, s->ids.ids, s->ids.count, skip_special, &s->got, &error), &error);
    if (!same_text(&s->got, &s->decoded)) is_wrong = true;
    s->wrong += is_wrong;
    s->run++;
}

static void test_streams(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    if (!find_data_file("tokenizers/stream.json", path)) skip();
    static stream_state s;
    s = (stream_state){.ledger = open_ledger(0)};
    text_buffer *texts[] = {&s.tokenizer_name, &s.flush, &s.decoded, &s.got, &s.sum};
    for (int i = 0; i < 5; i++) text_buffer_init(texts[i], s.ledger);
    token_list_init(&s.ids, s.ledger);
    text_buffer document;
    read_file(s.ledger, path, &document);
    json *parser = open_cases(s.ledger, &document);
    while (next_token(parser).kind == JSON_OBJECT_BEGIN) run_stream(&s, parser);
    json_close(&parser);
    tokenizer_close(&s.t);
    text_buffer_reset(&document);
    for (int i = 0; i < 5; i++) text_buffer_reset(texts[i]);
    for (int i = 0; i < STEPS_MAX; i++)
        if (s.steps[i].ledger != NULL) text_buffer_reset(&s.steps[i]);
    token_list_reset(&s.ids);
    close_empty_ledger(s.ledger);
    assert_in_range(s.run, 800, UINT32_MAX);
    assert_int_equal(s.wrong, 0);
}

int main(void)
{
    enum { FAMILY_COUNT = sizeof families / sizeof families[0], OTHERS = 3 };
    struct CMUnitTest tests[FAMILY_COUNT + OTHERS] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_streams),
    };
    for (int i = 0; i < FAMILY_COUNT; i++)
        tests[OTHERS + i] = (struct CMUnitTest){families[i], test_family, NULL, NULL, (void *)(uintptr_t)families[i]};
    return cmocka_run_group_tests_name("text.tokenizer_cases", tests, NULL, NULL);
}

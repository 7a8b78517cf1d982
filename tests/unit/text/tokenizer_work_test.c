/*
 * tokenizer_work_test.c - what hostile texts cost, counted in steps and not in seconds: twice the text takes about
 * twice the work for every kind of model and every known pattern; a pattern that takes more is refused at a bound. And
 * that known patterns, which are matched without being counted, find the same.
 */
#include "text_support.h"

#include "base/prng.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/regex_known.h"
#include "text/tokenizer_parts.h"

enum { RANDOM_WORD, FILL_COUNT = 16 };

/* Each is repeated; the first stands for a word of random letters. */
static const char *const fills[FILL_COUNT] = {
    "",  " ",   "\n", "a",  "A",  "\xe5\xad\x97", "ab", "<", "<s", "\xcc\x81", "\xcd\x85\xcc\x81",
    "1", "\n ", "'s", "aB", " \t"};

static void append_text(text_buffer *out, const char *text)
{
    leat_error error;
    assert_ok(text_buffer_append(out, text, strlen(text), &error), &error);
}

/* With an x at the end, so that what looks for an end finds it late. */
static void make_text(int fill, uint64_t bytes, text_buffer *out)
{
    prng random;
    prng_init(&random, 5);
    out->count = 0;
    while (out->count < bytes) {
        char letter[2] = {(char)('a' + prng_below(&random, 26)), 0};
        append_text(out, fill == RANDOM_WORD ? letter : fills[fill]);
    }
    append_text(out, "x");
}

static uint64_t count_steps(mem *ledger, const tokenizer *t, int fill, uint64_t bytes)
{
    leat_error error;
    text_buffer text;
    token_list ids;
    uint64_t steps = 0;
    text_buffer_init(&text, ledger);
    token_list_init(&ids, ledger);
    make_text(fill, bytes, &text);
    assert_ok(tokenizer_encode_counted(t, text.bytes, text.count, 0, &ids, &steps, &error), &error);
    text_buffer_reset(&text);
    token_list_reset(&ids);
    return steps;
}

/* n log n gives 2.1 here; a quadratic part would give 4. */
static void expect_linear(mem *ledger, const tokenizer *t, const char *name, uint64_t bytes)
{
    for (int fill = 0; fill < FILL_COUNT; fill++) {
        uint64_t half = count_steps(ledger, t, fill, bytes / 2), whole = count_steps(ledger, t, fill, bytes);
        if (half < bytes / 2 || whole * 2 > half * 5)
            fail_msg("%s, fill %d: %llu steps for %llu bytes, %llu for half of them", name, fill,
                     (unsigned long long)whole, (unsigned long long)bytes, (unsigned long long)half);
    }
}

static void test_models_are_linear(void **state)
{
    (void)state;
    static const char *const folders[] = {"gemma4", "sentencepiece-bpe", "t5-unigram", "bert-wordpiece",
                                          "kimi-tiktoken"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char name[64];
        mem *ledger = open_ledger(0);
        snprintf(name, sizeof name, "golden/tokenizers/%s", folders[i]);
        tokenizer *t = open_tokenizer_folder(ledger, name);
        assert_non_null(t);
        expect_linear(ledger, t, folders[i], 1 << 20);
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

/* Byte-level BPE that merges runs of what the texts are made of. */
static void append_model(text_buffer *out)
{
    static const char *const merges[][2] = {
        {"a", "a"}, {"aa", "aa"}, {"a", "b"}, {"ab", "ab"}, {"\xc4\xa0", "\xc4\xa0"}, {"\xc4\x8a", "\xc4\x8a"},
        {"A", "A"}, {"<", "<"}};
    const unsigned merge_count = sizeof merges / sizeof merges[0];
    char row[64];
    append_text(out, "{\"type\": \"BPE\", \"vocab\": {\"?\": 1000");
    for (unsigned byte = 0; byte < 256; byte++) {
        char shown[4], one = (char)byte;
        int bytes = (int)byte_level_expand(&one, 1, shown);
        if (byte == '?') continue;
        snprintf(row, sizeof row, ", \"%s%.*s\": %u", byte == '"' || byte == '\\' ? "\\" : "", bytes, shown, byte);
        append_text(out, row);
    }
    for (unsigned i = 0; i < merge_count; i++) {
        snprintf(row, sizeof row, ", \"%s%s\": %u", merges[i][0], merges[i][1], 256 + i);
        append_text(out, row);
    }
    append_text(out, "}, \"merges\": [");
    for (unsigned i = 0; i < merge_count; i++) {
        snprintf(row, sizeof row, "%s[\"%s\", \"%s\"]", i == 0 ? "" : ", ", merges[i][0], merges[i][1]);
        append_text(out, row);
    }
    append_text(out, "]}");
}

static void append_escaped(text_buffer *out, const char *pattern)
{
    for (; *pattern != 0; pattern++) {
        char escaped[8] = {*pattern, 0};
        if (*pattern == '"' || *pattern == '\\') snprintf(escaped, sizeof escaped, "\\%c", *pattern);
        if (*pattern == '\n') snprintf(escaped, sizeof escaped, "\\n");
        if (*pattern == '\r') snprintf(escaped, sizeof escaped, "\\r");
        append_text(out, escaped);
    }
}

/* A byte-level tokenizer with the pattern between `before` and `after`. */
static tokenizer *open_with_pattern(mem *ledger, const char *before, const char *pattern, const char *after)
{
    static const char begin[] = "{\"added_tokens\": [], \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": "
                                "[{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \"";
    static const char middle[] =
        "\"}}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}, \"model\": ";
    text_buffer file;
    text_buffer_init(&file, ledger);
    append_text(&file, begin);
    append_escaped(&file, before);
    append_escaped(&file, pattern);
    append_escaped(&file, after);
    append_text(&file, middle);
    append_model(&file);
    append_text(&file, "}");
    tokenizer *t = open_tokenizer_text(ledger, file.bytes);
    text_buffer_reset(&file);
    return t;
}

/* In a group a pattern means the same, and is not known. */
static void test_known_patterns_are_linear(void **state)
{
    (void)state;
    for (size_t i = 0; i < regex_known_count; i++) {
        mem *ledger = open_ledger(0);
        tokenizer *t = open_with_pattern(ledger, "(?:", regex_known_patterns[i], ")");
        expect_linear(ledger, t, regex_known_patterns[i], 1 << 17);
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

static void append_random(text_buffer *out, prng *random)
{
    leat_error error;
    static const uint32_t starts[] = {0, ' ', 'a', 0x300, 0x400, 0x4e00, 0xac00, 0x1f300, 0x2000};
    uint32_t start = starts[prng_below(random, sizeof starts / sizeof starts[0])];
    const char *fill = fills[1 + prng_below(random, FILL_COUNT - 1)];
    for (uint64_t count = 1 + prng_below(random, 12); count > 0; count--) {
        char encoded[4];
        if (start == 0)
            append_text(out, fill);
        else
            assert_ok(text_buffer_append(out, encoded, utf8_encode(start + (uint32_t)prng_below(random, 90), encoded),
                                         &error),
                      &error);
    }
}

static void test_known_patterns_find_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < regex_known_count; i++) {
        leat_error error;
        prng random;
        mem *ledger = open_ledger(0);
        tokenizer *known = open_with_pattern(ledger, "", regex_known_patterns[i], "");
        tokenizer *counted = open_with_pattern(ledger, "(?:", regex_known_patterns[i], ")");
        text_buffer text;
        token_list ids[2];
        uint64_t steps[2];
        text_buffer_init(&text, ledger);
        for (int k = 0; k < 2; k++) token_list_init(&ids[k], ledger);
        prng_init(&random, 3 + i);
        while (text.count < 50000) append_random(&text, &random);
        assert_ok(tokenizer_encode_counted(known, text.bytes, text.count, 0, &ids[0], &steps[0], &error), &error);
        assert_ok(tokenizer_encode_counted(counted, text.bytes, text.count, 0, &ids[1], &steps[1], &error), &error);
        assert_true(same_ids(&ids[0], &ids[1]));
        assert_true(steps[1] > steps[0]); /* the one is not counted, the other is */
        for (int k = 0; k < 2; k++) token_list_reset(&ids[k]);
        text_buffer_reset(&text);
        tokenizer_close(&known);
        tokenizer_close(&counted);
        close_empty_ledger(ledger);
    }
}

/* Quadratic in one match, over many matches, by looking ahead; cubic; exponential. */
static void test_patterns_without_end_are_refused(void **state)
{
    (void)state;
    enum { TEXT_BYTES = 1 << 17, SPACES = 1 };
    static const char *const patterns[] = {"\\s*y|\\s",    "\\s++y|\\s",          "\\s(?=\\s*y)|\\s",
                                           ".*?(?=y)|\\s", "\\s*\\s*\\s*[^\\sx]", "(\\s+)+[^\\sx]"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        leat_error error;
        mem *ledger = open_ledger(0);
        tokenizer *t = open_with_pattern(ledger, "", patterns[i], "");
        text_buffer text;
        token_list ids;
        uint64_t steps = 0;
        text_buffer_init(&text, ledger);
        token_list_init(&ids, ledger);
        make_text(SPACES, TEXT_BYTES, &text);
        assert_fails(MODEL, tokenizer_encode_counted(t, text.bytes, text.count, 0, &ids, &steps, &error), &error);
        assert_text_has(error.text, "takes more than");
        assert_int_equal(ids.count, 0);
        /* the last step may run over the whole text */
        assert_in_range(steps, REGEX_STEPS_FREE, REGEX_STEPS_FREE + (REGEX_STEPS_PER_BYTE + 16) * (uint64_t)TEXT_BYTES);
        text_buffer_reset(&text);
        token_list_reset(&ids);
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_are_linear),
        cmocka_unit_test(test_known_patterns_are_linear),
        cmocka_unit_test(test_known_patterns_find_the_same),
        cmocka_unit_test(test_patterns_without_end_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

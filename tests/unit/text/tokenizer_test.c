/*
 * tokenizer_test.c - what a tokenizer refuses and how it says so, one test a rule; what every failing allocation leaves
 * behind; and that decoding undoes encoding.
 */
#include "text_support.h"

#include "base/prng.h"
#include "base/utf8.h"

/* The pieces of a small valid file; a test replaces one of them. */
#define ADDED         "{\"id\": 5, \"content\": \"<s>\", \"special\": true}"
#define VOCAB         "{\"<unk>\": 0, \"a\": 1, \"b\": 2, \"ab\": 3, \"\xe2\x96\x81\": 4}"
#define MERGES        "[[\"a\", \"b\"]]"
#define SPACE_TO_MARK "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xe2\x96\x81\"}"

/* What is quadratic where it is matched from every character of a run. */
#define SPACE_ENDS                                                                                                     \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\s+$\"}, \"behavior\": \"Isolated\", \"invert\": false}"

typedef struct file_parts {
    const char *added, *normalizer, *pre_tokenizer, *post_processor, *decoder, *model_more, *vocab, *merges, *more;
} file_parts;

static char file_text[256 * 1024];

static const char *write_file_parts(file_parts p)
{
    snprintf(file_text, sizeof file_text,
             "{\"version\": \"1.0\", \"added_tokens\": [%s], \"normalizer\": %s, \"pre_tokenizer\": %s, "
             "\"post_processor\": %s, "
             "\"decoder\": %s, \"model\": {\"type\": \"BPE\", %s \"vocab\": %s, \"merges\": %s}%s}",
             p.added ? p.added : ADDED, p.normalizer ? p.normalizer : "null",
             p.pre_tokenizer ? p.pre_tokenizer : "null", p.post_processor ? p.post_processor : "null",
             p.decoder ? p.decoder : "null", p.model_more ? p.model_more : "", p.vocab ? p.vocab : VOCAB,
             p.merges ? p.merges : MERGES, p.more ? p.more : "");
    return file_text;
}

static void expect_refusal(file_parts parts, uint32_t vocab_count, const char *said)
{
    leat_error error;
    const char *text = write_file_parts(parts);
    refuse_tokenizer_text(text, strlen(text), vocab_count, &error);
    assert_text_has(error.text, said);
}

static void test_small_file_works(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(
        ledger, write_file_parts((file_parts){.model_more = "\"unk_token\": \"<unk>\",", .normalizer = SPACE_TO_MARK}));
    bool is_special;
    uint32_t id;
    EXPECT_IDS(t, "ab ba<s>?", 0, 3, 4, 2, 1, 5, 0);
    EXPECT_IDS(t, "??", 0, 0, 0);
    assert_int_equal(tokenizer_id_count(t), 6);
    assert_string_equal(tokenizer_token_text(t, 5, &is_special), "<s>");
    assert_true(is_special);
    assert_string_equal(tokenizer_token_text(t, 3, &is_special), "ab");
    assert_false(is_special);
    assert_null(tokenizer_token_text(t, 6, NULL));
    assert_true(tokenizer_id_of(t, "ab", &id));
    assert_int_equal(id, 3);
    assert_false(tokenizer_id_of(t, "abb", &id));
    tokenizer_close(&t);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void test_ids_are_unique(void **state)
{
    (void)state;
    expect_refusal((file_parts){.vocab = "{\"a\": 300, \"b\": 2, \"ab\": 300}"}, 0, "300");
    expect_refusal((file_parts){.added = "{\"id\": 3, \"content\": \"<s>\"}"}, 0, "id 3 ");
}

/* A text that is listed twice counts once, with the settings of the last; one of the vocabulary keeps its id. */
static void test_added_tokens_that_repeat(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(ledger, write_file_parts((file_parts){.added = ADDED ", " ADDED}));
    EXPECT_IDS(t, "ab<s>", 0, 3, 5);
    assert_int_equal(tokenizer_id_count(t), 6);
    tokenizer_close(&t);
    t = open_tokenizer_text(
        ledger, write_file_parts((file_parts){.added = ADDED ", {\"id\": 5, \"content\": \"<s>\", \"rstrip\": true}"}));
    EXPECT_IDS(t, "ab<s> a", 0, 3, 5, 1);
    tokenizer_close(&t);
    t = open_tokenizer_text(ledger,
                            write_file_parts((file_parts){.added = ADDED ", {\"id\": 9, \"content\": \"ab\"}"}));
    EXPECT_IDS(t, "bab", 0, 2, 3);
    assert_int_equal(tokenizer_id_count(t), 6);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void test_ids_have_limits(void **state)
{
    (void)state;
    expect_refusal((file_parts){.vocab = "{\"a\": 1, \"b\": 2, \"ab\": 2147483648}"}, 1000, "2147483648");
    expect_refusal((file_parts){.vocab = "{\"a\": 1, \"b\": 2, \"ab\": 2147483648}"}, 0, "2147483648");
    expect_refusal((file_parts){.vocab = "{\"a\": 1, \"b\": 2, \"ab\": 2097152}"}, 0, "2097152");
    expect_refusal((file_parts){.vocab = "{\"a\": 1, \"b\": 2, \"ab\": -3}"}, 0, "whole number");
    expect_refusal((file_parts){.vocab = "{\"a\": 1, \"b\": 2, \"ab\": 18446744073709551616}"}, 0, "whole number");
    expect_refusal((file_parts){0}, 5, "id 5");
    leat_error error;
    mem *ledger = open_ledger(0);
    tokenizer *t;
    const char *text = write_file_parts((file_parts){0});
    assert_ok(tokenizer_open(ledger, "tokenizer.json", text, strlen(text), 6, &t, &error), &error);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void test_merges_name_pieces(void **state)
{
    (void)state;
    expect_refusal((file_parts){.merges = "[[\"a\", \"qqzz\"]]"}, 0, "qqzz");
    expect_refusal((file_parts){.merges = "[\"qqzz a\"]"}, 0, "qqzz");
    expect_refusal((file_parts){.merges = "[[\"b\", \"a\"]]"}, 0, "\"ba\"");
    expect_refusal((file_parts){.merges = "[[\"a\", \"\"]]"}, 0, "empty half");
    expect_refusal((file_parts){.merges = "[\" a\"]"}, 0, "empty half");
    expect_refusal((file_parts){.merges = "[\"ab\"]"}, 0, "two pieces");
    expect_refusal((file_parts){.merges = "[\"a b c\"]"}, 0, "two pieces");
    expect_refusal((file_parts){.merges = "[[\"a\"]]"}, 0, "pair of strings");
    expect_refusal((file_parts){.merges = "[[\"a\", \"b\", \"b\"]]"}, 0, "pair of strings");
    expect_refusal((file_parts){.merges = "[3]"}, 0, "pair of strings");
    expect_refusal((file_parts){.merges = "[[\"a\", \"<s>\"]]"}, 0, "<s>"); /* an added token is no piece */
}

static void test_long_names_are_cut(void **state)
{
    (void)state;
    static char merges[70000];
    size_t at = (size_t)snprintf(merges, sizeof merges, "[[\"a\", \"");
    memset(merges + at, 'h', 60000);
    snprintf(merges + at + 60000, sizeof merges - at - 60000, "\"]]");
    expect_refusal((file_parts){.merges = merges}, 0, "merge");
    leat_error error;
    const char *text = write_file_parts((file_parts){.merges = merges});
    refuse_tokenizer_text(text, strlen(text), 0, &error);
    assert_null(strstr(error.text, "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"));
}

static void test_added_tokens_are_checked(void **state)
{
    (void)state;
    static char long_token[8192];
    expect_refusal((file_parts){.added = "{\"id\": 319, \"content\": \"\"}"}, 0, "319");
    expect_refusal((file_parts){.added = "{\"id\": 319}"}, 0, "319");
    expect_refusal((file_parts){.added = "{\"content\": \"x\"}"}, 0, "no id");
    expect_refusal((file_parts){.added = "{\"id\": 9, \"content\": \"x\", \"weight\": 3}"}, 0, "weight");
    expect_refusal((file_parts){.added = "{\"id\": 9, \"content\": \"x\\u0000\"}"}, 0, "U+0000");
    size_t at = (size_t)snprintf(long_token, sizeof long_token, "{\"id\": 9, \"content\": \"");
    memset(long_token + at, 'x', 4097);
    snprintf(long_token + at + 4097, sizeof long_token - at - 4097, "\"}");
    expect_refusal((file_parts){.added = long_token}, 0, "4097");
}

#define FUSE      "{\"type\": \"Fuse\"}"
#define SIX_FUSES FUSE ", " FUSE ", " FUSE ", " FUSE ", " FUSE ", " FUSE

static void test_unknown_components_are_named(void **state)
{
    (void)state;
    expect_refusal((file_parts){.normalizer = "{\"type\": \"Reverse\"}"}, 0, "Reverse");
    expect_refusal((file_parts){.normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Nmt2\"}]}"}, 0,
                   "normalizer \"Nmt2\"");
    expect_refusal((file_parts){.pre_tokenizer = "{\"type\": \"Scripts\"}"}, 0, "pre_tokenizer \"Scripts\"");
    expect_refusal((file_parts){.decoder = "{\"type\": \"CTC\"}"}, 0, "CTC needs the field \"pad_token\"");
    expect_refusal((file_parts){.decoder = "{\"type\": \"Beam\"}"}, 0, "decoder \"Beam\"");
    expect_refusal((file_parts){.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAA\"}"}, 0,
                   "base64");
    expect_refusal((file_parts){.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}"}, 0,
                   "damaged");
    expect_refusal((file_parts){.post_processor = "{\"type\": \"RobertaProcessing\"}"}, 0, "cls and sep");
    expect_refusal((file_parts){.post_processor = "{\"type\": \"RobertaLike\"}"}, 0, "RobertaLike");
    expect_refusal((file_parts){.normalizer = "{\"type\": \"NFC\", \"content\": \"x\"}"}, 0, "content");
    expect_refusal((file_parts){.normalizer = "{\"type\": \"NFC\", \"speed\": 3}"}, 0, "speed");
    expect_refusal((file_parts){.normalizer = "{\"type\": \"Prepend\"}"}, 0, "prepend");
    expect_refusal((file_parts){.normalizer = "{}"}, 0, "without a type");
    expect_refusal((file_parts){.pre_tokenizer =
                                    "{\"type\": \"Split\", \"pattern\": {\"String\": \"x\"}, \"behavior\": \"Twice\"}"},
                   0, "Twice");
    expect_refusal((file_parts){.pre_tokenizer = "{\"type\": \"Metaspace\", \"replacement\": \"xy\"}"}, 0,
                   "one character");
    expect_refusal((file_parts){.pre_tokenizer =
                                    "{\"type\": \"Metaspace\", \"replacement\": \"x\", \"prepend_scheme\": \"often\"}"},
                   0, "often");
    expect_refusal((file_parts){.decoder = "{\"type\": \"Strip\", \"content\": \"ab\", \"start\": 1, \"stop\": 0}"}, 0,
                   "one character");
    expect_refusal((file_parts){.decoder = "{\"type\": \"Sequence\", \"decoders\": [" SIX_FUSES ", " SIX_FUSES
                                           ", " SIX_FUSES "]}"},
                   0, "decoder: more than 16 steps");
    expect_refusal((file_parts){.more = ", \"surprise\": 1"}, 0, "surprise");
    expect_refusal((file_parts){.model_more = "\"surprise\": 1,"}, 0, "surprise");
    expect_refusal((file_parts){.model_more = "\"dropout\": 0.1,"}, 0, "dropout");
}

/* What later releases of the library write and what says nothing is passed over. */
static void test_later_fields_are_passed_over(void **state)
{
    (void)state;
    static const char *const more[] = {", \"role_to_token\": null", ", \"role_to_token\": {}",
                                       ", \"role_to_token\": {\"bos_token\": \"<s>\"}", ", \"surprise\": null"};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        mem *ledger = open_ledger(0);
        tokenizer *t = open_tokenizer_text(ledger, write_file_parts((file_parts){.more = more[i]}));
        EXPECT_IDS(t, "ab<s>", 0, 3, 5);
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
    expect_refusal((file_parts){.more = ", \"role_to_token\": 3"}, 0, "role_to_token");
    expect_refusal((file_parts){.more = ", \"role_to_token\": {\"bos_token\": [5]}"}, 0, "role_to_token");
}

/* An unknown token that the vocabulary lacks is an error of the text that needs it, not of the file. */
static void test_missing_unk_token_fails_when_needed(void **state)
{
    (void)state;
    static const char *const files[] = {
        "{\"model\": {\"type\": \"BPE\", \"unk_token\": \"<what>\", \"vocab\": {\"ab\": 3, \"a\": 1, \"b\": 2}, "
        "\"merges\": [\"a b\"]}}",
        "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"<what>\", \"vocab\": {\"ab\": 3}}}"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        leat_error error;
        token_list ids;
        mem *ledger = open_ledger(0);
        tokenizer *t = open_tokenizer_text(ledger, files[i]);
        EXPECT_IDS(t, "ab", 0, 3);
        token_list_init(&ids, ledger);
        assert_fails(MODEL, tokenizer_encode(t, "ab?", 3, 0, &ids, &error), &error);
        assert_text_has(error.text, "<what>");
        token_list_reset(&ids);
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

/* A scheme of "never" counts beside add_prefix_space. */
static void test_prefix_space_of_metaspace(void **state)
{
    (void)state;
#define MARKED(fields) "{\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", " fields "}"
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(
        ledger, write_file_parts((file_parts){
                    .pre_tokenizer = MARKED("\"add_prefix_space\": true, \"prepend_scheme\": \"never\"")}));
    EXPECT_IDS(t, "a b", 0, 1, 4, 2);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
    expect_refusal((file_parts){.pre_tokenizer = MARKED("\"add_prefix_space\": false, \"prepend_scheme\": \"first\"")},
                   0, "contradicts");
}

static void test_other_model_types_are_named(void **state)
{
    (void)state;
    leat_error error;
    static const char *const texts[][2] = {
        {"{\"model\": {\"type\": \"Level\", \"vocab\": {\"a\": 1}}}",
         "model type Level is not supported; supported: BPE, Unigram, WordPiece, WordLevel"},
        {"{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 1}}}", "unk_token"},
        {"{\"model\": {\"vocab\": [[\"a\", 0.5]], \"type\": \"BPE\"}}", "a list"},
        {"{\"model\": {\"vocab\": {\"a\": 1}, \"type\": \"Unigram\"}}", "Unigram"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0.5], [\"a\", 1]]}}", "listed twice"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0.5]], \"unk_id\": 1}}", "unk_id"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0.5], [\"\", 1]]}}", "empty text"},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 1}}}", "unk_token"},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 1}, \"merges\": []}}", "not BPE"},
        {"{}", "no model"},
        {"{\"model\": {\"vocab\": {\"a\": 1}}}", "no merges"},
        {"{\"model\": {\"merges\": []}}", "no vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"\": 1}, \"merges\": []}}", "empty text"},
        {"[]", "object"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        refuse_tokenizer_text(texts[i][0], strlen(texts[i][0]), 0, &error);
        assert_text_has(error.text, texts[i][1]);
    }
}

static void test_patterns_are_checked(void **state)
{
    (void)state;
    static const char *const patterns[][2] = {
        {"(", "not closed"},
        {")", "not opened"},
        {"[a", "not closed"},
        {"*a", "nothing to repeat"},
        {"a**", "repeat of a repeat"},
        {"[a&&]", "empty set"},
        {"[[:what:]]", "colons"},
        {"[a-[b]]", "range that ends"},
        {"[[[[[[[[[[a]]]]]]]]]]", "deeper than 8"},
        {"[[a]", "not closed"},
        {"\\\\1", "not supported"},
        {"\\\\p{Foo}", "not known"},
        {"\\\\X", "not supported"},
        {"(?P<x>a)", "group"},
        {"a{1001}", "repeat count"},
        {"(?x)a", "group"},
        {"((?i)a", "not closed"},
        {"(?i)a)", "not opened"},
        {"[z-a]", "does not compile"},
        {"\\\\", "at the end"},
        {"a{3,2}", "repeat count"},
        {"\\\\xff", "number"},
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        char split[256];
        snprintf(split, sizeof split,
                 "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"%s\"}, \"behavior\": \"Isolated\"}", patterns[i][0]);
        expect_refusal((file_parts){.pre_tokenizer = split}, 0, patterns[i][1]);
    }
    static char long_pattern[20000];
    size_t at = (size_t)snprintf(long_pattern, sizeof long_pattern,
                                 "{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \"");
    memset(long_pattern + at, 'x', 16 * 1024 + 1);
    snprintf(long_pattern + at + 16 * 1024 + 1, 16, "\"}}");
    expect_refusal((file_parts){.pre_tokenizer = long_pattern}, 0, "16385");
    at = (size_t)snprintf(long_pattern, sizeof long_pattern,
                          "{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \"");
    for (int i = 0; i < 65; i++) at += (size_t)snprintf(long_pattern + at, 8, "(?:");
    snprintf(long_pattern + at, 16, "\"}}");
    expect_refusal((file_parts){.pre_tokenizer = long_pattern}, 0, "deeper");
}

static void test_post_processors_are_checked(void **state)
{
    (void)state;
#define TEMPLATE(single, tokens)                                                                                       \
    "{\"type\": \"TemplateProcessing\", \"single\": [" single "], \"pair\": [], \"special_tokens\": {" tokens "}}"
#define TEXT_A        "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define START         "{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}"
#define START_IDS(id) "\"<s>\": {\"id\": \"<s>\", \"ids\": [" id "], \"tokens\": [\"<s>\"]}"
    expect_refusal((file_parts){.post_processor = TEMPLATE(START, START_IDS("5"))}, 0, "no place for the text");
    expect_refusal((file_parts){.post_processor = TEMPLATE(START ", " TEXT_A, "")}, 0, "<s>");
    expect_refusal((file_parts){.post_processor = TEMPLATE(START ", " TEXT_A, START_IDS("99"))}, 0, "99");
    expect_refusal((file_parts){.post_processor = TEMPLATE(TEXT_A ", " TEXT_A, "")}, 0, "repeats");
    static const char behind[] = "{\"type\": \"Sequence\", \"processors\": [%s, %s]}";
    char file[2048];
    snprintf(file, sizeof file, behind, TEMPLATE(START ", " TEXT_A ", " START, START_IDS("5")), TEMPLATE(TEXT_A, ""));
    expect_refusal((file_parts){.post_processor = file}, 0, "a template for 3 parts");
    snprintf(file, sizeof file, behind, TEMPLATE(START ", " TEXT_A, START_IDS("5")), TEMPLATE(TEXT_A, ""));
    expect_refusal((file_parts){.post_processor = file}, 0, "the text comes 0 times");
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(
        ledger, write_file_parts(
                    (file_parts){.post_processor = TEMPLATE(START ", " TEXT_A ", " START ", " START, START_IDS("5"))}));
    EXPECT_IDS(t, "ab", TOKENIZER_POST_PROCESS, 5, 3, 5, 5);
    EXPECT_IDS(t, "ab", 0, 3);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void expect_cut(mem *ledger, const char *pre_tokenizer, const char *text, const uint32_t *expected, size_t count)
{
    static const char vocab[] = "{\"?\": 0, \"a\": 1, \"b\": 2, \"ab\": 3, \"..\": 4, \"a\xcc\x81_1\": 5, \"aba\": 6}";
    char file[1024];
    leat_error error;
    token_list ids;
    snprintf(file, sizeof file,
             "{\"pre_tokenizer\": %s, \"model\": {\"type\": \"WordLevel\", \"vocab\": %s, \"unk_token\": \"?\"}}",
             pre_tokenizer, vocab);
    tokenizer *t = open_tokenizer_text(ledger, file);
    token_list_init(&ids, ledger);
    assert_ok(tokenizer_encode(t, text, strlen(text), 0, &ids, &error), &error);
    assert_int_equal(ids.count, count);
    assert_memory_equal(ids.ids, expected, count * sizeof *expected);
    token_list_reset(&ids);
    tokenizer_close(&t);
}

#define EXPECT_CUT(ledger, pre_tokenizer, text, ...)                                                                   \
    expect_cut(ledger, pre_tokenizer, text, (const uint32_t[]){__VA_ARGS__},                                           \
               sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* Words that are tokens as a whole, and the ways to cut that leave whole words. */
static void test_words_are_tokens(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    EXPECT_CUT(ledger, "{\"type\": \"Whitespace\"}", " ab..a a\xcc\x81_1 \xe3\x80\x80zz", 3, 4, 1, 5, 0);
    EXPECT_CUT(ledger, "{\"type\": \"CharDelimiterSplit\", \"delimiter\": \"-\"}", "ab--a-", 3, 1);
    EXPECT_CUT(ledger, "{\"type\": \"FixedLength\", \"length\": 3}", "abaab", 6, 3);
    EXPECT_CUT(ledger, "null", "ab a", 0);
    close_empty_ledger(ledger);
    expect_refusal((file_parts){.pre_tokenizer = "{\"type\": \"CharDelimiterSplit\", \"delimiter\": \"--\"}"}, 0,
                   "one character");
    expect_refusal((file_parts){.pre_tokenizer = "{\"type\": \"FixedLength\", \"length\": 0}"}, 0, "length");
}

/* Expected ids are those of the tokenizers library. */
static void test_affixes_of_byte_pairs(void **state)
{
    (void)state;
#define AFFIX_VOCAB                                                                                                    \
    "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"<unk>\": 3, \"b</w>\": 4, \"ab</w>\": 5, \"##b\": 6, \"##b</w>\": "  \
    "8, "                                                                                                              \
    "\"<0x7A>\": 10}, \"unk_token\": \"<unk>\", "
#define AFFIX_FILE(settings)                                                                                           \
    "{\"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}, \"decoder\": {\"type\": \"BPEDecoder\", \"suffix\": "        \
    "\"</w>\"}, \"model\": {\"type\": \"BPE\", " AFFIX_VOCAB settings "}}"
    static const char ends[] = AFFIX_FILE("\"end_of_word_suffix\": \"</w>\", \"merges\": [\"a b\", \"a b</w>\"]");
    static const char starts[] = AFFIX_FILE("\"continuing_subword_prefix\": \"##\", \"merges\": [\"a ##b\"]");
    static const char both[] = AFFIX_FILE(
        "\"continuing_subword_prefix\": \"##\", \"end_of_word_suffix\": \"</w>\", \"merges\": [\"a ##b</w>\"]");
    static const char bytes[] =
        AFFIX_FILE("\"byte_fallback\": true, \"end_of_word_suffix\": \"</w>\", \"merges\": [\"a b\"]");
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(ledger, ends);
    EXPECT_IDS(t, "ab ba", 0, 5, 1, 3);
    EXPECT_IDS(t, "aab b a", 0, 0, 5, 4, 3);
    static const uint32_t ids[] = {0, 5, 4, 1, 4};
    leat_error error;
    text_buffer text;
    text_buffer_init(&text, ledger);
    assert_ok(tokenizer_decode(t, ids, 5, false, &text, &error), &error);
    assert_string_equal(text.bytes, "aab b bb");
    text_buffer_reset(&text);
    tokenizer_close(&t);
    t = open_tokenizer_text(ledger, starts);
    EXPECT_IDS(t, "ab ba", 0, 2, 1, 3);
    EXPECT_IDS(t, "aab b a", 0, 0, 3, 6, 1, 0);
    tokenizer_close(&t);
    t = open_tokenizer_text(ledger, both);
    EXPECT_IDS(t, "ab ba", 0, 5, 1, 3);
    EXPECT_IDS(t, "aab b a", 0, 0, 3, 8, 4, 3);
    tokenizer_close(&t);
    t = open_tokenizer_text(ledger, bytes);
    EXPECT_IDS(t, "zz a", 0, 10, 3, 3); /* the last z is z</w>, whose bytes are not all there */
    tokenizer_close(&t);
    close_empty_ledger(ledger);
    leat_error refused;
    static const char behind[] = AFFIX_FILE("\"merges\": [\"a b\"], \"continuing_subword_prefix\": \"##\"");
    refuse_tokenizer_text(behind, strlen(behind), 0, &refused);
    assert_text_has(refused.text, "behind the merges");
}

static void test_ends_of_bert(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    static const char *const types[] = {"RobertaProcessing", "BertProcessing"};
    for (size_t i = 0; i < 2; i++) {
        char post[256];
        snprintf(post, sizeof post, "{\"type\": \"%s\", \"sep\": [\"<s>\", 5], \"cls\": [\"b\", 2]}", types[i]);
        tokenizer *t = open_tokenizer_text(ledger, write_file_parts((file_parts){.post_processor = post}));
        EXPECT_IDS(t, "ab", TOKENIZER_POST_PROCESS, 2, 3, 5);
        EXPECT_IDS(t, "ab", 0, 3);
        tokenizer_close(&t);
    }
    close_empty_ledger(ledger);
    expect_refusal((file_parts){.post_processor = "{\"type\": \"BertProcessing\", \"sep\": [\"<s>\", 5]}"}, 0,
                   "cls and sep");
}

/* Merges may come before the vocabulary, added tokens and everything else after the model. */
static void test_order_of_fields_is_free(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(ledger, "{\"model\": {\"merges\": [\"a b\"], \"vocab\": " VOCAB
                                               ", \"unk_token\": \"<unk>\", \"type\": \"BPE\"}, "
                                               "\"added_tokens\": [" ADDED "], \"normalizer\": " SPACE_TO_MARK "}");
    EXPECT_IDS(t, "ab ab<s>", 0, 3, 4, 3, 5);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
    leat_error error;
    static const char broken[] = "{\"model\": {\"merges\": [\"a c\"], \"vocab\": " VOCAB "}}";
    refuse_tokenizer_text(broken, strlen(broken), 0, &error);
    assert_text_has(error.text, "\"c\"");
}

static void test_text_must_be_utf8(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(ledger, write_file_parts((file_parts){0}));
    token_list ids;
    token_list_init(&ids, ledger);
    assert_ok(token_list_push(&ids, 42, &error), &error);
    assert_fails(USAGE, tokenizer_encode(t, "ab\xc3(", 4, 0, &ids, &error), &error);
    assert_text_has(error.text, "byte 2");
    assert_int_equal(ids.count, 1);
    token_list_reset(&ids);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

/* Cut at every byte, a file is refused or (behind its last brace) the same. */
static void test_truncated_files(void **state)
{
    (void)state;
    leat_error error;
    const char *text = write_file_parts(
        (file_parts){.normalizer = SPACE_TO_MARK, .pre_tokenizer = "{\"type\": \"ByteLevel\", \"use_regex\": true}"});
    for (size_t bytes = 0; bytes < strlen(text); bytes++) {
        char *copy = malloc(bytes == 0 ? 1 : bytes); /* so that a read past the end is seen */
        memcpy(copy, text, bytes);
        refuse_tokenizer_text(copy, bytes, 0, &error);
        free(copy);
    }
}

static void read_golden(mem *ledger, text_buffer *out_text)
{
    char path[UNIT_PATH_BYTES];
    assert_true(find_data_file("golden/tokenizers/gemma4/tokenizer.json", path));
    read_file(ledger, path, out_text);
}

/* Opening and using a tokenizer with the n-th allocation failing, for every n: an error, and nothing left behind. */
static void test_every_failing_allocation(void **state)
{
    (void)state;
    static const char *const pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
                                             "\"pattern\": {\"Regex\": \"\\\\s+|\\\\p{N}{1,3}+\"}, \"behavior\": "
                                             "\"MergedWithNext\"}, {\"type\": \"Digits\"}, {\"type\": \"ByteLevel\"}]}";
    const char *text = write_file_parts((file_parts){
        .normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, " SPACE_TO_MARK "]}",
        .pre_tokenizer = pre_tokenizer,
        .decoder = "{\"type\": \"ByteLevel\"}",
        .added = ADDED ", {\"id\": 6, \"content\": \"x y\", \"normalized\": true}"});
    leat_error error;
    mem *ledger = open_ledger(0);
    for (uint64_t nth = 1;; nth++) {
        tokenizer *t = NULL;
        token_list ids;
        text_buffer decoded;
        token_list_init(&ids, ledger);
        text_buffer_init(&decoded, ledger);
        mem_fail_nth(ledger, nth);
        leat_status status = tokenizer_open(ledger, "tokenizer.json", text, strlen(text), 0, &t, &error);
        if (status == LEAT_OK) status = tokenizer_encode(t, "ab e\xcc\x81 x y 12<s>b", 17, 0, &ids, &error);
        if (status == LEAT_OK) status = tokenizer_decode(t, ids.ids, ids.count, false, &decoded, &error);
        mem_fail_nth(ledger, 0);
        if (status != LEAT_OK) {
            assert_int_equal(status, LEAT_NO_MEMORY);
            assert_int_equal(decoded.count, 0);
        }
        token_list_reset(&ids);
        text_buffer_reset(&decoded);
        tokenizer_close(&t);
        assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
        if (status == LEAT_OK) break;
    }
    close_empty_ledger(ledger);
}

static void put_random_character(prng *random, text_buffer *text)
{
    static const uint32_t starts[] = {'a', 0x20, 0xe0, 0x3b1, 0x4e00, 0x1f600, 0x300, 0x9, 0x2581};
    leat_error error;
    char encoded[4];
    uint64_t range = prng_below(random, 10);
    uint32_t scalar =
        range == 9 ? (uint32_t)prng_below(random, 0x110000) : starts[range] + (uint32_t)prng_below(random, 20);
    if ((scalar >= 0xd800 && scalar <= 0xdfff) || scalar == 0x2581)
        scalar = ' '; /* Gemma reads its own mark as a space */
    assert_ok(text_buffer_append(text, encoded, utf8_encode(scalar, encoded), &error), &error);
}

/* Gemma: decode(encode(text)) is the text, id by id or at once. */
static void test_decoding_undoes_encoding(void **state)
{
    (void)state;
    leat_error error;
    prng random;
    prng_init(&random, 20260304);
    mem *ledger = open_ledger(0);
    text_buffer document, text, decoded, streamed;
    token_list ids;
    read_golden(ledger, &document);
    tokenizer *t = open_tokenizer_text(ledger, document.bytes);
    text_buffer_init(&text, ledger);
    text_buffer_init(&decoded, ledger);
    text_buffer_init(&streamed, ledger);
    token_list_init(&ids, ledger);
    for (int round = 0; round < 3000; round++) {
        detokenizer *d;
        text.count = decoded.count = streamed.count = ids.count = 0;
        for (uint64_t length = prng_below(&random, 60); length > 0; length--) put_random_character(&random, &text);
        assert_ok(text_buffer_append(&text, "", 0, &error), &error);
        assert_ok(tokenizer_encode(t, text.bytes, text.count, TOKENIZER_PLAIN, &ids, &error), &error);
        assert_ok(tokenizer_decode(t, ids.ids, ids.count, false, &decoded, &error), &error);
        assert_int_equal(decoded.count, text.count);
        assert_memory_equal(decoded.bytes, text.bytes, text.count);
        decoded.count = 0; /* the tokens' own bytes, one behind the other, are the text too */
        for (uint64_t i = 0; i < ids.count; i++)
            assert_ok(tokenizer_token_bytes(t, ids.ids[i], &decoded, &error), &error);
        assert_int_equal(decoded.count, text.count);
        assert_true(text.count == 0 || memcmp(decoded.bytes, text.bytes, text.count) == 0);
        assert_ok(detokenizer_open(t, false, &d, &error), &error);
        for (uint64_t i = 0; i < ids.count; i++) {
            uint64_t before = streamed.count;
            assert_ok(detokenizer_push(d, ids.ids[i], &streamed, &error), &error);
            assert_int_equal(utf8_valid_bytes(streamed.bytes + before, streamed.count - before),
                             streamed.count - before);
        }
        assert_ok(detokenizer_flush(d, &streamed, &error), &error);
        detokenizer_close(&d);
        assert_int_equal(streamed.count, text.count);
        assert_true(text.count == 0 || memcmp(streamed.bytes, text.bytes, text.count) == 0);
    }
    text_buffer_reset(&document);
    text_buffer_reset(&text);
    text_buffer_reset(&decoded);
    text_buffer_reset(&streamed);
    token_list_reset(&ids);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void test_strip_at_both_ends(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    tokenizer *t = open_tokenizer_text(
        ledger, write_file_parts(
                    (file_parts){.decoder = "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": "
                                            "\"Strip\", \"content\": \"a\", \"start\": 1, \"stop\": 2}]}"}));
    static const struct {
        uint32_t ids[6];
        uint32_t count;
        const char *steps[7], *whole;
    } cases[] = {
        {{1, 1, 2, 1, 1, 1}, 6, {"", "", "ab", "", "", "a", ""}, "aba"},
        {{2, 1, 2, 1, 2}, 5, {"b", "", "ab", "", "ab", ""}, "babab"},
        {{1, 2}, 2, {"", "b", ""}, "b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_buffer got;
        detokenizer *d;
        text_buffer_init(&got, ledger);
        assert_ok(tokenizer_decode(t, cases[i].ids, cases[i].count, false, &got, &error), &error);
        assert_string_equal(got.bytes, cases[i].whole);
        assert_ok(detokenizer_open(t, false, &d, &error), &error);
        for (uint32_t k = 0; k <= cases[i].count; k++) {
            got.count = 0;
            if (k < cases[i].count)
                assert_ok(detokenizer_push(d, cases[i].ids[k], &got, &error), &error);
            else
                assert_ok(detokenizer_flush(d, &got, &error), &error);
            assert_ok(text_buffer_append(&got, "", 0, &error), &error);
            assert_string_equal(got.bytes, cases[i].steps[k]);
        }
        detokenizer_close(&d);
        text_buffer_reset(&got);
    }
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

/* What is looked for by hand is what the regular expression finds: the second pattern means the same and is not known.
 */
static void test_space_ends_are_as_matched(void **state)
{
    (void)state;
    static const char *const parts[] = {" ", "  ", "\n", "\r\n", "\t", "x", "\xc2\x85", "\xe3\x80\x80", "ab", "\n\n "};
    static const char vocab[] =
        "{\"<unk>\": 0, \"a\": 1, \"b\": 2, \"ab\": 3, \" \": 4, \"\\n\": 5, \"  \": 6, \"\\n\\n\": 7, "
        "\" \\n\": 8, \"\\n \": 9, \"x\": 10, \"x \": 11, \" x\": 12, \"   \": 13}";
    static const char merges[] =
        "[[\"a\", \"b\"], [\" \", \" \"], [\"\\n\", \"\\n\"], [\" \", \"\\n\"], [\"\\n\", \" \"], "
        "[\"x\", \" \"], [\" \", \"x\"], [\"  \", \" \"]]";
    leat_error error;
    prng random;
    prng_init(&random, 5);
    mem *ledger = open_ledger(0);
    file_parts file = {.added = " ",
                       .vocab = vocab,
                       .merges = merges,
                       .model_more = "\"unk_token\": \"<unk>\",",
                       .pre_tokenizer = SPACE_ENDS};
    tokenizer *by_hand = open_tokenizer_text(ledger, write_file_parts(file));
    file.pre_tokenizer = "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?:\\\\s+)$\"}, \"behavior\": \"Isolated\"}";
    tokenizer *matched = open_tokenizer_text(ledger, write_file_parts(file));
    uint32_t cut = 0;
    for (int i = 0; i < 4000; i++) {
        text_buffer text;
        token_list got, wanted;
        text_buffer_init(&text, ledger);
        token_list_init(&got, ledger);
        token_list_init(&wanted, ledger);
        for (uint64_t k = prng_below(&random, 12); k > 0; k--) {
            const char *part = parts[prng_below(&random, sizeof parts / sizeof parts[0])];
            assert_ok(text_buffer_append(&text, part, strlen(part), &error), &error);
        }
        assert_ok(tokenizer_encode(by_hand, text.bytes, text.count, 0, &got, &error), &error);
        assert_ok(tokenizer_encode(matched, text.bytes, text.count, 0, &wanted, &error), &error);
        assert_true(same_ids(&got, &wanted));
        cut += got.count > 3;
        text_buffer_reset(&text);
        token_list_reset(&got);
        token_list_reset(&wanted);
    }
    assert_in_range(cut, 1000, 4000);
    tokenizer_close(&by_hand);
    tokenizer_close(&matched);
    close_empty_ledger(ledger);
}

/* The damaged files of the conformance folder: each is refused with the words that its rule asks for. */
static void test_damaged_files(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"tokenizer-truncated", "tokenizer.json"},
        {"tokenizer-duplicate-id", "300"},
        {"tokenizer-id-outside-vocab", "2147483648"},
        {"tokenizer-merge-unknown-piece", "qqzz"},
        {"tokenizer-merge-cycle", "empty"},
        {"tokenizer-merge-huge", "merge"},
        {"tokenizer-empty-added-token", "319"},
        {"tokenizer-normalizer-unknown", "Reverse"},
        {"tokenizer-bad-regex", "regular expression"},
    };
    char name[128], path[UNIT_PATH_BYTES];
    leat_error error;
    if (!find_data_file("bad/good/tokenizer.json", path)) skip();
    mem *ledger = open_ledger(0);
    tokenizer *good = open_tokenizer_file(ledger, path);
    tokenizer_close(&good);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        text_buffer text;
        snprintf(name, sizeof name, "bad/%s/tokenizer.json", files[i][0]);
        assert_true(find_data_file(name, path));
        read_file(ledger, path, &text);
        refuse_tokenizer_text(text.bytes, text.count, 0, &error);
        assert_text_has(error.text, files[i][1]);
        assert_in_range(strlen(error.text), 1, 400);
        text_buffer_reset(&text);
    }
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_file_works),
        cmocka_unit_test(test_ids_are_unique),
        cmocka_unit_test(test_added_tokens_that_repeat),
        cmocka_unit_test(test_ids_have_limits),
        cmocka_unit_test(test_merges_name_pieces),
        cmocka_unit_test(test_long_names_are_cut),
        cmocka_unit_test(test_added_tokens_are_checked),
        cmocka_unit_test(test_unknown_components_are_named),
        cmocka_unit_test(test_later_fields_are_passed_over),
        cmocka_unit_test(test_missing_unk_token_fails_when_needed),
        cmocka_unit_test(test_prefix_space_of_metaspace),
        cmocka_unit_test(test_other_model_types_are_named),
        cmocka_unit_test(test_patterns_are_checked),
        cmocka_unit_test(test_post_processors_are_checked),
        cmocka_unit_test(test_words_are_tokens),
        cmocka_unit_test(test_ends_of_bert),
        cmocka_unit_test(test_affixes_of_byte_pairs),
        cmocka_unit_test(test_order_of_fields_is_free),
        cmocka_unit_test(test_text_must_be_utf8),
        cmocka_unit_test(test_truncated_files),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_decoding_undoes_encoding),
        cmocka_unit_test(test_strip_at_both_ends),
        cmocka_unit_test(test_space_ends_are_as_matched),
        cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests_name("text.tokenizer", tests, NULL, NULL);
}

/*
 * tokenizer_files_test.c - tokenizers that are not a tokenizer.json: models of SentencePiece and lists of ranks. What
 * they mean, what is refused, and what every failing allocation and every cut leaves behind.
 */
#include "text_support.h"

#include "base/bytes.h"
#include "text/character_map.h"

#include <math.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

/* A model in the making. */
typedef struct model_text {
    char bytes[64 * 1024];
    size_t count;
} model_text;

static void put_bytes(model_text *m, const void *bytes, size_t count)
{
    assert_true(m->count + count <= sizeof m->bytes);
    memcpy(m->bytes + m->count, bytes, count);
    m->count += count;
}

static void put_varint(model_text *m, uint64_t value)
{
    do {
        char byte = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put_bytes(m, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void put_field(model_text *m, uint32_t number, const void *bytes, size_t count)
{
    put_varint(m, number << 3 | 2);
    put_varint(m, count);
    put_bytes(m, bytes, count);
}

static void put_number(model_text *m, uint32_t number, uint64_t value)
{
    put_varint(m, (uint64_t)number << 3);
    put_varint(m, value);
}

static void put_piece(model_text *m, const char *text, float score, int kind)
{
    static model_text piece;
    uint32_t bits = bits_of_float(score);
    piece.count = 0;
    put_field(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    put_bytes(&piece, &bits, 4);
    put_number(&piece, 3, (uint64_t)kind);
    put_field(m, 1, piece.bytes, piece.count);
}

/* Type, byte fallback; then a normalizer that adds and drops no spaces, but marks them. */
static void put_settings(model_text *m, uint64_t type, bool byte_fallback)
{
    static model_text settings;
    settings.count = 0;
    put_number(&settings, 3, type);
    if (byte_fallback) put_number(&settings, 35, 1);
    put_field(m, 2, settings.bytes, settings.count);
    settings.count = 0;
    put_number(&settings, 3, 0);
    put_number(&settings, 4, 0);
    put_field(m, 3, settings.bytes, settings.count);
}

static void start_model(model_text *m)
{
    m->count = 0;
    put_piece(m, "<unk>", 0, UNKNOWN); /* 0 */
    put_piece(m, "<s>", 0, CONTROL);
    put_piece(m, "</s>", 0, CONTROL);
    put_piece(m, "a", -10, NORMAL); /* 3 */
    put_piece(m, "b", -11, NORMAL);
    put_piece(m, "ab", -1, NORMAL); /* 5 */
    put_piece(m, "ba", -1, NORMAL);
    put_piece(m, "aba", -3, NORMAL); /* 7 */
    put_piece(m, "[X]", 0, USER_DEFINED);
}

static leat_status open_model(mem *ledger, const model_text *m, const char *config, uint32_t vocab_count,
                              tokenizer **out_tokenizer, leat_error *error)
{
    const tokenizer_files files = {.kind = TOKENIZER_SENTENCEPIECE,
                                   .name = "tokenizer.model",
                                   .bytes = m->bytes,
                                   .count = m->count,
                                   .config_name = "tokenizer_config.json",
                                   .config = config,
                                   .config_count = config == NULL ? 0 : strlen(config),
                                   .vocab_count = vocab_count};
    return tokenizer_open_files(ledger, &files, out_tokenizer, error);
}

/* Merges go by score, the leftmost of equals; "aba" is out of reach of its lower score only where a merge goes first.
 */
static void test_merges_go_by_score(void **state)
{
    (void)state;
    static model_text m;
    leat_error error;
    tokenizer *t = NULL;
    mem *ledger = open_ledger(0);
    start_model(&m);
    put_settings(&m, 2, false);
    assert_ok(open_model(ledger, &m, NULL, 0, &t, &error), &error);
    EXPECT_IDS(t, "ab", 0, 5);
    EXPECT_IDS(t, "ba", 0, 6);
    EXPECT_IDS(t, "aba", 0, 7);
    EXPECT_IDS(t, "baba", 0, 6, 6);
    EXPECT_IDS(t, "abab", 0, 5, 5);
    EXPECT_IDS(t, "a??b", 0, 3, 0, 4);
    EXPECT_IDS(t, "a[X]b", 0, 3, 8, 4);
    EXPECT_IDS(t, "ab", TOKENIZER_POST_PROCESS, 1, 5);
    EXPECT_IDS(t, "<s>ab", TOKENIZER_CONTROLS, 1, 5);
    EXPECT_IDS(t, "<s>", 0, 0);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

/* Two paths whose sums are equal as double and not as float: SentencePiece takes the one that is greater as float. */
static void test_sums_are_rounded_to_float(void **state)
{
    (void)state;
    static model_text m;
    leat_error error;
    tokenizer *t = NULL;
    mem *ledger = open_ledger(0);
    m.count = 0;
    put_piece(&m, "<unk>", 0, UNKNOWN);
    put_piece(&m, "g", -4.676827907562256F, NORMAL);
    put_piece(&m, "1", -3.3182528018951416F, NORMAL);
    put_piece(&m, "11", -1.1719176769256592F, NORMAL);
    put_settings(&m, 1, false);
    assert_ok(open_model(ledger, &m, NULL, 0, &t, &error), &error);
    EXPECT_IDS(t, "g111", 0, 1, 3, 2);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void set_unit(char *units, uint32_t at, uint32_t value)
{
    for (int i = 0; i < 4; i++) units[4 * at + (uint32_t)i] = (char)(value >> (8 * i));
}

/* A table with a -> b and ab -> aa: the longest entry counts. */
static void test_longest_replacement_counts(void **state)
{
    (void)state;
    enum { UNITS = 256, LEAF = 1 << 8, OFFSET = 1 << 10 };
    static model_text m;
    static char map[4 + 4 * UNITS + 5], field[4 + sizeof map];
    const uint32_t value_bit = UINT32_C(1) << 31;
    leat_error error;
    tokenizer *t = NULL;
    mem *ledger = open_ledger(0);
    set_unit(map, 0, 4 * UNITS);
    char *units = map + 4;
    set_unit(units, 'a', 'a' | LEAF | ('a' ^ 1) * OFFSET); /* its value stands at 1, its children around it */
    set_unit(units, 1, value_bit | 0);
    set_unit(units, 1 ^ 'b', 'b' | LEAF | (1 ^ 'b' ^ 2) * OFFSET);
    set_unit(units, 2, value_bit | 2);
    memcpy(units + 4 * UNITS, "b\0aa", 5);
    start_model(&m);
    put_settings(&m, 2, false);
    field[0] = 2 << 3 | 2;
    field[1] = (char)((sizeof map & 0x7f) | 0x80);
    field[2] = (char)(sizeof map >> 7);
    memcpy(field + 3, map, sizeof map);
    put_field(&m, 3, field, 3 + sizeof map);
    assert_ok(open_model(ledger, &m, NULL, 0, &t, &error), &error);
    EXPECT_IDS(t, "ab", 0, 3, 3);
    EXPECT_IDS(t, "aab", 0, 6, 3);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

/* A control token of the configuration is never made from text that must stay text, even where it is a user-defined
 * piece. */
static void test_added_tokens_of_the_configuration(void **state)
{
    (void)state;
    static model_text m;
    static const char config[] = "{\"added_tokens_decoder\": {\"8\": {\"content\": \"[X]\", \"special\": true}, "
                                 "\"9\": {\"content\": \"<new>\", \"special\": true, \"lstrip\": true}}, "
                                 "\"eos_token\": {\"content\": \"</s>\"}, \"add_bos_token\": false, "
                                 "\"add_eos_token\": true, \"chat_template\": \"x\"}";
    leat_error error;
    tokenizer *t = NULL;
    for (uint64_t type = 1; type <= 2; type++) {
        mem *ledger = open_ledger(0);
        start_model(&m);
        put_settings(&m, type, false);
        assert_ok(open_model(ledger, &m, config, 10, &t, &error), &error);
        EXPECT_IDS(t, "a[X]b <new>b", TOKENIZER_POST_PROCESS, 3, 8, 4, 9, 4, 2);
        EXPECT_IDS(t, "a[X]b", TOKENIZER_PLAIN, 3, 0, 4);
        assert_fails(MODEL, open_model(ledger, &m, config, 9, &(tokenizer *){NULL}, &error), &error);
        assert_text_has(error.text, "tokenizer_config.json: at byte");
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

static void refuse_model(const model_text *m, uint32_t vocab_count, const char *said)
{
    leat_error error;
    tokenizer *t = NULL;
    mem *ledger = open_ledger(0);
    assert_fails(MODEL, open_model(ledger, m, NULL, vocab_count, &t, &error), &error);
    assert_text_has(error.text, "tokenizer.model");
    assert_text_has(error.text, said);
    close_empty_ledger(ledger);
}

static void test_models_are_checked(void **state)
{
    (void)state;
    static model_text m;
    static const struct {
        const char *text;
        float score;
        int kind;
        const char *said;
    } pieces[] = {{"a", 0, NORMAL, "twice"},
                  {"", 0, NORMAL, "without a text"},
                  {"\xff", 0, NORMAL, "UTF-8"},
                  {"c", NAN, NORMAL, "score"},
                  {"c", 0, 9, "kind"},
                  {"<2>", 0, UNKNOWN, "second"},
                  {"ac", 0, NORMAL, "character"},
                  {"aab", 0, UNUSED, "unused"},
                  {"c", 0, CONTROL, "one character"}};
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
        start_model(&m);
        put_piece(&m, pieces[i].text, pieces[i].score, pieces[i].kind);
        put_settings(&m, 2, false);
        refuse_model(&m, 0, pieces[i].said);
    }
    start_model(&m);
    put_settings(&m, 2, true);
    refuse_model(&m, 0, "<0x00>");
    refuse_model(&m, 8, "more pieces");
    start_model(&m);
    put_settings(&m, 4, false);
    refuse_model(&m, 0, "character model");
    start_model(&m);
    put_settings(&m, 77, false);
    refuse_model(&m, 0, "77");
    m.count = 0;
    put_settings(&m, 2, false);
    refuse_model(&m, 0, "without pieces");
    put_piece(&m, "a", 0, NORMAL);
    refuse_model(&m, 0, "unknown one");
    start_model(&m);
    put_field(&m, 5, "\x12\x01x", 3);
    refuse_model(&m, 0, "denormalizer");
    start_model(&m);
    put_field(&m, 3, "\x12\x05\x08\0\0\0x", 7);
    refuse_model(&m, 0, "damaged");
    m.count = 0;
    put_bytes(&m, "IQ== 0\nIg== 1\n", 14);
    refuse_model(&m, 0, "a list of ranks");
}

/* Cut at every byte or with a byte changed, a model opens or is refused, and nothing is left behind. */
static void test_damaged_models(void **state)
{
    (void)state;
    static model_text m, damaged;
    leat_error error;
    start_model(&m);
    put_settings(&m, 2, false);
    for (size_t i = 0; i < 9 * m.count; i++) {
        mem *ledger = open_ledger(0);
        tokenizer *t = NULL;
        damaged.count = i < m.count ? i : m.count;
        memcpy(damaged.bytes, m.bytes, m.count);
        if (i >= m.count) damaged.bytes[i % m.count] ^= (char)(1 << (i / m.count - 1));
        leat_status status = open_model(ledger, &damaged, NULL, 0, &t, &error);
        assert_true(status == LEAT_OK || status == LEAT_MODEL);
        if (status != LEAT_OK) assert_text_has(error.text, "tokenizer.model");
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

/* ---- lists of ranks ---- */

static void put_base64(model_text *m, const char *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < count; at += 3) {
        uint32_t group = 0;
        size_t have = count - at < 3 ? count - at : 3;
        for (size_t i = 0; i < 3; i++) group = group << 8 | (i < have ? (uint8_t)bytes[at + i] : 0);
        for (size_t i = 0; i < 4; i++) put_bytes(m, i <= have ? &digits[group >> (18 - 6 * i) & 63] : "=", 1);
    }
}

static void put_rank(model_text *m, const char *bytes, size_t count, uint32_t rank)
{
    char text[16];
    put_base64(m, bytes, count);
    put_bytes(m, text, (size_t)snprintf(text, sizeof text, " %u\n", rank));
}

static void start_ranks(model_text *m)
{
    m->count = 0;
    for (unsigned byte = 0; byte < 256; byte++) put_rank(m, &(char){(char)byte}, 1, byte);
    put_rank(m, "ab", 2, 256);
    put_rank(m, "bc", 2, 257);
    put_rank(m, "abcd", 4, 258); /* no merge leads here, but the word does */
}

#define KIMI_CONFIG "{\"tokenizer_class\": \"TikTokenTokenizer\"}"

static leat_status open_ranks(mem *ledger, const model_text *m, const char *config, tokenizer **out_tokenizer,
                              leat_error *error)
{
    const tokenizer_files files = {.kind = TOKENIZER_TIKTOKEN,
                                   .name = "tiktoken.model",
                                   .bytes = m->bytes,
                                   .count = m->count,
                                   .config_name = "tokenizer_config.json",
                                   .config = config,
                                   .config_count = config == NULL ? 0 : strlen(config)};
    return tokenizer_open_files(ledger, &files, out_tokenizer, error);
}

static void test_ranks(void **state)
{
    (void)state;
    static model_text m;
    leat_error error;
    tokenizer *t = NULL;
    mem *ledger = open_ledger(0);
    text_buffer text;
    text_buffer_init(&text, ledger);
    start_ranks(&m);
    assert_ok(open_ranks(ledger, &m,
                         "{\"tokenizer_class\": \"TikTokenTokenizer\", \"added_tokens_decoder\": {\"300\": "
                         "{\"content\": \"<|\xc3\xa9|>\", \"special\": true}}}",
                         &t, &error),
              &error);
    EXPECT_IDS(t, "abc", 0, 256, 'c');
    EXPECT_IDS(t, "abcd abcde", 0, 258, ' ', 256, 'c', 'd', 'e');
    EXPECT_IDS(t, "a<|\xc3\xa9|>b", TOKENIZER_POST_PROCESS, 'a', 300, 'b');
    assert_ok(tokenizer_decode(t, (const uint32_t[]){300, 256, 0xc3}, 3, false, &text, &error), &error);
    assert_string_equal(text.bytes, "<|\xc3\xa9|>ab\xef\xbf\xbd");
    text_buffer_reset(&text);
    tokenizer_close(&t);
    close_empty_ledger(ledger);
}

static void refuse_ranks(const model_text *m, const char *config, const char *said)
{
    leat_error error;
    tokenizer *t = NULL;
    mem *ledger = open_ledger(0);
    assert_fails(MODEL, open_ranks(ledger, m, config, &t, &error), &error);
    assert_text_has(error.text, said);
    close_empty_ledger(ledger);
}

static void test_ranks_are_checked(void **state)
{
    (void)state;
    static model_text m;
    static const char *const lines[][2] = {
        {"YWI= 900\n", "at byte"},        {"eHk= 256\n", "given twice"},
        {"eHk=\n", "a space and a rank"}, {"eHk= \n", "without a rank"},
        {"eHk 300\n", "base64"},          {"eHl= 300\n", "base64"},
        {"eHk= 3x\n", "whole number"},    {"eHk= 99999999999999999999\n", "ranks up"}};
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        start_ranks(&m);
        put_bytes(&m, lines[i][0], strlen(lines[i][0]));
        refuse_ranks(&m, KIMI_CONFIG, lines[i][1]);
    }
    start_ranks(&m);
    refuse_ranks(&m, NULL, "TikTokenTokenizer");
    refuse_ranks(&m, "{\"tokenizer_class\": \"QWenTokenizer\"}", "QWenTokenizer");
    m.count = 0;
    put_rank(&m, "a", 1, 0);
    refuse_ranks(&m, KIMI_CONFIG, "0x00 has no token");
}

/* ---- every kind ---- */

static void open_and_use(const char *folder)
{
    leat_error error;
    tokenizer_files files = {.config_name = "tokenizer_config.json"};
    char path[UNIT_PATH_BYTES], name[256];
    text_buffer text, config = {0};
    mem *files_ledger = open_ledger(0), *ledger = open_ledger(0);
    assert_true(find_tokenizer_file(folder, &files.kind, path));
    read_file(files_ledger, path, &text);
    snprintf(name, sizeof name, "%s/tokenizer_config.json", folder);
    if (files.kind != TOKENIZER_JSON && find_data_file(name, path)) read_file(files_ledger, path, &config);
    files.name = "tokenizer";
    files.bytes = text.bytes;
    files.count = text.count;
    files.config = config.bytes;
    files.config_count = config.count;
    for (uint64_t nth = 1;; nth++) {
        static const char sample[] = "Hello  W\xc3\xb6rld \xe6\x97\xa5 [INST] e\xcc\x81 x y 12<s>b";
        tokenizer *t = NULL;
        token_list ids;
        text_buffer decoded;
        token_list_init(&ids, ledger);
        text_buffer_init(&decoded, ledger);
        mem_fail_nth(ledger, nth);
        leat_status status = tokenizer_open_files(ledger, &files, &t, &error);
        if (status == LEAT_OK) status = tokenizer_encode(t, sample, strlen(sample), TOKENIZER_CONTROLS, &ids, &error);
        if (status == LEAT_OK) status = tokenizer_decode(t, ids.ids, ids.count, false, &decoded, &error);
        mem_fail_nth(ledger, 0);
        if (status != LEAT_OK) assert_int_equal(status, LEAT_NO_MEMORY);
        token_list_reset(&ids);
        text_buffer_reset(&decoded);
        tokenizer_close(&t);
        assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
        if (status == LEAT_OK) break;
    }
    text_buffer_reset(&text);
    if (config.bytes != NULL) text_buffer_reset(&config);
    close_empty_ledger(files_ledger);
    close_empty_ledger(ledger);
}

static void test_every_failing_allocation(void **state)
{
    (void)state;
    open_and_use("golden/tokenizers/sentencepiece-bpe");
    open_and_use("golden/tokenizers/kimi-tiktoken");
    open_and_use("golden/tokenizers/t5-unigram");
    open_and_use("golden/tokenizers/bert-wordpiece");
}

static void expect_map(character_map *map, uint32_t scalar, uint32_t count, uint32_t first)
{
    uint32_t out[CHARACTER_MAP_MAX] = {0};
    assert_int_equal(map(scalar, out), count);
    if (count > 0) assert_int_equal(out[0], first);
}

static void test_character_maps(void **state)
{
    (void)state;
    expect_map(character_to_lower, 'Q', 1, 'q');
    expect_map(character_to_lower, 0x130, 2, 'i');
    expect_map(character_to_lower, 0x3a3, 1, 0x3c3); /* sigma, whatever follows */
    expect_map(character_to_lower, 0x10d50, 1, 0x10d70);
    expect_map(character_without_marks, 0x301, 0, 0);
    expect_map(character_without_marks, 0x903, 0, 0);
    expect_map(character_without_bert_marks, 0x903, 1, 0x903);
    expect_map(character_without_bert_marks, 0x1abf, 1, 0x1abf); /* newer than the library's table */
    expect_map(character_clean, '\n', 1, ' ');
    expect_map(character_clean, 0x3000, 1, ' ');
    expect_map(character_clean, 0xb, 0, 0);
    expect_map(character_clean, 0xfffd, 0, 0);
    expect_map(character_set_apart, 0x4e00, 3, ' ');
    expect_map(character_set_apart, 0x3042, 1, 0x3042);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_go_by_score),
        cmocka_unit_test(test_sums_are_rounded_to_float),
        cmocka_unit_test(test_longest_replacement_counts),
        cmocka_unit_test(test_added_tokens_of_the_configuration),
        cmocka_unit_test(test_models_are_checked),
        cmocka_unit_test(test_damaged_models),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_ranks_are_checked),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_character_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

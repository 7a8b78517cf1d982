/*
 * tokenizer_parts_test.c - the parts of a tokenizer against the slow and obvious way to do the same: merging by looking
 * for the lowest pair each time, searching every token at every place. And the tables: the byte alphabet, patterns
 * rewritten for PCRE2, Unicode normalisation.
 */
#include "text_support.h"

#include "base/prng.h"
#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/normalize.h"
#include "text/regex.h"
#include "text/regex_syntax.h"
#include "text/unicode_class.h"

static void test_byte_alphabet(void **state)
{
    (void)state;
    bool seen[0x200] = {false};
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t back;
        uint32_t scalar = byte_level_scalar((uint8_t)byte);
        assert_in_range(scalar, 0x21, 0x1ff);
        assert_false(seen[scalar]);
        seen[scalar] = true;
        assert_true(byte_level_byte(scalar, &back));
        assert_int_equal(back, byte);
    }
    assert_int_equal(byte_level_scalar(' '), 0x120);
    assert_int_equal(byte_level_scalar('\n'), 0x10a);
    assert_int_equal(byte_level_scalar(0xad), 0x143);
    uint8_t byte;
    assert_false(byte_level_byte(0x144, &byte));
    assert_false(byte_level_byte(' ', &byte));
}

static void test_character_classes(void **state)
{
    (void)state;
    static const uint32_t words[] = {'a', 'Z', '0', '_', 0xe9, 0x301, 0x203f, 0x200d, 0x2160, 0x24b6, 0x10d4a},
                          others[] = {'-', ' ', 0xb2, 0xbd, 0x2014, 0x1f600};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_true(unicode_is_word(words[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(unicode_is_word(others[i]));
    assert_true(unicode_is_space(0x85) && unicode_is_space(0x3000) && !unicode_is_space(0x200b) &&
                !unicode_is_space(0x180e) && !unicode_is_space(0x1c));
    assert_true(unicode_is_python_space(0x1c));
    assert_true(unicode_is_number(0xbd) && unicode_is_number(0x2160) && unicode_is_number('7') &&
                !unicode_is_number('x'));
    assert_true(unicode_is_punctuation('$') && unicode_is_punctuation(0x3002) && !unicode_is_punctuation(0x20ac) &&
                !unicode_is_punctuation('a'));
}

static void test_patterns_are_rewritten(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        int start, end; /* of the first match; -1: none */
    } cases[] = {
        {"\\s+",
         "a\xe1\xa0\x8e"
         "b",
         -1, -1}, /* U+180E is no white space */
        {"\\s+",
         "a\xc2\x85\xe3\x80\x80"
         "b",
         1, 6},
        {"\\S", " \xe2\x80\x83x", 4, 5},
        {"[\\S]", " \xe2\x80\x83x", 4, 5},
        {"\\p{N}{1,3}+", "x12345y", 1, 6},
        {"\\p{N}{2,3}+", "x1234567y", 1, 7},
        {"a{,2}b", "aaab", 1, 4},
        {"a{x", "a{x", 0, 3},
        {"(?i:'s)", "'\xc5\xbf", 0, 3}, /* long s */
        {"[\\p{L}&&[^\\p{Han}]]+", "\xe6\x97\xa5xy\xe6\x97\xa5", 3, 5},
        {"[\\p{Han}]+", "x\xf0\xb1\x8d\x90", 1, 5}, /* U+31350, of Unicode 15.0 */
        {"\\p{L}", "1\xf0\x90\xb5\x8a", 1, 5},      /* U+10D4A, of Unicode 16.0 */
        {"[^\\p{L}]",
         "\xf0\x90\xb5\x8a"
         "1",
         4, 5},
        {"\\P{L}",
         "\xf0\x90\xb5\x8a"
         "1",
         4, 5},
        {"\\p{Han}", "\xe3\x80\x87\xe3\x80\x82", 0, 3}, /* U+3007 is of the script, U+3002 only of its extensions */
        {"\\p{Han}", "\xe3\x80\x82", -1, -1},
        {"\\s++$", "a  \nb \n", 5, 7},
        {"x$", "x\ny", 0, 1}, /* a line's end */
        {"^y", "x\ny", 2, 3},
        {"[a\\-z]", "y-", 1, 2},
        {"[]a]+", "x]a", 1, 3},
        {"[\\]]+|#", "x]#", 1, 2},
        {"\\w+", "\xe2\x92\xb6\xcc\x81-", 0, 5}, /* a circled letter and a mark */
        {"\\u0041\\x42\\x{43}", "ABC", 0, 3},
        {".", "\n\rx", 1, 2},
        {"(?<=a)b|(?<!a)c", "bcab", 1, 2},
        {"(a|b)+?c", "xabc", 1, 4},
        {" ?[^\\s\\p{L}]+[\\r\\n]*", "a ,\r\n.", 1, 5},
        {"\\d{1,3}(?=(?:\\d{3})*\\b)", "12345 6", 0, 2}, /* Cohere's */
        {"\\bb", "ab b", 3, 4},
        {"\\Bb", "b ab", 3, 4},
        {"[\\b]", "b\b", 1, 2},
        {" ?[^(\\s|[.,!?])]+", "., [ab|c", 2, 6}, /* as BLOOM's, whose "[" only opens a set inside of the other */
        {"[ab[cd]]+", "xadcby", 1, 5},
        {"[a[^b-z]]+", "bzaA9z", 2, 5},
        {"[^a[^b-z]]+", "aA9bza", 3, 5},
        {"[a-z&&[^aeiou]&&[^xyz]]+", "aebcdx", 2, 5},
        {"[^a-z&&[^aeiou]]+", "bcae1b", 2, 5},
        {"[\\w&&[^\\d_]]+", "1_ab2", 2, 4},
        {"[^\\W\\d]+", "12ab_ 3", 2, 5},
        {"[\\D]+", "12ab_3", 2, 5},
        {"[\\P{L}a]+", "bba1c", 2, 4},
        {"[^\\P{L}a]+", "1abca", 2, 4},
        {"\\w", "\xc2\xbd", 0, 2}, /* a fraction: a word's outside of brackets, not inside */
        {"[\\w]", "\xc2\xbd", -1, -1},
        {"\\W", "\xc2\xbd", -1, -1},
        {"[[:alpha:]_]+", "1a_\xcd\xa3-", 1, 5}, /* U+0363, alphabetic since Unicode 16.0 */
        {"[[:^alpha:]]+", "ab12c", 2, 4},
        {"[[:punct:]]+", "a$+-b", 1, 4},
        {"(?i)abc|DEF", "xdef", 1, 4},
        {"x(?i)b|c", "cxC", 1, 3}, /* the alternatives behind it are its own */
        {"(?:x(?i)b|c)d", "xCd", 0, 3},
        {"(?:x(?i)b)D", "xBdxBD", 3, 6},
        {"\\h+", "xyAf09g", 2, 6},
        {"\\R", "a\r\nb", 1, 3},
        {"\\s+\\Z", "a b  \n", 3, 6},
    };
    mem *ledger = open_ledger(0);
    leat_error error;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        regex *r;
        regex_scratch scratch = {0};
        uint64_t start, end;
        assert_ok(regex_open(ledger, "tokenizer.json", cases[i].pattern, strlen(cases[i].pattern), &r, &error), &error);
        assert_ok(regex_find(r, &scratch, cases[i].text, strlen(cases[i].text), 0, &start, &end, &error), &error);
        if ((int)start != cases[i].start || (int)end != cases[i].end)
            fail_msg("%s in \"%s\": %d..%d, expected %d..%d", cases[i].pattern, cases[i].text, (int)start, (int)end,
                     cases[i].start, cases[i].end);
        regex_scratch_reset(&scratch);
        regex_close(&r);
    }
    close_empty_ledger(ledger);
}

static void expect_normal(bool compose, bool compatible, const char *text, const char *wanted)
{
    leat_error error;
    mem *ledger = open_ledger(0);
    regex_scratch matches = {0};
    normalize_scratch scratch;
    normalize_step step = {.kind = NORMALIZE_UNICODE, .compose = compose, .compatible = compatible};
    text_slice got;
    normalize_scratch_init(&scratch, ledger, &matches);
    uint64_t front = 0;
    assert_ok(normalize_run(&step, 1, &scratch, (text_slice){text, strlen(text)}, &front, &got, &error), &error);
    assert_string_equal(got.bytes, wanted);
    normalize_scratch_reset(&scratch);
    close_empty_ledger(ledger);
}

static void test_normalisation_forms(void **state)
{
    (void)state;
    expect_normal(true, false, "xe\xcc\x81y", "x\xc3\xa9y");
    expect_normal(true, false, "\xc3\xa9", "\xc3\xa9");
    expect_normal(false, false, "x\xc3\xa9", "xe\xcc\x81");
    expect_normal(true, false, "q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87");               /* marks in order */
    expect_normal(true, false, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"); /* Hangul */
    expect_normal(true, false, "\xef\xac\x81\xc2\xb2", "\xef\xac\x81\xc2\xb2");         /* a ligature stays in NFC */
    expect_normal(true, true, "\xef\xac\x81\xc2\xb2", "fi2");
    expect_normal(false, true, "\xef\xac\x81\xc3\xa9", "fie\xcc\x81");
    expect_normal(true, false, "\xe2\x84\xab", "\xc3\x85");        /* the angstrom sign */
    char marks[2 + 2 * 200 + 1] = "q", sorted[sizeof marks] = "q"; /* a long run: all that are below come first */
    for (int i = 0; i < 200; i++) memcpy(marks + 1 + 2 * i, i % 2 == 0 ? "\xcc\x87" : "\xcc\xa3", 2);
    for (int i = 0; i < 200; i++) memcpy(sorted + 1 + 2 * i, i < 100 ? "\xcc\xa3" : "\xcc\x87", 2);
    expect_normal(true, false, marks, sorted);
}

/* ---- merging against the definition ---- */

typedef struct random_model {
    mem *ledger;
    vocabulary vocab;
    bpe_model bpe;
} random_model;

/* Letters a..d, and `count` merges of random tokens; `in_order` decides whether ranks follow the making of tokens or
 * are shuffled. */
static void make_model(random_model *m, prng *random, uint32_t count, bool in_order)
{
    leat_error error;
    uint32_t offset;
    bpe_merge merges[64];
    uint32_t merge_count = 0;
    m->ledger = open_ledger(0);
    vocabulary_init(&m->vocab, m->ledger);
    bpe_init(&m->bpe, m->ledger, &m->vocab);
    for (uint32_t id = 0; id < 4; id++) {
        char letter = (char)('a' + id);
        assert_ok(vocabulary_store(&m->vocab, &letter, 1, &offset, &error), &error);
        assert_ok(vocabulary_add(&m->vocab, offset, id, VOCABULARY_MODEL, &error), &error);
    }
    while (merge_count < count) {
        char joined[256];
        uint32_t left = (uint32_t)prng_below(random, m->vocab.id_count),
                 right = (uint32_t)prng_below(random, m->vocab.id_count);
        int bytes = snprintf(joined, sizeof joined, "%s%s", vocabulary_text(&m->vocab, left),
                             vocabulary_text(&m->vocab, right));
        if (bytes > 12) continue;
        uint32_t merged = vocabulary_find(&m->vocab, joined, (size_t)bytes, 0);
        if (merged == VOCABULARY_NO_ID) {
            merged = m->vocab.id_count;
            assert_ok(vocabulary_store(&m->vocab, joined, (size_t)bytes, &offset, &error), &error);
            assert_ok(vocabulary_add(&m->vocab, offset, merged, VOCABULARY_MODEL, &error), &error);
        }
        merges[merge_count++] = (bpe_merge){left, right, merged};
    }
    for (uint32_t i = merge_count; !in_order && i > 1; i--) {
        uint32_t other = (uint32_t)prng_below(random, i);
        bpe_merge kept = merges[i - 1];
        merges[i - 1] = merges[other];
        merges[other] = kept;
    }
    for (uint32_t i = 0; i < merge_count; i++)
        assert_ok(bpe_add_merge(&m->bpe, merges[i].left, merges[i].right, merges[i].merged, &error), &error);
    assert_ok(bpe_finish(&m->bpe, &error), &error);
}

static void free_model(random_model *m)
{
    bpe_reset(&m->bpe);
    vocabulary_reset(&m->vocab);
    close_empty_ledger(m->ledger);
}

static const bpe_slot *naive_pair(const bpe_model *b, uint32_t left, uint32_t right)
{
    for (uint64_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].left == left && b->slots[i].right == right) return &b->slots[i];
    return NULL;
}

/* The definition: again and again the pair of lowest rank, the leftmost of equals. */
static uint64_t merge_naively(const bpe_model *b, const char *word, uint64_t bytes, uint32_t *ids)
{
    uint64_t count = bytes;
    for (uint64_t i = 0; i < bytes; i++) ids[i] = (uint32_t)(word[i] - 'a');
    for (;;) {
        const bpe_slot *best = NULL;
        uint64_t at = 0;
        for (uint64_t i = 0; i + 1 < count; i++) {
            const bpe_slot *pair = naive_pair(b, ids[i], ids[i + 1]);
            if (pair != NULL && (best == NULL || pair->rank < best->rank)) best = pair, at = i;
        }
        if (best == NULL) return count;
        ids[at] = best->merged;
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
        count--;
    }
}

static void test_merging_is_as_defined(void **state)
{
    (void)state;
    enum { ROUNDS = 160, WORDS = 8, WORD_BYTES = 2 * BPE_SHORT_COUNT };
    leat_error error;
    prng random;
    prng_init(&random, 7);
    for (int round = 0; round < ROUNDS; round++) {
        random_model m;
        make_model(&m, &random, 1 + (uint32_t)prng_below(&random, 40), round % 2 == 0);
        bpe_scratch scratch;
        word_cache parts;
        token_list got;
        bpe_scratch_init(&scratch, m.ledger);
        token_list_init(&got, m.ledger);
        word_cache_init(&parts, m.ledger, 1);
        assert_ok(word_cache_fit(&parts, WORDS * WORD_BYTES, &error), &error);
        if (round % 4 < 2) scratch.parts = &parts; /* parts of earlier words come from there */
        for (int i = 0; i < WORDS; i++) {
            char word[WORD_BYTES];
            uint32_t ids[WORD_BYTES];
            uint64_t bytes = 1 + prng_below(&random, WORD_BYTES), letters = 1 + prng_below(&random, 4);
            for (uint64_t k = 0; k < bytes; k++) word[k] = (char)('a' + prng_below(&random, letters));
            token_list wanted = {.ids = ids, .count = merge_naively(&m.bpe, word, bytes, ids)};
            got.count = 0;
            assert_ok(bpe_encode(&m.bpe, &scratch, word, bytes, &got, &error), &error);
            if (!same_ids(&got, &wanted)) {
                print_ids("expected", &wanted);
                print_ids("got", &got);
                fail_msg("%.*s", (int)bytes, word);
            }
        }
        word_cache_reset(&parts);
        token_list_reset(&got);
        bpe_scratch_reset(&scratch);
        free_model(&m);
    }
}

/* A long word takes the lists of the queue. It must come out as its heap does: the same queue, told that the word is
 * short. */
static void test_long_words_merge_alike(void **state)
{
    (void)state;
    enum { ROUNDS = 12, WORD_BYTES = 3 * MERGE_QUEUE_LARGE_COUNT };
    leat_error error;
    prng random;
    prng_init(&random, 11);
    for (int round = 0; round < ROUNDS; round++) {
        random_model m;
        make_model(&m, &random, 40, round % 2 == 0);
        m.bpe.may_cut = false;
        bpe_scratch scratch;
        token_list got, wanted;
        bpe_scratch_init(&scratch, m.ledger);
        token_list_init(&got, m.ledger);
        token_list_init(&wanted, m.ledger);
        char *word = malloc(WORD_BYTES);
        uint64_t letters = 1 + (uint64_t)(round % 4);
        for (uint64_t k = 0; k < WORD_BYTES; k++) word[k] = (char)('a' + prng_below(&random, letters));
        assert_ok(bpe_encode(&m.bpe, &scratch, word, WORD_BYTES, &got, &error), &error);
        scratch.queue.large_count = UINT64_MAX;
        assert_ok(bpe_encode(&m.bpe, &scratch, word, WORD_BYTES, &wanted, &error), &error);
        assert_true(same_ids(&got, &wanted));
        free(word);
        token_list_reset(&got);
        token_list_reset(&wanted);
        bpe_scratch_reset(&scratch);
        free_model(&m);
    }
}

/* ---- added tokens against trying every token at every place ---- */

static void test_matches_are_leftmost_longest(void **state)
{
    (void)state;
    enum { ROUNDS = 2000, PATTERNS = 8, TEXT_BYTES = 40 };
    leat_error error;
    prng random;
    prng_init(&random, 5);
    mem *ledger = open_ledger(0);
    for (int round = 0; round < ROUNDS; round++) {
        char patterns[PATTERNS][8], text[TEXT_BYTES];
        token_pattern list[PATTERNS];
        for (int i = 0; i < PATTERNS; i++) {
            uint32_t bytes = (uint32_t)prng_below(&random, 6);
            for (uint32_t k = 0; k < bytes; k++) patterns[i][k] = (char)('a' + prng_below(&random, 2));
            list[i] = (token_pattern){patterns[i], bytes};
        }
        uint64_t text_bytes = prng_below(&random, TEXT_BYTES);
        for (uint64_t k = 0; k < text_bytes; k++)
            text[k] = (char)('a' + prng_below(&random, 2 + (uint64_t)(round % 2)));
        token_matcher *m;
        token_search search;
        token_search_init(&search, ledger);
        assert_ok(token_matcher_open(ledger, (uint64_t)round, list, PATTERNS, &m, &error), &error);
        assert_ok(token_matcher_split(m, NULL, text, text_bytes, &search, &error), &error);
        uint64_t part = 0, gap = 0;
        for (uint64_t at = 0; at <= text_bytes;) {
            int best = -1;
            for (int i = 0; i < PATTERNS && at < text_bytes; i++)
                if (list[i].bytes > 0 && list[i].bytes <= text_bytes - at &&
                    memcmp(text + at, patterns[i], list[i].bytes) == 0 &&
                    (best < 0 || list[i].bytes > list[best].bytes))
                    best = i;
            if ((best >= 0 || at == text_bytes) && gap < at) {
                assert_in_range(part, 0, search.parts.count - 1);
                token_span span = search.parts.spans[part++];
                assert_true(span.token == TOKEN_SPAN_TEXT && span.start == gap && span.end == at);
            }
            if (best < 0) {
                at++;
                continue;
            }
            assert_in_range(part, 0, search.parts.count - 1);
            token_span span = search.parts.spans[part++];
            assert_true(span.token == (uint32_t)best && span.start == at && span.end == at + list[best].bytes);
            gap = at += list[best].bytes;
        }
        assert_int_equal(part, search.parts.count);
        token_search_reset(&search);
        token_matcher_close(&m);
    }
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_alphabet),
        cmocka_unit_test(test_character_classes),
        cmocka_unit_test(test_patterns_are_rewritten),
        cmocka_unit_test(test_normalisation_forms),
        cmocka_unit_test(test_merging_is_as_defined),
        cmocka_unit_test(test_long_words_merge_alike),
        cmocka_unit_test(test_matches_are_leftmost_longest),
    };
    return cmocka_run_group_tests_name("text.tokenizer_parts", tests, NULL, NULL);
}

#include "support/unit.h"

#include "base/bytes.h"
#include "base/utf8.h"

static bool is_scalar(uint32_t value) { return value <= 0x10ffff && (value < 0xd800 || value > 0xdfff); }

static void every_scalar_survives_encoding(void **state)
{
    (void)state;
    for (uint32_t scalar = 0; scalar <= 0x10ffff; scalar++) {
        if (!is_scalar(scalar)) continue;
        char text[4];
        uint32_t decoded = 0;
        size_t length = utf8_encode(scalar, text);
        assert_int_equal(length, scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4);
        assert_int_equal(utf8_decode(text, length, &decoded, NULL), length);
        assert_int_equal(decoded, scalar);
        for (size_t cut = 1; cut < length; cut++) { /* every proper prefix is incomplete, not broken */
            size_t invalid = 9;
            assert_int_equal(utf8_decode(text, cut, &decoded, &invalid), 0);
            assert_int_equal(invalid, 0);
        }
    }
}

/* Every sequence of two bytes and, for leads of three and four, of three: accepted exactly when it is a prefix of the
 * encoding of some scalar. The table of prefixes is made by the encoder. */
static void nothing_but_encodings_is_accepted(void **state)
{
    (void)state;
    static bool is_prefix[256][256][256];
    static bool is_pair[256][256];
    for (uint32_t scalar = 0; scalar <= 0x10ffff; scalar++) {
        if (!is_scalar(scalar)) continue;
        unsigned char b[4] = {0};
        size_t length = utf8_encode(scalar, (char *)b);
        if (length >= 2) is_pair[b[0]][b[1]] = true;
        if (length >= 3) is_prefix[b[0]][b[1]][b[2]] = true;
    }
    for (unsigned first = 0x80; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            for (unsigned third = 0; third < 256; third += 1) {
                unsigned char b[4] = {(unsigned char)first, (unsigned char)second, (unsigned char)third, 0x80};
                uint32_t scalar;
                size_t invalid = 9;
                size_t length = utf8_decode((char *)b, 4, &scalar, &invalid);
                bool pair_is_good = is_pair[first][second];
                if (length == 2) {
                    assert_true(pair_is_good && first < 0xe0);
                } else if (length != 0) {
                    assert_true(is_prefix[first][second][third]);
                } else {
                    assert_false(pair_is_good && first < 0xe0);
                    assert_false(is_prefix[first][second][third]);
                    assert_int_equal(invalid, pair_is_good ? 2 : 1);
                }
            }
        }
    }
}

/* Table 3-8 of the standard: what one U+FFFD replaces. */
static void broken_parts_have_their_maximal_length(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t length, invalid;
    } cases[] = {
        {"\x80", 1, 1},         {"\xc0\xaf", 2, 1},     {"\xff", 1, 1},         {"\xe0\x80\xaf", 3, 1},
        {"\xed\xa0\x80", 3, 1}, {"\xf4\x91\x92", 3, 1}, {"\xe1\x80\xe2", 3, 2}, {"\xf0\x91\x92\x41", 4, 3},
        {"\xf1\xbf\x41", 3, 2}, {"\xe1\x80", 2, 0},     {"\xf0\x90\x80", 3, 0}, {"\xc3", 1, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint32_t scalar = 0x12345;
        size_t invalid = 9;
        assert_int_equal(utf8_decode(cases[i].text, cases[i].length, &scalar, &invalid), 0);
        assert_int_equal(invalid, cases[i].invalid);
        assert_int_equal(scalar, 0x12345); /* outputs are written on success only */
    }
}

static void finds_the_first_broken_byte_anywhere(void **state)
{
    (void)state;
    const char *good = "plain text \xc3\xa4 and \xe2\x82\xac and more plain text \xf0\x9f\x98\x80.";
    size_t length = strlen(good);
    assert_int_equal(utf8_valid_bytes(good, length), length);
    assert_int_equal(utf8_valid_bytes(good, 0), 0);
    for (size_t i = 0; i < length; i++) {
        char text[128];
        memcpy(text, good, length);
        text[i] = (char)0xff;
        size_t start = i; /* of the character that byte i belongs to */
        while (((unsigned char)good[start] & 0xc0) == 0x80) start--;
        assert_int_equal(utf8_valid_bytes(text, length), start);
    }
    assert_int_equal(utf8_valid_bytes("ab\xe2\x82", 4), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_survives_encoding),
        cmocka_unit_test(nothing_but_encodings_is_accepted),
        cmocka_unit_test(broken_parts_have_their_maximal_length),
        cmocka_unit_test(finds_the_first_broken_byte_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * tokenizer_components_test.c - normalizers, pre-tokenizers, post-processors and decoders in many orders: ids and texts
 * are those of the library `tokenizers` 0.23.3 (tests/golden/tokenizers/make_components.py). And what one token stands
 * for by itself, which the library does not say.
 */
#include "text_support.h"

#include "base/utf8.h"

typedef struct components_state {
    mem *ledger;
    tokenizer *t;
    text_buffer name, file, text, wanted, got;
    token_list ids, ids_special, got_ids;
    uint32_t case_count, text_count, decode_count, stream_count;
} components_state;

static void check_ids(components_state *s, unsigned flags, const token_list *wanted)
{
    leat_error error;
    s->got_ids.count = 0;
    assert_ok(tokenizer_encode(s->t, s->text.bytes, s->text.count, flags, &s->got_ids, &error), &error);
    if (same_ids(&s->got_ids, wanted)) return;
    print_ids("expected", wanted);
    print_ids("got", &s->got_ids);
    fail_msg("%s: \"%s\"", s->name.bytes, s->text.bytes);
}

static void run_text(components_state *s, json *parser)
{
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "text"))
            read_string(parser, &s->text);
        else
            read_ids(parser, json_text_is(&token, "ids") ? &s->ids : &s->ids_special);
    }
    check_ids(s, 0, &s->ids);
    check_ids(s, TOKENIZER_POST_PROCESS, &s->ids_special);
    s->text_count++;
}

static void expect_text(const components_state *s, const char *way)
{
    if (s->got.count != s->wanted.count || memcmp(s->got.bytes, s->wanted.bytes, s->got.count) != 0)
        fail_msg("%s: %s: expected \"%s\", got \"%s\"", s->name.bytes, way, s->wanted.bytes, s->got.bytes);
}

/* Twice with the same stream: the end of the first answer leaves nothing to the second. */
static void check_stream(components_state *s)
{
    leat_error error;
    detokenizer *d;
    assert_ok(detokenizer_open(s->t, false, &d, &error), &error);
    for (int round = 0; round < 2; round++) {
        s->got.count = 0;
        for (uint64_t i = 0; i < s->ids.count; i++) {
            const uint64_t before = s->got.count;
            assert_ok(detokenizer_push(d, s->ids.ids[i], &s->got, &error), &error);
            assert_int_equal(utf8_valid_bytes(s->got.bytes + before, s->got.count - before), s->got.count - before);
        }
        assert_ok(detokenizer_flush(d, &s->got, &error), &error);
        assert_ok(text_buffer_append(&s->got, "", 0, &error), &error);
        expect_text(s, "stream");
    }
    detokenizer_close(&d);
    s->stream_count++;
}

static void run_decode(components_state *s, json *parser)
{
    leat_error error;
    bool streams = true;
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "ids"))
            read_ids(parser, &s->ids);
        else if (json_text_is(&token, "text"))
            read_string(parser, &s->wanted);
        else
            streams = read_flag(parser);
    }
    s->got.count = 0;
    assert_ok(tokenizer_decode(s->t, s->ids.ids, s->ids.count, false, &s->got, &error), &error);
    expect_text(s, "whole");
    if (streams) check_stream(s);
    s->decode_count++;
}

static void run_case(components_state *s, json *parser)
{
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "name")) {
            read_string(parser, &s->name);
        } else if (json_text_is(&token, "file")) {
            read_string(parser, &s->file);
            s->t = open_tokenizer_text(s->ledger, s->file.bytes);
        } else {
            const bool is_text = json_text_is(&token, "texts");
            assert_int_equal(next_token(parser).kind, JSON_ARRAY_BEGIN);
            while (next_token(parser).kind == JSON_OBJECT_BEGIN) is_text ? run_text(s, parser) : run_decode(s, parser);
        }
    }
    tokenizer_close(&s->t);
    s->case_count++;
}

static void test_components(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    text_buffer document;
    components_state s = {.ledger = open_ledger(0)};
    text_buffer *texts[] = {&s.name, &s.file, &s.text, &s.wanted, &s.got};
    token_list *lists[] = {&s.ids, &s.ids_special, &s.got_ids};
    for (int i = 0; i < 5; i++) text_buffer_init(texts[i], s.ledger);
    for (int i = 0; i < 3; i++) token_list_init(lists[i], s.ledger);
    assert_true(find_data_file("golden/tokenizers/components.json", path));
    read_file(s.ledger, path, &document);
    json *parser = open_cases(s.ledger, &document);
    while (next_token(parser).kind == JSON_OBJECT_BEGIN) run_case(&s, parser);
    json_close(&parser);
    text_buffer_reset(&document);
    for (int i = 0; i < 5; i++) text_buffer_reset(texts[i]);
    for (int i = 0; i < 3; i++) token_list_reset(lists[i]);
    assert_in_range(s.case_count, 45, UINT32_MAX);
    assert_in_range(s.text_count, 140, UINT32_MAX);
    assert_in_range(s.decode_count, 130, UINT32_MAX);
    assert_in_range(s.stream_count, 100, UINT32_MAX);
    close_empty_ledger(s.ledger);
}

#define WORDS                                                                                                          \
    "{\"[UNK]\": 0, \"\xe2\x96\x81"                                                                                    \
    "a\": 1, \"<0xC3>\": 2, \"##b\": 3, \"c</w>\": 4, \"\xc3\x83\": 5, \" d \": 6, \"e<pad>|\": 7}"

/* A token in the middle of a text, which nothing ends and nothing repairs. */
static void test_single_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *decoder;
        uint32_t id;
        const char *bytes;
    } cases[] = {
        {"null", 6, " d "},
        {"{\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\"}", 1, " a"},
        {"{\"type\": \"ByteFallback\"}", 2, "\xc3"},
        {"{\"type\": \"ByteLevel\"}", 5, "\xc3"},
        {"{\"type\": \"WordPiece\", \"prefix\": \"##\"}", 3, "b"},
        {"{\"type\": \"WordPiece\", \"prefix\": \"##\"}", 6, "  d "},
        {"{\"type\": \"BPEDecoder\", \"suffix\": \"</w>\"}", 4, "c "},
        {"{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 1}", 6, "d"},
        {"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", "
         "\"start\": 1, \"stop\": 1}]}",
         6, " d "},
        {"{\"type\": \"CTC\", \"pad_token\": \"<pad>\", \"word_delimiter_token\": \"|\", \"cleanup\": true}", 7, "e "},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"[a-z]\"}, \"content\": \"X\"}", 1, "\xe2\x96\x81X"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[1024];
        leat_error error;
        text_buffer got;
        mem *ledger = open_ledger(0);
        snprintf(file, sizeof file,
                 "{\"decoder\": %s, \"model\": {\"type\": \"WordLevel\", \"vocab\": " WORDS ", \"unk_token\": "
                 "\"[UNK]\"}}",
                 cases[i].decoder);
        tokenizer *t = open_tokenizer_text(ledger, file);
        text_buffer_init(&got, ledger);
        assert_ok(tokenizer_token_bytes(t, cases[i].id, &got, &error), &error);
        assert_string_equal(got.bytes, cases[i].bytes);
        text_buffer_reset(&got);
        tokenizer_close(&t);
        close_empty_ledger(ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_components),
        cmocka_unit_test(test_single_tokens),
    };
    return cmocka_run_group_tests_name("text.tokenizer_components", tests, NULL, NULL);
}

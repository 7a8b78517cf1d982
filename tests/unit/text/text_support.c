/* text_support.c - see the header. */
#include "text_support.h"

bool find_data_file(const char *name, char out_path[UNIT_PATH_BYTES])
{
    const char *conformance = getenv("LEAT_CONFORMANCE");
    if (strncmp(name, "golden/", 7) == 0)
        snprintf(out_path, UNIT_PATH_BYTES, "%s/tests/%s", LEAT_SOURCE_ROOT, name);
    else if (conformance != NULL)
        snprintf(out_path, UNIT_PATH_BYTES, "%s/%s", conformance, name);
    else
        snprintf(out_path, UNIT_PATH_BYTES, "%s/../shared/conformance/%s", LEAT_SOURCE_ROOT, name);
    if (access(out_path, R_OK) == 0) return true;
    print_message("[  NOTE    ] no conformance data: %s does not exist (set LEAT_CONFORMANCE)\n", out_path);
    return false;
}

void read_file(mem *ledger, const char *path, text_buffer *out_text)
{
    leat_error error;
    char chunk[65536];
    size_t count;
    FILE *in = fopen(path, "rb");
    if (in == NULL) fail_msg("%s cannot be opened", path);
    text_buffer_init(out_text, ledger);
    while ((count = fread(chunk, 1, sizeof chunk, in)) > 0)
        assert_ok(text_buffer_append(out_text, chunk, count, &error), &error);
    assert_int_equal(fclose(in), 0);
}

tokenizer *open_tokenizer_file(mem *ledger, const char *path)
{
    leat_error error;
    tokenizer *t = NULL;
    text_buffer text;
    read_file(ledger, path, &text);
    assert_ok(tokenizer_open(ledger, "tokenizer.json", text.bytes, text.count, 0, &t, &error), &error);
    text_buffer_reset(&text);
    return t;
}

bool find_tokenizer_file(const char *folder, tokenizer_file_kind *out_kind, char out_path[UNIT_PATH_BYTES])
{
    static const char *const names[] = {[TOKENIZER_JSON] = "tokenizer.json",
                                        [TOKENIZER_SENTENCEPIECE] = "tokenizer.model",
                                        [TOKENIZER_TIKTOKEN] = "tiktoken.model"};
    char name[256];
    snprintf(name, sizeof name, "%s/cases.json", folder);
    if (!find_data_file(name, out_path)) return false;
    for (int kind = TOKENIZER_JSON; kind <= TOKENIZER_TIKTOKEN; kind++) {
        snprintf(out_path + strlen(out_path) - strlen(strrchr(out_path, '/') + 1), 64, "%s", names[kind]);
        *out_kind = (tokenizer_file_kind)kind;
        if (access(out_path, R_OK) == 0) return true;
    }
    fail_msg("%s has no tokenizer", folder);
    return false;
}

tokenizer *open_tokenizer_folder(mem *ledger, const char *folder)
{
    char name[256], path[UNIT_PATH_BYTES], config_path[UNIT_PATH_BYTES];
    text_buffer text, config;
    leat_error error;
    tokenizer *t = NULL;
    tokenizer_files files = {.config_name = "tokenizer_config.json"};
    if (!find_tokenizer_file(folder, &files.kind, path)) return NULL;
    if (files.kind == TOKENIZER_JSON) return open_tokenizer_file(ledger, path);
    snprintf(name, sizeof name, "%s/tokenizer_config.json", folder);
    assert_true(find_data_file(name, config_path));
    read_file(ledger, path, &text);
    read_file(ledger, config_path, &config);
    files.name = strrchr(path, '/') + 1;
    files.bytes = text.bytes;
    files.count = text.count;
    files.config = config.bytes;
    files.config_count = config.count;
    assert_ok(tokenizer_open_files(ledger, &files, &t, &error), &error);
    text_buffer_reset(&text);
    text_buffer_reset(&config);
    return t;
}

tokenizer *open_tokenizer_text(mem *ledger, const char *json_text)
{
    leat_error error;
    tokenizer *t = NULL;
    assert_ok(tokenizer_open(ledger, "tokenizer.json", json_text, strlen(json_text), 0, &t, &error), &error);
    return t;
}

void refuse_tokenizer_text(const char *json_text, size_t bytes, uint32_t vocab_count, leat_error *out_error)
{
    mem *ledger = open_ledger(0);
    tokenizer *t = NULL;
    assert_fails(MODEL, tokenizer_open(ledger, "tokenizer.json", json_text, bytes, vocab_count, &t, out_error),
                 out_error);
    assert_null(t);
    assert_text_has(out_error->text, "tokenizer.json");
    close_empty_ledger(ledger);
}

json_token next_token(json *parser)
{
    leat_error error;
    json_token token;
    assert_ok(json_next(parser, &token, &error), &error);
    return token;
}

void enter_object(json *parser) { assert_int_equal(next_token(parser).kind, JSON_OBJECT_BEGIN); }

void read_string(json *parser, text_buffer *out_text)
{
    leat_error error;
    json_token token = next_token(parser);
    assert_int_equal(token.kind, JSON_STRING);
    out_text->count = 0;
    assert_ok(text_buffer_append(out_text, token.text, token.text_bytes, &error), &error);
}

void read_ids(json *parser, token_list *out_ids)
{
    leat_error error;
    out_ids->count = 0;
    assert_int_equal(next_token(parser).kind, JSON_ARRAY_BEGIN);
    for (;;) {
        uint64_t id;
        json_token token = next_token(parser);
        if (token.kind == JSON_ARRAY_END) return;
        assert_true(json_to_u64(&token, &id));
        assert_ok(token_list_push(out_ids, (uint32_t)id, &error), &error);
    }
}

void read_strings(json *parser, text_buffer *out_texts, uint32_t capacity, uint32_t *out_count, mem *ledger)
{
    leat_error error;
    *out_count = 0;
    assert_int_equal(next_token(parser).kind, JSON_ARRAY_BEGIN);
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind == JSON_ARRAY_END) return;
        assert_in_range(*out_count, 0, capacity - 1);
        text_buffer *text = &out_texts[(*out_count)++];
        if (text->ledger == NULL) text_buffer_init(text, ledger);
        text->count = 0;
        assert_ok(text_buffer_append(text, token.text, token.text_bytes, &error), &error);
    }
}

bool read_flag(json *parser)
{
    json_token token = next_token(parser);
    assert_true(token.kind == JSON_TRUE || token.kind == JSON_FALSE);
    return token.kind == JSON_TRUE;
}

json *open_cases(mem *ledger, const text_buffer *document)
{
    leat_error error;
    json *parser;
    assert_ok(
        json_open(ledger, MEM_META, "cases", document->bytes, document->count, &json_limits_default, &parser, &error),
        &error);
    enter_object(parser);
    for (;;) {
        json_token token = next_token(parser);
        assert_int_equal(token.kind, JSON_KEY);
        if (json_text_is(&token, "cases")) break;
        assert_ok(json_skip(parser, &error), &error);
    }
    assert_int_equal(next_token(parser).kind, JSON_ARRAY_BEGIN);
    return parser;
}

bool same_ids(const token_list *a, const token_list *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0);
}

void print_ids(const char *label, const token_list *list)
{
    fprintf(stderr, "  %-9s", label);
    for (uint64_t i = 0; i < list->count && i < 60; i++) fprintf(stderr, " %u", list->ids[i]);
    fprintf(stderr, "\n");
}

void expect_ids(const tokenizer *t, const char *text, unsigned flags, const uint32_t *wanted, uint64_t count)
{
    leat_error error;
    mem *ledger = open_ledger(0);
    token_list got, want = {.ids = (uint32_t *)(uintptr_t)wanted, .count = count};
    token_list_init(&got, ledger);
    assert_ok(tokenizer_encode(t, text, strlen(text), flags, &got, &error), &error);
    if (!same_ids(&got, &want)) {
        fprintf(stderr, "\"%s\"\n", text);
        print_ids("expected", &want);
        print_ids("got", &got);
        fail();
    }
    token_list_reset(&got);
    close_empty_ledger(ledger);
}

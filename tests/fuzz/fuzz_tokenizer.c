/*
 * fuzz_tokenizer.c - any bytes as a tokenizer.json, and what follows the first NUL byte as a text for it. What must
 * hold: a file is refused as a bad model or opens; then texts encode to ids that have tokens, the stream's characters
 * are whole, and the ledger is empty at the end.
 */
#include "fuzz/fuzz.h"

#include "base/utf8.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <string.h>

const char *const fuzz_words[] = {
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"\"",
    "null",
    "true",
    "false",
    "\"type\":",
    "\"Sequence\"",
    "\"Split\"",
    "\"ByteLevel\"",
    "\"Metaspace\"",
    "\"Precompiled\"",
    "\"Lowercase\"",
    "\"StripAccents\"",
    "\"BertNormalizer\"",
    "\"BertPreTokenizer\"",
    "\"WordPiece\"",
    "\"Unigram\"",
    "\"unk_id\":0",
    "\"vocab\":[[\"a\",-1.5]]",
    "\"max_input_chars_per_word\":",
    "\"precompiled_charsmap\":\"",
    "IQ== 0\n",
    "\"Digits\"",
    "\"Punctuation\"",
    "\"Replace\"",
    "\"Prepend\"",
    "\"NFC\"",
    "\"NFKC\"",
    "\"Strip\"",
    "\"ByteFallback\"",
    "\"Fuse\"",
    "\"TemplateProcessing\"",
    "\"pattern\":{\"Regex\":\"",
    "\"String\":",
    "\"behavior\":\"MergedWithNext\"",
    "\"invert\":true",
    "\"lstrip\":true",
    "\"rstrip\":true",
    "\"single_word\":true",
    "\"normalized\":true",
    "\"byte_fallback\":true",
    "\"ignore_merges\":true",
    "\"fuse_unk\":true",
    "\"id\":",
    "\"content\":",
    "\\\\p{L}",
    "\\\\s+",
    "(?!\\\\S)",
    "{1,3}+",
    "[^",
    "&&[^",
    "(?i:",
    "\\u2581",
    "<0x41>",
    "4294967296",
    "2097151",
    NULL,
};

static void use(const tokenizer *t, const char *text, size_t bytes, mem *ledger)
{
    token_list ids;
    text_buffer whole, streamed;
    detokenizer *d = NULL;
    token_list_init(&ids, ledger);
    text_buffer_init(&whole, ledger);
    text_buffer_init(&streamed, ledger);
    size_t valid = utf8_valid_bytes(text, bytes);
    for (unsigned flags = 0; flags < 8; flags++) {
        uint64_t before = ids.count;
        leat_status status = tokenizer_encode(t, text, bytes, flags, &ids, NULL);
        if (valid < bytes)
            FUZZ_CHECK(status == LEAT_USAGE && ids.count == before);
        else
            FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL); /* a pattern may pass its limits */
    }
    for (uint64_t i = 0; i < ids.count; i++) FUZZ_CHECK(tokenizer_token_text(t, ids.ids[i], NULL) != NULL);
    FUZZ_CHECK(tokenizer_decode(t, ids.ids, ids.count, true, &whole, NULL) == LEAT_OK);
    FUZZ_CHECK(utf8_valid_bytes(whole.bytes, whole.count) == whole.count);
    FUZZ_CHECK(detokenizer_open(t, false, &d, NULL) == LEAT_OK);
    for (uint64_t i = 0; i < ids.count; i++) {
        uint64_t before = streamed.count;
        FUZZ_CHECK(detokenizer_push(d, ids.ids[i], &streamed, NULL) == LEAT_OK);
        uint64_t more = streamed.count - before;
        FUZZ_CHECK(more == 0 || utf8_valid_bytes(streamed.bytes + before, more) == more);
    }
    FUZZ_CHECK(detokenizer_flush(d, &streamed, NULL) == LEAT_OK);
    detokenizer_close(&d);
    (void)chat_builtin_find(t);
    token_list_reset(&ids);
    text_buffer_reset(&whole);
    text_buffer_reset(&streamed);
}

/* What the other kinds of files leave open. */
static const char config[] =
    "{\"tokenizer_class\": \"TikTokenTokenizer\", \"add_bos_token\": true, \"added_tokens_decoder\": {\"2000000\": "
    "{\"content\": \"<|f00|>\", \"special\": true, \"lstrip\": true}}}";

/* A tokenizer.json begins with a brace, a model of SentencePiece with its first piece, a list of ranks with neither. */
static tokenizer_file_kind kind_of(const uint8_t *bytes, size_t count)
{
    if (count > 1 && bytes[0] == 0x0a && bytes[1] != '{' && bytes[1] != ' ') return TOKENIZER_SENTENCEPIECE;
    bool is_base64 = count > 0 && ((bytes[0] >= '0' && bytes[0] <= '9') || (bytes[0] >= 'A' && bytes[0] <= 'Z'));
    return is_base64 ? TOKENIZER_TIKTOKEN : TOKENIZER_JSON;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char own_text[] =
        "Hello  w\xc3\xb6rld, 'tis 2026\n\n<|f00|> \xe2\x96\x81\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\xa6\x8a ab aab a1b22";
    const uint8_t *end = count == 0 ? NULL : memchr(bytes, 0, count);
    size_t document_bytes = end == NULL ? count : (size_t)(end - bytes);
    mem *ledger = NULL;
    tokenizer *t = NULL;
    leat_error error = {0};
    if (mem_open(0, &ledger, NULL) != LEAT_OK) return 0;
    tokenizer_files files = {.kind = kind_of(bytes, count),
                             .name = "fuzz.json",
                             .bytes = (const char *)bytes,
                             .count = document_bytes,
                             .config_name = "fuzz.json",
                             .config = config,
                             .config_count = strlen(config)};
    if (files.kind == TOKENIZER_SENTENCEPIECE) { /* zeros are part of it */
        files.count = count;
        end = NULL;
    }
    leat_status status = tokenizer_open_files(ledger, &files, &t, &error);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL);
    FUZZ_CHECK(status == LEAT_OK || strstr(error.text, "fuzz.json") != NULL);
    if (status == LEAT_OK) {
        use(t, own_text, sizeof own_text - 1, ledger);
        if (end != NULL) use(t, (const char *)end + 1, count - document_bytes - 1, ledger);
    }
    tokenizer_close(&t);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}

/*
 * tokenizer_bench.c - what a tokenizer of Gemma's size costs: seconds and bytes to load it, and speed over texts of
 * several kinds.
 *
 *     tokenizer_bench [MEGABYTES [TOKENIZER [TEXT...]]]
 *
 * TOKENIZER is a tokenizer.json, a SentencePiece *.model, or a list of ranks (tiktoken.model, *.tiktoken).
 * With texts (files of UTF-8) those are encoded, the first MEGABYTES of each, in place of texts made here.
 *
 * Without a file it writes one in memory: 262144 tokens (bytes, characters, runs, syllables, words of up to four
 * syllables with and without the space mark, pairs of Chinese characters) and every split of a token into two tokens as
 * a merge, as converters write them.
 */
#include "base/mem.h"
#include "base/prng.h"
#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKEN_COUNT = 262144, COMMON_HAN_COUNT = 3000, LEXICON_COUNT = 20000, WORD_BYTES = 48 };

#define MARK "\xe2\x96\x81"

static leat_error error;

static void must(leat_status status)
{
    if (status == LEAT_OK) return;
    fprintf(stderr, "tokenizer_bench: %s\n", error.text);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void add_token(vocabulary *v, const char *text)
{
    uint32_t offset;
    if (v->id_count >= TOKEN_COUNT || vocabulary_find(v, text, strlen(text), 0) != VOCABULARY_NO_ID) return;
    must(vocabulary_store(v, text, strlen(text), &offset, &error));
    must(vocabulary_add(v, offset, v->id_count, VOCABULARY_MODEL, &error));
}

static void make_syllable(prng *random, char *out)
{
    static const char consonants[] = "bcdfghklmnprstvw", vowels[] = "aeiou", ends[] = "nrstl";
    size_t at = strlen(out);
    out[at++] = consonants[prng_below(random, sizeof consonants - 1)];
    out[at++] = vowels[prng_below(random, sizeof vowels - 1)];
    if (prng_below(random, 3) == 0) out[at++] = ends[prng_below(random, sizeof ends - 1)];
    out[at] = 0;
}

/* Lower numbers are commoner, roughly as words are. */
static uint64_t zipf(prng *random, uint64_t count)
{
    double u = prng_unit(random);
    uint64_t at = (uint64_t)((double)count * u * u * u);
    return at < count ? at : count - 1;
}

static void put_han(char *out, uint32_t idx) { out[utf8_encode(0x4e00 + idx, out)] = 0; }

static void fill_vocabulary(vocabulary *v, prng *random, char (*lexicon)[WORD_BYTES])
{
    char text[256];
    static const char *const specials[] = {"<pad>",   "<eos>",   "<bos>",      "<unk>",
                                           "<|turn>", "<turn|>", "<|channel>", "<channel|>"};
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) add_token(v, specials[i]);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(text, sizeof text, "<0x%02X>", i);
        add_token(v, text);
    }
    for (int run = 1; run <= 31; run++) {
        text[0] = 0;
        for (int i = 0; i < run; i++) strcat(text, MARK);
        add_token(v, text);
        memset(text, '\n', (size_t)run);
        text[run] = 0;
        add_token(v, text);
    }
    for (int c = '!'; c <= '~'; c++) {
        snprintf(text, sizeof text, "%c", c);
        add_token(v, text);
        snprintf(text, sizeof text, MARK "%c", c);
        add_token(v, text);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        put_han(text, i);
        add_token(v, text);
    }
    for (int i = 0; i < 60000; i++) {
        put_han(text, (uint32_t)zipf(random, COMMON_HAN_COUNT));
        put_han(text + strlen(text), (uint32_t)zipf(random, COMMON_HAN_COUNT));
        add_token(v, text);
    }
    for (uint64_t words = 0; v->id_count < TOKEN_COUNT; words++) {
        char word[WORD_BYTES] = MARK;
        uint64_t syllables = 1 + prng_below(random, 4);
        for (uint64_t i = 0; i < syllables; i++) {
            make_syllable(random, word);
            add_token(v, word);
            add_token(v, word + strlen(MARK));
        }
        if (words < LEXICON_COUNT) strcpy(lexicon[words], word + strlen(MARK));
    }
}

static void append_text(text_buffer *out, const char *text)
{
    must(text_buffer_append(out, text, strlen(text), &error));
}

static void append_quoted(text_buffer *out, const char *text, size_t bytes)
{
    append_text(out, "\"");
    for (size_t i = 0; i < bytes; i++) {
        char escaped[8] = {text[i], 0};
        if (text[i] == '"' || text[i] == '\\') snprintf(escaped, sizeof escaped, "\\%c", text[i]);
        if (text[i] == '\n') snprintf(escaped, sizeof escaped, "\\n");
        append_text(out, escaped);
    }
    append_text(out, "\"");
}

static uint64_t append_merges(text_buffer *out, const vocabulary *v)
{
    uint64_t count = 0;
    for (uint32_t id = 0; id < v->id_count; id++) {
        const char *text = vocabulary_text(v, id);
        size_t bytes = strlen(text);
        for (size_t cut = 1; cut < bytes; cut++) {
            if (((unsigned char)text[cut] & 0xc0) == 0x80) continue;
            if (vocabulary_find(v, text, cut, 0) == VOCABULARY_NO_ID ||
                vocabulary_find(v, text + cut, bytes - cut, 0) == VOCABULARY_NO_ID)
                continue;
            append_text(out, count == 0 ? "      [\n        " : ",\n      [\n        ");
            append_quoted(out, text, cut);
            append_text(out, ",\n        ");
            append_quoted(out, text + cut, bytes - cut);
            append_text(out, "\n      ]");
            count++;
        }
    }
    return count;
}

static void write_tokenizer(text_buffer *out, const vocabulary *v)
{
    char text[128];
    append_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [");
    for (uint32_t id = 0; id < 8; id++) {
        snprintf(text, sizeof text, "%s{\"id\": %" PRIu32 ", \"content\": ", id == 0 ? "" : ", ", id);
        append_text(out, text);
        append_quoted(out, vocabulary_text(v, id), strlen(vocabulary_text(v, id)));
        append_text(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                         "\"special\": true}");
    }
    append_text(
        out,
        "], \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" MARK "\"}, "
        "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": "
        "\"MergedWithPrevious\", \"invert\": false}, \"post_processor\": null, \"decoder\": {\"type\": \"Sequence\", "
        "\"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"" MARK "\"}, \"content\": \" \"}, "
        "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}]}, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
        "\"unk_token\": \"<unk>\", \"fuse_unk\": true, \"byte_fallback\": true, \"ignore_merges\": false, \"vocab\": "
        "{\n");
    for (uint32_t id = 0; id < v->id_count; id++) {
        append_text(out, id == 0 ? "      " : ",\n      ");
        append_quoted(out, vocabulary_text(v, id), strlen(vocabulary_text(v, id)));
        snprintf(text, sizeof text, ": %" PRIu32, id);
        append_text(out, text);
    }
    append_text(out, "\n    },\n    \"merges\": [\n");
    uint64_t merges = append_merges(out, v);
    append_text(out, "\n    ]}}\n");
    printf("synthetic tokenizer: %" PRIu32 " tokens, %" PRIu64 " merges, %.1f MB of JSON\n", v->id_count, merges,
           (double)out->count / 1e6);
}

typedef enum text_kind {
    TEXT_ENGLISH,
    TEXT_HAN,
    TEXT_SPACES,
    TEXT_ONE_WORD,
    TEXT_ONE_LETTER,
    TEXT_LETTERS,
    TEXT_BYTES,
    TEXT_KINDS
} text_kind;

static const char *const kind_labels[TEXT_KINDS] = {
    "words",          "Chinese characters",    "spaces", "words without spaces", "one letter",
    "random letters", "characters of no token"};

static void make_text(text_kind kind, uint64_t bytes, prng *random, char (*lexicon)[WORD_BYTES], text_buffer *out)
{
    out->count = 0;
    while (out->count < bytes) {
        char text[WORD_BYTES + 4] = "";
        switch (kind) {
        case TEXT_ENGLISH:
            snprintf(text, sizeof text, "%s%s", lexicon[zipf(random, LEXICON_COUNT)],
                     prng_below(random, 12) != 0  ? " "
                     : prng_below(random, 4) != 0 ? ", "
                                                  : ".\n");
            break;
        case TEXT_HAN: put_han(text, (uint32_t)zipf(random, COMMON_HAN_COUNT)); break;
        case TEXT_SPACES: strcpy(text, "        "); break;
        case TEXT_ONE_WORD: strcpy(text, lexicon[zipf(random, LEXICON_COUNT)]); break;
        case TEXT_ONE_LETTER: strcpy(text, "aaaaaaaa"); break;
        case TEXT_LETTERS: text[0] = (char)('a' + prng_below(random, 26)); break;
        default: text[utf8_encode((uint32_t)(0x10000 + prng_below(random, 0x1000)), text)] = 0; break;
        }
        append_text(out, text);
    }
}

static void append_file(const char *path, uint64_t bytes_max, text_buffer *out)
{
    char chunk[65536];
    size_t count;
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        perror(path);
        exit(1);
    }
    while (out->count < bytes_max && (count = fread(chunk, 1, sizeof chunk, in)) > 0)
        must(text_buffer_append(out, chunk, count, &error));
    fclose(in);
    if (out->count > bytes_max) out->count = utf8_valid_bytes(out->bytes, bytes_max);
}

static void measure(mem *ledger, const tokenizer *t, const char *label, const text_buffer *text)
{
    token_list ids;
    text_buffer decoded;
    token_list_init(&ids, ledger);
    text_buffer_init(&decoded, ledger);
    double start = now_s();
    must(tokenizer_encode(t, text->bytes, text->count, 0, &ids, &error));
    double encode_s = now_s() - start;
    start = now_s();
    must(tokenizer_decode(t, ids.ids, ids.count, false, &decoded, &error));
    double decode_s = now_s() - start;
    bool same = decoded.count == text->count && memcmp(decoded.bytes, text->bytes, text->count) == 0;
    printf("%-24s %6.1f MB  encode %6.2f s %7.1f MB/s  %9" PRIu64 " ids  decode %7.1f MB/s%s\n", label,
           (double)text->count / 1e6, encode_s, (double)text->count / 1e6 / encode_s, ids.count,
           (double)text->count / 1e6 / decode_s, same ? "" : "  NOT THE SAME TEXT");
    token_list_reset(&ids);
    text_buffer_reset(&decoded);
}

/* What a list of ranks leaves open; the other kinds of files are not asked for it, or find nothing in it. */
static const char kimi_config[] = "{\"tokenizer_class\": \"TikTokenTokenizer\"}";

static tokenizer_file_kind kind_of(const char *path)
{
    const char *name = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
    const char *end = strrchr(name, '.');
    if (strcmp(name, "tiktoken.model") == 0 || (end != NULL && strcmp(end, ".tiktoken") == 0))
        return TOKENIZER_TIKTOKEN;
    return end != NULL && strcmp(end, ".model") == 0 ? TOKENIZER_SENTENCEPIECE : TOKENIZER_JSON;
}

int main(int argc, char **argv)
{
    double megabytes = argc > 1 ? strtod(argv[1], NULL) : 10;
    static char lexicon[LEXICON_COUNT][WORD_BYTES];
    prng random;
    mem *ledger;
    text_buffer document, text;
    prng_init(&random, 1);
    must(mem_open(0, &ledger, &error));

    mem *maker;
    must(mem_open(0, &maker, &error));
    vocabulary v;
    vocabulary_init(&v, maker);
    fill_vocabulary(&v, &random, lexicon);
    text_buffer written;
    text_buffer_init(&written, maker);
    text_buffer_init(&document, ledger);
    if (argc > 2) {
        append_file(argv[2], UINT64_MAX, &written);
    } else {
        write_tokenizer(&written, &v);
    }
    document.capacity = written.count + 1; /* a block of the file's size, as a caller holds it */
    void *block;
    must(mem_alloc(ledger, MEM_TOKENIZER, document.capacity, 1, 0, "document", &block, &error));
    document.bytes = memcpy(block, written.bytes, written.count);
    document.count = written.count;
    text_buffer_reset(&written);
    vocabulary_reset(&v);
    mem_close(&maker);

    tokenizer *t;
    const tokenizer_files files = {.kind = kind_of(argc > 2 ? argv[2] : ""),
                                   .name = "tokenizer",
                                   .bytes = document.bytes,
                                   .count = document.count,
                                   .config_name = "tokenizer_config.json",
                                   .config = kimi_config,
                                   .config_count = strlen(kimi_config)};
    double start = now_s();
    must(tokenizer_open_files(ledger, &files, &t, &error));
    double seconds = now_s() - start;
    uint64_t peak = mem_total_usage(ledger).peak_bytes;
    text_buffer_reset(&document);
    printf("load: %.3f s, peak %.1f MB with the document, %.1f MB kept\n", seconds, (double)peak / 1e6,
           (double)mem_total_usage(ledger).current_bytes / 1e6);

    text_buffer_init(&text, ledger);
    for (int i = 3; i < argc; i++) {
        text.count = 0;
        append_file(argv[i], (uint64_t)(megabytes * 1e6), &text);
        const char *name = strrchr(argv[i], '/');
        measure(ledger, t, name == NULL ? argv[i] : name + 1, &text);
    }
    for (int kind = 0; kind < TEXT_KINDS && argc <= 3; kind++) {
        make_text((text_kind)kind, (uint64_t)(megabytes * 1e6), &random, lexicon, &text);
        measure(ledger, t, kind_labels[kind], &text);
    }
    text_buffer_reset(&text);
    tokenizer_close(&t);
    mem_close(&ledger);
    return 0;
}

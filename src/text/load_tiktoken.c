/*
 * load_tiktoken.c - a list of ranks as tiktoken has it, one token a line: base64 of its bytes, a space, its rank, which
 * is its id. Two neighbours become one token when their bytes together are one, lowest rank first; a word that is a
 * token is that token.
 *
 * The file says neither how a text is cut into words nor which control tokens there are. The tokens come from
 * tokenizer_config.json, the pattern from the class that it names; a class that is not known is refused, because every
 * one has a pattern of its own.
 *
 * Bytes are kept as the characters that byte-level tokenizers write for them, so that everything after loading is
 * theirs.
 */
#include "text/base64.h"
#include "text/byte_level.h"
#include "text/load_config.h"
#include "text/regex_known.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TOKEN_BYTES_MAX = 1024 };

static const struct {
    const char *class_name, *pattern;
} patterns[] = {{"TikTokenTokenizer", KIMI_PATTERN}};

typedef struct ranks_reader {
    tokenizer *t;
    const tokenizer_files *files;
    leat_error *error;
    uint64_t at;
} ranks_reader;

static void PRINTF_LIKE(3, 4) fail_line(ranks_reader *r, uint64_t offset, const char *format, ...)
{
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    (void)FAIL(r->error, MODEL, "%s: at byte %" PRIu64 ": %s", r->t->name, offset, reason);
}

/* The status is a constant, so that the compiler sees that this fails. */
#define FAIL_LINE(...) (fail_line(__VA_ARGS__), LEAT_MODEL)

static leat_status read_rank(ranks_reader *r, uint64_t start, uint64_t end, uint32_t *out_rank)
{
    const char *text = r->files->bytes;
    uint64_t rank = 0;
    if (start == end) return FAIL_LINE(r, start, "a line without a rank");
    for (uint64_t i = start; i < end; i++) {
        if (text[i] < '0' || text[i] > '9') return FAIL_LINE(r, i, "a rank is a whole number");
        rank = rank * 10 + (uint64_t)(text[i] - '0');
        if (rank >= VOCABULARY_ID_LIMIT)
            return FAIL_LINE(r, start, "ranks up to %d are supported", VOCABULARY_ID_LIMIT - 1);
    }
    if (r->files->vocab_count != 0 && rank >= r->files->vocab_count)
        return FAIL_LINE(r, start, "rank %" PRIu64 ", but the model has %" PRIu32 " tokens", rank,
                         r->files->vocab_count);
    *out_rank = (uint32_t)rank;
    return LEAT_OK;
}

static leat_status add_token(ranks_reader *r, uint64_t start, const char *bytes, size_t count, uint32_t rank)
{
    vocabulary *vocab = &r->t->vocab;
    char text[2 * TOKEN_BYTES_MAX];
    uint32_t offset;
    size_t text_bytes = byte_level_expand(bytes, count, text);
    if (vocabulary_find(vocab, text, text_bytes, 0) != VOCABULARY_NO_ID)
        return FAIL_LINE(r, start, "a token that is listed twice");
    if (vocabulary_has(vocab, rank)) return FAIL_LINE(r, start, "rank %" PRIu32 " is given twice", rank);
    TRY(vocabulary_store(vocab, text, text_bytes, &offset, r->error));
    return vocabulary_add(vocab, offset, rank, VOCABULARY_MODEL, r->error);
}

static leat_status read_line(ranks_reader *r, uint64_t start, uint64_t end)
{
    char bytes[TOKEN_BYTES_MAX + 3];
    size_t count;
    uint32_t rank;
    const char *text = r->files->bytes;
    const char *space = memchr(text + start, ' ', end - start);
    if (space == NULL) return FAIL_LINE(r, start, "a line is a token in base64, a space and a rank");
    uint64_t middle = (uint64_t)(space - text);
    if ((middle - start) / 4 * 3 > TOKEN_BYTES_MAX)
        return FAIL_LINE(r, start, "a token of more than %d bytes", TOKEN_BYTES_MAX);
    if (!base64_decode(text + start, middle - start, bytes, &count) || count == 0)
        return FAIL_LINE(r, start, "a token that is not base64");
    TRY(read_rank(r, middle + 1, end, &rank));
    return add_token(r, start, bytes, count, rank);
}

static leat_status read_lines(ranks_reader *r)
{
    const char *text = r->files->bytes;
    for (uint64_t at = 0, end; at < r->files->count; at = end + 1) {
        const char *newline = memchr(text + at, '\n', r->files->count - at);
        end = newline == NULL ? r->files->count : (uint64_t)(newline - text);
        uint64_t line_end = end > at && text[end - 1] == '\r' ? end - 1 : end;
        if (line_end > at) TRY(read_line(r, at, line_end));
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char one = (char)byte, shown[4];
        if (vocabulary_find(&r->t->vocab, shown, byte_level_expand(&one, 1, shown), 0) == VOCABULARY_NO_ID)
            return FAIL(r->error, MODEL, "%s: byte 0x%02X has no token", r->t->name, byte);
    }
    return LEAT_OK;
}

/* A rank is an id. */
static leat_status finish_model(tokenizer *t, leat_error *error)
{
    uint32_t *ranks;
    TRY(MEM_NEW(t->ledger, TOKENIZER, t->vocab.id_count, &ranks, error));
    for (uint32_t id = 0; id < t->vocab.id_count; id++) ranks[id] = vocabulary_has(&t->vocab, id) ? id : BPE_NONE;
    t->bpe.ignore_merges = true;
    leat_status status = bpe_finish_by_rank(&t->bpe, ranks, error);
    status = tokenizer_named(t, status, error);
    mem_free(t->ledger, ranks);
    return status;
}

static leat_status open_pattern(tokenizer *t, const tokenizer_config *config, leat_error *error)
{
    text_slice name = config->tokenizer_class;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        if (name.count != strlen(patterns[i].class_name) || memcmp(name.bytes, patterns[i].class_name, name.count) != 0)
            continue;
        pretokenize_step *step = &t->pretokenize[t->pretokenize_count++];
        *step = (pretokenize_step){.kind = PRETOKENIZE_SPLIT, .behaviour = SPLIT_ISOLATED};
        text_slice pattern = {patterns[i].pattern, strlen(patterns[i].pattern)};
        TRY(tokenizer_open_expression(t, pattern, &step->expression, error));
        t->pretokenize[t->pretokenize_count++] = (pretokenize_step){.kind = PRETOKENIZE_BYTE_LEVEL};
        return LEAT_OK;
    }
    if (name.bytes == NULL)
        return FAIL(
            error, MODEL,
            "%s: a list of ranks alone does not say how a text is cut into words; tokenizer_config.json names no "
            "tokenizer_class; supported: TikTokenTokenizer (Kimi)",
            t->name);
    return FAIL(error, MODEL,
                "%s: how tokenizer_class \"%s\" cuts a text is not known; supported: TikTokenTokenizer (Kimi)", t->name,
                vocabulary_cut(name.bytes, name.count).text);
}

leat_status tokenizer_load_tiktoken(tokenizer *t, const tokenizer_files *files, leat_error *error)
{
    ranks_reader r = {.t = t, .files = files, .error = error};
    tokenizer_config config;
    TRY(read_lines(&r));
    TRY(tokenizer_config_load(t, files, &config, error));
    TRY(open_pattern(t, &config, error));
    TRY(finish_model(t, error));
    t->decode.steps[t->decode.count++] = (decode_step){.kind = DECODE_BYTE_LEVEL, .added_are_raw = true};
    return tokenizer_join(t, error);
}

/*
 * tokenizer.h - text to token ids and back, from the bytes of a tokenizer.json (the `tokenizers` library's format), of
 * a model of SentencePiece, or of a list of ranks as tiktoken has it.
 *
 * Models: byte-pair encoding by a heap of merges, O(n log n) whatever the text; unigram; WordPiece. What a file may ask
 * for and what is refused: docs/formats/tokenizer.md. Text that is not valid UTF-8 is refused with the byte offset.
 *
 * Threads: a tokenizer is constant after open; encode and decode may run on several threads with buffers of their own.
 */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "base/mem.h"

#include <stdbool.h>

typedef struct tokenizer tokenizer;

/* A growing list of ids from MEM_TOKENIZER. */
typedef struct token_list {
    mem *ledger;
    uint32_t *ids;
    uint64_t count, capacity;
} token_list;

void token_list_init(token_list *list, mem *ledger);
void token_list_reset(token_list *list);
MUST_CHECK leat_status token_list_push(token_list *list, uint32_t id, leat_error *error);
MUST_CHECK leat_status token_list_append(token_list *list, const uint32_t *ids, uint64_t count, leat_error *error);

/* Bytes that something else owns. */
typedef struct text_slice {
    const char *bytes;
    uint64_t count;
} text_slice;

/* A growing, terminated byte string from MEM_TOKENIZER. */
typedef struct text_buffer {
    mem *ledger;
    char *bytes;
    uint64_t count, capacity;
} text_buffer;

void text_buffer_init(text_buffer *buffer, mem *ledger);
void text_buffer_reset(text_buffer *buffer);
/* Room for so many bytes more and the terminator, which is not written. */
MUST_CHECK leat_status text_buffer_reserve(text_buffer *buffer, uint64_t count, leat_error *error);
MUST_CHECK leat_status text_buffer_append(text_buffer *buffer, const char *bytes, uint64_t count, leat_error *error);

/* `vocab_count` is the model's; ids at or above it are refused (0 = not known, nothing is checked). `name` is for
 * errors. */
MUST_CHECK leat_status tokenizer_open(mem *ledger, const char *name, const char *json_text, uint64_t json_bytes,
                                      uint32_t vocab_count, tokenizer **out_tokenizer, leat_error *error);

typedef enum tokenizer_file_kind { TOKENIZER_JSON, TOKENIZER_SENTENCEPIECE, TOKENIZER_TIKTOKEN } tokenizer_file_kind;

/* Files in memory; nothing of them is kept. */
typedef struct tokenizer_files {
    tokenizer_file_kind kind;
    const char *name; /* for errors */
    const char *bytes;
    uint64_t count;
    /* tokenizer_config.json, which says what the other kinds leave open: added tokens, what is put around a text, the
     * pattern. NULL: there is none. Not looked at beside a tokenizer.json. */
    const char *config_name;
    const char *config;
    uint64_t config_count;
    uint32_t vocab_count; /* as in tokenizer_open */
} tokenizer_files;

MUST_CHECK leat_status tokenizer_open_files(mem *ledger, const tokenizer_files *files, tokenizer **out_tokenizer,
                                            leat_error *error);
void tokenizer_close(tokenizer **t);

typedef enum tokenizer_flags {
    TOKENIZER_PLAIN = 1,        /* recognise no added token: for text that must not become control tokens */
    TOKENIZER_POST_PROCESS = 2, /* add what the post-processor adds */
    TOKENIZER_CONTROLS = 4,     /* also recognise the control pieces of a SentencePiece model (<s>, </s>), which no text
                                   becomes otherwise: for what a template wrote */
} tokenizer_flags;

/* Appends to out_ids. */
MUST_CHECK leat_status tokenizer_encode(const tokenizer *t, const char *text, uint64_t text_bytes, unsigned flags,
                                        token_list *out_ids, leat_error *error);

/* Encodes many texts with the same working memory, which for a short text costs more than its encoding. The tokenizer
 * must outlive it. Threads: an encoder belongs to one at a time. */
typedef struct tokenizer_encoder tokenizer_encoder;
MUST_CHECK leat_status tokenizer_encoder_open(const tokenizer *t, tokenizer_encoder **out_encoder, leat_error *error);
void tokenizer_encoder_close(tokenizer_encoder **encoder);
/* As tokenizer_encode. */
MUST_CHECK leat_status tokenizer_encoder_run(tokenizer_encoder *encoder, const char *text, uint64_t text_bytes,
                                             unsigned flags, token_list *out_ids, leat_error *error);

/* Appends to out_text. Unknown ids decode to nothing. */
MUST_CHECK leat_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, uint64_t count, bool skip_special,
                                        text_buffer *out_text, leat_error *error);

/* The id of a token's exact text (vocabulary or added), false when there is none. */
bool tokenizer_id_of(const tokenizer *t, const char *token, uint32_t *out_id);
/* The token's own text (terminated), or NULL. `out_is_special` may be NULL. */
const char *tokenizer_token_text(const tokenizer *t, uint32_t id, bool *out_is_special);
/* Appends what the token stands for inside of a text, byte by byte: no character is repaired, no space left out. */
MUST_CHECK leat_status tokenizer_token_bytes(const tokenizer *t, uint32_t id, text_buffer *out_bytes,
                                             leat_error *error);
/* Does the post-processor put this id before every text, as the first? */
bool tokenizer_begins_with(const tokenizer *t, uint32_t id);
/* One past the largest id. */
uint32_t tokenizer_id_count(const tokenizer *t);

/* Decodes id by id; what push appends is always whole characters. */
typedef struct detokenizer detokenizer;
MUST_CHECK leat_status detokenizer_open(const tokenizer *t, bool skip_special, detokenizer **out_detokenizer,
                                        leat_error *error);
void detokenizer_close(detokenizer **d);
MUST_CHECK leat_status detokenizer_push(detokenizer *d, uint32_t id, text_buffer *out_text, leat_error *error);
/* What is left at the end. */
MUST_CHECK leat_status detokenizer_flush(detokenizer *d, text_buffer *out_text, leat_error *error);

#endif

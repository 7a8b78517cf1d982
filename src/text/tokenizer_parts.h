/*
 * tokenizer_parts.h - what a tokenizer is made of; shared by the files that load it, encode and decode. Private to this
 * room.
 *
 *     text -> raw matcher -> normalizer -> normalised matcher -> pre-tokenizer -> model -> post-processor -> ids
 *     ids -> token texts -> decode plan -> text
 */
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include "base/arena.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decode.h"
#include "text/normalize_pieces.h"
#include "text/pretokenize.h"
#include "text/unigram.h"
#include "text/vocabulary.h"
#include "text/wordpiece.h"

enum {
    TEMPLATE_IDS_MAX = 64,                /* what a post-processor puts on either side */
    ENCODE_BYTES_MAX = 256 * 1024 * 1024, /* of one text: what it grows to on the way stays below 2^32 */
};

typedef enum model_kind { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORD_LEVEL } model_kind;

struct tokenizer {
    mem *ledger;
    arena storage; /* everything small below */
    const char *name;
    vocabulary vocab;
    model_kind model;
    bpe_model bpe;
    unigram_model unigram;
    wordpiece_model wordpiece; /* of WordLevel, its unknown token */
    sentencepiece_rules rules; /* of a SentencePiece model */
    bool takes_kept;           /* its kept pieces are cut out of the text before the model sees it */

    added_token *added; /* (added_count), special tokens first */
    uint32_t added_count;
    token_matcher *raw_matcher, *normalized_matcher; /* NULL where there is no such token */
    token_matcher *control_matcher; /* control pieces beside the raw tokens; NULL where there are none */
    added_token *controls;          /* what its patterns are */
    uint32_t control_count;

    normalize_step normalize[TEXT_STEPS_MAX];
    pretokenize_step pretokenize[TEXT_STEPS_MAX];
    uint32_t normalize_count, pretokenize_count;
    regex *expressions[3 * TEXT_STEPS_MAX]; /* owned; the steps refer to them */
    uint32_t expression_count;
    charsmap character_maps[TEXT_STEPS_MAX]; /* in `storage` */
    uint32_t character_map_count;

    uint32_t prefix_ids[TEMPLATE_IDS_MAX], suffix_ids[TEMPLATE_IDS_MAX];
    uint32_t prefix_count, suffix_count;

    decode_plan decode;
};

/* Fills a zeroed tokenizer with `ledger`, `storage` and `name` set. */
MUST_CHECK leat_status tokenizer_load(tokenizer *t, const char *json_text, uint64_t json_bytes, uint32_t vocab_count,
                                      leat_error *error);

/* The same from the other kinds of files; tokenizer_open_files says which. */
MUST_CHECK leat_status tokenizer_load_sentencepiece(tokenizer *t, const tokenizer_files *files, leat_error *error);
MUST_CHECK leat_status tokenizer_load_tiktoken(tokenizer *t, const tokenizer_files *files, leat_error *error);
/* Puts the name of the file before the message of a part that does not know it. */
MUST_CHECK leat_status tokenizer_named(const tokenizer *t, leat_status status, leat_error *error);
/* Compiles a pattern for a step; the tokenizer owns it. There is room for one of each step. */
MUST_CHECK leat_status tokenizer_open_expression(tokenizer *t, text_slice pattern, regex **out_expression,
                                                 leat_error *error);
/* The last step of each: added tokens, matchers, the ids around a text. */
MUST_CHECK leat_status tokenizer_join(tokenizer *t, leat_error *error);

/* As tokenizer_encode; *out_steps is the work done: bytes that a stage went over, items of patterns that were tried
 * (where they are counted: text/regex.h), symbols, ranks and keys of merges, steps in trees. */
MUST_CHECK leat_status tokenizer_encode_counted(const tokenizer *t, const char *text, uint64_t bytes, unsigned flags,
                                                token_list *out_ids, uint64_t *out_steps, leat_error *error);

/* As tokenizer_encode with TOKENIZER_PLAIN, but the text of an added token is encoded apart from what surrounds it.
 * That is how messages are encoded where control tokens in them are to be text. */
MUST_CHECK leat_status tokenizer_encode_message(const tokenizer *t, const char *text, uint64_t bytes,
                                                token_list *out_ids, leat_error *error);

#endif

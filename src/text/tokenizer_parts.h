/*
 * tokenizer_parts.h - what a tokenizer is made of; shared by the files that load it, encode and decode. Private to this
 * room.
 *
 *     text -> raw matcher -> normalizer -> normalised matcher -> pre-tokenizer -> byte-pair encoding -> post-processor
 * -> ids ids -> token texts -> decode plan -> text
 */
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include "base/arena.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/vocabulary.h"

enum {
    TEMPLATE_IDS_MAX = 64,                /* what a post-processor puts on either side */
    ENCODE_BYTES_MAX = 256 * 1024 * 1024, /* of one text: what it grows to on the way stays below 2^32 */
};

typedef enum decode_kind {
    DECODE_SPACED,     /* no decoder in the file: texts joined by spaces */
    DECODE_BYTE_LEVEL, /* characters back to bytes */
    DECODE_METASPACE,  /* `mark` is a space */
    DECODE_CHAIN,      /* replacements, then byte tokens, then a strip of the whole */
} decode_kind;

typedef struct decode_plan {
    decode_kind kind;
    text_slice mark;
    bool drops_first_mark;
    struct {
        text_slice pattern, content;
    } replacements[TEXT_STEPS_MAX];
    uint32_t replacement_count;
    bool byte_fallback, fuse;
    text_slice strip_content; /* one character */
    uint32_t strip_start, strip_stop;
} decode_plan;

struct tokenizer {
    mem *ledger;
    arena storage; /* everything small below */
    const char *name;
    vocabulary vocab;
    bpe_model bpe;

    added_token *added; /* (added_count), special tokens first */
    uint32_t added_count;
    token_matcher *raw_matcher, *normalized_matcher; /* NULL where there is no such token */

    normalize_step normalize[TEXT_STEPS_MAX];
    pretokenize_step pretokenize[TEXT_STEPS_MAX];
    uint32_t normalize_count, pretokenize_count;
    regex *expressions[2 * TEXT_STEPS_MAX]; /* owned; the steps refer to them */
    uint32_t expression_count;

    uint32_t prefix_ids[TEMPLATE_IDS_MAX], suffix_ids[TEMPLATE_IDS_MAX];
    uint32_t prefix_count, suffix_count;

    decode_plan decode;
};

/* Fills a zeroed tokenizer with `ledger`, `storage` and `name` set. */
MUST_CHECK leat_status tokenizer_load(tokenizer *t, const char *json_text, uint64_t json_bytes, uint32_t vocab_count,
                                      leat_error *error);

/* As tokenizer_encode with TOKENIZER_PLAIN, but the text of an added token is encoded apart from what surrounds it.
 * That is how messages are encoded where control tokens in them are to be text. */
MUST_CHECK leat_status tokenizer_encode_message(const tokenizer *t, const char *text, uint64_t bytes,
                                                token_list *out_ids, leat_error *error);

#endif

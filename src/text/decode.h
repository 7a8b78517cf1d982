/*
 * decode.h - the way from tokens to text: a list of steps. Each takes the tokens of the step before and gives tokens to
 * the next; the last one's are the text. Private to this room.
 *
 * A token passes in one or more parts of whole characters. Steps for which that is enough pass parts on as they come,
 * the others wait for the end of the token; so a stream lags no more than its steps need.
 *
 * Threads: a plan is constant after loading; each flow belongs to one call at a time.
 */
#ifndef TEXT_DECODE_H
#define TEXT_DECODE_H

#include "text/normalize.h"

typedef enum decode_kind {
    DECODE_SPACED,        /* a space before every token but the first */
    DECODE_BYTE_LEVEL,    /* characters of the byte alphabet are bytes; one token comes out */
    DECODE_METASPACE,     /* `mark` is a space */
    DECODE_WORDPIECE,     /* a space before each that does not begin with `mark`, then perhaps the spacing of English */
    DECODE_BPE,           /* `mark` ends a word: a space, or nothing in the last token */
    DECODE_CTC,           /* of equal neighbours one stays; `mark` is nothing, perhaps `content` a space */
    DECODE_REPLACE,       /* every `mark` (or match of `expression`) becomes `content` */
    DECODE_BYTE_FALLBACK, /* tokens <0xHH> are bytes */
    DECODE_FUSE,          /* one token comes out */
    DECODE_STRIP,         /* up to `start` times `mark` at the beginning of a token, `stop` times at its end */
    DECODE_PIECES,        /* as SentencePiece, by the kinds of its pieces; `content` stands for what is unknown */
} decode_kind;

typedef struct decode_step {
    decode_kind kind;
    text_slice mark, content;
    regex *expression; /* or NULL; owned by the tokenizer */
    uint32_t start, stop;
    bool tidies;            /* WORDPIECE, CTC: no spaces before punctuation */
    bool added_are_raw;     /* BYTE_LEVEL: added tokens stand for their own text */
    bool drops_first;       /* METASPACE: marks of the first token. PIECES: one mark before the first text ... */
    bool drops_every_first; /* ... or all of them */
} decode_step;

typedef struct decode_plan {
    decode_step steps[TEXT_STEPS_MAX];
    uint32_t count;
} decode_plan;

/* What a step remembers. */
typedef struct decode_state {
    bool has_token;  /* a token has begun before the current one */
    bool is_within;  /* a part of the current token has come */
    bool has_text;   /* PIECES: one that spaces are not dropped from any more */
    bool run_is_bad; /* BYTE_FALLBACK: no characters can come of the run any more */
    bool run_is_out; /* BYTE_FALLBACK: characters of the run have been passed on */
    uint32_t start_left;
    uint64_t held_marks;  /* STRIP: those that the end may take */
    text_buffer gathered; /* parts of a token that is wanted whole */
    text_buffer held;     /* what may still change */
    text_buffer scratch[2];
} decode_state;

typedef struct decode_flow {
    const decode_plan *plan;
    mem *ledger;
    bool whole_runs; /* a run of byte tokens is held to its end: one invalid byte changes all of it */
    regex_scratch matches;
    decode_state states[TEXT_STEPS_MAX];
} decode_flow;

void decode_flow_init(decode_flow *flow, const decode_plan *plan, mem *ledger, bool whole_runs);
void decode_flow_reset(decode_flow *flow);
/* A token, with its flags in the vocabulary. Both append whole characters to out. */
MUST_CHECK leat_status decode_flow_push(decode_flow *flow, text_slice token, unsigned flags, text_buffer *out,
                                        leat_error *error);
/* What is left at the end; the flow is as new after it. */
MUST_CHECK leat_status decode_flow_flush(decode_flow *flow, text_buffer *out, leat_error *error);

/* Appends the bytes that a token stands for in the middle of a text. */
MUST_CHECK leat_status decode_alone(const decode_plan *plan, mem *ledger, text_slice token, unsigned flags,
                                    text_buffer *out, leat_error *error);

#endif

/*
 * continuation.h - a text that a session continues token by token until something ends it: the rules that `leat run`,
 * chats and the server share, so that the same prompt, seed and settings give the same text everywhere.
 *
 * The caller drives it, so that it can do its own things between the parts (clocks, logprobs, sending):
 *
 *     continuation_read_prompt
 *     while no reason: continuation_pick -> continuation_show -> continuation_compute
 *     continuation_finish
 *
 * Each part may set `reason`; after that only finish is called. A cancelled engine is a reason, not an error.
 *
 * Threads: the session's.
 */
#ifndef CLI_CONTINUATION_H
#define CLI_CONTINUATION_H

#include "stop_match.h"
#include "u32_list.h"

#include <leat/leat.h>

typedef enum stop_reason {
    STOP_NONE,      /* not ended, or an error did */
    STOP_END,       /* the model's end token */
    STOP_STRING,    /* a stop string */
    STOP_LENGTH,    /* max_tokens */
    STOP_CONTEXT,   /* no room for more */
    STOP_CANCELLED, /* the engine's cancel flag, or whoever drives it */
} stop_reason;

typedef struct continuation_rules {
    const leat_model_info *info;     /* its end tokens */
    const leat_tokenizer *tokenizer; /* NULL: no text, ids only */
    uint32_t max_tokens, ctx;
    bool ignore_eos;
    bool shows_control; /* control tokens are spelled out */
    bool hides_end;     /* of those not the end tokens that ignore_eos passes over */
    stop_texts stops;
} continuation_rules;

typedef struct continuation {
    continuation_rules rules;
    leat_session *session;
    leat_sampler *sampler;
    u32_list *timeline; /* the prompt, then what is generated, the end token included */
    strbuf *text;       /* grows by what may be shown; the caller may take from it */
    stop_reason reason;
    size_t generated_count;
    leat_stream *stream;
    stop_match match;
} continuation;

/* A seed for those who gave none: 32 bits are plenty to be different, and short enough to type again. */
uint64_t continuation_draw_seed(void);
/* `timeline` holds the prompt. Everything is borrowed until reset. */
MUST_CHECK leat_status continuation_init(continuation *c, const continuation_rules *rules, leat_session *session,
                                         leat_sampler *sampler, u32_list *timeline, strbuf *text, leat_error *error);
void continuation_reset(continuation *c);
/* *out_reused: tokens of the prompt that the session had. */
MUST_CHECK leat_status continuation_read_prompt(continuation *c, size_t *out_reused, leat_error *error);
/* The next token joins the timeline. logits: the session's, or a copy that was changed. LEAT_INTERNAL when they hold
 * what is no number. */
MUST_CHECK leat_status continuation_pick(continuation *c, const float *logits, uint32_t *out_id, leat_error *error);
/* The text of the token that was picked last, and whether it is the last one. */
MUST_CHECK leat_status continuation_show(continuation *c, leat_error *error);
/* The logits behind the token that was picked last. */
MUST_CHECK leat_status continuation_compute(continuation *c, leat_error *error);
/* What was held back is part of the text after all. */
MUST_CHECK leat_status continuation_finish(continuation *c, leat_error *error);

#endif

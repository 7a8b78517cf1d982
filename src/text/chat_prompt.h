/*
 * chat_prompt.h - from a rendered prompt to token ids, so that no text of a message becomes a control token.
 *
 * Control tokens are the special tokens, and those other added tokens that the template writes itself (white space
 * apart); of a SentencePiece model the control pieces, and those pieces that are taken wherever their text stands and
 * that the template writes. Where the text of one stands in data, it is cut out and encoded as plain text; everything
 * else is encoded with added tokens recognised, words of the template and of messages together. These are the ids of
 * transformers' apply_chat_template(..., sanitize_control_tokens=True). What that leaves open is closed here: a control
 * token that data and template would form together, or data alone once it is normalised, is not formed either
 * (chat_prompt.c says how). One thing is let through: a role, a known word, around which a template builds a control
 * token.
 *
 * Threads: constant after chat_controls_open; encoding may run on several threads.
 */
#ifndef TEXT_CHAT_PROMPT_H
#define TEXT_CHAT_PROMPT_H

#include "text/jinja/jinja.h"

typedef struct chat_controls chat_controls;

/* `first` and `second` (which may be NULL): the templates that count. The tokenizer is borrowed. */
MUST_CHECK leat_status chat_controls_open(mem *ledger, const tokenizer *t, const jinja_template *first,
                                          const jinja_template *second, chat_controls **out, leat_error *error);
void chat_controls_close(chat_controls **controls);
bool chat_controls_has(const chat_controls *controls, uint32_t id);

/* Appends the ids of a rendered prompt. LEAT_USAGE: the vocabulary makes a control token even from plain text. */
MUST_CHECK leat_status chat_prompt_encode(const chat_controls *controls, const jinja_output *prompt,
                                          token_list *out_ids, leat_error *error);

#endif

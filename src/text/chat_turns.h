/*
 * chat_turns.h - renders a conversation into the turn format of a model family and into token ids.
 *
 * The families known here: Gemma 4 (control tokens <bos> <|turn> <turn|>, and <|channel> <channel|> where the
 * checkpoint's own template puts an empty thought before an answer), ChatML (<|im_start|> <|im_end|>) and Llama 3
 * headers; recognised by the control tokens that the tokenizer has. Message text is encoded with no added token
 * recognised, so it can never forge a control token.
 */
#ifndef TEXT_CHAT_TURNS_H
#define TEXT_CHAT_TURNS_H

#include "text/tokenizer.h"

typedef struct chat_message {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* UTF-8, terminated */
} chat_message;

typedef enum chat_format { CHAT_FORMAT_NONE, CHAT_FORMAT_GEMMA4, CHAT_FORMAT_CHATML, CHAT_FORMAT_LLAMA3 } chat_format;

chat_format chat_format_detect(const tokenizer *t);
const char *chat_format_label(chat_format format);

typedef struct chat_render_options {
    bool add_generation_prompt; /* open the model's turn at the end */
    bool empty_thought; /* Gemma 4: the generation prompt carries an empty thought channel (large models' template) */
} chat_render_options;

/* Appends the ids of the conversation to out_ids and the text that a person would see (control tokens spelled out) to
 * out_text (may be NULL). Exactly one BOS where the family has one. LEAT_USAGE: an unknown role, or a format that the
 * tokenizer does not carry. */
MUST_CHECK leat_status chat_render(const tokenizer *t, chat_format format, const chat_message *messages, uint32_t count,
                                   const chat_render_options *options, token_list *out_ids, text_buffer *out_text,
                                   leat_error *error);

#endif

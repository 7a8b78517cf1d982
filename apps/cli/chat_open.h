/*
 * chat_open.h - how this program talks to a model: the chat template that the options ask for (--template, else the
 * model's), the tools of --tools, and whether the model is to think.
 */
#ifndef CLI_CHAT_OPEN_H
#define CLI_CHAT_OPEN_H

#include "answer_reader.h"
#include "conversation.h"

/* The template alone. LEAT_USAGE when there is none. */
MUST_CHECK leat_status chat_open_template(const cli *c, const leat_tokenizer *tokenizer, leat_chat **out_chat,
                                          leat_error *error);

typedef struct chat_frame {
    const cli *c;
    leat_chat *chat;
    strbuf tools; /* a JSON array; "": none */
} chat_frame;

/* LEAT_USAGE when there is no template, with *out_is_missing set, or when --tools is no list. Borrows the tokenizer. A
 * failed frame is closed, too. */
MUST_CHECK leat_status chat_frame_open(const cli *c, const leat_tokenizer *tokenizer, chat_frame *frame,
                                       bool *out_is_missing, leat_error *error);
void chat_frame_close(chat_frame *frame);
/* Whether the template knows of thoughts at all. */
bool chat_frame_can_think(const chat_frame *frame);
/* The conversation as the model sees it. out_shown: as text; out_source: how its answer is read; both may be NULL. */
MUST_CHECK leat_status chat_frame_render(const chat_frame *frame, const conversation *talk, leat_tokens *out_ids,
                                         leat_text *out_shown, answer_source *out_source, leat_error *error);

#endif

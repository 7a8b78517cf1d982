/* chat_open.h - the chat template that the options ask for: --template, else the model's. */
#ifndef CLI_CHAT_OPEN_H
#define CLI_CHAT_OPEN_H

#include "cli.h"

/* LEAT_USAGE when there is none. */
MUST_CHECK leat_status chat_open_template(const cli *c, const leat_tokenizer *tokenizer, leat_chat **out_chat,
                                          leat_error *error);

#endif

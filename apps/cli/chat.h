/* chat.h - the state of `leat chat`, shared by the conversation (cmd_chat.c) and its commands (chat_commands.c). */
#ifndef CLI_CHAT_H
#define CLI_CHAT_H

#include "cli.h"
#include "conversation.h"
#include "engine_setup.h"
#include "generate.h"

typedef struct chat {
    cli *c;
    bool is_interactive;
    bool is_over; /* /exit */
    engine_setup setup;
    leat_chat *format; /* the template */
    leat_sampler *sampler;
    leat_sampler_options sampling;
    conversation talk;
    u32_list timeline; /* the ids of the turn at work */
    generation last;   /* the last answer */
    leat_stats before; /* when it began */
} chat;

/* cmd_chat.c */
/* A line to the user: on the terminal, or on standard error when the answers go elsewhere. */
void chat_say(chat *t, const char *format, ...) PRINTF_LIKE(2, 3);
/* Opens the sampler anew, with the options as they are now. */
MUST_CHECK leat_status chat_open_sampler(chat *t, leat_error *error);
/* Tokens of the conversation so far. */
MUST_CHECK leat_status chat_count_tokens(chat *t, size_t *out_count, leat_error *error);
/* Asks a question, or has the last one answered (again). */
MUST_CHECK leat_status chat_ask(chat *t, const char *question, leat_error *error);
MUST_CHECK leat_status chat_answer(chat *t, leat_error *error);

/* chat_commands.c */
/* "/help", ...; ends with NULL. */
extern const char *const chat_command_names[];
/* A line that begins with one slash. An unknown command is only said to be so. */
MUST_CHECK leat_status chat_command(chat *t, const char *line, leat_error *error);

#endif

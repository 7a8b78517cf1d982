/* chat.h - the state of `leat chat`, shared by the conversation (cmd_chat.c) and its commands (chat_commands.c). */
#ifndef CLI_CHAT_H
#define CLI_CHAT_H

#include "chat_open.h"
#include "completion.h"
#include "conversation_file.h"
#include "engine_setup.h"
#include "generate.h"

typedef struct chat {
    cli *c;
    bool is_interactive;
    bool is_over; /* /exit */
    engine_setup setup;
    chat_frame frame;
    leat_sampler_options sampling; /* of the next answer */
    conversation talk;
    u32_list timeline;    /* the ids of the turn at work */
    answer_source source; /* how the last answer was read */
    generation last;      /* the last answer */
    leat_stats before;    /* when it began */
    uint64_t stopped_ns;  /* when Ctrl-C stopped an answer; 0: never */
} chat;

/* cmd_chat.c */
/* A line to the user: on the terminal, or on standard error when the answers go elsewhere. */
void chat_say(chat *t, const char *format, ...) PRINTF_LIKE(2, 3);
/* Takes over the options of the answers as they are now. Each answer has a seed of its own, one more than the last; the
 * next one's stays, unless renews_seed is set. */
void chat_take_options(chat *t, bool renews_seed);
/* Tokens of the conversation so far. */
MUST_CHECK leat_status chat_count_tokens(chat *t, size_t *out_count, leat_error *error);
/* Asks a question; one that gets no answer is not kept. */
MUST_CHECK leat_status chat_ask(chat *t, const char *question, leat_error *error);
/* Has the last question answered. *out_is_answered: false where it cannot be asked, which is then said, or where the
 * answer was stopped before anything came. */
MUST_CHECK leat_status chat_answer(chat *t, bool *out_is_answered, leat_error *error);

/* chat_commands.c */
/* Every command with its arguments, and what it does. */
typedef void chat_command_fn(void *user, const char *head, const char *help);
void chat_list_commands(chat_command_fn *fn, void *user);
/* Tab: commands, the settings of /set, and files where a command wants one. A line_editor_hooks.complete. */
MUST_CHECK leat_status chat_complete(void *chat, const char *line, completion *out, leat_error *error);
/* A line that begins with one slash. An unknown command is only said to be so. */
MUST_CHECK leat_status chat_command(chat *t, const char *line, leat_error *error);

/* An option of the answers, which /set may change; NULL when there is none of that name. */
const option_spec *chat_find_setting(const char *name);

/* chat_keep.c: conversations in files. LEAT_USAGE and others when it cannot be done; nothing is changed then. */
MUST_CHECK leat_status chat_save(chat *t, const char *path, bool force, leat_error *error);
/* is_opening: options of the command line come before those of the file. */
MUST_CHECK leat_status chat_load(chat *t, const char *path, bool is_opening, leat_error *error);

#endif

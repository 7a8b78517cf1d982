/* conversation.h - the messages of a chat, each a copy of its own. */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include "base/mem.h"

#include <leat/leat.h>

typedef struct conversation {
    mem *ledger;
    char *system;        /* NULL: none */
    leat_message *items; /* [0] is kept for the system's message; user and assistant from [1] on */
    size_t count;        /* of user's and assistant's */
    size_t capacity;
} conversation;

void conversation_reset(conversation *v);
MUST_CHECK leat_status conversation_set_system(conversation *v, const char *text, leat_error *error);
MUST_CHECK leat_status conversation_add(conversation *v, const char *role, const char *text, leat_error *error);
/* Drops the last message; false when there is none. */
bool conversation_drop_last(conversation *v);
/* The last message's role, "" when there is none. */
const char *conversation_last_role(const conversation *v);
/* Drops all messages but the system's. */
void conversation_clear(conversation *v);
/* What the model is to see: the messages with the system's, if any, in front. Valid until the next change. */
const leat_message *conversation_messages(conversation *v, size_t *out_count);

#endif

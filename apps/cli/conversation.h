/* conversation.h - the messages of a chat, each a copy of its own. */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include "json_writer.h"

typedef struct chat_message {
    const char *role; /* static */
    char *content;
} chat_message;

typedef struct conversation {
    mem *ledger;
    char *system;        /* NULL: none */
    chat_message *items; /* (count) of user and assistant */
    size_t count, capacity;
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
/* What the model is to see, as the JSON request that leat_chat_render takes: the messages with the system's, if any, in
 * front. Replaces *out_request. */
MUST_CHECK leat_status conversation_request(const conversation *v, strbuf *out_request, leat_error *error);

#endif

/*
 * conversation.h - the messages of a chat, each a copy of its own: what was said, and apart from it what the model
 * thought before and which tools it called, so that the template can put each where its family has it.
 *
 * Threads: one at a time.
 */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include "json_writer.h"

#include <stdbool.h>

typedef struct chat_message {
    const char *role; /* static: "user", "assistant" or "tool" */
    strbuf content;
    strbuf reasoning; /* assistant: "" is none */
    strbuf calls;     /* assistant: JSON objects with commas between them, as "tool_calls" lists them; "" is none */
} chat_message;

typedef struct conversation {
    mem *ledger;
    strbuf system;       /* "" is none */
    chat_message *items; /* (count) */
    size_t count, capacity;
} conversation;

/* What stands in a request beside the messages. */
typedef struct conversation_rules {
    const char *tools, *kwargs; /* JSON; "" leaves them out */
    bool is_exclusive;          /* a message with calls may have text or reasoning, not both: text it is */
} conversation_rules;

void conversation_init(conversation *v, mem *ledger);
void conversation_reset(conversation *v);
/* NULL is none. */
MUST_CHECK leat_status conversation_set_system(conversation *v, const char *text, leat_error *error);
MUST_CHECK leat_status conversation_add(conversation *v, const char *role, const char *text, size_t bytes,
                                        leat_error *error);
/* What the model said; the three are copied. */
MUST_CHECK leat_status conversation_add_answer(conversation *v, const strbuf *content, const strbuf *reasoning,
                                               const strbuf *calls, leat_error *error);
/* Drops the last message; false when there is none. */
bool conversation_drop_last(conversation *v);
/* Drops the last answer, so that the message before it can be answered again; false when it is not the last message. */
bool conversation_drop_answer(conversation *v);
/* Takes the last answer off without dropping it: *out is the caller's, for conversation_put_back or chat_message_reset.
 * false: as above. */
bool conversation_take_answer(conversation *v, chat_message *out);
/* Puts back what was taken, where nothing was added meanwhile that is still there. */
void conversation_put_back(conversation *v, const chat_message *m);
void chat_message_reset(chat_message *m);
/* Drops all messages but the system's. */
void conversation_clear(conversation *v);
/* The elements of the open array: all messages but the system's. */
void conversation_write(const conversation *v, json_writer *w);
/* What the model is to see, as the JSON request that leat_chat_render takes: the messages with the system's, if any, in
 * front. Replaces *out_request. */
MUST_CHECK leat_status conversation_request(const conversation *v, const conversation_rules *rules, strbuf *out_request,
                                            leat_error *error);

#endif

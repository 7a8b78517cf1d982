/*
 * chat_messages.h - the messages of a chat request: checked, and brought into the form that chat templates are written
 * for.
 *
 * Templates expect what the transformers library gives them, clients send what OpenAI's library sends. In place:
 * text parts become one string, joined by newlines; a call's arguments, given as JSON text, become an object; members
 * that are null (but for content) go, since templates ask whether they are there; `reasoning` is also said as
 * `reasoning_content`; an assistant's refusal is content where there is no other, and a thought alone has an empty one;
 * a developer is the system to a template that does not know him.
 */
#ifndef SERVER_CHAT_MESSAGES_H
#define SERVER_CHAT_MESSAGES_H

#include "server/json_value.h"

enum { CHAT_MESSAGES_MAX = 4096, CHAT_PARTS_MAX = 4096, CHAT_CALLS_MAX = 128 };

/* The member `messages` of the body; its elements are changed. knows_developer: the template has that role. */
bool chat_messages_prepare(mem *ledger, const json_view *body, bool knows_developer, json_view *out_messages,
                           api_error *error);

#endif

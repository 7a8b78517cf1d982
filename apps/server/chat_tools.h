/* chat_tools.h - the tools of a chat request and what it says about their use: checked. Texts point into the document.
 */
#ifndef SERVER_CHAT_TOOLS_H
#define SERVER_CHAT_TOOLS_H

#include "server/json_value.h"

enum { CHAT_TOOLS_MAX = 128, CHAT_TOOL_NAME_BYTES_MAX = 64 };

typedef enum tool_choice {
    TOOL_CHOICE_AUTO,     /* the model decides */
    TOOL_CHOICE_NONE,     /* the model is not told of any tool */
    TOOL_CHOICE_REQUIRED, /* the answer begins with a call */
    TOOL_CHOICE_NAMED     /* of that tool */
} tool_choice;

typedef struct chat_tools {
    json_t *list; /* NULL: there are none */
    tool_choice choice;
    const char *name;    /* NAMED, and REQUIRED where there is one tool; else NULL: any */
    bool allows_several; /* calls in one answer */
} chat_tools;

bool chat_tools_read(const json_view *body, chat_tools *out, api_error *error);

#endif

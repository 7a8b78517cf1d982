/* reply_world.h - replies without sockets and without an engine: what would be sent is kept as text, and the test says
 * what the engine would. The model and its tokenizer are the bundled ones. */
#ifndef TESTS_REPLY_WORLD_H
#define TESTS_REPLY_WORLD_H

#include "server/chat_reply.h"
#include "server/completion_reply.h"

typedef struct reply_world {
    mem *ledger;
    api owner;
    leat_model *model;
    leat_tokenizer *tokenizer;
    strbuf sent;    /* "200 application/json\n", then the body; of streams what was written */
    strbuf headers; /* "NAME: VALUE\n" */
    bool is_gone;   /* the client */
    bool has_ended, is_aborted;
    int keeps; /* references to the exchange that are held */
    job_admission admission;
    uint32_t retry_after_s;
} reply_world;

extern reply_world world;
int world_open(void **state);
int world_close(void **state);

/* A reply to the request, submitted; its id, time and fingerprint are fixed. NULL when it was refused. */
chat_reply *world_chat(const char *body);
completion_reply *world_completion(const char *body);
/* One token of a choice that shows `text`. */
bool world_token(const job_sink *sink, void *user, uint32_t choice, const char *text);
/* The end of a choice, and of the job. */
bool world_choice_end(const job_sink *sink, void *user, uint32_t choice, job_end end, const char *rest);
void world_end(const job_sink *sink, void *user, job_end end, leat_status status);

#endif

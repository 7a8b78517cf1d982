/*
 * reply.h - the answer to a request that a job makes: what chats and completions share.
 *
 * A reply is the job's user. It begins when the job has been admitted: a stream's headers go out at once then, a whole
 * reply waits for the job's end. Its kind (chat_reply.c, completion_reply.c) begins with a `reply` and adds choices to
 * it, as chunks of the stream or to the text of the whole.
 *
 * Ownership: two references, the handler's until reply_submit returns and the job's until on_end. on_end finishes the
 * exchange, after which no hook of it is called any more.
 *
 * Threads: chunks and choices are written by the thread that calls the sink. What the keep-alive comment says is
 * atomic.
 */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "server/api.h"

#include <stdatomic.h>

enum { REPLY_ID_BYTES = 48 };

typedef struct reply reply;

typedef struct reply_kind {
    const char *id_prefix; /* "chatcmpl-" */
    const char *object, *chunk_object;
    void (*begin_stream)(reply *r); /* the first chunk of a stream; may be NULL */
    void (*free)(reply *r);         /* what the kind owns, and the reply itself */
} reply_kind;

struct reply {
    api *owner;
    const reply_kind *kind;
    http_exchange *x;
    job *work;
    atomic_uint references;
    pthread_mutex_t lock; /* guards is_begun */
    bool is_begun;
    bool streams, include_usage, timings_per_token, return_progress;
    uint32_t ping_seconds;
    char id[REPLY_ID_BYTES];
    int64_t created;
    char fingerprint[40];
    strbuf line;        /* the chunk that is being written */
    strbuf choices;     /* of a whole reply: its choices, each a JSON object, with commas */
    leat_error failure; /* the first: no memory, or a choice that could not be read */
    uint32_t generated_count, reasoning_count;
    uint64_t begin_ns, prefill_begin_ns; /* the engine has taken it up (its thread's) */
    atomic_uint prefill_done, prefill_total;
    json_writer w; /* of the chunk */
};

/* `r` is zeroed and belongs to the kind. */
MUST_CHECK leat_status reply_open(reply *r, api *owner, const reply_kind *kind, http_exchange *x,
                                  const generation_request *request, leat_error *error);
/* Opens the job and submits it, or fails the exchange. Takes the handler's reference, and the prompts if it can: those
 * that are left are the caller's to free. */
void reply_submit(reply *r, const job_settings *settings, leat_tokens *prompts, uint32_t prompt_count,
                  const job_sink *sink);
/* A random id: the prefix and 24 letters and digits. */
void reply_make_id(const char *prefix, char *out, size_t size);

/* What sinks begin with, whichever comes first. */
void reply_begin(reply *r);
/* A chunk of the stream with its members up to the open array "choices"; reply_end_chunk closes what is open and sends
 * it. False: the client has gone. */
json_writer *reply_begin_chunk(reply *r);
bool reply_end_chunk(reply *r);
/* Between the choices of a whole reply: a writer of the next one, an object without a key. */
json_writer *reply_begin_choice(reply *r);
void reply_end_choice(reply *r);
/* Sinks: on_begin, on_prefill, on_end as they are. */
bool reply_on_begin(void *user);
bool reply_on_prefill(void *user, uint32_t done, uint32_t total);
void reply_on_end(void *user, const job_result *result, const leat_error *error);
/* What the reply could not do: the first failure is kept, logged and told to the job, and is what the client hears in
 * the end. `error` may be NULL. LEAT_CANCELLED, of a client that has gone, is no failure. True: status is LEAT_OK. */
bool reply_note(reply *r, leat_status status, const leat_error *error);
static inline bool reply_is_whole(const reply *r) { return r->failure.status == LEAT_OK; }
/* Counts a token that was made. */
void reply_count_token(reply *r);

/* The token's text and its bytes, for lists of logprobs. */
void reply_write_token(json_writer *w, const char *piece, size_t bytes);

#endif

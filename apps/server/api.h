/*
 * api.h - what the routes of the API share: the worker with its model, how the model converses, the names it goes by.
 *
 * Routes get it as `user`, that is http_settings.user points to an api, or to a struct that begins with one. Parsing,
 * rendering and tokenizing are done by the handlers, on the threads for requests with a body, before a reply begins;
 * the engine's thread then only formats (chat_reply.h, completion_reply.h).
 *
 * Threads: open and close from one, while no server runs; all else from any.
 */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "server/engine_worker.h"
#include "server/generation_request.h"
#include "server/http.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct api_settings {
    mem *ledger;
    const mem *connections; /* the HTTP server's, for its metric; NULL: none */
    const char *model_path; /* as the user wrote it */
    /* Names that requests may use; the first is the one that replies use. None: the model's folder's. */
    const char *const *aliases;
    uint32_t alias_count;
    const char *template_text; /* instead of the model's; NULL: the model's */
    size_t template_bytes;
    uint64_t request_timeout_ns; /* 0: none */
} api_settings;

enum { API_NAME_BYTES = 192 };

typedef struct api {
    api_settings settings;
    engine_worker *worker;
    metrics *counts;
    atomic_bool is_stopping;   /* said by api_set_stopping */
    char name[API_NAME_BYTES]; /* of the model, as clients are told it; never a path */
    int64_t created;           /* of the model's configuration, in seconds; 0: unknown */
    pthread_mutex_t lock;      /* guards the opening of `chat` */
    bool has_tried_chat;
    leat_chat *chat;
    leat_error chat_error;
} api;

/* What a model without an alias is called: ORG/REPO stays, of a path the folder's own name is left. */
void api_name_of(const char *model_path, char out_name[API_NAME_BYTES]);

/* The texts in `settings` are borrowed as long as the api is open. */
MUST_CHECK leat_status api_open(api *a, const api_settings *settings, leat_error *error);
void api_close(api *a);
/* Before requests come; both outlive the api. */
void api_set_worker(api *a, engine_worker *worker, metrics *counts);

/* When the worker is ready: compiles the template, so that no request has to wait for that. One of the model's that
 * cannot be used is warned of; one that was given in its place is an error. */
MUST_CHECK leat_status api_prepare(api *a, leat_error *error);
/* No new requests are taken: /health says so, while those that run go on. */
void api_set_stopping(api *a);

/* What requests come to: http_settings.routes. */
extern const http_route api_routes[];
extern const uint32_t api_route_count;

/* False when there is no model to ask, yet or any more: the exchange has its 503 then. */
bool api_is_ready(api *a, http_exchange *x);
request_limits api_limits(const api *a);
/* False with 404 for a name that is not this model's; NULL is. */
bool api_knows_model(const api *a, const char *name, api_error *error);
/* False with 400 for a prompt that leaves no room for an answer. */
bool api_fits(const api *a, size_t prompt_count, const char *param, api_error *error);
/* Why a text did not become tokens. An engine keeps room for encoding what fits its context: a text for which that is
 * not enough, and which is not short, is told to be too long. */
bool api_fail_encoding(const api *a, const leat_error *failure, size_t text_bytes, const char *param, api_error *error);
/* How the model converses; opened when it is first asked for. NULL with the reason: it cannot. */
const leat_chat *api_chat(api *a, api_error *error);
bool api_chat_knows_developer(const leat_chat *chat);

/* Replies. */
void api_reply_error(api *a, http_exchange *x, const api_error *error);
/* The text is a JSON document, or NULL where memory ran out while it was written. */
void api_reply_json(api *a, http_exchange *x, const json_writer *w, const strbuf *text);

#endif

/* route_chat.c - POST /v1/chat/completions: everything that can be wrong with a request is found here, before a byte of
 * the reply is sent. */
#include "server/api_routes.h"
#include "server/chat_reply.h"

#include <stdlib.h>
#include <string.h>

/* A request on its way to a reply. */
typedef struct chat_work {
    api *owner;
    const leat_chat *chat;
    const char *format;
    chat_request request;
    leat_tokens tokens;
    leat_text prompt, opening;
} chat_work;

static void drop_work(chat_work *work)
{
    chat_request_reset(&work->request);
    leat_tokens_free(&work->tokens);
    leat_text_free(&work->prompt);
    leat_text_free(&work->opening);
}

static bool render(chat_work *work, api_error *error)
{
    leat_error failure = {0};
    const strbuf *conversation = &work->request.conversation;
    if (leat_chat_render(work->chat, strbuf_text(conversation), conversation->count, &work->tokens, &work->prompt,
                         &failure) == LEAT_OK)
        return true;
    if (failure.status == LEAT_USAGE) return api_fail(error, API_TEMPLATE, "messages", "%s", failure.text);
    return api_fail_encoding(work->owner, &failure, conversation->count, "messages", error);
}

static bool append_tokens(leat_tokens *tokens, const leat_tokens *more, api_error *error)
{
    uint32_t *ids = realloc(tokens->ids, (tokens->count + more->count) * sizeof *ids);
    if (!ids) return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
    memcpy(ids + tokens->count, more->ids, more->count * sizeof *ids);
    tokens->ids = ids;
    tokens->count += more->count;
    return true;
}

static bool append_text(leat_text *text, const leat_text *more, api_error *error)
{
    char *bytes = realloc(text->bytes, text->count + more->count + 1);
    if (!bytes) return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
    memcpy(bytes + text->count, more->bytes, more->count + 1);
    text->bytes = bytes;
    text->count += more->count;
    return true;
}

/* Text of the template's own, behind the prompt's tokens. */
static bool append_markup(chat_work *work, const leat_text *markup, api_error *error)
{
    leat_error failure = {0};
    leat_tokens ids = {0};
    if (markup->count == 0) return true;
    if (leat_tokenize(engine_worker_tokenizer(work->owner->worker), markup->bytes, markup->count, true, false, &ids,
                      &failure) != LEAT_OK)
        return api_fail_status(error, &failure, "tool_choice");
    bool is_good = append_tokens(&work->tokens, &ids, error);
    leat_tokens_free(&ids);
    return is_good;
}

/* A thought that the template has begun is ended, so that the call is not a part of it. */
static bool close_thought(chat_work *work, api_error *error)
{
    leat_error failure = {0};
    leat_text close = {0};
    if (leat_answer_thought_close(work->format, work->prompt.bytes, work->prompt.count, &close, &failure) != LEAT_OK)
        return api_fail_status(error, &failure, "tool_choice");
    bool is_good = append_markup(work, &close, error) && append_text(&work->prompt, &close, error);
    leat_text_free(&close);
    return is_good;
}

/* A call that is demanded is begun in the model's place. */
static bool open_call(chat_work *work, api_error *error)
{
    leat_error failure = {0};
    const chat_tools *tools = &work->request.tools;
    if (tools->choice < TOOL_CHOICE_REQUIRED) return true;
    if (leat_answer_call_prefix(work->format, tools->name, &work->opening, &failure) != LEAT_OK)
        return failure.status == LEAT_USAGE
                   ? api_fail(error, API_UNSUPPORTED_PARAMETER, "tool_choice",
                              "'tool_choice' cannot demand a call of this model: its form of calls is not known.")
                   : api_fail_status(error, &failure, "tool_choice");
    return close_thought(work, error) && append_markup(work, &work->opening, error);
}

static bool prepare(chat_work *work, http_exchange *x, api_error *error)
{
    size_t bytes = 0;
    const char *body = http_body(x, &bytes);
    request_limits limits = api_limits(work->owner);
    work->chat = api_chat(work->owner, error);
    if (!work->chat) return false;
    work->format = leat_chat_get_info(work->chat).answer_format;
    return chat_request_open(work->owner->settings.ledger, body, bytes, &limits, api_chat_knows_developer(work->chat),
                             &work->request, error) &&
           api_knows_model(work->owner, work->request.generation.model, error) && render(work, error) &&
           open_call(work, error) && api_fits(work->owner, work->tokens.count, "messages", error);
}

void route_chat_completions(http_exchange *x, void *user)
{
    api_error error;
    leat_error failure = {0};
    chat_reply *made = NULL;
    chat_work work = {.owner = user};
    if (!api_is_ready(user, x)) return;
    if (!prepare(&work, x, &error)) {
        drop_work(&work);
        api_reply_error(user, x, &error);
        return;
    }
    job_settings settings = generation_request_settings(&work.request.generation);
    settings.logprobs = work.request.logprobs;
    settings.top_logprobs = work.request.top_logprobs;
    if (chat_reply_open(user, x, work.format, &work.request, &work.prompt, &work.opening, &made, &failure) != LEAT_OK) {
        api_fail_status(&error, &failure, NULL);
        api_reply_error(user, x, &error);
    } else {
        /* The settings point into the request, which has moved into the reply. */
        settings.stops = (char *const *)made->request.generation.stops;
        reply_submit(&made->base, &settings, &work.tokens, 1, &chat_reply_sink);
    }
    drop_work(&work);
}

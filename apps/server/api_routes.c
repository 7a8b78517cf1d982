/* api_routes.c - which path leads where. What other servers have and this one does not is named too, so that a client
 * hears 501 with a sentence instead of 404. */
#include "server/api_routes.h"

#include <string.h>

const http_route api_routes[] = {
    {"POST", "/v1/chat/completions", route_chat_completions, 0},
    {"POST", "/chat/completions", route_chat_completions, 0},
    {"POST", "/v1/completions", route_completions, 0},
    {"GET", "/v1/models", route_models, HTTP_NO_BODY},
    {"GET", "/models", route_models, HTTP_NO_BODY},
    {"GET", "/v1/models/*", route_model, HTTP_NO_BODY},
    {"GET", "/props", route_props, HTTP_NO_BODY},
    {"GET", "/tokenizer_info", route_tokenizer_info, HTTP_NO_BODY},
    {"GET", "/slots", route_slots, HTTP_NO_BODY},
    {"GET", "/metrics", route_metrics, HTTP_NO_BODY},
    {"GET", "/health", route_health, HTTP_NO_BODY | HTTP_WITHOUT_KEY},
    {"GET", "/v1/health", route_health, HTTP_NO_BODY | HTTP_WITHOUT_KEY},
    {"GET", "/livez", route_live, HTTP_NO_BODY | HTTP_WITHOUT_KEY},
    {"GET", "/version", route_version, HTTP_NO_BODY},
    {"POST", "/tokenize", route_tokenize, 0},
    {"POST", "/detokenize", route_detokenize, 0},
    {"POST", "/apply-template", route_apply_template, 0},
    {"POST", "/props", route_unsupported, 0},
    {"POST", "/slots/*", route_unsupported, 0},
    {"POST", "/completion", route_unsupported, 0},
    {"POST", "/completions", route_unsupported, 0},
    {"POST", "/infill", route_unsupported, 0},
    {"POST", "/embedding", route_unsupported, 0},
    {"POST", "/embeddings", route_unsupported, 0},
    {"POST", "/v1/embeddings", route_unsupported, 0},
    {"POST", "/rerank", route_unsupported, 0},
    {"POST", "/reranking", route_unsupported, 0},
    {"POST", "/v1/rerank", route_unsupported, 0},
    {"GET", "/lora-adapters", route_unsupported, HTTP_NO_BODY},
    {"POST", "/lora-adapters", route_unsupported, 0},
    {"POST", "/responses", route_unsupported, 0},
    {"POST", "/v1/responses", route_unsupported, 0},
    {"POST", "/v1/responses/*", route_unsupported, 0},
    {"POST", "/v1/messages", route_unsupported, 0},
    {"POST", "/v1/messages/*", route_unsupported, 0},
    {"POST", "/v1/audio/*", route_unsupported, HTTP_ANY_TYPE},
    {"POST", "/v1/images/*", route_unsupported, HTTP_ANY_TYPE},
    {"POST", "/v1/moderations", route_unsupported, 0},
};
const uint32_t api_route_count = sizeof api_routes / sizeof api_routes[0];

/* What to do instead: the error is often all that the user of a client sees. */
static const char *advice_for(const char *path)
{
    static const struct {
        const char *prefix, *text;
    } advices[] = {
        {"/v1/responses", " Set the client to chat completions: POST /v1/chat/completions is here."},
        {"/responses", " Set the client to chat completions: POST /v1/chat/completions is here."},
        {"/v1/messages", " Use a client of OpenAI's API: POST /v1/chat/completions is here."},
        {"/completion", " POST /v1/completions is here: a client's base URL ends in /v1."},
        {"/v1/embeddings", " Its model writes text and makes no embeddings."},
        {"/embedding", " Its model writes text and makes no embeddings."},
    };
    for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++)
        if (strncmp(path, advices[i].prefix, strlen(advices[i].prefix)) == 0) return advices[i].text;
    return "";
}

void route_unsupported(http_exchange *x, void *user)
{
    api_error error;
    api_fail(&error, API_NOT_SUPPORTED, NULL, "This server does not have %s %.100s.%s", http_method(x), http_path(x),
             advice_for(http_path(x)));
    api_reply_error(user, x, &error);
}

/* route_completions.c - POST /v1/completions: as route_chat.c, for prompts without a template. */
#include "server/api_routes.h"
#include "server/completion_reply.h"

#include <stdlib.h>
#include <string.h>

typedef struct completion_work {
    api *owner;
    completion_request request;
    leat_tokens prompts[COMPLETION_PROMPTS_MAX];
} completion_work;

static void drop_work(completion_work *work)
{
    for (uint32_t i = 0; i < COMPLETION_PROMPTS_MAX; i++) leat_tokens_free(&work->prompts[i]);
    completion_request_reset(&work->request);
}

static bool copy_ids(const completion_prompt *prompt, leat_tokens *out, api_error *error)
{
    out->ids = malloc(prompt->id_count * sizeof *out->ids);
    if (!out->ids) return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
    memcpy(out->ids, prompt->ids, prompt->id_count * sizeof *out->ids);
    out->count = prompt->id_count;
    return true;
}

static bool tokenize_prompt(completion_work *work, uint32_t idx, api_error *error)
{
    leat_error failure = {0};
    const completion_prompt *prompt = &work->request.prompts[idx];
    const leat_tokenizer *tokenizer = engine_worker_tokenizer(work->owner->worker);
    if (!prompt->text) return copy_ids(prompt, &work->prompts[idx], error);
    if (!tokenizer) return api_fail(error, API_NOT_SUPPORTED, "prompt", "This model has no tokenizer: send token ids.");
    if (leat_tokenize_prompt(tokenizer, prompt->text, prompt->text_bytes, &work->prompts[idx], &failure) != LEAT_OK)
        return api_fail_encoding(work->owner, &failure, prompt->text_bytes, "prompt", error);
    return work->prompts[idx].count > 0 ||
           api_fail(error, API_OUT_OF_RANGE, "prompt", "'prompt' is empty, and this model has no token to begin with.");
}

/* Replies to ids alone: what asks for texts of tokens needs a tokenizer. */
static bool check_texts(const completion_work *work, api_error *error)
{
    const completion_request *request = &work->request;
    if (engine_worker_tokenizer(work->owner->worker)) return true;
    const char *field = request->logprobs                    ? "logprobs"
                        : request->echo                      ? "echo"
                        : request->generation.stop_count > 0 ? "stop"
                                                             : NULL;
    return !field || api_fail(error, API_NOT_SUPPORTED, field,
                              "'%s' needs the texts of tokens: this model has no tokenizer.", field);
}

static bool prepare(completion_work *work, http_exchange *x, api_error *error)
{
    size_t bytes = 0;
    const char *body = http_body(x, &bytes);
    request_limits limits = api_limits(work->owner);
    if (!completion_request_open(work->owner->settings.ledger, body, bytes, &limits, &work->request, error) ||
        !api_knows_model(work->owner, work->request.generation.model, error) || !check_texts(work, error))
        return false;
    for (uint32_t i = 0; i < work->request.prompt_count; i++)
        if (!tokenize_prompt(work, i, error) || !api_fits(work->owner, work->prompts[i].count, "prompt", error))
            return false;
    return true;
}

void route_completions(http_exchange *x, void *user)
{
    api_error error;
    leat_error failure = {0};
    completion_reply *made = NULL;
    completion_work work = {.owner = user};
    if (!api_is_ready(user, x)) return;
    if (!prepare(&work, x, &error)) {
        drop_work(&work);
        api_reply_error(user, x, &error);
        return;
    }
    uint32_t prompt_count = work.request.prompt_count;
    job_settings settings = generation_request_settings(&work.request.generation);
    settings.hides_control = true;
    settings.logprobs = settings.tells_end = work.request.logprobs;
    settings.top_logprobs = work.request.top_logprobs;
    settings.echo_logprobs = work.request.echo && work.request.logprobs;
    if (completion_reply_open(user, x, &work.request, &made, &failure) != LEAT_OK) {
        api_fail_status(&error, &failure, NULL);
        api_reply_error(user, x, &error);
    } else {
        /* The settings point into the request, which has moved into the reply. */
        settings.stops = (char *const *)made->request.generation.stops;
        reply_submit(&made->base, &settings, work.prompts, prompt_count, &completion_reply_sink);
    }
    drop_work(&work);
}

#include "server/api.h"

#include "base/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void api_name_of(const char *path, char out_name[API_NAME_BYTES])
{
    char real[PATH_MAX];
    struct stat info;
    if (!realpath(path, real) || stat(real, &info) != 0) {
        snprintf(out_name, API_NAME_BYTES, "%s", path);
        return;
    }
    char *last = strrchr(real, '/');
    if (!S_ISDIR(info.st_mode) && last != real) {
        *last = '\0';
        last = strrchr(real, '/');
    }
    snprintf(out_name, API_NAME_BYTES, "%.*s", API_NAME_BYTES - 1, last[1] != '\0' ? last + 1 : "model");
}

static int64_t time_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_mtim.tv_sec : 0;
}

leat_status api_open(api *a, const api_settings *settings, leat_error *error)
{
    *a = (api){.settings = *settings, .created = time_of(settings->model_path)};
    if (pthread_mutex_init(&a->lock, NULL) != 0) return FAIL(error, NO_MEMORY, "no memory for a lock");
    if (settings->alias_count > 0)
        snprintf(a->name, sizeof a->name, "%s", settings->aliases[0]);
    else
        api_name_of(settings->model_path, a->name);
    json_value_setup(settings->ledger);
    return LEAT_OK;
}

void api_set_worker(api *a, engine_worker *worker, metrics *counts)
{
    a->worker = worker;
    a->counts = counts;
}

void api_close(api *a)
{
    if (!a->settings.ledger) return;
    leat_chat_close(&a->chat);
    pthread_mutex_destroy(&a->lock);
    json_value_setup(NULL);
    *a = (api){0};
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

bool api_is_ready(api *a, http_exchange *x)
{
    slot_snapshot now;
    api_error error;
    engine_worker_snapshot(a->worker, &now);
    if (now.worker == WORKER_READY) return true;
    if (now.worker == WORKER_LOADING)
        api_fail(&error, API_LOADING, NULL, "Loading model");
    else if (now.worker == WORKER_DRAINING)
        api_fail(&error, API_SHUTTING_DOWN, NULL, "The server is shutting down.");
    else
        api_fail(&error, API_MODEL_CORRUPT, NULL, "The model could not be opened.");
    api_reply_error(a, x, &error);
    return false;
}

request_limits api_limits(const api *a)
{
    const leat_model *model = engine_worker_model(a->worker);
    return (request_limits){.vocab_size = leat_model_get_info(model)->vocab_size,
                            .sampling = leat_model_sampler_options(model)};
}

bool api_knows_model(const api *a, const char *name, api_error *error)
{
    if (!name || strcmp(name, a->name) == 0) return true;
    for (uint32_t i = 0; i < a->settings.alias_count; i++)
        if (strcmp(name, a->settings.aliases[i]) == 0) return true;
    return api_fail(error, API_MODEL_NOT_FOUND, "model", "The model '%.100s' is not served here; '%s' is.", name,
                    a->name);
}

bool api_fits(const api *a, size_t prompt_count, const char *param, api_error *error)
{
    uint32_t ctx = engine_worker_plan(a->worker)->ctx;
    if (prompt_count < ctx) return true;
    /* OpenAI's words, by which clients know that the conversation must be shortened: not all of them read codes. */
    api_fail(error, API_CONTEXT_LENGTH, param,
             "This model's maximum context length is %u tokens on this server, answer included; the prompt has %zu.",
             ctx, prompt_count);
    error->prompt_count = prompt_count < UINT32_MAX ? (uint32_t)prompt_count : UINT32_MAX;
    error->ctx = ctx;
    return false;
}

bool api_fail_encoding(const api *a, const leat_error *failure, size_t text_bytes, const char *param, api_error *error)
{
    enum { TOKEN_BYTES = 4 }; /* about what a token has */
    uint32_t ctx = engine_worker_plan(a->worker)->ctx;
    if (failure->status != LEAT_BUDGET || text_bytes / TOKEN_BYTES < ctx) return api_fail_status(error, failure, param);
    return api_fail(error, API_CONTEXT_LENGTH, param,
                    "This model's maximum context length is %u tokens on this server; the text has %zu bytes.", ctx,
                    text_bytes);
}

const leat_chat *api_chat(api *a, api_error *error)
{
    const leat_tokenizer *tokenizer = engine_worker_tokenizer(a->worker);
    if (!tokenizer) {
        api_fail(error, API_NOT_SUPPORTED, NULL, "This model has no tokenizer: it reads and writes token ids only.");
        return NULL;
    }
    pthread_mutex_lock(&a->lock);
    if (!a->has_tried_chat) {
        a->has_tried_chat = true;
        (void)!leat_chat_open(tokenizer, a->settings.template_text, a->settings.template_bytes, &a->chat,
                              &a->chat_error);
    }
    pthread_mutex_unlock(&a->lock);
    if (!a->chat) api_fail(error, API_NOT_SUPPORTED, NULL, "This model has no chat template that can be used.");
    return a->chat;
}

leat_status api_prepare(api *a, leat_error *error)
{
    api_error ignored;
    if (api_chat(a, &ignored) || !a->has_tried_chat) return LEAT_OK;
    if (a->settings.template_text) {
        *error = a->chat_error;
        return error->status;
    }
    log_write(LOG_WARN, "no chat completions: %s", a->chat_error.text);
    return LEAT_OK;
}

void api_set_stopping(api *a) { atomic_store(&a->is_stopping, true); }

bool api_chat_knows_developer(const leat_chat *chat)
{
    leat_chat_info info = leat_chat_get_info(chat);
    return info.template_text && memmem(info.template_text, info.template_bytes, "developer", strlen("developer"));
}

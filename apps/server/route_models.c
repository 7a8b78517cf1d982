/* route_models.c - what is served: GET /v1/models, /v1/models/{id}, /props, /tokenizer_info. Nothing here waits for
 * the engine. */
#include "server/api_routes.h"

#include <string.h>

/* llama.cpp's names for the figures. */
static void write_meta(json_writer *w, const leat_model_info *info)
{
    json_writer_begin_object(w, "meta");
    json_writer_u64(w, "n_vocab", info->vocab_size);
    json_writer_u64(w, "n_ctx_train", info->context_max);
    json_writer_u64(w, "n_embd", info->hidden_size);
    json_writer_u64(w, "n_params", info->parameter_count);
    json_writer_u64(w, "size", info->weight_bytes);
    json_writer_end_object(w);
}

static void write_model(api *a, json_writer *w, const char *key)
{
    const leat_model *model = engine_worker_model(a->worker);
    const leat_plan *plan = engine_worker_plan(a->worker);
    json_writer_begin_object(w, key);
    json_writer_text(w, "id", a->name);
    json_writer_text(w, "object", "model");
    json_writer_i64(w, "created", a->created);
    json_writer_text(w, "owned_by", "leat");
    json_writer_begin_array(w, "aliases");
    for (uint32_t i = 0; i < a->settings.alias_count; i++) json_writer_text(w, NULL, a->settings.aliases[i]);
    json_writer_end_array(w);
    if (model && plan) {
        write_meta(w, leat_model_get_info(model));
        json_writer_u64(w, "context_length", plan->ctx);
        json_writer_u64(w, "max_model_len", plan->ctx);
    }
    json_writer_end_object(w);
}

void route_models(http_exchange *x, void *user)
{
    api *a = user;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    json_writer_init_text(&w, &text);
    json_writer_begin_object(&w, NULL);
    json_writer_text(&w, "object", "list");
    json_writer_begin_array(&w, "data");
    write_model(a, &w, NULL);
    json_writer_end_array(&w);
    json_writer_end_object(&w);
    api_reply_json(a, x, &w, &text);
    strbuf_reset(&text);
}

void route_model(http_exchange *x, void *user)
{
    api *a = user;
    api_error error;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    if (!api_knows_model(a, http_path_rest(x), &error)) {
        api_reply_error(a, x, &error);
        return;
    }
    json_writer_init_text(&w, &text);
    write_model(a, &w, NULL);
    api_reply_json(a, x, &w, &text);
    strbuf_reset(&text);
}

/* ---- /props ------------------------------------------------------------------------------------------------------ */

static void write_settings(json_writer *w, const leat_sampler_options *s, uint32_t ctx)
{
    json_writer_begin_object(w, "default_generation_settings");
    json_writer_u64(w, "n_ctx", ctx);
    json_writer_begin_object(w, "params");
    json_writer_single(w, "temperature", s->temperature);
    json_writer_u64(w, "top_k", s->top_k);
    json_writer_single(w, "top_p", s->top_p);
    json_writer_single(w, "min_p", s->min_p);
    json_writer_single(w, "repeat_penalty", s->repeat_penalty);
    json_writer_u64(w, "repeat_last_n", s->repeat_last);
    json_writer_single(w, "presence_penalty", s->presence_penalty);
    json_writer_single(w, "frequency_penalty", s->frequency_penalty);
    json_writer_i64(w, "n_predict", -1);
    json_writer_end_object(w);
    json_writer_end_object(w);
}

static void write_template(json_writer *w, const leat_chat_info *info)
{
    if (info->template_text)
        json_writer_bytes(w, "chat_template", info->template_text, info->template_bytes);
    else
        json_writer_text(w, "chat_template", NULL);
}

static void write_props(api *a, json_writer *w, const leat_chat *chat)
{
    leat_chat_info info = {0};
    leat_sampler_options sampling = api_limits(a).sampling;
    char build[64];
    if (chat) info = leat_chat_get_info(chat);
    json_writer_begin_object(w, NULL);
    write_settings(w, &sampling, engine_worker_plan(a->worker)->ctx);
    json_writer_u64(w, "total_slots", 1);
    json_writer_text(w, "model_alias", a->name);
    json_writer_text(w, "model_path", a->name);
    write_template(w, &info);
    json_writer_begin_object(w, "modalities");
    json_writer_flag(w, "vision", false);
    json_writer_flag(w, "audio", false);
    json_writer_end_object(w);
    snprintf(build, sizeof build, "%s-%s", leat_version(), leat_commit());
    json_writer_text(w, "build_info", build);
    json_writer_flag(w, "is_sleeping", false);
    json_writer_end_object(w);
}

void route_props(http_exchange *x, void *user)
{
    api *a = user;
    api_error error;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    if (!api_is_ready(a, x)) return;
    json_writer_init_text(&w, &text);
    write_props(a, &w, api_chat(a, &error));
    api_reply_json(a, x, &w, &text);
    strbuf_reset(&text);
}

/* ---- /tokenizer_info --------------------------------------------------------------------------------------------- */

/* null for an id that is no token's. */
static void write_spelling(json_writer *w, const char *key, const leat_tokenizer *tokenizer, uint32_t id)
{
    leat_text piece = {0};
    if (leat_token_bytes(tokenizer, id, &piece, NULL) == LEAT_OK)
        json_writer_bytes(w, key, piece.bytes, piece.count);
    else
        json_writer_text(w, key, NULL);
    leat_text_free(&piece);
}

/* What vLLM tells of a tokenizer to programs that have none of their own: lm-eval takes it, with /tokenize. */
static void write_tokenizer(api *a, json_writer *w, const leat_tokenizer *tokenizer)
{
    api_error ignored;
    const leat_model_info *info = leat_model_get_info(engine_worker_model(a->worker));
    const leat_chat *chat = api_chat(a, &ignored);
    leat_chat_info how = {0};
    if (chat) how = leat_chat_get_info(chat);
    json_writer_begin_object(w, NULL);
    write_spelling(w, "bos_token", tokenizer, info->bos_id);
    write_spelling(w, "eos_token", tokenizer, info->stop_id_count > 0 ? info->stop_ids[0] : UINT32_MAX);
    write_template(w, &how);
    json_writer_end_object(w);
}

void route_tokenizer_info(http_exchange *x, void *user)
{
    api *a = user;
    api_error error;
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    if (!api_is_ready(a, x)) return;
    const leat_tokenizer *tokenizer = engine_worker_tokenizer(a->worker);
    if (!tokenizer) {
        api_fail(&error, API_NOT_SUPPORTED, NULL, "This model has no tokenizer.");
        api_reply_error(a, x, &error);
        return;
    }
    json_writer_init_text(&w, &text);
    write_tokenizer(a, &w, tokenizer);
    api_reply_json(a, x, &w, &text);
    strbuf_reset(&text);
}

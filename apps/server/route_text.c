/*
 * route_text.c - text and tokens without the engine: POST /tokenize, /detokenize, /apply-template.
 *
 * /tokenize has two forms. llama.cpp's: {"content"} -> {"tokens"}. vLLM's: {"prompt"} or {"messages"} -> {"count",
 * "max_model_len", "tokens"}.
 */
#include "server/api_routes.h"
#include "server/chat_request.h"
#include "server/completion_request.h"

#include "base/utf8.h"

#include <string.h>

/* One request and what is made of it. */
typedef struct text_work {
    api *owner;
    const leat_tokenizer *tokenizer;
    json_t *document;
    json_view body;
    leat_tokens tokens;
    leat_text text;
} text_work;

static void drop_work(text_work *work)
{
    json_decref(work->document);
    leat_tokens_free(&work->tokens);
    leat_text_free(&work->text);
}

static bool open_work(text_work *work, http_exchange *x, api_error *error)
{
    size_t bytes = 0;
    const char *name = NULL, *body = http_body(x, &bytes);
    work->tokenizer = engine_worker_tokenizer(work->owner->worker);
    if (!work->tokenizer) return api_fail(error, API_NOT_SUPPORTED, NULL, "This model has no tokenizer.");
    if (!json_value_parse(body, bytes, &work->document, error)) return false;
    work->body = json_view_of(work->document);
    return json_field_text(&work->body, "model", &name, error) && api_knows_model(work->owner, name, error);
}

/* The conversation as the model would be given it. */
static bool render(text_work *work, api_error *error)
{
    strbuf conversation;
    leat_error failure = {0};
    const leat_chat *chat = api_chat(work->owner, error);
    if (!chat || !chat_request_open_conversation(work->owner->settings.ledger, work->document,
                                                 api_chat_knows_developer(chat), &conversation, error))
        return false;
    leat_status status =
        leat_chat_render(chat, strbuf_text(&conversation), conversation.count, &work->tokens, &work->text, &failure);
    size_t bytes = conversation.count;
    strbuf_reset(&conversation);
    if (status == LEAT_USAGE) return api_fail(error, API_TEMPLATE, "messages", "%s", failure.text);
    return status == LEAT_OK || api_fail_encoding(work->owner, &failure, bytes, "messages", error);
}

/* ---- /tokenize --------------------------------------------------------------------------------------------------- */

typedef struct tokenize_wish {
    bool is_vllm, add_special, parse_special, with_pieces;
} tokenize_wish;

static bool read_wish(const json_view *body, tokenize_wish *wish, api_error *error)
{
    wish->is_vllm = !json_view_member(body, "content").value;
    wish->add_special = wish->is_vllm;
    wish->parse_special = true;
    return json_field_flag(body, "add_special", &wish->add_special, error) &&
           json_field_flag(body, "add_special_tokens", &wish->add_special, error) &&
           json_field_flag(body, "parse_special", &wish->parse_special, error) &&
           json_field_flag(body, "with_pieces", &wish->with_pieces, error) &&
           json_field_flag(body, "return_token_strs", &wish->with_pieces, error);
}

static bool tokenize_text(text_work *work, const tokenize_wish *wish, api_error *error)
{
    leat_error failure = {0};
    const char *text = NULL, *name = wish->is_vllm ? "prompt" : "content";
    json_view v = json_view_member(&work->body, name);
    if (!v.value) return api_fail(error, API_MISSING, "content", "'content' is missing.");
    if (!json_view_text(&v, &text, error)) return false;
    size_t bytes = json_string_length(v.value);
    /* With special tokens it is what /v1/completions would compute, BOS included. */
    leat_status status = wish->add_special && wish->parse_special
                             ? leat_tokenize_prompt(work->tokenizer, text, bytes, &work->tokens, &failure)
                             : leat_tokenize(work->tokenizer, text, bytes, wish->parse_special, wish->add_special,
                                             &work->tokens, &failure);
    return status == LEAT_OK || api_fail_encoding(work->owner, &failure, bytes, name, error);
}

/* A piece that is no text by itself is the list of its bytes. */
static bool write_piece(json_writer *w, const char *key, const leat_tokenizer *tokenizer, uint32_t id)
{
    leat_text piece = {0};
    if (leat_token_bytes(tokenizer, id, &piece, NULL) != LEAT_OK) return false;
    if (utf8_valid_bytes(piece.bytes, piece.count) == piece.count) {
        json_writer_bytes(w, key, piece.bytes, piece.count);
    } else {
        json_writer_begin_array(w, key);
        for (size_t i = 0; i < piece.count; i++) json_writer_u64(w, NULL, (uint8_t)piece.bytes[i]);
        json_writer_end_array(w);
    }
    leat_text_free(&piece);
    return true;
}

static bool write_pieces(json_writer *w, const char *key, const text_work *work, bool with_ids)
{
    json_writer_begin_array(w, key);
    for (size_t i = 0; i < work->tokens.count; i++) {
        if (with_ids) {
            json_writer_begin_object(w, NULL);
            json_writer_u64(w, "id", work->tokens.ids[i]);
        }
        if (!write_piece(w, with_ids ? "piece" : NULL, work->tokenizer, work->tokens.ids[i])) return false;
        if (with_ids) json_writer_end_object(w);
    }
    json_writer_end_array(w);
    return true;
}

static bool write_tokens(json_writer *w, const text_work *work, const tokenize_wish *wish)
{
    json_writer_begin_object(w, NULL);
    if (wish->is_vllm) {
        json_writer_u64(w, "count", work->tokens.count);
        json_writer_u64(w, "max_model_len", engine_worker_plan(work->owner->worker)->ctx);
    }
    if (wish->is_vllm || !wish->with_pieces)
        json_writer_ids(w, "tokens", work->tokens.ids, work->tokens.count);
    else if (!write_pieces(w, "tokens", work, true))
        return false;
    if (wish->is_vllm && wish->with_pieces && !write_pieces(w, "token_strs", work, false)) return false;
    json_writer_end_object(w);
    return true;
}

static bool tokenize(text_work *work, json_writer *w, api_error *error)
{
    tokenize_wish wish = {0};
    if (!read_wish(&work->body, &wish, error)) return false;
    bool has_messages = json_view_member(&work->body, "messages").value != NULL;
    if (!(has_messages ? render(work, error) : tokenize_text(work, &wish, error))) return false;
    return write_tokens(w, work, &wish) ||
           api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this reply.");
}

/* ---- /detokenize, /apply-template -------------------------------------------------------------------------------- */

static bool detokenize(text_work *work, json_writer *w, api_error *error)
{
    json_view tokens;
    uint32_t *ids = NULL, count = 0;
    leat_error failure = {0};
    if (!json_field_array(&work->body, "tokens", UINT32_MAX, &tokens, error)) return false;
    if (!tokens.value) return api_fail(error, API_MISSING, "tokens", "'tokens' is missing.");
    mem *ledger = work->owner->settings.ledger;
    if (!completion_read_ids(ledger, &tokens, api_limits(work->owner).vocab_size, &ids, &count, error)) return false;
    leat_status status = leat_detokenize(work->tokenizer, ids, count, false, &work->text, &failure);
    mem_free(ledger, ids);
    if (status != LEAT_OK) return api_fail_status(error, &failure, "tokens");
    json_writer_begin_object(w, NULL);
    json_writer_bytes(w, "content", work->text.bytes, work->text.count); /* llama.cpp */
    json_writer_bytes(w, "prompt", work->text.bytes, work->text.count);  /* vLLM */
    json_writer_end_object(w);
    return true;
}

static bool apply_template(text_work *work, json_writer *w, api_error *error)
{
    if (!render(work, error)) return false;
    json_writer_begin_object(w, NULL);
    json_writer_bytes(w, "prompt", work->text.bytes, work->text.count);
    json_writer_end_object(w);
    return true;
}

static void answer(http_exchange *x, api *owner, bool (*make)(text_work *work, json_writer *w, api_error *error))
{
    text_work work = {.owner = owner};
    strbuf text = {.ledger = owner->settings.ledger};
    api_error error;
    json_writer w;
    if (!api_is_ready(owner, x)) return;
    json_writer_init_text(&w, &text);
    if (open_work(&work, x, &error) && make(&work, &w, &error))
        api_reply_json(owner, x, &w, &text);
    else
        api_reply_error(owner, x, &error);
    strbuf_reset(&text);
    drop_work(&work);
}

void route_tokenize(http_exchange *x, void *user) { answer(x, user, tokenize); }
void route_detokenize(http_exchange *x, void *user) { answer(x, user, detokenize); }
void route_apply_template(http_exchange *x, void *user) { answer(x, user, apply_template); }

#include "server/chat_reply.h"

#include <string.h>

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

static void write_logprobs(chat_reply *r, json_writer *w)
{
    if (r->logprobs.count == 0) {
        json_writer_text(w, "logprobs", NULL);
        return;
    }
    json_writer_begin_object(w, "logprobs");
    json_writer_begin_array(w, "content");
    json_writer_raw(w, NULL, strbuf_text(&r->logprobs), r->logprobs.count);
    json_writer_end_array(w);
    json_writer_text(w, "refusal", NULL);
    json_writer_end_object(w);
    strbuf_cut(&r->logprobs, 0);
}

/* Up to the open delta. */
static json_writer *begin_delta(chat_reply *r)
{
    json_writer *w = reply_begin_chunk(&r->base);
    json_writer_begin_object(w, NULL);
    json_writer_u64(w, "index", r->choice);
    json_writer_begin_object(w, "delta");
    return w;
}

/* Logprobs that wait go with whatever is sent first. */
static bool end_delta(chat_reply *r, const char *finish_reason)
{
    json_writer *w = &r->base.w;
    json_writer_end_object(w);
    write_logprobs(r, w);
    json_writer_text(w, "finish_reason", finish_reason);
    json_writer_end_object(w);
    return reply_end_chunk(&r->base);
}

static bool send_text(chat_reply *r, const char *key, const char *text, size_t bytes)
{
    json_writer *w = begin_delta(r);
    json_writer_bytes(w, key, text, bytes);
    return end_delta(r, NULL);
}

static bool send_role(chat_reply *r)
{
    json_writer *w = begin_delta(r);
    json_writer_text(w, "role", "assistant");
    json_writer_text(w, "content", "");
    return end_delta(r, NULL);
}

/* The call is named first, its arguments come behind, as clients expect to collect them. */
static bool send_call(chat_reply *r, const char *id, const leat_answer_event *event)
{
    for (int part = 0; part < 2; part++) {
        json_writer *w = begin_delta(r);
        json_writer_begin_array(w, "tool_calls");
        json_writer_begin_object(w, NULL);
        json_writer_u64(w, "index", r->call_count);
        if (part == 0) {
            json_writer_text(w, "id", id);
            json_writer_text(w, "type", "function");
        }
        json_writer_begin_object(w, "function");
        if (part == 0) json_writer_text(w, "name", event->call_name);
        json_writer_bytes(w, "arguments", event->text, part == 0 ? 0 : event->text_bytes);
        json_writer_end_object(w);
        json_writer_end_object(w);
        json_writer_end_array(w);
        if (!end_delta(r, NULL)) return false;
    }
    return true;
}

/* ---- the parts of a whole message -------------------------------------------------------------------------------- */

static leat_status keep_call(chat_reply *r, const char *id, const leat_answer_event *event, leat_error *error)
{
    json_writer w;
    if (r->calls.count > 0) TRY(strbuf_append_text(&r->calls, ", ", error));
    json_writer_init_text(&w, &r->calls);
    json_writer_begin_object(&w, NULL);
    json_writer_text(&w, "id", id);
    json_writer_text(&w, "type", "function");
    json_writer_begin_object(&w, "function");
    json_writer_text(&w, "name", event->call_name);
    json_writer_bytes(&w, "arguments", event->text, event->text_bytes);
    json_writer_end_object(&w);
    json_writer_end_object(&w);
    return w.status;
}

static void write_message(chat_reply *r, json_writer *w)
{
    json_writer_begin_object(w, "message");
    json_writer_text(w, "role", "assistant");
    if (r->content.count == 0 && r->call_count > 0)
        json_writer_text(w, "content", NULL);
    else
        json_writer_bytes(w, "content", strbuf_text(&r->content), r->content.count);
    json_writer_text(w, "refusal", NULL);
    if (r->reasoning.count > 0)
        json_writer_bytes(w, "reasoning_content", strbuf_text(&r->reasoning), r->reasoning.count);
    if (r->call_count > 0) {
        json_writer_begin_array(w, "tool_calls");
        json_writer_raw(w, NULL, strbuf_text(&r->calls), r->calls.count);
        json_writer_end_array(w);
    }
    json_writer_end_object(w);
}

static void keep_choice(chat_reply *r, const char *finish_reason)
{
    json_writer *w = reply_begin_choice(&r->base);
    json_writer_u64(w, "index", r->choice);
    write_message(r, w);
    write_logprobs(r, w);
    json_writer_text(w, "finish_reason", finish_reason);
    reply_end_choice(&r->base);
    strbuf_cut(&r->content, 0);
    strbuf_cut(&r->reasoning, 0);
    strbuf_cut(&r->calls, 0);
}

/* ---- what the answer says ---------------------------------------------------------------------------------------- */

/* A client that went away ends the job; the status only has to be a failure. */
static leat_status gone(leat_error *error) { return FAIL(error, CANCELLED, "the client has gone"); }

static leat_status take_call(chat_reply *r, const leat_answer_event *event, leat_error *error)
{
    char own_id[REPLY_ID_BYTES];
    const char *id = event->call_id;
    if (r->call_count > 0 && !r->request.tools.allows_several) return LEAT_OK;
    if (!id || id[0] == '\0') {
        reply_make_id("call_", own_id, sizeof own_id);
        id = own_id;
    }
    if (!r->base.streams)
        TRY(keep_call(r, id, event, error));
    else if (!send_call(r, id, event))
        return gone(error);
    r->call_count++;
    return LEAT_OK;
}

static leat_status take_event(void *user, const leat_answer_event *event, leat_error *error)
{
    chat_reply *r = user;
    bool is_reasoning = event->kind == LEAT_ANSWER_REASONING;
    r->is_reasoning = is_reasoning;
    if (event->kind == LEAT_ANSWER_CALL) return take_call(r, event, error);
    if (event->text_bytes == 0) return LEAT_OK;
    if (!r->base.streams)
        return strbuf_append(is_reasoning ? &r->reasoning : &r->content, event->text, event->text_bytes, error);
    return send_text(r, is_reasoning ? "reasoning_content" : "content", event->text, event->text_bytes) ? LEAT_OK
                                                                                                        : gone(error);
}

/* ---- the sink ---------------------------------------------------------------------------------------------------- */

static bool push(chat_reply *r, const char *text, size_t bytes)
{
    leat_error error = {0};
    if (bytes == 0) return true;
    return reply_note(&r->base, leat_answer_push(r->answer, text, bytes, take_event, r, &error), &error);
}

/* A choice begins with its own reader, which has already seen what was put behind the prompt. */
static bool enter_choice(chat_reply *r, uint32_t choice)
{
    leat_error error = {0};
    if (r->has_choice && r->choice == choice) return true;
    leat_answer_close(&r->answer);
    r->has_choice = true;
    r->choice = choice;
    r->call_count = 0;
    r->is_reasoning = false;
    leat_status status =
        leat_answer_open(r->format, strbuf_text(&r->request.conversation), r->request.conversation.count,
                         r->prompt.bytes, r->prompt.count, &r->answer, &error);
    if (!reply_note(&r->base, status, &error)) return false;
    /* The first choice's role was sent when the stream began. */
    if (r->base.streams && choice > 0 && !send_role(r)) return false;
    return push(r, r->opening.bytes, r->opening.count);
}

static void keep_best(chat_reply *r, json_writer *w, uint32_t id, float logprob)
{
    leat_text piece = {0};
    leat_error error = {0};
    const leat_tokenizer *tokenizer = engine_worker_tokenizer(r->base.owner->worker);
    if (!reply_note(&r->base, leat_token_bytes(tokenizer, id, &piece, &error), &error)) return;
    json_writer_begin_object(w, NULL);
    reply_write_token(w, piece.bytes, piece.count);
    json_writer_single(w, "logprob", logprob);
    json_writer_end_object(w);
    leat_text_free(&piece);
}

static void keep_logprob(chat_reply *r, const job_token *token)
{
    json_writer w;
    if (!token->has_logprob) return;
    if (r->logprobs.count > 0) reply_note(&r->base, strbuf_append_text(&r->logprobs, ", ", NULL), NULL);
    json_writer_init_text(&w, &r->logprobs);
    json_writer_begin_object(&w, NULL);
    reply_write_token(&w, token->piece, token->piece_bytes);
    json_writer_single(&w, "logprob", token->logprob);
    json_writer_begin_array(&w, "top_logprobs");
    for (uint32_t i = 0; i < token->top_count; i++) keep_best(r, &w, token->top_ids[i], token->top_logprobs[i]);
    json_writer_end_array(&w);
    json_writer_end_object(&w);
    reply_note(&r->base, w.status, NULL);
}

static bool on_token(void *user, uint32_t choice, const job_token *token)
{
    chat_reply *r = user;
    if (!enter_choice(r, choice)) return false;
    reply_count_token(&r->base);
    keep_logprob(r, token);
    bool is_good = push(r, token->text, token->text_bytes) && reply_is_whole(&r->base);
    if (r->is_reasoning) r->base.reasoning_count++;
    return is_good;
}

static const char *finish_reason(const chat_reply *r, job_end end)
{
    if (end == JOB_LENGTH) return "length";
    return r->call_count > 0 ? "tool_calls" : "stop";
}

static bool on_choice_end(void *user, uint32_t choice, job_end end, const char *rest, size_t rest_bytes)
{
    chat_reply *r = user;
    leat_error error = {0};
    if (end != JOB_STOP && end != JOB_LENGTH) return true; /* on_end says it */
    if (!enter_choice(r, choice) || !push(r, rest, rest_bytes)) return false;
    if (!reply_note(&r->base, leat_answer_finish(r->answer, take_event, r, &error), &error)) return false;
    const char *reason = finish_reason(r, end);
    if (reason[0] == 't') job_note_tool_calls(r->base.work);
    if (!r->base.streams) {
        keep_choice(r, reason);
        return reply_is_whole(&r->base);
    }
    begin_delta(r);
    return end_delta(r, reason);
}

const job_sink chat_reply_sink = {.on_begin = reply_on_begin,
                                  .on_prefill = reply_on_prefill,
                                  .on_token = on_token,
                                  .on_choice_end = on_choice_end,
                                  .on_end = reply_on_end};

/* ---- opening and freeing ----------------------------------------------------------------------------------------- */

static void begin_stream(reply *base) { (void)send_role((chat_reply *)base); }

static void free_reply(reply *base)
{
    chat_reply *r = (chat_reply *)base;
    mem *ledger = r->request.ledger;
    leat_answer_close(&r->answer);
    strbuf_reset(&r->content);
    strbuf_reset(&r->reasoning);
    strbuf_reset(&r->calls);
    strbuf_reset(&r->logprobs);
    leat_text_free(&r->prompt);
    leat_text_free(&r->opening);
    chat_request_reset(&r->request);
    mem_free(ledger, r);
}

static const reply_kind chat_kind = {.id_prefix = "chatcmpl-",
                                     .object = "chat.completion",
                                     .chunk_object = "chat.completion.chunk",
                                     .begin_stream = begin_stream,
                                     .free = free_reply};

leat_status chat_reply_open(api *owner, http_exchange *x, const char *format, chat_request *request, leat_text *prompt,
                            leat_text *opening, chat_reply **out_reply, leat_error *error)
{
    mem *ledger = owner->settings.ledger;
    chat_reply *r = NULL;
    leat_status status = MEM_NEW(ledger, META, 1, &r, error);
    if (status == LEAT_OK) {
        r->format = format;
        r->content = r->reasoning = r->calls = r->logprobs = (strbuf){.ledger = ledger};
        status = reply_open(&r->base, owner, &chat_kind, x, &request->generation, error);
    }
    if (status != LEAT_OK) {
        mem_free(ledger, r);
        chat_request_reset(request);
        leat_text_free(prompt);
        leat_text_free(opening);
        return status;
    }
    r->request = *request;
    r->prompt = *prompt;
    r->opening = *opening;
    *request = (chat_request){0};
    *prompt = *opening = (leat_text){0};
    *out_reply = r;
    return LEAT_OK;
}

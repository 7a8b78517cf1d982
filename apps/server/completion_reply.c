#include "server/completion_reply.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* ---- lists of logprobs ------------------------------------------------------------------------------------------- */

static void lists_init(logprob_lists *l, mem *ledger)
{
    l->tokens = l->token_logprobs = l->top_logprobs = l->text_offsets = (strbuf){.ledger = ledger};
}

static void lists_reset(logprob_lists *l)
{
    strbuf_reset(&l->tokens);
    strbuf_reset(&l->token_logprobs);
    strbuf_reset(&l->top_logprobs);
    strbuf_reset(&l->text_offsets);
}

static void lists_empty(logprob_lists *l)
{
    strbuf_cut(&l->tokens, 0);
    strbuf_cut(&l->token_logprobs, 0);
    strbuf_cut(&l->top_logprobs, 0);
    strbuf_cut(&l->text_offsets, 0);
}

static uint64_t lists_bytes(const logprob_lists *l)
{
    return l->tokens.count + l->token_logprobs.count + l->top_logprobs.count + l->text_offsets.count;
}

/* A writer of the list's next value. */
static json_writer next_value(completion_reply *r, strbuf *list)
{
    json_writer w;
    if (list->count > 0) reply_note(&r->base, strbuf_append_text(list, ", ", NULL), NULL);
    json_writer_init_text(&w, list);
    return w;
}

static bool is_among_best(const job_token *token)
{
    for (uint32_t i = 0; i < token->top_count; i++)
        if (token->top_ids[i] == token->id) return true;
    return false;
}

typedef struct token_name {
    char text[512];
} token_name;

/* What a token is called: its text, cut where that is very long. Bytes that are no text by themselves are spelled out
 * as OpenAI does it, "bytes:\xe2\x82", so that different ones are different keys. */
static token_name name_token(const char *piece, size_t bytes)
{
    static const char hex[] = "0123456789abcdef";
    token_name name = {""};
    size_t used = 0;
    if (utf8_valid_bytes(piece, bytes) == bytes && !memchr(piece, '\0', bytes)) {
        used = bytes < sizeof name.text ? bytes : utf8_valid_bytes(piece, sizeof name.text - 1);
        memcpy(name.text, piece, used);
    } else {
        used = (size_t)snprintf(name.text, sizeof name.text, "bytes:");
        for (size_t i = 0; i < bytes && used + 4 < sizeof name.text; i++) {
            const uint8_t byte = (uint8_t)piece[i];
            memcpy(name.text + used, (const char[]){'\\', 'x', hex[byte >> 4], hex[byte & 15]}, 4);
            used += 4;
        }
    }
    name.text[used] = '\0';
    return name;
}

static void write_best(completion_reply *r, json_writer *w, uint32_t id, float logprob)
{
    leat_text piece = {0};
    leat_error error = {0};
    if (!reply_note(&r->base, leat_token_bytes(engine_worker_tokenizer(r->base.owner->worker), id, &piece, &error),
                    &error))
        return;
    json_writer_single(w, name_token(piece.bytes, piece.count).text, logprob);
    leat_text_free(&piece);
}

/* An object from text to logprob, as the API has it: the best, and the token that was taken. */
static void keep_best(completion_reply *r, logprob_lists *lists, const job_token *token)
{
    json_writer w = next_value(r, &lists->top_logprobs);
    if (!token->has_logprob) {
        json_writer_text(&w, NULL, NULL);
    } else {
        json_writer_begin_object(&w, NULL);
        for (uint32_t i = 0; i < token->top_count; i++) write_best(r, &w, token->top_ids[i], token->top_logprobs[i]);
        if (!is_among_best(token)) write_best(r, &w, token->id, token->logprob);
        json_writer_end_object(&w);
    }
    reply_note(&r->base, w.status, NULL);
}

static void keep_logprob(completion_reply *r, logprob_lists *lists, const job_token *token, uint64_t offset)
{
    json_writer w = next_value(r, &lists->tokens);
    json_writer_text(&w, NULL, name_token(token->piece, token->piece_bytes).text);
    reply_note(&r->base, w.status, NULL);
    w = next_value(r, &lists->token_logprobs);
    if (token->has_logprob)
        json_writer_single(&w, NULL, token->logprob);
    else
        json_writer_text(&w, NULL, NULL);
    reply_note(&r->base, w.status, NULL);
    w = next_value(r, &lists->text_offsets);
    json_writer_u64(&w, NULL, offset);
    reply_note(&r->base, w.status, NULL);
    keep_best(r, lists, token);
}

static void write_list(json_writer *w, const char *key, const strbuf *first, const strbuf *second)
{
    json_writer_begin_array(w, key);
    if (first && first->count > 0) json_writer_raw(w, NULL, strbuf_text(first), first->count);
    if (second->count > 0) json_writer_raw(w, NULL, strbuf_text(second), second->count);
    json_writer_end_array(w);
}

static void write_logprobs(completion_reply *r, json_writer *w, bool with_echo)
{
    const logprob_lists *e = with_echo ? &r->echoed : NULL;
    if (!r->request.logprobs) {
        json_writer_text(w, "logprobs", NULL);
        return;
    }
    json_writer_begin_object(w, "logprobs");
    write_list(w, "tokens", e ? &e->tokens : NULL, &r->made.tokens);
    write_list(w, "token_logprobs", e ? &e->token_logprobs : NULL, &r->made.token_logprobs);
    write_list(w, "top_logprobs", e ? &e->top_logprobs : NULL, &r->made.top_logprobs);
    write_list(w, "text_offset", e ? &e->text_offsets : NULL, &r->made.text_offsets);
    json_writer_end_object(w);
    lists_empty(&r->made);
}

/* ---- choices ----------------------------------------------------------------------------------------------------- */

static uint64_t count_characters(const char *text, size_t bytes)
{
    uint64_t count = 0;
    for (size_t i = 0; i < bytes; i++) count += ((uint8_t)text[i] & 0xc0) != 0x80;
    return count;
}

/* A chunk of a long echo, about: the client can begin to take it, and no single one is too much for the stream. */
enum { ECHO_PIECE_BYTES = 8192 };

static bool send_chunk(completion_reply *r, const char *text, size_t bytes, bool with_echo, const char *finish_reason)
{
    json_writer *w = reply_begin_chunk(&r->base);
    json_writer_begin_object(w, NULL);
    json_writer_bytes(w, "text", text, bytes);
    json_writer_u64(w, "index", r->choice);
    write_logprobs(r, w, with_echo);
    json_writer_text(w, "finish_reason", finish_reason);
    json_writer_end_object(w);
    return reply_end_chunk(&r->base);
}

static leat_status prompt_text(completion_reply *r, const completion_prompt *prompt, leat_text *out, leat_error *error)
{
    return leat_detokenize(engine_worker_tokenizer(r->base.owner->worker), prompt->ids, prompt->id_count, true, out,
                           error);
}

/* All of the text, the last piece with the prompt's logprobs if they are wanted. */
static bool send_echo(completion_reply *r, const char *text, size_t bytes, bool with_logprobs)
{
    while (bytes > ECHO_PIECE_BYTES) {
        size_t piece = ECHO_PIECE_BYTES;
        while (piece > 1 && ((uint8_t)text[piece] & 0xc0) == 0x80) piece--; /* whole characters */
        if (!send_chunk(r, text, piece, false, NULL)) return false;
        text += piece;
        bytes -= piece;
    }
    return send_chunk(r, text, bytes, with_logprobs, NULL);
}

/* Of a stream the prompt's first choice sends its logprobs as they come; the others have them at once. */
static bool is_first_choice(const completion_reply *r) { return r->choice % r->request.generation.n == 0; }

/* The prompt as it was given, ids as their text. */
static bool put_echo(completion_reply *r)
{
    const completion_prompt *prompt = &r->request.prompts[r->choice / r->request.generation.n];
    leat_text decoded = {0};
    leat_error error = {0};
    bool is_good = prompt->text || reply_note(&r->base, prompt_text(r, prompt, &decoded, &error), &error);
    const char *text = prompt->text ? prompt->text : decoded.bytes;
    size_t bytes = prompt->text ? prompt->text_bytes : decoded.count;
    if (!is_good) return false;
    r->offset = count_characters(text, bytes);
    if (r->base.streams)
        is_good = send_echo(r, text, bytes, !is_first_choice(r));
    else
        reply_note(&r->base, strbuf_append(&r->text, text, bytes, NULL), NULL);
    leat_text_free(&decoded);
    return is_good && reply_is_whole(&r->base);
}

static bool enter_choice(completion_reply *r, uint32_t choice)
{
    if (r->has_choice && r->choice == choice) return true;
    r->has_choice = true;
    r->choice = choice;
    r->offset = 0;
    lists_empty(&r->made);
    return !r->request.echo || put_echo(r);
}

static bool put_text(completion_reply *r, const char *text, size_t bytes)
{
    if (bytes == 0) return true;
    if (r->base.streams) return send_chunk(r, text, bytes, false, NULL);
    reply_note(&r->base, strbuf_append(&r->text, text, bytes, NULL), NULL);
    return reply_is_whole(&r->base);
}

/* ---- the sink ---------------------------------------------------------------------------------------------------- */

/* The lists of generated tokens take those of the prompt before them, so that the next chunk has what is left. */
static bool send_prompt_token(completion_reply *r, const job_token *token)
{
    if (!enter_choice(r, r->echo_prompt_idx * r->request.generation.n)) return false;
    keep_logprob(r, &r->made, token, r->echo_offset);
    return lists_bytes(&r->made) < ECHO_PIECE_BYTES || send_chunk(r, "", 0, false, NULL);
}

static bool on_prompt_token(void *user, uint32_t prompt_idx, const job_token *token)
{
    completion_reply *r = user;
    if (!r->has_echo || r->echo_prompt_idx != prompt_idx) {
        lists_empty(&r->echoed);
        r->has_echo = true;
        r->echo_prompt_idx = prompt_idx;
        r->echo_offset = 0;
    }
    if (r->base.streams && !send_prompt_token(r, token)) return false;
    if (!r->base.streams || r->request.generation.n > 1) keep_logprob(r, &r->echoed, token, r->echo_offset);
    r->echo_offset += count_characters(token->text, token->text_bytes);
    return reply_is_whole(&r->base);
}

static bool on_token(void *user, uint32_t choice, const job_token *token)
{
    completion_reply *r = user;
    if (!enter_choice(r, choice)) return false;
    reply_count_token(&r->base);
    if (r->request.logprobs) keep_logprob(r, &r->made, token, r->offset + token->offset);
    return put_text(r, token->text, token->text_bytes) && reply_is_whole(&r->base);
}

static bool on_choice_end(void *user, uint32_t choice, job_end end, const char *rest, size_t rest_bytes)
{
    completion_reply *r = user;
    const char *reason = end == JOB_LENGTH ? "length" : "stop";
    if (end != JOB_STOP && end != JOB_LENGTH) return true; /* on_end says it */
    if (!enter_choice(r, choice)) return false;
    if (r->base.streams) return send_chunk(r, rest, rest_bytes, false, reason);
    if (!put_text(r, rest, rest_bytes)) return false;
    json_writer *w = reply_begin_choice(&r->base);
    json_writer_bytes(w, "text", strbuf_text(&r->text), r->text.count);
    json_writer_u64(w, "index", choice);
    write_logprobs(r, w, r->request.echo);
    json_writer_text(w, "finish_reason", reason);
    reply_end_choice(&r->base);
    strbuf_cut(&r->text, 0);
    return reply_is_whole(&r->base);
}

const job_sink completion_reply_sink = {.on_begin = reply_on_begin,
                                        .on_prefill = reply_on_prefill,
                                        .on_prompt_token = on_prompt_token,
                                        .on_token = on_token,
                                        .on_choice_end = on_choice_end,
                                        .on_end = reply_on_end};

/* ---- opening and freeing ----------------------------------------------------------------------------------------- */

static void free_reply(reply *base)
{
    completion_reply *r = (completion_reply *)base;
    mem *ledger = r->request.ledger;
    lists_reset(&r->echoed);
    lists_reset(&r->made);
    strbuf_reset(&r->text);
    completion_request_reset(&r->request);
    mem_free(ledger, r);
}

static const reply_kind completion_kind = {
    .id_prefix = "cmpl-", .object = "text_completion", .chunk_object = "text_completion", .free = free_reply};

leat_status completion_reply_open(api *owner, http_exchange *x, completion_request *request,
                                  completion_reply **out_reply, leat_error *error)
{
    mem *ledger = owner->settings.ledger;
    completion_reply *r = NULL;
    leat_status status = MEM_NEW(ledger, META, 1, &r, error);
    if (status == LEAT_OK) {
        lists_init(&r->echoed, ledger);
        lists_init(&r->made, ledger);
        r->text = (strbuf){.ledger = ledger};
        status = reply_open(&r->base, owner, &completion_kind, x, &request->generation, error);
    }
    if (status != LEAT_OK) {
        mem_free(ledger, r);
        completion_request_reset(request);
        return status;
    }
    r->request = *request;
    *request = (completion_request){0};
    *out_reply = r;
    return LEAT_OK;
}

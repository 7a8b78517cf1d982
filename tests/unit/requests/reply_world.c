#include "reply_world.h"

#include "server_support.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

reply_world world;

/* ---- in place of the HTTP server ---- */

static http_exchange *const exchange = (http_exchange *)&world;

static void keep_text(strbuf *text, const char *bytes, size_t count)
{
    assert_int_equal(strbuf_append(text, bytes, count, NULL), LEAT_OK);
}

http_exchange *http_keep(http_exchange *x)
{
    world.keeps++;
    return x;
}

void http_release(http_exchange **x)
{
    if (*x) world.keeps--;
    *x = NULL;
}

void http_set_header(http_exchange *x, const char *name, const char *value)
{
    char line[128];
    (void)x;
    keep_text(&world.headers, line, (size_t)snprintf(line, sizeof line, "%s: %s\n", name, value));
}

void http_reply(http_exchange *x, int status, const char *content_type, const char *body, size_t bytes)
{
    char line[128];
    (void)x;
    assert_false(world.has_ended);
    keep_text(&world.sent, line, (size_t)snprintf(line, sizeof line, "%d %s\n", status, content_type));
    keep_text(&world.sent, body, bytes);
    world.has_ended = true;
}

void http_stream_begin(http_exchange *x, const char *content_type)
{
    (void)x;
    assert_string_equal(content_type, "text/event-stream; charset=utf-8");
}

bool http_stream_write(http_exchange *x, const char *bytes, size_t count)
{
    (void)x;
    assert_false(world.has_ended);
    if (!world.is_gone) keep_text(&world.sent, bytes, count);
    return !world.is_gone;
}

void http_stream_end(http_exchange *x)
{
    (void)x;
    world.has_ended = true;
}

void http_stream_abort(http_exchange *x)
{
    (void)x;
    world.has_ended = world.is_aborted = true;
}

void http_stream_set_idle(http_exchange *x, uint32_t seconds, size_t (*fill)(void *user, char *buffer, size_t size),
                          void *user)
{
    (void)x, (void)seconds, (void)fill, (void)user;
}

void http_on_close(http_exchange *x, void (*fn)(void *user), void *user) { (void)x, (void)fn, (void)user; }
void http_log_tokens(http_exchange *x, const http_tokens *tokens) { (void)x, (void)tokens; }
const char *http_request_id(const http_exchange *x) { return x ? "req_1" : ""; }
uint64_t http_begin_ns(const http_exchange *x) { return x ? 1 : 0; }

/* ---- in place of the engine's worker ---- */

const leat_model *engine_worker_model(engine_worker *w) { return w ? NULL : world.model; }
const leat_tokenizer *engine_worker_tokenizer(engine_worker *w) { return w ? NULL : world.tokenizer; }
void engine_worker_snapshot(engine_worker *w, slot_snapshot *out_snapshot)
{
    (void)w;
    *out_snapshot = (slot_snapshot){.cached_count = 2};
}

job_admission job_submit(engine_worker *w, job *j, uint32_t *out_retry_after_s)
{
    (void)w, (void)j;
    *out_retry_after_s = world.retry_after_s;
    return world.admission;
}

void job_cancel(job *j) { (void)j; }
uint32_t job_position(const job *j) { return j ? 0 : 1; }

/* ---- the world ---- */

int world_open(void **state)
{
    (void)state;
    world = (reply_world){.ledger = open_test_ledger()};
    world.sent = world.headers = (strbuf){.ledger = world.ledger};
    world.owner = (api){.settings.ledger = world.ledger, .name = "brook"};
    assert_int_equal(leat_model_open(LEAT_SOURCE_ROOT "/models/brook", &world.model, NULL), LEAT_OK);
    assert_int_equal(leat_tokenizer_open(LEAT_SOURCE_ROOT "/models/brook", &world.tokenizer, NULL), LEAT_OK);
    return 0;
}

int world_close(void **state)
{
    (void)state;
    strbuf_reset(&world.sent);
    strbuf_reset(&world.headers);
    leat_tokenizer_close(&world.tokenizer);
    leat_model_close(&world.model);
    assert_int_equal(world.keeps, 0);
    close_test_ledger(&world.ledger);
    return 0;
}

static void fix(reply *r, const char *id)
{
    strcpy(r->id, id);
    strcpy(r->fingerprint, "leat-x");
    r->created = 7;
}

static void submit(reply *r, const generation_request *generation, const job_sink *sink)
{
    leat_tokens prompt = {.ids = malloc(3 * sizeof *prompt.ids), .count = 3};
    job_settings settings = generation_request_settings(generation);
    settings.stop_count = settings.bias_count = 0;
    for (uint32_t i = 0; i < 3; i++) prompt.ids[i] = 5 + i;
    reply_submit(r, &settings, &prompt, 1, sink);
    leat_tokens_free(&prompt);
}

chat_reply *world_chat(const char *body)
{
    chat_request request;
    chat_reply *made = NULL;
    leat_text prompt = {0}, opening = {0};
    api_error error;
    const char *text = quoted(body);
    assert_true(chat_request_open(world.ledger, text, strlen(text), &test_limits, false, &request, &error));
    assert_int_equal(chat_reply_open(&world.owner, exchange, "gemma4", &request, &prompt, &opening, &made, NULL),
                     LEAT_OK);
    fix(&made->base, "chatcmpl-1");
    submit(&made->base, &made->request.generation, &chat_reply_sink);
    return world.admission == JOB_ADMITTED ? made : NULL;
}

completion_reply *world_completion(const char *body)
{
    completion_request request;
    completion_reply *made = NULL;
    api_error error;
    const char *text = quoted(body);
    assert_true(completion_request_open(world.ledger, text, strlen(text), &test_limits, &request, &error));
    assert_int_equal(completion_reply_open(&world.owner, exchange, &request, &made, NULL), LEAT_OK);
    fix(&made->base, "cmpl-1");
    submit(&made->base, &made->request.generation, &completion_reply_sink);
    return world.admission == JOB_ADMITTED ? made : NULL;
}

bool world_token(const job_sink *sink, void *user, uint32_t choice, const char *text)
{
    job_token token = {.id = 9, .text = text, .text_bytes = strlen(text), .piece = text, .piece_bytes = strlen(text)};
    return sink->on_token(user, choice, &token);
}

bool world_choice_end(const job_sink *sink, void *user, uint32_t choice, job_end end, const char *rest)
{
    return sink->on_choice_end(user, choice, end, rest, strlen(rest));
}

void world_end(const job_sink *sink, void *user, job_end end, leat_status status)
{
    job_result result = {.end = end,
                         .status = status,
                         .seed = 11,
                         .prompt_count = 6,
                         .cached_count = 2,
                         .generated_count = 5,
                         .queue_ns = 1000000,
                         .prefill_ns = 8000000,
                         .first_token_ns = 9500000,
                         .decode_ns = 10000000};
    leat_error failure = {.status = status, .text = "/secret/path: read failed"};
    sink->on_end(user, &result, status == LEAT_OK ? NULL : &failure);
}

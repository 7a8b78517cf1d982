#include "server/reply.h"

#include "base/log.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

static const double ns_per_ms = 1e6;

/* ---- opening and freeing ----------------------------------------------------------------------------------------- */

void reply_make_id(const char *prefix, char *out, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345"; /* 32: five bits each */
    uint8_t random[24] = {0};
    /* Up to 256 bytes are given at once. An id only has to be unlike others; it keeps no secret. */
    (void)!getrandom(random, sizeof random, 0);
    size_t at = (size_t)snprintf(out, size, "%s", prefix);
    for (size_t i = 0; i < sizeof random && at + 1 < size; i++) out[at++] = letters[random[i] & 31];
    out[at] = '\0';
}

leat_status reply_open(reply *r, api *owner, const reply_kind *kind, http_exchange *x,
                       const generation_request *request, leat_error *error)
{
    mem *ledger = owner->settings.ledger;
    if (pthread_mutex_init(&r->lock, NULL) != 0) return FAIL(error, NO_MEMORY, "no memory for a lock");
    r->owner = owner;
    r->kind = kind;
    r->x = http_keep(x);
    atomic_init(&r->references, 2);
    r->streams = request->stream;
    r->include_usage = request->include_usage;
    r->timings_per_token = request->timings_per_token;
    r->return_progress = request->return_progress;
    r->ping_seconds = request->ping_seconds;
    r->line = (strbuf){.ledger = ledger};
    r->choices = (strbuf){.ledger = ledger};
    r->created = (int64_t)time(NULL);
    r->begin_ns = clock_now_ns();
    reply_make_id(kind->id_prefix, r->id, sizeof r->id);
    snprintf(r->fingerprint, sizeof r->fingerprint, "leat-%.12s-%.8s", leat_version(),
             leat_model_get_info(engine_worker_model(owner->worker))->fingerprint);
    return LEAT_OK;
}

static void drop(reply *r)
{
    if (atomic_fetch_sub(&r->references, 1) != 1) return;
    job_release(&r->work);
    http_release(&r->x);
    strbuf_reset(&r->line);
    strbuf_reset(&r->choices);
    pthread_mutex_destroy(&r->lock);
    r->kind->free(r);
}

bool reply_note(reply *r, leat_status status, const leat_error *error)
{
    if (status == LEAT_OK || status == LEAT_CANCELLED || !reply_is_whole(r)) return status == LEAT_OK;
    if (error) r->failure = *error;
    r->failure.status = status;
    if (r->work) job_note_failure(r->work);
    log_write(LOG_ERROR, "%s: writing the answer: %s", http_request_id(r->x),
              r->failure.text[0] != '\0' ? r->failure.text : leat_status_text(status));
    return false;
}

/* ---- the job ----------------------------------------------------------------------------------------------------- */

/* job_cancel may end the job, and so the reply, before it returns. */
static void cancel_job(void *user)
{
    job *work = job_keep(((reply *)user)->work);
    job_cancel(work);
    job_release(&work);
}

/* What a silent stream says: how far it is. On an HTTP thread. */
static size_t write_comment(void *user, char *buffer, size_t size)
{
    reply *r = user;
    uint32_t place = job_position(r->work), total = atomic_load(&r->prefill_total),
             done = atomic_load(&r->prefill_done);
    int bytes = place > 0      ? snprintf(buffer, size, ": queued %u\n\n", place)
                : done < total ? snprintf(buffer, size, ": prefill %u/%u\n\n", done, total)
                               : snprintf(buffer, size, ":\n\n");
    return bytes > 0 ? (size_t)bytes : 0;
}

/* The job never ran: both references are the handler's. */
static void refuse(reply *r, const api_error *error)
{
    http_on_close(r->x, NULL, NULL);
    api_reply_error(r->owner, r->x, error);
    atomic_store(&r->references, 1);
    drop(r);
}

static bool submit(reply *r, api_error *error)
{
    uint32_t retry_after_s = 0;
    http_on_close(r->x, cancel_job, r);
    /* Both hooks before anybody else knows the job: they have a lock of their own, under which a job may end. */
    if (r->streams) http_stream_set_idle(r->x, r->ping_seconds, write_comment, r);
    switch (job_submit(r->owner->worker, r->work, &retry_after_s)) {
    case JOB_ADMITTED: return true;
    case JOB_QUEUE_FULL: api_fail(error, API_QUEUE_FULL, NULL, "Too many requests are waiting."); break;
    case JOB_LOADING: api_fail(error, API_LOADING, NULL, "Loading model"); break;
    default: api_fail(error, API_SHUTTING_DOWN, NULL, "The server is shutting down."); break;
    }
    error->retry_after_s = retry_after_s;
    return false;
}

void reply_submit(reply *r, const job_settings *settings, leat_tokens *prompts, uint32_t prompt_count,
                  const job_sink *sink)
{
    api_error error;
    leat_error failure = {0};
    job_settings own = *settings;
    if (r->owner->settings.request_timeout_ns > 0)
        own.deadline_ns = http_begin_ns(r->x) + r->owner->settings.request_timeout_ns;
    leat_status status = job_open(r->owner->settings.ledger, &own, prompts, prompt_count, sink, r, &r->work, &failure);
    if (status != LEAT_OK) {
        api_fail_status(&error, &failure, NULL);
        refuse(r, &error);
        return;
    }
    if (!submit(r, &error)) {
        refuse(r, &error);
        return;
    }
    reply_begin(r);
    drop(r);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

void reply_begin(reply *r)
{
    if (!r->streams) return;
    pthread_mutex_lock(&r->lock);
    if (!r->is_begun) {
        r->is_begun = true;
        http_stream_begin(r->x, "text/event-stream; charset=utf-8");
        if (r->kind->begin_stream) r->kind->begin_stream(r);
    }
    pthread_mutex_unlock(&r->lock);
}

static void write_head(reply *r, json_writer *w, const char *object)
{
    json_writer_begin_object(w, NULL);
    json_writer_text(w, "id", r->id);
    json_writer_text(w, "object", object);
    json_writer_i64(w, "created", r->created);
    json_writer_text(w, "model", r->owner->name);
    json_writer_text(w, "system_fingerprint", r->fingerprint);
}

json_writer *reply_begin_chunk(reply *r)
{
    strbuf_cut(&r->line, 0);
    reply_note(r, strbuf_append_text(&r->line, "data: ", NULL), NULL);
    json_writer_init_text(&r->w, &r->line);
    write_head(r, &r->w, r->kind->chunk_object);
    json_writer_begin_array(&r->w, "choices");
    return &r->w;
}

/* Rates of nothing are 0. */
static void write_rate(json_writer *w, const char *ms_key, const char *rate_key, uint32_t count, double ms)
{
    json_writer_number(w, ms_key, count > 0 ? ms / count : 0);
    json_writer_number(w, rate_key, ms > 0 ? count * 1000.0 / ms : 0);
}

/* llama.cpp's names: its programs show them. */
static void write_timings(json_writer *w, const job_result *result)
{
    const uint32_t prompt_count = result->prompt_count - result->cached_count;
    const double prompt_ms = (double)result->prefill_ns / ns_per_ms;
    const double predicted_ms = (double)result->decode_ns / ns_per_ms;
    json_writer_begin_object(w, "timings");
    json_writer_u64(w, "cache_n", result->cached_count);
    json_writer_u64(w, "prompt_n", prompt_count);
    json_writer_number(w, "prompt_ms", prompt_ms);
    write_rate(w, "prompt_per_token_ms", "prompt_per_second", prompt_count, prompt_ms);
    json_writer_u64(w, "predicted_n", result->generated_count);
    json_writer_number(w, "predicted_ms", predicted_ms);
    write_rate(w, "predicted_per_token_ms", "predicted_per_second", result->generated_count, predicted_ms);
    json_writer_end_object(w);
}

static leat_status end_line(reply *r)
{
    TRY(r->w.status);
    return strbuf_append_text(&r->line, "\n\n", NULL);
}

static bool send_line(reply *r)
{
    reply_note(r, end_line(r), NULL);
    return reply_is_whole(r) && http_stream_write(r->x, strbuf_text(&r->line), r->line.count);
}

bool reply_end_chunk(reply *r)
{
    json_writer_end_array(&r->w);
    if (r->include_usage) json_writer_text(&r->w, "usage", NULL);
    /* The engine's thread writes the figures: before its first token another one may be here. */
    if (r->timings_per_token && r->generated_count > 0) write_timings(&r->w, job_figures(r->work));
    json_writer_end_object(&r->w);
    return send_line(r);
}

/* llama.cpp's form: an empty delta with the progress beside it. */
static bool send_progress(reply *r, uint32_t done, uint32_t total)
{
    slot_snapshot now;
    json_writer *w = reply_begin_chunk(r);
    engine_worker_snapshot(r->owner->worker, &now);
    json_writer_end_array(w);
    if (r->include_usage) json_writer_text(w, "usage", NULL);
    json_writer_begin_object(w, "prompt_progress");
    json_writer_u64(w, "total", total);
    json_writer_u64(w, "cache", now.cached_count);
    json_writer_u64(w, "processed", done);
    json_writer_number(w, "time_ms", (double)(clock_now_ns() - r->prefill_begin_ns) / ns_per_ms);
    json_writer_end_object(w);
    json_writer_end_object(w);
    return send_line(r);
}

bool reply_on_begin(void *user)
{
    reply *r = user;
    r->prefill_begin_ns = clock_now_ns();
    reply_begin(r);
    return true;
}

bool reply_on_prefill(void *user, uint32_t done, uint32_t total)
{
    reply *r = user;
    uint32_t before = atomic_exchange(&r->prefill_done, done);
    atomic_store(&r->prefill_total, total);
    if (!r->streams || !r->return_progress || before == done) return true;
    reply_begin(r);
    return send_progress(r, done, total);
}

void reply_count_token(reply *r) { r->generated_count++; }

/* ---- choices of a whole reply ------------------------------------------------------------------------------------ */

json_writer *reply_begin_choice(reply *r)
{
    if (r->choices.count > 0) reply_note(r, strbuf_append_text(&r->choices, ", ", NULL), NULL);
    json_writer_init_text(&r->w, &r->choices);
    json_writer_begin_object(&r->w, NULL);
    return &r->w;
}

void reply_end_choice(reply *r)
{
    json_writer_end_object(&r->w);
    reply_note(r, r->w.status, NULL);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void write_usage(const reply *r, json_writer *w, const job_result *result)
{
    json_writer_begin_object(w, "usage");
    json_writer_u64(w, "prompt_tokens", result->prompt_count);
    json_writer_u64(w, "completion_tokens", result->generated_count);
    json_writer_u64(w, "total_tokens", (uint64_t)result->prompt_count + result->generated_count);
    json_writer_begin_object(w, "prompt_tokens_details");
    json_writer_u64(w, "cached_tokens", result->cached_count);
    json_writer_end_object(w);
    json_writer_begin_object(w, "completion_tokens_details");
    json_writer_u64(w, "reasoning_tokens", r->reasoning_count);
    json_writer_end_object(w);
    json_writer_end_object(w);
}

static void write_figures(json_writer *w, const job_result *result)
{
    struct rusage use = {0};
    getrusage(RUSAGE_SELF, &use);
    json_writer_begin_object(w, "leat");
    json_writer_u64(w, "seed", result->seed);
    json_writer_number(w, "queue_ms", (double)result->queue_ns / ns_per_ms);
    json_writer_number(w, "ttft_ms", (double)result->first_token_ns / ns_per_ms);
    json_writer_u64(w, "expert_hits", result->expert_hits);
    json_writer_u64(w, "expert_misses", result->expert_misses);
    json_writer_u64(w, "bytes_read", result->read_bytes);
    json_writer_number(w, "read_ms", (double)result->read_ns / ns_per_ms);
    json_writer_number(w, "wait_ms", (double)result->wait_ns / ns_per_ms);
    json_writer_u64(w, "peak_rss_bytes", (uint64_t)use.ru_maxrss * 1024);
    json_writer_end_object(w);
}

static void write_account(const reply *r, json_writer *w, const job_result *result)
{
    write_usage(r, w, result);
    write_timings(w, result);
    write_figures(w, result);
    json_writer_end_object(w);
}

static void finish_whole(reply *r, const job_result *result)
{
    json_writer w;
    strbuf *text = &r->line;
    strbuf_cut(text, 0);
    json_writer_init_text(&w, text);
    write_head(r, &w, r->kind->object);
    json_writer_begin_array(&w, "choices");
    json_writer_raw(&w, NULL, strbuf_text(&r->choices), r->choices.count);
    json_writer_end_array(&w);
    write_account(r, &w, result);
    reply_note(r, w.status, NULL);
    api_reply_json(r->owner, r->x, &w, text);
}

static void finish_stream(reply *r, const job_result *result)
{
    static const char done[] = "data: [DONE]\n\n";
    if (r->include_usage) {
        json_writer *w = reply_begin_chunk(r);
        json_writer_end_array(w);
        write_account(r, w, result);
        if (!send_line(r)) {
            http_stream_abort(r->x);
            return;
        }
    }
    http_stream_write(r->x, done, sizeof done - 1);
    http_stream_end(r->x);
}

/* An event with an error, and no [DONE] behind it: clients take both as a failure. */
static void fail_stream(reply *r, const api_error *error)
{
    strbuf_cut(&r->line, 0);
    leat_status status = strbuf_append_text(&r->line, "data: ", NULL);
    json_writer_init_text(&r->w, &r->line);
    json_writer_begin_object(&r->w, NULL);
    api_error_write(error, &r->w);
    json_writer_text(&r->w, "request_id", http_request_id(r->x));
    json_writer_end_object(&r->w);
    if (status == LEAT_OK) status = end_line(r);
    if (status == LEAT_OK && http_stream_write(r->x, strbuf_text(&r->line), r->line.count))
        http_stream_end(r->x);
    else
        http_stream_abort(r->x);
}

/* False: the answer is not what was asked for. */
static bool is_complete(const reply *r, const job_result *result, const leat_error *failure, api_error *error)
{
    if (!reply_is_whole(r)) return api_fail_status(error, &r->failure, NULL);
    if (result->end == JOB_FAILED && failure) {
        log_write(LOG_ERROR, "%s: %s", http_request_id(r->x), failure->text);
        return api_fail_status(error, failure, NULL);
    }
    if (result->end == JOB_TIMEOUT) return api_fail(error, API_TIMEOUT, NULL, "The request took too long.");
    if (result->end == JOB_CANCELLED) return api_fail(error, API_SHUTTING_DOWN, NULL, "The request was cancelled.");
    return result->end != JOB_FAILED || api_fail(error, API_INTERNAL, NULL, "An internal error.");
}

void reply_on_end(void *user, const job_result *result, const leat_error *failure)
{
    reply *r = user;
    api_error error;
    http_tokens tokens = {.prompt_count = result->prompt_count,
                          .cached_count = result->cached_count,
                          .generated_count = result->generated_count,
                          .first_token_ns = result->first_token_ns};
    if (tokens.first_token_ns > 0) tokens.first_token_ns += r->begin_ns - http_begin_ns(r->x);
    reply_begin(r);
    http_log_tokens(r->x, &tokens);
    bool is_good = is_complete(r, result, failure, &error);
    if (is_good && r->streams)
        finish_stream(r, result);
    else if (is_good)
        finish_whole(r, result);
    else if (r->streams)
        fail_stream(r, &error);
    else
        api_reply_error(r->owner, r->x, &error);
    drop(r);
}

/* ---- logprobs ---------------------------------------------------------------------------------------------------- */

void reply_write_token(json_writer *w, const char *piece, size_t bytes)
{
    json_writer_bytes(w, "token", piece, bytes);
    json_writer_begin_array(w, "bytes");
    for (size_t i = 0; i < bytes; i++) json_writer_u64(w, NULL, (uint8_t)piece[i]);
    json_writer_end_array(w);
}

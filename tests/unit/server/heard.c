#include "heard.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t end_order;

heard *heard_new(void)
{
    heard *h = calloc(1, sizeof *h);
    assert_non_null(h);
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->changed, NULL);
    return h;
}

void heard_free(heard *h)
{
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->changed);
    free(h);
}

void heard_wait(heard *h)
{
    pthread_mutex_lock(&h->mutex);
    while (!h->is_ended) pthread_cond_wait(&h->changed, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
}

void heard_wait_held(heard *h)
{
    pthread_mutex_lock(&h->mutex);
    while (!h->is_held) pthread_cond_wait(&h->changed, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
}

void heard_let_go(heard *h)
{
    pthread_mutex_lock(&h->mutex);
    h->gate = GATE_OPEN;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

/* Under the mutex. */
static void stand_at(heard *h, heard_gate gate)
{
    if (h->gate != gate) return;
    h->is_held = true;
    pthread_cond_broadcast(&h->changed);
    while (h->gate == gate) pthread_cond_wait(&h->changed, &h->mutex);
    h->is_held = false;
}

static bool hear_begin(void *user)
{
    heard *h = user;
    pthread_mutex_lock(&h->mutex);
    stand_at(h, GATE_AT_BEGIN);
    pthread_mutex_unlock(&h->mutex);
    return true;
}

static bool hear_prefill(void *user, uint32_t done, uint32_t total)
{
    heard *h = user;
    pthread_mutex_lock(&h->mutex);
    h->prefill_count++;
    h->prefill_last = done;
    h->prefill_total = total;
    if (done > 0 && done < total) stand_at(h, GATE_AT_PREFILL);
    const bool goes_on = !h->stop_at_prefill;
    pthread_mutex_unlock(&h->mutex);
    return goes_on;
}

static bool hear_prompt_token(void *user, uint32_t prompt_idx, const job_token *token)
{
    heard *h = user;
    (void)prompt_idx;
    pthread_mutex_lock(&h->mutex);
    if (h->echo_count < HEARD_TOKENS && h->echo_bytes + token->text_bytes < HEARD_TEXT) {
        h->echo_ids[h->echo_count] = token->id;
        h->echo_has[h->echo_count] = token->has_logprob;
        h->echo_logprobs[h->echo_count++] = token->logprob;
        memcpy(h->echo_text + h->echo_bytes, token->text, token->text_bytes);
        h->echo_bytes += token->text_bytes;
    }
    pthread_mutex_unlock(&h->mutex);
    return true;
}

static void append_text(heard_choice *c, const char *text, size_t bytes)
{
    if (c->text_bytes + bytes >= HEARD_TEXT) return;
    memcpy(c->text + c->text_bytes, text, bytes);
    c->text_bytes += bytes;
}

static bool hear_token(void *user, uint32_t choice, const job_token *token)
{
    heard *h = user;
    pthread_mutex_lock(&h->mutex);
    heard_choice *c = &h->choices[choice];
    append_text(c, token->text, token->text_bytes);
    if (c->token_count < HEARD_TOKENS) {
        c->ids[c->token_count] = token->id;
        c->logprobs[c->token_count] = token->logprob;
        c->top_count = token->top_count;
        for (uint32_t i = 0; i < token->top_count; i++) {
            c->top_ids[c->token_count][i] = token->top_ids[i];
            c->top_logprobs[c->token_count][i] = token->top_logprobs[i];
        }
        c->token_count++;
    }
    if (c->pieces_bytes + token->piece_bytes < HEARD_TEXT) {
        memcpy(c->pieces + c->pieces_bytes, token->piece, token->piece_bytes);
        c->pieces_bytes += token->piece_bytes;
    }
    if (c->token_count > h->gate_token) stand_at(h, GATE_AT_TOKEN);
    const bool goes_on = h->stop_after == 0 || c->token_count < h->stop_after;
    pthread_mutex_unlock(&h->mutex);
    return goes_on;
}

static bool hear_choice_end(void *user, uint32_t choice, job_end end, const char *rest, size_t rest_bytes)
{
    heard *h = user;
    pthread_mutex_lock(&h->mutex);
    append_text(&h->choices[choice], rest, rest_bytes);
    h->choices[choice].end = end;
    h->choices[choice].end_count++;
    pthread_mutex_unlock(&h->mutex);
    return true;
}

static void hear_end(void *user, const job_result *result, const leat_error *error)
{
    heard *h = user;
    pthread_mutex_lock(&h->mutex);
    h->result = *result;
    if (error) h->error = *error;
    h->end_count++;
    h->order = atomic_fetch_add(&end_order, 1);
    h->is_ended = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

const job_sink heard_sink = {.on_begin = hear_begin,
                             .on_prefill = hear_prefill,
                             .on_prompt_token = hear_prompt_token,
                             .on_token = hear_token,
                             .on_choice_end = hear_choice_end,
                             .on_end = hear_end};

/* ---- a worker on a model ---- */

slot_snapshot look(engine_worker *w)
{
    slot_snapshot s;
    engine_worker_snapshot(w, &s);
    return s;
}

engine_worker *open_worker(mem *ledger, const char *model, const leat_options *options, uint32_t queue_max, metrics *m)
{
    const engine_worker_settings settings = {
        .model_path = model, .options = *options, .queue_max = queue_max, .metrics = m};
    const struct timespec pause = {.tv_nsec = 1000000};
    engine_worker *w = NULL;
    leat_error error = {0};
    assert_ok(engine_worker_open(ledger, &settings, &w, &error), &error);
    while (look(w).worker == WORKER_LOADING) nanosleep(&pause, NULL);
    assert_ok(engine_worker_load_error(w, &error), &error);
    return w;
}

leat_tokens copy_ids(const uint32_t *ids, size_t count)
{
    leat_tokens copy = {malloc(count * sizeof *ids), count};
    assert_non_null(copy.ids);
    memcpy(copy.ids, ids, count * sizeof *ids);
    return copy;
}

job *submit_ids(engine_worker *w, mem *ledger, const job_settings *settings, const uint32_t *ids, size_t count,
                heard *h)
{
    leat_tokens prompt = copy_ids(ids, count);
    leat_error error = {0};
    job *j = NULL;
    assert_ok(job_open(ledger, settings, &prompt, 1, &heard_sink, h, &j, &error), &error);
    assert_int_equal(job_submit(w, j, NULL), JOB_ADMITTED);
    return j;
}

void run_ids(engine_worker *w, mem *ledger, const job_settings *settings, const uint32_t *ids, size_t count, heard *h)
{
    job *j = submit_ids(w, ledger, settings, ids, count, h);
    heard_wait(h);
    job_release(&j);
    assert_int_equal(h->end_count, 1);
}

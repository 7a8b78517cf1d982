#include "job.h"

#include "base/bytes.h"
#include "server/engine_worker.h"
#include "server/job_parts.h"

#include <assert.h>
#include <string.h>

const char *job_end_label(job_end end)
{
    static const char *const labels[] = {"stop", "length", "cancelled", "timeout", "error"};
    return labels[end];
}

job_settings job_settings_default(void)
{
    return (job_settings){
        .max_tokens = JOB_TOKENS_UNLIMITED, .sampling = leat_sampler_options_default(), .n = 1, .cache_prompt = true};
}

/* ---- open: everything is copied ---- */

static leat_status copy_stops(job *j, char *const *stops, uint32_t count, leat_error *error)
{
    char **copies;
    TRY(MEM_NEW(j->ledger, META, max_u64(1, count), &copies, error));
    j->settings.stops = copies;
    j->settings.stop_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const size_t bytes = strlen(stops[i]) + 1;
        if (bytes == 1) continue;
        TRY(MEM_NEW(j->ledger, META, bytes, &copies[j->settings.stop_count], error));
        memcpy(copies[j->settings.stop_count++], stops[i], bytes);
        j->bytes += bytes;
    }
    return LEAT_OK;
}

static leat_status copy_biases(job *j, const job_bias *biases, uint32_t count, leat_error *error)
{
    job_bias *copies;
    TRY(MEM_NEW(j->ledger, META, max_u64(1, count), &copies, error));
    if (count > 0) memcpy(copies, biases, count * sizeof *copies);
    j->settings.biases = copies;
    j->settings.bias_count = count;
    j->bytes += count * sizeof *copies;
    return LEAT_OK;
}

static leat_status take_prompts(job *j, leat_tokens *prompts, uint32_t count, leat_error *error)
{
    TRY(MEM_NEW(j->ledger, META, count, &j->prompts, error));
    for (uint32_t p = 0; p < count; p++) {
        j->prompts[p] = prompts[p];
        j->bytes += prompts[p].count * sizeof *prompts[p].ids;
        prompts[p] = (leat_tokens){0};
    }
    j->prompt_count = count;
    return LEAT_OK;
}

static leat_status check_settings(const job_settings *s, const leat_tokens *prompts, uint32_t prompt_count,
                                  leat_error *error)
{
    leat_sampler *tried = NULL;
    if (prompt_count == 0 || s->n == 0) return FAIL(error, USAGE, "a job needs a prompt and a choice");
    if (s->top_logprobs > JOB_TOP_LOGPROBS_MAX)
        return FAIL(error, USAGE, "top_logprobs is %u, at most %d are possible", s->top_logprobs, JOB_TOP_LOGPROBS_MAX);
    for (uint32_t p = 0; p < prompt_count; p++)
        if (prompts[p].count == 0) return FAIL(error, USAGE, "prompt %u has no tokens", p);
    TRY(leat_sampler_open(&s->sampling, 1, &tried, error));
    leat_sampler_close(&tried);
    return LEAT_OK;
}

static void close_job(job *j)
{
    mem *ledger = j->ledger;
    for (uint32_t i = 0; j->settings.stops && i < j->settings.stop_count; i++) mem_free(ledger, j->settings.stops[i]);
    mem_free(ledger, (void *)(uintptr_t)j->settings.stops);
    mem_free(ledger, (void *)(uintptr_t)j->settings.biases);
    for (uint32_t p = 0; p < j->prompt_count; p++) leat_tokens_free(&j->prompts[p]);
    mem_free(ledger, j->prompts);
    mem_free(ledger, j);
}

leat_status job_open(mem *ledger, const job_settings *settings, leat_tokens *prompts, uint32_t prompt_count,
                     const job_sink *sink, void *user, job **out_job, leat_error *error)
{
    leat_status status = LEAT_OK;
    job *j;

    assert(sink->on_end);
    TRY(check_settings(settings, prompts, prompt_count, error));
    TRY(MEM_NEW(ledger, META, 1, &j, error));
    j->ledger = ledger;
    j->settings = *settings;
    j->settings.stops = NULL;
    j->settings.biases = NULL;
    j->sink = *sink;
    j->user = user;
    j->bytes = sizeof *j;
    atomic_store(&j->references, 1);
    TRY_OR(fail, copy_stops(j, settings->stops, settings->stop_count, error));
    TRY_OR(fail, copy_biases(j, settings->biases, settings->bias_count, error));
    TRY_OR(fail, take_prompts(j, prompts, prompt_count, error));
    *out_job = j;
    return LEAT_OK;
fail:
    close_job(j);
    return status;
}

/* ---- references ---- */

job *job_keep(job *j)
{
    atomic_fetch_add(&j->references, 1);
    return j;
}

void job_release(job **job_ptr)
{
    job *j = *job_ptr;
    *job_ptr = NULL;
    if (j && atomic_fetch_sub(&j->references, 1) == 1) close_job(j);
}

/* ---- what others ask ---- */

void job_set_cause(job *j, job_cause cause)
{
    int none = JOB_NO_CAUSE;
    atomic_compare_exchange_strong(&j->cause, &none, (int)cause);
}

void job_end_unbegun(job *j, uint64_t now_ns)
{
    job_result result = {.end = job_cause_of(j) == JOB_CAUSE_DEADLINE ? JOB_TIMEOUT : JOB_CANCELLED};
    for (uint32_t p = 0; p < j->prompt_count; p++) result.prompt_count += (uint32_t)j->prompts[p].count;
    result.queue_ns = result.total_ns = now_ns - j->submitted_ns;
    j->sink.on_end(j->user, &result, NULL);
}

const job_result *job_figures(const job *j) { return &j->figures; }
void job_note_failure(job *j) { job_set_cause(j, JOB_CAUSE_FAILURE); }
void job_note_tool_calls(job *j) { j->has_tool_calls = true; }
uint64_t job_number(const job *j) { return atomic_load(&j->number); }
uint64_t job_bytes(const job *j) { return j->bytes; }

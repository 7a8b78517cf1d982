/*
 * sampler_handle.c - leat_sampler, and where the options of sampling come from: ours, or the model's.
 */
#include "api/handles.h"

struct leat_sampler {
    mem *ledger;
    sampler *inner;
};

static const sampler_options sampler_defaults = {
    .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1, .repeat_last = 64};

leat_status sampling_read(const hf_config *g, sampler_options *out, leat_error *error)
{
    double temperature, top_p, min_p, repeat;
    bool do_sample;

    *out = sampler_defaults;
    if (!g) return LEAT_OK;
    TRY(hf_config_f64_or(g, "temperature", 0, 100, out->temperature, &temperature, error));
    TRY(hf_config_f64_or(g, "top_p", 0, 1, out->top_p, &top_p, error));
    TRY(hf_config_f64_or(g, "min_p", 0, 1, hf_config_has(g, "top_p") ? 0 : out->min_p, &min_p, error));
    TRY(hf_config_f64_or(g, "repetition_penalty", 0.01, 100, 1, &repeat, error));
    TRY(hf_config_u32_or(g, "top_k", 0, 1 << 24, out->top_k, &out->top_k, error));
    TRY(hf_config_bool_or(g, "do_sample", true, &do_sample, error));
    out->temperature = do_sample ? (float)temperature : 0;
    out->top_p = (float)top_p;
    out->min_p = (float)min_p;
    out->repeat_penalty = (float)repeat;
    return LEAT_OK;
}

static leat_sampler_options public_sampling(const sampler_options *o)
{
    return (leat_sampler_options){
        o->temperature,       o->top_k,       o->top_p, o->min_p, o->repeat_penalty, o->presence_penalty,
        o->frequency_penalty, o->repeat_last, o->seed};
}

leat_sampler_options leat_sampler_options_default(void) { return public_sampling(&sampler_defaults); }

leat_sampler_options leat_model_sampler_options(const leat_model *model) { return public_sampling(&model->sampling); }

leat_status leat_sampler_open(const leat_sampler_options *o, uint32_t vocab_size, leat_sampler **out_sampler,
                              leat_error *error)
{
    const sampler_options inner = {
        o->temperature,       o->top_k,       o->top_p, o->min_p, o->repeat_penalty, o->presence_penalty,
        o->frequency_penalty, o->repeat_last, o->seed};
    leat_status status = LEAT_OK;
    leat_sampler *s = NULL;
    mem *ledger = NULL;

    TRY(mem_open(0, &ledger, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_META, 1, sizeof *s, 0, "sampler", (void **)&s, error));
    s->ledger = ledger;
    TRY_OR(fail, sampler_open(ledger, &inner, vocab_size, &s->inner, error));
    *out_sampler = s;
    return LEAT_OK;
fail:
    mem_free(ledger, s);
    mem_close(&ledger);
    return status;
}

void leat_sampler_close(leat_sampler **handle)
{
    leat_sampler *s = *handle;

    if (!s) return;
    mem *ledger = s->ledger;
    sampler_close(&s->inner);
    mem_free(ledger, s);
    mem_close(&ledger);
    *handle = NULL;
}

leat_status leat_sampler_pick(leat_sampler *s, const float *logits, const uint32_t *recent, size_t recent_count,
                              uint32_t *out_id, leat_error *error)
{
    return sampler_pick(s->inner, logits, recent, recent_count, out_id, error);
}

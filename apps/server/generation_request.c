#include "server/generation_request.h"

#include <stdlib.h>
#include <string.h>

const char *const generation_request_fields[] = {"model",
                                                 "n_predict",
                                                 "max_tokens",
                                                 "max_completion_tokens",
                                                 "temperature",
                                                 "top_p",
                                                 "min_p",
                                                 "top_k",
                                                 "seed",
                                                 "n",
                                                 "repetition_penalty",
                                                 "repeat_penalty",
                                                 "frequency_penalty",
                                                 "presence_penalty",
                                                 "stop",
                                                 "logit_bias",
                                                 "stream",
                                                 "stream_options",
                                                 "sse_ping_interval",
                                                 "id_slot",
                                                 "cache_prompt",
                                                 "ignore_eos",
                                                 "timings_per_token",
                                                 "return_progress",
                                                 "user",
                                                 "metadata",
                                                 "store",
                                                 "service_tier",
                                                 "response_format",
                                                 NULL};

/* Other servers' ways to hold an answer to a form, and OpenAI's former one to tell of tools. Who sends these builds on
 * them, so they are refused rather than passed over like a field that is not known. */
static const struct {
    const char *name, *instead;
} missed_fields[] = {
    {"grammar", ""},       {"json_schema", ""},    {"guided_json", ""},        {"guided_regex", ""},
    {"guided_choice", ""}, {"guided_grammar", ""}, {"structured_outputs", ""}, {"functions", " Send 'tools'."},
};

static bool is_empty(const json_t *value)
{
    if (json_is_string(value)) return json_string_length(value) == 0;
    if (json_is_array(value) || json_is_object(value)) return json_array_size(value) + json_object_size(value) == 0;
    return json_is_false(value);
}

static bool refuse_missed(const json_view *body, api_error *error)
{
    for (size_t i = 0; i < sizeof missed_fields / sizeof missed_fields[0]; i++) {
        json_view v = json_view_member(body, missed_fields[i].name);
        if (v.value && !is_empty(v.value))
            return api_fail(error, API_UNSUPPORTED_PARAMETER, v.path, "'%s' is not supported.%s", v.path,
                            missed_fields[i].instead);
    }
    return true;
}

/* A form that the answer cannot be held to is refused rather than hoped for. */
static bool read_format(const json_view *body, api_error *error)
{
    json_view format;
    const char *type = NULL;
    if (!json_field_object(body, "response_format", &format, error)) return false;
    if (!format.value) return true;
    json_view v = json_view_member(&format, "type");
    if (!json_view_text(&v, &type, error)) return false;
    if (!type) return api_fail(error, API_MISSING, v.path, "'%s' is missing.", v.path);
    return strcmp(type, "text") == 0 ||
           api_fail(error, API_UNSUPPORTED_PARAMETER, "response_format",
                    "'response_format' of type '%.40s' is not supported: answers are not held to a form. Ask for it in "
                    "the prompt; a chat can demand a call, with 'tools' and 'tool_choice'.",
                    type);
}

/* The three names for it; the first that is there counts, all are checked. -1 is llama.cpp's "as many as fit". */
static bool read_max_tokens(const json_view *body, uint32_t *out, api_error *error)
{
    static const char *const names[] = {"n_predict", "max_tokens", "max_completion_tokens"};
    for (size_t i = 0; i < 3; i++) {
        int64_t count = *out == JOB_TOKENS_UNLIMITED ? -1 : (int64_t)*out;
        if (!json_field_i64(body, names[i], i == 0 ? -1 : 0, INT32_MAX, &count, error)) return false;
        *out = count < 0 ? JOB_TOKENS_UNLIMITED : (uint32_t)count;
    }
    return true;
}

static bool read_top_p(const json_view *body, float *out, api_error *error)
{
    json_view v = json_view_member(body, "top_p");
    if (!json_view_single(&v, 0, 1, out, error)) return false;
    /* Nothing at all cannot be chosen from; the likeliest token is what a tiny number gives. */
    return *out > 0 || api_fail(error, API_OUT_OF_RANGE, v.path, "'top_p' must be greater than 0 and at most 1.");
}

static bool read_seed(const json_view *body, generation_request *r, api_error *error)
{
    json_view v = json_view_member(body, "seed");
    int64_t seed = 0;
    if (!json_view_i64(&v, INT64_MIN, INT64_MAX, &seed, error)) return false;
    r->has_seed = v.value != NULL;
    r->sampling.seed = (uint64_t)seed;
    return true;
}

static bool read_sampling(const json_view *body, generation_request *r, api_error *error)
{
    leat_sampler_options *s = &r->sampling;
    int64_t top_k = s->top_k;
    if (!json_field_single(body, "temperature", 0, 2, &s->temperature, error) || !read_top_p(body, &s->top_p, error) ||
        !json_field_single(body, "min_p", 0, 1, &s->min_p, error) ||
        !json_field_i64(body, "top_k", -1, INT32_MAX, &top_k, error) ||
        !json_field_single(body, "repetition_penalty", 0.01, 100, &s->repeat_penalty, error) ||
        !json_field_single(body, "repeat_penalty", 0.01, 100, &s->repeat_penalty, error) ||
        !json_field_single(body, "frequency_penalty", -2, 2, &s->frequency_penalty, error) ||
        !json_field_single(body, "presence_penalty", -2, 2, &s->presence_penalty, error) || !read_seed(body, r, error))
        return false;
    s->top_k = top_k < 0 ? 0 : (uint32_t)top_k;
    return true;
}

static bool read_stop(const json_view *v, generation_request *r, api_error *error)
{
    const char *text = NULL;
    if (!v->value || !json_is_string(v->value)) return json_view_wrong_type(v, "a string", error);
    if (!json_view_text(v, &text, error)) return false;
    size_t bytes = strlen(text);
    if (bytes == 0 || bytes > REQUEST_STOP_BYTES_MAX)
        return api_fail(error, API_OUT_OF_RANGE, v->path, "'%s' has %zu bytes; between 1 and %d are allowed.", v->path,
                        bytes, REQUEST_STOP_BYTES_MAX);
    r->stops[r->stop_count++] = text;
    return true;
}

static bool read_stops(const json_view *body, generation_request *r, api_error *error)
{
    json_view v = json_view_member(body, "stop");
    if (!v.value) return true;
    if (json_is_string(v.value)) return read_stop(&v, r, error);
    if (!json_is_array(v.value)) return json_view_wrong_type(&v, "a string or an array of strings", error);
    if (!json_field_array(body, "stop", REQUEST_STOPS_MAX, &v, error)) return false;
    for (size_t i = 0; i < json_array_size(v.value); i++) {
        json_view element = json_view_element(&v, i);
        if (!read_stop(&element, r, error)) return false;
    }
    return true;
}

static bool read_bias_id(const json_view *map, const char *key, uint32_t vocab_size, uint32_t *out, api_error *error)
{
    size_t digits = strspn(key, "0123456789");
    unsigned long long id = digits >= 1 && digits <= 10 && key[digits] == '\0' ? strtoull(key, NULL, 10) : UINT64_MAX;
    if (id >= vocab_size)
        return api_fail(error, API_OUT_OF_RANGE, map->path, "'%s': '%.32s' is not the id of a token (0 to %u).",
                        map->path, key, vocab_size - 1);
    *out = (uint32_t)id;
    return true;
}

static bool read_biases(mem *ledger, const json_view *body, uint32_t vocab_size, generation_request *r,
                        api_error *error)
{
    json_view map;
    const char *key;
    json_t *value;
    leat_error failure = {0};
    if (!json_field_object(body, "logit_bias", &map, error)) return false;
    if (!map.value || json_object_size(map.value) == 0) return true;
    if (json_object_size(map.value) > REQUEST_BIASES_MAX)
        return api_fail(error, API_OUT_OF_RANGE, map.path, "'%s' has %zu entries; at most %d are allowed.", map.path,
                        json_object_size(map.value), REQUEST_BIASES_MAX);
    if (MEM_NEW(ledger, META, json_object_size(map.value), &r->biases, &failure) != LEAT_OK)
        return api_fail_status(error, &failure, NULL);
    json_object_foreach(map.value, key, value)
    {
        job_bias *bias = &r->biases[r->bias_count];
        json_view v = json_view_member(&map, key);
        if (!v.value) return json_view_wrong_type(&v, "a number", error);
        if (!read_bias_id(&map, key, vocab_size, &bias->id, error) ||
            !json_view_single(&v, -100, 100, &bias->bias, error))
            return false;
        r->bias_count++;
    }
    return true;
}

static bool read_stream(const json_view *body, generation_request *r, api_error *error)
{
    json_view options;
    if (!json_field_flag(body, "stream", &r->stream, error) ||
        !json_field_object(body, "stream_options", &options, error) ||
        !json_field_u32(body, "sse_ping_interval", 1, 3600, &r->ping_seconds, error))
        return false;
    if (!options.value) return true;
    if (!r->stream)
        return api_fail(error, API_INVALID_VALUE, options.path,
                        "'stream_options' is for requests with 'stream': true.");
    return json_field_flag(&options, "include_usage", &r->include_usage, error);
}

static bool read_all(mem *ledger, const json_view *body, const request_limits *limits, generation_request *r,
                     api_error *error)
{
    int64_t slot = -1;
    /* One sequence runs at a time, so there is one slot to ask for. */
    return refuse_missed(body, error) && read_format(body, error) && json_field_text(body, "model", &r->model, error) &&
           read_max_tokens(body, &r->max_tokens, error) && read_sampling(body, r, error) &&
           json_field_u32(body, "n", 1, REQUEST_CHOICES_MAX, &r->n, error) && read_stops(body, r, error) &&
           read_biases(ledger, body, limits->vocab_size, r, error) && read_stream(body, r, error) &&
           json_field_i64(body, "id_slot", -1, 0, &slot, error) &&
           json_field_flag(body, "cache_prompt", &r->cache_prompt, error) &&
           json_field_flag(body, "ignore_eos", &r->ignore_eos, error) &&
           json_field_flag(body, "timings_per_token", &r->timings_per_token, error) &&
           json_field_flag(body, "return_progress", &r->return_progress, error);
}

bool generation_request_read(mem *ledger, const json_view *body, const request_limits *limits,
                             uint32_t max_tokens_default, generation_request *out, api_error *error)
{
    *out = (generation_request){.max_tokens = max_tokens_default,
                                .sampling = limits->sampling,
                                .n = 1,
                                .cache_prompt = true,
                                .ping_seconds = REQUEST_PING_SECONDS};
    if (read_all(ledger, body, limits, out, error)) return true;
    generation_request_reset(ledger, out);
    return false;
}

void generation_request_reset(mem *ledger, generation_request *r)
{
    mem_free(ledger, r->biases);
    *r = (generation_request){0};
}

job_settings generation_request_settings(const generation_request *r)
{
    job_settings s = job_settings_default();
    s.max_tokens = r->max_tokens;
    s.sampling = r->sampling;
    s.has_seed = r->has_seed;
    s.n = r->n;
    s.stops = (char *const *)r->stops;
    s.stop_count = r->stop_count;
    s.biases = r->biases;
    s.bias_count = r->bias_count;
    s.cache_prompt = r->cache_prompt;
    s.ignore_eos = r->ignore_eos;
    return s;
}

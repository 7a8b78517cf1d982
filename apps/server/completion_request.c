#include "server/completion_request.h"

#include "server/unknown_fields.h"

#include <string.h>

bool completion_read_ids(mem *ledger, const json_view *array, uint32_t vocab_size, uint32_t **out_ids,
                         uint32_t *out_count, api_error *error)
{
    leat_error failure = {0};
    uint32_t *ids = NULL;
    size_t count = json_array_size(array->value);
    if (count > UINT32_MAX / 2) return api_fail(error, API_OUT_OF_RANGE, array->path, "'%s' is too long.", array->path);
    if (MEM_NEW(ledger, META, count, &ids, &failure) != LEAT_OK) return api_fail_status(error, &failure, NULL);
    for (size_t i = 0; i < count; i++) {
        json_view id = json_view_element(array, i);
        bool is_good = id.value ? json_view_u32(&id, 0, vocab_size - 1, &ids[i], error)
                                : json_view_wrong_type(&id, "the id of a token", error);
        if (is_good) continue;
        mem_free(ledger, ids);
        return false;
    }
    *out_ids = ids;
    *out_count = (uint32_t)count;
    return true;
}

static bool read_prompt(const json_view *v, uint32_t vocab_size, completion_request *r, api_error *error)
{
    completion_prompt *prompt = &r->prompts[r->prompt_count];
    if (v->value && json_is_string(v->value)) {
        prompt->text = json_string_value(v->value);
        prompt->text_bytes = json_string_length(v->value);
    } else if (v->value && json_is_array(v->value)) {
        if (json_array_size(v->value) == 0)
            return api_fail(error, API_OUT_OF_RANGE, v->path, "'%s' is empty.", v->path);
        if (!completion_read_ids(r->ledger, v, vocab_size, &prompt->ids, &prompt->id_count, error)) return false;
    } else {
        return json_view_wrong_type(v, "a string or an array of token ids", error);
    }
    r->prompt_count++;
    return true;
}

static bool read_prompts(const json_view *body, uint32_t vocab_size, completion_request *r, api_error *error)
{
    json_view v = json_view_member(body, "prompt");
    if (!v.value) return api_fail(error, API_MISSING, "prompt", "'prompt' is missing.");
    /* A list of numbers is one prompt, a list of anything else one prompt each. */
    bool is_list = json_is_array(v.value) && !json_is_number(json_array_get(v.value, 0));
    if (!is_list) return read_prompt(&v, vocab_size, r, error);
    size_t count = json_array_size(v.value);
    if (count == 0 || count > COMPLETION_PROMPTS_MAX)
        return api_fail(error, API_OUT_OF_RANGE, "prompt", "'prompt' has %zu entries; between 1 and %d are allowed.",
                        count, COMPLETION_PROMPTS_MAX);
    for (size_t i = 0; i < count; i++) {
        json_view element = json_view_element(&v, i);
        if (!read_prompt(&element, vocab_size, r, error)) return false;
    }
    return true;
}

static bool read_logprobs(const json_view *body, completion_request *r, api_error *error)
{
    json_view v = json_view_member(body, "logprobs");
    r->logprobs = v.value != NULL;
    return json_view_u32(&v, 0, COMPLETION_LOGPROBS_MAX, &r->top_logprobs, error);
}

static bool check_best_of(const json_view *body, uint32_t n, api_error *error)
{
    uint32_t best_of = n;
    if (!json_field_u32(body, "best_of", 1, UINT32_MAX, &best_of, error)) return false;
    return best_of == n || api_fail(error, API_UNSUPPORTED_PARAMETER, "best_of", "'best_of' must equal 'n'.");
}

static bool refuse_suffix(const json_view *body, api_error *error)
{
    json_view v = json_view_member(body, "suffix");
    return !v.value || api_fail(error, API_UNSUPPORTED_PARAMETER, "suffix",
                                "'suffix' is not supported: this model does not fill in the middle.");
}

static const char *const own_fields[] = {"prompt", "echo", "logprobs", "best_of", "suffix", NULL};

static bool read_all(const json_view *body, const request_limits *limits, completion_request *r, api_error *error)
{
    if (!generation_request_read(r->ledger, body, limits, COMPLETION_TOKENS_DEFAULT, &r->generation, error) ||
        !read_prompts(body, limits->vocab_size, r, error) || !json_field_flag(body, "echo", &r->echo, error) ||
        !read_logprobs(body, r, error) || !check_best_of(body, r->generation.n, error) || !refuse_suffix(body, error))
        return false;
    return true;
}

bool completion_request_open(mem *ledger, const char *body, size_t bytes, const request_limits *limits,
                             completion_request *out, api_error *error)
{
    *out = (completion_request){.ledger = ledger};
    if (!json_value_parse(body, bytes, &out->document, error)) return false;
    json_view view = json_view_of(out->document);
    if (read_all(&view, limits, out, error)) {
        unknown_fields_note(out->document, generation_request_fields, own_fields);
        return true;
    }
    completion_request_reset(out);
    return false;
}

void completion_request_reset(completion_request *r)
{
    if (!r->ledger) return;
    generation_request_reset(r->ledger, &r->generation);
    for (uint32_t i = 0; i < COMPLETION_PROMPTS_MAX; i++) mem_free(r->ledger, r->prompts[i].ids);
    json_decref(r->document);
    *r = (completion_request){0};
}

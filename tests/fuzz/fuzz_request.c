/*
 * fuzz_request.c - any bytes as the body of a chat and of a completion. What must hold: a failure is the client's (400)
 * and names no field that is too long, a success keeps every limit and gives a conversation that is JSON again, and all
 * memory comes back.
 */
#include "fuzz/fuzz.h"

#include "server/chat_request.h"
#include "server/completion_request.h"

#include <string.h>

const char *const fuzz_words[] = {
    "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]",
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}",
    "{\"type\":\"text\",\"text\":\"x\"}",
    "\"prompt\":",
    "\"stop\":[\"a\"],",
    "\"logit_bias\":{\"7\":1},",
    "\"tools\":[",
    "\"tool_choice\":",
    "\"stream\":true,",
    "\"n\":8,",
    "\"temperature\":0.5,",
    "\"logprobs\":",
    "\"chat_template_kwargs\":{",
    "null",
    "true",
    "1e400",
    "\\u0000",
    "\\ud83d",
    "[[[[",
    "}",
    ",",
    NULL,
};

static const request_limits limits = {.vocab_size = 300,
                                      .sampling = {.temperature = 1, .top_p = 1, .repeat_penalty = 1}};

static void check_error(const api_error *error)
{
    int status = api_error_http_status(error);
    FUZZ_CHECK(status == 400 || status == 503);
    FUZZ_CHECK(strlen(error->param) < sizeof error->param && error->message[0] != '\0');
}

static void check_generation(const generation_request *g)
{
    FUZZ_CHECK(g->n >= 1 && g->n <= REQUEST_CHOICES_MAX && g->stop_count <= REQUEST_STOPS_MAX);
    FUZZ_CHECK(g->sampling.temperature >= 0 && g->sampling.temperature <= 2);
    FUZZ_CHECK(g->sampling.top_p > 0 && g->sampling.top_p <= 1);
    for (uint32_t i = 0; i < g->bias_count; i++)
        FUZZ_CHECK(g->biases[i].id < limits.vocab_size && g->biases[i].bias >= -100 && g->biases[i].bias <= 100);
    for (uint32_t i = 0; i < g->stop_count; i++)
        FUZZ_CHECK(g->stops[i][0] != '\0' && strlen(g->stops[i]) <= REQUEST_STOP_BYTES_MAX);
}

static void try_chat(mem *ledger, const char *body, size_t count)
{
    chat_request r;
    api_error error = {0};
    if (!chat_request_open(ledger, body, count, &limits, false, &r, &error)) {
        check_error(&error);
        return;
    }
    check_generation(&r.generation);
    FUZZ_CHECK(r.tools.choice != TOOL_CHOICE_NAMED || r.tools.name);
    FUZZ_CHECK(r.tools.choice < TOOL_CHOICE_REQUIRED || r.tools.list);
    json_t *again = json_value_parse_any(strbuf_text(&r.conversation), r.conversation.count);
    /* Arguments that were text may have made it deeper than requests may be. */
    if (again) FUZZ_CHECK(json_array_size(json_object_get(again, "messages")) > 0);
    json_decref(again);
    chat_request_reset(&r);
}

static void try_completion(mem *ledger, const char *body, size_t count)
{
    completion_request r;
    api_error error = {0};
    if (!completion_request_open(ledger, body, count, &limits, &r, &error)) {
        check_error(&error);
        return;
    }
    check_generation(&r.generation);
    FUZZ_CHECK(r.prompt_count >= 1 && r.prompt_count <= COMPLETION_PROMPTS_MAX);
    for (uint32_t i = 0; i < r.prompt_count; i++) {
        FUZZ_CHECK((r.prompts[i].text != NULL) != (r.prompts[i].ids != NULL));
        for (uint32_t k = 0; k < r.prompts[i].id_count; k++) FUZZ_CHECK(r.prompts[i].ids[k] < limits.vocab_size);
    }
    completion_request_reset(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    if (mem_open(64 << 20, &ledger, NULL) != LEAT_OK) return 0;
    json_value_setup(ledger);
    try_chat(ledger, (const char *)bytes, count);
    try_completion(ledger, (const char *)bytes, count);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    json_value_setup(NULL);
    mem_close(&ledger);
    return 0;
}

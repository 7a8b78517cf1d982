/*
 * Chat templates of real models through the public interface: what each says of itself, and that plans have room for
 * them and for rendering. The templates in the repository, and those of the conformance folder where it is at hand.
 */
#include "api_support.h"

#include "text/jinja/jinja.h"

#include <dirent.h>

#define BROOK LEAT_SOURCE_ROOT "/models/brook"

typedef struct template_file {
    char *name; /* without the ending */
    char *text;
    size_t bytes;
} template_file;

typedef void template_fn(const template_file *t);

static void read_template(const char *folder, const char *name, template_file *out)
{
    char path[2 * UNIT_PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    out->text = malloc(1 << 20);
    out->bytes = fread(out->text, 1, 1 << 20, in);
    assert_int_equal(fclose(in), 0);
    out->name = strdup(name);
    out->name[strlen(name) - strlen(".jinja")] = 0;
}

/* How many there are. */
static unsigned for_each_in(const char *folder, template_fn *fn)
{
    unsigned count = 0;
    DIR *list = opendir(folder);

    if (!list) return 0;
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        const char *end = strrchr(entry->d_name, '.');
        template_file t = {0};
        if (!end || strcmp(end, ".jinja") != 0) continue;
        read_template(folder, entry->d_name, &t);
        fn(&t);
        free(t.name);
        free(t.text);
        count++;
    }
    closedir(list);
    return count;
}

static void for_each_template(template_fn *fn)
{
    const char *conformance = getenv("LEAT_CONFORMANCE");
    char folder[UNIT_PATH_BYTES];

    assert_in_range(for_each_in(LEAT_SOURCE_ROOT "/tests/golden/templates", fn), 9, 100);
    snprintf(folder, sizeof folder, "%s/templates",
             conformance ? conformance : LEAT_SOURCE_ROOT "/../shared/conformance");
    const unsigned count = for_each_in(folder, fn);
    if (count == 0) print_message("[  NOTE    ] no conformance data: %s (set LEAT_CONFORMANCE)\n", folder);
}

/* ---- what a template says of itself ---- */

static const struct {
    const char *name;
    bool takes_tools, can_think;
} facts[] = {
    {"CohereForAI-c4ai-command-r-plus-tool_use", true, false},
    {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", true, true},
    {"GLM-4.6", true, true},
    {"HuggingFaceTB-SmolLM3-3B", false, true},
    {"Kimi-K2-Instruct", true, false},
    {"MiniMax-M2", true, true},
    {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", true, true},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", true, false},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", true, false},
    {"Qwen-Qwen2.5-7B-Instruct", true, false},
    {"Qwen-Qwen3-0.6B", true, true},
    {"Qwen3-Coder", true, false},
    {"Qwen3.5-4B", true, true},
    {"deepseek-ai-DeepSeek-V3.1", false, true},
    {"deepseek-ai-DeepSeek-V3.2", true, true},
    {"google-gemma-2-2b-it", false, false},
    {"google-gemma-4-31B-it", true, true},
    {"google-gemma-4-31B-it-interleaved", true, true},
    {"ibm-granite-granite-4.0", true, false},
    {"meta-llama-Llama-3.1-8B-Instruct", true, false},
    {"meta-llama-Llama-3.3-70B-Instruct", true, false},
    {"microsoft-Phi-3.5-mini-instruct", false, false},
    {"mistralai-Mistral-Nemo-Instruct-2407", true, false},
    {"openai-gpt-oss-120b", true, true},
};

static leat_tokenizer *brook_tokenizer;

static void check_facts(const template_file *t)
{
    leat_error error = {0};
    leat_chat *chat = NULL;

    assert_ok(leat_chat_open(brook_tokenizer, t->text, t->bytes, &chat, &error), &error);
    const leat_chat_info info = leat_chat_get_info(chat);
    assert_string_equal(info.source, "given");
    assert_int_equal(info.template_bytes, t->bytes);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        if (strcmp(facts[i].name, t->name) != 0) continue;
        if (info.takes_tools != facts[i].takes_tools || info.can_think != facts[i].can_think)
            fail_msg("%s: takes tools %d, can think %d", t->name, info.takes_tools, info.can_think);
    }
    leat_chat_close(&chat);
}

static void test_what_templates_can_do(void **state)
{
    leat_error error = {0};

    (void)state;
    assert_ok(leat_tokenizer_open(BROOK, &brook_tokenizer, &error), &error);
    for_each_template(check_facts);
    leat_tokenizer_close(&brook_tokenizer);
}

/* ---- memory ---- */

static const char small_talk[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Yes?\"}, "
    "{\"role\": \"user\", \"content\": \"Why?\"}]}";

static uint64_t compiled_peak_bytes(const template_file *t)
{
    leat_error error = {0};
    mem *ledger = NULL;
    jinja_template *compiled = NULL;

    assert_ok(mem_open(UINT64_C(1) << 30, &ledger, &error), &error);
    assert_ok(jinja_open(ledger, t->name, t->text, t->bytes, NULL, &compiled, NULL, &error), &error);
    const uint64_t peak = mem_total_usage(ledger).peak_bytes;
    jinja_close(&compiled);
    mem_close(&ledger);
    return peak;
}

/* At the least budget there is room for a template that the caller brings, for the folder's, and for a short talk. */
static void check_plan(const template_file *t)
{
    leat_options options = {.thread_count = 1, .prefill_chunk = 1, .ctx = 512, .chat_template_bytes = t->bytes};
    uint64_t before, current, peak;
    leat_error error = {0};
    leat_chat *chat = NULL;
    leat_tokens ids = {0};

    assert_in_range(compiled_peak_bytes(t), t->bytes, jinja_open_bytes(t->bytes));
    options.ram_bytes = floor_of(BROOK, &options);
    opened o = open_all(BROOK, &options);
    const leat_plan *p = leat_engine_plan(o.engine);
    const leat_tokenizer *words = leat_engine_tokenizer(o.engine);
    leat_tokenizer_memory(words, &before, &peak);
    assert_in_range(before + jinja_open_bytes(t->bytes), 1, p->tokenizer_bytes); /* the plan counts the template */
    assert_ok(leat_chat_open(words, t->text, t->bytes, &chat, &error), &error);
    leat_tokenizer_memory(words, &current, &peak);
    assert_in_range(current, before, before + t->bytes + jinja_open_bytes(t->bytes));
    assert_in_range(current, before, p->tokenizer_bytes);
    /* One of them raises without tools; none lacks memory. */
    const leat_status status = leat_chat_render(chat, small_talk, strlen(small_talk), &ids, NULL, &error);
    if (status != LEAT_USAGE) assert_ok(status, &error);
    leat_tokens_free(&ids);
    leat_chat_close(&chat);
    close_all(&o);
}

static void test_plans_have_room_for_templates(void **state)
{
    (void)state;
    for_each_template(check_plan);
    const leat_options options = {.thread_count = 1, .prefill_chunk = 1, .ctx = 512};
    leat_options large = options;
    large.chat_template_bytes = 100000;
    assert_in_range(floor_of(BROOK, &large), floor_of(BROOK, &options) + 90000 * 32, UINT64_MAX);
}

/* A conversation of `bytes` that are `word` again and again. */
static char *long_talk(const char *word, size_t bytes)
{
    static const char begin[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"", end[] = "\"}]}";
    char *text = malloc(bytes + strlen(word) + sizeof begin + sizeof end);

    strcpy(text, begin);
    size_t at = strlen(text);
    for (const size_t last = at + bytes; at < last; at += strlen(word)) strcpy(text + at, word);
    strcpy(text + at, end);
    return text;
}

/* At the floor what fills the context is rendered; what is far larger is refused by the budget, and nothing is lost. */
static void test_long_conversations_at_the_floor(void **state)
{
    leat_options options = {.thread_count = 1, .prefill_chunk = 1, .ctx = 4096};
    uint64_t before, current, peak;
    leat_error error = {0};
    leat_chat *chat = NULL;
    leat_tokens ids = {0};

    (void)state;
    options.ram_bytes = floor_of(BROOK, &options);
    opened o = open_all(BROOK, &options);
    const leat_tokenizer *words = leat_engine_tokenizer(o.engine);
    assert_ok(leat_chat_open(words, NULL, 0, &chat, &error), &error);
    leat_tokenizer_memory(words, &before, &peak);
    char *fitting = long_talk("Tell me more about the fox. ", 12000), *huge = long_talk("fox and goose ", 8 << 20);
    for (int turn = 0; turn < 3; turn++) {
        assert_ok(leat_chat_render(chat, fitting, strlen(fitting), &ids, NULL, &error), &error);
        assert_in_range(ids.count, 2000, 4096);
        leat_tokens_free(&ids);
        assert_fails(BUDGET, leat_chat_render(chat, huge, strlen(huge), &ids, NULL, &error), &error);
        assert_null(ids.ids);
        leat_tokenizer_memory(words, &current, &peak);
        assert_int_equal(current, before);
    }
    free(fitting);
    free(huge);
    leat_chat_close(&chat);
    close_all(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_templates_can_do),
        cmocka_unit_test(test_plans_have_room_for_templates),
        cmocka_unit_test(test_long_conversations_at_the_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

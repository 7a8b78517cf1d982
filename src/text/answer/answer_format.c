/*
 * answer_format.c - the families, and how the words of a chat template tell which it is.
 */
#include "text/answer/answer_format.h"

const call_shape call_shape_json = {.call_close = "</tool_call>"};
const call_shape call_shape_function = {.section_close = "</tool_call>",
                                        .call_open = "<function=",
                                        .name_close = ">",
                                        .call_close = "</function>",
                                        .key_open = "<parameter=",
                                        .key_close = ">",
                                        .value_close = "</parameter>",
                                        .wraps_lines = true};
static const call_shape glm_shape = {.call_close = "</tool_call>",
                                     .key_open = "<arg_key>",
                                     .key_close = "</arg_key>",
                                     .value_open = "<arg_value>",
                                     .value_close = "</arg_value>",
                                     .unknown_is_json = true};
static const call_shape minimax_shape = {.section_close = "</minimax:tool_call>",
                                         .call_open = "<invoke name=\"",
                                         .name_close = "\">",
                                         .call_close = "</invoke>",
                                         .key_open = "<parameter name=\"",
                                         .key_close = "\">",
                                         .value_close = "</parameter>",
                                         .unknown_is_json = true};
static const call_shape dsml_shape = {.section_close = "</｜DSML｜function_calls>",
                                      .call_open = "<｜DSML｜invoke name=\"",
                                      .name_close = "\">",
                                      .call_close = "</｜DSML｜invoke>",
                                      .key_open = "<｜DSML｜parameter name=\"",
                                      .key_close = "\"",
                                      .value_close = "</｜DSML｜parameter>",
                                      .says_string = true};
static const call_shape kimi_shape = {.section_close = "<|tool_calls_section_end|>",
                                      .call_open = "<|tool_call_begin|>",
                                      .name_close = "<|tool_call_argument_begin|>",
                                      .call_close = "<|tool_call_end|>",
                                      .name_is_id = true};
static const call_shape deepseek_shape = {.section_close = "<｜tool▁calls▁end｜>",
                                          .call_open = "<｜tool▁call▁begin｜>",
                                          .name_close = "<｜tool▁sep｜>",
                                          .call_close = "<｜tool▁call▁end｜>"};
static const call_shape gemma_shape = {.call_close = "<tool_call|>"};
static const call_shape bare_shape = {.only_known = true};
static const call_shape list_shape = {0};
static const call_shape action_shape = {.call_close = "<|END_ACTION|>"};
static const call_shape fenced_shape = {.call_close = "```"};

#define CHATML_ENDS                                                                                                    \
    {                                                                                                                  \
        "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "</s>"                                                       \
    }
#define THINK_TAGS "<think>", "</think>"
#define TAG_OPENER                                                                                                     \
    {                                                                                                                  \
        {                                                                                                              \
            .text = "<tool_call>", .reader = read_tag_or_json                                                          \
        }                                                                                                              \
    }
#define JSON_PREFIX "<tool_call>\n{\"name\": \"", "\", \"arguments\": "

enum {
    MINIMAX,
    GEMMA4,
    HARMONY,
    COMMAND_R7B,
    DSML,
    GLM,
    NEMOTRON,
    QWEN_XML,
    KIMI,
    DEEPSEEK_FENCED,
    DEEPSEEK,
    MISTRAL,
    MISTRAL_NAMED,
    HERMES,
    LLAMA,
    COMMAND_R,
    GENERIC,
    FORMAT_COUNT
};

static const answer_format formats[FORMAT_COUNT] = {
    [MINIMAX] = {"minimax_m2",
                 THINK_TAGS,
                 1,
                 1,
                 2,
                 1,
                 {{.text = "<minimax:tool_call>", .reader = read_tagged_calls, .shape = &minimax_shape}},
                 {0},
                 {"[e~["},
                 false,
                 "<minimax:tool_call>\n<invoke name=\"",
                 "\">\n"},
    [GEMMA4] = {"gemma4",
                "<|channel>thought",
                "<channel|>",
                1,
                1,
                0,
                0,
                {{.text = "<|tool_call>", .reader = read_gemma_calls, .shape = &gemma_shape}},
                {0},
                {"<turn|>", "<|tool_response>", "<eos>"},
                false,
                "<|tool_call>call:",
                "{"},
    [HARMONY] = {"harmony",
                 NULL,
                 "<|end|>",
                 0,
                 0,
                 0,
                 0,
                 {{.text = "<|start|>", .reader = read_harmony, .is_structure = true},
                  {.text = "<|channel|>", .reader = read_harmony, .is_kept = true, .is_structure = true}},
                 {"<|end|>", "<|return|>", "<|call|>"},
                 {0},
                 true,
                 " to=functions.",
                 "<|channel|>commentary json<|message|>"},
    [COMMAND_R7B] = {"command_r7b",
                     "<|START_THINKING|>",
                     "<|END_THINKING|>",
                     0,
                     0,
                     0,
                     0,
                     {{.text = "<|START_ACTION|>", .reader = read_json_calls, .shape = &action_shape}},
                     {"<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"},
                     {"<|END_OF_TURN_TOKEN|>"},
                     false,
                     "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"",
                     "\", \"parameters\": "},
    [DSML] = {"deepseek_dsml",
              THINK_TAGS,
              0,
              0,
              0,
              2,
              {{.text = "<｜DSML｜function_calls>", .reader = read_tagged_calls, .shape = &dsml_shape}},
              {0},
              {"<｜end▁of▁sentence｜>"},
              false,
              "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"",
              "\">\n"},
    [GLM] = {"glm4",
             THINK_TAGS,
             1,
             1,
             1,
             1,
             {{.text = "<tool_call>", .reader = read_tagged_calls, .shape = &glm_shape}},
             {0},
             {"<|user|>", "<|observation|>", "<|endoftext|>"},
             false,
             "\n<tool_call>",
             "\n"},
    [NEMOTRON] =
        {"nemotron3", THINK_TAGS, 1, 1, 1, 1, TAG_OPENER, {0}, CHATML_ENDS, false, "<tool_call>\n<function=", ">\n"},
    [QWEN_XML] =
        {"qwen3_coder", THINK_TAGS, 1, 1, 2, 2, TAG_OPENER, {0}, CHATML_ENDS, false, "<tool_call>\n<function=", ">\n"},
    [KIMI] = {"kimi_k2",
              THINK_TAGS,
              0,
              0,
              0,
              0,
              {{.text = "<|tool_calls_section_begin|>", .reader = read_named_calls, .shape = &kimi_shape}},
              {0},
              {"<|im_end|>", "[EOS]"},
              false,
              "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
              ":0<|tool_call_argument_begin|>"},
    [DEEPSEEK_FENCED] = {"deepseek_v3",
                         THINK_TAGS,
                         1,
                         1,
                         2,
                         0,
                         {{.text = "<｜tool▁calls▁begin｜>", .reader = read_named_calls, .shape = &deepseek_shape}},
                         {0},
                         {"<｜end▁of▁sentence｜>"},
                         false,
                         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                         "\n```json\n"},
    [DEEPSEEK] = {"deepseek_v3.1",
                  THINK_TAGS,
                  0,
                  0,
                  0,
                  0,
                  {{.text = "<｜tool▁calls▁begin｜>", .reader = read_named_calls, .shape = &deepseek_shape}},
                  {0},
                  {"<｜end▁of▁sentence｜>"},
                  false,
                  "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
                  "<｜tool▁sep｜>"},
    [MISTRAL] = {"mistral",
                 "[THINK]",
                 "[/THINK]",
                 0,
                 0,
                 0,
                 0,
                 {{.text = "[TOOL_CALLS]", .reader = read_mistral_calls, .shape = &list_shape}},
                 {0},
                 {"</s>"},
                 false,
                 "[TOOL_CALLS][{\"name\": \"",
                 "\", \"arguments\": "},
    [MISTRAL_NAMED] = {"mistral_named",
                       "[THINK]",
                       "[/THINK]",
                       0,
                       0,
                       0,
                       0,
                       {{.text = "[TOOL_CALLS]", .reader = read_mistral_calls, .shape = &list_shape}},
                       {0},
                       {"</s>"},
                       false,
                       "[TOOL_CALLS]",
                       "[ARGS]"},
    [HERMES] = {"hermes", THINK_TAGS, 1, 1, 2, 1, TAG_OPENER, {0}, CHATML_ENDS, false, JSON_PREFIX},
    [LLAMA] = {"llama3",
               THINK_TAGS,
               1,
               1,
               2,
               0,
               {{.text = "{", .reader = read_json_calls, .shape = &bare_shape, .only_first = true, .is_kept = true},
                {.text = "<|python_tag|>", .reader = read_python_calls, .shape = &bare_shape}},
               {0},
               {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"},
               false,
               "{\"name\": \"",
               "\", \"parameters\": "},
    [COMMAND_R] = {"command_r",
                   THINK_TAGS,
                   1,
                   1,
                   2,
                   1,
                   {{.text = "Action:\n```json\n", .reader = read_json_calls, .shape = &fenced_shape}},
                   {0},
                   {"<|END_OF_TURN_TOKEN|>"},
                   false,
                   "\nAction:\n```json\n[\n    {\n        \"tool_name\": \"",
                   "\",\n        \"parameters\": "},
    [GENERIC] = {"generic", THINK_TAGS, 1, 1, 2, 1, TAG_OPENER, {0}, CHATML_ENDS, false, NULL, NULL},
};

/* The first row whose words are all in the template. The order is MLX-LM's where
 * it has the family: a later family's words often stand in an earlier one's template too. */
static const struct {
    uint8_t format;
    const char *words[3];
} rules[] = {
    {MINIMAX, {"<minimax:tool_call>"}},
    {GEMMA4, {"<|tool_call>", "<tool_call|>"}},
    {HARMONY, {"<|channel|>", "<|message|>"}},
    {COMMAND_R7B, {"<|START_ACTION|>"}},
    {DSML, {"｜DSML｜"}},
    {GLM, {"<arg_key>"}},
    {NEMOTRON, {"<function=", "<think></think>"}},
    {QWEN_XML, {"<function="}},
    {KIMI, {"<|tool_calls_section_begin|>"}},
    {DEEPSEEK_FENCED, {"<｜tool▁calls▁begin｜>", "```json"}},
    {DEEPSEEK, {"<｜tool▁calls▁begin｜>"}},
    {MISTRAL_NAMED, {"[TOOL_CALLS]", "[ARGS]"}},
    {MISTRAL, {"[TOOL_CALLS]"}},
    {HERMES, {"<tool_call>"}},
    {LLAMA, {"<|python_tag|>"}},
    {LLAMA, {"<|start_header_id|>", "\"parameters\": "}},
    {COMMAND_R, {"Action:", "```json"}},
    {GEMMA4, {"<|turn>"}},
    {MISTRAL, {"[THINK]"}},
};

const answer_format *answer_format_find(answer_format_probe *probe, void *user)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        bool fits = true;
        for (size_t k = 0; k < 3 && rules[i].words[k] && fits; k++) fits = probe(user, rules[i].words[k]);
        if (fits) return &formats[rules[i].format];
    }
    return &formats[GENERIC];
}

const answer_format *answer_format_by_label(const char *label)
{
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].label, label) == 0) return &formats[i];
    return NULL;
}

const char *answer_format_label(const answer_format *format) { return format->label; }
bool answer_format_has_calls(const answer_format *format) { return format->prefix_head != NULL; }

leat_status answer_format_call_prefix(const answer_format *format, const char *name, text_buffer *out,
                                      leat_error *error)
{
    if (!format->prefix_head) return FAIL(error, USAGE, "answers of the format '%s' have no tool calls", format->label);
    TRY(text_buffer_append(out, format->prefix_head, strlen(format->prefix_head), error));
    if (!name) return LEAT_OK;
    TRY(text_buffer_append(out, name, strlen(name), error));
    return text_buffer_append(out, format->prefix_tail, strlen(format->prefix_tail), error);
}

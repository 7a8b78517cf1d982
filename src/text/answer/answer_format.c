/*
 * answer_format.c - the families, and how the words of a chat template tell which it is.
 */
#include "text/answer/answer_format.h"

const call_shape call_shape_json = {.call_close = "</tool_call>"};
#define FUNCTION_TAGS                                                                                                  \
    .section_close = "</tool_call>", .call_open = "<function=", .name_close = ">", .call_close = "</function>",        \
    .key_open = "<parameter=", .key_close = ">", .value_close = "</parameter>", .wraps_lines = true, .has_truth = true
const call_shape call_shape_function = {FUNCTION_TAGS};
static const call_shape unopened_shape = {FUNCTION_TAGS, .only_known = true};
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
                                      .kinds = {" string=\"true\">", " string=\"false\">"}};
/* Those whose every argument stands in tags. */
static const call_shape seed_shape = {.section_close = "</seed:tool_call>",
                                      .call_open = "<function=",
                                      .name_close = ">",
                                      .call_close = "</function>",
                                      .key_open = "<parameter=",
                                      .key_close = ">",
                                      .value_close = "</parameter>",
                                      .has_truth = true};
#define MINIMAX_MARK "]<]minimax[>["
static const call_shape m3_shape = {.section_close = MINIMAX_MARK "</tool_call>",
                                    .call_open = MINIMAX_MARK "<invoke name=\"",
                                    .name_close = "\">",
                                    .call_close = MINIMAX_MARK "</invoke>",
                                    .key_open = MINIMAX_MARK "<",
                                    .value_close = MINIMAX_MARK "</"};
static const call_shape kimi_3_shape = {.section_close = "<|close|>tools<|sep|>",
                                        .call_open = "<|open|>call tool=\"",
                                        .name_close = "\"",
                                        .header_close = "<|sep|>",
                                        .call_close = "<|close|>call<|sep|>",
                                        .key_open = "<|open|>argument key=\"",
                                        .key_close = "\"",
                                        .value_close = "<|close|>argument<|sep|>",
                                        .whole_open = "<|open|>json type=\"object\"<|sep|>",
                                        .whole_close = "<|close|>json<|sep|>",
                                        .kinds = {" type=\"string\"<|sep|>", " type=\"number\"<|sep|>",
                                                  " type=\"boolean\"<|sep|>", " type=\"null\"<|sep|>",
                                                  " type=\"object\"<|sep|>", " type=\"array\"<|sep|>"},
                                        .has_entities = true};
static const call_shape dsml_4_shape = {.section_close = "</｜DSML｜tool_calls>",
                                        .call_open = "<｜DSML｜invoke name=\"",
                                        .name_close = "\">",
                                        .call_close = "</｜DSML｜invoke>",
                                        .key_open = "<｜DSML｜parameter name=\"",
                                        .key_close = "\"",
                                        .value_close = "</｜DSML｜parameter>",
                                        .kinds = {" string=\"true\">", " string=\"false\">"}};
static const call_shape minicpm_5_shape = {.name_close = "\">",
                                           .call_close = "</function>",
                                           .key_open = "<param name=\"",
                                           .key_close = "\">",
                                           .value_close = "</param>",
                                           .may_be_cdata = true};
static const call_shape hy3_shape = {.section_close = "</tool_calls:opensource>",
                                     .call_open = "<tool_call:opensource>",
                                     .name_close = "<tool_sep:opensource>",
                                     .call_close = "</tool_call:opensource>",
                                     .key_open = "<arg_key:opensource>",
                                     .key_close = "</arg_key:opensource>",
                                     .value_open = "<arg_value:opensource>",
                                     .value_close = "</arg_value:opensource>",
                                     .unknown_is_json = true};
static const call_shape muse_header_shape = {.thought_to = "self"};
static const call_shape muse_shape = {.section_close = "</atem:function_calls>",
                                      .call_open = "<atem:invoke name=\"",
                                      .name_close = "\">",
                                      .call_close = "</atem:invoke>",
                                      .key_open = "<atem:parameter name=\"",
                                      .key_close = "\">",
                                      .value_close = "</atem:parameter>",
                                      .unknown_is_json = true};

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
static const call_shape keyed_shape = {.call_close = "<|tools_suffix|>", .name_is_key = true};
static const call_shape block_shape = {.section_close = "</tool_calls>"};
static const call_shape plugin_shape = {.call_close = "<|action_end|>"};
static const call_shape nemotron_list_shape = {.call_close = "</TOOLCALL>"};
static const call_shape granite_shape = {.section_close = "<|/tool_call|>"};
static const call_shape functionary_shape = {.call_open = "<function=", .name_close = ">", .call_close = "</function>"};
static const call_shape solar_shape = {.section_close = "<|calls|>",
                                       .call_open = "<|tool_call:begin|>",
                                       .id_close = "<|tool_call:name|>",
                                       .name_close = "<|tool_call:args|>",
                                       .call_close = "<|tool_call:end|>"};
static const call_shape lfm_shape = {.call_close = "<|tool_call_end|>"};

enum {
    MINIMAX,
    GEMMA4,
    HARMONY,
    COMMAND_R7B,
    SEED_OSS,
    MINIMAX_3,
    KIMI_3,
    DSML_4,
    MINICPM_5,
    HUNYUAN_3,
    STEP_3,
    GLM_LINE,
    LING_3,
    LAGUNA_LINES,
    LAGUNA_LINE,
    MUSE,
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
    LLAMA4,
    HUNYUAN_LIST,
    INTERNLM,
    COMMAND_R,
    APERTUS,
    APRIEL,
    MINIMAX_M1,
    NEMOTRON_V2,
    GIGACHAT3,
    GIGACHAT31,
    GRANITE3,
    FUNCTIONARY31,
    FUNCTIONARY32,
    SOLAR,
    FIREFUNCTION,
    LFM2,
    REKA,
    MISTRAL_ID,
    GENERIC,
    FORMAT_COUNT
};

#define GIGACHAT_HEADER "function call<|role_sep|>\n"
#define GIGACHAT_CALL   "<|message_sep|>\n\n" GIGACHAT_HEADER
#define THINK_TAGS      .think_open = "<think>", .think_close = "</think>"
#define NEWLINES(behind_open, before_close, behind_close, before_a_call)                                               \
    .lead = (behind_open), .trail = (before_close), .after = (behind_close), .before_call = (before_a_call)
#define DSML_OPENERS                                                                                                   \
    .openers = {{.text = "<｜DSML｜function_calls>", .reader = read_tagged_calls, .shape = &dsml_shape},               \
                {.text = "<｜DSML｜tool_calls>", .reader = read_tagged_calls, .shape = &dsml_4_shape}}
#define GLM_OPENER .openers = {{.text = "<tool_call>", .reader = read_tagged_calls, .shape = &glm_shape}}
#define TAG_CALL                                                                                                       \
    {                                                                                                                  \
        .text = "<tool_call>", .reader = read_tag_or_json                                                              \
    }
#define TAG_OPENER .openers = {TAG_CALL}
/* Qwen3-Coder and its kin forget the tag before a function now and then. */
#define FUNCTION_OPENERS                                                                                               \
    .openers = {TAG_CALL,                                                                                              \
                {.text = "<function=", .reader = read_tagged_calls, .shape = &unopened_shape, .is_kept = true}}
/* Nothing marks these: they count at an answer's begin, with the name of one of the request's tools. */
#define BARE_OBJECT                                                                                                    \
    {                                                                                                                  \
        .text = "{", .reader = read_json_calls, .shape = &bare_shape, .only_first = true, .is_kept = true              \
    }
#define BARE_LIST                                                                                                      \
    {                                                                                                                  \
        .text = "[", .reader = read_pythonic_calls, .shape = &bare_shape, .only_first = true, .is_kept = true          \
    }
#define CHATML_ENDS .ends = {"<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "</s>"}

static const answer_format formats[FORMAT_COUNT] =
    {
        [MINIMAX] =
            {
                .label = "minimax_m2",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .openers = {{.text = "<minimax:tool_call>", .reader = read_tagged_calls, .shape = &minimax_shape}},
                .ends = {"[e~["},
                .prefix_head = "<minimax:tool_call>\n<invoke name=\"",
                .prefix_tail = "\">\n",
            },
        [GEMMA4] =
            {
                .label = "gemma4",
                .think_open = "<|channel>thought",
                .think_close = "<channel|>",
                NEWLINES(1, 1, 0, 0),
                .openers = {{.text = "<|tool_call>", .reader = read_gemma_calls, .shape = &gemma_shape}},
                .ends = {"<turn|>", "<|tool_response>", "<eos>", "<channel|>", "<|channel>thought\n<channel|>"},
                .prefix_head = "<|tool_call>call:",
                .prefix_tail = "{",
            },
        [HARMONY] =
            {
                .label = "harmony",
                .think_close = "<|end|>",
                .openers = {{.text = "<|start|>", .reader = read_harmony, .is_structure = true},
                            {.text = "<|channel|>", .reader = read_harmony, .is_kept = true, .is_structure = true}},
                .drops = {"<|end|>", "<|return|>", "<|call|>"},
                .is_harmony = true,
                .header = "<|start|>assistant",
                .thought_header = "<|channel|>analysis<|message|>",
                .think_next = "<|start|>assistant",
                .prefix_head = " to=functions.",
                .prefix_tail = "<|channel|>commentary json<|message|>",
            },
        [COMMAND_R7B] =
            {
                .label = "command_r7b",
                .think_open = "<|START_THINKING|>",
                .think_close = "<|END_THINKING|>",
                .openers = {{.text = "<|START_ACTION|>", .reader = read_json_calls, .shape = &action_shape}},
                .drops = {"<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"},
                .ends = {"<|END_OF_TURN_TOKEN|>"},
                .prefix_head = "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"",
                .prefix_tail = "\", \"parameters\": ",
            },
        [SEED_OSS] =
            {
                .label = "seed_oss",
                .think_open = "<seed:think>",
                .think_close = "</seed:think>",
                NEWLINES(0, 0, 1, 2),
                .openers = {{.text = "<seed:tool_call>", .reader = read_tagged_calls, .shape = &seed_shape}},
                .ends = {"<seed:eos>"},
                .prefix_head = "<seed:tool_call>\n<function=",
                .prefix_tail = ">\n",
            },
        [MINIMAX_3] =
            {
                .label = "minimax_m3",
                .think_open = "<mm:think>",
                .think_close = "</mm:think>",
                .openers = {{.text = MINIMAX_MARK "<tool_call>", .reader = read_element_calls, .shape = &m3_shape}},
                .ends = {"[e~["},
                .prefix_head = MINIMAX_MARK "<tool_call>\n" MINIMAX_MARK "<invoke name=\"",
                .prefix_tail = "\">",
            },
        [KIMI_3] =
            {
                .label = "kimi_k3",
                .think_open = "<|open|>think<|sep|>",
                .think_close = "<|close|>think<|sep|>",
                .think_next = "<|open|>response<|sep|>",
                .openers = {{.text = "<|open|>tools<|sep|>", .reader = read_tagged_calls, .shape = &kimi_3_shape}},
                .drops = {"<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"},
                .ends = {"<|close|>message<|sep|>", "<|end_of_msg|>"},
                .prefix_head = "<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool=\"",
                .prefix_tail = "\" index=\"1\"<|sep|>",
            },
        [DSML_4] =
            {
                .label = "deepseek_v4",
                THINK_TAGS,
                NEWLINES(0, 0, 0, 2),
                DSML_OPENERS,
                .ends = {"<｜end▁of▁sentence｜>"},
                .prefix_head = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"",
                .prefix_tail = "\">\n",
            },
        [MINICPM_5] =
            {
                .label = "minicpm5",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .openers = {{.text = "<function name=\"", .reader = read_tagged_calls, .shape = &minicpm_5_shape}},
                CHATML_ENDS,
                .prefix_head = "<function name=\"",
                .prefix_tail = "\">",
            },
        [HUNYUAN_3] =
            {
                .label = "hunyuan_v3",
                .think_open = "<think:opensource>",
                .think_close = "</think:opensource>",
                .openers = {{.text = "<tool_calls:opensource>", .reader = read_tagged_calls, .shape = &hy3_shape}},
                .ends = {"<｜hy_eos:opensource｜>"},
                .prefix_head = "<tool_calls:opensource>\n<tool_call:opensource>",
                .prefix_tail = "<tool_sep:opensource>\n",
            },
        [STEP_3] =
            {
                .label = "step3.5",
                THINK_TAGS,
                NEWLINES(1, 1, 1, 0),
                FUNCTION_OPENERS,
                CHATML_ENDS,
                .prefix_head = "<tool_call>\n<function=",
                .prefix_tail = ">\n",
            },
        [GLM_LINE] =
            {
                .label = "glm4.7",
                THINK_TAGS,
                GLM_OPENER,
                .ends = {"<|user|>", "<|observation|>", "<|endoftext|>", "<｜end▁of▁sentence｜>"},
                .prefix_head = "<tool_call>",
                .prefix_tail = "",
            },
        [LING_3] =
            {
                .label = "ling3",
                THINK_TAGS,
                NEWLINES(0, 0, 0, 1),
                GLM_OPENER,
                .ends = {"<|role_end|>"},
                .prefix_head = "<tool_call>",
                .prefix_tail = "\n",
            },
        [LAGUNA_LINES] =
            {
                .label = "laguna_xs",
                THINK_TAGS,
                NEWLINES(1, 1, 1, 1),
                .before_end = 1,
                GLM_OPENER,
                .ends = {"</assistant>"},
                .prefix_head = "\n<tool_call>",
                .prefix_tail = "\n",
            },
        [LAGUNA_LINE] =
            {
                .label = "laguna_s",
                THINK_TAGS,
                GLM_OPENER,
                .ends = {"</assistant>"},
                .prefix_head = "<tool_call>",
                .prefix_tail = "",
            },
        [MUSE] =
            {
                .label = "muse",
                .think_close = "<|eom|>",
                .openers =
                    {{.text = "<|start|>", .reader = read_harmony, .shape = &muse_header_shape, .is_structure = true},
                     {.text = "<atem:function_calls>", .reader = read_tagged_calls, .shape = &muse_shape}},
                .drops = {"<|eom|>", "<|eot|>"},
                .is_harmony = true,
                .header = "<|start|>assistant",
                .thought_header = " to=self<|message|>",
                .think_next = "<|start|>assistant",
                .prefix_head = " to=",
                .prefix_again = "<|message|><atem:function_calls>\n<atem:invoke name=\"",
                .prefix_tail = "\">\n",
            },
        [DSML] =
            {
                .label = "deepseek_dsml",
                THINK_TAGS,
                NEWLINES(0, 0, 0, 2),
                DSML_OPENERS,
                .ends = {"<｜end▁of▁sentence｜>"},
                .prefix_head = "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"",
                .prefix_tail = "\">\n",
            },
        [GLM] =
            {
                .label = "glm4",
                THINK_TAGS,
                NEWLINES(1, 1, 1, 1),
                GLM_OPENER,
                .ends = {"<|user|>", "<|observation|>", "<|endoftext|>"},
                .prefix_head = "\n<tool_call>",
                .prefix_tail = "\n",
            },
        [NEMOTRON] =
            {
                .label = "nemotron3",
                THINK_TAGS,
                NEWLINES(1, 1, 1, 1),
                FUNCTION_OPENERS,
                CHATML_ENDS,
                .prefix_head = "<tool_call>\n<function=",
                .prefix_tail = ">\n",
            },
        [QWEN_XML] =
            {
                .label = "qwen3_coder",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 2),
                FUNCTION_OPENERS,
                CHATML_ENDS,
                .prefix_head = "<tool_call>\n<function=",
                .prefix_tail = ">\n",
            },
        [KIMI] =
            {
                .label = "kimi_k2",
                THINK_TAGS,
                .openers = {{.text = "<|tool_calls_section_begin|>", .reader = read_named_calls, .shape = &kimi_shape}},
                .ends = {"<|im_end|>", "[EOS]"},
                .prefix_head = "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
                .prefix_tail = ":0<|tool_call_argument_begin|>",
            },
        [DEEPSEEK_FENCED] =
            {
                .label = "deepseek_v3",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 0),
                .openers = {{.text = "<｜tool▁calls▁begin｜>", .reader = read_named_calls, .shape = &deepseek_shape}},
                .ends = {"<｜end▁of▁sentence｜>"},
                .prefix_head = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                .prefix_tail = "\n```json\n",
            },
        [DEEPSEEK] =
            {
                .label = "deepseek_v3.1",
                THINK_TAGS,
                .openers = {{.text = "<｜tool▁calls▁begin｜>", .reader = read_named_calls, .shape = &deepseek_shape}},
                .ends = {"<｜end▁of▁sentence｜>"},
                .prefix_head = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
                .prefix_tail = "<｜tool▁sep｜>",
            },
        [MISTRAL] =
            {
                .label = "mistral",
                .think_open = "[THINK]",
                .think_close = "[/THINK]",
                .openers = {{.text = "[TOOL_CALLS]", .reader = read_mistral_calls, .shape = &list_shape}},
                .ends = {"</s>"},
                .prefix_head = "[TOOL_CALLS][{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [MISTRAL_NAMED] =
            {
                .label = "mistral_named",
                .think_open = "[THINK]",
                .think_close = "[/THINK]",
                .openers = {{.text = "[TOOL_CALLS]", .reader = read_mistral_calls, .shape = &list_shape}},
                .ends = {"</s>"},
                .prefix_head = "[TOOL_CALLS]",
                .prefix_tail = "[ARGS]",
            },
        [HERMES] =
            {
                .label = "hermes",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                TAG_OPENER,
                CHATML_ENDS,
                .prefix_head = "<tool_call>\n{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [LLAMA] =
            {
                .label = "llama3",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 0),
                .openers = {BARE_OBJECT,
                            {.text = "<|python_tag|>", .reader = read_python_calls, .shape = &bare_shape},
                            BARE_LIST},
                .ends = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"},
                .prefix_head = "{\"name\": \"",
                .prefix_tail = "\", \"parameters\": ",
            },
        [LLAMA4] =
            {
                .label = "llama4",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 0),
                .openers = {BARE_OBJECT, BARE_LIST},
                .drops = {"<|python_start|>", "<|python_end|>"},
                .ends = {"<|eot|>", "<|eom|>"},
                .prefix_head = "{\"name\": \"",
                .prefix_tail = "\", \"parameters\": ",
            },
        [HUNYUAN_LIST] =
            {
                .label = "hunyuan",
                THINK_TAGS,
                NEWLINES(1, 1, 1, 1),
                .wrap_open = "<answer>\n",
                .wrap_close = "\n</answer>",
                .openers = {{.text = "<tool_calls>", .reader = read_json_calls, .shape = &block_shape}},
                .ends = {"<|eos|>"},
                .prefix_head = "<tool_calls>[{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [INTERNLM] =
            {
                .label = "internlm2",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 0),
                .openers = {{.text = "<|action_start|><|plugin|>", .reader = read_json_calls, .shape = &plugin_shape}},
                CHATML_ENDS,
                .prefix_head = "<|action_start|><|plugin|>\n{\"name\": \"",
                .prefix_tail = "\", \"parameters\": ",
            },
        [COMMAND_R] =
            {
                .label = "command_r",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .openers = {{.text = "Action:\n```json\n", .reader = read_json_calls, .shape = &fenced_shape}},
                .ends = {"<|END_OF_TURN_TOKEN|>"},
                .prefix_head = "\nAction:\n```json\n[\n    {\n        \"tool_name\": \"",
                .prefix_tail = "\",\n        \"parameters\": ",
            },
        [APERTUS] =
            {
                .label = "apertus",
                .think_open = "<|inner_prefix|>",
                .think_close = "<|inner_suffix|>",
                .openers = {{.text = "<|tools_prefix|>",
                             .reader = read_json_calls,
                             .shape = &keyed_shape,
                             .ends_thought = true}},
                .drops = {"<|inner_suffix|>"},
                .ends = {"<|assistant_end|>"},
                .prefix_head = "<|tools_prefix|>[{\"",
                .prefix_tail = "\": ",
            },
        [APRIEL] =
            {
                .label = "apriel",
                .think_open = "Here are my reasoning steps:",
                .think_close = "[BEGIN FINAL RESPONSE]",
                NEWLINES(1, 1, 2, 1),
                .before_end = 1,
                .wrap_close = "[END FINAL RESPONSE]",
                .openers = {{.text = "<tool_calls>", .reader = read_json_calls, .shape = &block_shape}},
                .ends = {"<|end|>", "</s>"},
                .prefix_head = "\n<tool_calls>[{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [MINIMAX_M1] =
            {
                .label = "minimax_m1",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .openers = {{.text = "<tool_calls>", .reader = read_json_calls, .shape = &block_shape}},
                .ends = {"<end_of_sentence>"},
                .prefix_head = "<tool_calls>\n{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [NEMOTRON_V2] =
            {
                .label = "nemotron_v2",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .before_end = 1,
                .openers = {{.text = "<TOOLCALL>", .reader = read_json_calls, .shape = &nemotron_list_shape}},
                .ends = {"<SPECIAL_12>"},
                .prefix_head = "<TOOLCALL>[{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [GIGACHAT3] =
            {
                .label = "gigachat3",
                THINK_TAGS,
                .openers =
                    {{.text = GIGACHAT_CALL, .reader = read_json_calls, .shape = &list_shape},
                     {.text = GIGACHAT_HEADER, .reader = read_json_calls, .shape = &list_shape, .only_first = true}},
                .ends = {"<|message_sep|>", "</s>"},
                .prefix_head = GIGACHAT_CALL "{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [GIGACHAT31] =
            {
                .label = "gigachat3.1",
                THINK_TAGS,
                .openers = {{.text = "<|function_call|>", .reader = read_json_calls, .shape = &list_shape}},
                .ends = {"<|message_sep|>", "</s>"},
                .prefix_head = "<|function_call|>{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [GRANITE3] =
            {
                .label = "granite3",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .wrap_open = "<response>",
                .wrap_close = "</response>",
                .openers = {{.text = "<|tool_call|>", .reader = read_json_calls, .shape = &granite_shape},
                            {.text = "<tool_call>", .reader = read_json_calls, .shape = &granite_shape}},
                .ends = {"<|end_of_text|>", "<|end|>", "<|endoftext|>"},
                .prefix_head = "<|tool_call|>[{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [FUNCTIONARY31] =
            {
                .label = "functionary_v3.1",
                THINK_TAGS,
                .openers =
                    {{.text = "<function=", .reader = read_named_calls, .shape = &functionary_shape, .is_kept = true},
                     {.text = "<|python_tag|>", .reader = read_python_calls, .shape = &bare_shape}},
                .ends = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"},
                .prefix_head = "<function=",
                .prefix_tail = ">",
            },
        [FUNCTIONARY32] =
            {
                .label = "functionary_v3.2",
                THINK_TAGS,
                .header = ">>>",
                .openers = {{.text = ">>>", .reader = read_recipient, .shape = &bare_shape, .is_structure = true}},
                .ends = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"},
                .prefix_head = "",
                .prefix_tail = "\n",
            },
        [SOLAR] =
            {
                .label = "solar_open",
                .think_open = "<|think|>",
                .think_close = "<|end|>",
                .think_next = "<|begin|>assistant",
                .openers = {{.text = "<|tool_calls|>", .reader = read_named_calls, .shape = &solar_shape}},
                .drops = {"<|end|>", "<|begin|>assistant", "<|content|>"},
                .ends = {"<|end|>", "<|calls|>", "<|flush|>", "<|endoftext|>"},
                .prefix_head = "<|tool_calls|><|tool_call:begin|><|tool_call:name|>",
                .prefix_tail = "<|tool_call:args|>",
            },
        [FIREFUNCTION] =
            {
                .label = "firefunction",
                THINK_TAGS,
                .openers = {{.text = " functools", .reader = read_json_calls, .shape = &list_shape},
                            {.text = "functools", .reader = read_json_calls, .shape = &list_shape}},
                .ends = {"<|eot_id|>", "<|end_of_text|>"},
                .prefix_head = " functools[{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [LFM2] =
            {
                .label = "lfm2",
                THINK_TAGS,
                .openers = {{.text = "<|tool_call_start|>", .reader = read_pythonic_calls, .shape = &lfm_shape}},
                .ends = {"<|im_end|>", "<|endoftext|>"},
                .prefix_head = "<|tool_call_start|>[",
                .prefix_tail = "(",
            },
        [REKA] =
            {
                .label = "reka",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .before_end = 2,
                .begins_with_space = true,
                TAG_OPENER,
                .ends = {"<sep>", "<|endoftext|>"},
                .prefix_head = " <tool_call>\n{\"name\": \"",
                .prefix_tail = "\", \"arguments\": ",
            },
        [MISTRAL_ID] =
            {
                .label = "mistral_id",
                .think_open = "[THINK]",
                .think_close = "[/THINK]",
                .openers = {{.text = "[TOOL_CALLS]", .reader = read_mistral_calls, .shape = &list_shape}},
                .ends = {"</s>"},
                .prefix_head = "[TOOL_CALLS]",
                .prefix_tail = "[CALL_ID]",
            },
        [GENERIC] =
            {
                .label = "generic",
                THINK_TAGS,
                NEWLINES(1, 1, 2, 1),
                .openers = {TAG_CALL, BARE_OBJECT, BARE_LIST},
                CHATML_ENDS,
            },
};

/* The first row whose words are all in the template. The order is MLX-LM's where
 * it has the family: a later family's words often stand in an earlier one's template too. */
static const struct {
    uint8_t format;
    const char *words[3];
} rules[] = {
    {APERTUS, {"<|tools_prefix|>"}},
    {APRIEL, {"<tool_calls>", "[BEGIN FINAL RESPONSE]"}},
    {MINIMAX_M1, {"<tool_calls>", "<beginning_of_sentence>"}},
    {NEMOTRON_V2, {"<TOOLCALL>"}},
    {GIGACHAT31, {"<|function_call|>", "<|role_sep|>"}},
    {GIGACHAT3, {"function call", "<|role_sep|>", "<|message_sep|>"}},
    {GRANITE3, {"<|tool_call|>"}},
    {GRANITE3, {"<|start_of_role|>available_tools<|end_of_role|>"}},
    {GRANITE3, {"<|tool|>", "<|/tool|>"}},
    {FUNCTIONARY31, {"<function=", "</function>", "<|python_tag|>"}},
    {FUNCTIONARY32, {">>>all", "<|start_header_id|>"}},
    {SOLAR, {"<|tool_call:begin|>"}},
    {FIREFUNCTION, {"functools["}},
    {LFM2, {"<|tool_call_start|>"}},
    {LFM2, {"<|im_start|>", "List of tools: <|tool_list_start|>"}},
    {LFM2, {"<|im_start|>", "List of tools: ["}},
    {REKA, {"<tool_call>", "<sep>", "human: "}},
    {MISTRAL_ID, {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"}},
    {MINIMAX, {"<minimax:tool_call>"}},
    {GEMMA4, {"<|tool_call>", "<tool_call|>"}},
    {HARMONY, {"<|channel|>", "<|message|>"}},
    {COMMAND_R7B, {"<|START_ACTION|>"}},
    {SEED_OSS, {"<seed:tool_call>"}},
    {MINIMAX_3, {MINIMAX_MARK}},
    {KIMI_3, {"<|open|>", "<|close|>", "<|sep|>"}},
    {DSML_4, {"｜DSML｜", "tool_calls>"}},
    {MINICPM_5, {"<function name=\"", "<param name=\""}},
    {HUNYUAN_3, {"<tool_sep{}>", ":opensource"}}, /* the suffix is put in by the template */
    {HUNYUAN_3, {"<tool_sep:opensource>"}},
    {MUSE, {"<atem:function_calls>"}},
    {STEP_3, {"<function=", "<|im_start|>tool_response"}},
    {LAGUNA_LINES, {"<arg_key>", "</assistant>", "</think>\n"}},
    {LAGUNA_LINES, {"<arg_key>", "</assistant>", "</think>\\n"}}, /* as the template's text spells it */
    {LAGUNA_LINE, {"<arg_key>", "</assistant>"}},
    {LING_3, {"<arg_key>", "<|role_end|>"}},
    {GLM_LINE, {"</arg_key><arg_value>"}},
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
    {HUNYUAN_LIST, {"<tool_calls>", "<|extra_0|>"}},
    {INTERNLM, {"<|action_start|>", "<|plugin|>"}},
    {LLAMA4, {"<|header_start|>", "<|header_end|>"}},
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
    if (format->prefix_again) {
        TRY(text_buffer_append(out, format->prefix_again, strlen(format->prefix_again), error));
        TRY(text_buffer_append(out, name, strlen(name), error));
    }
    return text_buffer_append(out, format->prefix_tail, strlen(format->prefix_tail), error);
}

bool answer_ends_with(const char *text, uint64_t count, const char *end)
{
    size_t length = strlen(end);
    return count >= length && memcmp(text + count - length, end, length) == 0;
}

bool answer_format_leaves_thought(const answer_format *format, const char *prompt, uint64_t count,
                                  uint32_t *out_newlines)
{
    *out_newlines = 0;
    if (format->is_harmony) return answer_ends_with(prompt, count, format->thought_header);
    while (count > 0 && prompt[count - 1] == '\n') {
        count--;
        ++*out_newlines;
    }
    return answer_ends_with(prompt, count, format->think_open);
}

static leat_status append_newlines(text_buffer *out, uint32_t count, leat_error *error)
{
    for (uint32_t i = 0; i < count; i++) TRY(text_buffer_append(out, "\n", 1, error));
    return LEAT_OK;
}

leat_status answer_format_thought_close(const answer_format *format, const char *prompt, uint64_t prompt_bytes,
                                        text_buffer *out, leat_error *error)
{
    uint32_t newlines, after = format->after;
    if (!answer_format_leaves_thought(format, prompt, prompt_bytes, &newlines)) return LEAT_OK;
    /* A template that puts no newline behind the opening mark puts none before the closing one either. */
    TRY(append_newlines(out, newlines > 0 ? format->trail : 0, error));
    TRY(text_buffer_append(out, format->think_close, strlen(format->think_close), error));
    if (format->think_next) return text_buffer_append(out, format->think_next, strlen(format->think_next), error);
    /* The call's own opening may begin with some of those that follow a thought. */
    for (const char *head = format->prefix_head; head && *head == '\n' && after > 0; head++) after--;
    return append_newlines(out, after, error);
}

/*
 * answer_parser_test.c - what models of every family write (golden/answers/cases.json, made from their own templates)
 * is read as the message it was written from; cut anywhere it is the same; cut off anywhere nothing is lost and no call
 * is invented. Then hostile texts, limits, and what a request without tools does.
 */
#include "text_support.h"

#include "support/answer_labels.h"
#include "text/answer_parser.h"

#include <string.h>

/* What a parser has handed on. Calls are lines: name, arguments, id. */
typedef struct message {
    text_buffer content, reasoning, calls;
    uint32_t call_count;
    uint64_t after_calls; /* where the content behind the last call begins */
    bool was_whole;       /* every piece began and ended with whole characters */
} message;

static void add(text_buffer *buffer, const char *bytes, uint64_t count)
{
    leat_error error;
    assert_ok(text_buffer_append(buffer, bytes, count, &error), &error);
}

static void message_init(message *m, mem *ledger)
{
    *m = (message){.was_whole = true};
    text_buffer_init(&m->content, ledger);
    text_buffer_init(&m->reasoning, ledger);
    text_buffer_init(&m->calls, ledger);
    add(&m->content, "", 0);
    add(&m->reasoning, "", 0);
    add(&m->calls, "", 0);
}

static void message_reset(message *m)
{
    text_buffer_reset(&m->content);
    text_buffer_reset(&m->reasoning);
    text_buffer_reset(&m->calls);
}

static void add_call(message *m, const char *name, const char *arguments, const char *id)
{
    add(&m->calls, name, strlen(name));
    add(&m->calls, "\x01", 1);
    add(&m->calls, arguments, strlen(arguments));
    add(&m->calls, "\x01", 1);
    if (id) add(&m->calls, id, strlen(id));
    add(&m->calls, "\x02", 1);
    m->call_count++;
    m->after_calls = m->content.count;
}

static leat_status take_event(void *user, const answer_event *event, leat_error *error)
{
    message *m = user;
    (void)error;
    if (event->kind == ANSWER_CALL) {
        assert_int_equal(strlen(event->text), event->text_bytes);
        add_call(m, event->call_name, event->text, event->call_id);
        return LEAT_OK;
    }
    assert_true(event->text_bytes > 0);
    if ((event->text[0] & 0xc0) == 0x80) m->was_whole = false;
    add(event->kind == ANSWER_TEXT ? &m->content : &m->reasoning, event->text, event->text_bytes);
    return LEAT_OK;
}

typedef struct given {
    const char *format, *prompt, *tools;
} given;

static answer_parser *open_parser(mem *ledger, const given *g)
{
    leat_error error;
    answer_parser *parser = NULL;
    const answer_format *format = answer_format_by_label(g->format);
    answer_options options = {.tools = g->tools,
                              .tools_bytes = g->tools ? strlen(g->tools) : 0,
                              .prompt = g->prompt,
                              .prompt_bytes = g->prompt ? strlen(g->prompt) : 0};
    assert_non_null(format);
    assert_ok(answer_parser_open(ledger, format, &options, &parser, &error), &error);
    return parser;
}

/* Pushes [0, first) and the rest, or byte by byte with first = UINT64_MAX. */
static void read_cut(mem *ledger, const given *g, const char *text, uint64_t count, uint64_t first, message *out)
{
    leat_error error;
    answer_parser *parser = open_parser(ledger, g);
    bool by_bytes = first == UINT64_MAX;
    for (uint64_t at = 0; at < count;) {
        uint64_t piece = by_bytes ? 1 : at < first ? first - at : count - at;
        assert_ok(answer_parser_push(parser, text + at, piece, take_event, out, &error), &error);
        at += piece;
    }
    assert_ok(answer_parser_finish(parser, take_event, out, &error), &error);
    answer_parser_close(&parser);
}

static bool same(const text_buffer *a, const text_buffer *b)
{
    return a->count == b->count && memcmp(a->bytes, b->bytes, a->count) == 0;
}

static bool same_message(const message *a, const message *b)
{
    return same(&a->content, &b->content) && same(&a->reasoning, &b->reasoning) && same(&a->calls, &b->calls);
}

static void show(const char *label, const message *m)
{
    print_message("%s\n  content   %s\n  reasoning %s\n  calls     %s\n", label, m->content.bytes, m->reasoning.bytes,
                  m->calls.bytes);
}

/* ---- cases ---------------------------------------------------------------------------------------------------- */

typedef struct habit {
    const char *format, *prompt, *text;
    const char *content, *reasoning, *calls; /* calls: NAME ARGUMENTS, each with a newline behind it */
} habit;

typedef struct answer_case {
    text_buffer name, format, prompt, text, end;
    message wanted;
} answer_case;

static void read_call(json *parser, message *m, mem *ledger)
{
    text_buffer fields[3];
    for (int i = 0; i < 3; i++) text_buffer_init(&fields[i], ledger);
    for (json_token key = next_token(parser); key.kind == JSON_KEY; key = next_token(parser)) {
        int field = json_text_is(&key, "name") ? 0 : json_text_is(&key, "arguments") ? 1 : 2;
        read_string(parser, &fields[field]);
    }
    add_call(m, fields[0].bytes, fields[1].bytes, fields[2].bytes);
    for (int i = 0; i < 3; i++) text_buffer_reset(&fields[i]);
}

static void read_message(json *parser, message *m, mem *ledger)
{
    enter_object(parser);
    for (json_token key = next_token(parser); key.kind == JSON_KEY; key = next_token(parser)) {
        if (json_text_is(&key, "content"))
            read_string(parser, &m->content);
        else if (json_text_is(&key, "reasoning_content"))
            read_string(parser, &m->reasoning);
        else {
            assert_true(json_text_is(&key, "tool_calls"));
            assert_int_equal(next_token(parser).kind, JSON_ARRAY_BEGIN);
            while (next_token(parser).kind == JSON_OBJECT_BEGIN) read_call(parser, m, ledger);
        }
    }
}

static void read_case(json *parser, answer_case *c, mem *ledger)
{
    leat_error error;
    text_buffer *fields[] = {&c->name, &c->format, &c->prompt, &c->text, &c->end};
    static const char *const names[] = {"name", "format", "prompt", "text", "end"};
    for (int i = 0; i < 5; i++) text_buffer_init(fields[i], ledger);
    message_init(&c->wanted, ledger);
    for (json_token key = next_token(parser); key.kind == JSON_KEY; key = next_token(parser)) {
        int field = 0;
        while (field < 5 && !json_text_is(&key, names[field])) field++;
        if (field < 5)
            read_string(parser, fields[field]);
        else if (json_text_is(&key, "message"))
            read_message(parser, &c->wanted, ledger);
        else
            assert_ok(json_skip(parser, &error), &error);
    }
    add(&c->end, "", 0);
    add(&c->prompt, "", 0);
}

static void reset_case(answer_case *c)
{
    text_buffer *fields[] = {&c->name, &c->format, &c->prompt, &c->text, &c->end};
    for (int i = 0; i < 5; i++) text_buffer_reset(fields[i]);
    message_reset(&c->wanted);
}

typedef void case_fn(mem *ledger, const answer_case *c, const given *g);

/* The tools of the file are those of make_cases.py. */
static const char *const tools =
    "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"parameters\": {\"type\": \"object\", "
    "\"properties\": {\"location\": {\"type\": \"string\"}, \"unit\": {\"type\": \"string\", \"enum\": "
    "[\"celsius\"]}}}}}, "
    "{\"type\": \"function\", \"function\": {\"name\": \"plan_trip\", \"parameters\": {\"type\": \"object\", "
    "\"properties\": {\"stops\": {\"type\": \"array\"}, \"budget\": {\"type\": \"number\"}, \"days\": {\"type\": "
    "\"integer\"}, \"flag\": {\"type\": \"boolean\"}, \"maybe\": {\"anyOf\": [{\"type\": \"integer\"}, {\"type\": "
    "\"null\"}]}, \"options\": {\"type\": \"object\"}, \"text\": {\"type\": \"string\"}, \"b\": {\"type\": "
    "\"string\"}}}}}, {\"name\": \"now\", \"parameters\": {}}]";

static void for_each_case(case_fn *fn)
{
    char path[UNIT_PATH_BYTES];
    mem *ledger = open_ledger(0);
    text_buffer document;
    uint32_t count = 0;
    text_buffer_init(&document, ledger);
    assert_true(find_data_file("golden/answers/cases.json", path));
    read_file(ledger, path, &document);
    json *parser = open_cases(ledger, &document);
    while (next_token(parser).kind == JSON_OBJECT_BEGIN) {
        answer_case c = {0};
        read_case(parser, &c, ledger);
        given g = {c.format.bytes, c.prompt.bytes, tools};
        fn(ledger, &c, &g);
        reset_case(&c);
        count++;
    }
    assert_true(count > 650);
    json_close(&parser);
    text_buffer_reset(&document);
    close_empty_ledger(ledger);
}

static void expect_cut(mem *ledger, const answer_case *c, const given *g, const text_buffer *text, uint64_t first)
{
    message got;
    message_init(&got, ledger);
    read_cut(ledger, g, text->bytes, text->count, first, &got);
    if (!same_message(&got, &c->wanted) || !got.was_whole) {
        print_message("%s, cut at %lld\n", c->name.bytes, (long long)first);
        show("wanted", &c->wanted);
        show("got", &got);
        fail();
    }
    message_reset(&got);
}

/* The text with the mark that ends a turn, where the format knows it. */
static void with_end_mark(mem *ledger, const answer_case *c, text_buffer *out)
{
    bool is_known = strcmp(c->end.bytes, "<end_of_turn>") != 0 &&
                    (strcmp(c->end.bytes, "<|end|>") != 0 || strcmp(c->format.bytes, "generic") != 0);
    text_buffer_init(out, ledger);
    add(out, c->text.bytes, c->text.count);
    if (is_known) add(out, c->end.bytes, c->end.count);
}

static void check_whole(mem *ledger, const answer_case *c, const given *g)
{
    text_buffer with_end;
    expect_cut(ledger, c, g, &c->text, 0);
    with_end_mark(ledger, c, &with_end);
    expect_cut(ledger, c, g, &with_end, 0);
    text_buffer_reset(&with_end);
}

static void check_cuts(mem *ledger, const answer_case *c, const given *g)
{
    text_buffer with_end;
    with_end_mark(ledger, c, &with_end);
    expect_cut(ledger, c, g, &c->text, UINT64_MAX);
    expect_cut(ledger, c, g, &with_end, UINT64_MAX);
    for (uint64_t first = 1; first < c->text.count; first++) expect_cut(ledger, c, g, &c->text, first);
    for (uint64_t first = c->text.count; first < with_end.count; first++) expect_cut(ledger, c, g, &with_end, first);
    text_buffer_reset(&with_end);
}

static uint64_t trimmed(const char *text, uint64_t count)
{
    while (count > 0 && strchr(" \n\t", text[count - 1])) count--;
    return count;
}

/* Whether `text` ends as `part` does: its last bytes were not lost. */
static bool ends_alike(const char *text, uint64_t count, const text_buffer *part, uint64_t begin, uint64_t shown)
{
    uint64_t end = trimmed(part->bytes, part->count), shared = end < begin ? 0 : end - begin;
    if (shared > shown) shared = shown;
    if (shared == 0 || shared > count) return false;
    return memcmp(text + count - shared, part->bytes + end - shared, shared) == 0;
}

/* Whether the text ends with a mark that ends with no bracket. */
static bool ends_with_mark(const char *text, uint64_t count)
{
    static const char *const marks[] = {"thought", "Here are my reasoning steps:", "all", "<|begin|>assistant"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t length = strlen(marks[i]);
        if (count >= length && memcmp(text + count - length, marks[i], length) == 0) return true;
    }
    return false;
}

static void check_cut_off(mem *ledger, const answer_case *c, const given *g)
{
    static const char *const with_inner_marks[] = {"harmony", "command_r7b", "kimi_k3", "muse"};
    bool has_inner_marks = false;
    for (size_t i = 0; i < sizeof with_inner_marks / sizeof *with_inner_marks; i++)
        has_inner_marks = has_inner_marks || strcmp(c->format.bytes, with_inner_marks[i]) == 0;
    uint64_t shown = has_inner_marks ? 1 : 12;
    for (uint64_t count = 0; count < c->text.count; count++) {
        message got;
        message_init(&got, ledger);
        read_cut(ledger, g, c->text.bytes, count, 0, &got);
        uint64_t end = trimmed(c->text.bytes, count);
        bool is_kept = end == 0 || ends_alike(c->text.bytes, end, &got.content, got.after_calls, shown) ||
                       ends_alike(c->text.bytes, end, &got.reasoning, 0, shown) ||
                       strchr(">]})`", c->text.bytes[end - 1]) != NULL || ends_with_mark(c->text.bytes, end);
        bool is_invented = got.calls.count > c->wanted.calls.count ||
                           memcmp(got.calls.bytes, c->wanted.calls.bytes, got.calls.count) != 0;
        if (!is_kept || is_invented) {
            print_message("%s, cut off at %lld: %.*s\n", c->name.bytes, (long long)count, (int)count, c->text.bytes);
            show("got", &got);
            fail();
        }
        message_reset(&got);
    }
}

/* Calls stay text: all that a call was made of is in the content, or in the thought that it stood in. */
static void check_without_tools(mem *ledger, const answer_case *c, const given *g)
{
    given none = *g;
    message got;
    none.tools = NULL;
    message_init(&got, ledger);
    read_cut(ledger, &none, c->text.bytes, c->text.count, 0, &got);
    assert_int_equal(got.call_count, 0);
    if (c->wanted.call_count == 0) assert_true(same_message(&got, &c->wanted));
    uint64_t wanted = c->wanted.content.count + c->wanted.reasoning.count;
    if (c->wanted.call_count > 0) assert_true(got.content.count + got.reasoning.count > wanted);
    message_reset(&got);
}

static void test_every_family(void **state)
{
    (void)state;
    for_each_case(check_whole);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    for_each_case(check_cuts);
}

static void test_cut_off_anywhere(void **state)
{
    (void)state;
    for_each_case(check_cut_off);
}

static void test_without_tools(void **state)
{
    (void)state;
    for_each_case(check_without_tools);
}

/* ---- which family --------------------------------------------------------------------------------------------- */

static bool mentions(void *user, const char *text) { return strstr(user, text) != NULL; }

static void test_choice(void **state)
{
    static const char *const rows[][2] = {
        {"generic", "{{ messages }}"},
        {"seed_oss", "<seed:tool_call> <function= <think></think>"},
        {"minimax_m3", "]<]minimax[>[ <tool_call> tool_call.name"},
        {"kimi_k3", "<|open|> <|close|> <|sep|> ```json"},
        {"deepseek_v4", "｜DSML｜ tool_calls> <think></think>"},
        {"minicpm5", "<function name=\" <param name=\" <tool_sep>"},
        {"hunyuan_v3", "<tool_sep{}> :opensource <tool_call{}>"},
        {"hunyuan_v3", "<tool_sep:opensource>"},
        {"step3.5", "<tool_call>\n<function= <|im_start|>tool_response"},
        {"glm4.7", "<tool_call> <arg_key>a</arg_key><arg_value>"},
        {"ling3", "<tool_call> <arg_key> <|role_end|>"},
        {"laguna_xs", "<tool_call> <arg_key> </think>\n </assistant>"},
        {"laguna_xs", "<tool_call> <arg_key> '</think>\\n' </assistant>"},
        {"laguna_s", "<tool_call> <arg_key> </think> </assistant>"},
        {"muse", "<|start|> <|message|> <atem:function_calls>"},
        {"hermes", "<tool_call> <think>"},
        {"llama3", "<|python_tag|>"},
        {"llama4", "<|header_start|>user<|header_end|>"},
        {"hunyuan", "<|startoftext|> <tool_calls> <|extra_0|>"},
        {"internlm2", "<|im_start|> <|action_start|><|plugin|>"},
        {"gemma4", "<|tool_call>call: <tool_call|> <tool_call>"},
        {"gemma4", "<|turn>model"},
        {"qwen3_coder", "<tool_call>\n<function= <tool_call>"},
        {"nemotron3", "<tool_call>\n<function= <think></think>"},
        {"glm4", "<tool_call> <arg_key>"},
        {"minimax_m2", "<minimax:tool_call> <function="},
        {"harmony", "<|start|> <|channel|> <|message|>"},
        {"mistral", "[TOOL_CALLS]"},
        {"mistral_named", "[TOOL_CALLS] [ARGS]"},
        {"kimi_k2", "<|tool_calls_section_begin|>"},
        {"deepseek_v3.1", "<｜tool▁calls▁begin｜>"},
        {"deepseek_v3", "<｜tool▁calls▁begin｜> ```json"},
        {"deepseek_dsml", "<｜DSML｜function_calls> <think></think>"},
        {"command_r7b", "<|START_ACTION|>"},
        {"apertus", "<|inner_prefix|> <|tools_prefix|>"},
        {"apriel", "<tool_call></tool_call> <tool_calls> [BEGIN FINAL RESPONSE]"},
        {"minimax_m1", "<beginning_of_sentence> <tool_calls>"},
        {"nemotron_v2", "<think></think> <TOOLCALL>"},
        {"gigachat3", "`function call` <|role_sep|> <|message_sep|>"},
        {"gigachat3.1", "`function call` <|role_sep|> <|message_sep|> <|function_call|>"},
        {"granite3", "<|start_of_role|> <|tool_call|>"},
        {"granite3", "<|system|> <|tool|>[]<|/tool|>"},
        {"functionary_v3.1", "<|start_header_id|> <function=f></function> <|python_tag|>"},
        {"functionary_v3.2", "<|start_header_id|> >>>all"},
        {"solar_open", "<|tool_calls|> <|tool_call:begin|>"},
        {"firefunction", "<|start_header_id|> functools[{\"parameters\": "},
        {"lfm2", "<|im_start|> <|tool_call_start|> <think>"},
        {"lfm2", "<|im_start|> List of tools: <|tool_list_start|>["},
        {"lfm2", "<|im_start|> List of tools: ["},
        {"reka", "human: <tool_call> <sep>"},
        {"granite3", "<|start_of_role|>available_tools<|end_of_role|>"},
        {"mistral_id", "[TOOL_CALLS] [CALL_ID] [ARGS]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(answer_format_label(answer_format_find(mentions, (void *)(uintptr_t)rows[i][1])),
                            rows[i][0]);
}

/* ---- what models do that no template writes ------------------------------------------------------------------- */

#define JSON_CALL     "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"
#define FUNCTION_CALL "<function=get_weather>\n<parameter=location>\nRome\n</parameter>\n</function>\n</tool_call>"
#define ROME          "get_weather {\"location\": \"Rome\"}\n"
#define KIMI_CALL                                                                                                      \
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}<|tool_call_end|>"    \
    "<|tool_calls_section_end|>"
#define DSML_CALL "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"

static const habit habits[] = {
    /* A thought that is never closed ends before the calls behind which the answer ends. */
    {"hermes", "<think>\n", "I look.\n" JSON_CALL, "", "I look.", "now {}\n"},
    {"hermes", "", "<think>\nI look.\n" JSON_CALL "\n" JSON_CALL "\n<|im_end|>", "", "I look.", "now {}\nnow {}\n"},
    {"hermes", "<think>\n", JSON_CALL, "", "", "now {}\n"},
    {"qwen3_coder", "<think>\n", "I look.\n<tool_call>\n" FUNCTION_CALL, "", "I look.", ROME},
    {"kimi_k2", "<think>", "I look." KIMI_CALL, "", "I look.", "now {}\n"},
    {"deepseek_v4", "<think>", "I look.\n\n" DSML_CALL, "", "I look.", "now {}\n"},
    {"kimi_k3", "<|open|>think<|sep|>", "I look.<|open|>response<|sep|>Yes.<|close|>response<|sep|>", "Yes.", "I look.",
     ""},
    /* ... and one that goes on is a thought about calls. */
    {"hermes", "<think>\n", "I could say\n" JSON_CALL "\nor not.\n</think>\n\nNo.", "No.",
     "I could say\n" JSON_CALL "\nor not.", ""},
    {"hermes", "<think>\n", "I could say\n" JSON_CALL "\n</think>\n\nNo.", "No.", "I could say\n" JSON_CALL, ""},
    {"hermes", "<think>\n", "Once " JSON_CALL " and\n" JSON_CALL, "", "Once " JSON_CALL " and", "now {}\n"},
    {"hermes", "<think>\n", "Twice " JSON_CALL "\n<tool_call>\n{\"name\": 1", "",
     "Twice " JSON_CALL "\n<tool_call>\n{\"name\": 1", ""},
    {"hermes", "<think>\n", "Half\n<tool_call>\n{\"name\": \"now\", \"argu", "",
     "Half\n<tool_call>\n{\"name\": \"now\", \"argu", ""},
    {"qwen3_coder", "<think>\n", "By <function=now> I mean\n</think>\n\nthat.", "that.", "By <function=now> I mean",
     ""},
    /* The tag before a function is forgotten; what is no tool's name is no call. */
    {"qwen3_coder", "", FUNCTION_CALL, "", "", ROME},
    {"qwen3_coder", "", "I look.\n" FUNCTION_CALL "\n<tool_call>\n" FUNCTION_CALL, "I look.", "", ROME ROME},
    {"nemotron3", "", "I look.\n" FUNCTION_CALL, "I look.", "", ROME},
    {"qwen3_coder", "", "<function=NAME>\n</function>", "<function=NAME>\n</function>", "", ""},
    /* Where nothing marks calls, they are the whole beginning of an answer and name a tool. */
    {"generic", "", "{\"name\": \"now\", \"arguments\": {}}", "", "", "now {}\n"},
    {"generic", "", "[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"parameters\": {}}]", "", "",
     "now {}\nnow {}\n"},
    {"generic", "", "[get_weather(location='Rome'), now()]", "", "", ROME "now {}\n"},
    {"generic", "", "[now", "[now", "", ""},
    {"generic", "", "[now, then]", "[now, then]", "", ""},
    {"generic", "", "[never()]", "[never()]", "", ""},
    {"generic", "", "So: [now()]", "So: [now()]", "", ""},
    {"llama3", "", "[get_weather(location=\"Rome\")]<|eot_id|>", "", "", ROME},
    {"llama4", "", "<|python_start|>[get_weather(location=\"Rome\")]<|python_end|><|eom|>", "", "", ROME},
    {"llama4", "", "{\"name\": \"get_weather\", \"parameters\": {\"location\": \"Rome\"}}<|eot|>", "", "", ROME},
    {"hunyuan", "", "<think>\nI look.\n</think>\n<answer>\nYes.\n</answer><|eos|>", "Yes.", "I look.", ""},
    {"hunyuan", "", "<tool_calls>[{\"name\": \"now\", \"arguments\": {}}]</tool_calls>", "", "", "now {}\n"},
    {"internlm2", "",
     "I look.<|action_start|><|plugin|>\n{\"name\": \"now\", \"parameters\": {}}<|action_end|><|im_end|>", "I look.",
     "", "now {}\n"},
    /* Marks astray. */
    {"gemma4", "", "Hello<channel|>", "Hello", "", ""},
    {"gemma4", "", "<|channel>thought\n<channel|>Hello<|channel>thought\n<channel|><channel|><turn|>", "Hello", "", ""},
    {"gemma4", "", "Hello<|channel>thought\n<channel|>, you", "Hello<|channel>thought\n<channel|>, you", "", ""},
    {"harmony", "<|start|>assistant",
     "<|channel|>commentary to=assistant<|channel|>analysis<|message|>I think.<|end|>"
     "<|start|>assistant<|channel|>final<|message|>Yes.",
     "Yes.", "I think.", ""},
};

/* Calls as the habits have them. */
static void join_calls(const message *m, text_buffer *out)
{
    for (uint64_t i = 0, field = 0; i < m->calls.count; i++) {
        char c = m->calls.bytes[i];
        if (c == '\x01') {
            if (field++ == 0) add(out, " ", 1);
        } else if (c == '\x02') {
            add(out, "\n", 1);
            field = 0;
        } else if (field < 2)
            add(out, &c, 1);
    }
}

static void expect_habit(mem *ledger, const habit *h, uint64_t first)
{
    const given g = {h->format, h->prompt, tools};
    message got;
    text_buffer calls;
    message_init(&got, ledger);
    text_buffer_init(&calls, ledger);
    read_cut(ledger, &g, h->text, strlen(h->text), first, &got);
    add(&calls, "", 0);
    join_calls(&got, &calls);
    add(&calls, "", 1);
    add(&got.content, "", 1);
    add(&got.reasoning, "", 1);
    const char *const pairs[][2] = {
        {got.content.bytes, h->content}, {got.reasoning.bytes, h->reasoning}, {calls.bytes, h->calls}};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(pairs[i][0], pairs[i][1]) != 0)
            print_message("%s, cut at %lld: %s\n", h->format, (long long)first, h->text);
    for (size_t i = 0; i < 3; i++) assert_string_equal(pairs[i][0], pairs[i][1]);
    message_reset(&got);
    text_buffer_reset(&calls);
}

static void test_habits_of_models(void **state)
{
    mem *ledger = open_ledger(0);
    (void)state;
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        expect_habit(ledger, &habits[i], UINT64_MAX);
        for (uint64_t first = 0; first < strlen(habits[i].text); first++) expect_habit(ledger, &habits[i], first);
    }
    close_empty_ledger(ledger);
}

/* What has been seen to be no call is not held back: JSON and lists are answers, too. */
static void test_answers_that_begin_like_calls(void **state)
{
    static const char *const texts[] = {"[1] The paper", "[{\"title\": ", "{\"title\": ", "[ then,"};
    mem *ledger = open_ledger(0);
    leat_error error;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const given g = {"generic", "", tools};
        answer_parser *parser = open_parser(ledger, &g);
        message got;
        message_init(&got, ledger);
        assert_ok(answer_parser_push(parser, texts[i], strlen(texts[i]), take_event, &got, &error), &error);
        assert_int_equal(got.content.count, strlen(texts[i]));
        message_reset(&got);
        answer_parser_close(&parser);
    }
    close_empty_ledger(ledger);
}

/* Behind a prompt whose end is `prompt`: what closes an open thought (`close`), then a prefix, the arguments in the
 * family's form and its end are a call. */
static void expect_call(const char *format, const char *prompt, const char *close, const char *rest)
{
    leat_error error;
    mem *ledger = open_ledger(0);
    text_buffer text, begun;
    message got;
    text_buffer_init(&begun, ledger);
    text_buffer_init(&text, ledger);
    message_init(&got, ledger);
    add(&begun, prompt, strlen(prompt));
    assert_ok(answer_format_thought_close(answer_format_by_label(format), prompt, strlen(prompt), &begun, &error),
              &error);
    assert_string_equal(begun.bytes + strlen(prompt), close);
    given g = {format, begun.bytes, tools};
    assert_ok(answer_format_call_prefix(answer_format_by_label(format), "now", &text, &error), &error);
    add(&text, rest, strlen(rest));
    read_cut(ledger, &g, text.bytes, text.count, 0, &got);
    if (got.call_count != 1 || got.content.count > 0) show(format, &got);
    assert_int_equal(got.call_count, 1);
    assert_int_equal(got.content.count, 0);
    assert_int_equal(got.reasoning.count, 0);
    assert_memory_equal(got.calls.bytes, "now\x01{}\x01", 7);
    message_reset(&got);
    text_buffer_reset(&text);
    text_buffer_reset(&begun);
    close_empty_ledger(ledger);
}

static void expect_prefix(const char *format, const char *rest)
{
    bool is_harmony = strcmp(format, "harmony") == 0 || strcmp(format, "muse") == 0;
    bool has_header = strcmp(format, "functionary_v3.2") == 0;
    expect_call(format, is_harmony ? "<|start|>assistant" : has_header ? "\n\n>>>" : "x", "", rest);
}

static void test_call_prefix(void **state)
{
    leat_error error;
    (void)state;
    expect_prefix("hermes", "{}}\n</tool_call>");
    expect_prefix("seed_oss", "</function>\n</seed:tool_call>");
    expect_prefix("minimax_m3", "]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>");
    expect_prefix("kimi_k3", "<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>");
    expect_prefix("deepseek_v4", "\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>");
    expect_prefix("minicpm5", "</function>");
    expect_prefix("hunyuan_v3", "</tool_call:opensource>\n</tool_calls:opensource>");
    expect_prefix("step3.5", "</function>\n</tool_call>");
    expect_prefix("glm4.7", "</tool_call>");
    expect_prefix("ling3", "\n</tool_call>");
    expect_prefix("laguna_xs", "</tool_call>\n</assistant>");
    expect_prefix("laguna_s", "</tool_call></assistant>");
    expect_prefix("muse", "</atem:invoke>\n</atem:function_calls><|eot|>");
    expect_prefix("qwen3_coder", "</function>\n</tool_call>");
    expect_prefix("nemotron3", "</function>\n</tool_call>\n");
    expect_prefix("glm4", "</tool_call>");
    expect_prefix("minimax_m2", "</invoke>\n</minimax:tool_call>");
    expect_prefix("deepseek_dsml", "</｜DSML｜invoke>\n</｜DSML｜function_calls>");
    expect_prefix("deepseek_v3", "{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
    expect_prefix("deepseek_v3.1", "{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
    expect_prefix("kimi_k2", "{}<|tool_call_end|><|tool_calls_section_end|>");
    expect_prefix("gemma4", "}<tool_call|>");
    expect_prefix("mistral", "{}}]");
    expect_prefix("mistral_named", "{}");
    expect_prefix("llama3", "{}}");
    expect_prefix("llama4", "{}}");
    expect_prefix("hunyuan", "{}}]</tool_calls>");
    expect_prefix("internlm2", "{}}<|action_end|>");
    expect_prefix("harmony", "{}<|call|>");
    expect_prefix("command_r7b", "{}}\n]<|END_ACTION|>");
    expect_prefix("command_r", "{}\n    }\n]```");
    expect_prefix("apertus", "{}}]<|tools_suffix|>");
    expect_prefix("apriel", "{}}]</tool_calls>");
    expect_prefix("minimax_m1", "{}}\n</tool_calls>");
    expect_prefix("nemotron_v2", "{}}]</TOOLCALL>");
    expect_prefix("gigachat3", "{}}");
    expect_prefix("gigachat3.1", "{}}<|message_sep|>");
    expect_prefix("granite3", "{}}]");
    expect_prefix("functionary_v3.1", "{}</function>");
    expect_prefix("functionary_v3.2", "{}");
    expect_prefix("solar_open", "{}<|tool_call:end|><|calls|>");
    expect_prefix("firefunction", "{}}]");
    expect_prefix("lfm2", ")]<|tool_call_end|>");
    expect_prefix("reka", "{}}\n</tool_call>");
    expect_prefix("mistral_id", "abcDEF123[ARGS]{}"); /* its template refuses identifiers of another length */
    text_buffer text = {0};
    assert_int_equal(answer_format_call_prefix(answer_format_by_label("generic"), "now", &text, &error), LEAT_USAGE);
}

/* Templates that leave a thought open: the call stands behind it. */
static void test_call_prefix_in_a_thought(void **state)
{
    leat_error error;
    text_buffer text = {0};
    (void)state;
    expect_call("hermes", "<|im_start|>assistant\n<think>\n", "\n</think>\n\n", "{}}\n</tool_call>");
    expect_call("hermes", "<think>", "</think>\n\n", "{}}\n</tool_call>");
    expect_call("seed_oss", "<seed:think>", "</seed:think>\n", "</function>\n</seed:tool_call>");
    expect_call("minimax_m3", "<mm:think>", "</mm:think>", "]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>");
    expect_call("kimi_k3", "<|open|>think<|sep|>", "<|close|>think<|sep|><|open|>response<|sep|>",
                "<|close|>call<|sep|><|close|>tools<|sep|>");
    expect_call("deepseek_v4", "<think>", "</think>", "</｜DSML｜invoke>\n</｜DSML｜tool_calls>");
    expect_call("minicpm5", "<think>\n", "\n</think>\n\n", "</function>");
    expect_call("hunyuan_v3", "<think:opensource>", "</think:opensource>",
                "</tool_call:opensource>\n</tool_calls:opensource>");
    expect_call("step3.5", "<think>\n", "\n</think>\n", "</function>\n</tool_call>");
    expect_call("glm4.7", "<think>", "</think>", "</tool_call>");
    expect_call("ling3", "\n<think>", "</think>", "\n</tool_call>");
    expect_call("laguna_xs", "<assistant>\n<think>", "</think>", "</tool_call>");
    expect_call("laguna_s", "<assistant><think>", "</think>", "</tool_call>");
    expect_call("muse", "<|start|>assistant to=self<|message|>", "<|eom|><|start|>assistant",
                "</atem:invoke>\n</atem:function_calls>");
    expect_call("qwen3_coder", "<think>\n", "\n</think>\n\n", "</function>\n</tool_call>");
    expect_call("nemotron3", "<think>\n", "\n</think>\n", "</function>\n</tool_call>\n");
    expect_call("glm4", "<|assistant|><think>", "</think>", "</tool_call>");
    expect_call("minimax_m2", "]~b]ai\n<think>\n", "\n</think>\n\n", "</invoke>\n</minimax:tool_call>");
    expect_call("deepseek_dsml", "<｜Assistant｜><think>", "</think>", "</｜DSML｜invoke>\n</｜DSML｜function_calls>");
    expect_call("deepseek_v3", "<｜Assistant｜><think>\n", "\n</think>\n\n",
                "{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
    expect_call("deepseek_v3.1", "<｜Assistant｜><think>", "</think>", "{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
    expect_call("kimi_k2", "<think>", "</think>", "{}<|tool_call_end|><|tool_calls_section_end|>");
    expect_call("gemma4", "<|channel>thought\n", "\n<channel|>", "}<tool_call|>");
    expect_call("mistral", "[THINK]", "[/THINK]", "{}}]");
    expect_call("mistral_named", "[THINK]", "[/THINK]", "{}");
    expect_call("llama3", "<think>\n", "\n</think>\n\n", "{}}");
    expect_call("harmony", "<|channel|>analysis<|message|>", "<|end|><|start|>assistant", "{}<|call|>");
    expect_call("command_r7b", "<|START_THINKING|>", "<|END_THINKING|>", "{}}\n]<|END_ACTION|>");
    expect_call("command_r", "<think>\n", "\n</think>\n", "{}\n    }\n]```");
    expect_call("apertus", "<|inner_prefix|>", "<|inner_suffix|>", "{}}]<|tools_suffix|>");
    expect_call("apriel", "Here are my reasoning steps:\n", "\n[BEGIN FINAL RESPONSE]\n", "{}}]</tool_calls>");
    expect_call("minimax_m1", "<think>\n", "\n</think>\n\n", "{}}\n</tool_calls>");
    expect_call("nemotron_v2", "<think>\n", "\n</think>\n\n", "{}}]</TOOLCALL>");
    expect_call("granite3", "<think>\n", "\n</think>\n\n", "{}}]<|/tool_call|>");
    expect_call("solar_open", "assistant<|think|>", "<|end|><|begin|>assistant", "{}<|tool_call:end|><|calls|>");
    expect_call("lfm2", "<think>", "</think>", ")]<|tool_call_end|>");
    expect_call("reka", "assistant: <think>\n", "\n</think>\n\n", "{}}\n</tool_call>");
    /* Over, or never begun: there is nothing to close. */
    expect_call("hermes", "<think>\n\n</think>\n\n", "", "{}}\n</tool_call>");
    assert_ok(answer_format_thought_close(answer_format_by_label("hermes"), "", 0, &text, &error), &error);
    assert_int_equal(text.count, 0);
}

/* ---- hostile texts -------------------------------------------------------------------------------------------- */

/* `unit` again and again behind `head`, then a word: all must come out as text, whole or byte by byte. */
static void expect_text(const char *format, const char *head, const char *unit, uint64_t bytes)
{
    mem *ledger = open_ledger(8 << 20);
    text_buffer text;
    message whole, pieces;
    given g = {format, "x", tools};
    text_buffer_init(&text, ledger);
    message_init(&whole, ledger);
    message_init(&pieces, ledger);
    add(&text, head, strlen(head));
    while (text.count < bytes) add(&text, unit, strlen(unit));
    add(&text, "end", 3); /* newlines before a turn's end may be markup */
    read_cut(ledger, &g, text.bytes, text.count, 0, &whole);
    assert_int_equal(whole.call_count, 0);
    assert_true(same(&whole.content, &text));
    read_cut(ledger, &g, text.bytes, text.count, UINT64_MAX, &pieces);
    assert_true(same_message(&whole, &pieces));
    message_reset(&pieces);
    message_reset(&whole);
    text_buffer_reset(&text);
    close_empty_ledger(ledger);
}

/* White space before and behind a mark in a call that goes on. */
static void expect_spaces(const char *format, const char *head, const char *mark, uint64_t bytes)
{
    mem *ledger = open_ledger(0);
    text_buffer text;
    text_buffer_init(&text, ledger);
    add(&text, head, strlen(head));
    while (text.count < bytes) add(&text, " ", 1);
    add(&text, mark, strlen(mark));
    expect_text(format, text.bytes, " ", 2 * bytes);
    text_buffer_reset(&text);
    close_empty_ledger(ledger);
}

static void test_hostile(void **state)
{
    static const char *const units[] = {"<", "[", "{", "\"", "<tool_call>", "<tool_call>{\"a\": [", "</parameter> ",
                                        "\n"};
    (void)state;
    for (size_t i = 0; i < ANSWER_LABEL_COUNT; i++)
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) expect_text(answer_labels[i], "x", units[k], 1 << 16);
    expect_text("hermes", "x", "<", 1 << 20);
    expect_text("hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"", "</tool_call>", 1 << 20);
    expect_text("hermes", "<tool_call>", "[", 1 << 20);
    expect_text("qwen3_coder", "<tool_call>\n<function=now>\n<parameter=a>\n", "</parameter>     ", 1 << 20);
    expect_text("gemma4", "<|tool_call>call:now{a:<|\"|>", "}<tool_call|>", 1 << 20);
    expect_text("kimi_k2", "<|tool_calls_section_begin|>", "<|tool_call_begin|>", 1 << 20);
    expect_text("minimax_m3", "]<]minimax[>[<tool_call>]<]minimax[>[<invoke name=\"now\">", "]<]minimax[>[<a>",
                1 << 20);
    expect_text("minimax_m3", "]<]minimax[>[<tool_call>", "]<]minimax[>[<invoke name=\"now\">]<]minimax[>[</invoke",
                1 << 20);
    expect_text("kimi_k3", "<|open|>tools<|sep|><|open|>call tool=\"now\" index=\"1\"<|sep|>",
                "<|open|>argument key=\"a\" type=\"string\"<|sep|><|close|>argument<|sep|>", 1 << 19);
    expect_text("kimi_k3", "<|open|>tools<|sep|><|open|>call tool=\"now\" index=\"1\"<|sep|>", " ", 1 << 20);
    expect_text("minicpm5", "<function name=\"now\"><param name=\"a\"><![CDATA[", " </param> ", 1 << 20);
    expect_spaces("minicpm5", "<function name=\"now\"><param name=\"a\"><![CDATA[]]>", "</param>", 1 << 18);
    expect_text("minicpm5", "<function name=\"now\"><param name=\"a\">", "<![CDATA[]]></param>", 1 << 20);
    expect_text("seed_oss", "<seed:tool_call>\n<function=now>\n<parameter=a>", "</parameter>     ", 1 << 20);
    expect_text("muse", "x", "<|start|>", 1 << 20);
    expect_text("mistral", "x", "</s>", 1 << 20);
    expect_text("apriel", "<tool_calls>", "[", 1 << 20);
    expect_text("functionary_v3.2", "x", ">>>", 1 << 20);
    expect_text("functionary_v3.2", "x", ">>>now\n", 1 << 20);
    expect_text("firefunction", "x", " functools", 1 << 20);
    expect_text("lfm2", "<|tool_call_start|>[now(a='", "' ", 1 << 20);
    expect_text("lfm2", "<|tool_call_start|>[now(a='", "\\", 1 << 20);
    expect_text("lfm2", "<|tool_call_start|>", "[", 1 << 20);
    expect_text("lfm2", "<|tool_call_start|>[now(a='", "\"<|tool_call_end|>", 1 << 20);
}

/* Two MiB of one call are not a call; what follows is read again. */
static void test_call_limit(void **state)
{
    mem *ledger = open_ledger(16 << 20);
    text_buffer text;
    message got;
    given g = {"hermes", "x", tools};
    static const char head[] = "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"", tail[] = "\"}}</tool_call>";
    static const char next[] = "<tool_call>{\"name\": \"now\"}</tool_call>";
    (void)state;
    text_buffer_init(&text, ledger);
    message_init(&got, ledger);
    add(&text, head, strlen(head));
    while (text.count < 2 * (uint64_t)ANSWER_CALL_BYTES_MAX) add(&text, "0123456789", 10);
    add(&text, tail, strlen(tail));
    uint64_t first = text.count;
    add(&text, next, strlen(next));
    read_cut(ledger, &g, text.bytes, text.count, 0, &got);
    assert_int_equal(got.content.count, first);
    assert_int_equal(got.call_count, 1);
    message_reset(&got);
    text_buffer_reset(&text);
    close_empty_ledger(ledger);
}

/* A list of Python's calls may be as deep as JSON: the list and the call's own brackets count. */
static void test_call_depth(void **state)
{
    given g = {"lfm2", "x", tools};
    (void)state;
    for (int depth = 62; depth <= 63; depth++) {
        mem *ledger = open_ledger(0);
        text_buffer text;
        message got;
        text_buffer_init(&text, ledger);
        message_init(&got, ledger);
        add(&text, "<|tool_call_start|>[now(a=", 26);
        for (int i = 0; i < depth; i++) add(&text, "[", 1);
        for (int i = 0; i < depth; i++) add(&text, "]", 1);
        add(&text, ")]<|tool_call_end|>", 19);
        read_cut(ledger, &g, text.bytes, text.count, 0, &got);
        assert_int_equal(got.call_count, depth == 62);
        assert_int_equal(got.content.count, depth == 62 ? 0 : text.count);
        message_reset(&got);
        text_buffer_reset(&text);
        close_empty_ledger(ledger);
    }
}

/* Every @ is MiniMax' mark before a tag. */
static void add_marked(text_buffer *out, const char *text)
{
    for (; *text; text++)
        if (*text == '@')
            add(out, "]<]minimax[>[", 13);
        else
            add(out, text, 1);
}

/* What the schema says of properties and elements inside of a parameter decides what their text is. */
static void test_inner_types(void **state)
{
    static const char nested[] =
        "[{\"name\": \"f\", \"parameters\": {\"properties\": {\"z\": {\"type\": \"object\", \"properties\": {\"n\": "
        "{\"type\": \"string\"}, \"a\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\": "
        "{\"item\": {\"type\": [\"string\", \"null\"]}, \"b\": {\"type\": \"boolean\"}}}}}}, \"a\": {\"items\": "
        "{\"type\": \"string\"}}}}}]";
    static const char *const rows[][2] = {
        {"<z>@<n>12@</n>@<m>12@</m>@</z>", "{\"z\": {\"n\": \"12\", \"m\": 12}}"},
        {"<z>@<a>@<item>@<item>1@</item>@<b>True@</b>@</item>@</a>@</z>",
         "{\"z\": {\"a\": [{\"item\": \"1\", \"b\": true}]}}"},
        {"<z>@<a>@</a>@</z>", "{\"z\": {\"a\": []}}"},
        {"<a>@<item>1@</item>@<item>@</item>@</a>", "{\"a\": [\"1\", \"\"]}"},
        {"<q>@<item>1@</item>@<item>@</item>@</q>", "{\"q\": [1, \"\"]}"},
        {"<z>@</z>", "{\"z\": {}}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mem *ledger = open_ledger(0);
        text_buffer text;
        message got;
        given g = {"minimax_m3", "x", nested};
        text_buffer_init(&text, ledger);
        message_init(&got, ledger);
        add_marked(&text, "@<tool_call>\n@<invoke name=\"f\">@");
        add_marked(&text, rows[i][0]);
        add_marked(&text, "@</invoke>\n@</tool_call>");
        read_cut(ledger, &g, text.bytes, text.count, UINT64_MAX, &got);
        assert_int_equal(got.call_count, 1);
        assert_memory_equal(got.calls.bytes, "f\x01", 2);
        assert_memory_equal(got.calls.bytes + 2, rows[i][1], strlen(rows[i][1]));
        message_reset(&got);
        text_buffer_reset(&text);
        close_empty_ledger(ledger);
    }
}

static void test_bad_tools(void **state)
{
    static const char *const rows[] = {"{}", "[1]", "[", "", "\"x\""};
    leat_error error;
    mem *ledger = open_ledger(0);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        answer_parser *parser = NULL;
        answer_options options = {.tools = rows[i], .tools_bytes = strlen(rows[i])};
        assert_int_equal(answer_parser_open(ledger, answer_format_by_label("hermes"), &options, &parser, &error),
                         LEAT_USAGE);
        assert_null(parser);
    }
    close_empty_ledger(ledger);
}

static leat_status refuse_event(void *user, const answer_event *event, leat_error *error)
{
    (void)user;
    (void)event;
    return status_fail(error, LEAT_CANCELLED, 0, __FILE__, __LINE__, "no more"), LEAT_CANCELLED;
}

/* The nth allocation of one answer fails, or for the zeroth the sink: a status, and nothing is left behind. */
static leat_status fail_at(const char *format, const char *text, uint64_t nth)
{
    leat_error error;
    mem *ledger = open_ledger(0), *own = open_ledger(0);
    message got;
    answer_parser *parser = NULL;
    answer_options options = {.tools = tools, .tools_bytes = strlen(tools)};
    message_init(&got, own);
    mem_fail_nth(ledger, nth);
    leat_status status = answer_parser_open(ledger, answer_format_by_label(format), &options, &parser, &error);
    if (status == LEAT_OK)
        status = answer_parser_push(parser, text, strlen(text), nth == 0 ? refuse_event : take_event, &got, &error);
    answer_parser_close(&parser);
    message_reset(&got);
    close_empty_ledger(ledger);
    close_empty_ledger(own);
    return status;
}

static void test_failures(void **state)
{
    static const char *const rows[][2] = {
        {"qwen3_coder",
         "Hm.<tool_call>\n<function=plan_trip>\n<parameter=text>\nx\n</parameter>\n</function>\n</tool_call>"},
        {"lfm2", "Hm.<|tool_call_start|>[plan_trip(text='x\\n', stops=[{'a': 1}]), now()]<|tool_call_end|>"},
        {"apertus", "<|inner_prefix|>Hm.<|tools_prefix|>[{\"now\": {\"a\": [1, 2]}}]<|tools_suffix|>"},
        {"functionary_v3.2", "now\n{\"a\": 1}>>>now\n{}"},
        {"seed_oss", "<seed:tool_call>\n<function=plan_trip>\n<parameter=options>{'a': "
                     "'b'}</parameter></function></seed:tool_call>"},
        {"minimax_m3", "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"plan_trip\">]<]minimax[>[<stops>"
                       "]<]minimax[>[<item>a]<]minimax[>[</item>]<]minimax[>[</stops>]<]minimax[>[</invoke>"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(fail_at(rows[i][0], rows[i][1], 0), LEAT_CANCELLED);
        assert_int_equal(fail_at(rows[i][0], rows[i][1], 1), LEAT_NO_MEMORY);
        for (uint64_t nth = 2; nth < 40; nth++) fail_at(rows[i][0], rows[i][1], nth);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_without_tools),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_call_prefix),
        cmocka_unit_test(test_call_prefix_in_a_thought),
        cmocka_unit_test(test_habits_of_models),
        cmocka_unit_test(test_answers_that_begin_like_calls),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_call_limit),
        cmocka_unit_test(test_call_depth),
        cmocka_unit_test(test_inner_types),
        cmocka_unit_test(test_bad_tools),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * fuzz_answer.c - any bytes through the parser of answers. The first byte chooses the format, the second where the text
 * is cut. What must hold: no failure but for memory, the events of a cut text are those of the whole one, everything
 * handed on fits into what was pushed, arguments are JSON objects, and the ledger is empty at the end.
 */
#include "fuzz/fuzz.h"

#include "base/mem.h"
#include "text/answer/json_span.h"
#include "support/answer_labels.h"
#include "text/answer_parser.h"

#include <string.h>

const char *const fuzz_words[] = {
    "<tool_call>",
    "</tool_call>",
    "\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
    "<function=now>\n",
    "</function>",
    "<parameter=a>\n",
    "\n</parameter>\n",
    "<think>",
    "</think>\n\n",
    "now\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n",
    "<minimax:tool_call>\n<invoke name=\"now\">\n",
    "<parameter name=\"a\">1</parameter>\n</invoke>\n</minimax:tool_call>",
    "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"now\">\n",
    "<｜DSML｜parameter name=\"a\" string=\"true\">",
    "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}",
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>",
    "{}<|tool_call_end|><|tool_calls_section_end|>",
    "<|tool_call>call:now{a:<|\"|>",
    "<|\"|>,b:[1,{c:true}]}<tool_call|>",
    "<|channel>thought\n",
    "<channel|>",
    "[TOOL_CALLS]now[ARGS]{\"a\": 1}",
    "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}]",
    "<|start|>assistant<|channel|>analysis<|message|>",
    "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
    "<|end|>",
    "<|python_tag|>now.call(a=\"",
    "\", b=\"1\")",
    "{\"name\": \"now\", \"parameters\": {\"a\": ",
    "<|START_ACTION|>[{\"tool_name\": \"now\", \"parameters\": {}}]<|END_ACTION|>",
    "<|START_RESPONSE|>",
    "<seed:think>",
    "<seed:tool_call>\n<function=now>\n<parameter=b>{'x': [None, \"a\"]}</parameter>\n",
    "</function>\n</seed:tool_call>",
    "]<]minimax[>[<tool_call>\n",
    "]<]minimax[>[<invoke name=\"now\">",
    "]<]minimax[>[<b>",
    "]<]minimax[>[<item>",
    "]<]minimax[>[</item>",
    "]<]minimax[>[</b>",
    "]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
    "</mm:think>",
    "<|close|>think<|sep|><|open|>response<|sep|>",
    "<|close|>response<|sep|><|open|>tools<|sep|>",
    "<|open|>call tool=\"now\" index=\"1\"<|sep|>",
    "<|open|>argument key=\"a&quot;\" type=\"number\"<|sep|>1<|close|>argument<|sep|>",
    "<|open|>json type=\"object\"<|sep|>{}<|close|>json<|sep|>",
    "<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>",
    "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n",
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
    "<function name=\"now\"><param name=\"a\"><![CDATA[",
    "]]></param></function>",
    "<tool_calls:opensource>\n<tool_call:opensource>now<tool_sep:opensource>\n",
    "<arg_key:opensource>a</arg_key:opensource><arg_value:opensource>1</arg_value:opensource>",
    "</tool_call:opensource>\n</tool_calls:opensource>",
    "<tool_call>now<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
    "\n</assistant>",
    " to=self<|message|>",
    "<|eom|><|start|>assistant to=now<|message|><atem:function_calls>\n<atem:invoke name=\"now\">\n",
    "<atem:parameter name=\"a\">1</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>",
    "<|inner_prefix|>",
    "<|inner_suffix|>",
    "<|tools_prefix|>[{\"now\": {}}",
    "]<|tools_suffix|>",
    "Here are my reasoning steps:\n",
    "\n[BEGIN FINAL RESPONSE]\n",
    "[END FINAL RESPONSE]",
    "<tool_calls>\n{\"name\": \"now\"}\n",
    "</tool_calls>",
    "<TOOLCALL>[{\"name\": \"now\"}]</TOOLCALL>",
    "<SPECIAL_12>\n",
    "<|message_sep|>\n\n",
    "function call<|role_sep|>\n{\"name\": \"now\"}",
    "<|function_call|>",
    "<|tool_call|>[{\"name\": \"now\"}]",
    "<|/tool_call|>",
    "<response>",
    "</response>",
    "<function=now>{}</function>",
    ">>>now\n{}",
    ">>>all\n",
    "<|begin|>assistant",
    "<|think|>",
    "<|content|>",
    "<|tool_calls|><|tool_call:begin|>a<|tool_call:name|>now<|tool_call:args|>{}",
    "<|tool_call:end|><|calls|>",
    " functools[{\"name\": \"now\"}]",
    "<|tool_call_start|>[now(a=",
    "'x\\'\\n', b=[1, {'a': True}]",
    "), ",
    ")]<|tool_call_end|>",
    "'",
    "\\x41\\u0142\\U0001f600\\101\\d",
    "\n\n<sep>",
    "\\ud83d\\ude00",
    "\\",
    "\"",
    "\n\n",
    "\xe2\x82",
    "\xf0\x9f\x98\x80",
    "<|im_end|>",
    NULL,
};

static const char tools[] = "[{\"name\": \"now\", \"parameters\": {\"properties\": {\"a\": {\"type\": [\"integer\", "
                            "\"null\"]}, \"b\": {\"type\": \"array\"}, \"c\": {}}}}]";

/* Events one after the other, each kind's run as one. */
typedef struct record {
    text_buffer bytes;
    int last_kind;
    uint64_t text_bytes;
} record;

static leat_status note(void *user, const answer_event *event, leat_error *error)
{
    record *r = user;
    char kind = (char)('0' + event->kind);
    if (event->kind != ANSWER_CALL) r->text_bytes += event->text_bytes;
    if (event->kind != ANSWER_CALL) FUZZ_CHECK(event->text_bytes > 0);
    if (event->kind == ANSWER_CALL) {
        FUZZ_CHECK(event->text[0] == '{' && json_span_is_value(event->text, event->text_bytes));
        FUZZ_CHECK(event->call_name[0] != 0 && strlen(event->text) == event->text_bytes);
    }
    if (r->last_kind != (int)event->kind || event->kind == ANSWER_CALL)
        TRY(text_buffer_append(&r->bytes, &kind, 1, error));
    r->last_kind = (int)event->kind;
    if (event->kind == ANSWER_CALL)
        TRY(text_buffer_append(&r->bytes, event->call_name, strlen(event->call_name), error));
    return text_buffer_append(&r->bytes, event->text, event->text_bytes, error);
}

static leat_status read_pieces(mem *ledger, const char *label, const char *text, size_t count, size_t piece, record *r)
{
    answer_parser *parser = NULL;
    /* Prompts that begin a header. */
    const char *prompt = strcmp(label, "functionary_v3.2") == 0 ? ">>>" : "x";
    if (strcmp(label, "muse") == 0) prompt = "<|start|>assistant";
    answer_options options = {
        .tools = tools, .tools_bytes = sizeof tools - 1, .prompt = prompt, .prompt_bytes = strlen(prompt)};
    leat_status status = answer_parser_open(ledger, answer_format_by_label(label), &options, &parser, NULL);
    for (size_t at = 0; at < count && status == LEAT_OK; at += piece)
        status = answer_parser_push(parser, text + at, at + piece < count ? piece : count - at, note, r, NULL);
    if (status == LEAT_OK) status = answer_parser_finish(parser, note, r, NULL);
    answer_parser_close(&parser);
    return status;
}

static void reset(record *r, mem *ledger)
{
    if (r->bytes.ledger) text_buffer_reset(&r->bytes);
    *r = (record){.last_kind = -1};
    text_buffer_init(&r->bytes, ledger);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    record whole = {0}, cut = {0};
    if (count < 2 || mem_open(0, &ledger, NULL) != LEAT_OK) return 0;
    const char *label = answer_labels[bytes[0] % ANSWER_LABEL_COUNT], *text = (const char *)bytes + 2;
    size_t piece = 1 + bytes[1] % 64;
    count -= 2;
    reset(&whole, ledger);
    reset(&cut, ledger);
    FUZZ_CHECK(read_pieces(ledger, label, text, count, count + 1, &whole) == LEAT_OK);
    FUZZ_CHECK(read_pieces(ledger, label, text, count, piece, &cut) == LEAT_OK);
    FUZZ_CHECK(whole.text_bytes <= count);
    FUZZ_CHECK(whole.bytes.count == cut.bytes.count);
    FUZZ_CHECK(cut.bytes.count == 0 || memcmp(whole.bytes.bytes, cut.bytes.bytes, cut.bytes.count) == 0);
    mem_fail_nth(ledger, 1 + count % 12);
    leat_status status = read_pieces(ledger, label, text, count, piece, &cut);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_NO_MEMORY);
    mem_fail_nth(ledger, 0);
    text_buffer_reset(&whole.bytes);
    text_buffer_reset(&cut.bytes);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}

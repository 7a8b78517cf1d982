/* What jobs say, as clients read it: whole replies and event streams to the byte, faults of every kind. */
#include "reply_world.h"

#include "server/job_parts.h"
#include "server_support.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define HI   "'messages':[{'role':'user','content':'Hi'}]"
#define TOOL "'tools':[{'type':'function','function':{'name':'f','parameters':{'type':'object'}}}]"

#define HEAD(id, object)                                                                                               \
    "{'id': '" id "', 'object': '" object "', 'created': 7, 'model': 'brook', 'system_fingerprint': 'leat-x', "        \
    "'choices': ["
#define CHUNK "data: " HEAD("chatcmpl-1", "chat.completion.chunk") "{'index': 0, 'delta': {"
#define PLAIN "}, 'logprobs': null, 'finish_reason': null}]"
#define FIGURES                                                                                                        \
    "'prompt_n': 4, 'prompt_ms': 8, 'prompt_per_token_ms': 2, 'prompt_per_second': 500, 'predicted_n': 5, "            \
    "'predicted_ms': 10, 'predicted_per_token_ms': 2, 'predicted_per_second': 500"
#define ACCOUNT                                                                                                        \
    "'usage': {'prompt_tokens': 6, 'completion_tokens': 5, 'total_tokens': 11, 'prompt_tokens_details': "              \
    "{'cached_tokens': 2}, 'completion_tokens_details': {'reasoning_tokens': 1}}, 'timings': {'cache_n': 2, " FIGURES  \
    "}, 'leat': {'seed': 11, "                                                                                         \
    "'queue_ms': 1, 'ttft_ms': 9.5, 'expert_hits': 0, 'expert_misses': 0, 'bytes_read': 0, 'read_ms': 0, "             \
    "'wait_ms': 0, 'peak_rss_bytes': 0}}"

/* What was sent, with the one figure that nobody can foresee made 0. */
static void assert_sent(const char *expected)
{
    static const char mark[] = "\"peak_rss_bytes\": ";
    char *at = strstr(world.sent.bytes, mark);
    if (at) {
        char *digits = at + strlen(mark), *end = digits + strspn(digits, "0123456789");
        *digits = '0';
        memmove(digits + 1, end, strlen(end) + 1);
    }
    assert_string_equal(world.sent.bytes, quoted(expected));
    assert_true(world.has_ended && !world.is_aborted);
}

/* A thought, a word and a call, as the model marks them. */
static void answer_with_a_call(chat_reply *r)
{
    const job_sink *sink = &chat_reply_sink;
    assert_true(sink->on_begin(r) && sink->on_prefill(r, 3, 3));
    assert_true(world_token(sink, r, 0, "<|channel>thought\nhm"));
    assert_true(world_token(sink, r, 0, "\n<channel|>Hi"));
    assert_true(world_token(sink, r, 0, "<|tool_call>call:f{a:1"));
    assert_true(world_token(sink, r, 0, "}<tool_call|>"));
    assert_true(world_choice_end(sink, r, 0, JOB_STOP, ""));
    world_end(sink, r, JOB_STOP, LEAT_OK);
}

static void fix_call_id(void)
{
    for (char *at = world.sent.bytes; (at = strstr(at, "\"call_")); at += 6) memset(at + 6, 'x', 24);
}

#define CALL_ID "call_xxxxxxxxxxxxxxxxxxxxxxxx"

static void a_whole_chat(void **state)
{
    (void)state;
    answer_with_a_call(world_chat("{" HI "," TOOL "}"));
    fix_call_id();
    assert_sent("200 application/json\n" HEAD(
        "chatcmpl-1",
        "chat.completion") "{'index': 0, 'message': {'role': 'assistant', 'content': 'Hi', 'refusal': null, "
                           "'reasoning_content': 'hm', 'tool_calls': [{'id': '" CALL_ID
                           "', 'type': 'function', 'function': "
                           "{'name': 'f', 'arguments': '{\\\"a\\\": 1}'}}]}, 'logprobs': null, 'finish_reason': "
                           "'tool_calls'}], " ACCOUNT);
}

static void a_streamed_chat(void **state)
{
    (void)state;
    answer_with_a_call(world_chat("{" HI "," TOOL ",'stream':true,'stream_options':{'include_usage':true}}"));
    fix_call_id();
#define END ", 'usage': null}\n\n"
    assert_sent(CHUNK "'role': 'assistant', 'content': ''" PLAIN END CHUNK "'reasoning_content': 'hm'" PLAIN END CHUNK
                      "'content': 'Hi'" PLAIN END CHUNK "'tool_calls': [{'index': 0, 'id': '" CALL_ID
                      "', 'type': 'function', 'function': {'name': 'f', 'arguments': ''}}]" PLAIN END CHUNK
                      "'tool_calls': [{'index': 0, 'function': {'arguments': '{\\\"a\\\": 1}'}}]" PLAIN END CHUNK
                      "}, 'logprobs': null, 'finish_reason': 'tool_calls'}]" END
                      "data: " HEAD("chatcmpl-1", "chat.completion.chunk") "], " ACCOUNT "\n\ndata: [DONE]\n\n");
#undef END
}

/* As in the account at the end, from the same figures. */
static void timings_are_the_engine_s(void **state)
{
    (void)state;
    chat_reply *r = world_chat("{" HI ",'stream':true,'timings_per_token':true}");
    r->base.work->figures = (job_result){.prompt_count = 6,
                                         .cached_count = 2,
                                         .generated_count = 5,
                                         .queue_ns = 1000000,
                                         .prefill_ns = 8000000,
                                         .decode_ns = 10000000};
    assert_true(world_token(&chat_reply_sink, r, 0, "Hi"));
    assert_true(world_choice_end(&chat_reply_sink, r, 0, JOB_LENGTH, ""));
    world_end(&chat_reply_sink, r, JOB_LENGTH, LEAT_OK);
#define TIMINGS ", 'timings': {'cache_n': 2, " FIGURES "}}\n\n"
    assert_sent(CHUNK "'role': 'assistant', 'content': ''" PLAIN "}\n\n" CHUNK "'content': 'Hi'" PLAIN TIMINGS CHUNK
                      "}, 'logprobs': null, 'finish_reason': 'length'}]" TIMINGS "data: [DONE]\n\n");
#undef TIMINGS
}

static void held_text_comes_at_the_end(void **state)
{
    (void)state;
    chat_reply *r = world_chat("{" HI ",'stream':true}");
    assert_true(world_token(&chat_reply_sink, r, 0, ""));
    assert_true(world_choice_end(&chat_reply_sink, r, 0, JOB_LENGTH, "fo"));
    world_end(&chat_reply_sink, r, JOB_LENGTH, LEAT_OK);
    assert_sent(CHUNK "'role': 'assistant', 'content': ''" PLAIN "}\n\n" CHUNK "'content': 'fo'" PLAIN "}\n\n" CHUNK
                      "}, 'logprobs': null, 'finish_reason': 'length'}]}\n\ndata: [DONE]\n\n");
}

static void logprobs_wait_for_text(void **state)
{
    (void)state;
    const uint32_t best[] = {5};
    const float logprobs[] = {-0.5f};
    job_token token = {.id = 9,
                       .text = "",
                       .piece = "\xc3",
                       .piece_bytes = 1,
                       .has_logprob = true,
                       .logprob = -0.5f,
                       .top_ids = best,
                       .top_logprobs = logprobs,
                       .top_count = 1};
    chat_reply *r = world_chat("{" HI ",'stream':true,'logprobs':true,'top_logprobs':1}");
    assert_true(chat_reply_sink.on_token(r, 0, &token));
    assert_null(strstr(world.sent.bytes, "\\ufffd")); /* nothing was sent */
    token.text = "\xc3\xa4";
    token.text_bytes = 2;
    assert_true(chat_reply_sink.on_token(r, 0, &token));
    const char *sent = strstr(world.sent.bytes, "\"content\": \"\xc3\xa4\"");
    assert_non_null(sent);
    assert_non_null(strstr(sent, quoted("{'content': [{'token': '\\ufffd', 'bytes': [195], 'logprob': -0.5, "
                                        "'top_logprobs': [{'token': '<tool|>', 'bytes': [60, 116, ")));
    assert_non_null(strstr(strstr(sent, "[195]") + 1, "[195]")); /* both tokens' */
    world_choice_end(&chat_reply_sink, r, 0, JOB_STOP, "");
    world_end(&chat_reply_sink, r, JOB_STOP, LEAT_OK);
}

static void a_whole_completion_with_echo(void **state)
{
    (void)state;
    const job_sink *sink = &completion_reply_sink;
    job_token token = {.id = 5, .text = "\xc3\xa4", .text_bytes = 2, .piece = "\xc3\xa4", .piece_bytes = 2};
    completion_reply *r = world_completion("{'prompt':'\xc3\xa4','echo':true,'logprobs':0}");
    assert_true(sink->on_prompt_token(r, 0, &token));
    token = (job_token){
        .text = "b", .text_bytes = 1, .piece = "b", .piece_bytes = 1, .has_logprob = true, .logprob = -9999.0f};
    token.id = 3840;
    assert_true(sink->on_token(r, 0, &token));
    assert_true(world_choice_end(sink, r, 0, JOB_LENGTH, ""));
    r->base.reasoning_count = 1;
    world_end(sink, r, JOB_LENGTH, LEAT_OK);
    char *key = strstr(world.sent.bytes, "[null, {\"");
    assert_non_null(key);
    assert_non_null(strstr(key, "\": -9999}]"));
    assert_non_null(strstr(world.sent.bytes, quoted("{'text': '\xc3\xa4"
                                                    "b', 'index': 0, 'logprobs': {'tokens': ['\xc3\xa4', 'b'], "
                                                    "'token_logprobs': [null, -9999], 'top_logprobs': [null, {")));
    assert_non_null(strstr(world.sent.bytes, quoted("'text_offset': [0, 1]}, 'finish_reason': 'length'}], ")));
}

/* The end token is in the lists, not in the text; bytes that are no text by themselves have a name. */
static void an_end_that_is_told(void **state)
{
    (void)state;
    const job_sink *sink = &completion_reply_sink;
    job_token token = {.text = "", .piece = "\xe2\x82", .piece_bytes = 2, .has_logprob = true, .logprob = -1};
    completion_reply *r = world_completion("{'prompt':'a','logprobs':0}");
    assert_true(sink->on_token(r, 0, &token));
    token.piece = "a\0b";
    token.piece_bytes = 3;
    assert_true(sink->on_token(r, 0, &token));
    token.piece = "<eos>";
    token.piece_bytes = 5;
    assert_true(sink->on_token(r, 0, &token));
    assert_true(world_choice_end(sink, r, 0, JOB_STOP, ""));
    r->base.reasoning_count = 1;
    world_end(sink, r, JOB_STOP, LEAT_OK);
    assert_non_null(
        strstr(world.sent.bytes, quoted("{'text': '', 'index': 0, 'logprobs': {'tokens': ['bytes:\\\\xe2\\\\x82', "
                                        "'bytes:\\\\x61\\\\x00\\\\x62', '<eos>'], 'token_logprobs': [-1, -1, -1], ")));
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void a_failure_before_and_in_a_stream(void **state)
{
    (void)state;
    world_end(&chat_reply_sink, world_chat("{" HI "}"), JOB_FAILED, LEAT_IO);
    assert_sent("503 application/json\n{'error': {'message': 'Reading the model failed.', 'type': 'unavailable_error', "
                "'param': null, 'code': 'io_error'}, 'request_id': 'req_1'}");
    world.has_ended = false;
    strbuf_cut(&world.sent, 0);
    chat_reply *r = world_chat("{" HI ",'stream':true}");
    assert_true(world_token(&chat_reply_sink, r, 0, "Hi"));
    world_end(&chat_reply_sink, r, JOB_TIMEOUT, LEAT_OK);
    assert_sent(
        CHUNK "'role': 'assistant', 'content': ''" PLAIN "}\n\n" CHUNK "'content': 'Hi'" PLAIN
              "}\n\ndata: {'error': {'message': 'The request took too long.', 'type': 'timeout_error', 'param': null, "
              "'code': 'request_timeout'}, 'request_id': 'req_1'}\n\n");
}

static void a_full_queue(void **state)
{
    (void)state;
    world.admission = JOB_QUEUE_FULL;
    world.retry_after_s = 17;
    assert_null(world_chat("{" HI ",'stream':true}"));
    assert_sent("429 application/json\n{'error': {'message': 'Too many requests are waiting.', 'type': "
                "'rate_limit_error', 'param': null, 'code': 'queue_full'}, 'request_id': 'req_1'}");
    assert_string_equal(world.headers.bytes, "Retry-After: 17\nx-should-retry: true\n");
}

/* Of what may pass, 503 and 429 say when to come again; of what will not, the clients' packages are told so. */
static void every_503_says_when_to_come_again(void **state)
{
    static const struct {
        leat_status status;
        const char *headers;
    } cases[] = {{LEAT_NO_MEMORY, "Retry-After: 1\n"},
                 {LEAT_IO, "Retry-After: 5\n"},
                 {LEAT_CANCELLED, "Retry-After: 5\n"},
                 {LEAT_MODEL, "x-should-retry: false\n"},
                 {LEAT_USAGE, ""}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world.has_ended = false;
        strbuf_cut(&world.headers, 0);
        world_end(&chat_reply_sink, world_chat("{" HI "}"), JOB_FAILED, cases[i].status);
        assert_string_equal(strbuf_text(&world.headers), cases[i].headers);
    }
}

static void a_client_that_goes_ends_the_job(void **state)
{
    (void)state;
    chat_reply *r = world_chat("{" HI ",'stream':true}");
    assert_true(world_token(&chat_reply_sink, r, 0, "Hi"));
    world.is_gone = true;
    assert_false(world_token(&chat_reply_sink, r, 0, " you"));
    world_end(&chat_reply_sink, r, JOB_CANCELLED, LEAT_OK);
    assert_true(world.has_ended);
}

static void without_memory_an_answer_fails_whole(void **state)
{
    (void)state;
    uint32_t failed_count = 0;
    for (uint64_t nth = 1; nth < 12; nth++) {
        world.has_ended = false;
        strbuf_cut(&world.sent, 0);
        chat_reply *r = world_chat("{" HI "}");
        assert_true(world_token(&chat_reply_sink, r, 0, "Hi"));
        mem_fail_nth(world.ledger, nth);
        bool is_good = world_token(&chat_reply_sink, r, 0,
                                   " and a text that is longer than the room that there is for "
                                   "it, so that more of it has to be taken from the ledger");
        is_good = is_good && world_choice_end(&chat_reply_sink, r, 0, JOB_STOP, "");
        mem_fail_nth(world.ledger, 0);
        world_end(&chat_reply_sink, r, is_good ? JOB_STOP : JOB_CANCELLED, LEAT_OK);
        failed_count += !is_good;
        assert_int_equal(strncmp(world.sent.bytes, is_good ? "200" : "503", 3), 0);
        assert_true(is_good || strstr(world.sent.bytes, "\"out_of_memory\""));
    }
    assert_true(failed_count > 0);
}

static void keep_line(void *user, leat_log_level level, const char *line)
{
    (void)level;
    snprintf(user, 256, "%s", line);
}

static void without_memory_a_stream_ends_with_an_error(void **state)
{
    (void)state;
    completion_reply *r = world_completion("{'prompt':'a','stream':true}");
    char text[2000] = "", logged[256] = "";
    leat_log_set(keep_line, logged, LEAT_LOG_ERROR);
    memset(text, 'a', sizeof text - 1);
    assert_true(world_token(&completion_reply_sink, r, 0, "Hi"));
    assert_int_equal(job_cause_of(r->base.work), JOB_NO_CAUSE);
    mem_fail_nth(world.ledger, 1);
    assert_false(world_token(&completion_reply_sink, r, 0, text));
    mem_fail_nth(world.ledger, 0);
    assert_int_equal(job_cause_of(r->base.work), JOB_CAUSE_FAILURE); /* no client that has gone */
    world_end(&completion_reply_sink, r, JOB_FAILED, LEAT_OK);
    const char *event = strstr(world.sent.bytes, quoted("data: {'error': {'message': 'The server has no memory"));
    assert_non_null(event);
    assert_non_null(strstr(event, quoted("'code': 'out_of_memory'}, 'request_id': 'req_1'}\n\n")));
    assert_true(world.has_ended && !world.is_aborted);
    leat_log_set(NULL, NULL, LEAT_LOG_ERROR);
    assert_non_null(strstr(logged, "req_1: writing the answer: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_chat, world_open, world_close),
        cmocka_unit_test_setup_teardown(a_streamed_chat, world_open, world_close),
        cmocka_unit_test_setup_teardown(timings_are_the_engine_s, world_open, world_close),
        cmocka_unit_test_setup_teardown(held_text_comes_at_the_end, world_open, world_close),
        cmocka_unit_test_setup_teardown(logprobs_wait_for_text, world_open, world_close),
        cmocka_unit_test_setup_teardown(a_whole_completion_with_echo, world_open, world_close),
        cmocka_unit_test_setup_teardown(an_end_that_is_told, world_open, world_close),
        cmocka_unit_test_setup_teardown(a_failure_before_and_in_a_stream, world_open, world_close),
        cmocka_unit_test_setup_teardown(a_full_queue, world_open, world_close),
        cmocka_unit_test_setup_teardown(every_503_says_when_to_come_again, world_open, world_close),
        cmocka_unit_test_setup_teardown(a_client_that_goes_ends_the_job, world_open, world_close),
        cmocka_unit_test_setup_teardown(without_memory_an_answer_fails_whole, world_open, world_close),
        cmocka_unit_test_setup_teardown(without_memory_a_stream_ends_with_an_error, world_open, world_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

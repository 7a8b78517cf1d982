/* Requests to /v1/chat/completions: which field is blamed for what, what the good ones become, and the conversation
 * that templates are given. */
#include "server_support.h"

#include "server/chat_request.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#define HI   "'messages':[{'role':'user','content':'Hi'}]"
#define TOOL "{'type':'function','function':{'name':'f','parameters':{'type':'object'}}}"

static bool open_body(const char *body, chat_request *out, api_error *error)
{
    const char *text = quoted(body);
    return chat_request_open(test_ledger, text, strlen(text), &test_limits, false, out, error);
}

typedef struct bad_body {
    const char *body, *param, *code;
} bad_body;

static const bad_body bad_bodies[] = {
    {"{}", "messages", "missing_required_parameter"},
    {"{'messages':null}", "messages", "missing_required_parameter"},
    {"{'messages':[]}", "messages", "out_of_range"},
    {"{'messages':'x'}", "messages", "invalid_type"},
    {"{'messages':['x']}", "messages[0]", "invalid_type"},
    {"{'messages':[null]}", "messages[0]", "invalid_type"},
    {"{'messages':[{'content':'x'}]}", "messages[0].role", "missing_required_parameter"},
    {"{'messages':[{'role':'alien','content':'x'}]}", "messages[0].role", "invalid_value"},
    {"{'messages':[{'role':'user'}]}", "messages[0].content", "invalid_type"},
    {"{'messages':[{'role':'user','content':null}]}", "messages[0].content", "invalid_type"},
    {"{'messages':[{'role':'assistant','content':null}]}", "messages[0].content", "invalid_type"},
    {"{'messages':[{'role':'user','content':7}]}", "messages[0].content", "invalid_type"},
    {"{'messages':[{'role':'user','content':[7]}]}", "messages[0].content[0]", "invalid_type"},
    {"{'messages':[{'role':'user','content':[{'text':'x'}]}]}", "messages[0].content[0].type",
     "missing_required_parameter"},
    {"{'messages':[{'role':'user','content':[{'type':'text'}]}]}", "messages[0].content[0].text",
     "missing_required_parameter"},
    {"{'messages':[{'role':'user','content':[{'type':'text','text':'x'},{'type':'image_url'}]}]}",
     "messages[0].content[1].type", "unsupported_parameter"},
    {"{'messages':[{'role':'user','content':'x'},{'role':'assistant','tool_calls':[{'id':'a'}]}]}",
     "messages[1].tool_calls[0].function", "missing_required_parameter"},
    {"{'messages':[{'role':'assistant','tool_calls':[{'function':{'name':3}}]}]}",
     "messages[0].tool_calls[0].function.name", "invalid_type"},
    {"{'messages':[{'role':'assistant','tool_calls':[{'function':{'name':'f','arguments':3}}]}]}",
     "messages[0].tool_calls[0].function.arguments", "invalid_type"},
    {"{'messages':[{'role':'tool','content':'x','tool_call_id':3}]}", "messages[0].tool_call_id", "invalid_type"},
    {"{'messages':[{'role':'assistant','content':'x','reasoning':3}]}", "messages[0].reasoning", "invalid_type"},
    {"{" HI ",'model':3}", "model", "invalid_type"},
    {"{" HI ",'temperature':'hot'}", "temperature", "invalid_type"},
    {"{" HI ",'temperature':2.01}", "temperature", "out_of_range"},
    {"{" HI ",'temperature':-0.1}", "temperature", "out_of_range"},
    {"{" HI ",'top_p':7}", "top_p", "out_of_range"},
    {"{" HI ",'top_p':0}", "top_p", "out_of_range"},
    {"{" HI ",'min_p':1.5}", "min_p", "out_of_range"},
    {"{" HI ",'top_k':1.5}", "top_k", "invalid_type"},
    {"{" HI ",'repeat_penalty':0}", "repeat_penalty", "out_of_range"},
    {"{" HI ",'frequency_penalty':3}", "frequency_penalty", "out_of_range"},
    {"{" HI ",'presence_penalty':-3}", "presence_penalty", "out_of_range"},
    {"{" HI ",'seed':'x'}", "seed", "invalid_type"},
    {"{" HI ",'seed':1.5}", "seed", "invalid_type"},
    {"{" HI ",'max_tokens':-3}", "max_tokens", "out_of_range"},
    {"{" HI ",'max_completion_tokens':1e10}", "max_completion_tokens", "out_of_range"},
    {"{" HI ",'max_completion_tokens':5,'max_tokens':'5'}", "max_tokens", "invalid_type"},
    {"{" HI ",'n_predict':-2}", "n_predict", "out_of_range"},
    {"{" HI ",'n':0}", "n", "out_of_range"},
    {"{" HI ",'n':1000000}", "n", "out_of_range"},
    {"{" HI ",'n':true}", "n", "invalid_type"},
    {"{" HI ",'stop':3}", "stop", "invalid_type"},
    {"{" HI ",'stop':''}", "stop", "out_of_range"},
    {"{" HI ",'stop':['a',null]}", "stop[1]", "invalid_type"},
    {"{" HI ",'stop':['1','2','3','4','5','6','7','8','9','a','b','c','d','e','f','g','h']}", "stop", "out_of_range"},
    {"{" HI ",'stream':'yes'}", "stream", "invalid_type"},
    {"{" HI ",'stream_options':{'include_usage':true}}", "stream_options", "invalid_value"},
    {"{" HI ",'stream':true,'stream_options':7}", "stream_options", "invalid_type"},
    {"{" HI ",'stream':true,'stream_options':{'include_usage':1}}", "stream_options.include_usage", "invalid_type"},
    {"{" HI ",'sse_ping_interval':0}", "sse_ping_interval", "out_of_range"},
    {"{" HI ",'logprobs':5}", "logprobs", "invalid_type"},
    {"{" HI ",'top_logprobs':5}", "top_logprobs", "invalid_value"},
    {"{" HI ",'logprobs':true,'top_logprobs':21}", "top_logprobs", "out_of_range"},
    {"{" HI ",'logit_bias':[]}", "logit_bias", "invalid_type"},
    {"{" HI ",'logit_bias':{'x':1}}", "logit_bias", "out_of_range"},
    {"{" HI ",'logit_bias':{'4096':1}}", "logit_bias", "out_of_range"},
    {"{" HI ",'logit_bias':{'99999999999999999999':1}}", "logit_bias", "out_of_range"},
    {"{" HI ",'logit_bias':{'-1':1}}", "logit_bias", "out_of_range"},
    {"{" HI ",'logit_bias':{'7':101}}", "logit_bias.7", "out_of_range"},
    {"{" HI ",'logit_bias':{'7':null}}", "logit_bias.7", "invalid_type"},
    {"{" HI ",'response_format':'json'}", "response_format", "invalid_type"},
    {"{" HI ",'response_format':{}}", "response_format.type", "missing_required_parameter"},
    {"{" HI ",'response_format':{'type':'json_object'}}", "response_format", "unsupported_parameter"},
    {"{" HI ",'response_format':{'type':'json_schema','json_schema':{}}}", "response_format", "unsupported_parameter"},
    {"{" HI ",'modalities':'text'}", "modalities", "invalid_type"},
    {"{" HI ",'modalities':[null]}", "modalities[0]", "invalid_type"},
    {"{" HI ",'modalities':['audio']}", "modalities[0]", "unsupported_parameter"},
    {"{" HI ",'structured_outputs':{'regex':'a'}}", "structured_outputs", "unsupported_parameter"},
    {"{" HI ",'guided_choice':['a']}", "guided_choice", "unsupported_parameter"},
    {"{" HI ",'grammar':7}", "grammar", "unsupported_parameter"},
    {"{" HI ",'functions':[{'name':'f'}]}", "functions", "unsupported_parameter"},
    {"{" HI ",'tools':{}}", "tools", "invalid_type"},
    {"{" HI ",'tools':[7]}", "tools[0]", "invalid_type"},
    {"{" HI ",'tools':[{'type':'web'}]}", "tools[0].type", "invalid_value"},
    {"{" HI ",'tools':[{'type':'function'}]}", "tools[0].function", "missing_required_parameter"},
    {"{" HI ",'tools':[" TOOL ",{'type':'function','function':{'name':'a b'}}]}", "tools[1].function.name",
     "invalid_value"},
    {"{" HI ",'tools':[{'type':'function','function':{'name':'f','parameters':[]}}]}", "tools[0].function.parameters",
     "invalid_type"},
    {"{" HI ",'tools':[{'type':'function','function':{'name':'f','strict':1}}]}", "tools[0].function.strict",
     "invalid_type"},
    {"{" HI ",'tool_choice':'required'}", "tool_choice", "invalid_value"},
    {"{" HI ",'tools':[" TOOL "],'tool_choice':'g'}", "tool_choice", "invalid_value"},
    {"{" HI ",'tools':[" TOOL "],'tool_choice':7}", "tool_choice", "invalid_type"},
    {"{" HI ",'tools':[" TOOL "],'tool_choice':{'type':'function','function':{'name':'g'}}}",
     "tool_choice.function.name", "invalid_value"},
    {"{" HI ",'parallel_tool_calls':0}", "parallel_tool_calls", "invalid_type"},
    {"{" HI ",'reasoning_effort':'hard'}", "reasoning_effort", "invalid_value"},
    {"{" HI ",'chat_template_kwargs':[]}", "chat_template_kwargs", "invalid_type"},
    {"{" HI ",'chat_template_kwargs':{'a':{}}}", "chat_template_kwargs.a", "invalid_type"},
    {"{" HI ",'chat_template_kwargs':{'messages':'x'}}", "chat_template_kwargs.messages", "invalid_value"},
    {"{" HI ",'continue_final_message':true,'add_generation_prompt':true}", "continue_final_message", "invalid_value"},
    {"{" HI ",'cache_prompt':0}", "cache_prompt", "invalid_type"},
    {"{" HI ",'ignore_eos':0}", "ignore_eos", "invalid_type"},
    {"{" HI ",'timings_per_token':0}", "timings_per_token", "invalid_type"},
    {"{" HI ",'return_progress':0}", "return_progress", "invalid_type"},
    {"{" HI ",'id_slot':1}", "id_slot", "out_of_range"},
    {"{" HI, NULL, "invalid_json"},
};

static void unfit_fields_are_blamed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_bodies / sizeof bad_bodies[0]; i++) {
        const bad_body *bad = &bad_bodies[i];
        chat_request r;
        api_error error = {0};
        if (open_body(bad->body, &r, &error)) fail_msg("accepted: %s", bad->body);
        assert_int_equal(api_error_http_status(&error), 400);
        assert_blames(&error, bad->body, bad->param, bad->code);
        assert_int_equal(mem_total_usage(test_ledger).current_bytes, 0);
    }
}

static void counts_are_limited(void **state)
{
    (void)state;
    strbuf body = {.ledger = test_ledger};
    for (uint32_t count = 4096; count <= 4097; count++) {
        chat_request r = {0};
        api_error error = {0};
        strbuf_cut(&body, 0);
        assert_int_equal(strbuf_append_text(&body, "{\"messages\":[", NULL), LEAT_OK);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(
                strbuf_append_text(
                    &body, i ? ",{\"role\":\"user\",\"content\":\"\"}" : "{\"role\":\"user\",\"content\":\"\"}", NULL),
                LEAT_OK);
        assert_int_equal(strbuf_append_text(&body, "]}", NULL), LEAT_OK);
        bool is_good = chat_request_open(test_ledger, strbuf_text(&body), body.count, &test_limits, false, &r, &error);
        assert_int_equal(is_good, count == 4096);
        if (!is_good) assert_blames(&error, "4097 messages", "messages", "out_of_range");
        chat_request_reset(&r);
    }
    strbuf_reset(&body);
}

static void defaults_are_the_models(void **state)
{
    (void)state;
    chat_request r;
    api_error error;
    assert_true(open_body("{" HI ",'wild':{'unknown':[1]},'user':7,'temperature':null}", &r, &error));
    const generation_request *g = &r.generation;
    assert_null(g->model);
    assert_int_equal(g->max_tokens, JOB_TOKENS_UNLIMITED);
    assert_memory_equal(&g->sampling, &test_limits.sampling, sizeof g->sampling);
    assert_false(g->has_seed || g->stream || g->include_usage || g->ignore_eos || r.logprobs);
    assert_true(g->cache_prompt && r.tools.allows_several);
    assert_int_equal(g->n, 1);
    assert_int_equal(g->ping_seconds, 5);
    assert_int_equal(r.tools.choice, TOOL_CHOICE_AUTO);
    assert_null(r.tools.list);
    chat_request_reset(&r);
}

static void every_field_arrives(void **state)
{
    (void)state;
    chat_request r;
    api_error error;
    assert_true(open_body("{" HI ",'model':'m','max_completion_tokens':9,'max_tokens':8,'n_predict':7,'temperature':0,"
                          "'top_p':0.5,'top_k':-1,'min_p':0.25,'repeat_penalty':1.5,'frequency_penalty':-2,"
                          "'presence_penalty':2,'seed':-5,'stop':['a','bc'],'n':3,'stream':true,"
                          "'stream_options':{'include_usage':true},'logprobs':true,'top_logprobs':20,"
                          "'logit_bias':{'7':-100,'4095':1.5},'response_format':{'type':'text'},'cache_prompt':false,"
                          "'ignore_eos':true,'timings_per_token':true,'return_progress':true,'sse_ping_interval':30,"
                          "'tools':[" TOOL "],'tool_choice':{'type':'function','function':{'name':'f'}},"
                          "'parallel_tool_calls':false,'id_slot':0}",
                          &r, &error));
    const generation_request *g = &r.generation;
    assert_string_equal(g->model, "m");
    assert_int_equal(g->max_tokens, 9);
    assert_true(g->sampling.temperature == 0 && g->sampling.top_p == 0.5f && g->sampling.min_p == 0.25f);
    assert_true(g->sampling.repeat_penalty == 1.5f && g->sampling.frequency_penalty == -2 &&
                g->sampling.presence_penalty == 2);
    assert_int_equal(g->sampling.top_k, 0);
    assert_true(g->has_seed && g->sampling.seed == (uint64_t)-5);
    assert_int_equal(g->stop_count, 2);
    assert_string_equal(g->stops[1], "bc");
    assert_int_equal(g->n, 3);
    assert_true(g->stream && g->include_usage && !g->cache_prompt && g->ignore_eos && g->timings_per_token &&
                g->return_progress);
    assert_int_equal(g->ping_seconds, 30);
    assert_int_equal(g->bias_count, 2);
    assert_true(g->biases[0].id == 7 && g->biases[0].bias == -100 && g->biases[1].id == 4095);
    assert_true(r.logprobs && r.top_logprobs == 20);
    assert_int_equal(r.tools.choice, TOOL_CHOICE_NAMED);
    assert_string_equal(r.tools.name, "f");
    assert_false(r.tools.allows_several);
    chat_request_reset(&r);
}

typedef struct conversation_case {
    const char *body, *conversation;
} conversation_case;

#define PLAIN_END "'add_generation_prompt':true,'continue_final_message':false,'kwargs':{}}"

static const conversation_case conversations[] = {
    {"{" HI "}", "{" HI "," PLAIN_END},
    {"{'messages':[{'role':'user','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]}]}",
     "{'messages':[{'role':'user','content':'a\\nb'}]," PLAIN_END},
    {"{'messages':[{'role':'user','content':[]}]}", "{'messages':[{'role':'user','content':''}]," PLAIN_END},
    {"{'messages':[{'role':'developer','content':'x'}]}", "{'messages':[{'role':'system','content':'x'}]," PLAIN_END},
    {"{'messages':[{'role':'assistant','content':'x','tool_calls':null,'refusal':null,'reasoning':'t'}]}",
     "{'messages':[{'role':'assistant','content':'x','reasoning':'t','reasoning_content':'t'}]," PLAIN_END},
    {"{'messages':[{'role':'assistant','content':'x','tool_calls':[]}]}",
     "{'messages':[{'role':'assistant','content':'x'}]," PLAIN_END},
    {"{'messages':[{'role':'assistant','content':null,'tool_calls':[{'id':'1','type':'function','function':"
     "{'name':'f','arguments':'{\\u0022a\\u0022: [1.5, null]}'}},{'function':{'name':'g','arguments':''}},"
     "{'function':{'name':'h','arguments':'{half'}}]},{'role':'tool','tool_call_id':'1','content':'3'}]}",
     "{'messages':[{'role':'assistant','content':null,'tool_calls':[{'id':'1','type':'function','function':"
     "{'name':'f','arguments':{'a':[1.5,null]}}},{'function':{'name':'g','arguments':{}}},"
     "{'function':{'name':'h','arguments':'{half'}}]},{'role':'tool','tool_call_id':'1','content':'3'}]," PLAIN_END},
    {"{" HI ",'tools':[" TOOL "],'tool_choice':'auto'}", "{" HI ",'tools':[" TOOL "]," PLAIN_END},
    {"{" HI ",'tools':[" TOOL "],'tool_choice':'none'}", "{" HI "," PLAIN_END},
    {"{" HI ",'tools':[" TOOL "],'tool_choice':'required'}",
     "{" HI ",'tools':[" TOOL "],'add_generation_prompt':true,'continue_final_message':false,"
     "'kwargs':{'enable_thinking':false,'thinking':false}}"},
    {"{" HI ",'continue_final_message':true}",
     "{" HI ",'add_generation_prompt':false,'continue_final_message':true,'kwargs':{}}"},
    {"{" HI ",'reasoning_effort':'low','chat_template_kwargs':{'thinking':false,'x':null}}",
     "{" HI ",'add_generation_prompt':true,'continue_final_message':false,"
     "'kwargs':{'reasoning_effort':'low','enable_thinking':true,'thinking':false,'x':null}}"},
    {"{" HI ",'reasoning_effort':'none'}", "{" HI ",'add_generation_prompt':true,'continue_final_message':false,"
                                           "'kwargs':{'enable_thinking':false,'thinking':false}}"},
};

static void conversations_are_prepared(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof conversations / sizeof conversations[0]; i++) {
        chat_request r;
        api_error error = {0};
        if (!open_body(conversations[i].body, &r, &error)) fail_msg("%s: %s", conversations[i].body, error.message);
        assert_string_equal(strbuf_text(&r.conversation), quoted(conversations[i].conversation));
        chat_request_reset(&r);
    }
}

static void a_template_may_know_the_developer(void **state)
{
    (void)state;
    chat_request r;
    api_error error;
    const char *body = quoted("{'messages':[{'role':'developer','content':'x'}]}");
    assert_true(chat_request_open(test_ledger, body, strlen(body), &test_limits, true, &r, &error));
    assert_non_null(strstr(strbuf_text(&r.conversation), "developer"));
    chat_request_reset(&r);
}

static void a_failing_ledger_is_no_crash(void **state)
{
    (void)state;
    const char *body =
        "{'messages':[{'role':'developer','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]},"
        "{'role':'assistant','reasoning':'r','tool_calls':[{'function':{'name':'f','arguments':'{}'}}]}],"
        "'logit_bias':{'1':1},'tools':[" TOOL "],'reasoning_effort':'low'}";
    bool was_good = false;
    for (uint64_t nth = 1; nth < 300; nth++) {
        chat_request r = {0};
        api_error error = {0};
        mem_fail_nth(test_ledger, nth);
        was_good = open_body(body, &r, &error);
        mem_fail_nth(test_ledger, 0);
        if (!was_good) assert_true(api_error_http_status(&error) == 503 || api_error_http_status(&error) == 400);
        chat_request_reset(&r);
        assert_int_equal(mem_total_usage(test_ledger).current_bytes, 0);
    }
    assert_true(was_good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unfit_fields_are_blamed, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(counts_are_limited, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(defaults_are_the_models, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(every_field_arrives, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(conversations_are_prepared, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(a_template_may_know_the_developer, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(a_failing_ledger_is_no_crash, set_up_ledger, tear_down_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Requests to /v1/completions: the forms of a prompt, and which field is blamed for what. */
#include "server_support.h"

#include "server/completion_request.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static bool open_body(const char *body, completion_request *out, api_error *error)
{
    const char *text = quoted(body);
    return completion_request_open(test_ledger, text, strlen(text), &test_limits, out, error);
}

typedef struct bad_body {
    const char *body, *param, *code;
} bad_body;

static const bad_body bad_bodies[] = {
    {"{}", "prompt", "missing_required_parameter"},
    {"{'prompt':7}", "prompt", "invalid_type"},
    {"{'prompt':[]}", "prompt", "out_of_range"},
    {"{'prompt':[[]]}", "prompt[0]", "out_of_range"},
    {"{'prompt':[[1],[4096]]}", "prompt[1][0]", "out_of_range"},
    {"{'prompt':[1,-1]}", "prompt[1]", "out_of_range"},
    {"{'prompt':[1,'a']}", "prompt[1]", "invalid_type"},
    {"{'prompt':[1,null]}", "prompt[1]", "invalid_type"},
    {"{'prompt':['a',true]}", "prompt[1]", "invalid_type"},
    {"{'prompt':['1','2','3','4','5','6','7','8','9','a','b','c','d','e','f','g','h']}", "prompt", "out_of_range"},
    {"{'prompt':'a','logprobs':6}", "logprobs", "out_of_range"},
    {"{'prompt':'a','logprobs':true}", "logprobs", "invalid_type"},
    {"{'prompt':'a','echo':1}", "echo", "invalid_type"},
    {"{'prompt':'a','best_of':2}", "best_of", "unsupported_parameter"},
    {"{'prompt':'a','suffix':'x'}", "suffix", "unsupported_parameter"},
    {"{'prompt':'a','response_format':{'type':'json_object'}}", "response_format", "unsupported_parameter"},
    {"{'prompt':'a','max_tokens':-1}", "max_tokens", "out_of_range"},
};

static void unfit_fields_are_blamed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_bodies / sizeof bad_bodies[0]; i++) {
        completion_request r;
        api_error error = {0};
        if (open_body(bad_bodies[i].body, &r, &error)) fail_msg("accepted: %s", bad_bodies[i].body);
        assert_int_equal(api_error_http_status(&error), 400);
        assert_blames(&error, bad_bodies[i].body, bad_bodies[i].param, bad_bodies[i].code);
        assert_int_equal(mem_total_usage(test_ledger).current_bytes, 0);
    }
}

static void prompts_have_four_forms(void **state)
{
    (void)state;
    completion_request r;
    api_error error;
    assert_true(open_body("{'prompt':'Hi'}", &r, &error));
    assert_int_equal(r.prompt_count, 1);
    assert_string_equal(r.prompts[0].text, "Hi");
    assert_int_equal(r.generation.max_tokens, 16);
    assert_false(r.logprobs || r.echo);
    completion_request_reset(&r);
    assert_true(
        open_body("{'prompt':['a','b'],'logprobs':0,'echo':true,'n':2,'best_of':2,'max_tokens':0}", &r, &error));
    assert_int_equal(r.prompt_count, 2);
    assert_string_equal(r.prompts[1].text, "b");
    assert_true(r.logprobs && r.top_logprobs == 0 && r.echo && r.generation.max_tokens == 0);
    completion_request_reset(&r);
    assert_true(open_body("{'prompt':[4095,0,7]}", &r, &error));
    assert_int_equal(r.prompt_count, 1);
    assert_int_equal(r.prompts[0].id_count, 3);
    assert_int_equal(r.prompts[0].ids[0], 4095);
    completion_request_reset(&r);
    assert_true(open_body("{'prompt':[[1],[2,3]]}", &r, &error));
    assert_int_equal(r.prompt_count, 2);
    assert_int_equal(r.prompts[1].ids[1], 3);
    completion_request_reset(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unfit_fields_are_blamed, set_up_ledger, tear_down_ledger),
        cmocka_unit_test_setup_teardown(prompts_have_four_forms, set_up_ledger, tear_down_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

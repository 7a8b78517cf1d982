/*
 * What a job gets: the text of `leat run`, with everything that a request may ask for, whatever the session held
 * before.
 */
#include "heard.h"
#include "unit/api/api_support.h"

#include <math.h>

#define PROGRAM LEAT_PROGRAM

static const leat_options options = {
    .thread_count = 2, .prefill_chunk = 16, .ctx = 512, .ignore_leases = true, .ignore_pressure = true};
static const char long_text[] =
    "Once upon a time there was a small river that ran through a wide valley. Children came to it every day, and in "
    "the evening the old ferryman told them where all the water went. What did he say?";

typedef struct world {
    mem *ledger;
    metrics *metrics;
    engine_worker *worker;
    leat_tokens prompt;
} world;

static leat_tokens tokens_of(engine_worker *w, const char *text)
{
    leat_tokens ids = {0};
    leat_error error = {0};
    assert_ok(leat_tokenize_prompt(engine_worker_tokenizer(w), text, strlen(text), &ids, &error), &error);
    return ids;
}

static int open_world(void **state)
{
    world *x = calloc(1, sizeof *x);
    leat_error error = {0};
    assert_non_null(x);
    x->ledger = open_ledger(0);
    assert_ok(metrics_open(x->ledger, "brook", &x->metrics, &error), &error);
    x->worker = open_worker(x->ledger, BROOK, &options, 0, x->metrics);
    x->prompt = tokens_of(x->worker, long_text);
    *state = x;
    return 0;
}

static int close_world(void **state)
{
    world *x = *state;
    leat_tokens_free(&x->prompt);
    engine_worker_close(&x->worker);
    metrics_close(&x->metrics);
    close_empty_ledger(x->ledger);
    free(x);
    return 0;
}

static job_settings settings_of(uint32_t max_tokens, float temperature, uint64_t seed)
{
    job_settings s = job_settings_default();
    s.max_tokens = max_tokens;
    s.sampling.temperature = temperature;
    s.sampling.seed = seed;
    s.has_seed = true;
    s.hides_control = true;
    s.ignore_eos = true;
    return s;
}

static heard *run(world *x, const job_settings *s, const leat_tokens *prompt)
{
    heard *h = heard_new();
    run_ids(x->worker, x->ledger, s, prompt->ids, prompt->count, h);
    return h;
}

static void assert_same_choice(const heard *a, uint32_t choice_a, const heard *b, uint32_t choice_b)
{
    const heard_choice *first = &a->choices[choice_a], *second = &b->choices[choice_b];
    assert_string_equal(first->text, second->text);
    assert_int_equal(first->token_count, second->token_count);
    assert_memory_equal(first->ids, second->ids, first->token_count * sizeof *first->ids);
    assert_int_equal(first->end, second->end);
}

/* ---- the text of leat run ---- */

static void run_program(const leat_tokens *prompt, const char *arguments, char *out_text, size_t size)
{
    char command[16384];
    size_t used =
        (size_t)snprintf(command, sizeof command, "'%s' run '%s' %s --ctx 512 --tokens ", PROGRAM, BROOK, arguments);
    for (size_t i = 0; i < prompt->count; i++)
        used += (size_t)snprintf(command + used, sizeof command - used, "%s%u", i ? "," : "", prompt->ids[i]);
    assert_true(used + 32 < sizeof command);
    strcat(command, " 2>/dev/null </dev/null");
    FILE *out = popen(command, "r");
    assert_non_null(out);
    const size_t got = fread(out_text, 1, size - 1, out);
    out_text[got] = '\0';
    assert_int_equal(pclose(out), 0);
}

static void test_text_is_that_of_leat_run(void **state)
{
    world *x = *state;
    char expected[HEARD_TEXT];
    for (int i = 0; i < 4; i++) {
        char arguments[256];
        job_settings s = job_settings_default();
        s.sampling = leat_model_sampler_options(engine_worker_model(x->worker));
        s.sampling.temperature = i == 0 ? 0 : 0.9f;
        s.sampling.repeat_penalty = i == 3 ? 1.3f : 1;
        s.sampling.seed = 40 + (uint64_t)i;
        s.has_seed = true;
        s.hides_control = true;
        s.ignore_eos = i != 1;
        s.max_tokens = 60;
        char *stop = "er";
        if (i == 3) {
            s.stops = &stop;
            s.stop_count = 1;
        }
        snprintf(arguments, sizeof arguments, "--temp %g --repeat-penalty %g --seed %d --max-tokens 60 %s %s",
                 i == 0 ? 0 : 0.9, i == 3 ? 1.3 : 1, 40 + i, i != 1 ? "--ignore-eos" : "", i == 3 ? "--stop er" : "");
        run_program(&x->prompt, arguments, expected, sizeof expected);
        heard *h = run(x, &s, &x->prompt);
        assert_string_equal(h->choices[0].text, expected);
        assert_true(i == 1 || strlen(expected) > 0);
        assert_int_equal(h->choices[0].end_count, 1);
        assert_int_equal(h->result.status, LEAT_OK);
        heard_free(h);
    }
}

/* ---- what the session held ---- */

static leat_tokens joined(const leat_tokens *prompt, size_t count, const uint32_t *more, size_t more_count)
{
    leat_tokens all = {malloc((count + more_count) * sizeof(uint32_t)), count + more_count};
    assert_non_null(all.ids);
    memcpy(all.ids, prompt->ids, count * sizeof *all.ids);
    memcpy(all.ids + count, more, more_count * sizeof *all.ids);
    return all;
}

/* With what is held, without, and in a worker that never held anything. */
static void check_reuse(world *x, const job_settings *s, const leat_tokens *prompt, uint32_t cached)
{
    job_settings anew = *s;
    anew.cache_prompt = false;
    heard *kept = run(x, s, prompt), *computed = run(x, &anew, prompt), *fresh = heard_new();
    engine_worker *other = open_worker(x->ledger, BROOK, &options, 0, NULL);
    run_ids(other, x->ledger, s, prompt->ids, prompt->count, fresh);
    engine_worker_close(&other);
    assert_int_equal(kept->result.cached_count, cached);
    assert_int_equal(computed->result.cached_count, 0);
    assert_int_equal(fresh->result.cached_count, 0);
    assert_int_equal(kept->result.prompt_count, prompt->count);
    assert_same_choice(kept, 0, computed, 0);
    assert_same_choice(kept, 0, fresh, 0);
    heard_free(kept);
    heard_free(computed);
    heard_free(fresh);
}

static void test_prefix_is_reused_and_changes_nothing(void **state)
{
    world *x = *state;
    const job_settings s = settings_of(12, 0.8f, 5);
    static const uint32_t other_tail[] = {300, 301, 302, 303, 304}, canary[] = {900, 901, 902, 903};
    heard *first = run(x, &s, &x->prompt);
    const heard_choice *answer = &first->choices[0];
    const uint32_t count = (uint32_t)x->prompt.count;
    assert_int_equal(answer->token_count, 12);

    /* The conversation goes on: all that was computed is there; the last answer token never went into the session. */
    leat_tokens longer = joined(&x->prompt, count, answer->ids, 12);
    check_reuse(x, &s, &longer, count + 11);
    /* Another tail, from the middle of the prompt and from its end. */
    leat_tokens changed = joined(&x->prompt, count - 3, other_tail, 5);
    heard_free(run(x, &s, &x->prompt));
    check_reuse(x, &s, &changed, count - 3);
    leat_tokens early = joined(&x->prompt, count / 2, other_tail, 5);
    heard_free(run(x, &s, &x->prompt));
    check_reuse(x, &s, &early, count / 2);
    /* The same again: only the last token is computed, for its logits. */
    heard_free(run(x, &s, &x->prompt));
    check_reuse(x, &s, &x->prompt, count - 1);
    /* A stranger finds nothing. */
    leat_tokens strange = joined(&x->prompt, 0, canary, 4);
    heard_free(run(x, &s, &x->prompt));
    check_reuse(x, &s, &strange, 0);
    leat_tokens_free(&longer);
    leat_tokens_free(&changed);
    leat_tokens_free(&early);
    leat_tokens_free(&strange);
    heard_free(first);
}

/* ---- choices ---- */

static void test_choices_share_the_prompt(void **state)
{
    world *x = *state;
    job_settings s = settings_of(10, 1.0f, 70), one = s;
    const uint32_t layers = leat_model_get_info(engine_worker_model(x->worker))->layer_count;
    s.n = 3;
    s.cache_prompt = one.cache_prompt = false;
    heard *all = run(x, &s, &x->prompt);
    assert_int_equal(all->result.generated_count, 30);
    assert_int_equal(all->result.prompt_count, x->prompt.count);
    uint32_t prefill_count = 0;
    for (uint32_t i = 0; i < 3; i++) {
        one.sampling.seed = 70 + i;
        heard *single = run(x, &one, &x->prompt);
        assert_same_choice(all, i, single, 0);
        prefill_count = single->prefill_count;
        heard_free(single);
    }
    assert_string_not_equal(all->choices[0].text, all->choices[1].text);
    /* Each further choice computed one token: its beginning, the layers but the last, its end. */
    assert_int_equal(all->prefill_count, prefill_count + 2 * (layers + 1));
    assert_true(x->prompt.count > 32);
    heard_free(all);
}

static void test_several_prompts(void **state)
{
    world *x = *state;
    job_settings s = settings_of(6, 1.0f, 3);
    leat_tokens other = tokens_of(x->worker, "A fox."),
                prompts[2] = {copy_ids(x->prompt.ids, x->prompt.count), copy_ids(other.ids, other.count)};
    heard *both = heard_new(), *alone;
    leat_error error = {0};
    job *j = NULL;
    s.n = 2;
    assert_ok(job_open(x->ledger, &s, prompts, 2, &heard_sink, both, &j, &error), &error);
    assert_int_equal(job_submit(x->worker, j, NULL), JOB_ADMITTED);
    heard_wait(both);
    job_release(&j);
    alone = run(x, &s, &other);
    for (uint32_t i = 0; i < 2; i++) assert_same_choice(both, 2 + i, alone, i);
    assert_int_equal(both->result.prompt_count, x->prompt.count + other.count);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(both->choices[i].end_count, 1);
    leat_tokens_free(&other);
    heard_free(both);
    heard_free(alone);
}

/* ---- logprobs and bias ---- */

static double softmax_log(const float *logits, uint32_t vocab, uint32_t id)
{
    long double sum = 0;
    for (uint32_t i = 0; i < vocab; i++) sum += expl((long double)logits[i]);
    return (double)((long double)logits[id] - logl(sum));
}

static void test_logprobs_are_those_of_the_logits(void **state)
{
    world *x = *state;
    const uint32_t vocab = leat_model_get_info(engine_worker_model(x->worker))->vocab_size;
    const job_bias bias = {777, 5.0f};
    job_settings s = settings_of(8, 1.2f, 11);
    s.logprobs = true;
    s.top_logprobs = 5;
    s.hides_control = false;
    s.biases = &bias; /* changes what is chosen, not what is told */
    s.bias_count = 1;
    heard *h = run(x, &s, &x->prompt);
    const heard_choice *c = &h->choices[0];
    leat_tokens all = joined(&x->prompt, x->prompt.count, c->ids, c->token_count);
    float *reference = reference_logits(BROOK, all.ids, all.count);
    assert_int_equal(c->token_count, 8);
    for (uint32_t t = 0; t < c->token_count; t++) {
        const float *logits = reference + (x->prompt.count + t - 1) * vocab;
        assert_float_equal(c->logprobs[t], softmax_log(logits, vocab, c->ids[t]), 1e-4);
        for (uint32_t i = 0; i < 5; i++) {
            assert_float_equal(c->top_logprobs[t][i], softmax_log(logits, vocab, c->top_ids[t][i]), 1e-4);
            if (i > 0) assert_true(c->top_logprobs[t][i] <= c->top_logprobs[t][i - 1]);
        }
    }
    assert_int_equal(c->top_count, 5);
    /* The pieces are the text. */
    assert_int_equal(c->pieces_bytes, c->text_bytes);
    assert_memory_equal(c->pieces, c->text, c->text_bytes);
    free(reference);
    leat_tokens_free(&all);
    heard_free(h);
}

static void test_echo_tells_the_prompt(void **state)
{
    world *x = *state;
    const uint32_t vocab = leat_model_get_info(engine_worker_model(x->worker))->vocab_size;
    job_settings s = settings_of(4, 0, 1), plain = s;
    s.echo_logprobs = s.logprobs = true;
    heard *h = run(x, &s, &x->prompt), *without = run(x, &plain, &x->prompt);
    float *reference = reference_logits(BROOK, x->prompt.ids, x->prompt.count);
    leat_text text = {0};
    leat_error error = {0};
    assert_int_equal(h->echo_count, x->prompt.count);
    assert_memory_equal(h->echo_ids, x->prompt.ids, x->prompt.count * sizeof(uint32_t));
    assert_false(h->echo_has[0]);
    for (size_t i = 1; i < x->prompt.count; i++) {
        assert_true(h->echo_has[i]);
        assert_float_equal(h->echo_logprobs[i], softmax_log(reference + (i - 1) * vocab, vocab, x->prompt.ids[i]),
                           1e-4);
    }
    assert_ok(leat_detokenize(engine_worker_tokenizer(x->worker), x->prompt.ids, x->prompt.count, true, &text, &error),
              &error);
    assert_string_equal(h->echo_text, text.bytes);
    assert_same_choice(h, 0, without, 0);
    leat_text_free(&text);
    free(reference);
    heard_free(h);
    heard_free(without);

    s.max_tokens = 0; /* only the prompt is judged */
    h = run(x, &s, &x->prompt);
    assert_int_equal(h->echo_count, x->prompt.count);
    assert_int_equal(h->result.generated_count, 0);
    assert_int_equal(h->choices[0].end, JOB_LENGTH);
    heard_free(h);
}

static void test_bias_decides(void **state)
{
    world *x = *state;
    job_settings s = settings_of(3, 0, 1);
    heard *plain = run(x, &s, &x->prompt);
    const uint32_t usual = plain->choices[0].ids[0];
    job_bias biases[2] = {{1234, 100}, {UINT32_MAX, 1}};
    s.biases = biases;
    s.bias_count = 2;
    heard *forced = run(x, &s, &x->prompt);
    for (int i = 0; i < 3; i++) assert_int_equal(forced->choices[0].ids[i], 1234);
    biases[0] = (job_bias){usual, -100};
    heard *banned = run(x, &s, &x->prompt);
    for (int i = 0; i < 3; i++) assert_int_not_equal(banned->choices[0].ids[i], usual);
    s.bias_count = 0;
    heard *again = run(x, &s, &x->prompt);
    assert_same_choice(plain, 0, again, 0);
    heard_free(plain);
    heard_free(forced);
    heard_free(banned);
    heard_free(again);
}

/* ---- ends ---- */

static void test_stop_string_at_every_place(void **state)
{
    world *x = *state;
    job_settings s = settings_of(24, 0.8f, 21);
    heard *whole = run(x, &s, &x->prompt);
    const char *text = whole->choices[0].text;
    const size_t length = strlen(text);
    char word[8], *stop = word;
    uint32_t tried = 0;
    s.stops = &stop;
    s.stop_count = 1;
    assert_true(length > 20);
    for (size_t at = 0; at + 5 <= length; at++) {
        memcpy(word, text + at, 5);
        word[5] = '\0';
        if (strstr(text, word) != text + at) continue;
        heard *h = run(x, &s, &x->prompt);
        assert_int_equal(h->choices[0].end, JOB_STOP);
        assert_int_equal(h->choices[0].text_bytes, at);
        assert_memory_equal(h->choices[0].text, text, at);
        heard_free(h);
        tried++;
    }
    assert_true(tried > 10);
    strcpy(word, "\x01\x02"); /* never met: what was held back comes after all */
    heard *h = run(x, &s, &x->prompt);
    assert_same_choice(h, 0, whole, 0);
    heard_free(h);
    heard_free(whole);
}

static void test_the_end_is_told_when_asked_for(void **state)
{
    world *x = *state;
    const uint32_t end_id = leat_model_get_info(engine_worker_model(x->worker))->stop_ids[0];
    const job_bias bias = {end_id, 100.0f};
    job_settings s = settings_of(4, 0, 1);
    s.ignore_eos = false;
    s.logprobs = true;
    s.biases = &bias;
    s.bias_count = 1;
    for (int tells = 0; tells < 2; tells++) {
        s.tells_end = tells == 1;
        heard *h = run(x, &s, &x->prompt);
        assert_int_equal(h->choices[0].end, JOB_STOP);
        assert_int_equal(h->choices[0].token_count, tells);
        assert_int_equal(h->choices[0].text_bytes, 0);
        assert_int_equal(h->result.generated_count, 1);
        if (tells) assert_int_equal(h->choices[0].ids[0], end_id);
        if (tells) assert_true(h->choices[0].pieces_bytes > 0 && h->choices[0].logprobs[0] < 0);
        heard_free(h);
    }
}

static void test_ends_of_length_and_context(void **state)
{
    world *x = *state;
    job_settings s = settings_of(0, 0, 1);
    heard *h = run(x, &s, &x->prompt);
    assert_int_equal(h->choices[0].end, JOB_LENGTH);
    assert_int_equal(h->result.generated_count, 0);
    heard_free(h);

    s.max_tokens = JOB_TOKENS_UNLIMITED;
    h = run(x, &s, &x->prompt);
    assert_int_equal(h->choices[0].end, JOB_LENGTH);
    assert_int_equal(h->result.generated_count, 512 - x->prompt.count + 1);
    heard_free(h);

    uint32_t ids[513];
    fill_ids(ids, 513, 4096, 3);
    h = heard_new();
    run_ids(x->worker, x->ledger, &s, ids, 513, h);
    assert_int_equal(h->result.end, JOB_FAILED);
    assert_int_equal(h->result.status, LEAT_CONTEXT);
    assert_int_equal(h->error.status, LEAT_CONTEXT);
    heard_free(h);
}

static void test_seeds_are_drawn(void **state)
{
    world *x = *state;
    job_settings s = settings_of(12, 1.5f, 0);
    s.has_seed = false;
    heard *a = run(x, &s, &x->prompt), *b = run(x, &s, &x->prompt);
    assert_true(a->result.seed != b->result.seed);
    s.has_seed = true;
    s.sampling.seed = a->result.seed;
    heard *c = run(x, &s, &x->prompt);
    assert_same_choice(a, 0, c, 0);
    heard_free(a);
    heard_free(b);
    heard_free(c);
}

static void test_counters_and_clocks(void **state)
{
    world *x = *state;
    const job_settings s = settings_of(20, 0.8f, 2);
    metrics_sources before, after;
    engine_worker_sources(x->worker, &before);
    heard *h = run(x, &s, &x->prompt);
    engine_worker_sources(x->worker, &after);
    const job_result *r = &h->result;
    assert_true(r->first_token_ns > 0 && r->first_token_ns <= r->total_ns);
    assert_true(r->prefill_ns + r->decode_ns <= r->total_ns);
    assert_true(r->expert_hits + r->expert_misses > 0);
    assert_int_equal(after.stats.expert_hits - before.stats.expert_hits, r->expert_hits);
    assert_int_equal(after.slot.slot, SLOT_IDLE);
    assert_int_equal(after.slot.kv_tokens, x->prompt.count + 19);
    assert_int_equal(after.slot.job_number, 0);
    assert_true(after.has_engine && after.plan.ctx == 512 && after.ready_ns > 0);
    heard_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_that_of_leat_run),
        cmocka_unit_test(test_prefix_is_reused_and_changes_nothing),
        cmocka_unit_test(test_choices_share_the_prompt),
        cmocka_unit_test(test_several_prompts),
        cmocka_unit_test(test_logprobs_are_those_of_the_logits),
        cmocka_unit_test(test_echo_tells_the_prompt),
        cmocka_unit_test(test_bias_decides),
        cmocka_unit_test(test_stop_string_at_every_place),
        cmocka_unit_test(test_the_end_is_told_when_asked_for),
        cmocka_unit_test(test_ends_of_length_and_context),
        cmocka_unit_test(test_seeds_are_drawn),
        cmocka_unit_test(test_counters_and_clocks),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}

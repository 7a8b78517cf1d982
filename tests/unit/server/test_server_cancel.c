/*
 * Who runs when, and who does not run any more: the queue's order and bounds, cancelling in the queue, in a prompt and
 * in an answer, deadlines, sinks that say no, draining and closing. A gate in the callbacks holds the engine where a
 * test wants it, so that nothing here depends on how fast the machine is.
 */
#include "heard.h"
#include "os/clock.h"
#include "unit/api/api_support.h"

#include <time.h>

enum { PROMPT = 60 };

static const leat_options options = {
    .thread_count = 2, .prefill_chunk = 16, .ctx = 256, .ignore_leases = true, .ignore_pressure = true};

typedef struct world {
    mem *ledger;
    metrics *metrics;
    engine_worker *worker;
    uint32_t ids[PROMPT];
    heard *expected; /* what an undisturbed engine answers */
    job_settings settings;
} world;

static job_settings usual_settings(void)
{
    job_settings s = job_settings_default();
    s.max_tokens = 12;
    s.sampling.temperature = 0.9f;
    s.sampling.seed = 4;
    s.has_seed = s.ignore_eos = true;
    return s;
}

static void open_world(world *x, uint32_t queue_max)
{
    leat_error error = {0};
    memset(x, 0, sizeof *x);
    x->ledger = open_ledger(0);
    fill_ids(x->ids, PROMPT, 4096, 8);
    x->settings = usual_settings();
    assert_ok(metrics_open(x->ledger, "brook", &x->metrics, &error), &error);
    x->worker = open_worker(x->ledger, BROOK, &options, queue_max, NULL);
    x->expected = heard_new();
    run_ids(x->worker, x->ledger, &x->settings, x->ids, PROMPT, x->expected);
    engine_worker_close(&x->worker);
    x->worker = open_worker(x->ledger, BROOK, &options, queue_max, x->metrics);
}

static void close_world(world *x)
{
    engine_worker_close(&x->worker);
    metrics_close(&x->metrics);
    heard_free(x->expected);
    close_empty_ledger(x->ledger);
}

/* The engine is free again, and answers as if nothing had been. */
static void assert_goes_on(world *x)
{
    heard *h = heard_new();
    run_ids(x->worker, x->ledger, &x->settings, x->ids, PROMPT, h);
    assert_int_equal(h->result.end, JOB_LENGTH);
    assert_int_equal(h->choices[0].token_count, 12);
    assert_memory_equal(h->choices[0].ids, x->expected->choices[0].ids, 12 * sizeof(uint32_t));
    assert_string_equal(h->choices[0].text, x->expected->choices[0].text);
    heard_free(h);
}

static heard *hold(world *x, heard_gate gate, job **out_job)
{
    heard *h = heard_new();
    h->gate = gate;
    *out_job = submit_ids(x->worker, x->ledger, &x->settings, x->ids, PROMPT, h);
    heard_wait_held(h);
    return h;
}

static double finished(world *x, const char *reason)
{
    metrics_sources sources;
    strbuf text = {.ledger = x->ledger};
    leat_error error = {0};
    char key[128];
    engine_worker_sources(x->worker, &sources);
    assert_ok(metrics_write(x->metrics, &sources, &text, &error), &error);
    snprintf(key, sizeof key, "leat_request_finished_total{model=\"brook\",reason=\"%s\"} ", reason);
    const char *found = strstr(strbuf_text(&text), key);
    assert_non_null(found);
    const double value = strtod(found + strlen(key), NULL);
    strbuf_reset(&text);
    return value;
}

/* ---- queue ---- */

static void test_order_and_refusal(void **state)
{
    enum { WAITING = 3 };
    heard *waiting[WAITING];
    job *jobs[WAITING], *first, *refused = NULL;
    leat_error error = {0};
    uint32_t retry_s = 0;
    world x;

    (void)state;
    open_world(&x, WAITING);
    heard *running = hold(&x, GATE_AT_TOKEN, &first);
    assert_int_equal(look(x.worker).slot, SLOT_DECODE);
    assert_int_equal(look(x.worker).job_number, job_number(first));
    assert_int_equal(job_position(first), 0);
    for (uint32_t i = 0; i < WAITING; i++) {
        waiting[i] = heard_new();
        jobs[i] = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting[i]);
        assert_int_equal(job_position(jobs[i]), i + 1);
        assert_int_equal(look(x.worker).queue_length, i + 1);
    }
    assert_int_equal(look(x.worker).queue_max, WAITING);
    for (int i = 0; i < 3; i++) { /* again and again: nothing grows */
        leat_tokens prompt = copy_ids(x.ids, PROMPT);
        heard *h = heard_new();
        assert_ok(job_open(x.ledger, &x.settings, &prompt, 1, &heard_sink, h, &refused, &error), &error);
        assert_int_equal(job_submit(x.worker, refused, &retry_s), JOB_QUEUE_FULL);
        assert_in_range(retry_s, 1, 120);
        assert_int_equal(job_position(refused), 0);
        job_cancel(refused);
        assert_int_equal(h->end_count, 0);
        job_release(&refused);
        heard_free(h);
    }
    heard_let_go(running);
    for (int i = 0; i < WAITING; i++) heard_wait(waiting[i]);
    assert_true(running->order < waiting[0]->order);
    for (int i = 1; i < WAITING; i++) assert_true(waiting[i - 1]->order < waiting[i]->order);
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(waiting[i]->result.end, JOB_LENGTH);
        assert_true(waiting[i]->result.queue_ns > 0);
        assert_string_equal(waiting[i]->choices[0].text, x.expected->choices[0].text);
        job_release(&jobs[i]);
        heard_free(waiting[i]);
    }
    job_release(&first);
    heard_free(running);
    assert_goes_on(&x);
    close_world(&x);
}

/* ---- cancel ---- */

static void test_cancel_in_the_queue(void **state)
{
    world x;
    job *first, *second;
    (void)state;
    open_world(&x, 4);
    heard *running = hold(&x, GATE_AT_PREFILL, &first), *waiting = heard_new();
    second = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting);
    job_cancel(second);
    assert_int_equal(waiting->end_count, 1); /* at once, while the engine is busy with another */
    assert_int_equal(waiting->result.end, JOB_CANCELLED);
    assert_int_equal(waiting->result.prompt_count, PROMPT);
    assert_int_equal(look(x.worker).queue_length, 0);
    job_cancel(second); /* again: nothing */
    heard_let_go(running);
    heard_wait(running);
    assert_int_equal(running->result.end, JOB_LENGTH); /* it was not meant */
    assert_string_equal(running->choices[0].text, x.expected->choices[0].text);
    assert_int_equal(waiting->end_count, 1);
    assert_float_equal(finished(&x, "client_closed"), 1, 0);
    job_release(&first);
    job_release(&second);
    heard_free(running);
    heard_free(waiting);
    assert_goes_on(&x);
    close_world(&x);
}

static void test_cancel_before_the_queue(void **state)
{
    world x;
    job *first, *second = NULL;
    leat_error error = {0};
    (void)state;
    open_world(&x, 4);
    heard *running = hold(&x, GATE_AT_PREFILL, &first), *unwanted = heard_new();
    leat_tokens prompt = copy_ids(x.ids, PROMPT);
    assert_ok(job_open(x.ledger, &x.settings, &prompt, 1, &heard_sink, unwanted, &second, &error), &error);
    job_cancel(second);
    assert_int_equal(unwanted->end_count, 0); /* nobody has it yet */
    assert_int_equal(job_submit(x.worker, second, NULL), JOB_ADMITTED);
    assert_int_equal(unwanted->end_count, 1); /* it takes nobody's place while another one runs */
    assert_int_equal(unwanted->result.end, JOB_CANCELLED);
    assert_int_equal(look(x.worker).queue_length, 0);
    heard_let_go(running);
    heard_wait(running);
    assert_int_equal(running->result.end, JOB_LENGTH);
    assert_int_equal(unwanted->end_count, 1);
    assert_float_equal(finished(&x, "client_closed"), 1, 0);
    job_release(&first);
    job_release(&second);
    heard_free(running);
    heard_free(unwanted);
    assert_goes_on(&x);
    close_world(&x);
}

static void test_cancel_in_the_prompt(void **state)
{
    world x;
    job *j;
    (void)state;
    open_world(&x, 4);
    heard *h = hold(&x, GATE_AT_PREFILL, &j);
    const uint32_t heard_before = h->prefill_count;
    assert_int_equal(look(x.worker).slot, SLOT_PREFILL);
    assert_true(look(x.worker).prefill_done > 0 && look(x.worker).prefill_done < PROMPT);
    job_cancel(j);
    heard_let_go(h);
    heard_wait(h);
    assert_int_equal(h->prefill_count, heard_before); /* not one layer more */
    assert_int_equal(h->result.end, JOB_CANCELLED);
    assert_int_equal(h->result.generated_count, 0);
    assert_int_equal(h->choices[0].end, JOB_CANCELLED);
    assert_int_equal(look(x.worker).slot, SLOT_IDLE);
    job_release(&j);
    heard_free(h);
    assert_goes_on(&x);
    close_world(&x);
}

static void test_cancel_in_the_answer(void **state)
{
    world x;
    job *j;
    (void)state;
    open_world(&x, 4);
    heard *h = hold(&x, GATE_AT_TOKEN, &j);
    job_cancel(j);
    heard_let_go(h);
    heard_wait(h);
    assert_int_equal(h->result.end, JOB_CANCELLED);
    assert_int_equal(h->choices[0].token_count, 1);
    assert_int_equal(h->choices[0].end, JOB_CANCELLED);
    assert_int_equal(h->choices[0].end_count, 1);
    job_cancel(j); /* it is over: the next one must not feel it */
    assert_goes_on(&x);
    job_release(&j);
    heard_free(h);
    close_world(&x);
}

static void test_sink_says_no(void **state)
{
    world x;
    (void)state;
    open_world(&x, 4);
    x.settings.n = 3;
    for (int i = 0; i < 2; i++) {
        heard *h = heard_new();
        if (i == 0) h->stop_after = 3;
        if (i == 1) h->stop_at_prefill = true;
        run_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
        assert_int_equal(h->result.end, JOB_CANCELLED);
        assert_int_equal(h->choices[0].token_count, i == 0 ? 3 : 0);
        assert_int_equal(h->choices[1].end_count, 0); /* the whole job is over */
        heard_free(h);
    }
    x.settings.n = 1;
    assert_goes_on(&x);
    close_world(&x);
}

static double count_finished(const world *x, const char *reason)
{
    char key[64];
    metrics_sources sources = {0};
    leat_error error = {0};
    strbuf text = {.ledger = x->ledger};
    assert_ok(metrics_write(x->metrics, &sources, &text, &error), &error);
    snprintf(key, sizeof key, "reason=\"%s\"} ", reason);
    const char *at = strstr(strbuf_text(&text), key);
    assert_non_null(at);
    const double count = strtod(at + strlen(key), NULL);
    strbuf_reset(&text);
    return count;
}

/* The owner ran out of something: no client has gone. */
static void test_sink_fails(void **state)
{
    world x;
    (void)state;
    open_world(&x, 4);
    heard *h = heard_new();
    h->gate = GATE_AT_TOKEN;
    h->gate_token = 2;
    h->stop_after = 3;
    job *j = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
    heard_wait_held(h);
    job_note_failure(j);
    heard_let_go(h);
    heard_wait(h);
    job_release(&j);
    assert_int_equal(h->result.end, JOB_FAILED);
    assert_int_equal(h->result.status, LEAT_OK); /* of the engine */
    assert_int_equal(h->choices[0].token_count, 3);
    assert_true(count_finished(&x, "error") == 1 && count_finished(&x, "client_closed") == 0);
    heard_free(h);
    assert_goes_on(&x);
    close_world(&x);
}

/* ---- deadlines ---- */

static void test_deadline_in_the_queue(void **state)
{
    world x;
    job *first, *second;
    (void)state;
    open_world(&x, 4);
    heard *running = hold(&x, GATE_AT_BEGIN, &first), *waiting = heard_new();
    x.settings.deadline_ns = clock_now_ns() + 20000000;
    second = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting);
    heard_wait(waiting); /* although the engine is held by another */
    assert_int_equal(waiting->result.end, JOB_TIMEOUT);
    assert_true(clock_now_ns() >= x.settings.deadline_ns);
    heard_let_go(running);
    heard_wait(running);
    assert_int_equal(running->result.end, JOB_LENGTH);
    assert_float_equal(finished(&x, "timeout"), 1, 0);
    job_release(&first);
    job_release(&second);
    heard_free(running);
    heard_free(waiting);
    x.settings.deadline_ns = 0;
    assert_goes_on(&x);
    close_world(&x);
}

static void test_deadline_while_it_runs(void **state)
{
    static const heard_gate gates[] = {GATE_AT_PREFILL, GATE_AT_TOKEN};
    world x;
    (void)state;
    open_world(&x, 4);
    for (int i = 0; i < 2; i++) {
        const struct timespec pause = {.tv_nsec = 2000000};
        heard *h = heard_new();
        h->gate = gates[i];
        x.settings.deadline_ns = clock_now_ns() + 400000000; /* time enough to reach the gate; else it ends earlier */
        job *j = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
        while (clock_now_ns() < x.settings.deadline_ns + 20000000) nanosleep(&pause, NULL);
        heard_let_go(h);
        heard_wait(h);
        assert_int_equal(h->result.end, JOB_TIMEOUT);
        assert_in_range(h->choices[0].token_count, 0, 1);
        job_release(&j);
        heard_free(h);
    }
    x.settings.deadline_ns = 1; /* long past */
    heard *h = heard_new();
    run_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
    assert_int_equal(h->result.end, JOB_TIMEOUT);
    assert_int_equal(h->result.generated_count, 0);
    heard_free(h);
    x.settings.deadline_ns = 0;
    assert_goes_on(&x);
    close_world(&x);
}

/* ---- the end ---- */

static void test_drain_finishes_what_there_is(void **state)
{
    world x;
    job *first, *second, *late = NULL;
    leat_error error = {0};
    uint32_t retry_s = 0;
    (void)state;
    open_world(&x, 4);
    heard *running = hold(&x, GATE_AT_TOKEN, &first), *waiting = heard_new(), *refused = heard_new();
    second = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting);
    assert_false(engine_worker_drain(x.worker, clock_now_ns() + 1000000)); /* held: not in time, so all is cancelled */
    assert_int_equal(look(x.worker).worker, WORKER_DRAINING);
    assert_int_equal(waiting->result.end, JOB_CANCELLED);
    leat_tokens prompt = copy_ids(x.ids, PROMPT);
    assert_ok(job_open(x.ledger, &x.settings, &prompt, 1, &heard_sink, refused, &late, &error), &error);
    assert_int_equal(job_submit(x.worker, late, &retry_s), JOB_SHUTTING_DOWN);
    assert_true(retry_s > 0);
    heard_let_go(running);
    assert_true(engine_worker_drain(x.worker, UINT64_MAX));
    assert_true(running->is_ended);
    assert_int_equal(running->result.end, JOB_CANCELLED);
    job_release(&first);
    job_release(&second);
    job_release(&late);
    heard_free(running);
    heard_free(waiting);
    heard_free(refused);
    close_world(&x);

    open_world(&x, 4);
    waiting = heard_new();
    first = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting);
    assert_true(engine_worker_drain(x.worker, UINT64_MAX));
    assert_int_equal(waiting->result.end, JOB_LENGTH);
    job_release(&first);
    heard_free(waiting);
    close_world(&x);
}

static void *let_go_later(void *context)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    nanosleep(&pause, NULL);
    heard_let_go(context);
    return NULL;
}

static void test_close_ends_every_job(void **state)
{
    world x;
    job *first, *second;
    pthread_t helper;
    (void)state;
    open_world(&x, 4);
    heard *running = hold(&x, GATE_AT_PREFILL, &first), *waiting = heard_new();
    second = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting);
    assert_int_equal(pthread_create(&helper, NULL, let_go_later, running), 0);
    engine_worker_close(&x.worker);
    pthread_join(helper, NULL);
    assert_int_equal(running->end_count, 1);
    assert_int_equal(running->result.end, JOB_CANCELLED);
    assert_int_equal(waiting->end_count, 1);
    assert_int_equal(waiting->result.end, JOB_CANCELLED);
    job_release(&first);
    job_release(&second);
    heard_free(running);
    heard_free(waiting);
    close_world(&x);
}

static void test_no_model(void **state)
{
    const engine_worker_settings settings = {.model_path = "/nowhere/at-all", .options = options};
    const struct timespec pause = {.tv_nsec = 1000000};
    mem *ledger = open_ledger(0);
    leat_tokens prompt = copy_ids((const uint32_t[]){1}, 1);
    const job_settings s = job_settings_default();
    engine_worker *w = NULL;
    leat_error error = {0};
    job *j = NULL;
    heard *h = heard_new();
    (void)state;
    assert_ok(engine_worker_open(ledger, &settings, &w, &error), &error);
    while (look(w).worker == WORKER_LOADING) nanosleep(&pause, NULL);
    assert_int_equal(look(w).worker, WORKER_FAILED);
    assert_fails(MODEL, engine_worker_load_error(w, &error), &error);
    assert_null(engine_worker_tokenizer(w));
    assert_ok(job_open(ledger, &s, &prompt, 1, &heard_sink, h, &j, &error), &error);
    assert_int_equal(job_submit(w, j, NULL), JOB_SHUTTING_DOWN);
    job_release(&j);
    heard_free(h);
    engine_worker_close(&w);
    for (int i = 0; i < 5; i++) { /* closed while it loads */
        const engine_worker_settings brook = {.model_path = BROOK, .options = options};
        assert_ok(engine_worker_open(ledger, &brook, &w, &error), &error);
        engine_worker_close(&w);
    }
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_refusal),
        cmocka_unit_test(test_cancel_in_the_queue),
        cmocka_unit_test(test_cancel_before_the_queue),
        cmocka_unit_test(test_cancel_in_the_prompt),
        cmocka_unit_test(test_cancel_in_the_answer),
        cmocka_unit_test(test_sink_says_no),
        cmocka_unit_test(test_sink_fails),
        cmocka_unit_test(test_deadline_in_the_queue),
        cmocka_unit_test(test_deadline_while_it_runs),
        cmocka_unit_test(test_drain_finishes_what_there_is),
        cmocka_unit_test(test_close_ends_every_job),
        cmocka_unit_test(test_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

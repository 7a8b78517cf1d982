/*
 * The world's failures under a worker: a disk that fails ends one job and no more, one that does not answer holds up
 * nobody who only looks, no allocation that fails is a crash or a leak, arithmetic that breaks is an error.
 */
#include "heard.h"
#include "unit/api/api_support.h"

#include <math.h>
#include <time.h>

enum { PROMPT = 24, ANSWER = 10, VOCAB = 61 };

typedef struct world {
    char folder[UNIT_PATH_BYTES];
    mem *ledger;
    metrics *metrics;
    engine_worker *worker;
    uint32_t ids[PROMPT];
    uint32_t expected[ANSWER];
    job_settings settings;
    uint64_t begin, end; /* of some experts in the file */
    leat_options options;
} world;

static void prepare(world *x)
{
    leat_error error = {0};
    memset(x, 0, sizeof *x);
    make_folder(x->folder);
    tiny_model_write(x->folder, &qwen_many);
    tiny_model_find(x->folder, "model.layers.2.mlp.switch_mlp.down_proj.weight", &x->begin, &x->end);
    x->end = x->begin + x->end - 8192;
    x->begin += 4096;
    x->options = (leat_options){.thread_count = 2,
                                .prefill_chunk = 8,
                                .ctx = 64,
                                .io_engine = LEAT_IO_ENGINE_THREADS,
                                .ignore_leases = true,
                                .ignore_pressure = true};
    x->options.ram_bytes = floor_of(x->folder, &x->options);
    fill_ids(x->ids, PROMPT, VOCAB, 3);
    x->settings = job_settings_default();
    x->settings.max_tokens = ANSWER;
    x->settings.sampling.temperature = 1;
    x->settings.has_seed = x->settings.ignore_eos = true;
    x->ledger = open_ledger(0);
    assert_ok(metrics_open(x->ledger, "tiny", &x->metrics, &error), &error);
}

static void open_world(world *x)
{
    prepare(x);
    heard *h = heard_new();
    x->worker = open_worker(x->ledger, x->folder, &x->options, 8, x->metrics);
    run_ids(x->worker, x->ledger, &x->settings, x->ids, PROMPT, h);
    assert_int_equal(h->choices[0].token_count, ANSWER);
    memcpy(x->expected, h->choices[0].ids, sizeof x->expected);
    heard_free(h);
}

static void close_world(world *x)
{
    engine_worker_close(&x->worker);
    metrics_close(&x->metrics);
    close_empty_ledger(x->ledger);
    remove_folder(x->folder);
    hooks_reset();
}

static void assert_goes_on(world *x)
{
    heard *h = heard_new();
    run_ids(x->worker, x->ledger, &x->settings, x->ids, PROMPT, h);
    assert_int_equal(h->result.status, LEAT_OK);
    assert_int_equal(h->choices[0].token_count, ANSWER);
    assert_memory_equal(h->choices[0].ids, x->expected, sizeof x->expected);
    assert_false(look(x->worker).is_degraded);
    heard_free(h);
}

static void test_failing_disk_ends_one_job(void **state)
{
    uint32_t failures = 0, with_tokens = 0;
    world x;
    (void)state;
    open_world(&x);
    for (uint64_t pass = 0; pass < 40; pass += 3)
        for (int fault = READ_FAULT_GONE; fault <= READ_FAULT_EOF; fault++) {
            heard *h = heard_new();
            x.settings.cache_prompt = false;
            hooks_set_read_fault((read_fault)fault, x.begin, x.end, pass);
            run_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
            const bool has_failed = hooks_read_count() > pass;
            hooks_reset();
            x.settings.cache_prompt = true;
            if (has_failed) {
                assert_int_equal(h->result.end, JOB_FAILED);
                assert_int_equal(h->result.status, LEAT_IO);
                assert_int_equal(h->error.status, LEAT_IO);
                assert_int_equal(h->choices[0].end_count, 0);
                assert_memory_equal(h->choices[0].ids, x.expected, h->choices[0].token_count * sizeof(uint32_t));
                assert_true(look(x.worker).is_degraded);
                with_tokens += h->choices[0].token_count > 0;
                failures++;
            }
            assert_goes_on(&x);
            heard_free(h);
        }
    assert_true(failures > 4);
    assert_true(with_tokens > 0); /* some in the answer */
    close_world(&x);
}

static bool refuse_to_begin(void *user)
{
    (void)user;
    return false;
}

/* Without a job that proves it, and not by one that proves nothing. */
static void test_a_disk_that_is_well_again_is_noticed(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    leat_error error = {0};
    job_sink unwilling = heard_sink;
    job *j = NULL;
    world x;
    (void)state;
    open_world(&x);
    x.settings.cache_prompt = false;
    hooks_set_read_fault(READ_FAULT_EIO, 0, UINT64_MAX, 0);
    heard *failed = heard_new(), *left = heard_new();
    run_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, failed);
    assert_int_equal(failed->result.status, LEAT_IO);
    assert_true(look(x.worker).is_degraded);
    leat_tokens prompt = copy_ids(x.ids, PROMPT);
    unwilling.on_begin = refuse_to_begin;
    assert_ok(job_open(x.ledger, &x.settings, &prompt, 1, &unwilling, left, &j, &error), &error);
    assert_int_equal(job_submit(x.worker, j, NULL), JOB_ADMITTED);
    heard_wait(left);
    job_release(&j);
    assert_int_equal(left->result.end, JOB_CANCELLED);
    assert_true(look(x.worker).is_degraded); /* it has read nothing */
    const uint64_t before = hooks_read_count();
    while (hooks_read_count() < before + 2) nanosleep(&pause, NULL); /* it looks by itself, again and again */
    assert_true(look(x.worker).is_degraded);
    hooks_reset();
    while (look(x.worker).is_degraded) nanosleep(&pause, NULL);
    x.settings.cache_prompt = true;
    assert_goes_on(&x);
    heard_free(failed);
    heard_free(left);
    close_world(&x);
}

/* What else of the file is looked at does not hide it. */
static void test_one_bad_sector_is_not_forgotten(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    world x;
    (void)state;
    open_world(&x);
    const uint64_t middle = (x.begin + x.end) / 2;
    x.settings.cache_prompt = false;
    hooks_set_read_fault(READ_FAULT_EIO, middle, middle + 1, 0);
    heard *failed = heard_new();
    run_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, failed);
    assert_int_equal(failed->result.status, LEAT_IO);
    const uint64_t before = hooks_read_count();
    while (look(x.worker).is_degraded && hooks_read_count() < before + 3) nanosleep(&pause, NULL);
    assert_true(look(x.worker).is_degraded);
    hooks_reset();
    while (look(x.worker).is_degraded) nanosleep(&pause, NULL);
    x.settings.cache_prompt = true;
    assert_goes_on(&x);
    heard_free(failed);
    close_world(&x);
}

static void test_looking_does_not_wait_for_the_disk(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    metrics_sources sources;
    leat_error error = {0};
    world x;
    (void)state;
    open_world(&x);
    strbuf text = {.ledger = x.ledger};
    heard *h = heard_new(), *waiting = heard_new();
    x.settings.cache_prompt = false;
    hooks_set_read_fault(READ_FAULT_HELD, x.begin, x.end, 0);
    job *j = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
    while (hooks_read_count() == 0) nanosleep(&pause, NULL);
    /* From here on no layer ends; all of this returns. */
    job *second = submit_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, waiting);
    engine_worker_sources(x.worker, &sources);
    assert_int_equal(sources.slot.slot, SLOT_PREFILL);
    assert_int_equal(sources.slot.queue_length, 1);
    assert_ok(metrics_write(x.metrics, &sources, &text, &error), &error);
    assert_text_has(strbuf_text(&text), "leat_slots{model=\"tiny\",state=\"prefill\"} 1\n");
    assert_int_equal(job_position(second), 1);
    assert_false(engine_worker_is_stuck(x.worker, 0)); /* it waits for a read */
    job_cancel(second);
    assert_int_equal(waiting->end_count, 1);
    job_cancel(j);
    assert_int_equal(h->end_count, 0); /* the read is still out */
    hooks_reset();
    heard_wait(h);
    assert_int_equal(h->result.end, JOB_CANCELLED);
    job_release(&j);
    job_release(&second);
    heard_free(h);
    heard_free(waiting);
    x.settings.cache_prompt = true;
    assert_goes_on(&x);
    strbuf_reset(&text);
    close_world(&x);
}

/* Nothing moves and no read is out: a thread is lost, if it lasts. */
static void test_a_lost_thread_is_noticed(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    world x;
    (void)state;
    open_world(&x);
    while (!engine_worker_is_stuck(x.worker, 1)) nanosleep(&pause, NULL); /* idle: it moves once a second */
    assert_false(engine_worker_is_stuck(x.worker, UINT64_MAX));
    close_world(&x);
}

static void test_loading_is_told(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint32_t retry_s = 0;
    leat_error error = {0};
    job *j = NULL;
    world x;
    (void)state;
    prepare(&x);
    hooks_set_read_fault(READ_FAULT_HELD, 0, UINT64_MAX, 0);
    const engine_worker_settings settings = {.model_path = x.folder, .options = x.options};
    assert_ok(engine_worker_open(x.ledger, &settings, &x.worker, &error), &error);
    while (hooks_read_count() == 0) nanosleep(&pause, NULL);
    if (look(x.worker).worker == WORKER_LOADING) { /* else it opens without having read */
        leat_tokens prompt = copy_ids(x.ids, PROMPT);
        assert_ok(job_open(x.ledger, &x.settings, &prompt, 1, &heard_sink, NULL, &j, &error), &error);
        assert_int_equal(job_submit(x.worker, j, &retry_s), JOB_LOADING);
        assert_in_range(retry_s, 1, 120);
        assert_null(engine_worker_model(x.worker));
        job_release(&j);
    }
    hooks_reset();
    while (look(x.worker).worker == WORKER_LOADING) nanosleep(&pause, NULL);
    assert_int_equal(look(x.worker).worker, WORKER_READY);
    assert_non_null(engine_worker_model(x.worker));
    close_world(&x);
}

/* The n-th allocation of a job fails, wherever it is. */
static void test_no_memory_at_any_allocation(void **state)
{
    static const job_bias bias = {5, 0};
    char *stop = "never";
    uint32_t failures = 0;
    world x;
    (void)state;
    open_world(&x);
    x.settings.biases = &bias;
    x.settings.bias_count = 1;
    x.settings.stops = &stop;
    x.settings.stop_count = 1;
    x.settings.logprobs = true;
    for (uint64_t nth = 1;; nth++) {
        leat_tokens prompt = copy_ids(x.ids, PROMPT);
        leat_error error = {0};
        heard *h = heard_new();
        job *j = NULL;
        x.settings.cache_prompt = nth % 2;
        hooks_fail_allocation(nth);
        const leat_status status = job_open(x.ledger, &x.settings, &prompt, 1, &heard_sink, h, &j, &error);
        if (status == LEAT_OK) {
            assert_int_equal(job_submit(x.worker, j, NULL), JOB_ADMITTED);
            heard_wait(h);
        }
        const bool has_failed = hooks_allocation_count() >= nth;
        hooks_reset();
        assert_int_equal(status == LEAT_OK ? h->result.status : status, has_failed ? LEAT_NO_MEMORY : LEAT_OK);
        leat_tokens_free(&prompt);
        job_release(&j);
        heard_free(h);
        assert_goes_on(&x);
        failures += has_failed;
        if (!has_failed && nth % 2 == 0) break; /* also without a session that is there */
    }
    assert_in_range(failures, 8, 200);
    close_world(&x);
}

static void test_what_is_no_number_is_an_error(void **state)
{
    uint64_t begin, bytes;
    char path[UNIT_PATH_BYTES + 32];
    const float nan_value = NAN;
    world x;
    (void)state;
    prepare(&x);
    tiny_model_find(x.folder, "model.norm.weight", &begin, &bytes);
    snprintf(path, sizeof path, "%s/model.safetensors", x.folder);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)begin, SEEK_SET), 0);
    assert_int_equal(fwrite(&nan_value, sizeof nan_value, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    x.worker = open_worker(x.ledger, x.folder, &x.options, 8, x.metrics);
    for (int i = 0; i < 2; i++) {
        heard *h = heard_new();
        run_ids(x.worker, x.ledger, &x.settings, x.ids, PROMPT, h);
        assert_int_equal(h->result.end, JOB_FAILED);
        assert_int_equal(h->result.status, LEAT_INTERNAL);
        assert_text_has(h->error.text, "numerical");
        assert_int_equal(h->choices[0].token_count, 0);
        heard_free(h);
    }
    close_world(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_disk_ends_one_job),
        cmocka_unit_test(test_a_disk_that_is_well_again_is_noticed),
        cmocka_unit_test(test_one_bad_sector_is_not_forgotten),
        cmocka_unit_test(test_looking_does_not_wait_for_the_disk),
        cmocka_unit_test(test_a_lost_thread_is_noticed),
        cmocka_unit_test(test_loading_is_told),
        cmocka_unit_test(test_no_memory_at_any_allocation),
        cmocka_unit_test(test_what_is_no_number_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

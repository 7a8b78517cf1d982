/*
 * The parts of the engine's side that need no engine: the queue, the estimate behind Retry-After, the board that is
 * read while it is written, stop strings cut at every place, logprobs against a softmax of the test's own, metrics.
 */
#include "base/prng.h"
#include "base/status.h"
#include "cli/stop_match.h"
#include "heard.h"
#include "server/job_queue.h"
#include "server/logprobs.h"
#include "server/publish_board.h"
#include "server/service_time.h"

#include <ctype.h>
#include <math.h>

/* ---- queue ---- */

static job *new_job(mem *ledger, uint64_t deadline_ns, size_t prompt_count)
{
    static const uint32_t ids[64] = {1};
    job_settings settings = job_settings_default();
    leat_tokens prompt = copy_ids(ids, prompt_count);
    leat_error error = {0};
    job *j = NULL;
    settings.deadline_ns = deadline_ns;
    assert_ok(job_open(ledger, &settings, &prompt, 1, &heard_sink, NULL, &j, &error), &error);
    assert_null(prompt.ids);
    return j;
}

static void test_queue_is_fifo_and_bounded(void **state)
{
    mem *ledger = open_ledger(0);
    job *jobs[5];
    (void)state;
    for (int i = 0; i < 5; i++) jobs[i] = new_job(ledger, 0, 4);
    job_queue q = {.count_max = 3, .bytes_max = UINT64_MAX};
    for (int i = 0; i < 3; i++) assert_true(job_queue_push(&q, jobs[i]));
    assert_false(job_queue_push(&q, jobs[3]));
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(job_queue_position(&q, jobs[i]), i + 1);
    assert_int_equal(job_queue_position(&q, jobs[3]), 0);
    job_queue_remove(&q, jobs[1]);
    assert_true(job_queue_push(&q, jobs[4]));
    assert_ptr_equal(job_queue_pop(&q), jobs[0]);
    assert_ptr_equal(job_queue_pop(&q), jobs[2]);
    assert_ptr_equal(job_queue_pop(&q), jobs[4]);
    assert_null(job_queue_pop(&q));
    assert_int_equal(q.bytes, 0);

    q.bytes_max = job_bytes(jobs[0]) + job_bytes(jobs[1]) - 1;
    assert_true(job_queue_push(&q, jobs[0]));
    assert_false(job_queue_push(&q, jobs[1]));
    assert_ptr_equal(job_queue_pop(&q), jobs[0]);
    for (int i = 0; i < 5; i++) job_release(&jobs[i]);
    close_empty_ledger(ledger);
}

static void test_queue_finds_late_jobs(void **state)
{
    mem *ledger = open_ledger(0);
    job *jobs[3] = {new_job(ledger, 0, 1), new_job(ledger, 500, 1), new_job(ledger, 300, 1)};
    job_queue q = {.count_max = 3, .bytes_max = UINT64_MAX};
    uint64_t next;
    (void)state;
    assert_null(job_queue_find_late(&q, 1000, &next));
    assert_true(next == UINT64_MAX);
    for (int i = 0; i < 3; i++) assert_true(job_queue_push(&q, jobs[i]));
    assert_null(job_queue_find_late(&q, 299, &next));
    assert_int_equal(next, 300);
    assert_ptr_equal(job_queue_find_late(&q, 300, &next), jobs[2]);
    for (int i = 0; i < 3; i++) job_release(&jobs[i]);
    close_empty_ledger(ledger);
}

static void test_job_refuses_what_cannot_run(void **state)
{
    static const uint32_t ids[2] = {1, 2};
    mem *ledger = open_ledger(0);
    leat_error error = {0};
    job *j = NULL;
    (void)state;
    for (int fault = 0; fault < 5; fault++) {
        leat_tokens prompt = copy_ids(ids, 2);
        job_settings settings = job_settings_default();
        if (fault == 0) settings.n = 0;
        if (fault == 1) settings.top_logprobs = JOB_TOP_LOGPROBS_MAX + 1;
        if (fault == 2) settings.sampling.top_p = 2;
        if (fault == 3) prompt.count = 0;
        assert_fails(USAGE, job_open(ledger, &settings, &prompt, fault == 4 ? 0 : 1, &heard_sink, NULL, &j, &error),
                     &error);
        assert_non_null(prompt.ids); /* still the caller's */
        prompt.count = 2;
        leat_tokens_free(&prompt);
        assert_null(j);
    }
    close_empty_ledger(ledger);
}

/* ---- Retry-After ---- */

static void test_retry_after(void **state)
{
    const uint64_t s = 1000000000;
    service_time t = {0};
    (void)state;
    assert_int_equal(service_time_retry_after(&t, 0, 0), 1);
    assert_int_equal(service_time_retry_after(&t, 3, 2 * s), 7); /* the running one stands for all: a quarter and 3 */
    service_time_add(&t, 10 * s);
    assert_int_equal(service_time_retry_after(&t, 0, 0), 10);
    assert_int_equal(service_time_retry_after(&t, 4, 4 * s), 46);
    assert_int_equal(service_time_retry_after(&t, 4, 40 * s), 43);
    assert_int_equal(service_time_retry_after(&t, 32, 0), 120);
    for (int i = 0; i < 40; i++) service_time_add(&t, 2 * s);
    assert_int_equal(service_time_retry_after(&t, 4, 0), 11); /* the mean is still a little above 2 s */
}

/* ---- board ---- */

typedef struct page {
    uint64_t words[40];
} page;
typedef struct reading {
    publish_board *board;
    atomic_bool is_over;
    uint64_t torn_count, backward_count;
} reading;

static void *read_pages(void *context)
{
    reading *r = context;
    uint64_t last = 0;
    while (!atomic_load(&r->is_over)) {
        page p;
        publish_board_read(r->board, &p, sizeof p);
        for (int i = 1; i < 40; i++) r->torn_count += p.words[i] != p.words[0];
        r->backward_count += p.words[0] < last;
        last = p.words[0];
    }
    return NULL;
}

static void test_board_is_never_torn(void **state)
{
    static publish_board board;
    reading readers[3];
    pthread_t threads[3];
    page p;
    (void)state;
    for (int i = 0; i < 3; i++) {
        readers[i] = (reading){.board = &board};
        assert_int_equal(pthread_create(&threads[i], NULL, read_pages, &readers[i]), 0);
    }
    for (uint64_t value = 1; value <= 200000; value++) {
        for (int i = 0; i < 40; i++) p.words[i] = value;
        publish_board_write(&board, &p, sizeof p);
    }
    for (int i = 0; i < 3; i++) {
        atomic_store(&readers[i].is_over, true);
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].torn_count, 0);
        assert_int_equal(readers[i].backward_count, 0);
    }
    publish_board_read(&board, &p, sizeof p);
    assert_int_equal(p.words[39], 200000);
}

/* ---- stop strings ---- */

/* The text up to the first stop string, whatever pieces it comes in; what is shown never has to be taken back. */
static void check_cut(mem *ledger, const stop_texts *stops, const char *text, size_t cut, size_t cut2,
                      const char *expected)
{
    stop_match m = {.held = {.ledger = ledger}};
    strbuf ready = {.ledger = ledger};
    leat_error error = {0};
    const size_t count = strlen(text), ends[3] = {cut, cut2, count};
    bool is_stopped = false;
    size_t at = 0;
    for (int i = 0; i < 3 && !is_stopped; at = ends[i++]) {
        assert_ok(stop_match_push(&m, stops, text + at, ends[i] - at, &ready, &is_stopped, &error), &error);
        assert_true(ready.count <= strlen(expected));
        assert_memory_equal(strbuf_text(&ready), expected, ready.count);
    }
    assert_int_equal(is_stopped, strlen(expected) < count);
    if (!is_stopped) assert_ok(stop_match_finish(&m, &ready, &error), &error);
    assert_string_equal(strbuf_text(&ready), expected);
    strbuf_reset(&ready);
    strbuf_reset(&m.held);
}

static void test_stop_strings_cut_everywhere(void **state)
{
    static const char *const words[] = {"END", "\n\n", "aab"};
    const stop_texts stops = {words, 3};
    const struct {
        const char *text, *expected;
    } cases[] = {{"one ENEND two", "one EN"}, {"caaab", "ca"},    {"x\n \n\ny", "x\n "},
                 {"no stop at all E", NULL},  {"ENaa\nEN", NULL}, {"END", ""}};
    mem *ledger = open_ledger(0);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *expected = cases[i].expected ? cases[i].expected : cases[i].text;
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
            for (size_t cut2 = cut; cut2 <= strlen(cases[i].text); cut2++)
                check_cut(ledger, &stops, cases[i].text, cut, cut2, expected);
    }
    close_empty_ledger(ledger);
}

/* ---- logprobs ---- */

static void test_logprobs(void **state)
{
    enum { COUNT = 500, TOP = 20 };
    float logits[COUNT];
    logprob_list top;
    prng dice;
    (void)state;
    prng_init(&dice, 9);
    for (int i = 0; i < COUNT; i++) logits[i] = (float)(int)(prng_below(&dice, 40)) * 0.5f - 10; /* many equal ones */
    long double sum = 0;
    for (int i = 0; i < COUNT; i++) sum += expl((long double)logits[i]);
    for (uint32_t id = 0; id < COUNT; id += 7) {
        const float got = logprobs_of(logits, COUNT, id, TOP, &top);
        assert_true(fabsl((long double)got - ((long double)logits[id] - logl(sum))) < 1e-5L);
    }
    assert_int_equal(top.count, TOP);
    bool is_taken[COUNT] = {false};
    for (uint32_t place = 0; place < TOP; place++) { /* the slow way: the best that is left, the lowest id first */
        uint32_t best = COUNT;
        for (uint32_t i = 0; i < COUNT; i++)
            if (!is_taken[i] && (best == COUNT || logits[i] > logits[best])) best = i;
        is_taken[best] = true;
        assert_int_equal(top.ids[place], best);
        assert_true(fabsl((long double)top.logprobs[place] - ((long double)logits[best] - logl(sum))) < 1e-5L);
    }
    logits[3] = -INFINITY;
    assert_true(logprobs_of(logits, COUNT, 3, 0, &top) == JOB_IMPOSSIBLE_LOGPROB);
    assert_int_equal(top.count, 0);
    assert_true(logprobs_of(logits, 2, 0, TOP, &top) <= 0);
    assert_int_equal(top.count, 2);
}

/* ---- metrics ---- */

/* The value of the series whose line begins with `key`; fails when it is not there exactly once. */
static double value_of(const char *text, const char *key)
{
    const char *found = NULL;
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ' ') {
            assert_null(found);
            found = line + strlen(key) + 1;
        }
    if (!found) fail_msg("no series %s", key);
    return strtod(found, NULL);
}

/* Every line is a comment of its name or one of its series; every name has one HELP and one TYPE, before its series. */
static void check_format(const char *text)
{
    char name[128] = "", line[1024];
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line + 7, "%127s", name), 1);
            char again[160];
            snprintf(again, sizeof again, "# HELP %s ", name);
            assert_null(strstr(end, again));
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_memory_equal(line + 7, name, strlen(name));
        } else {
            char *rest;
            assert_memory_equal(line, name, strlen(name));
            const char *number = strrchr(line, ' ');
            assert_non_null(number);
            strtod(number + 1, &rest);
            assert_int_equal(*rest, '\0');
        }
    }
}

static void test_metrics_text(void **state)
{
    static const char *const names[] = {"leat_build_info",
                                        "process_start_time_seconds",
                                        "process_resident_memory_bytes",
                                        "process_open_fds",
                                        "process_cpu_seconds_total",
                                        "leat_requests_total",
                                        "leat_requests_in_flight",
                                        "leat_queue_length",
                                        "leat_queue_wait_seconds",
                                        "leat_time_to_first_token_seconds",
                                        "leat_inter_token_seconds",
                                        "leat_request_duration_seconds",
                                        "leat_prompt_tokens_total",
                                        "leat_cached_prompt_tokens_total",
                                        "leat_generated_tokens_total",
                                        "leat_request_finished_total",
                                        "leat_slots",
                                        "leat_ram_budget_bytes",
                                        "leat_ram_used_bytes",
                                        "leat_weight_cache_hits_total",
                                        "leat_weight_cache_misses_total",
                                        "leat_weight_cache_evictions_total",
                                        "leat_weight_cache_bytes",
                                        "leat_storage_read_bytes_total",
                                        "leat_storage_read_seconds",
                                        "leat_storage_inflight_reads",
                                        "leat_storage_errors_total",
                                        "leat_stall_seconds_total",
                                        "leat_prefetch_useful_bytes_total",
                                        "leat_prefetch_wasted_bytes_total",
                                        "leat_kv_tokens",
                                        "leat_kv_spill_bytes_total",
                                        "leat_model_load_seconds"};
    const metrics_sources sources = {
        .has_engine = true,
        .slot = {.slot = SLOT_DECODE, .queue_length = 3, .kv_tokens = 77},
        .stats = {.pools = {{"experts", 500, 600}}, .pool_count = 1, .ahead_used_bytes = 2000}};
    mem *ledger = open_ledger(0);
    strbuf text = {.ledger = ledger};
    leat_error error = {0};
    metrics *m;
    (void)state;
    assert_ok(metrics_open(ledger, "a \"b\"\\c\n", &m, &error), &error);
    metrics_begin_request(m);
    metrics_begin_request(m);
    metrics_end_request(m);
    for (int i = 0; i < 3; i++) metrics_count_request(m, "/health", 200);
    metrics_count_request(m, "/health", 503);
    metrics_count_finish(m, METRICS_FINISH_TOOL_CALLS);
    metrics_count_tokens(m, 10, 4, 7);
    metrics_observe(m, METRICS_INTER_TOKEN, 5000000); /* a bound belongs to its bucket */
    metrics_observe(m, METRICS_INTER_TOKEN, 5000001);
    metrics_observe(m, METRICS_INTER_TOKEN, UINT64_C(11000000000));
    metrics_count_read_error(m, true);
    assert_ok(metrics_write(m, &sources, &text, &error), &error);
    const char *t = strbuf_text(&text);
    check_format(t);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[128];
        snprintf(line, sizeof line, "# HELP %s ", names[i]);
        assert_text_has(t, line);
    }
#define MODEL "model=\"a \\\"b\\\"\\\\c\\n\""
    assert_float_equal(value_of(t, "leat_requests_total{" MODEL ",route=\"/health\",code=\"200\"}"), 3, 0);
    assert_float_equal(value_of(t, "leat_requests_total{" MODEL ",route=\"/health\",code=\"503\"}"), 1, 0);
    assert_float_equal(value_of(t, "leat_requests_in_flight{" MODEL "}"), 1, 0);
    assert_float_equal(value_of(t, "leat_request_finished_total{" MODEL ",reason=\"tool_calls\"}"), 1, 0);
    assert_float_equal(value_of(t, "leat_cached_prompt_tokens_total{" MODEL "}"), 4, 0);
    assert_float_equal(value_of(t, "leat_inter_token_seconds_bucket{" MODEL ",le=\"0.005\"}"), 1, 0);
    assert_float_equal(value_of(t, "leat_inter_token_seconds_bucket{" MODEL ",le=\"0.01\"}"), 2, 0);
    assert_float_equal(value_of(t, "leat_inter_token_seconds_bucket{" MODEL ",le=\"10\"}"), 2, 0);
    assert_float_equal(value_of(t, "leat_inter_token_seconds_bucket{" MODEL ",le=\"+Inf\"}"), 3, 0);
    assert_float_equal(value_of(t, "leat_inter_token_seconds_count{" MODEL "}"), 3, 0);
    assert_float_equal(value_of(t, "leat_inter_token_seconds_sum{" MODEL "}"), 11.010000001, 1e-6);
    assert_float_equal(value_of(t, "leat_slots{" MODEL ",state=\"decode\"}"), 1, 0);
    assert_float_equal(value_of(t, "leat_slots{" MODEL ",state=\"idle\"}"), 0, 0);
    assert_float_equal(value_of(t, "leat_queue_length{" MODEL "}"), 3, 0);
    assert_float_equal(value_of(t, "leat_ram_used_bytes{" MODEL ",pool=\"cache\"}"), 500, 0);
    assert_float_equal(value_of(t, "leat_prefetch_useful_bytes_total{" MODEL "}"), 2000, 0);
    assert_float_equal(value_of(t, "leat_storage_errors_total{" MODEL ",kind=\"short\"}"), 1, 0);
    assert_true(value_of(t, "process_resident_memory_bytes") > 1e6);
    assert_true(value_of(t, "process_open_fds") >= 3);
    strbuf_reset(&text);
    metrics_close(&m);
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_is_fifo_and_bounded),
        cmocka_unit_test(test_queue_finds_late_jobs),
        cmocka_unit_test(test_job_refuses_what_cannot_run),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_board_is_never_torn),
        cmocka_unit_test(test_stop_strings_cut_everywhere),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_metrics_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

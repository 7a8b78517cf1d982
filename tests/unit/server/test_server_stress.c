/*
 * Many threads submit, cancel and look at the same time. Every admitted job ends exactly once; every one that was not
 * cancelled gets the answer that its prompt gets alone; nothing is left behind.
 */
#include "base/prng.h"
#include "heard.h"
#include "os/clock.h"
#include "unit/api/api_support.h"

#include <stdatomic.h>
#include <time.h>

enum { THREADS = 8, ROUNDS = 24, PROMPTS = 5, PROMPT_MAX = 20, ANSWER = 5, VOCAB = 61 };

static uint32_t prompts[PROMPTS][PROMPT_MAX];
static size_t prompt_counts[PROMPTS];
static uint32_t answers[PROMPTS][ANSWER];

typedef struct shared {
    mem *ledger;
    engine_worker *worker;
    metrics *metrics;
    atomic_bool is_over;
    _Atomic uint32_t admitted, refused, ended, whole, cancelled, late, wrong;
} shared;

typedef struct client {
    shared *s;
    uint64_t seed;
} client;

static job_settings settings_of(uint32_t prompt)
{
    job_settings s = job_settings_default();
    s.max_tokens = ANSWER;
    s.sampling.seed = prompt;
    s.has_seed = s.ignore_eos = true;
    return s;
}

static void judge(shared *s, const heard *h, uint32_t prompt)
{
    const heard_choice *c = &h->choices[0];
    atomic_fetch_add(&s->ended, h->end_count);
    if (h->result.end == JOB_CANCELLED) atomic_fetch_add(&s->cancelled, 1);
    if (h->result.end == JOB_TIMEOUT) atomic_fetch_add(&s->late, 1);
    if (h->result.end == JOB_LENGTH) atomic_fetch_add(&s->whole, 1);
    const bool is_right = h->result.end == JOB_LENGTH ? c->token_count == ANSWER : h->result.end != JOB_FAILED;
    if (!is_right || memcmp(c->ids, answers[prompt], c->token_count * sizeof(uint32_t)) != 0)
        atomic_fetch_add(&s->wrong, 1);
}

static void one_request(shared *s, prng *dice)
{
    const uint32_t prompt = (uint32_t)prng_below(dice, PROMPTS), kind = (uint32_t)prng_below(dice, 6);
    const struct timespec pause = {.tv_nsec = (long)prng_below(dice, 3000000)};
    leat_tokens ids = copy_ids(prompts[prompt], prompt_counts[prompt]);
    job_settings settings = settings_of(prompt);
    leat_error error;
    heard *h = heard_new();
    job *j = NULL;
    settings.cache_prompt = prng_below(dice, 4) > 0;
    if (kind == 1) settings.deadline_ns = clock_now_ns() + prng_below(dice, 5000000);
    if (kind == 2) h->stop_after = 1 + (uint32_t)prng_below(dice, ANSWER);
    assert_ok(job_open(s->ledger, &settings, &ids, 1, &heard_sink, h, &j, &error), &error);
    if (job_submit(s->worker, j, NULL) == JOB_ADMITTED) {
        atomic_fetch_add(&s->admitted, 1);
        if (kind >= 4) nanosleep(&pause, NULL);
        if (kind >= 3) job_cancel(j);
        (void)job_position(j);
        heard_wait(h);
        judge(s, h, prompt);
        job_cancel(j);
    } else {
        atomic_fetch_add(&s->refused, 1);
    }
    job_release(&j);
    heard_free(h);
}

static void *be_client(void *context)
{
    client *c = context;
    prng dice;
    prng_init(&dice, c->seed);
    for (int i = 0; i < ROUNDS; i++) one_request(c->s, &dice);
    return NULL;
}

static void *be_observer(void *context)
{
    shared *s = context;
    while (!atomic_load(&s->is_over)) {
        metrics_sources sources;
        strbuf text = {.ledger = s->ledger};
        leat_error error;
        engine_worker_sources(s->worker, &sources);
        if (metrics_write(s->metrics, &sources, &text, &error) != LEAT_OK) atomic_fetch_add(&s->wrong, 1);
        if (sources.slot.prefill_done > sources.slot.prompt_count || sources.slot.queue_length > sources.slot.queue_max)
            atomic_fetch_add(&s->wrong, 1);
        strbuf_reset(&text);
    }
    return NULL;
}

static void learn_answers(mem *ledger, const char *folder, const leat_options *options)
{
    for (uint32_t p = 0; p < PROMPTS; p++) {
        engine_worker *alone = open_worker(ledger, folder, options, 0, NULL);
        const job_settings s = settings_of(p);
        heard *h = heard_new();
        prompt_counts[p] = 6 + 3 * p;
        fill_ids(prompts[p], PROMPT_MAX, VOCAB, p / 2); /* some begin alike */
        run_ids(alone, ledger, &s, prompts[p], prompt_counts[p], h);
        assert_int_equal(h->choices[0].token_count, ANSWER);
        memcpy(answers[p], h->choices[0].ids, sizeof answers[p]);
        heard_free(h);
        engine_worker_close(&alone);
    }
}

static void test_many_threads(void **state)
{
    const leat_options options = {.thread_count = 2, .prefill_chunk = 4, .ctx = 64, .ignore_leases = true};
    char folder[UNIT_PATH_BYTES];
    client clients[THREADS];
    pthread_t threads[THREADS], observer;
    leat_error error = {0};
    shared s = {.ledger = open_ledger(0)};

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &gemma_many);
    learn_answers(s.ledger, folder, &options);
    assert_ok(metrics_open(s.ledger, "tiny", &s.metrics, &error), &error);
    s.worker = open_worker(s.ledger, folder, &options, 5, s.metrics);
    assert_int_equal(pthread_create(&observer, NULL, be_observer, &s), 0);
    for (int i = 0; i < THREADS; i++) {
        clients[i] = (client){&s, (uint64_t)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, be_client, &clients[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    atomic_store(&s.is_over, true);
    pthread_join(observer, NULL);
    assert_int_equal(s.admitted + s.refused, THREADS * ROUNDS);
    assert_int_equal(s.ended, s.admitted);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(s.whole + s.cancelled + s.late, s.admitted);
    assert_true(s.whole > 0 && s.cancelled > 0);
    assert_int_equal(look(s.worker).queue_length, 0);
    engine_worker_close(&s.worker);
    metrics_close(&s.metrics);
    close_empty_ledger(s.ledger);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

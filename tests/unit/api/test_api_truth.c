/*
 * What the library says of itself against what others say: times against a clock, bytes and reads against
 * /proc/self/io, pools against the resident memory, and tokens told of against the timeline.
 */
#include "api_support.h"

#include "os/clock.h"

enum { COUNT = 100, VOCAB = 61 };

static const char *const no_proc_io = "/proc/self/io is not there";

static void make_model(char folder[UNIT_PATH_BYTES], const tiny_shape *shape)
{
    make_folder(folder);
    tiny_model_write(folder, shape);
}

/* ---- tokens ---- */

typedef struct token_log {
    const uint32_t *ids;
    size_t next, with_logits, route_count, fail_at;
    uint32_t layer_count;
} token_log;

static leat_status log_token(void *user, size_t position, uint32_t id, const float *logits, leat_error *error)
{
    token_log *log = user;

    assert_int_equal(position, log->next);
    assert_int_equal(id, log->ids[position]);
    log->next++;
    if (logits) {
        log->with_logits++;
        for (uint32_t i = 0; i < VOCAB; i++) assert_true(logits[i] == logits[i]);
    }
    assert_true(log->route_count >= log->next * log->layer_count); /* the position's experts have been told */
    if (position + 1 == log->fail_at) {
        error->status = LEAT_IO;
        strcpy(error->text, "the sink's own");
        return LEAT_IO;
    }
    return LEAT_OK;
}

static void count_route(void *user, uint32_t layer_idx, size_t position, const uint32_t *experts, const float *weights,
                        uint32_t count)
{
    (void)layer_idx, (void)position, (void)experts, (void)weights, (void)count;
    ((token_log *)user)->route_count++;
}

static leat_status ignore_score(void *user, size_t position, const float *logits, leat_error *error)
{
    (void)user, (void)position, (void)logits, (void)error;
    return LEAT_OK;
}

static void test_every_token_is_told(void **state)
{
    char folder[UNIT_PATH_BYTES];
    uint32_t ids[COUNT];
    leat_error error = {0};

    (void)state;
    make_model(folder, &gemma_many);
    fill_ids(ids, COUNT, VOCAB, 3);
    for (uint32_t chunk = 1; chunk <= 64; chunk *= 4) {
        const leat_options options = {.thread_count = 2, .prefill_chunk = chunk, .ctx = 256};
        opened o = open_all(folder, &options);
        token_log log = {.ids = ids, .layer_count = 3};
        leat_session_set_route_sink(o.session, count_route, &log);
        leat_session_set_token_sink(o.session, log_token, &log);
        assert_ok(leat_session_sync(o.session, ids, COUNT - 2, NULL, &error), &error);
        assert_int_equal(log.next, COUNT - 2);
        assert_int_equal(log.with_logits, 1);
        assert_ok(leat_session_append(o.session, ids[COUNT - 2], &error), &error);
        assert_ok(leat_session_sync(o.session, ids, COUNT, NULL, &error), &error);
        assert_int_equal(log.next, COUNT);
        assert_int_equal(log.with_logits, 3);
        assert_int_equal(log.route_count, 3 * COUNT);

        log = (token_log){.ids = ids, .layer_count = 3};
        assert_ok(leat_session_score(o.session, ids, COUNT, ignore_score, NULL, &error), &error);
        assert_int_equal(log.next, COUNT);
        assert_int_equal(log.with_logits, COUNT);

        /* What the sink refuses has been computed all the same. */
        log = (token_log){.ids = ids, .layer_count = 3, .fail_at = 5};
        leat_session_set_route_sink(o.session, NULL, NULL);
        log.layer_count = 0;
        assert_fails(IO, leat_session_score(o.session, ids, 10, ignore_score, NULL, &error), &error);
        assert_string_equal(error.text, "the sink's own");
        assert_true(leat_session_length(o.session) >= 5);
        log.next = log.fail_at = 0;
        leat_session_set_token_sink(o.session, NULL, NULL);
        assert_ok(leat_session_sync(o.session, ids, 10, NULL, &error), &error);
        assert_int_equal(log.next, 0);
        close_all(&o);
    }
    remove_folder(folder);
}

/* ---- which model it is ---- */

static void fingerprint_of(const tiny_shape *shape, char out[65])
{
    char folder[UNIT_PATH_BYTES];
    leat_model *model = NULL;
    leat_error error = {0};

    make_model(folder, shape);
    assert_ok(leat_model_open(folder, &model, &error), &error);
    strcpy(out, leat_model_get_info(model)->fingerprint);
    assert_int_equal(strspn(out, "0123456789abcdef"), 64);
    assert_int_equal(strlen(out), 64);
    leat_model_close(&model);
    remove_folder(folder);
}

static void test_fingerprints(void **state)
{
    char one[65], same[65], other[65];
    tiny_shape shape = llama_plain;

    (void)state;
    fingerprint_of(&shape, one);
    fingerprint_of(&shape, same);
    assert_string_equal(one, same);
    shape.context = 500; /* the configuration alone */
    fingerprint_of(&shape, other);
    assert_string_not_equal(one, other);
    shape = llama_plain;
    shape.has_own_head = !shape.has_own_head;
    fingerprint_of(&shape, other);
    assert_string_not_equal(one, other);
}

/* ---- time ---- */

static uint64_t step_ns(const leat_stats *s)
{
    return s->attention_ns + s->ffn_ns + s->router_ns + s->moe_ns + s->head_ns + s->step_other_ns + s->disk_wait_ns;
}

/* The calls' time is that of the parts, but for what is done around steps. A busy machine can take the thread away
 * between two readings of the clock, so the best of some rounds counts. */
static void check_times(const tiny_shape *shape, bool has_ffn, bool reads_rows)
{
    char folder[UNIT_PATH_BYTES];
    uint32_t ids[COUNT];
    leat_error error = {0};
    double best = 0;

    make_model(folder, shape);
    fill_ids(ids, COUNT, VOCAB, 3);
    leat_options options = {.thread_count = 1, .prefill_chunk = 16, .ctx = 256};
    options.ram_bytes = floor_of(folder, &options);
    opened o = open_all(folder, &options);
    leat_stats s = leat_engine_get_stats(o.engine);
    assert_int_equal(step_ns(&s), 0); /* loading is no step */
    for (int round = 0; round < 20 && best < 0.97; round++) {
        const uint64_t before_ns = step_ns(&s), begin_ns = clock_now_ns();
        assert_ok(leat_session_score(o.session, ids, COUNT, ignore_score, NULL, &error), &error);
        assert_ok(leat_session_append(o.session, ids[0], &error), &error);
        const uint64_t wall_ns = clock_now_ns() - begin_ns;
        s = leat_engine_get_stats(o.engine);
        const uint64_t spent_ns = step_ns(&s) - before_ns;
        assert_true(spent_ns <= wall_ns);
        if ((double)spent_ns > best * (double)wall_ns) best = (double)spent_ns / (double)wall_ns;
    }
    if (best < 0.97) fail_msg("the parts are %.4f of the time", best);
    const bool has_experts = leat_model_get_info(o.model)->moe_layer_count > 0;
    assert_true(s.attention_ns > 0 && s.head_ns > 0 && s.step_other_ns > 0);
    assert_int_equal(s.ffn_ns > 0, has_ffn);
    assert_int_equal(s.moe_ns > 0, has_experts);
    assert_int_equal(s.router_ns > 0, has_experts);
    assert_int_equal(s.expert_wait_ns > 0, has_experts);
    const leat_plan *plan = leat_engine_plan(o.engine);
    const uint64_t known_ns = s.expert_wait_ns + s.streamed_wait_ns;
    assert_int_equal(s.streamed_wait_ns > 0, plan->streamed_bytes > 0);
    if (reads_rows || plan->head_is_streamed) /* then rows of the embedding are read, too */
        assert_true(s.disk_wait_ns > known_ns);
    else
        assert_int_equal(s.disk_wait_ns, known_ns);
    close_all(&o);
    remove_folder(folder);
}

static void test_times_of_parts(void **state)
{
    const tiny_shape head_only = {.family = TINY_LLAMA, .has_own_head = true, .seed = 7};

    (void)state;
    check_times(&llama_plain, true, false);
    check_times(&head_only, true, true);
    check_times(&gemma_inputs, true, true);
    check_times(&gemma_many, true, false);
    check_times(&qwen_many, false, false);
}

/* ---- bytes and reads ---- */

typedef struct process_io {
    uint64_t rchar, syscr, text_bytes;
} process_io;

/* One read, whose own bytes and call are counted after the text was made: the next reading shows them. */
static bool read_process_io(process_io *out)
{
    char text[1024];
    const int fd = open("/proc/self/io", O_RDONLY);
    const ssize_t count = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0) close(fd);
    if (count <= 0) return false;
    text[count] = '\0';
    unsigned long long rchar, wchar, syscr;
    assert_int_equal(sscanf(text, "rchar: %llu wchar: %llu syscr: %llu", &rchar, &wchar, &syscr), 3);
    *out = (process_io){rchar, syscr, (uint64_t)count};
    return true;
}

/* Reads ahead may still be under way when a call returns; to ask for statistics would be counted as reading itself. */
static void let_reads_end(void) { usleep(200000); }

static void check_reads(const tiny_shape *shape, leat_io_mode mode)
{
    char folder[UNIT_PATH_BYTES];
    uint32_t ids[COUNT];
    leat_error error = {0};
    process_io before, after;

    make_model(folder, shape);
    fill_ids(ids, COUNT, VOCAB, 3);
    /* The system counts the calls of threads; what a ring reads is in no process's rchar. Looking at memory reads, too.
     */
    leat_options options = {.thread_count = 2,
                            .prefill_chunk = 16,
                            .ctx = 256,
                            .io = mode,
                            .io_engine = LEAT_IO_ENGINE_THREADS,
                            .ignore_pressure = true,
                            .ignore_leases = true};
    options.ram_bytes = floor_of(folder, &options);
    opened o = open_all(folder, &options);
    let_reads_end();
    const leat_stats first = leat_engine_get_stats(o.engine);
    assert_true(first.read_bytes > 0);
    assert_true(read_process_io(&before));
    assert_ok(leat_session_sync(o.session, ids, COUNT, NULL, &error), &error);
    let_reads_end();
    assert_true(read_process_io(&after));
    const leat_stats last = leat_engine_get_stats(o.engine);
    const uint64_t got = after.rchar - before.rchar - before.text_bytes, said = last.read_bytes - first.read_bytes;

    assert_true(said > 0);
    assert_int_equal(after.syscr - before.syscr - 1, last.read_count - first.read_count);
    /* A direct window that passes the end of the file is asked for whole, and got in part. */
    assert_in_range(got, last.io_is_direct ? said - said / 100 : said, said);
    close_all(&o);
    remove_folder(folder);
}

static void test_reads_are_what_the_system_counts(void **state)
{
    process_io ignored;

    (void)state;
    if (!read_process_io(&ignored)) skip_because(no_proc_io);
    check_reads(&gemma_many, LEAT_IO_BUFFERED);
    check_reads(&gemma_many, LEAT_IO_AUTO);
    check_reads(&qwen_many, LEAT_IO_AUTO);
    check_reads(&gemma_inputs, LEAT_IO_BUFFERED);
}

/* The whole opening and a first token, for which all of the trunk is read; and small files of the system. */
static void test_the_load_is_what_the_system_counts(void **state)
{
    char folder[UNIT_PATH_BYTES];
    leat_model *model = NULL;
    leat_engine *engine = NULL;
    leat_session *session = NULL;
    leat_error error = {0};
    process_io before, after;
    const tiny_shape wide = {.family = TINY_LLAMA, .hidden = 256, .width = 1024, .vocab = 500, .seed = 8};

    (void)state;
    if (!read_process_io(&before)) skip_because(no_proc_io);
    make_model(folder, &wide);
    const leat_options options = {.thread_count = 2,
                                  .ctx = 64,
                                  .io_engine = LEAT_IO_ENGINE_THREADS,
                                  .ignore_pressure = true,
                                  .ignore_leases = true};
    assert_ok(leat_model_open(folder, &model, &error), &error);
    assert_true(read_process_io(&before));
    assert_ok(leat_engine_open(model, &options, &engine, &error), &error);
    assert_ok(leat_session_open(engine, &session, &error), &error);
    assert_ok(leat_session_sync(session, &(uint32_t){3}, 1, NULL, &error), &error);
    assert_true(read_process_io(&after));
    const uint64_t got = after.rchar - before.rchar, said = leat_engine_get_stats(engine).read_bytes;
    assert_true(said > leat_model_get_info(model)->trunk_bytes / 2);
    assert_true(got + 16 * 4096 >= said && got <= said + 256 * 1024); /* a window may reach past the file's end */
    leat_session_close(&session);
    leat_engine_close(&engine);
    leat_model_close(&model);
    remove_folder(folder);
}

/* ---- memory ---- */

static uint64_t anonymous_bytes(void)
{
    FILE *in = fopen("/proc/self/smaps_rollup", "r");
    unsigned long long kib = 0;
    char line[256];

    while (in && fgets(line, sizeof line, in)) sscanf(line, "Anonymous: %llu kB", &kib);
    if (in) fclose(in);
    return (uint64_t)kib * 1024;
}

/* After use the pools are resident, and nothing is beside them. */
static void test_pools_are_resident_memory(void **state)
{
    enum { BROOK_COUNT = 200 };
    uint32_t ids[BROOK_COUNT];
    leat_model *model = NULL;
    leat_error error = {0};

    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip_because("sanitizers take memory of their own");
#endif
    if (anonymous_bytes() == 0) skip_because("/proc/self/smaps_rollup is not there");
    fill_ids(ids, BROOK_COUNT, 4096, 3);
    assert_ok(leat_model_open(BROOK, &model, &error), &error);
    const uint64_t before = anonymous_bytes();
    const leat_options options = {.thread_count = 2, .prefill_chunk = 64, .ctx = 256};
    opened o = {.model = model};
    assert_ok(leat_engine_open(model, &options, &o.engine, &error), &error);
    assert_ok(leat_session_open(o.engine, &o.session, &error), &error);
    assert_ok(leat_session_score(o.session, ids, BROOK_COUNT, ignore_score, NULL, &error), &error);
    const uint64_t grown = anonymous_bytes() - before;
    const leat_stats s = leat_engine_get_stats(o.engine);
    uint64_t pools = 0, filled = 0;
    for (uint32_t i = 0; i < s.pool_count; i++) {
        pools += s.pools[i].current_bytes;
        if (strcmp(s.pools[i].name, "trunk") == 0 || strcmp(s.pools[i].name, "experts") == 0)
            filled += s.pools[i].current_bytes;
    }
    assert_true(filled > 20 << 20);
    if (grown < filled / 10 * 9 || grown > pools + (4 << 20))
        fail_msg("%llu bytes became resident; the pools hold %llu, of which %llu were filled",
                 (unsigned long long)grown, (unsigned long long)pools, (unsigned long long)filled);
    close_all(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pools_are_resident_memory), /* first: nothing is left of others */
        cmocka_unit_test(test_every_token_is_told),
        cmocka_unit_test(test_fingerprints),
        cmocka_unit_test(test_times_of_parts),
        cmocka_unit_test(test_reads_are_what_the_system_counts),
        cmocka_unit_test(test_the_load_is_what_the_system_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The world's failures under the public interface: no memory at any allocation, no thread, a disk that fails, a file
 * that is cut while it is open. Every one is a status with a text, nothing leaks, and what was open goes on afterwards.
 */
#include "api_support.h"

#include "base/status.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COUNT = 40, CHUNK = 8 };

/* ---- one run through everything, stopping at the first failure ---- */

typedef struct run_of_all {
    leat_model *model;
    leat_engine *engine;
    leat_session *session;
    leat_tokenizer *tokenizer;
    leat_sampler *sampler;
    leat_stream *stream;
    leat_chat *chat;
    leat_tokens tokens;
    leat_text text;
    float logits[8192];
} run_of_all;

static leat_status use_texts(run_of_all *r, const char *folder, leat_error *error)
{
    static const char request[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 2+2?\"}]}";
    const char *part;
    size_t part_bytes;

    if (!leat_model_get_info(r->model)->has_tokenizer) return LEAT_OK;
    TRY(leat_tokenizer_open(folder, &r->tokenizer, error));
    TRY(leat_tokenize_prompt(r->tokenizer, "A fox. \xc3\xa9", 9, &r->tokens, error));
    TRY(leat_detokenize(r->tokenizer, r->tokens.ids, r->tokens.count, false, &r->text, error));
    leat_text_free(&r->text);
    TRY(leat_stream_open(r->tokenizer, true, &r->stream, error));
    for (size_t i = 0; i < r->tokens.count; i++)
        TRY(leat_stream_push(r->stream, r->tokens.ids[i], &part, &part_bytes, error));
    TRY(leat_stream_flush(r->stream, &part, &part_bytes, error));
    leat_tokens_free(&r->tokens);
    TRY(leat_chat_open(r->tokenizer, NULL, 0, &r->chat, error));
    return leat_chat_render(r->chat, request, strlen(request), &r->tokens, &r->text, error);
}

static leat_status run_all(run_of_all *r, const char *folder, const leat_options *options, const uint32_t *ids,
                           leat_error *error)
{
    const leat_sampler_options sampling = leat_sampler_options_default();
    leat_plan plan;
    uint32_t id;

    TRY(leat_model_open(folder, &r->model, error));
    TRY(leat_plan_make(r->model, options, &plan, error));
    TRY(use_texts(r, folder, error));
    TRY(leat_engine_open(r->model, options, &r->engine, error));
    TRY(leat_session_open(r->engine, &r->session, error));
    TRY(leat_session_sync(r->session, ids, COUNT - 1, NULL, error));
    TRY(leat_session_append(r->session, ids[COUNT - 1], error));
    memcpy(r->logits, leat_session_logits(r->session), leat_model_get_info(r->model)->vocab_size * sizeof(float));
    TRY(leat_sampler_open(&sampling, leat_model_get_info(r->model)->vocab_size, &r->sampler, error));
    TRY(leat_sampler_pick(r->sampler, leat_session_logits(r->session), ids, COUNT, &id, error));
    return leat_model_check(r->model, NULL, NULL, NULL, NULL, error);
}

static void close_run(run_of_all *r)
{
    leat_text_free(&r->text);
    leat_tokens_free(&r->tokens);
    leat_stream_close(&r->stream);
    leat_chat_close(&r->chat);
    leat_sampler_close(&r->sampler);
    leat_tokenizer_close(&r->tokenizer);
    leat_session_close(&r->session);
    leat_engine_close(&r->engine);
    leat_model_close(&r->model);
}

typedef void order_failure(uint64_t nth);
typedef uint64_t count_calls(void);

/* Fails the n-th call for n = 1, 1 + step, ... until a run has fewer. Returns how many failures there were. */
static uint64_t fail_each(const char *folder, const leat_options *options, order_failure *order, count_calls *count,
                          uint64_t step)
{
    static run_of_all r;
    const held before = hooks_held();
    uint32_t ids[COUNT];
    uint64_t failures = 0;

    fill_ids(ids, COUNT, 61, 5);
    float *reference = reference_logits(folder, ids, COUNT);
    for (uint64_t nth = 1;; nth += step) {
        leat_error error = {0};
        memset(&r, 0, sizeof r);
        order(nth);
        const leat_status status = run_all(&r, folder, options, ids, &error);
        const bool has_failed = count() >= nth;
        order(0);
        if (has_failed) {
            assert_fails(NO_MEMORY, status, &error);
            failures++;
            if (r.session && leat_session_length(r.session) == COUNT) assert_non_null(leat_session_logits(r.session));
        } else {
            assert_ok(status, &error);
            assert_memory_equal(r.logits, reference + (COUNT - 1) * leat_model_get_info(r.model)->vocab_size,
                                leat_model_get_info(r.model)->vocab_size * sizeof(float));
        }
        close_run(&r);
        hooks_assert_held(before);
        if (!has_failed) break;
    }
    free(reference);
    return failures;
}

static void test_no_memory_at_any_allocation(void **state)
{
    const tiny_shape *shapes[] = {&gemma_moe, &gemma_inputs, &llama_plain, &qwen_moe_own_head};
    const leat_options options = {.thread_count = 2, .prefill_chunk = CHUNK, .ctx = 64};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char folder[UNIT_PATH_BYTES];
        make_folder(folder);
        tiny_model_write(folder, shapes[i]);
        const uint64_t failures = fail_each(folder, &options, hooks_fail_allocation, hooks_allocation_count, 1);
        assert_in_range(failures, 40, 2000);
        remove_folder(folder);
    }
}

static void test_no_memory_with_texts(void **state)
{
    const leat_options options = {.thread_count = 2, .prefill_chunk = CHUNK, .ctx = 64};

    (void)state;
    assert_in_range(fail_each(BROOK, &options, hooks_fail_allocation, hooks_allocation_count, 3), 30, 2000);
}

static void test_no_thread(void **state)
{
    const leat_options options = {
        .thread_count = 4, .prefill_chunk = CHUNK, .ctx = 64, .io_engine = LEAT_IO_ENGINE_THREADS};
    char folder[UNIT_PATH_BYTES];

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &gemma_moe);
    assert_in_range(fail_each(folder, &options, hooks_fail_thread, hooks_thread_count, 1), 3 + 1, 64);
    remove_folder(folder);
}

/* ---- a disk that fails ---- */

typedef struct reading {
    char folder[UNIT_PATH_BYTES];
    uint32_t ids[COUNT];
    float *reference;
    opened o;
} reading;

static void open_reading_with(reading *r, const tiny_shape *shape, leat_io_mode io, uint32_t chunk,
                              volatile int *cancel)
{
    leat_options options = {.thread_count = 2, .prefill_chunk = chunk, .ctx = 64, .io = io, .cancel = cancel};

    options.io_engine = LEAT_IO_ENGINE_THREADS; /* whose reads the hooks are between */
    make_folder(r->folder);
    tiny_model_write(r->folder, shape);
    fill_ids(r->ids, COUNT, 61, 6);
    r->reference = reference_logits(r->folder, r->ids, COUNT);
    options.ram_bytes = floor_of(r->folder, &options);
    r->o = open_all(r->folder, &options);
}

static void open_reading(reading *r, const tiny_shape *shape, leat_io_mode io, uint32_t chunk)
{
    open_reading_with(r, shape, io, chunk, NULL);
}

static void close_reading(reading *r)
{
    close_all(&r->o);
    free(r->reference);
    remove_folder(r->folder);
    hooks_reset();
}

static void check_read_error(const leat_error *error, uint64_t begin, uint64_t end)
{
    unsigned long long offset;

    assert_text_has(error->text, "model.safetensors");
    const char *record = strstr(error->text, "at offset "), *window = strstr(error->text, "at byte ");
    if (!record && !window) fail_msg("no place in \"%s\"", error->text);
    assert_int_equal(sscanf(record ? record + 10 : window + 8, "%llu", &offset), 1);
    /* A window begins a little before its payload, the payload of an expert up to 100 KiB before the failing byte. */
    assert_true(offset + (record ? 98304 + 4096 : 4096) >= begin && offset < end);
}

/* The n-th read of a part of the file fails, in whichever token that is; afterwards the session goes on. */
static void check_failing_reads(const tiny_shape *shape, const char *tensor, leat_io_mode io, uint32_t chunk)
{
    uint64_t offset, bytes, failures = 0;
    leat_error error = {0};
    reading r;

    open_reading(&r, shape, io, chunk);
    tiny_model_find(r.folder, tensor, &offset, &bytes);
    if (bytes > 65536) { /* away from the windows of the neighbours */
        offset += 4096;
        bytes -= 8192;
    }
    for (uint64_t pass = 0; pass < 60; pass += 7)
        for (int fault = READ_FAULT_GONE; fault <= READ_FAULT_EOF; fault++) {
            assert_ok(leat_session_sync(r.o.session, r.ids, 1, NULL, &error), &error);
            hooks_set_read_fault((read_fault)fault, offset, offset + bytes, pass);
            const leat_status status = leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error);
            const bool has_failed = hooks_read_count() > pass;
            hooks_reset();
            if (has_failed) {
                const size_t length = leat_session_length(r.o.session);
                assert_fails(IO, status, &error);
                if (fault == READ_FAULT_GONE) assert_text_has(error.text, "No such device");
                check_read_error(&error, offset, offset + bytes);
                assert_in_range(length, 0, COUNT - 1);
                assert_null(leat_session_logits(r.o.session));
                if (length) {
                    assert_ok(leat_session_append(r.o.session, r.ids[length], &error), &error);
                    assert_logits(r.o.session, r.reference, 61, "a token after a failed read");
                }
                failures++;
            }
            assert_ok(leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
            assert_logits(r.o.session, r.reference, 61, "after a failed read");
        }
    assert_in_range(failures, 4, 18);
    close_reading(&r);
}

/* Tried again in vain: where it happened, and which device to ask about. */
static void test_bad_spot_of_the_disk(void **state)
{
    uint64_t offset, bytes;
    leat_error error = {0};
    reading r;

    (void)state;
    open_reading(&r, &gemma_many, LEAT_IO_AUTO, 1);
    tiny_model_find(r.folder, "model.layers.1.experts.switch_glu.up_proj.weight", &offset, &bytes);
    hooks_set_read_fault(READ_FAULT_EIO, offset + 4096, offset + bytes - 4096, 0);
    assert_fails(IO, leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
    assert_true(hooks_read_count() > 3);
    hooks_reset();
    assert_text_has(error.text, "Input/output error");
    assert_text_has(error.hint, "device ");
    check_read_error(&error, offset, offset + bytes);
    close_reading(&r);
}

typedef struct stall {
    volatile int cancel;
    uint64_t read_count; /* so many are held when the flag is set */
} stall;

static void *cancel_when_held(void *context)
{
    stall *x = context;
    while (hooks_read_count() < x->read_count) usleep(200);
    __atomic_store_n(&x->cancel, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* The disk does not answer, and who asked does not want to wait: the call returns all the same. What is read to the
 * same places later waits until the disk is done with them. */
static void test_cancel_while_reads_are_held(void **state)
{
    stall x = {.read_count = 1};
    leat_error error = {0};
    uint64_t offset, bytes;
    pthread_t thread;
    reading r;

    (void)state;
    open_reading_with(&r, &gemma_many, LEAT_IO_AUTO, 1, &x.cancel);
    tiny_model_find(r.folder, "model.layers.1.experts.switch_glu.up_proj.weight", &offset, &bytes);
    for (int round = 0; round < 2; round++) {
        alarm(120);
        hooks_set_read_fault(READ_FAULT_HELD, offset, offset + bytes, 0);
        assert_int_equal(pthread_create(&thread, NULL, cancel_when_held, &x), 0);
        assert_fails(CANCELLED, leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
        pthread_join(thread, NULL);
        x.cancel = 0;
        hooks_reset();
        assert_ok(leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
        assert_logits(r.o.session, r.reference, 61, "after reads that were given up");
        assert_ok(leat_session_sync(r.o.session, r.ids, 1, NULL, &error), &error);
        alarm(0);
    }
    close_reading(&r);
}

static void test_failing_reads_of_experts(void **state)
{
    (void)state;
    for (uint32_t chunk = 1; chunk <= 9; chunk += 8)
        for (leat_io_mode io = LEAT_IO_AUTO; io <= LEAT_IO_BUFFERED; io += LEAT_IO_BUFFERED) {
            check_failing_reads(&gemma_many, "model.layers.1.experts.switch_glu.up_proj.weight", io, chunk);
            check_failing_reads(&qwen_many, "model.layers.2.mlp.switch_mlp.down_proj.weight", io, chunk);
        }
}

static void test_failing_reads_of_embedding_rows(void **state)
{
    (void)state;
    for (uint32_t chunk = 1; chunk <= 33; chunk += 32) {
        check_failing_reads(&qwen_moe_own_head, "model.embed_tokens.weight", LEAT_IO_BUFFERED, chunk);
        check_failing_reads(&gemma_inputs, "model.embed_tokens_per_layer.weight", LEAT_IO_AUTO, chunk);
    }
}

/* Short reads, interrupts, slowness and what passes when it is tried again are no failures. */
static void test_odd_reads_change_nothing(void **state)
{
    leat_error error = {0};

    (void)state;
    for (int fault = READ_FAULT_FLAKY; fault <= READ_FAULT_SLOW; fault++) {
        reading r;
        hooks_set_read_fault(READ_FAULT_NONE, 0, 0, 0);
        open_reading(&r, &gemma_moe, LEAT_IO_BUFFERED, 8);
        leat_session_close(&r.o.session);
        leat_engine_close(&r.o.engine);
        const leat_options options = {.thread_count = 2,
                                      .prefill_chunk = 8,
                                      .ctx = 64,
                                      .io = LEAT_IO_BUFFERED,
                                      .io_engine = LEAT_IO_ENGINE_THREADS};
        /* Not the beginning of files: what is kept of drives and other processes is small, and may fail in silence. */
        hooks_set_read_fault((read_fault)fault, fault == READ_FAULT_FLAKY ? 16384 : 0, UINT64_MAX, 0);
        assert_ok(leat_engine_open(r.o.model, &options, &r.o.engine, &error), &error);
        assert_ok(leat_session_open(r.o.engine, &r.o.session, &error), &error);
        assert_ok(leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
        assert_logits(r.o.session, r.reference, 61, "odd reads");
        assert_true(hooks_read_count() > 0);
        assert_int_equal(leat_engine_get_stats(r.o.engine).read_retries, fault == READ_FAULT_FLAKY ? 2 : 0);
        close_reading(&r);
    }
}

/* Every read of the trunk in turn; the engine is not opened and leaves nothing. */
static void test_failing_reads_while_loading(void **state)
{
    const leat_options options = {
        .thread_count = 2, .prefill_chunk = 8, .ctx = 64, .io_engine = LEAT_IO_ENGINE_THREADS};
    char folder[UNIT_PATH_BYTES];
    leat_model *model = NULL;
    leat_error error = {0};
    uint64_t failures = 0;

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &gemma_moe);
    assert_ok(leat_model_open(folder, &model, &error), &error);
    const held before = hooks_held();
    for (uint64_t pass = 0;; pass++) {
        leat_engine *engine = NULL;
        hooks_set_read_fault(READ_FAULT_GONE, 16384, UINT64_MAX, pass); /* behind the probe of direct reads */
        const leat_status status = leat_engine_open(model, &options, &engine, &error);
        const bool has_failed = hooks_read_count() > pass;
        hooks_reset();
        if (has_failed) {
            assert_fails(IO, status, &error);
            assert_text_has(error.text, "model.safetensors");
            assert_null(engine);
            failures++;
        } else {
            assert_ok(status, &error);
            leat_engine_close(&engine);
        }
        hooks_assert_held(before);
        if (!has_failed) break;
    }
    assert_in_range(failures, 10, 200);
    leat_model_close(&model);
    remove_folder(folder);
}

/* ---- where bytes go ---- */

/* Direct reads put experts and streamed layers where the arithmetic takes them; through the page cache all is copied.
 */
static void test_streamed_weights_are_not_copied(void **state)
{
    (void)state;
    for (leat_io_mode io = LEAT_IO_AUTO; io <= LEAT_IO_BUFFERED; io += LEAT_IO_BUFFERED) {
        leat_error error = {0};
        reading r;

        open_reading(&r, &gemma_many, io, 8);
        const leat_stats before = leat_engine_get_stats(r.o.engine);
        assert_ok(leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
        const leat_stats after = leat_engine_get_stats(r.o.engine);
        assert_true(after.expert_misses > 0 && after.payload_bytes > before.payload_bytes);
        if (io == LEAT_IO_BUFFERED)
            assert_true(after.copied_bytes >= after.payload_bytes);
        else if (after.io_is_direct)
            assert_int_equal(after.copied_bytes, before.copied_bytes);
        else
            print_message("skipped: no O_DIRECT here\n");
        close_reading(&r);
    }
}

/* ---- a file that changes while it is open ---- */

static void test_file_cut_after_opening(void **state)
{
    (void)state;
    for (leat_io_mode io = LEAT_IO_AUTO; io <= LEAT_IO_BUFFERED; io += LEAT_IO_BUFFERED) {
        uint64_t offset, bytes, whole;
        char path[UNIT_PATH_BYTES + 32];
        leat_error error = {0};
        reading r;

        open_reading(&r, &gemma_moe, io, 8);
        tiny_model_find(r.folder, "model.layers.2.experts.switch_glu.gate_proj.weight", &offset, &bytes);
        snprintf(path, sizeof path, "%s/model.safetensors", r.folder);
        FILE *file = fopen(path, "r+b");
        struct stat about;
        assert_int_equal(fstat(fileno(file), &about), 0);
        whole = (uint64_t)about.st_size;
        char *content = malloc(whole);
        assert_int_equal(fread(content, 1, whole, file), whole);

        assert_int_equal(ftruncate(fileno(file), (off_t)(offset + 3)), 0);
        assert_fails(IO, leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
        assert_text_has(error.text, "model.safetensors: changed on disk while it was in use");
        assert_null(leat_session_logits(r.o.session));
        assert_fails(IO, leat_session_append(r.o.session, 1, &error), &error);
        assert_int_equal(leat_session_length(r.o.session), 0);

        /* A second engine of the same model is refused: its file is not what the model's tables say. */
        leat_engine *other = NULL;
        const leat_options options = {.thread_count = 1, .ctx = 64, .io = io, .io_engine = LEAT_IO_ENGINE_THREADS};
        assert_int_not_equal(leat_engine_open(r.o.model, &options, &other, &error), LEAT_OK);
        assert_null(other);
        assert_text_has(error.text, "model.safetensors");

        rewind(file);
        assert_int_equal(fwrite(content, 1, whole, file), whole);
        fclose(file);
        free(content);
        assert_fails(IO, leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error); /* who knows */
        close_reading(&r);
    }
}

/* No read fails, but what is computed from now on would be of two models. */
static void test_file_written_to_after_opening(void **state)
{
    (void)state;
    for (int is_touched = 0; is_touched <= 1; is_touched++) {
        char path[UNIT_PATH_BYTES + 32];
        leat_status status = LEAT_OK;
        leat_error error = {0};
        reading r;

        open_reading(&r, &gemma_moe, LEAT_IO_AUTO, 8);
        snprintf(path, sizeof path, "%s/model.safetensors", r.folder);
        assert_ok(leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
        FILE *file = fopen(path, "r+b");
        const struct timespec other_times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
        if (is_touched)
            assert_int_equal(futimens(fileno(file), other_times), 0);
        else
            assert_int_equal(pwrite(fileno(file), "{", 1, 8), 1); /* what stood there */
        fclose(file);
        alarm(60); /* files are looked at now and then */
        while (status == LEAT_OK) {
            status = leat_session_sync(r.o.session, r.ids, 1, NULL, &error);
            if (status == LEAT_OK) status = leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error);
        }
        alarm(0);
        assert_fails(IO, status, &error);
        assert_text_has(error.text, "model.safetensors: changed on disk while it was in use");
        assert_fails(IO, leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error); /* it stays so */
        leat_engine *other = NULL;
        const leat_options options = {.thread_count = 1, .ctx = 64};
        assert_fails(MODEL, leat_engine_open(r.o.model, &options, &other, &error), &error);
        close_reading(&r);
    }
}

/* The descriptors stay: who removes or replaces the file does no harm to a model that is open. */
static void test_file_replaced_after_opening(void **state)
{
    char path[UNIT_PATH_BYTES + 32];
    leat_error error = {0};
    reading r;

    (void)state;
    open_reading(&r, &gemma_moe, LEAT_IO_AUTO, 8);
    snprintf(path, sizeof path, "%s/model.safetensors", r.folder);
    assert_int_equal(remove(path), 0);
    write_file_text(r.folder, "model.safetensors", "rubbish");
    usleep(1100000); /* the next step looks at its files */
    assert_ok(leat_session_sync(r.o.session, r.ids, COUNT, NULL, &error), &error);
    assert_logits(r.o.session, r.reference, 61, "a replaced file");
    close_reading(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_at_any_allocation),
        cmocka_unit_test(test_no_memory_with_texts),
        cmocka_unit_test(test_no_thread),
        cmocka_unit_test(test_bad_spot_of_the_disk),
        cmocka_unit_test(test_cancel_while_reads_are_held),
        cmocka_unit_test(test_failing_reads_of_experts),
        cmocka_unit_test(test_failing_reads_of_embedding_rows),
        cmocka_unit_test(test_odd_reads_change_nothing),
        cmocka_unit_test(test_failing_reads_while_loading),
        cmocka_unit_test(test_streamed_weights_are_not_copied),
        cmocka_unit_test(test_file_cut_after_opening),
        cmocka_unit_test(test_file_written_to_after_opening),
        cmocka_unit_test(test_file_replaced_after_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

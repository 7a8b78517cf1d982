/*
 * Models, plans, engines, texts and samplers through the public interface: what good ones say of themselves, and what
 * missing, damaged and senseless ones are told.
 */
#include "api_support.h"

#include <math.h>

/* ---- messages and instruction sets ---- */

static void test_constants(void **state)
{
    (void)state;
    assert_string_equal(leat_version(), "0.1.0");
    for (int i = 0; i < LEAT_STATUS_COUNT; i++) assert_true(strlen(leat_status_text((leat_status)i)) > 1);
    assert_int_equal(leat_status_exit_code(LEAT_OK), 0);
    assert_int_equal(leat_status_exit_code(LEAT_BUDGET), 4);
    assert_int_equal(leat_status_exit_code(LEAT_CANCELLED), 130);
    assert_non_null(leat_status_text((leat_status)9999)); /* a caller's mistake must not crash his error path */
    assert_int_not_equal(leat_status_exit_code((leat_status)9999), 0);
    assert_true(leat_isa_is_usable(LEAT_ISA_AUTO));
    assert_true(leat_isa_is_usable(LEAT_ISA_SCALAR));
    assert_string_equal(leat_isa_label(LEAT_ISA_AUTO), "auto");
    assert_string_equal(leat_isa_label(LEAT_ISA_SCALAR), "scalar");
    assert_string_equal(leat_isa_label(LEAT_ISA_AVX2), "avx2");
    assert_string_equal(leat_isa_label(LEAT_ISA_AVX512), "avx512");
}

static void test_null_handles_are_closed_silently(void **state)
{
    leat_model *model = NULL;
    leat_engine *engine = NULL;
    leat_session *session = NULL;
    leat_tokenizer *tokenizer = NULL;
    leat_stream *stream = NULL;
    leat_sampler *sampler = NULL;
    leat_text text = {0};
    leat_tokens tokens = {0};

    (void)state;
    leat_model_close(&model);
    leat_engine_close(&engine);
    leat_session_close(&session);
    leat_tokenizer_close(&tokenizer);
    leat_stream_close(&stream);
    leat_sampler_close(&sampler);
    leat_text_free(&text);
    leat_tokens_free(&tokens);
}

/* ---- models ---- */

static void refuse_model(const char *path, leat_status expected, const char *part)
{
    leat_model *const untouched = (leat_model *)(uintptr_t)16;
    leat_model *model = untouched;
    leat_error error = {0};
    const held before = hooks_held();

    const leat_status status = leat_model_open(path, &model, &error);
    if (status == LEAT_OK) fail_msg("a model at \"%s\" was opened", path ? path : "NULL");
    assert_int_equal(status, expected);
    assert_int_equal(error.status, expected);
    assert_text_has(error.text, part);
    assert_ptr_equal(model, untouched);
    assert_int_equal(leat_model_open(path, &model, NULL), expected);
    hooks_assert_held(before);
}

static void cut_file(const char *folder, const char *name, uint64_t bytes)
{
    char path[UNIT_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(truncate(path, (off_t)bytes), 0);
}

static void test_models_that_are_refused(void **state)
{
    char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 32];
    uint64_t offset, bytes;

    (void)state;
    make_folder(folder);
    refuse_model(NULL, LEAT_USAGE, "no model was named");
    refuse_model("", LEAT_USAGE, "no model was named");
    snprintf(path, sizeof path, "%s/absent", folder);
    refuse_model(path, LEAT_MODEL, "absent");
    refuse_model(folder, LEAT_MODEL, "config.json");
    write_file_text(folder, "config.json", "{\"model_type\":\"llama\"}");
    refuse_model(folder, LEAT_MODEL, "safetensors");
    tiny_model_write(folder, &llama_plain);
    write_file_text(folder, "config.json", "{\"model_type\":");
    refuse_model(folder, LEAT_MODEL, "config.json");
    write_file_text(folder, "config.json", "{\"model_type\":\"unheard_of\"}");
    refuse_model(folder, LEAT_MODEL, "unheard_of");
    tiny_model_write(folder, &(tiny_shape){.family = TINY_LLAMA, .width = 40});
    char *config = "{\"model_type\":\"llama\",\"hidden_size\":32,\"vocab_size\":61,\"num_hidden_layers\":3,"
                   "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,\"intermediate_size\":41}";
    write_file_text(folder, "config.json", config);
    refuse_model(folder, LEAT_MODEL, "layers.0.mlp.gate_proj");
    tiny_model_write(folder, &llama_plain);
    tiny_model_find(folder, "model.layers.2.mlp.down_proj.weight", &offset, &bytes);
    cut_file(folder, "model.safetensors", offset + bytes / 2);
    refuse_model(folder, LEAT_MODEL, "model.safetensors");
    cut_file(folder, "model.safetensors", 5);
    refuse_model(folder, LEAT_MODEL, "model.safetensors");
    remove_folder(folder);
}

static void test_info_of_a_tiny_model(void **state)
{
    char folder[UNIT_PATH_BYTES];
    leat_model *model = NULL;
    leat_error error = {0};
    uint64_t sums[3] = {0}, elements = 0;

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &qwen_moe_own_head);
    assert_ok(leat_model_open(folder, &model, &error), &error);
    const leat_model_info *info = leat_model_get_info(model);
    assert_string_equal(info->architecture, "qwen3_moe");
    assert_string_equal(info->model_type, "qwen3_moe");
    assert_int_equal(info->layer_count, 3);
    assert_int_equal(info->hidden_size, 32);
    assert_int_equal(info->vocab_size, 61);
    assert_int_equal(info->head_count, 4);
    assert_int_equal(info->kv_head_count, 2);
    assert_int_equal(info->head_dim, 8);
    assert_int_equal(info->context_max, 512);
    assert_int_equal(info->window, 0);
    assert_int_equal(info->expert_count, 6);
    assert_int_equal(info->expert_used_count, 2);
    assert_int_equal(info->moe_layer_count, 3);
    assert_int_equal(info->expert_record_bytes, 3 * 12 * 32 * 4);
    assert_int_equal(info->expert_bytes, 3 * 6 * info->expert_record_bytes);
    assert_int_equal(info->on_demand_bytes, 61 * 32 * 4);
    assert_int_equal(info->ignored_bytes, 0);
    assert_false(info->head_is_tied);
    assert_false(info->has_tokenizer);
    assert_string_equal(info->chat_format, "none");
    assert_int_equal(info->stop_id_count, 2);
    assert_int_equal(info->stop_ids[0], 1);
    assert_int_equal(info->stop_ids[1], 3);
    assert_int_equal(info->bos_id, UINT32_MAX);
    assert_int_equal(info->file_count, 1);
    assert_int_equal(leat_model_warning_count(model), 0);

    for (uint32_t i = 0; i < leat_model_weight_count(model); i++) {
        const leat_weight_info w = leat_model_weight(model, i);
        const int place = !strcmp(w.place, "resident") ? 0 : !strcmp(w.place, "streamed") ? 1 : 2;
        if (place == 2) assert_string_equal(w.place, "on demand");
        assert_string_equal(w.type, "f32");
        assert_false(w.differs_from_config);
        assert_int_equal(w.bytes, w.rows * w.cols * w.stack_count * 4);
        sums[place] += w.bytes;
        elements += w.rows * w.cols * w.stack_count;
    }
    assert_int_equal(sums[1], info->expert_bytes);
    assert_int_equal(sums[2], info->on_demand_bytes);
    assert_true(sums[0] <= info->trunk_bytes);
    assert_int_equal(info->weight_bytes, info->trunk_bytes + info->expert_bytes + info->on_demand_bytes);
    assert_int_equal(info->parameter_count * 4, info->weight_bytes);
    assert_true(elements <= info->parameter_count);
    assert_int_equal(info->active_parameter_count, info->trunk_bytes / 4 + 3 * 2 * 3 * 12 * 32 + 32);
    leat_model_close(&model);
    remove_folder(folder);
}

static void test_info_of_brook(void **state)
{
    leat_model *model = NULL;
    leat_error error = {0};

    (void)state;
    assert_ok(leat_model_open(BROOK, &model, &error), &error);
    const leat_model_info *info = leat_model_get_info(model);
    assert_string_equal(info->architecture, "gemma4");
    assert_string_equal(info->chat_format, "gemma4");
    assert_int_equal(info->layer_count, 9);
    assert_int_equal(info->window, 128);
    assert_int_equal(info->expert_count, 40);
    assert_int_equal(info->expert_used_count, 4);
    assert_true(info->has_tokenizer && info->head_is_tied);
    assert_int_equal(info->bos_id, 2);
    assert_int_equal(info->stop_id_count, 3);
    assert_in_range(info->parameter_count, 40000000, 41000000);
    const leat_sampler_options sampling = leat_model_sampler_options(model);
    assert_true(sampling.temperature == 1.0f && sampling.top_k == 64 && sampling.top_p == 0.95f);
    leat_model_close(&model);
}

/* ---- checking a model ---- */

typedef struct watcher {
    uint64_t calls, done, total, cancel_after;
    volatile int cancel;
    const char *phase;
} watcher;

static void watch(void *user, const char *phase, uint64_t done, uint64_t total)
{
    watcher *w = user;

    if (w->phase && strcmp(phase, w->phase) != 0) return;
    if (w->calls++) assert_int_equal(total, w->total);
    assert_true(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    if (w->calls == w->cancel_after) w->cancel = 1;
}

static void test_check(void **state)
{
    char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 32];
    leat_model *model = NULL;
    leat_error error = {0};
    watcher w = {0};
    uint64_t checked = 0, offset, bytes;
    struct stat about;

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &gemma_moe);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(stat(path, &about), 0);
    assert_ok(leat_model_open(folder, &model, &error), &error);
    assert_ok(leat_model_check(model, watch, &w, &w.cancel, &checked, &error), &error);
    assert_int_equal(checked, about.st_size);
    assert_int_equal(w.done, w.total);
    assert_ok(leat_model_check(model, NULL, NULL, NULL, NULL, NULL), &error);
    w = (watcher){.cancel = 1};
    assert_fails(CANCELLED, leat_model_check(model, watch, &w, &w.cancel, &checked, &error), &error);

    tiny_model_find(folder, "model.layers.1.mlp.up_proj.weight", &offset, &bytes);
    FILE *file = fopen(path, "r+b");
    const float bad = NAN;
    assert_int_equal(fseek(file, (long)(offset + bytes - 4), SEEK_SET), 0);
    assert_int_equal(fwrite(&bad, sizeof bad, 1, file), 1);
    fclose(file);
    checked = 5;
    assert_fails(MODEL, leat_model_check(model, NULL, NULL, NULL, &checked, &error), &error);
    assert_text_has(error.text, "model.layers.1.mlp.up_proj.weight");
    assert_int_equal(checked, 5);
    leat_model_close(&model);
    remove_folder(folder);
}

/* ---- plans ---- */

static uint64_t sum_of(const leat_plan *p)
{
    return p->trunk_bytes + p->kv_bytes + p->scratch_bytes + p->io_bytes + p->tokenizer_bytes + p->process_bytes +
           p->expert_cache_bytes + p->unspent_bytes;
}

static void check_floor(const char *folder, leat_options options)
{
    leat_model *model = NULL;
    leat_engine *engine = NULL;
    leat_session *session = NULL;
    leat_error error = {0};
    leat_plan plan = {0};
    uint32_t fits = 0;
    char number[64];

    options.ram_bytes = 1;
    assert_ok(leat_model_open(folder, &model, &error), &error);
    assert_fails(BUDGET, leat_plan_make(model, &options, &plan, &error), &error);
    const uint64_t floor = plan.floor_bytes;
    assert_in_range(floor, 1 << 20, 1 << 30);
    snprintf(number, sizeof number, "%llu bytes", (unsigned long long)floor);
    assert_text_has(error.text, number);
    assert_text_has(error.hint, "give at least --ram ");

    options.ram_bytes = floor - 1;
    assert_fails(BUDGET, leat_plan_make(model, &options, &plan, &error), &error);
    assert_text_has(error.text, number);
    assert_text_has(error.text, "trunk ");
    assert_fails(BUDGET, leat_engine_open(model, &options, &engine, &error), &error);
    assert_text_has(error.text, number);
    assert_null(engine);
    if (options.ctx && sscanf(error.hint, "the largest context that fits this budget is --ctx %u", &fits) == 1) {
        leat_options less = options;
        less.ctx = fits;
        assert_in_range(fits, 1, options.ctx - 1);
        assert_ok(leat_plan_make(model, &less, &plan, &error), &error);
        less.ctx = fits + 1;
        assert_fails(BUDGET, leat_plan_make(model, &less, &plan, &error), &error);
    }

    options.ram_bytes = floor;
    assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
    assert_int_equal(plan.floor_bytes, floor);
    assert_int_equal(plan.budget_bytes, floor);
    assert_int_equal(sum_of(&plan), floor);
    assert_ok(leat_engine_open(model, &options, &engine, &error), &error);
    assert_ok(leat_session_open(engine, &session, &error), &error);
    assert_ok(leat_session_append(session, 1, &error), &error);
    leat_session_close(&session);
    leat_engine_close(&engine);
    leat_model_close(&model);
}

static void test_the_floor_opens_and_less_does_not(void **state)
{
    const tiny_shape *shapes[] = {&gemma_many, &gemma_inputs, &llama_plain, &qwen_moe_own_head};
    char folder[UNIT_PATH_BYTES];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        make_folder(folder);
        tiny_model_write(folder, shapes[i]);
        for (uint32_t way = 0; way < 6; way++) {
            leat_options options = {.ctx = way % 2 ? 512 : 0,
                                    .thread_count = 1 + way,
                                    .prefill_chunk = way % 3 ? way * 40 : 0,
                                    .io = way > 3 ? LEAT_IO_BUFFERED : LEAT_IO_AUTO};
            check_floor(folder, options);
        }
        remove_folder(folder);
    }
    check_floor(BROOK, (leat_options){.thread_count = 2});
    check_floor(BROOK, (leat_options){.thread_count = 4, .ctx = 8192, .prefill_chunk = 512});
}

/* What the ledger counted at its highest is what the plan said, pool by pool. */
static void check_pools(const char *folder, leat_options options)
{
    opened o = open_all(folder, &options);
    const leat_plan *p = leat_engine_plan(o.engine);
    const leat_stats stats = leat_engine_get_stats(o.engine);
    leat_error error = {0};
    uint64_t outside = 0;

    assert_int_equal(sum_of(p), p->budget_bytes);
    for (uint32_t i = 0; i < stats.pool_count; i++) {
        const leat_pool *pool = &stats.pools[i];
        if (!strcmp(pool->name, "trunk"))
            assert_int_equal(pool->peak_bytes, p->trunk_bytes);
        else if (!strcmp(pool->name, "experts"))
            assert_int_equal(pool->peak_bytes, p->expert_cache_bytes);
        else if (!strcmp(pool->name, "scratch"))
            assert_int_equal(pool->peak_bytes, p->scratch_bytes);
        else if (!strcmp(pool->name, "io"))
            assert_int_equal(pool->current_bytes, p->io_bytes);
        else if (!strcmp(pool->name, "kv")) /* and the public handle, which stands under `process` */
            assert_in_range(pool->current_bytes, p->kv_bytes, p->kv_bytes + 256);
        else if (!strcmp(pool->name, "tokenizer"))
            assert_in_range(pool->current_bytes, 0, p->tokenizer_bytes);
        else
            assert_string_equal(pool->name, "meta");
        outside += strcmp(pool->name, "meta") ? pool->current_bytes : 0;
    }
    assert_true(outside <= p->budget_bytes - p->process_bytes - p->unspent_bytes + 256);
    assert_true(p->expert_slot_count <= p->expert_slot_max);
    assert_ok(leat_session_append(o.session, 1, &error), &error);
    close_all(&o);
}

static void test_pools_are_as_planned(void **state)
{
    const tiny_shape *shapes[] = {&gemma_many, &gemma_inputs, &llama_plain, &qwen_moe_own_head};
    char folder[UNIT_PATH_BYTES];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        make_folder(folder);
        tiny_model_write(folder, shapes[i]);
        for (uint32_t way = 0; way < 4; way++) {
            leat_options options = {.ctx = 100 + 37 * way,
                                    .thread_count = 1 + way,
                                    .prefill_chunk = 1 + 21 * way,
                                    .io = way % 2 ? LEAT_IO_BUFFERED : LEAT_IO_AUTO,
                                    .io_engine = (leat_io_engine)(way % 3)};
            if (way < 2) options.ram_bytes = floor_of(folder, &options);
            check_pools(folder, options);
        }
        remove_folder(folder);
    }
    leat_options options = {.thread_count = 2, .ctx = 300};
    check_pools(BROOK, options);
    options.ram_bytes = floor_of(BROOK, &options);
    check_pools(BROOK, options);
    options.ram_bytes += 3000000;
    check_pools(BROOK, options);
}

/* Slots of the sizes of their layers: the ledger counts what the plan says at every budget, all of the budget is used,
 * and more experts fit than slots for the largest would hold. */
static void test_experts_of_two_sizes(void **state)
{
    char folder[UNIT_PATH_BYTES];
    leat_model *model = NULL;
    leat_error error = {0};
    leat_plan plan = {0};
    leat_options options = {.thread_count = 2, .ctx = 128, .prefill_chunk = 16};

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &gemma_mixed);
    check_floor(folder, options);
    const uint64_t floor = floor_of(folder, &options);
    assert_ok(leat_model_open(folder, &model, &error), &error);
    options.ram_bytes = floor;
    assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
    const uint64_t everything = plan.everything_bytes;
    for (uint32_t i = 0; i <= 12; i++) {
        options.ram_bytes = floor + (everything - floor) * i / 12;
        assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
        if (i < 12) assert_true(plan.unspent_bytes < plan.expert_slot_bytes + 8192); /* else one more would fit */
        assert_int_equal(plan.expert_class_count, plan.expert_slot_count < 5 * 12 ? 1 : 2);
        if (plan.expert_class_count == 2)
            assert_true(plan.expert_cache_bytes < plan.expert_slot_count * plan.expert_slot_bytes * 4 / 5);
        check_pools(folder, options);
    }
    assert_int_equal(plan.expert_slot_count, 5 * 40);
    leat_model_close(&model);
    remove_folder(folder);
}

static void test_budgets_beyond_the_floor(void **state)
{
    leat_model *model = NULL;
    leat_error error = {0};
    leat_plan floor = {0}, plan = {0}, before;
    leat_options options = {.thread_count = 2, .ctx = 512, .prefill_chunk = 32, .ram_bytes = 1};

    (void)state;
    assert_ok(leat_model_open(BROOK, &model, &error), &error);
    assert_fails(BUDGET, leat_plan_make(model, &options, &floor, &error), &error);
    before = floor;
    for (uint64_t budget = floor.floor_bytes; budget < floor.everything_bytes;
         budget += (floor.everything_bytes - floor.floor_bytes) / 7) {
        options.ram_bytes = budget;
        assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
        assert_int_equal(sum_of(&plan), budget);
        assert_int_equal(plan.everything_bytes, floor.everything_bytes);
        assert_in_range(plan.expert_slot_count, before.expert_slot_count, 9 * 40 - 1);
        assert_true(plan.unspent_bytes < plan.expert_slot_bytes + 8192); /* else one more would fit */
        before = plan;
    }
    options.ram_bytes = floor.everything_bytes;
    assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
    assert_int_equal(plan.expert_slot_count, 9 * 40);
    options.ram_bytes = floor.everything_bytes - 1;
    assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
    assert_int_equal(plan.expert_slot_count, 9 * 40 - 1);
    options.ram_bytes = 0; /* auto: everything, where the machine has that much */
    assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
    assert_int_equal(plan.budget_bytes, floor.everything_bytes);
    assert_int_equal(plan.expert_slot_count, 9 * 40);
    options.prefill_chunk = UINT32_MAX; /* no more than the context */
    assert_ok(leat_plan_make(model, &options, &plan, &error), &error);
    assert_int_equal(plan.prefill_chunk, 512);
    assert_int_equal(plan.expert_slot_count, 9 * 40);
    assert_true(plan.unspent_bytes < 8192);
    leat_model_close(&model);
}

static void refuse_options(const leat_model *model, const leat_options *options, leat_status expected, const char *part)
{
    leat_engine *engine = NULL;
    leat_error error = {0};
    leat_plan plan = {.ctx = 4711};

    const leat_status status = leat_plan_make(model, options, &plan, &error);
    if (status != expected)
        fail_msg("options were answered with \"%s\", expected \"%s\"", leat_status_text(status), part);
    assert_text_has(error.text, part);
    assert_int_equal(plan.ctx, 4711);
    assert_int_equal(leat_engine_open(model, options, &engine, &error), expected);
    assert_null(engine);
}

static void test_options_that_are_refused(void **state)
{
    leat_model *model = NULL;
    leat_error error = {0};
    leat_plan plan;

    (void)state;
    assert_ok(leat_model_open(BROOK, &model, &error), &error);
    refuse_options(model, &(leat_options){.ram_fraction = -0.1}, LEAT_USAGE, "fraction of memory");
    refuse_options(model, &(leat_options){.ram_fraction = 1.5}, LEAT_USAGE, "fraction of memory");
    refuse_options(model, &(leat_options){.ram_fraction = NAN}, LEAT_USAGE, "fraction of memory");
    refuse_options(model, &(leat_options){.ram_fraction = INFINITY}, LEAT_USAGE, "fraction of memory");
    refuse_options(model, &(leat_options){.ctx = 8193}, LEAT_USAGE, "the model's maximum is 8192");
    refuse_options(model, &(leat_options){.ctx = UINT32_MAX}, LEAT_USAGE, "the model's maximum is 8192");
    refuse_options(model, &(leat_options){.thread_count = 257}, LEAT_USAGE, "257 threads were asked for");
    refuse_options(model, &(leat_options){.ram_bytes = UINT64_MAX}, LEAT_BUDGET, "above the");
    refuse_options(model, &(leat_options){.isa = (leat_isa)77}, LEAT_USAGE, "instruction set");
    refuse_options(model, &(leat_options){.io = (leat_io_mode)77}, LEAT_USAGE, "I/O mode");
    refuse_options(model, &(leat_options){.io_engine = (leat_io_engine)77}, LEAT_USAGE, "I/O engine");
    if (!leat_isa_is_usable(LEAT_ISA_AVX512))
        refuse_options(model, &(leat_options){.isa = LEAT_ISA_AVX512}, LEAT_USAGE, "avx512");

    /* A fraction so small that it comes to nothing is a budget of nothing, not an automatic one. */
    assert_fails(BUDGET, leat_plan_make(model, &(leat_options){.ram_fraction = 1e-15}, &plan, &error), &error);
    assert_ok(leat_plan_make(model, &(leat_options){.ram_bytes = UINT64_C(1) << 50, .force = true}, &plan, &error),
              &error);
    assert_int_equal(plan.budget_bytes, UINT64_C(1) << 50);
    assert_int_equal(sum_of(&plan), UINT64_C(1) << 50);
    leat_model_close(&model);
}

/* ---- engines ---- */

/* Opens, and computes the first token: then all of the load has been seen. */
static leat_status load(leat_model *model, const leat_options *options, const watcher *w, leat_error *error)
{
    leat_engine *engine = NULL;
    leat_session *session = NULL;
    leat_status status = leat_engine_open(model, options, &engine, error);

    if (status != LEAT_OK) {
        assert_null(engine);
        return status;
    }
    assert_non_null(leat_engine_tokenizer(engine));
    assert_ok(leat_session_open(engine, &session, error), error);
    status = leat_session_sync(session, &(uint32_t){7}, 1, NULL, error);
    const leat_stats stats = leat_engine_get_stats(engine);
    assert_true(stats.load_ns > 0 && stats.rss_peak_bytes > 0);
    if (status == LEAT_OK) assert_true(stats.read_bytes >= stats.payload_bytes && stats.payload_bytes >= w->total);
    leat_session_close(&session);
    leat_engine_close(&engine);
    return status;
}

static void test_loading(void **state)
{
    leat_model *model = NULL;
    leat_error error = {0};
    watcher w = {.phase = "load"};
    leat_options options = leat_options_default();

    (void)state;
    options.thread_count = 2;
    options.cancel = &w.cancel;
    options.progress = watch;
    options.progress_user = &w;
    assert_ok(leat_model_open(BROOK, &model, &error), &error);
    const held before = hooks_held();
    assert_ok(load(model, &options, &w, &error), &error);
    assert_int_equal(w.done, w.total);
    assert_int_equal(w.total, leat_model_get_info(model)->trunk_bytes + leat_model_get_info(model)->on_demand_bytes);
    hooks_assert_held(before);

    const uint64_t calls = w.calls;
    for (uint64_t after = 0; after < calls; after += 1 + calls / 9) {
        w = (watcher){.phase = "load", .cancel_after = after, .cancel = after == 0};
        const leat_status status = load(model, &options, &w, &error);
        assert_int_equal(status, LEAT_CANCELLED);
        hooks_assert_held(before);
    }
    leat_model_close(&model);
}

static void test_instruction_sets_and_io_give_the_same_bits(void **state)
{
    enum { COUNT = 30 };
    static const leat_isa levels[] = {LEAT_ISA_SCALAR, LEAT_ISA_AVX2, LEAT_ISA_AVX512, LEAT_ISA_AUTO};
    uint32_t ids[COUNT];
    leat_error error = {0};

    (void)state;
    fill_ids(ids, COUNT, 4096, 8);
    float *reference = reference_logits(BROOK, ids, COUNT);
    for (size_t i = 0; i < 4; i++) {
        if (!leat_isa_is_usable(levels[i])) continue;
        opened o = open_all(
            BROOK, &(leat_options){
                       .isa = levels[i], .thread_count = 2, .ctx = 64, .io = i % 2 ? LEAT_IO_BUFFERED : LEAT_IO_AUTO});
        const leat_stats stats = leat_engine_get_stats(o.engine);
        assert_true(levels[i] == LEAT_ISA_AUTO ? stats.isa != LEAT_ISA_AUTO : stats.isa == levels[i]);
        if (i % 2) assert_false(stats.io_is_direct);
        assert_ok(leat_session_sync(o.session, ids, COUNT, NULL, &error), &error);
        assert_logits(o.session, reference, 4096, "another instruction set");
        close_all(&o);
    }
    free(reference);
}

/* A tokenizer that takes more than its file promises (few tokens, with ids far apart) is paid for by the other terms:
 * an automatic budget still opens. */
static void test_tokenizer_larger_than_estimated(void **state)
{
    char folder[UNIT_PATH_BYTES];

    (void)state;
    make_folder(folder);
    tiny_model_write(folder, &(tiny_shape){.family = TINY_LLAMA, .hidden = 8, .vocab = 400000, .layer_count = 1});
    write_file_text(folder, "tokenizer.json",
                    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":399999},\"merges\":[]}}");
    opened o = open_all(folder, &(leat_options){.thread_count = 2, .ctx = 64});
    const leat_plan *p = leat_engine_plan(o.engine);
    uint64_t current, peak;
    leat_tokenizer_memory(leat_engine_tokenizer(o.engine), &current, &peak);
    assert_int_equal(sum_of(p), p->budget_bytes);
    assert_in_range(current, 1 << 20, p->tokenizer_bytes);
    close_all(&o);
    remove_folder(folder);
}

/* ---- texts ---- */

static void check_token_bytes(const leat_tokenizer *t, uint32_t id, const char *expected, size_t bytes)
{
    leat_text got = {0};
    leat_error error = {0};

    assert_ok(leat_token_bytes(t, id, &got, &error), &error);
    assert_int_equal(got.count, bytes);
    assert_memory_equal(got.bytes, expected, bytes);
    leat_text_free(&got);
}

static void test_texts(void **state)
{
    static const char prompt[] = "Tell me a story about a fox.\n\xe2\x82\xac 12";
    leat_tokenizer *t = NULL;
    leat_error error = {0};
    leat_tokens ids = {0}, plain = {0};
    leat_text text = {0};
    uint64_t current, peak;

    (void)state;
    assert_ok(leat_tokenizer_open(BROOK, &t, &error), &error);
    leat_tokenizer_memory(t, &current, &peak);
    assert_true(current > 0 && current <= peak);
    assert_string_equal(leat_token_text(t, 2), "<bos>");
    assert_null(leat_token_text(t, 4096));
    assert_null(leat_token_text(t, UINT32_MAX));
    check_token_bytes(t, 2, "<bos>", 5);
    check_token_bytes(t, 4096, "", 0);

    assert_ok(leat_tokenize(t, prompt, strlen(prompt), false, false, &plain, &error), &error);
    assert_ok(leat_tokenize_prompt(t, prompt, strlen(prompt), &ids, &error), &error);
    assert_int_equal(ids.count, plain.count + 1);
    assert_int_equal(ids.ids[0], 2);
    assert_memory_equal(ids.ids + 1, plain.ids, plain.count * sizeof *ids.ids);
    assert_ok(leat_detokenize(t, plain.ids, plain.count, false, &text, &error), &error);
    assert_string_equal(text.bytes, prompt);
    assert_int_equal(text.count, strlen(prompt));
    size_t at = 0; /* one behind the other, the tokens' bytes are the text */
    for (size_t i = 0; i < plain.count; i++) {
        leat_text piece = {0};
        assert_ok(leat_token_bytes(t, plain.ids[i], &piece, &error), &error);
        assert_true(at + piece.count <= strlen(prompt));
        assert_memory_equal(piece.bytes, prompt + at, piece.count);
        at += piece.count;
        leat_text_free(&piece);
    }
    assert_int_equal(at, strlen(prompt));
    leat_text_free(&text);
    leat_text_free(&text);
    assert_null(text.bytes);
    leat_tokens_free(&ids);
    leat_tokens_free(&plain);
    leat_tokens_free(&plain);

    /* BOS once, also when the text has it. */
    assert_ok(leat_tokenize_prompt(t, "<bos>Hi", 7, &ids, &error), &error);
    assert_int_equal(ids.ids[0], 2);
    assert_int_not_equal(ids.ids[1], 2);
    leat_tokens_free(&ids);
    assert_ok(leat_tokenize(t, "", 0, true, false, &ids, &error), &error);
    assert_int_equal(ids.count, 0);
    leat_tokens_free(&ids);
    assert_ok(leat_detokenize(t, NULL, 0, false, &text, &error), &error);
    assert_string_equal(text.bytes, "");
    leat_text_free(&text);
    const uint32_t bad = 4096;
    assert_ok(leat_detokenize(t, &bad, 1, false, &text, &error), &error); /* unknown ids are nothing */
    assert_string_equal(text.bytes, "");
    leat_text_free(&text);
    leat_tokenizer_close(&t);

    assert_fails(MODEL, leat_tokenizer_open(LEAT_SOURCE_ROOT "/docs", &t, &error), &error);
    assert_fails(USAGE, leat_tokenizer_open("", &t, &error), &error);
    assert_fails(USAGE, leat_tokenizer_open(NULL, &t, &error), &error);
    assert_null(t);
}

static void expect_prompt(const leat_tokenizer *t, const char *text, const uint32_t *expected, size_t count)
{
    leat_error error = {0};
    leat_tokens ids = {0};

    assert_ok(leat_tokenize_prompt(t, text, strlen(text), &ids, &error), &error);
    assert_int_equal(ids.count, count);
    if (count) assert_memory_equal(ids.ids, expected, count * sizeof *expected);
    leat_tokens_free(&ids);
}

/* A raw prompt begins with BOS where the post-processor says so or the family does, and then with exactly one. */
static void test_raw_prompts_begin_with_one_bos(void **state)
{
#define BOS_POST                                                                                                       \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":"    \
    "{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],"              \
    "\"tokens\":[\"<s>\"]}}}"
#define LLAMA3_TOKENS                                                                                                  \
    "{\"id\":2,\"content\":\"<|begin_of_text|>\"},{\"id\":3,\"content\":\"<|start_header_id|>\"},"                     \
    "{\"id\":4,\"content\":\"<|end_header_id|>\"},{\"id\":5,\"content\":\"<|eot_id|>\"}"
    static const struct {
        const char *config, *added, *post;
        uint32_t bos; /* UINT32_MAX: none */
        const char *bos_text;
    } cases[] = {
        {"{\"bos_token_id\":1}", "{\"id\":1,\"content\":\"<s>\"}", BOS_POST, 1, "<s>"},     /* as Llama 2 */
        {NULL, "{\"id\":1,\"content\":\"<s>\"}", BOS_POST, 1, "<s>"},                       /* known by its name */
        {"{\"bos_token_id\":1}", "{\"id\":1,\"content\":\"<s>\"}", "null", UINT32_MAX, ""}, /* as GPT-2 */
        {NULL, "{\"id\":1,\"content\":\"<s>\"}", "null", UINT32_MAX, ""},
        {"{\"bos_token_id\":2}", LLAMA3_TOKENS, "null", 2, "<|begin_of_text|>"}, /* the family's */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char folder[UNIT_PATH_BYTES], text[2048];
        leat_tokenizer *t = NULL;
        leat_error error = {0};

        make_folder(folder);
        snprintf(text, sizeof text,
                 "{\"added_tokens\":[%s],\"post_processor\":%s,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
                 "\"merges\":[]}}",
                 cases[i].added, cases[i].post);
        write_file_text(folder, "tokenizer.json", text);
        if (cases[i].config) write_file_text(folder, "config.json", cases[i].config);
        assert_ok(leat_tokenizer_open(folder, &t, &error), &error);
        const uint32_t with_bos[] = {cases[i].bos, 0}, none[] = {0};
        const bool has_bos = cases[i].bos != UINT32_MAX;
        expect_prompt(t, "a", has_bos ? with_bos : none, has_bos ? 2 : 1);
        snprintf(text, sizeof text, "%sa", cases[i].bos_text);
        expect_prompt(t, text, has_bos ? with_bos : none, has_bos ? 2 : 1);
        expect_prompt(t, "", with_bos, has_bos ? 1 : 0);
        leat_tokenizer_close(&t);
        remove_folder(folder);
    }
}

static void test_chat_and_stream(void **state)
{
    static const char request[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"What is <turn|> 2+2?\"}], \"kwargs\": {}}";
    static const char odd[] = "{\"messages\": []}";
    leat_chat *chat = NULL;
    leat_tokenizer *t = NULL;
    leat_stream *stream = NULL;
    leat_error error = {0};
    leat_tokens ids = {0};
    leat_text text = {0};
    char streamed[512] = "";
    const char *part;
    size_t part_bytes, ends = 0;

    (void)state;
    assert_ok(leat_tokenizer_open(BROOK, &t, &error), &error);
    assert_ok(leat_chat_open(t, NULL, 0, &chat, &error), &error);
    assert_string_equal(leat_chat_get_info(chat).source, "chat_template.jinja");
    assert_ok(leat_chat_render(chat, request, strlen(request), &ids, &text, &error), &error);
    assert_text_has(text.bytes, "<|turn>user\nWhat is <turn|> 2+2?<turn|>\n<|turn>model\n");
    for (size_t i = 0; i < ids.count; i++) ends += ids.ids[i] == 13;
    assert_int_equal(ends, 1); /* the message's own text forges no end of a turn */

    assert_ok(leat_stream_open(t, false, &stream, &error), &error);
    for (size_t i = 0; i < ids.count; i++) {
        assert_ok(leat_stream_push(stream, ids.ids[i], &part, &part_bytes, &error), &error);
        assert_int_equal(strlen(part), part_bytes);
        strncat(streamed, part, sizeof streamed - strlen(streamed) - 1);
    }
    assert_ok(leat_stream_flush(stream, &part, &part_bytes, &error), &error);
    strncat(streamed, part, sizeof streamed - strlen(streamed) - 1);
    assert_string_equal(streamed, text.bytes);
    assert_ok(leat_stream_push(stream, 4096, &part, &part_bytes, &error), &error); /* an unknown id is nothing */
    assert_int_equal(part_bytes, 0);
    leat_stream_close(&stream);
    leat_text_free(&text);
    leat_tokens_free(&ids);

    assert_ok(leat_chat_render(chat, request, strlen(request), &ids, NULL, &error), &error);
    leat_tokens_free(&ids);
    assert_fails(USAGE, leat_chat_render(chat, odd, strlen(odd), &ids, &text, &error), &error);
    assert_null(ids.ids);
    assert_null(text.bytes);
    leat_chat_close(&chat);
    leat_chat_close(&chat);
    leat_tokenizer_close(&t);
}

/* What a template raises comes out as it is, whatever an error record has room for. */
static void test_raised_message_is_exact(void **state)
{
    static const char head[] = "{{ raise_exception('\xc3\x9cn\xc3\xaf \"q\"\n\t\\u0001' ~ 'x' * 2000) }}";
    static const char begin[] = "\xc3\x9cn\xc3\xaf \"q\"\n\t\x01";
    leat_error error = {0};
    leat_text text = {0};
    const char *fault;

    (void)state;
    assert_fails(USAGE, leat_template_render(head, strlen(head), "{\"context\": {}}", 15, &text, &fault, &error),
                 &error);
    assert_string_equal(fault, "raised");
    assert_int_equal(text.count, strlen(begin) + 2000);
    assert_memory_equal(text.bytes, begin, strlen(begin));
    for (size_t i = strlen(begin); i < text.count; i++) assert_int_equal(text.bytes[i], 'x');
    leat_text_free(&text);

    static const char silent[] = "{{ raise_exception('') }}", wrong[] = "{{ nothing.of_it }}";
    assert_fails(USAGE, leat_template_render(silent, strlen(silent), "{\"context\": {}}", 15, &text, &fault, &error),
                 &error);
    assert_non_null(text.bytes);
    assert_int_equal(text.count, 0);
    leat_text_free(&text);
    assert_fails(USAGE, leat_template_render(wrong, strlen(wrong), "{\"context\": {}}", 15, &text, &fault, &error),
                 &error);
    assert_string_equal(fault, "undefined");
    assert_null(text.bytes);
}

/* ---- samplers ---- */

static void test_samplers(void **state)
{
    leat_sampler_options greedy = leat_sampler_options_default();
    leat_sampler *sampler = NULL;
    leat_error error = {0};
    float logits[8] = {0, 3, -1, 3, 2, 0, 0, 1};
    uint32_t id = 99;

    (void)state;
    assert_true(greedy.temperature == 0.8f && greedy.top_k == 40 && greedy.top_p == 0.95f && greedy.min_p == 0.05f);
    greedy.temperature = 0;
    assert_ok(leat_sampler_open(&greedy, 8, &sampler, &error), &error);
    assert_ok(leat_sampler_pick(sampler, logits, NULL, 0, &id, &error), &error);
    assert_int_equal(id, 1);
    id = 99;
    for (int i = 0; i < 8; i++) logits[i] = NAN;
    assert_fails(INTERNAL, leat_sampler_pick(sampler, logits, NULL, 0, &id, &error), &error);
    assert_int_equal(id, 99);
    leat_sampler_close(&sampler);
    leat_sampler_close(&sampler);
    greedy.temperature = NAN;
    assert_fails(USAGE, leat_sampler_open(&greedy, 8, &sampler, &error), &error);
    assert_null(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_null_handles_are_closed_silently),
        cmocka_unit_test(test_models_that_are_refused),
        cmocka_unit_test(test_info_of_a_tiny_model),
        cmocka_unit_test(test_info_of_brook),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_the_floor_opens_and_less_does_not),
        cmocka_unit_test(test_pools_are_as_planned),
        cmocka_unit_test(test_experts_of_two_sizes),
        cmocka_unit_test(test_budgets_beyond_the_floor),
        cmocka_unit_test(test_options_that_are_refused),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_instruction_sets_and_io_give_the_same_bits),
        cmocka_unit_test(test_tokenizer_larger_than_estimated),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_raw_prompts_begin_with_one_bos),
        cmocka_unit_test(test_chat_and_stream),
        cmocka_unit_test(test_raised_message_is_exact),
        cmocka_unit_test(test_samplers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

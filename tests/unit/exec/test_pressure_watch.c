/*
 * test_pressure_watch.c - the expert cache of a whole engine shrinks and grows in the middle of prompts and answers, by
 * force and because a made-up machine has no memory: the logits are the same bits, and the ledger says what is taken.
 */
#include "base/prng.h"
#include "exec/session.h"
#include "model/model_build.h"
#include "support/tiny_model.h"
#include "support/unit.h"

enum { VOCAB = 61, LAYERS = 3, TOKENS = 40, PROMPT = 24, CHUNK = 9, EXPERTS_OF_LAYER = 24, USED = 3 };

static const tiny_shape shapes[] = {
    {.family = TINY_QWEN3_MOE, .expert_count = EXPERTS_OF_LAYER, .used_count = USED, .expert_width = 64, .seed = 3},
    {.family = TINY_GEMMA4, .expert_count = EXPERTS_OF_LAYER, .used_count = USED, .expert_width = 64, .seed = 4},
    {.family = TINY_QWEN3_MOE, /* experts of two sizes: two blocks of slots */
     .expert_count = EXPERTS_OF_LAYER,
     .used_count = USED,
     .expert_width = 64,
     .bf16_layers = 1u << 1,
     .seed = 5}};

typedef struct opened {
    char folder[UNIT_PATH_BYTES], root[UNIT_PATH_BYTES]; /* of the model; of a made-up machine */
    checkpoint *source;
    mem *model_ledger, *ledger;
    arena memory;
    model_desc model;
    engine *engine;
    session *session;
    uint32_t told_slots, told_count;
    prng dice;
} opened;

static void take_resize(void *user, uint32_t slot_count)
{
    opened *o = user;
    o->told_slots = slot_count;
    o->told_count++;
}

static void set_available(const opened *o, uint64_t mib)
{
    char text[128];
    snprintf(text, sizeof text, "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: %llu kB\n",
             (unsigned long long)mib * 1024);
    write_file_text(o->root, "proc/meminfo", text);
}

/* `streams`: nothing of the trunk stays, and the budget is not asked. */
static void open_engine_with(opened *o, const tiny_shape *shape, bool watches, bool streams)
{
    engine_options options = {.spare_bytes = UINT64_C(1) << 30,
                              .ctx = 128,
                              .thread_count = 2,
                              .prefill_chunk = CHUNK,
                              .level = kernel_isa_best(),
                              .io = {.wanted = FILE_DIRECT_IF_POSSIBLE},
                              .cache_policy = CACHE_LFU,
                              .watches_pressure = watches};
    leat_error error = {0};
    plan solved;

    memset(o, 0, sizeof *o);
    prng_init(&o->dice, shape->seed);
    make_folder(o->folder);
    make_folder(o->root);
    set_available(o, 4000);
    tiny_model_write(o->folder, shape);
    o->model_ledger = open_ledger(0);
    arena_init(&o->memory, o->model_ledger, MEM_META, 65536);
    assert_ok(checkpoint_open(o->folder, &o->source, &error), &error);
    assert_ok(model_build(&o->source->index, o->source->config, o->source->generation, &o->memory, &o->model, &error),
              &error);
    assert_ok(engine_plan(o->source, &o->model, &options, &solved, &error), &error);
    if (streams) solved.trunk_level = 0;
    o->ledger = open_ledger(streams ? 0 : solved.budget_bytes - solved.outside_bytes);
    assert_ok(engine_open(o->source, &o->model, &options, &solved, o->ledger, &o->engine, &error), &error);
    pressure_watch_start(o->engine, o->root);
    o->engine->watch.resize_sink = take_resize;
    o->engine->watch.resize_user = o;
    assert_ok(session_open(o->engine, &o->session, &error), &error);
}

static void open_engine(opened *o, const tiny_shape *shape, bool watches)
{
    open_engine_with(o, shape, watches, false);
}

static void close_engine(opened *o)
{
    session_close(&o->session);
    engine_close(&o->engine);
    close_empty_ledger(o->ledger);
    checkpoint_close(&o->source);
    arena_reset(&o->memory);
    close_empty_ledger(o->model_ledger);
    remove_folder(o->folder);
    remove_folder(o->root);
}

static uint32_t slots_of(const opened *o) { return expert_cache_stats_get(o->engine->experts).slot_count; }

/* The next look at memory is due, whatever was done last. */
static void make_due(opened *o)
{
    o->engine->watch.next_ns = 0;
    o->engine->watch.governor.changed_ns = 0;
    o->engine->watch.governor.grown_ns = 0;
}

typedef void disturb(opened *o);

static void leave_alone(opened *o) { (void)o; }

static void resize_anyhow(opened *o)
{
    pressure_watch_resize(o->engine, (uint32_t)prng_below(&o->dice, o->engine->plan.expert_slot_count + 1));
    expert_cache_check(o->engine->experts);
}

/* Now there is memory, now there is none. */
static void change_the_machine(opened *o)
{
    make_due(o);
    set_available(o, prng_below(&o->dice, 2) ? 4000 : 63);
    o->engine->watch.governor.calm_ns = 1;
}

typedef struct disturber {
    opened *o;
    disturb *fn;
} disturber;

/* Layers ask for their experts one after the other: what is changed here shows at the next layer. */
static void disturb_in_the_step(void *user, uint32_t moe_idx, size_t position, const uint32_t *experts,
                                const float *weights, uint32_t count)
{
    const disturber *d = user;
    (void)moe_idx, (void)position, (void)experts, (void)weights, (void)count;
    if (d->fn == change_the_machine) d->fn(d->o);
}

/* A prompt in chunks, then token by token. logits: (TOKENS - PROMPT + 1, VOCAB) */
static void generate(opened *o, disturb *fn, float *logits)
{
    uint32_t ids[TOKENS];
    leat_error error = {0};
    disturber d = {o, fn};

    for (uint32_t i = 0; i < TOKENS; i++) ids[i] = (i * 17 + i / 5) % VOCAB;
    o->session->route_sink = disturb_in_the_step;
    o->session->route_user = &d;
    assert_ok(session_sync(o->session, ids, PROMPT, NULL, &error), &error);
    for (uint32_t i = PROMPT;; i++) {
        memcpy(logits + (size_t)(i - PROMPT) * VOCAB, o->session->logits, VOCAB * sizeof *logits);
        if (i == TOKENS) break;
        fn(o);
        assert_ok(session_append(o->session, ids[i], &error), &error);
        expert_cache_check(o->engine->experts);
    }
}

static void logits_are_the_same_bits(void **state)
{
    (void)state;
    disturb *const ways[] = {leave_alone, resize_anyhow, change_the_machine};
    for (uint32_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        static float expected[(TOKENS - PROMPT + 1) * VOCAB], found[(TOKENS - PROMPT + 1) * VOCAB];
        for (uint32_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            opened o;
            open_engine(&o, &shapes[s], ways[i] == change_the_machine);
            assert_int_equal(slots_of(&o), o.engine->plan.expert_slot_max);
            assert_int_equal(expert_cache_class_count(o.engine->experts), shapes[s].bf16_layers ? 2 : 1);
            generate(&o, ways[i], i == 0 ? expected : found);
            const expert_cache_stats stats = expert_cache_stats_get(o.engine->experts);
            if (i > 0) {
                assert_memory_equal(expected, found, sizeof found);
                assert_in_range(stats.resize_count, 5, 1000);
                assert_true(stats.evictions > 0);
            } else {
                assert_int_equal(stats.resize_count + stats.evictions, 0);
            }
            assert_int_equal(o.told_count, stats.resize_count);
            if (o.told_count > 0) assert_int_equal(o.told_slots, stats.slot_count);
            close_engine(&o);
        }
    }
}

/* Scarce memory is answered at the next step, the pages leave the account, and they come back when there is room. */
static void check_giving_back(const tiny_shape *shape)
{
    opened o;
    leat_error error = {0};
    const uint32_t ids[] = {1, 2, 3};

    open_engine(&o, shape, true);
    const uint32_t all = slots_of(&o), least = USED * expert_cache_class_count(o.engine->experts);
    /* Of two sizes of slots the smaller has half the bytes. */
    const uint64_t slot_bytes = o.engine->plan.expert_slot_bytes / expert_cache_class_count(o.engine->experts);
    const uint64_t taken = mem_pool_usage(o.ledger, MEM_EXPERTS).current_bytes;
    assert_ok(session_sync(o.session, ids, 3, NULL, &error), &error);
    assert_int_equal(slots_of(&o), all);

    set_available(&o, 1);
    assert_ok(session_append(o.session, 4, &error), &error);
    make_due(&o);
    assert_ok(session_append(o.session, 5, &error), &error);
    assert_int_equal(slots_of(&o), least); /* 63 MiB are lacking: more than there is */
    assert_true(taken - mem_pool_usage(o.ledger, MEM_EXPERTS).current_bytes + 8192 > (all - least) * slot_bytes);

    set_available(&o, 4000);
    for (uint32_t i = 0; i < all; i++) {
        make_due(&o);
        o.engine->watch.governor.calm_ns = 1;
        assert_ok(session_append(o.session, 6, &error), &error);
    }
    assert_int_equal(slots_of(&o), all);
    assert_int_equal(mem_pool_usage(o.ledger, MEM_EXPERTS).current_bytes, taken);
    close_engine(&o);
}

static void scarce_memory_is_given_back(void **state)
{
    (void)state;
    check_giving_back(&shapes[0]);
    check_giving_back(&shapes[2]);
}

/* An engine without steps gives back and takes again when it is told that it waits; what it computes then is the same.
 */
static void an_idle_engine_follows_too(void **state)
{
    (void)state;
    opened o;
    leat_error error = {0};
    const uint32_t ids[] = {1, 2, 3};
    float before[VOCAB];

    open_engine(&o, &shapes[0], true);
    const uint32_t all = slots_of(&o);
    assert_ok(session_sync(o.session, ids, 3, NULL, &error), &error);
    memcpy(before, o.session->logits, sizeof before);
    set_available(&o, 1);
    make_due(&o);
    engine_idle(o.engine);
    assert_int_equal(slots_of(&o), USED);
    assert_memory_equal(o.session->logits, before, sizeof before);
    set_available(&o, 4000);
    for (uint32_t i = 0; i < all; i++) {
        make_due(&o);
        o.engine->watch.governor.calm_ns = 1;
        engine_idle(o.engine);
    }
    assert_int_equal(slots_of(&o), all);
    session_close(&o.session);
    assert_ok(session_open(o.engine, &o.session, &error), &error);
    assert_ok(session_sync(o.session, ids, 3, NULL, &error), &error);
    assert_memory_equal(o.session->logits, before, sizeof before);
    close_engine(&o);
}

static void take_memory_in_the_step(void *user, uint32_t moe_idx, size_t position, const uint32_t *experts,
                                    const float *weights, uint32_t count)
{
    opened *o = user;
    (void)position, (void)experts, (void)weights, (void)count;
    if (moe_idx != 0) return;
    set_available(o, 1);
    make_due(o);
}

/* A token may take longer than memory can wait: what is lacking since its first layer is given back before its end. */
static void a_token_is_no_reason_to_wait(void **state)
{
    (void)state;
    opened o;
    leat_error error = {0};
    open_engine(&o, &shapes[0], true);
    o.session->route_sink = take_memory_in_the_step;
    o.session->route_user = &o;
    assert_true(slots_of(&o) > USED);
    assert_ok(session_append(o.session, 4, &error), &error);
    assert_int_equal(slots_of(&o), USED);
    close_engine(&o);
}

static const storage_ops *plain_ops;

static void submit_slowly(storage *s, const read_request *request)
{
    usleep(20000);
    plain_ops->submit(s, request);
}

static bool try_submit_slowly(storage *s, const read_request *request)
{
    usleep(20000);
    return plain_ops->try_submit(s, request);
}

/* What is read on a guess does not go on filling memory that others need. */
static void scarce_memory_ends_the_warm_start(void **state)
{
    (void)state;
    opened o;
    leat_error error = {0};
    double uses[LAYERS * EXPERTS_OF_LAYER];

    open_engine(&o, &shapes[0], true);
    assert_int_equal(o.engine->records.layer_count, LAYERS);
    for (uint32_t i = 0; i < LAYERS * EXPERTS_OF_LAYER; i++) uses[i] = 1 + i;
    storage_ops slow = *o.engine->reads->ops;
    plain_ops = o.engine->reads->ops;
    slow.submit = submit_slowly;
    slow.try_submit = try_submit_slowly;
    o.engine->reads->ops = &slow;
    mem *ledger = open_ledger(0);
    assert_ok(warm_start_open(ledger, o.engine->experts, uses, 100, o.engine->records.layer_count, EXPERTS_OF_LAYER,
                              slots_of(&o), &o.engine->warm, &error),
              &error);
    make_due(&o);
    engine_idle(o.engine); /* there is memory: it goes on */
    set_available(&o, 1);
    make_due(&o);
    engine_idle(o.engine);
    assert_null(o.engine->warm);
    assert_int_equal(slots_of(&o), USED);
    o.engine->reads->ops = plain_ops;
    close_empty_ledger(ledger);
    close_engine(&o);
}

/* Asking often is a look at the clock; nothing is read before it is due. */
static void memory_is_read_when_it_is_due(void **state)
{
    (void)state;
    opened o;
    leat_error error = {0};
    open_engine(&o, &shapes[0], true);
    const uint32_t all = slots_of(&o);
    set_available(&o, 1);
    o.engine->watch.next_ns = UINT64_MAX;
    assert_ok(session_append(o.session, 4, &error), &error);
    assert_int_equal(slots_of(&o), all);
    close_engine(&o);

    open_engine(&o, &shapes[0], false);
    set_available(&o, 1);
    assert_ok(session_append(o.session, 4, &error), &error);
    assert_int_equal(slots_of(&o), all);
    close_engine(&o);
}

/* ---- the disk ---- */

static read_limits told_limits;
static uint32_t told_limits_count;

static void take_limits(storage *s, const read_limits *limits)
{
    (void)s;
    told_limits = *limits;
    told_limits_count++;
}

/* Two engines on one device halve what they read on a guess; alone again, this one takes it all. */
static void guesses_are_divided_by_the_leases_on_the_device(void **state)
{
    static const read_limits all = READ_LIMITS_DEFAULT;
    const lease_terms terms = {.budget_bytes = 1000, .device = 42};
    lease own = LEASE_NONE, other = LEASE_NONE;
    leat_error error = {0};
    opened o;

    (void)state;
    open_engine(&o, &shapes[0], false);
    assert_ok(lease_open(o.root, &terms, &own, &error), &error);
    assert_ok(lease_open(o.root, &terms, &other, &error), &error);
    storage_ops spy = *o.engine->reads->ops;
    const storage_ops *const kept = o.engine->reads->ops;
    spy.limit = take_limits;
    o.engine->reads->ops = &spy;
    o.engine->options.lease = &own;
    o.engine->watch.is_on = true;
    told_limits_count = 0;
    make_due(&o);
    pressure_watch_poll(o.engine);
    assert_int_equal(told_limits_count, 1);
    assert_int_equal(told_limits.reads[READ_LOOK_AHEAD], all.reads[READ_LOOK_AHEAD] / 2);
    assert_int_equal(told_limits.bytes[READ_BACKGROUND], all.bytes[READ_BACKGROUND] / 2);
    assert_int_equal(told_limits.reads[READ_DEMAND], all.reads[READ_DEMAND]);
    make_due(&o);
    pressure_watch_poll(o.engine);
    assert_int_equal(told_limits_count, 1); /* nothing has changed */
    lease_close(&other);
    make_due(&o);
    pressure_watch_poll(o.engine);
    assert_int_equal(told_limits_count, 2);
    assert_memory_equal(&told_limits, &all, sizeof all);
    o.engine->reads->ops = kept;
    o.engine->options.lease = NULL;
    lease_close(&own);
    close_engine(&o);
}

static bool (*real_try_reap)(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result);
static uint32_t ring_look_count;

static bool count_ring_looks(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    ring_look_count += tag_begin == RING_TAG_BEGIN;
    return real_try_reap(s, tag_begin, tag_end, out_result);
}

/* After each block the step sees to it that what it streams is read on. */
static void streamed_layers_are_read_on_between_blocks(void **state)
{
    leat_error error = {0};
    opened o;

    (void)state;
    open_engine_with(&o, &shapes[0], false, true);
    assert_non_null(o.engine->ring);
    storage_ops spy = *o.engine->reads->ops;
    const storage_ops *const kept = o.engine->reads->ops;
    real_try_reap = spy.try_reap;
    spy.try_reap = count_ring_looks;
    o.engine->reads->ops = &spy;
    ring_look_count = 0;
    assert_ok(session_append(o.session, 4, &error), &error);
    o.engine->reads->ops = kept;
    assert_true(ring_look_count >= 2 * o.model.layer_count);
    close_engine(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_same_bits),
        cmocka_unit_test(scarce_memory_is_given_back),
        cmocka_unit_test(an_idle_engine_follows_too),
        cmocka_unit_test(a_token_is_no_reason_to_wait),
        cmocka_unit_test(scarce_memory_ends_the_warm_start),
        cmocka_unit_test(memory_is_read_when_it_is_due),
        cmocka_unit_test(guesses_are_divided_by_the_leases_on_the_device),
        cmocka_unit_test(streamed_layers_are_read_on_between_blocks),
    };
    return cmocka_run_group_tests_name("pressure_watch", tests, NULL, NULL);
}

#include "api_support.h"

#include "base/prng.h"

const tiny_shape gemma_moe = {.family = TINY_GEMMA4, .expert_count = 7, .used_count = 3, .expert_width = 10, .seed = 1};
const tiny_shape gemma_inputs = {.family = TINY_GEMMA4, .input_width = 6, .layer_count = 4, .window = 9, .seed = 2};
const tiny_shape gemma_many = {
    .family = TINY_GEMMA4, .hidden = 64, .expert_count = 24, .used_count = 3, .expert_width = 128, .seed = 5};
const tiny_shape qwen_many = {
    .family = TINY_QWEN3_MOE, .hidden = 64, .expert_count = 24, .used_count = 3, .expert_width = 128, .seed = 6};
const tiny_shape gemma_mixed = {.family = TINY_GEMMA4,
                                .layer_count = 5,
                                .hidden = 64,
                                .expert_count = 40,
                                .used_count = 12,
                                .expert_width = 128,
                                .bf16_layers = 1u << 1 | 1u << 2 | 1u << 4,
                                .seed = 12};
const tiny_shape llama_plain = {.family = TINY_LLAMA, .head_count = 6, .kv_head_count = 3, .head_dim = 6, .seed = 3};
const tiny_shape qwen_moe_own_head = {.family = TINY_QWEN3_MOE, .has_own_head = true, .seed = 4};

opened open_all(const char *folder, const leat_options *options)
{
    opened o = {0};
    leat_error error = {0};

    assert_ok(leat_model_open(folder, &o.model, &error), &error);
    assert_ok(leat_engine_open(o.model, options, &o.engine, &error), &error);
    assert_ok(leat_session_open(o.engine, &o.session, &error), &error);
    return o;
}

void close_all(opened *o)
{
    leat_session_close(&o->session);
    leat_engine_close(&o->engine);
    leat_model_close(&o->model);
    assert_null(o->session);
    assert_null(o->engine);
    assert_null(o->model);
}

uint64_t floor_of(const char *folder, const leat_options *options)
{
    leat_options tiny = *options;
    leat_model *model = NULL;
    leat_error error = {0};
    leat_plan plan = {0};

    tiny.ram_bytes = 1;
    assert_ok(leat_model_open(folder, &model, &error), &error);
    assert_fails(BUDGET, leat_plan_make(model, &tiny, &plan, &error), &error);
    leat_model_close(&model);
    return plan.floor_bytes;
}

void fill_ids(uint32_t *ids, size_t count, uint32_t vocab, uint64_t seed)
{
    prng dice;

    prng_init(&dice, seed);
    for (size_t i = 0; i < count; i++) ids[i] = (uint32_t)prng_below(&dice, vocab);
}

float *reference_logits(const char *folder, const uint32_t *ids, size_t count)
{
    const leat_options options = {.thread_count = 1, .prefill_chunk = 1, .ctx = 512};
    opened o = open_all(folder, &options);
    const uint32_t vocab = leat_model_get_info(o.model)->vocab_size;
    float *all = malloc(count * vocab * sizeof *all);
    leat_error error = {0};

    assert_non_null(all);
    for (size_t i = 0; i < count; i++) {
        assert_ok(leat_session_append(o.session, ids[i], &error), &error);
        memcpy(all + i * vocab, leat_session_logits(o.session), vocab * sizeof *all);
    }
    close_all(&o);
    return all;
}

void assert_logits(const leat_session *session, const float *reference, uint32_t vocab, const char *what)
{
    const size_t length = leat_session_length(session);
    const float *got = leat_session_logits(session), *expected = reference + (length - 1) * vocab;

    assert_non_null(got);
    for (uint32_t i = 0; i < vocab; i++)
        if (memcmp(&got[i], &expected[i], sizeof *got) != 0)
            fail_msg("%s: logit %u after %zu tokens is %.9g, expected %.9g", what, i, length, (double)got[i],
                     (double)expected[i]);
}

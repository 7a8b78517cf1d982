/*
 * From a model's expert stacks to the extents that the cache reads: stacked and single tensors, fused gate and up,
 * quantised parts, several files. What the extents name is also read back from real files.
 */
#include "unit.h"
#include "temp_folder.h"

#include "base/bytes.h"
#include "exec/checkpoint.h"
#include "exec/expert_records.h"
#include "exec/plan.h"
#include "model/model_build.h"

enum { HIDDEN = 64, WIDTH = 32, EXPERTS = 5, LAYERS = 3, PARTS = EXPERT_MATRICES * PART_COUNT };

/* ---- shards whose every byte is known: byte i of tensor t is a mix of both ---- */

typedef struct shard {
    char header[32768];
    size_t bytes; /* of data */
    uint8_t data[600000];
} shard;

static shard shards[2];
static uint32_t tensor_seed;

static uint8_t byte_of(uint32_t tensor_idx, size_t i)
{
    return (uint8_t)((tensor_idx * 2654435761u + i * 40503u) >> 7);
}

/* Returns the number of the tensor, which says what its bytes are. */
static uint32_t add(shard *s, const char *name, const char *type, size_t bytes, const char *shape)
{
    const size_t used = strlen(s->header);
    assert_true(s->bytes + bytes <= sizeof s->data);
    assert_in_range(snprintf(s->header + used, sizeof s->header - used,
                             "%s\"model.%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                             used ? "," : "{", name, type, shape, s->bytes, s->bytes + bytes),
                    1, (int)(sizeof s->header - used) - 1);
    for (size_t i = 0; i < bytes; i++) s->data[s->bytes + i] = byte_of(tensor_seed, i);
    s->bytes += bytes;
    return tensor_seed++;
}

static void add_floats(shard *s, const char *name, uint64_t stack, uint64_t rows, uint64_t cols, uint32_t *out_tensor)
{
    char shape[64];
    if (stack)
        snprintf(shape, sizeof shape, "[%d,%d,%d]", (int)stack, (int)rows, (int)cols);
    else if (cols)
        snprintf(shape, sizeof shape, "[%d,%d]", (int)rows, (int)cols);
    else
        snprintf(shape, sizeof shape, "[%d]", (int)rows);
    const uint32_t tensor_idx = add(s, name, "BF16", (stack ? stack : 1) * rows * (cols ? cols : 1) * 2, shape);
    if (out_tensor) *out_tensor = tensor_idx;
}

static const char *name_of(const char *format, ...) PRINTF_LIKE(1, 2);
static const char *name_of(const char *format, ...)
{
    static char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return name;
}

/* What tensor `tensor_idx` holds from byte `offset` on is what the extent must give. */
typedef struct expectation {
    uint32_t tensor_idx;
    size_t offset, bytes;
} expectation;

static expectation expected[LAYERS][EXPERTS][PARTS];

static void expect(uint32_t layer_idx, uint32_t expert, int matrix_idx, int part, uint32_t tensor_idx, size_t offset,
                   size_t bytes)
{
    expected[layer_idx][expert][matrix_idx * PART_COUNT + part] = (expectation){tensor_idx, offset, bytes};
}

/* ---- one layer in each form of storage ---- */

static const char *const projections[] = {"gate_proj", "up_proj", "down_proj"};

/* Gate and up in one tensor, in the first file. */
static void add_fused_layer(uint32_t l)
{
    uint32_t both, down;
    const size_t half = WIDTH * HIDDEN * 2;
    add_floats(&shards[0], name_of("layers.%u.mlp.experts.gate_up_proj", l), EXPERTS, 2 * WIDTH, HIDDEN, &both);
    add_floats(&shards[0], name_of("layers.%u.mlp.experts.down_proj", l), EXPERTS, HIDDEN, WIDTH, &down);
    for (uint32_t e = 0; e < EXPERTS; e++) {
        expect(l, e, 0, PART_DATA, both, e * 2 * half, half);
        expect(l, e, 1, PART_DATA, both, e * 2 * half + half, half);
        expect(l, e, 2, PART_DATA, down, e * half, half);
    }
}

/* Quantised stacks: gate and up with 4 bits in the first file, down with 8 bits in the second. */
static void add_quantised_layer(uint32_t l)
{
    for (int p = 0; p < 3; p++) {
        shard *s = &shards[p == 2];
        const uint32_t rows = p < 2 ? WIDTH : HIDDEN, cols = p < 2 ? HIDDEN : WIDTH, bits = p < 2 ? 4 : 8;
        const size_t data = rows * cols * bits / 8, scales = rows * (cols / 32) * 2;
        char shape[64];
        snprintf(shape, sizeof shape, "[%d,%u,%u]", EXPERTS, rows, cols * bits / 32);
        const uint32_t codes =
            add(s, name_of("layers.%u.mlp.switch_mlp.%s.weight", l, projections[p]), "U32", EXPERTS * data, shape);
        snprintf(shape, sizeof shape, "[%d,%u,%u]", EXPERTS, rows, cols / 32);
        const uint32_t first =
            add(s, name_of("layers.%u.mlp.switch_mlp.%s.scales", l, projections[p]), "BF16", EXPERTS * scales, shape);
        const uint32_t second =
            add(s, name_of("layers.%u.mlp.switch_mlp.%s.biases", l, projections[p]), "BF16", EXPERTS * scales, shape);
        for (uint32_t e = 0; e < EXPERTS; e++) {
            expect(l, e, p, PART_DATA, codes, e * data, data);
            expect(l, e, p, PART_SCALES, first, e * scales, scales);
            expect(l, e, p, PART_OFFSETS, second, e * scales, scales);
        }
    }
}

/* One tensor per expert, in turn in one file and the other, out of order. */
static void add_single_layer(uint32_t l)
{
    for (uint32_t i = 0; i < EXPERTS; i++)
        for (int p = 2; p >= 0; p--) {
            const uint32_t e = (i * 3 + 1) % EXPERTS;
            uint32_t tensor_idx;
            add_floats(&shards[(e + (uint32_t)p) % 2],
                       name_of("layers.%u.mlp.experts.%u.%s.weight", l, e, projections[p]), 0, p < 2 ? WIDTH : HIDDEN,
                       p < 2 ? HIDDEN : WIDTH, &tensor_idx);
            expect(l, e, p, PART_DATA, tensor_idx, 0, WIDTH * HIDDEN * 2);
        }
}

static void add_rest_of_layer(uint32_t l)
{
    static const char *const parts[] = {"q", "k", "v", "o"};
    add_floats(&shards[0], name_of("layers.%u.input_layernorm.weight", l), 0, HIDDEN, 0, NULL);
    add_floats(&shards[0], name_of("layers.%u.post_attention_layernorm.weight", l), 0, HIDDEN, 0, NULL);
    for (int p = 0; p < 4; p++)
        add_floats(&shards[1], name_of("layers.%u.self_attn.%s_proj.weight", l, parts[p]), 0, HIDDEN, HIDDEN, NULL);
    add_floats(&shards[0], name_of("layers.%u.self_attn.q_norm.weight", l), 0, 16, 0, NULL);
    add_floats(&shards[0], name_of("layers.%u.self_attn.k_norm.weight", l), 0, 16, 0, NULL);
    add_floats(&shards[0], name_of("layers.%u.mlp.gate.weight", l), 0, EXPERTS, HIDDEN, NULL);
}

static const char config_text[] =
    "{\"model_type\":\"qwen3_moe\",\"hidden_size\":64,\"vocab_size\":40,\"num_hidden_layers\":3,"
    "\"num_attention_heads\":4,\"head_dim\":16,\"intermediate_size\":32,\"moe_intermediate_size\":32,"
    "\"num_experts\":5,\"num_experts_per_tok\":2,\"max_position_embeddings\":64}";

static void write_checkpoint(const temp_folder *t)
{
    memset(shards, 0, sizeof shards);
    memset(expected, 0, sizeof expected);
    tensor_seed = 1;
    add_floats(&shards[1], "embed_tokens.weight", 0, 40, HIDDEN, NULL);
    add_floats(&shards[0], "norm.weight", 0, HIDDEN, 0, NULL);
    for (uint32_t l = 0; l < LAYERS; l++) add_rest_of_layer(l);
    add_fused_layer(0);
    add_quantised_layer(1);
    add_single_layer(2);
    for (int i = 0; i < 2; i++) {
        strcat(shards[i].header, "}");
        temp_folder_write_shard(t, i ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors",
                                shards[i].header, 0, shards[i].data, shards[i].bytes);
    }
    temp_folder_write_text(t, "config.json", config_text);
}

/* ---- the model, open ---- */

typedef struct world {
    temp_folder folder;
    mem *ledger;
    arena memory;
    checkpoint *source;
    model_desc model;
    expert_records records;
} world;

static world w;

static int open_world(void **state)
{
    (void)state;
    leat_error error = {0};
    temp_folder_open(&w.folder);
    write_checkpoint(&w.folder);
    w.ledger = open_ledger(0);
    arena_init(&w.memory, w.ledger, MEM_META, 4096);
    assert_ok(checkpoint_open(w.folder.path, &w.source, &error), &error);
    assert_ok(model_build(&w.source->index, w.source->config, NULL, &w.memory, &w.model, &error), &error);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    expert_records_close(&w.records);
    checkpoint_close(&w.source);
    arena_reset(&w.memory);
    close_empty_ledger(w.ledger);
    temp_folder_close(&w.folder);
    return 0;
}

static void open_records(void)
{
    leat_error error = {0};
    assert_ok(expert_records_open(w.ledger, &w.model, &w.records, &error), &error);
}

/* ---- tests ---- */

static void every_expert_of_every_layer_has_a_record(void **state)
{
    (void)state;
    open_records();
    assert_int_equal(w.records.layer_count, LAYERS);
    assert_int_equal(w.records.expert_count, EXPERTS);
    assert_int_equal(w.records.set_count, 2);
    for (uint32_t i = 0; i < LAYERS * EXPERTS; i++) {
        assert_int_equal(w.records.records[i].part_count, PARTS);
        assert_ptr_equal(w.records.records[i].parts, w.records.extents + i * PARTS);
    }
    const uint64_t held = mem_pool_usage(w.ledger, MEM_META).current_bytes;
    expert_records_close(&w.records);
    assert_true(mem_pool_usage(w.ledger, MEM_META).current_bytes < held);
    expert_records_close(&w.records);
}

/* Reads every extent from its file and compares all of its bytes. */
static void extents_name_the_expert_and_nothing_else(void **state)
{
    (void)state;
    static uint8_t bytes[2 * WIDTH * HIDDEN * 2];
    leat_error error = {0};
    bool uses_file[2] = {false, false};
    open_records();
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t e = 0; e < EXPERTS; e++)
            for (uint32_t p = 0; p < PARTS; p++) {
                const extent *found = &w.records.records[l * EXPERTS + e].parts[p];
                const expectation *x = &expected[l][e][p];
                assert_int_equal(found->bytes, x->bytes);
                if (!x->bytes) continue;
                assert_true(found->file_idx < w.source->file_count);
                uses_file[found->file_idx] = true;
                assert_ok(file_read(&w.source->files[found->file_idx], "shard", found->offset, bytes, found->bytes,
                                    NULL, &error),
                          &error);
                for (size_t i = 0; i < x->bytes; i++) assert_int_equal(bytes[i], byte_of(x->tensor_idx, x->offset + i));
            }
    assert_true(uses_file[0] && uses_file[1]);
}

static void matrices_point_into_the_record(void **state)
{
    (void)state;
    open_records();
    for (uint32_t l = 0; l < LAYERS; l++) {
        const moe_block *moe = &layer_block(&w.model.layers[l], BLOCK_MOE)->moe;
        uint8_t slot[PARTS];
        expert_ref ref = {.expert = 3};
        for (int p = 0; p < PARTS; p++) ref.parts[p] = &slot[p];
        for (uint32_t which = 0; which < EXPERT_MATRICES; which++) {
            const matrix m = expert_matrix(moe, which, &ref, NULL);
            assert_int_equal(m.shape.rows, which == 2 ? HIDDEN : WIDTH);
            assert_int_equal(m.shape.cols, which == 2 ? WIDTH : HIDDEN);
            assert_int_equal(m.shape.type, l != 1 ? QUANT_BF16 : which == 2 ? QUANT_AFFINE8 : QUANT_AFFINE4);
            assert_ptr_equal(m.data, &slot[which * PART_COUNT + PART_DATA]);
            assert_ptr_equal(m.scales, l == 1 ? &slot[which * PART_COUNT + PART_SCALES] : NULL);
            assert_ptr_equal(m.offsets, l == 1 ? &slot[which * PART_COUNT + PART_OFFSETS] : NULL);
            assert_true(m.global_scale == 0);
            static const float scales[EXPERTS] = {1, 2, 3, 4.5f, 6};
            assert_true(expert_matrix(moe, which, &ref, scales).global_scale == 4.5f);
        }
    }
}

/* A slot holds the largest record, each part's window at an aligned place. */
static void a_slot_holds_every_record(void **state)
{
    (void)state;
    open_records();
    for (uint32_t align = 1; align <= 4096; align *= 64) {
        file files[2] = {w.source->files[0], w.source->files[1]};
        files[0].offset_align = files[0].memory_align = files[1].offset_align = files[1].memory_align = align;
        const file_set set = {files, w.source->file_names, 2};
        const plan_request request = {.model = &w.model, .files = &set, .experts = &w.records};
        const expert_cache_config config = plan_cache_config(&request, 6);
        assert_int_equal(config.layer_count, LAYERS);
        assert_int_equal(config.expert_count, EXPERTS);
        assert_int_equal(config.set_max, 2);
        const uint64_t slot = expert_cache_slot_bytes(&config, &set);
        uint64_t largest = 0;
        for (uint32_t i = 0; i < LAYERS * EXPERTS; i++) {
            uint64_t sum = 0;
            for (uint32_t p = 0; p < PARTS; p++) {
                const extent *e = &w.records.records[i].parts[p];
                if (e->bytes) sum += storage_window_bytes(&set, e);
            }
            largest = max_u64(largest, sum);
        }
        assert_true(slot >= largest);
        assert_true(slot <= largest + PARTS * (uint64_t)align + PARTS * 64);
    }
}

static void a_dense_model_has_none(void **state)
{
    (void)state;
    leat_error error = {0};
    model_desc dense = w.model;
    dense.moe_layer_count = dense.expert_count = 0;
    assert_ok(expert_records_open(w.ledger, &dense, &w.records, &error), &error);
    assert_int_equal(w.records.layer_count, 0);
    assert_null(w.records.records);
    expert_records_close(&w.records);
}

static void layers_must_agree_on_their_experts(void **state)
{
    (void)state;
    leat_error error = {0};
    moe_block *moe = &w.model.layers[1].residuals[1].branches[0].block.moe;
    moe->expert_count = 4;
    assert_fails(MODEL, expert_records_open(w.ledger, &w.model, &w.records, &error), &error);
    assert_text_has(error.text, "layer 1");
    assert_text_has(error.text, "4 experts");
    assert_text_has(error.text, "5");
    moe->expert_count = 5;
    moe->used_count = 3;
    assert_fails(MODEL, expert_records_open(w.ledger, &w.model, &w.records, &error), &error);
    moe->used_count = 2;
    open_records();
}

static void a_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    leat_error error = {0};
    const uint64_t before = mem_total_usage(w.ledger).current_bytes;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_nth(w.ledger, nth);
        assert_fails(NO_MEMORY, expert_records_open(w.ledger, &w.model, &w.records, &error), &error);
        assert_int_equal(mem_total_usage(w.ledger).current_bytes, before);
    }
    mem_fail_nth(w.ledger, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(every_expert_of_every_layer_has_a_record),
        TEST(extents_name_the_expert_and_nothing_else),
        TEST(matrices_point_into_the_record),
        TEST(a_slot_holds_every_record),
        TEST(a_dense_model_has_none),
        TEST(layers_must_agree_on_their_experts),
        TEST(a_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

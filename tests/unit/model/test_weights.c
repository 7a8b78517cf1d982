/* From names and shapes to weights: every form of storage, every contradiction, the extents of rows and experts. */
#include "model/weights.h"

#include "base/bytes.h"
#include "format/safetensors.h"
#include "support/conformance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static mem *ledger;

static int open_ledger(void **state)
{
    (void)state;
    return mem_open(0, &ledger, NULL) != LEAT_OK;
}

static int close_ledger(void **state)
{
    (void)state;
    mem_close(&ledger);
    return 0;
}

/* ---- a checkpoint of tensors without bytes ---- */

typedef struct fixture {
    tensor_index index;
    arena memory;
    hf_config *config;
    weight_source source;
    uint64_t end; /* of the last tensor: tensors follow each other */
} fixture;

static fixture *fx; /* one at a time */

static void begin(const char *config_text)
{
    static fixture storage;
    fx = &storage;
    *fx = (fixture){.end = 1000};
    tensor_index_init(&fx->index, ledger);
    arena_init(&fx->memory, ledger, MEM_META, 4096);
    fx->source = (weight_source){.index = &fx->index, .prefix = "model.", .memory = &fx->memory};
    if (config_text == NULL) return;
    assert_int_equal(hf_config_open(ledger, "config.json", config_text, strlen(config_text), &fx->config, NULL),
                     LEAT_OK);
    fx->source.config = fx->config;
    assert_int_equal(hf_config_quant(fx->config, &fx->source.hint, NULL), LEAT_OK);
}

static void end(void)
{
    hf_config_close(&fx->config);
    arena_reset(&fx->memory);
    tensor_index_reset(&fx->index);
}

/* A shape ends with 0; {-1} is a scalar's. */
#define ADD(name, type, ...) add(name, DTYPE_##type, (const int64_t[]){__VA_ARGS__, 0})

static uint64_t add(const char *name, dtype type, const int64_t *dims)
{
    char full[256];
    uint64_t elements = 1;
    snprintf(full, sizeof full, "model.%s", name);
    tensor t = {.name = full, .type = type, .offset = fx->end, .file_idx = (uint32_t)(fx->index.count % 3)};
    for (; dims[t.rank] > 0; t.rank++) elements *= t.dims[t.rank] = (uint64_t)dims[t.rank];
    t.bytes = elements * dtype_bits(type) / 8;
    fx->end += t.bytes + 7;
    assert_int_equal(tensor_index_add(&fx->index, &t, NULL), LEAT_OK);
    return t.offset;
}

static void added(void)
{
    assert_int_equal(tensor_index_finish(&fx->index, (const char *const[]){"a", "b", "c"}, NULL), LEAT_OK);
}

static weight must_find(const char *path, uint64_t rows, uint64_t cols)
{
    weight w;
    leat_error error = {0};
    if (weights_find(&fx->source, path, rows, cols, &w, &error) != LEAT_OK) fail_msg("%s", error.text);
    assert_int_equal(w.shape.rows, rows);
    assert_int_equal(w.shape.cols, cols);
    assert_int_equal(w.stack_count, 1);
    return w;
}

static void must_refuse(const char *path, uint64_t rows, uint64_t cols, const char *words)
{
    weight w = {.stack_count = 77};
    leat_error error = {0};
    assert_int_equal(weights_find(&fx->source, path, rows, cols, &w, &error), LEAT_MODEL);
    assert_int_equal(w.stack_count, 77);
    assert_true(mentions_all(error.text, words));
}

static void assert_part(const weight_part *part, uint64_t offset, uint64_t bytes)
{
    assert_int_equal(part->bytes, bytes);
    if (bytes != 0) assert_int_equal(part->offset, offset);
}

/* ---- matrices ---- */

static void finds_float_matrices(void **state)
{
    (void)state;
    begin(NULL);
    uint64_t a = ADD("a.weight", BF16, 6, 5), b = ADD("b", F16, 2, 3);
    ADD("c.weight", F32, 2, 3);
    ADD("d.weight", I16, 2, 3);
    ADD("e.weight", F8_E4M3, 2, 3);
    ADD("f.weight", F32, 2, 3, 1);
    added();
    weight w = must_find("a", 6, 5);
    assert_string_equal(w.name, "model.a");
    assert_int_equal(w.shape.type, QUANT_BF16);
    assert_int_equal(w.shape.group, 0);
    assert_false(w.differs_from_hint);
    assert_null(w.global_scale_part);
    assert_part(&w.parts[0][PART_DATA], a, 60);
    assert_int_equal(w.parts[0][PART_DATA].file_idx, 0);
    assert_part(&w.parts[0][PART_SCALES], 0, 0);
    assert_part(&w.parts[0][PART_OFFSETS], 0, 0);
    w = must_find("b", 2, 3);
    assert_int_equal(w.shape.type, QUANT_F16);
    assert_part(&w.parts[0][PART_DATA], b, 12);
    assert_int_equal(w.parts[0][PART_DATA].file_idx, 1);
    assert_int_equal(must_find("c", 2, 3).shape.type, QUANT_F32);
    must_refuse("a", 7, 5, "model.a.weight|[6, 5]|[7, 5]");
    must_refuse("a", 6, 4, "model.a.weight|[6, 5]|[6, 4]");
    must_refuse("d", 2, 3, "model.d.weight|I16");
    must_refuse("e", 2, 3, "model.e.weight|F8_E4M3");
    must_refuse("f", 2, 3, "model.f.weight|[2, 3, 1]|[2, 3]");
    must_refuse("g.up_proj", 2, 3, "model.g.up_proj.weight is missing");
    end();
}

/* bits and group for every pair of widths, among them those that only the known columns tell apart. */
static void derives_bits_and_groups(void **state)
{
    (void)state;
    static const uint32_t widths[] = {1, 2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    static const quant_type types[] = {QUANT_AFFINE1, QUANT_AFFINE2, QUANT_AFFINE3, QUANT_AFFINE4,
                                       QUANT_AFFINE5, QUANT_AFFINE6, QUANT_AFFINE8};
    for (size_t b = 0; b < ARRAY_COUNT(widths); b++)
        for (size_t g = 0; g < ARRAY_COUNT(groups); g++)
            for (int64_t cols = 128; cols <= 640; cols += 128) {
                begin(NULL);
                uint64_t data = ADD("x.weight", U32, 3, cols * widths[b] / 32);
                uint64_t scales = ADD("x.scales", F16, 3, cols / groups[g]),
                         offsets = ADD("x.biases", F16, 3, cols / groups[g]);
                added();
                weight w = must_find("x", 3, (uint64_t)cols);
                assert_int_equal(w.shape.type, types[b]);
                assert_int_equal(w.shape.group, groups[g]);
                assert_int_equal(w.shape.scale_type, FLOAT_F16);
                assert_part(&w.parts[0][PART_DATA], data, 3 * (uint64_t)cols * widths[b] / 8);
                assert_part(&w.parts[0][PART_SCALES], scales, 3 * (uint64_t)cols / groups[g] * 2);
                assert_part(&w.parts[0][PART_OFFSETS], offsets, 3 * (uint64_t)cols / groups[g] * 2);
                end();
            }
    /* The same tensors read with other columns are another quantisation: 4 bits in 64 are 8 bits in 32 or 2 bits in
     * 128. */
    begin(NULL);
    ADD("x.weight", U32, 4, 32);
    ADD("x.scales", BF16, 4, 4);
    ADD("x.biases", BF16, 4, 4);
    added();
    assert_int_equal(must_find("x", 4, 256).shape.type, QUANT_AFFINE4);
    assert_int_equal(must_find("x", 4, 256).shape.group, 64);
    assert_int_equal(must_find("x", 4, 128).shape.type, QUANT_AFFINE8);
    assert_int_equal(must_find("x", 4, 128).shape.group, 32);
    assert_int_equal(must_find("x", 4, 512).shape.type, QUANT_AFFINE2);
    assert_int_equal(must_find("x", 4, 512).shape.group, 128);
    end();
}

static void derives_the_fp_modes(void **state)
{
    (void)state;
    static const struct {
        int64_t words, groups;
        quant_type type;
    } cases[] = {
        {16, 4, QUANT_MXFP4},      {16, 8, QUANT_NVFP4},      {32, 4, QUANT_MXFP8}, /* known */
        {32, 8, QUANT_TYPE_COUNT}, {16, 2, QUANT_TYPE_COUNT}, {24, 4, QUANT_TYPE_COUNT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        begin(NULL);
        ADD("x.weight", U32, 3, cases[i].words);
        ADD("x.scales", U8, 3, cases[i].groups);
        added();
        if (cases[i].type == QUANT_TYPE_COUNT)
            must_refuse("x", 3, 128, "model.x.scales|U8|no known");
        else {
            weight w = must_find("x", 3, 128);
            assert_int_equal(w.shape.type, cases[i].type);
            assert_int_equal(w.shape.group, 128 / cases[i].groups);
            assert_int_equal(w.parts[0][PART_SCALES].bytes, 3 * cases[i].groups);
            assert_part(&w.parts[0][PART_OFFSETS], 0, 0);
        }
        end();
    }
}

static void refuses_broken_triples(void **state)
{
    (void)state;
#define SHAPE(...)                                                                                                     \
    {                                                                                                                  \
        __VA_ARGS__, 0                                                                                                 \
    }
    static const struct {
        dtype data_type;
        int64_t data[4];
        dtype scale_type; /* DTYPE_COUNT: absent */
        int64_t scales[4];
        dtype offset_type;
        int64_t offsets[4];
        const char *words;
    } cases[] = {
        {DTYPE_U32, SHAPE(4, 7), DTYPE_F16, SHAPE(4, 1), DTYPE_F16, SHAPE(4, 1), "model.x|mean 7 bits"},
        {DTYPE_U32, SHAPE(4, 9), DTYPE_F16, SHAPE(4, 1), DTYPE_F16, SHAPE(4, 1), "model.x|mean 9 bits"},
        {DTYPE_U32, SHAPE(3, 4), DTYPE_F16, SHAPE(4, 1), DTYPE_F16, SHAPE(4, 1), "model.x.weight|[3, 4]|[4, any]"},
        {DTYPE_U32, SHAPE(4, 4, 1), DTYPE_F16, SHAPE(4, 1), DTYPE_F16, SHAPE(4, 1), "model.x.weight|[4, 4, 1]"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(3, 1), DTYPE_F16, SHAPE(4, 1), "model.x.scales|[3, 1]|[4, any]"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 3), DTYPE_F16, SHAPE(4, 3),
         "model.x.scales|3 scales|do not divide 32 columns"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 4), "model.x.scales|groups of 8"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 2), DTYPE_F16, SHAPE(4, 2), "model.x.scales|4 bits|groups of 16"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 1), DTYPE_COUNT, {0}, "model.x.biases is missing"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 1), DTYPE_BF16, SHAPE(4, 1), "model.x.biases|BF16|F16"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_F16, SHAPE(4, 1), DTYPE_F16, SHAPE(4, 2), "model.x.biases|[4, 2]|[4, 1]"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_I8, SHAPE(4, 1), DTYPE_I8, SHAPE(4, 1), "model.x.scales|I8"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_U8, SHAPE(4, 1), DTYPE_U8, SHAPE(4, 1), "model.x.biases"},
        {DTYPE_U32, SHAPE(4, 4), DTYPE_COUNT, {0}, DTYPE_COUNT, {0}, "model.x.scales is missing"},
        {DTYPE_BF16, SHAPE(4, 32), DTYPE_F16, SHAPE(4, 1), DTYPE_F16, SHAPE(4, 1), "model.x.weight|BF16|U32"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        begin(NULL);
        add("x.weight", cases[i].data_type, cases[i].data);
        if (cases[i].scale_type != DTYPE_COUNT) add("x.scales", cases[i].scale_type, cases[i].scales);
        if (cases[i].offset_type != DTYPE_COUNT) add("x.biases", cases[i].offset_type, cases[i].offsets);
        added();
        must_refuse("x", 4, 32, cases[i].words);
        end();
    }
}

static void refuses_fractions_of_bits(void **state)
{
    (void)state;
    begin(NULL);
    ADD("x.weight", U32, 4, 10);
    ADD("x.scales", F16, 4, 3);
    ADD("x.biases", F16, 4, 3);
    added();
    must_refuse("x", 4, 96, "model.x.weight|10 words|96 columns|no whole number");
    end();
}

/* An index from elsewhere may promise more rows than the extent holds. */
static void refuses_short_extents(void **state)
{
    (void)state;
    begin(NULL);
    ADD("x.weight", F32, 4, 8);
    fx->index.tensors[0].bytes -= 4;
    added();
    must_refuse("x", 4, 8, "model.x.weight|124 bytes");
    end();
}

/* ---- the configuration ---- */

static void add_triple(const char *module, int64_t rows, int64_t cols, int64_t bits, int64_t group)
{
    char name[128];
    ADD((snprintf(name, sizeof name, "%s.weight", module), name), U32, rows, cols * bits / 32);
    ADD((snprintf(name, sizeof name, "%s.scales", module), name), BF16, rows, cols / group);
    ADD((snprintf(name, sizeof name, "%s.biases", module), name), BF16, rows, cols / group);
}

static void notes_a_wrong_top_level(void **state)
{
    (void)state;
    begin("{\"quantization\": {\"group_size\": 64, \"bits\": 4, \"model.listed\": {\"group_size\": 64, \"bits\": 8}}}");
    add_triple("same", 4, 128, 4, 64);
    add_triple("bits", 4, 128, 8, 64);
    add_triple("group", 4, 128, 4, 32);
    add_triple("listed", 4, 128, 8, 64);
    ADD("mode.weight", U32, 4, 16);
    ADD("mode.scales", U8, 4, 4);
    ADD("plain.weight", BF16, 4, 128);
    added();
    assert_false(must_find("same", 4, 128).differs_from_hint);
    assert_true(must_find("bits", 4, 128).differs_from_hint);
    assert_true(must_find("group", 4, 128).differs_from_hint);
    assert_true(must_find("mode", 4, 128).differs_from_hint);
    assert_false(must_find("listed", 4, 128).differs_from_hint);
    assert_false(must_find("plain", 4, 128).differs_from_hint);
    end();

    begin("{\"quantization\": {\"mode\": \"mxfp4\"}}");
    add_triple("x", 4, 128, 4, 32);
    added();
    assert_true(must_find("x", 4, 128).differs_from_hint);
    end();

    /* One listed expert does not hide that the others are not. */
    weight w;
    begin("{\"quantization\": {\"bits\": 4, \"model.e.0.w\": {\"bits\": 8}}}");
    add_triple("e.0.w", 4, 128, 8, 64);
    add_triple("e.1.w", 4, 128, 8, 64);
    added();
    assert_int_equal(weights_find_stack(&fx->source, "e.w", "e.%u.w", 2, 0, 4, 4, 128, &w, NULL), LEAT_OK);
    assert_true(w.differs_from_hint);
    end();
}

static void refuses_false_overrides(void **state)
{
    (void)state;
    begin("{\"quantization\": {\"group_size\": 64, \"bits\": 4, \"mode\": \"mxfp4\","
          " \"language_model.model.b\": {\"group_size\": 64, \"bits\": 8}, \"model.g\": {\"group_size\": 32, \"bits\": "
          "4},"
          " \"model.off\": false, \"model.plain\": {\"bits\": 4}, \"model.offplain\": false, \"model.mode\": "
          "{\"bits\": 4, \"group_size\": 32},"
          " \"model.on\": true, \"model.few\": {\"mode\": \"affine\"}, \"model.glob\": {\"mode\": \"nvfp4\", "
          "\"global_scale\": true}}}");
    add_triple("b", 4, 128, 4, 64);
    add_triple("g", 4, 128, 4, 64);
    add_triple("off", 4, 128, 4, 64);
    add_triple("on", 4, 128, 4, 64);
    add_triple("few", 4, 128, 2, 32); /* what an override leaves out is not compared */
    ADD("plain.weight", BF16, 4, 128);
    ADD("offplain.weight", BF16, 4, 128);
    ADD("mode.weight", U32, 4, 16);
    ADD("mode.scales", U8, 4, 4);
    ADD("glob.weight", U32, 4, 16);
    ADD("glob.scales", U8, 4, 8);
    added();
    must_refuse("b", 4, 128, "model.b|config.json|bits 8|mean 4");
    must_refuse("g", 4, 128, "model.g|config.json|group_size 32|mean 64");
    must_refuse("off", 4, 128, "model.off|config.json|not quantised|affine4");
    must_refuse("plain", 4, 128, "model.plain|config.json|4 bits|bf16");
    must_refuse("mode", 4, 128, "model.mode|mode affine (by giving none)|mxfp4");
    must_refuse("on", 4, 128, "model.on|mode mxfp4|affine");
    must_refuse("glob", 4, 128, "model.glob|global_scale is missing");
    (void)must_find("few", 4, 128);
    (void)must_find("offplain", 4, 128);
    end();
}

/* ---- stacks ---- */

static leat_status find_stack(const char *path, const char *format, uint32_t count, uint64_t begin_row, uint64_t rows,
                              uint64_t total, uint64_t cols, weight *w, const char *words)
{
    leat_error error = {0};
    leat_status status = weights_find_stack(&fx->source, path, format, count, begin_row, rows, total, cols, w, &error);
    if ((status == LEAT_OK) != (words == NULL)) fail_msg("status %d: %s", status, error.text);
    if (words != NULL) assert_true(mentions_all(error.text, words));
    return status;
}

static void finds_stacked_triples(void **state)
{
    (void)state;
    weight w;
    begin(NULL);
    uint64_t data = ADD("e.gate.weight", U32, 5, 6, 16), scales = ADD("e.gate.scales", F32, 5, 6, 2),
             offsets = ADD("e.gate.biases", F32, 5, 6, 2);
    added();
    (void)find_stack("e.gate", "e.%u.gate", 5, 0, 6, 6, 128, &w, NULL);
    assert_string_equal(w.name, "model.e.gate");
    assert_int_equal(w.stack_count, 5);
    assert_int_equal(w.shape.type, QUANT_AFFINE4);
    assert_int_equal(w.shape.scale_type, FLOAT_F32);
    for (uint64_t i = 0; i < 5; i++) {
        assert_part(&w.parts[i][PART_DATA], data + i * 6 * 64, 6 * 64);
        assert_part(&w.parts[i][PART_SCALES], scales + i * 6 * 8, 6 * 8);
        assert_part(&w.parts[i][PART_OFFSETS], offsets + i * 6 * 8, 6 * 8);
        assert_int_equal(w.parts[i][PART_SCALES].file_idx, 1);
    }
    /* A slice of the rows: every part is cut by its own row bytes. */
    (void)find_stack("e.gate", NULL, 5, 4, 2, 6, 128, &w, NULL);
    assert_int_equal(w.shape.rows, 2);
    for (uint64_t i = 0; i < 5; i++) {
        assert_part(&w.parts[i][PART_DATA], data + (i * 6 + 4) * 64, 2 * 64);
        assert_part(&w.parts[i][PART_SCALES], scales + (i * 6 + 4) * 8, 2 * 8);
        assert_part(&w.parts[i][PART_OFFSETS], offsets + (i * 6 + 4) * 8, 2 * 8);
    }
    (void)find_stack("e.gate", NULL, 4, 0, 6, 6, 128, &w, "model.e.gate.weight|[5, 6, 16]|[4, 6, any]");
    (void)find_stack("e.gate", NULL, 5, 0, 7, 7, 128, &w, "model.e.gate.weight|[5, 6, 16]|[5, 7, any]");
    end();
}

static void finds_fused_float_stacks(void **state)
{
    (void)state;
    static const char *const names[] = {"e.gate_up_proj", "e.gate_up_proj.weight"};
    for (size_t n = 0; n < ARRAY_COUNT(names); n++) {
        weight w;
        begin(NULL);
        uint64_t data = ADD(names[n], BF16, 3, 8, 10);
        added();
        (void)find_stack("e.gate_up_proj", "e.%u.gate_proj", 3, 4, 4, 8, 10, &w, NULL);
        assert_int_equal(w.shape.type, QUANT_BF16);
        assert_int_equal(w.shape.rows, 4);
        for (uint64_t i = 0; i < 3; i++) assert_part(&w.parts[i][PART_DATA], data + (i * 8 + 4) * 20, 80);
        (void)find_stack("e.gate_up_proj", NULL, 3, 0, 4, 8, 11, &w, "model.e.gate_up_proj|[3, 8, 10]|[3, 8, 11]");
        end();
    }
}

static void finds_one_tensor_per_expert(void **state)
{
    (void)state;
    weight w;
    uint64_t offsets[12];
    begin(NULL);
    for (int i = 0; i < 12; i++) {
        char name[64];
        snprintf(name, sizeof name, "mlp.experts.%d.w1.weight", i);
        offsets[i] = ADD(name, F16, 4, 6);
        snprintf(name, sizeof name, "q.%d.w1", i);
        add_triple(name, 4, 64, i == 7 ? 8 : 4, 32);
        snprintf(name, sizeof name, "m.%d.w1", i);
        if (i != 5) add_triple(name, 4, 64, 4, 32);
    }
    added();
    (void)find_stack("mlp.switch_mlp.w1", "mlp.experts.%u.w1", 12, 0, 4, 4, 6, &w, NULL);
    assert_string_equal(w.name, "model.mlp.experts.*.w1");
    assert_int_equal(w.stack_count, 12);
    for (int i = 0; i < 12; i++) assert_part(&w.parts[i][PART_DATA], offsets[i], 48);
    (void)find_stack("mlp.switch_mlp.w1", "mlp.experts.%u.w1", 12, 1, 2, 4, 6, &w, NULL);
    for (int i = 0; i < 12; i++) assert_part(&w.parts[i][PART_DATA], offsets[i] + 12, 24);
    (void)find_stack("q.w1", "q.%u.w1", 7, 0, 4, 4, 64, &w, NULL);
    assert_int_equal(w.shape.type, QUANT_AFFINE4);
    (void)find_stack("q.w1", "q.%u.w1", 12, 0, 4, 4, 64, &w, "model.q.0.w1 is affine4|model.q.7.w1 is affine8");
    (void)find_stack("m.w1", "m.%u.w1", 12, 0, 4, 4, 64, &w, "model.m.5.w1.weight is missing");
    (void)find_stack("mlp.switch_mlp.w1", "mlp.experts.%u.w1", 13, 0, 4, 4, 6, &w,
                     "model.mlp.experts.12.w1.weight is missing");
    (void)find_stack("mlp.switch_mlp.w1", NULL, 12, 0, 4, 4, 6, &w, "model.mlp.switch_mlp.w1.weight is missing");
    end();
}

static void finds_global_scales(void **state)
{
    (void)state;
    weight w;
    begin(NULL);
    ADD("x.weight", U32, 3, 4, 16);
    ADD("x.scales", U8, 3, 4, 8);
    uint64_t list = ADD("x.global_scale", F32, 3);
    ADD("y.weight", U32, 4, 16);
    ADD("y.scales", U8, 4, 8);
    uint64_t scalar = ADD("y.global_scale", F32, -1);
    ADD("z.weight", U32, 4, 16);
    ADD("z.scales", U8, 4, 4);
    ADD("z.global_scale", F32, 1);
    ADD("u.0.weight", U32, 4, 16);
    ADD("u.0.scales", U8, 4, 8);
    ADD("u.0.global_scale", F32, 1);
    ADD("v.weight", U32, 3, 4, 16);
    ADD("v.scales", U8, 3, 4, 8);
    ADD("v.global_scale", F32, 2);
    ADD("t.weight", U32, 4, 16);
    ADD("t.scales", U8, 4, 8);
    ADD("t.global_scale", U32, 1);
    added();
    (void)find_stack("x", NULL, 3, 1, 2, 4, 128, &w, NULL);
    assert_true(w.shape.has_global_scale);
    assert_part(w.global_scale_part, list, 12);
    assert_null(w.global_scales);
    w = must_find("y", 4, 128);
    assert_true(w.shape.has_global_scale);
    assert_part(w.global_scale_part, scalar, 4);
    must_refuse("z", 4, 128, "model.z.global_scale|mxfp4|nvfp4");
    must_refuse("t", 4, 128, "model.t.global_scale|U32|F32");
    (void)find_stack("u", "u.%u", 1, 0, 4, 4, 128, &w, "model.u.0");
    (void)find_stack("v", NULL, 3, 0, 4, 4, 128, &w, "model.v.global_scale|[2]|[3]");
    end();
}

/* ---- vectors, existence ---- */

static void finds_vectors(void **state)
{
    (void)state;
    vector v;
    leat_error error = {0};
    begin(NULL);
    uint64_t norm = ADD("norm.weight", BF16, 32);
    ADD("conv.weight", F32, 8, 1, 4);
    ADD("scalar", F16, -1);
    ADD("int", I16, 32);
    added();
    assert_int_equal(weights_find_vector(&fx->source, "norm.weight", 32, &v, NULL), LEAT_OK);
    assert_string_equal(v.name, "model.norm.weight");
    assert_int_equal(v.type, FLOAT_BF16);
    assert_int_equal(v.count, 32);
    assert_part(&v.part, norm, 64);
    assert_int_equal(weights_find_vector(&fx->source, "conv.weight", 32, &v, NULL), LEAT_OK);
    assert_int_equal(v.part.bytes, 128);
    assert_int_equal(weights_find_vector(&fx->source, "scalar", 1, &v, NULL), LEAT_OK);
    assert_int_equal(weights_find_vector(&fx->source, "norm.weight", 16, &v, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "model.norm.weight|[32]|16"));
    assert_int_equal(weights_find_vector(&fx->source, "int", 32, &v, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "model.int|I16"));
    assert_int_equal(weights_find_vector(&fx->source, "none", 32, &v, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "model.none is missing|32"));
    assert_true(weights_vector_exists(&fx->source, "norm.weight"));
    assert_false(weights_vector_exists(&fx->source, "norm"));
    end();
}

static void knows_what_exists(void **state)
{
    (void)state;
    begin(NULL);
    ADD("embed_tokens_per_layer.weight", BF16, 2, 2);
    ADD("e.gate_up_proj", BF16, 2, 2);
    ADD("layers.1.v_proj.weight", BF16, 2, 2);
    added();
    assert_true(weights_exist(&fx->source, "embed_tokens_per_layer"));
    assert_false(weights_exist(&fx->source, "embed_tokens"));
    assert_true(weights_exist(&fx->source, "e.gate_up_proj"));
    assert_false(weights_exist(&fx->source, "e.gate_up"));
    assert_true(weights_exist(&fx->source, "layers.1.v_proj"));
    assert_false(weights_exist(&fx->source, "layers.1.q_proj"));
    assert_false(weights_exist(&fx->source, "zzz"));
    char huge[2000];
    memset(huge, 'x', sizeof huge);
    huge[sizeof huge - 1] = '\0';
    assert_false(weights_exist(&fx->source, huge));
    must_refuse(huge, 2, 2, "missing");
    end();
}

static void survives_the_end_of_memory(void **state)
{
    (void)state;
    begin(NULL);
    ADD("x.weight", U32, 300, 4, 16);
    ADD("x.scales", U8, 300, 4, 8);
    ADD("x.global_scale", F32, 300);
    added();
    leat_status status = LEAT_NO_MEMORY;
    for (uint64_t nth = 1; status != LEAT_OK; nth++) {
        weight w = {.stack_count = 77};
        arena_reset(&fx->memory);
        mem_fail_nth(ledger, nth);
        status = weights_find_stack(&fx->source, "x", NULL, 300, 0, 4, 4, 128, &w, NULL);
        mem_fail_nth(ledger, 0);
        assert_true(status == LEAT_OK || (status == LEAT_NO_MEMORY && w.stack_count == 77));
        assert_true(nth < 20);
    }
    end();
}

/* ---- conformance data ---- */

/* The folder's configuration and shard, as a checkpoint of its own. */
static void begin_folder(const char *folder)
{
    char below[256];
    uint64_t bytes, header_bytes = 0;
    snprintf(below, sizeof below, "%s/config.json", folder);
    char *config = conformance_load(below, &bytes);
    assert_non_null(config);
    begin(config);
    free(config);
    fx->source.prefix = "language_model.model.";
    snprintf(below, sizeof below, "%s/model.safetensors", folder);
    char *file = conformance_load(below, &bytes);
    assert_non_null(file);
    assert_int_equal(safetensors_header_bytes("model.safetensors", bytes, (const uint8_t *)file, &header_bytes, NULL),
                     LEAT_OK);
    assert_int_equal(safetensors_parse(ledger, "model.safetensors", 0, bytes, file + 8, header_bytes, &fx->index, NULL),
                     LEAT_OK);
    free(file);
    added();
}

static leat_status find_known_gemma(leat_error *error)
{
    weight w;
    vector v;
    const weight_source *source = &fx->source;
    uint32_t vocab_count;
    TRY(hf_config_u32(fx->config, "vocab_size", 1, 1000, &vocab_count, error));
    TRY(weights_find(source, "embed_tokens", vocab_count, 32, &w, error));
    TRY(weights_find_vector(source, "norm.weight", 32, &v, error));
    TRY(weights_find_vector(source, "layers.0.self_attn.q_norm.weight", 32, &v, error));
    TRY(weights_find_vector(source, "layers.0.layer_scalar", 1, &v, error));
    TRY(weights_find(source, "layers.0.self_attn.q_proj", 64, 32, &w, error));
    TRY(weights_find(source, "layers.0.self_attn.o_proj", 32, 64, &w, error));
    TRY(weights_find(source, "layers.0.mlp.up_proj", 32, 32, &w, error));
    TRY(weights_find(source, "layers.0.router.proj", 4, 32, &w, error));
    return weights_find_stack(source, "layers.0.experts.switch_glu.up_proj", NULL, 4, 0, 32, 32, 32, &w, error);
}

static void judges_the_damaged_weights(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"config-vocab-differs", "embed_tokens|321|320"},
        {"tensor-missing", "language_model.model.layers.0.mlp.up_proj"},
        {"tensor-wrong-shape", "language_model.model.layers.0.self_attn.q_norm.weight|32|16"},
        {"tensor-wrong-dtype", "language_model.model.norm.weight|I16"},
        {"quant-bits-impossible", "language_model.model.layers.0.self_attn.q_proj|7 bits"},
        {"quant-override-contradicts-shapes", "language_model.model.layers.0.self_attn.q_proj|bits 8|mean 4"},
        {"quant-group-does-not-divide", "language_model.model.layers.0.self_attn.q_proj|3 scales|32 columns"},
        {"quant-scales-rows", "language_model.model.layers.0.self_attn.q_proj|63"},
        {"quant-biases-missing", "language_model.model.layers.0.self_attn.q_proj|biases"},
    };
    if (!conformance_has("bad/good/model.safetensors")) skip();
    leat_error error = {0};
    begin_folder("bad/good");
    if (find_known_gemma(&error) != LEAT_OK) fail_msg("%s", error.text);
    end();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char folder[128];
        error = (leat_error){0};
        snprintf(folder, sizeof folder, "bad/%s", cases[i][0]);
        begin_folder(folder);
        assert_int_equal(find_known_gemma(&error), LEAT_MODEL);
        printf("[  NOTE    ] %s: %s\n", cases[i][0], error.text);
        assert_true(mentions_all(error.text, cases[i][1]));
        end();
    }
}

/* What mlx's own converter wrote: the forms of seven modules in each checkpoint. */
static void reads_what_mlx_writes(void **state)
{
    (void)state;
    enum { EMBED, Q, GATE, DOWN, ROUTER, EXPERT_GATE, EXPERT_DOWN, MODULE_COUNT };
    static const struct {
        const char *folder, *forms[MODULE_COUNT];
    } cases[] = {
        {"gemma4-moe-4bit",
         {"affine4/64", "affine4/64", "affine4/64", "affine4/64", "affine8/64", "affine4/64", "affine4/64"}},
        {"gemma4-moe-3bit-2bit",
         {"affine4/64", "affine4/64", "affine4/64", "affine4/64", "affine8/64", "affine3/64", "affine2/64"}},
        {"gemma4-moe-g32-g128",
         {"affine4/128", "affine4/32", "affine4/128", "affine4/128", "affine8/128", "affine4/128", "affine4/32"}},
        {"gemma4-moe-mixed",
         {"affine6/64", "affine5/64", "affine8/64", "affine8/64", "affine8/64", "affine4/64", "affine4/64"}},
        {"gemma4-moe-mxfp4", {"mxfp4/32", "mxfp4/32", "mxfp4/32", "mxfp4/32", "affine8/64", "mxfp4/32", "mxfp4/32"}},
        {"gemma4-moe-mxfp8", {"mxfp8/32", "mxfp8/32", "mxfp8/32", "mxfp8/32", "affine8/64", "mxfp8/32", "mxfp8/32"}},
        {"gemma4-moe-nvfp4", {"nvfp4/16", "nvfp4/16", "nvfp4/16", "nvfp4/16", "affine8/64", "nvfp4/16", "nvfp4/16"}},
        {"gemma4-moe-nvfp4-global",
         {"nvfp4/16", "nvfp4/16", "nvfp4/16", "nvfp4/16", "affine8/64", "nvfp4/16+g", "nvfp4/16+g"}},
    };
    if (!conformance_has("mlx/gemma4-moe-4bit/model.safetensors")) skip();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char folder[128];
        weight w[MODULE_COUNT];
        uint32_t hidden, expert_width;
        snprintf(folder, sizeof folder, "mlx/%s", cases[i].folder);
        begin_folder(folder);
        assert_int_equal(hf_config_u32(fx->config, "hidden_size", 1, 4096, &hidden, NULL), LEAT_OK);
        assert_int_equal(hf_config_u32(fx->config, "moe_intermediate_size", 1, 4096, &expert_width, NULL), LEAT_OK);
        w[EMBED] = must_find("embed_tokens", 320, hidden);
        w[Q] = must_find("layers.0.self_attn.q_proj", 128, hidden);
        w[GATE] = must_find("layers.0.mlp.gate_proj", 128, hidden);
        w[DOWN] = must_find("layers.0.mlp.down_proj", hidden, 128);
        w[ROUTER] = must_find("layers.0.router.proj", 8, hidden);
        (void)find_stack("layers.0.experts.switch_glu.gate_proj", NULL, 8, 0, expert_width, expert_width, hidden,
                         &w[EXPERT_GATE], NULL);
        (void)find_stack("layers.0.experts.switch_glu.down_proj", NULL, 8, 0, hidden, hidden, expert_width,
                         &w[EXPERT_DOWN], NULL);
        for (size_t m = 0; m < MODULE_COUNT; m++) {
            char form[64];
            snprintf(form, sizeof form, "%s/%u%s", quant_traits_table[w[m].shape.type].label, w[m].shape.group,
                     w[m].shape.has_global_scale ? "+g" : "");
            assert_string_equal(form, cases[i].forms[m]);
            assert_false(w[m].differs_from_hint); /* the converter lists what differs from the top level */
        }
        end();
    }
}

/* Its configuration says 4 bits everywhere, some tensors have 8 and no override: the shapes win and the difference is
 * noted. */
static void trusts_shapes_over_the_top_level(void **state)
{
    (void)state;
    if (!conformance_has("mlx/gemma4-moe-unlisted-8bit/model.safetensors")) skip();
    begin_folder("mlx/gemma4-moe-unlisted-8bit");
    assert_int_equal(must_find("layers.1.self_attn.q_proj", 128, 192).shape.type, QUANT_AFFINE4);
    unsigned differing = 0;
    for (unsigned layer = 0; layer < 3; layer++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%u.mlp.down_proj", layer);
        weight w = must_find(path, 192, 128);
        assert_int_equal(w.differs_from_hint, w.shape.type == QUANT_AFFINE8);
        differing += w.differs_from_hint;
    }
    assert_int_equal(differing, 2);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_float_matrices),
        cmocka_unit_test(derives_bits_and_groups),
        cmocka_unit_test(derives_the_fp_modes),
        cmocka_unit_test(refuses_broken_triples),
        cmocka_unit_test(refuses_fractions_of_bits),
        cmocka_unit_test(refuses_short_extents),
        cmocka_unit_test(notes_a_wrong_top_level),
        cmocka_unit_test(refuses_false_overrides),
        cmocka_unit_test(finds_stacked_triples),
        cmocka_unit_test(finds_fused_float_stacks),
        cmocka_unit_test(finds_one_tensor_per_expert),
        cmocka_unit_test(finds_global_scales),
        cmocka_unit_test(finds_vectors),
        cmocka_unit_test(knows_what_exists),
        cmocka_unit_test(survives_the_end_of_memory),
        cmocka_unit_test(judges_the_damaged_weights),
        cmocka_unit_test(reads_what_mlx_writes),
        cmocka_unit_test(trusts_shapes_over_the_top_level),
    };
    return cmocka_run_group_tests(tests, open_ledger, close_ledger);
}

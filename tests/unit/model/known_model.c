#include "known_model.h"

#include "base/bytes.h"
#include "exec/session.h"
#include "kernel/kernel.h"
#include "model/model_build.h"
#include "quant/quant.h"

#include <math.h>

enum { GROUP = 32 };

void known_open(known_model *m, uint64_t seed, const char *prefix)
{
    *m = (known_model){.prefix = prefix};
    prng_init(&m->random, seed);
    make_folder(m->folder);
}

void known_close(known_model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        free(m->tensors[i].values);
        free(m->tensors[i].misread);
    }
    free(m->header);
    free(m->data);
    remove_folder(m->folder);
}

/* ---- writing ---- */

static void *grown(void *old, size_t *room, size_t needed)
{
    if (needed <= *room) return old;
    *room = needed * 2;
    void *larger = realloc(old, *room);
    assert_non_null(larger);
    return larger;
}

static void append_header(known_model *m, const char *text)
{
    const size_t length = strlen(text);
    m->header = grown(m->header, &m->header_room, m->header_bytes + length + 1);
    memcpy(m->header + m->header_bytes, text, length + 1);
    m->header_bytes += length;
}

/* One tensor of the file: `suffix` after prefix and name. */
static void store(known_model *m, const known_tensor *t, const char *suffix, const char *type, uint64_t last_dim,
                  const void *bytes, size_t count)
{
    char text[400], dims[96];
    if (t->cols == 0)
        snprintf(dims, sizeof dims, "%llu", (unsigned long long)t->rows);
    else if (t->stack == 0)
        snprintf(dims, sizeof dims, "%llu,%llu", (unsigned long long)t->rows, (unsigned long long)last_dim);
    else
        snprintf(dims, sizeof dims, "%llu,%llu,%llu", (unsigned long long)t->stack, (unsigned long long)t->rows,
                 (unsigned long long)last_dim);
    snprintf(text, sizeof text, "%s\"%s%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             m->header_bytes ? "," : "{", m->prefix, t->name, suffix, type, dims, m->data_bytes, m->data_bytes + count);
    append_header(m, text);
    m->data = grown(m->data, &m->data_room, m->data_bytes + count);
    memcpy(m->data + m->data_bytes, bytes, count);
    m->data_bytes += count;
}

static double symmetric(known_model *m) { return 2 * prng_unit(&m->random) - 1; }

static known_tensor *new_tensor(known_model *m, uint64_t stack, uint64_t rows, uint64_t cols, const char *format,
                                va_list args)
{
    assert_true(m->count < KNOWN_TENSORS_MAX);
    known_tensor *t = &m->tensors[m->count++];
    *t = (known_tensor){.stack = stack, .rows = rows, .cols = cols};
    vsnprintf(t->name, sizeof t->name, format, args);
    t->values = calloc((stack ? stack : 1) * rows * (cols ? cols : 1), sizeof(double));
    assert_non_null(t->values);
    return t;
}

void known_vector(known_model *m, uint64_t count, double mean, double spread, const char *name_format, ...)
{
    va_list args;
    va_start(args, name_format);
    known_tensor *t = new_tensor(m, 0, count, 0, name_format, args);
    va_end(args);
    float *stored = calloc(count, sizeof *stored);
    for (uint64_t i = 0; i < count; i++) t->values[i] = stored[i] = (float)(mean + spread * symmetric(m));
    store(m, t, "", "F32", 0, stored, count * sizeof *stored);
    free(stored);
}

static void store_floats(known_model *m, known_tensor *t, known_form form, const float *drawn, const char *suffix)
{
    const uint64_t count = (t->stack ? t->stack : 1) * t->rows * t->cols;
    uint16_t *halves = calloc(count, sizeof *halves);

    for (uint64_t i = 0; i < count; i++) {
        halves[i] = quant_f32_to_bf16(drawn[i]);
        t->values[i] = form == KNOWN_BF16 ? quant_bf16_to_f32(halves[i]) : drawn[i];
    }
    if (form == KNOWN_BF16)
        store(m, t, suffix, "BF16", t->cols, halves, count * 2);
    else
        store(m, t, suffix, "F32", t->cols, drawn, count * 4);
    free(halves);
}

/* Element `idx` of a row of codes: a bit stream, lowest bits first (models.md 2.2). */
static uint32_t code_at(const uint8_t *codes, uint64_t idx, uint32_t bits)
{
    uint32_t code = 0;
    for (uint32_t i = 0; i < bits; i++) {
        const uint64_t bit = idx * bits + i;
        code |= (uint32_t)(codes[bit / 8] >> bit % 8 & 1) << i;
    }
    return code;
}

static void store_affine(known_model *m, known_tensor *t, uint32_t bits, const float *drawn)
{
    const uint64_t rows = (t->stack ? t->stack : 1) * t->rows, row_bytes = t->cols * bits / 8, groups = t->cols / GROUP;
    uint8_t *codes = calloc(rows, row_bytes), *scales = calloc(rows, groups * 2), *offsets = calloc(rows, groups * 2);

    if (bits == 8) t->misread = calloc(rows * t->cols, sizeof(double));
    for (uint64_t r = 0; r < rows; r++) {
        uint8_t *row = codes + r * row_bytes, *s = scales + r * groups * 2, *o = offsets + r * groups * 2;
        quant_encode_affine(drawn + r * t->cols, t->cols, bits, GROUP, FLOAT_BF16, row, s, o);
        for (uint64_t c = 0; c < t->cols; c++) {
            const double scale = quant_float_at(FLOAT_BF16, s, c / GROUP),
                         bias = quant_float_at(FLOAT_BF16, o, c / GROUP);
            t->values[r * t->cols + c] = (float)(scale * code_at(row, c, bits) + bias);
            if (t->misread) t->misread[r * t->cols + c] = (float)(scale * code_at(row, c, 4) + bias);
        }
    }
    store(m, t, ".weight", "U32", row_bytes / 4, codes, rows * row_bytes);
    store(m, t, ".scales", "BF16", groups, scales, rows * groups * 2);
    store(m, t, ".biases", "BF16", groups, offsets, rows * groups * 2);
    free(codes);
    free(scales);
    free(offsets);
}

void known_matrix(known_model *m, known_form form, uint64_t stack, uint64_t rows, uint64_t cols, double spread,
                  const char *name_format, ...)
{
    va_list args;
    va_start(args, name_format);
    known_tensor *t = new_tensor(m, stack, rows, cols, name_format, args);
    va_end(args);
    char *bang = strchr(t->name, '!');
    if (bang != NULL) *bang = '\0';

    const uint64_t count = (stack ? stack : 1) * rows * cols;
    float *drawn = calloc(count, sizeof *drawn);
    for (uint64_t i = 0; i < count; i++) drawn[i] = (float)(spread * symmetric(m) / sqrt((double)cols));
    if (form == KNOWN_F32 || form == KNOWN_BF16)
        store_floats(m, t, form, drawn, bang ? "" : ".weight");
    else
        store_affine(m, t, form == KNOWN_AFFINE8 ? 8 : 4, drawn);
    free(drawn);
}

void known_write(known_model *m, const char *config_text)
{
    append_header(m, "}");
    const uint64_t length = m->header_bytes;
    uint8_t *bytes = malloc(8 + length + m->data_bytes);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, m->header, length);
    memcpy(bytes + 8 + length, m->data, m->data_bytes);
    write_file_bytes(m->folder, "model.safetensors", bytes, 8 + length + m->data_bytes);
    write_file_text(m->folder, "config.json", config_text);
    free(bytes);
}

const known_tensor *known_find(const known_model *m, const char *name_format, ...)
{
    char name[KNOWN_NAME_BYTES];
    va_list args;
    va_start(args, name_format);
    vsnprintf(name, sizeof name, name_format, args);
    va_end(args);
    for (uint32_t i = 0; i < m->count; i++)
        if (!strcmp(m->tensors[i].name, name)) return &m->tensors[i];
    return NULL;
}

/* ---- the engine ---- */

typedef struct logit_sink {
    float *logits;
    uint32_t vocab;
} logit_sink;

static leat_status keep_logits(void *user, size_t position, const float *logits, leat_error *error)
{
    const logit_sink *sink = user;
    (void)error;
    memcpy(sink->logits + position * sink->vocab, logits, sink->vocab * sizeof *logits);
    return LEAT_OK;
}

/* The caches that plan and engine agree on: none for layers that read another's. */
static void check_kv(const model_desc *model, const plan *solved, const mem *ledger)
{
    kv_layer_shape shapes[LAYERS_MAX];
    const uint64_t taken = mem_pool_usage(ledger, MEM_KV).current_bytes, slack = (2 * model->layer_count + 5) * 8192;

    plan_kv_shapes(model, shapes);
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const attention_block *a = &layer_block(&model->layers[i], BLOCK_ATTENTION)->attention;
        assert_int_equal(shapes[i].kv_head_count, a->owns_kv ? a->kv_head_count : 0);
        if (!a->owns_kv) continue;
        assert_int_equal(shapes[i].head_dim, a->head_dim);
        assert_int_equal(shapes[i].window, a->window);
    }
    assert_in_range(taken, solved->kv_bytes > slack ? solved->kv_bytes - slack : 0, solved->kv_bytes);
}

static void score(const checkpoint *source, const model_desc *model, known_run how, const uint32_t *tokens,
                  uint32_t count, float *logits)
{
    engine_options options = {.budget_bytes = 1,
                              .spare_bytes = UINT64_C(1) << 30,
                              .ctx = 192,
                              .thread_count = how.thread_count,
                              .prefill_chunk = how.chunk,
                              .level = kernel_isa_best(),
                              .io = {.wanted = FILE_DIRECT_IF_POSSIBLE}};
    logit_sink sink = {logits, model->vocab_size};
    leat_error error = {0};
    plan solved;
    mem *ledger;
    engine *e;
    session *s;

    assert_fails(BUDGET, engine_plan(source, model, &options, &solved, &error), &error);
    options.budget_bytes = how.at_floor ? solved.floor_bytes : 0;
    assert_ok(engine_plan(source, model, &options, &solved, &error), &error);
    ledger = open_ledger(solved.budget_bytes - solved.outside_bytes);
    assert_ok(engine_open(source, model, &options, &solved, ledger, &e, &error), &error);
    assert_ok(session_open(e, &s, &error), &error);
    check_kv(model, &solved, ledger);
    assert_ok(session_score(s, tokens, count, keep_logits, &sink, &error), &error);
    session_close(&s);
    engine_close(&e);
    close_empty_ledger(ledger);
}

void known_logits(const known_model *m, known_run how, const uint32_t *tokens, uint32_t count, float *logits)
{
    mem *ledger = open_ledger(0);
    checkpoint *source;
    model_desc model;
    arena memory;
    leat_error error = {0};

    arena_init(&memory, ledger, MEM_META, 4096);
    assert_ok(checkpoint_open(m->folder, &source, &error), &error);
    assert_ok(model_build(&source->index, source->config, source->generation, &memory, &model, &error), &error);
    score(source, &model, how, tokens, count, logits);
    arena_reset(&memory);
    checkpoint_close(&source);
    close_empty_ledger(ledger);
}

/*
 * leat.c - leat.h on top of exec: checks of arguments, handles, and copies between public and internal structs. No
 * behaviour of its own.
 */
#include <leat/leat.h>

#include "api/tokenizer_files.h"
#include "api/tokenizer_handle.h"
#include "base/bytes.h"
#include "base/log.h"
#include "exec/checkpoint.h"
#include "exec/pack.h"
#include "exec/engine.h"
#include "exec/fingerprint.h"
#include "exec/forecast.h"
#include "exec/model_path.h"
#include "exec/sampler.h"
#include "exec/session.h"
#include "exec/shared_plan.h"
#include "model/model_build.h"
#include "os/clock.h"
#include "os/cpu_topology.h"
#include "os/memory_limit.h"
#include "os/own_thread.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEAT_VERSION "0.1.0"

/* ---- version, messages, instruction sets ---- */

const char *leat_version(void) { return LEAT_VERSION; }
const char *leat_status_text(leat_status status) { return status_text(status); }
int leat_status_exit_code(leat_status status) { return status_exit_code(status); }

void leat_log_set(leat_log_sink *sink, void *user, leat_log_level highest)
{
    _Static_assert((int)LEAT_LOG_TRACE == (int)LOG_TRACE, "the public levels are the internal ones");
    log_set_sink((log_sink *)sink, user, (log_level)highest);
}

static isa internal_isa(leat_isa level)
{
    switch (level) {
    case LEAT_ISA_SCALAR: return ISA_SCALAR;
    case LEAT_ISA_AVX2: return ISA_AVX2;
    case LEAT_ISA_AVX512: return ISA_AVX512;
    case LEAT_ISA_AUTO: break;
    }
    return kernel_isa_best();
}

static leat_isa public_isa(isa level)
{
    return level == ISA_AVX512 ? LEAT_ISA_AVX512 : level == ISA_AVX2 ? LEAT_ISA_AVX2 : LEAT_ISA_SCALAR;
}

bool leat_isa_is_usable(leat_isa level) { return kernel_isa_is_usable(internal_isa(level)); }
const char *leat_isa_label(leat_isa level) { return level == LEAT_ISA_AUTO ? "auto" : isa_label(internal_isa(level)); }

/* ---- tokenizer ---- */

/* The files of a folder that say how its model converses. */
typedef struct chat_texts {
    char *texts[4];
    chat_files files;
} chat_texts;

static void free_chat_texts(chat_texts *c, mem *ledger)
{
    for (size_t i = 0; i < ARRAY_COUNT(c->texts); i++) mem_free(ledger, c->texts[i]);
}

static leat_status load_chat_texts(const checkpoint *folder, mem *ledger, mem_pool pool, chat_texts *c,
                                   leat_error *error)
{
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json", "chat_template.json",
                                        "special_tokens_map.json"};
    chat_file *const files[] = {&c->files.template_jinja, &c->files.tokenizer_config, &c->files.template_json,
                                &c->files.special_tokens_map};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        uint64_t bytes;
        TRY(checkpoint_load_text(folder, names[i], ledger, pool, &c->texts[i], &bytes, error));
        *files[i] = (chat_file){c->texts[i], bytes};
    }
    return LEAT_OK;
}

static leat_status find_chat(leat_tokenizer *t, const checkpoint *folder, leat_error *error)
{
    chat_texts texts = {0};

    leat_status status = load_chat_texts(folder, t->ledger, MEM_TOKENIZER, &texts, error);
    if (status == LEAT_OK) status = chat_source_find(&texts.files, t->inner, &t->chat, error);
    free_chat_texts(&texts, t->ledger);
    return status;
}

static leat_status find_bos(leat_tokenizer *t, const checkpoint *folder, leat_error *error)
{
    static const char *const names[] = {"<bos>", "<s>", "<|begin_of_text|>"};
    uint32_t ids[1], count = 0;

    t->bos_id = NO_ID;
    if (folder->config && hf_config_has(folder->config, "bos_token_id"))
        TRY(hf_config_token_ids(folder->config, "bos_token_id", tokenizer_id_count(t->inner), ids, 1, &count, error));
    if (count) t->bos_id = ids[0];
    for (size_t i = 0; i < ARRAY_COUNT(names) && t->bos_id == NO_ID; i++)
        tokenizer_id_of(t->inner, names[i], &t->bos_id);
    const chat_builtin *family = chat_builtin_find(t->inner);
    t->adds_bos = t->bos_id != NO_ID && (tokenizer_begins_with(t->inner, t->bos_id) || (family && family->bos));
    return LEAT_OK;
}

void find_bos_change(const leat_tokenizer *t, const token_list *ids, bool *out_adds, uint64_t *out_dropped)
{
    *out_dropped = 0;
    *out_adds = t->adds_bos && (ids->count == 0 || ids->ids[0] != t->bos_id);
    if (!t->adds_bos) return;
    while (*out_dropped + 1 < ids->count && ids->ids[*out_dropped] == t->bos_id &&
           ids->ids[*out_dropped + 1] == t->bos_id)
        ++*out_dropped;
}

static leat_status open_tokenizer(const checkpoint *folder, mem *ledger, uint32_t vocab_count, leat_tokenizer **out,
                                  leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_tokenizer *t = NULL;

    TRY(mem_alloc(ledger, MEM_TOKENIZER, 1, sizeof *t, 0, "tokenizer", (void **)&t, error));
    t->ledger = ledger;
    chat_source_init(&t->chat, ledger);
    TRY_OR(done, tokenizer_place_open(folder, ledger, vocab_count, &t->inner, error));
    TRY_OR(done, find_bos(t, folder, error));
    TRY_OR(done, find_chat(t, folder, error));
    t->peak_bytes = mem_pool_usage(ledger, MEM_TOKENIZER).peak_bytes;
done:
    if (status == LEAT_OK)
        *out = t;
    else
        leat_tokenizer_close(&t);
    return status;
}

leat_status leat_tokenizer_open(const char *path, leat_tokenizer **out_tokenizer, leat_error *error)
{
    leat_status status = LEAT_OK;
    checkpoint *folder = NULL;
    mem *ledger = NULL;
    leat_tokenizer *t = NULL;

    if (!path || !*path) return FAIL(error, USAGE, "no tokenizer was named");
    TRY(checkpoint_open_texts(path, &folder, error));
    TRY_OR(done, mem_open(0, &ledger, error));
    TRY_OR(done, open_tokenizer(folder, ledger, 0, &t, error));
    t->owns_ledger = true;
done:
    checkpoint_close(&folder);
    if (status == LEAT_OK)
        *out_tokenizer = t;
    else
        mem_close(&ledger);
    return status;
}

void leat_tokenizer_close(leat_tokenizer **handle)
{
    leat_tokenizer *t = *handle;

    if (!t) return;
    mem *ledger = t->ledger;
    const bool owns_ledger = t->owns_ledger;
    chat_source_reset(&t->chat);
    tokenizer_close(&t->inner);
    mem_free(ledger, t);
    if (owns_ledger) mem_close(&ledger);
    *handle = NULL;
}

void leat_tokenizer_memory(const leat_tokenizer *t, uint64_t *out_current, uint64_t *out_peak)
{
    *out_current = mem_pool_usage(t->ledger, MEM_TOKENIZER).current_bytes;
    *out_peak = t->peak_bytes;
}

leat_status give_tokens(const uint32_t *ids, uint64_t count, bool prepend, uint32_t first, leat_tokens *out,
                        leat_error *error)
{
    uint32_t *copy = malloc((count + prepend + 1) * sizeof *copy);

    if (!copy) return FAIL(error, NO_MEMORY, "%llu tokens", (unsigned long long)count);
    if (prepend) copy[0] = first;
    if (count) memcpy(copy + prepend, ids, count * sizeof *ids);
    *out = (leat_tokens){copy, count + prepend};
    return LEAT_OK;
}

leat_status give_text(const text_buffer *buffer, leat_text *out, leat_error *error)
{
    char *copy = malloc(buffer->count + 1);

    if (!copy) return FAIL(error, NO_MEMORY, "%llu bytes of text", (unsigned long long)buffer->count);
    if (buffer->count) memcpy(copy, buffer->bytes, buffer->count);
    copy[buffer->count] = 0;
    *out = (leat_text){copy, buffer->count};
    return LEAT_OK;
}

void leat_text_free(leat_text *text)
{
    free(text->bytes);
    *text = (leat_text){0};
}

void leat_tokens_free(leat_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (leat_tokens){0};
}

static leat_status encode(const leat_tokenizer *t, const char *text, size_t text_bytes, unsigned flags, bool bos_once,
                          leat_tokens *out_tokens, leat_error *error)
{
    leat_status status = LEAT_OK;
    token_list ids;
    bool prepend = false;
    uint64_t dropped = 0;

    token_list_init(&ids, t->ledger);
    TRY_OR(done, tokenizer_encode(t->inner, text, text_bytes, flags, &ids, error));
    if (bos_once) find_bos_change(t, &ids, &prepend, &dropped);
    TRY_OR(done,
           give_tokens(ids.ids ? ids.ids + dropped : NULL, ids.count - dropped, prepend, t->bos_id, out_tokens, error));
done:
    token_list_reset(&ids);
    return status;
}

leat_status leat_tokenize(const leat_tokenizer *t, const char *text, size_t text_bytes, bool special, bool post_process,
                          leat_tokens *out_tokens, leat_error *error)
{
    const unsigned flags = (special ? 0 : TOKENIZER_PLAIN) | (post_process ? TOKENIZER_POST_PROCESS : 0);
    return encode(t, text, text_bytes, flags, false, out_tokens, error);
}

leat_status leat_tokenize_prompt(const leat_tokenizer *t, const char *text, size_t text_bytes, leat_tokens *out_tokens,
                                 leat_error *error)
{
    return encode(t, text, text_bytes, TOKENIZER_POST_PROCESS, true, out_tokens, error);
}

leat_status leat_detokenize(const leat_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                            leat_text *out_text, leat_error *error)
{
    leat_status status = LEAT_OK;
    text_buffer buffer;

    text_buffer_init(&buffer, t->ledger);
    TRY_OR(done, tokenizer_decode(t->inner, ids, count, skip_special, &buffer, error));
    TRY_OR(done, give_text(&buffer, out_text, error));
done:
    text_buffer_reset(&buffer);
    return status;
}

const char *leat_token_text(const leat_tokenizer *t, uint32_t id) { return tokenizer_token_text(t->inner, id, NULL); }

leat_status leat_token_bytes(const leat_tokenizer *t, uint32_t id, leat_text *out_text, leat_error *error)
{
    leat_status status = LEAT_OK;
    text_buffer buffer;

    text_buffer_init(&buffer, t->ledger);
    TRY_OR(done, tokenizer_token_bytes(t->inner, id, &buffer, error));
    TRY_OR(done, give_text(&buffer, out_text, error));
done:
    text_buffer_reset(&buffer);
    return status;
}

struct leat_stream {
    mem *ledger;
    detokenizer *inner;
    text_buffer text;
};

leat_status leat_stream_open(const leat_tokenizer *t, bool skip_special, leat_stream **out_stream, leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_stream *s;

    TRY(mem_alloc(t->ledger, MEM_TOKENIZER, 1, sizeof *s, 0, "stream", (void **)&s, error));
    s->ledger = t->ledger;
    text_buffer_init(&s->text, t->ledger);
    TRY_OR(fail, detokenizer_open(t->inner, skip_special, &s->inner, error));
    *out_stream = s;
    return LEAT_OK;
fail:
    leat_stream_close(&s);
    return status;
}

void leat_stream_close(leat_stream **stream)
{
    leat_stream *s = *stream;

    if (!s) return;
    detokenizer_close(&s->inner);
    text_buffer_reset(&s->text);
    mem_free(s->ledger, s);
    *stream = NULL;
}

static leat_status give_stream_text(leat_stream *s, leat_status status, const char **out_text, size_t *out_bytes)
{
    if (status != LEAT_OK) return status;
    *out_text = s->text.count ? s->text.bytes : "";
    *out_bytes = s->text.count;
    return LEAT_OK;
}

leat_status leat_stream_push(leat_stream *s, uint32_t id, const char **out_text, size_t *out_bytes, leat_error *error)
{
    s->text.count = 0;
    return give_stream_text(s, detokenizer_push(s->inner, id, &s->text, error), out_text, out_bytes);
}

leat_status leat_stream_flush(leat_stream *s, const char **out_text, size_t *out_bytes, leat_error *error)
{
    s->text.count = 0;
    return give_stream_text(s, detokenizer_flush(s->inner, &s->text, error), out_text, out_bytes);
}

/* ---- model ---- */

static const sampler_options sampler_defaults = {
    .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1, .repeat_last = 64};

struct leat_model {
    mem *ledger;
    checkpoint *source;
    arena memory;
    model_desc desc;
    leat_model_info info;
    uint64_t tokenizer_file_bytes;
    uint64_t template_bytes;
    sampler_options sampling; /* defaults, and what generation_config.json says */
    leat_weight_info *weights;
    uint32_t weight_count;
};

typedef struct weight_walk {
    leat_model *model;
    leat_weight_info *out; /* NULL while counting */
    uint32_t count;
} weight_walk;

static const char *place_label(bool is_expert_stack, weight_place place)
{
    return is_expert_stack ? "streamed" : place == WEIGHT_ROWS ? "on demand" : "resident";
}

static void visit_weight(void *user, const weight *w, bool is_expert_stack, weight_place place)
{
    weight_walk *walk = user;
    leat_model_info *info = &walk->model->info;
    const uint64_t bytes = weight_bytes(w), elements = w->shape.rows * w->shape.cols * w->stack_count;

    if (walk->out) {
        walk->out[walk->count] = (leat_weight_info){.name = w->name,
                                                    .type = quant_traits_table[w->shape.type].label,
                                                    .group = w->shape.group,
                                                    .stack_count = w->stack_count,
                                                    .rows = w->shape.rows,
                                                    .cols = w->shape.cols,
                                                    .bytes = bytes,
                                                    .place = place_label(is_expert_stack, place),
                                                    .differs_from_config = w->differs_from_hint};
    } else {
        info->parameter_count += elements;
        info->weight_bytes += bytes;
        if (is_expert_stack)
            info->expert_bytes += bytes;
        else if (place == WEIGHT_ROWS)
            info->on_demand_bytes += bytes;
        else
            info->trunk_bytes += bytes;
        info->active_parameter_count += is_expert_stack
                                            ? elements / w->stack_count * walk->model->desc.expert_used_count
                                        : place == WEIGHT_ROWS ? w->shape.cols
                                                               : elements;
    }
    walk->count++;
}

static uint64_t largest_record(const model_desc *m)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < m->layer_count; i++) {
        const block *b = layer_block(&m->layers[i], BLOCK_MOE);
        if (b)
            most = max_u64(most, (weight_bytes(&b->moe.gate) + weight_bytes(&b->moe.up) + weight_bytes(&b->moe.down)) /
                                     b->moe.expert_count);
    }
    return most;
}

/* A folder without a tokenizer works with token ids alone. The chat format is told by the template here, because the
 * vocabulary is not read before an engine wants it. */
static leat_status look_at_texts(leat_model *m, leat_error *error)
{
    chat_source source;
    chat_texts texts = {0};
    leat_status status = LEAT_OK;
    tokenizer_place place;

    m->info.chat_format = "none";
    TRY(tokenizer_place_find(m->source, &place, error));
    m->tokenizer_file_bytes = place.json_bytes;
    m->info.has_tokenizer = place.name[0] != 0;
    if (!m->info.has_tokenizer) return LEAT_OK;
    chat_source_init(&source, m->ledger);
    TRY_OR(done, load_chat_texts(m->source, m->ledger, MEM_META, &texts, error));
    TRY_OR(done, chat_source_find(&texts.files, NULL, &source, error));
    m->info.chat_template = source.origin;
    m->template_bytes = source.plain.count + source.with_tools.count;
    if (source.origin) m->info.chat_format = chat_template_family(source.plain.bytes, source.plain.count);
done:
    chat_source_reset(&source);
    free_chat_texts(&texts, m->ledger);
    return status;
}

static leat_status read_sampling(leat_model *m, leat_error *error)
{
    const hf_config *g = m->source->generation;
    double temperature, top_p, min_p, repeat;
    bool do_sample;

    m->sampling = sampler_defaults;
    if (!g) return LEAT_OK;
    TRY(hf_config_f64_or(g, "temperature", 0, 100, m->sampling.temperature, &temperature, error));
    TRY(hf_config_f64_or(g, "top_p", 0, 1, m->sampling.top_p, &top_p, error));
    TRY(hf_config_f64_or(g, "min_p", 0, 1, hf_config_has(g, "top_p") ? 0 : m->sampling.min_p, &min_p, error));
    TRY(hf_config_f64_or(g, "repetition_penalty", 0.01, 100, 1, &repeat, error));
    TRY(hf_config_u32_or(g, "top_k", 0, 1 << 24, m->sampling.top_k, &m->sampling.top_k, error));
    TRY(hf_config_bool_or(g, "do_sample", true, &do_sample, error));
    m->sampling.temperature = do_sample ? (float)temperature : 0;
    m->sampling.top_p = (float)top_p;
    m->sampling.min_p = (float)min_p;
    m->sampling.repeat_penalty = (float)repeat;
    return LEAT_OK;
}

static leat_status fill_info(leat_model *m, leat_error *error)
{
    const model_desc *d = &m->desc;
    leat_model_info *info = &m->info;
    char model_type[64];
    weight_walk walk = {.model = m};
    uint64_t all_bytes = 0;

    TRY(hf_config_text_or(m->source->config, "model_type", "", model_type, sizeof model_type, error));
    TRY(arena_copy_text(&m->memory, model_type, strlen(model_type), &info->model_type, error));
    model_each_weight(d, visit_weight, &walk);
    TRY(ARENA_NEW(&m->memory, walk.count, &m->weights, error));
    m->weight_count = walk.count;
    walk = (weight_walk){.model = m, .out = m->weights};
    model_each_weight(d, visit_weight, &walk);
    for (uint32_t i = 0; i < d->vector_count; i++) {
        info->parameter_count += d->vectors[i].count;
        info->active_parameter_count += d->vectors[i].count;
        info->weight_bytes += d->vectors[i].part.bytes;
        info->trunk_bytes += d->vectors[i].part.bytes;
    }
    for (uint64_t i = 0; i < m->source->index.count; i++) all_bytes += m->source->index.tensors[i].bytes;

    _Static_assert(sizeof info->fingerprint == FINGERPRINT_BYTES, "the public text has the internal one's size");
    TRY(model_fingerprint(m->source, d, info->fingerprint, error));
    info->path = m->source->path;
    info->architecture = d->architecture;
    info->ignored_bytes = all_bytes > info->weight_bytes ? all_bytes - info->weight_bytes : 0;
    info->file_count = m->source->file_count;
    info->tensor_count = (uint32_t)m->source->index.count;
    info->layer_count = d->layer_count;
    info->hidden_size = d->hidden_size;
    info->vocab_size = d->vocab_size;
    info->head_count = d->head_count;
    info->kv_head_count = d->kv_head_count;
    info->head_dim = d->head_dim;
    info->context_max = d->context_max;
    info->window = d->window;
    info->expert_count = d->expert_count;
    info->expert_used_count = d->expert_used_count;
    info->moe_layer_count = d->moe_layer_count;
    info->expert_record_bytes = largest_record(d);
    info->head_is_tied = d->head == d->embedding;
    info->stop_ids = d->stop_ids;
    info->stop_id_count = d->stop_id_count;
    info->bos_id = d->bos_id;
    return look_at_texts(m, error);
}

static void warn_about_hints(leat_model *m)
{
    uint32_t count = 0;
    const leat_weight_info *first = NULL;

    for (uint32_t i = 0; i < m->weight_count; i++)
        if (m->weights[i].differs_from_config) {
            if (!first) first = &m->weights[i];
            count++;
        }
    if (!count) return;
    checkpoint_warn(m->source,
                    "config.json's quantization differs from the tensors of %u weights, first %s, which is %s group "
                    "%u; the shapes win",
                    count, first->name, first->type, first->group);
}

leat_status leat_model_open(const char *path, leat_model **out_model, leat_error *error)
{
    leat_status status = LEAT_OK;
    mem *ledger = NULL;
    leat_model *m = NULL;

    if (!path || !*path) return FAIL(error, USAGE, "no model was named");
    TRY(mem_open(0, &ledger, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_META, 1, sizeof *m, 0, "model", (void **)&m, error));
    m->ledger = ledger;
    arena_init(&m->memory, ledger, MEM_META, 64 * 1024);
    TRY_OR(fail, checkpoint_open(path, &m->source, error));
    TRY_OR(fail, model_build(&m->source->index, m->source->config, m->source->generation, &m->memory, &m->desc, error));
    TRY_OR(fail, fill_info(m, error));
    TRY_OR(fail, read_sampling(m, error));
    warn_about_hints(m);
    *out_model = m;
    return LEAT_OK;
fail:
    /* Names of files alone do not tell which of several models is meant. */
    if (error && !error->hint[0] && m && m->source) status_hint(error, "the folder is %s", m->source->path);
    if (m)
        leat_model_close(&m);
    else
        mem_close(&ledger);
    return status;
}

void leat_model_close(leat_model **model)
{
    leat_model *m = *model;

    if (!m) return;
    mem *ledger = m->ledger;
    checkpoint_close(&m->source);
    arena_reset(&m->memory);
    mem_free(ledger, m);
    mem_close(&ledger);
    *model = NULL;
}

const leat_model_info *leat_model_get_info(const leat_model *model) { return &model->info; }
uint32_t leat_model_weight_count(const leat_model *model) { return model->weight_count; }
leat_weight_info leat_model_weight(const leat_model *model, uint32_t idx) { return model->weights[idx]; }
uint32_t leat_model_warning_count(const leat_model *model) { return model->source->warning_count; }
const char *leat_model_warning(const leat_model *model, uint32_t idx) { return model->source->warnings[idx]; }

leat_status leat_model_check(const leat_model *model, leat_progress_fn *progress, void *user,
                             const volatile int *cancel, uint64_t *out_checked_bytes, leat_error *error)
{
    return checkpoint_verify(model->source, progress, user, cancel, out_checked_bytes, error);
}

leat_status leat_model_pack(const leat_model *model, const char *folder, leat_progress_fn *progress, void *user,
                            const volatile int *cancel, leat_pack_result *out_result, leat_error *error)
{
    pack_result result;
    const pack_request request = {.source = model->source,
                                  .model = &model->desc,
                                  .folder = folder,
                                  .progress = progress,
                                  .user = user,
                                  .cancel = cancel};

    if (!folder || !*folder) return FAIL(error, USAGE, "no folder was named");
    TRY(pack_write(&request, &result, error));
    if (out_result)
        *out_result = (leat_pack_result){.bytes = result.bytes,
                                         .kept_bytes = result.kept_bytes,
                                         .padding_bytes = result.padding_bytes,
                                         .record_count = result.record_count,
                                         .file_count = result.file_count};
    return LEAT_OK;
}

/* ---- plan ---- */

leat_options leat_options_default(void) { return (leat_options){0}; }

static leat_status read_budget(const leat_options *o, const memory_limit *limit, uint64_t *out_budget,
                               leat_error *error)
{
    const uint64_t ceiling = memory_limit_ceiling(limit);
    uint64_t budget = o->ram_bytes;

    if (!(o->ram_fraction >= 0 && o->ram_fraction <= 1)) /* also what is no number */
        return FAIL(error, USAGE, "the fraction of memory is %g, expected more than 0 and at most 1", o->ram_fraction);
    if (o->ram_fraction > 0) budget = max_u64(1, (uint64_t)(o->ram_fraction * (double)ceiling)); /* 0 would mean auto */
    if (budget > ceiling && !o->force) {
        const leat_status status = FAIL(
            error, BUDGET, "the budget of %.1f GiB is above the %.1f GiB that this machine or its control group allows",
            (double)budget / 1073741824.0, (double)ceiling / 1073741824.0);
        status_hint(error, "give less with --ram, or --force to try it all the same");
        return status;
    }
    *out_budget = budget;
    return LEAT_OK;
}

static leat_status engine_options_from(const leat_model *m, const leat_options *o, memory_limit *limit,
                                       engine_options *out, leat_error *error)
{
    uint64_t budget;

    TRY(memory_limit_read("", limit, error));
    TRY(read_budget(o, limit, &budget, error));
    if ((unsigned)o->isa > LEAT_ISA_AVX512) return FAIL(error, USAGE, "there is no instruction set %d", (int)o->isa);
    if ((unsigned)o->io > LEAT_IO_BUFFERED) return FAIL(error, USAGE, "there is no I/O mode %d", (int)o->io);
    if ((unsigned)o->cache_policy > LEAT_CACHE_S3FIFO)
        return FAIL(error, USAGE, "there is no cache policy %d", (int)o->cache_policy);
    if ((unsigned)o->look_ahead > LEAT_LOOK_AHEAD_ON)
        return FAIL(error, USAGE, "there is no look-ahead mode %d", (int)o->look_ahead);
    if ((unsigned)o->io_engine > LEAT_IO_ENGINE_URING)
        return FAIL(error, USAGE, "there is no I/O engine %d", (int)o->io_engine);
    if (!leat_isa_is_usable(o->isa))
        return FAIL(error, USAGE, "the instruction set %s is not available on this CPU or not built in",
                    leat_isa_label(o->isa));
    if (o->ctx > m->desc.context_max)
        return FAIL(error, USAGE, "a context of %u was asked for, the model's maximum is %u", o->ctx,
                    m->desc.context_max);
    if (o->thread_count > THREAD_POOL_THREADS_MAX)
        return FAIL(error, USAGE, "%u threads were asked for, the most is %u", o->thread_count,
                    THREAD_POOL_THREADS_MAX);
    /* An automatic budget leaves a fifth of what is free to others. */
    const uint64_t spare = min_u64(limit->available_bytes, limit->cgroup_free_bytes) / 5 * 4;
    *out = (engine_options){.budget_bytes = budget,
                            .spare_bytes = spare,
                            .ctx = o->ctx,
                            .thread_count = o->thread_count ? o->thread_count : cpu_usable_count(),
                            .prefill_chunk = o->prefill_chunk,
                            .level = internal_isa(o->isa),
                            .cache_policy = o->cache_policy == LEAT_CACHE_AUTO ? (cache_policy)CACHE_POLICY_AUTO
                                                                               : (cache_policy)(o->cache_policy - 1),
                            .io_engine = o->io_engine == LEAT_IO_ENGINE_AUTO      ? STORAGE_AUTO
                                         : o->io_engine == LEAT_IO_ENGINE_THREADS ? STORAGE_THREADS
                                                                                  : STORAGE_URING,
                            .look_ahead = o->look_ahead == LEAT_LOOK_AHEAD_AUTO  ? LOOK_AHEAD_AUTO
                                          : o->look_ahead == LEAT_LOOK_AHEAD_OFF ? LOOK_AHEAD_OFF
                                                                                 : LOOK_AHEAD_ON,
                            .model_bytes = mem_total_usage(m->ledger).current_bytes,
                            .tokenizer_file_bytes = m->tokenizer_file_bytes,
                            .chat_template_bytes = max_u64(m->template_bytes, o->chat_template_bytes),
                            .learns = o->profile_folder && !o->profile_is_read_only,
                            .warms = o->profile_folder && o->warm_start && m->desc.moe_layer_count,
                            .cancel = o->cancel,
                            .progress = o->progress,
                            .progress_user = o->progress_user,
                            .watches_pressure = !o->ignore_pressure};
    const file_mode io = o->io == LEAT_IO_BUFFERED ? FILE_BUFFERED
                         : o->io == LEAT_IO_DIRECT ? FILE_DIRECT
                                                   : FILE_DIRECT_IF_POSSIBLE;
    return io_choice_make(m->source, io, o->profile_folder, &out->io, error);
}

static leat_plan public_plan(const leat_model *m, const plan *p, const engine_options *o, const memory_limit *limit,
                             uint64_t free_bytes)
{
    return (leat_plan){.budget_bytes = p->budget_bytes,
                       .floor_bytes = p->floor_bytes,
                       .trunk_bytes = p->trunk_bytes,
                       .kv_bytes = p->kv_bytes,
                       .scratch_bytes = p->scratch_bytes,
                       .io_bytes = p->io_bytes,
                       .tokenizer_bytes = p->tokenizer_bytes,
                       .process_bytes = p->process_bytes,
                       .expert_cache_bytes = p->expert_cache_bytes,
                       .unspent_bytes = p->unspent_bytes,
                       .streamed_layer_count = p->streamed_layer_count,
                       .head_is_streamed = p->head_is_streamed,
                       .streamed_bytes = p->streamed_bytes,
                       .everything_bytes = p->everything_bytes,
                       .ctx = p->ctx,
                       .thread_count = p->thread_count,
                       .prefill_chunk = p->prefill_chunk,
                       .expert_slot_count = p->expert_slot_count,
                       .expert_slot_max = p->expert_slot_max,
                       .expert_slot_bytes = p->expert_slot_bytes,
                       .expert_class_count = p->expert_class_count,
                       .expert_set_max = p->expert_set_max,
                       .cache_policy = (leat_cache_policy)(o->cache_policy + 1),
                       .direct_file_count = p->direct_file_count,
                       .buffered_file_count = m->source->file_count - p->direct_file_count,
                       .io_is_measured = o->io.is_measured,
                       .physical_bytes = limit->physical_bytes,
                       .limit_bytes = memory_limit_ceiling(limit),
                       .available_bytes = limit->available_bytes,
                       .free_bytes = free_bytes,
                       .would_page = p->budget_bytes > free_bytes};
}

/* AUTO's policy is what the model's profile says of so many slots; sizes do not depend on it. */
static leat_status plan_from(const leat_model *m, const leat_options *o, lease *l, engine_options *inner,
                             plan *out_plan, leat_error *error)
{
    model_profile profile = {0};
    mem *ledger = NULL;

    TRY(shared_plan_make(m->source, &m->desc, inner, l, out_plan, error));
    if (o->cache_policy != LEAT_CACHE_AUTO || !o->profile_folder || !m->desc.moe_layer_count) return LEAT_OK;
    TRY(mem_open(0, &ledger, error));
    leat_status status = model_profile_open(ledger, &m->desc, m->info.fingerprint, &profile, error);
    if (status == LEAT_OK && model_profile_load(&profile, o->profile_folder))
        inner->cache_policy = model_profile_policy(&profile, out_plan->expert_slot_count);
    model_profile_close(&profile);
    mem_close(&ledger);
    return status;
}

leat_status leat_plan_make(const leat_model *model, const leat_options *options, leat_plan *out_plan, leat_error *error)
{
    memory_limit limit;
    engine_options inner;
    plan solved = {0};

    lease others = LEASE_NONE;

    TRY(engine_options_from(model, options, &limit, &inner, error));
    if (!options->ignore_leases) shared_plan_open_lease(model->source, true, &others);
    const leat_status status = plan_from(model, options, &others, &inner, &solved, error);
    const uint64_t free_bytes = shared_plan_free_bytes(&others);
    lease_close(&others);
    if (status == LEAT_OK || status == LEAT_BUDGET) *out_plan = public_plan(model, &solved, &inner, &limit, free_bytes);
    return status;
}

/* ---- what runs have learned ---- */

static leat_profile_phase public_phase(const profile_phase *p)
{
    if (!(p->token_count > 0)) return (leat_profile_phase){0};
    return (leat_profile_phase){.token_count = p->token_count,
                                .compute_s = p->compute_s / p->token_count,
                                .wait_s = (p->expert_wait_s + p->stream_wait_s) / p->token_count,
                                .read_bytes = p->read_bytes / p->token_count};
}

static leat_status public_profile(const model_profile *p, const char *folder, leat_profile *out, leat_error *error)
{
    struct stat facts;
    if (!model_profile_path(p, folder, out->path) || stat(out->path, &facts) != 0) return LEAT_OK;
    TRY(model_profile_busiest_quarter(p, &out->busiest_quarter_share, error));
    out->is_known = true;
    out->file_bytes = (uint64_t)facts.st_size;
    snprintf(out->isa, sizeof out->isa, "%s", p->place.isa);
    out->thread_count = p->place.thread_count;
    out->decode = public_phase(&p->decode);
    out->prefill = public_phase(&p->prefill);
    out->sample_token_count = p->sample_count;
    out->choice_count = p->choice_count;
    for (uint32_t i = 0; i < p->choice_count; i++) {
        out->choices[i].slot_count = p->choices[i].slot_count;
        out->choices[i].policy = (leat_cache_policy)(p->choices[i].policy + 1);
    }
    return LEAT_OK;
}

leat_status leat_profile_read(const leat_model *model, const char *folder, leat_profile *out_profile, leat_error *error)
{
    model_profile profile = {0};
    mem *ledger = NULL;
    leat_profile *found = out_profile;

    memset(found, 0, sizeof *found);
    if (!folder) return LEAT_OK;
    TRY(mem_open(0, &ledger, error));
    leat_status status = model_profile_open(ledger, &model->desc, model->info.fingerprint, &profile, error);
    if (status == LEAT_OK && model_profile_load(&profile, folder))
        status = public_profile(&profile, folder, found, error);
    if (!found->is_known) memset(found, 0, sizeof *found);
    model_profile_close(&profile);
    mem_close(&ledger);
    return status;
}

leat_status leat_profile_forget(const leat_model *model, const char *folder, leat_error *error)
{
    model_profile profile = {0};
    char path[PROFILE_PATH_BYTES];

    if (!folder) return LEAT_OK;
    snprintf(profile.fingerprint, sizeof profile.fingerprint, "%s", model->info.fingerprint);
    if (!model_profile_path(&profile, folder, path)) return FAIL(error, IO, "%.64s...: the name is too long", folder);
    if (unlink(path) == 0 || errno == ENOENT) return LEAT_OK;
    return FAIL_OS(error, IO, errno, "%s: cannot be removed: %s", path, strerror(errno));
}

/* ---- engine ---- */

struct leat_engine {
    const leat_model *model;
    mem *ledger;
    engine *inner;
    leat_tokenizer *tokenizer; /* NULL when the folder has none */
    leat_plan plan;
    uint64_t load_ns;
    const char *profile_folder; /* NULL: what was learned is dropped */
    bool has_session;
    lease lease; /* of memory and disk, among this user's processes */
};

/* An engine that is being opened. */
typedef struct opening {
    leat_engine *engine;
    engine_options options;
    plan plan;

    own_thread thread; /* opens the tokenizer, where there is room for that beside the trunk */
    leat_status tokenizer_status;
    leat_error tokenizer_error;
} opening;

static leat_status open_own_tokenizer(leat_engine *e, leat_error *error)
{
    return open_tokenizer(e->model->source, e->ledger, e->model->desc.vocab_size, &e->tokenizer, error);
}

static void open_tokenizer_beside(void *context)
{
    opening *o = context;
    o->tokenizer_status = open_own_tokenizer(o->engine, &o->tokenizer_error);
}

/* Whether the plan holds now that the tokenizer's size is known; if not, *out_plan is one that does. */
static leat_status plan_again(const opening *o, plan *out_plan, leat_error *error)
{
    engine_options options = o->options;

    options.tokenizer_bytes = mem_pool_usage(o->engine->ledger, MEM_TOKENIZER).current_bytes;
    return engine_plan(o->engine->model->source, &o->engine->model->desc, &options, out_plan, error);
}

/* The caches take the room that parsing needs. */
static leat_status finish_tokenizer(void *context, leat_error *error)
{
    opening *o = context;
    plan again;

    own_thread_join(&o->thread);
    if (o->tokenizer_status != LEAT_OK) {
        if (error) *error = o->tokenizer_error;
        return o->tokenizer_status;
    }
    TRY(plan_again(o, &again, error));
    if (again.tokenizer_bytes == o->plan.tokenizer_bytes) return LEAT_OK;
    return FAIL(error, BUDGET, "the tokenizer is larger than its file promised");
}

static leat_status open_inner(opening *o, leat_error *error)
{
    leat_engine *e = o->engine;
    return engine_open(e->model->source, &e->model->desc, &o->options, &o->plan, e->ledger, &e->inner, error);
}

static leat_status open_beside_tokenizer(opening *o, leat_error *error)
{
    TRY(own_thread_start(o->engine->ledger, MEM_META, "leat-tokenizer", TOKENIZER_STACK_BYTES, open_tokenizer_beside, o,
                         &o->thread, error));
    o->options.before_caches = finish_tokenizer;
    o->options.before_caches_user = o;
    const leat_status status = open_inner(o, error);
    o->options.before_caches = NULL;
    own_thread_join(&o->thread); /* after a failure before the caches */
    return status;
}

/* One after the other: the budget has no room for both, or the estimate was too low and the plan must be another. */
static leat_status open_after_tokenizer(opening *o, leat_error *error)
{
    leat_engine *e = o->engine;

    if (!e->tokenizer) TRY(open_own_tokenizer(e, error));
    TRY(plan_again(o, &o->plan, error));
    TRY(mem_set_budget(e->ledger, o->plan.budget_bytes - o->plan.outside_bytes, error));
    o->options.tokenizer_bytes = mem_pool_usage(e->ledger, MEM_TOKENIZER).current_bytes;
    return open_inner(o, error);
}

static leat_status open_parts(opening *o, leat_error *error)
{
    leat_status status = LEAT_OK;

    if (!o->engine->model->info.has_tokenizer) return open_inner(o, error);
    if (!o->plan.tokenizer_fits_beside) return open_after_tokenizer(o, error);
    status = open_beside_tokenizer(o, error);
    return status == LEAT_BUDGET ? open_after_tokenizer(o, error) : status;
}

/* What cannot be warmed is no reason to fail. */
static void begin_warm_start(leat_engine *e, const leat_options *o)
{
    engine *inner = e->inner;
    const model_desc *m = &e->model->desc;
    model_profile profile = {0};
    mem *ledger = NULL;
    leat_error error;

    if (!inner->options.warms) return;
    leat_status status = mem_open(0, &ledger, &error);
    if (status == LEAT_OK) status = model_profile_open(ledger, m, e->model->info.fingerprint, &profile, &error);
    if (status == LEAT_OK && model_profile_load(&profile, o->profile_folder) && profile.uses)
        status = warm_start_open(e->ledger, inner->experts, profile.uses, profile.uses_token_count, m->moe_layer_count,
                                 m->expert_count, inner->plan.expert_slot_count, &inner->warm, &error);
    if (status != LEAT_OK) log_write(LOG_DEBUG, "no warm start: %s", error.text);
    model_profile_close(&profile);
    mem_close(&ledger);
}

leat_status leat_engine_open(const leat_model *model, const leat_options *options, leat_engine **out_engine,
                             leat_error *error)
{
    const uint64_t begin_ns = clock_now_ns();
    leat_status status = LEAT_OK;
    leat_engine *e = NULL;
    mem *ledger = NULL;
    memory_limit limit;
    opening o = {0};
    lease own = LEASE_NONE;
    uint64_t free_bytes;

    TRY(engine_options_from(model, options, &limit, &o.options, error));
    if (!options->ignore_leases) shared_plan_open_lease(model->source, false, &own);
    TRY_OR(fail, plan_from(model, options, &own, &o.options, &o.plan, error));
    free_bytes = shared_plan_free_bytes(&own); /* before the engine takes some */
    TRY_OR(fail, mem_open(o.plan.budget_bytes - o.plan.outside_bytes, &ledger, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_META, 1, sizeof *e, 0, "engine", (void **)&e, error));
    e->ledger = ledger;
    e->lease = own;
    if (own.fd >= 0) o.options.lease = &e->lease;
    e->model = model;
    e->profile_folder = options->profile_folder;
    o.engine = e;
    TRY_OR(fail, open_parts(&o, error));
    e->plan = public_plan(model, &o.plan, &o.options, &limit, free_bytes);
    begin_warm_start(e, options);
    e->load_ns = clock_now_ns() - begin_ns;
    *out_engine = e;
    return LEAT_OK;
fail:
    if (e) {
        leat_engine_close(&e);
        return status;
    }
    lease_close(&own);
    mem_close(&ledger);
    return status;
}

static profile_place place_of(const leat_model *m, isa level, uint32_t thread_count)
{
    profile_place place = {.thread_count = thread_count};
    drive_id(&m->source->files[0], place.drive);
    snprintf(place.isa, sizeof place.isa, "%s", isa_label(level));
    return place;
}

/* What cannot be kept is no reason to fail: the log says it. */
static void keep_profile(const leat_model *m, const char *folder, const run_tally *t, const profile_place *place)
{
    model_profile profile = {0};
    mem *ledger = NULL;
    leat_error error;

    if (t->decode.token_count < PROFILE_TOKENS_MIN) return;
    leat_status status = mem_open(0, &ledger, &error);
    if (status == LEAT_OK) status = model_profile_open(ledger, &m->desc, m->info.fingerprint, &profile, &error);
    if (status == LEAT_OK) {
        model_profile_load(&profile, folder);
        status = model_profile_add(&profile, t, place, m->info.expert_record_bytes, &error);
    }
    if (status == LEAT_OK) status = model_profile_save(&profile, folder, &error);
    if (status != LEAT_OK) log_write(LOG_DEBUG, "the profile is not kept: %s", error.text);
    model_profile_close(&profile);
    mem_close(&ledger);
}

/* Takes the room that the engine has left, and says nothing of a drive that others read from. What cannot be measured
 * is no reason to fail. */
static void learn_drives(const leat_engine *e, const engine_options *o)
{
    leat_error error;

    if (o->io.wanted != FILE_DIRECT_IF_POSSIBLE || o->io.is_measured || (o->cancel && *o->cancel)) return;
    if (io_choice_measure(e->model->source, e->ledger, o->io_engine, e->profile_folder, false, NULL, &error) != LEAT_OK)
        log_write(LOG_DEBUG, "the drive is not measured: %s", error.text);
}

void leat_engine_close(leat_engine **engine_handle)
{
    leat_engine *e = *engine_handle;
    run_tally *tally = NULL;
    profile_place place;
    engine_options options = {0};

    if (!e) return;
    assert(!e->has_session);
    mem *ledger = e->ledger;
    if (e->inner && e->inner->tally) { /* kept when the large blocks have been given back */
        tally = e->inner->tally;
        e->inner->tally = NULL;
        place = place_of(e->model, e->inner->kernels.level, e->plan.thread_count);
        options = e->inner->options;
    }
    engine_close(&e->inner);
    const bool is_alone = lease_share_count(&e->lease) == 1;
    lease_close(&e->lease);
    leat_tokenizer_close(&e->tokenizer);
    if (tally) keep_profile(e->model, e->profile_folder, tally, &place);
    if (tally && is_alone && tally->decode.token_count >= PROFILE_TOKENS_MIN) learn_drives(e, &options);
    run_tally_close(&tally);
    mem_free(ledger, e);
    mem_close(&ledger);
    *engine_handle = NULL;
}

uint32_t leat_engine_expert_class(const leat_engine *handle, uint32_t layer_idx)
{
    const engine *e = handle->inner;
    return layer_idx < e->records.layer_count ? expert_cache_layer_class(e->experts, layer_idx) : 0;
}

const leat_plan *leat_engine_plan(const leat_engine *handle) { return &handle->plan; }
const leat_tokenizer *leat_engine_tokenizer(const leat_engine *handle) { return handle->tokenizer; }
void leat_engine_poll(leat_engine *handle) { engine_idle(handle->inner); }

leat_status leat_engine_check_files(leat_engine *handle, leat_error *error)
{
    return engine_check_files(handle->inner, error);
}

leat_stats leat_engine_get_stats(const leat_engine *handle)
{
    const engine *e = handle->inner;
    const storage_stats reads = e->reads->ops->stats(e->reads);
    leat_stats stats = {.load_ns = handle->load_ns,
                        .read_count = reads.read_count,
                        .read_bytes = reads.window_bytes,
                        .payload_bytes = reads.payload_bytes,
                        .copied_bytes = reads.copied_bytes + e->trunk->staged_bytes,
                        .read_busy_ns = reads.busy_ns,
                        .read_retries = reads.retry_count,
                        .reads_in_flight = reads.flying_count,
                        .rss_peak_bytes = process_rss_peak_bytes(),
                        .isa = public_isa(e->kernels.level),
                        .io_is_direct = e->direct_file_count == e->source->file_count,
                        .io_is_measured = e->options.io.is_measured,
                        .direct_file_count = e->direct_file_count,
                        .buffered_file_count = e->source->file_count - e->direct_file_count,
                        .attention_ns = step_clock_read(&e->clock, STEP_ATTENTION),
                        .ffn_ns = step_clock_read(&e->clock, STEP_FFN),
                        .router_ns = step_clock_read(&e->clock, STEP_ROUTER),
                        .moe_ns = step_clock_read(&e->clock, STEP_MOE),
                        .head_ns = step_clock_read(&e->clock, STEP_HEAD),
                        .step_other_ns = step_clock_read(&e->clock, STEP_OTHER),
                        .disk_wait_ns = step_clock_read(&e->clock, STEP_DISK_WAIT),
                        .io_engine =
                            e->reads->ops->kind == STORAGE_URING ? LEAT_IO_ENGINE_URING : LEAT_IO_ENGINE_THREADS};

    const weight_ring_stats streamed = weight_ring_stats_get(e->ring);
    stats.streamed_record_count = streamed.record_count;
    stats.streamed_wait_ns = streamed.wait_ns;
    stats.trunk_wait_ns = trunk_wait_ns(e->trunk);
    if (e->experts) {
        const expert_cache_stats cache = expert_cache_stats_get(e->experts);
        stats.expert_hits = cache.hits;
        stats.expert_misses = cache.misses;
        stats.expert_evictions = cache.evictions;
        stats.ahead_reads = cache.ahead_reads;
        stats.ahead_used = cache.ahead_used;
        stats.ahead_wasted = cache.ahead_wasted;
        stats.ahead_used_bytes = cache.ahead_used_bytes;
        stats.ahead_wasted_bytes = cache.ahead_wasted_bytes;
        stats.warmed_experts = cache.warmed;
        stats.expert_wait_ns = cache.wait_ns;
        stats.expert_slot_count = cache.slot_count;
        stats.cache_resizes = cache.resize_count;
    }
    _Static_assert(MEM_POOL_COUNT <= ARRAY_COUNT(stats.pools), "every pool has a place in the public struct");
    for (int pool = 0; pool < MEM_POOL_COUNT; pool++) {
        const mem_usage usage = mem_pool_usage(handle->ledger, (mem_pool)pool);
        stats.pools[stats.pool_count++] =
            (leat_pool){mem_pool_label((mem_pool)pool), usage.current_bytes, usage.peak_bytes};
    }
    return stats;
}

/* ---- forecast ---- */

struct leat_forecaster {
    const leat_model *model;
    mem *ledger;
    model_profile profile;
    drive_rates drive; /* as the files are read */
    forecast_basis basis;
};

const char *leat_forecast_source_label(leat_forecast_source source)
{
    static const char *const labels[] = {"unknown", "default", "measured", "profile"};
    return labels[source];
}

/* The rates of the first file's drive in the way that its files are read, by what is known now. */
static leat_status find_rates(leat_forecaster *f, const engine_options *o, const char *folder, leat_probe wish,
                              leat_error *error)
{
    const checkpoint *c = f->model->source;
    char drive[DRIVE_ID_BYTES];
    drive_figures found = {0};
    io_choice io;

    if (wish != LEAT_PROBE_NEVER) {
        TRY(io_choice_measure(c, f->ledger, o->io_engine, folder, wish == LEAT_PROBE_AGAIN, &found, error));
    } else if (folder) {
        drive_id(&c->files[0], drive);
        if (!drive_figures_load(f->ledger, folder, drive, &found)) found = (drive_figures){0};
    }
    TRY(io_choice_make(c, o->io.wanted, folder, &io, error));
    const bool is_direct =
        o->io.wanted != FILE_BUFFERED && found.direct.record > 0 &&
        (o->io.wanted == FILE_DIRECT || !(io.buffered_count > 0 && io.buffered_devices[0] == c->files[0].device));
    f->drive = is_direct ? found.direct : found.buffered;
    return LEAT_OK;
}

/* A probe takes up to 64 MiB that no budget knows of: it is not worth to page for. */
static leat_probe affordable_probe(const leat_model *m, const leat_options *o, leat_probe wish)
{
    const uint64_t least_free = UINT64_C(256) << 20;
    lease others = LEASE_NONE;

    if (wish == LEAT_PROBE_NEVER) return wish;
    if (!o->ignore_leases) shared_plan_open_lease(m->source, true, &others);
    const uint64_t free_bytes = shared_plan_free_bytes(&others);
    lease_close(&others);
    if (free_bytes >= least_free) return wish;
    log_write(LOG_INFO, "nothing is measured: only %.0f MiB are free", (double)free_bytes / 1048576.0);
    return LEAT_PROBE_NEVER;
}

static leat_status learn_basis(leat_forecaster *f, const leat_options *o, leat_probe wish, leat_error *error)
{
    const leat_model *m = f->model;
    const char *folder = o->profile_folder;
    memory_limit limit;
    engine_options inner;
    double calibrated_s = 0;

    wish = affordable_probe(m, o, wish);
    TRY(engine_options_from(m, o, &limit, &inner, error));
    TRY(model_profile_open(f->ledger, &m->desc, m->info.fingerprint, &f->profile, error));
    if (folder) model_profile_load(&f->profile, folder);
    const profile_place place = place_of(m, inner.level, inner.thread_count);
    TRY(find_rates(f, &inner, folder, wish, error));
    const bool has_compute =
        model_profile_knows_place(&f->profile, &place, false) && f->profile.decode.token_count >= 1;
    if (wish == LEAT_PROBE_AGAIN || (wish == LEAT_PROBE_AUTO && !has_compute))
        TRY(forecast_calibrate(f->ledger, &m->desc, inner.level, inner.thread_count, &calibrated_s, error));
    f->basis = forecast_basis_make(&m->desc, &f->profile, &place, &f->drive, calibrated_s);
    return LEAT_OK;
}

leat_status leat_forecaster_open(const leat_model *model, const leat_options *options, leat_probe probe,
                                 leat_forecaster **out_forecaster, leat_error *error)
{
    mem *ledger = NULL;
    leat_forecaster *f = NULL;

    if ((unsigned)probe > LEAT_PROBE_AGAIN) return FAIL(error, USAGE, "there is no wish %d for a probe", (int)probe);
    TRY(mem_open(0, &ledger, error));
    leat_status status = mem_alloc(ledger, MEM_META, 1, sizeof *f, 0, "forecaster", (void **)&f, error);
    if (status != LEAT_OK) {
        mem_close(&ledger);
        return status;
    }
    f->model = model;
    f->ledger = ledger;
    status = learn_basis(f, options, probe, error);
    if (status == LEAT_OK)
        *out_forecaster = f;
    else
        leat_forecaster_close(&f);
    return status;
}

void leat_forecaster_close(leat_forecaster **forecaster)
{
    leat_forecaster *f = *forecaster;

    if (!f) return;
    mem *ledger = f->ledger;
    model_profile_close(&f->profile);
    mem_free(ledger, f);
    mem_close(&ledger);
    *forecaster = NULL;
}

leat_forecast_basis leat_forecaster_basis(const leat_forecaster *f)
{
    _Static_assert((int)LEAT_SOURCE_PROFILE == (int)SOURCE_PROFILE, "the public sources are the internal ones");
    return (leat_forecast_basis){.io = (leat_forecast_source)f->basis.io,
                                 .compute = (leat_forecast_source)f->basis.compute,
                                 .hits = (leat_forecast_source)f->basis.hit,
                                 .drive_bytes_per_s = f->drive.record,
                                 .drive_part_bytes_per_s = f->drive.part,
                                 .sample_token_count = f->profile.sample_count};
}

leat_status leat_forecaster_forecast(const leat_forecaster *f, const leat_plan *p, leat_cache_policy policy,
                                     uint32_t warm_count, uint32_t count, leat_forecast *out_forecast,
                                     leat_error *error)
{
    forecast found;
    const plan inner = {.ctx = p->ctx,
                        .prefill_chunk = p->prefill_chunk,
                        .streamed_bytes = p->streamed_bytes,
                        .expert_slot_count = p->expert_slot_count,
                        .expert_slot_max = p->expert_slot_max};

    if ((unsigned)policy > LEAT_CACHE_S3FIFO) return FAIL(error, USAGE, "there is no cache policy %d", (int)policy);
    if (policy == LEAT_CACHE_AUTO) policy = p->cache_policy;
    TRY(forecast_make(&f->basis, &inner, (cache_policy)(policy - 1), warm_count, count, &found, error));
    *out_forecast = (leat_forecast){.hit_rate = found.hit_rate,
                                    .bytes_per_token = found.token_bytes,
                                    .io_s = found.io_s,
                                    .compute_s = found.compute_s,
                                    .expert_wait_s = found.wait_s,
                                    .token_s = found.token_s,
                                    .prompt_bytes = found.prompt_bytes,
                                    .prompt_s = found.prompt_s};
    return LEAT_OK;
}

/* ---- session ---- */

struct leat_session {
    leat_engine *engine;
    session *inner;
    leat_acquire_fn *acquire_sink;
    void *acquire_user;
};

leat_status leat_session_open(leat_engine *engine_handle, leat_session **out_session, leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_session *s;

    if (engine_handle->has_session) return FAIL(error, USAGE, "the engine has a session already");
    TRY(mem_alloc(engine_handle->ledger, MEM_KV, 1, sizeof *s, 0, "session", (void **)&s, error));
    s->engine = engine_handle;
    TRY_OR(fail, session_open(engine_handle->inner, &s->inner, error));
    engine_handle->has_session = true;
    *out_session = s;
    return LEAT_OK;
fail:
    mem_free(engine_handle->ledger, s);
    return status;
}

void leat_session_close(leat_session **handle)
{
    leat_session *s = *handle;

    if (!s) return;
    leat_session_set_resize_sink(s, NULL, NULL);
    session_close(&s->inner);
    s->engine->has_session = false;
    mem_free(s->engine->ledger, s);
    *handle = NULL;
}

leat_status leat_session_sync(leat_session *s, const uint32_t *ids, size_t count, size_t *out_reused, leat_error *error)
{
    uint64_t reused;

    TRY(session_sync(s->inner, ids, count, &reused, error));
    if (out_reused) *out_reused = reused;
    return LEAT_OK;
}

leat_status leat_session_append(leat_session *s, uint32_t id, leat_error *error)
{
    return session_append(s->inner, id, error);
}
size_t leat_session_length(const leat_session *s) { return s->inner->length; }
const float *leat_session_logits(const leat_session *s) { return s->inner->logits; }

leat_status leat_session_score(leat_session *s, const uint32_t *ids, size_t count, leat_score_fn *fn, void *user,
                               leat_error *error)
{
    return session_score(s->inner, ids, count, fn, user, error);
}

void leat_session_set_route_sink(leat_session *s, leat_route_fn *fn, void *user)
{
    s->inner->route_sink = fn;
    s->inner->route_user = user;
}

void leat_session_set_token_sink(leat_session *s, leat_token_fn *fn, void *user)
{
    s->inner->token_sink = fn;
    s->inner->token_user = user;
}

static void tell_acquire(void *user, const step_asked *asked)
{
    leat_session *s = user;
    const leat_acquire acquire = {.layer_idx = asked->moe_idx,
                                  .position = asked->position,
                                  .row_count = asked->row_count,
                                  .experts = asked->experts,
                                  .expert_rows = asked->expert_rows,
                                  .count = asked->count,
                                  .ahead = asked->ahead,
                                  .ahead_count = asked->ahead_count};
    s->acquire_sink(s->acquire_user, &acquire);
}

void leat_session_set_acquire_sink(leat_session *s, leat_acquire_fn *fn, void *user)
{
    s->acquire_sink = fn;
    s->acquire_user = user;
    s->inner->asked_sink = fn ? tell_acquire : NULL;
    s->inner->asked_user = s;
}

void leat_session_set_resize_sink(leat_session *s, leat_resize_fn *fn, void *user)
{
    s->inner->engine->watch.resize_sink = fn;
    s->inner->engine->watch.resize_user = user;
}

/* ---- sampler ---- */

struct leat_sampler {
    mem *ledger;
    sampler *inner;
};

static leat_sampler_options public_sampling(const sampler_options *o)
{
    return (leat_sampler_options){
        o->temperature,       o->top_k,       o->top_p, o->min_p, o->repeat_penalty, o->presence_penalty,
        o->frequency_penalty, o->repeat_last, o->seed};
}

leat_sampler_options leat_sampler_options_default(void) { return public_sampling(&sampler_defaults); }

leat_sampler_options leat_model_sampler_options(const leat_model *model) { return public_sampling(&model->sampling); }

leat_status leat_sampler_open(const leat_sampler_options *o, uint32_t vocab_size, leat_sampler **out_sampler,
                              leat_error *error)
{
    const sampler_options inner = {
        o->temperature,       o->top_k,       o->top_p, o->min_p, o->repeat_penalty, o->presence_penalty,
        o->frequency_penalty, o->repeat_last, o->seed};
    leat_status status = LEAT_OK;
    leat_sampler *s = NULL;
    mem *ledger = NULL;

    TRY(mem_open(0, &ledger, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_META, 1, sizeof *s, 0, "sampler", (void **)&s, error));
    s->ledger = ledger;
    TRY_OR(fail, sampler_open(ledger, &inner, vocab_size, &s->inner, error));
    *out_sampler = s;
    return LEAT_OK;
fail:
    mem_free(ledger, s);
    mem_close(&ledger);
    return status;
}

void leat_sampler_close(leat_sampler **handle)
{
    leat_sampler *s = *handle;

    if (!s) return;
    mem *ledger = s->ledger;
    sampler_close(&s->inner);
    mem_free(ledger, s);
    mem_close(&ledger);
    *handle = NULL;
}

leat_status leat_sampler_pick(leat_sampler *s, const float *logits, const uint32_t *recent, size_t recent_count,
                              uint32_t *out_id, leat_error *error)
{
    return sampler_pick(s->inner, logits, recent, recent_count, out_id, error);
}

/*
 * model_handle.c - leat_model: what a folder holds, told without reading a weight, and what is done with its files.
 */
#include "api/handles.h"

#include "api/chat_files.h"
#include "api/tokenizer_files.h"
#include "base/bytes.h"
#include "exec/fingerprint.h"
#include "exec/pack.h"
#include "model/model_build.h"

#include <string.h>

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
    leat_status status = LEAT_OK;
    tokenizer_place place;

    m->info.chat_format = "none";
    TRY(tokenizer_place_find(m->source, &place, error));
    m->tokenizer_file_bytes = place.json_bytes;
    m->info.has_tokenizer = place.name[0] != 0;
    if (!m->info.has_tokenizer) return LEAT_OK;
    chat_source_init(&source, m->ledger);
    TRY_OR(done, chat_files_find(m->source, m->ledger, MEM_META, NULL, &source, error));
    m->info.chat_template = source.origin;
    m->template_bytes = source.plain.count + source.with_tools.count;
    if (source.origin) m->info.chat_format = chat_template_family(source.plain.bytes, source.plain.count);
done:
    chat_source_reset(&source);
    return status;
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
    TRY_OR(fail, sampling_read(m->source->generation, &m->sampling, error));
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

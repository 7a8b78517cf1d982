/*
 * pack_layout.c - first all tensors that are not experts, in the order of the source; then record after record (gate,
 * up, down; each with its scales and offsets), and zeros between. Files are runs of items, cut where one would become
 * too long.
 */
#include "exec/pack_layout.h"

#include "base/bytes.h"
#include "exec/expert_records.h"
#include "exec/pack_digest.h"
#include "format/tensor_sort.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_BYTES = TENSOR_NAME_BYTES_MAX + 1 };

static const uint64_t file_bytes_default = (uint64_t)2 << 30;
static const char padding_prefix[] = "leat.padding.";
static const char *const part_suffixes[PART_COUNT] = {".weight", ".scales", ".biases"};
static const char *const matrix_names[EXPERT_MATRICES] = {"gate_proj", "up_proj", "down_proj"};

void pack_layout_init(pack_layout *p, mem *ledger, const checkpoint *source, const model_desc *model)
{
    *p = (pack_layout){.ledger = ledger, .source = source, .model = model};
    arena_init(&p->memory, ledger, MEM_META, 64 * 1024);
}

void pack_layout_reset(pack_layout *p)
{
    for (uint32_t i = 0; i < p->shard_count; i++) mem_free(p->ledger, p->shards[i].header);
    mem_free(p->ledger, p->shards);
    mem_free(p->ledger, p->items);
    mem_free(p->ledger, p->by_place);
    mem_free(p->ledger, p->is_expert);
    arena_reset(&p->memory);
}

/* ---- items ---- */

static leat_status sort_source(pack_layout *p, leat_error *error)
{
    const tensor_index *index = &p->source->index;
    TRY(MEM_NEW(p->ledger, META, index->count, &p->by_place, error));
    TRY(MEM_NEW(p->ledger, META, index->count, &p->is_expert, error));
    memcpy(p->by_place, index->tensors, index->count * sizeof *p->by_place);
    tensor_sort(p->by_place, index->count, tensor_order_by_place);
    return LEAT_OK;
}

/* The tensor in which a part lies: the last that begins at or before it. */
static uint64_t tensor_of_part(const pack_layout *p, const weight_part *part)
{
    const tensor wanted = {.file_idx = part->file_idx, .offset = part->offset, .bytes = UINT64_MAX};
    uint64_t low = 0, high = p->source->index.count;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (tensor_order_by_place(&p->by_place[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    assert(low > 0);
    assert(p->by_place[low - 1].offset + p->by_place[low - 1].bytes >= part->offset + part->bytes);
    return low - 1;
}

static leat_status add_item(pack_layout *p, const pack_item *added, leat_error *error)
{
    if (p->item_count == TENSOR_COUNT_MAX)
        return FAIL(error, MODEL, "the pack would have more than %d tensors", TENSOR_COUNT_MAX);
    if (p->item_count == p->item_capacity) {
        const uint64_t capacity = max_u64(256, 2 * p->item_capacity);
        TRY(mem_resize(p->ledger, MEM_META, (void **)&p->items, capacity, sizeof *p->items, "tensors of a pack",
                       error));
        p->item_capacity = capacity;
    }
    pack_item *to = &p->items[p->item_count];
    *to = *added;
    TRY(arena_copy_text(&p->memory, added->what.name, strlen(added->what.name), &to->what.name, error));
    p->item_count++;
    return LEAT_OK;
}

static leat_status mark_experts(pack_layout *p, leat_error *error)
{
    const model_desc *m = p->model;
    for (uint32_t l = 0; l < m->layer_count; l++) {
        const block *b = layer_block(&m->layers[l], BLOCK_MOE);
        for (uint32_t which = 0; b && which < EXPERT_MATRICES; which++) {
            const weight *w = expert_stack(&b->moe, which);
            if (w->global_scale_part)
                return FAIL(error, MODEL,
                            "%s has global scales, and experts with tensors of their own have no place "
                            "for them: such a model cannot be packed",
                            w->name);
            for (uint32_t e = 0; e < w->stack_count; e++)
                for (int part = 0; part < PART_COUNT; part++)
                    if (w->parts[e][part].bytes) p->is_expert[tensor_of_part(p, &w->parts[e][part])] = true;
        }
    }
    return LEAT_OK;
}

bool pack_layout_is_rest(const pack_layout *p, uint64_t idx)
{
    const bool is_padding = strncmp(p->by_place[idx].name, padding_prefix, sizeof padding_prefix - 1) == 0;
    return !p->is_expert[idx] && !is_padding;
}

static leat_status add_rest(pack_layout *p, leat_error *error)
{
    for (uint64_t i = 0; i < p->source->index.count; i++) {
        if (!pack_layout_is_rest(p, i)) continue;
        TRY(add_item(p, &(pack_item){.what = p->by_place[i], .begins_span = true}, error));
    }
    return LEAT_OK;
}

static leat_status add_record(pack_layout *p, const moe_block *moe, uint32_t expert, leat_error *error)
{
    bool is_first = true;
    for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
        for (int part = 0; part < PART_COUNT; part++) {
            const weight_part *from = &expert_stack(moe, which)->parts[expert][part];
            char name[NAME_BYTES];
            if (!from->bytes) continue;
            const tensor *stored = &p->by_place[tensor_of_part(p, from)];
            const int length = snprintf(name, sizeof name, "%s.%u.%s%s", moe->experts_path, expert, matrix_names[which],
                                        part_suffixes[part]);
            if (length >= (int)sizeof name)
                return FAIL(error, MODEL, "%.64s...: the names of its experts would be too long", moe->experts_path);
            const tensor what = {.name = name,
                                 .type = stored->type,
                                 .rank = 2,
                                 .dims = {expert_stack(moe, which)->shape.rows, stored->dims[stored->rank - 1]},
                                 .file_idx = from->file_idx,
                                 .offset = from->offset,
                                 .bytes = from->bytes};
            TRY(add_item(p, &(pack_item){.what = what, .begins_span = is_first}, error));
            is_first = false;
        }
    p->record_count++;
    return LEAT_OK;
}

static leat_status add_padding(pack_layout *p, uint64_t bytes, leat_error *error)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%" PRIu64, padding_prefix, p->item_count);
    p->padding_bytes += bytes;
    const tensor what = {.name = name, .type = DTYPE_U8, .rank = 1, .dims = {bytes}, .bytes = bytes};
    return add_item(p, &(pack_item){.what = what, .is_padding = true, .begins_span = true}, error);
}

/* ---- files ---- */

static leat_status begin_shard(pack_layout *p, leat_error *error)
{
    TRY(mem_resize(p->ledger, MEM_META, (void **)&p->shards, (uint64_t)p->shard_count + 1, sizeof *p->shards,
                   "files of a pack", error));
    p->shards[p->shard_count++] = (pack_shard){.first_item = p->item_count, .end_item = p->item_count};
    return LEAT_OK;
}

/* Gives the items added since the shard's end their places. */
static void close_items(pack_layout *p)
{
    pack_shard *s = &p->shards[p->shard_count - 1];
    for (; s->end_item < p->item_count; s->end_item++) {
        p->items[s->end_item].data_offset = s->data_bytes;
        s->data_bytes += p->items[s->end_item].what.bytes;
    }
}

/* The items that are not experts, cut into files. */
static leat_status lay_out_rest(pack_layout *p, uint64_t file_bytes, leat_error *error)
{
    TRY(begin_shard(p, error));
    TRY(add_rest(p, error));
    const uint64_t count = p->item_count;
    p->item_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t used = p->shards[p->shard_count - 1].data_bytes;
        if (used > 0 && used + p->items[i].what.bytes > file_bytes) TRY(begin_shard(p, error));
        p->item_count = i + 1;
        close_items(p);
    }
    return LEAT_OK;
}

static leat_status lay_out_layer(pack_layout *p, const moe_block *moe, uint64_t file_bytes, leat_error *error)
{
    for (uint32_t e = 0; e < moe->expert_count; e++) {
        const uint64_t used = p->shards[p->shard_count - 1].data_bytes, gap = round_up(used, PACK_ALIGN) - used;
        uint64_t bytes = 0;
        for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
            for (int part = 0; part < PART_COUNT; part++) bytes += expert_stack(moe, which)->parts[e][part].bytes;
        if (used > 0 && used + gap + bytes > file_bytes)
            TRY(begin_shard(p, error));
        else if (gap > 0)
            TRY(add_padding(p, gap, error));
        TRY(add_record(p, moe, e, error));
        close_items(p);
    }
    return LEAT_OK;
}

static leat_status add_header_entry(const pack_item *it, text_out *t, leat_error *error)
{
    TRY(text_out_add_string(t, it->what.name, error));
    TRY(text_out_add(t, error, ":{\"dtype\":\"%s\",\"shape\":[", dtype_label(it->what.type)));
    for (uint32_t d = 0; d < it->what.rank; d++)
        TRY(text_out_add(t, error, "%s%" PRIu64, d ? "," : "", it->what.dims[d]));
    return text_out_add(t, error, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", it->data_offset,
                        it->data_offset + it->what.bytes);
}

static leat_status make_header(pack_layout *p, pack_shard *s, leat_error *error)
{
    leat_status status;
    text_out t = {.ledger = p->ledger};
    TRY_OR(fail, text_out_add(&t, error, "12345678{\"__metadata__\":{\"format\":\"%s\"}",
                              hf_config_has(p->source->config, "quantization") ? "mlx" : "pt"));
    for (uint64_t i = s->first_item; i < s->end_item; i++) {
        TRY_OR(fail, text_out_add(&t, error, ","));
        TRY_OR(fail, add_header_entry(&p->items[i], &t, error));
    }
    TRY_OR(fail, text_out_add(&t, error, "}"));
    while (t.bytes % PACK_ALIGN) TRY_OR(fail, text_out_add(&t, error, " "));
    store_le64(t.text, t.bytes - 8);
    s->header = t.text;
    s->header_bytes = t.bytes;
    return LEAT_OK;
fail:
    mem_free(p->ledger, t.text);
    return status;
}

leat_status pack_layout_make(pack_layout *p, uint64_t file_bytes, leat_error *error)
{
    const model_desc *m = p->model;
    if (!file_bytes) file_bytes = file_bytes_default;
    TRY(sort_source(p, error));
    TRY(mark_experts(p, error));
    TRY(lay_out_rest(p, file_bytes, error));
    for (uint32_t l = 0; l < m->layer_count; l++) {
        const block *b = layer_block(&m->layers[l], BLOCK_MOE);
        if (b) TRY(lay_out_layer(p, &b->moe, file_bytes, error));
    }
    for (uint32_t i = 0; i < p->shard_count; i++) {
        TRY(make_header(p, &p->shards[i], error));
        p->bytes += pack_shard_bytes(&p->shards[i]);
    }
    return LEAT_OK;
}

void pack_shard_name(const pack_layout *p, uint32_t idx, char out[PACK_NAME_BYTES])
{
    snprintf(out, PACK_NAME_BYTES, "model-%05u-of-%05u.safetensors", idx + 1, p->shard_count);
}

leat_status pack_layout_identify(const pack_layout *p, char out_text[PACK_DIGEST_TEXT], leat_error *error)
{
    const checkpoint *c = p->source;
    EVP_MD_CTX *context = NULL;
    leat_status status = LEAT_OK;
    uint8_t digest[PACK_DIGEST_BYTES];
    bool is_good = true;
    TRY(pack_digest_open(&context, error));
    for (uint32_t i = 0; i < c->file_count; i++) {
        struct stat info;
        if (fstat(c->files[i].fd, &info) != 0) {
            status = FAIL_OS(error, IO, errno, "%s: fstat", c->file_names[i]);
            goto done;
        }
        const int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
        is_good = is_good && EVP_DigestUpdate(context, c->file_names[i], strlen(c->file_names[i]) + 1) == 1 &&
                  EVP_DigestUpdate(context, facts, sizeof facts) == 1;
    }
    for (uint64_t i = 0; i < p->item_count; i++) {
        const uint64_t place[] = {p->items[i].what.file_idx, p->items[i].what.offset};
        is_good = is_good && EVP_DigestUpdate(context, place, sizeof place) == 1;
    }
    for (uint32_t i = 0; i < p->shard_count; i++)
        is_good = is_good && EVP_DigestUpdate(context, p->shards[i].header, p->shards[i].header_bytes) == 1;
    is_good = is_good && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    if (is_good)
        pack_digest_text(digest, out_text);
    else
        status = pack_digest_fail(error);
done:
    EVP_MD_CTX_free(context);
    return status;
}

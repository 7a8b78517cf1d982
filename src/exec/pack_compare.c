/*
 * pack_compare.c - what is no expert's by its name, experts by the model's layers.
 */
#include "exec/pack_compare.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "exec/expert_records.h"
#include "model/model_build.h"

#include <inttypes.h>
#include <string.h>

typedef struct comparison {
    const pack_request *request;
    const pack_layout *layout;
    const char *path; /* of the pack */
    uint8_t *buffer, *other_buffer;
    const checkpoint *packed;
    uint64_t done_bytes, total_bytes;
} comparison;

static leat_status compare_bytes(comparison *k, const char *name, const weight_part *from, const weight_part *to,
                                 leat_error *error)
{
    const pack_request *r = k->request;
    const checkpoint *a = r->source, *b = k->packed;
    if (from->bytes != to->bytes)
        return FAIL(error, MODEL, "%s: has %" PRIu64 " bytes in the pack, expected %" PRIu64, name, to->bytes,
                    from->bytes);
    for (uint64_t done = 0; done < from->bytes;) {
        const uint64_t count = min_u64(PACK_BLOCK_BYTES, from->bytes - done);
        TRY(file_read(&a->files[from->file_idx], a->file_names[from->file_idx], from->offset + done, k->buffer, count,
                      NULL, error));
        TRY(file_read(&b->files[to->file_idx], b->file_names[to->file_idx], to->offset + done, k->other_buffer, count,
                      NULL, error));
        if (memcmp(k->buffer, k->other_buffer, count) != 0) {
            leat_status status = FAIL(error, MODEL, "%s: %s in %s differs from the source's", k->path, name,
                                      b->file_names[to->file_idx]);
            status_hint(error, "the disk gave other bytes than were written: remove %s", k->path);
            return status;
        }
        done += count;
    }
    k->done_bytes += from->bytes;
    if (r->progress) r->progress(r->user, "compare", k->done_bytes, k->total_bytes);
    if (cancel_is_wanted(r->cancel)) return FAIL(error, CANCELLED, "the pack was cancelled while it was compared");
    return LEAT_OK;
}

static weight_part part_of_tensor(const tensor *t) { return (weight_part){t->file_idx, t->offset, t->bytes}; }

/* What is no expert's: the same name, type, shape and bytes. */
static leat_status compare_rest(comparison *k, leat_error *error)
{
    for (uint64_t i = 0; i < k->layout->source->index.count; i++) {
        const tensor *a = &k->layout->by_place[i], *b = tensor_index_find(&k->packed->index, a->name);
        if (!pack_layout_is_rest(k->layout, i)) continue;
        if (!b || b->type != a->type || b->rank != a->rank || memcmp(b->dims, a->dims, sizeof a->dims) != 0)
            return FAIL(error, MODEL, "%s: is missing in the pack, or of another shape", a->name);
        const weight_part from = part_of_tensor(a), to = part_of_tensor(b);
        TRY(compare_bytes(k, a->name, &from, &to, error));
    }
    return LEAT_OK;
}

static leat_status compare_layer(comparison *k, const moe_block *a, const moe_block *b, leat_error *error)
{
    for (uint32_t e = 0; e < a->expert_count; e++) {
        const weight_part *before = NULL;
        for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
            for (int part = 0; part < PART_COUNT; part++) {
                const weight *from = expert_stack(a, which), *to = expert_stack(b, which);
                const weight_part *there = &to->parts[e][part];
                TRY(compare_bytes(k, from->name, &from->parts[e][part], there, error));
                if (!there->bytes) continue;
                const bool is_in_place =
                    before ? there->file_idx == before->file_idx && there->offset == before->offset + before->bytes
                           : there->offset % PACK_ALIGN == 0;
                if (!is_in_place || from->shape.type != to->shape.type || from->shape.group != to->shape.group)
                    return FAIL(error, INTERNAL, "%s: expert %u is not stored as it should be", to->name, e);
                before = there;
            }
    }
    return LEAT_OK;
}

static leat_status compare_model(comparison *k, const model_desc *packed, leat_error *error)
{
    const model_desc *source = k->layout->model;
    if (packed->layer_count != source->layer_count || packed->expert_count != source->expert_count ||
        packed->moe_layer_count != source->moe_layer_count)
        return FAIL(error, INTERNAL, "%s: the pack is read as another model", k->path);
    TRY(compare_rest(k, error));
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const block *a = layer_block(&source->layers[l], BLOCK_MOE), *b = layer_block(&packed->layers[l], BLOCK_MOE);
        if (!a != !b) return FAIL(error, INTERNAL, "%s: the pack is read as another model", k->path);
        if (a) TRY(compare_layer(k, &a->moe, &b->moe, error));
    }
    return LEAT_OK;
}

leat_status pack_compare(const pack_request *request, const pack_layout *layout, const char *path, uint8_t *buffer,
                         uint8_t *other_buffer, leat_error *error)
{
    leat_status status;
    checkpoint *packed = NULL;
    arena memory;
    model_desc model;
    comparison k = {.request = request, .layout = layout, .path = path, .buffer = buffer, .other_buffer = other_buffer};
    for (uint64_t i = 0; i < layout->item_count; i++)
        if (!layout->items[i].is_padding) k.total_bytes += layout->items[i].what.bytes;
    arena_init(&memory, layout->ledger, MEM_META, 64 * 1024);
    TRY_OR(done, checkpoint_open(path, &packed, error));
    k.packed = packed;
    TRY_OR(done, model_build(&packed->index, packed->config, packed->generation, &memory, &model, error));
    status = compare_model(&k, &model, error);
done:
    arena_reset(&memory);
    checkpoint_close(&packed);
    return status;
}

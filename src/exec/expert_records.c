#include "exec/expert_records.h"

const weight *expert_stack(const moe_block *moe, uint32_t which)
{
    return which == 0 ? &moe->gate : which == 1 ? &moe->up : &moe->down;
}

static void fill_record(const moe_block *moe, uint32_t expert, extent *out)
{
    for (uint32_t which = 0; which < EXPERT_MATRICES; which++)
        for (int part = 0; part < PART_COUNT; part++) {
            const weight_part *p = &expert_stack(moe, which)->parts[expert][part];
            out[which * PART_COUNT + part] = (extent){p->file_idx, p->offset, p->bytes};
        }
}

static uint64_t record_count(const model_desc *model) { return (uint64_t)model->moe_layer_count * model->expert_count; }

uint64_t expert_records_bytes(const model_desc *model)
{
    const uint64_t count = record_count(model);

    if (!count) return 0;
    return mem_block_bytes(count * EXPERT_MATRICES * PART_COUNT * sizeof(extent), 0) +
           mem_block_bytes(count * sizeof(expert_record), 0);
}

/* The cache's table has as many columns for one layer as for the other. */
static leat_status check_counts(const model_desc *model, leat_error *error)
{
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const block *b = layer_block(&model->layers[l], BLOCK_MOE);
        if (b && (b->moe.expert_count != model->expert_count || b->moe.used_count != model->expert_used_count))
            return FAIL(error, MODEL, "layer %u uses %u of %u experts, another layer %u of %u", l, b->moe.used_count,
                        b->moe.expert_count, model->expert_used_count, model->expert_count);
    }
    return LEAT_OK;
}

leat_status expert_records_open(mem *ledger, const model_desc *model, expert_records *out_records, leat_error *error)
{
    const uint64_t parts = EXPERT_MATRICES * PART_COUNT, count = record_count(model);
    leat_status status = LEAT_OK;
    expert_records r = {.ledger = ledger,
                        .layer_count = model->moe_layer_count,
                        .expert_count = model->expert_count,
                        .set_count = model->expert_used_count};

    _Static_assert(EXPERT_MATRICES * PART_COUNT <= EXPERT_PARTS_MAX, "a record fits the cache's table");
    _Static_assert((int)EXPERTS_USED_MAX <= (int)EXPERT_SET_MAX, "a token's experts are one set");
    if (!count) {
        *out_records = (expert_records){0};
        return LEAT_OK;
    }
    TRY(check_counts(model, error));
    TRY(mem_alloc(ledger, MEM_META, count * parts, sizeof *r.extents, 0, "extents of experts", (void **)&r.extents,
                  error));
    TRY_OR(fail,
           mem_alloc(ledger, MEM_META, count, sizeof *r.records, 0, "records of experts", (void **)&r.records, error));
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const block *b = layer_block(&model->layers[l], BLOCK_MOE);
        if (!b) continue;
        for (uint32_t e = 0; e < r.expert_count; e++) {
            const uint64_t idx = (uint64_t)b->moe.moe_idx * r.expert_count + e;
            fill_record(&b->moe, e, r.extents + idx * parts);
            r.records[idx] = (expert_record){r.extents + idx * parts, (uint32_t)parts};
        }
    }
    *out_records = r;
    return LEAT_OK;
fail:
    expert_records_close(&r);
    return status;
}

void expert_records_close(expert_records *r)
{
    if (r->ledger) {
        mem_free(r->ledger, r->extents);
        mem_free(r->ledger, r->records);
    }
    *r = (expert_records){0};
}

matrix expert_matrix(const moe_block *moe, uint32_t which, const expert_ref *ref, const float *global_scales)
{
    const weight *w = expert_stack(moe, which);
    const uint8_t *const *parts = ref->parts + which * PART_COUNT;

    return (matrix){.shape = w->shape,
                    .data = parts[PART_DATA],
                    .scales = w->parts[ref->expert][PART_SCALES].bytes ? parts[PART_SCALES] : NULL,
                    .offsets = w->parts[ref->expert][PART_OFFSETS].bytes ? parts[PART_OFFSETS] : NULL,
                    .global_scale = global_scales ? global_scales[ref->expert] : 0};
}

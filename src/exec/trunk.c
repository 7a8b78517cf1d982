#include "exec/trunk.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

enum { PART_ALIGN = 64, MOE_STACKS = 3 };

/* ---- where everything goes ---- */

static uint32_t largest_align(const file_set *files)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < files->count; i++) {
        if (files->files[i].offset_align > most) most = files->files[i].offset_align;
        if (files->files[i].memory_align > most) most = files->files[i].memory_align;
    }
    return most;
}

static extent part_extent(const weight_part *part) { return (extent){part->file_idx, part->offset, part->bytes}; }

/* Bytes of a part's place in the block, and where its place begins. */
static uint64_t place_part(const file_set *files, const weight_part *part, uint64_t *cursor)
{
    const extent e = part_extent(part);
    uint64_t begin;

    if (part->bytes < TRUNK_DIRECT_BYTES) {
        begin = round_up(*cursor, PART_ALIGN);
        *cursor = begin + part->bytes;
    } else {
        begin = round_up(*cursor, largest_align(files));
        *cursor = begin + storage_window_bytes(files, &e);
    }
    return begin;
}

typedef struct moe_stacks {
    const weight *stacks[MOE_STACKS];
} moe_stacks;

static moe_stacks stacks_of(const layer *l)
{
    const block *b = layer_block(l, BLOCK_MOE);
    if (!b) return (moe_stacks){{0}};
    return (moe_stacks){{&b->moe.gate, &b->moe.up, &b->moe.down}};
}

static uint64_t place_floats(uint64_t count, uint64_t *cursor)
{
    const uint64_t begin = round_up(*cursor, PART_ALIGN);
    *cursor = begin + count * sizeof(float);
    return begin;
}

/* ---- loading: a few reads in flight, each with a destination ---- */

typedef struct in_flight {
    bool is_busy;
    uint8_t *staging; /* NULL: read into place */
    uint64_t payload_offset, bytes;
    void *dest;
    bool widen; /* to float32 */
    float_type type;
} in_flight;

typedef struct loader {
    const trunk_load *load;
    uint8_t *staging; /* (TRUNK_READS_MAX, staging_each) */
    uint64_t staging_each;
    in_flight reads[TRUNK_READS_MAX];
    uint32_t busy_count;
    uint64_t done_bytes, total_bytes;
} loader;

static size_t block_align(const file_set *files) { return max_u64(largest_align(files), 4096); }

/* A part with an alignment unit before and after it. */
static uint64_t staging_each_bytes(const file_set *files)
{
    return round_up(TRUNK_DIRECT_BYTES, largest_align(files)) + 2 * (uint64_t)largest_align(files);
}

uint64_t trunk_staging_bytes(const file_set *files)
{
    return mem_block_bytes(TRUNK_READS_MAX * staging_each_bytes(files), block_align(files));
}

static void widen(const uint8_t *values, float_type type, uint64_t bytes, float *out)
{
    const uint64_t count = bytes / float_type_bytes(type);
    for (uint64_t i = 0; i < count; i++) out[i] = quant_float_at(type, values, i);
}

static void report(const loader *l)
{
    if (l->load->progress) l->load->progress(l->load->progress_user, "load", l->done_bytes, l->total_bytes);
}

/* Waits for one read and puts its bytes where they belong. */
static leat_status finish_one(loader *l, leat_error *error)
{
    read_result result;
    const bool found = l->load->reads->ops->reap(l->load->reads, TRUNK_TAG_BEGIN, TRUNK_TAG_END, &result);

    assert(found);
    (void)found;
    in_flight *r = &l->reads[result.tag - TRUNK_TAG_BEGIN];
    r->is_busy = false;
    l->busy_count--;
    if (result.status != LEAT_OK) {
        if (error) *error = result.error;
        return result.status;
    }
    if (r->widen)
        widen(r->staging + r->payload_offset, r->type, r->bytes, r->dest);
    else if (r->staging)
        memcpy(r->dest, r->staging + r->payload_offset, r->bytes);
    l->done_bytes += r->bytes;
    report(l);
    return LEAT_OK;
}

static leat_status free_read(loader *l, uint32_t *out_idx, leat_error *error)
{
    if (l->load->cancel && *l->load->cancel) return FAIL(error, CANCELLED, "loading was cancelled");
    if (l->busy_count == TRUNK_READS_MAX) TRY(finish_one(l, error));
    for (uint32_t i = 0; i < TRUNK_READS_MAX; i++)
        if (!l->reads[i].is_busy) {
            *out_idx = i;
            return LEAT_OK;
        }
    assert(!"busy_count says that a read is free");
    return LEAT_INTERNAL;
}

static void submit(loader *l, uint32_t idx, const extent *what, uint8_t *buffer)
{
    const read_request request = {.what = *what, .buffer = buffer, .tag = TRUNK_TAG_BEGIN + idx, .class = READ_CERTAIN};

    l->reads[idx].is_busy = true;
    l->busy_count++;
    l->load->reads->ops->submit(l->load->reads, &request);
}

/* In pieces that fit a staging buffer; TRUNK_DIRECT_BYTES is a multiple of every element's size. */
static leat_status load_staged(loader *l, const weight_part *part, void *dest, bool to_float, float_type type,
                               leat_error *error)
{
    for (uint64_t at = 0; at < part->bytes; at += TRUNK_DIRECT_BYTES) {
        const extent piece = {part->file_idx, part->offset + at, min_u64(TRUNK_DIRECT_BYTES, part->bytes - at)};
        void *piece_dest = to_float ? (void *)((float *)dest + at / float_type_bytes(type)) : (uint8_t *)dest + at;
        uint32_t idx;

        TRY(free_read(l, &idx, error));
        uint8_t *staging = l->staging + idx * l->staging_each;
        l->reads[idx] = (in_flight){.staging = staging,
                                    .payload_offset = storage_payload_offset(l->load->files, &piece),
                                    .bytes = piece.bytes,
                                    .dest = piece_dest,
                                    .widen = to_float,
                                    .type = type};
        submit(l, idx, &piece, staging);
    }
    return LEAT_OK;
}

/* Pieces end at multiples of every alignment, so each one's window begins where the last one's ended. */
static leat_status load_in_place(loader *l, const weight_part *part, uint8_t *place, leat_error *error)
{
    const uint64_t align = largest_align(l->load->files), end = part->offset + part->bytes;
    const uint64_t window_begin = round_down(part->offset, l->load->files->files[part->file_idx].offset_align);

    for (uint64_t at = part->offset; at < end;) {
        const uint64_t next = min_u64(end, round_down(at + TRUNK_PIECE_BYTES, align));
        const extent piece = {part->file_idx, at, next - at};
        uint32_t idx;
        TRY(free_read(l, &idx, error));
        l->reads[idx] = (in_flight){.bytes = next - at};
        submit(l, idx, &piece,
               place + (round_down(at, l->load->files->files[part->file_idx].offset_align) - window_begin));
        at = next;
    }
    return LEAT_OK;
}

static leat_status load_part(loader *l, trunk *t, const weight_part *part, uint64_t *cursor, const uint8_t **out_bytes,
                             leat_error *error)
{
    *out_bytes = NULL;
    if (!part->bytes) return LEAT_OK;
    const extent e = part_extent(part);
    uint8_t *place = t->block + place_part(l->load->files, part, cursor);

    if (part->bytes < TRUNK_DIRECT_BYTES) {
        *out_bytes = place;
        return load_staged(l, part, place, false, FLOAT_F32, error);
    }
    *out_bytes = place + storage_payload_offset(l->load->files, &e);
    return load_in_place(l, part, place, error);
}

static leat_status load_floats(loader *l, trunk *t, const weight_part *part, float_type type, uint64_t count,
                               uint64_t *cursor, float **out_floats, leat_error *error)
{
    *out_floats = (float *)(t->block + place_floats(count, cursor));
    return load_staged(l, part, *out_floats, true, type, error);
}

static leat_status load_all(loader *l, trunk *t, leat_error *error)
{
    const model_desc *m = l->load->model;
    uint64_t cursor = 0;

    report(l);
    for (uint32_t i = 0; i < m->weight_count; i++) {
        const weight *w = &m->weights[i];
        if (m->places[i] != WEIGHT_RESIDENT) continue;
        t->matrices[i].shape = w->shape;
        if (w->global_scale_part)
            TRY(load_staged(l, w->global_scale_part, &t->matrices[i].global_scale, true, FLOAT_F32, error));
        if (!residency_keeps_weight(m, l->load->level, i)) continue;
        TRY(load_part(l, t, &w->parts[0][PART_DATA], &cursor, &t->matrices[i].data, error));
        TRY(load_part(l, t, &w->parts[0][PART_SCALES], &cursor, &t->matrices[i].scales, error));
        TRY(load_part(l, t, &w->parts[0][PART_OFFSETS], &cursor, &t->matrices[i].offsets, error));
    }
    for (uint32_t i = 0; i < m->vector_count; i++)
        TRY(load_floats(l, t, &m->vectors[i].part, m->vectors[i].type, m->vectors[i].count, &cursor, &t->vectors[i],
                        error));
    for (uint32_t i = 0, moe = 0; i < m->layer_count; i++) {
        const moe_stacks s = stacks_of(&m->layers[i]);
        if (!s.stacks[0]) continue;
        for (uint32_t k = 0; k < MOE_STACKS; k++)
            if (s.stacks[k]->global_scale_part)
                TRY(load_floats(l, t, s.stacks[k]->global_scale_part, FLOAT_F32, s.stacks[k]->stack_count, &cursor,
                                &t->global_scales[moe * MOE_STACKS + k], error));
        moe++;
    }
    while (l->busy_count) TRY(finish_one(l, error));
    return LEAT_OK;
}

/* ---- sizes: the same walk without reads ---- */

static uint64_t block_bytes(const model_desc *m, const file_set *files, uint32_t level, uint64_t *out_payload)
{
    uint64_t cursor = 0, payload = 0;

    for (uint32_t i = 0; i < m->weight_count; i++)
        for (int k = 0; k < PART_COUNT && residency_keeps_weight(m, level, i); k++) {
            const weight_part *part = &m->weights[i].parts[0][k];
            if (part->bytes) place_part(files, part, &cursor);
            payload += part->bytes;
        }
    for (uint32_t i = 0; i < m->weight_count; i++)
        if (m->places[i] == WEIGHT_RESIDENT && m->weights[i].global_scale_part)
            payload += m->weights[i].global_scale_part->bytes;
    for (uint32_t i = 0; i < m->vector_count; i++) {
        place_floats(m->vectors[i].count, &cursor);
        payload += m->vectors[i].part.bytes;
    }
    for (uint32_t i = 0; i < m->layer_count; i++) {
        const moe_stacks s = stacks_of(&m->layers[i]);
        for (uint32_t k = 0; s.stacks[0] && k < MOE_STACKS; k++)
            if (s.stacks[k]->global_scale_part) {
                place_floats(s.stacks[k]->stack_count, &cursor);
                payload += s.stacks[k]->global_scale_part->bytes;
            }
    }
    *out_payload = payload;
    return cursor;
}

static uint64_t table_bytes(const model_desc *m)
{
    return mem_block_bytes(sizeof(trunk), 0) + mem_block_bytes(m->weight_count * sizeof(matrix), 0) +
           mem_block_bytes(m->vector_count * sizeof(float *), 0) +
           mem_block_bytes(m->moe_layer_count * MOE_STACKS * sizeof(float *), 0);
}

uint64_t trunk_bytes(const model_desc *model, const file_set *files, uint32_t level)
{
    uint64_t payload;
    return mem_block_bytes(block_bytes(model, files, level, &payload), block_align(files)) + table_bytes(model);
}

static leat_status allocate(trunk *t, const trunk_load *load, loader *l, leat_error *error)
{
    const model_desc *m = load->model;
    const uint64_t bytes = block_bytes(m, load->files, load->level, &l->total_bytes);
    const size_t align = block_align(load->files);

    TRY(mem_alloc(t->ledger, MEM_TRUNK, m->weight_count, sizeof *t->matrices, 0, "table of weights",
                  (void **)&t->matrices, error));
    TRY(mem_alloc(t->ledger, MEM_TRUNK, m->vector_count, sizeof *t->vectors, 0, "table of vectors",
                  (void **)&t->vectors, error));
    TRY(mem_alloc(t->ledger, MEM_TRUNK, m->moe_layer_count * (uint64_t)MOE_STACKS, sizeof *t->global_scales, 0,
                  "table of global scales", (void **)&t->global_scales, error));
    TRY(mem_alloc(t->ledger, MEM_TRUNK, bytes, 1, align, "trunk", (void **)&t->block, error));
    l->staging_each = staging_each_bytes(load->files);
    return mem_alloc(t->ledger, MEM_IO, TRUNK_READS_MAX, l->staging_each, align, "staging for reads",
                     (void **)&l->staging, error);
}

leat_status trunk_open(mem *ledger, const trunk_load *load, trunk **out_trunk, leat_error *error)
{
    leat_status status = LEAT_OK;
    loader l = {.load = load};
    trunk *t;

    TRY(mem_alloc(ledger, MEM_TRUNK, 1, sizeof *t, 0, "trunk", (void **)&t, error));
    t->ledger = ledger;
    TRY_OR(done, allocate(t, load, &l, error));
    TRY_OR(done, load_all(&l, t, error));
done:
    while (l.busy_count)
        (void)!finish_one(&l, NULL); /* after a failure: the others' buffers must not be freed under them */
    mem_free(ledger, l.staging);
    if (status == LEAT_OK)
        *out_trunk = t;
    else
        trunk_close(&t);
    return status;
}

void trunk_close(trunk **t)
{
    trunk *it = *t;

    if (!it) return;
    mem_free(it->ledger, it->matrices);
    mem_free(it->ledger, it->vectors);
    mem_free(it->ledger, it->global_scales);
    mem_free(it->ledger, it->block);
    mem_free(it->ledger, it);
    *t = NULL;
}

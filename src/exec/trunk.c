#include "exec/trunk.h"

#include "base/bytes.h"
#include "base/cancel.h"

#include <assert.h>
#include <string.h>

enum { PART_ALIGN = 64, MOE_STACKS = 3 };

/* ---- where everything goes ---- */

static extent part_extent(const weight_part *part) { return (extent){part->file_idx, part->offset, part->bytes}; }
static bool is_large(const weight_part *part) { return part->bytes >= TRUNK_DIRECT_BYTES; }

/* Small parts and vectors lie together at the block's begin: scattered among the large ones they would make pages
 * resident, huge ones at worst, that are of no use yet. Both return where the place begins. */
static uint64_t place_small(uint64_t bytes, uint64_t *cursor)
{
    const uint64_t begin = round_up(*cursor, PART_ALIGN);
    *cursor = begin + bytes;
    return begin;
}

/* The sum of the places does not depend on their order. */
static uint64_t place_large(const file_set *files, const weight_part *part, uint64_t *cursor)
{
    const extent e = part_extent(part);
    const uint32_t align = trunk_largest_align(files);
    const uint64_t begin = round_up(*cursor, align);

    *cursor = begin + round_up(storage_window_bytes(files, &e), align);
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

static uint64_t place_floats(uint64_t count, uint64_t *cursor) { return place_small(count * sizeof(float), cursor); }

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
    uint64_t done_bytes, total_bytes, staged_bytes;
} loader;

static size_t block_align(const file_set *files) { return max_u64(trunk_largest_align(files), 4096); }

/* A part with an alignment unit before and after it. */
static uint64_t staging_each_bytes(const file_set *files)
{
    return round_up(TRUNK_DIRECT_BYTES, trunk_largest_align(files)) + 2 * (uint64_t)trunk_largest_align(files);
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
        if (cancel_is_wanted(l->load->cancel)) return FAIL(error, CANCELLED, "loading was cancelled");
        if (error) *error = result.error;
        return result.status;
    }
    if (r->widen)
        widen(r->staging + r->payload_offset, r->type, r->bytes, r->dest);
    else if (r->staging)
        memcpy(r->dest, r->staging + r->payload_offset, r->bytes);
    l->done_bytes += r->bytes;
    if (r->staging) l->staged_bytes += r->bytes;
    report(l);
    return LEAT_OK;
}

static leat_status free_read(loader *l, uint32_t *out_idx, leat_error *error)
{
    if (cancel_is_wanted(l->load->cancel)) return FAIL(error, CANCELLED, "loading was cancelled");
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

static leat_status load_part(loader *l, trunk *t, const weight_part *part, uint64_t *cursor, const uint8_t **out_bytes,
                             leat_error *error)
{
    *out_bytes = NULL;
    if (!part->bytes || is_large(part)) return LEAT_OK;
    uint8_t *place = t->block + place_small(part->bytes, cursor);

    *out_bytes = place;
    return load_staged(l, part, place, false, FLOAT_F32, error);
}

static leat_status load_floats(loader *l, trunk *t, const weight_part *part, float_type type, uint64_t count,
                               uint64_t *cursor, float **out_floats, leat_error *error)
{
    *out_floats = (float *)(t->block + place_floats(count, cursor));
    return load_staged(l, part, *out_floats, true, type, error);
}

static leat_status load_small(loader *l, trunk *t, uint64_t *out_end, leat_error *error)
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
    *out_end = cursor;
    return LEAT_OK;
}

/* ---- large parts, in the order of their use ---- */

static uint32_t unit_of_rest(const model_desc *m) { return TRUNK_FIRST_LAYER + m->layer_count; }

static bool uses_weight(const layer *l, weight_id id)
{
    weight_id ids[LAYER_WEIGHTS_MAX];
    const uint32_t count = layer_weights(l, ids);

    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static uint32_t unit_of(const model_desc *m, weight_id id)
{
    if (m->inputs.width && id == m->inputs.projection) return TRUNK_INPUTS;
    if (m->layers_of && m->layers_of[id] != NO_ID) return TRUNK_FIRST_LAYER + m->layers_of[id];
    for (uint32_t i = 0; i < m->layer_count; i++) /* several layers share it, or none uses it */
        if (uses_weight(&m->layers[i], id)) return TRUNK_FIRST_LAYER + i;
    return unit_of_rest(m);
}

static uint32_t large_part_count(const model_desc *m, uint32_t level)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->weight_count; i++)
        for (int k = 0; k < PART_COUNT && residency_keeps_weight(m, level, i); k++)
            count += is_large(&m->weights[i].parts[0][k]);
    return count;
}

static void list_parts_of(trunk *t, const trunk_load *load, weight_id id, uint32_t unit, uint64_t *cursor)
{
    matrix *m = &t->matrices[id];
    const uint8_t **payloads[PART_COUNT] = {
        [PART_DATA] = &m->data, [PART_SCALES] = &m->scales, [PART_OFFSETS] = &m->offsets};

    for (int k = 0; k < PART_COUNT; k++) {
        const weight_part *part = &load->model->weights[id].parts[0][k];
        if (!is_large(part)) continue;
        const extent what = part_extent(part);
        uint8_t *place = t->block + place_large(load->files, part, cursor);
        *payloads[k] = place + storage_payload_offset(load->files, &what);
        t->parts[t->part_count++] = (trunk_part){what, place, unit};
    }
}

/* Their places begin where the small parts' end. */
static void list_parts(trunk *t, const trunk_load *load, uint64_t cursor)
{
    const model_desc *m = load->model;

    for (uint32_t unit = 0; unit <= unit_of_rest(m); unit++)
        for (uint32_t i = 0; i < m->weight_count; i++)
            if (residency_keeps_weight(m, load->level, i) && unit_of(m, i) == unit)
                list_parts_of(t, load, i, unit, &cursor);
}

static leat_status start_reader(trunk *t, const loader *l, leat_error *error)
{
    const trunk_load *load = l->load;
    const trunk_reader_config config = {.ledger = t->ledger,
                                        .files = load->files,
                                        .reads = load->reads,
                                        .parts = t->parts,
                                        .part_count = t->part_count,
                                        .unit_count = unit_of_rest(load->model) + 1,
                                        .done_bytes = l->done_bytes,
                                        .total_bytes = l->total_bytes,
                                        .cancel = load->cancel,
                                        .progress = load->progress,
                                        .progress_user = load->progress_user};

    if (!t->part_count) return LEAT_OK;
    return trunk_reader_open(&config, &t->reader, error);
}

static uint32_t last_unit(const trunk *t) { return TRUNK_FIRST_LAYER + t->layer_count; }

leat_status trunk_wait(trunk *t, uint32_t unit, leat_error *error)
{
    if (!t->reader) return LEAT_OK;
    return trunk_reader_wait(t->reader, unit < last_unit(t) ? unit : last_unit(t), error);
}

bool trunk_is_complete(const trunk *t) { return !t->reader || trunk_reader_is_ready(t->reader, last_unit(t)); }

uint64_t trunk_wait_ns(const trunk *t) { return t->reader ? trunk_reader_wait_ns(t->reader) : 0; }

bool trunk_reads_embedding_rows(const model_desc *m, uint32_t level)
{
    const weight *w = &m->weights[m->embedding];

    if (!residency_keeps_weight(m, level, m->embedding)) return true;
    if (w->global_scale_part) return false; /* which the reader of rows does not know */
    for (int k = 0; k < PART_COUNT; k++)
        if (is_large(&w->parts[0][k])) return true;
    return false;
}

/* ---- sizes: the same walks without reads ---- */

static uint64_t block_bytes(const model_desc *m, const file_set *files, uint32_t level, uint64_t *out_payload)
{
    uint64_t cursor = 0, payload = 0;

    for (uint32_t i = 0; i < m->weight_count; i++)
        for (int k = 0; k < PART_COUNT && residency_keeps_weight(m, level, i); k++) {
            const weight_part *part = &m->weights[i].parts[0][k];
            if (part->bytes && !is_large(part)) place_small(part->bytes, &cursor);
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
    for (uint32_t i = 0; i < m->weight_count; i++)
        for (int k = 0; k < PART_COUNT && residency_keeps_weight(m, level, i); k++)
            if (is_large(&m->weights[i].parts[0][k])) place_large(files, &m->weights[i].parts[0][k], &cursor);
    *out_payload = payload;
    return cursor;
}

static uint64_t table_bytes(const model_desc *m, uint32_t level)
{
    const uint32_t large_count = large_part_count(m, level);
    const uint64_t reading =
        large_count ? mem_block_bytes(large_count * sizeof(trunk_part), 0) + trunk_reader_bytes() : 0;

    return reading + mem_block_bytes(sizeof(trunk), 0) + mem_block_bytes(m->weight_count * sizeof(matrix), 0) +
           mem_block_bytes(m->vector_count * sizeof(float *), 0) +
           mem_block_bytes(m->moe_layer_count * MOE_STACKS * sizeof(float *), 0);
}

uint64_t trunk_bytes(const model_desc *model, const file_set *files, uint32_t level)
{
    uint64_t payload;
    return mem_block_bytes(block_bytes(model, files, level, &payload), block_align(files)) + table_bytes(model, level);
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
    t->layer_count = m->layer_count;
    t->block_bytes = bytes;
    const uint32_t large_count = large_part_count(m, load->level);
    if (large_count)
        TRY(mem_alloc(t->ledger, MEM_TRUNK, large_count, sizeof *t->parts, 0, "table of large parts",
                      (void **)&t->parts, error));
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
    uint64_t small_end;
    TRY_OR(done, load_small(&l, t, &small_end, error));
    t->staged_bytes = l.staged_bytes;
    list_parts(t, load, small_end);
    TRY_OR(done, start_reader(t, &l, error));
done:
    while (l.busy_count)
        (void)!finish_one(&l, NULL); /* after a failure: the others' buffers must not be freed under them */
    if (status != LEAT_OK) load->reads->ops->reclaim(load->reads);
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
    trunk_reader_close(&it->reader);
    mem_free(it->ledger, it->parts);
    mem_free(it->ledger, it->matrices);
    mem_free(it->ledger, it->vectors);
    mem_free(it->ledger, it->global_scales);
    mem_free(it->ledger, it->block);
    mem_free(it->ledger, it);
    *t = NULL;
}

#include "exec/weight_ring.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>
#include <stdatomic.h>

enum { SLOT_ALIGN = 4096 };
#define NO_RECORD UINT32_MAX

typedef struct ring_slot {
    uint32_t record; /* NO_RECORD: empty */
    bool is_held;
    uint32_t reads_left;  /* submitted and not back */
    uint32_t next_part;   /* the first part with bytes that are not asked for; part_count: all are */
    uint64_t next_offset; /* in that part */
    uint32_t part_count;
    read_class class; /* of what is asked for next */
    record_part parts[RECORD_PARTS_MAX];
    leat_status status; /* of the first read that failed */
    leat_error error;
} ring_slot;

struct weight_ring {
    mem *ledger;
    const model_desc *model;
    const file_set *files;
    storage *reads;
    trunk *trunk;
    uint8_t *block; /* (RING_SLOTS, slot_bytes) */
    uint64_t slot_bytes, slice_rows;
    uint32_t reading_count;
    bool expects_head;
    ring_slot slots[RING_SLOTS];
    _Atomic uint64_t record_count, wait_ns; /* weight_ring_stats, which other threads read */
    uint32_t layer_count, slice_count;      /* records: streamed layers, then slices */
    uint32_t layers[];                      /* (layer_count) */
};

/* ---- sizes ---- */

static uint64_t table_bytes(uint32_t layer_count) { return sizeof(weight_ring) + layer_count * sizeof(uint32_t); }

/* The ledger's alignment must suit the most demanding file. */
static size_t block_align(const file_set *files)
{
    uint64_t most = SLOT_ALIGN;
    for (uint32_t i = 0; i < files->count; i++)
        most = max_u64(most, max_u64(files->files[i].offset_align, files->files[i].memory_align));
    return (size_t)most;
}

static uint64_t slot_bytes(const model_desc *m, const file_set *files)
{
    return round_up(residency_slot_bytes(m, files), block_align(files));
}

uint64_t weight_ring_bytes(const model_desc *m, const file_set *files, uint32_t level)
{
    const uint32_t layer_count = residency_streamed_layers(m, level);

    if (!layer_count && residency_keeps_head(m, level)) return 0;
    return mem_block_bytes(table_bytes(layer_count), 0) +
           mem_block_bytes(RING_SLOTS * slot_bytes(m, files), block_align(files));
}

/* ---- records ---- */

static uint32_t record_count(const weight_ring *ring) { return ring->layer_count + ring->slice_count; }

static uint64_t slice_begin(const weight_ring *ring, uint32_t record)
{
    return (record - ring->layer_count) * ring->slice_rows;
}

static uint64_t slice_rows(const weight_ring *ring, uint32_t record)
{
    return min_u64(ring->slice_rows, ring->model->weights[ring->model->head].shape.rows - slice_begin(ring, record));
}

static uint32_t record_after(const weight_ring *ring, uint32_t record)
{
    const bool has_layers = ring->layer_count > 0;

    if (record + 1 == ring->layer_count && !ring->expects_head) return 0;
    if (record + 1 < record_count(ring)) return record + 1;
    return has_layers || ring->expects_head ? 0 : NO_RECORD;
}

static bool is_loading(const ring_slot *s)
{
    return s->record != NO_RECORD && (s->reads_left || s->next_part < s->part_count);
}

static ring_slot *find_slot(weight_ring *ring, uint32_t record)
{
    for (uint32_t i = 0; i < RING_SLOTS; i++)
        if (ring->slots[i].record == record) return &ring->slots[i];
    return NULL;
}

static uint8_t *slot_begin(const weight_ring *ring, const ring_slot *s)
{
    return ring->block + (uint64_t)(s - ring->slots) * ring->slot_bytes;
}

static void begin_record(weight_ring *ring, ring_slot *s, uint32_t record)
{
    uint64_t bytes;

    assert(!s->is_held && !is_loading(s));
    *s = (ring_slot){.record = record, .class = READ_CERTAIN, .status = LEAT_OK};
    if (record < ring->layer_count) {
        bytes = residency_layer_record(ring->model, ring->files, ring->layers[record], s->parts, &s->part_count);
    } else {
        s->part_count = PART_COUNT;
        bytes = residency_head_record(ring->model, ring->files, slice_begin(ring, record), slice_rows(ring, record),
                                      s->parts);
    }
    assert(bytes <= ring->slot_bytes);
    (void)bytes;
    ring->record_count++;
}

/* ---- reads ---- */

static uint64_t slot_tag(const weight_ring *ring, const ring_slot *s)
{
    return RING_TAG_BEGIN + (uint64_t)(s - ring->slots);
}

/* The next piece of the slot's record. Pieces end at multiples of the alignment, so each one's window begins where the
 * last one's ended. */
static read_request next_piece(const weight_ring *ring, const ring_slot *s)
{
    const record_part *part = &s->parts[s->next_part];
    const file *f = &ring->files->files[part->what.file_idx];
    const uint64_t begin = part->what.offset + s->next_offset, end = part->what.offset + part->what.bytes;
    const uint64_t unit = max_u64(f->offset_align, f->memory_align);
    const uint64_t next = min_u64(end, round_down(begin + TRUNK_PIECE_BYTES, unit));
    const uint64_t window = round_down(begin, f->offset_align) - round_down(part->what.offset, f->offset_align);

    return (read_request){.what = {part->what.file_idx, begin, next - begin},
                          .buffer = slot_begin(ring, s) + part->place + window,
                          .tag = slot_tag(ring, s),
                          .class = s->class};
}

/* Somebody waits for the slot's record. */
static void demand_record(weight_ring *ring, ring_slot *s)
{
    s->class = READ_DEMAND;
    ring->reads->ops->raise(ring->reads, slot_tag(ring, s), slot_tag(ring, s) + 1, READ_DEMAND);
}

static void skip_empty_parts(ring_slot *s)
{
    while (s->next_part < s->part_count && s->next_offset == s->parts[s->next_part].what.bytes) {
        s->next_part++;
        s->next_offset = 0;
    }
}

/* Asks for as much of the record as the queue takes. */
static void submit_pieces(weight_ring *ring, ring_slot *s)
{
    for (skip_empty_parts(s); s->next_part < s->part_count; skip_empty_parts(s)) {
        if (ring->reading_count == RING_READS_MAX) return;
        const read_request request = next_piece(ring, s);
        if (!ring->reads->ops->try_submit(ring->reads, &request)) {
            if (ring->reading_count) return;
            ring->reads->ops->submit(ring->reads, &request); /* what fills the queue is not ours: others will reap it */
        }
        s->next_offset += request.what.bytes;
        s->reads_left++;
        ring->reading_count++;
    }
}

static void take_back(weight_ring *ring, const read_result *result)
{
    ring_slot *s = &ring->slots[result->tag - RING_TAG_BEGIN];
    s->reads_left--;
    ring->reading_count--;
    if (result->status == LEAT_OK || s->status != LEAT_OK) return;
    s->status = result->status;
    s->error = result->error;
    s->next_part = s->part_count; /* the rest is not asked for */
}

static void reap_one(weight_ring *ring)
{
    read_result result;
    const bool found = ring->reads->ops->reap(ring->reads, RING_TAG_BEGIN, RING_TAG_BEGIN + RING_SLOTS, &result);

    assert(found);
    (void)found;
    take_back(ring, &result);
}

static void submit_all(weight_ring *ring)
{
    for (uint32_t i = 0; i < RING_SLOTS; i++)
        if (ring->slots[i].record != NO_RECORD) submit_pieces(ring, &ring->slots[i]);
}

static void finish_record(weight_ring *ring, ring_slot *s)
{
    if (is_loading(s)) demand_record(ring, s);
    submit_pieces(ring, s);
    while (is_loading(s)) {
        reap_one(ring);
        submit_pieces(ring, s);
    }
}

/* A slot for a record that is wanted now. */
static ring_slot *free_slot(weight_ring *ring)
{
    ring_slot *best = NULL;

    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        ring_slot *s = &ring->slots[i];
        if (!s->is_held && (!best || is_loading(best))) best = s;
    }
    assert(best);              /* one record is held at a time */
    finish_record(ring, best); /* something else was read ahead */
    return best;
}

static void read_ahead(weight_ring *ring, uint32_t record)
{
    const uint32_t next = record_after(ring, record);

    if (next == NO_RECORD || find_slot(ring, next)) return;
    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        ring_slot *s = &ring->slots[i];
        if (s->is_held || is_loading(s) || s->record == record) continue;
        begin_record(ring, s, next);
        return;
    }
}

static leat_status acquire(weight_ring *ring, uint32_t record, ring_slot **out_slot, leat_error *error)
{
    ring_slot *s = find_slot(ring, record);

    if (!s) {
        s = free_slot(ring);
        begin_record(ring, s, record);
    }
    demand_record(ring, s);
    submit_pieces(ring, s);
    read_ahead(ring, record);
    const uint64_t begin_ns = clock_now_ns();
    finish_record(ring, s);
    ring->wait_ns += clock_now_ns() - begin_ns;
    submit_all(ring);
    if (s->status != LEAT_OK) {
        const leat_status status = s->status;
        if (error) *error = s->error;
        s->record = NO_RECORD;
        return status;
    }
    s->is_held = true;
    *out_slot = s;
    return LEAT_OK;
}

/* ---- open and close ---- */

leat_status weight_ring_open(mem *ledger, const model_desc *m, const file_set *files, storage *reads, trunk *t,
                             uint32_t level, weight_ring **out_ring, leat_error *error)
{
    const uint32_t layer_count = residency_streamed_layers(m, level);
    const bool keeps_head = residency_keeps_head(m, level);
    leat_status status = LEAT_OK;
    weight_ring *ring;

    *out_ring = NULL;
    if (!layer_count && keeps_head) return LEAT_OK;
    TRY(mem_alloc(ledger, MEM_TRUNK, 1, table_bytes(layer_count), 0, "weight ring", (void **)&ring, error));
    ring->ledger = ledger;
    ring->model = m;
    ring->files = files;
    ring->reads = reads;
    ring->trunk = t;
    ring->slot_bytes = slot_bytes(m, files);
    ring->slice_rows = residency_slice_rows(m, files);
    for (uint32_t l = 0; l < m->layer_count; l++)
        if (!residency_keeps_layer(m, level, l)) ring->layers[ring->layer_count++] = l;
    if (!keeps_head) ring->slice_count = (uint32_t)div_up(m->weights[m->head].shape.rows, ring->slice_rows);
    for (uint32_t i = 0; i < RING_SLOTS; i++) ring->slots[i].record = NO_RECORD;
    TRY_OR(fail, mem_alloc(ledger, MEM_TRUNK, RING_SLOTS, ring->slot_bytes, block_align(files),
                           "slots of the weight ring", (void **)&ring->block, error));
    *out_ring = ring;
    return LEAT_OK;
fail:
    mem_free(ledger, ring);
    return status;
}

void weight_ring_settle(weight_ring *ring)
{
    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        ring_slot *s = &ring->slots[i];
        if (s->record == NO_RECORD) continue;
        if (s->next_part < s->part_count) { /* not worth finishing */
            s->next_part = s->part_count;
            s->status = LEAT_CANCELLED;
        }
    }
    while (ring->reading_count) reap_one(ring);
    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        ring->slots[i].is_held = false;
        if (ring->slots[i].status != LEAT_OK) ring->slots[i].record = NO_RECORD;
    }
}

void weight_ring_close(weight_ring **ring_ptr)
{
    weight_ring *ring = *ring_ptr;

    if (!ring) return;
    weight_ring_settle(ring);
    mem *ledger = ring->ledger;
    mem_free(ledger, ring->block);
    mem_free(ledger, ring);
    *ring_ptr = NULL;
}

/* ---- for the step ---- */

void weight_ring_expect_head(weight_ring *ring, bool is_expected)
{
    if (ring) ring->expects_head = is_expected;
}

static const uint8_t *payload(const weight_ring *ring, const ring_slot *s, uint32_t part)
{
    const record_part *p = &s->parts[part];
    return p->what.bytes ? slot_begin(ring, s) + p->place + storage_payload_offset(ring->files, &p->what) : NULL;
}

static void point_at(const weight_ring *ring, const ring_slot *s, uint32_t first_part, matrix *out)
{
    out->data = payload(ring, s, first_part + PART_DATA);
    out->scales = payload(ring, s, first_part + PART_SCALES);
    out->offsets = payload(ring, s, first_part + PART_OFFSETS);
}

leat_status weight_ring_acquire_layer(weight_ring *ring, uint32_t layer_idx, leat_error *error)
{
    weight_id ids[LAYER_WEIGHTS_MAX];
    ring_slot *s;

    if (!ring) return LEAT_OK;
    for (uint32_t record = 0; record < ring->layer_count; record++) {
        if (ring->layers[record] != layer_idx) continue;
        TRY(acquire(ring, record, &s, error));
        for (uint32_t i = layer_weights(&ring->model->layers[layer_idx], ids); i-- > 0;)
            point_at(ring, s, i * PART_COUNT, &ring->trunk->matrices[ids[i]]);
    }
    return LEAT_OK;
}

leat_status weight_ring_acquire_head(weight_ring *ring, uint64_t row, matrix *out_slice, leat_error *error)
{
    const uint32_t record = ring->layer_count + (uint32_t)(row / ring->slice_rows);
    ring_slot *s;

    assert(row % ring->slice_rows == 0 && record < record_count(ring));
    TRY(acquire(ring, record, &s, error));
    *out_slice = (matrix){.shape = ring->model->weights[ring->model->head].shape};
    out_slice->shape.rows = slice_rows(ring, record);
    point_at(ring, s, 0, out_slice);
    return LEAT_OK;
}

void weight_ring_release(weight_ring *ring)
{
    for (uint32_t i = 0; ring && i < RING_SLOTS; i++) ring->slots[i].is_held = false;
}

void weight_ring_pump(weight_ring *ring)
{
    read_result result;

    if (!ring) return;
    while (ring->reads->ops->try_reap(ring->reads, RING_TAG_BEGIN, RING_TAG_BEGIN + RING_SLOTS, &result))
        take_back(ring, &result);
    submit_all(ring);
}

weight_ring_stats weight_ring_stats_get(const weight_ring *ring)
{
    return ring ? (weight_ring_stats){ring->record_count, ring->wait_ns} : (weight_ring_stats){0};
}

#include "exec/row_reader.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>

static uint64_t part_row_bytes(const weight *table, int part)
{
    if (!table->parts[0][part].bytes) return 0;
    return part == PART_DATA ? quant_data_row_bytes(&table->shape) : quant_scale_row_bytes(&table->shape);
}

static extent row_extent(const weight *table, int part, uint64_t row)
{
    const weight_part *p = &table->parts[0][part];
    const uint64_t bytes = part_row_bytes(table, part);
    return (extent){p->file_idx, p->offset + row * bytes, bytes};
}

/* A window is at most the row with an alignment unit before and after it. */
static uint64_t place_windows(const weight *table, const file_set *files, uint64_t begin[PART_COUNT])
{
    uint64_t sum = 0;

    for (int part = 0; part < PART_COUNT; part++) {
        const file *f = &files->files[table->parts[0][part].file_idx];
        const uint64_t align = max_u64(f->offset_align, f->memory_align), bytes = part_row_bytes(table, part);
        begin[part] = sum;
        if (bytes) sum += round_up(bytes, align) + align;
        sum = round_up(sum, max_u64(align, 4096));
    }
    return sum;
}

/* Page alignment suits every disk known; a file may ask for more. */
static size_t buffer_align(const weight *table, const file_set *files)
{
    uint64_t most = 4096;
    for (int part = 0; part < PART_COUNT; part++)
        most = max_u64(most, files->files[table->parts[0][part].file_idx].memory_align);
    return (size_t)most;
}

uint64_t row_reader_bytes(const weight *table, const file_set *files)
{
    uint64_t begin[PART_COUNT];
    return mem_block_bytes(ROW_READS_MAX * place_windows(table, files, begin), buffer_align(table, files));
}

leat_status row_reader_open(mem *ledger, const weight *table, const file_set *files, storage *reads,
                            row_reader *out_reader, leat_error *error)
{
    row_reader r = {.ledger = ledger, .table = table, .files = files, .reads = reads};

    if (table->global_scale_part)
        return FAIL(error, MODEL, "%s has a global scale, which is not supported for a table that is read by rows",
                    table->name);
    r.row_bytes = place_windows(table, files, r.part_begin);
    TRY(mem_alloc(ledger, MEM_IO, ROW_READS_MAX, r.row_bytes, buffer_align(table, files), "rows of an embedding table",
                  (void **)&r.buffer, error));
    *out_reader = r;
    return LEAT_OK;
}

void row_reader_close(row_reader *r)
{
    if (r->buffer) mem_free(r->ledger, r->buffer);
    *r = (row_reader){0};
}

static uint8_t *window_of(const row_reader *r, uint32_t idx, int part)
{
    return r->buffer + idx * r->row_bytes + r->part_begin[part];
}

static uint32_t submit_row(row_reader *r, uint32_t idx, uint64_t row)
{
    uint32_t submitted = 0;

    for (int part = 0; part < PART_COUNT; part++) {
        const read_request request = {.what = row_extent(r->table, part, row),
                                      .buffer = window_of(r, idx, part),
                                      .tag = ROW_TAG_BEGIN + idx * PART_COUNT + part};
        if (!request.what.bytes) continue;
        r->reads->ops->submit(r->reads, &request);
        submitted++;
    }
    return submitted;
}

static const uint8_t *payload_of(const row_reader *r, uint32_t idx, int part, uint64_t row)
{
    const extent e = row_extent(r->table, part, row);
    return e.bytes ? window_of(r, idx, part) + storage_payload_offset(r->files, &e) : NULL;
}

static void decode_row(const row_reader *r, uint32_t idx, uint64_t row, float *out)
{
    matrix m = {.shape = r->table->shape,
                .data = payload_of(r, idx, PART_DATA, row),
                .scales = payload_of(r, idx, PART_SCALES, row),
                .offsets = payload_of(r, idx, PART_OFFSETS, row)};

    m.shape.rows = 1;
    quant_decode(&m, 0, 0, m.shape.cols, out);
}

/* All reads are awaited even when one fails: their buffers are used again. */
static leat_status await(row_reader *r, uint32_t count, leat_error *error)
{
    const uint64_t begin_ns = clock_now_ns();
    leat_status status = LEAT_OK;

    for (uint32_t i = 0; i < count; i++) {
        read_result result;
        const bool found = r->reads->ops->reap(r->reads, ROW_TAG_BEGIN, ROW_TAG_END, &result);
        assert(found);
        (void)found;
        if (result.status == LEAT_OK || status != LEAT_OK) continue;
        status = result.status;
        if (error) *error = result.error;
    }
    r->wait_ns += clock_now_ns() - begin_ns;
    return status;
}

leat_status row_reader_read(row_reader *r, const uint32_t *rows, uint32_t count, float *out, leat_error *error)
{
    for (uint32_t begin = 0; begin < count; begin += ROW_READS_MAX) {
        const uint32_t batch = (uint32_t)min_u64(ROW_READS_MAX, count - begin);
        uint32_t submitted = 0;
        for (uint32_t i = 0; i < batch; i++) submitted += submit_row(r, i, rows[begin + i]);
        TRY(await(r, submitted, error));
        for (uint32_t i = 0; i < batch; i++)
            decode_row(r, i, rows[begin + i], out + (uint64_t)(begin + i) * r->table->shape.cols);
    }
    return LEAT_OK;
}

#include "exec/residency.h"

#include "base/bytes.h"

enum { PLACE_ALIGN_MIN = 64, SLICE_UNIT = 16 };

/* How many of the layers below `layer` stay. */
static uint32_t kept_below(const model_desc *m, uint32_t level, uint32_t layer_idx)
{
    const uint64_t kept = level ? min_u64(level - 1, m->layer_count) : 0;
    return (uint32_t)(layer_idx * kept / m->layer_count);
}

bool residency_keeps_layer(const model_desc *m, uint32_t level, uint32_t layer_idx)
{
    return !m->layers_of || kept_below(m, level, layer_idx + 1) > kept_below(m, level, layer_idx);
}

bool residency_keeps_head(const model_desc *m, uint32_t level)
{
    return !m->layers_of || level > 0 || m->weights[m->head].global_scale_part;
}

bool residency_keeps_weight(const model_desc *m, uint32_t level, weight_id id)
{
    if (m->places[id] != WEIGHT_RESIDENT) return false;
    if (id == m->head) return residency_keeps_head(m, level);
    return !m->layers_of || m->layers_of[id] == NO_ID || residency_keeps_layer(m, level, m->layers_of[id]);
}

/* ---- records ---- */

static uint64_t place_align(const file_set *files, const extent *what)
{
    const file *f = &files->files[what->file_idx];
    return max_u64(PLACE_ALIGN_MIN, max_u64(f->offset_align, f->memory_align));
}

static void place_extent(const file_set *files, extent what, record_part *out_part, uint64_t *cursor)
{
    *out_part = (record_part){.what = what};
    if (!what.bytes) return;
    out_part->place = round_up(*cursor, place_align(files, &what));
    *cursor = out_part->place + storage_window_bytes(files, &what);
}

uint64_t residency_layer_record(const model_desc *m, const file_set *files, uint32_t layer_idx, record_part *out_parts,
                                uint32_t *out_count)
{
    weight_id ids[LAYER_WEIGHTS_MAX];
    const uint32_t count = layer_weights(&m->layers[layer_idx], ids);
    uint64_t cursor = 0;

    for (uint32_t i = 0; i < count; i++)
        for (int k = 0; k < PART_COUNT; k++) {
            const weight_part *p = &m->weights[ids[i]].parts[0][k];
            place_extent(files, (extent){p->file_idx, p->offset, p->bytes}, &out_parts[i * PART_COUNT + k], &cursor);
        }
    *out_count = count * PART_COUNT;
    return cursor;
}

uint64_t residency_head_record(const model_desc *m, const file_set *files, uint64_t row_begin, uint64_t row_count,
                               record_part *out_parts)
{
    const weight *w = &m->weights[m->head];
    uint64_t cursor = 0;

    for (int k = 0; k < PART_COUNT; k++) {
        const weight_part *p = &w->parts[0][k];
        const uint64_t row_bytes = !p->bytes        ? 0
                                   : k == PART_DATA ? quant_data_row_bytes(&w->shape)
                                                    : quant_scale_row_bytes(&w->shape);
        place_extent(files, (extent){p->file_idx, p->offset + row_begin * row_bytes, row_count * row_bytes},
                     &out_parts[k], &cursor);
    }
    return cursor;
}

static uint64_t largest_layer(const model_desc *m, const file_set *files)
{
    record_part parts[RECORD_PARTS_MAX];
    uint64_t most = 0;
    uint32_t count;

    for (uint32_t l = 0; l < m->layer_count; l++)
        most = max_u64(most, residency_layer_record(m, files, l, parts, &count));
    return most;
}

/* The windows of a slice are largest where it begins just before an alignment unit. */
static uint64_t slice_bytes_max(const model_desc *m, const file_set *files, uint64_t rows)
{
    record_part parts[PART_COUNT];
    uint64_t sum = residency_head_record(m, files, 0, rows, parts);

    for (int k = 0; k < PART_COUNT; k++)
        if (parts[k].what.bytes) sum += 2 * place_align(files, &parts[k].what);
    return sum;
}

uint64_t residency_slice_rows(const model_desc *m, const file_set *files)
{
    const uint64_t room = largest_layer(m, files), rows = m->weights[m->head].shape.rows;
    uint64_t low = 1, high = div_up(rows, SLICE_UNIT);

    while (low < high) {
        const uint64_t middle = low + (high - low + 1) / 2;
        if (slice_bytes_max(m, files, middle * SLICE_UNIT) <= room)
            low = middle;
        else
            high = middle - 1;
    }
    return min_u64(low * SLICE_UNIT, rows);
}

uint64_t residency_slot_bytes(const model_desc *m, const file_set *files)
{
    const uint64_t slice = slice_bytes_max(m, files, residency_slice_rows(m, files));
    return round_up(max_u64(largest_layer(m, files), slice), 4096);
}

uint32_t residency_streamed_layers(const model_desc *m, uint32_t level)
{
    uint32_t count = 0;
    for (uint32_t l = 0; l < m->layer_count; l++) count += !residency_keeps_layer(m, level, l);
    return count;
}

uint64_t residency_streamed_bytes(const model_desc *m, uint32_t level)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < m->weight_count; i++)
        if (m->places[i] == WEIGHT_RESIDENT && !residency_keeps_weight(m, level, i))
            sum += weight_bytes(&m->weights[i]);
    return sum;
}

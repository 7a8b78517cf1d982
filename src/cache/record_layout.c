#include "cache/record_layout.h"

#include "base/bytes.h"

#include <assert.h>

static bool continues_run(const extent *run, const extent *part)
{
    if (part->bytes == 0) return true;
    return part->file_idx == run->file_idx && part->offset - run->offset == run->bytes &&
           run->bytes <= UINT64_MAX - part->bytes;
}

void record_find_runs(const expert_record *record, record_layout *out)
{
    out->run_count = 0;
    for (uint32_t i = 0; i < record->part_count; i++) {
        const extent *part = &record->parts[i];
        if (out->run_count > 0 && continues_run(&out->runs[out->run_count - 1].what, part))
            out->runs[out->run_count - 1].what.bytes += part->bytes;
        else
            out->runs[out->run_count++] = (part_run){.what = *part, .first_part = i};
    }
}

void record_lay_out(const expert_record *record, const file_set *files, record_layout *out)
{
    record_find_runs(record, out);
    out->bytes = 0;
    for (uint32_t r = 0; r < out->run_count; r++) {
        part_run *run = &out->runs[r];
        assert(run->what.file_idx < files->count);
        uint64_t align = max_u64(RECORD_PART_ALIGN, files->files[run->what.file_idx].memory_align);
        uint64_t window_bytes = storage_window_bytes(files, &run->what);
        if (out->bytes > UINT64_MAX - align) out->bytes = UINT64_MAX;
        if (out->bytes == UINT64_MAX) return;
        run->offset = round_up(out->bytes, align);
        uint64_t at = run->offset + storage_payload_offset(files, &run->what);
        const uint32_t end = r + 1 < out->run_count ? out->runs[r + 1].first_part : record->part_count;
        for (uint32_t i = run->first_part; i < end; at += record->parts[i++].bytes) out->payload_offsets[i] = at;
        if (!size_add(run->offset, window_bytes, &out->bytes)) out->bytes = UINT64_MAX;
    }
}

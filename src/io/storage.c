/*
 * storage.c - where the bytes of an extent come to lie in a buffer: arithmetic that every implementer and user shares.
 *
 *        aligned begin        payload                      aligned end
 *     file  |......|################################|..........|
 *           |<- payload offset                                  |
 *           |<------------------ what is read ----------------->|<- padding ->|
 *           |<------------------ storage_window_bytes ----------------------->|
 *
 * The padding makes the window a multiple of the file's memory alignment as well, so that windows of one file can be
 * packed one after the other. A buffered file has alignment 1: its window is the extent.
 */
#include "io/storage.h"

#include "base/bytes.h"

#include <assert.h>

static const file *file_of(const file_set *files, const extent *what)
{
    assert(what->file_idx < files->count);
    return &files->files[what->file_idx];
}

uint64_t storage_payload_offset(const file_set *files, const extent *what)
{
    if (what->bytes == 0) return 0;
    return what->offset - round_down(what->offset, file_of(files, what)->offset_align);
}

uint64_t storage_window_bytes(const file_set *files, const extent *what)
{
    if (what->bytes == 0) return 0;
    const file *f = file_of(files, what);
    uint64_t unit = max_u64(f->offset_align, f->memory_align);
    uint64_t used_bytes, padded_bytes;
    /* An extent this long cannot be read (submit refuses it); no buffer and no budget holds its window either. */
    if (!size_add(storage_payload_offset(files, what), what->bytes, &used_bytes)) return UINT64_MAX;
    if (!size_add(used_bytes, unit - 1, &padded_bytes)) return UINT64_MAX;
    return round_down(padded_bytes, unit);
}

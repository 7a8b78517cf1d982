#include "npy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { MAGIC_BYTES = 10, ALIGN_BYTES = 64, HEADER_BYTES_MAX = 256 };

static leat_status fail(const npy_writer *writer, leat_error *error)
{
    return whole_file_fail(&writer->file, errno, error);
}

/* Magic, version 1.0, u16 header length, then a Python dictionary padded with spaces and ended by a newline, so that
 * the data begins at a multiple of 64. */
static leat_status write_header(npy_writer *writer, leat_error *error)
{
    char header[HEADER_BYTES_MAX] = "\x93NUMPY\x01";
    int text_bytes = snprintf(header + MAGIC_BYTES, sizeof header - MAGIC_BYTES,
                              "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64 "), }",
                              writer->row_count, writer->col_count);
    size_t used = MAGIC_BYTES + (size_t)text_bytes + 1, total = (used + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    assert(total <= sizeof header);
    memset(header + used - 1, ' ', total - used);
    header[total - 1] = '\n';
    header[8] = (char)((total - MAGIC_BYTES) & 0xff);
    header[9] = (char)((total - MAGIC_BYTES) >> 8);
    if (fwrite(header, 1, total, writer->stream) != total) return fail(writer, error);
    return LEAT_OK;
}

leat_status npy_open(npy_writer *writer, const char *path, uint64_t row_count, uint64_t col_count, leat_error *error)
{
    memset(writer, 0, sizeof *writer);
    writer->row_count = row_count;
    writer->col_count = col_count;
    TRY(whole_file_open(&writer->file, "", path, error));
    int fd = fcntl(writer->file.fd, F_DUPFD_CLOEXEC, 0); /* the stream's to close */
    writer->stream = fd >= 0 ? fdopen(fd, "wb") : NULL;
    leat_status status = writer->stream ? write_header(writer, error) : fail(writer, error);
    if (fd >= 0 && !writer->stream) close(fd);
    if (status != LEAT_OK) npy_close(writer);
    return status;
}

leat_status npy_write_row(npy_writer *writer, const float *row, leat_error *error)
{
    assert(writer->written < writer->row_count);
    if (fwrite(row, sizeof *row, writer->col_count, writer->stream) != writer->col_count) return fail(writer, error);
    writer->written++;
    return LEAT_OK;
}

leat_status npy_finish(npy_writer *writer, leat_error *error)
{
    assert(writer->written == writer->row_count);
    FILE *stream = writer->stream;
    writer->stream = NULL;
    return fclose(stream) == 0 ? whole_file_finish(&writer->file, error) : fail(writer, error);
}

void npy_close(npy_writer *writer)
{
    if (writer->stream) fclose(writer->stream);
    writer->stream = NULL;
    whole_file_close(&writer->file);
}

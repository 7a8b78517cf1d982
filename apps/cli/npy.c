#include "npy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC_BYTES = 10, ALIGN_BYTES = 64, HEADER_BYTES_MAX = 256 };

static leat_status fail(const npy_writer *writer, const char *what, leat_error *error)
{
    int os_errno = errno;
    return FAIL_OS(error, IO, os_errno, "%s: %s: %s", writer->path, what, strerror(os_errno));
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
    if (fwrite(header, 1, total, writer->stream) != total) return fail(writer, "write failed", error);
    return LEAT_OK;
}

/* What may be replaced: a regular file, or nothing yet. *out_may is false for devices, pipes and folders. */
static leat_status find_target(npy_writer *writer, const char *path, bool *out_may, leat_error *error)
{
    struct stat facts;
    if (strlen(path) >= sizeof writer->path) return FAIL(error, USAGE, "--logits: the path is too long");
    strcpy(writer->path, path);
    *out_may = true;
    if (stat(path, &facts) != 0) return LEAT_OK;
    *out_may = S_ISREG(facts.st_mode);
    char *real = *out_may ? realpath(path, NULL) : NULL; /* a link stays a link */
    if (real && strlen(real) < sizeof writer->path) strcpy(writer->path, real);
    free(real);
    return LEAT_OK;
}

static FILE *open_stream(npy_writer *writer, bool may_replace)
{
    int flags = O_WRONLY | O_CLOEXEC | (may_replace ? O_CREAT | O_EXCL : 0); /* never through a link left there */
    if (may_replace) snprintf(writer->temporary, sizeof writer->temporary, "%s.%ld.tmp", writer->path, (long)getpid());
    int fd = open(may_replace ? writer->temporary : writer->path, flags, 0666);
    FILE *stream = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (fd >= 0 && !stream) close(fd);
    return stream;
}

leat_status npy_open(npy_writer *writer, const char *path, uint64_t row_count, uint64_t col_count, leat_error *error)
{
    bool may_replace;
    memset(writer, 0, sizeof *writer);
    TRY(find_target(writer, path, &may_replace, error));
    writer->row_count = row_count;
    writer->col_count = col_count;
    writer->stream = open_stream(writer, may_replace);
    if (!writer->stream) return fail(writer, "cannot be created", error);
    leat_status status = write_header(writer, error);
    if (status != LEAT_OK) npy_close(writer);
    return status;
}

leat_status npy_write_row(npy_writer *writer, const float *row, leat_error *error)
{
    assert(writer->written < writer->row_count);
    if (fwrite(row, sizeof *row, writer->col_count, writer->stream) != writer->col_count)
        return fail(writer, "write failed", error);
    writer->written++;
    return LEAT_OK;
}

/* Devices and pipes know no fsync. */
static bool reaches_disk(npy_writer *writer)
{
    return fflush(writer->stream) == 0 && (!writer->temporary[0] || fsync(fileno(writer->stream)) == 0);
}

leat_status npy_finish(npy_writer *writer, leat_error *error)
{
    assert(writer->written == writer->row_count);
    if (!reaches_disk(writer)) return fail(writer, "write failed", error);
    int closed = fclose(writer->stream);
    writer->stream = NULL;
    if (closed == 0 && (!writer->temporary[0] || rename(writer->temporary, writer->path) == 0)) return LEAT_OK;
    leat_status status = fail(writer, "write failed", error);
    if (writer->temporary[0]) unlink(writer->temporary);
    return status;
}

void npy_close(npy_writer *writer)
{
    if (!writer->stream) return;
    fclose(writer->stream);
    writer->stream = NULL;
    if (writer->temporary[0]) unlink(writer->temporary);
}

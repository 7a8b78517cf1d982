#include "output.h"

#include "terminal.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PENDING_BYTES_MAX = 64 * 1024 };

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void output_init(output *out, mem *ledger, int fd)
{
    *out = (output){.fd = fd, .is_terminal = isatty(fd), .ends_line = true, .pending = {.ledger = ledger}};
}

void output_init_memory(output *out, mem *ledger)
{
    *out = (output){.fd = -1, .ends_line = true, .pending = {.ledger = ledger}};
}

void output_reset(output *out) { strbuf_reset(&out->pending); }

static void write_pending(output *out)
{
    const char *bytes = strbuf_text(&out->pending);
    size_t left = out->pending.count;
    while (left > 0 && !out->is_closed && out->os_errno == 0) {
        ssize_t count = write(out->fd, bytes, left);
        if (count >= 0) {
            bytes += count;
            left -= (size_t)count;
        } else if (errno == EPIPE) {
            out->is_closed = true;
        } else if (errno != EINTR) {
            out->os_errno = errno;
        }
    }
    strbuf_cut(&out->pending, 0);
}

static void append(output *out, const char *bytes, size_t count)
{
    if (count == 0 || out->is_closed || out->status != LEAT_OK) return;
    out->status = strbuf_append(&out->pending, bytes, count, NULL);
    if (out->fd >= 0 && out->pending.count >= PENDING_BYTES_MAX) write_pending(out);
}

static void append_filtered(output *out, const char *bytes, size_t count)
{
    size_t begin = 0, at = 0;
    while (at < count) {
        uint32_t scalar = 0;
        size_t invalid = 0, length = utf8_decode(bytes + at, count - at, &scalar, &invalid);
        if (length > 0 && !terminal_is_control(scalar)) {
            at += length;
            continue;
        }
        append(out, bytes + begin, at - begin);
        append(out, replacement, sizeof replacement - 1);
        at += length > 0 ? length : invalid > 0 ? invalid : count - at;
        begin = at;
    }
    append(out, bytes + begin, count - begin);
}

void output_write(output *out, const char *bytes, size_t count)
{
    if (count == 0) return;
    if (out->is_terminal)
        append_filtered(out, bytes, count);
    else
        append(out, bytes, count);
    out->ends_line = bytes[count - 1] == '\n';
}

void output_print(output *out, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0) output_write(out, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

void output_control(output *out, const char *sequence)
{
    if (out->is_terminal) append(out, sequence, strlen(sequence));
}

leat_status output_flush(output *out, leat_error *error)
{
    write_pending(out);
    if (out->status != LEAT_OK) return FAIL(error, NO_MEMORY, "standard output: no memory for the text");
    if (out->os_errno != 0)
        return FAIL_OS(error, IO, out->os_errno, "standard output: write failed: %s", strerror(out->os_errno));
    return LEAT_OK;
}

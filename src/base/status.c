/*
 * status.c - filling the error record.
 *
 * Texts are formatted on the stack, so an error can be raised when there is no memory left, and so an argument may
 * point into the very record that is being filled. Threads: a leat_error belongs to one thread at a time.
 */
#include "base/status.h"

#include "base/visible.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Longer than any text of the record: what the format itself cuts off could not have been shown anyway. */
enum { RAW_BYTES = 2048, PREFIX_BYTES = 256 };
_Static_assert(RAW_BYTES > 2 * LEAT_ERROR_TEXT_BYTES, "a cut of the raw text must not show in the record");

static void format_visible(char *out, size_t out_bytes, const char *format, va_list args)
{
    char raw[RAW_BYTES];
    int wanted = vsnprintf(raw, sizeof raw, format, args);
    if (wanted < 0) raw[0] = '\0';
    visible_text(raw, strlen(raw), out, out_bytes);
}

leat_status status_fail(leat_error *error, leat_status status, int os_errno, const char *file, int line,
                        const char *format, ...)
{
    assert(status > LEAT_OK && status < LEAT_STATUS_COUNT);
    if (error == NULL) return status;
    va_list args;
    va_start(args, format);
    format_visible(error->text, sizeof error->text, format, args);
    va_end(args);
    error->status = status;
    error->os_errno = os_errno;
    error->file = file;
    error->line = line;
    error->hint[0] = '\0';
    return status;
}

void status_hint(leat_error *error, const char *format, ...)
{
    if (error == NULL) return;
    va_list args;
    va_start(args, format);
    format_visible(error->hint, sizeof error->hint, format, args);
    va_end(args);
}

void status_prefix(leat_error *error, const char *format, ...)
{
    if (error == NULL) return;
    char prefix[PREFIX_BYTES];
    va_list args;
    va_start(args, format);
    format_visible(prefix, sizeof prefix, format, args);
    va_end(args);

    char whole[PREFIX_BYTES + LEAT_ERROR_TEXT_BYTES + 2];
    int whole_bytes = snprintf(whole, sizeof whole, "%s: %s", prefix, error->text);
    assert(whole_bytes > 0 && (size_t)whole_bytes < sizeof whole);
    visible_text(whole, (size_t)whole_bytes, error->text, sizeof error->text);
}

const char *status_text(leat_status status)
{
    static const char *const texts[] = {
#define X(name, exit_code, text) text,
        LEAT_STATUS_MAP(X)
#undef X
    };
    return (unsigned)status < LEAT_STATUS_COUNT ? texts[status] : "unknown status";
}

int status_exit_code(leat_status status)
{
    static const int codes[] = {
#define X(name, exit_code, text) exit_code,
        LEAT_STATUS_MAP(X)
#undef X
    };
    return (unsigned)status < LEAT_STATUS_COUNT ? codes[status] : codes[LEAT_INTERNAL];
}

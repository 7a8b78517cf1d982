#include "os/text_lines.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

bool text_lines_open(text_lines *lines, const char *path)
{
    lines->start = lines->end = 0;
    lines->at_end = false;
    lines->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return lines->fd >= 0;
}

/* Moves the unread bytes to the front and reads behind them; one byte stays free for the terminator. */
static void refill(text_lines *lines)
{
    memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
    lines->end -= lines->start;
    lines->start = 0;
    ssize_t got;
    do {
        got = read(lines->fd, lines->buffer + lines->end, sizeof lines->buffer - 1 - lines->end);
    } while (got < 0 && errno == EINTR);
    if (got <= 0)
        lines->at_end = true;
    else
        lines->end += (size_t)got;
}

char *text_lines_next(text_lines *lines)
{
    for (;;) {
        char *line = lines->buffer + lines->start;
        size_t unread = lines->end - lines->start;
        char *newline = unread == 0 ? NULL : memchr(line, '\n', unread);
        if (newline != NULL) {
            *newline = '\0';
            lines->start = (size_t)(newline + 1 - lines->buffer);
            return line;
        }
        bool is_full = unread == sizeof lines->buffer - 1;
        if (is_full || (lines->at_end && unread != 0)) {
            line[unread] = '\0';
            lines->start = lines->end;
            return line;
        }
        if (lines->at_end) return NULL;
        refill(lines);
    }
}

void text_lines_close(text_lines *lines)
{
    if (lines->fd >= 0) close(lines->fd);
    lines->fd = -1;
}

bool path_format(char out[OS_PATH_BYTES], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(out, OS_PATH_BYTES, format, args);
    va_end(args);
    return wanted >= 0 && wanted < OS_PATH_BYTES;
}

bool parse_u64(const char *text, uint64_t *out_value)
{
    while (*text == ' ' || *text == '\t') text++;
    if (*text < '0' || *text > '9') return false;
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (!size_mul(value, 10, &value) || !size_add(value, (uint64_t)(*text - '0'), &value)) return false;
    }
    *out_value = value;
    return true;
}

bool read_u64_file(const char *path, uint64_t *out_value)
{
    text_lines lines;
    if (!text_lines_open(&lines, path)) return false;
    const char *line = text_lines_next(&lines);
    bool found = line != NULL && parse_u64(line, out_value);
    text_lines_close(&lines);
    return found;
}

bool read_u64_field(const char *path, const char *key, uint64_t *out_value)
{
    text_lines lines;
    if (!text_lines_open(&lines, path)) return false;
    size_t key_bytes = strlen(key);
    bool found = false;
    for (const char *line; !found && (line = text_lines_next(&lines)) != NULL;) {
        if (strncmp(line, key, key_bytes) != 0) continue;
        const char *rest = line + key_bytes;
        if (*rest == ':')
            rest++;
        else if (*rest != ' ' && *rest != '\t')
            continue;
        found = parse_u64(rest, out_value);
    }
    text_lines_close(&lines);
    return found;
}

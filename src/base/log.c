#include "base/log.h"

#include "base/visible.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES = 2048 };

/* Written only by log_set_sink, before other threads exist. */
static struct {
    log_sink *sink;
    void *user;
    log_level highest;
} state;

void log_set_sink(log_sink *sink, void *user, log_level highest)
{
    state.sink = sink;
    state.user = user;
    state.highest = highest;
}

void log_write(log_level level, const char *format, ...)
{
    if (state.sink == NULL || level > state.highest) return;
    char raw[2 * LINE_BYTES], line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    if (wanted < 0) raw[0] = '\0';
    visible_text(raw, strlen(raw), line, sizeof line);
    state.sink(state.user, level, line);
}

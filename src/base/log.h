/*
 * log.h - messages for the operator. The library never prints: it hands lines to the sink that the program sets.
 *
 * Levels have meanings: ERROR something the user asked for failed; WARN it works but something is not as it should
 * be; INFO once per process or request; DEBUG once per step; TRACE once per layer or expert.
 *
 * Threads: log_write from any thread; log_set_sink before other threads exist.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

typedef enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE } log_level;

/* `line` is one line of UTF-8 without control bytes and without a newline. */
typedef void log_sink(void *user, log_level level, const char *line);

/* NULL drops everything (the state at start). */
void log_set_sink(log_sink *sink, void *user, log_level highest);
void log_write(log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#endif

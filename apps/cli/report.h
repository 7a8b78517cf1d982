/*
 * report.h - standard error: errors, warnings, notes, and the progress line.
 *
 * Its state is process-wide, because the library's log sink and the progress callback arrive from below without a
 * caller of ours. Threads: messages may come from any thread (one write each); progress from the main thread.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "base/status.h"

#include <leat/leat.h>

#include <stdbool.h>

/* color: 0 auto, 1 always, 2 never, as --color. */
void report_init(uint32_t color, uint32_t verbosity, bool is_quiet);
/* --log-file. LEAT_USAGE when it cannot be opened. */
MUST_CHECK leat_status report_open_log(const char *path, leat_error *error);
/* Opens --log-file's path anew, after it was moved away; without success the old file goes on. */
MUST_CHECK leat_status report_reopen_log(leat_error *error);
void report_close_log(void);
/* As if -v had been given. */
void report_say_more(void);
/* How much the user wants to know: 0 by default, 1 and 2 for -v and -vv. */
uint32_t report_verbosity(void);
bool report_is_quiet(void);
bool report_wants_color(void);
/* The same for another output than standard error. */
bool report_wants_color_on(bool is_terminal);

/* "leat: error: ..." and "hint: ..."; never silenced. */
void report_error(const leat_error *error);
/* "leat: warning: ..." */
void report_warning(const char *format, ...) PRINTF_LIKE(1, 2);
/* One plain line; -q drops it. */
void report_note(const char *format, ...) PRINTF_LIKE(1, 2);

/* A leat_progress_fn: one line on a terminal, first after 300 ms, at most ten times a second; elsewhere a line each 10
 * % with -v. */
void report_progress(void *user, const char *phase, uint64_t done, uint64_t total);
/* Removes the progress line. */
void report_progress_end(void);

#endif

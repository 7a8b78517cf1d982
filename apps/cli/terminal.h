/*
 * terminal.h - the terminal's modes: character by character for the line editor, as found for everything else.
 *
 * Process-wide state, because a signal handler must be able to put the terminal back. Threads: the main thread;
 * terminal_restore also from a signal handler.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Both ends are terminals that understand cursor movement (TERM is not "dumb"). */
bool terminal_is_interactive(void);
/* false when the terminal refuses. */
bool terminal_set_raw(void);
/* Puts back what terminal_set_raw found; harmless otherwise. Safe in a signal handler. */
void terminal_restore(void);
uint32_t terminal_columns(void);
/* Columns that `length` bytes of UTF-8 take. */
uint32_t terminal_width(const char *text, uint64_t length);

#endif

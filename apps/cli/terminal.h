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

/* TERM names a terminal that understands escape sequences: it is set, and not "dumb". */
bool terminal_is_capable(void);
/* Both ends are such terminals. */
bool terminal_is_interactive(void);
/* false when the terminal refuses. */
bool terminal_set_raw(void);
/* Puts back what terminal_set_raw found; harmless otherwise. Safe in a signal handler. */
void terminal_restore(void);
/* What happened to the raw terminal since the last question; a signal that brings one interrupts poll(). */
typedef enum terminal_event {
    TERMINAL_SAME,
    TERMINAL_RESIZED,
    TERMINAL_CONTINUED, /* after a stop: it is raw again, and what stood there may be gone */
    TERMINAL_STOP,      /* the process is asked to stop: terminal_suspend */
} terminal_event;
terminal_event terminal_next_event(void);
/* Stops the process, with the terminal as it was found, until it is continued. */
void terminal_suspend(void);
uint32_t terminal_columns(void);      /* of standard output */
uint32_t terminal_columns_of(int fd); /* at least 1; 80 where it is not known */
/* What a terminal may act on: C0 but for newline and tab, DEL, C1. U+FFFD is shown in its place. */
static inline bool terminal_is_control(uint32_t scalar)
{
    return (scalar < 0x20 && scalar != '\n' && scalar != '\t') || (scalar >= 0x7f && scalar < 0xa0);
}
/* Columns that `length` bytes of UTF-8 take. */
uint32_t terminal_width(const char *text, uint64_t length);

#endif

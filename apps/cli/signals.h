/*
 * signals.h - Ctrl-C, SIGTERM and SIGHUP: the first asks the engine to stop between two layers, a second within a
 * second ends the process at once, with the terminal as it was found. SIGPIPE is ignored: output.h notices closed
 * pipes.
 *
 * Threads: the flag is read by the engine; the rest belongs to the main thread.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>

/* For leat_options.cancel. */
extern volatile int signals_cancel;

void signals_install(void);
/* 0, SIGINT, SIGTERM or SIGHUP: the last one that arrived. */
int signals_arrived(void);
/* Whether one arrived that means the program, not just what it is doing. */
bool signals_want_end(void);
/* Forgets a SIGINT that has been dealt with; the others stay. */
void signals_forget(void);

#endif

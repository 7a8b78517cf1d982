/*
 * server_signals.h - signals for a server: the main thread waits for them, all other threads have them blocked.
 *
 * SIGTERM and SIGINT end it, a second one at once (exit 143 or 130); SIGHUP reads files anew; SIGQUIT asks how it is.
 * From open on no signal is delivered to a handler, so nothing is interrupted.
 *
 * Threads: the main thread, before others are started.
 */
#ifndef SERVER_SERVER_SIGNALS_H
#define SERVER_SERVER_SIGNALS_H

#include <stdint.h>

void server_signals_open(void);
/* The next signal, or 0 after so many milliseconds. */
int server_signals_wait(uint32_t timeout_ms);
/* From now on SIGTERM and SIGINT end the process at once, whatever it is doing. */
void server_signals_make_deadly(void);

#endif

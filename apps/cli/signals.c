#include "signals.h"

#include "terminal.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

volatile int signals_cancel;
static volatile sig_atomic_t arrived;
static volatile int64_t arrived_ms; /* of the last one; 0: none yet */

/* Only functions that POSIX allows in a handler. */
static void handle(int signal_number)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    /* The second one in a hurry, or while the first is not dealt with: a disk may not let us go. */
    if (signals_cancel || (arrived_ms != 0 && now_ms - arrived_ms < 1000)) {
        terminal_restore();
        _exit(128 + signal_number);
    }
    arrived_ms = now_ms;
    arrived = signal_number;
    signals_cancel = 1;
}

void signals_install(void)
{
    struct sigaction action = {.sa_handler = handle}; /* no SA_RESTART: a read at the prompt must return */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (signal(SIGHUP, SIG_IGN) != SIG_IGN) sigaction(SIGHUP, &action, NULL); /* nohup asked not to end by it */
    signal(SIGPIPE, SIG_IGN);
}

int signals_arrived(void) { return arrived; }

bool signals_want_end(void) { return arrived == SIGTERM || arrived == SIGHUP; }

void signals_forget(void)
{
    if (signals_want_end()) return;
    arrived = 0;
    signals_cancel = 0;
}

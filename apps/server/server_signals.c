#include "server_signals.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_OF_SIGNAL = 128 };

static sigset_t waited_for(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    return set;
}

void server_signals_open(void)
{
    sigset_t set = waited_for();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGHUP, SIG_DFL); /* an ignored signal could not be waited for; blocked it does nothing by itself */
    signal(SIGPIPE, SIG_IGN);
}

int server_signals_wait(uint32_t timeout_ms)
{
    sigset_t set = waited_for();
    const struct timespec timeout = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    int number = sigtimedwait(&set, NULL, &timeout);
    return number > 0 ? number : 0;
}

static void die(int number) { _exit(EXIT_OF_SIGNAL + number); }

void server_signals_make_deadly(void)
{
    struct sigaction action = {.sa_handler = die};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/*
 * sd_notify.h - tells systemd how far the service is, through the socket that $NOTIFY_SOCKET names. Without it nothing
 * happens.
 *
 * Threads: one.
 */
#ifndef SERVER_SD_NOTIFY_H
#define SERVER_SD_NOTIFY_H

#include <stdint.h>

typedef struct sd_notifier {
    int fd;               /* connected; -1: nobody listens */
    uint64_t watchdog_ns; /* how often systemd wants a sign of life; 0: never */
} sd_notifier;

/* Before a sandbox that allows no sockets. */
sd_notifier sd_notify_open(void);
/* "READY=1", "STOPPING=1", "STATUS=..." , "WATCHDOG=1"; several in one message are separated by newlines. */
void sd_notify_send(const sd_notifier *n, const char *message);
void sd_notify_close(sd_notifier *n);

#endif

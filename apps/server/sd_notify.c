#include "sd_notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Half of what systemd allows, as it recommends. */
static uint64_t read_watchdog(void)
{
    const char *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!interval || (pid && strtol(pid, NULL, 10) != (long)getpid())) return 0;
    return strtoull(interval, NULL, 10) * 1000 / 2;
}

sd_notifier sd_notify_open(void)
{
    sd_notifier n = {.fd = -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof address.sun_path) return n;
    memcpy(address.sun_path, path, strlen(path));
    if (*path == '@') address.sun_path[0] = '\0'; /* an abstract name */
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    n.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n.fd >= 0 && connect(n.fd, (const struct sockaddr *)&address, bytes) != 0) sd_notify_close(&n);
    if (n.fd >= 0) n.watchdog_ns = read_watchdog();
    return n;
}

void sd_notify_send(const sd_notifier *n, const char *message)
{
    if (n->fd < 0) return;
    ssize_t ignored = send(n->fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

void sd_notify_close(sd_notifier *n)
{
    if (n->fd >= 0) close(n->fd);
    n->fd = -1;
}

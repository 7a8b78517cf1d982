#include "http_listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128, FIRST_INHERITED_FD = 3 };

typedef union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
} any_address;

/* What kind of address it is, and its name. */
static leat_status describe(http_listening *l, leat_error *error)
{
    any_address a = {0};
    socklen_t bytes = sizeof a;
    char text[INET6_ADDRSTRLEN];
    if (getsockname(l->fd, &a.any, &bytes) != 0)
        return FAIL_OS(error, PERMISSION, errno, "the socket to listen on: %s", strerror(errno));
    switch (a.any.sa_family) {
    case AF_UNIX:
        l->is_local = true;
        snprintf(l->url, sizeof l->url, "unix:%.*s", (int)sizeof a.local.sun_path, a.local.sun_path);
        return LEAT_OK;
    case AF_INET:
        l->is_loopback = (ntohl(a.v4.sin_addr.s_addr) >> 24) == 127;
        inet_ntop(AF_INET, &a.v4.sin_addr, text, sizeof text);
        snprintf(l->url, sizeof l->url, "http://%s:%u", text, ntohs(a.v4.sin_port));
        return LEAT_OK;
    case AF_INET6:
        l->is_loopback = IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
        inet_ntop(AF_INET6, &a.v6.sin6_addr, text, sizeof text);
        snprintf(l->url, sizeof l->url, "http://[%s]:%u", text, ntohs(a.v6.sin6_port));
        return LEAT_OK;
    default: return FAIL(error, USAGE, "the socket to listen on is neither TCP nor a Unix socket");
    }
}

/* LISTEN_PID and LISTEN_FDS name us: systemd has opened sockets. How many. */
static long take_inherited_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *text = getenv("LISTEN_FDS");
    const bool is_ours = pid && text && strtol(pid, NULL, 10) == (long)getpid();
    const long count = is_ours ? strtol(text, NULL, 10) : 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return count;
}

static bool has_option(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t bytes = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 && value == wanted;
}

static leat_status take_inherited(http_listening *l, long count, leat_error *error)
{
    if (count > 1) {
        leat_status status = FAIL(error, USAGE, "%ld sockets were handed over (LISTEN_FDS): one can be served", count);
        status_hint(error, "one Listen line in the .socket unit");
        return status;
    }
    if (!has_option(FIRST_INHERITED_FD, SO_TYPE, SOCK_STREAM) || !has_option(FIRST_INHERITED_FD, SO_ACCEPTCONN, 1)) {
        leat_status status =
            FAIL(error, USAGE, "what was handed over (LISTEN_FDS) is not a stream socket that listens");
        status_hint(error, "ListenStream= and Accept=no in the .socket unit");
        return status;
    }
    l->fd = FIRST_INHERITED_FD;
    l->is_inherited = true;
    fcntl(l->fd, F_SETFD, FD_CLOEXEC);
    return LEAT_OK;
}

static leat_status listen_on(http_listening *l, const char *name, const any_address *a, socklen_t bytes,
                             leat_error *error)
{
    if (bind(l->fd, &a->any, bytes) != 0 || listen(l->fd, BACKLOG) != 0) {
        int os_errno = errno;
        leat_status status =
            FAIL_OS(error, PERMISSION, os_errno, "%s: cannot listen there: %s", name, strerror(os_errno));
        if (os_errno == EADDRINUSE) status_hint(error, "another program listens there; --port 0 takes any free port");
        return status;
    }
    return LEAT_OK;
}

/* ---- Unix sockets ---- */

/* A file that an earlier server left behind. */
static bool is_stale(const any_address *a)
{
    struct stat file;
    if (lstat(a->local.sun_path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool is_refused = connect(fd, &a->any, sizeof a->local) != 0 && errno == ECONNREFUSED;
    close(fd);
    return is_refused;
}

static leat_status open_local(http_listening *l, const char *path, leat_error *error)
{
    any_address a = {.local = {.sun_family = AF_UNIX}};
    if (strlen(path) >= sizeof a.local.sun_path || *path != '/')
        return FAIL(error, USAGE, "--host unix:%s: needs a whole path of at most %zu bytes", path,
                    sizeof a.local.sun_path - 1);
    memcpy(a.local.sun_path, path, strlen(path) + 1);
    if (is_stale(&a)) unlink(path);
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0) return FAIL_OS(error, PERMISSION, errno, "no Unix socket: %s", strerror(errno));
    mode_t before = umask(0117); /* 0660 from its first moment */
    leat_status status = listen_on(l, path, &a, sizeof a.local, error);
    umask(before);
    TRY(status);
    snprintf(l->unlink_path, sizeof l->unlink_path, "%s", path);
    return LEAT_OK;
}

/* ---- addresses ---- */

static leat_status open_address(http_listening *l, const char *host, uint16_t port, leat_error *error)
{
    char service[8], plain[256], name[300];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    size_t length = strlen(host);
    bool has_brackets = length > 2 && host[0] == '[' && host[length - 1] == ']';
    snprintf(plain, sizeof plain, "%.*s", has_brackets ? (int)length - 2 : (int)length, host + has_brackets);
    if (strcmp(plain, "localhost") == 0) snprintf(plain, sizeof plain, "127.0.0.1");
    snprintf(service, sizeof service, "%u", port);
    snprintf(name, sizeof name, "%s, port %u", host, port);
    int wrong = getaddrinfo(plain, service, &hints, &found);
    if (wrong != 0) return FAIL(error, USAGE, "--host %s: %s", host, gai_strerror(wrong));
    any_address a = {0};
    socklen_t bytes = found->ai_addrlen < sizeof a ? found->ai_addrlen : (socklen_t)sizeof a;
    memcpy(&a, found->ai_addr, bytes);
    freeaddrinfo(found);
    const int on = 1, off = 0;
    l->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0) return FAIL_OS(error, PERMISSION, errno, "%s: no socket: %s", name, strerror(errno));
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a.any.sa_family == AF_INET6) setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    return listen_on(l, name, &a, bytes, error);
}

leat_status http_listening_open(const char *host, uint16_t port, http_listening *out_listening, leat_error *error)
{
    http_listening l = {.fd = -1};
    leat_status status = LEAT_OK;
    const long inherited_count = take_inherited_count();
    if (inherited_count > 0)
        status = take_inherited(&l, inherited_count, error);
    else
        status = strncmp(host, "unix:", 5) == 0 ? open_local(&l, host + 5, error) : open_address(&l, host, port, error);
    if (status == LEAT_OK) status = describe(&l, error);
    if (status != LEAT_OK) {
        if (l.fd >= 0) close(l.fd);
        return status;
    }
    *out_listening = l;
    return LEAT_OK;
}

void http_listening_forget(http_listening *listening)
{
    if (listening->unlink_path[0]) unlink(listening->unlink_path);
    listening->unlink_path[0] = '\0';
}

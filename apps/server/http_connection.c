/* http_connection.c - the records of open connections. */
#include "http_server.h"

#include "base/log.h"
#include "os/clock.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { NS_PER_MS = 1000000 };

/* As one kind of address; false for Unix sockets. Of IPv6 the network, since whoever has one address has them all. */
static bool read_address(const struct sockaddr *address, struct in6_addr *out, bool *out_is_loopback)
{
    memset(out, 0, sizeof *out);
    if (address && address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        out->s6_addr[10] = out->s6_addr[11] = 0xff;
        memcpy(out->s6_addr + 12, &v4->sin_addr, 4);
        *out_is_loopback = out->s6_addr[12] == 127;
        return true;
    }
    if (!address || address->sa_family != AF_INET6) return false;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(v6);
    memcpy(out->s6_addr, v6->s6_addr, is_v4 ? 16 : 8);
    *out_is_loopback = is_v4 ? v6->s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(v6);
    return true;
}

static bool is_counted(const http_server *server, const struct sockaddr *address, struct in6_addr *out)
{
    bool is_loopback;
    return read_address(address, out, &is_loopback) && (!is_loopback || server->settings.limits.loopback_counts);
}

bool connection_is_welcome(http_server *server, const struct sockaddr *address)
{
    struct in6_addr own;
    if (!is_counted(server, address, &own)) return true;
    uint32_t count = 0;
    pthread_mutex_lock(&server->connections_lock);
    for (const http_connection *c = server->connections; c; c = c->next)
        count += c->is_counted && memcmp(&c->address, &own, sizeof own) == 0;
    pthread_mutex_unlock(&server->connections_lock);
    if (count < server->settings.limits.address_connections) return true;
    log_write(LOG_DEBUG, "http: a connection was refused: its address has %u", count);
    return false;
}

/* Something came that has not been read yet: its request is only behind ours in the thread's list of things to do. */
static bool has_unread_bytes(const http_connection *c)
{
    struct pollfd socket = {.fd = c->fd, .events = POLLIN};
    return poll(&socket, 1, 0) > 0 && (socket.revents & POLLIN) != 0;
}

/* The lock is held. The one that has waited longest for a head; one whose head is there is not idle. */
static void drive_out_idle(http_server *server, const http_connection *newest)
{
    http_connection *oldest = NULL;
    for (http_connection *c = server->connections; c; c = c->next) {
        bool is_waiting = c != newest && c->phase == CONNECTION_HEAD && !c->is_cut;
        if (is_waiting && (!oldest || c->since_ns < oldest->since_ns) && !has_unread_bytes(c)) oldest = c;
    }
    if (!oldest) return;
    oldest->is_cut = true;
    shutdown(oldest->fd, SHUT_RDWR);
}

/* Little is buffered for a client that does not read, and one that vanished without a word is noticed. Errors are
 * those of Unix sockets, which have neither. */
static void prepare_socket(int fd)
{
    const int on = 1, send_bytes = 128 * 1024, give_up_ms = 60000;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &give_up_ms, sizeof give_up_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

http_connection *connection_add(http_server *server, struct MHD_Connection *mhd)
{
    http_connection *c;
    if (MEM_NEW(server->ledger, META, 1, &c, NULL) != LEAT_OK) return NULL;
    c->fd = microhttpd.get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const union MHD_ConnectionInfo *info = microhttpd.get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    c->is_counted = is_counted(server, info ? info->client_addr : NULL, &c->address);
    prepare_socket(c->fd);
    c->since_ns = clock_now_ns();
    c->deadline_ns = c->since_ns + (uint64_t)server->settings.limits.header_ms * NS_PER_MS;
    pthread_mutex_lock(&server->connections_lock);
    c->next = server->connections;
    if (c->next) c->next->previous = c;
    server->connections = c;
    server->connection_count++;
    if (server->connection_count > server->settings.limits.connections) drive_out_idle(server, c);
    pthread_mutex_unlock(&server->connections_lock);
    return c;
}

void connection_remove(http_server *server, http_connection *c)
{
    pthread_mutex_lock(&server->connections_lock);
    if (c->previous)
        c->previous->next = c->next;
    else
        server->connections = c->next;
    if (c->next) c->next->previous = c->previous;
    server->connection_count--;
    pthread_mutex_unlock(&server->connections_lock);
    mem_free(server->ledger, c);
}

void connection_set_phase(http_server *server, http_connection *c, connection_phase phase, uint32_t limit_ms)
{
    pthread_mutex_lock(&server->connections_lock);
    c->phase = phase;
    c->since_ns = clock_now_ns();
    c->deadline_ns = limit_ms > 0 ? c->since_ns + (uint64_t)limit_ms * NS_PER_MS : 0;
    pthread_mutex_unlock(&server->connections_lock);
}

void connection_set_exchange(http_server *server, http_connection *c, http_exchange *x)
{
    pthread_mutex_lock(&server->connections_lock);
    c->exchange = x;
    pthread_mutex_unlock(&server->connections_lock);
}

bool connection_has_room(http_server *server, const http_connection *c)
{
    uint32_t older = 0;
    pthread_mutex_lock(&server->connections_lock);
    for (const http_connection *other = c->next; other; other = other->next) older += !other->is_cut; /* newest first */
    pthread_mutex_unlock(&server->connections_lock);
    return older < server->settings.limits.connections;
}

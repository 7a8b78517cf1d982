/*
 * http_listening.h - the socket that waits for clients: an address and a port, a Unix socket, or one that systemd has
 * opened already.
 */
#ifndef SERVER_HTTP_LISTENING_H
#define SERVER_HTTP_LISTENING_H

#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

enum { HTTP_URL_BYTES = 320 };

typedef struct http_listening {
    int fd;
    bool is_loopback;         /* reachable from this machine only, by address */
    bool is_local;            /* a Unix socket */
    bool is_inherited;        /* from systemd */
    char url[HTTP_URL_BYTES]; /* "http://127.0.0.1:8080" or "unix:/run/leat.sock" */
    char unlink_path[112];    /* of a Unix socket that we made */
} http_listening;

/* host: an IPv4 or IPv6 address, a name, or unix:/PATH (mode 0660). Port 0: any that is free. A socket handed over by
 * systemd (LISTEN_FDS) comes before both. LEAT_PERMISSION: the port is taken or may not be had. LEAT_USAGE: what
 * systemd handed over is not one socket that listens. */
MUST_CHECK leat_status http_listening_open(const char *host, uint16_t port, http_listening *out_listening,
                                           leat_error *error);
/* Removes the file of a Unix socket. The descriptor is the server's. */
void http_listening_forget(http_listening *listening);

#endif

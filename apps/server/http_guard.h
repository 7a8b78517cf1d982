/*
 * http_guard.h - what a request must be like before anything of it is looked at more closely: well formed, within the
 * limits, from where requests may come.
 *
 * libmicrohttpd parses; it is more lenient than a server behind a proxy may be, so what it lets through is looked at
 * once more here. Threads: the one of the sockets.
 */
#ifndef SERVER_HTTP_GUARD_H
#define SERVER_HTTP_GUARD_H

#include "http_exchange.h"
#include "http_server.h"

/* Form and size of the head, as libmicrohttpd gives it. False: the exchange has its 4xx, and the connection ends. */
bool guard_check_form(http_exchange *x, const http_connection *c, const char *method, const char *version);
/* Host and Origin; answers a preflight. False: the exchange has its reply. */
bool guard_check_source(http_exchange *x);
/* Type, encoding and declared length of the body that x->route takes. False: the exchange has its 4xx. */
bool guard_check_body(http_exchange *x);
/* Whether a body follows the head. */
bool guard_has_body(const http_exchange *x);
/* The target of a request line as it came: a path, without what no path may hold. */
bool guard_target_is_good(const char *target);

#endif

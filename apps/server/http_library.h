/*
 * http_library.h - libmicrohttpd, loaded when the program is to serve and not before.
 *
 * The library brings GnuTLS with it, which costs every start of the program some milliseconds and megabytes; all verbs
 * but one need neither. So the program is built with its headers and not linked with it. The table below has the
 * functions that the server calls, typed as the headers declare them.
 *
 * Threads: http_library_open from one, before a sandbox that forbids to map code; the table is constant from then on.
 * The library stays loaded until the process ends.
 */
#ifndef SERVER_HTTP_LIBRARY_H
#define SERVER_HTTP_LIBRARY_H

#include "base/status.h"

#include <microhttpd.h>

#define HTTP_LIBRARY_FUNCTIONS(X)                                                                                      \
    X(add_response_header)                                                                                             \
    X(create_response_from_buffer)                                                                                     \
    X(create_response_from_callback)                                                                                   \
    X(destroy_response)                                                                                                \
    X(get_connection_info)                                                                                             \
    X(get_connection_values_n)                                                                                         \
    X(get_version)                                                                                                     \
    X(queue_response)                                                                                                  \
    X(quiesce_daemon)                                                                                                  \
    X(resume_connection)                                                                                               \
    X(set_panic_func)                                                                                                  \
    X(start_daemon)                                                                                                    \
    X(stop_daemon)                                                                                                     \
    X(suspend_connection)

#define HTTP_LIBRARY_FIELD(name) __typeof__(MHD_##name) *name;
typedef struct http_library {
    HTTP_LIBRARY_FUNCTIONS(HTTP_LIBRARY_FIELD)
} http_library;
#undef HTTP_LIBRARY_FIELD

/* microhttpd.stop_daemon is MHD_stop_daemon, and so on. */
extern http_library microhttpd;

/* LEAT_INTERNAL, naming the package, when the library is not there or is another one. A second call does nothing. */
MUST_CHECK leat_status http_library_open(leat_error *error);

#endif

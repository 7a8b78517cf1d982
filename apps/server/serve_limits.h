/* serve_limits.h - the HTTP server's limits from the options, and from $LEAT_SERVE_LIMITS, with which tests make them
 * small: "header_ms=500,connections=20". */
#ifndef SERVER_SERVE_LIMITS_H
#define SERVER_SERVE_LIMITS_H

#include "cli/cli.h"
#include "http.h"

MUST_CHECK leat_status serve_limits_read(const cli_options *options, http_limits *out_limits, leat_error *error);

#endif

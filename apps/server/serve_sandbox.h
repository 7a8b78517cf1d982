/* serve_sandbox.h - the sandbox of leat serve: which files a server with these options needs. */
#ifndef SERVER_SERVE_SANDBOX_H
#define SERVER_SERVE_SANDBOX_H

#include "cli/cli.h"

/* Says on standard error how far it goes. model_path: as resolved. socket_path: of the Unix socket, or "". */
MUST_CHECK leat_status serve_sandbox_enter(const cli_options *options, const char *model_path, const char *socket_path,
                                           leat_error *error);

#endif

/* serve_config.h - what leat serve prints instead of serving: its options with their origins, and how to set up
 * clients.
 */
#ifndef SERVER_SERVE_CONFIG_H
#define SERVER_SERVE_CONFIG_H

#include "cli/cli.h"

/* "ram = 24G  # /etc/leat/config", one line an option, as in a configuration file. Keys are not shown. */
void serve_config_print(cli *c);
/* LEAT_USAGE: a client that is not known, or that needs what the server does not have; no address to give it. */
MUST_CHECK leat_status serve_config_print_client(cli *c, const char *client, const char *model_path, leat_error *error);

#endif

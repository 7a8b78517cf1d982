/* serve_config.h - what leat serve prints instead of serving: its options with their origins, and how to set up
 * clients.
 */
#ifndef SERVER_SERVE_CONFIG_H
#define SERVER_SERVE_CONFIG_H

#include "cli/cli.h"

/* "ram = 24G  # /etc/leat/config", one line an option, as in a configuration file. Keys are not shown. */
void serve_config_print(cli *c);
/* `model`: what the client shall call it. LEAT_USAGE: unknown client. */
MUST_CHECK leat_status serve_config_print_client(cli *c, const char *client, const char *model, leat_error *error);

#endif

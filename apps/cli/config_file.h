/*
 * config_file.h - settings from files: INI, keys are the long options.
 *
 *     # comment
 *     ram = 12G
 *     [chat]
 *     temp = 0.7
 *
 * Keys before any section (or below [*]) hold for every verb that has the option; keys below [VERB] for that verb only.
 * An unknown key or section is an error with its line. Values stand as they are, without quotes, includes or
 * substitution.
 */
#ifndef CLI_CONFIG_FILE_H
#define CLI_CONFIG_FILE_H

#include "options.h"

/* A file that is not there is an error only when `must_exist`. */
MUST_CHECK leat_status config_apply_file(const char *path, bool must_exist, verb_id verb, arena *memory,
                                         cli_options *options, leat_error *error);
/* /etc/leat/config, then $XDG_CONFIG_HOME/leat/config (~/.config without the variable). */
MUST_CHECK leat_status config_apply_usual(verb_id verb, arena *memory, cli_options *options, leat_error *error);

#endif

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

/* --config: the file must be there. */
MUST_CHECK leat_status config_apply_file(const char *path, verb_id verb, arena *memory, cli_options *options,
                                         leat_error *error);
/* /etc/leat/config, then $XDG_CONFIG_HOME/leat/config (~/.config without the variable). One that is there but may not
 * be read is left out, with a line in options->warnings. */
MUST_CHECK leat_status config_apply_usual(verb_id verb, arena *memory, cli_options *options, leat_error *error);

#endif

/*
 * cli.h - what every command gets: the options, the plain words, standard output and the program's memory; and the list
 * of commands.
 *
 * A command returns a status; main prints the error and turns the status into the exit code. Nothing here calls exit().
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "options.h"
#include "output.h"
#include "phase_clock.h"

#include <leat/leat.h>

typedef struct cli {
    mem *ledger;
    arena memory; /* texts that live as long as the program */
    verb_id verb;
    cli_options options;
    const char *const *words;
    uint32_t word_count;
    uint32_t next_word; /* the first that no one has taken */
    output out;
    phase_clock phases;
    int exit_code; /* of a command that ended well and has that to say */
} cli;

/* The next plain word, or NULL. */
const char *cli_take_word(cli *c);
/* LEAT_USAGE when words are left over. */
MUST_CHECK leat_status cli_refuse_rest(const cli *c, leat_error *error);

leat_status cmd_run(cli *c, leat_error *error);
leat_status cmd_chat(cli *c, leat_error *error);
leat_status cmd_serve(cli *c, leat_error *error);
leat_status cmd_info(cli *c, leat_error *error);
leat_status cmd_plan(cli *c, leat_error *error);
leat_status cmd_pareto(cli *c, leat_error *error);
leat_status cmd_bench(cli *c, leat_error *error);
leat_status cmd_profile(cli *c, leat_error *error);
leat_status cmd_eval(cli *c, leat_error *error);
leat_status cmd_audit(cli *c, leat_error *error);
leat_status cmd_tokenize(cli *c, leat_error *error);
leat_status cmd_detokenize(cli *c, leat_error *error);
leat_status cmd_parse(cli *c, leat_error *error);
leat_status cmd_template(cli *c, leat_error *error);
leat_status cmd_check(cli *c, leat_error *error);
leat_status cmd_replay(cli *c, leat_error *error);
leat_status cmd_pack(cli *c, leat_error *error);
leat_status cmd_list(cli *c, leat_error *error);
leat_status cmd_completions(cli *c, leat_error *error);
leat_status cmd_man(cli *c, leat_error *error);
leat_status cmd_version(cli *c, leat_error *error);
leat_status cmd_help(cli *c, leat_error *error);

/* cmd_help.c */
void help_print_verb(output *out, verb_id verb);
void help_print_short(output *out);

#endif

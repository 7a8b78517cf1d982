/*
 * cmd_man.c - the manual page in roff (man macros): the tables, and the few words that they do not hold.
 */
#include "cli.h"
#include "exit_codes.h"

#include <stdio.h>
#include <string.h>

/* Text for roff: backslashes and minus signs are escaped, and no line begins with a control character. */
static void print_roff(output *out, const char *text)
{
    if (*text == '.' || *text == '\'') output_print(out, "\\&");
    for (; *text; text++) {
        if (*text == '\\')
            output_print(out, "\\e");
        else if (*text == '-')
            output_print(out, "\\-");
        else
            output_write(out, text, 1);
    }
}

static void print_paragraph(output *out, const char *text)
{
    print_roff(out, text);
    output_print(out, "\n");
}

static void print_section(output *out, const char *title) { output_print(out, ".SH %s\n", title); }

static void print_verb(output *out, const verb_spec *verb)
{
    output_print(out, ".TP\n.B leat %s", verb->name);
    if (*verb->words) {
        output_print(out, " ");
        print_roff(out, verb->words);
    }
    output_print(out, "\n");
    print_paragraph(out, verb->summary);
}

static void print_option_head(output *out, const option_spec *spec)
{
    output_print(out, ".TP\n\\fB");
    if (spec->letter) output_print(out, "\\-%c\\fR, \\fB", spec->letter);
    output_print(out, "\\-\\-");
    print_roff(out, spec->name);
    for (uint32_t i = 0; i < option_alias_count; i++) {
        if (option_aliases[i].id != spec->id) continue;
        output_print(out, "\\fR, \\fB\\-\\-");
        print_roff(out, option_aliases[i].name);
    }
    output_print(out, "\\fR");
    if (option_takes_value(spec)) {
        output_print(out, " \\fI");
        print_roff(out, spec->value);
        output_print(out, "\\fR");
    }
    output_print(out, "\n");
}

static void print_option(output *out, const option_spec *spec)
{
    char env[OPTION_ENV_BYTES], rest[160];
    option_env_name(spec, env);
    print_option_head(out, spec);
    print_roff(out, spec->help);
    output_print(out, ".");
    if (option_is_setting(spec)) {
        int skip = spec->initial[0] == '(';
        snprintf(rest, sizeof rest, " Default: %.*s. Environment: %s.", (int)strlen(spec->initial) - 2 * skip,
                 spec->initial + skip, env);
        print_roff(out, rest);
    }
    output_print(out, "\nVerbs:");
    bool is_of_all = spec->verbs == ~0u;
    if (is_of_all) output_print(out, " all");
    for (uint32_t i = 0; i < VERB_COUNT && !is_of_all; i++)
        if (option_is_of_verb(spec, (verb_id)i)) output_print(out, " %s", verb_specs[i].name);
    output_print(out, ".\n");
}

static void print_options(output *out)
{
    print_section(out, "OPTIONS");
    print_paragraph(out,
                    "Long options take their value after a space or an equals sign. A switch is undone by --no-NAME. "
                    "Two dashes end the options.");
    for (uint32_t group = 0; group < GROUP_COUNT; group++) {
        output_print(out, ".SS %s\n", option_group_titles[group]);
        for (uint32_t i = 0; i < OPTION_COUNT; i++)
            if (option_specs[i].group == group) print_option(out, &option_specs[i]);
    }
}

static void print_exit_codes(output *out)
{
    print_section(out, "EXIT STATUS");
#define X(code, meaning)                                                                                               \
    output_print(out, ".TP\n.B %s\n", code);                                                                           \
    print_paragraph(out, meaning);
    EXIT_CODE_MAP(X)
#undef X
}

static void print_files(output *out)
{
    print_section(out, "ENVIRONMENT AND FILES");
    print_paragraph(
        out, "Every option is also an environment variable and a key of the configuration files. The first that says "
             "something wins: the command line, the environment, the file of --config, $XDG_CONFIG_HOME/leat/config, "
             "/etc/leat/config, the default. A value that cannot be understood is an error wherever it stands.");
    print_paragraph(
        out,
        "A configuration file holds lines KEY = VALUE; keys are long options without dashes. Lines that begin with # "
        "are comments. What stands below [VERB] is for that verb only.");
    output_print(out, ".TP\n.B LEAT_MODELS\n");
    print_paragraph(out,
                    "folders, separated by colons, in which leat list looks for models beside the Hugging Face cache");
    output_print(out, ".TP\n.B LEAT_NOHISTORY\n");
    print_paragraph(out, "when set, leat chat keeps no history file");
    output_print(out, ".TP\n.B HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME\n");
    print_paragraph(out, "where the Hugging Face cache is");
    output_print(out, ".TP\n.B NO_COLOR, CLICOLOR_FORCE\n");
    print_paragraph(out, "switch colours off or on");
    output_print(out, ".TP\n.B $XDG_STATE_HOME/leat/history\n");
    print_paragraph(out, "what was typed into leat chat; lines that begin with a space are not kept");
}

static void print_examples(output *out)
{
    print_section(out, "EXAMPLES");
#define EXAMPLE(command, what)                                                                                         \
    output_print(out, ".TP\n.B ");                                                                                     \
    print_paragraph(out, command);                                                                                     \
    print_paragraph(out, what);
#include "examples.inc"
}

leat_status cmd_man(cli *c, leat_error *error)
{
    output *out = &c->out;
    TRY(cli_refuse_rest(c, error));
    output_print(out, ".TH LEAT 1 \"\" \"leat %s\" \"User Commands\"\n", leat_version());
    print_section(out, "NAME");
    output_print(out, "leat \\- run language models larger than the machine's memory\n");
    print_section(out, "SYNOPSIS");
    output_print(out, ".B leat\n.I VERB\n.RI [ options ]\n.RI [ words ...]\n");
    print_section(out, "DESCRIPTION");
    print_paragraph(
        out,
        "leat runs a language model inside a memory budget: the weights that every token needs stay in memory, the "
        "experts "
        "of a mixture are read from the disk when they are chosen and kept while there is room. The budget changes "
        "the speed, never the text: the same prompt, seed and settings give the same answer at every budget.");
    print_section(out, "STANDARD INPUT AND OUTPUT");
    print_paragraph(out,
                    "Without a text, and for the word -, text is read from standard input. When leat run has a prompt "
                    "and standard input is a pipe or a file, what comes from there follows the prompt after an empty "
                    "line; < /dev/null prevents that. Only the model's text, or the JSON document, goes to standard "
                    "output. On a terminal its control characters are shown as U+FFFD.");
    print_section(out, "VERBS");
    for (uint32_t i = 0; i < VERB_COUNT; i++) print_verb(out, &verb_specs[i]);
    print_options(out);
    print_exit_codes(out);
    print_files(out);
    print_examples(out);
    return LEAT_OK;
}

/* man_conf.c - leat.conf(5): the configuration files, whose keys are the options. */
#include "man.h"

#include <stdio.h>
#include <string.h>

/* What may stand behind the equals sign. */
static const char *words_of(const option_spec *spec)
{
    if (spec->kind == KIND_COUNTER) return "0|1|2|3";
    return option_takes_value(spec) ? spec->value : "on|off";
}

static void print_key(output *out, const option_spec *spec)
{
    char head[128], text[192];
    bool is_word = spec->initial[0] == '(';
    snprintf(head, sizeof head, "%s = %s", spec->name, words_of(spec));
    snprintf(text, sizeof text, "Default: %.*s.", (int)strlen(spec->initial) - 2 * is_word, spec->initial + is_word);
    man_item(out, head, text);
    man_verbs_of(out, spec, "For:");
}

static void print_keys(output *out)
{
    man_section(out, "KEYS");
    man_lead(out, "What each means stands in leat(1) and leat-serve(1), beside the option of the same name. Other "
                  "names of an option are keys, too.");
    for (uint32_t group = 0; group < GROUP_COUNT; group++) {
        bool has_title = false;
        for (uint32_t i = 0; i < OPTION_COUNT; i++) {
            const option_spec *spec = &option_specs[i];
            if (spec->group != group || !option_is_setting(spec) || spec->id == OPTION_config) continue;
            if (!has_title) output_print(out, ".SS %s\n", option_group_titles[group]);
            has_title = true;
            print_key(out, spec);
        }
    }
}

static void print_order(output *out)
{
    man_section(out, "ORDER");
    man_lead(out, "The first that says something wins:");
    man_item(out, "1", "the command line");
    man_item(out, "2", "the environment: LEAT_ and the key in capitals with underscores (max-tokens: LEAT_MAX_TOKENS)");
    man_item(out, "3", "the file of --config");
    man_item(out, "4", "$XDG_CONFIG_HOME/leat/config; without that variable ~/.config/leat/config");
    man_item(out, "5", "/etc/leat/config");
    man_item(out, "6", "the default");
    man_paragraph(
        out, "A value that cannot be understood is an error wherever it stands, also one of another verb. A file of "
             "4 or 5 that may not be read is left out with a warning. leat help, man, version, completions and "
             "every --help read neither files nor the environment. leat serve --print-config shows every value in "
             "force and where it comes from.");
}

static void print_format(output *out)
{
    man_section(out, "FORMAT");
    man_lead(out,
             "A line is KEY = VALUE; keys are long options without dashes. White space around both is dropped, the "
             "value goes to the end of the line, and there are no quotes. Empty lines and lines that begin with # "
             "or ; are skipped. What stands below [VERB] is for that verb only; what stands before any such line, "
             "or below [*], is for all verbs that know the key. A switch is on, true, yes, enabled or 1, or the "
             "opposites. A key that may be given more than once (stop, api-key, alias) adds a value each time, to "
             "those of the same file. A "
             "file has at most 1 MiB.");
    man_paragraph(out,
                  "An unknown key or verb, and a line that is neither, are errors with the file and the line. There "
                  "are no includes.");
}

static const char example[] = "# for every verb that has a budget\n"
                              "ram = 12G\n"
                              "threads = 8\n"
                              "\n"
                              "[chat]\n"
                              "temp = 0.7\n"
                              "system = Answer briefly.\n"
                              "\n"
                              "[serve]\n"
                              "model = /srv/models/qwen3-30b\n"
                              "alias = qwen3\n"
                              "ctx = 16384\n"
                              "max-queue = 4\n"
                              "api-key-file = /etc/leat/keys\n";

void man_conf(output *out)
{
    man_begin(out, "LEAT.CONF", "5", "File Formats");
    man_section(out, "NAME");
    output_print(out, "leat.conf \\- settings of leat(1)\n");
    man_section(out, "SYNOPSIS");
    man_text(out, "/etc/leat/config, $XDG_CONFIG_HOME/leat/config, and the file of --config");
    output_print(out, "\n");
    man_section(out, "DESCRIPTION");
    man_lead(out, "Every option of leat but --help and --config can be given a value in a file.");
    print_order(out);
    print_format(out);
    man_section(out, "EXAMPLE");
    man_lead(out, "A machine that serves a model, and on which somebody chats:");
    man_verbatim(out, example);
    print_keys(out);
    man_section(out, "SEE ALSO");
    output_print(out, ".BR leat (1),\n.BR leat\\-serve (1)\n");
}

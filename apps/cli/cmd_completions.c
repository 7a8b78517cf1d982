/*
 * cmd_completions.c - completion scripts for three shells, from the tables. Model names come from `leat list --names`
 * at the time of completion.
 */
#include "cli.h"

#include <string.h>

static bool is_file_option(const option_spec *spec) { return strstr(spec->value, "FILE") != NULL; }

static bool takes_model(const verb_spec *verb) { return strstr(verb->words, "MODEL") != NULL; }

static bool takes_file(const verb_spec *verb) { return strstr(verb->words, "FILE") || strstr(verb->words, "FOLDER"); }

/* The fixed words that a verb takes in place of a model: "bash|zsh|fish", "[leat|serve|conf]", or verbs for help. */
static void print_fixed_words(output *out, const verb_spec *verb)
{
    if (verb->id == VERB_HELP) {
        for (uint32_t i = 0; i < VERB_COUNT; i++) output_print(out, "%s ", verb_specs[i].name);
        output_print(out, "all");
        return;
    }
    if (verb->id != VERB_COMPLETIONS && verb->id != VERB_MAN) return;
    for (const char *p = verb->words; *p; p++)
        if (*p != '[' && *p != ']') output_write(out, *p == '|' ? " " : p, 1);
}

static void print_choices(output *out, const option_spec *spec)
{
    for (const char *p = spec->value; *p; p++) output_write(out, *p == '|' ? " " : p, 1);
}

static void print_option_names(output *out, verb_id verb)
{
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        const option_spec *spec = &option_specs[i];
        if (!option_is_of_verb(spec, verb)) continue;
        output_print(out, "--%s ", spec->name);
        if (spec->kind == KIND_FLAG) output_print(out, "--no-%s ", spec->name);
        if (spec->letter) output_print(out, "-%c ", spec->letter);
    }
    for (uint32_t i = 0; i < option_alias_count; i++)
        if (option_is_of_verb(&option_specs[option_aliases[i].id], verb))
            output_print(out, "--%s ", option_aliases[i].name);
}

static void print_verb_names(output *out)
{
    for (uint32_t i = 0; i < VERB_COUNT; i++) output_print(out, "%s%s", i > 0 ? " " : "", verb_specs[i].name);
}

/* ---- bash ----------------------------------------------------------------------------------------------------- */

static void print_bash_values(output *out)
{
    output_print(out, "    case $previous in\n");
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        const option_spec *spec = &option_specs[i];
        if (!option_takes_value(spec)) continue;
        output_print(out, "    --%s", spec->name);
        if (spec->letter) output_print(out, "|-%c", spec->letter);
        for (uint32_t k = 0; k < option_alias_count; k++)
            if (option_aliases[k].id == spec->id) output_print(out, "|--%s", option_aliases[k].name);
        output_print(out, ") ");
        if (spec->kind == KIND_CHOICE) {
            output_print(out, "COMPREPLY=($(compgen -W \"");
            print_choices(out, spec);
            output_print(out, "\" -- \"$current\"))");
        } else if (spec->id == OPTION_model) {
            output_print(out, "_leat_models");
        } else if (is_file_option(spec)) {
            output_print(out, "_leat_files");
        } else {
            output_print(out, "COMPREPLY=()");
        }
        output_print(out, "; return ;;\n");
    }
    output_print(out, "    esac\n");
}

static void print_bash_words(output *out, const verb_spec *verb)
{
    if (!takes_model(verb) && !takes_file(verb)) {
        output_print(out, "else COMPREPLY=($(compgen -W \"");
        print_fixed_words(out, verb);
        output_print(out, "\" -- \"$current\")); fi ;;\n");
        return;
    }
    output_print(out, "else%s%s fi ;;\n", takes_model(verb) ? " _leat_models;" : "",
                 takes_file(verb) ? " _leat_files;" : "");
}

static void print_bash(output *out)
{
    output_print(
        out, "# bash completion for leat; made by leat completions bash\n"
             "_leat_models() {\n"
             "    COMPREPLY=($(compgen -W \"$(leat list --names 2>/dev/null)\" -- \"$current\") $(compgen -d -- "
             "\"$current\"))\n"
             "}\n"
             "_leat_files() {\n"
             "    local IFS=$'\\n'\n"
             "    COMPREPLY+=($(compgen -f -- \"$current\"))\n"
             "}\n"
             "_leat() {\n"
             "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}\n"
             "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    print_verb_names(out);
    output_print(out, "\" -- \"$current\"))\n        return\n    fi\n");
    print_bash_values(out);
    output_print(out, "    case $verb in\n");
    for (uint32_t i = 0; i < VERB_COUNT; i++) {
        output_print(out, "    %s)\n        if [[ $current == -* ]]; then COMPREPLY=($(compgen -W \"",
                     verb_specs[i].name);
        print_option_names(out, (verb_id)i);
        output_print(out, "\" -- \"$current\")); ");
        print_bash_words(out, &verb_specs[i]);
    }
    output_print(out, "    esac\n}\ncomplete -o filenames -F _leat leat\n");
}

/* ---- zsh ------------------------------------------------------------------------------------------------------ */

/* Text inside single quotes of an _arguments specification: quotes, brackets and colons mean something there. */
static void print_zsh_text(output *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            output_print(out, "'\\''");
        else if (*text == '[' || *text == ']' || *text == ':')
            output_print(out, "\\%c", *text);
        else
            output_write(out, text, 1);
    }
}

static void print_zsh_name(output *out, const option_spec *spec, const char *dashes, const char *name)
{
    output_print(out, "            '*%s%s[", dashes, name);
    print_zsh_text(out, spec->help);
    output_print(out, "]");
    if (option_takes_value(spec)) {
        output_print(out, ":value:");
        if (spec->kind == KIND_CHOICE) {
            output_print(out, "(");
            print_choices(out, spec);
            output_print(out, ")");
        } else if (spec->id == OPTION_model) {
            output_print(out, "_leat_models");
        } else if (is_file_option(spec)) {
            output_print(out, "_files");
        }
    }
    output_print(out, "' \\\n");
}

static void print_zsh_option(output *out, const option_spec *spec)
{
    char letter[2] = {spec->letter, '\0'};
    print_zsh_name(out, spec, "--", spec->name);
    if (spec->kind == KIND_FLAG) print_zsh_name(out, spec, "--no-", spec->name);
    if (spec->letter) print_zsh_name(out, spec, "-", letter);
    for (uint32_t i = 0; i < option_alias_count; i++)
        if (option_aliases[i].id == spec->id) print_zsh_name(out, spec, "--", option_aliases[i].name);
}

static void print_zsh_words(output *out, const verb_spec *verb)
{
    if (takes_model(verb)) {
        output_print(out, "            '1:model:%s' '*:file:_files' ;;\n",
                     strstr(verb->words, "MODEL|FILE") ? "{_leat_models; _files}" : "_leat_models");
    } else if (takes_file(verb)) {
        output_print(out, "            '*:file:_files' ;;\n");
    } else {
        output_print(out, "            '1:word:(");
        print_fixed_words(out, verb);
        output_print(out, ")' ;;\n");
    }
}

static void print_zsh(output *out)
{
    output_print(out, "#compdef leat\n# zsh completion for leat; made by leat completions zsh\n"
                      "_leat_models() { compadd -- ${(f)\"$(leat list --names 2>/dev/null)\"}; _files -/ }\n"
                      "_leat() {\n    if (( CURRENT == 2 )); then\n        compadd ");
    print_verb_names(out);
    output_print(
        out,
        "\n        return\n    fi\n    local verb=$words[2]\n    shift words; (( CURRENT-- ))\n    case $verb in\n");
    for (uint32_t i = 0; i < VERB_COUNT; i++) {
        output_print(out, "    %s)\n        _arguments -s \\\n", verb_specs[i].name);
        for (uint32_t k = 0; k < OPTION_COUNT; k++)
            if (option_is_of_verb(&option_specs[k], (verb_id)i)) print_zsh_option(out, &option_specs[k]);
        print_zsh_words(out, &verb_specs[i]);
    }
    output_print(out, "    esac\n}\n_leat \"$@\"\n");
}

/* ---- fish ----------------------------------------------------------------------------------------------------- */

static void print_fish_text(output *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') output_write(out, "\\", 1);
        output_write(out, text, 1);
    }
}

static void print_fish_option(output *out, const verb_spec *verb, const option_spec *spec, const char *prefix,
                              const char *name)
{
    output_print(out, "complete -c leat -n '__fish_seen_subcommand_from %s' -l %s%s", verb->name, prefix, name);
    if (spec->letter && *prefix == '\0') output_print(out, " -s %c", spec->letter);
    if (option_takes_value(spec)) output_print(out, is_file_option(spec) ? " -r" : " -x");
    if (spec->kind == KIND_CHOICE) {
        output_print(out, " -a '");
        print_choices(out, spec);
        output_print(out, "'");
    }
    output_print(out, " -d '");
    print_fish_text(out, spec->help);
    output_print(out, "'\n");
}

static void print_fish_verb(output *out, const verb_spec *verb)
{
    output_print(out, "complete -c leat -n __fish_use_subcommand -f -a %s -d '%s'\n", verb->name, verb->summary);
    if (takes_model(verb)) {
        output_print(out, "complete -c leat -n '__fish_seen_subcommand_from %s' -a '(leat list --names 2>/dev/null)'\n",
                     verb->name);
    } else if (!takes_file(verb)) { /* fish offers files by itself */
        output_print(out, "complete -c leat -n '__fish_seen_subcommand_from %s' -f -a '", verb->name);
        print_fixed_words(out, verb);
        output_print(out, "'\n");
    }
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        const option_spec *spec = &option_specs[i];
        if (!option_is_of_verb(spec, verb->id)) continue;
        print_fish_option(out, verb, spec, "", spec->name);
        if (spec->kind == KIND_FLAG) print_fish_option(out, verb, spec, "no-", spec->name);
        for (uint32_t k = 0; k < option_alias_count; k++)
            if (option_aliases[k].id == spec->id) print_fish_option(out, verb, spec, "", option_aliases[k].name);
    }
}

static void print_fish(output *out)
{
    output_print(out, "# fish completion for leat; made by leat completions fish\n");
    for (uint32_t i = 0; i < VERB_COUNT; i++) print_fish_verb(out, &verb_specs[i]);
}

leat_status cmd_completions(cli *c, leat_error *error)
{
    static const struct {
        const char *shell;
        void (*print)(output *out);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    const char *shell = cli_take_word(c);
    TRY(cli_refuse_rest(c, error));
    for (size_t i = 0; shell && i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shell, shells[i].shell) == 0) {
            shells[i].print(&c->out);
            return LEAT_OK;
        }
    leat_status status =
        FAIL(error, USAGE, "leat completions: %s%s", shell ? "unknown shell " : "which shell?", shell ? shell : "");
    status_hint(error, "usage: leat completions bash|zsh|fish");
    return status;
}

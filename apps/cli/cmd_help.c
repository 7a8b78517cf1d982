/* cmd_help.c - help in at most 80 columns, from the tables. */
#include "cli.h"
#include "exit_codes.h"

#include <stdio.h>
#include <string.h>

enum { HELP_COLUMNS = 80, HELP_INDENT = 26 };

/* Words of `text`, wrapped; the first line goes on at column `column`, the others begin at HELP_INDENT. */
static void print_wrapped(output *out, const char *text, size_t column)
{
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column > HELP_INDENT && column + 1 + length > HELP_COLUMNS) {
            output_print(out, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            output_write(out, " ", 1);
            column++;
        }
        output_write(out, text, length);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    output_write(out, "\n", 1);
}

static void print_indented(output *out, const char *head, const char *text)
{
    size_t length = strlen(head);
    output_write(out, head, length);
    if (length + 2 > HELP_INDENT)
        output_print(out, "\n%*s", HELP_INDENT, "");
    else
        output_print(out, "%*s", (int)(HELP_INDENT - length), "");
    print_wrapped(out, text, HELP_INDENT);
}

static void print_option(output *out, const option_spec *spec)
{
    char head[96], letter[8] = "    ", text[512], env[OPTION_ENV_BYTES], aliases[128] = "";
    if (spec->letter) snprintf(letter, sizeof letter, "-%c, ", spec->letter);
    bool is_on = spec->kind == KIND_FLAG && strcmp(spec->initial, "on") == 0;
    snprintf(head, sizeof head, "  %s--%s%s%s%s", letter, is_on ? "no-" : "", spec->name,
             option_takes_value(spec) ? " " : "", option_takes_value(spec) ? spec->value : "");
    for (uint32_t i = 0; i < option_alias_count; i++)
        if (option_aliases[i].id == spec->id)
            snprintf(aliases + strlen(aliases), sizeof aliases - strlen(aliases), "%s --%s", *aliases ? "," : "; also",
                     option_aliases[i].name);
    option_env_name(spec, env);
    if (!option_is_setting(spec))
        snprintf(text, sizeof text, "%s", spec->help);
    else if (spec->initial[0] == '(')
        snprintf(text, sizeof text, "%s%s [default: %.*s] [%s]", spec->help, aliases, (int)strlen(spec->initial) - 2,
                 spec->initial + 1, env);
    else
        snprintf(text, sizeof text, "%s%s [default: %s] [%s]", spec->help, aliases, spec->initial, env);
    print_indented(out, head, text);
}

/* The options that any verb of `verbs` takes, by group. */
static void print_options(output *out, uint32_t verbs)
{
    for (uint32_t group = 0; group < GROUP_COUNT; group++) {
        bool has_title = false;
        for (uint32_t i = 0; i < OPTION_COUNT; i++) {
            const option_spec *spec = &option_specs[i];
            if (spec->group != group || !(spec->verbs & verbs)) continue;
            if (!has_title) output_print(out, "\n%s\n", option_group_titles[group]);
            has_title = true;
            print_option(out, spec);
        }
    }
}

static void print_verbs(output *out)
{
    output_print(out, "usage: leat VERB [options] ...\n\n");
    for (uint32_t i = 0; i < VERB_COUNT; i++) {
        char head[64];
        snprintf(head, sizeof head, "  %s%s%s", verb_specs[i].name, *verb_specs[i].words ? " " : "",
                 verb_specs[i].words);
        print_indented(out, head, verb_specs[i].summary);
    }
}

/* Beside each other where both fit a line, else below. */
static void print_example(output *out, const char *command, const char *what)
{
    enum { COMMAND_COLUMNS = 46 };
    if (strlen(command) <= COMMAND_COLUMNS && COMMAND_COLUMNS + 3 + strlen(what) <= HELP_COLUMNS)
        output_print(out, "  %-*s %s\n", COMMAND_COLUMNS, command, what);
    else
        output_print(out, "  %s\n  %*s %s\n", command, 4, "", what);
}

/* What one begins with. */
static void print_first_examples(output *out)
{
    output_print(out, "\nExamples\n");
#define EXAMPLE(verb, command, what) print_example(out, command, what);
#include "examples.inc"
}

static void print_examples_of(output *out, verb_id id)
{
    bool has_title = false;
#define EXAMPLE(verb, command, what)                                                                                   \
    if (id == VERB_##verb) {                                                                                           \
        if (!has_title) output_print(out, "\nExamples\n");                                                             \
        has_title = true;                                                                                              \
        print_example(out, command, what);                                                                             \
    }
#define MORE(verb, command, what) EXAMPLE(verb, command, what)
#include "examples.inc"
}

void help_print_short(output *out)
{
    output_print(out, "leat runs language models larger than the machine's memory.\n\n");
    print_verbs(out);
    print_first_examples(out);
    output_print(out, "\nleat help VERB explains a verb, leat help all lists every option.\n");
}

void help_print_verb(output *out, verb_id id)
{
    const verb_spec *verb = &verb_specs[id];
    output_print(out, "usage: leat %s [options]%s%s\n\n%s\n", verb->name, *verb->words ? " " : "", verb->words,
                 verb->summary);
    print_options(out, 1u << id);
    output_print(out, "\nA switch is undone by --no-NAME. Options may also stand in the environment\n"
                      "(names in brackets) and in $XDG_CONFIG_HOME/leat/config; the command line wins.\n");
    if (id == VERB_SERVE) output_print(out, "Endpoints, signals and files: leat-serve(1), also by leat man serve.\n");
    print_examples_of(out, id);
}

static void print_all(output *out)
{
    print_verbs(out);
    print_options(out, ~0u);
    output_print(out, "\nExit codes\n");
#define X(code, meaning) print_indented(out, "  " code, meaning);
    EXIT_CODE_MAP(X)
#undef X
    print_first_examples(out);
}

leat_status cmd_help(cli *c, leat_error *error)
{
    const char *word = cli_take_word(c);
    TRY(cli_refuse_rest(c, error));
    if (!word) {
        help_print_short(&c->out);
        return LEAT_OK;
    }
    if (strcmp(word, "all") == 0) {
        print_all(&c->out);
        return LEAT_OK;
    }
    const verb_spec *verb = verb_find(word);
    if (verb) {
        help_print_verb(&c->out, verb->id);
        return LEAT_OK;
    }
    const char *nearest = verb_nearest(word);
    leat_status status = FAIL(error, USAGE, "leat has no verb '%s'", word);
    status_hint(error, nearest ? "did you mean leat help %s?" : "see leat help", nearest);
    return status;
}

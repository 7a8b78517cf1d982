/* man_roff.c - what manual pages are made of. */
#include "exit_codes.h"
#include "man.h"

#include <leat/leat.h>

#include <stdio.h>
#include <string.h>

void man_begin(output *out, const char *title, const char *section, const char *manual)
{
    output_print(out, ".TH %s %s \"\" \"leat %s\" \"%s\"\n", title, section, leat_version(), manual);
}

/* Backslashes and minus signs are escaped, and no line begins with a control character. */
void man_text(output *out, const char *text)
{
    bool is_line_begin = true;
    for (; *text; text++) {
        if (is_line_begin && (*text == '.' || *text == '\'')) output_print(out, "\\&");
        is_line_begin = *text == '\n';
        if (*text == '\\')
            output_print(out, "\\e");
        else if (*text == '-')
            output_print(out, "\\-");
        else if (*text == '"')
            output_print(out, "\\(dq"); /* would end a macro's argument */
        else
            output_write(out, text, 1);
    }
}

void man_section(output *out, const char *title) { output_print(out, ".SH %s\n", title); }

void man_lead(output *out, const char *text)
{
    man_text(out, text);
    output_print(out, "\n");
}

void man_paragraph(output *out, const char *text)
{
    output_print(out, ".PP\n");
    man_lead(out, text);
}

void man_item(output *out, const char *term, const char *text)
{
    output_print(out, ".TP\n.B \"");
    man_text(out, term);
    output_print(out, "\"\n");
    man_text(out, text);
    output_print(out, "\n");
}

void man_verbatim(output *out, const char *text)
{
    output_print(out, ".PP\n.RS 4\n.nf\n");
    man_text(out, text);
    output_print(out, ".fi\n.RE\n");
}

static void print_option_head(output *out, const option_spec *spec)
{
    output_print(out, ".TP\n\\fB");
    if (spec->letter) output_print(out, "\\-%c\\fR, \\fB", spec->letter);
    output_print(out, "\\-\\-");
    man_text(out, spec->name);
    for (uint32_t i = 0; i < option_alias_count; i++) {
        if (option_aliases[i].id != spec->id) continue;
        output_print(out, "\\fR, \\fB\\-\\-");
        man_text(out, option_aliases[i].name);
    }
    output_print(out, "\\fR");
    if (option_takes_value(spec)) {
        output_print(out, " \\fI");
        man_text(out, spec->value);
        output_print(out, "\\fR");
    }
    output_print(out, "\n");
}

void man_verbs_of(output *out, const option_spec *spec, const char *before)
{
    bool is_of_all = spec->verbs == ~0u;
    output_print(out, "%s", before);
    if (is_of_all) output_print(out, " all");
    for (uint32_t i = 0; i < VERB_COUNT && !is_of_all; i++)
        if (option_is_of_verb(spec, (verb_id)i)) output_print(out, " %s", verb_specs[i].name);
    output_print(out, ".\n");
}

static void print_option(output *out, const option_spec *spec, bool with_verbs)
{
    char env[OPTION_ENV_BYTES], rest[160];
    option_env_name(spec, env);
    print_option_head(out, spec);
    man_text(out, spec->help);
    output_print(out, ".");
    if (option_is_setting(spec)) {
        int skip = spec->initial[0] == '(';
        snprintf(rest, sizeof rest, " Default: %.*s. Environment: %s.", (int)strlen(spec->initial) - 2 * skip,
                 spec->initial + skip, env);
        man_text(out, rest);
    }
    output_print(out, "\n");
    if (with_verbs) man_verbs_of(out, spec, "Verbs:");
}

void man_options(output *out, uint32_t verbs, uint32_t without, bool with_verbs)
{
    man_section(out, "OPTIONS");
    man_lead(out, "Long options take their value after a space or an equals sign. A switch is undone by "
                  "--no-NAME. Two dashes end the options.");
    for (uint32_t group = 0; group < GROUP_COUNT; group++) {
        bool has_title = false;
        for (uint32_t i = 0; i < OPTION_COUNT; i++) {
            const option_spec *spec = &option_specs[i];
            if (spec->group != group || !(spec->verbs & verbs) || spec->verbs == without) continue;
            if (!has_title) output_print(out, ".SS %s\n", option_group_titles[group]);
            has_title = true;
            print_option(out, spec, with_verbs);
        }
    }
}

void man_exit_code(output *out, const char *code)
{
#define X(known, meaning)                                                                                              \
    if (strcmp(known, code) == 0) man_item(out, known, meaning);
    EXIT_CODE_MAP(X)
#undef X
}

void man_examples(output *out, uint32_t verb)
{
    man_section(out, "EXAMPLES");
#define EXAMPLE(of, command, what)                                                                                     \
    if (verb == VERB_##of || verb == VERB_COUNT) man_item(out, command, what);
#define MORE(of, command, what) EXAMPLE(of, command, what)
#include "examples.inc"
}

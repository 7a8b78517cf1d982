#include "options.h"

#include "config_file.h"
#include "option_value.h"

#include "base/bytes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const verb_spec verb_specs[VERB_COUNT] = {
#define VERB(id, name, words, words_max, summary) {VERB_##id, name, words, words_max, summary},
#include "options.inc"
};

const option_spec option_specs[OPTION_COUNT] = {
#define OPTION(field, name, letter, kind, value, initial, least, most, group, verbs, help)                             \
    {OPTION_##field, name, letter,        KIND_##kind, value, initial,                                                 \
     least,          most, GROUP_##group, verbs,       help,  offsetof(cli_options, field)},
#include "options.inc"
};

const char *const option_group_titles[GROUP_COUNT] = {
#define GROUP(id, title) title,
#include "options.inc"
};

const option_alias option_aliases[] = {
#define ALIAS(name, field) {name, OPTION_##field},
#include "options.inc"
};
const uint32_t option_alias_count = ARRAY_COUNT(option_aliases);

const verb_spec *verb_find(const char *name)
{
    for (uint32_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verb_specs[i].name, name) == 0) return &verb_specs[i];
    return NULL;
}

bool option_is_of_verb(const option_spec *spec, verb_id verb) { return spec->verbs >> verb & 1; }

bool option_takes_value(const option_spec *spec)
{
    return spec->kind != KIND_FLAG && spec->kind != KIND_ACTION && spec->kind != KIND_COUNTER;
}

bool option_is_setting(const option_spec *spec) { return spec->kind != KIND_ACTION; }

void option_env_name(const option_spec *spec, char out[OPTION_ENV_BYTES])
{
    static const char prefix[] = "LEAT_";
    size_t at = sizeof prefix - 1;
    memcpy(out, prefix, at);
    for (const char *p = spec->name; *p && at < OPTION_ENV_BYTES - 1; p++)
        out[at++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    out[at] = '\0';
}

const option_spec *option_find(verb_id verb, const char *name)
{
    for (uint32_t i = 0; i < OPTION_COUNT; i++)
        if (option_is_of_verb(&option_specs[i], verb) && strcmp(option_specs[i].name, name) == 0)
            return &option_specs[i];
    for (uint32_t i = 0; i < option_alias_count; i++) {
        const option_spec *spec = &option_specs[option_aliases[i].id];
        if (option_is_of_verb(spec, verb) && strcmp(option_aliases[i].name, name) == 0) return spec;
    }
    return NULL;
}

/* ---- what was meant?
 * ------------------------------------------------------------------------------------------------------ */

enum { NEAR_EDITS_MAX = 2, SHORT_WORD = 4 };

/* Of a short word, two edits leave too little to be a likeness. */
static uint32_t count_edits_allowed(const char *word) { return strlen(word) <= SHORT_WORD ? 1 : NEAR_EDITS_MAX; }

static void keep_nearer(const char *word, const char *name, uint32_t *nearest_edits, const char **nearest)
{
    uint32_t edits = edit_distance(word, name, NEAR_EDITS_MAX);
    if (edits < *nearest_edits) {
        *nearest_edits = edits;
        *nearest = name;
    }
}

const char *verb_nearest(const char *word)
{
    const char *nearest = NULL;
    uint32_t edits = count_edits_allowed(word) + 1;
    for (uint32_t i = 0; i < VERB_COUNT; i++) keep_nearer(word, verb_specs[i].name, &edits, &nearest);
    return nearest;
}

const char *option_nearest(verb_id verb, const char *word)
{
    const char *nearest = NULL;
    uint32_t edits = count_edits_allowed(word) + 1;
    for (uint32_t i = 0; i < OPTION_COUNT; i++)
        if (option_is_of_verb(&option_specs[i], verb)) keep_nearer(word, option_specs[i].name, &edits, &nearest);
    for (uint32_t i = 0; i < option_alias_count; i++)
        if (option_is_of_verb(&option_specs[option_aliases[i].id], verb))
            keep_nearer(word, option_aliases[i].name, &edits, &nearest);
    return nearest;
}

/* ---- one value
 * -------------------------------------------------------------------------------------------------------------- */

/* "a number from 1 to 256", for the error; the word that some kinds also take is part of spec->value. */
static leat_status refuse_value(const option_spec *spec, const char *where, const char *text, leat_error *error)
{
    const char *word = spec->kind == KIND_AUTO ? " or auto" : spec->kind == KIND_LIMIT ? " or none" : "";
    switch (spec->kind) {
    case KIND_COUNT:
    case KIND_AUTO:
    case KIND_LIMIT:
        return FAIL(error, USAGE, "%s: '%s' is not a whole number from %.0f to %.0f%s", where, text, spec->least,
                    spec->most, word);
    case KIND_NUMBER:
        return FAIL(error, USAGE, "%s: '%s' is not a number from %g to %g", where, text, spec->least, spec->most);
    case KIND_COUNTER: return FAIL(error, USAGE, "%s: '%s' is not a whole number from 0 to 3", where, text);
    case KIND_SEED: return FAIL(error, USAGE, "%s: '%s' is not a whole number below 2^64 or random", where, text);
    case KIND_SIZE: return FAIL(error, USAGE, "%s: '%s' is not a size such as 64MiB or 1000000", where, text);
    case KIND_SECONDS:
        return FAIL(error, USAGE, "%s: '%s' is not a time from %.0f to %.0f seconds, such as 30, 30s or 5m", where,
                    text, spec->least, spec->most);
    case KIND_RAM: return FAIL(error, USAGE, "%s: '%s' is not a size such as 24G, 1536MiB, 60%% or auto", where, text);
    case KIND_CHOICE: return FAIL(error, USAGE, "%s: '%s' is not one of %s", where, text, spec->value);
    default: return FAIL(error, USAGE, "%s: '%s' is not on or off", where, text);
    }
}

static bool read_count(const option_spec *spec, const char *text, uint32_t *out_value)
{
    uint64_t value;
    if (spec->kind == KIND_AUTO && strcmp(text, "auto") == 0) {
        *out_value = 0;
        return true;
    }
    if (spec->kind == KIND_LIMIT &&
        (strcmp(text, "none") == 0 || strcmp(text, "-1") == 0)) { /* -1: an old habit of others */
        *out_value = UINT32_MAX;
        return true;
    }
    if (!value_read_u64(text, &value) || (double)value < spec->least || (double)value > spec->most) return false;
    *out_value = (uint32_t)value;
    return true;
}

static bool read_seconds(const option_spec *spec, const char *text, uint32_t *out_value)
{
    uint32_t value;
    if (!value_read_seconds(text, &value) || value < spec->least || value > spec->most) return false;
    *out_value = value;
    return true;
}

static bool read_number(const option_spec *spec, const char *text, double *out_value)
{
    double value;
    if (!value_read_number(text, &value) || value < spec->least || value > spec->most) return false;
    *out_value = value;
    return true;
}

static bool read_counter(const char *text, uint32_t *out_value)
{
    uint64_t value;
    if (!value_read_u64(text, &value) || value > 3) return false;
    *out_value = (uint32_t)value;
    return true;
}

static bool read_ram(const char *text, option_ram *out_ram)
{
    option_ram ram = {0};
    bool is_known = strcmp(text, "auto") == 0 || value_read_percent(text, &ram.fraction) ||
                    (value_read_size(text, &ram.bytes) && ram.bytes > 0);
    if (is_known) *out_ram = ram;
    return is_known;
}

static bool add_text(option_texts *texts, const char *text)
{
    if (texts->count == OPTION_TEXTS_MAX || *text == '\0') return false;
    texts->items[texts->count++] = text;
    return true;
}

/* Not --tokens, whose file is behind an @. */
static bool names_file(const option_spec *spec)
{
    return strstr(spec->value, "FILE") != NULL && strchr(spec->value, '@') == NULL;
}

leat_status option_set(cli_options *options, const option_spec *spec, const char *where, const char *text,
                       leat_error *error)
{
    void *field = (char *)options + spec->offset;
    bool is_known = true;
    switch (spec->kind) {
    case KIND_FLAG:
    case KIND_ACTION: is_known = value_read_flag(text, field); break;
    case KIND_COUNTER: is_known = read_counter(text, field); break;
    case KIND_TEXT:
        if (*text == '\0' && names_file(spec)) return FAIL(error, USAGE, "%s: the name of the file is empty", where);
        *(const char **)field = text;
        break;
    case KIND_TEXTS:
        if (!add_text(field, text))
            return FAIL(error, USAGE, "%s: at most %d texts, none of them empty", where, OPTION_TEXTS_MAX);
        break;
    case KIND_COUNT:
    case KIND_AUTO:
    case KIND_LIMIT: is_known = read_count(spec, text, field); break;
    case KIND_NUMBER: is_known = read_number(spec, text, field); break;
    case KIND_SEED:
        if (strcmp(text, "random") == 0) {
            options->is_set[spec->id] = false;
            return LEAT_OK;
        }
        is_known = value_read_u64(text, field);
        break;
    case KIND_SIZE: is_known = value_read_size(text, field); break;
    case KIND_SECONDS: is_known = read_seconds(spec, text, field); break;
    case KIND_RAM: is_known = read_ram(text, field); break;
    case KIND_CHOICE: is_known = value_read_choice(spec->value, text, field); break;
    }
    if (!is_known) return refuse_value(spec, where, text, error);
    options->is_set[spec->id] = true;
    return LEAT_OK;
}

/* ---- the command line
 * ------------------------------------------------------------------------------------------------------- */

/* One option as found on the command line, to be applied after weaker sources. */
typedef struct assignment {
    const option_spec *spec;
    const char *text; /* NULL: raises a counter */
} assignment;

typedef struct command_line {
    verb_id verb;
    uint32_t argument_count;
    char *const *arguments;
    uint32_t next; /* the argument to be looked at */
    assignment *assignments;
    uint32_t assignment_count;
    const char **words;
    uint32_t word_count;
} command_line;

static leat_status refuse_option(const command_line *line, const char *shown, const char *name, leat_error *error)
{
    const char *verb = verb_specs[line->verb].name, *nearest = name ? option_nearest(line->verb, name) : NULL;
    leat_status status = FAIL(error, USAGE, "leat %s has no option %s", verb, shown);
    if (nearest)
        status_hint(error, "did you mean --%s?", nearest);
    else
        status_hint(error, "see leat help %s", verb);
    return status;
}

static leat_status take_value(command_line *line, const char *shown, const char **out_text, leat_error *error)
{
    if (line->next == line->argument_count) return FAIL(error, USAGE, "%s needs a value", shown);
    *out_text = line->arguments[line->next++];
    return LEAT_OK;
}

static void assign(command_line *line, const option_spec *spec, const char *text)
{
    line->assignments[line->assignment_count++] = (assignment){spec, text};
}

/* --name, --name=value, --name value, --no-name */
static leat_status read_long(command_line *line, const char *argument, arena *memory, leat_error *error)
{
    const char *name, *equals = strchr(argument, '='), *text = NULL;
    size_t name_bytes = (equals ? (size_t)(equals - argument) : strlen(argument)) - 2;
    TRY(arena_copy_text(memory, argument + 2, name_bytes, &name, error));
    char shown[64];
    snprintf(shown, sizeof shown, "--%s", name);
    const option_spec *spec = option_find(line->verb, name);
    if (!spec && strncmp(name, "no-", 3) == 0 && !equals) {
        spec = option_find(line->verb, name + 3);
        if (spec && spec->kind == KIND_FLAG) {
            assign(line, spec, "off");
            return LEAT_OK;
        }
        spec = NULL;
    }
    if (!spec) return refuse_option(line, shown, name, error);
    if (equals)
        text = equals + 1;
    else if (option_takes_value(spec))
        TRY(take_value(line, shown, &text, error));
    else if (spec->kind != KIND_COUNTER)
        text = "on";
    assign(line, spec, text);
    return LEAT_OK;
}

/* -v, -vv, -n64, -n 64 */
static leat_status read_letters(command_line *line, const char *argument, leat_error *error)
{
    for (const char *p = argument + 1; *p; p++) {
        const option_spec *spec = NULL;
        for (uint32_t i = 0; i < OPTION_COUNT && !spec; i++)
            if (option_specs[i].letter == *p && option_is_of_verb(&option_specs[i], line->verb))
                spec = &option_specs[i];
        char shown[] = {'-', *p, '\0'};
        if (!spec) return refuse_option(line, p == argument + 1 ? argument : shown, NULL, error);
        if (!option_takes_value(spec)) {
            assign(line, spec, spec->kind == KIND_COUNTER ? NULL : "on");
            continue;
        }
        const char *text = p + 1;
        if (*text == '\0') TRY(take_value(line, shown, &text, error));
        assign(line, spec, text);
        return LEAT_OK;
    }
    return LEAT_OK;
}

static leat_status read_arguments(command_line *line, arena *memory, leat_error *error)
{
    bool is_ended = false; /* by -- */
    while (line->next < line->argument_count) {
        const char *argument = line->arguments[line->next++];
        if (is_ended || argument[0] != '-' || argument[1] == '\0')
            line->words[line->word_count++] = argument;
        else if (strcmp(argument, "--") == 0)
            is_ended = true;
        else if (argument[1] == '-')
            TRY(read_long(line, argument, memory, error));
        else
            TRY(read_letters(line, argument, error));
    }
    return LEAT_OK;
}

static leat_status apply_assignments(const command_line *line, cli_options *options, leat_error *error)
{
    for (uint32_t i = 0; i < line->assignment_count; i++) {
        const option_spec *spec = line->assignments[i].spec;
        const char *text = line->assignments[i].text;
        char where[64];
        snprintf(where, sizeof where, "--%s", spec->name);
        /* Texts given on the command line replace those from weaker sources, once. */
        if (spec->kind == KIND_TEXTS && !options->is_on_command_line[spec->id])
            *(option_texts *)((char *)options + spec->offset) = (option_texts){0};
        if (text) {
            leat_status status = option_set(options, spec, where, text, error);
            if (status != LEAT_OK) {
                status_hint(error, "see leat help %s", verb_specs[line->verb].name);
                return status;
            }
        } else {
            *(uint32_t *)((char *)options + spec->offset) += 1;
            options->is_set[spec->id] = true;
        }
        options->is_on_command_line[spec->id] = true;
    }
    return LEAT_OK;
}

/* ---- the weaker sources
 * ------------------------------------------------------------------------------------------------------ */

static leat_status apply_defaults(cli_options *options, leat_error *error)
{
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        const option_spec *spec = &option_specs[i];
        if (spec->initial[0] != '\0' && spec->initial[0] != '(')
            TRY(option_set(options, spec, spec->name, spec->initial, error));
        options->is_set[i] = false;
    }
    return LEAT_OK;
}

static leat_status apply_environment(verb_id verb, cli_options *options, leat_error *error)
{
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        const option_spec *spec = &option_specs[i];
        if (!option_is_of_verb(spec, verb) || !option_is_setting(spec)) continue;
        char name[OPTION_ENV_BYTES];
        option_env_name(spec, name);
        const char *text = getenv(name);
        if (!text || *text == '\0') continue;
        if (spec->kind == KIND_TEXTS) *(option_texts *)((char *)options + spec->offset) = (option_texts){0};
        TRY(option_set(options, spec, name, text, error));
        options->source[i] = "the environment";
    }
    return LEAT_OK;
}

/* --config is needed before anything else is applied. */
static const char *find_config(const command_line *line)
{
    const char *path = getenv("LEAT_CONFIG");
    for (uint32_t i = 0; i < line->assignment_count; i++)
        if (line->assignments[i].spec->id == OPTION_config) path = line->assignments[i].text;
    return path && *path ? path : NULL;
}

/* A broken configuration must not stand in the way of what explains it. */
static bool reads_settings(verb_id verb)
{
    return verb != VERB_HELP && verb != VERB_MAN && verb != VERB_VERSION && verb != VERB_COMPLETIONS;
}

static leat_status apply_settings(const command_line *line, arena *memory, cli_options *options, leat_error *error)
{
    TRY(config_apply_usual(line->verb, memory, options, error));
    const char *path = find_config(line);
    if (path) TRY(config_apply_file(path, line->verb, memory, options, error));
    return apply_environment(line->verb, options, error);
}

static bool asks_for_help(const command_line *line)
{
    for (uint32_t i = 0; i < line->assignment_count; i++)
        if (line->assignments[i].spec->id == OPTION_help) return true;
    return false;
}

leat_status options_read(verb_id verb, uint32_t argument_count, char *const *arguments, arena *memory,
                         cli_options *out_options, const char *const **out_words, uint32_t *out_word_count,
                         leat_error *error)
{
    command_line line = {.verb = verb, .argument_count = argument_count, .arguments = arguments};
    cli_options options = {0};
    uint64_t assignment_max = 0; /* each letter of each argument may be one */
    for (uint32_t i = 0; i < argument_count; i++) assignment_max += strlen(arguments[i]) + 1;
    TRY(ARENA_NEW(memory, assignment_max + 1, &line.assignments, error));
    TRY(ARENA_NEW(memory, argument_count + 1, &line.words, error));
    TRY(read_arguments(&line, memory, error));
    TRY(apply_defaults(&options, error));
    if (asks_for_help(&line)) {
        options.help = true;
    } else {
        if (reads_settings(verb)) TRY(apply_settings(&line, memory, &options, error));
        TRY(apply_assignments(&line, &options, error));
    }
    *out_options = options;
    *out_words = line.words;
    *out_word_count = line.word_count;
    return LEAT_OK;
}

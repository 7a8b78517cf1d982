/*
 * options.h - what the user asked for: command line, environment and configuration files, made into one checked record.
 *
 * Order, the first that says something wins: command line, LEAT_NAME in the environment, --config FILE,
 * $XDG_CONFIG_HOME/leat/config, /etc/leat/config, the default. A value that cannot be understood is an error wherever
 * it stands. Help, and the verbs that only explain the program, look at the command line alone.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/arena.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum verb_id {
#define VERB(id, name, words, words_max, summary) VERB_##id,
#include "options.inc"
    VERB_COUNT
} verb_id;

typedef enum option_id {
#define OPTION(field, name, letter, kind, value, initial, least, most, group, verbs, help) OPTION_##field,
#include "options.inc"
    OPTION_COUNT
} option_id;

typedef enum option_group {
#define GROUP(id, title) GROUP_##id,
#include "options.inc"
    GROUP_COUNT
} option_group;

typedef enum option_kind {
    KIND_FLAG,    /* --x, --no-x */
    KIND_ACTION,  /* --x; neither in the environment nor in files */
    KIND_COUNTER, /* -v, -vv */
    KIND_TEXT,
    KIND_TEXTS, /* may be repeated */
    KIND_COUNT,
    KIND_AUTO,  /* a count; "auto" is 0 */
    KIND_LIMIT, /* a count; "none" is UINT32_MAX */
    KIND_NUMBER,
    KIND_SEED, /* "random" leaves 0 and is_set false */
    KIND_SIZE,
    KIND_SECONDS, /* a number of seconds, or of s, m, h */
    KIND_RAM,
    KIND_CHOICE,
} option_kind;

enum { OPTION_TEXTS_MAX = 16 };
typedef struct option_texts {
    const char *items[OPTION_TEXTS_MAX];
    uint32_t count;
} option_texts;

typedef struct option_ram {
    uint64_t bytes;  /* 0: auto, or the fraction */
    double fraction; /* > 0: of the machine's memory */
} option_ram;

typedef bool option_type_FLAG;
typedef bool option_type_ACTION;
typedef uint32_t option_type_COUNTER;
typedef const char *option_type_TEXT;
typedef option_texts option_type_TEXTS;
typedef uint32_t option_type_COUNT;
typedef uint32_t option_type_AUTO;
typedef uint32_t option_type_LIMIT;
typedef double option_type_NUMBER;
typedef uint64_t option_type_SEED;
typedef uint64_t option_type_SIZE;
typedef uint32_t option_type_SECONDS;
typedef option_ram option_type_RAM;
typedef uint32_t option_type_CHOICE;

typedef struct cli_options {
#define OPTION(field, name, letter, kind, value, initial, least, most, group, verbs, help) option_type_##kind field;
#include "options.inc"
    bool is_set[OPTION_COUNT]; /* by anything but the default */
    bool is_on_command_line[OPTION_COUNT];
    const char *source[OPTION_COUNT]; /* "the environment" or a file's path, where that set it; NULL otherwise */
    option_texts warnings;            /* about configuration files that were left out */
} cli_options;

typedef struct verb_spec {
    verb_id id;
    const char *name, *words;
    uint32_t words_max;
    const char *summary;
} verb_spec;

typedef struct option_spec {
    option_id id;
    const char *name;
    char letter;
    option_kind kind;
    const char *value, *initial;
    double least, most;
    option_group group;
    uint32_t verbs; /* bit 1 << verb_id */
    const char *help;
    size_t offset; /* of its field in cli_options */
} option_spec;

typedef struct option_alias {
    const char *name;
    option_id id;
} option_alias;

extern const verb_spec verb_specs[VERB_COUNT];
extern const option_spec option_specs[OPTION_COUNT];
extern const char *const option_group_titles[GROUP_COUNT];
extern const option_alias option_aliases[];
extern const uint32_t option_alias_count;

enum { OPTION_ENV_BYTES = 48 };

/* NULL when there is no such verb. */
const verb_spec *verb_find(const char *name);
bool option_is_of_verb(const option_spec *spec, verb_id verb);
bool option_takes_value(const option_spec *spec);
/* An option that the environment and configuration files may set. */
bool option_is_setting(const option_spec *spec);
/* "max-tokens" -> "LEAT_MAX_TOKENS" */
void option_env_name(const option_spec *spec, char out[OPTION_ENV_BYTES]);

/* Reads the words after the verb, and everything else that may set an option. Texts live as long as `memory`.
 * *out_words are the plain words in order. LEAT_USAGE with a text that names where the bad value stands. */
MUST_CHECK leat_status options_read(verb_id verb, uint32_t argument_count, char *const *arguments, arena *memory,
                                    cli_options *out_options, const char *const **out_words, uint32_t *out_word_count,
                                    leat_error *error);

/* Sets one option from text, as the chat's /set does. `where` names the place in the error. */
MUST_CHECK leat_status option_set(cli_options *options, const option_spec *spec, const char *where, const char *text,
                                  leat_error *error);

/* The option with this name or alias among those of `verb`, or NULL. */
const option_spec *option_find(verb_id verb, const char *name);
/* The name among the verbs, or among a verb's options, that differs least from `word` (one edit for short words, two
 * for others); NULL when none is near. */
const char *verb_nearest(const char *word);
const char *option_nearest(verb_id verb, const char *word);

#endif

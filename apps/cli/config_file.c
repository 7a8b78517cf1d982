#include "config_file.h"

#include "paths.h"

#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };

typedef struct config_reader {
    const char *path; /* lives as long as the options */
    uint32_t line;
    verb_id verb;    /* that the program runs */
    bool is_for_all; /* before any section, or below [*] */
    const verb_spec *section;
    arena *memory;
    cli_options *options;
} config_reader;

/* Cuts white space off both ends, in place. */
static char *trim(char *text)
{
    static const char space[] = " \t\r";
    text += strspn(text, space);
    size_t length = strlen(text);
    while (length > 0 && strchr(space, text[length - 1])) text[--length] = '\0';
    return text;
}

static leat_status read_section(config_reader *reader, char *line, leat_error *error)
{
    size_t length = strlen(line);
    if (line[length - 1] != ']') return FAIL(error, USAGE, "%s:%u: a section ends with ]", reader->path, reader->line);
    line[length - 1] = '\0';
    char *name = trim(line + 1);
    reader->is_for_all = strcmp(name, "*") == 0;
    reader->section = reader->is_for_all ? NULL : verb_find(name);
    if (reader->is_for_all || reader->section) return LEAT_OK;
    return FAIL(error, USAGE, "%s:%u: there is no verb '%s'", reader->path, reader->line, name);
}

static const option_spec *find_anywhere(const char *name)
{
    const option_spec *spec = NULL;
    for (uint32_t verb = 0; verb < VERB_COUNT && !spec; verb++) spec = option_find((verb_id)verb, name);
    return spec;
}

static leat_status read_setting(config_reader *reader, char *line, leat_error *error)
{
    char *equals = strchr(line, '=');
    if (!equals) return FAIL(error, USAGE, "%s:%u: expected KEY = VALUE", reader->path, reader->line);
    *equals = '\0';
    char *key = trim(line), *value = trim(equals + 1), where[512];
    const option_spec *spec = reader->section ? option_find(reader->section->id, key) : find_anywhere(key);
    if (!spec || !option_is_setting(spec) || spec->id == OPTION_config) {
        leat_status status = FAIL(error, USAGE, "%s:%u: unknown key '%s'", reader->path, reader->line, key);
        status_hint(error, "keys are long options without --; see leat help all");
        return status;
    }
    bool is_wanted =
        option_is_of_verb(spec, reader->verb) && (reader->is_for_all || reader->section->id == reader->verb);
    const char *text;
    snprintf(where, sizeof where, "%s:%u: %s", reader->path, reader->line, key);
    TRY(arena_copy_text(reader->memory, value, strlen(value), &text, error));
    cli_options ignored = {0}; /* values for other verbs are checked too: a wrong one is found when it is written */
    if (!is_wanted) return option_set(&ignored, spec, where, text, error);
    cli_options *options = reader->options;
    /* Texts of this file replace those of weaker ones, once. */
    if (spec->kind == KIND_TEXTS && options->source[spec->id] != reader->path)
        *(option_texts *)((char *)options + spec->offset) = (option_texts){0};
    TRY(option_set(options, spec, where, text, error));
    options->source[spec->id] = reader->path;
    return LEAT_OK;
}

static leat_status read_lines(config_reader *reader, char *text, leat_error *error)
{
    while (text) {
        char *line = strsep(&text, "\n");
        reader->line++;
        line = trim(line);
        if (*line == '\0' || *line == '#' || *line == ';') continue;
        if (*line == '[')
            TRY(read_section(reader, line, error));
        else
            TRY(read_setting(reader, line, error));
    }
    return LEAT_OK;
}

leat_status config_apply_file(const char *path, verb_id verb, arena *memory, cli_options *options, leat_error *error)
{
    config_reader reader = {.verb = verb, .is_for_all = true, .memory = memory, .options = options};
    TRY(arena_copy_text(memory, path, strlen(path), &reader.path, error));
    char *text = NULL;
    uint64_t bytes;
    leat_status status =
        file_load(memory->ledger, MEM_META, AT_FDCWD, path, false, CONFIG_BYTES_MAX, &text, &bytes, error);
    if (status != LEAT_OK) {
        if (status != LEAT_MODEL)
            return status; /* file_load speaks of models; a missing settings file is a usage error */
        return FAIL(error, USAGE, "--config: %s is not a readable file of at most %d bytes", path, CONFIG_BYTES_MAX);
    }
    status =
        strlen(text) == bytes ? read_lines(&reader, text, error) : FAIL(error, USAGE, "%s: holds a zero byte", path);
    mem_free(memory->ledger, text);
    return status;
}

/* Nobody asked for this file: where it is absent nothing happens, and one that others keep to themselves must not stop
 * this user. */
static leat_status apply_if_readable(const char *path, verb_id verb, arena *memory, cli_options *options,
                                     leat_error *error)
{
    if (access(path, R_OK) == 0) return config_apply_file(path, verb, memory, options, error);
    if (errno == ENOENT || errno == ENOTDIR) return LEAT_OK;
    char text[PATH_BYTES_MAX + 128];
    int length = snprintf(text, sizeof text, "%s is left out: %s", path, strerror(errno));
    option_texts *warnings = &options->warnings;
    return arena_copy_text(memory, text, (size_t)length, &warnings->items[warnings->count++], error);
}

leat_status config_apply_usual(verb_id verb, arena *memory, cli_options *options, leat_error *error)
{
    char path[PATH_BYTES_MAX];
    TRY(apply_if_readable("/etc/leat/config", verb, memory, options, error));
    if (!path_in_home("XDG_CONFIG_HOME", ".config", "leat/config", path)) return LEAT_OK;
    return apply_if_readable(path, verb, memory, options, error);
}

#include "model_list.h"

#include "paths.h"
#include "report.h"

#include "os/hub_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODELS_MAX = 4096 };

static const char hub_prefix[] = "models--";

static leat_status add_entry(cli *c, model_list *list, const char *name, const char *path, leat_error *error)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].path, path) == 0) return LEAT_OK;
    if (list->count == MODELS_MAX) return LEAT_OK;
    if (list->count == list->capacity) {
        model_entry *items;
        uint32_t capacity = list->capacity == 0 ? 32 : list->capacity * 2;
        TRY(ARENA_NEW(&c->memory, capacity, &items, error));
        if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    model_entry *entry = &list->items[list->count];
    TRY(arena_copy_text(&c->memory, name, strlen(name), &entry->name, error));
    TRY(arena_copy_text(&c->memory, path, strlen(path), &entry->path, error));
    list->count++;
    return LEAT_OK;
}

static bool has_config(const char *folder)
{
    char path[PATH_BYTES_MAX];
    return path_join(folder, "config.json", path) && access(path, R_OK) == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* `folder` itself, or its children, each with a config.json. */
static leat_status add_folder(cli *c, model_list *list, const char *folder, leat_error *error)
{
    if (has_config(folder)) return add_entry(c, list, base_name(folder), folder, error);
    DIR *stream = opendir(folder);
    if (!stream) return LEAT_OK;
    leat_status status = LEAT_OK;
    for (struct dirent *child; status == LEAT_OK && (child = readdir(stream)) != NULL;) {
        char path[PATH_BYTES_MAX];
        if (child->d_name[0] != '.' && path_join(folder, child->d_name, path) && has_config(path))
            status = add_entry(c, list, child->d_name, path, error);
    }
    closedir(stream);
    return status;
}

static leat_status add_own_folders(cli *c, model_list *list, leat_error *error)
{
    const char *folders = getenv("LEAT_MODELS");
    while (folders && *folders) {
        size_t length = strcspn(folders, ":");
        char folder[PATH_BYTES_MAX];
        if (length > 0 && length < sizeof folder) {
            memcpy(folder, folders, length);
            folder[length] = '\0';
            while (length > 1 && folder[length - 1] == '/') folder[--length] = '\0';
            TRY(add_folder(c, list, folder, error));
        }
        folders += strcspn(folders, ":");
        folders += *folders == ':';
    }
    return LEAT_OK;
}

/* "models--org--repo" -> "org/repo"; only folders that hold a snapshot of an engine's files are of interest. */
static leat_status add_repository(cli *c, model_list *list, const char *hub, const char *folder, leat_error *error)
{
    char snapshots[PATH_BYTES_MAX], name[256], path[PATH_BYTES_MAX];
    const char *rest = folder + strlen(hub_prefix), *split = strstr(rest, "--");
    if (!split || strlen(rest) >= sizeof name) return LEAT_OK;
    snprintf(name, sizeof name, "%.*s/%s", (int)(split - rest), rest, split + 2);
    if (!path_join(hub, folder, path) || !path_join(path, "snapshots", snapshots)) return LEAT_OK;
    DIR *stream = opendir(snapshots);
    if (!stream) return LEAT_OK;
    leat_status status = LEAT_OK;
    for (struct dirent *child; (child = readdir(stream)) != NULL;) {
        if (child->d_name[0] == '.' || !path_join(snapshots, child->d_name, path) || !has_config(path)) continue;
        status = add_entry(c, list, name, name, error);
        break;
    }
    closedir(stream);
    return status;
}

static leat_status add_hub(cli *c, model_list *list, leat_error *error)
{
    char hub[HUB_FOLDER_BYTES];
    leat_error no_hub = {0}; /* then the list is without it */
    DIR *stream = hub_folder_find(hub, &no_hub) == LEAT_OK ? opendir(hub) : NULL;
    if (!stream) return LEAT_OK;
    leat_status status = LEAT_OK;
    for (struct dirent *child; status == LEAT_OK && (child = readdir(stream)) != NULL;)
        if (strncmp(child->d_name, hub_prefix, strlen(hub_prefix)) == 0)
            status = add_repository(c, list, hub, child->d_name, error);
    closedir(stream);
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const model_entry *)a)->name, ((const model_entry *)b)->name);
}

leat_status model_list_read(cli *c, model_list *out_list, leat_error *error)
{
    model_list list = {0};
    TRY(add_own_folders(c, &list, error));
    TRY(add_hub(c, &list, error));
    if (list.count > 1) qsort(list.items, list.count, sizeof *list.items, compare_entries);
    *out_list = list;
    return LEAT_OK;
}

/* ---- what the user typed
 * ------------------------------------------------------------------------------------------------------ */

static leat_status refuse_ambiguous(const model_list *list, const char *given, leat_error *error)
{
    char names[256] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < list->count && used + 1 < sizeof names; i++) {
        if (!strcasestr(list->items[i].name, given)) continue;
        int length = snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", list->items[i].name);
        used += length > 0 ? (size_t)length : 0;
    }
    leat_status status = FAIL(error, USAGE, "'%s' may mean any of %s", given, names);
    status_hint(error, "give more of the name");
    return status;
}

/* *path is left as it is when no listed name holds it: leat_model_open then says what is missing. */
static leat_status resolve_short_name(cli *c, const char **path, leat_error *error)
{
    const char *given = *path;
    if (*given == '\0' || strchr(given, '/') || access(given, F_OK) == 0) return LEAT_OK;
    model_list list;
    TRY(model_list_read(c, &list, error));
    const model_entry *match = NULL;
    for (uint32_t i = 0; i < list.count; i++) {
        const model_entry *entry = &list.items[i];
        if (strcasecmp(entry->name, given) == 0 || strcasecmp(base_name(entry->name), given) == 0) {
            *path = entry->path;
            return LEAT_OK;
        }
        if (!strcasestr(entry->name, given)) continue;
        if (match) return refuse_ambiguous(&list, given, error);
        match = entry;
    }
    if (match) *path = match->path;
    return LEAT_OK;
}

leat_status model_argument(cli *c, const char **out_path, leat_error *error)
{
    const char *path = c->options.is_on_command_line[OPTION_model] ? c->options.model : cli_take_word(c);
    if (!path) path = c->options.model;
    if (!path || *path == '\0') {
        const verb_spec *verb = &verb_specs[c->verb];
        leat_status status = FAIL(error, USAGE, "leat %s needs a MODEL", verb->name);
        status_hint(error, "usage: leat %s [options] %s; leat list shows the models on this machine", verb->name,
                    verb->words);
        return status;
    }
    TRY(resolve_short_name(c, &path, error));
    *out_path = path;
    return LEAT_OK;
}

leat_status model_open(const char *path, leat_model **out_model, leat_error *error)
{
    TRY(leat_model_open(path, out_model, error));
    for (uint32_t i = 0; i < leat_model_warning_count(*out_model); i++)
        report_warning("%s", leat_model_warning(*out_model, i));
    return LEAT_OK;
}

leat_status model_open_only(cli *c, leat_model **out_model, leat_error *error)
{
    const char *path;
    TRY(model_argument(c, &path, error));
    TRY(cli_refuse_rest(c, error));
    return model_open(path, out_model, error);
}

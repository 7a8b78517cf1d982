#include "serve_sandbox.h"

#include "cli/engine_setup.h"
#include "cli/paths.h"
#include "cli/report.h"
#include "sandbox.h"

#include "os/lease.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATHS_MAX = 16 };

typedef struct path_list {
    sandbox_path items[PATHS_MAX];
    uint32_t count;
} path_list;

static void add(path_list *list, const char *path, sandbox_access access)
{
    if (!path || !*path || list->count == PATHS_MAX) return;
    list->items[list->count++] = (sandbox_path){open(path, O_PATH | O_CLOEXEC), access};
}

/* The folder of a file: another of the same name may take its place, or it is to be removed. */
static void add_folder_of(path_list *list, const char *path, sandbox_access access)
{
    char folder[PATH_BYTES_MAX];
    if (!path || !*path || strlen(path) >= sizeof folder) return;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    add(list, *folder ? folder : "/", access);
}

/* The folder of the model; in a Hugging Face cache, whose files are links to ../../blobs, the folder of the repository.
 */
static void add_model(path_list *list, const char *model_path)
{
    char path[PATH_BYTES_MAX];
    struct stat s;
    if (!realpath(model_path, path) || stat(path, &s) != 0) return;
    if (!S_ISDIR(s.st_mode)) *strrchr(path, '/') = '\0';
    char *snapshots = strstr(path, "/snapshots/");
    if (snapshots && !strchr(snapshots + strlen("/snapshots/"), '/')) *snapshots = '\0';
    add(list, path, SANDBOX_READ);
}

static void add_system(path_list *list)
{
    /* Memory and CPUs of the machine and of our control group; names of threads. */
    add(list, "/proc/meminfo", SANDBOX_READ);
    add(list, "/proc/pressure", SANDBOX_READ);
    add(list, "/proc/self", SANDBOX_READ);
    add(list, "/proc/self/task", SANDBOX_WRITE);
    add(list, "/sys", SANDBOX_READ);
}

static void add_lease_folder(path_list *list, const cli_options *options)
{
    int fd;
    if (options->lease != 0 || list->count == PATHS_MAX || lease_open_folder(&fd, NULL) != LEAT_OK) return;
    list->items[list->count++] = (sandbox_path){fd, SANDBOX_WRITE};
}

static void close_all(const path_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->items[i].fd >= 0) close(list->items[i].fd);
}

leat_status serve_sandbox_enter(const cli_options *options, const char *model_path, const char *socket_path,
                                leat_error *error)
{
    const struct rlimit none = {0};
    path_list list = {0};
    sandbox_report report;
    /* A core file, or another process of this user that attaches, would see everybody's prompts. */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    tzset(); /* the zone's file cannot be read later, when a template asks for the time */
    if (options->sandbox == SANDBOX_OFF) {
        report_note("sandbox: off");
        return LEAT_OK;
    }
    add_model(&list, model_path);
    add(&list, engine_options(options).profile_folder, SANDBOX_WRITE);
    add_lease_folder(&list, options);
    add_folder_of(&list, options->log_file, SANDBOX_APPEND);
    add(&list, options->api_key_file, SANDBOX_READ); /* the file alone: its folder may be somebody's home */
    add_folder_of(&list, socket_path, SANDBOX_REMOVE);
    add(&list, getenv("CREDENTIALS_DIRECTORY"), SANDBOX_READ);
    add_system(&list);
    leat_status status = sandbox_enter((sandbox_mode)options->sandbox, list.items, list.count, &report, error);
    close_all(&list);
    TRY(status);
    if (report.missing)
        report_warning("sandbox: the system has no %s: the server runs without", report.missing);
    else
        report_note("sandbox: Landlock %d and seccomp", report.landlock_version);
    return LEAT_OK;
}

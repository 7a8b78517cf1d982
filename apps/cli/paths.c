#include "paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool path_join(const char *folder, const char *name, char out[PATH_BYTES_MAX])
{
    int length = snprintf(out, PATH_BYTES_MAX, "%s/%s", folder, name);
    return length > 0 && length < PATH_BYTES_MAX;
}

bool path_in_home(const char *variable, const char *fallback, const char *name, char out[PATH_BYTES_MAX])
{
    char below[PATH_BYTES_MAX];
    const char *root = getenv(variable), *home = getenv("HOME");
    if (root && *root == '/') return path_join(root, name, out);
    return home && *home == '/' && path_join(fallback, name, below) && path_join(home, below, out);
}

bool path_expand(const char *path, char out[PATH_BYTES_MAX])
{
    const char *home = getenv("HOME");
    if (path[0] == '~' && path[1] == '/' && home && *home == '/') return path_join(home, path + 2, out);
    int length = snprintf(out, PATH_BYTES_MAX, "%s", path);
    return length >= 0 && length < PATH_BYTES_MAX;
}

bool path_make_folders(const char *path)
{
    char folder[PATH_BYTES_MAX];
    if (strlen(path) >= sizeof folder) return false;
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST) return false;
    }
    return true;
}

/* paths.h - where the XDG rules put a program's files, and the other paths that the program builds. */
#ifndef CLI_PATHS_H
#define CLI_PATHS_H

#include <stdbool.h>

enum { PATH_BYTES_MAX = 4096 };

/* $VARIABLE/name, or $HOME/fallback/name; false when neither is set (or not absolute) or the path is too long. */
bool path_in_home(const char *variable, const char *fallback, const char *name, char out[PATH_BYTES_MAX]);
/* folder/name; false when it is too long. */
bool path_join(const char *folder, const char *name, char out[PATH_BYTES_MAX]);
/* "~/x" with the home folder in front; anything else as it is. false when it is too long. */
bool path_expand(const char *path, char out[PATH_BYTES_MAX]);
/* mkdir -p for the folders above `path`, mode 0700; false when one could not be made. */
bool path_make_folders(const char *path);

#endif

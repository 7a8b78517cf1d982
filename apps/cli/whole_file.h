/*
 * whole_file.h - a file for results that is complete or not there: written beside its name, put in its place at the
 * end.
 *
 * It is opened before the work whose results it takes, so that a name that cannot be written is known first.
 * whole_file_close without whole_file_finish removes what was written; under the name there is the old file or the
 * whole new one. A link keeps being one: the file behind it is replaced. A device or a pipe is never replaced: the
 * bytes go into it.
 */
#ifndef CLI_WHOLE_FILE_H
#define CLI_WHOLE_FILE_H

#include "base/status.h"

#include <stdbool.h>

typedef struct whole_file {
    bool is_open;
    int fd;
    const char *option;                    /* begins errors: "--stats: ", or "" */
    char path[4096], temporary[4096 + 32]; /* temporary is "" when the bytes go straight to path */
} whole_file;

/* `option` must outlive the file. LEAT_IO when it cannot be created. */
MUST_CHECK leat_status whole_file_open(whole_file *f, const char *option, const char *path, leat_error *error);
/* The bytes are on the disk, under the name, or LEAT_IO and nothing of them is left. */
MUST_CHECK leat_status whole_file_finish(whole_file *f, leat_error *error);
/* LEAT_IO: "--stats: PATH: write failed: ...", for those who write to the descriptor. */
leat_status whole_file_fail(const whole_file *f, int os_errno, leat_error *error);
/* Of a file that was finished, or never opened, nothing. */
void whole_file_close(whole_file *f);

#endif

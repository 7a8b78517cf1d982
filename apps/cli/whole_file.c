#include "whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What may be replaced: a regular file, or nothing yet. *out_may is false for devices, pipes and folders. */
static leat_status find_target(whole_file *f, const char *path, bool *out_may, leat_error *error)
{
    struct stat facts;
    if (strlen(path) >= sizeof f->path) return FAIL(error, USAGE, "%sthe path is too long", f->option);
    strcpy(f->path, path);
    *out_may = true;
    if (stat(path, &facts) != 0) return LEAT_OK;
    *out_may = S_ISREG(facts.st_mode);
    char *real = *out_may ? realpath(path, NULL) : NULL; /* a link stays a link */
    if (real && strlen(real) < sizeof f->path) strcpy(f->path, real);
    free(real);
    return LEAT_OK;
}

leat_status whole_file_open(whole_file *f, const char *option, const char *path, leat_error *error)
{
    bool may_replace;
    memset(f, 0, sizeof *f);
    f->option = option;
    TRY(find_target(f, path, &may_replace, error));
    if (may_replace) snprintf(f->temporary, sizeof f->temporary, "%s.%ld.tmp", f->path, (long)getpid());
    /* Never through a link left there. */
    int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | (may_replace ? O_CREAT | O_EXCL : 0);
    f->fd = open(may_replace ? f->temporary : f->path, flags, 0666);
    f->is_open = f->fd >= 0;
    if (f->is_open) return LEAT_OK;
    return FAIL_OS(error, IO, errno, "%s%s: cannot be created: %s", option, f->path, strerror(errno));
}

leat_status whole_file_fail(const whole_file *f, int os_errno, leat_error *error)
{
    return FAIL_OS(error, IO, os_errno, "%s%s: write failed: %s", f->option, f->path, strerror(os_errno));
}

leat_status whole_file_finish(whole_file *f, leat_error *error)
{
    const bool is_new = f->temporary[0] != '\0';
    bool is_done = !is_new || fsync(f->fd) == 0; /* devices and pipes know no fsync */
    int os_errno = errno;
    f->is_open = false;
    if (close(f->fd) != 0 && is_done) is_done = false, os_errno = errno;
    if (is_done && is_new && rename(f->temporary, f->path) != 0) is_done = false, os_errno = errno;
    if (is_done) return LEAT_OK;
    if (is_new) unlink(f->temporary);
    return whole_file_fail(f, os_errno, error);
}

void whole_file_close(whole_file *f)
{
    if (!f->is_open) return;
    f->is_open = false;
    close(f->fd);
    if (f->temporary[0]) unlink(f->temporary);
}

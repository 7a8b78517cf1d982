/*
 * sandbox.h - what the server may still do when it serves strangers: read the model, write where it must, use the
 * sockets that it has. Landlock guards files (io_uring included, which seccomp does not see), seccomp the rest.
 *
 * Both hold for the calling thread and for threads started later, so this comes before any of them. There is no way
 * back.
 */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum sandbox_mode {
    SANDBOX_AUTO, /* as far as the system can */
    SANDBOX_OFF,
    SANDBOX_STRICT, /* all of it or none; a forbidden system call ends the process */
} sandbox_mode;

typedef enum sandbox_access {
    SANDBOX_READ,
    SANDBOX_WRITE,  /* all that can be done with the files of a folder */
    SANDBOX_APPEND, /* makes files and writes to them, of whatever lies there; reads and removes nothing */
    SANDBOX_REMOVE  /* removes files, no more */
} sandbox_access;

/* A folder stands for all that lies beneath it: a kernel cannot be told less. */
typedef struct sandbox_path {
    int fd; /* opened with O_PATH or to read; sandbox_enter leaves it open. Negative: passed over */
    sandbox_access access;
} sandbox_path;

typedef struct sandbox_report {
    int landlock_version; /* 0: none */
    bool has_seccomp;
    const char *missing; /* what the system lacks, in words; NULL: nothing */
} sandbox_report;

/* LEAT_PERMISSION with SANDBOX_STRICT when something is missing. */
MUST_CHECK leat_status sandbox_enter(sandbox_mode mode, const sandbox_path *paths, uint32_t path_count,
                                     sandbox_report *out_report, leat_error *error);

#endif

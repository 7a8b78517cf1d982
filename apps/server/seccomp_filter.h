/*
 * seccomp_filter.h - the system calls that a serving process may make. No new sockets, no new programs.
 *
 * Not part of builds with a sanitizer, which makes calls of its own, nor of those without libseccomp.
 */
#ifndef SERVER_SECCOMP_FILTER_H
#define SERVER_SECCOMP_FILTER_H

#include <stdbool.h>

bool seccomp_filter_is_built(void);
/* For this thread and those that it starts. What is not allowed fails with EPERM. Strict: it ends the process, and
 * there is no new executable memory (which fails; regular expressions are then slower). */
bool seccomp_filter_enter(bool is_strict);

#endif

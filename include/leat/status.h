/*
 * leat/status.h - the one list of statuses, and the error record that every fallible call can fill.
 *
 * The list yields the enum, the text and the process exit code; a server maps the same names to HTTP codes.
 */
#ifndef LEAT_STATUS_H
#define LEAT_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*    name        exit  text                                                         */
#define LEAT_STATUS_MAP(X)                                                                                             \
    X(OK, 0, "ok")                                                                                                     \
    X(INTERNAL, 1, "internal error")                                                                                   \
    X(USAGE, 2, "bad argument")                                                                                        \
    X(MODEL, 3, "the model is missing, damaged or not supported")                                                      \
    X(BUDGET, 4, "does not fit the memory budget")                                                                     \
    X(NO_MEMORY, 4, "the system gave no memory")                                                                       \
    X(IO, 5, "a read or write failed")                                                                                 \
    X(PERMISSION, 6, "not permitted")                                                                                  \
    X(CONTEXT, 7, "the context is full")                                                                               \
    X(CANCELLED, 130, "cancelled")

typedef enum leat_status {
#define X(name, exit_code, text) LEAT_##name,
    LEAT_STATUS_MAP(X)
#undef X
        LEAT_STATUS_COUNT
} leat_status;

enum { LEAT_ERROR_TEXT_BYTES = 640, LEAT_ERROR_HINT_BYTES = 384 };

/* Filled by the call that failed; the texts are UTF-8 without control bytes and always terminated. */
typedef struct leat_error {
    leat_status status;
    int os_errno;     /* 0 when the system was not involved */
    const char *file; /* source file and line where it was first raised */
    int line;
    char text[LEAT_ERROR_TEXT_BYTES]; /* what, where, expected, found */
    char hint[LEAT_ERROR_HINT_BYTES]; /* what to do about it; may be empty */
} leat_error;

#ifdef __cplusplus
}
#endif
#endif

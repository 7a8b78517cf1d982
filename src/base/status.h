/*
 * status.h - raising and forwarding errors.
 *
 * Three kinds of trouble: a programmer's error is an assert(); bad input and the world's failures are a leat_status
 * with a text that names the object, the value, the limit and the position. Nothing under src/ prints or exits.
 * `error` may be NULL everywhere. Outputs come last and are written only on success.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <leat/status.h>

#define MUST_CHECK                         __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_idx, first_idx) __attribute__((format(printf, format_idx, first_idx)))

/* Records `status` and the text (control bytes and broken UTF-8 in it are shown as \xHH) and returns `status`. */
leat_status status_fail(leat_error *error, leat_status status, int os_errno, const char *file, int line,
                        const char *format, ...) PRINTF_LIKE(6, 7);

/* Sets the hint of an error already raised. */
void status_hint(leat_error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "PREFIX: " before the text of an error already raised; control bytes are escaped likewise. */
void status_prefix(leat_error *error, const char *format, ...) PRINTF_LIKE(2, 3);

const char *status_text(leat_status status);
int status_exit_code(leat_status status);

/* The value is the constant, so that the compiler sees that a failure is one and that outputs stay unset with reason.
 */
#define FAIL(error, status, ...)                                                                                       \
    (status_fail((error), LEAT_##status, 0, __FILE__, __LINE__, __VA_ARGS__), LEAT_##status)
#define FAIL_OS(error, status, os_errno, ...)                                                                          \
    (status_fail((error), LEAT_##status, (os_errno), __FILE__, __LINE__, __VA_ARGS__), LEAT_##status)

/* Forwards a failure to the caller. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        leat_status try_status = (call);                                                                               \
        if (try_status != LEAT_OK) return try_status;                                                                  \
    } while (0)

/* Forwards a failure through the function's one clean-up label; needs a variable `leat_status status`. */
#define TRY_OR(label, call)                                                                                            \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != LEAT_OK) goto label;                                                                             \
    } while (0)

#endif

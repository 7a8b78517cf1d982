/* cancel.h - the caller's cancel flag, as whoever computes asks it: another thread or a signal handler may set it at
 * any time. */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdbool.h>
#include <stddef.h>

/* `flag` may be NULL. */
static inline bool cancel_is_wanted(const volatile int *flag)
{
    return flag != NULL && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

#endif

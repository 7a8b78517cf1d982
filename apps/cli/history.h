/*
 * history.h - what was typed before: the last 1000 entries, kept in a file that only its owner can read.
 *
 * One entry a line; newlines and backslashes inside are written \n and \\. Each entry is appended as it comes, so that
 * several programs may share the file. A history that cannot be written is not worth an error.
 */
#ifndef CLI_HISTORY_H
#define CLI_HISTORY_H

#include "base/mem.h"

enum { HISTORY_ENTRIES_MAX = 1000 };

typedef struct history {
    mem *ledger;
    char path[4096];                    /* "" keeps nothing */
    char *entries[HISTORY_ENTRIES_MAX]; /* oldest first */
    size_t count;
} history;

/* Reads $XDG_STATE_HOME/leat/history, unless LEAT_NOHISTORY is set. */
MUST_CHECK leat_status history_open(mem *ledger, history **out_history, leat_error *error);
void history_close(history **past);
/* Entries that begin with a space, or repeat the last one, are not kept. */
MUST_CHECK leat_status history_add(history *past, const char *text, leat_error *error);

#endif

/*
 * stop_match.h - ends a growing text before the first of some strings, although pieces arrive that may be the beginning
 * of one: what may still become a stop string is held back until it is decided.
 */
#ifndef CLI_STOP_MATCH_H
#define CLI_STOP_MATCH_H

#include "strbuf.h"

/* None is empty. */
typedef struct stop_texts {
    const char *const *items;
    uint32_t count;
} stop_texts;

typedef struct stop_match {
    strbuf held;
} stop_match;

/* Appends to `ready` what is decided. *out_is_stopped: a stop string was met; nothing from it on will be shown. */
MUST_CHECK leat_status stop_match_push(stop_match *m, const stop_texts *stops, const char *text, size_t bytes,
                                       strbuf *ready, bool *out_is_stopped, leat_error *error);
/* The end of the text: what was held back is part of it after all. */
MUST_CHECK leat_status stop_match_finish(stop_match *m, strbuf *ready, leat_error *error);

#endif

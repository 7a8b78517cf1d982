/*
 * unknown_fields.h - which members of requests nobody reads. They are ignored, since a client's habits are not the
 * server's business; with -v each name is told once, so that a misspelt one can be found.
 *
 * Names come from clients: only those that look like names are told, and no more than a table holds.
 *
 * Threads: unknown_fields_tell before others exist, unknown_fields_note from any.
 */
#ifndef SERVER_UNKNOWN_FIELDS_H
#define SERVER_UNKNOWN_FIELDS_H

#include <jansson.h>
#include <stdbool.h>

enum { UNKNOWN_FIELDS_MAX = 64, UNKNOWN_FIELD_BYTES = 48 };

/* Whether names are told from now on; none has been told yet. */
void unknown_fields_tell(bool is_wanted);
/* Tells those members of `body` that are in neither list; both end with NULL. */
void unknown_fields_note(const json_t *body, const char *const *known, const char *const *known_too);

#endif

/*
 * given.h - texts and tokens that are given away: the caller frees them himself, so they come from malloc.
 *
 * Threads: any.
 */
#ifndef API_GIVEN_H
#define API_GIVEN_H

#include <leat/leat.h>

#include "text/tokenizer.h"

/* `prepend`: `first` stands before the ids. */
MUST_CHECK leat_status give_tokens(const uint32_t *ids, uint64_t count, bool prepend, uint32_t first, leat_tokens *out,
                                   leat_error *error);
MUST_CHECK leat_status give_text(const text_buffer *buffer, leat_text *out, leat_error *error);

#endif

/*
 * given.c - texts and tokens that are given away, and their end.
 */
#include "api/given.h"

#include <stdlib.h>
#include <string.h>

leat_status give_tokens(const uint32_t *ids, uint64_t count, bool prepend, uint32_t first, leat_tokens *out,
                        leat_error *error)
{
    uint32_t *copy = malloc((count + prepend + 1) * sizeof *copy);

    if (!copy) return FAIL(error, NO_MEMORY, "%llu tokens", (unsigned long long)count);
    if (prepend) copy[0] = first;
    if (count) memcpy(copy + prepend, ids, count * sizeof *ids);
    *out = (leat_tokens){copy, count + prepend};
    return LEAT_OK;
}

leat_status give_text(const text_buffer *buffer, leat_text *out, leat_error *error)
{
    char *copy = malloc(buffer->count + 1);

    if (!copy) return FAIL(error, NO_MEMORY, "%llu bytes of text", (unsigned long long)buffer->count);
    if (buffer->count) memcpy(copy, buffer->bytes, buffer->count);
    copy[buffer->count] = 0;
    *out = (leat_text){copy, buffer->count};
    return LEAT_OK;
}

void leat_text_free(leat_text *text)
{
    free(text->bytes);
    *text = (leat_text){0};
}

void leat_tokens_free(leat_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (leat_tokens){0};
}

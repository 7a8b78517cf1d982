/*
 * text_buffer.c - the two growing outputs of the text room: lists of ids and byte strings.
 *
 * Both grow by half their size, so that n appends cost O(n) and a large buffer wastes at most a third of itself.
 */
#include "text/tokenizer.h"

#include "base/bytes.h"

#include <string.h>

void token_list_init(token_list *list, mem *ledger) { *list = (token_list){.ledger = ledger}; }

void token_list_reset(token_list *list)
{
    mem_free(list->ledger, list->ids);
    *list = (token_list){.ledger = list->ledger};
}

/* For `count` more. */
static leat_status make_room(token_list *list, uint64_t count, leat_error *error)
{
    uint64_t capacity = max_u64(max_u64(64, list->count + count), list->capacity + list->capacity / 2);
    void *block = list->ids;
    TRY(mem_resize(list->ledger, MEM_TOKENIZER, &block, capacity, sizeof *list->ids, "token ids", error));
    list->ids = block;
    list->capacity = capacity;
    return LEAT_OK;
}

leat_status token_list_push(token_list *list, uint32_t id, leat_error *error)
{
    if (list->count == list->capacity) TRY(make_room(list, 1, error));
    list->ids[list->count++] = id;
    return LEAT_OK;
}

leat_status token_list_append(token_list *list, const uint32_t *ids, uint64_t count, leat_error *error)
{
    if (list->capacity - list->count < count) TRY(make_room(list, count, error));
    for (uint64_t i = 0; i < count; i++) list->ids[list->count + i] = ids[i];
    list->count += count;
    return LEAT_OK;
}

void text_buffer_init(text_buffer *buffer, mem *ledger) { *buffer = (text_buffer){.ledger = ledger}; }

void text_buffer_reset(text_buffer *buffer)
{
    mem_free(buffer->ledger, buffer->bytes);
    *buffer = (text_buffer){.ledger = buffer->ledger};
}

leat_status text_buffer_reserve(text_buffer *buffer, uint64_t count, leat_error *error)
{
    uint64_t needed;
    if (!size_add(buffer->count, count, &needed) || !size_add(needed, 1, &needed))
        return FAIL(error, NO_MEMORY, "a text of more than 2^64 bytes cannot be held");
    if (needed > buffer->capacity) {
        uint64_t capacity = max_u64(max_u64(64, needed), buffer->capacity + buffer->capacity / 2);
        void *block = buffer->bytes;
        TRY(mem_resize(buffer->ledger, MEM_TOKENIZER, &block, capacity, 1, "text buffer", error));
        buffer->bytes = block;
        buffer->capacity = capacity;
    }
    return LEAT_OK;
}

leat_status text_buffer_append(text_buffer *buffer, const char *bytes, uint64_t count, leat_error *error)
{
    if (count >= buffer->capacity - buffer->count || buffer->capacity == 0)
        TRY(text_buffer_reserve(buffer, count, error));
    if (count > 0) memcpy(buffer->bytes + buffer->count, bytes, count);
    buffer->count += count;
    buffer->bytes[buffer->count] = 0;
    return LEAT_OK;
}

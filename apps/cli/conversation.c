#include "conversation.h"

#include "base/bytes.h"

#include <string.h>

static leat_status copy_text(mem *ledger, const char *text, char **out_copy, leat_error *error)
{
    char *copy;
    size_t bytes = strlen(text) + 1;
    TRY(MEM_NEW(ledger, META, bytes, &copy, error));
    memcpy(copy, text, bytes);
    *out_copy = copy;
    return LEAT_OK;
}

void conversation_clear(conversation *v)
{
    while (conversation_drop_last(v)) continue;
}

void conversation_reset(conversation *v)
{
    conversation_clear(v);
    mem_free(v->ledger, v->system);
    mem_free(v->ledger, v->items);
    *v = (conversation){.ledger = v->ledger};
}

leat_status conversation_set_system(conversation *v, const char *text, leat_error *error)
{
    char *copy = NULL;
    if (text && *text) TRY(copy_text(v->ledger, text, &copy, error));
    mem_free(v->ledger, v->system);
    v->system = copy;
    return LEAT_OK;
}

leat_status conversation_add(conversation *v, const char *role, const char *text, leat_error *error)
{
    char *copy;
    if (v->count + 2 > v->capacity) {
        void *block = v->items;
        size_t capacity = max_u64(16, v->capacity * 2);
        TRY(mem_resize(v->ledger, MEM_META, &block, capacity, sizeof *v->items, "messages", error));
        v->items = block;
        v->capacity = capacity;
    }
    TRY(copy_text(v->ledger, text, &copy, error));
    v->items[++v->count] = (leat_message){role, copy};
    return LEAT_OK;
}

bool conversation_drop_last(conversation *v)
{
    if (v->count == 0) return false;
    mem_free(v->ledger, (void *)(uintptr_t)v->items[v->count].content);
    v->count--;
    return true;
}

const char *conversation_last_role(const conversation *v) { return v->count > 0 ? v->items[v->count].role : ""; }

const leat_message *conversation_messages(conversation *v, size_t *out_count)
{
    bool has_system = v->system != NULL;
    *out_count = v->count + has_system;
    if (v->count == 0) return v->items;
    if (has_system) v->items[0] = (leat_message){"system", v->system};
    return has_system ? v->items : v->items + 1;
}

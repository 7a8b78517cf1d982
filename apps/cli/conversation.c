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
    if (v->count == v->capacity) {
        void *block = v->items;
        size_t capacity = max_u64(16, v->capacity * 2);
        TRY(mem_resize(v->ledger, MEM_META, &block, capacity, sizeof *v->items, "messages", error));
        v->items = block;
        v->capacity = capacity;
    }
    TRY(copy_text(v->ledger, text, &copy, error));
    v->items[v->count++] = (chat_message){role, copy};
    return LEAT_OK;
}

bool conversation_drop_last(conversation *v)
{
    if (v->count == 0) return false;
    mem_free(v->ledger, v->items[--v->count].content);
    return true;
}

const char *conversation_last_role(const conversation *v) { return v->count > 0 ? v->items[v->count - 1].role : ""; }

static void write_message(json_writer *w, const char *role, const char *content)
{
    json_writer_begin_object(w, NULL);
    json_writer_text(w, "role", role);
    json_writer_text(w, "content", content);
    json_writer_end_object(w);
}

leat_status conversation_request(const conversation *v, strbuf *out_request, leat_error *error)
{
    output text;
    json_writer w;
    output_init_memory(&text, v->ledger);
    json_writer_init(&w, &text);
    json_writer_begin_object(&w, NULL);
    json_writer_begin_array(&w, "messages");
    if (v->system) write_message(&w, "system", v->system);
    for (size_t i = 0; i < v->count; i++) write_message(&w, v->items[i].role, v->items[i].content);
    json_writer_end_array(&w);
    json_writer_end_object(&w);
    if (text.status != LEAT_OK) {
        output_reset(&text);
        return FAIL(error, NO_MEMORY, "no memory for the conversation");
    }
    strbuf_reset(out_request);
    *out_request = text.pending;
    return LEAT_OK;
}

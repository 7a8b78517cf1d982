#include "conversation.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

static void message_init(chat_message *m, mem *ledger, const char *role)
{
    *m = (chat_message){role, {.ledger = ledger}, {.ledger = ledger}, {.ledger = ledger}};
}

void chat_message_reset(chat_message *m)
{
    strbuf_reset(&m->content);
    strbuf_reset(&m->reasoning);
    strbuf_reset(&m->calls);
}

void conversation_init(conversation *v, mem *ledger)
{
    *v = (conversation){.ledger = ledger, .system = {.ledger = ledger}};
}

void conversation_clear(conversation *v)
{
    while (conversation_drop_last(v)) continue;
}

void conversation_reset(conversation *v)
{
    conversation_clear(v);
    strbuf_reset(&v->system);
    mem_free(v->ledger, v->items);
    conversation_init(v, v->ledger);
}

leat_status conversation_set_system(conversation *v, const char *text, leat_error *error)
{
    strbuf copy = {.ledger = v->ledger};
    TRY(strbuf_append_text(&copy, text ? text : "", error));
    strbuf_reset(&v->system);
    v->system = copy;
    return LEAT_OK;
}

static leat_status make_room(conversation *v, leat_error *error)
{
    if (v->count < v->capacity) return LEAT_OK;
    void *block = v->items;
    size_t capacity = max_u64(16, v->capacity * 2);
    TRY(mem_resize(v->ledger, MEM_META, &block, capacity, sizeof *v->items, "messages", error));
    v->items = block;
    v->capacity = capacity;
    return LEAT_OK;
}

leat_status conversation_add(conversation *v, const char *role, const char *text, size_t bytes, leat_error *error)
{
    TRY(make_room(v, error));
    chat_message *m = &v->items[v->count];
    message_init(m, v->ledger, role);
    TRY(strbuf_append(&m->content, text, bytes, error));
    v->count++;
    return LEAT_OK;
}

leat_status conversation_add_answer(conversation *v, const strbuf *content, const strbuf *reasoning,
                                    const strbuf *calls, leat_error *error)
{
    TRY(conversation_add(v, "assistant", strbuf_text(content), content->count, error));
    chat_message *m = &v->items[v->count - 1];
    leat_status status = strbuf_append(&m->reasoning, strbuf_text(reasoning), reasoning->count, error);
    if (status == LEAT_OK) status = strbuf_append(&m->calls, strbuf_text(calls), calls->count, error);
    if (status != LEAT_OK) conversation_drop_last(v);
    return status;
}

bool conversation_drop_last(conversation *v)
{
    if (v->count == 0) return false;
    chat_message_reset(&v->items[--v->count]);
    return true;
}

static bool ends_with_answer(const conversation *v)
{
    return v->count > 0 && strcmp(v->items[v->count - 1].role, "assistant") == 0;
}

bool conversation_drop_answer(conversation *v) { return ends_with_answer(v) && conversation_drop_last(v); }

bool conversation_take_answer(conversation *v, chat_message *out)
{
    if (!ends_with_answer(v)) return false;
    *out = v->items[--v->count];
    return true;
}

void conversation_put_back(conversation *v, const chat_message *m)
{
    assert(v->count < v->capacity);
    v->items[v->count++] = *m;
}

static void write_message(json_writer *w, const chat_message *m, bool is_exclusive)
{
    const bool has_no_room = is_exclusive && m->calls.count > 0 && m->content.count > 0;
    json_writer_begin_object(w, NULL);
    json_writer_text(w, "role", m->role);
    json_writer_bytes(w, "content", strbuf_text(&m->content), m->content.count);
    if (m->reasoning.count > 0 && !has_no_room)
        json_writer_bytes(w, "reasoning_content", strbuf_text(&m->reasoning), m->reasoning.count);
    if (m->calls.count > 0) {
        json_writer_begin_array(w, "tool_calls");
        json_writer_raw(w, NULL, strbuf_text(&m->calls), m->calls.count);
        json_writer_end_array(w);
    }
    json_writer_end_object(w);
}

void conversation_write(const conversation *v, json_writer *w)
{
    for (size_t i = 0; i < v->count; i++) write_message(w, &v->items[i], false);
}

leat_status conversation_request(const conversation *v, const conversation_rules *rules, strbuf *out_request,
                                 leat_error *error)
{
    const chat_message system = {.role = "system", .content = v->system};
    json_writer w;
    strbuf_cut(out_request, 0);
    json_writer_init_text(&w, out_request);
    json_writer_begin_object(&w, NULL);
    json_writer_begin_array(&w, "messages");
    if (v->system.count > 0) write_message(&w, &system, false);
    for (size_t i = 0; i < v->count; i++) write_message(&w, &v->items[i], rules->is_exclusive);
    json_writer_end_array(&w);
    if (*rules->tools) json_writer_raw(&w, "tools", rules->tools, strlen(rules->tools));
    if (*rules->kwargs) json_writer_raw(&w, "kwargs", rules->kwargs, strlen(rules->kwargs));
    json_writer_end_object(&w);
    return w.status == LEAT_OK ? LEAT_OK : FAIL(error, NO_MEMORY, "no memory for the conversation");
}

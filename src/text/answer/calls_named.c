/*
 * calls_named.c - a name, then the arguments as a JSON object, between markers: DeepSeek V3 and V3.1, Kimi K2, Solar,
 * Functionary 3.1.
 */
#include "text/answer/call_reader.h"

enum { BETWEEN, HEADER, BEHIND_HEADER, FENCED_NAME, FENCE, BEGIN_VALUE, VALUE, AFTER_VALUE, CLOSE, END };
enum { HEADER_BYTES_MAX = 256 };

static read_result step_between(call_cursor *c)
{
    bool is_call;
    read_result result = call_take_next(c, &is_call);
    if (result == READ_YES) c->phase = is_call ? HEADER : END;
    return result;
}

/* functions.NAME:INDEX -> NAME. */
static json_span name_of_id(json_span id)
{
    static const char prefix[] = "functions.";
    if (id.count > sizeof prefix - 1 && memcmp(id.text, prefix, sizeof prefix - 1) == 0)
        id = (json_span){id.text + sizeof prefix - 1, id.count - (sizeof prefix - 1)};
    uint64_t end = id.count;
    while (end > 0 && id.text[end - 1] >= '0' && id.text[end - 1] <= '9') end--;
    if (end > 1 && end < id.count && id.text[end - 1] == ':') id.count = end - 1;
    return id;
}

/* ID, a literal, NAME: what stands before the literal becomes the call's identifier. */
static leat_status take_id(call_cursor *c, json_span *header, leat_error *error)
{
    size_t length = strlen(c->shape->id_close);
    for (uint64_t at = 0; at + length <= header->count; at++) {
        if (memcmp(header->text + at, c->shape->id_close, length) != 0) continue;
        json_span id = json_span_trim(header->text, at);
        *header = json_span_trim(header->text + at + length, header->count - at - length);
        return call_set_text(&c->id, id.text, id.count, error);
    }
    return LEAT_OK;
}

static leat_status step_header(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good;
    *out = call_find(c, c->shape->name_close, HEADER_BYTES_MAX);
    if (*out != READ_YES) return LEAT_OK;
    json_span header = call_span(c, c->mark, c->value_end);
    c->phase = BEHIND_HEADER;
    if (c->shape->name_is_id) {
        TRY(call_set_text(&c->id, header.text, header.count, error));
        header = name_of_id(header);
    }
    if (c->shape->id_close) TRY(take_id(c, &header, error));
    TRY(call_set_name(c, header, &is_good, error));
    if (!is_good) *out = READ_NO;
    return LEAT_OK;
}

/* An object, or a second name (the first was the kind of tool) and a fence. */
static read_result step_behind_header(call_cursor *c)
{
    call_skip_space(c);
    if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
    c->phase = c->text[c->at] == '{' ? BEGIN_VALUE : FENCED_NAME;
    c->mark = c->at;
    return READ_YES;
}

static leat_status step_fenced_name(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good;
    *out = call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    c->phase = FENCE;
    return call_set_name(c, call_span(c, c->mark, c->at), &is_good, error);
}

static read_result step_fence(call_cursor *c)
{
    call_skip_space(c);
    read_result result = call_take(c, "```json");
    if (result == READ_YES) c->phase = BEGIN_VALUE;
    return result;
}

static read_result step_begin_value(call_cursor *c)
{
    read_result result = call_find_object(c);
    if (result == READ_YES) c->phase = VALUE;
    return result;
}

static leat_status step_value(call_cursor *c, read_result *out, leat_error *error)
{
    TRY(call_take_arguments(c, out, error));
    if (*out == READ_YES) c->phase = AFTER_VALUE;
    return LEAT_OK;
}

/* The fence, where there was one, and the marker behind the call. */
static read_result step_after_value(call_cursor *c)
{
    bool is_fence;
    call_skip_space(c);
    read_result result = call_take_either(c, "```", c->shape->call_close, &is_fence);
    if (result == READ_YES) c->phase = is_fence ? CLOSE : BETWEEN;
    return result;
}

static read_result step_close(call_cursor *c)
{
    call_skip_space(c);
    read_result result = call_take(c, c->shape->call_close);
    if (result == READ_YES) c->phase = BETWEEN;
    return result;
}

static leat_status step(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    switch (c->phase) {
    case BETWEEN: *out = step_between(c); return LEAT_OK;
    case HEADER: return step_header(c, out, error);
    case BEHIND_HEADER: *out = step_behind_header(c); return LEAT_OK;
    case FENCED_NAME: return step_fenced_name(c, out, error);
    case FENCE: *out = step_fence(c); return LEAT_OK;
    case BEGIN_VALUE: *out = step_begin_value(c); return LEAT_OK;
    case VALUE: return step_value(c, out, error);
    case AFTER_VALUE: *out = step_after_value(c); break;
    default: *out = step_close(c); break;
    }
    if (*out == READ_YES && c->phase == BETWEEN) {
        c->call_count++;
        *out_step = CALL_READY;
    }
    return LEAT_OK;
}

leat_status read_named_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

/* call_reader.c - the primitives of call readers: each either decides for good or changes nothing that cannot go on. */
#include "text/answer/call_reader.h"

#include "base/bytes.h"

enum { NAME_BYTES_MAX = 256 };

void call_skip_space(call_cursor *c)
{
    while (c->at < c->count && json_is_space(c->text[c->at])) c->at++;
}

read_result call_take(call_cursor *c, const char *literal)
{
    if (!literal) return READ_NO;
    size_t length = strlen(literal);
    uint64_t there = min_u64(length, c->count - c->at);
    if (memcmp(c->text + c->at, literal, there) != 0) return READ_NO;
    if (there < length) return c->at_end ? READ_NO : READ_MORE;
    c->at += length;
    return READ_YES;
}

static read_result give_up(call_cursor *c, uint64_t bytes_max)
{
    c->at = min_u64(c->mark + bytes_max, c->count);
    return READ_NO;
}

read_result call_find(call_cursor *c, const char *literal, uint64_t bytes_max)
{
    size_t length = strlen(literal);
    while (c->count - c->at >= length) {
        if (bytes_max > 0 && c->at - c->mark > bytes_max) return give_up(c, bytes_max);
        const char *found = memchr(c->text + c->at, literal[0], c->count - c->at - length + 1);
        if (!found) {
            c->at = c->count - length + 1;
            break;
        }
        c->at = (uint64_t)(found - c->text);
        if (memcmp(found, literal, length) == 0) {
            if (bytes_max > 0 && c->at - c->mark > bytes_max) return give_up(c, bytes_max);
            c->value_end = c->at;
            c->at += length;
            return READ_YES;
        }
        c->at++;
    }
    if (bytes_max > 0 && c->at - c->mark > bytes_max) return give_up(c, bytes_max);
    return c->at_end ? READ_NO : READ_MORE;
}

/* Names of functions and of their parameters: no white space, no bracket, no quote. */
static bool is_name_byte(char c) { return (unsigned char)c > ' ' && c != 0x7f && !strchr("<>{}[]()\"'`,=|", c); }

read_result call_take_name(call_cursor *c)
{
    while (c->at < c->count && is_name_byte(c->text[c->at])) {
        c->at++;
        if (c->at - c->mark > NAME_BYTES_MAX) return READ_NO;
    }
    if (c->at == c->count && !c->at_end) return READ_MORE;
    return c->at > c->mark ? READ_YES : READ_NO;
}

read_result call_scan_json(call_cursor *c)
{
    switch (json_scan_run(&c->scan, c->text, c->count, &c->at)) {
    case JSON_SCAN_DONE: return READ_YES;
    case JSON_SCAN_BAD: return READ_NO;
    default: return c->at_end ? READ_NO : READ_MORE;
    }
}

json_span call_span(const call_cursor *c, uint64_t begin, uint64_t end)
{
    return json_span_trim(c->text + begin, end - begin);
}

/* Empty but there, so that its bytes are a text. */
static void cut(text_buffer *buffer)
{
    buffer->count = 0;
    if (buffer->bytes) buffer->bytes[0] = 0;
}

void call_begin(call_cursor *c)
{
    cut(&c->name);
    cut(&c->arguments);
    cut(&c->id);
    cut(&c->key);
    c->tool = NULL;
    c->scan = (json_scan){0};
}

leat_status call_set_text(text_buffer *out, const char *bytes, uint64_t count, leat_error *error)
{
    cut(out);
    return text_buffer_append(out, bytes, count, error);
}

bool call_is_name(json_span span)
{
    for (uint64_t i = 0; i < span.count; i++)
        if (!is_name_byte(span.text[i])) return false;
    return span.count > 0 && span.count <= NAME_BYTES_MAX;
}

leat_status call_set_name(call_cursor *c, json_span name, bool *out_is_good, leat_error *error)
{
    *out_is_good = call_is_name(name);
    TRY(call_set_text(&c->name, name.text, name.count, error));
    c->tool = tool_types_find(c->types, c->name.bytes, c->name.count);
    return LEAT_OK;
}

read_result call_take_either(call_cursor *c, const char *first, const char *second, bool *out_is_first)
{
    read_result a = call_take(c, first);
    *out_is_first = a == READ_YES;
    return a == READ_NO ? call_take(c, second) : a; /* the first may be the longer of two that begin alike */
}

read_result call_take_next(call_cursor *c, bool *out_is_call)
{
    call_skip_space(c);
    read_result result = call_take_either(c, c->shape->call_open, c->shape->section_close, out_is_call);
    if (result == READ_NO && c->call_count > 0) result = READ_YES;
    if (result != READ_YES) return result;
    call_begin(c);
    c->mark = c->at;
    return READ_YES;
}

/* Some models put the arguments into a string, as the API does. */
static leat_status set_arguments_text(call_cursor *c, json_span string, bool *out_is_good, leat_error *error)
{
    cut(&c->key);
    TRY(json_span_decode(string, &c->key, error));
    json_span inner = json_span_trim(c->key.bytes ? c->key.bytes : "", c->key.count);
    *out_is_good = json_span_is(inner, '{') && json_span_is_value(inner.text, inner.count);
    if (!*out_is_good) return LEAT_OK;
    return json_span_copy(inner, &c->arguments, error);
}

leat_status call_set_arguments(call_cursor *c, json_span value, bool *out_is_good, leat_error *error)
{
    cut(&c->arguments);
    *out_is_good = true;
    if (json_span_is(value, '{')) return json_span_copy(value, &c->arguments, error);
    if (json_span_is(value, '"')) return set_arguments_text(c, value, out_is_good, error);
    *out_is_good = value.count == 0 || json_span_is(value, 'n');
    return text_buffer_append(&c->arguments, "{}", 2, error);
}

read_result call_find_object(call_cursor *c)
{
    call_skip_space(c);
    if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
    c->mark = c->at;
    return c->text[c->at] == '{' ? READ_YES : READ_NO;
}

leat_status call_take_arguments(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good; /* an object always is */
    *out = call_scan_json(c);
    if (*out != READ_YES) return LEAT_OK;
    return call_set_arguments(c, call_span(c, c->mark, c->at), &is_good, error);
}

bool call_has_good_arguments(const call_cursor *c)
{
    return json_span_is_value(c->arguments.bytes, c->arguments.count);
}

read_result call_step_begin(call_cursor *c, char json_open, int next)
{
    call_skip_space(c);
    if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
    c->mark = c->at;
    if (c->text[c->at] == json_open)
        c->reader = read_json_calls;
    else
        c->phase = next;
    return READ_YES;
}

leat_status call_run(call_cursor *c, call_phase *step, int end, call_step *out_step, leat_error *error)
{
    call_reader *own = c->reader;
    *out_step = CALL_MORE;
    while (c->phase != end && *out_step == CALL_MORE) {
        read_result result = READ_YES;
        TRY(step(c, &result, out_step, error));
        if (result == READ_MORE) return LEAT_OK;
        if (result == READ_NO) *out_step = CALL_BAD;
        if (c->reader != own) return c->reader(c, out_step, error);
    }
    if (*out_step == CALL_MORE) *out_step = CALL_END;
    return LEAT_OK;
}

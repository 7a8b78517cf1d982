/*
 * calls_tagged.c - calls whose arguments stand in tags of their own: <parameter=KEY>VALUE</parameter> and its cousins.
 * A value is bare text, and becomes JSON by what the tool's schema says of its parameter.
 *
 * The closing tag of a value may also stand inside of it: it ends the value only where a key or the call's end follows,
 * and in CDATA only where that is closed.
 */
#include "text/answer/call_reader.h"

enum {
    BETWEEN,
    NAME,
    HEADER,
    MEMBER,
    WHOLE,
    WHOLE_CLOSE,
    CALL_CLOSE,
    KEY,
    KIND,
    VALUE_OPEN,
    CDATA,
    VALUE,
    AFTER_VALUE,
    END
};
enum { KEY_BYTES_MAX = 256 };

#define CDATA_OPEN  "<![CDATA["
#define CDATA_CLOSE "]]>"

/* The character that an attribute has at its begin, and how many bytes it takes there. */
static const char *attribute_character(json_span text, uint64_t *out_bytes)
{
    static const char *const entities[][2] = {{"&amp;", "&"}, {"&quot;", "\""}};
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++) {
        *out_bytes = strlen(entities[i][0]);
        if (text.count >= *out_bytes && memcmp(text.text, entities[i][0], *out_bytes) == 0) return entities[i][1];
    }
    *out_bytes = 1;
    return text.text;
}

/* What an attribute says, in `key`. */
static leat_status set_attribute(call_cursor *c, json_span text, leat_error *error)
{
    if (!c->shape->has_entities) return call_set_text(&c->key, text.text, text.count, error);
    TRY(call_set_text(&c->key, "", 0, error));
    for (uint64_t bytes; text.count > 0; text = (json_span){text.text + bytes, text.count - bytes})
        TRY(text_buffer_append(&c->key, attribute_character(text, &bytes), 1, error));
    return LEAT_OK;
}

/* A name right behind the opening marker, or a block with calls in it. */
static read_result step_between(call_cursor *c)
{
    bool is_call = c->call_count == 0;
    read_result result = c->shape->call_open ? call_take_next(c, &is_call) : READ_YES;
    if (!c->shape->call_open) c->mark = c->at;
    if (result == READ_YES) c->phase = is_call ? NAME : END;
    return result;
}

static leat_status step_name(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good;
    *out = c->shape->name_close ? call_find(c, c->shape->name_close, KEY_BYTES_MAX) : call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    TRY(set_attribute(c, call_span(c, c->mark, c->shape->name_close ? c->value_end : c->at), error));
    TRY(call_set_name(c, (json_span){c->key.bytes, c->key.count}, &is_good, error));
    if (!is_good || (c->shape->only_known && !c->tool)) *out = READ_NO;
    c->phase = c->shape->header_close ? HEADER : MEMBER;
    c->mark = c->at;
    return text_buffer_append(&c->arguments, "{", 1, error);
}

/* What else stands between name and arguments. */
static read_result step_header(call_cursor *c)
{
    read_result result = call_find(c, c->shape->header_close, KEY_BYTES_MAX);
    if (result == READ_YES) c->phase = MEMBER;
    return result;
}

static void deliver(call_cursor *c, call_step *out_step)
{
    *out_step = CALL_READY;
    c->phase = BETWEEN;
    c->call_count++;
}

static leat_status end_call(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    TRY(text_buffer_append(&c->arguments, "}", 1, error));
    if (call_has_good_arguments(c))
        deliver(c, out_step);
    else
        *out = READ_NO;
    return LEAT_OK;
}

static void begin_key(call_cursor *c)
{
    c->mark = c->at;
    c->phase = KEY;
}

static void begin_value(call_cursor *c)
{
    c->mark = c->at;
    c->in_quotes = false;
    c->phase = c->shape->may_be_cdata ? CDATA : VALUE;
}

static leat_status step_key(call_cursor *c, read_result *out, leat_error *error)
{
    *out = call_find(c, c->shape->key_close, KEY_BYTES_MAX);
    if (*out != READ_YES) return LEAT_OK;
    json_span key = call_span(c, c->mark, c->value_end);
    if (key.count == 0) *out = READ_NO;
    c->value_is_string = c->value_is_json = false;
    begin_value(c);
    if (c->shape->value_open) c->phase = VALUE_OPEN;
    if (c->shape->kinds[0]) c->phase = KIND;
    return set_attribute(c, key, error);
}

/* The rest of a tag that says what its value is. */
static read_result step_kind(call_cursor *c)
{
    bool waits = false;
    for (size_t i = 0; i < CALL_KINDS_MAX && c->shape->kinds[i]; i++) {
        read_result result = call_take(c, c->shape->kinds[i]);
        waits = waits || result == READ_MORE;
        if (result != READ_YES) continue;
        c->value_is_string = i == 0;
        c->value_is_json = i > 0;
        begin_value(c);
        return READ_YES;
    }
    return waits ? READ_MORE : READ_NO;
}

static read_result step_value_open(call_cursor *c)
{
    call_skip_space(c);
    read_result result = call_take(c, c->shape->value_open);
    if (result != READ_YES) return result;
    begin_value(c);
    return READ_YES;
}

static read_result step_cdata(call_cursor *c)
{
    read_result result = call_take(c, CDATA_OPEN);
    if (result == READ_MORE) return result;
    c->in_quotes = result == READ_YES;
    c->mark = c->at;
    c->phase = VALUE;
    return READ_YES;
}

/* Where a value in CDATA ends; UINT64_MAX when the tag behind it is still inside. */
static uint64_t cdata_end(const call_cursor *c)
{
    static const char close[] = CDATA_CLOSE;
    uint64_t count = c->value_at - c->mark;
    const char *text = c->text + c->mark;
    while (count > 0 && strchr(" \n\t\r", text[count - 1])) count--;
    if (count < sizeof close - 1 || memcmp(text + count - (sizeof close - 1), close, sizeof close - 1) != 0)
        return UINT64_MAX;
    return c->mark + count - (sizeof close - 1);
}

static read_result step_value(call_cursor *c)
{
    read_result result = call_find(c, c->shape->value_close, 0);
    c->value_at = c->value_end;
    if (result == READ_YES && !(c->in_quotes && cdata_end(c) == UINT64_MAX)) c->phase = AFTER_VALUE;
    return result;
}

static json_span value_text(const call_cursor *c)
{
    uint64_t begin = c->mark, end = c->in_quotes ? cdata_end(c) : c->value_at;
    if (c->shape->wraps_lines) {
        if (begin < end && c->text[begin] == '\n') begin++;
        if (begin < end && c->text[end - 1] == '\n') end--;
    }
    return (json_span){c->text + begin, end - begin};
}

static leat_status write_value(call_cursor *c, leat_error *error)
{
    unsigned types = TOOL_STRING;
    json_span text = value_text(c);
    if (c->arguments.count > 1) TRY(text_buffer_append(&c->arguments, ", ", 2, error));
    TRY(json_span_quote(c->key.bytes, c->key.count, &c->arguments, error));
    TRY(text_buffer_append(&c->arguments, ": ", 2, error));
    bool is_known = tool_types_of(c->types, c->tool, c->key.bytes, c->key.count, &types);
    if (!is_known && c->shape->unknown_is_json) types = 0;
    if (c->shape->has_truth && (types & ~(unsigned)TOOL_NULL) == TOOL_BOOLEAN) types |= TOOL_TRUTH;
    if (c->value_is_json) types = 0;
    if (c->value_is_string) types = TOOL_STRING;
    if (c->value_is_json && json_span_is_value(text.text, text.count))
        return json_span_copy(json_span_trim(text.text, text.count), &c->arguments, error);
    return tool_value_write(text, types, &c->arguments, error);
}

/* What follows the closing tag decides whether it was one. */
static leat_status step_after_value(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_key;
    call_skip_space(c);
    *out = call_take_either(c, c->shape->key_open, c->shape->call_close, &is_key);
    if (*out == READ_MORE) return LEAT_OK;
    if (*out == READ_NO) {
        c->phase = VALUE;
        *out = READ_YES;
        return LEAT_OK;
    }
    TRY(write_value(c, error));
    if (!is_key) return end_call(c, out, out_step, error);
    begin_key(c);
    return LEAT_OK;
}

/* All arguments as one object, instead of members. */
static read_result step_whole(call_cursor *c)
{
    read_result result = call_take(c, c->shape->whole_open);
    if (result != READ_YES) return result;
    c->mark = c->at;
    c->phase = WHOLE;
    return READ_YES;
}

static leat_status read_whole(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_good = true;
    if (c->phase == WHOLE) {
        *out = call_scan_json(c);
        if (*out != READ_YES) return LEAT_OK;
        TRY(call_set_arguments(c, call_span(c, c->mark, c->at), &is_good, error));
        if (!is_good) *out = READ_NO;
        c->phase = WHOLE_CLOSE;
        return LEAT_OK;
    }
    call_skip_space(c);
    *out = call_take(c, c->phase == WHOLE_CLOSE ? c->shape->whole_close : c->shape->call_close);
    if (*out != READ_YES) return LEAT_OK;
    if (c->phase == CALL_CLOSE)
        deliver(c, out_step);
    else
        c->phase = CALL_CLOSE;
    return LEAT_OK;
}

static leat_status step_member(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_key;
    call_skip_space(c);
    read_result whole = step_whole(c);
    if (whole == READ_YES) return LEAT_OK;
    *out = call_take_either(c, c->shape->key_open, c->shape->call_close, &is_key);
    if (*out == READ_NO && whole == READ_MORE) *out = READ_MORE;
    if (*out != READ_YES) return LEAT_OK;
    if (!is_key) return end_call(c, out, out_step, error);
    begin_key(c);
    return LEAT_OK;
}

static leat_status step(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    switch (c->phase) {
    case BETWEEN: *out = step_between(c); return LEAT_OK;
    case NAME: return step_name(c, out, error);
    case HEADER: *out = step_header(c); return LEAT_OK;
    case WHOLE:
    case WHOLE_CLOSE:
    case CALL_CLOSE: return read_whole(c, out, out_step, error);
    case MEMBER: return step_member(c, out, out_step, error);
    case KEY: return step_key(c, out, error);
    case KIND: *out = step_kind(c); return LEAT_OK;
    case VALUE_OPEN: *out = step_value_open(c); return LEAT_OK;
    case CDATA: *out = step_cdata(c); return LEAT_OK;
    case VALUE: *out = step_value(c); return LEAT_OK;
    default: return step_after_value(c, out, out_step, error);
    }
}

leat_status read_tagged_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

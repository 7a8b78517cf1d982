/*
 * calls_tagged.c - calls whose arguments stand in tags of their own: <parameter=KEY>VALUE</parameter> and its cousins.
 * A value is bare text, and becomes JSON by what the tool's schema says of its parameter.
 *
 * The closing tag of a value may also stand inside of it: it ends the value only where a key or the call's end follows.
 */
#include "text/answer/call_reader.h"

enum { BETWEEN, NAME, MEMBER, KEY, KIND, VALUE_OPEN, VALUE, AFTER_VALUE, END };
enum { KEY_BYTES_MAX = 256 };

/* A name right behind the opening marker, or a block with calls in it. */
static read_result step_between(call_cursor *c, call_step *out_step)
{
    bool is_call = true;
    if (c->shape->call_open) {
        call_skip_space(c);
        read_result result = call_take_either(c, c->shape->call_open, c->shape->section_close, &is_call);
        if (result == READ_NO && c->call_count > 0) *out_step = CALL_END;
        if (result != READ_YES) return result;
    } else if (c->call_count > 0)
        is_call = false;
    call_begin(c);
    c->mark = c->at;
    c->phase = is_call ? NAME : END;
    return READ_YES;
}

static leat_status step_name(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good;
    *out = c->shape->name_close ? call_find(c, c->shape->name_close, KEY_BYTES_MAX) : call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    TRY(call_set_name(c, call_span(c, c->mark, c->shape->name_close ? c->value_end : c->at), &is_good, error));
    if (!is_good) *out = READ_NO;
    c->phase = MEMBER;
    return text_buffer_append(&c->arguments, "{", 1, error);
}

static leat_status end_call(call_cursor *c, call_step *out_step, leat_error *error)
{
    *out_step = CALL_READY;
    c->phase = BETWEEN;
    c->call_count++;
    return text_buffer_append(&c->arguments, "}", 1, error);
}

static void begin_key(call_cursor *c)
{
    c->mark = c->at;
    c->phase = KEY;
}

static leat_status step_key(call_cursor *c, read_result *out, leat_error *error)
{
    *out = call_find(c, c->shape->key_close, KEY_BYTES_MAX);
    if (*out != READ_YES) return LEAT_OK;
    json_span key = call_span(c, c->mark, c->value_end);
    if (key.count == 0) *out = READ_NO;
    c->value_is_string = c->value_is_json = false;
    c->phase = c->shape->says_string ? KIND : c->shape->value_open ? VALUE_OPEN : VALUE;
    c->mark = c->at;
    return call_set_text(&c->key, key.text, key.count, error);
}

/* The rest of a tag that says what its value is. */
static read_result step_kind(call_cursor *c)
{
    bool is_string;
    read_result result = call_take_either(c, " string=\"true\">", " string=\"false\">", &is_string);
    if (result != READ_YES) return result;
    c->value_is_string = is_string;
    c->value_is_json = !is_string;
    c->phase = VALUE;
    c->mark = c->at;
    return READ_YES;
}

static read_result step_value_open(call_cursor *c)
{
    call_skip_space(c);
    read_result result = call_take(c, c->shape->value_open);
    if (result != READ_YES) return result;
    c->phase = VALUE;
    c->mark = c->at;
    return READ_YES;
}

static json_span value_text(const call_cursor *c)
{
    uint64_t begin = c->mark, end = c->value_at;
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
    if (!is_key) return end_call(c, out_step, error);
    begin_key(c);
    return LEAT_OK;
}

static leat_status step_member(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_key;
    call_skip_space(c);
    *out = call_take_either(c, c->shape->key_open, c->shape->call_close, &is_key);
    if (*out != READ_YES) return LEAT_OK;
    if (!is_key) return end_call(c, out_step, error);
    begin_key(c);
    return LEAT_OK;
}

leat_status read_tagged_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    *out_step = CALL_MORE;
    while (c->phase != END && *out_step == CALL_MORE) {
        read_result result = READ_YES;
        switch (c->phase) {
        case BETWEEN: result = step_between(c, out_step); break;
        case NAME: TRY(step_name(c, &result, error)); break;
        case MEMBER: TRY(step_member(c, &result, out_step, error)); break;
        case KEY: TRY(step_key(c, &result, error)); break;
        case KIND: result = step_kind(c); break;
        case VALUE_OPEN: result = step_value_open(c); break;
        case VALUE:
            result = call_find(c, c->shape->value_close, 0);
            c->value_at = c->value_end;
            if (result == READ_YES) c->phase = AFTER_VALUE;
            break;
        default: TRY(step_after_value(c, &result, out_step, error)); break;
        }
        if (result == READ_MORE) return LEAT_OK;
        if (result == READ_NO && *out_step == CALL_MORE) *out_step = CALL_BAD;
    }
    if (c->phase == END) *out_step = CALL_END;
    return LEAT_OK;
}

/* calls_python.c - behind <|python_tag|>: JSON, or NAME.call(key="value", ...). Values have no escapes: a quote ends
 * one only before a comma or the bracket. Anything else is code, and stays text. */
#include "text/answer/call_reader.h"

enum { BEGIN, NAME, BRACKET, KEY, EQUALS, VALUE, BEHIND_VALUE, END };

static leat_status step_name(call_cursor *c, read_result *out, leat_error *error)
{
    static const char suffix[] = ".call";
    bool is_good;
    *out = call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    json_span name = call_span(c, c->mark, c->at);
    if (name.count < sizeof suffix || memcmp(name.text + name.count - 5, suffix, 5) != 0) {
        *out = READ_NO;
        return LEAT_OK;
    }
    name.count -= sizeof suffix - 1;
    c->phase = BRACKET;
    TRY(text_buffer_append(&c->arguments, "{", 1, error));
    return call_set_name(c, name, &is_good, error);
}

static leat_status step_key(call_cursor *c, read_result *out, leat_error *error)
{
    *out = call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    c->phase = EQUALS;
    return call_set_text(&c->key, c->text + c->mark, c->at - c->mark, error);
}

static leat_status write_value(call_cursor *c, leat_error *error)
{
    if (c->arguments.count > 1) TRY(text_buffer_append(&c->arguments, ", ", 2, error));
    TRY(json_span_quote(c->key.bytes, c->key.count, &c->arguments, error));
    TRY(text_buffer_append(&c->arguments, ": ", 2, error));
    return json_span_quote(c->text + c->value_at, c->value_end - c->value_at, &c->arguments, error);
}

static leat_status end_call(call_cursor *c, call_step *out_step, leat_error *error)
{
    c->phase = END;
    *out_step = CALL_READY;
    return text_buffer_append(&c->arguments, "}", 1, error);
}

static void begin_key(call_cursor *c)
{
    c->mark = c->at;
    c->phase = KEY;
}

static leat_status step_behind_value(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_end;
    *out = call_take_either(c, ")", ", ", &is_end);
    if (*out == READ_MORE) return LEAT_OK;
    if (*out == READ_NO) { /* a quote inside of the value */
        c->phase = VALUE;
        *out = READ_YES;
        return LEAT_OK;
    }
    TRY(write_value(c, error));
    if (is_end) return end_call(c, out_step, error);
    begin_key(c);
    return LEAT_OK;
}

static leat_status step_bracket(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_empty;
    *out = call_take_either(c, "()", "(", &is_empty);
    if (*out != READ_YES) return LEAT_OK;
    if (is_empty) return end_call(c, out_step, error);
    begin_key(c);
    return LEAT_OK;
}

static leat_status step(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    switch (c->phase) {
    case BEGIN: *out = call_step_begin(c, '{', NAME); return LEAT_OK;
    case NAME: return step_name(c, out, error);
    case BRACKET: return step_bracket(c, out, out_step, error);
    case KEY: return step_key(c, out, error);
    case EQUALS:
        *out = call_take(c, "=\"");
        c->value_at = c->mark = c->at;
        if (*out == READ_YES) c->phase = VALUE;
        return LEAT_OK;
    case VALUE:
        *out = call_find(c, "\"", 0);
        if (*out == READ_YES) c->phase = BEHIND_VALUE;
        return LEAT_OK;
    default: return step_behind_value(c, out, out_step, error);
    }
}

leat_status read_python_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

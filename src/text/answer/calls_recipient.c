/*
 * calls_recipient.c - behind Functionary's >>>: a line with whom the message is for, then the message. "all" is the
 * user, so that text follows; a tool's name is a call, whose arguments are a JSON object. Nothing else marks a call, so
 * that any other name is text.
 */
#include "text/answer/call_reader.h"

enum { NAME, LINE, BEFORE_VALUE, VALUE, END };

static read_result step_name(call_cursor *c)
{
    read_result result = call_take_name(c);
    c->value_end = c->at;
    if (result == READ_YES) c->phase = LINE;
    return result;
}

static leat_status step_line(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    static const char everyone[] = "all";
    bool is_good;
    *out = call_take(c, "\n");
    if (*out != READ_YES) return LEAT_OK;
    json_span name = call_span(c, c->mark, c->value_end);
    c->phase = BEFORE_VALUE;
    if (c->at_front && name.count == sizeof everyone - 1 && memcmp(name.text, everyone, name.count) == 0) {
        *out_step = CALL_IS_TEXT;
        return LEAT_OK;
    }
    TRY(call_set_name(c, name, &is_good, error));
    if (!is_good || !c->tool) *out = READ_NO;
    return LEAT_OK;
}

static read_result step_before_value(call_cursor *c)
{
    read_result result = call_find_object(c);
    if (result == READ_YES) c->phase = VALUE;
    return result;
}

static leat_status step_value(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    TRY(call_take_arguments(c, out, error));
    if (*out != READ_YES) return LEAT_OK;
    c->phase = END;
    *out_step = CALL_READY;
    return LEAT_OK;
}

static leat_status step(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    switch (c->phase) {
    case NAME: *out = step_name(c); return LEAT_OK;
    case LINE: return step_line(c, out, out_step, error);
    case BEFORE_VALUE: *out = step_before_value(c); return LEAT_OK;
    default: return step_value(c, out, out_step, error);
    }
}

leat_status read_recipient(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

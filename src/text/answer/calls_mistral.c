/*
 * calls_mistral.c - behind [TOOL_CALLS]: a list of JSON calls, or NAME[ARGS]{...} with an identifier between them where
 * the version has one. Nothing marks the end.
 */
#include "text/answer/call_reader.h"

enum { BEGIN, NAME, BEHIND_NAME, ID, BEFORE_VALUE, VALUE, END };

static read_result step_behind_name(call_cursor *c)
{
    bool is_id;
    read_result result = call_take_either(c, "[CALL_ID]", "[ARGS]", &is_id);
    if (result == READ_NO && c->at < c->count && c->text[c->at] == '{') result = READ_YES;
    c->mark = c->at;
    if (result == READ_YES) c->phase = is_id ? ID : BEFORE_VALUE;
    return result;
}

static leat_status step_name(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good = true;
    *out = call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    json_span name = call_span(c, c->mark, c->at);
    if (c->phase == ID)
        TRY(call_set_text(&c->id, name.text, name.count, error));
    else
        TRY(call_set_name(c, name, &is_good, error));
    c->phase = BEHIND_NAME;
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
    case BEGIN: *out = call_step_begin(c, '[', NAME); return LEAT_OK;
    case NAME:
    case ID: return step_name(c, out, error);
    case BEHIND_NAME: *out = step_behind_name(c); return LEAT_OK;
    case BEFORE_VALUE: *out = step_before_value(c); return LEAT_OK;
    default: return step_value(c, out, out_step, error);
    }
}

leat_status read_mistral_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

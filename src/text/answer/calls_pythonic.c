/*
 * calls_pythonic.c - a list of calls as Python writes them: [name(key='value', other=3), name()], as LFM2 and Llama 4
 * do; or a list of JSON calls. Where nothing marks the list, it must begin with the name of a tool.
 *
 * The list's end is found first, by counting brackets outside of strings; then each call is rewritten as JSON. A list
 * with one element that is no call is no list of calls.
 */
#include "text/answer/call_reader.h"
#include "text/answer/python_value.h"

enum { BEGIN, FIRST, FIRST_NAME, OUTSIDE, IN_STRING, BEHIND_QUOTE, CLOSE, DELIVER, END };

/* ---- rewriting ------------------------------------------------------------------------------------------------ */

/* KEY=VALUE. */
static leat_status read_argument(call_cursor *c, python_text *p, bool *out_is_good, leat_error *error)
{
    uint64_t begin = p->at;
    while (p->at < p->end && p->text[p->at] != '=') p->at++;
    json_span key = json_span_trim(p->text + begin, p->at - begin);
    *out_is_good = call_is_name(key) && python_take(p, '=');
    if (!*out_is_good) return LEAT_OK;
    if (c->arguments.count > 1) TRY(text_buffer_append(&c->arguments, ", ", 2, error));
    TRY(json_span_quote(key.text, key.count, &c->arguments, error));
    TRY(text_buffer_append(&c->arguments, ": ", 2, error));
    return python_value_copy(p, 1, out_is_good, error);
}

static leat_status read_call(call_cursor *c, python_text *p, bool *out_is_good, leat_error *error)
{
    uint64_t begin = p->at;
    call_begin(c);
    while (p->at < p->end && p->text[p->at] != '(') p->at++;
    TRY(call_set_name(c, json_span_trim(p->text + begin, p->at - begin), out_is_good, error));
    *out_is_good = *out_is_good && python_take(p, '(');
    TRY(text_buffer_append(&c->arguments, "{", 1, error));
    for (bool is_first = true; *out_is_good && !python_take(p, ')'); is_first = false) {
        *out_is_good = is_first || python_take(p, ',');
        if (!is_first && *out_is_good && python_take(p, ')')) break; /* a comma may be last */
        if (*out_is_good) TRY(read_argument(c, p, out_is_good, error));
    }
    return text_buffer_append(&c->arguments, "}", 1, error);
}

/* The call at element_at, which is moved to the next. *out_is_last: there is none. */
static leat_status read_next(call_cursor *c, bool *out_is_good, bool *out_is_last, leat_error *error)
{
    python_text p = {c->text, c->element_at, c->value_end, &c->arguments, &c->key};
    TRY(read_call(c, &p, out_is_good, error));
    bool has_comma = python_take(&p, ','), is_over = python_take(&p, ']');
    *out_is_last = is_over || !has_comma;
    if (is_over ? p.at != p.end : !has_comma) *out_is_good = false;
    c->element_at = p.at;
    return LEAT_OK;
}

static leat_status check_all(call_cursor *c, bool *out_is_good, leat_error *error)
{
    bool is_last = false;
    *out_is_good = true;
    c->element_at = c->value_at + 1;
    while (*out_is_good && !is_last) TRY(read_next(c, out_is_good, &is_last, error));
    c->element_at = c->value_at + 1;
    return LEAT_OK;
}

static leat_status deliver(call_cursor *c, call_step *out_step, leat_error *error)
{
    bool is_good, is_last;
    TRY(read_next(c, &is_good, &is_last, error));
    c->keeps_text = !is_last;
    if (is_last) c->phase = END;
    *out_step = CALL_READY;
    return LEAT_OK;
}

/* ---- finding the end ------------------------------------------------------------------------------------------ */

static read_result step_first(call_cursor *c)
{
    call_skip_space(c);
    if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
    c->phase = c->shape->only_known ? FIRST_NAME : OUTSIDE;
    c->mark = c->at;
    if (c->text[c->at] != '{') return READ_YES;
    c->reader = read_json_calls;
    c->phase = 0;
    c->at = c->value_at;
    return READ_YES;
}

static read_result step_first_name(call_cursor *c)
{
    read_result result = call_take_name(c);
    if (result != READ_YES) return result;
    c->phase = OUTSIDE;
    bool is_call = c->text[c->at] == '(' && tool_types_find(c->types, c->text + c->mark, c->at - c->mark);
    return is_call ? READ_YES : READ_NO;
}

static read_result step_outside(call_cursor *c)
{
    char byte = c->text[c->at++];
    if (byte == '\'' || byte == '"') {
        c->mark = c->at - 1;
        c->phase = IN_STRING;
    }
    if (byte == '[' || byte == '{' || byte == '(') return ++c->depth <= JSON_SPAN_DEPTH_MAX ? READ_YES : READ_NO;
    if ((byte == ']' || byte == '}' || byte == ')') && --c->depth == 0) {
        c->value_end = c->at;
        c->phase = CLOSE;
    }
    return READ_YES;
}

/* Up to a quote that may be the string's end. */
static read_result step_string(call_cursor *c)
{
    char byte = c->text[c->at];
    if (byte == '\\') {
        if (c->count - c->at < 2) return c->at_end ? READ_NO : READ_MORE;
        c->at++;
    }
    c->at++;
    if (byte == c->text[c->mark]) c->phase = BEHIND_QUOTE;
    return READ_YES;
}

static read_result step_behind_quote(call_cursor *c)
{
    call_skip_space(c);
    if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
    c->phase = python_ends_string(c->text[c->at]) ? OUTSIDE : IN_STRING;
    return READ_YES;
}

static leat_status step_close(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_good;
    if (c->shape->call_close) {
        call_skip_space(c);
        *out = call_take(c, c->shape->call_close);
        if (*out != READ_YES) return LEAT_OK;
    }
    TRY(check_all(c, &is_good, error));
    if (!is_good) *out = READ_NO;
    c->phase = DELIVER;
    return is_good ? deliver(c, out_step, error) : LEAT_OK;
}

static leat_status step(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    if (c->phase >= OUTSIDE && c->phase <= IN_STRING && c->at == c->count) {
        *out = c->at_end ? READ_NO : READ_MORE;
        return LEAT_OK;
    }
    switch (c->phase) {
    case BEGIN:
        *out = call_step_begin(c, '{', FIRST);
        c->value_at = c->mark;
        if (*out == READ_YES && c->reader == read_pythonic_calls) *out = call_take(c, "[");
        c->depth = 1;
        return LEAT_OK;
    case FIRST: *out = step_first(c); return LEAT_OK;
    case FIRST_NAME: *out = step_first_name(c); return LEAT_OK;
    case OUTSIDE: *out = step_outside(c); return LEAT_OK;
    case IN_STRING: *out = step_string(c); return LEAT_OK;
    case BEHIND_QUOTE: *out = step_behind_quote(c); return LEAT_OK;
    case CLOSE: return step_close(c, out, out_step, error);
    default: return deliver(c, out_step, error);
    }
}

leat_status read_pythonic_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

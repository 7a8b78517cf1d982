/*
 * calls_json.c - calls that are JSON: one object or a list of them, with or without a marker behind; or one after the
 * other up to a marker. The names of the members differ between families; all of them are known here.
 */
#include "text/answer/call_reader.h"

enum { BEGIN, FIRST_ELEMENT, FIRST_KEY, IN_KEY, VALUE, CLOSE, BETWEEN, DELIVER, END };

static bool member_of(json_span object, const char *const *names, json_span *out_value)
{
    for (; *names; names++)
        if (json_span_member(object, *names, out_value)) return true;
    return false;
}

static leat_status read_name(call_cursor *c, json_span string, bool *out_is_good, leat_error *error)
{
    *out_is_good = false;
    if (!json_span_is(string, '"')) return LEAT_OK;
    text_buffer *name = &c->name;
    TRY(json_span_decode(string, name, error));
    *out_is_good = name->count > 0 && !memchr(name->bytes, 0, name->count);
    if (!*out_is_good) return LEAT_OK;
    c->tool = tool_types_find(c->types, name->bytes, name->count);
    if (c->shape->only_known && !c->tool) *out_is_good = false;
    return LEAT_OK;
}

/* The only member of an object: its key is the name. */
static bool is_keyed(json_span call, json_span *out_key, json_span *out_value)
{
    uint64_t at = 0;
    json_span next_key, next_value;
    if (!json_span_is(call, '{') || !json_span_next(call, &at, out_key, out_value)) return false;
    return !json_span_next(call, &at, &next_key, &next_value);
}

static leat_status read_keyed(call_cursor *c, json_span key, json_span value, bool *out_is_good, leat_error *error)
{
    TRY(read_name(c, key, out_is_good, error));
    if (!*out_is_good) return LEAT_OK;
    return call_set_arguments(c, value, out_is_good, error);
}

static leat_status read_element(call_cursor *c, json_span call, bool *out_is_good, leat_error *error)
{
    static const char *const names[] = {"name", "tool_name", NULL};
    static const char *const arguments[] = {"arguments", "parameters", NULL};
    static const char *const ids[] = {"id", "tool_call_id", "call_id", NULL};
    json_span function = call, key, value;
    call_begin(c);
    if (c->shape->name_is_key && is_keyed(call, &key, &value)) return read_keyed(c, key, value, out_is_good, error);
    if (json_span_member(call, "function", &value) && json_span_is(value, '{')) function = value;
    *out_is_good = false;
    if (!member_of(function, names, &value)) return LEAT_OK;
    TRY(read_name(c, value, out_is_good, error));
    if (!*out_is_good) return LEAT_OK;
    bool has_arguments = member_of(function, arguments, &value);
    if (!has_arguments && c->shape->only_known) *out_is_good = false;
    if (!*out_is_good) return LEAT_OK;
    TRY(call_set_arguments(c, has_arguments ? value : (json_span){0}, out_is_good, error));
    if (*out_is_good && member_of(call, ids, &value) && json_span_is(value, '"'))
        TRY(json_span_decode(value, &c->id, error));
    return LEAT_OK;
}

/* The call at element_at, 0 being a single object. *out_is_last: no other follows. */
static leat_status read_next(call_cursor *c, bool *out_is_good, bool *out_is_last, leat_error *error)
{
    json_span whole = call_span(c, c->value_at, c->value_end), key, call = whole;
    *out_is_last = true;
    if (json_span_is(whole, '[')) {
        *out_is_good = json_span_next(whole, &c->element_at, &key, &call);
        if (!*out_is_good) return LEAT_OK;
        *out_is_last = whole.text[c->element_at] == ']';
    }
    return read_element(c, call, out_is_good, error);
}

/* A list with one element that is no call is no list of calls. */
static leat_status check_all(call_cursor *c, bool *out_is_good, leat_error *error)
{
    bool is_last = false;
    *out_is_good = true;
    c->element_at = 0;
    while (*out_is_good && !is_last) TRY(read_next(c, out_is_good, &is_last, error));
    c->element_at = 0;
    return LEAT_OK;
}

static leat_status deliver(call_cursor *c, call_step *out_step, leat_error *error)
{
    bool is_good, is_last;
    TRY(read_next(c, &is_good, &is_last, error));
    c->keeps_text = !is_last;
    c->phase = !is_last ? DELIVER : c->shape->section_close ? BETWEEN : END;
    *out_step = CALL_READY;
    return LEAT_OK;
}

/* What nothing marks as a call is one only when its first object begins as one; else it is an answer in JSON, which
 * must not wait for its end. */
static read_result check_first_key(call_cursor *c)
{
    static const char *const keys[] = {"\"name\"", "\"parameters\"", "\"arguments\"",
                                       "\"type\"", "\"function\"",   "\"id\""};
    bool waits = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        read_result found = call_take(c, keys[i]);
        if (found == READ_YES) return found;
        waits = waits || found == READ_MORE;
    }
    return waits ? READ_MORE : READ_NO;
}

static read_result begin_value(call_cursor *c)
{
    call_skip_space(c);
    if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
    if (c->text[c->at] != '{' && c->text[c->at] != '[') return READ_NO;
    c->value_at = c->at;
    c->phase = !c->shape->only_known ? VALUE : c->text[c->at] == '[' ? FIRST_ELEMENT : FIRST_KEY;
    if (c->phase != VALUE) c->at++;
    return READ_YES;
}

static read_result step_first_element(call_cursor *c)
{
    call_skip_space(c);
    read_result result = call_take(c, "{");
    if (result == READ_YES) c->phase = FIRST_KEY;
    return result;
}

/* Behind a call of a block: its end, or the next call. */
static read_result step_between(call_cursor *c)
{
    call_skip_space(c);
    read_result result = call_take(c, c->shape->section_close);
    if (result == READ_MORE) return result;
    bool is_next = result == READ_NO && c->at < c->count && c->text[c->at] == '{';
    c->phase = is_next ? BEGIN : END;
    return READ_YES;
}

static read_result step(call_cursor *c)
{
    read_result result;
    switch (c->phase) {
    case BEGIN: return begin_value(c);
    case BETWEEN: return step_between(c);
    case FIRST_ELEMENT: return step_first_element(c);
    case FIRST_KEY:
        call_skip_space(c);
        c->phase = IN_KEY;
        return READ_YES;
    case IN_KEY:
        call_skip_space(c);
        if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
        result = check_first_key(c);
        if (result != READ_YES) return result;
        c->at = c->value_at;
        c->phase = VALUE;
        return READ_YES;
    case VALUE:
        result = call_scan_json(c);
        if (result == READ_YES) {
            c->value_end = c->at;
            c->phase = CLOSE;
        }
        return result;
    default:
        if (c->shape->call_close) {
            call_skip_space(c);
            result = call_take(c, c->shape->call_close);
            if (result != READ_YES) return result;
        }
        c->phase = DELIVER;
        return READ_YES;
    }
}

leat_status read_json_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    bool is_good = true;
    *out_step = CALL_END;
    if (c->phase == END) return LEAT_OK;
    if (c->phase == DELIVER) return deliver(c, out_step, error);
    while (c->phase < DELIVER) {
        read_result result = step(c);
        *out_step = result == READ_MORE ? CALL_MORE : CALL_BAD;
        if (result != READ_YES) return LEAT_OK;
    }
    *out_step = CALL_END;
    if (c->phase == END) return LEAT_OK;
    TRY(check_all(c, &is_good, error));
    if (is_good) return deliver(c, out_step, error);
    *out_step = CALL_BAD;
    return LEAT_OK;
}

/* Behind <tool_call>: models of one family have been seen to write the other's form. */
leat_status read_tag_or_json(call_cursor *c, call_step *out_step, leat_error *error)
{
    call_skip_space(c);
    *out_step = c->at_end ? CALL_BAD : CALL_MORE;
    if (c->at == c->count) return LEAT_OK;
    bool is_json = c->text[c->at] == '{' || c->text[c->at] == '[';
    c->reader = is_json ? read_json_calls : read_tagged_calls;
    c->shape = is_json ? &call_shape_json : &call_shape_function;
    return c->reader(c, out_step, error);
}

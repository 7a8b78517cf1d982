/*
 * calls_elements.c - calls whose arguments are elements named after them: a value is text, or further elements, one for
 * each member of an object or (named `item`) of a list.
 *
 * Every tag begins with a mark that no text has, so a call is looked at when its closing tag is there: once for that,
 * and once for what is inside. The schema says which text is a number and which elements are a list; where it is
 * silent, text that is a number, true or false in JSON is that value.
 */
#include "text/answer/call_reader.h"

enum { BETWEEN, NAME, BODY, END };
enum { NAME_BYTES_MAX = 256 };

/* What is inside of a call. */
typedef struct walk {
    call_cursor *c;
    uint64_t at, end;
    uint32_t depth;
    bool is_bad;
    leat_error *error;
} walk;

static leat_status fail(walk *w)
{
    w->is_bad = true;
    return LEAT_OK;
}

static leat_status put(walk *w, const char *text)
{
    return text_buffer_append(&w->c->arguments, text, strlen(text), w->error);
}

static leat_status put_key(walk *w, json_span name)
{
    TRY(json_span_quote(name.text, name.count, &w->c->arguments, w->error));
    return put(w, ": ");
}

static void skip_space(walk *w)
{
    while (w->at < w->end && json_is_space(w->c->text[w->at])) w->at++;
}

static bool is_next(const walk *w, uint64_t at, const char *bytes, uint64_t count)
{
    return w->end - at >= count && memcmp(w->c->text + at, bytes, count) == 0;
}

/* ---- tags ----------------------------------------------------------------------------------------------------- */

static bool take_open(walk *w, json_span *out_name)
{
    const call_shape *shape = w->c->shape;
    const char *text = w->c->text;
    uint64_t begin = w->at + strlen(shape->key_open), at = begin;
    if (!is_next(w, w->at, shape->key_open, begin - w->at)) return false;
    while (at < w->end && at - begin < NAME_BYTES_MAX && !memchr("<>/\n", text[at], 4)) at++;
    if (at == begin || at == w->end || text[at] != '>') return false;
    *out_name = (json_span){text + begin, at - begin};
    w->at = at + 1;
    return true;
}

/* Whether the closing tag of an element stands at `at`; its end is after. */
static bool is_close(const walk *w, uint64_t at, json_span name, uint64_t *after)
{
    uint64_t head = strlen(w->c->shape->value_close);
    if (!is_next(w, at, w->c->shape->value_close, head) || !is_next(w, at + head, name.text, name.count)) return false;
    *after = at + head + name.count + 1;
    return is_next(w, *after - 1, ">", 1);
}

/* The text up to the closing tag, which is passed. */
static bool take_text(walk *w, json_span name, json_span *out)
{
    const char *text = w->c->text;
    for (uint64_t at = w->at, after; at < w->end; at++) {
        const char *found = memchr(text + at, w->c->shape->value_close[0], w->end - at);
        if (!found) return false;
        at = (uint64_t)(found - text);
        if (!is_close(w, at, name, &after)) continue;
        *out = (json_span){text + w->at, at - w->at};
        w->at = after;
        return true;
    }
    return false;
}

/* ---- values --------------------------------------------------------------------------------------------------- */

static leat_status write_text(walk *w, json_span text, unsigned types)
{
    text_buffer *out = &w->c->arguments;
    json_span value = json_span_trim(text.text, text.count);
    bool is_empty = value.count == 0 && types & TOOL_STRUCTURE && !(types & TOOL_STRING);
    if (is_empty) return put(w, types & TOOL_OBJECT ? "{}" : "[]");
    if (types != 0) return tool_value_write(text, types, out, w->error);
    bool is_plain = value.count > 0 && !memchr("\"{[n", value.text[0], 4);
    if (is_plain && json_span_is_value(value.text, value.count)) return json_span_copy(value, out, w->error);
    return json_span_quote(text.text, text.count, out, w->error);
}

static leat_status write_value(walk *w, json_span name, const tool_parameter *place);

/* The elements of `name`, whose first opening tag, that of `child`, has been passed. */
static leat_status write_children(walk *w, json_span name, json_span child, const tool_parameter *place)
{
    unsigned types = place ? place->types & TOOL_STRUCTURE : 0;
    bool is_item = child.count == 4 && memcmp(child.text, "item", 4) == 0;
    bool is_list = types == TOOL_ARRAY || (types != TOOL_OBJECT && is_item);
    const tool_types *schema = w->c->types;
    if (++w->depth > JSON_SPAN_DEPTH_MAX) return fail(w);
    TRY(put(w, is_list ? "[" : "{"));
    for (bool again = true; again;) {
        if (!is_list) TRY(put_key(w, child));
        TRY(write_value(w, child,
                        is_list ? tool_types_item(schema, place)
                                : tool_types_property(schema, place, child.text, child.count)));
        skip_space(w);
        again = !w->is_bad && take_open(w, &child);
        if (again) TRY(put(w, ", "));
    }
    if (!is_close(w, w->at, name, &w->at)) return fail(w);
    w->depth--;
    return put(w, is_list ? "]" : "}");
}

static leat_status write_value(walk *w, json_span name, const tool_parameter *place)
{
    unsigned types = place ? place->types : 0;
    uint64_t begin = w->at;
    json_span child, text;
    skip_space(w);
    if ((types == 0 || types & TOOL_STRUCTURE) && take_open(w, &child)) return write_children(w, name, child, place);
    w->at = begin;
    return take_text(w, name, &text) ? write_text(w, text, types) : fail(w);
}

static leat_status write_arguments(call_cursor *c, bool *out_is_good, leat_error *error)
{
    walk w = {.c = c, .at = c->mark, .end = c->value_end, .depth = 1, .error = error};
    json_span name;
    TRY(put(&w, "{"));
    skip_space(&w);
    for (bool is_first = true; !w.is_bad && take_open(&w, &name); is_first = false) {
        if (!is_first) TRY(put(&w, ", "));
        TRY(put_key(&w, name));
        TRY(write_value(&w, name, tool_types_parameter(c->types, c->tool, name.text, name.count)));
        skip_space(&w);
    }
    TRY(put(&w, "}"));
    *out_is_good = !w.is_bad && w.at == w.end && call_has_good_arguments(c);
    return LEAT_OK;
}

/* ---- the reader ----------------------------------------------------------------------------------------------- */

static read_result step_between(call_cursor *c)
{
    bool is_call;
    read_result result = call_take_next(c, &is_call);
    if (result == READ_YES) c->phase = is_call ? NAME : END;
    return result;
}

static leat_status step_name(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good;
    *out = call_find(c, c->shape->name_close, NAME_BYTES_MAX);
    if (*out != READ_YES) return LEAT_OK;
    TRY(call_set_name(c, call_span(c, c->mark, c->value_end), &is_good, error));
    if (!is_good) *out = READ_NO;
    c->mark = c->at;
    c->phase = BODY;
    return LEAT_OK;
}

static leat_status step_body(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_good;
    *out = call_find(c, c->shape->call_close, 0);
    if (*out != READ_YES) return LEAT_OK;
    TRY(write_arguments(c, &is_good, error));
    if (!is_good) *out = READ_NO;
    if (is_good) *out_step = CALL_READY;
    c->phase = BETWEEN;
    c->call_count++;
    return LEAT_OK;
}

static leat_status step(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    switch (c->phase) {
    case BETWEEN: *out = step_between(c); return LEAT_OK;
    case NAME: return step_name(c, out, error);
    default: return step_body(c, out, out_step, error);
    }
}

leat_status read_element_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    return call_run(c, step, END, out_step, error);
}

/*
 * harmony.c - messages of gpt-oss: a header up to <|message|> says by its channel whether reasoning or text follows, or
 * by its recipient that a call's arguments do. The recipient stands before or behind the channel. Families without
 * channels send their thoughts to a recipient of its own, and calls in their body say which tool they are for.
 */
#include "text/answer/call_reader.h"

enum { HEADER, BEGIN_BODY, BODY, CLOSE, END };
enum { HEADER_BYTES_MAX = 256 };

/* The word behind the last `mark` in the header: models correct themselves. */
static json_span word_behind(json_span header, const char *mark)
{
    size_t length = strlen(mark);
    if (header.count < length) return (json_span){0};
    for (uint64_t at = header.count - length + 1; at-- > 0;) {
        if (memcmp(header.text + at, mark, length) != 0) continue;
        uint64_t end = at + length;
        while (end < header.count && !strchr(" <\n\t", header.text[end])) end++;
        return (json_span){header.text + at + length, end - at - length};
    }
    return (json_span){0};
}

static bool span_is(json_span span, const char *text)
{
    return span.count == strlen(text) && memcmp(span.text, text, span.count) == 0;
}

static json_span without_namespace(json_span recipient)
{
    static const char prefix[] = "functions.";
    if (recipient.count <= sizeof prefix - 1 || memcmp(recipient.text, prefix, sizeof prefix - 1) != 0)
        return recipient;
    return (json_span){recipient.text + sizeof prefix - 1, recipient.count - (sizeof prefix - 1)};
}

static bool is_tool(json_span recipient)
{
    return recipient.count > 0 && !span_is(recipient, "assistant") && !span_is(recipient, "user") &&
           !span_is(recipient, "all");
}

static leat_status step_header(call_cursor *c, call_step *out_step, leat_error *error)
{
    bool is_good = true;
    read_result result = call_find(c, "<|message|>", HEADER_BYTES_MAX);
    *out_step = result == READ_MORE ? CALL_MORE : CALL_BAD;
    if (result != READ_YES) return LEAT_OK;
    json_span header = {c->text, c->value_end};
    json_span channel = word_behind(header, "<|channel|>"), recipient = word_behind(header, " to=");
    const char *thought_to = c->shape ? c->shape->thought_to : NULL;
    bool is_thought = thought_to ? span_is(recipient, thought_to) : span_is(channel, "analysis");
    *out_step = is_thought ? CALL_IS_REASONING : CALL_IS_TEXT;
    if (thought_to || !is_tool(recipient)) return LEAT_OK;
    *out_step = c->has_tools ? CALL_MORE : CALL_BAD;
    if (!c->has_tools) return LEAT_OK;
    c->phase = BEGIN_BODY;
    TRY(call_set_name(c, without_namespace(recipient), &is_good, error));
    if (!is_good) *out_step = CALL_BAD;
    return LEAT_OK;
}

static read_result begin_body(call_cursor *c)
{
    read_result result = call_find_object(c);
    if (result == READ_YES) c->phase = BODY;
    return result;
}

/* The token that ends a call ends the answer too, and may not be shown. */
static read_result step_close(call_cursor *c)
{
    bool is_call;
    call_skip_space(c);
    if (c->at == c->count && c->at_end) return READ_YES;
    read_result result = call_take_either(c, "<|call|>", "<|end|>", &is_call);
    if (result == READ_YES) return result;
    read_result returned = call_take(c, "<|return|>");
    return returned == READ_NO ? result : returned;
}

static leat_status step_body(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    switch (c->phase) {
    case BEGIN_BODY: *out = begin_body(c); return LEAT_OK;
    case BODY:
        TRY(call_take_arguments(c, out, error));
        if (*out == READ_YES) c->phase = CLOSE;
        return LEAT_OK;
    default:
        *out = step_close(c);
        if (*out != READ_YES) return LEAT_OK;
        c->phase = END;
        *out_step = CALL_READY;
        return LEAT_OK;
    }
}

leat_status read_harmony(call_cursor *c, call_step *out_step, leat_error *error)
{
    *out_step = c->phase == END ? CALL_END : CALL_MORE;
    if (c->phase == HEADER) TRY(step_header(c, out_step, error));
    while (c->phase != HEADER && *out_step == CALL_MORE) {
        read_result result = READ_YES;
        TRY(step_body(c, &result, out_step, error));
        if (result == READ_MORE) return LEAT_OK;
        if (result == READ_NO) *out_step = CALL_BAD;
    }
    return LEAT_OK;
}

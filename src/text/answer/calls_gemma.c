/*
 * calls_gemma.c - call:NAME{key:VALUE,...} of Gemma 4. Strings stand between <|"|> and have no escapes; keys are bare;
 * words are true, false, null or None; anything else that is no number is taken as a string.
 *
 * The end is found first, by counting brackets outside of strings; then the whole is rewritten as JSON.
 */
#include "text/answer/call_reader.h"

enum { BEGIN, NAME, BODY, CLOSE, END };

static const char quote_mark[] = "<|\"|>";
enum { QUOTE_BYTES = sizeof quote_mark - 1 };

/* ---- rewriting ------------------------------------------------------------------------------------------------ */

typedef struct rewrite {
    const char *text;
    uint64_t at, end;
    text_buffer *out;
} rewrite;

static bool is_quote(const rewrite *r)
{
    return r->end - r->at >= QUOTE_BYTES && memcmp(r->text + r->at, quote_mark, QUOTE_BYTES) == 0;
}

static void skip_space(rewrite *r)
{
    while (r->at < r->end && strchr(" \t\r\n", r->text[r->at]) && r->text[r->at]) r->at++;
}

static leat_status rewrite_marked(rewrite *r, leat_error *error)
{
    uint64_t begin = r->at += QUOTE_BYTES;
    while (r->at < r->end && !is_quote(r)) r->at++;
    TRY(json_span_quote(r->text + begin, r->at - begin, r->out, error));
    if (r->at < r->end) r->at += QUOTE_BYTES;
    return LEAT_OK;
}

/* A string as JSON writes it: models fall into it now and then. */
static leat_status rewrite_quoted(rewrite *r, leat_error *error)
{
    uint64_t begin = r->at++;
    while (r->at < r->end && r->text[r->at] != '"') r->at += r->text[r->at] == '\\' ? 2 : 1;
    r->at = r->at < r->end ? r->at + 1 : r->end;
    json_span string = {r->text + begin, r->at - begin};
    if (json_span_is_value(string.text, string.count)) return json_span_copy(string, r->out, error);
    return json_span_quote(string.text, string.count, r->out, error);
}

static json_span bare_text(rewrite *r, const char *stops)
{
    uint64_t begin = r->at;
    while (r->at < r->end && !strchr(stops, r->text[r->at])) r->at++;
    return json_span_trim(r->text + begin, r->at - begin);
}

static leat_status rewrite_bare(rewrite *r, leat_error *error)
{
    return tool_value_write(bare_text(r, ",]}"), 0, r->out, error);
}

static leat_status rewrite_key(rewrite *r, leat_error *error)
{
    skip_space(r);
    if (is_quote(r)) return rewrite_marked(r, error);
    if (r->at < r->end && r->text[r->at] == '"') return rewrite_quoted(r, error);
    json_span key = bare_text(r, ":,]}");
    return json_span_quote(key.text, key.count, r->out, error);
}

static leat_status rewrite_value(rewrite *r, uint32_t depth, bool *out_is_good, leat_error *error);

static leat_status rewrite_member(rewrite *r, bool has_key, uint32_t depth, bool *out_is_good, leat_error *error)
{
    if (has_key) {
        TRY(rewrite_key(r, error));
        skip_space(r);
        *out_is_good = r->at < r->end && r->text[r->at++] == ':';
        if (!*out_is_good) return LEAT_OK;
        TRY(text_buffer_append(r->out, ": ", 2, error));
    }
    return rewrite_value(r, depth, out_is_good, error);
}

static leat_status rewrite_container(rewrite *r, uint32_t depth, bool *out_is_good, leat_error *error)
{
    char open = r->text[r->at++], close = open == '{' ? '}' : ']';
    bool is_first = true;
    *out_is_good = depth < JSON_SPAN_DEPTH_MAX;
    TRY(text_buffer_append(r->out, &open, 1, error));
    for (; *out_is_good; is_first = false) {
        skip_space(r);
        if (is_first && r->at < r->end && r->text[r->at] == close) break;
        TRY(rewrite_member(r, open == '{', depth + 1, out_is_good, error));
        if (!*out_is_good) return LEAT_OK;
        skip_space(r);
        if (r->at < r->end && r->text[r->at] == close) break;
        *out_is_good = r->at < r->end && r->text[r->at++] == ',';
        if (*out_is_good) TRY(text_buffer_append(r->out, ", ", 2, error));
    }
    r->at++;
    return text_buffer_append(r->out, &close, 1, error);
}

static leat_status rewrite_value(rewrite *r, uint32_t depth, bool *out_is_good, leat_error *error)
{
    skip_space(r);
    *out_is_good = r->at < r->end;
    if (!*out_is_good) return LEAT_OK;
    char c = r->text[r->at];
    if (is_quote(r)) return rewrite_marked(r, error);
    if (c == '"') return rewrite_quoted(r, error);
    if (c == '{' || c == '[') return rewrite_container(r, depth, out_is_good, error);
    *out_is_good = c != ',' && c != ']' && c != '}';
    return *out_is_good ? rewrite_bare(r, error) : LEAT_OK;
}

/* ---- finding the end ------------------------------------------------------------------------------------------ */

static read_result step_byte(call_cursor *c)
{
    char byte = c->text[c->at];
    if (byte == '<') {
        read_result result = call_take(c, quote_mark);
        if (result == READ_MORE) return result;
        if (result == READ_YES) {
            c->in_quotes = !c->in_quotes;
            return READ_YES;
        }
    }
    c->at++;
    if (c->in_quotes) return READ_YES;
    if (byte == '{' || byte == '[') return ++c->depth <= JSON_SPAN_DEPTH_MAX ? READ_YES : READ_NO;
    if ((byte == '}' || byte == ']') && --c->depth == 0) c->phase = CLOSE;
    return READ_YES;
}

static read_result step_body(call_cursor *c)
{
    read_result result = READ_YES;
    if (c->depth == 0 && c->at < c->count && c->text[c->at] != '{') return READ_NO;
    while (result == READ_YES && c->phase == BODY) {
        if (c->at == c->count) return c->at_end ? READ_NO : READ_MORE;
        result = step_byte(c);
    }
    c->value_end = c->at;
    return result;
}

static leat_status step_name(call_cursor *c, read_result *out, leat_error *error)
{
    bool is_good;
    *out = call_take_name(c);
    if (*out != READ_YES) return LEAT_OK;
    TRY(call_set_name(c, call_span(c, c->mark, c->at), &is_good, error));
    c->value_at = c->at;
    c->phase = BODY;
    return LEAT_OK;
}

static leat_status step_close(call_cursor *c, read_result *out, call_step *out_step, leat_error *error)
{
    bool is_good = false;
    call_skip_space(c);
    *out = call_take(c, c->shape->call_close);
    if (*out != READ_YES) return LEAT_OK;
    rewrite r = {c->text, c->value_at, c->value_end, &c->arguments};
    TRY(rewrite_value(&r, 0, &is_good, error));
    if (!is_good || r.at != r.end) *out = READ_NO;
    c->phase = END;
    *out_step = CALL_READY;
    return LEAT_OK;
}

leat_status read_gemma_calls(call_cursor *c, call_step *out_step, leat_error *error)
{
    *out_step = CALL_MORE;
    while (c->phase != END && *out_step == CALL_MORE) {
        read_result result = READ_YES;
        switch (c->phase) {
        case BEGIN:
            call_skip_space(c);
            result = call_take(c, "call:");
            c->mark = c->at;
            if (result == READ_YES) c->phase = NAME;
            break;
        case NAME: TRY(step_name(c, &result, error)); break;
        case BODY: result = step_body(c); break;
        default: TRY(step_close(c, &result, out_step, error)); break;
        }
        if (result == READ_MORE) {
            *out_step = CALL_MORE;
            return LEAT_OK;
        }
        if (result == READ_NO) {
            *out_step = CALL_BAD;
            return LEAT_OK;
        }
    }
    if (*out_step == CALL_MORE) *out_step = CALL_END;
    return LEAT_OK;
}

/*
 * chat_input.c - the request is walked with the pull parser, and values are copied as they were written: no tree.
 */
#include "text/chat_input.h"

#include "base/arena.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/unicode_class.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* transformers' mark; a template that trims the text loses the space at its end. */
static const char final_mark[] = "CONTINUE_FINAL_MESSAGE_TAG ";

typedef struct value_span {
    json_kind kind;
    text_slice text; /* as written */
} value_span;

static json_limits request_limits(void)
{
    json_limits limits = json_limits_default;
    limits.depth_max = JSON_DEPTH_MAX;
    limits.string_bytes_max = CHAT_INPUT_BYTES_MAX;
    limits.allow_nonfinite = true;
    return limits;
}

static leat_status open_json(mem *ledger, const char *name, text_slice text, json **out_parser, leat_error *error)
{
    json_limits limits = request_limits();
    return json_open(ledger, MEM_TOKENIZER, name, text.bytes, text.count, &limits, out_parser, error);
}

/* The rest of a value whose first token was read. */
static leat_status span_rest(json *parser, text_slice document, const json_token *first, value_span *out,
                             leat_error *error)
{
    json_token begin = *first;
    TRY(json_skip_rest(parser, first, error));
    *out = (value_span){begin.kind, {document.bytes + begin.offset, json_position(parser) - begin.offset}};
    return LEAT_OK;
}

static leat_status read_span(json *parser, text_slice document, value_span *out, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    return span_rest(parser, document, &token, out, error);
}

static leat_status append_slice(text_buffer *out, text_slice text, leat_error *error)
{
    return text_buffer_append(out, text.bytes, text.count, error);
}

/* What is wrong with a request is its author's business, not a file's. */
static leat_status as_usage(leat_status status, leat_error *error)
{
    if (status != LEAT_MODEL) return status;
    if (error != NULL) error->status = LEAT_USAGE;
    return LEAT_USAGE;
}

/* ---- members of the request ---- */

static leat_status check_kind(const value_span *value, json_kind wanted, const char *name, leat_error *error)
{
    if (value->kind == wanted) return LEAT_OK;
    return FAIL(error, USAGE, "\"%s\" is not %s", name,
                wanted == JSON_ARRAY_BEGIN    ? "a list"
                : wanted == JSON_OBJECT_BEGIN ? "an object"
                                              : "a text");
}

static leat_status read_now(const json_token *token, chat_input *r, leat_error *error)
{
    struct tm t = {0};
    char text[32] = "";
    int used = 0;
    if (token->text_bytes < sizeof text) memcpy(text, token->text, token->text_bytes);
    int count = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min,
                       &t.tm_sec, &used);
    bool fits = count == 6 && (size_t)used == token->text_bytes && t.tm_mon >= 1 && t.tm_mon <= 12 && t.tm_mday >= 1 &&
                t.tm_mday <= 31 && t.tm_hour < 24 && t.tm_min < 60 && t.tm_sec < 61;
    if (!fits) return FAIL(error, USAGE, "\"now\" is not a time such as 2026-03-04T05:06:07");
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    r->now_s = timegm(&t);
    r->has_now = true;
    return LEAT_OK;
}

static leat_status read_flag(json *parser, const char *name, bool *out, leat_error *error)
{
    json_token token;
    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_TRUE && token.kind != JSON_FALSE && token.kind != JSON_NULL)
        return FAIL(error, USAGE, "\"%s\" is neither true nor false", name);
    *out = token.kind == JSON_TRUE;
    return LEAT_OK;
}

typedef struct request_reader {
    json *parser;
    text_slice document;
    chat_input *r;
    bool has_prompt_flag;
    text_slice chat; /* a request inside of the document */
} request_reader;

static leat_status read_part(request_reader *q, const char *name, json_kind wanted, text_slice *out, leat_error *error)
{
    value_span value;
    TRY(read_span(q->parser, q->document, &value, error));
    if (value.kind == JSON_NULL) return LEAT_OK;
    TRY(check_kind(&value, wanted, name, error));
    *out = value.text;
    return LEAT_OK;
}

static leat_status read_member(request_reader *q, const json_token *key, leat_error *error)
{
    chat_input *r = q->r;
    const struct {
        const char *name;
        json_kind kind;
        text_slice *out;
    } parts[] = {
        {"messages", JSON_ARRAY_BEGIN, &r->given_messages},
        {"tools", JSON_ARRAY_BEGIN, &r->tools},
        {"documents", JSON_ARRAY_BEGIN, &r->documents},
        {"kwargs", JSON_OBJECT_BEGIN, &r->kwargs},
        {"context", JSON_OBJECT_BEGIN, &r->context},
        {"special_tokens", JSON_OBJECT_BEGIN, &r->special_tokens},
        {"chat", JSON_OBJECT_BEGIN, &q->chat},
    };
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (json_text_is(key, parts[i].name)) return read_part(q, parts[i].name, parts[i].kind, parts[i].out, error);
    if (json_text_is(key, "continue_final_message"))
        return read_flag(q->parser, "continue_final_message", &r->continues, error);
    if (json_text_is(key, "add_generation_prompt")) {
        q->has_prompt_flag = true;
        return read_flag(q->parser, "add_generation_prompt", &r->add_generation_prompt, error);
    }
    if (!json_text_is(key, "now")) return json_skip(q->parser, error);
    json_token value;
    TRY(json_next(q->parser, &value, error));
    if (value.kind == JSON_NULL) return LEAT_OK;
    if (value.kind != JSON_STRING) return FAIL(error, USAGE, "\"now\" is not a text");
    return read_now(&value, r, error);
}

static leat_status read_members(request_reader *q, leat_error *error)
{
    json_token token;
    TRY(json_next(q->parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(q->parser, token.offset, error, "expected an object");
    for (;;) {
        TRY(json_next(q->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_member(q, &token, error));
    }
    return json_next(q->parser, &token, error); /* the end, or an error about what follows */
}

/* ---- messages ---- */

/* What a message holds that the others of its members depend on. */
typedef struct message_facts {
    value_span reasoning; /* the first that is not null of reasoning_content, thinking, reasoning */
    value_span thinking, content;
    bool has_reasoning, has_thinking, has_reasoning_content, has_content;
} message_facts;

static void note_member(message_facts *facts, const json_token *key, const value_span *value, int *best)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    if (value->kind == JSON_NULL) return;
    if (json_text_is(key, "content")) {
        facts->content = *value;
        facts->has_content = true;
    }
    for (int i = 0; i < 3; i++) {
        if (!json_text_is(key, names[i])) continue;
        if (i == 0) facts->has_reasoning_content = true;
        if (i == 1) {
            facts->has_thinking = true;
            facts->thinking = *value;
        }
        if (!facts->has_reasoning || i < *best) {
            facts->reasoning = *value;
            *best = i;
        }
        facts->has_reasoning = true;
    }
}

typedef struct member_walk {
    json *parser;
    text_slice message;
    json_token key;
    text_slice written_key; /* with its quotes */
    value_span value;
    bool is_over;
} member_walk;

static leat_status next_member(member_walk *w, leat_error *error)
{
    TRY(json_next(w->parser, &w->key, error));
    w->is_over = w->key.kind == JSON_OBJECT_END;
    if (w->is_over) return LEAT_OK;
    w->written_key = (text_slice){w->message.bytes + w->key.offset, json_position(w->parser) - w->key.offset};
    while (w->written_key.bytes[w->written_key.count - 1] != '"') w->written_key.count--; /* the colon */
    return LEAT_OK;
}

static leat_status learn_facts(mem *ledger, text_slice message, message_facts *facts, leat_error *error)
{
    member_walk w = {.message = message};
    leat_status status = LEAT_OK;
    int best = 0;
    TRY(open_json(ledger, "message", message, &w.parser, error));
    TRY_OR(out, json_next(w.parser, &w.key, error));
    for (;;) {
        TRY_OR(out, next_member(&w, error));
        if (w.is_over) break;
        /* The key's text may lie in the parser's scratch, which the value takes over. */
        bool matters = json_text_is(&w.key, "content") || json_text_is(&w.key, "reasoning_content") ||
                       json_text_is(&w.key, "thinking") || json_text_is(&w.key, "reasoning");
        char name[20] = "";
        if (matters) memcpy(name, w.key.text, w.key.text_bytes);
        TRY_OR(out, read_span(w.parser, message, &w.value, error));
        json_token key = {.kind = JSON_KEY, .text = name, .text_bytes = strlen(name)};
        if (matters) note_member(facts, &key, &w.value, &best);
    }
out:
    json_close(&w.parser);
    return status;
}

static leat_status append_text(text_buffer *out, const char *text, leat_error *error)
{
    return text_buffer_append(out, text, strlen(text), error);
}

/* A string with the mark before its closing quote. */
static leat_status append_marked(text_buffer *out, text_slice string, leat_error *error)
{
    TRY(text_buffer_append(out, string.bytes, string.count - 1, error));
    TRY(append_text(out, final_mark, error));
    return append_text(out, "\"", error);
}

/* The last part that has a text: its written form. */
static leat_status find_last_text(mem *ledger, text_slice parts, text_slice *out_text, leat_error *error)
{
    json *parser = NULL;
    json_token token;
    leat_status status = LEAT_OK;
    *out_text = (text_slice){0};
    TRY(open_json(ledger, "content", parts, &parser, error));
    TRY_OR(out, json_next(parser, &token, error)); /* [ */
    for (;;) {
        TRY_OR(out, json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_OBJECT_BEGIN) {
            TRY_OR(out, json_skip_rest(parser, &token, error));
            continue;
        }
        for (;;) {
            value_span value;
            TRY_OR(out, json_next(parser, &token, error));
            if (token.kind == JSON_OBJECT_END) break;
            bool is_text = json_text_is(&token, "text");
            TRY_OR(out, read_span(parser, parts, &value, error));
            if (is_text && value.kind == JSON_STRING) *out_text = value.text;
        }
    }
out:
    json_close(&parser);
    return status;
}

static leat_status decode_final_text(chat_input *r, text_slice string, leat_error *error)
{
    json *parser = NULL;
    json_token token;
    TRY(open_json(r->ledger, "content", string, &parser, error));
    leat_status status = json_next(parser, &token, error);
    if (status == LEAT_OK) status = text_buffer_append(&r->final_text, token.text, token.text_bytes, error);
    json_close(&parser);
    return status;
}

/* The content of the message that is to be continued. */
static leat_status append_final_content(chat_input *r, const value_span *content, leat_error *error)
{
    text_slice text = content->text;
    if (content->kind != JSON_STRING && content->kind != JSON_ARRAY_BEGIN)
        return FAIL(error, USAGE,
                    "continue_final_message: the content of the final message is neither a text nor parts");
    if (content->kind == JSON_ARRAY_BEGIN) {
        TRY(find_last_text(r->ledger, content->text, &text, error));
        if (text.bytes == NULL)
            return FAIL(error, USAGE, "continue_final_message: the final message has no text to be continued");
    }
    TRY(decode_final_text(r, text, error));
    const char *end = text.bytes + text.count, *content_end = content->text.bytes + content->text.count;
    TRY(text_buffer_append(&r->messages, content->text.bytes, (uint64_t)(text.bytes - content->text.bytes), error));
    TRY(append_marked(&r->messages, text, error));
    return text_buffer_append(&r->messages, end, (uint64_t)(content_end - end), error);
}

static leat_status append_key(chat_input *r, uint64_t first, text_slice written_key, leat_error *error)
{
    if (r->messages.count > first) TRY(append_text(&r->messages, ", ", error));
    TRY(append_slice(&r->messages, written_key, error));
    return append_text(&r->messages, ": ", error);
}

static leat_status append_named(chat_input *r, uint64_t first, const char *name, text_slice value, leat_error *error)
{
    TRY(append_key(r, first, (text_slice){name, strlen(name)}, error));
    return append_slice(&r->messages, value, error);
}

/* Members in their order; a reasoning text also as `thinking` in front and as `reasoning_content`. */
static leat_status append_members(chat_input *r, text_slice message, const message_facts *facts, bool is_final,
                                  json *parser, leat_error *error)
{
    member_walk w = {.message = message, .parser = parser};
    const uint64_t first = r->messages.count;
    TRY(json_next(parser, &w.key, error));
    if (facts->has_reasoning)
        TRY(append_named(r, first, "\"thinking\"", facts->has_thinking ? facts->thinking.text : facts->reasoning.text,
                         error));
    for (;;) {
        TRY(next_member(&w, error));
        if (w.is_over) break;
        bool is_content = json_text_is(&w.key, "content"), is_thinking = json_text_is(&w.key, "thinking");
        bool is_reasoning = json_text_is(&w.key, "reasoning_content");
        TRY(read_span(parser, message, &w.value, error));
        if (w.value.kind == JSON_NULL || (is_thinking && facts->has_reasoning)) continue;
        TRY(append_key(r, first, w.written_key, error));
        if (is_content && is_final)
            TRY(append_final_content(r, &w.value, error));
        else
            TRY(append_slice(&r->messages, is_reasoning ? facts->reasoning.text : w.value.text, error));
    }
    if (facts->has_reasoning && !facts->has_reasoning_content)
        TRY(append_named(r, first, "\"reasoning_content\"", facts->reasoning.text, error));
    return LEAT_OK;
}

static leat_status append_message(chat_input *r, text_slice message, bool is_final, leat_error *error)
{
    message_facts facts = {0};
    json *parser = NULL;
    TRY(learn_facts(r->ledger, message, &facts, error));
    if (is_final && !facts.has_content)
        return FAIL(error, USAGE, "continue_final_message: the final message has no content to be continued");
    TRY(append_text(&r->messages, r->messages.count > 1 ? ", {" : "{", error));
    TRY(open_json(r->ledger, "message", message, &parser, error));
    leat_status status = append_members(r, message, &facts, is_final, parser, error);
    json_close(&parser);
    TRY(status);
    return append_text(&r->messages, "}", error);
}

/* Each message is written when the next has been seen: the last one may be another. */
static leat_status append_messages(chat_input *r, json *parser, leat_error *error)
{
    text_slice waiting = {0};
    json_token token;
    uint32_t count = 0;
    TRY(json_next(parser, &token, error)); /* [ */
    for (;; count++) {
        value_span message;
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_OBJECT_BEGIN) return FAIL(error, USAGE, "message %u is not an object", count);
        TRY(span_rest(parser, r->given_messages, &token, &message, error));
        if (waiting.bytes != NULL) TRY(append_message(r, waiting, false, error));
        waiting = message.text;
    }
    if (count == 0) return FAIL(error, USAGE, "the conversation has no message");
    return append_message(r, waiting, r->continues, error);
}

static leat_status prepare_messages(chat_input *r, leat_error *error)
{
    json *parser = NULL;
    if (r->given_messages.bytes == NULL) return FAIL(error, USAGE, "the request has no \"messages\"");
    TRY(append_text(&r->messages, "[", error));
    TRY(open_json(r->ledger, "messages", r->given_messages, &parser, error));
    leat_status status = append_messages(r, parser, error);
    json_close(&parser);
    TRY(status);
    return append_text(&r->messages, "]", error);
}

/* Tools and documents are lists of objects. */
static leat_status check_objects(mem *ledger, const char *name, text_slice list, leat_error *error)
{
    json *parser = NULL;
    json_token token;
    leat_status status = LEAT_OK;
    if (list.bytes == NULL) return LEAT_OK;
    TRY(open_json(ledger, name, list, &parser, error));
    TRY_OR(out, json_next(parser, &token, error));
    for (;;) {
        TRY_OR(out, json_next(parser, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_OBJECT_BEGIN) {
            status = FAIL(error, USAGE, "\"%s\" holds something that is no object", name);
            goto out;
        }
        TRY_OR(out, json_skip_rest(parser, &token, error));
    }
out:
    json_close(&parser);
    return status;
}

static leat_status prepare(request_reader *q, leat_error *error)
{
    chat_input *r = q->r;
    if (r->continues && q->has_prompt_flag && r->add_generation_prompt)
        return FAIL(error, USAGE, "continue_final_message and add_generation_prompt exclude each other");
    if (!q->has_prompt_flag) r->add_generation_prompt = !r->continues;
    TRY(check_objects(r->ledger, "tools", r->tools, error));
    TRY(check_objects(r->ledger, "documents", r->documents, error));
    return prepare_messages(r, error);
}

static leat_status read_document(chat_input *r, text_slice document, request_reader *q, leat_error *error)
{
    *q = (request_reader){.document = document, .r = r};
    TRY(open_json(r->ledger, "request", document, &q->parser, error));
    leat_status status = read_members(q, error);
    json_close(&q->parser);
    return status;
}

static leat_status begin_request(mem *ledger, uint64_t bytes, chat_input *r, leat_error *error)
{
    *r = (chat_input){.ledger = ledger, .bytes = bytes};
    text_buffer_init(&r->messages, ledger);
    text_buffer_init(&r->final_text, ledger);
    if (bytes > CHAT_INPUT_BYTES_MAX)
        return FAIL(error, USAGE, "a request of %llu bytes is too long, at most %d are supported",
                    (unsigned long long)bytes, CHAT_INPUT_BYTES_MAX);
    return LEAT_OK;
}

leat_status chat_input_read(mem *ledger, const char *text, uint64_t bytes, chat_input *request, leat_error *error)
{
    request_reader q;
    leat_status status = begin_request(ledger, bytes, request, error);
    if (status == LEAT_OK) status = read_document(request, (text_slice){text, bytes}, &q, error);
    if (status == LEAT_OK) status = prepare(&q, error);
    if (status != LEAT_OK) chat_input_reset(request);
    return as_usage(status, error);
}

leat_status chat_context_read(mem *ledger, const char *text, uint64_t bytes, chat_input *request, leat_error *error)
{
    request_reader q;
    leat_status status = begin_request(ledger, bytes, request, error);
    if (status == LEAT_OK) status = read_document(request, (text_slice){text, bytes}, &q, error);
    if (status == LEAT_OK && q.chat.bytes != NULL) status = read_document(request, q.chat, &q, error);
    if (status == LEAT_OK && request->context.bytes == NULL) status = prepare(&q, error);
    if (status != LEAT_OK) chat_input_reset(request);
    return as_usage(status, error);
}

void chat_input_reset(chat_input *r)
{
    text_buffer_reset(&r->messages);
    text_buffer_reset(&r->final_text);
    *r = (chat_input){.ledger = r->ledger};
}

/* ---- variables ---- */

typedef struct variable_list {
    arena names;
    jinja_variable items[CHAT_VARIABLES_MAX];
    uint32_t count;
} variable_list;

static bool has_variable(const variable_list *v, const json_token *name)
{
    for (uint32_t i = 0; i < v->count; i++)
        if (json_text_is(name, v->items[i].name)) return true;
    return false;
}

static leat_status add_variable(variable_list *v, const char *name, text_slice value, bool is_data, leat_error *error)
{
    if (v->count == CHAT_VARIABLES_MAX)
        return FAIL(error, USAGE, "a request with more than %d variables for its template", CHAT_VARIABLES_MAX);
    if (value.bytes == NULL) value = (text_slice){"null", 4};
    v->items[v->count++] = (jinja_variable){name, value.bytes, value.count, is_data};
    return LEAT_OK;
}

/* The members of an object. Those that are there already: refused, or passed over. */
static leat_status add_members(variable_list *v, json *parser, text_slice object, bool is_data, leat_error *error)
{
    const uint32_t before = v->count;
    json_token key;
    TRY(json_next(parser, &key, error));
    for (;;) {
        value_span value;
        const char *name;
        TRY(json_next(parser, &key, error));
        if (key.kind == JSON_OBJECT_END) return LEAT_OK;
        const bool is_known = has_variable(v, &key);
        TRY(arena_copy_text(&v->names, key.text, key.text_bytes, &name, error));
        TRY(read_span(parser, object, &value, error));
        if (is_known && is_data && before > 0) return FAIL(error, USAGE, "\"kwargs\" cannot set \"%s\"", name);
        if (!is_known) TRY(add_variable(v, name, value.text, is_data, error));
    }
}

static leat_status add_object(variable_list *v, mem *ledger, const char *name, text_slice object, bool is_data,
                              leat_error *error)
{
    json *parser = NULL;
    if (object.bytes == NULL) return LEAT_OK;
    TRY(open_json(ledger, name, object, &parser, error));
    leat_status status = add_members(v, parser, object, is_data, error);
    json_close(&parser);
    return status;
}

static leat_status collect(variable_list *v, const chat_input *r, text_slice specials, leat_error *error)
{
    if (r->context.bytes != NULL) return add_object(v, r->ledger, "context", r->context, true, error);
    TRY(add_variable(v, "messages", (text_slice){r->messages.bytes, r->messages.count}, true, error));
    TRY(add_variable(v, "tools", r->tools, true, error));
    TRY(add_variable(v, "documents", r->documents, true, error));
    const char *flag = r->add_generation_prompt ? "true" : "false";
    TRY(add_variable(v, "add_generation_prompt", (text_slice){flag, strlen(flag)}, false, error));
    TRY(add_object(v, r->ledger, "kwargs", r->kwargs, true, error));
    return add_object(v, r->ledger, "special_tokens", r->special_tokens.bytes != NULL ? r->special_tokens : specials,
                      false, error);
}

/* ---- the final message ---- */

static text_slice trim(text_slice text)
{
    uint32_t scalar;
    while (text.count > 0) {
        size_t length = utf8_decode(text.bytes, text.count, &scalar, NULL);
        if (length == 0 || !unicode_is_python_space(scalar)) break;
        text = (text_slice){text.bytes + length, text.count - length};
    }
    while (text.count > 0) {
        uint64_t last = text.count - 1;
        while (last > 0 && ((unsigned char)text.bytes[last] & 0xc0) == 0x80) last--;
        if (utf8_decode(text.bytes + last, text.count - last, &scalar, NULL) == 0) break;
        if (!unicode_is_python_space(scalar)) break;
        text.count = last;
    }
    return text;
}

static bool contains(text_slice text, text_slice part)
{
    return part.count == 0 || (text.count > 0 && memmem(text.bytes, text.count, part.bytes, part.count) != NULL);
}

static void cut_output(jinja_output *out, uint64_t count)
{
    out->text.count = count;
    out->text.bytes[count] = 0;
    while (out->segment_count > 0 && out->segments[out->segment_count - 1].begin >= count) out->segment_count--;
    if (out->segment_count > 0) out->segments[out->segment_count - 1].end = count;
}

/* Cuts the prompt where the final message ends. */
static leat_status cut_at_mark(const chat_input *r, jinja_output *out, jinja_fault *out_fault, leat_error *error)
{
    const uint64_t bare_bytes = sizeof final_mark - 2; /* without the space */
    text_slice text = {out->text.bytes, out->text.count};
    text_slice wanted = trim((text_slice){r->final_text.bytes, r->final_text.count});
    if (!contains(text, wanted) || !contains(text, (text_slice){final_mark, bare_bytes})) {
        jinja_output_reset(out);
        *out_fault = JINJA_VALUE;
        return FAIL(error, USAGE, "continue_final_message: the template does not show the final message as it is");
    }
    uint64_t at = text.count - bare_bytes;
    while (memcmp(text.bytes + at, final_mark, bare_bytes) != 0) at--;
    if (at + bare_bytes < text.count && text.bytes[at + bare_bytes] == ' ') {
        cut_output(out, at);
        return LEAT_OK;
    }
    text_slice kept = {text.bytes, at};
    text_slice trimmed = trim(kept); /* of both ends; the beginning stays */
    cut_output(out, trimmed.count == 0 ? 0 : (uint64_t)(trimmed.bytes - text.bytes) + trimmed.count);
    return LEAT_OK;
}

leat_status chat_input_render(const chat_input *r, const jinja_template *t, text_slice template_text,
                              text_slice specials, int64_t now_s, jinja_output *out, jinja_fault *out_fault,
                              leat_error *error)
{
    variable_list *v = NULL;
    jinja_fault ignored;
    if (out_fault == NULL) out_fault = &ignored;
    *out_fault = JINJA_NO_FAULT;
    if (r->continues && !contains(template_text, (text_slice){"content", 7})) {
        *out_fault = JINJA_VALUE;
        return FAIL(error, USAGE, "continue_final_message: the template does not use the content of messages");
    }
    TRY(MEM_NEW(r->ledger, TOKENIZER, 1, &v, error));
    arena_init(&v->names, r->ledger, MEM_TOKENIZER, 1024);
    leat_status status = collect(v, r, specials, error);
    if (status == LEAT_OK)
        status = jinja_render(t, v->items, v->count, r->has_now ? r->now_s : now_s, out, out_fault, error);
    arena_reset(&v->names);
    mem_free(r->ledger, v);
    if (status == LEAT_OK && r->continues) status = cut_at_mark(r, out, out_fault, error);
    return as_usage(status, error);
}

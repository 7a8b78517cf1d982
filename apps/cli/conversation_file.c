#include "conversation_file.h"

#include "base/json.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MODE = 0600 };
static const char schema[] = "leat.chat/1";

void kept_conversation_init(kept_conversation *k, mem *ledger)
{
    *k = (kept_conversation){0};
    conversation_init(&k->talk, ledger);
    k->model_name.ledger = k->fingerprint.ledger = k->tools.ledger = k->settings.ledger = ledger;
}

void kept_conversation_reset(kept_conversation *k)
{
    conversation_reset(&k->talk);
    strbuf_reset(&k->model_name);
    strbuf_reset(&k->fingerprint);
    strbuf_reset(&k->tools);
    strbuf_reset(&k->settings);
}

leat_status kept_setting_add(kept_conversation *k, const char *name, const char *value, leat_error *error)
{
    TRY(strbuf_append(&k->settings, name, strlen(name) + 1, error));
    return strbuf_append(&k->settings, value, strlen(value) + 1, error);
}

bool kept_setting_next(const kept_conversation *k, size_t *at, kept_setting *out)
{
    if (*at >= k->settings.count) return false;
    out->name = k->settings.bytes + *at;
    out->value = out->name + strlen(out->name) + 1;
    *at += strlen(out->name) + strlen(out->value) + 2;
    return true;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

/* Neighbours of one name become a list. */
static void write_settings(json_writer *w, const kept_conversation *k)
{
    kept_setting setting, next;
    size_t at = 0;
    bool has_next = kept_setting_next(k, &at, &next), is_list = false;
    json_writer_begin_object(w, "settings");
    while (has_next) {
        setting = next;
        has_next = kept_setting_next(k, &at, &next);
        const bool goes_on = has_next && strcmp(next.name, setting.name) == 0;
        if (goes_on && !is_list) json_writer_begin_array(w, setting.name);
        json_writer_text(w, goes_on || is_list ? NULL : setting.name, setting.value);
        if (!goes_on && is_list) json_writer_end_array(w);
        is_list = goes_on;
    }
    json_writer_end_object(w);
}

leat_status conversation_document(const kept_conversation *k, strbuf *text, leat_error *error)
{
    json_writer w;
    json_writer_init_text(&w, text);
    json_writer_begin_document(&w, schema);
    json_writer_begin_object(&w, "model");
    json_writer_bytes(&w, "name", strbuf_text(&k->model_name), k->model_name.count);
    json_writer_bytes(&w, "fingerprint", strbuf_text(&k->fingerprint), k->fingerprint.count);
    json_writer_end_object(&w);
    json_writer_bytes(&w, "system", strbuf_text(&k->talk.system), k->talk.system.count);
    write_settings(&w, k);
    if (k->has_seed) json_writer_u64(&w, "seed", k->seed);
    if (k->tools.count > 0) json_writer_raw(&w, "tools", k->tools.bytes, k->tools.count);
    json_writer_begin_array(&w, "messages");
    conversation_write(&k->talk, &w);
    json_writer_end_array(&w);
    json_writer_end_document(&w);
    return w.status == LEAT_OK ? LEAT_OK : FAIL(error, NO_MEMORY, "no memory for the conversation");
}

/* Only what this program wrote is replaced: a slip of the fingers must not cost a file. Links and devices never are. */
static leat_status check_target(const char *path, bool force, mem *ledger, leat_error *error)
{
    struct stat facts;
    leat_error ignored = {0};
    if (lstat(path, &facts) != 0) return LEAT_OK; /* not there; or writing says what is wrong */
    if (!S_ISREG(facts.st_mode)) return FAIL(error, USAGE, "%s: is there and is no regular file", path);
    if (force) return LEAT_OK;
    kept_conversation there;
    kept_conversation_init(&there, ledger);
    leat_status status = conversation_load(path, &there, &ignored);
    kept_conversation_reset(&there);
    if (status == LEAT_OK) return LEAT_OK;
    return FAIL(error, USAGE, "%s: is there and is no conversation of leat; it was not touched", path);
}

leat_status conversation_save(const kept_conversation *k, const char *path, bool force, leat_error *error)
{
    strbuf text = {.ledger = k->talk.ledger};
    TRY(check_target(path, force, text.ledger, error));
    leat_status status = conversation_document(k, &text, error);
    if (status == LEAT_OK && text.count > CONVERSATION_FILE_BYTES_MAX)
        status = FAIL(error, USAGE, "%s: the conversation is longer than %d bytes", path, CONVERSATION_FILE_BYTES_MAX);
    if (status == LEAT_OK) status = file_replace(path, strbuf_text(&text), text.count, FILE_MODE, error);
    strbuf_reset(&text);
    return status;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

typedef struct loader {
    json *parser;
    const char *text; /* the document */
    kept_conversation *to;
    strbuf name; /* of the setting at work */
    bool has_schema, has_messages, has_function;
} loader;

/* One member of the object that was begun; its value is to be read. */
typedef leat_status member_fn(loader *l, const json_token *key, leat_error *error);

static leat_status read_members(loader *l, member_fn *fn, leat_error *error)
{
    json_token key;
    for (;;) {
        TRY(json_next(l->parser, &key, error));
        if (key.kind == JSON_OBJECT_END) return LEAT_OK;
        TRY(fn(l, &key, error));
    }
}

static leat_status begin(loader *l, json_kind kind, const char *expected, leat_error *error)
{
    json_token token;
    TRY(json_next(l->parser, &token, error));
    return token.kind == kind ? LEAT_OK : json_fail_at(l->parser, token.offset, error, "expected %s", expected);
}

static leat_status read_text(loader *l, strbuf *out, leat_error *error)
{
    json_token token;
    TRY(json_next(l->parser, &token, error));
    if (token.kind != JSON_STRING) return json_fail_at(l->parser, token.offset, error, "expected a text");
    strbuf_cut(out, 0);
    return strbuf_append(out, token.text, token.text_bytes, error);
}

static leat_status read_schema(loader *l, leat_error *error)
{
    json_token token;
    TRY(json_next(l->parser, &token, error));
    if (token.kind != JSON_STRING || !json_text_is(&token, schema))
        return json_fail_at(l->parser, token.offset, error, "the schema is not %s", schema);
    l->has_schema = true;
    return LEAT_OK;
}

static leat_status read_model_member(loader *l, const json_token *key, leat_error *error)
{
    if (json_text_is(key, "name")) return read_text(l, &l->to->model_name, error);
    if (json_text_is(key, "fingerprint")) return read_text(l, &l->to->fingerprint, error);
    return json_skip(l->parser, error);
}

static leat_status read_seed(loader *l, leat_error *error)
{
    json_token token;
    TRY(json_next(l->parser, &token, error));
    l->to->has_seed = token.kind == JSON_NUMBER && json_to_u64(&token, &l->to->seed);
    return l->to->has_seed ? LEAT_OK : json_fail_at(l->parser, token.offset, error, "expected a seed");
}

/* ---- settings ---- */

static leat_status take_setting(loader *l, const json_token *value, leat_error *error)
{
    strbuf *settings = &l->to->settings;
    const bool is_text = value->kind == JSON_STRING || value->kind == JSON_NUMBER;
    if (!is_text || memchr(value->text, '\0', value->text_bytes))
        return json_fail_at(l->parser, value->offset, error, "expected the value of a setting");
    TRY(strbuf_append(settings, strbuf_text(&l->name), l->name.count + 1, error));
    TRY(strbuf_append(settings, value->text, value->text_bytes, error));
    return strbuf_append(settings, "", 1, error);
}

/* A list sets the same option for each of its elements. */
static leat_status read_setting(loader *l, const json_token *key, leat_error *error)
{
    json_token token;
    strbuf_cut(&l->name, 0);
    TRY(strbuf_append(&l->name, key->text, key->text_bytes, error)); /* keys hold no zero bytes */
    TRY(json_next(l->parser, &token, error));
    if (token.kind != JSON_ARRAY_BEGIN) return take_setting(l, &token, error);
    for (;;) {
        TRY(json_next(l->parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(take_setting(l, &token, error));
    }
}

/* ---- messages ---- */

static leat_status read_function(loader *l, leat_error *error)
{
    bool has_name = false, has_arguments = false;
    json_token token;
    TRY(begin(l, JSON_OBJECT_BEGIN, "a function", error));
    for (;;) {
        TRY(json_next(l->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        const bool is_name = json_text_is(&token, "name"), is_arguments = json_text_is(&token, "arguments");
        TRY(json_next(l->parser, &token, error));
        has_name = has_name || (is_name && token.kind == JSON_STRING);
        has_arguments = has_arguments || (is_arguments && token.kind == JSON_OBJECT_BEGIN);
        TRY(json_skip_rest(l->parser, &token, error));
    }
    l->has_function = has_name && has_arguments;
    if (l->has_function) return LEAT_OK;
    return json_fail_at(l->parser, token.offset, error, "a call needs \"name\" and \"arguments\"");
}

static leat_status read_call_member(loader *l, const json_token *key, leat_error *error)
{
    json_token token;
    if (json_text_is(key, "function")) return read_function(l, error);
    TRY(json_next(l->parser, &token, error));
    if (token.kind == JSON_STRING) return LEAT_OK;
    return json_fail_at(l->parser, token.offset, error, "expected a text");
}

static leat_status read_call(loader *l, const json_token *first, leat_error *error)
{
    const uint64_t at = first->offset;
    if (first->kind != JSON_OBJECT_BEGIN) return json_fail_at(l->parser, at, error, "expected a call");
    l->has_function = false;
    TRY(read_members(l, read_call_member, error));
    if (l->has_function) return LEAT_OK;
    return json_fail_at(l->parser, at, error, "a call needs a \"function\"");
}

/* Kept as it is written: the template wants the same bytes. */
static leat_status read_calls(loader *l, strbuf *calls, leat_error *error)
{
    json_token token;
    uint64_t begin_at = 0, end = 0;
    TRY(begin(l, JSON_ARRAY_BEGIN, "a list of calls", error));
    for (;;) {
        TRY(json_next(l->parser, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (end == 0) begin_at = token.offset;
        TRY(read_call(l, &token, error));
        end = json_position(l->parser);
    }
    return strbuf_append(calls, l->text + begin_at, end - begin_at, error);
}

static leat_status read_role(loader *l, chat_message *m, leat_error *error)
{
    static const char *const roles[] = {"user", "assistant", "tool"};
    json_token token;
    TRY(json_next(l->parser, &token, error));
    for (size_t i = 0; i < 3; i++)
        if (token.kind == JSON_STRING && json_text_is(&token, roles[i])) m->role = roles[i];
    if (*m->role) return LEAT_OK;
    return json_fail_at(l->parser, token.offset, error, "a message's role is user, assistant or tool");
}

static leat_status read_message_member(loader *l, const json_token *key, leat_error *error)
{
    chat_message *m = &l->to->talk.items[l->to->talk.count - 1];
    if (json_text_is(key, "role")) return read_role(l, m, error);
    if (json_text_is(key, "content")) return read_text(l, &m->content, error);
    if (json_text_is(key, "reasoning_content")) return read_text(l, &m->reasoning, error);
    if (json_text_is(key, "tool_calls")) return read_calls(l, &m->calls, error);
    return json_skip(l->parser, error);
}

static leat_status read_messages(loader *l, leat_error *error)
{
    conversation *talk = &l->to->talk;
    json_token token;
    TRY(begin(l, JSON_ARRAY_BEGIN, "a list of messages", error));
    for (;;) {
        TRY(json_next(l->parser, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(l->parser, token.offset, error, "expected a message");
        const uint64_t at = token.offset;
        TRY(conversation_add(talk, "", "", 0, error));
        TRY(read_members(l, read_message_member, error));
        const chat_message *m = &talk->items[talk->count - 1];
        if (*m->role == '\0') return json_fail_at(l->parser, at, error, "a message needs a role");
    }
    l->has_messages = true;
    return LEAT_OK;
}

/* ---- the document ---- */

static leat_status read_tools(loader *l, leat_error *error)
{
    json_token token;
    TRY(json_next(l->parser, &token, error));
    if (token.kind != JSON_ARRAY_BEGIN) return json_fail_at(l->parser, token.offset, error, "expected a list of tools");
    const uint64_t begin_at = token.offset;
    TRY(json_skip_rest(l->parser, &token, error));
    return strbuf_append(&l->to->tools, l->text + begin_at, json_position(l->parser) - begin_at, error);
}

static leat_status read_part(loader *l, const json_token *key, leat_error *error)
{
    if (json_text_is(key, "schema")) return read_schema(l, error);
    if (json_text_is(key, "system")) return read_text(l, &l->to->talk.system, error);
    if (json_text_is(key, "seed")) return read_seed(l, error);
    if (json_text_is(key, "tools")) return read_tools(l, error);
    if (json_text_is(key, "messages")) return read_messages(l, error);
    const bool is_model = json_text_is(key, "model");
    if (!is_model && !json_text_is(key, "settings")) return json_skip(l->parser, error);
    TRY(begin(l, JSON_OBJECT_BEGIN, "an object", error));
    return read_members(l, is_model ? read_model_member : read_setting, error);
}

static leat_status read_document(loader *l, leat_error *error)
{
    json_token token;
    TRY(begin(l, JSON_OBJECT_BEGIN, "a conversation", error));
    TRY(read_members(l, read_part, error));
    TRY(json_next(l->parser, &token, error)); /* JSON_END, or an error about what follows */
    if (l->has_schema && l->has_messages) return LEAT_OK;
    return json_fail_at(l->parser, 0, error, "no \"schema\": \"%s\" and \"messages\"", schema);
}

/* The file is the user's, not a model's. */
static leat_status blame_user(leat_status status, leat_error *error)
{
    if (status != LEAT_MODEL && status != LEAT_IO) return status;
    if (error) error->status = LEAT_USAGE;
    return LEAT_USAGE;
}

leat_status conversation_read(const char *name, const char *text, uint64_t bytes, kept_conversation *out,
                              leat_error *error)
{
    mem *ledger = out->talk.ledger;
    json_limits limits = json_limits_default;
    loader l = {.text = text, .to = out, .name = {.ledger = ledger}};
    limits.depth_max = JSON_DEPTH_MAX;
    limits.string_bytes_max = CONVERSATION_FILE_BYTES_MAX;
    TRY(json_open(ledger, MEM_META, name, text, bytes, &limits, &l.parser, error));
    leat_status status = read_document(&l, error);
    json_close(&l.parser);
    strbuf_reset(&l.name);
    return blame_user(status, error);
}

leat_status conversation_load(const char *path, kept_conversation *out, leat_error *error)
{
    mem *ledger = out->talk.ledger;
    char *text;
    uint64_t bytes;
    leat_status status =
        file_load(ledger, MEM_META, AT_FDCWD, path, false, CONVERSATION_FILE_BYTES_MAX, &text, &bytes, error);
    TRY(blame_user(status, error));
    status = conversation_read(path, text, bytes, out, error);
    mem_free(ledger, text);
    return status;
}

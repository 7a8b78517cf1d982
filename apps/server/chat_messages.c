#include "server/chat_messages.h"

#include <string.h>

typedef enum chat_role { ROLE_SYSTEM, ROLE_DEVELOPER, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_COUNT } chat_role;
static const char *const role_labels[ROLE_COUNT] = {"system", "developer", "user", "assistant", "tool"};

static bool no_memory(api_error *error)
{
    return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
}

static bool read_role(const json_view *message, chat_role *out, api_error *error)
{
    const char *label = NULL;
    json_view v = json_view_member(message, "role");
    if (!v.value) return api_fail(error, API_MISSING, v.path, "'%s' is missing.", v.path);
    if (!json_view_text(&v, &label, error)) return false;
    for (int role = 0; role < ROLE_COUNT; role++) {
        if (strcmp(label, role_labels[role]) != 0) continue;
        *out = (chat_role)role;
        return true;
    }
    return api_fail(error, API_INVALID_VALUE, v.path,
                    "'%s' is '%.40s'; it must be one of system, developer, user, assistant, tool.", v.path, label);
}

static bool append_part(const json_view *part, bool is_assistant, strbuf *text, api_error *error)
{
    const char *type = NULL, *words = NULL;
    leat_error failure = {0};
    if (!part->value || !json_is_object(part->value)) return json_view_wrong_type(part, "an object", error);
    json_view type_view = json_view_member(part, "type"), text_view = json_view_member(part, "text");
    if (!json_view_text(&type_view, &type, error)) return false;
    if (!type) return api_fail(error, API_MISSING, type_view.path, "'%s' is missing.", type_view.path);
    if (is_assistant && strcmp(type, "refusal") == 0)
        text_view = json_view_member(part, "refusal");
    else if (strcmp(type, "text") != 0)
        return api_fail(error, API_UNSUPPORTED_PARAMETER, type_view.path,
                        "'%s' is '%.40s'; this server reads only text.", type_view.path, type);
    if (!json_view_text(&text_view, &words, error)) return false;
    if (!words) return api_fail(error, API_MISSING, text_view.path, "'%s' is missing.", text_view.path);
    if (text->count > 0 && strbuf_append(text, "\n", 1, &failure) != LEAT_OK) return no_memory(error);
    return strbuf_append_text(text, words, &failure) == LEAT_OK || no_memory(error);
}

static bool join_parts(mem *ledger, const json_view *message, const json_view *content, bool is_assistant,
                       api_error *error)
{
    strbuf text = {.ledger = ledger};
    size_t count = json_array_size(content->value);
    bool is_good = count <= CHAT_PARTS_MAX ||
                   api_fail(error, API_OUT_OF_RANGE, content->path, "'%s' has %zu parts; at most %d are allowed.",
                            content->path, count, CHAT_PARTS_MAX);
    for (size_t i = 0; i < count && is_good; i++) {
        json_view part = json_view_element(content, i);
        is_good = append_part(&part, is_assistant, &text, error);
    }
    if (is_good && json_object_set_new(message->value, "content", json_stringn(strbuf_text(&text), text.count)) != 0)
        is_good = no_memory(error);
    strbuf_reset(&text);
    return is_good;
}

/* An answer that another model refused, or that ended within its thought, has no text: it becomes what there is. */
static bool fill_content(const json_view *message, api_error *error)
{
    const char *refusal = NULL;
    if (json_view_member(message, "content").value) return true;
    if (!json_field_text(message, "refusal", &refusal, error)) return false;
    if (!refusal && !json_view_member(message, "reasoning_content").value) return true;
    return json_object_set_new(message->value, "content", json_string(refusal ? refusal : "")) == 0 || no_memory(error);
}

static bool prepare_content(mem *ledger, const json_view *message, chat_role role, bool may_be_null, api_error *error)
{
    json_view content = json_view_member(message, "content");
    if (!content.value)
        return may_be_null || api_fail(error, API_INVALID_TYPE, content.path,
                                       "'%s' is missing; only an assistant's message with tool calls, reasoning or a "
                                       "refusal may do without.",
                                       content.path);
    if (json_is_string(content.value)) return true;
    if (json_is_array(content.value)) return join_parts(ledger, message, &content, role == ROLE_ASSISTANT, error);
    return json_view_wrong_type(&content, "a string or an array of text parts", error);
}

/* Text that is no JSON object, perhaps what a model left unfinished, stays the text it is. */
static bool open_arguments(const json_view *function, api_error *error)
{
    const char *text = NULL;
    json_view arguments = json_view_member(function, "arguments");
    if (!arguments.value || json_is_object(arguments.value)) return true;
    if (!json_view_text(&arguments, &text, error)) return false;
    json_t *object = text[0] == '\0' ? json_object() : json_value_parse_any(text, strlen(text));
    if (!json_is_object(object)) {
        json_decref(object);
        return true;
    }
    return json_object_set_new(function->value, "arguments", object) == 0 || no_memory(error);
}

static bool prepare_call(const json_view *call, api_error *error)
{
    const char *id = NULL, *name = NULL;
    json_view function;
    if (!call->value || !json_is_object(call->value)) return json_view_wrong_type(call, "an object", error);
    if (!json_field_text(call, "id", &id, error) || !json_field_object(call, "function", &function, error))
        return false;
    if (!function.value) return api_fail(error, API_MISSING, function.path, "'%s' is missing.", function.path);
    json_view name_view = json_view_member(&function, "name");
    if (!json_view_text(&name_view, &name, error)) return false;
    if (!name) return api_fail(error, API_MISSING, name_view.path, "'%s' is missing.", name_view.path);
    return open_arguments(&function, error);
}

static bool prepare_calls(const json_view *message, bool *out_has_calls, api_error *error)
{
    json_view calls;
    if (!json_field_array(message, "tool_calls", CHAT_CALLS_MAX, &calls, error)) return false;
    *out_has_calls = json_array_size(calls.value) > 0;
    if (calls.value && !*out_has_calls) json_object_del(message->value, "tool_calls");
    for (size_t i = 0; *out_has_calls && i < json_array_size(calls.value); i++) {
        json_view call = json_view_element(&calls, i);
        if (!prepare_call(&call, error)) return false;
    }
    return true;
}

static void drop_nulls(json_t *message)
{
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(message, next, key, value)
    {
        if (json_is_null(value) && strcmp(key, "content") != 0) json_object_del(message, key);
    }
}

static bool prepare_reasoning(const json_view *message, api_error *error)
{
    const char *content = NULL, *plain = NULL;
    if (!json_field_text(message, "reasoning_content", &content, error) ||
        !json_field_text(message, "reasoning", &plain, error))
        return false;
    if (content || !plain) return true;
    return json_object_set_new(message->value, "reasoning_content", json_string(plain)) == 0 || no_memory(error);
}

static bool prepare_message(mem *ledger, const json_view *message, bool knows_developer, api_error *error)
{
    chat_role role = ROLE_USER;
    bool has_calls = false;
    const char *text = NULL;
    if (!message->value || !json_is_object(message->value)) return json_view_wrong_type(message, "an object", error);
    drop_nulls(message->value);
    if (!read_role(message, &role, error) || !json_field_text(message, "name", &text, error) ||
        !json_field_text(message, "tool_call_id", &text, error))
        return false;
    if (role == ROLE_ASSISTANT && (!prepare_calls(message, &has_calls, error) || !prepare_reasoning(message, error)))
        return false;
    if (role == ROLE_DEVELOPER && !knows_developer &&
        json_object_set_new(message->value, "role", json_string("system")) != 0)
        return no_memory(error);
    if (role == ROLE_ASSISTANT && !has_calls && !fill_content(message, error)) return false;
    return prepare_content(ledger, message, role, has_calls, error);
}

bool chat_messages_prepare(mem *ledger, const json_view *body, bool knows_developer, json_view *out_messages,
                           api_error *error)
{
    if (!json_field_array(body, "messages", CHAT_MESSAGES_MAX, out_messages, error)) return false;
    if (!out_messages->value) return api_fail(error, API_MISSING, "messages", "'messages' is missing.");
    size_t count = json_array_size(out_messages->value);
    if (count == 0) return api_fail(error, API_OUT_OF_RANGE, "messages", "'messages' must have at least one entry.");
    for (size_t i = 0; i < count; i++) {
        json_view message = json_view_element(out_messages, i);
        if (!prepare_message(ledger, &message, knows_developer, error)) return false;
    }
    return true;
}

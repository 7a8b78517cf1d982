#include "server/chat_tools.h"

#include <string.h>

static bool is_name(const char *name)
{
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    return length >= 1 && length <= CHAT_TOOL_NAME_BYTES_MAX && name[length] == '\0';
}

static bool read_name(const json_view *function, const char **out, api_error *error)
{
    json_view v = json_view_member(function, "name");
    *out = NULL;
    if (!json_view_text(&v, out, error)) return false;
    if (!*out) return api_fail(error, API_MISSING, v.path, "'%s' is missing.", v.path);
    return is_name(*out) ||
           api_fail(error, API_INVALID_VALUE, v.path, "'%s' must have 1 to %d characters of A-Z, a-z, 0-9, _ and -.",
                    v.path, CHAT_TOOL_NAME_BYTES_MAX);
}

/* {"type": "function", "function": {...}}: of a tool, and of a tool_choice. */
static bool read_function(const json_view *v, json_view *out_function, api_error *error)
{
    json_view type_view = json_view_member(v, "type");
    const char *type = NULL;
    if (!json_view_text(&type_view, &type, error)) return false;
    if (!type) return api_fail(error, API_MISSING, type_view.path, "'%s' is missing.", type_view.path);
    if (strcmp(type, "function") != 0)
        return api_fail(error, API_INVALID_VALUE, type_view.path, "'%s' is '%.40s'; only 'function' is supported.",
                        type_view.path, type);
    if (!json_field_object(v, "function", out_function, error)) return false;
    return out_function->value ||
           api_fail(error, API_MISSING, out_function->path, "'%s' is missing.", out_function->path);
}

static bool check_tool(const json_view *tool, api_error *error)
{
    json_view function, parameters;
    const char *text = NULL;
    bool flag;
    if (!tool->value || !json_is_object(tool->value)) return json_view_wrong_type(tool, "an object", error);
    return read_function(tool, &function, error) && read_name(&function, &text, error) &&
           json_field_text(&function, "description", &text, error) &&
           json_field_object(&function, "parameters", &parameters, error) &&
           json_field_flag(&function, "strict", &flag, error);
}

static const char *name_of(const chat_tools *tools, size_t idx)
{
    return json_string_value(json_object_get(json_object_get(json_array_get(tools->list, idx), "function"), "name"));
}

static bool has_tool(const chat_tools *tools, const char *name)
{
    size_t i = 0, count = json_array_size(tools->list);
    while (i < count && strcmp(name_of(tools, i), name) != 0) i++;
    return i < count;
}

static bool read_choice_word(const json_view *v, chat_tools *tools, api_error *error)
{
    const char *word = json_string_value(v->value);
    if (strcmp(word, "none") == 0)
        tools->choice = TOOL_CHOICE_NONE;
    else if (strcmp(word, "required") == 0)
        tools->choice = TOOL_CHOICE_REQUIRED;
    else if (strcmp(word, "auto") != 0)
        return api_fail(error, API_INVALID_VALUE, v->path,
                        "'%s' is '%.40s'; it must be none, auto, required or the name of a function.", v->path, word);
    return true;
}

static bool read_choice(const json_view *body, chat_tools *tools, api_error *error)
{
    json_view function, v = json_view_member(body, "tool_choice");
    if (!v.value) return true;
    if (json_is_string(v.value)) {
        if (!read_choice_word(&v, tools, error)) return false;
    } else if (json_is_object(v.value)) {
        if (!read_function(&v, &function, error) || !read_name(&function, &tools->name, error)) return false;
        tools->choice = TOOL_CHOICE_NAMED;
    } else {
        return json_view_wrong_type(&v, "a string or an object", error);
    }
    if (tools->choice >= TOOL_CHOICE_REQUIRED && !tools->list)
        return api_fail(error, API_INVALID_VALUE, v.path, "'%s' demands a call, but there are no 'tools'.", v.path);
    if (tools->choice == TOOL_CHOICE_NAMED && !has_tool(tools, tools->name))
        return api_fail(error, API_INVALID_VALUE, "tool_choice.function.name", "'tools' has no function '%s'.",
                        tools->name);
    /* Where there is nothing to choose from, the name need not be left to the model. */
    if (tools->choice == TOOL_CHOICE_REQUIRED && json_array_size(tools->list) == 1) tools->name = name_of(tools, 0);
    return true;
}

bool chat_tools_read(const json_view *body, chat_tools *out, api_error *error)
{
    json_view list;
    *out = (chat_tools){.allows_several = true};
    if (!json_field_array(body, "tools", CHAT_TOOLS_MAX, &list, error)) return false;
    for (size_t i = 0; i < json_array_size(list.value); i++) {
        json_view tool = json_view_element(&list, i);
        if (!check_tool(&tool, error)) return false;
    }
    if (json_array_size(list.value) > 0) out->list = list.value;
    return read_choice(body, out, error) && json_field_flag(body, "parallel_tool_calls", &out->allows_several, error);
}

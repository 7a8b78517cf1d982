#include "server/chat_request.h"

#include "server/chat_messages.h"
#include "server/unknown_fields.h"

#include <string.h>

/* How a conversation is to be rendered. */
typedef struct render_wish {
    bool add_generation_prompt, continue_final_message;
    const char *effort; /* NULL: not said */
    json_view kwargs;
} render_wish;

static bool no_memory(api_error *error)
{
    return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
}

/* ---- how to render ----------------------------------------------------------------------------------------------- */

static bool is_effort(const char *word)
{
    static const char *const words[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i], word) == 0) return true;
    return false;
}

static bool read_effort(const json_view *body, const char **out, api_error *error)
{
    if (!json_field_text(body, "reasoning_effort", out, error)) return false;
    return !*out || is_effort(*out) ||
           api_fail(error, API_INVALID_VALUE, "reasoning_effort",
                    "'reasoning_effort' is '%.40s'; it must be none, minimal, low, medium, high, xhigh or max.", *out);
}

/* What a template is given under these names is the server's to say. */
static bool is_reserved(const char *name)
{
    static const char *const names[] = {
        "messages",  "tools",     "documents", "add_generation_prompt", "bos_token", "eos_token",
        "pad_token", "unk_token", "sep_token", "continue_final_message"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static bool read_kwargs(const json_view *body, json_view *out, api_error *error)
{
    const char *key;
    json_t *value;
    if (!json_field_object(body, "chat_template_kwargs", out, error)) return false;
    if (!out->value) return true;
    if (json_dumpb(out->value, NULL, 0, JSON_COMPACT) > CHAT_KWARGS_BYTES_MAX)
        return api_fail(error, API_OUT_OF_RANGE, out->path, "'%s' has more than %d bytes.", out->path,
                        CHAT_KWARGS_BYTES_MAX);
    json_object_foreach(out->value, key, value)
    {
        json_view v = json_view_member(out, key);
        if (json_is_object(value) || json_is_array(value))
            return json_view_wrong_type(&v, "a string, a number, a boolean or null", error);
        if (is_reserved(key))
            return api_fail(error, API_INVALID_VALUE, v.path, "'%s' cannot be set for the template.", v.path);
    }
    return true;
}

static bool read_wish(const json_view *body, render_wish *wish, api_error *error)
{
    *wish = (render_wish){.add_generation_prompt = true};
    if (!json_field_flag(body, "continue_final_message", &wish->continue_final_message, error)) return false;
    wish->add_generation_prompt = !wish->continue_final_message;
    if (!json_field_flag(body, "add_generation_prompt", &wish->add_generation_prompt, error)) return false;
    if (wish->add_generation_prompt && wish->continue_final_message)
        return api_fail(error, API_INVALID_VALUE, "continue_final_message",
                        "'continue_final_message' and 'add_generation_prompt' exclude each other.");
    return read_effort(body, &wish->effort, error) && read_kwargs(body, &wish->kwargs, error);
}

/* ---- the conversation -------------------------------------------------------------------------------------------- */

/* The names that templates know for whether to think; a call that is demanded leaves no room for thoughts. */
static json_t *make_kwargs(const render_wish *wish, bool is_call_demanded)
{
    json_t *kwargs = json_object();
    bool says_nothing = !wish->effort && !is_call_demanded;
    bool thinks = wish->effort && strcmp(wish->effort, "none") != 0 && !is_call_demanded;
    if (wish->effort && strcmp(wish->effort, "none") != 0)
        json_object_set_new(kwargs, "reasoning_effort", json_string(wish->effort));
    if (!says_nothing) {
        json_object_set_new(kwargs, "enable_thinking", json_boolean(thinks));
        json_object_set_new(kwargs, "thinking", json_boolean(thinks));
    }
    if (wish->kwargs.value) json_object_update(kwargs, wish->kwargs.value);
    return kwargs;
}

static bool write_conversation(json_t *messages, const chat_tools *tools, const render_wish *wish, strbuf *out,
                               api_error *error)
{
    leat_error failure = {0};
    json_t *conversation = json_object();
    int failed = json_object_set(conversation, "messages", messages);
    if (tools->list && tools->choice != TOOL_CHOICE_NONE) failed |= json_object_set(conversation, "tools", tools->list);
    failed |= json_object_set_new(conversation, "add_generation_prompt", json_boolean(wish->add_generation_prompt));
    failed |= json_object_set_new(conversation, "continue_final_message", json_boolean(wish->continue_final_message));
    failed |= json_object_set_new(conversation, "kwargs", make_kwargs(wish, tools->choice >= TOOL_CHOICE_REQUIRED));
    leat_status status = failed ? LEAT_NO_MEMORY : json_value_write(conversation, out, &failure);
    json_decref(conversation);
    return status == LEAT_OK || no_memory(error);
}

static bool read_conversation(mem *ledger, const json_view *body, bool knows_developer, chat_tools *tools,
                              strbuf *conversation, api_error *error)
{
    render_wish wish;
    json_view messages;
    return chat_messages_prepare(ledger, body, knows_developer, &messages, error) &&
           chat_tools_read(body, tools, error) && read_wish(body, &wish, error) &&
           write_conversation(messages.value, tools, &wish, conversation, error);
}

bool chat_request_open_conversation(mem *ledger, json_t *document, bool knows_developer, strbuf *out_conversation,
                                    api_error *error)
{
    chat_tools tools;
    json_view body = json_view_of(document);
    *out_conversation = (strbuf){.ledger = ledger};
    if (read_conversation(ledger, &body, knows_developer, &tools, out_conversation, error)) return true;
    strbuf_reset(out_conversation);
    return false;
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static bool read_logprobs(const json_view *body, chat_request *r, api_error *error)
{
    json_view best = json_view_member(body, "top_logprobs");
    if (!json_field_flag(body, "logprobs", &r->logprobs, error) ||
        !json_view_u32(&best, 0, JOB_TOP_LOGPROBS_MAX, &r->top_logprobs, error))
        return false;
    return r->logprobs || r->top_logprobs == 0 ||
           api_fail(error, API_INVALID_VALUE, best.path, "'top_logprobs' is for requests with 'logprobs': true.");
}

static bool read_modalities(const json_view *body, api_error *error)
{
    json_view list;
    const char *word = NULL;
    if (!json_field_array(body, "modalities", CHAT_MODALITIES_MAX, &list, error)) return false;
    for (size_t i = 0; i < json_array_size(list.value); i++) {
        json_view v = json_view_element(&list, i);
        if (!v.value) return json_view_wrong_type(&v, "a string", error);
        if (!json_view_text(&v, &word, error)) return false;
        if (strcmp(word, "text") != 0)
            return api_fail(error, API_UNSUPPORTED_PARAMETER, v.path, "'%s' is '%.40s'; this server writes only text.",
                            v.path, word);
    }
    return true;
}

static const char *const own_fields[] = {"messages",
                                         "tools",
                                         "tool_choice",
                                         "parallel_tool_calls",
                                         "logprobs",
                                         "top_logprobs",
                                         "reasoning_effort",
                                         "chat_template_kwargs",
                                         "add_generation_prompt",
                                         "continue_final_message",
                                         "modalities",
                                         NULL};

static bool read_all(const json_view *body, const request_limits *limits, bool knows_developer, chat_request *r,
                     api_error *error)
{
    return generation_request_read(r->ledger, body, limits, JOB_TOKENS_UNLIMITED, &r->generation, error) &&
           read_logprobs(body, r, error) && read_modalities(body, error) &&
           read_conversation(r->ledger, body, knows_developer, &r->tools, &r->conversation, error);
}

bool chat_request_open(mem *ledger, const char *body, size_t bytes, const request_limits *limits, bool knows_developer,
                       chat_request *out, api_error *error)
{
    *out = (chat_request){.ledger = ledger, .conversation = {.ledger = ledger}};
    if (!json_value_parse(body, bytes, &out->document, error)) return false;
    json_view view = json_view_of(out->document);
    if (read_all(&view, limits, knows_developer, out, error)) {
        unknown_fields_note(out->document, generation_request_fields, own_fields);
        return true;
    }
    chat_request_reset(out);
    return false;
}

void chat_request_reset(chat_request *r)
{
    if (!r->ledger) return;
    generation_request_reset(r->ledger, &r->generation);
    strbuf_reset(&r->conversation);
    json_decref(r->document);
    *r = (chat_request){0};
}

#include "text/chat_template.h"

#include "base/bytes.h"
#include "base/json.h"
#include "text/vocabulary.h"

#include <string.h>

enum { TEMPLATE_BYTES_MAX = 1 << 20, FILE_DEPTH_MAX = 64 };

void chat_source_init(chat_source *source, mem *ledger)
{
    *source = (chat_source){0};
    text_buffer_init(&source->plain, ledger);
    text_buffer_init(&source->with_tools, ledger);
    text_buffer_init(&source->specials, ledger);
}

void chat_source_reset(chat_source *source)
{
    text_buffer_reset(&source->plain);
    text_buffer_reset(&source->with_tools);
    text_buffer_reset(&source->specials);
    source->origin = NULL;
}

/* ---- special tokens ---- */

static bool ends_with(const json_token *key, const char *end)
{
    size_t bytes = strlen(end);
    return key->text_bytes > bytes && memcmp(key->text + key->text_bytes - bytes, end, bytes) == 0;
}

static bool holds_key(const text_buffer *object, const char *name, uint64_t bytes)
{
    if (object->count == 0) return false;
    for (const char *at = object->bytes; (at = memmem(at, strlen(at), name, bytes)) != NULL; at++)
        if (at[-1] == '"' && at[bytes] == '"' && at[bytes + 1] == ':') return true;
    return false;
}

/* Members are added as they were written, escapes included; `value` is a JSON string. */
static leat_status add_special(chat_source *source, const char *key, uint64_t key_bytes, const char *value,
                               uint64_t value_bytes, leat_error *error)
{
    text_buffer *out = &source->specials;
    if (holds_key(out, key, key_bytes)) return LEAT_OK;
    if (out->count > 0) out->count--; /* the closing brace */
    TRY(text_buffer_append(out, out->count > 0 ? ", \"" : "{\"", out->count > 0 ? 3 : 2, error));
    TRY(text_buffer_append(out, key, key_bytes, error));
    TRY(text_buffer_append(out, "\": ", 3, error));
    TRY(text_buffer_append(out, value, value_bytes, error));
    return text_buffer_append(out, "}", 1, error);
}

static bool has_token(const tokenizer *t, const json_token *text)
{
    char name[512];
    uint32_t id;
    if (t == NULL) return true;
    if (text->text_bytes >= sizeof name || memchr(text->text, 0, text->text_bytes) != NULL) return false;
    memcpy(name, text->text, text->text_bytes);
    name[text->text_bytes] = 0;
    return tokenizer_id_of(t, name, &id);
}

typedef struct file_reader {
    json *parser;
    const char *text;
    const tokenizer *t;
    chat_source *source;
    bool wants_template, wants_specials;
    bool has_plain; /* a template was found */
} file_reader;

/* A token's value: its text, or an object whose "content" is that. Others (flags, null) are passed over. */
static leat_status read_special(file_reader *r, uint64_t key_offset, uint64_t key_bytes, leat_error *error)
{
    json_token value, member;
    const char *key = r->text + key_offset + 1;
    TRY(json_next(r->parser, &value, error));
    if (value.kind == JSON_STRING) {
        if (!has_token(r->t, &value)) return LEAT_OK;
        return add_special(r->source, key, key_bytes, r->text + value.offset, json_position(r->parser) - value.offset,
                           error);
    }
    if (value.kind != JSON_OBJECT_BEGIN) return json_skip_rest(r->parser, &value, error);
    for (;;) {
        TRY(json_next(r->parser, &member, error));
        if (member.kind == JSON_OBJECT_END) return LEAT_OK;
        bool is_content = json_text_is(&member, "content");
        TRY(json_next(r->parser, &value, error));
        TRY(json_skip_rest(r->parser, &value, error));
        if (!is_content || value.kind != JSON_STRING || !has_token(r->t, &value)) continue;
        TRY(add_special(r->source, key, key_bytes, r->text + value.offset, json_position(r->parser) - value.offset,
                        error));
    }
}

/* ---- templates ---- */

typedef enum template_name { TEMPLATE_OTHER, TEMPLATE_DEFAULT, TEMPLATE_TOOL_USE } template_name;

static leat_status keep_template(file_reader *r, template_name name, const char *text, uint64_t bytes,
                                 leat_error *error)
{
    text_buffer *out = name == TEMPLATE_TOOL_USE ? &r->source->with_tools : &r->source->plain;
    if (name == TEMPLATE_OTHER) return LEAT_OK;
    out->count = 0;
    if (name == TEMPLATE_DEFAULT) r->has_plain = true;
    return text_buffer_append(out, text, bytes, error);
}

/* {"name": "default", "template": "..."}, in either order. */
static leat_status read_named_template(file_reader *r, leat_error *error)
{
    json_token key, value;
    template_name name = TEMPLATE_OTHER;
    text_buffer text;
    leat_status status = LEAT_OK;
    text_buffer_init(&text, r->source->plain.ledger);
    for (;;) {
        TRY_OR(out, json_next(r->parser, &key, error));
        if (key.kind == JSON_OBJECT_END) break;
        bool is_name = json_text_is(&key, "name"), is_template = json_text_is(&key, "template");
        TRY_OR(out, json_next(r->parser, &value, error));
        if (is_name && value.kind == JSON_STRING)
            name = json_text_is(&value, "default")    ? TEMPLATE_DEFAULT
                   : json_text_is(&value, "tool_use") ? TEMPLATE_TOOL_USE
                                                      : TEMPLATE_OTHER;
        if (is_template && value.kind == JSON_STRING)
            TRY_OR(out, text_buffer_append(&text, value.text, value.text_bytes, error));
        TRY_OR(out, json_skip_rest(r->parser, &value, error));
    }
    if (text.count > 0) status = keep_template(r, name, text.bytes, text.count, error);
out:
    text_buffer_reset(&text);
    return status;
}

static leat_status read_templates(file_reader *r, leat_error *error)
{
    json_token value;
    TRY(json_next(r->parser, &value, error));
    if (value.kind == JSON_STRING) return keep_template(r, TEMPLATE_DEFAULT, value.text, value.text_bytes, error);
    if (value.kind != JSON_ARRAY_BEGIN) return json_skip_rest(r->parser, &value, error);
    for (;;) {
        TRY(json_next(r->parser, &value, error));
        if (value.kind == JSON_ARRAY_END) return LEAT_OK;
        if (value.kind == JSON_OBJECT_BEGIN)
            TRY(read_named_template(r, error));
        else
            TRY(json_skip_rest(r->parser, &value, error));
    }
}

static leat_status read_members(file_reader *r, leat_error *error)
{
    json_token key;
    TRY(json_next(r->parser, &key, error));
    if (key.kind != JSON_OBJECT_BEGIN) return json_fail_at(r->parser, key.offset, error, "expected an object");
    for (;;) {
        TRY(json_next(r->parser, &key, error));
        if (key.kind == JSON_OBJECT_END) break;
        if (r->wants_template && json_text_is(&key, "chat_template"))
            TRY(read_templates(r, error));
        else if (r->wants_specials && ends_with(&key, "_token"))
            TRY(read_special(r, key.offset, key.text_bytes, error));
        else
            TRY(json_skip(r->parser, error));
    }
    return json_next(r->parser, &key, error); /* the end, or an error about what follows */
}

static leat_status read_file(const char *name, chat_file file, const tokenizer *t, bool wants_template,
                             bool wants_specials, chat_source *source, leat_error *error)
{
    json_limits limits = json_limits_default;
    file_reader r = {.text = file.bytes,
                     .t = t,
                     .source = source,
                     .wants_template = wants_template,
                     .wants_specials = wants_specials};
    if (file.bytes == NULL) return LEAT_OK;
    limits.depth_max = FILE_DEPTH_MAX;
    limits.string_bytes_max = TEMPLATE_BYTES_MAX;
    TRY(json_open(source->plain.ledger, MEM_TOKENIZER, name, file.bytes, file.count, &limits, &r.parser, error));
    leat_status status = read_members(&r, error);
    json_close(&r.parser);
    if (status == LEAT_OK && (source->plain.count > 0 || source->with_tools.count > 0) && source->origin == NULL)
        source->origin = name;
    return status;
}

static leat_status take_builtin(const tokenizer *t, chat_source *source, leat_error *error)
{
    const chat_builtin *builtin = t == NULL ? NULL : chat_builtin_find(t);
    if (builtin == NULL) return LEAT_OK;
    source->origin = "built in";
    return text_buffer_append(&source->plain, builtin->text, strlen(builtin->text), error);
}

leat_status chat_source_find(const chat_files *files, const tokenizer *t, chat_source *source, leat_error *error)
{
    if (files->template_jinja.bytes != NULL) {
        source->origin = "chat_template.jinja";
        TRY(text_buffer_append(&source->plain, files->template_jinja.bytes, files->template_jinja.count, error));
    }
    TRY(read_file("tokenizer_config.json", files->tokenizer_config, t, source->origin == NULL, true, source, error));
    TRY(read_file("chat_template.json", files->template_json, t, source->origin == NULL, false, source, error));
    TRY(read_file("special_tokens_map.json", files->special_tokens_map, t, false, true, source, error));
    if (source->plain.count == 0 && source->with_tools.count > 0) { /* a list without a "default" */
        TRY(text_buffer_append(&source->plain, source->with_tools.bytes, source->with_tools.count, error));
        text_buffer_reset(&source->with_tools);
    }
    return source->origin == NULL ? take_builtin(t, source, error) : LEAT_OK;
}

const char *chat_template_family(const char *text, uint64_t bytes)
{
    static const struct {
        const char *mark, *family;
    } rows[] = {
        {"<|turn>", "gemma4"},
        {"<start_of_turn>", "gemma"},
        {"<|start_header_id|>", "llama3"},
        {"<|im_middle|>", "kimi"},
        {"<|im_start|>", "chatml"},
        {"<|channel|>", "harmony"},
        {"[gMASK]", "glm"},
        {"\xef\xbd\x9c", "deepseek"}, /* the full-width bar of its control tokens */
        {"]~b]", "minimax"},
        {"<|START_OF_TURN_TOKEN|>", "cohere"},
        {"<|start_of_role|>", "granite"},
        {"[INST]", "mistral"},
        {"<|end|>", "phi"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (memmem(text, bytes, rows[i].mark, strlen(rows[i].mark)) != NULL) return rows[i].family;
    return "other";
}

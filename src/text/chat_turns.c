/*
 * chat_turns.c - the turns of three families, written by one small writer: it collects text until a control token
 * comes, and encodes what it has collected in one go. So the words of the format ("user\n") and the message that
 * follows are one text for the tokenizer, as they are when a template is rendered first and encoded then.
 */
#include "text/chat_turns.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_class.h"

#include <assert.h>
#include <string.h>

enum { CONTROL_TOKENS_MAX = 4 };

static const struct {
    const char *label;
    const char *needed[CONTROL_TOKENS_MAX + 1]; /* the control tokens by which the format is known; NULL ends */
} formats[] = {
    [CHAT_FORMAT_NONE] = {"none", {NULL}},
    [CHAT_FORMAT_GEMMA4] = {"gemma4", {"<bos>", "<|turn>", "<turn|>", NULL}},
    [CHAT_FORMAT_CHATML] = {"chatml", {"<|im_start|>", "<|im_end|>", NULL}},
    [CHAT_FORMAT_LLAMA3] = {"llama3",
                            {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", NULL}},
};

static bool find_control(const tokenizer *t, const char *token, uint32_t *out_id)
{
    return tokenizer_id_of(t, token, out_id) && (t->vocab.flags[*out_id] & VOCABULARY_ADDED) != 0;
}

static bool carries(const tokenizer *t, chat_format format)
{
    uint32_t id;
    for (size_t i = 0; formats[format].needed[i] != NULL; i++)
        if (!find_control(t, formats[format].needed[i], &id)) return false;
    return format != CHAT_FORMAT_NONE;
}

chat_format chat_format_detect(const tokenizer *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(formats); i++)
        if (carries(t, (chat_format)i)) return (chat_format)i;
    return CHAT_FORMAT_NONE;
}

const char *chat_format_label(chat_format format)
{
    return (size_t)format < ARRAY_COUNT(formats) ? formats[format].label : "unknown";
}

typedef struct writer {
    const tokenizer *t;
    token_list *ids;
    text_buffer *text; /* or NULL */
    text_buffer collected;
    leat_error *error;
} writer;

static leat_status write_slice(writer *w, text_slice text)
{
    if (w->text != NULL) TRY(text_buffer_append(w->text, text.bytes, text.count, w->error));
    return text_buffer_append(&w->collected, text.bytes, text.count, w->error);
}

static leat_status write_text(writer *w, const char *text) { return write_slice(w, (text_slice){text, strlen(text)}); }

static leat_status encode_collected(writer *w)
{
    if (w->collected.count == 0) return LEAT_OK;
    TRY(tokenizer_encode_message(w->t, w->collected.bytes, w->collected.count, w->ids, w->error));
    w->collected.count = 0;
    return LEAT_OK;
}

static leat_status write_control(writer *w, const char *token)
{
    uint32_t id;
    TRY(encode_collected(w));
    if (!find_control(w->t, token, &id))
        return FAIL(w->error, USAGE, "the tokenizer has no control token %s, which this chat format needs", token);
    if (w->text != NULL) TRY(text_buffer_append(w->text, token, strlen(token), w->error));
    return token_list_push(w->ids, id, w->error);
}

/* A mark that belongs to no format's needed tokens: where the tokenizer lacks it it is text, as in a rendered template.
 */
static leat_status write_mark(writer *w, const char *token)
{
    uint32_t id;
    return find_control(w->t, token, &id) ? write_control(w, token) : write_text(w, token);
}

/* Without the white space at both ends, as the templates' trim. */
static text_slice trim(text_slice text)
{
    uint32_t scalar;
    while (text.count > 0) {
        size_t length = utf8_decode(text.bytes, text.count, &scalar, NULL);
        if (!unicode_is_python_space(scalar)) break;
        text = (text_slice){text.bytes + length, text.count - length};
    }
    while (text.count > 0) {
        uint64_t last = text.count - 1;
        while (((unsigned char)text.bytes[last] & 0xc0) == 0x80) last--;
        utf8_decode(text.bytes + last, text.count - last, &scalar, NULL);
        if (!unicode_is_python_space(scalar)) break;
        text.count = last;
    }
    return text;
}

static const char *find_in(text_slice text, const char *wanted)
{
    return text.bytes == NULL ? NULL : memmem(text.bytes, text.count, wanted, strlen(wanted));
}

/* A model's earlier thoughts, <|channel> to <channel|>, are not shown to it again. */
static leat_status copy_without_thoughts(text_slice text, text_buffer *out, leat_error *error)
{
    static const char open_mark[] = "<|channel>", close_mark[] = "<channel|>";
    while (text.count > 0) {
        const char *close = find_in(text, close_mark);
        text_slice part = {text.bytes, close == NULL ? text.count : (uint64_t)(close - text.bytes)};
        const char *open = find_in(part, open_mark);
        TRY(text_buffer_append(out, part.bytes, open == NULL ? part.count : (uint64_t)(open - part.bytes), error));
        uint64_t used = close == NULL ? text.count : part.count + strlen(close_mark);
        text = (text_slice){text.bytes + used, text.count - used};
    }
    return LEAT_OK;
}

static leat_status write_model_content(writer *w, text_slice content)
{
    text_buffer kept;
    text_buffer_init(&kept, w->t->ledger);
    leat_status status = copy_without_thoughts(content, &kept, w->error);
    if (status == LEAT_OK) status = write_slice(w, trim((text_slice){kept.bytes, kept.count}));
    text_buffer_reset(&kept);
    return status;
}

static leat_status write_gemma4(writer *w, const chat_message *messages, uint32_t count,
                                const chat_render_options *options)
{
    TRY(write_control(w, "<bos>"));
    for (uint32_t i = 0; i < count; i++) {
        text_slice content = {messages[i].content, strlen(messages[i].content)};
        bool is_model = strcmp(messages[i].role, "assistant") == 0;
        TRY(write_control(w, "<|turn>"));
        TRY(write_text(w, is_model ? "model" : messages[i].role));
        TRY(write_text(w, "\n"));
        TRY(is_model ? write_model_content(w, content) : write_slice(w, trim(content)));
        TRY(write_control(w, "<turn|>"));
        TRY(write_text(w, "\n"));
    }
    if (!options->add_generation_prompt) return LEAT_OK;
    TRY(write_control(w, "<|turn>"));
    TRY(write_text(w, "model\n"));
    if (!options->empty_thought) return LEAT_OK;
    TRY(write_mark(w, "<|channel>"));
    TRY(write_text(w, "thought\n"));
    return write_mark(w, "<channel|>");
}

static leat_status write_chatml(writer *w, const chat_message *messages, uint32_t count,
                                const chat_render_options *options)
{
    for (uint32_t i = 0; i < count; i++) {
        TRY(write_control(w, "<|im_start|>"));
        TRY(write_text(w, messages[i].role));
        TRY(write_text(w, "\n"));
        TRY(write_text(w, messages[i].content));
        TRY(write_control(w, "<|im_end|>"));
        TRY(write_text(w, "\n"));
    }
    if (!options->add_generation_prompt) return LEAT_OK;
    TRY(write_control(w, "<|im_start|>"));
    return write_text(w, "assistant\n");
}

static leat_status write_llama3_header(writer *w, const char *role)
{
    TRY(write_control(w, "<|start_header_id|>"));
    TRY(write_text(w, role));
    TRY(write_control(w, "<|end_header_id|>"));
    return write_text(w, "\n\n");
}

static leat_status write_llama3(writer *w, const chat_message *messages, uint32_t count,
                                const chat_render_options *options)
{
    TRY(write_control(w, "<|begin_of_text|>"));
    for (uint32_t i = 0; i < count; i++) {
        TRY(write_llama3_header(w, messages[i].role));
        TRY(write_slice(w, trim((text_slice){messages[i].content, strlen(messages[i].content)})));
        TRY(write_control(w, "<|eot_id|>"));
    }
    return options->add_generation_prompt ? write_llama3_header(w, "assistant") : LEAT_OK;
}

static leat_status check_messages(const chat_message *messages, uint32_t count, leat_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *role = messages[i].role, *content = messages[i].content;
        assert(role != NULL && content != NULL);
        if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0)
            return FAIL(error, USAGE, "message %u has the role \"%s\"; known are system, user and assistant", i,
                        vocabulary_cut(role, strlen(role)).text);
        size_t bytes = strlen(content), valid = utf8_valid_bytes(content, bytes);
        if (valid < bytes) return FAIL(error, USAGE, "message %u (%s) is not valid UTF-8 at byte %zu", i, role, valid);
    }
    return LEAT_OK;
}

leat_status chat_render(const tokenizer *t, chat_format format, const chat_message *messages, uint32_t count,
                        const chat_render_options *options, token_list *out_ids, text_buffer *out_text,
                        leat_error *error)
{
    if ((size_t)format >= ARRAY_COUNT(formats) || !carries(t, format))
        return FAIL(error, USAGE, "the tokenizer does not carry the control tokens of the chat format %s",
                    chat_format_label(format));
    TRY(check_messages(messages, count, error));

    uint64_t ids_before = out_ids->count, text_before = out_text == NULL ? 0 : out_text->count;
    writer w = {.t = t, .ids = out_ids, .text = out_text, .error = error};
    text_buffer_init(&w.collected, t->ledger);
    leat_status status = LEAT_USAGE;
    switch (format) {
    case CHAT_FORMAT_GEMMA4: status = write_gemma4(&w, messages, count, options); break;
    case CHAT_FORMAT_CHATML: status = write_chatml(&w, messages, count, options); break;
    case CHAT_FORMAT_LLAMA3: status = write_llama3(&w, messages, count, options); break;
    case CHAT_FORMAT_NONE: break;
    }
    if (status == LEAT_OK) status = encode_collected(&w);
    text_buffer_reset(&w.collected);
    if (status != LEAT_OK) {
        out_ids->count = ids_before;
        if (out_text != NULL) out_text->count = text_before;
    }
    return status;
}

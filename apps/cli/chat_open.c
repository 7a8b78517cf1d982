#include "chat_open.h"

#include "input.h"

#include "base/bytes.h"
#include "base/json.h"

#include <string.h>

enum { THINK_AUTO, THINK_ON, THINK_OFF }; /* the words of --think */

/* Its objects are looked at by who renders them. */
static leat_status check_list(const cli *c, const strbuf *text, leat_error *error)
{
    json_limits limits = json_limits_default;
    json *parser = NULL;
    json_token token;
    limits.depth_max = JSON_DEPTH_MAX;
    TRY(json_open(c->ledger, MEM_META, "--tools", strbuf_text(text), text->count, &limits, &parser, error));
    leat_status status = json_next(parser, &token, error);
    if (status == LEAT_OK && token.kind != JSON_ARRAY_BEGIN)
        status = json_fail_at(parser, token.offset, error, "expected a list of tools");
    if (status == LEAT_OK) status = json_skip_rest(parser, &token, error);
    if (status == LEAT_OK) status = json_next(parser, &token, error);
    json_close(&parser);
    if (status != LEAT_MODEL) return status;
    if (error) error->status = LEAT_USAGE; /* the file is the user's, not a model's */
    return LEAT_USAGE;
}

static leat_status read_tools(const cli *c, strbuf *tools, leat_error *error)
{
    if (!c->options.tools) return LEAT_OK;
    TRY(input_read_file(c, c->options.tools, tools, error));
    return check_list(c, tools, error);
}

leat_status chat_open_template(const cli *c, const leat_tokenizer *tokenizer, leat_chat **out_chat, leat_error *error)
{
    strbuf text = {.ledger = c->ledger};
    if (!c->options.chat_template) return leat_chat_open(tokenizer, NULL, 0, out_chat, error);
    leat_status status = input_read_file(c, c->options.chat_template, &text, error);
    if (status == LEAT_OK) status = leat_chat_open(tokenizer, strbuf_text(&text), text.count, out_chat, error);
    strbuf_reset(&text);
    return status;
}

leat_status chat_frame_open(const cli *c, const leat_tokenizer *tokenizer, chat_frame *frame, bool *out_is_missing,
                            leat_error *error)
{
    *frame = (chat_frame){.c = c, .tools = {.ledger = c->ledger}};
    leat_status status = chat_open_template(c, tokenizer, &frame->chat, error);
    *out_is_missing = status == LEAT_USAGE && !c->options.chat_template;
    TRY(status);
    return read_tools(c, &frame->tools, error);
}

void chat_frame_close(chat_frame *frame)
{
    leat_chat_close(&frame->chat);
    if (frame->tools.ledger) strbuf_reset(&frame->tools);
}

bool chat_frame_can_think(const chat_frame *frame) { return leat_chat_get_info(frame->chat).can_think; }

/* Families have three names for the switch. An effort is named only where the template has no switch: there it is what
 * comes nearest. */
static const char *think_kwargs(const chat_frame *frame)
{
    const leat_chat_info info = leat_chat_get_info(frame->chat);
    const bool is_on = frame->c->options.think == THINK_ON;
    if (frame->c->options.think == THINK_AUTO) return "";
    if (!strstr(info.template_text, "enable_thinking") && strstr(info.template_text, "reasoning_effort"))
        return is_on ? "{\"reasoning_effort\": \"high\"}" : "{\"reasoning_effort\": \"low\"}";
    return is_on ? "{\"enable_thinking\": true, \"thinking\": true}"
                 : "{\"enable_thinking\": false, \"thinking\": false}";
}

/* gpt-oss's template refuses a call with text and a thought before it. */
static bool refuses_text_beside_thought(const chat_frame *frame)
{
    return strstr(leat_chat_get_info(frame->chat).template_text, "Cannot pass both content and thinking") != NULL;
}

static leat_status describe_answer(const chat_frame *frame, const leat_text *prompt, answer_source *source,
                                   leat_error *error)
{
    source->format = leat_chat_get_info(frame->chat).answer_format;
    source->prompt_end_bytes = min_u64(prompt->count, sizeof source->prompt_end);
    memcpy(source->prompt_end, prompt->bytes + prompt->count - source->prompt_end_bytes, source->prompt_end_bytes);
    strbuf_cut(&source->request, 0);
    if (frame->tools.count == 0) return LEAT_OK;
    TRY(strbuf_append_text(&source->request, "{\"tools\": ", error));
    TRY(strbuf_append(&source->request, frame->tools.bytes, frame->tools.count, error));
    return strbuf_append_text(&source->request, "}", error);
}

leat_status chat_frame_render(const chat_frame *frame, const conversation *talk, leat_tokens *out_ids,
                              leat_text *out_shown, answer_source *out_source, leat_error *error)
{
    strbuf request = {.ledger = frame->c->ledger};
    leat_text shown = {0};
    const conversation_rules rules = {strbuf_text(&frame->tools), think_kwargs(frame),
                                      refuses_text_beside_thought(frame)};
    leat_status status = conversation_request(talk, &rules, &request, error);
    if (status == LEAT_OK)
        status = leat_chat_render(frame->chat, strbuf_text(&request), request.count, out_ids,
                                  out_shown || out_source ? &shown : NULL, error);
    strbuf_reset(&request);
    if (status == LEAT_OK && out_source) status = describe_answer(frame, &shown, out_source, error);
    if (status == LEAT_OK && out_shown) {
        *out_shown = shown;
        shown = (leat_text){0};
    }
    leat_text_free(&shown);
    return status;
}

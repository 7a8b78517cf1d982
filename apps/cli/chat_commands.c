/* chat_commands.c - what a line with a slash does in a chat. */
#include "account.h"
#include "chat.h"
#include "external_editor.h"
#include "input.h"

#include <stdio.h>
#include <string.h>

typedef leat_status command_fn(chat *t, const char *rest, leat_error *error);

static leat_status show_help(chat *t, const char *rest, leat_error *error);

static leat_status end(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    t->is_over = true;
    return LEAT_OK;
}

static leat_status clear(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    conversation_clear(&t->talk);
    chat_say(t, "A new conversation.");
    return LEAT_OK;
}

static leat_status answer_again(chat *t, const char *rest, leat_error *error)
{
    (void)rest;
    if (strcmp(conversation_last_role(&t->talk), "assistant") == 0) conversation_drop_last(&t->talk);
    if (t->talk.count > 0) return chat_answer(t, error);
    chat_say(t, "There is nothing to answer yet.");
    return LEAT_OK;
}

static leat_status undo(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    if (t->talk.count == 0)
        chat_say(t, "There is nothing to undo.");
    else
        chat_say(t, "The last question and its answer are forgotten.");
    if (strcmp(conversation_last_role(&t->talk), "assistant") == 0) conversation_drop_last(&t->talk);
    conversation_drop_last(&t->talk);
    return LEAT_OK;
}

static leat_status set_system(chat *t, const char *rest, leat_error *error)
{
    TRY(conversation_set_system(&t->talk, rest, error));
    chat_say(t, *rest ? "The instructions hold from the next question on." : "There are no instructions now.");
    return LEAT_OK;
}

/* Options of the answer only: the engine's are fixed when it is opened. */
static const option_spec *find_setting(const char *name)
{
    const option_spec *spec = option_find(VERB_CHAT, name);
    return spec && spec->group == GROUP_ANSWER && option_is_setting(spec) ? spec : NULL;
}

static leat_status set_option(chat *t, const char *rest, leat_error *error)
{
    char name[64];
    const char *value, *kept;
    size_t length = strcspn(rest, " ");
    value = rest + length + strspn(rest + length, " ");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), rest);
    const option_spec *spec = find_setting(name);
    if (!spec || !*value) {
        chat_say(t, spec ? "/set %s needs a value" : "/set: there is no setting '%s' for answers; see /show", name);
        return LEAT_OK;
    }
    leat_error refused = {0};
    TRY(arena_copy_text(&t->c->memory, value, strlen(value), &kept, error));
    if (option_set(&t->c->options, spec, name, kept, &refused) != LEAT_OK) {
        chat_say(t, "/set: %s", refused.text);
        return LEAT_OK;
    }
    return chat_open_sampler(t, error);
}

static leat_status show_settings(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    const leat_sampler_options *s = &t->sampling;
    const leat_model_info *info = t->setup.info;
    chat_say(t, "model      %s (%s)", info->path, info->architecture);
    chat_say(t, "context    %u tokens", t->setup.plan->ctx);
    chat_say(t, "sampling   temp %g, top-k %u, top-p %g, min-p %g, repeat-penalty %g, seed %llu",
             (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, (double)s->repeat_penalty,
             (unsigned long long)s->seed);
    if (t->c->options.max_tokens != UINT32_MAX) chat_say(t, "max-tokens %u", t->c->options.max_tokens);
    for (uint32_t i = 0; i < t->c->options.stop.count; i++) chat_say(t, "stop       %s", t->c->options.stop.items[i]);
    chat_say(t, "system     %s", t->talk.system ? t->talk.system : "(none)");
    return LEAT_OK;
}

static leat_status show_stats(chat *t, const char *rest, leat_error *error)
{
    (void)rest;
    TRY(output_flush(&t->c->out, error));
    if (t->last.prompt_count > 0)
        account_report_block(&t->setup, &t->last, &t->before);
    else
        chat_say(t, "There is no answer yet.");
    return LEAT_OK;
}

static leat_status ask_file(chat *t, const char *rest, leat_error *error)
{
    strbuf text = {.ledger = t->c->ledger};
    leat_error refused = {0};
    leat_status status = LEAT_OK;
    if (!*rest || input_read_file(t->c, rest, &text, &refused) != LEAT_OK)
        chat_say(t, "/read: %s", *rest ? refused.text : "which file?");
    else if (text.count == 0 || strlen(text.bytes) != text.count)
        chat_say(t, "/read: %s: not a text", rest);
    else
        status = chat_ask(t, text.bytes, error);
    strbuf_reset(&text);
    return status;
}

static leat_status edit_question(chat *t, const char *rest, leat_error *error)
{
    strbuf text = {.ledger = t->c->ledger};
    leat_error refused = {0};
    if (!t->is_interactive) {
        chat_say(t, "/edit needs a terminal.");
        return LEAT_OK;
    }
    leat_status status = strbuf_append_text(&text, rest, error);
    if (status == LEAT_OK) status = output_flush(&t->c->out, error);
    if (status == LEAT_OK && external_editor_run(&text, &refused) != LEAT_OK)
        chat_say(t, "/edit: %s", refused.text);
    else if (status == LEAT_OK && text.count > 0)
        status = chat_ask(t, text.bytes, error);
    strbuf_reset(&text);
    return status;
}

static leat_status show_tokens(chat *t, const char *rest, leat_error *error)
{
    (void)rest;
    size_t count;
    TRY(chat_count_tokens(t, &count, error));
    chat_say(t, "%zu of %u tokens", count, t->setup.plan->ctx);
    return LEAT_OK;
}

static const struct chat_command_row {
    const char *name, *others, *words, *help; /* others: more names, each with a space behind it */
    command_fn *fn;
} commands[] = {
    {"/help", "/? ", "", "this list", show_help},
    {"/exit", "/bye /quit /q ", "", "end (as Ctrl-D)", end},
    {"/clear", "/reset ", "", "begin a new conversation", clear},
    {"/regen", "", "", "answer the last question again", answer_again},
    {"/undo", "", "", "forget the last question and its answer", undo},
    {"/system", "", "TEXT", "instructions that stand before the conversation", set_system},
    {"/set", "", "NAME VALUE", "change an option of the answers, such as temp or max-tokens", set_option},
    {"/show", "", "", "the model and the settings", show_settings},
    {"/stats", "", "", "what the last answer cost", show_stats},
    {"/read", "", "FILE", "ask what stands in a file", ask_file},
    {"/edit", "", "TEXT", "write the question in your editor ($VISUAL); Ctrl-G for the line", edit_question},
    {"/tokens", "", "", "how full the context is", show_tokens},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

const char *const chat_command_names[] = {"/help",   "/exit", "/bye",  "/quit",  "/clear", "/reset", "/regen",  "/undo",
                                          "/system", "/set",  "/show", "/stats", "/read",  "/edit",  "/tokens", NULL};

static leat_status show_help(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char head[48];
        snprintf(head, sizeof head, "%s %s", commands[i].name, commands[i].words);
        chat_say(t, "  %-18s %s", head, commands[i].help);
    }
    chat_say(t, "  \"\"\" ... \"\"\"        a question of several lines; so does a backslash at the end of a line");
    chat_say(t, "  //...              a question that begins with a slash");
    chat_say(t, "  Ctrl-C             stop the answer");
    return LEAT_OK;
}

static bool is_named(const struct chat_command_row *row, const char *word, size_t length)
{
    if (strlen(row->name) == length && strncmp(row->name, word, length) == 0) return true;
    for (const char *other = row->others; *other; other += strcspn(other, " ") + 1)
        if (strcspn(other, " ") == length && strncmp(other, word, length) == 0) return true;
    return false;
}

leat_status chat_command(chat *t, const char *line, leat_error *error)
{
    size_t length = strcspn(line, " \n");
    const char *rest = line + length + strspn(line + length, " \n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (is_named(&commands[i], line, length)) return commands[i].fn(t, rest, error);
    chat_say(t, "There is no command %.*s; /help lists them. A question that begins with a slash is typed with two.",
             (int)(length < 64 ? length : 64), line);
    return LEAT_OK;
}

/* chat_commands.c - what a line with a slash does in a chat. */
#include "account.h"
#include "chat.h"
#include "external_editor.h"
#include "input.h"
#include "paths.h"

#include "base/bytes.h"
#include "base/utf8.h"

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
    chat_message before;
    bool is_answered = false;
    if (t->talk.count == 0) {
        chat_say(t, "There is nothing to answer yet.");
        return LEAT_OK;
    }
    const bool had_answer = conversation_take_answer(&t->talk, &before);
    if (t->sampling.temperature > 0) chat_say(t, "[seed %llu]", (unsigned long long)t->sampling.seed);
    leat_status status = chat_answer(t, &is_answered, error);
    if (had_answer && !is_answered && status == LEAT_OK)
        conversation_put_back(&t->talk, &before);
    else if (had_answer)
        chat_message_reset(&before);
    return status;
}

static leat_status undo(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    if (t->talk.count == 0)
        chat_say(t, "There is nothing to undo.");
    else
        chat_say(t, "The last question and its answer are forgotten.");
    conversation_drop_answer(&t->talk);
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
const option_spec *chat_find_setting(const char *name)
{
    const option_spec *spec = option_find(VERB_CHAT, name);
    return spec && spec->group == GROUP_ANSWER && option_is_setting(spec) ? spec : NULL;
}

/* As on a command line, but that texts take the place of those before them; "none": there are none. */
static leat_status apply_setting(cli_options *options, const option_spec *spec, const char *value, leat_error *error)
{
    if (spec->kind == KIND_TEXTS) {
        *(option_texts *)((char *)options + spec->offset) = (option_texts){0};
        if (strcmp(value, "none") == 0) return LEAT_OK;
    }
    return option_set(options, spec, spec->name, value, error);
}

static leat_status set_option(chat *t, const char *rest, leat_error *error)
{
    char name[64];
    const char *value, *kept;
    size_t length = strcspn(rest, " ");
    value = rest + length + strspn(rest + length, " ");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), rest);
    const option_spec *spec = chat_find_setting(name);
    if (!spec || !*value) {
        chat_say(t, spec ? "/set %s needs a value" : "/set: there is no setting '%s' for answers; see /show", name);
        return LEAT_OK;
    }
    leat_error refused = {0};
    TRY(arena_copy_text(&t->c->memory, value, strlen(value), &kept, error));
    if (apply_setting(&t->c->options, spec, kept, &refused) != LEAT_OK) {
        chat_say(t, "/set: %s", refused.text);
        return LEAT_OK;
    }
    chat_take_options(t, spec->id == OPTION_seed);
    return LEAT_OK;
}

static const char *const think_words[] = {"auto", "on", "off"};

static leat_status set_thinking(chat *t, const char *rest, leat_error *error)
{
    leat_error refused = {0};
    (void)error;
    if (*rest && option_set(&t->c->options, &option_specs[OPTION_think], "/think", rest, &refused) != LEAT_OK)
        chat_say(t, "%s", refused.text);
    else if (!chat_frame_can_think(&t->frame))
        chat_say(t, "This model's template knows nothing of thinking.");
    else
        chat_say(t, "thinking: %s", think_words[t->c->options.think]);
    return LEAT_OK;
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
    chat_say(t, "thinking   %s%s", think_words[t->c->options.think], t->c->options.hide_thinking ? ", hidden" : "");
    chat_say(t, "system     %s", t->talk.system.count > 0 ? t->talk.system.bytes : "(none)");
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

/* The rest of a line as a file's name, without the spaces around it; says what is wrong, and is false, when there is
 * none. */
static bool take_path(chat *t, const char *command, const char *rest, char out[PATH_BYTES_MAX])
{
    if (!path_expand(rest, out))
        chat_say(t, "%s: the name is too long", command);
    else if (!*out)
        chat_say(t, "%s: which file?", command);
    else
        return true;
    return false;
}

static leat_status ask_file(chat *t, const char *rest, leat_error *error)
{
    char path[PATH_BYTES_MAX];
    strbuf text = {.ledger = t->c->ledger};
    leat_error refused = {0};
    leat_status status = LEAT_OK;
    if (!take_path(t, "/read", rest, path)) return LEAT_OK;
    if (input_read_file(t->c, path, &text, &refused) != LEAT_OK)
        chat_say(t, "/read: %s", refused.text);
    else if (text.count == 0 || strlen(text.bytes) != text.count ||
             utf8_valid_bytes(text.bytes, text.count) != text.count)
        chat_say(t, "/read: %s: not a text", path);
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

static leat_status save(chat *t, const char *rest, leat_error *error)
{
    static const char force[] = "--force ";
    char path[PATH_BYTES_MAX];
    leat_error refused = {0};
    const bool is_forced = strncmp(rest, force, sizeof force - 1) == 0;
    (void)error;
    if (is_forced) rest += sizeof force - 1;
    if (!take_path(t, "/save", rest + strspn(rest, " "), path)) return LEAT_OK;
    if (chat_save(t, path, is_forced, &refused) == LEAT_OK)
        chat_say(t, "%zu messages are in %s", t->talk.count, path);
    else
        chat_say(t, "/save: %s%s", refused.text, is_forced ? "" : "; /save --force FILE replaces any regular file");
    return LEAT_OK;
}

static leat_status load(chat *t, const char *rest, leat_error *error)
{
    char path[PATH_BYTES_MAX];
    leat_error refused = {0};
    (void)error;
    if (!take_path(t, "/load", rest, path)) return LEAT_OK;
    if (chat_load(t, path, false, &refused) != LEAT_OK) chat_say(t, "/load: %s", refused.text);
    return LEAT_OK;
}

typedef enum command_argument {
    ARGUMENT_NONE,
    ARGUMENT_TEXT,
    ARGUMENT_FILE,
    ARGUMENT_SETTING,
    ARGUMENT_THINK
} command_argument;

static const struct chat_command_row {
    const char *name, *others, *words, *help; /* others: more names, each with a space behind it */
    command_argument argument;
    command_fn *fn;
} commands[] = {
    {"/help", "/? ", "", "this list", ARGUMENT_NONE, show_help},
    {"/exit", "/bye /quit /q ", "", "end (as Ctrl-D)", ARGUMENT_NONE, end},
    {"/clear", "/reset ", "", "begin a new conversation", ARGUMENT_NONE, clear},
    {"/regen", "", "", "answer the last question again, with the next seed", ARGUMENT_NONE, answer_again},
    {"/undo", "", "", "forget the last question and its answer", ARGUMENT_NONE, undo},
    {"/edit", "", "TEXT", "write the question in your editor ($VISUAL); Ctrl-G for the line", ARGUMENT_TEXT,
     edit_question},
    {"/system", "", "TEXT", "instructions that stand before the conversation", ARGUMENT_TEXT, set_system},
    {"/set", "", "NAME VALUE", "change an option of the answers, such as temp or max-tokens", ARGUMENT_SETTING,
     set_option},
    {"/think", "", "on|off|auto", "whether the model thinks before it answers", ARGUMENT_THINK, set_thinking},
    {"/show", "", "", "the model and the settings", ARGUMENT_NONE, show_settings},
    {"/stats", "", "", "what the last answer cost", ARGUMENT_NONE, show_stats},
    {"/tokens", "", "", "how full the context is", ARGUMENT_NONE, show_tokens},
    {"/save", "", "FILE", "keep the conversation in a file", ARGUMENT_FILE, save},
    {"/load", "", "FILE", "go on with a conversation that was kept", ARGUMENT_FILE, load},
    {"/read", "", "FILE", "ask what stands in a file", ARGUMENT_FILE, ask_file},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

void chat_list_commands(chat_command_fn *fn, void *user)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char head[48];
        snprintf(head, sizeof head, "%s%s%s", commands[i].name, *commands[i].words ? " " : "", commands[i].words);
        fn(user, head, commands[i].help);
    }
}

static void say_command(void *user, const char *head, const char *help) { chat_say(user, "  %-18s %s", head, help); }

static leat_status show_help(chat *t, const char *rest, leat_error *error)
{
    (void)rest, (void)error;
    chat_list_commands(say_command, t);
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

static const struct chat_command_row *find_command(const char *line, size_t length)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (is_named(&commands[i], line, length)) return &commands[i];
    return NULL;
}

leat_status chat_command(chat *t, const char *line, leat_error *error)
{
    size_t length = strcspn(line, " \n");
    const char *rest = line + length + strspn(line + length, " \n");
    const struct chat_command_row *command = find_command(line, length);
    strbuf argument = {.ledger = t->c->ledger};
    if (!command) {
        chat_say(t,
                 "There is no command %.*s; /help lists them. A question that begins with a slash is typed with two.",
                 (int)(length < 64 ? length : 64), line);
        return LEAT_OK;
    }
    size_t count = strlen(rest);
    while (command->argument != ARGUMENT_TEXT && count > 0 && rest[count - 1] == ' ') count--;
    leat_status status = strbuf_append(&argument, rest, count, error);
    if (status == LEAT_OK) status = command->fn(t, strbuf_text(&argument), error);
    strbuf_reset(&argument);
    return status;
}

/* ---- Tab ------------------------------------------------------------------------------------------------------ */

static leat_status offer_commands(completion *out, const char *typed, leat_error *error)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        TRY(completion_offer(out, typed, commands[i].name, error));
        for (const char *other = commands[i].others; *other; other += strcspn(other, " ") + 1) {
            char name[16] = "";
            memcpy(name, other, min_u64(strcspn(other, " "), sizeof name - 1));
            TRY(completion_offer(out, typed, name, error));
        }
    }
    return LEAT_OK;
}

static leat_status offer_settings(completion *out, const char *typed, leat_error *error)
{
    for (uint32_t i = 0; i < OPTION_COUNT; i++)
        if (chat_find_setting(option_specs[i].name)) TRY(completion_offer(out, typed, option_specs[i].name, error));
    return LEAT_OK;
}

leat_status chat_complete(void *user, const char *line, completion *out, leat_error *error)
{
    (void)user;
    if (*line != '/' || strchr(line, '\n')) return LEAT_OK;
    const size_t length = strcspn(line, " ");
    const char *typed = line + length + strspn(line + length, " ");
    const struct chat_command_row *command = find_command(line, length);
    out->adds_space = true;
    if (line[length] == '\0') return offer_commands(out, line, error);
    out->begin = (size_t)(typed - line);
    switch (command ? command->argument : ARGUMENT_NONE) {
    case ARGUMENT_FILE: out->adds_space = false; return completion_offer_files(out, typed, error);
    case ARGUMENT_SETTING: return offer_settings(out, typed, error);
    case ARGUMENT_THINK:
        out->adds_space = false;
        for (int i = 0; i < 3; i++) TRY(completion_offer(out, typed, think_words[i], error));
        return LEAT_OK;
    default: return LEAT_OK;
    }
}

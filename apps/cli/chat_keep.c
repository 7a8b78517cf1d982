/* chat_keep.c - a chat's conversation and settings into a file, and back. */
#include "chat.h"
#include "report.h"

#include "base/visible.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- /save ---------------------------------------------------------------------------------------------------- */

static leat_status keep_number(kept_conversation *k, option_id id, double value, leat_error *error)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    /* Nine digits tell every float from its neighbours. */
    if ((float)strtod(text, NULL) != (float)value) snprintf(text, sizeof text, "%.9g", value);
    return kept_setting_add(k, option_specs[id].name, text, error);
}

static leat_status keep_count(kept_conversation *k, option_id id, uint32_t value, leat_error *error)
{
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    return kept_setting_add(k, option_specs[id].name, text, error);
}

/* What is in force, also where it is the model's default: it shall not depend on where it is loaded. */
static leat_status keep_sampling(kept_conversation *k, const leat_sampler_options *s, leat_error *error)
{
    TRY(keep_number(k, OPTION_temp, (double)s->temperature, error));
    TRY(keep_count(k, OPTION_top_k, s->top_k, error));
    TRY(keep_number(k, OPTION_top_p, (double)s->top_p, error));
    TRY(keep_number(k, OPTION_min_p, (double)s->min_p, error));
    TRY(keep_number(k, OPTION_repeat_penalty, (double)s->repeat_penalty, error));
    TRY(keep_number(k, OPTION_presence_penalty, (double)s->presence_penalty, error));
    return keep_number(k, OPTION_frequency_penalty, (double)s->frequency_penalty, error);
}

static leat_status keep_settings(const chat *t, kept_conversation *k, leat_error *error)
{
    static const char *const think_words[] = {"auto", "on", "off"};
    const cli_options *o = &t->c->options;
    TRY(keep_sampling(k, &t->sampling, error));
    if (o->max_tokens == UINT32_MAX)
        TRY(kept_setting_add(k, "max-tokens", "none", error));
    else
        TRY(keep_count(k, OPTION_max_tokens, o->max_tokens, error));
    TRY(kept_setting_add(k, "ignore-eos", o->ignore_eos ? "on" : "off", error));
    TRY(kept_setting_add(k, "think", think_words[o->think], error));
    for (uint32_t i = 0; i < o->stop.count; i++) TRY(kept_setting_add(k, "stop", o->stop.items[i], error));
    return LEAT_OK;
}

static leat_status keep_model(const chat *t, kept_conversation *k, leat_error *error)
{
    const leat_model_info *info = t->setup.info;
    const char *slash = strrchr(info->path, '/');
    TRY(strbuf_append_text(&k->model_name, slash && slash[1] ? slash + 1 : info->path, error));
    TRY(strbuf_append_text(&k->fingerprint, info->fingerprint, error));
    return strbuf_append(&k->tools, strbuf_text(&t->frame.tools), t->frame.tools.count, error);
}

leat_status chat_save(chat *t, const char *path, bool force, leat_error *error)
{
    kept_conversation k;
    kept_conversation_init(&k, t->c->ledger);
    leat_status status = keep_model(t, &k, error);
    if (status == LEAT_OK) status = keep_settings(t, &k, error);
    k.has_seed = true;
    k.seed = t->sampling.seed;
    const conversation own = k.talk;
    k.talk = t->talk; /* lent, not copied */
    if (status == LEAT_OK) status = conversation_save(&k, path, force, error);
    k.talk = own;
    kept_conversation_reset(&k);
    return status;
}

/* ---- /load ---------------------------------------------------------------------------------------------------- */

/* The values live as long as the program, as all options do. */
static leat_status take_setting(chat *t, const kept_setting *setting, bool is_opening, leat_error *error)
{
    const option_spec *spec = chat_find_setting(setting->name);
    const char *value;
    char where[80];
    if (!spec) return FAIL(error, USAGE, "there is no setting '%.60s' for answers", setting->name);
    if (is_opening && t->c->options.is_on_command_line[spec->id]) return LEAT_OK;
    snprintf(where, sizeof where, "settings: %s", spec->name);
    TRY(arena_copy_text(&t->c->memory, setting->value, strlen(setting->value), &value, error));
    return option_set(&t->c->options, spec, where, value, error);
}

static leat_status take_settings(chat *t, const kept_conversation *k, bool is_opening, leat_error *error)
{
    cli_options *o = &t->c->options;
    const cli_options before = *o;
    leat_status status = LEAT_OK;
    kept_setting setting;
    if (!is_opening || !o->is_on_command_line[OPTION_stop]) o->stop = (option_texts){0};
    for (size_t at = 0; status == LEAT_OK && kept_setting_next(k, &at, &setting);)
        status = take_setting(t, &setting, is_opening, error);
    if (status != LEAT_OK) *o = before;
    return status;
}

static void take_seed(chat *t, const kept_conversation *k, bool is_opening)
{
    chat_take_options(t, false);
    if (k->has_seed && !(is_opening && t->c->options.is_on_command_line[OPTION_seed])) t->sampling.seed = k->seed;
}

static void swap_text(strbuf *a, strbuf *b)
{
    const strbuf kept = *a;
    *a = *b;
    *b = kept;
}

/* What it replaces goes with `k`. */
static void take_talk(chat *t, kept_conversation *k, bool is_opening)
{
    const conversation before = t->talk;
    t->talk = k->talk;
    k->talk = before;
    if (is_opening && t->c->options.system) swap_text(&t->talk.system, &k->talk.system);
    if (!is_opening || !t->c->options.tools) swap_text(&t->frame.tools, &k->tools);
}

static void describe(chat *t, const kept_conversation *k, const char *path)
{
    const leat_model_info *info = t->setup.info;
    char name[200]; /* as any enemy may have written it */
    visible_text(strbuf_text(&k->model_name), k->model_name.count, name, sizeof name);
    if (strcmp(strbuf_text(&k->fingerprint), info->fingerprint) != 0)
        report_warning("%s: this conversation was with another model, %s", path, *name ? name : "which is not named");
    chat_say(t, "%zu messages from %s", t->talk.count, path);
}

leat_status chat_load(chat *t, const char *path, bool is_opening, leat_error *error)
{
    kept_conversation k;
    kept_conversation_init(&k, t->c->ledger);
    leat_status status = conversation_load(path, &k, error);
    if (status == LEAT_OK) status = take_settings(t, &k, is_opening, error);
    if (status == LEAT_OK) {
        take_seed(t, &k, is_opening);
        take_talk(t, &k, is_opening);
        describe(t, &k, path);
    }
    kept_conversation_reset(&k);
    return status;
}

/*
 * profile.c - profiles in the caller's folder: read, used, added to and forgotten.
 */
#include "api/profile.h"

#include "base/log.h"
#include "exec/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A profile with a ledger of its own. */
typedef struct lone_profile {
    mem *ledger;
    model_profile profile;
} lone_profile;

/* To be closed also after a failure. */
static leat_status lone_profile_open(const leat_model *m, lone_profile *out, leat_error *error)
{
    *out = (lone_profile){0};
    TRY(mem_open(0, &out->ledger, error));
    return model_profile_open(out->ledger, &m->desc, m->info.fingerprint, &out->profile, error);
}

static void lone_profile_close(lone_profile *p)
{
    model_profile_close(&p->profile);
    mem_close(&p->ledger);
}

/* ---- for the program ---- */

static leat_profile_phase public_phase(const profile_phase *p)
{
    if (!(p->token_count > 0)) return (leat_profile_phase){0};
    return (leat_profile_phase){.token_count = p->token_count,
                                .compute_s = p->compute_s / p->token_count,
                                .wait_s = (p->expert_wait_s + p->stream_wait_s) / p->token_count,
                                .read_bytes = p->read_bytes / p->token_count};
}

static leat_status public_profile(const model_profile *p, const char *folder, leat_profile *out, leat_error *error)
{
    struct stat facts;
    if (!model_profile_path(p, folder, out->path) || stat(out->path, &facts) != 0) return LEAT_OK;
    TRY(model_profile_busiest_quarter(p, &out->busiest_quarter_share, error));
    out->is_known = true;
    out->file_bytes = (uint64_t)facts.st_size;
    snprintf(out->isa, sizeof out->isa, "%s", p->place.isa);
    out->thread_count = p->place.thread_count;
    out->decode = public_phase(&p->decode);
    out->prefill = public_phase(&p->prefill);
    out->sample_token_count = p->sample_count;
    out->choice_count = p->choice_count;
    for (uint32_t i = 0; i < p->choice_count; i++) {
        out->choices[i].slot_count = p->choices[i].slot_count;
        out->choices[i].policy = (leat_cache_policy)(p->choices[i].policy + 1);
    }
    return LEAT_OK;
}

leat_status leat_profile_read(const leat_model *model, const char *folder, leat_profile *out_profile, leat_error *error)
{
    lone_profile alone;
    leat_profile *found = out_profile;

    memset(found, 0, sizeof *found);
    if (!folder) return LEAT_OK;
    leat_status status = lone_profile_open(model, &alone, error);
    if (status == LEAT_OK && model_profile_load(&alone.profile, folder))
        status = public_profile(&alone.profile, folder, found, error);
    if (!found->is_known) memset(found, 0, sizeof *found);
    lone_profile_close(&alone);
    return status;
}

leat_status leat_profile_forget(const leat_model *model, const char *folder, leat_error *error)
{
    model_profile profile = {0};
    char path[PROFILE_PATH_BYTES];

    if (!folder) return LEAT_OK;
    snprintf(profile.fingerprint, sizeof profile.fingerprint, "%s", model->info.fingerprint);
    if (!model_profile_path(&profile, folder, path)) return FAIL(error, IO, "%.64s...: the name is too long", folder);
    if (unlink(path) == 0 || errno == ENOENT) return LEAT_OK;
    return FAIL_OS(error, IO, errno, "%s: cannot be removed: %s", path, strerror(errno));
}

/* ---- for plans and engines ---- */

profile_place profile_place_of(const leat_model *m, isa level, uint32_t thread_count)
{
    profile_place place = {.thread_count = thread_count};
    drive_id(&m->source->files[0], place.drive);
    snprintf(place.isa, sizeof place.isa, "%s", isa_label(level));
    return place;
}

leat_status profile_choose_policy(const leat_model *m, const char *folder, uint32_t slot_count, cache_policy *policy,
                                  leat_error *error)
{
    lone_profile alone;

    leat_status status = lone_profile_open(m, &alone, error);
    if (status == LEAT_OK && model_profile_load(&alone.profile, folder))
        *policy = model_profile_policy(&alone.profile, slot_count);
    lone_profile_close(&alone);
    return status;
}

void profile_warm_start(leat_engine *e, const char *folder)
{
    engine *inner = e->inner;
    const model_desc *m = &e->model->desc;
    lone_profile alone;
    leat_error error;

    if (!inner->options.warms) return;
    leat_status status = lone_profile_open(e->model, &alone, &error);
    const model_profile *p = &alone.profile;
    if (status == LEAT_OK && model_profile_load(&alone.profile, folder) && p->uses)
        status = warm_start_open(e->ledger, inner->experts, p->uses, p->uses_token_count, m->moe_layer_count,
                                 m->expert_count, inner->plan.expert_slot_count, &inner->warm, &error);
    if (status != LEAT_OK) log_write(LOG_DEBUG, "no warm start: %s", error.text);
    lone_profile_close(&alone);
}

void profile_keep(const leat_model *m, const char *folder, const run_tally *t, const profile_place *place)
{
    lone_profile alone;
    leat_error error;

    if (t->decode.token_count < PROFILE_TOKENS_MIN) return;
    leat_status status = lone_profile_open(m, &alone, &error);
    if (status == LEAT_OK) {
        model_profile_load(&alone.profile, folder);
        status = model_profile_add(&alone.profile, t, place, m->info.expert_record_bytes, &error);
    }
    if (status == LEAT_OK) status = model_profile_save(&alone.profile, folder, &error);
    if (status != LEAT_OK) log_write(LOG_DEBUG, "the profile is not kept: %s", error.text);
    lone_profile_close(&alone);
}

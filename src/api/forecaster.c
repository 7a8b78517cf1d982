/*
 * forecaster.c - leat_forecaster: what is known of a model, a drive and a machine, and the speed of plans by it.
 */
#include "api/handles.h"

#include "api/planning.h"
#include "api/profile.h"
#include "base/log.h"
#include "exec/forecast.h"
#include "exec/shared_plan.h"

struct leat_forecaster {
    const leat_model *model;
    mem *ledger;
    model_profile profile;
    drive_rates drive; /* as the files are read */
    forecast_basis basis;
};

const char *leat_forecast_source_label(leat_forecast_source source)
{
    static const char *const labels[] = {"unknown", "default", "measured", "profile"};
    return labels[source];
}

/* The rates of the first file's drive in the way that its files are read, by what is known now. */
static leat_status find_rates(leat_forecaster *f, const engine_options *o, const char *folder, leat_probe wish,
                              leat_error *error)
{
    const checkpoint *c = f->model->source;
    char drive[DRIVE_ID_BYTES];
    drive_figures found = {0};
    io_choice io;

    if (wish != LEAT_PROBE_NEVER) {
        TRY(io_choice_measure(c, f->ledger, o->io_engine, folder, wish == LEAT_PROBE_AGAIN, &found, error));
    } else if (folder) {
        drive_id(&c->files[0], drive);
        if (!drive_figures_load(f->ledger, folder, drive, &found)) found = (drive_figures){0};
    }
    TRY(io_choice_make(c, o->io.wanted, folder, &io, error));
    const bool is_direct =
        o->io.wanted != FILE_BUFFERED && found.direct.record > 0 &&
        (o->io.wanted == FILE_DIRECT || !(io.buffered_count > 0 && io.buffered_devices[0] == c->files[0].device));
    f->drive = is_direct ? found.direct : found.buffered;
    return LEAT_OK;
}

/* A probe takes up to 64 MiB that no budget knows of: it is not worth to page for. */
static leat_probe affordable_probe(const leat_model *m, const leat_options *o, leat_probe wish)
{
    const uint64_t least_free = UINT64_C(256) << 20;
    lease others = LEASE_NONE;

    if (wish == LEAT_PROBE_NEVER) return wish;
    if (!o->ignore_leases) shared_plan_open_lease(m->source, true, &others);
    const uint64_t free_bytes = shared_plan_free_bytes(&others);
    lease_close(&others);
    if (free_bytes >= least_free) return wish;
    log_write(LOG_INFO, "nothing is measured: only %.0f MiB are free", (double)free_bytes / 1048576.0);
    return LEAT_PROBE_NEVER;
}

static leat_status learn_basis(leat_forecaster *f, const leat_options *o, leat_probe wish, leat_error *error)
{
    const leat_model *m = f->model;
    const char *folder = o->profile_folder;
    memory_limit limit;
    engine_options inner;
    double calibrated_s = 0;

    wish = affordable_probe(m, o, wish);
    TRY(planning_options(m, o, &limit, &inner, error));
    TRY(model_profile_open(f->ledger, &m->desc, m->info.fingerprint, &f->profile, error));
    if (folder) model_profile_load(&f->profile, folder);
    const profile_place place = profile_place_of(m, inner.level, inner.thread_count);
    TRY(find_rates(f, &inner, folder, wish, error));
    const bool has_compute =
        model_profile_knows_place(&f->profile, &place, false) && f->profile.decode.token_count >= 1;
    if (wish == LEAT_PROBE_AGAIN || (wish == LEAT_PROBE_AUTO && !has_compute))
        TRY(forecast_calibrate(f->ledger, &m->desc, inner.level, inner.thread_count, &calibrated_s, error));
    f->basis = forecast_basis_make(&m->desc, &f->profile, &place, &f->drive, calibrated_s);
    return LEAT_OK;
}

leat_status leat_forecaster_open(const leat_model *model, const leat_options *options, leat_probe probe,
                                 leat_forecaster **out_forecaster, leat_error *error)
{
    mem *ledger = NULL;
    leat_forecaster *f = NULL;

    if ((unsigned)probe > LEAT_PROBE_AGAIN) return FAIL(error, USAGE, "there is no wish %d for a probe", (int)probe);
    TRY(mem_open(0, &ledger, error));
    leat_status status = mem_alloc(ledger, MEM_META, 1, sizeof *f, 0, "forecaster", (void **)&f, error);
    if (status != LEAT_OK) {
        mem_close(&ledger);
        return status;
    }
    f->model = model;
    f->ledger = ledger;
    status = learn_basis(f, options, probe, error);
    if (status == LEAT_OK)
        *out_forecaster = f;
    else
        leat_forecaster_close(&f);
    return status;
}

void leat_forecaster_close(leat_forecaster **forecaster)
{
    leat_forecaster *f = *forecaster;

    if (!f) return;
    mem *ledger = f->ledger;
    model_profile_close(&f->profile);
    mem_free(ledger, f);
    mem_close(&ledger);
    *forecaster = NULL;
}

leat_forecast_basis leat_forecaster_basis(const leat_forecaster *f)
{
    _Static_assert((int)LEAT_SOURCE_PROFILE == (int)SOURCE_PROFILE, "the public sources are the internal ones");
    return (leat_forecast_basis){.io = (leat_forecast_source)f->basis.io,
                                 .compute = (leat_forecast_source)f->basis.compute,
                                 .hits = (leat_forecast_source)f->basis.hit,
                                 .drive_bytes_per_s = f->drive.record,
                                 .drive_part_bytes_per_s = f->drive.part,
                                 .sample_token_count = f->profile.sample_count};
}

leat_status leat_forecaster_forecast(const leat_forecaster *f, const leat_plan *p, leat_cache_policy policy,
                                     uint32_t warm_count, uint32_t count, leat_forecast *out_forecast,
                                     leat_error *error)
{
    forecast found;
    const plan inner = {.ctx = p->ctx,
                        .prefill_chunk = p->prefill_chunk,
                        .streamed_bytes = p->streamed_bytes,
                        .expert_slot_count = p->expert_slot_count,
                        .expert_slot_max = p->expert_slot_max};

    if ((unsigned)policy > LEAT_CACHE_S3FIFO) return FAIL(error, USAGE, "there is no cache policy %d", (int)policy);
    if (policy == LEAT_CACHE_AUTO) policy = p->cache_policy;
    TRY(forecast_make(&f->basis, &inner, (cache_policy)(policy - 1), warm_count, count, &found, error));
    *out_forecast = (leat_forecast){.hit_rate = found.hit_rate,
                                    .bytes_per_token = found.token_bytes,
                                    .io_s = found.io_s,
                                    .compute_s = found.compute_s,
                                    .expert_wait_s = found.wait_s,
                                    .token_s = found.token_s,
                                    .prompt_bytes = found.prompt_bytes,
                                    .prompt_s = found.prompt_s};
    return LEAT_OK;
}

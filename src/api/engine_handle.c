/*
 * engine_handle.c - leat_engine: opened beside its tokenizer, closed with what it has learned kept.
 */
#include "api/handles.h"

#include "api/planning.h"
#include "api/profile.h"
#include "api/tokenizer_files.h"
#include "base/cancel.h"
#include "base/log.h"
#include "exec/shared_plan.h"
#include "os/clock.h"
#include "os/own_thread.h"

#include <assert.h>

/* An engine that is being opened. */
typedef struct opening {
    leat_engine *engine;
    engine_options options;
    plan plan;

    own_thread thread; /* opens the tokenizer, where there is room for that beside the trunk */
    leat_status tokenizer_status;
    leat_error tokenizer_error;
} opening;

static leat_status open_own_tokenizer(leat_engine *e, leat_error *error)
{
    return tokenizer_handle_open(e->model->source, e->ledger, e->model->desc.vocab_size, &e->tokenizer, error);
}

static void open_tokenizer_beside(void *context)
{
    opening *o = context;
    o->tokenizer_status = open_own_tokenizer(o->engine, &o->tokenizer_error);
}

/* Whether the plan holds now that the tokenizer's size is known; if not, *out_plan is one that does. */
static leat_status plan_again(const opening *o, plan *out_plan, leat_error *error)
{
    engine_options options = o->options;

    options.tokenizer_bytes = mem_pool_usage(o->engine->ledger, MEM_TOKENIZER).current_bytes;
    return engine_plan(o->engine->model->source, &o->engine->model->desc, &options, out_plan, error);
}

/* The caches take the room that parsing needs. */
static leat_status finish_tokenizer(void *context, leat_error *error)
{
    opening *o = context;
    plan again;

    own_thread_join(&o->thread);
    if (o->tokenizer_status != LEAT_OK) {
        if (error) *error = o->tokenizer_error;
        return o->tokenizer_status;
    }
    TRY(plan_again(o, &again, error));
    if (again.tokenizer_bytes == o->plan.tokenizer_bytes) return LEAT_OK;
    return FAIL(error, BUDGET, "the tokenizer is larger than its file promised");
}

static leat_status open_inner(opening *o, leat_error *error)
{
    leat_engine *e = o->engine;
    return engine_open(e->model->source, &e->model->desc, &o->options, &o->plan, e->ledger, &e->inner, error);
}

static leat_status open_beside_tokenizer(opening *o, leat_error *error)
{
    TRY(own_thread_start(o->engine->ledger, MEM_META, "leat-tokenizer", TOKENIZER_STACK_BYTES, open_tokenizer_beside, o,
                         &o->thread, error));
    o->options.before_caches = finish_tokenizer;
    o->options.before_caches_user = o;
    const leat_status status = open_inner(o, error);
    o->options.before_caches = NULL;
    own_thread_join(&o->thread); /* after a failure before the caches */
    return status;
}

/* One after the other: the budget has no room for both, or the estimate was too low and the plan must be another. */
static leat_status open_after_tokenizer(opening *o, leat_error *error)
{
    leat_engine *e = o->engine;

    if (!e->tokenizer) TRY(open_own_tokenizer(e, error));
    TRY(plan_again(o, &o->plan, error));
    TRY(mem_set_budget(e->ledger, o->plan.budget_bytes - o->plan.outside_bytes, error));
    o->options.tokenizer_bytes = mem_pool_usage(e->ledger, MEM_TOKENIZER).current_bytes;
    return open_inner(o, error);
}

static leat_status open_parts(opening *o, leat_error *error)
{
    leat_status status = LEAT_OK;

    if (!o->engine->model->info.has_tokenizer) return open_inner(o, error);
    if (!o->plan.tokenizer_fits_beside) return open_after_tokenizer(o, error);
    status = open_beside_tokenizer(o, error);
    return status == LEAT_BUDGET ? open_after_tokenizer(o, error) : status;
}

leat_status leat_engine_open(const leat_model *model, const leat_options *options, leat_engine **out_engine,
                             leat_error *error)
{
    const uint64_t begin_ns = clock_now_ns();
    leat_status status = LEAT_OK;
    leat_engine *e = NULL;
    mem *ledger = NULL;
    memory_limit limit;
    opening o = {0};
    lease own = LEASE_NONE;
    uint64_t free_bytes;

    TRY(planning_options(model, options, &limit, &o.options, error));
    if (!options->ignore_leases) shared_plan_open_lease(model->source, false, &own);
    TRY_OR(fail, planning_solve(model, options, &own, &o.options, &o.plan, error));
    free_bytes = shared_plan_free_bytes(&own); /* before the engine takes some */
    TRY_OR(fail, mem_open(o.plan.budget_bytes - o.plan.outside_bytes, &ledger, error));
    TRY_OR(fail, mem_alloc(ledger, MEM_META, 1, sizeof *e, 0, "engine", (void **)&e, error));
    e->ledger = ledger;
    e->lease = own;
    if (own.fd >= 0) o.options.lease = &e->lease;
    e->model = model;
    e->profile_folder = options->profile_folder;
    o.engine = e;
    TRY_OR(fail, open_parts(&o, error));
    e->plan = planning_publish(model, &o.plan, &o.options, &limit, free_bytes);
    profile_warm_start(e, options->profile_folder);
    e->load_ns = clock_now_ns() - begin_ns;
    *out_engine = e;
    return LEAT_OK;
fail:
    if (e) {
        leat_engine_close(&e);
        return status;
    }
    lease_close(&own);
    mem_close(&ledger);
    return status;
}

/* Takes the room that the engine has left, and says nothing of a drive that others read from. What cannot be measured
 * is no reason to fail. */
static void learn_drives(const leat_engine *e, const engine_options *o)
{
    leat_error error;

    if (o->io.wanted != FILE_DIRECT_IF_POSSIBLE || o->io.is_measured || cancel_is_wanted(o->cancel)) return;
    if (io_choice_measure(e->model->source, e->ledger, o->io_engine, e->profile_folder, false, NULL, &error) != LEAT_OK)
        log_write(LOG_DEBUG, "the drive is not measured: %s", error.text);
}

void leat_engine_close(leat_engine **engine_handle)
{
    leat_engine *e = *engine_handle;
    run_tally *tally = NULL;
    profile_place place;
    engine_options options = {0};

    if (!e) return;
    assert(!e->has_session);
    mem *ledger = e->ledger;
    if (e->inner && e->inner->tally) { /* kept when the large blocks have been given back */
        tally = e->inner->tally;
        e->inner->tally = NULL;
        place = profile_place_of(e->model, e->inner->kernels.level, e->plan.thread_count);
        options = e->inner->options;
    }
    engine_close(&e->inner);
    const bool is_alone = lease_share_count(&e->lease) == 1;
    lease_close(&e->lease);
    leat_tokenizer_close(&e->tokenizer);
    if (tally) profile_keep(e->model, e->profile_folder, tally, &place);
    if (tally && is_alone && tally->decode.token_count >= PROFILE_TOKENS_MIN) learn_drives(e, &options);
    run_tally_close(&tally);
    mem_free(ledger, e);
    mem_close(&ledger);
    *engine_handle = NULL;
}

uint32_t leat_engine_expert_class(const leat_engine *handle, uint32_t layer_idx)
{
    const engine *e = handle->inner;
    return layer_idx < e->records.layer_count ? expert_cache_layer_class(e->experts, layer_idx) : 0;
}

const leat_plan *leat_engine_plan(const leat_engine *handle) { return &handle->plan; }
const leat_tokenizer *leat_engine_tokenizer(const leat_engine *handle) { return handle->tokenizer; }
void leat_engine_poll(leat_engine *handle) { engine_idle(handle->inner); }

leat_status leat_engine_check_files(leat_engine *handle, leat_error *error)
{
    return engine_check_files(handle->inner, error);
}

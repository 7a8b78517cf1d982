/*
 * planning.c - budgets, options and plans.
 */
#include "api/planning.h"

#include "api/profile.h"
#include "base/bytes.h"
#include "exec/shared_plan.h"
#include "os/cpu_topology.h"

leat_options leat_options_default(void) { return (leat_options){0}; }

static leat_status read_budget(const leat_options *o, const memory_limit *limit, uint64_t *out_budget,
                               leat_error *error)
{
    const uint64_t ceiling = memory_limit_ceiling(limit);
    uint64_t budget = o->ram_bytes;

    if (!(o->ram_fraction >= 0 && o->ram_fraction <= 1)) /* also what is no number */
        return FAIL(error, USAGE, "the fraction of memory is %g, expected more than 0 and at most 1", o->ram_fraction);
    if (o->ram_fraction > 0) budget = max_u64(1, (uint64_t)(o->ram_fraction * (double)ceiling)); /* 0 would mean auto */
    if (budget > ceiling && !o->force) {
        const leat_status status = FAIL(
            error, BUDGET, "the budget of %.1f GiB is above the %.1f GiB that this machine or its control group allows",
            (double)budget / 1073741824.0, (double)ceiling / 1073741824.0);
        status_hint(error, "give less with --ram, or --force to try it all the same");
        return status;
    }
    *out_budget = budget;
    return LEAT_OK;
}

leat_status planning_options(const leat_model *m, const leat_options *o, memory_limit *limit, engine_options *out,
                             leat_error *error)
{
    uint64_t budget;

    TRY(memory_limit_read("", limit, error));
    TRY(read_budget(o, limit, &budget, error));
    if ((unsigned)o->isa > LEAT_ISA_AVX512) return FAIL(error, USAGE, "there is no instruction set %d", (int)o->isa);
    if ((unsigned)o->io > LEAT_IO_BUFFERED) return FAIL(error, USAGE, "there is no I/O mode %d", (int)o->io);
    if ((unsigned)o->cache_policy > LEAT_CACHE_S3FIFO)
        return FAIL(error, USAGE, "there is no cache policy %d", (int)o->cache_policy);
    if ((unsigned)o->look_ahead > LEAT_LOOK_AHEAD_ON)
        return FAIL(error, USAGE, "there is no look-ahead mode %d", (int)o->look_ahead);
    if ((unsigned)o->io_engine > LEAT_IO_ENGINE_URING)
        return FAIL(error, USAGE, "there is no I/O engine %d", (int)o->io_engine);
    if (!leat_isa_is_usable(o->isa))
        return FAIL(error, USAGE, "the instruction set %s is not available on this CPU or not built in",
                    leat_isa_label(o->isa));
    if (o->ctx > m->desc.context_max)
        return FAIL(error, USAGE, "a context of %u was asked for, the model's maximum is %u", o->ctx,
                    m->desc.context_max);
    if (o->thread_count > THREAD_POOL_THREADS_MAX)
        return FAIL(error, USAGE, "%u threads were asked for, the most is %u", o->thread_count,
                    THREAD_POOL_THREADS_MAX);
    /* An automatic budget leaves a fifth of what is free to others. */
    const uint64_t spare = min_u64(limit->available_bytes, limit->cgroup_free_bytes) / 5 * 4;
    *out = (engine_options){.budget_bytes = budget,
                            .spare_bytes = spare,
                            .ctx = o->ctx,
                            .thread_count = o->thread_count ? o->thread_count : cpu_usable_count(),
                            .prefill_chunk = o->prefill_chunk,
                            .level = internal_isa(o->isa),
                            .cache_policy = o->cache_policy == LEAT_CACHE_AUTO ? (cache_policy)CACHE_POLICY_AUTO
                                                                               : (cache_policy)(o->cache_policy - 1),
                            .io_engine = o->io_engine == LEAT_IO_ENGINE_AUTO      ? STORAGE_AUTO
                                         : o->io_engine == LEAT_IO_ENGINE_THREADS ? STORAGE_THREADS
                                                                                  : STORAGE_URING,
                            .look_ahead = o->look_ahead == LEAT_LOOK_AHEAD_AUTO  ? LOOK_AHEAD_AUTO
                                          : o->look_ahead == LEAT_LOOK_AHEAD_OFF ? LOOK_AHEAD_OFF
                                                                                 : LOOK_AHEAD_ON,
                            .model_bytes = mem_total_usage(m->ledger).current_bytes,
                            .tokenizer_file_bytes = m->tokenizer_file_bytes,
                            .chat_template_bytes = max_u64(m->template_bytes, o->chat_template_bytes),
                            .learns = o->profile_folder && !o->profile_is_read_only,
                            .warms = o->profile_folder && o->warm_start && m->desc.moe_layer_count,
                            .cancel = o->cancel,
                            .progress = o->progress,
                            .progress_user = o->progress_user,
                            .watches_pressure = !o->ignore_pressure};
    const file_mode io = o->io == LEAT_IO_BUFFERED ? FILE_BUFFERED
                         : o->io == LEAT_IO_DIRECT ? FILE_DIRECT
                                                   : FILE_DIRECT_IF_POSSIBLE;
    return io_choice_make(m->source, io, o->profile_folder, &out->io, error);
}

leat_plan planning_publish(const leat_model *m, const plan *p, const engine_options *o, const memory_limit *limit,
                           uint64_t free_bytes)
{
    return (leat_plan){.budget_bytes = p->budget_bytes,
                       .floor_bytes = p->floor_bytes,
                       .trunk_bytes = p->trunk_bytes,
                       .kv_bytes = p->kv_bytes,
                       .scratch_bytes = p->scratch_bytes,
                       .io_bytes = p->io_bytes,
                       .tokenizer_bytes = p->tokenizer_bytes,
                       .process_bytes = p->process_bytes,
                       .expert_cache_bytes = p->expert_cache_bytes,
                       .unspent_bytes = p->unspent_bytes,
                       .streamed_layer_count = p->streamed_layer_count,
                       .head_is_streamed = p->head_is_streamed,
                       .streamed_bytes = p->streamed_bytes,
                       .everything_bytes = p->everything_bytes,
                       .ctx = p->ctx,
                       .thread_count = p->thread_count,
                       .prefill_chunk = p->prefill_chunk,
                       .expert_slot_count = p->expert_slot_count,
                       .expert_slot_max = p->expert_slot_max,
                       .expert_slot_bytes = p->expert_slot_bytes,
                       .expert_class_count = p->expert_class_count,
                       .expert_set_max = p->expert_set_max,
                       .cache_policy = (leat_cache_policy)(o->cache_policy + 1),
                       .direct_file_count = p->direct_file_count,
                       .buffered_file_count = m->source->file_count - p->direct_file_count,
                       .io_is_measured = o->io.is_measured,
                       .physical_bytes = limit->physical_bytes,
                       .limit_bytes = memory_limit_ceiling(limit),
                       .available_bytes = limit->available_bytes,
                       .free_bytes = free_bytes,
                       .would_page = p->budget_bytes > free_bytes};
}

/* AUTO's policy is what the model's profile says of so many slots; sizes do not depend on it. */
leat_status planning_solve(const leat_model *m, const leat_options *o, lease *l, engine_options *inner, plan *out_plan,
                           leat_error *error)
{
    TRY(shared_plan_make(m->source, &m->desc, inner, l, out_plan, error));
    if (o->cache_policy != LEAT_CACHE_AUTO || !o->profile_folder || !m->desc.moe_layer_count) return LEAT_OK;
    return profile_choose_policy(m, o->profile_folder, out_plan->expert_slot_count, &inner->cache_policy, error);
}

leat_status leat_plan_make(const leat_model *model, const leat_options *options, leat_plan *out_plan, leat_error *error)
{
    memory_limit limit;
    engine_options inner;
    plan solved = {0};
    lease others = LEASE_NONE;

    TRY(planning_options(model, options, &limit, &inner, error));
    if (!options->ignore_leases) shared_plan_open_lease(model->source, true, &others);
    const leat_status status = planning_solve(model, options, &others, &inner, &solved, error);
    const uint64_t free_bytes = shared_plan_free_bytes(&others);
    lease_close(&others);
    if (status == LEAT_OK || status == LEAT_BUDGET)
        *out_plan = planning_publish(model, &solved, &inner, &limit, free_bytes);
    return status;
}

#include "exec/shared_plan.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "base/log.h"
#include "os/memory_limit.h"
#include "os/memory_pressure.h"

#include <sys/stat.h>
#include <time.h>

enum { ASK_TIMES = 20, ASK_PAUSE_MS = 100 };

static uint64_t device_of(const checkpoint *source)
{
    struct stat info;
    return stat(source->path, &info) == 0 ? (uint64_t)info.st_dev : 0;
}

void shared_plan_open_lease(const checkpoint *source, bool only_looks, lease *out_lease)
{
    leat_error why;
    const lease_terms terms = {.device = device_of(source)};
    const leat_status status =
        only_looks ? lease_look(NULL, out_lease, &why) : lease_open(NULL, &terms, out_lease, &why);

    out_lease->terms = terms;
    if (status != LEAT_OK) log_write(LOG_DEBUG, "memory and disk are not divided with other processes: %s", why.text);
}

/* An automatic budget leaves a fifth of what is free. */
static uint64_t spare_of(uint64_t free_bytes) { return free_bytes / 5 * 4; }

typedef struct room {
    uint64_t spare, equal; /* left for a budget; an equal part of it all */
    bool may_ask;          /* somebody could give */
} room;

static uint64_t unclaimed(uint64_t free_bytes, const lease_claims *claims)
{
    return free_bytes - min_u64(free_bytes, claims->claimed);
}

static leat_status find_room(lease *l, room *out, leat_error *error)
{
    memory_limit limit;
    lease_view others;

    TRY(memory_limit_read("", &limit, error));
    l->group_up = limit.cgroup_up;
    lease_survey(l, l->terms.device, &others);
    *out = (room){.spare = spare_of(min_u64(unclaimed(limit.available_bytes, &others.machine),
                                            unclaimed(limit.cgroup_free_bytes, &others.in_group))),
                  .equal = spare_of(min_u64(lease_equal_part(&others.machine, limit.available_bytes, 0),
                                            lease_equal_part(&others.in_group, limit.cgroup_free_bytes, 0))),
                  .may_ask = others.machine.flexible > 0};
    return LEAT_OK;
}

static void set_terms(lease *l, uint64_t budget_bytes, bool is_fixed)
{
    lease_change(l, &(lease_terms){.budget_bytes = budget_bytes, .device = l->terms.device, .is_fixed = is_fixed});
}

/* Others may plan meanwhile: what is asked for they see. */
static leat_status wait_for_others(lease *l, const engine_options *options, room *r, leat_error *error)
{
    const struct timespec pause = {.tv_nsec = ASK_PAUSE_MS * 1000000L};

    for (int i = 0; i < ASK_TIMES && r->may_ask && r->spare < r->equal / 10 * 9; i++) {
        if (cancel_is_wanted(options->cancel)) break;
        nanosleep(&pause, NULL);
        TRY(find_room(l, r, error));
    }
    return LEAT_OK;
}

static leat_status ask_others(lease *l, const engine_options *options, room *r, leat_error *error)
{
    log_write(LOG_INFO, "other processes have leased memory: they are asked for some of it");
    set_terms(l, r->equal, false);
    lease_unlock(l);
    const leat_status status = wait_for_others(l, options, r, error);
    lease_lock(l);
    TRY(status);
    return find_room(l, r, error);
}

static leat_status make_plan(const checkpoint *source, const model_desc *model, engine_options *options, lease *l,
                             plan *out_plan, leat_error *error)
{
    const bool is_fixed = options->budget_bytes > 0;
    room r;

    if (!is_fixed && l->folder_fd >= 0) {
        TRY(find_room(l, &r, error));
        options->spare_bytes = r.spare;
    }
    leat_status status = engine_plan(source, model, options, out_plan, error);
    const bool is_cramped =
        status == LEAT_BUDGET || (status == LEAT_OK && out_plan->budget_bytes < out_plan->everything_bytes);
    if (!is_fixed && l->fd >= 0 && is_cramped && r.may_ask && r.spare < r.equal) {
        TRY(ask_others(l, options, &r, error));
        options->spare_bytes = r.spare;
        status = engine_plan(source, model, options, out_plan, error);
    }
    if (status == LEAT_OK && l->fd >= 0) set_terms(l, out_plan->budget_bytes, is_fixed);
    return status;
}

/* What one finds free and then leases nobody else may find free in between. */
leat_status shared_plan_make(const checkpoint *source, const model_desc *model, engine_options *options, lease *l,
                             plan *out_plan, leat_error *error)
{
    if (l->fd >= 0) lease_lock(l);
    const leat_status status = make_plan(source, model, options, l, out_plan, error);
    if (l->fd >= 0) lease_unlock(l);
    return status;
}

uint64_t shared_plan_free_bytes(lease *l)
{
    memory_pressure_reader reader;
    memory_pressure now;
    lease_view others = {0};
    uint64_t bytes;

    memory_pressure_init(&reader, "");
    memory_pressure_read(&reader, &now);
    l->group_up = now.group_up;
    if (l->folder_fd >= 0) lease_survey(l, l->terms.device, &others);
    const uint64_t machine = unclaimed(now.available_bytes, &others.machine);
    const uint64_t group = unclaimed(now.group_free_bytes, &others.in_group);
    return size_add(min_u64(machine, group), process_rss_bytes(), &bytes) ? bytes : UINT64_MAX;
}

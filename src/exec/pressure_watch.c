#include "exec/pressure_watch.h"

#include "base/bytes.h"
#include "base/log.h"
#include "exec/engine.h"
#include "os/clock.h"
#include "os/memory_limit.h"

static governor_config config_of(const engine *e, uint64_t physical_bytes)
{
    const uint32_t working_set = e->records.layer_count * e->records.set_count;
    const uint32_t class_count = expert_cache_class_count(e->experts);
    /* With slots of several sizes a working set has some of each: the mean is what one of them gives. */
    const uint64_t slot_bytes =
        class_count > 1 ? e->plan.expert_cache_bytes / e->plan.expert_slot_count : e->plan.expert_slot_bytes;
    return (governor_config){.slots_min = e->records.set_count * class_count,
                             .slots_unit = working_set,
                             .slots_max = e->plan.expert_slot_count,
                             .slot_bytes = slot_bytes,
                             .reserve_bytes = governor_reserve_bytes(physical_bytes)};
}

void pressure_watch_start(engine *e, const char *root)
{
    pressure_watch *w = &e->watch;
    memory_pressure now;

    w->resizes = e->options.watches_pressure && e->experts;
    w->is_on = w->resizes || e->options.lease;
    w->outside_bytes = e->plan.outside_bytes;
    w->next_ns = 0;
    if (!w->resizes) return;
    memory_pressure_init(&w->reader, root);
    memory_pressure_read(&w->reader, &now);
    const governor_config config = config_of(e, now.physical_bytes);
    governor_init(&w->governor, &config);
}

/* What the process may come to hold, as things are. */
static uint64_t granted_bytes(const engine *e)
{
    return mem_total_usage(e->ledger).current_bytes + e->watch.outside_bytes;
}

/* The slots of an equal part: what is not slots is taken off it. */
static uint32_t share_slots(const engine *e, const lease_claims *claims, uint64_t free_bytes, uint64_t rss_bytes)
{
    const uint64_t slot_bytes = e->watch.governor.config.slot_bytes;
    const uint64_t slots_bytes = expert_cache_stats_get(e->experts).slot_count * slot_bytes;
    const uint64_t rest = granted_bytes(e) - min_u64(granted_bytes(e), slots_bytes);
    const uint64_t part = lease_equal_part(claims, free_bytes, rss_bytes);
    return (uint32_t)min_u64((part - min_u64(part, rest)) / slot_bytes, UINT32_MAX);
}

static void read_claims(const engine *e, const lease_view *others, uint64_t rss_bytes, governor_reading *r)
{
    if (!e->options.lease || e->options.lease->terms.is_fixed) return;
    if (r->available_bytes != UINT64_MAX) {
        r->claimed_bytes = others->machine.claimed;
        r->share_slots = share_slots(e, &others->machine, r->available_bytes, rss_bytes);
    }
    if (r->group_free_bytes != UINT64_MAX) {
        r->group_claimed_bytes = others->in_group.claimed;
        r->group_share_slots = share_slots(e, &others->in_group, r->group_free_bytes, rss_bytes);
    }
}

static void take_reading(engine *e, const lease_view *others, uint64_t now_ns, governor_reading *out)
{
    pressure_watch *w = &e->watch;
    const uint64_t granted = granted_bytes(e), rss_bytes = process_rss_bytes();
    memory_pressure now;

    memory_pressure_read(&w->reader, &now);
    if (e->options.lease) e->options.lease->group_up = now.group_up; /* for the next survey: limits come and go */
    w->governor.config.margin_bytes = governor_margin_bytes(now.group_limit_bytes);
    *out = (governor_reading){.now_ns = now_ns,
                              .available_bytes = now.available_bytes,
                              .group_free_bytes = now.group_free_bytes,
                              .stall_percent = now.some_avg10,
                              .group_hit_count = now.group_hit_count,
                              .untouched_bytes = granted - min_u64(granted, rss_bytes)};
    read_claims(e, others, rss_bytes, out);
}

void pressure_watch_resize(engine *e, uint32_t slot_count)
{
    const pressure_watch *w = &e->watch;
    const uint32_t before = expert_cache_stats_get(e->experts).slot_count;
    for (uint32_t i = 0; e->pages && i < expert_cache_class_count(e->experts); i++)
        prefault_stop(e->pages, PREFAULT_EXPERTS + i);
    const uint32_t after = expert_cache_resize(e->experts, slot_count);

    if (after == before) return;
    if (e->options.lease) {
        lease_terms terms = e->options.lease->terms;
        terms.budget_bytes = granted_bytes(e);
        lease_change(e->options.lease, &terms);
    }
    if (w->resize_sink) w->resize_sink(w->resize_user, after);
}

static void follow(engine *e, const governor_reading *r)
{
    const double mib = 1048576.0;
    const uint32_t before = expert_cache_stats_get(e->experts).slot_count;
    const uint32_t wanted = governor_decide(&e->watch.governor, r, before);

    if (wanted == before) return;
    pressure_watch_resize(e, wanted);
    const uint32_t after = expert_cache_stats_get(e->experts).slot_count;
    if (after == before) return;
    const uint64_t free_bytes = min_u64(r->available_bytes, r->group_free_bytes);
    log_write(LOG_INFO,
              "%s: the expert cache goes from %u to %u slots (%.0f MiB free, %.0f MiB claimed, stalls %.0f %%)",
              after < before ? "memory is scarce" : "there is memory again", before, after, (double)free_bytes / mib,
              (double)max_u64(r->claimed_bytes, r->group_claimed_bytes) / mib, r->stall_percent);
}

/* Guesses leave room for those of the others that read from the same device. */
static void share_disk(engine *e)
{
    const uint32_t count = lease_share_count(e->options.lease);
    read_limits limits = READ_LIMITS_DEFAULT;

    if (count == e->watch.disk_shares) return;
    e->watch.disk_shares = count;
    for (int c = READ_LOOK_AHEAD; c < READ_CLASS_COUNT; c++) {
        limits.reads[c] = (uint32_t)max_u64(1, limits.reads[c] / count);
        limits.bytes[c] = max_u64(1, limits.bytes[c] / count);
    }
    e->reads->ops->limit(e->reads, &limits);
    log_write(LOG_DEBUG, "%u processes read from the device: at most %u guesses are read at a time", count,
              limits.reads[READ_LOOK_AHEAD]);
}

/* false: it is not yet time, or nobody would follow. */
static bool look(engine *e, governor_reading *out)
{
    pressure_watch *w = &e->watch;
    lease_view others = {0};

    if (!w->is_on) return false;
    const uint64_t now_ns = clock_now_ns();
    if (now_ns < w->next_ns) return false;
    w->next_ns = now_ns + GOVERNOR_POLL_NS;
    if (e->options.lease) {
        lease_survey(e->options.lease, e->options.lease->terms.device, &others);
        share_disk(e);
    }
    if (w->resizes) take_reading(e, &others, now_ns, out);
    return w->resizes;
}

void pressure_watch_poll(engine *e)
{
    governor_reading reading;
    if (look(e, &reading)) follow(e, &reading);
}

bool pressure_watch_is_scarce(engine *e)
{
    governor copy = e->watch.governor;
    governor_reading reading;
    const uint32_t slots = expert_cache_stats_get(e->experts).slot_count;

    if (!look(e, &reading)) return false;
    copy.config = e->watch.governor.config; /* the look may have changed the margin */
    if (governor_decide(&copy, &reading, slots) < slots) {
        e->watch.next_ns = 0;
        return true;
    }
    e->watch.governor = copy; /* has seen this reading */
    return false;
}

#include "exec/governor.h"

#include "base/bytes.h"

#define SECOND_NS UINT64_C(1000000000)
/* After a change memory is looked at again before the next one: the system counts in batches. */
#define SETTLE_NS       (SECOND_NS / 2)
#define GROW_PAUSE_NS   (2 * SECOND_NS)
#define PATIENCE_MIN_NS (5 * SECOND_NS)
#define PATIENCE_MAX_NS (160 * SECOND_NS)
/* A shrink so soon after a growth says that the growth was wrong. */
#define REGRET_NS (60 * SECOND_NS)
#define USUAL_NS  (4 * SECOND_NS) /* how slowly usual_available_bytes follows */

static const double STALL_HIGH = 10, STALL_LOW = 5;
/* Tasks also stall while the kernel makes huge pages, with gigabytes free: stalls count where no more is left than so
 * many times what should be. */
enum { STALL_ROOM = 8 };
/* A group also runs into its limit because page cache fills it, which the kernel drops: hits count where no more than
 * another margin is left. */

uint64_t governor_reserve_bytes(uint64_t physical_bytes)
{
    return max_u64(UINT64_C(64) << 20, min_u64(physical_bytes / 64, UINT64_C(512) << 20));
}

/* Small: a group that was made for a budget has little more than it. */
uint64_t governor_margin_bytes(uint64_t limit_bytes) { return min_u64(limit_bytes / 64, UINT64_C(8) << 20); }

void governor_init(governor *g, const governor_config *config)
{
    *g = (governor){.config = *config, .patience_ns = PATIENCE_MIN_NS};
}

/* What is left beyond what should be; negative: so much is lacking. */
static int64_t room_bytes(uint64_t left, uint64_t kept, uint64_t untouched)
{
    const uint64_t most = INT64_MAX / 4;
    return (int64_t)min_u64(left, most) - (int64_t)min_u64(kept, most) - (int64_t)min_u64(untouched, most);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Whole working sets as long as there is one, then sets. */
static uint32_t round_slots(const governor_config *c, uint64_t slots)
{
    const uint32_t unit = slots >= c->slots_unit ? c->slots_unit : c->slots_min;
    return (uint32_t)max_u64(c->slots_min, slots / unit * unit);
}

static uint32_t without_bytes(const governor_config *c, uint32_t slots, int64_t lacking)
{
    const uint64_t fewer = lacking > 0 ? div_up((uint64_t)lacking, c->slot_bytes) : 0;
    return fewer > 0 ? round_slots(c, slots - min_u64(slots, fewer)) : slots;
}

static int64_t claim_bytes(uint64_t claimed) { return (int64_t)min_u64(claimed, INT64_MAX / 4); }

/* What the claims on so much room leave, but no less than an equal share. */
static uint32_t shared_slots(const governor_config *c, int64_t room, uint64_t claimed, uint32_t share_slots,
                             uint32_t slots)
{
    return (uint32_t)max_u64(without_bytes(c, slots, claim_bytes(claimed) - room), max_u64(share_slots, c->slots_unit));
}

/* The count that this reading alone allows. */
static uint32_t allowed_slots(const governor *g, const governor_reading *r, uint32_t slots, bool is_falling,
                              bool is_hitting)
{
    const governor_config *c = &g->config;
    const int64_t machine = room_bytes(r->available_bytes, c->reserve_bytes, r->untouched_bytes);
    const int64_t group = room_bytes(r->group_free_bytes, c->margin_bytes, r->untouched_bytes);
    uint32_t wanted = without_bytes(c, slots, -least(machine, group));

    if (r->stall_percent > STALL_HIGH && is_falling && machine < STALL_ROOM * (int64_t)c->reserve_bytes &&
        wanted == slots && slots > c->slots_unit)
        wanted = round_slots(c, slots - 1); /* to the working set below */
    if (is_hitting && group < (int64_t)c->margin_bytes && wanted == slots && slots > c->slots_unit)
        wanted = round_slots(c, slots - 1);
    const uint32_t shared = shared_slots(c, machine, r->claimed_bytes, r->share_slots, slots);
    const uint32_t in_group = shared_slots(c, group, r->group_claimed_bytes, r->group_share_slots, slots);
    return (uint32_t)min_u64(min_u64(wanted, slots), min_u64(shared, in_group));
}

/* A working set more, or what is left of the last. */
static uint32_t next_larger(const governor_config *c, uint32_t slots)
{
    return (uint32_t)min_u64(c->slots_max, (slots / c->slots_unit + 1) * (uint64_t)c->slots_unit);
}

/* Room for the next larger size, and some beyond it, so that having it is not at once too much. */
static bool has_room(const governor *g, const governor_reading *r, uint32_t slots)
{
    const governor_config *c = &g->config;
    const uint64_t more_bytes = (next_larger(c, slots) - min_u64(slots, c->slots_max)) * c->slot_bytes;
    const uint64_t wanted = more_bytes + max_u64(c->reserve_bytes, more_bytes) / 4;
    const uint64_t group_wanted = more_bytes + c->margin_bytes; /* it may have been made for the budget: no more */

    return r->stall_percent < STALL_LOW &&
           room_bytes(r->available_bytes, c->reserve_bytes + wanted, r->untouched_bytes) >=
               claim_bytes(r->claimed_bytes) &&
           room_bytes(r->group_free_bytes, c->margin_bytes + group_wanted, r->untouched_bytes) >=
               claim_bytes(r->group_claimed_bytes);
}

/* What would be left with all touched: this does not fall because the own process fills what it was given. */
static uint64_t left_bytes(const governor_reading *r)
{
    return r->available_bytes - min_u64(r->available_bytes, r->untouched_bytes);
}

/* Falling: an eighth of a percent and more below what was usual in the last seconds. */
static bool note_left(governor *g, const governor_reading *r)
{
    const uint64_t now = left_bytes(r), usual = g->read_ns ? g->usual_left_bytes : now;
    const bool is_falling = now < usual - usual / 800;
    const uint64_t passed = min_u64(g->read_ns ? r->now_ns - g->read_ns : 0, USUAL_NS);
    const double part = (double)passed / (double)USUAL_NS;

    g->usual_left_bytes = now >= usual ? now : usual - (uint64_t)(part * (double)(usual - now));
    g->read_ns = r->now_ns;
    return is_falling;
}

static uint32_t shrink(governor *g, uint64_t now_ns, uint32_t slots)
{
    if (g->grown_ns != 0)
        g->patience_ns =
            now_ns - g->grown_ns < REGRET_NS ? min_u64(g->patience_ns * 2, PATIENCE_MAX_NS) : PATIENCE_MIN_NS;
    g->changed_ns = now_ns;
    return slots;
}

uint32_t governor_decide(governor *g, const governor_reading *r, uint32_t slots)
{
    const governor_config *c = &g->config;
    const bool is_hitting = g->read_ns && r->group_hit_count > g->hit_count;
    const bool is_falling = note_left(g, r);
    const uint32_t allowed = allowed_slots(g, r, slots, is_falling, is_hitting);

    g->hit_count = r->group_hit_count;
    if (allowed < slots || !has_room(g, r, slots))
        g->calm_ns = 0;
    else if (g->calm_ns == 0)
        g->calm_ns = r->now_ns;
    if (g->changed_ns != 0 && r->now_ns - g->changed_ns < SETTLE_NS) return slots;
    if (allowed < slots) return shrink(g, r->now_ns, allowed);
    if (slots >= c->slots_max || g->calm_ns == 0 || r->now_ns - g->calm_ns < g->patience_ns) return slots;
    if (g->grown_ns != 0 && r->now_ns - g->grown_ns < GROW_PAUSE_NS) return slots;
    const uint32_t larger = next_larger(c, slots);
    g->changed_ns = g->grown_ns = r->now_ns;
    g->usual_left_bytes -= min_u64(g->usual_left_bytes, (larger - slots) * c->slot_bytes);
    return larger;
}

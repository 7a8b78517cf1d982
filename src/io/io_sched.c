#include "io/io_sched.h"

#include "base/bytes.h"

#include <assert.h>

#define NS_PER_S UINT64_C(1000000000)

static const read_limits default_limits = READ_LIMITS_DEFAULT;

static bool is_guess(read_class class) { return class >= READ_LOOK_AHEAD; }

/* ---- the lists ---- */

/* Whether a goes before b, of the same class. */
static bool is_before(const sched_item *a, const sched_item *b)
{
    if (a->deadline_ns != b->deadline_ns) return a->deadline_ns - 1 < b->deadline_ns - 1; /* 0, none, is the last */
    return a->arrival < b->arrival;
}

static void link_item(io_sched *s, int32_t idx)
{
    sched_item *item = &s->items[idx];
    sched_list *list = &s->classes[item->class];
    int32_t before_idx = list->last_idx; /* most come in order */
    while (before_idx != SCHED_NONE && is_before(item, &s->items[before_idx]))
        before_idx = s->items[before_idx].before_idx;
    item->before_idx = before_idx;
    item->after_idx = before_idx == SCHED_NONE ? list->first_idx : s->items[before_idx].after_idx;
    *(before_idx == SCHED_NONE ? &list->first_idx : &s->items[before_idx].after_idx) = idx;
    *(item->after_idx == SCHED_NONE ? &list->last_idx : &s->items[item->after_idx].before_idx) = idx;
}

static void unlink_item(io_sched *s, int32_t idx)
{
    const sched_item *item = &s->items[idx];
    sched_list *list = &s->classes[item->class];
    *(item->before_idx == SCHED_NONE ? &list->first_idx : &s->items[item->before_idx].after_idx) = item->after_idx;
    *(item->after_idx == SCHED_NONE ? &list->last_idx : &s->items[item->after_idx].before_idx) = item->before_idx;
}

/* ---- the bucket ---- */

/* Its content at a time; capacity bounds what time brings. */
static int64_t tokens_at(const io_sched *s, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns > s->filled_ns ? now_ns - s->filled_ns : 0;
    double brought = (double)passed_ns * (double)s->bytes_per_s / (double)NS_PER_S;
    double room = (double)s->capacity_bytes - (double)s->tokens;
    if (room <= 0) return s->tokens;
    return s->tokens + (int64_t)(brought < room ? brought : room);
}

static void fill(io_sched *s, uint64_t now_ns)
{
    int64_t tokens = tokens_at(s, now_ns);
    if (tokens == s->tokens && s->bytes_per_s > 0 && tokens < (int64_t)s->capacity_bytes) return; /* keep fractions */
    s->tokens = tokens;
    s->filled_ns = now_ns;
}

static bool is_disk_idle(const io_sched *s, uint64_t now_ns)
{
    return s->started_count == 0 && now_ns >= s->idle_since_ns + SCHED_IDLE_NS;
}

/* ---- the rules ---- */

static bool is_disk_busy_with_urgent(const io_sched *s)
{
    return s->classes[READ_DEMAND].started_bytes + s->classes[READ_CERTAIN].started_bytes > SCHED_URGENT_BYTES;
}

static bool is_within_limits(const io_sched *s, const sched_item *item)
{
    uint32_t count = 0;
    uint64_t bytes = item->bytes;
    if (s->started_count > 0 && s->started_count >= s->limits.reads[READ_DEMAND]) return false;
    if (is_guess(item->class) && is_disk_busy_with_urgent(s)) return false;
    for (uint32_t c = item->class; c < READ_CLASS_COUNT; c++) {
        count += s->classes[c].started_count;
        bytes += s->classes[c].started_bytes;
    }
    if (count == 0) return true;
    return count < s->limits.reads[item->class] && bytes <= s->limits.bytes[item->class];
}

/* The only one that rule 2 lets start. */
static int32_t first_queued(const io_sched *s)
{
    for (uint32_t c = 0; s->queued_count > 0 && c < READ_CLASS_COUNT; c++)
        if (s->classes[c].first_idx != SCHED_NONE) return s->classes[c].first_idx;
    return SCHED_NONE;
}

int32_t io_sched_take(io_sched *s, uint64_t now_ns)
{
    int32_t idx = first_queued(s);
    if (idx == SCHED_NONE) return SCHED_NONE;
    sched_item *item = &s->items[idx];
    if (!is_within_limits(s, item)) return SCHED_NONE;
    if (s->is_paced && is_guess(item->class)) {
        fill(s, now_ns);
        if (s->tokens <= 0 && !is_disk_idle(s, now_ns)) return SCHED_NONE;
        s->tokens -= (int64_t)item->bytes;
    }
    unlink_item(s, idx);
    item->state = SCHED_STARTED;
    s->classes[item->class].started_count++;
    s->classes[item->class].started_bytes += item->bytes;
    s->queued_count--;
    s->started_count++;
    return idx;
}

uint64_t io_sched_wait_ns(const io_sched *s, uint64_t now_ns)
{
    int32_t idx = first_queued(s);
    uint64_t wait_ns = UINT64_MAX;
    if (idx == SCHED_NONE || !is_within_limits(s, &s->items[idx])) return wait_ns;
    if (!s->is_paced || !is_guess(s->items[idx].class)) return 0;
    int64_t tokens = tokens_at(s, now_ns);
    if (tokens > 0) return 0;
    if (s->bytes_per_s > 0 && s->capacity_bytes > 0)
        wait_ns = (uint64_t)((double)(1 - tokens) * (double)NS_PER_S / (double)s->bytes_per_s) + 1;
    if (s->started_count == 0) {
        uint64_t idle_end_ns = s->idle_since_ns + SCHED_IDLE_NS;
        wait_ns = min_u64(wait_ns, idle_end_ns > now_ns ? idle_end_ns - now_ns : 0);
    }
    return wait_ns;
}

/* ---- what comes and goes ---- */

void io_sched_add(io_sched *s, int32_t idx, read_class class, uint64_t deadline_ns, uint64_t bytes)
{
    sched_item *item = &s->items[idx];
    assert(item->state == SCHED_IDLE && class < READ_CLASS_COUNT);
    *item = (sched_item){.state = SCHED_QUEUED,
                         .class = class,
                         .deadline_ns = deadline_ns,
                         .arrival = s->arrival_count++,
                         .bytes = bytes};
    link_item(s, idx);
    s->queued_count++;
}

void io_sched_end(io_sched *s, int32_t idx, uint64_t now_ns)
{
    sched_item *item = &s->items[idx];
    assert(item->state == SCHED_STARTED);
    s->classes[item->class].started_count--;
    s->classes[item->class].started_bytes -= item->bytes;
    item->state = SCHED_IDLE;
    if (--s->started_count == 0) s->idle_since_ns = now_ns;
}

void io_sched_remove(io_sched *s, int32_t idx)
{
    assert(s->items[idx].state == SCHED_QUEUED);
    unlink_item(s, idx);
    s->items[idx].state = SCHED_IDLE;
    s->queued_count--;
}

void io_sched_raise(io_sched *s, int32_t idx, read_class class)
{
    sched_item *item = &s->items[idx];
    if (item->state != SCHED_QUEUED || item->class <= class) return;
    unlink_item(s, idx);
    item->class = class;
    link_item(s, idx);
}

/* ---- settings ---- */

void io_sched_limit(io_sched *s, const read_limits *limits)
{
    for (uint32_t c = 0; c < READ_CLASS_COUNT; c++) assert(limits->reads[c] >= 1 && limits->bytes[c] >= 1);
    s->limits = *limits;
}

void io_sched_grant(io_sched *s, const read_grant *grant, uint64_t now_ns)
{
    fill(s, now_ns);
    s->is_paced = grant->bytes != READ_GRANT_UNLIMITED;
    s->capacity_bytes = s->is_paced ? min_u64(grant->bytes, INT64_MAX / 2) : 0;
    s->bytes_per_s = grant->bytes_per_s;
    s->tokens = (s->tokens < 0 ? s->tokens : 0) + (int64_t)s->capacity_bytes;
    s->filled_ns = now_ns;
    if (!s->is_paced) s->tokens = 0;
}

void io_sched_init(io_sched *s, sched_item *items, uint32_t item_count, uint64_t now_ns)
{
    *s = (io_sched){.items = items, .item_count = item_count, .idle_since_ns = now_ns, .filled_ns = now_ns};
    for (uint32_t c = 0; c < READ_CLASS_COUNT; c++)
        s->classes[c] = (sched_list){.first_idx = SCHED_NONE, .last_idx = SCHED_NONE};
    for (uint32_t i = 0; i < item_count; i++) items[i] = (sched_item){.state = SCHED_IDLE};
    io_sched_limit(s, &default_limits);
}

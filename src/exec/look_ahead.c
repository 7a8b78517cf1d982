#include "exec/look_ahead.h"

#include <math.h>

/* A guess is taken to be right so often before there is a record of it. */
static const double RIGHT_AT_FIRST = 0.6;
static const double NEW_WEIGHT = 0.2;   /* of a new time in the filtered one */
static const double COUNT_DECAY = 0.98; /* what a count of guesses keeps at each judgement */
static const double COUNT_AT_FIRST = 4; /* guesses' worth of belief in RIGHT_AT_FIRST */
static const double OUTLIER = 8;        /* a time so many times the usual one says nothing about the usual one */
static const double FURTHER_MIN = 0.1;  /* a further record is not free, whatever one sample says */
enum { PROBE_EVERY = 128 };

static void filter(double *mean, double sample)
{
    if (*mean == 0)
        *mean = sample;
    else if (sample > *mean * OUTLIER)
        *mean *= 1 + NEW_WEIGHT; /* it may be the new usual: then it soon is */
    else
        *mean += NEW_WEIGHT * (sample - *mean);
}

void look_ahead_records_came(look_ahead *la, uint32_t count, uint64_t ns)
{
    if (count == 1)
        filter(&la->first_ns, (double)ns);
    else if (count && la->first_ns == 0)
        filter(&la->record_ns, (double)ns / count);
    else if (count)
        filter(&la->record_ns, fmax(((double)ns - la->first_ns) / (count - 1), la->first_ns * FURTHER_MIN));
}

void look_ahead_gap_begin(look_ahead *la, uint64_t now_ns) { la->idle_since_ns = now_ns; }

void look_ahead_gap_end(look_ahead *la, uint64_t now_ns)
{
    if (la->idle_since_ns) filter(&la->of_rows.gap_ns, (double)(now_ns - la->idle_since_ns));
    la->idle_since_ns = 0;
}

void look_ahead_judge(look_ahead *la, uint64_t used_total, uint64_t wasted_total)
{
    look_ahead_pace *pace = &la->of_rows;
    if (used_total == pace->used_seen && wasted_total == pace->wasted_seen) return;
    pace->used = pace->used * COUNT_DECAY + (double)(used_total - pace->used_seen);
    pace->wasted = pace->wasted * COUNT_DECAY + (double)(wasted_total - pace->wasted_seen);
    pace->used_seen = used_total;
    pace->wasted_seen = wasted_total;
}

static double right_part(const look_ahead_pace *pace)
{
    return (pace->used + RIGHT_AT_FIRST * COUNT_AT_FIRST) / (pace->used + pace->wasted + COUNT_AT_FIRST);
}

static pacing_sample sample_between(const look_ahead_totals *a, const look_ahead_totals *b)
{
    return (pacing_sample){.stall_ns = b->wait_ns - a->wait_ns,
                           .demand_bytes = b->urgent_bytes - a->urgent_bytes,
                           .ahead_bytes = b->ahead_bytes - a->ahead_bytes,
                           .useful_bytes = b->useful_bytes - a->useful_bytes,
                           .busy_ns = b->busy_ns - a->busy_ns};
}

read_grant look_ahead_paced_layer(look_ahead *la, uint32_t layer, uint64_t now_ns, const look_ahead_totals *totals)
{
    if (la->has_layer) {
        const pacing_sample sample = sample_between(&la->at_begin, totals);
        pacing_layer_end(la->pacing, la->paced_layer, now_ns, &sample);
    }
    pacing_layer_begin(la->pacing, layer, now_ns);
    la->has_layer = true;
    la->paced_layer = layer;
    la->at_begin = *totals;
    la->of_rows.used_seen = totals->used_count; /* those are none of a sweep's */
    la->of_rows.wasted_seen = totals->wasted_count;
    la->granted_bytes = pacing_grant_bytes(la->pacing, layer);
    return (read_grant){.bytes = la->granted_bytes};
}

read_grant look_ahead_unpaced(look_ahead *la)
{
    if (la->has_layer) pacing_break(la->pacing);
    la->has_layer = false;
    la->granted_bytes = 0;
    return (read_grant){.bytes = READ_GRANT_UNLIMITED};
}

uint32_t look_ahead_reads(const look_ahead *la, uint32_t most)
{
    const bool may_read = la->mode == LOOK_AHEAD_ON || (la->mode == LOOK_AHEAD_AUTO && la->granted_bytes > 0);
    return may_read ? most : 0;
}

uint32_t look_ahead_sweep_reads(look_ahead *la, uint32_t most)
{
    look_ahead_pace *pace = &la->of_rows;
    uint32_t count = 0;

    if (la->mode == LOOK_AHEAD_ON) return most;
    const double first_ns = la->first_ns > 0 ? la->first_ns : la->record_ns;
    if (la->mode == LOOK_AHEAD_OFF || first_ns == 0 || pace->gap_ns == 0) return 0;
    for (double left_ns = pace->gap_ns; count < most; count++) {
        const double record_ns = count == 0 || la->record_ns == 0 ? first_ns : la->record_ns;
        const double overlap = left_ns < record_ns ? left_ns / record_ns : 1;
        if (overlap <= 1 - right_part(pace)) break;
        left_ns -= record_ns;
    }
    if (count == 0 && most && ++pace->asked_count % PROBE_EVERY == 0) count = 1;
    return count;
}

/*
 * run_moe.c - routed experts (docs/models.md).
 *
 * A single row asks for its experts at once: those in memory are computed side by side while the missing ones are read,
 * each of which is computed when it arrives. Many rows go expert by expert: rows are grouped by the expert they chose,
 * so that every expert is read once per step. Either way an expert's output for a row is kept apart and the outputs are
 * summed in router order, so arrival order does not show.
 */
#include "exec/routing.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <assert.h>
#include <string.h>

/* So many fit into the part of the queue that guesses have, whatever a record consists of: the step never waits to get
 * rid of one. */
enum { GUESSES_MAX = READ_QUEUE_DEPTH / 2 / EXPERT_PARTS_MAX };

/* ---- computing ---- */

static const float *global_scales(const step *s, const moe_block *moe, uint32_t which)
{
    return s->engine->trunk->global_scales[moe->moe_idx * EXPERT_MATRICES + which];
}

static matrix matrix_of(const step *s, const moe_block *moe, uint32_t which, const expert_ref *ref)
{
    return expert_matrix(moe, which, ref, global_scales(s, moe, which));
}

/* Several experts for the same single row: their products run side by side. out: (used, hidden), indexed by place in
 * the set. */
static void compute_side_by_side(const step *s, const moe_block *moe, const expert_set *set, const uint32_t *places,
                                 uint32_t count, const float *x, float *out)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = s->engine->model->hidden_size, width = moe->width;
    matrix matrices[2 * EXPERTS_AT_ONCE];
    product products[2 * EXPERTS_AT_ONCE];

    assert(count <= EXPERTS_AT_ONCE);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t which = 0; which < 2; which++) {
            matrices[2 * i + which] = matrix_of(s, moe, which, &set->refs[places[i]]);
            products[2 * i + which] = (product){.w = &matrices[2 * i + which],
                                                .x = x,
                                                .x_stride = hidden,
                                                .token_count = 1,
                                                .y = (which ? m->expert_up : m->expert_gate) + (size_t)i * width,
                                                .y_stride = width};
        }
    run_products(s, products, 2 * count);
    run_activation(s, moe->act, m->expert_gate, m->expert_up, (uint64_t)count * width);
    for (uint32_t i = 0; i < count; i++) {
        matrices[i] = matrix_of(s, moe, 2, &set->refs[places[i]]);
        products[i] = (product){.w = &matrices[i],
                                .x = m->expert_gate + (size_t)i * width,
                                .x_stride = width,
                                .token_count = 1,
                                .y = out + (size_t)places[i] * hidden,
                                .y_stride = hidden};
    }
    run_products(s, products, count);
}

/* ---- the next layer's experts ---- */

/* Whose guesses may be read: a ring, and a trunk that is still being read, have the disk's time to themselves. */
static const branch *layer_to_guess(const step *s, const moe_block *moe)
{
    const engine *e = s->engine;
    const bool is_wanted = e->look_ahead.mode != LOOK_AHEAD_OFF && !e->ring && trunk_is_complete(e->trunk);
    return is_wanted ? routing_next(s, moe) : NULL;
}

static void guess(const step *s, const branch *next, uint32_t read_max)
{
    engine *e = s->engine;
    const step_part part = step_clock_switch(&e->clock, STEP_ROUTER);
    const uint32_t count = routing_predict(s, next, e->ahead_ids);
    step_clock_switch(&e->clock, part);
    e->ahead_count = expert_cache_read_ahead(e->experts, next->block.moe.moe_idx, e->ahead_ids, count, read_max);
}

/* The layer has asked: its misses are being read. */
static void guess_behind_misses(const step *s, const moe_block *moe)
{
    const uint32_t most = look_ahead_reads(&s->engine->look_ahead, GUESSES_MAX);
    const branch *next = most ? layer_to_guess(s, moe) : NULL;

    if (next) guess(s, next, most);
}

/* The sweep is ending: the disk has nothing to do from now until the next layer asks. */
static void guess_behind_sweep(const step *s, const moe_block *moe)
{
    engine *e = s->engine;
    const branch *next = layer_to_guess(s, moe);

    if (!next) return;
    look_ahead_gap_begin(&e->look_ahead, clock_now_ns());
    const expert_cache_stats stats = expert_cache_stats_get(e->experts);
    look_ahead_judge(&e->look_ahead, stats.ahead_used, stats.ahead_wasted);
    const uint32_t most = look_ahead_sweep_reads(&e->look_ahead, GUESSES_MAX);
    if (most) guess(s, next, most);
}

static look_ahead_totals totals_of(const engine *e)
{
    const storage_stats reads = e->reads->ops->stats(e->reads);
    const expert_cache_stats cache = expert_cache_stats_get(e->experts);

    return (look_ahead_totals){.wait_ns = cache.wait_ns,
                               .busy_ns = reads.busy_ns,
                               .urgent_bytes = reads.class_bytes[READ_DEMAND] + reads.class_bytes[READ_CERTAIN],
                               .ahead_bytes = reads.class_bytes[READ_LOOK_AHEAD],
                               .useful_bytes = cache.ahead_used_bytes,
                               .used_count = cache.ahead_used,
                               .wasted_count = cache.ahead_wasted};
}

/* What guesses may read until the next layer asks. */
static void grant_reads(const step *s, const moe_block *moe, uint64_t now_ns)
{
    engine *e = s->engine;

    if (!e->look_ahead.pacing) return;
    const look_ahead_totals totals = totals_of(e);
    const read_grant grant = s->row_count == 1 ? look_ahead_paced_layer(&e->look_ahead, moe->moe_idx, now_ns, &totals)
                                               : look_ahead_unpaced(&e->look_ahead);
    e->reads->ops->grant(e->reads, &grant);
}

/* The layer asks: its experts are told to the trace, with what was read ahead for it. */
static void tell_asked(const step *s, const moe_block *moe, const uint32_t *experts, const uint32_t *row_counts,
                       uint32_t count)
{
    engine *e = s->engine;
    const step_asked asked = {.moe_idx = moe->moe_idx,
                              .position = s->rows[0].position,
                              .row_count = s->row_count,
                              .experts = experts,
                              .expert_rows = row_counts,
                              .count = count,
                              .ahead = e->ahead_ids,
                              .ahead_count = e->ahead_count};

    const uint64_t now_ns = clock_now_ns();

    look_ahead_gap_end(&e->look_ahead, now_ns);
    grant_reads(s, moe, now_ns);
    if (s->asked_sink) s->asked_sink(s->asked_user, &asked);
    e->ahead_count = 0;
}

/* ---- one row ---- */

static uint32_t absent_count(const step *s, const moe_block *moe, const uint32_t *experts, uint32_t count)
{
    uint32_t absent = 0;
    for (uint32_t i = 0; i < count; i++) absent += !expert_cache_holds(s->engine->experts, moe->moe_idx, experts[i]);
    return absent;
}

/* Hits first, all at once; then each miss as it arrives. read_count: reads that are only now under way. */
static leat_status compute_held_set(const step *s, const moe_block *moe, expert_set *set, uint32_t read_count,
                                    const float *x, leat_error *error)
{
    uint32_t places[EXPERTS_AT_ONCE], hit_count = 0;
    const uint64_t begin_ns = clock_now_ns();
    uint64_t wait_ns = 0;

    for (uint32_t i = 0; i < set->count; i++) hit_count += set->refs[i].was_hit;
    for (uint32_t done = 0; done < set->count;) {
        const uint32_t wanted = done < hit_count ? (uint32_t)min_u64(hit_count - done, EXPERTS_AT_ONCE) : 1;
        const uint64_t waited_ns = expert_cache_stats_get(s->engine->experts).wait_ns;
        for (uint32_t i = 0; i < wanted; i++) TRY(expert_cache_next(s->engine->experts, set, &places[i], error));
        wait_ns = expert_cache_stats_get(s->engine->experts).wait_ns - waited_ns;
        done += wanted;
        if (done == set->count && wait_ns)
            look_ahead_records_came(&s->engine->look_ahead, read_count, clock_now_ns() - begin_ns);
        compute_side_by_side(s, moe, set, places, wanted, x, s->engine->scratch.expert_out);
        TRY(engine_check_cancel(s->engine, error));
    }
    return LEAT_OK;
}

static leat_status run_single_row(const step *s, const moe_block *moe, const float *x, leat_error *error)
{
    const scratch *m = &s->engine->scratch;
    expert_set *set = &s->engine->held_set;
    const uint32_t read_count = absent_count(s, moe, m->chosen, moe->used_count);

    TRY(expert_cache_acquire(s->engine->experts, moe->moe_idx, m->chosen, moe->used_count, set, error));
    tell_asked(s, moe, m->chosen, NULL, moe->used_count);
    guess_behind_misses(s, moe);
    const leat_status status = compute_held_set(s, moe, set, read_count, x, error);
    expert_cache_release(s->engine->experts, set);
    return status;
}

/* ---- many rows ---- */

/* Sorts (row, place) pairs by expert: expert_rows[e] .. expert_rows[e + 1] index the pairs row * used + place of expert
 * e. */
static uint32_t *group_by_expert(const step *s, const moe_block *moe)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t pair_count = s->row_count * moe->used_count;
    uint32_t *first = m->expert_rows, *pairs = m->expert_rows + moe->expert_count + 1;

    memset(first, 0, (moe->expert_count + 1) * sizeof *first);
    for (uint32_t i = 0; i < pair_count; i++) first[m->chosen[i] + 1]++;
    for (uint32_t e = 0; e < moe->expert_count; e++) first[e + 1] += first[e];
    for (uint32_t i = 0; i < pair_count; i++) pairs[first[m->chosen[i]]++] = i; /* moves each start to the next one's */
    memmove(first + 1, first, moe->expert_count * sizeof *first);
    first[0] = 0;
    return pairs;
}

/* One expert for all rows that chose it. */
static void compute_expert(const step *s, const moe_block *moe, const expert_ref *ref, const uint32_t *pairs,
                           uint32_t count, const float *x)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = s->engine->model->hidden_size, width = moe->width;
    const matrix gate = matrix_of(s, moe, 0, ref), up = matrix_of(s, moe, 1, ref), down = matrix_of(s, moe, 2, ref);

    for (uint32_t i = 0; i < count; i++)
        memcpy(m->expert_in + (size_t)i * hidden, x + (size_t)(pairs[i] / moe->used_count) * hidden,
               hidden * sizeof *x);
    const product both[2] = {
        {.w = &gate,
         .x = m->expert_in,
         .x_stride = hidden,
         .token_count = count,
         .y = m->expert_gate,
         .y_stride = width},
        {.w = &up, .x = m->expert_in, .x_stride = hidden, .token_count = count, .y = m->expert_up, .y_stride = width},
    };
    run_products(s, both, 2);
    run_activation(s, moe->act, m->expert_gate, m->expert_up, (uint64_t)count * width);
    const product last = {.w = &down,
                          .x = m->expert_gate,
                          .x_stride = width,
                          .token_count = count,
                          .y = m->expert_down,
                          .y_stride = hidden};
    run_products(s, &last, 1);
    for (uint32_t i = 0; i < count; i++)
        memcpy(m->expert_out + (size_t)pairs[i] * hidden, m->expert_down + (size_t)i * hidden, hidden * sizeof *x);
}

/* The experts of the sweep: those in memory first, and in each half those of many rows last, so that these are the
 * youngest. Returns how many. */
static uint32_t order_sweep(const step *s, const moe_block *moe)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t *first = m->expert_rows;
    uint32_t count = 0;

    for (uint32_t e = 0; e < moe->expert_count; e++) {
        const uint32_t rows = first[e + 1] - first[e];
        const bool is_held = rows && expert_cache_holds(s->engine->experts, moe->moe_idx, e);
        uint32_t at = count;
        if (!rows) continue;
        for (; at > 0; at--) {
            const bool other_is_held = m->sweep_is_held[at - 1];
            if (other_is_held != is_held ? other_is_held : m->sweep_rows[at - 1] <= rows) break;
            m->sweep_experts[at] = m->sweep_experts[at - 1];
            m->sweep_rows[at] = m->sweep_rows[at - 1];
            m->sweep_is_held[at] = other_is_held;
        }
        m->sweep_experts[at] = e;
        m->sweep_rows[at] = rows;
        m->sweep_is_held[at] = is_held;
        count++;
    }
    return count;
}

static leat_status visit_sweep(const step *s, const moe_block *moe, expert_sweep *sweep, const uint32_t *pairs,
                               const float *x, leat_error *error)
{
    const uint32_t *first = s->engine->scratch.expert_rows, count = sweep->count;
    const expert_ref *ref;

    for (uint32_t done = 0; done < count; done++) {
        TRY(expert_cache_sweep_next(s->engine->experts, sweep, &ref, error));
        if (expert_sweep_is_ending(sweep)) guess_behind_sweep(s, moe);
        compute_expert(s, moe, ref, pairs + first[ref->expert], first[ref->expert + 1] - first[ref->expert], x);
        TRY(engine_check_cancel(s->engine, error));
    }
    return LEAT_OK;
}

static leat_status run_many_rows(const step *s, const moe_block *moe, const float *x, leat_error *error)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t *pairs = group_by_expert(s, moe);
    const uint32_t count = order_sweep(s, moe);
    expert_sweep sweep;

    expert_cache_sweep_begin(s->engine->experts, moe->moe_idx, m->sweep_experts, m->sweep_rows, count, s->row_count,
                             &sweep);
    tell_asked(s, moe, m->sweep_experts, m->sweep_rows, count);
    const leat_status status = visit_sweep(s, moe, &sweep, pairs, x, error);
    expert_cache_sweep_end(s->engine->experts, &sweep);
    return status;
}

/* y = sum over places of weight * output, in router order. */
static void sum_outputs(const step *s, const moe_block *moe, float *y)
{
    const scratch *m = &s->engine->scratch;
    const uint32_t hidden = s->engine->model->hidden_size, used = moe->used_count;

    for (uint32_t i = 0; i < s->row_count; i++)
        s->engine->kernels.weighted_rows_f32(m->expert_out + (size_t)i * used * hidden, hidden,
                                             m->chosen_weights + (size_t)i * used, used, y + (size_t)i * hidden,
                                             hidden);
}

leat_status run_moe(const step *s, const moe_block *moe, const float *stream, const float *x, float *y,
                    leat_error *error)
{
    step_clock *clock = &s->engine->clock;
    const step_part part = step_clock_switch(clock, STEP_ROUTER);
    route_rows(s, moe, stream, x);
    step_clock_switch(clock, part);
    const uint64_t wait_ns = expert_cache_stats_get(s->engine->experts).wait_ns;
    const leat_status status = s->row_count == 1 ? run_single_row(s, moe, x, error) : run_many_rows(s, moe, x, error);
    step_clock_move(clock, expert_cache_stats_get(s->engine->experts).wait_ns - wait_ns);
    TRY(status);
    sum_outputs(s, moe, y);
    return LEAT_OK;
}

/*
 * run_moe.c - routed experts (docs/models.md).
 *
 * A single row asks for its experts at once: those in memory are computed side by side while the missing ones are read,
 * each of which is computed when it arrives. Many rows go expert by expert: rows are grouped by the expert they chose,
 * so that every expert is read once per step. Either way an expert's output for a row is kept apart and the outputs are
 * summed in router order, so arrival order does not show.
 */
#include "exec/step.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

/* ---- routing ---- */

/* What the router sees: the block's input, or the stream under its own norm and scale. */
static const float *router_input(const step *s, const moe_block *moe, const float *stream, const float *x)
{
    const kernel_table *k = &s->engine->kernels;
    const uint32_t hidden = s->engine->model->hidden_size;
    float *in = s->engine->scratch.router_in;

    if (!moe->router_reads_stream) return x;
    run_norm(s, NO_ID, stream, in, s->row_count, hidden);
    for (uint32_t i = 0; i < s->row_count; i++) {
        float *row = in + (size_t)i * hidden;
        if (moe->router_scale != NO_ID) k->mul_f32(row, step_vector(s, moe->router_scale), hidden);
        k->scale_f32(row, moe->router_factor, hidden);
    }
    return in;
}

/* The `used` largest logits of one row, by falling value, the lower id first among equals. */
static void choose_largest(const float *logits, uint32_t count, uint32_t used, uint32_t *chosen)
{
    uint32_t held = 0;

    for (uint32_t e = 0; e < count; e++) {
        uint32_t at = held < used ? held : used;
        while (at > 0 && logits[e] > logits[chosen[at - 1]]) at--;
        if (at == used) continue;
        if (held < used) held++;
        memmove(chosen + at + 1, chosen + at, (held - at - 1) * sizeof *chosen);
        chosen[at] = e;
    }
}

static void route_row(const step *s, const moe_block *moe, float *logits, uint32_t *chosen, float *weights)
{
    const kernel_table *k = &s->engine->kernels;
    const float *expert_scale = step_vector(s, moe->expert_scale);

    choose_largest(logits, moe->expert_count, moe->used_count, chosen);
    float sum =
        k->exp_sum_f32(logits, k->max_f32(logits, moe->expert_count), moe->expert_count); /* now softmax times sum */
    if (moe->renormalise) {
        sum = 0;
        for (uint32_t i = 0; i < moe->used_count; i++) sum += logits[chosen[i]];
    }
    for (uint32_t i = 0; i < moe->used_count; i++) {
        weights[i] = logits[chosen[i]] / sum;
        if (expert_scale) weights[i] *= expert_scale[chosen[i]];
    }
}

static void route(const step *s, const moe_block *moe, const float *stream, const float *x)
{
    const scratch *m = &s->engine->scratch;

    run_product(s, step_matrix(s, moe->router), router_input(s, moe, stream, x), m->router_logits);
    for (uint32_t i = 0; i < s->row_count; i++) {
        uint32_t *chosen = m->chosen + (size_t)i * moe->used_count;
        float *weights = m->chosen_weights + (size_t)i * moe->used_count;
        route_row(s, moe, m->router_logits + (size_t)i * moe->expert_count, chosen, weights);
        if (s->route_sink)
            s->route_sink(s->route_user, moe->moe_idx, s->rows[i].position, chosen, weights, moe->used_count);
    }
}

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

/* Hits first, all at once; then each miss as it arrives. */
static leat_status compute_held_set(const step *s, const moe_block *moe, expert_set *set, const float *x,
                                    leat_error *error)
{
    uint32_t places[EXPERTS_AT_ONCE], hit_count = 0;

    for (uint32_t i = 0; i < set->count; i++) hit_count += set->refs[i].was_hit;
    for (uint32_t done = 0; done < set->count;) {
        const uint32_t wanted = done < hit_count ? (uint32_t)min_u64(hit_count - done, EXPERTS_AT_ONCE) : 1;
        for (uint32_t i = 0; i < wanted; i++) TRY(expert_cache_next(s->engine->experts, set, &places[i], error));
        compute_side_by_side(s, moe, set, places, wanted, x, s->engine->scratch.expert_out);
        done += wanted;
        TRY(engine_check_cancel(s->engine, error));
    }
    return LEAT_OK;
}

static leat_status acquire(const step *s, const moe_block *moe, uint32_t set_idx, const uint32_t *experts,
                           uint32_t count, leat_error *error)
{
    TRY(expert_cache_acquire(s->engine->experts, moe->moe_idx, experts, count, &s->engine->held_set, error));
    if (s->acquire_sink)
        s->acquire_sink(s->acquire_user, moe->moe_idx, set_idx, s->rows[0].position, s->row_count, experts, count);
    return LEAT_OK;
}

static leat_status run_single_row(const step *s, const moe_block *moe, const float *x, leat_error *error)
{
    const scratch *m = &s->engine->scratch;
    expert_set *set = &s->engine->held_set;

    TRY(acquire(s, moe, 0, m->chosen, moe->used_count, error));
    const leat_status status = compute_held_set(s, moe, set, x, error);
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

static leat_status compute_group(const step *s, const moe_block *moe, uint32_t set_idx, const uint32_t *experts,
                                 uint32_t count, const uint32_t *pairs, const float *x, leat_error *error)
{
    const uint32_t *first = s->engine->scratch.expert_rows;
    expert_set *set = &s->engine->held_set;
    leat_status status = LEAT_OK;

    TRY(acquire(s, moe, set_idx, experts, count, error));
    for (uint32_t done = 0; done < count && status == LEAT_OK; done++) {
        uint32_t place;
        status = expert_cache_next(s->engine->experts, set, &place, error);
        if (status != LEAT_OK) break;
        const uint32_t e = set->refs[place].expert;
        compute_expert(s, moe, &set->refs[place], pairs + first[e], first[e + 1] - first[e], x);
        status = engine_check_cancel(s->engine, error);
    }
    expert_cache_release(s->engine->experts, set);
    return status;
}

static leat_status run_many_rows(const step *s, const moe_block *moe, const float *x, leat_error *error)
{
    const uint32_t *pairs = group_by_expert(s, moe), *first = s->engine->scratch.expert_rows;
    const uint32_t set_max = s->engine->plan.expert_set_max;
    uint32_t experts[EXPERT_SET_MAX], count = 0, set_idx = 0;

    for (uint32_t e = 0; e < moe->expert_count; e++) {
        if (first[e + 1] > first[e]) experts[count++] = e;
        if (count == set_max || (count && e + 1 == moe->expert_count)) {
            TRY(compute_group(s, moe, set_idx++, experts, count, pairs, x, error));
            count = 0;
        }
    }
    return LEAT_OK;
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
    route(s, moe, stream, x);
    step_clock_switch(clock, part);
    const uint64_t wait_ns = expert_cache_stats_get(s->engine->experts).wait_ns;
    const leat_status status = s->row_count == 1 ? run_single_row(s, moe, x, error) : run_many_rows(s, moe, x, error);
    step_clock_move(clock, expert_cache_stats_get(s->engine->experts).wait_ns - wait_ns);
    TRY(status);
    sum_outputs(s, moe, y);
    return LEAT_OK;
}

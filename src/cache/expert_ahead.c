/*
 * expert_ahead.c - what is read before it is asked for: guesses and sweeps.
 *
 * Guesses. What is read ahead is pinned until the next acquire of its layer, or the end of its sweep, so that neither
 * another guess nor a miss of the layer before takes its slot. It counts as a miss when an acquire names it: hits are
 * what the policy has kept. A guess that nobody names goes to the old end of its list, where it is the first to go.
 *
 * Sweeps. A prefill chunk wants many records of one layer, each once. They are pinned in the order given, a window of
 * them at a time, and handed out in that order: were they handed out as they arrive, then what is pinned at a choice of
 * a victim, and so the choice, would depend on the disk.
 */
#include "cache/expert_table.h"

#include "base/bytes.h"

/* ---- what is read ahead ---- */

/* Nobody named it: its slot is the next of its list to go, and what of it has not begun is not read now. Returns how
 * many bytes were read in vain. */
static uint64_t give_up_guess(expert_cache *cache, uint32_t slot_idx)
{
    slot *s = &cache->slots[slot_idx];
    const uint64_t bytes = class_of_slot(cache, slot_idx)->slot_bytes;
    const uint64_t saved = s->state == SLOT_LOADING ? table_put_off(cache, slot_idx) : 0;
    s->is_guess = 0;
    table_make_oldest(cache, slot_idx);
    return bytes > saved ? bytes - saved : 0;
}

void ahead_drop(expert_cache *cache)
{
    uint32_t wasted_count = 0;
    uint64_t wasted_bytes = 0;
    for (uint32_t i = 0; i < cache->ahead_count; i++) {
        const uint32_t slot_idx = cache->ahead_slots[i];
        if (cache->slots[slot_idx].is_guess) {
            wasted_bytes += give_up_guess(cache, slot_idx);
            wasted_count++;
        }
        table_unpin(cache, slot_idx);
    }
    cache->ahead_count = 0;
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ahead_wasted += wasted_count;
    cache->stats.ahead_wasted_bytes += wasted_bytes;
    pthread_mutex_unlock(&cache->mutex);
}

/* Those of the list that are there, so that they are no victims of the others. What was put off of them is read. */
static void pin_held(expert_cache *cache, uint32_t first_key, const uint32_t *experts, uint32_t count, bool may_read)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t slot_idx = cache->slot_of_key[first_key + experts[i]];
        if (slot_idx == NONE) continue;
        table_pin(cache, slot_idx);
        if (may_read) table_take_up(cache, slot_idx, READ_LOOK_AHEAD);
        cache->ahead_slots[cache->ahead_count++] = slot_idx;
    }
}

uint32_t expert_cache_read_ahead(expert_cache *cache, uint32_t layer, uint32_t *experts, uint32_t count,
                                 uint32_t read_max)
{
    assert(layer < cache->config.layer_count);
    uint32_t first_key = layer * cache->config.expert_count, begun_count = 0, kept_count = 0;
    count = (uint32_t)min_u64(count, AHEAD_MAX);
    ahead_drop(cache);
    cache->ahead_layer = layer;
    pin_held(cache, first_key, experts, count, read_max > 0);
    for (uint32_t i = 0; i < count; i++) {
        if (cache->slot_of_key[first_key + experts[i]] == NONE) {
            if (begun_count == read_max || !table_has_room(cache, layer, 1)) continue;
            const uint32_t slot_idx = cache_load_key(cache, layer, first_key + experts[i], ++cache->last_stamp);
            cache->slots[slot_idx].is_guess = 1;
            table_submit(cache, slot_idx, READ_LOOK_AHEAD);
            cache->ahead_slots[cache->ahead_count++] = slot_idx;
            begun_count++;
        }
        experts[kept_count++] = experts[i];
    }
    pthread_mutex_lock(&cache->mutex);
    cache->stats.ahead_reads += begun_count;
    pthread_mutex_unlock(&cache->mutex);
    return kept_count;
}

/* ---- sweeps ---- */

void expert_cache_sweep_begin(expert_cache *cache, uint32_t layer, const uint32_t *experts, const uint32_t *row_counts,
                              uint32_t count, uint32_t row_count, expert_sweep *out_sweep)
{
    assert(layer < cache->config.layer_count);
    const slot_class *c = class_of_layer(cache, layer);
    *out_sweep = (expert_sweep){.layer = layer,
                                .experts = experts,
                                .count = count,
                                .window = (uint32_t)min_u64(min_u64(c->share, SWEEP_WINDOW_MAX), c->slot_count)};
    policy_count_uses(cache, layer, experts, row_counts, count, row_count);
}

/* Pins the next record of the list; there is room. */
static void ask_next(expert_cache *cache, expert_sweep *sweep)
{
    uint32_t key = sweep->layer * cache->config.expert_count + sweep->experts[sweep->asked_count];
    uint32_t slot_idx = cache->slot_of_key[key];
    uint64_t stamp = ++cache->last_stamp;
    bool is_hit = false;
    if (slot_idx == NONE) {
        slot_idx = cache_load_key(cache, sweep->layer, key, stamp);
        table_submit(cache, slot_idx, sweep->class);
    } else {
        table_pin(cache, slot_idx);
        is_hit = cache_claim(cache, slot_idx, stamp);
    }
    cache_count_asked(cache, is_hit, !is_hit);
    sweep->slots[sweep->asked_count++ % SWEEP_WINDOW_MAX] = slot_idx;
}

static void fill_window(expert_cache *cache, expert_sweep *sweep)
{
    while (sweep->asked_count < sweep->count && sweep->asked_count - sweep->handed_out_count < sweep->window) {
        if (!table_has_room(cache, sweep->layer, 1)) {
            if (sweep->asked_count > sweep->handed_out_count) return;
            ahead_drop(cache); /* the only others that hold slots */
        }
        ask_next(cache, sweep);
    }
}

static void release_current(expert_cache *cache, expert_sweep *sweep)
{
    if (sweep->handed_out_count > 0 && sweep->current.slot_idx != NONE) table_unpin(cache, sweep->current.slot_idx);
    sweep->current.slot_idx = NONE;
}

leat_status expert_cache_sweep_next(expert_cache *cache, expert_sweep *sweep, const expert_ref **out_ref,
                                    leat_error *error)
{
    assert(sweep->handed_out_count < sweep->count);
    release_current(cache, sweep);
    fill_window(cache, sweep);
    expert_ref *ref = &sweep->current;
    const uint32_t nth = sweep->handed_out_count++, slot_idx = sweep->slots[nth % SWEEP_WINDOW_MAX];
    const slot *s = &cache->slots[slot_idx];
    *ref = (expert_ref){.expert = sweep->experts[nth], .slot_idx = slot_idx, .was_hit = s->state == SLOT_READY};
    while (s->state == SLOT_LOADING && !slot_has_failed(s)) table_reap_one(cache);
    ref->handed_out = true;
    if (slot_has_failed(s)) return cache_tell_failure(cache, sweep->layer, ref, error);
    cache_hand_out(cache, ref);
    *out_ref = ref;
    return LEAT_OK;
}

bool expert_sweep_is_ending(const expert_sweep *sweep)
{
    return sweep->handed_out_count == (sweep->count > SWEEP_TAIL ? sweep->count - SWEEP_TAIL : 1);
}

void expert_cache_sweep_end(expert_cache *cache, expert_sweep *sweep)
{
    release_current(cache, sweep);
    for (; sweep->handed_out_count < sweep->asked_count; sweep->handed_out_count++)
        table_unpin(cache, sweep->slots[sweep->handed_out_count % SWEEP_WINDOW_MAX]);
    if (cache->ahead_layer == sweep->layer) ahead_drop(cache);
    sweep->count = sweep->asked_count = sweep->handed_out_count = 0;
}

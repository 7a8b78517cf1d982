#include "cache/expert_classes.h"

#include "base/bytes.h"

enum { SIZES_MAX = 64, NEAR_EIGHTHS = 7 };

static uint64_t payload_bytes(const expert_record *record)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < record->part_count; i++)
        if (!size_add(sum, record->parts[i].bytes, &sum)) return UINT64_MAX;
    return sum;
}

/* What each record of a layer has; 0 where they differ. */
static uint64_t layer_bytes(const expert_cache_config *config, uint32_t layer)
{
    const expert_record *records = &config->records[(uint64_t)layer * config->expert_count];
    const uint64_t bytes = payload_bytes(&records[0]);
    for (uint32_t e = 1; e < config->expert_count; e++)
        if (payload_bytes(&records[e]) != bytes) return 0;
    return bytes;
}

/* The distinct sizes of layers, the largest first. 0: too many, or a layer of several sizes. */
static uint32_t list_sizes(const expert_cache_config *config, uint64_t out[SIZES_MAX])
{
    uint32_t count = 0;
    for (uint32_t layer = 0; layer < config->layer_count; layer++) {
        const uint64_t bytes = layer_bytes(config, layer);
        uint32_t at = 0;
        while (at < count && out[at] > bytes) at++;
        if (at < count && out[at] == bytes) continue;
        if (bytes == 0 || bytes == UINT64_MAX || count == SIZES_MAX) return 0;
        for (uint32_t i = count++; i > at; i--) out[i] = out[i - 1];
        out[at] = bytes;
    }
    return count;
}

static bool has_a_set_for_each_layer(const expert_cache_config *config)
{
    return config->slot_count >= (uint64_t)config->layer_count * config->set_max;
}

void expert_classes_find(const expert_cache_config *config, expert_classes *out)
{
    uint64_t sizes[SIZES_MAX], largest = 0;
    const bool is_divided = config->layer_count > 1 && config->expert_count > 0 && has_a_set_for_each_layer(config);
    const uint32_t size_count = is_divided ? list_sizes(config, sizes) : 0;

    *out = (expert_classes){.layer_count = config->layer_count, .set_max = config->set_max};
    for (uint32_t i = 0; i < size_count; i++) {
        const bool is_near = out->count > 0 && sizes[i] >= largest / 8 * NEAR_EIGHTHS;
        if (!is_near && out->count < EXPERT_CLASSES_MAX) {
            largest = sizes[i];
            out->count++;
        }
        out->least_bytes[out->count - 1] = sizes[i];
    }
    if (out->count <= 1) {
        out->count = 1;
        out->least_bytes[0] = 0;
        out->layer_counts[0] = config->layer_count;
        return;
    }
    for (uint32_t layer = 0; layer < config->layer_count; layer++)
        out->layer_counts[expert_classes_of_layer(out, config, layer)]++;
}

uint32_t expert_classes_of_layer(const expert_classes *c, const expert_cache_config *config, uint32_t layer)
{
    uint32_t idx = 0;
    if (c->count == 1) return 0;
    const uint64_t bytes = payload_bytes(&config->records[(uint64_t)layer * config->expert_count]);
    while (idx + 1 < c->count && bytes < c->least_bytes[idx]) idx++;
    return idx;
}

/* Equally many for each layer, and of the rest one more for the first of them, in the order of the classes: with more
 * slots in all no class has fewer. */
static uint32_t equal_part(const expert_classes *c, uint32_t slot_count, uint32_t idx)
{
    const uint32_t each = slot_count / c->layer_count;
    uint32_t rest = slot_count % c->layer_count;
    for (uint32_t i = 0; i < idx; i++) rest -= (uint32_t)min_u64(rest, c->layer_counts[i]);
    return each * c->layer_counts[idx] + (uint32_t)min_u64(rest, c->layer_counts[idx]);
}

void expert_classes_divide(const expert_classes *c, uint32_t slot_count, uint32_t out[EXPERT_CLASSES_MAX])
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        out[i] = (uint32_t)max_u64(c->set_max, equal_part(c, slot_count, i));
        sum += out[i];
    }
    /* Few slots: a class of few layers has its set at the expense of the others. */
    while (sum > slot_count) {
        uint32_t most = 0;
        for (uint32_t i = 1; i < c->count; i++)
            if (out[i] > out[most]) most = i;
        if (out[most] <= c->set_max) return;
        const uint64_t less = min_u64(sum - slot_count, out[most] - c->set_max);
        out[most] -= (uint32_t)less;
        sum -= less;
    }
}

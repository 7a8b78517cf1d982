/*
 * expert_classes.h - layers whose records have the same size form a class, and each class has slots of its own size.
 *
 * Where a checkpoint keeps some layers at more bits than others, slots for the largest record would waste the rest of
 * most of them. Sizes within an eighth of each other are one class all the same, because slots of one class cannot help
 * another. Slots are divided so that every layer has equally many, which is in proportion to the layers' bytes.
 *
 * There is one class where sizes do not differ, where a layer's records are of several sizes, and where there are fewer
 * slots than a set for every layer: then layers take turns with the same few slots.
 *
 * Pure functions of sizes and counts; no memory.
 */
#ifndef CACHE_EXPERT_CLASSES_H
#define CACHE_EXPERT_CLASSES_H

#include "cache/expert_cache.h"

typedef struct expert_classes {
    uint32_t count;                            /* 1 and more */
    uint64_t least_bytes[EXPERT_CLASSES_MAX];  /* payload of the smallest record of each; the largest come first */
    uint32_t layer_counts[EXPERT_CLASSES_MAX]; /* of each */
    uint32_t layer_count, set_max;             /* of the cache */
} expert_classes;

/* For a cache of config->slot_count slots. */
void expert_classes_find(const expert_cache_config *config, expert_classes *out_classes);
uint32_t expert_classes_of_layer(const expert_classes *c, const expert_cache_config *config, uint32_t layer);
/* Slots of each class, at least a set. Their sum is slot_count, or what a set for each takes, where that is more. */
void expert_classes_divide(const expert_classes *c, uint32_t slot_count, uint32_t out_counts[EXPERT_CLASSES_MAX]);

#endif

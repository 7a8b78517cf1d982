/* expert_world.c - see the header. */
#include "expert_world.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const file_names[WORLD_FILE_COUNT] = {"direct.bin", "buffered.bin"};

/* Gives each part the next bytes of one of the files, with a gap that spoils the alignment. */
static void place_records(expert_world *w, uint64_t *file_bytes)
{
    uint32_t key_count = w->shape.layer_count * w->shape.expert_count;
    for (uint32_t key = 0; key < key_count; key++) {
        extent *parts = &w->extents[(size_t)key * EXPERT_PARTS_MAX];
        uint32_t part_count = w->shape.part_count > 0 ? w->shape.part_count : 1 + key % 4;
        for (uint32_t i = 0; i < part_count; i++) {
            uint64_t bytes = w->shape.part_bytes + hash_u64(key * 16 + i) % 64;
            if (w->shape.part_count == 0 && part_count > 1 && hash_u64(key * 16 + i) % 5 == 0) bytes = 0;
            if (w->layer_bytes) bytes = w->layer_bytes[key / w->shape.expert_count];
            uint32_t file_idx = (key + i) % 3 == 0;
            parts[i] = (extent){file_idx, file_bytes[file_idx], bytes};
            file_bytes[file_idx] += bytes + hash_u64(key) % 7;
        }
        w->records[key] = (expert_record){parts, part_count};
    }
}

void world_open(expert_world *w, const world_shape *shape, const storage_sim_config *sim)
{
    world_open_with(w, shape, CACHE_LRU, sim);
}

void world_open_with(expert_world *w, const world_shape *shape, cache_policy policy, const storage_sim_config *sim)
{
    world_open_mixed(w, shape, NULL, policy, sim);
}

void world_open_mixed(expert_world *w, const world_shape *shape, const uint32_t *layer_bytes, cache_policy policy,
                      const storage_sim_config *sim)
{
    *w = (expert_world){.shape = *shape, .layer_bytes = layer_bytes};
    size_t key_count = (size_t)shape->layer_count * shape->expert_count;
    w->extents = calloc(key_count * EXPERT_PARTS_MAX, sizeof *w->extents);
    w->records = calloc(key_count, sizeof *w->records);
    assert_true(w->extents != NULL && w->records != NULL);
    uint64_t file_bytes[WORLD_FILE_COUNT] = {3, 5};
    place_records(w, file_bytes);
    for (uint32_t f = 0; f < WORLD_FILE_COUNT; f++) {
        uint32_t align = f == 0 ? 512 : 1;
        w->files[f] =
            (file){.fd = -1, .is_direct = f == 0, .offset_align = align, .memory_align = align, .bytes = file_bytes[f]};
        w->contents[f] = malloc(file_bytes[f]);
        assert_non_null(w->contents[f]);
        for (uint64_t i = 0; i < file_bytes[f]; i++) w->contents[f][i] = (uint8_t)hash_u64(i + ((uint64_t)f << 40));
    }
    w->set = (file_set){w->files, file_names, WORLD_FILE_COUNT};
    w->config = (expert_cache_config){.layer_count = shape->layer_count,
                                      .expert_count = shape->expert_count,
                                      .records = w->records,
                                      .slot_count = shape->slot_count,
                                      .set_max = shape->set_max,
                                      .policy = policy};
    leat_error error;
    assert_int_equal(mem_open(0, &w->ledger, &error), LEAT_OK);
    w->reads = storage_sim_open(&w->set, (const uint8_t *const *)w->contents, sim);
    assert_int_equal(expert_cache_open(w->ledger, &w->config, &w->set, w->reads, &w->cache, &error), LEAT_OK);
    expert_cache_check(w->cache);
}

void world_close(expert_world *w)
{
    expert_cache_close(&w->cache);
    assert_null(w->cache);
    assert_int_equal(storage_sim_pending_count(w->reads), 0);
    w->reads->ops->close(&w->reads);
    mem_close(&w->ledger);
    for (uint32_t f = 0; f < WORLD_FILE_COUNT; f++) free(w->contents[f]);
    free(w->records);
    free(w->extents);
}

const expert_record *world_record(const expert_world *w, uint32_t layer, uint32_t expert)
{
    return &w->records[layer * w->shape.expert_count + expert];
}

void world_acquire(expert_world *w, expert_set *set, uint32_t layer, const uint32_t *experts, uint32_t count)
{
    leat_error error;
    if (expert_cache_acquire(w->cache, layer, experts, count, set, &error) != LEAT_OK) fail_msg("%s", error.text);
    expert_cache_check(w->cache);
    assert_int_equal(set->layer, layer);
    assert_int_equal(set->count, count);
    assert_int_equal(set->handed_out_count, 0);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(set->refs[i].expert, experts[i]);
}

void world_compare(const expert_world *w, const expert_set *set, uint32_t ref_idx)
{
    const expert_ref *ref = &set->refs[ref_idx];
    const expert_record *record = world_record(w, set->layer, ref->expert);
    for (uint32_t i = 0; i < record->part_count; i++) {
        const extent *part = &record->parts[i];
        assert_non_null(ref->parts[i]);
        assert_memory_equal(ref->parts[i], w->contents[part->file_idx] + part->offset, part->bytes);
    }
}

uint32_t world_next(expert_world *w, expert_set *set)
{
    leat_error error;
    uint32_t ref_idx = UINT32_MAX, before = set->handed_out_count;
    if (expert_cache_next(w->cache, set, &ref_idx, &error) != LEAT_OK) fail_msg("%s", error.text);
    expert_cache_check(w->cache);
    assert_true(ref_idx < set->count && set->refs[ref_idx].handed_out);
    assert_int_equal(set->handed_out_count, before + 1);
    world_compare(w, set, ref_idx);
    return set->refs[ref_idx].expert;
}

void world_release(expert_world *w, expert_set *set)
{
    expert_cache_release(w->cache, set);
    expert_cache_check(w->cache);
}

uint64_t world_visit(expert_world *w, uint32_t layer, const uint32_t *experts, uint32_t count)
{
    static expert_set set;
    uint64_t hits = 0;
    world_acquire(w, &set, layer, experts, count);
    for (uint32_t i = 0; i < count; i++) hits |= (uint64_t)set.refs[i].was_hit << i;
    while (set.handed_out_count < set.count) world_next(w, &set);
    world_release(w, &set);
    return hits;
}

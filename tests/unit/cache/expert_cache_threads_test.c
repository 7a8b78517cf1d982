/*
 * expert_cache_threads_test.c - the cache on the real storage: a file on disk, reader threads, and a thread that looks
 * at the figures meanwhile. Run it under a race detector (-Db_sanitize=thread).
 */
#include "cache/expert_cache.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/prng.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    LAYER_COUNT = 3,
    EXPERT_COUNT = 12,
    PART_COUNT = 3,
    PART_BYTES = 7001,
    SLOT_COUNT = 16,
    SET_MAX = 4,
    VISIT_COUNT = 400
};
enum { FILE_BYTES = LAYER_COUNT * EXPERT_COUNT * PART_COUNT * PART_BYTES };

static uint8_t byte_at(uint64_t offset) { return (uint8_t)hash_u64(offset); }

typedef struct watcher {
    const expert_cache *cache;
    atomic_bool is_over;
    uint32_t wrong_count;
} watcher;

static void *watch_stats(void *context)
{
    watcher *w = context;
    uint64_t seen = 0;
    while (!atomic_load(&w->is_over)) {
        expert_cache_stats stats = expert_cache_stats_get(w->cache);
        w->wrong_count += stats.hits + stats.misses < seen || stats.ready_count > SLOT_COUNT;
        seen = stats.hits + stats.misses;
        usleep(50);
    }
    return NULL;
}

static void hands_out_what_is_on_the_disk(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = NULL;
    char name[] = "expert-cache-test-XXXXXX"; /* in the build folder: /tmp may know no O_DIRECT */
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    uint8_t *bytes = malloc(FILE_BYTES);
    for (uint64_t i = 0; i < FILE_BYTES; i++) bytes[i] = byte_at(i);
    assert_int_equal(write(fd, bytes, FILE_BYTES), FILE_BYTES);
    close(fd);
    free(bytes);

    static extent parts[LAYER_COUNT * EXPERT_COUNT * PART_COUNT];
    static expert_record records[LAYER_COUNT * EXPERT_COUNT];
    for (uint32_t i = 0; i < ARRAY_COUNT(parts); i++) parts[i] = (extent){0, (uint64_t)i * PART_BYTES, PART_BYTES};
    for (uint32_t i = 0; i < ARRAY_COUNT(records); i++)
        records[i] = (expert_record){parts + (size_t)i * PART_COUNT, PART_COUNT};
    expert_cache_config config = {LAYER_COUNT, EXPERT_COUNT, records, SLOT_COUNT, SET_MAX, CACHE_LRU};

    file f;
    const char *names[] = {name};
    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
    assert_int_equal(file_open(AT_FDCWD, name, false, FILE_DIRECT_IF_POSSIBLE, &f, &error), LEAT_OK);
    file_set files = {&f, names, 1};
    storage *reads = NULL;
    expert_cache *cache = NULL;
    /* 8: less than a set's reads */
    assert_int_equal(storage_threads_open(ledger, &files, 4, 8, &reads, &error), LEAT_OK);
    assert_int_equal(expert_cache_open(ledger, &config, &files, reads, &cache, &error), LEAT_OK);

    watcher w = {.cache = cache};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch_stats, &w), 0);
    prng dice;
    prng_init(&dice, 5);
    static expert_set set;
    for (uint32_t visit = 0; visit < VISIT_COUNT; visit++) {
        uint32_t first = (uint32_t)prng_below(&dice, EXPERT_COUNT), layer = visit % LAYER_COUNT, ref_idx;
        uint32_t experts[SET_MAX] = {first, (first + 1) % EXPERT_COUNT, (first + 3) % EXPERT_COUNT,
                                     (first + 7) % EXPERT_COUNT};
        uint32_t wanted_count = prng_below(&dice, 10) == 0 ? 1 : SET_MAX; /* now and then the rest is abandoned */
        assert_int_equal(expert_cache_acquire(cache, layer, experts, SET_MAX, &set, &error), LEAT_OK);
        while (set.handed_out_count < wanted_count) {
            assert_int_equal(expert_cache_next(cache, &set, &ref_idx, &error), LEAT_OK);
            for (uint32_t p = 0; p < PART_COUNT; p++) {
                uint64_t offset =
                    ((layer * EXPERT_COUNT + set.refs[ref_idx].expert) * PART_COUNT + p) * (uint64_t)PART_BYTES;
                for (uint64_t i = 0; i < PART_BYTES; i++)
                    if (set.refs[ref_idx].parts[p][i] != byte_at(offset + i)) fail_msg("visit %u: a wrong byte", visit);
            }
        }
        expert_cache_release(cache, &set);
        expert_cache_check(cache);
    }
    atomic_store(&w.is_over, true);
    pthread_join(thread, NULL);
    assert_int_equal(w.wrong_count, 0);
    expert_cache_stats stats = expert_cache_stats_get(cache);
    assert_int_equal(stats.hits + stats.misses, VISIT_COUNT * SET_MAX);
    assert_true(stats.hits > 0 && stats.wait_ns > 0);
    expert_cache_close(&cache);
    /* hits cost no read */
    assert_true(reads->ops->stats(reads).payload_bytes <= stats.misses * PART_COUNT * PART_BYTES);
    reads->ops->close(&reads);
    file_close(&f);
    unlink(name);
    mem_close(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hands_out_what_is_on_the_disk)};
    return cmocka_run_group_tests_name("expert_cache_threads", tests, NULL, NULL);
}

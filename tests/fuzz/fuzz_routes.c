/*
 * fuzz_routes.c - any bytes as recorded routing. What must hold: what is accepted names experts and layers within its
 * own bounds, replays with every policy, never better than Belady's rule, and the ledger is empty at the end.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "cache/expert_replay.h"

#include <string.h>

const char *const fuzz_words[] = {
    "{\"leat_route_trace\":1,",
    "\"layer_count\":2,",
    "\"expert_count\":8,",
    "\"used_count\":2,",
    "\"slot_count\":8,",
    "\"set_max\":4,",
    "\"policy\":\"lfu\"}\n",
    "\"policy\":\"s3fifo\"",
    "{\"tok\":0,\"layers\":[[3,1],[0,2]]}\n",
    "\"rows\":3,",
    "\"layers\":",
    "[[0,1,2,3,4,5,6,7]]",
    "],[",
    "}\n",
    "65535",
    "\n",
    NULL,
};

static void check_trace(const route_trace *t)
{
    uint64_t id_count = 0;
    for (uint64_t i = 0; i < t->list_count; i++) {
        const route_list *list = &t->lists[i];
        FUZZ_CHECK(list->begin == id_count && list->layer < t->layer_count);
        for (uint32_t n = 0; n < list->count; n++) FUZZ_CHECK(t->ids[list->begin + n] < t->expert_count);
        id_count += list->count;
    }
    FUZZ_CHECK(id_count == t->id_count && t->used_count >= 1 && t->used_count <= EXPERT_SET_MAX);
}

static void check_replay(mem *ledger, const route_trace *t, uint32_t slot_count)
{
    replay_counts bound = {0}, counts = {0};
    leat_status expected = expert_replay_belady(ledger, t, slot_count, &bound, NULL);
    FUZZ_CHECK(expected == LEAT_OK || expected == LEAT_BUDGET);
    FUZZ_CHECK(bound.hits + bound.misses == (expected == LEAT_OK ? t->id_count : 0));
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        FUZZ_CHECK(expert_replay(ledger, t, slot_count, (cache_policy)policy, true, &counts, NULL) == expected);
        FUZZ_CHECK(counts.hits + counts.misses == bound.hits + bound.misses);
        /* without guesses, which may bring what no policy had kept */
        FUZZ_CHECK(expert_replay(ledger, t, slot_count, (cache_policy)policy, false, &counts, NULL) == expected);
        FUZZ_CHECK(counts.hits <= bound.hits && counts.hits + counts.misses == bound.hits + bound.misses);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    route_trace t = {0};
    char *text = malloc(count + 1);
    if (text == NULL || mem_open(0, &ledger, NULL) != LEAT_OK) abort();
    memcpy(text, bytes, count);
    text[count] = 0;
    leat_status status = route_trace_parse(ledger, "fuzz", text, &t, NULL);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL);
    if (status == LEAT_OK) {
        check_trace(&t);
        if ((uint64_t)t.layer_count * t.expert_count <= 4096 && t.slot_count <= 4096) {
            check_replay(ledger, &t, t.used_count);
            check_replay(ledger, &t, t.has_settings ? t.slot_count : t.layer_count * t.used_count);
        }
    }
    route_trace_close(&t);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    free(text);
    return 0;
}

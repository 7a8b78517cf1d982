/*
 * replay_bench.c - what the decisions of the expert cache cost: nanoseconds for each expert asked for, by policy, on
 * recorded routing (docs/expert-cache.md), without reading and without computing.
 *
 *     replay_bench TRACE.jsonl [SLOT_COUNT...]
 *
 * The policies take turns, ROUNDS times; the median is printed. Hit rates: leat replay.
 */
#include "cache/expert_replay.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 7 };

static mem *ledger;

static void die(const leat_error *error)
{
    fprintf(stderr, "replay_bench: %s\n", error->text);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const route_trace *t, uint32_t slot_count)
{
    double ns[CACHE_POLICY_COUNT][ROUNDS];
    leat_error error;
    for (int round = 0; round < ROUNDS; round++)
        for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
            replay_counts counts;
            uint64_t begin_ns = clock_now_ns();
            if (expert_replay(ledger, t, slot_count, (cache_policy)policy, true, &counts, &error) != LEAT_OK)
                die(&error);
            ns[policy][round] = (double)(clock_now_ns() - begin_ns) / (double)max_u64(1, t->id_count);
        }
    printf("%8u", slot_count);
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++) {
        qsort(ns[policy], ROUNDS, sizeof ns[policy][0], compare);
        printf(" %8.1f", ns[policy][ROUNDS / 2]);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    leat_error error;
    route_trace t = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: replay_bench TRACE.jsonl [SLOT_COUNT...]\n");
        return 2;
    }
    if (mem_open(0, &ledger, &error) != LEAT_OK || route_trace_open(ledger, argv[1], &t, &error) != LEAT_OK)
        die(&error);
    printf("# ns for each expert asked for\n#  slots");
    for (int policy = 0; policy < CACHE_POLICY_COUNT; policy++)
        printf(" %8s", cache_policy_label((cache_policy)policy));
    printf("\n");
    for (int i = 2; i < argc; i++) print_row(&t, (uint32_t)strtoul(argv[i], NULL, 10));
    for (uint32_t eighths = 1; argc == 2 && eighths <= 8; eighths *= 2)
        print_row(&t, (uint32_t)max_u64(t.used_count, (uint64_t)t.layer_count * t.expert_count * eighths / 8));
    route_trace_close(&t);
    mem_close(&ledger);
    return 0;
}

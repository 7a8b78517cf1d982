/*
 * replay_bench.c - the hit rate of the expert cache on recorded routing: the policy judged by a number.
 *
 *     replay_bench TRACE.jsonl [SLOT_COUNT...]
 *
 * A trace has one JSON object a line, one line a decoded token: {"tok": position, "layers": [[expert ids of layer 0],
 * ...]}. Every layer of every token is one acquire on the real cache over a simulated storage; nothing is computed.
 * Without slot counts it walks from the smallest cache that works to one that holds every record, whose misses are
 * those that no policy can avoid.
 */
#include "cache/expert_cache.h"
#include "storage_sim.h"

#include "base/bytes.h"
#include "base/json.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRACE_BYTES_MAX = 256 << 20, PART_BYTES = 64 };

/* The lists of ids of all layers of all tokens, EXPERT_SET_MAX apart; counts[i] says how many there are in list i. */
typedef struct trace {
    uint32_t token_count, layer_count, expert_count, set_max;
    uint32_t *ids;
    uint32_t *counts;
    uint64_t list_count, list_capacity;
} trace;

static mem *ledger;

static void die(const char *what, const char *text)
{
    fprintf(stderr, "replay_bench: %s: %s\n", what, text);
    exit(1);
}

static json_token next_token(json *parser)
{
    json_token token;
    leat_error error;
    if (json_next(parser, &token, &error) != LEAT_OK) die("trace", error.text);
    return token;
}

/* Behind the opening bracket of a list of ids. */
static void read_ids(json *parser, trace *t)
{
    if (t->list_count == t->list_capacity) {
        t->list_capacity = t->list_capacity * 2 + 1024;
        t->counts = realloc(t->counts, t->list_capacity * sizeof *t->counts);
        t->ids = realloc(t->ids, t->list_capacity * EXPERT_SET_MAX * sizeof *t->ids);
        if (t->counts == NULL || t->ids == NULL) die("memory", "there is none");
    }
    uint32_t *ids = t->ids + t->list_count * EXPERT_SET_MAX, count = 0;
    for (;;) {
        json_token token = next_token(parser);
        uint64_t id = 0;
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &id) || id > 65535 || count == EXPERT_SET_MAX)
            die("trace", "a list of expert ids was expected");
        ids[count++] = (uint32_t)id;
        t->expert_count = (uint32_t)max_u64(t->expert_count, id + 1);
    }
    t->set_max = (uint32_t)max_u64(t->set_max, count);
    t->counts[t->list_count++] = count;
}

static void read_layers(json *parser, trace *t)
{
    uint32_t layer_count = 0;
    if (next_token(parser).kind != JSON_ARRAY_BEGIN) die("trace", "\"layers\" is not an array");
    while (next_token(parser).kind == JSON_ARRAY_BEGIN) {
        read_ids(parser, t);
        layer_count++;
    }
    if (layer_count == 0 || (t->token_count > 0 && layer_count != t->layer_count))
        die("trace", "a strange number of layers");
    t->layer_count = layer_count;
    t->token_count++;
}

static void read_line(const char *line, uint64_t bytes, trace *t)
{
    json *parser = NULL;
    leat_error error;
    if (json_open(ledger, MEM_META, "trace", line, bytes, &json_limits_default, &parser, &error) != LEAT_OK)
        die("trace", error.text);
    if (next_token(parser).kind != JSON_OBJECT_BEGIN) die("trace", "a line is no object");
    for (;;) {
        json_token token = next_token(parser);
        if (token.kind != JSON_KEY) break;
        if (json_text_is(&token, "layers"))
            read_layers(parser, t);
        else if (json_skip(parser, &error) != LEAT_OK)
            die("trace", error.text);
    }
    json_close(&parser);
}

static void read_trace(const char *path, trace *t)
{
    leat_error error;
    char *text;
    uint64_t bytes;
    if (file_load(ledger, MEM_META, AT_FDCWD, path, false, TRACE_BYTES_MAX, &text, &bytes, &error) != LEAT_OK)
        die(path, error.text);
    for (const char *line = text; *line != 0;) {
        const char *end = strchr(line, '\n');
        if (end == NULL) end = text + bytes;
        if (end > line) read_line(line, (uint64_t)(end - line), t);
        line = *end == 0 ? end : end + 1;
    }
    mem_free(ledger, text);
    if (t->token_count == 0) die(path, "there is no token in it");
}

static expert_cache_stats replay(const trace *t, uint32_t slot_count)
{
    static const uint8_t contents[PART_BYTES];
    static const uint8_t *const all_contents[] = {contents};
    static const file f = {.fd = -1, .offset_align = 1, .memory_align = 1, .bytes = PART_BYTES};
    static const char *const name = "nothing";
    static const file_set files = {&f, &name, 1};
    static const extent part = {0, 0, PART_BYTES};
    static expert_set set;
    leat_error error;
    uint32_t key_count = t->layer_count * t->expert_count, ref_idx;
    expert_record *records = calloc(key_count, sizeof *records);
    if (records == NULL) die("memory", "there is none");
    for (uint32_t key = 0; key < key_count; key++) records[key] = (expert_record){&part, 1};
    expert_cache_config config = {t->layer_count, t->expert_count, records, slot_count, t->set_max, CACHE_LRU};
    storage *reads = storage_sim_open(&files, all_contents, &(storage_sim_config){.seed = 1});
    expert_cache *cache = NULL;
    if (expert_cache_open(ledger, &config, &files, reads, &cache, &error) != LEAT_OK) die("cache", error.text);
    for (uint64_t i = 0; i < t->list_count; i++) {
        if (expert_cache_acquire(cache, (uint32_t)(i % t->layer_count), t->ids + i * EXPERT_SET_MAX, t->counts[i], &set,
                                 &error) != LEAT_OK)
            die("acquire", error.text);
        while (set.handed_out_count < set.count)
            if (expert_cache_next(cache, &set, &ref_idx, &error) != LEAT_OK) die("next", error.text);
        expert_cache_release(cache, &set);
    }
    expert_cache_stats stats = expert_cache_stats_get(cache);
    expert_cache_close(&cache);
    reads->ops->close(&reads);
    free(records);
    return stats;
}

static void print_row(const trace *t, uint32_t slot_count)
{
    expert_cache_stats stats = replay(t, slot_count);
    printf("%8u %8.1f %9.1f%% %10llu %10llu %10llu %8.2f%%\n", slot_count, (double)slot_count / t->layer_count,
           100.0 * slot_count / (t->layer_count * t->expert_count), (unsigned long long)stats.hits,
           (unsigned long long)stats.misses, (unsigned long long)stats.evictions,
           100.0 * (double)stats.hits / (double)(stats.hits + stats.misses));
}

int main(int argc, char **argv)
{
    leat_error error;
    trace t = {0};
    if (argc < 2) die("usage", "replay_bench TRACE.jsonl [SLOT_COUNT...]");
    if (mem_open(0, &ledger, &error) != LEAT_OK) die("ledger", error.text);
    read_trace(argv[1], &t);
    uint32_t key_count = t.layer_count * t.expert_count, token_slots = t.layer_count * t.set_max;
    printf("# %u tokens, %u layers, %u experts, at most %u at once: one token needs %u slots of %u\n", t.token_count,
           t.layer_count, t.expert_count, t.set_max, token_slots, key_count);
    printf("#  slots  a layer  of records       hits     misses  evictions hit rate\n");
    for (int i = 2; i < argc; i++) print_row(&t, (uint32_t)strtoul(argv[i], NULL, 10));
    if (argc == 2) {
        static const double sets_per_layer[] = {0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24};
        for (size_t i = 0; i < ARRAY_COUNT(sets_per_layer); i++) {
            uint32_t slot_count = (uint32_t)max_u64(t.set_max, (uint64_t)(sets_per_layer[i] * token_slots));
            if (slot_count < key_count) print_row(&t, slot_count);
        }
        print_row(&t, key_count);
    }
    free(t.ids);
    free(t.counts);
    mem_close(&ledger);
    return 0;
}

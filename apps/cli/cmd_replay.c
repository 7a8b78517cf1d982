/*
 * cmd_replay.c - recorded routing through expert caches of other sizes and policies: the hit rate of each, and the
 * bound.
 */
#include "cli.h"
#include "report.h"
#include "json_writer.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SIZES_MAX = 64, POLICY_BELADY = LEAT_CACHE_S3FIFO + 1 };
/* The words of --policy stand in the order of leat_cache_policy, with "all" in the place of "auto" and "belady" behind.
 */

typedef struct replay_work {
    cli *c;
    const char *path;
    leat_replay *replay;
    leat_replay_info info;
    uint32_t sizes[SIZES_MAX], size_count;
    json_writer json;
} replay_work;

/* "64,128" */
static leat_status read_sizes(replay_work *work, const char *text, leat_error *error)
{
    for (const char *p = text;; p++) {
        char *end;
        unsigned long long size = *p >= '0' && *p <= '9' ? strtoull(p, &end, 10) : 0;
        if (size == 0 || size > UINT32_MAX / 2 || (*end != ',' && *end != '\0'))
            return FAIL(error, USAGE, "--slots '%s': expected numbers above 0 with commas between them", text);
        if (work->size_count == SIZES_MAX) return FAIL(error, USAGE, "--slots: more than %d numbers", SIZES_MAX);
        work->sizes[work->size_count++] = (uint32_t)size;
        p = end;
        if (*p == '\0') return LEAT_OK;
    }
}

static void add_size(replay_work *work, uint64_t size)
{
    uint32_t at = work->size_count;
    for (uint32_t i = 0; i < work->size_count; i++)
        if (work->sizes[i] == size) return;
    for (; at > 0 && work->sizes[at - 1] > size; at--) work->sizes[at] = work->sizes[at - 1];
    work->sizes[at] = (uint32_t)size;
    work->size_count++;
}

/* One set per layer, parts of all records, everything; and what the file was recorded with. */
static void choose_sizes(replay_work *work)
{
    const leat_replay_info *info = &work->info;
    uint64_t all = (uint64_t)info->layer_count * info->expert_count,
             token = (uint64_t)info->layer_count * info->used_count;
    static const uint32_t eighths[] = {1, 2, 3, 4, 6, 8};
    if (info->has_settings) add_size(work, info->slot_count);
    add_size(work, max_u64(1, min_u64(token, all)));
    for (size_t i = 0; i < ARRAY_COUNT(eighths); i++)
        if (all * eighths[i] / 8 >= token) add_size(work, all * eighths[i] / 8);
}

static void print_row(replay_work *work, uint32_t slot_count, uint32_t policy, const leat_replay_counts *counts)
{
    const leat_replay_info *info = &work->info;
    const char *label = policy == POLICY_BELADY ? "belady" : leat_cache_policy_label((leat_cache_policy)policy);
    uint64_t total = counts->hits + counts->misses;
    double rate = total > 0 ? (double)counts->hits / (double)total : 0;
    bool is_recorded = info->has_settings && info->resize_count == 0 && slot_count == info->slot_count &&
                       policy == (uint32_t)info->cache_policy && work->c->options.look_ahead != LEAT_LOOK_AHEAD_OFF;
    if (!work->c->options.json) {
        output_print(&work->c->out,
                     "%8" PRIu32 " %8.1f %8.1f %%  %-7s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8.2f %%%s\n",
                     slot_count, (double)slot_count / info->layer_count,
                     100.0 * slot_count / ((double)info->layer_count * info->expert_count), label, counts->hits,
                     counts->misses, counts->evictions, 100 * rate, is_recorded ? "  (as recorded)" : "");
        return;
    }
    json_writer_begin_object(&work->json, NULL);
    json_writer_u64(&work->json, "slot_count", slot_count);
    json_writer_text(&work->json, "policy", label);
    json_writer_u64(&work->json, "hits", counts->hits);
    json_writer_u64(&work->json, "misses", counts->misses);
    json_writer_u64(&work->json, "evictions", counts->evictions);
    json_writer_number(&work->json, "hit_rate", rate);
    json_writer_u64(&work->json, "ahead_used", counts->ahead_used);
    json_writer_u64(&work->json, "ahead_wasted", counts->ahead_wasted);
    json_writer_flag(&work->json, "as_recorded", is_recorded);
    json_writer_end_object(&work->json);
}

static leat_status replay_size(replay_work *work, uint32_t slot_count, leat_error *error)
{
    uint32_t wanted = work->c->options.policy; /* 0: all */
    for (uint32_t policy = LEAT_CACHE_LRU; policy <= POLICY_BELADY; policy++) {
        leat_replay_counts counts = {0};
        if (wanted != 0 && wanted != policy) continue;
        if (policy == POLICY_BELADY)
            TRY(leat_replay_run_belady(work->replay, slot_count, &counts, error));
        else
            TRY(leat_replay_run(work->replay, slot_count, (leat_cache_policy)policy,
                                work->c->options.look_ahead != LEAT_LOOK_AHEAD_OFF, &counts, error));
        print_row(work, slot_count, policy, &counts);
    }
    return LEAT_OK;
}

static void print_head(replay_work *work)
{
    const leat_replay_info *info = &work->info;
    if (!work->c->options.json) {
        output_print(&work->c->out,
                     "%" PRIu64 " tokens in %" PRIu64 " steps, %" PRIu32 " layers of %" PRIu32 " experts, %" PRIu32
                     " at once\n",
                     info->token_count, info->step_count, info->layer_count, info->expert_count, info->used_count);
        output_print(&work->c->out,
                     "   slots  a layer of records  policy        hits     misses  evictions  hit rate\n");
        return;
    }
    json_writer *w = &work->json;
    json_writer_init(w, &work->c->out);
    json_writer_begin_document(w, "leat.replay/1");
    json_writer_text(w, "file", work->path);
    json_writer_u64(w, "token_count", info->token_count);
    json_writer_u64(w, "step_count", info->step_count);
    json_writer_u64(w, "layer_count", info->layer_count);
    json_writer_u64(w, "expert_count", info->expert_count);
    json_writer_u64(w, "used_count", info->used_count);
    json_writer_text(w, "recorded_policy", info->has_settings ? leat_cache_policy_label(info->cache_policy) : NULL);
    json_writer_u64(w, "recorded_slot_count", info->slot_count);
    json_writer_u64(w, "resize_count", info->resize_count);
    json_writer_begin_array(w, "rows");
}

static leat_status replay(replay_work *work, leat_error *error)
{
    cli *c = work->c;
    if (c->options.slots) TRY(read_sizes(work, c->options.slots, error));
    TRY(leat_replay_open(work->path, &work->replay, error));
    work->info = leat_replay_get_info(work->replay);
    if (work->size_count == 0) choose_sizes(work);
    for (uint32_t i = 0; i < work->size_count; i++)
        if (work->sizes[i] < work->info.used_count)
            return FAIL(error, BUDGET,
                        "--slots: %" PRIu32 " slots, but a token needs %" PRIu32 " experts of a layer at once",
                        work->sizes[i], work->info.used_count);
    if (work->info.resize_count > 0 && !c->options.json)
        report_note("the cache changed its size while this was recorded: no row has exactly what that run had");
    print_head(work);
    for (uint32_t i = 0; i < work->size_count; i++) TRY(replay_size(work, work->sizes[i], error));
    if (!c->options.json) return LEAT_OK;
    json_writer_end_array(&work->json);
    json_writer_end_document(&work->json);
    return LEAT_OK;
}

leat_status cmd_replay(cli *c, leat_error *error)
{
    replay_work work = {.c = c, .path = cli_take_word(c)};
    TRY(cli_refuse_rest(c, error));
    if (!work.path) {
        leat_status status = FAIL(error, USAGE, "leat replay: which file?");
        status_hint(error, "leat run MODEL PROMPT --route-trace FILE writes one");
        return status;
    }
    leat_status status = replay(&work, error);
    leat_replay_close(&work.replay);
    return status;
}

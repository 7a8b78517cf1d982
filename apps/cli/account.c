#include "account.h"

#include "human.h"
#include "report.h"

#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 320 };

/* The statistics of one answer. */
static leat_stats subtract(const leat_stats *after, const leat_stats *before)
{
    leat_stats d = *after;
    d.read_count -= before->read_count;
    d.read_bytes -= before->read_bytes;
    d.payload_bytes -= before->payload_bytes;
    d.copied_bytes -= before->copied_bytes;
    d.read_busy_ns -= before->read_busy_ns;
    d.read_retries -= before->read_retries;
    d.expert_hits -= before->expert_hits;
    d.expert_misses -= before->expert_misses;
    d.expert_evictions -= before->expert_evictions;
    d.ahead_reads -= before->ahead_reads;
    d.ahead_used -= before->ahead_used;
    d.ahead_wasted -= before->ahead_wasted;
    d.ahead_used_bytes -= before->ahead_used_bytes;
    d.ahead_wasted_bytes -= before->ahead_wasted_bytes;
    d.expert_wait_ns -= before->expert_wait_ns;
    return d;
}

static double hit_percent(const leat_stats *s)
{
    uint64_t total = s->expert_hits + s->expert_misses;
    return total > 0 ? 100.0 * (double)s->expert_hits / (double)total : 0;
}

static const char *io_engine_name(const leat_stats *s)
{
    return s->io_engine == LEAT_IO_ENGINE_URING ? "uring" : "threads";
}

static uint64_t prefilled_count(const generation *g) { return g->prompt_count - g->reused_count; }

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank; sorts the list, whose order nobody needs any more. */
static double percentile_ms(const generation *g, unsigned percent)
{
    size_t count = g->step_us.count;
    if (count == 0) return 0;
    qsort(g->step_us.items, count, sizeof *g->step_us.items, compare_u32);
    return g->step_us.items[(count - 1) * percent / 100] / 1e3;
}

static void report_times(const engine_setup *setup, const generation *g, const leat_stats *s)
{
    char load[HUMAN_BYTES], prefill[HUMAN_BYTES], first[HUMAN_BYTES], decode[HUMAN_BYTES], disk[HUMAN_BYTES],
        wait[HUMAN_BYTES], files[IO_FILES_BYTES];
    report_note("load %s", human_time(s->load_ns, load));
    report_note("prefill %llu tok %s (%.1f tok/s, cached %llu), first token %s", (unsigned long long)prefilled_count(g),
                human_time(g->prefill_ns, prefill), rate_per_second(prefilled_count(g), g->prefill_ns),
                (unsigned long long)g->reused_count, human_time(g->first_token_ns, first));
    report_note("decode %zu tok %s (%.1f tok/s, p50 %.1f ms, p95 %.1f ms)", g->step_us.count,
                human_time(g->decode_ns, decode), rate_per_second(g->step_us.count, g->decode_ns), percentile_ms(g, 50),
                percentile_ms(g, 95));
    if (setup->info->expert_count > 0)
        report_note("experts %llu hit %llu miss (%.0f %%), %llu evicted, waited %s", (unsigned long long)s->expert_hits,
                    (unsigned long long)s->expert_misses, hit_percent(s), (unsigned long long)s->expert_evictions,
                    human_time(s->expert_wait_ns, wait));
    if (s->warmed_experts > 0) report_note("warm start %llu experts", (unsigned long long)s->warmed_experts);
    if (s->ahead_reads > 0)
        report_note("look-ahead %llu experts, %llu used, %llu in vain", (unsigned long long)s->ahead_reads,
                    (unsigned long long)s->ahead_used, (unsigned long long)s->ahead_wasted);
    report_note("disk %s in %llu reads (%.2f GB/s, %s, %s)", human_bytes(s->read_bytes, disk),
                (unsigned long long)s->read_count, rate_per_second(s->read_bytes, s->read_busy_ns) * 1e-9,
                io_describe_files(s->direct_file_count, s->buffered_file_count, s->io_is_measured, files),
                io_engine_name(s));
}

static void report_memory(const engine_setup *setup, const leat_stats *s)
{
    char peak[HUMAN_BYTES], budget[HUMAN_BYTES], current[HUMAN_BYTES];
    report_note("memory peak %s of %s; kernels %s", human_bytes(s->rss_peak_bytes, peak),
                human_bytes(setup->plan->budget_bytes, budget), leat_isa_label(s->isa));
    for (uint32_t i = 0; i < s->pool_count; i++)
        report_note("  %-10s %s, peak %s", s->pools[i].name, human_bytes(s->pools[i].current_bytes, current),
                    human_bytes(s->pools[i].peak_bytes, peak));
}

/* What the machine did, as the tail of the line; a dense model has no experts to speak of. */
static void describe_machine(const engine_setup *setup, const leat_stats *s, char out[LINE_BYTES])
{
    char experts[80] = "", disk[HUMAN_BYTES], peak[HUMAN_BYTES], budget[HUMAN_BYTES];
    if (setup->info->expert_count > 0)
        snprintf(experts, sizeof experts, " | experts %llu hit %llu miss (%.0f %%)", (unsigned long long)s->expert_hits,
                 (unsigned long long)s->expert_misses, hit_percent(s));
    snprintf(out, LINE_BYTES, "%s | read %s %.2f GB/s | peak %s of %s", experts, human_bytes(s->read_bytes, disk),
             rate_per_second(s->read_bytes, s->read_busy_ns) * 1e-9, human_bytes(s->rss_peak_bytes, peak),
             human_bytes(setup->plan->budget_bytes, budget));
}

/* Pieces of the line that have nothing to say are left out. */
static void report_line(const engine_setup *setup, const generation *g, const leat_stats *s)
{
    char first[48] = "", decode[64] = "", time[HUMAN_BYTES], machine[LINE_BYTES];
    if (g->tokens.count > 0) {
        snprintf(first, sizeof first, " | first token %s", human_time(g->first_token_ns, time));
        snprintf(decode, sizeof decode, " | decode %zu tok %.1f tok/s", g->tokens.count,
                 rate_per_second(g->step_us.count, g->decode_ns));
    }
    describe_machine(setup, s, machine);
    report_note("[prompt %llu tok %.1f tok/s%s%s%s]", (unsigned long long)prefilled_count(g),
                rate_per_second(prefilled_count(g), g->prefill_ns), first, decode, machine);
}

void account_report_score(const engine_setup *setup, size_t token_count, uint64_t elapsed_ns)
{
    leat_stats s = leat_engine_get_stats(setup->engine);
    char time[HUMAN_BYTES], machine[LINE_BYTES];
    describe_machine(setup, &s, machine);
    report_note("[%zu tok %.1f tok/s, %s%s]", token_count, rate_per_second(token_count, elapsed_ns),
                human_time(elapsed_ns, time), machine);
}

void account_report_block(const engine_setup *setup, const generation *g, const leat_stats *before)
{
    leat_stats now = leat_engine_get_stats(setup->engine), spent = subtract(&now, before);
    report_times(setup, g, &spent);
    report_memory(setup, &spent);
}

void account_report(const engine_setup *setup, const generation *g, const leat_stats *before)
{
    if (report_verbosity() > 0) {
        account_report_block(setup, g, before);
        return;
    }
    leat_stats now = leat_engine_get_stats(setup->engine), spent = subtract(&now, before);
    report_line(setup, g, &spent);
}

static void write_timings(json_writer *w, const generation *g, const leat_stats *s)
{
    json_writer_begin_object(w, "timings");
    json_writer_seconds(w, "load_s", s->load_ns);
    json_writer_u64(w, "prefill_token_count", prefilled_count(g));
    json_writer_u64(w, "reused_token_count", g->reused_count);
    json_writer_seconds(w, "prefill_s", g->prefill_ns);
    json_writer_number(w, "prefill_tokens_per_s", rate_per_second(prefilled_count(g), g->prefill_ns));
    json_writer_seconds(w, "first_token_s", g->first_token_ns);
    json_writer_u64(w, "decode_token_count", g->step_us.count);
    json_writer_seconds(w, "decode_s", g->decode_ns);
    json_writer_number(w, "decode_tokens_per_s", rate_per_second(g->step_us.count, g->decode_ns));
    json_writer_number(w, "decode_p50_s", percentile_ms(g, 50) / 1e3);
    json_writer_number(w, "decode_p95_s", percentile_ms(g, 95) / 1e3);
    json_writer_end_object(w);
}

static void write_memory(json_writer *w, const engine_setup *setup, const leat_stats *s)
{
    json_writer_begin_object(w, "memory");
    plan_write_json(w, setup->plan);
    json_writer_u64(w, "rss_peak_bytes", s->rss_peak_bytes);
    json_writer_begin_array(w, "pools");
    for (uint32_t i = 0; i < s->pool_count; i++) {
        json_writer_begin_object(w, NULL);
        json_writer_text(w, "name", s->pools[i].name);
        json_writer_u64(w, "current_bytes", s->pools[i].current_bytes);
        json_writer_u64(w, "peak_bytes", s->pools[i].peak_bytes);
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
    json_writer_end_object(w);
}

void account_write_json(json_writer *w, cli *c, const engine_setup *setup, const generation *g)
{
    leat_stats s = leat_engine_get_stats(setup->engine);
    write_timings(w, g, &s);
    account_write_machine_json(w, c, setup);
}

/* ---- where the time went ---- */

typedef struct time_part {
    const char *name, *key;
    uint64_t ns;
} time_part;

enum { TIME_PART_COUNT = 11 };

/* Without gaps or overlaps but for what the engine does around its steps; so they sum to *out_wall_ns, measured on its
 * own, nearly. */
static void list_times(cli *c, const leat_stats *s, time_part out[TIME_PART_COUNT], uint64_t *out_wall_ns)
{
    phase_clock *p = &c->phases;
    phase_clock_switch(p, p->current); /* what has passed of this phase counts */
    const time_part parts[TIME_PART_COUNT] = {
        {"load", "load_s", p->spent_ns[PHASE_LOAD]},
        {"disk", "disk_wait_s", s->disk_wait_ns},
        {"attention", "attention_s", s->attention_ns},
        {"ffn", "ffn_s", s->ffn_ns},
        {"router", "router_s", s->router_ns},
        {"experts", "moe_s", s->moe_ns},
        {"norms and sums", "step_other_s", s->step_other_ns},
        {"head", "head_s", s->head_ns},
        {"sampling", "sampling_s", p->spent_ns[PHASE_SAMPLING]},
        {"text", "text_s", p->spent_ns[PHASE_TEXT]},
        {"other", "other_s", p->spent_ns[PHASE_OTHER]},
    };
    memcpy(out, parts, sizeof parts);
    *out_wall_ns = clock_now_ns() - p->start_ns;
}

static void write_times(json_writer *w, cli *c, const leat_stats *s)
{
    time_part parts[TIME_PART_COUNT];
    uint64_t wall_ns;
    list_times(c, s, parts, &wall_ns);
    json_writer_begin_object(w, "times");
    json_writer_seconds(w, "wall_s", wall_ns);
    json_writer_seconds(w, "ready_s", c->phases.ready_ns);
    json_writer_seconds(w, "first_token_s", c->phases.first_token_ns);
    json_writer_seconds(w, "trunk_wait_s", s->trunk_wait_ns);
    json_writer_begin_object(w, "parts");
    for (int i = 0; i < TIME_PART_COUNT; i++) json_writer_seconds(w, parts[i].key, parts[i].ns);
    json_writer_end_object(w);
    json_writer_end_object(w);
}

static void report_split(cli *c, const leat_stats *s)
{
    time_part parts[TIME_PART_COUNT];
    uint64_t wall_ns;
    char line[512] = "", time[HUMAN_BYTES];
    size_t used = 0;
    list_times(c, s, parts, &wall_ns);
    for (int i = 0; i < TIME_PART_COUNT; i++) {
        if (parts[i].ns == 0) continue;
        int length = snprintf(line + used, sizeof line - used, "%s%s %.1f", used > 0 ? " + " : "", parts[i].name,
                              100.0 * (double)parts[i].ns / (double)wall_ns);
        used += length > 0 ? (size_t)length : 0;
    }
    report_note("time %s = %s %%", human_time(wall_ns, time), line);
}

/* To standard error, or to the file: 0, or the error of the system. */
static int write_stats(cli *c, const engine_setup *setup, int fd)
{
    output out;
    json_writer w;
    output_init(&out, c->ledger, fd);
    json_writer_init(&w, &out);
    json_writer_begin_document(&w, "leat.stats/1");
    json_writer_text(&w, "model", setup->info->path);
    account_write_machine_json(&w, c, setup);
    json_writer_end_document(&w);
    leat_status status = output_flush(&out, NULL);
    int os_errno = status == LEAT_OK ? 0 : out.os_errno ? out.os_errno : ENOMEM;
    output_reset(&out);
    return os_errno;
}

leat_status account_open_stats(const cli *c, whole_file *stats, leat_error *error)
{
    const char *path = c->options.stats;
    return path && strcmp(path, "json") != 0 ? whole_file_open(stats, "--stats: ", path, error) : LEAT_OK;
}

leat_status account_report_times(cli *c, const engine_setup *setup, whole_file *stats, leat_error *error)
{
    if (report_verbosity() > 0) {
        const leat_stats s = leat_engine_get_stats(setup->engine);
        report_split(c, &s);
    }
    if (!c->options.stats) return LEAT_OK;
    int os_errno = write_stats(c, setup, stats->is_open ? stats->fd : STDERR_FILENO);
    if (stats->is_open)
        return os_errno == 0 ? whole_file_finish(stats, error) : whole_file_fail(stats, os_errno, error);
    if (os_errno == 0) return LEAT_OK;
    return FAIL_OS(error, IO, os_errno, "--stats: standard error: write failed: %s", strerror(os_errno));
}

/* ---- as JSON ---- */

void account_write_machine_json(json_writer *w, cli *c, const engine_setup *setup)
{
    leat_stats s = leat_engine_get_stats(setup->engine);
    write_memory(w, setup, &s);
    json_writer_begin_object(w, "experts");
    json_writer_u64(w, "hits", s.expert_hits);
    json_writer_u64(w, "misses", s.expert_misses);
    json_writer_u64(w, "evictions", s.expert_evictions);
    json_writer_u64(w, "ahead_reads", s.ahead_reads);
    json_writer_u64(w, "ahead_used", s.ahead_used);
    json_writer_u64(w, "ahead_wasted", s.ahead_wasted);
    json_writer_u64(w, "ahead_used_bytes", s.ahead_used_bytes);
    json_writer_u64(w, "ahead_wasted_bytes", s.ahead_wasted_bytes);
    json_writer_number(w, "ahead_recall", s.expert_misses ? (double)s.ahead_used / (double)s.expert_misses : 0);
    json_writer_u64(w, "warmed", s.warmed_experts);
    json_writer_seconds(w, "wait_s", s.expert_wait_ns);
    json_writer_u64(w, "slot_count", s.expert_slot_count);
    json_writer_u64(w, "cache_resizes", s.cache_resizes);
    json_writer_end_object(w);
    json_writer_begin_object(w, "io");
    json_writer_u64(w, "read_count", s.read_count);
    json_writer_u64(w, "read_bytes", s.read_bytes);
    json_writer_u64(w, "payload_bytes", s.payload_bytes);
    json_writer_u64(w, "copied_bytes", s.copied_bytes);
    json_writer_seconds(w, "read_busy_s", s.read_busy_ns);
    json_writer_u64(w, "retries", s.read_retries);
    json_writer_flag(w, "is_direct", s.io_is_direct);
    io_write_files_json(w, s.direct_file_count, s.buffered_file_count, s.io_is_measured);
    json_writer_text(w, "engine", io_engine_name(&s));
    json_writer_end_object(w);
    json_writer_text(w, "isa", leat_isa_label(s.isa));
    write_times(w, c, &s);
}

#include "account.h"

#include "human.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 320 };

/* The statistics of one answer. */
static leat_stats subtract(const leat_stats *after, const leat_stats *before)
{
    leat_stats d = *after;
    d.read_count -= before->read_count;
    d.read_bytes -= before->read_bytes;
    d.payload_bytes -= before->payload_bytes;
    d.read_busy_ns -= before->read_busy_ns;
    d.expert_hits -= before->expert_hits;
    d.expert_misses -= before->expert_misses;
    d.expert_evictions -= before->expert_evictions;
    d.expert_wait_ns -= before->expert_wait_ns;
    return d;
}

static double hit_percent(const leat_stats *s)
{
    uint64_t total = s->expert_hits + s->expert_misses;
    return total > 0 ? 100.0 * (double)s->expert_hits / (double)total : 0;
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
        wait[HUMAN_BYTES];
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
    report_note("disk %s in %llu reads (%.2f GB/s, %s)", human_bytes(s->read_bytes, disk),
                (unsigned long long)s->read_count, rate_per_second(s->read_bytes, s->read_busy_ns) * 1e-9,
                s->io_is_direct ? "direct" : "buffered");
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

void account_write_json(json_writer *w, const engine_setup *setup, const generation *g)
{
    leat_stats s = leat_engine_get_stats(setup->engine);
    write_timings(w, g, &s);
    account_write_machine_json(w, setup);
}

void account_write_machine_json(json_writer *w, const engine_setup *setup)
{
    leat_stats s = leat_engine_get_stats(setup->engine);
    write_memory(w, setup, &s);
    json_writer_begin_object(w, "experts");
    json_writer_u64(w, "hits", s.expert_hits);
    json_writer_u64(w, "misses", s.expert_misses);
    json_writer_u64(w, "evictions", s.expert_evictions);
    json_writer_seconds(w, "wait_s", s.expert_wait_ns);
    json_writer_end_object(w);
    json_writer_begin_object(w, "io");
    json_writer_u64(w, "read_count", s.read_count);
    json_writer_u64(w, "read_bytes", s.read_bytes);
    json_writer_u64(w, "payload_bytes", s.payload_bytes);
    json_writer_seconds(w, "read_busy_s", s.read_busy_ns);
    json_writer_flag(w, "is_direct", s.io_is_direct);
    json_writer_end_object(w);
    json_writer_text(w, "isa", leat_isa_label(s.isa));
}

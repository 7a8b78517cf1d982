/*
 * cmd_bench.c - how fast a model is within a budget, measured: the same tokens run after run in one engine, each run
 * from an empty timeline. The first meets an empty expert cache, the others what the run before has left there.
 */
#include "cli.h"
#include "engine_setup.h"
#include "human.h"
#include "input.h"
#include "model_list.h"
#include "report.h"
#include "u32_list.h"

#include "os/clock.h"

#include <inttypes.h>
#include <stdlib.h>

enum { TOKENS_USUAL = 64, TOKENS_MAX = 1 << 20 };

/* What a run took; the columns of the table. */
typedef struct bench_run {
    double prefill_s, decode_s;
    double p50_s, p95_s;    /* of the steps that decode */
    double bytes_per_token; /* read while decoding */
    uint64_t prefill_bytes; /* read for the prompt */
    double hit_rate;        /* of experts, while decoding; 1 without experts */
    double prefill_tokens_per_s, decode_tokens_per_s;
} bench_run;

typedef struct bench_work {
    cli *c;
    engine_setup setup;
    leat_sampler *sampler;
    u32_list prompt;
    uint32_t count; /* tokens to decode */
    double *step_s; /* (count) */
    bench_run *runs;
    uint32_t run_count;
} bench_work;

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank, of sorted values. */
static double percentile(const double *values, uint32_t count, uint32_t percent)
{
    return values[(uint64_t)(count - 1) * percent / 100];
}

/* ---- what is run ---- */

/* Spread over the vocabulary, and the same on each machine. */
static leat_status make_prompt(bench_work *work, leat_error *error)
{
    const uint64_t vocab_size = work->setup.info->vocab_size;
    for (uint64_t i = 1; i <= work->c->options.prompt_tokens; i++) {
        const uint32_t id = (uint32_t)(i * 2654435761u % vocab_size);
        TRY(u32_list_append(&work->prompt, &id, 1, error));
    }
    return LEAT_OK;
}

static leat_status read_options(bench_work *work, leat_error *error)
{
    cli *c = work->c;
    const uint32_t tokens = c->options.is_set[OPTION_max_tokens] ? c->options.max_tokens : TOKENS_USUAL;
    if (tokens < 1 || tokens > TOKENS_MAX) return FAIL(error, USAGE, "--max-tokens: expected 1 to %d", TOKENS_MAX);
    if (c->options.tokens && c->options.is_on_command_line[OPTION_prompt_tokens])
        return FAIL(error, USAGE, "--tokens and --prompt-tokens both say what the prompt is; give one of them");
    TRY(c->options.tokens ? input_read_tokens(c, &work->prompt, error) : make_prompt(work, error));
    TRY(input_check_tokens(&work->prompt, work->setup.info->vocab_size, error));
    work->count = tokens;
    const uint64_t needed = (uint64_t)work->prompt.count + tokens;
    const uint32_t ctx = c->options.ctx > 0 ? c->options.ctx : work->setup.info->context_max;
    return needed <= ctx ? LEAT_OK : input_refuse_length(needed, ctx, work->setup.info, error);
}

/* ---- a run ---- */

static leat_status decode(bench_work *work, leat_error *error)
{
    leat_session *session = work->setup.session;
    for (uint32_t i = 0; i < work->count; i++) {
        uint32_t id;
        const uint64_t begin_ns = clock_now_ns();
        TRY(leat_sampler_pick(work->sampler, leat_session_logits(session), NULL, 0, &id, error));
        TRY(leat_session_append(session, id, error));
        work->step_s[i] = (double)(clock_now_ns() - begin_ns) * 1e-9;
    }
    return LEAT_OK;
}

static leat_status measure(bench_work *work, bench_run *run, leat_error *error)
{
    leat_engine *engine = work->setup.engine;
    leat_session_close(&work->setup.session);
    TRY(leat_session_open(engine, &work->setup.session, error));
    const leat_stats before = leat_engine_get_stats(engine);
    const uint64_t begin_ns = clock_now_ns();
    leat_status status = leat_session_sync(work->setup.session, work->prompt.items, work->prompt.count, NULL, error);
    report_progress_end();
    TRY(status);
    const uint64_t middle_ns = clock_now_ns();
    const leat_stats middle = leat_engine_get_stats(engine);
    TRY(decode(work, error));
    const uint64_t end_ns = clock_now_ns();
    const leat_stats after = leat_engine_get_stats(engine);
    const uint64_t hits = after.expert_hits - middle.expert_hits;
    const uint64_t all = hits + after.expert_misses - middle.expert_misses;
    qsort(work->step_s, work->count, sizeof *work->step_s, compare_doubles);
    *run = (bench_run){
        .prefill_s = (double)(middle_ns - begin_ns) * 1e-9,
        .decode_s = (double)(end_ns - middle_ns) * 1e-9,
        .p50_s = percentile(work->step_s, work->count, 50),
        .p95_s = percentile(work->step_s, work->count, 95),
        .bytes_per_token = (double)(after.read_bytes - middle.read_bytes) / work->count,
        .prefill_bytes = middle.read_bytes - before.read_bytes,
        .hit_rate = all > 0 ? (double)hits / (double)all : 1,
        .prefill_tokens_per_s = rate_per_second(work->prompt.count, middle_ns - begin_ns),
        .decode_tokens_per_s = rate_per_second(work->count, end_ns - middle_ns),
    };
    return LEAT_OK;
}

/* ---- shown ---- */

/* The middle of a column over all runs; of two the lesser. */
static leat_status median_of(bench_work *work, size_t offset, double *out_median, leat_error *error)
{
    double *values;
    TRY(MEM_NEW(work->c->ledger, META, work->run_count, &values, error));
    for (uint32_t i = 0; i < work->run_count; i++) values[i] = *(const double *)((const char *)&work->runs[i] + offset);
    qsort(values, work->run_count, sizeof *values, compare_doubles);
    *out_median = percentile(values, work->run_count, 50);
    mem_free(work->c->ledger, values);
    return LEAT_OK;
}

static void print_row(output *out, const bench_run *run)
{
    char read[HUMAN_BYTES];
    output_print(out, "  %12.1f  %12.2f  %8.1f  %8.1f  %11s  %4.0f %%\n", run->prefill_tokens_per_s,
                 run->decode_tokens_per_s, run->p50_s * 1e3, run->p95_s * 1e3,
                 human_bytes((uint64_t)run->bytes_per_token, read), run->hit_rate * 100);
}

static void print_table(bench_work *work, double prefill, double decoded)
{
    output *out = &work->c->out;
    output_print(out, "   run  prompt tok/s  decode tok/s    p50 ms    p95 ms   read/token    hits\n");
    for (uint32_t i = 0; i < work->run_count; i++) {
        output_print(out, "%6" PRIu32, i + 1);
        print_row(out, &work->runs[i]);
    }
    output_print(out, "median  %12.1f  %12.2f\n", prefill, decoded);
    output_print(out,
                 "A prompt of %zu tokens, then %" PRIu32 " decoded; the first run begins with an empty expert cache\n",
                 work->prompt.count, work->count);
}

static void write_run(json_writer *w, const bench_run *run)
{
    json_writer_begin_object(w, NULL);
    json_writer_number(w, "prefill_s", run->prefill_s);
    json_writer_number(w, "prefill_tokens_per_s", run->prefill_tokens_per_s);
    json_writer_u64(w, "prefill_read_bytes", run->prefill_bytes);
    json_writer_number(w, "decode_s", run->decode_s);
    json_writer_number(w, "decode_tokens_per_s", run->decode_tokens_per_s);
    json_writer_number(w, "decode_p50_s", run->p50_s);
    json_writer_number(w, "decode_p95_s", run->p95_s);
    json_writer_number(w, "decode_read_bytes_per_token", run->bytes_per_token);
    json_writer_number(w, "decode_hit_rate", run->hit_rate);
    json_writer_end_object(w);
}

static void print_json(bench_work *work, double prefill, double decoded)
{
    const leat_stats s = leat_engine_get_stats(work->setup.engine);
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_document(&w, "leat.bench/1");
    json_writer_text(&w, "model", work->setup.info->path);
    json_writer_u64(&w, "prompt_token_count", work->prompt.count);
    json_writer_u64(&w, "token_count", work->count);
    json_writer_seconds(&w, "load_s", s.load_ns);
    json_writer_begin_array(&w, "runs");
    for (uint32_t i = 0; i < work->run_count; i++) write_run(&w, &work->runs[i]);
    json_writer_end_array(&w);
    json_writer_begin_object(&w, "median");
    json_writer_number(&w, "prefill_tokens_per_s", prefill);
    json_writer_number(&w, "decode_tokens_per_s", decoded);
    json_writer_end_object(&w);
    json_writer_begin_object(&w, "memory");
    plan_write_json(&w, work->setup.plan);
    json_writer_u64(&w, "rss_peak_bytes", s.rss_peak_bytes);
    json_writer_end_object(&w);
    json_writer_text(&w, "isa", leat_isa_label(s.isa));
    json_writer_end_document(&w);
}

/* ---- the verb ---- */

static leat_status bench(bench_work *work, leat_error *error)
{
    cli *c = work->c;
    const char *path;
    leat_sampler_options greedy = leat_sampler_options_default();
    double prefill, decoded;
    greedy.temperature = 0;
    TRY(model_argument(c, &path, error));
    TRY(cli_refuse_rest(c, error));
    TRY(engine_setup_open_model(path, &work->setup, error));
    TRY(read_options(work, error));
    TRY(MEM_NEW(c->ledger, META, work->count, &work->step_s, error));
    TRY(MEM_NEW(c->ledger, META, c->options.runs, &work->runs, error));
    TRY(engine_setup_open_engine(c, (uint32_t)work->prompt.count + work->count, &work->setup, error));
    TRY(leat_sampler_open(&greedy, work->setup.info->vocab_size, &work->sampler, error));
    for (work->run_count = 0; work->run_count < c->options.runs; work->run_count++)
        TRY(measure(work, &work->runs[work->run_count], error));
    TRY(median_of(work, offsetof(bench_run, prefill_tokens_per_s), &prefill, error));
    TRY(median_of(work, offsetof(bench_run, decode_tokens_per_s), &decoded, error));
    if (c->options.json)
        print_json(work, prefill, decoded);
    else
        print_table(work, prefill, decoded);
    return LEAT_OK;
}

leat_status cmd_bench(cli *c, leat_error *error)
{
    bench_work work = {.c = c, .prompt = {.ledger = c->ledger}};
    leat_status status = bench(&work, error);
    leat_sampler_close(&work.sampler);
    engine_setup_close(&work.setup);
    mem_free(c->ledger, work.step_s);
    mem_free(c->ledger, work.runs);
    u32_list_reset(&work.prompt);
    return status;
}

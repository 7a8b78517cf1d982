/*
 * cmd_pareto.c - how fast a model would be at which budget and with which cache policy: predicted, and with --measure
 * also run, one engine after the other.
 */
#include "cli.h"
#include "engine_setup.h"
#include "forecast_text.h"
#include "human.h"
#include "input.h"
#include "model_list.h"
#include "pareto_svg.h"
#include "report.h"
#include "signals.h"
#include "u32_list.h"
#include "whole_file.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { POINTS_MAX = 64, POLICIES = 4, TOKENS_USUAL = 32, TOKENS_MIN = 4 };

typedef struct pareto_row {
    leat_plan plan;
    leat_forecast predicted;
    double measured; /* tokens a second; 0: not measured */
    double hit_rate; /* measured */
    bool is_chosen;  /* the policy that AUTO is at this budget */
} pareto_row;

typedef struct pareto_work {
    cli *c;
    leat_model *model;
    const leat_model_info *info;
    leat_forecaster *forecaster;
    leat_forecast_basis basis;
    u32_list prompt;
    whole_file drawing;         /* of --svg */
    uint32_t warm_count, count; /* with --measure: tokens before those that are timed, and those */
    pareto_row rows[POINTS_MAX * POLICIES];
    uint32_t row_count;
} pareto_work;

/* ---- predicted ---- */

static leat_status add_row(pareto_work *work, uint64_t budget, leat_cache_policy policy, leat_cache_policy chosen,
                           leat_error *error)
{
    pareto_row row = {.is_chosen = policy == LEAT_CACHE_AUTO || policy == chosen};
    leat_options options = engine_options(&work->c->options);
    options.ram_bytes = budget;
    options.ram_fraction = 0;
    options.cache_policy = policy;
    options.force = true; /* budgets of larger machines are worth a look */
    TRY(leat_plan_make(work->model, &options, &row.plan, error));
    TRY(leat_forecaster_forecast(work->forecaster, &row.plan, policy, work->warm_count, work->count, &row.predicted,
                                 error));
    work->rows[work->row_count++] = row;
    return LEAT_OK;
}

static leat_status add_budget(pareto_work *work, uint64_t budget, leat_error *error)
{
    const uint32_t wanted = work->c->options.policy; /* 0: all, then in the order of leat_cache_policy */
    leat_options options = engine_options(&work->c->options);
    leat_plan plan = {0};
    options.ram_bytes = budget;
    options.ram_fraction = 0;
    options.force = true;
    if (work->info->expert_count == 0) return add_row(work, budget, LEAT_CACHE_AUTO, LEAT_CACHE_AUTO, error);
    TRY(leat_plan_make(work->model, &options, &plan, error));
    for (uint32_t policy = LEAT_CACHE_LRU; policy <= LEAT_CACHE_S3FIFO; policy++)
        if (wanted == 0 || wanted == policy)
            TRY(add_row(work, budget, (leat_cache_policy)policy, plan.cache_policy, error));
    return LEAT_OK;
}

/* From the floor to --ram, or to everything, each budget the same factor above the one before. */
static leat_status add_budgets(pareto_work *work, leat_error *error)
{
    leat_options options = engine_options(&work->c->options);
    leat_plan plan = {0};
    const uint32_t points = work->c->options.points;
    const leat_status status = leat_plan_make(work->model, &options, &plan, error);
    if (status != LEAT_OK && (status != LEAT_BUDGET || plan.floor_bytes == 0 || work->c->options.ram.bytes > 0))
        return status;
    const bool has_top = options.ram_bytes > 0 || options.ram_fraction > 0;
    const double floor = (double)plan.floor_bytes;
    const double top = fmax(floor, (double)(has_top ? plan.budget_bytes : plan.everything_bytes));
    for (uint32_t i = 0; i < points; i++) {
        const double part = points > 1 ? (double)i / (points - 1) : 1;
        if (i > 0 && top <= floor) break; /* nothing to buy */
        TRY(add_budget(work, i + 1 == points ? (uint64_t)top : (uint64_t)ceil(floor * pow(top / floor, part)), error));
    }
    return LEAT_OK;
}

/* ---- measured ---- */

static leat_status decode(pareto_work *work, leat_engine *engine, leat_session *session, leat_sampler *sampler,
                          pareto_row *row, leat_error *error)
{
    leat_stats before = {0};
    uint64_t begin_ns = 0;
    TRY(leat_session_sync(session, work->prompt.items, work->prompt.count, NULL, error));
    for (uint32_t i = 0; i < work->warm_count + work->count; i++) {
        uint32_t id;
        if (i == work->warm_count) {
            before = leat_engine_get_stats(engine);
            begin_ns = clock_now_ns();
        }
        TRY(leat_sampler_pick(sampler, leat_session_logits(session), NULL, 0, &id, error));
        TRY(leat_session_append(session, id, error));
    }
    const leat_stats after = leat_engine_get_stats(engine);
    const uint64_t hits = after.expert_hits - before.expert_hits, misses = after.expert_misses - before.expert_misses;
    row->measured = rate_per_second(work->count, clock_now_ns() - begin_ns);
    row->hit_rate = hits + misses > 0 ? (double)hits / (double)(hits + misses) : 1;
    return LEAT_OK;
}

/* What is learned here is not kept: the predictions beside it were made without. */
static leat_status measure_row(pareto_work *work, pareto_row *row, leat_error *error)
{
    leat_options options = engine_options(&work->c->options);
    leat_sampler_options greedy = leat_sampler_options_default();
    leat_engine *engine = NULL;
    leat_session *session = NULL;
    leat_sampler *sampler = NULL;
    options.ram_bytes = row->plan.budget_bytes;
    options.ram_fraction = 0;
    options.cache_policy = row->plan.cache_policy;
    options.profile_folder = NULL;
    greedy.temperature = 0;
    leat_status status = leat_engine_open(work->model, &options, &engine, error);
    report_progress_end();
    if (status == LEAT_OK) status = leat_session_open(engine, &session, error);
    if (status == LEAT_OK) status = leat_sampler_open(&greedy, work->info->vocab_size, &sampler, error);
    if (status == LEAT_OK) status = decode(work, engine, session, sampler, row, error);
    leat_sampler_close(&sampler);
    leat_session_close(&session);
    leat_engine_close(&engine);
    return status;
}

static leat_status measure_rows(pareto_work *work, leat_error *error)
{
    for (uint32_t i = 0; i < work->row_count; i++) {
        pareto_row *row = &work->rows[i];
        char budget[HUMAN_BYTES];
        if (!row->is_chosen && work->c->options.policy == 0) continue;
        if (row->plan.budget_bytes > row->plan.limit_bytes && !work->c->options.force) {
            report_note("%s is more than this machine has: not measured", human_bytes(row->plan.budget_bytes, budget));
            continue;
        }
        TRY(measure_row(work, row, error));
    }
    return LEAT_OK;
}

/* ---- shown ---- */

static void print_table(pareto_work *work)
{
    output *out = &work->c->out;
    output_print(out, "    budget         experts  policy   read/token  %s%s\n", FORECAST_HEAD,
                 work->c->options.measure ? "  measured   hits" : "");
    for (uint32_t i = 0; i < work->row_count; i++) {
        const pareto_row *row = &work->rows[i];
        const leat_plan *plan = &row->plan;
        char budget[HUMAN_BYTES], read[HUMAN_BYTES], speed[FORECAST_BYTES];
        output_print(out, "%10s %6u of %6u  %-6s%c %11s  %s", human_bytes(plan->budget_bytes, budget),
                     plan->expert_slot_count, plan->expert_slot_max,
                     plan->expert_slot_max > 0 ? leat_cache_policy_label(plan->cache_policy) : "-",
                     row->is_chosen && plan->expert_slot_max > 0 ? '*' : ' ',
                     human_bytes((uint64_t)row->predicted.bytes_per_token, read),
                     forecast_describe(&row->predicted, &work->basis, speed));
        if (row->measured > 0) output_print(out, " %9.2f %4.0f %%", row->measured, row->hit_rate * 100);
        output_print(out, "%s\n", plan_is_below_one_token(plan, work->info) ? "  (!)" : "");
    }
    forecast_print_basis(out, work->info, &work->basis);
    if (work->info->expert_count > 0)
        output_print(out, "* what --cache-policy auto is there; (!) room for fewer experts than one token uses\n");
    if (work->c->options.measure)
        output_print(out, "Predicted and measured: the %u tokens after the first %u, from an empty expert cache\n",
                     work->count, work->warm_count);
}

static void print_csv(pareto_work *work)
{
    output *out = &work->c->out;
    output_print(out, "budget_bytes,expert_slot_count,expert_slot_max,cache_policy,is_auto,below_one_token,"
                      "predicted_hit_rate,predicted_read_bytes_per_token,predicted_tokens_per_s,predicted_prompt_s,"
                      "measured_hit_rate,measured_tokens_per_s\n");
    for (uint32_t i = 0; i < work->row_count; i++) {
        const pareto_row *row = &work->rows[i];
        const leat_plan *plan = &row->plan;
        const leat_forecast *f = &row->predicted;
        output_print(out, "%llu,%u,%u,%s,%d,%d,%.6f,%.0f,", (unsigned long long)plan->budget_bytes,
                     plan->expert_slot_count, plan->expert_slot_max, leat_cache_policy_label(plan->cache_policy),
                     row->is_chosen, plan_is_below_one_token(plan, work->info), f->hit_rate, f->bytes_per_token);
        if (f->token_s > 0) output_print(out, "%.6g,%.6g", 1 / f->token_s, f->prompt_s);
        if (!(f->token_s > 0)) output_print(out, ",");
        if (row->measured > 0)
            output_print(out, ",%.6f,%.6g\n", row->hit_rate, row->measured);
        else
            output_print(out, ",,\n");
    }
}

static void print_json(pareto_work *work)
{
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_document(&w, "leat.pareto/1");
    json_writer_text(&w, "model", work->info->path);
    json_writer_u64(&w, "warm_token_count", work->warm_count);
    json_writer_u64(&w, "token_count", work->count);
    forecast_write_basis(&w, &work->basis);
    json_writer_begin_array(&w, "rows");
    for (uint32_t i = 0; i < work->row_count; i++) {
        const pareto_row *row = &work->rows[i];
        json_writer_begin_object(&w, NULL);
        json_writer_u64(&w, "budget_bytes", row->plan.budget_bytes);
        json_writer_u64(&w, "expert_slot_count", row->plan.expert_slot_count);
        json_writer_u64(&w, "expert_slot_max", row->plan.expert_slot_max);
        json_writer_u64(&w, "streamed_bytes_per_step", row->plan.streamed_bytes);
        json_writer_text(&w, "cache_policy", leat_cache_policy_label(row->plan.cache_policy));
        json_writer_flag(&w, "is_auto", row->is_chosen);
        json_writer_flag(&w, "below_one_token", plan_is_below_one_token(&row->plan, work->info));
        forecast_write(&w, "predicted", &row->predicted);
        json_writer_begin_object(&w, "measured");
        json_writer_number(&w, "hit_rate", row->measured > 0 ? row->hit_rate : NAN);
        json_writer_number(&w, "tokens_per_s", row->measured > 0 ? row->measured : NAN);
        json_writer_end_object(&w);
        json_writer_end_object(&w);
    }
    json_writer_end_array(&w);
    json_writer_end_document(&w);
}

/* One point a budget: the policy that is chosen there, or the one that was asked for. */
static leat_status draw(pareto_work *work, leat_error *error)
{
    pareto_point points[POINTS_MAX];
    uint32_t count = 0;
    output out;
    for (uint32_t i = 0; i < work->row_count; i++) {
        const pareto_row *row = &work->rows[i];
        if (!row->is_chosen && work->c->options.policy == 0) continue;
        points[count++] = (pareto_point){(double)row->plan.budget_bytes,
                                         row->predicted.token_s > 0 ? 1 / row->predicted.token_s : 0, row->measured};
    }
    output_init(&out, work->c->ledger, work->drawing.fd);
    pareto_svg_write(&out, work->info->path, points, count);
    leat_status status = output_flush(&out, NULL);
    int os_errno = out.os_errno ? out.os_errno : ENOMEM;
    output_reset(&out);
    return status == LEAT_OK ? whole_file_finish(&work->drawing, error)
                             : whole_file_fail(&work->drawing, os_errno, error);
}

/* ---- the verb ---- */

static leat_status read_options(pareto_work *work, leat_error *error)
{
    const cli_options *o = &work->c->options;
    static const uint32_t usual[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const uint32_t tokens = o->is_set[OPTION_max_tokens] ? o->max_tokens : TOKENS_USUAL;
    if (o->policy > LEAT_CACHE_S3FIFO)
        return FAIL(error, USAGE,
                    "--policy belady: it knows the future, so that nothing can run with it; see leat replay");
    if (o->json && o->csv) return FAIL(error, USAGE, "--json and --csv: give one of them");
    if (!o->measure) {
        if (o->is_on_command_line[OPTION_max_tokens] || o->tokens)
            return FAIL(error, USAGE, "--tokens and --max-tokens say what --measure runs; give that too");
        return LEAT_OK;
    }
    if (tokens < TOKENS_MIN || tokens > (1u << 20))
        return FAIL(error, USAGE, "--max-tokens %u: expected %d to %d", tokens, TOKENS_MIN, 1 << 20);
    work->warm_count = tokens / 2;
    work->count = tokens - tokens / 2;
    if (o->tokens)
        TRY(input_read_tokens(work->c, &work->prompt, error));
    else
        TRY(u32_list_append(&work->prompt, usual, ARRAY_COUNT(usual), error));
    return input_check_tokens(&work->prompt, work->info->vocab_size, error);
}

static leat_status pareto(pareto_work *work, leat_error *error)
{
    cli *c = work->c;
    const leat_options options = engine_options(&c->options);
    if (c->options.svg) TRY(whole_file_open(&work->drawing, "--svg: ", c->options.svg, error));
    TRY(model_open_only(c, &work->model, error));
    work->info = leat_model_get_info(work->model);
    TRY(read_options(work, error));
    TRY(leat_forecaster_open(work->model, &options, (leat_probe)c->options.probe, &work->forecaster, error));
    work->basis = leat_forecaster_basis(work->forecaster);
    TRY(add_budgets(work, error));
    if (c->options.measure) TRY(measure_rows(work, error));
    if (c->options.json)
        print_json(work);
    else if (c->options.csv)
        print_csv(work);
    else
        print_table(work);
    return c->options.svg ? draw(work, error) : LEAT_OK;
}

leat_status cmd_pareto(cli *c, leat_error *error)
{
    static pareto_work work; /* too large for the stack */
    work = (pareto_work){.c = c, .prompt = {.ledger = c->ledger}};
    leat_status status = pareto(&work, error);
    whole_file_close(&work.drawing);
    leat_forecaster_close(&work.forecaster);
    u32_list_reset(&work.prompt);
    leat_model_close(&work.model);
    return status;
}

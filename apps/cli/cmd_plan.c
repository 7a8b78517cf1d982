/*
 * cmd_plan.c - the least memory that a model needs, what it is for, and what more would buy.
 *
 * The rows between the floor and "everything" are plans like any other, made with leat_plan_make; how fast they would
 * be says leat_forecaster_forecast.
 */
#include "cli.h"
#include "engine_setup.h"
#include "forecast_text.h"
#include "human.h"
#include "json_writer.h"
#include "model_list.h"

#include "base/bytes.h"

#include <stdio.h>

typedef struct budget_row {
    leat_plan plan;
    double resident;      /* part of the experts that stay in memory */
    uint64_t token_bytes; /* read for a token: what does not stay, and experts as if they were used evenly */
    leat_forecast forecast;
} budget_row;

enum { BUDGET_STEPS = 4 }; /* the way from the floor to everything, in equal steps */

static leat_status make_row(const leat_model *model, const leat_forecaster *forecaster, leat_options options,
                            uint64_t budget_bytes, budget_row *out_row, leat_error *error)
{
    const leat_model_info *info = leat_model_get_info(model);
    options.ram_bytes = budget_bytes;
    options.ram_fraction = 0;
    options.force = true; /* budgets of larger machines are worth a look */
    budget_row row = {0};
    TRY(leat_plan_make(model, &options, &row.plan, error));
    row.resident = row.plan.expert_slot_max > 0 ? (double)row.plan.expert_slot_count / row.plan.expert_slot_max : 1;
    uint64_t cold = (uint64_t)info->moe_layer_count * info->expert_used_count * info->expert_record_bytes;
    row.token_bytes = row.plan.streamed_bytes + (uint64_t)((double)cold * (1 - row.resident));
    TRY(leat_forecaster_forecast(forecaster, &row.plan, LEAT_CACHE_AUTO, 0, 0, &row.forecast, error));
    *out_row = row;
    return LEAT_OK;
}

static leat_status make_rows(const leat_model *model, const leat_forecaster *f, const leat_options *options,
                             const leat_plan *plan, budget_row rows[BUDGET_STEPS + 1], uint32_t *out_count,
                             leat_error *error)
{
    uint64_t floor = plan->floor_bytes, all = max_u64(plan->everything_bytes, floor);
    uint32_t count = 0;
    for (uint64_t i = 0; i <= BUDGET_STEPS; i++) {
        uint64_t budget = i == BUDGET_STEPS ? all : floor + (all - floor) / BUDGET_STEPS * i;
        if (i > 0 && budget == floor) break; /* nothing to buy */
        TRY(make_row(model, f, *options, budget, &rows[count++], error));
    }
    *out_count = count;
    return LEAT_OK;
}

static void print_rows(cli *c, const leat_model_info *info, const leat_forecast_basis *basis, const budget_row *rows,
                       uint32_t count)
{
    output_print(&c->out, "\n    budget       layers     experts in memory  read/token  %s\n", FORECAST_HEAD);
    for (uint32_t i = 0; i < count; i++) {
        const leat_plan *plan = &rows[i].plan;
        char budget[HUMAN_BYTES], read[HUMAN_BYTES], layers[32], experts[48] = "-", speed[FORECAST_BYTES];
        snprintf(layers, sizeof layers, "%u of %u", info->layer_count - plan->streamed_layer_count, info->layer_count);
        if (info->expert_count > 0)
            snprintf(experts, sizeof experts, "%u of %u %3.0f %%", plan->expert_slot_count, plan->expert_slot_max,
                     rows[i].resident * 100);
        output_print(&c->out, "%10s %12s %21s %11s  %s%s%s\n", human_bytes(plan->budget_bytes, budget), layers, experts,
                     human_bytes((uint64_t)rows[i].forecast.bytes_per_token, read),
                     forecast_describe(&rows[i].forecast, basis, speed),
                     i == 0           ? "  (the floor)"
                     : i + 1 == count ? "  (everything)"
                                      : "",
                     plan_is_below_one_token(plan, info) ? "  (!)" : "");
    }
    forecast_print_basis(&c->out, info, basis);
    for (uint32_t i = 0; i < count; i++)
        if (plan_is_below_one_token(&rows[i].plan, info)) {
            output_print(&c->out,
                         "(!) room for fewer experts than one token uses: each layer drives out the next one's\n");
            break;
        }
}

static void print_text(cli *c, const leat_model_info *info, const leat_plan *plan, bool fits)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], files[IO_FILES_BYTES];
    const struct {
        const char *name;
        uint64_t bytes;
    } parts[] = {
        {plan->streamed_bytes > 0 ? "trunk (weights always in memory, and the ring for the others)"
                                  : "trunk (weights always in memory)",
         plan->trunk_bytes},
        {"keys and values", plan->kv_bytes},
        {"scratch", plan->scratch_bytes},
        {"reading", plan->io_bytes},
        {"tokenizer", plan->tokenizer_bytes},
        {"the process itself", plan->process_bytes},
        {"expert cache", plan->expert_cache_bytes},
        {"unspent", plan->unspent_bytes},
    };
    output_print(&c->out, "model    %s, %s of weights\n", info->path, human_bytes(info->weight_bytes, a));
    output_print(&c->out, "machine  %s, of which %s are free\n", human_bytes(plan->limit_bytes, a),
                 human_bytes(plan->available_bytes, b));
    output_print(&c->out, "floor    %s for a context of %u tokens\n", human_bytes(plan->floor_bytes, a), plan->ctx);
    output_print(&c->out, "budget   %s%s\n", human_bytes(plan->budget_bytes, a), fits ? "" : ": below the floor");
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (parts[i].bytes > 0) output_print(&c->out, "  %10s  %s\n", human_bytes(parts[i].bytes, a), parts[i].name);
    output_print(&c->out, "reads    %s\n",
                 io_describe_files(plan->direct_file_count, plan->buffered_file_count, plan->io_is_measured, files));
    if (fits && info->expert_count > 0)
        output_print(&c->out, "policy   %s\n", leat_cache_policy_label(plan->cache_policy));
    if (fits && plan_is_below_one_token(plan, info))
        output_print(&c->out, "warning  room for %u experts, but one token uses %u\n", plan->expert_slot_count,
                     info->moe_layer_count * info->expert_used_count);
    if (plan->would_page)
        output_print(&c->out, "warning  only %s are free, page cache included, and not leased by others: would page\n",
                     human_bytes(plan->free_bytes, a));
    if (plan->streamed_bytes > 0)
        output_print(&c->out, "streamed %s for each step: %u of %u layers%s\n", human_bytes(plan->streamed_bytes, a),
                     plan->streamed_layer_count, info->layer_count, plan->head_is_streamed ? " and the head" : "");
}

static void print_json(cli *c, const leat_model_info *info, const leat_plan *plan, bool fits,
                       const leat_forecast_basis *basis, const budget_row *rows, uint32_t count)
{
    json_writer w;
    json_writer_init(&w, &c->out);
    json_writer_begin_document(&w, "leat.plan/1");
    json_writer_text(&w, "model", info->path);
    json_writer_u64(&w, "weight_bytes", info->weight_bytes);
    json_writer_flag(&w, "fits", fits);
    plan_write_json(&w, plan);
    json_writer_begin_object(&w, "io");
    io_write_files_json(&w, plan->direct_file_count, plan->buffered_file_count, plan->io_is_measured);
    json_writer_end_object(&w);
    json_writer_flag(&w, "below_one_token", fits && plan_is_below_one_token(plan, info));
    json_writer_u64(&w, "physical_bytes", plan->physical_bytes);
    json_writer_u64(&w, "limit_bytes", plan->limit_bytes);
    json_writer_u64(&w, "available_bytes", plan->available_bytes);
    json_writer_u64(&w, "free_bytes", plan->free_bytes);
    json_writer_flag(&w, "would_page", plan->would_page);
    forecast_write_basis(&w, basis);
    json_writer_begin_array(&w, "budgets");
    for (uint32_t i = 0; i < count; i++) {
        json_writer_begin_object(&w, NULL);
        json_writer_u64(&w, "budget_bytes", rows[i].plan.budget_bytes);
        json_writer_u64(&w, "expert_slot_count", rows[i].plan.expert_slot_count);
        json_writer_u64(&w, "expert_slot_max", rows[i].plan.expert_slot_max);
        json_writer_number(&w, "resident_expert_fraction", rows[i].resident);
        json_writer_u64(&w, "streamed_layer_count", rows[i].plan.streamed_layer_count);
        json_writer_u64(&w, "streamed_bytes_per_step", rows[i].plan.streamed_bytes);
        json_writer_u64(&w, "even_use_read_bytes_per_token", rows[i].token_bytes);
        json_writer_flag(&w, "below_one_token", plan_is_below_one_token(&rows[i].plan, info));
        json_writer_text(&w, "cache_policy", leat_cache_policy_label(rows[i].plan.cache_policy));
        forecast_write(&w, "predicted", &rows[i].forecast);
        json_writer_end_object(&w);
    }
    json_writer_end_array(&w);
    json_writer_end_document(&w);
}

/* The forecaster comes first: what its probe finds may change how files are read. A budget below the floor is still
 * shown, with everything that would fit; the error and its exit code follow. */
static leat_status show_plan(cli *c, const leat_model *model, leat_error *error)
{
    leat_options options = engine_options(&c->options);
    leat_plan plan = {0};
    budget_row rows[BUDGET_STEPS + 1];
    uint32_t count;
    leat_error row_error;
    leat_forecaster *forecaster = NULL;
    leat_status status = leat_forecaster_open(model, &options, (leat_probe)c->options.probe, &forecaster, &row_error);
    const leat_status made = leat_plan_make(model, &options, &plan, error);
    if (made != LEAT_OK && (made != LEAT_BUDGET || plan.floor_bytes == 0)) {
        leat_forecaster_close(&forecaster);
        return made;
    }
    leat_forecast_basis basis = {0};
    if (status == LEAT_OK) basis = leat_forecaster_basis(forecaster);
    if (status == LEAT_OK) status = make_rows(model, forecaster, &options, &plan, rows, &count, &row_error);
    leat_forecaster_close(&forecaster);
    if (status != LEAT_OK) {
        if (made == LEAT_OK) *error = row_error;
        return made != LEAT_OK ? made : status;
    }
    const leat_model_info *info = leat_model_get_info(model);
    if (c->options.json) {
        print_json(c, info, &plan, made == LEAT_OK, &basis, rows, count);
    } else {
        print_text(c, info, &plan, made == LEAT_OK);
        print_rows(c, info, &basis, rows, count);
    }
    return made;
}

leat_status cmd_plan(cli *c, leat_error *error)
{
    leat_model *model = NULL;
    TRY(model_open_only(c, &model, error));
    leat_status status = show_plan(c, model, error);
    leat_model_close(&model);
    return status;
}

#include "engine_setup.h"

#include "human.h"
#include "model_list.h"
#include "paths.h"
#include "report.h"
#include "signals.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { WARM_ON = 2 }; /* auto, off, on */

/* $XDG_CACHE_HOME/leat; NULL where there is no such place. Lives as long as the program. */
static const char *profile_folder(const cli_options *options)
{
    static char folder[PATH_BYTES_MAX];
    char inside[PATH_BYTES_MAX];
    if (options->profile != 0 || !path_in_home("XDG_CACHE_HOME", ".cache", "leat", folder)) return NULL;
    return path_join(folder, "profile", inside) && path_make_folders(inside) ? folder : NULL;
}

/* 0: there is no such file, as will be said when it is read. */
static uint64_t template_bytes(const char *path)
{
    struct stat facts;
    return path && stat(path, &facts) == 0 && S_ISREG(facts.st_mode) ? (uint64_t)facts.st_size : 0;
}

bool plan_is_below_one_token(const leat_plan *plan, const leat_model_info *info)
{
    return plan->expert_slot_count < plan->expert_slot_max &&
           plan->expert_slot_count < (uint64_t)info->moe_layer_count * info->expert_used_count;
}

leat_options engine_options(const cli_options *options)
{
    leat_options o = leat_options_default();
    o.ram_bytes = options->ram.bytes;
    o.ram_fraction = options->ram.fraction;
    o.ctx = options->ctx;
    o.thread_count = options->threads;
    o.prefill_chunk = options->prefill_chunk;
    o.isa = (leat_isa)options->isa; /* the words of --isa, --io and --io-engine stand in the order of the enums */
    o.io = (leat_io_mode)options->io;
    o.cache_policy = (leat_cache_policy)options->cache_policy;
    o.look_ahead = (leat_look_ahead)options->look_ahead;
    o.io_engine = (leat_io_engine)options->io_engine;
    o.ignore_pressure = options->pressure != 0; /* auto, off */
    o.ignore_leases = options->lease != 0;
    o.force = options->force;
    o.profile_folder = profile_folder(options);
    o.chat_template_bytes = template_bytes(options->chat_template);
    o.warm_start =
        options->warm_start == WARM_ON && !options->route_trace; /* a recording holds all that was asked for */
    o.cancel = &signals_cancel;
    o.progress = report_progress;
    return o;
}

leat_status engine_setup_open_model(const char *model_path, engine_setup *setup, leat_error *error)
{
    TRY(model_open(model_path, &setup->model, error));
    setup->info = leat_model_get_info(setup->model);
    return LEAT_OK;
}

uint32_t engine_setup_ctx(const cli *c, const engine_setup *setup)
{
    leat_options options = engine_options(&c->options);
    leat_plan plan = {0};
    leat_error ignored = {0}; /* said again when the engine is opened */
    if (leat_plan_make(setup->model, &options, &plan, &ignored) != LEAT_OK && plan.ctx == 0) return options.ctx;
    return plan.ctx;
}

leat_status engine_setup_open_engine(cli *c, uint32_t ctx, engine_setup *setup, leat_error *error)
{
    leat_options options = engine_options(&c->options);
    if (options.ctx == 0 && ctx > engine_setup_ctx(c, setup)) options.ctx = ctx;
    /* A chat waits for its first question. */
    if (c->options.warm_start == 0 && c->verb == VERB_CHAT) options.warm_start = !c->options.route_trace;
    options.profile_is_read_only = c->verb == VERB_BENCH; /* whose tokens are nobody's text */
    const phase before = phase_clock_switch(&c->phases, PHASE_LOAD);
    leat_status status = leat_engine_open(setup->model, &options, &setup->engine, error);
    phase_clock_switch(&c->phases, before);
    report_progress_end();
    TRY(status);
    phase_clock_mark(&c->phases, &c->phases.ready_ns);
    setup->plan = leat_engine_plan(setup->engine);
    setup->tokenizer = leat_engine_tokenizer(setup->engine);
    plan_report(setup->plan);
    if (plan_is_below_one_token(setup->plan, setup->info))
        report_note("ram: room for %u experts, one token uses %u: few will be found in memory",
                    setup->plan->expert_slot_count, setup->info->moe_layer_count * setup->info->expert_used_count);
    TRY(leat_session_open(setup->engine, &setup->session, error));
    if (c->options.route_trace) route_trace_begin(&setup->trace, c->options.route_trace, setup->info, setup->engine);
    if (route_trace_is_open(&setup->trace)) {
        leat_session_set_acquire_sink(setup->session, route_trace_take, &setup->trace);
        leat_session_set_resize_sink(setup->session, route_trace_take_resize, &setup->trace);
    }
    return LEAT_OK;
}

void engine_setup_close(engine_setup *setup)
{
    route_trace_end(&setup->trace);
    leat_session_close(&setup->session);
    leat_engine_close(&setup->engine);
    leat_model_close(&setup->model);
}

/* ---- the plan in words
 * --------------------------------------------------------------------------------------------------------- */

typedef struct plan_part {
    const char *name, *key;
    uint64_t bytes;
    char note[48]; /* shown in parentheses */
} plan_part;

enum { PLAN_PART_COUNT = 8 };

static void list_parts(const leat_plan *plan, plan_part out[PLAN_PART_COUNT])
{
    plan_part parts[PLAN_PART_COUNT] = {
        {"trunk", "trunk_bytes", plan->trunk_bytes, ""},
        {"kv", "kv_bytes", plan->kv_bytes, ""},
        {"scratch", "scratch_bytes", plan->scratch_bytes, ""},
        {"io", "io_bytes", plan->io_bytes, ""},
        {"tokenizer", "tokenizer_bytes", plan->tokenizer_bytes, ""},
        {"process", "process_bytes", plan->process_bytes, ""},
        {"experts", "expert_cache_bytes", plan->expert_cache_bytes, ""},
        {"unspent", "unspent_bytes", plan->unspent_bytes, ""},
    };
    snprintf(parts[1].note, sizeof parts[1].note, " (ctx %u)", plan->ctx);
    snprintf(parts[6].note, sizeof parts[6].note, " (%u of %u)", plan->expert_slot_count, plan->expert_slot_max);
    memcpy(out, parts, sizeof parts);
}

/* An automatic budget never would; one that was given is kept, for the user may know better what will be free. */
static void plan_warn(const leat_plan *plan)
{
    char budget[HUMAN_BYTES], left[HUMAN_BYTES];
    if (plan->would_page)
        report_note(
            "ram: warning: %s are more than the %s that are free, page cache included, and not leased by others: "
            "the system may page or kill, and less would be faster",
            human_bytes(plan->budget_bytes, budget), human_bytes(plan->free_bytes, left));
}

void plan_report(const leat_plan *plan)
{
    plan_part parts[PLAN_PART_COUNT];
    list_parts(plan, parts);
    char line[512] = "", bytes[HUMAN_BYTES];
    size_t used = 0;
    for (int i = 0; i < PLAN_PART_COUNT; i++) {
        if (parts[i].bytes == 0) continue;
        int length = snprintf(line + used, sizeof line - used, "%s%s %s%s", used > 0 ? " + " : "", parts[i].name,
                              human_bytes(parts[i].bytes, bytes), parts[i].note);
        used += length > 0 ? (size_t)length : 0;
    }
    report_note("ram: %s budget = %s", human_bytes(plan->budget_bytes, bytes), line);
    plan_warn(plan);
}

void plan_write_json(json_writer *w, const leat_plan *plan)
{
    plan_part parts[PLAN_PART_COUNT];
    list_parts(plan, parts);
    json_writer_u64(w, "budget_bytes", plan->budget_bytes);
    json_writer_u64(w, "floor_bytes", plan->floor_bytes);
    json_writer_u64(w, "everything_bytes", plan->everything_bytes);
    json_writer_u64(w, "streamed_bytes_per_step", plan->streamed_bytes);
    json_writer_begin_object(w, "parts");
    for (int i = 0; i < PLAN_PART_COUNT; i++) json_writer_u64(w, parts[i].key, parts[i].bytes);
    json_writer_end_object(w);
    json_writer_u64(w, "ctx", plan->ctx);
    json_writer_u64(w, "thread_count", plan->thread_count);
    json_writer_u64(w, "prefill_chunk", plan->prefill_chunk);
    json_writer_u64(w, "expert_slot_count", plan->expert_slot_count);
    json_writer_u64(w, "expert_slot_max", plan->expert_slot_max);
    json_writer_u64(w, "expert_slot_bytes", plan->expert_slot_bytes);
    json_writer_u64(w, "expert_class_count", plan->expert_class_count);
    json_writer_text(w, "cache_policy", leat_cache_policy_label(plan->cache_policy));
}

const char *io_describe_files(uint32_t direct_count, uint32_t buffered_count, bool is_measured,
                              char out[IO_FILES_BYTES])
{
    const char *basis = is_measured ? ", measured" : "";
    if (direct_count > 0 && buffered_count > 0)
        snprintf(out, IO_FILES_BYTES, "%u direct, %u buffered%s", direct_count, buffered_count, basis);
    else
        snprintf(out, IO_FILES_BYTES, "%s%s", buffered_count > 0 ? "buffered" : "direct", basis);
    return out;
}

void io_write_files_json(json_writer *w, uint32_t direct_count, uint32_t buffered_count, bool is_measured)
{
    json_writer_u64(w, "direct_files", direct_count);
    json_writer_u64(w, "buffered_files", buffered_count);
    json_writer_flag(w, "is_measured", is_measured);
}

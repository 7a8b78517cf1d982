#include "exec/engine.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "base/log.h"
#include "os/clock.h"

#define FILES_CHECK_NS UINT64_C(1000000000)

/* ---- files ---- */

static void close_files(mem *ledger, file **files, uint32_t count)
{
    if (!*files) return;
    for (uint32_t i = 0; i < count; i++) file_close(&(*files)[i]);
    mem_free(ledger, *files);
    *files = NULL;
}

static leat_status open_files(mem *ledger, const checkpoint *source, const io_choice *io, file **out_files,
                              leat_error *error)
{
    file *files;

    TRY(mem_alloc(ledger, MEM_META, source->file_count, sizeof *files, 0, "file table", (void **)&files, error));
    const leat_status status = io_choice_reopen(source, io, files, error);
    if (status != LEAT_OK)
        mem_free(ledger, files);
    else
        *out_files = files;
    return status;
}

static uint32_t count_direct(const file *files, uint32_t count)
{
    uint32_t direct_count = 0;
    for (uint32_t i = 0; i < count; i++) direct_count += files[i].is_direct;
    return direct_count;
}

static void say_what_is_buffered(const engine *e)
{
    const uint32_t count = e->source->file_count - e->direct_file_count;

    if (e->options.io.wanted == FILE_BUFFERED || count == 0) return;
    log_write(LOG_INFO, "%u of %u weight files are read through the page cache and dropped from it: %s", count,
              e->source->file_count,
              e->options.io.buffered_count > 0 ? "that was measured to be faster"
                                               : "their file system refuses O_DIRECT");
}

/* ---- plan ---- */

static uint64_t tables_bytes(const checkpoint *source, const model_desc *model, const engine_options *o)
{
    const uint64_t handles = 4096; /* the public handles of engine and session */
    uint64_t sum = handles + mem_block_bytes(sizeof(engine), 0) +
                   mem_block_bytes(source->file_count * sizeof(file), 0) + expert_records_bytes(model) +
                   thread_pool_bytes(o->thread_count) + prefault_bytes() + (o->learns ? run_tally_bytes(model) : 0) +
                   (o->warms ? warm_start_bytes(model->moe_layer_count, model->expert_count) : 0);

    for (uint32_t i = 0; i < model->rope_count; i++) sum += rope_table_bytes(&model->ropes[i]);
    return sum;
}

static plan_request request_of(const checkpoint *source, const model_desc *model, const engine_options *o,
                               const file_set *files, const expert_records *records)
{
    return (plan_request){.model = model,
                          .files = files,
                          .experts = records,
                          .io_engine = storage_resolve(o->io_engine, READ_QUEUE_DEPTH),
                          .checkpoint_bytes = mem_total_usage(source->ledger).current_bytes + o->model_bytes,
                          .tables_bytes = tables_bytes(source, model, o),
                          .tokenizer_file_bytes = o->tokenizer_file_bytes,
                          .chat_template_bytes = o->chat_template_bytes,
                          .tokenizer_bytes = o->tokenizer_bytes,
                          .budget_bytes = o->budget_bytes,
                          .spare_bytes = o->spare_bytes,
                          .ctx = o->ctx,
                          .thread_count = o->thread_count,
                          .prefill_chunk = o->prefill_chunk,
                          .paces_look_ahead = o->look_ahead == LOOK_AHEAD_AUTO,
                          .cache_policy = o->cache_policy};
}

leat_status engine_plan(const checkpoint *source, const model_desc *model, const engine_options *options,
                        plan *out_plan, leat_error *error)
{
    leat_status status = LEAT_OK;
    mem *ledger = NULL;
    file *files = NULL;
    expert_records records = {0};

    TRY(mem_open(0, &ledger, error));
    TRY_OR(done, open_files(ledger, source, &options->io, &files, error));
    TRY_OR(done, expert_records_open(ledger, model, &records, error));
    const file_set set = {files, source->file_names, source->file_count};
    const plan_request request = request_of(source, model, options, &set, &records);
    status = plan_make(&request, out_plan, error);
    out_plan->direct_file_count = count_direct(files, source->file_count);
done:
    expert_records_close(&records);
    close_files(ledger, &files, source->file_count);
    mem_close(&ledger);
    return status;
}

/* ---- opening ---- */

static leat_status open_reading(engine *e, leat_error *error)
{
    const model_desc *m = e->model;

    TRY(open_files(e->ledger, e->source, &e->options.io, &e->files, error));
    e->file_set = (file_set){e->files, e->source->file_names, e->source->file_count};
    e->direct_file_count = count_direct(e->files, e->source->file_count);
    TRY(storage_open(e->options.io_engine, e->ledger, &e->file_set, READ_THREADS, READ_QUEUE_DEPTH, &e->reads, error));
    e->reads->ops->watch(e->reads, &(read_watch){e->options.cancel, READ_PATIENCE_NS});
    if (trunk_reads_embedding_rows(m, e->plan.trunk_level))
        TRY(row_reader_open(e->ledger, &m->weights[m->embedding], &e->file_set, e->reads, &e->embedding_rows, error));
    if (m->inputs.width)
        TRY(row_reader_open(e->ledger, &m->weights[m->inputs.table], &e->file_set, e->reads, &e->input_rows, error));
    return LEAT_OK;
}

static leat_status open_trunk(engine *e, leat_error *error)
{
    const trunk_load load = {.model = e->model,
                             .files = &e->file_set,
                             .reads = e->reads,
                             .level = e->plan.trunk_level,
                             .cancel = e->options.cancel,
                             .progress = e->options.progress,
                             .progress_user = e->options.progress_user};

    TRY(trunk_open(e->ledger, &load, &e->trunk, error));
    TRY(prefault_open(e->ledger, &e->pages, error));
    prefault_add(e->pages, PREFAULT_TRUNK, e->trunk->block, e->trunk->block_bytes);
    return weight_ring_open(e->ledger, e->model, &e->file_set, e->reads, e->trunk, e->plan.trunk_level, &e->ring,
                            error);
}

/* The trunk's reader waits for a place in the queue. */
static void take_expert_reads_back(void *user) { expert_cache_settle(user); }

static leat_status open_experts(engine *e, leat_error *error)
{
    TRY(expert_records_open(e->ledger, e->model, &e->records, error));
    if (!e->records.layer_count) return LEAT_OK;
    const plan_request request = request_of(e->source, e->model, &e->options, &e->file_set, &e->records);
    const expert_cache_config config = plan_cache_config(&request, e->plan.expert_slot_count);
    TRY(expert_cache_open(e->ledger, &config, &e->file_set, e->reads, &e->experts, error));
    for (uint32_t i = 0; i < expert_cache_class_count(e->experts); i++) {
        const expert_cache_memory slots = expert_cache_memory_get(e->experts, i);
        prefault_add(e->pages, PREFAULT_EXPERTS + i, slots.block, slots.bytes);
    }
    if (e->trunk->reader) trunk_reader_set_make_room(e->trunk->reader, take_expert_reads_back, e->experts);
    return e->options.look_ahead == LOOK_AHEAD_AUTO
               ? pacing_open(e->ledger, e->records.layer_count, 0, &e->look_ahead.pacing, error)
               : LEAT_OK;
}

static leat_status open_computing(engine *e, leat_error *error)
{
    kv_layer_shape shapes[LAYERS_MAX];

    kernel_init(&e->kernels, e->options.level);
    TRY(thread_pool_open(e->ledger, e->plan.thread_count, &e->threads, error));
    for (uint32_t i = 0; i < e->model->rope_count; i++)
        TRY(rope_table_open(e->ledger, &e->model->ropes[i], &e->ropes[i], error));
    plan_kv_shapes(e->model, shapes);
    TRY(kv_cache_open(e->ledger, shapes, e->model->layer_count, e->plan.ctx, e->plan.prefill_chunk, &e->kv, error));
    return scratch_open(e->ledger, e->model, e->plan.prefill_chunk, e->plan.thread_count, &e->scratch, error);
}

leat_status engine_open(const checkpoint *source, const model_desc *model, const engine_options *options,
                        const plan *solved, mem *ledger, engine **out_engine, leat_error *error)
{
    leat_status status = LEAT_OK;
    engine *e;

    TRY(mem_alloc(ledger, MEM_META, 1, sizeof *e, 0, "engine", (void **)&e, error));
    e->source = source;
    e->model = model;
    e->options = *options;
    e->plan = *solved;
    e->look_ahead.mode = options->look_ahead;
    e->ledger = ledger;
    TRY_OR(fail, open_reading(e, error));
    TRY_OR(fail, open_trunk(e, error));
    if (options->before_caches) TRY_OR(fail, options->before_caches(options->before_caches_user, error));
    TRY_OR(fail, open_computing(e, error));
    TRY_OR(fail, open_experts(e, error));
    if (options->learns) TRY_OR(fail, run_tally_open(ledger, model, &e->tally, error));
    pressure_watch_start(e, "");
    /* All of it will be read, and soon. Not before the other blocks are mapped: that would have to wait for the pages.
     */
    prefault_allow(e->pages, PREFAULT_TRUNK, e->trunk->block_bytes);
    say_what_is_buffered(e);
    *out_engine = e;
    return LEAT_OK;
fail:
    engine_close(&e);
    return status;
}

void engine_close(engine **engine_ptr)
{
    engine *e = *engine_ptr;

    if (!e) return;
    warm_start_stop(&e->warm);
    if (e->reads) e->reads->ops->reclaim(e->reads);
    prefault_close(&e->pages);
    run_tally_close(&e->tally);
    scratch_close(&e->scratch);
    kv_cache_close(&e->kv);
    expert_cache_close(&e->experts);
    pacing_close(&e->look_ahead.pacing);
    weight_ring_close(&e->ring);
    trunk_close(&e->trunk);
    row_reader_close(&e->input_rows);
    row_reader_close(&e->embedding_rows);
    if (e->reads) e->reads->ops->close(&e->reads);
    for (uint32_t i = 0; i < ROPES_MAX; i++) rope_table_close(&e->ropes[i]);
    thread_pool_close(&e->threads);
    expert_records_close(&e->records);
    close_files(e->ledger, &e->files, e->source->file_count);
    mem_free(e->ledger, e);
    *engine_ptr = NULL;
}

void engine_prefault_ahead(engine *e)
{
    if (!e->experts || !e->pages) return;
    const uint32_t class_count = expert_cache_class_count(e->experts);
    for (uint32_t i = 0; i < class_count; i++) {
        const uint64_t used = expert_cache_memory_get(e->experts, i).used_bytes;
        const uint64_t wanted = used + PREFAULT_AHEAD_BYTES / class_count;
        if (wanted == e->pages_allowed[i]) continue;
        prefault_allow(e->pages, PREFAULT_EXPERTS + i, wanted);
        e->pages_allowed[i] = wanted;
    }
}

void engine_idle(engine *e)
{
    /* Until it is over the cache is the warm start's alone: memory that is scarce ends it. */
    if (e->warm && !warm_start_is_over(e->warm) && !pressure_watch_is_scarce(e)) return;
    warm_start_stop(&e->warm);
    pressure_watch_poll(e);
}

enum { CHECK_ALIGN_MAX = 64 << 10, CHECK_BLOCK = 4096 };

static leat_status check_block(const file *f, const char *name, uint64_t offset, uint8_t *buffer, leat_error *error)
{
    const uint64_t unit = max_u64(CHECK_BLOCK, f->offset_align);
    const uint64_t begin = round_down(offset, unit);
    const uint64_t bytes = f->is_direct ? unit : min_u64(unit, f->bytes - begin);
    TRY(file_read(f, name, begin, buffer, bytes, NULL, error));
    file_drop_behind(f, begin, bytes);
    return LEAT_OK;
}

/* What reads failed on last: blocks elsewhere may be well all the time. */
static leat_status check_last_failed(const engine *e, uint8_t *buffer, leat_error *error)
{
    const extent what = e->reads->ops->stats(e->reads).last_failed;
    const file *f = &e->file_set.files[what.file_idx];
    const uint64_t end = min_u64(what.offset + what.bytes, f->bytes), unit = max_u64(CHECK_BLOCK, f->offset_align);
    for (uint64_t at = round_down(what.offset, unit); at < end; at += unit)
        TRY(check_block(f, e->file_set.names[what.file_idx], at, buffer, error));
    return LEAT_OK;
}

leat_status engine_check_files(engine *e, leat_error *error)
{
    uint8_t space[2 * CHECK_ALIGN_MAX]; /* on the stack: what the plan knows nothing of is not allocated */
    uint8_t *buffer = (uint8_t *)round_up((uintptr_t)space, CHECK_ALIGN_MAX);
    const uint64_t elsewhere = e->file_checks++ * UINT64_C(0x9e3779b97f4a7c15);
    TRY(engine_check_unchanged(e, true, error));
    TRY(check_last_failed(e, buffer, error));
    for (uint32_t i = 0; i < e->file_set.count; i++) {
        const file *f = &e->file_set.files[i];
        if (f->bytes == 0) continue;
        TRY(check_block(f, e->file_set.names[i], f->bytes - 1, buffer, error));
        TRY(check_block(f, e->file_set.names[i], elsewhere % f->bytes, buffer, error));
    }
    return LEAT_OK;
}

leat_status engine_check_unchanged(engine *e, bool now, leat_error *error)
{
    const uint64_t now_ns = clock_now_ns();

    if (!now && e->files_checked_ns && now_ns - e->files_checked_ns < FILES_CHECK_NS) return LEAT_OK;
    for (uint32_t i = 0; i < e->file_set.count; i++)
        TRY(file_check_unchanged(&e->files[i], e->file_set.names[i], error));
    e->files_checked_ns = now_ns; /* a change is found again by each step */
    return LEAT_OK;
}

leat_status engine_check_cancel(const engine *e, leat_error *error)
{
    if (cancel_is_wanted(e->options.cancel)) return FAIL(error, CANCELLED, "the step was cancelled");
    return LEAT_OK;
}

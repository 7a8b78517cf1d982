/* cmd_check.c - reads every byte of a model and says whether it is as it should be. */
#include "cli.h"
#include "human.h"
#include "json_writer.h"
#include "model_list.h"
#include "report.h"
#include "signals.h"

#include "os/clock.h"

static void print_result(cli *c, const leat_model_info *info, uint64_t bytes, uint64_t elapsed_ns)
{
    char size[HUMAN_BYTES], time[HUMAN_BYTES];
    if (c->options.json) {
        json_writer w;
        json_writer_init(&w, &c->out);
        json_writer_begin_document(&w, "leat.check/1");
        json_writer_text(&w, "model", info->path);
        json_writer_flag(&w, "is_sound", true);
        json_writer_u64(&w, "checked_bytes", bytes);
        json_writer_u64(&w, "file_count", info->file_count);
        json_writer_u64(&w, "tensor_count", info->tensor_count);
        json_writer_seconds(&w, "elapsed_s", elapsed_ns);
        json_writer_end_document(&w);
        return;
    }
    output_print(&c->out, "sound: %s in %u file%s, %u tensors\n", human_bytes(bytes, size), info->file_count,
                 info->file_count == 1 ? "" : "s", info->tensor_count);
    report_note("[%s, %.2f GB/s]", human_time(elapsed_ns, time), rate_per_second(bytes, elapsed_ns) * 1e-9);
}

/* The tokenizer is not part of leat_model_check; a damaged one must not pass. */
static leat_status check_tokenizer(const leat_model_info *info, leat_error *error)
{
    if (!info->has_tokenizer) return LEAT_OK;
    leat_tokenizer *tokenizer = NULL;
    TRY(leat_tokenizer_open(info->path, &tokenizer, error));
    leat_tokenizer_close(&tokenizer);
    return LEAT_OK;
}

leat_status cmd_check(cli *c, leat_error *error)
{
    leat_model *model = NULL;
    uint64_t bytes = 0, begin_ns = clock_now_ns();
    TRY(model_open_only(c, &model, error));
    const leat_model_info *info = leat_model_get_info(model);
    leat_status status = check_tokenizer(info, error);
    if (status == LEAT_OK) status = leat_model_check(model, report_progress, NULL, &signals_cancel, &bytes, error);
    report_progress_end();
    if (status == LEAT_OK) print_result(c, info, bytes, clock_now_ns() - begin_ns);
    leat_model_close(&model);
    return status;
}

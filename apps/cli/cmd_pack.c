/* cmd_pack.c - writes a model anew so that every expert is one read. */
#include "cli.h"
#include "human.h"
#include "json_writer.h"
#include "model_list.h"
#include "report.h"
#include "signals.h"

#include "os/clock.h"

static void print_result(cli *c, const char *folder, const leat_pack_result *r, uint64_t elapsed_ns)
{
    char size[HUMAN_BYTES], time[HUMAN_BYTES];
    if (c->options.json) {
        json_writer w;
        json_writer_init(&w, &c->out);
        json_writer_begin_document(&w, "leat.pack/1");
        json_writer_text(&w, "folder", folder);
        json_writer_u64(&w, "bytes", r->bytes);
        json_writer_u64(&w, "kept_bytes", r->kept_bytes);
        json_writer_u64(&w, "padding_bytes", r->padding_bytes);
        json_writer_u64(&w, "record_count", r->record_count);
        json_writer_u64(&w, "file_count", r->file_count);
        json_writer_seconds(&w, "elapsed_s", elapsed_ns);
        json_writer_end_document(&w);
        return;
    }
    output_print(&c->out, "packed: %llu experts, %s in %u file%s, compared with the source\n",
                 (unsigned long long)r->record_count, human_bytes(r->bytes, size), r->file_count,
                 r->file_count == 1 ? "" : "s");
    report_note("[%s]", human_time(elapsed_ns, time));
}

static leat_status take_folder(cli *c, const char **out_folder, leat_error *error)
{
    const char *folder = cli_take_word(c);
    if (!folder) {
        leat_status status = FAIL(error, USAGE, "leat pack: which folder should the pack be written to?");
        status_hint(error, "usage: leat pack MODEL FOLDER");
        return status;
    }
    *out_folder = folder;
    return cli_refuse_rest(c, error);
}

leat_status cmd_pack(cli *c, leat_error *error)
{
    const char *path = NULL, *folder = NULL;
    leat_model *model = NULL;
    leat_pack_result result;
    const uint64_t begin_ns = clock_now_ns();
    TRY(model_argument(c, &path, error));
    TRY(take_folder(c, &folder, error));
    TRY(model_open(path, &model, error));
    leat_status status = leat_model_pack(model, folder, report_progress, NULL, &signals_cancel, &result, error);
    report_progress_end();
    if (status == LEAT_OK) print_result(c, folder, &result, clock_now_ns() - begin_ns);
    leat_model_close(&model);
    return status;
}

#include "exec/io_choice.h"

#include "base/log.h"

/* The first file of each drive, in order of the files; at most IO_DRIVES_MAX. */
static uint32_t list_drives(const checkpoint *c, uint32_t out_first_files[IO_DRIVES_MAX])
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < c->file_count && count < IO_DRIVES_MAX; i++) {
        bool is_new = true;
        for (uint32_t j = 0; j < count; j++) is_new &= c->files[out_first_files[j]].device != c->files[i].device;
        if (is_new) out_first_files[count++] = i;
    }
    return count;
}

static bool load_figures(const checkpoint *c, mem *ledger, const char *folder, uint32_t file_idx, drive_figures *out)
{
    char id[DRIVE_ID_BYTES];

    if (!folder) return false;
    drive_id(&c->files[file_idx], id);
    return drive_figures_load(ledger, folder, id, out);
}

/* ---- choosing ---- */

leat_status io_choice_make(const checkpoint *source, file_mode wanted, const char *folder, io_choice *out_choice,
                           leat_error *error)
{
    uint32_t first_files[IO_DRIVES_MAX];
    const uint32_t count = list_drives(source, first_files);
    mem *ledger = NULL;

    *out_choice = (io_choice){.wanted = wanted};
    if (!folder || wanted != FILE_DIRECT_IF_POSSIBLE) return LEAT_OK;
    out_choice->is_measured = count > 0;
    TRY(mem_open(0, &ledger, error));
    for (uint32_t i = 0; i < count; i++) {
        drive_figures figures = {0};
        const bool is_there = load_figures(source, ledger, folder, first_files[i], &figures);
        out_choice->is_measured &= is_there && drive_is_known(&figures);
        if (is_there && drive_prefers_buffered(&figures))
            out_choice->buffered_devices[out_choice->buffered_count++] = source->files[first_files[i]].device;
    }
    mem_close(&ledger);
    return LEAT_OK;
}

static bool is_to_be_buffered(const io_choice *choice, const file *f)
{
    for (uint32_t i = 0; f->is_direct && i < choice->buffered_count; i++)
        if (choice->buffered_devices[i] == f->device) return true;
    return false;
}

leat_status io_choice_reopen(const checkpoint *source, const io_choice *choice, file *out_files, leat_error *error)
{
    leat_status status = LEAT_OK;

    TRY(checkpoint_reopen(source, choice->wanted, out_files, error));
    for (uint32_t i = 0; i < source->file_count && status == LEAT_OK; i++)
        if (is_to_be_buffered(choice, &out_files[i]))
            status = file_leave_direct(&out_files[i], source->file_names[i], error);
    for (uint32_t i = 0; i < source->file_count && status != LEAT_OK; i++) file_close(&out_files[i]);
    return status;
}

/* ---- learning ---- */

/* The files of one drive out of all. The probe makes them buffered, and nobody reads them after it. */
static leat_status probe_drive(const checkpoint *c, mem *ledger, storage_kind kind, const file *all, uint64_t device,
                               drive_figures *out_figures, leat_error *error)
{
    file *files = NULL;
    const char **names = NULL;
    uint32_t count = 0;
    leat_status status = LEAT_OK;

    TRY_OR(done, mem_alloc(ledger, MEM_META, c->file_count, sizeof *files, 0, "file table", (void **)&files, error));
    TRY_OR(done, mem_alloc(ledger, MEM_META, c->file_count, sizeof *names, 0, "file names", (void **)&names, error));
    for (uint32_t i = 0; i < c->file_count; i++) {
        if (all[i].device != device) continue;
        files[count] = all[i];
        names[count++] = c->file_names[i];
    }
    TRY_OR(done, drive_probe(ledger, files, names, count, kind, out_figures, error));
done:
    mem_free(ledger, names);
    mem_free(ledger, files);
    return status;
}

static void keep_figures(const file *f, const char *folder, const drive_figures *figures)
{
    char id[DRIVE_ID_BYTES];
    leat_error error;

    if (!folder || figures->buffered.record + figures->direct.record <= 0) return;
    drive_id(f, id);
    if (drive_figures_save(folder, id, figures, &error) != LEAT_OK)
        log_write(LOG_DEBUG, "the drive's figures are not kept: %s", error.text);
}

static leat_status measure_drives(const checkpoint *c, mem *ledger, storage_kind kind, const char *folder, bool again,
                                  const file *files, drive_figures *out_first, leat_error *error)
{
    uint32_t first_files[IO_DRIVES_MAX];
    const uint32_t count = list_drives(c, first_files);

    for (uint32_t i = 0; i < count; i++) {
        const file *f = &files[first_files[i]];
        drive_figures figures = {0};
        if (again || !load_figures(c, ledger, folder, first_files[i], &figures)) {
            TRY(probe_drive(c, ledger, kind, files, f->device, &figures, error));
            keep_figures(f, folder, &figures);
        }
        if (i == 0) *out_first = figures;
    }
    return LEAT_OK;
}

leat_status io_choice_measure(const checkpoint *source, mem *ledger, storage_kind kind, const char *folder, bool again,
                              drive_figures *out_figures, leat_error *error)
{
    file *files = NULL;
    drive_figures first = {0};

    TRY(mem_alloc(ledger, MEM_META, source->file_count, sizeof *files, 0, "file table", (void **)&files, error));
    leat_status status = checkpoint_reopen(source, FILE_DIRECT_IF_POSSIBLE, files, error);
    if (status == LEAT_OK) {
        status = measure_drives(source, ledger, kind, folder, again, files, &first, error);
        for (uint32_t i = 0; i < source->file_count; i++) file_close(&files[i]);
    }
    mem_free(ledger, files);
    if (status == LEAT_OK && out_figures) *out_figures = first;
    return status;
}

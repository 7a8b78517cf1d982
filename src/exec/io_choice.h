/*
 * io_choice.h - which of a checkpoint's files are read past the page cache and which through it, by what was measured
 * of the drives they lie on.
 *
 * Asked for automatic reading (FILE_DIRECT_IF_POSSIBLE), a file is read directly where its file system can, unless the
 * kept figures of its drive (io/drive_probe.h) say that buffered reads are clearly faster. Either way nothing stays in
 * the page cache: what cannot be direct drops what it read behind itself. Without figures it is direct where possible,
 * so the choice depends on the folder's content alone.
 *
 * A choice is made once for a plan and the engine that follows it: alignment costs memory, and the folder may change in
 * between. It holds no memory. Threads: any.
 */
#ifndef EXEC_IO_CHOICE_H
#define EXEC_IO_CHOICE_H

#include "exec/checkpoint.h"
#include "io/drive_probe.h"

enum { IO_DRIVES_MAX = 8 }; /* files on further ones are read directly where possible */

typedef struct io_choice {
    file_mode wanted;
    bool is_measured; /* all drives were, both ways */
    uint32_t buffered_count;
    uint64_t buffered_devices[IO_DRIVES_MAX]; /* (buffered_count) where FILE_DIRECT_IF_POSSIBLE means buffered */
} io_choice;

/* `folder`: of the kept figures; NULL: nothing is known. */
MUST_CHECK leat_status io_choice_make(const checkpoint *source, file_mode wanted, const char *folder,
                                      io_choice *out_choice, leat_error *error);
/* As checkpoint_reopen, each file in its way. */
MUST_CHECK leat_status io_choice_reopen(const checkpoint *source, const io_choice *choice, file *out_files,
                                        leat_error *error);

/* Probes the drives of the files that the folder says nothing of (all of them when `again`, or without a folder) and
 * keeps what was found. *out_figures (may be NULL): of the first file's drive. Takes 56 MiB of the ledger meanwhile. */
MUST_CHECK leat_status io_choice_measure(const checkpoint *source, mem *ledger, storage_kind kind, const char *folder,
                                         bool again, drive_figures *out_figures, leat_error *error);

#endif

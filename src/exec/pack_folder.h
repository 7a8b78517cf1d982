/*
 * pack_folder.h - the folder in which a pack comes into being: FOLDER.unfinished with its manifest, locked against
 * other processes, renamed to FOLDER at the end. One that an earlier try has left is gone on with.
 *
 * Lifetimes: owns its manifest and descriptor. Threads: one at a time.
 */
#ifndef EXEC_PACK_FOLDER_H
#define EXEC_PACK_FOLDER_H

#include "exec/pack_manifest.h"

enum { PACK_PATH_BYTES = 4096 };

typedef struct pack_folder {
    mem *ledger;
    pack_manifest manifest;     /* of what is finished; `source` is set before open */
    char path[PACK_PATH_BYTES]; /* FOLDER.unfinished */
    int fd;
} pack_folder;

void pack_folder_init(pack_folder *f, mem *ledger);
/* LEAT_USAGE: FOLDER exists, or what is unfinished there is another's. */
MUST_CHECK leat_status pack_folder_open(pack_folder *f, const char *folder, leat_error *error);
/* Also half-open. Leaves the folder as it is. */
void pack_folder_close(pack_folder *f);

/* The path of one of its files. */
MUST_CHECK leat_status pack_folder_name(const pack_folder *f, const char *name, char out[PACK_PATH_BYTES],
                                        leat_error *error);
/* Raises what a failed write is, and says how to go on. */
leat_status pack_folder_fail(const pack_folder *f, const char *name, int os_errno, leat_error *error);
/* Whether an earlier try has finished the file. */
bool pack_folder_has(const pack_folder *f, const char *name, uint64_t bytes);
/* Lists the file anew, without spans. Valid until the next call. */
MUST_CHECK leat_status pack_folder_list(pack_folder *f, const char *name, pack_file **out_file, leat_error *error);
/* Writes the manifest. */
MUST_CHECK leat_status pack_folder_save(const pack_folder *f, leat_error *error);
/* Gives the folder its name. It must not exist. */
MUST_CHECK leat_status pack_folder_publish(const pack_folder *f, leat_error *error);

#endif

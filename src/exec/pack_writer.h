/*
 * pack_writer.h - writes the weight files of a pack: NAME.part, renamed when it is whole and on the disk, then listed
 * in the manifest with the checksums of what was read. Files that an earlier try has finished are kept.
 *
 * Nothing is owned here. Threads: one; the source is only read.
 */
#ifndef EXEC_PACK_WRITER_H
#define EXEC_PACK_WRITER_H

#include "exec/pack.h"
#include "exec/pack_folder.h"
#include "exec/pack_layout.h"

typedef struct pack_writer {
    const pack_request *request;
    const pack_layout *layout;
    pack_folder *folder;
    uint8_t *block;      /* (PACK_BLOCK_BYTES) */
    uint64_t done_bytes; /* written or kept */
    uint64_t kept_bytes; /* of files that were finished already */
} pack_writer;

/* LEAT_IO: also when the file system has no room for what is missing. */
MUST_CHECK leat_status pack_writer_write(pack_writer *p, leat_error *error);

#endif

/*
 * drive_probe.h - what the drive below a set of files gives to random reads, at the sizes and depths that the engine
 * uses, past the page cache and through it; and the small file that remembers it, one for each drive.
 *
 * A probe takes half a second and about 56 MiB; nobody waits for one before a model runs. What was measured is kept in
 * a folder of the caller's as drive-ID.json and is worth something for 30 days. A file that is missing, damaged, old or
 * of another drive is as good as none: the caller measures, or does without.
 *
 * Threads: any; the probe uses its own storage.
 */
#ifndef IO_DRIVE_PROBE_H
#define IO_DRIVE_PROBE_H

#include "io/storage.h"

enum {
    DRIVE_ID_BYTES = 96,
    DRIVE_RECORD_BYTES = 3 << 20, /* an expert of a large model in one piece */
    DRIVE_RECORD_DEPTH = 16,
    DRIVE_PART_BYTES = 256 << 10, /* a part of one */
    DRIVE_PART_DEPTH = 32,
};

typedef struct drive_rates {
    double record, part; /* bytes a second at the two sizes; 0: not known */
} drive_rates;

typedef struct drive_figures {
    drive_rates direct;   /* 0 also where the file system refuses O_DIRECT */
    drive_rates buffered; /* of bytes that the page cache did not hold before, and does not hold afterwards */
    int64_t measured_s;   /* when, seconds since 1970 */
} drive_figures;

/* Buffered reads are clearly faster when they are at both sizes. They cost a copy, and what they leave in the page
 * cache has to be dropped, so a little is not enough. */
#define DRIVE_CLEARLY_FASTER 1.25
bool drive_prefers_buffered(const drive_figures *figures);
/* Both ways were measured. */
bool drive_is_known(const drive_figures *figures);

/* A name for the drive that holds `f`, which stays the same when the system starts again: the block device's and its
 * size, or what is known of a file system without one. Fit for a file name. */
void drive_id(const file *f, char out[DRIVE_ID_BYTES]);

/* Reads at random places of the files, which lie on one drive, the larger ones more often. They are opened with
 * FILE_DIRECT_IF_POSSIBLE; the probe makes them buffered for its second half (file_leave_direct). The rates are 0 where
 * the files are too small to tell; the buffered ones beside direct ones also where the page cache would not let go. */
MUST_CHECK leat_status drive_probe(mem *ledger, file *files, const char *const *names, uint32_t count,
                                   storage_kind kind, drive_figures *out_figures, leat_error *error);

/* False where there is nothing to go by; a damaged file is said to the log. */
bool drive_figures_load(mem *ledger, const char *folder, const char *id, drive_figures *out_figures);
/* Replaces the file as a whole. The folder must exist. */
MUST_CHECK leat_status drive_figures_save(const char *folder, const char *id, const drive_figures *figures,
                                          leat_error *error);

#endif

/*
 * trunk_reader.h - reads the large parts of the trunk into their places beside the steps, in the order of their use.
 *
 * The parts are a list, grouped into units (what is used before the layers, each layer, what is used after them). One
 * thread asks for one piece after the other, TRUNK_READS_MAX of them at a time; a step waits for the units that it
 * needs. A unit that is ready stays so and is never written again.
 *
 *                    all reads of the list are back
 *     READING ------------------------------------------> over: the thread has ended
 *       |   ^
 *       |   | another wait, after one was told of the error
 *       v   |
 *      STOPPED: a read failed. The next wait for a unit that is not ready is told; the one after it reads again from
 * the first unit that is not ready.
 *
 * Threads: wait from one thread at a time (the step's), which also gets the calls of progress; the rest from any.
 */
#ifndef EXEC_TRUNK_READER_H
#define EXEC_TRUNK_READER_H

#include "io/storage.h"

enum { TRUNK_PIECE_BYTES = 4 << 20, TRUNK_READS_MAX = 16 };

/* Tags of reads; the expert cache uses small ones. */
#define TRUNK_TAG_BEGIN (UINT64_C(1) << 40)
#define TRUNK_TAG_END   (TRUNK_TAG_BEGIN + TRUNK_READS_MAX)

typedef void trunk_progress(void *user, const char *phase, uint64_t done, uint64_t total);

typedef struct trunk_part {
    extent what;
    uint8_t *place; /* of its window */
    uint32_t unit;  /* never less than the unit of the part before */
} trunk_part;

typedef struct trunk_reader trunk_reader;

typedef struct trunk_reader_config {
    mem *ledger;
    const file_set *files;
    storage *reads;
    const trunk_part *parts; /* (part_count) */
    uint32_t part_count, unit_count;
    uint64_t done_bytes, total_bytes; /* for progress: what was read of the trunk before the parts; all of it */
    const volatile int *cancel;       /* polled by wait; may be NULL */
    trunk_progress *progress;         /* may be NULL */
    void *progress_user;
} trunk_reader_config;

/* The largest alignment of any of the files. */
uint32_t trunk_largest_align(const file_set *files);

/* What open takes from MEM_TRUNK. */
uint64_t trunk_reader_bytes(void);
/* Starts to read. Everything is borrowed until close. */
MUST_CHECK leat_status trunk_reader_open(const trunk_reader_config *config, trunk_reader **out_reader,
                                         leat_error *error);
/* Waits for the reads under way, asks for no more. NULL is accepted. */
void trunk_reader_close(trunk_reader **reader);

bool trunk_reader_is_ready(const trunk_reader *reader, uint32_t unit);
/* Until all units up to this one are ready. LEAT_IO: a read failed; another try reads again. LEAT_CANCELLED: the reads
 * go on. */
MUST_CHECK leat_status trunk_reader_wait(trunk_reader *reader, uint32_t unit, leat_error *error);
/* The queue of the storage is full of reads that others have not taken back, and none of them is the reader's: who
 * waits takes back some of his. */
typedef void trunk_make_room(void *user);
void trunk_reader_set_make_room(trunk_reader *reader, trunk_make_room *fn, void *user);
/* How long waits took. */
uint64_t trunk_reader_wait_ns(const trunk_reader *reader);

#endif

/*
 * record_layout.h - where the parts of a record lie in a slot, and which reads bring them there.
 *
 * Parts that follow each other in a file are read as one (a packed checkpoint: the whole record), and empty parts not
 * at all. The runs are derived from the record wherever they are needed: it costs less than to keep them.
 */
#ifndef CACHE_RECORD_LAYOUT_H
#define CACHE_RECORD_LAYOUT_H

#include "cache/expert_cache.h"

enum { RECORD_PART_ALIGN = 64 }; /* a cache line, also where the disk does not care */

/* Parts that follow each other in a file are one read: its window, and where in the slot it begins. */
typedef struct part_run {
    extent what;
    uint64_t offset;
    uint32_t first_part;
} part_run;

typedef struct record_layout {
    part_run runs[EXPERT_PARTS_MAX];
    uint64_t payload_offsets[EXPERT_PARTS_MAX]; /* of each part in the slot */
    uint64_t bytes;                             /* of the windows; UINT64_MAX when absurd */
    uint32_t run_count;
} record_layout;

/* The runs of a record, in the order of its parts; their places are left open. */
void record_find_runs(const expert_record *record, record_layout *out);
/* Where everything lies in the slot. */
void record_lay_out(const expert_record *record, const file_set *files, record_layout *out);

#endif

/*
 * route_trace_writer.h - --route-trace: which experts every step asked for, one JSON object a line
 * (docs/expert-cache.md has the format).
 *
 * A file that cannot be written is told once, as a warning; the answer goes on.
 *
 * Threads: the main thread.
 */
#ifndef CLI_ROUTE_TRACE_WRITER_H
#define CLI_ROUTE_TRACE_WRITER_H

#include <leat/leat.h>

#include <stdbool.h>
#include <stdio.h>

/* Lists of numbers, one for each layer of a line, as text. */
typedef struct route_trace_list {
    FILE *stream; /* in memory; NULL: none was wanted, or there is no memory for it */
    char *text;
    size_t bytes;
    bool has_numbers;
} route_trace_list;

typedef struct route_trace_writer {
    const char *path; /* borrowed */
    FILE *stream;     /* NULL before begin, after end, and after a failure */
    bool has_line;    /* a step's line has been begun */
    uint32_t layer;   /* the last one in it */
    uint32_t slots;   /* the cache's new size, to be written behind the running step's line; 0: none */
    route_trace_list expert_rows, ahead; /* of the line, written at its end */
} route_trace_writer;

/* Replaces the file and writes its first line: the settings of the expert cache. A zeroed writer. */
void route_trace_begin(route_trace_writer *w, const char *path, const leat_model_info *info, const leat_engine *engine);
bool route_trace_is_open(const route_trace_writer *w);
/* A leat_acquire_fn; `user` is the writer. */
void route_trace_take(void *user, const leat_acquire *acquire);
/* A leat_resize_fn. */
void route_trace_take_resize(void *user, uint32_t slot_count);
/* Ends the last line and closes. */
void route_trace_end(route_trace_writer *w);

#endif

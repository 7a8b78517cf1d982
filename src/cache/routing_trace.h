/*
 * routing_trace.h - recorded routing, read back: which experts every step asked of every layer (docs/expert-cache.md
 * has the format).
 *
 * Two kinds of files: those that --route-trace writes, whose first line has the settings of the cache that was at work;
 * and bare ones, {"tok": position, "layers": [[ids], ..]} a line. A last line that was cut off is left out.
 */
#ifndef CACHE_ROUTING_TRACE_H
#define CACHE_ROUTING_TRACE_H

#include "cache/expert_cache.h"

enum { ROUTE_TRACE_VERSION = 2, ROUTE_LAYERS_MAX = 4096, ROUTE_EXPERTS_MAX = 65536 };

/* What one step asked of one layer: distinct ids, in the order in which they were acquired. */
typedef struct route_list {
    uint64_t begin; /* ids[begin .. begin + count) */
    uint32_t layer, count;
    uint32_t row_count;   /* of the step */
    uint32_t ahead_count; /* ahead[ahead_begin .. ) was read ahead for this layer */
    uint64_t ahead_begin;
} route_list;

typedef struct route_trace {
    mem *ledger;
    uint64_t step_count, token_count; /* lines; rows computed by them */
    uint32_t layer_count, expert_count;
    uint32_t used_count; /* experts that one token uses in a layer */
    bool has_settings;   /* of the engine that wrote it: */
    uint32_t slot_count, set_max;
    cache_policy policy;
    uint8_t *layer_classes;  /* (layer_count) whose slots each used; NULL: all the same (expert_classes.h) */
    uint32_t resize_count;   /* lines that say that the cache changed its size */
    uint32_t *ids, *id_rows; /* (id_count) experts, and how many rows of the step use each */
    uint32_t *ahead;         /* (ahead_count) */
    route_list *lists;       /* (list_count) in the order of the acquires */
    uint64_t list_count, id_count, ahead_count;
} route_trace;

/* LEAT_IO: cannot be read; LEAT_MODEL: not such a file, with the line. `name` is borrowed for the call. A zeroed trace;
 * close also after a failure. */
MUST_CHECK leat_status route_trace_open(mem *ledger, const char *path, route_trace *out_trace, leat_error *error);
/* The same from text in memory, terminated. */
MUST_CHECK leat_status route_trace_parse(mem *ledger, const char *name, const char *text, route_trace *out_trace,
                                         leat_error *error);
void route_trace_close(route_trace *t);

#endif

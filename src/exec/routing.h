/*
 * routing.h - which experts the rows of a step use, and which the next layer will probably use.
 */
#ifndef EXEC_ROUTING_H
#define EXEC_ROUTING_H

#include "exec/step.h"

/* Fills scratch.chosen and scratch.chosen_weights for all rows (docs/models.md). `stream`: the residual stream, which
 * some routers read; x: the block's input. */
void route_rows(const step *s, const moe_block *moe, const float *stream, const float *x);

/* The next layer with experts after `moe`; NULL where there is none or its router is not in memory. */
const branch *routing_next(const step *s, const moe_block *moe);
/* What that layer's router says of the residual stream as it is now, which lacks what the blocks until then add: its
 * choice for every row, by falling number of rows (one row: by falling logit), the lower id first among equals. Writes
 * at most AHEAD_MAX ids and returns how many. Overwrites scratch.router_in and router_logits. */
uint32_t routing_predict(const step *s, const branch *next, uint32_t *out_ids);

#endif

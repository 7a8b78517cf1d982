/*
 * planning.h - from what a program asks for (leat_options) to a plan, and the plan as the program sees it. Engines and
 * forecasts begin with the same steps as leat_plan_make: options, lease, plan.
 *
 * Nothing is owned here. Threads: any.
 */
#ifndef API_PLANNING_H
#define API_PLANNING_H

#include "api/handles.h"
#include "exec/engine.h"
#include "os/memory_limit.h"

/* Checked, with what this machine gives: *limit is what was read of it. LEAT_USAGE, LEAT_BUDGET. */
MUST_CHECK leat_status planning_options(const leat_model *m, const leat_options *o, memory_limit *limit,
                                        engine_options *out, leat_error *error);
/* Decides also inner->cache_policy. *out_plan holds sizes after LEAT_BUDGET, too. */
MUST_CHECK leat_status planning_solve(const leat_model *m, const leat_options *o, lease *l, engine_options *inner,
                                      plan *out_plan, leat_error *error);
leat_plan planning_publish(const leat_model *m, const plan *p, const engine_options *o, const memory_limit *limit,
                           uint64_t free_bytes);

#endif

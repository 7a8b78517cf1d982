/*
 * shared_plan.h - a plan beside other processes: an automatic budget leaves them what they have leased (os/lease.h).
 *
 * Where that is less than an equal part for each, and less than the model could use, the others are asked: the own
 * lease names the equal part, they see it when they next look (pressure_watch.h) and give what they hold beyond theirs;
 * for two seconds it is waited for. What is there then is the budget. From the look at the others to the lease of what
 * was found one process plans at a time (lease_lock), so that those who start together do not all take the same.
 */
#ifndef EXEC_SHARED_PLAN_H
#define EXEC_SHARED_PLAN_H

#include "exec/engine.h"

/* Leases nothing yet. Where no folder can be used *out_lease is LEASE_NONE, and the log (debug) says why. */
void shared_plan_open_lease(const checkpoint *source, bool only_looks, lease *out_lease);
/* engine_plan, after which options->spare_bytes is what was left for it and the lease names the plan's budget. Errors
 * as engine_plan. */
MUST_CHECK leat_status shared_plan_make(const checkpoint *source, const model_desc *model, engine_options *options,
                                        lease *l, plan *out_plan, leat_error *error);
/* What a budget can be now without the system having to page: what machine and control groups have free, page cache
 * taken for free, less what others have leased and not touched; with what this process holds already. UINT64_MAX where
 * the system does not say. */
uint64_t shared_plan_free_bytes(lease *l);

#endif

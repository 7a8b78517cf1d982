/*
 * profile.h - what runs have learned about a model, where plans, engines and forecasts ask for it or add to it. Each
 * call opens the profile in a ledger of its own and closes it again.
 *
 * Threads: any; the file is replaced as a whole.
 */
#ifndef API_PROFILE_H
#define API_PROFILE_H

#include "api/handles.h"
#include "exec/model_profile.h"

/* Where and how an engine of this model computes. */
profile_place profile_place_of(const leat_model *m, isa level, uint32_t thread_count);
/* The policy that did best with about so many slots; *policy stays where the folder has no profile. */
MUST_CHECK leat_status profile_choose_policy(const leat_model *m, const char *folder, uint32_t slot_count,
                                             cache_policy *policy, leat_error *error);
/* Begins to read the experts that were used most, where the engine's options ask for it. What cannot be warmed is no
 * reason to fail. */
void profile_warm_start(leat_engine *e, const char *folder);
/* Adds a run. What cannot be kept is no reason to fail: the log says it. */
void profile_keep(const leat_model *m, const char *folder, const run_tally *t, const profile_place *place);

#endif

/*
 * job_run.h - one job from its first prompt to its last choice, on the engine's thread.
 *
 * Each choice is a continuation (cli/continuation.h), the same that `leat run` makes. Around its parts: the bias on a
 * copy of the logits, logprobs of the logits as they are, what the sink is told, clocks and metrics.
 */
#ifndef SERVER_JOB_RUN_H
#define SERVER_JOB_RUN_H

#include "server/engine_seat.h"

/* Everything but on_end. error is filled when the result says JOB_FAILED. */
void job_run(engine_seat *seat, job *j, job_result *out_result, leat_error *error);

#endif

/*
 * job_parts.h - what a job is made of, for those that queue and run it. Private to the worker's files.
 *
 * Who may touch what: settings, prompts and sink are constant after job_open. `state`, `next`, `submitted_ns`, `worker`
 * belong to the worker's mutex; `cause` is set by anybody, the first one stays.
 */
#ifndef SERVER_JOB_PARTS_H
#define SERVER_JOB_PARTS_H

#include "server/job.h"

#include <stdatomic.h>

typedef enum job_state { JOB_NEW, JOB_QUEUED, JOB_RUNNING, JOB_ENDED } job_state;
typedef enum job_cause { JOB_NO_CAUSE, JOB_CAUSE_CANCEL, JOB_CAUSE_DEADLINE, JOB_CAUSE_FAILURE } job_cause;

struct job {
    mem *ledger;
    _Atomic uint32_t references;
    _Atomic int cause; /* job_cause: why it is to end early */
    _Atomic uint64_t number;
    job_settings settings; /* its pointers are the job's own */
    leat_tokens *prompts;  /* (prompt_count) */
    uint32_t prompt_count;
    uint64_t bytes;
    job_sink sink;
    void *user;
    job_state state;
    struct engine_worker *_Atomic worker; /* set when admitted */
    job *next;                            /* behind it in the queue */
    uint64_t submitted_ns;
    bool has_tool_calls; /* the engine's thread */
    job_result figures;  /* the engine's thread */
};

/* The first cause stays. */
void job_set_cause(job *j, job_cause cause);
static inline job_cause job_cause_of(const job *j) { return (job_cause)atomic_load(&j->cause); }
/* Ends a job that never began. */
void job_end_unbegun(job *j, uint64_t now_ns);

#endif

/*
 * heard.h - what a job's owner hears, written down: text and tokens of each choice, logprobs, the result. A gate lets a
 * test hold the engine's thread inside of a callback, so that what happens meanwhile does not depend on speed.
 */
#ifndef UNIT_SERVER_HEARD_H
#define UNIT_SERVER_HEARD_H

#include "server/engine_worker.h"
#include "support/unit.h"

#include <pthread.h>

enum { HEARD_CHOICES = 6, HEARD_TOKENS = 512, HEARD_TEXT = 16384 };

typedef enum heard_gate { GATE_OPEN, GATE_AT_BEGIN, GATE_AT_PREFILL, GATE_AT_TOKEN } heard_gate;

typedef struct heard_choice {
    char text[HEARD_TEXT]; /* the rest included */
    size_t text_bytes;
    uint32_t ids[HEARD_TOKENS], token_count;
    float logprobs[HEARD_TOKENS];
    uint32_t top_ids[HEARD_TOKENS][JOB_TOP_LOGPROBS_MAX], top_count;
    float top_logprobs[HEARD_TOKENS][JOB_TOP_LOGPROBS_MAX];
    char pieces[HEARD_TEXT]; /* one behind the other */
    size_t pieces_bytes;
    uint32_t end_count;
    job_end end;
} heard_choice;

typedef struct heard {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    heard_gate gate;
    uint32_t gate_token; /* GATE_AT_TOKEN: behind so many */
    bool is_held;        /* the engine's thread waits at the gate */
    bool is_ended;
    uint32_t end_count;
    uint32_t stop_after; /* on_token says no with this token; 0: never */
    bool stop_at_prefill;
    uint32_t prefill_count, prefill_last, prefill_total;
    heard_choice choices[HEARD_CHOICES];
    uint32_t echo_ids[HEARD_TOKENS], echo_count;
    float echo_logprobs[HEARD_TOKENS];
    bool echo_has[HEARD_TOKENS];
    char echo_text[HEARD_TEXT];
    size_t echo_bytes;
    job_result result;
    leat_error error;
    uint64_t order; /* from a counter of all: when it ended */
} heard;

extern const job_sink heard_sink;

heard *heard_new(void);
void heard_free(heard *h);
/* Waits for on_end. */
void heard_wait(heard *h);
/* Waits until the engine stands at the gate; opens it. */
void heard_wait_held(heard *h);
void heard_let_go(heard *h);

/* ---- a worker on a model ---- */

/* Opened and READY. */
engine_worker *open_worker(mem *ledger, const char *model, const leat_options *options, uint32_t queue_max, metrics *m);
/* A job of one prompt, submitted; must be admitted. */
job *submit_ids(engine_worker *w, mem *ledger, const job_settings *settings, const uint32_t *ids, size_t count,
                heard *h);
/* The same, waited for and released. */
void run_ids(engine_worker *w, mem *ledger, const job_settings *settings, const uint32_t *ids, size_t count, heard *h);
/* malloc'ed, as job_open wants them. */
leat_tokens copy_ids(const uint32_t *ids, size_t count);
slot_snapshot look(engine_worker *w);

#endif

/*
 * job.h - one request for the engine: prompts in, tokens out.
 *
 * A job is filled once (job_open), submitted (engine_worker.h), and then only run, watched and cancelled. Its owner
 * hears of it through a job_sink. Counted references: the opener has one, the worker keeps its own from submission
 * until on_end has returned.
 *
 * Choices: prompt p's i-th choice has the number p * n + i. They are made one after the other; all choices of a prompt
 * share the computed prompt, and choice i draws with seed + i.
 *
 * Threads: job_keep, job_release, job_cancel and job_position from any thread. The sink is called on the engine's
 * thread, never with a lock held; on_end of a job that never began may also come on the thread that cancelled it, or on
 * the worker's clock thread when its deadline passed in the queue.
 */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include "base/mem.h"

#include <leat/leat.h>

typedef struct job job;
struct engine_worker;

typedef struct job_bias {
    uint32_t id; /* < vocab_size */
    float bias;  /* added to the logit before the sampler sees it */
} job_bias;

enum { JOB_TOP_LOGPROBS_MAX = 20 };
#define JOB_TOKENS_UNLIMITED   UINT32_MAX
#define JOB_IMPOSSIBLE_LOGPROB (-9999.0f) /* JSON has no infinity */

typedef struct job_settings {
    uint32_t max_tokens;           /* generated tokens of a choice; JOB_TOKENS_UNLIMITED: as many as fit */
    leat_sampler_options sampling; /* seed: choice 0's */
    bool has_seed;                 /* otherwise one is drawn when the job begins */
    uint32_t n;                    /* choices per prompt; at least 1 */
    char *const *stops;            /* (stop_count) the text ends before the first of them; "" is ignored */
    uint32_t stop_count;
    const job_bias *biases; /* (bias_count) */
    uint32_t bias_count;
    bool logprobs;         /* tokens come with their logprob, and with the best top_logprobs ones */
    uint32_t top_logprobs; /* at most JOB_TOP_LOGPROBS_MAX */
    bool cache_prompt;     /* what the session still holds of the prompt is not computed again; the text is the same */
    bool ignore_eos;
    bool hides_control;   /* control tokens are left out of the text instead of being spelled out */
    bool tells_end;       /* on_token also hears of the end token, which has no text */
    bool echo_logprobs;   /* every prompt token is told with its logprob (on_prompt_token) */
    uint64_t deadline_ns; /* of clock_now_ns(); 0: none */
} job_settings;
/* One choice, as many tokens as fit, prompt cached; the library's default sampling. */
job_settings job_settings_default(void);

/* Valid during the call. */
typedef struct job_token {
    uint32_t id;
    const char *text; /* what may be shown now: whole characters, stop strings held back; may be empty */
    size_t text_bytes;
    uint64_t offset;   /* characters of the choice's text before it, those included that are held back */
    const char *piece; /* the token's own bytes, perhaps a part of a character; a control token's spelling */
    size_t piece_bytes;
    bool has_logprob; /* logprobs were asked for; never for a prompt's first token */
    float logprob;    /* natural logarithm of the softmax of the model's logits, before any bias or temperature */
    const uint32_t *top_ids; /* (top_count) the most probable first, equal ones by id */
    const float *top_logprobs;
    uint32_t top_count;
} job_token;

typedef enum job_end {
    JOB_STOP,      /* the model's end token, or a stop string */
    JOB_LENGTH,    /* max_tokens, or the end of the context */
    JOB_CANCELLED, /* job_cancel, or the sink said so */
    JOB_TIMEOUT,   /* deadline_ns */
    JOB_FAILED     /* the engine, or the owner (job_note_failure) */
} job_end;
/* "stop", "length", "cancelled", "timeout", "error" */
const char *job_end_label(job_end end);

typedef struct job_result {
    job_end end;              /* of the last choice that was begun */
    leat_status status;       /* LEAT_OK, or why it failed */
    uint64_t seed;            /* in use by choice 0 */
    uint32_t prompt_count;    /* tokens of all prompts */
    uint32_t cached_count;    /* of those: found in the session */
    uint32_t generated_count; /* of all choices, end tokens included */
    uint64_t queue_ns;        /* from submission to beginning */
    uint64_t prefill_ns;      /* of all prompts */
    uint64_t first_token_ns;  /* from submission to the first token; 0: there was none */
    uint64_t decode_ns;       /* of the steps after prompts */
    uint64_t total_ns;        /* from submission to the end */
    uint64_t expert_hits, expert_misses;
    uint64_t read_bytes, read_ns; /* read_ns: time with at least one read under way */
    uint64_t wait_ns;             /* the steps waited for the disk */
} job_result;

/* What the owner hears. They only format and append to buffers: the engine waits for them. Those that return bool stop
 * the whole job with false (JOB_CANCELLED, or JOB_FAILED after job_note_failure). Only on_end must be given. */
typedef struct job_sink {
    /* The job has left the queue. */
    bool (*on_begin)(void *user);
    /* After each layer of a prompt's chunks: tokens of the current prompt, those found in the session included. */
    bool (*on_prefill)(void *user, uint32_t done, uint32_t total);
    /* With echo_logprobs: the tokens of prompt `prompt_idx` in order, before its first choice. `text`: what the token
     * adds to the prompt's text. */
    bool (*on_prompt_token)(void *user, uint32_t prompt_idx, const job_token *token);
    /* Every generated token; an end token, which is not part of the text, only with tells_end. */
    bool (*on_token)(void *user, uint32_t choice, const job_token *token);
    /* rest: text that was held back and is part of the choice after all. Not for a choice that failed. */
    bool (*on_choice_end)(void *user, uint32_t choice, job_end end, const char *rest, size_t rest_bytes);
    /* Last, exactly once for an admitted job. error: why the engine failed, else NULL. */
    void (*on_end)(void *user, const job_result *result, const leat_error *error);
} job_sink;

/* Copies settings and sink; takes the prompts over (they are zeroed on success). `user` must live until on_end has
 * returned, or for ever for a job that is not admitted. prompt_count at least 1, each prompt at least one token.
 * LEAT_USAGE: settings out of range, as leat_sampler_open. */
MUST_CHECK leat_status job_open(mem *ledger, const job_settings *settings, leat_tokens *prompts, uint32_t prompt_count,
                                const job_sink *sink, void *user, job **out_job, leat_error *error);
job *job_keep(job *j);
void job_release(job **j);
/* In the queue: it leaves at once, on_end comes before this returns. While it runs: it ends within a layer. Before it
 * is submitted: job_submit admits it and ends it, on_end comes before that returns. Else, also again: nothing. */
void job_cancel(job *j);
/* Called in on_choice_end: what ended the choice is a tool call, and is counted so. */
void job_note_tool_calls(job *j);
/* What is known so far, in a function of the sink: the prompts that were read, the tokens that were made. */
const job_result *job_figures(const job *j);
/* Called when the owner itself cannot go on, before a function of the sink says false: the job then ends with
 * JOB_FAILED instead of JOB_CANCELLED, and is counted so. From any thread. */
void job_note_failure(job *j);
/* 1: next in the queue; 0: runs, has ended, or was never admitted. */
uint32_t job_position(const job *j);
/* Increases from job to job of a worker; 0 before it is admitted. */
uint64_t job_number(const job *j);
/* What it counts in a queue's bytes. */
uint64_t job_bytes(const job *j);

#endif

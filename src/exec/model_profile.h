/*
 * model_profile.h - what runs have learned about a model, kept between them as profile-FINGERPRINT.json in a folder of
 * the caller's: arithmetic and disk per token, how often each expert is used, a sample of the routing, and the cache
 * policy that is best on it.
 *
 * Nothing depends on a profile but speed and forecasts. A file that is missing, damaged or of another model is as good
 * as none, which the log is told. What was learned with other threads, another instruction set or on another drive
 * gives way to what the last run learned; routing stays, it belongs to the model.
 *
 * The file tells which experts the last tokens used, which says a little about the text: it is readable by its owner
 * alone, and holds no token.
 *
 * Lifetimes: a profile owns its memory (MEM_META of its ledger). Threads: one at a time.
 */
#ifndef EXEC_MODEL_PROFILE_H
#define EXEC_MODEL_PROFILE_H

#include "cache/expert_replay.h"
#include "exec/fingerprint.h"
#include "exec/run_tally.h"
#include "io/drive_probe.h"

enum {
    PROFILE_TOKENS_MIN = 16, /* shorter runs teach nothing */
    PROFILE_POLICY_TOKENS_MIN = 64,
    PROFILE_CHOICES_MAX = 8,
};

/* Where and how a run computed. */
typedef struct profile_place {
    char drive[DRIVE_ID_BYTES];
    char isa[16];
    uint32_t thread_count;
} profile_place;

/* Sums over tokens, older runs counting less. */
typedef struct profile_phase {
    double step_count, token_count;
    double compute_s; /* of steps, without waiting for the disk */
    double expert_wait_s, stream_wait_s;
    double expert_bytes, read_bytes, read_busy_s;
} profile_phase;

typedef struct policy_choice {
    uint32_t slot_count;
    cache_policy policy;
} policy_choice;

typedef struct model_profile {
    mem *ledger;
    char fingerprint[FINGERPRINT_BYTES];
    profile_place place;
    profile_phase decode, prefill;
    uint32_t layer_count, expert_count, used_count; /* of the sample; 0: none */
    uint8_t *layer_classes;                         /* (layer_count) of the expert cache; NULL: one class */
    double *uses;                                   /* (layer_count, expert_count), decayed over runs */
    double uses_token_count;                        /* tokens that made them, decayed alike */
    uint16_t *sample;                               /* (ROUTE_SAMPLE_TOKENS, layer_count, used_count), oldest first */
    uint32_t sample_count;
    policy_choice choices[PROFILE_CHOICES_MAX]; /* by rising slot_count */
    uint32_t choice_count;
    uint32_t chosen_ago; /* tokens decoded since they were made */
} model_profile;

/* An empty profile of this model. close also after a failure. */
MUST_CHECK leat_status model_profile_open(mem *ledger, const model_desc *model, const char *fingerprint,
                                          model_profile *out_profile, leat_error *error);
void model_profile_close(model_profile *p);

/* Fills an empty profile; false (and it stays empty) when there is no file that is worth something. */
bool model_profile_load(model_profile *p, const char *folder);
/* Adds a run and, when enough is new, chooses the policies again. LEAT_NO_MEMORY leaves the old choices. */
MUST_CHECK leat_status model_profile_add(model_profile *p, const run_tally *t, const profile_place *place,
                                         uint64_t record_bytes, leat_error *error);
/* The file's name in this folder; false when that is too long. */
enum { PROFILE_PATH_BYTES = 4096 };
bool model_profile_path(const model_profile *p, const char *folder, char out_path[PROFILE_PATH_BYTES]);
/* Of all uses of experts, what the quarter that is used most has; 0 without a profile. */
MUST_CHECK leat_status model_profile_busiest_quarter(const model_profile *p, double *out_share, leat_error *error);
/* Replaces the file as a whole. The folder must exist. */
MUST_CHECK leat_status model_profile_save(const model_profile *p, const char *folder, leat_error *error);

bool model_profile_knows_place(const model_profile *p, const profile_place *place, bool with_drive);
/* How often an expert was used, of recent tokens more than of old ones; 0 without a profile. */
static inline double model_profile_uses(const model_profile *p, uint32_t moe_idx, uint32_t expert)
{
    return p->uses ? p->uses[moe_idx * p->expert_count + expert] : 0;
}
/* What AUTO means with so many slots: the choice made for the nearest size, CACHE_POLICY_AUTO without one. */
cache_policy model_profile_policy(const model_profile *p, uint32_t slot_count);
/* The sample through a cache of so many slots, empty at first: hits of all experts asked for by the tokens after the
 * first warm_count, at most `count` of them. Where the sample is shorter both shrink alike. LEAT_BUDGET: fewer slots
 * than a set. The profile has a sample. */
MUST_CHECK leat_status model_profile_hit_rate(const model_profile *p, uint32_t slot_count, cache_policy policy,
                                              uint32_t warm_count, uint32_t count, double *out_rate, leat_error *error);
/* Different experts that a chunk of so many tokens uses, over all layers. */
double model_profile_touched(const model_profile *p, uint32_t token_count);

#endif

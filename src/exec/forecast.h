/*
 * forecast.h - how fast a plan would run: from what the drive gives, what earlier runs of the model have learned, and
 * where there is neither, from a short calibration and a default curve. docs/forecast.md explains the formula.
 *
 *   token = max(bytes / rate, compute + expert bytes * wait a byte)
 *
 * forecast_make is a pure function of its arguments. Threads: any.
 */
#ifndef EXEC_FORECAST_H
#define EXEC_FORECAST_H

#include "exec/model_profile.h"
#include "exec/plan.h"
#include "kernel/kernel.h"

enum { FORECAST_PROMPT_TOKENS = 512 };

/* What a figure rests on. */
typedef enum forecast_source {
    SOURCE_NONE,
    SOURCE_DEFAULT,     /* a curve or factor of this program */
    SOURCE_CALIBRATION, /* a short measurement of the arithmetic, or of the drive */
    SOURCE_PROFILE,     /* earlier runs of this model */
} forecast_source;

typedef struct forecast_basis {
    const model_desc *model;
    const model_profile *profile; /* empty without one */
    uint64_t record_bytes;
    double rate;                      /* of the disk, bytes a second; 0: not known */
    double wait_per_byte;             /* of experts that are read, in seconds, while nothing is computed */
    double compute_s;                 /* of a decoded token; 0: not known */
    double prefill_compute_s;         /* of a token of a prompt */
    double prefill_wait_per_byte;     /* as wait_per_byte */
    forecast_source io, compute, hit; /* what they rest on */
} forecast_basis;

typedef struct forecast {
    double hit_rate; /* 1 for models without experts */
    double token_bytes;
    double io_s, compute_s, wait_s; /* of a token: reading; arithmetic; waiting for experts */
    double token_s;                 /* 0: not known */
    double prompt_bytes, prompt_s;  /* of a prompt of FORECAST_PROMPT_TOKENS, until its first token */
} forecast;

/* Bytes that are multiplied for one token. */
uint64_t forecast_active_bytes(const model_desc *model);
/* Seconds that the matrices of one token take: the product of the kind of weight that the model has most of, over 64
 * MiB, as many threads as given. */
MUST_CHECK leat_status forecast_calibrate(mem *ledger, const model_desc *model, isa level, uint32_t thread_count,
                                          double *out_compute_s, leat_error *error);
/* The drive's rates, as its files are read, may be zero, calibrated_s too. Compute of the profile counts where `place`
 * is its own but for the drive, its waiting where the drive is the same, too. */
forecast_basis forecast_basis_make(const model_desc *model, const model_profile *profile, const profile_place *place,
                                   const drive_rates *drive, double calibrated_s);
/* Hit rate of the tokens after the first warm_count, from an empty cache; both 0: of a text that goes on for long. */
MUST_CHECK leat_status forecast_make(const forecast_basis *b, const plan *p, cache_policy policy, uint32_t warm_count,
                                     uint32_t count, forecast *out, leat_error *error);
/* Hit rate of LFU where a share of all experts has a place, in the mean of recorded models. */
double forecast_default_hit_rate(double resident);

#endif

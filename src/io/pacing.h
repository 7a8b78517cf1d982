/*
 * pacing.h - how much may be read on a guess without being felt: a controller that predicts, layer by layer, how long
 * the disk will have nothing else to do, and corrects itself by what was measured.
 *
 *     pacing_layer_begin(p, layer, now)              grant = pacing_layer_grant(p, layer) -> storage_ops.grant
 *       ... the layer is computed; its misses are demanded, guesses for the next layer are submitted ...
 *     pacing_layer_end(p, layer, now, &sample)
 *
 * Prediction: a layer takes as long as its filtered arithmetic and its filtered stall; the disk is busy with its
 * demanded bytes for as long as the measured bandwidth says. What is left of the layer's time is idle, and so many
 * bytes are granted.
 *
 * Feedback: the arithmetic of a layer with guesses under way is compared with its baseline, that of layers without.
 * When guesses slow it by more than PACING_SLOWDOWN_MAX, and shorten the stall by less than twice what that costs, the
 * share of the idle time that is granted falls, else it rises slowly. When less than half of what was read on a guess
 * was of use, or whole passes with guesses take longer than passes without, guesses rest, each time for longer. Some
 * passes are plain (nothing is granted), so that there is something to compare with.
 *
 * Nothing is granted before a layer was measured, while demand keeps the disk busy for more than PACING_BUSY_MAX of the
 * time, nor where plain passes stall for less than PACING_STALL_MIN of theirs: there is nothing to win.
 *
 * Pure but for the memory of its table: no clock, no storage. Threads: the step's.
 */
#ifndef IO_PACING_H
#define IO_PACING_H

#include "io/storage.h"

#define PACING_SLOWDOWN_MAX 0.05
#define PACING_BUSY_MAX     0.95
#define PACING_STALL_MIN    0.02

typedef struct pacing_sample {
    uint64_t stall_ns;     /* of the layer's time the step waited for the disk */
    uint64_t demand_bytes; /* read because they were demanded (class demand, certain) */
    uint64_t ahead_bytes;  /* read on a guess */
    uint64_t useful_bytes; /* begun on a guess and demanded in this layer */
    uint64_t busy_ns;      /* the disk was busy, with either */
} pacing_sample;

typedef struct pacing_stats {
    uint64_t granted_bytes;
    double bytes_per_ns; /* what the disk was measured to give */
    double busy;         /* the part of the time that demand kept the disk busy */
    double slowdown;     /* of the arithmetic by guesses: 0.05 is 5 % */
    double share;        /* of the idle time that is granted */
    double plain_stall;  /* the part of plain passes that was waited for the disk */
    double precision;    /* of guesses: the part of their bytes that was demanded */
    bool is_resting;     /* guesses did not pay */
} pacing_stats;

typedef struct pacing pacing;

/* MEM_IO. bytes_per_s: a first estimate of the bandwidth (a drive probe); 0: none, nothing is granted before the first
 * demanded reads were measured. */
uint64_t pacing_bytes(uint32_t layer_count);
MUST_CHECK leat_status pacing_open(mem *ledger, uint32_t layer_count, uint64_t bytes_per_s, pacing **out_pacing,
                                   leat_error *error);
void pacing_close(pacing **p);

/* Layers of a pass come in their order; layer 0 begins a pass. Steps of many rows are not told of: they are another
 * regime, and who guesses does not do it there. */
void pacing_layer_begin(pacing *p, uint32_t layer, uint64_t now_ns);
void pacing_layer_end(pacing *p, uint32_t layer, uint64_t now_ns, const pacing_sample *sample);
/* A pass that ended early; what was begun is forgotten. */
void pacing_break(pacing *p);
/* What guesses may read from the beginning of this layer to that of the next. */
uint64_t pacing_grant_bytes(const pacing *p, uint32_t layer);
pacing_stats pacing_stats_get(const pacing *p);

#endif

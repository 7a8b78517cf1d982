#include "io/pacing.h"

#include <assert.h>
#include <math.h>

/* Found on the table of tests/unit/io/pacing_test.c (docs/measurements/storage.md). */
#define SAMPLE_WEIGHT 0.3            /* of a new sample, in the estimate of a layer's arithmetic */
#define SLOW_WEIGHT   0.05           /* in baselines, demand and stalls, which differ much from token to token */
#define OUTLIER       3.0            /* samples above so many baselines are none of ours: another process, a debugger */
#define SUM_DECAY     (1 - 1 / 64.0) /* a layer, of the sums that make bandwidth and busy time */
#define GUESS_DECAY   (1 - 1 / 512.0) /* a layer, of the sums that make stalls and precision */
#define PRECISION_MIN 0.5
#define SHARE_FALL    0.7 /* a pass */
#define SHARE_RISE    0.02
#define CONFIDENCE    2.0 /* standard errors */
#define PAID_FACTOR   2.0 /* a stall that is saved is worth half as much: estimates err */
enum {
    PLAIN_EVERY = 16,
    JUDGED_PLAIN_MIN = 4, /* passes */
    PRECISION_PASSES = 3,
    JUDGED_AHEAD_MIN = 16,
    JUDGED_AHEAD_MAX = 240, /* then the past is forgotten */
    REST_PASSES = 64,
    REST_DOUBLINGS_MAX = 4,
};

typedef struct layer_pace {
    uint64_t begin_ns;
    bool is_measured;
    double baseline_ns; /* arithmetic without guesses */
    double compute_ns;  /* arithmetic as it is of late */
    double stall_ns, demand_bytes;
} layer_pace;

/* Times of whole passes of one kind. */
typedef struct pass_times {
    uint32_t count;
    double mean_ns, square_sum; /* of deviations from the mean */
} pass_times;

struct pacing {
    mem *ledger;
    uint32_t layer_count;
    uint32_t pass_count, rest_left, rest_doublings;
    uint32_t next_layer; /* of a whole pass so far; layer_count: not a whole one */
    bool had_outlier, had_guesses;
    double pass_ns;
    pass_times plain, ahead;
    double read_bytes, read_ns;                    /* decaying sums */
    double demand_ns, elapsed_ns;                  /* decaying sums */
    double plain_stall_ns, plain_ns, plain_layers; /* decaying sums, of layers without guesses */
    double ahead_stall_ns, ahead_layers;           /* the same of layers with some */
    double useful_bytes, ahead_bytes;              /* decaying sums */
    pacing_stats stats;
    layer_pace layers[]; /* (layer_count) */
};

static bool is_plain_pass(const pacing *p) { return p->rest_left > 0 || p->pass_count % PLAIN_EVERY == 0; }

/* ---- what is measured ---- */

static void blend(double *estimate, double sample, double weight) { *estimate += weight * (sample - *estimate); }

static double bandwidth(const pacing *p) { return p->read_ns > 0 ? p->read_bytes / p->read_ns : 0; }

static void measure_drive(pacing *p, double elapsed_ns, const pacing_sample *sample)
{
    if (sample->busy_ns > 0) {
        p->read_bytes = p->read_bytes * SUM_DECAY + (double)(sample->demand_bytes + sample->ahead_bytes);
        p->read_ns = p->read_ns * SUM_DECAY + (double)sample->busy_ns;
    }
    p->elapsed_ns = p->elapsed_ns * SUM_DECAY + elapsed_ns;
    p->demand_ns *= SUM_DECAY;
    if (bandwidth(p) > 0) p->demand_ns += (double)sample->demand_bytes / bandwidth(p);
    p->stats.bytes_per_ns = bandwidth(p);
    p->stats.busy = p->elapsed_ns > 0 ? p->demand_ns / p->elapsed_ns : 0;
}

static double ratio(double part, double whole, double otherwise) { return whole > 0 ? part / whole : otherwise; }

/* What guesses could win, and whether they are any good. */
static void measure_guesses(pacing *p, double elapsed_ns, const pacing_sample *sample)
{
    if (is_plain_pass(p)) {
        p->plain_stall_ns = p->plain_stall_ns * GUESS_DECAY + (double)sample->stall_ns;
        p->plain_ns = p->plain_ns * GUESS_DECAY + elapsed_ns;
        p->plain_layers = p->plain_layers * GUESS_DECAY + 1;
    } else {
        p->ahead_stall_ns = p->ahead_stall_ns * GUESS_DECAY + (double)sample->stall_ns;
        p->ahead_layers = p->ahead_layers * GUESS_DECAY + 1;
        p->useful_bytes = p->useful_bytes * GUESS_DECAY + (double)sample->useful_bytes;
        p->ahead_bytes = p->ahead_bytes * GUESS_DECAY + (double)sample->ahead_bytes;
    }
    p->stats.plain_stall = ratio(p->plain_stall_ns, p->plain_ns, 0);
    p->stats.precision = ratio(p->useful_bytes, p->ahead_bytes, 1);
}

/* The first sample is baseline and estimate. */
static void measure_layer(pacing *p, layer_pace *l, double compute_ns, const pacing_sample *sample)
{
    if (!l->is_measured) {
        l->is_measured = true;
        l->baseline_ns = l->compute_ns = compute_ns;
        l->stall_ns = (double)sample->stall_ns;
        l->demand_bytes = (double)sample->demand_bytes;
        return;
    }
    blend(&l->stall_ns, (double)sample->stall_ns, SLOW_WEIGHT);
    blend(&l->demand_bytes, (double)sample->demand_bytes, SLOW_WEIGHT);
    if (compute_ns > OUTLIER * l->baseline_ns) {
        p->had_outlier = true;
        /* A machine that has become slow for good is believed in the end. */
        blend(&l->baseline_ns, OUTLIER * l->baseline_ns, SLOW_WEIGHT / 4);
        return;
    }
    blend(&l->compute_ns, compute_ns, SAMPLE_WEIGHT);
    if (sample->ahead_bytes > 0)
        blend(&p->stats.slowdown, compute_ns / l->baseline_ns - 1, SLOW_WEIGHT);
    else
        blend(&l->baseline_ns, compute_ns, SLOW_WEIGHT);
}

/* ---- passes ---- */

static void add_pass(pass_times *t, double ns)
{
    double before = ns - t->mean_ns;
    t->count++;
    t->mean_ns += before / t->count;
    t->square_sum += before * (ns - t->mean_ns);
}

/* Of the mean. */
static double variance(const pass_times *t) { return t->square_sum / (t->count - 1) / t->count; }

static void forget_passes(pacing *p)
{
    p->plain = p->ahead = (pass_times){0};
    p->useful_bytes = p->ahead_bytes = 0;
}

/* Passes with guesses are longer by more than chance explains. */
static bool is_longer_with_guesses(const pacing *p)
{
    if (p->plain.count < JUDGED_PLAIN_MIN || p->ahead.count < JUDGED_AHEAD_MIN) return false;
    double worse_ns = p->ahead.mean_ns - p->plain.mean_ns;
    return worse_ns > CONFIDENCE * sqrt(variance(&p->plain) + variance(&p->ahead));
}

static void judge_guesses(pacing *p)
{
    bool is_wasteful = p->ahead.count >= PRECISION_PASSES && p->stats.precision < PRECISION_MIN;
    if (is_wasteful || is_longer_with_guesses(p)) {
        p->rest_left = (uint32_t)REST_PASSES << p->rest_doublings;
        if (p->rest_doublings < REST_DOUBLINGS_MAX) p->rest_doublings++;
        forget_passes(p);
    } else if (p->ahead.count >= JUDGED_AHEAD_MAX) {
        p->rest_doublings = 0;
        forget_passes(p);
    }
}

/* Guesses slow a layer's arithmetic, and shorten its stall by more than that. */
static bool is_slowdown_paid_for(const pacing *p)
{
    double stall_ns = ratio(p->plain_stall_ns, p->plain_layers, 0);
    double saved_ns = stall_ns - ratio(p->ahead_stall_ns, p->ahead_layers, stall_ns);
    double lost_ns = p->stats.slowdown * (ratio(p->plain_ns, p->plain_layers, 0) - stall_ns);
    return saved_ns > PAID_FACTOR * lost_ns;
}

static void adjust_share(pacing *p)
{
    /* The estimate comes late: it has to turn before the bound. */
    bool is_felt = p->stats.slowdown > 0.8 * PACING_SLOWDOWN_MAX;
    if (is_felt && !is_slowdown_paid_for(p))
        p->stats.share *= SHARE_FALL;
    else if (is_felt || p->stats.slowdown < 0.6 * PACING_SLOWDOWN_MAX)
        p->stats.share = fmin(1, p->stats.share + SHARE_RISE);
}

static void end_pass(pacing *p)
{
    if (!p->had_outlier && p->rest_left == 0) {
        if (p->had_guesses) {
            add_pass(&p->ahead, p->pass_ns);
            adjust_share(p);
        } else if (is_plain_pass(p)) {
            add_pass(&p->plain, p->pass_ns);
        }
        judge_guesses(p);
    } else if (p->rest_left > 0) {
        p->rest_left--;
    }
    p->stats.is_resting = p->rest_left > 0;
    p->pass_count++;
}

/* ---- for the step ---- */

void pacing_layer_begin(pacing *p, uint32_t layer, uint64_t now_ns)
{
    assert(layer < p->layer_count);
    p->layers[layer].begin_ns = now_ns;
    if (layer == 0) {
        p->next_layer = 0;
        p->pass_ns = 0;
        p->had_outlier = p->had_guesses = false;
    }
    p->stats.granted_bytes += pacing_grant_bytes(p, layer);
}

void pacing_layer_end(pacing *p, uint32_t layer, uint64_t now_ns, const pacing_sample *sample)
{
    layer_pace *l = &p->layers[layer];
    double elapsed_ns = now_ns > l->begin_ns ? (double)(now_ns - l->begin_ns) : 0;
    measure_drive(p, elapsed_ns, sample);
    measure_guesses(p, elapsed_ns, sample);
    measure_layer(p, l, fmax(0, elapsed_ns - (double)sample->stall_ns), sample);
    p->pass_ns += elapsed_ns;
    p->had_guesses |= sample->ahead_bytes > 0;
    if (layer != p->next_layer) {
        pacing_break(p);
        return;
    }
    if (++p->next_layer == p->layer_count) end_pass(p);
}

void pacing_break(pacing *p) { p->next_layer = p->layer_count; }

uint64_t pacing_grant_bytes(const pacing *p, uint32_t layer)
{
    const layer_pace *l = &p->layers[layer];
    double rate = bandwidth(p);
    if (!l->is_measured || rate <= 0 || is_plain_pass(p)) return 0;
    if (p->stats.busy > PACING_BUSY_MAX || p->stats.plain_stall < PACING_STALL_MIN) return 0;
    double idle_ns = l->compute_ns + l->stall_ns - l->demand_bytes / rate;
    return idle_ns > 0 ? (uint64_t)(p->stats.share * idle_ns * rate) : 0;
}

pacing_stats pacing_stats_get(const pacing *p) { return p->stats; }

/* ---- open and close ---- */

static uint64_t table_bytes(uint32_t layer_count) { return sizeof(pacing) + layer_count * sizeof(layer_pace); }

uint64_t pacing_bytes(uint32_t layer_count) { return mem_block_bytes(table_bytes(layer_count), 0); }

leat_status pacing_open(mem *ledger, uint32_t layer_count, uint64_t bytes_per_s, pacing **out_pacing, leat_error *error)
{
    pacing *p = NULL;
    assert(layer_count > 0);
    TRY(mem_alloc(ledger, MEM_IO, 1, table_bytes(layer_count), 0, "pacing of reads", (void **)&p, error));
    *p = (pacing){.ledger = ledger, .layer_count = layer_count, .next_layer = layer_count, .stats = {.share = 1}};
    for (uint32_t i = 0; i < layer_count; i++) p->layers[i] = (layer_pace){0};
    /* As if a millisecond had been measured: what is really measured soon outweighs it. */
    p->read_bytes = (double)bytes_per_s / 1000;
    p->read_ns = bytes_per_s > 0 ? 1e6 : 0;
    *out_pacing = p;
    return LEAT_OK;
}

void pacing_close(pacing **p)
{
    if (*p == NULL) return;
    mem_free((*p)->ledger, *p);
    *p = NULL;
}

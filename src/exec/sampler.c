/*
 * sampler.c - the next token from a row of logits.
 *
 * A candidate is one 64-bit number, its rank: the logit's bits mapped so that a larger logit gives a smaller number,
 * then the token's id. Comparing two ranks is comparing (logit descending, id ascending), a total order: whichever
 * algorithm selects or sorts, the result is the same. Few candidates (greedy, top_k) are kept in a heap while the
 * logits stream by; many are gathered and radix sorted.
 *
 * Invariants: (1) between picks every recent_counts entry is 0. (2) With temperature > 0 a successful pick takes
 * exactly one number from the generator, however many candidates are left; a greedy pick takes none. (3) After open
 * nothing is allocated.
 *
 * Threads: one thread at a time per sampler.
 */
#include "exec/sampler.h"

#include "base/bytes.h"
#include "kernel/math_exact.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>

enum {
    /* Up to here a heap is kept instead of sorting everything: nearly all logits are turned away by one comparison. Any
     * value gives the same tokens. */
    HEAP_CANDIDATES_MAX = 1024,
    RADIX_BITS = 11,
    RADIX_BINS = 1 << RADIX_BITS,
    RADIX_PASSES = 3, /* 33 bits: the 32 of the logit */
};

struct sampler {
    mem *ledger;
    sampler_options options;
    uint32_t vocab_count;
    uint32_t limit;          /* how many candidates survive selection: 1 for greedy, top_k, or all */
    bool is_sorted_whole;    /* gather and sort instead of the heap */
    uint64_t *ranks;         /* (limit), or (vocab_count) when sorted whole */
    uint64_t *scratch;       /* (vocab_count) when sorted whole, else NULL */
    float *weights;          /* (limit) exp((logit - largest) / temperature); NULL for greedy */
    uint32_t *recent_counts; /* (vocab_count), or NULL without penalties */
    prng generator;
};

/* ---- ranks ---- */

static uint64_t rank_of(float logit, uint32_t id)
{
    union {
        float value;
        uint32_t bits;
    } u = {.value = logit + 0.0f}; /* -0 becomes +0: equal logits have equal bits */
    uint32_t ascending = u.bits & 0x80000000u ? ~u.bits : u.bits | 0x80000000u;
    return (uint64_t)~ascending << 32 | id;
}

static float logit_of(uint64_t rank)
{
    uint32_t ascending = ~(uint32_t)(rank >> 32);
    union {
        uint32_t bits;
        float value;
    } u = {.bits = ascending & 0x80000000u ? ascending & 0x7fffffffu : ~ascending};
    return u.value;
}

static uint32_t id_of(uint64_t rank) { return (uint32_t)rank; }

/* A heap with the worst candidate (the largest rank) at the top. */
static void sift_down(uint64_t *heap, uint32_t count, uint32_t idx)
{
    uint64_t moved = heap[idx];
    for (;;) {
        uint64_t child = (uint64_t)idx * 2 + 1;
        if (child >= count) break;
        if (child + 1 < count && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= moved) break;
        heap[idx] = heap[child];
        idx = (uint32_t)child;
    }
    heap[idx] = moved;
}

static void sift_up(uint64_t *heap, uint32_t idx)
{
    uint64_t moved = heap[idx];
    while (idx > 0) {
        uint32_t parent = (idx - 1) / 2;
        if (heap[parent] >= moved) break;
        heap[idx] = heap[parent];
        idx = parent;
    }
    heap[idx] = moved;
}

/* Best candidate first. */
static void sort_heap(uint64_t *heap, uint32_t count)
{
    for (uint32_t left = count; left > 1; left--) {
        uint64_t worst = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = worst;
        sift_down(heap, left - 1, 0);
    }
}

/* Least significant digit first, on the logit's half only: each pass is stable and the candidates come by id. */
static void sort_whole(sampler *s, uint32_t count)
{
    uint64_t *from = s->ranks, *to = s->scratch;
    for (uint32_t pass = 0; pass < RADIX_PASSES; pass++) {
        uint32_t shift = 32 + pass * RADIX_BITS;
        uint32_t starts[RADIX_BINS] = {0};
        for (uint32_t i = 0; i < count; i++) starts[from[i] >> shift & (RADIX_BINS - 1)]++;
        uint32_t total = 0;
        for (uint32_t bin = 0; bin < RADIX_BINS; bin++) {
            uint32_t in_bin = starts[bin];
            starts[bin] = total;
            total += in_bin;
        }
        for (uint32_t i = 0; i < count; i++) to[starts[from[i] >> shift & (RADIX_BINS - 1)]++] = from[i];
        uint64_t *swapped = from;
        from = to;
        to = swapped;
    }
    s->ranks = from; /* an odd number of passes: the buffers have changed places */
    s->scratch = to;
}

/* ---- penalties ---- */

static float penalise(const sampler_options *o, float logit, uint32_t occurrences)
{
    float penalised = logit > 0.0f ? logit / o->repeat_penalty : logit * o->repeat_penalty;
    penalised -= o->presence_penalty;
    penalised -= o->frequency_penalty * (float)occurrences;
    /* A number stays a number: a strong penalty must not turn a token into one that can never be picked. */
    return penalised > FLT_MAX ? FLT_MAX : penalised < -FLT_MAX ? -FLT_MAX : penalised;
}

/* Adds to the counts of the window's tokens, or clears them. Ids outside the vocabulary have no logit. */
static void count_recent(sampler *s, const uint32_t *window, uint64_t window_count)
{
    for (uint64_t i = 0; i < window_count; i++) {
        if (window[i] < s->vocab_count) s->recent_counts[window[i]]++;
    }
}

static void forget_recent(sampler *s, const uint32_t *window, uint64_t window_count)
{
    for (uint64_t i = 0; i < window_count; i++) {
        if (window[i] < s->vocab_count) s->recent_counts[window[i]] = 0;
    }
}

/* ---- picking ---- */

/* Fills ranks[0..*out_count) with the best `limit` candidates, best first. */
static leat_status select_candidates(sampler *s, const float *logits, uint32_t *out_count, leat_error *error)
{
    uint64_t *ranks = s->ranks;
    uint32_t count = 0;
    /* Once the heap is full: its worst logit. Ids ascend, so an equal logit that comes later is worse. */
    float threshold = -INFINITY;
    for (uint32_t id = 0; id < s->vocab_count; id++) {
        float logit = logits[id];
        uint32_t occurrences = s->recent_counts ? s->recent_counts[id] : 0;
        if (!(logit > threshold) && occurrences == 0) continue; /* also NaN and -infinity */
        if (!(logit > -INFINITY)) continue;
        if (logit == INFINITY) return FAIL(error, INTERNAL, "sampler: the logit of token %u is +infinity", id);
        if (occurrences > 0) logit = penalise(&s->options, logit, occurrences);
        uint64_t rank = rank_of(logit, id);
        if (s->is_sorted_whole) {
            ranks[count++] = rank;
        } else if (count < s->limit) {
            ranks[count] = rank;
            sift_up(ranks, count++);
        } else if (rank < ranks[0]) {
            ranks[0] = rank;
            sift_down(ranks, count, 0);
        }
        if (count == s->limit && !s->is_sorted_whole) threshold = logit_of(ranks[0]);
    }
    if (count == 0) return FAIL(error, INTERNAL, "sampler: none of the %u logits is a finite number", s->vocab_count);
    if (s->is_sorted_whole) {
        sort_whole(s, count);
    } else {
        sort_heap(ranks, count);
    }
    *out_count = count < s->limit ? count : s->limit;
    return LEAT_OK;
}

/* The first candidates whose weights together reach `share` of the whole; at least one. */
static uint32_t count_until_share(const float *weights, uint32_t count, double share)
{
    double total = 0.0;
    for (uint32_t i = 0; i < count; i++) total += weights[i];
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        sum += weights[i];
        if (sum >= share * total) return i + 1;
    }
    return count;
}

static uint32_t draw(sampler *s, uint32_t count)
{
    float *weights = s->weights;
    float largest = logit_of(s->ranks[0]);
    for (uint32_t i = 0; i < count; i++) {
        float scaled = (logit_of(s->ranks[i]) - largest) / s->options.temperature; /* <= 0, perhaps -infinity */
        weights[i] = exact_expf(scaled > -104.0f ? scaled : -104.0f);              /* 0 from there on */
    }
    /* Both filters keep a head of the sorted list: top_p by sum, min_p by the ratio to the largest, which is 1. */
    if (s->options.top_p < 1.0f) count = count_until_share(weights, count, s->options.top_p);
    while (count > 1 && weights[count - 1] < s->options.min_p) count--;

    double total = 0.0;
    for (uint32_t i = 0; i < count; i++) total += weights[i];
    double target = prng_unit(&s->generator) * total;
    double sum = 0.0;
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < count && weights[i] > 0.0f; i++) {
        chosen = i;
        sum += weights[i];
        if (target < sum) break;
    }
    return id_of(s->ranks[chosen]);
}

leat_status sampler_pick(sampler *s, const float *logits, const uint32_t *recent, uint64_t recent_count,
                         uint32_t *out_id, leat_error *error)
{
    assert(s && logits && out_id && (recent || recent_count == 0));
    uint64_t window_count = s->recent_counts ? min_u64(recent_count, s->options.repeat_last) : 0;
    const uint32_t *window = window_count > 0 ? recent + (recent_count - window_count) : NULL;

    uint32_t count = 0;
    count_recent(s, window, window_count);
    leat_status status = select_candidates(s, logits, &count, error);
    forget_recent(s, window, window_count);
    TRY(status);

    *out_id = s->options.temperature == 0.0f ? id_of(s->ranks[0]) : draw(s, count);
    return LEAT_OK;
}

/* ---- life ---- */

/* Written so that NaN fails. */
static leat_status check_range(const char *name, float value, float low, float high, leat_error *error)
{
    if (value >= low && value <= high) return LEAT_OK;
    return FAIL(error, USAGE, "%s is %g; it must lie between %g and %g", name, (double)value, (double)low,
                (double)high);
}

static leat_status check_options(const sampler_options *o, leat_error *error)
{
    TRY(check_range("temperature", o->temperature, 0.0f, 100.0f, error));
    TRY(check_range("top_p", o->top_p, 0.0f, 1.0f, error));
    TRY(check_range("min_p", o->min_p, 0.0f, 1.0f, error));
    TRY(check_range("repeat_penalty", o->repeat_penalty, 0.01f, 100.0f, error));
    TRY(check_range("presence_penalty", o->presence_penalty, -100.0f, 100.0f, error));
    TRY(check_range("frequency_penalty", o->frequency_penalty, -100.0f, 100.0f, error));
    return LEAT_OK;
}

uint64_t sampler_bytes_max(uint32_t vocab_count)
{
    const sampler *s = NULL;
    return mem_block_bytes(sizeof *s, 0) + mem_block_bytes(vocab_count * sizeof *s->ranks, 0) +
           mem_block_bytes(vocab_count * sizeof *s->scratch, 0) + mem_block_bytes(vocab_count * sizeof *s->weights, 0) +
           mem_block_bytes(vocab_count * sizeof *s->recent_counts, 0);
}

leat_status sampler_open(mem *ledger, const sampler_options *options, uint32_t vocab_count, sampler **out_sampler,
                         leat_error *error)
{
    assert(ledger && options && out_sampler);
    if (vocab_count == 0) return FAIL(error, USAGE, "sampler: the vocabulary is empty");
    TRY(check_options(options, error));

    leat_status status = LEAT_OK;
    sampler *s = NULL;
    TRY(MEM_NEW(ledger, SCRATCH, 1, &s, error));
    s->ledger = ledger;
    s->options = *options;
    s->vocab_count = vocab_count;
    prng_init(&s->generator, options->seed);

    bool is_greedy = options->temperature == 0.0f;
    uint32_t wanted = is_greedy ? 1 : options->top_k == 0 ? vocab_count : options->top_k;
    s->limit = wanted < vocab_count ? wanted : vocab_count;
    s->is_sorted_whole = s->limit > HEAP_CANDIDATES_MAX;
    TRY_OR(failed, MEM_NEW(ledger, SCRATCH, s->is_sorted_whole ? vocab_count : s->limit, &s->ranks, error));
    if (s->is_sorted_whole) TRY_OR(failed, MEM_NEW(ledger, SCRATCH, vocab_count, &s->scratch, error));
    if (!is_greedy) TRY_OR(failed, MEM_NEW(ledger, SCRATCH, s->limit, &s->weights, error));
    bool has_penalties =
        options->repeat_last > 0 &&
        (options->repeat_penalty != 1.0f || options->presence_penalty != 0.0f || options->frequency_penalty != 0.0f);
    if (has_penalties) TRY_OR(failed, MEM_NEW(ledger, SCRATCH, vocab_count, &s->recent_counts, error));

    *out_sampler = s;
    return LEAT_OK;

failed:
    sampler_close(&s);
    return status;
}

void sampler_close(sampler **s)
{
    if (!s || !*s) return;
    mem *ledger = (*s)->ledger;
    mem_free(ledger, (*s)->recent_counts);
    mem_free(ledger, (*s)->weights);
    mem_free(ledger, (*s)->scratch);
    mem_free(ledger, (*s)->ranks);
    mem_free(ledger, *s);
    *s = NULL;
}

#include "exec/rope_table.h"

#include "kernel/math_exact.h"

#include <math.h>

static const double TWO_PI = 6.283185307179586476925;

/* Low frequencies are slowed down by `factor`, high ones kept, those between blended by how often they turn within the
 * original context. */
static double llama3_scaled(const rope_desc *d, double frequency)
{
    const double wavelength = TWO_PI / frequency;

    if (wavelength > d->original_context / d->low_freq_factor) return frequency / d->factor;
    if (wavelength < d->original_context / d->high_freq_factor) return frequency;
    const double blend =
        (d->original_context / wavelength - d->low_freq_factor) / (d->high_freq_factor - d->low_freq_factor);
    return (1 - blend) * frequency / d->factor + blend * frequency;
}

/* The pair that turns `turns` times within the original context. */
static double yarn_pair(const rope_desc *d, double turns)
{
    return d->rotated_dims * exact_log(d->original_context / (turns * TWO_PI)) / (2 * exact_log(d->theta));
}

static double yarn_scaled(const rope_desc *d, uint32_t pair, double frequency)
{
    double low = yarn_pair(d, d->beta_fast), high = yarn_pair(d, d->beta_slow);

    if (d->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < d->rotated_dims - 1 ? high : d->rotated_dims - 1;
    if (low == high) high += 0.001;
    double ramp = (pair - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return frequency / d->factor * ramp + frequency * (1 - ramp);
}

static double yarn_mscale(double factor, double share) { return factor <= 1 ? 1 : 0.1 * share * exact_log(factor) + 1; }

static float attention_factor(const rope_desc *d)
{
    if (d->kind != ROPE_YARN) return 1;
    if (d->attention_factor > 0) return (float)d->attention_factor;
    return (float)(yarn_mscale(d->factor, d->mscale) / yarn_mscale(d->factor, d->mscale_all_dim));
}

static double scaled_frequency(const rope_desc *d, uint32_t pair)
{
    /* A proportional rope spreads its exponents over the whole head, the others over the rotated part. */
    const double dims = d->kind == ROPE_PROPORTIONAL ? d->head_dim : d->rotated_dims;
    const double frequency = exact_pow(d->theta, -2.0 * pair / dims);

    switch (d->kind) {
    case ROPE_DEFAULT: return frequency;
    case ROPE_LINEAR:
    case ROPE_PROPORTIONAL: return frequency / d->factor;
    case ROPE_LLAMA3: return llama3_scaled(d, frequency);
    case ROPE_YARN: return yarn_scaled(d, pair, frequency);
    }
    return frequency;
}

uint64_t rope_table_bytes(const rope_desc *desc) { return mem_block_bytes(desc->rotated_dims / 2 * sizeof(double), 0); }

leat_status rope_table_open(mem *ledger, const rope_desc *desc, rope_table *out_table, leat_error *error)
{
    rope_table table = {.ledger = ledger, .pair_count = desc->rotated_dims / 2, .factor = attention_factor(desc)};

    table.half = (desc->kind == ROPE_PROPORTIONAL ? desc->head_dim : desc->rotated_dims) / 2;
    TRY(mem_alloc(ledger, MEM_META, table.pair_count, sizeof *table.frequencies, 0, "rope frequencies",
                  (void **)&table.frequencies, error));
    for (uint32_t i = 0; i < table.pair_count; i++) table.frequencies[i] = scaled_frequency(desc, i);
    *out_table = table;
    return LEAT_OK;
}

void rope_table_close(rope_table *table)
{
    if (table->frequencies) mem_free(table->ledger, table->frequencies);
    *table = (rope_table){0};
}

void rope_table_angles(const rope_table *table, uint32_t position, float *cosines, float *sines)
{
    for (uint32_t i = 0; i < table->pair_count; i++) {
        double sine, cosine;
        exact_sincos(position * table->frequencies[i], &sine, &cosine);
        cosines[i] = (float)cosine * table->factor;
        sines[i] = (float)sine * table->factor;
    }
}

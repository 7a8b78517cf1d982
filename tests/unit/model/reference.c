#include "reference.h"

#include <math.h>

enum { ROWS = REFERENCE_ROWS_MAX, HIDDEN = REFERENCE_HIDDEN_MAX, WIDTH = REFERENCE_WIDTH_MAX };

typedef struct forward {
    const known_model *m;
    const reference_shape *g;
    twist t;
    uint32_t count;
    double stream[ROWS][HIDDEN], branch_out[ROWS][HIDDEN];
    double keys[REFERENCE_LAYERS_MAX][ROWS][WIDTH], values[REFERENCE_LAYERS_MAX][ROWS][WIDTH];
    double inputs[ROWS][WIDTH]; /* per-layer inputs: (layers, input_width) */
} forward;

/* ---- numbers: models.md 0.1 ---- */

static const double *vector_of(const forward *f, const char *format, uint32_t layer_idx)
{
    char name[KNOWN_NAME_BYTES];
    snprintf(name, sizeof name, format, layer_idx);
    const known_tensor *t = known_find(f->m, "%s", name);
    if (t == NULL) fail_msg("the reference finds no %s", name);
    return t->values;
}

static const double *matrix_values(const forward *f, const known_tensor *t)
{
    return f->t == PRECISION_TAKEN_FROM_CONFIG && t->misread ? t->misread : t->values;
}

static const double *matrix_of(const forward *f, const char *format, uint32_t layer_idx)
{
    char name[KNOWN_NAME_BYTES];
    snprintf(name, sizeof name, format, layer_idx);
    const known_tensor *t = known_find(f->m, "%s", name);
    if (t == NULL) fail_msg("the reference finds no %s", name);
    return matrix_values(f, t);
}

static void multiply(const double *w, uint32_t rows, uint32_t cols, const double *x, double *y)
{
    for (uint32_t r = 0; r < rows; r++) {
        y[r] = 0;
        for (uint32_t c = 0; c < cols; c++) y[r] += w[(size_t)r * cols + c] * x[c];
    }
}

static void add_bias(const forward *f, const char *format, uint32_t layer_idx, double *y, uint32_t count)
{
    if (!f->g->has_biases || f->t == BIASES_LEFT_OUT) return;
    const double *bias = vector_of(f, format, layer_idx);
    for (uint32_t i = 0; i < count; i++) y[i] += bias[i];
}

/* y may be x; w NULL: no weight. */
static void norm(const forward *f, const double *w, const double *x, double *y, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += x[i] * x[i];
    const double r = 1 / sqrt(sum / count + f->g->eps);
    for (uint32_t i = 0; i < count; i++) y[i] = x[i] * r * (w ? w[i] + (f->t == NORMS_ADD_ONE) : 1);
}

static double silu(double x) { return x / (1 + exp(-x)); }

static double gelu(const forward *f, double x)
{
    if (f->t == SILU_FOR_GELU) return silu(x);
    if (f->t == GELU_WITH_ERF) return 0.5 * x * (1 + erf(x / sqrt(2)));
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

static double rounded_to_bf16(double x)
{
    int exponent;
    const double fraction = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
}

static double embedding_factor(const forward *f, double factor)
{
    const bool is_rounded = (f->g->embedding_form != KNOWN_F32) != (f->t == EMBEDDING_FACTOR_ROUNDED_OTHERWISE);
    return is_rounded ? rounded_to_bf16(factor) : factor;
}

/* ---- attention ---- */

typedef struct head_plan {
    uint32_t kv_heads, dim, window; /* window 0: all */
    uint32_t kv_layer;              /* not the layer itself: its keys and values are read */
    uint32_t rotated, exponent_dims, half;
    double theta, scale;
    bool is_interleaved, has_llama3_rope;
    bool has_head_norms, v_is_raw_k, v_has_norm;
} head_plan;

static double llama3_frequency(double frequency) /* factor 8, low 1, high 4, 32 positions: short enough to matter */
{
    const double wavelength = 2 * 3.14159265358979323846 / frequency, original = 32;
    if (wavelength > original / 1) return frequency / 8;
    if (wavelength < original / 4) return frequency;
    const double s = (original / wavelength - 1) / (4 - 1);
    return (1 - s) * frequency / 8 + s * frequency;
}

static void rope(const head_plan *p, uint32_t position, double *x)
{
    for (uint32_t i = 0; i < p->rotated / 2; i++) {
        double frequency = pow(p->theta, -2.0 * i / p->exponent_dims);
        if (p->has_llama3_rope) frequency = llama3_frequency(frequency);
        const double sine = sin(position * frequency), cosine = cos(position * frequency);
        const uint32_t a = p->is_interleaved ? 2 * i : i, b = p->is_interleaved ? 2 * i + 1 : i + p->half;
        const double old_a = x[a], old_b = x[b];
        x[a] = old_a * cosine - old_b * sine;
        x[b] = old_b * cosine + old_a * sine;
    }
}

static void finish_head(const forward *f, const head_plan *p, const char *norm_name, uint32_t idx, uint32_t position,
                        double *x)
{
    const bool has_norm = p->has_head_norms && f->t != HEAD_NORMS_LEFT_OUT;
    if (f->t == HEAD_NORMS_AFTER_ROPE) rope(p, position, x);
    if (has_norm) norm(f, vector_of(f, norm_name, idx), x, x, p->dim);
    if (f->t != HEAD_NORMS_AFTER_ROPE) rope(p, position, x);
}

static void make_keys_and_values(forward *f, const head_plan *p, uint32_t idx, uint32_t row, const double *x)
{
    const uint32_t width = p->kv_heads * p->dim;
    double *k = f->keys[idx][row], *v = f->values[idx][row];

    multiply(matrix_of(f, "layers.%u.self_attn.k_proj", idx), width, f->g->hidden, x, k);
    add_bias(f, "layers.%u.self_attn.k_proj.bias", idx, k, width);
    if (p->v_is_raw_k)
        memcpy(v, k, width * sizeof *v);
    else {
        multiply(matrix_of(f, "layers.%u.self_attn.v_proj", idx), width, f->g->hidden, x, v);
        add_bias(f, "layers.%u.self_attn.v_proj.bias", idx, v, width);
    }
    for (uint32_t h = 0; h < p->kv_heads; h++) {
        double *key = k + h * p->dim, *value = v + h * p->dim;
        if (p->v_is_raw_k && f->t == V_FROM_NORMED_K)
            norm(f, vector_of(f, "layers.%u.self_attn.k_norm.weight", idx), key, value, p->dim);
        finish_head(f, p, "layers.%u.self_attn.k_norm.weight", idx, row, key);
        if (p->v_is_raw_k && f->t == V_FROM_FINISHED_K) memcpy(value, key, p->dim * sizeof *value);
        if (p->v_has_norm && f->t != V_WITHOUT_NORM) norm(f, NULL, value, value, p->dim);
    }
}

static bool sees(const forward *f, const head_plan *p, uint32_t query, uint32_t key)
{
    if (!p->window || f->t == WINDOW_LEFT_OUT) return true;
    return key + p->window + (f->t == WINDOW_ONE_WIDER) - (f->t == WINDOW_ONE_NARROWER) > query;
}

static void attend(const forward *f, const head_plan *p, uint32_t row, const double *q, uint32_t kv_head, double *out)
{
    double weights[ROWS], sum = 0, most = -1e300;

    for (uint32_t k = 0; k <= row; k++) {
        weights[k] = 0;
        for (uint32_t d = 0; d < p->dim; d++) weights[k] += q[d] * f->keys[p->kv_layer][k][kv_head * p->dim + d];
        weights[k] *= p->scale;
        if (sees(f, p, row, k)) most = fmax(most, weights[k]);
    }
    for (uint32_t k = 0; k <= row; k++) sum += weights[k] = sees(f, p, row, k) ? exp(weights[k] - most) : 0;
    for (uint32_t d = 0; d < p->dim; d++) {
        out[d] = 0;
        for (uint32_t k = 0; k <= row; k++)
            out[d] += weights[k] / sum * f->values[p->kv_layer][k][kv_head * p->dim + d];
    }
}

/* branch_out = o(attention(norm(stream))) */
static void attention(forward *f, const head_plan *p, uint32_t idx)
{
    static double x[ROWS][HIDDEN];
    const uint32_t heads = f->g->heads;

    for (uint32_t row = 0; row < f->count; row++) {
        norm(f, vector_of(f, "layers.%u.input_layernorm.weight", idx), f->stream[row], x[row], f->g->hidden);
        if (p->kv_layer == idx) make_keys_and_values(f, p, idx, row, x[row]);
    }
    for (uint32_t row = 0; row < f->count; row++) {
        double q[WIDTH], out[WIDTH];
        multiply(matrix_of(f, "layers.%u.self_attn.q_proj", idx), heads * p->dim, f->g->hidden, x[row], q);
        add_bias(f, "layers.%u.self_attn.q_proj.bias", idx, q, heads * p->dim);
        for (uint32_t h = 0; h < heads; h++) {
            finish_head(f, p, "layers.%u.self_attn.q_norm.weight", idx, row, q + h * p->dim);
            attend(f, p, row, q + h * p->dim, h / (heads / p->kv_heads), out + h * p->dim);
        }
        multiply(matrix_of(f, "layers.%u.self_attn.o_proj", idx), f->g->hidden, heads * p->dim, out,
                 f->branch_out[row]);
        add_bias(f, "layers.%u.self_attn.o_proj.bias", idx, f->branch_out[row], f->g->hidden);
    }
}

/* ---- feed-forward ---- */

static void dense(const forward *f, uint32_t idx, uint32_t width, bool is_gelu, const double *x, double *y)
{
    double gate[WIDTH], up[WIDTH];

    multiply(matrix_of(f, "layers.%u.mlp.gate_proj", idx), width, f->g->hidden, x, gate);
    multiply(matrix_of(f, "layers.%u.mlp.up_proj", idx), width, f->g->hidden, x, up);
    add_bias(f, "layers.%u.mlp.gate_proj.bias", idx, gate, width);
    add_bias(f, "layers.%u.mlp.up_proj.bias", idx, up, width);
    for (uint32_t i = 0; i < width; i++) {
        gate[i] = (is_gelu ? gelu(f, gate[i]) : silu(gate[i])) * up[i];
        if (f->t == MLP_SINGLE_WIDE && i >= f->g->width) gate[i] = 0;
    }
    multiply(matrix_of(f, "layers.%u.mlp.down_proj", idx), f->g->hidden, width, gate, y);
    add_bias(f, "layers.%u.mlp.down_proj.bias", idx, y, f->g->hidden);
}

/* One expert's matrix: `which` 0 gate, 1 up, 2 down, from any of the three forms of storage. */
static const double *expert_matrix_of(const forward *f, uint32_t idx, uint32_t expert, int which)
{
    static const char *const names[] = {"gate", "up", "down"};
    static const char *const homes[] = {"experts.switch_glu", "mlp.switch_mlp"};
    const size_t one = (size_t)f->g->moe_width * f->g->hidden;
    const known_tensor *t;

    for (int i = 0; i < 2; i++)
        if ((t = known_find(f->m, "layers.%u.%s.%s_proj", idx, homes[i], names[which])) != NULL)
            return matrix_values(f, t) + expert * one;
    if ((t = known_find(f->m, "layers.%u.mlp.experts.%u.%s_proj", idx, expert, names[which])) != NULL)
        return matrix_values(f, t);
    if (which == 2) return matrix_of(f, "layers.%u.experts.down_proj", idx) + expert * one;
    return matrix_of(f, "layers.%u.experts.gate_up_proj", idx) + (2 * expert + which) * one;
}

static void expert_output(const forward *f, uint32_t idx, uint32_t expert, bool is_gelu, const double *x, double *y)
{
    const uint32_t width = f->g->moe_width;
    double gate[WIDTH], up[WIDTH];

    multiply(expert_matrix_of(f, idx, expert, 0), width, f->g->hidden, x, gate);
    multiply(expert_matrix_of(f, idx, expert, 1), width, f->g->hidden, x, up);
    for (uint32_t i = 0; i < width; i++) gate[i] = (is_gelu ? gelu(f, gate[i]) : silu(gate[i])) * up[i];
    multiply(expert_matrix_of(f, idx, expert, 2), f->g->hidden, width, gate, y);
}

/* probabilities = softmax(router x) */
static void router_probabilities(const forward *f, const char *name, uint32_t idx, const double *x, double *p)
{
    double sum = 0;
    multiply(matrix_of(f, name, idx), f->g->experts, f->g->hidden, x, p);
    for (uint32_t e = 0; e < f->g->experts; e++) sum += p[e] = exp(p[e]);
    for (uint32_t e = 0; e < f->g->experts; e++) p[e] /= sum;
}

static void choose(const double *ranks, uint32_t count, uint32_t used, uint32_t *chosen)
{
    bool is_taken[64] = {0};
    for (uint32_t i = 0; i < used; i++) {
        uint32_t best = count;
        for (uint32_t e = 0; e < count; e++)
            if (!is_taken[e] && (best == count || ranks[e] > ranks[best])) best = e;
        is_taken[best] = true;
        chosen[i] = best;
    }
}

/* y = sum of weights[i] * expert chosen[i] (x) */
static void mix_experts(const forward *f, uint32_t idx, const uint32_t *chosen, const double *weights, bool is_gelu,
                        const double *x, double *y)
{
    double one[HIDDEN];
    memset(y, 0, f->g->hidden * sizeof *y);
    for (uint32_t i = 0; i < f->g->used; i++) {
        expert_output(f, idx, chosen[i], is_gelu, x, one);
        for (uint32_t d = 0; d < f->g->hidden; d++) y[d] += weights[i] * one[d];
    }
}

static void normalise(double *weights, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += weights[i];
    for (uint32_t i = 0; i < count; i++) weights[i] /= sum;
}

/* models.md 1.4, "Router and experts" */
static void gemma4_route(const forward *f, uint32_t idx, const double *stream, uint32_t *chosen, double *weights)
{
    const reference_shape *g = f->g;
    const double *scale = vector_of(f, "layers.%u.router.scale", idx);
    const double *expert_scale = vector_of(f, "layers.%u.router.per_expert_scale", idx);
    double x[HIDDEN], p[64], ranks[64];

    if (f->t == ROUTER_SEES_NORMED_INPUT)
        norm(f, vector_of(f, "layers.%u.pre_feedforward_layernorm_2.weight", idx), stream, x, g->hidden);
    else
        memcpy(x, stream, g->hidden * sizeof *x);
    if (f->t != ROUTER_WITHOUT_NORM) norm(f, NULL, x, x, g->hidden);
    for (uint32_t d = 0; d < g->hidden; d++) {
        if (f->t != ROUTER_WITHOUT_SCALE) x[d] *= scale[d];
        if (f->t != ROUTER_WITHOUT_ROOT) x[d] /= sqrt(g->hidden);
    }
    router_probabilities(f, "layers.%u.router.proj", idx, x, p);
    for (uint32_t e = 0; e < g->experts; e++)
        ranks[e] = f->t == EXPERT_SCALE_BEFORE_CHOICE ? p[e] * expert_scale[e] : p[e];
    choose(ranks, g->experts, g->used, chosen);
    for (uint32_t i = 0; i < g->used; i++) weights[i] = p[chosen[i]];
    if (f->t != CHOSEN_NOT_NORMALISED) normalise(weights, g->used);
    for (uint32_t i = 0; i < g->used && f->t != EXPERT_SCALE_LEFT_OUT; i++) weights[i] *= expert_scale[chosen[i]];
    if (f->t == EXPERT_SCALE_BEFORE_SUM) normalise(weights, g->used);
}

/* ---- Gemma 4: models.md 1.3 and 1.4 ---- */

static bool gemma4_is_full(const reference_shape *g, uint32_t idx) { return (idx + 1) % g->full_period == 0; }

static uint32_t gemma4_kv_layer(const forward *f, uint32_t idx)
{
    const uint32_t first_shared = f->g->layers - f->g->shared;
    uint32_t donor = idx;

    if (idx < first_shared || f->t == KV_NOT_SHARED) return idx;
    for (uint32_t i = 0; i < first_shared; i++)
        if (gemma4_is_full(f->g, i) == gemma4_is_full(f->g, idx) && (donor == idx || f->t != KV_OF_FIRST_DONOR))
            donor = i;
    return donor;
}

static head_plan gemma4_heads(const forward *f, uint32_t idx)
{
    const reference_shape *g = f->g;
    const bool is_full = gemma4_is_full(g, idx), k_is_v = is_full && g->k_is_v;
    head_plan p = {.kv_heads = k_is_v && g->global_kv_heads ? g->global_kv_heads : g->kv_heads,
                   .dim = is_full ? g->global_head_dim : g->head_dim,
                   .window = is_full ? 0 : g->window,
                   .theta = is_full ? g->full_theta : g->theta,
                   .scale = 1,
                   .has_head_norms = true,
                   .v_is_raw_k = k_is_v,
                   .v_has_norm = true,
                   .kv_layer = gemma4_kv_layer(f, idx)};

    p.exponent_dims = p.dim;
    p.half = p.dim / 2;
    p.rotated = is_full && f->t != ROPE_OF_WHOLE_HEAD ? p.dim / 4 : p.dim;
    if (f->t == ROPE_OF_FIRST_DIMS) p.half = p.rotated / 2;
    if (f->t == ROPE_BASE_OF_ROTATED) p.exponent_dims = p.rotated;
    if (f->t == ROPE_OF_ONE_KIND) {
        p.theta = g->theta;
        p.rotated = p.dim;
    }
    p.is_interleaved = f->t == ROPE_INTERLEAVED;
    if (f->t == SCORES_SCALED) p.scale = 1 / sqrt(p.dim);
    return p;
}

static void add_to_stream(forward *f, uint32_t row, const double *x)
{
    for (uint32_t d = 0; d < f->g->hidden; d++) f->stream[row][d] += x[d];
}

static void gemma4_mlp(forward *f, uint32_t idx, uint32_t row)
{
    const reference_shape *g = f->g;
    const double *post = vector_of(f, "layers.%u.post_feedforward_layernorm.weight", idx);
    const uint32_t width = g->width * (g->double_wide && idx >= g->layers - g->shared ? 2 : 1);
    double x[HIDDEN], d[HIDDEN], e[HIDDEN] = {0}, weights[64];
    uint32_t chosen[64];

    norm(f, vector_of(f, "layers.%u.pre_feedforward_layernorm.weight", idx), f->stream[row], x, g->hidden);
    dense(f, idx, width, true, x, d);
    if (g->experts) {
        norm(f, vector_of(f, "layers.%u.post_feedforward_layernorm_1.weight", idx), d, d, g->hidden);
        gemma4_route(f, idx, f->stream[row], chosen, weights);
        if (f->t != EXPERTS_SEE_DENSE_INPUT)
            norm(f, vector_of(f, "layers.%u.pre_feedforward_layernorm_2.weight", idx), f->stream[row], x, g->hidden);
        mix_experts(f, idx, chosen, weights, true, x, e);
        norm(f, vector_of(f, "layers.%u.post_feedforward_layernorm_2.weight", idx), e, e, g->hidden);
    }
    if (f->t == POST_NORM_ON_DENSE_ONLY) norm(f, post, d, d, g->hidden);
    for (uint32_t i = 0; i < g->hidden; i++) d[i] += e[i];
    if (f->t != POST_NORM_ON_DENSE_ONLY) norm(f, post, d, d, g->hidden);
    add_to_stream(f, row, d);
}

static void gemma4_layer_input(forward *f, uint32_t idx, uint32_t row)
{
    const uint32_t width = f->g->input_width;
    double gate[WIDTH], y[HIDDEN];

    multiply(matrix_of(f, "layers.%u.per_layer_input_gate", idx), width, f->g->hidden, f->stream[row], gate);
    for (uint32_t i = 0; i < width; i++) gate[i] = gelu(f, gate[i]) * f->inputs[row][idx * width + i];
    multiply(matrix_of(f, "layers.%u.per_layer_projection", idx), f->g->hidden, width, gate, y);
    norm(f, vector_of(f, "layers.%u.post_per_layer_input_norm.weight", idx), y, y, f->g->hidden);
    add_to_stream(f, row, y);
}

static void gemma4_layer(forward *f, uint32_t idx)
{
    const head_plan heads = gemma4_heads(f, idx);
    const double scalar = vector_of(f, "layers.%u.layer_scalar", idx)[0];
    static double before[ROWS][HIDDEN];

    memcpy(before, f->stream, sizeof before);
    attention(f, &heads, idx);
    for (uint32_t row = 0; row < f->count; row++) {
        double *out = f->branch_out[row];
        norm(f, vector_of(f, "layers.%u.post_attention_layernorm.weight", idx), out, out, f->g->hidden);
        add_to_stream(f, row, out);
        gemma4_mlp(f, idx, row);
        if (f->g->input_width && f->t != INPUTS_LEFT_OUT) gemma4_layer_input(f, idx, row);
        for (uint32_t d = 0; d < f->g->hidden && f->t != LAYER_SCALAR_LEFT_OUT; d++) {
            const double kept = f->t == LAYER_SCALAR_ON_BRANCH ? before[row][d] : 0;
            f->stream[row][d] = kept + (f->stream[row][d] - kept) * scalar;
        }
    }
}

static void gemma4_embed(forward *f, uint32_t row, uint32_t token)
{
    const reference_shape *g = f->g;
    const uint32_t all = g->layers * g->input_width;
    double raw[HIDDEN], *h = f->stream[row], *inputs = f->inputs[row];

    for (uint32_t d = 0; d < g->hidden; d++) {
        raw[d] = matrix_of(f, "embed_tokens", 0)[token * g->hidden + d];
        h[d] = raw[d] * (f->t == EMBEDDING_UNSCALED ? 1 : embedding_factor(f, sqrt(g->hidden)));
    }
    if (!g->input_width) return;
    multiply(matrix_of(f, "per_layer_model_projection", 0), all, g->hidden,
             f->t == INPUTS_FROM_UNSCALED_EMBEDDING ? raw : h, inputs);
    for (uint32_t l = 0; l < g->layers; l++) {
        double *one = inputs + l * g->input_width;
        for (uint32_t i = 0; i < g->input_width && f->t != INPUTS_PROJECTION_UNSCALED; i++) one[i] /= sqrt(g->hidden);
        norm(f, vector_of(f, "per_layer_projection_norm.weight", 0), one, one, g->input_width);
    }
    for (uint32_t i = 0; i < all; i++) {
        const double factor = f->t == INPUTS_TABLE_UNSCALED ? 1 : embedding_factor(f, sqrt(g->input_width));
        inputs[i] += matrix_of(f, "embed_tokens_per_layer", 0)[token * all + i] * factor;
        if (f->t != INPUTS_SUM_UNSCALED) inputs[i] *= sqrt(0.5);
    }
}

static void finish_logits(forward *f, const char *head, double *logits)
{
    for (uint32_t row = 0; row < f->count; row++) {
        double x[HIDDEN], *out = logits + row * f->g->vocab;
        norm(f, vector_of(f, "norm.weight", 0), f->stream[row], x, f->g->hidden);
        multiply(matrix_of(f, head, 0), f->g->vocab, f->g->hidden, x, out);
        if (f->g->softcap == 0 || f->t == SOFTCAP_LEFT_OUT) continue;
        for (uint32_t i = 0; i < f->g->vocab; i++) out[i] = f->g->softcap * tanh(out[i] / f->g->softcap);
    }
}

static forward *begin(const known_model *m, const reference_shape *g, twist t, uint32_t count)
{
    static forward only;
    memset(&only, 0, sizeof only);
    only.m = m;
    only.g = g;
    only.t = t;
    only.count = count;
    assert_true(count <= ROWS && g->layers <= REFERENCE_LAYERS_MAX && g->hidden <= HIDDEN && g->experts <= 64);
    assert_true(g->heads * g->head_dim <= WIDTH && g->heads * g->global_head_dim <= WIDTH && 2 * g->width <= WIDTH);
    assert_true(g->layers * g->input_width <= WIDTH && g->moe_width <= WIDTH);
    return &only;
}

void reference_gemma4(const known_model *m, const reference_shape *g, twist t, const uint32_t *tokens, uint32_t count,
                      double *logits)
{
    forward *f = begin(m, g, t, count);
    for (uint32_t row = 0; row < count; row++) gemma4_embed(f, row, tokens[row]);
    for (uint32_t i = 0; i < g->layers; i++) gemma4_layer(f, i);
    finish_logits(f, "embed_tokens", logits);
}

/* ---- plain decoders: models.md 3.0, 3.1, 3.4, 3.5 ---- */

static void plain_experts(const forward *f, uint32_t idx, const double *x, double *y)
{
    double p[64], weights[64];
    uint32_t chosen[64];

    router_probabilities(f, "layers.%u.mlp.gate", idx, x, p);
    choose(p, f->g->experts, f->g->used, chosen);
    for (uint32_t i = 0; i < f->g->used; i++) weights[i] = p[chosen[i]];
    if (f->g->top_k_norm != (f->t == TOP_K_NORM_TURNED)) normalise(weights, f->g->used);
    mix_experts(f, idx, chosen, weights, false, x, y);
}

static void plain_layer(forward *f, uint32_t idx)
{
    const reference_shape *g = f->g;
    const head_plan heads = {.kv_heads = g->kv_heads,
                             .dim = g->head_dim,
                             .kv_layer = idx,
                             .rotated = g->head_dim,
                             .exponent_dims = g->head_dim,
                             .half = g->head_dim / 2,
                             .theta = g->theta,
                             .scale = f->t == SCORES_UNSCALED ? 1 : 1 / sqrt(g->head_dim),
                             .is_interleaved = f->t == ROPE_INTERLEAVED,
                             .has_head_norms = g->head_norms,
                             .has_llama3_rope = g->has_llama3_rope && f->t != ROPE_NOT_RESCALED};

    attention(f, &heads, idx);
    for (uint32_t row = 0; row < f->count; row++) {
        double x[HIDDEN], y[HIDDEN];
        add_to_stream(f, row, f->branch_out[row]);
        norm(f, vector_of(f, "layers.%u.post_attention_layernorm.weight", idx), f->stream[row], x, g->hidden);
        if (known_find(f->m, "layers.%u.mlp.gate", idx))
            plain_experts(f, idx, x, y);
        else
            dense(f, idx, g->width, false, x, y);
        add_to_stream(f, row, y);
    }
}

void reference_plain(const known_model *m, const reference_shape *g, twist t, const uint32_t *tokens, uint32_t count,
                     double *logits)
{
    forward *f = begin(m, g, t, count);
    for (uint32_t row = 0; row < count; row++)
        memcpy(f->stream[row], matrix_of(f, "embed_tokens", 0) + tokens[row] * g->hidden, g->hidden * sizeof(double));
    for (uint32_t i = 0; i < g->layers; i++) plain_layer(f, i);
    finish_logits(f, g->is_tied != (t == HEAD_TURNED) ? "embed_tokens" : "lm_head", logits);
}

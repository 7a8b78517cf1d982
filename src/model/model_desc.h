/*
 * model_desc.h - what a model is: layers made of blocks, the weights they use and where those lie. Facts only: no
 * bytes, no memory, no time.
 *
 * Every layer is a short list of residual steps,
 *
 *     h = h + post_norm( sum over branches of branch.post_norm( block( branch.pre_norm(h) ) ) )
 *
 * followed by an optional factor on the whole stream. Pre-norm decoders, Gemma's sandwich norms, a dense branch beside
 * routed experts and per-layer inputs are all of this form, so the forward pass has one loop and an architecture is one
 * file that fills this struct.
 *
 * Weights and vectors are named by ids: positions in model_desc.weights and model_desc.vectors. Absent ones have the id
 * NO_ID.
 */
#ifndef MODEL_MODEL_DESC_H
#define MODEL_MODEL_DESC_H

#include "model/weights.h"

#define NO_ID UINT32_MAX
typedef uint32_t weight_id;
typedef uint32_t vector_id;

enum {
    LAYERS_MAX = 1024,
    RESIDUALS_MAX = 3,
    BRANCHES_MAX = 2,
    ROPES_MAX = 2,
    HEAD_DIM_MAX = 4096,
    EXPERTS_MAX = 4096,
    EXPERTS_USED_MAX = 256, /* experts of one token */
    STOP_IDS_MAX = 32,
    LAYER_WEIGHTS_MAX = 16, /* of one layer, expert stacks apart */
};

typedef enum activation { ACTIVATION_SILU, ACTIVATION_GELU_TANH } activation;

/* How positions turn queries and keys; exec/rope_table.c has the formulas, docs/models.md says which families use them.
 */
typedef enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_PROPORTIONAL } rope_kind;

typedef struct rope_desc {
    rope_kind kind;
    uint32_t head_dim;     /* pairs are (i, i + head_dim / 2) in a PROPORTIONAL rope, else inside the rotated part */
    uint32_t rotated_dims; /* even; head_dim unless the rope is partial */
    double theta, factor;
    double low_freq_factor, high_freq_factor, original_context; /* LLAMA3; original_context also YARN */
    double beta_fast, beta_slow;                                /* YARN */
    double attention_factor;       /* YARN: on rotated dims of q and k; 0: from the mscales */
    double mscale, mscale_all_dim; /* YARN */
    bool truncate;                 /* YARN: round the ramp's ends */
} rope_desc;

typedef struct attention_block {
    uint32_t head_count, kv_head_count, head_dim;
    uint32_t window; /* keys a query sees, itself included; 0: all */
    uint32_t rope_idx;
    float score_scale;
    uint32_t kv_layer; /* layer whose keys and values are read; the layer's own unless it shares another's */
    bool owns_kv;
    bool v_is_raw_k;      /* values come from the key projection before its norm and rope */
    bool v_has_norm;      /* RMS norm without weight on values */
    weight_id q, k, v, o; /* k, v: NO_ID when not needed */
    vector_id q_bias, k_bias, v_bias, o_bias;
    vector_id q_norm, k_norm; /* (head_dim), per head, before the rope */
} attention_block;

typedef struct ffn_block {
    uint32_t width;
    activation act;
    weight_id gate, up, down;
    vector_id gate_bias, up_bias, down_bias;
} ffn_block;

typedef struct moe_block {
    uint32_t moe_idx; /* counts layers with experts from 0 */
    uint32_t expert_count, used_count, width;
    activation act;
    weight_id router;
    bool router_reads_stream; /* the router sees the residual stream itself, through a norm without weight ... */
    vector_id router_scale;   /* ... times this vector (hidden) ... */
    float router_factor;      /* ... times this */
    bool renormalise;         /* chosen probabilities are divided by their sum */
    vector_id expert_scale;   /* (expert_count) factors after that, or NO_ID */
    weight gate, up, down;    /* stacks of expert_count; streamed */
    const char *experts_path; /* the module whose children are experts where each has tensors of its own */
} moe_block;

/* Gemma's per-layer inputs: down( gelu(gate h) * input[layer] ). */
typedef struct layer_input_block {
    weight_id gate, projection;
} layer_input_block;

typedef enum block_kind { BLOCK_ATTENTION, BLOCK_FFN, BLOCK_MOE, BLOCK_LAYER_INPUT } block_kind;

typedef struct block {
    block_kind kind;
    union {
        attention_block attention;
        ffn_block ffn;
        moe_block moe;
        layer_input_block layer_input;
    };
} block;

typedef struct branch {
    vector_id pre_norm; /* NO_ID: the block sees the stream itself */
    vector_id post_norm;
    block block;
} branch;

typedef struct residual {
    uint32_t branch_count;
    branch branches[BRANCHES_MAX];
    vector_id post_norm; /* on the sum of the branches */
} residual;

typedef struct layer {
    uint32_t residual_count;
    residual residuals[RESIDUALS_MAX];
    vector_id output_scale; /* one number that multiplies the stream at the end, or NO_ID */
} layer;

typedef enum weight_place {
    WEIGHT_RESIDENT, /* part of the trunk */
    WEIGHT_ROWS,     /* an embedding table: rows are read when a token asks for them */
} weight_place;

/* Gemma's second embedding table, one vector of `width` for every layer. */
typedef struct layer_inputs {
    uint32_t width;  /* 0: the model has none */
    weight_id table; /* (vocab, layers * width) */
    float table_scale;
    weight_id projection; /* (layers * width, hidden) */
    float projection_scale;
    vector_id norm; /* (width) */
    float sum_scale;
} layer_inputs;

typedef struct model_desc {
    const char *architecture;
    uint32_t hidden_size, vocab_size, layer_count, context_max;
    float norm_eps;
    uint32_t head_count, kv_head_count, head_dim,
        window; /* of the first layer, for reports; window: of the sliding layers */

    weight *weights;      /* (weight_count) */
    weight_place *places; /* (weight_count) */
    uint32_t *layers_of;  /* (weight_count) the layer whose blocks alone use the weight, or NO_ID */
    uint32_t weight_count, weight_capacity;
    vector *vectors; /* (vector_count) */
    uint32_t vector_count, vector_capacity;

    rope_desc ropes[ROPES_MAX];
    uint32_t rope_count;
    layer *layers; /* (layer_count) */

    weight_id embedding; /* (vocab, hidden) */
    float embedding_scale;
    weight_id head; /* the embedding's id when tied */
    vector_id final_norm;
    float logit_softcap; /* 0: none */
    layer_inputs inputs;

    uint32_t moe_layer_count, expert_count, expert_used_count;
    uint32_t stop_ids[STOP_IDS_MAX];
    uint32_t stop_id_count;
    uint32_t bos_id; /* NO_ID: none */
} model_desc;

/* The block of that kind in a layer, or NULL. */
const block *layer_block(const layer *l, block_kind kind);

/* Writes the ids of the layer's weights, expert stacks apart, in the order of their use; returns how many (at most
 * LAYER_WEIGHTS_MAX). */
uint32_t layer_weights(const layer *l, weight_id *out_ids);

/* Iterates over everything that is stored: calls fn for each resident or row-wise weight and each expert stack. */
typedef void model_weight_fn(void *user, const weight *w, bool is_expert_stack, weight_place place);
void model_each_weight(const model_desc *model, model_weight_fn *fn, void *user);
uint64_t weight_bytes(const weight *w); /* of the whole stack, as stored */

#endif

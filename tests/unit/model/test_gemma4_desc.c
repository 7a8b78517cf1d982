/*
 * What gemma4.c makes of a configuration and tensor headers: the released models of models.md 1.2 in full size, every
 * derived number of 1.3, and what it refuses. The computation is test_gemma4_forward.c's.
 */
#include "gemma4_headers.h"

#include <math.h>

static model_headers *h;

static int open_headers(void **state)
{
    (void)state;
    h = headers_open();
    return 0;
}

static int close_headers(void **state)
{
    (void)state;
    headers_close(h);
    return 0;
}

static const model_desc *build(const gemma4_variant *v)
{
    h->count = 0;
    add_gemma4(h, v);
    return headers_build(h);
}

static const attention_block *attention_of(const model_desc *m, uint32_t idx)
{
    return &layer_block(&m->layers[idx], BLOCK_ATTENTION)->attention;
}

/* ---- the released models ---- */

static void check_attention(const model_desc *m, const gemma4_variant *v, uint32_t i)
{
    const attention_block *a = attention_of(m, i);
    const bool is_full = (i + 1) % v->full_period == 0;

    assert_int_equal(a->window, is_full ? 0 : v->window);
    assert_int_equal(a->head_count, v->heads);
    assert_int_equal(a->head_dim, is_full ? 512 : 256);
    assert_int_equal(a->kv_head_count, is_full && v->k_is_v ? v->global_kv_heads : v->kv_heads);
    assert_int_equal(a->v_is_raw_k, is_full && v->k_is_v);
    assert_true(a->v_has_norm);
    assert_true(a->score_scale == 1.0f);
    assert_true(a->q_norm != NO_ID);
    assert_int_equal(m->vectors[a->q_norm].count, a->head_dim);
    assert_int_equal(m->ropes[a->rope_idx].head_dim, a->head_dim);
    assert_int_equal(m->weights[a->q].shape.rows, v->heads * a->head_dim);
    assert_int_equal(m->weights[a->o].shape.cols, v->heads * a->head_dim);
    assert_int_equal(a->owns_kv, i < v->layers - v->shared);
    assert_int_equal(a->q_bias & a->k_bias & a->v_bias & a->o_bias, NO_ID);
    if (!a->owns_kv) {
        assert_int_equal(a->k & a->v & a->k_norm, NO_ID);
        return;
    }
    assert_int_equal(a->kv_layer, i);
    assert_true(a->k != NO_ID && a->k_norm != NO_ID);
    assert_int_equal(a->v == NO_ID, a->v_is_raw_k);
    assert_int_equal(m->weights[a->k].shape.rows, a->kv_head_count * a->head_dim);
}

static void check_mlp(const model_desc *m, const gemma4_variant *v, uint32_t i)
{
    const residual *r = &m->layers[i].residuals[1];
    const ffn_block *f = &r->branches[0].block.ffn;

    assert_int_equal(r->branch_count, v->experts ? 2 : 1);
    assert_int_equal(r->branches[0].block.kind, BLOCK_FFN);
    assert_int_equal(f->width, v->intermediate * (v->double_wide && i >= v->layers - v->shared ? 2 : 1));
    assert_int_equal(f->act, ACTIVATION_GELU_TANH);
    assert_true(r->post_norm != NO_ID && r->branches[0].pre_norm != NO_ID);
    assert_int_equal(r->branches[0].post_norm != NO_ID, v->experts != 0);
    if (!v->experts) return;

    const moe_block *moe = &r->branches[1].block.moe;
    assert_int_equal(r->branches[1].block.kind, BLOCK_MOE);
    assert_true(r->branches[1].pre_norm != r->branches[0].pre_norm && r->branches[1].post_norm != NO_ID);
    assert_int_equal(moe->moe_idx, i);
    assert_int_equal(moe->expert_count, 128);
    assert_int_equal(moe->used_count, 8);
    assert_int_equal(moe->width, 704);
    assert_int_equal(moe->act, ACTIVATION_GELU_TANH);
    assert_true(moe->router_reads_stream && moe->renormalise);
    assert_true(fabs(moe->router_factor - 1 / sqrt(2816)) < 1e-8);
    assert_int_equal(m->vectors[moe->router_scale].count, 2816);
    assert_int_equal(m->vectors[moe->expert_scale].count, 128);
    assert_int_equal(moe->gate.shape.rows, 704);
    assert_int_equal(moe->down.shape.cols, 704);
}

static void check_model(const gemma4_variant *v)
{
    const model_desc *m = build(v);

    assert_string_equal(m->architecture, "gemma4");
    assert_int_equal(m->layer_count, v->layers);
    assert_int_equal(m->hidden_size, v->hidden);
    assert_int_equal(m->vocab_size, 262144);
    assert_true(m->norm_eps == 1e-6f);
    assert_true(m->logit_softcap == 30.0f);
    assert_true(m->embedding_scale == v->embedding_scale);
    assert_int_equal(m->head, m->embedding);
    assert_int_equal(m->places[m->embedding], WEIGHT_RESIDENT);
    assert_int_equal(m->moe_layer_count, v->experts ? v->layers : 0);
    assert_int_equal(m->expert_count, v->experts);
    assert_int_equal(m->expert_used_count, v->used);
    assert_int_equal(m->inputs.width, v->input_width);
    for (uint32_t i = 0; i < m->layer_count; i++) {
        check_attention(m, v, i);
        check_mlp(m, v, i);
        assert_int_equal(m->layers[i].residual_count, v->input_width ? 3 : 2);
        assert_int_equal(m->layers[i].residuals[0].branch_count, 1);
        assert_true(m->layers[i].residuals[0].post_norm != NO_ID);
        assert_true(m->layers[i].output_scale != NO_ID);
        assert_int_equal(m->vectors[m->layers[i].output_scale].count, 1);
    }
}

static void describes_every_released_model(void **state)
{
    (void)state;
    for (int i = 0; i < GEMMA4_VARIANTS; i++) check_model(&gemma4_variants[i]);
}

static void layers_are_full_where_the_table_says(void **state)
{
    (void)state;
    static const uint32_t full_26b[] = {5, 11, 17, 23, 29}, full_e2b[] = {4, 9, 14, 19, 24, 29, 34};
    const model_desc *m = build(&gemma4_variants[0]);
    uint32_t next = 0;
    for (uint32_t i = 0; i < 30; i++)
        if (attention_of(m, i)->window == 0) assert_int_equal(full_26b[next++], i);
    assert_int_equal(next, 5);
    m = build(&gemma4_variants[2]);
    next = 0;
    for (uint32_t i = 0; i < 35; i++)
        if (attention_of(m, i)->window == 0) assert_int_equal(full_e2b[next++], i);
    assert_int_equal(next, 7);
}

static void shared_layers_read_the_last_donor_of_their_kind(void **state)
{
    (void)state;
    const model_desc *m = build(&gemma4_variants[2]); /* E2B: 15.. share; 13 sliding, 14 full */
    for (uint32_t i = 15; i < 35; i++) assert_int_equal(attention_of(m, i)->kv_layer, (i + 1) % 5 ? 13 : 14);
    m = build(&gemma4_variants[3]); /* E4B: 24.. share; 22 sliding, 23 full */
    for (uint32_t i = 24; i < 42; i++) assert_int_equal(attention_of(m, i)->kv_layer, (i + 1) % 6 ? 22 : 23);
}

/* Keys of layers that read another's may lie in the file all the same. */
static void unused_keys_are_ignored(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_small);
    const uint32_t before = headers_build(h)->weight_count;
    headers_add(h, 1, 1, 0, "layers.5.self_attn.k_proj.weight");
    headers_add(h, 1, 1, 0, "layers.5.self_attn.v_proj.weight");
    headers_add(h, 1, 0, 0, "layers.5.self_attn.k_norm.weight");
    h->prefix = "model.";
    headers_add(h, 3, 4, 0, "vision_tower.patch.weight");
    assert_int_equal(headers_build(h)->weight_count, before);
}

/* ---- ropes ---- */

static void full_layers_have_the_proportional_rope(void **state)
{
    (void)state;
    const model_desc *m = build(&gemma4_variants[0]);
    const rope_desc *sliding = &m->ropes[attention_of(m, 0)->rope_idx], *full = &m->ropes[attention_of(m, 5)->rope_idx];

    assert_int_equal(sliding->kind, ROPE_DEFAULT);
    assert_int_equal(sliding->rotated_dims, 256);
    assert_true(sliding->theta == 10000);
    assert_int_equal(full->kind, ROPE_PROPORTIONAL);
    assert_int_equal(full->head_dim, 512);
    assert_int_equal(full->rotated_dims, 128);
    assert_true(full->theta == 1e6 && full->factor == 1);
}

static void ropes_that_the_configuration_leaves_out(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_variants[0]);
    headers_edit(h, "\"rope_parameters\"", "\"unknown\"");
    const model_desc *m = headers_build(h);
    const rope_desc *sliding = &m->ropes[attention_of(m, 0)->rope_idx], *full = &m->ropes[attention_of(m, 5)->rope_idx];
    assert_int_equal(sliding->kind, ROPE_DEFAULT);
    assert_true(sliding->theta == 10000);
    assert_int_equal(full->kind, ROPE_PROPORTIONAL);
    assert_int_equal(full->rotated_dims, 128);
    assert_true(full->theta == 1e6 && full->factor == 1);
    headers_edit(h, "\"unknown\"", "\"rope_parameters\"");
    headers_edit(h, ",\"partial_rotary_factor\":0.25", ",\"factor\":4");
    m = headers_build(h);
    full = &m->ropes[attention_of(m, 5)->rope_idx];
    assert_int_equal(full->rotated_dims, 128);
    assert_true(full->factor == 4);
}

/* ---- the embedding's factor ---- */

static float scale_for(dtype type)
{
    h->float_type = type;
    const model_desc *m = build(&gemma4_variants[0]);
    return m->embedding_scale;
}

static void the_embedding_factor_has_the_precision_of_the_table(void **state)
{
    (void)state;
    assert_true(scale_for(DTYPE_BF16) == 53.0f);
    assert_true(scale_for(DTYPE_F16) == 53.0625f);
    assert_true(scale_for(DTYPE_F32) == (float)sqrt(2816));
}

/* A quantised table: the type of its scales counts. */
static void the_embedding_factor_follows_the_scales(void **state)
{
    (void)state;
    static const struct {
        dtype type;
        float factor;
    } cases[] = {{DTYPE_BF16, 53.0f}, {DTYPE_F16, 53.0625f}, {DTYPE_F32, 53.0659966f}};
    for (size_t i = 0; i < 3; i++) {
        h->count = 0;
        add_gemma4(h, &gemma4_variants[0]);
        header *codes = headers_find(h, "model.language_model.embed_tokens.weight");
        codes->type = DTYPE_U32;
        codes->dims[1] = 2816 / 8;
        h->float_type = cases[i].type;
        headers_add(h, 262144, 2816 / 64, 0, "embed_tokens.scales");
        headers_add(h, 262144, 2816 / 64, 0, "embed_tokens.biases");
        h->float_type = DTYPE_BF16;
        const float found = headers_build(h)->embedding_scale;
        assert_true(fabsf(found - cases[i].factor) < 1e-5f);
    }
}

static void per_layer_inputs(void **state)
{
    (void)state;
    const model_desc *m = build(&gemma4_variants[2]);
    assert_true(m->inputs.table_scale == 16.0f);
    assert_true(fabs(m->inputs.projection_scale - 1 / sqrt(1536)) < 1e-8);
    assert_true(fabs(m->inputs.sum_scale - sqrt(0.5)) < 1e-7);
    assert_int_equal(m->places[m->inputs.table], WEIGHT_ROWS);
    assert_int_equal(m->weights[m->inputs.table].shape.cols, 35 * 256);
    assert_int_equal(m->weights[m->inputs.projection].shape.rows, 35 * 256);
    const branch *b = &m->layers[7].residuals[2].branches[0];
    assert_int_equal(b->block.kind, BLOCK_LAYER_INPUT);
    assert_true(b->pre_norm == NO_ID && b->post_norm == NO_ID);
    assert_true(m->layers[7].residuals[2].post_norm != NO_ID);
}

/* null and an absent key are the same to us: the tensors say whether there are any. */
static void per_layer_inputs_without_a_width(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_variants[2]);
    headers_edit(h, "\"hidden_size_per_layer_input\":256", "\"hidden_size_per_layer_input\":null");
    assert_int_equal(headers_build(h)->inputs.width, 256);
    h->count = 0;
    add_gemma4(h, &gemma4_variants[1]);
    headers_edit(h, "\"hidden_size_per_layer_input\":0,", "");
    assert_int_equal(headers_build(h)->inputs.width, 0);
}

/* ---- layer types ---- */

static void resize_heads(uint32_t idx, uint64_t q_rows, uint64_t kv_rows, uint64_t head_dim)
{
    static const char *const parts[] = {"q_proj", "o_proj", "k_proj", "v_proj", "q_norm", "k_norm"};
    char name[HEADER_NAME_BYTES];
    for (size_t i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "model.language_model.layers.%u.self_attn.%s.weight", idx, parts[i]);
        headers_find(h, name)->dims[i == 1] = i < 2 ? q_rows : i < 4 ? kv_rows : head_dim;
    }
}

static void without_layer_types_every_sixth_and_the_last_are_full(void **state)
{
    (void)state;
    gemma4_variant v = gemma4_small;
    v.layers = 8;
    v.shared = 0;
    v.full_period = 6;
    add_gemma4(h, &v);
    headers_edit(h, "\"layer_types\"", "\"unknown\"");
    /* Layer 7 has been added as a sliding one: make it full. */
    resize_heads(7, 64, 16, 16);
    const model_desc *m = headers_build(h);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(attention_of(m, i)->window == 0, i == 5 || i == 7);
    /* The list says sliding, transformers makes it full. */
    headers_edit(h, "\"unknown\"", "\"layer_types\"");
    m = headers_build(h);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(attention_of(m, i)->window == 0, i == 5 || i == 7);
    headers_edit(h, "\"layer_types\"", "\"sliding_window_pattern\":4,\"unknown\"");
    headers_refuse(h, "layers.3.self_attn.q_proj.weight|[32, 64]|[64, 64]");
}

static void per_layer_config_replaces_the_global_keys(void **state)
{
    (void)state;
    gemma4_variant v = gemma4_small;
    v.layers = 4;
    v.shared = 0;
    add_gemma4(h, &v);
    headers_edit(h, ",\"global_head_dim\":16", "");
    headers_edit(h, ",\"num_global_key_value_heads\":1", "");
    headers_edit(h, "\"hidden_activation\"",
                 "\"per_layer_config\":{\"1\":{\"head_dim\":16,\"num_key_value_heads\":1},"
                 "\"3\":{\"head_dim\":16,\"num_key_value_heads\":1}},\"hidden_activation\"");
    const model_desc *m = headers_build(h);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(attention_of(m, i)->head_dim, i % 2 ? 16 : 8);
        assert_int_equal(attention_of(m, i)->kv_head_count, i % 2 ? 1 : 2);
    }
    assert_int_equal(m->ropes[attention_of(m, 1)->rope_idx].head_dim, 16);
    assert_int_equal(m->ropes[attention_of(m, 1)->rope_idx].rotated_dims, 4);
}

/* Rope tables belong to a kind of layer, and a layer that reads another's keys must have its shape. */
static void per_layer_config_that_contradicts_itself(void **state)
{
    (void)state;
    gemma4_variant v = gemma4_small;
    v.layers = 4;
    v.shared = 0;
    v.k_is_v = false;
    v.global_head_dim = 8;
    add_gemma4(h, &v);
    headers_edit(h, "\"hidden_activation\"", "\"per_layer_config\":{\"1\":{\"head_dim\":4}},\"hidden_activation\"");
    resize_heads(1, 16, 8, 4);
    headers_refuse(h, "config.json|layer 3|head_dim 8|layer 1|4");
    resize_heads(3, 16, 8, 4);
    headers_edit(h, "{\"1\":{\"head_dim\":4}}", "{\"1\":{\"head_dim\":4},\"3\":{\"head_dim\":4}}");
    const model_desc *m = headers_build(h);
    assert_int_equal(m->ropes[attention_of(m, 1)->rope_idx].head_dim, 4);
    assert_int_equal(m->ropes[attention_of(m, 0)->rope_idx].head_dim, 8);

    h->count = 0;
    v.shared = 2;
    add_gemma4(h, &v);
    headers_edit(h, "\"hidden_activation\"",
                 "\"per_layer_config\":{\"3\":{\"num_key_value_heads\":4}},\"hidden_activation\"");
    headers_refuse(h, "config.json|layer 3|4 key-value heads|layer 1|2");
}

/* ---- what is refused ---- */

static void missing_and_contradicting_values(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"num_hidden_layers\":6", "\"x\":6", "config.json|num_hidden_layers"},
        {"\"top_k_experts\":2", "\"top_k_experts\":257", "config.json|top_k_experts|257"},
        {"\"hidden_size\":64", "\"x\":64", "config.json|hidden_size"},
        {"\"hidden_size\":64", "\"hidden_size\":0", "config.json|hidden_size|0"},
        {"\"hidden_size\":64", "\"hidden_size\":\"64\"", "config.json|hidden_size|64"},
        {"\"vocab_size\":128", "\"vocab_size\":null", "config.json|vocab_size"},
        {"\"intermediate_size\":32,\"num_att", "\"x\":32,\"num_att", "config.json|intermediate_size"},
        {"\"num_attention_heads\":4", "\"x\":4", "config.json|num_attention_heads"},
        {"\"num_experts\":6", "\"x\":6", "config.json|num_experts"},
        {"\"top_k_experts\":2", "\"x\":2", "config.json|top_k_experts"},
        {"\"top_k_experts\":2", "\"top_k_experts\":7", "config.json|top_k_experts (7)|num_experts (6)"},
        {"\"moe_intermediate_size\":24", "\"x\":24", "config.json|missing|moe_intermediate_size"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":3",
         "config.json|num_attention_heads (4)|num_key_value_heads (3)"},
        {"\"num_global_key_value_heads\":1", "\"num_global_key_value_heads\":3",
         "config.json|num_attention_heads (4)|num_global_key_value_heads (3)"},
        {"\"num_kv_shared_layers\":2", "\"num_kv_shared_layers\":6",
         "config.json|num_kv_shared_layers (6)|num_hidden_layers (6)"},
        {"\"num_kv_shared_layers\":2", "\"num_kv_shared_layers\":5", "config.json|layer 1|num_kv_shared_layers"},
        {"\"layer_types\":[\"sliding_attention\",", "\"layer_types\":[",
         "config.json|layer_types has 5 entries|num_hidden_layers is 6"},
        {"\"layer_types\":[\"sliding_attention\",", "\"layer_types\":[\"linear_attention\",",
         "config.json|layer_types[0]|linear_attention|sliding_attention or full_attention"},
        {"\"gelu_pytorch_tanh\"", "\"relu\"", "config.json|hidden_activation|relu|gelu_pytorch_tanh"},
        {"\"hidden_activation\"", "\"attention_bias\":true,\"hidden_activation\"", "config.json|attention_bias"},
        {"\"head_dim\":8", "\"head_dim\":7", "config.json|head_dim|7|even"},
        {"\"global_head_dim\":16", "\"global_head_dim\":15", "config.json|head_dim|15|even"},
        {"\"global_head_dim\":16", "\"global_head_dim\":32", "layers.1.self_attn.q_proj.weight|[64, 64]|[128, 64]"},
        {"\"head_dim\":8", "\"head_dim\":8192", "config.json|head_dim|8192"},
        {"\"partial_rotary_factor\":0.25", "\"partial_rotary_factor\":1.5", "config.json|partial_rotary_factor|1.5"},
        {"\"rope_type\":\"proportional\"", "\"rope_type\":\"spiral\"", "config.json|rope_type|spiral|proportional"},
        {"\"vocab_size\":128", "\"vocab_size\":128,\"vocab_size_per_layer_input\":100",
         "config.json|vocab_size_per_layer_input (100)|vocab_size (128)"},
        {"\"hidden_size_per_layer_input\":16", "\"hidden_size_per_layer_input\":32",
         "embed_tokens_per_layer|[128, 96]|[128, 192]"},
        {"\"eos_token_id\":[1,106]", "\"eos_token_id\":[1,128]", "config.json|eos_token_id|128"},
        {"\"num_hidden_layers\":6", "\"num_hidden_layers\":100000", "config.json|num_hidden_layers|100000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        h->count = 0;
        add_gemma4(h, &gemma4_small);
        headers_edit(h, cases[i].from, cases[i].to);
        headers_refuse(h, cases[i].words);
    }
}

/* Every tensor of the model is needed, but for the layer scalars; and every one must have its shape. */
static void each_tensor_is_needed_in_its_shape(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_small);
    headers_build(h);
    const uint32_t count = h->count;
    uint32_t optional = 0;
    for (uint32_t i = 0; i < count; i++) {
        const header kept = h->list[i];
        leat_error error = {0};
        h->list[i].dims[kept.rank - 1]++;
        headers_refuse(h, kept.name);
        h->list[i] = h->list[count - 1];
        h->count = count - 1;
        if (strstr(kept.name, "layer_scalar")) {
            assert_ok(headers_try(h, &error), &error);
            optional++;
        } else {
            assert_fails(MODEL, headers_try(h, &error), &error);
            assert_text_has(error.text, strstr(kept.name, "experts.gate_up_proj")  ? "experts"
                                        : strstr(kept.name, "embed_tokens.weight") ? "embed_tokens.weight"
                                                                                   : kept.name);
        }
        h->count = count;
        h->list[i] = kept;
    }
    assert_int_equal(optional, gemma4_small.layers);
}

static void a_model_without_layer_scalars(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_small);
    headers_remove(h, "model.language_model.layers.3.layer_scalar");
    const model_desc *m = headers_build(h);
    assert_int_equal(m->layers[3].output_scale, NO_ID);
    assert_true(m->layers[2].output_scale != NO_ID);
}

static void the_other_name_of_the_expert_width(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_small);
    headers_edit(h, "\"moe_intermediate_size\"", "\"expert_intermediate_size\"");
    assert_int_equal(layer_block(&headers_build(h)->layers[0], BLOCK_MOE)->moe.width, 24);
    headers_edit(h, "\"expert_intermediate_size\"",
                 "\"moe_intermediate_size\":24,\"expert_intermediate_size\":7,\"x\"");
    assert_int_equal(layer_block(&headers_build(h)->layers[0], BLOCK_MOE)->moe.width, 24);
}

/* ---- names ---- */

static void every_model_type_and_text_root(void **state)
{
    (void)state;
    static const char *const types[] = {"gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"};
    static const char *const roots[] = {"model.language_model.", "language_model.model.", "language_model.", "model.",
                                        ""};
    char quoted[64];
    for (size_t t = 0; t < 4; t++)
        for (size_t r = 0; r < 5; r++) {
            h->count = 0;
            h->prefix = roots[r];
            add_gemma4(h, &gemma4_small);
            snprintf(quoted, sizeof quoted, "\"%s\"", types[t]);
            headers_edit(h, "\"gemma4_text\"", quoted);
            assert_string_equal(headers_build(h)->architecture, "gemma4");
        }
}

static void a_flat_configuration(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_small);
    headers_edit(h, "\"model_type\":\"gemma4\",", "");
    headers_edit(h, "\"eos_token_id\":[1,106],\"text_config\":{", "");
    headers_edit(h, "]}}", "]}");
    assert_int_equal(headers_build(h)->layer_count, 6);
}

static void stop_ids_are_the_union(void **state)
{
    (void)state;
    add_gemma4(h, &gemma4_small);
    const model_desc *m = headers_build(h);
    assert_int_equal(m->stop_id_count, 2);
    assert_int_equal(m->bos_id, 2);
    snprintf(h->generation, sizeof h->generation, "{\"eos_token_id\":[1,106,50]}");
    m = headers_build(h);
    assert_int_equal(m->stop_id_count, 3);
    const uint32_t all = m->stop_ids[0] + m->stop_ids[1] + m->stop_ids[2];
    assert_int_equal(all, 1 + 106 + 50);
    snprintf(h->generation, sizeof h->generation, "{\"eos_token_id\":999}");
    headers_refuse(h, "generation_config.json|eos_token_id|999");
}

/* 8 bits in one tensor of a model that says 4: the shapes decide, and it is noted. */
static void precision_is_read_from_the_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *module;
        uint64_t rows, cols, bits;
    } quantised[] = {{"layers.0.self_attn.q_proj", 32, 64, 4},
                     {"layers.0.mlp.down_proj", 64, 32, 8},
                     {"layers.0.router.proj", 6, 64, 8}};
    char name[HEADER_NAME_BYTES];
    gemma4_variant v = gemma4_small;
    add_gemma4(h, &v);
    headers_edit(h, "\"text_config\"", "\"quantization\":{\"group_size\":32,\"bits\":4},\"text_config\"");
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "model.language_model.%s.weight", quantised[i].module);
        header *codes = headers_find(h, name);
        codes->type = DTYPE_U32;
        codes->dims[1] = quantised[i].cols * quantised[i].bits / 32;
        headers_add(h, quantised[i].rows, quantised[i].cols / 32, 0, "%s.scales", quantised[i].module);
        headers_add(h, quantised[i].rows, quantised[i].cols / 32, 0, "%s.biases", quantised[i].module);
    }
    const model_desc *m = headers_build(h);
    const weight *q = &m->weights[attention_of(m, 0)->q];
    const weight *down = &m->weights[layer_block(&m->layers[0], BLOCK_FFN)->ffn.down];
    const weight *router = &m->weights[layer_block(&m->layers[0], BLOCK_MOE)->moe.router];
    assert_int_equal(q->shape.type, QUANT_AFFINE4);
    assert_false(q->differs_from_hint);
    assert_int_equal(down->shape.type, QUANT_AFFINE8);
    assert_true(down->differs_from_hint);
    assert_int_equal(router->shape.type, QUANT_AFFINE8);
    assert_int_equal(m->weights[attention_of(m, 1)->q].shape.type, QUANT_BF16);
}

/* ---- the small model's own checks ---- */

typedef struct weight_tally {
    uint64_t resident, rows, stacks, bytes;
} weight_tally;

static void tally(void *user, const weight *w, bool is_expert_stack, weight_place place)
{
    weight_tally *t = user;
    t->bytes += weight_bytes(w);
    if (is_expert_stack)
        t->stacks++;
    else if (place == WEIGHT_ROWS)
        t->rows++;
    else
        t->resident++;
}

static void every_stored_matrix_is_visited_once(void **state)
{
    (void)state;
    weight_tally t = {0};
    uint64_t bytes = 0, matrices = 0;
    add_gemma4(h, &gemma4_small);
    const model_desc *m = headers_build(h);
    model_each_weight(m, tally, &t);
    for (uint32_t i = 0; i < h->count; i++)
        if (h->list[i].rank > 1) {
            const header *e = &h->list[i];
            bytes += 2 * e->dims[0] * e->dims[1] * (e->rank > 2 ? e->dims[2] : 1);
            matrices += e->rank == 2;
        }
    assert_int_equal(t.rows, 1); /* the table of per-layer inputs */
    assert_int_equal(t.resident, matrices - 1);
    assert_int_equal(t.stacks, 3 * gemma4_small.layers);
    assert_int_equal(t.bytes, bytes);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    leat_error error = {0};
    add_gemma4(h, &gemma4_small);
    headers_build(h);
    uint32_t failed = 0;
    for (uint64_t nth = 1; nth < 60; nth++) {
        arena_reset(&h->memory);
        mem_fail_nth(h->ledger, nth);
        model_desc m;
        const leat_status status = model_build(&h->index, h->config_values, NULL, &h->memory, &m, &error);
        mem_fail_nth(h->ledger, 0);
        if (status == LEAT_OK) break;
        assert_string_equal(status_text(status), status_text(LEAT_NO_MEMORY));
        failed++;
    }
    assert_in_range(failed, 1, 58);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_headers, close_headers)
    const struct CMUnitTest tests[] = {
        TEST(describes_every_released_model),
        TEST(layers_are_full_where_the_table_says),
        TEST(shared_layers_read_the_last_donor_of_their_kind),
        TEST(unused_keys_are_ignored),
        TEST(full_layers_have_the_proportional_rope),
        TEST(ropes_that_the_configuration_leaves_out),
        TEST(the_embedding_factor_has_the_precision_of_the_table),
        TEST(the_embedding_factor_follows_the_scales),
        TEST(per_layer_inputs),
        TEST(per_layer_inputs_without_a_width),
        TEST(without_layer_types_every_sixth_and_the_last_are_full),
        TEST(per_layer_config_replaces_the_global_keys),
        TEST(per_layer_config_that_contradicts_itself),
        TEST(missing_and_contradicting_values),
        TEST(each_tensor_is_needed_in_its_shape),
        TEST(a_model_without_layer_scalars),
        TEST(the_other_name_of_the_expert_width),
        TEST(every_model_type_and_text_root),
        TEST(a_flat_configuration),
        TEST(stop_ids_are_the_union),
        TEST(precision_is_read_from_the_shapes),
        TEST(every_stored_matrix_is_visited_once),
        TEST(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What llama.c, qwen3.c and the parts that families share make of configurations and headers, and what they refuse. */
#include "model_headers.h"

#include <math.h>

static model_headers *h;

static int open_headers(void **state)
{
    (void)state;
    h = headers_open();
    h->prefix = "model.";
    return 0;
}

static int close_headers(void **state)
{
    (void)state;
    headers_close(h);
    return 0;
}

/* ---- a decoder of 3 layers, 64 wide, 4 heads of 16, 2 kv heads ---- */

static void add_experts(uint32_t i)
{
    headers_add(h, 8, 64, 0, "layers.%u.mlp.gate.weight", i);
    headers_add(h, 8, 24, 64, "layers.%u.mlp.switch_mlp.gate_proj.weight", i);
    headers_add(h, 8, 24, 64, "layers.%u.mlp.switch_mlp.up_proj.weight", i);
    headers_add(h, 8, 64, 24, "layers.%u.mlp.switch_mlp.down_proj.weight", i);
}

static void add_decoder(const char *model_type, bool head_norms, bool experts)
{
    h->count = 0;
    headers_add(h, 100, 64, 0, "embed_tokens.weight");
    headers_add(h, 64, 0, 0, "norm.weight");
    for (uint32_t i = 0; i < 3; i++) {
        headers_add(h, 64, 0, 0, "layers.%u.input_layernorm.weight", i);
        headers_add(h, 64, 0, 0, "layers.%u.post_attention_layernorm.weight", i);
        headers_add(h, 64, 64, 0, "layers.%u.self_attn.q_proj.weight", i);
        headers_add(h, 32, 64, 0, "layers.%u.self_attn.k_proj.weight", i);
        headers_add(h, 32, 64, 0, "layers.%u.self_attn.v_proj.weight", i);
        headers_add(h, 64, 64, 0, "layers.%u.self_attn.o_proj.weight", i);
        if (head_norms) {
            headers_add(h, 16, 0, 0, "layers.%u.self_attn.q_norm.weight", i);
            headers_add(h, 16, 0, 0, "layers.%u.self_attn.k_norm.weight", i);
        }
        if (experts)
            add_experts(i);
        else {
            headers_add(h, 40, 64, 0, "layers.%u.mlp.gate_proj.weight", i);
            headers_add(h, 40, 64, 0, "layers.%u.mlp.up_proj.weight", i);
            headers_add(h, 64, 40, 0, "layers.%u.mlp.down_proj.weight", i);
        }
    }
    snprintf(h->config, sizeof h->config,
             "{\"model_type\":\"%s\",\"hidden_size\":64,\"vocab_size\":100,\"num_hidden_layers\":3,"
             "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,\"intermediate_size\":40,"
             "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-5,\"rope_theta\":500000.0,\"rope_scaling\":null,"
             "\"max_position_embeddings\":8192%s}",
             model_type, experts ? ",\"num_experts\":8,\"num_experts_per_tok\":2,\"moe_intermediate_size\":24" : "");
}

static const attention_block *attention_of(const model_desc *m, uint32_t idx)
{
    return &layer_block(&m->layers[idx], BLOCK_ATTENTION)->attention;
}

static void check_attention(const model_desc *m, bool head_norms)
{
    for (uint32_t i = 0; i < m->layer_count; i++) {
        const attention_block *a = attention_of(m, i);
        assert_int_equal(a->kv_layer, i);
        assert_true(a->owns_kv && !a->v_is_raw_k && !a->v_has_norm);
        assert_true(a->score_scale == 0.25f);
        assert_int_equal(a->window, 0);
        assert_int_equal(a->q_norm != NO_ID, head_norms);
        assert_int_equal(a->k_norm != NO_ID, head_norms);
        assert_int_equal(m->layers[i].residual_count, 2);
        assert_int_equal(m->layers[i].output_scale, NO_ID);
        for (int r = 0; r < 2; r++) {
            const residual *step = &m->layers[i].residuals[r];
            assert_int_equal(step->branch_count, 1);
            assert_true(step->branches[0].pre_norm != NO_ID);
            assert_true(step->branches[0].post_norm == NO_ID && step->post_norm == NO_ID);
        }
        assert_string_equal(m->vectors[m->layers[i].residuals[0].branches[0].pre_norm].name + strlen("model.layers.0."),
                            "input_layernorm.weight");
    }
}

static void llama(void **state)
{
    (void)state;
    add_decoder("llama", false, false);
    const model_desc *m = headers_build(h);
    assert_string_equal(m->architecture, "llama");
    check_attention(m, false);
    assert_int_equal(layer_block(&m->layers[1], BLOCK_FFN)->ffn.act, ACTIVATION_SILU);
    assert_true(m->norm_eps == 1e-5f);
    assert_true(m->embedding_scale == 1 && m->logit_softcap == 0);
    assert_int_equal(m->context_max, 8192);
    assert_int_equal(m->stop_id_count, 0);
    assert_int_equal(m->bos_id, NO_ID);
    assert_int_equal(m->moe_layer_count + m->inputs.width, 0);
    assert_int_equal(m->ropes[0].kind, ROPE_DEFAULT);
    assert_true(m->ropes[0].theta == 500000);
}

static void defaults_of_llama(void **state)
{
    (void)state;
    add_decoder("llama", false, false);
    headers_edit(h, ",\"num_key_value_heads\":2,\"head_dim\":16", "");
    headers_edit(h, ",\"rms_norm_eps\":1e-5,\"rope_theta\":500000.0", "");
    for (uint32_t i = 0; i < 3; i++) {
        char name[HEADER_NAME_BYTES];
        snprintf(name, sizeof name, "model.layers.%u.self_attn.k_proj.weight", i);
        headers_find(h, name)->dims[0] = 64;
        snprintf(name, sizeof name, "model.layers.%u.self_attn.v_proj.weight", i);
        headers_find(h, name)->dims[0] = 64;
    }
    const model_desc *m = headers_build(h);
    assert_int_equal(attention_of(m, 0)->kv_head_count, 4);
    assert_int_equal(attention_of(m, 0)->head_dim, 16);
    assert_true(m->norm_eps == 1e-6f);
    assert_true(m->ropes[0].theta == 10000);
}

static void qwen3_has_head_norms(void **state)
{
    (void)state;
    add_decoder("qwen3", true, false);
    const model_desc *m = headers_build(h);
    assert_string_equal(m->architecture, "qwen3");
    check_attention(m, true);
    assert_int_equal(m->vectors[attention_of(m, 2)->k_norm].count, 16);
    headers_remove(h, "model.layers.2.self_attn.k_norm.weight");
    headers_refuse(h, "model.layers.2.self_attn.k_norm.weight");
}

static void qwen3_head_dim_defaults_to_128(void **state)
{
    (void)state;
    add_decoder("qwen3", true, false);
    headers_edit(h, ",\"head_dim\":16", "");
    headers_refuse(h, "model.layers.0.self_attn.q_proj.weight|[64, 64]|[512, 64]");
}

static void biases_are_read_where_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t count;
    } biases[] = {{"self_attn.q_proj", 64}, {"self_attn.k_proj", 32}, {"self_attn.v_proj", 32},
                  {"self_attn.o_proj", 64}, {"mlp.gate_proj", 40},    {"mlp.up_proj", 40},
                  {"mlp.down_proj", 64}};
    add_decoder("llama", false, false);
    for (size_t i = 0; i < 7; i++) headers_add(h, biases[i].count, 0, 0, "layers.1.%s.bias", biases[i].name);
    const model_desc *m = headers_build(h);
    assert_int_equal(attention_of(m, 1)->q_bias, NO_ID); /* the configuration does not say that they count */

    headers_edit(h, "\"hidden_act\"", "\"attention_bias\":true,\"mlp_bias\":true,\"hidden_act\"");
    m = headers_build(h);
    const attention_block *a = attention_of(m, 1);
    const ffn_block *f = &layer_block(&m->layers[1], BLOCK_FFN)->ffn;
    const vector_id ids[] = {a->q_bias, a->k_bias, a->v_bias, a->o_bias, f->gate_bias, f->up_bias, f->down_bias};
    for (size_t i = 0; i < 7; i++) {
        assert_true(ids[i] != NO_ID);
        assert_text_has(m->vectors[ids[i]].name, biases[i].name);
        assert_int_equal(m->vectors[ids[i]].count, biases[i].count);
    }
    assert_int_equal(attention_of(m, 0)->q_bias, NO_ID);
    headers_find(h, "model.layers.1.self_attn.k_proj.bias")->dims[0] = 31;
    headers_refuse(h, "model.layers.1.self_attn.k_proj.bias|31|32");
}

/* ---- experts ---- */

static const moe_block *experts_of(const model_desc *m, uint32_t idx)
{
    const block *b = layer_block(&m->layers[idx], BLOCK_MOE);
    return b ? &b->moe : NULL;
}

static void qwen3_with_experts(void **state)
{
    (void)state;
    add_decoder("qwen3_moe", true, true);
    const model_desc *m = headers_build(h);
    assert_string_equal(m->architecture, "qwen3_moe");
    check_attention(m, true);
    assert_int_equal(m->moe_layer_count, 3);
    assert_int_equal(m->expert_count, 8);
    assert_int_equal(m->expert_used_count, 2);
    for (uint32_t i = 0; i < 3; i++) {
        const moe_block *moe = experts_of(m, i);
        assert_int_equal(moe->moe_idx, i);
        assert_int_equal(moe->width, 24);
        assert_int_equal(moe->act, ACTIVATION_SILU);
        assert_true(moe->renormalise && !moe->router_reads_stream);
        assert_int_equal(moe->router_scale & moe->expert_scale, NO_ID);
        assert_int_equal(moe->gate.stack_count, 8);
    }
    headers_edit(h, "\"hidden_act\"", "\"norm_topk_prob\":false,\"hidden_act\"");
    assert_false(experts_of(headers_build(h), 0)->renormalise);
    headers_edit(h, "\"norm_topk_prob\":false", "\"norm_topk_prob\":true");
    assert_true(experts_of(headers_build(h), 0)->renormalise);
    headers_edit(h, "\"num_experts\"", "\"num_local_experts\"");
    assert_int_equal(headers_build(h)->expert_count, 8);
    headers_edit(h, "\"num_local_experts\"", "\"unknown\"");
    headers_refuse(h, "config.json|missing|num_experts");
}

/* models.md 3.0: any family may have them under another's names. */
static void every_name_of_the_expert_counts(void **state)
{
    (void)state;
    static const char *const counts[] = {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"};
    static const char *const used[] = {"num_experts_per_tok", "top_k_experts", "moe_k", "moe_topk",
                                       "experts_per_token"};
    char quoted[64];
    for (int c = 0; c < 4; c++)
        for (int u = 0; u < 5; u++) {
            add_decoder("qwen3_moe", true, true);
            snprintf(quoted, sizeof quoted, "\"%s\":8", counts[c]);
            headers_edit(h, "\"num_experts\":8", quoted);
            snprintf(quoted, sizeof quoted, "\"%s\":3", used[u]);
            headers_edit(h, "\"num_experts_per_tok\":2", quoted);
            assert_int_equal(headers_build(h)->expert_count, 8);
            assert_int_equal(headers_build(h)->expert_used_count, 3);
        }
    headers_edit(h, "\"hidden_act\"",
                 "\"num_experts_per_tok\":2,\"num_experts\":7,\"hidden_act\""); /* the own names win */
    headers_refuse(h, "mlp.gate.weight|[8, 64]|[7, 64]");
}

static void make_dense(uint32_t i)
{
    static const char *const parts[] = {"gate", "switch_mlp.gate_proj", "switch_mlp.up_proj", "switch_mlp.down_proj"};
    char name[HEADER_NAME_BYTES];
    for (int p = 0; p < 4; p++) {
        snprintf(name, sizeof name, "model.layers.%u.mlp.%s.weight", i, parts[p]);
        headers_remove(h, name);
    }
    headers_add(h, 40, 64, 0, "layers.%u.mlp.gate_proj.weight", i);
    headers_add(h, 40, 64, 0, "layers.%u.mlp.up_proj.weight", i);
    headers_add(h, 64, 40, 0, "layers.%u.mlp.down_proj.weight", i);
}

static void some_layers_are_dense(void **state)
{
    (void)state;
    add_decoder("qwen3_moe", true, true);
    make_dense(1);
    headers_edit(h, "\"hidden_act\"", "\"mlp_only_layers\":[1],\"hidden_act\"");
    const model_desc *m = headers_build(h);
    assert_int_equal(m->moe_layer_count, 2);
    assert_int_equal(experts_of(m, 0)->moe_idx, 0);
    assert_null(experts_of(m, 1));
    assert_int_equal(layer_block(&m->layers[1], BLOCK_FFN)->ffn.width, 40);
    assert_int_equal(experts_of(m, 2)->moe_idx, 1);
    make_dense(0);
    make_dense(2);
    add_experts(1);
    headers_edit(h, "\"mlp_only_layers\":[1]", "\"decoder_sparse_step\":2");
    m = headers_build(h);
    assert_int_equal(m->moe_layer_count, 1);
    assert_null(experts_of(m, 0));
    assert_non_null(experts_of(m, 1));
    assert_null(experts_of(m, 2));
}

/* gate and up in one tensor, rows [0, 24) and [24, 48); and one tensor for each expert. */
static void every_form_of_experts(void **state)
{
    (void)state;
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    char name[HEADER_NAME_BYTES];
    add_decoder("qwen3_moe", true, true);
    for (int p = 0; p < 3; p++) {
        for (uint32_t i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "model.layers.%u.mlp.switch_mlp.%s.weight", i, parts[p]);
            headers_remove(h, name);
        }
        for (uint32_t e = 0; e < 8; e++)
            headers_add(h, p < 2 ? 24 : 64, p < 2 ? 64 : 24, 0, "layers.1.mlp.experts.%u.%s.weight", e, parts[p]);
    }
    headers_add(h, 8, 48, 64, "layers.0.mlp.experts.gate_up_proj");
    headers_add(h, 8, 64, 24, "layers.0.mlp.experts.down_proj");
    const model_desc *m = headers_build(h);
    const weight *gate = &experts_of(m, 0)->gate, *up = &experts_of(m, 0)->up;
    for (uint32_t e = 0; e < 8; e++) {
        assert_int_equal(gate->parts[e][PART_DATA].bytes, 24 * 64 * 2);
        assert_int_equal(up->parts[e][PART_DATA].offset, gate->parts[e][PART_DATA].offset + 24 * 64 * 2);
        if (e) assert_int_equal(gate->parts[e][PART_DATA].offset, gate->parts[e - 1][PART_DATA].offset + 48 * 64 * 2);
    }
    assert_int_equal(experts_of(m, 1)->down.stack_count, 8);
    assert_int_equal(experts_of(m, 2)->down.stack_count, 8);
    headers_find(h, "model.layers.0.mlp.experts.gate_up_proj")->dims[1] = 24;
    headers_refuse(h, "model.layers.0.mlp.experts.gate_up_proj|[8, 24, 64]|[8, 48, 64]");
    headers_find(h, "model.layers.0.mlp.experts.gate_up_proj")->dims[1] = 48;
    headers_remove(h, "model.layers.1.mlp.experts.5.up_proj.weight");
    headers_refuse(h, "model.layers.1.mlp.experts.5.up_proj");
}

/* ---- head ---- */

static void the_head_is_tied_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *key, *head; /* "": no such tensor */
        bool is_tied;
    } cases[] = {
        {"", "", true},
        {"\"tie_word_embeddings\":true,", "", true},
        {"\"tie_word_embeddings\":null,", "", true},
        {"\"tie_word_embeddings\":false,", "", true}, /* there is nothing else */
        {"", "lm_head.weight", false},
        {"\"tie_word_embeddings\":false,", "lm_head.weight", false},
        {"\"tie_word_embeddings\":true,", "lm_head.weight", true}, /* the tensor is a leftover */
        {"", "language_model.lm_head.weight", false},
        {"", "model.language_model.lm_head.weight", false},
        {"", "model.lm_head.weight", false},
    };
    char keys[96];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        add_decoder("llama", false, false);
        snprintf(keys, sizeof keys, "%s\"hidden_act\"", cases[i].key);
        headers_edit(h, "\"hidden_act\"", keys);
        h->prefix = "";
        if (cases[i].head[0]) headers_add(h, 100, 64, 0, "%s", cases[i].head);
        h->prefix = "model.";
        const model_desc *m = headers_build(h);
        assert_int_equal(m->head == m->embedding, cases[i].is_tied);
        assert_int_equal(m->places[m->embedding], cases[i].is_tied ? WEIGHT_RESIDENT : WEIGHT_ROWS);
        assert_int_equal(m->places[m->head], WEIGHT_RESIDENT);
        /* Whatever was found after the head was looked for below the text root again. */
        assert_string_equal(m->vectors[m->final_norm].name, "model.norm.weight");
    }
    headers_find(h, "model.lm_head.weight")->dims[0] = 99;
    headers_refuse(h, "model.lm_head.weight|[99, 64]|[100, 64]");
}

/* ---- ropes ---- */

static const rope_desc *rope_with(const char *scaling)
{
    char value[512];
    add_decoder("llama", false, false);
    snprintf(value, sizeof value, "\"rope_scaling\":%s", scaling);
    headers_edit(h, "\"rope_scaling\":null", value);
    return &headers_build(h)->ropes[0];
}

static void refuse_rope(const char *scaling, const char *words)
{
    char value[512];
    add_decoder("llama", false, false);
    snprintf(value, sizeof value, "\"rope_scaling\":%s", scaling);
    headers_edit(h, "\"rope_scaling\":null", value);
    headers_refuse(h, words);
}

static void rope_scaling_of_llama3(void **state)
{
    (void)state;
    const rope_desc *r = rope_with("{\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":2.0,"
                                   "\"high_freq_factor\":5,\"original_max_position_embeddings\":4096}");
    assert_int_equal(r->kind, ROPE_LLAMA3);
    assert_true(r->factor == 32 && r->low_freq_factor == 2 && r->high_freq_factor == 5 && r->original_context == 4096);
    assert_true(r->theta == 500000);
    assert_int_equal(r->rotated_dims, 16);
    r = rope_with("{\"type\":\"llama3\",\"factor\":8}");
    assert_true(r->factor == 8 && r->low_freq_factor == 1 && r->high_freq_factor == 4 && r->original_context == 8192);
    refuse_rope("{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4}",
                "config.json|high_freq_factor (4)|low_freq_factor (4)");
    refuse_rope("{\"type\":\"llama3\",\"factor\":0}", "config.json|factor|0");
    refuse_rope("{\"type\":\"llama3\",\"factor\":\"8\"}", "config.json|rope_scaling/factor|8");
    refuse_rope("{\"type\":\"longrope\"}", "config.json|rope_scaling/type|longrope|llama3");
}

static void rope_scaling_linear_and_partial(void **state)
{
    (void)state;
    const rope_desc *r = rope_with("{\"type\":\"linear\",\"factor\":4}");
    assert_int_equal(r->kind, ROPE_LINEAR);
    assert_true(r->factor == 4);
    r = rope_with("null,\"partial_rotary_factor\":0.5");
    assert_int_equal(r->rotated_dims, 8);
    assert_int_equal(r->head_dim, 16);
    r = rope_with("null,\"partial_rotary_factor\":0.99"); /* int(15.84), and then an even number */
    assert_int_equal(r->rotated_dims, 14);
    refuse_rope("null,\"partial_rotary_factor\":2", "config.json|partial_rotary_factor|2");
}

static void rope_scaling_of_yarn(void **state)
{
    (void)state;
    const rope_desc *r = rope_with("{\"rope_type\":\"yarn\",\"factor\":32,\"original_max_position_embeddings\":2048,"
                                   "\"beta_fast\":16,\"beta_slow\":2,\"truncate\":false}");
    assert_int_equal(r->kind, ROPE_YARN);
    assert_true(r->factor == 32 && r->original_context == 2048 && r->beta_fast == 16 && r->beta_slow == 2);
    assert_false(r->truncate);
    assert_true(r->attention_factor == 0 && r->mscale == 1 && r->mscale_all_dim == 0);
    r = rope_with("{\"type\":\"yarn\",\"factor\":null}"); /* 8192 / 4096 */
    assert_true(r->factor == 2 && r->original_context == 4096 && r->beta_fast == 32 && r->beta_slow == 1);
    assert_true(r->truncate);
    r = rope_with("{\"type\":\"yarn\",\"factor\":40,\"mscale\":0.7,\"mscale_all_dim\":0.5}");
    assert_true(r->mscale == 0.7 && r->mscale_all_dim == 0.5);
    r = rope_with("{\"type\":\"yarn\",\"factor\":40,\"mscale\":0.7}"); /* one alone counts for nothing */
    assert_true(r->mscale == 1 && r->mscale_all_dim == 0);
    r = rope_with("{\"type\":\"yarn\",\"factor\":40,\"attention_factor\":1.5,\"mscale\":3,\"mscale_all_dim\":2}");
    assert_true(r->attention_factor == 1.5);
    r = rope_with("{\"type\":\"yarn\",\"factor\":4},\"original_max_position_embeddings\":1024");
    assert_true(r->original_context == 1024);
}

static void rope_parameters_of_new_files(void **state)
{
    (void)state;
    add_decoder("llama", false, false);
    headers_edit(h, "\"rope_theta\":500000.0,\"rope_scaling\":null",
                 "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":7000}");
    const rope_desc *r = &headers_build(h)->ropes[0];
    assert_int_equal(r->kind, ROPE_LINEAR);
    assert_true(r->theta == 7000 && r->factor == 2);
}

/* ---- what is refused ---- */

static void bad_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"model_type\":\"qwen3_moe\"", "\"model_type\":\"mamba\"",
         "config.json|model_type|mamba|gemma4|llama|qwen3_moe"},
        {"\"model_type\":\"qwen3_moe\"", "\"model_type\":7", "config.json|model_type|7"},
        {"\"model_type\":\"qwen3_moe\",", "", "config.json|model_type|expected gemma4"},
        {"\"hidden_size\":64,", "", "config.json|hidden_size"},
        {"\"vocab_size\":100,", "", "config.json|vocab_size"},
        {"\"vocab_size\":100", "\"vocab_size\":101", "embed_tokens.weight|[100, 64]|[101, 64]"},
        {"\"num_attention_heads\":4,", "", "config.json|num_attention_heads"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":3",
         "config.json|num_attention_heads (3)|num_key_value_heads (2)"},
        {"\"head_dim\":16", "\"head_dim\":15", "config.json|head_dim|15|even"},
        {"\"hidden_size\":64", "\"hidden_size\":1e9", "config.json|hidden_size|1e9"},
        {"\"num_hidden_layers\":3", "\"num_hidden_layers\":4", "model.layers.3.input_layernorm.weight"},
        {"\"num_hidden_layers\":3", "\"num_hidden_layers\":0", "config.json|num_hidden_layers|0"},
        {"\"rms_norm_eps\":1e-5", "\"rms_norm_eps\":-1", "config.json|rms_norm_eps|-1"},
        {"\"rope_theta\":500000.0", "\"rope_theta\":0", "config.json|rope_theta|0"},
        {"\"hidden_act\":\"silu\"", "\"hidden_act\":\"relu2\"", "config.json|hidden_act|relu2|silu"},
        {"\"hidden_act\"", "\"use_sliding_window\":true,\"hidden_act\"", "config.json|use_sliding_window"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":9",
         "config.json|num_experts_per_tok (9)|num_experts (8)"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":257", "config.json|num_experts_per_tok|257"},
        {"\"num_experts\":8", "\"num_experts\":9", "layers.0.mlp.gate.weight|[8, 64]|[9, 64]"},
        {"\"moe_intermediate_size\":24", "\"moe_intermediate_size\":23",
         "layers.0.mlp.switch_mlp.gate_proj.weight|[8, 24, 64]|[8, 23, 64]"},
        {",\"moe_intermediate_size\":24", "", "config.json|moe_intermediate_size"},
        {"\"hidden_act\"", "\"mlp_only_layers\":7,\"hidden_act\"", "config.json|mlp_only_layers|7"},
        {"\"hidden_act\"", "\"norm_topk_prob\":\"yes\",\"hidden_act\"", "config.json|norm_topk_prob|yes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        add_decoder("qwen3_moe", true, true);
        headers_edit(h, cases[i].from, cases[i].to);
        headers_refuse(h, cases[i].words);
    }
}

static void each_tensor_is_needed_in_its_shape(void **state)
{
    (void)state;
    add_decoder("qwen3_moe", true, true);
    const uint32_t count = h->count;
    for (uint32_t i = 0; i < count; i++) {
        const header kept = h->list[i];
        h->list[i].dims[kept.rank - 1]++;
        headers_refuse(h, kept.name);
        h->list[i] = h->list[count - 1];
        h->count = count - 1;
        headers_refuse(h, strstr(kept.name, "embed_tokens") ? "embed_tokens.weight" : kept.name);
        h->count = count;
        h->list[i] = kept;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_headers, close_headers)
    const struct CMUnitTest tests[] = {
        TEST(llama),
        TEST(defaults_of_llama),
        TEST(qwen3_has_head_norms),
        TEST(qwen3_head_dim_defaults_to_128),
        TEST(biases_are_read_where_they_are),
        TEST(qwen3_with_experts),
        TEST(every_name_of_the_expert_counts),
        TEST(some_layers_are_dense),
        TEST(every_form_of_experts),
        TEST(the_head_is_tied_or_not),
        TEST(rope_scaling_of_llama3),
        TEST(rope_scaling_linear_and_partial),
        TEST(rope_scaling_of_yarn),
        TEST(rope_parameters_of_new_files),
        TEST(bad_configurations),
        TEST(each_tensor_is_needed_in_its_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

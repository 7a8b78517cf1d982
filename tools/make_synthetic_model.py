#!/usr/bin/env python3
"""Writes a checkpoint of a real model's shape with random weights, for benchmarks and for tests of size.

    make_synthetic_model.py PRESET FOLDER [--layers N] [--bits 4] [--skew 1.0] [--shard-gib 4] [--seed 1]

PRESET: gemma4-26b-a4b (mixture of experts, 14 GiB at 4 bits) or qwen3-8b (dense, 4.6 GiB). The shapes are those of the published models; the format is MLX
affine with groups of 64. Weights are uniform noise of variance 1/columns, so activations stay finite. --skew: how unevenly the router
uses the experts: the row of the expert of rank r is scaled so that its logits' spread falls with log(r + 1); 0 is uniform use.
There is no tokenizer: give tokens with --tokens. Standard library only; the bytes come from a seeded generator, so two runs write the same files.
"""
import argparse
import json
import math
import os
import random
import struct

GROUP = 64
POOL_BYTES = 1 << 26


def bf16(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return struct.pack("<H", (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


class Writer:
    """Collects tensors, then writes them in shards without holding more than one piece in memory."""

    def __init__(self, seed):
        self.tensors = []  # (name, dtype, shape, how many bytes, chunks())
        self.pool = random.Random(seed).randbytes(POOL_BYTES)
        self.at = 0

    def noise(self, count):
        while count:
            self.at = (self.at * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            begin = (self.at >> 20) % (POOL_BYTES // 2)
            piece = min(count, POOL_BYTES - begin)
            yield self.pool[begin : begin + piece]
            count -= piece

    def add(self, name, dtype, shape, chunks, each):
        self.tensors.append((name, dtype, shape, math.prod(shape) * each, chunks))

    def vector(self, name, count, value):
        self.add(name, "BF16", [count], lambda: [bf16(value) * count], 2)

    def matrix(self, name, rows, cols, bits, stack=(), row_factor=None):
        """An affine matrix of `rows` x `cols`, or a stack of them; row_factor(row) scales single rows."""
        count = math.prod(stack)
        scale = 1 / (math.sqrt(cols) * (2**bits - 1) / math.sqrt(12))
        offset = -scale * (2**bits - 1) / 2
        groups = cols // GROUP
        words = cols * bits // 32

        def rows_of(value):
            def chunks():
                for _ in range(count):
                    if row_factor:
                        yield b"".join(bf16(value * row_factor(r)) * groups for r in range(rows))
                    else:
                        yield bf16(value) * (rows * groups)

            return chunks

        self.add(name + ".weight", "U32", [*stack, rows, words], lambda: self.noise(count * rows * words * 4), 4)
        self.add(name + ".scales", "BF16", [*stack, rows, groups], rows_of(scale), 2)
        self.add(name + ".biases", "BF16", [*stack, rows, groups], rows_of(offset), 2)

    def write(self, folder, shard_bytes):
        shards, size = [[]], 0
        for t in self.tensors:
            if size + t[3] > shard_bytes and shards[-1]:
                shards.append([])
                size = 0
            shards[-1].append(t)
            size += t[3]
        weight_map = {}
        for i, shard in enumerate(shards):
            file_name = "model-%05d-of-%05d.safetensors" % (i + 1, len(shards))
            header, begin = {"__metadata__": {"format": "mlx"}}, 0
            for name, dtype, shape, count, _ in shard:
                header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + count]}
                begin += count
                weight_map[name] = file_name
            text = json.dumps(header, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)
            with open(os.path.join(folder, file_name), "wb") as f:
                f.write(struct.pack("<Q", len(text)) + text)
                for name, _, _, count, chunks in shard:
                    written = sum(f.write(c) for c in chunks())
                    assert written == count, (name, written, count)
        total = sum(t[3] for t in self.tensors)
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f)
        return total, len(shards)


def gemma4_26b_a4b(w, layers, bits, skew):
    """Shapes: https://huggingface.co/google/gemma-4-26B-A4B, names as mlx-community's conversion has them."""
    hidden, dense, narrow, experts, used, vocab = 2816, 2112, 704, 128, 8, 262144
    types = ["full_attention" if (i + 1) % 6 == 0 or i == layers - 1 else "sliding_attention" for i in range(layers)]
    root = "language_model.model."
    overrides = {}

    def eight_bits(name, *args, **more):
        overrides[name] = {"group_size": GROUP, "bits": 8}
        w.matrix(name, *args, 8, **more)

    w.matrix(root + "embed_tokens", vocab, hidden, bits)
    for i, kind in enumerate(types):
        at = root + "layers.%d." % i
        full = kind == "full_attention"
        head, kv = (512, 2) if full else (256, 8)
        for name in ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "pre_feedforward_layernorm_2",
                     "post_feedforward_layernorm", "post_feedforward_layernorm_1", "post_feedforward_layernorm_2"]:
            w.vector(at + name + ".weight", hidden, 1)
        w.vector(at + "layer_scalar", 1, 1)
        w.matrix(at + "self_attn.q_proj", 16 * head, hidden, bits)
        w.matrix(at + "self_attn.k_proj", kv * head, hidden, bits)
        if not full:
            w.matrix(at + "self_attn.v_proj", kv * head, hidden, bits)
        w.matrix(at + "self_attn.o_proj", hidden, 16 * head, bits)
        w.vector(at + "self_attn.q_norm.weight", head, 1)
        w.vector(at + "self_attn.k_norm.weight", head, 1)
        for name, rows, cols in [("gate_proj", dense, hidden), ("up_proj", dense, hidden), ("down_proj", hidden, dense)]:
            eight_bits(at + "mlp." + name, rows, cols)
        ranks = list(range(experts))
        random.Random(i).shuffle(ranks)
        eight_bits(at + "router.proj", experts, hidden, row_factor=lambda r, ranks=ranks: 1 / (1 + skew * math.log1p(ranks[r]) / 2))
        w.vector(at + "router.scale", hidden, 1)
        w.vector(at + "router.per_expert_scale", experts, 1)
        for name, rows, cols in [("gate_proj", narrow, hidden), ("up_proj", narrow, hidden), ("down_proj", hidden, narrow)]:
            w.matrix(at + "experts.switch_glu." + name, rows, cols, bits, stack=(experts,))
    w.vector(root + "norm.weight", hidden, 1)
    return {
        "model_type": "gemma4", "architectures": ["Gemma4ForConditionalGeneration"], "tie_word_embeddings": True,
        "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, 106],
        "quantization": {"group_size": GROUP, "bits": bits, "mode": "affine", **overrides},
        "text_config": {
            "model_type": "gemma4_text", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": dense,
            "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 8, "num_global_key_value_heads": 2,
            "head_dim": 256, "global_head_dim": 512, "sliding_window": 1024, "layer_types": types, "attention_k_eq_v": True,
            "num_kv_shared_layers": 0, "use_double_wide_mlp": False, "hidden_size_per_layer_input": 0, "enable_moe_block": True,
            "num_experts": experts, "top_k_experts": used, "moe_intermediate_size": narrow, "final_logit_softcapping": 30.0,
            "max_position_embeddings": 262144, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                                "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                                                   "partial_rotary_factor": 0.25}},
        },
    }


def qwen3_8b(w, layers, bits, skew):
    """Shapes: https://huggingface.co/Qwen/Qwen3-8B."""
    hidden, wide, vocab, head, heads, kv = 4096, 12288, 151936, 128, 32, 8
    w.matrix("model.embed_tokens", vocab, hidden, bits)
    for i in range(layers):
        at = "model.layers.%d." % i
        w.vector(at + "input_layernorm.weight", hidden, 1)
        w.vector(at + "post_attention_layernorm.weight", hidden, 1)
        w.matrix(at + "self_attn.q_proj", heads * head, hidden, bits)
        w.matrix(at + "self_attn.k_proj", kv * head, hidden, bits)
        w.matrix(at + "self_attn.v_proj", kv * head, hidden, bits)
        w.matrix(at + "self_attn.o_proj", hidden, heads * head, bits)
        w.vector(at + "self_attn.q_norm.weight", head, 1)
        w.vector(at + "self_attn.k_norm.weight", head, 1)
        w.matrix(at + "mlp.gate_proj", wide, hidden, bits)
        w.matrix(at + "mlp.up_proj", wide, hidden, bits)
        w.matrix(at + "mlp.down_proj", hidden, wide, bits)
    w.vector("model.norm.weight", hidden, 1)
    w.matrix("lm_head", vocab, hidden, bits)
    return {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": wide,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "max_position_embeddings": 40960, "tie_word_embeddings": False, "hidden_act": "silu",
        "attention_bias": False, "use_sliding_window": False, "bos_token_id": 151643, "eos_token_id": 151645,
        "quantization": {"group_size": GROUP, "bits": bits, "mode": "affine"},
    }


PRESETS = {"gemma4-26b-a4b": (gemma4_26b_a4b, 30), "qwen3-8b": (qwen3_8b, 36)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=0, help="fewer layers than the model has")
    parser.add_argument("--bits", type=int, default=4, choices=[2, 3, 4, 5, 6, 8])
    parser.add_argument("--skew", type=float, default=1.0)
    parser.add_argument("--shard-gib", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    build, layers = PRESETS[a.preset]
    os.makedirs(a.folder, exist_ok=True)
    writer = Writer(a.seed)
    config = build(writer, a.layers or layers, a.bits, a.skew)
    total, shards = writer.write(a.folder, int(a.shard_gib * (1 << 30)))
    with open(os.path.join(a.folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    print("%s: %.2f GiB of weights in %d files" % (a.folder, total / (1 << 30), shards))


if __name__ == "__main__":
    main()

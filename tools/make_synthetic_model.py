#!/usr/bin/env python3
"""Writes a checkpoint of a real model's shape with random weights, for benchmarks and for tests of size.

    make_synthetic_model.py PRESET FOLDER [--layers N] [--experts N] [--bits 4] [--eight-bit-experts 0,3] [--skew 1.0 | --usage FILE] [--shard-gib 4] [--seed 1]

PRESET: gemma4-26b-a4b (mixture of experts, 14 GiB at 4 bits) or qwen3-8b (dense, 4.6 GiB), in the shapes of the published models, or
gemma4-small (8 layers of 32 experts, 66 MiB) and qwen3-small (12 layers, 37 MiB): the same blocks, narrower, made in a second. The format is MLX
affine with groups of 64. Weights are uniform noise of variance 1/columns, so activations stay finite.

--skew: how unevenly the router uses the experts: the row of the expert of rank r is scaled so that its logits' spread falls with
log(r + 1); 0 is uniform use.

--usage: how often each layer asks for each expert follows a recording: lines of {"layers": [[ids of layer 0], [of layer 1], ..]} (`leat run
--route-trace` and other programs write such files), or one object {"counts": [[how often expert 0, ..] of layer 0, ..]}. A layer beyond the
recorded ones begins again with the first. Where the model has another number of experts, the curve of the recorded shares is stretched over
them, in a seeded order. Shares are followed on average, the order in time is not. How: embeddings get a constant part, which the stream carries
through all layers, and the router's rows an offset along it, so that an expert's logit is drawn around the mean that its share asks for.

There is no tokenizer: give tokens with --tokens. Standard library only; the bytes come from a seeded generator, so two runs write the same files.
"""
import argparse
import json
import math
import os
import random
import statistics
import struct

GROUP = 64
POOL_BYTES = 1 << 26
CONSTANT_PART = 0.5  # of the embeddings beside noise of variance 1, with --usage


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

    def matrix(self, name, rows, cols, bits, stack=(), row_factor=None, row_offset=None, row_mean=None):
        """An affine matrix of `rows` x `cols`, or a stack of them; row_factor(row) scales single rows, row_offset(row) is added
        to all values of one. row_mean(row) is what the values of one have on average, exactly; for one matrix of 8 bits."""
        count = math.prod(stack)
        scale = 1 / (math.sqrt(cols) * (2**bits - 1) / math.sqrt(12))
        offset = -scale * (2**bits - 1) / 2
        groups = cols // GROUP
        words = cols * bits // 32

        def rows_of(value, offset=None):
            def chunks():
                for _ in range(count):
                    if row_factor or offset:
                        yield b"".join(bf16(value * (row_factor(r) if row_factor else 1) + (offset(r) if offset else 0)) * groups
                                       for r in range(rows))
                    else:
                        yield bf16(value) * (rows * groups)

            return chunks

        codes = lambda: self.noise(count * rows * words * 4)
        if row_mean:
            drawn = b"".join(codes())
            codes = lambda: [drawn]
            row_offset = lambda row: row_mean(row) - offset - scale * sum(drawn[row * cols : (row + 1) * cols]) / cols
        self.add(name + ".weight", "U32", [*stack, rows, words], codes, 4)
        self.add(name + ".scales", "BF16", [*stack, rows, groups], rows_of(scale), 2)
        self.add(name + ".biases", "BF16", [*stack, rows, groups], rows_of(offset, row_offset), 2)

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


def read_usage(path):
    """[[share of each expert], of each recorded layer]: of how many tokens it is asked for, from 0 to 1."""
    counts, token_count = [], 0
    with open(path, encoding="utf-8") as f:
        for line in f:
            record = json.loads(line)
            if "counts" in record:
                return [[float(count) for count in layer] for layer in record["counts"]]  # only their ratios matter
            if not record.get("layers") or record.get("rows", 1) != 1:
                continue  # settings in the first line; steps of many tokens name an expert once
            token_count += 1
            counts += [{} for _ in range(len(record["layers"]) - len(counts))]
            for layer, used in zip(counts, record["layers"]):
                for expert in used:
                    layer[expert] = layer.get(expert, 0) + 1
    if not token_count:
        raise SystemExit("%s: neither counts nor a line with layers" % path)
    width = 1 + max(max(layer) for layer in counts)
    return [[layer.get(expert, 0) / token_count for expert in range(width)] for layer in counts]


def stretch(shares, experts, used, seed):
    """The shares for `experts` experts of which a token asks for `used`."""
    if len(shares) != experts:
        falling = sorted(shares, reverse=True)
        places = [i * (len(falling) - 1) / (experts - 1) for i in range(experts)]
        shares = [falling[int(p)] + (p - int(p)) * (falling[min(int(p) + 1, len(falling) - 1)] - falling[int(p)]) for p in places]
        random.Random(seed).shuffle(shares)
    # A share is at most nearly 1; what is cut there goes to the others.
    factor = 1
    for _ in range(50):
        factor *= used / sum(min(0.95, max(0.0005, share * factor)) for share in shares)
    return [min(0.95, max(0.0005, share * factor)) for share in shares]


def router_rows(layer, layers, experts, used, hidden, skew, usage):
    """The two arguments of the router's matrix that make its use uneven."""
    if not usage:
        ranks = list(range(experts))
        random.Random(layer).shuffle(ranks)
        return {"row_factor": lambda row: 1 / (1 + skew * math.log1p(ranks[row]) / 2)}
    normal = statistics.NormalDist()
    means = [normal.inv_cdf(share) for share in stretch(usage[layer % len(usage)], experts, used, layer)]
    # Every layer adds two outputs of variance 1 to the stream, so its constant part is the smaller the deeper, after the norm.
    constant = CONSTANT_PART / math.sqrt(1 + CONSTANT_PART**2 + 2 * layer + 1)
    # The router's norm multiplies by 1/sqrt(hidden), which scales all logits alike: the noise has variance 1 before it, and so have these.
    return {"row_mean": lambda row: means[row] / (constant * hidden)}


GEMMA4_26B_A4B = {"hidden": 2816, "dense": 2112, "narrow": 704, "experts": 128, "used": 8, "vocab": 262144, "heads": 16, "window": 1024,
                  "sliding": (256, 8), "full": (512, 2)}
GEMMA4_SMALL = {"hidden": 512, "dense": 384, "narrow": 256, "experts": 32, "used": 4, "vocab": 8192, "heads": 8, "window": 64,
                "sliding": (64, 4), "full": (128, 2)}
QWEN3_8B = {"hidden": 4096, "wide": 12288, "vocab": 151936, "head": 128, "heads": 32, "kv": 8}
QWEN3_SMALL = {"hidden": 512, "wide": 1536, "vocab": 8192, "head": 64, "heads": 8, "kv": 4}


def gemma4(w, shape, layers, bits, skew, usage, wide):
    """Shapes: https://huggingface.co/google/gemma-4-26B-A4B, names as mlx-community's conversion has them."""
    hidden, dense, narrow, experts, used, vocab, heads = (
        shape[name] for name in ("hidden", "dense", "narrow", "experts", "used", "vocab", "heads"))
    types = ["full_attention" if (i + 1) % 6 == 0 or i == layers - 1 else "sliding_attention" for i in range(layers)]
    root = "language_model.model."
    overrides = {}

    def eight_bits(name, *args, **more):
        overrides[name] = {"group_size": GROUP, "bits": 8}
        w.matrix(name, *args, 8, **more)

    constant = {"row_offset": lambda row: CONSTANT_PART / math.sqrt(hidden)} if usage else {}  # the factor on embeddings is sqrt(hidden)
    w.matrix(root + "embed_tokens", vocab, hidden, bits, **constant)
    for i, kind in enumerate(types):
        at = root + "layers.%d." % i
        full = kind == "full_attention"
        head, kv = shape["full"] if full else shape["sliding"]
        for name in ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "pre_feedforward_layernorm_2",
                     "post_feedforward_layernorm", "post_feedforward_layernorm_1", "post_feedforward_layernorm_2"]:
            w.vector(at + name + ".weight", hidden, 1)
        w.vector(at + "layer_scalar", 1, 1)
        w.matrix(at + "self_attn.q_proj", heads * head, hidden, bits)
        w.matrix(at + "self_attn.k_proj", kv * head, hidden, bits)
        if not full:
            w.matrix(at + "self_attn.v_proj", kv * head, hidden, bits)
        w.matrix(at + "self_attn.o_proj", hidden, heads * head, bits)
        w.vector(at + "self_attn.q_norm.weight", head, 1)
        w.vector(at + "self_attn.k_norm.weight", head, 1)
        for name, rows, cols in [("gate_proj", dense, hidden), ("up_proj", dense, hidden), ("down_proj", hidden, dense)]:
            eight_bits(at + "mlp." + name, rows, cols)
        eight_bits(at + "router.proj", experts, hidden, **router_rows(i, layers, experts, used, hidden, skew, usage))
        w.vector(at + "router.scale", hidden, 1)
        w.vector(at + "router.per_expert_scale", experts, 1)
        for name, rows, cols in [("gate_proj", narrow, hidden), ("up_proj", narrow, hidden), ("down_proj", hidden, narrow)]:
            if i in wide:
                eight_bits(at + "experts.switch_glu." + name, rows, cols, stack=(experts,))
            else:
                w.matrix(at + "experts.switch_glu." + name, rows, cols, bits, stack=(experts,))
    w.vector(root + "norm.weight", hidden, 1)
    return {
        "model_type": "gemma4", "architectures": ["Gemma4ForConditionalGeneration"], "tie_word_embeddings": True,
        "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, 106],
        "quantization": {"group_size": GROUP, "bits": bits, "mode": "affine", **overrides},
        "text_config": {
            "model_type": "gemma4_text", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": dense,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": shape["sliding"][1],
            "num_global_key_value_heads": shape["full"][1], "head_dim": shape["sliding"][0], "global_head_dim": shape["full"][0],
            "sliding_window": shape["window"], "layer_types": types, "attention_k_eq_v": True,
            "num_kv_shared_layers": 0, "use_double_wide_mlp": False, "hidden_size_per_layer_input": 0, "enable_moe_block": True,
            "num_experts": experts, "top_k_experts": used, "moe_intermediate_size": narrow, "final_logit_softcapping": 30.0,
            "max_position_embeddings": 262144, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                                "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                                                   "partial_rotary_factor": 0.25}},
        },
    }


def qwen3(w, shape, layers, bits, skew, usage, wide):
    """Shapes: https://huggingface.co/Qwen/Qwen3-8B. Dense: skew and usage have nothing to act on."""
    hidden, wide, vocab, head, heads, kv = (shape[name] for name in ("hidden", "wide", "vocab", "head", "heads", "kv"))
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
        "attention_bias": False, "use_sliding_window": False, "bos_token_id": min(151643, vocab - 2),
        "eos_token_id": min(151645, vocab - 1),
        "quantization": {"group_size": GROUP, "bits": bits, "mode": "affine"},
    }


PRESETS = {
    "gemma4-26b-a4b": (gemma4, GEMMA4_26B_A4B, 30),
    "gemma4-small": (gemma4, GEMMA4_SMALL, 8),
    "qwen3-8b": (qwen3, QWEN3_8B, 36),
    "qwen3-small": (qwen3, QWEN3_SMALL, 12),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=0, help="another number of layers than the preset has")
    parser.add_argument("--experts", type=int, default=0, help="another number of experts in a layer")
    parser.add_argument("--bits", type=int, default=4, choices=[2, 3, 4, 5, 6, 8])
    parser.add_argument("--eight-bit-experts", metavar="LAYERS", default="", help="layers whose experts have 8 bits: 0,3")
    parser.add_argument("--skew", type=float, default=1.0)
    parser.add_argument("--usage", metavar="FILE", help="recorded routing, or counts; in place of --skew")
    parser.add_argument("--shard-gib", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    build, shape, layers = PRESETS[a.preset]
    if (a.usage or a.experts) and "experts" not in shape:
        parser.error("%s has no experts" % a.preset)
    wide = {int(layer) for layer in a.eight_bit_experts.split(",") if layer}
    if wide and "experts" not in shape:
        parser.error("%s has no experts" % a.preset)
    if a.experts:
        shape = dict(shape, experts=a.experts)
    os.makedirs(a.folder, exist_ok=True)
    writer = Writer(a.seed)
    config = build(writer, shape, a.layers or layers, a.bits, a.skew, read_usage(a.usage) if a.usage else None, wide)
    total, shards = writer.write(a.folder, int(a.shard_gib * (1 << 30)))
    with open(os.path.join(a.folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    print("%s: %.2f GiB of weights in %d files" % (a.folder, total / (1 << 30), shards))


if __name__ == "__main__":
    main()
